"""Components whose groups meet too often in an index of shingles: pairs of elements instead.

Templates filled from lists of values are like that: each value is in many groups, and groups that
share one value alone meet. An *element* of a component is a set of shingles that the same groups
hold, such as those around one value, or all that a template leaves as it is. Two similar groups
share elements, and the first two that they share, in an order common to all, are among the first
few of both. So groups are filed under pairs of their first elements, and meet where they share two.
Shingles that most groups hold are one element together, the last one.

Which shingles fall together decides how often groups meet in vain, never what is found: a shared
shingle is of one element, and the proof in `_prefix` needs no more than that. It holds for each
field by itself, so a group is filed under the pairs of one of its fields, in which fewest groups
would meet it, and looks others up by those of all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner
from dedupe.kernels.buffers import grown, grown_rows
from dedupe.kernels.counters import counter_of
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER
from dedupe.kernels.jaccard import last_place
from dedupe.kernels.sets import (
    choose,
    fits_elsewhere,
    forget_tables,
    shares_enough,
    smallest_first,
    sort_smallest,
)

ROOM = 32
"""Slots for each distinct shingle: with few, shingles of different groups would fall together."""
MOST_SLOTS = 1 << 22
"""Most slots (16 bytes each) in which the elements of a component are told apart."""
MOST_ELEMENTS = 16
"""A group that must be filed under pairs of more elements in a field is *wide* in that field: it is
compared with all that are filed under it. One that is wide in each of its fields is filed under
none, and compared with all."""
MOST_PLACES = MOST_ELEMENTS * (MOST_ELEMENTS + 1) // 2
SAMPLE = 1 << 12
"""Groups of which is seen how often pairs of elements would meet."""
GAIN = 4
"""How much less often they must meet than shingles do."""
WIDE_SHARE = 256
"""At most one group of so many in a sample may be wide."""
LAST = np.uint64(2**64 - 1)
"""The key of the last element."""
LOW = np.uint64(0xFFFFFFFF)
MOST_FILED = (1 << 31) - 1
"""Most postings (12 bytes each), as int32 numbers them: later groups are wide."""
MOST_HEADS = 1 << 25
"""Most lists (4 bytes each) of groups."""


class Elements(NamedTuple):
    """The elements of a component.

    keys: uint64[2**bits], of the element of each slot of shingles, see `find_elements`. counters:
    uint8[2**counter_bits], of shingles, see `counters.count_hashes`; a shingle with a count of 1 is
    of no element, and those with `most` or more are the last one. keys_scratch: keys of one set's
    shingles. stack: scratch of `sets.sort_smallest`. names, weights: the first elements of one set,
    and how many of its shingles each has. places: uint64[fields, MOST_PLACES], those of one group,
    and filled: int64[fields], how many it has; see `_find_places`.
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
    filled: npt.NDArray[np.int64]


@inner
def find_elements(sets, count, slots_wanted, counters, counter_bits, keys_scratch, stack):
    """Tell the elements of a component apart, in `slots_wanted` slots or a few more: an `Elements`.

    sets: a `ComponentSets`. count: int64, its groups. slots_wanted: int64. counters, counter_bits:
    uint8[2**counter_bits] of its shingles, see `counters.count_hashes`. keys_scratch: uint64, as
    long as the largest set. stack: int64[64, 2], scratch of `sets.sort_smallest`.

    Every group adds its number, spread over 64 bits, to the slots of its shingles. Slots with the
    same sum and the same number of groups have the same key: 8 bits that say about how many groups,
    then 56 bits of the sum.
    """
    groups, offsets, hashes, fields = sets
    bits = 10
    while (1 << bits) < slots_wanted and (1 << bits) < MOST_SLOTS:
        bits += 1
    slots = np.zeros((1 << bits, 2), np.uint64)
    shift, counter_shift = np.uint64(64 - bits), np.uint64(64 - counter_bits)
    most = counter_of(count >> 1)
    for k in range(count):
        spread = (np.uint64(k) + ONE) * GOLDEN_RATIO
        spread = (spread ^ spread >> np.uint64(29)) * SECOND_MULTIPLIER
        spread ^= spread >> np.uint64(32)
        for i in range(offsets[groups[k] * fields], offsets[(groups[k] + 1) * fields]):
            mixed = hashes[i] * GOLDEN_RATIO
            counter = counters[mixed >> counter_shift]
            if counter > 1 and counter < most:
                slots[mixed >> shift, 0] += spread
                slots[mixed >> shift, 1] += ONE
    keys = np.empty(1 << bits, np.uint64)
    for slot in range(keys.size):
        holders = np.int64(slots[slot, 1])
        name = (slots[slot, 0] ^ slots[slot, 1] * SECOND_MULTIPLIER) >> np.uint64(8)
        keys[slot] = np.uint64(counter_of(holders)) << np.uint64(56) | name
    names = np.empty(MOST_ELEMENTS, np.uint64)
    weights = np.empty(MOST_ELEMENTS, np.int64)
    places = np.empty((fields, MOST_PLACES), np.uint64)
    filled = np.empty(fields, np.int64)
    return Elements(
        keys, bits, counters, counter_bits, most, keys_scratch, stack, names, weights, places,
        filled,
    )  # fmt: skip


@inner
def _element_keys(elements, hashes, begin, end, last):
    """Write the key of each shingle's element to elements.keys_scratch: (unique, size, common).

    unique: shingles that no other group has; beyond `last` of them there is no similar set. size:
    how many keys were written. common: shingles of the last element, whose key is not written.
    """
    keys, counters, most = elements.keys, elements.counters, elements.most
    keys_scratch = elements.keys_scratch
    shift = np.uint64(64 - elements.bits)
    counter_shift = np.uint64(64 - elements.counter_bits)
    unique = np.int64(0)
    size = np.int64(0)
    common = np.int64(0)
    for i in range(begin, end):
        mixed = hashes[i] * GOLDEN_RATIO
        counter = counters[mixed >> counter_shift]
        if counter >= most and counter > 1:
            common += 1
        elif counter > 1:
            keys_scratch[size] = keys[mixed >> shift]
            size += 1
        else:
            unique += 1
            if unique > last:
                return unique, np.int64(0), np.int64(0)
    return unique, size, common


@inner
def _prefix(elements, unique, size, common, last):
    """The first elements of a set: how many, and whether they are enough; -1 if it has too many.

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
def _places_of_field(k, f, elements, sets, smallest, threshold):
    """Write the places of a set to elements.places[f]: how many, -1 if wide, 0 if it is alone.

    A place is a hash of two elements. A set without enough of them may share a single one with a
    similar set, if that holds all but `last` of its shingles; such an element is a place, too.
    """
    groups, offsets, hashes, fields = sets
    begin, end = offsets[groups[k] * fields + f], offsets[groups[k] * fields + f + 1]
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
            places[f, filled] = (mixed ^ mixed >> np.uint64(32)) * SECOND_MULTIPLIER
            filled += 1
        if not enough and unique + size + common - weights[j] <= last:
            places[f, filled] = names[j] * GOLDEN_RATIO
            filled += 1
    return filled


@inner
def _find_places(k, elements, sets, smallest, threshold):
    """Write the places of all fields of a group: whether another one may be similar to it.

    elements.filled[f] is how many there are in field f: 0 if that is empty, -1 if it is wide.
    """
    groups, offsets, _hashes, fields = sets
    filled = elements.filled
    for f in range(fields):
        filled[f] = 0
        if offsets[groups[k] * fields + f] < offsets[groups[k] * fields + f + 1]:
            filled[f] = _places_of_field(k, f, elements, sets, smallest[f], threshold)
            if filled[f] == 0:
                return False
    return True


@inner
def _how_often(ordered, place):
    """How many of some places, in ascending order, are this one."""
    low, high = np.int64(0), ordered.size
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < place:
            low = middle + 1
        else:
            high = middle
    first, high = low, ordered.size
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] <= place:
            low = middle + 1
        else:
            high = middle
    return low - first


@inner
def _pairs_by_field(sampled, ordered, filled, groups):
    """How often groups of a sample meet, each filed under its best field: (pairs, places, wide).

    sampled: places of each group, one field after the other, of which filled[n, f] are of group n
    and field f. ordered: the same, ascending. places: under which they are filed. wide: groups
    filed under none.
    """
    fields = filled.shape[1]
    pairs = np.int64(0)  # each is seen from both groups
    filed = np.int64(0)
    wide = np.int64(0)
    under = np.zeros(fields, np.int64)
    wide_in = np.zeros(fields, np.int64)
    at = np.int64(0)
    for n in range(groups):
        chosen, least = np.int64(-1), np.int64(0)
        any_wide = False
        for f in range(fields):
            others = np.int64(0)
            for _ in range(filled[n, f]):
                others += _how_often(ordered, sampled[at]) - 1
                at += 1
            any_wide |= filled[n, f] < 0
            if filled[n, f] > 0 and (chosen < 0 or others < least):
                chosen, least = f, others
        if chosen >= 0:
            pairs += least
            filed += filled[n, chosen]
            under[chosen] += 1
            for f in range(fields):
                wide_in[f] += np.int64(filled[n, f] < 0)
        elif any_wide:
            wide += 1
    pairs >>= 1
    for f in range(fields):
        pairs += under[f] * wide_in[f]
    return pairs, filed, wide


@inner
def pairs_of_elements(elements, sets, count, smallest, threshold):
    """How many pairs of groups filed under elements would meet: (that, mean places), float64.

    elements: an `Elements`. sets: a `ComponentSets`. count: int64, its groups. smallest:
    int64[fields], size of the smallest set of each field. threshold: float64. They are estimated
    from a sample, and infinite if too many groups are wide; mean places is the number of places
    that a group is filed under.
    """
    fields = sets.fields
    step = max(count // SAMPLE, 1)
    sampled = np.empty(SAMPLE * 2 * MOST_PLACES * fields, np.uint64)
    filled = np.zeros((SAMPLE * 2, fields), np.int64)
    used = np.int64(0)
    groups = np.int64(0)
    for k in range(0, count, step):
        if _find_places(k, elements, sets, smallest, threshold):
            for f in range(fields):
                filled[groups, f] = elements.filled[f]
                for i in range(elements.filled[f]):
                    sampled[used] = elements.places[f, i]
                    used += 1
        groups += 1
    ordered = np.empty(used, np.uint64)
    for i in range(used):
        ordered[i] = sampled[i]
    sort_smallest(ordered, used, used, elements.stack)
    pairs = np.int64(0)
    filed = used
    wide = np.int64(0)
    if fields == 1:
        same = np.int64(0)
        for i in range(1, used):
            same = same + 1 if ordered[i] == ordered[i - 1] else np.int64(0)
            pairs += same
        for n in range(groups):
            wide += np.int64(filled[n, 0] < 0)
    else:
        pairs, filed, wide = _pairs_by_field(sampled, ordered, filled, groups)
    scale = count / groups
    met = pairs * scale * scale if wide * WIDE_SHARE <= groups else np.inf
    return met, filed / groups


class Filed(NamedTuple):
    """Kept groups by their places.

    postings: int32; postings[p] is a group, the next posting of its list, and half of its place;
    posting 0 is none. heads: int32[2**n], the first posting of each list. holders: uint32, for each
    list how many groups have a place there in any field, with several fields. latest: int32[fields
    + 1], the last group filed under each field, and the last one that is filed under none, as it is
    wide in all; before[k]: int32, the one before group k of the same kind; -1 for none. shift:
    uint64, brings a place to the number of its list.
    """

    postings: npt.NDArray[np.int32]
    heads: npt.NDArray[np.int32]
    holders: npt.NDArray[np.uint32]
    latest: npt.NDArray[np.int32]
    before: npt.NDArray[np.int32]
    shift: np.uint64


@inner
def _meet(k, elements, filed, sizes, firsts, met):
    """The groups that a group meets, once each: (met, how many)."""
    postings, heads, _holders, latest, before, shift = filed
    all_places, filled = elements.places, elements.filled
    fields = filled.size
    found = np.int64(0)
    for f in range(fields):
        places = all_places[f]
        for i in range(filled[f]):  # all at once: the memory is asked for them side by side
            firsts[i] = heads[places[i] >> shift]
        for i in range(filled[f]):
            posting = firsts[i]
            while posting != 0:
                if postings[posting, 2] == np.int32(places[i] & LOW):
                    if found == met.size:
                        met = grown(met, 2 * met.size)
                    met[found] = postings[posting, 0]
                    found += 1
                posting = postings[posting, 1]
    for kind in range(fields + 1):
        if kind == fields or filled[kind] < 0:
            other = latest[kind]
            while other >= 0:
                if found == met.size:
                    met = grown(met, 2 * met.size)
                met[found] = other
                found += 1
                other = before[other]
    several = np.int64(0)
    for i in range(found):
        mark = np.int64(met[i]) * fields
        if sizes[mark, 1] != k:
            sizes[mark, 1] = k
            met[several] = met[i]
            several += 1
    return met, several


@inner
def _field_to_file(elements, filed):
    """The field in which a group meets the fewest kept ones; -1 if it is wide in all it has."""
    places, filled, holders = elements.places, elements.filled, filed.holders
    fields = filled.size
    chosen, least = np.int64(-1), np.int64(0)
    for f in range(fields):
        others = np.int64(0)
        for i in range(filled[f] if fields > 1 else 0):
            others += holders[places[f, i] >> filed.shift]
            holders[places[f, i] >> filed.shift] += np.uint32(1)
        if filled[f] > 0 and (chosen < 0 or others < least):
            chosen, least = f, others
    return chosen


@inner
def _file(k, places, count, heads, shift, postings, used):
    """File a group under its places: (postings, the number of them in use)."""
    while used + count >= postings.shape[0]:
        postings = grown_rows(postings, 2 * postings.shape[0])
    for i in range(count):
        used += 1
        place = places[i] >> shift
        postings[used, 0] = k
        postings[used, 1] = heads[place]
        postings[used, 2] = np.int32(places[i] & LOW)
        heads[place] = used
    return postings, used


@inner
def cover_crowded(
    first, elements, mean, sets, count, smallest, threshold, sizes, bitmaps, compared, answer, stats
):
    """Decide the groups from `first` on, when those before it are decided.

    first: int64. elements: an `Elements`. mean: float64, places of a group on average. sets: a
    `ComponentSets`. count: int64, its groups. smallest: int64[fields], size of the smallest set of
    each field. threshold: float64. sizes: int64[count * fields, 2], the size of each set and
    scratch. bitmaps: uint64[count * fields, 4] of all groups, see `sets.draw_bitmap`. compared: a
    `Compared`. answer: an `Answer`. stats: int64, see `sets.Stats`; both are written.
    """
    groups, offsets, hashes, fields = sets
    order, bits, bases, needed, values, table = compared
    head_bits = 10
    while (1 << head_bits) < mean * count and (1 << head_bits) < MOST_HEADS:
        head_bits += 1
    shift = np.uint64(64 - head_bits)
    heads = np.zeros(1 << head_bits, np.int32)
    holders = np.zeros(1 << head_bits if fields > 1 else 1, np.uint32)
    room = min(np.int64(mean * count * 1.1), MOST_FILED)
    postings = np.empty((room + MOST_PLACES, 3), np.int32)
    used = np.int64(0)
    latest = np.full(fields + 1, -1, np.int32)
    before = np.empty(count, np.int32)
    firsts = np.empty(MOST_PLACES, np.int32)
    met = np.empty(MOST_PLACES, np.int32)
    owner, _partner, jaccard = answer
    places, filled = elements.places, elements.filled
    for k in range(count):
        if k < first and owner[k] != k:
            continue
        if not _find_places(k, elements, sets, smallest, threshold):
            continue
        filed = Filed(postings, heads, holders, latest, before, shift)
        if k >= first:
            best = threshold
            smallest_first(offsets, groups[k] * fields, fields, order)
            forget_tables(fields, bits, bases)
            met, found = _meet(k, elements, filed, sizes, firsts, met)
            stats[1] += found
            for i in range(found):
                other = np.int64(met[i])
                if fits_elsewhere(
                    k, other, -1, best, fields, sizes, bitmaps, needed
                ) and shares_enough(
                    k,
                    other,
                    groups,
                    offsets,
                    hashes,
                    fields,
                    sizes,
                    order,
                    bits,
                    bases,
                    needed,
                    values,
                    table,
                    stats,
                ):
                    best = choose(k, other, best, values, owner, jaccard)
            if owner[k] != k:
                continue
        f = _field_to_file(elements, filed)
        kind = f
        if f < 0 or used + filled[f] > MOST_FILED:
            kind = np.int64(fields)
        else:
            postings, used = _file(k, places[f], filled[f], heads, shift, postings, used)
        before[k] = latest[kind]
        latest[kind] = k
    stats[2] += used
