"""What the drops of a partition of components did: to clusters, other columns and sources."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.schema import CLUSTER_BINS, EXTRA

LARGEST = 20
"""Clusters of a task that are told."""
LEAST_MUCH, SHARE_MUCH = 100, 0.1
"""A cluster that drops more than this share of a source, and so many rows at least, is told."""


class Drops:
    """The rows of some decisions that are dropped because of kept rows, see `schema.decisions`.

    decisions: they. own_rows: rows of the corpus; witnesses behind them are of references.

    positions: int64, of all decisions. at, kept_at: int64, the places of dropped rows and of their
    witnesses among the decisions. dropped: int64, for each decision the rows dropped because of
    its row.
    """

    def __init__(self, decisions: pa.RecordBatch, own_rows: int) -> None:
        self.positions, witness = (
            numbers(decisions.column(name)) for name in ("position", "witness")
        )
        reason = numbers(decisions.column("reason"))
        others = np.flatnonzero((witness != self.positions) & (witness < own_rows))
        kept_at = np.searchsorted(self.positions, witness[others])
        self._others = np.bincount(kept_at, minlength=len(self.positions))
        is_dropped = reason[others] != EXTRA
        self.at, self.kept_at = others[is_dropped], kept_at[is_dropped]
        self.dropped = np.bincount(self.kept_at, minlength=len(self.positions))

    def largest(self) -> list[list[int]]:
        """[position of the kept row, rows dropped because of it] of the largest clusters."""
        kept = np.flatnonzero(self.dropped)
        kept = kept[np.lexsort((kept, -self.dropped[kept]))[:LARGEST]]
        return _lists(self.positions[kept], self.dropped[kept])

    def sizes(self) -> list[int]:
        """How many clusters there are for each of `schema.CLUSTER_BINS`."""
        rows = self._others[self._others > 0] + 1
        bins = np.searchsorted(CLUSTER_BINS, rows, side="right") - 1
        counts: list[int] = np.bincount(bins, minlength=len(CLUSTER_BINS)).tolist()
        return counts

    def differing(self, others: Array) -> list[int]:
        """In how many dropped rows each column differs from that of the witness.

        others: uint32[decisions, columns], digests.
        """
        counts: list[int] = (others[self.at] != others[self.kept_at]).sum(axis=0).tolist()
        return counts

    def eaten(self, source: Array, rows: Array) -> list[list[int]]:
        """Clusters that took much of a source: [source, position of the kept row, rows dropped].

        source: the number of the source of each decision's row. rows: of each source in the corpus.
        """
        large = self.dropped[self.kept_at] >= LEAST_MUCH
        kept_at = self.kept_at[large]
        pairs = source[self.at[large]] * len(self.positions) + kept_at
        found, dropped = np.unique(pairs, return_counts=True)
        of, kept = np.divmod(found, max(len(self.positions), 1))
        much = is_much(dropped, rows[of])
        return _lists(of[much], self.positions[kept[much]], dropped[much])


def _lists(*columns: Array) -> list[list[int]]:
    return list(map(list, zip(*(column.tolist() for column in columns), strict=True)))


def is_much(dropped: Array, rows: Array | int) -> Array:
    """Whether so many rows, dropped because of one, are much of a source or of a run.

    dropped: int64, for each kept row. rows: of the source or the run.
    """
    much: Array = (dropped >= LEAST_MUCH) & (dropped > rows * SHARE_MUCH)
    return much
