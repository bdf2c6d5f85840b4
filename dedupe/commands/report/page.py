"""A report as one HTML page: nothing is loaded from anywhere, and every text in it is escaped."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dedupe.commands.report.card import card_of, share
from dedupe.commands.report.drawing import bars

MOST_BYTES = 2_000_000
"""Bytes of a page; of a larger one fewer values and pairs are shown."""
VALUES = 100
"""Values of a column that are shown, and lines of the table of sources."""
CHARACTERS = 200
"""Characters of a value that are shown."""

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Characters that cannot be seen, or that turn the direction of what is behind them."""


def visible(text: str) -> str:
    """A text in which what cannot be seen has a name."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def page_of(report: Mapping[str, Any]) -> bytes:
    """The page. report: see `assemble.report_of`. Of `MOST_BYTES` at most."""
    values, pairs = VALUES, len(report["pairs"])
    while True:
        page = _page(report, values, pairs)
        if len(page) <= MOST_BYTES or (values <= 1 and not pairs):
            return page
        values, pairs = max(values // 2, 1), pairs // 2


def _page(report: Mapping[str, Any], values: int, pairs: int) -> bytes:
    environment = Environment(
        loader=PackageLoader("dedupe.commands.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": lambda text: visible(str(text)),
        "short": _short,
        "number": lambda count: f"{count:,}",
        "percent": lambda part: f"{part:.1%}",
        "points": lambda part: f"{round(100 * part, 1) + 0.0:+.1f}",
        "size": _size,
    }
    script = _file("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("report.html.j2").render(
        report=report,
        values=values,
        pairs=report["pairs"][:pairs],
        style=_file("report.css"),
        script=script,
        digest=digest,
        card=card_of(report),
        share=share,
        drawings=_drawings(report),
    )
    return page.encode("utf-8", "replace")


def _file(name: str) -> str:
    return resources.files("dedupe.commands.report").joinpath(name).read_text("utf-8")


def _short(text: object) -> str:
    """A value in the room that a table has; null is told from the word."""
    if text is None:
        return "(null)"
    shown = visible(unicodedata.normalize("NFC", str(text)))
    return shown if len(shown) <= CHARACTERS else f"{shown[:CHARACTERS]}…"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} PB"


def _drawings(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is drawn: similarities, sizes of clusters, and the chance of finding a pair."""
    similar = [one for one in report["similarities"] if one["dropped"]]
    drawn: dict[str, Any] = dict.fromkeys(("similarities", "clusters", "recall", "sweep"))
    lengths = {name: one for name, one in report["lengths"].items() if sum(one.values())}
    for which in ("kept", "dropped"):
        title = f"{which.capitalize()} rows by their shingles"
        labels = [name.split()[0] for name in lengths]
        counts = [one[which] for one in lengths.values()]
        drawn[which] = bars(title, labels, counts) if any(counts) else None
    if similar:
        threshold = report["settings"]["threshold"]
        first = min(similar[0]["from"], threshold)
        shown = [one for one in report["similarities"] if one["from"] >= first - 1e-9]
        at = next((n for n, one in enumerate(shown) if one["from"] >= threshold - 1e-9), None)
        labels = [f"{one['from']:.2f}" for one in shown]
        counts = [one["dropped"] for one in shown]
        title = "Dropped rows by similarity to the row because of which"
        drawn["similarities"] = bars(title, labels, counts, logarithmic=True, mark=at)
    if report["cluster_sizes"]:
        steps: dict[int, int] = {}
        for size, clusters in report["cluster_sizes"].items():
            step = 1 << (int(size).bit_length() - 1)
            steps[step] = steps.get(step, 0) + clusters
        every = [1 << n for n in range(1, max(steps).bit_length())]
        labels = [f"{step}–{2 * step - 1}" for step in every]
        counts = [steps.get(step, 0) for step in every]
        title = "Clusters by their rows"
        drawn["clusters"] = bars(title, labels, counts, logarithmic=True)
    if report["sweep"]:
        labels = [f"{one['threshold']:g}" for one in report["sweep"]["steps"]]
        counts = [one["kept"] for one in report["sweep"]["steps"]]
        drawn["sweep"] = bars("Rows kept by threshold", labels, counts)
    if report["lsh"] is not None:
        curve = report["lsh"]["curve"]
        chances = [round(1000 * chance) for chance in curve.values()]
        title = "Chance in a thousand that a pair is found, by its similarity"
        drawn["recall"] = bars(title, list(curve), chances)
    return drawn
