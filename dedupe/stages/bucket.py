"""bucket: the band records of one partition of the key space to edges between rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.kernels.grouping import bucket_edges
from dedupe.schema import EDGES


@dataclass(frozen=True)
class Buckets:
    """edges: see `schema.EDGES`; largest: rows in one bucket."""

    edges: pa.RecordBatch
    largest: int


def bucket(keys: list[Array], positions: list[Array], partitions: int) -> Buckets:
    """Edges that connect the rows sharing a band key.

    keys uint64 and positions int64, one pair of arrays per sign task in task order; `partitions`
    is the number of partitions of the key space.
    """
    all_keys = np.concatenate([*keys, np.zeros(0, np.uint64)])
    all_positions = np.concatenate([*positions, np.zeros(0, np.int64)])
    left, right, largest = bucket_edges(all_keys, all_positions, partitions)
    edges = pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=EDGES)
    return Buckets(edges, largest)
