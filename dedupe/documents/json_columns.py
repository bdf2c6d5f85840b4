"""JSON texts in columns of Arrow data: parsed, and rendered as the rows of JSON lines are.

`datasets` stores lists of objects that do not have the same keys as `arrow.json`, and Parquet has a
type for such texts. A value costs Python objects for as long as its batch is rendered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import as_binary, as_large_string, is_json, is_list, is_text
from dedupe.documents.objects import as_latin, parsed, text_of
from dedupe.documents.template import UnfitError


def holds_json(kind: pa.DataType) -> bool:
    """Whether values of a type are JSON texts, or have some in them at any depth."""
    if is_json(kind):
        return True
    if is_list(kind):
        return holds_json(kind.value_type)
    return pa.types.is_struct(kind) and any(holds_json(field.type) for field in kind)


def json_values(array: pa.Array) -> list[Any]:
    """The values of an array as `objects.parsed` gives those of JSON.

    array: of JSON texts, or of lists and objects with some in them. Raises UnfitError for a text
    that is no JSON, and for types that have no such value.
    """
    kind = array.type
    if is_json(kind):
        return [None if text is None else _parsed(text) for text in _bytes(array.storage)]
    if is_text(kind):
        return [None if text is None else text.decode("latin-1") for text in _bytes(array)]
    if is_list(kind):
        elements = json_values(pc.list_flatten(array))
        counts = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
        lists = [elements[start:end] for start, end in pairwise(ends.tolist())]
        return _where_valid(array, lists)
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        members = [json_values(pc.struct_field(array, [i])) for i in range(len(names))]
        keys = list(map(as_latin, names))
        rows = zip(*members, strict=True) if members else [()] * len(array)
        return _where_valid(array, [dict(zip(keys, row, strict=True)) for row in rows])
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        found: list[Any] = array.to_pylist()
        return found
    if pa.types.is_floating(kind):  # a float32 as the fraction that it is written as
        return array.cast(pa.string()).cast(pa.float64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        return [text and as_latin(text) for text in array.cast(pa.string()).to_pylist()]
    raise UnfitError(f"holds {kind}, which is not compared: name what to compare")


def texts_of(values: Sequence[Any], steps: Sequence[str], aspect: str) -> pa.LargeBinaryArray:
    """What a path gives of each of some values, null where that is nothing.

    values: as `json_values` gives them. steps: names of what is in a value, or `ELEMENTS`. aspect:
    what of the value at their end. Raises UnfitError where they lead to what gives no text.
    """
    texts = (text_of(value, steps, aspect) for value in values)
    return pa.array([text and text.encode("latin-1") for text in texts], pa.large_binary())


def _bytes(texts: pa.Array) -> list[bytes | None]:
    found: list[bytes | None] = as_binary(as_large_string(texts)).to_pylist()
    return found


def _where_valid(array: pa.Array, values: list[Any]) -> list[Any]:
    if array.null_count == 0:
        return values
    there = array.is_valid().to_pylist()
    return [value if valid else None for value, valid in zip(values, there, strict=True)]


def _parsed(text: bytes) -> Any:
    try:
        return parsed(text)
    except json.JSONDecodeError as error:
        raise UnfitError(f"holds broken JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise UnfitError(f"holds JSON that cannot be read: {error}") from None
