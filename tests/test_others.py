"""Columns that are not compared: in how many dropped rows they differ, and what is said of it."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dedupe import Result, SettingsError, Tuning, deduplicate
from dedupe.cli import cli
from dedupe.config import MOST_COUNTED


def text(number: int) -> str:
    return " ".join(f"w{number}x{i}" for i in range(12))


def rows(count: int = 200) -> list[dict]:
    draw = random.Random(5)
    return [
        {
            "text": text(number % 40),
            "id": f"id{number}",
            "label": draw.choice([0, 1, -1, None]),
            "score": draw.choice([0.5, 1.0, 2.25, None]),
            "good": draw.choice([True, False, None]),
            "topic": draw.choice(["a", "b", "", None, "é\x1b"]),
            "tags": draw.choice([["a"], ["a", "b"], [], None]),
            "meta": {"a": number},
        }
        for number in range(count)
    ]


def expected(result: Result, given: list[dict], name: str) -> int:
    """The same by a loop over the keep-list; nothing, an empty text and an empty list are one."""
    found = result.keep_list().to_pylist()
    return sum(
        (given[one["row"]][name] or 0) != (given[one["witness_row"]][name] or 0)
        if name in ("label", "score", "good")
        else (given[one["row"]][name] or None) != (given[one["witness_row"]][name] or None)
        for one in found
        if not one["keep"]
    )


def with_nothing(given: list[dict]) -> list[dict]:
    """No 0 and no False, which the loop cannot tell from nothing."""
    return [{**row, "label": row["label"] or None, "good": row["good"] or None} for row in given]


GIVEN = with_nothing(rows())
TABLE = pa.Table.from_pylist(GIVEN)
NAMES = ("id", "label", "score", "good", "topic", "tags")


def write(folder, kind):
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(TABLE, path, row_group_size=30)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in GIVEN))
    elif kind == "arrow":
        with ipc.new_file(path, TABLE.schema) as writer:
            writer.write_table(TABLE, 30)
    return path


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "arrow", "table", "pandas", "polars"])
def test_differences_are_counted_whatever_holds_the_rows(tmp_path, kind):
    if kind == "table":
        corpus = TABLE
    elif kind == "pandas":
        corpus = TABLE.to_pandas()
    elif kind == "polars":
        corpus = pytest.importorskip("polars").from_arrow(TABLE)
    else:
        corpus = write(tmp_path, kind)
    result = deduplicate(corpus, tmp_path / "out")
    told = result.summary["not_compared"]
    assert result.summary["reasons"]["exact"] == 160
    assert told["meta"] is None
    assert {name: told[name] for name in NAMES} == {
        name: expected(result, GIVEN, name) for name in NAMES
    }


def test_differences_are_the_same_however_a_run_is_cut(tmp_path):
    whole = deduplicate(write(tmp_path, "parquet"), tmp_path / "whole").summary["not_compared"]
    small = Tuning(task_text=2000, batch_bytes=1000, set_bytes=2000)
    for kind in ("parquet", "jsonl", "arrow"):
        file = write(tmp_path, kind)
        cut = deduplicate(file, tmp_path / kind, tuning=small, workers=2)
        assert cut.summary["not_compared"] == whole
    ray_free = deduplicate(TABLE, near=False)
    assert ray_free.summary["not_compared"] == whole


def test_columns_of_csv(tmp_path):
    table = pa.table({name: TABLE[name] for name in ("text", "id", "label", "score")})
    csv.write_csv(table, tmp_path / "rows.csv")
    result = deduplicate(tmp_path / "rows.csv", tmp_path / "out")
    names = ("id", "label", "score")
    assert result.summary["not_compared"] == {n: expected(result, GIVEN, n) for n in names}


def test_types_of_arrow():
    """What differs is told of every plain type; nested ones and bytes are said to be uncounted."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    pairs = {
        "int8": pa.array([-1, 1], pa.int8()),
        "uint64": pa.array([2**64 - 1, 2**64 - 2], pa.uint64()),
        "half": pa.array([0.5, 1.5], pa.float16()),
        "float": pa.array([0.0, -0.0], pa.float32()),
        "date": pa.array([date(2026, 1, 1), date(2026, 1, 2)]),
        "zoned": pa.array([moment, moment.replace(day=2)], pa.timestamp("us", "Europe/Berlin")),
        "time": pa.array([1, 2], pa.time32("s")),
        "bool": pa.array([True, False]),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
        "view": pa.array(["a", "b"], pa.string_view()),
        "null": pa.nulls(2),
        "decimal": pa.array([1, 2], pa.int64()).cast(pa.decimal128(25, 2)),
        "lists": pa.array([[1, 2], [12]], pa.list_(pa.int16())),
        "bytes": pa.array([b"a", b"b"]),
        "object": pa.array([{"a": 1}, {"a": 2}]),
    }
    table = pa.table({"text": [text(1)] * 2, **pairs})
    same = {"float": 0, "null": 0}
    untold = {"bytes": None, "object": None}
    expected_counts = {name: {**same, **untold}.get(name, 1) for name in pairs}
    assert deduplicate(table).summary["not_compared"] == expected_counts
    sliced = pa.concat_tables([table.slice(1), table]).slice(1)
    assert deduplicate(sliced).summary["not_compared"] == expected_counts


def test_json_that_must_be_parsed_row_by_row(tmp_path):
    lines = [
        {"text": text(1), "n": 1, "f": 1, "s": "a", "l": ["x", "y"]},
        {"text": text(1), "n": 1, "f": 1.0, "s": "a", "l": ["x", "y"]},
        {"text": text(1), "n": 2, "f": 0.5, "s": "b", "l": ["x"]},
    ]
    written = [json.dumps(line) for line in lines]
    (tmp_path / "fast.jsonl").write_text("\n".join(written) + "\n")
    odd = json.dumps({"text": [{"role": "user", "content": "hi"}], "n": 7}).replace("hi", "\\ud800")
    (tmp_path / "slow.jsonl").write_text("\n".join([*written, odd]) + "\n")
    counts = {"n": 1, "f": 1, "s": 1, "l": 1}
    for name in ("fast", "slow"):
        result = deduplicate(tmp_path / f"{name}.jsonl", tmp_path / name, on_bad_text="replace")
        assert result.summary["not_compared"] == counts


def test_json_of_several_types_is_said_to_be_uncounted(tmp_path):
    lines = [{"text": text(i % 3), "a": i, "b": "x", "c": 1} for i in range(3000)]
    lines[2999]["a"] = "other"
    lines[2998]["c"] = {"deep": 1}
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = deduplicate(file, tmp_path / "out")
    assert result.summary["not_compared"] == {"a": None, "b": 0, "c": None}
    assert result.summary["reasons"]["exact"] == 2997


def test_shards_without_the_column(tmp_path):
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    files[0].write_text(json.dumps({"text": text(1), "label": 1}) + "\n")
    files[1].write_text(json.dumps({"text": text(1), "more": 1}) + "\n")
    result = deduplicate(files, tmp_path / "out")
    assert result.summary["not_compared"] == {"label": 1}


def test_not_counting(tmp_path):
    result = deduplicate(TABLE, differences=False)
    assert set(result.summary["not_compared"].values()) == {None}
    columns = {f"c{i}": [0, i % 2] for i in range(MOST_COUNTED + 1)}
    wide = pa.table({"text": [text(1)] * 2, **columns})
    told = deduplicate(wide).summary["not_compared"]
    assert told[f"c{MOST_COUNTED - 1}"] == 1
    assert told[f"c{MOST_COUNTED}"] is None


def run(*words, columns=300):
    return CliRunner().invoke(cli, list(map(str, words)), env={"COLUMNS": str(columns)})


def test_what_is_said_of_them(tmp_path):
    write(tmp_path, "parquet")
    done = run("run", tmp_path / "rows.parquet", "-o", tmp_path / "out")
    label = expected(Result(tmp_path / "out"), GIVEN, "label")
    assert f"label in {label}" in done.stdout
    assert "id in" not in done.stdout
    assert "of 160 dropped rows" in done.stdout
    assert "not counted, as values are nested, bytes or mixed: meta" in done.stdout
    pair = json.loads(run("show", tmp_path / "out", "--pairs", 1, "--json").stdout)[0]
    own, its = GIVEN[pair["row"]], GIVEN[pair["witness_row"]]
    told = {one["column"]: (one["value"], one["witness_value"]) for one in pair["differs"]}
    assert told["id"] == (own["id"], its["id"])
    assert set(told) == {n for n in NAMES if (own[n] or None) != (its[n] or None)}
    shown = run("show", tmp_path / "out", "--pairs", 50).stdout
    assert re.search(r"not compared: .*\bid id\d+ / id\d+", shown)
    assert "\x1b" not in shown
    same = pa.table({"text": [text(1)] * 2, "label": [1, 1]})
    pq.write_table(same, tmp_path / "same.parquet")
    done = run("run", tmp_path / "same.parquet", "-o", tmp_path / "same")
    assert "in no dropped row does it differ: label" in done.stdout


def test_pairs_of_each_source_in_turn(tmp_path):
    given = [{"text": text(i // 2), "source": "rare" if i < 4 else "web"} for i in range(200)]
    pq.write_table(pa.Table.from_pylist(given), tmp_path / "rows.parquet")
    result = deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    table = result.pairs(4, by="source")
    assert sorted(table["by"].to_pylist()) == ["rare", "rare", "web", "web"]
    assert table["witness_by"].to_pylist() == table["by"].to_pylist()
    assert table["differs"].to_pylist() == [[]] * 4
    assert "source: rare" in run("show", tmp_path / "out", "--pairs", 4, "--by", "source").stdout
    with pytest.raises(SettingsError, match='no column "sauce"'):
        result.pairs(4, by="sauce")


def test_a_cluster_that_took_much_of_a_source(tmp_path):
    texts = [text(0)] * 150 + [text(i) for i in range(1, 2000)]
    table = pa.table(
        {
            "text": texts,
            "source": ["small"] * 300 + ["web\x1b"] * (len(texts) - 300),
            "other": [number % 2 for number in range(len(texts))],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    place = f"because of row 0:0 of {tmp_path / 'rows.parquet'}"
    found = deduplicate(tmp_path / "rows.parquet", tmp_path / "out")
    assert found.summary["warnings"] == [f"source small: 149 of 300 rows were dropped {place}"]
    found = deduplicate(tmp_path / "rows.parquet", tmp_path / "by", by="other")
    assert found.summary["warnings"] == []
    with pytest.raises(Exception, match='no column "nowhere"'):
        deduplicate(tmp_path / "rows.parquet", tmp_path / "bad", by="nowhere")
    many = table.set_column(1, "source", pa.array([f"s{i}" for i in range(len(texts))]))
    assert deduplicate(many).summary["warnings"] == []
