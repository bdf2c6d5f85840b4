"""Band records to buckets to edges to components, by hash tables that stay in cache.

A band record is (band key, position int64): the row at `position` has that band key, of which the
upper 48 bits count.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import INT64, UINT64, UINT64_2D
from dedupe.kernels.buffers import grown
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.intrinsics import multiply_high, population, trailing_zeros
from dedupe.kernels.union_find import unite

NONE = np.int64(-1)
KEPT = np.uint64(0xFFFFFFFFFFFF0000)
"""Bits of a band key that go into its records."""
BLOCK = 512
"""Edges taken through one step of union-find after the other."""
SLACK = 1e-6
"""What is lost where the share of a threshold is rounded."""
CACHED = 1 << 15
"""Band records grouped at a time: their table (about 1 MB) stays in the second-level cache."""


@inner
def _partition(key, partitions):
    return np.int64(multiply_high(key, np.uint64(partitions)))


@kernel(
    types.Tuple((types.uint32[::1], types.uint16[::1], types.uint32[::1], types.int64[::1]))(
        UINT64_2D,
        INT64,
        types.int64,
    ),
)
def partition_records(keys, shingles, partitions):
    """Band records of a task's rows, ordered by partition: (high, low, rows, bounds).

    keys: uint64[rows, bands]. shingles: int64[rows]; a row with 0 has no records. partitions:
    int64, number of partitions, each an equal share of the key space. high uint32, low uint16: bits
    63 to 32 and 31 to 16 of the keys. rows: uint32, counted from 0 in the task. bounds:
    int64[partitions + 1]; the records of partition p are bounds[p]:bounds[p + 1].
    """
    bounds = np.zeros(partitions + 1, np.int64)
    for row in range(keys.shape[0]):
        if shingles[row] > 0:
            for band in range(keys.shape[1]):
                bounds[_partition(keys[row, band] & KEPT, partitions) + 1] += 1
    for partition in range(partitions):
        bounds[partition + 1] += bounds[partition]
    at = bounds[:-1].copy()
    high = np.empty(bounds[partitions], np.uint32)
    low = np.empty(bounds[partitions], np.uint16)
    out_rows = np.empty(bounds[partitions], np.uint32)
    for row in range(keys.shape[0]):
        if shingles[row] > 0:
            for band in range(keys.shape[1]):
                key = keys[row, band] & KEPT
                partition = _partition(key, partitions)
                high[at[partition]] = np.uint32(key >> np.uint64(32))
                low[at[partition]] = np.uint16((key >> np.uint64(16)) & np.uint64(0xFFFF))
                out_rows[at[partition]] = np.uint32(row)
                at[partition] += 1
    return high, low, out_rows, bounds


@inner
def _table_size(count):
    size = 16
    while size < 2 * count:
        size *= 2
    return size


@kernel(
    types.Tuple((types.int64[::1], types.int64[::1], types.int64))(UINT64, INT64, types.int64),
)
def bucket_edges(keys, positions, partitions):
    """Edges between the rows of each bucket of a partition: (left, right, largest bucket).

    keys: uint64, the band keys of the partition. positions: int64, the row of each, increasing
    within equal keys. partitions: int64, the number of partitions that the key space was cut into.

    left, right: int64; an edge connects the first row of a bucket with another one of it. An edge
    that several buckets give is returned at least once per run of neighbours; all edges together
    connect exactly the rows that share buckets. largest bucket: int64, its rows.
    """
    count = keys.size
    shares = max(count // CACHED, 1)
    bounds = np.zeros(shares + 1, np.int64)
    for i in range(count):
        within = keys[i] * np.uint64(partitions)
        bounds[np.int64(multiply_high(within, np.uint64(shares))) + 1] += 1
    largest_share = 0
    for share in range(shares):
        largest_share = max(largest_share, bounds[share + 1])
        bounds[share + 1] += bounds[share]
    at = bounds[:-1].copy()
    share_keys = np.empty(count, np.uint64)
    share_rows = np.empty(count, np.int64)
    for i in range(count):
        within = keys[i] * np.uint64(partitions)
        share = np.int64(multiply_high(within, np.uint64(shares)))
        share_keys[at[share]] = keys[i]
        share_rows[at[share]] = positions[i]
        at[share] += 1

    table = np.full(_table_size(largest_share), NONE, np.int64)
    members = np.zeros(largest_share, np.int64)
    recent = np.full((1 << 12, 2), NONE, np.int64)
    left = np.empty(1 << 10, np.int64)
    right = np.empty(1 << 10, np.int64)
    edges = 0
    largest_bucket = 0
    for share in range(shares):
        begin = bounds[share]
        size = bounds[share + 1] - begin
        mask = np.int64(_table_size(size) - 1)
        for slot in range(mask + 1):
            table[slot] = NONE
        for i in range(size):
            key = share_keys[begin + i]
            slot = np.int64((key * GOLDEN_RATIO) >> np.uint64(24)) & mask
            while table[slot] != NONE and share_keys[begin + table[slot]] != key:
                slot = (slot + 1) & mask
            first = table[slot]
            if first == NONE:
                table[slot] = i
                members[i] = 1
                largest_bucket = max(largest_bucket, 1)
                continue
            members[first] += 1
            largest_bucket = max(largest_bucket, members[first])
            a = share_rows[begin + first]
            b = share_rows[begin + i]
            cell = (np.uint64(a) * GOLDEN_RATIO ^ np.uint64(b)) * GOLDEN_RATIO >> np.uint64(52)
            if recent[cell, 0] == a and recent[cell, 1] == b:
                continue
            recent[cell, 0] = a
            recent[cell, 1] = b
            if edges == left.size:
                left = grown(left, 2 * edges)
                right = grown(right, 2 * edges)
            left[edges] = a
            right[edges] = b
            edges += 1
    return left[:edges].copy(), right[:edges].copy(), np.int64(largest_bucket)


@kernel(types.boolean(types.uint64[::1], INT64, types.int64))
def mark(bits, positions, end):
    """Set the bit of every position; returns whether all of them are in [0, end).

    bits: uint64, written; position p is bit p % 64 of word p // 64. positions: int64; the first one
    that is out of range is not marked, nor those behind it. end: int64, at most the number of bits.
    """
    end = np.uint64(end)
    for i in range(positions.size):
        position = np.uint64(positions[i])
        if position >= end:
            return False
        bits[position >> np.uint64(6)] |= np.uint64(1) << (position & np.uint64(63))
    return True


@kernel(types.uint64[:, ::1](UINT64))
def rank_bits(bits):
    """A bitmap's words, each with the number of bits set before it, and that number at its end.

    The two lie side by side, since finding a rank reads both: uint64[words + 1, 2].
    """
    ranks = np.zeros((bits.size + 1, 2), np.uint64)
    for word in range(bits.size):
        ranks[word, 0] = bits[word]
        ranks[word + 1, 1] = ranks[word, 1] + np.uint64(population(bits[word]))
    return ranks


@inner
def _between(bits, start, first, end):
    """A word of a bitmap that starts at position `start`, without the bits outside of the range."""
    if first > start:
        bits &= np.uint64(0xFFFFFFFFFFFFFFFF) << np.uint64(first - start)
    if end < start + 64:
        bits &= (np.uint64(1) << np.uint64(end - start)) - np.uint64(1)
    return bits


@kernel(types.int64[::1](UINT64_2D, types.int64, types.int64))
def marked(ranks, first, end):
    """Positions from `first` to `end` - 1 whose bits are set: int64, increasing.

    ranks: uint64[words + 1, 2], see `rank_bits`. first, end: int64, within the bitmap.
    """
    count = 0
    for word in range(first >> 6, (end + 63) >> 6):
        count += population(_between(ranks[word, 0], 64 * word, first, end))
    positions = np.empty(count, np.int64)
    at = 0
    for word in range(first >> 6, (end + 63) >> 6):
        rest = _between(ranks[word, 0], 64 * word, first, end)
        while rest != np.uint64(0):
            positions[at] = 64 * word + trailing_zeros(rest)
            rest &= rest - np.uint64(1)
            at += 1
    return positions


@inner
def _rank(ranks, position):
    """(how many marked positions are below this one, 1 if it is marked itself)."""
    word, bit = ranks[position >> 6, 0], np.uint64(position & 63)
    below = (np.uint64(1) << bit) - np.uint64(1)
    rank = np.int64(ranks[position >> 6, 1]) + population(word & below)
    return rank, (word >> bit) & np.uint64(1)


@kernel(
    types.boolean(UINT64_2D, types.int64[::1], INT64, INT64),
)
def union_edges(ranks, parent, left, right):
    """Take edges into a union-find over the marked rows, numbered in increasing position.

    ranks: uint64[words + 1, 2] from `mark` and `rank_bits`. parent: int64, one node for each marked
    row, at first 0, 1, 2, ...; the root of a set becomes its lowest row. left, right: int64, the
    positions of the two rows of each edge.

    Returns whether all of these rows are marked; if not, some of the edges are not taken.

    Edges go through in blocks, one step for all of them after the other: steps without branches
    that may turn out otherwise wait for many reads of memory at a time instead of one.
    """
    a = np.empty(BLOCK, np.int64)
    b = np.empty(BLOCK, np.int64)
    end = np.uint64(64 * (ranks.shape[0] - 1))
    for start in range(0, left.size, BLOCK):
        count = min(BLOCK, left.size - start)
        for i in range(count):
            if np.uint64(left[start + i]) >= end or np.uint64(right[start + i]) >= end:
                return False
            a[i], one = _rank(ranks, left[start + i])
            b[i], other = _rank(ranks, right[start + i])
            if one & other == 0:
                return False
        for i in range(count):
            a[i] = parent[a[i]]
            b[i] = parent[b[i]]
        for i in range(count):
            a[i] = parent[a[i]]
            b[i] = parent[b[i]]
        for i in range(count):
            if a[i] != b[i]:
                unite(parent, a[i], b[i])
    return True


@kernel(types.void(types.int64[::1]))
def point_to_roots(parent):
    """Replace every entry of a union-find by the root of its set."""
    for node in range(parent.size):
        parent[node] = parent[parent[node]]


@kernel(types.int64[::1](UINT64, UINT64))
def first_equal(low, high):
    """For each row the index of the first row with the same 128-bit digest (low, high)."""
    table = np.full(_table_size(low.size), NONE, np.int64)
    mask = np.int64(table.size - 1)
    first = np.empty(low.size, np.int64)
    for i in range(low.size):
        slot = np.int64((low[i] * GOLDEN_RATIO) >> np.uint64(24)) & mask
        while table[slot] != NONE and not (
            low[table[slot]] == low[i] and high[table[slot]] == high[i]
        ):
            slot = (slot + 1) & mask
        if table[slot] == NONE:
            table[slot] = i
        first[i] = table[slot]
    return first


@kernel(
    types.void(
        INT64,
        INT64,
        INT64,
        UINT64_2D,
        INT64,
        types.float64,
        types.int64,
        types.uint8[::1],
    )
)
def rule_out(order, starts, own, bits, shingles, share, most, stays):
    """Find rows of an index that no row of the corpus in their component can be similar to.

    order: int64, numbers of rows by component, those of the corpus first. starts: int64, where
    components begin in it, with the end. own: int64, rows of the corpus in each. bits: uint64[rows,
    words], see `rows.sign_rows`. shingles: int64, of each row, repeated ones counted. share:
    float64, (1 - t) / (1 + t) for the threshold t. most: int64, pairs to look at in a component;
    what is left then stays.

    stays: uint8[rows], written: 0 for a row that is ruled out. Two sets differ in at least as many
    shingles as bits, and similar ones in at most `share` of the shingles of both. A row without any
    bit is never ruled out.
    """
    for component in range(starts.size - 1):
        begin = starts[component]
        behind = begin + own[component]
        left = most
        for i in range(begin, starts[component + 1]):
            row = order[i]
            stays[row] = 1
            left -= own[component]
            if i < behind or left < 0:
                continue
            stays[row] = 0
            known = np.uint64(0)
            for word in range(bits.shape[1]):
                known |= bits[row, word]
            if known == 0:
                stays[row] = 1
                continue
            for j in range(begin, behind):
                other = order[j]
                differs = np.int64(0)
                for word in range(bits.shape[1]):
                    differs += np.int64(population(bits[row, word] ^ bits[other, word]))
                if differs <= share * np.float64(shingles[row] + shingles[other]) + SLACK:
                    stays[row] = 1
                    break
