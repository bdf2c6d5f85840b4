"""What Arrow IPC files and streams have in common: record batches, which are slices of a shard.

Offsets and indices are checked before anything follows them, since a damaged file would otherwise
crash the process.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa

from dedupe.arrays import validate
from dedupe.corpus.failures import reading, too_much_text
from dedupe.corpus.opening import ArrowHeaders
from dedupe.corpus.shard import Decoded, RowNumbers, Shard, Slice, within
from dedupe.remote.ranged import flat_field

MARK = b"\xff" * 4
"""What a message begins with, before its length; not so in files from before Arrow 0.15."""

_PREFIX = 8
"""Bytes before each compressed buffer, which say its size."""
_CODECS = ("lz4", "zstd")


class Batches(NamedTuple):
    """Rows and bytes of each record batch, and the codec of their buffers.

    Bytes are those that a batch has when it is decoded, but for compressed ones of remote files,
    whose bodies are not fetched to know.
    """

    rows: list[int]
    sizes: list[int]
    codec: str | None


def walked(stream: pa.NativeFile) -> Batches:
    """The record batches of a stream, whose messages are walked without decoding them."""
    rows, sizes, codec = [], [], None
    for message in pa.ipc.MessageReader.open_stream(stream):
        if message.type == "record batch":
            count, packed, buffers = _message_header(message.metadata)
            rows.append(count)
            sizes.append(_decoded_size(message.body, buffers) if packed else message.body.size)
            codec = codec or packed
    return Batches(rows, sizes, codec)


def listed(found: ArrowHeaders) -> Batches:
    """The record batches that a footer lists."""
    headers = [_message_header(data[8 if data[:4] == MARK else 4 :]) for data in found.headers]
    codecs = [codec for _, codec, _ in headers if codec]
    return Batches([rows for rows, *_ in headers], found.bodies, codecs[0] if codecs else None)


def _decoded_size(body: pa.Buffer, buffers: Sequence[tuple[int, int]]) -> int:
    """Bytes of the buffers of a compressed record batch when they are decompressed.

    body: of its message. buffers: where each begins in it, and its bytes. Each begins with its
    decompressed size, or -1 where it is not compressed.
    """
    data = memoryview(body)
    total = 0
    for at, length in buffers:
        if length >= _PREFIX and 0 <= at <= len(data) - _PREFIX:
            (size,) = struct.unpack_from("<q", data, at)
            total += size if size >= 0 else length - _PREFIX
    return total


def _message_header(
    metadata: pa.Buffer | bytes,
) -> tuple[int, str | None, list[tuple[int, int]]]:
    """Rows of a record batch message, what it is compressed with, and its buffers if it is.

    Of each buffer there is where it begins in the body, and its bytes.

    The message is a flatbuffer (Arrow columnar format, Message.fbs): the header is field 2 of
    Message; length, buffers and compression are fields 0, 2 and 3 of RecordBatch, the codec is
    field 0 of BodyCompression, and a buffer is two int64.
    """
    data = memoryview(metadata)

    try:
        header = flat_field(data, int(struct.unpack_from("<I", data, 0)[0]), 2)
        header += struct.unpack_from("<I", data, header)[0]
        length = flat_field(data, header, 0)
        rows = int(struct.unpack_from("<q", data, length)[0]) if length else 0
        packed = flat_field(data, header, 3)
        if not packed:
            return rows, None, []
        at = flat_field(data, packed + struct.unpack_from("<I", data, packed)[0], 0)
        codec = _CODECS[data[at] if at else 0]
        buffers = flat_field(data, header, 2)
        if not buffers:
            return rows, codec, []
        buffers += struct.unpack_from("<I", data, buffers)[0]
        count = int(struct.unpack_from("<I", data, buffers)[0])
        ends = buffers + 4, buffers + 4 + 16 * count
        return rows, codec, list(struct.iter_unpack("<qq", data[slice(*ends)]))
    except (struct.error, IndexError):
        raise pa.ArrowInvalid("a record batch's header is damaged") from None


def counted(shard: Shard, batches: Batches) -> tuple[int, int]:
    """Rows of a shard, and bytes of all its columns; CorpusError where these are too many."""
    size = sum(batches.sizes)
    if size > shard.most_text:
        raise too_much_text(shard, size)
    return sum(batches.rows), size


def delivered(
    shard: Shard,
    part: Slice,
    names: Sequence[str],
    unfit: frozenset[str],
    counts: Sequence[int],
    rows: RowNumbers | None,
    batch_of: Callable[[int], pa.RecordBatch],
) -> Iterator[Decoded]:
    """The record batches of a slice that have wanted rows, where they lie.

    shard, part: the file, and the slice of it. names: the columns. unfit: see `Decoded`. counts:
    rows of each record batch of the file. rows: as in `Reader.read`. batch_of: gives the record
    batch of a number; it is asked for numbers that ascend. Raises CorpusError for one that cannot
    be decoded.
    """
    last = len(counts) if part.last < 0 else part.last
    base = sum(counts[: part.first])
    start = 0
    for number in range(part.first, last):
        take = within(rows, start, counts[number])
        if take is None or len(take):
            broken = f"record batch {number} cannot be decoded"
            with reading(shard.path, broken, base + start):
                batch = batch_of(number).select(names)
                _validate(batch, counts[number])
            yield Decoded(batch, take, unfit=unfit)
        start += counts[number]


def _validate(batch: pa.RecordBatch, rows: int) -> None:
    """Raise ArrowInvalid where offsets or indices point outside of the batch."""
    if batch.num_rows != rows:
        raise pa.ArrowInvalid(f"{batch.num_rows} rows where {rows} were announced")
    for array in batch.columns:
        validate(array)
