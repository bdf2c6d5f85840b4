"""The two passes over documents: `sign_rows` for every row, `set_rows` for rows in components.

Both take the plain Arrow buffers of one batch of texts: `data` uint8, `offsets` int64[rows + 1]
into it, and `valid` uint8[rows], 0 where the text is null. A null text is an empty document.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types

from dedupe.kernels import kernel
from dedupe.kernels.array_types import BYTES, INT64, UINT32
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.minhash import band_keys, signature
from dedupe.kernels.text import shingle_row
from dedupe.kernels.unicode import SLACK, TABLES_TYPE
from dedupe.kernels.xxh3 import xxh3_128

EMPTY_SLOT = np.uint32(0xFFFFFFFF)


@kernel(
    types.int64(
        BYTES,
        INT64,
        BYTES,
        TABLES_TYPE,
        BYTES,
        types.boolean,
        types.int64,
        types.boolean,
        types.boolean,
        UINT32,
        UINT32,
        types.int64,
        types.uint64[:, ::1],
        types.uint64[:, ::1],
        types.int64[::1],
        types.int64[::1],
    ),
)
def sign_rows(
    data,
    offsets,
    valid,
    tables,
    secret,
    chars,
    shingle_size,
    replace,
    digest_bytes,
    multipliers,
    addends,
    rows_per_band,
    keys,
    digests,
    shingles,
    bad,
):
    """Sign the documents of a batch; returns the number of rows that were done.

    data: uint8, the bytes of all texts. offsets: int64[rows + 1], delimit them. valid: uint8[rows],
    0 where the text is null. tables: `unicode.load_tables()`. secret: `xxh3.SECRET`. chars:
    shingles are of code points, not of words. shingle_size: int64, tokens in a shingle. replace:
    malformed bytes are replaced by U+FFFD. digest_bytes: digests are of the bytes as they are, not
    of the tokens. multipliers, addends: uint32, see `minhash.permutations`. rows_per_band: int64,
    signature values in a band.

    Written for each row: keys uint64[rows, bands], the band keys; without bands no signature is
    made. digests uint64[rows, 2], low and high half. shingles int64[rows], how many there are; keys
    and digests of a row with 0 are left as they were. bad int64[rows], -1 for well-formed text;
    without `replace` the first malformed row ends the pass, and its `bad` is the byte offset of the
    first malformed sequence; with it, -1 - replacements.
    """
    rows = offsets.size - 1
    mapped = np.empty(1 << 16, np.uint8)
    joined = np.empty(1 << 16, np.uint8)
    points = np.empty(1 << 12, np.int32)
    hashes = np.empty(1 << 16, np.uint64)
    values = np.empty(multipliers.size, np.uint32)
    for row in range(rows):
        start = offsets[row]
        stop = offsets[row + 1] if valid[row] else start
        count, size, bad_row, mapped, points, joined, hashes = shingle_row(
            data, start, stop, tables, chars, shingle_size, replace, mapped, points, joined, hashes
        )
        bad[row] = bad_row
        if bad_row >= 0:
            return row
        shingles[row] = count
        if count == 0:
            continue
        if digest_bytes:
            low, high = xxh3_128(data, start, stop - start, secret)
        else:
            low, high = xxh3_128(joined, 0, size, secret)
        digests[row, 0] = low
        digests[row, 1] = high
        if keys.shape[1] > 0:
            signature(hashes, count, multipliers, addends, values)
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


@njit(nogil=True)
def _distinct(hashes, count, slots, out, at):
    """Write the distinct values of hashes[:count] to out[at:], in order of first appearance.

    slots: uint32 scratch of at least 8 * count, all EMPTY_SLOT, left as it was found. Few of many
    slots are taken, so that nearly every value finds its slot empty, which the processor then
    foresees.
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
                break
            slot = (slot + 1) & mask
    for slot in range(size):
        slots[slot] = EMPTY_SLOT
    return written


@kernel(
    types.Tuple((types.uint64[::1], types.int64[::1]))(
        BYTES,
        INT64,
        BYTES,
        TABLES_TYPE,
        types.boolean,
        types.int64,
        types.boolean,
    ),
)
def set_rows(data, offsets, valid, tables, chars, shingle_size, replace):
    """The shingle set of every row: (hashes uint64, offsets int64[rows + 1] into them).

    data, offsets, valid, tables, chars, shingle_size, replace: see `sign_rows`. The hashes of a row
    are distinct and in order of first appearance. Malformed text without `replace` gives an empty
    set: `sign_rows` has refused it before.
    """
    rows = offsets.size - 1
    mapped = np.empty(1 << 16, np.uint8)
    joined = np.empty(1 << 16, np.uint8)
    points = np.empty(1 << 12, np.int32)
    hashes = np.empty(1 << 16, np.uint64)
    slots = np.full(1 << 11, EMPTY_SLOT, np.uint32)
    out = np.empty((offsets[rows] - offsets[0]) // 5 + SLACK, np.uint64)
    bounds = np.zeros(rows + 1, np.int64)
    at = np.int64(0)
    for row in range(rows):
        start = offsets[row]
        stop = offsets[row + 1] if valid[row] else start
        count, _size, bad_row, mapped, points, joined, hashes = shingle_row(
            data, start, stop, tables, chars, shingle_size, replace, mapped, points, joined, hashes
        )
        if bad_row >= 0:
            count = 0
        if at + count > out.size:
            grown = np.empty((at + count) * 3 // 2, np.uint64)
            for i in range(at):
                grown[i] = out[i]
            out = grown
        if slots.size < 8 * count:
            slots = np.full(8 * count, EMPTY_SLOT, np.uint32)
        at = _distinct(hashes, count, slots, out, at)
        bounds[row + 1] = at
    return out[:at], bounds
