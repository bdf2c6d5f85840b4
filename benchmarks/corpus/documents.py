"""Documents of a made corpus: originals out of real sentences, and copies and edits of them.

Every row has its own counter-based random stream (splitmix64), keyed by its logical number, so that
a copy makes its original again instead of remembering it.
"""

from collections import namedtuple

import numpy as np
from numba import njit

KINDS = ("original", "exact", "format", "edit")
ORIGINAL, EXACT, FORMAT, EDIT = range(4)
NULL, PUNCTUATION = -1, -2  # lengths with a meaning of their own
BIG_CLUSTER = 50  # copies from which on the original is of ordinary length

# Typed constants: numba turns uint64 mixed with int64 into float64.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_SPACE, _NEWLINE, _QUOTE, _COMMA, _SEMICOLON = (np.uint8(c) for c in b' \n",;')
_CASE = np.uint8(32)

# `cluster_ends` adds up the copies of the first originals; `lengths` are equally likely numbers of
# units; `foreign` and `mixed` are shares of originals: in another language, English but not ASCII.
Plan = namedtuple("Plan", "rows originals seed lengths cluster_ends foreign mixed")
# Room for some rows: the text, and for each row what the corpus says of it.
Rows = namedtuple("Rows", "text offsets valid origin kind target tag")
jit = njit(cache=True, nogil=True)


@jit
def mix(x):
    """Scramble 64 bits, or an array of them, by the end of splitmix64."""
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


@jit
def _start(state, seed, purpose, number):
    """Begin the stream of a number."""
    key = mix(np.uint64(seed) * GOLDEN + np.uint64(purpose))
    state[0] = mix(key ^ mix(np.uint64(number) + GOLDEN))


@jit
def _below(state, n):
    """Draw an integer in [0, n), n < 2**31."""
    state[0] += GOLDEN
    return np.int64(((mix(state[0]) >> _S32) * np.uint64(n)) >> _S32)


def permute(numbers, rows, seed, inverse=False):
    """Permute [0, rows) pseudo-randomly: Feistel rounds, walked until inside."""
    half = max(((rows - 1).bit_length() + 1) // 2, 1)
    mask = (1 << half) - 1
    keys = [(seed * int(_M1) + turn * int(GOLDEN)) % 2**64 for turn in range(1, 5)]
    out, outside = numbers.copy(), np.ones(len(numbers), np.bool_)
    while outside.any():
        halves = out[outside] >> half, out[outside] & mask
        a, b = halves[::-1] if inverse else halves
        for key in keys[::-1] if inverse else keys:
            drawn = mix(b.astype(np.uint64) ^ np.uint64(key)) >> _S32
            a, b = b, a ^ drawn.astype(np.int64) & mask
        out[outside] = b << half | a if inverse else a << half | b
        outside = out >= rows
    return out


def digest(rows, seed):
    """64 pseudo-random bits for each row."""
    return mix(rows.astype(np.uint64) + mix(np.uint64(seed) ^ GOLDEN))


@jit
def _pick_sentence(state, pool, group):
    """Draw a sentence of a group, and its units; group 1 is mostly ASCII too."""
    if group == 1 and _below(state, 4) != 0:
        group = 0
    s = pool.groups[group] + _below(state, pool.groups[group + 1] - pool.groups[group])
    return pool.sentences[s], pool.sentences[s + 1] - pool.sentences[s]


@jit
def _compose(state, pool, group, length, units, n):
    """Append `length` units from at least three random sentences; returns the new count."""
    most, stop = max(4, length // 3), n + length
    while n < stop:
        a, size = _pick_sentence(state, pool, group)
        take = min(size, most, stop - n)
        if take < size:
            a += _below(state, size - take + 1)
        units[n : n + take] = np.arange(a, a + take)
        n += take
    return n


@jit
def _original(state, plan, pool, number, units):
    """Units of an original; returns (count, or a special length; group)."""
    _start(state, plan.seed, 1, number)
    draw, group = _below(state, 1 << 24) / (1 << 24), 0
    if draw < plan.foreign:
        s = pool.groups[2] + _below(state, pool.groups[-1] - pool.groups[2])
        group = np.searchsorted(pool.groups, s, side="right") - 1
    elif draw < plan.foreign + plan.mixed:
        group = 1
    length = plan.lengths[_below(state, len(plan.lengths))]
    if number < len(plan.cluster_ends) - 1:
        if plan.cluster_ends[number + 1] - plan.cluster_ends[number] > BIG_CLUSTER:
            length = 20 + _below(state, 380)
        length = max(length, 1)
    if length <= 0:
        return length, group
    n = 0
    if group == 1:
        s = pool.groups[1] + _below(state, pool.groups[2] - pool.groups[1])
        a = pool.sentences[s]
        n = min(length, pool.sentences[s + 1] - a)
        units[:n] = np.arange(a, a + n)
    return _compose(state, pool, group, length - n, units, n), group


@jit
def _edit_units(state, target, pool, group, units, out):
    """Replace, insert and delete single units until the similarity reaches the target."""
    n = len(units)
    shingles = max(1, n - 4)
    changes = np.zeros(n, np.int8)
    alive, grown = shingles, 0
    for _ in range(20 * n):
        at = _below(state, n)
        if changes[at] & 3:
            continue
        op = 1 + _below(state, 3)
        if op == 3 and n + grown <= 5:
            op = 1
        grown += 1 if op == 2 else (-1 if op == 3 else 0)
        changes[at] |= op
        # Bit 2 marks the dead shingle that starts here; an insertion comes before its unit.
        for start in range(max(0, at - 4), min(at if op == 2 else at + 1, shingles)):
            alive -= changes[start] & 4 == 0
            changes[start] |= 4
        now = max(1, n + grown - 4)
        if alive <= target * (shingles + now - alive) + 4:
            break
    m = 0
    for k in range(n):
        op = changes[k] & 3
        if op == 1 or op == 2:
            first, size = _pick_sentence(state, pool, group)
            out[m] = first + _below(state, size)
            m += 1
        if op == 0 or op == 2:
            out[m] = units[k]
            m += 1
    return m


@jit
def _edit_drop(state, target, units, out):
    """Leave out one to three spans; returns 0 where no span would be left out."""
    n = len(units)
    spans = 1 + _below(state, 3) if n >= 100 else 0
    shingles = max(1, n - 4)
    drop = round(shingles - 4 * spans - target * (shingles + 4 * spans))
    if drop < max(1, spans):
        spans, drop = 0, round(shingles * (1.0 - target))
    if drop < 1:
        return 0
    if spans == 0:  # one end of the document
        shift = drop if _below(state, 2) == 0 else 0
        out[: n - drop] = units[shift : shift + n - drop]
        return n - drop
    m, segment, each = 0, n // spans, drop // spans
    for p in range(spans):
        begin, end = p * segment, n if p == spans - 1 else (p + 1) * segment
        size = min(each + (drop - each * spans if p == 0 else 0), end - begin)
        hole = begin + _below(state, end - begin - size + 1)
        for k in range(begin, end):
            if k < hole or k >= hole + size:
                out[m] = units[k]
                m += 1
    return m


@jit
def _edit_add(state, target, pool, group, units, out):
    """Put further sentences before or behind."""
    n = len(units)
    more = max(1, round(max(1, n - 4) * (1.0 / target - 1.0)))
    before = _below(state, 3) == 0
    m = _compose(state, pool, group, more, out, 0) if before else 0
    out[m : m + n] = units
    return m + n if before else _compose(state, pool, group, more, out, n)


@jit
def _edit(state, target, pool, group, units, scratch, out):
    """Edit a list of units; returns its length."""
    mode = _below(state, 20)
    if mode < 3:
        m = _edit_drop(state, target, units, out)
        if m:
            return m
    elif mode < 6:
        return _edit_add(state, target, pool, group, units, out)
    elif mode < 8:  # half of it added, half of it scattered
        part = np.sqrt(target)
        units = scratch[: _edit_add(state, part, pool, group, units, scratch)]
        target = target / part
    return _edit_units(state, target, pool, group, units, out)


@jit
def _write_units(units, pool, out, at):
    """Write units, with a space where two from different places would run together."""
    begin = at
    for k, u in enumerate(units):
        if k and u != units[k - 1] + 1 and at > begin and out[at - 1] > 0x20:
            lead = at - 1
            while lead > begin and out[lead] & 0xC0 == 0x80:
                lead -= 1
            if not 0xE3 <= out[lead] <= 0xE9:
                out[at] = _SPACE
                at += 1
        end = at + pool.starts[u + 1] - pool.starts[u]
        out[at:end] = pool.data[pool.starts[u] : pool.starts[u + 1]]
        at = end
    while at > begin and out[at - 1] <= 0x20:
        at -= 1
    return at


@jit
def _reformat(state, text, out, at):
    """Write `text` with other case, white space and punctuation, but the same tokens."""
    begin, size = at, len(text)
    how = 1 + _below(state, 7)
    case = _below(state, 3) if how & 1 else -1  # upper, lower, capitals
    space = _below(state, 3) if how & 2 else -1  # one line, reflowed, doubled
    marks = how & 4
    width = 8 + _below(state, 12)
    if marks:
        out[at] = _QUOTE
        at += 1
    words, fresh = 0, True
    for i, c in enumerate(text):
        plain = i + 1 >= size or text[i + 1] < 0x80  # no combining mark follows
        if 65 <= c <= 90 and (case == 1 or (case == 2 and not fresh)):
            c += _CASE
        elif 97 <= c <= 122 and (case == 0 or (case == 2 and fresh)):
            c -= _CASE
        elif c == 10 or c == 32:
            words += 1
            if space == 0 or space == 1:
                c = _NEWLINE if space == 1 and words % width == 0 else _SPACE
            elif space == 2 and plain and _below(state, 3) == 0:
                out[at] = c
                at += 1
        elif marks and plain and c in (33, 44, 46, 58, 59, 63) and _below(state, 3) == 0:
            c = _COMMA if c != 44 else _SEMICOLON
        fresh = c <= 0x20
        out[at] = c
        at += 1
    end = _QUOTE if marks else _NEWLINE
    if marks or np.array_equal(out[begin:at], text):
        out[at] = end
        at += 1
    return at


@jit
def _kind_of(state, seed, number, head, n):
    """How a copy differs from its original; clusters are of three sorts."""
    _start(state, seed, 2, head)
    exact, formatted = ((12, 4), (4, 4), (1, 2))[_below(state, 3)]  # of 20
    _start(state, seed, 3, number)
    draw = _below(state, 20)
    if draw < exact or (draw >= exact + formatted and n < 6):
        return EXACT
    return FORMAT if draw < exact + formatted else EDIT


@jit
def fill(logical, plan, pool, first, rows):
    """Write rows from `first` on; returns the first row that found no room in `rows.text`."""
    longest = plan.lengths.max()
    room = np.empty((3, 4 * longest + 64), np.int32)
    units, edited, scratch = room[0], room[1], room[2]
    state = np.zeros(1, np.uint64)
    for row in range(first, len(logical)):
        number = head = logical[row]
        copy = number >= plan.originals
        if copy:
            head = np.searchsorted(plan.cluster_ends, number - plan.originals, side="right") - 1
        n, group = _original(state, plan, pool, head, units)
        own = pool.tags[_below(state, len(pool.tags))]
        if n > 0:
            own = pool.tags[np.searchsorted(pool.sentences, units[0], side="right") - 1]
        how, goal, source = ORIGINAL, np.nan, units[: max(n, 0)]
        if copy:
            how, goal = _kind_of(state, plan.seed, number, head, n), 1.0
            if _below(state, 2):
                own = pool.tags[_below(state, len(pool.tags))]
        if how == EDIT:
            goal = 0.5 + 0.5 * _below(state, 1 << 24) / (1 << 24)
            source = edited[: _edit(state, goal, pool, group, source, scratch, edited)]
        need = 64 + len(source)
        for u in source:
            need += pool.starts[u + 1] - pool.starts[u]
        at = end = rows.offsets[row]
        if at + 2 * need > len(rows.text):
            return row
        if n == PUNCTUATION:
            _start(state, plan.seed, 4, number)
            end = at + 1 + _below(state, 6)
            rows.text[at:end] = np.uint8(33 + _below(state, 15))
        elif how == FORMAT:
            plain = np.empty(need, np.uint8)
            size = _write_units(source, pool, plain, 0)
            end = _reformat(state, plain[:size], rows.text, at)
        else:
            end = _write_units(source, pool, rows.text, at)
        rows.offsets[row + 1] = end
        rows.valid[row] = n != NULL
        rows.origin[row], rows.kind[row] = head, how
        rows.target[row], rows.tag[row] = goal, own
    return len(logical)
