"""Documents of batches, and batches of about the size that was asked for."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import (
    VIEWS,
    as_binary,
    as_large_string,
    as_stored,
    byte_size,
    held_bytes,
    is_json,
    is_text,
    stored_type,
    text_lengths,
)
from dedupe.corpus.failures import missing, reading, too_long, too_much_text
from dedupe.corpus.shard import Decoded, Lacking, Projection, RowNumbers, Shard, within
from dedupe.documents.columns import Shared, is_flat, is_plain, plain_texts, render
from dedupe.documents.json_columns import holds_json
from dedupe.documents.template import ELEMENTS, UnfitError
from dedupe.errors import CorpusError, IntegrityError, RowError
from dedupe.schema import UNREADABLE, field_columns

ROW_COST = 8
"""Bytes that a row counts besides its text: its offset."""
JSON_BYTES = 1 << 20
"""Bytes of columns with JSON in them that are rendered at a time: parsed they take ten times that
and more."""


def _check_role(shard: Shard, field: pa.Field, role: str) -> None:
    """Raise CorpusError where a column's type cannot be used for its role."""
    kind = stored_type(field.type)
    if pa.types.is_nested(kind):
        what = {"id": "an id", "by": "a source"}.get(role, "what a keep policy reads")
        raise CorpusError(
            f'column "{field.name}" is {field.type}: {what} must be a plain value', path=shard.path
        )
    is_score = role.startswith(("max:", "min:"))
    if is_score and (is_text(kind) or is_json(kind)) and not pa.types.is_null(kind):
        raise CorpusError(
            f'column "{field.name}" is {field.type}: a score must be a number, date or time',
            path=shard.path,
        )


def with_readable_names(shard: Shard, schema: pa.Schema) -> pa.Schema:
    """Give the schema of a file; CorpusError where a name in it, at any depth, is not UTF-8."""

    def look(kind: pa.DataType) -> None:
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
        if pa.types.is_dictionary(kind):
            look(kind.value_type)
        for field in [kind.field(i) for i in range(kind.num_fields)]:
            _ = field.name
            look(field.type)

    with reading(shard.path, "its column names cannot be read"):
        _ = schema.names
        for field in schema:
            look(field.type)
    return schema


def check_schema(shard: Shard, schema: pa.Schema, projection: Projection) -> Lacking:
    """Raise CorpusError for a column that is missing, there twice, or of a wrong type.

    shard: the file. schema: that of its rows. projection: what is to be read of them. Gives the
    paths that lead into JSON, of which no type tells whether they lead to anything.
    """
    with reading(shard.path, "its column names cannot be read"):
        names = schema.names
    for name in projection.present(names):
        found = schema.get_all_field_indices(name)
        if not found:
            raise missing(shard.path, name, names)
        if len(found) > 1:
            raise CorpusError(f'column "{name}" occurs {len(found)} times', path=shard.path)
    for role, name in projection.roles:
        _check_role(shard, schema.field(name), role)
    columns = [template.column for template in projection.fields]
    kinds = {name: stored_type(schema.field(name).type) for name in projection.present(names)}
    if any(name is None or not is_text(kinds[name]) for name in columns):
        none = pa.RecordBatch.from_arrays([pa.nulls(0, kind) for kind in kinds.values()], [*kinds])
        try:
            _rendered(none, projection)
        except UnfitError as error:
            raise CorpusError(str(error), path=shard.path) from None
    return {
        path: f"{path.name} leads to nothing in any row"
        for path in projection.paths
        if not path.optional and _is_in_json(kinds[path.column], path.steps)
    }


def _is_in_json(kind: pa.DataType, steps: Sequence[str]) -> bool:
    for step in steps:
        if is_json(kind) or pa.types.is_null(kind):
            return is_json(kind)
        kind = kind.value_type if step == ELEMENTS else kind.field(step).type
    return False


def wanted(schema: pa.Schema, projection: Projection) -> tuple[list[str], frozenset[str]]:
    """The columns of a file to read, and the `Decoded.unfit` ones of the others.

    schema: of the file. projection: what is read of its rows.
    """
    others = [name for name in projection.others if name in schema.names]
    plain = [
        name
        for name in others
        if len(schema.get_all_field_indices(name)) == 1 and is_plain(schema.field(name).type)
    ]
    names = dict.fromkeys([*projection.present(schema.names), *plain])
    return list(names), frozenset(others) - set(plain)


class _Documents(NamedTuple):
    """A batch with texts of any type: the fields of its documents, and its other columns.

    Of both all the rows at `take`. An other column of type null cannot be told. unreadable: see
    `Decoded`.
    """

    texts: tuple[pa.Array, ...]
    others: tuple[pa.Array, ...]
    batch: pa.RecordBatch
    take: RowNumbers | None
    unreadable: Mapping[int, str]


def regulate(
    shard: Shard,
    decoded: Iterable[Decoded],
    projection: Projection,
    batch_bytes: int,
    first: Callable[[], int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Bring decoded rows to batches of fields, columns beside them, and others.

    Fields are large_string, and so are others but for those of fixed width; the type of an other
    column that cannot be told is null. Behind them is `UNREADABLE`, where it is read.

    shard: the file that they are of. decoded: the rows, in order. projection: what is read.
    batch_bytes: about the bytes of text in a batch: large batches are split before anything is
    copied, and small ones brought together. first: gives the number in the file of the first row,
    for errors; None where not all rows are decoded.

    Raises CorpusError for JSON that gives no text, for a row that is too long, and for too much
    text.
    """
    held: list[list[pa.Array]] = []
    room = batch_bytes
    before = seen = 0
    for found in _documents(shard, decoded, projection, batch_bytes, first):
        texts, others, batch, take, unreadable = _without_malformed(found, shard)
        beside = [_plain(shard, name, batch.column(name)) for name in projection.columns]
        rows = len(texts[0]) if texts else batch.num_rows
        if projection.unreadable:
            others = (*others, _marks(unreadable, rows))
        cost = ROW_COST + sum(map(held_bytes, others)) // max(rows, 1)
        lengths = np.zeros(rows, np.int64)
        for text in texts:
            lengths += text_lengths(text)
        if lengths.max(initial=0) > shard.limits.row:
            long = int(np.argmax(lengths))
            row = None if first is None else first() + before + long
            raise too_long(shard, row, int(lengths[long]))
        before += rows
        seen += int(lengths.sum())
        if seen > shard.most_text:
            raise too_much_text(shard, seen)
        lengths += cost
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
            pieces = [as_large_string(_piece(text, start, last, take)) for text in texts]
            pieces += [_piece(array, start, last, take) for array in beside]
            pieces += [_piece(array, start, last, take) for array in others]
            held.append(pieces)
            room -= size
            start, done = last, int(ends[last - 1])
    if held:
        yield _joined(held, projection)


def _documents(
    shard: Shard,
    decoded: Iterable[Decoded],
    projection: Projection,
    batch_bytes: int,
    first: Callable[[], int] | None,
) -> Iterator[_Documents]:
    """The documents of decoded rows: a column of text as it lies, all else rendered in parts."""
    names = [template.column for template in projection.fields]
    done = 0
    for found, take, documents, unfit, unreadable in decoded:
        batch = _stored(found)
        if documents is None and _is_text(batch, names):
            documents = tuple(batch.column(name) for name in names)
        if documents is not None:
            others = _others(batch, projection, unfit)
            yield _Documents(documents, others, batch, take, unreadable)
        else:
            size = sum(map(byte_size, batch.columns))
            has_json = any(holds_json(field.type) for field in batch.schema)
            most = min(batch_bytes, JSON_BYTES) if has_json else batch_bytes
            step = max(1, batch.num_rows * most // max(size, 1))
            for start in range(0, batch.num_rows, step):
                part = batch.slice(start, step)
                chosen = within(take, start, part.num_rows)
                if chosen is None or len(chosen):
                    bad = {n - start: r for n, r in unreadable.items() if 0 <= n - start < step}
                    try:
                        texts = _rendered(part, projection)
                    except UnfitError:
                        faults = _unfit(part, projection, every=shard.skips_rows)
                        if not shard.skips_rows:
                            ((row, said),) = faults.items()
                            place = None if first is None else first() + done + start + row
                            raise RowError(said, path=shard.path, row=place) from None
                        bad |= faults
                        part = _with_nulls(part, bad)
                        texts = _rendered(part, projection)
                    others = _others(part, projection, unfit)
                    yield _Documents(texts, others, part, chosen, bad)
        done += batch.num_rows


def _is_text(batch: pa.RecordBatch, names: Sequence[str | None]) -> bool:
    return all(name is not None and is_text(batch.schema.field(name).type) for name in names)


def _without_malformed(found: _Documents, shard: Shard) -> _Documents:
    """The same, where rows with text that is not valid UTF-8 are left out, if they are to be."""
    if not shard.skips_text:
        return found
    bad: dict[int, str] = {}
    for text in found.texts:
        wide = as_large_string(text).cast(pa.large_binary())
        try:
            wide.cast(pa.large_string())
        except pa.ArrowInvalid:
            for row, value in enumerate(wide):
                data = value.as_buffer()
                try:
                    codecs.utf_8_decode(data or b"", "strict", True)
                except UnicodeDecodeError as error:
                    bad[row] = f"not valid UTF-8 at byte {error.start}"
    if not bad:
        return found
    nulls = _places_without(bad, len(found.texts[0]))
    texts = tuple(as_large_string(text).take(nulls) for text in found.texts)
    return found._replace(texts=texts, unreadable={**found.unreadable, **bad})


def _places_without(rows: Container[int], count: int) -> pa.Array:
    """Places of all rows of a batch, which are null for some of them."""
    return pa.array([None if row in rows else row for row in range(count)], pa.int64())


def _with_nulls(batch: pa.RecordBatch, rows: Container[int]) -> pa.RecordBatch:
    """A batch with nulls in all columns of some rows."""
    return batch.take(_places_without(rows, batch.num_rows))


def _marks(unreadable: Mapping[int, str], rows: int) -> pa.Array:
    """The column `UNREADABLE`: why each row could not be read, null for those that were."""
    marks: list[str | None] = [None] * rows if unreadable else []
    for row, said in unreadable.items():
        marks[row] = said
    return pa.array(marks, pa.large_string()) if marks else pa.nulls(rows, pa.large_string())


def _stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with what extension types but JSON are stored as."""
    if all(stored_type(field.type) == field.type for field in batch.schema):
        return batch
    return pa.RecordBatch.from_arrays(
        [as_stored(column) for column in batch.columns], names=batch.schema.names
    )


def _plain(shard: Shard, name: str, array: pa.Array) -> pa.Array:
    """A column beside documents, where it is JSON as text."""
    if not is_json(array.type):
        return array
    try:
        return plain_texts(array)
    except UnfitError as error:
        raise CorpusError(f'column "{name}" {error}', path=shard.path) from None


def _others(
    batch: pa.RecordBatch, projection: Projection, unfit: frozenset[str]
) -> tuple[pa.Array, ...]:
    """The other columns as text or values of fixed width; of type null where one cannot be told."""
    others = []
    for name in projection.others:
        if name in batch.schema.names:
            others.append(_other(batch.column(name)))
        elif name in unfit:
            others.append(pa.nulls(batch.num_rows))
        else:
            others.append(pa.nulls(batch.num_rows, pa.large_string()))
    return tuple(others)


def _other(array: pa.Array) -> pa.Array:
    if pa.types.is_null(array.type):
        return array.cast(pa.large_string())
    if is_text(array.type) or is_flat(array.type):
        return array
    try:
        return plain_texts(array)
    except UnfitError:
        return pa.nulls(len(array))


def _rendered(part: pa.RecordBatch, projection: Projection) -> tuple[pa.Array, ...]:
    shared = Shared()
    columns = dict(zip(part.schema.names, part.columns, strict=True))
    return tuple(render(columns, template, part.num_rows, shared) for template in projection.fields)


def _unfit(part: pa.RecordBatch, projection: Projection, *, every: bool) -> dict[int, str]:
    """The first of the rows that give no text, or every one of them, with the reason.

    part: the rows, of which some give none. projection: what is read.
    """
    found: dict[int, str] = {}
    for row in range(part.num_rows):
        try:
            _rendered(part.slice(row, 1), projection)
        except UnfitError as error:
            found[row] = str(error)
            if not every:
                break
    if not found:
        raise IntegrityError("rows that give no text do so one by one")
    return found


def _piece(array: pa.Array, start: int, last: int, take: RowNumbers | None) -> pa.Array:
    if take is None:
        return array.slice(start, last - start)
    places = pa.array(take[start:last])
    if array.type in VIEWS:  # views have no take kernel
        return _viewed(as_binary(array).cast(pa.large_binary()).take(places), array.type)
    return array.take(places)


def _viewed(wide: pa.Array, kind: pa.DataType) -> pa.Array:
    views = wide.cast(pa.binary_view())
    if kind == pa.binary_view():
        return views
    return pa.Array.from_buffers(kind, len(views), views.buffers(), views.null_count, views.offset)


def _joined(held: list[list[pa.Array]], projection: Projection) -> pa.RecordBatch:
    columns = [list(parts) for parts in zip(*held, strict=True)]
    beside = len(columns) - len(projection.others) - projection.unreadable
    arrays = [*map(_concatenated, columns[:beside]), *map(_told, columns[beside:])]
    names = [*field_columns(len(projection.fields)), *projection.columns, *projection.others]
    names += [UNREADABLE] * projection.unreadable
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _concatenated(parts: list[pa.Array]) -> pa.Array:
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def _told(parts: list[pa.Array]) -> pa.Array:
    """Parts of an other column as one, which cannot be told where one of them cannot."""
    kinds = {part.type for part in parts}
    if any(map(pa.types.is_null, kinds)):
        return pa.nulls(sum(map(len, parts)))
    if len(kinds) > 1:  # JSON lines of which some blocks were parsed row by row
        parts = [as_large_string(part) for part in parts]
    column = _concatenated(parts)
    return as_large_string(column) if is_text(column.type) else column
