"""The whole run, in order: sign, bucket, link, shingle, verify, keep, publish.

`run` plans the tasks of each stage, hands them to an engine, commits their results and resumes from
those it finds. What a task does stands in `tasks`.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from dedupe import planning
from dedupe.config import ALGORITHM, Resources, Settings
from dedupe.corpus import (
    Shard,
    Slice,
    check_columns,
    estimate_rows,
    estimate_text,
    plan_slices,
)
from dedupe.engines import Engine
from dedupe.errors import IntegrityError, WorkDirError
from dedupe.lsh import Banding, plan_banding
from dedupe.schema import REASONS
from dedupe.storage import (
    LAYOUT,
    WorkDir,
    fingerprint_differences,
    flush_to_disk,
    read_json,
    write_json,
)
from dedupe.tasks import (
    Job,
    Kinds,
    Layout,
    bucket_task,
    check_kinds,
    keep_file,
    keep_task,
    link_task,
    shingle_task,
    sign_task,
    verify_task,
)
from dedupe.version import __version__

KEEP_ROWS = 1 << 18
"""Rows in a keep task that writes several small shards."""


class Progress(Protocol):
    """Shows how far a run is."""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """A stage of that many tasks begins, `done` of which were finished by an earlier run."""

    def advance(self, rows: int) -> None:
        """One more task is done; it had that many rows."""

    def close(self) -> None:
        """The last stage is over, or the run has failed."""


@dataclass(frozen=True)
class Outcome:
    """A finished run: its summary, and the folder with its keep-list files."""

    summary: dict[str, Any]
    keep: Path


def run(
    shards: Sequence[Shard],
    settings: Settings,
    resources: Resources,
    engine: Engine,
    work: WorkDir,
    progress: Progress,
    *,
    fresh: bool = False,
) -> Outcome:
    """Make the keep-lists of a corpus in the work directory, going on where a run left off.

    Raises CorpusError for what cannot be read, WorkDirError where the work directory belongs to
    another run (unless `fresh`, which clears it) or the disk is full.
    """
    started = time.time()
    banding = plan_banding(settings) if settings.near else Banding(1, 1)
    for shard in shards:
        check_columns(shard, _roles(settings))
    job = _open_work(list(shards), settings, banding, resources, work, fresh)
    stages = _Stages(job, engine, progress)
    try:
        return _run_stages(job, stages, resources, started)
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            raise WorkDirError(
                f"the disk of {work.root} is full: free some space, or choose another place with "
                "--work-dir; the same command then goes on where this one stopped"
            ) from error
        raise
    except IntegrityError:
        for shard in shards:
            shard.check_unchanged()
        raise
    finally:
        progress.close()


def _run_stages(job: Job, stages: _Stages, resources: Resources, started: float) -> Outcome:
    tasks = range(len(job.tasks))
    signed = stages.run("sign", partial(sign_task, job), tasks)
    _check_kinds(job, signed)
    layout = Layout.of(job, signed)
    buckets = stages.run("bucket", partial(bucket_task, job, layout), range(job.sizes.partitions))
    planning.check_link(resources, min(2 * sum(b["edges"] for b in buckets.values()), layout.rows))
    linked = stages.run("link", partial(link_task, job, layout), range(1))[0]
    partitions = len(linked["set_hashes"])
    filled = [task for task, _, _ in layout.filled()] if linked["wanted"] else []
    sets = stages.run("shingle", partial(shingle_task, job, layout, partitions), filled)
    verified = stages.run(
        "verify", partial(verify_task, job, layout, linked["set_hashes"]), range(partitions)
    )
    groups = planning.pack(range(len(job.shards)), np.diff(layout.shard_starts).tolist(), KEEP_ROWS)
    kept = stages.run(
        "keep",
        lambda task: keep_task(job, layout, partitions, (groups[task][0], groups[task][-1] + 1)),
        range(len(groups)),
    )
    for shard in job.shards:
        shard.check_unchanged()
    reasons = [sum(counts) for counts in zip(*(r["reasons"] for r in kept.values()), strict=True)]
    if sum(reasons) != layout.rows:
        raise IntegrityError(f"{layout.rows} rows signed, {sum(reasons)} rows in keep-lists")
    summary = {
        "dedupe": __version__,
        "settings": job.settings.as_dict(),
        "lsh": {
            **asdict(job.banding),
            "curve": {f"{s / 20:.2f}": job.banding.chance(s / 20) for s in range(6, 21)},
        }
        if job.settings.near
        else None,
        "corpus": {
            "rows": layout.rows,
            "text_bytes": sum(result["text_bytes"] for result in signed.values()),
            "bad_text_replaced": sum(result["replaced"] for result in signed.values()),
            "shards": [
                {"path": shard.path, "rows": rows, "keep": f"keep/{keep_file(shard)}"}
                for shard, rows in zip(
                    job.shards, np.diff(layout.shard_starts).tolist(), strict=True
                )
            ],
        },
        "reasons": dict(zip(REASONS, reasons, strict=True)),
        "components": {
            "count": linked["components"],
            "rows": linked["rows"],
            "largest": linked["largest_component"],
            "largest_bucket": max(b["largest_bucket"] for b in buckets.values()),
            "pairs_compared": sum(result["compared"] for result in verified.values()),
        },
        "exchange_bytes": {
            name: sum(result["bytes"] for result in results.values())
            for name, results in (
                ("sign", signed),
                ("bucket", buckets),
                ("link", {0: linked}),
                ("shingle", sets),
                ("verify", verified),
                ("keep", kept),
            )
        },
        "stages": stages.times,
        "wall_seconds": time.time() - started,
        "workers": resources.workers,
        "memory_bytes": resources.memory,
        "versions": {
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
            "numpy": np.__version__,
        },
    }
    return Outcome(summary, job.work.root / "keep")


class _Stages:
    """Runs stages on an engine; commits results, resumes from them, and times each stage."""

    def __init__(self, job: Job, engine: Engine, progress: Progress) -> None:
        self._work = job.work
        self._engine = engine
        self._progress = progress
        self.times: dict[str, dict[str, float]] = {}

    def run(
        self, name: str, function: Callable[[int], dict[str, Any]], tasks: Sequence[int]
    ) -> dict[int, dict[str, Any]]:
        """Run the tasks that have no result yet; the results of all of them by task."""
        wall, cpu = time.perf_counter(), time.process_time()
        results = self._work.results(name)
        todo = [task for task in tasks if task not in results]
        self._progress.stage(name, len(tasks), len(tasks) - len(todo))
        for task, result in self._engine.run(function, todo):
            self._work.commit(name, task, result)
            results[task] = result
            self._progress.advance(result["rows"])
        self.times[name] = {
            "tasks": len(tasks),
            "resumed": len(tasks) - len(todo),
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }
        return results


def _roles(settings: Settings) -> dict[str, str]:
    """Column names by what they are for."""
    roles = {"text": settings.text, "id": settings.id, "score": settings.score_column}
    return {role: name for role, name in roles.items() if name is not None}


def _check_kinds(job: Job, signed: dict[int, dict[str, Any]]) -> None:
    """See `tasks.check_kinds`, for all sign tasks together."""
    kinds: Kinds = {"id": {}, "score": {}}
    for _, result in sorted(signed.items()):
        for role, found in result["kinds"].items():
            kinds[role] = {**found, **kinds[role]}
    check_kinds(job, kinds)


def _open_work(
    shards: list[Shard],
    settings: Settings,
    banding: Banding,
    resources: Resources,
    work: WorkDir,
    fresh: bool,
) -> Job:
    """Begin a run in the work directory, or find the one to go on with."""
    fingerprint = {
        "algorithm": ALGORITHM,
        "layout": LAYOUT,
        "settings": settings.as_dict(),
        "corpus": {shard.path: [shard.size, shard.mtime_ns] for shard in shards},
    }
    if work.is_foreign:
        raise WorkDirError(
            f"{work.root} is not empty and no work directory: choose another --work-dir"
        )
    if fresh:
        work.clear()
    work.sweep()
    if work.run_file.exists():
        found = read_json(work.run_file)
        differences = fingerprint_differences(found["fingerprint"], fingerprint)
        if differences:
            shown = "\n  ".join(differences[:8] + ["…"] * (len(differences) > 8))
            raise WorkDirError(
                f"{work.root} holds the work of another run:\n  {shown}\n"
                "start anew with --fresh, or give this run a --work-dir of its own"
            )
        tasks = [[Slice(**part) for part in slices] for slices in found["tasks"]]
        now = planning.cut(resources, 1, 1, settings.shingle_unit)
        sizes = replace(
            planning.Cut(**found["sizes"]), batch_bytes=now.batch_bytes, set_bytes=now.set_bytes
        )
        return Job(settings, banding, shards, tasks, sizes, work)
    rows = sum(estimate_rows(shard) for shard in shards)
    sizes = planning.cut(
        resources, banding.bands if settings.near else 1, rows, settings.shingle_unit
    )
    parts, weights = [], []
    for shard in shards:
        slices = plan_slices(shard, settings.text, sizes.task_text, sizes.task_rows)
        whole = planning.weight(sizes, estimate_text(shard, settings.text), estimate_rows(shard))
        parts += slices
        weights += [whole // max(len(slices), 1)] * len(slices)
    tasks = planning.pack(parts, weights, sizes.task_text)
    write_json(
        work.run_file,
        {
            "fingerprint": fingerprint,
            "sizes": asdict(sizes),
            "tasks": [[asdict(part) for part in slices] for slices in tasks],
        },
    )
    return Job(settings, banding, shards, tasks, sizes, work)


def publish(outcome: Outcome, output: Path) -> None:
    """Copy a finished run to `output`, which appears whole or not at all.

    Raises WorkDirError where a keep-list file is missing in the work directory.
    """
    beside = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}.", dir=output.parent))
    try:
        (beside / "keep").mkdir()
        for shard in outcome.summary["corpus"]["shards"]:
            made = outcome.keep / Path(shard["keep"]).name
            if not made.is_file():
                raise WorkDirError(f"{made} is missing: start again with --fresh")
            shutil.copyfile(made, beside / shard["keep"])
            flush_to_disk(beside / shard["keep"])
        write_json(beside / "summary.json", outcome.summary)
        flush_to_disk(beside / "summary.json")
        beside.chmod(0o777 & ~_umask())
        os.replace(beside, output)
        flush_to_disk(output.parent)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
