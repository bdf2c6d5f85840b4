"""Formats: each has a reader and a rewriter, and what is copied is a file like the first."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from test_corpus import FORMATS, shard_of, write

from dedupe.corpus import BlockSizes, formats, open_source
from dedupe.corpus.names import SUFFIXES, formats_of, suffix_of
from dedupe.corpus.rewriting import Source, Writer
from dedupe.errors import CorpusError

TABLE = pa.table({"text": [f"row {i} and some words" for i in range(20_000)], "n": range(20_000)})


def copied(shard, target, take, sizes=formats.BLOCK_SIZES, start=0):
    """A file with some of the rows of a shard from one row on; the rows of each block."""
    source = open_source(shard, sizes)
    at, counts = source.start(start), []
    with pa.OSFile(str(target), "wb") as sink:
        writer = source.writer(sink, None)
        for rows in source.blocks(at):
            counts.append(rows.num_rows)
            source.check(rows, at, [])
            writer.write(rows, take[at : at + rows.num_rows], None)
            at += rows.num_rows
        writer.close()
    return counts


def functions(protocol):
    return {
        name: list(inspect.signature(value).parameters)[1:]
        for name, value in vars(protocol).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


def names_of(found):
    return list(inspect.signature(found).parameters)


@pytest.mark.parametrize("kind", formats.FORMATS.values(), ids=lambda kind: kind.name)
def test_every_format_is_what_the_protocols_say(kind):
    for name, parameters in functions(formats.Reader).items():
        assert names_of(getattr(kind.reader, name)) == parameters
    if kind.suffixes:
        for name, parameters in functions(formats.Rewriter).items():
            assert names_of(getattr(kind.rewriter, name)) == parameters


@pytest.mark.parametrize("kind", FORMATS)
def test_every_source_and_writer_is_what_the_protocols_say(tmp_path, kind):
    source = open_source(shard_of(write(tmp_path / f"a.{kind}", TABLE.slice(0, 9))))
    writer = source.writer(pa.BufferOutputStream(), None)
    for made, protocol in ((source, Source), (writer, Writer)):
        for name, parameters in functions(protocol).items():
            assert names_of(getattr(made, name)) == parameters
    assert source.names == ["text", "n"]
    assert "columns" in source.properties


@pytest.mark.parametrize(
    ("name", "found", "suffix"),
    [
        ("a.parquet", ["parquet"], ".parquet"),
        ("a.PQ", ["parquet"], ".PQ"),
        ("a.b.jsonl.gz", ["jsonl"], ".jsonl.gz"),
        ("a.json.ZST", ["jsonl"], ".json.ZST"),
        ("a.csv", ["csv"], ".csv"),
        ("a.feather", ["arrow", "arrow-stream"], ".feather"),
        ("a.arrow.gz", [], ".arrow.gz"),
        ("a.parquet.zst", [], ".parquet.zst"),
        ("a.gz", [], ".gz"),
        ("a", [], ""),
        ("<table>", [], ""),
    ],
)
def test_names_tell_formats(name, found, suffix):
    assert [one.name for one in formats_of(name)] == found
    assert suffix_of(name) == suffix
    for one in found:
        assert formats.FORMATS[one].suffixes[0] in SUFFIXES


def test_formats_of_one_suffix_are_told_apart_by_their_beginning():
    both = formats_of("a.arrow")
    assert formats.told_apart("a", both, b"ARROW1").name == "arrow"
    assert formats.told_apart("a", both, b"").name == "arrow-stream"
    with pytest.raises(CorpusError, match="does not begin"):
        formats.told_apart("a", both[:1], b"ARROW2")
    with pytest.raises(CorpusError, match="version 2"):
        formats.told_apart("a", both, b"FEA1\0\0")


def test_only_copying_rows_of_text_loads_kernels(tmp_path):
    for name in ("a.parquet", "a.arrow", "a.jsonl", "a.csv"):
        write(tmp_path / name, TABLE.slice(0, 9))
    code = (
        "import sys; import dedupe.corpus as corpus; from dedupe.documents.template import *\n"
        "heavy = ('numba', 'fsspec', 'upath', 'pyarrow.compute', 'pyarrow.parquet')\n"
        "shards = corpus.find_shards([sys.argv[1]])\n"
        "print(*(name for name in heavy if name in sys.modules))\n"
        "for shard in shards:\n"
        "    corpus.check_columns(shard, corpus.Projection((Template.parse('text'),)))\n"
        "    corpus.plan_slices(shard, ['text'], 1 << 20, 1 << 20)\n"
        "    corpus.open_source(shard) if shard.path.endswith(('arrow', 'parquet')) else None\n"
        "print('dedupe.kernels.records' in sys.modules)\n"
        "corpus.open_source(shards[-2])\n"
        "print('dedupe.kernels.records' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["", "False", "True"]


@pytest.mark.parametrize("kind", FORMATS)
def test_copied_rows_are_those_that_are_taken(tmp_path, kind):
    table = TABLE.slice(0, 300)
    shard = shard_of(write(tmp_path / f"a.{kind}", table))
    take = np.arange(300) % 3 != 0
    copied(shard, tmp_path / f"copy.{kind}", take)
    write(tmp_path / f"expected.{kind}", table.filter(pa.array(take)))
    files = [tmp_path / f"{name}.{kind}" for name in ("copy", "expected")]
    rows = [shard_rows(path) for path in files]
    assert rows[0] == rows[1]
    assert shard_of(files[0]).format == shard.format


def shard_rows(path):
    from test_corpus import read_all

    return read_all(shard_of(path), ("text", "n"))


@pytest.mark.parametrize("block", [3, 5, 7, 11, 64, 1 << 20])
def test_lines_of_csv_end_as_they_do(tmp_path, block):
    data = (
        b'\xef\xbb\xbftext,"n"\r\nsome words here,1\nother words there,2\r\n'
        b'"words, ""quoted""\r\nin lines",3\rwords that are new,4\r\n"",5\nthe last of all,6'
    )
    (tmp_path / "a.csv").write_bytes(data)
    counts = copied(
        shard_of(tmp_path / "a.csv"), tmp_path / "b.csv", np.ones(6, bool), BlockSizes(lines=block)
    )
    assert sum(counts) == 6
    assert (tmp_path / "b.csv").read_bytes() == data + b"\r\n"


@pytest.mark.parametrize("kind", ["arrow", "feather", "stream.arrow"])
def test_large_record_batches_are_written_in_parts(tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", TABLE.slice(0, 300))
    take = np.arange(300) % 3 != 0
    copied(shard_of(path), tmp_path / f"b.{kind}", take, BlockSizes(record_batch=90))
    opened = ipc.open_stream if "stream" in kind else ipc.open_file
    before, after = (list(batches(opened(tmp_path / f"{name}.{kind}"))) for name in "ab")
    assert len(after) > len(before)
    assert pa.Table.from_batches(after).equals(TABLE.slice(0, 300).filter(pa.array(take)))


def batches(reader):
    if isinstance(reader, ipc.RecordBatchFileReader):
        return map(reader.get_batch, range(reader.num_record_batches))
    return reader


def test_large_row_groups_are_written_in_parts(tmp_path):
    pq.write_table(TABLE, tmp_path / "a.parquet", row_group_size=20_000)
    every = np.ones(20_000, bool)
    sizes = BlockSizes(row_group=200_000)
    copied(shard_of(tmp_path / "a.parquet"), tmp_path / "b.parquet", every, sizes)
    after = pq.ParquetFile(tmp_path / "b.parquet")
    assert 1 < after.num_row_groups < 10
    assert after.read().equals(TABLE)


def test_copying_begins_with_the_row_group_of_a_row(tmp_path):
    pq.write_table(TABLE.slice(0, 300), tmp_path / "a.parquet", row_group_size=70)
    shard = shard_of(tmp_path / "a.parquet")
    source = open_source(shard)
    starts = [source.start(row) for row in range(300)]
    assert starts == [row // 70 * 70 for row in range(300)]
    for start in (0, 140, 280):
        (tmp_path / "b.parquet").unlink(missing_ok=True)
        counts = copied(shard, tmp_path / "b.parquet", np.ones(300, bool), start=start)
        assert sum(counts) == 300 - start
        copy = pq.read_table(tmp_path / "b.parquet")
        assert copy.equals(TABLE.slice(start, 300 - start))
    divisible = [name for name, kind in formats.FORMATS.items() if kind.divisible]
    assert divisible == ["parquet"]


def test_keys_that_are_added_are_looked_for_in_each_row(tmp_path):
    lines = ['{"text": "a"}', '{"text": "\\"key\\""}', '{"deep": {"key": 1}}', '{"key": 1}']
    (tmp_path / "a.jsonl").write_text("\n".join([*lines, ""]))
    source = open_source(shard_of(tmp_path / "a.jsonl"))
    (rows,) = source.blocks(0)
    for first, last in itertools.combinations(range(4), 2):
        source.check(rows.slice(first, last - first), first, ["key"])
    with pytest.raises(CorpusError, match=r'row 12: has a column "key" already'):
        source.check(rows.slice(2, 2), 11, ["other", "key"])
