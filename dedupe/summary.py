"""What summary.json says of a run, and publishing it with the keep-lists."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.config import ALGORITHM, Resources
from dedupe.pipeline import FinishedRun
from dedupe.result import EVALS_FILES, LEAVINGS, SUMMARY
from dedupe.schema import CLUSTER_BINS, LENGTH_BINS, LOST_BINS, REASONS
from dedupe.stage_runner import StageRunner
from dedupe.storage.checksums import seal
from dedupe.storage.files import Files, Made
from dedupe.tasks.bucket import id_report
from dedupe.tasks.job import Job
from dedupe.tasks.keep import longest_of
from dedupe.tasks.sign import MOST_EXAMPLES
from dedupe.version import __version__
from dedupe.warnings import preferred, warnings_of


def summary_of(
    run: FinishedRun,
    stages: StageRunner,
    resources: Resources,
    started: float,
    named: Mapping[str, Any],
    references: Sequence[str],
    *,
    only: bool = False,
) -> dict[str, Any]:
    """All that is said of a run, as plain values.

    run: what its stages found. stages: what ran them. resources: what they could use. started: when
    the run began, in seconds since the epoch. named: what is said of the corpus as it was named.
    references: what names each reference. only: whether rows were held against nothing but test
    sets.
    """
    job, positions = run.job, run.positions
    grouped, verified = run.grouped.values(), run.verified.values()
    reasons = [sum(counts) for counts in zip(*(r.reasons for r in run.kept.values()), strict=True)]
    sizes = [sum(found) for found in zip(*(r.sizes for r in verified), strict=True)]
    sizes = sizes or [0] * len(CLUSTER_BINS)
    signed = [run.signed[task] for task in positions.own_tasks]
    lost = [sum(counts) for counts in zip(*(r.lost for r in run.kept.values()), strict=True)]
    return {
        "dedupe": __version__,
        "algorithm": ALGORITHM,
        "settings": job.settings.as_dict(),
        "documents": job.documents.as_json(),
        "lsh": _curve(job),
        "corpus": {
            "rows": positions.own_rows,
            "text_bytes": sum(result.text_bytes for result in signed),
            "bad_text_replaced": sum(result.replaced for result in signed),
            "shards": _shards(run),
            "unreadable": _unreadable(run),
            **named,
        },
        "references": _references(run, references),
        "ids": id_report(job, positions, run.signed, run.buckets),
        "reasons": dict(zip(REASONS, reasons, strict=True)),
        "lost": dict(zip(ranges(LOST_BINS), lost, strict=True)),
        **_lengths(run),
        "clusters": dict(zip(ranges(CLUSTER_BINS), sizes, strict=True)),
        "not_compared": _not_compared(run),
        "preferred": preferred(run),
        "warnings": warnings_of(run),
        **_contamination(run, only=only),
        "components": {
            "count": sum(result.components for result in grouped),
            "rows": run.members,
            "largest": max((result.largest_component for result in grouped), default=0),
            "largest_bucket": max(result.largest_bucket for result in run.buckets.values()),
            "pairs_compared": sum(result.compared for result in verified),
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


def publish(run: FinishedRun, summary: dict[str, Any], output: Files) -> None:
    """Put the keep-lists and the summary of a run in its output directory, whole or not at all.

    run: its results. summary: what is said of it. output: the directory. Raises DamageError where a
    keep-list is not as it was made, WorkDirError where the output cannot be written or another run
    has taken the work directory over.
    """
    work = run.job.work
    work.check_own()
    if output.check_new(LEAVINGS):
        output.remove_folder("keep")
        for name in EVALS_FILES:
            output.remove(name)
    made = {f"keep/{one.name}": one for one in _made(run)}
    made |= {} if run.contamination is None else run.contamination.made
    output.publish(made, SUMMARY, seal("summary", summary))


def ranges(bins: Sequence[int]) -> list[str]:
    """Name ranges by where they begin; the last one has no end."""
    ends = [*(start - 1 for start in bins[1:]), None]
    return [
        f"{start} or more" if end is None else str(start) if start == end else f"{start} to {end}"
        for start, end in zip(bins, ends, strict=True)
    ]


def _made(run: FinishedRun) -> list[Made]:
    """The keep-list files, in the order of the shards."""
    folder = run.job.work.stages.folder("keep")
    return [
        file.made(folder, name)
        for _, result in sorted(run.kept.items())
        for name, file in result.files.items()
    ]


def _shards(run: FinishedRun) -> list[dict[str, Any]]:
    rows = np.diff(run.positions.shard_starts).tolist()
    return [
        {
            "path": shard.path,
            "rows": count,
            "size": shard.size,
            "version": shard.version,
            "document": document,
            "keep": f"keep/{made.name}",
            "keep_size": made.size,
            "keep_checksum": made.checksum,
        }
        for shard, count, document, made in zip(
            *(
                of[: run.job.own_shards]
                for of in (run.job.shards, rows, run.job.documents.of_files)
            ),
            _made(run),
            strict=True,
        )
    ]


def _references(run: FinishedRun, names: Sequence[str]) -> list[dict[str, Any]]:
    """What is said of each reference: how it was named, its rows, how many rows it dropped."""
    job, counts = run.job, np.diff(run.positions.shard_starts).tolist()
    dropped = np.zeros(len(names), np.int64)
    for result in run.kept.values():
        dropped[: len(result.because_of)] += np.array(result.because_of, np.int64)
    found = []
    for number, name in enumerate(names):
        shards = [
            {
                "path": shard.path,
                "rows": rows,
                "size": shard.size,
                "version": shard.version,
                "document": document,
            }
            for shard, rows, document in zip(
                job.shards, counts, job.documents.of_files, strict=True
            )
            if shard.reference == number
        ]
        rows = sum(shard["rows"] for shard in shards)
        found.append(
            {"given": name, "rows": rows, "dropped": int(dropped[number]), "shards": shards}
        )
    return found


def _contamination(run: FinishedRun, *, only: bool) -> dict[str, Any]:
    """What is said of test sets, where there are any."""
    found = run.contamination
    if found is None:
        return {}
    made = {name: [one.size, one.checksum] for name, one in found.made.items()}
    return {"contamination": {**found.summary(only=only), "made": made}}


def _unreadable(run: FinishedRun) -> dict[str, Any]:
    """What was left out, as it could not be read: how many rows, the first of them, and files."""
    job, positions = run.job, run.positions
    examples: list[dict[str, Any]] = []
    for task, result in sorted(run.signed.items()):
        for number, row, reason in result.unread_examples[: MOST_EXAMPLES - len(examples)]:
            shard = job.tasks[task][number].shard
            first = int(positions.slice_starts[task][number] - positions.shard_starts[shard])
            examples.append({"path": job.shards[shard].path, "row": first + row, "why": reason})
    return {
        "rows": sum(run.signed[task].unreadable for task in positions.own_tasks),
        "examples": examples,
        "files": dict(sorted(job.left_out.items())),
    }


def _lengths(run: FinishedRun) -> dict[str, Any]:
    """Rows by shingles and script, and the longest rows; of rows whose text was compared."""
    kept = list(run.kept.values())
    counts = np.zeros((2, len(LENGTH_BINS)), np.int64)
    scripts: dict[str, list[list[int]]] = {}
    for result in kept:
        counts += [result.kept_lengths, result.dropped_lengths]
        for name, found in result.scripts.items():
            scripts.setdefault(name, []).append(found)
    longest = longest_of(one for result in kept for one in result.longest)
    stay, go = (sum(result.shingles[which] for result in kept) for which in (0, 1))
    return {
        "shingles": {"kept": stay, "dropped": go},
        "lengths": {
            name: {"kept": rows, "dropped": gone}
            for name, rows, gone in zip(ranges(LENGTH_BINS), *counts.tolist(), strict=True)
        },
        "scripts": {
            name: {"kept": sum(stay for stay, _ in counts), "dropped": sum(go for _, go in counts)}
            for name, counts in sorted(scripts.items())
        },
        "longest": [
            {"shingles": count, "path": run.job.shards[shard].path, "row": row}
            for count, shard, row in longest
        ],
    }


def _not_compared(run: FinishedRun) -> dict[str, int | None]:
    """In how many dropped rows each column that is not compared differs from the kept row's.

    None where it cannot be told: the values of the column are not plain, or of several types.
    """
    job = run.job
    counts = np.zeros(len(job.carried), np.int64)
    for result in run.verified.values():
        counts += np.array(result.differing, np.int64)
    signed = (run.signed[task] for task in run.positions.own_tasks)
    unfit = {number for result in signed for number in result.unfit}
    found = {
        name: None if number in unfit else count
        for number, (name, count) in enumerate(zip(job.carried, counts.tolist(), strict=True))
    }
    return {name: found.get(name) for name in job.settings.not_compared(job.document)}


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
