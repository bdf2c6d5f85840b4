"""`audit` of a split: how similar rows of test and validation are to the nearest one of train."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from rich.table import Table
from rich.text import Text

from dedupe.commands.audit.job import STATE_BYTES, Budget
from dedupe.commands.audit.run import load_join
from dedupe.commands.every_row import cut_into_slices
from dedupe.commands.split.apply import places_of_split
from dedupe.commands.split.result import Splits
from dedupe.commands.split.wanted import HELD_OUT
from dedupe.config import Execution, ExecutionKeywords, Resources, configured
from dedupe.corpus import Shard, Slice
from dedupe.errors import SettingsError
from dedupe.notebook import html_table
from dedupe.planning.banding import Banding
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import shards_of
from dedupe.schema import SPLITS
from dedupe.screen import console
from dedupe.session import check_apart, session
from dedupe.stage_runner import StageRunner
from dedupe.storage import files_at
from dedupe.storage.fingerprint import corpus_versions
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import TaskResult, files_of
from dedupe.tasks.costs import COSTS
from dedupe.tasks.job import compared_of

if TYPE_CHECKING:
    from dedupe.commands.split.leaks import LeakJob

VERSION = 1
"""Raised whenever files of the work directory of such an audit come to mean something else."""

BELOW = 0.2
"""So far below the threshold similarities are looked for, unless it is said from where on."""
LEAST = 0.1
"""But from no less than this."""


@dataclass(frozen=True)
class SplitAudit:
    """What was measured on a split.

    rows: of each split. threshold: the similarity from which a pair is a leak. least: that from
    which rows are looked for. leaks: for test and validation the rows that have such a row in
    train. near: for both how many rows have their nearest row of train in each range of
    similarity. nearest: the nearest pairs: their `jaccard`, the `split` of the `row` and the row of
    `train`, both as [path, row in the shard]. seconds: that it took.
    """

    rows: Mapping[str, int]
    threshold: float
    least: float
    leaks: Mapping[str, int]
    near: Mapping[str, Mapping[str, int]]
    nearest: Sequence[Mapping[str, Any]]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether nothing leaks."""
        return not any(self.leaks.values())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        caption = (
            "nothing leaks" if self.ok else "rows leak"
        ) + f": rows with a row of train at {self.threshold:g} or more"
        leaks = [(name, self.rows[name], count) for name, count in self.leaks.items()]
        return html_table(caption, ("split", "rows", "leaks"), leaks)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": self.ok, **asdict(self)}


def audit_splits(
    out: str | Path,
    *,
    least: float | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> SplitAudit:
    """Hold every row of test and validation against all rows of train, by an exact join.

    out: the split's output. least: similarity from which rows are looked for; None for 0.2 below
    the threshold of the split. execution: where the audit runs and what it may use; the work
    directory is OUT.audit.work, unless one is named. progress: is told how far it is. keywords:
    fields of `Execution` by name. A killed call goes on when repeated.

    Raises CorpusError where the corpus is not the one of the split any more, SettingsError,
    WorkDirError.
    """
    began = time.monotonic()
    where = configured(Execution, execution, keywords)
    with using(where.storage_options, places_of_split(out, where.work_dir)):
        splits = Splits(out)
        threshold = splits.settings.threshold
        from_there = min(threshold, max(LEAST, round(threshold - BELOW, 6)))
        if least is not None:
            if (
                isinstance(least, bool)
                or not isinstance(least, int | float)
                or not (0 < least <= threshold)
            ):
                raise SettingsError(
                    f"least is {least!r}: use a similarity above 0 and up to the threshold of the "
                    f"split, {threshold:g}"
                )
            from_there = float(least)
        beside = splits.path.with_name(f"{splits.path.name}.audit")
        with session(where, files_at(beside), progress) as held:
            shards = shards_of(splits)
            given = splits.summary["corpus"].get("given", [])
            check_apart(given, shards, [held.work.files.root])
            with held.running(shards, load_join) as (stages, resources):
                job = _open(splits, shards, from_there, held.work, where, resources, stages)
                found = stages.repairing(job.work, partial(_measure, job, splits, stages))
                for shard in shards:
                    shard.check_unchanged()
    return SplitAudit(**found, seconds=time.monotonic() - began)


def _open(
    splits: Splits,
    shards: list[Shard],
    least: float,
    work: WorkDir,
    execution: Execution,
    resources: Resources,
    stages: StageRunner,
) -> LeakJob:
    """Begin an audit in a work directory, or find the one to go on with."""
    from dedupe.commands.split.leaks import LeakJob  # with kernels

    settings, tuning = splits.settings, execution.tuning
    projections = compared_of(splits.documents, settings)
    rows = [one["rows"] for one in splits.shards]
    starts = np.cumsum([0, *rows])
    total = int(starts[-1])
    fingerprint = {
        "audit_splits": VERSION,
        "least": least,
        "splits": {one["split"]: one["split_checksum"] for one in splits.shards},
        "settings": splits.summary["settings"],
        "corpus": corpus_versions(shards),
    }
    work, begun = work.begin(fingerprint, fresh=execution.fresh, other="other work")
    if begun is None:
        budget = Budget.of(resources, COSTS, tuning, settings, least, 0, total * STATE_BYTES)
        cut = cut_into_slices(stages, shards, splits.shards, projections, tuning)
        begun = {"budget": asdict(budget), **cut}
        work.save_plan(fingerprint, begun)
    return LeakJob(
        settings=settings,
        banding=Banding(1, 1),
        threshold=least,
        every=False,
        drawn=np.zeros(0, np.int64),
        document=splits.documents.whole,
        projections=projections,
        shards=shards,
        out=splits.storage,
        listed=splits.shards,
        shard_starts=starts,
        groups=[0, len(shards)],
        slices=[Slice(*part) for part in begun["slices"]],
        slice_starts=np.array([*begun["first"], total], np.int64),
        mean_text=splits.summary["corpus"]["text_bytes"] / max(total, 1),
        budget=Budget(**begun["budget"]),
        work=work,
        has_evals=False,
        has_extras=False,
        earlier=None,
        own=False,
        leak=settings.threshold,
    )


def _measure(job: LeakJob, splits: Splits, stages: StageRunner) -> dict[str, Any]:
    """Run the stages, going on where the audit was left; the fields of `SplitAudit`."""
    from dedupe.commands.split.leaks import (
        EXAMPLES,
        HoldResult,
        NearResult,
        blocks_of,
        hold_task,
        near_task,
        scan_task,
        told,
    )

    stages.plan([("hold", 15.0), ("scan", 80.0), ("near", 5.0)])
    run = partial(stages.run, job)
    slices = range(len(job.slices))
    held = run("hold", HoldResult, partial(hold_task, job), slices)
    done: list[NearResult] = []
    for block, numbers in enumerate(blocks_of(job, held)):
        files = files_of({number: held[number] for number in numbers})
        scan = partial(scan_task, job, block, files)
        scanned = run("scan", TaskResult, scan, [job.task(block, one) for one in slices])
        near = partial(near_task, job, block, files, files_of(scanned))
        done.append(run("near", NearResult, near, [block])[block])
    edges = job.bins.tolist()
    names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)] + ["1.00"]
    below = f"below {job.threshold:.2f}"
    near_rows, leaks = {}, {}
    for place, split in enumerate(HELD_OUT):
        counts = [sum(column) for column in zip(*(one.near[place] for one in done), strict=True)]
        counts = counts or [0] * len(names)
        rows = sum(result.counts[place] for result in held.values())
        near_rows[SPLITS[split]] = {
            below: rows - sum(counts),
            **dict(zip(names, counts, strict=True)),
        }
        leaks[SPLITS[split]] = sum(one.leaks[place] for one in done)
    nearest = sorted((pair for one in done for pair in one.nearest), key=lambda one: -one[0])
    return {
        "rows": dict(splits.summary["splits"]),
        "threshold": job.leak,
        "least": job.threshold,
        "leaks": leaks,
        "near": near_rows,
        "nearest": told(job, nearest[:EXAMPLES]),
    }


def print_split_audit(found: SplitAudit) -> None:
    """Print it as tables, what leaks last."""
    shown = console()
    names = [name for name in found.near if found.rows[name]]
    table = Table(title="rows by the similarity of the nearest row of train")
    for name in ("similarity", *names):
        table.add_column(name, justify="left" if name == "similarity" else "right")
    for similarity in next(iter(found.near.values())):
        table.add_row(similarity, *(f"{found.near[name][similarity]:,}" for name in names))
    shown.print(table)
    for pair in found.nearest[:5]:
        (path, row), (other, again) = pair["row"], pair["train"]
        shown.print(
            f"{pair['jaccard']:.4f}: row {row} of {path} ({pair['split']}) and row {again} of "
            f"{other} (train)",
            soft_wrap=True,
        )
    for name in names:
        count = found.leaks[name]
        state = Text(f"{count:,} rows", style="bold red") if count else Text("no row")
        shown.print(
            Text.assemble(
                state,
                f" of {found.rows[name]:,} in {name} leaks: has a row of train at "
                f"{found.threshold:g} or more",
            )
        )
