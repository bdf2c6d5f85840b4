"""What the user of a run would want to be told: sentences for `summary.json` and the screen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dedupe.config import PREFER
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import listed, printable
from dedupe.pipeline import FinishedRun
from dedupe.stages.effects import is_much

MOST_TOLD = 10
"""Warnings of one kind that are spelled out."""


def warnings_of(run: FinishedRun) -> list[str]:
    """The warnings about a run."""
    kinds = (_empty(run), _preferred(run), _eaten(run))
    return [one for kind in kinds for one in _first(list(kind))]


def preferred(run: FinishedRun) -> dict[str, dict[str, int]]:
    """For each keep policy that prefers values how many rows have each of them, and any other."""
    found = {}
    for policy in run.job.settings.policies:
        if policy.kind == PREFER:
            of_tasks = [result.preferred.get(str(policy)) for result in run.signed.values()]
            counts = [sum(values) for values in zip(*filter(None, of_tasks), strict=True)]
            found[str(policy)] = dict(zip((*policy.values, OTHER), counts, strict=False))
    return found


OTHER = "(any other)"


def _first(told: list[str]) -> list[str]:
    more = len(told) - MOST_TOLD
    return [*told[:MOST_TOLD], *([f"and {more:,} more like the last"] if more > 0 else [])]


def _empty(run: FinishedRun) -> Iterator[str]:
    """Shards of which most rows are empty, or the whole run."""
    shards = run.job.shards[: run.job.own_shards]
    rows = np.diff(run.positions.shard_starts).tolist()[: len(shards)]
    empty = [count for _, result in sorted(run.kept.items()) for count in result.empty]

    def about(document: DocumentTemplate) -> str:
        return f"; not compared: {listed(document.others)}" if document.others else ""

    documents = run.job.documents
    if 2 * sum(empty) > sum(rows):
        told = about(documents.whole)
        yield f"{sum(empty):,} of {sum(rows):,} rows are empty in what is compared{told}"
        return
    for number, (shard, count, of) in enumerate(zip(shards, empty, rows, strict=True)):
        if 2 * count > of:
            told = about(documents.of_file(number))
            yield f"{printable(shard.path)}: {count:,} of {of:,} rows are empty{told}"


def _preferred(run: FinishedRun) -> Iterator[str]:
    """Values to prefer that no row has."""
    for policy, counts in preferred(run).items():
        told = ", ".join(f"{value}: {count:,}" for value, count in counts.items())
        missing = [value for value, count in counts.items() if count == 0 and value != OTHER]
        if missing and sum(counts.values()):
            yield f"keep {policy}: no row has {listed(missing)} (rows: {printable(told)})"


def _eaten(run: FinishedRun) -> Iterator[str]:
    """Clusters that took much of a shard, or of the run."""
    shards = run.job.shards[: run.job.own_shards]
    starts = run.positions.shard_starts[: len(shards) + 1]

    def place(position: int) -> str:
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return f"{shard}:{position - int(starts[shard])} of {printable(shards[shard].path)}"

    largest = [one for result in run.verified.values() for one in result.largest]
    whole = sorted((-dropped, kept) for kept, dropped in largest)
    for dropped, kept in whole:
        if is_much(np.array([-dropped]), run.positions.own_rows)[0]:
            yield (
                f"{-dropped:,} of {run.positions.own_rows:,} rows were dropped because of row "
                f"{place(kept)}: look at it with dedupe show --row"
            )
    found = [one for result in run.verified.values() for one in result.eaten]
    if run.positions.sources is None or run.job.settings.source(run.job.document) is None:
        sources = [printable(shard.path) for shard in shards]
        rows = np.diff(starts).tolist()
    else:
        column = printable(str(run.job.settings.source(run.job.document)))
        told = list(run.positions.sources.values())
        sources = [f"{column} {printable(name) or '(none)'}" for _, name in told]
        rows = [count for count, _ in told]
    if len(sources) > 1:
        for source, kept, dropped in sorted(found):
            yield (
                f"{sources[source]}: {dropped:,} of {rows[source]:,} rows were dropped because of "
                f"row {place(kept)}"
            )
