"""fetch: rows that verify compares are read again, as shingle sets. One task for a sign task."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from dedupe import schema
from dedupe.arrays import Array, numbers
from dedupe.shingling import RowSets, Shingler
from dedupe.stages.fetch import rows_to_fetch, set_batches
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
    shingler = Shingler(job.settings, job.document)
    held: list[RowSets] = []
    done = made = 0
    with SpillBuffer(job.work.files.spool) as sets:
        reader = positions.reader(job, task, job.sizes.batch)
        for _, batch in reader.read(rows + positions.task_starts[task]):
            part = shingler.sets(batch)
            if sum(len(one.hashes) + len(one.repeats) // 2 for one in held) > limit:
                sets.add(
                    _batches(rows[done:made], partition[done:made], job.fields, held, partitions)
                )
                held, done = [], made
            held.append(part)
            made += len(part)
        sets.add(_batches(rows[done:], partition[done:], job.fields, held, partitions))
        files = SETS.write(job.work, task, sets.merged(), schema.sets(job.fields))
    return TaskResult(rows=len(rows), files=files)


def _batches(
    rows: Array, partition: Array, fields: int, held: list[RowSets], partitions: int
) -> list[pa.RecordBatch]:
    return list(set_batches(rows, partition, RowSets.joined(fields, held), partitions))
