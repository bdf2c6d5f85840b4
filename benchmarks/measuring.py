"""Commands measured from outside, each in a process of its own; what result files share."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from measure import descendants, measured

BENCHMARKS = Path(__file__).resolve().parent
RESULTS = BENCHMARKS / "results"
LOOK = 0.05
"""Seconds between two looks; longer where a look itself takes some milliseconds."""


def run_measured(command: list[str], watched: Path | None = None) -> dict[str, float]:
    """Run a command: wall and CPU seconds, and its peak resident memory in bytes.

    `peak_own_bytes` leaves out pages of files that are mapped, which the system takes back when it
    needs them; it is the most of all looks. With `watched`, also the most bytes of files in that
    directory. SystemExit if the command fails.
    """
    ended = threading.Event()
    most = {"peak_own_bytes": 0} | ({} if watched is None else {"peak_disk_bytes": 0})
    watcher = threading.Thread(target=_watch, args=(watched, ended, most))
    watcher.start()
    try:
        used = measured(command, tree=False)
    finally:
        ended.set()
        watcher.join()
    if used.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {used.returncode}")
    return {
        "wall_seconds": used.wall_seconds,
        "cpu_seconds": used.cpu_seconds,
        "peak_rss_bytes": used.peak_rss_bytes,
        **most,
    }


def _watch(folder: Path | None, ended: threading.Event, most: dict[str, int]) -> None:
    pause = 0.0
    processes: set[int] = set()
    while not ended.wait(pause):
        if not processes:
            processes = set(descendants())
        began = time.perf_counter()
        most["peak_own_bytes"] = max(most["peak_own_bytes"], own_bytes(processes))
        if folder is not None:
            most["peak_disk_bytes"] = max(most["peak_disk_bytes"], bytes_in(folder))
        pause = max(LOOK, 50 * (time.perf_counter() - began)) if processes else 0.001


def own_bytes(processes: set[int]) -> int:
    """Memory of processes that is of no file."""
    total = 0
    for process in processes:
        with suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
            lines = (line.split() for line in status.splitlines())
            total += sum(int(line[1]) * 1024 for line in lines if line[0] == "RssAnon:")
    return total


def bytes_in(folder: Path) -> int:
    """Bytes of all files in a folder, while others make and remove them."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return total


def warm_up(folder: Path, python: str = sys.executable) -> None:
    """Compile the kernels, so that no measured run of that interpreter does."""
    tiny = folder / "tiny.jsonl"
    tiny.write_text('{"text": "a few words to warm up with"}\n' * 3, encoding="utf-8")
    command = [python, "-m", "dedupe", "run", str(tiny), "--quiet"]
    subprocess.run([*command, "--output", str(folder / "tiny-out")], check=True)


def measure_run(corpus: list[str], options: list[str], folder: Path) -> dict[str, Any]:
    """One `dedupe run`: what it took, and what its summary says. `folder`/out has its output."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "dedupe", "run", *corpus, "--output", str(output), "--quiet"]
    used = run_measured([*command, *options], watched=folder / "out.work")
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    rows, size = summary["corpus"]["rows"], summary["corpus"]["text_bytes"]
    left = sum(summary["exchange_bytes"].values())  # short runs end between two looks
    return {
        "rows": rows,
        "text_bytes": size,
        **used,
        "peak_disk_bytes": max(used["peak_disk_bytes"], left),
        "mb_per_second_and_core": size / used["cpu_seconds"] / 1e6,
        "mb_per_second_wall": size / used["wall_seconds"] / 1e6,
        "microseconds_per_row_wall": used["wall_seconds"] / max(rows, 1) * 1e6,
        "exchange_bytes_per_row": {
            stage: value / max(rows, 1) for stage, value in summary["exchange_bytes"].items()
        },
        "stages": summary["stages"],
        "reasons": summary["reasons"],
        "components": summary["components"],
        "lsh": summary["lsh"] and {key: summary["lsh"][key] for key in ("bands", "rows")},
        "settings": summary["settings"],
        "workers": summary["resources"]["concurrency"],
        "memory_bytes": summary["resources"]["memory"],
    }


def median_run(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run of median wall time (the faster of two), with what all of them took."""
    in_order = sorted(runs, key=lambda run: run["wall_seconds"])
    names = ("wall_seconds", "cpu_seconds", "peak_rss_bytes", "peak_own_bytes")
    return {
        **in_order[(len(runs) - 1) // 2],
        **{f"all_{name}": [run[name] for run in runs] for name in names},
    }


def best(function: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of several calls, after one that is not counted."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def cpu_model() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def versions() -> dict[str, str]:
    """What the figures were made with."""
    from importlib.metadata import version

    packages = ("dedupe-engine", "numba", "numpy", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def parser(description: str | None, corpus: str = "") -> argparse.ArgumentParser:
    """Arguments of a benchmark over a corpus: what it reads, the result file, how often."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("corpus", nargs="+", help=corpus or None)
    made.add_argument("--json", required=True, help="result file")
    made.add_argument("--runs", type=int, default=3)
    return made


def write_result(path: str | Path, result: dict[str, Any]) -> None:
    """Write a result file, with the machine and the versions it was made with."""
    whole = {**result, "cpu_model": cpu_model(), "versions": versions()}
    Path(path).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
