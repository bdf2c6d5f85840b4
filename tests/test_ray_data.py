"""Datasets of Ray Data in and out, on several raylets: the rows that stay of the same table."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest

pytest.importorskip("ray")
pytest.importorskip("pandas")  # Ray Data needs it
if not sys.platform.startswith("linux"):
    pytest.skip("several nodes on one machine need Linux", allow_module_level=True)

import corpora
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from raylets import Raylets, ray

import dedupe
import dedupe.ray
from dedupe.errors import CorpusError, EngineError, SettingsError
from dedupe.progress import Silent

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray leaves sockets and files open when it lets go
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # and warns of what it will change, in itself and of what it uses
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

MEMORY = {"memory": "500MB"}


@pytest.fixture(scope="module", autouse=True)
def data():
    """`ray.data` on two nodes; datasets give their rows in order."""
    raylets = Raylets()
    raylets.add(1)
    raylets.add(1)
    ray.init(address=raylets.address, log_to_driver=False, logging_level="ERROR")
    module = importlib.import_module("ray.data")
    context = module.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    yield module
    ray.shutdown()
    raylets.close()


def table_of(rows):
    texts = corpora.mixed(rows, seed=5)
    kinds = ["human", "model", None]
    chats = [[{"role": "user", "content": text}, {"role": "bot", "content": "é"}] for text in texts]
    return pa.table(
        {
            "text": texts,
            "n": pa.array(range(rows), pa.uint32()),
            "kind": pa.array([kinds[i % 3] for i in range(rows)]).dictionary_encode(),
            "at": pa.array(range(rows), pa.timestamp("ns", tz="UTC")),
            "messages": pa.array(chats),
            "vector": pa.array([[i / 7, 1.0] for i in range(rows)], pa.list_(pa.float32(), 2)),
        }
    )


def cut(table, *sizes):
    """A table in parts of these sizes, and one with what is left."""
    starts = [0, *np.cumsum(sizes).tolist()]
    return [table.slice(start, size) for start, size in zip(starts, [*sizes, None], strict=True)]


def kept_in_any_order(parts):
    """What stays of a table whose parts come in any order: Ray Data orders no files it reads."""
    for order in permutations(parts):
        rows = pa.concat_tables(order)
        yield rows.filter(pa.array(dedupe.deduplicate(rows, text="text").mask()))


def rows_of(dataset):
    return pa.concat_tables(ray.get(dataset.to_arrow_refs()))


def test_the_rows_that_stay_are_those_of_the_table(data, tmp_path):
    table = table_of(150)
    dataset = data.from_arrow(cut(table, 40, 7, 60))
    for how in ({"text": "text"}, {"format": "messages", "keep": "max:n", "id": "n"}):
        before = set(tmp_path.iterdir())
        found = dedupe.ray.deduplicate(dataset, storage_path=str(tmp_path), **how, **MEMORY)
        local = dedupe.deduplicate(table, **how)
        assert 0 < local.kept < 150
        kept = rows_of(found.dataset)
        assert kept.equals(table.filter(pa.array(local.mask())))
        assert found.dataset.schema().base_schema.equals(table.schema)
        assert str(kept.schema) == str(table.schema)  # equal types may have fields of other names
        assert found.result.mask().tolist() == local.mask().tolist()
        assert found.result.summary["reasons"] == local.summary["reasons"]
        (folder,) = set(tmp_path.iterdir()) - before
        assert {path.name for path in folder.iterdir()} == {"out", "clean"}
        assert found.result.path == folder / "out"
    assert ray.is_initialized()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_dataset_that_is_read_and_mapped_as_it_goes(data, tmp_path):
    table = table_of(120)
    (tmp_path / "in").mkdir()
    for number, part in enumerate(cut(table, 50, 50)):
        pq.write_table(part, tmp_path / "in" / f"{number}.parquet")

    def longer(batch):
        return batch.append_column("length", pa.array([len(t.as_py()) for t in batch["text"]]))

    dataset = data.read_parquet(str(tmp_path / "in")).map_batches(longer, batch_format="pyarrow")
    # a folder whose name looks like a partition makes no column
    found = dedupe.ray.deduplicate(dataset, str(tmp_path / "year=2026"), text="text", **MEMORY)
    kept = rows_of(found.dataset)
    assert any(kept.equals(longer(rows)) for rows in kept_in_any_order(cut(table, 50, 50)))
    assert found.dataset.count() == found.result.kept
    assert found.dataset.columns() == [*table.column_names, "length"]


def test_rows_of_python_and_tensors(data, tmp_path):
    texts = corpora.mixed(40, seed=6)
    rows = [{"text": text, "image": np.full((2, 3), i)} for i, text in enumerate(texts)]
    found = dedupe.ray.deduplicate(data.from_items(rows), str(tmp_path), text="text", **MEMORY)
    mask = dedupe.deduplicate([{"text": text} for text in texts]).mask()
    kept = found.dataset.take_all()
    assert [row["text"] for row in kept] == [
        t for t, stays in zip(texts, mask, strict=True) if stays
    ]
    assert [row["image"].tolist() for row in kept] == [
        row["image"].tolist() for row, stays in zip(rows, mask, strict=True) if stays
    ]
    assert str(found.dataset.schema()) == str(data.from_items(rows).schema())


def test_blocks_of_different_columns(data, tmp_path):
    parts = [
        pa.table({"text": ["one two", "three"], "x": pa.nulls(2)}),
        pa.table({"text": ["One two"], "x": ["a"]}),
        pa.table({"text": ["four"], "x": ["b"], "y": [1]}),
    ]
    found = dedupe.ray.deduplicate(data.from_arrow(parts), str(tmp_path), text="text", **MEMORY)
    assert found.dataset.take_all() == [
        {"text": "one two", "x": None, "y": None},
        {"text": "three", "x": None, "y": None},
        {"text": "four", "x": "b", "y": 1},
    ]


def test_a_dataset_without_rows(data, tmp_path):
    table = table_of(3).slice(0, 0)
    for empty in (
        data.from_arrow(table),
        data.from_arrow(table_of(3)).map_batches(lambda b: b.slice(0, 0), batch_format="pyarrow"),
    ):
        found = dedupe.ray.deduplicate(empty, str(tmp_path), text="text", **MEMORY)
        assert found.dataset.count() == 0
        assert found.dataset.schema().names == table.column_names
        assert (found.result.rows, found.result.kept) == (0, 0)
    with pytest.raises(CorpusError, match='no column "text": it has no columns'):
        dedupe.ray.deduplicate(data.from_items([]), str(tmp_path), text="text")


@pytest.mark.stores
def test_a_folder_in_a_store(data, store, server, tmp_path):
    table = table_of(60)
    options = {"s3": {"key": "k", "secret": "s", "endpoint_url": server.url}}
    found = dedupe.ray.deduplicate(
        data.from_arrow(cut(table, 30)),
        "s3://bucket/some",
        text="text",
        storage_options=options,
        **MEMORY,
    )
    mask = dedupe.deduplicate(table, text="text").mask()
    assert rows_of(found.dataset).equals(table.filter(pa.array(mask)))
    fs = fsspec.filesystem("s3")
    (folder,) = fs.ls("bucket/some")
    assert {Path(path).name for path in fs.ls(folder)} == {"out", "clean"}
    opened = dedupe.Result(str(found.result.path), storage_options=options)
    assert opened.mask().tolist() == mask.tolist()


def test_what_cannot_be_done_is_refused_before_anything_is_written(data, tmp_path, monkeypatch):
    dataset = data.from_arrow(table_of(5))
    here = str(tmp_path / "here")
    for wrong, said in (
        ({"engine": "local"}, "leave out engine and address"),
        ({"address": "auto"}, "leave out engine and address"),
        ({"work_dir": "work"}, "leave out work_dir and fresh"),
        ({"fresh": True}, "leave out work_dir and fresh"),
        ({"treshold": 1}, "unknown setting treshold"),
    ):
        with pytest.raises(SettingsError, match=said):
            dedupe.ray.deduplicate(dataset, here, **wrong)
    with pytest.raises(CorpusError, match='no column "body": it has text, n'):
        dedupe.ray.deduplicate(dataset, here, text="body")
    with pytest.raises(SettingsError, match=r"a Table is no Dataset of ray\.data"):
        dedupe.ray.deduplicate(table_of(5), here)
    with pytest.raises(SettingsError, match="a work directory cannot be there"):
        dedupe.ray.deduplicate(dataset, "https://host/path")
    with pytest.raises(SettingsError, match=r"dedupe\.ray\.deduplicate\(dataset, storage_path=…\)"):
        dedupe.deduplicate(dataset)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(SettingsError, match=r"connected to no Ray: call ray\.init"):
        dedupe.ray.deduplicate(dataset, here)
    assert not Path(here).exists()


def test_a_call_that_fails_leaves_nothing(data, tmp_path, monkeypatch):
    dataset = data.from_arrow(cut(table_of(30), 10, 10))
    mapped = dataset.map_batches(lambda batch: batch.drop_columns("text"), batch_format="pyarrow")
    with pytest.raises(CorpusError, match='no column "text": it has n, kind'):
        dedupe.ray.deduplicate(mapped, str(tmp_path), text="text", **MEMORY)

    def fail(row):
        raise ValueError("broken")

    with pytest.raises(ray.exceptions.RayTaskError, match="broken"):
        dedupe.ray.deduplicate(dataset.map(fail), str(tmp_path), text="text", **MEMORY)
    written = dedupe.ray._written
    for lost in (slice(1), slice(None)):

        def lose(dataset, rows, lost=lost):
            number = written(dataset, rows)
            for file in sorted(rows.iterdir())[lost]:
                file.unlink()
            return number

        monkeypatch.setattr(dedupe.ray, "_written", lose)
        with pytest.raises(EngineError, match=r"30 rows were written to .*/rows, and (20|0) are"):
            dedupe.ray.deduplicate(dataset, str(tmp_path), text="text", **MEMORY)
    assert not list(tmp_path.iterdir())


def test_progress_is_told_of_both_commands_and_closed_once(data, tmp_path):
    class Told(Silent):
        def __init__(self):
            self.names = []

        def stage(self, name, tasks, done):
            self.names.append(name)

        def close(self):
            self.names.append("closed")

    told = Told()
    dataset = data.from_arrow(table_of(20))
    dedupe.ray.deduplicate(dataset, str(tmp_path), text="text", progress=told, **MEMORY)
    assert told.names[0] == "survey"
    assert told.names[-2:] == ["apply", "closed"]
    assert told.names.count("closed") == 1


MODULES = """
import sys
import dedupe
assert "ray" not in sys.modules
assert dedupe.ray.__name__ == "dedupe.ray"
import ray, dedupe.engines.ray_engine
assert ray is dedupe.ray.ray is dedupe.engines.ray_engine.ray is not dedupe.ray
assert "ray.data" not in sys.modules
"""


def test_ray_is_ray_and_loaded_when_it_is_used(tmp_path):
    for code, said in (
        (MODULES, ""),
        ("import sys, dedupe; sys.modules['ray'] = None; dedupe.ray", "dedupe.ray needs Ray: pip"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(dedupe.__file__).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode != 0) == bool(said)
        assert said in done.stderr
