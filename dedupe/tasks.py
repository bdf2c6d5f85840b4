"""What one task of each stage does, in order: sign, bucket, link, shingle, verify, keep.

Each is a function of the job, what earlier stages left, and the number of the task. It reads the
corpus or the work directory, calls the pure stage of its name, leaves its data in the work
directory and returns what the driver needs to know, as plain values for JSON. Run twice, it leaves
the same again.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe import planning
from dedupe.arrays import Array, numbers
from dedupe.config import Settings
from dedupe.corpus import KNOWN_SUFFIXES, Shard, Slice, first_row, read_slice
from dedupe.errors import CorpusError, IntegrityError
from dedupe.lsh import Banding
from dedupe.schema import DECISIONS, MEMBERS, REASONS
from dedupe.stages.bucket import bucket
from dedupe.stages.keep import Decided, Rows, keep_list
from dedupe.stages.link import HASH_BYTES, Linker, Members, hand_over
from dedupe.stages.shingle import set_batches, shingle_sets
from dedupe.stages.sign import MalformedTextError, Signed, Signer, band_batches, rows_batch
from dedupe.stages.verify import Sets, verify
from dedupe.storage import WorkDir, open_batches, replacing, write_batches

Kinds = dict[str, dict[str, int]]
"""For "id" and "score" the types of that column, each with a shard that has it."""

LONGEST_NAME = 50
"""Characters of a shard's name in that of its keep-list file."""

KEEP_GROUP_ROWS = 1 << 17
"""Rows in a row group of a keep-list file."""


@dataclass(frozen=True)
class Job:
    """All that a task needs to know, besides its number."""

    settings: Settings
    banding: Banding
    shards: list[Shard]
    tasks: list[list[Slice]]
    sizes: planning.Cut
    work: WorkDir

    @property
    def columns(self) -> list[str]:
        """Columns that sign reads: text, then id, then score."""
        extra = (self.settings.id, self.settings.score_column)
        return [self.settings.text, *(name for name in extra if name is not None)]


@dataclass(frozen=True)
class Layout:
    """Where the rows are: positions at which tasks, slices and shards start, each with the end.

    slices_of: for each shard its slices as (task, number in the task), in order. id_task: a sign
    task that found ids.
    """

    task_starts: Array
    slice_starts: list[Array]
    shard_starts: Array
    slices_of: list[list[tuple[int, int]]]
    id_task: int | None

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
            (task for task in range(len(job.tasks)) if signed[task]["kinds"]["id"]), None
        )
        return cls(task_starts, slice_starts, shard_starts, slices_of, id_task)

    @property
    def rows(self) -> int:
        """Rows in the corpus."""
        return int(self.task_starts[-1])

    def filled(self) -> Iterator[tuple[int, int, int]]:
        """(task, first position, end) of every sign task that has rows."""
        for task in range(len(self.task_starts) - 1):
            first, end = int(self.task_starts[task]), int(self.task_starts[task + 1])
            if end > first:
                yield task, first, end


def sign_task(job: Job, task: int) -> dict[str, Any]:
    """Sign the rows of some slices; leaves `rows` and `bands`."""
    signer = Signer(job.settings, job.banding)
    parts: list[Signed] = []
    counts = []
    kinds: Kinds = {"id": {}, "score": {}}
    totals = Counter(text_bytes=0, replaced=0)
    for part in job.tasks[task]:
        shard = job.shards[part.shard]
        rows = 0
        for batch in read_slice(shard, part, job.columns, batch_bytes=job.sizes.batch_bytes):
            try:
                signed = signer.sign(batch)
            except MalformedTextError as error:
                raise CorpusError(
                    f'column "{job.settings.text}" is not valid UTF-8 at byte {error.byte}: '
                    "mend it, or run with --on-bad-text replace",
                    path=shard.path,
                    row=first_row(shard, part) + rows + error.row,
                ) from None
            for role, kind in signed.kinds.items():
                kinds[role].setdefault(kind, part.shard)
            check_kinds(job, kinds)
            parts.append(signed)
            rows += batch.num_rows
            totals["text_bytes"] += signed.text_bytes
            totals["replaced"] += signed.replaced
        counts.append(rows)
    written = 0
    if sum(counts):
        batch = rows_batch(job.settings, parts)
        written = write_batches(job.work.data("sign", task, "rows"), batch.schema, [batch])
        bands = list(band_batches(parts, job.sizes.partitions))
        written += write_batches(job.work.data("sign", task, "bands"), bands[0].schema, bands)
    return {"rows": sum(counts), "slices": counts, "bytes": written, "kinds": kinds, **totals}


def bucket_task(job: Job, layout: Layout, partition: int) -> dict[str, Any]:
    """Group the band records of one partition; leaves `edges`."""
    keys, positions = [], []
    for task, first, _ in layout.filled():
        with open_batches(job.work.data("sign", task, "bands")) as reader:
            records = reader.get_batch(partition)
        keys.append(numbers(records.column("key")))
        positions.append(numbers(records.column("row")).astype(np.int64) + first)
    buckets = bucket(keys, positions, job.sizes.partitions)
    edges = buckets.edges
    written = write_batches(job.work.data("bucket", partition, "edges"), edges.schema, [edges])
    return {
        "records": buckets.records,
        "edges": edges.num_rows,
        "largest_bucket": buckets.largest,
        "bytes": written,
        "rows": 0,
    }


def link_task(job: Job, layout: Layout, _task: int) -> dict[str, Any]:
    """Merge all edges to components; leaves `members` and `wanted`."""
    linker = Linker(layout.rows)
    for edges in _edges(job):
        linker.name(edges)
    positions, roots = linker.join(_edges(job))
    known: dict[str, list[Array]] = {
        name: [] for name in ("digest_low", "digest_high", "shingles", "order")
    }
    for task, local in _by_task(layout, positions):
        with open_batches(job.work.data("sign", task, "rows"), mapped=True) as reader:
            rows = reader.get_batch(0)
            for name, parts in known.items():
                if name in rows.schema.names:
                    parts.append(numbers(rows.column(name))[local])
                else:
                    parts.append(np.zeros(len(local), np.uint64))
    columns = [np.concatenate([*parts, np.zeros(0, np.uint64)]) for parts in known.values()]
    handover = hand_over(Members(positions, roots, *columns), job.sizes.set_bytes)
    written = write_batches(
        job.work.data("link", 0, "members"),
        MEMBERS,
        handover.members,
    )
    written += write_batches(
        job.work.data("link", 0, "wanted"), handover.wanted.schema, [handover.wanted]
    )
    return {
        "rows": len(positions),
        "components": handover.components,
        "largest_component": handover.largest,
        "set_hashes": handover.set_hashes,
        "wanted": handover.wanted.num_rows,
        "bytes": written,
    }


def _edges(job: Job) -> Iterator[pa.RecordBatch]:
    for partition in range(job.sizes.partitions):
        with open_batches(job.work.data("bucket", partition, "edges")) as reader:
            yield reader.get_batch(0)


def shingle_task(job: Job, layout: Layout, partitions: int, task: int) -> dict[str, Any]:
    """Make the shingle sets that verification needs of the rows of a sign task; leaves `sets`."""
    with open_batches(job.work.data("link", 0, "wanted"), mapped=True) as reader:
        wanted = reader.get_batch(0)
        all_positions = numbers(wanted.column("position"))
        first, last = np.searchsorted(all_positions, layout.task_starts[[task, task + 1]])
        positions = all_positions[first:last].copy()
        partition = numbers(wanted.column("partition"))[first:last].copy()
    hashes, sizes = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    starts = layout.slice_starts[task]
    for number, part in enumerate(job.tasks[task]):
        within = positions[np.searchsorted(positions, starts[number]) :]
        within = within[: np.searchsorted(within, starts[number + 1])]
        if len(within) == 0:
            continue
        for batch in read_slice(
            job.shards[part.shard],
            part,
            [job.settings.text],
            batch_bytes=job.sizes.batch_bytes,
            rows=within - starts[number],
        ):
            bounds, values = shingle_sets(batch.column(0), job.settings)
            hashes.append(values)
            sizes.append(np.diff(bounds))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    if len(offsets) - 1 != len(positions):
        raise IntegrityError(
            f"{len(positions)} rows wanted of sign task {task}, {len(offsets) - 1} read"
        )
    batches = set_batches(positions, partition, offsets, np.concatenate(hashes), partitions)
    first_batch = next(batches)
    written = write_batches(
        job.work.data("shingle", task, "sets"),
        first_batch.schema,
        chain([first_batch], batches),
    )
    return {"rows": len(positions), "bytes": written}


def verify_task(job: Job, layout: Layout, hashes: list[int], partition: int) -> dict[str, Any]:
    """Decide the rows of one partition of components; leaves `decisions`.

    hashes: for each partition an upper bound of the shingle hashes in it.
    """
    with open_batches(job.work.data("link", 0, "members")) as reader:
        members = reader.get_batch(partition)
    sets = _read_sets(job, layout, partition, hashes[partition])
    verified = verify(job.settings, members, sets, job.sizes.set_bytes)
    decisions = verified.decisions
    written = write_batches(
        job.work.data("verify", partition, "decisions"), decisions.schema, [decisions]
    )
    return {"rows": members.num_rows, "compared": verified.compared, "bytes": written}


def _read_sets(job: Job, layout: Layout, partition: int, most: int) -> Sets:
    """The shingle sets of one partition from all tasks, of at most `most` hashes.

    Those of a component too large for memory are spooled to a file and mapped.
    """
    spool = most * HASH_BYTES > 2 * job.sizes.set_bytes
    hashes = np.empty(0 if spool else most, np.uint64)
    positions, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    at = 0
    with tempfile.TemporaryFile(dir=job.work.root) as file:
        for task, _, _ in layout.filled():
            path = job.work.data("shingle", task, "sets")
            if not path.exists():
                continue
            with open_batches(path) as reader:
                batch = reader.get_batch(partition)
            lists = batch.column("hashes")
            values = numbers(lists.flatten())
            if spool:
                values.tofile(file)
            else:
                hashes[at : at + len(values)] = values
            at += len(values)
            positions.append(numbers(batch.column("position")))
            sizes.append(np.diff(numbers(lists.offsets)))
        if spool and at:
            file.flush()
            hashes = np.memmap(file, np.uint64, "r")
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    return Sets(np.concatenate(positions), offsets, hashes[:at])


def keep_task(job: Job, layout: Layout, partitions: int, shards: tuple[int, int]) -> dict[str, Any]:
    """Write the keep-lists of shards first to last - 1."""
    paths = pa.array([one.path for one in job.shards], pa.string())
    counts = np.zeros(len(REASONS), np.int64)
    written = 0
    decisions = _decisions(job, partitions, *layout.shard_starts[list(shards)].tolist())
    id_type = _id_type(job, layout)
    for shard in range(*shards):
        target = job.work.root / "keep" / keep_file(job.shards[shard])
        with replacing(target) as beside:
            groups = _row_groups(_keep_batches(job, layout, decisions, shard, paths, id_type))
            first = next(groups)
            with pq.ParquetWriter(beside, first.schema, compression="zstd") as writer:
                for group in chain([first], groups):
                    writer.write_table(group, row_group_size=KEEP_GROUP_ROWS)
                    for chunk in group.column("reason").chunks:
                        codes = numbers(chunk.indices)
                        counts += np.bincount(codes, minlength=len(REASONS))
            written += beside.stat().st_size
    rows = int(layout.shard_starts[shards[1]] - layout.shard_starts[shards[0]])
    if counts.sum() != rows:
        raise IntegrityError(
            f"{rows} rows in, {counts.sum()} rows out of {job.shards[shards[0]].path} and next"
        )
    return {"rows": rows, "reasons": counts.tolist(), "bytes": written}


def _decisions(job: Job, partitions: int, first: int, end: int) -> pa.Table:
    """The decisions on rows first to end - 1, by position."""
    parts = []
    for partition in range(partitions):
        with open_batches(job.work.data("verify", partition, "decisions"), mapped=True) as reader:
            batch = reader.get_batch(0)
            low, high = np.searchsorted(numbers(batch.column("position")), [first, end])
            if high > low:
                parts.append(batch.take(pa.array(np.arange(low, high))))
    return pa.Table.from_batches(parts, schema=DECISIONS).sort_by("position").combine_chunks()


def _id_type(job: Job, layout: Layout) -> pa.DataType | None:
    """Type of the ids in every keep-list of the run; None where no id column was named."""
    if job.settings.id is None:
        return None
    if layout.id_task is None:
        return pa.null()
    with open_batches(job.work.data("sign", layout.id_task, "rows"), mapped=True) as reader:
        return reader.schema.field("id").type


def _keep_batches(
    job: Job,
    layout: Layout,
    decisions: pa.Table,
    shard: int,
    paths: pa.Array,
    id_type: pa.DataType | None,
) -> Iterator[pa.RecordBatch]:
    """The keep-list of a shard, a slice at a time; one empty batch for a shard without rows."""
    positions = numbers(decisions.column("position")) if decisions.num_rows else np.zeros(0)
    for task, number in layout.slices_of[shard]:
        first, end = layout.slice_starts[task][number : number + 2].tolist()
        if first == end:
            continue
        start = int(layout.task_starts[task])
        with open_batches(job.work.data("sign", task, "rows"), mapped=True) as reader:
            signed = reader.get_batch(0).slice(first - start, end - first)
            ids = None if id_type is None else signed.column("id").cast(id_type)
            rows = Rows(first, numbers(signed.column("shingles")), ids)
            low, high = np.searchsorted(positions, [first, end])
            found = decisions.slice(low, high - low)
            witnesses = numbers(found.column("witness"))
            witness_ids = None if id_type is None else _ids_at(job, layout, witnesses, id_type)
            decided = Decided.of(found, witness_ids)
            yield keep_list(rows, decided, layout.shard_starts, paths)
    if layout.shard_starts[shard] == layout.shard_starts[shard + 1]:
        ids = None if id_type is None else pa.nulls(0, id_type)
        nothing = Decided.of(DECISIONS.empty_table(), ids)
        position = int(layout.shard_starts[shard])
        yield keep_list(
            Rows(position, np.zeros(0, np.uint32), ids), nothing, layout.shard_starts, paths
        )


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
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
    yield pa.Table.from_batches(held).combine_chunks()


def _ids_at(job: Job, layout: Layout, positions: Array, kind: pa.DataType) -> pa.Array:
    """The ids of the rows at these positions, as that type."""
    order = np.argsort(positions, kind="stable")
    parts = []
    for task, local in _by_task(layout, positions[order]):
        with open_batches(job.work.data("sign", task, "rows"), mapped=True) as reader:
            ids = reader.get_batch(0).column("id")
            parts.append(ids.take(pa.array(local)).cast(kind))
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_arrays(parts).take(pa.array(back)) if parts else pa.nulls(0, kind)


def _by_task(layout: Layout, positions: Array) -> Iterator[tuple[int, Array]]:
    """(sign task, row numbers in it) of positions in increasing order."""
    bounds = np.searchsorted(positions, layout.task_starts)
    for task, start in enumerate(layout.task_starts[:-1]):
        if bounds[task + 1] > bounds[task]:
            yield task, positions[bounds[task] : bounds[task + 1]] - start


def keep_file(shard: Shard) -> str:
    """Name of a shard's keep-list file: its ordinal keeps the names apart and in order."""
    name = Path(shard.path).name
    while Path(name).suffix in KNOWN_SUFFIXES:
        name = Path(name).stem
    return f"{shard.ordinal:05d}-{name[:LONGEST_NAME] or 'shard'}.parquet"


def check_kinds(job: Job, kinds: Kinds) -> None:
    """Refuse ids or scores of several types: they could not be told apart, or ordered, as one."""
    columns = {"id": job.settings.id, "score": job.settings.score_column}
    for role, found in kinds.items():
        if len(found) > 1:
            (kind, shard), (other, where) = list(found.items())[:2]
            raise CorpusError(
                f'column "{columns[role]}" is {other} here and {kind} in {job.shards[shard].path}: '
                f"the {role}s of a run must have one type",
                path=job.shards[where].path,
            )
