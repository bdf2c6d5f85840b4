"""The stages of contamination in order, before sign; and sign for runs that do nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import numbers
from dedupe.contamination.common import common_task
from dedupe.contamination.items import check_memory, items_task
from dedupe.contamination.job import (
    SCANNED,
    CommonResult,
    ItemsResult,
    MatchResult,
    ReportResult,
    ScanResult,
)
from dedupe.contamination.match import forget_items, match_task
from dedupe.contamination.report import CONTAMINATION, EVALS, report_task
from dedupe.contamination.scan import forget_block, scan_task
from dedupe.replan import leaving_files_out
from dedupe.schema import BAND_RECORDS, ID_RECORDS, NO_SHINGLES, with_id
from dedupe.shingling import digests_of
from dedupe.stage_runner import StageRunner
from dedupe.stages.sign import merged_sources, rows_schema
from dedupe.storage.files import Made
from dedupe.tasks.artifacts import BANDS, CONTAMINATED, ID_DIGESTS, ROWS, files_of
from dedupe.tasks.job import EvalSets, Job
from dedupe.tasks.sign import SignResult

SHARES = {"items": 2.0, "scan": 30.0, "common": 1.0, "match": 4.0, "report": 1.0}
"""The stages in order, with parts of the time as in `pipeline.SHARES`."""


@dataclass(frozen=True)
class Contamination:
    """The results of these stages. job: the run, which knows the rows that were found."""

    job: Job
    evals: EvalSets
    items: ItemsResult
    scanned: Mapping[int, ScanResult]
    common: CommonResult
    matched: Mapping[int, MatchResult]
    report: ReportResult

    @property
    def made(self) -> dict[str, Made]:
        """What is published besides the keep-lists."""
        folder = self.job.work.stages.folder("report")
        return {name: self.report.files[name].made(folder, name) for name in (CONTAMINATION, EVALS)}

    def summary(self, *, only: bool) -> dict[str, Any]:
        """What summary.json says of test sets.

        only: whether rows were held against nothing else.
        """
        parts = [
            None if one.sources is None else {key: (rows, name) for key, rows, name in one.sources}
            for one in self.scanned.values()
        ]
        sources = merged_sources(parts)
        tables: dict[str, dict[str, int]] = {}
        for result in self.matched.values():
            for benchmark, source, rows in result.table:
                name = sources[source][1] if sources else ""
                found = tables.setdefault(benchmark, {})
                found[name] = found.get(name, 0) + rows
        files = [
            {
                "path": path,
                "rows": rows,
                "size": shard.size,
                "version": shard.version,
                "parts": parts_of,
            }
            for shard, (path, rows, parts_of) in zip(
                self.evals.shards, self.items.read, strict=True
            )
        ]
        return {
            "settings": self.evals.asked.as_dict(),
            "only": only,
            "files": files,
            "items": self.items.rows,
            "rows": sum(one.contaminated for one in self.matched.values()),
            "pairs": sum(one.pairs for one in self.matched.values()),
            "common": {
                "rows": self.common.bound,
                "shingles": self.common.common,
                "of": self.common.shingles,
            },
            "uncheckable": self.report.why,
            "benchmarks": [
                {
                    "benchmark": name,
                    "items": items,
                    "contaminated": contaminated,
                    "uncheckable": uncheckable,
                    "rows_by_source": dict(sorted(tables.get(name, {}).items())),
                }
                for name, items, contaminated, uncheckable in self.report.benchmarks
            ],
        }


def find_contamination(job: Job, evals: EvalSets, stages: StageRunner) -> Contamination:
    """Find the rows of a corpus in which items of test sets stand, going on where a run left off.

    job: see `pipeline.open_job`. evals: the test sets. stages: runs the tasks. Raises CorpusError
    for what cannot be read, SettingsError where memory does not hold the items.
    """
    job = replace(job, evals=evals)
    stages.plan(list(SHARES.items()))
    run = partial(stages.run, job)
    items = run("items", ItemsResult, partial(items_task, job, evals), [0])[0]
    check_memory(job, items)
    of_items = {0: items.files}
    while True:
        tasks = [task for task in range(len(job.tasks)) if not job.is_of_references(task)]
        scan = partial(scan_task, job, of_items)
        scanned = stages.run(job, "scan", ScanResult, scan, tasks)
        bad = {path: why for one in scanned.values() for path, why in one.bad_files.items()}
        if not bad:
            break
        for path, why in bad.items():
            stages.note(f"{path} is left out: {why}")
        before, job = job, leaving_files_out(job, bad)
        for task in tasks:
            if before.tasks[task] != job.tasks[task]:
                job.work.forget("scan", task)
    run = partial(stages.run, job)
    rows = sum(one.rows for one in scanned.values())
    count = partial(common_task, job, of_items, files_of(scanned), rows)
    common = run("common", CommonResult, count, [0])[0]
    of_common = {0: common.files}
    match = partial(match_task, job, of_items, scanned, of_common)
    matched = run("match", MatchResult, match, tasks)
    tell = partial(report_task, job, of_items, scanned, of_common, files_of(matched))
    report = run("report", ReportResult, tell, [0])[0]
    forget_items()
    forget_block()
    found = replace(job, contaminated=files_of(matched))
    return Contamination(found, evals, items, scanned, common, matched, report)


def begin_anew(job: Job) -> None:
    """Forget all results of these stages and of sign: files of the corpus were left out since.

    job: of the run.
    """
    for stage in (*SHARES, "sign"):
        for task in job.work.results(stage):
            job.work.forget(stage, task)


def sign_scanned(found: Contamination, stages: StageRunner) -> dict[int, SignResult]:
    """Make what sign leaves, of rows that are held against nothing but test sets.

    found: what was found of them. stages: runs the tasks. No text is read again, and no row is a
    candidate of another.
    """
    job = found.job
    sign = partial(_sign_task, job, dict(found.scanned))
    return stages.run(job, "sign", SignResult, sign, range(len(job.tasks)))


def _sign_task(job: Job, scanned: Mapping[int, ScanResult], task: int) -> SignResult:
    """Leave `ROWS` of a task of scan, and `BANDS` and `ID_DIGESTS` as sign does."""
    result = scanned[task]
    files = _signed(job, result, task) if result.rows else {}
    return SignResult(
        rows=result.rows,
        files=files,
        slices=result.slices,
        types=result.types,
        shingles=result.tokens,
        text_bytes=result.text_bytes,
        replaced=result.replaced,
        missing_ids=result.missing_ids,
        unreadable=result.unreadable,
        unread_examples=result.unread_examples,
        preferred={},
        unfit=[],
        sources=result.sources,
        ids=result.ids,
    )


def _signed(job: Job, result: ScanResult, task: int) -> dict[str, Any]:
    kind = result.type_of_ids
    columns = SCANNED.columns if kind is None else with_id(SCANNED.columns, "id", kind)
    (rows,) = SCANNED.read(job.work, {task: result.files}, 0, columns)
    shingles = numbers(rows.column("shingles")).copy()
    (found,) = CONTAMINATED.read(job.work, {task: job.contaminated[task]}, 0)
    shingles[numbers(found.column("row"))] = NO_SHINGLES
    nothing = pa.array(np.zeros(len(shingles), np.uint64))
    arrays = [pa.array(shingles), nothing, nothing, nothing, rows.column("script")]
    others = len(job.carried)
    if others:  # the source, and nothing else
        source = rows.column("source")
        arrays.append(pa.FixedSizeListArray.from_arrays(source, others))
    schema = rows_schema(job.settings, others, kind)
    partitions = job.sizes.key_partitions
    files: dict[str, Any] = {}
    if kind is not None:
        ids = rows.column("id")
        arrays.append(ids)
        files |= ID_DIGESTS.write(job.work, task, _id_digests(ids, partitions))
    made = pa.RecordBatch.from_arrays(arrays, schema=schema)
    files |= ROWS.write(job.work, task, [made], schema)
    empty = pa.RecordBatch.from_arrays(
        [pa.array([], one.type) for one in BAND_RECORDS], schema=BAND_RECORDS
    )
    return files | BANDS.write(job.work, task, [empty] * partitions)


def _id_digests(ids: pa.Array, partitions: int) -> list[pa.RecordBatch]:
    """The digests of the ids that are there, by partition, as sign leaves them."""
    there = np.flatnonzero(ids.is_valid().to_numpy(zero_copy_only=False))
    digests = digests_of(ids)[there]
    low, high = (np.ascontiguousarray(digests[:, i]) for i in (0, 1))
    partition = ((low >> np.uint64(32)) * np.uint64(partitions)) >> np.uint64(32)
    found = []
    for number in range(partitions):
        mine = partition == number
        columns = [low[mine], high[mine], there[mine].astype(np.uint32)]
        found.append(pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema=ID_RECORDS))
    return found
