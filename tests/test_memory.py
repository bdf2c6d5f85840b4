"""What is planned is held against what is measured: memory of each stage, and bytes on the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe.config import Resources, Settings
from dedupe.planning.banding import plan_banding
from dedupe.planning.estimate import estimate, workload
from dedupe.planning.sizes import Planner
from dedupe.tasks.costs import COSTS, STAGE_COSTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path("/proc/self/clear_refs").exists(), reason="peaks of stages need Linux"
    ),
]

ROWS, WORDS, THREADS, MEMORY = 60_000, 170, 2, "2GB"

ABOVE = 0.1
"""A peak may be so much more than its estimate, as a part of it."""

FIXED = 50_000_000
"""Bytes that a stage may take besides, however small it is: libraries that its first task loads,
buffers of a writer."""

LEAST = 0.3
"""The peak of a run is at least this part of its estimate: memory is not asked for in vain."""

DISK = 1.6
"""Bytes on the disk are the estimate, but for this factor either way."""

RUN = """
import json, re, sys
from dedupe import deduplicate
from dedupe.progress import Silent


def status(name):
    text = open("/proc/self/status").read()
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+)", text)[1])


class Peaks(Silent):
    def __init__(self):
        self.peaks, self.name = {}, None

    def stage(self, name, tasks, done):
        self.close()
        self.name = name
        open("/proc/self/clear_refs", "w").write("5")  # the peak is what is used now
        self.before = status("VmRSS")

    def close(self):
        if self.name:
            self.peaks[self.name] = (self.before, status("VmHWM"))
        self.name = None


corpus, out, workers, memory = sys.argv[1:]
peaks = Peaks()
result = deduplicate(corpus, out, workers=int(workers), memory=memory, progress=peaks)
print(json.dumps({"peaks": peaks.peaks, "summary": result.summary}))
"""


def make_corpus(path):
    """Rows of 170 words, of which 40 % are near a row before them."""
    random_ = np.random.default_rng(4)
    vocabulary = np.array([f"w{n:05x}" for n in random_.integers(0, 1 << 20, 30_000)])
    drawn = random_.integers(0, len(vocabulary), (ROWS, WORDS))
    for row in np.flatnonzero(random_.random(ROWS) < 0.2)[1:]:
        drawn[row] = drawn[row - 1]
        drawn[row, random_.integers(0, WORDS, 2)] = 7
    texts = [" ".join(words) for words in vocabulary[drawn].tolist()]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=5_000)
    return sum(map(len, texts))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run in a process of its own: peaks of its stages, its summary, and what was planned."""
    folder = tmp_path_factory.mktemp("memory")
    size = make_corpus(folder / "corpus.parquet")
    given = [str(folder / "corpus.parquet"), str(folder / "out"), str(THREADS), MEMORY]
    command = [sys.executable, "-c", RUN, *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    summary = found["summary"]
    planner, resources = Planner(COSTS), Resources.of(THREADS, MEMORY)
    share = summary["components"]["rows"] / ROWS
    bands = plan_banding(Settings()).bands
    work = workload(planner, resources, ROWS, size // ROWS, bands, share, "word")
    return found["peaks"], summary, estimate(planner, resources, work, STAGE_COSTS)


def test_no_stage_takes_more_memory_than_was_planned(measured):
    """Besides what the process has from stages before: it does not give all of it back."""
    peaks, _, planned = measured
    assert planned.stages.keys() <= peaks.keys()
    for name, stage in planned.stages.items():
        before, peak = peaks[name]
        most = stage.memory * (1 if stage.alone else THREADS)
        assert peak - before <= most * (1 + ABOVE) + FIXED, name


def test_a_run_takes_the_memory_that_was_planned(measured):
    peaks, _, planned = measured
    peak = max(peak for _, peak in peaks.values())
    assert peaks["sign"][0] <= COSTS.base * (1 + ABOVE)
    assert LEAST * planned.peak_memory <= peak <= planned.peak_memory * (1 + ABOVE)
    assert planned.peak_memory <= planned.memory


LEFT = {
    "sign": ("sign",),
    "bucket": ("bucket", "components"),
    "route": ("route",),
    "group": ("group", "verify"),
    "fetch": ("fetch",),
}
"""The stages whose files an estimate has in one number."""


def test_stages_leave_the_bytes_that_were_planned(measured):
    _, summary, planned = measured
    left = summary["exchange_bytes"]
    told = {name: sum(left[one] for one in stages) for name, stages in LEFT.items()}
    for name, found in told.items():
        assert found <= planned.stages[name].disk * DISK, (name, found)
    for name in ("sign", "fetch"):
        assert found_at_least(told[name], planned.stages[name].disk), name
    in_all = sum(told.values())
    assert in_all <= planned.work_disk * DISK
    assert found_at_least(in_all, planned.work_disk)


def found_at_least(found, planned):
    return found * DISK >= planned


def test_stages_are_cut_into_the_tasks_that_were_planned(measured):
    _, summary, planned = measured
    for name, stage in planned.stages.items():
        tasks = summary["stages"][name]["tasks"]
        if name != "keep":  # whose tasks are shards
            assert tasks <= 2 * stage.tasks + 1, name
            assert 2 * tasks + 1 >= stage.tasks, name
