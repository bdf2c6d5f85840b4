"""Components whose groups meet too often in an index of shingles: pairs of elements instead.

Templates filled from lists of values are like that: each value is in many groups, and groups that
share one value alone meet. An *element* of a component is a set of shingles that the same groups
hold, such as those around one value, or all that a template leaves as it is. Two similar groups
share elements, and the first two that they share, in an order common to all, are among the first
few of both. So groups are filed under pairs of their first elements, and meet where they share two.
Shingles that most groups hold are one element together, the last one.

Which shingles fall together decides how often groups meet in vain, never what is found: a shared
shingle is of one element, and the proof in `_prefix` needs no more than that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner
from dedupe.kernels.buffers import grown, grown_rows
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER
from dedupe.kernels.jaccard import last_place, least_overlap
from dedupe.kernels.sets import (
    EXACT_COUNTS,
    FULL,
    choose,
    count_shared,
    most_shared,
    sort_smallest,
)

ROOM = 32
"""Slots for each distinct shingle: with few, shingles of different groups would fall together."""
MOST_SLOTS = 1 << 22
"""Most slots (16 bytes each) in which the elements of a component are told apart."""
MOST_ELEMENTS = 16
"""A group that must be filed under pairs of more elements is *wide*: it is compared with all."""
MOST_PLACES = MOST_ELEMENTS * (MOST_ELEMENTS + 1) // 2
SAMPLE = 1 << 12
"""Groups of which is seen how often pairs of elements would meet."""
GAIN = 4
"""How much less often they must meet than shingles do."""
WIDE_SHARE = 256
"""At most one group of so many in a sample may be wide."""
LAST = np.uint64(2**64 - 1)
"""The key of the last element."""
EXACT = np.int64(EXACT_COUNTS)
LOW = np.uint64(0xFFFFFFFF)
MOST_FILED = (1 << 31) - 1
"""Most postings (12 bytes each), as int32 numbers them: later groups are wide."""
MOST_HEADS = 1 << 25
"""Most lists (4 bytes each) of groups."""


class Elements(NamedTuple):
    """The elements of a component.

    keys: uint64[2**bits], of the element of each slot of shingles, see `find_elements`. counters:
    uint8[2**counter_bits], of shingles, see `sets.count_shingles`; a shingle with a count of 1 is
    of no element, and those with `most` or more are the last one. keys_scratch: keys of one group's
    shingles. stack: scratch of `sets.sort_smallest`. names, weights: the first elements of one
    group, and how many of its shingles each has. places: those of one group, see `_file_places`.
    """

    keys: npt.NDArray[np.uint64]
    bits: int
    counters: npt.NDArray[np.uint8]
    counter_bits: int
    most: np.uint8
    keys_scratch: npt.NDArray[np.uint64]
    stack: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint64]
    weights: npt.NDArray[np.int64]
    places: npt.NDArray[np.uint64]


@inner
def find_elements(sets, count, slots_wanted, counters, counter_bits, keys_scratch, stack):
    """Tell the elements of a component apart, in `slots_wanted` slots or a few more: an `Elements`.

    sets: a `ComponentSets`. count: int64, its groups. slots_wanted: int64. counters, counter_bits:
    uint8[2**counter_bits] of its shingles, see `sets.count_shingles`. keys_scratch: uint64, as long
    as the largest set. stack: int64[64, 2], scratch of `sets.sort_smallest`.

    Every group adds its number, spread over 64 bits, to the slots of its shingles. Slots with the
    same sum and the same number of groups have the same key: 8 bits that say about how many groups,
    then 56 bits of the sum.
    """
    groups, offsets, hashes = sets
    bits = 10
    while (1 << bits) < slots_wanted and (1 << bits) < MOST_SLOTS:
        bits += 1
    slots = np.zeros((1 << bits, 2), np.uint64)
    shift, counter_shift = np.uint64(64 - bits), np.uint64(64 - counter_bits)
    most = _counter_of(count >> 1)
    for k in range(count):
        spread = (np.uint64(k) + ONE) * GOLDEN_RATIO
        spread = (spread ^ spread >> np.uint64(29)) * SECOND_MULTIPLIER
        spread ^= spread >> np.uint64(32)
        for i in range(offsets[groups[k]], offsets[groups[k] + 1]):
            mixed = hashes[i] * GOLDEN_RATIO
            counter = counters[mixed >> counter_shift]
            if counter > 1 and counter < most:
                slots[mixed >> shift, 0] += spread
                slots[mixed >> shift, 1] += ONE
    keys = np.empty(1 << bits, np.uint64)
    for slot in range(keys.size):
        holders = np.int64(slots[slot, 1])
        name = (slots[slot, 0] ^ slots[slot, 1] * SECOND_MULTIPLIER) >> np.uint64(8)
        keys[slot] = np.uint64(_counter_of(holders)) << np.uint64(56) | name
    names = np.empty(MOST_ELEMENTS, np.uint64)
    weights = np.empty(MOST_ELEMENTS, np.int64)
    places = np.empty(MOST_PLACES, np.uint64)
    return Elements(
        keys, bits, counters, counter_bits, most, keys_scratch, stack, names, weights, places
    )  # fmt: skip


@inner
def _counter_of(holders):
    """About what a counter of `sets.count_shingles` says after so many holders."""
    if holders < EXACT:
        return np.uint8(holders)
    doublings = np.int64(0)
    while holders >> doublings >= 2 * EXACT:
        doublings += 1
    eighths = (8 * holders >> doublings) // EXACT - 8
    return np.uint8(min(EXACT + 8 * doublings + eighths, np.int64(FULL)))


@inner
def _element_keys(elements, hashes, begin, end, last):
    """Write the key of each shingle's element to elements.keys_scratch: (unique, size, common).

    unique: shingles that no other group has; beyond `last` of them there is no similar set. size:
    how many keys were written. common: shingles of the last element, whose key is not written.
    """
    shift = np.uint64(64 - elements.bits)
    counter_shift = np.uint64(64 - elements.counter_bits)
    unique = np.int64(0)
    size = np.int64(0)
    common = np.int64(0)
    for i in range(begin, end):
        mixed = hashes[i] * GOLDEN_RATIO
        counter = elements.counters[mixed >> counter_shift]
        if counter >= elements.most and counter > 1:
            common += 1
        elif counter > 1:
            elements.keys_scratch[size] = elements.keys[mixed >> shift]
            size += 1
        else:
            unique += 1
            if unique > last:
                return unique, np.int64(0), np.int64(0)
    return unique, size, common


@inner
def _prefix(elements, unique, size, common, last):
    """The first elements of a set: how many, and whether they are enough; -1 if the group is wide.

    A similar set lacks at most `last` of the shingles. The elements are enough if more than `last`
    shingles are left without any one of them: then a similar set shares at least two of them. If
    they are not enough, they are all elements of the set.
    """
    keys, names, weights = elements.keys_scratch, elements.names, elements.weights
    take = min(size, last - unique + 1 + MOST_ELEMENTS)
    while True:
        sort_smallest(keys, size, take, elements.stack)
        count = np.int64(0)
        heaviest = np.int64(0)
        for i in range(take):
            if i == 0 or keys[i] != keys[i - 1]:
                if count == MOST_ELEMENTS:
                    return np.int64(-1), False
                names[count] = keys[i]
                weights[count] = 0
                count += 1
            weights[count - 1] += 1
            heaviest = max(heaviest, weights[count - 1])
            if unique + i + 1 - heaviest > last:
                return count, True
        if take == size:
            break
        take = size
    if common > 0:
        if count == MOST_ELEMENTS:
            return np.int64(-1), False
        names[count] = LAST
        weights[count] = common
        count += 1
    return count, unique + size + common - max(heaviest, common) > last


@inner
def _file_places(k, elements, sets, smallest, threshold):
    """Write the places of group k to elements.places: returns how many, -1 if it is wide.

    A place is a hash of two elements. A set without enough of them may share a single one with a
    similar set, if that holds all but `last` of its shingles; such an element is a place, too.
    """
    groups, offsets, hashes = sets
    begin, end = offsets[groups[k]], offsets[groups[k] + 1]
    _least, last = last_place(end - begin, smallest, threshold)
    unique, size, common = _element_keys(elements, hashes, begin, end, last)
    if unique > last:
        return np.int64(0)
    count, enough = _prefix(elements, unique, size, common, last)
    if count < 0:
        return np.int64(-1)
    names, weights, places = elements.names, elements.weights, elements.places
    filled = np.int64(0)
    for j in range(count):
        for i in range(j):
            mixed = (names[i] * SECOND_MULTIPLIER ^ names[j]) * GOLDEN_RATIO
            places[filled] = (mixed ^ mixed >> np.uint64(32)) * SECOND_MULTIPLIER
            filled += 1
        if not enough and unique + size + common - weights[j] <= last:
            places[filled] = names[j] * GOLDEN_RATIO
            filled += 1
    return filled


@inner
def meet_less(elements, sets, count, smallest, threshold, met):
    """Whether groups filed under elements would meet far less than `met`: (that, mean places).

    elements: an `Elements`. sets: a `ComponentSets`. count: int64, its groups. smallest: int64,
    size of the smallest set. threshold: float64. met: float64, pairs of groups that meet in an
    index of shingles. The answer is estimated from a sample; mean places is the float64 number of
    places that a group is filed under.
    """
    step = max(count // SAMPLE, 1)
    sampled = np.empty(SAMPLE * 2 * MOST_PLACES, np.uint64)
    used = np.int64(0)
    groups = np.int64(0)
    wide = np.int64(0)
    for k in range(0, count, step):
        places = _file_places(k, elements, sets, smallest, threshold)
        groups += 1
        if places < 0:
            wide += 1
        else:
            for i in range(places):
                sampled[used + i] = elements.places[i]
            used += places
    sort_smallest(sampled, used, used, elements.stack)
    pairs = np.int64(0)
    same = np.int64(0)
    for i in range(1, used):
        same = same + 1 if sampled[i] == sampled[i - 1] else np.int64(0)
        pairs += same
    scale = count / groups
    less = wide * WIDE_SHARE <= groups and GAIN * pairs * scale * scale <= met
    return less, used / groups


@inner
def _meet(k, places, count, heads, shift, filed, sizes, firsts, met):
    """The groups filed under a group's places, once each: (met, how many)."""
    found = np.int64(0)
    for i in range(count):  # all at once: the memory is asked for them side by side
        firsts[i] = heads[places[i] >> shift]
    for i in range(count):
        posting = firsts[i]
        while posting != 0:
            if filed[posting, 2] == np.int32(places[i] & LOW):
                if found == met.size:
                    met = grown(met, 2 * met.size)
                met[found] = filed[posting, 0]
                found += 1
            posting = filed[posting, 1]
    several = np.int64(0)
    for i in range(found):
        other = met[i]
        if sizes[other, 1] != k:
            sizes[other, 1] = k
            met[several] = other
            several += 1
    return met, several


@inner
def _file(k, places, count, heads, shift, filed, used):
    """File a group under its places: (filed, the number of postings in use)."""
    while used + count >= filed.shape[0]:
        filed = grown_rows(filed, 2 * filed.shape[0])
    for i in range(count):
        used += 1
        place = places[i] >> shift
        filed[used, 0] = k
        filed[used, 1] = heads[place]
        filed[used, 2] = np.int32(places[i] & LOW)
        heads[place] = used
    return filed, used


@inner
def cover_crowded(
    first, elements, mean, sets, count, smallest, threshold, sizes, bitmaps, table, answer, stats
):
    """Decide the groups from `first` on, when those before it are decided.

    first: int64. elements: an `Elements`. mean: float64, places of a group on average. sets: a
    `ComponentSets`. count: int64, its groups. smallest: int64, size of the smallest set. threshold:
    float64. sizes: int64[count, 2], the size of each set and scratch. bitmaps: uint64[count, 4] of
    all groups, see `sets.draw_bitmap`. table: uint64 scratch, with room for the table of the
    largest set. answer: an `Answer`. stats: int64, see `verify.Stats`; both are written.

    filed[p] is a posting: a group, the next posting of its list, and half of its place; posting 0
    is none.
    """
    head_bits = 10
    while (1 << head_bits) < mean * count and (1 << head_bits) < MOST_HEADS:
        head_bits += 1
    shift = np.uint64(64 - head_bits)
    heads = np.zeros(1 << head_bits, np.int32)
    room = min(np.int64(mean * count * 1.1), MOST_FILED)
    filed = np.empty((room + MOST_PLACES, 3), np.int32)
    used = np.int64(0)
    wide = np.empty(count, np.int32)
    wides = np.int64(0)
    firsts = np.empty(MOST_PLACES, np.int32)
    met = np.empty(MOST_PLACES, np.int32)
    places = elements.places
    owner = answer[0]
    for k in range(count):
        if k < first and owner[k] != k:
            continue
        filled = _file_places(k, elements, sets, smallest, threshold)
        if filled == 0:
            continue
        if k >= first:
            best = threshold
            bits = 0
            met, found = _meet(k, places, filled, heads, shift, filed, sizes, firsts, met)
            size = sizes[k, 0]
            for i in range(found + (k if filled < 0 else wides)):
                if i < found:
                    other = np.int64(met[i])
                else:
                    other = i - found if filled < 0 else np.int64(wide[i - found])
                if owner[other] != other:
                    continue
                stats[1] += 1
                other_size = sizes[other, 0]
                needed = least_overlap(size, other_size, best)
                if needed > min(size, other_size):
                    continue
                if most_shared(bitmaps, k, other, size + other_size) < needed:
                    continue
                inter, bits = count_shared(k, other, needed, sets, sizes, table, bits, stats)
                if inter >= 0:
                    best = choose(k, other, inter, best, sizes, answer)
            if owner[k] != k:
                continue
        if filled < 0 or used + filled > MOST_FILED:
            wide[wides] = k
            wides += 1
        else:
            filed, used = _file(k, places, filled, heads, shift, filed, used)
    stats[2] += used
