"""What a corpus consists of: shards, their slices, and what is read of each row."""

from __future__ import annotations

import copy
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from dedupe.arrays import held_bytes
from dedupe.config import MOST_ROW
from dedupe.corpus.failures import reading, too_much_text
from dedupe.corpus.opening import ShardFile, decompressed, shard_file
from dedupe.documents.template import ColumnPath, Template
from dedupe.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow as pa

RowNumbers: TypeAlias = "npt.NDArray[np.int64]"
"""Numbers of rows, ascending; from which row they count is said where they are used."""

CODECS = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".bz2": "bz2",
    ".lz4": "lz4",
    ".xz": "xz",
}
"""What a whole file is compressed with, by the suffix that says so. Which formats can be is said in
`formats`; a file of any other format that has such a suffix is no shard."""

DELIMITERS = {".csv": None, ".tsv": "\t", ".psv": "|"}
"""What stands between the fields of CSV, by the suffix; None where the suffix does not say it."""

BOM = b"\xef\xbb\xbf"
"""What may stand before the first byte of text: the byte order mark of UTF-8."""

TABLE_PATH = "<table>"
"""The path of a shard that is in memory; of several tables that of the first."""
REFERENCE_PATH = "<reference>"
"""The same of a reference."""
ALL_COLUMNS = b"dedupe:columns"
"""Where the schema of a table has the names of all columns of what it was made of, as JSON."""


@dataclass(frozen=True)
class BlockSizes:
    """Bytes that are read or written at a time.

    lines: of JSON lines; pyarrow.json is slower with much less or more. csv: of CSV, read larger
    for a row that is longer. record_batch and row_group: of what is written, at most: larger ones
    become several.
    """

    lines: int = 2 << 20
    csv: int = 1 << 20
    record_batch: int = 32 << 20
    row_group: int = 64 << 20


BLOCK_SIZES = BlockSizes()

MUCH_TEXT = 10**9
"""Bytes of text that any file may hold, however small it is."""


@dataclass(frozen=True)
class Limits:
    """What is read of a file at most; bytes, unless said otherwise.

    row: of a row: its line in JSON lines and arrays, its text in other formats. Twice the default
    would overflow the 32 bits in which the parsers of pyarrow count. part: of what can only be
    decoded as a whole, a page of Parquet, and of the window of zstd. expansion: how many times its
    size the text of a file may be, where that is more than `MUCH_TEXT`.
    """

    row: int = MOST_ROW
    part: int = 1 << 62
    expansion: int = 1 << 62


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Shard:
    """One input file.

    ordinal: place among the corpus's shards, by path. path: on a local disk, or a URI. format: name
    of one of `formats.FORMATS`. size: bytes as stored. version: changes with the content:
    nanoseconds of the last change, or an ETag. separator: what stands between the fields of its
    rows if it is CSV whose suffix does not say it, see `Settings.delimiter`. limits: what is read
    of it at most. skips_rows: whether rows that cannot be read are left out, see
    `Settings.on_bad_row`. skips_text: whether those with malformed UTF-8 are, too. reference: the
    number of the reference that it is of, whose rows stay untouched; None in the corpus.
    """

    ordinal: int
    path: str
    format: str
    size: int
    version: str
    separator: str | None = None
    limits: Limits = NO_LIMITS
    skips_rows: bool = False
    skips_text: bool = False
    reference: int | None = None

    @property
    def most_text(self) -> int:
        """Bytes of text that it may hold: see `Limits.expansion`."""
        return max(self.limits.expansion * self.size, MUCH_TEXT)

    @property
    def compression(self) -> str | None:
        """The codec that the whole file is compressed with."""
        return CODECS.get(os.path.splitext(file_name(self.path))[1].lower())

    @property
    def delimiter(self) -> str:
        """What stands between the fields of its rows, if it is CSV."""
        name = file_name(self.path).lower()
        if self.compression:
            name = os.path.splitext(name)[0]
        return DELIMITERS.get(os.path.splitext(name)[1]) or self.separator or ","

    @property
    def file(self) -> ShardFile:
        """Its bytes, wherever they lie."""
        return shard_file(self.path, self.size)

    @property
    def is_remote(self) -> bool:
        """Whether its path is a URI, which is the same from wherever it is read."""
        return self.file.is_fetched

    def open_bytes(self) -> BinaryIO:
        """Open it to read from front to back, decompressed; CorpusError where that fails.

        Reading raises CorpusError for more bytes than `most_text`.
        """
        stream = decompressed(self.path, self.size, self.compression, self.limits.part)
        return stream if self.compression is None else cast(BinaryIO, _Bounded(stream, self))

    def check_unchanged(self) -> None:
        """Raise CorpusError where the file is no longer the one that was found; one HEAD."""
        with reading(self.path):
            found = self.file.state()
        if found != (self.size, self.version):
            raise CorpusError("changed during the run: run again with --fresh", path=self.path)


class _Bounded:
    """A stream of a shard that is read up to its limit."""

    def __init__(self, stream: BinaryIO, shard: Shard) -> None:
        self._stream = stream
        self._shard = shard
        self._done = 0

    @property
    def closed(self) -> bool:
        """Whether the stream is closed."""
        return self._stream.closed

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all; CorpusError beyond the limit."""
        data = self._stream.read(size)
        self._done += len(data)
        if self._done > self._shard.most_text:
            raise too_much_text(self._shard, self._done)
        return data

    def close(self) -> None:
        """Close the stream."""
        self._stream.close()

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class TableShard(Shard):
    """A shard that holds its rows, which are no fields: they are not compared and not in asdict.

    order: numbers of the table's rows as the shard has them; None for all as they lie.
    """

    table: pa.Table
    order: RowNumbers | None

    def check_unchanged(self) -> None:
        """Tables do not change."""


def table_shard(table: pa.Table, ordinal: int = 0, order: RowNumbers | None = None) -> TableShard:
    """Make a shard of a table; no two are taken for the same, so no run resumes one.

    table: the rows. ordinal: place among the corpus's shards. order: int64 numbers of the table's
    rows in the order in which the shard has them, some left out or several times; None for all.
    """
    path = TABLE_PATH if ordinal == 0 else f"<table {ordinal + 1}>"
    shard = TableShard(ordinal, path, "table", held_bytes(table), str(time.time_ns()))
    object.__setattr__(shard, "table", table)
    object.__setattr__(shard, "order", order)
    return shard


class KeptShard(Shard):
    """Rows that an index has kept, which a run holds its own against.

    rows: how many. beside: names of the columns besides texts, as the run has them. read: gives
    rows of some numbers, ascending, some at a time: the number of each in the index, then its
    texts, then these columns. It can be sent to a worker.
    """

    rows: int
    beside: Sequence[str]
    read: Callable[[RowNumbers], Iterator[pa.RecordBatch]]

    def check_unchanged(self) -> None:
        """Files of an index do not change."""


def kept_shard(
    ordinal: int,
    rows: int,
    beside: Sequence[str],
    read: Callable[[RowNumbers], Iterator[pa.RecordBatch]],
) -> KeptShard:
    """Make a shard of rows of an index, which is a reference.

    ordinal: behind those of the corpus. rows, beside, read: see `KeptShard`.
    """
    shard = KeptShard(ordinal, f"<kept {ordinal}>", "kept", 0, "", reference=0)
    for name, value in (("rows", rows), ("beside", beside), ("read", read)):
        object.__setattr__(shard, name, value)
    return shard


def as_references(shards: Sequence[Shard], first: int) -> list[Shard]:
    """Shards of rows in memory as those of the only reference.

    shards: they. first: the ordinal of the first of them, behind those of the corpus.
    """
    return [
        read_as(
            shard,
            ordinal=first + number,
            path=f"<reference {number + 1}>" if number else REFERENCE_PATH,
            reference=0,
        )
        for number, shard in enumerate(shards)
    ]


def is_in_memory(path: str) -> bool:
    """Whether a path is that of a shard in memory."""
    return re.fullmatch(r"<(table|reference)( \d+)?>", path) is not None


class LinesShard(Shard):
    """Rows in memory that were written to a file of JSON lines, which is no file of the corpus.

    written: the path of that file. Like `TableShard` it has the path `TABLE_PATH`.
    """

    written: str

    @property
    def file(self) -> ShardFile:
        """The file that was written."""
        return shard_file(self.written, self.size)

    def open_bytes(self) -> BinaryIO:
        """Open it to read from front to back."""
        return decompressed(self.written, self.size, None, self.limits.part)

    def check_unchanged(self) -> None:
        """Nobody else knows the file."""


def lines_shard(written: str) -> LinesShard:
    """Make a shard of a file of JSON lines; no two are taken for the same, as in `table_shard`.

    written: its path.
    """
    size = os.path.getsize(written)
    shard = LinesShard(0, TABLE_PATH, "jsonl", size, str(time.time_ns()))
    object.__setattr__(shard, "written", written)
    return shard


def by_role(shards: Sequence[Shard]) -> tuple[list[Shard], list[Shard]]:
    """The shards of the corpus, and those of references."""
    corpus = [shard for shard in shards if shard.reference is None]
    return corpus, [shard for shard in shards if shard.reference is not None]


def read_as(shard: Shard, **how: Any) -> Shard:
    """The same shard, of whatever kind, with some of its fields changed."""
    same = copy.copy(shard)
    for name, value in how.items():
        object.__setattr__(same, name, value)
    return same


def file_name(path: str) -> str:
    """The last part of a path, or of a URI without its query."""
    if path.startswith(("http://", "https://")):
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    return os.path.basename(path)


@dataclass(frozen=True)
class Slice:
    """Part `index` of the shard with the ordinal `shard`.

    [first, last) counts row groups of Parquet, record batches of Arrow, bytes of plain JSON lines
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

    fields: what each field of the document is made of. roles: ("id" or a keep policy, column) each;
    see `Settings.roles`. others: columns that are not compared and whose differences are counted,
    as far as they are there and of a plain type. named: whether the user named the text, which is
    then believed: what the first rows of JSON lines have not may come later. unreadable: whether is
    read which rows could not be, see `schema.UNREADABLE`.
    """

    fields: tuple[Template, ...]
    roles: tuple[tuple[str, str], ...] = ()
    others: tuple[str, ...] = ()
    named: bool = False
    unreadable: bool = False

    @property
    def paths(self) -> tuple[ColumnPath, ...]:
        """The paths of all fields, each once."""
        return tuple(dict.fromkeys(path for one in self.fields for path in one.paths))

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that the document is made of, each once."""
        return tuple(dict.fromkeys(name for one in self.fields for name in one.columns))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns besides the document's, as they are asked for."""
        return tuple(name for _, name in self.roles)

    @property
    def plain(self) -> tuple[str, ...]:
        """Those of them that the document does not need, each once."""
        return tuple(n for n in dict.fromkeys(self.columns) if n not in self.text_columns)

    def present(self, names: Sequence[str]) -> list[str]:
        """Every column to read, without optional ones that are not among `names`."""
        optional = {path.column for path in self.paths if path.optional}
        every = (*self.text_columns, *self.plain)
        return [name for name in every if name in names or name not in optional]


Lacking: TypeAlias = "dict[ColumnPath, str]"
"""Paths that lead to nothing in the rows that were looked at, each with what is said of it if that
is so in all rows; nothing is said where they have no keys at all."""


class Decoded(NamedTuple):
    """Rows as a format's reader delivers them: of `batch` those at `take`, or all.

    documents: the fields of all rows of the batch, where the reader had to render them itself.
    unfit: those of `Projection.others` that are there and cannot be told as plain values. Others
    that the batch has not are nowhere in it. unreadable: numbers of rows in the batch that could
    not be read and were left out, each with the reason; they have nulls.
    """

    batch: pa.RecordBatch
    take: RowNumbers | None = None
    documents: tuple[pa.Array, ...] | None = None
    unfit: frozenset[str] = frozenset()
    unreadable: Mapping[int, str] = MappingProxyType({})


def whole(shard: Shard) -> list[Slice]:
    """Make the one slice of a shard that cannot be cut."""
    return [Slice(shard.ordinal, 0, 0, -1)]


def grouped(
    shard: Shard, sizes: Sequence[int], rows: Sequence[int], target_bytes: int, max_rows: int
) -> list[Slice]:
    """Slices of neighbouring parts of a shard, each within both limits or of a single part.

    sizes, rows: bytes and rows of each part, in order. target_bytes, max_rows: the limits.
    """
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
    """Those of some rows that are among the next ones, counted from the first of these.

    rows: row numbers, ascending; None for all rows. start, count: the next rows are `start` up to
    `start` + `count`. None stands for all of them.
    """
    if rows is None:
        return None
    low, high = np.searchsorted(rows, [start, start + count])
    return None if high - low == count else rows[low:high] - start
