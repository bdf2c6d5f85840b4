"""The formats of shards, one entry each. Nothing else in this project asks which one a shard has.

To add a format takes three things: a module in `reading` that reads it (see `Reader`), one of the
same name in `rewriting` that writes files like it (see `rewriting.Source`), and an entry in
`FORMATS`. Both modules are imported when they are first used: finding shards needs neither, and
only `dedupe apply` needs the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from dedupe.corpus.shard import (
    BLOCK_SIZES,
    CODECS,
    DELIMITERS,
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
)
from dedupe.errors import CorpusError

if TYPE_CHECKING:
    from dedupe.corpus.rewriting import Source


class Reader(Protocol):
    """What a module in `reading` provides. All of it raises CorpusError for what is unreadable."""

    def columns(self, shard: Shard) -> list[str]:
        """Name the columns; none where nothing tells."""

    def check(self, shard: Shard, projection: Projection) -> Lacking:
        """Raise CorpusError where a column is missing or of a wrong type, as far as is cheap.

        Gives the paths of which only later rows can tell whether they lead to anything.
        """

    def plan(
        self, shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int
    ) -> list[Slice]:
        """Cut a shard into slices that hold every row once, in order.

        shard: the file. columns: those whose size counts. target_bytes, max_rows: bytes of these
        columns and rows of a slice, at most, unless its smallest part is larger.
        """

    def first_rows(self, shard: Shard, slices: Sequence[Slice]) -> list[int]:
        """Number in the shard of the first row of each of these slices, which are in order."""

    def estimate(self, shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
        """Rows, and bytes of these columns or of all, about."""

    def read(
        self,
        shard: Shard,
        part: Slice,
        projection: Projection,
        batch_bytes: int,
        rows: RowNumbers | None,
        sizes: BlockSizes,
    ) -> Iterator[Decoded]:
        """Decode the columns of a slice, or render its documents, some rows at a time.

        shard, part: the file, and the slice of it. projection: what is read. batch_bytes: about the
        bytes of text that are decoded at a time, where a reader can choose. rows: numbers of the
        rows to read, ascending and counted from the first of the slice; None for all. sizes: bytes
        of the blocks in which lines are parsed.
        """


class Rewriter(Protocol):
    """What a module in `rewriting` provides."""

    def open_source(self, shard: Shard, sizes: BlockSizes) -> Source:
        """Open a shard to copy rows of it, in blocks of these sizes."""


@dataclass(frozen=True)
class Format:
    """A format of shards.

    name: as shards have it. module: the name of its modules in `reading` and `rewriting`. suffixes:
    what its files end with, in lower case; none for rows in memory. compressions: keys of `CODECS`
    that may follow a suffix. magic: what a file begins with, where several formats have the same
    suffix; of these the first that fits is taken. typed: whether columns have types of their own,
    which are not learned from values. divisible: whether a file can be copied from the middle on
    without reading what is before, so that several tasks share it. unit: of plain text, whether a
    row is a "line" or a whole "file": rows have no columns but `text`, and can get none.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    compressions: tuple[str, ...] = ()
    magic: bytes = b""
    typed: bool = True
    divisible: bool = False
    unit: str = ""

    @cached_property
    def reader(self) -> Reader:
        """The module that reads it."""
        return cast(Reader, import_module(f"dedupe.corpus.reading.{self.module}"))

    @cached_property
    def rewriter(self) -> Rewriter:
        """The module that copies rows to files like it; rows in memory have none."""
        return cast(Rewriter, import_module(f"dedupe.corpus.rewriting.{self.module}"))


_ARROW = (".arrow", ".feather", ".ipc")
_JSON = (".jsonl", ".ndjson", ".json", ".jsonlines", ".jl")
_TEXT = tuple(CODECS)

FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        Format("parquet", "parquet", (".parquet", ".pq"), divisible=True),
        Format("jsonl", "jsonl", _JSON, _TEXT, typed=False),
        Format("csv", "csv_files", tuple(DELIMITERS), _TEXT, typed=False),
        Format("text-lines", "text_lines", (".txt",), _TEXT, typed=False, unit="line"),
        Format("text-files", "text_files", (".txt",), _TEXT, typed=False, unit="file"),
        Format("arrow", "arrow_files", _ARROW, magic=b"ARROW1"),
        Format("arrow-stream", "arrow_streams", _ARROW),
        Format("table", "tables", ()),
        Format("kept", "kept_rows", ()),
    )
}
"""Every format by its name."""

REFUSED = {b"FEA1": "is Feather version 1: write it as version 2"}
"""Beginnings of files that look like a known format by their suffix and are not; what to do."""

KNOWN_SUFFIXES = frozenset(CODECS).union(*(one.suffixes for one in FORMATS.values()))
"""Every suffix of which a shard's name may have one, or two with a compression."""

MAGIC_BYTES = max(len(begin) for begin in (*REFUSED, *(one.magic for one in FORMATS.values())))
"""Bytes at the beginning of a file by which formats of the same suffix are told apart."""


def format_of(shard: Shard) -> Format:
    """The format that a shard has."""
    return FORMATS[shard.format]


def told_apart(path: str, formats: Sequence[Format], beginning: bytes) -> Format:
    """The first of several formats of one suffix that a file can have.

    path: the file. formats: those that its name allows, at least one. beginning: its first
    `MAGIC_BYTES`. Raises CorpusError where none can be, or for what is in `REFUSED`.
    """
    for magic, reason in REFUSED.items():
        if beginning.startswith(magic):
            raise CorpusError(reason, path=path)
    for one in formats:
        if beginning.startswith(one.magic):
            return one
    raise CorpusError("does not begin as its format does", path=path)


def described_suffixes() -> str:
    """What is said of a file whose name tells no format: all suffixes, and which have others."""
    parts = []
    for compressions in dict.fromkeys(one.compressions for one in FORMATS.values()):
        suffixes = dict.fromkeys(
            suffix
            for one in FORMATS.values()
            if one.compressions == compressions
            for suffix in one.suffixes
        )
        also = f" (these also with {' or '.join(compressions)})" if compressions else ""
        parts.append(" ".join(suffixes) + also)
    return f"known are {', '.join(parts)}"


def open_source(shard: Shard, sizes: BlockSizes = BLOCK_SIZES) -> Source:
    """Open a shard to copy rows of it, with all their columns, to files like it.

    shard: a file. sizes: bytes that are read and written at a time. Raises CorpusError where it
    cannot be read.
    """
    return format_of(shard).rewriter.open_source(shard, sizes)
