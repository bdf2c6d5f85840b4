"""The same run on every kind of store: what it leaves is what a local run leaves."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, suppress

import corpora
import emulators
import faults
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stores
from click.testing import CliRunner
from moments import At, Killed

from dedupe import CorpusError, DedupeError, Result, WorkDirError, apply, deduplicate, find_problems
from dedupe.cli import cli
from dedupe.remote import objects, place_to_write
from dedupe.storage import files_at

pytestmark = pytest.mark.stores

PROXIES: list[faults.Proxy] = []
"""The one through which the store is reached."""

BASES = {"s3": "s3://bucket", "gcs": "gs://bucket", "azure": "az://bucket", "memory": "memory://b"}


@pytest.fixture(scope="module", params=BASES)
def base(request, tmp_path_factory):
    """An empty bucket of each kind of store, on a server that runs for this module."""
    import fsspec

    kind = request.param
    PROXIES.clear()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as servers:
        if kind == "s3":
            server = request.getfixturevalue("server")
            environment = {**stores.ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}
        elif kind == "gcs":
            pytest.importorskip("gcsfs")
            pytest.importorskip("gcp_storage_emulator")
            environment = servers.enter_context(emulators.google())
            patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        elif kind == "azure":
            pytest.importorskip("adlfs")
            folder = tmp_path_factory.mktemp("azurite")
            command = emulators.azurite_command()
            if command is None:
                pytest.skip("no Azurite here: npm install -g azurite")
            environment = servers.enter_context(emulators.azure(command, folder))
        else:
            environment = {}
        for name, value in environment.items():
            address = re.search(r"http://127\.0\.0\.1:\d+", value)
            if address:
                PROXIES.append(faults.Proxy(address[0]))
                servers.callback(PROXIES[0].close)
                value = value.replace(address[0], PROXIES[0].url)
            patch.setenv(name, value)
        protocol = BASES[kind].partition("://")[0]
        fs = fsspec.filesystem(protocol, use_listings_cache=False)
        if kind in ("s3", "azure"):
            fs.mkdir("bucket")
        yield BASES[kind]
        with suppress(FileNotFoundError):
            fs.rm(BASES[kind].partition("://")[2], recursive=True)
        type(fs).clear_instance_cache()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A corpus on a disk, its run, and what apply makes of it."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "in").mkdir()
    texts = corpora.mixed(200, seed=3)
    table = pa.table({"text": texts, "id": [f"r{i}" for i in range(len(texts))]})
    for number in range(3):
        name = folder / "in" / f"part-{number}.parquet"
        pq.write_table(table.slice(number * 70, 70), name, row_group_size=30)
    deduplicate(folder / "in", folder / "out", id="id")
    apply(folder / "out", folder / "clean")
    return folder


@pytest.fixture(scope="module")
def corpus(base, local):
    """The same corpus in the store."""
    for path in (local / "in").iterdir():
        objects.upload(path, f"{base}/in/{path.name}")
    return f"{base}/in"


def keep_lists(result):
    columns = ["row", "id", "keep", "reason", "cluster", "witness_row", "witness_id", "jaccard"]
    return result.keep_list().select(columns).to_pylist()


def test_a_run_in_a_store_leaves_what_a_local_one_leaves(base, corpus, local):
    result = deduplicate(corpus, f"{base}/out", work_dir=f"{base}/work", id="id")
    assert keep_lists(result) == keep_lists(Result(local / "out"))
    assert keep_lists(Result(f"{base}/out")) == keep_lists(result)
    manifest = apply(f"{base}/out", f"{base}/clean")
    assert manifest["kept"] == result.kept
    for path in sorted((local / "clean").glob("*.parquet")):
        assert objects.read(f"{base}/clean/{path.name}") == path.read_bytes()
    with pytest.raises(WorkDirError, match="empty"):
        deduplicate(corpus, f"{base}/out", id="id", threshold=0.7)
    assert keep_lists(deduplicate(corpus, f"{base}/out", id="id")) == keep_lists(result)
    with pytest.raises(WorkDirError, match="empty"):
        apply(f"{base}/out", f"{base}/clean", add_columns=True)
    assert apply(f"{base}/out", f"{base}/clean")["kept"] == result.kept
    found = find_problems(f"{base}/out")
    assert found == find_problems(local / "out")
    without = apply(f"{base}/out", f"{base}/without", without_problems="one-word", force=True)
    assert without["kept"] == result.kept - found["one-word"]["kept"]


def test_keep_lists_are_byte_for_byte_those_of_a_disk(base, local):
    """Of one corpus on this disk, worked on and published in the store; and shown from there."""
    result = deduplicate(local / "in", f"{base}/same", work_dir=f"{base}/same-work", id="id")
    here = Result(local / "out")
    assert [path.name for path in result.files] == [path.name for path in here.files]
    for there, path in zip(result.files, here.files, strict=True):
        assert objects.read(str(there)) == path.read_bytes()
    shown = CliRunner().invoke(cli, ["show", f"{base}/same", "--json"], catch_exceptions=False)
    assert json.loads(shown.output)["reasons"] == here.summary["reasons"]
    assert not [one for one in objects.find(f"{base}/same-work") if ".probe." in one.uri]


def test_a_run_that_was_killed_goes_on_in_the_store(base, corpus, local):
    progress = At("verify")
    with pytest.raises(Killed):
        deduplicate(corpus, f"{base}/out2", work_dir=f"{base}/work2", id="id", progress=progress)
    assert not objects.find(f"{base}/out2")
    result = deduplicate(corpus, f"{base}/out2", work_dir=f"{base}/work2", id="id")
    assert result.summary["stages"]["sign"]["resumed"] == result.summary["stages"]["sign"]["tasks"]
    assert result.summary["stages"]["verify"]["resumed"] == 0
    assert keep_lists(result) == keep_lists(Result(local / "out"))


def test_globs_and_single_objects(base, corpus, local):
    for given in (f"{base}/in/part-*.parquet", [f"{base}/in/part-{i}.parquet" for i in range(3)]):
        assert keep_lists(deduplicate(given, id="id")) == keep_lists(Result(local / "out"))


def test_what_is_not_there_is_named(base, tmp_path):
    with pytest.raises(CorpusError, match="no such file"):
        deduplicate(f"{base}/nothing", tmp_path / "out")
    with pytest.raises(CorpusError, match="matches nothing"):
        deduplicate(f"{base}/in/*.jsonl", tmp_path / "out")


def test_an_object_is_made_where_there_is_none(base):
    if base == BASES["gcs"]:
        pytest.skip("the emulator of Google's store does not know conditions")
    files = files_at(place_to_write(f"{base}/made"))
    assert files.create("one", b"first")
    assert not files.create("one", b"other")
    assert files.create("one", b"first")  # its answer was lost, and it is asked again
    assert files.read("one") == b"first"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # adlfs does
def test_an_object_larger_than_a_part_arrives_whole(base, tmp_path):
    data = bytes(range(256)) * (9 << 12)  # 9 MiB
    (tmp_path / "large").write_bytes(data)
    objects.upload(tmp_path / "large", f"{base}/large")
    assert objects.info(f"{base}/large").size == len(data)
    assert objects.read_range(f"{base}/large", 5 << 20, (5 << 20) + 999) == data[5 << 20 :][:999]
    objects.download(f"{base}/large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data
    objects.remove(f"{base}/large")
    assert not objects.exists(f"{base}/large")


def test_a_corpus_on_the_hub(local, tmp_path):
    pytest.importorskip("huggingface_hub")
    with emulators.hub(local) as options:
        for given in ("hf://datasets/me/data/in", "hf://datasets/me/data/in/part-*.parquet"):
            result = deduplicate(given, id="id", storage_options=options)
            assert keep_lists(result) == keep_lists(Result(local / "out"))
        with pytest.raises(CorpusError, match="no such file"):
            deduplicate("hf://datasets/me/data/none", storage_options=options)
        with pytest.raises(CorpusError, match="hf://datasets/me/other"):
            deduplicate("hf://datasets/me/other/in", storage_options=options)


def test_a_hub_that_cannot_be_reached_is_said_so(local, tmp_path, impatient):
    pytest.importorskip("huggingface_hub")
    nobody = {"endpoint": f"http://127.0.0.1:{emulators.free_port()}", "token": False}
    with pytest.raises(DedupeError, match=r"hf://datasets/me/data.*cannot be reached"):
        deduplicate("hf://datasets/me/data/in", storage_options=nobody)
    with pytest.raises(DedupeError, match=r"hf://datasets/me/data/out.*cannot be reached"):
        deduplicate(
            local / "in",
            "hf://datasets/me/data/out",
            work_dir=tmp_path / "work",
            storage_options=nobody,
        )


# --- what fails for a moment ------------------------------------------------------------------


METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # adlfs does
@pytest.mark.parametrize("fault", faults.FAULTS)
def test_every_kind_of_request_is_tried_again(base, fault, impatient, tmp_path):
    if not PROXIES:
        pytest.skip("nothing between here and memory fails")
    (proxy,) = PROXIES
    folder, uri, data = f"{base}/faults", f"{base}/faults/a", bytes(range(256)) * 300
    (tmp_path / "file").write_bytes(data)

    def through(what):
        proxy.fail(fault, 2, *METHODS)
        found = what()
        assert proxy.hits == 2 or (fault == "truncated" and proxy.hits), what
        proxy.fail("", 0)
        return found

    through(lambda: objects.write(uri, data))
    assert through(lambda: objects.read(uri)) == data
    assert through(lambda: objects.read_all([uri, uri])) == [data, data]
    assert through(lambda: objects.read_range(uri, 5, 70_000)) == data[5:70_000]
    assert through(lambda: objects.read_ranges(uri, [(0, 9), (99, 999)])) == [
        data[:9],
        data[99:999],
    ]
    tail = through(lambda: objects.read_tail(uri, 1000))
    assert tail[-1000:] == data[-1000:]  # all of it from the emulator of Google
    through(lambda: objects.download(uri, tmp_path / "down"))
    assert (tmp_path / "down").read_bytes() == data
    assert through(lambda: objects.info(uri)).size == len(data)
    assert through(lambda: objects.exists(uri))
    through(lambda: objects.upload(tmp_path / "file", f"{folder}/b"))
    if objects.same_store(uri, uri):
        through(lambda: objects.copy(uri, f"{folder}/c"))
    else:
        objects.write(f"{folder}/c", data)
    assert [one.uri[-1] for one in through(lambda: objects.find(folder))] == ["a", "b", "c"]
    assert through(lambda: objects.entries(folder)) == [f"{folder}/{name}" for name in "abc"]
    assert objects.read(f"{folder}/b") == objects.read(f"{folder}/c") == data
    through(lambda: objects.remove(uri))
    through(lambda: objects.remove_folder(folder))
    assert objects.find(folder) == []
