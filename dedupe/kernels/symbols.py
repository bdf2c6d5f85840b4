"""Which symbols of a document count: `C++` and `C#` differ, `**bold**` and `bold` do not.

docs/explanation/what-is-compared.md states the rule for readers. Symbols beyond ASCII count by
their category, see `make_tables.separator_kind`. An operator of ASCII counts by what stands around
it: `append_operators` looks back and ahead from each run of them. What it passes on the way lies
between two runs, so that a document takes linear time whatever is in it.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner
from dedupe.kernels.unicode import (
    CLOSE,
    LINE,
    MARK,
    OPEN,
    OPERATOR,
    QUOTE,
    SPACE,
    SPACELESS,
    WORD,
    decode,
    get8,
    get64,
    is_digit,
    kind_of,
    put8,
)

LINE_FEED = np.int64(0x0A)
BANG, HASH, DOLLAR, PERCENT, STAR, PLUS, DASH = 0x21, 0x23, 0x24, 0x25, 0x2A, 0x2B, 0x2D
LESS, EQUALS, GREATER, BAR, TILDE = 0x3C, 0x3D, 0x3E, 0x7C, 0x7E


@inner
def code_at(text, at):
    """(code point, bytes) at `at` of well-formed text."""
    if get8(text, at) < 0x80:
        return get8(text, at), np.int64(1)
    return decode(get64(text + at, 0))


@inner
def _before(text, at, where):
    """(kind, code point, its place) of what stands before `at`: at the start, the end of a line."""
    if at == 0:
        return LINE, LINE_FEED, np.int64(0)
    place = at - 1
    while get8(text, place) & 0xC0 == 0x80:
        place -= 1
    code, _size = code_at(text, place)
    return kind_of(code, where), code, place


@inner
def _after(text, length, at, where):
    """(kind, code point, bytes) of what stands at `at`: at the end of the text, that of a line."""
    if at >= length:
        return LINE, LINE_FEED, np.int64(0)
    code, size = code_at(text, at)
    return kind_of(code, where), code, size


@inner
def _near_before(text, at, where):
    """(kind, code point, what is behind it) of the nearest no space before `at`."""
    kind, code, place = _before(text, at, where)
    while kind == SPACE:
        at = place
        kind, code, place = _before(text, at, where)
    return kind, code, at


@inner
def _near_after(text, length, at, where):
    """(kind, code point, its place) of the nearest no space from `at` on."""
    kind, code, size = _after(text, length, at, where)
    while kind == SPACE:
        at += size
        kind, code, size = _after(text, length, at, where)
    return kind, code, at


@inner
def is_letter(char):
    """Whether a byte is a letter or digit of ASCII, in lower case, or an underscore."""
    return 0x61 <= char <= 0x7A or 0x30 <= char <= 0x39 or char == 0x5F


@inner
def _is_operator(char, where):
    return char < 0x80 and kind_of(char, where) == OPERATOR


@inner
def _in_word(kind):
    return WORD <= kind <= SPACELESS


@inner
def _is_blank(kind):
    return kind == SPACE or kind == LINE


@inner
def _letters(text, at, where):
    """How many letters or digits end at `at` in one word, counted up to 3, marks left out."""
    count = 0
    kind, _code, place = _before(text, at, where)
    while count < 3 and (kind == WORD or kind == MARK):
        count += kind == WORD
        kind, _code, place = _before(text, place, where)
    return count


@inner
def _starts_line(text, at, where):
    """Whether nothing but spaces and operators stands before `at` in its line."""
    kind, _code, place = _before(text, at, where)
    while kind == SPACE or kind == OPERATOR:
        kind, _code, place = _before(text, place, where)
    return kind == LINE


@inner
def _ends_line(text, length, at, where):
    """Whether nothing but spaces stands from `at` on in its line, and more text in another."""
    kind, _code, at = _near_after(text, length, at, where)
    if kind != LINE:
        return False
    while _is_blank(kind) and at < length:
        kind, _code, size = _after(text, length, at, where)
        at += size
    return not _is_blank(kind)


@inner
def _is_sign(text, begin, end, left, right, right_code, where):
    """Whether the last of the operators text[begin:end] is the minus sign of what follows."""
    if get8(text, end - 1) != DASH or not _in_word(right):
        return False
    if end - begin > 1:
        return (
            get8(text, end - 2) != PLUS
            and get8(text, end - 2) != HASH
            and get8(text, end - 2) != PERCENT
        )
    if _in_word(left) or left == CLOSE:
        return False
    return is_digit(right_code, where) or not _starts_line(text, begin, where)


@inner
def _is_grade(text, length, begin, end, left, right, where):
    """Whether a hyphen belongs to the letter or two before it, as in `B-` and `Cl-`."""
    if (left != WORD and left != MARK) or _in_word(right):
        return False
    if not 1 <= _letters(text, begin, where) <= 2:
        return False
    return not _ends_line(text, length, end, where)


@inner
def _copy_without_hyphens(text, begin, end, out, at):
    """Copy operators, but for single bars and for hyphens that no `=` or `>` follows; the end."""
    for i in range(begin, end):
        char = get8(text, i)
        following = get8(text, i + 1) if i + 1 < end else 0
        follows_bar = i > begin and get8(text, i - 1) == BAR
        if char == BAR and following != BAR and following != EQUALS and not follows_bar:
            continue
        if char == DASH and following != EQUALS and following != GREATER:
            continue
        put8(out, at, char)
        at += 1
    return at


@inner
def _counts(text, length, begin, end, out, size, count, left, right, right_code, where):
    """Whether the operators out[size : size + count] count; in the text they are at begin:end."""
    first = get8(out, size)
    second = get8(out, size + 1) if count > 1 else 0
    apart = _is_blank(left) and _is_blank(right)
    near, near_code, behind = _near_before(text, begin, where)
    if apart:
        between = _in_word(near) or near == CLOSE or near == QUOTE
    else:
        opens = _in_word(right) or right == OPEN or right == QUOTE
        between = opens and (_in_word(left) or left == CLOSE or (left == right == QUOTE))
    if between:
        if first == STAR and (count == 1 or (count == 2 and second == STAR)):
            if (count == 2 and apart) or is_digit(near_code, where):
                return True
            _kind, next_code, _place = _near_after(text, length, end, where)
            return is_digit(next_code, where) or _letters(text, behind, where) == 1
        is_mark = first == HASH or first == DOLLAR or first == BANG
        return not (apart and is_mark) or (count == 2 and second == EQUALS)
    if count == 2 and first == DASH and second == GREATER:
        return True
    equals = 0
    for i in range(size, size + count):
        equals += get8(out, i) == EQUALS
    if 0 < equals < count:
        return True
    if (left == WORD or left == MARK) and not _in_word(right):
        is_suffix = first == PLUS or first == HASH or first == PERCENT
        return (count == 1 and is_suffix) or (count == 2 and first == second == PLUS)
    if count > 1 or not _in_word(right):
        return False
    if first == BANG or first == PLUS or first == TILDE:
        return True
    compares = first == LESS or first == EQUALS or first == GREATER or first == DOLLAR
    return compares and is_digit(right_code, where)


@inner
def append_operators(text, length, begin, where, out, size):
    """Write what counts of a run of operators to out[size:]; the size after that.

    text: address of a document in normal form, without escapes, with a line feed behind it. length:
    int64, its bytes. begin: int64, where the run begins. where: `unicode.kinds`. out: address, with
    room for the run. size: int64.
    """
    end = begin
    char = get8(text, begin)
    if begin > 0 and is_letter(get8(text, begin - 1)) and is_letter(get8(text, begin + 1)):
        if char == DASH or char == BAR:
            return size
        if char != STAR:
            put8(out, size, char)
            return size + 1
    is_rule = True
    while _is_operator(get8(text, end), where):
        if end > begin:
            if get8(text, end) == DASH and get8(text, end - 1) == DASH:
                return size
            is_rule = is_rule and get8(text, end) == get8(text, begin)
        end += 1
    if is_rule and end - begin > 2:
        return size
    left, _code, _place = _before(text, begin, where)
    right, right_code, _size = _after(text, length, end, where)
    sign = _is_sign(text, begin, end, left, right, right_code, where)
    if end - begin == 1 and get8(text, begin) == DASH:
        sign = sign or _is_grade(text, length, begin, end, left, right, where)
    count = _copy_without_hyphens(text, begin, end, out, size) - size
    if count > 0 and _counts(
        text, length, begin, end, out, size, count, left, right, right_code, where
    ):
        size += count
    if sign:
        put8(out, size, DASH)
        size += 1
    return size
