"""What is wrong with texts as data for training.

Each text is read once. Characters are code points; malformed bytes count as U+FFFD, as many as
Python replaces them by. A word is a run of what is no white space, a line ends at a line feed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from dedupe.kernels import inner, kernel
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


@kernel(types.Tuple((types.uint16[::1], types.int64[::1]))(BYTES, INT64, BYTES))
def problems_of_texts(data, offsets, valid):
    """What is wrong with texts, and how many words they have.

    data: uint8[bytes]. offsets: int64[texts + 1]; text i is data[offsets[i]:offsets[i + 1]]. valid:
    uint8[texts], 0 for a null, which is as an empty text. Returns flags, uint16[texts], sums of the
    constants above, and words, int64[texts].
    """
    texts = valid.size
    flags = np.zeros(texts, np.uint16)
    word_counts = np.zeros(texts, np.int64)
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
    return flags, word_counts
