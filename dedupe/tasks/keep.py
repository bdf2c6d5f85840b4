"""keep: decisions to keep-lists. One task for some neighbouring shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedupe.arrays import Array, numbers
from dedupe.corpus import KNOWN_SUFFIXES, Shard, file_name
from dedupe.errors import IntegrityError
from dedupe.kernels.scripts import SCRIPTS
from dedupe.schema import (
    EMPTY,
    LENGTH_BINS,
    LOST_BINS,
    NO_SHINGLES,
    REASONS,
    REFERENCE,
    counted,
    decisions,
    keep_list_reasons,
    keep_list_schema,
    with_id,
)
from dedupe.stages.keep import Contaminated, Decided, ShardRows, Witnesses, keep_list
from dedupe.storage.tables import GROUP_ROWS, WrittenFile, row_groups, write_file
from dedupe.tasks.artifacts import CONTAMINATED, DECISIONS, ORIGINS, Left, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions

LONGEST_NAME = 50
"""Characters of a shard's name in that of its keep-list file."""


@dataclass(frozen=True, kw_only=True)
class KeepResult(TaskResult):
    """What a keep task counted; its files are the keep-lists of its shards, in their order.

    decided: rows that verify decided. reasons: rows for each of `schema.REASONS`, in their order.
    lost: dropped rows by the longest run of words that their witness does not have, for each of
    `schema.LOST_BINS`; with shingles of characters none. empty: empty rows of each shard.
    because_of: for each reference the rows dropped because of it. earlier: rows dropped because of
    rows of an index that are earlier rows. copies: rows that kept rows stay
    for, themselves included. kept_lengths, dropped_lengths: rows for each of `schema.LENGTH_BINS`,
    but for those whose text was not compared. shingles: of all kept rows, and of all dropped ones,
    repeated ones counted. scripts: of those rows, for each script that some have, how many are kept
    and how many dropped. longest: of the longest rows the shingles, the number of the shard, and
    the row of it.
    """

    decided: int
    reasons: list[int]
    lost: list[int]
    empty: list[int]
    because_of: list[int]
    earlier: int
    copies: int
    kept_lengths: list[int]
    dropped_lengths: list[int]
    shingles: list[int]
    scripts: dict[str, list[int]]
    longest: list[list[int]]


LONGEST = 10
"""Long rows that are told."""


class RowCounts:
    """Counts rows by their length and script; see `KeepResult`."""

    def __init__(self) -> None:
        self.lengths = np.zeros((2, len(LENGTH_BINS)), np.int64)
        self.scripts = np.zeros((2, len(SCRIPTS)), np.int64)
        self.shingles = [0, 0]
        self.longest: list[list[int]] = []

    def count(self, shingles: Array, scripts: Array, keep: Array, shard: int, first: int) -> None:
        """Count neighbouring rows of a shard, but for those whose text was not compared.

        shingles: uint32, of each, `NO_SHINGLES` where its text was not compared. scripts: uint8.
        keep: bool, whether each is kept. shard: its number. first: the number of the first row in
        it.
        """
        compared = np.flatnonzero(shingles != NO_SHINGLES)
        lengths, scripts = shingles[compared], scripts[compared]
        bins = np.minimum(np.frexp(lengths.astype(np.float64))[1], len(LENGTH_BINS) - 1)
        for place, which in enumerate((keep[compared], ~keep[compared])):
            self.lengths[place] += np.bincount(bins[which], minlength=len(LENGTH_BINS))
            self.scripts[place] += np.bincount(scripts[which], minlength=len(SCRIPTS))
            self.shingles[place] += int(lengths[which].sum(dtype=np.int64))
        some = min(LONGEST, len(lengths))
        most = np.argpartition(lengths, len(lengths) - some)[len(lengths) - some :]
        found = zip(lengths[most].tolist(), (compared[most] + first).tolist(), strict=True)
        self.longest += [[count, shard, row] for count, row in found]
        self.longest = longest_of(self.longest)


def longest_of(rows: Iterable[list[int]]) -> list[list[int]]:
    """The longest of some rows, each as `KeepResult.longest` has it; equal ones in their order."""
    return sorted(rows, key=lambda one: (-one[0], *one[1:]))[:LONGEST]


def keep_task(
    job: Job,
    positions: Positions,
    verified: Mapping[int, Mapping[str, WrittenFile]],
    chosen: Left,
    task: int,
) -> KeepResult:
    """Write the keep-lists of some neighbouring shards, which must not have changed.

    job: of the run. positions: where its rows are. verified: the files of each verify task. chosen:
    those of each choose task, none without an index. task: number of the task.
    """
    where = _Where.of(job, positions)
    counts = np.zeros(len(REASONS), np.int64)
    lost = np.zeros(len(LOST_BINS), np.int64)
    copies = 0
    counted_rows = RowCounts()
    empty: list[int] = []
    files: dict[str, WrittenFile] = {}
    signed = lru_cache(maxsize=1)(partial(positions.signed_rows, job))  # slices have neighbours
    has_evals = job.evals is not None
    schema = keep_list_schema(
        positions.id_type,
        job.document.names,
        has_evals=has_evals,
        counts_values=job.settings.count_by is not None,
        has_earlier=where.crawls is not None,
    )
    known = keep_list_reasons(
        skips_rows=job.settings.skips_rows,
        has_references=has_references(job),
        has_evals=has_evals,
        has_extras=job.settings.keeps_extras,
    )
    decided = decisions_of(job, positions, verified, task)
    because_of = _because_of(job, positions, decided)
    decided = with_origins(job, positions, chosen, decided)
    first, end = positions.keep_shards[task], positions.keep_shards[task + 1]
    for shard in range(first, end):
        batches = _keep_batches(job, positions, decided, shard, where, signed, counted_rows)

        def write(sink: pa.NativeFile, batches: Iterator[pa.RecordBatch] = batches) -> None:
            nonlocal copies
            with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                for group in row_groups(schema, batches):
                    writer.write_table(group, row_group_size=GROUP_ROWS)
                    for chunk in group.column("reason").chunks:
                        counts[known] += np.bincount(numbers(chunk.indices), minlength=len(known))
                    copies += pc.sum(group.column("copies")).as_py() or 0
                    words = group.column("lost").drop_null().to_numpy()
                    bins = np.searchsorted(LOST_BINS, words, side="right") - 1
                    lost[:] += np.bincount(bins, minlength=len(LOST_BINS))

        before = int(counts[EMPTY])
        name = keep_file(job.shards[shard])
        files[name] = write_file(job.work.stages.folder("keep"), name, write)
        if job.shards[shard].path not in job.left_out:
            job.shards[shard].check_unchanged()
        empty.append(int(counts[EMPTY]) - before)
    rows = int(positions.shard_starts[end] - positions.shard_starts[first])
    if counts.sum() != rows:
        raise IntegrityError(
            f"{rows} rows in, {counts.sum()} rows out of {job.shards[first].path} and next"
        )
    return KeepResult(
        rows=rows,
        files=files,
        decided=decided.num_rows,
        reasons=counts.tolist(),
        lost=lost.tolist(),
        empty=empty,
        because_of=because_of,
        earlier=_earlier(job, positions, decided),
        copies=copies,
        kept_lengths=counted_rows.lengths[0].tolist(),
        dropped_lengths=counted_rows.lengths[1].tolist(),
        shingles=counted_rows.shingles,
        scripts={
            name: counts
            for name, counts in zip(SCRIPTS, counted_rows.scripts.T.tolist(), strict=True)
            if any(counts)
        },
        longest=counted_rows.longest,
    )


def _because_of(job: Job, positions: Positions, decided: pa.Table) -> list[int]:
    """For each reference how many of the rows were dropped because of it."""
    witness = numbers(decided.filter(pc.equal(decided["reason"], REFERENCE))["witness"])
    shard = np.searchsorted(positions.shard_starts, witness, side="right") - 1
    references = [one.reference for one in job.shards if one.reference is not None]
    of_shards = np.array(references, np.int64)[shard - job.own_shards]
    counts: list[int] = np.bincount(of_shards, minlength=max(references, default=-1) + 1).tolist()
    return counts


def _earlier(job: Job, positions: Positions, decided: pa.Table) -> int:
    """How many rows were dropped because of rows of an index that are earlier rows."""
    if not job.echoes:
        return 0
    return int(np.count_nonzero(numbers(decided["witness"]) >= positions.own_rows))


def has_references(job: Job) -> bool:
    """Whether rows may be dropped because of references: of files, or of an index."""
    own_files = job.own_shards < len(job.shards)
    return own_files if job.earlier is None else not job.earlier.own


def keep_file(shard: Shard) -> str:
    """Name of a shard's keep-list file: its ordinal keeps the names apart and in order."""
    name = file_name(shard.path)
    while Path(name).suffix in KNOWN_SUFFIXES:
        name = Path(name).stem
    return f"{shard.ordinal:05d}-{name[:LONGEST_NAME] or 'shard'}.parquet"


def decisions_of(
    job: Job, positions: Positions, verified: Mapping[int, Mapping[str, WrittenFile]], task: int
) -> pa.Table:
    """The decisions on the rows of a keep task, by position.

    job: of the run. positions: where its rows are. verified: the files of each verify task. task:
    number of the keep task.
    """
    columns = with_id(decisions(job.fields), "witness_id", positions.id_type)
    columns = counted(columns, counts_values=job.settings.count_by is not None)
    batches = DECISIONS.read(job.work, verified, task, columns)
    parts = [batch for batch in batches if batch.num_rows]
    return pa.Table.from_batches(parts, schema=columns).sort_by("position").combine_chunks()


def with_origins(job: Job, positions: Positions, chosen: Left, decided: pa.Table) -> pa.Table:
    """The same decisions, in which rows of an index stand by their number there, behind own rows.

    job: of the run. positions: where its rows are. chosen: the files of each choose task, none
    without an index. decided: decisions.
    """
    if not chosen:
        return decided
    witness = numbers(decided.column("witness")).copy()
    outside = np.flatnonzero(witness >= positions.own_rows)
    outside = outside[np.argsort(witness[outside], kind="stable")]
    starts = positions.shard_starts[job.own_shards :]
    bounds = np.searchsorted(witness[outside], starts)
    for task, files in enumerate(chosen.values()):
        mine = outside[bounds[task] : bounds[task + 1]]
        if len(mine):
            (batch,) = ORIGINS.read(job.work, {list(chosen)[task]: files}, 0)
            origins = numbers(batch.column("row"))
            witness[mine] = origins[witness[mine] - starts[task]] + positions.own_rows
    place = decided.schema.get_field_index("witness")
    return decided.set_column(place, decided.schema.field("witness"), pa.array(witness))


@dataclass(frozen=True)
class _Where:
    """Where witnesses are: files of the corpus, and behind them those of references or an index.

    starts: int64, the position of the first row of each file, and of all rows in the end. paths: of
    them. crawls: that of each file, null in the corpus; None where all are of the corpus.
    """

    starts: Array
    paths: pa.Array
    crawls: pa.Array | None

    @classmethod
    def of(cls, job: Job, positions: Positions) -> _Where:
        """Those of a run."""
        paths = [one.path for one in job.shards[: job.own_shards]]
        if job.earlier is None:
            paths += [one.path for one in job.shards[job.own_shards :]]
            return cls(positions.shard_starts, pa.array(paths, pa.string()), None)
        found = job.earlier.store.places()
        own = positions.shard_starts[: job.own_shards]
        starts = np.concatenate([own, found.starts + positions.own_rows])
        crawls = pa.concat_arrays(
            [pa.nulls(len(paths), pa.string()), found.crawls.dictionary_decode()]
        )
        known = pa.concat_arrays([pa.array(paths, pa.string()), found.paths])
        return cls(starts, known, crawls)


def _keep_batches(
    job: Job,
    positions: Positions,
    decided: pa.Table,
    shard: int,
    where: _Where,
    signed: Callable[[int], pa.RecordBatch],
    counted_rows: RowCounts,
) -> Iterator[pa.RecordBatch]:
    """The keep-list of a shard, a slice at a time; counted_rows: counts its rows."""
    starts = positions.shard_starts
    decided_at = numbers(decided.column("position"))
    mine = decided.slice(*_span(np.searchsorted(decided_at, starts[shard : shard + 2])))
    dropped = mine.filter(pc.not_equal(mine["witness"], mine["position"]))
    witnesses = Witnesses.of(
        numbers(dropped["witness"]),
        where.starts,
        where.paths,
        where.crawls,
        earlier=job.echoes,
    )
    for task, number in positions.slices_of[shard]:
        first, end = positions.slice_starts[task][number : number + 2].tolist()
        if first == end:
            continue
        start = int(positions.task_starts[task])
        own = signed(task).slice(first - start, end - first)
        ids = own.column("id") if "id" in own.schema.names else None
        rows = ShardRows(first, numbers(own.column("shingles")), ids)
        here = Decided.of(decided.slice(*_span(np.searchsorted(decided_at, [first, end]))))
        made = keep_list(
            rows,
            here,
            where.starts,
            witnesses,
            job.settings,
            job.document.names,
            job.own_shards,
            contaminated_of(job, task, first - start, end - start),
        )
        keep, row = numbers(made.column("keep")), first - int(starts[shard])
        scripts = numbers(own.column("script"))
        counted_rows.count(rows.shingles, scripts, keep, shard, row)
        yield made


def contaminated_of(job: Job, task: int, first: int, end: int) -> Contaminated | None:
    """The contaminated ones of some rows of a sign task; None without test sets.

    job: of the run. task: number of the sign task. first, end: numbers of the rows in it.
    """
    if job.evals is None:
        return None
    (found,) = CONTAMINATED.read(job.work, {task: job.contaminated[task]}, 0)
    low, high = np.searchsorted(numbers(found.column("row")), [first, end]).tolist()
    mine = found.slice(low, high - low)
    at = numbers(mine.column("row")).astype(np.int64) - first
    return Contaminated(at, mine, [shard.path for shard in job.evals.shards])


def _span(bounds: Array) -> tuple[int, int]:
    """(offset, length) of what lies between two bounds."""
    return int(bounds[0]), int(bounds[1] - bounds[0])
