"""Paths with a protocol: what works on a disk works in a store, and in few requests."""

from __future__ import annotations

import errno
import json
import pickle
import sys
import threading
import time

import corpora
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_corpus import FORMATS, read_all, write

from dedupe import (
    CorpusError,
    DamageError,
    Result,
    SettingsError,
    Tuning,
    WorkDirError,
    deduplicate,
)
from dedupe.corpus import find_shards, plan_slices, read_slice
from dedupe.progress import Silent
from dedupe.remote import StoreError, given, objects, patience, place_to_write, ranged
from dedupe.remote.given import using
from dedupe.remote.ranged import RangeFile
from dedupe.storage import files_at
from dedupe.storage.checksums import seal, unseal
from dedupe.storage.files import Made, Range
from dedupe.storage.tables import Part, read_parts, read_table, write_table
from dedupe.storage.work_dir import WorkDir

pytestmark = pytest.mark.stores

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("upath")
NUMBERS = pa.schema([("n", pa.int64())])


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    yield "memory://here"
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def batches(count, rows):
    for number in range(count):
        values = np.arange(rows, dtype=np.int64) + 1000 * number
        yield pa.record_batch([values], schema=NUMBERS)


def upload(folder, uri):
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            objects.upload(file, f"{uri}/{file.relative_to(folder).as_posix()}")


# --- whole runs -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "corpus"
    folder.mkdir()
    texts = corpora.mixed(900, seed=21)
    for number in range(3):
        part = pa.table({"text": pa.array(texts[300 * number : 300 * (number + 1)], pa.string())})
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=120)
    return folder


@pytest.fixture(scope="module")
def local(corpus):
    return deduplicate(corpus, corpus.parent / "local")


def content(result):
    return [file.read_bytes() for file in result.files]


def test_a_run_in_a_store_is_the_run_on_a_disk(store, corpus, local, tmp_path):
    upload(corpus, "s3://bucket/corpus")
    result = deduplicate("s3://bucket/corpus", "s3://bucket/out")
    assert repr(result) == f"Result('s3://bucket/out', rows=900, kept={local.kept})"
    here = deduplicate("s3://bucket/corpus", tmp_path / "out")
    assert content(result) == content(here)
    mixed = deduplicate(corpus, "s3://bucket/mixed")
    assert content(mixed) == content(local)
    back = deduplicate(corpus, tmp_path / "back", work_dir="s3://bucket/work")
    assert content(back) == content(local)
    names = [shard["path"] for shard in result.summary["corpus"]["shards"]]
    assert names == [f"s3://bucket/corpus/part-{n}.parquet" for n in range(3)]
    left = {one.uri.split("/")[3] for one in objects.find("s3://bucket")}
    assert left == {"corpus", "out", "mixed", "work"}

    opened = Result("s3://bucket/out")
    assert opened.kept == local.kept
    assert (opened.mask() == local.mask()).all()
    assert (
        opened.keep_list()
        .drop(["shard", "witness_shard"])
        .equals(local.keep_list().drop(["shard", "witness_shard"]))
    )
    assert opened.dataset().count_rows() == 900
    for _ in range(2):
        with pytest.raises(WorkDirError, match=r"s3://bucket/out exists and is not an empty"):
            deduplicate("s3://bucket/corpus", "s3://bucket/out", threshold=0.7)


def test_a_run_in_a_store_resumes(store, corpus, local):
    tuning = Tuning(task_rows=100, task_text=20_000)
    refused = []

    def answer(method, path):
        if method == "PUT" and "/verify/" in path and path.endswith(".arrow"):
            refused.append(path)
            return "403 Forbidden"
        return None

    store.answer = answer
    with pytest.raises(WorkDirError, match=r"verify/.*no access .*AWS_PROFILE"):
        deduplicate(corpus, "s3://bucket/out", tuning=tuning)
    assert refused
    assert not objects.find("s3://bucket/out")
    store.answer = lambda method, path: None
    result = deduplicate(corpus, "s3://bucket/out")
    stages = result.summary["stages"]
    assert stages["sign"]["resumed"] == stages["sign"]["tasks"] > 1
    assert content(result) == content(local)
    assert not objects.find("s3://bucket/out.work")


def test_a_store_that_is_busy_is_asked_again(store, corpus, local):
    count = 0

    def answer(method, path):
        nonlocal count
        count += 1
        return "503 Slow Down" if count % 25 == 0 else None

    store.answer = answer
    assert content(deduplicate(corpus, "s3://bucket/out")) == content(local)


class Told(Silent):
    """Keeps what is told."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize(("method", "what"), [("GET", "/part-1"), ("PUT", "/verify/00000")])
def test_a_store_that_is_out_for_a_while_is_asked_until_it_is_back(
    store, corpus, impatient, monkeypatch, method, what
):
    failing, planned = 150, False

    def answer(asked, path):
        nonlocal failing, planned
        planned |= path.endswith("/run.json")
        if planned and asked == method and what in path:
            failing -= 1
            return "500 Internal Server Error" if failing >= 0 else None
        return None

    monkeypatch.setattr(patience, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(patience, "TELL_SECONDS", 0.05)
    upload(corpus, "s3://bucket/corpus")
    here = deduplicate("s3://bucket/corpus")
    store.answer = answer
    told = Told()
    result = deduplicate(
        "s3://bucket/corpus", "s3://bucket/out", work_dir="s3://bucket/work", progress=told
    )
    assert content(result) == content(here)
    assert failing < 0
    assert result.summary["faults"]["retries"] == 0
    assert [note for note in told.notes if what in note and "500" in note and "asked again" in note]


def test_a_store_that_stays_out_ends_the_run(store, corpus, impatient):
    store.answer = lambda method, path: "500 Out" if "/sign/" in path and method == "PUT" else None
    how = {"work_dir": "s3://bucket/work", "storage_options": {"patience": 1}}
    began = time.monotonic()
    said = (
        r"/sign/\S+: cannot be reached: .*500.*; it was asked again for 0.0 minutes: give the same"
    )
    with pytest.raises(WorkDirError, match=said):
        deduplicate(corpus, "s3://bucket/out", **how)
    assert 1 < time.monotonic() - began < 10
    store.answer = lambda method, path: None
    assert deduplicate(corpus, "s3://bucket/out", work_dir="s3://bucket/work").summary


def test_a_store_that_has_not_answered_yet_is_given_up_soon(store, impatient):
    store.answer = lambda method, path: "503 Slow Down"
    with pytest.raises(CorpusError, match="cannot be reached"):
        deduplicate("s3://bucket/corpus", "s3://bucket/out")
    assert len(store.asked) <= 120  # a few questions, of which each is 4 of ours, 5 of the backend


@pytest.mark.parametrize("seconds", [-1, "10", True, None, float("inf"), float("nan")])
def test_patience_is_a_number_of_seconds(seconds):
    with pytest.raises(SettingsError, match="no number of seconds"):
        given.by_kind({"patience": seconds}, [])
    assert given.by_kind({"patience": 5, "anon": True}, ["s3://a/b"]) == {
        "patience": {"seconds": 5.0},
        "s3": {"anon": True},
    }


def test_killed_while_publishing(store, corpus, local):
    objects.write("s3://bucket/out/keep/00007-old.parquet", b"left by a killed run")
    result = deduplicate(corpus, "s3://bucket/out")
    assert content(result) == content(local)
    assert len(objects.find("s3://bucket/out")) == 4
    with pytest.raises(WorkDirError, match="not the output of a finished run"):
        Result("s3://bucket/nothing")


def test_in_memory(memory, corpus, local):
    upload(corpus, f"{memory}/corpus")
    result = deduplicate(f"{memory}/corpus", f"{memory}/out")
    assert (result.mask() == local.mask()).all()
    assert result.dataset().count_rows() == 900
    with pytest.raises(SettingsError, match=r"memory://here/corpus/out would be a part of the"):
        deduplicate(f"{memory}/corpus", f"{memory}/corpus/out")


def test_over_http(store, corpus, local):
    upload(corpus, "s3://bucket/corpus")
    files = [f"{store.url}/bucket/corpus/part-{n}.parquet" for n in range(3)]
    with pytest.raises(CorpusError, match=r"part-0.* no access \(403, .*a login"):
        find_shards(files)
    fsspec.filesystem("s3").chmod("bucket/corpus", acl="public-read", recursive=True)
    with pytest.raises(CorpusError, match="No such file"):
        find_shards([f"{store.url}/bucket/corpus/none.parquet"])
    busy = iter(["503 Busy", None, "503 Busy"])
    store.answer = lambda method, path: next(busy, None)
    assert (deduplicate(files).mask() == local.mask()).all()
    with pytest.raises(CorpusError, match="a web server is not listed"):
        find_shards([f"{store.url}/bucket/*.parquet"])
    with pytest.raises(SettingsError, match="an output cannot be there"):
        deduplicate(corpus, f"{store.url}/out")


# --- the corpus -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_as_on_a_disk(memory, tmp_path, kind):
    texts = ["ein Text", "", None, "é" * 300, "a\nb", "x"] * 20
    table = pa.table({"n": range(len(texts)), "text": texts})
    path = write(tmp_path / f"a.{kind}", table)
    objects.upload(path, f"{memory}/a.{kind}")
    (here,) = find_shards([str(path)])
    (there,) = find_shards([f"{memory}/a.{kind}"])
    assert (there.path, there.format, there.size) == (f"{memory}/a.{kind}", here.format, here.size)
    for how in ({}, {"target": 300, "batch": 50}, {"target": 4000, "rows": 9}):
        assert read_all(there, ("text", "n"), **how) == read_all(here, ("text", "n"), **how)
    there.check_unchanged()
    objects.write(there.path, b"something else")
    with pytest.raises(CorpusError, match="changed during the run"):
        there.check_unchanged()
    objects.remove(there.path)
    with pytest.raises(CorpusError, match=r"a\.\S+: cannot be read: No such file"):
        there.check_unchanged()


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl.gz", "csv"])
def test_damage_is_an_error_of_the_corpus(memory, tmp_path, kind):
    path = write(tmp_path / f"a.{kind}", pa.table({"text": ["a text"] * 500}))
    for data in (path.read_bytes()[:-9], b"no such file at all\n", b""):
        objects.write(f"{memory}/a.{kind}", data)
        if kind == "csv" or (kind == "jsonl.gz" and not data):
            continue  # may well be a table, and a file of 0 bytes has no rows
        with pytest.raises(CorpusError) as caught:
            read_all(*find_shards([f"{memory}/a.{kind}"]))
        assert caught.value.path == f"{memory}/a.{kind}"


def test_finding(store, memory):
    names = [
        "b.jsonl", "a.JSONL", "c/d/e.ndjson.gz", "c/f.csv", "c/README.md", "c/_SUCCESS",
        "c/.hidden.jsonl", "c/_temporary/x.jsonl", ".git/y.json", "c/state.json", "c/z.parquet.gz",
        "empty/README.md", "g[1].jsonl",
    ]  # fmt: skip
    everything = ["a.JSONL", "b.jsonl", "c/d/e.ndjson.gz", "c/f.csv", "g[1].jsonl"]
    for root in ("s3://bucket/in", f"{memory}/in"):
        for name in names:
            objects.write(f"{root}/{name}", b'{"text":"a"}\n')

        def found(*patterns, root=root):
            shards = find_shards([f"{root}/{pattern}" for pattern in patterns])
            assert [shard.ordinal for shard in shards] == list(range(len(shards)))
            assert {shard.size for shard in shards} == {13}
            return [shard.path.removeprefix(f"{root}/") for shard in shards]

        def refused(*patterns, root=root, found=found):
            with pytest.raises(CorpusError) as caught:
                found(*patterns)
            return str(caught.value)

        assert found("") == everything
        assert found("**") == everything
        assert found("*") == everything
        assert found("c/**/*.gz") == ["c/d/e.ndjson.gz"]
        assert found("?/d/*") == ["c/d/e.ndjson.gz"]
        assert found("[cx]") == ["c/d/e.ndjson.gz", "c/f.csv"]
        assert found("c/", "b.jsonl") == ["b.jsonl", "c/d/e.ndjson.gz", "c/f.csv"]
        assert found("g[1].jsonl") == ["g[1].jsonl"]
        assert found("c/state.json") == ["c/state.json"]
        assert "no such file or directory" in refused("none.jsonl")
        assert "matches nothing" in refused("*.arrow")
        assert "no file in this directory can be read: known are .parquet" in refused("empty")
        assert "none of its 1 matches can be read" in refused("empty/*")
        assert "its suffix does not tell its format" in refused("empty/README.md")
        assert "given twice" in refused("b.jsonl", "*.jsonl")
    with store.counting() as requests:
        find_shards(["s3://bucket/in"])
    assert requests == {"GET": 1}


def test_requests_of_a_parquet_shard(store, tmp_path):
    size = 6000
    texts = [f"{n:09d}" * 40 for n in range(size)]
    table = pa.table({"other": texts, "text": texts, "id": range(size), "more": texts})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2000, compression="none")
    objects.upload(tmp_path / "a.parquet", "s3://bucket/a.parquet")
    (shard,) = find_shards(["s3://bucket/a.parquet"])
    with store.counting() as requests:
        parts = plan_slices(shard, ["text"], 1, 1 << 40)
    assert len(parts) == 3
    assert requests == {"GET": 1}
    with store.counting() as requests:
        for part in parts:
            for batch in read_slice(shard, part, corpora.wanted("text", "id"), batch_bytes=1 << 20):
                assert batch.num_rows
    assert requests == {"GET": 3}


def test_requests_of_lines(store, tmp_path):
    line = json.dumps({"text": "some words " * 20}) + "\n"
    objects.write("s3://bucket/a.jsonl", line.encode() * 40_000)
    (shard,) = find_shards(["s3://bucket/a.jsonl"])
    parts = plan_slices(shard, ["text"], 3 << 20, 1 << 40)
    with store.counting() as requests:
        rows = sum(
            batch.num_rows
            for part in parts
            for batch in read_slice(shard, part, corpora.wanted("text"), batch_bytes=1 << 20)
        )
    assert rows == 40_000
    assert requests["GET"] <= 3 * len(parts)
    assert set(requests) == {"GET"}


def test_files_of_a_plain_web_server(corpus, tmp_path):
    """Python's knows no ranges, which small files of lines do not need and others do."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_given):
            pass

    write(tmp_path / "a.jsonl", pa.table({"text": ["a b c d e f", "x y z", "A b c d e f"]}))
    pq.write_table(pa.table({"text": corpora.mixed(3000)}), tmp_path / "b.parquet")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        assert deduplicate(f"{url}/a.jsonl").mask().tolist() == [True, True, False]
        with pytest.raises(CorpusError, match=r"b\.parquet: .*does not serve ranges"):
            deduplicate(f"{url}/b.parquet")
        with pytest.raises(CorpusError, match=r"c\.parquet: .*No such file"):
            deduplicate(f"{url}/c.parquet")
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_without_ranges(memory):
    objects.write(f"{memory}/a.jsonl", b'{"text":"a"}\n')
    with pytest.raises(StoreError, match="13 bytes came where 20 were asked for"):
        RangeFile(f"{memory}/a.jsonl", 20).read()


# --- folders of files -------------------------------------------------------------------------


KINDS = ["disk", "s3", "memory"]


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    """A folder of each kind."""
    if request.param == "s3":
        request.getfixturevalue("store")
        return files_at("s3://bucket/work")
    if request.param == "memory":
        return files_at(f"{request.getfixturevalue('memory')}/work")
    files = files_at(tmp_path / "work")
    files.make()
    return files


def test_what_is_written_is_found_and_read(folder):
    names = ["a.json", "sub/b.json", "sub/deep/c.json"]
    for name in names:
        folder.write(name, name.encode())
    assert folder.read_all(names) == [name.encode() for name in names]
    assert folder.names() == ["a.json", "sub"]
    assert folder.names("sub") == ["b.json", "deep"]
    assert folder.names("none") == []
    assert folder.below() == set(names)
    assert folder.exists("sub/b.json")
    assert not folder.exists("b.json")
    assert folder.size("sub/b.json") == 10
    assert folder.folder("sub").read("b.json") == b"sub/b.json"
    assert folder.path("sub/b.json") == f"{folder.root}/sub/b.json"
    parts = folder.read_ranges([Range("a.json", 2, 6), Range("sub/b.json", 0, 3)])
    assert [bytes(part) for part in parts] == [b"json", b"sub"]
    with pytest.raises(FileNotFoundError):
        folder.read("none")
    folder.remove("a.json")
    folder.remove("a.json")
    folder.remove_folder("sub/deep")
    assert folder.below() == {"sub/b.json"}
    with folder.spool() as spool:
        spool.write(b"x")
    assert folder.below() == {"sub/b.json"}
    folder.remove_folder("sub")
    folder.remove_if_empty()
    assert pickle.loads(pickle.dumps(folder)) == folder
    assert len(pickle.dumps(folder)) < 400


def test_a_file_appears_whole_or_not_at_all(folder):
    with pytest.raises(ZeroDivisionError), folder.writing("a.arrow") as sink:
        sink.write(b"x" * 1000 + bytes(1 // 0))
    assert folder.below() == set()
    with folder.writing("a.arrow") as sink:
        sink.write(b"x" * 1000)
        assert sink.tell() == 1000
    assert folder.read("a.arrow") == b"x" * 1000


def test_a_file_costs_one_request(store):
    folder = files_at("s3://bucket/work")
    with store.counting() as requests, folder.writing("a.arrow") as sink:
        sink.write(b"x" * 1000)
    assert requests == {"PUT": 1}
    with store.counting() as requests:
        folder.read("a.arrow")
    assert requests == {"GET": 1}


def test_a_large_upload_that_fails_leaves_nothing(store):
    store.answer = lambda method, path: "403 Forbidden" if method == "PUT" else None
    with (
        pytest.raises(WorkDirError, match="no access"),
        files_at("s3://bucket").writing("a") as sink,
    ):
        sink.write(bytes(110 << 20))
    store.answer = lambda method, path: None
    assert not objects.find("s3://bucket")
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    assert not fs.list_multipart_uploads("bucket")


def first(batch):
    return batch.column("n")[0].as_py()


def test_record_batches_of_many_files_in_a_request_each(store):
    folder = files_at("s3://bucket/work")
    written = {f"{n}.arrow": write_table(folder, f"{n}.arrow", NUMBERS, batches(8, 10 + 200 * n))
               for n in range(40)}  # fmt: skip
    parts = [Part(name, file, 3) for name, file in written.items()]
    with store.counting() as requests:
        found = list(read_parts(folder, NUMBERS, parts))
    assert [first(batch) for batch in found] == [3000] * 40
    assert [batch.num_rows for batch in found] == [10 + 200 * n for n in range(40)]
    for batch in found:
        batch.validate(full=True)
    assert requests == {"GET": 40}
    with store.counting() as requests:
        whole = list(read_table(folder, NUMBERS, "39.arrow", written["39.arrow"]))
    assert [first(batch) for batch in whole] == [1000 * number for number in range(8)]
    assert requests == {"GET": 8}
    some = read_parts(folder, NUMBERS, parts)
    next(some)
    some.close()
    assert list(read_parts(folder, NUMBERS, [])) == []


def test_a_batch_of_many_is_found_without_a_footer(store):
    folder = files_at("s3://bucket/work")
    file = write_table(folder, "a.arrow", NUMBERS, batches(4000, 1))
    with store.counting() as requests:
        (batch,) = read_parts(folder, NUMBERS, [Part("a.arrow", file, 3999)])
    assert first(batch) == 3_999_000
    assert requests == {"GET": 1}


DAMAGE = {
    "lost": None,
    "emptied": lambda data: b"",
    "no Arrow file": lambda data: b"no Arrow file",
    "zeros": lambda data: bytes(len(data)),
    "too short": lambda data: data[:-900],
    "cut to pages": lambda data: data[: len(data) // 4096 * 4096],
    "a bit": lambda data: data[:-900] + bytes([data[-900] ^ 4]) + data[-899:],
    "swapped": lambda data: data[len(data) // 2 :] + data[: len(data) // 2],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_missing_or_damaged_has_a_remedy(folder, damage):
    written = write_table(folder, "a.arrow", NUMBERS, batches(9, 1000))
    with folder.writing("b.parquet") as sink:
        sink.write(folder.read("a.arrow"))
    made = Made(folder, "b.parquet", sink.tell(), 0)
    folder.write("c.json", seal("x", {"rows": 5, "long": "x" * 5000}))
    for name in ("a.arrow", "b.parquet", "c.json"):
        if DAMAGE[damage] is None:
            folder.remove(name)
        else:
            folder.write(name, DAMAGE[damage](folder.read(name)))
    remedy = r"/work/a.arrow is damaged \(.*\): start again with --fresh"
    with pytest.raises(DamageError, match=remedy) as caught:
        list(read_table(folder, NUMBERS, "a.arrow", written))
    assert caught.value.path == folder.path("a.arrow")
    with pytest.raises(DamageError, match=r"/work/b.parquet is damaged \(.*--fresh"):
        folder.checked(made)
    if DAMAGE[damage] is not None:
        with pytest.raises(DamageError, match=r"c.json is damaged \(its checksum is another"):
            unseal("x", folder.read("c.json"), folder.path("c.json"))


# --- the work directory -----------------------------------------------------------------------


FINGERPRINT = {"settings": {"threshold": 0.8}}


def begun(root):
    """The work directory of a run that has begun."""
    work, before = WorkDir(files_at(place_to_write(root, work=True))).begin(
        FINGERPRINT, fresh=False
    )
    assert before is None
    work.save_plan(FINGERPRINT, {"tasks": []})
    return work


@pytest.mark.parametrize("root", ["s3://bucket/work", "memory://here/work"])
def test_a_work_directory(store, memory, root):
    work = begun(root)
    assert len(pickle.dumps(work)) < 400
    assert pickle.loads(pickle.dumps(work)) == work
    assert work.results("sign") == {}
    assert not work.is_foreign
    assert work.is_worthless
    with store.counting() as requests:
        work.commit("sign", 3, {"rows": 5})
        work.commit("sign", 12, {"rows": 6})
    assert requests["PUT"] in (0, 2)
    write_table(work.stages.folder("sign"), "00003.rows.arrow", NUMBERS, batches(1, 1))
    with store.counting() as requests:
        assert work.results("sign") == {3: {"rows": 5}, 12: {"rows": 6}}
    assert requests["GET"] in (0, 3)
    assert not work.is_worthless
    assert not work.is_foreign
    again, plan = WorkDir(work.files).begin(FINGERPRINT, fresh=False)
    assert (again, plan["tasks"]) == (work, [])
    with pytest.raises(WorkDirError, match=r"settings threshold: 0\.8 before, 0\.9 now"):
        WorkDir(work.files).begin({"settings": {"threshold": 0.9}}, fresh=False)
    work.check_own()
    other = WorkDir(work.files, "dedupe-0123abcd")
    with pytest.raises(WorkDirError, match="taken over by another run"):
        other.check_own()
    other.commit("sign", 1, {})
    with work.probe() as probe:
        work.sweep()
        assert work.files.exists(probe)
    assert other.results("sign") == {}
    assert len(work.results("sign")) == 2
    work.forget("sign", 3)
    assert work.results("sign") == {12: {"rows": 6}}
    work.remove()
    assert not objects.find(root)
    objects.write(f"{root}/mine.txt", b"mine")
    assert work.is_foreign
    work.remove()
    assert objects.read(f"{root}/mine.txt") == b"mine"


@pytest.mark.parametrize("root", ["s3://bucket/work", "memory://here/work"])
def test_a_damaged_result_is_none_and_a_damaged_file_makes_its_task_run_again(store, memory, root):
    work = begun(root)
    work.commit("sign", 1, {"rows": 5, "files": {"00001.rows.arrow": []}})
    work.commit("sign", 2, {"rows": 6, "files": {}})
    assert not work.forget_maker(work.stages.path("sign/00002.rows.arrow"))
    assert not work.forget_maker("/elsewhere/sign/00001.rows.arrow")
    assert work.forget_maker(work.stages.path("sign/00001.rows.arrow"))
    assert work.results("sign").keys() == {2}
    for data in (b'{"rows": 6', b""):
        work.files.write(f"{work.run}/sign/00002.json", data)
        assert work.results("sign") == {}
    work.files.write("run.json", b"{}")
    with pytest.raises(DamageError, match=r"run\.json is damaged"):
        WorkDir(work.files).begin(FINGERPRINT, fresh=False)
    _, before = WorkDir(work.files).begin(FINGERPRINT, fresh=True)
    assert before is None


def test_a_second_driver_leaves_the_first_one_alone(memory):
    out, work = f"{memory}/out", begun(f"{memory}/out.work")
    objects.write(f"{memory}/out.work/.probe.5-0000abcd.tmp", b"{}")
    objects.write(f"{memory}/no-text.jsonl", b'{"number": 1}\n')

    def refused(corpus):
        with pytest.raises(CorpusError):
            deduplicate(corpus, out)

    with work.probe() as probe:
        assert not objects.exists(f"{memory}/out.work/.probe.5-0000abcd.tmp")  # of a killed run
        refused(f"{memory}/no-text.jsonl")
        assert work.files.exists(probe)
        work.check_own()
    refused(f"{memory}/nothing")  # a path that is wrong is told before the directory is looked at
    work.check_own()
    refused(f"{memory}/no-text.jsonl")
    assert objects.find(f"{memory}/out.work") == []


def test_an_arrow_file_with_a_long_footer(memory, monkeypatch):
    table = pa.table({"text": [f"some words of row {row}" for row in range(600)]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    data = sink.getvalue().to_pybytes()
    objects.write(f"{memory}/a.arrow", data)
    monkeypatch.setattr(ranged, "TAIL", 1000)
    assert ranged.footer_length(data) > 1000
    assert len(ranged.arrow_blocks(f"{memory}/a.arrow")) == 300
    with pa.ipc.open_file(ranged.arrow_file(f"{memory}/a.arrow")) as reader:
        assert reader.read_all().equals(table)
    for damaged in (b"\xff\x00\x00\x00", b"\x08\x00\x00\x00" + b"\xff" * 60):
        with pytest.raises(pa.ArrowInvalid, match="footer is damaged"):
            ranged.record_batches(damaged)


def test_a_full_disk_is_told_with_a_remedy(memory, monkeypatch, tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    work = WorkDir(files_at(place_to_write(str(tmp_path / "work"), work=True)))
    told = pytest.raises(WorkDirError, match=r"work: the disk is full.*goes on where")
    with told, work.reporting_faults():
        raise full
    for other in (OSError(errno.EIO, "Input/output error"), ValueError("no disk")):
        with pytest.raises(type(other)), work.reporting_faults():
            raise other

    def fails(*args, **how):
        raise full

    monkeypatch.setattr(objects, "upload", fails)
    folder = files_at(place_to_write(f"{memory}/work", work=True))
    with pytest.raises(WorkDirError, match="is full"), folder.writing("a") as sink:
        sink.write(b"x")


def test_reading_ahead(memory):
    data = np.random.default_rng(1).bytes(9 << 20)
    objects.write(f"{memory}/a", data)
    file = RangeFile(f"{memory}/a", len(data), ahead=True)
    assert b"".join(bytes(part) for part in iter(lambda: file.read(300_001), b"")) == data
    file.seek(-10, 2)
    assert bytes(file.read()) == data[-10:]
    file.seek(5 << 20)
    assert bytes(file.read(7)) == data[5 << 20 : (5 << 20) + 7]


# --- what cannot be used ----------------------------------------------------------------------


def test_stores_that_cannot_be_used(store, corpus, monkeypatch):
    missing = r"s3://nowhere/in: cannot be listed: .*bucket does not exist: check the name"
    with pytest.raises(CorpusError, match=missing):
        find_shards(["s3://nowhere/in"])
    with pytest.raises(WorkDirError, match=r"s3://nowhere/out.*bucket does not exist"):
        deduplicate(corpus, "s3://nowhere/out")
    store.answer = lambda method, path: "403 Forbidden"
    with pytest.raises(CorpusError, match=r"no access \(.*AWS_ACCESS_KEY_ID"):
        find_shards(["s3://bucket/in/*.parquet"])
    with pytest.raises(WorkDirError, match=r"s3://bucket/out.*no access \(.*AWS_PROFILE"):
        deduplicate(corpus, "s3://bucket/out")
    store.answer = lambda method, path: None
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(WorkDirError, match=r"no access \(Unable to locate credentials"):
        deduplicate(corpus, "s3://bucket/out")
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def guarded(store, monkeypatch):
    """The server checks who asks. Returns a function that makes a user with rights to actions."""
    import botocore.session
    from moto import settings

    client = botocore.session.get_session().create_client("iam", endpoint_url=store.url)

    def user(name, *actions):
        client.create_user(UserName=name)
        if actions:
            allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
            policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
            client.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy)
        made = client.create_access_key(UserName=name)["AccessKey"]
        return {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}

    known = {
        "nobody": user("nobody"),
        "reader": user("reader", "s3:GetObject", "s3:ListBucket"),
        "owner": user("owner", "s3:*"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
        yield known
    client.close()


def test_who_may_not_is_told_so_at_once(store, guarded, corpus, tmp_path):
    remedy = "AWS_ACCESS_KEY_ID"
    owner = guarded["owner"]
    with using(owner, ["s3://bucket"]):
        upload(corpus, "s3://bucket/corpus")
    for options, said in [
        (guarded["nobody"], "Access Denied"),
        ({**owner, "secret": "wrong"}, "signature we calculated does not match"),
        ({**owner, "key": "AKIAUNKNOWN000000000"}, "Access Key Id you provided does not exist"),
    ]:
        before = len(store.asked)
        with pytest.raises(CorpusError, match=rf"no access \(.*{said}.*{remedy}"):
            deduplicate("s3://bucket/corpus", tmp_path / "out", storage_options=options)
        with pytest.raises(WorkDirError, match=rf"no access \(.*{said}.*{remedy}"):
            deduplicate(corpus, "s3://bucket/out", storage_options=options)
        assert len(store.asked) - before < 10  # nothing is tried again
    with pytest.raises(WorkDirError, match=rf"s3://bucket/out.*no access \(.*Denied.*{remedy}"):
        deduplicate("s3://bucket/corpus", "s3://bucket/out", storage_options=guarded["reader"])
    deduplicate("s3://bucket/corpus", tmp_path / "out", storage_options=guarded["reader"])
    deduplicate("s3://bucket/corpus", "s3://bucket/out", storage_options=owner)


def test_a_token_that_has_expired(store, corpus):
    """What S3 answers, which moto's tokens never come to."""
    store.answer = lambda method, path: "400 ExpiredToken"
    with pytest.raises(CorpusError, match=r"no access \(.*AWS_SESSION_TOKEN"):
        find_shards(["s3://bucket/in"])
    with pytest.raises(CorpusError, match=r"no access \(.*AWS_SESSION_TOKEN"):
        find_shards(["s3://bucket/in/a.parquet"])
    with pytest.raises(WorkDirError, match=r"no access \(.*AWS_SESSION_TOKEN"):
        deduplicate(corpus, "s3://bucket/out")


def test_a_package_that_is_not_installed(monkeypatch):
    from fsspec.registry import _registry  # of filesystems that other tests have made

    for protocol, module, extra in (
        ("gs", "gcsfs", "gcs"), ("az", "adlfs", "azure"), ("hf", "huggingface_hub", "hf"),
    ):  # fmt: skip
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(_registry, protocol, raising=False)
        for action in (find_shards, deduplicate):
            with pytest.raises(SettingsError, match=rf"pip install 'dedupe-engine\[{extra}\]'"):
                action([f"{protocol}://bucket/in"])


def test_paths_that_are_refused(corpus):
    for path, said in [
        ("zip://a::s3://b/c.zip", "chained"), ("simplecache::s3://b/c", "chained"),
        ("file:///x", "there are paths on a local disk, and s3://"), ("ftp://x/y", "s3://"),
        ("S3://b/c", "s3://"),
    ]:  # fmt: skip
        for action in (lambda p: find_shards([p]), lambda p: deduplicate(corpus, p), Result):
            with pytest.raises(SettingsError, match=said):
                action(path)
    for path, said in [
        ("memory://a", "name a folder in it"), ("memory://a/b*", r"none of \* \? \["),
        ("https://a/b", "an output cannot be there"),
    ]:  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            deduplicate(corpus, path)
    from pathlib import Path

    with pytest.raises(SettingsError, match="lost a slash"):
        deduplicate(corpus, Path("s3://bucket/out"))
