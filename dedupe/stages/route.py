"""route: what sign knows of the rows in components, to the partition of their component."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, in_partitions, numbers
from dedupe.checks import check_range
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.schema import labeled


def route(
    labels: pa.RecordBatch, signed: pa.RecordBatch, partitions: int
) -> Iterator[pa.RecordBatch]:
    """The rows of a sign task that are in components: a batch for each partition, rows in order.

    labels: those rows and their components, see `schema.LABELS`. signed: all rows of the task, see
    `schema.ROWS`. partitions: number of partitions of the components.

    Raises IntegrityError for a label of a row outside of the task.
    """
    check_range(
        numbers(labels.column("row")),
        signed.num_rows,
        "route was handed a label of a row outside of its sign task",
    )
    partition = _partition(numbers(labels.column("component")), partitions)
    known = signed.take(labels.column("row"))
    rows = pa.RecordBatch.from_arrays(
        [*labels.columns, *known.columns], schema=labeled(signed.schema)
    )
    yield from in_partitions(rows, partition, partitions)


def _partition(components: Array, partitions: int) -> Array:
    """Neighbouring components are spread over all partitions."""
    mixed = components.astype(np.uint64) * GOLDEN_RATIO >> np.uint64(32)
    return (mixed * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)
