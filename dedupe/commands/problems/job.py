"""What every task that looks for problems knows, and what tasks leave for one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.corpus import Projection, Shard, Slice
from dedupe.documents.shapes import spoken
from dedupe.result import Result
from dedupe.storage.files import Files
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import Artifact, TaskResult

POSITION = "position of a row"
KEYS = pa.schema(
    [
        ("key", pa.binary(16)),
        ("other", pa.binary(16)),
        ("position", pa.int64()),
    ]
)
LOOKED = Artifact(
    "look",
    "problems",
    pa.schema([("position", pa.int64()), ("problems", pa.uint32())]),
    "one",
    {
        "position": f"{POSITION} with a problem",
        "problems": "a bit for each problem, in their order",
    },
)
PROMPTS = Artifact(
    "look",
    "prompts",
    KEYS,
    "one for each partition of the digests of prompts",
    {
        "key": "digest of a prompt",
        "other": "digest of the answer to it",
        "position": f"{POSITION} with these",
    },
)
ANSWERS = Artifact(
    "look",
    "answers",
    KEYS,
    "one for each partition of the digests of answers",
    {
        "key": "digest of an answer",
        "other": "digest of what it answers",
        "position": f"{POSITION} with these",
    },
)
TWINS = Artifact(
    "twins",
    "problems",
    LOOKED.columns,
    "one for each task of look",
    LOOKED.meaning,
)
PROBLEM_ARTIFACTS = (LOOKED, PROMPTS, ANSWERS, TWINS)
"""What the tasks leave, in the order of their stages."""


@dataclass(frozen=True, kw_only=True)
class LookResult(TaskResult):
    """What a task of look saw.

    counted: of each of `look.COUNTED` for each value the rows that have it, and those of them that
    are kept. pairs: rows that have a prompt and an answer.
    """

    counted: dict[str, dict[str, list[int]]]
    pairs: int


@dataclass(frozen=True)
class Reading:
    """How rows of a shard are read.

    names: of their fields. has_who: whether who speaks is read behind them. projection: of all.
    """

    names: tuple[str, ...]
    has_who: bool
    projection: Projection


def readings_of(result: Result) -> list[Reading]:
    """How the rows of each shard of a finished run are read. result: the run."""
    named = result.summary["settings"]["text"] is not None
    unreadable = bool(result.summary["corpus"]["unreadable"]["rows"])
    found = []
    for document in result.documents.own:
        fields, who = spoken(document)
        templates = (*fields.values(), *([who] if who else []))
        read = Projection(templates, named=named, unreadable=unreadable)
        found.append(Reading(tuple(fields), who is not None, read))
    return [found[number] for number in result.documents.of_files]


@dataclass(frozen=True)
class ProblemsJob:
    """All that a task needs to know, besides its number.

    shards: of the corpus. out: the run's output. listed: what its summary says of each shard.
    readings: of each shard. slices, slice_starts: how they are cut, and the position of the first
    row of each slice, with the end. shard_starts: the same of shards. partitions: of the digests of
    prompts, and of answers. batch: bytes of text that are decoded at a time. work: where tasks
    leave their files.
    """

    shards: list[Shard]
    out: Files
    listed: Sequence[Mapping[str, Any]]
    readings: Sequence[Reading]
    slices: list[Slice]
    slice_starts: Array
    shard_starts: Array
    partitions: int
    batch: int
    work: WorkDir

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        if stage == "look":
            return f"look task {task} ({self.shards[self.slices[task].shard].path})"
        return f"{stage} task {task}"

    def rows_of(self, task: int) -> tuple[int, int, int]:
        """The shard of a task of look, and the first row of it that the task has, and the end."""
        shard = self.slices[task].shard
        first, end = (self.slice_starts[task : task + 2] - self.shard_starts[shard]).tolist()
        return shard, first, end

    def partition_of(self, digests: Array) -> Array:
        """The partition of each digest: int64. digests: uint64[rows, 2]."""
        high = digests[:, 0] >> np.uint64(32)
        found: Array = (high * np.uint64(self.partitions) >> np.uint64(32)).astype(np.int64)
        return found
