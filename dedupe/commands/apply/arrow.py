"""Arrow IPC: all columns of a file or stream, and one like it.

Offsets and indices are checked before anything follows them, as `dedupe.corpus.ipc` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.arrays import validate
from dedupe.commands.apply.beside import joined, with_beside
from dedupe.corpus import ipc as corpus_ipc
from dedupe.corpus.opening import for_arrow
from dedupe.corpus.shard import Shard, reading

PIECE_BYTES = 32 << 20
"""Bytes of a record batch that are written, at most: larger ones become several."""

_BROKEN = "not a readable Arrow file"


class Source:
    """Reads a shard, and knows what a file like it is made with."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        is_file = shard.format == "arrow"
        self.options = ipc.IpcWriteOptions(
            compression=corpus_ipc.codec(shard), emit_dictionary_deltas=is_file
        )
        with reading(shard, _BROKEN):
            source = for_arrow(shard)
            self._reader = ipc.open_file(source) if is_file else ipc.open_stream(source)
        self._begin = ipc.new_file if is_file else ipc.new_stream
        footer = getattr(self._reader, "metadata", None)  # older versions of pyarrow have none
        self._footer = {"metadata": footer} if is_file and footer else {}
        self.schema: pa.Schema = self._reader.schema
        self.names: list[str] = self.schema.names

    @property
    def properties(self) -> dict[str, Any]:
        """What is equal in files that can be one; None where there is none."""
        has_rows = corpus_ipc.estimate(self.shard, ())[0] > 0
        codec = (corpus_ipc.codec(self.shard) or "none") if has_rows else None
        return {"columns": self.schema, "compression": codec}

    def start(self, first: int) -> int:
        """Where `pieces` begin that have row `first`."""
        return 0

    def pieces(self, start: int) -> Iterator[pa.RecordBatch]:
        """The rows, a record batch or a part of it at a time."""
        with reading(self.shard, "cannot be decoded"):
            if self.shard.format == "arrow":
                numbers = range(self._reader.num_record_batches)
                batches = (self._reader.get_batch(number) for number in numbers)
            else:
                batches = iter(self._reader)
            for batch in batches:
                batch.validate()
                for column in batch.columns:
                    validate(column)
                mean = batch.get_total_buffer_size() // max(batch.num_rows, 1)
                step = max(1, PIECE_BYTES // max(mean, 1))
                for at in range(0, batch.num_rows, step):
                    yield batch.slice(at, step)

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file like this one."""
        schema = with_beside(self.schema, beside)
        return Writer(self._begin(sink, schema, options=self.options, **self._footer), schema)


class Writer:
    """Writes taken rows, a record batch for each of the source.

    A file has one dictionary for a field, which can only grow: that of another shard is added.
    """

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        self._known: list[pa.RecordBatch] = []

    def write(
        self,
        batch: pa.RecordBatch,
        take: np.ndarray[Any, np.dtype[np.bool_]],
        beside: pa.RecordBatch | None,
    ) -> None:
        """Add the taken rows, with what stands beside them."""
        rows = joined(batch, take, beside, self._schema)
        if rows.num_rows:
            try:
                self._file.write_batch(rows)
            except pa.ArrowInvalid as error:
                if "ictionary replacement" not in str(error):
                    raise
                both = pa.Table.from_batches([*self._known, rows]).unify_dictionaries()
                rows = both.to_batches()[-1]
                self._file.write_batch(rows)
            self._known = [rows.slice(0, 0)]

    def close(self) -> None:
        """Write the end."""
        self._file.close()
