"""Shingle hashes to MinHash signatures and band keys.

Signatures are those of datasketch's `MinHash(scheme="affine32")`, bit for bit: the lower 32 bits
of a shingle hash go through the finaliser of MurmurHash3, then through `num_perm` affine maps
modulo 2**32, and the smallest value of each is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner

MIX_1 = np.uint32(0x85EBCA6B)
MIX_2 = np.uint32(0xC2B2AE35)
KEY_SEED = np.uint64(0x9E3779B97F4A7C15)
KEY_STEP = np.uint64(0xD6E8FEB86659FD93)
LOW32 = np.uint64(0xFFFFFFFF)
EMPTY_SIGNATURE = np.uint32(0xFFFFFFFF)
"""Each value of the signature of the empty set."""
BLOCK = 8
"""Shingles folded into the signature at a time: what fits the vector registers."""


def permutations(num_perm: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Multipliers (odd) and addends of datasketch's affine32 permutations, each uint32[num_perm].

    `numpy.random.RandomState` is frozen by numpy's compatibility policy (NEP 19), so these
    values do not change between versions.
    """
    random = np.random.RandomState(seed)
    multipliers = random.randint(0, 1 << 31, num_perm, dtype=np.uint32) * np.uint32(2)
    addends = random.randint(0, 1 << 32, num_perm, dtype=np.uint32)
    return multipliers + np.uint32(1), addends


@inner
def _mixed(shingle):
    h = np.uint32(shingle & LOW32)
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(16))) * MIX_1)
    h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(13))) * MIX_2)
    return np.uint32(h ^ np.uint32(h >> np.uint32(16)))


@inner
def _lower(left, right):
    return left if left < right else right


@inner
def add_to_signature(shingles, count, multipliers, addends, out):
    """Make the MinHash signature `out` of some set that of its union with shingles[:count].

    shingles: uint64 hashes, repeated ones change nothing. count: int64, more than 0. multipliers,
    addends: uint32, as many as `out` has values, see `permutations`. out: uint32, written; all
    `EMPTY_SIGNATURE` for the empty set.
    """
    last = count - 1
    for start in range(0, count, BLOCK):
        h0 = _mixed(shingles[start])
        h1 = _mixed(shingles[min(start + 1, last)])
        h2 = _mixed(shingles[min(start + 2, last)])
        h3 = _mixed(shingles[min(start + 3, last)])
        h4 = _mixed(shingles[min(start + 4, last)])
        h5 = _mixed(shingles[min(start + 5, last)])
        h6 = _mixed(shingles[min(start + 6, last)])
        h7 = _mixed(shingles[min(start + 7, last)])
        for p in range(out.size):
            a = multipliers[p]
            b = addends[p]
            low = _lower(np.uint32(a * h0 + b), np.uint32(a * h1 + b))
            low = _lower(low, _lower(np.uint32(a * h2 + b), np.uint32(a * h3 + b)))
            low = _lower(low, _lower(np.uint32(a * h4 + b), np.uint32(a * h5 + b)))
            low = _lower(low, _lower(np.uint32(a * h6 + b), np.uint32(a * h7 + b)))
            out[p] = _lower(out[p], low)


@inner
def band_keys(values, rows_per_band, out):
    """Write one 64-bit key for each band of a signature to `out`.

    values: uint32, the signature. rows_per_band: int64, how many of its values make a band. out:
    uint64, one for each band. The number of the band is part of its key, so that all bands share
    one key space.
    """
    for band in range(out.size):
        key = KEY_SEED * np.uint64(band + 1)
        for i in range(band * rows_per_band, (band + 1) * rows_per_band):
            key = (key ^ np.uint64(values[i])) * KEY_STEP
            key ^= key >> np.uint64(32)
        out[band] = key
