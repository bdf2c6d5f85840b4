"""JSON lines and CSV: the bytes of rows, which are copied and never parsed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.arrays import text_buffers
from dedupe.commands.apply.beside import TAKEN, as_csv, as_json, csv_header
from dedupe.corpus.csv_files import columns as csv_columns
from dedupe.corpus.jsonl import columns as json_columns
from dedupe.corpus.lines import BLOCK_BYTES, BOM, blocks, strip
from dedupe.corpus.opening import open_decompressed
from dedupe.corpus.records import BadRowError, parse
from dedupe.corpus.shard import Shard, Slice, reading
from dedupe.errors import CorpusError
from dedupe.kernels.records import BEGIN, MOST_NEWLINE, copy_rows, csv_ends

Bytes = npt.NDArray[np.uint8]


class Lines(NamedTuple):
    """Rows of a file: row i is data[starts[i]:ends[i]]; its newline, if it has one, comes next."""

    data: Bytes
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    @property
    def num_rows(self) -> int:
        """How many they are."""
        return len(self.starts)

    def slice(self, start: int, length: int) -> Lines:
        """Some of them, one after the other."""
        stop = start + length
        return Lines(self.data, self.starts[start:stop], self.ends[start:stop])


class Source:
    """Reads a shard, and knows what a file like it begins with."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.is_json = shard.format == "jsonl"
        self.newline = b"\n"  # for a last row that has none
        self._mark = b""
        self.header: bytes | None = None
        self.names = json_columns(shard) if self.is_json else csv_columns(shard)

    @property
    def properties(self) -> dict[str, Any]:
        """What is equal in files that can be one; None where there is none."""
        return {"columns": None if self.is_json else self.names}

    def start(self, first: int) -> int:
        """Where `pieces` begin that have row `first`: nothing tells where lines are."""
        return 0

    def check(self, lines: Lines, first: int, added: Sequence[str]) -> None:
        """Raise CorpusError where a row of JSON has one of these keys; the rows begin at `first`.

        That of the head was looked at before: here a row is parsed only if it holds such a text.
        """
        if not self.is_json or not lines.num_rows:
            return
        begin = int(lines.starts[0])
        data = lines.data[begin : int(lines.ends[-1])].tobytes()
        for key in added:
            quoted = f'"{key}"'.encode()
            at = data.find(quoted)
            while at >= 0:
                row = int(np.searchsorted(lines.starts, begin + at, "right")) - 1
                start, end = int(lines.starts[row]) - begin, int(lines.ends[row]) - begin
                with suppress(BadRowError):  # the run has read it, but not with this parser
                    if key in parse(strip(data[start:end])):
                        raise CorpusError(TAKEN.format(key), path=self.shard.path, row=first + row)
                at = data.find(quoted, end)

    def pieces(self, start: int) -> Iterator[Lines]:
        """The rows, a block at a time."""
        if not self.is_json:
            yield from self._records()
            return
        shard = self.shard
        last = -1 if shard.compression else shard.size
        for block in blocks(shard, Slice(shard.ordinal, 0, 0, last)):
            yield Lines(np.frombuffer(block.data, np.uint8), block.starts, block.ends)

    def _records(self) -> Iterator[Lines]:
        """Records of CSV; the first is the header."""
        with open_decompressed(self.shard) as stream, reading(self.shard, "cannot be read"):
            held: list[bytes] = []
            state, scanned = BEGIN, 0
            while data := stream.read(BLOCK_BYTES):
                if data[-1:] == b"\r":
                    data += stream.read(1)  # so that no \n is cut off
                if not scanned and self.header is None and data.startswith(BOM):
                    self._mark, data = BOM, data.removeprefix(BOM)
                ends = np.empty(len(data), np.int64)
                count, state = csv_ends(np.frombuffer(data, np.uint8), state, ends)
                held.append(data)
                if count:
                    lines = b"".join(held)
                    ends = ends[:count] + scanned
                    cut = int(ends[-1]) + 1
                    yield from self._rows(lines[:cut], ends)
                    held, scanned = [lines[cut:]], 0
                scanned += len(held[-1])
            if scanned:
                yield from self._rows(b"".join(held), np.array([scanned]))

    def _rows(self, data: bytes, ends: npt.NDArray[np.int64]) -> Iterator[Lines]:
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])
        there = ends > starts  # a blank line is no row, nor is what is between \r and \n
        starts, ends = starts[there], ends[there]
        if self.header is None and len(starts):
            self.header = self._mark + data[starts[0] : ends[0]]
            after = data[ends[0] : ends[0] + 2]
            self.newline = after if after == b"\r\n" else after[:1] or b"\n"
            starts, ends = starts[1:], ends[1:]
        if len(starts):
            yield Lines(np.frombuffer(data, np.uint8), starts, ends)

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file like this one."""
        return Writer(sink, self, beside)


class Writer:
    """Copies taken rows, compressed as the source is."""

    def __init__(self, sink: pa.NativeFile, source: Source, beside: pa.Schema | None) -> None:
        codec = source.shard.compression
        self._sink = sink if codec is None else pa.CompressedOutputStream(sink, codec)
        self._is_compressed = codec is not None
        self._source = source
        self._beside = beside
        self._has_header = source.is_json

    def write(
        self,
        lines: Lines,
        take: npt.NDArray[np.bool_],
        beside: pa.RecordBatch | None,
    ) -> None:
        """Add the taken rows, with what stands beside them."""
        self._begin()
        count = int(take.sum())
        if count == 0:
            return
        more, bounds = np.zeros(0, np.uint8), np.zeros(count + 1, np.int64)
        if beside is not None:
            texts = text_buffers(as_json(beside) if self._source.is_json else as_csv(beside))
            more, bounds = texts.data, np.ascontiguousarray(texts.offsets)
        newline = np.frombuffer(self._source.newline, np.uint8)
        size = int((lines.ends - lines.starts)[take].sum()) + count * MOST_NEWLINE
        out = np.empty(size + int(bounds[-1] - bounds[0]), np.uint8)
        starts, ends = np.ascontiguousarray(lines.starts), np.ascontiguousarray(lines.ends)
        braces = self._source.is_json
        args = (lines.data, starts, ends, take, more, bounds, braces, newline, out)
        self._sink.write(out[: copy_rows(*args)])

    def _begin(self) -> None:
        if not self._has_header and self._source.header is not None:
            more = csv_header(self._beside) if self._beside is not None else b""
            self._sink.write(self._source.header + more + self._source.newline)
            self._has_header = True

    def close(self) -> None:
        """End the file."""
        self._begin()
        if self._is_compressed:
            self._sink.close()
