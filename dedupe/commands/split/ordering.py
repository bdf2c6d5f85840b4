"""gather, name, fill: clusters in the order of their names to the splits that are filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, in_partitions, numbers
from dedupe.checks import check_range
from dedupe.commands.split.growing import stood_in
from dedupe.commands.split.job import (
    BETWEEN,
    CLUSTER_LABELS,
    DUPLICATE,
    EMPTY,
    FILLED_CLUSTERS,
    FILLED_ROWS,
    FREE,
    INCLUDED,
    JOINED,
    MEMBERS,
    NAMED,
    NO_NAME,
    SINGLES,
    STATES,
    STRATA,
    UNREADABLE,
    SplitJob,
    Strata,
    by_component,
    by_high,
    order_of,
)
from dedupe.commands.split.wanted import EXCLUDED, HELD_OUT
from dedupe.kernels.fill import fill
from dedupe.schema import CLUSTER_BINS, NO_SHINGLES
from dedupe.storage.spill import SpillBuffer
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.unlinked import linked_of

LARGEST = 20
"""Clusters of a task that are told."""


@dataclass(frozen=True, kw_only=True)
class GatherResult(TaskResult):
    """What a task of gather counted.

    included: rows that go to a split. singles: for each stratum by its number the rows with text
    that are alone. fixed: those of them that stood in test or validation before, as [stratum,
    split, rows].
    """

    included: int
    singles: list[list[int]]
    fixed: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class NameResult(TaskResult):
    """What a task of name counted.

    clusters: for each stratum by its number the rows of its clusters. fixed: those of them whose
    cluster is of test or validation as before, as [stratum, split, rows]. sizes: how many clusters
    there are for each of `schema.CLUSTER_BINS`. largest: of the largest clusters the size and the
    position of a row. largest_free: rows of the largest that is to be filled.
    """

    clusters: list[list[int]]
    fixed: list[list[int]]
    sizes: list[int]
    largest: list[list[int]]
    largest_free: int


@dataclass(frozen=True, kw_only=True)
class FillResult(TaskResult):
    """What was filled; filled: rows of each of `wanted.HELD_OUT`."""

    filled: list[int]


@dataclass(frozen=True)
class Room:
    """What test and validation take.

    places: uint32, the place in `rows` of each stratum by its number. rows: int64[places, splits],
    how many each split takes of each. limit: rows of the largest cluster that is taken.
    """

    places: Array
    rows: Array
    limit: int


@dataclass(frozen=True)
class Grown:
    """What is known of the rows of an earlier split; nothing without one.

    pinned, joined: the files of each task of pin and of rounds.
    """

    pinned: Left
    joined: Left


def gather_task(
    split: SplitJob,
    strata: Strata,
    read: Left,
    labeled: Left,
    grown: Grown,
    partitions: int,
    task: int,
) -> GatherResult:
    """Bring the rows of a sign task to their cluster, or to their place in the order.

    split: the job. strata: of the corpus. read, labeled: the files of each task of columns and of
    clusters. grown: what an earlier split decides. partitions: of clusters. task: number of the
    sign task. Leaves `STATES`, `MEMBERS` and `SINGLES`.
    """
    job, positions = split.job, split.positions
    signed = positions.signed_rows(job, task)
    shingles = numbers(signed.column("shingles"))
    high, low = (numbers(signed.column(f"digest_{half}")).copy() for half in ("high", "low"))
    state = np.where(shingles == 0, EMPTY, INCLUDED).astype(np.uint8)
    linked = linked_of(job.work, split.unlinked, task, len(state))
    state[~linked] = DUPLICATE
    unread = shingles == NO_SHINGLES
    state[unread] = UNREADABLE
    stood = stood_in(split, grown.pinned, task)
    row, component, of_cluster = _clusters_of(split, labeled, grown, task)
    of_cluster[stood[row] == EXCLUDED] = EXCLUDED
    state[(stood == EXCLUDED) & (state <= EMPTY)] = BETWEEN
    state[row[of_cluster == EXCLUDED]] = BETWEEN
    digests = None
    if split.wanted.stratify:
        (batch,) = STRATA.read(job.work, {task: read[task]}, 0)
        digests = numbers(batch.column(0))
    lengths = np.where(unread, 0, shingles).astype(np.int64)
    stratum = strata.numbers(digests, lengths)
    columns = [pa.array(column) for column in (state, stratum, stood)]
    states = pa.RecordBatch.from_arrays(columns, schema=STATES.columns)
    files = STATES.write(job.work, task, [states])

    nameless = state != INCLUDED
    high[nameless] = low[nameless] = NO_NAME
    alone = ~nameless
    alone[row] = False
    inside = of_cluster != EXCLUDED
    row, component, of_cluster = row[inside], component[inside], of_cluster[inside]
    members = pa.RecordBatch.from_arrays(
        [
            pa.array(component),
            pa.array(row, pa.uint32()),
            *(pa.array(column[row]) for column in (high, low, stratum, state)),
            pa.array(of_cluster),
        ],
        schema=MEMBERS.columns,
    )
    to = by_component(component, partitions)
    files |= MEMBERS.write(job.work, task, in_partitions(members, to, partitions))

    single = np.flatnonzero(alone & (stood == FREE))
    first, second = order_of(high[single], low[single], split.wanted.seed)
    singles = pa.RecordBatch.from_arrays(
        [
            pa.array(first),
            pa.array(second),
            pa.array(single, pa.uint32()),
            pa.array(stratum[single]),
        ],
        schema=SINGLES.columns,
    )
    to = by_high(first, split.partitions)
    files |= SINGLES.write(job.work, task, in_partitions(singles, to, split.partitions))
    return GatherResult(
        rows=len(state),
        files=files,
        included=int(np.isin(state, (INCLUDED, EMPTY)).sum()),
        singles=_counts(stratum[alone], np.ones(int(alone.sum()), np.int64)),
        fixed=_fixed(stratum[alone], stood[alone], np.ones(int(alone.sum()), np.int64)),
    )


def _clusters_of(
    split: SplitJob, labeled: Left, grown: Grown, task: int
) -> tuple[Array, Array, Array]:
    """Rows of a sign task that are linked (int64), and the cluster (int64) and split of each.

    The split is one of `schema.SPLITS` where rows of an earlier split decide it, else `FREE`.
    """
    if not labeled:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8)
    (batch,) = CLUSTER_LABELS.read(split.job.work, labeled, task)
    row, component, stood = map(numbers, batch.columns)
    row, component = row.astype(np.int64), component.copy()
    rows = split.positions.rows_in(task)
    check_range(row, rows, "gather was handed a label of a row outside of its sign task")
    of_cluster = np.full(len(row), FREE, np.uint8)
    one = np.bitwise_count(stood) == 1
    of_cluster[one] = np.bitwise_count(stood[one] - np.uint8(1))  # the number of the bit
    start = int(split.positions.task_starts[task])
    for batch in JOINED.read(split.job.work, grown.joined, task):
        position, chosen, number = map(numbers, batch.columns)
        at = np.searchsorted(row, position - start)
        check_range(at, len(row), "gather was handed a row that is in no cluster")
        of_cluster[at], component[at] = chosen, number
    return row, component, of_cluster


@dataclass(frozen=True)
class Clusters:
    """The clusters of a partition, and their rows.

    rows: the rows, see `MEMBERS`, cluster by cluster, with the position of each. starts: int64,
    the first row of each cluster, which names it. sizes: int64, rows of each that go to a split.
    """

    rows: dict[str, Array]
    starts: Array
    sizes: Array

    @classmethod
    def read(cls, split: SplitJob, gathered: Left, partition: int) -> Clusters:
        """Bring them together.

        split: the job. gathered: the files of each task of gather. partition: of clusters.
        """
        names = [*MEMBERS.columns.names, "position"]
        parts: dict[str, list[Array]] = {name: [] for name in names}
        for first, batch in split.positions.batches(split.job, MEMBERS, gathered, partition):
            for name in MEMBERS.columns.names:
                parts[name].append(numbers(batch.column(name)))
            parts["position"].append(parts["row"][-1].astype(np.int64) + first)
        columns = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        order = np.lexsort([columns[n] for n in ("stratum", "low", "high", "component")])
        rows = {name: column[order] for name, column in columns.items()}
        starts = np.flatnonzero(np.diff(rows["component"], prepend=-1))
        included = np.isin(rows["state"], (INCLUDED, EMPTY)).astype(np.int64)
        sizes = np.add.reduceat(included, starts) if len(starts) else np.zeros(0, np.int64)
        return cls(rows, starts, sizes)

    @property
    def named(self) -> Array:
        """Whether each cluster has a name: a row with text that is not excluded."""
        named: Array = self.rows["state"][self.starts] == INCLUDED
        return named

    @property
    def splits(self) -> Array:
        """The split of each cluster, `FREE` where it is filled: uint8."""
        of_rows: Array = self.rows["split"][self.starts]
        return of_rows


def name_task(split: SplitJob, gathered: Left, partition: int) -> NameResult:
    """Name the clusters of a partition by the smallest digest of their rows; leaves `NAMED`.

    split: the job. gathered: the files of each task of gather. partition: of clusters.
    """
    found = Clusters.read(split, gathered, partition)
    leads = found.starts[found.named]
    sizes, splits = found.sizes[found.named], found.splits[found.named]
    high, low = order_of(found.rows["high"][leads], found.rows["low"][leads], split.wanted.seed)
    stratum = found.rows["stratum"][leads]
    free = splits == FREE
    columns = [one[free] for one in (high, low, found.rows["component"][leads], sizes, stratum)]
    named = pa.RecordBatch.from_arrays([pa.array(one) for one in columns], schema=NAMED.columns)
    batches = in_partitions(named, by_high(high[free], split.partitions), split.partitions)
    positions = found.rows["position"][leads]
    large = np.lexsort((positions, -sizes))[:LARGEST]
    bins = np.searchsorted(CLUSTER_BINS, sizes[sizes > 1], side="right") - 1
    return NameResult(
        rows=len(found.rows["row"]),
        files=NAMED.write(split.job.work, partition, batches),
        clusters=_counts(stratum, sizes),
        fixed=_fixed(stratum, splits, sizes),
        sizes=np.bincount(bins, minlength=len(CLUSTER_BINS)).tolist(),
        largest=np.stack([sizes[large], positions[large]], axis=1).tolist(),
        largest_free=int(sizes[free].max(initial=0)),
    )


def _counts(stratum: Array, rows: Array) -> list[list[int]]:
    """The rows of each stratum by its number. stratum, rows: of clusters."""
    found, back = np.unique(stratum, return_inverse=True)
    counts = np.zeros(len(found), np.int64)
    np.add.at(counts, back, rows)
    return [list(pair) for pair in zip(found.tolist(), counts.tolist(), strict=True)]


def _fixed(stratum: Array, splits: Array, rows: Array) -> list[list[int]]:
    """[stratum, split, rows] of test and validation. stratum, splits, rows: of clusters."""
    return [
        [number, split, count]
        for split in HELD_OUT
        for number, count in _counts(stratum[splits == split], rows[splits == split])
    ]


def totals(parts: Sequence[Sequence[Sequence[int]]]) -> dict[int, int]:
    """The rows of each stratum in all tasks. parts: what `_counts` gave in each."""
    rows: dict[int, int] = {}
    for part in parts:
        for number, count in part:
            rows[number] = rows.get(number, 0) + count
    return rows


def fill_task(split: SplitJob, room: Room, gathered: Left, named: Left, task: int) -> FillResult:
    """Take clusters in order for test and validation; leaves `FILLED_ROWS`, `FILLED_CLUSTERS`.

    split: the job. room: what these take. gathered, named: the files of each task of gather and of
    name. task: its number. Of the order a partition is in memory at a time.
    """
    job = split.job
    left = room.rows.copy()
    spool = job.work.files.spool
    starts = split.positions.keep_starts
    taken = 0
    with SpillBuffer(spool) as rows, SpillBuffer(spool) as clusters:
        rows.add(_filled(FILLED_ROWS.columns, *_NOTHING, len(starts) - 1))
        clusters.add(_filled(FILLED_CLUSTERS.columns, *_NOTHING, len(named)))
        for partition in range(split.partitions):
            if not left.any():
                break
            single, place, size, stratum = _in_order(split, gathered, named, partition)
            chosen = np.zeros(len(size), np.uint8)
            small = np.flatnonzero(size <= room.limit)
            part = np.zeros(len(small), np.uint8)
            fill(room.places[stratum[small]], size[small], left, part)
            chosen[small] = part
            taken += len(size)
            is_row = single & (chosen > 0)
            of = np.searchsorted(starts, place[is_row], side="right") - 1
            rows.add(
                _filled(FILLED_ROWS.columns, place[is_row], chosen[is_row], of, len(starts) - 1)
            )
            is_cluster = ~single & (chosen > 0)
            of = by_component(place[is_cluster], len(named))
            clusters.add(
                _filled(
                    FILLED_CLUSTERS.columns, place[is_cluster], chosen[is_cluster], of, len(named)
                )
            )
        files = FILLED_ROWS.write(job.work, task, rows.merged())
        files |= FILLED_CLUSTERS.write(job.work, task, clusters.merged())
    return FillResult(rows=taken, files=files, filled=(room.rows - left).sum(axis=0).tolist())


_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64))


def _filled(
    schema: pa.Schema, place: Array, chosen: Array, of: Array, partitions: int
) -> list[pa.RecordBatch]:
    table = pa.RecordBatch.from_arrays([pa.array(place), pa.array(chosen)], schema=schema)
    return list(in_partitions(table, of, partitions))


def _in_order(
    split: SplitJob, gathered: Left, named: Left, partition: int
) -> tuple[Array, Array, Array, Array]:
    """Whatever has its place in a partition of the order, in order.

    (whether it is a row that is alone; its position, or that it is this component; size; stratum).
    """
    parts = [
        (high, low, np.ones(len(row), np.bool_), row, np.ones(len(row), np.int64), stratum)
        for high, low, row, stratum in _singles(split, gathered, partition)
    ]
    for batch in NAMED.read(split.job.work, named, partition):
        high, low, component, size, stratum = map(numbers, batch.columns)
        parts.append((high, low, np.zeros(len(size), np.bool_), component, size, stratum))
    high, low, single, place, size, stratum = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((low, high))
    return single[order], place[order], size[order], stratum[order]


def _singles(
    split: SplitJob, gathered: Left, partition: int
) -> Iterator[tuple[Array, Array, Array, Array]]:
    for first, batch in split.positions.batches(split.job, SINGLES, gathered, partition):
        high, low, row, stratum = map(numbers, batch.columns)
        yield high, low, row.astype(np.int64) + first, stratum


def largest_of(results: Mapping[int, NameResult]) -> list[list[int]]:
    """The largest clusters of all partitions: size, and the position of a row."""
    every = [one for result in results.values() for one in result.largest]
    return sorted(every, key=lambda one: (-one[0], one[1]))[:LARGEST]
