"""Arrow IPC files: all columns of one, and one like it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.corpus.failures import reading
from dedupe.corpus.reading import arrow_files as reader
from dedupe.corpus.rewriting.ipc import ArrowSource
from dedupe.corpus.shard import BlockSizes, Shard


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Read its footer, and the headers of record batches."""
    return Source(shard, sizes)


class Source(ArrowSource):
    """See `rewriting.Source`."""

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        super().__init__(shard, sizes)
        self.codec = reader.codec(shard)
        self.has_rows = reader.estimate(shard, ())[0] > 0
        with reading(shard.path, reader.BROKEN):
            self._reader = ipc.open_file(shard.file.for_arrow_file())
        self.schema = self._reader.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read them by their numbers."""
        return map(self._reader.get_batch, range(self._reader.num_record_batches))

    def begun(self, sink: pa.NativeFile, schema: pa.Schema) -> Any:
        """With the metadata of the footer, which older versions of pyarrow do not know."""
        footer = getattr(self._reader, "metadata", None)
        metadata = {"metadata": footer} if footer else {}
        options = ipc.IpcWriteOptions(compression=self.codec, emit_dictionary_deltas=True)
        return ipc.new_file(sink, schema, options=options, **metadata)
