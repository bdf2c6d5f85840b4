"""What is counted while the corpus passes by a block: true pairs, and claims of the keep-list."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.commands.audit.blocks import Held, Rows
from dedupe.commands.audit.keep_lists import Claims, Faults
from dedupe.config import Settings
from dedupe.planning.banding import Banding
from dedupe.stages.fetch import shingle_sets
from dedupe.stages.join import JoinBlock, Pairs
from dedupe.stages.sign import Signer

EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Where ranges of similarity begin; equal sets are a range of their own."""


@dataclass(frozen=True)
class Question:
    """What is asked of a run.

    settings, banding: of the run. threshold: of true pairs. keep: whether the run keeps each row.
    every: whether blocks are made of all rows, one after the other, rather than one of a sample.
    """

    settings: Settings
    banding: Banding
    threshold: float
    keep: Array
    every: bool

    @property
    def edges(self) -> Array:
        """Where ranges of similarity begin, the last of which is that of equal sets."""
        return np.array(sorted({self.threshold, 1.0, *(e for e in EDGES if e > self.threshold)}))


@dataclass(frozen=True)
class Counted:
    """True pairs of rows: rows[i] rows have pairs[i] of them, missed[i] with both rows kept.

    pairs, missed: int64[n, ranges of similarity]. broken: of all those missed, how many share a
    band key. Where blocks are made of all rows, every pair is counted twice.
    """

    rows: Array
    pairs: Array
    missed: Array
    broken: int

    @classmethod
    def of(cls, parts: Sequence[Counted], ranges: int, *, halve: bool) -> Counted:
        """All of them; halve: where all pairs were counted twice."""
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


class Census:
    """Counts for one block; `pass_by` is a task, and several may run at a time.

    claims: those of the rows of the block, by what else of them is to pass by; similar: what was
    found of each. survivors: bool of each row of the corpus, marked where one is kept though a true
    partner is. Where blocks are made of all rows, those before the block need not pass by, and
    those behind it count twice: all blocks together count every pair twice.
    """

    def __init__(
        self, question: Question, rows: Rows, held: Held, claims: Claims, survivors: Array
    ) -> None:
        near = question.settings.near
        stamps = None if near else held.keys[:, 0].copy()
        self._block = JoinBlock(held.offsets, held.hashes, question.threshold, stamps)
        self._question, self._rows, self._held, self._survivors = question, rows, held, survivors
        self._edges = question.edges
        self._lock = threading.Lock()
        self.faults = Faults()

        entry = self._block.entry
        kept = question.keep[held.positions] & (entry >= 0)
        number = len(self._block.leaders)
        self._members = np.bincount(entry[entry >= 0], minlength=number)
        self._kept_members = np.bincount(entry[kept], minlength=number)
        self._some_kept = np.full((2, number), -1)  # the first and the last, to name another one
        self._some_kept[0, entry[kept][::-1]] = held.positions[kept][::-1]
        self._some_kept[1, entry[kept]] = held.positions[kept]
        # by entry and range: rows at the threshold, of these kept ones, of these without its keys
        self._pairs, self._kept, self._apart = np.zeros((3, number, len(self._edges)), np.int64)

        inner, outer = claims.dropped, claims.witness
        if question.every:
            inner, outer = np.minimum(inner, outer), np.maximum(inner, outer)
        place = np.minimum(np.searchsorted(held.positions, inner), len(held.positions) - 1)
        chosen = np.flatnonzero(held.positions[place] == inner)
        chosen = chosen[np.argsort(outer[chosen], kind="stable")]
        self.claims = claims.take(chosen)
        self.similar = np.full(len(chosen), np.nan)
        self._inner, self._outer = place[chosen], outer[chosen]

    def pass_by(self, number: int) -> dict[str, Any]:
        """Let the rows of a slice pass by; says how many there are."""
        start, end = self._rows.starts[number : number + 2].tolist()
        first = int(self._held.positions[0]) if self._question.every else start
        places = np.arange(first, end) if start < first else None
        signer = Signer(self._question.settings, self._question.banding)
        count = 0
        for positions, documents in self._rows.read(number, places):
            count += len(documents)
            documents = documents.slice(0, int(np.searchsorted(positions, end)))
            offsets, hashes = shingle_sets(documents, self._question.settings)
            for pairs in self._block.pairs(offsets, hashes):
                self._count(pairs, int(positions[0]), documents, signer)
            self._check_claims(offsets, hashes, int(positions[0]))
        return {"rows": count, "expected": end - max(start, first)}

    def _count(self, pairs: Pairs, start: int, documents: pa.Array, signer: Signer) -> None:
        question, held = self._question, self._held
        position = start + pairs.rows
        ranges = np.searchsorted(self._edges, pairs.jaccard, side="right") - 1
        behind = question.every & (position > held.positions[-1])
        weight = np.where(behind, 2, 1)
        place = np.minimum(np.searchsorted(held.positions, position), len(held.positions) - 1)
        own = (held.positions[place] == position) & (self._block.entry[place] == pairs.entries)
        both = question.keep[position] & (self._kept_members[pairs.entries] > 0)
        apart = both & ~own
        apart[apart] = ~self._share_keys(pairs.rows[apart], pairs.entries[apart], documents, signer)
        alone = own & (self._kept_members[pairs.entries] == 1)  # with nobody but itself
        missed = both & ~alone & (~apart if not question.settings.near else True)
        with self._lock:
            at = (pairs.entries, ranges)
            np.add.at(self._pairs, at, weight)
            np.add.at(self._kept, at, weight * both)
            np.add.at(self._apart, at, weight * apart)
            self._survivors[position[missed & behind]] = True
            self._give_examples("missed", position, pairs.entries, missed & apart)
            self._give_examples("pairs of kept rows", position, pairs.entries, missed & ~apart)

    def _share_keys(
        self, rows: Array, entries: Array, documents: pa.Array, signer: Signer
    ) -> Array:
        """Whether each of these rows shares a band key with that entry."""
        distinct, back = np.unique(rows, return_inverse=True)
        of_rows = documents.take(pa.array(distinct))
        keys = signer.sign(pa.RecordBatch.from_arrays([of_rows], ["document"])).keys[back]
        shared: Array = (keys == self._held.keys[self._block.leaders[entries]]).any(axis=1)
        return shared

    def _give_examples(self, kind: str, position: Array, entries: Array, which: Array) -> None:
        position, (first, last) = position[which], self._some_kept[:, entries[which]]
        other = np.where(first == position, last, first)
        self.faults.add(kind, np.minimum(position, other), np.maximum(position, other))

    def _check_claims(self, offsets: Array, hashes: Array, start: int) -> None:
        low, high = np.searchsorted(self._outer, [start, start + len(offsets) - 1])
        self.similar[low:high] = self._block.similarity(
            offsets, hashes, self._outer[low:high] - start, self._inner[low:high]
        )

    def counted(self) -> Counted:
        """What was found; marks the survivors among the rows of the block."""
        pairs, missed = self._pairs, self._kept
        if not self._question.settings.near:  # equal sets of other texts are no pairs of such a run
            pairs, missed = pairs - self._apart, missed - self._apart
        itself = np.zeros(len(self._edges), np.int64)
        itself[-1] = 1
        entry, positions = self._block.entry, self._held.positions
        kept = np.flatnonzero(self._question.keep[positions] & (entry >= 0))
        self._survivors[positions[kept[missed.sum(1)[entry[kept]] > 1]]] = True
        dropped = self._members - self._kept_members
        broken = (self._kept - self._apart).sum(1) - 1
        return Counted(
            rows=np.concatenate([self._kept_members, dropped]),
            pairs=np.concatenate([pairs - itself, pairs - itself]),
            missed=np.concatenate([missed - itself, np.zeros_like(missed)]),
            broken=int((self._kept_members * broken).sum()),
        )
