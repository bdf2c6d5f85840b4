"""Hypothesis strategies for text of every kind."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import cache

import numpy as np
from hypothesis import strategies as st

from dedupe.kernels.unicode import TABLES_PATH


@cache
def _assigned() -> tuple[list[int], list[int]]:
    """First and last code points of the runs that the shipped tables have as assigned."""
    with np.load(TABLES_PATH, allow_pickle=False) as file:
        runs = file["assigned"]
    return runs[:, 0].tolist(), runs[:, 1].tolist()


@cache
def known(char: str) -> bool:
    """Whether the running Python and the shipped tables agree that `char` is (not) assigned."""
    firsts, lasts = _assigned()
    run = bisect_right(firsts, ord(char)) - 1
    in_tables = run >= 0 and ord(char) <= lasts[run]
    return in_tables == (unicodedata.category(char) != "Cn")


def _points(*ranges: tuple[int, int]) -> st.SearchStrategy[str]:
    chars = [chr(c) for first, last in ranges for c in range(first, last + 1) if known(chr(c))]
    return st.sampled_from(chars)


ascii_chars = st.characters(max_codepoint=0x7F)
any_chars = st.characters(exclude_categories=["Cs"]).filter(known)
latin = _points((0xA0, 0x24F), (0x1E00, 0x1EFF))
cased = _points(
    (0x370, 0x52F), (0x10A0, 0x10FF), (0x13A0, 0x13FF), (0x1C80, 0x1CBF), (0x2C00, 0x2DFF)
)
right_to_left = _points((0x590, 0x8FF), (0xFB1D, 0xFDFF), (0xFE70, 0xFEFC))
indic = _points((0x900, 0xDFF), (0x11100, 0x1114F), (0x11300, 0x1137F), (0x11930, 0x1194F))
spaceless = _points(
    (0xE00, 0xFFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x30FF), (0x4E00, 0x4F00)
)
hangul = _points((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xAC7F), (0xD788, 0xD7A3))
compatibility = _points(
    (0x2070, 0x218F), (0x2460, 0x24FF), (0x3130, 0x33FF), (0xF900, 0xFAFF), (0xFB00, 0xFB06),
    (0xFF00, 0xFFEF), (0x1D400, 0x1D7FF), (0x1F100, 0x1F1FF), (0x2F800, 0x2FA1D),
)  # fmt: skip
marks = st.sampled_from(
    [chr(c) for c in range(0x110000) if known(chr(c)) and unicodedata.combining(chr(c))]
)
joiners = st.sampled_from(
    "\u200b\u200c\u200d\u200e\u200f\u2060\ufe0e\ufe0f\ufeff\u00ad\u034f\u20e3"
)
emoji = st.sampled_from(
    [
        "👍🏽",
        "👩\u200d👩\u200d👧",
        "❤\ufe0f",
        "🇩🇪",
        "1\ufe0f\u20e3",
        "🏴\U000e0067\U000e0062\U000e007f",
    ]
)
odd = st.sampled_from(
    "\x00\x7f\x80\x85\xa0\u2028\ue000\uf8ff\ufdd0\ufffd\uffff\U000e0fff\U0010ffff_"
)
expanding = st.sampled_from(
    "\ufdfa\ufb2c\u1e9b\u0344\u0958\u2adc\u1f82\u03d4\ufc5e\u0f81\U0001d160ΣİẞⱯȺ"
)

characters = st.one_of(
    ascii_chars, any_chars, latin, cased, right_to_left, indic, spaceless, hangul, compatibility,
    marks, joiners, emoji, odd, expanding,
)  # fmt: skip

texts = st.one_of(
    st.lists(characters, max_size=40).map("".join),
    st.lists(st.one_of(ascii_chars, characters), max_size=80).map("".join),
    st.lists(st.one_of(latin, marks, expanding), max_size=40).map("".join),
    st.lists(st.one_of(hangul, marks), max_size=30).map("".join),
    st.lists(st.one_of(spaceless, ascii_chars, marks, joiners), max_size=40).map("".join),
    st.text(ascii_chars, max_size=80),
)
"""Documents of up to a few hundred code points, all `known`."""

symbols = st.lists(
    st.one_of(
        st.sampled_from("!#$%&*+-/<=>@^|~ \n\t\\()[]\"'`.,ab1\u2028\xa0\u1680\x85"),
        st.sampled_from(
            [
                "--",
                "->",
                "!=",
                "**",
                "==",
                " - ",
                " * ",
                "C++",
                "é",
                "e\u0301",
                "漢",
                "か",
                "👍",
                "€",
            ]
        ),
        st.sampled_from(
            ["“", "”", "■", "✓", "٣", "\u0915\u093f", "\u00ad", "\ufe0f", "\u0301", "İ"]
        ),
    ),
    max_size=60,
).map("".join)
"""Documents of symbols, in all kinds of places."""

malformed_bytes = st.lists(
    st.one_of(
        st.binary(max_size=6),
        characters.map(str.encode),
        st.sampled_from(
            [b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
             b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80",
             b"\xf5\x80\x80\x80", b"\xff", b"\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3"]
        ),
        characters.map(lambda text: text.encode()[:-1]),
    ),
    max_size=20,
).map(b"".join)  # fmt: skip
"""Bytes that are often, not always, malformed UTF-8."""
