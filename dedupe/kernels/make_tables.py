"""Generate `unicode_tables.npz` from the running Python's `unicodedata`. Not used at run time.

    python -m dedupe.kernels.make_tables

The file is generated once, with the Unicode version it names, and shipped: the keep-list must not
depend on the Python that runs the engine. Arrays (C order, no objects):

    version            bytes of the Unicode version, uint8
    blocks, info       two-stage table: info[blocks[c >> 7] * 128 + (c & 127)], int32, is
                           bits 0-1    class of the lower-cased code point: 0 separator,
                                       1 word character, 2 mark, 3 spaceless; 0, too, of
                                       characters that vanish
                           bits 2-3    NFKC quick check: 0 yes, 1 maybe (can compose with a
                                       predecessor), 2 no (is replaced)
                           bit 4       joins: what stands before can change its normal form
                           bits 5-12   canonical combining class
                           bits 13-31  lower case minus code point, signed; of a separator its
                                       kind, see `KINDS`
    decomposed, entry  two-stage table of the same shape: number of the full compatibility
                       decomposition, uint16; 0 for none
    bounds, pool       decomposition k is pool[bounds[k]:bounds[k + 1]], int32
    bare_blocks, bare  two-stage table: the code point without the marks of `ACCENTS`, -1 where it
                       is such a mark, 0 where it has none, int32
    zeros              digits zero of all decimal digits, which follow in order, int32
    pair_keys,         primary compositions, open addressing with linear probing: key
    pair_values        first << 21 | second, uint64 (0: free slot), at slot key * PAIR_MIX >> 52
    assigned           [first, last] of each run of assigned code points, int32 (for tests)

Hangul syllables are algorithmic and stand in neither decompositions nor compositions.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CODE_POINTS = 0x110000
BLOCK = 128
PAIR_SLOTS = 4096
PAIR_MIX = 0x9E3779B97F4A7C15

SPACELESS = (
    "CJK UNIFIED IDEOGRAPH",
    "CJK COMPATIBILITY IDEOGRAPH",
    "IDEOGRAPHIC ",
    "VERTICAL IDEOGRAPHIC ",
    "OLD CHINESE ITERATION MARK",
    "HANGZHOU NUMERAL",
    "HIRAGANA ",
    "HENTAIGANA ",
    "KATAKANA ",
    "KATAKANA-HIRAGANA ",
    "VERTICAL KANA ",
    "MASU MARK",
    "THAI ",
    "LAO ",
    "KHMER ",
    "MYANMAR ",
    "TIBETAN ",
)
"""Prefixes of the names of letters and numbers in scripts written without spaces.

Half-width, square, circled and vertical forms need none: NFKC has replaced them before.
"""

SEPARATOR, WORD, MARK, SPACELESS_CLASS = range(4)
KINDS = "other", "space", "line", "open", "close", "quote", "symbol", "operator", "vanishing"
"""What a separator can be, in the order of their numbers."""
OPERATORS = "!#$%&*+-/<=>@^|~"
BOXES = range(0x2500, 0x2600)
"""Lines, blocks and geometric shapes: drawings and bullets, which say nothing."""
NO_TEXT = (0xFFFC, 0xFFFD)
"""These stand for what is no text, or was none."""
VANISHING = {
    *(0x00AD, 0x034F, 0x061C, 0x200B, 0x200E, 0x200F, 0xFEFF),
    *range(0x180B, 0x1810),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xE0000, 0xE0020),
    *range(0xE0080, 0xE1000),
}
"""Default-ignorable characters without a meaning of their own: soft hyphens, spaces without width,
marks of direction, joiners and selectors. ZWJ and ZWNJ are none of them, nor are the tags that tell
flags apart, from U+E0020."""
TAGS = range(0xE0020, 0xE0080)
ACCENTS = (
    (0x0300, 0x036F),
    (0x0483, 0x0487),
    (0x0591, 0x05C7),
    (0x0610, 0x061A),
    (0x064B, 0x065F),
    (0x0670, 0x0670),
    (0x06D6, 0x06ED),
    (0x08CA, 0x08FF),
    (0x1AB0, 0x1AFF),
    (0x1DC0, 0x1DFF),
    (0x20D0, 0x20F0),
    (0xFB1E, 0xFB1E),
    (0xFE20, 0xFE2F),
)
"""Where the marks of Latin, Greek, Cyrillic, Arabic and Hebrew are, first and last of each run."""
YES, MAYBE, NO = range(3)
HANGUL_SYLLABLES = range(0xAC00, 0xAC00 + 11172)
HANGUL_VOWELS_AND_FINALS = {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}


def token_class(char: str) -> int:
    """Class of a code point, by general category and name."""
    category = unicodedata.category(char)
    if ord(char) in VANISHING:
        return SEPARATOR
    if char == "_":
        return WORD
    if category[0] == "M":
        return MARK
    if category[0] not in "LN":
        return SEPARATOR
    if unicodedata.name(char, "").startswith(SPACELESS):
        return SPACELESS_CLASS
    return WORD


def separator_kind(char: str) -> int:
    """Number in `KINDS` of a code point that is no part of a word."""
    category = unicodedata.category(char)
    name = "other"
    if ord(char) in VANISHING:
        name = "vanishing"
    elif char in OPERATORS:
        name = "operator"
    elif char == "\t" or category == "Zs":
        name = "space"
    elif char in "\n\r\v\f\x85\u2028\u2029":
        name = "line"
    elif char in "([{":
        name = "open"
    elif char in ")]}":
        name = "close"
    elif char in "\"'`" or category in ("Pi", "Pf"):
        name = "quote"
    elif ord(char) in TAGS or (
        category in ("So", "Sc", "Sm") and ord(char) not in (*BOXES, *NO_TEXT)
    ):
        name = "symbol"
    return KINDS.index(name)


def bare(char: str) -> int:
    """The code point without `ACCENTS`: -1 where it is one of them, 0 where it has none."""
    parts = unicodedata.normalize("NFD", char)
    left = "".join(part for part in parts if not is_accent(part))
    if left == parts:
        return 0
    composed = unicodedata.normalize("NFC", left)
    if len(composed) > 1:
        raise ValueError(f"U+{ord(char):04X} is several code points without its accents")
    return ord(lower(composed)) if composed else -1


def is_accent(char: str) -> bool:
    """Whether a code point is a mark of `ACCENTS`."""
    within = any(first <= ord(char) <= last for first, last in ACCENTS)
    return within and unicodedata.category(char)[0] == "M"


def lower(char: str) -> str:
    """Lower case where that is a single code point, else `char`."""
    lowered = char.lower()
    return lowered if len(lowered) == 1 else char


def compositions() -> dict[tuple[int, int], int]:
    """Primary compositions: canonical decompositions into two that NFC puts together again."""
    pairs: dict[tuple[int, int], int] = {}
    for code in range(CODE_POINTS):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        if unicodedata.normalize("NFC", chr(code)) == chr(code):
            pairs[int(parts[0], 16), int(parts[1], 16)] = code
            if unicodedata.combining(chr(code)):
                raise ValueError(f"U+{code:04X} is composed, but no starter")
    return pairs


def two_stage(values: NDArray[np.int32]) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    """(block numbers, distinct blocks end to end) of one value per code point."""
    distinct, numbers = np.unique(values.reshape(-1, BLOCK), axis=0, return_inverse=True)
    return numbers.reshape(-1).astype(np.uint16), distinct.reshape(-1)


def pair_table(
    pairs: dict[tuple[int, int], int],
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Place the compositions in an open-addressing table."""
    keys = np.zeros(PAIR_SLOTS, np.uint64)
    values = np.zeros(PAIR_SLOTS, np.int32)
    for (first, second), composed in sorted(pairs.items()):
        key = first << 21 | second
        slot = (key * PAIR_MIX & (1 << 64) - 1) >> 52
        while keys[slot]:
            slot = (slot + 1) % PAIR_SLOTS
        keys[slot] = key
        values[slot] = composed
    return keys, values


def assigned_runs() -> NDArray[np.int32]:
    """First and last code point of every run of assigned ones."""
    runs: list[list[int]] = []
    for code in range(CODE_POINTS):
        if unicodedata.category(chr(code)) == "Cn":
            continue
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return np.array(runs, np.int32)


def build() -> dict[str, NDArray[np.generic]]:
    """Every array of the file, by name."""
    pairs = compositions()
    maybe = {second for _, second in pairs} | HANGUL_VOWELS_AND_FINALS
    info = np.zeros(CODE_POINTS, np.int32)
    entry = np.zeros(CODE_POINTS, np.int32)
    plain = np.zeros(CODE_POINTS, np.int32)
    numbers: dict[tuple[int, ...], int] = {(): 0}
    for code in range(CODE_POINTS):
        char = chr(code)
        full = unicodedata.normalize("NFKD", char)
        check = MAYBE if code in maybe else YES
        if unicodedata.normalize("NFKC", char) != char:
            check = NO
        if full != char and (check == MAYBE or (ord(full[0]) in maybe and check == YES)):
            raise ValueError(f"U+{code:04X}: the kernel's quick check does not cover it")
        ccc = unicodedata.combining(char)
        joins = code in maybe or ord(full[0]) in maybe or unicodedata.combining(full[0]) != 0
        if ccc and not joins:
            raise ValueError(f"U+{code:04X}: a mark with a starter first in its decomposition")
        delta = ord(lower(char)) - code
        if not -(1 << 18) <= delta < 1 << 18:
            raise ValueError(f"U+{code:04X}: lower case is too far away")
        kind = token_class(lower(char))
        if kind == SEPARATOR:
            if delta and check != NO:
                raise ValueError(f"U+{code:04X}: a separator with a lower case")
            delta = separator_kind(lower(char))
        info[code] = delta * (1 << 13) + (ccc << 5 | joins << 4 | check << 2) + kind
        if check != NO:
            plain[code] = bare(char)
        if full != char and code not in HANGUL_SYLLABLES:
            key = tuple(map(ord, full))
            entry[code] = numbers.setdefault(key, len(numbers))
    blocks, flat_info = two_stage(info)
    decomposed, flat_entry = two_stage(entry)
    bare_blocks, flat_bare = two_stage(plain)
    zeros = [code for code in range(CODE_POINTS) if unicodedata.decimal(chr(code), None) == 0]
    keys, values = pair_table(pairs)
    sizes = [len(key) for key in numbers]
    return {
        "version": np.frombuffer(unicodedata.unidata_version.encode(), np.uint8),
        "blocks": blocks,
        "info": flat_info,
        "decomposed": decomposed,
        "entry": flat_entry.astype(np.uint16),
        "bounds": np.cumsum([0, *sizes]).astype(np.int32),
        "pool": np.array([code for key in numbers for code in key], np.int32),
        "bare_blocks": bare_blocks,
        "bare": flat_bare,
        "zeros": np.array(zeros, np.int32),
        "pair_keys": keys,
        "pair_values": values,
        "assigned": assigned_runs(),
    }


def main() -> None:
    """Write the file beside this module."""
    path = Path(__file__).with_name("unicode_tables.npz")
    arrays = build()
    np.savez_compressed(path, allow_pickle=False, **arrays)
    sizes = ", ".join(f"{name} {array.nbytes}" for name, array in arrays.items())
    print(f"Unicode {unicodedata.unidata_version}: {path.stat().st_size} bytes ({sizes})")


if __name__ == "__main__":
    main()
