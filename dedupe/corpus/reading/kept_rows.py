"""Rows that an index has kept, as a shard: all of them are one slice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
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
    """One slice: what is read of it are single rows. See `Reader.plan`."""
    return [Slice(shard.ordinal, 0, 0, _held(shard).rows)]


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """Read them off the slices."""
    return [part.first for part in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and no bytes: they are not told before they are read."""
    return _held(shard).rows, 0


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Deliver rows as they were kept: texts, and the columns beside them. See `Reader.read`."""
    held = _held(shard)
    chosen = np.arange(part.first, part.last) if rows is None else rows + part.first
    texts = len(projection.fields)
    for batch in held.read(chosen):
        named = dict(zip(held.beside, batch.columns[1 + texts :], strict=True))
        beside = pa.RecordBatch.from_pydict({NUMBERS: batch.column(0), **named})
        yield Decoded(beside, documents=tuple(batch.columns[1 : 1 + texts]))
