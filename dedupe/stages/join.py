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
    """Streamed rows and entries (int64) at the threshold in every field.

    jaccard: float64[pairs, fields], the similarity of both in each field.
    """

    rows: Array
    entries: Array
    jaccard: Array


class JoinBlock:
    """Rows held in memory as shingle sets, indexed so that any other row finds those it is like.

    offsets, hashes: int64[rows * fields + 1] and uint64, the sets of the rows of the block as
    `shingle_sets` makes them; the hashes of each set are brought into another order. threshold: the
    Jaccard similarity to find in every field, in (0, 1]. stamps: uint64 of each row, 0 for all by
    default. fields: of a row. Rows with the same hashes in the same order and the same stamp are
    one *entry*; rows of which all fields are empty are none.

    entry: int64, the entry of each row, -1 for none. leaders: int64, the first row of each entry.
    compared: pairs whose sets `within` and `edges` have looked at.
    """

    def __init__(
        self,
        offsets: Array,
        hashes: Array,
        threshold: float,
        stamps: Array | None = None,
        fields: int = 1,
    ) -> None:
        rows = np.ascontiguousarray(offsets[::fields])
        if stamps is None:
            stamps = np.zeros(len(rows) - 1, np.uint64)
        self._threshold = threshold
        self._offsets = offsets
        self._fields = fields
        first = first_same(rows, hashes, stamps)
        leaders = np.flatnonzero((first == np.arange(len(first))) & (np.diff(rows) > 0))
        sets = (leaders[:, None] * fields + np.arange(fields)).ravel()
        self._index, order = index_entries(
            offsets[sets], np.diff(offsets)[sets], hashes, threshold, fields
        )
        self.leaders: Array = leaders[order]
        place = np.full(len(first), -1, np.int64)
        place[self.leaders] = np.arange(len(self.leaders))
        self.entry: Array = place[first]
        self._parent = np.arange(len(self.leaders))
        self._jump: Array | None = None
        self.compared = 0

    @classmethod
    def of(
        cls, sizes: list[Array], hashes: list[Array], threshold: float, fields: int = 1
    ) -> JoinBlock:
        """A block of sets that were made some at a time.

        sizes: int64 arrays, how many hashes each set has. hashes: uint64 arrays, the sets end to
        end; the list is emptied, so that memory holds them once. threshold, fields: see the class.
        """
        offsets = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
        return cls(offsets, joined(hashes, int(offsets[-1])), threshold, fields=fields)

    def __len__(self) -> int:
        return len(self.entry)

    def pairs(self, offsets: Array, hashes: Array) -> Iterator[Pairs]:
        """All pairs of streamed rows and entries, some at a time, in the order of the rows.

        offsets: int64[rows * fields + 1]; field f of streamed row i has the set s = i * fields + f,
        which is hashes[offsets[s]:offsets[s + 1]]. hashes: uint64, distinct in each row.
        """
        row = 0
        while row < (len(offsets) - 1) // self._fields:
            found, row = self.some_pairs(offsets, hashes, row, MOST_PAIRS)
            yield found

    def some_pairs(self, offsets: Array, hashes: Array, row: int, most: int) -> tuple[Pairs, int]:
        """The pairs of streamed rows from one on, and the first row that was not streamed.

        offsets, hashes: the streamed rows, see `pairs`. row: the number of the first. most: it
        ends behind a row with which there are so many pairs or more, or behind the last one.
        """
        *found, after = find_pairs(
            self._index, self._threshold, offsets[:-1], np.diff(offsets), hashes, row, most
        )
        return Pairs(*found), after

    def within(self) -> tuple[Array, Array]:
        """As few pairs of rows of the block as connect what all its pairs do: two int64 arrays."""
        rows = np.flatnonzero(self.entry >= 0)
        leads = self.leaders[self.entry[rows]]
        copies = leads != rows
        begins, sizes, hashes = self._index[:3]
        left, right = self._connect(begins, sizes, hashes, np.arange(len(self.leaders)))
        return (
            np.concatenate([rows[copies], self.leaders[left]]),
            np.concatenate([leads[copies], self.leaders[right]]),
        )

    def edges(self, offsets: Array, hashes: Array) -> tuple[Array, Array]:
        """As few pairs as connect what all pairs do: (streamed rows, rows of the block), int64.

        offsets, hashes: the streamed rows, see `pairs`; they are not of the block, and `within` was
        asked before. Only one thread may call this at a time: what is connected is remembered.
        """
        own = np.full((len(offsets) - 1) // self._fields, -1)
        rows, entries = self._connect(offsets[:-1], np.diff(offsets), hashes, own)
        return rows, self.leaders[entries]

    def _connect(
        self, begins: Array, sizes: Array, hashes: Array, own: Array
    ) -> tuple[Array, Array]:
        if self._jump is None:
            self._jump = np.arange(1, len(self._index.postings) + 1, dtype=np.uint32)
        rows, entries, compared = connect(
            self._index, self._threshold, begins, sizes, hashes, own, self._parent, self._jump
        )
        self.compared += compared
        return rows, entries

    def similarity(self, offsets: Array, hashes: Array, streamed: Array, rows: Array) -> Array:
        """Exact Jaccard similarities of streamed rows with rows of the block, field by field.

        offsets, hashes: the streamed rows, see `pairs`. streamed, rows: int64 arrays of one length,
        which streamed row is compared with which row of the block. Returns float64[pairs, fields],
        1.0 where both are empty.

        Raises IntegrityError for a row that there is not.
        """
        fields = self._fields
        check_range(
            streamed, (len(offsets) - 1) // fields, "join was asked about a set that there is not"
        )
        check_range(rows, len(self), "join was asked about a row outside of its block")
        similar = np.empty((len(rows), fields))
        for field in range(fields):
            ours, theirs = rows * fields + field, streamed * fields + field
            shared = intersections(offsets, hashes, theirs, self._offsets, self._index.hashes, ours)
            union = np.diff(offsets)[theirs] + np.diff(self._offsets)[ours] - shared
            similar[:, field] = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
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
