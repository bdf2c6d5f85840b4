"""Exact joins of sets: every pair with a Jaccard similarity >= a threshold, by one side's prefixes.

Some sets, the *entries*, are indexed; other sets are streamed past them. A set x of n hashes and a
set y reach the threshold t only if they share at least ceil(t * n) of the n. So y holds one of any
n - ceil(t * n) + 1 hashes of x, whichever these are: they are its *prefix*, here its rarest among
the entries, so that few sets hold them. Prefixes alone are indexed; of y every hash is looked up,
first in a bitmap that stays in cache. (Prefixes of both sides, as in Bayardo et al. 2007, need one
order of the hashes of all sets, and it is not known before all have been read.)

Entries are numbered by size, so that those whose size alone rules them out are a range of numbers.
How much x and y must share follows from both sizes, and is more than ceil(t * n) unless y is small:
so y must hold not one hash of the prefix, but several. What remains is counted exactly, until the
threshold is out of reach. No filter decides: a pair is decided by `intersection / union >=
threshold` in float64, and every bound is conservative with respect to exactly that expression.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from dedupe.kernels import inner, kernel
from dedupe.kernels.array_types import INT64, UINT32, UINT64
from dedupe.kernels.buffers import grown
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE
from dedupe.kernels.intrinsics import multiply_high
from dedupe.kernels.jaccard import (
    least_hits,
    least_overlap,
    least_size,
    most_size,
    prefix_size,
)
from dedupe.kernels.lookup import overlap, table_of
from dedupe.kernels.union_find import find, unite

NONE = np.int64(-1)
FULL = np.uint8(255)
LEAST_FILTER = 13
MOST_FILTER = 27
"""Bits of the position in the bitmap; eight positions for each posting where these allow it."""
LONG_LIST = 16
"""Postings from which the first entry that is large enough is searched for, not walked to."""
EAGER_LIST = 64
"""Postings from which one entry is compared at its first hit, as the others may be connected with
it and can then be jumped over: a comparison takes as long as walking over so many."""


class EntryIndex(NamedTuple):
    """Entries by the hashes of their prefixes, read-only; see `index_entries`.

    begins, sizes: the set of entry e is hashes[begins[e] : begins[e] + sizes[e]], sizes ascending.
    keys, starts, postings: slot s of a hash table holds the hash keys[s], and
    postings[starts[s]:starts[s + 1]] are the entries with it in their prefix, ascending; none where
    the slot is free. bitmap: a bit for every hash in the table.
    """

    begins: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.uint32]
    postings: npt.NDArray[np.uint32]
    bitmap: npt.NDArray[np.uint64]


INDEX_TYPE = types.NamedTuple([INT64, INT64, UINT64, UINT64, UINT32, UINT32, UINT64], EntryIndex)


# Sets that are equal, hash by hash.


@inner
def _is_same(offsets, hashes, a, b):
    begin, other = offsets[a], offsets[b]
    size = offsets[a + 1] - begin
    if offsets[b + 1] - other != size:
        return False
    same = np.int64(0)
    while same < size and hashes[begin + same] == hashes[other + same]:
        same += 1
    return same == size


@kernel(types.int64[::1](INT64, UINT64, UINT64))
def first_same(offsets, hashes, stamps):
    """For each set the first one with the same hashes in the same order, and the same stamp: int64.

    offsets: int64[sets + 1]; set i is hashes[offsets[i]:offsets[i + 1]]. hashes: uint64. stamps:
    uint64, one for each set.
    """
    count = offsets.size - 1
    slots = 16
    while slots < 2 * count:
        slots *= 2
    mask = np.int64(slots - 1)
    table = np.full(slots, NONE, np.int64)
    first = np.empty(count, np.int64)
    for i in range(count):
        mixed = stamps[i]
        for at in range(offsets[i], offsets[i + 1]):
            mixed = (mixed ^ hashes[at]) * GOLDEN_RATIO
            mixed ^= mixed >> np.uint64(32)
        slot = np.int64((mixed * GOLDEN_RATIO) >> np.uint64(20)) & mask
        while table[slot] != NONE and not (
            stamps[table[slot]] == stamps[i] and _is_same(offsets, hashes, table[slot], i)
        ):
            slot = (slot + 1) & mask
        if table[slot] == NONE:
            table[slot] = i
        first[i] = table[slot]
    return first


# The index.


@inner
def _count(begins, sizes, hashes):
    """How many hashes of all entries fall on each of some counters, up to 255: (counters, shift).

    At least as many as there are entries with that hash. Which hashes make a prefix decides how
    many candidates there are, never which pairs are found.
    """
    bits = np.uint64(10)
    while (np.int64(1) << bits) < 2 * sizes.sum():
        bits += ONE
    shift = np.uint64(64) - bits
    counters = np.zeros(np.int64(1) << bits, np.uint8)
    for entry in range(begins.size):
        for i in range(begins[entry], begins[entry] + sizes[entry]):
            slot = (hashes[i] * GOLDEN_RATIO) >> shift
            if counters[slot] < FULL:
                counters[slot] += np.uint8(1)
    return counters, shift


@inner
def _rarest_first(begins, sizes, hashes, threshold):
    """Bring the rarest hashes of every set, as many as its prefix has, to its front."""
    counters, shift = _count(begins, sizes, hashes)
    counts = np.empty(max(sizes.max(), 1) if sizes.size else 1, np.uint8)
    held = np.empty(256, np.int64)
    for entry in range(begins.size):
        begin, size = begins[entry], sizes[entry]
        held[:] = 0
        for i in range(size):
            counts[i] = counters[(hashes[begin + i] * GOLDEN_RATIO) >> shift]
            held[counts[i]] += 1
        room = prefix_size(size, threshold)
        last = np.int64(0)  # the largest count that is taken, of which there is room for some
        while held[last] < room:
            room -= held[last]
            last += 1
        front = np.int64(0)
        for i in range(size):
            count = np.int64(counts[i])
            if count < last or (count == last and room > 0):
                room -= np.int64(count == last)
                counts[i], counts[front] = counts[front], counts[i]
                one, other = begin + i, begin + front
                hashes[one], hashes[other] = hashes[other], hashes[one]
                front += 1


@inner
def _slot(value, slots):
    return np.int64(multiply_high(value * GOLDEN_RATIO, np.uint64(slots)))


@kernel(
    types.Tuple((types.uint64[::1], types.uint32[::1], types.uint32[::1], types.uint64[::1]))(
        INT64, INT64, types.uint64[::1], types.float64
    ),
)
def _index_prefixes(begins, sizes, hashes, threshold):
    """(keys, starts, postings, bitmap) of an `EntryIndex`; the hashes of each set are reordered.

    begins, sizes: int64, of each entry, sizes ascending and none of them 0. hashes: uint64.
    """
    _rarest_first(begins, sizes, hashes, threshold)
    total = np.int64(0)
    for entry in range(begins.size):
        total += prefix_size(sizes[entry], threshold)
    bits = np.uint64(LEAST_FILTER)
    while (np.int64(1) << bits) < 8 * total and bits < np.uint64(MOST_FILTER):
        bits += ONE
    bitmap = np.zeros(np.int64(1) << (bits - np.uint64(6)), np.uint64)
    shift = np.uint64(64) - bits
    slots = 2 * total + 1
    keys = np.zeros(slots, np.uint64)
    starts = np.zeros(slots + 1, np.uint32)  # at first, how many postings each slot has
    postings = np.empty(total, np.uint32)
    for entry in range(begins.size):
        for i in range(begins[entry], begins[entry] + prefix_size(sizes[entry], threshold)):
            value = hashes[i]
            slot = _slot(value, slots)
            while starts[slot] != 0 and keys[slot] != value:
                slot = slot + 1 if slot + 1 < slots else 0
            keys[slot] = value
            starts[slot] += np.uint32(1)
            bit = (value * GOLDEN_RATIO) >> shift
            bitmap[bit >> np.uint64(6)] |= ONE << (bit & np.uint64(63))
    end = np.uint32(0)
    for slot in range(slots):  # now, where they end
        end += starts[slot]
        starts[slot] = end
    starts[slots] = end
    for entry in range(begins.size - 1, -1, -1):  # and at last, where they start
        for i in range(begins[entry], begins[entry] + prefix_size(sizes[entry], threshold)):
            slot = _slot(hashes[i], slots)
            while keys[slot] != hashes[i]:
                slot = slot + 1 if slot + 1 < slots else 0
            starts[slot] -= np.uint32(1)
            postings[starts[slot]] = np.uint32(entry)
    return keys, starts, postings, bitmap


def index_entries(
    begins: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    threshold: float,
) -> EntryIndex:
    """Index sets, the entries, so that any other set finds those it is similar to.

    begins, sizes: int64; entry e is hashes[begins[e] : begins[e] + sizes[e]], sizes ascending and
    none of them 0. hashes: uint64, distinct in each set, and brought into another order in each.
    threshold: the Jaccard similarity to find, in (0, 1].
    """
    built = _index_prefixes(begins, sizes, hashes, threshold)
    arrays = [array.view() for array in (begins, sizes, hashes, *built)]
    for array in arrays:
        array.flags.writeable = False
    return EntryIndex(*arrays)


# Streamed sets against the index.


@inner
def _in_bitmap(bitmap, hashes, begin, end, found):
    """Those of hashes[begin:end] that may be in the index, in `found`; how many."""
    count = np.int64(0)
    bits = np.uint64(6)
    while (np.int64(1) << (bits - np.uint64(6))) < bitmap.size:
        bits += ONE
    shift = np.uint64(64) - bits
    for i in range(begin, end):
        value = hashes[i]
        bit = (value * GOLDEN_RATIO) >> shift
        found[count] = value
        count += np.int64((bitmap[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & ONE)
    return count


@inner
def _list_of(index, value):
    """(start, end) of the postings of a hash."""
    slots = index.keys.size
    slot = _slot(value, slots)
    while True:
        start, end = np.int64(index.starts[slot]), np.int64(index.starts[slot + 1])
        if start == end or index.keys[slot] == value:
            return start, end
        slot = slot + 1 if slot + 1 < slots else 0


@inner
def _first_from(postings, start, end, low):
    """Where the entries from `low` on begin in a list of postings."""
    if end - start > LONG_LIST:
        while start < end:
            middle = (start + end) >> 1
            if postings[middle] < low:
                start = middle + 1
            else:
                end = middle
        return start
    while start < end and postings[start] < low:
        start += 1
    return start


@inner
def _range(index, size, threshold):
    """(first, end) of the entries whose sizes allow the threshold with a set of `size`."""
    first = np.searchsorted(index.sizes, least_size(size, threshold))
    end = np.searchsorted(index.sizes, most_size(size, threshold), side="right")
    return first, end


@inner
def _shared(index, entry, table, bits, size, threshold):
    """How many hashes an entry shares with the set in a table, -1 if too few for the threshold."""
    other = index.sizes[entry]
    needed = least_overlap(size, other, threshold)
    if needed > min(size, other):
        return NONE
    begin = index.begins[entry]
    return overlap(table, np.int64(0), bits, index.hashes, begin, begin + other, needed)


@inner
def _never_met(sizes):
    """For each entry: the streamed set that last met it, hits it still lacks, its size, nothing.

    These lie side by side, since a hit needs all of them.
    """
    met = np.zeros((sizes.size, 4), np.int32)
    for entry in range(sizes.size):
        met[entry, 0] = -1
        met[entry, 2] = sizes[entry]
    return met


@inner
def _is_last_hit(met, row, size, threshold, eager):
    """Whether set `row` now has as many hits of an entry as it must; `eager`, whether any."""
    if met[0] != row:
        met[0] = row
        met[1] = 1 if eager else least_hits(np.int64(met[2]), size, threshold)
    met[1] -= 1
    return met[1] == 0


_FOUND = (types.int64[::1], types.int64[::1], types.int64[::1])


@kernel(
    types.Tuple((*_FOUND, types.int64))(
        INDEX_TYPE, types.float64, INT64, UINT64, types.int64, types.int64
    ),
)
def find_pairs(index, threshold, offsets, hashes, row, most):
    """Find the pairs of streamed sets and entries: (sets, entries, intersections, next set), int64.

    index: an `EntryIndex`. threshold: float64, the one that the index was made for. offsets:
    int64[sets + 1]; streamed set i is hashes[offsets[i]:offsets[i + 1]]. hashes: uint64, distinct
    in each set. row: int64, the streamed set to begin with. most: int64; the search ends behind a
    set with which there are so many pairs or more, else behind the last one. The next set is the
    first that was not streamed.
    """
    left = np.empty(1 << 10, np.int64)
    right = np.empty(1 << 10, np.int64)
    inters = np.empty(1 << 10, np.int64)
    pairs = np.int64(0)
    longest = np.int64(1)
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    maybe = np.empty(longest, np.uint64)
    met = _never_met(index.sizes)
    postings = index.postings
    table = np.empty(1 << 10, np.uint64)
    while row < offsets.size - 1 and pairs < most:
        begin, end = offsets[row], offsets[row + 1]
        size = end - begin
        count = _in_bitmap(index.bitmap, hashes, begin, end, maybe)
        bits = 0
        low = high = NONE
        for k in range(count):
            at, stop = _list_of(index, maybe[k])
            if at == stop:
                continue
            if low == NONE:
                low, high = _range(index, size, threshold)
            for p in range(_first_from(postings, at, stop, low), stop):
                entry = np.int64(postings[p])
                if entry >= high:
                    break
                if not _is_last_hit(met[entry], row, size, threshold, False):
                    continue
                if bits == 0:
                    table, bits = table_of(table, hashes, begin, end)
                inter = _shared(index, entry, table, bits, size, threshold)
                if inter < 0:
                    continue
                if pairs == left.size:
                    left, right, inters = (
                        grown(left, 2 * left.size),
                        grown(right, 2 * right.size),
                        grown(inters, 2 * inters.size),
                    )
                left[pairs], right[pairs], inters[pairs] = row, entry, inter
                pairs += 1
        row += 1
    return left[:pairs].copy(), right[:pairs].copy(), inters[:pairs].copy(), row


@inner
def _past(parent, jump, postings, p, end, root):
    """The first posting behind p, which belongs to `root`, that does not; shortens the way there.

    jump[p] > p: all postings from p to there belong to one set of the union-find, which they do
    for ever.
    """
    at = np.int64(jump[p])
    while at < end and find(parent, np.int64(postings[at])) == root:
        at = np.int64(jump[at])
    jump[p] = np.uint32(at)
    return at


@kernel(
    types.Tuple((types.int64[::1], types.int64[::1], types.int64))(
        INDEX_TYPE,
        types.float64,
        INT64,
        INT64,
        UINT64,
        INT64,
        types.int64[::1],
        types.uint32[::1],
    ),
)
def connect(index, threshold, begins, sizes, hashes, own, parent, jump):
    """Find as few pairs as connect what all pairs do: (sets, entries, compared).

    index: an `EntryIndex`. threshold: float64, the one that the index was made for. begins, sizes:
    int64; streamed set i is hashes[begins[i] : begins[i] + sizes[i]]. hashes: uint64, distinct in
    each set. own: int64, the entry that a streamed set is itself, -1 for none. parent: int64, a
    union-find over the entries, at first 0, 1, 2, and so on. jump: uint32, for each posting the
    next one. Parent and jump are written, and handed to the next call as they are.

    A set and an entry that are connected already are not compared. compared: int64, pairs whose
    sets were looked at.
    """
    left = np.empty(1 << 10, np.int64)
    right = np.empty(1 << 10, np.int64)
    edges = np.int64(0)
    compared = np.int64(0)
    maybe = np.empty(sizes.max() if own.size else 0, np.uint64)
    met = _never_met(index.sizes)
    postings = index.postings
    table = np.empty(1 << 10, np.uint64)
    for row in range(own.size):
        begin, size = begins[row], sizes[row]
        end = begin + size
        count = _in_bitmap(index.bitmap, hashes, begin, end, maybe)
        bits = 0
        low = high = NONE
        root = NONE if own[row] < 0 else find(parent, own[row])
        for k in range(count):
            at, stop = _list_of(index, maybe[k])
            if at == stop:
                continue
            if low == NONE:
                low, high = _range(index, size, threshold)
                if own[row] >= 0:  # those behind it find it, when they are streamed
                    high = min(high, own[row])
            p = _first_from(postings, at, stop, low)
            eager = is_long = stop - at > EAGER_LIST
            while p < stop and np.int64(postings[p]) < high:
                entry = np.int64(postings[p])
                if is_long and root != NONE and find(parent, entry) == root:
                    p = _past(parent, jump, postings, p, stop, root)
                    continue
                p += 1
                is_last = _is_last_hit(met[entry], row, size, threshold, eager)
                eager = eager and not is_last
                if not is_last:
                    continue
                other = find(parent, entry)
                if other == root:
                    continue
                if bits == 0:
                    table, bits = table_of(table, hashes, begin, end)
                compared += 1
                if _shared(index, entry, table, bits, size, threshold) < 0:
                    continue
                if edges == left.size:
                    left, right = grown(left, 2 * left.size), grown(right, 2 * right.size)
                left[edges], right[edges] = row, entry
                edges += 1
                if root != NONE:
                    unite(parent, root, other)
                root = find(parent, entry)
    return left[:edges].copy(), right[:edges].copy(), compared


@kernel(
    types.int64[::1](INT64, UINT64, INT64, INT64, UINT64, INT64),
)
def intersections(offsets, hashes, sets, others_offsets, others_hashes, others):
    """How many hashes set sets[i] shares with set others[i], for each i: int64.

    offsets, hashes: int64 and uint64; set s is hashes[offsets[s]:offsets[s + 1]], distinct. sets:
    int64. others_offsets, others_hashes, others: the same of the other sets. It is fast where
    neighbours in `sets` are equal.
    """
    found = np.empty(sets.size, np.int64)
    table = np.empty(1 << 10, np.uint64)
    bits = 0
    for i in range(sets.size):
        if i == 0 or sets[i] != sets[i - 1]:
            table, bits = table_of(table, hashes, offsets[sets[i]], offsets[sets[i] + 1])
        begin, end = others_offsets[others[i]], others_offsets[others[i] + 1]
        found[i] = overlap(table, np.int64(0), bits, others_hashes, begin, end, np.int64(0))
    return found
