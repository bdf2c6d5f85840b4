"""Documents of Arrow data, for whole columns at a time: there is no Python object per row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import (
    Array,
    as_binary,
    as_large_string,
    from_bytes,
    is_json,
    is_list,
    is_text,
    text_buffers,
)
from dedupe.documents.json_columns import holds_json, json_values, texts_of
from dedupe.documents.rules import (
    ANSWERERS,
    FILE,
    LETTERS,
    MARKS,
    MEDIA_PARTS,
    MORE_SAID,
    PART_TEXT,
    ROLES,
    SAID,
    SYSTEMS,
)
from dedupe.documents.template import (
    ALONE,
    ANSWER,
    BEFORE,
    DATA,
    ELEMENTS,
    MEDIA,
    NOBODY,
    OF_TEXT,
    OF_TURNS,
    PROMPT,
    SPEAKERS,
    SYSTEM,
    WHO,
    ColumnPath,
    Template,
    UnfitError,
    shown_step,
    spelled,
)

NEWLINE = b"\n"

Texts: TypeAlias = "pa.LargeBinaryArray"
"""Texts as bytes, null where there is nothing."""
Made = TypeVar("Made")


class _Messages(NamedTuple):
    """Messages.

    texts: their role and what is said. turns: of which of `SPEAKERS` each is, by its number. said:
    what is said alone. roles: their roles, None where messages have none. there: bool, whether
    there is a message at all.
    """

    texts: Texts
    turns: Array
    said: Texts
    roles: Texts | None
    there: Array


class Shared:
    """What several templates need of the same arrays of some rows, made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, int], tuple[pa.Array, Any]] = {}

    def made(self, what: Callable[[pa.Array], Made], array: pa.Array) -> Made:
        """What a function makes of an array. The array is kept, so that its id stays its own."""
        key = (what.__name__, id(array))
        if key not in self._made:
            self._made[key] = (array, what(array))
        found: Made = self._made[key][1]
        return found


def render(
    columns: Mapping[str, pa.Array], template: Template, rows: int, shared: Shared | None = None
) -> pa.Array:
    """The documents of some rows, as large_string of whatever bytes are in them.

    columns: arrays of the template's columns by name; optional ones may be missing. template: what
    documents are made of; without paths they are null. rows: the length of each array. shared: of
    these columns, for several templates. Raises UnfitError where a column is not there, or a path
    leads to what gives no text.
    """
    if not template.paths:
        return pa.nulls(rows, pa.large_string())
    shared = shared or Shared()
    texts = []
    for path in template.paths:
        if path.column in columns:
            texts.append(_checked(path, columns[path.column], shared))
        elif path.optional:
            texts.append(pa.nulls(rows, pa.large_binary()))
        else:
            raise UnfitError(f'no column "{path.column}"')
    if len(template.parts) == 1:
        return from_bytes(texts[0], pa.large_string())
    given = iter(texts)
    parts = [part.encode() if isinstance(part, str) else next(given) for part in template.parts]
    joined = pc.binary_join_element_wise(
        *(
            pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part
            for part in parts
        ),
        pa.scalar(b"", pa.large_binary()),
        null_handling="replace",
        null_replacement=b"",
    )
    there = np.logical_or.reduce([_valid(text) for text in texts])
    return from_bytes(_only(joined, there), pa.large_string())


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of a type are plain: text, numbers, dates and the like, or lists of them."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if is_list(kind):
        return is_plain(kind.value_type)
    tests: list[Callable[[pa.DataType], bool]] = [
        pa.types.is_null,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_decimal,
    ]
    return is_flat(kind) or any(test(kind) for test in tests)


def is_flat(kind: pa.DataType) -> bool:
    """Whether values of a type are numbers, booleans, dates or times: of a fixed width."""
    tests: list[Callable[[pa.DataType], bool]] = [
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_date,
        pa.types.is_time,
        pa.types.is_timestamp,
    ]
    return any(test(kind) for test in tests)


def plain_texts(array: pa.Array) -> pa.Array:
    """Values of JSON, or of a type that `is_plain` allows, as text; null for an empty one.

    Raises UnfitError where they cannot be.
    """
    if pa.types.is_timestamp(array.type):  # one with a time zone would need the zone's rules
        array = array.cast(pa.timestamp(array.type.unit))
    if is_json(array.type):
        return from_bytes(texts_of(json_values(array), (), DATA), pa.large_string())
    try:
        return from_bytes(_data(array), pa.large_string())
    except pa.ArrowException as error:
        raise UnfitError(f"holds values that are no text: {error}") from None


def _checked(path: ColumnPath, array: pa.Array, shared: Shared) -> Texts:
    """What a path gives, with its name in errors."""
    try:
        return _walk(array, path.steps, path, shared)
    except UnfitError as error:
        raise UnfitError(f"{path.name} {error}") from None


def _walk(array: pa.Array, steps: Sequence[str], path: ColumnPath, shared: Shared) -> Texts:
    """Follow a path to its leaf; a list on the way is joined again on the way back."""
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), pa.large_binary())
    if is_json(array.type) or (not steps and holds_json(array.type)):
        values = shared.made(json_values, array)
        return texts_of(values, steps, path.aspect)
    if not steps:
        if path.aspect == DATA:
            return _data(array, files=True)
        return _media(array) if path.aspect == MEDIA else _leaf(array, path.aspect, shared)
    step, *rest = steps
    if step == ELEMENTS:
        if not is_list(array.type):
            raise UnfitError(f"is {array.type} before [], expected a list")
        return _each(array, lambda elements: _walk(elements, rest, path, shared))
    if is_list(array.type):
        raise UnfitError(f"is a list before {shown_step(step)}: write []{shown_step(step)}")
    if not pa.types.is_struct(array.type):
        raise UnfitError(f"is {array.type} before {shown_step(step)}, expected an object")
    if array.type.get_field_index(step) < 0:
        if path.optional:
            return pa.nulls(len(array), pa.large_binary())
        names = ", ".join(field.name for field in array.type)
        raise UnfitError(f"has no {spelled(step)}: it has {names or 'no fields'}")
    return _walk(_get(array, step), rest, path, shared)


def _leaf(array: pa.Array, aspect: str, shared: Shared) -> Texts:
    kind = array.type
    if is_text(kind):
        return _text(array) if aspect in OF_TEXT else pa.nulls(len(array), pa.large_binary())
    if is_list(kind):
        if aspect == BEFORE and pa.types.is_struct(kind.value_type):
            return _before(array, shared)
        return _each(array, lambda elements: _leaf(elements, aspect, shared), shared)
    if pa.types.is_struct(kind):
        names = {field.name for field in kind}
        if names & set(SAID):
            return _of_turns(shared.made(_messages, array), aspect)
        listed = ", ".join(field.name for field in kind)
        raise UnfitError(
            f"is an object that is no message: it has {listed}; name one of them, as in "
            "messages[].content"
        )
    raise UnfitError(f"is {kind}, expected text")


def _of_turns(messages: _Messages, aspect: str) -> Texts:
    if not aspect:
        return messages.texts
    if aspect == WHO:
        return _letters(messages)
    wanted = [SPEAKERS.index(speaker) for speaker in OF_TURNS[aspect]]
    texts = messages.said if aspect in ALONE else messages.texts
    return _only(texts, np.isin(messages.turns, wanted))


def _letters(messages: _Messages) -> Texts:
    """Who speaks in each message: see `rules.LETTERS`."""
    letters = np.full(len(messages.there), ord("p"), np.uint8)
    if messages.roles is not None:
        names = _lower(messages.roles)
        for letter, known in LETTERS:
            is_known = pc.is_in(names, pa.array(known, pa.large_string()))
            letters[is_known.to_numpy(zero_copy_only=False)] = ord(letter)
    letters[~_valid(messages.said)] -= ord("a") - ord("A")
    offsets = pa.py_buffer(np.arange(len(letters) + 1))
    buffers = [None, offsets, pa.py_buffer(letters)]
    texts = pa.Array.from_buffers(pa.large_binary(), len(letters), buffers)
    return _only(texts, messages.there)


def _before(lists: pa.Array, shared: Shared) -> Texts:
    """For each list of messages all that is said before the last answer."""
    elements = shared.made(_flat, lists)
    everything = _leaf(elements, "", shared)
    counts = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    list_of = np.repeat(np.arange(len(lists)), counts)
    answers = np.flatnonzero(shared.made(_messages, elements).turns == SPEAKERS.index(ANSWER))
    last = np.full(len(lists), len(elements))
    last[list_of[answers]] = answers  # of several in a list the last one stays
    is_before = np.arange(len(elements)) < last[list_of]
    return _each(lists, lambda _: _only(everything, is_before), shared)


def _messages(array: pa.Array) -> _Messages:
    names = {field.name for field in array.type}
    said = {name: _content(_get(array, name)) for name in (*SAID, *MORE_SAID) if name in names}
    content = _first([said.pop(name) for name in SAID if name in said])
    body = _joined([content, *said.values()])
    roles = [_role(_get(array, name)) for name in ROLES if name in names]
    there = _valid(array)
    if not roles:
        nobody = np.full(len(body), SPEAKERS.index(NOBODY), np.int8)
        return _Messages(body, nobody, body, None, there)
    role = _first(roles)
    texts = _only(_joined([role, body]), _valid(body))
    return _Messages(texts, _turns_of(role), body, role, there)


def _turns_of(roles: Texts) -> Array:
    """The number in `SPEAKERS` of each role: int8."""
    names = _lower(roles)
    answers, systems = (
        pc.is_in(names, pa.array(known, pa.large_string())).to_numpy(zero_copy_only=False)
        for known in (ANSWERERS, SYSTEMS)
    )
    of = [SPEAKERS.index(name) for name in (ANSWER, SYSTEM, NOBODY, PROMPT)]
    kinds = [answers, systems, ~_valid(roles)]
    found: Array = np.select(kinds, of[:3], of[3]).astype(np.int8)
    return found


def _lower(roles: Texts) -> pa.Array:
    """Roles in lower case, as large_string.

    Each different one is made anew: of a slice whose texts do not begin at the first byte of its
    buffer, pyarrow 26 gives other texts in lower case.
    """
    coded = pc.dictionary_encode(from_bytes(roles, pa.large_string()))
    return pc.ascii_lower(coded.dictionary).take(coded.indices)


def _role(array: pa.Array) -> Texts:
    if not is_text(array.type):
        raise UnfitError(f"has roles of {array.type}, expected text")
    return _text(array)


def _content(array: pa.Array) -> Texts:
    if is_text(array.type):
        return _text(array)
    if is_list(array.type):
        return _each(array, _content)
    if pa.types.is_struct(array.type):
        return _part(array)
    raise UnfitError(f"has content of {array.type}, expected text or parts")


def _part(array: pa.Array) -> Texts:
    names = sorted({field.name for field in array.type} - MARKS, key=str.encode)
    texts = [_data(_get(array, name)) for name in names if name == PART_TEXT]
    return _joined([*texts, *(_named(array, name) for name in names if name != PART_TEXT)], array)


def _data(array: pa.Array, *, files: bool = False) -> Texts:
    kind = array.type
    if is_text(kind) and (files or pa.types.is_null(kind) or as_binary(array).type != kind):
        return _text(array)
    if is_list(kind):
        return _each(array, partial(_data, files=files))
    if pa.types.is_struct(kind):
        names = sorted({field.name for field in kind}, key=str.encode)
        if files and tuple(names) == FILE:
            return _first([_text(_get(array, name)) for name in FILE])
        named = [_named(array, name, files=files) for name in names]
        return _joined(named, array)
    with suppress(pa.ArrowNotImplementedError):
        if pa.types.is_boolean(kind) or pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
            return _text(array.cast(pa.string()))
    raise UnfitError(f"holds {kind}, which is not compared: name what to compare")


def _named(array: pa.Array, name: str, *, files: bool = False) -> Texts:
    value = _data(_get(array, name), files=files)
    return pc.binary_join_element_wise(
        pa.scalar(name.encode(), pa.large_binary()),
        value,
        pa.scalar(NEWLINE, pa.large_binary()),
        null_handling="emit_null",
    )


def _media(array: pa.Array) -> Texts:
    """What parts of messages hold or point to besides text."""
    if is_list(array.type):
        return _each(array, _media)
    if not pa.types.is_struct(array.type):
        return pa.nulls(len(array), pa.large_binary())
    names = {field.name for field in array.type}
    said = [_media(_get(array, name)) for name in SAID if name in names]
    media = [_named(array, name, files=True) for name in MEDIA_PARTS if name in names]
    return _joined([*said, *media], array)


def _get(array: pa.Array, name: str) -> pa.Array:
    """A member of structs, null where they are."""
    return pc.struct_field(array, [array.type.get_field_index(name)])


def _text(array: pa.Array) -> Texts:
    texts = as_binary(as_large_string(array))
    return _only(texts, text_buffers(texts).lengths > 0)


def _first(texts: Sequence[Texts]) -> Texts:
    """For each row the first of several texts that is not null."""
    return texts[0] if len(texts) == 1 else pc.coalesce(*texts)


def _joined(texts: Sequence[Texts], like: pa.Array | None = None) -> Texts:
    """For each row those texts that are not null, with a newline between them.

    like: an array with as many rows, for the case that there are no texts at all.
    """
    if not texts:
        return pa.nulls(0 if like is None else len(like), pa.large_binary())
    if len(texts) == 1:
        return texts[0]
    there = np.logical_or.reduce([_valid(text) for text in texts])
    arrays = [*texts]
    if not there.all():  # rows of nulls alone would not be in what pyarrow 26 returns
        arrays.append(pc.if_else(pa.array(there), pa.scalar(None, pa.large_binary()), b""))
    newline = pa.scalar(NEWLINE, pa.large_binary())
    return _only(pc.binary_join_element_wise(*arrays, newline, null_handling="skip"), there)


def _each(
    lists: pa.Array, rule: Callable[[pa.Array], Texts], shared: Shared | None = None
) -> Texts:
    """For each list what a rule gives for its elements, with a newline between them."""
    counts = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
    values = rule(shared.made(_flat, lists) if shared else _flat(lists))
    if values.null_count:
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(_valid(values))])[ends]
        values = values.drop_null()
    elements = pa.LargeListArray.from_arrays(pa.array(ends), values)
    joined = pc.binary_join(elements, pa.scalar(NEWLINE, pa.large_binary()))
    return _only(joined, np.diff(ends) > 0)


def _flat(lists: pa.Array) -> pa.Array:
    return pc.list_flatten(lists)


def _only(texts: Texts, there: Array) -> Texts:
    """The same texts, null but for those that are `there`; no copy."""
    if there.all():
        return texts
    if texts.null_count:
        there = there & _valid(texts)
    before = np.zeros(texts.offset, np.uint8)
    bits = np.packbits(np.concatenate([before, there.astype(np.uint8)]), bitorder="little")
    _, offsets, data = texts.buffers()
    return pa.Array.from_buffers(
        pa.large_binary(), len(texts), [pa.py_buffer(bits), offsets, data], offset=texts.offset
    )


def _valid(array: pa.Array) -> Array:
    found: Array = array.is_valid().to_numpy(zero_copy_only=False)
    return found
