"""Whole runs against brute force, and the same keep-list however a run is cut and carried out."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import corpora
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import found, table_of
from moments import At

from dedupe import CorpusError, Tuning, deduplicate, pipeline
from dedupe.errors import IntegrityError
from dedupe.storage.checksums import seal, unseal


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"threshold": 0.6},
        {"threshold": 1.0},
        {"shingle": "char:7", "threshold": 0.7},
        {"shingle": "word:1", "threshold": 0.7},
        {"cluster": "transitive", "threshold": 0.6},
        {"exact": "bytes"},
        {"near": False},
        {"near": False, "exact": "bytes"},
        {"bands": 9, "rows": 13, "minhash_seed": 7},
        {"num_perm": 256, "recall": 0.999},
    ],
    ids=str,
)
def test_keep_list_is_that_of_brute_force(settings):
    texts = corpora.mixed(400, seed=3)
    result = deduplicate(table_of(texts), **settings)
    assert found(result) == corpora.expected(texts, **settings)


def test_the_largest_components_are_named_before_verify(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "LARGE_COMPONENT", 10)
    text = " ".join(map(str, range(60)))
    texts = [f"another text {n}" for n in range(25)] + [f"{text} {n}" for n in range(15)]
    paths = [str(tmp_path / f"{number}.parquet") for number in range(2)]
    for path, part in zip(paths, (texts[:20], texts[20:]), strict=True):
        pq.write_table(table_of(part), path)
    told = At("nothing")
    deduplicate(paths, output=tmp_path / "out", progress=told)
    named = [note for note in told.notes if "component" in note]
    assert named == [f"15 rows (38%) are one component, such as row 5 of {paths[1]}"]


@pytest.mark.parametrize(
    ("keep", "order"),
    [
        ("longest", lambda texts, scores, row: -len((texts[row] or "").encode())),
        ("shortest", lambda texts, scores, row: len((texts[row] or "").encode())),
        ("max:score", lambda texts, scores, row: (scores[row] is None, -(scores[row] or 0))),
        ("min:score", lambda texts, scores, row: (scores[row] is None, scores[row] or 0)),
    ],
)
def test_keep_policies(keep, order):
    texts = corpora.mixed(300, seed=5)
    scores = [None if row % 7 == 0 else (row * 37) % 11 for row in range(len(texts))]
    result = deduplicate(table_of(texts, score=scores), keep=keep)
    assert found(result) == corpora.expected(texts, order=lambda row: order(texts, scores, row))


@pytest.mark.parametrize("cluster", ["cover", "transitive"])
def test_chain(cluster):
    texts = corpora.chain(40)
    result = deduplicate(table_of(texts), cluster=cluster)
    assert found(result) == corpora.expected(texts, cluster=cluster)
    if cluster == "transitive":
        assert result.kept < 3


def test_template_family_is_not_wiped_out():
    texts = corpora.templates(3000, common=60, own=8)
    result = deduplicate(table_of(texts))
    assert result.kept == 3000
    assert result.summary["components"]["largest"] > 2000


def test_one_row_many_times():
    texts = ["the same seven words again and again"] * 100_000
    result = deduplicate(table_of(texts))
    assert result.kept == 1
    assert result.summary["reasons"]["exact"] == 99_999


def test_rows_shorter_than_the_shingle_are_not_thrown_together():
    texts = [f"word{i} only" for i in range(2500)] + ["word7 only"]
    result = deduplicate(table_of(texts))
    assert result.kept == 2500


def test_very_long_rows():
    words = " ".join(f"w{i % 70_000}x{i // 70_000}" for i in range(2_200_000))
    assert len(words) > 18_000_000  # more than is decoded at a time
    near = words + " and a few words more"
    result = deduplicate(table_of([words, near, "short", words.upper()]))
    assert result.mask().tolist() == [True, False, True, False]
    rows = result.keep_list().to_pylist()
    assert rows[1]["reason"] == "near"
    assert 0.9999 < rows[1]["jaccard"] < 1


def test_thousands_of_rows_of_every_script():
    texts = corpora.every_script(11_000, seed=1)
    result = deduplicate(table_of(texts))
    assert found(result) == corpora.expected(texts)
    reasons = result.summary["reasons"]
    assert min(reasons[name] for name in ("near", "exact", "unique", "empty")) > 50


def test_all_empty_and_no_rows_at_all():
    result = deduplicate(table_of([None, "", " \n"]))
    assert result.keep_list()["reason"].to_pylist() == ["empty"] * 3
    assert deduplicate(table_of([])).mask().tolist() == []


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Five shards of different formats and sizes, with ids."""
    texts = corpora.mixed(2500, seed=11)
    ids = [f"id-{i}" for i in range(len(texts))]
    folder = tmp_path_factory.mktemp("pipeline") / "corpus"
    folder.mkdir()
    bounds = [0, 100, 1100, 1101, 1101, 2500]
    for number, (first, end) in enumerate(itertools.pairwise(bounds)):
        part = pa.table({"text": pa.array(texts[first:end], pa.string()), "id": ids[first:end]})
        if number % 2:
            path = folder / f"part-{number}.jsonl"
            with path.open("w") as file:
                for row in part.to_pylist():
                    file.write(json.dumps(row) + "\n")
        else:
            pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=150)
    return folder


def keep_bytes(result):
    return [file.read_bytes() for file in result.files]


SMALL = Tuning(fan_in=2, shard_bytes=1, bucket_records=1_000)
LARGE_TASKS = {"task_text": 64_000_000, "task_rows": 1 << 18}
SMALL_TASKS = {"task_text": 3_000, "task_rows": 50}
LARGE_BATCHES = {"batch_bytes": 16_000_000, "bucket_records": 1 << 20}
SMALL_BATCHES = {"batch_bytes": 700, "bucket_records": 1_000}
CUTS = [
    (1, SMALL_TASKS, SMALL_BATCHES),
    (7, SMALL_TASKS, LARGE_BATCHES),
    (2, LARGE_TASKS, SMALL_BATCHES),
    (7, LARGE_TASKS, SMALL_BATCHES),
    (2, SMALL_TASKS, LARGE_BATCHES),
    (1, LARGE_TASKS, LARGE_BATCHES),
]
"""Every two of workers, size of tasks and size of batches come together."""


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory):
    """The keep-list of a run that was not cut."""
    out = tmp_path_factory.mktemp("reference") / "out"
    return keep_bytes(deduplicate(corpus, out, id="id", workers=1))


@pytest.mark.parametrize(("workers", "tasks", "batches"), CUTS)
def test_same_bytes_however_it_is_cut(corpus, reference, tmp_path, workers, tasks, batches):
    batch = batches["batch_bytes"]
    sets = {"small_partition_bytes": 10 * batch, "set_bytes": 50 * batch}
    tuning = replace(SMALL, **tasks, **batches, **sets)
    other = deduplicate(corpus, tmp_path / "other", id="id", workers=workers, tuning=tuning)
    assert keep_bytes(other) == reference
    if tasks is SMALL_TASKS:
        assert other.summary["stages"]["sign"]["tasks"] > 40


def test_every_two_choices_of_a_cut_are_tried():
    for one, two in itertools.combinations(zip(*CUTS, strict=True), 2):
        pairs = {(str(a), str(b)) for a, b in zip(one, two, strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) * len({b for _, b in pairs})


def test_witnesses_in_many_shards(tmp_path):
    texts = corpora.mixed(600, seed=4)
    for number in range(60):
        part = table_of(texts[10 * number : 10 * number + 10])
        pq.write_table(part, tmp_path / f"{number:02d}.parquet")
    many = deduplicate(tmp_path).keep_list().to_pylist()
    one = deduplicate(table_of(texts)).keep_list().to_pylist()
    for row, expected in zip(many, one, strict=True):
        assert (row["keep"], row["reason"]) == (expected["keep"], expected["reason"])
        if not row["keep"]:
            shard = int(row["witness_shard"].rpartition("/")[2].partition(".")[0])
            assert 10 * shard + row["witness_row"] == expected["witness_row"]
    assert len({row["witness_shard"] for row in many}) > 10


def test_same_bytes_for_files_of_many_pages(tmp_path):
    texts = [f"number {i % 45_000} of quite a few" for i in range(150_000)]
    table = table_of(texts, id=[str(i) for i in range(150_000)])
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=7_000)
    made = [
        keep_bytes(deduplicate(tmp_path / "a.parquet", id="id", workers=workers, memory=memory))
        for workers, memory in ((2, "4GB"), (7, "600MB"), (1, "500MB"))
    ]
    assert made[0] == made[1] == made[2]


def test_score_types_of_shards_must_agree(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one two three", "score": 5}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "one two three", "score": 4.5}\n')
    with pytest.raises(CorpusError, match=r"b\.jsonl.*fraction here and integer in .*a\.jsonl"):
        deduplicate(tmp_path, keep="max:score")
    (tmp_path / "b.jsonl").write_text('{"text": "one two three", "score": null}\n')
    assert deduplicate(tmp_path, keep="max:score").mask().tolist() == [True, False]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.uint8(), pa.int64(), pa.uint64(), pa.float32()])
def test_a_row_without_a_score_is_kept_last(kind):
    table = table_of(["same words here"] * 2, score=pa.array([None, 0], pa.int8()).cast(kind))
    for policy in ("max:score", "min:score"):
        assert deduplicate(table, keep=policy).mask().tolist() == [False, True]


@pytest.mark.usefixtures("new_pyarrow")
def test_ids_of_all_string_types_and_of_none(tmp_path):
    kinds = [pa.null(), pa.string(), pa.large_string(), pa.string_view()]
    kinds.append(pa.dictionary(pa.int32(), pa.string()))
    for number, kind in enumerate(kinds):
        ids = pa.nulls(1) if pa.types.is_null(kind) else pa.array([f"i{number}"]).cast(kind)
        pq.write_table(table_of(["the same words"], id=ids), tmp_path / f"{number}.parquet")
    pq.write_table(table_of([], id=pa.array([], pa.string())), tmp_path / "9.parquet")
    result = deduplicate(tmp_path, id="id")
    assert result.keep_list()["id"].to_pylist() == [None, "i1", "i2", "i3", "i4"]
    assert result.dataset().to_table()["witness_id"].to_pylist() == [None] * 5


@pytest.mark.parametrize("other", [pa.int64(), pa.string(), pa.date32()], ids=str)
def test_ids_without_a_value_go_with_any_type(tmp_path, other):
    pq.write_table(table_of(["a b c", "d e f"], id=pa.nulls(2, other)), tmp_path / "0.parquet")
    none = deduplicate(tmp_path, id="id").keep_list()
    assert none["id"].to_pylist() == [None, None]
    pq.write_table(table_of(["a b c"], id=pa.array([7])), tmp_path / "1.parquet")
    rows = deduplicate(tmp_path, id="id").keep_list().to_pylist()
    assert [row["id"] for row in rows] == [None, None, 7]
    assert [row["keep"] for row in rows] == [True, True, False]


def test_rows_lost_between_stages_are_noticed(corpus, tmp_path):
    work = tmp_path / "work"
    deduplicate(corpus, tmp_path / "out", work_dir=work)
    path = next(work.glob("*/verify/*.json"))
    what = f"verify {int(path.stem)}"
    result = unseal(what, path.read_bytes(), "")
    path.write_bytes(seal(what, {**result, "rows": result["rows"] + 1}))
    with pytest.raises(IntegrityError, match=r"rows in components, .* of them in verify"):
        deduplicate(corpus, tmp_path / "again", work_dir=work)


def test_rows_in_memory_give_the_same_keep_list_each_time():
    table = table_of(corpora.mixed(200, seed=9))
    first, second = (keep_bytes(deduplicate(table.to_reader())) for _ in range(2))
    assert first == second == keep_bytes(deduplicate(table))


def test_ids_and_witness_ids(corpus):
    rows = deduplicate(corpus, id="id").keep_list().to_pylist()
    by_place = {(row["shard"], row["row"]): row["id"] for row in rows}
    dropped = [row for row in rows if not row["keep"]]
    assert dropped
    for row in dropped:
        assert row["witness_id"] == by_place[row["witness_shard"], row["witness_row"]]
    assert [row["id"] for row in rows] == [f"id-{i}" for i in range(2500)]


def test_cluster_is_the_row_id_of_the_kept_row(corpus):
    table = deduplicate(corpus).keep_list()
    shards = {shard: i for i, shard in enumerate(sorted(set(table["shard"].to_pylist())))}
    assert len(shards) >= 4
    for row in table.to_pylist():
        if row["reason"] in ("unique", "empty"):
            assert row["cluster"] is None
        elif row["keep"]:
            assert row["cluster"] & (2**40 - 1) == row["row"]
        else:
            assert row["cluster"] & (2**40 - 1) == row["witness_row"]


def test_mask_agrees_with_the_keep_list(corpus):
    result = deduplicate(corpus)
    assert isinstance(result.mask(), np.ndarray)
    assert result.mask().tolist() == result.keep_list()["keep"].to_pylist()
    assert result.kept == result.mask().sum()


def test_a_reader_is_as_good_as_a_table():
    texts = corpora.mixed(300, seed=8)
    table = table_of(texts)
    assert found(deduplicate(table.to_reader(max_chunksize=17))) == found(deduplicate(table))
