"""The oracle for text: tokens and shingles in plain loops and sets, slow and obvious.

Only `unicodedata` is used, never the tables that ship with the package.
"""

from __future__ import annotations

import itertools
import re
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


VANISHING = {
    chr(code)
    for first, last in [
        (0x00AD, 0x00AD),
        (0x034F, 0x034F),
        (0x061C, 0x061C),
        (0x180B, 0x180F),
        (0x200B, 0x200B),
        (0x200E, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xE0000, 0xE001F),
        (0xE0080, 0xE0FFF),
    ]
    for code in range(first, last + 1)
}
"""Format characters that mean nothing by themselves."""

OPERATORS = set("!#$%&*+-/<=>@^|~")
IN_WORD = ("word", "mark", "spaceless")
BLANK = ("space", "line")

ACCENTS = (
    (0x0300, 0x036F),
    (0x0483, 0x0487),
    (0x0591, 0x05C7),
    (0x0610, 0x061A),
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x08CA, 0x08FF),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20F0),
    (0xFB1E, 0xFB1E),
    (0xFE20, 0xFE2F),
)
"""Where the marks of Latin, Greek, Cyrillic, Arabic and Hebrew are."""


def decode(data: bytes) -> str:
    """Strict UTF-8; `UnicodeDecodeError.start` is where a document is malformed."""
    return data.decode("utf-8", "strict")


@cache
def kind(char: str) -> str:
    """What a code point in normal form is."""
    category = unicodedata.category(char)
    if category.startswith("M"):
        return "mark"
    if char == "_":
        return "word"
    if category.startswith(("L", "N")):
        spaceless = unicodedata.name(char, "").startswith(SPACELESS_NAMES)
        return "spaceless" if spaceless else "word"
    if char in OPERATORS:
        return "operator"
    if char in "\n\r\v\f\x85\u2028\u2029":
        return "line"
    if char == "\t" or category == "Zs":
        return "space"
    if char in "([{":
        return "open"
    if char in ")]}":
        return "close"
    if char in "\"'`" or category in ("Pi", "Pf"):
        return "quote"
    code = ord(char)
    if 0xE0020 <= code <= 0xE007F:
        return "symbol"
    if category in ("So", "Sc", "Sm") and not (
        0x2500 <= code <= 0x25FF or code in (0xFFFC, 0xFFFD)
    ):
        return "symbol"
    return "other"


def is_digit(char: str) -> bool:
    """A decimal digit of any script."""
    return unicodedata.category(char) == "Nd"


def lower(char: str) -> str:
    """Lower case where that is a single code point."""
    lowered = char.lower()
    return lowered if len(lowered) == 1 else char


def normalise(text: str) -> str:
    """Without what vanishes; NFKC; lower case per code point."""
    left = "".join(char for char in text if char not in VANISHING)
    return "".join(lower(char) for char in unicodedata.normalize("NFKC", left))


def form(text: str) -> str:
    """What exact copies have in common: the normal form, each run of white space as one."""
    found = ""
    blank = ""
    for char in normalise(text):
        if kind(char) == "line":
            blank = "\n"
        elif kind(char) == "space":
            blank = blank or " "
        else:
            found += (blank if found else "") + char
            blank = ""
    return found


def edited(text: str, ignore: Set[str] = frozenset()) -> str:
    """The normal form without escapes, and without what is ignored."""
    text = re.sub(r"\\(?=[!-/:-@[-`{-~])", "", normalise(text))
    if "numbers" in ignore:
        runs = itertools.groupby(text, is_digit)
        text = "".join("0" if is_number else "".join(run) for is_number, run in runs)
    if "accents" in ignore:
        text = "".join(map(bare, text))
    return text


def bare(char: str) -> str:
    """A code point without the marks of `ACCENTS`."""
    parts = unicodedata.normalize("NFD", char)
    left = "".join(part for part in parts if not is_accent(part))
    return "".join(map(lower, unicodedata.normalize("NFC", left)))


def is_accent(char: str) -> bool:
    """Whether a code point is a mark of `ACCENTS`."""
    return kind(char) == "mark" and any(low <= ord(char) <= high for low, high in ACCENTS)


def numbers(text: str) -> list[str]:
    """The runs of decimal digits, in order."""
    runs = itertools.groupby(normalise(text), is_digit)
    return ["".join(run) for is_number, run in runs if is_number]


# Which operators count.


def counted(text: str, begin: int, end: int) -> str:
    """What counts of a run of operators, text[begin:end], by what stands around it."""
    run = text[begin:end]
    if "--" in run or (len(run) > 2 and len(set(run)) == 1):
        return ""  # a rule, an arrow drawn, an option
    line = re.split(r"[\n\r\v\f\x85\u2028\u2029]", text[:begin])[-1]
    rest = re.split(r"[\n\r\v\f\x85\u2028\u2029]", text[end:])[0]
    left, right = kind(line[-1:] or "\n"), kind(rest[:1] or "\n")
    behind, ahead = strip(line, right=True)[-1:] or "\n", strip(rest)[:1] or "\n"
    word = letters(strip(line, right=True))

    sign = ""
    if run.endswith("-") and right in IN_WORD:
        if len(run) > 1:
            is_sign = run[-2] not in "+#%"
        else:
            starts = all(kind(char) in ("space", "operator") for char in line)
            is_sign = left not in (*IN_WORD, "close") and (is_digit(rest[0]) or not starts)
        sign = "-" if is_sign else ""
    if run == "-":
        is_last = not strip(rest) and form(text[end:]) != ""
        grade = left in ("word", "mark") and 1 <= word <= 2 and right not in IN_WORD and not is_last
        return "-" if sign or grade else ""

    kept = re.sub(r"(?<!\|)\|(?![|=])|-(?![=>])", "", run)
    return (
        kept if kept and operator_counts(kept, left, right, behind, ahead, rest, word) else ""
    ) + sign


def operator_counts(
    run: str, left: str, right: str, behind: str, ahead: str, rest: str, word: int
) -> bool:
    """Whether operators count, hyphens apart.

    left, right: kinds of what touches them. behind, ahead: nearest character that is no space in
    the line. rest: of the line. word: letters of the word that ends before them, up to 3.
    """
    apart = left in BLANK and right in BLANK
    if apart:
        between = kind(behind) in (*IN_WORD, "close", "quote")
    else:
        between = right in (*IN_WORD, "open", "quote") and (
            left in (*IN_WORD, "close") or (left == "quote" and right == "quote")
        )
    if between:
        if run in ("*", "**"):
            tells = is_digit(behind) or is_digit(ahead) or word == 1
            return tells or (run == "**" and apart)
        return not (apart and run[0] in "#$!") or run[1:] == "="
    if run == "->" or ("=" in run and set(run) != {"="}):
        return True
    if left in ("word", "mark") and right not in IN_WORD:
        return run in ("+", "++", "#", "%")
    if right in IN_WORD and len(run) == 1:
        return run in "!+~" or (run in "<=>$" and is_digit(rest[0]))
    return False


def strip(text: str, right: bool = False) -> str:
    """Without spaces at one end."""
    while text and kind(text[-1 if right else 0]) == "space":
        text = text[:-1] if right else text[1:]
    return text


def letters(text: str) -> int:
    """How many letters and digits end a text in one word, marks left out, counted up to 3."""
    count = 0
    for char in reversed(text):
        if count == 3 or kind(char) not in ("word", "mark"):
            break
        count += kind(char) == "word"
    return count


# Tokens and shingles.


def tokens(text: str, ignore: Set[str] = frozenset(), split: bool = True) -> list[str]:
    """Maximal runs of token characters, each with the symbols behind it that count.

    Spaceless code points stand alone, with their marks, if `split`.
    """
    text = edited(text, ignore)
    found: list[str] = []
    front = ""
    is_open = is_alone = False
    at = 0
    while at < len(text):
        what = kind(text[at])
        end = at + 1
        symbols = ""
        if what in IN_WORD:
            starts = split and (what == "spaceless" or (what == "word" and is_alone))
            if starts or not is_open:
                found.append(front)
                front = ""
                is_alone = what == "spaceless"
            found[-1] += text[at]
            is_open = True
        else:
            is_open = is_alone = False
            if what == "operator":
                while end < len(text) and kind(text[end]) == "operator":
                    end += 1
                symbols = counted(text, at, end)
            elif what == "symbol":
                symbols = text[at]
            if "symbols" not in ignore:
                if found:
                    found[-1] += symbols
                else:
                    front += symbols
        at = end
    return [*found, front] if front else found


def char_text(text: str, ignore: Set[str] = frozenset()) -> str:
    """The text that character shingles are made of."""
    return " ".join(tokens(text, ignore, split=False))


def word_shingles(text: str, n: int, ignore: Set[str] = frozenset()) -> set[tuple[str, ...]]:
    """n consecutive tokens; all of them where there are fewer; the form where there is none."""
    words = tokens(text, ignore) or [form(text)]
    if words == [""]:
        return set()
    if len(words) < n:
        return {tuple(words)}
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def char_shingles(text: str, n: int, ignore: Set[str] = frozenset()) -> set[str]:
    """n consecutive code points of `char_text`; all of them where there are fewer."""
    line = char_text(text, ignore)
    if not line:
        return {form(text)} - {""}
    if len(line) < n:
        return {line}
    return {line[i : i + n] for i in range(len(line) - n + 1)}


def jaccard(a: Set[object], b: Set[object]) -> float:
    """Size of the intersection over size of the union; 1.0 for two empty sets."""
    union = len(a | b)
    return len(a & b) / union if union else 1.0
