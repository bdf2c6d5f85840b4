"""In which script rows are written, by the letters at the start of their texts.

A *window* is `WINDOW` bytes of a text, with the characters that begin in it. The first window of
each field counts, or the first one with letters. In a window with more than ASCII, and in one that
begins a text with such a line, lines that are the name of a role (`ROLES`) do not count: chats have
one before each message. A row is written in the script of most of the letters that count, the first
in `SCRIPTS` among equals.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dedupe.kernels import inner
from dedupe.kernels.unicode import address, decode, get64, load_bytes, malformed_size

WINDOW = 128

ROLES = (
    "assistant", "system", "user", "human", "gpt", "model", "bot", "chatgpt", "developer", "tool",
    "function", "function_call", "tool_call", "observation",
)  # fmt: skip
"""Names of roles, in lower case."""
_LONGEST_ROLE = max(map(len, ROLES))

BLOCKS = {
    "Latin": "AA BA C0-D6 D8-F6 F8-2B8 2E0-2E4 1D00-1D25 1D2C-1D5C 1D62-1D65 1D6B-1D77 "
    "1D79-1DBE 1E00-1EFF 2071 207F 2090-209C 212A-212B 2183-2184 2C60-2C7F A722-A7FF "
    "AB30-AB64 AB66-AB6F FB00-FB06 FF21-FF3A FF41-FF5A 1D400-1D7CB 1DF00-1DFFF",
    "Greek": "370-374 376-37D 37F 386 388-3E1 3F0-3F5 3F7-3FF 1D26-1D2A 1D5D-1D61 1D66-1D6A "
    "1DBF 1F00-1FFF AB65",
    "Cyrillic": "400-481 48A-52F 1C80-1C8A 1D2B 1D78 A640-A66E A67F-A69D",
    "Armenian": "531-556 559 560-588 FB13-FB17",
    "Hebrew": "5D0-5F2 FB1D-FB4F",
    "Arabic": "620-64A 66E-6D5 6E5-6E6 6EE-6EF 6FA-6FC 6FF 750-77F 870-8FF FB50-FDFB FE70-FEFC "
    "1EE00-1EEBB",
    "Devanagari": "904-963 971-97F A8F2-A8FF",
    "Bengali": "980-9E5 9F0-9F1 9FC",
    "Gurmukhi": "A05-A5E A72-A74",
    "Gujarati": "A85-AE5 AF9",
    "Oriya": "B05-B65 B71",
    "Tamil": "B83-BD0",
    "Telugu": "C05-C65",
    "Kannada": "C80-CE5 CF1-CF2",
    "Malayalam": "D04-D63 D7A-D7F",
    "Sinhala": "D85-DC6",
    "Thai": "E01-E3A E40-E4E",
    "Lao": "E81-ECD EDC-EDF",
    "Tibetan": "F00 F40-F6C F88-F8C",
    "Myanmar": "1000-103F 1050-108F A9E0-A9FF AA60-AA7F",
    "Georgian": "10A0-10FF 1C90-1CBF 2D00-2D2D",
    "Hangul": "1100-11FF 3131-318E A960-A97C AC00-D7FB FFA0-FFDC",
    "Ethiopic": "1200-135A 1380-138F 2D80-2DDE AB01-AB2E 1E7E0-1E7FE",
    "Khmer": "1780-17DC",
    "Mongolian": "1820-18AA",
    "Kana": "3041-3096 309D-309F 30A1-30FA 30FC-30FF 31F0-31FF FF66-FF9F 1AFF0-1B122 1B132-1B167",
    "Han": "3005-3007 3400-4DBF 4E00-9FFF F900-FAD9 20000-323AF",
    "other": "3E2-3EF 700-74F 780-86F 13A0-177F 18B0-1C7F 1CE9-1CFA 2C00-2C5F 2C80-2CEE "
    "2D30-2D6F 3105-312F 31A0-31BF A000-A63F A6A0-A6EF A800-A8F1 A900-A95F A980-A9DF "
    "AA00-AA5F AA80-AB00 AB2F AB70-ABFF 10000-1AFEF 1B170-1CFFF 1E000-1E7DF 1E7FF-1EDFF "
    "1EEBC-1EFFF",
}
"""Blocks of Unicode whose letters are of one script: code points in hexadecimal."""

SCRIPTS = ("none", *BLOCKS)
"""Scripts by their numbers; "none" is that of texts without letters."""


def _ranges() -> Any:
    """int32[blocks, 3]: first and last code point, and number of the script; ascending."""
    found = []
    for script, text in BLOCKS.items():
        for block in text.split():
            first, _, last = block.partition("-")
            found.append((int(first, 16), int(last or first, 16), SCRIPTS.index(script)))
    return np.array(sorted(found), np.int32)


_RANGES = _ranges()
_LATIN = SCRIPTS.index("Latin")


def _is_letter() -> Any:
    """uint8[128]: whether each ASCII character is a letter."""
    return np.array([chr(code).isalpha() for code in range(128)], np.uint8)


def _role_names() -> Any:
    """uint8[roles, letters + 1]: the names of roles and a line feed, then zeros."""
    names = np.zeros((len(ROLES), _LONGEST_ROLE + 1), np.uint8)
    for number, role in enumerate(ROLES):
        names[number, : len(role) + 1] = list(f"{role}\n".encode())
    return names


_IS_LETTER = _is_letter()
_EACH = np.uint64(0x0101010101010101)
_EVERY_SECOND = np.uint64(0x00FF00FF00FF00FF)
_ROLE_NAMES = _role_names()


@inner
def _block_of(code):
    """The number of the last block that begins at a code point or before it; -1 for none."""
    low, high = np.int64(0), np.int64(_RANGES.shape[0])
    while low < high:
        middle = (low + high) >> 1
        if _RANGES[middle, 0] > code:
            high = middle
        else:
            low = middle + 1
    return low - 1


@inner
def _letters(word):
    """A 1 in each of eight bytes that is a letter, if all are ASCII."""
    lower = word | _EACH * np.uint64(0x20)
    from_a = lower + _EACH * np.uint64(0x80 - ord("a"))
    behind_z = lower + _EACH * np.uint64(0x80 - ord("z") - 1)
    return ((from_a & ~behind_z) >> np.uint64(7)) & _EACH


@inner
def _ascii_letters(source, start, end):
    """The letters of a window, eight bytes at a time; -1 where there is more than ASCII.

    source: address of the texts. start, end: of the window.
    """
    every = counts = np.uint64(0)  # counts: of each of eight bytes, at most WINDOW / 8
    for number in range((end - start) >> 3):
        word = get64(source + start, number)
        every |= word
        counts += _letters(word)
    word = load_bytes(source, end - ((end - start) & 7), end)
    every |= word
    counts += _letters(word)
    if every & (_EACH * np.uint64(0x80)) != np.uint64(0):
        return np.int64(-1)
    pairs = (counts & _EVERY_SECOND) + ((counts >> np.uint64(8)) & _EVERY_SECOND)
    return np.int64((pairs * np.uint64(0x0001000100010001)) >> np.uint64(48))


@inner
def _is_role(data, start, stop):
    """Whether a line of ASCII that begins at `start`, and ends before `stop`, names a role."""
    for role in range(_ROLE_NAMES.shape[0]):
        at = start
        while at < stop and np.int64(_ROLE_NAMES[role, at - start]) == np.int64(data[at]) | (
            32 * np.int64(65 <= data[at] <= 90)
        ):
            if data[at] == 0x0A:
                return True
            at += 1
    return False


@inner
def _begins_with_role(data, start, end):
    """Whether the first line with anything in it, of a window, names a role."""
    while start < end and data[start] == 0x0A:
        start += 1
    return _is_role(data, start, min(start + _LONGEST_ROLE + 1, end))


@inner
def _count_window(data, source, start, end, stop, is_begin, letters):
    """Add the letters of a window of more than ASCII; returns how many it has.

    data: uint8, the texts; source: their address. start, end: of the window, whose last character
    may go on behind it. stop: of the text. is_begin: whether a line begins with the window.
    letters: int64[scripts], is added to.
    """
    low, high = np.int64(1), np.int64(0)  # the block that the letter before was in
    script = np.int64(0)
    found = np.int64(0)
    at = start
    while at < end:
        if is_begin and _is_role(data, at, min(at + _LONGEST_ROLE + 1, end)):
            while data[at] != 0x0A:
                at += 1
            at += 1
            continue
        code = np.int64(data[at])
        is_begin = code == 0x0A
        if code < 0x80:
            at += 1
            letters[_LATIN] += np.int64(_IS_LETTER[code])
            found += np.int64(_IS_LETTER[code])
            continue
        code, size = decode(load_bytes(source, at, stop))
        if size == 0:
            at += malformed_size(load_bytes(source, at, stop))
            continue
        at += size
        if code < low or code > high:
            block = _block_of(code)
            if block >= 0 and code <= _RANGES[block, 1]:
                low, high = np.int64(_RANGES[block, 0]), np.int64(_RANGES[block, 1])
                script = np.int64(_RANGES[block, 2])
        if low <= code <= high:
            letters[script] += 1
            found += 1
    return found


@inner
def script_of_row(data, offsets, valid, row, rows, letters):
    """The script of a row, as its number in `SCRIPTS`.

    data: uint8, the bytes of all texts. offsets: int64[fields * rows + 1], delimit them, field
    after field. valid: uint8[fields * rows], 0 where the text is null. row: its number of `rows`.
    letters: int64[scripts], scratch.
    """
    source = address(data)
    latin = np.int64(0)
    is_ascii = True
    for text in range(row, valid.size, rows):
        start = offsets[text]
        stop = offsets[text + 1] if valid[text] else start
        found = np.int64(0)
        while start < stop and found == 0:
            end = min(start + WINDOW, stop)
            found = _ascii_letters(source, start, end)
            is_first = start == offsets[text]
            is_chat = is_first and _begins_with_role(data, start, end)
            if found >= 0 and not is_chat:
                latin += found
            else:
                if is_ascii:
                    letters[:] = 0
                    is_ascii = False
                is_begin = is_first or data[start - 1] == 0x0A
                found = _count_window(data, source, start, end, stop, is_begin, letters)
            start = end
            while start < stop and data[start] & 0xC0 == 0x80:
                start += 1  # what goes on of the last character
    if is_ascii:
        return np.int64(_LATIN) if latin > 0 else np.int64(0)
    letters[_LATIN] += latin
    best = np.int64(0)
    for script in range(1, letters.size):
        if letters[script] > letters[best]:
            best = np.int64(script)
    return best
