"""scan: the corpus streams past the items. One task for the slices of a sign task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, as_type, text_buffers, valid_bytes
from dedupe.config import SOURCE
from dedupe.contamination.items import LEAST_SHINGLES, Block, Items, least_of, words_of
from dedupe.contamination.job import HITS, SCANNED, SEEN, SHORT, ScanResult
from dedupe.corpus import Projection, first_row, read_slice
from dedupe.documents.shapes import one_text
from dedupe.errors import RowError
from dedupe.evals import LEAST_CONTAINMENT
from dedupe.kernels.contain import scan_rows, scripts_of_texts
from dedupe.kernels.unicode import load_tables
from dedupe.schema import NO_SHINGLES, with_id
from dedupe.shingling import plain_values
from dedupe.stages.sign import Sources, digests_of_others, merged_sources, sources_of
from dedupe.storage.tables import WrittenFile, schema_as_text
from dedupe.tasks.artifacts import Left
from dedupe.tasks.bad_files import BadFileError, leaving_out
from dedupe.tasks.job import Job
from dedupe.tasks.last_made import LastMade
from dedupe.tasks.sign import MOST_EXAMPLES

MOST_SEEN = 1 << 22
"""Shingles of rows that are counted together: see `_Seen`."""

_blocks = LastMade()


def block_of(job: Job, items: Left) -> Block:
    """The items in memory; tasks of one process share them.

    job: of the run. items: the files that the task of items left.
    """
    assert job.evals is not None  # noqa: S101
    plain = job.evals.asked.shingle_size
    key = (str(job.work), job.work.run, "items")
    return _blocks.get(key, lambda: Block.of(Items.read(job, items), plain))


def projection_for(job: Job, shard: int) -> Projection:
    """What is read of each row of a shard: all that is compared, as one text, and its source."""
    source = source_column(job)
    return Projection(
        (one_text(job.documents.of_file(shard)),),
        tuple((role, name) for role, name in job.settings.roles.items() if role == "id"),
        (source,) if source else (),
        job.settings.text is not None,
        job.settings.skips_rows,
    )


def source_column(job: Job) -> str | None:
    """The column that says which source a row is of; None where that is its file."""
    document = job.document
    there = SOURCE in (*document.columns, *document.others)
    return job.settings.by or (SOURCE if there else None)


def scan_task(job: Job, items: Left, task: int) -> ScanResult:
    """Look for items in the rows of some slices; leaves `SCANNED`, `HITS`, `SEEN` and `SHORT`.

    job: of the run. items: the files that the task of items left. task: number of the sign task. A
    task with a file that cannot be read leaves nothing, where such files are to be left out.
    """
    scan = _Scan(job, task, block_of(job, items))
    try:
        files = HITS.write(job.work, task, scan.batches())
    except BadFileError as error:
        return replace(
            _Scan(job, task, block_of(job, items)).result({}),
            bad_files={error.path: error.reason},
        )
    return scan.result(files | scan.write())


@dataclass
class _Scan:
    """A scan task: reads its slices once, and keeps what it leaves in the end."""

    job: Job
    task: int
    block: Block
    totals: Counter[str] = field(default_factory=Counter)
    types: dict[str, dict[str, int]] = field(default_factory=dict)
    told: list[list[Any]] = field(default_factory=list)
    rows: list[tuple[Array, Array, Array]] = field(default_factory=list)
    ids: list[pa.Array] = field(default_factory=list)
    short: list[Array] = field(default_factory=list)
    sources: Sources | None = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = [0] * len(self.job.tasks[self.task])
        self.seen = _Seen()
        self.id_type: pa.DataType | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The hits of each batch of text."""
        job, block = self.job, self.block
        tables, rules = load_tables(), words_of(job)
        least = int(least_of(np.array([LEAST_SHINGLES]), LEAST_CONTAINMENT)[0])
        for number, part in enumerate(job.tasks[self.task]):
            shard, projection = job.shards[part.shard], projection_for(job, part.shard)
            batches = read_slice(shard, part, projection, batch_bytes=job.sizes.batch)
            for batch in leaving_out(batches, job.settings):
                sources = self._sources(batch, part.shard, projection)
                texts = text_buffers(batch.column(0))
                rows = batch.num_rows
                counts, bad = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
                done, bounds, places, numbers, seen, found = scan_rows(
                    texts.data,
                    texts.offsets,
                    texts.valid,
                    tables,
                    rules,
                    block.shingles,
                    block.shorts,
                    sources,
                    least,
                    counts,
                    bad,
                )
                if done < rows:
                    raise RowError(
                        f"its text is not valid UTF-8 at byte {bad[done]}: mend it, or run with "
                        "--on-bad-text replace",
                        path=shard.path,
                        row=first_row(shard, part) + self.counts[number] + done,
                    )
                self.seen.add(seen)
                first = sum(self.counts)
                if len(found):
                    found[:, 0] += first
                    found[:, 1] = block.short_items[found[:, 1]]
                    self.short.append(found)
                scripts = scripts_of_texts(texts.data, texts.offsets, texts.valid)
                self._count(batch, number, counts, (scripts, sources), projection)
                self.totals["text_bytes"] += int(texts.lengths.sum())
                self.totals["replaced"] += int((bad < -1).sum())
                self.totals["tokens"] += int(counts.sum())
                yield _hits(bounds, places, numbers, first)

    def _sources(self, batch: pa.RecordBatch, shard: int, projection: Projection) -> Array:
        """A number for the source of each row: uint32; notes which there are."""
        if projection.others:
            column = batch.column(1 + len(projection.roles))
            sources = digests_of_others([column], batch.num_rows)[:, 0]
            named = sources_of(sources, column)
        else:
            sources = np.full(batch.num_rows, shard + 1, np.uint32)
            named = {shard + 1: (batch.num_rows, self.job.shards[shard].path)}
        self.sources = merged_sources([self.sources, named])
        return np.ascontiguousarray(sources)

    def _count(
        self,
        batch: pa.RecordBatch,
        number: int,
        counts: Array,
        beside: tuple[Array, Array],
        projection: Projection,
    ) -> None:
        shingles = counts.astype(np.uint32)
        if projection.unreadable:
            marks = batch.column(batch.num_columns - 1)
            there = np.flatnonzero(valid_bytes(marks)).tolist()
            shingles[there] = NO_SHINGLES
            self.totals["unreadable"] += len(there)
            self.told += [
                [number, self.counts[number] + row, marks[row].as_py()]
                for row in there[: MOST_EXAMPLES - len(self.told)]
            ]
        if projection.roles:
            ids = plain_values(batch.column(1))
            self.totals["missing_ids"] += ids.null_count
            self.ids.append(ids)
            if ids.null_count < len(ids):
                shard = self.job.tasks[self.task][number].shard
                self.types.setdefault("id", {}).setdefault(str(ids.type), shard)
                self.job.check_types(self.types)
        self.rows.append((shingles, *beside))
        self.counts[number] += batch.num_rows

    def write(self) -> dict[str, WrittenFile]:
        """Leave what is known of all rows."""
        job, task = self.job, self.task
        schema = SCANNED.columns
        parts = zip(*self.rows, strict=True) if self.rows else [()] * len(schema)
        columns = [
            pa.array(np.concatenate([np.zeros(0, one.type.to_pandas_dtype()), *part]))
            for one, part in zip(schema, parts, strict=True)
        ]
        if job.settings.id is not None:
            valued = [ids.type for ids in self.ids if ids.null_count < len(ids)]
            self.id_type = valued[0] if valued else pa.null()
            kinds = [as_type(ids, self.id_type) for ids in self.ids]
            columns.append(pa.concat_arrays(kinds) if kinds else pa.array([], self.id_type))
            schema = with_id(schema, "id", self.id_type)
        rows = pa.RecordBatch.from_arrays(columns, schema=schema)
        files = SCANNED.write(job.work, task, [rows], schema)
        found = np.concatenate([np.zeros((0, 4), np.int64), *self.short])
        found = found[_first_of_pairs(found)]
        short = [pa.array(found[:, 0].astype(np.uint32)), *map(pa.array, found.T[1:])]
        files |= SHORT.write(
            job.work, task, [pa.RecordBatch.from_arrays(short, schema=SHORT.columns)]
        )
        return files | SEEN.write(job.work, task, [self.seen.batch()])

    def result(self, files: dict[str, WrittenFile]) -> ScanResult:
        """What was counted."""
        columns = None if self.id_type is None else pa.schema([("id", self.id_type)])
        return ScanResult(
            rows=sum(self.counts),
            files=files,
            slices=self.counts,
            tokens=self.totals["tokens"],
            text_bytes=self.totals["text_bytes"],
            replaced=self.totals["replaced"],
            missing_ids=self.totals["missing_ids"],
            unreadable=self.totals["unreadable"],
            unread_examples=self.told,
            sources=None
            if self.sources is None
            else [[key, *found] for key, found in self.sources.items()],
            ids=None if columns is None else schema_as_text(columns),
            types=self.types,
        )


def _hits(bounds: Array, places: Array, numbers: Array, first: int) -> pa.RecordBatch:
    """The rows of a batch with shingles of items. first: number of its first row in the task."""
    rows = np.flatnonzero(np.diff(bounds))
    ends = pa.array(np.append(bounds[:1], bounds[rows + 1]))
    columns = [
        pa.array((rows + first).astype(np.uint32)),
        pa.LargeListArray.from_arrays(ends, pa.array(places)),
        pa.LargeListArray.from_arrays(ends, pa.array(numbers)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=HITS.columns)


def _first_of_pairs(found: Array) -> Array:
    """Of each pair of row and item the place with the fewest tokens, and then the first."""
    row, item, first, end = found.T
    order = np.lexsort((first, end - first, item, row))
    ordered = found[order]
    new = np.ones(len(ordered), np.bool_)
    new[1:] = (ordered[1:, :2] != ordered[:-1, :2]).any(axis=1)
    chosen: Array = order[new]
    return chosen


class _Seen:
    """In how many rows of a task each shingle of items stands, and in how many sources."""

    def __init__(self) -> None:
        self._waiting: list[Array] = []
        self._held = 0
        self._done = tuple(
            np.zeros(0, kind) for kind in (np.uint32, np.uint32, np.uint32, np.bool_)
        )

    def add(self, seen: Array) -> None:
        """Count what `scan_rows` has seen."""
        self._waiting.append(seen)
        self._held += len(seen)
        if self._held > MOST_SEEN:
            self._count()

    def _count(self) -> None:
        if not self._held:
            return
        seen = np.sort(np.concatenate(self._waiting))
        self._waiting, self._held = [], 0
        number = (seen >> np.uint64(32)).astype(np.uint32)
        source = seen.astype(np.uint32)
        starts = np.flatnonzero(np.diff(number.astype(np.int64), prepend=-1))
        ends = np.append(starts[1:], len(seen))
        rows = (ends - starts).astype(np.uint32)
        fresh = (number[starts], rows, source[starts], source[starts] != source[ends - 1])
        both = [np.concatenate(pair) for pair in zip(self._done, fresh, strict=True)]
        self._done = merged_counts(*both)

    def batch(self) -> pa.RecordBatch:
        """All of it."""
        self._count()
        return pa.RecordBatch.from_arrays(list(map(pa.array, self._done)), schema=SEEN.columns)


def merged_counts(
    number: Array, rows: Array, source: Array, several: Array
) -> tuple[Array, Array, Array, Array]:
    """Counts of several parts of a corpus as one, each shingle once.

    number, rows, source: uint32, several: bool; see `job.SEEN`.
    """
    order = np.argsort(number, kind="stable")
    number, rows, source, several = (one[order] for one in (number, rows, source, several))
    starts = np.flatnonzero(np.diff(number.astype(np.int64), prepend=-1))
    if not len(starts):
        return number, rows, source, several
    total = np.add.reduceat(rows, starts).astype(np.uint32)
    least, most = np.minimum.reduceat(source, starts), np.maximum.reduceat(source, starts)
    any_ = np.logical_or.reduceat(several, starts) | (least != most)
    return number[starts], total, least, any_


def forget_block() -> None:
    """Let the items go, which take much memory, once all tasks are done."""
    _blocks.forget()
