"""What `plan` says of a corpus, and how long it says that a run will take."""

from __future__ import annotations

import gzip
import json

import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import dedupe
from dedupe import CorpusError, SettingsError, calibration, plans
from dedupe.cli import cli
from dedupe.planning.timing import Measured, Size, StageTime


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """A file of measured runs of its own, in a folder that is not there yet."""
    path = tmp_path / "cache" / "runs.json"
    monkeypatch.setattr(calibration, "runs_path", lambda: path)
    monkeypatch.setattr(calibration, "LEAST_BYTES", 0)
    return path


def rows_of(count):
    return [{"text": text, "n": n} for n, text in enumerate(corpora.mixed(count, seed=2))]


def written(folder, kind, rows):
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet", row_group_size=100)
    elif kind == "gz":
        (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    else:
        (folder / "a.jsonl").write_text(lines)


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "gz"])
def test_a_small_corpus_is_known_exactly(tmp_path, kind):
    rows = [*rows_of(700), *({"text": text, "n": 0} for text in ("", None))]
    written(tmp_path / "corpus", kind, rows)
    found = dedupe.plan(tmp_path / "corpus")
    about = found["corpus"]
    assert about["rows"] == about["read"] == found["corpus_rows"] == 702
    assert about["text_bytes"] == sum(len((row["text"] or "").encode()) for row in rows)
    no_text = sum(not row["text"] for row in rows)
    assert about["empty"] == no_text / 702
    assert about["files"] == about["looked_at"] == 1
    assert about["formats"] == {"parquet" if kind == "parquet" else "jsonl": 1}
    assert about["columns"] == ["text", "n"]
    assert found["seconds"] is None
    assert found["bottleneck"] == "not known without times"
    assert not about["is_remote"]
    assert found["requests"] is None


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_large_corpus_is_known_about(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(plans, "PART_BYTES", 5_000)
    monkeypatch.setattr(plans, "FILES", 3)
    rows = rows_of(3000)
    for number in range(12):
        written(tmp_path / f"{number}", kind, rows[number * 250 :][: 150 + 20 * number])
    paths = [tmp_path / f"{number}" for number in range(12)]
    found = dedupe.plan(paths)["corpus"]
    count = sum(150 + 20 * number for number in range(12))
    assert (found["files"], found["looked_at"]) == (12, 3)
    assert found["read"] < count / 3
    assert found["rows"] == pytest.approx(count, rel=0.2)
    bytes_of = sum(len((row["text"] or "").encode()) for row in rows) / len(rows)
    assert found["mean_bytes"] == pytest.approx(bytes_of, rel=0.3)


def test_time_is_told_by_the_last_run_of_the_kind(tmp_path, runs, monkeypatch):
    written(tmp_path / "corpus", "jsonl", rows_of(400))
    corpus = tmp_path / "corpus"
    dedupe.deduplicate(corpus, tmp_path / "short")
    assert not runs.exists()  # it was short
    first = dedupe.plan(corpus, calibrate=True, price=3600.0)
    assert list(first["seconds"]) == [
        "sign", "bucket", "components", "route", "group", "fetch", "verify", "keep", "rest",
    ]  # fmt: skip
    assert first["dollars"] == pytest.approx(sum(first["seconds"].values()))
    assert first["measured_by"]["rows"] == 400
    assert first["measured_by"]["errors"] == []
    assert first["in_components"] == pytest.approx(calibration._runs()[0].share)
    assert first["bottleneck"].endswith(" of the time")
    assert dedupe.plan(corpus, recall="exact")["seconds"] is None
    assert dedupe.plan(corpus, shingle="char:9")["seconds"] is None
    assert dedupe.plan(corpus, near=False)["seconds"] is None
    assert dedupe.plan(corpus_rows=400, mean_bytes=300)["seconds"] is not None
    again = dedupe.plan(corpus, calibrate=True)
    (error,) = again["measured_by"]["errors"]
    one, two = calibration._runs()
    assert error == pytest.approx(two.seconds / two.predicted - 1)
    assert two.predicted == pytest.approx(one.seconds, rel=0.01)  # of the same corpus
    monkeypatch.setattr(calibration, "LEAST_SECONDS", 0.0)
    dedupe.deduplicate(corpus, tmp_path / "long")
    assert len(calibration._runs()) == 3
    for _ in range(calibration.MOST_RUNS):
        calibration.note_run("local", dedupe.Result(tmp_path / "long").summary)
    assert len(calibration._runs()) == calibration.MOST_RUNS
    said = runs.read_text()
    assert str(tmp_path) not in said
    assert "corpus" not in said
    assert [path.name for path in runs.parent.iterdir()] == ["runs.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"kind": 1}]', "null", "[[]]", "\udcff"])
def test_a_file_of_runs_that_is_none_is_as_none(runs, text):
    runs.parent.mkdir()
    runs.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert dedupe.plan()["seconds"] is None


def test_a_run_with_faults_or_that_was_resumed_says_nothing(tmp_path, runs):
    written(tmp_path / "corpus", "jsonl", rows_of(50))
    summary = dedupe.deduplicate(tmp_path / "corpus", tmp_path / "out").summary
    for change in (
        {"stages": {**summary["stages"], "sign": {**summary["stages"]["sign"], "resumed": 1}}},
        {"faults": {**summary["faults"], "damaged_files": 1}},
    ):
        calibration.note_run("local", {**summary, **change}, always=True)
        assert not runs.exists()
    calibration.note_run("local", summary, always=True)
    assert runs.exists()
    runs.unlink()
    runs.parent.rmdir()
    runs.parent.write_text("no folder")
    calibration.note_run("local", summary, always=True)  # nowhere to write


sizes = st.builds(
    Size,
    rows=st.integers(10**6, 10**9),
    text_bytes=st.integers(10**10, 10**12),
    members=st.integers(10**6, 10**7),
    bands=st.integers(1, 50),
    blocks=st.integers(1, 9),
)


@given(sizes, st.integers(1, 64), st.floats(0.01, 1e4))
def test_a_run_tells_its_own_time_and_twice_the_rows_take_twice(size, at_once, wall):
    names = ["sign", "bucket", "components", "route", "group", "fetch", "verify", "keep", "join"]
    measured = Measured(size, {name: StageTime(wall, at_once) for name in names}, 0.0)
    same = measured.seconds_of(size, {})
    assert same == pytest.approx(dict.fromkeys(names, wall))
    halved = measured.seconds_of(size, dict.fromkeys(names, 2 * at_once))
    assert halved == pytest.approx(dict.fromkeys(names, wall / 2))
    twice = Size(2 * size.rows, 2 * size.text_bytes, 2 * size.members, size.bands, size.blocks)
    took = measured.seconds_of(twice, {})
    assert took == pytest.approx(dict.fromkeys(names, 2 * wall))


def test_mistakes(tmp_path):
    with pytest.raises(SettingsError, match="give a corpus, or its rows and mean bytes"):
        dedupe.plan(tmp_path, corpus_rows=5)
    with pytest.raises(SettingsError, match="calibrate runs over some of a corpus: give one"):
        dedupe.plan(calibrate=True)
    with pytest.raises(CorpusError, match="no such file"):
        dedupe.plan(tmp_path / "nosuch")


def test_the_command(tmp_path):
    written(tmp_path / "corpus", "jsonl", rows_of(300))

    def command(*words):
        done = CliRunner().invoke(cli, ["plan", *map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0
        return " ".join(done.output.split())

    said = command(tmp_path / "corpus")
    assert said.startswith("1 files (1 jsonl), ")
    assert "about 300 rows with " in said
    assert "was measured on this machine, so no time is told" in said
    said = command(tmp_path / "corpus", "--calibrate", "--price", "2")
    assert "time: about " in said
    assert "told by a run over 300 rows that took" in said
    assert "so how far off that is is not known" in said
    assert "dollars at that price" in said
    assert "1 runs took between " in command(tmp_path / "corpus", "--calibrate")
    assert "files (" not in command()


def test_a_run_over_little_text_says_nothing(tmp_path, runs, monkeypatch):
    written(tmp_path / "corpus", "jsonl", rows_of(50))
    monkeypatch.setattr(calibration, "LEAST_BYTES", 10_000_000)
    assert dedupe.plan(tmp_path / "corpus", calibrate=True)["seconds"] is None
    assert not runs.exists()


def test_rows_and_files_that_are_left_out_are_left_out_here_too(tmp_path):
    rows = rows_of(300)
    written(tmp_path / "corpus", "jsonl", rows)
    with open(tmp_path / "corpus" / "a.jsonl", "a") as file:
        file.write("no json\n")
    (tmp_path / "corpus" / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps(rows).encode())[:40])
    with pytest.raises(CorpusError):
        dedupe.plan(tmp_path / "corpus")
    found = dedupe.plan(tmp_path / "corpus", on_bad_row="skip", on_bad_file="skip")
    assert found["corpus"]["read"] >= 300
    assert any("b.jsonl.gz" in note for note in found["corpus"]["notes"])
