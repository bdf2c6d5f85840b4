"""Rows in memory, of whatever library, as Arrow: only the columns that a run needs."""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.config import Settings
from dedupe.corpus import TABLE_PATH, Projection, TableShard, check_columns, table_shard
from dedupe.corpus.shard import ALL_COLUMNS
from dedupe.documents.columns import is_plain
from dedupe.documents.shapes import SHAPES
from dedupe.errors import CorpusError, SettingsError


def rows_of(corpus: Any, settings: Settings) -> TableShard | pa.RecordBatchReader | None:
    """Rows in memory as a shard, or as a reader where they come one after the other.

    corpus: a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, a pandas or Polars frame, a
    `datasets.Dataset`, or what has `__arrow_c_stream__`. settings: name the columns that are read.
    Gives None for anything else, such as paths. Text is copied only where a library does not hold
    it as Arrow does. Raises CorpusError for a column that is missing or cannot be converted,
    SettingsError for what has the rows of several splits, has them only once, or has none.
    """
    library, kind = type(corpus).__module__.partition(".")[0], type(corpus).__name__
    if isinstance(corpus, pa.RecordBatch):
        corpus = pa.Table.from_batches([corpus])
    if isinstance(corpus, pa.Table):
        return table_shard(_chosen(corpus, settings))
    if _is_dataset(corpus):
        names = [corpus.schema.names[i] for i in _of_schema(corpus.schema, settings)]
        reader = corpus.scanner(columns=names, use_threads=False).to_reader()
        return _noting(reader.schema, reader, corpus.schema.names)
    if library == "pandas" and kind == "DataFrame":
        return table_shard(_of_pandas(corpus, settings))
    if library == "polars" and kind in ("DataFrame", "LazyFrame"):
        return table_shard(_of_polars(corpus, settings))
    if library == "datasets":
        return _of_datasets(corpus, kind, settings)
    if not isinstance(corpus, pa.RecordBatchReader):
        if not hasattr(corpus, "__arrow_c_stream__"):
            return None
        try:
            corpus = pa.RecordBatchReader.from_stream(corpus)
        except pa.ArrowInvalid:
            raise SettingsError(
                f"a {kind} of {library} has no rows: give the whole frame"
            ) from None
    positions = _of_schema(corpus.schema, settings)
    schema = pa.schema([corpus.schema.field(i) for i in positions])
    batches = (batch.select(positions) for batch in corpus)
    return _noting(schema, batches, corpus.schema.names)


def _chosen(table: pa.Table, settings: Settings) -> pa.Table:
    """The columns of a table that a run reads, and the names of all."""
    return _named(table.select(_of_schema(table.schema, settings)), table.column_names)


def _named(table: pa.Table, names: Sequence[str]) -> pa.Table:
    return table.replace_schema_metadata(_metadata(names))


def _metadata(names: Sequence[str]) -> dict[bytes, bytes]:
    return {ALL_COLUMNS: json.dumps(list(names)).encode()}


def _noting(
    schema: pa.Schema, batches: Iterable[pa.RecordBatch], names: Sequence[str]
) -> pa.RecordBatchReader:
    """Batches with the names of all columns of what they were made of."""
    metadata = _metadata(names)
    noted = (batch.replace_schema_metadata(metadata) for batch in batches)
    return pa.RecordBatchReader.from_batches(schema.with_metadata(metadata), noted)


def _is_dataset(corpus: Any) -> bool:
    """Whether it is a pyarrow Dataset; their module imports pandas, so it is not imported here."""
    module = sys.modules.get("pyarrow.dataset")
    return module is not None and isinstance(corpus, module.Dataset)


def read_columns(names: Sequence[str], settings: Settings) -> tuple[list[int], list[int]]:
    """Positions of the columns that a run needs, and of others whose differences it counts.

    names: all columns, in order. settings: of the run. Raises CorpusError where a column that is
    needed is missing, or none is named and no shape is known that has these columns.
    """
    if not names:
        return [], []
    try:
        document = settings.document(names)
    except SettingsError as error:
        raise CorpusError(str(error), path=TABLE_PATH) from None
    wanted = Projection(document.templates, tuple(settings.roles.items()), document.refused)
    empty = pa.Table.from_arrays([pa.nulls(0)] * len(names), names=list(names))
    check_columns(table_shard(empty), wanted)
    known: tuple[str, ...] = ()
    if document.format:  # by which the run will know the format, too
        known = SHAPES[document.format].known
    read = {*wanted.present(names), *known}
    needed = [i for i, name in enumerate(names) if name in read]
    carried = set(settings.carried(document)) - read
    return needed, [i for i, name in enumerate(names) if name in carried and names.count(name) == 1]


def _of_schema(schema: pa.Schema, settings: Settings) -> list[int]:
    """Positions of the columns of Arrow data to read: all that is needed, and plain others."""
    needed, others = read_columns(schema.names, settings)
    return sorted([*needed, *(i for i in others if is_plain(schema.field(i).type))])


def _of_pandas(frame: Any, settings: Settings) -> pa.Table:
    names = list(map(str, frame.columns))
    needed, others = read_columns(names, settings)
    columns = {names[i]: _array(frame.iloc[:, i], names[i]) for i in needed}
    for i in others:
        with suppress(pa.ArrowException, UnicodeEncodeError):  # it is said that it is not counted
            columns[names[i]] = pa.array(frame.iloc[:, i], from_pandas=True)
    return _named(pa.table(columns), names)


def _array(column: Any, name: str) -> pa.Array | pa.ChunkedArray:
    """A column of pandas; text with lone surrogates as the malformed bytes that they are."""
    try:
        return pa.array(column, from_pandas=True)
    except UnicodeEncodeError:
        encoded = [v.encode("utf-8", "surrogatepass") if isinstance(v, str) else v for v in column]
        return _array(column.__class__(encoded, dtype=object), name)
    except pa.ArrowException as error:
        row = bisect_left(range(len(column)), True, key=lambda i: not _fits(column.iloc[: i + 1]))
        reason = f'column "{name}" cannot be converted: {error}: give it values of one type'
        raise CorpusError(reason, path=TABLE_PATH, row=row) from None


def _fits(column: Any) -> bool:
    try:
        pa.array(column, from_pandas=True)
    except pa.ArrowException:
        return False
    return True


def _of_polars(frame: Any, settings: Settings) -> pa.Table:
    names = frame.collect_schema().names()
    needed, others = ([names[i] for i in some] for some in read_columns(names, settings))
    chosen = frame.lazy().select([*needed, *others]).collect()
    columns = {}
    for name, kind in chosen.schema.items():
        if str(kind) == "Object" and name in others:
            continue
        if str(kind) == "Object":
            reason = f'column "{name}" has Python objects: give it values of one type'
            raise CorpusError(reason, path=TABLE_PATH)
        column = chosen.get_column(name)
        columns[name] = pa.chunked_array(column) if str(kind) == "String" else column.to_arrow()
    return _named(pa.table(columns), names)


def _of_datasets(corpus: Any, kind: str, settings: Settings) -> TableShard | None:
    if kind in ("DatasetDict", "IterableDatasetDict"):
        splits = ", ".join(map(str, corpus))
        raise SettingsError(f"a {kind} has splits: give one of {splits}, or concatenate them")
    if kind == "IterableDataset":
        raise SettingsError(
            "an IterableDataset has its rows only once: give the paths of its files, or make a "
            "Dataset of it"
        )
    if kind != "Dataset":
        return None
    table = corpus.data.table
    chosen = _chosen(table, settings)
    if corpus._indices is None:  # what select, shuffle and filter leave
        return table_shard(chosen)
    order = corpus._indices.column(0).to_numpy().astype(np.int64)
    return table_shard(chosen, order=order)
