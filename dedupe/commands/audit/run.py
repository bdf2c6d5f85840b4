"""`audit`: what a finished run promises, measured by an exact join, as tasks on any engine.

rows    which rows are kept, by the keep-lists
claims  why rows are dropped, by the keep-lists
sample  rows of a block, read from the corpus: a sample, or all rows, one block after the other
scan    the corpus streams past the block: true pairs, and exact similarities of what was claimed
count   what a block comes to
"""

from __future__ import annotations

import importlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from dedupe.arrays import Array
from dedupe.commands.audit.counts import Counted
from dedupe.commands.audit.intervals import share_of_pairs, share_of_rows
from dedupe.commands.audit.job import (
    CLAIM_BYTES,
    EXTRA_BYTES,
    KEPT_BESIDE,
    KEPT_BESIDE_EARLIER,
    STATE_BYTES,
    TAKEN_OUT,
    AuditJob,
    Budget,
)
from dedupe.commands.audit.keep_lists import LOST
from dedupe.commands.audit.report import Audit
from dedupe.commands.every_row import cut_into_slices
from dedupe.commands.split.result import is_splits
from dedupe.config import Execution, ExecutionKeywords, Resources, Settings, Tuning, configured
from dedupe.corpus import Shard, Slice
from dedupe.errors import SettingsError
from dedupe.index.witnesses import EarlierRows
from dedupe.planning.banding import Banding
from dedupe.planning.sizes import pack
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import Result, places_of, shards_of
from dedupe.session import check_apart, load_kernels, session
from dedupe.stage_runner import StageRunner
from dedupe.storage import files_at
from dedupe.storage.fingerprint import corpus_versions
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.costs import COSTS
from dedupe.tasks.job import compared_of

if TYPE_CHECKING:
    from dedupe.commands.audit.measure import Found

VERSION = 4
"""Raised whenever files of the work directory of an audit come to mean something else."""

SAMPLE = 20_000
"""Rows of a sample."""

TEXT_RATIO = 3
"""Bytes of text for each that an index has of it, compressed, about."""


def audit(
    out: str | Path,
    *,
    sample: int = SAMPLE,
    full: bool = False,
    seed: int = 1,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> Audit:
    """Measure on a finished run what it promises: recall, proven deletions, no row lost.

    out: the run's output. sample: rows whose true partners are looked for in the whole corpus, by
    an exact join; of a corpus that is no larger, and with full, all rows. full: look at all rows.
    seed: of the sample. execution: where the audit runs and what it may use, see `Execution`; the
    work directory is OUT.audit.work, unless one is named. progress: is told how far it is.
    keywords: fields of `Execution` by name. A killed call goes on when repeated.

    A run that was held against an index is held against the rows that the index keeps: dropped
    rows against the text of their earlier witnesses, and kept rows against all of them. Recall is
    that of pairs of the corpus.

    Raises CorpusError where the corpus is not the one of the run any more, SettingsError, and
    WorkDirError, also where the index is gone.
    """
    began = time.monotonic()
    if is_splits(out, configured(Execution, execution, keywords).storage_options):
        raise SettingsError(f"{out} is a split: use dedupe.audit_splits")
    if type(sample) is not int or sample < 1:
        raise SettingsError(f"sample is {sample!r}: use a whole number from 1")
    if type(seed) is not int:
        raise SettingsError(f"seed is {seed!r}: use a whole number")
    where = configured(Execution, execution, keywords)
    with using(where.storage_options, places_of(out, where.work_dir)):
        result = Result(out)
        if result.summary.get("contamination", {}).get("only"):
            raise SettingsError(
                f"{out} is of decontaminate, which holds rows against test sets and not against "
                "one another: there are no duplicates to look for"
            )
        beside = result.path.with_name(f"{result.path.name}.audit")
        asked = _Asked(sample, seed, every=full or sample >= result.rows)
        with session(where, files_at(beside), progress) as held:
            shards = shards_of(result, references=True)
            given = result.summary["corpus"].get("given", [])
            check_apart([*given, *result.held_against], shards, [held.work.files.root])
            with held.running(shards, load_join) as (stages, resources):
                from dedupe.commands.audit.measure import measure  # with kernels

                job = _open(result, shards, asked, held.work, where, resources, stages)
                found = stages.repairing(job.work, partial(measure, job, stages))
                for shard in shards:
                    shard.check_unchanged()
    return _sum_up(job, found, result, asked, time.monotonic() - began)


def load_join(notify: Callable[[str], None]) -> None:
    """Load the kernels of an audit: those of a run, and the exact join; see `session.Load`."""
    load_kernels(notify)
    from dedupe.kernels import notices

    with notices(notify):
        importlib.import_module("dedupe.kernels.join")


@dataclass(frozen=True)
class _Asked:
    """What was asked for."""

    sample: int
    seed: int
    every: bool


def _open(
    result: Result,
    shards: list[Shard],
    asked: _Asked,
    work: WorkDir,
    execution: Execution,
    resources: Resources,
    stages: StageRunner,
) -> AuditJob:
    """Begin an audit in a work directory, or find the one to go on with."""
    settings, banding = _of_run(result)
    threshold = settings.threshold if settings.near else 1.0
    tuning = execution.tuning
    projections = compared_of(result.documents, settings)
    listed, rows = result.read_shards, [one["rows"] for one in result.shards]
    earlier, index = result.earlier, result.summary.get("index")
    of_index = [] if earlier is None else [earlier.rows]
    starts = np.cumsum([0, *(one["rows"] for one in listed), *of_index])
    has_extras = Settings(**result.summary["settings"]).keeps_extras
    of_row = STATE_BYTES + EXTRA_BYTES * has_extras + CLAIM_BYTES * asked.every
    taken = int(starts[-1]) * of_row
    fingerprint = {
        "audit": VERSION,
        "asked": asdict(asked),
        "keep_list": {one["keep"]: one["keep_checksum"] for one in result.shards},
        "settings": result.summary["settings"],
        "corpus": corpus_versions(shards),
        "index": None if earlier is None else [index, earlier.store.manifest.number],
    }
    work, begun = work.begin(fingerprint, fresh=execution.fresh, other="other work")
    if begun is None:
        budget = Budget.of(resources, COSTS, tuning, settings, threshold, banding.bands, taken)
        begun = {
            "budget": asdict(budget),
            **cut_into_slices(stages, shards, listed, projections, tuning),
        }
        if earlier is not None:
            for first, end in _ranges(earlier, tuning):
                begun["slices"].append([len(shards), 0, first, end])
                begun["first"].append(int(starts[-2]) + first)
        work.save_plan(fingerprint, begun)
    size = 0 if asked.every else asked.sample
    drawn = random.Random(asked.seed).sample(range(result.rows), size)  # noqa: S311
    per_task = max(tuning.keep_rows, result.rows // tuning.most_tasks)
    least = max(tuning.keep_rows // tuning.keep_shards, 1)
    groups = pack(range(len(rows)), [max(count, least) for count in rows], per_task)
    return AuditJob(
        settings=settings,
        banding=banding,
        threshold=threshold,
        every=asked.every,
        drawn=np.array(drawn, np.int64),
        document=result.documents.whole,
        projections=projections,
        shards=shards,
        out=result.storage,
        listed=listed,
        shard_starts=starts,
        groups=[group[0] for group in groups] + [len(rows)],
        slices=[Slice(*part) for part in begun["slices"]],
        slice_starts=np.array([*begun["first"], starts[-1]], np.int64),
        mean_text=result.summary["corpus"]["text_bytes"] / max(result.rows, 1),
        budget=Budget(**begun["budget"]),
        work=work,
        has_evals="contamination" in result.summary,
        has_extras=has_extras,
        earlier=earlier,
        own=index is not None and index["earlier"],
    )


def _ranges(earlier: EarlierRows, tuning: Tuning) -> Iterator[tuple[int, int]]:
    """Ranges of rows of an index: the first and the end of what one task reads.

    earlier: the index. tuning: how large slices are.
    """
    manifest = earlier.store.manifest
    text = TEXT_RATIO * sum(segment.bytes("text") for segment in manifest.segments)
    step = max(min(tuning.audit_rows, manifest.rows * tuning.audit_text // max(text, 1)), 1)
    for first in range(0, earlier.rows, step):
        yield first, min(first + step, earlier.rows)


def _sum_up(job: AuditJob, found: Found, result: Result, asked: _Asked, seconds: float) -> Audit:
    """What all of that comes to."""
    every = asked.every
    drawn = 1.0 if every else found.looked_at / job.rows
    edges = job.edges
    counted = Counted.of(found.counted, len(edges), halve=every)
    names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges.tolist())]
    columns = zip(counted.missed.T, counted.pairs.T, strict=True)
    shares = [share_of_pairs(*column, counted.rows, drawn).rest for column in columns]
    whole = counted.missed.sum(1), counted.pairs.sum(1)
    broken: dict[str, dict[str, int]] = {"witness": {}, "no survivors": {}, "nothing lost": {}}
    has_untouched = bool(result.untouched) or (job.earlier is not None and not job.own)
    if has_untouched:
        broken["untouched"] = {}
    if counted.broken:
        broken["no survivors"]["pairs of kept rows"] = counted.broken
    for kind, count in sorted(found.violations.counts.items()):
        if kind == KEPT_BESIDE:
            broken["untouched"][kind] = count
        elif kind == KEPT_BESIDE_EARLIER:
            broken["no survivors"][kind] = count
        elif kind == TAKEN_OUT:
            continue
        elif kind not in ("missed", "pairs of kept rows"):
            broken["nothing lost" if kind in LOST else "witness"][kind] = count
    beside = share_of_rows(found.beside, found.looked_at - found.dropped, drawn)
    return Audit(
        rows=job.rows,
        sample=found.looked_at,
        asked=job.rows if every else asked.sample,
        every=every,
        seed=asked.seed,
        threshold=job.threshold,
        target=_target(job.settings, job.banding),
        recall=share_of_pairs(*whole, counted.rows, drawn).rest,
        by_similarity=dict(zip([*names, "1.00"], shares, strict=True)),
        missed_rows=share_of_rows(found.survivors, found.looked_at, drawn),
        wrongly_dropped=share_of_rows(found.dropped - found.proven, found.dropped, drawn),
        beside_reference=beside if has_untouched else None,
        beside_earlier=beside if job.own else None,
        taken_out=found.violations.counts.get(TAKEN_OUT, 0),
        broken=broken,
        examples={
            kind: [_places(result, job.shard_starts, rows) for rows in positions]
            for kind, positions in found.violations.examples.items()
        },
        seconds=seconds,
    )


def _target(settings: Settings, banding: Banding) -> float | None:
    """The recall that was asked for; None where only exact copies were."""
    if not settings.near:
        return None
    if settings.bands is not None:
        return banding.chance(settings.threshold)
    return 1.0 if settings.joined else float(settings.recall)


def _places(result: Result, starts: Array, positions: Sequence[int]) -> list[list[Any]]:
    """Rows at these positions: the path of the shard, and the number in it, of each.

    And of rows of an index the crawl.
    """
    places: list[list[Any]] = []
    shards = np.searchsorted(starts, positions, side="right") - 1
    for shard, position in zip(shards.tolist(), positions, strict=True):
        row = position - int(starts[shard])
        if shard < len(result.read_shards):
            places.append([result.read_shards[shard]["path"], row])
        elif result.earlier is not None:
            crawl, path, row = result.earlier.place(row)
            places.append([path, row, crawl])
    return places


def _of_run(result: Result) -> tuple[Settings, Banding]:
    """Settings and banding of a run; without what decides only which row is kept or is told."""
    others = ("id", "keep", "keep_at_most", "per", "count_by", "by")
    usual = {name: getattr(Settings(), name) for name in others} | {"differences": False}
    settings = Settings(**{**result.summary["settings"], **usual})
    lsh = result.summary["lsh"]
    return settings, Banding(lsh["bands"], lsh["rows"]) if lsh else Banding(1, 1)
