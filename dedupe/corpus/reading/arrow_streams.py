"""Arrow IPC streams: a slice is a run of record batches, or all where none can be skipped.

Local streams are memory mapped, and only the named columns are touched. A remote one is read from
front to back, once to plan and once for each time it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import accumulate

import pyarrow as pa

from dedupe.corpus.failures import reading
from dedupe.corpus.reading.batches import check_schema, wanted, with_readable_names
from dedupe.corpus.reading.ipc import Batches, counted, delivered, walked
from dedupe.corpus.shard import (
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    grouped,
    whole,
)
from dedupe.errors import CorpusError

BROKEN = "not a readable Arrow file"


class _Forward:
    """Gives record batches by their number, each but once and from front to back."""

    def __init__(self, stream: pa.RecordBatchReader) -> None:
        self._stream = stream
        self._next = 0

    def batch(self, number: int) -> pa.RecordBatch:
        """Skip to a record batch that was not passed yet."""
        while True:
            batch = self._stream.read_next_batch()
            self._next += 1
            if self._next > number:
                return batch


@lru_cache(maxsize=64)
def _schema(shard: Shard) -> pa.Schema:
    with reading(shard.path, BROKEN):
        if shard.size == 0:
            raise CorpusError("is empty, 0 bytes: not an Arrow file", path=shard.path)
        with closing(shard.file.for_arrow_stream()) as file:
            return with_readable_names(shard, pa.ipc.open_stream(file).schema)


@lru_cache(maxsize=64)
def _batches(shard: Shard) -> Batches:
    _schema(shard)
    with reading(shard.path, BROKEN), closing(shard.file.for_arrow_stream()) as file:
        return walked(file)


def columns(shard: Shard) -> list[str]:
    """Read them off the schema."""
    names: list[str] = _schema(shard).names
    return names


def check(shard: Shard, projection: Projection) -> Lacking:
    """Check names and types against the schema."""
    return check_schema(shard, _schema(shard), projection)


def codec(shard: Shard) -> str | None:
    """What the buffers are compressed with."""
    return _batches(shard).codec


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Slices are record batches, by the size of all their columns. See `Reader.plan`.

    To skip a compressed one it would have to be decompressed, and a remote one fetched: then there
    is one slice.
    """
    batches = _batches(shard)
    if batches.codec or shard.file.is_fetched:
        return whole(shard)
    return grouped(shard, batches.sizes, batches.rows, target_bytes, max_rows)


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """Add up the record batches before."""
    starts = list(accumulate(_batches(shard).rows, initial=0))
    return [starts[part.first] for part in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and bytes of all columns."""
    return counted(shard, _batches(shard))


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Deliver record batches where they lie. See `Reader.read`."""
    schema = _schema(shard)
    names, unfit = wanted(schema, projection)
    chosen = [schema.get_field_index(name) for name in names]
    options = pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False)
    with reading(shard.path, BROKEN):
        stream = pa.ipc.open_stream(shard.file.for_arrow_stream(), options=options)
    yield from delivered(
        shard, part, names, unfit, _batches(shard).rows, rows, _Forward(stream).batch
    )
