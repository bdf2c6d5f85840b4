"""What a run adds to an index: the classes of its rows, what became of them, and kept texts.

components → classify   classes that grow together
keep       ⇒ segment    a table of rows, and one of texts, for each keep task
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import pyarrow as pa

from dedupe import schema
from dedupe.arrays import (
    Array,
    as_large_string,
    as_type,
    is_text,
    numbers,
)
from dedupe.errors import IntegrityError
from dedupe.index.blocks import BlockTable, write_blocks
from dedupe.index.tables import (
    FILES,
    KEPT,
    MERGES,
    ROWS_IN_BLOCK,
    STATE,
    in_blocks,
    rows_schema,
    text_schema,
)
from dedupe.schema import BITS
from dedupe.shingling import plain_values
from dedupe.stages.keep import Decided, ShardRows, reasons_of
from dedupe.tasks.artifacts import LABELS, NAMED, ORIGINS, Left, TaskResult
from dedupe.tasks.job import Earlier, Job
from dedupe.tasks.keep import contaminated_of, decisions_of, with_origins
from dedupe.tasks.positions import Positions


@dataclass(frozen=True, kw_only=True)
class ClassifyResult(TaskResult):
    """What the classify task left.

    merges: the table of classes that grow together, as plain values.
    """

    merges: list[object]


def classify_task(
    job: Job, positions: Positions, labels: Left, chosen: Left, task: int
) -> ClassifyResult:
    """Find the class of each component that has rows of the index; leaves `NAMED`.

    job: of the run. positions: where its rows are. labels: the files of the last merge. chosen:
    those of each choose task. task: the only one.
    """
    earlier = _adding(job)
    components, classes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    first_task = len(positions.own_tasks)
    for number, batch in enumerate(ORIGINS.read(job.work, chosen, 0), first_task):
        (found,) = LABELS.read(job.work, labels, number)
        components.append(numbers(found.column("component")))
        classes.append(numbers(batch.column("class"))[numbers(found.column("row"))])
    component, of_class = np.concatenate(components), np.concatenate(classes)
    order = np.lexsort((of_class, component))
    component, of_class = component[order], of_class[order]
    leads = np.flatnonzero(np.diff(component, prepend=-1))
    named = [component[leads], of_class[leads]]
    root = np.repeat(of_class[leads], np.diff(np.append(leads, len(component))))
    old, at = np.unique(of_class, return_index=True)
    moved = np.flatnonzero(old != root[at])
    pairs = [old[moved], root[at][moved]]
    merges = pa.RecordBatch.from_arrays(list(map(pa.array, pairs)), schema=MERGES)
    name = f"{earlier.segment}/merges.arrow"
    table = write_blocks(earlier.store.files, name, MERGES, [(0, merges)], compressed=True)
    batch = pa.RecordBatch.from_arrays(list(map(pa.array, named)), schema=schema.NAMED)
    files = NAMED.write(job.work, task, [batch])
    return ClassifyResult(rows=0, files=files, merges=table.as_json())


@dataclass(frozen=True, kw_only=True)
class SegmentResult(TaskResult):
    """What a segment task left.

    tables: those of the index by their kind, as plain values. kept: rows that later ones are held
    against.
    """

    tables: dict[str, list[object]]
    kept: int


def segment_task(
    job: Job,
    positions: Positions,
    verified: Left,
    labels: Left,
    named: Left,
    chosen: Left,
    task: int,
) -> SegmentResult:
    """Write what an index keeps of some neighbouring shards.

    job: of the run. positions: where its rows are. verified: the files of each verify task. labels:
    those of the last merge. named: those of the classify task, none without an earlier row. chosen:
    those of each choose task. task: number of the keep task.
    """
    earlier = _adding(job)
    files, base = earlier.store.files, earlier.store.manifest.rows
    decided = decisions_of(job, positions, verified, task)
    decided = with_origins(job, positions, chosen, decided)
    (batch,) = NAMED.read(job.work, named, 0)
    names = numbers(batch.column("component")), numbers(batch.column("class"))
    rows = _Rows(job, positions, decided, labels, names, base)
    first, end = positions.keep_shards[task], positions.keep_shards[task + 1]
    parts = [part for shard in range(first, end) for part in positions.slices_of[shard]]
    state: list[tuple[int, pa.RecordBatch]] = []
    known: list[tuple[int, pa.RecordBatch]] = []
    kept = 0

    def texts() -> Iterator[pa.RecordBatch]:
        nonlocal kept
        for sign, number in parts:
            found = rows.of_slice(sign, number)
            if found is None:
                continue
            start, of_state, of_rows = found
            for at in range(0, of_state.num_rows, ROWS_IN_BLOCK):
                state.append((start + at, of_state.slice(at, ROWS_IN_BLOCK)))
                known.append((start + at, of_rows.slice(at, ROWS_IN_BLOCK)))
            stays = np.flatnonzero(np.isin(numbers(of_state.column("reason")), KEPT))
            kept += len(stays)
            yield from rows.texts(sign, number, stays)

    name = f"{earlier.segment}/{{}}-{task:05d}.arrow".format
    columns = text_columns(job, positions)
    blocks = in_blocks(texts())
    tables = {"text": write_blocks(files, name("text"), columns, blocks, compressed=True)}
    id_type = columns.field("id").type if "id" in columns.names else None
    for kind, of_kind, batches in (
        ("state", STATE, state),
        ("rows", rows_schema(id_type, sketched=job.sketched), known),
    ):
        tables[kind] = write_blocks(files, name(kind), of_kind, batches, compressed=True)
    return SegmentResult(
        rows=sum(batch.num_rows for _, batch in state),
        files={},
        tables={kind: table.as_json() for kind, table in tables.items()},
        kept=kept,
    )


class _Rows:
    """What an index keeps of the rows of a run: see `index.tables`.

    job, positions: the run. decided: its decisions, with witnesses as `with_origins` has them.
    labels: files of the last merge. names: the classes of components that have rows of the index,
    and these components, ascending. base: rows of the index.
    """

    def __init__(
        self,
        job: Job,
        positions: Positions,
        decided: pa.Table,
        labels: Left,
        names: tuple[Array, Array],
        base: int,
    ) -> None:
        self._job, self._positions, self._names, self._base = job, positions, names, base
        self._decided = decided
        self._at = numbers(decided.column("position"))
        self._signed = lru_cache(maxsize=1)(partial(positions.signed_rows, job))
        self._labels = lru_cache(maxsize=1)(lambda task: next(LABELS.read(job.work, labels, task)))

    def of_slice(self, task: int, number: int) -> tuple[int, pa.RecordBatch, pa.RecordBatch] | None:
        """(number in the index of the first row, `STATE`, `ROWS`) of a slice of a sign task."""
        job, positions = self._job, self._positions
        first, end = positions.slice_starts[task][number : number + 2].tolist()
        if first == end:
            return None
        start = int(positions.task_starts[task])
        own = self._signed(task).slice(first - start, end - first)
        low, high = np.searchsorted(self._at, [first, end]).tolist()
        here = Decided.of(self._decided.slice(low, high - low))
        shingles = numbers(own.column("shingles"))
        tainted = contaminated_of(job, task, first - start, end - start)
        rows = ShardRows(first, shingles, None)
        reason = reasons_of(rows, here, None if tainted is None else tainted.at)
        at = here.position - first
        count = end - first
        is_dropped = here.dropped
        witness = np.full(count, -1, np.int64)
        own_rows = positions.own_rows
        of_witness = np.where(
            here.witness < own_rows, here.witness + self._base, here.witness - own_rows
        )
        witness[at[is_dropped]] = of_witness[is_dropped]
        jaccard, lost = np.full(count, np.nan), np.zeros(count, np.int32)
        jaccard[at], lost[at] = here.jaccard, here.lost
        columns = [
            own.column("shingles"),
            own.column("digest_low"),
            own.column("digest_high"),
            own.column("text"),
            *map(pa.array, (witness, jaccard, lost)),
        ]
        kinds = text_columns(job, positions)
        id_type = kinds.field("id").type if "id" in kinds.names else None
        if id_type is not None:
            columns.append(as_type(own.column("id"), id_type))
        if job.sketched:
            columns.append(own.column(BITS))
        state = [pa.array(self._classes(task, first, end)), pa.array(reason.astype(np.uint8))]
        return (
            first + self._base,
            pa.RecordBatch.from_arrays(state, schema=STATE),
            pa.RecordBatch.from_arrays(columns, schema=rows_schema(id_type, sketched=job.sketched)),
        )

    def _classes(self, task: int, first: int, end: int) -> Array:
        """The class of each row from one position up to another."""
        start = int(self._positions.task_starts[task])
        classes = -1 - np.arange(first + self._base, end + self._base)
        found = self._labels(task)
        rows, component = numbers(found.column("row")), numbers(found.column("component"))
        low, high = np.searchsorted(rows, [first - start, end - start])
        rows, component = rows[low:high].astype(np.int64) + start - first, component[low:high]
        components, names = self._names
        fresh = component + self._job.earlier.store.manifest.classes  # type: ignore[union-attr]
        if len(components):
            at = np.minimum(np.searchsorted(components, component), len(components) - 1)
            fresh = np.where(components[at] == component, names[at], fresh)
        classes[rows] = fresh
        return classes

    def texts(self, task: int, number: int, rows: Array) -> Iterator[pa.RecordBatch]:
        """The texts of some rows of a slice."""
        at = rows + int(self._positions.slice_starts[task][number])
        columns = text_columns(self._job, self._positions)
        place = self._job, self._positions, task
        yield from kept_texts(*place, columns, self._signed(task), at, at + self._base)


def kept_texts(
    job: Job,
    positions: Positions,
    task: int,
    columns: pa.Schema,
    signed: pa.RecordBatch,
    at: Array,
    rows: Array,
) -> Iterator[pa.RecordBatch]:
    """The texts of some rows of a sign task as an index keeps them.

    job: of the run. positions: where its rows are. task: number of the sign task. columns: see
    `index.tables.text_schema`. signed: what sign knows of the task's rows. at: int64, positions,
    ascending. rows: int64, the numbers of these rows in the index.
    """
    start = int(positions.task_starts[task])
    reader = positions.reader(job, task, job.sizes.batch)
    done = 0
    for found, batch in reader.read(at):
        values = [as_large_string(_as_text(column)) for column in batch.columns]
        if "id" in columns.names:
            ids = signed.column("id").take(pa.array(found - start))
            values.append(as_type(ids, columns.field("id").type))
        numbered = pa.array(rows[done : done + len(found)])
        done += len(found)
        yield pa.RecordBatch.from_arrays([numbered, *values], schema=columns)


def _as_text(column: pa.Array) -> pa.Array:
    """The values of `--within` as the texts by which they are told apart."""
    column = plain_values(column)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column
    return column if is_text(column.type) else column.cast(pa.string())


def text_columns(job: Job, positions: Positions) -> pa.Schema:
    """The schema of kept texts: that of the index, or of the first run of one."""
    there = _adding(job).store.text_columns
    if len(there):
        return there
    id_type = positions.id_type
    if id_type is not None and pa.types.is_null(id_type):
        id_type = pa.large_string()
    return text_schema(len(job.document.templates), len(job.settings.groups), id_type)


def write_files(job: Job, positions: Positions, crawl: int) -> BlockTable:
    """Write the table of the run's files.

    job: of the run. positions: where its rows are. crawl: its number in the index.
    """
    earlier = _adding(job)
    shards = job.shards[: job.own_shards]
    rows = np.diff(positions.shard_starts[: job.own_shards + 1])
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array(np.full(len(shards), crawl, np.int32)),
            pa.array([shard.path for shard in shards], pa.string()),
            pa.array(rows),
            pa.array([shard.size for shard in shards], pa.int64()),
            pa.array([shard.version for shard in shards], pa.string()),
        ],
        schema=FILES,
    )
    name = f"{earlier.segment}/files.arrow"
    return write_blocks(earlier.store.files, name, FILES, [(0, batch)], compressed=True)


def _adding(job: Job) -> Earlier:
    if job.earlier is None or job.earlier.segment is None:
        raise IntegrityError("a run adds to no index")
    return job.earlier
