"""route: what sign knows of rows in components, to their component. One task for a sign task."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from dedupe.schema import ECHO, labeled
from dedupe.stages.route import route
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import LABELS, ROUTED, Left, TaskResult
from dedupe.tasks.earlier import echoes_of
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions


def route_task(
    job: Job,
    positions: Positions,
    labels: Mapping[int, Mapping[str, WrittenFile]],
    partitions: int,
    chosen: Left,
    task: int,
) -> TaskResult:
    """Bring the rows of a sign task that are in components to their partition; leaves `ROUTED`.

    job: of the run. positions: where its rows are. labels: the files of the last merge. partitions:
    of components. chosen: the files of each choose task. task: number of the sign task.
    """
    (found,) = LABELS.read(job.work, labels, task)
    signed = positions.signed_rows(job, task)
    if job.echoes:
        none = np.full(signed.num_rows, -1, np.int64)
        is_own = not job.is_of_references(task)
        echoes = echoes_of(job, positions, chosen, signed) if is_own else none
        columns = signed.schema.append(pa.field(ECHO, pa.int64()))
        signed = pa.RecordBatch.from_arrays([*signed.columns, pa.array(echoes)], schema=columns)
    batches = route(found, signed, partitions)
    files = ROUTED.write(job.work, task, batches, labeled(signed.schema))
    return TaskResult(rows=found.num_rows, files=files)
