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
from dedupe.commands.split.job import (
    DROPPED,
    DUPLICATE,
    EMPTY,
    FILLED_CLUSTERS,
    FILLED_ROWS,
    LARGE,
    LINKED,
    NO_NAME,
    NO_TEXT,
    NOT_READ,
    SINGLE,
    SPREAD,
    STATES,
    UNREADABLE,
    SplitJob,
)
from dedupe.commands.split.ordering import Clusters
from dedupe.commands.split.tables import split_schema
from dedupe.commands.split.wanted import EXCLUDED, TRAIN
from dedupe.errors import IntegrityError
from dedupe.schema import SPLIT_REASONS, SPLITS
from dedupe.storage.tables import WrittenFile, write_file
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.keep import GROUP_ROWS, keep_file, row_groups

HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8)
"""Two digits for each byte."""


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
    chosen = np.full(len(components), TRAIN, np.uint8)
    for batch in FILLED_CLUSTERS.read(job.work, filled, partition):
        place = np.searchsorted(components, numbers(batch.column("component")))
        check_range(place, len(components), "spread was handed a cluster that there is not")
        chosen[place] = numbers(batch.column("split"))
    reason = np.where(found.sizes > 1, LINKED, SINGLE).astype(np.uint8)
    reason[found.sizes > limit] = LARGE
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


def write_task(
    split: SplitJob, gathered: Left, filled: Left, spread: Left, strata: int, task: int
) -> WriteResult:
    """Write where the rows of some neighbouring shards go, which must not have changed.

    split: the job. gathered, filled, spread: the files of each task of these stages. strata: how
    many there are. task: number of the keep task that has these shards.
    """
    job, positions = split.job, split.positions
    decided = _Decided.read(split, filled, spread, task)
    signed = lru_cache(maxsize=1)(partial(positions.signed_rows, job))

    @lru_cache(maxsize=1)
    def states(of: int) -> pa.RecordBatch:
        (batch,) = STATES.read(job.work, {of: gathered[of]}, 0)
        return batch

    schema = split_schema(positions.id_type)
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
                batch, chosen, reason = decided.rows(int(start), known, state)
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
    position.
    """

    single: Array
    single_split: Array
    spread: Mapping[str, Array]

    @classmethod
    def read(cls, split: SplitJob, filled: Left, spread: Left, task: int) -> _Decided:
        work = split.job.work
        singles = _arrays(FILLED_ROWS.read(work, filled, task), FILLED_ROWS.columns.names)
        rows = _arrays(SPREAD.read(work, spread, task), SPREAD.columns.names)
        order = np.argsort(singles["position"])
        by_position = np.argsort(rows["position"])
        return cls(
            singles["position"][order],
            singles["split"][order],
            {name: column[by_position] for name, column in rows.items()},
        )

    def rows(
        self, start: int, signed: pa.RecordBatch, states: pa.RecordBatch
    ) -> tuple[list[pa.Array], Array, Array]:
        """(columns behind `row`, split, reason) of neighbouring rows.

        start: position of the first. signed: what sign knows of them. states: see `STATES`.
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
        for kind, why in ((DUPLICATE, DROPPED), (UNREADABLE, NOT_READ)):
            chosen[state == kind] = EXCLUDED
            reason[state == kind] = why
        nameless = (state > EMPTY) | ((high == NO_NAME) & (low == NO_NAME))
        columns = [signed.column("id")] if "id" in signed.schema.names else []
        columns += [
            _words(chosen, SPLITS),
            _names(high, low, nameless),
            _words(reason, SPLIT_REASONS),
        ]
        return columns, chosen, reason


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


def _names(high: Array, low: Array, nameless: Array) -> pa.Array:
    """128 bits as 32 hexadecimal digits, null where there is no name."""
    words = np.stack([high, low], axis=1).astype(">u8")
    digits = HEX.reshape(256, 2)[words.view(np.uint8).reshape(-1)].reshape(-1)
    offsets = np.arange(len(high) + 1, dtype=np.int32) * 32
    valid = np.packbits(~nameless, bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), pa.py_buffer(digits.copy())]
    return pa.Array.from_buffers(pa.string(), len(high), buffers)
