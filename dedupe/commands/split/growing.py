"""earlier, keys, pin, relate, rounds: rows of an earlier split stay where they stood in it.

A row is known by its digest, which its content gives. Components in which rows of several splits
stood are read again, and settled by rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, in_partitions, numbers, slices
from dedupe.checks import check_range
from dedupe.commands.split.dropping import Earlier
from dedupe.commands.split.job import (
    CLUSTER_LABELS,
    EARLIER,
    FREE,
    IN_BETWEEN,
    IN_TWO,
    JOINED,
    KEYS,
    PINS,
    RELATED,
    VALUES,
    SplitJob,
    by_component,
    by_high,
    digests_of_words,
)
from dedupe.commands.split.result import codes
from dedupe.commands.split.rounds import Related, Settled, settle
from dedupe.commands.split.tables import from_digits, split_batches
from dedupe.commands.split.wanted import EXCLUDED
from dedupe.errors import SettingsError
from dedupe.schema import NO_SHINGLES, SPLIT_REASONS
from dedupe.storage.spill import SpillBuffer
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.fetch import sets_in_parts
from dedupe.tasks.unlinked import linked_of


@dataclass(frozen=True, kw_only=True)
class PinResult(TaskResult):
    """What a task of pin found; missing: rows of the earlier split that are in the corpus no more.

    known: those that are.
    """

    known: int
    missing: int


COLUMNS = ["split", "reason", "digest"]
"""What is read of an earlier split."""


def earlier_task(split: SplitJob, earlier: Earlier, shard: int) -> TaskResult:
    """Read where the rows of a shard of the earlier split stood; leaves `EARLIER`.

    split: the job. earlier: the split. shard: number of its shard.
    """
    parts = split.partitions
    none = np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint8)
    rows = 0
    with (
        SpillBuffer(split.job.work.files.spool) as found,
        split_batches(earlier.out, earlier.listed[shard], COLUMNS) as (_, batches),
    ):
        found.add(_keyed(EARLIER.columns, *none, parts))
        for batch in batches:
            of = codes(batch)
            stays = (of != EXCLUDED) | numbers(
                pc.equal(batch.column("reason"), SPLIT_REASONS[IN_TWO])
            )
            known = np.flatnonzero(stays & numbers(batch.column("digest").is_valid()))
            high, low = from_digits(batch.column("digest").take(pa.array(known)))
            found.add(_keyed(EARLIER.columns, high, low, of[known], parts))
            rows += len(known)
        files = EARLIER.write(split.job.work, shard, found.merged())
    return TaskResult(rows=rows, files=files)


def _keyed(
    columns: pa.Schema, high: Array, low: Array, third: Array, partitions: int
) -> list[pa.RecordBatch]:
    arrays = [pa.array(high), pa.array(low), pa.array(third)]
    table = pa.RecordBatch.from_arrays(arrays, schema=columns)
    return list(in_partitions(table, by_high(high, partitions), partitions))


def keys_of(split: SplitJob, read: Left, task: int) -> tuple[Array, Array, Array]:
    """(upper half, lower half, whether it has one) of the digest of each row of a sign task.

    split: the job. read: the files of each task of columns. task: number of the sign task. It is
    the digest of the shingles; with `--group`, of them and the values of these columns.
    """
    signed = split.positions.signed_rows(split.job, task)
    shingles = numbers(signed.column("shingles"))
    has_text = (shingles != 0) & (shingles != NO_SHINGLES)
    halves = [
        np.where(has_text, numbers(signed.column(f"digest_{half}")), 0) for half in ("high", "low")
    ]
    if not split.wanted.group:
        return halves[0], halves[1], has_text
    values = _values_of(split, read, task)
    words = np.concatenate([np.stack(halves, axis=1), values], axis=1)
    high, low = digests_of_words(words)
    has_one: Array = (has_text | values.any(axis=1)) & (shingles != NO_SHINGLES)
    return high, low, has_one


def _values_of(split: SplitJob, read: Left, task: int) -> Array:
    """The digests of the values of each row of a sign task: uint64[rows, 2 * columns]."""
    rows, width = split.positions.rows_in(task), 2 * len(split.wanted.group)
    if not width:
        return np.zeros((rows, 0), np.uint64)
    (batch,) = VALUES.read(split.job.work, {task: read[task]}, 0)
    return numbers(batch.column(0).flatten()).reshape(rows, width)


def keys_task(split: SplitJob, read: Left, task: int) -> TaskResult:
    """Bring the digests of a sign task's rows to their partition; leaves `KEYS`.

    split: the job. read: the files of each task of columns. task: number of the sign task.
    """
    high, low, has_one = keys_of(split, read, task)
    has_one &= linked_of(split.job.work, split.unlinked, task, len(high))
    row = np.flatnonzero(has_one)
    batches = _keyed(KEYS.columns, high[row], low[row], row.astype(np.uint32), split.partitions)
    return TaskResult(rows=len(row), files=KEYS.write(split.job.work, task, batches))


def pin_task(split: SplitJob, before: Left, keyed: Left, partition: int) -> PinResult:
    """Find the rows that are in the earlier split; leaves `PINS`.

    split: the job. before, keyed: the files of each task of earlier and of keys. partition: of the
    digests.
    """
    job, positions = split.job, split.positions
    parts: list[list[Array]] = [
        [np.zeros(0, np.uint64)] * 2 + [np.zeros(0, np.uint8), np.zeros(0, np.int64)]
    ]
    for batch in EARLIER.read(job.work, before, partition):
        high, low, stood = map(numbers, batch.columns)
        parts.append([high, low, stood, np.full(len(high), -1)])
    for first, batch in positions.batches(job, KEYS, keyed, partition):
        high, low, row = map(numbers, batch.columns)
        free = np.full(len(high), FREE, np.uint8)
        parts.append([high, low, free, row.astype(np.int64) + first])
    high, low, stood, position = map(np.concatenate, zip(*parts, strict=True))
    order = np.lexsort((low, high))
    high, low, stood, position = high[order], low[order], stood[order], position[order]
    is_new = np.ones(len(high), np.bool_)
    is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    starts = np.flatnonzero(is_new)
    of = np.cumsum(is_new) - 1
    same = np.minimum.reduceat(stood, starts) if len(starts) else stood
    there = np.maximum.reduceat(position, starts) if len(starts) else position
    pinned = np.flatnonzero((position >= 0) & (same[of] != FREE))
    pinned = pinned[np.argsort(position[pinned])]
    check_range(position[pinned], positions.rows, "pin was handed a row outside of the corpus")
    arrays = [pa.array(position[pinned]), pa.array(same[of[pinned]])]
    batch = pa.RecordBatch.from_arrays(arrays, schema=PINS.columns)
    bounds = np.searchsorted(position[pinned], positions.task_starts)
    missing = (position < 0) & (there[of] < 0)
    return PinResult(
        rows=len(position),
        files=PINS.write(job.work, partition, slices(batch, bounds)),
        known=int((position < 0).sum() - missing.sum()),
        missing=int(missing.sum()),
    )


def check_known(results: Mapping[int, PinResult]) -> None:
    """Refuse an earlier split of which no row is in the corpus, with SettingsError.

    results: of all tasks of pin.
    """
    missing = sum(result.missing for result in results.values())
    if missing and not any(result.known for result in results.values()):
        raise SettingsError(
            f"none of the {missing:,} rows of the earlier split is in the corpus: give all files, "
            "those of before as well, and with the same --text or --format"
        )


def stood_in(split: SplitJob, pinned: Left, task: int) -> Array:
    """The split in which each row of a sign task stood before: uint8, `FREE` for none.

    split: the job. pinned: the files of each task of pin, none without an earlier split. task:
    number of the sign task.
    """
    start, rows = int(split.positions.task_starts[task]), split.positions.rows_in(task)
    stood = np.full(rows, FREE, np.uint8)
    for batch in PINS.read(split.job.work, pinned, task):
        row = numbers(batch.column("position")) - start
        check_range(row, rows, "split was handed a row outside of its sign task")
        stood[row] = numbers(batch.column("split"))
    return stood


def is_mixed(stood: Array) -> Array:
    """Whether rows of a component need not all go to one split. stood: see `CLUSTER_LABELS`."""
    mixed: Array = (np.bitwise_count(stood) > 1) | (stood >= 1 << EXCLUDED)
    return mixed


def relate_task(
    split: SplitJob, read: Left, pinned: Left, labeled: Left, partitions: int, task: int
) -> TaskResult:
    """Read the rows of mixed components once more, as shingle sets; leaves `RELATED`.

    split: the job. read, pinned, labeled: the files of each task of columns, pin and clusters.
    partitions: of these components. task: number of the sign task.
    """
    job, positions = split.job, split.positions
    (labels,) = CLUSTER_LABELS.read(job.work, labeled, task)
    row, component, of_splits = map(numbers, labels.columns)
    stood = stood_in(split, pinned, task)
    mixed = is_mixed(of_splits) & (stood[row] != EXCLUDED)
    row, component = row[mixed].astype(np.int64), component[mixed]
    stood = stood[row]
    values = _values_of(split, read, task)[row]
    to = by_component(component, partitions)
    with SpillBuffer(job.work.files.spool) as related:
        for part, sets in sets_in_parts(job, positions, task, row):
            each = np.arange(len(sets) + 1)
            table = pa.RecordBatch.from_arrays(
                [
                    pa.array(component[part]),
                    pa.array(row[part], pa.uint32()),
                    pa.array(stood[part]),
                    _lists(each * values.shape[1], values[part].reshape(-1)),
                    _lists(sets.offsets[:: job.fields], sets.hashes),
                    _lists(each * job.fields, np.diff(sets.offsets).astype(np.uint32)),
                ],
                schema=RELATED.columns,
            )
            related.add(list(in_partitions(table, to[part], partitions)))
        files = RELATED.write(job.work, task, related.merged())
    return TaskResult(rows=len(row), files=files)


def _lists(offsets: Array, values: Array) -> pa.Array:
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def rounds_task(split: SplitJob, related: Left, members: int, partition: int) -> TaskResult:
    """Settle the mixed components of a partition; leaves `JOINED` and `IN_BETWEEN`.

    split: the job. related: the files of each task of relate. members: rows in components.
    partition: of mixed components. Raises SettingsError where they do not fit into memory.
    """
    job, positions = split.job, split.positions
    rows = _related(split, related, partition)
    settled = settle(rows, job.settings.threshold)
    columns = [rows.position, settled.split, members + rows.position[settled.first]]
    joined = pa.RecordBatch.from_arrays([pa.array(one) for one in columns], schema=JOINED.columns)
    bounds = np.searchsorted(rows.position, positions.task_starts)
    files = JOINED.write(job.work, partition, slices(joined, bounds))
    between = _between(rows, settled)
    bounds = np.searchsorted(numbers(between.column("position")), positions.keep_starts)
    files |= IN_BETWEEN.write(job.work, partition, slices(between, bounds))
    return TaskResult(rows=len(rows.position), files=files)


def _between(rows: Related, settled: Settled) -> pa.RecordBatch:
    """See `IN_BETWEEN`."""
    order = np.argsort(settled.between)
    jaccard = settled.jaccard[order].reshape(-1)
    pairs = [
        pa.array(settled.splits[order].reshape(-1)),
        pa.array(settled.witnesses[order].reshape(-1)),
        pa.array(jaccard, mask=np.isnan(jaccard)),
    ]
    kinds = IN_BETWEEN.columns.types[1:]
    lists = [pa.FixedSizeListArray.from_arrays(*pair) for pair in zip(pairs, [2] * 3, strict=True)]
    columns = [one.cast(kind) for one, kind in zip(lists, kinds, strict=True)]
    position = pa.array(rows.position[settled.between[order]])
    return pa.RecordBatch.from_arrays([position, *columns], schema=IN_BETWEEN.columns)


def _related(split: SplitJob, related: Left, partition: int) -> Related:
    """Bring the rows of a partition of mixed components together.

    Raises SettingsError where they do not fit into memory.
    """
    job, positions = split.job, split.positions
    parts: dict[str, list[Array]] = {name: [] for name in RELATED.columns.names}
    held = rows = 0
    for first, batch in positions.batches(job, RELATED, related, partition):
        rows += batch.num_rows
        held += len(batch.column("hashes").flatten())
        _check_room(split, held, rows)
        for name in parts:
            column = batch.column(name)
            flat = column.flatten() if pa.types.is_large_list(column.type) else column
            parts[name].append(numbers(flat))
        parts["row"][-1] = parts["row"][-1].astype(np.int64) + first
    of = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(of["sizes"], dtype=np.int64)])
    width = len(split.wanted.group)
    values = of["values"].reshape(rows, width, 2)
    return Related(
        job.fields, of["row"], of["component"], of["stood"], offsets, of["hashes"], values
    )


def _check_room(split: SplitJob, hashes: int, rows: int) -> None:
    sizes = split.job.sizes
    need = room_for(split, hashes, rows)
    if need > sizes.memory:
        raise SettingsError(
            f"rows of several splits are linked by {rows:,} others or more, which need "
            f"{need / 1e9:.1f}GB of memory in one task, which has {sizes.memory / 1e9:.1f}GB: "
            "raise --memory and run again, it goes on from here"
        )


def room_for(split: SplitJob, hashes: int, rows: int) -> int:
    """Memory of a task of rounds in bytes. split: the job. hashes, rows: of its components."""
    costs = split.job.planner.costs
    threshold = split.job.settings.threshold
    return costs.join_bytes(hashes, rows, threshold) + 2 * hashes * costs.shingle_hash
