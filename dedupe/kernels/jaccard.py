"""Bounds of the Jaccard similarity of two sets, given their sizes.

A pair is decided by one expression everywhere: `intersection / union >= threshold` in float64.
Every bound here is conservative with respect to exactly that expression: no pair that reaches the
threshold is ruled out, whatever the rounding. They are the size and overlap bounds of All-Pairs
(Bayardo et al. 2007) and PPJoin (Xiao et al. 2008).

In all functions sizes are int64 numbers of distinct hashes, at least 1, and `threshold` is a
float64 in (0, 1]; results are int64 where nothing else is said.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner

SLACK = 1e-12
"""Relative loosening of bounds computed in float64; far above its rounding errors."""
LARGEST_SET = 2.0**62
"""More hashes than any set has: a bound that an int64 holds, whatever the threshold."""


@inner
def least_size(size, threshold):
    """The smallest size of a set that can reach `threshold` with one of `size`.

    A pair at the threshold also shares at least so many hashes.
    """
    return max(np.int64(np.ceil(threshold * size * (1.0 - SLACK))), 1)


@inner
def most_size(size, threshold):
    """The largest size of a set that can reach `threshold` with one of `size`."""
    return np.int64(min(np.floor(size / threshold * (1.0 + SLACK)), LARGEST_SET))


@inner
def most_size_with(overlap, size, threshold):
    """The largest size of a set that can reach `threshold` with one of `size`, float64.

    overlap: the two share at most so many hashes.
    """
    return overlap / threshold * (1.0 + SLACK) + (overlap - size)


@inner
def least_share(threshold):
    """A float64 lower bound of intersection / (a + b) for sets of sizes a and b at `threshold`."""
    return threshold / (1.0 + threshold) * (1.0 - SLACK)


@inner
def overlap_bound(a, b, threshold):
    """A lower bound of the intersection with which sets of sizes a and b reach `threshold`."""
    return max(np.int64(np.ceil((a + b) * least_share(threshold))), 1)


@inner
def least_overlap(a, b, threshold):
    """The smallest intersection with which sets of sizes a and b reach `threshold`, exactly.

    It is min(a, b) + 1 if none does. Correctly rounded division is monotonic, so the float64
    quotient grows with the intersection, and one number separates the two answers.
    """
    most = min(a, b)
    n = overlap_bound(a, b, threshold)
    while n <= most and n / (a + b - n) < threshold:
        n += 1
    return min(n, most + 1)


@inner
def prefix_size(size, threshold):
    """How many hashes of a set suffice: any set at `threshold` with it holds one of them."""
    return size - least_size(size, threshold) + 1


@inner
def least_hits(entry, size, threshold):
    """How many hashes of the prefix of a set of size `entry` must be in a set of `size`.

    With fewer, the two do not reach `threshold`: of what they must share, only what lies behind the
    prefix can be outside of it.
    """
    behind = entry - prefix_size(entry, threshold)
    return max(overlap_bound(entry, size, threshold) - behind, 1)


@inner
def last_place(size, smallest, threshold):
    """How many hashes of a set, in any order, can precede the first that a similar set holds.

    Returns (the least size of a set that reaches `threshold` with one of `size`, that number).
    smallest: no other set has fewer hashes.
    """
    least = max(smallest, least_size(size, threshold))
    return least, size - least_overlap(size, least, threshold)
