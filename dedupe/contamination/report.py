"""report: contamination.parquet has all pairs, evals.parquet what became of items. One task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.arrays import Array, numbers
from dedupe.contamination.items import ALL_COMMON, NEVER_CHECKED, Block
from dedupe.contamination.job import (
    PAIRS,
    QUESTION_PART,
    SCANNED,
    ReportResult,
    ScanResult,
)
from dedupe.contamination.match import checked_of
from dedupe.contamination.scan import block_of
from dedupe.evals import PASSAGE, QUESTION
from dedupe.schema import EVIDENCE, with_id
from dedupe.storage.tables import GROUP_ROWS, row_groups, write_file
from dedupe.tasks.artifacts import Left
from dedupe.tasks.job import Job

CONTAMINATION, EVALS = "contamination.parquet", "evals.parquet"
"""What is published of test sets, beside the keep-lists."""

NAME = pa.dictionary(pa.int32(), pa.string())
OF_PAIRS = (
    ("shard", NAME),
    ("row", pa.int64()),
    ("eval", NAME),
    ("eval_row", pa.int64()),
    ("eval_id", pa.large_string()),
    ("benchmark", pa.large_string()),
    ("part", NAME),
    ("evidence", NAME),
    ("containment", pa.float64()),
    ("shared", pa.int64()),
    ("shingles", pa.int64()),
    ("span_start", pa.int64()),
    ("span_end", pa.int64()),
    ("longest", pa.int64()),
)
"""Columns of contamination.parquet; `id` comes after `row` where there is one."""
OF_ITEMS = pa.schema(
    [
        ("eval", NAME),
        ("eval_row", pa.int64()),
        ("eval_id", pa.large_string()),
        ("benchmark", pa.large_string()),
        ("status", NAME),
        ("why", NAME),
        ("rows", pa.int64()),
        ("containment", pa.float64()),
        ("longest", pa.int64()),
        ("passage_rows", pa.int64()),
        ("words", pa.int64()),
        ("shingles", pa.int64()),
    ]
)
"""Columns of evals.parquet."""
STATUSES = ("clean", "contaminated", "uncheckable")


def report_task(
    job: Job, items: Left, scanned: Mapping[int, ScanResult], common: Left, matched: Left, task: int
) -> ReportResult:
    """Write what was found; leaves `CONTAMINATION` and `EVALS`.

    job: of the run. items, common, matched: the files of these stages. scanned: the results of
    scan. task: 0.
    """
    block, checked = block_of(job, items), checked_of(job, items, common)
    count = len(block.items)
    rows, passages = np.zeros(count, np.int64), np.zeros(count, np.int64)
    best, longest = np.zeros(count), np.zeros(count, np.int64)
    kinds = [result.type_of_ids for result in scanned.values()]
    id_type = next((kind for kind in kinds if kind not in (None, pa.null())), None)
    if id_type is None and job.settings.id is not None:
        id_type = pa.null()
    schema = pa.schema(OF_PAIRS)
    if id_type is not None:
        schema = schema.insert(2, pa.field("id", id_type))

    def batches() -> Iterator[pa.RecordBatch]:
        for number, files in matched.items():
            for pairs in PAIRS.read(job.work, {number: files}, None):
                _count(job, pairs, rows, passages, best, longest)
                yield from _shown(job, block, scanned, number, pairs, schema).to_batches()

    folder = job.work.stages.folder("report")

    def write(sink: pa.NativeFile) -> None:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for group in row_groups(schema, batches()):
                writer.write_table(group, row_group_size=GROUP_ROWS)

    files = {CONTAMINATION: write_file(folder, CONTAMINATION, write)}
    table, why = _items(job, block, checked.checked, checked.entries.bounds, rows)
    columns = [best, longest, passages]
    for name, values in zip(("containment", "longest", "passage_rows"), columns, strict=True):
        at = OF_ITEMS.get_field_index(name)
        table = table.set_column(at, OF_ITEMS.field(at), pa.array(values))

    def write_items(sink: pa.NativeFile) -> None:
        with pq.ParquetWriter(sink, OF_ITEMS, compression="zstd") as writer:
            writer.write_table(table, row_group_size=GROUP_ROWS)

    files |= {EVALS: write_file(folder, EVALS, write_items)}
    by_status = table.group_by(["benchmark", "status"]).aggregate([([], "count_all")]).to_pylist()
    counts: dict[str, dict[str, int]] = {}
    for one in by_status:
        counts.setdefault(one["benchmark"], {})[one["status"]] = one["count_all"]
    return ReportResult(
        rows=count,
        files=files,
        benchmarks=[
            [name, sum(of.values()), of.get(STATUSES[1], 0), of.get(STATUSES[2], 0)]
            for name, of in sorted(counts.items())
        ],
        why=why,
    )


def _count(
    job: Job, pairs: pa.RecordBatch, rows: Array, passages: Array, best: Array, longest: Array
) -> None:
    """Count the pairs of a task for each item."""
    assert job.evals is not None  # noqa: S101
    item, part = numbers(pairs.column("item")), numbers(pairs.column("part"))
    share = _share(pairs)
    enough = share >= job.evals.asked.containment
    question = part == QUESTION_PART
    np.add.at(rows, item[question & enough], 1)
    np.add.at(passages, item[~question & enough], 1)
    np.maximum.at(best, item[question], share[question])
    np.maximum.at(longest, item[question], numbers(pairs.column("longest"))[question])


def _share(pairs: pa.RecordBatch) -> Array:
    shared, shingles = numbers(pairs.column("shared")), numbers(pairs.column("shingles"))
    share: Array = shared / np.maximum(shingles, 1)
    return share


def _shown(
    job: Job,
    block: Block,
    scanned: Mapping[int, ScanResult],
    task: int,
    pairs: pa.RecordBatch,
    schema: pa.Schema,
) -> pa.Table:
    """The pairs of a task as people read them."""
    row, item = numbers(pairs.column("row")).astype(np.int64), numbers(pairs.column("item"))
    starts = np.concatenate([[0], np.cumsum(scanned[task].slices)])
    which = np.searchsorted(starts, row, side="right") - 1
    shards = np.array([part.shard for part in job.tasks[task]])[which]
    before = _rows_before(job, scanned, task)
    items = block.items
    shown: dict[str, pa.Array] = {
        "shard": _named(shards, [shard.path for shard in job.shards]),
        "row": pa.array(row - starts[which] + np.array(before)[which]),
        "eval": _named(items.file[item], _eval_paths(job)),
        "eval_row": pa.array(items.row[item]),
        "eval_id": items.ids.take(pa.array(item)),
        "benchmark": items.benchmarks.take(pa.array(item)),
        "part": _named(numbers(pairs.column("part")), (QUESTION, PASSAGE)),
        "evidence": _named(numbers(pairs.column("evidence")), EVIDENCE),
        "containment": pa.array(_share(pairs)),
    }
    shown |= {
        name: pairs.column(name)
        for name in ("shared", "shingles", "span_start", "span_end", "longest")
    }
    kind = scanned[task].type_of_ids
    if "id" in schema.names:
        (rows,) = SCANNED.read(
            job.work, {task: scanned[task].files}, 0, with_id(SCANNED.columns, "id", kind)
        )
        ids = rows.column("id").take(pa.array(row))
        at = schema.field("id").type
        shown["id"] = pa.nulls(len(ids), at) if ids.null_count == len(ids) else ids.cast(at)
    return pa.table([shown[name] for name in schema.names], schema=schema)


def _eval_paths(job: Job) -> list[str]:
    assert job.evals is not None  # noqa: S101
    return [shard.path for shard in job.evals.shards]


def _named(codes: Array, names: list[str] | tuple[str, ...]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(names, pa.string())
    )


def _rows_before(job: Job, scanned: Mapping[int, ScanResult], task: int) -> list[int]:
    """For each slice of a task how many rows of its shard are in slices before it."""
    before = {part.shard: 0 for part in job.tasks[task]}
    for number in sorted(scanned):
        if number == task:
            break
        for part, count in zip(job.tasks[number], scanned[number].slices, strict=True):
            if part.shard in before:
                before[part.shard] += count
    found = []
    for part, count in zip(job.tasks[task], scanned[task].slices, strict=True):
        found.append(before[part.shard])
        before[part.shard] += count
    return found


def _items(
    job: Job, block: Block, checked: Array, bounds: Array, rows: Array
) -> tuple[pa.Table, dict[str, int]]:
    """What became of each item, and uncheckable ones by the reason; rows: convicted, of each."""
    items = block.items
    why = block.why.astype(np.int64)
    questions = block.entry_parts == QUESTION_PART
    left = np.zeros(len(items), np.int64)
    left[block.entry_items[questions]] = np.diff(bounds)[questions]
    lost = block.entry_items[questions & ~checked]
    why[lost[why[lost] < 0]] = len(NEVER_CHECKED)
    status = np.where(rows > 0, 1, np.where(why >= 0, 2, 0))
    reasons = (*NEVER_CHECKED, ALL_COMMON)
    nothing = np.zeros(len(items))
    table = pa.table(
        [
            _named(items.file, _eval_paths(job)),
            pa.array(items.row),
            items.ids,
            items.benchmarks,
            _named(status, STATUSES),
            pa.DictionaryArray.from_arrays(
                pa.array(np.maximum(why, 0).astype(np.int32), mask=why < 0), pa.array(reasons)
            ),
            pa.array(rows),
            pa.array(nothing),
            pa.array(nothing.astype(np.int64)),
            pa.array(nothing.astype(np.int64)),
            pa.array(items.lengths[0]),
            pa.array(left),
        ],
        schema=OF_ITEMS,
    )
    counts = np.bincount(why[why >= 0], minlength=len(reasons)).tolist()
    return table, {name: count for name, count in zip(reasons, counts, strict=True) if count}
