"""What becomes of the display never ends a command, and its exit code stays its own."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import subprocess
import sys
import time

import pytest

from dedupe import Result, deduplicate
from dedupe.progress import Bars, Lines
from dedupe.screen import Lasting


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    rows = [{"text": f"some words of row {i // 2} that come twice"} for i in range(40)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    deduplicate(folder / "a.jsonl", folder / "done")
    return folder


def shell(here, command):
    """How a line of bash ended, in which DEDUPE is the program."""
    line = command.replace("DEDUPE", f"{sys.executable} -m dedupe")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


SINKS = {
    "stderr is closed": "2>&-",
    "stderr is full": "2>/dev/full",
    "stderr ends": "2>&1 >/dev/null | head -c 1 >&2",
    "all is closed": "<&- >&- 2>&-",
    "both end": "2>&1 | head -c 1",
    "stdout ends": "| true",
}


@pytest.mark.parametrize("name", SINKS)
def test_a_run_goes_on_whatever_becomes_of_its_display(here, name, tmp_path):
    out = tmp_path / "out"
    done = shell(here, f"DEDUPE run a.jsonl --output {out} {SINKS[name]}")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert Result(out).mask().tolist() == Result(here / "done").mask().tolist()


@pytest.mark.parametrize("sink", ["2>&-", "2>/dev/full", "2>&1 | head -c 0"])
def test_an_error_that_nobody_sees_is_one_all_the_same(here, sink):
    assert shell(here, f"DEDUPE run nothing.jsonl --output new {sink}").returncode == 2


@pytest.mark.parametrize("what", ["show done", "show done --json", "show done --pairs 3", "--help"])
def test_output_of_which_only_the_beginning_is_read(here, what):
    done = shell(here, f"DEDUPE {what} | true")
    assert done.returncode == 0
    assert done.stderr in ("", f"reads 6 rows of {here / 'a.jsonl'}\n")


def test_output_that_has_no_room_is_an_error(here):
    done = shell(here, "DEDUPE show done --json >/dev/full")
    assert done.returncode == 2
    assert done.stderr == "dedupe: standard output: [Errno 28] No space left on device\n"


def test_a_terminal_that_goes_away(here, tmp_path):
    """A terminal's other end is closed while the run shows bars on it."""
    ours, theirs = pty.openpty()
    out = tmp_path / "out"
    command = f"trap '' HUP; exec {sys.executable} -m dedupe run a.jsonl --output {out}"
    process = subprocess.Popen(
        ["bash", "-c", command], cwd=here, stdout=theirs, stderr=theirs, stdin=theirs
    )
    os.close(theirs)
    while process.poll() is None and not (tmp_path / "out.work").exists():
        time.sleep(0.01)
    os.close(ours)
    assert process.wait(60) == 0
    assert (out / "summary.json").exists()


class Failing(io.StringIO):
    """A stream that fails from the second write on."""

    def write(self, text):
        if self.getvalue():
            raise OSError(errno.EIO, "Input/output error")
        return super().write(text)


@pytest.mark.parametrize("display", [Lines, Bars])
def test_progress_in_a_program_of_its_own(here, tmp_path, monkeypatch, display):
    stream = Failing()
    monkeypatch.setattr(sys, "stderr", stream)
    result = deduplicate(here / "a.jsonl", tmp_path / "out", progress=display())
    assert result.kept == 20
    assert stream.getvalue()


def test_a_stream_that_lasts():
    nowhere = Lasting(None)
    assert nowhere.write("abc") == 3
    assert not nowhere.isatty()
    closed = io.StringIO()
    closed.close()
    stream = Lasting(closed)
    stream.write("abc")
    stream.flush()
    assert isinstance(stream.error, ValueError)
    assert stream.lost is None
    raw = io.BytesIO()
    ascii_only = Lasting(io.TextIOWrapper(raw, encoding="ascii"))
    ascii_only.write("naïve …\n")
    ascii_only.flush()
    assert raw.getvalue() == b"na?ve ?\n"
