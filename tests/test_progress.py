"""What a run says of itself where there is no terminal, by a clock that is handed in."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import mixed

from dedupe import (
    SettingsError,
    Tuning,
    apply,
    audit,
    audit_splits,
    decontaminate,
    deduplicate,
    split,
)
from dedupe import progress as progress_module
from dedupe.engines import FaultCounts, Stage, attempts
from dedupe.engines.attempts import Attempts, Call, Event, Outcome
from dedupe.engines.local import LocalEngine
from dedupe.progress import WHAT, Bars, Lines, Silent
from dedupe.remote import patience


class Watched(Lines):
    """Lines with a clock of its own, and what they said."""

    def __init__(self):
        self.now = 1000.0
        self.stream = io.StringIO()
        super().__init__(self.stream, lambda: self.now, lambda: "03:12:00")

    @property
    def said(self):
        return self.stream.getvalue().splitlines()

    def goes_on(self, seconds, task="", age=0.0):
        """Time passes, as an engine tells it."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.running(task, age)


def percents(lines):
    return [int(found[1]) for line in lines if (found := re.search(r"about (\d+) % of", line))]


def test_a_line_says_all_that_is_known():
    shown = Watched()
    shown.plan([("sign", 3.0), ("bucket", 1.0)])
    shown.stage("sign", 100, 0)
    for _ in range(40):
        shown.now += 0.25
        shown.advance(1000)
    shown.goes_on(10, "sign task 7 (s3://b/part-7.jsonl)", 15.0)
    assert shown.said == [
        "03:12:00 sign (stage 1 of 2): 40 of 100 tasks, 2,000 rows/s, about 30 % of the run, "
        "about 47 s left, the oldest task is sign task 7 (s3://b/part-7.jsonl), begun 15 s ago"
    ]


def test_a_task_that_lasts_does_not_silence_the_run():
    shown = Watched()
    shown.plan([("sign", 1.0)])
    shown.stage("sign", 1, 0)
    shown.goes_on(3600, "sign task 0", 7300.0)
    assert len(shown.said) >= 3600 / 30
    assert shown.said[-1] == (
        "03:12:00 sign (stage 1 of 1): 0 of 1 tasks, about 0 % of the run, "
        "the oldest task is sign task 0, begun 2 h 2 min ago"
    )


def test_no_line_of_a_run_that_waits_for_workers_names_a_task():
    shown = Watched()
    shown.stage("survey", 8, 0)
    shown.goes_on(25)
    assert shown.said == ["03:12:00 survey: 0 of 8 tasks"]


def test_the_part_of_the_whole_never_falls_and_ends_below_all():
    shown = Watched()
    for _ in range(2):  # a damaged file has all stages looked at once more
        shown.plan([("sign", 5.0), ("bucket", 1.0), ("join", 3.0), ("keep", 1.0)])
        for name, tasks in (("sign", 7), ("bucket", 1), ("keep", 3)):
            shown.stage(name, tasks, 0)
            for _ in range(tasks):
                shown.goes_on(30)
                shown.advance(10)
            shown.goes_on(30)
    found = percents(shown.said)
    assert found == sorted(found)
    assert (found[0], found[-1]) == (0, 99)


def test_what_an_earlier_run_did_tells_nothing_of_the_pace():
    """Half of sign is found; the other half takes 100 s, and so will bucket."""
    shown = Watched()
    shown.plan([("sign", 2.0), ("bucket", 1.0)])
    shown.stage("sign", 10, 5)
    for _ in range(5):
        shown.goes_on(20)
        shown.advance(10)
    shown.stage("bucket", 10, 0)
    shown.goes_on(21)
    assert shown.said[0] == "03:12:00 sign (stage 1 of 2): 5 of 10 tasks were done before"
    assert shown.said[1] == "03:12:00 sign (stage 1 of 2): 5 of 10 tasks, about 33 % of the run"
    assert "about 66 % of the run, about 2 min left" in shown.said[-1]


def test_a_store_that_does_not_answer_is_named_with_the_time(monkeypatch):
    """It is told by whichever thread asks, while the line of the run goes on."""
    monkeypatch.setattr(patience, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(patience, "_told_at", -patience.TELL_SECONDS)
    shown = Watched()
    shown.stage("sign", 3, 0)
    with patience.stalls_told(shown.note), ThreadPoolExecutor(1) as threads:
        waiting = patience.Waiting("s3://silent/work/a")
        threads.submit(waiting.pause, "503 SlowDown").result()
        threads.submit(waiting.answered).result()
    assert shown.said == ["03:12:00 s3://silent/work/a: 503 SlowDown; asked again since 0 s"]


def test_notes_before_the_first_stage_have_no_time():
    shown = Watched()
    shown.note("compares text")
    shown.stage("keep", 2, 0)
    shown.advance(1)
    shown.now += 2.5
    shown.note("node 10.0.0.3 is lost")
    shown.close()
    assert shown.said == [
        "compares text",
        "03:12:00 node 10.0.0.3 is lost",
        "03:12:00 keep: 1 of 2 tasks in 2.5 s",
    ]


# --- who tells it ------------------------------------------------------------------------------


def test_an_engine_names_the_oldest_task(monkeypatch):
    monkeypatch.setattr(attempts, "WATCH_SECONDS", 0.0)
    told = []
    stage = Stage("sign", int, range(3), "sign task {}".format, lambda *one: told.append(one))
    work = Attempts(stage, FaultCounts(), Tuning())
    work.watch()
    now = time.monotonic()
    calls = [Call(None, 0, task, now - age) for task, age in enumerate((5, 60, 30))]
    for call in calls:
        work.begin(call)
    work.watch()
    work.note(Event(calls[1], Outcome.RESULT))
    work.watch()
    assert [(task, round(seconds)) for task, seconds in told] == [
        ("", 0),
        ("sign task 1", 60),
        ("sign task 2", 30),
    ]


def test_the_local_engine_tells_of_a_task_while_it_lasts(monkeypatch):
    monkeypatch.setattr(attempts, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr("dedupe.engines.local.WATCH_SECONDS", 0.01)
    told = threading.Event()
    stage = Stage(
        "sign",
        lambda _: told.wait(30),
        [4],
        "sign task {}".format,
        lambda task, _: told.set() if task == "sign task 4" else None,
    )
    assert list(LocalEngine(1).run(stage)) == [(4, True)]


class Heard(Silent):
    """What a command planned, and which stages came."""

    def __init__(self):
        self.planned = []
        self.came = []

    def plan(self, stages):
        assert all(share > 0 for _, share in stages)
        self.planned = [name for name, _ in stages]
        self.came = []

    def stage(self, name, tasks, done):
        assert name in WHAT
        self.came.append(name)


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "a.jsonl"
    texts = [f"some words of row {i // 2} that come twice, as it is" for i in range(40)]
    path.write_text("".join(f'{{"text": "{text}"}}\n' for text in texts))
    return path


@pytest.mark.parametrize("how", [{}, {"recall": "exact"}, {"near": False}])
def test_a_run_and_what_is_made_of_it_plan_the_stages_that_come(rows, tmp_path, how):
    heard = Heard()
    deduplicate(rows, tmp_path / "out", progress=heard, **how)
    assert heard.came == heard.planned
    apply(tmp_path / "out", tmp_path / "clean", progress=heard)
    assert heard.came == heard.planned == ["apply"]
    if how.get("near", True):
        audit(tmp_path / "out", progress=heard)
        assert heard.came == heard.planned


def test_splits_and_test_sets_plan_the_stages_that_come(rows, tmp_path):
    heard = Heard()
    chosen = {"group": "text", "stratify": "text", "lengths": 2, "progress": heard}
    split(rows, tmp_path / "splits", **chosen)
    assert heard.came == heard.planned
    deduplicate(rows, tmp_path / "out")
    split(tmp_path / "out", tmp_path / "again", previous=tmp_path / "splits", progress=heard)
    assert heard.came == heard.planned
    assert {"dropped", "earlier", "keys", "pin", "relate", "rounds"} < set(heard.came)
    audit_splits(tmp_path / "splits", progress=heard)
    apply(tmp_path / "splits", tmp_path / "data", progress=heard)
    question = "some words of row 3 that come twice, as it is and as it was before"
    items = [{"question": question}]
    decontaminate(rows, tmp_path / "held", evals=items, progress=heard)
    assert {"items", "scan", "common", "match"} < set(heard.came)
    deduplicate(rows, tmp_path / "both", evals=items, progress=heard)
    assert heard.came == heard.planned


def test_one_cluster_of_most_rows_is_measured_on_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    pq.write_table(pa.table({"text": ["the same text in each row"] * 300}), tmp_path / "a.parquet")
    with pytest.raises(SettingsError, match="one cluster has 300 of 300 rows"):
        split(tmp_path / "a.parquet", tmp_path / "splits", progress=Bars())


def test_an_audit_of_all_rows_plans_its_blocks(tmp_path):
    pq.write_table(pa.table({"text": mixed(500, seed=4)}), tmp_path / "a.parquet")
    deduplicate(tmp_path / "a.parquet", tmp_path / "out")
    heard = Heard()
    small = Tuning(join_memory=60_000, batch_bytes=3000, audit_text=20_000, keep_rows=100)
    audit(tmp_path / "out", full=True, tuning=small, progress=heard)
    assert heard.planned[:5] == heard.came[:5] == ["rows", "claims", "sample", "scan", "count"]
    blocks = heard.came.count("count")
    assert blocks > 3
    assert heard.planned.count("count") == pytest.approx(blocks, rel=0.5)


def test_bars_have_words_for_every_stage(rows, tmp_path, monkeypatch):
    """A run that has to look for a column in all rows, and an audit."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    late = tmp_path / "late.jsonl"
    late.write_text('{"id": 1}\n' * 1200 + rows.read_text())
    deduplicate(late, tmp_path / "out", text="text", progress=Bars())
    audit(tmp_path / "out", progress=Bars())
    assert "sign" in sys.stderr.getvalue()
    split(rows, tmp_path / "splits", group="text", progress=Bars())
    split(rows, tmp_path / "more", previous=tmp_path / "splits", progress=Bars())
    audit_splits(tmp_path / "splits", progress=Bars())
    decontaminate(rows, tmp_path / "held", evals=[{"question": "what is it"}], progress=Bars())
    assert "rounds" in sys.stderr.getvalue()


def test_the_bar_of_the_whole_says_stage_and_time_left(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    now = [0.0]
    monkeypatch.setattr("dedupe.progress.time.monotonic", lambda: now[0])
    bars = Bars()
    bars.plan([("sign", 3.0), ("keep", 1.0)])
    bars.stage("sign", 4, 0)
    for _ in range(2):
        now[0] += 30.0
        bars.advance(100)
    (whole, _) = bars._progress.tasks
    assert whole.percentage == 37
    assert whole.fields["said"] == "stage 1 of 2, about 100 s left"
    bars.close()
    assert "stage 1 of 2, about 100 s left" in sys.stderr.getvalue()
    before = len(sys.stderr.getvalue())
    bars.stage("look", 1, 0)  # another command goes on with them
    bars.advance(5)
    bars.close()
    after = sys.stderr.getvalue()[before:]
    assert "look" in after
    assert "stage 1 of 2" not in after
    assert not progress_module._shown


def test_bars_are_gone_when_a_command_ends_at_once(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bars = Bars()
    bars.stage("sign", 2, 0)
    assert bars._progress.live.is_started
    progress_module.stop_bars()
    assert not bars._progress.live.is_started
    assert not progress_module._shown


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_where_a_person_watches(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert isinstance(progress_module.usual_progress(), Silent)
    shell = types.SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert isinstance(progress_module.usual_progress(), Silent)
    shell.kernel = "one"
    assert isinstance(progress_module.usual_progress(), Lines)
    monkeypatch.setattr(sys, "stderr", Terminal())
    shown = progress_module.usual_progress()
    assert isinstance(shown, Bars)
    shown.close()


def test_a_mistake_is_one_line_in_a_notebook():
    with pytest.raises(SettingsError) as raised:
        deduplicate([], threshold=2.0)
    (line,) = raised.value._render_traceback_()
    assert line.startswith("SettingsError: threshold is 2.0")
    assert "\n" not in line
    assert SettingsError("a\x1b[31mb")._render_traceback_() != ["SettingsError: a\x1b[31mb"]
