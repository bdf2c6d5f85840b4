"""A set of hashes as an open-addressing table, and how many hashes of another set are in it.

A table of 2**bits slots takes 2**bits + 2 cells of a uint64 array: the slots, where 0 is free, a
copy of the first slot, and whether 0 is in the set.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, ZERO

ROOMY_SET = 1 << 12
"""Sets up to this size get four slots per hash (128 KiB at most), larger ones two."""
BLOCK = np.uint64(16)
"""Hashes looked up between two looks at whether the threshold is still in reach."""


@inner
def table_bits(size):
    """The `bits` of a table for so many hashes."""
    slots = size * (4 if size <= ROOMY_SET else 2)
    bits = 4
    while (1 << bits) < slots:
        bits += 1
    return bits


@inner
def fill_table(table, base, bits, hashes, begin, end):
    """Make a table of the set hashes[begin:end].

    table: uint64 scratch, of which table[base : base + 2**bits + 2] is written. base: int64. bits:
    that of `table_bits` for so many hashes. hashes: uint64, distinct in the set. begin, end: int64.
    """
    slots = 1 << bits
    table[base : base + slots + 2] = ZERO
    origin = np.uint64(base)
    mask = np.uint64(slots - 1)
    shift = np.uint64(64 - bits)
    for i in range(begin, end):
        value = hashes[i]
        if value == ZERO:
            table[base + slots + 1] = ONE
            continue
        slot = (value * GOLDEN_RATIO) >> shift
        while table[origin + slot] != ZERO:
            slot = (slot + ONE) & mask
        table[origin + slot] = value
    table[base + slots] = table[base]


@inner
def table_of(table, hashes, begin, end):
    """A table of hashes[begin:end] at base 0: (table, bits).

    table: uint64 scratch; the table returned is another array if it was too small.
    """
    bits = table_bits(end - begin)
    if table.size < (1 << bits) + 2:
        table = np.empty((1 << bits) + 2, np.uint64)
    fill_table(table, np.int64(0), bits, hashes, begin, end)
    return table, bits


@inner
def _holds(table, origin, mask, slot, value):
    """Whether a table holds `value`, searched from `slot` on."""
    if value == ZERO:
        return table[origin + mask + ONE + ONE] == ONE
    while table[origin + slot] != value:
        if table[origin + slot] == ZERO:
            return False
        slot = (slot + ONE) & mask
    return True


@inner
def holds(table, base, bits, value):
    """Whether a table holds a hash. table, base, bits: see `fill_table`. value: uint64."""
    origin = np.uint64(base)
    slot = (value * GOLDEN_RATIO) >> np.uint64(64 - bits)
    return _holds(table, origin, np.uint64((1 << bits) - 1), slot, value)


@inner
def overlap(table, base, bits, hashes, begin, end, needed):
    """How many hashes of the set hashes[begin:end] are in a table; -1 if fewer than `needed`.

    table, base, bits: see `fill_table`. hashes: uint64, distinct in the set. begin, end: int64.
    needed: int64, 0 to count all. Counting ends as soon as `needed` is out of reach. Nearly every
    hash is decided by two neighbouring slots, without a branch on the outcome.
    """
    origin = np.uint64(base)
    mask = np.uint64((1 << bits) - 1)
    shift = np.uint64(64 - bits)
    spare = end - begin - needed
    i = np.uint64(begin)
    stop = np.uint64(end)
    while i < stop and spare >= 0:
        pause = min(i + BLOCK, stop)
        while i < pause:
            value = hashes[i]
            slot = (value * GOLDEN_RATIO) >> shift
            one = table[origin + slot]
            two = table[origin + slot + ONE]
            missing = (one != value) & (two != value)
            if (missing & (one != ZERO) & (two != ZERO)) | (value == ZERO):
                missing = not _holds(table, origin, mask, slot, value)
            spare -= np.int64(missing)
            i += ONE
    return needed + spare if spare >= 0 else np.int64(-1)
