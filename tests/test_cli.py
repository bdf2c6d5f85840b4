"""The command line as a user meets it: what it prints, and what it says of mistakes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe, in_one_line

from dedupe.cli import cli


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.jsonl"
    rows = [{"text": f"some words of row {i // 2} that come twice", "n": i} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write(path, data):
    path.write_bytes(data)
    return path


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


MISTAKES = {
    "missing column": (
        lambda d: [parquet(d / "a.parquet", body=["x"], title=["y"])],
        ["a.parquet", "--text COLUMN", "body, title"],
    ),
    "missing column in json": (
        lambda d: [write(d / "a.jsonl", b'{"body": "x"}\n')],
        ["a.jsonl", "--text COLUMN", "body"],
    ),
    "wrong type": (lambda d: [parquet(d / "a.parquet", text=[1, 2])], ["a.parquet", "int64"]),
    "truncated parquet": (
        lambda d: [write(d / "b.parquet", parquet(d / "a.parquet", text=["x"]).read_bytes()[:-9])],
        ["b.parquet"],
    ),
    "broken gzip": (
        lambda d: [write(d / "a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 999)[:-20])],
        ["a.jsonl.gz"],
    ),
    "no gzip at all": (lambda d: [write(d / "a.jsonl.gz", b'{"text": "x"}\n')], ["a.jsonl.gz"]),
    "broken line": (
        lambda d: [write(d / "a.jsonl", b'{"text": "x"}\n{"text": "y"}\n{"text": \n')],
        ["a.jsonl", "row 2"],
    ),
    "invalid utf-8": (
        lambda d: [write(d / "a.csv", b"text\nfine\nbr\xffken\n")],
        ["a.csv", "row 1", "--on-bad-text replace"],
    ),
    "no match": (lambda d: [d / "nothing-*.parquet"], ["nothing-*.parquet"]),
    "no such file": (lambda d: [d / "nothing.parquet"], ["nothing.parquet"]),
    "twice": (
        lambda d: [parquet(d / "a.parquet", text=["x"]), d / "a.parquet"],
        ["a.parquet", "twice"],
    ),
    "unknown format": (lambda d: [write(d / "a.docx", b"x")], ["a.docx"]),
    "threshold": (lambda d: [parquet(d / "a.parquet", text=["x"]), "--threshold", "1.5"], ["1.5"]),
    "bands": (
        lambda d: [parquet(d / "a.parquet", text=["x"]), "--bands", "20", "--rows", "10"],
        ["200", "128"],
    ),
    "half a banding": (
        lambda d: [parquet(d / "a.parquet", text=["x"]), "--bands", "20"],
        ["bands and rows go together"],
    ),
    "shingle": (
        lambda d: [parquet(d / "a.parquet", text=["x"]), "--shingle", "line:3"],
        ["word:N"],
    ),
    "keep": (lambda d: [parquet(d / "a.parquet", text=["x"]), "--keep", "best"], ["longest"]),
    "score of words": (
        lambda d: [parquet(d / "a.parquet", text=["x"], s=["good"]), "--keep", "max:s"],
        ['"s"', "string"],
    ),
    "memory": (lambda d: [parquet(d / "a.parquet", text=["x"]), "--memory", "lots"], ["4GB"]),
    "too little memory": (
        lambda d: [parquet(d / "a.parquet", text=["x"]), "--memory", "10MB"],
        ["500MB"],
    ),
    "ids of two types": (
        lambda d: [
            parquet(d / "a.parquet", text=["x"], id=[1]),
            parquet(d / "b.parquet", text=["x"], id=["1"]),
            "--id",
            "id",
        ],
        ["b.parquet", "int64", "string"],
    ),
    "cloud path": (lambda d: ["s3://bucket/a.parquet"], ["s3://bucket/a.parquet"]),
    "unknown option": (lambda d: ["--nonsense"], ["--nonsense"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message_and_no_output(tmp_path, name):
    make, words = MISTAKES[name]
    done = dedupe("run", *make(tmp_path), "--output", tmp_path / "out", "--quiet")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()
    assert len(done.stderr.strip().splitlines()) <= 6


def test_output_directory_must_be_new(tmp_path, good):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("mine")
    done = dedupe("run", good, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "not an empty directory" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_full_disk(small_disk, good):
    rows = "".join(json.dumps({"text": f"row {i} of many"}) + "\n" for i in range(9000))
    good.write_text(rows)
    done = dedupe("run", good, "--output", small_disk / "out", "--quiet")
    assert done.returncode == 2, done.stderr
    assert "full" in done.stderr
    assert "--work-dir" in done.stderr
    assert not (small_disk / "out").exists()


def test_output_must_not_be_a_part_of_the_corpus(tmp_path, good, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for corpus in (".", tmp_path):
        done = dedupe("run", corpus, "--output", "out")
        assert done.returncode == 2
        assert "choose a place outside" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.jsonl"]


def test_the_command_is_a_process_that_ends_with_a_code(tmp_path, good):
    """All other tests run commands in this process."""
    for more, code in (([], 0), (["--threshold", "2"], 2)):
        command = ["-m", "dedupe", "run", str(good), "--output", str(tmp_path / "out"), *more]
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert ("10 kept, 10 dropped" in done.stdout) == (code == 0)
        assert ("threshold is 2.0" in done.stderr) == (code == 2)


def test_a_closed_pipe_is_no_traceback(tmp_path, good):
    dedupe("run", good, "--output", tmp_path / "out", "--quiet")
    command = f"{sys.executable} -m dedupe show {tmp_path / 'out'} --json | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_control_characters_of_a_text_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "red \x1b[31m and \x9b31m words"}) + "\n")
    dedupe("run", path, "--output", tmp_path / "out", "--quiet")
    shown = dedupe("show", tmp_path / "out", "--row", "0:0").stdout
    assert "red" in shown
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_a_file_name_that_is_no_text(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    path = os.fsencode(folder) + b"/bad\xff.jsonl"
    with open(path, "w") as file:
        file.write('{"text": "a"}\n')
    done = dedupe("run", folder, "--output", tmp_path / "out")
    assert done.returncode == 2
    assert "rename it" in done.stderr


def test_run_show_and_json(tmp_path, good):
    out = tmp_path / "out"
    done = dedupe("run", good, "--output", out)
    assert done.returncode == 0, done.stderr
    assert "10 kept, 10 dropped" in done.stdout
    assert "sign" in done.stderr
    assert "10 kept, 10 dropped" in dedupe("show", out).stdout
    assert json.loads(dedupe("show", out, "--json").stdout)["reasons"]["exact"] == 10
    dropped = dedupe("show", out, "--row", "0:3").stdout
    assert "Jaccard 1.0000 with the kept row 2" in in_one_line(dropped)
    assert "some words of row 1" in dropped
    kept = dedupe("show", out, "--row", "good.jsonl:2").stdout
    assert "1 row is a duplicate of it" in kept
    for wrong in ("0:99", "7:1", "nothing.jsonl:1", "three"):
        assert dedupe("show", out, "--row", wrong).returncode == 2
    assert dedupe("show", tmp_path).returncode == 2


def test_show_tells_no_text_of_a_corpus_that_changed(tmp_path, good):
    out = tmp_path / "out"
    dedupe("run", good, "--output", out)
    good.write_text(good.read_text().replace("words", "other"))
    done = dedupe("show", out, "--row", "0:3")
    assert "has changed since the run" in in_one_line(done.stdout)
    assert "other of row" not in done.stdout
    assert "Jaccard 1.0000 with the kept row 2" in in_one_line(done.stdout)


def test_quiet_and_json(tmp_path, good):
    done = dedupe("run", good, "--output", tmp_path / "a", "--quiet")
    assert (done.stdout, done.stderr) == ("", "")
    done = dedupe("run", good, "--output", tmp_path / "b", "--quiet", "--json")
    assert json.loads(done.stdout)["corpus"]["rows"] == 20


def test_demo(tmp_path):
    done = dedupe("demo", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "3,273 rows" in done.stdout
    assert done.stdout.count("was dropped: Jaccard") == 3


def test_plan(tmp_path):
    done = dedupe("plan", "--png", tmp_path / "curve.png")
    assert done.returncode == 0, done.stderr
    assert "16 bands x 6 rows" in done.stdout
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads(dedupe("plan", "--corpus-rows", "1000", "--json").stdout)
    assert report["recall_at_threshold"] > 0.99
    assert dedupe("plan", "--corpus-rows", "0").returncode == 2
    done = dedupe("plan", "--png", tmp_path / "nothing" / "curve.png")
    assert done.returncode == 2
    assert "curve.png cannot be written: No such file" in " ".join(done.stderr.split())


def test_bad_text_is_replaced_and_counted(tmp_path):
    path = write(tmp_path / "a.csv", b"text\nfine\nbr\xffken\n")
    done = dedupe("run", path, "--output", tmp_path / "out", "--on-bad-text", "replace")
    assert done.returncode == 0, done.stderr
    assert "1 rows had malformed UTF-8" in done.stdout


@pytest.mark.parametrize("command", ["run", "apply", "audit", "plan", "demo", "show"])
def test_help_has_examples_and_every_option_is_documented(command):
    done = dedupe(command, "--help")
    assert "Examples:" in done.stdout
    reference = (Path(__file__).parents[1] / "docs/reference/commands.md").read_text()
    for parameter in cli.commands[command].params:
        if command == "run" and parameter.name != "corpus":
            assert "E.g." in parameter.help, parameter.name
        for name in [*parameter.opts, *parameter.secondary_opts]:
            if name.startswith("--"):
                assert f"`{name}" in reference, f"{name} is missing in docs/reference/commands.md"
