"""Opening a shard: a local one by its path or as a map, a remote one by ranges of bytes."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pyarrow as pa

from dedupe.corpus.shard import Shard, reading
from dedupe.errors import CorpusError
from dedupe.remote.ranged import RangeFile, arrow_file

_BUFFER = 1 << 20
"""Bytes that Python buffers of a remote file, which reads ahead by itself."""


def for_parquet(shard: Shard) -> str | RangeFile:
    """What pyarrow opens: the path, or a file that fetches each range it reads with one GET."""
    return RangeFile(shard.path, shard.size) if shard.is_remote else shard.path


def for_arrow(shard: Shard) -> pa.NativeFile:
    """A map, or a file that fetches a record batch with one GET, or a stream ahead."""
    if not shard.is_remote:
        return pa.memory_map(shard.path)
    if shard.format == "arrow":
        return pa.PythonFile(arrow_file(shard.path), "r")
    return pa.PythonFile(RangeFile(shard.path, shard.size, ahead=True), "r")


def for_bytes(shard: Shard) -> BinaryIO:
    """A file to read from front to back, or from some place on."""
    if not shard.is_remote:
        return open(shard.path, "rb")
    raw = RangeFile(shard.path, shard.size, ahead=True)
    return cast(BinaryIO, io.BufferedReader(raw, _BUFFER))


def open_decompressed(shard: Shard) -> BinaryIO:
    """Open a file whose bytes are decompressed while they are read."""
    with reading(shard):
        if shard.compression is None:
            return for_bytes(shard)
        if shard.size == 0:
            raise CorpusError(f"is empty, 0 bytes: not {shard.compression}", path=shard.path)
        source = pa.PythonFile(for_bytes(shard), "r") if shard.is_remote else pa.OSFile(shard.path)
        stream: BinaryIO = pa.CompressedInputStream(source, shard.compression)
        return stream
