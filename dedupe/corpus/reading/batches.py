"""Documents of batches, and batches of about the size that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import VIEWS, as_binary, as_large_string, byte_size, is_text, text_lengths
from dedupe.corpus.failures import missing, reading
from dedupe.corpus.shard import Decoded, Projection, RowNumbers, Shard, within
from dedupe.documents.columns import Shared, UnfitError, render
from dedupe.errors import CorpusError
from dedupe.schema import field_columns

ROW_COST = 8
"""Bytes that a row counts besides its text: its offset."""


def _check_field(shard: Shard, field: pa.Field, role: str | None = None) -> None:
    """Raise CorpusError where a column's type cannot be read, or used for its role."""
    metadata = field.metadata or {}
    if isinstance(field.type, pa.BaseExtensionType) or b"ARROW:extension:name" in metadata:
        name = getattr(field.type, "extension_name", None) or metadata.get(
            b"ARROW:extension:name", b""
        ).decode("utf-8", "replace")
        raise CorpusError(
            f'column "{field.name}" is of extension type {name}: store it as a plain type',
            path=shard.path,
        )
    if role is None:
        return
    if pa.types.is_nested(field.type):
        what = "an id" if role == "id" else "what a keep policy reads"
        raise CorpusError(
            f'column "{field.name}" is {field.type}: {what} must be a plain value', path=shard.path
        )
    is_score = role.startswith(("max:", "min:"))
    if is_score and is_text(field.type) and not pa.types.is_null(field.type):
        raise CorpusError(
            f'column "{field.name}" is {field.type}: a score must be a number, date or time',
            path=shard.path,
        )


def check_schema(shard: Shard, schema: pa.Schema, projection: Projection) -> None:
    """Raise CorpusError for a column that is missing, there twice, or of a wrong type.

    shard: the file. schema: that of its rows. projection: what is to be read of them.
    """
    with reading(shard.path, "its column names cannot be read"):
        names = schema.names
    for name in projection.present(names):
        found = schema.get_all_field_indices(name)
        if not found:
            raise missing(shard.path, name, names)
        if len(found) > 1:
            raise CorpusError(f'column "{name}" occurs {len(found)} times', path=shard.path)
        _check_field(shard, schema.field(name))
    for role, name in projection.roles:
        _check_field(shard, schema.field(name), role)
    columns = [template.column for template in projection.fields]
    if any(name is None or not is_text(schema.field(name).type) for name in columns):
        kinds = {name: schema.field(name).type for name in projection.present(names)}
        none = {name: pa.nulls(0, kind) for name, kind in kinds.items()}
        _rendered(shard, none, projection, 0)


class _Documents(NamedTuple):
    """A batch with the fields of its documents, texts of any type; of all the rows at `take`."""

    texts: tuple[pa.Array, ...]
    batch: pa.RecordBatch
    take: RowNumbers | None


def regulate(
    shard: Shard, decoded: Iterable[Decoded], projection: Projection, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Bring decoded rows to batches of their fields, as large_string, and the columns beside.

    shard: the file that they are of. decoded: the rows, in order. projection: what is read.
    batch_bytes: about the bytes of text in a batch: large batches are split before anything is
    copied, and small ones brought together.
    """
    held: list[list[pa.Array]] = []
    room = batch_bytes
    for texts, batch, take in _documents(shard, decoded, projection, batch_bytes):
        arrays = [*texts, *(batch.column(name) for name in projection.columns)]
        lengths = np.sum([text_lengths(text) for text in texts], axis=0) + ROW_COST
        if take is not None:
            lengths = lengths[take]
        ends = np.cumsum(lengths)
        start = done = 0
        while start < len(ends):
            last = int(np.searchsorted(ends, done + batch_bytes, side="right"))
            last = max(last, start + 1)
            size = int(ends[last - 1]) - done
            if held and size > room:
                yield _joined(held, projection)
                held, room = [], batch_bytes
            held.append(_piece(arrays, len(texts), start, last, take))
            room -= size
            start, done = last, int(ends[last - 1])
    if held:
        yield _joined(held, projection)


def _documents(
    shard: Shard, decoded: Iterable[Decoded], projection: Projection, batch_bytes: int
) -> Iterator[_Documents]:
    """The documents of decoded rows: a column of text as it lies, all else rendered in parts."""
    names = [template.column for template in projection.fields]
    for batch, take, documents in decoded:
        if documents is not None:
            yield _Documents(documents, batch, take)
        elif all(name is not None and is_text(batch.schema.field(name).type) for name in names):
            yield _Documents(tuple(batch.column(name) for name in names), batch, take)
        else:
            size = sum(map(byte_size, batch.columns))
            step = max(1, batch.num_rows * batch_bytes // max(size, 1))
            for start in range(0, batch.num_rows, step):
                part = batch.slice(start, step)
                chosen = within(take, start, part.num_rows)
                if chosen is None or len(chosen):
                    columns = dict(zip(part.schema.names, part.columns, strict=True))
                    texts = _rendered(shard, columns, projection, part.num_rows)
                    yield _Documents(texts, part, chosen)


def _rendered(
    shard: Shard, columns: Mapping[str, pa.Array], projection: Projection, rows: int
) -> tuple[pa.Array, ...]:
    try:
        shared = Shared()
        return tuple(render(columns, template, rows, shared) for template in projection.fields)
    except UnfitError as error:
        raise CorpusError(str(error), path=shard.path) from None


def _piece(
    arrays: Sequence[pa.Array], texts: int, start: int, last: int, take: RowNumbers | None
) -> list[pa.Array]:
    pieces = []
    for number, array in enumerate(arrays):
        if take is None:
            piece = array.slice(start, last - start)
        elif array.type in VIEWS:  # views have no take kernel
            wide = as_binary(array).cast(pa.large_binary()).take(pa.array(take[start:last]))
            piece = _viewed(wide, array.type)
        else:
            piece = array.take(pa.array(take[start:last]))
        pieces.append(as_large_string(piece) if number < texts else piece)
    return pieces


def _viewed(wide: pa.Array, kind: pa.DataType) -> pa.Array:
    views = wide.cast(pa.binary_view())
    if kind == pa.binary_view():
        return views
    return pa.Array.from_buffers(kind, len(views), views.buffers(), views.null_count, views.offset)


def _joined(held: list[list[pa.Array]], projection: Projection) -> pa.RecordBatch:
    if len(held) == 1:
        arrays = held[0]
    else:
        arrays = [pa.concat_arrays(list(parts)) for parts in zip(*held, strict=True)]
    return pa.RecordBatch.from_arrays(
        arrays, names=[*field_columns(len(projection.fields)), *projection.columns]
    )
