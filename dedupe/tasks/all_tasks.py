"""What one task of each stage does: sign, bucket, join, link, label, group, shingle, verify, keep.

Each is a function of the job, what earlier stages left, and the number of the task. It reads the
corpus or the work directory, calls the pure stage of its name, leaves its data in the work
directory and returns what the driver needs to know, as plain values for JSON. Run twice, it leaves
the same again.
"""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedupe.arrays import Array, as_type, numbers
from dedupe.config import Settings
from dedupe.corpus import (
    KNOWN_SUFFIXES,
    Projection,
    Shard,
    Slice,
    check_columns,
    estimate,
    file_name,
    first_row,
    plan_slices,
    read_slice,
)
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import CorpusError, IntegrityError, SettingsError, WorkDirError
from dedupe.planning import sizes as planning
from dedupe.planning.banding import Banding
from dedupe.remote import Place, given
from dedupe.schema import (
    BAND_RECORDS,
    DECISIONS,
    EDGES,
    ID_RECORDS,
    LABELS,
    REASONS,
    ROWS_TO_FETCH,
    SETS,
    keep_list_schema,
    labeled,
    with_id,
)
from dedupe.stages.bucket import EXAMPLES, RepeatedIds, bucket, repeated_ids
from dedupe.stages.components import ComponentFinder
from dedupe.stages.fetch import rows_to_fetch, set_batches, shingle_sets
from dedupe.stages.group import group
from dedupe.stages.keep import Decided, ShardRows, Witnesses, keep_list
from dedupe.stages.route import route
from dedupe.stages.sign import (
    MalformedTextError,
    Signed,
    Signer,
    band_batches,
    id_batches,
    rows_batch,
)
from dedupe.stages.verify import ShingleSets, cut_decisions, least_jaccard, verify
from dedupe.storage.spill import Runs
from dedupe.storage.work_dir import WorkDir, open_batches, read_pieces, seen, write_batches, writing

if TYPE_CHECKING:
    from dedupe.stages.join import JoinBlock

ColumnTypes = dict[str, dict[str, int]]
"""For each role of a column its types, each with a shard that has it; see `Settings.roles`."""

EDGE_BATCH = 1 << 20
"""Edges in a record batch: what a merge holds of a file at a time."""

LONGEST_NAME = 50
"""Characters of a shard's name in that of its keep-list file."""

KEEP_ROWS = 1 << 18
"""Rows in a keep task that writes several small shards."""

KEEP_SHARDS = 256
"""And how many of them at most."""

KEEP_GROUP_ROWS = 1 << 17
"""Rows in a row group of a keep-list file."""


@dataclass(frozen=True)
class Job:
    """All that a task needs to know, besides its number."""

    settings: Settings
    document: DocumentTemplate
    banding: Banding
    shards: list[Shard]
    tasks: list[list[Slice]]
    sizes: planning.TaskSizes
    work: WorkDir

    @property
    def wanted(self) -> Projection:
        """What is read of each row."""
        return wanted_of(self.document, self.settings)

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages, with its shards where it reads any."""
        if stage not in ("sign", "shingle"):
            return f"{stage} task {task}"
        paths = list(dict.fromkeys(self.shards[part.shard].path for part in self.tasks[task]))
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return f"{stage} task {task} ({paths[0]}{more})"


def wanted_of(document: DocumentTemplate, settings: Settings) -> Projection:
    """What a run of these settings reads of each row."""
    return Projection(document.template, tuple(settings.roles.items()))


@dataclass(frozen=True)
class Layout:
    """Where the rows are: positions at which tasks, slices and shards start, each with the end.

    slices_of: for each shard its slices as (task, number in the task), in order. keep_shards: the
    first shard of each keep task, with the end. blocks: the first sign task of each block of join,
    with the end; empty without join. id_task: a sign task that found ids. shingles: in all rows.
    """

    task_starts: Array
    slice_starts: list[Array]
    shard_starts: Array
    slices_of: list[list[tuple[int, int]]]
    keep_shards: list[int]
    blocks: list[int]
    id_task: int | None
    shingles: int

    @classmethod
    def of(cls, job: Job, signed: dict[int, dict[str, Any]]) -> Layout:
        """From the row counts that sign left."""
        task_starts = np.zeros(len(job.tasks) + 1, np.int64)
        shard_rows = np.zeros(len(job.shards), np.int64)
        slice_starts = []
        slices_of: list[list[tuple[int, int]]] = [[] for _ in job.shards]
        for task, slices in enumerate(job.tasks):
            counts = signed[task]["slices"]
            starts = task_starts[task] + np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            slice_starts.append(starts)
            task_starts[task + 1] = starts[-1]
            for number, (part, count) in enumerate(zip(slices, counts, strict=True)):
                shard_rows[part.shard] += count
                slices_of[part.shard].append((task, number))
        shard_starts = np.concatenate([[0], np.cumsum(shard_rows)]).astype(np.int64)
        if shard_starts[-1] != task_starts[-1]:
            raise IntegrityError(f"{task_starts[-1]} rows signed, {shard_starts[-1]} in shards")
        id_task = next(
            (task for task in range(len(job.tasks)) if signed[task]["kinds"].get("id")), None
        )
        per_task = max(KEEP_ROWS, int(shard_starts[-1]) // planning.MOST_TASKS)
        sizes = np.maximum(np.diff(shard_starts), KEEP_ROWS // KEEP_SHARDS).tolist()
        groups = planning.pack(range(len(job.shards)), sizes, per_task)
        keep_shards = [group[0] for group in groups] + [len(job.shards)]
        weights = [
            planning.join_bytes(one["shingles"], one["rows"], job.settings.threshold)
            for _, one in sorted(signed.items())
        ]
        return cls(
            task_starts=task_starts,
            slice_starts=slice_starts,
            shard_starts=shard_starts,
            slices_of=slices_of,
            keep_shards=keep_shards,
            blocks=planning.join_blocks(job.sizes, weights) if job.settings.joined else [],
            id_task=id_task,
            shingles=sum(result["shingles"] for result in signed.values()),
        )

    @property
    def rows(self) -> int:
        """Rows in the corpus."""
        return int(self.task_starts[-1])

    @property
    def joins(self) -> int:
        """Number of join tasks."""
        return max(len(self.blocks) - 1, 0)

    @property
    def keep_tasks(self) -> int:
        """Number of keep tasks."""
        return len(self.keep_shards) - 1

    @property
    def keep_starts(self) -> Array:
        """Positions at which keep tasks start, with the end."""
        starts: Array = self.shard_starts[self.keep_shards]
        return starts

    def filled(self) -> list[int]:
        """Every sign task that has rows."""
        tasks: list[int] = np.flatnonzero(np.diff(self.task_starts)).tolist()
        return tasks


def prepare_worker(probe: Place, base: str | None, options: given.OptionsByExtra) -> None:
    """Check that a worker process sees what the driver sees; the kernels come with this module.

    probe: a file in the work directory. base: where relative paths of shards start from. options:
    storage options of the driver.
    """
    given.use_everywhere(options)
    if base is not None:
        try:
            os.chdir(base)
        except OSError as error:
            raise SettingsError(
                f"{platform.node()} has no directory {base}, where relative paths of the corpus "
                "start: give paths that are the same on every node"
            ) from error
    if not seen(probe):
        raise WorkDirError(
            f"{platform.node()} does not see the work directory {probe.parent}: choose a "
            "--work-dir that all nodes share"
        )


def timed(function: Callable[[int], dict[str, Any]], task: int) -> dict[str, Any]:
    """The result of a task, with the CPU seconds it took."""
    began = time.thread_time()
    result = function(task)
    return {**result, "cpu_seconds": time.thread_time() - began}


def survey(
    groups: list[list[Shard]], wanted: Projection, sizes: planning.TaskSizes, task: int
) -> dict[str, Any]:
    """Look at some shards before the run is cut: their columns, sizes and slices."""
    slices: list[Slice] = []
    weights: list[int] = []
    estimated = 0
    for shard in groups[task]:
        check_columns(shard, wanted)
        rows, text_bytes = estimate(shard, wanted.template.columns)
        parts = plan_slices(shard, wanted.template.columns, sizes.task_text, sizes.task_rows)
        whole = planning.weight(sizes, text_bytes, rows)
        slices += parts
        weights += [whole // max(len(parts), 1)] * len(parts)
        estimated += rows
    return {
        "slices": [astuple(part) for part in slices],
        "weights": weights,
        "estimated_rows": estimated,
    }


def sign_task(job: Job, task: int) -> dict[str, Any]:
    """Sign the rows of some slices; leaves `rows` and `bands`, and `ids` where there are."""
    partitions, limit = job.sizes.partitions, job.sizes.run_bytes // planning.SIGNED_BYTES
    counts = [0] * len(job.tasks[task])
    kinds: ColumnTypes = {}
    totals = Counter(shingles=0, text_bytes=0, replaced=0, missing_ids=0)
    done: list[Signed] = []
    fresh: list[Signed] = []
    written = 0
    with Runs(job.work.spool) as runs, Runs(job.work.spool) as ids:

        def add() -> None:
            first = sum(map(len, done))
            runs.add(list(band_batches(fresh, first, partitions)))
            if job.settings.id is not None:
                ids.add(list(id_batches(fresh, first, partitions)))

        for number, signed in _sign(job, task, kinds):
            if sum(part.keys.size for part in fresh) > limit:
                add()
                done += [part.without_keys() for part in fresh]
                fresh = []
            fresh.append(signed)
            counts[number] += len(signed)
            totals["shingles"] += int(signed.shingles.sum())
            totals["text_bytes"] += signed.text_bytes
            totals["replaced"] += signed.replaced
            totals["missing_ids"] += 0 if signed.ids is None else signed.ids.null_count
        if fresh:
            add()
            rows = rows_batch(job.settings, [*done, *fresh])
            written += write_batches(job.work.data("sign", task, "rows"), rows.schema, [rows])
            bands = job.work.data("sign", task, "bands")
            written += write_batches(bands, BAND_RECORDS, runs.merged())
            if job.settings.id is not None:
                where = job.work.data("sign", task, "ids")
                written += write_batches(where, ID_RECORDS, ids.merged())
    return {"rows": sum(counts), "slices": counts, "bytes": written, "kinds": kinds, **totals}


def _sign(job: Job, task: int, kinds: ColumnTypes) -> Iterator[tuple[int, Signed]]:
    """(number of the slice in the task, a batch of its rows, signed); notes kinds of columns."""
    signer = Signer(job.settings, job.banding)
    for number, part in enumerate(job.tasks[task]):
        shard = job.shards[part.shard]
        rows = 0
        for batch in read_slice(shard, part, job.wanted, batch_bytes=job.sizes.batch_bytes):
            try:
                signed = signer.sign(batch)
            except MalformedTextError as error:
                raise CorpusError(
                    f"{job.document.template.name} is not valid UTF-8 at byte {error.byte}: "
                    "mend it, or run with --on-bad-text replace",
                    path=shard.path,
                    row=first_row(shard, part) + rows + error.row,
                ) from None
            for role, kind in signed.kinds.items():
                kinds.setdefault(role, {}).setdefault(kind, part.shard)
            check_types(job, kinds)
            rows += batch.num_rows
            if len(signed):
                yield number, signed


def bucket_task(job: Job, layout: Layout, partition: int) -> dict[str, Any]:
    """Group the band records of one partition; leaves `edges`."""
    keys, positions = [], []
    for first, records in _pieces(job, layout, "sign", "bands", partition):
        high, low, rows = map(numbers, records.columns)
        keys.append(high.astype(np.uint64) << 32 | low.astype(np.uint64) << 16)
        positions.append(rows.astype(np.int64) + first)
    buckets = bucket(keys, positions, job.sizes.partitions, layout.rows)
    edges = (
        buckets.edges.slice(at, EDGE_BATCH) for at in range(0, buckets.edges.num_rows, EDGE_BATCH)
    )
    written = write_batches(job.work.data("bucket", partition, "edges"), EDGES, edges)
    repeated = _repeated_ids(job, layout, partition)
    return {
        "repeated_ids": repeated.count,
        "repeated_examples": repeated.examples,
        "edges": buckets.edges.num_rows,
        "largest_bucket": buckets.largest,
        "bytes": written,
        "rows": 0,
    }


def _repeated_ids(job: Job, layout: Layout, partition: int) -> RepeatedIds:
    if job.settings.id is None:
        return RepeatedIds(0, [])
    columns: list[list[Array]] = [[], [], []]
    for first, records in _pieces(job, layout, "sign", "ids", partition):
        low, high, rows = map(numbers, records.columns)
        for column, values in zip(columns, (low, high, rows.astype(np.int64) + first), strict=True):
            column.append(values)
    none = np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    low, high, positions = (
        np.concatenate([*c, zero]) for c, zero in zip(columns, none, strict=True)
    )
    return repeated_ids(low, high, positions, layout.rows)


def id_report(
    job: Job, layout: Layout, signed: dict[int, dict[str, Any]], buckets: dict[int, dict[str, Any]]
) -> dict[str, Any] | None:
    """What there is to say of ids: rows without one, rows whose id an earlier row has, examples."""
    if job.settings.id is None:
        return None
    pairs = [tuple(pair) for result in buckets.values() for pair in result["repeated_examples"]]
    examples = []
    for pair in sorted(pairs)[:EXAMPLES]:
        task = int(np.searchsorted(layout.task_starts, pair[0], side="right")) - 1
        ids = _signed(job, task, None).column("id")
        rows = [
            [job.shards[shard].path, position - int(layout.shard_starts[shard])]
            for position in pair
            for shard in [int(np.searchsorted(layout.shard_starts, position, side="right")) - 1]
        ]
        examples.append({"id": str(ids[pair[0] - int(layout.task_starts[task])]), "rows": rows})
    return {
        "missing": sum(result["missing_ids"] for result in signed.values()),
        "repeated": sum(result["repeated_ids"] for result in buckets.values()),
        "examples": examples,
    }


def join_task(job: Job, layout: Layout, task: int) -> dict[str, Any]:
    """Connect the rows of a block with those of it and before it that are similar; leaves `edges`.

    A block that memory does not hold is joined a part after the other.
    """
    first, end = layout.task_starts[[layout.blocks[task], layout.blocks[task + 1]]].tolist()
    written = write_batches(
        job.work.data("join", task, "edges"), EDGES, _joined(job, layout, first, end)
    )
    return {"rows": end - first, "bytes": written}


def _joined(job: Job, layout: Layout, start: int, end: int) -> Iterator[pa.RecordBatch]:
    """Edges between the rows from one position to another, and from these to all before."""
    while start < end:
        start = yield from _block_joined(job, layout, start, end)


def _block_joined(
    job: Job, layout: Layout, start: int, end: int
) -> Generator[pa.RecordBatch, None, int]:
    """The same of as many of these rows as fit memory; the position behind them."""
    block = _read_block(job, layout, start, end)
    if len(block) == 0:
        raise IntegrityError(f"{end - start} rows are missing at position {start}")
    held, count = [tuple(start + part for part in block.within())], 0
    for first, offsets, hashes in _sets_between(job, layout, 0, start):
        sets, rows = block.edges(offsets, hashes)
        held.append((first + sets, start + rows))
        count += len(sets)
        if count > EDGE_BATCH:
            yield _edge_batch(held)
            held, count = [], 0
    yield _edge_batch(held)
    return start + len(block)


def _edge_batch(parts: list[tuple[Array, ...]]) -> pa.RecordBatch:
    none = np.zeros(0, np.int64)
    left, right = zip((none, none), *parts, strict=True)
    columns = [pa.array(np.concatenate(column)) for column in (left, right)]
    return pa.RecordBatch.from_arrays(columns, schema=EDGES)


def _read_block(job: Job, layout: Layout, start: int, end: int) -> JoinBlock:
    """The rows from a position on as a block, up to `end` or as many as fit."""
    from dedupe.stages.join import JoinBlock  # here, since few runs need its kernels

    threshold = job.settings.threshold
    room = planning.join_room(job.sizes.task_memory * 2 // 3, threshold)
    sizes: list[Array] = [np.zeros(0, np.int64)]
    hashes: list[Array] = []
    rows = shingles = 0
    for _, offsets, values in _sets_between(job, layout, start, end):
        rows, shingles = rows + len(offsets) - 1, shingles + len(values)
        if hashes and planning.join_bytes(shingles, rows, threshold) > room:
            break
        sizes.append(np.diff(offsets))
        hashes.append(values)
    return JoinBlock.of(sizes, hashes, threshold)


def _sets_between(
    job: Job, layout: Layout, start: int, end: int
) -> Iterator[tuple[int, Array, Array]]:
    """(position of the first, offsets, hashes) of the shingle sets of rows, some at a time."""
    batch_bytes = min(job.sizes.batch_bytes, planning.JOIN_BATCH)
    for task, slices in enumerate(job.tasks):
        for part, first, last in zip(
            slices, layout.slice_starts[task][:-1], layout.slice_starts[task][1:], strict=True
        ):
            low, high = max(start, int(first)), min(end, int(last))
            if low >= high:
                continue
            some = None if (low, high) == (first, last) else np.arange(low, high) - first
            for batch in read_slice(
                job.shards[part.shard],
                part,
                Projection(job.document.template),
                batch_bytes=batch_bytes,
                rows=some,
            ):
                yield low, *shingle_sets(batch.column(0), job.settings)
                low += batch.num_rows


def link_task(job: Job, layout: Layout, task: int) -> dict[str, Any]:
    """Merge the edges of some tasks to a forest; the last task, of the rest to components.

    Leaves `edges`, and the last one `labels`, a record batch for each sign task.
    """
    merge = planning.merge_tree(job.sizes.partitions, layout.joins)[task]
    finder = ComponentFinder(layout.rows)
    for edges in _edges(job, merge):
        finder.mark(edges)
    members = finder.count()
    planning.check_link(job.sizes, layout.rows, members, last=merge.last)
    finder.connect(_edges(job, merge))
    if merge.last:
        kind, schema, batches = "labels", LABELS, finder.labels(layout.task_starts)
    else:
        kind, schema, batches = "edges", EDGES, finder.forest(EDGE_BATCH)
    written = write_batches(job.work.data("link", task, kind), schema, batches)
    partitions = planning.component_partitions(
        job.sizes, members, layout.shingles / max(layout.rows, 1)
    )
    return {"rows": members, "partitions": partitions, "bytes": written}


def _edges(job: Job, merge: planning.Merge) -> Iterator[pa.RecordBatch]:
    for task in merge.sources:
        with open_batches(job.work.data(merge.stage, task, "edges")) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)


def label_task(job: Job, layout: Layout, partitions: int, task: int) -> dict[str, Any]:
    """Bring the rows of a sign task that are in components to their partition; leaves `rows`."""
    root = planning.merge_tree(job.sizes.partitions, layout.joins)[-1].task
    (labels,) = read_pieces([job.work.data("link", root, "labels")], task)
    signed = _signed(job, task, _id_type(job, layout))
    batches = route(labels, signed, partitions)
    written = write_batches(job.work.data("label", task, "rows"), labeled(signed.schema), batches)
    return {"rows": labels.num_rows, "bytes": written}


def group_task(job: Job, layout: Layout, partition: int) -> dict[str, Any]:
    """Group the rows of a partition of components by digest; leaves `members` and `wanted`."""
    grouped = group(list(_pieces(job, layout, "label", "rows", partition)), layout.task_starts)
    members = grouped.members
    written = write_batches(job.work.data("group", partition, "members"), members.schema, [members])
    written += write_batches(
        job.work.data("group", partition, "wanted"), ROWS_TO_FETCH, grouped.to_fetch
    )
    return {
        "rows": members.num_rows,
        "components": grouped.components,
        "largest_component": grouped.largest,
        "set_hashes": grouped.set_hashes,
        "bytes": written,
    }


def shingle_task(job: Job, layout: Layout, partitions: int, task: int) -> dict[str, Any]:
    """Make the shingle sets that verification needs of the rows of a sign task; leaves `sets`."""
    files = [job.work.data("group", partition, "wanted") for partition in range(partitions)]
    wanted = [numbers(batch.column("row")) for batch in read_pieces(files, task)]
    rows, partition = rows_to_fetch(wanted, int(np.diff(layout.task_starts)[task]))
    limit = job.sizes.run_bytes // (planning.SET_COPIES * planning.SHINGLE_HASH_BYTES)
    hashes: list[Array] = []
    sizes: list[Array] = []
    done = made = 0
    with Runs(job.work.spool) as runs:
        for bounds, values in _shingle(job, layout, task, rows):
            if sum(map(len, hashes)) > limit:
                runs.add(_sets(rows[done:made], partition[done:made], sizes, hashes, partitions))
                hashes, sizes, done = [], [], made
            hashes.append(values)
            sizes.append(np.diff(bounds))
            made += len(bounds) - 1
        if made != len(rows):
            raise IntegrityError(f"{len(rows)} rows wanted of sign task {task}, {made} read")
        runs.add(_sets(rows[done:], partition[done:], sizes, hashes, partitions))
        written = write_batches(job.work.data("shingle", task, "sets"), SETS, runs.merged())
    return {"rows": len(rows), "bytes": written}


def _shingle(job: Job, layout: Layout, task: int, rows: Array) -> Iterator[tuple[Array, Array]]:
    """The shingle sets of rows of a sign task, a batch at a time: see `shingle_sets`."""
    starts = layout.slice_starts[task] - layout.task_starts[task]
    for number, part in enumerate(job.tasks[task]):
        first, end = np.searchsorted(rows, starts[number : number + 2])
        if first == end:
            continue
        for batch in read_slice(
            job.shards[part.shard],
            part,
            Projection(job.document.template),
            batch_bytes=job.sizes.batch_bytes,
            rows=rows[first:end] - starts[number],
        ):
            yield shingle_sets(batch.column(0), job.settings)


def _sets(
    rows: Array, partition: Array, sizes: list[Array], hashes: list[Array], partitions: int
) -> list[pa.RecordBatch]:
    values = np.concatenate([*hashes, np.zeros(0, np.uint64)])
    return list(set_batches(rows, partition, _offsets(sizes), values, partitions))


def verify_task(job: Job, layout: Layout, hashes: list[int], partition: int) -> dict[str, Any]:
    """Decide the rows of one partition of components; leaves `decisions`.

    hashes: for each partition an upper bound of the shingle hashes in it.
    """
    (members,) = read_pieces([job.work.data("group", partition, "members")], 0)
    with job.work.spool() as spool:
        sets = _read_sets(job, layout, partition, hashes[partition], spool)
        verified = verify(job.settings, members, sets, job.sizes.set_bytes, layout.rows)
    batches = cut_decisions(verified.decisions, layout.keep_starts)
    written = write_batches(
        job.work.data("verify", partition, "decisions"), verified.decisions.schema, batches
    )
    return {"rows": members.num_rows, "compared": verified.compared, "bytes": written}


def _read_sets(
    job: Job, layout: Layout, partition: int, most: int, spool: IO[bytes]
) -> ShingleSets:
    """The shingle sets of one partition from all tasks, of at most `most` hashes.

    Those of a component too large for memory are spooled to a file and mapped.
    """
    spooled = most * planning.SHINGLE_HASH_BYTES > 2 * job.sizes.set_bytes
    hashes = np.empty(0 if spooled else most, np.uint64)
    positions, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    at = 0
    for first, batch in _pieces(job, layout, "shingle", "sets", partition):
        lists = batch.column("hashes")
        values = numbers(lists.flatten())
        if at + len(values) > most:
            raise IntegrityError(f"more than {most} shingle hashes in partition {partition}")
        if spooled:
            values.tofile(spool)
        else:
            hashes[at : at + len(values)] = values
        at += len(values)
        positions.append(numbers(batch.column("row")).astype(np.int64) + first)
        sizes.append(np.diff(numbers(lists.offsets)))
    if spooled and at:
        spool.flush()
        hashes = np.memmap(spool, np.uint64, "r")
    return ShingleSets(np.concatenate(positions), _offsets(sizes), hashes[:at])


def _offsets(sizes: list[Array]) -> Array:
    return np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))


def _pieces(
    job: Job, layout: Layout, stage: str, kind: str, number: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(first position, record batch `number`) of what a stage left for each sign task with rows."""
    tasks = layout.filled()
    files = [job.work.data(stage, task, kind) for task in tasks]
    return zip(layout.task_starts[tasks].tolist(), read_pieces(files, number), strict=True)


def keep_task(job: Job, layout: Layout, partitions: int, task: int) -> dict[str, Any]:
    """Write the keep-lists of some neighbouring shards, which must not have changed."""
    paths = pa.array([one.path for one in job.shards], pa.string())
    counts = np.zeros(len(REASONS), np.int64)
    sizes = []
    id_type = _id_type(job, layout)
    signed = lru_cache(maxsize=1)(partial(_signed, job, id_type=id_type))  # slices have neighbours
    schema = keep_list_schema(id_type)
    decisions = _decisions(job, partitions, task, with_id(DECISIONS, "witness_id", id_type))
    first, end = layout.keep_shards[task], layout.keep_shards[task + 1]
    for shard in range(first, end):
        batches = _keep_batches(
            layout, decisions, shard, paths, signed, least_jaccard(job.settings)
        )
        with (
            writing(job.work.keep(keep_file(job.shards[shard]))) as sink,
            pq.ParquetWriter(sink, schema, compression="zstd") as writer,
        ):
            for group in _row_groups(schema, batches):
                writer.write_table(group, row_group_size=KEEP_GROUP_ROWS)
                for chunk in group.column("reason").chunks:
                    counts += np.bincount(numbers(chunk.indices), minlength=len(REASONS))
            writer.close()
            sizes.append(sink.tell())
        job.shards[shard].check_unchanged()
    rows = int(layout.shard_starts[end] - layout.shard_starts[first])
    if counts.sum() != rows:
        raise IntegrityError(
            f"{rows} rows in, {counts.sum()} rows out of {job.shards[first].path} and next"
        )
    return {
        "rows": rows,
        "decided": decisions.num_rows,
        "reasons": counts.tolist(),
        "sizes": sizes,
        "bytes": sum(sizes),
    }


def _decisions(job: Job, partitions: int, task: int, schema: pa.Schema) -> pa.Table:
    """The decisions on the rows of a keep task, by position."""
    files = [job.work.data("verify", partition, "decisions") for partition in range(partitions)]
    parts = [batch for batch in read_pieces(files, task) if batch.num_rows]
    return pa.Table.from_batches(parts, schema=schema).sort_by("position").combine_chunks()


def _id_type(job: Job, layout: Layout) -> pa.DataType | None:
    """Type of the ids in every keep-list of the run; None where no id column was named."""
    if job.settings.id is None:
        return None
    if layout.id_task is None:
        return pa.null()
    with open_batches(job.work.data("sign", layout.id_task, "rows")) as reader:
        return reader.schema.field("id").type


def _signed(job: Job, task: int, id_type: pa.DataType | None) -> pa.RecordBatch:
    """What sign left for the rows of a task, ids as that type; mapped for as long as it is used."""
    with open_batches(job.work.data("sign", task, "rows")) as reader:
        rows = reader.get_batch(0)
    if id_type is not None:
        at = rows.schema.get_field_index("id")
        rows = rows.set_column(at, pa.field("id", id_type), as_type(rows.column(at), id_type))
    return rows


def _keep_batches(
    layout: Layout,
    decisions: pa.Table,
    shard: int,
    paths: pa.Array,
    signed: Callable[[int], pa.RecordBatch],
    least: float,
) -> Iterator[pa.RecordBatch]:
    """The keep-list of a shard, a slice at a time; least: see `least_jaccard`."""
    starts = layout.shard_starts
    positions = numbers(decisions.column("position"))
    mine = decisions.slice(*_span(np.searchsorted(positions, starts[shard : shard + 2])))
    dropped = mine.filter(pc.not_equal(mine["witness"], mine["position"]))
    witnesses = Witnesses.of(numbers(dropped["witness"]), starts, paths)
    for task, number in layout.slices_of[shard]:
        first, end = layout.slice_starts[task][number : number + 2].tolist()
        if first == end:
            continue
        start = int(layout.task_starts[task])
        own = signed(task).slice(first - start, end - first)
        ids = own.column("id") if "id" in own.schema.names else None
        rows = ShardRows(first, numbers(own.column("shingles")), ids)
        decided = decisions.slice(*_span(np.searchsorted(positions, [first, end])))
        yield keep_list(rows, Decided.of(decided), starts, witnesses, least)


def _span(bounds: Array) -> tuple[int, int]:
    """(offset, length) of what lies between two bounds."""
    return int(bounds[0]), int(bounds[1] - bounds[0])


def _row_groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in row groups of one size and chunk: a file does not show how it was cut."""
    held: list[pa.RecordBatch] = []
    room = KEEP_GROUP_ROWS
    for batch in batches:
        rest = batch
        while rest.num_rows > room:
            yield pa.Table.from_batches([*held, rest.slice(0, room)]).combine_chunks()
            rest = rest.slice(room)
            held, room = [], KEEP_GROUP_ROWS
        held.append(rest)
        room -= rest.num_rows
    yield pa.Table.from_batches(held, schema=schema).combine_chunks()


def keep_file(shard: Shard) -> str:
    """Name of a shard's keep-list file: its ordinal keeps the names apart and in order."""
    name = file_name(shard.path)
    while Path(name).suffix in KNOWN_SUFFIXES:
        name = Path(name).stem
    return f"{shard.ordinal:05d}-{name[:LONGEST_NAME] or 'shard'}.parquet"


def check_types(job: Job, kinds: ColumnTypes) -> None:
    """Refuse ids or scores of several types: they could not be told apart, or ordered, as one."""
    for role, found in kinds.items():
        if len(found) > 1:
            (kind, shard), (other, where) = list(found.items())[:2]
            name = "ids" if role == "id" else "scores"
            raise CorpusError(
                f'column "{job.settings.roles[role]}" is {other} here and {kind} in '
                f"{job.shards[shard].path}: the {name} of a run must have one type",
                path=job.shards[where].path,
            )
