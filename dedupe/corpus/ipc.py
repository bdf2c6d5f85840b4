"""Arrow IPC shards, files and streams: a slice is a run of record batches.

Files are memory mapped, and only the named columns are touched. Of a remote file its end is
fetched, the header of each record batch to plan, and each batch that is read whole, with one GET
each; a remote stream is read from front to back, once to plan and once for each time it is read.
Offsets and indices are checked before anything follows them, since a damaged file would otherwise
crash the process.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

import pyarrow as pa

from dedupe.arrays import validate
from dedupe.corpus.opening import for_arrow
from dedupe.corpus.shard import (
    Decoded,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    group,
    reading,
    whole,
    within,
)
from dedupe.corpus.texts import check_schema
from dedupe.errors import CorpusError
from dedupe.remote import objects
from dedupe.remote.ranged import arrow_blocks, flat_field, footer_length, record_batches

_BROKEN = "not a readable Arrow file"
_MARK = b"\xff" * 4
"""What a message begins with, before its length; not so in files from before Arrow 0.15."""
_CODECS = ("lz4", "zstd")
_FILE_HEADER = 8
"""Bytes of magic and padding before the stream that an IPC file contains."""


class _Batches(NamedTuple):
    """Rows and bytes of each record batch, and the codec of their buffers."""

    rows: list[int]
    sizes: list[int]
    codec: str | None


@lru_cache(maxsize=64)
def _schema(shard: Shard) -> pa.Schema:
    with reading(shard, _BROKEN):
        if shard.size == 0:
            raise CorpusError("is empty, 0 bytes: not an Arrow file", path=shard.path)
        with closing(for_arrow(shard)) as file:
            if shard.format == "arrow":
                return pa.ipc.open_file(file).schema
            return pa.ipc.open_stream(file).schema


@lru_cache(maxsize=64)
def _batches(shard: Shard) -> _Batches:
    """Walk the messages without decoding them."""
    _schema(shard)
    found = _Batches([], [], None)
    if shard.is_remote and shard.format == "arrow":
        return _remote_batches(shard)
    with reading(shard, _BROKEN), closing(for_arrow(shard)) as file:
        if shard.format == "arrow":
            if file.read_at(4, _FILE_HEADER) != _MARK:  # Polars writes no length of the schema
                return _listed_batches(file)
            file.seek(_FILE_HEADER)
        for message in pa.ipc.MessageReader.open_stream(file):
            if message.type == "record batch":
                rows, codec_ = _message_header(message.metadata)
                found.rows.append(rows)
                found.sizes.append(message.body.size)
                found = found._replace(codec=found.codec or codec_)
    return found


def _remote_batches(shard: Shard) -> _Batches:
    """The same, from the footer and the header of each record batch."""
    with reading(shard, _BROKEN):
        blocks = arrow_blocks(shard.path)
        headers = objects.read_ranges(shard.path, [(at, at + size) for at, size, _ in blocks])
        return _described(blocks, headers)


def _listed_batches(file: pa.NativeFile) -> _Batches:
    """The same of a local file, whose messages cannot be walked from its beginning."""
    size = file.size()
    length = footer_length(file.read_at(10, size - 10)) + 10
    blocks = record_batches(file.read_at(length, size - length))
    return _described(blocks, [file.read_at(head, at) for at, head, _ in blocks])


def _described(blocks: Sequence[tuple[int, int, int]], headers: Sequence[bytes]) -> _Batches:
    found = [_message_header(data[8 if data[:4] == _MARK else 4 :]) for data in headers]
    rows = [count for count, _ in found]
    codecs = [codec_ for _, codec_ in found if codec_]
    return _Batches(rows, [body for *_, body in blocks], codecs[0] if codecs else None)


def _message_header(metadata: pa.Buffer | bytes) -> tuple[int, str | None]:
    """Row count of a record batch message, and what it is compressed with.

    The message is a flatbuffer (Arrow columnar format, Message.fbs): the header is field 2 of
    Message; length and compression are fields 0 and 3 of RecordBatch, the codec is field 0 of
    BodyCompression.
    """
    data = memoryview(metadata)

    try:
        header = flat_field(data, int(struct.unpack_from("<I", data, 0)[0]), 2)
        header += struct.unpack_from("<I", data, header)[0]
        length = flat_field(data, header, 0)
        rows = int(struct.unpack_from("<q", data, length)[0]) if length else 0
        packed = flat_field(data, header, 3)
        if not packed:
            return rows, None
        at = flat_field(data, packed + struct.unpack_from("<I", data, packed)[0], 0)
        return rows, _CODECS[data[at] if at else 0]
    except (struct.error, IndexError):
        raise pa.ArrowInvalid("a record batch's header is damaged") from None


def columns(shard: Shard) -> list[str]:
    """Read them off the schema."""
    names: list[str] = _schema(shard).names
    return names


def check(shard: Shard, wanted: Projection) -> None:
    """Check names and types against the schema."""
    check_schema(shard, _schema(shard), wanted)


def codec(shard: Shard) -> str | None:
    """What the buffers are compressed with."""
    return _batches(shard).codec


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Record batches by their size; a stream that cannot be skipped in is one slice."""
    batches = _batches(shard)
    if shard.format == "arrow-stream" and (batches.codec or shard.is_remote):
        return whole(shard)
    return group(shard, batches.sizes, batches.rows, target_bytes, max_rows)


def first_row(shard: Shard, part: Slice) -> int:
    """Rows of the record batches before."""
    return sum(_batches(shard).rows[: part.first])


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and bytes of all columns."""
    batches = _batches(shard)
    return sum(batches.rows), sum(batches.sizes)


def read(
    shard: Shard, part: Slice, wanted: Projection, batch_bytes: int, rows: RowNumbers | None
) -> Iterator[Decoded]:
    """Deliver record batches where they lie."""
    counts, _, packed = _batches(shard)
    last = len(counts) if part.last < 0 else part.last
    schema = _schema(shard)
    names = wanted.present(schema.names)
    fields = [schema.get_field_index(name) for name in names]
    if shard.format == "arrow" and not packed:
        fields = []  # all, which does not copy them; the file reader copies what it selects
    options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
    with reading(shard, _BROKEN):
        file = for_arrow(shard)
        if shard.format == "arrow":
            reader = pa.ipc.open_file(file, options=options)
            stream = None
            if reader.num_record_batches != len(counts):
                raise CorpusError(
                    f"{reader.num_record_batches} record batches in its footer, {len(counts)} in "
                    "the file: it is damaged",
                    path=shard.path,
                )
        else:
            stream = pa.ipc.open_stream(file, options=options)
            for _ in range(part.first):
                stream.read_next_batch()
    base = sum(counts[: part.first])
    start = 0
    for number in range(part.first, last):
        take = within(rows, start, counts[number])
        is_read = take is None or len(take)
        with reading(shard, f"record batch {number} cannot be decoded", base + start):
            if stream is not None:
                batch = stream.read_next_batch()
            elif is_read:
                batch = reader.get_batch(number)
            if is_read:
                batch = batch.select(names)
                _validate(batch, counts[number])
        if is_read:
            yield Decoded(batch, take)
        start += counts[number]


def _validate(batch: pa.RecordBatch, rows: int) -> None:
    """Raise ArrowInvalid where offsets or indices point outside of the batch."""
    if batch.num_rows != rows:
        raise pa.ArrowInvalid(f"{batch.num_rows} rows where {rows} were announced")
    for array in batch.columns:
        validate(array)
