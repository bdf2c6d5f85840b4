"""The best reference of each row of a component: the one of the highest Jaccard similarity.

References stay, however alike they are, so no bound on how many of them are near one row holds: a
thousand test items of one template are all near each row made from it. The references of a
component are therefore counted, not compared. A *common* shingle is one that more than half of them
hold. Each reference is listed under the shingles that are not common and that it holds, and under
the common ones that it lacks. A row shares with a reference

    common shingles of the row - common ones that the reference lacks
        + lists in which the reference stands, of shingles of the row that are not common
        + lists in which it stands, of common shingles that the row lacks

so references are counted in these lists: one by one in short ones, and 64 at a time in long ones,
which are bitmaps that are added up. How similar they are follows from the count, how many shingles
they have and how many common ones they lack. Those alike in the latter two are a *class*, of which
only the first with the highest count can be the best. Nothing is estimated.

Few corpora are held against references, so this module is imported, and its kernel compiled, for
the first: see `stages.verify`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import BOOLEANS, INT64, UINT64
from dedupe.kernels.buffers import grown
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, ZERO
from dedupe.kernels.jaccard import least_overlap
from dedupe.kernels.lookup import fill_table, overlap, table_bits
from dedupe.kernels.sets import ComponentSets, least_of, write_row

FEW_REFERENCES = 16
"""So many references are compared with each row of a component one by one."""
FEW_ROWS = 4
"""So few rows are compared with all references of a component one by one."""


# Few references, or few rows: each with each.


@inner
def _similarity(mine, theirs, best, sets, bits, bases, values, table):
    """The least similarity of two groups in any field, -1.0 if it is below `best`.

    The tables of the fields of `mine` are in `table`, see `_fill_tables`; values: written.
    """
    _groups, offsets, hashes, fields = sets
    for f in range(fields):
        size = offsets[mine * fields + f + 1] - offsets[mine * fields + f]
        start, stop = offsets[theirs * fields + f], offsets[theirs * fields + f + 1]
        other = stop - start
        if size == 0 or other == 0:
            if size != other:
                return -1.0
            values[f] = 1.0
            continue
        needed = least_overlap(size, other, best)
        if needed > min(size, other):
            return -1.0
        shared = overlap(table, bases[f], bits[f], hashes, start, stop, needed)
        if shared < 0:
            return -1.0
        values[f] = shared / (size + other - shared)
    return least_of(values)


@inner
def _fill_tables(group, sets, bits, bases, table):
    """A table of each field of a group: returns `table`, another one if it was too small."""
    _groups, offsets, hashes, fields = sets
    room = np.int64(0)
    for f in range(fields):
        size = offsets[group * fields + f + 1] - offsets[group * fields + f]
        bits[f] = table_bits(size)
        bases[f] = room
        room += (1 << bits[f]) + 2
    if table.size < room:
        table = np.empty(room, np.uint64)
    for f in range(fields):
        begin, end = offsets[group * fields + f], offsets[group * fields + f + 1]
        fill_table(table, bases[f], bits[f], hashes, begin, end)
    return table


@inner
def _compare_all(sets, references, count, threshold, bits, bases, values, table, best, jaccard):
    """Compare groups[references:count] with each of groups[:references]; returns `table`.

    best[k] becomes the number of the best one, -1 for none, and jaccard[k] its similarities.
    """
    groups = sets.groups
    for k in range(references, count):
        table = _fill_tables(groups[k], sets, bits, bases, table)
        best[k] = -1
        highest = threshold
        for r in range(references):
            value = _similarity(groups[k], groups[r], highest, sets, bits, bases, values, table)
            if value >= 0.0 and (best[k] < 0 or value > highest):
                best[k] = r
                highest = value
                write_row(jaccard, k, values)
    return table


# Many references: counted by the shingles that tell them apart.


class Classes(NamedTuple):
    """References by class: those of a class have as many shingles, and lack as many common ones.

    order: int64, their numbers by class, in each class ascending; a *place* is an index of it.
    starts: int64, the first place of each class, with the end. sizes, lacking: int64[classes,
    fields], shingles of each field, and how many of the common ones are not among them.
    """

    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    lacking: npt.NDArray[np.int64]


class Lists(NamedTuple):
    """Which references are listed under each shingle, by their places.

    keys: uint64[2**bits], an open-addressing table of shingles, 0 where free; numbers: int32, the
    number of the shingle in each slot; zero: that of the shingle 0, -1 where no reference has it.
    is_common: bool, of each shingle. starts: int64, of each the first of its places in `listed`
    (int32), with the end. row: int32, of a long list the row of `bitmaps` (uint64[rows, words])
    that has it, a bit for each place, -1 for others, which are short. common: int64, the numbers of
    common shingles, those of field f from common_starts[f] on.
    """

    keys: npt.NDArray[np.uint64]
    numbers: npt.NDArray[np.int32]
    zero: int
    is_common: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    listed: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    bitmaps: npt.NDArray[np.uint64]
    common: npt.NDArray[np.int64]
    common_starts: npt.NDArray[np.int64]


@inner
def _slot_of(keys, value):
    """The slot of a shingle, or the free one where it belongs."""
    mask = np.uint64(keys.size - 1)
    mixed = value * GOLDEN_RATIO
    slot = (mixed ^ mixed >> np.uint64(32)) & mask
    while keys[slot] != ZERO and keys[slot] != value:
        slot = (slot + ONE) & mask
    return slot


@inner
def _grown_table(keys, numbers):
    """The same shingles in twice as many slots."""
    larger = np.zeros(2 * keys.size, np.uint64)
    places = np.empty(2 * keys.size, np.int32)
    for i in range(keys.size):
        if keys[i] != ZERO:
            slot = _slot_of(larger, keys[i])
            larger[slot] = keys[i]
            places[slot] = numbers[i]
    return larger, places


@inner
def _number_of(keys, numbers, zero, value):
    """The number of a shingle; -1 where no reference has it."""
    if value == ZERO:
        return np.int64(zero)
    slot = _slot_of(keys, value)
    return np.int64(numbers[slot]) if keys[slot] != ZERO else np.int64(-1)


@inner
def _number_shingles(sets, references):
    """(keys, numbers, zero, holders, field): the shingles of groups[:references].

    holders, field: int64, how many references have each, and in which field.
    """
    groups, offsets, hashes, fields = sets
    keys, numbers = np.zeros(1 << 10, np.uint64), np.empty(1 << 10, np.int32)
    holders, field = np.zeros(1 << 10, np.int64), np.zeros(1 << 10, np.int64)
    zero = np.int64(-1)
    count = np.int64(0)
    for r in range(references):
        for f in range(fields):
            begin, end = offsets[groups[r] * fields + f], offsets[groups[r] * fields + f + 1]
            for i in range(begin, end):
                number = _number_of(keys, numbers, zero, hashes[i])
                if number < 0:
                    number = count
                    count += 1
                    if number == holders.size:
                        holders = grown(holders, 2 * holders.size)
                        field = grown(field, 2 * field.size)
                    holders[number], field[number] = 0, f
                    if hashes[i] == ZERO:
                        zero = number
                    else:
                        if 2 * count > keys.size:
                            keys, numbers = _grown_table(keys, numbers)
                        slot = _slot_of(keys, hashes[i])
                        keys[slot], numbers[slot] = hashes[i], number
                holders[number] += 1
    return keys, numbers, zero, holders[:count], field[:count]


@inner
def _classify(sets, references, keys, numbers, zero, is_common, common_starts):
    """The `Classes` of groups[:references]."""
    groups, offsets, hashes, fields = sets
    bits = 4
    while (1 << bits) < 2 * references:
        bits += 1
    slots = np.full(1 << bits, -1, np.int32)
    mask = np.uint64((1 << bits) - 1)
    sizes, lacking = (
        np.empty((references, fields), np.int64),
        np.empty((references, fields), np.int64),
    )
    of = np.empty(references, np.int64)
    members = np.zeros(references + 1, np.int64)
    count = np.int64(0)
    for r in range(references):
        mixed = ZERO
        for f in range(fields):
            begin, end = offsets[groups[r] * fields + f], offsets[groups[r] * fields + f + 1]
            sizes[count, f] = end - begin
            lacking[count, f] = common_starts[f + 1] - common_starts[f]
            for i in range(begin, end):
                number = _number_of(keys, numbers, zero, hashes[i])
                lacking[count, f] -= np.int64(is_common[number])
            mixed = (mixed ^ np.uint64(sizes[count, f] << 32 ^ lacking[count, f])) * GOLDEN_RATIO
            mixed ^= mixed >> np.uint64(32)
        slot = mixed & mask
        while slots[slot] >= 0:
            known, same = np.int64(slots[slot]), True
            for f in range(fields):
                same = same and sizes[count, f] == sizes[known, f]
                same = same and lacking[count, f] == lacking[known, f]
            if same:
                break
            slot = (slot + ONE) & mask
        if slots[slot] < 0:
            slots[slot] = count
            count += 1
        of[r] = slots[slot]
        members[of[r] + 1] += 1
    for k in range(count):
        members[k + 1] += members[k]
    at = members.copy()
    order = np.empty(references, np.int64)
    for r in range(references):
        order[at[of[r]]] = r
        at[of[r]] += 1
    return Classes(order, members[: count + 1], sizes[:count], lacking[:count])


@inner
def _list_references(sets, references):
    """(the `Classes` of groups[:references], their `Lists`)."""
    groups, offsets, hashes, fields = sets
    keys, numbers, zero, holders, field = _number_shingles(sets, references)
    count, words = holders.size, (references + 63) >> 6
    is_common = np.zeros(count, np.bool_)
    row = np.full(count, -1, np.int32)
    starts = np.zeros(count + 1, np.int64)
    common_starts = np.zeros(fields + 1, np.int64)
    rows = np.int64(0)
    for number in range(count):
        is_common[number] = 2 * holders[number] > references
        length = references - holders[number] if is_common[number] else holders[number]
        if length >= words:
            row[number] = rows
            rows += 1
            length = 0
        starts[number + 1] = starts[number] + length
        common_starts[field[number] + 1] += np.int64(is_common[number])
    for f in range(fields):
        common_starts[f + 1] += common_starts[f]
    common = np.empty(common_starts[fields], np.int64)
    filled = common_starts.copy()
    for number in range(count):
        if is_common[number]:
            common[filled[field[number]]] = number
            filled[field[number]] += 1
    classes = _classify(sets, references, keys, numbers, zero, is_common, common_starts)
    listed = np.empty(starts[count], np.int32)
    bitmaps = np.zeros((rows, words), np.uint64)
    at = starts[:count].copy()
    seen = np.full(count, -1, np.int32)
    here = np.empty(count, np.int64)
    for place in range(references):
        r = classes.order[place]
        found = np.int64(0)
        for i in range(offsets[groups[r] * fields], offsets[(groups[r] + 1) * fields]):
            number = _number_of(keys, numbers, zero, hashes[i])
            seen[number] = place
            if not is_common[number]:
                here[found] = number
                found += 1
        for number in common:
            if seen[number] != place:
                here[found] = number
                found += 1
        for i in range(found):
            number = here[i]
            if row[number] >= 0:
                bitmaps[row[number], place >> 6] |= ONE << np.uint64(place & 63)
            else:
                listed[at[number]] = place
                at[number] += 1
    lists = Lists(
        keys, numbers, zero, is_common, starts, listed, row, bitmaps, common, common_starts
    )
    return classes, lists


@inner
def _add_bitmap(bitmap, planes):
    """Count the places in a bitmap: planes[w, b] has bit b of the counts of those of word w."""
    for w in range(bitmap.size):
        carry = bitmap[w]
        b = 0
        while carry != ZERO:
            both = planes[w, b] & carry
            planes[w, b] ^= carry
            carry = both
            b += 1


@inner
def _count_at(planes, place):
    """The count of a place."""
    w, bit = place >> 6, np.uint64(place & 63)
    count = np.int64(0)
    for b in range(planes.shape[1]):
        count |= np.int64((planes[w, b] >> bit) & ONE) << b
    return count


@inner
def _highest_count(planes, most, start, end):
    """(the highest count of the places from `start` to `end`, the first place that has it).

    most: no count is higher.
    """
    depth = 1
    while most >> depth:
        depth += 1
    highest, first = np.int64(-1), start
    for w in range(start >> 6, (end + 63) >> 6):
        left = ~ZERO
        if w == start >> 6:
            left &= ~ZERO << np.uint64(start & 63)
        if w == end >> 6:
            left &= (ONE << np.uint64(end & 63)) - ONE
        count = np.int64(0)
        for b in range(depth - 1, -1, -1):
            some = left & planes[w, b]
            if some != ZERO:
                left = some
                count |= np.int64(1) << b
        if count > highest:
            highest = count
            place = w << 6
            while left & ONE == ZERO:
                left >>= ONE
                place += 1
            first = place
    return highest, first


@inner
def _similarity_by_counts(k, classes, sizes, shared, more, values):
    """The least similarity of a row with references of class k in any field; -1.0 for none.

    sizes, shared: int64[fields], shingles of the row, and those of them that are common. more:
    int64[fields], in how many lists that count for the row the references stand. values: written.
    """
    for f in range(sizes.size):
        size, other = sizes[f], classes.sizes[k, f]
        if size == 0 or other == 0:
            if size != other:
                return -1.0
            values[f] = 1.0
            continue
        both = more[f]
        if shared[f] > 0:
            both += shared[f] - classes.lacking[k, f]
        both = min(both, size, other)  # `more` may be a bound
        values[f] = both / (size + other - both)
    return least_of(values)


@inner
def _count_all(sets, references, count, threshold, values, best, jaccard):
    """What `_compare_all` does, for any number of references."""
    groups, offsets, hashes, fields = sets
    classes, lists = _list_references(sets, references)
    words = (references + 63) >> 6
    longest = np.int64(0)
    for k in range(references, count):
        longest = max(longest, offsets[(groups[k] + 1) * fields] - offsets[groups[k] * fields])
    depth = 1
    while (1 << depth) <= longest + lists.common.size:
        depth += 1
    planes = np.zeros((fields, words, depth), np.uint64)
    added = np.zeros(fields, np.int64)
    by_list = np.zeros((references, fields), np.int32)
    met, is_met = np.empty(references, np.int64), np.zeros(references, np.bool_)
    class_of = np.empty(references, np.int64)
    for c in range(classes.starts.size - 1):
        class_of[classes.starts[c] : classes.starts[c + 1]] = c
    sizes, shared = np.empty(fields, np.int64), np.empty(fields, np.int64)
    more = np.empty(fields, np.int64)
    seen = np.full(lists.is_common.size, -1, np.int64)
    for k in range(references, count):
        found = np.int64(0)
        for f in range(fields):
            begin, end = offsets[groups[k] * fields + f], offsets[groups[k] * fields + f + 1]
            sizes[f], shared[f] = end - begin, 0
            added[f] = 0
            for i in range(begin, end):
                number = _number_of(lists.keys, lists.numbers, lists.zero, hashes[i])
                if number < 0:
                    continue
                seen[number] = k
                if lists.is_common[number]:
                    shared[f] += 1
                elif lists.row[number] >= 0:
                    _add_bitmap(lists.bitmaps[lists.row[number]], planes[f])
                    added[f] += 1
                else:
                    found = _meet(lists, number, f, by_list, met, is_met, found)
            if shared[f] > 0:  # else it does not matter which common ones a reference lacks
                for i in range(lists.common_starts[f], lists.common_starts[f + 1]):
                    number = lists.common[i]
                    if seen[number] == k:
                        continue
                    if lists.row[number] >= 0:
                        _add_bitmap(lists.bitmaps[lists.row[number]], planes[f])
                        added[f] += 1
                    else:
                        found = _meet(lists, number, f, by_list, met, is_met, found)
        best[k] = -1
        highest = threshold
        for i in range(found):
            place = met[i]
            for f in range(fields):
                more[f] = by_list[place, f]
                if added[f]:
                    more[f] += _count_at(planes[f], place)
                by_list[place, f] = 0
            is_met[place] = False
            value = _similarity_by_counts(class_of[place], classes, sizes, shared, more, values)
            highest = _better(k, classes.order[place], value, highest, values, best, jaccard)
        for c in range(classes.starts.size - 1):
            start, end = classes.starts[c], classes.starts[c + 1]
            for f in range(fields):
                more[f] = added[f]
            # with fields, a bound: the best of each field need not be one reference
            value = _similarity_by_counts(c, classes, sizes, shared, more, values)
            if value < highest:
                continue
            if fields == 1:
                first = start
                if added[0]:
                    more[0], first = _highest_count(planes[0], added[0], start, end)
                value = _similarity_by_counts(c, classes, sizes, shared, more, values)
                highest = _better(k, classes.order[first], value, highest, values, best, jaccard)
                continue
            for place in range(start, end):
                for f in range(fields):
                    more[f] = _count_at(planes[f], place) if added[f] else 0
                value = _similarity_by_counts(c, classes, sizes, shared, more, values)
                highest = _better(k, classes.order[place], value, highest, values, best, jaccard)
        for f in range(fields):
            if added[f]:
                planes[f, :, :] = ZERO


@inner
def _meet(lists, number, f, by_list, met, is_met, found):
    """Count the references in a short list; returns how many have been met so far."""
    for at in range(lists.starts[number], lists.starts[number + 1]):
        place = np.int64(lists.listed[at])
        by_list[place, f] += 1
        if not is_met[place]:
            is_met[place] = True
            met[found] = place
            found += 1
    return found


@inner
def _better(k, r, value, highest, values, best, jaccard):
    """Make r the best reference of group k, if it is; returns the highest similarity so far."""
    if value > highest or (value == highest and (best[k] < 0 or r < best[k])):
        best[k] = r
        write_row(jaccard, k, values)
        return value
    return highest


@kernel(
    types.void(
        INT64,
        INT64,
        BOOLEANS,
        types.int64,
        INT64,
        UINT64,
        types.float64,
        types.int64,
        types.int64[::1],
        types.float64[:, ::1],
    ),
)
def _nearest(
    component_offsets, group, is_reference, fields, set_offsets, set_hashes, threshold, few,
    nearest, jaccard,
):  # fmt: skip
    """See `nearest_references`; few: see `FEW_REFERENCES`."""
    room = np.int64(0)
    for c in range(component_offsets.size - 1):
        room = max(room, component_offsets[c + 1] - component_offsets[c])
    groups, first = np.empty(room, np.int64), np.empty(room, np.int64)
    best = np.empty(room, np.int64)
    similarity = np.empty((room, fields), np.float64)
    count_of_groups = (set_offsets.size - 1) // fields
    place = np.full((count_of_groups, 2), -1, np.int64)  # among references, among the others
    bits, bases = np.empty(fields, np.int64), np.empty(fields, np.int64)
    values = np.empty(fields, np.float64)
    table = np.empty(1 << 10, np.uint64)
    sets = ComponentSets(groups, set_offsets, set_hashes, fields)
    for c in range(component_offsets.size - 1):
        start, stop = component_offsets[c], component_offsets[c + 1]
        references = count = np.int64(0)
        only = True
        for row in range(start, stop):
            g = group[row]
            only = only and g == group[start]
            role = 0 if is_reference[row] else 1
            if place[g, role] < 0:
                place[g, role] = count
                groups[count], first[count] = g, row
                count += 1
                references += 1 - role
        if 0 < references < count:
            if only:
                best[1] = 0
                similarity[1, :] = 1.0
            elif references <= few or count - references <= min(few, FEW_ROWS):
                table = _compare_all(
                    sets, references, count, threshold, bits, bases, values, table, best,
                    similarity,
                )  # fmt: skip
            else:
                _count_all(sets, references, count, threshold, values, best, similarity)
            for row in range(start, stop):
                if not is_reference[row]:
                    k = place[group[row], 1]
                    if best[k] >= 0:
                        nearest[row] = first[best[k]]
                        write_row(jaccard, row, similarity[k])
        for row in range(start, stop):
            place[group[row], 0] = -1
            place[group[row], 1] = -1


@kernel(
    types.void(INT64, INT64, types.int64, INT64, UINT64, types.float64[:, ::1]),
)
def _similarities(groups, others, fields, set_offsets, set_hashes, jaccard):
    """See `similarities`."""
    bits, bases = np.empty(fields, np.int64), np.empty(fields, np.int64)
    table = np.empty(1 << 10, np.uint64)
    sets = ComponentSets(groups, set_offsets, set_hashes, fields)
    for i in range(groups.size):
        if i == 0 or groups[i] != groups[i - 1]:
            table = _fill_tables(groups[i], sets, bits, bases, table)
        for f in range(fields):
            here, there = groups[i] * fields + f, others[i] * fields + f
            size = set_offsets[here + 1] - set_offsets[here]
            start, stop = set_offsets[there], set_offsets[there + 1]
            shared = overlap(table, bases[f], bits[f], set_hashes, start, stop, np.int64(0))
            union = size + stop - start - shared
            jaccard[i, f] = shared / union if union > 0 else 1.0


def similarities(
    groups: npt.NDArray[np.int64],
    others: npt.NDArray[np.int64],
    fields: int,
    set_offsets: npt.NDArray[np.int64],
    set_hashes: npt.NDArray[np.uint64],
) -> npt.NDArray[np.float64]:
    """The similarities of groups with others, by field: float64[n, fields].

    groups, others: int64[n]. fields, set_offsets, set_hashes: see `verify.verify_components`.
    """
    jaccard = np.empty((len(groups), fields))
    _similarities(groups, others, fields, set_offsets, set_hashes, jaccard)
    return jaccard


def nearest_references(
    component_offsets: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    is_reference: npt.NDArray[np.bool_],
    fields: int,
    set_offsets: npt.NDArray[np.int64],
    set_hashes: npt.NDArray[np.uint64],
    threshold: float,
    *,
    few: int = FEW_REFERENCES,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The best reference of each row: (its row, int64[n]; similarities, float64[n, fields]).

    component_offsets, group, fields, set_offsets, set_hashes, threshold: as in
    `verify.verify_components`, which checks them. is_reference: bool[n], whether each row is one;
    those of a component stand before its other rows. few: up to so many references are compared
    with each row one by one; it decides how long it takes, not what is found.

    The best reference of a row is the one of its component for which the least similarity in any
    field is highest, if it reaches the threshold; of several the first. Its row is -1, and its
    similarities NaN, for rows without one and for references. Memory in addition to the result: of
    the largest component, at most 8 bytes for each reference and shingle in which it differs from
    most of them, 50 to 90 for each distinct shingle of references, and 50 for each reference.
    """
    nearest = np.full(len(group), -1, np.int64)
    jaccard = np.full((len(group), fields), np.nan)
    _nearest(
        component_offsets, group, is_reference, fields, set_offsets, set_hashes, float(threshold),
        int(few), nearest, jaccard,
    )  # fmt: skip
    return nearest, jaccard
