"""Components of many groups: each group is compared with those that an index of shingles finds.

The index has prefix, length and positional filters (Bayardo et al. 2007, All-Pairs; Xiao et al.
2008, PPJoin) and is near linear by five things:

- Shingles are ordered by how many groups hold them, rarest first. The counts come from a table of
  one-byte counters without keys, so they may be too high, but a count of 1 is proof that no other
  group has the shingle: it fills the prefix and is neither indexed nor looked up.
- How many shingles of a set must be indexed depends on the size of the set that looks it up. The
  posting of a frequent shingle is therefore filed under the range of sizes for which it matters,
  as nodes of a binary tree over size classes; a probe visits the nodes above its own size. Groups
  that share a template and fall short of the threshold do not even meet.
- A group is filed under one field, in which it would meet the fewest others: a duplicate must reach
  the threshold in that field too, so it holds a shingle of its prefix there. Groups look others up
  by all of their fields. So rows over one long passage, all alike in the field that has it, do not
  meet if they are told apart by another.
- Pairs that meet are first compared by bitmaps of 256 bits, which bound what they share.
- In `transitive` mode, postings of groups that are already connected are jumped over; otherwise, a
  component whose groups meet too often goes on with `crowded`.

Small corpora have no such component, so this module is imported, and its kernel compiled, for the
first one: see `verify.verify_components`.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import INT64, UINT64
from dedupe.kernels.buffers import grown, grown_rows
from dedupe.kernels.counters import count_hashes, holders
from dedupe.kernels.crowded import GAIN, ROOM, cover_crowded, find_elements, pairs_of_elements
from dedupe.kernels.deviations import ALWAYS, NEVER, pairs_allowed
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER, ZERO
from dedupe.kernels.jaccard import last_place, least_overlap, least_share, most_size_with
from dedupe.kernels.lookup import table_bits
from dedupe.kernels.sets import (
    Answer,
    Compared,
    ComponentSets,
    choose,
    distinct_shingles,
    draw_bitmap,
    fits_elsewhere,
    forget_tables,
    measure,
    most_shared,
    settle,
    shares_enough,
    smallest_first,
    sort_smallest,
    write_row,
)
from dedupe.kernels.union_find import find, unite

CROWD_START = 1 << 16
"""So many pairs meet before it is asked whether a component is crowded."""
FEW = 16
"""A shingle held by so few groups is filed under one list for all sizes."""
PATTERN = np.uint64(40)
"""Lists of groups that have other fields empty are apart: bits of these fields from here on."""
NONE = np.int64(-1)
SCANNED = 20
COMPARED = 20
PREPARED = 40
ELEMENTS = 400
"""Costs in pairs that meet in the index, which take 24 ns: so many pairs are scanned for one; to
compare the sets of a pair costs as much as so many, to code a group for the scan, and to file one
under pairs of elements."""


# The order of shingles.


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


# The index. A list of postings has an id made of an order key and a node of the tree
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
def _list_id(key, pattern, level, klass):
    """Id of the list for classes [n << level, (n + 1) << level) around `klass`; -1: all sizes."""
    node = pattern
    if level >= 0:
        node ^= np.uint64(((level + 1) << 32) + (klass >> level))
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
def _index_group(
    k, keys, unique, pattern, size, least, largest, threshold, directory, postings, filled
):
    """File a prefix of group k, behind unique shingles; returns (directory, postings).

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
            list_id = _list_id(keys[i], pattern, level, first)
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
def _probe(
    k, f, keys, unique, pattern, smallest, transitive, best, groups, offsets, hashes, fields,
    directory, postings, skips, sizes, bitmaps, levels, order, bits, bases, needed_by_field, values,
    table, owner, partner, jaccard, stats,
):  # fmt: skip
    """Compare k with the indexed groups that may be similar to it, by its prefix in field f.

    keys: the prefix, which stands behind `unique` shingles that no other group has. Pairs meet at
    their first common shingle, so what stands behind it bounds what they share. Groups that are
    connected with k are passed over where `transitive`, and similar ones united with it; else
    owner[k] becomes the most similar one. Returns the similarity with that, `best` until there is
    one.
    """
    here = k * fields + f
    size = sizes[here, 0]
    size_class = _size_class(size)
    share = least_share(best)
    _least, last = last_place(size, smallest, best)
    root = find(owner, k)
    before = unique
    for i in range(keys.size):
        if i > 0 and keys[i] != keys[i - 1]:
            before = unique + i
        if before > last:
            break
        few = keys[i] >> np.uint64(56) <= np.uint64(FEW)
        for level in range(-1 if few else 0, 0 if few else levels):
            list_id = _list_id(keys[i], pattern, level, size_class)
            posting = np.int64(directory[_place(directory, list_id), 1])
            while posting != 0:
                this = posting
                other = postings[this, 0] >> 32
                if transitive and find(owner, other) == root:
                    posting = _skip(this, root, postings, skips, owner)
                    continue
                posting = postings[this, 1]
                there = other * fields + f
                if sizes[there, 1] == k:
                    continue
                sizes[there, 1] = k
                stats[1] += 1
                other_size = sizes[there, 0]
                most = min(size - before, other_size - (postings[this, 0] & 0x7FFFFFFF))
                if most < share * (size + other_size):
                    continue
                needed = least_overlap(size, other_size, best)
                if most < needed:
                    continue
                if most_shared(bitmaps, here, there, size + other_size) < needed:
                    continue
                needed_by_field[f] = needed
                if fields > 1 and not fits_elsewhere(
                    k, other, f, best, fields, sizes, bitmaps, needed_by_field
                ):
                    continue
                if not shares_enough(
                    k, other, groups, offsets, hashes, fields, sizes, order, bits, bases,
                    needed_by_field, values, table, stats,
                ):  # fmt: skip
                    continue
                if transitive:
                    unite(owner, other, k)
                    root = find(owner, k)
                    partner[k] = other
                    write_row(jaccard, k, values)
                else:
                    best = choose(k, other, best, values, owner, jaccard)
                    share = least_share(best)
                    _least, last = last_place(size, smallest, best)
    return best


@inner
def _find_prefixes(
    counters, bits, offsets, hashes, first, fields, smallest, threshold, keys, starts, unique, stack
):
    """Write the prefixes of a group: whether another group may be similar to it at all.

    first: its first set. keys[starts[f]:starts[f + 1]] are the prefix of field f, see `_prefix`,
    behind unique[f] shingles that no other group has.
    """
    end = np.int64(0)
    for f in range(fields):
        starts[f] = end
        begin = offsets[first + f]
        size = offsets[first + f + 1] - begin
        if size > 0:
            _least, last = last_place(size, smallest[f], threshold)
            unique[f], length = _prefix(
                counters, bits, hashes, begin, begin + size, last, keys[end:], stack
            )
            if length == 0:
                return False
            end += length
    starts[fields] = end
    return True


@inner
def _pattern(k, fields, sizes):
    """Which fields of a group are empty: 0 if none is, see `PATTERN`."""
    pattern = ZERO
    for f in range(fields):
        if sizes[k * fields + f, 0] == 0:
            pattern |= ONE << (PATTERN + np.uint64(f % 24))
    return pattern


@inner
def _rarest_field(keys, starts, fields):
    """The field in which a group meets the fewest others: of those that have a prefix."""
    rarest, least = np.int64(-1), np.int64(0)
    for f in range(fields):
        start, end = starts[f], starts[f + 1]
        held = np.int64(0)
        for i in range(start, end):
            held += holders(keys[i] >> np.uint64(56))
        if start < end and (rarest < 0 or held < least):
            rarest, least = f, held
    return rarest


@inner
def _measure_sets(sets, count, sizes, smallest_by_field, largest_by_field):
    """Write the size of each set to `sizes`; returns (shingles of all, of the largest group).

    Also written: the sizes of the smallest set of each field that is not empty, and the largest.
    """
    groups, offsets, _hashes, fields = sets
    total = np.int64(0)
    largest = np.int64(0)
    for f in range(fields):
        smallest_by_field[f] = 0
        largest_by_field[f] = 0
    for k in range(count):
        first = groups[k] * fields
        of_group = offsets[first + fields] - offsets[first]
        total += of_group
        largest = max(largest, of_group)
        for f in range(fields):
            size = offsets[first + f + 1] - offsets[first + f]
            sizes[k * fields + f, 0] = size
            sizes[k * fields + f, 1] = -1
            largest_by_field[f] = max(largest_by_field[f], size)
            if size > 0 and (smallest_by_field[f] == 0 or size < smallest_by_field[f]):
                smallest_by_field[f] = size
    return total, largest


@inner
def _decide(
    sets, count, threshold, transitive, counter_slots, crowd, scan, compared, answer, stats
):
    """Decide a component of many groups; `owner` is a union-find where `transitive`.

    Returns (field, doubtful, counters, bits): the field is -1 if it is decided. Else a scan shall
    decide it: see `scan.Component`.
    """
    groups, offsets, hashes, fields = sets
    owner, partner, jaccard = answer
    sizes = np.empty((count * fields, 2), np.int64)
    bitmaps = np.empty((count * fields, 4), np.uint64)
    smallest, largest_sets = np.empty(fields, np.int64), np.empty(fields, np.int64)
    total, largest = _measure_sets(sets, count, sizes, smallest, largest_sets)

    distinct = distinct_shingles(sets, count, total)
    bits = 1
    while (1 << bits) < 2 * distinct and (2 << bits) <= counter_slots:
        bits += 1
    counters = np.zeros(1 << bits, np.uint8)
    state = ONE
    for k in range(count):
        begin, end = offsets[groups[k] * fields], offsets[(groups[k] + 1) * fields]
        state = count_hashes(counters, bits, hashes, begin, end, state)

    keys = np.empty(largest, np.uint64)
    starts = np.empty(fields + 1, np.int64)
    unique = np.empty(fields, np.int64)
    order, bits_of_tables, bases, needed, values, table = compared
    stack = np.empty((64, 2), np.int64)
    directory = np.zeros((1 << 10, 2), np.uint64)
    postings = np.empty((1 << 10, 2), np.int64)
    skips = np.empty(postings.shape[0] if transitive else 1, np.int64)
    filled = np.zeros(3, np.int64)
    if scan == ALWAYS and not transitive:
        field, _near, _alike, doubtful = pairs_allowed(
            sets, count, largest, distinct, counters, bits, threshold
        )
        return field, doubtful, counters, bits
    asked = transitive
    before = stats[1]
    looked_at = stats[0]
    least_met = CROWD_START if crowd >= 0 else -1
    for k in range(count):
        met = stats[1] - before
        if not asked and met > least_met and met > crowd * k:
            asked = True
            growth = (count / max(k, 1)) ** 2
            wanted = met * growth
            compared_pairs = COMPARED * (stats[0] - looked_at) * growth
            scanned = np.inf
            if scan != NEVER:
                scanned, field, doubtful = _cost_of_scan(
                    k, sets, count, largest, distinct, counters, bits, threshold, owner
                )
                if scanned < min(wanted, ELEMENTS * count) + compared_pairs:
                    return field, doubtful, counters, bits
            elements = find_elements(
                sets, count, min(total >> 3, ROOM * distinct), counters, bits, keys, stack
            )
            pairs, mean = pairs_of_elements(elements, sets, count, smallest, threshold)
            less = GAIN * pairs <= wanted
            if scanned < min(wanted, GAIN * pairs + ELEMENTS * count) + compared_pairs:
                return field, doubtful, counters, bits
            if less or crowd < 0:
                for other in range(count):
                    _draw_bitmaps(other, offsets, hashes, groups[other] * fields, fields, bitmaps)
                stats[2] += filled[1]
                cover_crowded(
                    k, elements, mean, sets, count, smallest, threshold,
                    sizes, bitmaps, compared, answer, stats,
                )  # fmt: skip
                return NONE, 0.0, counters, bits
        first = groups[k] * fields
        if not _find_prefixes(
            counters, bits, offsets, hashes, first, fields, smallest, threshold,
            keys, starts, unique, stack,
        ):  # fmt: skip
            continue
        _draw_bitmaps(k, offsets, hashes, first, fields, bitmaps)
        smallest_first(offsets, first, fields, order)
        forget_tables(fields, bits_of_tables, bases)
        pattern = ZERO if fields == 1 else _pattern(k, fields, sizes)
        best = threshold
        for f in range(fields):
            if starts[f] < starts[f + 1]:
                best = _probe(
                    k, f, keys[starts[f] : starts[f + 1]], unique[f], pattern, smallest[f],
                    transitive, best, groups, offsets, hashes, fields, directory, postings, skips,
                    sizes, bitmaps, filled[2], order, bits_of_tables, bases, needed, values, table,
                    owner, partner, jaccard, stats,
                )  # fmt: skip
        if not transitive and owner[k] != k:
            continue
        known = filled[1]
        f = np.int64(0) if fields == 1 else _rarest_field(keys, starts, fields)
        size = sizes[k * fields + f, 0]
        least, _last = last_place(size, smallest[f], threshold)
        directory, postings = _index_group(
            k, keys[starts[f] : starts[f + 1]], unique[f], pattern, size, least, largest_sets[f],
            threshold, directory, postings, filled,
        )  # fmt: skip
        if transitive:
            if skips.size < postings.shape[0]:
                skips = grown(skips, postings.shape[0])
            for posting in range(known + 1, filled[1] + 1):
                skips[posting] = postings[posting, 1]
    stats[2] += filled[1]
    return NONE, 0.0, counters, bits


@inner
def _cost_of_scan(k, sets, count, largest, distinct, counters, bits, threshold, owner):
    """(what a scan would cost, in pairs that meet; its field; the share of doubtful shingles).

    k: groups that are decided, of which so many are kept as will be of all.
    """
    field, near, alike, doubtful = pairs_allowed(
        sets, count, largest, distinct, counters, bits, threshold
    )
    kept = np.int64(0)
    for other in range(k):
        kept += np.int64(owner[other] == other)
    pairs = count * (count / 2) * (kept / max(k, 1))
    return pairs * (near / SCANNED + alike * COMPARED) + PREPARED * count, field, doubtful


@inner
def _draw_bitmaps(k, offsets, hashes, first, fields, bitmaps):
    """Draw the bitmaps of all fields of a group, whose first set is `first`."""
    for f in range(fields):
        draw_bitmap(bitmaps[k * fields + f], hashes, offsets[first + f], offsets[first + f + 1])


@inner
def _table_room(sets, count):
    """Room for the tables of all fields of any one group."""
    groups, offsets, _hashes, fields = sets
    room = np.int64(0)
    for k in range(count):
        needed = np.int64(0)
        for f in range(fields):
            number = groups[k] * fields + f
            needed += (1 << table_bits(offsets[number + 1] - offsets[number])) + 2
        room = max(room, needed)
    return room


@kernel(
    types.Tuple((types.int64, types.int64, types.float64, types.uint8[::1], types.int64))(
        INT64,
        INT64,
        INT64,
        types.int64,
        INT64,
        UINT64,
        types.float64,
        types.boolean,
        types.int64,
        types.int64,
        types.int64,
        INT64,
        INT64,
        types.int64[::1],
        types.float64[:, ::1],
        types.int64[::1],
    ),
)
def decide_many(
    components,
    component_offsets,
    group,
    fields,
    set_offsets,
    set_hashes,
    threshold,
    transitive,
    counter_slots,
    crowd,
    scan,
    first,
    place,
    witness,
    jaccard,
    stats,
):
    """Decide some components, each of at least two groups.

    components: int64, their numbers. component_offsets, group, fields, set_offsets, set_hashes,
    threshold, transitive, counter_slots, crowd: as in `verify.verify_components`, which has checked
    them. first, place: int64, of each group of these components its first row, and how many groups
    of its component come before it. scan: int64, see `deviations.BY_COST`. witness, jaccard:
    written for all rows of components that are decided. stats: int64, see `sets.Stats`, written.

    Returns (done, field, doubtful, counters, bits): how many components are decided, all of them
    unless a scan shall decide the next one; then what is needed for that, see `scan.Component`.
    """
    room = np.int64(0)
    for c in components:
        room = max(room, component_offsets[c + 1] - component_offsets[c])
    groups = np.empty(room, np.int64)
    chain = np.empty(room, np.int64)
    owner = np.empty(room, np.int64)
    partner = np.empty(room, np.int64)
    similarity = np.empty((room, fields), np.float64)
    table = np.empty(0, np.uint64)
    order = np.empty(fields, np.int64)
    table_sizes = np.empty(fields, np.int64)
    bases = np.empty(fields + 1, np.int64)
    needed = np.empty(fields, np.int64)
    values = np.empty(fields, np.float64)
    sets = ComponentSets(groups, set_offsets, set_hashes, fields)
    answer = Answer(owner, partner, similarity)
    done = np.int64(0)
    for c in components:
        start, stop = component_offsets[c], component_offsets[c + 1]
        count = np.int64(0)
        for row in range(start, stop):
            if first[group[row]] == row:
                groups[count] = group[row]
                owner[count] = count
                partner[count] = -1
                count += 1
        slots = _table_room(sets, count)
        if slots > table.size:
            table = np.empty(slots, np.uint64)
        compared = Compared(order, table_sizes, bases, needed, values, table)
        field, doubtful, counters, bits = _decide(
            sets, count, threshold, transitive, counter_slots, crowd, scan, compared, answer, stats
        )
        if field >= 0:
            return done, field, doubtful, counters, bits
        if transitive:
            measure(sets, count, table, answer, chain, stats)
        settle(
            start, stop, group, first, place, groups, owner, similarity, fields, witness, jaccard
        )
        done += 1
    return done, NONE, 0.0, np.empty(0, np.uint8), np.int64(0)
