"""A command, run and measured: wall and CPU seconds, memory and disk, of itself and all it starts.

Processes that outlive their parent come to the one that measures (Linux: a child subreaper), so
their CPU seconds count. Some daemons (Ray's) do not wait for their workers, and the system forgets
what these used: so CPU seconds are also read while they run, and the larger sum is taken.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
SHARE_OF_SAMPLING = 0.02  # of one core, for looking at memory and disk
PATIENCE = 10.0  # seconds for what a command left running to end, by itself and after each signal


@dataclass
class Usage:
    """What a command took; `returncode` is None when it was ended at its time limit.

    `peak_rss_bytes` is the high-water mark of the command's own process. The others are the most at
    any look: `peak_own_bytes` without pages of files that are mapped, which the system takes back
    when it needs them; `peak_pss_bytes` of all processes together, where a page that several share
    counts once; `peak_disk_bytes` of the files in a folder.
    """

    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0
    peak_own_bytes: int = 0
    peak_pss_bytes: int = 0
    peak_disk_bytes: int = 0
    returncode: int | None = 0

    def look(self, process: int, family: Iterable[int], proportional: bool, folder: Any) -> None:
        """Note what is held now, where it is more than before."""
        now = {
            "peak_rss_bytes": _memory([process], "status", "VmHWM:"),
            "peak_own_bytes": _memory(family, "status", "RssAnon:"),
            "peak_pss_bytes": _memory(family, "smaps_rollup", "Pss:") if proportional else 0,
            "peak_disk_bytes": bytes_in(folder) if folder else 0,
        }
        vars(self).update({name: max(value, getattr(self, name)) for name, value in now.items()})


def measured(
    command: list[str],
    *,
    watched: Path | None = None,
    proportional: bool = False,
    timeout: float = float("inf"),
    **options: Any,
) -> Usage:
    """Run a command and everything it starts to the end, or to its time limit.

    `watched` is a folder whose bytes are looked at; `proportional` asks for `peak_pss_bytes`, which
    takes the system a while to count. `options` go to subprocess.Popen.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, used, cpu_before = set(descendants()), Usage(), children_cpu()
    seen: dict[int, float] = {}
    start = time.perf_counter()
    process = subprocess.Popen(command, **options)
    while process.poll() is None:
        looked = time.process_time()
        family = {pid: cpu for pid, cpu in descendants().items() if pid not in before}
        seen |= family
        used.look(process.pid, family, proportional, watched)
        if time.perf_counter() - start > timeout:
            used.returncode = None
            _end(descendants().keys() - before, signal.SIGKILL)
        pause = (time.process_time() - looked) / SHARE_OF_SAMPLING
        with suppress(subprocess.TimeoutExpired):
            process.wait(min(max(pause, 0.05), 1.0))
    used.wall_seconds = time.perf_counter() - start
    _wait_for_the_rest(before)
    used.cpu_seconds = max(children_cpu() - cpu_before, sum(seen.values()))
    if used.returncode is not None:
        used.returncode = process.returncode
    return used


def children_cpu() -> float:
    """CPU seconds of all children that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def descendants() -> dict[int, float]:
    """Every process below this one, and its CPU seconds; empty where the system does not tell."""
    children: dict[int, list[int]] = {}
    cpu: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            fields = state.rpartition(")")[2].split()  # from the third of proc(5) on
            children.setdefault(int(fields[1]), []).append(int(folder.name))
            cpu[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
    found: dict[int, float] = {}
    front = [os.getpid()]
    while front:
        front = [child for parent in front for child in children.get(parent, ())]
        found.update((pid, cpu[pid]) for pid in front)
    return found


def _memory(processes: Iterable[int], file: str, field: str) -> int:
    total = 0
    for pid in processes:
        with suppress(OSError):  # it is gone
            lines = Path(f"/proc/{pid}/{file}").read_text(errors="replace").splitlines()
            total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith(field))
    return total


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder, while others make and remove them."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def _wait_for_the_rest(before: set[int]) -> None:
    """Let what the command left end, or end it; its CPU seconds count once it is waited for."""
    for urge in (None, signal.SIGTERM, signal.SIGKILL):
        if urge is not None:
            _end(descendants().keys() - before, urge)
        deadline = time.perf_counter() + PATIENCE
        while (left := descendants().keys() - before) and time.perf_counter() < deadline:
            for pid in left:
                with suppress(ChildProcessError):  # a child of another one still
                    os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)


def _end(pids: set[int], urge: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, urge)
