"""Folders of `save_to_disk` of Hugging Face datasets: what apply writes can be loaded again."""

from __future__ import annotations

import json

import commands
import datasets
import pytest

from dedupe import apply, deduplicate
from dedupe.corpus.names import splits_of


def dataset(*numbers):
    """A dataset of three columns, of which the text of some rows is the same."""
    texts = [f"a row of several words that ends with the number {n} and {n * 7}" for n in numbers]
    columns = {"text": texts, "n": list(range(len(texts))), "of": [["a", None]] * len(texts)}
    return datasets.Dataset.from_dict(columns)


def applied(tmp_path, corpus="in", **keywords):
    deduplicate(tmp_path / corpus, tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean", **keywords)
    return datasets.load_from_disk(tmp_path / "clean")


def test_a_dataset_comes_back_as_one(tmp_path):
    dataset(1, 1, 2, 3, 3, 3).save_to_disk(tmp_path / "in", num_shards=2)
    before, after = datasets.load_from_disk(tmp_path / "in"), applied(tmp_path)
    assert after["n"][:] == [0, 2, 3]
    assert after.features == before.features
    assert after._fingerprint != before._fingerprint
    assert len(after.map(lambda row: {"m": row["n"] + 1})) == 3  # a fingerprint that caches take


@pytest.mark.parametrize("splits", [["train", "test"], ["train"], ["german", "english"]])
def test_splits_come_back_as_splits(tmp_path, splits):
    both = {name: dataset(1, 1, i + 2, i + 2) for i, name in enumerate(splits)}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "in" / "own")
    after = applied(tmp_path)
    assert isinstance(after, datasets.DatasetDict)
    assert sorted(after) == sorted(splits)
    assert sum(len(one) for one in after.values()) == len(splits) + 1
    known = {one._fingerprint for one in after.values()}
    assert len(known) == len(splits)


def test_sizes_of_splits_are_those_of_the_copies(tmp_path):
    rows = [{"text": f"a row of several words that ends with {n}", "n": n} for n in (1, 1, 2)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {"train": str(tmp_path / "rows.jsonl"), "test": str(tmp_path / "rows.jsonl")}
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=cache)
    loaded.save_to_disk(tmp_path / "in")
    info = json.loads((tmp_path / "in" / "train" / "dataset_info.json").read_text())
    assert info["splits"]["train"]["num_examples"] == 3
    after = applied(tmp_path)
    assert {name: len(one) for name, one in after.items()} == {"train": 0, "test": 2}
    sizes = after["train"].info.splits
    assert {name: one.num_examples for name, one in sizes.items()} == {"train": 0, "test": 2}


def test_columns_beside_are_columns_of_the_dataset(tmp_path):
    dataset(1, 1, 2).save_to_disk(tmp_path / "in")
    assert applied(tmp_path, add_columns=True)["dedupe_keep"][:] == [True, False, True]


def test_dropped_rows_can_be_loaded_too(tmp_path):
    dataset(1, 1, 2).save_to_disk(tmp_path / "in")
    kept = applied(tmp_path, dropped=tmp_path / "dropped")
    dropped = datasets.load_from_disk(tmp_path / "dropped")
    assert dropped["n"][:] == [1]
    assert dropped["dedupe_reason"][:] == ["exact"]
    assert dropped._fingerprint != kept._fingerprint


def test_a_part_of_a_dataset_is_a_dataset(tmp_path):
    dataset(*range(10)).save_to_disk(tmp_path / "in", num_shards=2)
    after = applied(tmp_path, corpus="in/data-00000-of-00002.arrow")
    assert after["n"][:] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["{", "[]", '{"_data_files": 5}', '{"_data_files": [7, {}]}'])
def test_side_files_that_are_none_are_left_alone(tmp_path, damage):
    dataset(1, 1, 2).save_to_disk(tmp_path / "in")
    (tmp_path / "in" / "state.json").write_text(damage)
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    assert not (tmp_path / "clean" / "state.json").exists()


def test_the_screen_says_that_splits_are_compared(tmp_path):
    splits = {"train": dataset(1, 1), "test": dataset(2)}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "in")
    done = commands.dedupe("run", tmp_path / "in", "-o", tmp_path / "out")
    assert "compares the splits test, train with one another" in commands.in_one_line(done.stderr)


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"], 2),
        (["a/train.jsonl", "a/val.jsonl.gz", "a/dev.csv"], 3),
        (["in/train/data-0.arrow", "in/test/data-0.arrow"], 2),
        (["train/a_test.json", "train/b.json"], 2),
        (["trains/contest.jsonl", "values/devices.jsonl", "latest/attrain.jsonl"], 0),
    ],
)
def test_splits_are_told_by_names(paths, splits):
    assert len(splits_of(paths)) == splits
