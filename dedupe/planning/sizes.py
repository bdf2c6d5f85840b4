"""How a run is cut into tasks, and what that takes: integers only, no files.

Every constant below says what it is a measure of; `dedupe plan` prints what comes of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dedupe.config import Resources
from dedupe.errors import SettingsError

Part = TypeVar("Part")

TASK_TEXT = 64_000_000
"""Bytes of text in a sign task: long enough to hide its overhead, short enough to redo."""
SHARD_BYTES = 250_000
"""Bytes of text that take as long as it takes to open a shard: 2 ms (Parquet, local disk)."""
TASK_ROWS = 1 << 18
"""Rows in a sign task, for corpora of very short rows."""
SIGNED_ROW_BYTES = 100
"""Memory of sign for each row of a task: what it knows of it, twice; more with ids."""
MOST_ROWS = 1 << 30
"""Rows in any sign task: band records count them in 32 bits."""
SIGNED_BYTES = 40
"""Memory of sign for each band key of a task: made, gathered, ordered by partition."""
RECORD_BYTES = 10
"""A band record on disk: key and row."""
BUCKET_RECORDS = 1 << 22
"""Band records in a bucket task, unless memory is short: it reads a piece of every sign task."""
SMALL_BUCKET_RECORDS = 1 << 18
"""Band records from which a bucket task is worth having, where workers are idle otherwise."""
BUCKET_BYTES = 48
"""Memory of a bucket task for each of its band records: read, copied by share, edges."""
ROW_BYTES = 20
"""sign's other columns on disk for each row: digest and number of shingles."""
EDGE_BYTES = 115
"""Edges on disk for each row in a component: 16 bytes, and about seven buckets that it shares."""
MEMBER_DISK_BYTES = 120
"""Labels, members and decisions on disk for each row in a component."""
LAST_LINK_BYTES = 8
"""Memory of the last link task for each row in a component."""
JOIN_HASH_BYTES = 14
"""Memory of a join task for each shingle hash of its block: the hash, room to bring them together,
counters."""
JOIN_POSTING_BYTES = 40
"""And for each of a prefix: two concurrency of the index, a posting, bits of the bitmap."""
JOIN_ROW_BYTES = 100
"""And for each row: its place, copies, the union-find."""
JOIN_SHINGLES = (1 << 32) - (1 << 24)
"""Most shingles of a block: its index numbers their postings in 32 bits."""
JOIN_BATCH = 4_000_000
"""Text that passes by a block at a time, unless memory is short."""
MERGE_BYTES = 16
"""Memory of any other link task for each row that its edges name."""
FAN_IN = 8
"""Files of edges that a link task merges."""
SET_TASK_BYTES = 256_000_000
"""Memory of a verify task, unless there would be too many of them or memory is short."""
MEMBER_BYTES = 130
"""Memory of verify for each row, besides its shingle set."""
SHINGLE_HASH_BYTES = 8
"""A shingle in verify."""
VERIFY_TASKS = 32
"""Partitions of components that are made even where fewer would fit memory: work to share out."""
SMALL_PARTITION_BYTES = 4_000_000
"""But none smaller than this."""
MOST_TASKS = 500
"""Tasks of a stage from which tasks grow instead, as memory allows: most stages read a piece of
what each task of an earlier one left, so that the pieces are as many as the square of this. On an
object store they cost more than idle workers do (docs/explanation/scaling.md)."""
BASE_BYTES = 300_000_000
"""Interpreter, libraries, kernels, decoding."""
TEXT_COPIES = 6
"""Memory of a worker reading a batch, in sizes of the batch's text: file, decoded, scratch."""
SHINGLE_BYTES = {"word": 1.4, "char": 8.0}
"""Bytes of shingle hashes for each byte of text: 8 for a token of about 5.7, or for a character."""
SET_COPIES = 4
"""Memory of a shingle task, in sizes of its hashes: made, gathered, ordered, written."""


@dataclass(frozen=True)
class TaskSizes:
    """Sizes of a run's tasks.

    batch_bytes: text decoded at a time by one task. task_text, task_rows: text bytes and rows of a
    sign task, whichever is reached first. run_bytes: memory of what a task hands on, before it goes
    to disk. partitions: of the band keys' space. set_bytes: memory of
    one verify task. task_memory: of any task; memory: of a task that runs alone in its process.
    partition_bytes, block_bytes, concurrency: memory of verify, of a block of join, and tasks at a time,
    as they were when the run began; the partitions of components and the blocks follow from them.
    """

    batch_bytes: int
    task_text: int
    task_rows: int
    run_bytes: int
    partitions: int
    set_bytes: int
    task_memory: int
    memory: int
    partition_bytes: int
    block_bytes: int
    concurrency: int


def task_sizes(resources: Resources, bands: int, corpus_bytes: int, unit: str) -> TaskSizes:
    """Cut a corpus of about `corpus_bytes`, but for its key space (see `key_partitions`).

    unit: what shingles are made of, "word" or "char". Raises SettingsError where memory does not
    suffice.
    """
    share = (resources.memory - BASE_BYTES) // resources.threads
    batch = min(16_000_000, share // (4 * TEXT_COPIES))
    if batch < 500_000:
        need = BASE_BYTES + resources.threads * 4 * TEXT_COPIES * 500_000
        raise SettingsError(
            f"{resources.threads} workers need {need / 1e6:.0f}MB of memory and have "
            f"{resources.memory / 1e6:.0f}MB: raise --memory or lower --workers"
        )
    text = max(TASK_TEXT, corpus_bytes // MOST_TASKS)
    rows = min(TASK_ROWS * text // TASK_TEXT, max(TASK_ROWS, share // 3 // SIGNED_ROW_BYTES))
    set_bytes = max(min(share // 4, max(SET_TASK_BYTES, corpus_bytes // MOST_TASKS)), 4_000_000)
    return TaskSizes(
        batch_bytes=batch,
        task_text=text,
        task_rows=min(rows, MOST_ROWS),
        run_bytes=share // 3,
        partitions=1,
        set_bytes=set_bytes,
        task_memory=share,
        memory=resources.memory - BASE_BYTES,
        partition_bytes=set_bytes,
        block_bytes=share * 2 // 3,
        concurrency=resources.concurrency,
    )


def key_partitions(sizes: TaskSizes, records: int) -> int:
    """Partitions of the key space for so many band records."""
    fits = max(sizes.task_memory // 2 // BUCKET_BYTES, 1)
    busy = min(2 * sizes.concurrency, MOST_TASKS, -(-records // SMALL_BUCKET_RECORDS))
    return max(busy, -(-records // min(max(BUCKET_RECORDS, records // MOST_TASKS), fits)), 1)


def join_bytes(shingles: int, rows: int, threshold: float) -> int:
    """Memory of a block of so many shingles and rows."""
    of_shingle = JOIN_HASH_BYTES + JOIN_POSTING_BYTES * (1 - threshold)
    return int(shingles * of_shingle) + rows * (JOIN_ROW_BYTES + JOIN_POSTING_BYTES)


def join_room(memory: int, threshold: float) -> int:
    """Memory that a block may take of so much."""
    return min(memory, join_bytes(JOIN_SHINGLES, 0, threshold))


def join_blocks(sizes: TaskSizes, weights: Sequence[int]) -> list[int]:
    """The first sign task of each block of join, with the end.

    weights: memory that the rows of each sign task take in a block. Every block takes a pass over
    the rows before it, so there are as few as fit memory, but one for each task at a time.
    """
    target = min(sizes.block_bytes, -(-sum(weights) // sizes.concurrency))
    blocks = pack(range(len(weights)), weights, target)
    return [block[0] for block in blocks] + [len(weights)]


def component_partitions(sizes: TaskSizes, members: int, shingles: float) -> int:
    """Partitions for so many rows in components, of `shingles` shingles each on average."""
    weight = members * (MEMBER_BYTES + SHINGLE_HASH_BYTES * shingles)
    tasks = min(max(VERIFY_TASKS, 2 * sizes.concurrency), MOST_TASKS)
    return math.ceil(
        weight / min(sizes.partition_bytes, max(weight / tasks, SMALL_PARTITION_BYTES))
    )


@dataclass(frozen=True)
class Merge:
    """Task `task` of link: merges the edges that tasks `sources` of a stage left."""

    task: int
    level: int
    stage: str
    sources: range
    last: bool


def merge_tree(leaves: int, joins: int = 0) -> list[Merge]:
    """The tasks of link by level: the first read what bucket and join left, the last all the rest.

    leaves, joins: tasks of bucket and of join.
    """
    merges: list[Merge] = []
    left = [("bucket", range(leaves)), ("join", range(joins))]
    for level in itertools.count():
        groups = [
            (stage, tasks[at : at + FAN_IN])
            for stage, tasks in left
            for at in range(0, len(tasks), FAN_IN)
        ]
        start = len(merges)
        for number, (stage, sources) in enumerate(groups, start):
            merges.append(Merge(number, level, stage, sources, last=len(groups) == 1))
        if len(groups) == 1:
            break
        left = [("link", range(start, len(merges)))]
    return merges


def levels(merges: Sequence[Merge]) -> list[list[int]]:
    """Tasks of each level of a tree, which can run together."""
    return [
        [merge.task for merge in level]
        for _, level in itertools.groupby(merges, lambda merge: merge.level)
    ]


def link_memory(rows: int, members: int, *, last: bool) -> int:
    """Memory of a link task whose edges name `members` rows out of `rows` in the corpus."""
    return rows // 4 + members * (LAST_LINK_BYTES if last else MERGE_BYTES)


def check_link(sizes: TaskSizes, rows: int, members: int, *, last: bool) -> None:
    """Refuse to link more rows in components than memory holds."""
    need = link_memory(rows, members, last=last)
    have = sizes.memory if last else sizes.task_memory
    if need > have:
        raise SettingsError(
            f"linking {members:,} of {rows:,} rows needs {need / 1e9:.1f}GB of memory in one task "
            f"and has {have / 1e9:.1f}GB: raise --memory and run again, it goes on from here"
        )


def weight(sizes: TaskSizes, text_bytes: int, rows: int) -> int:
    """Share of a sign task that a shard of so many rows is, in bytes of the task's text."""
    return max(text_bytes, rows * sizes.task_text // sizes.task_rows, SHARD_BYTES)


def pack(parts: Sequence[Part], sizes: Sequence[int], target: int) -> list[list[Part]]:
    """Cut `parts` into runs of neighbours of about `target` in size, in order."""
    packed: list[list[Part]] = []
    room = 0
    for part, size in zip(parts, sizes, strict=True):
        if not packed or size > room:
            packed.append([])
            room = target
        packed[-1].append(part)
        room -= size
    return packed


@dataclass(frozen=True)
class Estimate:
    """What a run of `rows` rows takes; bytes."""

    exchange: int
    row_files: int
    sets: int
    work_disk: int
    link_memory: int
    peak_memory: int
    memory: int
    sign_tasks: int
    key_partitions: int
    component_partitions: int
    pieces: int


def estimate(
    resources: Resources,
    bands: int,
    rows: int,
    mean_bytes: int,
    share_in_components: float,
    unit: str,
) -> Estimate:
    """Estimate a run; `share_in_components` of the rows share a bucket with another row.

    pieces: parts of files that tasks read of what those of other stages left.
    """
    sizes = task_sizes(resources, bands, rows * mean_bytes, unit)
    members = int(rows * share_in_components)
    keys = key_partitions(sizes, rows * bands)
    shingles = mean_bytes * SHINGLE_BYTES[unit] / SHINGLE_HASH_BYTES
    components = component_partitions(sizes, members, shingles)
    signs = max(-(-rows * mean_bytes // sizes.task_text), -(-rows // sizes.task_rows))
    exchange = rows * bands * RECORD_BYTES
    sets = int(members * mean_bytes * SHINGLE_BYTES[unit])
    link = BASE_BYTES + link_memory(rows, members, last=True)
    signed = min(sizes.task_text // mean_bytes, sizes.task_rows) * bands * SIGNED_BYTES
    at_a_time = max(
        2 * TEXT_COPIES * sizes.batch_bytes
        + min(sizes.run_bytes, signed)
        + min(sizes.task_text // mean_bytes, sizes.task_rows) * SIGNED_ROW_BYTES,
        -(-rows * bands // keys) * BUCKET_BYTES,
        2 * min(sizes.set_bytes, sets),
    )
    return Estimate(
        exchange=exchange,
        row_files=rows * ROW_BYTES,
        sets=sets,
        work_disk=exchange + rows * ROW_BYTES + sets + members * (EDGE_BYTES + MEMBER_DISK_BYTES),
        link_memory=link,
        peak_memory=max(BASE_BYTES + resources.threads * at_a_time, link),
        memory=resources.memory,
        sign_tasks=signs,
        key_partitions=keys,
        component_partitions=components,
        pieces=signs * (keys + 3 * components) + components * min(signs, MOST_TASKS),
    )
