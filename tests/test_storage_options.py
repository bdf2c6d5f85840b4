"""Storage options: what is given reaches every filesystem, and nobody sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stores
from click.testing import CliRunner

from dedupe import (
    CorpusError,
    Index,
    Result,
    SettingsError,
    apply,
    audit,
    deduplicate,
    edges,
    report,
)
from dedupe.cli import cli
from dedupe.remote import given

pytestmark = pytest.mark.stores

KEY, SECRET = "a-key-of-ours", "a-secret-of-ours"


@pytest.fixture(autouse=True)
def _clean():
    yield
    given.use_everywhere({})


@pytest.fixture
def closed(server, monkeypatch):
    """An S3 server that nothing in the environment leads to; the options that do."""
    import fsspec

    for name in stores.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    options = {
        "key": KEY,
        "secret": SECRET,
        "endpoint_url": server.url,
    }
    fs = fsspec.filesystem("s3", use_listings_cache=False, **options)
    fs.mkdir("bucket")
    with fs.open("bucket/in/a.parquet", "wb") as file:
        pq.write_table(pa.table({"text": corpora.mixed(60)}), file)
    yield options
    fs.rm("bucket", recursive=True)


def everything(folder):
    return "".join(path.read_text(errors="replace") for path in folder.rglob("*.json"))


def test_options_reach_corpus_output_work_directory_and_apply(closed, tmp_path, server):
    local = tmp_path / "in"
    local.mkdir()
    pq.write_table(pa.table({"text": corpora.mixed(60)}), local / "a.parquet")
    expected = deduplicate(local).mask()
    with pytest.raises(CorpusError, match="no access"):
        deduplicate("s3://bucket/in", tmp_path / "no")
    for options in (closed, {"s3": closed}):
        name = "flat" if options is closed else "each"
        places = ("s3://bucket/in", f"s3://bucket/{name}")
        work = f"s3://bucket/{name}-work"
        result = deduplicate(*places, work_dir=work, storage_options=options)
        assert (result.mask() == expected).all()
        given.use_everywhere({})
        again = Result(f"s3://bucket/{name}", storage_options=options)
        assert (again.mask() == expected).all()
        clean = f"s3://bucket/{name}-clean"
        manifest = apply(f"s3://bucket/{name}", clean, storage_options=options)
        assert manifest["kept"] == expected.sum()
        assert SECRET not in json.dumps([again.summary, manifest])
    deduplicate("s3://bucket/in", tmp_path / "out", work_dir=tmp_path / "w", storage_options=closed)
    assert SECRET not in everything(tmp_path)
    apply(tmp_path / "out", tmp_path / "clean", storage_options=closed)
    assert pq.read_table(tmp_path / "clean" / "a.parquet").num_rows == expected.sum()


def test_the_command_line_takes_json_or_a_file_of_it(closed, tmp_path):
    (tmp_path / "options.json").write_text(json.dumps({"s3": closed}))
    for number, text in enumerate([json.dumps(closed), f"@{tmp_path / 'options.json'}"]):
        out = f"s3://bucket/out{number}"
        command = ["run", "s3://bucket/in", "--output", out, "--quiet", "--storage-options", text]
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.exit_code == 0
        shown = CliRunner().invoke(cli, ["show", out, "--json", "--storage-options", text])
        assert json.loads(shown.output)["corpus"]["rows"] == 60
    deduplicate("s3://bucket/in", tmp_path / "here", storage_options=closed)
    for place in (out, str(tmp_path / "here")):  # the corpus is in the store, the keep-list here
        command = ["show", place, "--row", "0:0", "--json", "--storage-options", text]
        shown = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert "cannot be read" not in shown.output
        assert json.loads(shown.output)["text"]


def test_a_secret_in_a_message_is_masked(closed, tmp_path):
    quick = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    bad = {**closed, "endpoint_url": f"http://127.0.0.1:9/{SECRET}", "config_kwargs": quick}
    with pytest.raises(CorpusError, match="cannot be") as caught:
        deduplicate("s3://bucket/in", tmp_path / "out", storage_options=bad)
    assert SECRET not in str(caught.value)
    with given.using({"key": SECRET}, ["s3://b"]):
        assert given.masked(f"no {SECRET} here") == "no *** here"
    with given.using({"headers": [{"token": SECRET}, (KEY, 7)]}, ["s3://b"]):
        assert given.masked(f"neither {SECRET} nor {KEY}") == "neither *** nor ***"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([1], "not a mapping"),
        ({1: 2}, "not a mapping"),
        ({"anon": True}, "the paths have no protocol"),
    ],
)
def test_options_that_cannot_be_used(tmp_path, options, said):
    with pytest.raises(SettingsError, match=said):
        deduplicate(tmp_path, tmp_path / "out", storage_options=options)


def test_flat_options_for_several_protocols_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="gs and s3"):
        deduplicate(["s3://a/b", "gs://c/d"], tmp_path / "out", storage_options={"anon": True})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"nonsense_of_ours": 1}, "not take these storage options.*nonsense_of_ours"),
        ({"client_kwargs": {"nonsense_of_ours": 1}}, "not take these.*nonsense_of_ours"),
        ({"client_kwargs": 5}, "not take these storage options"),
        ({"config_kwargs": "x"}, "config_kwargs in the storage options is not an object"),
        ({"endpoint_url": 7}, "not take these storage options"),
        ({"endpoint_url": "localhost:1"}, "not take these.*Invalid endpoint"),
        ({"key": 5}, "not take these storage options"),
    ],
)
def test_options_of_a_wrong_name_or_type_are_errors_of_the_settings(closed, tmp_path, wrong, said):
    with pytest.raises(SettingsError, match=said) as caught:
        deduplicate("s3://bucket/in", tmp_path / "out", storage_options={**closed, **wrong})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "@/nowhere/options.json"])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(SettingsError, match="--storage-options"):
        given.parsed(text)


@pytest.mark.ray
@pytest.mark.slow
def test_options_reach_the_workers_of_ray(closed, tmp_path):
    """In a process of its own, whose Ray is too, and whose environment leads to no store."""
    pytest.importorskip("ray")
    (tmp_path / "options.json").write_text(json.dumps(closed))
    command = [sys.executable, "-m", "dedupe", "run", "s3://bucket/in", "--output", "s3://bucket/r"]
    more = ["--engine", "ray", "--workers", "1", "--memory", "500MB", "--storage-options"]
    given_file = f"@{tmp_path / 'options.json'}"
    done = subprocess.run(
        [*command, *more, given_file],
        env={name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = Result("s3://bucket/r", storage_options=closed)
    expected = deduplicate("s3://bucket/in", storage_options=closed)
    assert (result.mask() == expected.mask()).all()
    assert SECRET not in done.stdout + done.stderr + json.dumps(result.summary)


@pytest.mark.parametrize(
    "options", [{"s3": {}, "anon": True}, {"s3": True}, {"s3": {}, "gs": 1}, {"s3": {}, "x": {}}]
)
def test_protocols_beside_anything_else_are_refused(tmp_path, options):
    with pytest.raises(SettingsError, match=r"storage options name .*s3.* no object of such"):
        deduplicate("s3://bucket/in", tmp_path / "out", storage_options=options)


def test_runs_in_several_threads_have_their_own_options(closed, server, tmp_path):
    """Each has a server of its own, which nobody else comes to, and one has no options at all."""
    expected = deduplicate("s3://bucket/in", storage_options=closed).mask()
    servers = [stores.Store() for _ in range(2)]
    together = threading.Barrier(3)
    found, refused = {}, []

    def run(number):
        options = {**closed, "key": f"key-{number}", "endpoint_url": servers[number].url}
        together.wait(10)
        for turn in range(2):
            out = f"s3://bucket/thread-{number}-{turn}"
            deduplicate("s3://bucket/in", out, storage_options=options)
            found[number, turn] = Result(out, storage_options=options)

    def run_without():
        together.wait(10)
        for _ in range(5):
            try:
                deduplicate("s3://bucket/in", tmp_path / "none")
            except CorpusError as error:
                refused.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    threads.append(threading.Thread(target=run_without))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.keys for one in servers] == [{"key-0"}, {"key-1"}]
    assert len(refused) == 5
    for result in found.values():  # and nothing is lost when the runs are over
        assert (result.mask() == expected).all()
        assert (result.dataset().to_table(columns=["keep"])["keep"].to_numpy() == expected).all()
    assert len(found) == 4
    assert [one.keys for one in servers] == [{"key-0"}, {"key-1"}]
    for one in servers:
        one.close()


def test_options_of_a_worker_process_hold_in_all_its_threads():
    given.use_everywhere({"s3": {"key": "one"}})
    seen = []
    thread = threading.Thread(target=lambda: seen.append(given.for_kind("s3")))
    thread.start()
    thread.join()
    assert seen == [{"key": "one"}]
    with given.using({}, []):
        given.use_everywhere({"s3": {"key": "two"}})  # by the local engine: it is its own process
        assert given.for_kind("s3") == {}
    assert given.for_kind("s3") == {"key": "one"}


def test_the_index_that_an_output_names(closed, tmp_path):
    """Whatever reads the texts of earlier witnesses reaches it with the options of the command."""
    text = " ".join(f"word{number}" for number in range(40))
    (tmp_path / "jan.jsonl").write_text(f'{{"text": "{text} end"}}\n', encoding="utf-8")
    (tmp_path / "feb.jsonl").write_text(f'{{"text": "{text} other"}}\n', encoding="utf-8")
    index, out, how = "s3://bucket/idx", tmp_path / "out", {"storage_options": closed}
    Index.create(index, tmp_path / "jan.jsonl", text="text", **how)
    deduplicate(tmp_path / "feb.jsonl", out, index=index, **how)
    assert audit(out, **how).ok
    (pair,) = Result(out, storage_options={"s3": closed}).pairs().to_pylist()
    assert pair["witness_text"] == f"{text} end"
    edges(out, tmp_path / "edges.parquet", **how)
    report(out, tmp_path / "report.html", storage_options={"s3": closed})
    for words in (("--pairs", "5"), ("--row", "0:0")):
        chosen = ["show", str(out), *words, "--storage-options", json.dumps(closed)]
        shown = CliRunner().invoke(cli, chosen)
        assert shown.exit_code == 0, shown.output
        assert "row 0 of" in shown.output
