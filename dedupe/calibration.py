"""What the last runs on this machine took, in the cache directory: how long the next will take.

A run says nothing of what it read: only numbers of rows and bytes, and seconds, are kept.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dedupe.config import Settings
from dedupe.machine import cores
from dedupe.planning.timing import Measured, Size, StageTime

VERSION = 1
"""Raised whenever times of one version say nothing of another."""
MOST_RUNS = 10
LEAST_SECONDS = 5.0
LEAST_BYTES = 10_000_000
"""Runs that took less, or over less text, say little of larger ones: starting takes their time."""


@dataclass(frozen=True)
class Run:
    """A run that was measured.

    kind: what times depend on besides size: engine, how pairs are found, and the machine. when:
    seconds since 1970. measured: what it took. seconds: all of it. predicted: seconds that the run
    before said it would take, None without one. share: of rows that shared a bucket.
    """

    kind: dict[str, Any]
    when: float
    measured: Measured
    seconds: float
    predicted: float | None

    @property
    def share(self) -> float:
        """The share of rows that shared a bucket with another."""
        return self.measured.size.members / max(self.measured.size.rows, 1)


def runs_path() -> Path:
    """The file of measured runs, in the cache directory."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "dedupe-engine", "runs.json")


def kind_of(engine: str, settings: Settings) -> dict[str, Any]:
    """What times depend on besides size: the engine, how pairs are found, shingles, the machine.

    engine: that runs it. settings: of the run.
    """
    how = "join" if settings.joined else "bands" if settings.banded else "exact"
    unit = settings.shingle_unit
    machine = f"{platform.machine()} {_processor()} {cores()}"
    return {"version": VERSION, "engine": engine, "how": how, "unit": unit, "machine": machine}


def _processor() -> str:
    with suppress(OSError, IndexError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    return platform.processor()


def last_run(kind: Mapping[str, Any]) -> Run | None:
    """The last run of a kind; None where there is none."""
    return next((one for one in reversed(_runs()) if one.kind == kind), None)


def errors_of(kind: Mapping[str, Any]) -> list[float]:
    """How far runs of a kind were from what the run before each had said: 0.1 for 10 % more."""
    return [
        one.seconds / one.predicted - 1
        for one in _runs()
        if one.kind == kind and one.predicted is not None and one.predicted > 0
    ]


def note_run(engine: str, summary: Mapping[str, Any], *, always: bool = False) -> None:
    """Keep what a run took.

    Nothing is kept of one that was resumed, failed at times, was short or held against an index.

    engine: that ran it. summary: what is said of it. always: keep one that took little time, too.
    A cache that cannot be written is left alone.
    """
    kind = kind_of(engine, Settings(**summary["settings"]))
    stages, seconds = summary["stages"], summary["wall_seconds"]
    if "index" in summary:  # which has other stages, and rows that are not counted
        return
    is_whole = not any(one["resumed"] for one in stages.values())
    is_calm = not any(summary["faults"].values())
    is_large = summary["corpus"]["text_bytes"] >= LEAST_BYTES
    if not (is_whole and is_calm and is_large and (always or seconds >= LEAST_SECONDS)):
        return
    concurrency = summary["resources"]["concurrency"]
    lsh, corpus = summary["lsh"], summary["corpus"]
    size = Size(
        rows=corpus["rows"],
        text_bytes=corpus["text_bytes"],
        members=summary["components"]["rows"],
        bands=lsh["bands"] if lsh else 1,
        blocks=stages["join"]["tasks"] if "join" in stages else 0,
    )
    times = {
        name: StageTime(one["wall_seconds"], max(min(one["tasks"], concurrency), 1))
        for name, one in stages.items()
    }
    rest = max(seconds - sum(one.wall for one in times.values()), 0.0)
    before = last_run(kind)
    predicted = None
    if before is not None:
        at_once = {name: one.at_once for name, one in times.items()}
        predicted = sum(before.measured.seconds_of(size, at_once).values()) + before.measured.rest
    run = Run(dict(kind), time.time(), Measured(size, times, rest), seconds, predicted)
    _write([*_runs(), run][-MOST_RUNS:])


def _runs() -> list[Run]:
    """All that are kept; none where the file is not there, or is no such file."""
    try:
        found = json.loads(runs_path().read_text(encoding="utf-8"))
        return [_run_of(one) for one in found]
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return []


def _run_of(found: Mapping[str, Any]) -> Run:
    measured = found["measured"]
    stages = {name: StageTime(**one) for name, one in measured["stages"].items()}
    return Run(
        kind=found["kind"],
        when=float(found["when"]),
        measured=Measured(Size(**measured["size"]), stages, float(measured["rest"])),
        seconds=float(found["seconds"]),
        predicted=found["predicted"],
    )


def _write(runs: list[Run]) -> None:
    with suppress(OSError, RuntimeError):
        path = runs_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = json.dumps([asdict(run) for run in runs], indent=1)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=".runs.", suffix=".tmp", delete=False, encoding="utf-8"
        ) as file:
            file.write(data)
        os.replace(file.name, path)
