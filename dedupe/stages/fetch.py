"""fetch: the rows that verification compares, once more from their text, to shingle sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, in_partitions, text_buffers
from dedupe.checks import check_increasing, check_range
from dedupe.config import Settings
from dedupe.kernels.rows import set_rows
from dedupe.kernels.unicode import load_tables
from dedupe.schema import SETS


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


def shingle_sets(texts: pa.Array, settings: Settings) -> tuple[Array, Array]:
    """Shingle sets of a large_string array: (offsets int64[rows + 1], hashes uint64).

    The set of row i is hashes[offsets[i]:offsets[i + 1]], distinct and unsorted.
    """
    buffers = text_buffers(texts)
    hashes, offsets = set_rows(
        buffers.data,
        buffers.offsets,
        buffers.valid,
        load_tables(),
        settings.chars,
        settings.shingle_size,
        settings.on_bad_text == "replace",
    )
    return offsets, hashes


def set_batches(
    rows: Array, partition: Array, offsets: Array, hashes: Array, partitions: int
) -> Iterator[pa.RecordBatch]:
    """The shingle sets of some rows: a batch of `schema.SETS` for each partition of components.

    rows: numbers in the sign task, increasing. partition: int64, that of each row. offsets:
    int64[rows + 1]; the set of row i is hashes[offsets[i]:offsets[i + 1]], of uint64. partitions:
    number of partitions.
    """
    sets = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))
    table = pa.RecordBatch.from_arrays([pa.array(rows, pa.uint32()), sets], schema=SETS)
    yield from in_partitions(table, partition, partitions)
