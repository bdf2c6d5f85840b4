"""Plain text of a row per file: all that is in it, but for a byte order mark at its beginning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from dedupe.arrays import from_bytes
from dedupe.corpus.failures import reading, too_long
from dedupe.corpus.reading.lines import GUESSED_RATIO
from dedupe.corpus.reading.text_lines import SCHEMA, check, columns
from dedupe.corpus.shard import (
    BOM,
    BlockSizes,
    Decoded,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    whole,
)

__all__ = ["check", "columns", "estimate", "first_rows", "plan", "read"]

_PIECE = 1 << 20
"""Bytes that are read at a time, so that what a file does not have costs nothing."""


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Make one slice of it. See `Reader.plan`."""
    return whole(shard)


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """There is nothing before the only row."""
    return [0 for _ in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """One row, and about its bytes."""
    return 1, shard.size * (GUESSED_RATIO if shard.compression else 1)


def content(shard: Shard) -> bytes:
    """All bytes of a file, decompressed. Raises CorpusError for more than a row may have."""
    longest = shard.limits.row
    size = 0
    parts = []
    with shard.open_bytes() as stream, reading(shard.path):
        while data := stream.read(min(_PIECE, longest + 1 - size)):
            size += len(data)
            if size > longest:
                is_known = shard.compression is None
                raise too_long(shard, 0, shard.size if is_known else size, more=not is_known)
            parts.append(data)
    return b"".join(parts)


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Deliver the only row. See `Reader.read`."""
    wide = pa.array([content(shard).removeprefix(BOM)], pa.large_binary())
    text = from_bytes(wide, pa.large_string())
    yield Decoded(pa.RecordBatch.from_arrays([text], schema=SCHEMA))
