"""`sweep`: rows kept, clusters and the largest of them at each of several thresholds.

Candidates are those of a run at the lowest threshold, and its stages up to fetch are all that reads
the corpus. Then each partition of components is decided once for each threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from dedupe.api import (
    Corpus,
    configurations,
    discovered,
    discovered_references,
    for_now,
    paths_of,
    said_of_documents,
    shards_given,
)
from dedupe.commands.sweep.result import Change, Step, Sweep
from dedupe.commands.sweep.thresholds import thresholds_of
from dedupe.config import Execution, Keywords, Settings
from dedupe.corpus import (
    Discovered,
    as_references,
    by_role,
    check_columns,
    check_few_rows,
    read_as,
)
from dedupe.corpus.frames import InMemory, references_of, rows_of
from dedupe.corpus.names import said_left_out
from dedupe.errors import SettingsError
from dedupe.hiding import told_apart
from dedupe.pairs import values_of
from dedupe.progress import Progress
from dedupe.remote.given import using

if TYPE_CHECKING:
    from dedupe.commands.sweep.task import SweepResult
    from dedupe.corpus import Shard
    from dedupe.session import Session
    from dedupe.stage_runner import StageRunner
    from dedupe.tasks.job import Job
    from dedupe.tasks.positions import Positions
    from dedupe.tasks.sign import SignResult

PAIRS = 5
"""Pairs that change sides from one threshold to the next, which are shown."""


def sweep(
    corpus: Corpus,
    thresholds: str | Sequence[float],
    *,
    against: Corpus | None = None,
    pairs: int = PAIRS,
    settings: Settings | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[Keywords],
) -> Sweep:
    """Count what a corpus comes to at each of several thresholds, without a run for each.

    corpus, against: as in `deduplicate`. thresholds: "FIRST:LAST:STEP" like "0.6:0.95:0.05", or a
    list of Jaccard similarities. pairs: rows that change sides from one threshold to the next, of
    which so many are told with their texts. settings: everything else that decides a keep-list, see
    `Settings`; bands are planned for the lowest threshold. execution: where it is done, see
    `Execution`; the work directory is a temporary one unless it is named, and a call that was
    killed goes on only in one that was. progress: is told how far it is. keywords: fields of
    `Settings` and `Execution` by name.

    Counts at the lowest threshold are those of a run at it; so are all others with
    recall="exact". With bands the candidates are those of the lowest threshold, so that at higher
    ones a little more is found than by a run that plans bands for these.

    Raises SettingsError, CorpusError, WorkDirError or EngineError, all of them DedupeError.
    """
    asked = thresholds_of(thresholds)
    if type(pairs) is not int or pairs < 0:
        raise SettingsError(f"pairs is {pairs!r}: use a whole number from 0")
    given, where = configurations(settings, execution, keywords)
    if "threshold" in keywords or given.threshold != Settings().threshold:
        raise SettingsError("a sweep has several thresholds: leave out threshold")
    if not given.near:
        raise SettingsError("exact copies are the same at each threshold: leave out --no-near")
    chosen = replace(given, threshold=asked[0])
    rows = rows_of(corpus, chosen)
    untouched = None if against is None else references_of(against, chosen)
    named = paths_of(corpus) if rows is None else []
    references = paths_of(against) if against is not None and untouched is None else []
    urls = told_apart([*named, *references])
    shown = {url: name for name, url in urls.items()}
    places = [*named, *references, str(where.work_dir)]
    secret = {name: url for name, url in urls.items() if name != url}
    with using(where.storage_options, places, secret):
        its = [shown[path] for path in named] if rows is None else rows
        refs = [shown[path] for path in references] if untouched is None else untouched
        make = partial(_sweep, its, refs, chosen, asked, pairs, where, progress)
        return for_now(its, where, make)


def _sweep(
    corpus: list[str] | InMemory,
    against: list[str] | InMemory,
    settings: Settings,
    thresholds: list[float],
    pairs: int,
    execution: Execution,
    progress: Progress | None,
    output: Path,
) -> Sweep:
    """See `sweep`; output: a place in a temporary folder, beside which work is done."""
    found = references = Discovered([], {}, {})
    if isinstance(corpus, list):
        found = discovered(corpus, settings)
    if isinstance(against, list):
        references = discovered_references(against, found.shards, settings)
    from dedupe.session import check_apart, load_kernels, output_at, session
    from dedupe.tasks.costs import limits_of
    from dedupe.tasks.job import projection_of
    from dedupe.tasks.survey import Firsts, document_of

    with (
        session(execution, output_at(output), progress) as held,
        shards_given(corpus, found.shards, held) as own,
        shards_given(against, references.shards, held) as untouched,
    ):
        if not isinstance(against, list):
            untouched = as_references(untouched, len(own))
        how = {"limits": limits_of(execution), **settings.reading}
        shards = [read_as(shard, **how) for shard in (*own, *untouched)]
        for said in said_left_out(found.left_out, found.repeated):
            held.progress.note(f"leaves out {said}")
        paths = [path for one in (corpus, against) if isinstance(one, list) for path in one]
        check_apart(paths, shards, [held.work.files.root])
        documents = [document_of(by_role(shards)[0], settings)]
        if untouched:
            documents.append(document_of(by_role(shards)[1], settings.of_references))
        if own and not settings.skips_files:  # most mistakes show in the first file
            lacking = check_columns(shards[0], projection_of(documents[0], settings))
            if len(own) == 1:
                check_few_rows(shards[0], lacking)
        with held.running(shards, load_kernels) as (stages, resources):
            from dedupe.pipeline import open_job

            job = open_job(
                shards,
                settings,
                Firsts(*documents),
                resources,
                execution.tuning,
                held.work,
                stages,
                fresh=execution.fresh,
                takes_over=True,
            )
            for said in said_of_documents(job.documents, shards, settings):
                held.progress.note(said)

            def attempt() -> Sweep:
                nonlocal job  # files may be left out, also where a file is made again later
                job, made = _run(job, stages, thresholds, pairs, held)
                return made

            made = stages.repairing(job.work, attempt)
            for shard in shards:
                if shard.path not in job.left_out:
                    shard.check_unchanged()
            job.work.finish()
            return made


def _run(
    job: Job, stages: StageRunner, thresholds: list[float], pairs: int, held: Session
) -> tuple[Job, Sweep]:
    """The stages of a run up to fetch, and the sweep; and the job, which may leave files out."""
    from dedupe.commands.sweep.task import STAGE, SweepResult, sweep_task
    from dedupe.pipeline import SHARES, gather, sign_corpus

    last = ("verify", "keep")
    shares = {name: part for name, part in SHARES.items() if name not in last}
    job, signed = sign_corpus(job, stages, {**shares, STAGE: SHARES["verify"] * len(thresholds)})
    found = gather(job, signed, stages)
    job.work.begin_stage(STAGE, {"thresholds": thresholds, "pairs": pairs})
    task = partial(
        sweep_task, job, found.positions, found.grouped, found.fetched, thresholds, pairs
    )
    swept = stages.run(job, STAGE, SweepResult, task, found.partitions)
    return job, _summed_up(job, found.positions, signed, swept, thresholds, pairs, held)


def _summed_up(
    job: Job,
    positions: Positions,
    signed: Mapping[int, SignResult],
    swept: Mapping[int, SweepResult],
    thresholds: list[float],
    pairs: int,
    held: Session,
) -> Sweep:
    unread = sum(signed[task].unreadable for task in positions.own_tasks)
    results = list(swept.values())
    chance = job.banding.chance if job.settings.banded else lambda _: 1.0
    steps = []
    for number, threshold in enumerate(thresholds):
        dropped = unread + sum(one.dropped[number] for one in results)
        steps.append(
            Step(
                threshold,
                positions.own_rows - dropped,
                dropped,
                sum(one.clusters[number] for one in results),
                max((one.largest[number] for one in results), default=0),
                chance(threshold),
            )
        )
    moved = [
        sorted(pair for one in results for pair in one.moved[number])[:pairs]
        for number in range(len(thresholds) - 1)
    ]
    told = _told(job, positions, moved, held)
    changes = [
        Change(
            lower,
            higher,
            sum(one.stays[number] for one in results),
            sum(one.goes[number] for one in results),
            told[number],
        )
        for number, (lower, higher) in enumerate(pairwise(thresholds))
    ]
    banding = job.banding if job.settings.banded else None
    return Sweep(
        rows=positions.own_rows,
        steps=steps,
        changes=changes,
        bands=banding.bands if banding else None,
        band_rows=banding.rows if banding else None,
        fields=job.document.names,
    )


def _told(
    job: Job, positions: Positions, moved: Sequence[Sequence[Any]], held: Session
) -> list[list[dict[str, Any]]]:
    """What is told of pairs, with their texts, which are read for it.

    moved: of each change some rows, see `SweepResult`.
    """
    import numpy as np

    starts, names = positions.shard_starts, job.document.names

    def place(position: int) -> tuple[int, int]:
        shard = int(np.searchsorted(starts, position, side="right")) - 1
        return shard, position - int(starts[shard])

    def open_shard(listed: Mapping[str, Any]) -> Shard:
        shard: Shard = job.shards[listed["number"]]
        return shard

    places = [place(row) for pairs in moved for pair in pairs for row in pair[1:3]]
    listed = [{"path": shard.path, "number": at} for at, shard in enumerate(job.shards)]
    aligned = map(job.documents.aligned_for, range(len(job.shards)))
    fields = [tuple(one.fields.values()) for one in aligned]
    values = values_of(places, listed, fields, (), open_shard, held.progress.note)
    told: list[list[dict[str, Any]]] = []
    for pairs in moved:
        told.append([])
        for _, row, witness, jaccard, stays in pairs:
            (shard, at), (other, its) = place(row), place(witness)
            found = {
                "shard": job.shards[shard].path,
                "row": at,
                "witness_shard": job.shards[other].path,
                "witness_row": its,
                "jaccard": min(jaccard),
                "stays": stays,
            }
            if len(names) > 1:
                found |= {f"jaccard_{n}": one for n, one in zip(names, jaccard, strict=True)}
            for prefix, where in (("", (shard, at)), ("witness_", (other, its))):
                for field, name in enumerate(names):
                    label = "text" if len(names) == 1 else f"text_{name}"
                    found[f"{prefix}{label}"] = values[where].texts[field]
            told[-1].append(found)
    return told
