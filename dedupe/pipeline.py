"""The whole run, in order: four shuffles and a tree.

    sign    ⇒ bucket     by band key: rows that share one are candidates
              components a tree of merges: candidates to connected components
    route   ⇒ group      by component: exact copies travel once
    fetch   ⇒ verify     by component: shingle sets prove or refute each candidate
    verify  ⇒ keep       by shard: decisions become keep-lists

Without bands, `join` proposes all similar pairs in place of bucket.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from dedupe.config import Resources, Settings, Tuning
from dedupe.contamination.run import SHARES as SHARES_OF_EVALS
from dedupe.contamination.run import (
    Contamination,
    begin_anew,
    find_contamination,
    sign_scanned,
)
from dedupe.corpus import Shard, Slice, by_role, identities, nowhere
from dedupe.documents.mixed import Documents
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import IntegrityError, WorkDirError, listed
from dedupe.index.blocks import BlockTable
from dedupe.planning.banding import Banding, plan_banding
from dedupe.planning.sizes import Planner, levels, pack
from dedupe.replan import (
    check_may_change,
    check_some_left,
    differ_in_settings,
    leaving_files_out,
    may_take_over,
    plan_of,
    same_stages,
    save_plan,
    with_other_slices,
)
from dedupe.schema import COUNTED_ALONE
from dedupe.stage_runner import StageRunner
from dedupe.storage.fingerprint import changed_files, corpus_versions, fingerprint_of_run
from dedupe.storage.tables import schema_as_text
from dedupe.storage.work_dir import WORK_VERSION, WorkDir
from dedupe.tasks.artifacts import Left, TaskResult, files_of
from dedupe.tasks.bucket import BucketResult, bucket_task
from dedupe.tasks.components import ComponentsResult, components_task
from dedupe.tasks.costs import costs_of
from dedupe.tasks.earlier import (
    LookupResult,
    admit_task,
    choose_task,
    connect_task,
    lookup_task,
    resolve_task,
    table_of,
    touch_task,
    with_chosen,
)
from dedupe.tasks.fetch import fetch_task
from dedupe.tasks.group import GroupResult, group_task
from dedupe.tasks.job import EvalSets, Job, evals_fingerprint, projection_of
from dedupe.tasks.join import join_task
from dedupe.tasks.keep import KeepResult, keep_task
from dedupe.tasks.positions import Positions
from dedupe.tasks.route import route_task
from dedupe.tasks.segment import (
    ClassifyResult,
    SegmentResult,
    classify_task,
    segment_task,
    text_columns,
)
from dedupe.tasks.sign import SignResult, check_all_types, sign_task
from dedupe.tasks.survey import (
    Firsts,
    Lacks,
    SurveyResult,
    documents_of,
    in_all,
    reference_document,
    seek,
    survey,
)
from dedupe.tasks.verify import VerifyResult, verify_task

SHARES = {
    "sign": 43.0,
    "lookup": 6.0,
    "resolve": 1.0,
    "touch": 0.1,
    "choose": 1.0,
    "admit": 0.2,
    "bucket": 8.0,
    "join": 250.0,
    "connect": 1.0,
    "components": 1.5,
    "route": 0.5,
    "group": 2.0,
    "fetch": 32.0,
    "verify": 10.0,
    "keep": 3.0,
    "classify": 0.1,
    "segment": 20.0,
}
"""The stages in order, with parts of the time: percent of a run of 10 million rows with bands.

lookup to choose, and connect, are for runs that are held against an index, classify and segment for
those that add to it. join is for runs without bands, and has 65 to 81 % of their time, more where
there are more rows; measured with benchmarks/measure, whose results scale.json and
recall-exact.json hold the times.
"""

LARGE_COMPONENT = 100_000
"""Rows of a component that is named before verify begins: it takes seconds, or very much longer."""
NAMED = 3
"""Components that are named, at most; of each partition it is the largest one."""

STAGES = tuple(SHARES)
"""The stages in order."""

EARLIER_STAGES = ("lookup", "resolve", "touch", "choose", "admit", "connect")
"""Those of runs that are held against an index."""

ADDING_STAGES = ("classify", "segment")
"""Those of runs that add to one."""

EVALS_STAGES = tuple(SHARES_OF_EVALS)
"""Those before sign, with test sets."""


@dataclass(frozen=True)
class FinishedRun:
    """The results of every stage of a run, by task.

    job: the run. positions: where its rows are. members: rows in components. contamination: the
    results of the stages before sign, None without test sets.
    """

    job: Job
    positions: Positions
    signed: Mapping[int, SignResult]
    buckets: Mapping[int, BucketResult]
    members: int
    grouped: Mapping[int, GroupResult]
    verified: Mapping[int, VerifyResult]
    kept: Mapping[int, KeepResult]
    contamination: Contamination | None = None
    added: Added | None = None


@dataclass(frozen=True)
class Added:
    """What a run has written for an index.

    tables: of its segment, by their kind; see `index.manifest`. kept: rows that later ones are held
    against. classes: how many numbers of classes it takes. types: the schema of kept texts.
    """

    tables: Mapping[str, tuple[BlockTable, ...]]
    kept: int
    classes: int
    types: str


def decontaminate_corpus(
    job: Job,
    evals: EvalSets,
    stages: StageRunner,
    *,
    only: bool,
    indexed: bool = False,
    added: bool = False,
) -> tuple[Contamination, dict[int, SignResult]]:
    """Find the rows in which items of test sets stand, and sign the others.

    job: see `open_job`. evals: the test sets. stages: runs the tasks. only: whether rows are not to
    be held against one another. indexed, added: see `sign_corpus`. Gives what was found, whose job
    knows these rows, and the results of sign. Raises CorpusError for what cannot be read.
    """
    while True:
        found = find_contamination(job, evals, stages)
        if only:
            return found, sign_scanned(found, stages)
        job, signed = sign_corpus(found.job, stages, indexed=indexed, added=added)
        if job.tasks == found.job.tasks:
            return found, signed
        begin_anew(job)
        job = replace(job, contaminated={})


@dataclass(frozen=True)
class Gathered:
    """What the stages up to fetch left: all that is compared; see `FinishedRun`.

    linked: rows in components, with those of an index that were ruled out. labels: the files of the
    last merge. fetched: those of each fetch task. partitions: of components.
    """

    positions: Positions
    buckets: Mapping[int, BucketResult]
    members: int
    linked: int
    labels: Left
    grouped: Mapping[int, GroupResult]
    fetched: Left

    @property
    def partitions(self) -> range:
        """The partitions of components."""
        return range(len(self.grouped))


@dataclass(frozen=True)
class Decided(Gathered):
    """The same, and what verify found."""

    verified: Mapping[int, VerifyResult]


def sign_corpus(
    job: Job,
    stages: StageRunner,
    shares: Mapping[str, float] = SHARES,
    *,
    indexed: bool = False,
    added: bool = False,
) -> tuple[Job, dict[int, SignResult]]:
    """Sign the rows of a corpus; the run without the files that could not be read, and the results.

    job: see `open_job`. stages: runs the tasks. shares: the stages that follow, as in `SHARES`.
    indexed: whether the corpus will be held against an index. added: whether it is added to one.
    Raises CorpusError for what cannot be read.
    """
    left_out = _left_out(job, indexed=indexed, added=added)
    stages.plan([one for one in shares.items() if one[0] not in left_out])
    while True:
        tasks = range(len(job.tasks))
        signed = stages.run(job, "sign", SignResult, partial(sign_task, job), tasks)
        bad = {path: why for one in signed.values() for path, why in one.bad_files.items()}
        if not bad:
            check_all_types(job, signed)
            return job, signed
        _tell_left_out(bad, stages)
        job = leaving_files_out(job, bad)


def _left_out(job: Job, *, indexed: bool, added: bool) -> set[str]:
    """The stages that a run does not have."""
    left_out = set() if job.settings.joined else {"join"}
    if not indexed:
        left_out |= {*EARLIER_STAGES}
    elif not job.settings.keyed:
        left_out |= {*EARLIER_STAGES} - {"choose", "admit"}
    return left_out if added else left_out | {*ADDING_STAGES}


def run_stages(job: Job, signed: dict[int, SignResult], stages: StageRunner) -> FinishedRun:
    """Make the keep-lists of a corpus in the work directory, going on where a run left off.

    job, signed: see `sign_corpus`. stages: runs the others. Raises CorpusError for what
    cannot be read, WorkDirError where the disk is full.
    """
    job, signed, brought = bring_earlier(job, signed, stages)
    decided = decide(job, signed, stages, brought=brought)
    positions, verified = decided.positions, decided.verified
    chosen = brought.chosen
    keep = partial(keep_task, job, positions, files_of(verified), chosen)
    kept = stages.run(job, "keep", KeepResult, keep, range(positions.keep_tasks))
    untouched = sum(result.references for result in verified.values())
    in_keep = untouched + sum(result.decided for result in kept.values())
    _check_rows(decided.members, "keep", in_keep)
    rows = sum(sum(result.reasons) for result in kept.values())
    if rows != positions.own_rows:
        raise IntegrityError(f"{positions.own_rows} rows signed, {rows} rows in keep-lists")
    alone = sum(result.reasons[code] for result in kept.values() for code in COUNTED_ALONE)
    alone += sum(result.earlier for result in kept.values())
    copies = sum(result.copies for result in kept.values())
    if copies + alone != rows:
        raise IntegrityError(f"{rows} rows in keep-lists, {copies} copies and {alone} other rows")
    added = None
    if job.earlier is not None and job.earlier.segment is not None:
        added = _write_segment(job, decided, brought, stages)
    return FinishedRun(
        job,
        positions,
        signed,
        decided.buckets,
        decided.members,
        decided.grouped,
        verified,
        kept,
        added=added,
    )


@dataclass(frozen=True)
class Brought:
    """The rows of an index that a run is held against: none without one.

    lookups: results of lookup. resolved, chosen: the files of each task of these stages.
    """

    lookups: Mapping[int, LookupResult] = field(default_factory=dict)
    resolved: Left = field(default_factory=dict)
    chosen: Left = field(default_factory=dict)


def bring_earlier(
    job: Job, signed: dict[int, SignResult], stages: StageRunner
) -> tuple[Job, dict[int, SignResult], Brought]:
    """Choose the rows of an index that a run is held against, and sign them.

    job, signed, stages: as in `run_stages`. Gives the run with these rows, the results of sign, and
    what was found; all as they were without an index.
    """
    earlier = job.earlier
    if earlier is None:
        return job, signed, Brought()
    run = partial(stages.run, job)
    lookups: Mapping[int, LookupResult] = {}
    resolved: Left = {}
    touched: Left = {}
    if job.settings.keyed:
        lookup = partial(lookup_task, job, Positions.of(job, signed))
        lookups = run("lookup", LookupResult, lookup, range(job.sizes.key_partitions))
    if not earlier.tasks:
        return job, signed, Brought(lookups)
    if job.settings.keyed:
        resolve = partial(resolve_task, job, files_of(lookups))
        resolved = files_of(run("resolve", TaskResult, resolve, earlier.tasks))
        touched = files_of(run("touch", TaskResult, partial(touch_task, job, resolved), [0]))
    choose = partial(choose_task, job, touched)
    chosen = run("choose", TaskResult, choose, earlier.tasks)
    own = len(job.tasks)
    job = with_chosen(job, chosen)
    admit = partial(admit_task, job, files_of(chosen), own)
    signed = signed | run("admit", SignResult, admit, range(own, len(job.tasks)))
    return job, signed, Brought(lookups, resolved, files_of(chosen))


def _write_segment(job: Job, decided: Decided, brought: Brought, stages: StageRunner) -> Added:
    """Write what a run adds to an index; nothing is in it before a manifest names it."""
    positions, labels = decided.positions, decided.labels
    run = partial(stages.run, job)
    classify = partial(classify_task, job, positions, labels, brought.chosen)
    named = run("classify", ClassifyResult, classify, [0])
    segment = partial(
        segment_task,
        job,
        positions,
        files_of(decided.verified),
        labels,
        files_of(named),
        brought.chosen,
    )
    written = run("segment", SegmentResult, segment, range(positions.keep_tasks))
    tables = {
        kind: tuple(BlockTable.from_json(one.tables[kind]) for _, one in sorted(written.items()))
        for kind in ("state", "rows", "text")
    }
    tables["keys"] = tuple(table_of(one) for _, one in sorted(brought.lookups.items()))
    tables["merges"] = (BlockTable.from_json(named[0].merges),)
    tables["changes"] = ()
    return Added(
        tables,
        sum(result.kept for result in written.values()),
        decided.linked,
        schema_as_text(text_columns(job, positions)),
    )


def gather(
    job: Job,
    signed: dict[int, SignResult],
    stages: StageRunner,
    unlinked: Left | None = None,
    brought: Brought | None = None,
) -> Gathered:
    """Bring together the rows of each component, and their shingle sets: from bucket to fetch.

    job, signed, stages: as in `run_stages`, with the same errors. unlinked: of each sign task the
    file that says which rows are never compared, see `tasks.unlinked`; None for none. brought: the
    rows of an index.
    """
    run = partial(stages.run, job)
    keys = range(job.sizes.key_partitions)

    positions = Positions.of(job, signed)
    bucket = partial(bucket_task, job, positions, unlinked=unlinked)
    buckets = run("bucket", BucketResult, bucket, keys)
    left = {"bucket": files_of(buckets)}
    if positions.joins:  # the last block is held against all rows before it: it begins first
        blocks = range(positions.joins)[::-1]
        join = partial(join_task, job, positions, unlinked=unlinked)
        left["join"] = files_of(run("join", TaskResult, join, blocks))
    if brought is not None and job.earlier is not None and job.settings.keyed:
        connect = partial(connect_task, job, positions, brought.resolved, brought.chosen)
        left["connect"] = files_of(run("connect", TaskResult, connect, keys))

    merges = positions.merges(job)
    merge = partial(components_task, job, positions, left)
    linked = stages.run_tree(job, "components", ComponentsResult, merge, levels(merges))
    last = linked[merges[-1].task]
    labels = {merges[-1].task: last.files}
    parts = range(last.partitions)
    filled = positions.filled if last.partitions else []

    chosen = {} if brought is None else brought.chosen
    route = partial(route_task, job, positions, labels, last.partitions, chosen)
    routed = run("route", TaskResult, route, filled)
    group = partial(group_task, job, positions, files_of(routed))
    grouped = run("group", GroupResult, group, parts)

    fetch = partial(fetch_task, job, positions, files_of(grouped))
    fetched = run("fetch", TaskResult, fetch, filled)
    _check_rows(last.rows, "route", sum(result.rows for result in routed.values()))
    members = sum(result.rows for result in grouped.values())
    ruled_out = sum(result.ruled_out for result in grouped.values())
    _check_rows(last.rows, "group", members + ruled_out)
    return Gathered(positions, buckets, members, last.rows, labels, grouped, files_of(fetched))


def decide(
    job: Job,
    signed: dict[int, SignResult],
    stages: StageRunner,
    unlinked: Left | None = None,
    brought: Brought | None = None,
) -> Decided:
    """Decide every row of a corpus that is in a component: the stages from bucket to verify.

    job, signed, stages, unlinked, brought: as in `gather`, with the same errors.
    """
    found = gather(job, signed, stages, unlinked, brought)
    _name_largest(job, found, stages)
    verify = partial(verify_task, job, found.positions, found.grouped, found.fetched)
    verified = stages.run(job, "verify", VerifyResult, verify, found.partitions)
    _check_rows(found.members, "verify", sum(result.rows for result in verified.values()))
    return Decided(**vars(found), verified=verified)


def _name_largest(job: Job, found: Gathered, stages: StageRunner) -> None:
    """Say which components are so large that verify may wait for them, before it begins."""
    large = [
        one
        for one in found.grouped.values()
        if one.largest_component >= LARGE_COMPONENT and one.largest_row >= 0
    ]
    rows_of_shards = found.positions.shard_starts
    for one in sorted(large, key=lambda one: (-one.largest_component, one.largest_row))[:NAMED]:
        shard = int(rows_of_shards.searchsorted(one.largest_row, side="right")) - 1
        row, rows = one.largest_row - rows_of_shards[shard], one.largest_component
        share = rows / rows_of_shards[-1]
        path = job.shards[shard].path
        stages.note(f"{rows:,} rows ({share:.0%}) are one component, such as row {row} of {path}")


def _check_rows(expected: int, stage: str, found: int) -> None:
    """Rows in components go through every stage, none lost and none twice."""
    if found != expected:
        raise IntegrityError(f"{expected} rows in components, {found} of them in {stage}")


def open_job(
    shards: Sequence[Shard],
    settings: Settings,
    first: Firsts,
    resources: Resources,
    tuning: Tuning,
    work: WorkDir,
    stages: StageRunner,
    evals: EvalSets | None = None,
    *,
    fresh: bool,
    asked: Mapping[str, Any] | None = None,
    only: bool = False,
    takes_over: bool = False,
    sketched: bool = False,
) -> Job:
    """Begin a run in a work directory, or find the one to go on with.

    shards: the corpus, then references. settings: what decides the keep-list. first: the documents
    of the first shards that have columns. resources: what the run may use. tuning: sizes of tasks.
    work: the directory. stages: runs the survey. evals: the test sets, None without any. fresh:
    discard what is there. asked: what else must be the same for the work to go on. only: whether
    rows are held against nothing but test sets. takes_over: whether stages are taken from a run of
    other settings that leave the same for these. sketched: see `Job`. Raises WorkDirError
    where another run has begun there.
    """
    banding = plan_banding(settings) if settings.banded else Banding(1, 1)
    corpus_bytes = sum(shard.size for shard in shards)
    own, references = map(corpus_versions, by_role(shards))
    document = str(first.corpus)
    fingerprint = fingerprint_of_run(settings.as_dict(), document, own, references=references)
    fingerprint |= {"version": WORK_VERSION, "files": identities(shards), **(asked or {})}
    if evals is not None:
        fingerprint["evals"] = evals_fingerprint(evals, only=only)

    def accepts(found: WorkDir, before: dict[str, Any]) -> bool:
        may = takes_over and not settings.skips_files  # which files are read depends on memory
        if may and differ_in_settings(before, fingerprint):
            return may_take_over(found, before, settings, STAGES)
        return evals is None and changed_files(before, fingerprint) is not None

    place, (work, begun) = work, work.begin(fingerprint, fresh=fresh, accepts=accepts)
    is_other = begun is not None and differ_in_settings(begun["fingerprint"], fingerprint)
    if begun is not None and is_other:
        same = same_stages(Settings(**begun["fingerprint"]["settings"]), settings, STAGES)
        if same:
            told = listed([one for one in same if work.results(one)]) or "nothing"
            stages.note(f"takes {told} from the run of other settings in {place}")
            work.keep_stages([*same, *EVALS_STAGES])
            work.save_plan(fingerprint, plan_of(begun))
        else:
            stages.note(f"nothing of the run of other settings in {place} is the same: begins anew")
            work, begun = place.begin(fingerprint, fresh=True)
    if begun is not None:
        documents = Documents.from_json(begun["documents"], begun["document_of"])
        tasks = [[Slice(*part) for part in slices] for slices in begun["tasks"]]
        planner = _planner(settings, documents.whole, replace(tuning, **begun["tuning"]))
        sizes = replace(planner.task_sizes(resources, corpus_bytes), **begun["sizes"])
        left_out = begun["left_out"]
        job = Job(settings, documents, banding, list(shards), tasks, planner, sizes, work, left_out)
        job = replace(job, sketched=sketched)
        if is_other:
            return job
        changed = changed_files(begun["fingerprint"], fingerprint)
        return _with_mended(job, first, fingerprint, changed, stages) if changed else job
    planner = _planner(settings, first.corpus, tuning)
    sizes = planner.task_sizes(resources, corpus_bytes)
    step = tuning.survey_shards
    groups = [list(of[at : at + step]) for of in by_role(shards) for at in range(0, len(of), step)]
    look = partial(survey, groups, first, settings, planner)
    found = stages.survey(partial(look, sizes), len(groups))
    of_shards = [one for result in found for one in result.documents]
    documents = documents_of(first, shards, of_shards, settings)
    planner = _planner(settings, documents.whole, tuning)
    needed = planner.task_sizes(resources, corpus_bytes)
    if needed.task_rows < sizes.task_rows:  # other formats have more columns to carry
        found = stages.survey(partial(look, needed), len(groups))
    sizes = needed
    rows = sum(result.estimated_rows for result in found)
    left_out = {path: why for result in found for path, why in result.bad_files.items()}
    lacking = [one for result in found for one in result.lacking]
    for is_reference in (False, True):
        if _estimated(groups, found, is_reference):
            _check_lacking(groups, documents, lacking, left_out, is_reference, settings, stages)
    tasks = _tasks(groups, found, sizes.task_text)
    keys = planner.key_partitions(sizes, rows * banding.bands)
    sizes = replace(sizes, key_partitions=keys)
    _tell_left_out(left_out, stages)
    job = Job(settings, documents, banding, list(shards), tasks, planner, sizes, work, left_out)
    job = replace(job, sketched=sketched)
    check_some_left(job)
    save_plan(job, fingerprint)
    return job


def _with_mended(
    job: Job,
    first: Firsts,
    fingerprint: dict[str, Any],
    paths: Sequence[str],
    stages: StageRunner,
) -> Job:
    """The run with files that have changed since it began, whose own tasks are done again.

    job: the run. first: see `open_job`. fingerprint: with the files as they are now. paths: those
    that have changed. stages: looks at them. Raises WorkDirError where more than their tasks would
    be lost.
    """
    check_may_change(job.work, paths)
    numbers = [number for number, shard in enumerate(job.shards) if shard.path in paths]
    groups = [[job.shards[number]] for number in numbers]
    first = first._replace(corpus=job.documents.own[0])
    look = partial(survey, groups, first, job.settings, job.planner, job.sizes)
    found = stages.survey(look, len(groups))
    for number, result in zip(numbers, found, strict=True):
        if result.bad_files:
            continue
        shard, document = job.shards[number], result.documents[0]
        if shard.reference is not None:
            document = reference_document(shard, document, job.documents, job.settings)
        if document.compared != job.documents.of_file(number).compared:
            raise WorkDirError(
                f"{shard.path} is of another format than it was when the run began: "
                "start anew with --fresh"
            )
    kept = {path: why for path, why in job.left_out.items() if path not in paths}
    bad = {path: why for result in found for path, why in result.bad_files.items()}
    mended = replace(job, left_out={**kept, **bad})
    check_some_left(mended)
    slices = {number: result.parts for number, result in zip(numbers, found, strict=True)}
    stages.note(f"{listed(paths)} changed since the run began: only its own tasks are done again")
    return with_other_slices(mended, fingerprint, slices)


def _tasks(
    groups: Sequence[Sequence[Shard]], found: Sequence[SurveyResult], task_text: int
) -> list[list[Slice]]:
    """The slices of each sign task: those of the corpus, and then those of references.

    groups: the shards of each survey task, which are of one role. found: its result. task_text:
    text of a task, about.
    """
    tasks: list[list[Slice]] = []
    for is_reference in (False, True):
        mine = [
            result
            for group, result in zip(groups, found, strict=True)
            if (group[0].reference is not None) == is_reference
        ]
        parts = [part for result in mine for part in result.parts]
        weights = [weight for result in mine for weight in result.weights]
        tasks += pack(parts, weights, task_text)
        if not tasks and len(mine) < len(groups):  # so that the first task is of the corpus
            tasks.append([])
    return tasks


def _estimated(
    groups: Sequence[Sequence[Shard]], found: Sequence[SurveyResult], is_reference: bool
) -> int:
    """Rows of the shards of a role, about; see `_tasks`."""
    pairs = zip(groups, found, strict=True)
    return sum(
        result.estimated_rows
        for group, result in pairs
        if (group[0].reference is not None) == is_reference
    )


def _tell_left_out(files: Mapping[str, str], stages: StageRunner) -> None:
    """Tell whoever watches of files that cannot be read; files: paths, each with the reason."""
    for path, why in files.items():
        stages.note(f"{path} is left out: {why}")


def _planner(settings: Settings, document: DocumentTemplate, tuning: Tuning) -> Planner:
    """What cuts a run into tasks in which the columns of a document are carried."""
    digests = len(settings.carried(document)), len(settings.told_apart)
    return Planner(costs_of(*digests), tuning)


def _check_lacking(
    groups: list[list[Shard]],
    documents: Documents,
    lacking: Sequence[Lacks],
    left_out: Container[str],
    is_reference: bool,
    settings: Settings,
    stages: StageRunner,
) -> None:
    """Look for what no shard of a format has in its first rows; CorpusError where no row has it.

    is_reference: of which role the shards are.
    """
    shards = [shard for group in groups for shard in group]
    there = [file for file, shard in enumerate(shards) if shard.path not in left_out]
    for number, document in enumerate(documents.own):
        mine = {
            file
            for file in there
            if documents.of_files[file] == number
            and (shards[file].reference is not None) == is_reference
        }
        lacks = in_all([lacking[file] for file in sorted(mine)])
        if not lacks:
            continue
        paths = [path for path in projection_of(document, settings).paths if str(path) in lacks]
        some = [[one for one in group if one.ordinal in mine] for group in groups]
        sought = stages.survey(partial(seek, some, paths), len(some), "seek")
        found = {path for result in sought for path in result.found}
        for path in paths:
            said, file = lacks[str(path)]
            if str(path) not in found:
                raise nowhere(path, said, file)
