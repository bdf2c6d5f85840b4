"""Showing a split: how many rows each part has, by stratum, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from dedupe.commands.split.result import Splits
from dedupe.commands.split.wanted import EXCLUDED
from dedupe.schema import SPLITS
from dedupe.screen import console

SHOWN_STRATA = 30
"""Strata that are shown."""

MEANING = {
    "single": "no other row is like it",
    "linked": "goes where its cluster goes",
    "large": "of a cluster too large to test on: for training",
    "empty": "no text, so nothing to compare: for training",
    "duplicate": "excluded: the run dropped it",
    "unreadable": "excluded: it could not be read",
    "pinned": "stays where it stood in the earlier split",
    "between": "excluded: linked with rows of two splits",
}


def print_splits(found: Splits) -> None:
    """Print what was compared, how many rows went where, and what comes next."""
    shown = console()
    summary, settings = found.summary, found.settings
    shown.print(f"compared {found.documents.whole}", soft_wrap=True)
    linked = [f"similar from {settings.threshold:g} on"]
    linked += [f"of an equal {name}" for name in summary["asked"]["group"]]
    shown.print(f"rows are in one split if they are {' or '.join(linked)}")
    if settings.joined:
        shown.print("every such pair was found: no row of test or validation has one in train")
    else:
        shown.print(
            f"a pair at the threshold was found with a chance of {settings.recall}: measure what "
            "leaks with dedupe audit, or use --recall exact",
            style="yellow",
        )
    for warning in summary["warnings"]:
        shown.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    largest = summary["largest"]
    if largest:
        one = largest[0]
        shown.print(
            f"{sum(summary['clusters'].values()):,} clusters of several rows, the largest of "
            f"{one['rows']:,}: row {one['row']} of {one['path']}",
            soft_wrap=True,
        )
    total = sum(summary["splits"].values()) - summary["splits"][SPLITS[EXCLUDED]]
    table = Table()
    for name in ("split", "rows", "share", "asked for"):
        table.add_column(name, justify="left" if name == "split" else "right")
    for name, rows in summary["splits"].items():
        share = f"{rows / total:.2%}" if total and name != SPLITS[EXCLUDED] else ""
        wanted = summary["wanted"].get(name)
        table.add_row(name, f"{rows:,}", share, "" if wanted is None else f"{wanted:,}")
    shown.print(table)
    for name, rows in summary["reasons"].items():
        if rows:
            shown.print(f"{rows:>12,} {name:10} {MEANING[name]}")
    if summary["strata"]:
        shown.print(_strata(summary))
    where = shlex.quote(str(found.path))
    for what, command in (
        ("write the splits", f"dedupe apply {where} --output DATA"),
        ("look for leaks", f"dedupe audit {where}"),
    ):
        shown.print(f"{what + ':':18}{command}", soft_wrap=True)


def print_applied(manifest: Mapping[str, Any], output: str) -> None:
    """Print what `apply` has written of a split.

    manifest: what it returned. output: where the files are.
    """
    shown = console()
    rows = ", ".join(f"{name} {count:,}" for name, count in manifest["rows"].items() if count)
    shown.print(
        f"{rows} rows; {len(manifest['files']):,} files, {manifest['bytes'] / 1e6:,.1f} MB, in "
        f"{manifest['seconds']:.1f} s"
    )
    shown.print(f"load them:  datasets.load_dataset({output!r})", soft_wrap=True)


def _strata(summary: Mapping[str, Any]) -> Table:
    names = list(summary["splits"])
    table = Table()
    for name in ("stratum", *names):
        table.add_column(name, justify="left" if name == "stratum" else "right")
    for one in summary["strata"][:SHOWN_STRATA]:
        small = " (small: one with others)" if one["merged"] else ""
        table.add_row(one["name"] + small, *(f"{one[name]:,}" for name in names))
    more = len(summary["strata"]) - SHOWN_STRATA
    if more > 0:
        table.add_row(f"and {more:,} more: see summary.json")
    return table
