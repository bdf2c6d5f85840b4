"""Corpora: finding shards, cutting them into slices, reading the columns of a slice.

Text arrives as the bytes that are in the file, whether they are valid UTF-8 or not; what cannot be
read raises CorpusError with the file, and the row where it is known. Shards may lie on a local disk
or be read through a protocol: see `dedupe.remote`. Nothing here runs threads of its own but to look
for remote shards, and memory is bounded by batches, not by files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.corpus import csv_files, ipc, jsonl, memory, parquet
from dedupe.corpus.discover import find_shards
from dedupe.corpus.lines import count_rows
from dedupe.corpus.memory import TABLE_PATH, TableShard, table_shard
from dedupe.corpus.shard import (
    COMPRESSIBLE,
    KNOWN_SUFFIXES,
    Format,
    Projection,
    Shard,
    Slice,
    file_name,
    missing,
)
from dedupe.corpus.texts import regulate
from dedupe.documents.template import ColumnPath, Template
from dedupe.errors import SettingsError

__all__ = [
    "KNOWN_SUFFIXES",
    "TABLE_PATH",
    "Projection",
    "Shard",
    "Slice",
    "TableShard",
    "check_columns",
    "column_names",
    "estimate",
    "file_name",
    "find_shards",
    "first_row",
    "first_rows",
    "plan_slices",
    "read_columns",
    "read_slice",
    "table_shard",
]

_NO_LIMIT = 1 << 62

_FORMATS: dict[str, Format] = {
    "parquet": parquet,
    "jsonl": jsonl,
    "csv": csv_files,
    "arrow": ipc,
    "arrow-stream": ipc,
    "table": memory,
}


def column_names(shard: Shard) -> list[str]:
    """The columns of a shard; none where no row tells."""
    return _FORMATS[shard.format].columns(shard)


def check_columns(shard: Shard, wanted: Projection) -> None:
    """Check early what is cheap to check: the columns that are wanted.

    Reads the schema, or the first rows of JSON lines. Raises CorpusError for a column that is
    missing (it lists those there are), occurs twice or has a type that cannot be read.
    """
    _FORMATS[shard.format].check(shard, wanted)


def plan_slices(
    shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int
) -> list[Slice]:
    """Cut a shard into slices that hold every row once, in order.

    A slice has up to about `target_bytes` of these columns (for JSON lines: of lines;
    for Arrow: of record batches) and `max_rows` rows, unless its smallest part is larger.
    """
    return _FORMATS[shard.format].plan(shard, columns, target_bytes, max_rows)


def first_row(shard: Shard, part: Slice) -> int:
    """Row number in the shard of a slice's first row; reads plain JSON lines up to there."""
    return _FORMATS[shard.format].first_row(shard, part)


def first_rows(shard: Shard, parts: Sequence[Slice]) -> list[int]:
    """The same of all slices of a shard; plain JSON lines are read once."""
    if shard.format != "jsonl":
        return [first_row(shard, part) for part in parts]
    counts = (count_rows(shard, part.last, part.first) for part in parts[:-1])
    return list(accumulate(counts, initial=0))[: len(parts)]


def estimate(shard: Shard, columns: Sequence[str] = ()) -> tuple[int, int]:
    """(rows, bytes of text) of a shard, about.

    Rows are exact for Parquet, Arrow and tables. Text is that of all columns where they cannot be
    told apart, or without `columns`.
    """
    return _FORMATS[shard.format].estimate(shard, columns)


def read_slice(
    shard: Shard,
    part: Slice,
    wanted: Projection,
    *,
    batch_bytes: int,
    rows: npt.NDArray[np.int64] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read what is wanted of a slice's rows, in order, in batches of about `batch_bytes` of text.

    The first column of a batch has the documents, as large_string whose bytes are those in the
    file; then come the wanted columns in order, of the types that they have there. rows: read only
    these, ascending row numbers within the slice. Raises CorpusError for what cannot be read.
    """
    reader = _FORMATS[shard.format]
    if rows is not None and len(rows) == 0:
        return
    decoded = reader.read(shard, part, wanted, batch_bytes, rows)
    yield from regulate(shard, decoded, wanted, batch_bytes)


def read_columns(shard: Shard, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """All rows of some columns, or of all, in small batches, with the types that they have there.

    Raises SettingsError for a format whose columns have no types of their own: JSON lines and CSV.
    """
    if shard.format in COMPRESSIBLE:
        raise SettingsError(f"{shard.path} has no types of its own: use dedupe apply")
    present = column_names(shard)
    for name in columns or ():
        if name not in present:
            raise missing(shard, name, present)
    names = tuple(map(ColumnPath, present if columns is None else columns))
    reader = _FORMATS[shard.format]
    for part in reader.plan(shard, (), _NO_LIMIT, _NO_LIMIT):
        for decoded in reader.read(shard, part, Projection(Template(names)), _NO_LIMIT, None):
            yield decoded.batch
