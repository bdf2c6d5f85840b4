"""What a run will take, before it is run: each stage has its costs, see `dedupe.tasks.costs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dedupe.config import Resources
from dedupe.planning.sizes import Planner, TaskSizes


@dataclass(frozen=True)
class Workload:
    """A run that was not made yet.

    rows: of the corpus. mean_bytes: of text in a row. bands: of the banding, 1 without. members:
    rows that share a bucket with another. unit: of shingles, "word" or "char". sizes: of tasks,
    with the number of key partitions. sign_tasks, component_partitions: how many there will be.
    """

    rows: int
    mean_bytes: int
    bands: int
    members: int
    unit: str
    sizes: TaskSizes
    sign_tasks: int
    component_partitions: int


@dataclass(frozen=True)
class StageEstimate:
    """What a stage takes: name, number of tasks, memory of one, disk of all, and partitions read.

    memory and disk are bytes. alone: whether the task runs alone in its process. reads: record
    batches of other stages that its tasks read.
    """

    stage: str
    tasks: int
    memory: int
    disk: int = 0
    reads: int = 0
    alone: bool = False


StageCost = Callable[[Planner, Workload], StageEstimate]
"""What says of a stage what it will take."""


@dataclass(frozen=True)
class Estimate:
    """What a run takes: of each stage, and in all; bytes."""

    stages: dict[str, StageEstimate]
    work_disk: int
    peak_memory: int
    memory: int
    partition_reads: int


def workload(
    planner: Planner,
    resources: Resources,
    rows: int,
    mean_bytes: int,
    bands: int,
    share_in_components: float,
    unit: str,
) -> Workload:
    """Cut a corpus that is known by its size alone.

    planner: cuts it. resources: what the run may use. rows, mean_bytes: of the corpus, and of text
    in a row. bands: of the banding. share_in_components: part of the rows that share a bucket with
    another. unit: of shingles, "word" or "char".
    """
    sizes = planner.task_sizes(resources, rows * mean_bytes)
    keys = planner.key_partitions(sizes, rows * bands)
    members = int(rows * share_in_components)
    costs = planner.costs
    shingles = mean_bytes * costs.shingle_bytes(unit) / costs.shingle_hash
    return Workload(
        rows=rows,
        mean_bytes=mean_bytes,
        bands=bands,
        members=members,
        unit=unit,
        sizes=TaskSizes(**{**vars(sizes), "key_partitions": keys}),
        sign_tasks=max(-(-rows * mean_bytes // sizes.task_text), -(-rows // sizes.task_rows)),
        component_partitions=planner.component_partitions(sizes, members, shingles),
    )


def estimate(
    planner: Planner, resources: Resources, work: Workload, stages: Sequence[StageCost]
) -> Estimate:
    """Sum up what stages say of themselves.

    planner: as it cut the workload. resources: what the run may use. work: the run. stages: the
    costs of each of its stages.
    """
    found = [stage(planner, work) for stage in stages]
    base, threads = planner.costs.base, resources.threads
    return Estimate(
        stages={one.stage: one for one in found},
        work_disk=sum(one.disk for one in found),
        peak_memory=max(base + one.memory * (1 if one.alone else threads) for one in found),
        memory=resources.memory,
        partition_reads=sum(one.reads for one in found),
    )
