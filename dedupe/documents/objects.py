"""Documents of JSON objects one by one, for rows that do not all have the same types.

Texts have a character for each byte of UTF-8, as `parsed` gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dedupe.documents.rules import (
    ANSWERERS,
    FILE,
    LETTERS,
    MARKS,
    MEDIA_PARTS,
    MESSAGE,
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
    SYSTEM,
    WHO,
    ColumnPath,
    Template,
    UnfitError,
    shown_step,
    spelled,
)
from dedupe.errors import listed

TEXT = pa.large_string()
MESSAGE_TYPE = pa.struct([(name, TEXT) for name in MESSAGE])
"""What the fast parser is told of a message: all else it has is no text, and refused by it."""


_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.", re.DOTALL
)


def parsed(text: bytes) -> Any:
    """Parse JSON into strings of one character for each byte of UTF-8, valid or not.

    Lone surrogates become the three bytes that UTF-8 would have for them, which are malformed.
    Raises json.JSONDecodeError for what is no JSON; its place is that in the text where there are
    no escapes. Raises ValueError for numbers, and RecursionError for nesting, beyond Python's
    limits.
    """
    plain = _ESCAPE.sub(_unescaped, text) if b"\\u" in text else text
    return json.loads(plain.decode("latin-1"))


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match[0]
    if len(escape) == 2:
        return escape
    code = int(escape[2:6], 16)
    if len(escape) == 12:
        code = 0x10000 + ((code - 0xD800) << 10) + int(escape[8:12], 16) - 0xDC00
    if code < 0x80:
        return escape
    return chr(code).encode("utf-8", "surrogatepass")


def render_object(row: Mapping[str, Any], template: Template) -> str | None:
    """The text of one row's field, null where it says nothing.

    Raises UnfitError where a path leads to a value that gives no text.
    """
    texts = [_checked(row, path) for path in template.paths]
    if len(template.parts) == 1 or not any(texts):
        return texts[0] if any(texts) else None
    given = iter(texts)
    return "".join(
        as_latin(part) if isinstance(part, str) else next(given) or "" for part in template.parts
    )


def json_types(
    rows: Sequence[Mapping[str, Any]], templates: Sequence[Template]
) -> dict[str, pa.DataType]:
    """Types of the templates' columns for a fast parser, by what these rows have.

    A row that does not fit them is for `render_object`. Raises UnfitError where paths name a column
    both whole and in part.
    """
    needed: dict[str, Any] = {}
    paths = [path for template in templates for path in template.paths]
    for path in dict.fromkeys(paths):
        samples = [row.get(as_latin(path.column)) for row in rows]
        _need(needed, [path.column, *path.steps], samples, path)
    return {path.column: _type(needed[path.column]) for path in paths}


def check_path(rows: Sequence[Mapping[str, Any]], path: ColumnPath) -> None:
    """Raise UnfitError where objects that a path leads through have not, in any row, what it names.

    rows: the first rows of a file. A path through nulls and empty lists alone is not refused.
    """
    values: list[Any] = [row.get(as_latin(path.column)) for row in rows]
    for step in path.steps:
        if step == ELEMENTS:
            values = [one for value in values if isinstance(value, list) for one in value]
            continue
        objects = [value for value in values if isinstance(value, dict)]
        if objects and not any(as_latin(step) in value for value in objects):
            names = [
                _plain(name) for name in dict.fromkeys(name for one in objects for name in one)
            ]
            raise UnfitError(
                f"{path.name} has no {spelled(step)}: it has {listed(names) or 'no fields'}"
            )
        values = [value.get(as_latin(step)) for value in objects]


def plain_type(samples: Sequence[Any]) -> pa.DataType | None:
    """What the fast parser is told of a column of plain values, by some of them; None for others.

    Plain are strings, booleans and numbers, and lists of one of these.
    """
    values = [value for value in samples if value is not None]
    if any(isinstance(value, list) for value in values):
        if not all(isinstance(value, list) for value in values):
            return None
        of_elements = plain_type([one for value in values for one in value])
        return of_elements and pa.list_(of_elements)
    kinds = {type(value) for value in values}
    for wanted, found in _PLAIN.items():
        if kinds <= found:
            return wanted
    return None


_PLAIN: dict[pa.DataType, set[type]] = {
    TEXT: {str},
    pa.bool_(): {bool},
    pa.int64(): {int},
    pa.float64(): {int, float},
}


def plain_value(value: Any, wanted: pa.DataType) -> Any:
    """A value of JSON as one of its column, of a list as the text that `columns.plain_texts` gives.

    value: the value. wanted: the column's type, see `plain_type`. Raises UnfitError for a value of
    another type.
    """
    if value is None:
        return None
    if pa.types.is_list(wanted) and isinstance(value, list):
        return _joined(_data(plain_value(one, wanted.value_type)) for one in value)
    if type(value) not in _PLAIN.get(wanted, ()):
        raise UnfitError(f"is {kind(value)}, expected {wanted}")
    if wanted == pa.int64() and not -(2**63) <= value < 2**63:
        raise UnfitError(f"is {value}, expected {wanted}")
    try:
        return float(value) if wanted == pa.float64() else value
    except OverflowError:
        raise UnfitError(f"is {value}, expected {wanted}") from None


def is_doubtful(array: pa.Array) -> bool:
    """Whether a parsed column has a message of which nothing was known: see `render_object`."""
    while pa.types.is_list(array.type):
        array = pc.list_flatten(array)
    if not pa.types.is_struct(array.type):
        return False
    members = array.flatten()
    if array.type != MESSAGE_TYPE:
        return any(map(is_doubtful, members))
    silent = array.is_valid()
    for member in members:
        silent = pc.and_(silent, member.is_null())
    return bool(pc.any(silent).as_py())


def kind(value: object) -> str:
    """Name a JSON value's kind in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str | bytes):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


def as_latin(text: str) -> str:
    """Spell a text as `parsed` gives it."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _plain(text: str) -> str:
    return text.encode("latin-1").decode("utf-8", "replace")


def _need(into: dict[str, Any], steps: list[str], samples: list[Any], path: ColumnPath) -> None:
    """Note the steps of a path in a tree of names, whose leaves are types."""
    name, rest = steps[0], steps[1:]
    if not rest:
        if isinstance(into.get(name), dict):
            raise UnfitError(f"{path.name} is named whole and in parts: name it once")
        kind = _data_type(samples) if path.aspect == DATA else _leaf_type(samples)
        into[name] = kind if into.get(name, kind) == kind else TEXT
        return
    below = into.setdefault(name, {})
    if not isinstance(below, dict):
        raise UnfitError(f"{path.name} is named whole and in parts: name it once")
    key = as_latin(rest[0])
    if rest[0] == ELEMENTS:
        samples = [one for value in samples if isinstance(value, list) for one in value]
    else:
        samples = [value.get(key) for value in samples if isinstance(value, dict)]
    _need(below, rest, samples, path)


def _type(tree: Any) -> pa.DataType:
    if isinstance(tree, pa.DataType):
        return tree
    if ELEMENTS in tree:
        return pa.list_(_type(tree[ELEMENTS]))
    return pa.struct([(name, _type(below)) for name, below in tree.items()])


def _leaf_type(samples: list[Any]) -> pa.DataType:
    found = next((value for value in samples if value not in (None, [], "")), None)
    if isinstance(found, list):
        return pa.list_(_leaf_type(found))
    return MESSAGE_TYPE if isinstance(found, dict) else TEXT


def _data_type(samples: list[Any]) -> pa.DataType:
    """What the fast parser is told of any value; it refuses rows with others."""
    found = next((value for value in samples if value not in (None, [], "")), None)
    if isinstance(found, bool):
        return pa.bool_()
    if isinstance(found, int):
        return pa.int64()
    if isinstance(found, list):
        return pa.list_(_data_type(found))
    return TEXT


def _checked(row: Mapping[str, Any], path: ColumnPath) -> str | None:
    """What a path gives, with its name in errors."""
    try:
        return text_of(row.get(as_latin(path.column)), path.steps, path.aspect)
    except UnfitError as error:
        raise UnfitError(f"{path.name} {error}") from None


def text_of(value: Any, steps: Sequence[str], aspect: str) -> str | None:
    """What the rest of a path gives of a value, null where it says nothing.

    value: as `parsed` gives it. steps: names of what is in it, or `ELEMENTS`. aspect: what of the
    value at their end. Raises UnfitError where they lead to what gives no text.
    """
    if value is None or not steps:
        return _leaf(value, aspect)
    step, *rest = steps
    if step == ELEMENTS and isinstance(value, list):
        return _joined(text_of(one, rest, aspect) for one in value)
    if step != ELEMENTS and isinstance(value, dict):
        return text_of(value.get(as_latin(step)), rest, aspect)
    wanted = "a list" if step == ELEMENTS else "an object"
    raise UnfitError(f"is {kind(value)} before {shown_step(step)}, expected {wanted}")


def _leaf(value: Any, aspect: str) -> str | None:
    if aspect in (DATA, MEDIA):
        return _data(value, files=True) if aspect == DATA else _media(value)
    if value is None or isinstance(value, str):
        return value or None if aspect in OF_TEXT else None
    if isinstance(value, list):
        if aspect == BEFORE and any(isinstance(one, dict) for one in value):
            return _joined(_leaf(one, "") for one in _before(value))
        return _joined(_leaf(one, aspect) for one in value)
    if isinstance(value, dict):
        return _message(value, aspect)
    raise UnfitError(f"is {kind(value)}, expected a string")


def _message(value: dict[str, Any], aspect: str) -> str | None:
    if value.keys().isdisjoint(MESSAGE):
        names = listed([_plain(name) for name in value])
        raise UnfitError(f"is an object that is no message: it has {names or 'nothing'}")
    content = next(filter(None, (_content(value.get(name)) for name in SAID)), None)
    body = _joined([content, *(_content(value.get(name)) for name in MORE_SAID)])
    role = _role_of(value)
    if aspect == WHO:
        letter = _letter(role)
        return letter if body else letter.upper()
    if aspect and _turns_of(role) not in OF_TURNS[aspect]:
        return None
    return body and _joined([None if aspect in ALONE else role, body])


def _before(messages: list[Any]) -> list[Any]:
    """The messages before the last answer; all of them where there is none."""
    answers = (
        number
        for number, one in enumerate(messages)
        if isinstance(one, dict) and _turns_of(_role_of(one)) == ANSWER
    )
    return messages[: max(answers, default=len(messages))]


def _role_of(message: Mapping[str, Any]) -> str | None:
    return next(filter(None, [_role(message.get(name)) for name in ROLES]), None)


def _turns_of(role: str | None) -> str:
    """Which turns a role is part of."""
    if role is None:
        return NOBODY
    name = role.lower()
    return ANSWER if name in ANSWERERS else SYSTEM if name in SYSTEMS else PROMPT


def _letter(role: str | None) -> str:
    """Who speaks: see `rules.LETTERS`."""
    name = (role or "").lower()
    return next((letter for letter, known in reversed(LETTERS) if name in known), "p")


def _role(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UnfitError(f"has a role that is {kind(value)}, expected a string")
    return value


def _content(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, list):
        return _joined(map(_content, value))
    if isinstance(value, dict):
        names = sorted(value.keys() - MARKS - {PART_TEXT})
        return _joined([_data(value.get(PART_TEXT)), *(_named(value, name) for name in names)])
    raise UnfitError(f"has content that is {kind(value)}, expected a string or parts")


def _data(value: Any, *, files: bool = False) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, list):
        return _joined(_data(one, files=files) for one in value)
    if isinstance(value, dict):
        names = sorted(value)
        if files and tuple(names) == FILE:
            return next(filter(None, (_data(value[name]) for name in FILE)), None)
        return _joined(_named(value, name, files=files) for name in names)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(pa.scalar(value, pa.float64()).cast(pa.string()))
    return None if value is None else str(value)


def _media(value: Any) -> str | None:
    if isinstance(value, list):
        return _joined(map(_media, value))
    if not isinstance(value, dict):
        return None
    media = [_named(value, name, files=True) for name in MEDIA_PARTS if name in value]
    return _joined([*(_media(value.get(name)) for name in SAID), *media])


def _named(value: dict[str, Any], name: str, *, files: bool = False) -> str | None:
    found = _data(value[name], files=files)
    return None if found is None else f"{name}\n{found}"


def _joined(texts: Any) -> str | None:
    return "\n".join(text for text in texts if text) or None
