"""What a corpus is made of: shards, and the slices of a shard that tasks read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.documents.template import Template
from dedupe.errors import CorpusError
from dedupe.remote import StoreError, is_uri, objects

RowNumbers = npt.NDArray[np.int64]

PLAIN_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
"""Format by suffix; Arrow files and streams are told apart by their first bytes."""
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
"""Compression by suffix, of the formats below."""
COMPRESSIBLE = ("jsonl", "csv")
KNOWN_SUFFIXES = frozenset(PLAIN_SUFFIXES) | frozenset(COMPRESSIONS)
"""Every suffix of which a shard's name may have one, or two with a compression."""


@dataclass(frozen=True)
class Shard:
    """One input file.

    ordinal: place among the corpus's shards, by path. path: on a local disk, or a URI. format:
    "parquet", "jsonl", "csv", "arrow" (IPC file) or "arrow-stream"; "table" in memory. size: bytes
    as stored. version: changes with the content: nanoseconds of the last change, or an ETag.
    """

    ordinal: int
    path: str
    format: str
    size: int
    version: str

    @property
    def is_remote(self) -> bool:
        """Whether it is read through a protocol."""
        return is_uri(self.path)

    @property
    def compression(self) -> str | None:
        """The codec that the whole file is compressed with."""
        if self.format not in COMPRESSIBLE:
            return None
        return COMPRESSIONS.get(os.path.splitext(file_name(self.path))[1].lower())

    def check_unchanged(self) -> None:
        """Raise CorpusError where the file is no longer the one that was found; one HEAD."""
        with reading(self):
            if self.is_remote:
                there = objects.info(self.path)
                found = (there.size, there.version)
            else:
                status = os.stat(self.path)
                found = (status.st_size, str(status.st_mtime_ns))
        if found != (self.size, self.version):
            raise CorpusError("changed during the run: run again with --fresh", path=self.path)


def file_name(path: str) -> str:
    """The last part of a path, or of a URI without its query."""
    if path.startswith(("http://", "https://")):
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    return os.path.basename(path)


@dataclass(frozen=True)
class Slice:
    """Part `index` of a shard.

    [first, last) counts row groups of Parquet, record batches of Arrow, bytes of plain JSONL
    (the lines that start there), rows of a table. A shard that can only be read whole has one
    slice, 0 to -1.
    """

    shard: int
    index: int
    first: int
    last: int


@dataclass(frozen=True)
class Projection:
    """What is read of each row: its document, and columns by what they are for.

    roles: ("id" or a keep policy, column) each; see `Settings.roles`.
    """

    template: Template
    roles: tuple[tuple[str, str], ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns besides the document's, as they are asked for."""
        return tuple(name for _, name in self.roles)

    @property
    def plain(self) -> tuple[str, ...]:
        """Those of them that the document does not need, each once."""
        return tuple(n for n in dict.fromkeys(self.columns) if n not in self.template.columns)

    def present(self, names: Sequence[str]) -> list[str]:
        """Every column to read, without optional ones that are not among `names`."""
        optional = {field.column for field in self.template.fields if field.optional}
        every = (*self.template.columns, *self.plain)
        return [name for name in every if name in names or name not in optional]


class Decoded(NamedTuple):
    """Rows as a format's reader delivers them: of `batch` those at `take`, or all.

    documents: of all rows of the batch, where the reader had to render them itself.
    """

    batch: pa.RecordBatch
    take: RowNumbers | None = None
    documents: pa.Array | None = None


class Format(Protocol):
    """What each format's module provides."""

    def columns(self, shard: Shard) -> list[str]:
        """Name the columns; none where nothing tells."""

    def check(self, shard: Shard, wanted: Projection) -> None:
        """Raise CorpusError where a column is missing or of a wrong type."""

    def plan(
        self, shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int
    ) -> list[Slice]:
        """Cut the shard by the size of these columns."""

    def first_row(self, shard: Shard, part: Slice) -> int:
        """Row number in the shard of the slice's first row."""

    def estimate(self, shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
        """Rows, and bytes of these columns or of all, about."""

    def read(
        self,
        shard: Shard,
        part: Slice,
        wanted: Projection,
        batch_bytes: int,
        rows: RowNumbers | None,
    ) -> Iterator[Decoded]:
        """Decode the columns, or render the documents."""


def whole(shard: Shard) -> list[Slice]:
    """Make the one slice of a shard that cannot be cut."""
    return [Slice(shard.ordinal, 0, 0, -1)]


def group(
    shard: Shard, sizes: Sequence[int], rows: Sequence[int], target_bytes: int, max_rows: int
) -> list[Slice]:
    """Slices of neighbouring parts, each up to both limits or of a single part."""
    slices: list[Slice] = []
    first = size = count = 0
    for i, (part_size, part_rows) in enumerate(zip(sizes, rows, strict=True)):
        if i > first and (size + part_size > target_bytes or count + part_rows > max_rows):
            slices.append(Slice(shard.ordinal, len(slices), first, i))
            first, size, count = i, 0, 0
        size += part_size
        count += part_rows
    if len(sizes) > first:
        slices.append(Slice(shard.ordinal, len(slices), first, len(sizes)))
    return slices


def within(rows: RowNumbers | None, start: int, count: int) -> RowNumbers | None:
    """Those of `rows` from `start` on, counted from there; None for all of the `count`."""
    if rows is None:
        return None
    low, high = np.searchsorted(rows, [start, start + count])
    return None if high - low == count else rows[low:high] - start


def missing(shard: Shard, name: str, present: Sequence[str]) -> CorpusError:
    """Make the error for a column that is not there."""
    listed = ", ".join(present[:40]) + (", …" if len(present) > 40 else "")
    return CorpusError(f'no column "{name}": it has {listed or "no columns"}', path=shard.path)


def one_line(error: BaseException) -> str:
    """Put an exception's message on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"


@contextmanager
def reading(shard: Shard, what: str = "cannot be read", row: int | None = None) -> Iterator[None]:
    """Turn what a library raises about a file into CorpusError."""
    with reading_path(shard.path, what, row):
        yield


@contextmanager
def reading_path(path: str, what: str = "cannot be read", row: int | None = None) -> Iterator[None]:
    """The same, of a file that is no shard yet."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, pa.ArrowMemoryError):
            reason = f"{one_line(error)}: it is damaged, or memory is short"
        elif isinstance(error, StoreError):
            reason = error.reason
        elif isinstance(error, OSError) and error.errno is not None and error.strerror:
            reason = error.strerror
        else:
            reason = one_line(error)
        failure = CorpusError(f"{what}: {reason}", path=path, row=row)
        failure.passing = isinstance(error, StoreError) and error.passing
        raise failure from None
