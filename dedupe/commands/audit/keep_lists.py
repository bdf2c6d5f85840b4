"""What keep-lists say, held against themselves: every row once, every witness a kept row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers, valid_bytes
from dedupe.errors import WorkDirError
from dedupe.remote import Place
from dedupe.schema import EXACT, NEAR, REASONS
from dedupe.storage.publish import open_keep_list

BATCH_ROWS = 1 << 16
"""Rows of a keep-list read at a time."""
LOST = ("missing", "twice", "out of order", "no row of the corpus", "another number of rows")
"""Faults that break guarantee 5; the others that are found here break guarantee 1."""
TOLD = ("row", "reason", "witness_shard", "witness_row", "jaccard")
"""Columns that the second reading looks at."""


@dataclass
class Faults:
    """How often something is not as promised, by kind, and the first few rows of each."""

    MOST_EXAMPLES = 5

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    def add(self, kind: str, *rows: Array, count: int | None = None) -> None:
        """Count faults at these rows, or pairs of rows, given by position."""
        found = len(rows[0]) if count is None else count
        if found:
            self.counts[kind] += found
            known = self.examples.setdefault(kind, [])
            others = zip(*(part.tolist() for part in rows), strict=True)
            known[:] = sorted({*known, *others})[: self.MOST_EXAMPLES]

    def update(self, others: Faults) -> None:
        """Add those of another part of the rows."""
        for kind, count in others.counts.items():
            rows = np.array(others.examples[kind], np.int64)
            self.add(kind, *rows.T, count=count)


@dataclass(frozen=True)
class Claims:
    """What the keep-list says of dropped rows with a witness that is in the corpus: positions."""

    dropped: Array
    witness: Array
    jaccard: Array

    def take(self, chosen: Array) -> Claims:
        """Some of them."""
        return Claims(self.dropped[chosen], self.witness[chosen], self.jaccard[chosen])

    @classmethod
    def of(cls, parts: Sequence[Claims]) -> Claims:
        """All of them."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        columns = zip(*((p.dropped, p.witness, p.jaccard) for p in [none, *parts]), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


class KeepLists:
    """The keep-lists of a run, read a file at a time: `read_keep` of each, then `read_claims`.

    starts: position of the first row of each shard, with the end. keep: bool of each row, False
    for rows that are not there.
    """

    def __init__(self, files: Sequence[Place], paths: Sequence[str], starts: Array) -> None:
        self._files = files
        self._paths = pa.array(paths, pa.string())
        self._starts = starts
        self.keep: Array = np.zeros(int(starts[-1]), np.bool_)

    def read_keep(self, shard: int) -> Faults:
        """Note which rows of a shard are kept; rows that are missing, twice, out of order."""
        faults = Faults()
        start, rows = int(self._starts[shard]), int(np.diff(self._starts)[shard])
        seen = np.zeros(rows, np.int64)
        at = 0
        for batch in self._batches(shard, ("row", "keep")):
            numbered = numbers(batch.column(0))
            known = (numbered >= 0) & (numbered < rows)
            np.add.at(seen, numbered[known], 1)
            self.keep[start + numbered[known]] = numbers(batch.column(1))[known]
            order = (numbered != at + np.arange(len(numbered))) & known
            faults.add("out of order", start + numbered[order])
            faults.add("no row of the corpus", np.full(int((~known).sum()), start))
            at += len(numbered)
        faults.add("missing", start + np.flatnonzero(seen == 0))
        faults.add("twice", start + np.flatnonzero(seen > 1))
        return faults

    def read_claims(
        self, shard: int, wanted: Array | None, threshold: float
    ) -> tuple[Claims, Faults]:
        """What is said of the dropped rows of a shard: of those at `wanted` positions, or all.

        Faults are looked for in all rows. threshold: that a stated similarity must reach.
        """
        faults = Faults()
        start, rows = int(self._starts[shard]), int(np.diff(self._starts)[shard])
        parts = []
        for batch in self._batches(shard, TOLD):
            row = numbers(batch.column(0))
            batch = batch.filter(pa.array((row >= 0) & (row < rows)))
            claims = self._claims(start, batch, threshold, faults)
            if wanted is not None:
                place = np.searchsorted(wanted, claims.dropped)
                claims = claims.take(wanted[np.minimum(place, len(wanted) - 1)] == claims.dropped)
            parts.append(claims)
        return Claims.of(parts), faults

    def _claims(
        self, start: int, batch: pa.RecordBatch, threshold: float, faults: Faults
    ) -> Claims:
        position = start + numbers(batch.column(0))
        keep = self.keep[position]
        reason = _codes(batch.column(1), pa.array(REASONS))
        duplicate = (reason == EXACT) | (reason == NEAR)
        shard = _codes(batch.column(2), self._paths)
        row = numbers(batch.column(3).fill_null(-1))
        named = (shard >= 0) & (row >= 0) & (row < np.diff(self._starts)[shard])
        witness = np.where(named, self._starts[shard] + row, 0)
        jaccard = numbers(batch.column(4).cast(pa.float64()).fill_null(np.nan))

        odd = np.where(keep, duplicate | (valid_bytes(batch.column(3)) == 1), ~duplicate)
        faults.add("reason does not fit", position[odd.astype(bool)])
        faults.add("no witness", position[~keep & ~named])
        kept = self.keep[witness]
        faults.add("witness not kept", position[~keep & named & ~kept])
        low = ~((jaccard >= threshold) & (jaccard <= 1)) | ((reason == EXACT) & (jaccard != 1))
        faults.add("stated similarity is too low", position[~keep & low])
        chosen = ~keep & named
        return Claims(position[chosen], witness[chosen], jaccard[chosen])

    def _batches(self, shard: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        file = self._files[shard]
        with _reading(file):
            opened = open_keep_list(file)
            for batch in opened.iter_batches(BATCH_ROWS, columns=list(columns), use_threads=False):
                yield batch.select(list(columns))


@contextmanager
def _reading(file: Place) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, FileNotFoundError, KeyError) as error:
        what = " ".join(str(error).split())
        raise WorkDirError(f"{file} is no keep-list: {what}: run again") from error


def _codes(column: pa.Array, values: pa.Array) -> Array:
    """Number of each text among `values`, -1 for null and others."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = pc.index_in(column.dictionary.cast(pa.string()), values).fill_null(-1)
    codes: Any = np.append(numbers(known.cast(pa.int64())), -1)
    return np.asarray(codes[numbers(column.indices.cast(pa.int64()).fill_null(len(known)))])
