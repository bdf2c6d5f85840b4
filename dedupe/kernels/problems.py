"""What is wrong with texts as data for training, and in which script they are written.

Each text is read once. Characters are code points; malformed bytes count as U+FFFD, as many as
Python replaces them by. A word is a run of what is no white space, a line ends at a line feed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import BYTES, INT64
from dedupe.kernels.unicode import address, decode, load_bytes, malformed_size

BLANK = 1 << 0
"""Nothing but white space."""
MALFORMED = 1 << 1
"""Malformed UTF-8, or a U+FFFD that stands where there was some."""
MOJIBAKE = 1 << 2
"""Sequences that UTF-8 becomes where it is read as Latin-1 or Windows-1252."""
CONTROL = 1 << 3
"""Control characters besides tab, line feed and carriage return."""
MARKUP = 1 << 4
"""More than `MUCH_MARKUP` of the characters are of tags and entities."""
REPEATED_LINES = 1 << 5
"""More than `MUCH_REPEATED` of the lines with text stood before."""
REPEATED_WORDS = 1 << 6
"""A few words in a row take more than their share of the characters: see `SHARES`."""
UNENDED = 1 << 7
"""`LEAST_ANSWER` characters or more, and the last one ends no sentence."""

MUCH_MARKUP = 0.2
MUCH_REPEATED = 0.3
LEAST_LINES = 4
"""Lines with text from which repeated ones say something."""
SHARES = (0.20, 0.18, 0.16)
"""Share of characters of all words that 2, 3 and 4 words in a row may take with their repeats.

Those of Gopher (Rae et al., 2021, table A1).
"""
LEAST_WORDS = 50
"""Words from which repeated ones say something: those of a document that Gopher takes."""
MOST_WORDS = 1 << 20
"""Words, and lines, of a text among which repeats are looked for, from its start: bounds memory."""
LEAST_ANSWER = 200
LONGEST_TAG = 300
"""Characters of a tag after the first letter of its name."""

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
_WHITE, _CONTROL, _LETTER, _END = 1, 2, 4, 8
_ENDS = frozenset(".!?…:;)]}\"'»”’`>*|。！？」』】،؟۔।॥።0123456789")
"""Characters at the end of what is said."""
_WIDE_ENDS = np.array(sorted(ord(char) for char in _ENDS if ord(char) > 127), np.int64)


def _kinds() -> Any:
    """uint8[128]: what each ASCII character is."""
    kinds = np.zeros(128, np.uint8)
    for code in range(128):
        char = chr(code)
        kinds[code] |= _WHITE * char.isspace() | _LETTER * char.isalpha() | _END * (char in _ENDS)
        kinds[code] |= _CONTROL * ((code < 32 and char not in "\t\n\r") or code == 127)
    return kinds


_KINDS = _kinds()
_MIX = np.uint64(0x9E3779B97F4A7C15)
_NO_TAG, _OPENED, _CLOSES, _IN_TAG = 0, 1, 2, 3
_NO_ENTITY, _AMPERSAND, _NAME, _HASH = 0, 1, 2, 3


@inner
def _mixed(state, value):
    """A hash of what `state` is a hash of, and a value."""
    state = (state ^ value) * _MIX
    return state ^ state >> np.uint64(29)


@inner
def _is_white(code):
    """Whether a code point beyond ASCII is white space, as Python has it."""
    if code < 0x1680:
        return code == 0x85 or code == 0xA0
    if code <= 0x200A:
        return code == 0x1680 or code >= 0x2000
    return code == 0x2028 or code == 0x2029 or code == 0x202F or code == 0x205F or code == 0x3000


@inner
def _is_wide_end(code):
    is_end = False
    for end in _WIDE_ENDS:
        is_end = is_end or code == end
    return is_end


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
def _is_of_windows(code):
    """Whether a code point is that of one of the bytes 0x80 to 0xBF in Latin-1 or Windows-1252."""
    if code <= 0xBF:
        return code >= 0x80
    return (
        0x2013 <= code <= 0x203A
        or code == 0x20AC
        or code == 0x2122
        or code == 0x0152
        or code == 0x0153
        or code == 0x0160
        or code == 0x0161
        or code == 0x017D
        or code == 0x017E
        or code == 0x0178
        or code == 0x0192
        or code == 0x02C6
        or code == 0x02DC
    )


@inner
def _is_mojibake(before, last, code):
    """Whether three characters in a row, or the last two of them, are bytes that were misread."""
    if last == 0xC3:
        return 0x80 <= code <= 0xBF
    if last == 0xC2:
        return 0xA0 <= code <= 0xBF
    if before == 0xE2 and (last == 0x20AC or last == 0x80):
        return _is_of_windows(code)
    return before == 0xEF and last == 0xBF and code == 0xBD


@inner
def _count(table, counts, bits, key):
    """How often a key was counted with this time. table, counts: emptied ones, 0 for no key."""
    mask = np.int64((1 << bits) - 1)
    key = key | np.uint64(1)
    at = np.int64((key * _MIX) >> np.uint64(64 - bits))
    while table[at] != np.uint64(0) and table[at] != key:
        at = (at + 1) & mask
    table[at] = key
    counts[at] += 1
    return counts[at]


@inner
def _bits_for(entries):
    bits = np.int64(4)
    while np.int64(1) << bits < 2 * entries:
        bits += 1
    return bits


@inner
def _repeats_lines(lines, count, table, counts):
    """Whether many lines stood before. lines: uint64, a hash of each; count: how many."""
    if count < LEAST_LINES:
        return False
    bits = _bits_for(count)
    table[: 1 << bits] = 0
    counts[: 1 << bits] = 0
    again = np.int64(0)
    for i in range(count):
        if _count(table, counts, bits, lines[i]) > 1:
            again += 1
    return np.float64(again) > MUCH_REPEATED * np.float64(count)


@inner
def _repeats_words(words, sizes, count, table, counts, again):
    """Whether a few words in a row take much of a text.

    words: uint64, a hash of each. sizes: int64, characters of each. count: of words. table, counts:
    room for twice as many. again: bool, room for each word: scratch.
    """
    if count < LEAST_WORDS:
        return False
    whole = np.int64(0)
    for i in range(count):
        whole += sizes[i]
    bits = _bits_for(count)
    mask = np.int64((1 << bits) - 1)
    again[:count] = True
    for n in range(2, 5):
        table[: 1 << bits] = 0
        counts[: 1 << bits] = 0
        most = SHARES[n - 2] * np.float64(whole)
        # the whole is frequent only where both of its parts are
        for i in range(count - n + 1):
            if again[i] and (n == 2 or again[i + 1]):
                key = words[i]
                size = sizes[i]
                for k in range(1, n):
                    key = _mixed(key, words[i + k])
                    size += sizes[i + k]
                times = _count(table, counts, bits, key)
                if times > 1 and np.float64(times * size) > most:
                    return True
        is_any = False
        for i in range(count - n + 1):
            if not (again[i] and (n == 2 or again[i + 1])):
                again[i] = False
                continue
            key = words[i]
            for k in range(1, n):
                key = _mixed(key, words[i + k])
            key = key | np.uint64(1)
            at = np.int64((key * _MIX) >> np.uint64(64 - bits))
            while table[at] != key:
                at = (at + 1) & mask
            again[i] = counts[at] > 1
            is_any = is_any or again[i]
        again[count - n + 1] = False
        if not is_any:
            return False
    return False


@kernel(
    types.Tuple((types.uint16[::1], types.int64[::1], types.int32[:, ::1]))(BYTES, INT64, BYTES)
)
def problems_of_texts(data, offsets, valid):
    """What is wrong with texts, how many words they have, and letters of which scripts.

    data: uint8[bytes]. offsets: int64[texts + 1]; text i is data[offsets[i]:offsets[i + 1]]. valid:
    uint8[texts], 0 for a null, which is as an empty text. Returns flags, uint16[texts], sums of the
    constants above; words, int64[texts]; letters, int32[texts, scripts], how many of a text are of
    each of `SCRIPTS`.
    """
    texts = valid.size
    flags = np.zeros(texts, np.uint16)
    word_counts = np.zeros(texts, np.int64)
    letters = np.zeros((texts, len(SCRIPTS)), np.int32)
    longest = np.int64(0)
    for i in range(texts):
        longest = max(longest, offsets[i + 1] - offsets[i])
    most = min(
        longest // 2 + 1, MOST_WORDS
    )  # vectors that grew in the loop took five times as long
    words = np.empty(most, np.uint64)
    sizes = np.empty(most, np.int64)
    again = np.empty(most + 1, np.bool_)
    lines = np.empty(most, np.uint64)
    room = np.int64(1) << _bits_for(most)
    table = np.empty(room, np.uint64)
    counts = np.empty(room, np.int32)
    source = address(data)
    for i in range(texts):
        start, stop = offsets[i], offsets[i + 1]
        if valid[i] == 0 or start == stop:
            flags[i] = BLANK
            continue
        found = np.int64(0)
        chars = np.int64(0)
        word_count = np.int64(0)
        line_count = np.int64(0)
        word = np.uint64(0)
        word_size = np.int64(0)
        line = np.uint64(0)
        stripped = np.uint64(0)  # the line up to its last character that is no white space
        has_line = False
        is_end = False
        before = np.int64(0)
        last = np.int64(0)
        low = np.int64(1)  # the block that the letter before was in
        high = np.int64(0)
        script = np.int64(0)
        tag = _NO_TAG
        tag_begin = np.int64(0)
        name_at = np.int64(0)
        entity = _NO_ENTITY
        entity_begin = np.int64(0)
        pending = np.int64(0)  # characters of entities since a tag began
        markup = np.int64(0)
        at = start
        while at < stop:
            code = np.int64(data[at])
            white = False
            if code < 0x80:
                at += 1
                kind = np.int64(_KINDS[code])
                white = kind & _WHITE != 0
                if kind & _CONTROL != 0:
                    found |= CONTROL
                if kind & _LETTER != 0:
                    letters[i, _LATIN] += 1
                if not white:
                    is_end = kind & _END != 0
            else:
                code, size = decode(load_bytes(source, at, stop))
                if size == 0:
                    code = np.int64(0xFFFD)
                    size = malformed_size(load_bytes(source, at, stop))
                at += size
                if code == 0xFFFD:
                    found |= MALFORMED
                if code < 0xA0:
                    found |= CONTROL
                white = _is_white(code)
                if not white:
                    is_end = _is_wide_end(code)
                if code < low or code > high:
                    block = _block_of(code)
                    if block >= 0 and code <= _RANGES[block, 1]:
                        low, high = np.int64(_RANGES[block, 0]), np.int64(_RANGES[block, 1])
                        script = np.int64(_RANGES[block, 2])
                if low <= code <= high:
                    letters[i, script] += 1
                if _is_mojibake(before, last, code):
                    found |= MOJIBAKE
            before, last = last, code

            if white:
                if word_size > 0:
                    if word_count < MOST_WORDS:
                        words[word_count] = word
                        sizes[word_count] = word_size
                    word_count += 1
                    word, word_size = np.uint64(0), np.int64(0)
            else:
                word = _mixed(word, np.uint64(code))
                word_size += 1
            if code == 0x0A:
                if has_line and line_count < MOST_WORDS:
                    lines[line_count] = stripped
                    line_count += 1
                line, has_line = np.uint64(0), False
            elif not white:
                line = _mixed(line, np.uint64(code))
                stripped, has_line = line, True
            elif has_line:
                line = _mixed(line, np.uint64(code))

            if tag == _IN_TAG and code == 0x3E:
                markup += chars - tag_begin + 1
                tag, pending = _NO_TAG, np.int64(0)
            elif code == 0x3C:
                tag, tag_begin = _OPENED, chars
                markup += pending
                pending = np.int64(0)
            elif tag == _OPENED and code == 0x2F:
                tag = _CLOSES
            elif tag == _OPENED or tag == _CLOSES:
                tag = _NO_TAG
                if code < 0x80 and np.int64(_KINDS[code]) & _LETTER != 0:
                    tag, name_at = _IN_TAG, chars
            elif tag == _IN_TAG and chars - name_at > LONGEST_TAG:
                tag = _NO_TAG
            if tag == _NO_TAG:
                markup += pending
                pending = np.int64(0)

            if code == 0x26:
                entity, entity_begin = _AMPERSAND, chars
            elif entity != _NO_ENTITY:
                long = chars - entity_begin  # characters after the ampersand, with this one
                if entity == _AMPERSAND and code == 0x23:
                    entity = _HASH
                elif entity != _HASH and 0x61 <= code <= 0x7A and long <= 8:
                    entity = _NAME
                elif entity == _HASH and 0x30 <= code <= 0x39 and long <= 6:
                    pass
                else:
                    least = 4 if entity == _HASH else 3
                    if code == 0x3B and entity != _AMPERSAND and long >= least:
                        if tag == _NO_TAG:
                            markup += long + 1
                        else:
                            pending += long + 1
                    entity = _NO_ENTITY
            chars += 1

        if word_size > 0:
            if word_count < MOST_WORDS:
                words[word_count] = word
                sizes[word_count] = word_size
            word_count += 1
        if has_line and line_count < MOST_WORDS:
            lines[line_count] = stripped
            line_count += 1
        word_counts[i] = word_count
        if word_count == 0:
            found |= BLANK
        if np.float64(markup + pending) > MUCH_MARKUP * np.float64(chars):
            found |= MARKUP
        if chars >= LEAST_ANSWER and not is_end:
            found |= UNENDED
        known = min(word_count, MOST_WORDS)
        if _repeats_lines(lines, line_count, table, counts):
            found |= REPEATED_LINES
        if _repeats_words(words, sizes, known, table, counts, again):
            found |= REPEATED_WORDS
        flags[i] = np.uint16(found)
    return flags, word_counts, letters
