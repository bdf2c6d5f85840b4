"""Documents to token hashes to shingle hashes: one pass over Arrow buffers.

A document goes through three scratch buffers, which grow to the longest document seen:

    mapped   normalised text in which every separator is a space
    joined   its tokens (or, for character shingles, its runs) with one space between them;
             the digest is taken of this
    hashes   one 64-bit hash per token or code point, turned in place into one per shingle

ASCII documents are mapped eight bytes at a time; all others go through `unicode.fold`.
The hash of a token and of a shingle is defined by `token_hash` and `roll`, and again in plain
Python by the tests.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dedupe.kernels.intrinsics import equal_bytes, load64, store64, trailing_zeros
from dedupe.kernels.unicode import HIGH, SLACK, SPACES, fold, map_ascii

ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
SPACE = np.uint8(0x20)

SEED = np.uint64(0x9E3779B97F4A7C15)
WORD = np.uint64(0xD6E8FEB86659FD93)
FINAL = np.uint64(0xFF51AFD7ED558CCD)
ROLL = np.uint64(0xC4CEB9FE1A85EC53)
"""Odd multipliers of token hash and shingle hash."""


@njit(nogil=True)
def _fold_ascii(data, start, stop, out):
    """Map data[start:stop] to `out`; False if a byte is not ASCII (`out` is then worthless)."""
    seen = np.uint64(0)
    size = stop - start
    whole = size & ~7
    for i in range(0, whole, 8):
        word = load64(data, start + i)
        seen |= word
        store64(out, i, map_ascii(word))
    last = np.uint64(0)
    for i in range(size - 1, whole - 1, -1):
        last = (last << np.uint64(8)) | np.uint64(data[start + i])
    seen |= last
    store64(out, whole, map_ascii(last))
    return seen & HIGH == np.uint64(0)


@njit(nogil=True, inline="always")
def _absorb(state, word):
    state = (state ^ word) * WORD
    return state ^ (state >> np.uint64(32))


@njit(nogil=True, inline="always")
def _finish(state, size):
    state = (state ^ np.uint64(size)) * FINAL
    return state ^ (state >> np.uint64(32))


@njit(nogil=True)
def _find_tokens(mapped, length, edges):
    """Where tokens begin and end, in turn, as the first entries of `edges`; their number.

    mapped[length:] must be spaces for another 64 bytes.
    """
    count = 0
    before = np.uint64(0)
    for at in range(0, length + 1, 64):
        inside = ~equal_bytes(mapped, at, SPACE)
        turns = inside ^ (inside << np.uint64(1) | before)
        before = inside >> np.uint64(63)
        while turns != np.uint64(0):
            edges[count] = np.uint64(at + trailing_zeros(turns))
            turns &= turns - np.uint64(1)
            count += 1
    return count


@njit(nogil=True)
def _scan_tokens(mapped, length, joined, hashes):
    """Collapse runs of spaces into `joined`, hash each token; (bytes of joined, tokens).

    Two words hold nearly every token: they are copied with whatever follows it, which the next one
    overwrites, and hashed without a branch.
    """
    edges = _find_tokens(mapped, length, hashes)
    size = 0
    for i in range(edges >> 1):
        at = np.int64(hashes[2 * i])
        width = np.int64(hashes[2 * i + 1]) - at
        word = load64(mapped, at)
        after = load64(mapped, at + 8)
        store64(joined, size, word)
        store64(joined, size + 8, after)
        one = _absorb(SEED, word & (ALL >> np.uint64(64 - 8 * min(width, 8))))
        state = _absorb(one, after & (ALL >> np.uint64((128 - 8 * width) & 63)))
        if width <= 8:
            state = one
        if width > 16:
            state = _absorb(_absorb(SEED, word), after)
            for begin in range(16, width, 8):
                word = load64(mapped, at + begin)
                store64(joined, size + begin, word)
                word &= ALL >> np.uint64(64 - 8 * min(width - begin, 8))
                state = _absorb(state, word)
        hashes[i] = _finish(state, width)
        size += width + 1
        joined[size - 1] = SPACE
    return max(size - 1, 0), edges >> 1


@njit(nogil=True)
def _scan_points(joined, size, hashes):
    """Hash each code point of joined[:size], well-formed UTF-8, as a token of one; their number."""
    count = 0
    at = 0
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


@njit(nogil=True)
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


@njit(nogil=True)
def shingle_row(
    data, start, stop, tables, chars, shingle_size, replace, mapped, points, joined, hashes
):
    """The shingle hashes of one document.

    data: uint8, of which data[start:stop] is the document. start, stop: int64. tables:
    `unicode.load_tables()`. chars: shingles are of code points, not of words. shingle_size: int64,
    tokens in a shingle. replace: malformed bytes are replaced by U+FFFD. mapped, points, joined,
    hashes: scratch of uint8, int32, uint8 and uint64.

    Returns (shingles, bytes of joined, bad, mapped, points, joined, hashes). The shingle hashes are
    hashes[:shingles], not yet distinct. bad: that of `unicode.fold`. Scratch comes back because it
    may have grown.
    """
    need = stop - start + SLACK
    if mapped.size < need:
        mapped = np.empty(need + need // 4, np.uint8)
    bad = np.int64(-1)
    length = stop - start
    if not _fold_ascii(data, start, stop, mapped):
        length, bad, mapped, points = fold(
            data, start, stop, tables, not chars, replace, mapped, points
        )
    for i in range(0, 64, 8):
        store64(mapped, length + i, SPACES)
    if joined.size < length + SLACK:
        joined = np.empty(length + length // 4 + SLACK, np.uint8)
    if hashes.size < length + SLACK:
        hashes = np.empty(length + length // 4 + SLACK, np.uint64)
    size, count = _scan_tokens(mapped, length, joined, hashes)
    if chars:
        count = _scan_points(joined, size, hashes)
    return _roll(hashes, count, shingle_size), size, bad, mapped, points, joined, hashes
