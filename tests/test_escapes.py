"""Nothing that comes from data steers a terminal: not in `run`, `apply`, `show`, nor in errors."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe, in_one_line
from rich.table import Table
from rich.text import Text

from dedupe.errors import printable
from dedupe.progress import Bars, Lines
from dedupe.screen import console, json_text
from dedupe.storage.checksums import seal, unseal

EVIL = "\x1b[2J\x1b]0;x\x07\x9b31m\r\u202e\u2066"
"""Clears the screen, sets a title, colours, goes back and turns the direction round."""
BODY = "body\x1bc\x07\x9b"
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def harmless(done):
    """What a command printed, if there is nothing in it that steers."""
    for text in done[1:]:
        assert not STEERING.search(text), ascii(text)
        assert "Traceback" not in text
    return done


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A corpus whose names, columns, ids and texts are full of it, and its run."""
    folder = tmp_path_factory.mktemp("evil")
    corpus = folder / f"corpus{EVIL}"
    corpus.mkdir()
    texts = [f"{EVIL} the words of text {i // 2} are told {EVIL} twice in here" for i in range(300)]
    texts[1::2] = [f"{text} or so" for text in texts[1::2]]
    rows = [
        {BODY: text, f"id{EVIL}": f"{EVIL}-{i // 3}", f"kind{EVIL}": f"{EVIL}{i % 2}"}
        for i, text in enumerate(texts)
    ]
    (corpus / f"a{EVIL}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder, corpus


def in_texts(value):
    """All texts in a value, one after the other."""
    if isinstance(value, dict):
        return in_texts([*value.keys(), *value.values()])
    return "".join(map(in_texts, value)) if isinstance(value, list) else str(value)


def run(corpus, out, *more):
    settings = ("--text", BODY, "--id", f"id{EVIL}", "--by", f"kind{EVIL}")
    return dedupe("run", corpus, "--output", out, *settings, "--threshold", "0.6", *more)


def test_a_run_and_what_is_shown_of_it(evil, tmp_path):
    folder, corpus = evil
    out = folder / f"out{EVIL}"
    done = harmless(run(corpus, out, "--keep", f"prefer:kind{EVIL}={EVIL}1,none{EVIL}"))
    assert done.returncode == 0, done.stderr
    assert "rows have the id of an earlier row" in in_one_line(done.stdout)
    for more in (
        ["--row", "0:1"],
        ["--row", "0:0"],
        ["--row", "0:1", "--json"],
        ["--pairs", "5"],
        ["--pairs", "5", "--full", "--by", f"kind{EVIL}"],
        ["--pairs", "5", "--json"],
        ["--stages"],
        ["--json"],
    ):
        shown = harmless(dedupe("show", out, *more))
        assert shown.returncode == 0, shown.stderr
        if "--json" in more:
            assert EVIL in in_texts(json.loads(shown.stdout))
    applied = dedupe("apply", out, "--output", tmp_path / f"clean{EVIL}")
    assert harmless(applied).returncode == 0, applied.stderr
    audited = dedupe("audit", out, "--sample", "50")
    assert harmless(audited).returncode in (0, 1), audited.stderr


MISTAKES = {
    "no column": ['{"BODY": "x"}\n', "--text", "text"],
    "broken JSON": ['{"text": "x"}\n{"text": BODY}\n'],
    "no known shape": ['{"aBODY": 1}\n'],
    "a number": ['{"textBODY": 1}\n', "--text", f"text{EVIL}"],
    "an option": ['{"text": "x"}\n', f"--x{EVIL}"],
    "a policy": ['{"text": "x"}\n', "--keep", EVIL],
    "a choice": ['{"text": "x"}\n', "--cluster", EVIL],
}


@pytest.mark.parametrize("name", MISTAKES)
def test_errors(tmp_path, name):
    content, *more = MISTAKES[name]
    path = tmp_path / f"a{EVIL}.jsonl"
    path.write_text(content.replace("BODY", json.dumps(EVIL)[1:-1]))
    done = harmless(dedupe("run", path, "--output", tmp_path / "out", *more))
    assert done.returncode == 2


def test_errors_of_other_formats(tmp_path):
    csv = tmp_path / f"b{EVIL}.csv"
    csv.write_text(f"text,n\n{EVIL},1\n{EVIL}{EVIL}\n")
    parquet = tmp_path / f"c{EVIL}.parquet"
    pq.write_table(pa.table({f"x{EVIL}": [1]}), parquet)
    for path in (csv, parquet, tmp_path / f"nothing{EVIL}", f"s3:{EVIL}//x"):
        assert harmless(dedupe("run", path, "--output", tmp_path / "out")).returncode == 2
    assert harmless(dedupe("show", tmp_path / EVIL)).returncode == 2


def test_a_summary_that_was_tampered_with(evil, tmp_path):
    _, corpus = evil
    out = tmp_path / "out"
    run(corpus, out)
    path = out / "summary.json"
    summary = unseal("summary", path.read_bytes(), "")
    summary["warnings"] = [f"[link=http://x]{EVIL}[/link] :warning:"]
    path.write_bytes(seal("summary", summary))
    shown = harmless(dedupe("show", out))
    assert "[link=http://x]" in shown.stdout
    assert ":warning:" in shown.stdout


@pytest.mark.parametrize("display", [Lines, Bars])
def test_progress(display, capsys):
    shown = display()
    shown.stage("sign", 2, 1)
    shown.note(f"[bold]compares{EVIL}[/bold]")
    shown.close()
    error = capsys.readouterr().err
    assert "[bold]compares" in error
    assert "\x1b" not in error


def test_rich_keeps_its_own_colours(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    table = Table(EVIL)
    table.add_row(Text(f"words{EVIL}", style="red"))
    console().print(table)
    printed = capsys.readouterr().out
    assert "\x1b[31mwords\ufffd[2J" in printed
    assert "\x1b[2J" not in printed


def test_json_has_the_same_value():
    value = {f"a{EVIL}": ["\ud800", "é\u2028\x7f", "\n\t"]}
    text = json_text(value)
    assert json.loads(text) == value
    assert printable(text) == text
