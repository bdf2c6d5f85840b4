"""Find what is wrong with the rows of a finished run: every row is read once, on any engine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np

from dedupe.arrays import Array, numbers
from dedupe.commands.every_row import cut_into_slices
from dedupe.commands.problems.table import Problems, write_problems
from dedupe.config import Execution, ExecutionKeywords, Resources, configured
from dedupe.corpus import Shard, Slice
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import Result, places_of, shards_of
from dedupe.session import check_apart, load_kernels, session
from dedupe.stage_runner import StageRunner
from dedupe.storage import files_at
from dedupe.storage.fingerprint import corpus_versions
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import Left, TaskResult, files_of
from dedupe.tasks.costs import COSTS

if TYPE_CHECKING:
    from dedupe.commands.problems.job import ProblemsJob

VERSION = 1
"""Raised whenever files of the work directory of a search come to mean something else."""
BATCH_BYTES = 8_000_000
"""Text that is decoded at a time by one task, unless memory is short."""
PAIR_BYTES = 240
"""Memory of a prompt and its answer while rows are brought together by their digests."""
STAGES = [("look", 30.0), ("twins", 2.0)]
"""The stages, with parts of the time."""


def find_problems(
    out: str | Path | Result,
    *,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> dict[str, dict[str, int]]:
    """Look at every row of a finished run, and write OUT/problems.parquet.

    out: the run, or its output. execution: where the search runs and what it may use, see
    `Execution`; the work directory is OUT.problems.work, unless one is named. progress: is told how
    far it is. keywords: fields of `Execution` by name. A killed call goes on when repeated.

    Returns for each problem `rows`, how many have it, and `kept`, how many of these the run keeps.
    Raises CorpusError where the corpus is not the one of the run any more, SettingsError,
    WorkDirError.
    """
    where = configured(Execution, execution, keywords)
    path = out.path if isinstance(out, Result) else out
    with using(where.storage_options, places_of(str(path), where.work_dir)):
        result = out if isinstance(out, Result) else Result(out)
        beside = result.path.with_name(f"{result.path.name}.problems")
        with session(where, files_at(beside), progress) as held:
            result.storage.remove_unfinished("keep")  # of a search that was killed as it wrote
            shards = shards_of(result)
            given = result.summary["corpus"].get("given", [])
            check_apart([*given, *result.held_against], shards, [held.work.files.root])
            with held.running(shards, load_problems) as (stages, resources):
                job = _open(result, shards, held.work, where, resources, stages)
                stages.repairing(job.work, partial(_search, job, result, stages))
                for shard in shards:
                    shard.check_unchanged()
        return Problems(result).counts


def load_problems(notify: Callable[[str], None]) -> None:
    """Load the kernels that look at texts: see `session.Load`."""
    load_kernels(notify)
    from dedupe.kernels import notices

    with notices(notify):
        importlib.import_module("dedupe.kernels.problems")


def _open(
    result: Result,
    shards: list[Shard],
    work: WorkDir,
    execution: Execution,
    resources: Resources,
    stages: StageRunner,
) -> ProblemsJob:
    """Begin a search in a work directory, or find the one to go on with."""
    from dedupe.commands.problems.job import ProblemsJob, readings_of

    readings = readings_of(result)
    starts = np.cumsum([0, *(one["rows"] for one in result.shards)])
    fingerprint = {
        "problems": VERSION,
        "keep_list": {one["keep"]: one["keep_checksum"] for one in result.shards},
        "corpus": corpus_versions(shards),
    }
    work, begun = work.begin(fingerprint, fresh=execution.fresh, other="other work")
    if begun is None:
        share = (resources.memory - COSTS.base) // resources.threads
        tuning = execution.tuning
        projections = [one.projection for one in readings]
        begun = {
            "batch": int(min(BATCH_BYTES, tuning.batch_bytes, share / 2 / COSTS.text_copies)),
            "partitions": int(-(-result.rows * PAIR_BYTES // share)) or 1,
            **cut_into_slices(stages, shards, result.shards, projections, tuning),
        }
        work.save_plan(fingerprint, begun)
    return ProblemsJob(
        shards=shards,
        out=result.storage,
        listed=result.shards,
        readings=readings,
        slices=[Slice(*part) for part in begun["slices"]],
        slice_starts=np.array([*begun["first"], starts[-1]], np.int64),
        shard_starts=starts,
        partitions=begun["partitions"],
        batch=begun["batch"],
        work=work,
    )


def _search(job: ProblemsJob, result: Result, stages: StageRunner) -> None:
    """Run the stages, going on where they were left, and write what they found."""
    from dedupe.commands.problems.job import LookResult
    from dedupe.commands.problems.look import add_counts, look_task
    from dedupe.commands.problems.twins import twins_task
    from dedupe.stages.problems import NAMES

    stages.plan(STAGES)
    tasks = range(len(job.slices))
    looked = stages.run(job, "look", LookResult, partial(look_task, job), tasks)
    left = files_of(looked)
    has_pairs = any(one.pairs for one in looked.values())
    twins = stages.run(
        job,
        "twins",
        TaskResult,
        partial(twins_task, job, left),
        range(job.partitions) if has_pairs else [],
    )
    counted: dict[str, dict[str, list[int]]] = {}
    for _, one in sorted(looked.items()):
        add_counts(counted, one.counted)
    parts = (_rows(job, left, files_of(twins), task) for task in tasks)
    write_problems(result, NAMES, parts, counted)


def _rows(
    job: ProblemsJob, looked: Left, twins: Left, task: int
) -> tuple[int, Array, Array, Array]:
    """What `write_problems` is given of a slice.

    job: the search. looked, twins: the files of each task of these stages. task: of look.
    """
    from dedupe.commands.problems.job import LOOKED, TWINS
    from dedupe.commands.problems.look import keep_of

    shard, first, end = job.rows_of(task)
    batches = [
        *LOOKED.read(job.work, {task: looked[task]}, None),
        *TWINS.read(job.work, twins, task),
    ]
    position, bits = (
        np.concatenate([numbers(batch.column(name)) for batch in batches])
        for name in ("position", "problems")
    )
    rows, place = np.unique(position - job.shard_starts[shard], return_inverse=True)
    problems = np.zeros(len(rows), np.uint32)
    np.bitwise_or.at(problems, place, bits)
    keep = keep_of(job.out, job.listed[shard], first, end)
    return shard, rows, problems, keep[rows - first]
