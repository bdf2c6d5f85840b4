"""What is counted of true pairs: by rows that have equally many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dedupe.arrays import Array
from dedupe.tasks.artifacts import TaskResult


@dataclass(frozen=True)
class Counted:
    """True pairs of rows: rows[i] rows have pairs[i] of them, missed[i] with both rows kept.

    rows: int64[n]. pairs, missed: int64[n, ranges of similarity]. broken: of all those missed, how
    many share a band key. Where blocks are made of all rows, every pair is counted twice.
    """

    rows: Array
    pairs: Array
    missed: Array
    broken: int

    @classmethod
    def of(cls, parts: Sequence[Counted], ranges: int, *, halve: bool) -> Counted:
        """All of them.

        parts: of each block. ranges: number of ranges of similarity. halve: where all pairs were
        counted twice.
        """
        none = np.zeros((0, ranges), np.int64)
        rows = np.concatenate([none[:, 0], *(part.rows for part in parts)])
        pairs = np.concatenate([none, *(part.pairs for part in parts)])
        missed = np.concatenate([none, *(part.missed for part in parts)])
        times = 2 if halve else 1
        broken = sum(part.broken for part in parts)
        return cls(rows, pairs // times, missed // times, broken // times)

    def total(self) -> Counted:
        """The same as of one row that has all pairs."""
        pairs, missed = ((self.rows[:, None] * of).sum(0)[None] for of in (self.pairs, self.missed))
        return Counted(np.ones(1, np.int64), pairs, missed, self.broken)

    def merged(self) -> Counted:
        """The same with rows that have equal counts brought together."""
        both = np.concatenate([self.pairs, self.missed], axis=1)
        distinct, where = np.unique(both, axis=0, return_inverse=True)
        rows = np.bincount(where.reshape(-1), self.rows, len(distinct)).astype(np.int64)
        pairs, missed = np.split(distinct, 2, axis=1)
        return Counted(rows, pairs, missed, self.broken)


@dataclass(frozen=True, kw_only=True)
class CountResult(TaskResult):
    """What a block comes to.

    looked_at: rows of the block. dropped: rows of it that the run dropped. last: position behind
    its last row. counts: rows, pairs, missed and broken of `Counted`.
    """

    looked_at: int
    dropped: int
    last: int
    counts: list[Any]

    def counted(self, ranges: int) -> Counted:
        """The counts; ranges: number of ranges of similarity."""
        rows, pairs, missed, broken = self.counts
        shape = (-1, ranges)
        return Counted(
            np.array(rows, np.int64),
            np.array(pairs, np.int64).reshape(shape),
            np.array(missed, np.int64).reshape(shape),
            broken,
        )
