"""Reading slices: one of them, or chosen rows of several that are numbered through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dedupe.corpus.formats import format_of
from dedupe.corpus.mistaken import told_what_it_is
from dedupe.corpus.shard import BLOCK_SIZES, BlockSizes, Projection, RowNumbers, Shard, Slice
from dedupe.errors import IntegrityError

if TYPE_CHECKING:
    import pyarrow as pa

ChosenRows: TypeAlias = "RowNumbers | range"
"""Row numbers: an ascending int64 array, or a range of step 1."""


def read_slice(
    shard: Shard,
    part: Slice,
    projection: Projection,
    *,
    batch_bytes: int,
    rows: RowNumbers | None = None,
    sizes: BlockSizes = BLOCK_SIZES,
) -> Iterator[pa.RecordBatch]:
    """Read what is wanted of a slice's rows, in order.

    shard, part: the file, and the slice of it. projection: what is read. batch_bytes: about the
    bytes of text in a batch, and at most that where no row is longer. rows: int64 numbers of the
    only rows to read, ascending and counted from the first of the slice; None for all. sizes: bytes
    of the blocks in which lines are parsed.

    The first column of a batch is `schema.DOCUMENT`: large_string, whose bytes are those in the
    file. Then come the columns of the projection in order, of the types that they have there.
    Raises CorpusError for what cannot be read.
    """
    from dedupe.corpus.reading.batches import regulate  # with pyarrow.compute: not to find shards

    if rows is not None and len(rows) == 0:
        return
    first = partial(_first_row, shard, part) if rows is None else None
    with told_what_it_is(shard):
        decoded = format_of(shard).reader.read(shard, part, projection, batch_bytes, rows, sizes)
        yield from regulate(shard, decoded, projection, batch_bytes, first)


def _first_row(shard: Shard, part: Slice) -> int:
    (row,) = format_of(shard).reader.first_rows(shard, [part])
    return row


@dataclass(frozen=True)
class SliceReader:
    """Reads rows of several slices, which are numbered through in the order of the slices.

    shards: those of the corpus, by their ordinals. slices: some slices of them. starts: int64 with
    the number of the first row of each slice, ascending, and the end of the last; the first may be
    any number, such as a position in the corpus. projections: what is read of each shard.
    batch_bytes: about the bytes of text in a batch. sizes: see `read_slice`.
    """

    shards: Sequence[Shard]
    slices: Sequence[Slice]
    starts: RowNumbers
    projections: Sequence[Projection]
    batch_bytes: int
    sizes: BlockSizes = BLOCK_SIZES

    def read(self, rows: ChosenRows | None = None) -> Iterator[tuple[RowNumbers, pa.RecordBatch]]:
        """(numbers of the rows, the rows) some at a time, in order; no batch has two slices' rows.

        rows: the rows to read, none of them twice; None for all. Slices that have none of them are
        not opened. Raises IndexError for a number that is in no slice, IntegrityError where a slice
        has other rows than `starts` says, and CorpusError where that is because its file has
        changed, and for what cannot be read.
        """
        if rows is None:
            rows = range(int(self.starts[0]), int(self.starts[-1]))
        if not len(rows):
            return
        if rows[0] < self.starts[0] or rows[-1] >= self.starts[-1]:
            there = f"{self.starts[0]} to {self.starts[-1] - 1}"
            raise IndexError(f"rows {rows[0]} to {rows[-1]} of slices that have {there}")
        first = int(np.searchsorted(self.starts, rows[0], "right")) - 1
        last = int(np.searchsorted(self.starts, rows[-1], "right"))
        for number in range(first, last):
            yield from self._read(number, self._within(number, rows))

    def read_slice(self, number: int) -> Iterator[tuple[RowNumbers, pa.RecordBatch]]:
        """All rows of the slice of a number, as `read` gives them."""
        return self.read(range(int(self.starts[number]), int(self.starts[number + 1])))

    def _within(self, number: int, rows: ChosenRows) -> ChosenRows:
        """Those of the rows that are in a slice."""
        start, end = self.starts[number : number + 2].tolist()
        if isinstance(rows, range):
            return range(max(rows.start, start), min(rows.stop, end))
        low, high = np.searchsorted(rows, [start, end])
        return rows[low:high]

    def _read(self, number: int, rows: ChosenRows) -> Iterator[tuple[RowNumbers, pa.RecordBatch]]:
        if not len(rows):
            return
        part = self.slices[number]
        start, end = self.starts[number : number + 2].tolist()
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, range) else rows
        done = 0
        for batch in read_slice(
            self.shards[part.shard],
            part,
            self.projections[part.shard],
            batch_bytes=self.batch_bytes,
            rows=None if len(rows) == end - start else numbers - start,
            sizes=self.sizes,
        ):
            if done + batch.num_rows > len(numbers):
                raise self._other_rows(part, len(numbers))
            yield numbers[done : done + batch.num_rows], batch
            done += batch.num_rows
        if done < len(numbers):
            raise self._other_rows(part, len(numbers))

    def _other_rows(self, part: Slice, wanted: int) -> Exception:
        """Make the error for a slice that has not the rows that it had when it was counted."""
        shard = self.shards[part.shard]
        shard.check_unchanged()
        return IntegrityError(f"{shard.path}, slice {part.index}, has not the {wanted} rows wanted")
