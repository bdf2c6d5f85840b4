"""Documents to token hashes to shingle hashes, over Arrow buffers: one field at a time.

A field goes through scratch buffers, which grow to the longest one seen:

    normal   the text in normal form, every separator as it is
    form     the same with each run of white space as one, see `collapse`: what makes copies exact
    edited   the normal text without escapes, and without what `--ignore` leaves out; only where
             there is something to leave out
    joined   its tokens (or, for character shingles, its runs) with one space between them
    hashes   where tokens begin and end, then one 64-bit hash per token or code point, turned in
             place into one per shingle

Text is looked at 64 bytes at a time: ASCII is told apart by comparing all of them at once, and
what is beyond ASCII is looked up one by one. The hash of a token and of a shingle is defined by
`token_hash` and `roll`, and again in plain Python by the tests.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import inner
from dedupe.kernels.buffers import grown
from dedupe.kernels.intrinsics import (
    bytes_in,
    copy64,
    load64,
    lower64,
    population,
    store64,
    trailing_zeros,
)
from dedupe.kernels.symbols import (
    BANG,
    BAR,
    DASH,
    DOLLAR,
    HASH,
    STAR,
    append_operators,
    code_at,
    is_letter,
)
from dedupe.kernels.unicode import (
    HIGH,
    LINE,
    MARK,
    SLACK,
    SPACE,
    SPACELESS,
    SYMBOL,
    WORD,
    address,
    bare_of,
    encode,
    fold,
    get8,
    is_digit,
    kind_of,
    lower_ascii,
    put8,
    put64,
)

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
ZERO = np.uint64(0)
ONE = np.uint64(1)
TOP = np.uint64(63)
BLANK = np.uint8(0x20)
LINE_FEED = np.uint8(0x0A)
LINE_FEEDS = np.uint64(0x0A0A0A0A0A0A0A0A)
BACKSLASH = np.uint8(0x5C)

SEED = np.uint64(0x9E3779B97F4A7C15)
WORD_STEP = np.uint64(0xD6E8FEB86659FD93)
FINAL = np.uint64(0xFF51AFD7ED558CCD)
ROLL = np.uint64(0xC4CEB9FE1A85EC53)
"""Odd multipliers of token hash and shingle hash."""

IGNORE_SYMBOLS, IGNORE_NUMBERS, IGNORE_ACCENTS = 1, 2, 4
"""Bits of what does not count."""
DIGEST_TEXT, DIGEST_WORDS, DIGEST_BYTES, DIGEST_NOTHING = range(4)
"""What a digest is taken of: what rows must have in common to be exact copies."""


# Intrinsics (text, place): which of the 64 bytes from a place on are such, as bits.
_words = bytes_in((0x30, 0x39), (0x5F, 0x5F), (0x61, 0x7A))
_digits = bytes_in((0x30, 0x39))
_wides = bytes_in((0x80, 0xFF))
_leads = bytes_in((0xC0, 0xFF))
_blank_leads = bytes_in((0xC2, 0xC2), (0xE1, 0xE2))
_lines = bytes_in((0x0A, 0x0D))
_blanks = bytes_in((0x09, 0x0D), (0x20, 0x20))
_plain_blanks = bytes_in((0x0A, 0x0A), (0x20, 0x20))
_backslashes = bytes_in((0x5C, 0x5C))
_hyphens = bytes_in((0x2D, 0x2D))
_bars = bytes_in((0x7C, 0x7C))
_compares = bytes_in((0x24, 0x24), (0x3C, 0x3E))
_prefixes = bytes_in((0x21, 0x21), (0x7E, 0x7E))
_plus = bytes_in((0x2B, 0x2B))
_suffixes = bytes_in((0x23, 0x23), (0x25, 0x25))
_operators = bytes_in(
    (0x21, 0x21), (0x23, 0x26), (0x2A, 0x2B), (0x2D, 0x2D), (0x2F, 0x2F), (0x3C, 0x3E),
    (0x40, 0x40), (0x5E, 0x5E), (0x7C, 0x7C), (0x7E, 0x7E),
)  # fmt: skip


class Scratch(NamedTuple):
    """Buffers that are used again for each field: see above; `points` is that of `unicode.fold`.

    places: pairs, see `_find`.
    """

    normal: npt.NDArray[np.uint8]
    form: npt.NDArray[np.uint8]
    edited: npt.NDArray[np.uint8]
    joined: npt.NDArray[np.uint8]
    points: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    places: npt.NDArray[np.int64]


@inner
def new_scratch():
    """A `Scratch` for short documents."""
    return Scratch(
        np.empty(1 << 16, np.uint8),
        np.empty(1 << 16, np.uint8),
        np.empty(1 << 16, np.uint8),
        np.empty(1 << 17, np.uint8),
        np.empty(1 << 12, np.int32),
        np.empty(1 << 16, np.uint64),
        np.empty(1 << 16, np.int64),
    )


# Normal form.


@inner
def _lower_ascii(data, start, stop, out):
    """Write data[start:stop] in lower case; False if a byte is not ASCII (`out` is worthless)."""
    seen = ZERO
    size = stop - start
    wide = size & ~63
    for i in range(0, wide, 64):
        if lower64(data, start + i, out, i) != ZERO:
            return False
    whole = size & ~7
    for i in range(wide, whole, 8):
        word = load64(data, start + i)
        seen |= word
        store64(out, i, lower_ascii(word))
    last = ZERO
    for i in range(size - 1, whole - 1, -1):
        last = (last << np.uint64(8)) | np.uint64(data[start + i])
    seen |= last
    store64(out, whole, lower_ascii(last))
    return seen & HIGH == ZERO


@inner
def _end_lines(text, length):
    """Put line feeds behind a text: whoever looks ahead finds the end of a line."""
    for i in range(0, 64, 8):
        store64(text, length + i, LINE_FEEDS)


# Exact copies: white space.


@inner
def _has_wide_blanks(text, length, where):
    """Whether there is white space beyond ASCII: of that, normal form leaves four characters."""
    source = address(text)
    for at in range(0, length, 64):
        leads = _blank_leads(text, at)
        while leads != ZERO:
            code, _size = code_at(source, at + trailing_zeros(leads))
            leads &= leads - ONE
            kind = kind_of(code, where)
            if kind == SPACE or kind == LINE:
                return True
    return False


@inner
def _collapse_any(text, length, where, out):
    """`collapse` for white space of any script, one code point at a time; two addresses."""
    size = np.int64(0)
    at = np.int64(0)
    wanted = np.int64(0)
    while at < length:
        code, width = code_at(text, at)
        kind = kind_of(code, where)
        if kind == LINE or (kind == SPACE and wanted == 0):
            wanted = np.int64(LINE_FEED if kind == LINE else BLANK)
        elif kind != SPACE:
            if wanted != 0 and size > 0:
                put8(out, size, wanted)
                size += 1
            wanted = np.int64(0)
            for i in range(width):
                put8(out, size + i, get8(text, at + i))
            size += width
        at += width
    return size


@inner
def collapse(text, length, is_ascii, where, out):
    """Write a text with each run of white space as one: returns the size.

    text: uint8, in normal form, with 64 line feeds behind text[:length]. length: int64. is_ascii:
    whether all of it is ASCII. where: `unicode.kinds`. out: uint8, with 64 bytes more than the
    text. A run with a line break becomes one line feed, any other one space; none stays at
    either end.
    """
    if not is_ascii and _has_wide_blanks(text, length, where):
        return _collapse_any(address(text), length, where, address(out))
    at = np.int64(0)
    while at < length and (text[at] == BLANK or 0x09 <= text[at] <= 0x0D):
        at += 1
    while length > at and (text[length - 1] == BLANK or 0x09 <= text[length - 1] <= 0x0D):
        length -= 1
    size = np.int64(0)
    while at < length:
        blanks = _blanks(text, at)
        odd = blanks & (blanks >> ONE | ~_plain_blanks(text, at)) & (ALL >> ONE)
        step = 63 if odd == ZERO else trailing_zeros(odd)
        copy64(text, at, out, size)
        lines = ZERO if odd == ZERO else _lines(text, at)
        step = min(step, length - at)
        size += step
        at += step
        if odd == ZERO or at >= length:
            continue
        here = np.uint64(step)
        run = trailing_zeros(~(blanks >> here))
        has_line = (lines >> here) & (ALL >> np.uint64(64 - run)) != ZERO
        at += run
        if step + run == 64:  # the run may go on
            while text[at] == BLANK or 0x09 <= text[at] <= 0x0D:
                has_line = has_line or (text[at] != BLANK and text[at] != 0x09)
                at += 1
        out[size] = LINE_FEED if has_line else BLANK
        size += 1
    return size


# What is left out: escapes, digits, accents.


@inner
def _is_punctuation(char):
    return (
        0x21 <= char <= 0x2F or 0x3A <= char <= 0x40 or 0x5B <= char <= 0x60 or 0x7B <= char <= 0x7E
    )


@inner
def _unescape(text, length, out):
    """Write a text without backslashes before punctuation: the new length, -1 if there are none."""
    begin = np.int64(0)
    size = np.int64(0)
    for at in range(0, length, 64):
        slashes = _backslashes(text, at)
        while slashes != ZERO:
            place = at + trailing_zeros(slashes)
            slashes &= slashes - ONE
            if place + 1 < length and _is_punctuation(text[place + 1]):
                size = _copy(text, begin, place, out, size)
                begin = place + 1
    if begin == 0:
        return np.int64(-1)
    return _copy(text, begin, length, out, size)


@inner
def _copy(text, begin, end, out, size):
    """Write text[begin:end] to out[size:], and up to 8 bytes more; the new size."""
    for offset in range(0, end - begin, 8):
        store64(out, size + offset, load64(text, begin + offset))
    return size + end - begin


@inner
def _edit(text, length, ignore, where, out):
    """Write a text without backslashes before punctuation and what is ignored; the new length.

    text, out: addresses. A run of digits becomes one 0, a letter with an accent the letter, a mark
    by itself nothing.
    """
    size = np.int64(0)
    at = np.int64(0)
    in_number = False
    while at < length:
        code, width = code_at(text, at)
        at += width
        if code == BACKSLASH and at < length and _is_punctuation(get8(text, at)):
            continue
        if ignore & IGNORE_NUMBERS:
            was, in_number = in_number, is_digit(code, where)
            if in_number and was:
                continue
            if in_number:
                code = np.int64(0x30)
        if ignore & IGNORE_ACCENTS and code >= 0x80:
            bare = bare_of(code, where)
            if bare < 0:
                continue
            if bare > 0:
                code = bare
        word, width = encode(code)
        put64(out + size, 0, word)
        size += width
    return size


@inner
def _absorb(state, word):
    state = (state ^ word) * WORD_STEP
    return state ^ (state >> np.uint64(32))


@inner
def _finish(state, size):
    state = (state ^ np.uint64(size)) * FINAL
    return state ^ (state >> np.uint64(32))


# Tokens.


@inner
def _runs(text, at, words, word_before, wide, wide_before, operators, operator_before):
    """Where runs of operators begin among 64 bytes, without most of those that cannot count.

    words, wide, operators: letters and digits, bytes beyond ASCII, operators; with the last bit of
    the block before of each. What is left out here `symbols.append_operators` would not let count.
    """
    hyphens = _hyphens(text, at)
    behind_word = words << ONE | word_before
    runs = operators & ~(operators << ONE | operator_before)
    runs &= ~(hyphens & hyphens >> ONE)  # rules and options
    runs &= ~(hyphens & behind_word & words >> ONE)  # compounds and ranges
    near_wide = wide << ONE | wide_before | wide >> ONE | ONE << TOP
    single = runs & ~(operators >> ONE) & ~near_wide
    if single == ZERO:
        return runs
    before = np.int64(text[at - 1]) if at > 0 else np.int64(LINE_FEED)
    blanks = _blanks(text, at)
    behind_line = _lines(text, at) << ONE | np.uint64(0x0A <= before <= 0x0D)
    behind_blank = blanks << ONE | np.uint64(0x09 <= before <= 0x0D or before == 0x20)
    in_front_of_blank = blanks >> ONE
    compares = _compares(text, at)
    additive = hyphens | _plus(text, at)
    suffixes = additive | _suffixes(text, at)
    unary = compares | additive | _prefixes(text, at)
    idle = _bars(text, at) | behind_blank & hyphens & in_front_of_blank  # dashes and bullets
    idle |= behind_line & ~hyphens & in_front_of_blank  # bullets and headings
    idle |= behind_blank & ~unary & ~in_front_of_blank  # emphasis, paths
    idle |= behind_blank & compares & (words & ~_digits(text, at)) >> ONE  # tags, variables
    idle |= behind_word & ~suffixes & in_front_of_blank
    return runs & ~(single & idle)


@inner
def _wide(text, at, where, words, alone, alone_before, symbols):
    """What the characters beyond ASCII are that begin in a block of 64 bytes.

    Returns, with bits for the bytes of the block: `words` with all that are in words, `alone` with
    those of scripts written without spaces and their marks, the first byte of each character of
    these scripts, and `symbols` with the first byte of each symbol; then words and alone for the
    first bytes of the next block, where a character runs over the end.
    """
    leads = _leads(text, at)
    firsts = more_words = more_alone = ZERO
    source = address(text)
    while leads != ZERO:
        place = trailing_zeros(leads)
        leads &= leads - ONE
        code, size = code_at(source, at + place)
        kind = kind_of(code, where)
        if kind == SYMBOL:
            symbols |= ONE << np.uint64(place)
        if kind < WORD or kind > SPACELESS:
            continue
        here = ALL >> np.uint64(64 - size)
        is_alone = kind == SPACELESS
        if kind == MARK:
            before = alone_before if place == 0 else alone >> np.uint64(place - 1) & ONE
            is_alone = before != ZERO
        words |= here << np.uint64(place)
        over = here >> np.uint64(64 - place) if place > 0 else ZERO
        more_words |= over
        if is_alone:
            alone |= here << np.uint64(place)
            more_alone |= over
        if kind == SPACELESS:
            firsts |= ONE << np.uint64(place)
    return words, alone, firsts, symbols, more_words, more_alone


@inner
def _find(text, length, is_ascii, split, symbols, where, edges, places):
    """Where tokens begin and end, in turn, and where symbols begin: how many of both.

    split: characters of scripts written without spaces are tokens. symbols: whether they count.
    edges: uint64, written. places: int64, written; for each symbol its place, and how many tokens
    are before it. text[length:] must be line feeds for another 64 bytes.
    """
    count = np.int64(0)
    found = np.int64(0)
    before = operator_before = alone_before = wide_before = ZERO
    more_words = more_alone = ZERO
    for at in range(0, length + 1, 64):
        words = _words(text, at) | more_words
        marks = ZERO
        if symbols:
            operators = _operators(text, at)
            wide = ZERO if is_ascii else _wides(text, at)
            if operators != ZERO:
                marks = _runs(
                    text, at, words, before, wide, wide_before, operators, operator_before
                )
            operator_before = operators >> TOP
            wide_before = wide >> TOP
        begins = ZERO
        if not is_ascii:
            words, alone, firsts, marks, more_words, more_alone = _wide(
                text, at, where, words, more_alone, alone_before, marks
            )
            if split:
                begins = firsts | (words & ~alone & (alone << ONE | alone_before))
            alone_before = alone >> TOP
        behind = words << ONE | before
        before = words >> TOP
        ends = behind & (begins | ~words)
        begins |= words & ~behind
        turns = begins | ends
        both = begins & ends
        while symbols and marks != ZERO:
            upto = marks ^ (marks - ONE)
            edge = count + population(turns & upto) + population(both & upto)
            places[found] = at + trailing_zeros(marks)
            places[found + 1] = edge >> 1
            found += 2
            marks &= marks - ONE
        first = np.uint64(at)
        if both == ZERO:
            last = count + population(turns)
            while count < last:  # eight at a time, so that few branches are guessed
                for _ in range(8):
                    edges[count] = first + np.uint64(trailing_zeros(turns))
                    count += 1
                    turns &= turns - ONE
            count = last
        while turns != ZERO:  # where one token follows another, a place is an end and a beginning
            place = np.uint64(trailing_zeros(turns))
            edges[count] = edges[count + 1] = first + place
            count += 1 + np.int64(both >> place & ONE)
            turns &= turns - ONE
    return count, found >> 1


@inner
def _hash_bytes(text, begin, end):
    """The hash of a token."""
    state = SEED
    for at in range(begin, end, 8):
        word = load64(text, at) & (ALL >> np.uint64(64 - 8 * min(end - at, 8)))
        state = _absorb(state, word)
    return _finish(state, end - begin)


@inner
def _append_symbols(text, length, tokens, places, used, found, where, out, size):
    """Append the symbols that count behind so many tokens: (size, how many are used).

    text, out: addresses. places: see `_find`; used, found: how many are done, and there.
    """
    while used < found and places[2 * used + 1] == tokens:
        place = places[2 * used]
        if _is_between(text, place):
            put8(out, size, get8(text, place))
            size += 1
        elif get8(text, place) < 0x80:
            size = append_operators(text, length, place, where, out, size)
        else:
            _code, width = code_at(text, place)
            for i in range(width):
                put8(out, size + i, get8(text, place + i))
            size += width
        used += 1
    return size, used


@inner
def _is_between(text, place):
    """Whether an operator plainly counts: `append_operators` would say so, as it does of others."""
    char = get8(text, place)
    before, after = get8(text, place - 1), get8(text, place + 1)
    if char == STAR or char == DASH or char == BAR or place < 2:
        return False
    if is_letter(before) and is_letter(after):
        return char < 0x80
    is_apart = before == BLANK and after == BLANK and is_letter(get8(text, place - 2))
    return is_apart and char < 0x80 and char != HASH and char != DOLLAR and char != BANG


@inner
def _hash_tokens_with_symbols(text, length, tokens, edges, found, where, joined, places):
    """Hash the tokens that symbols are appended to: how many there are.

    edges: uint64, found: int64, places: see `_find`. joined: scratch for one token. places is
    written from its start on: the number of each such token, and its hash. Symbols before the first
    token are put in front of it; without any token they are one.
    """
    source, target = address(text), address(joined)
    front, used = _append_symbols(
        source, length, np.int64(0), places, np.int64(0), found, where, target, np.int64(0)
    )
    if tokens == 0:
        places[0] = 0
        places[1] = np.int64(_hash_bytes(joined, np.int64(0), front))
        return np.int64(front > 0)
    hashed = np.int64(0)
    if front > 0 and (used == found or places[2 * used + 1] != 1):
        front = _copy(text, np.int64(edges[0]), np.int64(edges[1]), joined, front)
        places[0] = 0
        places[1] = np.int64(_hash_bytes(joined, np.int64(0), front))
        hashed = np.int64(1)
        front = np.int64(0)
    while used < found:
        token = places[2 * used + 1] - 1
        begin = np.int64(edges[2 * token])
        width = np.int64(edges[2 * token + 1]) - begin
        place = places[2 * used]
        is_alone = front == 0 and (used + 1 == found or places[2 * used + 3] != token + 1)
        if is_alone and width < 8 and _is_between(source, place):
            word = load64(text, begin) & ~(ALL << np.uint64(8 * width))
            word |= np.uint64(get8(source, place)) << np.uint64(8 * width)
            used += 1
            places[2 * hashed] = token
            places[2 * hashed + 1] = np.int64(_finish(_absorb(SEED, word), width + 1))
            hashed += 1
            continue
        bare = _copy(text, begin, begin + width, joined, front)
        size, used = _append_symbols(
            source, length, token + 1, places, used, found, where, target, bare
        )
        if size > bare or front > 0:
            places[2 * hashed] = token
            places[2 * hashed + 1] = np.int64(_hash_bytes(joined, np.int64(0), size))
            hashed += 1
        front = np.int64(0)
    return hashed


@inner
def _scan_tokens(text, length, edges, found, where, joined, hashes, places):
    """Hash each token; how many there are.

    edges: int64, how many there are in `hashes`, which the hashes then take the place of. found:
    int64, symbols in `places`; those that count are appended to the token before them, or put in
    front of the first. joined: scratch for tokens with symbols.

    Two words hold nearly every token, which are hashed without a branch.
    """
    tokens = edges >> 1
    special = np.int64(0)
    if found > 0:
        special = _hash_tokens_with_symbols(
            text, length, tokens, hashes, found, where, joined, places
        )
    for i in range(tokens):
        edge = np.uint64(i) << ONE  # unsigned: it needs no look at whether it is negative
        at = np.int64(hashes[edge])
        width = np.int64(hashes[edge | ONE]) - at
        word = load64(text, at)
        after = load64(text, at + 8)
        one = _absorb(SEED, word & (ALL >> np.uint64(64 - 8 * min(width, 8))))
        state = _absorb(one, after & (ALL >> np.uint64((128 - 8 * width) & 63)))
        if width <= 8:
            state = one
        if width > 16:
            state = _absorb(_absorb(SEED, word), after)
            for offset in range(16, width, 8):
                word = load64(text, at + offset)
                word &= ALL >> np.uint64(64 - 8 * min(width - offset, 8))
                state = _absorb(state, word)
        hashes[i] = _finish(state, width)
    for i in range(special):
        hashes[places[2 * i]] = np.uint64(places[2 * i + 1])
    return max(tokens, special)


@inner
def _join_tokens(text, length, edges, found, where, joined, hashes, places):
    """`_scan_tokens`, and write the tokens to `joined` with a space between: (bytes, tokens)."""
    source, target = address(text), address(joined)
    tokens = edges >> 1
    size, used = _append_symbols(
        source, length, np.int64(0), places, np.int64(0), found, where, target, np.int64(0)
    )
    if tokens == 0 and size > 0:
        hashes[0] = _hash_bytes(joined, np.int64(0), size)
        return size, np.int64(1)
    begin = np.int64(0)
    for i in range(tokens):
        at = np.int64(hashes[2 * i])
        end = np.int64(hashes[2 * i + 1])
        size = _copy(text, at, end, joined, size)
        size, used = _append_symbols(
            source, length, i + 1, places, used, found, where, target, size
        )
        hashes[i] = _hash_bytes(joined, begin, size)
        joined[size] = BLANK
        size += 1
        begin = size
    return max(size - 1, 0), tokens


@inner
def _scan_points(joined, size, hashes):
    """Hash each code point of joined[:size], well-formed UTF-8, as a token of one; their number."""
    count = np.int64(0)
    at = np.int64(0)
    while at < size:
        lead = joined[at]
        width = 1
        if lead >= 0xC0:
            width = 2 + (lead >= 0xE0) + (lead >= 0xF0)
        word = np.uint64(0)
        for i in range(width - 1, -1, -1):
            word = (word << np.uint64(8)) | np.uint64(joined[at + i])
        hashes[count] = _finish(_absorb(SEED, word), width)
        count += 1
        at += width
    return count


@inner
def _roll(hashes, count, shingle_size):
    """Turn `count` hashes into shingle hashes, in place; the number of shingles.

    A shingle is a polynomial of the hashes of its tokens modulo 2**64, mixed. Fewer tokens than the
    shingle size make one shingle.
    """
    if count == 0:
        return 0
    width = min(shingle_size, count)
    oldest = np.uint64(1)
    total = np.uint64(0)
    for i in range(width):
        total = total * ROLL + hashes[i]
        oldest *= ROLL
    shingles = count - width + 1
    for i in range(shingles):
        leaving = hashes[i]
        mixed = (total ^ (total >> np.uint64(33))) * FINAL
        hashes[i] = mixed ^ (mixed >> np.uint64(32))
        if i + width < count:
            total = total * ROLL + (hashes[i + width] - leaving * oldest)
    return shingles


@inner
def _numbers(text, length, where):
    """A hash of the runs of decimal digits of a text in their order; 0 where there are none."""
    source = address(text)
    state = ZERO
    at = np.int64(0)
    begin = np.int64(-1)
    while at <= length:
        code, width = code_at(source, at)
        is_in = at < length and is_digit(code, where)
        if is_in and begin < 0:
            begin = at
        if not is_in and begin >= 0:
            state = _finish(state * ROLL + _hash_bytes(text, begin, at), 1)
            begin = np.int64(-1)
        at += width
    return state


@inner
def read_text(data, start, stop, tables, replace, scratch):
    """Bring one text into normal form: (length, is ASCII, bad, scratch).

    data: uint8, of which data[start:stop] is the text. start, stop: int64. tables:
    `unicode.load_tables()`. replace: malformed bytes are replaced by U+FFFD. scratch: a `Scratch`;
    it comes back because it may have grown, and scratch.normal[:length] is the text. bad: that of
    `unicode.fold`.
    """
    normal, form, edited, joined, points, hashes, places = scratch
    need = stop - start + SLACK + 64
    if normal.size < need:
        normal = np.empty(need + need // 4, np.uint8)
    bad = np.int64(-1)
    length = stop - start
    is_ascii = _lower_ascii(data, start, stop, normal)
    if not is_ascii:
        length, bad, normal, points = fold(data, start, stop, tables, replace, normal, points)
        if normal.size < length + SLACK + 64:
            normal = grown(normal, length + SLACK + 64)
    _end_lines(normal, length)
    if form.size < length + SLACK + 64:
        form = np.empty(length + length // 4 + SLACK + 64, np.uint8)
    if edited.size < length + SLACK + 64:
        edited = np.empty(length + length // 4 + SLACK + 64, np.uint8)
    if joined.size < 2 * length + SLACK:
        joined = np.empty(2 * length + length // 4 + SLACK, np.uint8)
    if hashes.size < length + SLACK:
        hashes = np.empty(length + length // 4 + SLACK, np.uint64)
    if places.size < length + length // 2 + SLACK:
        places = np.empty(2 * length + SLACK, np.int64)
    scratch = Scratch(normal, form, edited, joined, points, hashes, places)
    return length, is_ascii, bad, scratch


@inner
def _leave_out(normal, length, ignore, where, edited):
    """Write a text without what does not count to `edited`: its length, -1 if all of it counts."""
    if ignore & ~IGNORE_SYMBOLS:
        kept = _edit(address(normal), length, ignore, where, address(edited))
    else:
        kept = _unescape(normal, length, edited)
    if kept >= 0:
        _end_lines(edited, kept)
    return kept


@inner
def hash_text(length, is_ascii, where, chars, ignore, numbers, digest, scratch):
    """The hashes of the tokens of one text in normal form: (hashes, tokens, form, joined, salt).

    length, is_ascii, where, chars, ignore, numbers, digest, scratch: as in `shingle_text`, which
    makes shingles of these hashes, and gives the rest as it is.
    """
    normal, form, edited, joined, _points, hashes, places = scratch
    form_size = np.int64(-1)
    if digest == DIGEST_TEXT:
        form_size = collapse(normal, length, is_ascii, where, form)
    read = length
    text = normal
    salt = ZERO
    if numbers:
        salt = _numbers(normal, length, where)
    kept = _leave_out(normal, length, ignore, where, edited)
    if kept >= 0:
        length = kept
        text = edited
    symbols = ignore & IGNORE_SYMBOLS == 0
    edges, found = _find(text, length, is_ascii, not chars, symbols, where, hashes, places)
    size = np.int64(0)
    if chars or digest == DIGEST_WORDS:
        size, count = _join_tokens(text, length, edges, found, where, joined, hashes, places)
    else:
        count = _scan_tokens(text, length, edges, found, where, joined, hashes, places)
    if chars and count > 0:
        count = _scan_points(joined, size, hashes)
    tokens = count
    if count == 0 and form_size < 0:
        form_size = collapse(normal, read, is_ascii, where, form)
    if count == 0 and form_size > 0:
        hashes[0] = _hash_bytes(form, np.int64(0), form_size)
        count = np.int64(1)
        for i in range(form_size):
            joined[i] = form[i]
        size = form_size
    return count, tokens, form_size, size, salt


@inner
def shingle_text(length, is_ascii, where, chars, shingle_size, ignore, numbers, digest, scratch):
    """The shingle hashes of one text in normal form: (shingles, tokens, form, joined, salt).

    length, is_ascii, scratch: as `read_text` gives them. where: `unicode.kinds`. chars:
    shingles are of code points, not of words. shingle_size: int64, tokens in a shingle. ignore:
    int64, bits of what does not count. numbers: whether the salt is a hash of the numbers in the
    text; else it is 0. digest: int64, what is wanted for a digest.

    The shingle hashes are the first in scratch.hashes, not yet distinct: a text without a token,
    but with anything else than white space, has one, that of its form. tokens: int64, or code
    points. form, joined: int64, bytes of these two.
    """
    count, tokens, form_size, size, salt = hash_text(
        length, is_ascii, where, chars, ignore, numbers, digest, scratch
    )
    return _roll(scratch.hashes, count, shingle_size), tokens, form_size, size, salt


@inner
def token_edges(length, is_ascii, where, ignore, scratch):
    """Where the words of a text in normal form begin and end: (edges, whether it has all its text).

    length, is_ascii, where, ignore, scratch: see `shingle_text`. The edges are the first in
    scratch.hashes, two for each token; they are places in scratch.normal, unless some of that was
    left out.
    """
    normal, _form, edited, _joined, _points, hashes, places = scratch
    text = normal
    kept = _leave_out(normal, length, ignore, where, edited)
    if kept >= 0:
        length = kept
        text = edited
    edges, _found = _find(text, length, is_ascii, True, False, where, hashes, places)
    return edges, kept < 0


@inner
def count_spaceless(length, where, scratch):
    """How many characters of a text in normal form are of scripts written without spaces.

    length, scratch: as `read_text` gives them. where: `unicode.kinds`.
    """
    source = address(scratch.normal)
    count = np.int64(0)
    at = np.int64(0)
    while at < length:
        code, width = code_at(source, at)
        count += np.int64(kind_of(code, where) == SPACELESS)
        at += width
    return count
