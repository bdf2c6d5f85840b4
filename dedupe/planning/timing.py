"""How long a run will take, by one that was measured: pure arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dedupe.planning.estimate import Estimate, Workload


@dataclass(frozen=True)
class Size:
    """How much there is to do.

    rows: of the corpus. text_bytes: of all of them. members: rows that share a bucket with another.
    bands: of the banding, 1 without. blocks: of an exact join, 0 without.
    """

    rows: int
    text_bytes: int
    members: int
    bands: int
    blocks: int

    def units(self, stage: str) -> float:
        """What the time of a stage grows with."""
        of_members = self.text_bytes * self.members / max(self.rows, 1)
        found = {
            "scan": self.text_bytes,
            "match": self.text_bytes,
            "sign": self.text_bytes,
            "bucket": self.rows * self.bands,
            "join": self.text_bytes * (self.blocks + 1) / 2,
            "components": self.members,
            "group": self.members,
            "fetch": of_members,
            "verify": of_members,
        }
        return max(found.get(stage, self.rows), 1)


@dataclass(frozen=True)
class StageTime:
    """What a stage took. wall: seconds. at_once: tasks that ran at a time, at most."""

    wall: float
    at_once: int


@dataclass(frozen=True)
class Measured:
    """A run that was measured.

    size: of it. stages: what each took. rest: seconds of all else: to start, survey and publish.
    """

    size: Size
    stages: Mapping[str, StageTime]
    rest: float

    def seconds_of(self, size: Size, at_once: Mapping[str, int]) -> dict[str, float]:
        """Seconds of each stage of another run.

        size: of that run. at_once: of each stage the tasks that can run at a time there; stages
        that it does not name take as many as before.
        """
        return {
            stage: took.wall
            * size.units(stage)
            / self.size.units(stage)
            * took.at_once
            / max(at_once.get(stage, took.at_once), 1)
            for stage, took in self.stages.items()
        }


def size_of(work: Workload, blocks: int) -> Size:
    """The size of a run that was not made yet. blocks: of an exact join."""
    return Size(work.rows, work.rows * work.mean_bytes, work.members, work.bands, blocks)


def at_once_of(found: Estimate, concurrency: int, blocks: int) -> dict[str, int]:
    """How many tasks of each stage can run at a time.

    found: the stages. concurrency: tasks at a time in all. blocks: of an exact join.
    """
    tasks = {name: one.tasks for name, one in found.stages.items()}
    if blocks:
        tasks["join"] = blocks
    return {name: max(min(count, concurrency), 1) for name, count in tasks.items()}


def bottleneck_of(found: Estimate, seconds: Mapping[str, float] | None) -> str:
    """What gives first: memory that does not suffice, else the stage that takes longest.

    found: the stages. seconds: of each stage, where they are known.
    """
    if found.peak_memory > found.memory:
        worst = max(found.stages.values(), key=lambda one: one.memory)
        return f"memory of {worst.stage}"
    if not seconds:
        return "not known without times"
    stage = max(seconds, key=lambda name: seconds[name])
    return f"{stage}, {seconds[stage] / max(sum(seconds.values()), 1e-9):.0%} of the time"
