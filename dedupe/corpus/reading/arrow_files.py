"""Arrow IPC files: a slice is a run of record batches.

Local files are memory mapped, and only the named columns are touched. Of a remote file its end is
fetched, the header of each record batch to plan, and each batch that is read whole, with one GET
each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import accumulate

import pyarrow as pa

from dedupe.corpus.failures import reading
from dedupe.corpus.reading.batches import check_schema, wanted, with_readable_names
from dedupe.corpus.reading.ipc import MARK, Batches, counted, delivered, listed, walked
from dedupe.corpus.shard import (
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    grouped,
)
from dedupe.errors import CorpusError

BROKEN = "not a readable Arrow file"

_HEADER = 8
"""Bytes of magic and padding before the stream that an IPC file contains."""


@lru_cache(maxsize=64)
def _schema(shard: Shard) -> pa.Schema:
    with reading(shard.path, BROKEN), closing(shard.file.for_arrow_file()) as file:
        return with_readable_names(shard, pa.ipc.open_file(file).schema)


@lru_cache(maxsize=64)
def _batches(shard: Shard) -> Batches:
    """Walk the messages of a file that is mapped; of others ask the footer."""
    _schema(shard)
    source = shard.file
    with reading(shard.path, BROKEN):
        if not source.is_fetched:
            with closing(source.for_arrow_file()) as file:
                if file.read_at(len(MARK), _HEADER) == MARK:
                    file.seek(_HEADER)
                    return walked(file)
        return listed(source.arrow_headers())  # Polars writes no length of the schema


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
    """Slices are record batches, by the size of all their columns. See `Reader.plan`."""
    batches = _batches(shard)
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
    counts, _, packed = _batches(shard)
    schema = _schema(shard)
    names, unfit = wanted(schema, projection)
    chosen = [schema.get_field_index(name) for name in names]
    if not packed:
        chosen = []  # all, which does not copy them; the reader copies what it selects
    options = pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False)
    with reading(shard.path, BROKEN):
        reader = pa.ipc.open_file(shard.file.for_arrow_file(), options=options)
        if reader.num_record_batches != len(counts):
            raise CorpusError(
                f"{reader.num_record_batches} record batches in its footer, {len(counts)} in "
                "the file: it is damaged",
                path=shard.path,
            )
    yield from delivered(shard, part, names, unfit, counts, rows, reader.get_batch)
