"""JSON rows one by one, for what the fast parser refuses: tells why, or reads it after all.

Python's json and Arrow's disagree at the edges (lone surrogates, huge numbers, keys given twice,
nesting). A row is good if either reads it, so that it does not matter which other rows happen
to be in its block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from dedupe.arrays import from_bytes
from dedupe.documents.objects import as_latin, kind, parsed, plain_value, render_object
from dedupe.documents.template import Template, UnfitError

ParseRow = Callable[[bytes], "dict[str, Any] | None"]

INT_TYPES = {pa.int64(): (-(2**63), 2**63), pa.uint64(): (0, 2**64)}
ONE_PER_LINE = "JSON lines have one object per line"


class Records(NamedTuple):
    """Rows that were parsed one by one.

    batch: their columns. documents: each field as large_string. left_out: other columns that cannot
    be told. unreadable: numbers of rows that were left out, of which all is null, with the reason.
    """

    batch: pa.RecordBatch
    documents: tuple[pa.Array, ...]
    left_out: set[str]
    unreadable: dict[int, str]


class BadRowError(Exception):
    """Why a row cannot be read."""


def from_latin(name: str) -> str:
    """Spell such a key as people know it."""
    return name.encode("latin-1").decode("utf-8", "replace")


def parse(line: bytes) -> dict[str, Any]:
    """Parse a row into strings of one character for each byte of UTF-8, valid or not.

    See `objects.parsed`. Raises BadRowError where it is no JSON object.
    """
    try:
        value = parsed(line)
    except json.JSONDecodeError as error:
        where = f" at byte {error.pos} of the line" if b"\\u" not in line else ""
        raise BadRowError(f"broken JSON: {error.msg}{where}: {ONE_PER_LINE}") from None
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"JSON that cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise BadRowError(f"the row is {kind(value)}, expected an object: {ONE_PER_LINE}")
    return value


def infer_types(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[pa.DataType]:
    """Choose each column's type: bool, int64, uint64 or float64, the first that fits, or string.

    Raises BadRowError for a list or an object.
    """
    seen: list[set[str]] = [set() for _ in names]
    lows, highs = [0] * len(names), [0] * len(names)
    keys = [as_latin(name) for name in names]
    for row in rows:
        for i, key in enumerate(keys):
            value = row.get(key)
            if value is None:
                continue
            seen[i].add("whole" if type(value) is int else kind(value))
            if type(value) is int:
                lows[i], highs[i] = min(lows[i], value), max(highs[i], value)
            elif isinstance(value, list | dict):
                raise BadRowError(f'column "{names[i]}" is {kind(value)}, expected a plain value')
    return [_type(*found) for found in zip(seen, lows, highs, strict=True)]


def _type(seen: set[str], low: int, high: int) -> pa.DataType:
    if seen == {"a boolean"}:
        return pa.bool_()
    if seen == {"whole"}:
        for candidate, (least, end) in INT_TYPES.items():
            if least <= low and high < end:
                return candidate
    elif seen and seen <= {"whole", "a number"}:
        return pa.float64()
    return pa.string()


def record_batch(
    lines: Iterable[bytes],
    schema: pa.Schema,
    fields: Sequence[Template],
    others: Mapping[str, pa.DataType],
    otherwise: ParseRow,
    *,
    skip: bool = False,
) -> Records:
    """Parse rows one by one.

    lines: a row each. schema: the columns beside the documents. fields: what their fields are made
    of. others: types of more columns, see `objects.plain_type`; lists are read as large_string, and
    a column of which a row has another type is left out. otherwise: has a second try
    at a line that cannot be parsed, and gives None if it cannot either. skip: whether a row that
    cannot be read is left out, rather than raising BadRowError with the row's number among `lines`
    as second argument.
    """
    unreadable: dict[int, str] = {}
    documents: list[list[bytes | None]] = [[] for _ in fields]
    told: dict[str, list[Any]] = {name: [] for name in others}
    columns: list[list[Any]] = [[] for _ in schema]
    keys = [as_latin(name) for name in schema.names]
    for number, line in enumerate(lines):
        try:
            row = _parse_somehow(line, otherwise)
            texts = [render_object(row, template) for template in fields]
            beside = [
                _converted(row.get(key), field) for key, field in zip(keys, schema, strict=True)
            ]
        except (BadRowError, UnfitError) as error:
            if not skip:
                raise BadRowError(str(error), number) from None
            unreadable[number] = str(error)
            row, texts, beside = {}, [None] * len(documents), [None] * len(columns)
        for text, document in zip(texts, documents, strict=True):
            document.append(None if text is None else text.encode("latin-1"))
        _tell(row, others, told)
        for value, column in zip(beside, columns, strict=True):
            column.append(value)
    arrays = [_array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    texts_of_fields = tuple(_array(texts, pa.large_string()) for texts in documents)
    more = [pa.field(name, _as_read(others[name])) for name in told if name not in schema.names]
    arrays += [_array(told[field.name], field.type) for field in more]
    batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*schema, *more]))
    return Records(batch, texts_of_fields, others.keys() - told.keys(), unreadable)


def _as_read(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_list(kind) else kind


def _tell(
    row: Mapping[str, Any],
    others: Mapping[str, pa.DataType],
    told: dict[str, list[Any]],
) -> None:
    """Add a row's other columns to those that can be told, or take them from these."""
    for name in list(told):
        try:
            value = plain_value(row.get(as_latin(name)), others[name])
        except UnfitError:
            del told[name]
        else:
            told[name].append(value.encode("latin-1") if isinstance(value, str) else value)


def _parse_somehow(line: bytes, otherwise: ParseRow) -> dict[str, Any]:
    try:
        return parse(line)
    except BadRowError:
        row = otherwise(line)
        if row is None:
            raise
        return row


def _converted(value: Any, field: pa.Field) -> Any:
    """Fit a value to its column: bytes for strings, the value itself for the rest."""
    if value is None:
        return None
    wanted = field.type
    if isinstance(value, str) and wanted in (pa.string(), pa.large_string()):
        return value.encode("latin-1")
    if wanted == pa.string() and type(value) is int:
        return str(value).encode()
    if wanted == pa.bool_() and isinstance(value, bool):
        return value
    if wanted in INT_TYPES and type(value) is int:
        least, end = INT_TYPES[wanted]
        if least <= value < end:
            return value
    if wanted == pa.float64() and type(value) in (int, float):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    shown = "a fraction" if type(value) is float and wanted in INT_TYPES else kind(value)
    raise BadRowError(
        f'column "{field.name}" is {shown} here and {wanted} in the first rows of the file: '
        "give it one type"
    )


def _array(values: list[Any], wanted: pa.DataType) -> pa.Array:
    if wanted == pa.string():
        return from_bytes(pa.array(values, pa.binary()), wanted)
    if wanted == pa.large_string():
        return from_bytes(pa.array(values, pa.large_binary()), wanted)
    return pa.array(values, wanted)
