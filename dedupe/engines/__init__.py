"""Engines map a stage's tasks to workers; the stages know nothing of them.

    local         threads of this process: the default, and the reference
    attempts      what becomes of a task that fails, loses its worker or lags: one policy for both
    ray_engine    a pool of Ray actors
    ray_pool      the actors as the driver sees them: started, asked, given up
    ray_session   the connection to Ray
    ray_address   whether there is a Ray to connect to
    ray_worker    what runs in a worker process

Nothing here imports Ray but the modules named after it, and nothing imports those but their user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Prepare = Callable[[Callable[[str], None]], None]
"""Gets a worker process ready, and tells what takes long."""


def unwatched(task: str, seconds: float) -> None:
    """Nobody is told: see `Stage`."""


@dataclass(frozen=True)
class Stage:
    """What an engine runs: a function of the number of a task.

    name: the stage's. function: module-level, or a functools.partial of one, so that it can be
    sent. tasks: in the order in which to start them. describe: names a task in messages. watch: is
    called about once a second, with what messages call the oldest task under way and since how many
    seconds it is; with "" and 0 where none is.
    """

    name: str
    function: Callable[[int], Any]
    tasks: Sequence[int]
    describe: Callable[[int], str]
    watch: Callable[[str, float], None] = unwatched


@dataclass
class FaultCounts:
    """What went wrong and was mended: tasks run again, workers and nodes lost, tasks run twice."""

    retries: int = 0
    workers_lost: int = 0
    nodes_lost: int = 0
    speculated: int = 0


class Engine(Protocol):
    """What the pipeline needs of an engine."""

    @property
    def faults(self) -> FaultCounts:
        """What went wrong and was mended so far."""
        ...

    @property
    def concurrency(self) -> int:
        """Tasks that can run at a time, as things are now."""
        ...

    def start(self, prepare: Prepare, notify: Callable[[str], None]) -> None:
        """Get workers.

        prepare: is called in each worker process before its first task, with a function that takes
        note of what takes long; a DedupeError that it raises ends the run. notify: is given a short
        text on the state of the workers whenever that changes.
        """
        ...

    def run(self, stage: Stage) -> Iterator[tuple[int, Any]]:
        """Yield each task with its result, in any order; raise the first error."""
        ...

    def close(self) -> None:
        """Let go of the workers."""
        ...
