"""Which symbols count, what is ignored, and when rows are exact copies: by example.

`test_sign.py` holds the kernels against `naive.py` on any text; here stands what it shall mean.
"""

from __future__ import annotations

import json
import random

import naive
import naive_hash
import pyarrow as pa
import pytest

from dedupe.config import Settings
from dedupe.errors import SettingsError
from dedupe.planning.banding import Banding
from dedupe.shingling import Shingler
from dedupe.stages.sign import Signer

TOKENS = {
    "Write it in C++ or C#, not C": "write it in c++ or c# not c",
    "12 + 5": "12+ 5",
    "12 - 5": "12 5",
    "x = -1": "x=- 1",
    "The range 3-5, UTF-8, 2024-01-15": "the range 3 5 utf 8 2024 01 15",
    "a <= b && !c": "a<= b&&! c",
    "It costs $5 (not €5)": "it costs$ 5 not€ 5",
    "Our dinner 👍👍": "our dinner👍👍",
    "👎": "👎",
    "❤️ and ❤": "❤and❤",
    "**bold**, *soft*, `code`": "bold soft code",
    "- item\n* item\n+ item\n> quote\n## Heading ##": "item item item quote heading",
    "Title\n=====\n| a | b |\n|---|---|": "title a b",
    "word - word — word--word": "word word word word",
    "grep -v --all foo": "grep- v all foo",
    "z = 2*x + y**2": "z= 2* x+ y** 2",
    "left * right": "left right",
    "def f(a, *args, **kw) -> int:": "def f a args kw-> int",
    "numpy (>= 1.0), numpy>=1.0": "numpy>= 1 0 numpy>= 1 0",
    "B+ B- Na+ pre- and post-fix": "b+ b- na+ pre and post fix",
    "5% of 10 %, 50\\% and snake\\_case": "5% of 10 50% and snake_case",
    "<b>bold</b> <foo@bar.org>": "b> bold</ b foo@ bar org",
    "$\\alpha < \\beta$ p → q": "alpha< beta p→ q",
    "这是**重要**的 A+B": "这 是 重 要 的 a+ b",
    "soft\u00adhyphen": "softhyphen",
    "zero\u200bwidth\ufeff": "zerowidth",
    "i++; j--; k += 1": "i++ j k+= 1",
    "and/or, a / b": "and/ or a/ b",
    "Bonjour ! Ça va ?": "bonjour ça va",
    '"a" + "b"': "a+ b",
    "★★★☆☆ ■ item": "★★★☆☆item",
    "a || b | c": "a|| b c",
    "C+ +5": "c++ 5",
    "-5 degrees": "-5 degrees",
    "🏴\U000e0067\U000e0062\U000e007f": "🏴\U000e0067\U000e0062\U000e007f",
    # scripts without spaces, marks, underscores
    "日本語テスト": "日 本 語 テ ス ト",
    "東京2020": "東 京 2020",
    "abc漢字def": "abc 漢 字 def",
    "か\u3099き": "が き",
    "ผู้หญิง": "ผู้ ห ญิ ง",
    "snake_case-No": "snake_case no",
    " \u0301a": "\u0301a",
    "한국어 텍스트": "한국어 텍스트",
}


def sets_of(texts: list[str], **settings) -> list[set[int]]:
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])
    sets = Shingler(Settings(**settings)).sets(batch)
    bounds = zip(sets.offsets[:-1], sets.offsets[1:], strict=True)
    return [set(sets.hashes[start:end].tolist()) for start, end in bounds]


def same_sets(one: str, other: str, **settings) -> bool:
    left, right = sets_of([one, other], **settings)
    return left == right


def same_digests(one: str, other: str, **settings) -> bool:
    batch = pa.RecordBatch.from_arrays([pa.array([one, other], pa.large_string())], ["text"])
    signed = Signer(Settings(**settings), Banding(1, 1)).sign(batch)
    return bool(signed.texts[0] == signed.texts[1])


@pytest.mark.parametrize("text", TOKENS)
def test_tokens(text):
    expected = TOKENS[text].split(" ")
    assert naive.tokens(text) == expected
    (found,) = sets_of([text], shingle="word:1")
    assert found == {naive_hash.shingle_hash([token]) for token in expected}


DIFFERENT = [
    ("C", "C++"), ("C", "C#"), ("12 + 5", "12 - 5"), ("12 + 5", "12 / 5"), ("a == b", "a != b"),
    ("👍", "👎"), ("-5", "5"), ("x = -1", "x = 1"), ("$5", "€5"), ("a < b", "a > b"), ("A+", "A-"),
    ("Na+", "Na"), ("i++", "i--"), ("!valid", "valid"), ("a & b", "a | b"), ("x ^ y", "x * y"),
    ("p → q", "p ← q"), ("???", "!!!"), ("🇩🇪", "🇫🇷"), ("50%", "50"),
]  # fmt: skip
ALIKE = [
    ("**bold** word", "bold word"), ("- item", "* item"), ("- item", "• item"),
    ("# Title", "Title"),
    ("“quoted”", '"quoted"'), ("a – b", "a — b"), ("one\ntwo", "one two"), ("Title\n---", "Title"),
    ("Hello, world!", "Hello world"), ("snake\\_case", "snake_case"), ("so\u00adft", "soft"),
    ("zero\u200bwidth", "zerowidth"), ("ＡＢＣ", "abc"), ("> quote", "quote"), ("| a | b |", "a b"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_symbols_that_count(one, other):
    assert not same_sets(one, other)
    assert not same_digests(one, other)
    if not set(one + other) & set("?👍🇩"):  # of symbols alone, the text is what is left
        assert same_sets(one, other, ignore="symbols")


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_formatting_that_does_not(one, other):
    assert same_sets(one, other)


def test_exact_copies_are_the_same_text():
    for one, other in [
        ("Hello,  World", " hello, world\t"),
        ("a\n\n  b", "a \n b"),
        ("ｆｕｌｌ　width", "full width"),
        ("so\u00adft", "soft"),
        ("a\u2028b", "a\nb"),
        ("    if x:\n\treturn", "if x:\nreturn"),
    ]:
        assert same_digests(one, other)
        assert same_sets(one, other)
    for one, other in [("Hello, world", "Hello world"), ("a b", "a\nb"), ("**a**", "a")]:
        assert not same_digests(one, other)
        assert same_sets(one, other)
        assert same_digests(one, other, exact="words")
    assert not same_digests("a  b", "a b", exact="bytes")
    assert same_digests("a  b", "a b", exact="words")
    assert not same_digests("C++", "C", exact="words")


@pytest.mark.parametrize("seed", range(20))
def test_equal_forms_have_equal_tokens(seed):
    """Exact copies share every band and their sets, whatever white space stands where."""
    draw = random.Random(seed)
    pieces = [
        "a",
        "B",
        "12",
        "-",
        "+",
        "*",
        "=",
        "->",
        "--",
        "(",
        ")",
        "“",
        "漢",
        "é",
        "👍",
        "#",
        "/",
    ]
    blanks = [" ", "  ", "\t", "\xa0", "\u1680 "]
    lines = ["\n", " \n", "\r\n", "\n\t ", "\u2028", "\x85 "]
    for _ in range(300):
        text, other = draw.choice(["", " "]), draw.choice(["", "\n"])
        for _ in range(draw.randrange(1, 12)):
            piece = draw.choice(pieces)
            kind = draw.choice([None, blanks, lines])
            text += piece + (draw.choice(kind) if kind else "")
            other += piece + (draw.choice(kind) if kind else "")
        assert naive.form(text) == naive.form(other)
        assert naive.tokens(text) == naive.tokens(other)
        assert same_digests(text, other)
        assert same_sets(text, other)


def test_text_without_a_token_is_one_shingle():
    for text in ("???", "!?", "+", "---", "“”"):
        batch = pa.RecordBatch.from_arrays(
            [pa.array([text, " \n", None], pa.large_string())], ["t"]
        )
        for given in ({}, {"shingle": "char:4"}, {"exact": "words"}, {"exact": "bytes"}):
            signed = Signer(Settings(**given), Banding(1, 1)).sign(batch)
            assert signed.shingles.tolist() == [1, 0, 0]
        assert same_sets(text, f" {text}\n")
    assert not same_sets("???", "??")
    assert not same_digests("???", "??", exact="words")


@pytest.mark.parametrize(
    ("ignore", "one", "other"),
    [
        ("symbols", "12 + 5", "12 - 5"),
        ("symbols", "dinner 👍", "dinner 👎"),
        ("numbers", "in 2024 on page 7", "in 1999 on page 123"),
        ("numbers", "v1.2.3 of abc12def", "v10.20.30 of abc9def"),
        ("numbers", "٣ apples", "12 apples"),
        ("accents", "Café à Montréal", "Cafe a Montreal"),
        ("accents", "Ёлка", "Елка"),
        ("accents", "Άθήνα", "αθηνα"),
        ("accents", "السَّلامُ", "السلام"),
        ("accents", "שָׁלוֹם", "שלום"),
    ],
)
def test_what_is_ignored(ignore, one, other):
    assert not same_sets(one, other)
    assert same_sets(one, other, ignore=ignore)
    assert same_sets(one, other, ignore=["symbols", "numbers", "accents"])
    assert not same_digests(one, other, ignore=ignore)


@pytest.mark.parametrize(
    ("one", "other"), [("किताब", "कताब"), ("กา", "ก"), ("が", "か"), ("の", "ん")]
)
def test_vowel_signs_are_no_accents(one, other):
    assert not same_sets(one, other, ignore="accents")


def test_what_cannot_be_ignored_or_exact_is_told():
    with pytest.raises(SettingsError, match="ignore is 'case': use symbols or numbers or accents"):
        Settings(ignore="case")
    with pytest.raises(SettingsError, match="exact is 'normalized': that is words now"):
        Settings(exact="normalized")
    with pytest.raises(SettingsError, match="exact is 'tokens': use text or words or bytes"):
        Settings(exact="tokens")


def test_lookalikes(real_data):
    """Texts that mean other things are kept, and formatting is seen through, kind by kind."""
    pairs: dict = {}
    with open(real_data / "lookalikes.jsonl", encoding="utf-8") as file:
        for row in map(json.loads, file):
            key = (row["truth"], row["kind"], row["pair"])
            pairs.setdefault(key, []).append(row["text"])
    texts = [text for pair in pairs.values() for text in pair]
    sets = sets_of(texts)
    right: dict = {}
    at = 0
    for (truth, kind, _), pair in pairs.items():
        similarity = naive.jaccard(*sets[at : at + 2])
        at += len(pair)
        right.setdefault((truth, kind), []).append((similarity >= 0.8) == (truth == "same"))
    shares = {kind: sum(found) / len(found) for kind, found in right.items()}
    assert min(shares.values()) >= 0.9, shares
