"""`apply` of a split: rows of each shard to a file for each split, as `load_dataset` finds them.

DATA/train-00000-of-00003.parquet and its like have the rows of a shard that go to that split, in
its format, compression and schema. A shard without such rows has no file; excluded rows are in
none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.commands.apply.run import (
    LEAST_TASK,
    TASK_BYTES,
    check_new,
    load_writers,
    publish_files,
    published,
)
from dedupe.commands.apply.tasks import ended
from dedupe.commands.split.result import KIND, Splits, codes
from dedupe.commands.split.tables import split_batches
from dedupe.commands.split.wanted import EXCLUDED
from dedupe.config import Execution
from dedupe.corpus import Shard, file_name, open_source
from dedupe.corpus.names import suffix_of
from dedupe.errors import CorpusError, SettingsError
from dedupe.hiding import hidden
from dedupe.planning.sizes import pack
from dedupe.progress import Progress
from dedupe.remote import is_uri
from dedupe.remote.given import using
from dedupe.result import shards_of
from dedupe.schema import SPLITS
from dedupe.session import (
    check_apart,
    is_within,
    output_at,
    resolved,
    session,
    was_finished,
    work_place,
)
from dedupe.storage import files_at
from dedupe.storage.files import Files
from dedupe.storage.fingerprint import corpus_versions, digest
from dedupe.storage.tables import WrittenFile
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import TaskResult
from dedupe.tasks.costs import COSTS
from dedupe.version import __version__

VERSION = 1
"""Raised whenever the same split would give other files, or results of tasks."""


@dataclass(frozen=True)
class ApplyJob:
    """All that a task needs to know, besides its number.

    shards: of the corpus. out: the split's output. listed: what its summary says of each shard.
    names: for each shard the file of each split by its number, where it has rows of it. tasks: the
    shards of each task. made: where files go. work: where results are committed.
    """

    shards: list[Shard]
    out: Files
    listed: Sequence[Mapping[str, Any]]
    names: Sequence[Mapping[int, str]]
    tasks: list[list[int]]
    made: Files
    work: WorkDir

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        return f"{stage} task {task} ({self.shards[self.tasks[task][0]].path})"


@dataclass(frozen=True, kw_only=True)
class ApplyResult(TaskResult):
    """The files that a task wrote; outputs: the name, split and rows of each."""

    outputs: list[dict[str, Any]]


def apply_splits(
    out: str | Path,
    output: str | Path,
    *,
    execution: Execution,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the corpus of a finished split, each split to files of its own.

    out: the split's output. output: directory for the files, with names such as
    train-00000-of-00003.parquet. execution: where the command runs and what it may use. progress:
    is told how far it is. A killed call goes on when repeated.

    Returns what stands in OUTPUT/_dedupe.json, and the seconds it took. Raises CorpusError where
    the corpus is not the one of the split any more, SettingsError, WorkDirError.
    """
    began = time.monotonic()
    where = execution.at_most((execution.resources.memory - COSTS.base) // (2 * TASK_BYTES))
    with using(where.storage_options, places_of_split(out, output, where.work_dir)):
        splits, target = Splits(out), output_at(output)
        clean, here = resolved(str(target.root)), resolved(str(splits.path))
        if is_within(clean, here):
            raise SettingsError(f"{target.root} lies in {splits.path}: choose a place outside it")
        manifest = _apply(splits, target, where, progress)
    return {**manifest, "seconds": time.monotonic() - began}


def places_of_split(out: str | Path, *others: str | Path | None) -> list[str]:
    """The places that work on a split comes to, of which storage options may be.

    out: the split's output. others: further places. Those of the shards are among them where no
    other has a protocol.
    """
    places = [str(place) for place in (out, *others) if place is not None]
    if not any(map(is_uri, places)):
        places += [shard["path"] for shard in Splits(out).shards]
    return places


def _apply(
    splits: Splits, target: Files, execution: Execution, progress: Progress | None
) -> dict[str, Any]:
    shards = shards_of(splits)
    fingerprint = {
        "apply_splits": VERSION,
        "place": str(target.root),
        "splits": {one["split"]: one["split_checksum"] for one in splits.shards},
        "corpus": corpus_versions(shards),
    }
    done = published(target, fingerprint)
    if done is not None:
        was_finished(execution, [target], fingerprint, progress)
        return done
    resumed = WorkDir(files_at(work_place(execution, target))).has_begun_with(fingerprint)
    check_new(target, resumed=resumed)
    with session(execution, target, progress) as held:
        made = [target.root, held.work.files.root]
        check_apart(splits.summary["corpus"].get("given", []), shards, made)
        load = partial(load_writers, sorted({shard.format for shard in shards}))
        with held.running(shards, load) as (stages, _):
            work, begun = held.work.begin(fingerprint, fresh=execution.fresh, other="other work")
            if begun is None:
                work.save_plan(fingerprint, {})
            target.remove_staged(other_than=work.run)
            job = _job(splits, shards, target, work, execution)

            def attempt() -> dict[str, Any]:
                stages.plan([("apply", 1.0)])
                write = partial(apply_task, job)
                results = stages.run(job, "apply", ApplyResult, write, range(len(job.tasks)))
                files = [(n, file) for one in results.values() for n, file in one.files.items()]
                manifest = _manifest(splits, results, fingerprint)
                publish_files(
                    {name: file.made(job.made, name) for name, file in files},
                    target,
                    fingerprint,
                    manifest,
                    is_staged=target != job.made,
                )
                return manifest

            manifest = stages.repairing(job.work, attempt)
            target.remove_staged()
    return manifest


def _job(
    splits: Splits, shards: list[Shard], target: Files, work: WorkDir, execution: Execution
) -> ApplyJob:
    counts = [[one["splits"][name] for name in SPLITS[:EXCLUDED]] for one in splits.shards]
    totals = [sum(map(bool, column)) for column in zip(*counts, strict=True)]
    so_far = [0] * EXCLUDED
    names: list[dict[int, str]] = []
    for shard, rows in zip(shards, counts, strict=True):
        own = {}
        for split, count in enumerate(rows):
            if count:
                number = f"{so_far[split]:05d}-of-{totals[split]:05d}"
                own[split] = f"{SPLITS[split]}-{number}{suffix_of(file_name(shard.path))}"
                so_far[split] += 1
        names.append(own)
    chosen = [number for number, own in enumerate(names) if own]
    sizes = [shards[number].size + 1 for number in chosen]
    per_task = max(LEAST_TASK, sum(sizes) // execution.tuning.most_tasks)
    return ApplyJob(
        shards=shards,
        out=splits.storage,
        listed=splits.shards,
        names=names,
        tasks=pack(chosen, sizes, per_task),
        made=target.staging(work.stages.folder("apply"), KIND, work.run),
        work=work,
    )


def _manifest(
    splits: Splits, results: Mapping[int, ApplyResult], fingerprint: dict[str, Any]
) -> dict[str, Any]:
    """What is said of the files."""
    done = [results[task] for task in sorted(results)]
    files = [file for one in done for file in one.outputs]
    return {
        "dedupe": __version__,
        "fingerprint": digest(fingerprint),
        "split": {
            "output": hidden(resolved(str(splits.path))),
            **{key: splits.summary[key] for key in ("settings", "asked", "documents")},
        },
        "rows": {
            name: sum(file["rows"] for file in files if file["split"] == name)
            for name in SPLITS[:EXCLUDED]
        },
        "bytes": sum(one.bytes for one in done),
        "files": files,
    }


def apply_task(job: ApplyJob, task: int) -> ApplyResult:
    """Write the files of some shards, which must not have changed.

    job: of the command. task: number of the task.
    """
    files: dict[str, WrittenFile] = {}
    outputs: list[dict[str, Any]] = []
    for number in job.tasks[task]:
        rows, written = _write(job, number)
        files |= written
        outputs += [
            {"name": name, "split": SPLITS[split], "rows": rows[split]}
            for split, name in job.names[number].items()
        ]
    return ApplyResult(
        rows=sum(job.listed[number]["rows"] for number in job.tasks[task]),
        files=files,
        outputs=outputs,
    )


def _write(job: ApplyJob, number: int) -> tuple[list[int], dict[str, WrittenFile]]:
    """Write the files of one shard; (rows of each split, the files by name)."""
    shard, listed = job.shards[number], job.listed[number]
    counts = np.zeros(len(SPLITS), np.int64)
    with ExitStack() as opened:
        source = open_source(shard)
        sinks = {
            split: opened.enter_context(job.made.writing(name))
            for split, name in job.names[number].items()
        }
        writers = {
            split: opened.enter_context(ended(source.writer(pa.PythonFile(sink, "w"), None)))
            for split, sink in sinks.items()
        }
        _, batches = opened.enter_context(split_batches(job.out, listed, ["split"]))
        where = _Codes(batches)
        for piece in source.blocks(source.start(0)):
            of = where.take(piece.num_rows)
            if len(of) < piece.num_rows:
                raise _other_rows(shard, listed)
            counts += np.bincount(of, minlength=len(SPLITS))
            for split, writer in writers.items():
                writer.write(piece, of == split, None)
        if counts.sum() != listed["rows"]:
            raise _other_rows(shard, listed)
        shard.check_unchanged()
    written = {job.names[number][split]: WrittenFile.of(sink) for split, sink in sinks.items()}
    return counts.tolist(), written


def _other_rows(shard: Shard, listed: Mapping[str, Any]) -> CorpusError:
    reason = f"has not the {listed['rows']} rows that were split: split again"
    return CorpusError(reason, path=shard.path)


class _Codes:
    """The splits of the rows of a shard, as many at a time as are asked for."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held: Array = np.zeros(0, np.uint8)

    def take(self, count: int) -> Array:
        """Those of the next rows; fewer where there are no more."""
        parts = []
        while count:
            if not len(self._held):
                batch = next(self._batches, None)
                if batch is None:
                    break
                self._held = codes(batch)
            parts.append(self._held[:count])
            self._held = self._held[len(parts[-1]) :]
            count -= len(parts[-1])
        return np.concatenate([np.zeros(0, np.uint8), *parts])
