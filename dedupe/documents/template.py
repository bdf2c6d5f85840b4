"""What a row's document is made of: a template over columns, and the common shapes of rows.

A template is text with paths in braces: `{title}: {body}`. A path is the name of a column, then
names of what is in it: `meta.title`; `[]` stands for all elements of a list: `messages[].content`.
A path that ends with ? is of something that may be missing. Names with dots and the like stand in
double quotes: `meta."my.text"`. What follows a colon is an *aspect* of the value. Of a list of
messages `messages:answer` stands for the turns of the assistant, `messages:system` for system
prompts, `messages:prompt` for all others, `messages:before` for all turns before the last answer,
`messages:media` for images and the like in them; `labels:data` is a value of any type, as text. Of
what may be an answer alone, or a conversation that ends with it, `chosen:reply` is the answer and
`chosen:asked` the rest. A document is one text, or several *fields*, each with its own template.
The shapes of rows that many corpora have are in `shapes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dedupe.errors import SettingsError

QUOTE = '"'
ELEMENTS = "[]"
"""The step of a path from a list to its elements."""

_QUOTED = r'"(?:[^"]|"")*"'
_PIECE = re.compile(
    r"(\{\{|\}\}|\\.)"  # an escape
    rf'|\{{((?:(?<=[{{.]){_QUOTED}|(?<![{{.])"|[^{{}}"])*)\}}'  # a path, perhaps with quoted names
    r"|([{}])",
    re.DOTALL,
)
_ESCAPES = {"{{": "{", "}}": "}", "\\n": "\n", "\\t": "\t", "\\\\": "\\"}
SYSTEM, PROMPT, ANSWER, NOBODY = "system", "prompt", "answer", "nobody"
TURNS = (SYSTEM, PROMPT, ANSWER)
"""Whose messages of a conversation a path is of."""
SPEAKERS = (*TURNS, NOBODY)
"""Whose messages there are; those of nobody have no role."""
ASKED, REPLY, BEFORE = "asked", "reply", "before"
OF_TURNS: dict[str, tuple[str, ...]] = {
    SYSTEM: (SYSTEM,),
    PROMPT: (PROMPT, NOBODY),
    ANSWER: (ANSWER,),
    ASKED: (SYSTEM, PROMPT),
    REPLY: (ANSWER, NOBODY),
    BEFORE: (SYSTEM, PROMPT, NOBODY),
}
"""Which messages an aspect is of; of several in a list `BEFORE` has earlier answers, too."""
OF_TEXT = ("", PROMPT, REPLY, BEFORE, f"{PROMPT} alone")
"""The aspects that a plain text has."""
DATA, MEDIA = "data", "media"
ASPECTS = (*OF_TURNS, DATA, MEDIA)
"""What a path can be of, besides the text of a value."""
ALONE = {f"{one} alone": one for one in TURNS}
"""Aspects that no path names in text: turns without the roles of who speaks, and whose turns."""
OF_TURNS |= {alone: OF_TURNS[one] for alone, one in ALONE.items()}
WHO = "who"
"""An aspect that no path names in text: a letter for each message, see `rules.LETTERS`."""
TEXT = "text"
"""The name of a document's only field."""
SEPARATOR = "\x1f"
"""Stands between values that must be equal."""
_SEGMENT = re.compile(rf"({_QUOTED}|[^\[\].]+)((?:\[\])*)(\.(?=.)|\Z)", re.DOTALL)
_SPECIAL = re.compile(rf'\Z|"|.*[.\[\]{{}}]|.*\?\Z|.*:(?:{"|".join(ASPECTS)})\Z', re.DOTALL)
"""What a name is that has to be quoted in a path."""


class UnfitError(Exception):
    """Why a template cannot be rendered from what a row or a table has."""


def spelled(name: str) -> str:
    """A name as a path has it: in double quotes where it could be read as something else."""
    return f'"{name.replace(QUOTE, 2 * QUOTE)}"' if _SPECIAL.match(name) else name


def shown_step(step: str) -> str:
    """A step of a path, as it stands after the one before."""
    return step if step == ELEMENTS else f".{spelled(step)}"


def _unquoted(name: str) -> str:
    if len(name) < 2 or name[0] != QUOTE or name[-1] != QUOTE:
        return name
    return name[1:-1].replace(2 * QUOTE, QUOTE)


@dataclass(frozen=True)
class ColumnPath:
    """A path into a row.

    column: where it begins. steps: names of what is in the value before, or `ELEMENTS`. optional:
    whether it may be missing. aspect: what of the value, of `ASPECTS`; empty for its text.
    """

    column: str
    steps: tuple[str, ...] = ()
    optional: bool = False
    aspect: str = ""

    @classmethod
    def parse(cls, path: str) -> ColumnPath:
        """Read a path, such as messages[].content; SettingsError where it is none.

        A name may stand in double quotes, and has to where it could be read as something else:
        meta."my.text". A double quote in such a name is written twice.
        """
        steps: list[str] = []
        place, _, aspect = path.removesuffix("?").rpartition(":")
        if aspect not in ASPECTS or not place:
            place, aspect = path.removesuffix("?"), ""
        at = 0
        while at < len(place) or not steps:
            found = _SEGMENT.match(place, at)
            name = found and _unquoted(found[1])
            if found is None or name is None or (steps and name == ELEMENTS):
                raise SettingsError(
                    f"{path!r} is not a path to text: write it like title, meta.title or "
                    'messages[].content, and names with dots or brackets like meta."my.text"'
                )
            steps += [name, *[ELEMENTS] * (len(found[2]) // 2)]
            at = found.end()
        return cls(steps[0], tuple(steps[1:]), path.endswith("?"), aspect)

    @property
    def name(self) -> str:
        """What messages call it."""
        if not self.steps and not self.aspect:
            return f'column "{self.column}"'
        shown = str(self)
        return shown if '"' in shown else f'"{shown}"'

    def __str__(self) -> str:
        aspect = f":{self.aspect}" if self.aspect else ""
        return "".join(
            [spelled(self.column), *map(shown_step, self.steps), aspect, "?" * self.optional]
        )


@dataclass(frozen=True)
class Template:
    """Literal texts and paths, one after the other: a document is what they are in its row."""

    parts: tuple[str | ColumnPath, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read a template, or the path that one consists of; SettingsError where it is neither."""
        if not _PIECE.search(text):
            return cls((ColumnPath.parse(text),))
        parts: list[str | ColumnPath] = []
        literal, done = "", 0
        for found in _PIECE.finditer(text):
            literal += text[done : found.start()]
            done = found.end()
            if found[3]:
                raise SettingsError(
                    f"template {text!r} has a single {found[3]}: write {{column}}, or "
                    f"{found[3] * 2} for the brace itself"
                )
            if found[1]:
                literal += _ESCAPES.get(found[1], found[1])
            else:
                parts += [literal, ColumnPath.parse(found[2])]
                literal = ""
        parts.append(literal + text[done:])
        if len(parts) == 1:
            raise SettingsError(f"template {text!r} names no column: write {{column}} in it")
        return cls(tuple(part for part in parts if part != ""))

    @classmethod
    def of_columns(cls, paths: Sequence[str]) -> Template:
        """Make a template of one path after the other, with a newline between them."""
        parts: list[str | ColumnPath] = []
        for path in paths:
            parts += ["\n", ColumnPath.parse(path)]
        return cls(tuple(parts[1:]))

    def __str__(self) -> str:
        shown = []
        for part in self.parts:
            if isinstance(part, ColumnPath):
                shown.append(f"{{{part}}}")
            else:
                text = part.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
                shown.append(text.replace("{", "{{").replace("}", "}}"))
        return "".join(shown)

    @property
    def paths(self) -> tuple[ColumnPath, ...]:
        """The paths in it."""
        return tuple(part for part in self.parts if isinstance(part, ColumnPath))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs, each once."""
        return tuple(dict.fromkeys(path.column for path in self.paths))

    @property
    def column(self) -> str | None:
        """The column that it is, where it is one and nothing else."""
        only = self.parts[0] if len(self.parts) == 1 else None
        if not isinstance(only, ColumnPath) or only.steps or only.aspect:
            return None
        return only.column

    @property
    def name(self) -> str:
        """What messages call a document of it."""
        return ColumnPath(self.column).name if self.column else f'the document "{self}"'

    def resolved(self, names: Iterable[str]) -> Template:
        """The same for a table of these columns, where a name like `a.b` may be that of a column.

        names: the columns. A path that is written as one of them becomes this column.
        """
        known = set(names)
        return Template(
            tuple(
                replace(part, column=whole, steps=(), aspect="")
                if isinstance(part, ColumnPath)
                and (whole := str(replace(part, optional=False))) in known
                else part
                for part in self.parts
            )
        )

    def without(self, columns: Sequence[str]) -> Template:
        """The same without optional paths that begin with one of these columns."""
        parts: list[str | ColumnPath] = []
        for part in self.parts:
            if isinstance(part, ColumnPath) and part.optional and part.column in columns:
                parts = parts[:-1] if parts and isinstance(parts[-1], str) else parts
            elif parts or isinstance(part, ColumnPath) or part.strip():
                parts.append(part)
        return Template(tuple(parts))

    def as_json(self) -> list[Any]:
        """Plain values; see `from_json`."""
        return [
            part
            if isinstance(part, str)
            else [part.column, list(part.steps), part.optional, part.aspect]
            for part in self.parts
        ]

    @classmethod
    def from_json(cls, parts: list[Any]) -> Template:
        """Read what `as_json` gave."""
        return cls(
            tuple(
                part if isinstance(part, str) else ColumnPath(part[0], tuple(part[1]), *part[2:])
                for part in parts
            )
        )


COMPARES = ("all", "prompt", "asked")
"""What of a row is its document."""
MATCHES = ("fields", "whole")
"""Whether each field must be a duplicate, or all of them as one text."""


@dataclass(frozen=True)
class DocumentTemplate:
    """What is compared of the rows of a corpus.

    fields: the template of each field by its name, for the columns that there are; `TEXT` names an
    only one. equal: what must be equal besides, as one text; None for nothing. format: the name of
    the shape that it is of, in `shapes.SHAPES`; None for templates of the user. guessed: whether
    the shape was told from the columns. absent: columns that the shape knows and the shard
    has not. others: columns that it has and that are not compared.
    """

    fields: Mapping[str, Template]
    equal: Template | None = None
    format: str | None = None
    guessed: bool = False
    absent: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(self.fields)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Their templates, in the same order, and then that of what must be equal, if any."""
        return (*self.fields.values(), *([self.equal] if self.equal else []))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs, each once."""
        return tuple(dict.fromkeys(name for one in self.templates for name in one.columns))

    @property
    def compared(self) -> tuple[Any, ...]:
        """What documents that are compared alike have in common."""
        return (self.format, *self.fields.items(), self.equal)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that every shard must have, each once."""
        paths = (path for one in self.templates for path in one.paths)
        return tuple(dict.fromkeys(path.column for path in paths if not path.optional))

    def as_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        return {
            "fields": {name: template.as_json() for name, template in self.fields.items()},
            "equal": self.equal and self.equal.as_json(),
            "format": self.format,
            "guessed": self.guessed,
            "absent": list(self.absent),
            "others": list(self.others),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> DocumentTemplate:
        """Read what `as_json` gave."""
        return cls(
            {name: Template.from_json(parts) for name, parts in found["fields"].items()},
            Template.from_json(found["equal"]) if found["equal"] else None,
            found["format"],
            found["guessed"],
            tuple(found["absent"]),
            tuple(found["others"]),
        )

    def __str__(self) -> str:
        shown = [str(one.without(self.absent)) for one in self.fields.values()]
        if len(shown) > 1:
            shown = [f"{name} {text}" for name, text in zip(self.names, shown, strict=True)]
        if self.equal:
            parts = ("media" if p.aspect == MEDIA else p.column for p in self.equal.paths)
            shown.append("equal " + ", ".join(dict.fromkeys(parts)))
        how = ", by its columns" if self.guessed else ""
        return "; ".join(shown) + (f" (format {self.format}{how})" if self.format else "")


PLAIN = DocumentTemplate({TEXT: Template((ColumnPath("text"),))})
"""One column of text."""
