"""`--recall exact`: the keep-list of a run that misses nothing, whatever it is cut into."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import found, table_of

from dedupe import SettingsError, audit, deduplicate, planning
from dedupe.config import Resources, Settings


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
    missed = audit(few.path).missed_rows.count
    audited = audit(every.path)
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
    assert audit(banded.path, full=True).missed_rows.count == 0
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


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("room", [1 << 40, 150_000, 9_000])
def test_same_bytes_however_it_is_cut(corpus, tmp_path, monkeypatch, workers, room):
    folder, expected = corpus
    needed = planning.join_bytes
    monkeypatch.setattr(planning, "TASK_TEXT", 9_000)
    monkeypatch.setattr(planning, "SHARD_BYTES", 1_000)
    monkeypatch.setattr(planning, "JOIN_BATCH", 2_000)
    # memory that holds `room` bytes of a block
    scale = planning.task_sizes(Resources.of(workers), 1, 0, "word").block_bytes / room
    monkeypatch.setattr(planning, "join_bytes", lambda *of: int(needed(*of) * max(scale, 1e-9)))
    result = deduplicate(
        folder, tmp_path / "out", recall="exact", threshold=0.5, id="id", workers=workers
    )
    assert [file.read_bytes() for file in result.files] == expected
    tasks = result.summary["stages"]["join"]["tasks"]
    assert tasks > 5 if room < 10_000 else tasks >= workers - 1


def test_a_block_that_does_not_fit_is_joined_in_parts(corpus, tmp_path, monkeypatch):
    folder, expected = corpus
    from dedupe.stages.join import JoinBlock

    made = []
    of = JoinBlock.of
    monkeypatch.setattr(planning, "JOIN_BATCH", 2_000)
    monkeypatch.setattr(JoinBlock, "of", lambda *parts: made.append(of(*parts)) or made[-1])
    needed = planning.join_bytes
    monkeypatch.setattr(planning, "join_bytes", lambda *what: needed(*what) * 20_000)
    monkeypatch.setattr(planning, "join_blocks", lambda sizes, weights: [0, len(weights)])
    result = deduplicate(folder, tmp_path / "out", recall="exact", threshold=0.5, id="id")
    assert [file.read_bytes() for file in result.files] == expected
    assert result.summary["stages"]["join"]["tasks"] == 1
    assert len(made) > 3
    assert sum(map(len, made)) == 1500


def test_it_resumes(corpus, tmp_path, monkeypatch):
    folder, expected = corpus
    from dedupe import pipeline

    monkeypatch.setattr(planning, "TASK_TEXT", 9_000)
    monkeypatch.setattr(planning, "SHARD_BYTES", 1_000)
    whole = pipeline.join_task

    def failing(job, layout, task):
        if task == 0:
            while not list(job.work.root.glob("*/join/*.json")):
                time.sleep(0.01)
            raise KeyboardInterrupt
        return whole(job, layout, task)

    how = {"recall": "exact", "threshold": 0.5, "id": "id", "work_dir": tmp_path / "work"}
    monkeypatch.setattr(pipeline, "join_task", failing)
    with pytest.raises(KeyboardInterrupt):
        deduplicate(folder, tmp_path / "out", workers=3, **how)
    monkeypatch.setattr(pipeline, "join_task", whole)
    result = deduplicate(folder, tmp_path / "out", workers=1, memory="1GB", **how)
    join = result.summary["stages"]["join"]
    assert 0 < join["resumed"] < join["tasks"]
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
    result = deduplicate(table_of([None, "", "?"]), recall="exact")
    assert result.keep_list()["reason"].to_pylist() == ["empty"] * 3
    assert deduplicate(table_of([]), recall="exact").mask().tolist() == []


def test_settings():
    assert Settings(recall="exact").joined
    assert not Settings(recall="exact", near=False).joined
    assert Settings(recall="0.9").recall == 0.9
    for wrong in ({"recall": "exactly"}, {"recall": 1}, {"recall": "exact", "bands": 2, "rows": 2}):
        with pytest.raises(SettingsError, match="exact"):
            Settings(**wrong)


def test_blocks_are_as_few_as_fit_but_one_for_each_worker():
    sizes = planning.task_sizes(Resources.of(2, "4GB"), 1, 10**9, "word")
    assert planning.join_blocks(sizes, [10] * 8) == [0, 4, 8]
    large = sizes.block_bytes // 3
    assert planning.join_blocks(sizes, [large] * 9) == [0, 3, 6, 9]
    assert planning.join_blocks(sizes, [5 * large] * 3) == [0, 1, 2, 3]
    assert planning.join_blocks(sizes, []) == [0]


def test_the_command_line_says_that_there_are_no_bands(tmp_path):
    def dedupe(*arguments):
        command = [sys.executable, "-m", "dedupe", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    path = tmp_path / "rows.csv"
    path.write_text("text\n" + "".join(f"some words of row {i // 2}\n" for i in range(20)))
    done = dedupe("run", path, "--output", tmp_path / "out", "--recall", "exact")
    assert done.returncode == 0, done.stderr
    assert "exact join, no bands" in done.stdout
    assert "10 kept, 10 dropped" in done.stdout
    assert "join: " in done.stderr
    assert "no bands" in dedupe("plan", "--recall", "exact", "--png", tmp_path / "a.png").stdout
    report = json.loads(dedupe("plan", "--recall", "exact", "--json").stdout)
    assert report["bands"] is None
    assert report["join_tasks"] >= 1
    assert report["recall_at_threshold"] == report["recall_above_threshold"] == 1
    assert dedupe("plan", "--recall", "all").returncode == 2
