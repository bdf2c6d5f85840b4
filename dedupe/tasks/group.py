"""group: rows in components that are verified as one. One task for a partition of components."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dedupe.schema import labeled, with_echo
from dedupe.stages.group import group
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import MEMBERS, ROUTED, TO_FETCH, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions


@dataclass(frozen=True, kw_only=True)
class GroupResult(TaskResult):
    """What a group task counted.

    components: components in the partition. largest_component: rows of the largest one;
    largest_row: the position of its first row in the corpus, -1 without any. set_hashes: shingles
    of the rows to fetch, at least as many as will be in their sets. ruled_out: rows of an index
    that are no members, as no row of the corpus can be similar to them.
    """

    components: int
    largest_component: int
    largest_row: int = -1
    set_hashes: int
    ruled_out: int = 0


def group_task(
    job: Job,
    positions: Positions,
    routed: Mapping[int, Mapping[str, WrittenFile]],
    partition: int,
) -> GroupResult:
    """Group the rows of a partition of components by digest; leaves `MEMBERS` and `TO_FETCH`.

    job: of the run. positions: where its rows are. routed: the files of each route task. partition:
    of components.
    """
    columns = with_echo(labeled(positions.columns_of_rows(job)), echoes=job.echoes)
    rows = list(positions.batches(job, ROUTED, routed, partition, columns))
    threshold = job.settings.threshold if job.sketched and job.earlier is not None else None
    grouped = group(rows, positions.task_starts, positions.own_rows, threshold)
    members = grouped.members
    files = MEMBERS.write(job.work, partition, [members], members.schema)
    files |= TO_FETCH.write(job.work, partition, grouped.to_fetch)
    return GroupResult(
        rows=members.num_rows,
        files=files,
        components=grouped.components,
        largest_component=grouped.largest,
        largest_row=grouped.largest_row,
        set_hashes=grouped.set_hashes,
        ruled_out=grouped.ruled_out,
    )
