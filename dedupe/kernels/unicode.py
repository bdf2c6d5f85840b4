"""Normalisation of one document: NFKC and lower case, without what vanishes.

`fold` reads UTF-8 and writes UTF-8 in one pass. Text that NFKC leaves alone streams through. Where
the quick check finds a code point that NFKC may change, only the segment around it is decomposed,
ordered and composed: a segment begins at a code point whose normal form nothing before it can
change (a *boundary*) and ends before the next one.

Inside, buffers and tables are addresses: arrays would be reference-counted, atomically, around
nearly every access. `fold` holds the arrays for as long as it runs.

The tables are made by `make_tables`, which documents them, and are the same on every Python.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dedupe.kernels import inner, intrinsic, llvm, shared, types
from dedupe.kernels.array_types import BYTES, INT32, UINT16, UINT64
from dedupe.kernels.intrinsics import trailing_zeros

TABLES_PATH = Path(__file__).with_name("unicode_tables.npz")


class Tables(NamedTuple):
    """The code-point tables, read-only, block numbers turned into offsets."""

    blocks: NDArray[np.int32]
    info: NDArray[np.int32]
    decomposed: NDArray[np.int32]
    entry: NDArray[np.uint16]
    bounds: NDArray[np.int32]
    pool: NDArray[np.int32]
    bare_blocks: NDArray[np.int32]
    bare: NDArray[np.int32]
    zeros: NDArray[np.int32]
    pair_keys: NDArray[np.uint64]
    pair_values: NDArray[np.int32]


TABLES_TYPE = types.NamedTuple(
    [
        INT32,
        INT32,
        INT32,
        UINT16,
        INT32,
        INT32,
        INT32,
        INT32,
        INT32,
        UINT64,
        INT32,
    ],
    Tables,
)
"""The type of `load_tables()`, for explicit signatures."""

SLACK = 64
"""Spare bytes that `fold` leaves behind its result: eight-byte loads may run over the end."""

BLOCK_BITS = 7
CLASS = 0b11
WORD, MARK, SPACELESS = 1, 2, 3
OTHER, SPACE, LINE, OPEN, CLOSE, QUOTE, SYMBOL, OPERATOR, VANISHING = range(0, 36, 4)
CHECK = 0b11 << 2
MAYBE, NO = 1 << 2, 2 << 2
JOINS = 1 << 4
CCC_BITS, CCC_MASK = 5, 0xFF
SPECIAL = CHECK | CCC_MASK << CCC_BITS
LOWER_BITS = 13
"""Layout of the two-stage tables and of `info`, see `make_tables`; what `kind_of` gives."""
VANISHES = VANISHING >> 2 << LOWER_BITS
"""All that `info` says of a code point that vanishes."""

PAIR_MIX = np.uint64(0x9E3779B97F4A7C15)
PAIR_SHIFT = np.uint64(52)
PAIR_SLOT_MASK = np.uint64(4095)

POINT_BITS = 21
POINT_MASK = (1 << POINT_BITS) - 1
"""A point of a segment is the code point and, above it, its combining class."""

LONG_RUN = 24
"""Runs of marks longer than this are ordered by counting, shorter ones by insertion."""

HANGUL_S, HANGUL_L, HANGUL_V, HANGUL_T = 0xAC00, 0x1100, 0x1161, 0x11A7
HANGUL_LS, HANGUL_VS, HANGUL_TS = 19, 21, 28
HANGUL_SYLLABLES = HANGUL_LS * HANGUL_VS * HANGUL_TS

LONGEST = 18
"""Points of the longest decomposition."""

REPLACEMENT = 0xFFFD
REPLACEMENT_WORD = np.uint64(0xBDBFEF)
HIGH_BIT = np.uint64(0x80)
HIGH = np.uint64(0x8080808080808080)
FROM_UPPER_A = np.uint64(0x3F3F3F3F3F3F3F3F)
ABOVE_UPPER_Z = np.uint64(0x2525252525252525)


@cache
def load_tables() -> Tables:
    """Load the tables that ship with the package, once per process."""
    with np.load(TABLES_PATH, allow_pickle=False) as file:
        arrays = {name: file[name] for name in Tables._fields}
    for name in ("blocks", "decomposed", "bare_blocks"):
        arrays[name] = arrays[name].astype(np.int32) << BLOCK_BITS
    for array in arrays.values():
        array.flags.writeable = False
    return Tables(**arrays)


def unicode_version() -> str:
    """Return the Unicode version of the tables, such as '15.1.0'."""
    with np.load(TABLES_PATH, allow_pickle=False) as file:
        return bytes(file["version"]).decode()


class Addresses(NamedTuple):
    """Where the tables are, for functions that are called for each character."""

    blocks: int
    info: int
    decomposed: int
    entry: int
    bounds: int
    pool: int
    pair_keys: int
    pair_values: int


class Kinds(NamedTuple):
    """Where the tables are that say what a code point is; digits: how many scripts have some."""

    blocks: int
    info: int
    bare_blocks: int
    bare: int
    zeros: int
    digits: int


@intrinsic
def address(typing_context: Any, array: Any) -> Any:
    """Address of the first element of an array."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, llvm.ir.IntType(64))

    return types.int64(array), codegen


def _element(builder: Any, bits: int, address: Any, index: Any) -> Any:
    return builder.gep(builder.inttoptr(address, llvm.ir.IntType(bits).as_pointer()), [index])


def _getter(bits: int, result: types.Scalar) -> Any:
    """Make an intrinsic `get(address, index)`: that element of a vector of `bits`-bit integers."""

    @intrinsic
    def get(typing_context: Any, address: Any, index: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(_element(builder, bits, *args), align=1)
            if bits == 64:
                return value
            extend = builder.sext if bits == 32 else builder.zext
            return extend(value, llvm.ir.IntType(64))

        return result(types.int64, types.int64), codegen

    return get


def _putter(bits: int, value_type: types.Scalar) -> Any:
    """Make an intrinsic `put(address, index, value)`; the value is truncated to `bits` bits."""

    @intrinsic
    def put(typing_context: Any, address: Any, index: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[2] if bits == 64 else builder.trunc(args[2], llvm.ir.IntType(bits))
            builder.store(value, _element(builder, bits, *args[:2]), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, value_type), codegen

    return put


get8 = _getter(8, types.int64)
_get16 = _getter(16, types.int64)
get32 = _getter(32, types.int64)
get64 = _getter(64, types.uint64)
put8 = _putter(8, types.int64)
_put32 = _putter(32, types.int64)
put64 = _putter(64, types.uint64)


@inner
def _look_up(tables, code):
    return get32(tables.info, get32(tables.blocks, code >> BLOCK_BITS) + (code & 127))


@inner
def _combining(info):
    return (info >> CCC_BITS) & CCC_MASK


@inner
def _lower(info):
    """Lower case minus code point."""
    return info >> LOWER_BITS if info & CLASS != 0 else np.int64(0)


@inner
def lower_ascii(word):
    """Eight ASCII bytes to lower case; bytes beyond ASCII stay."""
    upper = ((word & ~HIGH) + FROM_UPPER_A) & ~((word & ~HIGH) + ABOVE_UPPER_Z) & ~word & HIGH
    return word | upper >> np.uint64(2)


@inner
def _addresses(tables):
    """The `Addresses` of `load_tables()`."""
    return Addresses(
        address(tables.blocks),
        address(tables.info),
        address(tables.decomposed),
        address(tables.entry),
        address(tables.bounds),
        address(tables.pool),
        address(tables.pair_keys),
        address(tables.pair_values),
    )


@inner
def kinds(tables):
    """The `Kinds` of `load_tables()`."""
    return Kinds(
        address(tables.blocks),
        address(tables.info),
        address(tables.bare_blocks),
        address(tables.bare),
        address(tables.zeros),
        tables.zeros.size,
    )


@inner
def kind_of(code, where):
    """WORD, MARK, SPACELESS or the kind of separator that a code point in normal form is.

    where: the `Kinds` of the tables.
    """
    info = _look_up(where, code)
    if info & CLASS != 0:
        return info & CLASS
    return info >> LOWER_BITS << 2


@inner
def bare_of(code, where):
    """A code point without its accents: -1 where it is one itself, 0 where it has none."""
    return get32(where.bare, get32(where.bare_blocks, code >> BLOCK_BITS) + (code & 127))


@inner
def is_digit(code, where):
    """Whether a code point in normal form is a decimal digit, of any script."""
    if code < 0x80:
        return 0x30 <= code <= 0x39
    low, high = np.int64(0), where.digits
    while low < high:
        middle = (low + high) >> 1
        if get32(where.zeros, middle) > code:
            high = middle
        else:
            low = middle + 1
    return code - get32(where.zeros, low - 1) < 10


@inner
def _load_last(data, at, stop):
    """Load the fewer than eight bytes data[at:stop], and zeros behind them."""
    word = np.uint64(0)
    for i in range(stop - 1, at - 1, -1):
        word = (word << np.uint64(8)) | np.uint64(get8(data, i))
    return word


@inner
def load_bytes(data, at, stop):
    """Eight bytes from data[at], zeros from data[stop]."""
    if at + 8 <= stop:
        return get64(data + at, 0)
    return _load_last(data, at, stop)


@inner
def _bits(word, shift, mask, left):
    return ((word >> np.uint64(shift)) & np.uint64(mask)) << np.uint64(left)


@inner
def decode(word):
    """(code point, bytes) of the UTF-8 at the low end of `word`; 0 bytes if malformed."""
    code = np.int64(0)
    size = np.int64(0)
    if word & HIGH_BIT == np.uint64(0):
        code = np.int64(word & np.uint64(0x7F))
        size = np.int64(1)
    elif word & np.uint64(0xC0E0) == np.uint64(0x80C0):
        code = np.int64(_bits(word, 0, 0x1F, 6) | _bits(word, 8, 0x3F, 0))
        if code >= 0x80:
            size = np.int64(2)
    elif word & np.uint64(0xC0C0F0) == np.uint64(0x8080E0):
        code = np.int64(
            _bits(word, 0, 0xF, 12) | _bits(word, 8, 0x3F, 6) | _bits(word, 16, 0x3F, 0)
        )
        if code >= 0x800 and code & 0xF800 != 0xD800:
            size = np.int64(3)
    elif word & np.uint64(0xC0C0C0F8) == np.uint64(0x808080F0):
        code = np.int64(
            _bits(word, 0, 0x7, 18)
            | _bits(word, 8, 0x3F, 12)
            | _bits(word, 16, 0x3F, 6)
            | _bits(word, 24, 0x3F, 0)
        )
        if 0x10000 <= code < 0x110000:
            size = np.int64(4)
    return code, size


@inner
def malformed_size(word):
    """Bytes that one U+FFFD stands for: the longest start of a well-formed sequence, or 1."""
    lead = np.int64(word & np.uint64(0xFF))
    second = np.int64(_bits(word, 8, 0xFF, 0))
    low, high = 0x80, 0xBF
    if lead == 0xE0:
        low = 0xA0
    elif lead == 0xED:
        high = 0x9F
    elif lead == 0xF0:
        low = 0x90
    elif lead == 0xF4:
        high = 0x8F
    if lead < 0xE0 or lead > 0xF4 or second < low or second > high:
        return 1
    if lead < 0xF0 or word & np.uint64(0xC00000) != np.uint64(0x800000):
        return 2
    return 3


@inner
def encode(code):
    """(UTF-8 of a code point at the low end of a word, its bytes)."""
    c = np.uint64(code)
    if code < 0x80:
        return c, np.int64(1)
    if code < 0x800:
        return np.uint64(0x80C0) | _bits(c, 6, 0x1F, 0) | _bits(c, 0, 0x3F, 8), np.int64(2)
    if code < 0x10000:
        word = np.uint64(0x8080E0) | _bits(c, 12, 0xF, 0) | _bits(c, 6, 0x3F, 8)
        return word | _bits(c, 0, 0x3F, 16), np.int64(3)
    word = np.uint64(0x808080F0) | _bits(c, 18, 0x7, 0) | _bits(c, 12, 0x3F, 8)
    return word | _bits(c, 6, 0x3F, 16) | _bits(c, 0, 0x3F, 24), np.int64(4)


@inner
def _pair(first, second, tables):
    """Find the primary composite of two code points, -1 for none."""
    if HANGUL_V <= second < HANGUL_T + HANGUL_TS:
        if HANGUL_L <= first < HANGUL_L + HANGUL_LS and second < HANGUL_V + HANGUL_VS:
            index = (first - HANGUL_L) * HANGUL_VS + (second - HANGUL_V)
            return np.int64(HANGUL_S + index * HANGUL_TS)
        if (
            HANGUL_S <= first < HANGUL_S + HANGUL_SYLLABLES
            and (first - HANGUL_S) % HANGUL_TS == 0
            and second > HANGUL_T
        ):
            return np.int64(first + second - HANGUL_T)
        return np.int64(-1)
    key = (np.uint64(first) << np.uint64(POINT_BITS)) | np.uint64(second)
    slot = (key * PAIR_MIX) >> PAIR_SHIFT
    while True:
        seen = get64(tables.pair_keys, np.int64(slot))
        if seen == key:
            return get32(tables.pair_values, np.int64(slot))
        if seen == np.uint64(0):
            return np.int64(-1)
        slot = (slot + np.uint64(1)) & PAIR_SLOT_MASK


@inner
def _entry(tables, code):
    """Look up the number of a decomposition, 0 for none; Hangul has none here."""
    return _get16(tables.entry, get32(tables.decomposed, code >> BLOCK_BITS) + (code & 127))


@inner
def _decompose(code, tables, points, count):
    """Append the full decomposition of `code`, at most 18 points; their number in all."""
    entry = _entry(tables, code)
    if entry != 0:
        for i in range(get32(tables.bounds, entry), get32(tables.bounds, entry + 1)):
            part = get32(tables.pool, i)
            _put32(points, count, part | _combining(_look_up(tables, part)) << POINT_BITS)
            count += 1
    elif HANGUL_S <= code < HANGUL_S + HANGUL_SYLLABLES:
        index = code - HANGUL_S
        final = index % HANGUL_TS
        index //= HANGUL_TS
        _put32(points, count, HANGUL_L + index // HANGUL_VS)
        _put32(points, count + 1, HANGUL_V + index % HANGUL_VS)
        count += 2
        if final != 0:
            _put32(points, count, HANGUL_T + final)
            count += 1
    else:
        _put32(points, count, code | _combining(_look_up(tables, code)) << POINT_BITS)
        count += 1
    return count


@inner
def _collect(data, at, stop, tables, points, room):
    """Decompose the segment that begins at `at`; (its end, number of points).

    It takes one code point and all that join it, and ends before a malformed sequence. The number
    is -1 when the segment needs more than `room` points.
    """
    count = np.int64(0)
    first = True
    while at < stop:
        code, size = decode(load_bytes(data, at, stop))
        info = _look_up(tables, code)
        if size != 0 and info == VANISHES:
            at += size
            continue
        if size == 0 or not (first or info & JOINS):
            break
        if count + LONGEST > room:
            return at, np.int64(-1)
        count = _decompose(code, tables, points, count)
        at += size
        first = False
    return at, count


@inner
def _order_by_counting(points, begin, end):
    """Sort points[begin:end] by combining class, keeping the order of equal ones."""
    ends = np.zeros(257, np.int64)
    run = np.empty(end - begin, np.int32)
    for i in range(run.size):
        run[i] = get32(points, begin + i)
        ends[(run[i] >> POINT_BITS) + 1] += 1
    for ccc in range(256):
        ends[ccc + 1] += ends[ccc]
    for i in range(run.size):
        ccc = run[i] >> POINT_BITS
        _put32(points, begin + ends[ccc], run[i])
        ends[ccc] += 1


@inner
def _order(points, count):
    """Canonical ordering: sort every run of marks with a combining class by it, stably."""
    begin = np.int64(0)
    while begin < count:
        if get32(points, begin) <= POINT_MASK:
            begin += 1
            continue
        end = begin + 1
        while end < count and get32(points, end) > POINT_MASK:
            end += 1
        if end - begin > LONG_RUN:
            _order_by_counting(points, begin, end)
        else:
            for i in range(begin + 1, end):
                point = get32(points, i)
                j = i
                while j > begin and get32(points, j - 1) >> POINT_BITS > point >> POINT_BITS:
                    _put32(points, j, get32(points, j - 1))
                    j -= 1
                _put32(points, j, point)
        begin = end


@inner
def _compose(points, count, tables):
    """Canonical composition in place; the number of points left. Drops the combining classes."""
    starter = np.int64(-1)
    kept = np.int64(0)
    last = np.int64(0)
    for i in range(count):
        point = get32(points, i)
        code = point & POINT_MASK
        ccc = point >> POINT_BITS
        if starter >= 0 and (kept == starter + 1 or last < ccc):
            composite = _pair(get32(points, starter), code, tables)
            if composite >= 0:
                _put32(points, starter, composite)
                continue
        if ccc == 0:
            starter = kept
        last = ccc
        _put32(points, kept, code)
        kept += 1
    return kept


@inner
def _put_points(points, count, tables, out, length):
    """Lower and write a composed segment; the new length."""
    for i in range(count):
        code = get32(points, i)
        word, size = encode(code + _lower(_look_up(tables, code)))
        put64(out + length, 0, word)
        length += size
    return length


@inner
def _copy(source, size, target):
    # A slice assignment would take two seconds to compile, for its error message.
    for i in range(size):
        put8(target, i, get8(source, i))


@inner
def _stays(code, ccc, previous, tables):
    """Whether `code`, a quick-check maybe right after `previous`, leaves it and itself alone."""
    if ccc != 0 and _entry(tables, previous) != 0:
        return False
    return _pair(previous, code, tables) < 0


@inner
def _single(code, tables):
    """Give what `code`, which NFKC replaces, becomes if that is one code point; else -1."""
    entry = _entry(tables, code)
    begin = get32(tables.bounds, entry)
    if get32(tables.bounds, entry + 1) == begin + 1:
        return get32(tables.pool, begin)
    return np.int64(-1)


@inner
def behind_marks(data, at, stop, where):
    """Where the combining marks end that data[at:stop], well-formed UTF-8, begins with.

    where: `kinds`.
    """
    source = address(data)
    while at < stop and data[at] >= 0x80:
        code, size = decode(load_bytes(source, at, stop))
        if size == 0 or kind_of(code, where) != MARK:
            break
        at += size
    return at


@inner
def is_point_by_point(data, start, stop, tables):
    """Whether `fold` makes one code point of each one of a well-formed text, whatever is beside it.

    data, start, stop, tables: as in `fold`.
    """
    source = address(data)
    where = _addresses(tables)
    at = start
    while at < stop:
        word = load_bytes(source, at, stop)
        if word & HIGH_BIT == np.uint64(0):
            at += min(trailing_zeros(word & HIGH) >> 3, stop - at)
            continue
        code, size = decode(word)
        info = _look_up(where, code)
        if size == 0 or info == VANISHES:
            return False
        if info & SPECIAL != 0:
            is_replaced = info & SPECIAL == NO and info & JOINS == 0
            if not is_replaced or _single(code, where) < 0:
                return False
        at += size
    return True


FOLD_TYPE = types.Tuple((types.int64, types.int64, types.uint8[::1], types.int32[::1]))(
    BYTES,
    types.int64,
    types.int64,
    TABLES_TYPE,
    types.boolean,
    types.uint8[::1],
    types.int32[::1],
)
"""The signature of `fold`."""


@shared(FOLD_TYPE)
def fold(data, start, stop, tables, replace, out, points):
    """Normalise the UTF-8 document data[start:stop]: (length, bad, out, points).

    data: uint8. start, stop: int64. tables: `load_tables()`. replace: malformed sequences become
    U+FFFD, as `bytes.decode("utf-8", "replace")` places them. out: uint8, points: int32, scratch;
    they come back because they may have grown.

    out[:length] is the document, without what vanishes, after NFKC and lower case, as UTF-8. At
    least SLACK bytes behind it are spare. bad: -1 when the document is well formed. Otherwise,
    without `replace`, it is the offset from `start` of the first malformed sequence, and length is
    0; with it, -1 - replacements.
    """
    # At any time `out` has room for `room` times the bytes not yet read: no code point needs more
    # than twice its bytes, unless it decomposes, and U+FFFD has three. `previous` is the last code
    # point, `last` its combining class; `mark` the last boundary, with the length before it.
    room = 3 if replace else 2
    if out.size < room * (stop - start) + SLACK:
        out = np.empty((room + 1) * (stop - start) + SLACK, np.uint8)
    source, target = address(data), address(out)
    where = _addresses(tables)
    at = start
    length = np.int64(0)
    last = np.int64(0)
    previous = np.int64(0)
    replaced = np.int64(0)
    mark, mark_length = at, length
    while at < stop:
        word = load_bytes(source, at, stop)
        if word & HIGH_BIT == np.uint64(0):
            size = min(trailing_zeros(word & HIGH) >> 3, stop - at)
            put64(target + length, 0, lower_ascii(word))
            at += size
            length += size
            last = np.int64(0)
            previous = get8(source, at - 1)
            mark, mark_length = at - 1, length - 1
            continue
        code, size = decode(word)
        if size == 0:
            if not replace:
                return np.int64(0), at - start, out, points
            replaced += 1
            at += malformed_size(word)
            put64(target + length, 0, REPLACEMENT_WORD)
            length += 3
            last = np.int64(0)
            previous = np.int64(REPLACEMENT)
            mark, mark_length = at, length
            continue
        info = _look_up(where, code)
        if info == VANISHES:
            at += size
            continue
        ccc = np.int64(0)
        now = code
        if info & SPECIAL == 0:
            mark, mark_length = at, length
        else:
            ccc = _combining(info)
            stable = ccc == 0 or last <= ccc
            if info & MAYBE:
                stable = last == 0 and _stays(code, ccc, previous, where)
                if stable and ccc == 0:
                    mark, mark_length = at, length
            elif info & NO:
                stable = False
                if info & JOINS == 0:
                    mark, mark_length = at, length
                    now = _single(code, where)
                    stable = now >= 0
            if not stable:
                length = mark_length
                at, count = _collect(source, mark, stop, where, address(points), points.size)
                while count < 0:
                    points = np.empty(2 * points.size + LONGEST, np.int32)
                    at, count = _collect(source, mark, stop, where, address(points), points.size)
                _order(address(points), count)
                count = _compose(address(points), count, where)
                need = length + 5 * count + room * (stop - at) + SLACK
                if out.size < need:
                    grown = np.empty(need + need // 4, np.uint8)
                    _copy(target, length, address(grown))
                    out = grown
                    target = address(out)
                length = _put_points(address(points), count, where, target, length)
                last = np.int64(0)
                previous = np.int64(0)
                mark, mark_length = at, length
                continue
            if now != code:
                info = _look_up(where, now)
        delta = _lower(info)
        put_size = size
        if delta != 0 or now != code:
            word, put_size = encode(now + delta)
        put64(target + length, 0, word)
        length += put_size
        at += size
        last = ccc
        previous = now
    return length, np.int64(-1) - replaced, out, points
