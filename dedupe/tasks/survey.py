"""survey: shards are looked at before the run is cut: their columns, sizes and slices."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

from dedupe.corpus import Projection, Shard, Slice, check_columns, estimate, plan_slices
from dedupe.planning.sizes import Planner, TaskSizes
from dedupe.tasks.artifacts import TaskResult


@dataclass(frozen=True, kw_only=True)
class SurveyResult(TaskResult):
    """What was seen of some shards.

    slices: in order, as the fields of `Slice`. weights: what each takes of a sign task, bytes of
    text. estimated_rows: of the shards, about.
    """

    slices: list[Any]
    weights: list[int]
    estimated_rows: int

    @property
    def parts(self) -> list[Slice]:
        """The slices."""
        return [Slice(*part) for part in self.slices]


def survey(
    groups: list[list[Shard]],
    projection: Projection,
    planner: Planner,
    sizes: TaskSizes,
    task: int,
) -> SurveyResult:
    """Look at some shards.

    groups: the shards of each task. projection: what will be read. planner, sizes: how the run will
    be cut. task: which group. Raises CorpusError for a shard that cannot be read, or lacks a
    column.
    """
    slices: list[Slice] = []
    weights: list[int] = []
    estimated = 0
    columns = projection.text_columns
    for shard in groups[task]:
        check_columns(shard, projection)
        rows, text_bytes = estimate(shard, columns)
        parts = plan_slices(shard, columns, sizes.task_text, sizes.task_rows)
        whole = planner.weight(sizes, text_bytes, rows)
        slices += parts
        weights += [whole // max(len(parts), 1)] * len(parts)
        estimated += rows
    return SurveyResult(
        rows=0,
        files={},
        slices=[astuple(part) for part in slices],
        weights=weights,
        estimated_rows=estimated,
    )
