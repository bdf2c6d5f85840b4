"""Arrow IPC streams: all columns of one, and one like it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.corpus.failures import reading
from dedupe.corpus.reading import arrow_streams as reader
from dedupe.corpus.rewriting.ipc import ArrowSource
from dedupe.corpus.shard import BlockSizes, Shard


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Walk its messages, then open it again."""
    return Source(shard, sizes)


class Source(ArrowSource):
    """See `rewriting.Source`."""

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        super().__init__(shard, sizes)
        self.codec = reader.codec(shard)
        self.has_rows = reader.estimate(shard, ())[0] > 0
        with reading(shard.path, reader.BROKEN):
            self._reader = ipc.open_stream(shard.file.for_arrow_stream())
        self.schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read them as they come."""
        return iter(self._reader)

    def begun(self, sink: pa.NativeFile, schema: pa.Schema) -> Any:
        """With the same compression."""
        options = ipc.IpcWriteOptions(compression=self.codec)
        return ipc.new_stream(sink, schema, options=options)
