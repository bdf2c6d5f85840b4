"""What verification knows of sets: bounds, a table to look hashes up in, counts, bitmaps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner
from dedupe.kernels.intrinsics import population

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
NODE_STEP = np.uint64(0xD6E8FEB86659FD93)
ZERO = np.uint64(0)
ONE = np.uint64(1)
SLACK = 1e-12
"""Relative loosening of bounds computed in float64; far above its rounding errors."""
ROOMY_SET = 1 << 12
"""Sets up to this size get four slots per hash (128 KiB at most), larger ones two."""
BLOCK = np.uint64(16)
"""Hashes looked up between two looks at whether the threshold is still in reach."""
EXACT_COUNTS = np.uint8(32)
"""Counters are exact up to here and grow with the logarithm beyond."""
FULL = np.uint8(255)
LEAST_COUNTED = 1 << 18
"""Fewer shingles than this are not worth being counted."""
COUNTED = np.uint64(16)
"""One of so many distinct shingles is counted."""
SEEN_BITS = 18
"""In so many slots, as a power of two."""


class Sets(NamedTuple):
    """The sets of a component: group k has set groups[k], delimited by offsets in hashes."""

    groups: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]


class Answer(NamedTuple):
    """What becomes of each group k of a component.

    owner[k] is the kept group that k duplicates, or k itself, and jaccard[k] their similarity. In
    transitive mode owner is a union-find until the end, and partner[k] the group that jaccard[k]
    was computed with, -1 for none.
    """

    owner: npt.NDArray[np.int64]
    partner: npt.NDArray[np.int64]
    jaccard: npt.NDArray[np.float64]


# Bounds that are exact with respect to `intersection / union >= threshold`.


@inner
def least_size(size, threshold):
    """No set of fewer hashes than this can reach `threshold` with one of `size`."""
    return max(np.int64(np.ceil(threshold * size * (1.0 - SLACK))), 1)


@inner
def least_overlap(a, b, threshold):
    """Smallest intersection with which sets of sizes a and b reach `threshold`.

    min(a, b) + 1 where none does. Correctly rounded division is monotonic, so the float64
    quotient grows with the intersection and one number separates the two answers.
    """
    most = min(a, b)
    n = max(np.int64(np.ceil((a + b) * share_of(threshold))), 1)
    while n <= most and n / (a + b - n) < threshold:
        n += 1
    return min(n, most + 1)


@inner
def share_of(threshold):
    """A lower bound of intersection / (a + b) for pairs that reach `threshold`."""
    return threshold / (1.0 + threshold) * (1.0 - SLACK)


# A set as an open-addressing table: 2**bits slots, a copy of the first, whether 0 is in the set.


@inner
def table_bits(size):
    """The size of the table of so many hashes, in bits."""
    slots = size * (4 if size <= ROOMY_SET else 2)
    bits = 4
    while (1 << bits) < slots:
        bits += 1
    return bits


@inner
def fill_table(table, base, bits, hashes, begin, end):
    """Put hashes[begin:end] into table[base : base + 2**bits + 2]."""
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
def holds(table, origin, mask, slot, value):
    """Whether a table holds `value`, from `slot` on."""
    if value == ZERO:
        return table[origin + mask + ONE + ONE] == ONE
    while table[origin + slot] != value:
        if table[origin + slot] == ZERO:
            return False
        slot = (slot + ONE) & mask
    return True


@inner
def overlap(table, base, bits, hashes, begin, end, needed):
    """Hashes of hashes[begin:end] that are in a table, or -1 once `needed` is out of reach.

    Nearly every hash is decided by two neighbouring slots, without a branch on the outcome.
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
                missing = not holds(table, origin, mask, slot, value)
            spare -= np.int64(missing)
            i += ONE
    return needed + spare if spare >= 0 else np.int64(-1)


# Shingles of a component: how many groups hold them, and which are the rarest of a set.


@inner
def distinct_shingles(sets, count, total):
    """About how many distinct shingles `count` groups have, of `total`: linear counting of some.

    Whang et al. 1990; `total` where they are few, or too many to be told apart.
    """
    if total < LEAST_COUNTED:
        return total
    groups, offsets, hashes = sets
    seen = np.zeros(1 << (SEEN_BITS - 6), np.uint64)
    shift = np.uint64(64 - SEEN_BITS)
    for k in range(count):
        for i in range(offsets[groups[k]], offsets[groups[k] + 1]):
            mixed = hashes[i] * GOLDEN_RATIO
            if mixed & (COUNTED - ONE) == ZERO:
                bit = mixed >> shift
                seen[bit >> np.uint64(6)] |= ONE << (bit & np.uint64(63))
    free = np.int64(1 << SEEN_BITS)
    for word in seen:
        free -= population(word)
    if free << 5 < 1 << SEEN_BITS:
        return total
    slots = np.float64(1 << SEEN_BITS)
    return min(total, np.int64(np.log(slots / free) * slots * COUNTED) + 1)


@inner
def count_shingles(counters, bits, hashes, begin, end, state):
    """Count hashes[begin:end]; `state` drives the thinning of large counts. Returns the next."""
    shift = np.uint64(64 - bits)
    for i in range(begin, end):
        slot = (hashes[i] * GOLDEN_RATIO) >> shift
        count = counters[slot]
        if count < EXACT_COUNTS:
            counters[slot] = count + np.uint8(1)
        elif count < FULL:
            state = state * NODE_STEP + ONE
            doublings = np.uint64((count - EXACT_COUNTS) >> np.uint8(3)) + ONE
            if state >> (np.uint64(64) - doublings) == ZERO:
                counters[slot] = count + np.uint8(1)
    return state


@inner
def draw_bitmap(bitmap, hashes, begin, end):
    """Set bit b of a bitmap of 256 bits if an odd number of shingles fall on b."""
    bitmap[:] = ZERO
    for i in range(begin, end):
        bit = (hashes[i] * GOLDEN_RATIO) >> np.uint64(56)
        bitmap[bit >> np.uint64(6)] ^= ONE << (bit & np.uint64(63))


@inner
def least_difference(bitmaps, k, other):
    """A lower bound of the shingles that one of two groups has and the other lacks."""
    return (
        population(bitmaps[k, 0] ^ bitmaps[other, 0])
        + population(bitmaps[k, 1] ^ bitmaps[other, 1])
        + population(bitmaps[k, 2] ^ bitmaps[other, 2])
        + population(bitmaps[k, 3] ^ bitmaps[other, 3])
    )


@inner
def sort_smallest(keys, count, take, stack):
    """Order keys[:count] so far that keys[:take] are its smallest, ascending."""
    depth = 0
    low, high = 0, count - 1
    while True:
        while high - low > 12:
            left, middle, right = keys[low], keys[(low + high) >> 1], keys[high]
            pivot = max(min(left, middle), min(max(left, middle), right))
            i, j = low - 1, high + 1
            while True:
                i += 1
                while keys[i] < pivot:
                    i += 1
                j -= 1
                while keys[j] > pivot:
                    j -= 1
                if i >= j:
                    break
                keys[i], keys[j] = keys[j], keys[i]
            if j + 1 >= take:
                high = j
            elif j - low < high - j:
                stack[depth, 0], stack[depth, 1] = j + 1, high
                depth += 1
                high = j
            else:
                stack[depth, 0], stack[depth, 1] = low, j
                depth += 1
                low = j + 1
        for i in range(low + 1, high + 1):
            value = keys[i]
            j = i - 1
            while j >= low and keys[j] > value:
                keys[j + 1] = keys[j]
                j -= 1
            keys[j + 1] = value
        if depth == 0:
            break
        depth -= 1
        low, high = stack[depth, 0], stack[depth, 1]


@inner
def last_place(size, smallest, threshold):
    """Most shingles that may stand before the first common one of a pair at the threshold."""
    least = max(smallest, least_size(size, threshold))
    return least, size - least_overlap(size, least, threshold)
