"""Secrets in URLs stand nowhere: not in messages, not in an output, not in a work directory."""

from __future__ import annotations

import base64
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from commands import dedupe, in_one_line
from moments import At, Killed

from dedupe import Result, SettingsError, apply, deduplicate
from dedupe.hiding import hidden, lacks_secrets, told_apart, without_secrets

USER, SECRET = "someone", "s3cr3t-of-ours"

HIDDEN = {
    "https://host/a.parquet": "https://host/a.parquet",
    "https://user:word@host/a?x=1": "https://REDACTED@host/a?x=1",
    "https://ghp_token@host/a": "https://REDACTED@host/a",
    "https://host/a?sv=1&sig=abc%3D&x=y": "https://host/a?sv=REDACTED&sig=REDACTED&x=y",
    "https://host/a?sv=1&se=2": "https://host/a?sv=1&se=2",
    "https://host/a?X-Amz-Signature=abc&X-Amz-Date=1#top": (
        "https://host/a?X-Amz-Signature=REDACTED&X-Amz-Date=REDACTED#top"
    ),
    "https://host/a?access_token=abc&api-key=k&apikey=k": (
        "https://host/a?access_token=REDACTED&api-key=REDACTED&apikey=REDACTED"
    ),
    "https://host/a?monkeys=3&design=4&sigma=5": "https://host/a?monkeys=3&design=4&sigma=5",
    "s3://key:secret@bucket/a?token=x*": "s3://REDACTED@bucket/a?token=x*",
    "hf://datasets/me/it@v1/a.parquet": "hf://datasets/me/it@v1/a.parquet",
    "abfs://container@account/a": "abfs://container@account/a",
    "ftp://user:p@ss@host/a": "ftp://REDACTED@host/a",
    "a/b?token=x": "a/b?token=x",
}


@pytest.mark.parametrize("url", HIDDEN)
def test_what_is_hidden(url):
    shown = hidden(url) if "://" in url else without_secrets(url)
    assert shown == HIDDEN[url]
    assert hidden(shown) == shown
    assert lacks_secrets(shown) == ("REDACTED" in shown)
    assert without_secrets(f"cannot read '{url}': no") == f"cannot read '{HIDDEN[url]}': no"


def test_urls_that_differ_in_secrets_alone_are_told_apart():
    urls = [f"https://host/get?token={name}" for name in "abc"]
    shown = told_apart([*urls, urls[0], "https://host/x"])
    assert list(shown.values()) == [*urls, "https://host/x"]
    assert list(shown)[:3] == [f"https://host/get?token=REDACTED{end}" for end in ("", "2", "3")]
    assert all(lacks_secrets(name) for name in list(shown)[:3])


@pytest.fixture
def web(tmp_path):
    """A web server of files that asks for a login or a signature; its host, and its folder."""
    folder = tmp_path / "web"
    folder.mkdir()
    login = "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            query = parse_qs(urlsplit(self.path).query)
            is_open = self.path == "/open.jsonl"
            known = self.headers.get("Authorization") == login or SECRET in query.get("sig", [])
            if is_open or known:
                super().do_GET()
            else:
                self.send_error(403)

        def log_message(self, *_given):
            pass

    for name, word in (("a", "one"), ("b", "two"), ("open", "three")):
        rows = [{"text": f"{word} of the words {i // 2}"} for i in range(10)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def everything(folder):
    """All bytes of all files, and their names."""
    return b"".join(
        str(path).encode() + (path.read_bytes() if path.is_file() else b"")
        for path in folder.rglob("*")
        if "web" not in path.parts
    )


def test_a_corpus_with_secrets(web, tmp_path):
    pytest.importorskip("aiohttp")
    urls = [
        f"http://{USER}:{SECRET}@{web}/a.jsonl",
        f"http://{web}/b.jsonl?sig={SECRET}&x=1",
    ]
    out = tmp_path / "out"
    done = dedupe("run", *urls, "--output", out, "--work-dir", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    shown = [f"http://REDACTED@{web}/a.jsonl", f"http://{web}/b.jsonl?sig=REDACTED&x=1"]
    assert [one["path"] for one in Result(out).shards] == sorted(shown)
    again = dedupe("run", *urls, "--output", out)
    assert "was finished already" in again.stderr
    options = json.dumps({"urls": urls})
    needing = (["apply", out, "--output", tmp_path / "clean"], ["audit", out])
    for command in needing:
        done = dedupe(*command)
        assert done.returncode == 2
        assert "says that its corpus is at http://" in in_one_line(done.stderr)
        done = dedupe(*command, "--storage-options", '{"http": {}}')
        assert done.returncode == 2
        assert "its secrets are written nowhere" in in_one_line(done.stderr)
        assert "urls" in done.stderr
    for command in (*needing, ["show", out, "--row", "0:1"], ["show", out, "--pairs", "2"]):
        done = dedupe(*command, "--storage-options", options)
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == [
        "_dedupe.json",
        "a.jsonl",
        "b.jsonl",
    ]
    kept = (tmp_path / "clean" / "b.jsonl").read_text().splitlines()
    assert len(kept) == 5
    assert SECRET.encode() not in everything(tmp_path)


def test_a_url_that_was_signed_again_is_the_same(web, tmp_path):
    pytest.importorskip("aiohttp")
    first, second = (f"http://{web}/b.jsonl?sig={SECRET}&se={when}" for when in "12")
    with pytest.raises(Killed):
        deduplicate(first, tmp_path / "out", progress=At("verify"))
    assert SECRET.encode() not in everything(tmp_path)
    result = deduplicate(second, tmp_path / "out")
    assert result.summary["stages"]["sign"]["resumed"] == 1
    options = {"urls": [second]}
    assert apply(tmp_path / "out", tmp_path / "clean", storage_options=options)["kept"] == 5


def test_web_servers_that_a_summary_names_are_asked_only_where_the_user_names_them(web, tmp_path):
    pytest.importorskip("aiohttp")
    out = tmp_path / "out"
    deduplicate(f"http://{web}/open.jsonl", out)
    commands = (
        ["apply", out, "--output", tmp_path / "clean"],
        ["audit", out],
        ["show", out, "--pairs", "2"],
    )
    for command in commands:
        done = dedupe(*command)
        assert done.returncode == 2
        assert f"says that its corpus is at http://{web}/open.jsonl" in in_one_line(done.stderr)
    for command in commands:
        done = dedupe(*command, "--storage-options", '{"http": {}}')
        assert done.returncode == 0, done.stderr
    with pytest.raises(SettingsError, match="allow it with"):
        Result(out).pairs(2)
    assert len(Result(out, storage_options={"http": {}}).pairs(2)) == 2


@pytest.mark.parametrize(
    "url",
    [
        "http://{user}:{secret}@{web}/none.jsonl",
        "http://{user}:{secret}@{web}/a.docx",
        "http://{web}/a.jsonl?sig={secret}no",
        "http://{web}/a.jsonl?token={secret}&sig=x",
        "http://{user}:{secret}@nowhere.invalid/a.jsonl",
        "ftp://{user}:{secret}@{web}/a.jsonl",
        "s3://{user}:{secret}@/a.jsonl",
        "zip://a::http://{user}:{secret}@{web}/a.jsonl",
    ],
)
def test_errors(web, tmp_path, url):
    pytest.importorskip("aiohttp")
    url = url.format(user=USER, secret=SECRET, web=web)
    for command in (
        ["run", url, "--output", tmp_path / "out"],
        ["run", tmp_path / "web" / "a.jsonl", "--output", url],
        ["show", url],
        ["apply", url, "--output", tmp_path / "clean"],
    ):
        done = dedupe(*command)
        assert done.returncode == 2
        assert SECRET not in done.stderr + done.stdout
    with pytest.raises(Exception) as found:  # noqa: PT011 - of whatever kind it is
        deduplicate(url, tmp_path / "out")
    assert SECRET not in str(found.value)


@pytest.mark.parametrize("urls", ["http://a", [1], {"a": "b"}])
def test_urls_that_are_no_list(tmp_path, urls):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(SettingsError, match="no list of URLs"):
        deduplicate(tmp_path / "a.jsonl", storage_options={"urls": urls})
