"""The stages of an audit, in order: block after block the corpus streams past rows in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.commands.audit.block import SampleResult, block_rows, halvings, sample_task
from dedupe.commands.audit.counts import Counted, CountResult
from dedupe.commands.audit.job import (
    BESIDE,
    BLOCK_SURVIVORS,
    SURVIVORS,
    AuditJob,
    Looked,
    Violations,
)
from dedupe.commands.audit.keep_lists import claims_task, rows_task
from dedupe.commands.audit.scan import BlockOf, ScanResult, count_task, scan_task
from dedupe.progress import Plan
from dedupe.stage_runner import StageRunner
from dedupe.tasks.artifacts import TaskResult, files_of
from dedupe.tasks.costs import COSTS


@dataclass(frozen=True)
class Found:
    """What an audit saw.

    violations: of guarantees. counted: true pairs, of each block. looked_at: rows of all blocks;
    dropped: of these; proven: of these, with a kept row or a reference that is similar enough.
    survivors: rows that are kept though a true partner is. beside: of those that were looked at,
    rows that are kept though a reference is similar enough.
    """

    violations: Violations
    counted: list[Counted]
    looked_at: int
    dropped: int
    proven: int
    survivors: int
    beside: int


def measure(job: AuditJob, stages: StageRunner) -> Found:
    """Run the stages of an audit, going on where it was left.

    job: the audit. stages: runs them.
    """
    most = _typical(job)
    stages.plan(_plan(-(-job.rows // most) if job.every else 1))
    run = partial(stages.run, job)
    groups = range(len(job.groups) - 1)
    looked = run("rows", Looked, partial(rows_task, job), groups)
    kept = files_of(looked)
    claimed = run("claims", Looked, partial(claims_task, job, kept), groups)
    violations = Violations()
    for result in (*looked.values(), *claimed.values()):
        violations.update(Violations.from_json(result.violations))

    counts: list[CountResult] = []
    survivors, beside = [np.zeros(0, np.int64)], np.zeros(0, np.int64)
    done = proven = block = 0
    while done < job.rows and (job.every or block == 0):
        positions, _ = block_rows(job, done, most)
        in_slices = np.diff(np.searchsorted(positions, job.slice_starts))
        wanted = [job.task(block, int(i)) for i in np.flatnonzero(in_slices)]
        sample = partial(sample_task, job, block, done, most)
        sampled = run("sample", SampleResult, sample, wanted)
        level = halvings(job, sampled)
        held = BlockOf(block, len(positions), level, files_of(sampled), kept, files_of(claimed))
        if not any(result.rows for result in sampled.values()):
            break  # the corpus has fewer rows than the run says
        first = int(positions[0]) if job.every else 0
        passing = [job.task(block, i) for i, end in enumerate(job.slice_starts[1:]) if end > first]
        scanned = run("scan", ScanResult, partial(scan_task, job, held), passing)
        count = partial(count_task, job, held, files_of(scanned))
        total = run("count", CountResult, count, [block])[block]
        for result in scanned.values():
            violations.update(Violations.from_json(result.violations))
            proven += result.proven
        for left, files in (
            (SURVIVORS, files_of(scanned)),
            (BLOCK_SURVIVORS, {block: total.files}),
        ):
            survivors += map(_positions, left.read(job.work, files, 0))
        of_references = {task: scanned[task] for task in scanned if job.is_of_references(task)}
        found = BESIDE.read(job.work, files_of(of_references), 0)
        beside = np.unique(np.concatenate([beside, *map(_positions, found)]))
        if job.every:
            _remove_samples(job, sampled)
        counts.append(total)
        done, block = total.last, block + 1
    return Found(
        violations=violations,
        counted=[one.counted(len(job.edges)) for one in counts],
        looked_at=sum(one.looked_at for one in counts),
        dropped=sum(one.dropped for one in counts),
        proven=proven,
        survivors=len(np.unique(np.concatenate(survivors))),
        beside=len(beside),
    )


def _positions(batch: pa.RecordBatch) -> Array:
    return numbers(batch.column(0))


def _plan(blocks: int) -> Plan:
    """The stages and their parts of the time; a block is compared with all rows from its first on.

    The parts are percent of an audit of 60,000 rows of 150 words, of two cores.
    """
    planned = [("rows", 1.0), ("claims", 1.0)]
    for block in range(blocks):
        planned += [("sample", 20.0), ("scan", 64.0 * (blocks - block)), ("count", 14.0)]
    return planned


def _typical(job: AuditJob) -> int:
    """Rows that a block has room for, if they are as long as the mean."""
    hashes = job.mean_text * COSTS.shingle_bytes(job.settings.shingle_unit) / COSTS.shingle_hash
    return max(int(job.budget.block / (job.budget.row + job.budget.hash * hashes)), 1)


def _remove_samples(job: AuditJob, sampled: Mapping[int, TaskResult]) -> None:
    """Remove the shingle sets of a block that was counted: those of all rows take much space."""
    for result in sampled.values():
        for name in result.files:
            job.work.stages.folder("sample").remove(name)
