"""join: without bands, all rows to edges between similar ones. One task for a block of rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.errors import IntegrityError
from dedupe.schema import EDGES
from dedupe.shingling import Shingler
from dedupe.tasks.artifacts import JOIN_EDGES, Left, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.sign import contaminated_rows
from dedupe.tasks.unlinked import linked_of, without_sets

if TYPE_CHECKING:
    from dedupe.stages.join import JoinBlock


def join_task(
    job: Job, positions: Positions, task: int, unlinked: Left | None = None
) -> TaskResult:
    """Connect the rows of a block with those of it and before it; leaves `JOIN_EDGES`.

    job: of the run. positions: where its rows are. task: number of the block. unlinked: see
    `linked_of`. A block that memory does not hold is joined a part after the other.
    """
    bounds = positions.task_starts[[positions.blocks[task], positions.blocks[task + 1]]]
    first, end = bounds.tolist()
    files = JOIN_EDGES.write(job.work, task, _joined(job, positions, unlinked, first, end))
    return TaskResult(rows=end - first, files=files)


def _joined(
    job: Job, positions: Positions, unlinked: Left | None, start: int, end: int
) -> Iterator[pa.RecordBatch]:
    """Edges between the rows from one position to another, and from these to all before."""
    while start < end:
        start = yield from _block_joined(job, positions, unlinked, start, end)


def _block_joined(
    job: Job, positions: Positions, unlinked: Left | None, start: int, end: int
) -> Generator[pa.RecordBatch, None, int]:
    """The same of as many of these rows as fit memory; the position behind them."""
    block = _read_block(job, positions, unlinked, start, end)
    if len(block) == 0:
        raise IntegrityError(f"{end - start} rows are missing at position {start}")
    held, count = [tuple(start + part for part in block.within())], 0
    for first, offsets, hashes in _sets_between(job, positions, unlinked, 0, start):
        sets, rows = block.edges(offsets, hashes)
        held.append((first + sets, start + rows))
        count += len(sets)
        if count > job.planner.tuning.edge_batch:
            yield _edge_batch(held)
            held, count = [], 0
    yield _edge_batch(held)
    return start + len(block)


def _edge_batch(parts: list[tuple[Array, ...]]) -> pa.RecordBatch:
    none = np.zeros(0, np.int64)
    left, right = zip((none, none), *parts, strict=True)
    columns = [pa.array(np.concatenate(column)) for column in (left, right)]
    return pa.RecordBatch.from_arrays(columns, schema=EDGES)


def _read_block(
    job: Job, positions: Positions, unlinked: Left | None, start: int, end: int
) -> JoinBlock:
    """The rows from a position on as a block, up to `end` or as many as fit."""
    from dedupe.stages.join import JoinBlock  # here, since few runs need its kernels

    threshold, costs = job.settings.threshold, job.planner.costs
    memory = job.planner.tuning.join_memory or job.sizes.task_memory * 2 // 3
    room = costs.join_room(memory, threshold)
    sizes: list[Array] = [np.zeros(0, np.int64)]
    hashes: list[Array] = []
    rows = shingles = 0
    for _, offsets, values in _sets_between(job, positions, unlinked, start, end):
        rows, shingles = rows + (len(offsets) - 1) // job.fields, shingles + len(values)
        if hashes and costs.join_bytes(shingles, rows, threshold) > room:
            break
        sizes.append(np.diff(offsets))
        hashes.append(values)
    return JoinBlock.of(sizes, hashes, threshold, job.fields)


def _sets_between(
    job: Job, positions: Positions, unlinked: Left | None, start: int, end: int
) -> Iterator[tuple[int, Array, Array]]:
    """(position of the first, offsets, hashes) of the shingle sets of rows, some at a time."""
    batch_bytes = min(job.sizes.batch, job.planner.tuning.join_batch)
    shingler = Shingler(job.settings, job.document)
    reader = positions.reader(job, None, batch_bytes)
    linked = lru_cache(maxsize=1)(partial(_linked, job, positions, unlinked))
    for rows, batch in reader.read(range(start, end)):
        sets = shingler.sets(batch)
        offsets, hashes = sets.offsets, sets.hashes
        if unlinked is not None or job.contaminated:
            task = int(np.searchsorted(positions.task_starts, rows[0], side="right")) - 1
            stay = linked(task)[rows - positions.task_starts[task]]
            offsets, hashes = without_sets(offsets, hashes, stay, job.fields)
        yield int(rows[0]), offsets, hashes


def _linked(job: Job, positions: Positions, unlinked: Left | None, task: int) -> Array:
    """Whether each row of a sign task may be compared: bool; contaminated rows may not."""
    linked = linked_of(job.work, unlinked, task, positions.rows_in(task))
    linked[contaminated_rows(job, task)] = False
    return linked
