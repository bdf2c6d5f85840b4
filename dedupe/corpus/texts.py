"""Text columns of any type, as batches of large_string of about the size that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.corpus.shard import Decoded, Rows, Shard, missing, reading
from dedupe.errors import CorpusError

ROW_COST = 8
"""Bytes that a row counts besides its text: its offset."""

_BINARY = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
_FLAT = (pa.binary(), pa.large_binary(), pa.binary_view(), *_BINARY)
_VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type can be the text."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in _FLAT or pa.types.is_null(kind)


def _check_field(shard: Shard, field: pa.Field, *, text: bool) -> None:
    """Raise CorpusError where a column's type cannot be read."""
    metadata = field.metadata or {}
    if isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in metadata:
        name = getattr(field.type, "extension_name", None) or metadata.get(
            b"ARROW:extension:name", b""
        ).decode("utf-8", "replace")
        raise CorpusError(
            f'column "{field.name}" is of extension type {name}: store it as a plain type',
            path=shard.path,
        )
    if text and not is_text(field.type):
        raise CorpusError(f'column "{field.name}" is {field.type}, expected text', path=shard.path)


def check_schema(shard: Shard, schema: pa.Schema, columns: Mapping[str, str]) -> None:
    """Raise CorpusError for a column that is missing, there twice, or of a wrong type."""
    with reading(shard, "its column names cannot be read"):
        names = schema.names
    for role, name in columns.items():
        found = schema.get_all_field_indices(name)
        if not found:
            raise missing(shard, name, names)
        if len(found) > 1:
            raise CorpusError(f'column "{name}" occurs {len(found)} times', path=shard.path)
        _check_field(shard, schema.field(name), text=role == "text")
        kind = schema.field(name).type
        if role == "score" and (is_text(kind) and not pa.types.is_null(kind)):
            raise CorpusError(
                f'column "{name}" is {kind}: a score must be a number, date or time',
                path=shard.path,
            )


def as_binary(array: pa.Array) -> pa.Array:
    """View a text array as bytes, which nothing validates as UTF-8; no copy."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(
            array.indices, as_binary(array.dictionary), safe=False
        )
    if kind not in _BINARY:
        return array
    return pa.Array.from_buffers(
        _BINARY[kind], len(array), array.buffers(), array.null_count, array.offset
    )


def from_bytes(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """View a binary or large_binary array as string or large_string, whatever its bytes are."""
    return pa.Array.from_buffers(kind, len(array), array.buffers(), array.null_count, array.offset)


def as_large_string(array: pa.Array) -> pa.Array:
    """Any text array as large_string, with its bytes as they are."""
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.large_string())
    if kind == pa.large_string():
        return array
    if pa.types.is_dictionary(kind):
        return as_large_string(array.dictionary).take(array.indices)
    return from_bytes(as_binary(array).cast(pa.large_binary()), pa.large_string())


def text_lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    """About the bytes of each value."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if len(array.dictionary) == 0:
            return np.zeros(len(array), np.int64)
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        lengths: npt.NDArray[np.int64] = text_lengths(array.dictionary)[indices]
        return lengths
    if len(array) == 0 or pa.types.is_null(kind):
        return np.zeros(len(array), np.int64)
    buffer = array.buffers()[1]
    if kind in _VIEWS:
        views = np.frombuffer(buffer, np.int32, 4 * len(array), 16 * array.offset)
        return views[::4].astype(np.int64)
    wide = kind in (pa.large_string(), pa.large_binary())
    width = np.int64 if wide else np.int32
    offsets = np.frombuffer(buffer, width, len(array) + 1, array.offset * (8 if wide else 4))
    return np.diff(offsets).astype(np.int64)


def regulate(
    decoded: Iterable[Decoded], columns: Sequence[str], batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Batches with exactly `columns`, the first as large_string, of about `batch_bytes` of text.

    Splits large batches before anything is copied and brings small ones together.
    """
    held: list[list[pa.Array]] = []
    room = batch_bytes
    for batch, take in decoded:
        lengths = text_lengths(batch.column(columns[0])) + ROW_COST
        if take is not None:
            lengths = lengths[take]
        ends = np.cumsum(lengths)
        start = done = 0
        while start < len(ends):
            last = int(np.searchsorted(ends, done + batch_bytes, side="right"))
            last = max(last, start + 1)
            size = int(ends[last - 1]) - done
            if held and size > room:
                yield _joined(held, columns)
                held, room = [], batch_bytes
            held.append(_piece(batch, columns, start, last, take))
            room -= size
            start, done = last, int(ends[last - 1])
    if held:
        yield _joined(held, columns)


def _piece(
    batch: pa.RecordBatch, columns: Sequence[str], start: int, last: int, take: Rows | None
) -> list[pa.Array]:
    arrays = []
    for number, name in enumerate(columns):
        array = batch.column(name)
        if take is None:
            array = array.slice(start, last - start)
        elif array.type in _VIEWS:  # views have no take kernel
            wide = as_binary(array).cast(pa.large_binary()).take(pa.array(take[start:last]))
            array = _viewed(wide, array.type)
        else:
            array = array.take(pa.array(take[start:last]))
        arrays.append(as_large_string(array) if number == 0 else array)
    return arrays


def _viewed(wide: pa.Array, kind: pa.DataType) -> pa.Array:
    views = wide.cast(pa.binary_view())
    if kind == pa.binary_view():
        return views
    return pa.Array.from_buffers(kind, len(views), views.buffers(), views.null_count, views.offset)


def _joined(held: list[list[pa.Array]], columns: Sequence[str]) -> pa.RecordBatch:
    if len(held) == 1:
        arrays = held[0]
    else:
        arrays = [pa.concat_arrays(list(parts)) for parts in zip(*held, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))
