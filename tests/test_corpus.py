import bz2
import gzip
import itertools
import json
import lzma
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from commands import dedupe, in_one_line
from corpora import wanted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dedupe import apply, audit, deduplicate
from dedupe.corpus import (
    BLOCK_SIZES,
    BlockSizes,
    Shard,
    Slice,
    check_columns,
    column_names,
    discover,
    estimate,
    find_shards,
    first_row,
    open_source,
    plan_slices,
    read_slice,
    table_shard,
)
from dedupe.corpus.reading import jsonl, parquet
from dedupe.corpus.reading.lines import LineBlock, count_rows
from dedupe.corpus.reading.records import BadRowError, record_batch
from dedupe.errors import CorpusError
from dedupe.progress import Silent

TEXTS = ["ein Text", "", None, "日本語のテキスト", "é" * 300, "a\nb", "🙂", "x", None, "end"] * 7
FORMATS = [
    "parquet", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz", "csv.zst", "arrow", "feather",
    "stream.arrow", "zstd-stream.arrow", "jsonl.bz2", "jsonl.xz", "jsonl.lz4", "jsonl.gzip",
    "tsv", "psv.xz",
]  # fmt: skip
SMALL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(path: Path, table: pa.Table) -> Path:
    name = path.name
    if ".parquet" in name:
        pq.write_table(table, path, row_group_size=7)
    elif ".jsonl" in name:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in table.to_pylist())
        compress(path, data)
    elif "sv" in name:
        sink = pa.BufferOutputStream()
        delimiter = {"tsv": "\t", "psv": "|"}.get(name.split(".")[1], ",")
        pc.write_csv(table, sink, pc.WriteOptions(delimiter=delimiter))
        compress(path, sink.getvalue().to_pybytes())
    elif name.endswith("stream.arrow"):
        options = ipc.IpcWriteOptions(compression="zstd" if "zstd" in name else None)
        with ipc.new_stream(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=7)
    else:
        options = ipc.IpcWriteOptions(compression="lz4" if "feather" in name else None)
        with ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=7)
    return path


def compress(path: Path, data: bytes) -> Path:
    if path.suffix in (".gz", ".gzip"):
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = pa.Codec("zstd").compress(data, asbytes=True)
    elif path.suffix == ".bz2":
        data = bz2.compress(data)
    elif path.suffix == ".xz":
        data = lzma.compress(data)
    elif path.suffix == ".lz4":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "lz4") as stream:
            stream.write(data)
        data = sink.getvalue().to_pybytes()
    path.write_bytes(data)
    return path


def shard_of(path: Path) -> Shard:
    (shard,) = find_shards([str(path)])
    return shard


def values(array: pa.Array) -> list[bytes | None]:
    return [v.as_buffer().to_pybytes() if v.is_valid else None for v in array]


def read_all(
    shard: Shard,
    columns=("text",),
    target: int = 1 << 40,
    batch: int = 1 << 20,
    rows: int = 1 << 40,
    sizes: BlockSizes = BLOCK_SIZES,
) -> list[tuple]:
    """Rows of all slices; the text as bytes."""
    check_columns(shard, wanted(*columns))
    found = []
    for index, part in enumerate(plan_slices(shard, columns[:1], target, rows)):
        assert (part.shard, part.index) == (shard.ordinal, index)
        if found or part.first:
            assert first_row(shard, part) == len(found)
        for one in read_slice(shard, part, wanted(*columns), batch_bytes=batch, sizes=sizes):
            assert one.schema.names == ["document", *columns[1:]]
            assert one.column(0).type == pa.large_string()
            assert one.num_rows
            others = [column.to_pylist() for column in one.columns[1:]]
            found += zip(values(one.column(0)), *others, strict=True)
    return found


def texts_of(shard: Shard, **how) -> list[bytes | None]:
    return [row[0] for row in read_all(shard, **how)]


def encoded(texts) -> list[bytes | None]:
    return [None if text is None else text.encode() for text in texts]


def error_of(action, *args, **kwargs) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        list(action(*args, **kwargs) or ())
    assert "\n" not in str(caught.value)
    return caught.value


def error_or_none(path: Path) -> CorpusError | None:
    try:
        texts_of(shard_of(path))
    except CorpusError as error:
        return error
    return None


# --- every format -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_every_row_once(tmp_path, kind):
    table = pa.table({"n": range(len(TEXTS)), "text": TEXTS, "other": ["o"] * len(TEXTS)})
    shard = shard_of(write(tmp_path / f"a.{kind}", table))
    expected = encoded(text or "" for text in TEXTS) if "sv" in kind else encoded(TEXTS)
    for target, batch, limit in [(1 << 40, 1 << 20, 1 << 40), (300, 50, 1 << 40), (1, 1, 1),
                                 (4000, 1000, 9)]:  # fmt: skip
        found = read_all(shard, ("text", "n"), target, batch, limit)
        assert found == list(zip(expected, range(len(TEXTS)), strict=True))
    assert min(estimate(shard, ["text"])) > 0
    shard.check_unchanged()


@pytest.mark.parametrize("kind", [*FORMATS, "table"])
def test_only_wanted_rows(tmp_path, kind):
    table = pa.table({"text": [f"text {i}" for i in range(100)], "n": range(100)})
    shard = (
        table_shard(table) if kind == "table" else shard_of(write(tmp_path / f"a.{kind}", table))
    )
    (part,) = plan_slices(shard, ["text"], 1 << 40, 1 << 40)
    for chosen in ([], [0], [99], [5, 6, 50, 98], list(range(100)), list(range(0, 100, 3))):
        batches = read_slice(
            shard, part, wanted("text", "n"), batch_bytes=200, rows=np.array(chosen, np.int64)
        )
        found = [row for batch in batches for row in batch.to_pylist()]
        assert found == [{"document": f"text {i}", "n": i} for i in chosen]


def test_rows_are_counted_within_the_slice(tmp_path):
    table = pa.table({"text": [f"text {i}" for i in range(200)]})
    for kind in ("parquet", "jsonl", "arrow", "stream.arrow"):
        shard = shard_of(write(tmp_path / f"a.{kind}", table))
        parts = plan_slices(shard, ["text"], 300, 1 << 40)
        assert len(parts) > 2
        rows = np.array([1, 3])
        batches = read_slice(shard, parts[1], wanted("text"), batch_bytes=999, rows=rows)
        start = first_row(shard, parts[1])
        found = [v for batch in batches for v in batch.column(0).to_pylist()]
        assert found == [f"text {start + 1}", f"text {start + 3}"]


def test_unwanted_row_groups_are_not_decoded(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": [f"{i:09d}" * 50 for i in range(100)]}),
        path,
        row_group_size=50,
        use_dictionary=False,
        compression="none",
    )
    offset = pq.read_metadata(path).row_group(0).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[offset : offset + 200] = b"\xff" * 200
    path.write_bytes(data)
    shard = shard_of(path)
    (part,) = plan_slices(shard, ["text"], 1 << 40, 1 << 40)
    batches = list(
        read_slice(shard, part, wanted("text"), batch_bytes=999, rows=np.array([60], np.int64))
    )
    assert batches[0].column(0).to_pylist() == [f"{60:09d}" * 50]
    assert "row group 0 cannot be decoded" in str(error_of(read_all, shard))


def test_batches_are_about_the_size_asked_for(tmp_path):
    table = pa.table({"text": ["x" * (i % 500) for i in range(20_000)]})
    for kind in ("parquet", "jsonl", "csv", "arrow"):
        shard = shard_of(write(tmp_path / f"a.{kind}", table))
        (part,) = plan_slices(shard, ["text"], 1 << 40, 1 << 40)
        sizes = [
            sum(len(v or b"") for v in values(batch.column(0)))
            for batch in read_slice(shard, part, wanted("text"), batch_bytes=100_000)
        ]
        assert sum(sizes) == sum(i % 500 for i in range(20_000))
        assert max(sizes) <= 100_000
        assert min(sizes[:-1]) >= 20_000


def test_a_text_may_be_the_id_too(tmp_path):
    for kind in FORMATS:
        shard = shard_of(write(tmp_path / f"a.{kind}", pa.table({"text": ["a", "b"]})))
        assert read_all(shard, ("text", "text")) == [(b"a", "a"), (b"b", "b")]


def test_no_rows(tmp_path):
    table = pa.table({"text": pa.array([], pa.string())})
    for kind in FORMATS:
        shard = shard_of(write(tmp_path / f"a.{kind}", table))
        assert read_all(shard) == []
    for data in (b"", b"\n", b"\xef\xbb\xbf", b" \r\n\t\n"):
        (tmp_path / "b.jsonl").write_bytes(data)
        assert read_all(shard_of(tmp_path / "b.jsonl")) == []
    for data in (b"text", b"text\n", b"text\r\n"):
        (tmp_path / "b.csv").write_bytes(data)
        assert read_all(shard_of(tmp_path / "b.csv")) == []


def test_arrow_text_is_not_copied(tmp_path):
    text = pa.array(["x" * 1000] * 1000, pa.large_string())
    for kind in ("arrow", "stream.arrow"):
        shard = shard_of(write(tmp_path / f"a.{kind}", pa.table({"text": text, "n": range(1000)})))
        (part,) = plan_slices(shard, ["text"], 1 << 40, 1 << 40)
        before = pa.total_allocated_bytes()
        for batch in read_slice(shard, part, wanted("text"), batch_bytes=1):
            assert batch.num_rows == 1
            assert pa.total_allocated_bytes() - before < 1000


# --- types ------------------------------------------------------------------------------------

STRINGS = ["one", None, "", "a string longer than a view holds inline: ä", "one"]
TYPES = [
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
    pa.binary_view(), pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
]  # fmt: skip


def of_type(kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.array(STRINGS).dictionary_encode().cast(kind)
    flat = pa.array(encoded(STRINGS), pa.binary()) if "binary" in str(kind) else pa.array(STRINGS)
    return flat.cast(kind)


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("store", ["table", "parquet", "arrow", "stream.arrow"])
def test_text_types(tmp_path, request, kind, store):
    if store == "parquet" and "view" in str(kind):
        request.getfixturevalue("new_pyarrow")
    array = of_type(kind)
    table = pa.table(
        {"text": pa.chunked_array([array.slice(1), array.slice(0, 0), array.slice(2, 2), array])}
    )
    expected = encoded(STRINGS[1:] + STRINGS[2:4] + STRINGS)
    shard = table_shard(table)
    if store != "table":
        shard = shard_of(write(tmp_path / f"a.{store}", table))
    assert texts_of(shard) == expected
    assert texts_of(shard, target=1, batch=1) == expected
    (part,) = plan_slices(shard, ["text"], 1 << 40, 1 << 40)
    some = np.array([0, 2, 3, 9], np.int64)
    (batch,) = read_slice(shard, part, wanted("text", "text"), batch_bytes=1 << 20, rows=some)
    assert values(batch.column(0)) == [expected[i] for i in some]
    assert batch.column(1).to_pylist() == [table.column(0)[int(i)].as_py() for i in some]


def test_null_type(tmp_path):
    table = pa.table({"text": pa.nulls(3)})
    for store in ("table", "parquet", "arrow"):
        shard = table_shard(table)
        if store != "table":
            shard = shard_of(write(tmp_path / f"a.{store}", table))
        assert texts_of(shard) == [None] * 3


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (pa.array([1]), 'column "text" is int64, expected text'),
        (pa.array([[1]]), 'column "text" is int64, expected text'),
        (pa.array([{"a": "b"}]), 'column "text" is an object that is no message: it has a'),
        (pa.array([1]).dictionary_encode(), "int64"),
        (pa.array([b"0" * 16], pa.uuid()), "fixed_size_binary[16], expected text"),
    ],
)
def test_wrong_types(tmp_path, array, said):
    table = pa.table({"text": array})
    shards = [table_shard(table)]
    shards += [shard_of(write(tmp_path / f"a.{kind}", table)) for kind in ("parquet", "arrow")]
    for shard in shards:
        error = error_of(check_columns, shard, wanted("text"))
        assert said in str(error)
        assert error.path == shard.path
    check_columns(table_shard(pa.table({"text": ["a"], "id": [1]})), wanted("text", "id"))


def test_a_column_that_occurs_twice():
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    assert "occurs 2 times" in str(error_of(check_columns, table_shard(table), wanted("text")))


def test_missing_columns(tmp_path):
    table = pa.table({"body": ["a"], "id": [1]})
    for kind in FORMATS:
        shard = shard_of(write(tmp_path / f"a.{kind}", table))
        for roles in (wanted("text"), wanted("body", "text")):
            error = error_of(check_columns, shard, roles)
            assert str(error).startswith(f'{shard.path}: no column "text": it has body, id')


def test_bytes_that_are_not_utf8_come_through(tmp_path):
    bad = [b"a\xff", b"ok", b"\xed\xa0\x80", b"\xc3"]
    array = pa.array(bad, pa.binary())
    text = pa.Array.from_buffers(pa.string(), 4, array.buffers())
    table = pa.table({"text": text})
    for kind in ("parquet", "arrow", "stream.arrow"):
        assert texts_of(shard_of(write(tmp_path / f"a.{kind}", table))) == bad
    assert texts_of(table_shard(table)) == bad
    (tmp_path / "a.csv").write_bytes(b"text,n\n" + b"".join(b + b",1\n" for b in bad))
    assert texts_of(shard_of(tmp_path / "a.csv")) == bad
    (tmp_path / "a.jsonl").write_bytes(b"".join(b'{"text":"' + b + b'"}\n' for b in bad))
    assert texts_of(shard_of(tmp_path / "a.jsonl")) == bad


def test_table_shard():
    table = pa.table({"text": ["a", "b", "c"]})
    shard = table_shard(table, 4)
    assert (shard.ordinal, shard.path) == (4, "<table 5>")
    assert Shard(**asdict(shard)).path == "<table 5>"
    assert table_shard(table).path == "<table>"
    assert shard != table_shard(table, 4)
    assert [(s.first, s.last) for s in plan_slices(shard, ["text"], 1 << 62, 2)] == [(0, 2), (2, 3)]
    assert read_all(shard, rows=2) == [(b"a",), (b"b",), (b"c",)]


# --- JSON lines -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b"\n \r\n"])
@pytest.mark.parametrize("final", [True, False])
def test_byte_ranges_own_the_lines_that_start_in_them(tmp_path, end, final):
    texts = ["", "é", "日本語", "x" * 200, "🙂🙂", "y"]
    rows = [json.dumps({"text": t}, ensure_ascii=False).encode() for t in texts]
    data = end.join(rows) + (end if final else b"")
    (tmp_path / "a.jsonl").write_bytes(data)
    shard = shard_of(tmp_path / "a.jsonl")
    for size in (5, 64, 1 << 20):
        sizes = BlockSizes(lines=size)
        for target in [*range(1, 40, 3), 100, 200, len(data) - 1, len(data)]:
            assert texts_of(shard, target=target, sizes=sizes) == encoded(texts)
        starts = list(itertools.accumulate((len(row + end) for row in rows), initial=0))[:-1]
        for place in range(len(data) + 1):
            before = sum(start < place for start in starts)
            assert count_rows(shard, place, sizes=sizes) == before
            assert count_rows(shard, len(data), place, sizes=sizes) == len(rows) - before


def test_any_range_border_gives_each_line_to_one_side(tmp_path):
    data = b'{"text":"a"}\n\n{"text":"bb"}\r\n{"text":"ccc"}'
    (tmp_path / "a.jsonl").write_bytes(data)
    shard = shard_of(tmp_path / "a.jsonl")
    for cut in range(len(data) + 1):
        found = []
        for part in (Slice(0, 0, 0, cut), Slice(0, 1, cut, len(data))):
            assert first_row(shard, part) == (len(found) if part.first else 0)
            found += [
                v
                for batch in read_slice(shard, part, wanted("text"), batch_bytes=1)
                for v in batch.column(0).to_pylist()
            ]
        assert found == ["a", "bb", "ccc"]


def test_very_long_lines(tmp_path):
    texts = ["short", "long " * 600_000, "é" * 1_500_000, "end"]
    table = pa.table({"text": texts})
    for kind in ("jsonl", "jsonl.gz", "csv", "parquet"):
        shard = shard_of(write(tmp_path / f"a.{kind}", table))
        for target in (1 << 40, 500_000):
            assert texts_of(shard, target=target) == encoded(texts)


ODD_LINES = [
    b'{"text":"a"}', b'{"text":"\\u0061\\u00e9\\ud83d\\ude00\\u65e5"}', b'{"text":null}', b"{}",
    b'{"text":"a\\u0000b"}', b'{"text":"\\ud800"}', b'{"text":"\\udcc3\\udca9\xff"}',
    b'{"text":"\\ude00\\ud83d"}', b'{"text":"a\xff\xc3"}', b'{"text":"\xed\xa0\x80"}',
    b'{"text":"a","text":"b"}', b'{"x":1,"x":2}', b"null", b'{"text":"a"} null', b"true", b"1",
    b"[1]", b'"abc"', b'{"text":1}', b'{"text":[1]}', b'{"text":{"a":1}}', b'{"text":true}',
    b'{"text":"a"} {"text":"b"}', b'{"text":"a"}{"text":"b"}', b'{"text":"b', b"{", b"}", b"{]}",
    b'{"text":"a\x00b"}', b'{"text":"a\tb"}', b'{"text":"a\rb"}', b'{"text":"a"}\r{"text":"b"}',
    b'{"text":"a","x":NaN}', b'{"text":"a","x":-Infinity}', b'{"text":"a","x":Inf}',
    b'{"text":"a","x":1e999}', b'{"text":"a","x":01}', b'{"text":"a","x":-}', b'{"x":-0}',
    b'{"text":"a","x":' + b"9" * 5000 + b"}", b'{"text":"a",}', b"{'text':'a'}", b'{"text":"\\x"}',
    b'{"text":"a"}x', b'{"text":"a"},', b'{"te\\u0078t":"a"}', b'  {"text":"a"}\t \r',
    b'\xef\xbb\xbf{"text":"a"}', b"\xef\xbb\xbf", b"", b"  \r", b"\x0c", b'{"text":"a"}\x00',
    b'{"text":"a","x":' + b"[" * 3000 + b"]" * 3000 + b"}", b'{"text":"\\\\u00e9"}', b'{"\xff":1}',
    b'{"text":"\\\\\\ud800"}', b'{"text":"a" /*c*/}', b'{"text":"\\/\\b\\n"}', b'{"text":"\x7f"}',
]  # fmt: skip
TEXT = pa.schema([("text", pa.large_string())])


def parsed(block: LineBlock, *, fast: bool):
    """Rows, or the number of the first that is bad."""
    try:
        if fast:
            found = jsonl.Parser(TEXT, wanted("text"), {}).parse(block)
            documents = (found.documents or found.batch.columns)[0]
        else:
            one = lambda line: jsonl._parse_one(line, TEXT)  # noqa: E731
            nothing = pa.schema([])
            fields = wanted("text").fields
            (documents,) = record_batch(block.lines(), nothing, fields, {}, one).documents
    except BadRowError as error:
        return error.args[1]
    return [value or None for value in values(documents)]


@pytest.mark.parametrize("line", ODD_LINES, ids=lambda line: repr(line[:30]))
def test_fast_and_slow_parser_agree_on_odd_lines(line):
    for data in (line, line + b"\n", b'{"text":"z"}\n' + line + b'\n{"text":"q"}\r\n'):
        block = LineBlock(data)
        if len(block):
            assert parsed(block, fast=True) == parsed(block, fast=False)


@given(st.lists(st.sampled_from(ODD_LINES), max_size=5))
@SMALL
def test_neighbours_do_not_change_a_row(rows):
    alone = [parsed(LineBlock(row), fast=True) if len(LineBlock(row)) else [] for row in rows]
    block = LineBlock(b"\n".join(rows))
    expected: object = [v for found in alone if isinstance(found, list) for v in found]
    bad = [i for i, found in enumerate(alone) if not isinstance(found, list)]
    if bad:
        expected = sum(len(LineBlock(row)) for row in rows[: bad[0]])
    if len(block):
        assert parsed(block, fast=True) == expected


@given(st.sampled_from(ODD_LINES), st.data())
@SMALL
def test_mutated_lines_never_crash_and_agree(line, data):
    place = data.draw(st.integers(0, len(line)))
    put = data.draw(
        st.sampled_from([b"", b"null", b"{", b"}", b'"', b"\\", b"\n", b" ", b"[", b","])
    )
    block = LineBlock(line[:place] + put + line[place + data.draw(st.integers(0, 2)) :])
    if len(block):
        assert parsed(block, fast=True) == parsed(block, fast=False)


def test_lone_surrogates_arrive_as_malformed_utf8(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text":"a\\ud800b","id":"\\u00e9"}\n{"text":"\\u00e9"}\n')
    shard = shard_of(tmp_path / "a.jsonl")
    assert read_all(shard, ("text", "id")) == [(b"a\xed\xa0\x80b", "é"), ("é".encode(), None)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["1", "2", "null"], pa.int64()),
        (["1", "2.5"], pa.float64()),
        (["1", '"a"'], pa.string()),
        (["18446744073709551615", "1"], pa.uint64()),
        (["-1", "18446744073709551615"], pa.string()),
        (["true", "false"], pa.bool_()),
        (["null"], pa.string()),
        (['"2020-01-01"'], pa.string()),
    ],
)
def test_types_of_other_json_columns(tmp_path, rows, expected):
    data = "".join(f'{{"text":"a","id":{row}}}\n' for row in rows)
    (tmp_path / "a.jsonl").write_text(data)
    shard = shard_of(tmp_path / "a.jsonl")
    for part in plan_slices(shard, ["text"], 20, 1 << 40):
        for batch in read_slice(shard, part, wanted("text", "id"), batch_bytes=1):
            assert batch.column(1).type == expected
    found = [row[1] for row in read_all(shard, ("text", "id"))]
    plain = [json.loads(row) for row in rows]
    assert found == [str(v) if expected == pa.string() and type(v) is int else v for v in plain]


def test_a_later_row_of_another_type_is_named(tmp_path):
    data = "".join(f'{{"text":"{"a" * 1000}","id":{i}}}\n' for i in range(5000))
    (tmp_path / "a.jsonl").write_text(data + '\n{"text":"b","id":0.5}\n')
    shard = shard_of(tmp_path / "a.jsonl")
    assert len(plan_slices(shard, ["text"], 1 << 20, 1 << 40)) > 4
    for target in (1 << 40, 1 << 20):
        error = error_of(read_all, shard, ("text", "id"), target=target)
        assert error.row == 5000
        assert 'column "id" is a fraction here and int64 in the first rows' in str(error)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "b', "broken JSON: Unterminated string"),
        (b'{"text": 1}', 'column "text" is a number, expected a string'),
        (b'{"text": ["a", 1]}', 'column "text" is a number, expected a string'),
        (b'{"text": {}}', 'column "text" is an object'),
        (b"[1]", "the row is a list, expected an object"),
        (b"null", "the row is null, expected an object"),
        (b'{"text":"a"} {"text":"b"}', "broken JSON: Extra data"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_bad_json_row_is_named(tmp_path, line, said, suffix):
    good = b'{"text":"a"}\n\n' * 3
    path = compress(tmp_path / f"a.jsonl{suffix}", good + line + b"\n" + good)
    error = error_of(check_columns, shard_of(path), wanted("text"))
    assert (error.path, error.row) == (str(path), 3)
    assert said in str(error)
    path = compress(path, good * 3000 + line + b"\n" + good)
    shard = shard_of(path)
    check_columns(shard, wanted("text"))
    for target in (1 << 40, 10_000):
        error = error_of(read_all, shard, target=target)
        assert (error.path, error.row) == (str(path), 9000)
        assert said in str(error)


def test_a_json_array_is_not_json_lines(tmp_path):
    for data in ('[{"text":"a"}]', '[\n{"text":"a"},\n{"text":"b"}\n]'):
        (tmp_path / "a.jsonl").write_text(data)
        error = error_of(check_columns, shard_of(tmp_path / "a.jsonl"), wanted("text"))
        assert "is a JSON array, not JSON lines: let its name end with .json" in str(error)
    (tmp_path / "a.json").write_text('{\n  "text": "a"\n}')
    error = error_of(check_columns, shard_of(tmp_path / "a.json"), wanted("text"))
    assert "JSON lines have one object per line" in str(error)


def test_json_files_of_several_parts(tmp_path):
    data = [f'{{"text":"{i}"}}\n'.encode() for i in range(3)]
    (tmp_path / "a.jsonl.gz").write_bytes(b"".join(gzip.compress(part) for part in data))
    zstd = b"".join(pa.Codec("zstd").compress(part, asbytes=True) for part in data)
    (tmp_path / "a.jsonl.zst").write_bytes(zstd)
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        assert texts_of(shard_of(tmp_path / name)) == [b"0", b"1", b"2"]


MISTAKEN = {
    "a.parquet": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "b.jsonl": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "c.csv": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "d.jsonl": ('{"text": "x"}\n'.encode("utf-16"), "UTF-16"),
    "e.csv": ("text\nx\n".encode("utf-16"), "UTF-16"),
    "f.jsonl": ('{"text": "x"}\n'.encode("utf-16-le"), "UTF-16"),
    "g.jsonl": ('{"text": "x"}\n'.encode("utf-32"), "UTF-32"),
    "h.arrow": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "i.json": (b"<html>", "HTML"),
    "j.jsonl.gz": (b"<!doctype HTML>", "HTML"),
    "k.jsonl": (b"PK\x03\x04" + bytes(40), "ZIP"),
    "l.jsonl": (gzip.compress(b'{"text": "x"}\n'), "end with .gz"),
    "m.jsonl.gz": (pa.Codec("zstd").compress(b'{"text": "x"}\n', asbytes=True), "end with .zst"),
    "n.csv": (b"PAR1" + bytes(40), "Parquet"),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_files_are_named_for_what_they_are(tmp_path, name):
    data, said = MISTAKEN[name]
    (tmp_path / name).write_bytes(data)
    error = error_of(check_columns, shard_of(tmp_path / name), wanted("text"))
    assert said in str(error)
    assert name in error.path


# --- Parquet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "list", "struct", "null first"])
def test_dictionaries_do_not_hide_how_long_rows_are(tmp_path, kind):
    """Few long values, to which many rows refer: stored in little, decoded a few at a time."""
    long = pa.array(["w" * 1_000_000, "v" * 900_000])
    numbers = [None if kind == "null first" and i < 5 else i % 2 for i in range(400)]
    column = pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), long)
    if kind == "list":
        column = pa.ListArray.from_arrays(pa.array(range(401), pa.int32()), column)
    elif kind == "struct":
        column = pa.StructArray.from_arrays([column], ["x"])
    table = pa.table({"id": range(400), "column": column})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, store_schema=False, dictionary_pagesize_limit=4 << 20)
    assert path.stat().st_size < 1_000_000
    shard = shard_of(path)
    text = {"list": "{column[]}", "struct": "{column.x}"}.get(kind, "column")
    (part,) = plan_slices(shard, ("column",), 1 << 30, 1 << 30)
    decoded = parquet.read(shard, part, wanted(text), 1 << 20, None, BLOCK_SIZES)
    sizes = [(one.batch.num_rows, one.batch.nbytes) for one in decoded]
    assert sum(rows for rows, _ in sizes) == 400
    assert max(size for _, size in sizes) <= 10_000_000
    source = open_source(shard)
    blocks = list(source.blocks(0))
    assert max(block.nbytes for block in blocks) <= 10_000_000
    with pa.OSFile(str(tmp_path / "copy.parquet"), "wb") as sink:
        writer = source.writer(sink, None)
        for block in blocks:
            writer.write(block, np.ones(block.num_rows, np.bool_), None)
        writer.close()
    copied = pq.read_table(tmp_path / "copy.parquet")
    assert copied.equals(pq.read_table(path))
    assert (tmp_path / "copy.parquet").stat().st_size < 10_000_000


def test_gzip_of_several_parts_and_padding(tmp_path):
    """As `cat` makes them, and tapes and some stores leave them."""
    one, other = (b"".join(b'{"text": "%d"}\n' % n for n in part) for part in (range(9), [9]))
    parts = {
        "parts": gzip.compress(one) + gzip.compress(b"") + gzip.compress(other),
        "padded": gzip.compress(one + other) + bytes(512),
        "between": gzip.compress(one) + bytes(100) + gzip.compress(other),
    }
    for name, data in parts.items():
        (tmp_path / f"{name}.jsonl.gz").write_bytes(data)
        found = texts_of(shard_of(tmp_path / f"{name}.jsonl.gz"))
        assert found == [b"%d" % n for n in range(10)], name


def test_what_a_folder_has_besides_is_counted(tmp_path):
    for name in (
        "a.jsonl",
        "b.JSONL.XZ",
        "c/d.txt",
        "c/e.TXT",
        "README",
        "_x.md",
        ".y",
        "state.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    left_out = {".txt": 2, "no suffix": 1}
    assert discover([str(tmp_path)]).left_out == left_out
    assert discover([f"{tmp_path}/*"]).left_out == left_out
    assert discover([str(tmp_path / "a.jsonl")]).left_out == {}
    assert [os.path.basename(one.path) for one in find_shards([str(tmp_path)])] == [
        "a.jsonl",
        "b.JSONL.XZ",
    ]


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2", "lz4", "zst"])
def test_damaged_compression_is_an_error(tmp_path, suffix):
    lines = b"".join(b'{"text": "%d"}\n' % (n * 7919) for n in range(5000))
    path = compress(tmp_path / f"a.jsonl.{suffix}", lines)
    whole = path.read_bytes()
    for damaged in (
        whole[:-9],
        whole[: len(whole) // 2],
        b"no such thing",
        whole[:200] + whole[210:],
    ):
        path.write_bytes(damaged)
        assert "cannot be decompressed" in str(error_of(texts_of, shard_of(path)))


# --- CSV --------------------------------------------------------------------------------------


def test_csv_details(tmp_path):
    (tmp_path / "a.csv").write_bytes(
        b'\xef\xbb\xbfid,text,n\r\n007,"a\r\nb",1\r\n008,,\r\n009,"""q"", NA",3\r\n010,NA,4\r\n'
    )
    shard = shard_of(tmp_path / "a.csv")
    assert read_all(shard, ("text", "id")) == [
        (b"a\r\nb", "007"), (b"", "008"), (b'"q", NA', "009"), (b"NA", "010")
    ]  # fmt: skip
    assert [n for _, n in read_all(shard, ("text", "n"))] == [1, None, 3, 4]


def test_line_breaks_of_csv_are_whole_where_blocks_end(tmp_path):
    quoted = "one\r\ntwo\rthree\nfour\r"
    rows = [f'{i},"{"x" * (i % 7)}{quoted}"\r\n' for i in range(40)]
    path = tmp_path / "a.csv"
    path.write_text("id,text\r\n" + "".join(rows), newline="")
    found = ["x" * (i % 7) + quoted for i in range(40)]
    for size in range(60, 130):
        texts = texts_of(shard_of(path), sizes=BlockSizes(csv=size))
        assert [text.decode() for text in texts] == found, size


def test_bad_csv_rows_are_named(tmp_path):
    sizes = BlockSizes(csv=1 << 12)
    path = tmp_path / "a.csv"
    path.write_text("n,text\n" + "1,a\n" * 5000 + "1\n")
    error = error_of(read_all, shard_of(path), sizes=sizes)
    assert error.row == 5000
    assert "Expected 2 columns, got 1" in str(error)
    path.write_text("n,text\n" + "1,a\n" * 5000 + "z,a\n")
    error = error_of(read_all, shard_of(path), ("text", "n"), sizes=sizes)
    assert error.row == 5000
    assert "invalid value 'z'" in str(error)
    path.write_text("n,text\n" + "1,a\n" * 5000 + '2,"' + "b" * 100_000 + '"\n3,c\n')
    found = texts_of(shard_of(path), sizes=sizes)
    assert found == [b"a"] * 5000 + [b"b" * 100_000, b"c"]
    for row in ('"1,a', '1,"a', '1,"', '1,"a""', '1,"a"",'):
        path.write_text("n,text\n" + "1,a\n" * 5000 + row + "\n1,a" * 3000)
        for columns in (("text",), ("text", "n")):
            error = error_of(read_all, shard_of(path), columns, sizes=sizes)
            assert error.row == 5000
            assert "never closed" in str(error)
    path.write_text('n,text\n1,a"\n2,"a""b"')
    assert texts_of(shard_of(path), sizes=sizes) == [b'a"', b'a"b']
    path.write_bytes(b"\n")
    assert "begins with its column names" in str(
        error_of(check_columns, shard_of(path), wanted("text"))
    )


# --- damaged files ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files(tmp_path, kind):
    table = pa.table({"text": [f"{i * 7919:08x}" * 20 for i in range(500)]})
    path = write(tmp_path / f"a.{kind}", table)
    data = path.read_bytes()
    for size in (0, 1, 7, 100, len(data) // 2, len(data) - 9, len(data) - 1):
        path.write_bytes(data[:size])
        error = error_or_none(path)
        if error is None:  # what has no end mark can be cut unnoticed between rows or batches
            lines = size == 0 and not kind.endswith(("parquet", "arrow", "feather"))
            assert lines or kind in ("jsonl", "csv", "tsv", "stream.arrow", "zstd-stream.arrow")
        else:
            assert error.path == str(path)
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather", "stream.arrow", "jsonl.gz"])
def test_damaged_files_never_crash(tmp_path, kind):
    table = pa.table({"text": [f"{i * 7919:08x}" * 3 for i in range(50)]})
    path = write(tmp_path / f"a.{kind}", table)
    data = path.read_bytes()
    random = np.random.default_rng(5)
    errors = 0
    for _ in range(150):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        os.utime(path, ns=(0, int(random.integers(1 << 60))))
        error = error_or_none(path)
        errors += error is not None
        assert error is None or error.path == str(path)
    assert errors


def test_damage_is_placed(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"{i * 7919:08x}" * 50 for i in range(100)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=50, compression="zstd")
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start + 30 : start + 90] = b"\x00" * 60
    path.write_bytes(data)
    error = error_of(read_all, shard_of(path))
    assert error.row == 50
    assert "row group 1 cannot be decoded" in str(error)


def test_what_is_not_its_format(tmp_path):
    for name, said in [
        ("a.parquet", "not a readable Parquet file"),
        ("a.arrow", "not a readable Arrow file"),
        ("a.jsonl.gz", "cannot be decompressed"),
        ("a.csv.zst", "cannot be decompressed"),
        ("a.jsonl", "broken JSON"),
    ]:
        (tmp_path / name).write_bytes(b"this is no such file, whatever its name says\n" * 9)
        error = error_of(check_columns, shard_of(tmp_path / name), wanted("text"))
        assert said in str(error)
    for name in ("a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(b"")
        error = error_of(check_columns, shard_of(tmp_path / name), wanted("text"))
        assert "is empty, 0 bytes" in str(error)


def test_a_file_that_changes(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text":"a"}\n')
    shard = shard_of(path)
    path.write_text('{"text":"ab"}\n')
    assert "changed during the run" in str(error_of(shard.check_unchanged))
    path.unlink()
    assert "No such file" in str(error_of(shard.check_unchanged))


# --- finding ----------------------------------------------------------------------------------


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b'{"text":"a"}\n')


def found(root: Path, *patterns: str) -> list[str]:
    shards = find_shards([str(root / pattern) for pattern in patterns])
    assert [shard.ordinal for shard in shards] == list(range(len(shards)))
    return [os.path.relpath(shard.path, root) for shard in shards]


def test_finding(tmp_path):
    tree(
        tmp_path, "b.jsonl", "a.JSONL", "c/d/e.ndjson.gz", "c/f.csv", "c/README.md", "c/_SUCCESS",
        "c/.hidden.jsonl", "c/_temporary/x.jsonl", ".git/y.json", "c/state.json", "c/z.parquet.gz",
        "empty/README.md", "g[1].jsonl",
    )  # fmt: skip
    everything = ["a.JSONL", "b.jsonl", "c/d/e.ndjson.gz", "c/f.csv", "g[1].jsonl"]
    assert found(tmp_path, ".") == everything
    assert found(tmp_path, "**") == everything
    assert found(tmp_path, "*") == everything
    assert found(tmp_path, "c/**/*.gz") == ["c/d/e.ndjson.gz"]
    assert found(tmp_path, "c", "b.jsonl") == ["b.jsonl", "c/d/e.ndjson.gz", "c/f.csv"]
    assert found(tmp_path, "g[1].jsonl") == ["g[1].jsonl"]
    assert found(tmp_path, "c/state.json") == ["c/state.json"]
    formats = [shard.format for shard in find_shards([str(tmp_path)])]
    assert formats == ["jsonl", "jsonl", "jsonl", "csv", "jsonl"]


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["none.jsonl"], "no such file or directory"),
        (["*.arrow"], "matches nothing"),
        (["empty"], "no file in this directory can be read: known are .parquet"),
        (["empty/*"], "none of its 1 matches can be read"),
        (["empty/README.md"], "its suffix does not tell its format"),
        (["c/z.parquet.gz"], "its suffix does not tell its format"),
        (["a.jsonl", "*.jsonl"], "given twice"),
        (["a.jsonl", "c/../a.jsonl"], "given twice"),
        (["c/link.jsonl", "a.jsonl"], "given twice, also as"),
        (["broken.jsonl"], "No such file or directory"),
        (["pipe.jsonl"], "not a regular file"),
    ],
)
def test_finding_refuses(tmp_path, patterns, said):
    tree(tmp_path, "a.jsonl", "empty/README.md", "c/z.parquet.gz")
    (tmp_path / "c/link.jsonl").symlink_to(tmp_path / "a.jsonl")
    (tmp_path / "broken.jsonl").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.jsonl")
    if "*.jsonl" in patterns:
        (tmp_path / "broken.jsonl").unlink()
        (tmp_path / "pipe.jsonl").unlink()
    assert said in str(error_of(found, tmp_path, *patterns))


def test_links_to_one_file_are_read_once(tmp_path):
    tree(tmp_path, "hub/blobs/one", "hub/blobs/two")
    for revision, blobs in {"r1": ["one"], "r2": ["one", "two"], "r3": ["two"]}.items():
        (tmp_path / f"hub/snapshots/{revision}").mkdir(parents=True)
        for blob in blobs:
            link = tmp_path / f"hub/snapshots/{revision}/{blob}.jsonl"
            link.symlink_to(f"../../blobs/{blob}")
    once = ["hub/snapshots/r1/one.jsonl", "hub/snapshots/r2/two.jsonl"]
    for patterns in (["hub"], ["hub/snapshots/r2", "hub/snapshots/r1"], ["hub/**/*.jsonl"]):
        assert found(tmp_path, *patterns) == once
    snapshots = str(tmp_path / "hub/snapshots")
    assert discover([snapshots]).repeated == {
        f"{snapshots}/r2/one.jsonl": f"{snapshots}/r1/one.jsonl",
        f"{snapshots}/r3/two.jsonl": f"{snapshots}/r2/two.jsonl",
    }
    named = ["hub/snapshots/r2", "hub/snapshots/r1/one.jsonl"]
    assert "given twice, also as" in str(error_of(found, tmp_path, *named))
    assert "given twice:" in str(error_of(found, tmp_path, "hub", "hub"))


def test_links_that_were_left_out_are_named_by_every_command(tmp_path):
    tree(tmp_path, "blobs/one")
    for revision in ("r1", "r2", "r3"):
        (tmp_path / f"in/{revision}").mkdir(parents=True)
        (tmp_path / f"in/{revision}/one.jsonl").symlink_to("../../blobs/one")
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    deduplicate(tmp_path / "in", tmp_path / "out", progress=Notes())
    apply(tmp_path / "out", tmp_path / "clean", progress=Notes())
    said = "2 links to files that are read already: "
    assert [one.partition(said)[0] for one in notes if said in one] == [
        "leaves out ",
        "the run left out ",
    ]
    assert f"left out: {said}" in in_one_line(dedupe("show", tmp_path / "out").stdout)


EMPTY = ("a.jsonl.gz", "b.csv", "c.csv.xz", "d.tsv.zst", "e.json.bz2", "f.jsonl", "g.psv.lz4")


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_files_of_no_bytes_are_shards_without_rows(tmp_path, where):
    import fsspec

    root = str(tmp_path / "in") if where == "disk" else f"memory://{tmp_path.name}/in"
    files, folder = fsspec.core.url_to_fs(root)
    files.makedirs(folder, exist_ok=True)
    for name in EMPTY:
        files.pipe_file(f"{folder}/{name}", b"")
    assert "is empty, as are all others" in str(error_of(deduplicate, root))
    assert "is empty: make" in str(error_of(deduplicate, f"{root}/b.csv"))
    assert deduplicate(f"{root}/f.jsonl").rows == 0
    for name in ("y.csv", "z.jsonl.gz"):
        data = b"text,n\na b,1\n" if name == "y.csv" else gzip.compress(b'{"text":"a b"}\n')
        files.pipe_file(f"{folder}/{name}", data)
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    result = deduplicate(root, tmp_path / "out", progress=Notes())
    assert [shard["rows"] for shard in result.shards] == [0] * len(EMPTY) + [1, 1]
    assert notes[0].startswith(f"{len(EMPTY)} files have 0 bytes, and no rows: ")
    assert all(name in notes[0] for name in EMPTY)
    assert 'no column "none"' in str(error_of(deduplicate, root, text="none"))
    apply(tmp_path / "out", tmp_path / "clean")
    again = find_shards([str(tmp_path / "clean")])
    assert [column_names(shard) for shard in again][:-2] == [[]] * len(EMPTY)
    assert (tmp_path / "clean/y.csv").read_bytes() == b"text,n\na b,1\n"


def test_integers_of_128_bits_have_a_remedy(tmp_path):
    pl = pytest.importorskip("polars")
    if not hasattr(pl, "Int128"):
        pytest.skip(f"polars {pl.__version__} has no such integers")
    frame = pl.DataFrame({"text": ["a b", "c"], "n": pl.Series([2**100, 1], dtype=pl.Int128)})
    path = tmp_path / "a.arrow"
    frame.write_ipc(path)
    assert "128-bit integers" in str(error_of(deduplicate, str(path)))
    assert deduplicate(frame).kept == 2
    assert 'column "n" is Int128' in str(error_of(deduplicate, frame, id="n"))


def test_parquet_with_integers_of_128_bits_is_read_and_comes_back(tmp_path):
    pl = pytest.importorskip("polars")
    if not hasattr(pl, "Int128"):
        pytest.skip(f"polars {pl.__version__} has no such integers")
    wide = pl.Series([2**100, -1, 7, None], dtype=pl.Int128)
    frame = pl.DataFrame({"text": ["a b", "c", "a b", None], "n": wide, "k": ["x", "y", "z", "w"]})
    (tmp_path / "in").mkdir()
    frame.write_parquet(tmp_path / "in" / "a.parquet")
    result = deduplicate(tmp_path / "in", tmp_path / "out", id="k")
    assert result.mask().tolist() == [True, True, False, True]
    apply(tmp_path / "out", tmp_path / "clean")
    found = pl.read_parquet(tmp_path / "clean" / "a.parquet")
    assert found.equals(frame.filter(pl.Series([True, True, False, True])))
    assert found.schema == frame.schema
    assert audit(tmp_path / "out").ok


def test_nothing_is_refused():
    assert "no corpus" in str(error_of(find_shards, []))


def test_links_in_circles_end(tmp_path):
    tree(tmp_path, "a/b.jsonl")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "outside").mkdir()
    assert found(tmp_path, ".") == ["a/b.jsonl"]
    tree(tmp_path.parent, f"{tmp_path.name}-other/c.jsonl")
    (tmp_path / "linked").symlink_to(tmp_path.parent / f"{tmp_path.name}-other")
    assert found(tmp_path, ".") == ["a/b.jsonl", "linked/c.jsonl"]


def test_feather_version_1_has_a_remedy(tmp_path):
    (tmp_path / "a.feather").write_bytes(b"FEA1" + b"\0" * 20)
    assert "write it as version 2" in str(error_of(found, tmp_path, "a.feather"))
