"""What copying Arrow IPC files and streams has in common.

Offsets and indices are checked before anything follows them, as `dedupe.corpus.reading.ipc` does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from dedupe.arrays import validate
from dedupe.corpus.failures import reading
from dedupe.corpus.rewriting import Taken
from dedupe.corpus.rewriting.beside import joined, with_beside
from dedupe.corpus.shard import BlockSizes, Shard


class ArrowSource(ABC):
    """See `rewriting.Source`: blocks are record batches, or parts of them.

    A subclass sets `schema` and `codec`, which is that of the buffers, and `has_rows`.
    """

    schema: pa.Schema
    codec: str | None
    has_rows: bool

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        self.shard = shard
        self.sizes = sizes

    @abstractmethod
    def batches(self) -> Iterable[pa.RecordBatch]:
        """All record batches, in order."""

    @abstractmethod
    def begun(self, sink: pa.NativeFile, schema: pa.Schema) -> Any:
        """A writer of pyarrow with the options of this file."""

    @property
    def names(self) -> list[str]:
        """The columns of the schema."""
        names: list[str] = self.schema.names
        return names

    @property
    def properties(self) -> dict[str, Any]:
        """The schema and compression; files without rows do not tell the latter."""
        codec = (self.codec or "none") if self.has_rows else None
        return {"columns": self.schema, "compression": codec}

    def start(self, first: int) -> int:
        """The beginning of the file."""
        return 0

    def blocks(self, start: int) -> Iterator[pa.RecordBatch]:
        """Cut record batches into parts that are not too large to be written."""
        with reading(self.shard.path, "cannot be decoded"):
            for batch in self.batches():
                batch.validate()
                for column in batch.columns:
                    validate(column)
                mean = batch.get_total_buffer_size() // max(batch.num_rows, 1)
                step = max(1, self.sizes.record_batch // max(mean, 1))
                for at in range(0, batch.num_rows, step):
                    yield batch.slice(at, step)

    def check(  # noqa: B027 - there is nothing to check
        self, rows: pa.RecordBatch, first: int, added: Sequence[str]
    ) -> None:
        """No row has other columns than all. See `Source.check`."""

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file with the same options."""
        schema = with_beside(self.schema, beside)
        return Writer(self.begun(sink, schema), schema)


class Writer:
    """See `rewriting.Writer`: there is a record batch for each block.

    A file has one dictionary for a field, which can only grow: that of another shard is added.
    """

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        self._known: list[pa.RecordBatch] = []

    def write(self, rows: pa.RecordBatch, take: Taken, beside: pa.RecordBatch | None) -> None:
        """Write them as they are. See `Writer.write`."""
        chosen = joined(rows, take, beside, self._schema)
        if chosen.num_rows:
            try:
                self._file.write_batch(chosen)
            except pa.ArrowInvalid as error:
                if "ictionary replacement" not in str(error):
                    raise
                both = pa.Table.from_batches([*self._known, chosen]).unify_dictionaries()
                chosen = both.to_batches()[-1]
                self._file.write_batch(chosen)
            self._known = [chosen.slice(0, 0)]

    def close(self) -> None:
        """Write the end."""
        self._file.close()
