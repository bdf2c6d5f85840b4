"""What a row's document is made of: a template over columns, and the common shapes of rows.

A template is text with paths in braces: `{title}: {body}`. A path is the name of a column, then
names of what is in it: `meta.title`; `[]` stands for all elements of a list: `messages[].content`.
A path that ends with ? is of a column that may be missing. Of a list of messages `messages:answer`
stands for the turns of the assistant, `messages:system` for system prompts, `messages:prompt` for
all others. A document is one text, or
several *fields*, each with its own template. A shape is a set of columns that many corpora have,
with the templates of its documents; users call it a format.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dedupe.errors import SettingsError

ELEMENTS = "[]"
"""The step of a path from a list to its elements."""

_PIECE = re.compile(r"(\{\{|\}\}|\\.)|\{([^{}]*)\}|([{}])", re.DOTALL)
_ESCAPES = {"{{": "{", "}}": "}", "\\n": "\n", "\\t": "\t", "\\\\": "\\"}
SYSTEM, PROMPT, ANSWER = "system", "prompt", "answer"
TURNS = (SYSTEM, PROMPT, ANSWER)
"""Whose messages of a conversation a path is of."""
TEXT = "text"
"""The name of a document's only field."""
_SEGMENT = re.compile(r"([^\[\]]+)((?:\[\])*)")


@dataclass(frozen=True)
class ColumnPath:
    """A path into a row.

    column: where it begins. steps: names of what is in the value before, or `ELEMENTS`. optional:
    whether the column may be missing. turns: whose messages, of `TURNS`; empty for all.
    """

    column: str
    steps: tuple[str, ...] = ()
    optional: bool = False
    turns: str = ""

    @classmethod
    def parse(cls, path: str) -> ColumnPath:
        """Read a path, such as messages[].content; SettingsError where it is none."""
        steps: list[str] = []
        place, _, turns = path.removesuffix("?").rpartition(":")
        if turns not in TURNS or not place:
            place, turns = path.removesuffix("?"), ""
        for segment in place.split("."):
            found = _SEGMENT.fullmatch(segment)
            if found is None:
                raise SettingsError(
                    f"{path!r} is not a path to text: write it like title, meta.title or "
                    "messages[].content"
                )
            steps += [found[1], *[ELEMENTS] * (len(found[2]) // 2)]
        return cls(steps[0], tuple(steps[1:]), path.endswith("?"), turns)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'"{self}"' if self.steps or self.turns else f'column "{self.column}"'

    def __str__(self) -> str:
        steps = (step if step == ELEMENTS else f".{step}" for step in self.steps)
        turns = f":{self.turns}" if self.turns else ""
        return "".join([self.column, *steps, turns, "?" * self.optional])


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
        if not isinstance(only, ColumnPath) or only.steps or only.turns:
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
                replace(part, column=whole, steps=(), turns="")
                if isinstance(part, ColumnPath)
                and (whole := str(replace(part, optional=False))) in known
                else part
                for part in self.parts
            )
        )

    def as_json(self) -> list[Any]:
        """Plain values; see `from_json`."""
        return [
            part
            if isinstance(part, str)
            else [part.column, list(part.steps), part.optional, part.turns]
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


@dataclass(frozen=True)
class Shape:
    """A common shape of rows.

    whole: the template of a whole row, as text. fields: that of each of its fields by name; none
    where a row is one text. prompt: that of its prompt; None where rows of this shape have none.
    """

    whole: str
    fields: Mapping[str, str] = field(default_factory=dict)
    prompt: str | None = None


SHAPES = {
    "messages": Shape(
        "{messages}",
        {turns: f"{{messages:{turns}}}" for turns in TURNS},
        "{messages:prompt}",
    ),
    "sharegpt": Shape(
        "{conversations}",
        {turns: f"{{conversations:{turns}}}" for turns in TURNS},
        "{conversations:prompt}",
    ),
    "preference": Shape(
        "{prompt?}\n{chosen}\n{rejected}",
        {PROMPT: "{prompt?}", "chosen": "{chosen}", "rejected": "{rejected}"},
        "{prompt}",
    ),
    "alpaca": Shape(
        "{instruction}\n{input?}\n{output}",
        {PROMPT: "{instruction}\n{input?}", ANSWER: "{output}"},
        "{instruction}\n{input?}",
    ),
    "prompt-completion": Shape(
        "{prompt}\n{completion}", {PROMPT: "{prompt}", ANSWER: "{completion}"}, "{prompt}"
    ),
    "text": Shape("{text}"),
}
"""Shapes by name, in the order in which they are tried on a table's columns."""

COMPARES = ("all", "prompt")
"""What of a row is its document."""
MATCHES = ("fields", "whole")
"""Whether each field must be a duplicate, or all of them as one text."""


@dataclass(frozen=True)
class DocumentTemplate:
    """What is compared of the rows of a corpus.

    fields: the template of each field by its name, for the columns that there are; `TEXT` names an
    only one. format: the name of the shape that it is of, in `SHAPES`; None for templates of the
    user. guessed: whether the shape was told from the columns.
    """

    fields: Mapping[str, Template]
    format: str | None = None
    guessed: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(self.fields)

    @property
    def templates(self) -> tuple[Template, ...]:
        """Their templates, in the same order."""
        return tuple(self.fields.values())

    def as_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        fields = {name: template.as_json() for name, template in self.fields.items()}
        return {"fields": fields, "format": self.format, "guessed": self.guessed}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> DocumentTemplate:
        """Read what `as_json` gave."""
        fields = {name: Template.from_json(parts) for name, parts in found["fields"].items()}
        return cls(**{**found, "fields": fields})

    def __str__(self) -> str:
        shown = [str(template) for template in self.templates]
        if len(shown) > 1:
            shown = [f"{name} {text}" for name, text in zip(self.names, shown, strict=True)]
        how = ", by its columns" if self.guessed else ""
        return "; ".join(shown) + (f" (format {self.format}{how})" if self.format else "")


def choose(
    text: str | Sequence[str] | None,
    form: str | None,
    compare: str,
    match: str | None,
    names: Sequence[str],
) -> DocumentTemplate:
    """What is compared of a table: as asked for, or of the shape that its columns are of.

    text: a column, path or template, or several paths; None to look at the shape. form: name of a
    shape, or None to find it. compare: "all" for the document of a whole row, "prompt" for that of
    its prompt. match: "fields" where each field is compared by itself, "whole" where all are one
    text; None for the fields of a shape, and for texts as one. names: the columns. Raises
    SettingsError where no shape fits, or has no prompt.
    """
    if text is not None:
        if isinstance(text, str) and text in names:
            return DocumentTemplate({TEXT: Template((ColumnPath(text),))})
        if isinstance(text, str):
            return DocumentTemplate({TEXT: Template.parse(text).resolved(names)})
        if match == "fields":
            return DocumentTemplate(
                {path: Template.of_columns([path]).resolved(names) for path in text}
            )
        return DocumentTemplate({TEXT: Template.of_columns(text).resolved(names)})
    guessed = form is None
    if form is None:
        form = next((name for name in SHAPES if _needed(name) <= set(names)), None)
    if form is None:
        listed = ", ".join(names[:40]) + (", …" if len(names) > 40 else "")
        raise SettingsError(
            f"its columns are those of no known format: name the text with --text COLUMN, or a "
            f'template like --text "{{title}}\\n{{body}}"; there are {listed or "no columns"}'
        )
    shape = SHAPES[form]
    texts = {TEXT: shape.whole}
    if compare == "prompt":
        if shape.prompt is None:
            raise SettingsError(
                f"rows of the format {form} have no prompt of their own: leave out --compare, or "
                "name what to compare with --text"
            )
        texts = {TEXT: shape.prompt}
    elif match != "whole" and shape.fields:
        texts = dict(shape.fields)
    fields = {name: Template.parse(one) for name, one in texts.items()}
    return DocumentTemplate(fields, form, guessed)


def _needed(form: str) -> set[str]:
    """The columns that every table of a shape has."""
    paths = Template.parse(SHAPES[form].whole).paths
    return {path.column for path in paths if not path.optional}
