"""The oracle for text: tokens and shingles in plain loops and sets, slow and obvious.

Only `unicodedata` is used, never the tables that ship with the package.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Set
from functools import cache

SPACELESS_NAMES = (
    # Han
    "CJK UNIFIED IDEOGRAPH",
    "CJK COMPATIBILITY IDEOGRAPH",
    "IDEOGRAPHIC ",
    "VERTICAL IDEOGRAPHIC ",
    "OLD CHINESE ITERATION MARK",
    "HANGZHOU NUMERAL",
    # Hiragana and Katakana
    "HIRAGANA ",
    "HENTAIGANA ",
    "KATAKANA ",
    "KATAKANA-HIRAGANA ",
    "VERTICAL KANA ",
    "MASU MARK",
    # the others
    "THAI ",
    "LAO ",
    "KHMER ",
    "MYANMAR ",
    "TIBETAN ",
)
"""How the names of letters and numbers in scripts written without spaces begin."""


def decode(data: bytes) -> str:
    """Strict UTF-8; `UnicodeDecodeError.start` is where a document is malformed."""
    return data.decode("utf-8", "strict")


@cache
def kind(char: str) -> str:
    """'separator', 'word', 'mark' or 'spaceless'."""
    category = unicodedata.category(char)
    if category.startswith("M"):
        return "mark"
    if char == "_":
        return "word"
    if not category.startswith(("L", "N")):
        return "separator"
    if unicodedata.name(char, "").startswith(SPACELESS_NAMES):
        return "spaceless"
    return "word"


def lower(char: str) -> str:
    """Lower case where that is a single code point."""
    lowered = char.lower()
    return lowered if len(lowered) == 1 else char


def normalise(text: str) -> str:
    """NFKC, then lower case per code point."""
    return "".join(lower(char) for char in unicodedata.normalize("NFKC", text))


def tokens(text: str) -> list[str]:
    """Maximal runs of token characters; spaceless code points alone, with their marks."""
    found: list[str] = []
    token = ""
    for char in normalise(text):
        what = kind(char)
        alone = token != "" and kind(token[0]) == "spaceless"
        ends = what in ("separator", "spaceless") or (what == "word" and alone)
        if ends and token != "":
            found.append(token)
            token = ""
        if what != "separator":
            token += char
    if token != "":
        found.append(token)
    return found


def char_text(text: str) -> str:
    """The normalised text, runs of separators collapsed to one space, none at either end."""
    mapped = "".join(" " if kind(char) == "separator" else char for char in normalise(text))
    return " ".join(run for run in mapped.split(" ") if run != "")


def folded(text: str, split: bool) -> str:
    """What `fold` writes, runs of spaces collapsed and none at either end."""
    return " ".join(tokens(text)) if split else char_text(text)


def word_shingles(text: str, n: int) -> set[tuple[str, ...]]:
    """n consecutive tokens; all of them where there are fewer."""
    words = tokens(text)
    if not words:
        return set()
    if len(words) < n:
        return {tuple(words)}
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def char_shingles(text: str, n: int) -> set[str]:
    """n consecutive code points of `char_text`; all of them where there are fewer."""
    line = char_text(text)
    if not line:
        return set()
    if len(line) < n:
        return {line}
    return {line[i : i + n] for i in range(len(line) - n + 1)}


def jaccard(a: Set[object], b: Set[object]) -> float:
    """Size of the intersection over size of the union; 1.0 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0
