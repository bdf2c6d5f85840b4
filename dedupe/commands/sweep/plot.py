"""A sweep as a picture: rows that stay, clusters, and the largest cluster, by threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dedupe.errors import SettingsError

if TYPE_CHECKING:
    from dedupe.commands.sweep.result import Sweep

KINDS = ("png", "svg")


def check_picture(path: str) -> str:
    """The kind of a picture, by the suffix of its file. Raises SettingsError for another one.

    path: of the file.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in KINDS:
        raise SettingsError(f"{path} is no picture: use a name that ends in .png or .svg")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SettingsError("--png needs matplotlib: pip install 'dedupe-engine[plot]'") from error
    return kind


def draw_sweep(found: Sweep, path: str) -> None:
    """Draw a sweep.

    found: the sweep. path: of a PNG or SVG file. Raises SettingsError without matplotlib, for
    another suffix, and where the file cannot be written.
    """
    kind = check_picture(path)
    from matplotlib.figure import Figure

    at = [one.threshold for one in found.steps]
    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    rows, clusters = figure.subplots(1, 2)
    rows.plot(at, [one.kept for one in found.steps], marker="o")
    rows.set(xlabel="threshold", ylabel="rows that stay")
    rows.yaxis.set_major_formatter("{x:,.0f}")
    for label, counts in (
        ("clusters", [one.clusters for one in found.steps]),
        ("rows of the largest", [one.largest for one in found.steps]),
    ):
        clusters.plot(at, counts, marker="o", label=label)
    clusters.set(xlabel="threshold", yscale="symlog", ylim=(0, None))
    clusters.yaxis.set_major_formatter("{x:,.0f}")
    clusters.legend()
    for axes in (rows, clusters):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{found.rows:,} rows by threshold")
    try:
        figure.savefig(path, format=kind)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
