"""route: what sign knows of the rows in components, to the partition of their component."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, in_partitions, numbers
from dedupe.schema import labeled

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
"""Spreads neighbouring components over all partitions."""


def route(
    labels: pa.RecordBatch, signed: pa.RecordBatch, partitions: int
) -> Iterator[pa.RecordBatch]:
    """Rows in components: one record batch for each partition of components, rows in order.

    labels: see `schema.LABELS`; signed: all rows of the sign task, see `schema.ROWS`.
    """
    partition = _partition(numbers(labels.column("component")), partitions)
    known = signed.take(labels.column("row"))
    rows = pa.RecordBatch.from_arrays(
        [*labels.columns, *known.columns], schema=labeled(signed.schema)
    )
    yield from in_partitions(rows, partition, partitions)


def _partition(components: Array, partitions: int) -> Array:
    stirred = components.astype(np.uint64) * GOLDEN_RATIO >> np.uint64(32)
    return (stirred * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)
