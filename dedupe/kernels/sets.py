"""What verification knows of the groups of a component: counts of shingles, bitmaps, an answer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER, ZERO
from dedupe.kernels.intrinsics import population
from dedupe.kernels.lookup import fill_table, overlap, table_bits

EXACT_COUNTS = np.uint8(32)
"""Counters are exact up to here and grow with the logarithm beyond."""
FULL = np.uint8(255)
LEAST_COUNTED = 1 << 18
"""Fewer shingles than this are not worth being counted."""
COUNTED = np.uint64(16)
"""One of so many distinct shingles is counted."""
SEEN_BITS = 18
"""In so many slots, as a power of two."""


class ComponentSets(NamedTuple):
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


# Shingles of a component: how many groups hold them, and which are the rarest of a set.


@inner
def distinct_shingles(sets, count, total):
    """About how many distinct shingles there are, int64, by linear counting of one in 16.

    sets: a `ComponentSets`. count: int64, its groups. total: int64, shingles of all of its sets; it
    is the answer where they are few, or too many to be told apart. Source: Whang et al. 1990, A
    linear-time probabilistic counting algorithm for database applications.
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
    """Count the groups that hold each of hashes[begin:end]; returns the next `state`.

    counters: uint8[2**bits], written: exact up to EXACT_COUNTS, then eight steps for each doubling.
    bits: int64. hashes: uint64. begin, end: int64. state: uint64, of the random numbers that decide
    whether a large count grows. Shingles that share a counter are counted together. Source: Morris
    1978, Counting large numbers of events in small registers.
    """
    shift = np.uint64(64 - bits)
    for i in range(begin, end):
        slot = (hashes[i] * GOLDEN_RATIO) >> shift
        count = counters[slot]
        if count < EXACT_COUNTS:
            counters[slot] = count + np.uint8(1)
        elif count < FULL:
            state = state * SECOND_MULTIPLIER + ONE
            doublings = np.uint64((count - EXACT_COUNTS) >> np.uint8(3)) + ONE
            if state >> (np.uint64(64) - doublings) == ZERO:
                counters[slot] = count + np.uint8(1)
    return state


@inner
def draw_bitmap(bitmap, hashes, begin, end):
    """Set bit b of a bitmap if an odd number of the shingles hashes[begin:end] fall on b.

    bitmap: uint64[4], written. hashes: uint64. begin, end: int64.
    """
    bitmap[:] = ZERO
    for i in range(begin, end):
        bit = (hashes[i] * GOLDEN_RATIO) >> np.uint64(56)
        bitmap[bit >> np.uint64(6)] ^= ONE << (bit & np.uint64(63))


@inner
def least_difference(bitmaps, k, other):
    """A lower bound of the shingles that one of two groups has and the other lacks, int64.

    bitmaps: uint64[groups, 4], see `draw_bitmap`. k, other: int64, the groups.
    """
    return (
        population(bitmaps[k, 0] ^ bitmaps[other, 0])
        + population(bitmaps[k, 1] ^ bitmaps[other, 1])
        + population(bitmaps[k, 2] ^ bitmaps[other, 2])
        + population(bitmaps[k, 3] ^ bitmaps[other, 3])
    )


@inner
def sort_smallest(keys, count, take, stack):
    """Order keys[:count] so far that keys[:take] are its smallest, ascending.

    keys: uint64, written. count, take: int64. stack: int64[64, 2], scratch. Source: Hoare 1961,
    Algorithm 64 and 65, with a median of three; short ranges are sorted by insertion.
    """
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


# A group against one that it has met.


@inner
def most_shared(bitmaps, k, other, total):
    """An upper bound of the shingles that two groups share, int64.

    bitmaps: uint64[groups, 4], see `draw_bitmap`. k, other: int64, the groups. total: int64, the
    sum of the sizes of their sets.
    """
    return (total - least_difference(bitmaps, k, other)) >> 1


@inner
def count_shared(k, other, needed, sets, sizes, table, bits, stats):
    """How many shingles two groups share, -1 if fewer than needed: (that, bits).

    k, other: int64, the groups. needed: int64. sets: a `ComponentSets`. sizes: int64[groups, 2],
    with the sizes of the sets in its first column. table: uint64 scratch with room for the table of
    k, which is filled on first use. bits: int64, 0 until then, and that of `lookup.fill_table`
    afterwards. stats: int64, of which the first counts the sets looked at.
    """
    begin, start = sets.offsets[sets.groups[k]], sets.offsets[sets.groups[other]]
    if bits == 0:
        bits = table_bits(sizes[k, 0])
        fill_table(table, np.int64(0), bits, sets.hashes, begin, begin + sizes[k, 0])
    stats[0] += 1
    stop = start + sizes[other, 0]
    return overlap(table, np.int64(0), bits, sets.hashes, start, stop, needed), bits


@inner
def choose(k, other, inter, best, sizes, answer):
    """Make `other` the witness of k if it is the best so far; returns the best similarity of k.

    k, other: int64, the groups; `other` is kept. inter: int64, shingles that they share, enough for
    `best`. best: float64, the similarity of the witness so far, or the threshold. sizes: see
    `count_shared`. answer: an `Answer`, written. Of equally similar groups the first is chosen.
    """
    value = inter / (sizes[k, 0] + sizes[other, 0] - inter)
    if answer.owner[k] == k or value > best or (value == best and other < answer.owner[k]):
        answer.owner[k] = other
        answer.jaccard[k] = value
        return value
    return best
