"""`apply --copies-column` and `--repeat`: the number of copies beside rows, or rows as often."""

from __future__ import annotations

import io
import json

import commands
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from test_apply import rows_of, write

from dedupe import CorpusError, Result, SettingsError, apply, deduplicate
from dedupe.commands.apply import repeats
from dedupe.commands.apply.repeats import cut_short, rounds, steps_of, times_of

KINDS = ["parquet", "jsonl", "jsonl.gz", "csv", "file.arrow", "stream.arrow"]

COPIES = [1, 4, 1, 2, 12, 1, 5, 1, 3]
"""How often each text is in the corpus."""

TEXTS = [f"text {i} of some words, and 'quoted', é" for i, n in enumerate(COPIES) for _ in range(n)]
FIRST = [sum(COPIES[:i]) for i in range(len(COPIES))]
"""The row of each that stays."""

STEPS = {1: 1, 2: 2, 5: 3}
TIMES = [1, 2, 1, 2, 3, 1, 3, 1, 2]


@pytest.fixture
def run(tmp_path):
    def made(kind, name="a", texts=TEXTS, **how):
        write(tmp_path / "in", kind, texts, name)
        return deduplicate(tmp_path / "in", tmp_path / "out", text="text", **how)

    return made


def numbers(paths):
    return [int(row["n"]) for path in paths for row in rows_of(path)]


EXPECTED = [n for n, times in zip(FIRST, TIMES, strict=True) for _ in range(times)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_repeated_and_have_their_copies(run, tmp_path, kind):
    result = run(kind)
    manifest = apply(
        result.path,
        tmp_path / "clean",
        repeat=STEPS,
        copies_column="seen",
        dropped=tmp_path / "gone",
    )
    rows = rows_of(tmp_path / "clean" / f"a.{kind}")
    assert [int(row["n"]) for row in rows] == EXPECTED
    assert [row["text"] for row in rows] == [TEXTS[n] for n in EXPECTED]
    counts = dict(zip(FIRST, COPIES, strict=True))
    seen = [counts[n] for n in EXPECTED]
    assert [row["seen"] for row in rows] == (list(map(str, seen)) if kind == "csv" else seen)
    assert list(rows[0]) == ["text", "n", "seen"]
    assert (manifest["kept"], manifest["repeated"]) == (len(rows), len(rows) - len(FIRST))
    assert manifest["dropped"] == len(TEXTS) - len(FIRST)
    assert manifest["files"][0]["kept"] == len(rows)
    gone = rows_of(tmp_path / "gone" / f"a.{kind}")
    assert [int(row["n"]) for row in gone] == sorted({*range(len(TEXTS))} - {*FIRST})
    assert not any(name.startswith("dedupe_copies") for name in gone[0])
    if kind == "parquet":
        schema = pq.read_schema(tmp_path / "clean" / "a.parquet")
        assert schema.field("seen").type == pa.int64()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_files_of_one_size_may_end_within_a_row_that_is_repeated(tmp_path, kind, size):
    write(tmp_path / "in", kind, TEXTS, "a")
    write(tmp_path / "in", kind, [f"{text} and words of its own" for text in TEXTS], "b")
    result = deduplicate(tmp_path / "in", tmp_path / "both", text="text")
    manifest = apply(
        result.path, tmp_path / "clean", repeat=STEPS, rows_per_file=size, dropped=tmp_path / "gone"
    )
    files = [tmp_path / "clean" / one["name"] for one in manifest["files"]]
    counts = [len(rows_of(path)) for path in files]
    assert numbers(files) == EXPECTED * 2
    assert [one["kept"] for one in manifest["files"]] == counts
    assert counts[:-1] == [size] * (len(counts) - 1)
    assert 0 < counts[-1] <= size
    assert manifest["repeated"] == len(EXPECTED) * 2 - len(FIRST) * 2
    gone = [tmp_path / "gone" / one["name"] for one in manifest["files"]]
    assert numbers(gone) == sorted({*range(len(TEXTS))} - {*FIRST}) * 2
    assert manifest["dropped"] == len(numbers(gone))


def test_rows_beside_the_kept_row_are_written_by_their_own_copies(run, tmp_path):
    result = run("jsonl", keep_at_most=2)
    apply(result.path, tmp_path / "clean", copies_column="copies")
    rows = rows_of(tmp_path / "clean" / "a.jsonl")
    assert sum(row["copies"] for row in rows) == len(TEXTS)
    apply(result.path, tmp_path / "often", repeat="1:1,2:2,5:3")
    extra = [n + 1 for n, copies in zip(FIRST, COPIES, strict=True) if copies > 1]
    found = numbers([tmp_path / "often" / "a.jsonl"])
    assert all(found.count(n) == 1 for n in extra)


def test_the_command_says_what_it_repeats(run, tmp_path):
    result = run("jsonl")
    how = ("--repeat", "1:1,2:2,5:3", "--copies-column", "seen")
    done = commands.dedupe("apply", result.path, "--output", tmp_path / "clean", *how)
    assert f"{len(FIRST)} rows kept and {len(TEXTS) - len(FIRST)} dropped" in done.stdout
    assert f"with those that are repeated {len(EXPECTED)} rows were written" in done.stdout
    assert numbers([tmp_path / "clean" / "a.jsonl"]) == EXPECTED
    again = commands.dedupe("apply", result.path, "--output", tmp_path / "clean", *how)
    assert again.returncode == 0
    other = commands.dedupe("apply", result.path, "--output", tmp_path / "clean")
    assert other.returncode == 2


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "file.arrow"])
def test_a_column_that_is_there_already_stays_what_it_is(run, tmp_path, kind):
    result = run(kind)
    with pytest.raises(CorpusError, match='has a column "n" already'):
        apply(result.path, tmp_path / "clean", copies_column="n")
    assert not (tmp_path / "clean").exists()


def test_a_key_that_only_a_later_row_has(tmp_path):
    rows = [{"text": f"row {i} with some words"} for i in range(3000)]
    rows[2500]["seen"] = 1
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    deduplicate(path, tmp_path / "out")
    with pytest.raises(CorpusError, match='row 2500: has a column "seen" already'):
        apply(tmp_path / "out", tmp_path / "clean", copies_column="seen")


def test_plain_text_has_no_columns_and_files_are_no_rows(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one line of text\none line of text\nanother one\n")
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match="leave out --copies-column"):
        apply(tmp_path / "out", tmp_path / "clean", copies_column="copies")
    apply(tmp_path / "out", tmp_path / "clean", repeat="1:1,2:3")
    lines = (tmp_path / "clean" / "a.txt").read_text().splitlines()
    assert lines == ["one line of text"] * 3 + ["another one"]
    deduplicate(tmp_path / "in", tmp_path / "files", unit="file")
    with pytest.raises(CorpusError, match="is a row itself: leave out --repeat"):
        apply(tmp_path / "files", tmp_path / "other", repeat="1:2")


def test_rows_of_arrays_are_repeated_as_elements(tmp_path):
    rows = [{"text": text, "n": n} for n, text in enumerate(TEXTS)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    deduplicate(tmp_path / "a.json", tmp_path / "out", text="text")
    apply(tmp_path / "out", tmp_path / "clean", repeat=STEPS)
    found = json.loads((tmp_path / "clean" / "a.json").read_text())
    assert [row["n"] for row in found] == EXPECTED


@pytest.mark.parametrize(
    "wrong",
    ["", "1", "1:0", "2:1", "1:1,1:2", "1:1,5:2,3:3", "1:1001", "1:1, 2:2", {}, {1: 1.5}, {2: 1},
     {True: 1}, [1], 3, "1:-1", "0:1,1:1"],
)  # fmt: skip
def test_steps_that_are_none(wrong):
    with pytest.raises(SettingsError, match="use COPIES:TIMES"):
        steps_of(wrong)


def test_what_does_not_go_together(run, tmp_path):
    result = run("jsonl")
    for how in ({"copies_column": "seen"}, {"repeat": "1:2"}):
        with pytest.raises(SettingsError, match="add_columns writes all rows once"):
            apply(result.path, tmp_path / "clean", add_columns=True, **how)
    for name in ("", 1):
        with pytest.raises(SettingsError, match="use the name of a column"):
            apply(result.path, tmp_path / "clean", copies_column=name)
    apply(result.path, tmp_path / "all", add_columns=True)
    rows = rows_of(tmp_path / "all" / "a.jsonl")
    assert [row["dedupe_copies"] for row in rows if row["dedupe_keep"]] == COPIES


STEPS_DRAWN = st.dictionaries(st.integers(2, 40), st.integers(1, 9), max_size=4).flatmap(
    lambda more: st.integers(1, 9).map(lambda one: {1: one, **dict(sorted(more.items()))})
)


@given(
    steps=STEPS_DRAWN,
    rows=st.lists(st.tuples(st.booleans(), st.integers(1, 60)), max_size=40),
    size=st.integers(0, 100),
    at_a_time=st.integers(1, 50),
    room=st.integers(1, 300),
)
def test_rows_come_as_often_as_steps_say(steps, rows, size, at_a_time, room):
    keep = np.array([kept for kept, _ in rows], bool)
    copies = np.array([n for _, n in rows], np.int64)
    times = times_of(steps_of(steps), keep, copies)
    expected = [steps[max(step for step in steps if step <= n)] if kept else 0 for kept, n in rows]
    assert times.tolist() == expected
    before = repeats.ROWS_AT_A_TIME, repeats.BYTES_AT_A_TIME
    repeats.ROWS_AT_A_TIME, repeats.BYTES_AT_A_TIME = at_a_time, room
    try:
        parts = list(rounds(times, size))
    finally:
        repeats.ROWS_AT_A_TIME, repeats.BYTES_AT_A_TIME = before
    written = [i for i, n in enumerate(expected) for _ in range(n)]
    assert [int(i) for part in parts for i in part] == written
    of_each = max(room // max(size, 1), 1)
    assert all(np.bincount(part).max(initial=0) <= of_each for part in parts)


@given(
    times=st.lists(st.integers(0, 5), max_size=20),
    skip=st.integers(0, 4),
    most=st.none() | st.integers(0, 30),
)
@given_settings(max_examples=200)
def test_a_file_takes_what_it_has_room_for(times, skip, most):
    written = [i for i, n in enumerate(times) for _ in range(n)]
    first = next((n for n in times if n), 0)
    skip = min(skip, first)
    expected = written[skip:] if most is None else written[skip : skip + most]
    found = cut_short(np.array(times, np.int64), skip, most)
    assert [i for i, n in enumerate(found.tolist()) for _ in range(n)] == expected


def test_large_rows_are_repeated_a_few_at_a_time(tmp_path):
    """However long a row is, and of a type that pyarrow cannot pick rows of."""
    long = "".join(f"word{i} " for i in range(200_000))
    table = pa.table({"text": pa.array([long, long, "short", long]), "n": [0, 1, 2, 3]})
    pq.write_table(table, tmp_path / "a.parquet")
    deduplicate(tmp_path / "a.parquet", tmp_path / "out", text="text")
    apply(tmp_path / "out", tmp_path / "clean", repeat={1: 1, 3: 30})
    assert numbers([tmp_path / "clean" / "a.parquet"]) == [0] * 30 + [2]


def test_columns_of_views_are_repeated(tmp_path):
    table = pa.table(
        {
            "text": pa.array(TEXTS, pa.string_view()),
            "n": range(len(TEXTS)),
            "views": pa.array([[text] for text in TEXTS], pa.list_view(pa.string())),
        }
    )
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    (tmp_path / "a.arrow").write_bytes(sink.getvalue())
    deduplicate(tmp_path / "a.arrow", tmp_path / "out", text="text")
    apply(tmp_path / "out", tmp_path / "clean", repeat=STEPS)
    found = rows_of(tmp_path / "clean" / "a.arrow")
    assert [(row["n"], row["views"]) for row in found] == [(n, [TEXTS[n]]) for n in EXPECTED]


def test_copies_of_kept_rows_in_their_order(run):
    result = run("jsonl")
    assert isinstance(result, Result)
    assert result.copies().tolist() == COPIES
    assert result.copies().dtype == np.int64
    assert result.kept_rows().tolist() == FIRST


def test_datasets_that_were_saved_are_loaded_with_what_was_added(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"text": TEXTS, "n": list(range(len(TEXTS)))}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "in")
    deduplicate(tmp_path / "in", tmp_path / "out", text="text")
    apply(tmp_path / "out", tmp_path / "clean", repeat=STEPS, copies_column="copies")
    loaded = datasets.load_from_disk(tmp_path / "clean")
    assert list(loaded["n"]) == EXPECTED
    assert loaded.column_names == ["text", "n", "copies"]
