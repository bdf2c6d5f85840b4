"""shingle: the rows that verification compares, once more from their text, to shingle sets."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from dedupe.arrays import Array, in_partitions, text_buffers
from dedupe.config import Settings
from dedupe.kernels.rows import set_rows
from dedupe.kernels.unicode import load_tables
from dedupe.schema import SETS


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
    """Sets of a task's rows: one batch per partition of components.

    rows (numbers in the task, increasing) and partition have one entry per set.
    """
    sets = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))
    table = pa.RecordBatch.from_arrays([pa.array(rows, pa.uint32()), sets], schema=SETS)
    yield from in_partitions(table, partition, partitions)
