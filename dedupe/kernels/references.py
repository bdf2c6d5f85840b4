"""The best reference of each row of a component: the one of the highest Jaccard similarity.

References stay, however alike they are, so no bound on how many of them are near one row holds: a
thousand test items of one template are all near each row made from it. The references of a
component are therefore counted, not compared. A *common* shingle is one that more than half of them
hold. Each reference is listed under the shingles that are not common and that it holds, and under
the common ones that it lacks. A row shares with a reference

    common shingles of the row - common ones that the reference lacks
        + lists in which the reference stands, of shingles of the row that are not common
        + lists in which it stands, of common shingles that the row lacks

so only references in these lists, which are short where the row is near to all, are counted one by
one. All others are told by how many shingles they have and how many common ones they lack: of those
alike in both, which are a *class*, only the first can be the best. Nothing is estimated.

Few corpora are held against references, so this module is imported, and its kernel compiled, for
the first: see `stages.verify`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from dedupe.kernels import inner, kernel
from dedupe.kernels.array_types import BOOLEANS, INT64, UINT64
from dedupe.kernels.buffers import grown
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER, ZERO
from dedupe.kernels.jaccard import SLACK, least_overlap
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


class Lists(NamedTuple):
    """Which references are listed under each shingle.

    keys: uint64[2**bits], an open-addressing table of shingles, 0 where free; `zero` is the number
    of the shingle 0, -1 where no reference has it. numbers: int32, of the shingle in each slot.
    is_common: bool, of each shingle. starts: int64, of each the first of its references in `listed`
    (int32), with the end. common: int64, the numbers of common shingles, those of field f from
    common_starts[f] on.
    """

    keys: npt.NDArray[np.uint64]
    numbers: npt.NDArray[np.int32]
    zero: int
    is_common: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    listed: npt.NDArray[np.int32]
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
def _list_references(sets, references):
    """The `Lists` of groups[:references]."""
    groups, offsets, hashes, fields = sets
    keys, numbers = np.zeros(1 << 10, np.uint64), np.empty(1 << 10, np.int32)
    held, field = np.zeros(1 << 10, np.int64), np.zeros(1 << 10, np.int64)
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
                    if number == held.size:
                        held, field = grown(held, 2 * held.size), grown(field, 2 * field.size)
                    held[number], field[number] = 0, f
                    if hashes[i] == ZERO:
                        zero = number
                    else:
                        if 2 * count > keys.size:
                            keys, numbers = _grown_table(keys, numbers)
                        slot = _slot_of(keys, hashes[i])
                        keys[slot], numbers[slot] = hashes[i], number
                held[number] += 1
    is_common = np.zeros(count, np.bool_)
    starts = np.zeros(count + 1, np.int64)
    in_fields = np.zeros(fields + 1, np.int64)
    for number in range(count):
        is_common[number] = 2 * held[number] > references
        listed_here = references - held[number] if is_common[number] else held[number]
        starts[number + 1] = starts[number] + listed_here
        in_fields[field[number] + 1] += np.int64(is_common[number])
    for f in range(fields):
        in_fields[f + 1] += in_fields[f]
    common = np.empty(in_fields[fields], np.int64)
    filled = in_fields.copy()
    for number in range(count):
        if is_common[number]:
            common[filled[field[number]]] = number
            filled[field[number]] += 1
    listed = np.empty(starts[count], np.int32)
    at = starts[:count].copy()
    seen = np.full(count, -1, np.int32)
    for r in range(references):
        for i in range(offsets[groups[r] * fields], offsets[(groups[r] + 1) * fields]):
            number = _number_of(keys, numbers, zero, hashes[i])
            seen[number] = r
            if not is_common[number]:
                listed[at[number]] = r
                at[number] += 1
        for number in common:
            if seen[number] != r:
                listed[at[number]] = r
                at[number] += 1
    return Lists(keys, numbers, zero, is_common, starts, listed, common, in_fields)


@inner
def _find_classes(sets, references, lists):
    """(sizes, lacking, firsts): of each reference, and the first one of each class.

    sizes, lacking: int64[references * fields], shingles of each field, and the common ones that it
    lacks. firsts: int64, of references alike in both the first.
    """
    groups, offsets, hashes, fields = sets
    sizes = np.empty(references * fields, np.int64)
    lacking = np.empty(references * fields, np.int64)
    bits = 4
    while (1 << bits) < 2 * references:
        bits += 1
    slots = np.full(1 << bits, -1, np.int32)
    mask = np.uint64((1 << bits) - 1)
    firsts = np.empty(references, np.int64)
    count = np.int64(0)
    for r in range(references):
        mixed = ZERO
        for f in range(fields):
            here = r * fields + f
            begin, end = offsets[groups[r] * fields + f], offsets[groups[r] * fields + f + 1]
            sizes[here] = end - begin
            lacking[here] = lists.common_starts[f + 1] - lists.common_starts[f]
            for i in range(begin, end):
                number = _number_of(lists.keys, lists.numbers, lists.zero, hashes[i])
                lacking[here] -= np.int64(lists.is_common[number])
            mixed = (mixed ^ np.uint64(sizes[here] << 32 ^ lacking[here])) * SECOND_MULTIPLIER
            mixed ^= mixed >> np.uint64(32)
        slot = mixed & mask
        while slots[slot] >= 0:
            first, same = np.int64(slots[slot]), True
            for f in range(fields):
                here, there = r * fields + f, first * fields + f
                same = same and sizes[here] == sizes[there] and lacking[here] == lacking[there]
            if same:
                break
            slot = (slot + ONE) & mask
        if slots[slot] < 0:
            slots[slot] = r
            firsts[count] = r
            count += 1
    return sizes, lacking, firsts[:count]


@inner
def _similarity_by_counts(r, group, sets, sizes, lacking, shared, more, values):
    """The least similarity of a group and a reference in any field; -1.0 where one field is empty.

    shared: int64, the common shingles of each field of the group. more: int32, what the lists add
    to them. values: written.
    """
    _groups, offsets, _hashes, fields = sets
    for f in range(fields):
        here = r * fields + f
        size = offsets[group * fields + f + 1] - offsets[group * fields + f]
        if size == 0 or sizes[here] == 0:
            if size != sizes[here]:
                return -1.0
            values[f] = 1.0
            continue
        both = np.int64(more[here])
        if shared[f] > 0:
            both += shared[f] - lacking[here]
        values[f] = both / (size + sizes[here] - both)
    return least_of(values)


@inner
def _count_all(sets, references, count, threshold, values, best, jaccard):
    """What `_compare_all` does, for any number of references."""
    groups, offsets, hashes, fields = sets
    lists = _list_references(sets, references)
    sizes, lacking, firsts = _find_classes(sets, references, lists)
    more = np.zeros(references * fields, np.int32)
    met = np.empty(references, np.int64)
    is_met = np.zeros(references, np.bool_)
    none = np.zeros(references * fields, np.int32)
    shared = np.empty(fields, np.int64)
    seen = np.full(lists.is_common.size, -1, np.int64)
    for k in range(references, count):
        found = np.int64(0)
        may_be_any = True
        for f in range(fields):
            begin, end = offsets[groups[k] * fields + f], offsets[groups[k] * fields + f + 1]
            shared[f] = 0
            for i in range(begin, end):
                number = _number_of(lists.keys, lists.numbers, lists.zero, hashes[i])
                if number < 0:
                    continue
                seen[number] = k
                if lists.is_common[number]:
                    shared[f] += 1
                    continue
                for at in range(lists.starts[number], lists.starts[number + 1]):
                    r = np.int64(lists.listed[at])
                    more[r * fields + f] += 1
                    if not is_met[r]:
                        is_met[r] = True
                        met[found] = r
                        found += 1
            least = threshold * (end - begin) * (1.0 - SLACK)
            may_be_any = may_be_any and (end == begin or shared[f] >= least)
            if shared[f] == 0:  # then it does not matter which common ones a reference lacks
                continue
            for at_common in range(lists.common_starts[f], lists.common_starts[f + 1]):
                number = lists.common[at_common]
                if seen[number] == k:
                    continue
                for at in range(lists.starts[number], lists.starts[number + 1]):
                    r = np.int64(lists.listed[at])
                    more[r * fields + f] += 1
                    if not is_met[r]:
                        is_met[r] = True
                        met[found] = r
                        found += 1
        best[k] = -1
        highest = threshold
        for i in range(found):
            r = met[i]
            value = _similarity_by_counts(r, groups[k], sets, sizes, lacking, shared, more, values)
            if value > highest or (value == highest and (best[k] < 0 or r < best[k])):
                best[k] = r
                highest = value
                write_row(jaccard, k, values)
        for r in firsts if may_be_any else firsts[:0]:
            value = _similarity_by_counts(r, groups[k], sets, sizes, lacking, shared, none, values)
            if value > highest or (value == highest and (best[k] < 0 or r < best[k])):
                best[k] = r
                highest = value
                write_row(jaccard, k, values)
        for i in range(found):
            is_met[met[i]] = False
            for f in range(fields):
                more[met[i] * fields + f] = 0


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
    the largest component, 4 bytes for each reference and shingle in which it differs from most of
    them, and 24 to 64 for each distinct shingle of references.
    """
    nearest = np.full(len(group), -1, np.int64)
    jaccard = np.full((len(group), fields), np.nan)
    _nearest(
        component_offsets, group, is_reference, fields, set_offsets, set_hashes, float(threshold),
        int(few), nearest, jaccard,
    )  # fmt: skip
    return nearest, jaccard
