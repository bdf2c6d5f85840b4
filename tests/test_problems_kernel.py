"""Problems of single texts: the kernel against plain rules."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from naive_problems import problems_of

from dedupe.arrays import text_buffers
from dedupe.kernels import problems as its
from dedupe.kernels.problems import problems_of_texts

PIECES = [
    "a", "b ", "the ", "of the ", "<", "<p>", "</p>", "<p class='x'>", "</", "/", ">", "&", "&amp;",
    "&#123;", "&#1;", "&a;", "&abcdefghi;", "&#x;", ";", "#", "\n", "line one\n", " line one \n",
    "\r\n", "\t", "\x0b", "\x00", "\x7f", "\x85", "\xa0", "\u2028", "\u3000", "Ã", "Ã©", "Â", "Â»",
    "â€", "â€™", "â\x80\x99", "ï¿½", "\ufffd", "é", "字", "か", "ァ", "한", "Ж", "ж ", "α", "ا",
    "क", "𝒜", "😀", "x" * 40, "y " * 25, "word " * 13, "one two three. " * 7, ".", "!", "。", "…",
    "5",
]  # fmt: skip
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join).map(str.encode),
    st.text(max_size=400).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=40),
    st.none(),
)


def check(values, begin=0, end=None):
    array = pa.array(values, pa.large_binary()).slice(begin, end)
    flags, words = problems_of_texts(*text_buffers(array))
    for i, value in enumerate(array.to_pylist()):
        assert (int(flags[i]), int(words[i])) == problems_of(value), value


@given(st.lists(texts, max_size=6), st.integers(0, 3))
@example([b"<" + b"p" * 301 + b">" + b" " * 10], 0)
@example([b"<" + b"p" * 302 + b">" + b" " * 10], 0)
@example([b"<p &amp; &lt; <b>"], 0)
@example([b"\xc3", b"\xe2\x80", b"\xf0\x9f\x98", b"a\xffb", b"\xed\xa0\x80"], 0)
def test_a_text_has_the_flags_and_words_of_the_plain_rules(values, begin):
    check(values, min(begin, len(values)))


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_borders(more):
    """One more and one less than what a rule asks for."""
    check(
        [
            ("w " * (its.LEAST_WORDS + more)).encode(),
            ("x" * (its.LEAST_ANSWER + more)).encode(),
            ("é" * (its.LEAST_ANSWER + more)).encode(),
            ("same\n" * (its.LEAST_LINES + more)).encode(),
            ("<p>" + "x" * (12 + more)).encode(),
            ("<" + "a" * (its.LONGEST_TAG + 1 + more) + ">").encode(),
            b"".join(b"l%d\n" % i for i in range(7)) + b"l0\n" * (3 + more),
        ]
    )


def test_repeats_are_looked_for_in_a_bounded_part():
    """A text with more words than are looked at is read to its end, and a table is large enough."""
    words = b" ".join(b"w%d" % i for i in range(its.MOST_WORDS + 5)) + b" \x00"
    flags, count = problems_of_texts(*text_buffers(pa.array([words], pa.large_binary())))
    assert count[0] == its.MOST_WORDS + 6
    assert flags[0] & its.CONTROL
    assert not flags[0] & its.REPEATED_WORDS
