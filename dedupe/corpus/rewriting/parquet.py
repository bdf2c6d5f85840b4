"""Parquet: all columns of a file, and a file like it, with the same schema: `parquet_schema`."""

from __future__ import annotations

import inspect
import io
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedupe.corpus.failures import reading
from dedupe.corpus.reading import parquet as reader
from dedupe.corpus.rewriting import Taken
from dedupe.corpus.rewriting.beside import joined, with_beside
from dedupe.corpus.rewriting.parquet_schema import (
    StoredSchema,
    arrow_types,
    ended,
    footer_in,
    footer_of,
    page_header,
)
from dedupe.corpus.shard import BlockSizes, Shard
from dedupe.errors import CorpusError

BUFFER_BYTES = 1 << 20
LEAST_BUFFER = 1 << 16
ALL_BUFFERS = 16 << 20
"""Bytes of a column that are read ahead, at most and at least, and of all columns, about; without
them a row group's columns are read whole."""

BATCH_ROWS = 4096
"""Rows that are decoded at a time, at most."""

DICTIONARY_BYTES, LARGEST_DICTIONARY = 1 << 20, 64 << 20
"""Bytes of a dictionary from which on values are written one by one: pyarrow's, and the most."""

ENCODINGS = {
    "DELTA_BINARY_PACKED",
    "DELTA_LENGTH_BYTE_ARRAY",
    "DELTA_BYTE_ARRAY",
    "BYTE_STREAM_SPLIT",
}
"""Those that a writer has to be asked for."""

OPTIONS = inspect.signature(pq.ParquetWriter.__init__).parameters
"""What this pyarrow can be asked for."""

HEADER_BYTES = 1 << 10
"""What is read of a page to see how it is written."""

_BROKEN = "not a readable Parquet file"
_DATA_PAGE_V2 = 3


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Read its footer."""
    return Source(shard, sizes)


class Source:
    """See `rewriting.Source`: blocks are record batches."""

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        self.shard = shard
        self.sizes = sizes
        metadata = reader.metadata(shard)
        try:
            with reading(shard.path, _BROKEN):
                with shard.file.for_seeking() as file:
                    footer = footer_of(file, shard.size)
                self.stored = StoredSchema.of(footer)
                self.arrow_types = arrow_types(footer)
                self.file = self._opened(metadata)
                self.written = self._as_written()
                if otherwise := self.stored.unlike(self.written):
                    self.file.close()
                    self.file = self._opened(self.stored.plain(otherwise).metadata(footer))
                    self.written = self._as_written()
        except (ValueError, KeyError) as error:
            raise CorpusError(f"{_BROKEN}: {error}", path=shard.path) from None
        self.schema: pa.Schema = self.file.schema_arrow
        self.names: list[str] = self.schema.names
        if name := self.stored.misplaced(self.written):
            raise CorpusError(
                f'column "{name}" is stored in a way that pyarrow cannot write, so that no copy of '
                "the file would have its schema: write the file anew with pyarrow",
                path=shard.path,
            )

    def _opened(self, metadata: pq.FileMetaData) -> pq.ParquetFile:
        buffer = max(LEAST_BUFFER, min(BUFFER_BYTES, ALL_BUFFERS // (metadata.num_columns + 1)))
        source = self.shard.file
        return pq.ParquetFile(
            source.for_ranges(),
            metadata=metadata,
            buffer_size=0 if source.is_fetched else buffer,
            pre_buffer=source.is_fetched,
            page_checksum_verification=True,
        )

    def _as_written(self) -> StoredSchema:
        """The schema of a file that pyarrow writes of these columns."""
        return _written_schema(self.file.schema_arrow, self._structure)

    @cached_property
    def _structure(self) -> dict[str, Any]:
        """Those options of `ParquetWriter` that decide how columns are stored."""
        schema = self.file.schema
        types = [schema.column(i) for i in range(len(schema.names))]
        options = {
            "use_deprecated_int96_timestamps": any(one.physical_type == "INT96" for one in types),
            "use_compliant_nested_type": False,  # but what the elements of lists are called here
            "store_decimal_as_integer": any(
                one.logical_type.type == "DECIMAL" and one.physical_type.startswith("INT")
                for one in types
            ),
        }
        return {name: value for name, value in options.items() if name in OPTIONS}

    @property
    def properties(self) -> dict[str, Any]:
        """Their columns and compression; files without rows do not tell the latter."""
        return {
            "columns": self.schema,
            "types of columns": [(leaf.stored, leaf.order) for leaf in self.stored.leaves],
            "compression": self.options.get("compression"),
        }

    def start(self, first: int) -> int:
        """The row group that has the row begins with it."""
        return max(start for start in self._starts() if start <= first)

    def _starts(self) -> list[int]:
        groups = range(self.file.metadata.num_row_groups)
        rows = (self.file.metadata.row_group(number).num_rows for number in groups)
        return list(itertools.accumulate(rows, initial=0))

    def blocks(self, start: int) -> Iterator[pa.RecordBatch]:
        """Decode row group by row group, a small batch at a time."""
        with reading(self.shard.path, "cannot be decoded"), self.file:
            for number, at in enumerate(self._starts()[:-1]):
                if at < start:
                    continue
                self._check_old_timestamps(number)
                budget = reader.DECODE_BYTES
                step = reader.rows_at_a_time(self.shard, number, (), BATCH_ROWS, budget)
                yield from self.file.iter_batches(step, row_groups=[number], use_threads=False)

    def _check_old_timestamps(self, number: int) -> None:
        """Raise CorpusError where an INT96 is none of the 64-bit nanoseconds that it is read as."""
        group = self.file.metadata.row_group(number)
        types = [self.file.schema.column(i) for i in range(group.num_columns)]
        old = [one.path for one in types if one.physical_type == "INT96"]
        if not old:
            return
        coarse = pq.ParquetFile(self.shard.file.for_ranges(), coerce_int96_timestamp_unit="us")
        with coarse:
            for batch in coarse.iter_batches(row_groups=[number], columns=old, use_threads=False):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    if any(map(_beyond_nanoseconds, _timestamps(column))):
                        raise CorpusError(
                            f'column "{name}" has INT96 timestamps before 1678 or after 2261, '
                            "which cannot be copied: write it with 64-bit timestamps",
                            path=self.shard.path,
                        )

    def check(self, rows: pa.RecordBatch, first: int, added: Sequence[str]) -> None:
        """No row has other columns than all. See `Source.check`."""

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file with the same options."""
        return Writer(sink, self, beside)

    @cached_property
    def options(self) -> dict[str, Any]:
        """Of `ParquetWriter`, as far as the file tells; columns are called as pyarrow does it."""
        metadata = self.file.metadata
        options = {**self._structure, "version": self._version()}
        if metadata.num_row_groups == 0:
            return options
        group = metadata.row_group(0)
        chunks = [group.column(i) for i in range(group.num_columns)]
        names = [b".".join(leaf.path).decode() for leaf in self.written.leaves]
        columns = list(zip(names, chunks, strict=True))
        orders = [
            (one.order, two.order)
            for one, two in zip(self.stored.leaves, self.written.leaves, strict=True)
        ]
        known = [
            name
            for (name, one), (order, other) in zip(columns, orders, strict=True)
            if one.is_stats_set and order == other
        ]
        encodings = {
            name: encoding
            for name, one in columns
            for encoding in ENCODINGS.intersection(one.encodings)
            if not one.has_dictionary_page
        }
        blooms = {
            name: _bloom(one, group.num_rows)
            for name, one in columns
            if getattr(one, "bloom_filter_offset", None) is not None
        }
        codecs = {name: one.compression for name, one in columns}
        page = self._first_page(chunks)
        options |= {
            "compression": {n: "NONE" if c == "UNCOMPRESSED" else c for n, c in codecs.items()},
            "use_dictionary": [name for name, one in columns if one.has_dictionary_page] or False,
            "dictionary_pagesize_limit": max([DICTIONARY_BYTES, *map(_dictionary_bytes, chunks)]),
            "column_encoding": encodings or None,
            "write_statistics": known or False,
            "bloom_filter_options": blooms or None,
            "write_page_index": any(one.has_offset_index for one in chunks),
            "data_page_version": "2.0" if page.get(1) == _DATA_PAGE_V2 else "1.0",
            "write_page_checksum": 4 in page,
            "sorting_columns": list(group.sorting_columns) or None,
        }
        return {name: value for name, value in options.items() if name in OPTIONS}

    def _version(self) -> str:
        """The version for pyarrow: 1.0, which has fewer types, only where it stores the same."""
        schema = self.file.schema_arrow
        if self.file.metadata.format_version == "1.0":
            old = _written_schema(schema, {**self._structure, "version": "1.0"})
            if old.elements == self.written.elements:
                return "1.0"
        return "2.6"

    def _first_page(self, chunks: Sequence[pq.ColumnChunkMetaData]) -> dict[int, Any]:
        """The header of a page of data; nothing where there is none."""
        first = next((one for one in chunks if one.num_values), None)
        if first is None:
            return {}
        with reading(self.shard.path, _BROKEN), self.shard.file.for_seeking() as file:
            file.seek(first.data_page_offset)
            return page_header(file.read(HEADER_BYTES))


def _written_schema(schema: pa.Schema, options: dict[str, Any]) -> StoredSchema:
    """The stored schema of a file that pyarrow writes of some columns."""
    empty = io.BytesIO()
    pq.ParquetWriter(empty, schema, store_schema=False, **{"version": "2.6", **options}).close()
    return StoredSchema.of(footer_in(empty.getvalue()))


def _dictionary_bytes(column: pq.ColumnChunkMetaData) -> int:
    """Bytes that the dictionary of a column may have, so that a large one stays one."""
    size = column.total_uncompressed_size if reader.refers(column) else 0
    return max(DICTIONARY_BYTES, min(size, LARGEST_DICTIONARY))


def _bloom(column: pq.ColumnChunkMetaData, rows: int) -> dict[str, Any]:
    """A filter of the same size: a power of two, and 10 bits a value give a false one in 100."""
    length = column.bloom_filter_length
    bits = 8 << (length.bit_length() - 1) if length else 10 * rows
    return {"ndv": max(bits // 10, 1), "fpp": 0.01}


def _timestamps(array: pa.Array) -> Iterator[pa.Array]:
    """Those in an array, at any depth."""
    if pa.types.is_timestamp(array.type):
        yield array
    elif pa.types.is_nested(array.type):
        parts = array.flatten()
        for part in parts if isinstance(parts, list) else [parts]:
            yield from _timestamps(part)


def _beyond_nanoseconds(microseconds: pa.Array) -> bool:
    found = pc.min_max(microseconds.cast(pa.int64())).as_py()
    return found["min"] is not None and max(-found["min"], found["max"]) > (2**63 - 1) // 1000


class Writer:
    """See `rewriting.Writer`: row groups are about as large as the source's."""

    def __init__(self, sink: pa.NativeFile, source: Source, beside: pa.Schema | None) -> None:
        metadata = source.file.metadata
        groups = range(metadata.num_row_groups)
        self._most = max((metadata.row_group(i).num_rows for i in groups), default=1) or 1
        self._schema = with_beside(source.schema, beside)
        self._source = source
        self._added = 0 if beside is None else len(beside)
        options = dict(source.options)
        if "compression" in options and beside is not None:
            added = self._schema.names[len(source.names) :]
            codec, _ = Counter(options["compression"].values()).most_common(1)[0]
            options["compression"] |= dict.fromkeys(added, codec)
            options["use_dictionary"] = [*(options["use_dictionary"] or []), *added]
        stored = {**(metadata.metadata or {}), **source.arrow_types}
        is_new = beside is not None and b"ARROW:schema" in stored
        self._end = _HeldEnd(sink)
        self._file = pq.ParquetWriter(
            pa.PythonFile(self._end, "w"), self._schema, store_schema=is_new, **options
        )
        if stored and not is_new:
            self._file.add_key_value_metadata(stored)
        self._held: list[pa.RecordBatch] = []
        self._rows = self._bytes = 0
        self._group_bytes = source.sizes.row_group

    def write(self, rows: pa.RecordBatch, take: Taken, beside: pa.RecordBatch | None) -> None:
        """Hold them until a row group is full. See `Writer.write`."""
        rest = joined(rows, take, beside, self._schema)
        while rest.num_rows:
            part = rest.slice(0, self._most - self._rows)
            self._held.append(part)
            self._rows += part.num_rows
            self._bytes += part.get_total_buffer_size() * part.num_rows // max(rest.num_rows, 1)
            rest = rest.slice(part.num_rows)
            if self._rows >= self._most or self._bytes >= self._group_bytes:
                self._flush()

    def _flush(self) -> None:
        if self._held:
            table = pa.Table.from_batches(self._held, self._schema)
            self._file.write_table(table, row_group_size=self._most)
        self._held, self._rows, self._bytes = [], 0, 0

    def close(self) -> None:
        """Write what is left, and the footer with the source's schema."""
        self._flush()
        self._end.hold()
        self._file.close()
        end = self._end.held()
        footer = footer_in(end)
        own = StoredSchema.of(footer)
        schema = self._source.stored.with_columns(own, self._added)
        self._end.write_on(end[: -len(ended(footer))] + ended(schema.put_into(footer)))


class _HeldEnd(io.RawIOBase):
    """A file whose last bytes are held back, to be changed before they are written."""

    def __init__(self, sink: pa.NativeFile) -> None:
        self._sink = sink
        self._bytes: bytearray | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._sink.tell())

    def write(self, data: Any) -> int:
        if self._bytes is None:
            self._sink.write(data)
        else:
            self._bytes += data
        return len(data)

    def hold(self) -> None:
        """Hold what is written from now on."""
        self._bytes = bytearray()

    def held(self) -> bytes:
        """What has been written since then."""
        return bytes(self._bytes or b"")

    def write_on(self, data: bytes) -> None:
        """Write the end."""
        self._sink.write(data)
