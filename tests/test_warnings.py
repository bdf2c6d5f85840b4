"""What a run warns of: on the terminal, and in summary.json."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from click.testing import CliRunner

from dedupe import CorpusError, deduplicate
from dedupe.cli import cli


def text(number: int) -> str:
    return " ".join(f"w{number}x{i}" for i in range(12))


def write(file, texts):
    file.write_text("".join(json.dumps({"text": one}) + "\n" for one in texts))


def test_rows_that_are_mostly_empty(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text('{"messages": null, "text": "a"}\n' * 3)
    table = pa.table({"messages": pa.nulls(3), "text": ["a", "b", "c"]})
    for corpus in (empty, table, table.to_reader(), table.to_pandas()):
        result = deduplicate(corpus, format="messages")
        assert result.summary["warnings"] == [
            "3 of 3 rows are empty in what is compared; not compared: text"
        ]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, texts in {"a": [text(i) for i in range(9)], "b": ["", "", text(9)]}.items():
        (corpus / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": t}) + "\n" for t in texts)
        )
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["run", str(corpus), "-o", str(out)], env={"COLUMNS": "300"})
    assert "b.jsonl: 2 of 3 rows are empty" in done.stdout
    assert "a.jsonl: " not in done.stdout


def test_values_to_prefer_that_no_row_has():
    table = pa.table({"text": [text(1), text(1), text(2)], "source": ["web", "web", "book"]})
    result = deduplicate(table, keep="prefer:source=human,book")
    policy = "prefer:source=human,book"
    assert result.summary["preferred"] == {policy: {"human": 0, "book": 1, "(any other)": 2}}
    assert result.summary["warnings"] == [
        f"keep {policy}: no row has human (rows: human: 0, book: 1, (any other): 2)"
    ]
    assert deduplicate(table, keep="prefer:source=book,web").summary["warnings"] == []


def test_clusters_that_took_much(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    shards = {
        "a": [text(0)] + [text(i) for i in range(1, 1200)],
        "b": [text(0)] * 100 + [text(i) for i in range(2000, 2100)],
        "c": [text(0)] * 99 + [text(3000)],
    }
    for name, texts in shards.items():
        (corpus / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": t}) + "\n" for t in texts)
        )
    told = deduplicate(corpus, tmp_path / "out").summary["warnings"]
    place = f"because of row 0:0 of {corpus / 'a.jsonl'}"
    assert told == [
        f"199 of 1,500 rows were dropped {place}: look at it with dedupe show --row",
        f"{corpus / 'b.jsonl'}: 100 of 200 rows were dropped {place}",
    ]


def test_a_path_below_a_column_that_no_row_has(tmp_path):
    file = tmp_path / "a.jsonl"
    rows = [{"q": "x", "meta": {"answer": "a"}, "m": [{"value": "v"}], "n": None, "e": []}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for path, said in {"meta.anwser": "has no anwser: it has answer",
                       "m[].content": "has no content: it has value"}.items():  # fmt: skip
        with pytest.raises(CorpusError, match=said):
            deduplicate(file, tmp_path / "out", text=f"{{q}} {{{path}}}")
    deduplicate(file, tmp_path / "out", text="{q} {n.a} {e[].b}")
