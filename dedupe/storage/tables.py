"""Tables that tasks hand to one another: Arrow IPC streams whose record batches have checksums.

The result of the task that made a file has the bounds and checksums of its record batches, so a
reader takes the batch it needs with one read and parses nothing that it has not checked.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.errors import DamageError, IntegrityError
from dedupe.storage.checksums import HashingSink, checksum
from dedupe.storage.files import Files, Made, Range

GROUP_ROWS = 1 << 17
"""Rows in a row group of a keep-list, and of other Parquet files that are published."""


@dataclass(frozen=True)
class WrittenFile:
    """A file that a task left.

    bounds: the byte at which each part of it ends; a table has its schema as the first part and a
    record batch in each of the others, other files are one part. checksums: xxh3 of each part.
    size: bytes in all.
    """

    bounds: tuple[int, ...]
    checksums: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, sink: HashingSink) -> WrittenFile:
        """What was written to a sink; all of it is one part, unless it was cut."""
        if not sink.bounds:
            sink.cut()
        return cls(tuple(sink.bounds), tuple(sink.checksums), sink.tell())

    def as_json(self) -> list[Any]:
        """Plain values; see `from_json`."""
        return [self.bounds, self.checksums, self.size]

    @classmethod
    def from_json(cls, found: list[Any]) -> WrittenFile:
        """Read what `as_json` gave."""
        bounds, checksums, size = found
        return cls(tuple(bounds), tuple(checksums), size)

    @property
    def batches(self) -> int:
        """Record batches of a table."""
        return len(self.bounds) - 1

    def made(self, files: Files, name: str) -> Made:
        """The file as `Files.publish` takes it, where it is one part.

        files: the folder in which it is. name: its name there.
        """
        (whole,) = self.checksums
        return Made(files, name, self.size, whole)


def schema_as_text(columns: pa.Schema) -> str:
    """A schema as a text that JSON can hold: an Arrow schema message in base64."""
    return base64.b64encode(columns.serialize()).decode()


def schema_from_text(text: str) -> pa.Schema:
    """Read what `schema_as_text` gave."""
    return ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


class Part(NamedTuple):
    """A record batch of a file: number `batch` of the file `name`."""

    name: str
    file: WrittenFile
    batch: int


def write_table(
    files: Files,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    options: ipc.IpcWriteOptions | None = None,
) -> WrittenFile:
    """Write a table, whole or not at all.

    files: the folder. name: of the file in it. schema: of the table. batches: its record batches.
    options: how they are written, such as compressed; None for as they are.
    """
    with files.writing(name) as sink:
        sink.cut_at(schema.serialize().size)
        with ipc.new_stream(pa.PythonFile(sink, "w"), schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
                sink.cut()
    return WrittenFile.of(sink)


def write_file(files: Files, name: str, write: Callable[[pa.NativeFile], None]) -> WrittenFile:
    """Write a file that is no table, as one part.

    files: the folder. name: of the file in it. write: writes to the sink that it is given.
    """
    with files.writing(name) as sink:
        write(pa.PythonFile(sink, "w"))
    return WrittenFile.of(sink)


def read_parts(files: Files, schema: pa.Schema, parts: Sequence[Part]) -> Iterator[pa.RecordBatch]:
    """Record batches of some files, in order; one read for each.

    files: the folder. schema: of all these files. parts: which batches. Raises DamageError where
    one is not as it was written.
    """
    ranges = []
    for name, file, batch in parts:
        if not 0 <= batch < file.batches:
            raise IntegrityError(f"{files.path(name)} has {file.batches} record batches")
        ranges.append(Range(name, file.bounds[batch], file.bounds[batch + 1]))
    for (name, file, batch), data in zip(parts, files.read_ranges(ranges), strict=True):
        if checksum(data) != file.checksums[batch + 1]:
            raise DamageError(files.path(name), "its checksum is another one")
        yield ipc.read_record_batch(data, schema)


def read_table(
    files: Files, schema: pa.Schema, name: str, file: WrittenFile
) -> Iterator[pa.RecordBatch]:
    """All record batches of a file, one after the other; see `read_parts`.

    files: the folder. schema: of the table. name: of the file. file: as it was written.
    """
    yield from read_parts(files, schema, [Part(name, file, i) for i in range(file.batches)])


def row_groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in row groups of one size and chunk: a file does not show how it was cut.

    schema: of the rows. batches: they, in order.
    """
    held: list[pa.RecordBatch] = []
    room = GROUP_ROWS
    for batch in batches:
        rest = batch
        while rest.num_rows > room:
            yield pa.Table.from_batches([*held, rest.slice(0, room)]).combine_chunks()
            rest = rest.slice(room)
            held, room = [], GROUP_ROWS
        held.append(rest)
        room -= rest.num_rows
    yield pa.Table.from_batches(held, schema=schema).combine_chunks()
