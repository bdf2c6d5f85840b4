"""Parquet: all columns of a file, and a file like it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.corpus.opening import for_parquet
from dedupe.corpus.parquet import DECODE_BYTES
from dedupe.corpus.shard import Shard, reading
from dedupe.rewrite.beside import appended, taken, with_beside

GROUP_BYTES = 64 << 20
"""Bytes of a row group before it is written, at most: larger ones become several."""

_BROKEN = "not a readable Parquet file"


class Source:
    """Reads a shard, and knows what a file like it is made with."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        with reading(shard, _BROKEN):
            self.file = pq.ParquetFile(
                for_parquet(shard), pre_buffer=shard.is_remote, page_checksum_verification=True
            )
        self.schema: pa.Schema = self.file.schema_arrow
        self.names: list[str] = self.schema.names

    @property
    def likeness(self) -> Any:
        """Equal for files that can be one."""
        return self.schema

    def pieces(self) -> Iterator[pa.RecordBatch]:
        """The rows, a small batch at a time."""
        metadata = self.file.metadata
        with reading(self.shard, "cannot be decoded"), self.file:
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                mean = max(group.total_byte_size // max(group.num_rows, 1), 1)
                step = int(max(1, min(4096, DECODE_BYTES // mean)))
                yield from self.file.iter_batches(step, row_groups=[number], use_threads=False)

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file like this one."""
        return Writer(sink, self, beside)

    @property
    def options(self) -> dict[str, Any]:
        """Of `ParquetWriter`, as far as the file tells."""
        metadata = self.file.metadata
        options: dict[str, Any] = {
            "version": metadata.format_version,
            "store_schema": b"ARROW:schema" in (metadata.metadata or {}),
        }
        if metadata.num_row_groups == 0:
            return options
        group = metadata.row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        codecs = {one.path_in_schema: one.compression for one in columns}
        paths = [one.path_in_schema for one in columns if one.has_dictionary_page]
        known = [one.path_in_schema for one in columns if one.is_stats_set]
        return {
            **options,
            "compression": {p: "NONE" if c == "UNCOMPRESSED" else c for p, c in codecs.items()},
            "use_dictionary": paths or False,
            "write_statistics": known or False,
            "use_deprecated_int96_timestamps": any(c.physical_type == "INT96" for c in columns),
            "use_compliant_nested_type": not any(p.endswith(".list.item") for p in codecs),
            "write_page_index": any(one.has_offset_index for one in columns),
            "sorting_columns": list(group.sorting_columns) or None,
        }


class Writer:
    """Writes taken rows in row groups about as large as the source's."""

    def __init__(self, sink: pa.NativeFile, source: Source, beside: pa.Schema | None) -> None:
        metadata = source.file.metadata
        groups = range(metadata.num_row_groups)
        self._most = max((metadata.row_group(i).num_rows for i in groups), default=1) or 1
        self._schema = with_beside(source.schema, beside)
        options = source.options
        if isinstance(options.get("use_dictionary"), list) and beside is not None:
            options["use_dictionary"] += [f.name for f in self._schema][len(source.names) :]
        self._file = pq.ParquetWriter(sink, self._schema, **options)
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0

    def write(
        self,
        batch: pa.RecordBatch,
        take: np.ndarray[Any, np.dtype[np.bool_]],
        beside: pa.RecordBatch | None,
    ) -> None:
        """Add the taken rows, with what stands beside them."""
        rows = taken(batch, take)
        columns = appended(rows, beside)
        rows = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        while rows.num_rows:
            part = rows.slice(0, self._most - self._rows)
            self._held.append(part)
            self._rows += part.num_rows
            self._bytes += part.get_total_buffer_size() * part.num_rows // max(rows.num_rows, 1)
            rows = rows.slice(part.num_rows)
            if self._rows >= self._most or self._bytes >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._held:
            table = pa.Table.from_batches(self._held, self._schema)
            self._file.write_table(table, row_group_size=self._most)
        self._held, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._file.close()
