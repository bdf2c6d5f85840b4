"""Copying rows of text files as they are: where records of CSV end, and those that stay."""

from __future__ import annotations

import numpy as np

from dedupe.kernels import kernel, types
from dedupe.kernels.array_types import BOOLEANS, BYTES, INT64

_QUOTE, _COMMA, _NEWLINE, _RETURN, _BRACE, _OPEN, _BRACKET, _CLOSE, _BACKSLASH, _SPACE, _TAB = (
    np.uint8(ord(c)) for c in '",\n\r}{[]\\ \t'
)
BEGIN, BARE, QUOTED, CLOSED = range(4)
"""Where a byte of CSV is: at the start of a field, in one, within quotes, after a closing one."""

MOST_NEWLINE = 2
"""Bytes that end a line: \\r and \\n."""


@kernel(types.UniTuple(types.int64, 2)(BYTES, types.uint8, types.int64, types.int64[::1]))
def csv_ends(data, delimiter, state, ends):
    """Find where lines of CSV end, that is their newlines: (how many, state after the last byte).

    data: uint8. delimiter: uint8, what stands between fields. state: int64, `BEGIN` at the start of
    a file. ends: int64 with room for every byte, to which the places in the data are written. A
    newline within quotes ends no line.
    """
    count = 0
    for i in range(data.size):
        byte = data[i]
        if state == QUOTED:
            if byte == _QUOTE:
                state = CLOSED
        elif byte in (_NEWLINE, _RETURN):
            ends[count] = i
            count += 1
            state = BEGIN
        elif byte == delimiter:
            state = BEGIN
        elif byte == _QUOTE and state in (BEGIN, CLOSED):
            state = QUOTED
        else:
            state = BARE
    return count, state


INSIDE = 5
"""Numbers that `array_lines` remembers: nesting, whether in a string, behind a backslash, behind a
line break, and in a number or the like that is an element."""


@kernel(types.UniTuple(types.int64, 3)(BYTES, types.int64[::1], types.uint8[::1]))
def array_lines(data, state, out):
    """Write elements of a JSON array as lines: (bytes written, up to the last line, bytes used).

    data: uint8, a part of the file, first from behind the bracket of the array. state: int64 of
    `INSIDE` numbers, 0 at the beginning; carried from one part to the next. out: uint8 with room
    for 3 bytes for 2 of data, and 2 more. What is between elements becomes a newline; line breaks
    within an element, and blanks behind them, are left out. What is used ends before the bracket
    that closes the array.
    """
    depth, quoted, escaped, broken, bare = state[0], state[1], state[2], state[3], state[4]
    at = np.int64(0)
    cut = np.int64(0)
    used = np.int64(data.size)
    for i in range(data.size):
        byte = data[i]
        if quoted:
            out[at] = byte
            at += 1
            if escaped:
                escaped = np.int64(0)
            elif byte == _BACKSLASH:
                escaped = np.int64(1)
            elif byte == _QUOTE:
                quoted = np.int64(0)
            continue
        is_break = byte in (_NEWLINE, _RETURN)
        is_blank = is_break or byte in (_SPACE, _TAB)
        if depth == 0 and (is_blank or byte == _COMMA):
            if bare:
                out[at] = _NEWLINE
                at += 1
                cut = at
                bare = np.int64(0)
            continue
        if is_blank and (is_break or broken):
            broken = np.int64(1)
            continue
        broken = np.int64(0)
        if byte == _CLOSE and depth == 0:
            used = np.int64(i)
            if bare:
                out[at] = _NEWLINE
                at += 1
                cut = at
            break
        if byte == _QUOTE:
            quoted = np.int64(1)
        elif byte in (_OPEN, _BRACKET):
            depth += 1
        elif byte in (_BRACE, _CLOSE):
            depth -= 1
        out[at] = byte
        at += 1
        if depth == 0 and byte in (_BRACE, _CLOSE):
            out[at] = _NEWLINE
            at += 1
            cut = at
            bare = np.int64(0)
        elif depth == 0:
            bare = np.int64(1)
    state[0], state[1], state[2], state[3], state[4] = depth, quoted, escaped, broken, bare
    return at, cut, used


@kernel(
    types.int64(
        BYTES,
        INT64,
        INT64,
        BOOLEANS,
        BYTES,
        INT64,
        types.boolean,
        BYTES,
        types.uint8[::1],
    ),
)
def copy_rows(data, starts, ends, take, more, bounds, braces, newline, out):
    """Copy the rows that are taken to `out`; returns how many bytes that are.

    data: uint8, of which data[starts[i]:ends[i]] is row i. starts, ends: int64. take: bool, for
    each row. more: uint8, what is added to the taken rows; the j-th of these gets
    more[bounds[j]:bounds[j + 1]]. bounds: int64. braces: whether it goes before the last } of the
    row instead of its end, without its first byte where nothing stands before it. newline: uint8,
    ends a row that ends the data; others keep the newline that follows them in the data. out: uint8
    with room for all of that.
    """
    at = 0
    taken = 0
    for i in range(starts.size):
        if not take[i]:
            continue
        start, stop = starts[i], ends[i]
        first, last = bounds[taken], bounds[taken + 1]
        taken += 1
        cut = stop
        if braces and last > first:
            cut -= 1
            while cut > start and data[cut] != _BRACE:
                cut -= 1
            before = cut - 1
            while before > start and data[before] <= 32:
                before -= 1
            if data[before] == _OPEN:
                first += 1
        for j in range(start, cut):
            out[at] = data[j]
            at += 1
        for j in range(first, last):
            out[at] = more[j]
            at += 1
        for j in range(cut, stop):
            out[at] = data[j]
            at += 1
        if stop == data.size:
            for j in range(newline.size):
                out[at] = newline[j]
                at += 1
            continue
        out[at] = data[stop]
        at += 1
        if data[stop] == _RETURN and stop + 1 < data.size and data[stop + 1] == _NEWLINE:
            out[at] = _NEWLINE
            at += 1
    return at
