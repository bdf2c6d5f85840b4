"""fetch: rows that verify compares are read again, as shingle sets. One task for a sign task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.stages.fetch import rows_to_fetch, set_batches, shingle_sets
from dedupe.storage.spill import SpillBuffer
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import SETS, TO_FETCH, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions


def fetch_task(
    job: Job,
    positions: Positions,
    grouped: Mapping[int, Mapping[str, WrittenFile]],
    task: int,
) -> TaskResult:
    """Make the shingle sets that verify needs of the rows of a sign task; leaves `SETS`.

    job: of the run. positions: where its rows are. grouped: the files of each group task. task:
    number of the sign task.
    """
    partitions = len(grouped)
    wanted = [numbers(batch.column("row")) for batch in TO_FETCH.read(job.work, grouped, task)]
    rows, partition = rows_to_fetch(wanted, positions.rows_in(task))
    costs = job.planner.costs
    limit = job.sizes.spill // (costs.set_copies * costs.shingle_hash)
    hashes: list[Array] = []
    sizes: list[Array] = []
    done = made = 0
    with SpillBuffer(job.work.files.spool) as sets:
        reader = positions.reader(job, task, job.sizes.batch)
        for _, batch in reader.read(rows + positions.task_starts[task]):
            bounds, values = shingle_sets(batch.column(0), job.settings)
            if sum(map(len, hashes)) > limit:
                sets.add(_sets(rows[done:made], partition[done:made], sizes, hashes, partitions))
                hashes, sizes, done = [], [], made
            hashes.append(values)
            sizes.append(np.diff(bounds))
            made += len(bounds) - 1
        sets.add(_sets(rows[done:], partition[done:], sizes, hashes, partitions))
        files = SETS.write(job.work, task, sets.merged())
    return TaskResult(rows=len(rows), files=files)


def _sets(
    rows: Array, partition: Array, sizes: list[Array], hashes: list[Array], partitions: int
) -> list[pa.RecordBatch]:
    values = np.concatenate([*hashes, np.zeros(0, np.uint64)])
    offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
    return list(set_batches(rows, partition, offsets, values, partitions))
