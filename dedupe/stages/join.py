"""join: rows of a block against rows that are streamed past it, exactly: no signature, no bands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dedupe.arrays import Array
from dedupe.checks import check_range
from dedupe.kernels.join import (
    connect,
    find_pairs,
    first_same,
    index_entries,
    intersections,
)

MOST_PAIRS = 1 << 17
"""Pairs delivered at a time, and those of one more row."""


@dataclass(frozen=True)
class Pairs:
    """Streamed rows and entries (int64) at the threshold, and the similarity (float64) of both."""

    rows: Array
    entries: Array
    jaccard: Array


class JoinBlock:
    """Shingle sets held in memory, indexed so that any other set finds those it is similar to.

    offsets, hashes: int64[rows + 1] and uint64, the sets of the rows of the block as `shingle_sets`
    makes them; the hashes of each set are brought into another order. threshold: the Jaccard
    similarity to find, in (0, 1]. stamps: uint64 of each row, 0 for all by default. Rows with the
    same hashes in the same order and the same stamp are one *entry*; empty rows are none.

    entry: int64, the entry of each row, -1 for none. leaders: int64, the first row of each entry.
    compared: pairs whose sets `within` and `edges` have looked at.
    """

    def __init__(
        self, offsets: Array, hashes: Array, threshold: float, stamps: Array | None = None
    ) -> None:
        if stamps is None:
            stamps = np.zeros(len(offsets) - 1, np.uint64)
        self._threshold = threshold
        self._offsets = offsets
        sizes = np.diff(offsets)
        first = first_same(offsets, hashes, stamps)
        leaders = np.flatnonzero((first == np.arange(len(first))) & (sizes > 0))
        self.leaders: Array = leaders[np.argsort(sizes[leaders], kind="stable")]
        place = np.full(len(first), -1, np.int64)
        place[self.leaders] = np.arange(len(self.leaders))
        self.entry: Array = place[first]
        begins, of_entries = offsets[self.leaders], sizes[self.leaders]
        self._index = index_entries(begins, of_entries, hashes, threshold)
        self._parent = np.arange(len(self.leaders))
        self._jump: Array | None = None
        self.compared = 0

    @classmethod
    def of(cls, sizes: list[Array], hashes: list[Array], threshold: float) -> JoinBlock:
        """A block of sets that were made some at a time.

        sizes: int64 arrays, how many hashes each set has. hashes: uint64 arrays, the sets end to
        end; the list is emptied, so that memory holds them once. threshold: see the class.
        """
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
        return cls(offsets, joined(hashes, int(offsets[-1])), threshold)

    def __len__(self) -> int:
        return len(self.entry)

    def pairs(self, offsets: Array, hashes: Array) -> Iterator[Pairs]:
        """All pairs of streamed sets and entries, some at a time, in the order of the sets.

        offsets: int64[sets + 1]; streamed set i is hashes[offsets[i]:offsets[i + 1]]. hashes:
        uint64, distinct in each set.
        """
        row, sizes = 0, np.diff(offsets)
        while row < len(sizes):
            rows, entries, shared, row = find_pairs(
                self._index, self._threshold, offsets, hashes, row, MOST_PAIRS
            )
            union = sizes[rows] + self._index.sizes[entries] - shared
            yield Pairs(rows, entries, shared / union)

    def within(self) -> tuple[Array, Array]:
        """As few pairs of rows of the block as connect what all its pairs do: two int64 arrays."""
        rows = np.flatnonzero(self.entry >= 0)
        leads = self.leaders[self.entry[rows]]
        copies = leads != rows
        begins, sizes, hashes = self._index[:3]
        left, right = self._connect(begins, sizes, hashes, np.arange(len(sizes)))
        return (
            np.concatenate([rows[copies], self.leaders[left]]),
            np.concatenate([leads[copies], self.leaders[right]]),
        )

    def edges(self, offsets: Array, hashes: Array) -> tuple[Array, Array]:
        """As few pairs as connect what all pairs do: (streamed sets, rows of the block), int64.

        offsets, hashes: the streamed sets, see `pairs`; they are of other rows, and `within` was
        asked before. Only one thread may call this at a time: what is connected is remembered.
        """
        own = np.full(len(offsets) - 1, -1)
        sets, entries = self._connect(offsets[:-1], np.diff(offsets), hashes, own)
        return sets, self.leaders[entries]

    def _connect(
        self, begins: Array, sizes: Array, hashes: Array, own: Array
    ) -> tuple[Array, Array]:
        if self._jump is None:
            self._jump = np.arange(1, len(self._index.postings) + 1, dtype=np.uint32)
        sets, entries, compared = connect(
            self._index, self._threshold, begins, sizes, hashes, own, self._parent, self._jump
        )
        self.compared += compared
        return sets, entries

    def similarity(self, offsets: Array, hashes: Array, sets: Array, rows: Array) -> Array:
        """Exact Jaccard similarities of streamed sets with rows of the block; 1.0 for empty ones.

        offsets, hashes: the streamed sets, see `pairs`. sets, rows: int64 arrays of one length,
        which set is compared with which row of the block. Returns float64.

        Raises IntegrityError for a set or a row that there is not.
        """
        check_range(sets, len(offsets) - 1, "join was asked about a set that there is not")
        check_range(rows, len(self), "join was asked about a row outside of its block")
        shared = intersections(offsets, hashes, sets, self._offsets, self._index.hashes, rows)
        union = np.diff(offsets)[sets] + np.diff(self._offsets)[rows] - shared
        similar: Array = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
        return similar


def joined(parts: list[Array], size: int) -> Array:
    """Hashes as one array; the list is emptied on the way, so that memory holds them once."""
    whole = np.empty(size, np.uint64)
    at = size
    while parts:
        last = parts.pop()
        at -= len(last)
        whole[at : at + len(last)] = last
    return whole
