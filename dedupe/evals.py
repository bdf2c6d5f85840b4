"""Test sets, as they are asked for: which files, what of their rows is an item, and when it counts.

An item is a row of a test set: a question, and where there are any its answer and the passage that
it is about. Which columns these are is told, or guessed of common names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from dedupe.documents.template import Template
from dedupe.errors import SettingsError, listed

QUESTION, ANSWER, PASSAGE = "question", "answer", "passage"
PARTS = (QUESTION, ANSWER, PASSAGE)
"""What an item has; only a question makes a row contaminated."""
CHOICES = "choices"
"""The column of choices, of which an answer may be the number or the letter."""

LEAST_CONTAINMENT = 0.4
"""Pairs are recorded from here on, whatever makes a row contaminated."""

BENCHMARK = "benchmark"
"""The column that says which test set an item is of, unless another is named."""


@dataclass(frozen=True)
class Evals:
    """Test sets that a corpus is held against, and from when a row of it counts as contaminated.

    files: paths and globs of files, or rows in memory, as a corpus may be given. question, answer,
    passage: the column, path or template of each, as `Settings.text`; None to find them by the
    columns. by: the column that says which test set an item is of; None for the column `benchmark`
    where there is one, else the file. id: the column of the items' ids; None for the column `id`
    where there is one. containment: share of a question's shingles that must stand in one window of
    a row, from 0.4 to 1. shingle: "word:N", what is counted.

    Raises SettingsError, which says what to change.
    """

    files: Any = field(compare=False)
    question: str | None = None
    answer: str | None = None
    passage: str | None = None
    by: str | None = None
    id: str | None = None
    containment: float = 0.6
    shingle: str = "word:3"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "containment", float(self.containment))
        except (TypeError, ValueError):
            raise SettingsError(f"containment is {self.containment!r}: use a number") from None
        if not LEAST_CONTAINMENT <= self.containment <= 1:
            raise SettingsError(
                f"containment is {self.containment}: use a share from {LEAST_CONTAINMENT} to 1"
            )
        if not re.fullmatch(r"word:[1-9]\d?", str(self.shingle)):
            raise SettingsError(
                f"shingle of test sets is {self.shingle!r}: use word:N with N from 1 to 99"
            )
        for part in PARTS:
            if getattr(self, part) is not None:
                Template.parse(getattr(self, part))
        if self.question is None and (self.answer is not None or self.passage is not None):
            raise SettingsError("an answer or a passage goes with a question: name that, too")

    @property
    def shingle_size(self) -> int:
        """Tokens in a shingle of a script that is written with spaces."""
        return int(self.shingle.partition(":")[2])

    def as_dict(self) -> dict[str, Any]:
        """Plain values of all but the files, for JSON."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "files"}

    def parts_of(self, names: Sequence[str]) -> dict[str, Template]:
        """The templates of an item's parts in a table, of those that there are.

        names: its columns. Raises SettingsError where no question is named, and none is found.
        """
        if self.question is not None:
            named = {part: getattr(self, part) for part in PARTS}
            return {
                part: Template.parse(text).resolved(names)
                for part, text in named.items()
                if text is not None
            }
        for question, answers in GUESSES:
            if not set(Template.parse(question).columns) <= set(names):
                continue
            found = {QUESTION: question}
            for one in answers:
                if one in names:
                    found.setdefault(ANSWER, f"{{{one}:data}}")
            if "messages" in found[QUESTION]:
                found[ANSWER] = question.replace(":prompt", ":answer")
            if ANSWER in found and CHOICES in names:
                found[CHOICES] = f"{{{CHOICES}:data}}"
            passages = [f"{{{name}}}" for name in PASSAGES if name in names]
            found |= {PASSAGE: "\\n".join(passages)} if passages else {}
            return {part: Template.parse(text) for part, text in found.items()}
        raise SettingsError(
            "its columns are those of no test set that is known: name the question with --question "
            "COLUMN, and the answer with --answer COLUMN; there are "
            f"{listed(names) or 'no columns'}"
        )


ANSWERS = ("answer", "answers", "answerKey", "solution", "response", "output", "completion")
GUESSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{question}", ANSWERS),
    ("{problem}", ("answer", "solution")),
    ("{query}", ("response", "answer")),
    ("{instruction}\\n{input?}", ("output", "response")),
    ("{prompt}", ("completion", "response", "canonical_solution", "answer", "chosen")),
    ("{messages:prompt}", ()),
    ("{conversations:prompt}", ()),
    ("{text}", ("answer", "label", "code")),
)
"""Questions, each with the columns of which the first that is there is the answer; the first whose
columns are all there is taken."""
PASSAGES = ("context", "passage")
"""Columns that are taken for the passage where the question is guessed."""


@dataclass(frozen=True)
class PublicSet:
    """A test set on the Hugging Face hub: its name, the address of its test split, its columns."""

    name: str
    address: str
    columns: tuple[str, ...]


_HUB = "hf://datasets/"
PUBLIC_SETS = (
    PublicSet(
        "GSM8K",
        f"{_HUB}openai/gsm8k/main/test-00000-of-00001.parquet",
        ("question", "answer"),
    ),
    PublicSet(
        "MMLU",
        f"{_HUB}cais/mmlu/all/test-00000-of-00001.parquet",
        ("question", "choices", "answer"),
    ),
    PublicSet(
        "ARC Challenge",
        f"{_HUB}allenai/ai2_arc/ARC-Challenge/test-00000-of-00001.parquet",
        ("question", "choices", "answerKey"),
    ),
    PublicSet("MATH-500", f"{_HUB}HuggingFaceH4/MATH-500/test.jsonl", ("problem", "answer")),
    PublicSet(
        "HumanEval",
        f"{_HUB}openai/openai_humaneval/openai_humaneval/test-00000-of-00001.parquet",
        ("prompt", "canonical_solution"),
    ),
)
"""Public test sets whose addresses and columns were found in public code and pages that read them,
in November 2026. Each can be given to `--evals`; its columns are found without being named."""


def as_json(parts: Mapping[str, Template]) -> dict[str, Any]:
    """Plain values of the templates of an item's parts; see `from_json`."""
    return {name: template.as_json() for name, template in parts.items()}


def from_json(found: Mapping[str, Any]) -> dict[str, Template]:
    """Read what `as_json` gave."""
    return {name: Template.from_json(parts) for name, parts in found.items()}
