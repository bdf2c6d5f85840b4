"""A finished run as a picture: similarities, clusters, and what became of each source."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from dedupe.commands.report.counts import STEP, Counts, count
from dedupe.errors import SettingsError, printable
from dedupe.result import Result

SOURCES = 15
"""Sources that are drawn, the largest first."""
CHARACTERS = 30
"""Characters of a name that are drawn, its last ones."""


def draw_run(result: Result, source: str | None, path: str, note: Callable[[str], None]) -> None:
    """Draw a finished run to a PNG file.

    result: the run. source: the column that says where rows are from, None for their file. path: of
    the PNG file. note: is told which files are read. Raises SettingsError without matplotlib, and
    where the file cannot be written; CorpusError for a shard that is not as the run has read it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SettingsError("--png needs matplotlib: pip install 'dedupe-engine[plot]'") from error
    counts = count(result, [source] if source else [], source, None, note)
    figure = Figure(figsize=(13, 4.4), dpi=150, layout="constrained")
    similar, clusters, sources = figure.subplots(1, 3)
    _similarities(similar, result, counts)
    _clusters(clusters, counts)
    _sources(sources, result, counts)
    figure.suptitle(f"{result.rows - result.kept:,} of {result.rows:,} rows dropped")
    try:
        with warnings.catch_warnings(action="ignore"):  # of characters that its font does not have
            figure.savefig(path, format="png")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def _similarities(axes: Any, result: Result, counts: Counts) -> None:
    threshold = result.summary["settings"]["threshold"]
    first = min([place for place, rows in enumerate(counts.similarities) if rows], default=100)
    places = range(min(first, round(threshold / STEP)), len(counts.similarities))
    starts = [place * STEP for place in places]
    axes.bar(starts, [counts.similarities[place] for place in places], STEP * 0.9, align="edge")
    axes.axvline(threshold, color="tab:red", linestyle="--", linewidth=1)
    axes.set(xlabel="Jaccard similarity", ylabel="dropped rows", yscale="symlog", xlim=(None, 1.01))
    axes.set_title("similar to the row that stays", fontsize=10)


def _clusters(axes: Any, counts: Counts) -> None:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    axes.scatter(list(counts.clusters), list(counts.clusters.values()), s=14)
    axes.set(xlabel="rows of a cluster", ylabel="clusters")
    axes.set_title("clusters by size", fontsize=10)
    if not counts.clusters:
        return
    axes.set(xscale="log", yscale="log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(NullFormatter())


def _sources(axes: Any, result: Result, counts: Counts) -> None:
    """Rows before and after, by the values of a column, or by file."""
    if counts.columns:
        found = [
            (str(one["value"]), one["before"], one["after"]) for one in counts.columns[0].values
        ]
    else:
        dropped: dict[str | None, int] = {}
        for (source, _), rows in counts.matrix.items():
            dropped[source] = dropped.get(source, 0) + rows
        rows_of = [(shard["path"], shard["rows"]) for shard in result.shards]
        found = [(path, rows, rows - dropped.get(path, 0)) for path, rows in rows_of]
    found = sorted(found, key=lambda one: -one[1])[:SOURCES][::-1]
    names = [printable(name)[-CHARACTERS:].replace("$", r"\$") for name, _, _ in found]
    places = range(len(found))
    axes.barh(places, [before for _, before, _ in found], color="tab:red", alpha=0.35)
    axes.barh(places, [after for _, _, after in found], color="tab:blue")
    axes.set_yticks(places, names, fontsize=8)
    axes.set(xlabel="rows; what goes is pale")
    axes.set_title(f"by {counts.source or 'file'}", fontsize=10)
