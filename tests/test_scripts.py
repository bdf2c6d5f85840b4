"""The script of a row: the kernel against plain rules, and its blocks against Unicode's names."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from naive_problems import script_by_name, script_of, script_of_row

import dedupe
from dedupe.arrays import from_bytes
from dedupe.config import Settings
from dedupe.documents.template import ColumnPath, DocumentTemplate, Template
from dedupe.kernels.scripts import SCRIPTS, WINDOW
from dedupe.planning.banding import Banding
from dedupe.stages.sign import Signer

PIECES = [
    "a", "word ", "12 34 ", "\n", "user\n", "assistant\n", "Human\n", "users\n", "user", "é", "字",
    "这里", "か", "한", "Ж", "ж ", "α", "ا", "क", "𝒜", "😀", "字" * 90, "x" * 250, "5" * 255,
    "。" * 85, "\ufffd",
]  # fmt: skip
texts = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join).map(str.encode),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=600),
    st.none(),
)


def scripts_of(fields, begin=0):
    """The scripts of rows, of each of which `fields` has some texts, from one of them on."""
    names = [f"field_{number}" for number in range(len(fields[0]))]
    columns = [
        pa.array([row[number] for row in fields], pa.large_binary()).slice(begin)
        for number in range(len(names))
    ]
    texts = [from_bytes(one, pa.large_string()) for one in columns]
    document = DocumentTemplate({name: Template((ColumnPath(name, ()),)) for name in names})
    signer = Signer(Settings(on_bad_text="replace"), Banding(1, 1), document)
    signed = signer.sign(pa.RecordBatch.from_arrays(texts, names))
    return [SCRIPTS[number] for number in signed.scripts]


rows = st.integers(1, 3).flatmap(
    lambda fields: st.lists(st.tuples(*[texts] * fields), min_size=1, max_size=5)
)


@given(rows, st.integers(0, 2))
@example([[b"5" * (WINDOW - 1) + "字b".encode()]], 0)
@example([[b"5" * WINDOW + b"user\n" + "字".encode()]], 0)
@example([[b"5" * (WINDOW - 1) + b"\nuser\n" + "字".encode()]], 0)
@example([[b"5" * (WINDOW - 2) + b"\nuser\n" + "字".encode()]], 0)
@example([["字".encode() + b"\nassistant\n"]], 0)
@example([[b"\xe5\xad" * 200 + b"a"]], 0)
def test_rows_have_the_script_of_the_plain_rules(fields, begin):
    begin = min(begin, len(fields) - 1)
    assert scripts_of(fields, begin) == [script_of_row(row) for row in fields[begin:]]


def test_names_of_roles_are_no_letters_of_chats():
    assert scripts_of([["user\n你好\nassistant\n你好！".encode()]]) == ["Han"]
    assert scripts_of([[b"user\nhi\nassistant\nhello"]]) == ["Latin"]
    assert scripts_of([[b"\n\nuser\n123"]]) == ["none"]
    assert scripts_of([["user\n一共几个？".encode(), b"assistant\n42"]]) == ["Han"]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", "none"),
        ("12 345", "none"),
        ("это", "Cyrillic"),
        ("a字", "Latin"),
        ("5" * 1000 + "字", "Han"),
    ],
)
def test_scripts(text, script):
    assert scripts_of([[text.encode()]]) == [script]


def test_letters_have_the_script_that_their_names_say():
    """But for those that are named after something else: MODIFIER LETTER, OHM SIGN and the like."""
    wrong = {}
    for code in range(0x80, 0x110000):
        char = chr(code)
        if not unicodedata.category(char).startswith("L"):
            continue
        by_name = script_by_name(char)
        if by_name != (script_of(char) or "other"):
            wrong.setdefault(unicodedata.name(char, "").split()[0], []).append(char)
    allowed = {
        "FEMININE", "MASCULINE", "MODIFIER", "SUPERSCRIPT", "KELVIN", "ANGSTROM", "OHM", "LATIN",
        "MATHEMATICAL", "IDEOGRAPHIC", "KATAKANA-HIRAGANA", "HALFWIDTH", "ROMAN",
    }  # fmt: skip
    assert set(wrong) <= allowed, {word: chars[:5] for word, chars in wrong.items()}
    for sample, script in (("é", "Latin"), ("я", "Cyrillic"), ("字", "Han"), ("ひ", "Kana")):
        assert script_of(sample) == script


CHATS = [
    ("hi there", "hello"),
    ("你好", "你好！"),
    ("一共几个？", "42"),
    ("как дела", None),
    ("123", "456"),
    ("你好", "你好！"),
]


@pytest.mark.parametrize("held", [False, True])
def test_a_run_counts_rows_by_script(tmp_path, held):
    """Those that stay and those that go, in fields, in a run and where test sets alone are held."""
    corpus = tmp_path / "chats.jsonl"
    turns = [
        [
            {"role": who, "content": text}
            for who, text in zip(("user", "assistant"), chat, strict=True)
        ]
        for chat in CHATS
    ]
    corpus.write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns))
    (tmp_path / "test.jsonl").write_text(json.dumps({"question": "nothing of this " * 4}) + "\n")
    if held:
        result = dedupe.decontaminate(corpus, tmp_path / "out", evals=tmp_path / "test.jsonl")
    else:
        result = dedupe.deduplicate(corpus, tmp_path / "out")
    wanted = {"kept": Counter(), "dropped": Counter()}
    keep = result.mask().tolist()
    assert keep.count(False) == (0 if held else 1)
    for chat, stays in zip(CHATS, keep, strict=True):
        texts = [
            f"{who}\n{text}" for who, text in zip(("user", "assistant"), chat, strict=True) if text
        ]
        wanted["kept" if stays else "dropped"][script_of_row([one.encode() for one in texts])] += 1
    scripts = result.summary["scripts"]
    assert set(scripts) == {"Latin", "Han", "Cyrillic", "none"}
    for which, counts in wanted.items():
        assert {name: one[which] for name, one in scripts.items() if one[which]} == counts
