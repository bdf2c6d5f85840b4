"""The bytes of a shard, wherever they lie: the one door between local files and remote ones.

A local file is opened by its path or mapped; of a remote one the ranges that are read are fetched.
Everybody else asks `shard_file` for the file of a path, and then knows no difference.
"""

from __future__ import annotations

import io
import lzma
import os
import stat
from contextlib import closing
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

import pyarrow as pa

from dedupe.corpus.failures import reading
from dedupe.errors import readable_size
from dedupe.remote import is_uri, objects
from dedupe.remote.ranged import (
    RangeFile,
    arrow_blocks,
    arrow_file,
    footer_length,
    record_batches,
)

BUFFER_BYTES = 1 << 20
"""Bytes that Python buffers of a remote file, which reads ahead by itself."""

FOOTER_END = 10
"""Bytes of an Arrow IPC file after its footer: the length of the footer, and the mark."""


class ArrowHeaders(NamedTuple):
    """The record batches of an Arrow IPC file: bytes of each one's body, and its header."""

    bodies: list[int]
    headers: list[bytes]


class ShardFile(Protocol):
    """A file of a corpus. All that is read of it raises OSError or ArrowException."""

    is_fetched: bool
    """Whether each read is a request, so that few large ones are better than many small ones."""

    def state(self) -> tuple[int | None, str]:
        """Size in bytes and version as they are now; see `Shard`."""

    def beginning(self, size: int) -> bytes:
        """The first `size` bytes, or all where there are fewer."""

    def for_ranges(self) -> str | RangeFile:
        """What pyarrow opens to read here and there: a path, or a file of Python."""

    def for_seeking(self) -> BinaryIO:
        """The same as a file of Python, wherever it is."""

    def for_arrow_file(self) -> pa.NativeFile:
        """An Arrow IPC file: as a map, or fetching each record batch with one GET."""

    def for_arrow_stream(self) -> pa.NativeFile:
        """An Arrow IPC stream: as a map, or fetched from front to back."""

    def for_bytes(self) -> BinaryIO:
        """A file to read from front to back, or from some place on."""

    def for_codec(self) -> pa.NativeFile:
        """The same, as a decompressor of pyarrow reads it."""

    def arrow_headers(self) -> ArrowHeaders:
        """The record batches that the footer of an Arrow IPC file lists."""


class LocalFile:
    """A file on a local disk; see `ShardFile`."""

    is_fetched = False

    def __init__(self, path: str) -> None:
        self._path = path

    def state(self) -> tuple[int | None, str]:
        """Size, and nanoseconds of the last change; OSError where it is no regular file."""
        status = os.stat(self._path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        return status.st_size, str(status.st_mtime_ns)

    def beginning(self, size: int) -> bytes:
        """Read them."""
        with open(self._path, "rb") as file:
            return file.read(size)

    def for_ranges(self) -> str:
        """The path itself."""
        return self._path

    def for_seeking(self) -> BinaryIO:
        """Open it."""
        return open(self._path, "rb")

    def for_arrow_file(self) -> pa.NativeFile:
        """Map it, so that only what is looked at is read."""
        return pa.memory_map(self._path)

    def for_arrow_stream(self) -> pa.NativeFile:
        """Map it, so that only what is looked at is read."""
        return pa.memory_map(self._path)

    def for_bytes(self) -> BinaryIO:
        """Open it."""
        return open(self._path, "rb")

    def for_codec(self) -> pa.NativeFile:
        """Open it without Python in between."""
        return pa.OSFile(self._path)

    def arrow_headers(self) -> ArrowHeaders:
        """Read the footer, and each header by itself."""
        with closing(self.for_arrow_file()) as file:
            size = file.size()
            if size < FOOTER_END:
                raise pa.ArrowInvalid("not an Arrow file: it is too short")
            length = footer_length(file.read_at(FOOTER_END, size - FOOTER_END)) + FOOTER_END
            blocks = record_batches(file.read_at(length, max(size - length, 0)))
            headers = [file.read_at(head, at) for at, head, _ in blocks]
        return ArrowHeaders([body for *_, body in blocks], headers)


class RemoteFile:
    """An object that a URI names, of a known size; see `ShardFile`."""

    is_fetched = True

    def __init__(self, uri: str, size: int) -> None:
        self._uri = uri
        self._size = size

    def state(self) -> tuple[int | None, str]:
        """Size and ETag, or what its store has instead: one HEAD."""
        found = objects.info(self._uri)
        return found.size, found.version

    def beginning(self, size: int) -> bytes:
        """Fetch them: one GET."""
        return objects.read_range(self._uri, 0, size)

    def for_ranges(self) -> RangeFile:
        """A file that fetches each range that is read of it with one GET."""
        return RangeFile(self._uri, self._size)

    def for_seeking(self) -> BinaryIO:
        """A file that fetches each range that is read of it with one GET."""
        return cast(BinaryIO, self.for_ranges())

    def for_arrow_file(self) -> pa.NativeFile:
        """A file that fetches each record batch with one GET."""
        return pa.PythonFile(arrow_file(self._uri), "r")

    def for_arrow_stream(self) -> pa.NativeFile:
        """A file that is fetched ahead."""
        return pa.PythonFile(self._ahead(), "r")

    def for_bytes(self) -> BinaryIO:
        """A file that is fetched ahead, with a buffer for its lines."""
        return cast(BinaryIO, io.BufferedReader(self._ahead(), BUFFER_BYTES))

    def for_codec(self) -> pa.NativeFile:
        """The same, for pyarrow."""
        return pa.PythonFile(self.for_bytes(), "r")

    def arrow_headers(self) -> ArrowHeaders:
        """Fetch the footer, then all headers at a time."""
        blocks = arrow_blocks(self._uri)
        ranges = [(at, at + head) for at, head, _ in blocks]
        return ArrowHeaders([body for *_, body in blocks], objects.read_ranges(self._uri, ranges))

    def _ahead(self) -> RangeFile:
        return RangeFile(self._uri, self._size, ahead=True)


def shard_file(path: str, size: int) -> ShardFile:
    """The file of a shard. path: on a local disk, or a URI. size: its bytes."""
    return RemoteFile(path, size) if is_uri(path) else LocalFile(path)


def decompressed(path: str, size: int, codec: str | None, room: int) -> BinaryIO:
    """Open a file whose bytes are decompressed while they are read.

    path: on a local disk, or a URI. size: its bytes as stored. codec: a value of `shard.CODECS`;
    None for a file that is read as it is; one of 0 bytes is no more when it is decompressed. room:
    bytes of memory that the window of zstd may take. Raises CorpusError where it cannot be opened.
    """
    with reading(path):
        file = shard_file(path, size)
        if codec is None or size == 0:
            return file.for_bytes()
        if codec in _IN_PYTHON:
            return cast(BinaryIO, _Decompressed(file.for_bytes(), codec))
        if codec == "zstd":
            return cast(BinaryIO, _Zstd(file, room))
        stream: BinaryIO = pa.CompressedInputStream(file.for_codec(), codec)
        return stream


def compressed(sink: pa.NativeFile, codec: str) -> BinaryIO:
    """What compresses all that is written to it, until it is closed; the sink stays open.

    sink: a file that is written. codec: as in `decompressed`.
    """
    if codec == "xz":
        return cast(BinaryIO, lzma.LZMAFile(sink, "wb"))
    return cast(BinaryIO, pa.CompressedOutputStream(sink, codec))


_IN_PYTHON = ("gzip", "xz")
"""Codecs of other libraries: gzip of pyarrow takes 2.6 times as long, and refuses zeros behind the
data, as tapes leave them; it has no xz."""


WIDE_WINDOW = "too much memory"
"""What pyarrow says of a window above 128 MiB."""
MOST_WINDOW = 1 << 31
"""Bytes of the widest window of zstd."""


class _Zstd:
    """A file of zstd, decompressed while it is read; OSError where that fails.

    pyarrow reads windows up to 128 MiB; the library `zstandard` wider ones, as `zstd --long=31`
    makes them. file: the file. room: bytes that a window may take.
    """

    def __init__(self, file: ShardFile, room: int) -> None:
        self._file = file
        self._room = room
        self._read_any = False
        self._stream: Any = pa.CompressedInputStream(file.for_codec(), "zstd")
        self._errors: tuple[type[Exception], ...] = ()

    @property
    def closed(self) -> bool:
        """Whether the file is closed."""
        return bool(self._stream.closed)

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all; fewer at the end of the file."""
        try:
            data = bytes(self._stream.read(size))
        except self._errors as error:
            room = f"memory has room for {readable_size(self._room)}: raise --memory, or "
            wide = WIDE_WINDOW in str(error)
            raise OSError(f"{error}; {room}{WITHOUT_LONG}" if wide else str(error)) from None
        except OSError as error:
            if self._read_any or self._errors or WIDE_WINDOW not in str(error):
                raise
            self._read_wide()
            return self.read(size)
        self._read_any = True
        return data

    def _read_wide(self) -> None:
        """Begin again with the other library."""
        try:
            import zstandard
        except ImportError:
            raise OSError(
                "its zstd window is wider than 128 MiB: pip install 'dedupe-engine[zstd]', or "
                + WITHOUT_LONG
            ) from None
        self._stream.close()
        self._errors = (zstandard.ZstdError,)
        reader = zstandard.ZstdDecompressor(max_window_size=min(self._room, MOST_WINDOW))
        self._stream = reader.stream_reader(self._file.for_bytes(), read_across_frames=True)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> _Zstd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


WITHOUT_LONG = "decompress it and compress it again without --long"


class _Decompressed:
    """A file of one of those codecs, decompressed while it is read; OSError where that fails."""

    def __init__(self, raw: BinaryIO, codec: str) -> None:
        from isal import igzip, isal_zlib

        gunzip: Any = igzip.IGzipFile
        unxz: Any = lzma.LZMAFile
        errors: Any = (EOFError, lzma.LZMAError, isal_zlib.error)
        self.closed = False
        self._raw = raw
        self._stream = gunzip(fileobj=raw) if codec == "gzip" else unxz(raw)
        self._errors: tuple[type[Exception], ...] = errors

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all; fewer at the end of the file."""
        try:
            return bytes(self._stream.read(size))
        except self._errors as error:
            raise OSError(str(error) or "it is damaged") from None

    def close(self) -> None:
        """Close the file, too."""
        self.closed = True
        self._stream.close()
        self._raw.close()

    def __enter__(self) -> _Decompressed:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
