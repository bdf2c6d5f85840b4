"""Commands that read every row of a finished run again: how its shards are cut into slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any

import numpy as np

from dedupe.config import Tuning
from dedupe.corpus import Projection, Shard, first_rows, plan_slices
from dedupe.stage_runner import StageRunner
from dedupe.tasks.artifacts import TaskResult


@dataclass(frozen=True, kw_only=True)
class SliceResult(TaskResult):
    """Slices of a shard, as the fields of `Slice`, and the number of the first row of each."""

    slices: list[Any]
    first: list[int]


def slices_task(
    shards: Sequence[Shard],
    listed: Sequence[Mapping[str, Any]],
    projections: Sequence[Projection],
    text: int,
    rows: int,
    task: int,
) -> SliceResult:
    """Cut a shard into slices.

    shards: of the corpus. listed: what is said of each by the output that is audited. projections:
    what is read of each. text, rows: bytes of text and rows of a slice. task: number of the shard.
    """
    shard = shards[task]
    if not listed[task]["rows"]:  # a file that was left out cannot be read
        return SliceResult(rows=0, files={}, slices=[], first=[])
    parts = plan_slices(shard, projections[task].text_columns, text, rows)
    first = first_rows(shard, parts)
    return SliceResult(
        rows=0, files={}, slices=[list(astuple(part)) for part in parts], first=first
    )


def cut_into_slices(
    stages: StageRunner,
    shards: Sequence[Shard],
    listed: Sequence[Mapping[str, Any]],
    projections: Sequence[Projection],
    tuning: Tuning,
) -> dict[str, list[Any]]:
    """Cut all shards: slices, as the fields of `Slice`, and the position of the first row of each.

    stages: runs the tasks. shards, listed, projections: see `slices_task`. tuning: how large slices
    are.
    """
    sizes = tuning.audit_text, tuning.audit_rows
    found = stages.survey(partial(slices_task, shards, listed, projections, *sizes), len(shards))
    starts = np.cumsum([0, *(one["rows"] for one in listed)])
    return {
        "slices": [part for one in found for part in one.slices],
        "first": [
            min(int(starts[number]) + row, int(starts[number + 1]))
            for number, one in enumerate(found)
            for row in one.first
        ],
    }
