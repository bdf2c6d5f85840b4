"""Components and shingle sets to witnesses and exact Jaccard similarities, field by field.

A document has fields, and two are duplicates if each of their fields is. Rows with equal digests
are one group and are compared once. A component of few groups is decided by comparing each group
with the kept ones: a kept set is an open-addressing table, the other set's hashes are looked up in
it until the threshold is out of reach. Those of many groups go through an index: see `many`.

No filter decides anything: pairs are decided by `intersection / union >= threshold` in float64 for
each field, and every bound is conservative with respect to exactly that expression.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dedupe.kernels import Spread, inner, kernel, types
from dedupe.kernels.array_types import INT64, UINT64
from dedupe.kernels.deviations import BY_COST
from dedupe.kernels.jaccard import least_overlap
from dedupe.kernels.lookup import fill_table, overlap, table_bits
from dedupe.kernels.sets import (
    Answer,
    ComponentSets,
    Stats,
    least_of,
    measure,
    settle,
    smallest_first,
    write_row,
)
from dedupe.kernels.union_find import find, unite

Scalar = TypeVar("Scalar", bound=np.generic)

DIRECT_GROUPS = 48
"""Components of up to so many groups are decided without an index."""
COUNTER_SLOTS = 1 << 28
"""Most one-byte counters of one component; up to that it gets two for each distinct shingle."""
CACHED_SLOTS = 1 << 17
"""Slots (8 bytes each) for the tables of kept sets of a small component: about the L2 cache."""
BATCH = 1 << 12
"""Groups of a batch of a component that is scanned, at least."""
CROWD = 64
"""Pairs that have met for each group so far, from which a component may be crowded."""


# Few groups: every group against the kept ones. Where documents have one field, as most do, they
# are compared by functions of their own: a loop over fields would double the time for small sets.


@inner
def _table_of(number, begin, end, hashes, table, used, places, count):
    """(used, base): the table of a set of a small component, filled on first use.

    number: group * fields + field, below `count`; places[number] is the base of its table, -1 if
    there is none. When the room is used up all tables of the component are forgotten.
    """
    if places[number] >= 0:
        return used, places[number]
    bits = table_bits(end - begin)
    room = (1 << bits) + 2
    if used + room > table.size:
        places[:count] = -1
        used = 0
    fill_table(table, used, bits, hashes, begin, end)
    places[number] = used
    return used + room, places[number]


@inner
def _cover_one_field(sets, count, threshold, table, places, answer, stats):
    """Decide groups[:count] in order: owner[k] = kept group that k duplicates, or k itself."""
    groups, offsets, hashes, _fields = sets
    owner, _partner, jaccard = answer
    places[:count] = -1
    used = np.int64(0)
    for k in range(count):
        owner[k] = k
        begin, end = offsets[groups[k]], offsets[groups[k] + 1]
        best = threshold
        for other in range(k):
            if owner[other] != other:
                continue
            start, stop = offsets[groups[other]], offsets[groups[other] + 1]
            needed = least_overlap(end - begin, stop - start, best)
            if needed > min(end - begin, stop - start):
                continue
            used, base = _table_of(other, start, stop, hashes, table, used, places, count)
            stats[0] += 1
            bits = table_bits(stop - start)
            inter = overlap(table, base, bits, hashes, begin, end, needed)
            if inter < 0:
                continue
            value = inter / (end - begin + stop - start - inter)
            if owner[k] == k or value > best:
                owner[k] = other
                jaccard[k, 0] = value
                best = value


@inner
def _connect_one_field(sets, count, threshold, table, places, answer, stats):
    """Unite, in the union-find `parent`, the groups whose similarity reaches the threshold.

    jaccard[k] is that of k with partner[k], the last group it was found similar to.
    """
    groups, offsets, hashes, _fields = sets
    parent, partner, jaccard = answer
    places[:count] = -1
    used = np.int64(0)
    for k in range(count):
        begin, end = offsets[groups[k]], offsets[groups[k] + 1]
        for other in range(k):
            if find(parent, other) == find(parent, k):
                continue
            start, stop = offsets[groups[other]], offsets[groups[other] + 1]
            needed = least_overlap(end - begin, stop - start, threshold)
            if needed > min(end - begin, stop - start):
                continue
            used, base = _table_of(other, start, stop, hashes, table, used, places, count)
            stats[0] += 1
            bits = table_bits(stop - start)
            inter = overlap(table, base, bits, hashes, begin, end, needed)
            if inter >= 0:
                unite(parent, other, k)
                partner[k] = other
                jaccard[k, 0] = inter / (end - begin + stop - start - inter)


class Fields(NamedTuple):
    """Scratch to compare the fields of two groups, each with a place for every field.

    order: int64, the fields, the smallest set first. needed: int64, shingles to share. values:
    float64, the similarities.
    """

    order: npt.NDArray[np.int64]
    needed: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]


@inner
def _similarity(k, other, best, sets, scratch, table, used, places, count, stats):
    """(used, the least similarity of two groups in any field, -1.0 if it is below `best`).

    The hashes of k are looked up in the tables of `other`, in the order of `scratch`, a `Fields`.
    """
    groups, offsets, hashes, fields = sets
    order, needed, values = scratch
    mine, theirs = groups[k] * fields, groups[other] * fields
    for f in range(fields):
        size = offsets[mine + f + 1] - offsets[mine + f]
        other_size = offsets[theirs + f + 1] - offsets[theirs + f]
        if size > 0 and other_size > 0:
            needed[f] = least_overlap(size, other_size, best)
            if needed[f] > min(size, other_size):
                return used, -1.0
        elif size != other_size:
            return used, -1.0
    stats[0] += 1
    for i in range(fields):
        f = order[i]
        begin, end = offsets[mine + f], offsets[mine + f + 1]
        values[f] = 1.0
        if begin == end:
            continue
        start, stop = offsets[theirs + f], offsets[theirs + f + 1]
        number = other * fields + f
        used, base = _table_of(number, start, stop, hashes, table, used, places, count * fields)
        bits = table_bits(stop - start)
        inter = overlap(table, base, bits, hashes, begin, end, needed[f])
        if inter < 0:
            return used, -1.0
        values[f] = inter / (end - begin + stop - start - inter)
    return used, least_of(values)


@inner
def _decide_by_field(sets, count, threshold, transitive, scratch, table, places, answer, stats):
    """What `_cover_one_field` does, or `_connect_one_field`, with several fields."""
    groups, offsets, _hashes, fields = sets
    owner, partner, jaccard = answer
    order, _needed, values = scratch
    places[: count * fields] = -1
    used = np.int64(0)
    for k in range(count):
        smallest_first(offsets, groups[k] * fields, fields, order)
        best = threshold
        for other in range(k):
            if transitive:
                if find(owner, other) == find(owner, k):
                    continue
            elif owner[other] != other:
                continue
            used, value = _similarity(
                k, other, best, sets, scratch, table, used, places, count, stats
            )
            if value < 0.0:
                continue
            if transitive:
                unite(owner, other, k)
                partner[k] = other
                write_row(jaccard, k, values)
            elif owner[k] == k or value > best:
                owner[k] = other
                best = value
                write_row(jaccard, k, values)


@kernel(
    types.int64(
        INT64,
        INT64,
        types.int64,
        INT64,
        UINT64,
        types.float64,
        types.boolean,
        types.int64,
        types.int64[::1],
        types.int64[::1],
        types.boolean[::1],
        types.int64[::1],
        types.float64[:, ::1],
        types.int64[::1],
    ),
)
def _decide_few(
    component_offsets,
    group,
    fields,
    set_offsets,
    set_hashes,
    threshold,
    transitive,
    direct_groups,
    first,
    place,
    is_large,
    witness,
    jaccard,
    stats,
):
    """Decide the components of up to `direct_groups` groups; -1, or a row that breaks the contract.

    It is a row whose group is also in another component, or has no set although it needs one.
    Written: of each group its first row and its number in the component, `first` was -1 before;
    which components are large; and witness, jaccard and stats of the others.
    """
    room = np.int64(0)
    for c in range(component_offsets.size - 1):
        room = max(room, component_offsets[c + 1] - component_offsets[c])
    groups = np.empty(room, np.int64)
    direct = min(room, direct_groups)
    places = np.empty(direct * fields, np.int64)
    owner = np.empty(direct, np.int64)
    partner = np.empty(direct, np.int64)
    similarity = np.empty((direct, fields), np.float64)
    scratch = Fields(
        np.empty(fields, np.int64), np.empty(fields, np.int64), np.empty(fields, np.float64)
    )
    table = np.empty(CACHED_SLOTS, np.uint64)
    sets = ComponentSets(groups, set_offsets, set_hashes, fields)
    answer = Answer(owner, partner, similarity)
    for c in range(component_offsets.size - 1):
        start, stop = component_offsets[c], component_offsets[c + 1]
        count = np.int64(0)
        for row in range(start, stop):
            g = group[row]
            if first[g] < 0:
                first[g] = row
                place[g] = count
                groups[count] = g
                if count < direct:
                    owner[count] = count
                    partner[count] = -1
                count += 1
            elif first[g] < start:
                return row
        stats[3] = max(stats[3], count)
        largest = np.int64(0)
        if count > 1:
            for k in range(count):
                size = set_offsets[(groups[k] + 1) * fields] - set_offsets[groups[k] * fields]
                if size == 0:
                    return first[groups[k]]
                largest = max(largest, size)
        if count > direct_groups:
            is_large[c] = True
            continue
        slots = (1 << table_bits(largest)) + 2
        if slots > table.size:
            table = np.empty(slots, np.uint64)
        if count > 1:
            if fields > 1:
                _decide_by_field(
                    sets, count, threshold, transitive, scratch, table, places, answer, stats
                )
            elif transitive:
                _connect_one_field(sets, count, threshold, table, places, answer, stats)
            else:
                _cover_one_field(sets, count, threshold, table, places, answer, stats)
            if transitive:
                measure(sets, count, table, answer, places, stats)
        settle(
            start, stop, group, first, place, groups, owner, similarity, fields, witness, jaccard
        )
    return np.int64(-1)


def verify_components(
    component_offsets: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    fields: int,
    set_offsets: npt.NDArray[np.int64],
    set_hashes: npt.NDArray[np.uint64],
    threshold: float,
    transitive: bool,
    *,
    direct_groups: int = DIRECT_GROUPS,
    counter_slots: int = COUNTER_SLOTS,
    crowd: int = CROWD,
    scan: int = BY_COST,
    batch: int = BATCH,
    spread: Spread = map,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Stats]:
    """Decide every row of every component: (witness int64[n], jaccard float64[n, fields], Stats).

    component_offsets int64[C + 1]: the rows of component c are
    component_offsets[c]:component_offsets[c + 1], in keep-policy order, best first.
    group int64[n]: the digest group of each row; a group is in one component.
    fields: how many a document has, at least 1.
    set_offsets int64[G * fields + 1]: field f of group g has the set s = g * fields + f, which is
    set_hashes[set_offsets[s]:set_offsets[s + 1]], distinct uint64 in any order; no hash is in sets
    of two fields. Fields may be empty, but not all of a group whose component has other groups.
    Arrays may be read-only or memory-mapped.

    witness is the position of the kept row that a row duplicates, its own where it is kept;
    jaccard is that of their sets, 1.0 for equal groups and NaN where kept. Two empty fields have
    1.0, an empty one and another 0.0.

    Cover (transitive=False) walks the rows of a component in order and drops a row if a kept one
    has intersection / union >= threshold in every field, compared in float64; the witness is the
    kept row for which the least of these is highest, of equal ones the first. Transitive keeps the
    first row of each connected component of such pairs; jaccard may then be less than the
    threshold.

    Components of more than `direct_groups` groups go through an index, with at most
    `counter_slots` bytes of counters; where more than `crowd` pairs have met for each group so far,
    pairs of elements may take its place (at once if it is negative), or unless transitive a scan,
    in batches of `batch` groups or more. scan: BY_COST if that is estimated to be faster, ALWAYS
    for all that do not go without an index, or NEVER. spread: calls a function for parts of the
    groups of one component, on several threads perhaps. None of these changes the result.

    The kernels for an index, and for a scan, are compiled when there is one. Scratch memory is
    about 16 bytes per group, 40 per group and 50 per set of the largest component, 50 to 100 for
    every shingle that its index holds (at most those of the prefixes of its kept groups in one
    field, all groups where transitive, that another group may have), and 24 to 40 per hash of the
    largest group, in a scan for each thread. A scan has no index, but 100 bytes per group, 20 per
    set, and at most 1.5 per shingle.

    Raises TypeError for another dtype and ValueError for arrays that break these rules.
    """
    component_offsets = _flat("component_offsets", component_offsets, np.int64)
    group = _flat("group", group, np.int64)
    set_offsets = _flat("set_offsets", set_offsets, np.int64)
    set_hashes = _flat("set_hashes", set_hashes, np.uint64)
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    _check_offsets("component_offsets", component_offsets, group.size)
    _check_offsets("set_offsets", set_offsets, set_hashes.size)
    if component_offsets[0] != 0 or component_offsets[-1] != group.size:
        raise ValueError(f"component_offsets must run from 0 to {group.size} rows")
    if fields < 1 or (set_offsets.size - 1) % fields:
        raise ValueError(f"set_offsets must bound {fields} sets for each group")
    groups = (set_offsets.size - 1) // fields
    if group.size and not 0 <= int(group.min()) <= int(group.max()) < groups:
        raise ValueError(f"group must be in [0, {groups})")
    witness = np.empty(group.size, np.int64)
    jaccard = np.empty((group.size, fields), np.float64)
    stats = np.zeros(len(Stats._fields), np.int64)
    first = np.full(groups, -1, np.int64)
    place = np.empty(groups, np.int64)
    is_large = np.zeros(component_offsets.size - 1, np.bool_)
    bad = _decide_few(
        component_offsets,
        group,
        fields,
        set_offsets,
        set_hashes,
        float(threshold),
        bool(transitive),
        max(int(direct_groups), 1),
        first,
        place,
        is_large,
        witness,
        jaccard,
        stats,
    )
    if bad >= 0:
        raise ValueError(
            f"group {group[bad]} of row {bad} is in two components, or its set is empty "
            "although its component has other groups"
        )
    large = np.flatnonzero(is_large)
    while large.size:
        # here, as small corpora do without these, and few need the second
        from dedupe.kernels.many import decide_many

        done, field, doubtful, counters, bits = decide_many(
            large,
            component_offsets,
            group,
            fields,
            set_offsets,
            set_hashes,
            float(threshold),
            bool(transitive),
            int(counter_slots),
            int(crowd),
            int(scan),
            first,
            place,
            witness,
            jaccard,
            stats,
        )
        if done < large.size:
            from dedupe.kernels.scan import Component, scan_rows

            start, stop = component_offsets[large[done] : large[done] + 2].tolist()
            of_rows = group[start:stop]
            groups = of_rows[first[of_rows] == np.arange(start, stop)]
            scanned = Component(
                groups,
                fields,
                set_offsets,
                set_hashes,
                float(threshold),
                field,
                doubtful,
                counters,
                bits,
            )
            scan_rows(
                start, stop, group, first, place, scanned, spread, batch, witness, jaccard, stats
            )
        large = large[done + 1 :]
    return witness, jaccard, Stats(*stats.tolist())


def _flat(name: str, array: npt.NDArray[Scalar], dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    """`array` as a plain ndarray, without a copy; TypeError or ValueError unless it fits."""
    if array.dtype != dtype:
        raise TypeError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
    if array.ndim != 1 or not array.flags.c_contiguous:
        raise ValueError(f"{name} must be one-dimensional and contiguous")
    return np.asarray(array)


def _check_offsets(name: str, offsets: npt.NDArray[np.int64], stop: int) -> None:
    if offsets.size == 0 or offsets[0] < 0 or offsets[-1] > stop:
        raise ValueError(f"{name} must have an entry more than it bounds, within [0, {stop}]")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError(f"{name} must not decrease")
