"""Rows of an index that a run's own are held against, and how they enter the run.

    lookup   ⇒ resolve   by row of the index: rows that share a band key, and their classes
    resolve  → touch     every class that the corpus touches
    choose               kept rows of these classes; their texts are read when they are compared
    resolve, choose ⇒ connect   by class: edges that connect all of them

Chosen rows enter the run as those of a reference: `admit` leaves what the index knows of them in
place of what sign leaves of others, so that all stages behind are as they are. Without band keys,
in an exact join, every kept row of the index is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from dedupe import schema
from dedupe.arrays import Array, band_keys, batches_of, in_partitions, numbers, one_chunk
from dedupe.corpus import Shard, Slice, kept_shard
from dedupe.documents.mixed import Documents
from dedupe.errors import IntegrityError
from dedupe.index.blocks import BlockTable, write_blocks
from dedupe.index.store import Store
from dedupe.index.tables import KEYS, key_blocks
from dedupe.stages.sign import rows_schema as sign_columns
from dedupe.storage.tables import WrittenFile, schema_as_text
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import (
    ADMITTED,
    ALL_TOUCHED,
    BANDS,
    CHOSEN,
    CHOSEN_CLASSES,
    CONNECTED,
    ECHOES,
    LOOKED_UP,
    ORIGINS,
    RESOLVED,
    TOUCHED,
    Left,
    TaskResult,
)
from dedupe.tasks.job import Earlier, Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.sign import SignResult

CHOSEN_BYTES = 4 << 20
"""Text in a batch of chosen rows, about."""


@dataclass(frozen=True, kw_only=True)
class LookupResult(TaskResult):
    """What a lookup task left.

    table: of the band keys that it adds to the index, as plain values; None where nothing is added.
    """

    table: list[object] | None


def lookup_task(job: Job, positions: Positions, partition: int) -> LookupResult:
    """Find the rows of the index that have band keys of a partition; leaves `LOOKED_UP`.

    job: of the run. positions: where its rows are. partition: of the band keys. Where the corpus is
    added to the index, its keys are written, too.
    """
    earlier = _earlier(job)
    keys, first = _keys_of(job, positions, partition)
    found = list(earlier.store.matches(keys))
    none = np.zeros(0, np.int64)
    places = np.concatenate([none, *(places for places, _ in found)])
    rows = np.concatenate([none, *(rows for _, rows in found)])
    task = rows // earlier.ranges
    batch = pa.RecordBatch.from_arrays(
        [pa.array(first[places]), pa.array(rows)], schema=schema.LOOKED_UP
    )
    batches = in_partitions(batch, task, len(earlier.tasks))
    files = LOOKED_UP.write(job.work, partition, batches)
    table = None
    if earlier.segment is not None:
        name = f"{earlier.segment}/keys-{partition:05d}.arrow"
        blocks = key_blocks(keys, first)
        table = write_blocks(earlier.store.files, name, KEYS, blocks, compressed=False).as_json()
    return LookupResult(rows=0, files=files, table=table)


def _keys_of(job: Job, positions: Positions, partition: int) -> tuple[Array, Array]:
    """The band keys of a partition, ascending and each once, and the first row that has each."""
    keys: list[Array] = [np.zeros(0, np.uint64)]
    rows: list[Array] = [np.zeros(0, np.int64)]
    for first, records in positions.batches(
        job, BANDS, positions.signed, partition, tasks=positions.keyed
    ):
        keys.append(band_keys(*records.columns[:2]))
        rows.append(numbers(records.column("row")).astype(np.int64) + first)
    return _distinct(np.concatenate(keys), np.concatenate(rows))


def _distinct(keys: Array, rows: Array) -> tuple[Array, Array]:
    """Keys in order, each once, and the first of the rows that have each."""
    order = np.argsort(keys)  # unstable, which is twice as fast
    keys = keys[order]
    is_first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    return keys[starts], np.minimum.reduceat(rows[order], starts) if len(starts) else rows


def resolve_task(job: Job, looked_up: Left, task: int) -> TaskResult:
    """Find the classes of rows of the index that were found; leaves `RESOLVED` and `TOUCHED`.

    job: of the run. looked_up: the files of each lookup task. task: which rows of the index.
    """
    earlier = _earlier(job)
    first, end = earlier.span(task)
    found = list(LOOKED_UP.read(job.work, looked_up, task))
    none = np.zeros(0, np.int64)
    position, row = (
        np.concatenate([none, *(numbers(batch.column(name)) for batch in found)])
        for name in ("position", "row")
    )
    if len(row) and (row.min() < first or row.max() >= end):
        raise IntegrityError("resolve was handed a row of the index that is not its own")
    classes = earlier.store.state(first, end).classes[row - first] if len(row) else none
    order = np.lexsort((position, classes))
    position, classes = position[order], classes[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (position[1:] != position[:-1]) | (classes[1:] != classes[:-1])
    position, classes = position[is_new], classes[is_new]
    pairs = pa.RecordBatch.from_arrays(
        [pa.array(position), pa.array(classes)], schema=schema.RESOLVED
    )
    partitions = job.sizes.key_partitions
    files = RESOLVED.write(job.work, task, in_partitions(pairs, classes % partitions, partitions))
    files |= TOUCHED.write(job.work, task, [_classes(np.unique(classes))])
    return TaskResult(rows=0, files=files)


def touch_task(job: Job, resolved: Left, task: int) -> TaskResult:
    """Bring together the classes that were found; leaves `ALL_TOUCHED`.

    job: of the run. resolved: the files of each resolve task. task: the only one.
    """
    parts = [numbers(batch.column(0)) for batch in TOUCHED.read(job.work, resolved, 0)]
    touched = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    return TaskResult(rows=0, files=ALL_TOUCHED.write(job.work, task, [_classes(touched)]))


def _classes(values: Array) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values)], schema=schema.CLASSES)


def choose_task(job: Job, touched: Left, task: int) -> TaskResult:
    """Choose the kept rows of the index that may be duplicated; their texts are read later.

    job: of the run. touched: the files of the touch task, none where all kept rows are chosen.
    task: which rows of the index. Leaves `CHOSEN`, `ORIGINS`, `CHOSEN_CLASSES` and `ECHOES`.
    """
    earlier = _earlier(job)
    store, (first, end) = earlier.store, earlier.span(task)
    state = store.state(first, end)
    chosen, dropped = np.flatnonzero(state.kept), np.flatnonzero(state.reasons == schema.NEAR)
    if touched:
        (batch,) = ALL_TOUCHED.read(job.work, touched, 0)
        classes = numbers(batch.column(0))
        chosen = chosen[np.isin(state.classes[chosen], classes)]
        dropped = dropped[np.isin(state.classes[dropped], classes)]
    classes = state.classes[chosen]
    is_needed = len(chosen) or len(dropped)
    known = store.rows(first, end) if is_needed else store.row_columns.empty_table()
    columns = _chosen_columns(job)
    found = _taken(known, columns, chosen)
    files = CHOSEN.write(job.work, task, [found], columns)
    origins = pa.RecordBatch.from_arrays(
        [pa.array(chosen + first), pa.array(classes)], schema=schema.ORIGINS
    )
    files |= ORIGINS.write(job.work, task, [origins])
    places = np.arange(len(chosen), dtype=np.uint32)
    of_classes = pa.RecordBatch.from_arrays(
        [pa.array(places), pa.array(classes)], schema=schema.CHOSEN
    )
    partitions = job.sizes.key_partitions
    files |= CHOSEN_CLASSES.write(
        job.work, task, in_partitions(of_classes, classes % partitions, partitions)
    )
    files |= ECHOES.write(job.work, task, [_taken(known, schema.ECHOES, dropped)])
    return TaskResult(rows=len(chosen), files=files)


def _chosen_columns(job: Job) -> pa.Schema:
    """What is known of chosen rows: see `CHOSEN`."""
    names = ("shingles", "digest_low", "digest_high", "text", "id", schema.BITS)
    return pa.schema([one for one in _earlier(job).store.row_columns if one.name in names])


def _taken(known: pa.Table, columns: pa.Schema, rows: Array) -> pa.RecordBatch:
    """Some columns of some rows of a table, as one batch."""
    found = known.select(columns.names).take(pa.array(rows))
    return pa.RecordBatch.from_arrays(list(map(one_chunk, found.columns)), schema=columns)


@dataclass(frozen=True)
class ReadChosen:
    """Reads the texts of rows that a choose task has chosen: see `KeptShard.read`."""

    store: Store
    work: WorkDir
    task: int
    files: Mapping[str, WrittenFile]

    def __call__(self, rows: Array) -> Iterator[pa.RecordBatch]:
        """Rows of these numbers among those that were chosen."""
        (origins,) = ORIGINS.read(self.work, {self.task: self.files}, 0)
        chosen = numbers(origins.column("row"))[rows]
        yield from batches_of(self.store.texts(chosen), CHOSEN_BYTES)


def with_chosen(job: Job, chosen: Mapping[int, TaskResult]) -> Job:
    """The run with the rows of the index that were chosen, as those of a reference.

    job: the run without them. chosen: results of the choose tasks. Each becomes a sign task.
    """
    store, settings = _earlier(job).store, job.settings
    beside = [*settings.groups.values()]
    if settings.id is not None:
        beside.append(settings.id)
    shards: list[Shard] = list(job.shards)
    tasks = list(job.tasks)
    for task, result in sorted(chosen.items()):
        read = ReadChosen(store, job.work, task, result.files)
        shards.append(kept_shard(len(shards), result.rows, beside, read))
        tasks.append([Slice(len(shards) - 1, 0, 0, result.rows)])
    more = (0,) * len(chosen)
    documents = Documents(job.documents.own, (*job.documents.of_files, *more))
    return replace(job, shards=shards, tasks=tasks, documents=documents)


def admit_task(job: Job, chosen: Left, own: int, task: int) -> SignResult:
    """Bring chosen rows into the run as the index knows them, without keys; leaves `ADMITTED`.

    job: of the run, with these rows. chosen: the files of each choose task. own: sign tasks of the
    corpus. task: number of the sign task.
    """
    number = sorted(chosen)[task - own]
    (known,) = CHOSEN.read(job.work, {number: chosen[number]}, 0, _chosen_columns(job))
    rows = known.num_rows
    found = {name: known.column(name) for name in known.schema.names}
    id_type = found["id"].type if "id" in found else None
    columns = sign_columns(job.settings, len(job.carried), id_type, sketched=job.sketched)
    arrays = [found.get(one.name, _zeros(one.type, rows)) for one in columns]
    batch = pa.RecordBatch.from_arrays(arrays, schema=columns)
    files: dict[str, WrittenFile] = {}
    if rows:
        files |= ADMITTED.write(job.work, task, [batch], columns)
    is_typed = rows and job.settings.id is not None
    return SignResult(
        rows=rows,
        files=files,
        slices=[rows],
        types={},
        shingles=int(numbers(known.column("shingles")).sum(dtype=np.int64)),
        text_bytes=0,
        replaced=0,
        missing_ids=0,
        unreadable=0,
        unread_examples=[],
        preferred={},
        unfit=[],
        sources=None,
        ids=schema_as_text(pa.schema([columns.field("id")])) if is_typed else None,
    )


def _zeros(kind: pa.DataType, rows: int) -> pa.Array:
    """Nothing for so many rows: zeros, or nulls of what is no number."""
    if pa.types.is_fixed_size_list(kind):
        values = _zeros(kind.value_type, rows * kind.list_size)
        return pa.FixedSizeListArray.from_arrays(values, kind.list_size)
    if pa.types.is_integer(kind):
        return pa.array(np.zeros(rows, kind.to_pandas_dtype()))
    return pa.nulls(rows, kind)


def echoes_of(job: Job, positions: Positions, chosen: Left, signed: pa.RecordBatch) -> Array:
    """For each row of a sign task the position of the witness of an equal row of the index: int64.

    A run over all rows decides equal rows as one. So a row that is equal to a near-duplicate of the
    index has its witness, and no kept row that came between them.

    job: of the run. positions: where its rows are. chosen: the files of each choose task. signed:
    what sign knows of the rows. A row without such an earlier one has -1.
    """
    earlier = _earlier(job)
    found = list(ECHOES.read(job.work, chosen, 0))
    low, high, witness = (
        np.concatenate([np.zeros(0, kind), *(numbers(batch.column(name)) for batch in found)])
        for name, kind in (
            ("digest_low", np.uint64),
            ("digest_high", np.uint64),
            ("witness", np.int64),
        )
    )
    echoes = np.full(signed.num_rows, -1, np.int64)
    own_low, own_high = (numbers(signed.column(name)) for name in ("digest_low", "digest_high"))
    mine = np.flatnonzero(np.isin(low, own_low))  # in the order of the index
    low, high, witness = low[mine], high[mine], witness[mine]
    order = np.lexsort((high, low))  # stable: of equal ones the first in the index comes first
    low, high, witness = low[order], high[order], witness[order]
    first = np.ones(len(low), np.bool_)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    low, high, witness = low[first], high[first], witness[first]
    if not len(low):
        return echoes
    shingles = numbers(signed.column("shingles"))
    places = np.searchsorted(low, own_low, side="left")
    while True:  # halves may be equal where digests are not
        at = np.minimum(places, len(low) - 1)
        same_low = (places < len(low)) & (low[at] == own_low)
        later = same_low & (high[at] < own_high)
        if not later.any():
            break
        places = places + later
    is_echo = same_low & (high[at] == own_high) & (shingles > 0) & (shingles != schema.NO_SHINGLES)
    rows = np.flatnonzero(is_echo)
    of_rows = witness[at[rows]]
    for number, (task, files) in enumerate(sorted(chosen.items())):
        here = np.flatnonzero(of_rows // earlier.ranges == task)
        if len(here):
            (batch,) = ORIGINS.read(job.work, {task: files}, 0)
            origins = numbers(batch.column("row"))
            place = np.searchsorted(origins, of_rows[here])
            known = np.minimum(place, max(len(origins) - 1, 0))
            there = np.flatnonzero(origins[known] == of_rows[here]) if len(origins) else place[:0]
            start = int(positions.shard_starts[job.own_shards + number])
            echoes[rows[here[there]]] = place[there] + start
    return echoes


def connect_task(
    job: Job, positions: Positions, resolved: Left, chosen: Left, task: int
) -> TaskResult:
    """Connect rows of the corpus with kept rows of the classes they belong to; leaves `CONNECTED`.

    job: of the run, with the chosen rows. positions: where its rows are. resolved: the files of
    each resolve task. chosen: those of each choose task. task: partition of the classes.
    """
    nodes, classes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    starts = positions.shard_starts[job.own_shards :]
    chosen_batches = CHOSEN_CLASSES.read(job.work, chosen, task)
    for start, batch in zip(starts[:-1].tolist(), chosen_batches, strict=True):
        nodes.append(numbers(batch.column("row")).astype(np.int64) + start)
        classes.append(numbers(batch.column("class")))
    for batch in RESOLVED.read(job.work, resolved, task):
        nodes.append(numbers(batch.column("position")))
        classes.append(numbers(batch.column("class")))
    node, of_class = np.concatenate(nodes), np.concatenate(classes)
    order = np.lexsort((node, of_class))
    node, of_class = node[order], of_class[order]
    same = np.flatnonzero((of_class[1:] == of_class[:-1]) & (node[1:] != node[:-1]))
    edges = pa.RecordBatch.from_arrays(
        [pa.array(node[same]), pa.array(node[same + 1])], schema=schema.EDGES
    )
    most = job.planner.tuning.edge_batch
    parts = (edges.slice(at, most) for at in range(0, edges.num_rows, most))
    return TaskResult(rows=0, files=CONNECTED.write(job.work, task, parts))


def origins_of(job: Job, chosen: Left) -> Iterator[Array]:
    """The numbers in the index of the rows that each choose task has chosen: int64.

    job: of the run. chosen: the files of each choose task.
    """
    for batch in ORIGINS.read(job.work, chosen, 0):
        yield numbers(batch.column("row"))


def _earlier(job: Job) -> Earlier:
    if job.earlier is None:
        raise IntegrityError("a run without an index has no earlier rows")
    return job.earlier


def table_of(result: LookupResult) -> BlockTable:
    """The table of band keys that a lookup task has added."""
    if result.table is None:
        raise IntegrityError("a lookup task has added no keys")
    return BlockTable.from_json(result.table)
