"""What is wrong with rows as data for training: problems by name, and who speaks in a chat.

Arrow in, numpy out. The rules for single texts are those of `kernels.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers, text_buffers
from dedupe.kernels.problems import (
    BLANK,
    CONTROL,
    LEAST_ANSWER,
    MALFORMED,
    MARKUP,
    MOJIBAKE,
    MUCH_MARKUP,
    MUCH_REPEATED,
    REPEATED_LINES,
    REPEATED_WORDS,
    UNENDED,
    problems_of_texts,
)

MANY_PROMPTS = 10
"""Different prompts from which one answer to all of them is told."""

PROBLEMS: Mapping[str, str] = {
    "empty": "no text at all",
    "empty-field": "a field has text, another none; a system prompt may be missing",
    "one-word": "one word in all",
    "malformed": "characters that were lost: malformed UTF-8, or U+FFFD",
    "mojibake": "UTF-8 that was read as Latin-1 or Windows-1252",
    "control-characters": "that no text needs",
    "markup": f"more than {MUCH_MARKUP:.0%} of a text is HTML",
    "repeated-lines": f"more than {MUCH_REPEATED:.0%} of the lines stood before",
    "repeated-words": "the same few words in a row, over and over",
    "refusal": '"as an AI language model", "I cannot help", and the like',
    "negative-answer": '"not found", "none", "N/A"; wanted where they teach a model to say so',
    "cut-off": f"an answer of {LEAST_ANSWER} characters or more that ends no sentence",
    "same-answers": "chosen and rejected are equal",
    "turns": "two prompts or two answers of a chat in a row, or an answer first",
    "no-last-answer": "a chat ends without an answer, or with an empty one",
    "several-answers": "the same prompt stands elsewhere with another answer",
    "many-prompts": f"the same answer stands after {MANY_PROMPTS} different prompts or more",
}
"""What is looked for: each problem, and what it means."""

OF_SEVERAL_ROWS = ("several-answers", "many-prompts")
"""Those that a row has because of others."""

NAMES = tuple(PROBLEMS)
_BIT = {name: np.uint32(1 << number) for number, name in enumerate(NAMES)}
_OF_TEXTS = {
    "malformed": MALFORMED,
    "mojibake": MOJIBAKE,
    "control-characters": CONTROL,
    "markup": MARKUP,
    "repeated-lines": REPEATED_LINES,
    "repeated-words": REPEATED_WORDS,
}

REFUSAL = (
    r"(?i)(?:^|[^a-z0-9_])(?:as an? (?:ai|artificial intelligence)(?: language)?"
    r"(?: model| assistant)?(?:[^a-z0-9_]|$)"
    r"|i(?:'m|’m| am) (?:sorry|afraid),? (?:but )?(?:i|as)(?:[^a-z0-9_]|$)"
    r"|i (?:can(?:no|'|’)t|am (?:unable|not able) to) (?:assist|help|fulfil|comply|provide))"
)
NEGATIVE = (
    r"(?i)^[\t\n\f\r ]*(?:not found|no(?:ne|thing)?|n/?a|null|unknown"
    r"|no (?:answer|result|output|response)s?(?: (?:found|available))?)"
    r"[\t\n\f\r ]*[.!]?[\t\n\f\r ]*$"
)

SYSTEM, PROMPT, ANSWER = "system", "prompt", "answer"
ANSWERS = (ANSWER, "chosen", "rejected")
"""Fields that are answers."""

TURNS = ("none", "1", "2", "3 to 4", "5 to 8", "9 to 16", "17 and more")
"""Messages of a chat, besides those of the system."""


@dataclass(frozen=True)
class RowsSeen:
    """What was seen in some rows.

    problems: uint32, of each row a bit for each of `NAMES`. turns: uint8, the number in `TURNS`.
    speakers: of chats, who speaks in each, as "system, prompt, answer"; None where there are none.
    """

    problems: Array
    turns: Array
    speakers: pa.Array | None


def look_at(fields: Mapping[str, pa.Array], who: pa.Array | None) -> RowsSeen:
    """Look at rows.

    fields: the texts of each field, by its name: large_string, of one length; those of chats
    without roles. who: of chats, the letters of their messages, a newline between them; None for
    other rows. Problems of `OF_SEVERAL_ROWS` are not looked for.
    """
    rows = len(next(iter(fields.values())))
    problems = np.zeros(rows, np.uint32)
    words = np.zeros(rows, np.int64)
    blanks: dict[str, Array] = {}
    for name, texts in fields.items():
        flags, of_words = problems_of_texts(*text_buffers(texts))
        words += of_words
        blanks[name] = (flags & BLANK).astype(bool)
        for problem, flag in _OF_TEXTS.items():
            problems |= _BIT[problem] * ((flags & flag) > 0)
        problems |= _BIT["refusal"] * matches(texts, REFUSAL)
        if name in ANSWERS:
            problems |= _BIT["negative-answer"] * matches(texts, NEGATIVE)
            problems |= _BIT["cut-off"] * ((flags & UNENDED) > 0)
    is_blank = np.logical_and.reduce(list(blanks.values()))
    needed = [blank for name, blank in blanks.items() if name != SYSTEM]
    problems |= _BIT["empty"] * is_blank
    problems |= _BIT["empty-field"] * (np.logical_or.reduce(needed or [is_blank]) & ~is_blank)
    problems |= _BIT["one-word"] * (words == 1)
    if "chosen" in fields and "rejected" in fields:
        same = numbers(pc.equal(fields["chosen"], fields["rejected"]).fill_null(False))
        problems |= _BIT["same-answers"] * (same & ~blanks["chosen"])
    if who is None:
        return RowsSeen(problems, np.zeros(rows, np.uint8), None)
    spoken = pc.replace_substring(who, "\n", "")
    lower = pc.ascii_lower(spoken)
    problems |= _BIT["turns"] * matches(lower, "^s*[ac]|pp|aa")
    ends = numbers(pc.not_equal(spoken, "").fill_null(False)) & ~matches(spoken, "[ac]$")
    problems |= _BIT["no-last-answer"] * ends
    count = numbers(pc.binary_length(pc.replace_substring_regex(lower, "s", "")).fill_null(0))
    turns = np.digitize(count, [1, 2, 3, 5, 9, 17]).astype(np.uint8)
    return RowsSeen(problems, turns, _speakers(lower))


def matches(texts: pa.Array, pattern: str) -> Array:
    """Whether each text has a match: bool, False for null.

    texts: large_string, of bytes of whatever encoding. pattern: a regular expression of RE2.
    """
    return numbers(pc.match_substring_regex(texts, pattern).fill_null(False))


def _speakers(letters: pa.Array) -> pa.Array:
    """Who speaks, by the letters of messages in lower case."""
    known = {"s": "system, ", "p": "prompt, ", "a": "answer, ", "c": "call, ", "t": "tool, "}
    parts = [
        pc.if_else(pc.match_substring(letters, letter), pa.scalar(name, pa.large_string()), "")
        for letter, name in known.items()
    ]
    joined = pc.binary_join_element_wise(*parts, pa.scalar("", pa.large_string()))
    return pc.utf8_rtrim(joined, ", ")


def names_of(problems: int) -> list[str]:
    """The names of the problems of a row. problems: see `RowsSeen`."""
    return [name for name, bit in _BIT.items() if problems & int(bit)]


def bit_of(name: str) -> int:
    """The bit of a problem."""
    return int(_BIT[name])
