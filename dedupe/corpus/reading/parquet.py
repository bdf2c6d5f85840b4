"""Parquet shards: a slice is a run of row groups.

Of a remote one its end is fetched once (again for a footer of more than 64 KiB), and of each row
group the chunks of the named columns: one GET for those that lie beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.corpus.failures import reading
from dedupe.corpus.reading.batches import check_schema, wanted
from dedupe.corpus.shard import (
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    grouped,
    within,
)
from dedupe.errors import CorpusError

DECODE_BYTES = 1 << 20
"""Text decoded at a time: 1.4 GB/s against 0.2 GB/s for batches of 57 MB (pyarrow 26)."""
DECODE_ROWS = 1024
"""Rows decoded at a time: a dictionary page hides how long they are once decoded."""

_BROKEN = "not a readable Parquet file"


@lru_cache(maxsize=64)
def metadata(shard: Shard) -> pq.FileMetaData:
    """Read the footer."""
    with reading(shard.path, _BROKEN):
        if shard.size == 0:
            raise CorpusError("is empty, 0 bytes: not a Parquet file", path=shard.path)
        return pq.read_metadata(shard.file.for_ranges())


@lru_cache(maxsize=64)
def _schema(shard: Shard) -> pa.Schema:
    footer = metadata(shard)
    with reading(shard.path, _BROKEN):
        return footer.schema.to_arrow_schema()


def columns(shard: Shard) -> list[str]:
    """Read them off the schema."""
    names: list[str] = _schema(shard).names
    return names


def check(shard: Shard, projection: Projection) -> Lacking:
    """Check names and types against the file's schema."""
    return check_schema(shard, _schema(shard), projection)


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Slices are row groups, by the size of their text before compression. See `Reader.plan`."""
    sizes, rows = _groups(shard, tuple(columns))
    return grouped(shard, sizes, rows, target_bytes, max_rows)


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """Add up the row groups before."""
    starts = list(accumulate(_groups(shard, ())[1], initial=0))
    return [starts[part.first] for part in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and bytes of the columns (or of all) before compression."""
    sizes, rows = _groups(shard, tuple(columns))
    return sum(rows), sum(sizes)


@lru_cache(maxsize=64)
def _groups(shard: Shard, columns: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Bytes and rows of each row group."""
    footer = metadata(shard)
    sizes, rows = [], []
    below = tuple(f"{name}." for name in columns)
    with reading(shard.path, _BROKEN):
        paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
        leaves = [
            i
            for i, path in enumerate(paths)
            if not columns or path in columns or path.startswith(below)
        ]
        for i in range(footer.num_row_groups):
            part = footer.row_group(i)
            rows.append(part.num_rows)
            sizes.append(sum(part.column(leaf).total_uncompressed_size for leaf in leaves))
    return sizes, rows


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Decode row group by row group, a small batch at a time. See `Reader.read`."""
    names, unfit = wanted(_schema(shard), projection)
    bytes_of, counts = _groups(shard, (*projection.text_columns, *projection.others))
    base = sum(counts[: part.first])
    start = 0
    source = shard.file
    with reading(shard.path, _BROKEN):
        file = pq.ParquetFile(
            source.for_ranges(),
            metadata=metadata(shard),
            pre_buffer=source.is_fetched,
            page_checksum_verification=True,
        )
    with file:
        for number in range(part.first, part.last):
            count = counts[number]
            chosen = within(rows, start, count)
            if chosen is None or len(chosen):
                mean = max(bytes_of[number] // max(count, 1), 1)
                step = max(1, min(DECODE_ROWS, min(batch_bytes, DECODE_BYTES) // mean))
                broken = f"row group {number} cannot be decoded"
                with reading(shard.path, broken, base + start):
                    for batch, take in _row_group(shard, file, number, names, step, count, chosen):
                        yield Decoded(batch, take, unfit=unfit)
            start += count


def _row_group(
    shard: Shard,
    file: pq.ParquetFile,
    number: int,
    names: Sequence[str],
    step: int,
    count: int,
    rows: RowNumbers | None,
) -> Iterator[tuple[pa.RecordBatch, RowNumbers | None]]:
    """The wanted ones of the `count` rows of a row group, of which `step` are decoded at a time."""
    done = 0
    last = count if rows is None else int(rows[-1]) + 1
    for batch in file.iter_batches(
        step, row_groups=[number], columns=list(names), use_threads=False
    ):
        take = within(rows, done, batch.num_rows)
        if take is None or len(take):
            yield batch, take
        done += batch.num_rows
        if done >= last:
            break
    if done < last:
        raise CorpusError(
            f"row group {number} has {done} of its {count} rows: the file is damaged",
            path=shard.path,
        )
