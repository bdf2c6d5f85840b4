"""join: without bands, all rows to edges between similar ones. One task for a block of rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.errors import IntegrityError
from dedupe.schema import EDGES
from dedupe.shingling import Shingler
from dedupe.tasks.artifacts import JOIN_EDGES, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions

if TYPE_CHECKING:
    from dedupe.stages.join import JoinBlock


def join_task(job: Job, positions: Positions, task: int) -> TaskResult:
    """Connect the rows of a block with those of it and before it; leaves `JOIN_EDGES`.

    job: of the run. positions: where its rows are. task: number of the block. A block that memory
    does not hold is joined a part after the other.
    """
    bounds = positions.task_starts[[positions.blocks[task], positions.blocks[task + 1]]]
    first, end = bounds.tolist()
    files = JOIN_EDGES.write(job.work, task, _joined(job, positions, first, end))
    return TaskResult(rows=end - first, files=files)


def _joined(job: Job, positions: Positions, start: int, end: int) -> Iterator[pa.RecordBatch]:
    """Edges between the rows from one position to another, and from these to all before."""
    while start < end:
        start = yield from _block_joined(job, positions, start, end)


def _block_joined(
    job: Job, positions: Positions, start: int, end: int
) -> Generator[pa.RecordBatch, None, int]:
    """The same of as many of these rows as fit memory; the position behind them."""
    block = _read_block(job, positions, start, end)
    if len(block) == 0:
        raise IntegrityError(f"{end - start} rows are missing at position {start}")
    held, count = [tuple(start + part for part in block.within())], 0
    for first, offsets, hashes in _sets_between(job, positions, 0, start):
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


def _read_block(job: Job, positions: Positions, start: int, end: int) -> JoinBlock:
    """The rows from a position on as a block, up to `end` or as many as fit."""
    from dedupe.stages.join import JoinBlock  # here, since few runs need its kernels

    threshold, costs = job.settings.threshold, job.planner.costs
    memory = job.planner.tuning.join_memory or job.sizes.task_memory * 2 // 3
    room = costs.join_room(memory, threshold)
    sizes: list[Array] = [np.zeros(0, np.int64)]
    hashes: list[Array] = []
    rows = shingles = 0
    for _, offsets, values in _sets_between(job, positions, start, end):
        rows, shingles = rows + (len(offsets) - 1) // job.fields, shingles + len(values)
        if hashes and costs.join_bytes(shingles, rows, threshold) > room:
            break
        sizes.append(np.diff(offsets))
        hashes.append(values)
    return JoinBlock.of(sizes, hashes, threshold, job.fields)


def _sets_between(
    job: Job, positions: Positions, start: int, end: int
) -> Iterator[tuple[int, Array, Array]]:
    """(position of the first, offsets, hashes) of the shingle sets of rows, some at a time."""
    batch_bytes = min(job.sizes.batch, job.planner.tuning.join_batch)
    shingler = Shingler(job.settings, job.document)
    reader = positions.reader(job, None, batch_bytes)
    excluded = positions.contaminated(job, start, end)
    for rows, batch in reader.read(range(start, end)):
        sets = shingler.sets(batch)
        low, high = np.searchsorted(excluded, [rows[0], rows[-1] + 1])
        offsets, hashes = sets.offsets, sets.hashes
        if low < high:
            offsets, hashes = _without(offsets, hashes, excluded[low:high] - rows[0], job.fields)
        yield int(rows[0]), offsets, hashes


def _without(offsets: Array, hashes: Array, rows: Array, fields: int) -> tuple[Array, Array]:
    """Sets of which those of some rows are empty: (offsets, hashes).

    offsets, hashes: see `shingling.RowSets`. rows: int64, numbers of rows. fields: of a document.
    """
    sizes = np.diff(offsets)
    stay = np.ones(len(sizes) // fields, np.bool_)
    stay[rows] = False
    of_sets = np.repeat(stay, fields)
    left = hashes[np.repeat(of_sets, sizes)]
    return np.append(0, np.cumsum(np.where(of_sets, sizes, 0))), left
