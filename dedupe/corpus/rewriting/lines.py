"""What copying JSON lines, CSV and plain text has in common: rows that are not parsed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.arrays import text_buffers
from dedupe.corpus.opening import compressed
from dedupe.corpus.reading.lines import blocks
from dedupe.corpus.rewriting import Taken
from dedupe.corpus.shard import BlockSizes, Shard, Slice
from dedupe.kernels.records import MOST_NEWLINE, copy_rows

Bytes: TypeAlias = "npt.NDArray[np.uint8]"


class Lines(NamedTuple):
    """Rows of a file: row i is data[starts[i]:ends[i]]; its newline, if it has one, comes next.

    See `rewriting.Rows`.
    """

    data: Bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @property
    def num_rows(self) -> int:
        """How many they are."""
        return len(self.starts)

    def slice(self, offset: int, length: int) -> Lines:
        """`length` of them, from the one with the number `offset` on; no copy."""
        stop = offset + length
        return Lines(self.data, self.starts[offset:stop], self.ends[offset:stop])

    @property
    def nbytes(self) -> int:
        """Bytes of the rows."""
        return int((self.ends - self.starts).sum())

    def take(self, indices: pa.Array) -> Lines:
        """Those with these numbers, also several times; no copy."""
        rows = indices.to_numpy()
        return Lines(self.data, self.starts[rows], self.ends[rows])


def blocks_of_lines(shard: Shard, sizes: BlockSizes) -> Iterator[Lines]:
    """All rows of a file of lines. shard: the file. sizes: bytes that are read at a time."""
    last = -1 if shard.compression else shard.size
    for block in blocks(shard, Slice(shard.ordinal, 0, 0, last), sizes):
        yield Lines(np.frombuffer(block.data, np.uint8), block.starts, block.ends)


class LineSource(ABC):
    """See `rewriting.Source`: blocks are `Lines`.

    newline: what ends a last row that has none. header: what stands before the rows, without its
    newline; known once `blocks` has given any. array: what stands before and behind the rows of a
    JSON array; None for lines.
    """

    names: list[str]
    newline = b"\n"
    header: bytes | None = None
    array: tuple[bytes, bytes] | None = None

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        self.shard = shard
        self.sizes = sizes

    @property
    @abstractmethod
    def properties(self) -> dict[str, Any]:
        """See `Source.properties`."""

    @abstractmethod
    def blocks(self, start: int) -> Iterator[Lines]:
        """See `Source.blocks`."""

    @abstractmethod
    def check(self, rows: Lines, first: int, added: Sequence[str]) -> None:
        """See `Source.check`."""

    @abstractmethod
    def spelled(self, beside: pa.RecordBatch) -> pa.Array:
        """What is added to the text of each row, as large_binary."""

    @abstractmethod
    def header_with(self, beside: pa.Schema | None) -> bytes | None:
        """What the file begins with; None as long as it is not known, or where there is none."""

    in_braces = False
    """Whether what is added goes before the last brace of a row, not to its end."""

    def start(self, first: int) -> int:
        """The beginning of the file: nothing tells where lines are."""
        return 0

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file with the same compression."""
        return Writer(sink, self, beside)


class Writer:
    """See `rewriting.Writer`: copies the rows, compressed as the source is."""

    def __init__(self, sink: pa.NativeFile, source: LineSource, beside: pa.Schema | None) -> None:
        codec = source.shard.compression
        self._sink: Any = sink if codec is None else compressed(sink, codec)
        self._is_compressed = codec is not None
        self._source = source
        self._beside = beside
        self._has_header = self._has_rows = False
        if source.array is not None:
            self._sink.write(source.array[0] + b"\n")

    def write(self, rows: Lines, take: Taken, beside: pa.RecordBatch | None) -> None:
        """Copy their bytes. See `Writer.write`."""
        self._begin()
        count = int(take.sum())
        if count == 0:
            return
        more, bounds = np.zeros(0, np.uint8), np.zeros(count + 1, np.int64)
        if beside is not None:
            texts = text_buffers(self._source.spelled(beside))
            more, bounds = texts.data, np.ascontiguousarray(texts.offsets)
        newline = np.frombuffer(self._source.newline, np.uint8)
        size = int((rows.ends - rows.starts)[take].sum()) + count * MOST_NEWLINE
        out = np.empty(size + int(bounds[-1] - bounds[0]), np.uint8)
        starts, ends = np.ascontiguousarray(rows.starts), np.ascontiguousarray(rows.ends)
        braces = self._source.in_braces
        args = (rows.data, starts, ends, take, more, bounds, braces, newline, out)
        lines = out[: copy_rows(*args)]
        self._sink.write(lines if self._source.array is None else self._elements(lines))

    def _elements(self, lines: Bytes) -> bytes:
        """Lines of one row each as elements of an array; commas come before all but the first."""
        elements = lines.tobytes().rstrip(b"\n").replace(b"\n", b",\n")
        separator = b",\n" if self._has_rows else b""
        self._has_rows = True
        return separator + elements

    def _begin(self) -> None:
        header = None if self._has_header else self._source.header_with(self._beside)
        if header is not None:
            self._sink.write(header + self._source.newline)
            self._has_header = True

    def close(self) -> None:
        """End the file; one without rows has its header at least."""
        self._begin()
        if self._source.array is not None:
            self._sink.write(b"\n" * self._has_rows + self._source.array[1])
        if self._is_compressed:
            self._sink.close()
