"""Files of several formats in a corpus: each is compared by its own, and rows by all they have."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, Result, Settings, SettingsError, Tuning, deduplicate

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


def kept(corpus: Path, **settings: Any) -> list[bool]:
    return deduplicate(corpus, **settings).mask().tolist()


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
    for folder, rows in (("x", (few, many)), ("y", (many, few))):
        corpus = tmp_path / folder
        (
            write(corpus / f"a.{suffix}", rows[0]),
            write(corpus / f"b.{suffix}", [*rows[1], rows[1][0]]),
        )
        found = deduplicate(corpus)
        assert found.mask().tolist() == [True, True, True, True, False]
        said = [document["format"] for document in found.summary["documents"]]
        assert said == list(names if folder == "x" else names[::-1])
        assert [shard["document"] for shard in found.shards] == [0, 1]


def test_chats_behind_texts_are_found_in_both_orders(tmp_path):
    for names in (("a", "b"), ("b", "a")):
        corpus = tmp_path / names[0] / "corpus"
        corpus.mkdir(parents=True)
        for name, rows in zip(names, (TEXTS, CHATS), strict=True):
            write(corpus / f"{name}.jsonl", rows)
        assert kept(corpus) == [True] * 4


def test_any_shard_of_many_is_looked_at_and_empty_ones_decide_nothing(tmp_path):
    corpus = tmp_path / "corpus"
    write(corpus / "a.jsonl", [])
    for number in range(5):
        write(corpus / f"b{number}.jsonl", PROMPTS)
    write(corpus / "c.jsonl", PREFERENCES)
    write(corpus / "d.jsonl", [])
    write(corpus / "e.parquet", [{"prompt": ONE, "chosen": OTHER, "rejected": THIRD}])
    found = deduplicate(corpus, tuning=Tuning(survey_shards=2))
    assert [shard["document"] for shard in found.shards] == [0, 0, 0, 0, 0, 0, 1, 0, 1]
    assert found.mask().tolist() == [True] * 2 + [False] * 8 + [True, True, False]


def test_auto_is_what_happens_without_a_format():
    assert Settings(format="auto") == Settings()
    with pytest.raises(SettingsError, match="text and format are two ways"):
        Settings(format="auto", text="text")


@pytest.mark.parametrize("settings", [{}, {"format": "auto"}])
def test_a_file_of_no_format_is_named(tmp_path, settings):
    write(tmp_path / "a.jsonl", PROMPTS)
    path = write(tmp_path / "b.jsonl", [{"body": ONE}])
    with pytest.raises(CorpusError, match=r"no known format.*there are body") as caught:
        deduplicate(tmp_path, **settings)
    assert caught.value.path == str(path)


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
    """The first file of a concatenated data set has nothing but texts, the second only chats."""
    corpus = tmp_path / "corpus"
    for names in (("a", "b"), ("b", "a")):
        for name, silent in zip(names, ("messages", "text"), strict=True):
            write(corpus / f"{name}.{suffix}", [row | {silent: None} for row in CHATS])
        texts, chats = [True, False], [True, True]
        assert kept(corpus) == ([*texts, *chats] if names[0] == "a" else [*chats, *texts])


def test_prompts_alone_may_be_of_shards_with_other_answers(tmp_path):
    corpus = tmp_path / "corpus"
    write(corpus / "a.jsonl", ANSWERS)
    write(corpus / "b.jsonl", [{"prompt": ONE, "response": THIRD}, {"prompt": OTHER}])
    assert kept(corpus, compare="prompt") == [True, False, False, True]
    assert kept(corpus) == [True, True, False, True]
    write(corpus / "c.jsonl", [{"prompt": ONE}])
    assert kept(corpus, compare="prompt") == [True, False, False, True, False]
    path = write(corpus / "d.jsonl", TEXTS)
    with pytest.raises(CorpusError, match="have no prompt of their own") as caught:
        deduplicate(corpus, compare="prompt")
    assert caught.value.path == str(path)


def test_rows_in_memory_are_of_one_format(tmp_path):
    rows = pa.Table.from_pylist([*PREFERENCES, PREFERENCES[0]])
    assert deduplicate(rows).mask().tolist() == [True, True, False]
    assert deduplicate([*PREFERENCES, PREFERENCES[0]]).mask().tolist() == [True, True, False]


@pytest.mark.parametrize("batches", [False, True])
def test_tables_in_memory_are_each_of_their_own_format(tmp_path, batches):
    tables = [pa.Table.from_pylist(rows) for rows in (ANSWERS, PREFERENCES, TEXTS, ANSWERS[:1])]
    given = [table.to_batches()[0] for table in tables] if batches else tables
    found = deduplicate(given, tmp_path / "out")
    assert found.mask().tolist() == [True] * 6 + [False]
    assert found.kept_rows().tolist() == [*range(6)]
    paths = ["<table>", "<table 2>", "<table 3>", "<table 4>"]
    assert [shard["path"] for shard in found.shards] == paths
    formats = [found.summary["documents"][shard["document"]]["format"] for shard in found.shards]
    assert formats == ["prompt-completion", "preference", "text", "prompt-completion"]
    assert deduplicate(tables[:1] * 2).mask().tolist() == [True, True, False, False]
    for path in paths:
        with pytest.raises(SettingsError, match="rows in memory"):
            list(Result(tmp_path / "out").batches(shards=[paths.index(path)]))
    with pytest.raises(CorpusError, match=r"<table 2>: its columns are those of no known format"):
        deduplicate([tables[0], pa.table({"q": ["a"]})])


def test_what_no_file_of_a_format_has_is_an_error_whatever_others_have(tmp_path):
    def pairs(name: str, given: Any) -> Path:
        texts = pa.array([json.dumps(given)] * 2)
        answers = pa.array([OTHER, THIRD])
        table = pa.table(
            {
                "input": pa.ExtensionArray.from_storage(pa.json_(), texts),
                "preferred_output": answers,
                "non_preferred_output": answers,
            }
        )
        pq.write_table(table, tmp_path / name)
        return tmp_path / name

    write(tmp_path / "a.jsonl", [ANSWERS[0] | {"input": {"messages": ONE}}] * 2)
    last = pairs("b.parquet", {"other": ONE})
    with pytest.raises(
        CorpusError, match=r"input\.messages.* leads to nothing in any row"
    ) as caught:
        deduplicate(tmp_path)
    assert caught.value.path == str(last)
    pairs("c.parquet", {"messages": ONE})
    assert kept(tmp_path) == [True, False, True, True, True, True]
