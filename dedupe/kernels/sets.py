"""What verification knows of the groups of a component: their sets, bitmaps, an answer.

A group has one set for each field. Hashes of different fields never coincide, so that one table of
counts serves all of them, and the sets of a group stand end to end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, ZERO
from dedupe.kernels.intrinsics import population
from dedupe.kernels.jaccard import least_overlap
from dedupe.kernels.lookup import fill_table, overlap, table_bits
from dedupe.kernels.union_find import find

LEAST_COUNTED = 1 << 18
"""Fewer shingles than this are not worth being counted."""
COUNTED = np.uint64(16)
"""One of so many distinct shingles is counted."""
SEEN_BITS = 18
"""In so many slots, as a power of two."""


class Stats(NamedTuple):
    """What verification did.

    compared: pairs of groups whose sets were looked at; met: pairs that met in the index;
    postings: entries of all indexes; largest: groups of the largest component; scanned: pairs of
    which bitmaps were looked at without that they met.
    """

    compared: int
    met: int
    postings: int
    largest: int
    scanned: int


class ComponentSets(NamedTuple):
    """The sets of a component: field f of group k is set groups[k] * fields + f.

    It is hashes[offsets[s]:offsets[s + 1]] for that number s; fields: how many each group has.
    """

    groups: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    fields: int


class Answer(NamedTuple):
    """What becomes of each group k of a component.

    owner[k] is the kept group that k duplicates, or k itself, and jaccard[k, f] their similarity in
    field f. In transitive mode owner is a union-find until the end, and partner[k] the group that
    jaccard[k] was computed with, -1 for none.
    """

    owner: npt.NDArray[np.int64]
    partner: npt.NDArray[np.int64]
    jaccard: npt.NDArray[np.float64]


class Compared(NamedTuple):
    """The group that is compared with others, field by field; scratch of `shares_enough`.

    order: int64[fields], its fields, the smallest set first. bits: int64[fields], of the table of
    each field, 0 until it is filled; bases: int64[fields + 1], where these tables start in `table`,
    and in the end how much of it is used. needed: int64[fields], shingles to share. values:
    float64[fields], the similarities.
    """

    order: npt.NDArray[np.int64]
    bits: npt.NDArray[np.int64]
    bases: npt.NDArray[np.int64]
    needed: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    table: npt.NDArray[np.uint64]


# In what follows, functions of inner loops take arrays one by one: numba counts references to an
# array that is read out of a tuple, and that costs more than comparing two small sets.


@inner
def smallest_first(offsets, first, fields, order):
    """Write the fields of a group to order[:fields], the one with the fewest shingles first.

    offsets: int64, of sets. first: int64, the first set of the group. fields: int64. order: int64,
    written.
    """
    order[0] = 0
    for field in range(1, fields):
        size = offsets[first + field + 1] - offsets[first + field]
        at = field
        while at > 0:
            before = first + order[at - 1]
            if offsets[before + 1] - offsets[before] <= size:
                break
            order[at] = order[at - 1]
            at -= 1
        order[at] = field


@inner
def forget_tables(fields, bits, bases):
    """Forget the tables of the group that was compared before.

    fields: int64. bits, bases: see `Compared`, written.
    """
    for f in range(fields):
        bits[f] = 0
    bases[fields] = 0


# Shingles of a component: how many there are, and which are the rarest of a set.


@inner
def distinct_shingles(sets, count, total):
    """About how many distinct shingles there are, int64, by linear counting of one in 16.

    sets: a `ComponentSets`. count: int64, its groups. total: int64, shingles of all of its sets; it
    is the answer where they are few, or too many to be told apart. Source: Whang et al. 1990, A
    linear-time probabilistic counting algorithm for database applications.
    """
    if total < LEAST_COUNTED:
        return total
    groups, offsets, hashes, fields = sets
    seen = np.zeros(1 << (SEEN_BITS - 6), np.uint64)
    shift = np.uint64(64 - SEEN_BITS)
    for k in range(count):
        first = groups[k] * fields
        for i in range(offsets[first], offsets[first + fields]):
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
    """A lower bound of the shingles that one of two sets has and the other lacks, int64.

    bitmaps: uint64[sets, 4], see `draw_bitmap`. k, other: int64, the sets.
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
    """An upper bound of the shingles that two sets share, int64.

    bitmaps: uint64[sets, 4], see `draw_bitmap`. k, other: int64, the sets. total: int64, the sum of
    their sizes.
    """
    return (total - least_difference(bitmaps, k, other)) >> 1


@inner
def fits_elsewhere(k, other, field, best, fields, sizes, bitmaps, needed):
    """Whether sizes and bitmaps of two groups allow `best` in every field but one.

    k, other: int64, the groups. field: int64, the one that is not asked, -1 for none. best:
    float64. fields: int64. sizes: int64[groups * fields, 2], with the sizes of the sets in its
    first column. bitmaps: uint64[groups * fields, 4], see `draw_bitmap`. needed: int64[fields],
    written: shingles that they must share.
    """
    for f in range(fields):
        if f == field:
            continue
        here, there = k * fields + f, other * fields + f
        size, other_size = sizes[here, 0], sizes[there, 0]
        if size == 0 or other_size == 0:
            if size != other_size:
                return False
            continue
        needed[f] = least_overlap(size, other_size, best)
        if needed[f] > min(size, other_size):
            return False
        if most_shared(bitmaps, here, there, size + other_size) < needed[f]:
            return False
    return True


@inner
def shares_enough(
    k, other, groups, offsets, hashes, fields, sizes, order, bits, bases, needed, values, table,
    stats,
):  # fmt: skip
    """Whether two groups share in every field what they must; then `values` are similarities.

    k, other: int64, the groups. groups, offsets, hashes, fields: see `ComponentSets`. sizes: see
    `fits_elsewhere`. order, bits, bases, needed, values, table: see `Compared`; order and needed
    are there, the tables of k are filled on first use. stats: int64, of which the first counts the
    pairs that are looked at.
    """
    stats[0] += 1
    mine, theirs = groups[k] * fields, groups[other] * fields
    for i in range(fields):
        f = order[i]
        size, other_size = sizes[k * fields + f, 0], sizes[other * fields + f, 0]
        if size == 0:
            values[f] = 1.0
            continue
        if bits[f] == 0:
            bits[f] = table_bits(size)
            bases[f] = bases[fields]
            bases[fields] += (1 << bits[f]) + 2
            begin = offsets[mine + f]
            fill_table(table, bases[f], bits[f], hashes, begin, begin + size)
        start = offsets[theirs + f]
        inter = overlap(table, bases[f], bits[f], hashes, start, start + other_size, needed[f])
        if inter < 0:
            return False
        values[f] = inter / (size + other_size - inter)
    return True


@inner
def least_of(values):
    """The least of some numbers, float64. values: float64, at least one."""
    least = values[0]
    for i in range(1, values.size):
        least = min(least, values[i])
    return least


@inner
def write_row(matrix, row, values):
    """Write one row of a matrix. matrix: float64, written. row: int64. values: float64."""
    for i in range(values.size):
        matrix[row, i] = values[i]


@inner
def choose(k, other, best, values, owner, jaccard):
    """Make `other` the witness of k if it is the best so far; returns the best similarity of k.

    k, other: int64, the groups; `other` is kept. best: float64, the similarity of the witness so
    far, or the threshold. values: float64, their similarities by field, none below `best`. owner,
    jaccard: see `Answer`, written. Two groups are as similar as they are in the field where they
    are least so. Of equally similar groups the first is chosen.
    """
    value = least_of(values)
    if owner[k] == k or value > best or (value == best and other < owner[k]):
        owner[k] = other
        write_row(jaccard, k, values)
        return value
    return best


# Components and rows.


@inner
def measure(sets, count, table, answer, chain, stats):
    """Replace parents by roots and set jaccard[k] to the exact values with the root of k.

    sets: a `ComponentSets`. count: int64, its groups. table: uint64 scratch with room for the table
    of the largest set. answer: an `Answer`, written. chain: int64 scratch in which the groups of a
    root are linked, so that its tables are filled once. stats: int64, see `Stats`, written.
    """
    groups, offsets, hashes, fields = sets
    parent, partner, jaccard = answer
    chain[:count] = -1
    for k in range(count - 1, -1, -1):
        root = find(parent, k)
        parent[k] = root
        if root != k and partner[k] != root:
            chain[k] = chain[root]
            chain[root] = k
    for root in range(count):
        if parent[root] != root or chain[root] < 0:
            continue
        for f in range(fields):
            number = groups[root] * fields + f
            begin, end = offsets[number], offsets[number + 1]
            bits = table_bits(end - begin)
            fill_table(table, np.int64(0), bits, hashes, begin, end)
            k = chain[root]
            while k >= 0:
                start, stop = offsets[groups[k] * fields + f], offsets[groups[k] * fields + f + 1]
                stats[0] += np.int64(f == 0)
                inter = overlap(table, np.int64(0), bits, hashes, start, stop, np.int64(0))
                union = end - begin + stop - start - inter
                jaccard[k, f] = inter / union if union > 0 else 1.0
                k = chain[k]


@inner
def settle(start, stop, group, first, place, groups, owner, similarity, fields, witness, jaccard):
    """Write what became of the groups of a component to its rows.

    start, stop: int64, its rows. group: int64, of each row. first, place: int64, of each group its
    first row and its number in the component. groups: of the component, see `ComponentSets`.
    owner, similarity: see `Answer`. fields: int64. witness: int64, jaccard: float64[rows, fields],
    written.
    """
    for row in range(start, stop):
        k = place[group[row]]
        witness[row] = first[groups[owner[k]]]
        for f in range(fields):
            if witness[row] == row:
                jaccard[row, f] = np.nan
            else:
                jaccard[row, f] = 1.0 if owner[k] == k else similarity[k, f]
