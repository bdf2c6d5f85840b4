"""Arrow IPC: all columns of a file or stream, and one like it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.corpus.ipc import codec
from dedupe.corpus.opening import for_arrow
from dedupe.corpus.shard import Shard, reading
from dedupe.rewrite.beside import appended, taken, with_beside

_BROKEN = "not a readable Arrow file"


class Source:
    """Reads a shard, and knows what a file like it is made with."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.options = ipc.IpcWriteOptions(compression=codec(shard), unify_dictionaries=True)
        is_file = shard.format == "arrow"
        with reading(shard, _BROKEN):
            source = for_arrow(shard)
            self._reader = ipc.open_file(source) if is_file else ipc.open_stream(source)
        self._begin = ipc.new_file if is_file else ipc.new_stream
        self.schema: pa.Schema = self._reader.schema
        self.names: list[str] = self.schema.names

    @property
    def likeness(self) -> Any:
        """Equal for files that can be one."""
        return self.schema

    def pieces(self) -> Iterator[pa.RecordBatch]:
        """The rows, a record batch at a time."""
        with reading(self.shard, "cannot be decoded"):
            if self.shard.format == "arrow":
                for number in range(self._reader.num_record_batches):
                    yield self._valid(self._reader.get_batch(number))
            else:
                for batch in self._reader:
                    yield self._valid(batch)

    def _valid(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        batch.validate()
        return batch

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file like this one."""
        schema = with_beside(self.schema, beside)
        return Writer(self._begin(sink, schema, options=self.options), schema)


class Writer:
    """Writes taken rows, a record batch for each of the source."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema

    def write(
        self,
        batch: pa.RecordBatch,
        take: np.ndarray[Any, np.dtype[np.bool_]],
        beside: pa.RecordBatch | None,
    ) -> None:
        """Add the taken rows, with what stands beside them."""
        rows = taken(batch, take)
        if rows.num_rows:
            columns = appended(rows, beside)
            self._file.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write the end."""
        self._file.close()
