"""Rows in memory, of whatever library, as Arrow: only the columns that a run needs."""

from __future__ import annotations

import json
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import PurePath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from dedupe.config import Settings
from dedupe.corpus import (
    Projection,
    TableShard,
    check_columns,
    silent_columns,
    table_shard,
)
from dedupe.corpus.reading.lines import HEAD_ROWS
from dedupe.corpus.rows import RowLines, python_rows
from dedupe.corpus.shard import ALL_COLUMNS, TABLE_PATH
from dedupe.documents.columns import is_plain
from dedupe.documents.shapes import SHAPES
from dedupe.errors import CorpusError, SettingsError

Head: TypeAlias = Callable[[Sequence[str]], TableShard]
"""Gives the first rows of some columns, or more."""

EVALS_PATH = "<evals>"
"""The path of test sets that are in memory."""

InMemory: TypeAlias = "TableShard | tuple[TableShard, ...] | pa.RecordBatchReader | RowLines"
"""Rows in memory: a shard or several, or what gives them one after the other, once."""


def rows_of(corpus: Any, settings: Settings) -> InMemory | None:
    """Rows in memory as shards, or as a reader where they come one after the other.

    corpus: a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, a pandas or Polars frame, a
    `datasets.Dataset` or IterableDataset, what has `__arrow_c_stream__`, or what `python_rows`
    takes, such as a list of dicts. Tables with other columns than the first of a list are shards
    of their own, each of its own format. settings: name the columns that are read.
    Gives None for anything else, such as paths. Text is copied only where a library does not hold
    it as Arrow does. Raises CorpusError for a column that is missing or cannot be converted,
    SettingsError for what has the rows of several splits, or has none.
    """
    if isinstance(corpus, list | tuple) and _have_other_columns(corpus):
        tables = (one if isinstance(one, pa.Table) else pa.table(one) for one in corpus)
        return tuple(table_shard(table, number) for number, table in enumerate(tables))
    library, kind = type(corpus).__module__.partition(".")[0], type(corpus).__name__
    if isinstance(corpus, pa.RecordBatch):
        corpus = pa.Table.from_batches([corpus])
    if isinstance(corpus, pa.Table):
        return table_shard(_chosen(corpus, settings))
    if _is_dataset(corpus):

        def head(names: Sequence[str]) -> TableShard:
            return table_shard(corpus.head(HEAD_ROWS, columns=list(names), use_threads=False))

        names = [corpus.schema.names[i] for i in _of_schema(corpus.schema, settings, head)]
        reader = corpus.scanner(columns=names, use_threads=False).to_reader()
        return _noting(reader.schema, reader, corpus.schema.names)
    if library == "pandas" and kind == "DataFrame":
        return table_shard(_of_pandas(corpus, settings))
    if library == "polars" and kind in ("DataFrame", "LazyFrame"):
        return table_shard(_of_polars(corpus, settings))
    if library == "datasets":
        return _of_datasets(corpus, kind, settings)
    if library == "ray" and kind.endswith("Dataset"):
        raise SettingsError(
            f"a {kind} of Ray Data goes to dedupe.ray.deduplicate(dataset, storage_path=…)"
        )
    if not hasattr(corpus, "__arrow_c_stream__"):
        corpus = python_rows(corpus)
        if corpus is None or isinstance(corpus, RowLines):
            return corpus
    if not isinstance(corpus, pa.RecordBatchReader):
        try:
            corpus = pa.RecordBatchReader.from_stream(corpus)
        except pa.ArrowInvalid:
            raise SettingsError(
                f"a {kind} of {library} has no rows: give the whole frame"
            ) from None
    first: list[pa.RecordBatch] = []

    def first_of(names: Sequence[str]) -> TableShard:
        while sum(batch.num_rows for batch in first) < HEAD_ROWS:
            batch = next(corpus, None)
            if batch is None:
                break
            first.append(batch)
        return table_shard(pa.Table.from_batches(first, corpus.schema).select(list(names)))

    positions = _of_schema(corpus.schema, settings, first_of)
    schema = pa.schema([corpus.schema.field(i) for i in positions])
    batches = (batch.select(positions) for batch in chain(first, corpus))
    return _noting(schema, batches, corpus.schema.names)


def references_of(corpus: Any, settings: Settings) -> InMemory | None:
    """Rows of a reference in memory; None for paths.

    corpus: see `rows_of`. settings: of the run. The ids of rows are read where they have some.
    """
    own = settings.of_references
    names = getattr(corpus, "column_names", None) or getattr(corpus, "columns", None)
    if own.id is not None and names is not None and own.id not in list(map(str, names)):
        own = replace(own, id=None)
    return rows_of(corpus, own)


def is_paths(given: Any) -> bool:
    """Whether what was given are paths, rather than rows in memory."""
    some = given if isinstance(given, list | tuple) else [given]
    return all(isinstance(one, str | PurePath) for one in some)


def whole_table(rows: Any) -> pa.Table:
    """Rows in memory with all of their columns, as one table.

    rows: a pyarrow Table, a pandas or Polars frame, a `datasets.Dataset`, what has
    `__arrow_c_stream__`, a list of dicts, or a dict of lists. Raises SettingsError for anything
    else.
    """
    if type(rows).__module__.partition(".")[0] == "datasets" and hasattr(rows, "flatten_indices"):
        rows = rows.flatten_indices().data.table
    try:
        if isinstance(rows, pa.Table):
            return rows
        if isinstance(rows, dict):
            return pa.table(rows)
        if isinstance(rows, list | tuple) and all(isinstance(row, dict) for row in rows):
            names = dict.fromkeys(str(name) for row in rows for name in row)
            return pa.table({name: [row.get(name) for row in rows] for name in names})
        if hasattr(rows, "__arrow_c_stream__"):
            return pa.table(rows)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SettingsError(f"test sets in memory cannot be taken as a table: {error}") from None
    raise SettingsError(
        f"test sets of type {type(rows).__name__} are not known: give paths, a frame, or a list of "
        "dicts"
    )


def _have_other_columns(corpus: Sequence[Any]) -> bool:
    """Whether all of these are tables, not all of which have the same columns."""
    if not all(isinstance(one, pa.Table | pa.RecordBatch) for one in corpus):
        return False
    return len({tuple(one.schema.names) for one in corpus}) > 1


def _chosen(table: pa.Table, settings: Settings, order: Any = None) -> pa.Table:
    """The columns of a table that a run reads, and the names of all; order: see `TableShard`."""

    def head(names: Sequence[str]) -> TableShard:
        return table_shard(table.select(list(names)), order=order)

    return _named(table.select(_of_schema(table.schema, settings, head)), table.column_names)


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


def read_columns(
    names: Sequence[str], settings: Settings, head: Head
) -> tuple[list[int], list[int]]:
    """Positions of the columns that a run needs, and of others whose differences it counts.

    names: all columns, in order. settings: of the run. head: is asked for the first rows where what
    they have decides. Raises CorpusError where a column that is needed is missing, or none is named
    and no shape is known that has these columns.
    """
    if not names:
        return [], []
    deciding = [name for name in settings.deciding(names) if names.count(name) == 1]
    silent: frozenset[str] = frozenset()
    if deciding:
        with suppress(CorpusError):  # a column that cannot be converted is met where it is needed
            silent = silent_columns(head(deciding), deciding)
    try:
        document = settings.document(names, silent)
    except SettingsError as error:
        raise CorpusError(str(error), path=TABLE_PATH) from None
    wanted = Projection(document.templates, tuple(settings.roles.items()))
    empty = pa.Table.from_arrays([pa.nulls(0)] * len(names), names=list(names))
    check_columns(table_shard(empty), wanted)
    known: tuple[str, ...] = ()
    if document.format:  # by which the run will know the format, too
        known = SHAPES[document.format].known
    read = {*wanted.present(names), *known}
    needed = [i for i, name in enumerate(names) if name in read]
    carried = set(settings.carried(document)) - read
    return needed, [i for i, name in enumerate(names) if name in carried and names.count(name) == 1]


def _of_schema(schema: pa.Schema, settings: Settings, head: Head) -> list[int]:
    """Positions of the columns of Arrow data to read: all that is needed, and plain others."""
    needed, others = read_columns(schema.names, settings, head)
    return sorted([*needed, *(i for i in others if is_plain(schema.field(i).type))])


def _of_pandas(frame: Any, settings: Settings) -> pa.Table:
    names = list(map(str, frame.columns))

    def head(some: Sequence[str]) -> TableShard:
        first = frame.iloc[:HEAD_ROWS]
        columns = {name: _array(first.iloc[:, names.index(name)], name) for name in some}
        return table_shard(pa.table(columns))

    needed, others = read_columns(names, settings, head)
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

    def head(some: Sequence[str]) -> TableShard:
        first = frame.lazy().select(list(some)).head(HEAD_ROWS).collect()
        return table_shard(_from_polars(first, []))

    found = read_columns(names, settings, head)
    needed, others = ([names[i] for i in some] for some in found)
    chosen = frame.lazy().select([*needed, *others]).collect()
    return _named(_from_polars(chosen, others), names)


def _from_polars(frame: Any, others: Sequence[str]) -> pa.Table:
    """A frame as Arrow, without those of some other columns that Arrow cannot hold."""
    columns = {}
    for name, kind in frame.schema.items():
        if str(kind) == "Object" and name in others:
            continue
        if str(kind) == "Object":
            reason = f'column "{name}" has Python objects: give it values of one type'
            raise CorpusError(reason, path=TABLE_PATH)
        column = frame.get_column(name)
        try:
            array = pa.chunked_array(column) if str(kind) == "String" else column.to_arrow()
        except pa.ArrowInvalid as error:  # such as integers of 128 bits, which Arrow has not
            if name in others:
                continue
            reason = f'column "{name}" is {kind}, which cannot be converted: {error}'
            raise CorpusError(reason, path=TABLE_PATH) from None
        columns[name] = array
    return pa.table(columns)


def _of_datasets(corpus: Any, kind: str, settings: Settings) -> InMemory | None:
    if kind in ("DatasetDict", "IterableDatasetDict"):
        splits = ", ".join(map(str, corpus))
        raise SettingsError(f"a {kind} has splits: give one of {splits}, or concatenate them")
    if kind == "IterableDataset":
        return python_rows(iter(corpus))
    if kind != "Dataset":
        return None
    table = corpus.data.table
    order = None
    if corpus._indices is not None:  # what select, shuffle and filter leave
        order = corpus._indices.column(0).to_numpy().astype(np.int64)
    return table_shard(_chosen(table, settings, order), order=order)
