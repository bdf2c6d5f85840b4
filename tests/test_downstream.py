"""What filters by a keep-list are made of: masks, row numbers, ids and batches of a Result."""

from __future__ import annotations

import json
import os

import corpora
import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, Result, SettingsError, deduplicate

ROWS = 240


def table_of(number, rows=ROWS):
    """Rows with columns of every shape: text, lists of structs, dictionaries, nulls."""
    texts = corpora.mixed(rows, seed=number)
    return pa.table(
        {
            "text": pa.array(texts),
            "id": pa.array([f"{number}-{i}" for i in range(rows)]),
            "turns": [[{"role": "user", "content": text}] if text else None for text in texts],
            "label": pa.array(["a", "b", None] * (rows // 3)).dictionary_encode(),
            "score": pa.array(np.arange(rows) / 7, pa.float32()),
        }
    )


def write_ipc(path, table, rows=50, **options):
    with ipc.new_file(path, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)


def write_stream(path, table):
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


WRITERS = {
    "0.parquet": lambda path, table: pq.write_table(table, path, row_group_size=90),
    "1.arrow": write_ipc,
    "2.arrow": lambda path, table: write_ipc(path, table, compression="zstd"),
    "3.arrow": write_stream,
}


@pytest.fixture
def corpus(tmp_path):
    """A folder with one shard of each format that has types, and their tables."""
    tables = {}
    for number, (name, write) in enumerate(WRITERS.items()):
        tables[str(tmp_path / name)] = table_of(number)
        write(str(tmp_path / name), table_of(number))
    return tmp_path, tables


def kept_by_hand(result, tables):
    """The rows whose row of the keep-list says so, one by one."""
    kept = []
    for row in result.keep_list().to_pylist():
        if row["keep"]:
            kept += tables[row["shard"]].slice(row["row"], 1).to_pylist()
    return kept


@pytest.mark.parametrize("batch_bytes", [1, 1 << 24])
def test_batches_are_the_kept_rows_of_every_format(corpus, tmp_path_factory, batch_bytes):
    folder, tables = corpus
    result = deduplicate(folder, tmp_path_factory.mktemp("out") / "o", id="id", text="text")
    expected = kept_by_hand(result, tables)
    assert 100 < len(expected) < 4 * ROWS - 100
    batches = list(result.batches(batch_bytes=batch_bytes))
    assert [row for batch in batches for row in batch.to_pylist()] == expected
    assert len(batches) == (3 + 5 + 5 + 4 if batch_bytes == 1 else 4)
    types = {field.name: field.type for field in next(iter(tables.values())).schema}
    assert all({field.name: field.type for field in batch.schema} == types for batch in batches)
    assert [row["id"] for row in expected] == result.ids().to_pylist()
    by_number = pa.concat_tables(tables.values()).take(pa.array(result.kept_rows()))
    assert by_number.to_pylist() == expected


def test_batches_of_some_columns_and_shards(corpus, tmp_path_factory):
    folder, tables = corpus
    result = deduplicate(folder, tmp_path_factory.mktemp("out") / "o", id="id", text="text")
    listed = list(tables.values())
    masks = [mask for _, mask in result.masks()]
    for shards in ([2], [3, 0], np.array([1]), []):
        found = [
            row for b in result.batches(["score", "id"], shards=shards) for row in b.to_pylist()
        ]
        expected = [
            row
            for number in shards
            for row in listed[number].select(["score", "id"]).filter(masks[number]).to_pylist()
        ]
        assert found == expected
    with pytest.raises(CorpusError, match='no column "nope"'):
        list(result.batches(["nope"]))


def test_files_of_polars_are_read_like_others(tmp_path):
    pl = pytest.importorskip("polars")
    frame = pl.from_arrow(table_of(5))
    newest = pl.CompatLevel.newest()
    frame.write_ipc(tmp_path / "0.arrow", compat_level=newest)
    frame.write_ipc(tmp_path / "1.arrow", compat_level=newest, compression="zstd")
    frame.write_ipc_stream(tmp_path / "2.arrow", compat_level=newest)
    files = sorted(tmp_path.glob("*.arrow"))
    result = deduplicate(files, tmp_path / "out", id="id", text="text")
    found = pl.concat([pl.from_arrow(batch).cast(frame.schema) for batch in result.batches()])
    assert found.equals(pl.concat([frame] * 3).filter(result.mask()))
    assert found.height == result.kept < 2 * frame.height


def test_batches_need_the_files_of_the_run(tmp_path):
    pq.write_table(table_of(0), tmp_path / "a.parquet")
    result = deduplicate(tmp_path / "a.parquet", tmp_path / "out")
    pq.write_table(table_of(1), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="has changed since the run"):
        list(result.batches())
    os.remove(tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match=r"a\.parquet"):
        list(result.batches())


def test_batches_are_of_formats_with_types(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "one two"}) + "\n")
    result = deduplicate(tmp_path / "a.jsonl", tmp_path / "out")
    with pytest.raises(SettingsError, match="use dedupe apply"):
        list(result.batches())
    with pytest.raises(SettingsError, match="filter them by mask"):
        list(deduplicate(pa.table({"text": ["one two"]})).batches())


@pytest.mark.parametrize(
    ("ids", "said"),
    [(["a", "b", "a"], "0 have no id, 1 one that"), (["a", None, "c"], "1 have no id, 0 one")],
)
def test_ids_that_do_not_tell_rows_apart_are_no_filter(ids, said):
    result = deduplicate(pa.table({"text": ["one", "two", "three"], "id": ids}), id="id")
    with pytest.raises(SettingsError, match=said):
        result.ids()


def test_a_result_is_opened_again(corpus, tmp_path_factory):
    folder, _ = corpus
    out = tmp_path_factory.mktemp("out") / "o"
    made = deduplicate(folder, out, id="id", text="text")
    again = Result(out)
    assert again.mask().tolist() == made.mask().tolist()
    assert again.ids(keep=False).to_pylist() == made.ids(keep=False).to_pylist()
    assert again.kept_rows().dtype == np.int64
