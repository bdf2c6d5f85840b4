"""components: edges to connected components, by a tree of merges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from dedupe.planning.sizes import Merge
from dedupe.stages.components import ComponentFinder
from dedupe.tasks.artifacts import (
    BUCKET_EDGES,
    CONNECTED,
    JOIN_EDGES,
    LABELS,
    MERGED_EDGES,
    Left,
    TaskResult,
    files_of,
)
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions

_EDGES = {edges.stage: edges for edges in (BUCKET_EDGES, JOIN_EDGES, CONNECTED, MERGED_EDGES)}


@dataclass(frozen=True, kw_only=True)
class ComponentsResult(TaskResult):
    """What a merge made; partitions: how many partitions these components are cut into."""

    partitions: int


def components_task(
    job: Job,
    positions: Positions,
    left: Mapping[str, Left],
    merged: Mapping[int, ComponentsResult],
    task: int,
) -> ComponentsResult:
    """Merge the edges of some tasks; leaves `MERGED_EDGES`, or as the last merge `LABELS`.

    job: of the run. positions: where its rows are. left: the files of each task of bucket, join
    and connect, by stage. merged: results of the merges of lower levels. task: number of the merge.
    """
    left = {**left, "components": files_of(merged)}
    merge = positions.merges(job)[task]
    finder = ComponentFinder(positions.rows)
    for edges in _edges(job, merge, left):
        finder.mark(edges)
    members = finder.count()
    job.planner.check_link(job.sizes, positions.rows, members, last=merge.last)
    finder.connect(_edges(job, merge, left))
    if merge.last:
        files = LABELS.write(job.work, task, finder.labels(positions.task_starts))
    else:
        files = MERGED_EDGES.write(job.work, task, finder.forest(job.planner.tuning.edge_batch))
    shingles = positions.shingles / max(positions.rows, 1)
    return ComponentsResult(
        rows=members,
        files=files,
        partitions=job.planner.component_partitions(job.sizes, members, shingles),
    )


def _edges(job: Job, merge: Merge, left: Mapping[str, Left]) -> Iterator[pa.RecordBatch]:
    files = {task: left[merge.stage][task] for task in merge.sources}
    return _EDGES[merge.stage].read(job.work, files, None)
