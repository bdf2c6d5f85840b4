"""Shingle sets to whole MinHash signatures, of which a run itself needs only the band keys."""

from __future__ import annotations

import numpy as np

from dedupe.kernels import kernel, types
from dedupe.kernels.array_types import INT64, UINT32, UINT64
from dedupe.kernels.minhash import EMPTY_SIGNATURE, add_to_signature


@kernel(types.uint32[:, ::1](UINT64, INT64, UINT32, UINT32))
def signatures_of_rows(hashes, offsets, multipliers, addends):
    """The signature of each row: uint32[rows, permutations].

    hashes: uint64; those of row i are hashes[offsets[i]:offsets[i + 1]]. offsets: int64[rows + 1].
    multipliers, addends: see `minhash.permutations`. A row without shingles has the signature of
    the empty set.
    """
    rows = offsets.size - 1
    found = np.full((rows, multipliers.size), EMPTY_SIGNATURE, np.uint32)
    for i in range(rows):
        count = offsets[i + 1] - offsets[i]
        if count > 0:
            own = hashes[offsets[i] : offsets[i + 1]]
            add_to_signature(own, count, multipliers, addends, found[i])
    return found
