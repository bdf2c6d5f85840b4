"""What the keep-list says of rows, as columns beside their own: for Arrow data, JSON and CSV.

Columns that are written beside those of the rows have the names that they get there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import as_large_string, is_text, taken
from dedupe.corpus.rewriting import Taken
from dedupe.schema import COPIES

PREFIX = "dedupe_"
TAKEN = 'has a column "{}" already: rename it, or add none of that name'

_NOT_BESIDE = ("row", "id", "keep")
_CONTROL = r"[\x00-\x1f]"


def names(keep_list: pa.Schema, *, keep: bool) -> list[str]:
    """The columns of a keep-list that go beside rows; with `keep` for kept and dropped ones."""
    there = [name for name in keep_list.names if name not in _NOT_BESIDE]
    return ["keep", *there] if keep else [name for name in there if name not in COPIES]


def prefixed(keep_list: pa.Schema, wanted: Sequence[str]) -> pa.Schema:
    """Columns of a keep-list as they are called beside rows. wanted: names of some."""
    return pa.schema([keep_list.field(name).with_name(PREFIX + name) for name in wanted])


def as_json(batch: pa.RecordBatch) -> pa.Array:
    """For each row `, "name": value` of every column, as large_binary."""
    parts: list[Any] = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        parts += [f", {json.dumps(field.name)}: ", _spelled(column, _in_json, "null")]
    return _in_a_row(parts)


def as_csv(batch: pa.RecordBatch, delimiter: str) -> pa.Array:
    """For each row a delimiter and the value of every column, as large_binary; nulls are empty."""
    quoted = partial(_in_csv, delimiter=delimiter)
    parts: list[Any] = []
    for column in batch.columns:
        parts += [delimiter, _spelled(column, quoted, "")]
    return _in_a_row(parts)


def csv_header(batch: pa.Schema, delimiter: str) -> bytes:
    """What is added to the line of column names."""
    names = pa.array(batch.names, pa.large_string())
    return "".join(f"{delimiter}{name}" for name in _in_csv(names, delimiter).to_pylist()).encode()


def _in_a_row(parts: list[Any]) -> pa.Array:
    texts = [pa.scalar(p, pa.large_string()) if isinstance(p, str) else p for p in parts]
    joined = pc.binary_join_element_wise(*texts, pa.scalar("", pa.large_string()))
    return joined.cast(pa.large_binary())


def _spelled(column: pa.Array, quoted: Any, null: str) -> pa.Array:
    """Values as text: numbers and booleans bare, all else quoted."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        texts = _spelled(column.dictionary, quoted, null).take(column.indices)
    elif pa.types.is_null(kind):
        texts = pa.nulls(len(column), pa.large_string())
    elif is_text(kind):
        texts = quoted(as_large_string(column))
    else:
        texts = column.cast(pa.large_string())
        if not (pa.types.is_boolean(kind) or pa.types.is_primitive(kind)) or pa.types.is_temporal(
            kind
        ):
            texts = quoted(texts)
    return texts.fill_null(null)


def _in_json(texts: pa.Array) -> pa.Array:
    texts = pc.replace_substring(pc.replace_substring(texts, "\\", "\\\\"), '"', '\\"')
    if pc.any(pc.match_substring_regex(texts, _CONTROL)).as_py():
        for code in range(32):
            texts = pc.replace_substring(texts, chr(code), f"\\u{code:04x}")
    quote = pa.scalar('"', pa.large_string())
    return pc.binary_join_element_wise(quote, texts, quote, pa.scalar("", pa.large_string()))


def _in_csv(texts: pa.Array, delimiter: str) -> pa.Array:
    quote = pa.scalar('"', pa.large_string())
    doubled = pc.replace_substring(texts, '"', '""')
    quoted = pc.binary_join_element_wise(quote, doubled, quote, pa.scalar("", pa.large_string()))
    return pc.if_else(
        pc.match_substring_regex(texts, rf'["{re.escape(delimiter)}\r\n]'), quoted, texts
    )


def joined(
    batch: pa.RecordBatch,
    take: Taken,
    beside: pa.RecordBatch | None,
    schema: pa.Schema,
) -> pa.RecordBatch:
    """The rows of a batch that are taken, with what stands beside them.

    batch: rows of a source. take: bool for each of them. beside: columns for those that are taken,
    or None. schema: that of the result, as `with_beside` gives it.
    """
    more = beside.columns if beside is not None else []
    return pa.RecordBatch.from_arrays([*taken(batch, take).columns, *more], schema=schema)


def with_beside(schema: pa.Schema, beside: pa.Schema | None) -> pa.Schema:
    """A schema with the columns beside."""
    for field in beside or []:
        schema = schema.append(field)
    return schema
