"""match: which rows have enough of an item in one window. One task for those of a scan task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, text_buffers
from dedupe.contamination.items import Block, words_of
from dedupe.contamination.job import (
    BY_ANSWER,
    BY_CONTAINMENT,
    COMMON,
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
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import CONTAMINATED, Left
from dedupe.tasks.job import Job
from dedupe.tasks.last_made import LastMade

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
    found = _found(job, block, checked, mine)
    spans = _located(job, block, scanned[task].slices, task, found)
    kind = scanned[task].type_of_ids
    columns = SCANNED.columns if kind is None else with_id(SCANNED.columns, "id", kind)
    (rows,) = SCANNED.read(job.work, mine, 0, columns)
    source = numbers(rows.column("source"))[found.row]
    files = _pairs(job, task, found, spans, source)
    share = found.shared / np.maximum(found.shingles, 1)
    assert job.evals is not None  # noqa: S101
    convicts = (found.part == QUESTION_PART) & (
        (found.evidence == BY_ANSWER) | (share >= job.evals.asked.containment)
    )
    order = np.lexsort((found.item, -found.shared, -share, found.row))
    order = order[convicts[order]]
    first = np.ones(len(order), np.bool_)
    first[1:] = np.diff(found.row[order]) > 0
    best = order[first]
    items_of = block.items
    columns = [
        pa.array(found.row[best].astype(np.uint32)),
        pa.array(items_of.file[found.item[best]]),
        pa.array(items_of.row[found.item[best]]),
        items_of.ids.take(pa.array(found.item[best])),
        pa.array(share[best]),
        pa.array(spans[best, 0]),
        pa.array(spans[best, 1]),
        pa.array(found.evidence[best].astype(np.uint8)),
    ]
    made = pa.RecordBatch.from_arrays(columns, schema=CONTAMINATED_ROWS)
    files |= CONTAMINATED.write(job.work, task, [made])
    told = np.flatnonzero(convicts)
    table = _table(items_of.benchmarks, found.item[told], source[told], found.row[told])
    return MatchResult(
        rows=sum(scanned[task].slices),
        files=files,
        contaminated=len(best),
        table=table,
        pairs=len(found.row),
    )


def _table(benchmarks: pa.Array, item: Array, source: Array, row: Array) -> list[list[Any]]:
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
    return sorted([called[code], place, count] for code, place, count in places)


def _found(job: Job, block: Block, checked: Checked, files: Left) -> Found:
    """The pairs of a task by row, those of a row by item."""
    parts = [np.zeros((0, 8), np.int64)]
    bounds = checked.entries.bounds
    for batch in HITS.read(job.work, files, None):
        if not batch.num_rows:
            continue
        ends = numbers(batch.column("places").offsets)
        places, values = (numbers(batch.column(name).values) for name in ("places", "numbers"))
        pairs = match_rows(ends, places, values, checked.common, checked.entries)
        row, entry, shared, first, last = pairs.T
        item, part = block.entry_items[entry], block.entry_parts[entry]
        sizes = np.where(
            part == QUESTION_PART, block.items.sizes[item], block.items.passage_sizes[item]
        )
        how = np.full(len(row), BY_CONTAINMENT)
        rows = numbers(batch.column("row")).astype(np.int64)[row]
        shingles = np.diff(bounds)[entry]
        parts.append(
            np.stack([rows, item, part, how, shared, shingles, first, last + sizes], axis=1)
        )
    (short,) = SHORT.read(job.work, files, 0)
    row, item, first, end = (numbers(column).astype(np.int64) for column in short.columns)
    tokens = block.items.lengths[0, item]
    part, how = np.full(len(row), QUESTION_PART), np.full(len(row), BY_ANSWER)
    parts.append(np.stack([row, item, part, how, tokens, tokens, first, end], axis=1))
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


def _pairs(
    job: Job, task: int, found: Found, spans: Array, source: Array
) -> dict[str, WrittenFile]:
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
    made = pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema=PAIRS.columns)
    return PAIRS.write(job.work, task, [made])


def forget_items() -> None:
    """Let the items go, which take much memory, once all tasks are done."""
    _left.forget()
