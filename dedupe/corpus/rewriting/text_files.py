"""Plain text of a row per file: the file as it is. Columns have no place beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.corpus.opening import compressed
from dedupe.corpus.reading import text_files as reader
from dedupe.corpus.rewriting import Taken, text_lines
from dedupe.corpus.rewriting.lines import Lines
from dedupe.corpus.shard import BlockSizes, Shard


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Nothing has to be known of it."""
    return Source(shard, sizes)


class Source(text_lines.Source):
    """See `rewriting.Source`."""

    def blocks(self, start: int) -> Iterator[Lines]:
        """The only row is the whole file."""
        data = np.frombuffer(reader.content(self.shard), np.uint8)
        yield Lines(data, np.zeros(1, np.int64), np.array([len(data)]))

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Any:
        """Begin a file with the same compression."""
        return Writer(sink, self.shard)


class Writer:
    """See `rewriting.Writer`."""

    def __init__(self, sink: pa.NativeFile, shard: Shard) -> None:
        self._is_compressed = shard.compression is not None
        self._sink: Any = sink if shard.compression is None else compressed(sink, shard.compression)

    def write(self, rows: Lines, take: Taken, beside: pa.RecordBatch | None) -> None:
        """Copy it, if it is taken. See `Writer.write`."""
        if take.all():
            self._sink.write(rows.data)

    def close(self) -> None:
        """End the file."""
        if self._is_compressed:
            self._sink.close()
