"""The rules for problems of texts once more, in plain Python: what the kernel is held against."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from dedupe.kernels import problems as its
from dedupe.kernels.scripts import BLOCKS, ROLES, SCRIPTS, WINDOW

MARKUP = re.compile(r"</?[A-Za-z][^<>]{0,300}>|&(?:[a-z]{2,8}|#[0-9]{2,5});")
WINDOWS = bytes(range(0x80, 0xC0)).decode("cp1252", "ignore") + "".join(map(chr, range(0x80, 0xC0)))
"""What the bytes 0x80 to 0xBF are in Windows-1252 and in Latin-1."""
MOJIBAKE = re.compile(f"Ã[\x80-\xbf]|Â[\xa0-\xbf]|â[€\x80][{re.escape(WINDOWS)}]|ï¿½")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
ENDS = ".!?…:;)]}\"'»”’`>*|。！？」』】،؟۔।॥။0123456789"


def words_of(text: str) -> list[str]:
    return text.split()


def repeats_lines(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    again = len(lines) - len(set(lines))
    return len(lines) >= its.LEAST_LINES and again > its.MUCH_REPEATED * len(lines)


def repeats_words(text: str) -> bool:
    words = words_of(text)
    if len(words) < its.LEAST_WORDS:
        return False
    size = sum(map(len, words))
    for n, share in zip((2, 3, 4), its.SHARES, strict=True):
        grams = Counter(zip(*(words[k:] for k in range(n)), strict=False))
        for gram, count in grams.items():
            if count > 1 and count * sum(map(len, gram)) > share * size:
                return True
    return False


def script_of(char: str) -> str | None:
    """The script of a letter by its block, as the kernel has it."""
    if char.isascii():
        return "Latin" if char.isalpha() else None
    code = ord(char)
    for script, blocks in BLOCKS.items():
        for block in blocks.split():
            first, _, last = block.partition("-")
            if int(first, 16) <= code <= int(last or first, 16):
                return script
    return None


ROLE = re.compile(rb"(?mi)(?:(?<=\n)|\A)(?:%s)\n" % "|".join(ROLES).encode())


def first_letters(data: bytes) -> Counter[str]:
    """The letters by script in the first window that has some."""
    start = 0
    while start < len(data):
        end = min(start + WINDOW, len(data))
        goes_on = end
        while goes_on < len(data) and data[goes_on] & 0xC0 == 0x80:
            goes_on += 1
        window = data[start:end]
        if not window.isascii() or (start == 0 and ROLE.match(window.lstrip(b"\n"))):
            before = data[start - 1 : start]
            window = ROLE.sub(b"", before + window)[len(before) :] + data[end:goes_on]
        letters = Counter(filter(None, map(script_of, window.decode("utf-8", "replace"))))
        if letters:
            return letters
        start = goes_on
    return Counter()


def script_of_row(fields: list[bytes | None]) -> str:
    """The script of a row."""
    letters = sum((first_letters(field or b"") for field in fields), Counter())
    return min(letters, key=lambda one: (-letters[one], SCRIPTS.index(one)), default="none")


def problems_of(data: bytes | None) -> tuple[int, int]:
    """The flags of a text, and its words."""
    text = (data or b"").decode("utf-8", "replace")
    words = words_of(text)
    found = its.BLANK * (not words)
    found |= its.MALFORMED * ("\ufffd" in text)
    found |= its.MOJIBAKE * bool(MOJIBAKE.search(text))
    found |= its.CONTROL * bool(CONTROL.search(text))
    size = sum(len(one[0]) for one in MARKUP.finditer(text))
    found |= its.MARKUP * (size > its.MUCH_MARKUP * len(text))
    found |= its.REPEATED_LINES * repeats_lines(text)
    found |= its.REPEATED_WORDS * repeats_words(text)
    last = text.rstrip()[-1:]
    found |= its.UNENDED * (len(text) >= its.LEAST_ANSWER and last not in ENDS)
    return found, len(words)


def script_by_name(char: str) -> str:
    """The script of a letter by its name in Unicode."""
    name = unicodedata.name(char, "").split()
    if name[:1] in (["FULLWIDTH"], ["HALFWIDTH"]):
        name = name[1:]
    word = name[0].split("-")[0] if name else ""
    alias = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "HENTAIGANA": "Kana"}
    known = {script.upper(): script for script in BLOCKS}
    return alias.get(word) or known.get(word, "other")
