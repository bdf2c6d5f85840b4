"""Plain text of a row per line: each line that is not blank, without its line break.

A slice of a plain file is a byte range, a compressed one is read whole, as JSON lines are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dedupe.arrays import from_bytes
from dedupe.corpus.failures import reading
from dedupe.corpus.reading.batches import check_schema
from dedupe.corpus.reading.lines import (
    LineBlock,
    blocks,
    estimate_lines,
    first_rows,
    marks_of,
    plan_lines,
)
from dedupe.corpus.shard import (
    BOM,
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    within,
)
from dedupe.errors import CorpusError

__all__ = ["check", "columns", "estimate", "first_rows", "plan", "read"]

UTF16 = b"\xff\xfe"
"""What text of that encoding begins with, in one order or the other."""

SCHEMA = pa.schema([("text", pa.large_string())])
"""What rows of plain text have."""


def columns(shard: Shard) -> list[str]:
    """Name the one column."""
    return list(SCHEMA.names)


def check(shard: Shard, projection: Projection) -> Lacking:
    """Check names against the one column, and that the text is not UTF-16."""
    if shard.compression is None:
        with reading(shard.path):
            mark = shard.file.beginning(len(UTF16))
        if mark in (UTF16, UTF16[::-1]):  # `mistaken` says more
            raise CorpusError("is not UTF-8", path=shard.path)
    return check_schema(shard, SCHEMA, projection)


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Slices are byte ranges of equal length. See `Reader.plan`."""
    return plan_lines(shard, target_bytes, max_rows)


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """By the mean length of the first lines."""
    return estimate_lines(shard)


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Deliver the lines block by block. See `Reader.read`."""
    start = 0
    for block in blocks(shard, part, sizes):
        taken = within(rows, start, len(block))
        if taken is None or len(taken):
            yield Decoded(pa.RecordBatch.from_arrays([_texts(block)], schema=SCHEMA), taken)
        start += len(block)


def _texts(block: LineBlock) -> pa.Array:
    """The text of each row."""
    data = np.frombuffer(block.data, np.uint8)
    marks = marks_of(data, block.starts)
    starts, ends = block.starts.copy(), block.ends.copy()
    starts[np.searchsorted(starts, marks)] += len(BOM)
    ends -= data[ends - 1] == ord("\r")
    edges = np.zeros(len(data) + 1, np.int8)
    edges[starts] = 1
    edges[ends] -= 1
    held = data[np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(held)]
    wide = pa.Array.from_buffers(pa.large_binary(), len(starts), buffers)
    return from_bytes(wide, pa.large_string())
