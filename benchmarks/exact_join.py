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
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

_SLACK = 1e-9  # bounds are loosened by this much; the pair itself is decided by exact division


def exact_pairs(
    sets_offsets: npt.NDArray[np.int64], set_hashes: npt.NDArray[np.uint64], threshold: float
) -> tuple[
    npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]
]:
    """All pairs (left < right) of sets with inter / union >= threshold, in ascending order.

    Set i is `set_hashes[sets_offsets[i] : sets_offsets[i + 1]]`, in any order; repeated elements
    count once. An empty set is in no pair. Returns left, right, and the sizes of intersection and
    union. Raises ValueError if the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    offsets, ranks, common = _rank(np.asarray(sets_offsets, np.int64), np.asarray(set_hashes))
    by_size = np.argsort(np.diff(offsets), kind="stable")
    a, b, inter, union = _join(offsets, ranks, by_size, common[0], common[1], float(threshold))
    left, right = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((right, left))
    return left[order], right[order], inter[order], union[order]


def similarities(
    sets_offsets: npt.NDArray[np.int64],
    set_hashes: npt.NDArray[np.uint64],
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sizes of intersection and union of given pairs of sets; elements must be distinct."""
    offsets = np.asarray(sets_offsets, np.int64)
    values = np.array(set_hashes, np.uint64)
    _sort_sets(offsets, values)
    inter = np.empty(len(left), np.int64)
    for k, (a, b) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        x, y = values[offsets[a] : offsets[a + 1]], values[offsets[b] : offsets[b + 1]]
        inter[k] = _overlap(x, y, 0)
    sizes = np.diff(offsets)
    return inter, sizes[left] + sizes[right] - inter


def _rank(
    offsets: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], tuple[int, int]]:
    """Replace elements by ranks, rarest first, sorted and distinct in each set.

    Also returns the lowest rank held by two sets or more, and the number of ranks.
    """
    count = len(offsets) - 1
    distinct, index = np.unique(hashes[offsets[0] : offsets[-1]], return_inverse=True)
    index = index.astype(np.int32)
    owner = np.repeat(np.arange(count, dtype=np.int32), np.diff(offsets))
    start = offsets - offsets[0]
    _sort_sets(start, index)
    first = np.ones(len(index), np.bool_)
    first[1:] = (index[1:] != index[:-1]) | (owner[1:] != owner[:-1])
    index, owner = index[first], owner[first]
    held = np.bincount(index, minlength=len(distinct))
    rank = np.empty(len(distinct), np.int32)
    rank[np.argsort(held, kind="stable")] = np.arange(len(distinct), dtype=np.int32)
    start = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=count))]).astype(np.int64)
    ranks = rank[index]
    _sort_sets(start, ranks)
    return start, ranks, (int((held == 1).sum()), len(distinct))


@njit(cache=True, nogil=True)
def _sort_sets(offsets: Any, values: Any) -> None:
    for i in range(len(offsets) - 1):
        values[offsets[i] : offsets[i + 1]].sort()


@njit(cache=True)
def _longer(values: Any) -> Any:
    out = np.empty(2 * len(values), values.dtype)
    out[: len(values)] = values
    return out


@njit(cache=True)
def _overlap(x: Any, y: Any, needed: int) -> int:
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
def _join(
    offsets: Any, ranks: Any, by_size: Any, shared: int, distinct: int, threshold: float
) -> tuple[Any, Any, Any, Any]:
    """Join the sets, visited in ascending order of size.

    Postings of a rank are the sets visited so far with that rank in their prefix, a linked list
    in descending order of size: it ends where sets become too small.
    """
    count = len(offsets) - 1
    head = np.full(max(1, distinct - shared), -1, np.int32)
    posting_set = np.empty(1 << 16, np.int32)
    posting_next = np.empty(1 << 16, np.int32)
    posting_at = np.empty(1 << 16, np.int32)
    postings = 0
    seen = np.full(count, -1, np.int32)
    left = np.empty(1 << 16, np.int32)
    right = np.empty(1 << 16, np.int32)
    inters = np.empty(1 << 16, np.int32)
    unions = np.empty(1 << 16, np.int32)
    pairs = 0
    for k in range(count):
        a = by_size[k]
        x = ranks[offsets[a] : offsets[a + 1]]
        size = len(x)
        smallest = math.ceil(threshold * size - _SLACK * size)
        for i in range(size - smallest + 1 if size else 0):
            if x[i] < shared:
                continue
            rank = x[i] - shared
            node = head[rank]
            while node >= 0:
                b = posting_set[node]
                other = offsets[b + 1] - offsets[b]
                if other < smallest:
                    break
                j = posting_at[node]
                node = posting_next[node]
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
                if inter < 0 or inter / (total - inter) < threshold:
                    continue
                if pairs == len(left):
                    left, right = _longer(left), _longer(right)
                    inters, unions = _longer(inters), _longer(unions)
                left[pairs], right[pairs] = b, a
                inters[pairs], unions[pairs] = inter, total - inter
                pairs += 1
        for i in range(size - smallest + 1 if size else 0):
            if x[i] < shared:
                continue
            if postings == len(posting_set):
                posting_set, posting_next = _longer(posting_set), _longer(posting_next)
                posting_at = _longer(posting_at)
            rank = x[i] - shared
            posting_set[postings], posting_at[postings] = a, i
            posting_next[postings] = head[rank]
            head[rank] = postings
            postings += 1
    return left[:pairs], right[:pairs], inters[:pairs], unions[:pairs]
