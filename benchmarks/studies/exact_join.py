"""Exact set-similarity join: every pair of sets with Jaccard similarity >= a threshold.

The oracle of the recall measurements. It shares no code with the package: no MinHash, no bands,
no verification. Method: all-pairs with prefix and length filters and a positional bound
(Bayardo et al. 2007; Xiao et al. 2008, PPJoin). Elements are ranked by how few sets hold them;
two sets can reach the threshold only if the rarest few elements of both, the prefixes, meet.
Elements held by one set only sort first, and need no index at all.

Memory is about 40 bytes per element of the input, and 16 per pair found.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]

_SLACK = 1e-9  # bounds are loosened by this much; the pair itself is decided by exact division


def exact_pairs(
    sets_offsets: Ints, set_hashes: npt.NDArray[np.uint64], threshold: float
) -> tuple[npt.NDArray[np.int32], ...]:
    """All pairs (left < right) of sets with inter / union >= threshold, in ascending order.

    Set i is `set_hashes[sets_offsets[i] : sets_offsets[i + 1]]`, in any order; repeated elements
    count once. An empty set is in no pair. Returns left, right, and the sizes of intersection and
    union. Raises ValueError if the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    offsets, ranks, shared = _rank(np.asarray(sets_offsets, np.int64), np.asarray(set_hashes))
    by_size = np.argsort(np.diff(offsets), kind="stable")
    pairs = _join(offsets, ranks, by_size, shared, float(threshold))
    left, right = pairs[:, :2].min(axis=1), pairs[:, :2].max(axis=1)
    order = np.lexsort((right, left))
    return left[order], right[order], pairs[order, 2], pairs[order, 3]


def _rank(offsets: Ints, hashes: npt.NDArray[np.uint64]) -> tuple[Ints, npt.NDArray[np.int32], int]:
    """Replace elements by ranks, rarest first, sorted and distinct in each set.

    Also returns the lowest rank held by two sets or more.
    """
    count = len(offsets) - 1
    distinct, index = np.unique(hashes[offsets[0] : offsets[-1]], return_inverse=True)
    index = index.astype(np.int32)
    owner = np.repeat(np.arange(count, dtype=np.int32), np.diff(offsets))
    _sort_sets(offsets - offsets[0], index)
    first = np.ones(len(index), np.bool_)
    first[1:] = (index[1:] != index[:-1]) | (owner[1:] != owner[:-1])
    index, owner = index[first], owner[first]
    held = np.bincount(index, minlength=len(distinct))
    rank = np.empty(len(distinct), np.int32)
    rank[np.argsort(held, kind="stable")] = np.arange(len(distinct), dtype=np.int32)
    start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int64)
    ranks = rank[index]
    _sort_sets(start, ranks)
    return start, ranks, int((held == 1).sum())


@njit(cache=True, nogil=True)
def _sort_sets(offsets, values):
    for i in range(len(offsets) - 1):
        values[offsets[i] : offsets[i + 1]].sort()


@njit(cache=True)
def _longer(rows):
    more = np.empty((2 * len(rows), rows.shape[1]), rows.dtype)
    more[: len(rows)] = rows
    return more


@njit(cache=True)
def _overlap(x, y, needed):
    """Size of the intersection of two sorted sets, or -1 as soon as `needed` is out of reach."""
    i, j, inter = 0, 0, 0
    while i < len(x) and j < len(y):
        if x[i] == y[j]:
            inter += 1
            i += 1
            j += 1
        elif x[i] < y[j]:
            i += 1
        else:
            j += 1
        if inter + min(len(x) - i, len(y) - j) < needed:
            return -1
    return inter


@njit(cache=True, nogil=True)
def _join(offsets, ranks, by_size, shared, threshold):
    """Join the sets, visited in ascending order of size.

    Postings of a rank are the sets visited so far with that rank in their prefix, a linked list
    in descending order of size: it ends where sets become too small. A posting is the set, the
    place of the rank in it, and the next posting; a pair is both sets, intersection and union.
    """
    count = len(offsets) - 1
    head = np.full(max(1, ranks.max() + 1 - shared if len(ranks) else 1), -1, np.int32)
    postings, filed = np.empty((1 << 16, 3), np.int32), 0
    pairs, found = np.empty((1 << 16, 4), np.int32), 0
    seen = np.full(count, -1, np.int32)
    for k in range(count):
        a = by_size[k]
        x = ranks[offsets[a] : offsets[a + 1]]
        size = len(x)
        smallest = math.ceil(threshold * size - _SLACK * size)
        prefix = size - smallest + 1 if size else 0
        for i in range(prefix):
            node = head[x[i] - shared] if x[i] >= shared else -1
            while node >= 0:
                b, j, node = postings[node, 0], postings[node, 1], postings[node, 2]
                other = offsets[b + 1] - offsets[b]
                if other < smallest:
                    break
                if seen[b] == k:
                    continue
                seen[b] = k
                # The first meeting of two prefixes: nothing before it is shared.
                total = size + other
                needed = math.ceil(threshold / (1.0 + threshold) * total - _SLACK * total)
                if min(size - i, other - j) < needed:
                    continue
                y = ranks[offsets[b] : offsets[b + 1]]
                inter = _overlap(x[i:], y[j:], needed)
                if inter >= 0 and inter / (total - inter) >= threshold:
                    if found == len(pairs):
                        pairs = _longer(pairs)
                    pairs[found, 0], pairs[found, 1] = b, a
                    pairs[found, 2], pairs[found, 3] = inter, total - inter
                    found += 1
        for i in range(prefix):
            if x[i] >= shared:
                if filed == len(postings):
                    postings = _longer(postings)
                postings[filed, 0], postings[filed, 1] = a, i
                postings[filed, 2] = head[x[i] - shared]
                head[x[i] - shared] = filed
                filed += 1
    return pairs[:found]
