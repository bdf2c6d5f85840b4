"""What is wrong with a row, by rules that are known from the cleaning of training data.

Repetitions are those of Gopher (Rae et al., 2021, table A1).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

Row = Mapping[str, str | None]
"""The texts of a row by the name of its field; a row of one field has it as `text`."""

REPEATED_LINES = 0.3
"""Share of lines that stand elsewhere in the text, too."""
REPEATED_WORDS = ((2, 0.20), (3, 0.18), (4, 0.16))
"""Share of characters in the most frequent n words in a row, for some n."""
MUCH_MARKUP = 0.2
"""Share of characters that are of HTML."""
LEAST_WORDS = 20
"""Words from which repetitions say something."""

_MOJIBAKE = re.compile("Ã[\x80-\xbf©®¤¶¼§±]|â€[\x80-\xbf™œ\u009d“”˜]|Â[\xa0-\xbf]|ï¿½")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MARKUP = re.compile(r"</?[A-Za-z][^<>]{0,300}>|&(?:[a-z]{2,8}|#\d{2,5});")
_REFUSAL = re.compile(
    r"(?i)\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b"
    r"|\bI(?:'m| am) (?:sorry|afraid),? (?:but )?(?:I|as)\b"
    r"|\bI (?:can(?:no|')t|am (?:unable|not able) to) (?:assist|help|fulfil|comply|provide)"
)
_NEGATIVE = re.compile(
    r"(?i)\s*(?:not found|no(?:ne|thing)?|n/?a|null|unknown|no (?:answer|result|output|response)s?"
    r"(?: (?:found|available))?)\s*[.!]?\s*"
)
_ENDS = re.compile(r"""[.!?…:;)\]}"'»”’`>*|。!?…」』】\d]\s*$""")
LEAST_ANSWER = 200
"""Characters from which an answer without an end is cut off."""

ANSWERS = ("answer", "chosen", "rejected")
"""Fields that are answers."""


def _any(fits: Callable[[str], bool]) -> Callable[[Row], bool]:
    return lambda row: any(text is not None and fits(text) for text in row.values())


def _answer(fits: Callable[[str], bool]) -> Callable[[Row], bool]:
    return lambda row: any(fits(row[name] or "") for name in ANSWERS if name in row)


def _repeats_lines(text: str) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < 4:
        return False
    again = len(lines) - len(set(lines))
    return again > REPEATED_LINES * len(lines)


def _repeats_words(text: str) -> bool:
    words = text.split()
    if len(words) < LEAST_WORDS:
        return False
    size = sum(map(len, words))
    for n, most in REPEATED_WORDS:
        grams = Counter(zip(*(words[k:] for k in range(n)), strict=False))
        gram, count = grams.most_common(1)[0]
        if count > 1 and count * sum(map(len, gram)) > most * size:
            return True
    return False


def _is_markup(text: str) -> bool:
    size = sum(len(one[0]) for one in _MARKUP.finditer(text))
    return size > MUCH_MARKUP * len(text) > 0


def _is_cut(text: str) -> bool:
    return len(text) >= LEAST_ANSWER and not _ENDS.search(text[-40:])


PROBLEMS: Mapping[str, tuple[str, Callable[[Row], bool]]] = {
    "empty": ("no text at all", lambda row: not any((one or "").strip() for one in row.values())),
    "empty field": (
        "one field has text, another none",
        lambda row: 0 < sum(bool((one or "").strip()) for one in row.values()) < len(row),
    ),
    "one word": (
        "one word in all",
        lambda row: sum(len((one or "").split()) for one in row.values()) == 1,
    ),
    "malformed": ("characters that were lost (U+FFFD)", _any(lambda text: "\ufffd" in text)),
    "mojibake": ("UTF-8 that was read as Latin-1", _any(lambda text: bool(_MOJIBAKE.search(text)))),
    "control characters": ("that no text needs", _any(lambda text: bool(_CONTROL.search(text)))),
    "markup": (f"more than {MUCH_MARKUP:.0%} HTML", _any(_is_markup)),
    "repeated lines": (f"more than {REPEATED_LINES:.0%} of them", _any(_repeats_lines)),
    "repeated words": ("the same few words in a row, over and over", _any(_repeats_words)),
    "refusal": ('"as an AI language model" and the like', _any(lambda t: bool(_REFUSAL.search(t)))),
    "negative answer": (
        '"not found", "none", "N/A"; wanted where they teach a model to say so',
        _answer(lambda text: bool(text) and bool(_NEGATIVE.fullmatch(text))),
    ),
    "cut off": (f"an answer of {LEAST_ANSWER} characters or more without an end", _answer(_is_cut)),
    "same answers": (
        "chosen and rejected are equal",
        lambda row: bool(row.get("chosen")) and row.get("chosen") == row.get("rejected"),
    ),
}
"""What is looked for: what each means, and whether a row has it."""


def problems_of(row: Row) -> list[str]:
    """The problems that a row has."""
    return [name for name, (_, has) in PROBLEMS.items() if has(row)]


def said_twice(rows: Sequence[Row]) -> dict[str, int]:
    """How many prompts have several answers, and how many answers several prompts, among rows."""
    answers: dict[str, set[str]] = {}
    prompts: dict[str, set[str]] = {}
    for row in rows:
        prompt, answer = row.get("prompt"), row.get("answer")
        if prompt and answer:
            answers.setdefault(prompt, set()).add(answer)
            prompts.setdefault(answer, set()).add(prompt)
    return {
        "prompts with several answers": sum(len(one) > 1 for one in answers.values()),
        "answers to several prompts": sum(len(one) > 1 for one in prompts.values()),
    }
