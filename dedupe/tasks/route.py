"""route: what sign knows of rows in components, to their component. One task for a sign task."""

from __future__ import annotations

from collections.abc import Mapping

from dedupe.schema import labeled
from dedupe.stages.route import route
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import LABELS, ROUTED, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions


def route_task(
    job: Job,
    positions: Positions,
    labels: Mapping[int, Mapping[str, WrittenFile]],
    partitions: int,
    task: int,
) -> TaskResult:
    """Bring the rows of a sign task that are in components to their partition; leaves `ROUTED`.

    job: of the run. positions: where its rows are. labels: the files of the last merge. partitions:
    of components. task: number of the sign task.
    """
    (found,) = LABELS.read(job.work, labels, task)
    signed = positions.signed_rows(job, task)
    batches = route(found, signed, partitions)
    files = ROUTED.write(job.work, task, batches, labeled(signed.schema))
    return TaskResult(rows=found.num_rows, files=files)
