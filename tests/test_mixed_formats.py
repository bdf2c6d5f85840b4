"""Shards of several formats in a corpus: none is compared by the document of another one."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, Tuning, deduplicate

ONE = "explain why the sky looks blue on a clear summer day to a small child"
OTHER = "the capital city of norway is oslo which lies at the end of a fjord"
THIRD = "a red kite circles over the harbour while the ferry waits for the tide"
Row = dict[str, Any]

PROMPTS: list[Row] = [{"prompt": ONE}, {"prompt": OTHER}]
PREFERENCES: list[Row] = [
    {"prompt": ONE, "chosen": OTHER, "rejected": THIRD},
    {"prompt": ONE, "chosen": THIRD, "rejected": OTHER},
]
TEXTS: list[Row] = [{"text": ONE}, {"text": OTHER}]
INSTRUCTIONS: list[Row] = [
    {"text": ONE, "instruction": ONE, "output": answer} for answer in (OTHER, THIRD)
]
LABELS: list[Row] = [{"prompt": ONE, "completion": OTHER, "label": str(one)} for one in (0, 1)]
ANSWERS: list[Row] = [{"prompt": ONE, "completion": OTHER}, {"prompt": ONE, "completion": THIRD}]
CHATS: list[Row] = [
    {
        "text": ONE,
        "messages": [
            {"role": "user", "content": ONE},
            {"role": "assistant", "content": answer},
        ],
    }
    for answer in (OTHER, THIRD)
]


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def mixed(corpus: Path, **settings: Any) -> CorpusError:
    """The error of a run that compares no row."""
    with pytest.raises(CorpusError, match="run each format by itself") as caught:
        deduplicate(corpus, corpus.with_name("out"), **settings)
    assert not corpus.with_name("out").exists()
    return caught.value


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize(
    ("few", "many", "names"),
    [
        (PROMPTS, PREFERENCES, ("prompt", "preference")),
        (TEXTS, INSTRUCTIONS, ("text", "alpaca")),
        (ANSWERS, LABELS, ("prompt-completion", "kto")),
    ],
)
def test_answers_are_never_left_out_of_the_comparison(tmp_path, suffix, few, many, names):
    corpus = tmp_path / "corpus"
    first, last = corpus / f"a.{suffix}", corpus / f"b.{suffix}"
    write(first, few), write(last, many)
    error = mixed(corpus)
    assert error.path == str(last)
    there = (f"{names[i]} ({', '.join(rows[0])})" for i, rows in enumerate((few, many)))
    assert str(first) in error.message
    for said in ("--format", "--text"):
        assert said in error.message
    if "alpaca" not in names:
        assert all(one in error.message for one in there)

    write(first, many), write(last, few)
    error = mixed(corpus)
    assert error.path == str(last)
    assert str(first) in error.message
    assert all(f"the format {name} (" in error.message for name in names)


def test_chats_behind_texts_are_found_in_both_orders(tmp_path):
    for names in (("a", "b"), ("b", "a")):
        corpus = tmp_path / names[0] / "corpus"
        corpus.mkdir(parents=True)
        for name, rows in zip(names, (TEXTS, CHATS), strict=True):
            write(corpus / f"{name}.jsonl", rows)
        error = mixed(corpus)
        assert "the format text (text)" in error.message
        assert "the format messages (messages)" in error.message


def test_any_shard_of_many_is_looked_at_and_empty_ones_decide_nothing(tmp_path):
    corpus = tmp_path / "corpus"
    write(corpus / "a.jsonl", [])
    for number in range(5):
        write(corpus / f"b{number}.jsonl", PROMPTS)
    last = write(corpus / "c.jsonl", PREFERENCES)
    error = mixed(corpus, tuning=Tuning(survey_shards=2))
    assert error.path == str(last)
    assert str(corpus / "b0.jsonl") in error.message


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_what_is_named_is_believed(tmp_path, suffix):
    corpus = tmp_path / "corpus"
    write(corpus / f"a.{suffix}", PROMPTS)
    write(corpus / f"b.{suffix}", PREFERENCES)
    for settings in ({"format": "prompt"}, {"text": "prompt"}):
        assert deduplicate(corpus, **settings).mask().tolist() == [True, True, False, False]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_optional_columns_may_be_missing_in_a_shard(tmp_path, suffix):
    corpus = tmp_path / "corpus"
    row = {"instruction": ONE, "output": OTHER}
    write(corpus / f"a.{suffix}", [row, {**row, "output": THIRD}])
    write(corpus / f"b.{suffix}", [row | {"source": "x"}])
    assert deduplicate(corpus).mask().tolist() == [True, True, False]
    write(corpus / f"a.{suffix}", [row | {"input": THIRD}, row | {"input": OTHER}])
    assert deduplicate(corpus).mask().tolist() == [True, True, True]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_columns_in_which_no_row_has_anything_make_no_format(tmp_path, suffix):
    corpus = tmp_path / "corpus"
    write(corpus / f"a.{suffix}", PROMPTS)
    write(corpus / f"b.{suffix}", [{"prompt": ONE, "chosen": None, "rejected": None}])
    assert deduplicate(corpus).mask().tolist() == [True, True, False]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_same_columns_may_be_of_two_formats(tmp_path, suffix):
    """The first shard of a concatenated data set has nothing but texts, the second only chats."""
    corpus = tmp_path / "corpus"
    for names in (("a", "b"), ("b", "a")):
        for name, silent, rows in zip(names, ("messages", "text"), (CHATS, CHATS), strict=True):
            write(corpus / f"{name}.{suffix}", [row | {silent: None} for row in rows])
        error = mixed(corpus)
        assert error.path == str(corpus / f"b.{suffix}")


def test_prompts_alone_may_be_of_shards_with_other_answers(tmp_path):
    corpus = tmp_path / "corpus"
    write(corpus / "a.jsonl", ANSWERS)
    write(corpus / "b.jsonl", [{"prompt": ONE, "response": THIRD}, {"prompt": OTHER}])
    found = deduplicate(corpus, compare="prompt")
    assert found.mask().tolist() == [True, False, False, True]
    mixed(corpus)


def test_rows_in_memory_are_of_one_format(tmp_path):
    rows = pa.Table.from_pylist([*PREFERENCES, PREFERENCES[0]])
    assert deduplicate(rows).mask().tolist() == [True, True, False]
    assert deduplicate([*PREFERENCES, PREFERENCES[0]]).mask().tolist() == [True, True, False]


def test_a_work_directory_of_mixed_shards_is_never_gone_on_with(tmp_path):
    corpus, work = tmp_path / "corpus", tmp_path / "work"
    write(corpus / "a.jsonl", PROMPTS)
    write(corpus / "b.jsonl", PREFERENCES)
    for _ in range(2):
        mixed(corpus, work_dir=work)
    found = deduplicate(corpus, tmp_path / "out", work_dir=work, format="prompt")
    assert found.mask().tolist() == [True, True, False, False]
