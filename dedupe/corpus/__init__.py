"""Corpora: finding shards, cutting them into slices, reading the columns of a slice.

    formats    the formats there are: suffixes, and the modules that read and write each
    shard      shards, slices, and what is read of them
    mistaken   files that are not what their names say
    thrift     in which Parquet writes its footer and the headers of its pages
    opening    the bytes of a shard, on a disk or elsewhere
    discover   which shards a corpus has (`names`, `remote_files`)
    reading    a module for each format
    slices     chosen rows of several slices
    rewriting  a module for each format: rows copied to a file like theirs
    frames     rows in memory, of whatever library

Text arrives as the bytes that are in the file, whether they are valid UTF-8 or not; what cannot be
read raises CorpusError with the file, and the row where it is known. Shards may lie on a local disk
or be read through a protocol: see `dedupe.remote`. Nothing here runs threads of its own but to look
for remote shards, and memory is bounded by batches, not by files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dedupe.arrays import text_buffers
from dedupe.corpus.discover import (
    Discovered,
    discover,
    discover_references,
    find_shards,
    identities,
)
from dedupe.corpus.failures import joined, missing, nowhere
from dedupe.corpus.formats import KNOWN_SUFFIXES, format_of, open_source
from dedupe.corpus.mistaken import told_what_it_is
from dedupe.corpus.reading.lines import HEAD_BYTES, HEAD_ROWS
from dedupe.corpus.shard import (
    BLOCK_SIZES,
    BlockSizes,
    KeptShard,
    Lacking,
    Limits,
    LinesShard,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    TableShard,
    as_references,
    by_role,
    file_name,
    is_in_memory,
    kept_shard,
    lines_shard,
    read_as,
    table_shard,
)
from dedupe.corpus.slices import SliceReader, read_slice
from dedupe.documents.template import DATA, ColumnPath, Template
from dedupe.errors import CorpusError, SettingsError, listed

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BLOCK_SIZES",
    "KNOWN_SUFFIXES",
    "BlockSizes",
    "Discovered",
    "KeptShard",
    "Lacking",
    "Limits",
    "LinesShard",
    "Projection",
    "RowNumbers",
    "Shard",
    "Slice",
    "SliceReader",
    "TableShard",
    "as_references",
    "by_role",
    "check_columns",
    "check_few_rows",
    "check_some_bytes",
    "column_names",
    "discover",
    "discover_references",
    "estimate",
    "file_name",
    "find_shards",
    "first_row",
    "first_rows",
    "format_of",
    "heard",
    "identities",
    "is_in_memory",
    "kept_shard",
    "lines_shard",
    "nowhere",
    "open_source",
    "plan_slices",
    "read_as",
    "read_columns",
    "read_slice",
    "said_empty",
    "said_joined",
    "silent_columns",
    "table_shard",
]

_NO_LIMIT = 1 << 62


def column_names(shard: Shard) -> list[str]:
    """The columns of a shard; none where no row tells."""
    with told_what_it_is(shard):
        return format_of(shard).reader.columns(shard)


def check_columns(shard: Shard, projection: Projection) -> Lacking:
    """Check early what is cheap to check: the columns that are to be read.

    Reads the schema, or the first rows of JSON lines. Raises CorpusError for a column that is
    missing (it lists those there are), occurs twice or has a type that cannot be read. Gives the
    paths of which only later rows can tell whether they lead to anything; see `heard`.
    """
    with told_what_it_is(shard):
        return format_of(shard).reader.check(shard, projection)


def check_some_bytes(shards: Sequence[Shard]) -> None:
    """Raise CorpusError for a corpus without any row in which a file ought to have bytes.

    shards: the corpus, of which no shard has a column. Plain JSON lines may be empty; CSV has a
    header at least, and what compresses nothing leaves some bytes.
    """
    others = "" if len(shards) == 1 else ", as are all others"
    for shard in shards:
        lines = not format_of(shard).typed
        if lines and (shard.format == "csv" or (shard.compression and not shard.size)):
            raise CorpusError(f"is empty{others}: make it again", path=shard.path)


def said_empty(shards: Sequence[Shard]) -> str:
    """Say which files have no bytes, and so no rows. shards: they."""
    paths = listed([shard.path for shard in shards])
    count = "1 file has" if len(shards) == 1 else f"{len(shards):,} files have"
    return f"{count} 0 bytes, and no rows: {paths}"


def said_joined(shard: Shard) -> str:
    """What is added to a message about missing columns where CSV seems to have another delimiter.

    shard: the file. Empty where there is nothing to add.
    """
    names = column_names(shard) if shard.format == "csv" else []
    return joined(names, shard.delimiter)


def check_few_rows(shard: Shard, lacking: Lacking) -> None:
    """Raise CorpusError for a path that leads to nothing in any row of the only shard.

    shard: the file; one of more than `HEAD_ROWS` rows is left for later. lacking: what is said of
    it, see `check_columns`.
    """
    if lacking and 0 < estimate(shard)[0] <= HEAD_ROWS:
        found = heard(shard, list(lacking))
        for path, said in lacking.items():
            if path not in found:
                raise nowhere(path, said, shard.path)


def silent_columns(shard: Shard, names: Sequence[str]) -> frozenset[str]:
    """Those of some columns in which none of the first rows has anything: null, or empty.

    There are none where they cannot be read as text; what is wrong is said by who needs them.
    """
    looked = [name for name in names if names.count(name) == 1]
    try:
        said = heard(shard, [ColumnPath(name) for name in looked], HEAD_ROWS)
    except CorpusError:
        return frozenset()
    return frozenset(looked) - {path.column for path in said}


def heard(
    shard: Shard, paths: Sequence[ColumnPath], most: int | None = None
) -> frozenset[ColumnPath]:
    """Those of some paths at which some row has anything that is not null or empty.

    shard: the file. paths: what is looked for; it is read up to the row with which all are found.
    most: rows to look at; None for all. Raises CorpusError for what cannot be read.
    """
    left = set(paths)
    looked = list(left)
    fields = (Template((replace(path, optional=True, aspect=DATA),)) for path in looked)
    values = Projection(tuple(fields))
    limit = _NO_LIMIT if most is None else most
    rows = 0
    for part in format_of(shard).reader.plan(shard, (), _NO_LIMIT, limit) if left else ():
        for batch in read_slice(shard, part, values, batch_bytes=HEAD_BYTES):
            first = batch.slice(0, limit - rows)
            for path, texts in zip(looked, first.columns, strict=True):
                if text_buffers(texts).lengths.any():
                    left.discard(path)
            rows += len(first)
            if not left or rows == limit:
                return frozenset(looked) - left
    return frozenset(looked) - left


def plan_slices(
    shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int
) -> list[Slice]:
    """Cut a shard into slices that hold every row once, in order.

    shard: the file. columns: those whose bytes count. target_bytes: about the bytes of these
    columns in a slice, at most (for JSON lines: of lines; for Arrow: of record batches). max_rows:
    rows of a slice, at most, unless its smallest part is larger.
    """
    with told_what_it_is(shard):
        return format_of(shard).reader.plan(shard, columns, target_bytes, max_rows)


def first_row(shard: Shard, part: Slice) -> int:
    """Row number in the shard of a slice's first row; reads plain JSON lines up to there."""
    (row,) = first_rows(shard, [part])
    return row


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """The same of several slices of a shard, in order; plain JSON lines are read once."""
    return format_of(shard).reader.first_rows(shard, slices)


def estimate(shard: Shard, columns: Sequence[str] = ()) -> tuple[int, int]:
    """(rows, bytes of text) of a shard, about.

    Rows are exact for Parquet, Arrow and tables. Text is that of all columns where they cannot be
    told apart, or without `columns`.
    """
    with told_what_it_is(shard):
        return format_of(shard).reader.estimate(shard, columns)


def read_columns(shard: Shard, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """All rows of some columns, or of all, in small batches, with the types that they have there.

    Raises SettingsError for a format whose columns have no types of their own: JSON lines and CSV.
    """
    kind = format_of(shard)
    if not kind.typed:
        raise SettingsError(f"{shard.path} has no types of its own: use dedupe apply")
    present = column_names(shard)
    for name in columns or ():
        if name not in present:
            raise missing(shard.path, name, present)
    names = tuple(map(ColumnPath, present if columns is None else columns))
    projection = Projection((Template(names),))
    for part in kind.reader.plan(shard, (), _NO_LIMIT, _NO_LIMIT):
        for decoded in kind.reader.read(shard, part, projection, _NO_LIMIT, None, BLOCK_SIZES):
            yield decoded.batch
