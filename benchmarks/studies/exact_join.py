"""Exact set-similarity join: every pair of sets with Jaccard similarity >= a threshold.

The oracle of the recall measurements. It shares no code with the package: no MinHash, no bands,
no verification. Method: all pairs with prefix and length filters (Bayardo et al. 2007; Xiao et al.
2008). Elements are ranked by how few sets hold them; two sets can reach the threshold only if the
rarest few elements of both, the prefixes, meet. Elements held by one set only sort first, and meet
none.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
SLACK = 1e-9  # bounds are loosened by this much; the pair itself is decided by exact division
AT_A_TIME = 10_000_000  # meetings of prefixes that are looked at together, 16 bytes each


def exact_pairs(
    sets_offsets: Ints, set_hashes: npt.NDArray[np.uint64], threshold: float
) -> tuple[Ints, Ints, Ints, Ints]:
    """All pairs (left < right) of sets with inter / union >= threshold, in ascending order.

    Set i is `set_hashes[sets_offsets[i] : sets_offsets[i + 1]]`, in any order; repeated elements
    count once. An empty set is in no pair. Returns left, right, and the sizes of intersection and
    union. Raises ValueError if the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    offsets = np.asarray(sets_offsets, np.int64)
    count = len(offsets) - 1
    distinct, element = np.unique(set_hashes[offsets[0] : offsets[-1]], return_inverse=True)
    most = max(len(distinct), 1)
    keys = _distinct(np.repeat(np.arange(count), np.diff(offsets)) * most + element)
    held = np.bincount(keys % most, minlength=most)
    ranks = np.empty(most, np.int64)
    ranks[np.argsort(held, kind="stable")] = np.arange(most)
    owner, rank = np.divmod(np.sort(keys // most * most + ranks[keys % most]), most)
    sizes = np.bincount(owner, minlength=count)
    starts = np.concatenate([[0], np.cumsum(sizes)])

    prefix = sizes - np.ceil(threshold * sizes - SLACK * sizes) + 1
    filed = (np.arange(len(owner)) - starts[owner] < prefix[owner]) & (rank >= (held == 1).sum())
    by, sets = rank[filed], owner[filed]
    order = np.lexsort((sets, by))
    by, sets = by[order], sets[order]
    before = np.arange(len(by)) - np.searchsorted(by, by)  # sets in the list of the same element
    found = [np.empty(0, np.int64)]
    ends = np.cumsum(before)
    begin = 0
    while begin < len(by):
        end = max(np.searchsorted(ends, ends[begin] + AT_A_TIME), begin + 1)
        many = before[begin:end]
        right = np.repeat(np.arange(begin, end), many)
        left = right - np.arange(many.sum()) + np.repeat(np.cumsum(many) - many, many) - 1
        left, right = sets[left], sets[right]
        less, more = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
        near = less >= threshold * more - SLACK * more
        found.append(_distinct(left[near] * count + right[near]))
        begin = end
    left, right = np.divmod(_distinct(np.concatenate(found)), max(count, 1))
    inter = _overlaps(starts, rank, left, right, threshold)
    union = sizes[left] + sizes[right] - inter
    true = inter / union >= threshold
    return left[true], right[true], inter[true], union[true]


def _distinct(values: Ints) -> Ints:
    """What np.unique gives, which is several times slower where few values occur twice."""
    ordered = np.sort(values)
    return ordered[np.concatenate([ordered[:1] == ordered[:1], ordered[1:] != ordered[:-1]])]


@njit(cache=True, nogil=True)
def _overlaps(starts, ranks, left, right, threshold):
    """Sizes of the intersections of pairs of sorted sets; less where the threshold is not met."""
    inter = np.zeros(len(left), np.int64)
    for k in range(len(left)):
        i, j = starts[left[k]], starts[right[k]]
        end, other_end = starts[left[k] + 1], starts[right[k] + 1]
        needed = (threshold / (1 + threshold) - SLACK) * (end - i + other_end - j)
        while i < end and j < other_end and inter[k] + min(end - i, other_end - j) >= needed:
            one, other = ranks[i], ranks[j]
            inter[k] += one == other
            i += one <= other
            j += other <= one
    return inter
