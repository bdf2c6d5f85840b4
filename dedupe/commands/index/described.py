"""What `dedupe index` prints: an index, and what was found in it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from dedupe.commands.index.check import Checked
from dedupe.errors import readable_size
from dedupe.index.manifest import Manifest
from dedupe.screen import console, say

SHOWN = 20
"""Crawls, rows or problems that are printed."""


def described(path: str, manifest: Manifest) -> dict[str, Any]:
    """What an index has, as plain values. path: of the index. manifest: what it has."""
    segments = manifest.segments
    texts = sum(segment.bytes("text") for segment in segments)
    others = sum(segment.bytes(*segment.tables) for segment in segments) - texts
    return {
        "path": path,
        "manifest": manifest.number,
        "rows": manifest.rows,
        "kept": manifest.kept,
        "removed": sum(crawl.removed for crawl in manifest.crawls),
        "bytes_of_texts": texts,
        "bytes_of_others": others,
        "segments": len(segments),
        "settings": dict(manifest.settings),
        "document": manifest.document,
        "crawls": [
            {
                "name": crawl.name,
                "first": crawl.first,
                "rows": crawl.rows,
                "kept": crawl.kept,
                "removed": crawl.removed,
            }
            for crawl in manifest.crawls
        ],
    }


def print_index(found: dict[str, Any]) -> None:
    """Print what `described` gives."""
    from rich.table import Table

    rows, others = found["rows"], found["bytes_of_others"]
    share = f", {others / rows:.0f} bytes a row without texts" if rows else ""
    say(
        f"{found['path']}: {found['kept']:,} of {rows:,} rows are kept, manifest "
        f"{found['manifest']}; {readable_size(found['bytes_of_texts'])} of texts, "
        f"{readable_size(others)} of the rest{share}"
    )
    if not found["crawls"]:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("crawl", "rows", "kept", "removed"):
        table.add_column(name, justify="left" if name == "crawl" else "right")
    for crawl in found["crawls"][-SHOWN:]:
        counts = (f"{crawl[name]:,}" for name in ("rows", "kept", "removed"))
        table.add_row(crawl["name"], *counts)
    console().print(table)
    if len(found["crawls"]) > SHOWN:
        say(f"and {len(found['crawls']) - SHOWN} crawls before")


def print_checked(path: str, found: Checked) -> None:
    """Print what `check_index` found. path: of the index."""
    for problem in found.problems[:SHOWN]:
        say(problem)
    if found.ok:
        orphans = f"; {found.orphans:,} dropped rows have no witness any more" * bool(found.orphans)
        say(
            f"{path} is whole: {found.tables:,} tables, {readable_size(found.bytes)}, "
            f"{found.kept:,} of {found.rows:,} rows kept{orphans}"
        )
    else:
        say(f"{path} is damaged: {len(found.problems):,} problems")


def print_rows(found: pa.Table) -> None:
    """Print the first rows of a table, one line each, and how many there are."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in found.column_names:
        table.add_column(name)
    for row in found.slice(0, SHOWN).to_pylist():
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    if len(found):
        console().print(table)
    if len(found) > SHOWN:
        say(f"and {len(found) - SHOWN:,} more")
