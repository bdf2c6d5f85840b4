"""columns, groups, clusters: rows that are similar, or of an equal value, to clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import (
    Array,
    as_large_string,
    in_partitions,
    is_text,
    numbers,
    text_buffers,
    valid_bytes,
)
from dedupe.checks import check_range
from dedupe.commands.split.growing import is_mixed, stood_in
from dedupe.commands.split.job import (
    CLUSTER_BYTES,
    CLUSTER_LABELS,
    FREE,
    GROUP_EDGES,
    GROUPS,
    STRATA,
    VALUES,
    SplitJob,
    by_high,
)
from dedupe.commands.split.wanted import MOST_STRATA
from dedupe.errors import SettingsError
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.schema import EDGES, NO_SHINGLES, decisions, with_id
from dedupe.shingling import Shingler, digests_of, plain_values
from dedupe.stages.components import ComponentFinder
from dedupe.storage.spill import SpillBuffer
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import DECISIONS, Left, TaskResult
from dedupe.tasks.unlinked import linked_of

FINE_LENGTHS = 1 << 8
"""Lengths below this are counted one by one, longer ones to so many steps for each doubling."""


@dataclass(frozen=True, kw_only=True)
class ColumnsResult(TaskResult):
    """What a task of columns counted.

    strata: for each combination of values its digest, and what it is called. lengths: for each
    length, as `fine` rounds it down, how many rows have it.
    """

    strata: list[list[Any]]
    lengths: list[list[int]]


@dataclass(frozen=True, kw_only=True)
class ClustersResult(TaskResult):
    """The clusters of several rows.

    partitions: how many partitions they are cut into. mixed: rows of components in which rows of
    several splits stood before.
    """

    partitions: int
    mixed: int


def columns_task(split: SplitJob, task: int) -> ColumnsResult:
    """Read the columns that link and stratify the rows of a sign task.

    Leaves `GROUPS`, `VALUES` and `STRATA`. split: the job. task: number of the sign task. Raises
    SettingsError for too many strata.
    """
    job, wanted = split.job, split.wanted
    start = int(split.positions.task_starts[task])
    shingler = Shingler(job.settings, job.document)
    names: dict[int, str] = {}
    digests = [np.zeros(0, np.uint64)]
    values: list[pa.RecordBatch] = []
    files: dict[str, WrittenFile] = {}
    columns = list(dict.fromkeys(wanted.columns))
    linked = linked_of(job.work, split.unlinked, task, split.positions.rows_in(task))
    with SpillBuffer(job.work.files.spool) as groups:
        for positions, batch in split.reader(task).read() if columns else ():
            of = dict(zip(columns, map(plain_values, batch.columns), strict=True))
            if wanted.group:
                found = _digests([of[name] for name in wanted.group])
                values.append(_as_lists(found))
                stay = np.flatnonzero(linked[positions - start])
                groups.add(_by_value(found[stay], positions[stay] - start, split.partitions))
            if wanted.stratify:
                stratifying = [of[name] for name in wanted.stratify]
                digests.append(shingler.row_salts(stratifying, batch.num_rows))
                _name_new(names, digests[-1], wanted.stratify, stratifying)
        if wanted.group:
            none = np.zeros((0, len(wanted.group), 2), np.uint64)
            groups.add(_by_value(none, np.zeros(0, np.int64), split.partitions))
            files |= GROUPS.write(job.work, task, groups.merged())
            files |= VALUES.write(job.work, task, [pa.concat_batches([*values, _as_lists(none)])])
    if wanted.stratify:
        every = pa.array(np.concatenate(digests))
        strata = pa.RecordBatch.from_arrays([every], schema=STRATA.columns)
        files |= STRATA.write(job.work, task, [strata])
    lengths = []
    if wanted.lengths:
        found, counts = np.unique(fine(_lengths(split, task)[linked]), return_counts=True)
        lengths = [list(pair) for pair in zip(found.tolist(), counts.tolist(), strict=True)]
    return ColumnsResult(
        rows=split.positions.rows_in(task),
        files=files,
        strata=[[digest, name] for digest, name in names.items()],
        lengths=lengths,
    )


def fine(lengths: Array) -> Array:
    """Lengths rounded down to as many bits as `FINE_LENGTHS` has: int64; it keeps their order."""
    bits = np.frexp(np.maximum(lengths, 1).astype(np.float64))[1].astype(np.int64)
    shift = np.maximum(bits - FINE_LENGTHS.bit_length(), 0)
    rounded: Array = lengths >> shift << shift
    return rounded


def _lengths(split: SplitJob, task: int) -> Array:
    """The length of each row of a sign task in shingles: int64, 0 of one that could not be read."""
    rows = split.positions.signed_rows(split.job, task)
    shingles = numbers(rows.column("shingles")).astype(np.int64)
    return np.where(shingles == NO_SHINGLES, 0, shingles)


def _digests(columns: list[pa.Array]) -> Array:
    """The digests of the values of each row: uint64[rows, columns, 2], lower half first.

    Zeros where there is none; equal values of different columns have different digests. columns:
    plain values.
    """
    digests = np.zeros((len(columns[0]), len(columns), 2), np.uint64)
    for number, column in enumerate(columns):
        there = valid_bytes(column).astype(np.bool_)
        if is_text(column.type):
            there &= text_buffers(as_large_string(column)).lengths > 0
        digests[there, number] = digests_of(column)[there] ^ np.uint64(number) * GOLDEN_RATIO
    return digests


def _as_lists(digests: Array) -> pa.RecordBatch:
    """A batch of `VALUES`. digests: see `_digests`."""
    offsets = np.arange(len(digests) + 1) * 2 * digests.shape[1]
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(digests.reshape(-1)))
    return pa.RecordBatch.from_arrays([lists], schema=VALUES.columns)


def _by_value(digests: Array, rows: Array, partitions: int) -> list[pa.RecordBatch]:
    """A batch of `GROUPS` for each partition. digests: of rows, see `_digests`. rows: int64."""
    place, number = np.nonzero(digests.any(axis=2))
    low, high = digests[place, number].T.copy()
    arrays = [pa.array(low), pa.array(high), pa.array(rows[place], pa.uint32())]
    table = pa.RecordBatch.from_arrays(arrays, schema=GROUPS.columns)
    return list(in_partitions(table, by_high(high, partitions), partitions))


def _name_new(
    names: dict[int, str], digests: Array, columns: tuple[str, ...], values: list[pa.Array]
) -> None:
    """Note what strata are called that have not been seen."""
    found, first = np.unique(digests, return_index=True)
    for digest, row in zip(found.tolist(), first.tolist(), strict=True):
        if digest not in names:
            pairs = zip(columns, values, strict=True)
            names[digest] = ", ".join(f"{name} {_shown(array[row])}" for name, array in pairs)
        check_strata(len(names), columns)


def check_strata(count: int, columns: tuple[str, ...]) -> None:
    """Refuse so many strata, with SettingsError. count: of them. columns: of whose values."""
    if count > MOST_STRATA:
        raise SettingsError(
            f"{' and '.join(columns)} has more than {MOST_STRATA:,} values: that is no stratum; to "
            "keep rows of equal values together use --group"
        )


def _shown(value: pa.Scalar) -> str:
    return str(value.as_py()) if value.is_valid else "null"


def groups_task(split: SplitJob, read: Left, partition: int) -> TaskResult:
    """Connect rows of equal values; leaves `GROUP_EDGES`.

    split: the job. read: the files of each task of columns. partition: of the values.
    """
    job, positions = split.job, split.positions
    columns: list[list[Array]] = [[np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]]
    rows = [np.zeros(0, np.int64)]
    for first, batch in positions.batches(job, GROUPS, read, partition):
        low, high, row = map(numbers, batch.columns)
        columns[0].append(low)
        columns[1].append(high)
        rows.append(row.astype(np.int64) + first)
    low, high = map(np.concatenate, columns)
    place = np.concatenate(rows)
    check_range(place, positions.rows, "groups was handed a row outside of the corpus")
    order = np.lexsort((place, low, high))
    low, high, place = low[order], high[order], place[order]
    same = np.flatnonzero((low[1:] == low[:-1]) & (high[1:] == high[:-1]))
    edges = pa.RecordBatch.from_arrays(
        [pa.array(place[same]), pa.array(place[same + 1])], schema=EDGES
    )
    most = job.planner.tuning.edge_batch
    parts = (edges.slice(at, most) for at in range(0, edges.num_rows, most))
    return TaskResult(rows=len(place), files=GROUP_EDGES.write(job.work, partition, parts))


def clusters_task(
    split: SplitJob, verified: Left, grouped: Left, pinned: Left, task: int
) -> ClustersResult:
    """Connect all rows that are linked; leaves `CLUSTER_LABELS`.

    split: the job. verified, grouped, pinned: the files of each task of verify, groups and pin.
    task: its number. Memory is that of the last merge of components: see `TaskCosts.link_memory`.
    """
    job, positions = split.job, split.positions
    finder = ComponentFinder(positions.rows)
    for edges in _edges(split, verified, grouped):
        finder.mark(edges)
    members = finder.count()
    job.planner.check_link(job.sizes, positions.rows, members, last=True)
    finder.connect(_edges(split, verified, grouped))
    of_splits = np.zeros(members, np.uint8)
    for number, labels in enumerate(finder.labels(positions.task_starts) if pinned else ()):
        row, component = map(numbers, labels.columns)
        stood = stood_in(split, pinned, number)[row]
        known = stood != FREE
        np.bitwise_or.at(of_splits, component[known], np.uint8(1) << stood[known])
    mixed = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal mixed
        for labels in finder.labels(positions.task_starts):
            found = of_splits[numbers(labels.column("component"))]
            mixed += int(is_mixed(found).sum())
            columns = [*labels.columns, pa.array(found)]
            yield pa.RecordBatch.from_arrays(columns, schema=CLUSTER_LABELS.columns)

    least = job.sizes.task_memory // 2
    return ClustersResult(
        rows=members,
        files=CLUSTER_LABELS.write(job.work, task, batches()),
        partitions=max(-(-members * CLUSTER_BYTES // least), min(job.sizes.concurrency, members)),
        mixed=mixed,
    )


def _edges(split: SplitJob, verified: Left, grouped: Left) -> Iterator[pa.RecordBatch]:
    """Each row with the one that is kept for it, and rows of equal values."""
    job = split.job
    columns = with_id(decisions(job.fields), "witness_id", split.positions.id_type)
    for batch in DECISIONS.read(job.work, verified, None, columns):
        position, witness = (numbers(batch.column(name)) for name in ("position", "witness"))
        drops = np.flatnonzero(position != witness)
        ends = [pa.array(position[drops]), pa.array(witness[drops])]
        yield pa.RecordBatch.from_arrays(ends, schema=EDGES)
    yield from GROUP_EDGES.read(job.work, grouped, None)


def strata_of(results: Mapping[int, ColumnsResult], columns: tuple[str, ...]) -> dict[int, str]:
    """What each combination of values is called, by its digest, ascending.

    results: of all tasks of columns. columns: of whose values strata are.
    """
    names: dict[int, str] = {}
    for result in results.values():
        for digest, name in result.strata:
            names[digest] = min(name, names.get(digest, name))
        check_strata(len(names), columns)
    return dict(sorted(names.items()))


def bounds_of(results: Mapping[int, ColumnsResult], lengths: int) -> Array:
    """Where ranges of length begin that have about equally many rows: int64, without the first.

    results: of all tasks of columns. lengths: how many ranges are wanted.
    """
    counts: dict[int, int] = {}
    for result in results.values():
        for length, count in result.lengths:
            counts[length] = counts.get(length, 0) + count
    there = sorted(counts)
    ends = np.cumsum([counts[length] for length in there], dtype=np.int64)
    goals = np.arange(1, max(lengths, 1)) * (int(ends[-1]) if there else 0) // max(lengths, 1)
    at = np.searchsorted(ends, goals, side="left") + 1
    bounds = {there[place] for place in at.tolist() if place < len(there)}
    return np.array(sorted(bounds), np.int64)
