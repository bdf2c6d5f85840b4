"""Dropped rows beside their witnesses: which are drawn, what is said of them, what differs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from dedupe import Result, deduplicate
from dedupe.cli import cli
from dedupe.pairs import around, changes

WORDS = [f"w{i}" for i in range(100)]


def variant(number: int, changed: int) -> str:
    return " ".join([*(f"n{number}x{i}" for i in range(changed)), *WORDS[changed:]])


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    corpus = folder / "corpus"
    corpus.mkdir()
    texts = [" ".join(WORDS)] * 3 + [variant(i, i % 10) for i in range(60)] + ["own \x1b[31m text"]
    for name, part in (("a", texts[:30]), ("b", texts[30:])):
        lines = [json.dumps({"text": text, "id": f"{name}{i}"}) for i, text in enumerate(part)]
        (corpus / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    deduplicate(corpus, folder / "out", id="id")
    return folder / "out"


def test_pairs_are_spread_over_similarities_the_least_similar_first(out):
    result = Result(out)
    table = result.pairs(8)
    similar = table["jaccard"].to_pylist()
    assert similar == sorted(similar)
    assert len(set(similar)) >= 6
    assert table.to_pylist() == result.pairs(8).to_pylist()
    assert table.to_pylist() != result.pairs(8, seed=2).to_pylist()
    for pair in table.to_pylist():
        assert pair["witness_text"] == " ".join(WORDS)
        assert not pair["keep"]
    whole = result.keep_list()
    dropped = whole.filter([not keep for keep in whole["keep"].to_pylist()])
    everything = result.pairs(1000)
    assert len(everything) == len(dropped)
    assert set(everything["id"].to_pylist()) == set(dropped["id"].to_pylist())


def test_pairs_of_a_reason_or_a_range(out):
    result = Result(out)
    assert set(result.pairs(50, reason="exact")["jaccard"].to_pylist()) == {1.0}
    found = result.pairs(50, reason="near", jaccard=(0.85, 0.95))["jaccard"].to_pylist()
    assert found
    assert all(0.85 <= one <= 0.95 for one in found)
    assert len(result.pairs(5, jaccard=(0.1, 0.2))) == 0


def show(*words):
    return CliRunner().invoke(cli, ["show", *map(str, words)], env={"COLUMNS": "100"})


def test_differences_are_marked(out):
    done = show(out, "--pairs", 1, "--reason", "near", "--jaccard", "0.8..0.99")
    assert done.exit_code == 0, done.output
    assert "[-n" in done.stdout
    assert "{+w0" in done.stdout
    assert "…" in done.stdout
    assert "w60" not in done.stdout
    assert "w60" in show(out, "--pairs", 1, "--jaccard", "0.8..0.99", "--full").stdout
    assert "no dropped row is like that" in show(out, "--pairs", 3, "--jaccard", "0..0.1").stdout
    listed = json.loads(show(out, "--pairs", 3, "--json").stdout)
    assert len(listed) == 3
    assert listed[0]["witness_text"] == " ".join(WORDS)


def test_wrong_questions(out):
    assert "write a range like 0.8..0.85" in str(show(out, "--jaccard", "much").exception)
    assert "ask one" in str(show(out, "--pairs", 1, "--row", "0:1").exception)


TEXTS = st.lists(st.sampled_from(["a", "b", "c\n", "dd"]), max_size=12).map(" ".join)


@given(TEXTS, TEXTS)
def test_changes_make_one_text_of_the_other(one, other):
    found = list(changes(one, other))
    for own, text in (("-", one), ("+", other)):
        said = [word for mark, part in found if mark in (" ", own) for word in part.split()]
        assert said == text.split()
    shown = list(around(found))
    assert [c for c in shown if c.mark != " "] == [c for c in found if c.mark != " "]
