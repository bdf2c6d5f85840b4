"""Exact joins of sets: every pair with a Jaccard similarity >= a threshold, by one side's prefixes.

Some rows, the *entries*, are indexed; other rows are streamed past them. A row has a set for each
field, and two rows are a pair if each of their fields reaches the threshold. A set x of n hashes
and a set y reach the threshold t only if they share at least ceil(t * n) of the n. So y holds one
of any n - ceil(t * n) + 1 hashes of x, whichever these are: they are its *prefix*, here its rarest
among the entries, so that few sets hold them. Prefixes alone are indexed, and of an entry that of
one field, whose hashes the fewest others have: since every field must reach the threshold, it
suffices. Of y every hash of all fields is looked up, first in a bitmap that stays in cache.
(Prefixes of both sides, as in Bayardo et al. 2007, need one order of the hashes of all sets, and it
is not known before all have been read.)

Entries are numbered by the field in which they are indexed, and by the size of that, so that those
whose size alone rules them out are a range of numbers. How much x and y must share follows from
both sizes, and is more than ceil(t * n) unless y is small: so y must hold not one hash of the
prefix, but several. What remains is counted exactly, until the threshold is out of reach. No filter
decides: a pair is decided by `intersection / union >= threshold` in float64 for each field, and
every bound is conservative with respect to exactly that expression.

Rows of which other fields are empty are never a pair, so each hash is looked up together with the
*pattern* of fields that are empty: 0 where none is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import BYTES, INT64, UINT32, UINT64
from dedupe.kernels.buffers import grown, grown_rows
from dedupe.kernels.counters import count_hashes, holders
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER
from dedupe.kernels.intrinsics import multiply_high
from dedupe.kernels.jaccard import (
    least_hits,
    least_overlap,
    least_size,
    most_size,
    prefix_size,
)
from dedupe.kernels.lookup import fill_table, overlap, table_bits, table_of
from dedupe.kernels.union_find import find, unite

NONE = np.int64(-1)
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

    begins, sizes: the set of field f of entry e is that of s = e * fields + f, which is
    hashes[begins[s] : begins[s] + sizes[s]]. indexed: the size of the field in which each entry is
    indexed. bounds: int64[fields + 1], entries bounds[f] to bounds[f + 1] are indexed in field f,
    in the order of that size. keys, starts, postings: slot s of a hash table holds keys[s], a hash
    and a pattern, and postings[starts[s]:starts[s + 1]] are the entries with it in their prefix,
    ascending; none where the slot is free. bitmap: a bit for every key in the table.
    """

    begins: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    indexed: npt.NDArray[np.int64]
    bounds: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.uint32]
    postings: npt.NDArray[np.uint32]
    bitmap: npt.NDArray[np.uint64]

    @property
    def fields(self) -> int:
        """Fields of a row."""
        return len(self.bounds) - 1


INDEX_TYPE = types.NamedTuple(
    [INT64, INT64, UINT64, INT64, INT64, UINT64, UINT32, UINT32, UINT64], EntryIndex
)


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


@kernel(types.uint8[::1](INT64, INT64, UINT64))
def count_holders(begins, sizes, hashes):
    """Count, about, how many sets have each hash: uint8[2**n], see `counters.count_hashes`.

    begins, sizes: int64; set s is hashes[begins[s] : begins[s] + sizes[s]]. hashes: uint64. Which
    hashes make a prefix decides how many candidates there are, never which pairs are found.
    """
    bits = 10
    while (1 << bits) < 2 * sizes.sum():
        bits += 1
    counters = np.zeros(1 << bits, np.uint8)
    state = ONE
    for s in range(begins.size):
        state = count_hashes(counters, bits, hashes, begins[s], begins[s] + sizes[s], state)
    return counters


@inner
def _shift_of(counters):
    """Brings a mixed hash to the number of its counter."""
    shift = np.uint64(64)
    while (1 << np.int64(np.uint64(64) - shift)) < counters.size:
        shift -= ONE
    return shift


@inner
def _count_each(counters, shift, hashes, begin, size, counts, held):
    """Write the count of each hash of a set to `counts`, and to held[c] how many have count c."""
    held[:] = 0
    for i in range(size):
        counts[i] = counters[(hashes[begin + i] * GOLDEN_RATIO) >> shift]
        held[counts[i]] += 1


@kernel(types.int64[::1](INT64, INT64, UINT64, BYTES, types.int64, types.float64))
def rarest_fields(begins, sizes, hashes, counters, fields, threshold):
    """In which field to index each entry: the one whose prefix the fewest others have; int64.

    begins, sizes: int64; the set of field f of entry e is that of s = e * fields + f, which is
    hashes[begins[s] : begins[s] + sizes[s]]; not all of an entry are empty. hashes: uint64.
    counters: of these sets, see `count_holders`. fields: int64. threshold: float64.
    """
    entries = begins.size // fields
    chosen = np.full(entries, NONE, np.int64)
    counts = np.empty(max(sizes.max(), 1) if sizes.size else 1, np.uint8)
    held = np.empty(256, np.int64)
    shift = _shift_of(counters)
    for entry in range(entries):
        least = np.int64(0)
        for f in range(fields):
            s = entry * fields + f
            if sizes[s] == 0:
                continue
            _count_each(counters, shift, hashes, begins[s], sizes[s], counts, held)
            room = prefix_size(sizes[s], threshold)
            others = np.int64(0)
            count = np.int64(0)
            while room > 0:
                others += min(held[count], room) * (holders(np.uint8(count)) - 1)
                room -= held[count]
                count += 1
            if chosen[entry] == NONE or others < least:
                chosen[entry] = f
                least = others
    return chosen


@inner
def _rarest_first(begins, sizes, hashes, counters, threshold):
    """Bring the rarest hashes of every set, as many as its prefix has, to its front."""
    shift = _shift_of(counters)
    counts = np.empty(max(sizes.max(), 1) if sizes.size else 1, np.uint8)
    held = np.empty(256, np.int64)
    for entry in range(begins.size):
        begin, size = begins[entry], sizes[entry]
        _count_each(counters, shift, hashes, begin, size, counts, held)
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
def _pattern(sizes, row, fields):
    """What is mixed into the hashes of a row, for each of its fields that is empty."""
    pattern = np.uint64(0)
    for f in range(fields):
        if sizes[row * fields + f] == 0:
            pattern ^= np.uint64(f + 1) * SECOND_MULTIPLIER
    return pattern


@inner
def _slot(value, slots):
    return np.int64(multiply_high(value * GOLDEN_RATIO, np.uint64(slots)))


@kernel(
    types.Tuple((types.uint64[::1], types.uint32[::1], types.uint32[::1], types.uint64[::1]))(
        INT64, INT64, UINT64, types.uint64[::1], BYTES, types.float64
    ),
)
def _index_prefixes(begins, sizes, patterns, hashes, counters, threshold):
    """(keys, starts, postings, bitmap) of an `EntryIndex`; the hashes of each set are reordered.

    begins, sizes: int64, of the set of each entry that is indexed, none of them empty. patterns:
    uint64, of each entry. hashes: uint64. counters: see `count_holders`.
    """
    _rarest_first(begins, sizes, hashes, counters, threshold)
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
            value = hashes[i] ^ patterns[entry]
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
            value = hashes[i] ^ patterns[entry]
            slot = _slot(value, slots)
            while keys[slot] != value:
                slot = slot + 1 if slot + 1 < slots else 0
            starts[slot] -= np.uint32(1)
            postings[starts[slot]] = np.uint32(entry)
    return keys, starts, postings, bitmap


@kernel(types.uint64[::1](INT64, types.int64))
def patterns_of(sizes, fields):
    """What is mixed into the hashes of each row for its empty fields, uint64: 0 if it has none.

    sizes: int64[rows * fields], how many hashes each field has. fields: int64.
    """
    patterns = np.empty(sizes.size // fields, np.uint64)
    for row in range(patterns.size):
        patterns[row] = _pattern(sizes, row, fields)
    return patterns


def index_entries(
    begins: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    threshold: float,
    fields: int,
) -> tuple[EntryIndex, npt.NDArray[np.int64]]:
    """Index rows, so that any other row finds those it is similar to: (index, number of each row).

    begins, sizes: int64; field f of row r has the set s = r * fields + f, which is
    hashes[begins[s] : begins[s] + sizes[s]]; not all of a row are empty. hashes: uint64, distinct
    in each row, and brought into another order in each set. threshold: the Jaccard similarity to
    find, in (0, 1]. fields: of a row. Entry e of the index is the row with that number in the
    second array, which is int64.
    """
    counters = count_holders(begins, sizes, hashes)
    rows = len(sizes) // fields
    field = np.zeros(rows, np.int64)
    if fields > 1:
        field = rarest_fields(begins, sizes, hashes, counters, fields, threshold)
    set_of = np.arange(rows) * fields + field
    order = np.lexsort((sizes[set_of], field))
    chosen, ordered = set_of[order], (order[:, None] * fields + np.arange(fields)).ravel()
    of_entries = sizes[ordered]
    patterns = patterns_of(of_entries, fields)
    indexed = sizes[chosen]
    built = _index_prefixes(begins[chosen], indexed, patterns, hashes, counters, threshold)
    bounds = np.searchsorted(field[order], np.arange(fields + 1))
    known = (begins[ordered], of_entries, hashes, indexed, bounds, *built)
    arrays = [array.view() for array in known]
    for array in arrays:
        array.flags.writeable = False
    return EntryIndex(*arrays), order


# Streamed sets against the index.


@inner
def _in_bitmap(bitmap, hashes, begin, end, pattern, found):
    """Those of hashes[begin:end], with a pattern, that may be keys, in `found`; how many."""
    count = np.int64(0)
    bits = np.uint64(6)
    while (np.int64(1) << (bits - np.uint64(6))) < bitmap.size:
        bits += ONE
    shift = np.uint64(64) - bits
    for i in range(begin, end):
        value = hashes[i] ^ pattern
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
def _range(index, field, size, threshold):
    """(first, end) of the entries of a field whose sizes allow the threshold with `size`."""
    start, stop = index.bounds[field], index.bounds[field + 1]
    sizes = index.indexed[start:stop]
    first = np.searchsorted(sizes, least_size(size, threshold))
    end = np.searchsorted(sizes, most_size(size, threshold), side="right")
    return start + first, start + end


class Streamed(NamedTuple):
    """The row that is streamed, and scratch to compare it: `tables` has those of its fields.

    begins, sizes: int64[fields], its sets. bits: int64[fields], of the table of each field, 0 until
    it is filled; bases: int64[fields + 1], where these tables start, and how much is used. needed:
    int64[fields], hashes to share. values: float64[fields], similarities. tables: uint64.
    """

    begins: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    bits: npt.NDArray[np.int64]
    bases: npt.NDArray[np.int64]
    needed: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    tables: npt.NDArray[np.uint64]


@inner
def _room_for(sizes, fields):
    """Room for the tables of any row of these sets; and for the hashes of any set."""
    room = np.int64(0)
    longest = np.int64(1)
    for row in range(sizes.size // fields):
        needed = np.int64(0)
        for f in range(fields):
            size = sizes[row * fields + f]
            needed += (1 << table_bits(size)) + 2
            longest = max(longest, size)
        room = max(room, needed)
    return room, longest


@inner
def _streamed(sizes, fields):
    """(a `Streamed` for any row of these sets, room for the keys of one set)."""
    room, longest = _room_for(sizes, fields)
    streamed = Streamed(
        np.empty(fields, np.int64),
        np.empty(fields, np.int64),
        np.empty(fields, np.int64),
        np.empty(fields + 1, np.int64),
        np.empty(fields, np.int64),
        np.empty(fields, np.float64),
        np.empty(room, np.uint64),
    )
    return streamed, np.empty(longest, np.uint64)


@inner
def _begin(streamed, row, begins, sizes):
    """Go on to another row; returns what is mixed into its hashes."""
    fields = streamed.sizes.size
    for f in range(fields):
        streamed.begins[f] = begins[row * fields + f]
        streamed.sizes[f] = sizes[row * fields + f]
        streamed.bits[f] = 0
    streamed.bases[fields] = 0
    return _pattern(sizes, row, fields)


@inner
def _sizes_allow(index, entry, streamed, threshold):
    """Whether the sizes of an entry and of the streamed row allow the threshold in every field."""
    fields = streamed.sizes.size
    for f in range(fields):
        size, other = streamed.sizes[f], index.sizes[entry * fields + f]
        if size > 0 and other > 0:
            streamed.needed[f] = least_overlap(size, other, threshold)
            if streamed.needed[f] > min(size, other):
                return False
        elif size != other:
            return False
    return True


@inner
def _is_similar(index, entry, streamed, hashes):
    """Whether an entry and the streamed row share what is needed; then `values` is written."""
    fields = streamed.sizes.size
    for f in range(fields):
        size, other = streamed.sizes[f], index.sizes[entry * fields + f]
        if size == 0:
            streamed.values[f] = 1.0
            continue
        if streamed.bits[f] == 0:
            streamed.bits[f] = table_bits(size)
            base, begin = streamed.bases[fields], streamed.begins[f]
            fill_table(streamed.tables, base, streamed.bits[f], hashes, begin, begin + size)
            streamed.bases[f] = base
            streamed.bases[fields] = base + (1 << streamed.bits[f]) + 2
        begin = index.begins[entry * fields + f]
        inter = overlap(
            streamed.tables, streamed.bases[f], streamed.bits[f], index.hashes,
            begin, begin + other, streamed.needed[f],
        )  # fmt: skip
        if inter < 0:
            return False
        streamed.values[f] = inter / (size + other - inter)
    return True


@inner
def _never_met(sizes):
    """For each entry: the streamed row that last met it, hits it still lacks, its size, nothing.

    The size is that of the field in which it is indexed. These lie side by side, since a hit needs
    all of them.
    """
    met = np.zeros((sizes.size, 4), np.int32)
    for entry in range(sizes.size):
        met[entry, 0] = -1
        met[entry, 2] = sizes[entry]
    return met


@inner
def _is_last_hit(met, row, size, threshold, eager):
    """Whether row `row` now has as many hits of an entry as it must; `eager`, whether any."""
    if met[0] != row:
        met[0] = row
        met[1] = 1 if eager else least_hits(np.int64(met[2]), size, threshold)
    met[1] -= 1
    return met[1] == 0


@kernel(
    types.Tuple((types.int64[::1], types.int64[::1], types.float64[:, ::1], types.int64))(
        INDEX_TYPE, types.float64, INT64, INT64, UINT64, types.int64, types.int64
    ),
)
def find_pairs(index, threshold, begins, sizes, hashes, row, most):
    """Find the pairs of streamed rows and entries: (rows, entries, similarities, next row).

    index: an `EntryIndex`. threshold: float64, the one that the index was made for. begins, sizes:
    int64; field f of streamed row r has the set s = r * fields + f, which is
    hashes[begins[s] : begins[s] + sizes[s]]. hashes: uint64, distinct in each row. row: int64, the
    streamed row to begin with. most: int64; the search ends behind a row with which there are so
    many pairs or more, else behind the last one. Rows and entries are int64, similarities
    float64[pairs, fields]. The next row is the first that was not streamed.
    """
    fields = index.bounds.size - 1
    rows = sizes.size // fields
    left = np.empty(1 << 10, np.int64)
    right = np.empty(1 << 10, np.int64)
    jaccard = np.empty((1 << 10, fields), np.float64)
    pairs = np.int64(0)
    streamed, maybe = _streamed(sizes, fields)
    met = _never_met(index.indexed)
    postings = index.postings
    while row < rows and pairs < most:
        pattern = _begin(streamed, row, begins, sizes)
        for f in range(fields):
            begin, size = streamed.begins[f], streamed.sizes[f]
            count = _in_bitmap(index.bitmap, hashes, begin, begin + size, pattern, maybe)
            low = high = NONE
            for k in range(count):
                at, stop = _list_of(index, maybe[k])
                if at == stop:
                    continue
                if low == NONE:
                    low, high = _range(index, f, size, threshold)
                for p in range(_first_from(postings, at, stop, low), stop):
                    entry = np.int64(postings[p])
                    if entry >= high:
                        break
                    if not _is_last_hit(met[entry], row, size, threshold, False):
                        continue
                    if not _sizes_allow(index, entry, streamed, threshold):
                        continue
                    if not _is_similar(index, entry, streamed, hashes):
                        continue
                    if pairs == left.size:
                        left, right = grown(left, 2 * left.size), grown(right, 2 * right.size)
                        jaccard = grown_rows(jaccard, left.size)
                    left[pairs], right[pairs] = row, entry
                    for field in range(fields):
                        jaccard[pairs, field] = streamed.values[field]
                    pairs += 1
        row += 1
    return left[:pairs].copy(), right[:pairs].copy(), jaccard[:pairs].copy(), row


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
    """Find as few pairs as connect what all pairs do: (rows, entries, compared).

    index: an `EntryIndex`. threshold: float64, the one that the index was made for. begins, sizes,
    hashes: the streamed rows, see `find_pairs`. own: int64, the entry that a streamed row is
    itself, -1 for none. parent: int64, a union-find over the entries, at first 0, 1, 2, and so on.
    jump: uint32, for each posting the next one. Parent and jump are written, and handed to the next
    call as they are.

    A row and an entry that are connected already are not compared. compared: int64, pairs whose
    sets were looked at.
    """
    fields = index.bounds.size - 1
    left = np.empty(1 << 10, np.int64)
    right = np.empty(1 << 10, np.int64)
    edges = np.int64(0)
    compared = np.int64(0)
    streamed, maybe = _streamed(sizes, fields)
    met = _never_met(index.indexed)
    postings = index.postings
    for row in range(own.size):
        pattern = _begin(streamed, row, begins, sizes)
        root = NONE if own[row] < 0 else find(parent, own[row])
        for f in range(fields):
            begin, size = streamed.begins[f], streamed.sizes[f]
            count = _in_bitmap(index.bitmap, hashes, begin, begin + size, pattern, maybe)
            low = high = NONE
            for k in range(count):
                at, stop = _list_of(index, maybe[k])
                if at == stop:
                    continue
                if low == NONE:
                    low, high = _range(index, f, size, threshold)
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
                    if other == root or not _sizes_allow(index, entry, streamed, threshold):
                        continue
                    compared += 1
                    if not _is_similar(index, entry, streamed, hashes):
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
