"""fetch: the rows that verification compares, once more from their text, to shingle sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dedupe import schema
from dedupe.arrays import Array, in_partitions
from dedupe.checks import check_increasing, check_range
from dedupe.shingling import RowSets


def rows_to_fetch(wanted: Sequence[Array], task_rows: int) -> tuple[Array, Array]:
    """What is fetched of a sign task: (row numbers int64, increasing; the partition of each).

    wanted: for each partition of components its rows, numbered from 0 in the task; see
    `schema.ROWS_TO_FETCH`. task_rows: rows in the task.

    Raises IntegrityError for a row outside of the task, or that two partitions want.
    """
    rows = np.concatenate([*wanted, np.zeros(0, np.uint32)]).astype(np.int64)
    partition = np.repeat(np.arange(len(wanted)), [len(part) for part in wanted])
    order = np.argsort(rows)
    rows = rows[order]
    check_range(rows, task_rows, "fetch was asked for a row outside of its sign task")
    check_increasing(rows, "fetch was asked for a row twice", strictly=True)
    return rows, partition[order]


def set_batches(
    rows: Array, partition: Array, sets: RowSets, partitions: int
) -> Iterator[pa.RecordBatch]:
    """The shingle sets of some rows: a batch of `schema.sets` for each partition of components.

    rows: numbers in the sign task, increasing. partition: int64, that of each row. sets: of these
    rows. partitions: number of partitions.
    """
    fields = sets.fields
    columns = [
        pa.array(rows, pa.uint32()),
        pa.LargeListArray.from_arrays(pa.array(sets.offsets[::fields]), pa.array(sets.hashes)),
        _of_fields(np.diff(sets.offsets), fields),
        _of_fields(sets.words, fields),
        pa.LargeListArray.from_arrays(
            pa.array(sets.repeat_offsets[::fields]), pa.array(sets.repeats)
        ),
        _of_fields(np.diff(sets.repeat_offsets), fields),
    ]
    table = pa.RecordBatch.from_arrays(columns, schema=schema.sets(fields))
    yield from in_partitions(table, partition, partitions)


def _of_fields(values: Array, fields: int) -> pa.Array:
    """A column with one number for each field of a row."""
    flat = pa.array(values.astype(np.uint32, copy=False))
    return pa.FixedSizeListArray.from_arrays(flat, type=pa.list_(pa.uint32(), fields))
