"""Rows of Python as JSON lines: lists and generators of dicts, and dicts of lists.

They are read from there as any JSON lines are, so that rows with other keys, or values of other
types, are what they would be in such a file, and memory does not grow with their number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from pathlib import PurePath
from typing import Any
from uuid import UUID

import pyarrow as pa

from dedupe.corpus.shard import TABLE_PATH
from dedupe.errors import CorpusError, SettingsError

TEXTS_AS_ROWS = 'give texts as rows: [{"text": text} for text in texts]'


@dataclass(frozen=True)
class RowLines:
    """Rows as lines of JSON, each with its newline; they come once."""

    lines: Iterator[bytes]


def python_rows(corpus: Any) -> RowLines | pa.RecordBatchReader | None:
    """Rows that are objects of Python, one after the other; None for paths and all else.

    corpus: a dict of sequences of one length, or an iterable of dicts or of Tables and
    RecordBatches of pyarrow. Raises SettingsError for an iterable of anything else, and CorpusError
    for such a row, when it comes.
    """
    if isinstance(corpus, Mapping):
        return RowLines(_lines(_of_columns(corpus)))
    if isinstance(corpus, str | bytes | PurePath) or not isinstance(corpus, Iterable):
        return None
    if isinstance(corpus, list | tuple) and all(isinstance(p, str | PurePath) for p in corpus):
        return None
    rows = iter(corpus)
    first = next(rows, None)
    if isinstance(first, pa.Table | pa.RecordBatch):
        batches = _batches(first.schema, chain([first], rows))
        return pa.RecordBatchReader.from_batches(first.schema, batches)
    if isinstance(first, str):
        raise SettingsError(f"a {type(corpus).__name__} of str is no corpus: {TEXTS_AS_ROWS}")
    return RowLines(_lines(rows if first is None and not _more(corpus) else chain([first], rows)))


def _more(corpus: Any) -> bool:
    """Whether a sequence has any row, so that None is its first one rather than its end."""
    return isinstance(corpus, Sequence) and len(corpus) > 0


def _of_columns(columns: Mapping[Any, Any]) -> Iterator[dict[Any, Any]]:
    """The rows of a dict of sequences."""
    for name, column in columns.items():
        if isinstance(column, str | bytes) or not hasattr(column, "__len__"):
            raise SettingsError(
                f'a dict with a {type(column).__name__} in "{name}" is no corpus: give a list of '
                "values for each column, or a list of dicts"
            )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f'"{name}" {length:,}' for name, length in lengths.items())
        raise SettingsError(f"the columns of a corpus have one length: there are {said}")
    rows = zip(*columns.values(), strict=True)
    return (dict(zip(columns, values, strict=True)) for values in rows)


def _batches(schema: pa.Schema, tables: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    """The batches of tables, which must have the columns of the first."""
    for number, table in enumerate(tables):
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        try:
            if not isinstance(table, pa.Table):
                raise TypeError(f"it is of type {type(table).__name__}")
            yield from table.cast(schema).to_batches()
        except (TypeError, ValueError, pa.ArrowException) as error:
            reason = f"table {number} has not the columns of the first: {error}"
            raise CorpusError(reason, path=TABLE_PATH) from None


def _lines(rows: Iterable[Any]) -> Iterator[bytes]:
    """Each row as JSON; what is no number of JSON, such as NaN, is null."""
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            also = f"; {TEXTS_AS_ROWS}" if isinstance(row, str) else ""
            reason = f"is of type {type(row).__name__}, expected a dict{also}"
            raise CorpusError(reason, path=TABLE_PATH, row=number)
        try:
            line = _json(row)
        except (TypeError, ValueError, RecursionError) as error:
            reason = f"cannot be taken: {error}: leave it out of the rows, or make text of it"
            raise CorpusError(reason, path=TABLE_PATH, row=number) from None
        yield line.encode() + b"\n"


def _json(row: Mapping[Any, Any]) -> str:
    row = row if isinstance(row, dict) else dict(row)
    try:
        return json.dumps(row, default=_plain, allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(row), default=_finite, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON has for a value that it does not know; TypeError where there is nothing."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise TypeError("it has bytes that are not valid UTF-8") from None
    if isinstance(value, Decimal | UUID | PurePath):
        return str(value)
    for convert in ("as_py", "tolist", "isoformat"):  # of pyarrow, of numpy, of dates and times
        if hasattr(value, convert):
            return getattr(value, convert)()
    raise TypeError(f"it has a value of type {type(value).__name__}")


def _finite(value: Any) -> Any:
    return _without_nan(_plain(value))


def _without_nan(value: Any) -> Any:
    """The same with null for what is no finite number."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return value
