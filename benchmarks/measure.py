"""A command, run and measured: wall and CPU seconds, memory, of itself and of all it starts.

Processes that outlive their parent come to the one that measures (Linux: a child subreaper), so
the CPU seconds of workers and daemons count, whoever started them. Some daemons (Ray's) do not wait
for their workers, and the system forgets what these used: so CPU seconds are also read while they
run, and the larger sum is taken. Memory of the whole tree is sampled as the sum of the proportional
set sizes: a page that several processes share counts once.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""
SHARE_OF_SAMPLING = 0.05
"""What looking at memory may take of one core."""
PATIENCE = 10.0
"""Seconds that what a command left running has to end by itself, and after SIGTERM."""


@dataclass(frozen=True)
class Usage:
    """What a command took. `returncode` is None when it was ended at its time limit."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    peak_pss_bytes: int
    returncode: int | None


def measured(
    command: list[str], *, tree: bool = True, timeout: float | None = None, **options: Any
) -> Usage:
    """Run a command and everything it starts to the end, or to its time limit.

    `peak_rss_bytes` is the high-water mark of the command's own process. `peak_pss_bytes`, only
    with `tree`, is the most that it and its descendants held together when looked at. `options`
    go to subprocess.Popen.
    """
    _adopt_orphans()
    before = set(descendants())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, **options)
    status = Path(f"/proc/{process.pid}/status")
    own = whole = 0
    seen: dict[int, float] = {}
    late = False
    while process.poll() is None:
        looked = time.process_time()
        own = max(own, _kilobytes(status, "VmHWM:"))
        if tree:
            family = {pid: cpu for pid, cpu in descendants().items() if pid not in before}
            seen |= family
            whole = max(whole, sum(map(_proportional, family)))
        if timeout is not None and time.perf_counter() - start > timeout:
            late = True
            _end(descendants().keys() - before, signal.SIGKILL)
        pause = (time.process_time() - looked) / SHARE_OF_SAMPLING
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(max(pause, 0.05), 1.0))
    wall = time.perf_counter() - start
    _wait_for_the_rest(before)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    cpu = max(cpu, sum(seen.values()))
    return Usage(wall, cpu, own * 1024, whole * 1024, None if late else process.returncode)


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> dict[int, float]:
    """Every process below this one, and its CPU seconds; empty where the system does not tell."""
    children: dict[int, list[int]] = {}
    cpu: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = state.rpartition(")")[2].split()  # from the third of proc(5) on
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        cpu[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    found: dict[int, float] = {}
    front = [os.getpid()]
    while front:
        front = [child for parent in front for child in children.get(parent, ())]
        found.update((pid, cpu[pid]) for pid in front)
    return found


def _proportional(pid: int) -> int:
    return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _kilobytes(path: Path, field: str) -> int:
    """A field of a file of a process; 0 once it is gone."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def _wait_for_the_rest(before: set[int]) -> None:
    """Let what the command left end, or end it; its CPU seconds count once it is waited for."""
    for urge in (None, signal.SIGTERM, signal.SIGKILL):
        left = descendants().keys() - before
        if urge is not None:
            _end(left, urge)
        deadline = time.perf_counter() + PATIENCE
        while left and time.perf_counter() < deadline:
            for pid in left:
                _reap(pid)
            left = descendants().keys() - before
            time.sleep(0.02 if left else 0)
        if not left:
            return


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # a child of another one still
        os.waitpid(pid, os.WNOHANG)


def _end(pids: set[int], urge: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, urge)
