"""Rows in memory of every library, without other columns and without a disk."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from dedupe import SettingsError, deduplicate, runs
from dedupe.config import Settings
from dedupe.frames import rows_of

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
datasets = pytest.importorskip("datasets")

TEXTS = ["one two three four", "five six seven", None, "One, two: three four!", "é 日本語"]
ROWS = {"q": TEXTS, "score": [1, 2, 3, 4, 5], "other": [[1], None, [2], [], [3]]}
TABLE = pa.table(ROWS)


class Stream:
    def __arrow_c_stream__(self, requested_schema=None):
        return TABLE.__arrow_c_stream__(requested_schema)


FRAMES = {
    "Table": lambda: TABLE,
    "RecordBatch": lambda: TABLE.to_batches()[0],
    "RecordBatchReader": TABLE.to_reader,
    "arrow dataset": lambda: ds.dataset(TABLE),
    "pandas": lambda: pd.DataFrame(ROWS, index=list("edcba")),
    "pandas objects": lambda: pd.DataFrame(ROWS).assign(odd=[object()] * 5),
    "pandas arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.DataFrame(ROWS),
    "polars lazy": lambda: pl.LazyFrame(ROWS),
    "datasets": lambda: datasets.Dataset.from_dict(ROWS),
    "arrow stream": Stream,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_keep_list_of_its_table(kind):
    settings = {"text": "q", "keep": "max:score", "id": "score"}
    expected = deduplicate(TABLE, **settings)
    result = deduplicate(FRAMES[kind](), **settings)
    assert result.mask().tolist() == expected.mask().tolist() == [False, True, True, True, True]
    assert result.kept_rows().tolist() == [1, 2, 3, 4]
    assert result.keep_list()["id"].to_pylist() == [1, 2, 3, 4, 5]
    assert result.ids().to_pylist() == [2, 3, 4, 5]
    assert result.ids(keep=False).to_pylist() == [1]
    ((path, mask),) = result.masks()
    assert (path, mask.tolist()) == ("<table>", result.mask().tolist())


def test_only_columns_that_are_read_are_converted():
    frame = pd.DataFrame({"text": TEXTS, "source": "x", "odd": [object()] * 5})
    assert rows_of(frame, Settings()).column_names == ["text"]
    named = Settings(keep="prefer:source=x")
    assert rows_of(frame, named).column_names == ["text", "source"]
    pairs = pd.DataFrame({"output": TEXTS, "instruction": TEXTS, "odd": [object()] * 5})
    assert rows_of(pairs, Settings()).column_names == ["output", "instruction"]


def test_a_dataset_is_read_in_the_order_of_its_indices():
    chosen = datasets.Dataset.from_dict(ROWS).select([3, 1, 0, 0])
    result = deduplicate(chosen, text="q")
    assert result.mask().tolist() == [True, True, False, False]
    assert chosen.select(result.kept_rows())["score"][:] == [4, 2]


def test_datasets_in_splits_or_streams_say_what_to_do():
    one = datasets.Dataset.from_dict(ROWS)
    with pytest.raises(SettingsError, match="give one of train, test"):
        deduplicate(datasets.DatasetDict({"train": one, "test": one}), text="q")
    with pytest.raises(SettingsError, match="only once"):
        deduplicate(one.to_iterable_dataset(), text="q")


def test_what_is_no_corpus_is_refused():
    for corpus in (5, {"text": ["a"]}, [1, 2], pd.Series(TEXTS).to_list()):
        with pytest.raises(SettingsError, match="not known"):
            deduplicate(corpus)


def test_without_an_id_column_there_are_no_ids():
    with pytest.raises(SettingsError, match="no id column"):
        deduplicate(pa.table({"text": TEXTS})).ids()


@pytest.mark.skipif(not runs.MEMORY_DISK.is_dir(), reason="no file system in memory here")
def test_rows_in_memory_touch_no_disk_where_they_fit(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(os.listdir(runs.MEMORY_DISK))
    monkeypatch.setattr(runs, "_free_memory", lambda: 10**9)
    result = deduplicate(TABLE, text="q")
    assert result.path.parent.parent == runs.MEMORY_DISK
    assert os.listdir(tmp_path) == []
    with pytest.raises(SettingsError):
        deduplicate(TABLE, text="q", engine="ray")
    monkeypatch.setattr(runs, "_free_memory", lambda: runs.room_for(TABLE))
    other = deduplicate(TABLE, text="q")
    assert other.path.parent.parent == tmp_path
    assert other.keep_list().drop("shard").equals(result.keep_list().drop("shard"))
    del result
    assert set(os.listdir(runs.MEMORY_DISK)) <= before


def test_what_a_run_leaves_is_less_than_the_room_it_asks_for(tmp_path):
    random = np.random.default_rng(3)
    for size in (3, 200):
        words = random.integers(0, 50, (2000, size)).astype(str)
        words[1::2] = words[::2]
        texts = [" ".join(row) + f" {i // 2}" for i, row in enumerate(words)]
        table = pa.table({"text": texts})
        result = deduplicate(table, work_dir=tmp_path / str(size))
        left = sum(result.summary["exchange_bytes"].values())
        assert 0 < left < runs.room_for(table)


def test_free_memory_is_at_most_what_is_there():
    if not runs.MEMORY_DISK.is_dir():
        assert runs._free_memory() == 0
    else:
        assert 0 < runs._free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
