"""However a command ends, the same command ends it: the same bytes, and nothing left beside them.

Commands are killed before an operation of files: all over them, and at each one from the moment at
which their output is put together.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal

import corpora
import pyarrow as pa
import pytest
from commands import dedupe, in_one_line
from giving import OUTPUTS, give, prepare

from dedupe import Result, WorkDirError, apply, deduplicate
from dedupe.storage.disk_files import DiskFiles, hidden_folder

KILLED = """
import json, sys
from pathlib import Path
import moments
from dedupe import Tuning
from giving import give

folder, command, last, fresh, counted = sys.argv[1:]
operations = moments.FileOperations(Path(folder) / "made", int(last) or None)
tuning = Tuning(task_text=20_000, task_rows=100)
how = {"workers": 2, "tuning": tuning, "fresh": fresh == "fresh"}
give(command, Path(folder).parent, Path(folder) / "made", **how)
Path(counted).write_text(json.dumps(operations.done))
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A corpus, and what commands make of it."""
    folder = tmp_path_factory.mktemp("killed")
    prepare(folder, corpora.mixed(400, seed=5))
    return folder


def content(folder):
    """Every file by its name but what is said of it, which has times and places."""
    said = ("summary.json", "_dedupe.json")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in said]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def killed_and_again(here, forks, command, last, *, fresh=False):
    """Kill a command before an operation, and give it again; what is wrong then."""
    folder = here / "again"
    made = folder / "made"
    made.mkdir(parents=True)
    word = "fresh" if fresh else "resume"
    done = forks.run(KILLED, folder, command, last, word, folder / "counted")
    try:
        assert done.returncode == -signal.SIGKILL, done.stderr
        give(command, here, made, fresh=fresh)
        names = OUTPUTS[command]
        left = [path for path in made.rglob("*") if path.relative_to(made).parts[0] not in names]
        assert not left, f"killed before operation {last}"
        for name in names:
            assert content(made / name) == content(here / name)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", params=list(OUTPUTS))
def command(request, here, forks):
    """A command, with the operations of files of a whole one."""
    folder = here / "counting"
    (folder / "made").mkdir(parents=True)
    done = forks.run(KILLED, folder, request.param, 0, "resume", folder / "counted")
    assert done.returncode == 0, done.stderr
    operations = json.loads((folder / "counted").read_text())
    shutil.rmtree(folder)
    return request.param, operations


@pytest.mark.parametrize("fresh", [False, True], ids=["resume", "fresh"])
def test_killed_while_it_works_and_while_it_publishes(here, forks, command, fresh):
    name, operations = command
    publishing = next(n for n, one in enumerate(operations, 1) if ".new" in one)
    draw = random.Random(f"{name} {fresh}")
    before, after = range(1, publishing), range(publishing, len(operations) - 1)
    for last in [*draw.sample(before, 2), *draw.sample(after, 6)]:
        killed_and_again(here, forks, name, last, fresh=fresh)


@pytest.mark.slow
def test_sixty_kills(here, forks, command):
    name, operations = command
    draw = random.Random(name)
    publishing = next(n for n, one in enumerate(operations, 1) if ".new" in one)
    before, after = range(1, publishing), range(publishing, len(operations) - 1)
    few = 1 if name in ("run", "apply") else 4
    for last in [*draw.sample(before, 12 // few), *draw.sample(after, 20 // few)]:
        killed_and_again(here, forks, name, last, fresh=bool(last % 2))


def test_a_finished_run_is_said_to_be_and_shown(here, tmp_path):
    command = ["run", here / "corpus", "--output", tmp_path / "out"]
    first = dedupe(*command)
    before = (tmp_path / "out" / "summary.json").read_bytes()
    for more in ([], ["--fresh"], ["--workers", "1"]):
        done = dedupe(*command, *more)
        assert done.returncode == 0, done.stderr
        assert "was finished already" in in_one_line(done.stderr)
        assert done.stdout == first.stdout
    assert (tmp_path / "out" / "summary.json").read_bytes() == before
    quiet = dedupe(*command, "--quiet", "--json")
    assert json.loads(quiet.stdout)["corpus"]["rows"] == 400
    assert quiet.stderr == ""


def test_a_finished_output_of_another_command_stays(here, tmp_path):
    out = tmp_path / "out"
    deduplicate(here / "corpus", out)
    before = content(out)
    for fresh in (False, True):
        with pytest.raises(
            WorkDirError, match=r"another command:\n  settings threshold: 0\.8 before"
        ):
            deduplicate(here / "corpus", out, threshold=0.7, fresh=fresh)
        with pytest.raises(WorkDirError, match=r"2\.jsonl is not in the corpus any more"):
            deduplicate([here / "corpus/0.jsonl", here / "corpus/1.jsonl"], out, fresh=fresh)
    with pytest.raises(WorkDirError, match="not an empty directory"):
        deduplicate(pa.table({"text": ["a"]}), out)
    assert content(out) == before
    assert os.listdir(tmp_path) == ["out"]


def test_a_corpus_that_changed_is_another_command(here, tmp_path):
    shutil.copytree(here / "corpus", tmp_path / "corpus")
    deduplicate(tmp_path / "corpus", tmp_path / "out")
    os.utime(tmp_path / "corpus" / "1.jsonl", (1, 1))
    with pytest.raises(WorkDirError, match=r"1\.jsonl has changed"):
        deduplicate(tmp_path / "corpus", tmp_path / "out")


def test_apply_that_was_finished(here, tmp_path):
    clean, dropped = tmp_path / "clean", tmp_path / "dropped"
    first = apply(here / "out", clean, dropped=dropped)
    second = apply(here / "out", clean, dropped=dropped, fresh=True)
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    for other in ({"dropped": None}, {"rows_per_file": 9, "dropped": dropped}):
        with pytest.raises(WorkDirError, match="not an empty directory"):
            apply(here / "out", clean, **other)
    shutil.rmtree(dropped)
    with pytest.raises(WorkDirError, match="not an empty directory"):
        apply(here / "out", clean, dropped=dropped)
    assert content(clean) == content(here / "clean")


def test_only_what_a_killed_command_left_is_swept(here, tmp_path):
    out = tmp_path / "out"
    token = "0123456789abcdef"
    mine = [f".out.{token}.old", f".out2.{token}.new", f"out.{token}.new", ".out.notes.new"]
    left = [f".out.{token}.new", f".out.work.{token}.new"]
    for name in mine + left:
        (tmp_path / name / "keep").mkdir(parents=True)
    (tmp_path / f".out.{token[::-1]}.new").write_text("a file")
    (tmp_path / f".out.{token[:15]}0.new").symlink_to(tmp_path / mine[0])
    with hidden_folder(out) as used:
        deduplicate(here / "corpus", out)
        assert used.exists()
    kept = [*mine, f".out.{token[::-1]}.new", f".out.{token[:15]}0.new", "out"]
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    (tmp_path / left[0] / "keep").mkdir(parents=True)
    deduplicate(here / "corpus", out)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_work_of_another_command_beside_a_finished_output_stays(here, tmp_path, forks):
    folder = here / "other"
    (folder / "made").mkdir(parents=True)
    forks.run(KILLED, folder, "run", 150, "resume", folder / "counted")
    work = folder / "made" / "out.work"
    assert (work / "run.json").exists()
    out = folder / "made" / "out"
    deduplicate(here / "corpus", out, threshold=0.7, work_dir=tmp_path / "work")
    assert Result(out).rows == 400
    deduplicate(here / "corpus", out, threshold=0.7)
    assert (work / "run.json").exists()


def test_staged_files_beside_an_output_are_removed_but_those_of_the_run(tmp_path):
    for run in ("dedupe-00000000", "dedupe-11111111"):
        (tmp_path / f".clean.{run}.kept" / "a").mkdir(parents=True)
    (tmp_path / ".clean.notes.kept").mkdir()
    files = DiskFiles(tmp_path / "clean")
    files.remove_staged(other_than="dedupe-11111111")
    assert sorted(os.listdir(tmp_path)) == [".clean.dedupe-11111111.kept", ".clean.notes.kept"]
    files.remove_staged()
    assert os.listdir(tmp_path) == [".clean.notes.kept"]
