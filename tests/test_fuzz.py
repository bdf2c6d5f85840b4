"""Mutated files end a run with a message that names them, or are read: nothing else happens.

Good files of every format and writer are mutated by seeds (see `mutations`); each is run, and where
that succeeds applied, and the copy is read. What comes is a result, or a DedupeError that names the
file. Never another kind of error, the end of the process, a minute without an answer, or a peak of
memory above one and a half times --memory.

The whole sweep takes about half an hour and is left out unless it is asked for:

    pytest tests/test_fuzz.py -m damage
"""

from __future__ import annotations

import io
import json
import random

import mutations
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, apply, deduplicate
from dedupe.corpus import (
    BlockSizes,
    Projection,
    find_shards,
    plan_slices,
    read_as,
    read_slice,
    thrift,
)
from dedupe.documents.template import ColumnPath, Template

MEMORY = 500_000_000
PEAK = MEMORY * 3 // 2
SECONDS = 60

TRY = f"""
import faulthandler, json, os, random, re, shutil, sys, traceback
import mutations
from dedupe import DedupeError, apply, deduplicate

faulthandler.enable()
good, first, last = sys.argv[1], *map(int, sys.argv[2:])
names = sorted(os.listdir(good))
files = {{name: open(os.path.join(good, name), "rb").read() for name in names}}


def outcome(path, skip):
    how = dict(memory={MEMORY}, workers=1)
    asked = dict(on_bad_row="skip", on_bad_file="skip") if skip else {{}}
    asked["unit"] = "file" if ".txt" in path and len(path) % 2 else "line"
    try:
        result = deduplicate(path, "out", **how, **asked)
        apply("out", "clean", **how)
    except DedupeError as error:
        return "error" if path in str(error) else f"names no file: {{error}}"
    copy = "clean/" + os.path.basename(path)
    if asked["unit"] == "file" and result.kept == 0:
        return "read" if not os.path.exists(copy) else "a copy of what was dropped"
    if not os.path.exists(copy):
        return "left out" if skip else "no copy"
    try:
        again = deduplicate(copy, **how, **asked)
    except DedupeError as error:
        return f"a copy that cannot be read: {{error}}"
    if again.rows != result.kept:
        return f"{{again.rows}} rows in the copy, {{result.kept}} kept"
    return "read"


def peak():
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status.read())[1])


for seed in range(first, last):
    faulthandler.dump_traceback_later({SECONDS}, exit=True)
    random_ = random.Random(seed)
    name = names[seed * 7 % len(names)]
    how, data = mutations.mutated(name, files, random_)
    folder = os.path.abspath(f"seed-{{seed}}")
    os.makedirs(os.path.join(folder, "in"))
    os.chdir(folder)
    path = os.path.join("in", name)
    with open(path, "wb") as file:
        file.write(data)
    with open("/proc/self/clear_refs", "w") as counter:
        counter.write("5")  # the peak begins anew
    print(json.dumps([seed, name, how, "", 0]), flush=True)
    try:
        said = outcome(path, random_.random() < 0.4)
    except BaseException:
        said = traceback.format_exc()
    print(json.dumps([seed, name, how, said, peak()]), flush=True)
    os.chdir("..")
    shutil.rmtree(folder)
"""
"""Tries the mutations of some seeds; tells each twice, so that of a crash the seed is known."""

FINE = ("read", "error", "left out")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with the good files; of compressed ones the bytes that are compressed."""
    folder = tmp_path_factory.mktemp("good")
    for name, data in mutations.good_files().items():
        (folder / name).write_bytes(data)
    return folder


def sweep(forks, good, folder, first: int, count: int, at_a_time: int = 50) -> dict[str, int]:
    """Try so many seeds; how often each outcome came."""
    outcomes = dict.fromkeys(FINE, 0)
    faults = []
    seed, end = first, first + count
    while seed < end:
        done = forks.run(TRY, good, seed, min(seed + at_a_time, end), folder=folder)
        told = [json.loads(line) for line in done.stdout.splitlines()]
        for seed, name, how, said, peak in told:
            if said in FINE and peak <= PEAK:
                outcomes[said] += 1
            elif said:
                faults.append(f"seed {seed}, {how} of {name}: {peak >> 20} MiB, {said}")
        if done.returncode:
            last = told[-1] if told else seed
            faults.append(f"{last} ended with {done.returncode}: {done.stderr[-3000:]}")
        elif "Traceback" in done.stderr:
            faults.append(f"seeds from {told[0][0]}: {done.stderr[-3000:]}")
        seed += 1
    assert not faults, f"{len(faults)} of {count}:\n\n" + "\n\n".join(faults)
    return outcomes


@pytest.mark.parametrize("part", range(2))
def test_mutated_files_are_read_or_named(forks, good, tmp_path, part):
    outcomes = sweep(forks, good, tmp_path, 1000 * part, 100)
    assert outcomes["error"] > 10
    assert outcomes["read"] > 10


def test_a_seed_gives_the_same_file_again():
    files = mutations.good_files()
    for seed, name in enumerate(sorted(files)):
        twice = [mutations.mutated(name, files, random.Random(seed)) for _ in range(2)]
        assert twice[0] == twice[1]


# --- what it has found ------------------------------------------------------------------------


def ipc_file(table):
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def ipc_stream(table):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def parquet_file(table, **how):
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False, **how)
    return sink.getvalue()


@pytest.mark.parametrize("write", [ipc_file, ipc_stream, parquet_file])
@pytest.mark.parametrize("where", ["column", "struct", "list"])
def test_names_that_are_not_utf8(tmp_path, write, where):
    values = {"column": 1, "struct": {"nameless": 1}, "list": [{"nameless": 1}]}
    name = "nameless" if where == "column" else "other"
    data = write(pa.Table.from_pylist([{"text": "a text", name: values[where]}]))
    path = tmp_path / ("a.parquet" if write is parquet_file else "a.arrow")
    path.write_bytes(data.replace(b"nameless", b"name\x80ess"))
    with pytest.raises(
        CorpusError, match=r"its column names cannot be read|not a readable"
    ) as caught:
        deduplicate(path)
    assert caught.value.path == str(path)


def with_footer(data: bytes, change) -> bytes:
    """A file of Parquet whose footer was changed: each chunk's metadata, and its type."""
    begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    footer = thrift.Reader(data, begin).struct()
    for group in footer[4][1].values:
        change(group[1][1].values)
    written = thrift.written(footer)
    return data[:begin] + written + len(written).to_bytes(4, "little") + b"PAR1"


def sizes_of_text_for_numbers(chunks):
    for chunk in chunks:
        chunk[3][1][16] = (thrift.STRUCT, {1: (thrift.I64, 5)})


def levels_too_many(chunks):
    for chunk in chunks:
        levels = thrift.Items(thrift.I64, [1, 1, 1, 1])
        chunk[3][1][16] = (thrift.STRUCT, {3: (thrift.LIST, levels)})


def a_column_too_few(chunks):
    del chunks[-1]


def encrypted(chunks):
    chunks[0][8] = (thrift.STRUCT, {2: (thrift.STRUCT, {1: (thrift.LIST, thrift.Items(8, []))})})


@pytest.mark.parametrize(
    "change", [sizes_of_text_for_numbers, levels_too_many, a_column_too_few, encrypted]
)
def test_a_footer_of_parquet_that_ends_processes(forks, tmp_path, change):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["a text", "another"], "number": [1, 2]})
    path.write_bytes(with_footer(parquet_file(table), change))
    done = forks.run(
        "import sys; from dedupe.cli import main; sys.exit(main())",
        *("run", path, "--output", tmp_path / "out"),
    )
    assert done.returncode == 2, done.stderr
    assert f"{path}: not a readable Parquet file" in done.stderr


def test_a_chunk_of_parquet_with_another_path_is_copied(tmp_path):
    def change(chunks):
        for chunk in chunks:
            chunk[3][1][3] = (thrift.LIST, thrift.Items(thrift.BINARY, [b""]))

    path = tmp_path / "a.parquet"
    table = pa.table({"text": ["many words of a long text " * 900] * 2000})
    path.write_bytes(with_footer(parquet_file(table), change))
    deduplicate(path, tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean")
    assert pq.read_table(tmp_path / "clean" / "a.parquet").equals(table[:1])


MALFORMED = [
    b"caf\xe9 one,1",
    b"caf\xe9,2,3",
    "caf\u00e9,4".encode(),
    b"\xff",
    b"\xe4\xb8,6",
    b"last,7",
]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("block", [40, 48, 1 << 20])
def test_rows_of_csv_with_other_columns_that_are_not_utf8(tmp_path, monkeypatch, block, mark):
    path = tmp_path / "a.csv"
    path.write_bytes(mark + b"\r\n".join([b"text,\xfcber", *MALFORMED]))
    shard = read_as(*find_shards([path]), skips_rows=True)
    sizes = BlockSizes(csv=block)
    wanted = Projection((Template((ColumnPath("text"),)),))
    (part,) = plan_slices(shard, ["text"], 1000, 1000)
    batches = [
        batch.column(0).cast(pa.large_binary())
        for batch in read_slice(shard, part, wanted, batch_bytes=1000, sizes=sizes)
    ]
    assert pa.chunked_array(batches).to_pylist() == [
        b"caf\xe9 one", None, "caf\u00e9".encode(), None, b"\xe4\xb8", b"last",
    ]  # fmt: skip
    how = {"on_bad_text": "replace", "text": "text"}
    with pytest.raises(CorpusError, match="row 1: broken CSV: Expected 2 columns, got 3"):
        deduplicate(path, **how)
    result = deduplicate(path, on_bad_row="skip", **how)
    assert result.mask().tolist() == [True, False, True, False, True, True]


def test_a_header_of_csv_with_an_open_quote(tmp_path):
    (tmp_path / "a.csv").write_text('"text')
    with pytest.raises(CorpusError, match="its header cannot be read"):
        deduplicate(tmp_path / "a.csv")


# --- all of it --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.damage
@pytest.mark.parametrize("part", range(10))
def test_three_hundred_mutated_files(forks, good, tmp_path, part):
    sweep(forks, good, tmp_path, 10_000 + 300 * part, 300)
