"""fetch: rows that verify compares are read again, as shingle sets. One task for a sign task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    with SpillBuffer(job.work.files.spool) as sets:
        for part, found in sets_in_parts(job, positions, task, rows):
            sets.add(list(set_batches(rows[part], partition[part], found, partitions)))
        files = SETS.write(job.work, task, sets.merged(), schema.sets(job.fields))
    return TaskResult(rows=len(rows), files=files)


def sets_in_parts(
    job: Job, positions: Positions, task: int, rows: Array
) -> Iterator[tuple[slice, RowSets]]:
    """The shingle sets of some rows of a sign task, as many at a time as memory holds.

    job: of the run. positions: where its rows are. task: number of the sign task. rows: int64,
    numbers of rows in it, increasing. Yields which of these rows come, and their sets; where there
    are no rows at all, once without any.
    """
    costs = job.planner.costs
    limit = job.sizes.spill // (costs.set_copies * costs.shingle_hash)
    shingler = Shingler(job.settings, job.document)
    held: list[RowSets] = []
    done = made = 0
    reader = positions.reader(job, task, job.sizes.batch)
    for _, batch in reader.read(rows + positions.task_starts[task]):
        part = shingler.sets(batch)
        if sum(len(one.hashes) + len(one.repeats) // 2 for one in held) > limit:
            yield slice(done, made), RowSets.joined(job.fields, held)
            held, done = [], made
        held.append(part)
        made += len(part)
    yield slice(done, made), RowSets.joined(job.fields, held)
