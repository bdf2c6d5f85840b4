"""Tables in blocks: Arrow IPC streams of which one read reaches any record batch.

Beside each table is a small one that says of each block where it ends, its checksum, and its head:
the first row or band key in it. So whoever looks for a row or a key reads the blocks that can have
it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.arrays import Array, numbers
from dedupe.errors import DamageError
from dedupe.storage.checksums import checksum
from dedupe.storage.files import Files, Range
from dedupe.storage.tables import WrittenFile, read_table, write_table

BLOCKS = pa.schema(
    [("head", pa.uint64()), ("rows", pa.int64()), ("end", pa.int64()), ("checksum", pa.uint64())]
)
"""What is known of the blocks of a table, one row for each."""

END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
"""What ends an Arrow IPC stream."""

REMEDY = "bring the file back, or make the index anew with dedupe index rebuild"
"""What helps where a file of an index is damaged."""

OPEN_TABLES = 4096
"""Tables of which a process remembers the blocks."""


@dataclass(frozen=True)
class BlockTable:
    """A table of a segment.

    name: of its file in the folder of the index. size: bytes of it. blocks: the file of its blocks,
    NAME.blocks, as it was written. rows: in the table.
    """

    name: str
    size: int
    rows: int
    blocks: WrittenFile

    def as_json(self) -> list[Any]:
        """Plain values; see `from_json`."""
        return [self.name, self.size, self.rows, self.blocks.as_json()]

    @classmethod
    def from_json(cls, found: list[Any]) -> BlockTable:
        """Read what `as_json` gave."""
        name, size, rows, blocks = found
        return cls(name, size, rows, WrittenFile.from_json(blocks))

    @property
    def name_of_blocks(self) -> str:
        """The file of its blocks."""
        return f"{self.name}.blocks"


@contextmanager
def remedied() -> Iterator[None]:
    """Say of damage in an index what helps: its files are not made again by themselves."""
    try:
        yield
    except DamageError as error:
        raise DamageError(error.path, error.what, remedy=REMEDY) from None


def write_blocks(
    files: Files,
    name: str,
    schema: pa.Schema,
    batches: Iterable[tuple[int, pa.RecordBatch]],
    *,
    compressed: bool,
) -> BlockTable:
    """Write a table, whole or not at all.

    files: the folder of the index. name: of the file. schema: of the table. batches: its blocks,
    each with its head, ascending. compressed: whether values are compressed with zstd.
    """
    heads: list[int] = []
    rows: list[int] = []

    def noted() -> Iterator[pa.RecordBatch]:
        for head, batch in batches:
            heads.append(head)
            rows.append(batch.num_rows)
            yield batch

    options = ipc.IpcWriteOptions(compression="zstd") if compressed else None
    written = write_table(files, name, schema, noted(), options)
    columns = [
        pa.array(heads, pa.uint64()),
        pa.array(rows, pa.int64()),
        pa.array(written.bounds[1:], pa.int64()),
        pa.array(written.checksums[1:], pa.uint64()),
    ]
    return _noted(files, name, columns, written.bounds[0], written.size, sum(rows))


def join_tables(
    files: Files, name: str, schema: pa.Schema, tables: Sequence[BlockTable]
) -> BlockTable:
    """Write the blocks of several tables to one, as they are.

    files: the folder of the index. name: of the new table. schema: of all of them. tables: they, in
    order. Raises DamageError where a block is not as it was written.
    """
    parts = [blocks_of(files, table) for table in tables]
    with files.writing(name) as sink:
        sink.write(schema.serialize())
        sink.cut()
        for table, blocks in zip(tables, parts, strict=True):
            for data in _checked(files, table, range(len(blocks.heads))):
                sink.write(data)
                sink.cut()
        sink.write(END_OF_STREAM)
    columns = [
        pa.array(np.concatenate([np.zeros(0, np.uint64), *(one.heads for one in parts)])),
        pa.array(np.concatenate([np.zeros(0, np.int64), *(np.diff(one.firsts) for one in parts)])),
        pa.array(sink.bounds[1:], pa.int64()),
        pa.array(sink.checksums[1:], pa.uint64()),
    ]
    size, rows = sink.tell(), sum(table.rows for table in tables)
    return _noted(files, name, columns, sink.bounds[0], size, rows)


def _noted(
    files: Files, name: str, columns: Sequence[pa.Array], start: int, size: int, rows: int
) -> BlockTable:
    """Write what is known of the blocks of a table. start: where the first one begins."""
    told = pa.RecordBatch.from_arrays(columns, schema=BLOCKS)
    told = told.replace_schema_metadata({"start": str(start)})
    blocks = write_table(files, f"{name}.blocks", told.schema, [told])
    return BlockTable(name, size, rows, blocks)


@dataclass(frozen=True)
class Blocks:
    """Where the blocks of a table are: arrays with an entry for each.

    heads: uint64, what each begins with. firsts: int64, rows of the table before each, and all of
    them in the end. bounds: int64, the byte at which each begins, with the end. checksums: uint64.
    """

    heads: Array
    firsts: Array
    bounds: Array
    checksums: Array

    def having(self, low: int, high: int) -> range:
        """The blocks that can have values from `low` up to `high`, both included."""
        first = max(int(np.searchsorted(self.heads, np.uint64(low), side="left")) - 1, 0)
        return range(first, int(np.searchsorted(self.heads, np.uint64(high), side="right")))


@lru_cache(maxsize=OPEN_TABLES)
def blocks_of(files: Files, table: BlockTable) -> Blocks:
    """The blocks of a table. Raises DamageError where they are not as they were written."""
    start = table.blocks.bounds[0]
    with remedied():
        (head,) = files.read_ranges([Range(table.name_of_blocks, 0, start)])
        if checksum(head) != table.blocks.checksums[0]:
            raise DamageError(files.path(table.name_of_blocks), "its checksum is another one")
        schema = ipc.read_schema(head)
        (found,) = read_table(files, schema, table.name_of_blocks, table.blocks)
    heads, rows, ends, checksums = (numbers(column) for column in found.columns)
    first = int((schema.metadata or {})[b"start"])
    zero = np.zeros(1, np.int64)
    return Blocks(
        heads,
        np.concatenate([zero, np.cumsum(rows)]),
        np.concatenate([zero + first, ends]),
        checksums,
    )


def read_blocks(
    files: Files, table: BlockTable, schema: pa.Schema, chosen: Sequence[int]
) -> Iterator[pa.RecordBatch]:
    """Some blocks of a table, in the order in which they are asked for; one read for each.

    files: the folder of the index. table: which. schema: of the table. chosen: numbers of blocks.
    Raises DamageError where one is not as it was written.
    """
    for data in _checked(files, table, chosen):
        yield ipc.read_record_batch(data, schema)


def check_blocks(files: Files, table: BlockTable) -> None:
    """Raise DamageError where a table is not as it was written.

    files: the folder of the index. table: which.
    """
    check_there(files, table)
    for _ in _checked(files, table, range(len(blocks_of(files, table).heads))):
        pass


def check_there(files: Files, table: BlockTable) -> None:
    """Raise DamageError where a table is gone, or has not all of its bytes.

    files: the folder of the index. table: which.
    """
    for name, size in ((table.name, table.size), (table.name_of_blocks, table.blocks.size)):
        if not files.exists(name) or files.size(name) != size:
            raise DamageError(files.path(name), "it is not as long as it was", remedy=REMEDY)


def _checked(files: Files, table: BlockTable, chosen: Sequence[int]) -> Iterator[pa.Buffer]:
    """The bytes of some blocks."""
    blocks = blocks_of(files, table)
    ranges = [
        Range(table.name, int(blocks.bounds[one]), int(blocks.bounds[one + 1])) for one in chosen
    ]
    with remedied():
        for one, data in zip(chosen, files.read_ranges(ranges), strict=True):
            if checksum(data) != blocks.checksums[one]:
                raise DamageError(files.path(table.name), "its checksum is another one")
            yield data
