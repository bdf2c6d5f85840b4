"""spread, write: from clusters to their rows, and to a file for each shard that says where they go.

SPLITS/splits/00003-name.parquet has the rows of shard 3 in their order: see `split_schema`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.arrays import Array, numbers, slices
from dedupe.checks import check_range
from dedupe.commands.split.growing import keys_of
from dedupe.commands.split.job import (
    BETWEEN,
    DROPPED,
    DUPLICATE,
    EMPTY,
    FILLED_CLUSTERS,
    FILLED_ROWS,
    FREE,
    IN_BETWEEN,
    IN_TWO,
    LARGE,
    LINKED,
    NO_NAME,
    NO_TEXT,
    NOT_READ,
    PINNED,
    SINGLE,
    SPREAD,
    STATES,
    UNREADABLE,
    SplitJob,
)
from dedupe.commands.split.ordering import Clusters
from dedupe.commands.split.tables import WITNESSES, in_digits, split_schema
from dedupe.commands.split.wanted import EXCLUDED, TRAIN
from dedupe.errors import IntegrityError
from dedupe.schema import SPLIT_REASONS, SPLITS
from dedupe.storage.tables import GROUP_ROWS, WrittenFile, row_groups, write_file
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.keep import keep_file


@dataclass(frozen=True, kw_only=True)
class WriteResult(TaskResult):
    """What a task of write counted; its files are those of its shards, in their order.

    splits: for each shard the rows of each of `wanted.SPLITS`. reasons: rows for each of
    `job.SPLIT_REASONS`. strata: for each stratum by its number the rows of each split.
    """

    splits: list[list[int]]
    reasons: list[int]
    strata: list[list[Any]]


def spread_task(
    split: SplitJob, gathered: Left, filled: Left, limit: int, partition: int
) -> TaskResult:
    """Bring what became of clusters to their rows; leaves `SPREAD`.

    split: the job. gathered, filled: the files of each task of gather and of fill. limit: rows of
    the largest cluster that is not for training because of its size. partition: of clusters.
    """
    job = split.job
    found = Clusters.read(split, gathered, partition)
    components = found.rows["component"][found.starts]
    chosen = np.where(found.splits == FREE, TRAIN, found.splits).astype(np.uint8)
    for batch in FILLED_CLUSTERS.read(job.work, filled, partition):
        place = np.searchsorted(components, numbers(batch.column("component")))
        check_range(place, len(components), "spread was handed a cluster that there is not")
        chosen[place] = numbers(batch.column("split"))
    reason = np.where(found.sizes > 1, LINKED, SINGLE).astype(np.uint8)
    reason[(found.sizes > limit) & (found.splits == FREE)] = LARGE
    reason[~found.named] = NO_TEXT
    of = np.repeat(
        np.arange(len(components)), np.diff(np.append(found.starts, len(found.rows["row"])))
    )
    lead = found.starts[of]
    position = found.rows["position"]
    order = np.argsort(position)
    columns = [position, chosen[of], reason[of], found.rows["high"][lead], found.rows["low"][lead]]
    rows = pa.RecordBatch.from_arrays(
        [pa.array(column[order]) for column in columns], schema=SPREAD.columns
    )
    bounds = np.searchsorted(position[order], split.positions.keep_starts)
    batches = slices(rows, bounds)
    return TaskResult(rows=len(of), files=SPREAD.write(job.work, partition, batches))


@dataclass(frozen=True)
class Found:
    """The files of each task of columns, gather, fill, spread, and rounds.

    rounds: None without an earlier split.
    """

    columns: Left
    gather: Left
    fill: Left
    spread: Left
    rounds: Left | None


def write_task(split: SplitJob, found: Found, strata: int, task: int) -> WriteResult:
    """Write where the rows of some neighbouring shards go, which must not have changed.

    split: the job. found: what the stages before it left. strata: how many there are. task: number
    of the keep task that has these shards.
    """
    job, positions = split.job, split.positions
    decided = _Decided.read(split, found, task)
    signed = lru_cache(maxsize=1)(partial(positions.signed_rows, job))
    keys = lru_cache(maxsize=1)(partial(keys_of, split, found.columns))

    @lru_cache(maxsize=1)
    def states(of: int) -> pa.RecordBatch:
        (batch,) = STATES.read(job.work, {of: found.gather[of]}, 0)
        return batch

    schema = split_schema(positions.id_type, grown=found.rounds is not None)
    counts = np.zeros((strata, len(SPLITS)), np.int64)
    reasons = np.zeros(len(SPLIT_REASONS), np.int64)
    of_shards: list[list[int]] = []
    files: dict[str, WrittenFile] = {}
    first, end = positions.keep_shards[task], positions.keep_shards[task + 1]
    for shard in range(first, end):
        own = np.zeros(len(SPLITS), np.int64)

        def batches(shard: int = shard, own: Array = own) -> Iterator[pa.RecordBatch]:
            for number, slice_number in positions.slices_of[shard]:
                start, stop = positions.slice_starts[number][slice_number : slice_number + 2]
                if start == stop:
                    continue
                at = int(start - positions.task_starts[number])
                known = signed(number).slice(at, int(stop - start))
                state = states(number).slice(at, int(stop - start))
                key = [part[at : at + known.num_rows] for part in keys(number)]
                batch, chosen, reason = decided.rows(int(start), known, state, in_digits(*key))
                np.add.at(counts, (numbers(state.column("stratum")), chosen), 1)
                reasons[:] += np.bincount(reason, minlength=len(SPLIT_REASONS))
                own[:] += np.bincount(chosen, minlength=len(SPLITS))
                rows = np.arange(start, stop) - positions.shard_starts[shard]
                columns = [pa.array(rows), *batch]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

        def write(sink: pa.NativeFile, made: Any = batches) -> None:
            with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
                for group in row_groups(schema, made()):
                    writer.write_table(group, row_group_size=GROUP_ROWS)

        name = keep_file(job.shards[shard])
        files[name] = write_file(job.work.stages.folder("write"), name, write)
        if job.shards[shard].path not in job.left_out:
            job.shards[shard].check_unchanged()
        of_shards.append(own.tolist())
    rows = int(positions.shard_starts[end] - positions.shard_starts[first])
    if counts.sum() != rows:
        raise IntegrityError(
            f"{rows} rows in, {counts.sum()} rows out of {job.shards[first].path} and next"
        )
    there = np.flatnonzero(counts.sum(axis=1))
    return WriteResult(
        rows=rows,
        files=files,
        splits=of_shards,
        reasons=reasons.tolist(),
        strata=[[number, counts[number].tolist()] for number in there.tolist()],
    )


@dataclass(frozen=True)
class _Decided:
    """What was decided of the rows of a keep task that are not alone, or not for training.

    single, single_split: position and split of rows that are alone. spread: see `SPREAD`, by
    position. between: position of rows that are linked with rows of two splits; witnesses: of each
    of them, as they are written. None without an earlier split.
    """

    single: Array
    single_split: Array
    spread: Mapping[str, Array]
    between: Array
    witnesses: pa.Array | None

    @classmethod
    def read(cls, split: SplitJob, found: Found, task: int) -> _Decided:
        work = split.job.work
        singles = _arrays(FILLED_ROWS.read(work, found.fill, task), FILLED_ROWS.columns.names)
        rows = _arrays(SPREAD.read(work, found.spread, task), SPREAD.columns.names)
        order = np.argsort(singles["position"])
        by_position = np.argsort(rows["position"])
        return cls(
            singles["position"][order],
            singles["split"][order],
            {name: column[by_position] for name, column in rows.items()},
            *_witnesses(split, found.rounds, task),
        )

    def rows(
        self, start: int, signed: pa.RecordBatch, states: pa.RecordBatch, digests: pa.Array
    ) -> tuple[list[pa.Array], Array, Array]:
        """(columns behind `row`, split, reason) of neighbouring rows.

        start: position of the first. signed: what sign knows of them. states: see `STATES`.
        digests: by which they are known.
        """
        count = signed.num_rows
        state = numbers(states.column("state"))
        chosen = np.full(count, TRAIN, np.uint8)
        reason = np.full(count, SINGLE, np.uint8)
        high, low = (numbers(signed.column(f"digest_{half}")).copy() for half in ("high", "low"))
        reason[state == EMPTY] = NO_TEXT
        high[state == EMPTY] = low[state == EMPTY] = NO_NAME
        a, b = np.searchsorted(self.single, [start, start + count])
        chosen[self.single[a:b] - start] = self.single_split[a:b]
        a, b = np.searchsorted(self.spread["position"], [start, start + count])
        at = self.spread["position"][a:b] - start
        for column, name in ((chosen, "split"), (reason, "reason"), (high, "high"), (low, "low")):
            column[at] = self.spread[name][a:b]
        stood = numbers(states.column("stood"))
        pinned = np.flatnonzero(stood != FREE)
        chosen[pinned], reason[pinned] = stood[pinned], PINNED
        for kind, why in ((DUPLICATE, DROPPED), (UNREADABLE, NOT_READ), (BETWEEN, IN_TWO)):
            chosen[state == kind] = EXCLUDED
            reason[state == kind] = why
        nameless = (state > EMPTY) | ((high == NO_NAME) & (low == NO_NAME))
        columns = [signed.column("id")] if "id" in signed.schema.names else []
        columns += [
            _words(chosen, SPLITS),
            in_digits(high, low, ~nameless),
            _words(reason, SPLIT_REASONS),
            digests,
        ]
        if self.witnesses is not None:
            a, b = np.searchsorted(self.between, [start, start + count])
            at = np.full(count, -1)
            at[self.between[a:b] - start] = np.arange(a, b)
            columns.append(self.witnesses.take(pa.array(at, mask=at < 0)))
        return columns, chosen, reason


def _witnesses(split: SplitJob, rounds: Left | None, task: int) -> tuple[Array, pa.Array | None]:
    """(positions of rows that are between two splits, their witnesses), by position.

    split: the job. rounds: the files of each task of rounds, None without an earlier split. task:
    number of the keep task that has these rows.
    """
    if rounds is None:
        return np.zeros(0, np.int64), None
    job, starts = split.job, split.positions.shard_starts
    table = pa.Table.from_batches(
        IN_BETWEEN.read(job.work, rounds, task), schema=IN_BETWEEN.columns
    ).sort_by("position")
    (batch,) = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    witness = numbers(batch.column("witnesses").flatten())
    check_range(witness, split.positions.rows, "write was handed a row outside of the corpus")
    shard = np.searchsorted(starts, witness, side="right") - 1
    paths = pa.array([one.path for one in job.shards])
    each = pa.StructArray.from_arrays(
        [
            pa.array(SPLITS).take(batch.column("splits").flatten()),
            paths.take(pa.array(shard)),
            pa.array(witness - starts[shard]),
            batch.column("jaccard").flatten(),
        ],
        fields=list(WITNESSES.value_type),
    )
    offsets = pa.array(np.arange(batch.num_rows + 1, dtype=np.int32) * 2)
    lists = pa.ListArray.from_arrays(offsets, each)
    return numbers(batch.column("position")), lists.cast(WITNESSES)


def _arrays(batches: Iterator[pa.RecordBatch], names: Sequence[str]) -> dict[str, Array]:
    found = list(batches)
    return {
        name: np.concatenate([numbers(batch.column(name)) for batch in found])
        if found
        else np.zeros(0, np.int64)
        for name in names
    }


def _words(codes: Array, words: Sequence[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int8)), pa.array(words))
