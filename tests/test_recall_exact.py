"""`--recall exact`: the keep-list of a run that misses nothing, whatever it is cut into."""

from __future__ import annotations

import json
from dataclasses import replace

import commands
import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import found, table_of
from moments import At, Killed

import dedupe
from dedupe import Settings, SettingsError, Tuning, deduplicate
from dedupe.storage.checksums import unseal


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"threshold": 5e-324},
        {"threshold": 0.2},
        {"threshold": 0.5},
        {"threshold": 1.0},
        {"shingle": "char:7", "threshold": 0.7},
        {"shingle": "word:1", "threshold": 0.6},
        {"cluster": "transitive", "threshold": 0.5},
        {"exact": "bytes"},
        {"near": False},
        {"keep": "longest", "threshold": 0.5},
    ],
    ids=str,
)
def test_keep_list_is_that_of_brute_force(settings):
    texts = corpora.mixed(400, seed=3)
    result = deduplicate(table_of(texts), recall="exact", **settings)
    order = {}
    if "keep" in settings:
        order["order"] = lambda row: -len((texts[row] or "").encode())
    assert found(result) == corpora.expected(texts, recall="exact", **order, **settings)
    assert result.summary["lsh"] is None
    assert result.summary["settings"]["recall"] == "exact"
    assert ("join" in result.summary["stages"]) == settings.get("near", True)


def test_rows_of_every_script():
    texts = corpora.every_script(1500, seed=5)
    result = deduplicate(table_of(texts), recall="exact", threshold=0.6)
    assert found(result) == corpora.expected(texts, recall="exact", threshold=0.6)


def test_pairs_that_bands_miss_are_found(tmp_path):
    texts = corpora.mixed(600, seed=8)
    path = tmp_path / "rows.parquet"
    pq.write_table(table_of(texts), path)
    few = deduplicate(path, tmp_path / "few", threshold=0.5, bands=2, rows=12)
    every = deduplicate(path, tmp_path / "every", threshold=0.5, recall="exact")
    missed = dedupe.audit(few.path).missed_rows.count
    audited = dedupe.audit(every.path)
    assert missed > 20
    assert audited.ok
    assert audited.target == 1.0
    assert (audited.missed_rows.count, audited.recall.share) == (0, 1.0)
    assert every.kept < few.kept


def test_it_is_what_bands_of_perfect_recall_give(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(table_of(corpora.mixed(2000, seed=12)), path)
    banded = deduplicate(path, tmp_path / "banded", threshold=0.7, bands=64, rows=2)
    joined = deduplicate(path, tmp_path / "joined", threshold=0.7, recall="exact")
    assert dedupe.audit(banded.path, full=True).missed_rows.count == 0
    assert [file.read_bytes() for file in joined.files] == [
        file.read_bytes() for file in banded.files
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Shards of several formats, and what a run that is not cut says of them."""
    folder = tmp_path_factory.mktemp("exact")
    texts = corpora.mixed(1500, seed=21)
    (folder / "corpus").mkdir()
    for number, (first, end) in enumerate([(0, 700), (700, 701), (701, 1500)]):
        rows = [{"text": text, "id": i} for i, text in enumerate(texts[first:end], first)]
        if number == 1:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / "corpus" / "part-1.jsonl").write_text(lines)
        else:
            path = folder / "corpus" / f"part-{number}.parquet"
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=60)
    whole = deduplicate(folder / "corpus", folder / "whole", recall="exact", threshold=0.5, id="id")
    assert whole.summary["stages"]["join"]["tasks"] <= 2
    return folder / "corpus", [file.read_bytes() for file in whole.files]


EXACT = {"recall": "exact", "threshold": 0.5, "id": "id"}
SMALL_TASKS = Tuning(task_text=9_000, shard_bytes=1_000, join_batch=2_000, edge_batch=50)


@pytest.mark.parametrize(
    ("room", "workers"), [(1 << 40, 1), (1 << 40, 5), (150_000, 2), (25_000, 1), (25_000, 5)]
)
def test_same_bytes_however_it_is_cut(corpus, tmp_path, workers, room):
    folder, expected = corpus
    tuning = replace(SMALL_TASKS, join_memory=room)
    result = deduplicate(folder, tmp_path / "out", workers=workers, tuning=tuning, **EXACT)
    assert [file.read_bytes() for file in result.files] == expected
    tasks = result.summary["stages"]["join"]["tasks"]
    assert tasks > 5 if room < 30_000 else tasks >= workers - 1


def test_a_block_that_does_not_fit_any_more_is_joined_in_parts(corpus, tmp_path):
    """A run is cut for the memory it has when it begins, and resumed with less."""
    folder, expected = corpus
    how = {**EXACT, "work_dir": tmp_path / "work", "workers": 1}
    with pytest.raises(Killed):
        deduplicate(folder, tmp_path / "out", progress=At("join"), **how)
    tuning = Tuning(join_memory=40_000, join_batch=2_000)
    result = deduplicate(folder, tmp_path / "out", tuning=tuning, **how)
    assert [file.read_bytes() for file in result.files] == expected
    assert result.summary["stages"]["join"]["tasks"] == 1
    (path,) = (tmp_path / "work").glob("*/join/00000.json")
    ((bounds, _, _),) = unseal("join 0", path.read_bytes(), "")["files"].values()
    assert len(bounds) - 1 > 3  # a record batch of edges for each part


def test_it_resumes(corpus, tmp_path):
    folder, expected = corpus
    how = {**EXACT, "work_dir": tmp_path / "work"}
    progress = At("join", done=1)
    with pytest.raises(Killed):
        deduplicate(
            folder, tmp_path / "out", workers=5, tuning=SMALL_TASKS, progress=progress, **how
        )
    result = deduplicate(folder, tmp_path / "out", workers=1, memory="1GB", **how)
    join = result.summary["stages"]["join"]
    assert 0 < join["resumed"] < join["tasks"] == progress.stages["join"]
    assert [file.read_bytes() for file in result.files] == expected


def test_one_row_many_times_and_a_family_of_one_template():
    copies = ["the same seven words again and again"] * 50_000
    result = deduplicate(table_of(copies), recall="exact")
    assert (result.kept, result.summary["reasons"]["exact"]) == (1, 49_999)
    family = corpora.templates(3000, common=60, own=8)
    assert deduplicate(table_of(family), recall="exact").kept == 3000
    close = corpora.templates(3000, common=100, own=1)
    assert deduplicate(table_of(close), recall="exact").kept == 1


def test_empty_rows_and_no_rows():
    result = deduplicate(table_of([None, "", " \n"]), recall="exact")
    assert result.keep_list()["reason"].to_pylist() == ["empty"] * 3
    assert deduplicate(table_of([]), recall="exact").mask().tolist() == []


def test_settings():
    assert Settings(recall="exact").joined
    assert not Settings(recall="exact", near=False).joined
    assert Settings(recall="0.9").recall == 0.9
    for wrong in ({"recall": "exactly"}, {"recall": 1}, {"recall": "exact", "bands": 2, "rows": 2}):
        with pytest.raises(SettingsError, match="exact"):
            Settings(**wrong)


def test_the_command_line_says_that_there_are_no_bands(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text\n" + "".join(f"some words of row {i // 2}\n" for i in range(20)))
    done = commands.dedupe("run", path, "--output", tmp_path / "out", "--recall", "exact")
    assert done.returncode == 0, done.stderr
    assert "exact join, no bands" in done.stdout
    assert "10 kept, 10 dropped" in done.stdout
    assert "join (stage 3 of 9): " in done.stderr
    png = ("--png", tmp_path / "a.png")
    assert "no bands" in commands.dedupe("plan", "--recall", "exact", *png).stdout
    report = json.loads(commands.dedupe("plan", "--recall", "exact", "--json").stdout)
    assert report["bands"] is None
    assert report["join_tasks"] >= 1
    assert report["recall_at_threshold"] == report["recall_above_threshold"] == 1
    assert commands.dedupe("plan", "--recall", "all").returncode == 2
