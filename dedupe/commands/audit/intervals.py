"""Shares measured on a sample of rows, with the interval in which those of all rows lie.

The rows of a corpus are what they are; chance is in which of them were drawn, without replacement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dedupe.arrays import Array

Z = 1.959963984540054
"""Standard normal deviate of a 95 % interval."""


@dataclass(frozen=True)
class Share:
    """`count` of `of`; share and its 95 % interval [low, high], None for a share of nothing."""

    count: int
    of: int
    share: float | None
    low: float | None
    high: float | None

    @property
    def rest(self) -> Share:
        """The share of all others."""
        if self.share is None or self.low is None or self.high is None:
            return self
        return Share(self.of - self.count, self.of, 1 - self.share, 1 - self.high, 1 - self.low)


def wilson(share: float, size: float) -> tuple[float, float]:
    """Interval of a share that was found among `size` independent draws (Wilson, 1927)."""
    if math.isinf(size):
        return share, share
    middle = (share + Z * Z / (2 * size)) / (1 + Z * Z / size)
    spread = Z / (1 + Z * Z / size) * math.sqrt(share * (1 - share) / size + (Z / (2 * size)) ** 2)
    # a share of 0 or 1 is an end of its interval; rounding must not put it outside
    return min(max(middle - spread, 0.0), share), max(min(middle + spread, 1.0), share)


def share_of_rows(count: int, of: int, drawn: float) -> Share:
    """Rows of a kind.

    count: how many of the rows that were drawn are of that kind. of: how many were drawn. drawn:
    the part of all rows that these are.
    """
    if of == 0:
        return Share(0, 0, None, None, None)
    low, high = wilson(count / of, of / (1 - drawn) if drawn < 1 else math.inf)
    return Share(count, of, count / of, low, high)


def share_of_pairs(missed: Array, pairs: Array, rows: Array, drawn: float) -> Share:
    """Pairs of a kind among all pairs of the rows that were drawn.

    rows[i] of these rows have pairs[i] pairs, missed[i] of the kind; rows without pairs may be left
    out. drawn: as above. Pairs of a row come together, so the variance is that of a ratio estimator
    of clusters (Cochran 1977, sections 6.3 and 9A.2), and the interval Wilson's for as many draws
    as have that variance (Korn and Graubard 1998). Where there is no variance to see, none or all
    being of the kind, as many as if all pairs of a row were of one kind.
    """
    total, count = int((rows * pairs).sum()), int((rows * missed).sum())
    if total == 0:
        return Share(0, 0, None, None, None)
    share = count / total
    if drawn >= 1:
        return Share(count, total, share, share, share)
    number = int(rows.sum())
    squares = float((rows * (missed - share * pairs) ** 2).sum())
    variance = squares / total**2 * number / max(number - 1, 1)
    if variance > 0:
        size = share * (1 - share) / variance
    else:
        size = total**2 / float((rows * pairs.astype(np.float64) ** 2).sum())
    low, high = wilson(share, size / (1 - drawn))
    return Share(count, total, share, low, high)
