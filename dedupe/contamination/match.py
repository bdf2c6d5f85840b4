"""match: which rows have enough of an item in one window. One task for those of a scan task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, text_buffers
from dedupe.contamination.items import Block, Items, words_of
from dedupe.contamination.job import (
    BY_ANSWER,
    BY_CONTAINMENT,
    COMMON,
    GROUP_ROWS,
    HITS,
    PAIRS,
    QUESTION_PART,
    SCANNED,
    SHORT,
    MatchResult,
    ScanResult,
)
from dedupe.contamination.scan import block_of, projection_for
from dedupe.corpus import SliceReader
from dedupe.kernels.contain import Entries, locate_pairs, match_rows
from dedupe.kernels.unicode import load_tables
from dedupe.schema import CONTAMINATED_ROWS, with_id
from dedupe.tasks.artifacts import CONTAMINATED, Left
from dedupe.tasks.job import Job
from dedupe.tasks.last_made import LastMade

MOST_PAIRS = 1 << 18
"""Pairs that a task has in memory, about: 300 bytes each, while their places are looked for."""

_left = LastMade()


class Found(NamedTuple):
    """Pairs of rows and items, one entry each, by row: see `job.PAIRS`.

    first, end: int64, the first token of what they have in common, and the one behind the last.
    """

    row: Array
    item: Array
    part: Array
    evidence: Array
    shared: Array
    shingles: Array
    first: Array
    end: Array


@dataclass(frozen=True)
class Checked:
    """What is left of the items once common shingles are left out.

    entries: for kernels. checked: bool for each entry, whether it is looked for. common: uint8 for
    each shingle.
    """

    entries: Entries
    checked: Array
    common: Array


def checked_of(job: Job, items: Left, common: Left) -> Checked:
    """The items without common shingles; tasks of one process share them.

    job: of the run. items, common: the files of these stages.
    """

    def make() -> Checked:
        (counts,) = COMMON.read(job.work, common, 0)
        rows, left_out = map(numbers, counts.columns)
        return Checked(*block_of(job, items).entries(rows, left_out), left_out)

    return _left.get((str(job.work), job.work.run), make)


def match_task(
    job: Job, items: Left, scanned: dict[int, ScanResult], common: Left, task: int
) -> MatchResult:
    """Find the items of each row; leaves `PAIRS` and `CONTAMINATED`.

    job: of the run. items, common: the files of these stages. scanned: the results of scan. task:
    number of the sign task.
    """
    block, checked = block_of(job, items), checked_of(job, items, common)
    mine = {task: scanned[task].files}
    kind = scanned[task].type_of_ids
    columns = SCANNED.columns if kind is None else with_id(SCANNED.columns, "id", kind)
    (rows,) = SCANNED.read(job.work, mine, 0, columns)
    sources = numbers(rows.column("source"))
    told = _Told(job, block.items)

    def batches() -> Iterator[pa.RecordBatch]:
        for found in _found(job, block, checked, mine):
            spans = _located(job, block, scanned[task].slices, task, found)
            source = sources[found.row]
            told.add(found, spans, source)
            yield _pairs(found, spans, source)

    files = PAIRS.write(job.work, task, _of_equal_size(batches(), GROUP_ROWS))
    files |= CONTAMINATED.write(job.work, task, [told.rows()])
    return MatchResult(
        rows=sum(scanned[task].slices),
        files=files,
        contaminated=told.contaminated,
        table=sorted([*key, count] for key, count in told.table.items()),
        pairs=told.pairs,
    )


class _Told:
    """What a task tells of its pairs.

    pairs: how many there are. contaminated: rows that are. table: how many rows of each source have
    items of each test set, by both.
    """

    def __init__(self, job: Job, items: Items) -> None:
        assert job.evals is not None  # noqa: S101
        self._least = job.evals.asked.containment
        self._items = items
        self._made: list[pa.RecordBatch] = []
        self.table: Counter[tuple[str, int]] = Counter()
        self.pairs = 0

    def add(self, found: Found, spans: Array, source: Array) -> None:
        """Tell of more pairs, of rows behind all others; spans, source: of each."""
        items = self._items
        share = found.shared / np.maximum(found.shingles, 1)
        convicts = (found.part == QUESTION_PART) & (
            (found.evidence == BY_ANSWER) | (share >= self._least)
        )
        order = np.lexsort((found.item, -found.shared, -share, found.row))
        order = order[convicts[order]]
        first = np.ones(len(order), np.bool_)
        first[1:] = np.diff(found.row[order]) > 0
        best = order[first]
        columns = [
            pa.array(found.row[best].astype(np.uint32)),
            pa.array(items.file[found.item[best]]),
            pa.array(items.row[found.item[best]]),
            items.ids.take(pa.array(found.item[best])),
            pa.array(share[best]),
            pa.array(spans[best, 0]),
            pa.array(spans[best, 1]),
            pa.array(found.evidence[best].astype(np.uint8)),
        ]
        self._made.append(pa.RecordBatch.from_arrays(columns, schema=CONTAMINATED_ROWS))
        told = np.flatnonzero(convicts)
        self.table += _table(items.benchmarks, found.item[told], source[told], found.row[told])
        self.pairs += len(found.row)

    @property
    def contaminated(self) -> int:
        """How many rows are."""
        return sum(made.num_rows for made in self._made)

    def rows(self) -> pa.RecordBatch:
        """The contaminated rows, each with the item that says the most."""
        return whole(pa.Table.from_batches(self._made, CONTAMINATED_ROWS))


def whole(table: pa.Table) -> pa.RecordBatch:
    """A table as one record batch."""
    columns = [column.combine_chunks() for column in table.columns]
    return pa.RecordBatch.from_arrays(columns, schema=table.schema)


def _of_equal_size(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same in batches of so many rows, but for the last."""
    held = pa.Table.from_batches([], PAIRS.columns)
    for batch in batches:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while len(held) >= rows:
            yield whole(held.slice(0, rows))
            held = held.slice(rows)
    if len(held):
        yield whole(held)


def _table(
    benchmarks: pa.Array, item: Array, source: Array, row: Array
) -> Counter[tuple[str, int]]:
    """In how many rows of each source items of each test set stand: see `job.MatchResult`.

    benchmarks: the test set of each item. item, source, row: of each pair.
    """
    names = benchmarks.take(pa.array(item)).dictionary_encode()
    keys = np.stack([row, source.astype(np.int64), numbers(names.indices).astype(np.int64)])
    keys = keys[:, np.lexsort(keys)]
    for stay in (slice(0, 3), slice(1, 3)):  # each row once for a test set, then counted
        new = np.ones(keys.shape[1], np.bool_)
        new[1:] = (keys[stay, 1:] != keys[stay, :-1]).any(axis=0)
        starts = np.flatnonzero(new)
        counts = np.diff(np.append(starts, keys.shape[1]))
        keys = keys[:, new]
    called = names.dictionary.to_pylist()
    places = zip(keys[2].tolist(), keys[1].tolist(), counts.tolist(), strict=True)
    return Counter({(called[code], place): count for code, place, count in places})


def _found(job: Job, block: Block, checked: Checked, files: Left) -> Iterator[Found]:
    """The pairs of a task by row, those of a row by item, about `MOST_PAIRS` at a time."""
    (batch,) = SHORT.read(job.work, files, 0)
    row, item, first, end = (numbers(column).astype(np.int64) for column in batch.columns)
    tokens = block.items.lengths[0, item]
    part, how = np.full(len(row), QUESTION_PART), np.full(len(row), BY_ANSWER)
    short = np.stack([row, item, part, how, tokens, tokens, first, end], axis=1)
    waiting = [np.zeros((0, 8), np.int64)]
    used = 0
    for batch in HITS.read(job.work, files, None):
        rows = numbers(batch.column("row")).astype(np.int64)
        begin = 0
        while begin < len(rows):
            done, pairs = _matched(block, checked, batch, rows, begin)
            begin += done
            waiting.append(pairs)
            if sum(map(len, waiting)) < MOST_PAIRS:
                continue
            upto = int(np.searchsorted(short[:, 0], rows[begin - 1], side="right"))
            yield _by_row([*waiting, short[used:upto]])
            waiting, used = waiting[:1], upto
    yield _by_row([*waiting, short[used:]])


def _matched(
    block: Block, checked: Checked, batch: pa.RecordBatch, rows: Array, begin: int
) -> tuple[int, Array]:
    """How many rows of a batch of hits were done, from one on, and their pairs, as in `Found`."""
    ends = numbers(batch.column("places").offsets)[begin:]
    places, values = (numbers(batch.column(name).values) for name in ("places", "numbers"))
    done, pairs = match_rows(ends, places, values, checked.common, checked.entries, MOST_PAIRS)
    row, entry, shared, first, last = pairs.T
    item, part = block.entry_items[entry], block.entry_parts[entry]
    sizes = np.where(
        part == QUESTION_PART, block.items.sizes[item], block.items.passage_sizes[item]
    )
    how = np.full(len(row), BY_CONTAINMENT)
    shingles = np.diff(checked.entries.bounds)[entry]
    found = [rows[begin + row], item, part, how, shared, shingles, first, last + sizes]
    return done, np.stack(found, axis=1)


def _by_row(parts: list[Array]) -> Found:
    every = np.concatenate(parts)
    every = every[np.lexsort((every[:, 2], every[:, 1], every[:, 0]))]
    return Found(*(np.ascontiguousarray(column) for column in every.T))


def _located(job: Job, block: Block, slices: list[int], task: int, found: Found) -> Array:
    """(first character, the one behind the last, longest run in tokens) of each pair: int64.

    The rows that have any are read again.
    """
    spans = np.zeros((len(found.row), 3), np.int64)
    if not len(found.row):
        return spans
    tables, rules, items = load_tables(), words_of(job), block.items
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(slices)]).astype(np.int64)
    projections = [projection_for(job, shard) for shard in range(len(job.shards))]
    read = SliceReader(job.shards, job.tasks[task], starts, projections, job.sizes.batch)
    for rows, batch in read.read(np.unique(found.row)):
        low, high = np.searchsorted(found.row, [rows[0], rows[-1] + 1])
        texts = text_buffers(batch.column(0))
        item, part = found.item[low:high], found.part[low:high]
        where = np.searchsorted(rows, found.row[low:high])
        made = locate_pairs(
            texts.data,
            texts.offsets,
            texts.valid,
            tables,
            rules,
            where,
            found.first[low:high],
            found.end[low:high],
            items.begins[part, item],
            items.stops[part, item],
            items.tokens,
        )
        spans[low:high] = made
    return spans


def _pairs(found: Found, spans: Array, source: Array) -> pa.RecordBatch:
    columns = [
        found.row.astype(np.uint32),
        source,
        found.item,
        found.part.astype(np.uint8),
        found.evidence.astype(np.uint8),
        found.shared,
        found.shingles,
        *(np.ascontiguousarray(column) for column in spans.T),
    ]
    return pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema=PAIRS.columns)


def forget_items() -> None:
    """Let the items go, which take much memory, once all tasks are done."""
    _left.forget()
