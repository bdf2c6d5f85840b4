"""`dedupe apply`: the corpus without its duplicates, in every format, and nothing else changed."""

from __future__ import annotations

import csv
import gzip
import inspect
import io
import itertools
import json
import os
import random
import shutil
import signal
import time
from contextlib import contextmanager

import commands
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moments import At

import dedupe
from dedupe import (
    CorpusError,
    DamageError,
    Execution,
    Result,
    SettingsError,
    WorkDirError,
    apply,
    deduplicate,
)
from dedupe.commands.apply.run import TASK_BYTES, relative_names
from dedupe.corpus import find_shards, format_of, open_source
from dedupe.kernels.records import BEGIN, csv_ends
from dedupe.progress import Silent
from dedupe.storage.checksums import checksum_of_file, seal, unseal
from dedupe.tasks.costs import COSTS

TEXTS = [f"row {i // 3} of many with the same few words and then {i // 3}" for i in range(300)]
TEXTS[7], TEXTS[8], TEXTS[9] = None, "", 'quo"te\\ and\nnewline, é'


def rows_of(path):
    """Every row of a file, as plain values."""
    name = str(path)
    if name.endswith(".parquet"):
        return pq.read_table(path, partitioning=None).to_pylist()
    if name.endswith(".arrow"):
        with pa.OSFile(name) as file:
            stream = file.read(6) != b"ARROW1"
            file.seek(0)
            return (ipc.open_stream if stream else ipc.open_file)(file).read_all().to_pylist()
    data = path.read_bytes()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    if name.endswith(".zst"):
        data = pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()
    if ".csv" in name:
        return list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    return [json.loads(line) for line in data.splitlines() if line.strip()]


def write(folder, kind, texts=TEXTS, name="a"):
    path = folder / f"{name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = [{"text": text, "n": i} for i, text in enumerate(texts)]
    table = pa.table({"text": texts, "n": pa.array(range(len(texts)), pa.int64())})
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=70)
    elif kind == "file.arrow":
        with ipc.new_file(str(path), table.schema) as sink:
            sink.write_table(table, max_chunksize=50)
    elif kind == "stream.arrow":
        options = ipc.IpcWriteOptions(compression="zstd")
        with ipc.new_stream(str(path), table.schema, options=options) as sink:
            sink.write_table(table, max_chunksize=50)
    else:
        if "csv" in kind:
            out = io.StringIO()
            writer = csv.DictWriter(out, ["text", "n"], lineterminator="\r\n")
            writer.writeheader()
            writer.writerows(plain)
            data = out.getvalue().encode()
        else:
            data = "".join(json.dumps(row) + "\n\n" for row in plain).encode()
        if kind.endswith(".gz"):
            data = gzip.compress(data)
        if kind.endswith(".zst"):
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, "zstd") as stream:
                stream.write(data)
            data = sink.getvalue().to_pybytes()
        path.write_bytes(data)
    return path


@contextmanager
def resealed(out):
    """The summary of a run, to be changed so that its checksum is right."""
    path = out / "summary.json"
    summary = unseal("summary", path.read_bytes(), str(path))
    yield summary
    path.write_bytes(seal("summary", summary))


KINDS = ["parquet", "file.arrow", "stream.arrow", "jsonl", "jsonl.gz", "json.zst", "csv", "csv.gz"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_every_kept_row_as_it_was(tmp_path, kind):
    path = write(tmp_path / "in", kind)
    result = deduplicate(tmp_path / "in", tmp_path / "out")
    manifest = apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")
    mask, before = result.mask(), rows_of(path)
    clean, gone = rows_of(tmp_path / "clean" / path.name), rows_of(tmp_path / "gone" / path.name)
    assert clean == [row for row, keep in zip(before, mask, strict=True) if keep]
    assert [{k: row[k] for k in ("text", "n")} for row in gone] == [
        row for row, keep in zip(before, mask, strict=True) if not keep
    ]
    decided = [row for row in result.keep_list().to_pylist() if not row["keep"]]
    for row, expected in zip(gone, decided, strict=True):
        for name in ("reason", "cluster", "witness_shard", "witness_row", "jaccard"):
            assert (
                str(row[f"dedupe_{name}"]) in (str(expected[name]), f"{expected[name]:g}")
                if (name == "jaccard")
                else str(row[f"dedupe_{name}"]) == str(expected[name])
            )
    assert (manifest["kept"], manifest["dropped"]) == (mask.sum(), (~mask).sum())
    said = unseal("manifest", (tmp_path / "clean" / "_dedupe.json").read_bytes(), "")
    assert {**said, "seconds": manifest["seconds"]} == manifest
    assert not (tmp_path / "clean.work").exists()
    assert deduplicate(tmp_path / "clean").mask().all()


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_with_what_the_keep_list_says(tmp_path, kind):
    path = write(tmp_path / "in", kind)
    result = deduplicate(tmp_path / "in", tmp_path / "out", id="n")
    apply(tmp_path / "out", tmp_path / "all", add_columns=True)
    rows, listed = rows_of(tmp_path / "all" / path.name), result.keep_list().to_pylist()
    assert [str(row["dedupe_keep"]).lower() for row in rows] == [
        str(one["keep"]).lower() for one in listed
    ]
    nothing = "" if "csv" in kind else None
    for row, one, before in zip(rows, listed, rows_of(path), strict=True):
        assert {name: row[name] for name in before} == before
        wanted = one["witness_id"] if one["witness_id"] is not None else nothing
        assert str(row["dedupe_witness_id"]) == str(wanted)
    deduplicate(tmp_path / "all", tmp_path / "again")
    with pytest.raises(CorpusError, match='has a column "dedupe_'):
        apply(tmp_path / "again", tmp_path / "more", add_columns=True)


def test_bytes_of_json_lines_are_copied(tmp_path):
    (tmp_path / "in").mkdir()
    lines = [
        b'{"text" : "a\\u00e9 b c",  "x":1.0e3}',
        b'  {"text":"\xff\xfe","y":[1, 2 ]}\t\r',
        b"{}",
    ]
    (tmp_path / "in" / "a.jsonl").write_bytes(b"\n".join(lines))
    options = {"text": "text", "on_bad_text": "replace"}
    deduplicate(tmp_path / "in", tmp_path / "out", **options)
    apply(tmp_path / "out", tmp_path / "clean")
    assert (tmp_path / "clean" / "a.jsonl").read_bytes() == b"\n".join(lines) + b"\n"
    apply(tmp_path / "out", tmp_path / "all", add_columns=True)
    data = (tmp_path / "all" / "a.jsonl").read_bytes().splitlines()
    assert data[2].startswith(b'{ "dedupe_keep": true, "dedupe_reason": "empty"')
    assert all(line.rstrip().endswith(b"}") for line in data)
    json.loads(data[0]), json.loads(data[2])


def wide_table(rows=500):
    inner = pa.struct([("a", pa.list_(pa.int32())), ("b", pa.dictionary(pa.int8(), pa.string()))])
    return pa.table(
        {
            "text": [f"text number {i // 2} with some words" for i in range(rows)],
            "when": pa.array(range(rows), pa.timestamp("us", "Europe/Berlin")),
            "deep": pa.array([{"a": [i, None], "b": str(i % 3)} for i in range(rows)], inner),
            "price": pa.array(range(rows)).cast(pa.decimal128(30, 2)),
            "blob": pa.array([bytes([i % 256]) for i in range(rows)], pa.binary(1)),
            "views": pa.array([f"v{i}" for i in range(rows)], pa.string_view()),
            "uuid": pa.array([bytes([i % 256] * 16) for i in range(rows)], pa.uuid()),
            "none": pa.nulls(rows),
            "cat": pa.array([str(i % 4) for i in range(rows)]).dictionary_encode(),
        }
    )


@pytest.mark.usefixtures("new_pyarrow")
def test_parquet_keeps_schema_metadata_and_encodings(tmp_path):
    table = wide_table()
    table = table.replace_schema_metadata({"huggingface": '{"info": 1}', "own": "metadata"})
    (tmp_path / "in").mkdir()
    pq.write_table(
        table,
        tmp_path / "in" / "a.parquet",
        row_group_size=200,
        compression={"text": "zstd", "cat": "gzip", "views": "none"},
        use_dictionary=["cat"],
        write_statistics=["when"],
        use_compliant_nested_type=False,
        write_page_index=True,
        sorting_columns=[pq.SortingColumn(1, descending=True)],
    )
    keep = deduplicate(tmp_path / "in", tmp_path / "out").mask()
    apply(tmp_path / "out", tmp_path / "clean")
    before, after = (pq.ParquetFile(tmp_path / d / "a.parquet") for d in ("in", "clean"))
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.schema.equals(before.schema)
    rows = before.read().to_pylist()
    assert after.read().to_pylist() == [row for row, k in zip(rows, keep, strict=True) if k]
    assert [after.metadata.row_group(i).num_rows for i in range(2)] == [200, 50]
    sorting = [f.metadata.row_group(0).sorting_columns for f in (before, after)]
    assert sorting[0] == sorting[1]
    for i in range(before.metadata.num_columns):
        one, other = (f.metadata.row_group(0).column(i) for f in (before, after))
        for name in ("compression", "has_dictionary_page", "is_stats_set", "has_offset_index"):
            assert getattr(one, name) == getattr(other, name), (one.path_in_schema, name)


@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"store_decimal_as_integer": True},
        {"write_time_adjusted_to_utc": True},
        {"use_compliant_nested_type": False},
        {"bloom_filter_options": {"n": {"ndv": 1000, "fpp": 0.01}}},
    ],
    ids=lambda options: next(iter(options)),
)
def test_parquet_keeps_how_types_are_written(tmp_path, options, store_schema):
    if not options.keys() <= inspect.signature(pq.ParquetWriter.__init__).parameters.keys():
        pytest.skip("this pyarrow cannot write such a file")
    rows = 200
    table = pa.table(
        {
            "text": [f"text number {i // 2} with some words" for i in range(rows)],
            "n": range(rows),
            "price": pa.array(range(rows), pa.int32()).cast(pa.decimal128(18, 2)),
            "time": pa.array(range(rows), pa.time32("s")),
            "list": pa.array([[i] for i in range(rows)], pa.list_(pa.field("x", pa.int64()))),
        }
    )
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    with pq.ParquetWriter(path, table.schema, store_schema=store_schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"org.apache.spark.version": "3.5.0", "bytes": b"\xff\x00"})
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    before, after = (pq.ParquetFile(tmp_path / d / "a.parquet") for d in ("in", "clean"))
    assert after.schema.equals(before.schema)
    assert after.metadata.metadata == before.metadata.metadata
    chunks = [f.metadata.row_group(0).column(1).to_dict() for f in (before, after)]
    assert len({chunk.get("bloom_filter_offset") is None for chunk in chunks}) == 1
    assert after.read().equals(before.read().take(pa.array(range(0, rows, 2))))


def test_a_row_group_is_not_read_whole(tmp_path):
    texts = [f"{i} " * 200 for i in range(40_000)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts}), path, compression="none", use_dictionary=False)
    (shard,) = find_shards([str(path)])
    assert pq.read_metadata(path).row_group(0).total_byte_size > 40_000_000
    before = pa.total_allocated_bytes()
    blocks = open_source(shard).blocks(0)
    assert next(blocks).num_rows > 0
    assert pa.total_allocated_bytes() - before < 10_000_000
    blocks.close()


def test_old_timestamps_and_files_without_an_arrow_schema_stay_so(tmp_path):
    table = pa.table({"text": ["a b", "c d"], "t": pa.array([1, 2], pa.timestamp("ns"))})
    (tmp_path / "in").mkdir()
    options = {"use_deprecated_int96_timestamps": True, "store_schema": False, "version": "1.0"}
    pq.write_table(table, tmp_path / "in" / "a.parquet", **options)
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    before, after = (pq.ParquetFile(tmp_path / d / "a.parquet") for d in ("in", "clean"))
    assert after.schema.equals(before.schema)
    assert after.metadata.metadata == before.metadata.metadata
    assert after.metadata.format_version == "1.0"


@pytest.mark.parametrize("codec", [None, "lz4", "zstd"])
@pytest.mark.parametrize("make", [ipc.new_file, ipc.new_stream])
def test_arrow_keeps_kind_codec_and_types(tmp_path, codec, make):
    table = wide_table(100).replace_schema_metadata({"own": "metadata"})
    (tmp_path / "in").mkdir()
    options = ipc.IpcWriteOptions(compression=codec)
    with make(str(tmp_path / "in" / "a.arrow"), table.schema, options=options) as sink:
        sink.write_table(table, max_chunksize=30)
    keep = deduplicate(tmp_path / "in", tmp_path / "out", text="text").mask()
    apply(tmp_path / "out", tmp_path / "clean")
    begin = [(tmp_path / d / "a.arrow").read_bytes()[:6] for d in ("in", "clean")]
    assert begin[0] == begin[1]
    opened = ipc.open_file if make is ipc.new_file else ipc.open_stream
    with pa.memory_map(str(tmp_path / "clean" / "a.arrow")) as source:
        after = opened(source).read_all()
    assert after.schema.equals(table.schema, check_metadata=True)
    assert after.to_pylist() == [row for row, k in zip(table.to_pylist(), keep, strict=True) if k]
    (shard,) = find_shards([str(tmp_path / "clean" / "a.arrow")])
    assert format_of(shard).reader.codec(shard) == codec


@pytest.mark.parametrize("kind", ["parquet", "jsonl.gz", "csv"])
def test_files_of_so_many_rows(tmp_path, kind):
    paths = [write(tmp_path / "in", kind, [f"{n} {t}" for t in TEXTS], n) for n in ("a", "b", "c")]
    mask = deduplicate(tmp_path / "in", tmp_path / "out").mask()
    apply(tmp_path / "out", tmp_path / "clean", rows_per_file=37, dropped=tmp_path / "gone")
    files = sorted((tmp_path / "clean").glob("part-*"))
    assert files[0].name == f"part-00000.{kind}"
    found = [rows_of(file) for file in files]
    assert [len(rows) for rows in found[:-1]] == [37] * (len(files) - 1)
    before = [row for path in paths for row in rows_of(path)]
    assert list(itertools.chain(*found)) == [
        row for row, keep in zip(before, mask, strict=True) if keep
    ]
    left = sorted((tmp_path / "gone").glob("part-*"))
    gone = [row for file in left for row in rows_of(file)]
    assert [row["text"] for row in gone] == [
        row["text"] for row, keep in zip(before, mask, strict=True) if not keep
    ]


def test_shards_that_differ_cannot_share_files(tmp_path):
    write(tmp_path / "in", "jsonl")
    write(tmp_path / "in", "parquet", name="b")
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match="another format"):
        apply(tmp_path / "out", tmp_path / "clean", rows_per_file=10)
    apply(tmp_path / "out", tmp_path / "clean")
    assert {path.name for path in (tmp_path / "clean").iterdir()} == {
        "a.jsonl", "b.parquet", "_dedupe.json",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_shards_of_other_compression_cannot_share_files(tmp_path, kind):
    (tmp_path / "in").mkdir()
    for name, codec in {"a": "zstd", "b": "lz4"}.items():
        table = pa.table({"text": [f"{name} {i} and some words" for i in range(20)]})
        if kind == "parquet":
            pq.write_table(table, tmp_path / "in" / f"{name}.parquet", compression=codec)
        else:
            feather.write_feather(table, tmp_path / "in" / f"{name}.arrow", compression=codec)
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match=r"b\..*: has other compression than .*a\."):
        apply(tmp_path / "out", tmp_path / "clean", rows_per_file=10)
    apply(tmp_path / "out", tmp_path / "clean")


@pytest.mark.parametrize("make", [ipc.new_file, ipc.new_stream])
def test_dictionaries_of_several_shards_in_one_file(tmp_path, make):
    (tmp_path / "in").mkdir()
    expected = []
    for name, values in {"a": "xy", "b": "zy", "c": "yxw"}.items():
        cats = pa.array(list(values * 10)).dictionary_encode()
        rows = len(cats)
        nested = pa.StructArray.from_arrays([cats], ["in"])
        texts = pa.array([f"{name} {i} and some words" for i in range(rows)])
        batch = pa.record_batch([texts, cats, nested], names=["text", "cat", "deep"])
        with make(str(tmp_path / "in" / f"{name}.arrow"), batch.schema) as sink:
            sink.write_batch(batch)
        expected += batch.to_pylist()
    deduplicate(tmp_path / "in", tmp_path / "out", text="text")
    apply(tmp_path / "out", tmp_path / "clean", rows_per_file=45)
    found = [row for file in sorted((tmp_path / "clean").glob("p*")) for row in rows_of(file)]
    assert found == expected


def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    for name in "abcdef":
        write(tmp_path / "in" / name, "parquet", [f"{name} {text}" for text in TEXTS])
    deduplicate(tmp_path / "in", tmp_path / "out")
    for workers in (1, 4):
        apply(tmp_path / "out", tmp_path / f"clean{workers}", workers=workers, rows_per_file=50)
    for file in (tmp_path / "clean1").glob("part*"):
        assert file.read_bytes() == (tmp_path / "clean4" / file.name).read_bytes()


def test_a_corpus_that_changed_is_refused(tmp_path):
    path = write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    time.sleep(0.01)
    path.write_bytes(path.read_bytes())
    with pytest.raises(CorpusError, match="changed since the run"):
        apply(tmp_path / "out", tmp_path / "clean")
    path.unlink()
    with pytest.raises(CorpusError, match="no such file"):
        apply(tmp_path / "out", tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize(
    "change", [lambda d: d[: d.index(b"\n", len(d) // 2)], lambda d: d + b'{"text": "new"}\n']
)
def test_rows_that_are_not_those_of_the_keep_list_are_an_error(tmp_path, change):
    path = write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    path.write_bytes(change(path.read_bytes()))
    with resealed(tmp_path / "out") as summary:
        shard = summary["corpus"]["shards"][0]
        shard["size"], shard["version"] = path.stat().st_size, str(path.stat().st_mtime_ns)
    with pytest.raises(CorpusError, match="has not the 300 rows"):
        apply(tmp_path / "out", tmp_path / "clean")
    assert not (tmp_path / "clean").exists()


def test_places_that_cannot_be_written_to(tmp_path):
    write(tmp_path / "in", "jsonl")
    out = tmp_path / "out"
    deduplicate(tmp_path / "in", out)
    with pytest.raises((SettingsError, WorkDirError)):
        apply(out, tmp_path / "in")
    with pytest.raises(SettingsError, match="lie in each other"):
        apply(out, tmp_path / "clean", dropped=tmp_path / "clean" / "gone")
    with pytest.raises(SettingsError, match="leave out dropped"):
        apply(out, tmp_path / "clean", dropped=tmp_path / "gone", add_columns=True)
    for rows in (0, 2.5, "7", True):
        with pytest.raises(SettingsError, match=f"rows_per_file is {rows!r}"):
            apply(out, tmp_path / "clean", rows_per_file=rows)
    with pytest.raises(SettingsError, match="would be a part of the corpus"):
        apply(out, tmp_path / "in" / "clean")
    with pytest.raises(SettingsError, match="would be a part of the corpus"):
        apply(out, tmp_path / "clean", dropped=tmp_path / "in" / "gone")
    with pytest.raises(SettingsError, match="lies in the run's output"):
        apply(out, out / "clean")
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "mine").write_text("x")
    with pytest.raises(WorkDirError, match="not an empty directory"):
        apply(out, tmp_path / "clean")
    with pytest.raises(WorkDirError, match="not the output"):
        apply(tmp_path / "in", tmp_path / "other")


def test_a_run_over_rows_in_memory_has_no_files_to_filter(tmp_path):
    deduplicate(pa.table({"text": ["a"]}), tmp_path / "out")
    with pytest.raises(SettingsError, match="rows in memory"):
        apply(tmp_path / "out", tmp_path / "clean")


def test_names_as_long_as_a_disk_allows(tmp_path):
    path = write(tmp_path / "in", "jsonl", name="a" * 249)
    deduplicate(path, tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    assert set(os.listdir(tmp_path / "clean")) == {path.name, "_dedupe.json"}


def test_a_summary_leads_nowhere_else(tmp_path):
    write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    with resealed(tmp_path / "out") as summary:
        summary["corpus"]["shards"][0]["keep"] = "keep/../../in/a.jsonl"
    with pytest.raises(WorkDirError, match="keep is not a text like"):
        apply(tmp_path / "out", tmp_path / "clean")


def test_names_below_the_common_folder():
    assert relative_names(["/c/a/x.parquet", "/c/b/x.parquet"]) == ["a/x.parquet", "b/x.parquet"]
    assert relative_names(["/c/a/x.parquet"]) == ["x.parquet"]
    assert relative_names(["s3://b/k/a.csv", "s3://b/k/d/a.csv"]) == ["a.csv", "d/a.csv"]
    with pytest.raises(CorpusError, match="as another shard"):
        relative_names(["https://h/a.parquet?v=1", "https://h/a.parquet?v=2"])
    with pytest.raises(CorpusError, match="as another shard"):
        relative_names(["s3://b/a.jsonl", "s3://b/a.jsonl/c.jsonl"])
    with pytest.raises(CorpusError, match=r"\.\. in its path"):
        relative_names(["s3://b/k/../a.csv", "s3://b/k/c.csv"])
    with pytest.raises(CorpusError, match="what apply says of the files"):
        relative_names(["/c/_dedupe.json"])


def test_corpora_of_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(b"")
    (tmp_path / "in" / "b.csv").write_bytes(b"text,n\n")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "in" / "c.parquet")
    deduplicate(tmp_path / "in", tmp_path / "out", text="text")
    apply(tmp_path / "out", tmp_path / "clean")
    assert (tmp_path / "clean" / "a.jsonl").read_bytes() == b""
    assert (tmp_path / "clean" / "b.csv").read_bytes() == b"text,n\n"
    assert pq.read_table(tmp_path / "clean" / "c.parquet").num_rows == 0


def test_a_key_that_only_a_late_row_has_is_not_written_twice(tmp_path):
    path = write(tmp_path / "in", "jsonl", [f"row {i}" for i in range(2000)])
    with path.open("a") as file:
        file.write('{"text": "is no key: \\"dedupe_keep\\"", "n": {"dedupe_keep": 1}}\n')
        file.write('{"text": "late", "dedupe_keep": 1}\n')
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match=r'a\.jsonl, row 2001: has a column "dedupe_keep"'):
        apply(tmp_path / "out", tmp_path / "all", add_columns=True)
    apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")


def test_only_the_names_of_the_added_columns_are_taken(tmp_path):
    (tmp_path / "in").mkdir()
    table = pa.table({"text": ["a b", "a b"], "dedupe_score": [1, 2]})
    pq.write_table(table, tmp_path / "in" / "a.parquet", compression="zstd")
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "all", add_columns=True)
    file = pq.ParquetFile(tmp_path / "all" / "a.parquet")
    assert file.schema_arrow.names[:3] == ["text", "dedupe_score", "dedupe_keep"]
    group = file.metadata.row_group(0)
    assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
    write(tmp_path / "other", "csv", name="dedupe_keep")
    (tmp_path / "other" / "dedupe_keep.csv").write_text("text,dedupe_keep\na,1\n")
    deduplicate(tmp_path / "other", tmp_path / "out2")
    with pytest.raises(CorpusError, match='has a column "dedupe_keep" already'):
        apply(tmp_path / "out2", tmp_path / "all2", add_columns=True)


def test_encodings_that_a_writer_has_to_be_asked_for(tmp_path):
    (tmp_path / "in").mkdir()
    encodings = {
        "text": "DELTA_LENGTH_BYTE_ARRAY",
        "n": "DELTA_BINARY_PACKED",
        "x": "BYTE_STREAM_SPLIT",
        "name": "DELTA_BYTE_ARRAY",
    }
    columns = {"text": TEXTS, "n": range(300), "x": [0.5] * 300, "name": ["b"] * 300}
    table = pa.table({**columns, "kind": ["c"] * 300})
    path = tmp_path / "in" / "a.parquet"
    pq.write_table(table, path, use_dictionary=["kind"], column_encoding=encodings)
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    before, after = (
        pq.read_metadata(file).row_group(0) for file in (path, tmp_path / "clean" / "a.parquet")
    )
    for i in range(5):
        assert set(after.column(i).encodings) == set(before.column(i).encodings)


@pytest.mark.parametrize("nest", [lambda v: v, lambda v: [v], lambda v: {"a": [[v]]}])
def test_timestamps_that_would_be_changed_are_an_error(tmp_path, nest):
    (tmp_path / "in").mkdir()
    early = pa.array([-62135596800000000, 0, None], pa.timestamp("us"))
    table = pa.table({"text": ["a", "b", "c"], "t": [nest(value) for value in early.to_pylist()]})
    pq.write_table(table, tmp_path / "in" / "a.parquet", use_deprecated_int96_timestamps=True)
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match=r'a\.parquet: column "t" has INT96'):
        apply(tmp_path / "out", tmp_path / "clean")


@pytest.mark.usefixtures("new_pyarrow")
def test_damaged_offsets_of_any_column_are_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    others = pa.array([[f"other {i}"] for i in range(300)])
    table = pa.table({"text": TEXTS, "others": others})
    path = tmp_path / "in" / "a.arrow"
    with ipc.new_file(str(path), table.schema, metadata={"made": "here"}) as sink:
        sink.write_table(table)
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    assert ipc.open_file(tmp_path / "clean" / "a.arrow").metadata == {b"made": b"here"}
    data = bytearray(path.read_bytes())
    at = data.find(others.values.buffers()[1].to_pybytes()[:400])
    assert at > 0
    data[at + 200 : at + 204] = (2**31 - 9).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"a\.arrow, row 0: record batch 0 cannot be decoded"):
        deduplicate(tmp_path / "in", tmp_path / "out1")  # which counts how `others` differ
    deduplicate(tmp_path / "in", tmp_path / "out2", differences=False)
    with pytest.raises(CorpusError, match=r"a\.arrow: cannot be decoded"):
        apply(tmp_path / "out2", tmp_path / "clean2")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_ids_of_witnesses_are_spelled_so_that_they_are_read_back(tmp_path, kind):
    ids = ['q"uo\\te', "new\nline", "tab\t\x01", "ünï\u2028", "", "comma,", "\\\\n", "'"]
    path = tmp_path / "in" / f"a.{kind}"
    path.parent.mkdir()
    rows = [{"text": f"{i} is one of two equal rows", "id": i} for i in ids for _ in range(2)]
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", "id"])
            writer.writeheader()
            writer.writerows(rows)
    deduplicate(path, tmp_path / "out", id="id", exact="bytes", near=False)
    apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")
    gone = rows_of(tmp_path / "gone" / path.name)
    assert [row["dedupe_witness_id"] for row in gone] == ids
    assert [row["id"] for row in gone] == ids


def test_a_shard_that_changes_while_it_is_read_is_an_error(tmp_path):
    path = write(tmp_path / "in", "parquet")
    deduplicate(tmp_path / "in", tmp_path / "out")
    changed = At("apply", lambda: os.utime(path, ns=(1, 1)))
    with pytest.raises(CorpusError, match=r"a\.parquet: changed"):
        apply(tmp_path / "out", tmp_path / "clean", progress=changed)
    assert not (tmp_path / "clean").exists()


@pytest.mark.parametrize("change", [lambda t: pa.concat_tables([t, t]), lambda t: t.slice(1)])
def test_a_keep_list_of_other_rows_is_an_error(tmp_path, change):
    write(tmp_path / "in", "parquet")
    (file,) = deduplicate(tmp_path / "in", tmp_path / "out").files
    pq.write_table(change(pq.read_table(file)), file)
    with pytest.raises(DamageError, match=r"keep/00000-a\.parquet is damaged .*: run again"):
        apply(tmp_path / "out", tmp_path / "clean")
    with resealed(tmp_path / "out") as summary:
        shard = summary["corpus"]["shards"][0]
        shard["keep_size"], shard["keep_checksum"] = checksum_of_file(io.BytesIO(file.read_bytes()))
    with pytest.raises(CorpusError, match=r"a\.parquet: has not the 300 rows"):
        apply(tmp_path / "out", tmp_path / "clean")


def test_a_shard_is_begun_where_its_rows_are(tmp_path):
    path = write(tmp_path / "in", "parquet")
    source = open_source(*find_shards([str(path)]))
    assert [source.start(row) for row in (0, 69, 70, 139, 150, 299)] == [0, 0, 70, 70, 140, 280]
    begun = open_source(*find_shards([str(path)])).blocks(140)
    assert next(begun).column("n")[0].as_py() == 140
    begun.close()


def test_no_more_tasks_at_a_time_than_memory_has_room_for():
    def threads(most, **how):
        return Execution(**how).at_most(most).resources.threads

    assert (1_100_000_000 - COSTS.base) // TASK_BYTES == 3
    assert threads(3, workers=8) == 3
    assert threads(3, workers=2) == 2
    assert threads(0, workers=8) == 1
    fewer = Execution(engine="ray", workers=5, worker_cpus=8).at_most(3)
    assert (fewer.workers, fewer.worker_cpus) == (5, 3)


@pytest.mark.parametrize("kind", ["parquet", "file.arrow", "jsonl.gz"])
def test_a_full_disk_is_an_error_with_a_remedy(tmp_path, small_disk, kind):
    write(tmp_path / "in", kind, [random.randbytes(40).hex() for _ in range(6000)])
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(WorkDirError, match=r"the disk is full.*--work-dir"):
        apply(tmp_path / "out", small_disk / "clean")
    assert not (small_disk / "clean").exists()
    apply(tmp_path / "out", tmp_path / "clean")


KILLED = """
import sys
import moments
from dedupe import apply

progress = moments.At("apply", moments.kill, 3)
apply(*sys.argv[1:], rows_per_file=20, progress=progress, workers=2)
"""


def test_a_killed_apply_goes_on(tmp_path, forks):
    for name in "abcdefgh":
        write(tmp_path / "in" / name, "parquet", [f"{name} {text}" for text in TEXTS])
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "whole", rows_per_file=20)
    killed = forks.run(KILLED, tmp_path / "out", tmp_path / "clean")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "clean").exists()
    with pytest.raises(WorkDirError, match="holds other work"):
        apply(tmp_path / "out", tmp_path / "clean", rows_per_file=21)
    notes = Notes()
    apply(tmp_path / "out", tmp_path / "clean", rows_per_file=20, progress=notes)
    assert 0 < notes.done < notes.tasks
    for file in (tmp_path / "whole").glob("part*"):
        assert file.read_bytes() == (tmp_path / "clean" / file.name).read_bytes()
    assert len(os.listdir(tmp_path / "clean")) == len(os.listdir(tmp_path / "whole"))


def test_a_work_directory_that_stays_gives_the_same_files_again(tmp_path):
    write(tmp_path / "in", "parquet")
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean", work_dir=tmp_path / "work")
    before = (tmp_path / "clean" / "a.parquet").read_bytes()
    shutil.rmtree(tmp_path / "clean")
    apply(tmp_path / "out", tmp_path / "clean", work_dir=tmp_path / "work")
    assert (tmp_path / "clean" / "a.parquet").read_bytes() == before


@pytest.mark.parametrize("part", ["kept", "dropped"])
def test_a_file_that_a_power_cut_emptied_is_made_again(tmp_path, part):
    write(tmp_path / "in", "parquet")
    deduplicate(tmp_path / "in", tmp_path / "out")
    places = {"dropped": tmp_path / "gone", "work_dir": tmp_path / "work"}
    apply(tmp_path / "out", tmp_path / "clean", **places)
    whole = {path: path.read_bytes() for path in tmp_path.glob("[cg]*/a.parquet")}
    shutil.rmtree(tmp_path / "clean")
    shutil.rmtree(tmp_path / "gone")
    (file,) = (tmp_path / "work").rglob(f"{part}/a.parquet")
    os.truncate(file, 0)
    notes = Notes()
    apply(tmp_path / "out", tmp_path / "clean", progress=notes, **places)
    assert len(notes.notes) == 1
    assert "a.parquet is damaged (0 bytes" in notes.notes[0]
    assert len(whole) == 2
    assert {path: path.read_bytes() for path in whole} == whole


def test_killed_when_one_of_two_folders_has_appeared(tmp_path):
    write(tmp_path / "in", "parquet")
    deduplicate(tmp_path / "in", tmp_path / "out")
    out, clean, gone = (tmp_path / name for name in ("out", "clean", "gone"))
    apply(out, clean, dropped=gone, work_dir=tmp_path / "work")
    shutil.rmtree(clean)  # it appears last
    with pytest.raises(WorkDirError, match="not an empty directory"):
        apply(out, tmp_path / "other", dropped=gone)
    manifest = apply(out, clean, dropped=gone, work_dir=tmp_path / "work")
    rows = [pq.read_metadata(place / "a.parquet").num_rows for place in (clean, gone)]
    assert rows == [manifest["kept"], manifest["dropped"]]


def test_an_output_that_is_a_link_is_filled_where_it_leads(tmp_path):
    write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    (tmp_path / "disk").mkdir()
    (tmp_path / "clean").symlink_to(tmp_path / "disk")
    apply(tmp_path / "out", tmp_path / "clean")
    assert (tmp_path / "disk" / "a.jsonl").exists()


def test_a_run_that_does_not_say_what_it_read_is_refused(tmp_path):
    write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    path = tmp_path / "out" / "summary.json"
    before = unseal("summary", path.read_bytes(), "")
    path.write_text(json.dumps(before))  # as versions before wrote it
    with pytest.raises(WorkDirError, match="run again"):
        apply(tmp_path / "out", tmp_path / "clean")


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def stage(self, name, tasks, done):
        self.tasks, self.done = tasks, done

    def note(self, text):
        self.notes.append(text)


COMMA = np.uint8(ord(","))


def naive_csv_ends(data: bytes) -> list[int]:
    """Newlines outside of quotes; a quote opens only where a field begins."""
    ends, state = [], "begin"
    for i, byte in enumerate(data.decode("latin-1")):
        if state == "quoted":
            state = "closed" if byte == '"' else state
        elif byte in "\r\n":
            ends.append(i)
            state = "begin"
        elif byte == ",":
            state = "begin"
        else:
            state = "quoted" if byte == '"' and state in ("begin", "closed") else "bare"
    return ends


@given(st.lists(st.sampled_from([b'"', b",", b"\n", b"\r\n", b"a", b'""'])), st.integers(0, 9))
def test_records_of_csv_end_where_the_reference_says(pieces, cut):
    data = b"".join(pieces)
    found, state = [], BEGIN
    for start, part in ((0, data[:cut]), (cut, data[cut:])):
        ends = np.empty(len(part), np.int64)
        count, state = csv_ends(np.frombuffer(part, np.uint8), COMMA, state, ends)
        found += (ends[:count] + start).tolist()
    assert found == naive_csv_ends(data)


FIELDS = st.text(alphabet='a",\n\r é', max_size=6)


@given(st.lists(st.tuples(FIELDS, FIELDS), min_size=1, max_size=6), st.sampled_from(["\n", "\r\n"]))
def test_records_of_csv_are_those_of_pyarrow(rows, newline):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "n"), *rows])
    data = out.getvalue().encode()
    ends = np.empty(len(data), np.int64)
    count, _ = csv_ends(np.frombuffer(data, np.uint8), COMMA, BEGIN, ends)
    bounds = [-1, *ends[:count].tolist()]
    records = [a for a, b in itertools.pairwise(bounds) if b > a + 1]
    options = pc.ParseOptions(newlines_in_values=True)
    table = pc.read_csv(pa.BufferReader(data), parse_options=options)
    assert len(records) - 1 == table.num_rows


def test_the_command_says_what_it_wrote(tmp_path):
    write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    command = ["apply", tmp_path / "out", "--output", tmp_path / "clean"]
    done = commands.dedupe(*command)
    assert done.returncode == 0, done.stderr
    assert "rows kept and" in done.stdout
    assert "clean" in done.stdout
    again = commands.dedupe(*command, "--rows-per-file", "50")
    assert again.returncode == 2
    assert "not an empty directory" in again.stderr


@pytest.mark.stores
@pytest.mark.parametrize("where", ["clean", "work", "both"])
def test_a_store_gets_the_same_files(tmp_path, store, where):
    write(tmp_path / "in", "parquet")
    write(tmp_path / "in", "jsonl.gz", name="b")
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "local")
    clean = "s3://bucket/clean" if where != "work" else tmp_path / "clean"
    work = "s3://bucket/work" if where != "clean" else tmp_path / "work"
    manifest = apply(tmp_path / "out", clean, work_dir=work)
    import fsspec

    for name in ("a.parquet", "b.jsonl.gz"):
        with fsspec.open(f"{clean}/{name}") as file:
            assert file.read() == (tmp_path / "local" / name).read_bytes()
    again = apply(tmp_path / "out", clean, work_dir=work)
    assert {**again, "seconds": 0} == {**manifest, "seconds": 0}
    with pytest.raises(WorkDirError, match="empty"):
        apply(tmp_path / "out", clean, work_dir=work, add_columns=True)


@pytest.mark.stores
def test_files_that_a_store_has_lost_or_has_of_another_call(tmp_path, store):
    import fsspec

    write(tmp_path / "in", "jsonl")
    deduplicate(tmp_path / "in", tmp_path / "out")
    places = {"out": tmp_path / "out", "output": "s3://bucket/clean", "work_dir": tmp_path / "work"}
    fs = fsspec.filesystem("s3", use_listings_cache=False)

    def answer(method, path):
        return "403 Forbidden" if method == "PUT" and "_dedupe.json" in path else None

    store.answer = answer
    with pytest.raises(WorkDirError, match="no access"):
        apply(**places)
    store.answer = lambda method, path: None
    with pytest.raises(WorkDirError, match="clean exists and is not an empty"):
        apply(**places, fresh=True, add_columns=True)
    fs.rm("bucket/clean", recursive=True)
    with pytest.raises(WorkDirError, match=r"a\.jsonl is damaged \(it is missing\)"):
        apply(**places)
    apply(**places, fresh=True)
    assert fs.cat("bucket/clean/a.jsonl")


def test_a_real_parquet_file_comes_back_with_its_schema(tmp_path, real_data):
    """Real files of other formats: `test_real_corpora.py`."""
    name = "multilingual.parquet"
    result = deduplicate(real_data / name, tmp_path / "out")
    apply(result.path, tmp_path / "kept", dropped=tmp_path / "gone")
    before = pq.read_table(real_data / name)
    after, gone = (pq.read_table(tmp_path / folder / name) for folder in ("kept", "gone"))
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after.equals(before.filter(pa.array(result.mask())))
    assert gone.select(before.column_names).equals(before.filter(pa.array(~result.mask())))
    near = gone["dedupe_jaccard"].to_numpy()
    assert ((near >= 0.8) & (near <= 1)).all()
    assert deduplicate(tmp_path / "kept").mask().all()


def test_apply_is_a_name_of_the_package():
    assert dedupe.apply is apply
    assert isinstance(Result, type)
