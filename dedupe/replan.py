"""Plans that change after they were made: files that were mended, or are left out; other settings.

A plan says which slices of the corpus each sign task has. As long as no later stage has begun,
slices of single files can be put in place of others: only the tasks that had some of them are done
again, and all others keep their numbers and their results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

from dedupe.config import Settings
from dedupe.corpus import Slice
from dedupe.errors import CorpusError, WorkDirError, listed
from dedupe.planning.banding import plan_banding
from dedupe.planning.sizes import CUT_BY, PLANNED
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.job import Job

AFTER_SIGN = ("lookup", "choose", "bucket", "join", "components")
"""The stages that read what sign left, of which one is always the first to have a result."""


PLAN = ("documents", "document_of", "sizes", "tuning", "tasks", "left_out")
"""What `run.json` has besides the fingerprint and the name of the run."""

LATER = ("threshold", "recall", "bands", "rows", "cluster", "keep_at_most")
"""Settings that change nothing of what the stages before join leave, but for the bands that follow
from them."""


def same_stages(before: Settings, now: Settings, stages: Sequence[str]) -> list[str]:
    """The stages that leave the same for both settings: all up to the first that does not.

    before, now: settings of two runs over one corpus. stages: of a run, in their order.
    """
    if _of_sign(before) != _of_sign(now):
        return []
    changed = {name for name in LATER if getattr(before, name) != getattr(now, name)}
    if now.joined and "threshold" in changed:
        return list(stages[: stages.index("join")])
    if changed & {"threshold", "cluster", "keep_at_most"}:
        return list(stages[: stages.index("verify")])
    return list(stages)


def _of_sign(settings: Settings) -> list[Any]:
    """All settings that decide what sign leaves."""
    banding = plan_banding(settings) if settings.banded else None
    others = {name: value for name, value in settings.as_dict().items() if name not in LATER}
    return [banding, settings.joined, others]


def differ_in_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two fingerprints differ in settings, and else at most in what follows from them."""
    names = before.keys() | now.keys()
    different = {name for name in names if before.get(name) != now.get(name)}
    return "settings" in different and different <= {"settings", "document"}


def may_take_over(
    work: WorkDir, before: Mapping[str, Any], now: Settings, stages: Sequence[str]
) -> bool:
    """Whether a run of other settings may go on with some work: none of an unfinished run is lost.

    work: of the other run. before: its fingerprint. now: the settings. stages: as in `same_stages`.
    """
    same = same_stages(Settings(**before["settings"]), now, stages)
    return work.is_finished or not any(work.results(one) for one in stages if one not in same)


def save_plan(job: Job, fingerprint: dict[str, Any]) -> None:
    """Write how a run is cut, so that it can go on: see `WorkDir.save_plan`."""
    plan = {
        "documents": job.documents.as_json(),
        "document_of": list(job.documents.of_files),
        "sizes": {name: getattr(job.sizes, name) for name in PLANNED},
        "tuning": {name: getattr(job.planner.tuning, name) for name in CUT_BY},
        "tasks": [[list(astuple(part)) for part in slices] for slices in job.tasks],
        "left_out": job.left_out,
    }
    job.work.save_plan(fingerprint, plan)


def plan_of(begun: Mapping[str, Any]) -> dict[str, Any]:
    """The plan in a `run.json`; begun: what it has."""
    return {name: begun[name] for name in PLAN}


def check_may_change(work: WorkDir, paths: Sequence[str]) -> None:
    """Refuse to go on with files that have changed, where stages after sign have read what it left.

    work: where the run has begun. paths: the files. Raises WorkDirError, which says what is lost.
    """
    done = {stage: len(work.results(stage)) for stage in ("sign", *AFTER_SIGN)}
    if any(done[stage] for stage in AFTER_SIGN):
        tasks = ", ".join(f"{count:,} of {stage}" for stage, count in done.items() if count)
        raise WorkDirError(
            f"{listed(paths)} changed after rows of it were held against others: the tasks that "
            f"are done in {work} ({tasks}) are lost; start anew with --fresh, or give this run a "
            "--work-dir of its own"
        )


def with_other_slices(
    job: Job, fingerprint: dict[str, Any], slices: Mapping[int, Sequence[Slice]]
) -> Job:
    """The same run with other slices of some files; its plan is saved.

    job: the run. fingerprint: of the run as it is now. slices: of each of the files, by number. The
    tasks that had slices of them lose their results. Killed at any moment, it is as it was before,
    or as it is now.
    """
    tasks = [list(parts) for parts in job.tasks]
    having: dict[int, list[int]] = {shard: [] for shard in slices}
    for task, parts in enumerate(tasks):
        for shard in {one.shard for one in parts} & having.keys():
            having[shard].append(task)
    touched: set[int] = set()
    for shard, new in slices.items():
        holders = having[shard]
        if not holders:  # it had no rows: they go behind those of the files before
            holders = [_task_before(job, tasks, shard)]
        touched.update(holders)
        for number, task in enumerate(holders):
            first, end = (len(new) * edge // len(holders) for edge in (number, number + 1))
            at = sum(one.shard < shard for one in tasks[task])
            others = [one for one in tasks[task] if one.shard != shard]
            tasks[task] = [*others[:at], *new[first:end], *others[at:]]
    for task in sorted(touched):
        job.work.forget("sign", task)
    changed = replace(job, tasks=tasks)
    save_plan(changed, fingerprint)
    return changed


def _task_before(job: Job, tasks: list[list[Slice]], shard: int) -> int:
    """The task behind whose slices those of a shard belong, a new one for the first reference."""
    is_reference = job.shards[shard].reference is not None
    own = [
        task
        for task, parts in enumerate(tasks)
        if any(job.shards[one.shard].reference is not None for one in parts) == is_reference
    ]
    before = [task for task in own if any(one.shard < shard for one in tasks[task])]
    if not own and is_reference:
        tasks.append([])
        return len(tasks) - 1
    return (before or own or [0])[-1 if before else 0]


def leaving_files_out(job: Job, files: Mapping[str, str]) -> Job:
    """The same run without the rows of some files; its plan is saved.

    job: the run. files: paths of those that cannot be read, each with the
    reason. Raises CorpusError where none is left.
    """
    left = replace(job, left_out={**job.left_out, **files})
    check_some_left(left)
    numbers = {shard.path: number for number, shard in enumerate(job.shards)}
    without: dict[int, Sequence[Slice]] = {numbers[path]: [] for path in files}
    return with_other_slices(left, job.work.fingerprint(), without)


def check_some_left(job: Job) -> None:
    """Raise CorpusError where every file of a run is left out."""
    count = len(job.left_out)
    if count and count == len(job.shards):
        path, reason = next(iter(job.left_out.items()))
        more = f", and so is every other of {count:,} files" * (count > 1)
        raise CorpusError(f"{reason}: it is left out{more}, and no row is left", path=path)
