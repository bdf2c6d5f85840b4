"""Rows of an index that are decided again, from their own files, when their witness was removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.config import Execution, Settings
from dedupe.corpus import Shard, Slice, find_shards, first_rows, read_as
from dedupe.errors import CorpusError, DedupeError, SettingsError
from dedupe.index.manifest import Crawl
from dedupe.index.store import Store
from dedupe.index.tables import FILES, KEPT
from dedupe.indexing import check_document, ranges_of
from dedupe.pipeline import bring_earlier, decide, open_job, sign_corpus
from dedupe.progress import Progress
from dedupe.schema import CONTAMINATED_ROWS
from dedupe.session import load_kernels, output_at, session
from dedupe.stage_runner import StageRunner
from dedupe.storage.temporary import temporary_folder
from dedupe.tasks.artifacts import CONTAMINATED, files_of
from dedupe.tasks.costs import limits_of
from dedupe.tasks.job import Earlier, Job
from dedupe.tasks.keep import decisions_of, with_origins
from dedupe.tasks.positions import Positions
from dedupe.tasks.segment import kept_texts
from dedupe.tasks.sign import SignResult
from dedupe.tasks.survey import Firsts, document_of


class Decided(NamedTuple):
    """Rows of an index that are decided otherwise: arrays, see `index.tables.CHANGES`.

    rows: int64, ascending. reasons, witnesses, jaccard, lost: of each. texts: of those that are
    kept now, by row.
    """

    rows: Array
    reasons: Array
    witnesses: Array
    jaccard: Array
    lost: Array
    texts: Sequence[pa.RecordBatch]

    @classmethod
    def nothing(cls) -> Decided:
        """No rows."""
        none = np.zeros(0, np.int64)
        return cls(none, none, none, np.zeros(0), none, [])


def decided_again(
    store: Store, rows: Array, crawl: Crawl, execution: Execution, progress: Progress | None
) -> Decided:
    """Hold rows of a crawl against all others that are kept, as if they came last.

    store: the index. rows: int64, ascending, all of the crawl. execution: where that is done.
    progress: is told how far it is. Rows whose files are gone, are others now, or cannot be read
    as they were, are left out.
    """
    settings = Settings(**{**store.manifest.settings, **crawl.reading, "keep": "first"})
    found = _files_of(store, rows, settings)
    if not found:
        return Decided.nothing()
    try:
        return _decided_in(store, rows, found, settings, execution, progress)
    except (CorpusError, SettingsError):
        return Decided.nothing()


def _decided_in(
    store: Store,
    rows: Array,
    found: Sequence[_File],
    settings: Settings,
    execution: Execution,
    progress: Progress | None,
) -> Decided:
    """The same, of rows in some files; CorpusError or SettingsError where they cannot be read."""
    folder, remove = temporary_folder(0)
    try:
        target = output_at(folder / "out")
        where = replace(execution, work_dir=None, fresh=True)
        with session(where, target, progress) as held:
            how = {"limits": limits_of(where), **settings.reading}
            shards = [
                read_as(file.shard, **how, ordinal=number) for number, file in enumerate(found)
            ]
            with held.running(shards, load_kernels) as (stages, resources):
                first = Firsts(document_of(shards, settings))
                job = open_job(
                    shards,
                    settings,
                    first,
                    resources,
                    where.tuning,
                    held.work,
                    stages,
                    fresh=True,
                    sketched=settings.near,
                )
                return _decided(store, rows, found, job, stages)
    finally:
        remove()


class _File(NamedTuple):
    """A file of an index; first: number of its first row, rows: how many it has."""

    shard: Shard
    first: int
    rows: int


def _files_of(store: Store, rows: Array, settings: Settings) -> list[_File]:
    """The files that have some rows, in order, as far as they are as they were.

    A web server is not asked: any address may stand in an index, and it learns who asks.
    """
    places = store.places()
    known = pa.Table.from_batches(store.blocks("files", FILES), schema=FILES)
    having = np.unique(np.searchsorted(places.starts, rows, side="right") - 1)
    found = []
    for number in having.tolist():
        path = places.paths[number].as_py()
        if path.startswith(("http://", "https://")):
            continue
        try:
            (shard,) = find_shards([path], settings.delimiter, settings.unit)
        except (DedupeError, ValueError):  # it is gone, or several files now
            continue
        was = known.column("size")[number].as_py(), known.column("version")[number].as_py()
        if (shard.size, shard.version) == was:
            first, end = places.starts[number : number + 2].tolist()
            found.append(_File(shard, first, end - first))
    return found


def _decided(
    store: Store, rows: Array, files: Sequence[_File], job: Job, stages: StageRunner
) -> Decided:
    """The decisions on some rows; files: those of the run."""
    starts = [file.first for file in files]
    job, signed = sign_corpus(_with_only(job, rows, files), stages, indexed=True)
    ranges = ranges_of(job.planner.tuning.most_tasks, store.manifest.rows)
    job = replace(job, earlier=Earlier(store, own=True, segment=None, ranges=ranges))
    check_document(job)
    _check_same(store, rows, files, job, signed)
    job, signed, brought = bring_earlier(job, signed, stages)
    decided = decide(job, signed, stages, brought=brought)
    positions = decided.positions
    own_starts = positions.shard_starts[: job.own_shards]
    bases = np.array(starts)
    mine, at = [], []
    for shard, start in enumerate(starts):
        first, end = positions.shard_starts[shard : shard + 2].tolist()
        low, high = np.searchsorted(rows, [start, start + end - first])
        mine.append(rows[low:high])
        at.append(rows[low:high] - start + first)
    of_rows, position = np.concatenate(mine), np.concatenate(at)
    reasons = np.zeros(len(of_rows), np.uint8)  # a row in no component is unique
    witness = np.full(len(of_rows), -1)
    jaccard, lost = np.full(len(of_rows), np.nan), np.zeros(len(of_rows), np.int64)
    verified = files_of(decided.verified)
    for task in range(positions.keep_tasks):
        found = decisions_of(job, positions, verified, task)
        found = with_origins(job, positions, brought.chosen, found)
        where = numbers(found.column("position"))
        place = np.searchsorted(position, where)
        known = np.minimum(place, max(len(position) - 1, 0))
        here = np.flatnonzero((place < len(position)) & (position[known] == where))
        to = place[here]
        reasons[to] = numbers(found.column("reason"))[here]
        of_witness = numbers(found.column("witness"))[here]
        inside = of_witness < positions.own_rows
        file = np.searchsorted(own_starts, np.minimum(of_witness, positions.own_rows - 1), "right")
        origin = of_witness - own_starts[file - 1] + bases[file - 1]
        witness[to] = np.where(inside, origin, of_witness - positions.own_rows)
        jaccard[to] = numbers(found.column("jaccard"))[here]
        lost[to] = numbers(found.column("lost"))[here]
    kept = np.isin(reasons, KEPT)
    witness[kept] = -1
    texts = list(_texts(store, job, positions, position[kept], of_rows[kept]))
    return Decided(of_rows, reasons, witness, jaccard, lost, texts)


def _check_same(
    store: Store,
    rows: Array,
    files: Sequence[_File],
    job: Job,
    signed: Mapping[int, SignResult],
) -> None:
    """Raise SettingsError where rows are not those that the index knows, by their digests."""
    positions = Positions.of(job, signed)
    for shard, file in enumerate(files):
        low, high = np.searchsorted(rows, [file.first, file.first + file.rows])
        mine = rows[low:high]
        known = store.rows(int(mine[0]), int(mine[-1]) + 1)
        for task, number in positions.slices_of[shard]:
            start, end = positions.slice_starts[task][number : number + 2].tolist()
            base = start - int(positions.shard_starts[shard]) + file.first
            low, high = np.searchsorted(mine, [base, base + end - start])
            here = mine[low:high]
            if not len(here):
                continue
            found = positions.signed_rows(job, task)
            at = here - base + start - int(positions.task_starts[task])
            for name in ("digest_low", "digest_high"):
                before = numbers(known.column(name))[here - int(mine[0])]
                if (numbers(found.column(name))[at] != before).any():
                    raise SettingsError(f"{file.shard.path} is read as something else now")


def _with_only(job: Job, rows: Array, files: Sequence[_File]) -> Job:
    """The run in which only some rows are compared; see `_decided`."""
    slices_of: list[list[Slice]] = [[] for _ in job.shards]
    for part in (part for parts in job.tasks for part in parts):
        slices_of[part.shard].append(part)
    starts = {}
    for slices, file in zip(slices_of, files, strict=True):
        firsts = [*first_rows(file.shard, slices), file.rows]
        for number, part in enumerate(slices):
            starts[part] = file.first + firsts[number], file.first + firsts[number + 1]
    excluded = {}
    for task, parts in enumerate(job.tasks):
        others = []
        done = 0
        for first, end in (starts[part] for part in parts):
            low, high = np.searchsorted(rows, [first, end])
            is_other = np.ones(end - first, np.bool_)
            is_other[rows[low:high] - first] = False
            others.append(np.flatnonzero(is_other) + done)
            done += end - first
        found = np.concatenate([np.zeros(0, np.int64), *others]).astype(np.uint32)
        nothing = [pa.nulls(len(found), one.type) for one in list(CONTAMINATED_ROWS)[1:]]
        batch = pa.RecordBatch.from_arrays([pa.array(found), *nothing], schema=CONTAMINATED_ROWS)
        excluded[task] = CONTAMINATED.write(job.work, task, [batch])
    return replace(job, contaminated=excluded)


def _texts(
    store: Store, job: Job, positions: Positions, at: Array, rows: Array
) -> Iterator[pa.RecordBatch]:
    """The texts of some rows. at: their positions, ascending. rows: their numbers in the index."""
    for task in positions.own_tasks:
        low, high = np.searchsorted(at, positions.task_starts[task : task + 2]).tolist()
        if low < high:
            mine = slice(low, high)
            signed = positions.signed_rows(job, task)
            columns = store.text_columns
            yield from kept_texts(job, positions, task, columns, signed, at[mine], rows[mine])
