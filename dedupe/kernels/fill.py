"""Clusters of rows to splits, in a given order, as long as there is room for them."""

from __future__ import annotations

from dedupe.kernels import kernel, types
from dedupe.kernels.array_types import INT64, UINT32


@kernel(types.void(UINT32, INT64, types.int64[:, ::1], types.uint8[::1]))
def fill(stratum, size, room, split):
    """Give each cluster to the first split that has room for all of it.

    stratum: uint32, that of each cluster, in the order in which they are taken. size: int64, rows
    of each. room: int64[strata, splits], rows that each split still takes; written. split:
    uint8[clusters], written: the number of its split from 1, or 0 where none has room.
    """
    for i in range(size.size):
        split[i] = 0
        for part in range(room.shape[1]):
            if size[i] <= room[stratum[i], part]:
                room[stratum[i], part] -= size[i]
                split[i] = part + 1
                break
