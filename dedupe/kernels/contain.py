"""Items of test sets against documents: which of an item's shingles stand in one window of a row.

`scan_rows` lets documents stream past all items; what it leaves of a row are the places of shingles
that items have, and short questions that stand in it with their answer. Once it is known which
shingles are common, `match_rows` finds in these places each item of which enough stands in one
window. `locate_pairs` reads the few rows with such an item again, for what is shown of them.

A shingle is a polynomial of the hashes of its tokens modulo 2**64, mixed, as in `text`. Shingles of
items have numbers, in the order in which they first come.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from dedupe.kernels import inner, kernel
from dedupe.kernels.array_types import BYTES, INT64, UINT32, UINT64
from dedupe.kernels.buffers import grown, grown_rows
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, ZERO
from dedupe.kernels.intrinsics import bytes_in, prefetch
from dedupe.kernels.rows import RULES_TYPE
from dedupe.kernels.scripts import SCRIPTS, script_of_row
from dedupe.kernels.text import (
    BACKSLASH,
    BLANK,
    DIGEST_NOTHING,
    FINAL,
    LINE_FEED,
    ROLL,
    count_spaceless,
    hash_text,
    new_scratch,
    read_text,
    token_edges,
)
from dedupe.kernels.unicode import SLACK, TABLES_TYPE, behind_marks, is_point_by_point, kinds

LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
SIX = np.uint64(6)
LAST_BIT = np.uint64(63)
MOST_SHIFT = np.uint64(33)
AHEAD = 16
"""Shingles before a shingle is put into a table its slot is asked for."""
SPARSE = 8
"""Hits are sorted where only one of so many shingles of a row is among them."""

# Of the 64 bytes from a place on those that are not ASCII, and backslashes, as bits.
_odd_bytes = bytes_in((0x5C, 0x5C), (0x80, 0xFF))

OF_ENTRY, OF_ANCHOR = 1, 2
"""Bits of what a shingle is: one that is counted, and one by which a short question is found."""
KIND = np.uint64(40)
NUMBER = np.uint64((1 << 40) - 1)
ENTRY_BIT = np.uint64(OF_ENTRY << 40)
ANCHOR_BIT = np.uint64(OF_ANCHOR << 40)


class Shingles(NamedTuple):
    """The shingles of all items, for kernels.

    table: uint64, two cells for each slot: a shingle, and what it is: its number, and above `KIND`
    bits its kinds, see `OF_ENTRY`; 0 for a free slot. shift: int64, 64 - the bits of the number of
    slots. sizes: int64, tokens in a shingle, each size that items have. filters: uint64, one filter
    for each size: in the word that a shingle's upper bits say, two bits that the lowest say are set
    for each shingle of that size. filter_starts: int64[sizes], the first word of each.
    filter_shifts: int64[sizes], 64 - the bits of the number of its words.
    """

    table: npt.NDArray[np.uint64]
    shift: int
    sizes: npt.NDArray[np.int64]
    filters: npt.NDArray[np.uint64]
    filter_starts: npt.NDArray[np.int64]
    filter_shifts: npt.NDArray[np.int64]


class Shorts(NamedTuple):
    """Items with short questions, for kernels, by the shingle of the question that is looked up.

    anchors: uint32, numbers of such shingles, ascending. bounds: int64[anchors + 1]; shorts
    bounds[i] to bounds[i + 1] are looked up by anchor i. places: int64, the place of the shingle in
    the question. question_bounds, questions, answer_bounds, answers: int64 and uint64, the tokens
    of both. most: int64, tokens from the first of both to the last, at most.
    """

    anchors: npt.NDArray[np.uint32]
    bounds: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    question_bounds: npt.NDArray[np.int64]
    questions: npt.NDArray[np.uint64]
    answer_bounds: npt.NDArray[np.int64]
    answers: npt.NDArray[np.uint64]
    most: npt.NDArray[np.int64]


_WORDS, _NUMBERS, _PLACES = types.uint64[::1], types.uint32[::1], types.int64[::1]
SHINGLES_TYPE = types.NamedTuple([_WORDS, types.int64, _PLACES, _WORDS, _PLACES, _PLACES], Shingles)
SHORTS_TYPE = types.NamedTuple(
    [_NUMBERS, _PLACES, _PLACES, _PLACES, _WORDS, _PLACES, _WORDS, _PLACES], Shorts
)


@inner
def _mixed(total):
    mixed = (total ^ (total >> MOST_SHIFT)) * FINAL
    return mixed ^ (mixed >> HALF)


@inner
def _bits_of(value):
    """The two bits of a shingle in the word of a filter that its upper bits say."""
    return ONE << (value & LAST_BIT) | ONE << (value >> SIX & LAST_BIT)


@inner
def _shingles(tokens, start, count, size, out):
    """Write the shingles of `size` tokens that begin at the first `count` ones of tokens[start:].

    Each is made by itself, so that the processor makes several at a time; it does so only where it
    is plain that no place is negative: hence the slices.
    """
    first = tokens[start : start + count]
    for i in range(count):
        out[i] = first[i]
    for j in range(start + 1, start + size):
        next_ones = tokens[j : j + count]
        for i in range(count):
            out[i] = out[i] * ROLL + next_ones[i]
    for i in range(count):
        out[i] = _mixed(out[i])


@kernel(
    types.Tuple((types.uint64[::1], types.int64[::1], types.int64[::1], types.int64[::1]))(
        BYTES, INT64, BYTES, TABLES_TYPE, RULES_TYPE
    ),
)
def token_rows(data, offsets, valid, tables, rules):
    """The tokens of some texts: (hashes, bounds, spaceless, bad).

    data: uint8, the bytes of all texts. offsets: int64[rows + 1], delimit them. valid: uint8[rows],
    0 for a null. tables: `unicode.load_tables()`. rules: a `TextRules` of words, one at a time.
    Tokens of row i are hashes[bounds[i]:bounds[i + 1]], uint64; spaceless[i] of them are of scripts
    that are written without spaces. bad: int64, as in `rows.sign_rows`.
    """
    rows = offsets.size - 1
    where = kinds(tables)
    scratch = new_scratch()
    hashes = np.empty((offsets[rows] - offsets[0]) // 4 + SLACK, np.uint64)
    bounds = np.zeros(rows + 1, np.int64)
    spaceless = np.zeros(rows, np.int64)
    bad = np.full(rows, -1, np.int64)
    at = np.int64(0)
    for row in range(rows):
        start = offsets[row]
        stop = offsets[row + 1] if valid[row] else start
        if start < stop:
            length, is_ascii, bad_text, scratch = read_text(
                data, start, stop, tables, rules.replace, scratch
            )
            bad[row] = bad_text
            if bad_text < 0:
                if not is_ascii:
                    spaceless[row] = count_spaceless(length, where, scratch)
                _count, tokens, _form, _joined, _salt = hash_text(
                    length, is_ascii, where, False, rules.ignore, False, DIGEST_NOTHING, scratch
                )
                if at + tokens > hashes.size:
                    hashes = grown(hashes, (at + tokens) * 3 // 2)
                for i in range(tokens):
                    hashes[at + i] = scratch.hashes[i]
                at += tokens
        bounds[row + 1] = at
    return hashes[:at], bounds, spaceless, bad


@kernel(types.Tuple((types.uint64[::1], types.int64[::1]))(UINT64, INT64, INT64, INT64))
def list_shingles(tokens, begins, stops, sizes):
    """The shingles of lists of tokens, repeated ones too: (hashes, bounds).

    tokens: uint64. begins, stops: int64[lists], where each list is in them. sizes: int64[lists],
    tokens in a shingle; a list of fewer tokens has none.
    """
    lists = sizes.size
    ends = np.zeros(lists + 1, np.int64)
    for i in range(lists):
        count = stops[i] - begins[i] - sizes[i] + 1
        ends[i + 1] = ends[i] + max(count, np.int64(0))
    found = np.empty(ends[lists], np.uint64)
    for i in range(lists):
        count = ends[i + 1] - ends[i]
        _shingles(tokens, begins[i], count, sizes[i], found[ends[i] : ends[i + 1]])
    return found, ends


@kernel(types.uint32[::1](UINT64, INT64, INT64, types.int64, types.int64, SHINGLES_TYPE))
def number_shingles(values, bounds, sizes, kind, first, shingles):
    """Put shingles into a table, and give the number of each: uint32.

    values: uint64, a shingle may come several times. bounds: int64[lists + 1], delimit lists of
    them. sizes: int64[lists], tokens in a shingle of each. kind: int64, see `OF_ENTRY`. first:
    int64, how many the table has; new ones have the numbers from there on, in their order.
    shingles: written; the table must have more slots than there are shingles.
    """
    table, shift = shingles.table, np.uint64(shingles.shift)
    mask = np.int64((table.size >> 1) - 1)
    found = np.empty(values.size, np.uint32)
    of_kind = np.uint64(kind) << KIND
    count = first
    for one in range(sizes.size):
        which = np.searchsorted(shingles.sizes, sizes[one])
        start = shingles.filter_starts[which]
        to_word = np.uint64(shingles.filter_shifts[which])
        for i in range(bounds[one], bounds[one + 1]):
            value = values[i]
            ahead = values[min(i + AHEAD, values.size - 1)]
            prefetch(table, np.int64(ahead >> shift) << 1)
            prefetch(shingles.filters, start + np.int64(ahead >> to_word))
            slot = np.int64(value >> shift)
            while table[2 * slot + 1] != ZERO and table[2 * slot] != value:
                slot = (slot + 1) & mask
            if table[2 * slot + 1] == ZERO:
                table[2 * slot] = value
                table[2 * slot + 1] = np.uint64(count)
                count += 1
            shingles.filters[start + np.int64(value >> to_word)] |= _bits_of(value)
            table[2 * slot + 1] |= of_kind
            found[i] = np.uint32(table[2 * slot + 1] & NUMBER)
    return found


@inner
def _pass(values, count, which, shingles, passed, places):
    """Keep those of some values that may be shingles of items: how many there are.

    values: uint64, `count` shingles of one size, the one of number `which`. passed, places: uint64
    and int64, written: these, and where they are among all. Without a branch on what passes.
    """
    words = shingles.filters[shingles.filter_starts[which] :]
    to_word = np.uint64(shingles.filter_shifts[which])
    passing = ZERO  # unsigned, like the places of words: these need no look at whether they are < 0
    for i in range(count):
        value = values[i]
        bits = _bits_of(value)
        passed[passing] = value
        places[passing] = i
        passing += np.uint64(words[value >> to_word] & bits == bits)
    return np.int64(passing)


@inner
def _probe(table, slot, value):
    """What a shingle is, searched from a slot on; 0 where items do not have it."""
    mask = np.int64((table.size >> 1) - 1)
    while table[2 * slot + 1] != ZERO and table[2 * slot] != value:
        slot = (slot + 1) & mask
    return table[2 * slot + 1]


@inner
def _look_up(values, places, count, shingles):
    """Keep those of some values that are shingles of items: how many there are.

    values: uint64, `count` shingles, in whose place what they are is written. places: int64, of
    each. Nearly every one is decided by the first slot, and without a branch on what is in it, so
    that the processor waits for several at a time.
    """
    table, shift = shingles.table, np.uint64(shingles.shift)
    kept = ZERO
    for i in range(count):
        value, place = values[i], places[i]
        slot = (value >> shift) << ONE
        what = table[slot + ONE]
        is_other = table[slot] != value
        if is_other & (what != ZERO):
            what = _probe(table, np.int64(slot >> ONE), value)
        elif is_other:
            what = ZERO
        values[kept] = what
        places[kept] = place
        kept += np.uint64(what != ZERO)
    return np.int64(kept)


@kernel(types.Tuple((types.uint32[::1], types.int64[::1]))(UINT32, INT64))
def distinct_lists(numbers, bounds):
    """Each list of numbers sorted, and each number once: (numbers, bounds).

    numbers: uint32. bounds: int64[lists + 1], delimit the lists.
    """
    found = np.empty(numbers.size, np.uint32)
    ends = np.zeros(bounds.size, np.int64)
    at = np.int64(0)
    for i in range(bounds.size - 1):
        size = bounds[i + 1] - bounds[i]
        part = np.empty(size, np.uint32)
        for j in range(size):
            part[j] = numbers[bounds[i] + j]
        part.sort()
        for j in range(size):
            if j == 0 or part[j] != part[j - 1]:
                found[at] = part[j]
                at += 1
        ends[i + 1] = at
    return found[:at], ends


@inner
def _is_new(slots, mask, stamp, number):
    """Whether a number is none that was seen under that stamp; it is from now on."""
    wanted = (stamp << HALF) | number
    slot = np.int64((number * GOLDEN_RATIO) >> HALF) & mask
    while True:
        found = slots[slot]
        if found == wanted:
            return False
        if found >> HALF != stamp:
            slots[slot] = wanted
            return True
        slot = (slot + 1) & mask


@inner
def _same(left, at, right, begin, end):
    """Whether left[at:] begins with right[begin:end]; it is as long."""
    i = np.int64(0)
    while i < end - begin and left[at + i] == right[begin + i]:
        i += 1
    return i == end - begin


@inner
def _answer_near(hashes, tokens, first, end, shorts, short):
    """Where the answer of a short item stands next to its question: (first, end) of both.

    hashes: uint64, of the row's `tokens`. first, end: int64, where the question stands. Of several
    places that with the fewest tokens, and then the first; an end of 0 where there is none.
    """
    begin, stop = shorts.answer_bounds[short], shorts.answer_bounds[short + 1]
    size = stop - begin
    most = shorts.most[short]
    best_first = best_end = np.int64(0)
    for at in range(max(end - most, np.int64(0)), min(first + most, tokens) - size + 1):
        if at < end and at + size > first:
            continue
        low, high = min(at, first), max(at + size, end)
        if high - low > most or (best_end > 0 and high - low >= best_end - best_first):
            continue
        if _same(hashes, at, shorts.answers, begin, stop):
            best_first, best_end = low, high
    return best_first, best_end


@kernel(types.uint8[::1](BYTES, INT64, BYTES))
def scripts_of_texts(data, offsets, valid):
    """The script of each text, see `scripts.script_of_row`: uint8[texts].

    data: uint8, the bytes of all texts. offsets: int64[texts + 1], delimit them. valid:
    uint8[texts], 0 for a null.
    """
    letters = np.empty(len(SCRIPTS), np.int64)
    scripts = np.empty(valid.size, np.uint8)
    for text in range(valid.size):
        scripts[text] = np.uint8(script_of_row(data, offsets, valid, text, valid.size, letters))
    return scripts


@kernel(
    types.Tuple(
        (
            types.int64,
            types.int64[::1],
            types.uint32[::1],
            types.uint32[::1],
            types.uint64[::1],
            types.int64[:, ::1],
        )
    )(
        BYTES, INT64, BYTES, TABLES_TYPE, RULES_TYPE, SHINGLES_TYPE, SHORTS_TYPE, UINT32,
        types.int64, types.int64[::1], types.int64[::1],
    ),
)  # fmt: skip
def scan_rows(data, offsets, valid, tables, rules, shingles, shorts, sources, least, counts, bad):
    """What the documents of a batch have of items: (done, bounds, places, numbers, seen, found).

    data: uint8, the bytes of all texts. offsets: int64[rows + 1], delimit them. valid: uint8[rows],
    0 for a null. tables: `unicode.load_tables()`. rules: a `TextRules` of words, one at a time.
    shingles, shorts: the items. sources: uint32[rows], a number for the source of each row. least:
    int64, distinct shingles of items from which a row's are written. counts: int64[rows], written:
    tokens, or 1 for a text without any. bad: int64[rows], written, as in `rows.sign_rows`, at whose
    first malformed row the pass ends.

    done: rows that were done. Row i has the shingles numbers[bounds[i]:bounds[i + 1]], uint32, at
    the tokens `places`, uint32; by their sizes, and those of a size in order. seen: uint64, for
    each distinct one of every row its number, and in the lower half the source. found: int64[n, 4],
    short items: row, short, first token, end.
    """
    rows = offsets.size - 1
    where = kinds(tables)
    scratch = new_scratch()
    bounds = np.zeros(rows + 1, np.int64)
    places = np.empty(1 << 12, np.uint32)
    numbers = np.empty(1 << 12, np.uint32)
    seen = np.empty(1 << 12, np.uint64)
    found = np.empty((64, 4), np.int64)
    slots = np.zeros(1 << 10, np.uint64)
    passed = np.empty(1 << 12, np.uint64)
    passed_at = np.empty(1 << 12, np.int64)
    values = np.empty(1 << 12, np.uint64)
    used = hits = shown = np.int64(0)
    for row in range(rows):
        bounds[row + 1] = used
        counts[row] = 0
        bad[row] = -1
        start = offsets[row]
        stop = offsets[row + 1] if valid[row] else start
        if start >= stop:
            continue
        length, is_ascii, bad_text, scratch = read_text(
            data, start, stop, tables, rules.replace, scratch
        )
        bad[row] = bad_text
        if bad_text >= 0:
            return row, bounds, places[:used], numbers[:used], seen[:hits], found[:shown]
        count, tokens, _form, _joined, _salt = hash_text(
            length, is_ascii, where, False, rules.ignore, False, DIGEST_NOTHING, scratch
        )
        counts[row] = count
        hashes = scratch.hashes
        if passed.size < tokens + 1:
            passed = np.empty(tokens * 3 // 2, np.uint64)
            passed_at = np.empty(tokens * 3 // 2, np.int64)
            values = np.empty(tokens * 3 // 2, np.uint64)
        begun, distinct = used, np.int64(0)
        stamp = np.uint64(row + 1)
        for which in range(shingles.sizes.size):
            size = shingles.sizes[which]
            if tokens < size:
                continue
            _shingles(hashes, np.int64(0), tokens - size + 1, size, values)
            passing = _pass(values, tokens - size + 1, which, shingles, passed, passed_at)
            if used + passing > numbers.size:
                numbers = grown(numbers, (used + passing) * 2)
                places = grown(places, (used + passing) * 2)
            if hits + passing > seen.size:
                seen = grown(seen, (hits + passing) * 2)
            if slots.size < 4 * (used - begun + passing):
                slots = np.zeros(2 * slots.size, np.uint64)
                while slots.size < 8 * (used - begun + passing):
                    slots = np.zeros(2 * slots.size, np.uint64)
                for i in range(begun, used):
                    _is_new(slots, slots.size - 1, stamp, np.uint64(numbers[i]))
            passing = _look_up(passed, passed_at, passing, shingles)
            for i in range(passing):
                what = passed[i]
                number = what & NUMBER
                if what & ENTRY_BIT:
                    numbers[used] = np.uint32(number)
                    places[used] = np.uint32(passed_at[i])
                    used += 1
                    if _is_new(slots, slots.size - 1, stamp, number):
                        seen[hits] = number << HALF | np.uint64(sources[row])
                        hits += 1
                        distinct += 1
                if what & ANCHOR_BIT == ZERO:
                    continue
                group = np.searchsorted(shorts.anchors, np.uint32(number))
                for short in range(shorts.bounds[group], shorts.bounds[group + 1]):
                    first = passed_at[i] - shorts.places[short]
                    begin, stop_at = (
                        shorts.question_bounds[short],
                        shorts.question_bounds[short + 1],
                    )
                    end = first + stop_at - begin
                    if first < 0 or end > tokens:
                        continue
                    if not _same(hashes, first, shorts.questions, begin, stop_at):
                        continue
                    low, high = _answer_near(hashes, tokens, first, end, shorts, short)
                    if high > 0:
                        if shown == found.shape[0]:
                            found = grown_rows(found, 2 * shown)
                        found[shown, 0] = row
                        found[shown, 1] = short
                        found[shown, 2] = low
                        found[shown, 3] = high
                        shown += 1
        if distinct < least:
            used = begun
        bounds[row + 1] = used
    return rows, bounds, places[:used], numbers[:used], seen[:hits], found[:shown]


class Entries(NamedTuple):
    """Texts of items that are looked for by containment, for kernels.

    bounds: int64[entries + 1]; entry e has the shingles numbers[bounds[e]:bounds[e + 1]], uint32,
    those that stand in the fewest rows first. needed: int64, how many of them must stand in one
    window. spans: int64, between the first token of the first and that of the last shingle of a
    window, at most. posting_bounds: uint32[shingles + 1]; shingle s is one of the prefix of
    postings[posting_bounds[s]:posting_bounds[s + 1]], uint32.
    """

    bounds: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.uint32]
    needed: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]
    posting_bounds: npt.NDArray[np.uint32]
    postings: npt.NDArray[np.uint32]


ENTRIES_TYPE = types.NamedTuple([_PLACES, _NUMBERS, _PLACES, _PLACES, _NUMBERS, _NUMBERS], Entries)


@kernel(types.Tuple((types.uint32[::1], types.int64[::1]))(UINT32, INT64, UINT32, BYTES))
def by_rarity(numbers, bounds, rows, common):
    """The shingles of each entry that are not common, rarest first: (numbers, bounds).

    numbers: uint32, sorted in each entry. bounds: int64[entries + 1]. rows: uint32 for each
    shingle, in how many rows it stands. common: uint8, whether it is left out.
    """
    found = np.empty(numbers.size, np.uint32)
    ends = np.zeros(bounds.size, np.int64)
    at = np.int64(0)
    for i in range(bounds.size - 1):
        begin = at
        for j in range(bounds[i], bounds[i + 1]):
            if common[numbers[j]] == 0:
                found[at] = numbers[j]
                at += 1
        order = np.empty(at - begin, np.uint64)
        for j in range(begin, at):
            order[j - begin] = np.uint64(rows[found[j]]) << HALF | np.uint64(found[j])
        order.sort()
        for j in range(begin, at):
            found[j] = np.uint32(order[j - begin] & LOW)
        ends[i + 1] = at
    return found[:at], ends


@kernel(types.uint32[::1](UINT32, INT64, INT64, types.uint32[::1]))
def post_prefixes(numbers, bounds, needed, posting_bounds):
    """Which entries have each shingle in their prefix: postings, uint32; see `Entries`.

    numbers, bounds, needed: as there. posting_bounds: uint32[shingles + 1], zeros; written. The
    prefix of an entry of k shingles of which m are needed are its first k - m + 1: whatever has m
    of them has one of these.
    """
    for entry in range(needed.size):
        for j in range(bounds[entry], bounds[entry + 1] - needed[entry] + 1):
            posting_bounds[np.int64(numbers[j]) + 1] += np.uint32(1)
    for i in range(1, posting_bounds.size):
        posting_bounds[i] += posting_bounds[i - 1]
    postings = np.empty(posting_bounds[posting_bounds.size - 1], np.uint32)
    for entry in range(needed.size - 1, -1, -1):
        for j in range(bounds[entry], bounds[entry + 1] - needed[entry] + 1):
            number = np.int64(numbers[j])
            posting_bounds[number + 1] -= np.uint32(1)
            postings[posting_bounds[number + 1]] = np.uint32(entry)
    for i in range(1, posting_bounds.size - 1):  # each is where its list begins: one place ahead
        posting_bounds[i] = posting_bounds[i + 1]
    posting_bounds[posting_bounds.size - 1] = np.uint32(postings.size)
    return postings


@inner
def _slot_of(heads, mask, stamp, number):
    """Where a number stands in a table of `match_rows`, or the free place for it."""
    slot = np.int64((number * GOLDEN_RATIO) >> HALF) & mask
    while heads[slot] >> HALF == stamp and heads[slot] & LOW != number:
        slot = (slot + 1) & mask
    return slot


@inner
def _order(hits, total, first, last, which):
    """Order hits by what stands in their upper half, which no two have in common.

    first, last: int64, the least and the most of that. which: uint32, zeros for as many, left as
    they were. Most hits of an item stand side by side: then they are laid out and read again.
    """
    if last - first >= SPARSE * total:
        hits[:total].sort()
        return
    for i in range(total):
        which[np.int64(hits[i] >> HALF) - first] = np.uint32(hits[i] & LOW) + 1
    at = ZERO
    for i in range(last - first + 1):
        hits[at] = np.uint64(first + i) << HALF | np.uint64(which[i] - 1)
        at += np.uint64(which[i] > 0)
        which[i] = 0


@inner
def _best_window(hits, total, places, times, span):
    """(distinct shingles, first place, last place) of the best window.

    hits: uint64, of each hit its number and its shingle, in order. places: uint32, of each number.
    times: int64 zeros for each shingle, left as they were. span: int64, between two places of a
    window at most.
    """
    best = best_first = best_last = np.int64(0)
    left = inside = np.int64(0)
    for right in range(total):
        which = np.int64(hits[right] & LOW)
        place = np.int64(places[np.int64(hits[right] >> HALF)])
        inside += np.int64(times[which] == 0)
        times[which] += 1
        while place - np.int64(places[np.int64(hits[left] >> HALF)]) > span:
            gone = np.int64(hits[left] & LOW)
            times[gone] -= 1
            inside -= np.int64(times[gone] == 0)
            left += 1
        if inside > best:
            while times[np.int64(hits[left] & LOW)] > 1:
                times[np.int64(hits[left] & LOW)] -= 1
                left += 1
            best_first = np.int64(places[np.int64(hits[left] >> HALF)])
            best, best_last = inside, place
    for i in range(left, total):
        times[np.int64(hits[i] & LOW)] = 0
    return best, best_first, best_last


@kernel(
    types.Tuple((types.int64, types.int64[:, ::1]))(
        INT64, UINT32, UINT32, BYTES, ENTRIES_TYPE, types.int64
    ),
)
def match_rows(bounds, places, numbers, common, entries, most):
    """Every pair of a row and an entry of which as much as needed stands in one window.

    bounds, places, numbers: as `scan_rows` gives them. common: uint8 for each shingle, whether it
    is left out. entries: an `Entries`. most: int64, pairs after which no other row is looked at.
    Gives the rows that were done, and int64[pairs, 5] with what was found in them: row, entry,
    distinct shingles of the entry in the best window, first token of the first, first token of the
    last. Of several best windows it is the one that ends first, without repeated shingles at its
    beginning.
    """
    rows = bounds.size - 1
    found = np.empty((64, 5), np.int64)
    shown = np.int64(0)
    entry_count = entries.needed.size
    last_row = np.full(entry_count, -1, np.int64)
    heads = np.zeros(1 << 10, np.uint64)
    firsts = np.empty(1 << 10, np.int64)
    nexts = np.empty(1 << 10, np.int64)
    distinct = np.empty(1 << 10, np.uint32)
    which = np.zeros(1 << 10, np.uint32)
    hits = np.empty(1 << 10, np.uint64)
    times = np.zeros(1 << 10, np.int64)
    for row in range(rows):
        if shown >= most:
            return row, found[:shown]
        begin, end = bounds[row], bounds[row + 1]
        size = end - begin
        posted = np.int64(0)
        for i in range(begin, end):
            number = np.int64(numbers[i])
            posted += np.int64(entries.posting_bounds[number + 1] > entries.posting_bounds[number])
        if posted == 0:
            continue
        if heads.size < 4 * size:
            room = heads.size
            while room < 4 * size:
                room *= 2
            heads = np.zeros(room, np.uint64)
            firsts = np.empty(room, np.int64)
        if nexts.size < size:
            nexts = np.empty(2 * size, np.int64)
            distinct = np.empty(2 * size, np.uint32)
            which = np.zeros(2 * size, np.uint32)
        mask = heads.size - 1
        stamp = np.uint64(row + 1)
        count = np.int64(0)
        for i in range(end - 1, begin - 1, -1):  # so that each list is in order
            number = np.uint64(numbers[i])
            if common[numbers[i]]:
                continue
            slot = _slot_of(heads, mask, stamp, number)
            if heads[slot] >> HALF != stamp:
                heads[slot] = stamp << HALF | number
                firsts[slot] = -1
                distinct[count] = numbers[i]
                count += 1
            nexts[i - begin] = firsts[slot]
            firsts[slot] = i
        for i in range(count):
            number = np.int64(distinct[i])
            for posting in range(
                entries.posting_bounds[number], entries.posting_bounds[number + 1]
            ):
                entry = np.int64(entries.postings[posting])
                if last_row[entry] == row:
                    continue
                last_row[entry] = row
                low, high = entries.bounds[entry], entries.bounds[entry + 1]
                needed = entries.needed[entry]
                spare = high - low - needed
                total = last = np.int64(0)
                first = end
                for j in range(low, high):
                    slot = _slot_of(heads, mask, stamp, np.uint64(entries.numbers[j]))
                    if heads[slot] >> HALF != stamp:
                        spare -= 1
                        if spare < 0:
                            break
                        continue
                    at = firsts[slot]
                    while at >= 0:
                        if total == hits.size:
                            hits = grown(hits, 2 * total)
                        hits[total] = np.uint64(at) << HALF | np.uint64(j - low)
                        total += 1
                        first = min(first, at)
                        last = max(last, at)
                        at = nexts[at - begin]
                if spare < 0:
                    continue
                if times.size < high - low:
                    times = np.zeros(2 * (high - low), np.int64)
                _order(hits, total, first, last, which)
                best, best_first, best_last = _best_window(
                    hits, total, places, times, entries.spans[entry]
                )
                if best >= needed:
                    if shown == found.shape[0]:
                        found = grown_rows(found, 2 * shown)
                    found[shown, 0] = row
                    found[shown, 1] = entry
                    found[shown, 2] = best
                    found[shown, 3] = best_first
                    found[shown, 4] = best_last
                    shown += 1
    return rows, found[:shown]


@inner
def _longest_run(tokens, first, end, other, begin, stop):
    """Tokens in the longest run that tokens[first:end] and other[begin:stop] have in common.

    Every way to lay the one along the other is looked at, first that in which both begin together.
    A run longer than the longest so far has a token at each step of that many and one.
    """
    longest = np.int64(0)
    size, most = end - first, stop - begin
    for turn in range(size + most - 1):
        if longest == min(size, most):
            break
        shift = first + turn if turn < size else first + size - 1 - turn
        low, high = max(shift, first), min(shift + most, end)
        to = begin - shift
        at = low + longest
        while at < high:
            if tokens[at] == other[to + at]:
                start = at
                while start > low and tokens[start - 1] == other[to + start - 1]:
                    start -= 1
                at += 1
                while at < high and tokens[at] == other[to + at]:
                    at += 1
                longest = max(longest, at - start)
            at += longest + 1
    return longest


@inner
def _tokens_between(data, start, stop, tables, where, rules, scratch):
    """What tokens there are in a part of a text: (how many, whether edges are known, scratch).

    Where they are known, the first in scratch.hashes are two for each token: its first code point,
    and the one behind its last.
    """
    if start >= stop:
        return np.int64(0), False, scratch
    length, is_ascii, bad, scratch = read_text(data, start, stop, tables, rules.replace, scratch)
    if bad >= 0:
        return np.int64(0), False, scratch
    size, is_known = _known_edges(
        data, start, stop, length, is_ascii, tables, where, rules, scratch
    )
    return size >> 1, is_known, scratch


@inner
def _known_edges(data, start, stop, length, is_ascii, tables, where, rules, scratch):
    """The edges of tokens of a text that was read: (how many, whether they are known).

    See `_tokens_between`. They are where each code point of the text becomes one by itself.
    """
    size, is_whole = token_edges(length, is_ascii, where, rules.ignore, scratch)
    if not is_whole or is_ascii:
        return size, is_whole
    if not is_point_by_point(data, start, stop, tables):
        return size, False
    at = point = np.int64(0)
    for i in range(size):
        edge = np.int64(scratch.hashes[i])
        while at < edge:
            point += np.int64(not _is_inside(scratch.normal[at]))
            at += 1
        scratch.hashes[i] = np.uint64(point)
    return size, True


@inner
def _is_inside(byte):
    """Whether a byte is not the first of a code point."""
    return byte & np.uint8(0xC0) == np.uint8(0x80)


@inner
def _edge(data, start, stop, token, is_end, points, tables, where, rules, scratch):
    """The byte at which a token of data[start:stop] begins or ends: (byte, points, scratch).

    It begins behind the longest beginning of the text that does not have it, and ends before the
    longest end that has only tokens behind it, but with its marks: without the letter before them
    they would belong to what follows. points: int64 scratch, which may grow.
    """
    if points.size < stop - start + 1:
        points = np.empty(2 * (stop - start) + 2, np.int64)
    size = np.int64(0)
    for at in range(start, stop):
        if not _is_inside(data[at]):
            points[size] = at
            size += 1
    points[size] = stop
    total, _is_known, scratch = _tokens_between(data, start, stop, tables, where, rules, scratch)
    low, high = np.int64(0), size
    while low < high:
        middle = (low + high) >> 1
        if is_end:
            count, _is_known, scratch = _tokens_between(
                data, points[middle], stop, tables, where, rules, scratch
            )
            holds = count < total - token
        else:
            count, _is_known, scratch = _tokens_between(
                data, start, points[middle], tables, where, rules, scratch
            )
            holds = count > token
        if holds:
            high = middle
        else:
            low = middle + 1
    if is_end:
        return behind_marks(data, points[low], stop, where), points, scratch
    return points[max(low - 1, np.int64(0))], points, scratch


@inner
def _ends_clause(data, at):
    """Whether a full stop or a comma of Chinese and Japanese ends before a byte."""
    last, middle, first = data[at - 1], data[at - 2], data[at - 3]
    if first == 0xE3:
        return middle == 0x80 and (last == 0x81 or last == 0x82)
    return first == 0xEF and middle == 0xBC and last == 0x8C


@inner
def _piece_end(data, start, stop):
    """Where a piece of a text ends: words of ASCII without backslashes, or one that is not so.

    Other text is cut behind the punctuation of scripts without spaces, too: no token goes over it,
    and nothing is composed with it.
    """
    at = start
    while at + 64 <= stop and _odd_bytes(data, at) == ZERO:
        at += 64
    while at < stop and data[at] < 0x80 and data[at] != BACKSLASH:
        at += 1
    end = at
    while at < stop and end > start and data[end - 1] != BLANK and data[end - 1] != LINE_FEED:
        end -= 1
    if end > start:
        return end
    while at < stop and data[at] != BLANK and data[at] != LINE_FEED:
        at += 1
        if at - start >= 3 and _ends_clause(data, at):
            return at
    return min(at + 1, stop)


@inner
def _cut(data, start, stop, edges, pieces, tables, where, rules, scratch):
    """Cut a text into pieces: (how many, edges, pieces, scratch).

    pieces: int64[n, 4], of each where it begins and ends, and the tokens and code points before it.
    edges: int64, two for each token: its first code point, and the one behind its last; -1 where
    `_edge` must look for them. Both may grow.
    """
    count = before = points = np.int64(0)
    at = start
    while at < stop:
        to = _piece_end(data, at, stop)
        tokens, is_known, scratch = _tokens_between(data, at, to, tables, where, rules, scratch)
        if count == pieces.shape[0]:
            pieces = grown_rows(pieces, 2 * count)
        pieces[count, 0] = at
        pieces[count, 1] = to
        pieces[count, 2] = before
        pieces[count, 3] = points
        if edges.size < 2 * (before + tokens):
            edges = grown(edges, 4 * (before + tokens))
        for i in range(2 * tokens):
            edges[2 * before + i] = points + np.int64(scratch.hashes[i]) if is_known else -1
        before += tokens
        points += _characters(data, at, to)
        count += 1
        at = to
    return count, edges, pieces, scratch


@inner
def _piece_of(pieces, count, token):
    """The piece that has a token: the last before which there are no more tokens than before it."""
    low, high = np.int64(0), count
    while high - low > 1:
        middle = (low + high) >> 1
        if pieces[middle, 2] <= token:
            low = middle
        else:
            high = middle
    return low


@inner
def _characters(data, start, stop):
    """How many code points data[start:stop] has."""
    count = np.int64(0)
    for at in range(start, stop):
        count += np.int64(not _is_inside(data[at]))
    return count


@kernel(
    types.int64[:, ::1](
        BYTES, INT64, BYTES, TABLES_TYPE, RULES_TYPE, INT64, INT64, INT64, INT64, INT64, UINT64
    ),
)
def locate_pairs(data, offsets, valid, tables, rules, texts, firsts, ends, begins, stops, tokens):
    """Where pairs stand in the texts of a batch: int64[pairs, 3].

    data, offsets, valid, tables, rules: as in `token_rows`. texts: int64, the text of each pair,
    ascending. firsts, ends: int64, its first token in the text, and the one behind its last.
    begins, stops: int64, where the tokens of its item are in `tokens`, uint64.

    Written for each pair: the first character of these tokens and the one behind the last, counted
    in code points of the text as it is; tokens in the longest run that the item has in common with
    them.
    """
    where = kinds(tables)
    scratch = new_scratch()
    found = np.zeros((texts.size, 3), np.int64)
    edges = np.empty(1 << 10, np.int64)
    hashes = np.empty(1 << 10, np.uint64)
    points = np.empty(1 << 10, np.int64)
    pieces = np.empty((64, 4), np.int64)
    current = np.int64(-1)
    count = parts = np.int64(0)
    for pair in range(texts.size):
        text = texts[pair]
        start = offsets[text]
        stop = offsets[text + 1] if valid[text] else start
        if text != current:
            current = text
            count = np.int64(0)
            length, is_ascii, bad_text, scratch = read_text(
                data, start, stop, tables, rules.replace, scratch
            )
            if bad_text < 0:
                size, is_known = _known_edges(
                    data, start, stop, length, is_ascii, tables, where, rules, scratch
                )
                if edges.size < size:
                    edges = np.empty(2 * size, np.int64)
                for i in range(size):
                    edges[i] = np.int64(scratch.hashes[i])
                _count, count, _form, _joined, _salt = hash_text(
                    length, is_ascii, where, False, rules.ignore, False, DIGEST_NOTHING, scratch
                )
                if hashes.size < count:
                    hashes = np.empty(2 * count, np.uint64)
                for i in range(count):
                    hashes[i] = scratch.hashes[i]
                if not is_known:
                    parts, edges, pieces, scratch = _cut(
                        data, start, stop, edges, pieces, tables, where, rules, scratch
                    )
        first, end = firsts[pair], min(ends[pair], count)
        if end <= first:
            continue
        for side in range(2):
            token = first if side == 0 else end - 1
            place = 2 * token + side
            if edges[place] < 0:
                piece = _piece_of(pieces, parts, token)
                low = pieces[piece, 0]
                byte, points, scratch = _edge(
                    data, low, pieces[piece, 1], token - pieces[piece, 2], side == 1,
                    points, tables, where, rules, scratch,
                )  # fmt: skip
                edges[place] = pieces[piece, 3] + _characters(data, low, byte)
            found[pair, side] = edges[place]
        found[pair, 2] = _longest_run(hashes, first, end, tokens, begins[pair], stops[pair])
    return found
