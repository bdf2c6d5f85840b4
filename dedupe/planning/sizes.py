"""How a run is cut into tasks: integers only, no files.

What a task costs is measured where the tasks are (`dedupe.tasks.costs`) and handed in as
`TaskCosts`; what is a matter of taste is in `dedupe.config.Tuning`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dedupe.config import Resources, Tuning
from dedupe.errors import SettingsError

Part = TypeVar("Part")

BATCHES = 4
"""Text that is decoded at a time may take this part of a task's memory: one in so many."""

LEAST_BATCH = 500_000
"""Bytes of text in the smallest batch that is worth decoding."""

LEAST_SETS = 4_000_000
"""Bytes of shingle sets in the smallest verify task."""


@dataclass(frozen=True)
class TaskCosts:
    """What tasks take, measured; bytes.

    base: interpreter, libraries, kernels. text_copies: memory of a batch of text, in sizes of it:
    file, decoded, scratch. signed_row, signed_key: memory of sign for each row and each band key of
    a task. most_rows: rows that any sign task can have. bucket_record: memory of bucket for each
    band record. link_row: memory of the components tree for each row that the edges of a merge
    name; last_link_row: the same of the last merge. member: memory of verify for each row, besides
    its set. shingle_hash: a shingle in a set. set_copies: memory of fetch, in sizes of the hashes
    it makes. join_hash: memory of a block of the exact join for each shingle; join_posting: and for
    each shingle of a prefix; join_row: and for each row. most_join_shingles: shingles in any block.
    shingle_bytes: bytes of hashes for each byte of text, for "word" and "char" shingles.
    """

    base: int
    text_copies: int
    signed_row: int
    signed_key: int
    most_rows: int
    bucket_record: int
    link_row: int
    last_link_row: int
    member: int
    shingle_hash: int
    set_copies: int
    join_hash: int
    join_posting: int
    join_row: int
    most_join_shingles: int
    word_shingle_bytes: float
    char_shingle_bytes: float

    def shingle_bytes(self, unit: str) -> float:
        """Bytes of shingle hashes for each byte of text; unit: "word" or "char"."""
        return {"word": self.word_shingle_bytes, "char": self.char_shingle_bytes}[unit]

    def join_bytes(self, shingles: int, rows: int, threshold: float) -> int:
        """Memory of a block of the exact join; bytes.

        shingles, rows: in the block. threshold: Jaccard similarity that is looked for.
        """
        of_shingle = self.join_hash + self.join_posting * (1 - threshold)
        return int(shingles * of_shingle) + rows * (self.join_row + self.join_posting)

    def join_room(self, memory: int, threshold: float) -> int:
        """Memory that a block may take of so many bytes; threshold: as in `join_bytes`."""
        return min(memory, self.join_bytes(self.most_join_shingles, 0, threshold))

    def link_memory(self, rows: int, members: int, *, last: bool) -> int:
        """Memory of a merge of the components tree; bytes.

        rows: of the corpus. members: rows that the edges of the merge name. last: whether it is the
        last merge, which makes components of all edges.
        """
        return rows // 4 + members * (self.last_link_row if last else self.link_row)


@dataclass(frozen=True)
class TaskSizes:
    """Sizes of a run's tasks; bytes, unless said otherwise.

    batch: text decoded at a time by one task. task_text: text in a sign task; task_rows: rows in
    one, whichever is reached first. spill: memory of what a task hands on, before it goes to disk.
    task_memory: memory of any task; memory: of a task that runs alone in its process.
    concurrency: tasks at a time; threads: those in one process. sets: memory of a verify task;
    partition: the same as it was when the run began, from which the partitions of components
    follow. block: memory of a block of the exact join, as it was when the run began.
    key_partitions: number of partitions of the band keys.
    """

    batch: int
    task_text: int
    task_rows: int
    spill: int
    task_memory: int
    memory: int
    concurrency: int
    threads: int
    sets: int
    partition: int
    block: int
    key_partitions: int = 1


CUT_BY = ("fan_in", "keep_rows", "keep_shards", "most_tasks")
"""Fields of `Tuning` that say how later stages are cut, which stay as they were, too."""

PLANNED = ("key_partitions", "partition", "block", "concurrency")
"""Sizes that stay as they were when the run began, whatever resumes it."""


@dataclass(frozen=True)
class Planner:
    """Cuts runs into tasks; costs: what tasks take, tuning: what is a matter of taste."""

    costs: TaskCosts
    tuning: Tuning = field(default_factory=Tuning)

    def task_sizes(self, resources: Resources, corpus_bytes: int) -> TaskSizes:
        """Sizes of the tasks of a run, but for `key_partitions`.

        resources: what the run may use. corpus_bytes: of its files, about. Raises SettingsError
        where memory does not suffice.
        """
        costs, tuning = self.costs, self.tuning
        share = (resources.memory - costs.base) // resources.threads
        batch = min(tuning.batch_bytes, share // (BATCHES * costs.text_copies))
        if batch < min(LEAST_BATCH, tuning.batch_bytes):
            least = resources.threads * BATCHES * costs.text_copies * LEAST_BATCH
            raise SettingsError(
                f"{resources.threads} workers need {(costs.base + least) / 1e6:.0f}MB of memory "
                f"and have {resources.memory / 1e6:.0f}MB: raise --memory or lower --workers"
            )
        text = max(tuning.task_text, corpus_bytes // tuning.most_tasks)
        rows = min(
            tuning.task_rows * text // tuning.task_text,
            max(tuning.task_rows, share // 3 // costs.signed_row),
        )
        sets = tuning.set_bytes or max(
            min(share // 4, max(SET_BYTES, corpus_bytes // tuning.most_tasks)), LEAST_SETS
        )
        return TaskSizes(
            batch=batch,
            task_text=text,
            task_rows=min(rows, costs.most_rows),
            spill=share // 3,
            task_memory=share,
            memory=resources.memory - costs.base,
            concurrency=resources.concurrency,
            threads=resources.threads,
            sets=sets,
            partition=sets,
            block=tuning.join_memory or share * 2 // 3,
        )

    def key_partitions(self, sizes: TaskSizes, records: int) -> int:
        """Partitions of the band keys; sizes: of tasks, records: band records of the run."""
        tuning = self.tuning
        fits = max(sizes.task_memory // 2 // self.costs.bucket_record, 1)
        busy = min(
            2 * sizes.concurrency,
            tuning.most_tasks,
            -(-records // tuning.small_bucket_records),
        )
        target = min(max(tuning.bucket_records, records // tuning.most_tasks), fits)
        return max(busy, -(-records // target), 1)

    def join_blocks(self, sizes: TaskSizes, weights: Sequence[int]) -> list[int]:
        """The first sign task of each block of the exact join, with the end.

        sizes: of tasks. weights: memory that the rows of each sign task take in a block. Every
        block takes a pass over the rows before it, so there are as few as fit memory, but one for
        each task at a time.
        """
        target = min(sizes.block, -(-sum(weights) // sizes.concurrency))
        blocks = pack(range(len(weights)), weights, target)
        return [block[0] for block in blocks] + [len(weights)]

    def component_partitions(self, sizes: TaskSizes, members: int, shingles: float) -> int:
        """Partitions of the components.

        sizes: of tasks. members: rows in components. shingles: of such a row, on average.
        """
        tuning = self.tuning
        weight = members * (self.costs.member + self.costs.shingle_hash * shingles)
        tasks = min(max(tuning.verify_tasks, 2 * sizes.concurrency), tuning.most_tasks)
        target = min(sizes.partition, max(weight / tasks, tuning.small_partition_bytes))
        return math.ceil(weight / target)

    def merge_tree(self, leaves: int, joins: int = 0, connects: int = 0) -> list[Merge]:
        """The tasks of the components tree by level, the last of which has all edges.

        leaves, joins, connects: tasks of bucket, of join and of connect, whose edges the first
        level reads.
        """
        merges: list[Merge] = []
        left = [("bucket", range(leaves)), ("join", range(joins)), ("connect", range(connects))]
        for level in itertools.count():
            groups = [
                (stage, tasks[at : at + self.tuning.fan_in])
                for stage, tasks in left
                for at in range(0, len(tasks), self.tuning.fan_in)
            ]
            start = len(merges)
            for number, (stage, sources) in enumerate(groups, start):
                merges.append(Merge(number, level, stage, sources, last=len(groups) == 1))
            if len(groups) == 1:
                break
            left = [("components", range(start, len(merges)))]
        return merges

    def check_link(self, sizes: TaskSizes, rows: int, members: int, *, last: bool) -> None:
        """Refuse to merge more rows in components than memory holds, with SettingsError.

        sizes: of tasks. rows, members, last: as in `TaskCosts.link_memory`.
        """
        need = self.costs.link_memory(rows, members, last=last)
        have = sizes.memory if last else sizes.task_memory
        if need > have:
            raise SettingsError(
                f"components of {members:,} among {rows:,} rows need {need / 1e9:.1f}GB of memory "
                f"in one task, which has {have / 1e9:.1f}GB: raise --memory and run again, it goes "
                "on from here"
            )

    def weight(self, sizes: TaskSizes, text_bytes: int, rows: int) -> int:
        """What a shard takes of sign tasks, in bytes of a task's text.

        sizes: of tasks. text_bytes, rows: of the shard.
        """
        of_rows = rows * sizes.task_text // sizes.task_rows
        return max(text_bytes, of_rows, self.tuning.shard_bytes)


SET_BYTES = 256_000_000
"""Memory of a verify task, unless there would be too many of them or memory is short."""


@dataclass(frozen=True)
class Merge:
    """Task `task` of the components tree: merges the edges that tasks `sources` of a stage left."""

    task: int
    level: int
    stage: str
    sources: range
    last: bool


def levels(merges: Sequence[Merge]) -> list[list[int]]:
    """Tasks of each level of a tree, which can run together."""
    return [
        [merge.task for merge in level]
        for _, level in itertools.groupby(merges, lambda merge: merge.level)
    ]


def pack(parts: Sequence[Part], sizes: Sequence[int], target: int) -> list[list[Part]]:
    """Group neighbours, in order.

    parts: what is grouped. sizes: of each part. target: size of a group, about.
    """
    packed: list[list[Part]] = []
    room = 0
    for part, size in zip(parts, sizes, strict=True):
        if not packed or size > room:
            packed.append([])
            room = target
        packed[-1].append(part)
        room -= size
    return packed
