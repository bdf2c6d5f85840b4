"""The shapes that rows of fine-tuning data have: which columns they are, and what is compared.

Users call a shape a format. To add one, add a line to `SHAPES`: `dedupe formats` and the page on
documents are made from it. The columns are those of TRL, LLaMA-Factory, axolotl, the fine-tuning
API of OpenAI, and data sets on the Hugging Face hub.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

from dedupe.documents.template import (
    ANSWER,
    BEFORE,
    DATA,
    MEDIA,
    PROMPT,
    SEPARATOR,
    SYSTEM,
    TEXT,
    TURNS,
    WHO,
    ColumnPath,
    DocumentTemplate,
    Template,
)
from dedupe.errors import SettingsError, listed

MEDIA_COLUMNS = ("image", "images", "audio", "audios", "video", "videos")
"""Columns that must be equal, whatever the shape."""


@dataclass(frozen=True)
class Shape:
    """A common shape of rows.

    about: what such rows are. fields: the template of each field by its name; `TEXT` names an only
    one. equal: paths to what must be equal besides `MEDIA_COLUMNS`. whole: the template of a whole
    row as one text; empty for the fields one after the other. asked: that of what was asked, where
    it is more than the field `PROMPT`.
    """

    about: str
    fields: Mapping[str, str]
    equal: tuple[str, ...] = ()
    whole: str = ""
    asked: str = ""

    @property
    def one_text(self) -> str:
        """The template of a whole row as one text."""
        return self.whole or "\\n".join(self.fields.values())

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The columns that every table of this shape has, each once."""
        return tuple(dict.fromkeys(path.column for path in self._paths() if not path.optional))

    @cached_property
    def known(self) -> tuple[str, ...]:
        """All columns that it compares where they are, but for `MEDIA_COLUMNS`; each once."""
        return tuple(dict.fromkeys(path.column for path in self._paths()))

    def _paths(self) -> Iterator[ColumnPath]:
        for text in self.fields.values():
            yield from Template.parse(text).paths
        yield from map(ColumnPath.parse, self.equal)


def _chat(column: str, about: str, label: str = "") -> Shape:
    """Conversations in a column of messages, perhaps with a column of labels."""
    fields = {one: f"{{{column}:{one}}}" for one in TURNS}
    fields[SYSTEM] = "{system?}\\n" + fields[SYSTEM]
    fields[PROMPT] = "{tools:data?}\\n{functions:data?}\\n" + fields[PROMPT]
    whole = f"{{system?}}\\n{{tools:data?}}\\n{{functions:data?}}\\n{{{column}}}"
    asked = f"{{system?}}\\n{{tools:data?}}\\n{{functions:data?}}\\n{{{column}:{BEFORE}}}"
    labels = (f"{label}:{DATA}",) if label else ()
    return Shape(about, fields, (*labels, f"{column}:{MEDIA}"), whole, asked)


def _pair(prompt: str, answer: str, about: str, answered: str = "") -> Shape:
    """A prompt and its answer, in a column or several each."""
    return Shape(about, {PROMPT: prompt, ANSWER: answered or f"{{{answer}}}"})


SHAPES: dict[str, Shape] = {
    "messages": _chat("messages", "chats: OpenAI, TRL"),
    "sharegpt": _chat("conversations", "chats: ShareGPT, LLaMA-Factory, LLaVA"),
    "conversation": _chat("conversation", "chats: LMSYS, WildChat"),
    "preference": Shape(
        "preference pairs: TRL, Intel, Anthropic HH",
        {
            PROMPT: "{system?}\\n{tools:data?}\\n{instruction?}\\n{question?}\\n{input?}\\n"
            "{prompt?}\\n{chosen:asked}\\n{rejected:asked}",
            "chosen": "{chosen:reply}",
            "rejected": "{rejected:reply}",
        },
        (f"prompt:{MEDIA}?", f"chosen:{MEDIA}", f"rejected:{MEDIA}"),
    ),
    "sharegpt-preference": Shape(
        "preference pairs: LLaMA-Factory",
        {
            PROMPT: "{system?}\\n{tools:data?}\\n{conversations}",
            "chosen": "{chosen}",
            "rejected": "{rejected}",
        },
        (f"conversations:{MEDIA}",),
    ),
    "messages-preference": Shape(
        "preference pairs as two chats",
        {
            PROMPT: "{system?}\\n{tools:data?}\\n{prompt?}\\n{chosen_messages:asked}\\n"
            "{rejected_messages:asked}",
            "chosen": "{chosen_messages:reply}",
            "rejected": "{rejected_messages:reply}",
        },
        (f"chosen_messages:{MEDIA}", f"rejected_messages:{MEDIA}"),
    ),
    "openai-preference": Shape(
        "preference pairs: OpenAI fine-tuning",
        {
            PROMPT: "{input.tools:data?}\\n{input.messages}",
            "preferred": "{preferred_output}",
            "non_preferred": "{non_preferred_output}",
        },
        (f"input.messages:{MEDIA}",),
    ),
    "kto": Shape(
        "answers with a label: TRL KTO",
        {PROMPT: "{system?}\\n{tools:data?}\\n{prompt}", ANSWER: "{completion}"},
        (f"label:{DATA}", f"prompt:{MEDIA}"),
    ),
    "messages-kto": _chat("messages", "chats with a label: LLaMA-Factory KTO", "label"),
    "sharegpt-kto": _chat("conversations", "chats with a label: LLaMA-Factory KTO", "kto_tag"),
    "stepwise": Shape(
        "steps with a label each: TRL",
        {PROMPT: "{prompt}", ANSWER: "{completions}"},
        (f"labels:{DATA}",),
    ),
    "alpaca": _pair(
        "{system?}\\n{history:data?}\\n{instruction}\\n{input?}",
        "output",
        "instructions: Alpaca, LLaMA-Factory",
    ),
    "instruction-response": _pair(
        "{system?}\\n{instruction}\\n{input?}\\n{context?}", "response", "instructions: Dolly"
    ),
    "prompt-completion": _pair("{system?}\\n{prompt}", "completion", "TRL, OpenAI completions"),
    "prompt-response": _pair(
        "{system?}\\n{prompt}\\n{context?}", "response", "prompts and responses"
    ),
    "query-response": _pair("{system?}\\n{query}", "response", "questions: MetaMathQA"),
    "problem-solution": _pair(
        "{problem}", "solution", "mathematics", "{solution}\\n{answer:data?}"
    ),
    "question-answer": _pair(
        "{system?}\\n{context?}\\n{question}\\n{choices:data?}\\n{options:data?}",
        "answer",
        "questions: GSM8K, MMLU",
        "{answer:data}\\n{solution?}",
    ),
    "question-answers": _pair(
        "{context?}\\n{question}\\n{choices:data?}", "answers", "questions: SQuAD", "{answers:data}"
    ),
    "question-answerkey": _pair(
        "{question}\\n{choices:data}", "answerKey", "multiple choice: ARC", "{answerKey:data}"
    ),
    "question-response": _pair(
        "{system?}\\n{system_prompt?}\\n{question}", "response", "questions: OpenOrca"
    ),
    "input-output": _pair("{system?}\\n{input}", "output", "inputs and outputs"),
    "inputs-targets": _pair("{inputs}", "targets", "inputs and targets: FLAN, P3"),
    "summary": _pair("{document}", "summary", "documents and summaries"),
    "highlights": _pair("{article}", "highlights", "articles and highlights: CNN/DailyMail"),
    "sentence-pair": Shape("pairs of sentences", {"first": "{sentence1}", "second": "{sentence2}"}),
    "entailment": Shape(
        "premises and hypotheses: SNLI, MNLI",
        {"premise": "{premise}", "hypothesis": "{hypothesis}"},
    ),
    "triplet": Shape(
        "anchors with a positive and a negative",
        {"anchor": "{anchor}", "positive": "{positive}", "negative": "{negative}"},
    ),
    "query-triplet": Shape(
        "queries with a positive and a negative",
        {"query": "{query}", "positive": "{positive}", "negative": "{negative}"},
    ),
    "translation": Shape("a text in several languages", {TEXT: "{translation:data}"}),
    "turns": Shape("what two say in turn: UltraChat", {TEXT: "{data}"}),
    "text": Shape("plain text", {TEXT: "{text}"}),
    "content": Shape("files of code", {TEXT: "{content}"}),
    "prompt": Shape("prompts alone", {PROMPT: "{prompt}"}),
}
"""Shapes by name; of several that know as many of a table's columns the first is taken."""


def shape_of(names: Sequence[str], silent: Collection[str] = ()) -> str | None:
    """The name of the shape that a table is of: the most complete one that has all it needs.

    names: the columns. silent: those of them in which no row that was looked at has anything; they
    count only where nothing else decides. None where no shape is known.
    """
    there = set(names)
    said = there.difference(silent)

    def completeness(name: str) -> tuple[bool, int, int]:
        needed, known = SHAPES[name].needed, set(SHAPES[name].known)
        return not said.isdisjoint(needed), len(said & known), len(there & known)

    return max(_fitting(there), key=completeness, default=None)


def deciding(names: Sequence[str]) -> list[str]:
    """The columns of a table of which `shape_of` must know whether they are silent.

    names: all its columns. None where there is no choice of shapes.
    """
    fits = _fitting(set(names))
    known = {column for name in fits for column in SHAPES[name].known}
    return [name for name in names if name in known] if len(fits) > 1 else []


def not_in(
    document: DocumentTemplate,
    names: Sequence[str],
    form: str | None,
    compare: str,
    match: str | None,
) -> set[str]:
    """The columns of a table that a shape which fits it compares, and a document does not.

    document: what is compared of another table. names: all columns of this one. form, compare,
    match: of both, see `choose`.
    """
    found: set[str] = set()
    for fitting in _fitting(set(names)) if form is None else (form,):
        with suppress(SettingsError):  # a shape without a prompt has none to compare
            found.update(choose(None, fitting, compare, match, names).columns)
    return found.intersection(names).difference(document.columns)


def _fitting(names: set[str]) -> list[str]:
    """The shapes that have all that they need."""
    return [name for name, shape in SHAPES.items() if names.issuperset(shape.needed)]


def choose(
    text: str | Sequence[str] | None,
    form: str | None,
    compare: str,
    match: str | None,
    names: Sequence[str],
    silent: Collection[str] = (),
) -> DocumentTemplate:
    """What is compared of a table: as asked for, or of the shape that its columns are of.

    text: a column, path or template, or several paths; None to look at the shape. form: name of a
    shape, or None to find it. compare: "all" for the document of a whole row, "prompt" for that of
    its prompt, "asked" for the same with earlier answers of a chat, and all of a row that has no
    prompt. match: "fields" where each field is compared by itself, "whole" where all are one
    text; None for the fields of a shape, and for texts as one. names: the columns. silent: see
    `shape_of`. Raises SettingsError where no shape fits, or has no prompt.
    """
    document = (
        _as_asked(text, match, names)
        if text is not None
        else _of_shape(form, compare, match, names, silent)
    )
    others = tuple(name for name in names if name not in document.columns)
    return replace(document, others=others)


def _of_shape(
    form: str | None,
    compare: str,
    match: str | None,
    names: Sequence[str],
    silent: Collection[str],
) -> DocumentTemplate:
    form, guessed = (shape_of(names, silent), True) if form is None else (form, False)
    if form is None:
        raise SettingsError(
            "its columns are those of no known format (dedupe formats lists them): name the text "
            "with --text COLUMN (of JSON lines also one that only later rows have), or a template "
            'like --text "{title}\\n{body}"; there are '
            f"{listed(names) or 'no columns'}"
        )
    shape = SHAPES[form]
    texts: Mapping[str, str] = shape.fields
    if compare == "prompt":
        if PROMPT not in shape.fields:
            raise SettingsError(
                f"rows of the format {form} have no prompt of their own: leave out --compare, or "
                "name what to compare with --text"
            )
        texts = {TEXT: shape.fields[PROMPT]}
    elif compare == "asked" and PROMPT in shape.fields:
        texts = {TEXT: shape.asked or shape.fields[PROMPT]}
    elif match == "whole":
        texts = {TEXT: shape.one_text}
    paths = [ColumnPath.parse(path) for path in shape.equal]
    paths += [ColumnPath(column, (), True, DATA) for column in MEDIA_COLUMNS]
    there = [path for path in paths if path.column in names or not path.optional]
    if compare != "all" and PROMPT in shape.fields:
        there = [path for path in there if path.column in (*MEDIA_COLUMNS, *_columns(texts))]
    return DocumentTemplate(
        {name: Template.parse(one) for name, one in texts.items()},
        Template(tuple(one for path in there for one in (SEPARATOR, path))[1:]) if there else None,
        form,
        guessed,
        tuple(name for name in (*shape.known, *MEDIA_COLUMNS) if name not in names),
    )


def one_text(document: DocumentTemplate) -> Template:
    """All of a row as one text, whatever of it is compared: for what may stand anywhere in it.

    document: what is compared of it.
    """
    if document.format is not None:
        return Template.parse(SHAPES[document.format].one_text)
    parts: list[str | ColumnPath] = []
    for template in document.fields.values():
        parts += ["\n", *template.parts]
    return Template(tuple(parts[1:]))


def spoken(document: DocumentTemplate) -> tuple[dict[str, Template], Template | None]:
    """All of a row as fields, whatever of it is compared, for rules about what is said in it.

    document: what is compared of it. Returns the template of each field by its name, those of chats
    without the roles of who speaks; and that of who speaks in a chat, see `rules.LETTERS`, None for
    other rows.
    """
    fields = dict(document.fields)
    if document.format is not None:
        shape = SHAPES[document.format]
        fields = {name: Template.parse(text) for name, text in shape.fields.items()}
    who = None
    for name, template in fields.items():
        turns = [path for path in template.paths if path.aspect in TURNS]
        if turns:
            who = Template((replace(turns[0], aspect=WHO),))
            parts = (
                replace(part, aspect=f"{part.aspect} alone") if part in turns else part
                for part in template.parts
            )
            fields[name] = Template(tuple(parts))
    return fields, who


def _columns(texts: Mapping[str, str]) -> set[str]:
    return {name for text in texts.values() for name in Template.parse(text).columns}


def _as_asked(
    text: str | Sequence[str], match: str | None, names: Sequence[str]
) -> DocumentTemplate:
    if isinstance(text, str) and text in names:
        return DocumentTemplate({TEXT: Template((ColumnPath(text),))})
    if isinstance(text, str):
        return DocumentTemplate({TEXT: Template.parse(text).resolved(names)})
    if match == "fields":
        return DocumentTemplate(
            {path: Template.of_columns([path]).resolved(names) for path in text}
        )
    return DocumentTemplate({TEXT: Template.of_columns(text).resolved(names)})
