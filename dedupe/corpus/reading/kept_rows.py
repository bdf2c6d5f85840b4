"""Rows that an index has kept, as a shard: a slice is a run of record batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from dedupe.corpus.shard import (
    BlockSizes,
    Decoded,
    KeptShard,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    within,
)

NUMBERS = "dedupe:row"
"""The column of the numbers of rows, which nobody reads; no column of a corpus has this name."""


def _held(shard: Shard) -> KeptShard:
    if not isinstance(shard, KeptShard):
        raise TypeError(f"{shard.path} is of no index")
    return shard


def columns(shard: Shard) -> list[str]:
    """The columns besides the text."""
    return list(_held(shard).beside)


def check(shard: Shard, projection: Projection) -> Lacking:
    """They were checked when they were added."""
    return {}


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """One slice; who makes the shard knows its batches, and cuts it. See `Reader.plan`."""
    return [Slice(shard.ordinal, 0, 0, len(_held(shard).rows))]


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """Rows of the batches before each slice."""
    return [sum(_held(shard).rows[: part.first]) for part in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and bytes of all columns."""
    return sum(_held(shard).rows), shard.size


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Deliver batches as they were kept: texts, and the columns beside them. See `Reader.read`."""
    held = _held(shard)
    start, numbers, takes = 0, [], []
    for number in range(part.first, part.last):
        take = within(rows, start, held.rows[number])
        if take is None or len(take):
            numbers.append(number)
            takes.append(take)
        start += held.rows[number]
    texts = len(projection.fields)
    for batch, take in zip(held.read(numbers), takes, strict=True):
        named = dict(zip(held.beside, batch.columns[1 + texts :], strict=True))
        beside = pa.RecordBatch.from_pydict({NUMBERS: batch.column(0), **named})
        yield Decoded(beside, take, documents=tuple(batch.columns[1 : 1 + texts]))
