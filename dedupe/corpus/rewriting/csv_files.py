"""CSV: the bytes of records, with columns that are added at their end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.corpus.failures import reading
from dedupe.corpus.reading import csv_files as reader
from dedupe.corpus.rewriting.beside import as_csv, csv_header
from dedupe.corpus.rewriting.lines import Lines, LineSource
from dedupe.corpus.shard import BOM, BlockSizes, Shard
from dedupe.kernels.records import BEGIN, csv_ends


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Read its header."""
    return Source(shard, sizes)


class Source(LineSource):
    """See `rewriting.Source`."""

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        super().__init__(shard, sizes)
        self._mark = b""
        self.names = reader.columns(shard)

    @property
    def properties(self) -> dict[str, Any]:
        """The names in the header, and what stands between fields."""
        return {"columns": self.names, "delimiter": self.shard.delimiter}

    def check(self, rows: Lines, first: int, added: Sequence[str]) -> None:
        """No row has other columns than the header. See `Source.check`."""

    def spelled(self, beside: pa.RecordBatch) -> pa.Array:
        """As fields."""
        return as_csv(beside, self.shard.delimiter)

    def header_with(self, beside: pa.Schema | None) -> bytes | None:
        """The names of all columns."""
        if self.header is None:
            return None
        return self.header + (b"" if beside is None else csv_header(beside, self.shard.delimiter))

    def blocks(self, start: int) -> Iterator[Lines]:
        """Find where records end; the first is the header."""
        with self.shard.open_bytes() as stream, reading(self.shard.path):
            held: list[bytes] = []
            state, scanned = BEGIN, 0
            delimiter = np.uint8(ord(self.shard.delimiter))
            while data := stream.read(self.sizes.lines):
                if data[-1:] == b"\r":
                    data += stream.read(1)  # so that no \n is cut off
                if not scanned and self.header is None and data.startswith(BOM):
                    self._mark, data = BOM, data.removeprefix(BOM)
                ends = np.empty(len(data), np.int64)
                count, state = csv_ends(np.frombuffer(data, np.uint8), delimiter, state, ends)
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
