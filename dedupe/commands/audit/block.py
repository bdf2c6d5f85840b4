"""sample: rows that a block holds in memory, read from the corpus, of as many as fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.commands.audit.job import SAMPLE, AuditJob
from dedupe.errors import SettingsError
from dedupe.shingling import RowSets, Shingler
from dedupe.stages.join import JoinBlock, joined
from dedupe.stages.sign import Signer
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.last_made import LastMade

LEVELS = 48
"""How often a block can be halved."""

_last = LastMade()


@dataclass(frozen=True, kw_only=True)
class SampleResult(TaskResult):
    """How much a slice has of a block.

    kept_rows: its rows in the block, after the block was halved 0, 1, 2 … times. kept_hashes: the
    shingles of these rows.
    """

    kept_rows: list[int]
    kept_hashes: list[int]


@dataclass(frozen=True)
class Held:
    """A block in memory.

    positions: int64 of its rows, ascending. keys: uint64[rows, bands], the band keys of each.
    joined: their shingle sets, indexed.
    """

    positions: Array
    keys: Array
    joined: JoinBlock


def block_rows(job: AuditJob, start: int, most: int) -> tuple[Array, Array]:
    """Rows of a block: int64 positions, ascending, and the rank of each.

    job: the audit. start: position of the first, where all rows are looked at. most: rows then. Of
    a block that memory does not hold, the rows of low ranks stay.
    """
    if not job.every:
        return np.sort(job.drawn), np.argsort(job.drawn)
    positions = np.arange(start, min(job.rows, start + most))
    return positions, np.arange(len(positions))


def sample_task(job: AuditJob, block: int, start: int, most: int, task: int) -> SampleResult:
    """Read the rows of a block that a slice has; leaves `SAMPLE`.

    job: the audit. block: number of the block. start, most: as in `block_rows`. task: see
    `AuditJob.task`.
    """
    positions, ranks = block_rows(job, start, most)
    number = task - job.task(block, 0)
    first, end = np.searchsorted(positions, job.slice_starts[number : number + 2]).tolist()
    shingler = Shingler(job.settings, job.document)
    signer = Signer(job.settings, job.banding, job.document)
    batches, sizes = [], [np.zeros(0, np.int64)]
    at = first
    for places, batch in job.read(number, positions[first:end]):
        sets = shingler.sets(batch)
        keys = signer.sign(batch).keys
        batches.append(_batch(places, ranks[at : at + len(places)], keys, sets))
        sizes.append(np.diff(sets.offsets[:: job.fields]))
        at += len(places)
    end = at
    files = SAMPLE.write(job.work, task, batches)
    counted, own = np.concatenate(sizes), ranks[first:end]
    within = [own < _below(len(positions), level) for level in range(LEVELS)]
    return SampleResult(
        rows=end - first,
        files=files,
        kept_rows=[int(chosen.sum()) for chosen in within],
        kept_hashes=[int(counted[chosen].sum()) for chosen in within],
    )


def _below(rows: int, level: int) -> int:
    """Ranks below this stay in a block of so many rows that was halved so often."""
    return max(rows >> level, 1)


def halvings(job: AuditJob, sampled: Mapping[int, SampleResult]) -> int:
    """How often a block must be halved to fit memory.

    job: the audit. sampled: results of all slices. Raises SettingsError where one row does not fit.
    """
    for level in range(LEVELS):
        rows = sum(result.kept_rows[level] for result in sampled.values())
        hashes = sum(result.kept_hashes[level] for result in sampled.values())
        if rows * job.budget.row + hashes * job.budget.hash <= job.budget.block:
            return level
    raise SettingsError("memory does not hold the shingles of one row: raise it")


def load_block(
    job: AuditJob,
    block: int,
    size: int,
    level: int,
    sampled: Left,
) -> Held:
    """Bring a block together; tasks of one process share it.

    job: the audit. block: its number. size: rows it had before it was halved. level: how often it
    was halved. sampled: the files of each slice.
    """

    def read() -> Held:
        below = _below(size, level)
        positions, keys = [np.zeros(0, np.int64)], []
        sizes, hashes = [np.zeros(1, np.int64)], []
        for batch in SAMPLE.read(job.work, sampled, None):
            stay = numbers(batch.column("rank")) < below
            counts = np.diff(numbers(batch.column("hashes").offsets))
            positions.append(numbers(batch.column("position"))[stay])
            of_rows = numbers(batch.column("keys").flatten()).reshape(len(stay), -1)
            keys.append(of_rows[stay])
            of_fields = numbers(batch.column("sizes").flatten()).reshape(len(stay), job.fields)
            sizes.append(of_fields[stay].reshape(-1).astype(np.int64))
            hashes.append(numbers(batch.column("hashes").flatten())[np.repeat(stay, counts)])
        all_keys = np.concatenate(keys) if keys else np.zeros((0, 1), np.uint64)
        joined = _indexed(job, sizes, hashes, all_keys)
        return Held(np.concatenate(positions), all_keys, joined)

    return _last.get((str(job.work), job.work.run, block), read)


def _indexed(job: AuditJob, sizes: list[Array], hashes: list[Array], keys: Array) -> JoinBlock:
    offsets = np.cumsum(np.concatenate(sizes))
    stamps = None if job.settings.near else keys[:, 0].copy()
    return JoinBlock(offsets, joined(hashes, int(offsets[-1])), job.threshold, stamps, job.fields)


def _batch(positions: Array, ranks: Array, keys: Array, sets: RowSets) -> pa.RecordBatch:
    each = np.arange(len(positions) + 1)
    columns = [
        pa.array(positions),
        pa.array(ranks),
        pa.LargeListArray.from_arrays(pa.array(each * keys.shape[1]), pa.array(keys.reshape(-1))),
        pa.LargeListArray.from_arrays(
            pa.array(sets.offsets[:: sets.fields]), pa.array(sets.hashes)
        ),
        pa.LargeListArray.from_arrays(
            pa.array(each * sets.fields), pa.array(np.diff(sets.offsets).astype(np.uint32))
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SAMPLE.columns)
