"""Parquet shards: a slice is a run of row groups.

Of a remote one its end is fetched once (again for a footer of more than 64 KiB), and of each row
group the chunks of the named columns: one GET for those that lie beside each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.arrays import Array, is_text, text_lengths
from dedupe.corpus.failures import WIDE_INTEGERS, reading, too_much_text
from dedupe.corpus.reading.batches import check_schema, wanted, with_readable_names
from dedupe.corpus.rewriting.parquet_schema import StoredSchema, footer_of
from dedupe.corpus.shard import (
    MUCH_TEXT,
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
from dedupe.corpus.thrift import I64, LIST, STRUCT, Items, Reader, Struct
from dedupe.errors import CorpusError, readable_size

DECODE_BYTES = 1 << 20
"""Text decoded at a time: 1.4 GB/s against 0.2 GB/s for batches of 57 MB (pyarrow 26)."""
DECODE_ROWS = 1024
"""Rows decoded at a time, at most."""
HIDDEN = 8
"""How many times as much as is meant may be decoded of values that a dictionary hides."""
UNSEEN = 8
"""How many times as much again of a remote file, whose dictionaries are not looked at."""
REFERENCE, PAGES = 8, 1 << 12
"""Bytes of a reference to a dictionary, with its levels, and of the pages around all of them: a
column chunk of more has other values besides."""

PAGE_HEADER = 1 << 16
"""Bytes in which the header of a page, with its statistics, has room."""
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of PageHeader

_ROW_GROUPS, _CHUNKS = 4, 1  # fields of FileMetaData, RowGroup, ColumnChunk and ColumnMetaData
_CHUNK_METADATA, _CRYPTO, _SIZE_STATISTICS = 3, 8, 16
_NO_ITEMS = Items(STRUCT, [])

_BROKEN = "not a readable Parquet file"


@lru_cache(maxsize=64)
def metadata(shard: Shard) -> pq.FileMetaData:
    """Read the footer."""
    with reading(shard.path, _BROKEN):
        if shard.size == 0:
            raise CorpusError("is empty, 0 bytes: not a Parquet file", path=shard.path)
        with shard.file.for_seeking() as file:
            try:
                footer = _believed(file, shard.size)
                stored = footer_of(file, shard.size)
                _check_chunks(Reader(stored).struct(), footer)
            except (ValueError, KeyError) as error:
                if isinstance(error, pa.ArrowException | UnicodeDecodeError):
                    raise
                raise CorpusError(f"{_BROKEN}: {error}", path=shard.path) from None
    return footer


def _believed(file: BinaryIO, size: int) -> pq.FileMetaData:
    """The footer of a file of so many bytes.

    One whose Arrow types pyarrow does not know, such as the 128-bit integers of Polars, is taken
    without them: those columns are then what is stored of them.
    """
    try:
        return pq.read_metadata(file)
    except pa.ArrowNotImplementedError as error:
        if WIDE_INTEGERS not in str(error):
            raise
        stored = footer_of(file, size)
        return StoredSchema.of(stored).metadata(stored)


def _check_chunks(stored: Struct, footer: pq.FileMetaData) -> None:
    """Raise ValueError for what ends the process when pyarrow 26 is asked for a column chunk.

    stored: the footer. footer: the same, as pyarrow has read it, which skips fields of other types
    than they ought to have.
    """
    leaves = [footer.schema.column(i) for i in range(footer.num_columns)]
    for group in _field(stored, _ROW_GROUPS, LIST, _NO_ITEMS).values:
        chunks = _field(group, _CHUNKS, LIST, _NO_ITEMS).values
        if len(chunks) != len(leaves):
            raise ValueError(f"a row group has {len(chunks)} columns of {len(leaves)}")
        for chunk, leaf in zip(chunks, leaves, strict=True):
            if _CRYPTO in chunk:
                raise ValueError("it is encrypted")
            of_chunk = _field(chunk, _CHUNK_METADATA, STRUCT, {})
            sizes = _field(of_chunk, _SIZE_STATISTICS, STRUCT, {})
            levels = {2: leaf.max_repetition_level, 3: leaf.max_definition_level}
            counts = {at: len(_field(sizes, at, LIST, _NO_ITEMS).values) for at in levels}
            odd = any(count not in (0, levels[at] + 1) for at, count in counts.items())
            bytes_of_text = _field(sizes, 1, I64, None)
            if odd or (bytes_of_text is not None and leaf.physical_type != "BYTE_ARRAY"):
                raise ValueError("the size statistics of a column are damaged")


def _field(struct: Struct, number: int, kind: int, otherwise: Any) -> Any:
    """A field of a struct, where it has this type."""
    found, value = struct.get(number, (0, None))
    return value if found == kind else otherwise


@lru_cache(maxsize=64)
def _schema(shard: Shard) -> pa.Schema:
    footer = metadata(shard)
    with reading(shard.path, _BROKEN):
        return with_readable_names(shard, footer.schema.to_arrow_schema())


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
    if columns and sum(sizes) > shard.most_text:
        raise too_much_text(shard, sum(sizes))
    return sum(rows), sum(sizes)


def rows_at_a_time(
    shard: Shard, number: int, columns: Sequence[str], most: int, budget: int
) -> int:
    """How many rows of a row group are decoded at a time.

    shard: the file. number: of the row group. columns: those that are decoded, all for none. most:
    rows at most. budget: bytes that decoded rows have, about: as they are stored, or where a column
    refers to a dictionary, `HIDDEN` times as many if all its values were the longest.
    """
    group = metadata(shard).row_group(number)
    chunks = {leaf: group.column(leaf) for leaf in _leaves(shard, tuple(columns))}
    stored = sum(chunk.total_uncompressed_size for chunk in chunks.values())
    step: int = max(1, min(most, budget // max(stored // max(group.num_rows, 1), 1)))
    hiding = {leaf: one for leaf, one in chunks.items() if _hides_length(one, step, budget)}
    if not hiding:
        return step
    if shard.is_remote:  # to look at the dictionaries would take a GET for each
        most_hidden = sum(chunk.total_uncompressed_size for chunk in hiding.values())
        return int(max(1, min(step, UNSEEN * HIDDEN * budget // most_hidden)))
    lengths = _dictionary_lengths(shard, number, hiding)
    of_row = sum(
        (int(found.max(initial=0)) or chunk.total_uncompressed_size)
        * -(-chunk.num_values // max(group.num_rows, 1))
        for chunk, found in zip(hiding.values(), lengths, strict=True)
    )
    return int(max(1, min(step, HIDDEN * budget // max(of_row, 1))))


def check_pages(shard: Shard, groups: Iterable[int], columns: Sequence[str]) -> None:
    """Refuse pages that memory has no room for, as a page is only decoded as a whole.

    shard: the file; a remote one is not looked at, as each page would take a GET. groups: numbers
    of row groups. columns: those that are decoded, or paths of what is stored of them. Raises
    CorpusError.
    """
    if shard.is_remote:
        return
    footer = metadata(shard)
    leaves = _leaves(shard, tuple(columns))
    for number in groups:
        for leaf in leaves:
            chunk = footer.row_group(number).column(leaf)
            if chunk.total_uncompressed_size > shard.limits.part:
                largest = max(_page_sizes(shard, chunk), default=0)
                if largest > shard.limits.part:
                    size, room = map(readable_size, (largest, shard.limits.part))
                    raise CorpusError(
                        f'row group {number}, column "{_path(shard, leaf)}", has a page of '
                        f"{size}, which is decoded as a whole, and memory has room for {room}: "
                        "raise --memory",
                        path=shard.path,
                    )


def _page_sizes(shard: Shard, chunk: pq.ColumnChunkMetaData) -> Iterator[int]:
    """Bytes of each page before compression, as far as the headers can be read."""
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    end = at + chunk.total_compressed_size
    with reading(shard.path, _BROKEN), shard.file.for_bytes() as file:
        while at < end:
            file.seek(at)
            reader = Reader(file.read(PAGE_HEADER))
            try:
                header = reader.struct()
                uncompressed, compressed = header[_UNCOMPRESSED][1], header[_COMPRESSED][1]
            except (ValueError, LookupError):
                return
            yield uncompressed
            at += reader.at + max(compressed, 0)


def refers(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether a column chunk of text consists of references to its dictionary."""
    if chunk.physical_type != "BYTE_ARRAY" or not chunk.has_dictionary_page:
        return False
    dictionary = chunk.data_page_offset - (chunk.dictionary_page_offset or 0)
    return bool(chunk.total_compressed_size - dictionary <= REFERENCE * chunk.num_values + PAGES)


def _hides_length(chunk: pq.ColumnChunkMetaData, step: int, budget: int) -> bool:
    """Whether so many values of a column may be much longer than they are stored."""
    return chunk.total_uncompressed_size * step > HIDDEN * budget and refers(chunk)


def _hides_text(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether a column may have much more text than is stored of it."""
    may_have = chunk.total_uncompressed_size * chunk.num_values
    return may_have > MUCH_TEXT and refers(chunk)


def _dictionary_lengths(shard: Shard, number: int, leaves: Iterable[int]) -> list[Array]:
    """Bytes of the values in the dictionary of each of some columns of a row group.

    None are known where a column has no value in the first row.
    """
    paths = [_path(shard, leaf) for leaf in leaves]
    check_pages(shard, [number], paths)
    footer = metadata(shard)
    lengths = []
    for path in paths:
        with pq.ParquetFile(
            shard.file.for_ranges(), metadata=footer, read_dictionary=[path]
        ) as file:
            first = next(file.iter_batches(1, row_groups=[number], columns=[path]), None)
            found = [] if first is None else [*_dictionaries(first.column(0))]
        lengths.append(np.concatenate([np.zeros(0, np.int64), *map(text_lengths, found)]))
    return lengths


def _dictionaries(array: pa.Array) -> Iterator[pa.Array]:
    """The dictionaries of text in an array, at any depth."""
    if pa.types.is_dictionary(array.type):
        if is_text(array.type):
            yield array.dictionary
    elif pa.types.is_nested(array.type):
        parts = array.flatten()
        for part in parts if isinstance(parts, list) else [parts]:
            yield from _dictionaries(part)


def _path(shard: Shard, leaf: int) -> str:
    """What a stored column is called by the schema; what its chunks say of it may be damaged."""
    return str(metadata(shard).schema.column(leaf).path)


@lru_cache(maxsize=64)
def _leaves(shard: Shard, columns: tuple[str, ...]) -> list[int]:
    """Numbers of what is stored of some columns, or of all."""
    schema = metadata(shard).schema
    below = tuple(f"{name}." for name in columns)
    paths = [schema.column(i).path for i in range(len(schema.names))]
    return [
        i
        for i, path in enumerate(paths)
        if not columns or path in columns or path.startswith(below)
    ]


@lru_cache(maxsize=64)
def _groups(shard: Shard, columns: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Bytes and rows of each row group."""
    footer = metadata(shard)
    sizes, rows = [], []
    with reading(shard.path, _BROKEN):
        leaves = _leaves(shard, columns)
        for i in range(footer.num_row_groups):
            part = footer.row_group(i)
            chunks = [part.column(leaf) for leaf in leaves]
            size = sum(chunk.total_uncompressed_size for chunk in chunks)
            every = dict(zip(leaves, chunks, strict=True)) if columns else {}
            hiding = {leaf: chunk for leaf, chunk in every.items() if _hides_text(chunk)}
            if hiding and not shard.is_remote:
                lengths = _dictionary_lengths(shard, i, hiding)
                size += sum(
                    int(found.mean()) * chunk.num_values
                    for chunk, found in zip(hiding.values(), lengths, strict=True)
                    if len(found)
                )
            rows.append(part.num_rows)
            sizes.append(size)
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
    counts = _groups(shard, projection.text_columns)[1]
    base = sum(counts[: part.first])
    start = 0
    source = shard.file
    check_pages(shard, range(part.first, part.last), names)
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
                budget = min(batch_bytes, DECODE_BYTES)
                step = rows_at_a_time(shard, number, names, min(DECODE_ROWS, count), budget)
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
