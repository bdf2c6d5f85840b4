"""hold, scan, near: rows of test and validation against all rows of train, by an exact join.

hold   the rows of a slice that are not for training, as shingle sets
scan   the rows of a slice that are for training stream past a block of those
near   of each row of a block the nearest one of train
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.commands.audit.job import AuditJob
from dedupe.commands.split.nearest import improve
from dedupe.commands.split.result import codes
from dedupe.commands.split.tables import split_batches
from dedupe.commands.split.wanted import HELD_OUT, TRAIN
from dedupe.errors import CorpusError
from dedupe.schema import SPLITS
from dedupe.shingling import RowSets, Shingler
from dedupe.stages.join import JoinBlock
from dedupe.tasks.artifacts import Artifact, Left, TaskResult
from dedupe.tasks.last_made import LastMade

STEP = 0.05
"""Width of a range of similarity."""
EXAMPLES = 20
"""Nearest pairs that are told."""

HELD = Artifact(
    "hold",
    "rows",
    pa.schema(
        [
            ("position", pa.int64()),
            ("split", pa.uint8()),
            ("hashes", pa.large_list(pa.uint64())),
            ("sizes", pa.large_list(pa.uint32())),
        ]
    ),
    "one for each batch of text that was read",
    {
        "position": "position of a row that is not for training",
        "split": "1 for test, 2 for validation",
        "hashes": "its distinct shingles, its fields end to end",
        "sizes": "for each field, how many of them it has",
    },
)
NEAREST = Artifact(
    "scan",
    "nearest",
    pa.schema([("entry", pa.int64()), ("similarity", pa.float64()), ("position", pa.int64())]),
    "one",
    {
        "entry": "number of a set of the block",
        "similarity": "the greatest similarity of a row of train that passed",
        "position": "position of the first such row",
    },
)
LEAK_ARTIFACTS = (HELD, NEAREST)
"""What the tasks of an audit of a split leave, in the order of its stages."""


@dataclass(frozen=True)
class LeakJob(AuditJob):
    """The audit of a split: `threshold` is the least similarity that is looked for.

    leak: the similarity from which a pair is a leak.
    """

    leak: float

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        if stage == "near":
            return f"near of block {task}"
        block, number = divmod(task, max(len(self.slices), 1))
        return f"{stage} {block} of {self.shards[self.slices[number].shard].path}"

    @property
    def bins(self) -> Array:
        """Where ranges of similarity begin, the last of which is that of equal sets."""
        steps = np.arange(self.threshold, 1.0, STEP).round(4)
        return np.unique(np.append(steps, [self.threshold, self.leak, 1.0]))

    def splits_of(self, number: int) -> Array:
        """The split of each row of a slice: uint8. number: of the slice."""
        start, end = self.slice_starts[number : number + 2].tolist()
        part = self.slices[number]
        first = start - int(self.shard_starts[part.shard])
        found, at = [np.zeros(0, np.uint8)], 0
        with split_batches(self.out, self.listed[part.shard], ["split"]) as (_, batches):
            for batch in batches:
                low, high = max(first - at, 0), min(first + end - start - at, batch.num_rows)
                if low < high:
                    found.append(codes(batch)[low:high])
                at += batch.num_rows
        return np.concatenate(found)

    def sets(self, number: int, chosen: Array) -> Iterator[tuple[Array, RowSets]]:
        """(positions, shingle sets) of rows of a slice, some at a time.

        number: of the slice. chosen: bool, those of its rows. Raises CorpusError where it has
        other rows than the split says.
        """
        positions = np.flatnonzero(chosen) + int(self.slice_starts[number])
        shingler = Shingler(self.settings, self.document)
        count = 0
        for found, batch in self.read(number, positions):
            yield found, shingler.sets(batch)
            count += batch.num_rows
        if count != len(positions):
            path = self.shards[self.slices[number].shard].path
            raise CorpusError("has other rows than were split: split again", path=path)


@dataclass(frozen=True, kw_only=True)
class HoldResult(TaskResult):
    """How much a slice has; hashes: shingles of its rows. counts: rows of each of `HELD_OUT`."""

    hashes: int
    counts: list[int]


@dataclass(frozen=True, kw_only=True)
class NearResult(TaskResult):
    """What a block comes to, by the splits in `HELD_OUT`.

    near: for each of them and each of `LeakJob.bins` the rows whose nearest row of train is so
    similar. leaks: the rows of which it is a leak. nearest: of the nearest pairs the similarity,
    the split and the position of the row, and the position of the row of train.
    """

    near: list[list[int]]
    leaks: list[int]
    nearest: list[list[Any]]


@dataclass(frozen=True)
class _Block:
    """A block in memory: int64 positions and uint8 splits of its rows, and these, indexed."""

    positions: Array
    splits: Array
    joined: JoinBlock


_last = LastMade()


def hold_task(job: LeakJob, number: int) -> HoldResult:
    """Read the rows of a slice that are not for training; leaves `HELD`.

    job: the audit. number: of the slice.
    """
    splits = job.splits_of(number)
    start = int(job.slice_starts[number])
    batches, hashes = [], 0
    chosen = np.isin(splits, HELD_OUT)
    for positions, sets in job.sets(number, chosen):
        each = np.arange(len(positions) + 1) * sets.fields
        columns = [
            pa.array(positions),
            pa.array(splits[positions - start]),
            pa.LargeListArray.from_arrays(
                pa.array(sets.offsets[:: sets.fields]), pa.array(sets.hashes)
            ),
            pa.LargeListArray.from_arrays(
                pa.array(each), pa.array(np.diff(sets.offsets).astype(np.uint32))
            ),
        ]
        batches.append(pa.RecordBatch.from_arrays(columns, schema=HELD.columns))
        hashes += len(sets.hashes)
    return HoldResult(
        rows=int(chosen.sum()),
        files=HELD.write(job.work, number, batches),
        hashes=hashes,
        counts=[int((splits == one).sum()) for one in HELD_OUT],
    )


def _block(job: LeakJob, block: int, held: Left) -> _Block:
    """Bring a block together; tasks of one process share it.

    job: the audit. block: its number. held: the files of its slices.
    """

    def read() -> _Block:
        positions, splits = [np.zeros(0, np.int64)], [np.zeros(0, np.uint8)]
        sizes, hashes = [np.zeros(0, np.int64)], []
        for batch in HELD.read(job.work, held, None):
            positions.append(numbers(batch.column("position")))
            splits.append(numbers(batch.column("split")))
            sizes.append(numbers(batch.column("sizes").flatten()).astype(np.int64))
            hashes.append(numbers(batch.column("hashes").flatten()))
        joined = JoinBlock.of(sizes, hashes, job.threshold, job.fields)
        return _Block(np.concatenate(positions), np.concatenate(splits), joined)

    return _last.get((str(job.work), job.work.run, block), read)


def scan_task(job: LeakJob, block: int, held: Left, task: int) -> TaskResult:
    """Let the rows of train in a slice stream past a block; leaves `NEAREST`.

    job: the audit. block: its number. held: the files of its slices. task: see `AuditJob.task`.
    """
    found = _block(job, block, held)
    number = task - job.task(block, 0)
    best = np.zeros(len(found.joined.leaders))
    where = np.full(len(best), -1)
    count = 0
    for positions, sets in job.sets(number, job.splits_of(number) == TRAIN):
        for pairs in found.joined.pairs(sets.offsets, sets.hashes):
            improve(best, where, pairs.entries, pairs.jaccard.min(axis=1), positions[pairs.rows])
        count += len(positions)
    entries = np.flatnonzero(where >= 0)
    columns = [pa.array(entries), pa.array(best[entries]), pa.array(where[entries])]
    batch = pa.RecordBatch.from_arrays(columns, schema=NEAREST.columns)
    return TaskResult(rows=count, files=NEAREST.write(job.work, task, [batch]))


def near_task(job: LeakJob, block: int, held: Left, scanned: Left, task: int) -> NearResult:
    """Sum up what streamed past a block.

    job: the audit. block: its number. held: the files of its slices. scanned: the files of each
    scan of it. task: the number of the block.
    """
    found = _block(job, block, held)
    best = np.zeros(len(found.joined.leaders))
    where = np.full(len(best), -1)
    for batch in NEAREST.read(job.work, scanned, 0):
        improve(best, where, *map(numbers, batch.columns))
    entry = found.joined.entry
    similarity = np.where(entry >= 0, best[entry], 0.0) if len(best) else np.zeros(len(entry))
    partner = np.where(entry >= 0, where[entry], -1) if len(best) else np.full(len(entry), -1)
    rows = np.flatnonzero(similarity > 0)
    bins = np.searchsorted(job.bins, similarity, side="right") - 1
    near, leaks = [], []
    for split in HELD_OUT:
        own = rows[found.splits[rows] == split]
        near.append(np.bincount(bins[own], minlength=len(job.bins)).tolist())
        leaks.append(int((similarity[own] >= job.leak).sum()))
    order = rows[np.lexsort((found.positions[rows], -similarity[rows]))][:EXAMPLES]
    nearest = [
        [
            float(similarity[row]),
            SPLITS[found.splits[row]],
            int(found.positions[row]),
            int(partner[row]),
        ]
        for row in order.tolist()
    ]
    return NearResult(rows=len(entry), files={}, near=near, leaks=leaks, nearest=nearest)


def blocks_of(job: LeakJob, held: Mapping[int, HoldResult]) -> list[list[int]]:
    """The slices of each block, such that memory holds it; a slice is never divided.

    job: the audit. held: results of all slices.
    """
    blocks: list[list[int]] = []
    room = 0.0
    for number, result in sorted(held.items()):
        if not result.rows:
            continue
        size = result.rows * job.budget.row + result.hashes * job.budget.hash
        if not blocks or size > room:
            blocks.append([])
            room = job.budget.block
        blocks[-1].append(number)
        room -= size
    return blocks


def told(job: LeakJob, nearest: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The nearest pairs, with the path of the shard and the number in it of each row.

    job: the audit. nearest: as `NearResult` has them.
    """

    def place(position: int) -> list[Any]:
        shard = int(np.searchsorted(job.shard_starts, position, side="right")) - 1
        return [job.listed[shard]["path"], position - int(job.shard_starts[shard])]

    return [
        {"jaccard": similar, "split": split, "row": place(row), "train": place(partner)}
        for similar, split, row, partner in nearest
    ]
