"""The two passes over documents: `sign_rows` for every row, `set_rows` for rows in components.

A document has one field or several. Both passes take the plain Arrow buffers of the texts of one
batch, the first field of all rows, then the second one, and so on: `data` uint8, `offsets`
int64[fields * rows + 1] into it, and `valid` uint8[fields * rows], 0 where a text is null. A null
text is an empty field. All fields make one set of shingles, but a field's shingles are salted, so
that fields share none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import BYTES, INT64, UINT32, UINT64
from dedupe.kernels.buffers import grown
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.intrinsics import store64
from dedupe.kernels.minhash import EMPTY_SIGNATURE, add_to_signature, band_keys
from dedupe.kernels.scripts import SCRIPTS, script_of_row
from dedupe.kernels.text import (
    DIGEST_NOTHING,
    DIGEST_TEXT,
    DIGEST_WORDS,
    new_scratch,
    read_text,
    shingle_text,
)
from dedupe.kernels.unicode import SLACK, TABLES_TYPE, kinds
from dedupe.kernels.xxh3 import xxh3_128

EMPTY_SLOT = np.uint32(0xFFFFFFFF)


class TextRules(NamedTuple):
    """How texts become shingles and digests, for kernels.

    chars: shingles are of code points, not of words. shingle_size: int64, tokens in a shingle.
    ignore: int64, bits of `text.IGNORE_SYMBOLS` and so on. numbers: shingles are salted with the
    numbers in their field. replace: malformed bytes are replaced by U+FFFD. digest: int64, one of
    `DIGEST_TEXT` and so on.
    """

    chars: bool
    shingle_size: int
    ignore: int
    numbers: bool
    replace: bool
    digest: int


RULES_TYPE = types.NamedTuple(
    [types.boolean, types.int64, types.int64, types.boolean, types.boolean, types.int64], TextRules
)


@inner
def _salt(hashes, count, salt):
    """Salt shingles in place; salt 0 leaves them as they are."""
    if salt != np.uint64(0):
        for i in range(count):
            hashes[i] ^= salt


@inner
def _put_digested(source, start, size, salt, digested, at):
    """Append what a field is digested by: its text, how long it is, its salt; (digested, end)."""
    if digested.size < at + size + SLACK:
        digested = grown(digested, 2 * (at + size) + SLACK)
    for i in range(size):
        digested[at + i] = source[start + i]
    store64(digested, at + size, np.uint64(size))
    store64(digested, at + size + 8, salt)
    return digested, at + size + 16


@kernel(
    types.int64(
        BYTES,
        INT64,
        BYTES,
        TABLES_TYPE,
        BYTES,
        RULES_TYPE,
        UINT64,
        UINT64,
        UINT32,
        UINT32,
        types.int64,
        types.uint64[:, ::1],
        types.uint64[:, ::1],
        types.uint64[:, ::1],
        types.int64[::1],
        types.uint8[::1],
        types.uint64[:, ::1],
        types.int64[::1],
    ),
)
def sign_rows(
    data,
    offsets,
    valid,
    tables,
    secret,
    rules,
    field_salts,
    row_salts,
    multipliers,
    addends,
    rows_per_band,
    keys,
    digests,
    texts,
    shingles,
    scripts,
    bits,
    bad,
):
    """Sign the documents of a batch; returns the number of rows that were done.

    data: uint8, the bytes of all texts. offsets: int64[fields * rows + 1], delimit them. valid:
    uint8[fields * rows], 0 where the text is null. tables: `unicode.load_tables()`. secret:
    `xxh3.SECRET`. rules: a `TextRules`. field_salts: uint64, one for each field, which tells
    fields apart; 0 for a document's only one. row_salts: uint64[rows], which tell rows apart, or
    empty. multipliers, addends: uint32, see `minhash.permutations`. rows_per_band: int64, signature
    values in a band.

    Written for each row: keys uint64[rows, bands], the band keys; without bands no signature is
    made. digests uint64[rows, 2], of its shingles in their order, low and high half; with 0 rows,
    none is made. texts uint64[rows, 2], of what exact copies have in common. shingles int64[rows],
    how many there are; what is written for a row with 0 is left as it was. scripts uint8[rows], the
    numbers of their scripts, see `scripts.script_of_row`. bits uint64[rows, words], which are 0:
    a bit is set for each shingle; without words, none is. bad int64[rows], -1 for well-formed
    text; without `replace` the first malformed row ends the pass, and its `bad` is the byte offset,
    in its field, of the first malformed sequence; with it, -1 - replacements.

    A digest is that of the only field; of several ones it is taken of the digests or the texts of
    the fields one after the other, each text with its length and its salt behind it, as is the only
    one where anything is salted.
    """
    fields = field_salts.size
    rows = shingles.size
    where = kinds(tables)
    scratch = new_scratch()
    digested = np.empty(1 << 16, np.uint8)
    of_fields = np.empty(16 * fields, np.uint8)
    values = np.empty(multipliers.size, np.uint32)
    letters = np.empty(len(SCRIPTS), np.int64)
    is_plain = fields == 1 and row_salts.size == 0 and not rules.numbers
    for row in range(rows):
        values[:] = EMPTY_SIGNATURE
        scripts[row] = np.uint8(script_of_row(data, offsets, valid, row, rows, letters))
        total = np.int64(0)
        one = other = np.uint64(0)
        used = np.int64(0)
        low = high = np.uint64(0)
        bad[row] = -1
        for field in range(fields):
            text = field * rows + row
            start = offsets[text]
            stop = offsets[text + 1] if valid[text] else start
            count = form = joined = np.int64(0)
            salt = np.uint64(0)
            if start < stop:
                length, is_ascii, bad_text, scratch = read_text(
                    data, start, stop, tables, rules.replace, scratch
                )
                if bad_text >= 0:
                    bad[row] = bad_text
                    return row
                bad[row] += bad_text + 1
                count, _tokens, form, joined, salt = shingle_text(
                    length,
                    is_ascii,
                    where,
                    rules.chars,
                    rules.shingle_size,
                    rules.ignore,
                    rules.numbers,
                    rules.digest,
                    scratch,
                )
            total += count
            salt ^= field_salts[field]
            if row_salts.size > 0:
                salt ^= row_salts[row]
            if digests.shape[0] > 0:
                _salt(scratch.hashes, count, salt)
                for i in range(count if bits.shape[1] > 0 else 0):
                    bit = scratch.hashes[i] >> np.uint64(56)
                    bits[row, bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))
                one, other = xxh3_128(scratch.hashes.view(np.uint8), np.int64(0), 8 * count, secret)
                store64(of_fields, 16 * field, one)
                store64(of_fields, 16 * field + 8, other)
            if keys.shape[1] > 0 and count > 0:
                add_to_signature(scratch.hashes, count, multipliers, addends, values)
            if is_plain and rules.digest == DIGEST_TEXT:
                low, high = xxh3_128(scratch.form, np.int64(0), form, secret)
            elif is_plain and rules.digest == DIGEST_WORDS:
                low, high = xxh3_128(scratch.joined, np.int64(0), joined, secret)
            elif is_plain:
                low, high = xxh3_128(data, start, stop - start, secret)
            elif rules.digest == DIGEST_TEXT:
                digested, used = _put_digested(scratch.form, 0, form, salt, digested, used)
            elif rules.digest == DIGEST_WORDS:
                digested, used = _put_digested(scratch.joined, 0, joined, salt, digested, used)
            else:
                digested, used = _put_digested(data, start, stop - start, salt, digested, used)
        shingles[row] = total
        if total == 0:
            continue
        if not is_plain:
            low, high = xxh3_128(digested, np.int64(0), used, secret)
        texts[row, 0] = low
        texts[row, 1] = high
        if digests.shape[0] > 0:
            if fields > 1:
                one, other = xxh3_128(of_fields, np.int64(0), np.int64(16 * fields), secret)
            digests[row, 0] = one
            digests[row, 1] = other
        if keys.shape[1] > 0:
            band_keys(values, rows_per_band, keys[row])
    return rows


@kernel(
    types.void(BYTES, INT64, BYTES, types.uint64[:, ::1]),
)
def digest_rows(data, offsets, secret, digests):
    """Write the 128-bit digest of each value's bytes.

    data: uint8, the bytes of all values. offsets: int64[rows + 1], delimit them. secret:
    `xxh3.SECRET`. digests: uint64[rows, 2], low and high half, written.
    """
    for row in range(offsets.size - 1):
        low, high = xxh3_128(data, offsets[row], offsets[row + 1] - offsets[row], secret)
        digests[row, 0] = low
        digests[row, 1] = high


@inner
def _distinct(hashes, count, slots, out, at, repeats, used):
    """Write the distinct values of hashes[:count] to out[at:], in order of first appearance.

    slots: uint32 scratch of at least 8 * count, all EMPTY_SLOT, left as it was found. Few of many
    slots are taken, so that nearly every value finds its slot empty, which the processor then
    foresees. repeats: uint32, written from `used` on: for each value that was there before its
    place among all and among the distinct ones. Returns (end of out, end of repeats).
    """
    size = 16
    while size < 4 * count:
        size *= 2
    mask = np.int64(size - 1)
    written = at
    for i in range(count):
        value = hashes[i]
        slot = np.int64((value * GOLDEN_RATIO) >> np.uint64(20)) & mask
        while True:
            seen = slots[slot]
            if seen == EMPTY_SLOT:
                slots[slot] = np.uint32(written - at)
                out[written] = value
                written += 1
                break
            if out[at + np.int64(seen)] == value:
                repeats[used] = np.uint32(i)
                repeats[used + 1] = seen
                used += 2
                break
            slot = (slot + 1) & mask
    for slot in range(size):
        slots[slot] = EMPTY_SLOT
    return written, used


@kernel(
    types.Tuple(
        (
            types.uint64[::1],
            types.int64[::1],
            types.uint32[::1],
            types.int64[::1],
            types.uint32[::1],
        )
    )(BYTES, INT64, BYTES, TABLES_TYPE, RULES_TYPE, UINT64, UINT64),
)
def set_rows(data, offsets, valid, tables, rules, field_salts, row_salts):
    """The shingle sets of every row: (hashes, bounds, repeats, repeat bounds, words).

    data, offsets, valid, tables, rules, field_salts, row_salts: see `sign_rows`. Set row * fields +
    field is hashes[bounds[set]:bounds[set + 1]], uint64, distinct and in order of first appearance.
    Its shingles in the order of the text are these, but for those that were there before:
    repeats[repeat bounds[set]:repeat bounds[set + 1]], uint32, has for each of them its place among
    all shingles and that of its hash in the set. words: uint32, tokens of each set. Bounds are
    int64[fields * rows + 1]. Malformed text without `replace` gives an empty set: `sign_rows` has
    refused it before.
    """
    fields = field_salts.size
    sets = offsets.size - 1
    rows = sets // fields
    where = kinds(tables)
    scratch = new_scratch()
    slots = np.full(1 << 11, EMPTY_SLOT, np.uint32)
    out = np.empty((offsets[sets] - offsets[0]) // 5 + SLACK, np.uint64)
    repeats = np.empty(1 << 10, np.uint32)
    bounds = np.zeros(sets + 1, np.int64)
    repeat_bounds = np.zeros(sets + 1, np.int64)
    words = np.zeros(sets, np.uint32)
    at = np.int64(0)
    used = np.int64(0)
    for one in range(sets):
        row = one // fields
        field = one - row * fields
        text = field * rows + row
        start = offsets[text]
        stop = offsets[text + 1] if valid[text] else start
        length, is_ascii, bad_text, scratch = read_text(
            data, start, stop, tables, rules.replace, scratch
        )
        if bad_text < 0:
            count, tokens, _form, _joined, salt = shingle_text(
                length,
                is_ascii,
                where,
                rules.chars,
                rules.shingle_size,
                rules.ignore,
                rules.numbers,
                DIGEST_NOTHING,
                scratch,
            )
            salt ^= field_salts[field]
            if row_salts.size > 0:
                salt ^= row_salts[row]
            _salt(scratch.hashes, count, salt)
            words[one] = tokens
            if at + count > out.size:
                out = grown(out, (at + count) * 3 // 2)
            if used + 2 * count > repeats.size:
                repeats = grown(repeats, (used + 2 * count) * 3 // 2)
            if slots.size < 8 * count:
                slots = np.full(8 * count, EMPTY_SLOT, np.uint32)
            at, used = _distinct(scratch.hashes, count, slots, out, at, repeats, used)
        bounds[one + 1] = at
        repeat_bounds[one + 1] = used
    return out[:at], bounds, repeats[:used], repeat_bounds, words
