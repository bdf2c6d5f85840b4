"""dropped: of a finished run that is split, the rows that it dropped, which link no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dedupe.arrays import Array, numbers
from dedupe.errors import IntegrityError
from dedupe.storage.files import Files
from dedupe.storage.keep_lists import keep_list_batches
from dedupe.tasks.artifacts import TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.unlinked import write_unlinked

KEEP_ROWS = 1 << 16
"""Rows of a keep-list that are read at a time."""


@dataclass(frozen=True)
class Earlier:
    """The finished run that is split. out: its output. listed: what it says of each shard."""

    out: Files
    listed: Sequence[Mapping[str, Any]]


def dropped_task(job: Job, positions: Positions, earlier: Earlier, task: int) -> TaskResult:
    """Read which rows of a sign task the finished run dropped; leaves `UNLINKED`.

    job: of the split. positions: where its rows are. earlier: the finished run. task: number of the
    sign task.
    """
    starts = positions.slice_starts[task]
    kept = []
    for number, part in enumerate(job.tasks[task]):
        first, end = starts[number : number + 2] - positions.shard_starts[part.shard]
        kept.append(_kept_between(earlier, part.shard, int(first), int(end)))
    dropped = ~np.concatenate(kept)
    return TaskResult(rows=len(dropped), files=write_unlinked(job.work, task, dropped))


def _kept_between(earlier: Earlier, shard: int, first: int, end: int) -> Array:
    listed = earlier.listed[shard]
    found, at = [np.zeros(0, np.bool_)], 0
    with keep_list_batches(earlier.out, listed, KEEP_ROWS, ["keep"]) as (_, batches):
        for batch in batches:
            low, high = max(first - at, 0), min(end - at, batch.num_rows)
            if low < high:
                found.append(numbers(batch.column("keep"))[low:high])
            at += batch.num_rows
            if at >= end:
                break
    kept = np.concatenate(found)
    if len(kept) != end - first:
        raise IntegrityError(f"{listed['path']} has {end} rows or more, its keep-list has {at}")
    return kept
