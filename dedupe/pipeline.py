"""The whole run, in order: sign, bucket, join, link, label, group, shingle, verify, keep.

`run` plans the tasks of each stage, hands them to an engine, commits their results and resumes from
those it finds. What a task does stands in `tasks`.
"""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from dedupe.config import ALGORITHM, Resources, Settings
from dedupe.corpus import Shard, Slice, column_names
from dedupe.documents.template import DocumentTemplate
from dedupe.engines import Engine, Stage
from dedupe.errors import CorpusError, IntegrityError, SettingsError
from dedupe.planning import sizes as planning
from dedupe.planning.banding import Banding, plan_banding
from dedupe.schema import REASONS
from dedupe.storage.work_dir import LAYOUT, WorkDir, write_json
from dedupe.tasks.all_tasks import (
    ColumnTypes,
    Job,
    Layout,
    bucket_task,
    check_types,
    group_task,
    id_report,
    join_task,
    keep_file,
    keep_task,
    label_task,
    link_task,
    shingle_task,
    sign_task,
    survey,
    timed,
    verify_task,
    wanted_of,
)
from dedupe.version import __version__

PLANNED = ("partitions", "partition_bytes", "block_bytes", "concurrency")
"""Sizes of tasks that stay as they were when the run began, whatever resumes it."""

SURVEY_SHARDS = 32
"""Shards that a task looks at before the run is cut."""


class Progress(Protocol):
    """Shows how far a run is."""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """A stage of that many tasks begins, `done` of which were finished by an earlier run."""

    def advance(self, rows: int) -> None:
        """One more task is done; it had that many rows."""

    def note(self, text: str) -> None:
        """Who works on it, and what went wrong and was mended."""

    def close(self) -> None:
        """The last stage is over, or the run has failed."""


@dataclass(frozen=True)
class Outcome:
    """A finished run: its summary, and the work directory with its keep-list files.

    keep_sizes: bytes of the keep-list file of each shard.
    """

    summary: dict[str, Any]
    work: WorkDir
    keep_sizes: Sequence[int]


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

    engine: started. Raises CorpusError for what cannot be read, WorkDirError where the work
    directory belongs to another run (unless `fresh`, which clears it) or the disk is full.
    """
    started = time.time()
    stages = Stages(engine, progress)
    try:
        with work.reporting_full():
            job = _open_work(list(shards), settings, resources, work, stages, fresh)
            return _run_stages(job, stages, resources, started)
    except IntegrityError:
        for shard in shards:
            shard.check_unchanged()
        raise


def _run_stages(job: Job, stages: Stages, resources: Resources, started: float) -> Outcome:
    run = stages.of(job)
    signed = run("sign", partial(sign_task, job), range(len(job.tasks)))
    _check_kinds(job, signed)
    layout = Layout.of(job, signed)
    buckets = run("bucket", partial(bucket_task, job, layout), range(job.sizes.partitions))
    if layout.joins:  # the last block is held against all rows before it: it begins first
        run("join", partial(join_task, job, layout), range(layout.joins)[::-1])
    merges = planning.merge_tree(job.sizes.partitions, layout.joins)
    linked = run("link", partial(link_task, job, layout), *planning.levels(merges))[merges[-1].task]
    partitions = linked["partitions"]
    filled = layout.filled() if partitions else []
    labeled = run("label", partial(label_task, job, layout, partitions), filled)
    grouped = run("group", partial(group_task, job, layout), range(partitions))
    hashes = [grouped[partition]["set_hashes"] for partition in range(partitions)]
    run("shingle", partial(shingle_task, job, layout, partitions), filled)
    verified = run("verify", partial(verify_task, job, layout, hashes), range(partitions))
    kept = run("keep", partial(keep_task, job, layout, partitions), range(layout.keep_tasks))
    for name, results in {"label": labeled, "group": grouped, "verify": verified}.items():
        _check_rows(linked["rows"], name, sum(result["rows"] for result in results.values()))
    _check_rows(linked["rows"], "keep", sum(result["decided"] for result in kept.values()))

    reasons = [sum(counts) for counts in zip(*(r["reasons"] for r in kept.values()), strict=True)]
    if sum(reasons) != layout.rows:
        raise IntegrityError(f"{layout.rows} rows signed, {sum(reasons)} rows in keep-lists")
    summary = {
        "dedupe": __version__,
        "settings": job.settings.as_dict(),
        "document": job.document.as_json(),
        "lsh": _curve(job),
        "corpus": {
            "rows": layout.rows,
            "text_bytes": sum(result["text_bytes"] for result in signed.values()),
            "bad_text_replaced": sum(result["replaced"] for result in signed.values()),
            "shards": [
                {
                    "path": shard.path,
                    "rows": rows,
                    "size": shard.size,
                    "version": shard.version,
                    "keep": f"keep/{keep_file(shard)}",
                }
                for shard, rows in zip(
                    job.shards, np.diff(layout.shard_starts).tolist(), strict=True
                )
            ],
        },
        "ids": id_report(job, layout, signed, buckets),
        "reasons": dict(zip(REASONS, reasons, strict=True)),
        "components": {
            "count": sum(result["components"] for result in grouped.values()),
            "rows": linked["rows"],
            "largest": max((r["largest_component"] for r in grouped.values()), default=0),
            "largest_bucket": max(b["largest_bucket"] for b in buckets.values()),
            "pairs_compared": sum(result["compared"] for result in verified.values()),
        },
        "exchange_bytes": stages.bytes,
        "stages": stages.times,
        "wall_seconds": time.time() - started,
        "resources": asdict(resources),
        "driver": _driver(),
        "faults": stages.faults,
        "versions": {
            "python": platform.python_version(),
            "pyarrow": pa.__version__,
            "numpy": np.__version__,
        },
    }
    sizes = [size for task in sorted(kept) for size in kept[task]["sizes"]]
    return Outcome(summary, job.work, sizes)


def _check_rows(expected: int, stage: str, found: int) -> None:
    """Rows in components go through every stage, none lost and none twice."""
    if found != expected:
        raise IntegrityError(f"{expected} rows in components, {found} of them in {stage}")


def _curve(job: Job) -> dict[str, Any] | None:
    """The banding and its chances, None where no bands propose pairs."""
    if not job.settings.banded:
        return None
    curve = {f"{s / 20:.2f}": job.banding.chance(s / 20) for s in range(6, 21)}
    return {**asdict(job.banding), "curve": curve}


def _driver() -> dict[str, float]:
    """What this process has used so far: CPU seconds and bytes of memory at its peak."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"cpu_seconds": time.process_time(), "peak_memory": peak}


class Described(Protocol):
    """What tasks belong to: knows where they leave things, and what messages call them."""

    @property
    def work(self) -> WorkDir:
        """Where results are committed."""

    def describe(self, stage: str, task: int) -> str:
        """Name a task."""


class Stages:
    """Runs stages on an engine; commits results, resumes from them, and times each stage."""

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress
        self.times: dict[str, dict[str, float]] = {}
        self.bytes: dict[str, int] = {}

    @property
    def faults(self) -> dict[str, int]:
        """What the engine mended, by kind."""
        return asdict(self._engine.faults)

    def note(self, document: DocumentTemplate) -> None:
        """Say what is compared, where nobody has said it."""
        if document.guessed:
            self._progress.note(f"compares {document}")

    def survey(self, function: Callable[[int], dict[str, Any]], tasks: int) -> list[dict[str, Any]]:
        """Run tasks of which nothing is left behind; their results in order."""
        self._progress.stage("survey", tasks, 0)
        results = {}
        for task, result in self._engine.run(
            Stage("survey", function, range(tasks), "survey task {}".format)
        ):
            results[task] = result
            self._progress.advance(0)
        return [results[task] for task in range(tasks)]

    def of(self, job: Described) -> Callable[..., dict[int, dict[str, Any]]]:
        """The function that runs a stage of a job: see `_run`."""
        return partial(self._run, job)

    def _run(
        self,
        job: Described,
        name: str,
        function: Callable[[int], dict[str, Any]],
        *levels: Sequence[int],
    ) -> dict[int, dict[str, Any]]:
        """Run the tasks that have no result yet, level after level; all results by task."""
        wall = time.perf_counter()
        results = job.work.results(name)
        tasks = [task for level in levels for task in level]
        todo = [[task for task in level if task not in results] for level in levels]
        resumed = len(tasks) - sum(map(len, todo))
        self._progress.stage(name, len(tasks), resumed)
        for level in filter(None, todo):
            stage = Stage(name, partial(timed, function), level, partial(job.describe, name))
            for task, result in self._engine.run(stage):
                job.work.commit(name, task, result)
                results[task] = result
                self._progress.advance(result["rows"])
        self.times[name] = {
            "tasks": len(tasks),
            "resumed": resumed,
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": sum(result["cpu_seconds"] for result in results.values()),
        }
        self.bytes[name] = sum(result["bytes"] for result in results.values())
        return results


def _check_kinds(job: Job, signed: dict[int, dict[str, Any]]) -> None:
    """See `tasks.check_types`, for all sign tasks together."""
    kinds: ColumnTypes = {}
    for _, result in sorted(signed.items()):
        for role, found in result["kinds"].items():
            kinds[role] = {**found, **kinds.get(role, {})}
    check_types(job, kinds)


def _document(shards: Sequence[Shard], settings: Settings) -> DocumentTemplate:
    """What is compared, by the columns of the first shard that has any."""
    for shard in shards:
        names = column_names(shard)
        if names:
            try:
                return settings.document(names)
            except SettingsError as error:
                raise CorpusError(str(error), path=shard.path) from None
    return settings.document(["text"])


def _open_work(
    shards: list[Shard],
    settings: Settings,
    resources: Resources,
    work: WorkDir,
    stages: Stages,
    fresh: bool,
) -> Job:
    """Begin a run in the work directory, or find the one to go on with."""
    banding = plan_banding(settings) if settings.banded else Banding(1, 1)
    document = _document(shards, settings)
    stages.note(document)
    corpus_bytes = sum(shard.size for shard in shards)
    sizes = planning.task_sizes(resources, banding.bands, corpus_bytes, settings.shingle_unit)
    fingerprint = {
        "algorithm": ALGORITHM,
        "layout": LAYOUT,
        "settings": settings.as_dict(),
        "document": str(document),
        "corpus": {shard.path: [shard.size, shard.version] for shard in shards},
    }
    work, begun = work.begin(fingerprint, fresh=fresh)
    if begun is not None:
        tasks = [[Slice(*part) for part in slices] for slices in begun["tasks"]]
        sizes = replace(sizes, **begun["sizes"])
        return Job(settings, document, banding, shards, tasks, sizes, work)
    groups = [shards[at : at + SURVEY_SHARDS] for at in range(0, len(shards), SURVEY_SHARDS)]
    parts, weights, rows = [], [], 0
    wanted = wanted_of(document, settings)
    for found in stages.survey(partial(survey, groups, wanted, sizes), len(groups)):
        parts += [Slice(*part) for part in found["slices"]]
        weights += found["weights"]
        rows += found["estimated_rows"]
    tasks = planning.pack(parts, weights, sizes.task_text)
    sizes = replace(sizes, partitions=planning.key_partitions(sizes, rows * banding.bands))
    write_json(
        work.run_file,
        {
            "fingerprint": fingerprint,
            "run": work.run,
            "sizes": {name: getattr(sizes, name) for name in PLANNED},
            "tasks": [[list(astuple(part)) for part in slices] for slices in tasks],
        },
    )
    return Job(settings, document, banding, shards, tasks, sizes, work)
