"""Components and shingle sets to witnesses and exact Jaccard similarities.

Rows with equal digests are one group and are compared once. A component of few groups is decided
by comparing each group with the kept ones: the kept set is an open-addressing table, the other
set's hashes are looked up in it until the threshold is out of reach. A component of many groups
goes through an inverted index with prefix, length and positional filters (Bayardo et al. 2007,
All-Pairs; Xiao et al. 2008, PPJoin), made near linear by four things:

- Shingles are ordered by how many groups hold them, rarest first. The counts come from a table of
  one-byte counters without keys, so they may be too high, but a count of 1 is proof that no other
  group has the shingle: it fills the prefix and is neither indexed nor looked up.
- How many shingles of a set must be indexed depends on the size of the set that looks it up. The
  posting of a frequent shingle is therefore filed under the range of sizes for which it matters,
  as nodes of a binary tree over size classes; a probe visits the nodes above its own size. Groups
  that share a template and fall short of the threshold do not even meet.
- Pairs that meet are first compared by bitmaps of 256 bits, which bound what they share.
- In `transitive` mode, postings of groups that are already connected are jumped over; otherwise, a
  component whose groups meet too often goes on with `crowded`.

No filter decides anything: pairs are decided by `intersection / union >= threshold` in float64,
and every bound is conservative with respect to exactly that expression.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from numba import types

from dedupe.kernels import inner, kernel
from dedupe.kernels.array_types import INT64, UINT64
from dedupe.kernels.buffers import grown, grown_rows
from dedupe.kernels.crowded import ROOM, cover_crowded, find_elements, meet_less
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER, ZERO
from dedupe.kernels.jaccard import last_place, least_overlap, least_share, most_size_with
from dedupe.kernels.lookup import fill_table, overlap, table_bits
from dedupe.kernels.sets import (
    Answer,
    ComponentSets,
    choose,
    count_shared,
    count_shingles,
    distinct_shingles,
    draw_bitmap,
    most_shared,
    sort_smallest,
)
from dedupe.kernels.union_find import find, unite

Scalar = TypeVar("Scalar", bound=np.generic)

DIRECT_GROUPS = 48
"""Components of up to so many groups are decided without an index."""
COUNTER_SLOTS = 1 << 28
"""Most one-byte counters of one component; up to that it gets two for each distinct shingle."""
CACHED_SLOTS = 1 << 17
"""Slots (8 bytes each) for the tables of kept sets of a small component: about the L2 cache."""
CROWD = 64
"""Pairs that have met for each group so far, from which a component may be crowded."""
CROWD_START = 1 << 16
"""So many pairs meet before that is asked."""
FEW = 16
"""A shingle held by so few groups is filed under one list for all sizes."""


class Stats(NamedTuple):
    """What verification did.

    compared: pairs of groups whose sets were looked at; met: pairs that met in the index;
    postings: entries of all indexes; largest: groups of the largest component.
    """

    compared: int
    met: int
    postings: int
    largest: int


class GroupIndex(NamedTuple):
    """Postings by list, see `_index_group`, and what tells early that two groups differ.

    sizes[k] is [size of the set of k, the last group that met k]; bitmaps: `sets.draw_bitmap`;
    levels: height of the tree over size classes.
    """

    directory: npt.NDArray[np.uint64]
    postings: npt.NDArray[np.int64]
    skips: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    bitmaps: npt.NDArray[np.uint64]
    levels: int


# Few groups: every group against the kept ones.


@inner
def _table_of(k, begin, end, hashes, table, used, places, count):
    """(used, base): the table of group k of a small component, filled on first use.

    places[k] is the base of its table, -1 if there is none. When the room is used up all tables
    of the component are forgotten.
    """
    if places[k] >= 0:
        return used, places[k]
    bits = table_bits(end - begin)
    room = (1 << bits) + 2
    if used + room > table.size:
        places[:count] = -1
        used = 0
    fill_table(table, used, bits, hashes, begin, end)
    places[k] = used
    return used + room, places[k]


@inner
def _cover_few(sets, count, threshold, table, places, answer, stats):
    """Decide groups[:count] in order: owner[k] = kept group that k duplicates, or k itself."""
    groups, offsets, hashes = sets
    owner, _partner, jaccard = answer
    places[:count] = -1
    used = np.int64(0)
    for k in range(count):
        owner[k] = k
        jaccard[k] = np.nan
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
                jaccard[k] = value
                best = value


@inner
def _connect_few(sets, count, threshold, table, places, answer, stats):
    """Unite, in the union-find `parent`, the groups whose similarity reaches the threshold.

    jaccard[k] is that of k with partner[k], the last group it was found similar to.
    """
    groups, offsets, hashes = sets
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
                jaccard[k] = inter / (end - begin + stop - start - inter)


# Many groups: the order of shingles.


@inner
def _prefix(counters, bits, hashes, begin, end, last, keys, stack):
    """The order keys of a set that have at most `last` of its shingles before them.

    A key is (count of the shingle, 56 bits of its hash); they are written to keys[:size] in
    ascending order. Two shingles with one key only make sets meet in vain: which of them is in
    the prefix makes no difference to its keys. Returns (unique, size): shingles with a count of
    1, which come first, are left out of `keys`.
    """
    shift = np.uint64(64 - bits)
    unique = np.int64(0)
    size = np.int64(0)
    for i in range(begin, end):
        mixed = hashes[i] * GOLDEN_RATIO
        count = counters[mixed >> shift]
        if count == 1:
            unique += 1
            if unique > last:
                return unique, 0
        else:
            keys[size] = np.uint64(count) << np.uint64(56) | mixed >> np.uint64(8)
            size += 1
    take = min(size, last - unique + 1)
    sort_smallest(keys, size, take, stack)
    return unique, take


# Many groups: the index. A list of postings has an id made of an order key and a node of the tree
# over size classes. The directory is a table of (id, first posting); a posting is (group << 32 |
# shingles before it, next posting); posting 0 is none.


@inner
def _size_class(size):
    """Sizes below 128 are a class each; above, classes are 0.8 to 1.6 % wide."""
    shift = 0
    while size >> shift >= 128:
        shift += 1
    return (shift << 6) + (size >> shift)


@inner
def _list_id(key, level, klass):
    """Id of the list for classes [n << level, (n + 1) << level) around `klass`; -1: all sizes."""
    node = ZERO
    if level >= 0:
        node = np.uint64(((level + 1) << 32) + (klass >> level))
    mixed = (key ^ node * SECOND_MULTIPLIER) * GOLDEN_RATIO
    return mixed ^ mixed >> np.uint64(32)


@inner
def _place(directory, list_id):
    """Index of a list in the directory, or of the free slot where it belongs."""
    mask = np.uint64(directory.shape[0] - 1)
    slot = list_id & mask
    while directory[slot, 1] != ZERO and directory[slot, 0] != list_id:
        slot = (slot + ONE) & mask
    return slot


@inner
def _grown_directory(directory):
    larger = np.zeros((2 * directory.shape[0], 2), np.uint64)
    for i in range(directory.shape[0]):
        if directory[i, 1] != ZERO:
            slot = _place(larger, directory[i, 0])
            larger[slot, 0] = directory[i, 0]
            larger[slot, 1] = directory[i, 1]
    return larger


@inner
def _index_group(k, size, keys, unique, least, largest, threshold, directory, postings, filled):
    """File the prefix of group k; returns (directory, postings, filled).

    filled: [lists in the directory, postings used, levels of the tree in use].
    With `room` shingles left from a posting on, the group can reach the threshold only with
    sets of at most room / threshold - (size - room).
    """
    lowest = _size_class(least)
    before = unique
    for i in range(keys.size):
        if i > 0 and keys[i] != keys[i - 1]:
            before = unique + i
        room = size - before
        most = min(most_size_with(room, size, threshold), np.float64(largest))
        if most < least:
            break
        first, last = lowest, _size_class(np.int64(most))
        level = -1
        if keys[i] >> np.uint64(56) <= np.uint64(FEW):
            first = last
        while first <= last:
            if keys[i] >> np.uint64(56) > np.uint64(FEW):
                level = 0
                while first & ((2 << level) - 1) == 0 and first + (2 << level) - 1 <= last:
                    level += 1
                filled[2] = max(filled[2], level + 1)
            if 2 * (filled[0] + 1) > directory.shape[0]:
                directory = _grown_directory(directory)
            if filled[1] + 1 >= postings.shape[0]:
                postings = grown_rows(postings, 2 * postings.shape[0])
            list_id = _list_id(keys[i], level, first)
            slot = _place(directory, list_id)
            if directory[slot, 1] == ZERO:
                directory[slot, 0] = list_id
                filled[0] += 1
            filled[1] += 1
            postings[filled[1], 0] = k << 32 | min(before, 0x7FFFFFFF)
            postings[filled[1], 1] = np.int64(directory[slot, 1])
            directory[slot, 1] = np.uint64(filled[1])
            first += 1 << max(level, 0)
    return directory, postings


@inner
def _skip(posting, root, postings, skips, parent):
    """First posting behind `posting`, one of a group under `root`, that is under another root."""
    after = skips[posting]
    while after != 0 and find(parent, postings[after, 0] >> 32) == root:
        after = skips[after]
    skips[posting] = after
    return after


@inner
def _probe(k, keys, unique, smallest, transitive, sets, threshold, index, table, answer, stats):
    """Compare k with the indexed groups that may be similar to it.

    keys: its prefix, behind `unique` shingles that no other group has. Pairs meet at their first
    common shingle, so what stands behind it bounds what they share. Groups that are connected with
    k are passed over where `transitive`, and similar ones united with it; else owner[k] becomes the
    most similar one.
    """
    directory, postings, skips, sizes, bitmaps, levels = index
    owner, partner, jaccard = answer
    size = sizes[k, 0]
    size_class = _size_class(size)
    best = threshold
    share = least_share(best)
    _least, last = last_place(size, smallest, best)
    bits = 0
    root = k
    before = unique
    for i in range(keys.size):
        if i > 0 and keys[i] != keys[i - 1]:
            before = unique + i
        if before > last:
            break
        few = keys[i] >> np.uint64(56) <= np.uint64(FEW)
        for level in range(-1 if few else 0, 0 if few else levels):
            list_id = _list_id(keys[i], level, size_class)
            posting = np.int64(directory[_place(directory, list_id), 1])
            while posting != 0:
                this = posting
                other = postings[this, 0] >> 32
                if transitive and find(owner, other) == root:
                    posting = _skip(this, root, postings, skips, owner)
                    continue
                posting = postings[this, 1]
                if sizes[other, 1] == k:
                    continue
                sizes[other, 1] = k
                stats[1] += 1
                other_size = sizes[other, 0]
                most = min(size - before, other_size - (postings[this, 0] & 0x7FFFFFFF))
                if most < share * (size + other_size):
                    continue
                needed = least_overlap(size, other_size, best)
                if most < needed:
                    continue
                if most_shared(bitmaps, k, other, size + other_size) < needed:
                    continue
                inter, bits = count_shared(k, other, needed, sets, sizes, table, bits, stats)
                if inter < 0:
                    continue
                if transitive:
                    unite(owner, other, k)
                    root = find(owner, k)
                    partner[k] = other
                    jaccard[k] = inter / (size + other_size - inter)
                else:
                    best = choose(k, other, inter, best, sizes, answer)
                    share = least_share(best)
                    _least, last = last_place(size, smallest, best)


@inner
def _decide_many(sets, count, threshold, transitive, counter_slots, crowd, table, answer, stats):
    """Decide a component of many groups; `owner` is a union-find where `transitive`."""
    groups, offsets, hashes = sets
    owner, _partner, jaccard = answer
    total = np.int64(0)
    largest = np.int64(0)
    smallest = np.int64(offsets[groups[0] + 1] - offsets[groups[0]])
    sizes = np.empty((count, 2), np.int64)
    bitmaps = np.empty((count, 4), np.uint64)
    for k in range(count):
        size = offsets[groups[k] + 1] - offsets[groups[k]]
        sizes[k, 0] = size
        sizes[k, 1] = -1
        total += size
        largest = max(largest, size)
        smallest = min(smallest, size)
        owner[k] = k
        jaccard[k] = np.nan

    distinct = distinct_shingles(sets, count, total)
    bits = 1
    while (1 << bits) < 2 * distinct and (2 << bits) <= counter_slots:
        bits += 1
    counters = np.zeros(1 << bits, np.uint8)
    state = ONE
    for k in range(count):
        begin, end = offsets[groups[k]], offsets[groups[k] + 1]
        state = count_shingles(counters, bits, hashes, begin, end, state)

    keys = np.empty(largest, np.uint64)
    stack = np.empty((64, 2), np.int64)
    directory = np.zeros((1 << 10, 2), np.uint64)
    postings = np.empty((1 << 10, 2), np.int64)
    skips = np.empty(postings.shape[0] if transitive else 1, np.int64)
    filled = np.zeros(3, np.int64)
    asked = transitive
    before = stats[1]
    least_met = CROWD_START if crowd >= 0 else -1
    for k in range(count):
        met = stats[1] - before
        if not asked and met > least_met and met > crowd * k:
            asked = True
            elements = find_elements(
                sets, count, min(total >> 3, ROOM * distinct), counters, bits, keys, stack
            )
            wanted = met * (count / max(k, 1)) ** 2
            less, mean = meet_less(elements, sets, count, smallest, threshold, wanted)
            if less or crowd < 0:
                for other in range(count):
                    begin, end = offsets[groups[other]], offsets[groups[other] + 1]
                    draw_bitmap(bitmaps[other], hashes, begin, end)
                stats[2] += filled[1]
                cover_crowded(
                    k, elements, mean, sets, count, smallest, threshold,
                    sizes, bitmaps, table, answer, stats,
                )  # fmt: skip
                return
        begin, end = offsets[groups[k]], offsets[groups[k] + 1]
        least, last = last_place(end - begin, smallest, threshold)
        unique, length = _prefix(counters, bits, hashes, begin, end, last, keys, stack)
        if length == 0:
            continue
        prefix = keys[:length]
        draw_bitmap(bitmaps[k], hashes, begin, end)
        index = GroupIndex(directory, postings, skips, sizes, bitmaps, filled[2])
        _probe(
            k, prefix, unique, smallest, transitive, sets, threshold, index, table, answer, stats
        )
        if not transitive and owner[k] != k:
            continue
        known = filled[1]
        directory, postings = _index_group(
            k, end - begin, prefix, unique, least, largest, threshold, directory, postings, filled
        )
        if transitive:
            if skips.size < postings.shape[0]:
                skips = grown(skips, postings.shape[0])
            for posting in range(known + 1, filled[1] + 1):
                skips[posting] = postings[posting, 1]
    stats[2] += filled[1]


# Components and rows.


@inner
def _measure(sets, count, table, answer, chain, stats):
    """Replace parents by roots and set jaccard[k] to the exact value with the root of k.

    chain: scratch in which the groups of a root are linked, so that its table is filled once.
    """
    groups, offsets, hashes = sets
    parent, partner, jaccard = answer
    chain[:count] = -1
    for k in range(count - 1, -1, -1):
        root = find(parent, k)
        parent[k] = root
        if root != k and partner[k] != root:
            chain[k] = chain[root]
            chain[root] = k
    for root in range(count):
        if parent[root] != root:
            continue
        jaccard[root] = np.nan
        k = chain[root]
        if k < 0:
            continue
        begin, end = offsets[groups[root]], offsets[groups[root] + 1]
        bits = table_bits(end - begin)
        fill_table(table, np.int64(0), bits, hashes, begin, end)
        while k >= 0:
            start, stop = offsets[groups[k]], offsets[groups[k] + 1]
            stats[0] += 1
            inter = overlap(table, np.int64(0), bits, hashes, start, stop, np.int64(0))
            jaccard[k] = inter / (end - begin + stop - start - inter)
            k = chain[k]


@kernel(
    types.int64(
        INT64,
        INT64,
        INT64,
        UINT64,
        types.float64,
        types.boolean,
        types.int64,
        types.int64,
        types.int64,
        types.int64[::1],
        types.float64[::1],
        types.int64[::1],
    ),
)
def _verify(
    component_offsets,
    group,
    set_offsets,
    set_hashes,
    threshold,
    transitive,
    direct_groups,
    counter_slots,
    crowd,
    witness,
    jaccard,
    stats,
):
    """Fill witness, jaccard and stats; -1, or a row that breaks the contract.

    It is a row whose group is also in another component, or has an empty set it needs.
    """
    room = np.int64(0)
    for c in range(component_offsets.size - 1):
        room = max(room, component_offsets[c + 1] - component_offsets[c])
    first = np.full(set_offsets.size - 1, -1, np.int64)
    place = np.empty(set_offsets.size - 1, np.int64)
    groups = np.empty(room, np.int64)
    places = np.empty(room, np.int64)
    owner = np.empty(room, np.int64)
    partner = np.empty(room, np.int64)
    similarity = np.empty(room, np.float64)
    table = np.empty(CACHED_SLOTS, np.uint64)
    sets = ComponentSets(groups, set_offsets, set_hashes)
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
                owner[count] = count
                partner[count] = -1
                similarity[count] = np.nan
                count += 1
            elif first[g] < start:
                return row
        stats[3] = max(stats[3], count)
        if count > 1:
            largest = np.int64(0)
            for k in range(count):
                size = set_offsets[groups[k] + 1] - set_offsets[groups[k]]
                if size == 0:
                    return first[groups[k]]
                largest = max(largest, size)
            slots = (1 << table_bits(largest)) + 2
            if slots > table.size:
                table = np.empty(slots, np.uint64)
        if count > direct_groups:
            _decide_many(
                sets, count, threshold, transitive, counter_slots, crowd, table, answer, stats
            )
        elif count > 1 and transitive:
            _connect_few(sets, count, threshold, table, places, answer, stats)
        elif count > 1:
            _cover_few(sets, count, threshold, table, places, answer, stats)
        if count > 1 and transitive:
            _measure(sets, count, table, answer, places, stats)
        for row in range(start, stop):
            k = place[group[row]]
            witness[row] = first[groups[owner[k]]]
            if witness[row] == row:
                jaccard[row] = np.nan
            else:
                jaccard[row] = 1.0 if owner[k] == k else similarity[k]
    return np.int64(-1)


def verify_components(
    component_offsets: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
    set_offsets: npt.NDArray[np.int64],
    set_hashes: npt.NDArray[np.uint64],
    threshold: float,
    transitive: bool,
    *,
    direct_groups: int = DIRECT_GROUPS,
    counter_slots: int = COUNTER_SLOTS,
    crowd: int = CROWD,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Stats]:
    """Decide every row of every component: (witness int64[n], jaccard float64[n], Stats).

    component_offsets int64[C + 1]: the rows of component c are
    component_offsets[c]:component_offsets[c + 1], in keep-policy order, best first.
    group int64[n]: the digest group of each row, an index of a set; a group is in one component.
    set_offsets int64[G + 1]: set g is set_hashes[set_offsets[g]:set_offsets[g + 1]], distinct
    uint64 in any order. It may be empty if its component has no other group.
    Arrays may be read-only or memory-mapped.

    witness is the position of the kept row that a row duplicates, its own where it is kept;
    jaccard is that of their sets, 1.0 for equal groups and NaN where kept.

    Cover (transitive=False) walks the rows of a component in order and drops a row if a kept one
    has intersection / union >= threshold, compared in float64; the witness is the kept row of the
    highest value, of equal ones the first. Transitive keeps the first row of each connected
    component of the pairs >= threshold; jaccard may then be less than the threshold.

    Components of more than `direct_groups` groups go through an index, with at most
    `counter_slots` bytes of counters; where more than `crowd` pairs have met for each group so far,
    pairs of elements may take its place (at once if it is negative). None of them changes the
    result. Besides these, scratch memory is
    about 16 bytes per group, 90 per group of the largest component, 50 to 100 for every shingle
    that its index holds (at most those of the prefixes of its kept groups, all groups where
    transitive, that another group may have), and 24 to 40 per hash of the largest set.

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
    if group.size and not 0 <= int(group.min()) <= int(group.max()) < set_offsets.size - 1:
        raise ValueError(f"group must be in [0, {set_offsets.size - 1})")
    witness = np.empty(group.size, np.int64)
    jaccard = np.empty(group.size, np.float64)
    stats = np.zeros(len(Stats._fields), np.int64)
    bad = _verify(
        component_offsets,
        group,
        set_offsets,
        set_hashes,
        float(threshold),
        bool(transitive),
        max(int(direct_groups), 1),
        int(counter_slots),
        int(crowd),
        witness,
        jaccard,
        stats,
    )
    if bad >= 0:
        raise ValueError(
            f"group {group[bad]} of row {bad} is in two components, or its set is empty "
            "although its component has other groups"
        )
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
