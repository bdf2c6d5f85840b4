"""Runs that are killed go on where they were, and end in the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import STAGES
from moments import At

from dedupe import CorpusError, Result, Tuning, WorkDirError, apply, deduplicate
from dedupe.engines import Stage
from dedupe.engines.local import LocalEngine

KILLED = """
import sys
from pathlib import Path
import moments
from dedupe import Tuning, deduplicate

stage, when, done, recall, corpus, output = sys.argv[1:]
what = moments.kill
if when == "before":
    what = moments.kill_uncommitted(Path(output + ".work"), stage)
tuning = Tuning(task_text=20_000, task_rows=100, bucket_records=3000, fan_in=3)
progress = moments.At(stage, what, int(done))
deduplicate(corpus, output, workers=2, recall=recall, tuning=tuning, progress=progress)
"""
"""A run that ends when a task of a stage is committed, or has written its files before that."""


def kill_run(forks, stage, when, done, corpus, output, recall="0.99"):
    killed = forks.run(KILLED, stage, when, done, recall, corpus, output)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not output.exists()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    texts = corpora.mixed(1500, seed=21)
    for number in range(3):
        part = pa.table({"text": pa.array(texts[500 * number : 500 * (number + 1)], pa.string())})
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=120)
    return folder


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory):
    return deduplicate(corpus, tmp_path_factory.mktemp("reference") / "out")


@pytest.fixture(scope="module")
def joined(corpus, tmp_path_factory):
    return deduplicate(corpus, tmp_path_factory.mktemp("joined") / "out", recall="exact")


def bytes_of(result):
    return [file.read_bytes() for file in result.files]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_in_a_stage_and_resumed(corpus, reference, joined, tmp_path, forks, stage, when):
    output = tmp_path / "out"
    recall, expected = ("exact", joined) if stage == "join" else ("0.99", reference)
    done = 1 if stage in ("components", "group", "verify", "keep", "join") else 2
    kill_run(forks, stage, when, done, corpus, output, recall)
    other = {"workers": 7, "memory": "700MB"} if when == "after" else {}
    result = deduplicate(corpus, output, recall=recall, tuning=Tuning(fan_in=3), **other)
    assert bytes_of(result) == bytes_of(expected)
    stages = result.summary["stages"]
    for name in STAGES[: STAGES.index(stage)]:
        if name in stages:
            assert stages[name]["resumed"] == stages[name]["tasks"]
    assert stages[stage]["resumed"] >= (done if when == "after" else done - 1)
    assert not output.with_name("out.work").exists()


def test_killed_again_and_again(corpus, reference, tmp_path):
    output = tmp_path / "out"
    for seconds in (0.9, 1.1, 1.3, 1.5):
        command = [sys.executable, "-m", "dedupe", "run", str(corpus), "--output", str(output)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.kill()
        process.wait()
        if output.exists():
            break
    result = Result(output) if output.exists() else deduplicate(corpus, output)
    assert bytes_of(result) == bytes_of(reference)


def test_other_settings_say_what_differs(corpus, tmp_path, forks):
    output = tmp_path / "out"
    kill_run(forks, "verify", "before", 1, corpus, output)
    with pytest.raises(WorkDirError, match=r"settings threshold: 0\.8 before, 0\.9 now"):
        deduplicate(corpus, output, threshold=0.9)
    assert not output.exists()
    fresh = deduplicate(corpus, output, threshold=0.9, fresh=True)
    assert fresh.summary["settings"]["threshold"] == 0.9


def test_a_run_goes_on_as_it_was_cut_whatever_the_tuning(corpus, reference, tmp_path, forks):
    kill_run(forks, "route", "before", 1, corpus, tmp_path / "out")  # with a tuning of its own
    assert bytes_of(deduplicate(corpus, tmp_path / "out")) == bytes_of(reference)


def copy_of(corpus, tmp_path):
    """A copy of the corpus, which a test may change."""
    return shutil.copytree(corpus, tmp_path / "corpus", copy_function=shutil.copyfile)


def test_a_changed_corpus_says_which_file(corpus, tmp_path, forks):
    copy = copy_of(corpus, tmp_path)
    output = tmp_path / "out"
    kill_run(forks, "route", "before", 1, copy, output)
    os.utime(copy / "part-1.parquet", (1, 1))
    with pytest.raises(WorkDirError, match=r"part-1\.parquet changed after"):
        deduplicate(copy, output)


@pytest.mark.parametrize("how", ["written", "replaced", "the same"])
def test_a_file_of_the_same_size_and_time_is_another_one(corpus, tmp_path, forks, how):
    copy = copy_of(corpus, tmp_path)
    output = tmp_path / "out"
    kill_run(forks, "route", "before", 1, copy, output)
    changed = copy / "part-1.parquet"
    status, data = changed.stat(), changed.read_bytes()
    if how == "written":
        changed.write_bytes(data)
        os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif how == "replaced":
        (tmp_path / "new").write_bytes(data)
        os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "new").replace(changed)
    if how == "the same":
        assert deduplicate(copy, output).rows > 0
    else:
        with pytest.raises(WorkDirError, match=r"^\S+part-1\.parquet changed after"):
            deduplicate(copy, output)


def test_a_copy_of_the_corpus_is_the_corpus_of_a_finished_run(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "corpus")
    deduplicate(tmp_path / "corpus", tmp_path / "out")
    (tmp_path / "corpus").rename(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "corpus")  # with the times of the files
    assert apply(tmp_path / "out", tmp_path / "clean")["kept"] > 0


def test_a_corpus_that_changes_during_the_run_is_refused(corpus, tmp_path):
    copy = copy_of(corpus, tmp_path)
    touched = At("bucket", lambda: os.utime(copy / "part-2.parquet", (1, 1)))
    with pytest.raises(CorpusError, match="changed during the run"):
        deduplicate(copy, tmp_path / "out", progress=touched)
    assert not (tmp_path / "out").exists()


def test_work_dir_stays_where_it_was_named(corpus, reference, tmp_path):
    first = deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work")
    assert (tmp_path / "work" / "run.json").exists()
    again = deduplicate(corpus, tmp_path / "again", work_dir=tmp_path / "work")
    assert bytes_of(first) == bytes_of(again)
    assert again.summary["stages"]["sign"]["resumed"] > 0
    assert bytes_of(first) == bytes_of(reference)


def test_a_folder_that_is_no_work_directory_is_left_alone(corpus, tmp_path):
    precious = tmp_path / "work" / "keep" / "precious"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    for fresh in (False, True):
        with pytest.raises(WorkDirError, match="not empty and no work directory"):
            deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work", fresh=fresh)
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("damage", ["lost", "emptied", "a byte short", "cut to pages"])
def test_a_damaged_keep_list_file_is_not_published(corpus, reference, tmp_path, damage):
    """A power cut leaves files that were renamed and not flushed: such a one is made again."""
    work = tmp_path / "work"
    deduplicate(corpus, tmp_path / "out", work_dir=work)
    file = next(work.glob("*/keep/*.parquet"))
    size = file.stat().st_size
    left = {"emptied": 0, "a byte short": size - 1, "cut to pages": size // 4096 * 4096}
    if damage == "lost":
        file.unlink()
    else:
        os.truncate(file, left[damage])
    again = deduplicate(corpus, tmp_path / "again", work_dir=work)
    assert bytes_of(again) == bytes_of(reference)
    assert again.summary["faults"]["damaged_files"] == 1
    assert file.stat().st_size == size


def test_what_is_nobodys_in_a_work_directory_stays(corpus, tmp_path):
    work = tmp_path / "work"
    deduplicate(corpus, tmp_path / "out", work_dir=work)
    mine = ["dedupe-datasets/a", "dedupe-12345678x/a", "dedupe-ABCDEF01/a", ".mine.tmp", "notes"]
    mine += [".folder.0123456789abcdef.tmp/a"]
    killed = ["dedupe-0123abcd/sign/00000.json", ".run.json.0123456789abcdef.tmp"]
    killed += [".probe.5-0000abcd.tmp"]
    for name in mine + killed:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("{}")
    deduplicate(corpus, tmp_path / "again", work_dir=work)
    assert all((work / name).exists() for name in mine)
    assert not any((work / name).exists() for name in killed)
    deduplicate(corpus, tmp_path / "anew", work_dir=work, fresh=True)
    assert all((work / name).exists() for name in mine)


def test_results_of_tasks_that_ran_beside_a_failing_one_count():
    ready = threading.Barrier(3)

    def function(task):
        ready.wait(30)
        if task == 1:
            raise CorpusError("is bad", path="x")
        time.sleep(0.05 * task)
        return {"rows": task}

    given = LocalEngine(3).run(Stage("sign", function, range(3, 0, -1), str))
    assert [next(given) for _ in range(2)] == [(2, {"rows": 2}), (3, {"rows": 3})]
    with pytest.raises(CorpusError, match="is bad"):
        next(given)


def test_two_runs_do_not_share_a_work_directory(corpus, tmp_path):
    import fcntl

    work = tmp_path / "work"
    work.mkdir()
    folder = os.open(work, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        with pytest.raises(WorkDirError, match="another run is using"):
            deduplicate(corpus, tmp_path / "out", work_dir=work)
    finally:
        os.close(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_interrupt_ends_at_once_and_leaves_work_to_resume(tmp_path, reference, corpus, number):
    big = tmp_path / "big.jsonl"
    line = json.dumps({"text": " ".join(f"w{i}" for i in range(400))})
    with big.open("w") as file:
        for _ in range(40_000):
            file.write(line + "\n")
    output = tmp_path / "out"
    command = [sys.executable, "-m", "dedupe", "run", str(big), "--output", str(output)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    work = tmp_path / "out.work"
    while process.poll() is None and not any(work.glob("*/sign/*.json")):
        time.sleep(0.01)
    process.send_signal(number)
    start = time.monotonic()
    message = process.communicate()[1]
    assert process.returncode == 128 + number
    assert "the same command goes on from there" in message
    assert time.monotonic() - start < 5
    assert not output.exists()
    assert deduplicate(big, output).kept == 1
