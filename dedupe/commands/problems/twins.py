"""twins: rows whose prompt has several answers, or whose answer stands after many prompts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, slices
from dedupe.commands.problems.job import ANSWERS, PROMPTS, TWINS, ProblemsJob
from dedupe.stages.problems import MANY_PROMPTS, bit_of
from dedupe.tasks.artifacts import Artifact, Left, TaskResult

SEVERAL = 2
"""Answers of one prompt from which it has several."""


def twins_task(job: ProblemsJob, looked: Left, partition: int) -> TaskResult:
    """Leave `TWINS` of a partition of prompts, and one of answers.

    job: the search. looked: the files of each task of look. partition: its number.
    """
    found = []
    asked = ((PROMPTS, SEVERAL, "several-answers"), (ANSWERS, MANY_PROMPTS, "many-prompts"))
    for artifact, least, name in asked:
        rows = rows_with_others(*_records(job, looked, artifact, partition), least)
        found.append((rows, np.full(len(rows), bit_of(name), np.uint32)))
    position, problems = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(position, kind="stable")
    columns = [pa.array(part[order]) for part in (position, problems)]
    batch = pa.RecordBatch.from_arrays(columns, schema=TWINS.columns)
    bounds = np.searchsorted(position[order], job.slice_starts)
    files = TWINS.write(job.work, partition, slices(batch, bounds))
    return TaskResult(rows=len(position), files=files)


def _records(
    job: ProblemsJob, looked: Left, artifact: Artifact, partition: int
) -> tuple[Array, Array, Array]:
    """Keys and others, uint64[rows, 2] each, and positions, of a partition."""
    parts: list[list[Array]] = [[np.zeros((0, 2), np.uint64)], [np.zeros((0, 2), np.uint64)]]
    positions = [np.zeros(0, np.int64)]
    for batch in artifact.read(job.work, looked, partition):
        for part, column in zip(parts, batch.columns[:2], strict=True):
            data = np.frombuffer(
                column.buffers()[1], np.uint64, 2 * len(column), 16 * column.offset
            )
            part.append(data.reshape(-1, 2))
        positions.append(numbers(batch.column("position")))
    return np.concatenate(parts[0]), np.concatenate(parts[1]), np.concatenate(positions)


def rows_with_others(keys: Array, others: Array, positions: Array, least: int) -> Array:
    """Positions of rows whose key stands with so many different others: int64.

    keys, others: uint64[rows, 2]. positions: int64. least: how many others are many.
    """
    order = np.lexsort((others[:, 0], others[:, 1], keys[:, 0], keys[:, 1]))
    keys, others = keys[order], others[order]
    is_new_key = np.ones(len(keys), np.bool_)
    is_new_key[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    is_new = is_new_key.copy()
    is_new[1:] |= (others[1:] != others[:-1]).any(axis=1)
    starts = np.flatnonzero(is_new_key)
    if not len(starts):
        return np.zeros(0, np.int64)
    different = np.add.reduceat(is_new.astype(np.int64), starts)
    many = np.repeat(different >= least, np.diff(np.append(starts, len(keys))))
    found: Array = positions[order][many]
    return found
