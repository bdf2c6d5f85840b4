"""Storage options: what is given reaches every filesystem, and nobody sees it."""

from __future__ import annotations

import json
import threading
import time

import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import stores
from click.testing import CliRunner

from dedupe import CorpusError, Result, SettingsError, apply, deduplicate
from dedupe.cli import cli
from dedupe.remote import given

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


def test_a_secret_in_a_message_is_masked(closed, tmp_path):
    quick = {"retries": {"max_attempts": 0}, "connect_timeout": 1}
    bad = {**closed, "endpoint_url": f"http://127.0.0.1:9/{SECRET}", "config_kwargs": quick}
    with pytest.raises(CorpusError, match="cannot be") as caught:
        deduplicate("s3://bucket/in", tmp_path / "out", storage_options=bad)
    assert SECRET not in str(caught.value)
    with given.using({"key": SECRET}, ["s3://b"]):
        assert given.masked(f"no {SECRET} here") == "no *** here"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([1], "not a mapping"),
        ({1: 2}, "not a mapping"),
        ({"anon": True}, "the paths have no protocol"),
        ({"nonsense_of_ours": 1, "s3": {}}, "the paths have no protocol"),
    ],
)
def test_options_that_cannot_be_used(tmp_path, options, said):
    with pytest.raises(SettingsError, match=said):
        deduplicate(tmp_path, tmp_path / "out", storage_options=options)


def test_flat_options_for_several_protocols_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="gs and s3"):
        deduplicate(["s3://a/b", "gs://c/d"], tmp_path / "out", storage_options={"anon": True})


def test_an_option_that_the_filesystem_does_not_know_is_named(closed, tmp_path):
    options = {**closed, "nonsense_of_ours": 1}
    with pytest.raises(SettingsError, match="nonsense_of_ours"):
        deduplicate("s3://bucket/in", tmp_path / "out", storage_options=options)


@pytest.mark.parametrize("text", ["{", "[1]", "@/nowhere/options.json"])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(SettingsError, match="--storage-options"):
        given.parsed(text)


def test_two_runs_at_a_time_do_not_share_options():
    began, end = threading.Event(), threading.Event()

    def first():
        with given.using({"s3": {"key": "one"}}, []):
            began.set()
            end.wait(5)

    thread = threading.Thread(target=first)
    thread.start()
    began.wait(5)
    with pytest.raises(SettingsError, match="one after the other"), given.using({"s3": {}}, []):
        pass
    with given.using({"s3": {"key": "one"}}, []), given.using(None, []):
        assert given.for_kind("s3") == {"key": "one"}
    end.set()
    thread.join()
    time.sleep(0)
    with given.using(None, []):
        assert given.for_kind("s3") == {}
