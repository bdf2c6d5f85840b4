"""Rows that are never compared: they are in no component, whatever they are like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.storage.tables import WrittenFile
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import Artifact, Left

UNLINKED = Artifact(
    "dropped",
    "rows",
    pa.schema([("dropped", pa.bool_())]),
    "one, with a row for each row of the sign task, in order; of a finished run only",
    {"dropped": "whether the run dropped the row, so that it links no others"},
)


def write_unlinked(work: WorkDir, task: int, dropped: Array) -> dict[str, WrittenFile]:
    """Leave which rows of a sign task are never compared.

    work: the work directory. task: number of the sign task. dropped: bool, of each of its rows.
    """
    batch = pa.RecordBatch.from_arrays([pa.array(dropped)], schema=UNLINKED.columns)
    return UNLINKED.write(work, task, [batch])


def linked_of(work: WorkDir, unlinked: Left | None, task: int, rows: int) -> Array:
    """Whether each row of a sign task may be compared: bool.

    work: the work directory. unlinked: the files of each sign task, None where all rows may be.
    task: number of the sign task. rows: of it.
    """
    if unlinked is None:
        return np.ones(rows, np.bool_)
    (batch,) = UNLINKED.read(work, {task: unlinked[task]}, 0)
    linked: Array = ~numbers(batch.column(0))
    return linked


def without_sets(offsets: Array, hashes: Array, stay: Array, fields: int) -> tuple[Array, Array]:
    """The shingle sets of some rows, of which those that do not stay are empty.

    offsets, hashes: see `RowSets`. stay: bool, of each row. fields: of a row.
    """
    if stay.all():
        return offsets, hashes
    of_sets = np.repeat(stay, fields)
    sizes = np.diff(offsets)
    kept = np.where(of_sets, sizes, 0)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(kept)])
    return bounds, hashes[np.repeat(of_sets, sizes)]
