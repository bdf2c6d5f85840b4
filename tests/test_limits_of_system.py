"""What the system refuses: disks that fail, quotas, addresses, and an output that others make."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe import SettingsError, WorkDirError, apply, deduplicate
from dedupe.machine import least_address_space
from dedupe.progress import Silent
from dedupe.storage.disk_files import DiskFiles


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"words of row {n // 2} of some" for n in range(50)]}), path)
    return path


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.EIO, "Input/output error"), (errno.EDQUOT, "quota is used up"), (errno.ENOSPC, "full")],
)
@pytest.mark.parametrize("place", ["writing", "read_ranges"])
def test_a_disk_that_fails_is_told_with_its_file_and_a_remedy(
    tmp_path, corpus, monkeypatch, number, said, place
):
    if place == "read_ranges" and number != errno.EIO:
        pytest.skip("reading needs no room")

    def failing(self, *_):
        raise OSError(number, os.strerror(number), self.path("some.arrow"))

    with monkeypatch.context() as patched:
        patched.setattr(DiskFiles, place, failing)
        with pytest.raises(WorkDirError) as caught:
            deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work")
    told = str(caught.value)
    assert said in told
    assert "--work-dir" in told
    assert str(tmp_path / "work") in told
    assert deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work").kept == 25


class Meanwhile(Silent):
    """Does something when a stage begins."""

    def __init__(self, what):
        self.what = what

    def stage(self, name, tasks, done):
        if name in ("keep", "apply"):
            self.what()


def test_two_commands_never_make_one_output(tmp_path, corpus):
    def other():
        with pytest.raises(WorkDirError, match=r"another command is making .*out: wait"):
            deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work-2")

    first = Meanwhile(other)
    deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work-1", progress=first)

    def another():
        with pytest.raises(WorkDirError, match=r"another command is making .*clean: wait"):
            apply(tmp_path / "out", tmp_path / "clean", work_dir=tmp_path / "work-4")

    apply(
        tmp_path / "out", tmp_path / "clean", work_dir=tmp_path / "w", progress=Meanwhile(another)
    )
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
    assert left == set()


def test_an_output_that_appears_meanwhile_is_said(tmp_path, corpus):
    def appears():
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("of somebody else")

    with pytest.raises(WorkDirError, match=r"out (appeared while|exists and is not)"):
        deduplicate(corpus, tmp_path / "out", progress=Meanwhile(appears))
    assert (tmp_path / "out" / "mine").read_text() == "of somebody else"


def test_the_claim_of_a_killed_command_is_nobodys(tmp_path, corpus):
    (tmp_path / ".out.claim").mkdir()
    assert deduplicate(corpus, tmp_path / "out").kept == 25
    assert not (tmp_path / ".out.claim").exists()
    (tmp_path / ".out.claim").mkdir()
    assert deduplicate(corpus, tmp_path / "out").kept == 25  # was finished
    assert not (tmp_path / ".out.claim").exists()


RUN = """
import resource, sys
limit = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from dedupe.cli import main
sys.argv = ["dedupe", "run", sys.argv[1], "--output", sys.argv[2], "--quiet"]
main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound addresses")
def test_too_few_addresses_are_told_before_libraries_hang(tmp_path, corpus):
    limit = least_address_space() - 1_000_000
    command = [sys.executable, "-c", RUN, corpus, tmp_path / "out", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ulimit -v" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY


def test_too_few_addresses_are_told_in_python_too(tmp_path, corpus, monkeypatch):
    monkeypatch.setattr("dedupe.session.address_space", lambda: 10**9)
    with pytest.raises(SettingsError, match="ulimit"):
        deduplicate(corpus, tmp_path / "out")
