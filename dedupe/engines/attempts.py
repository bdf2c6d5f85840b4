"""What becomes of tasks that fail, lose their worker, or lag: one policy for every engine.

Tasks can be run twice: of several results of a task the first counts. What a task raises decides
what comes next:

    DedupeError, IntegrityError   the run ends with it, unless it is one that may pass
    a full disk                   the run ends with WorkDirError
    anything else                 the task is tried again, on another worker, 3 times in all
    its process died              the same; the third time it runs alone in its process
    its node died, fell silent    the task is handed on, and this is not held against it
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from dedupe.config import Tuning
from dedupe.engines import FaultCounts, Stage
from dedupe.errors import (
    DedupeError,
    EngineError,
    IntegrityError,
    WorkDirError,
    disk_fault,
    disk_full,
)

ATTEMPTS = 3
"""How often a task may fail."""

LOSSES = 10
"""How often a task may lose its node: a bound for the case that it is the task that ends nodes."""

MEDIAN_OF = 301
"""Finished tasks, the last ones, that tell how long one takes."""

WATCH_SECONDS = 1.0
"""How often is told what is under way."""

MEMORY_HELP = (
    "give workers more memory (--memory) or fewer threads (--worker-cpus), or have fewer of them "
    "on a node"
)


class Outcome(Enum):
    """How a call ended."""

    RESULT = "result"
    ERROR = "error"
    """The task raised an exception."""
    DIED = "died"
    """The worker process died."""
    LOST = "lost"
    """The whole node is gone, or the worker does not answer: no fault of the task."""


class Worker(Protocol):
    """What runs tasks, as far as the policy knows it.

    number: tells workers apart; threads of one process are one worker. where: the node in messages;
    empty for this process.
    """

    @property
    def number(self) -> int:
        """See above."""

    @property
    def where(self) -> str:
        """See above."""


@dataclass(eq=False)
class Call:
    """A task on its way through a worker; started: by time.monotonic()."""

    worker: Any
    stage: int
    task: int
    started: float


@dataclass(frozen=True)
class Event:
    """A call that ended, or was given up."""

    call: Call
    outcome: Outcome
    result: Any = None
    error: BaseException | None = None


@dataclass
class _History:
    """What a task has gone through; workers: those on which it failed."""

    failures: int = 0
    deaths: int = 0
    losses: int = 0
    workers: set[Hashable] = field(default_factory=set)


class Attempts:
    """What is left to do of a stage, and what to do about failures.

    stage: whose tasks are run. faults: where what was mended is counted. tuning: when a task lags.
    """

    def __init__(self, stage: Stage, faults: FaultCounts, tuning: Tuning) -> None:
        self.stage = stage
        self.undone = set(stage.tasks)
        self._fresh = deque(stage.tasks)
        self.failed: list[int] = []
        self._calls: dict[int, list[Call]] = defaultdict(list)
        self._faults = faults
        self._tuning = tuning
        self._histories: dict[int, _History] = defaultdict(_History)
        self._seconds: deque[float] = deque(maxlen=MEDIAN_OF)
        self._typical = float("inf")
        self._typical_at = self._stragglers_at = 0.0
        self._watched_at = time.monotonic()

    @property
    def waiting(self) -> bool:
        """Whether tasks wait for a worker."""
        return bool(self._fresh or self.failed)

    def next_for(self, worker: Worker, ready: set[int], *, is_busy: bool) -> int | None:
        """The task to give to a worker, None where there is none for it.

        worker: who asks. ready: numbers of all workers that could take a task: one that failed on
        some of them is given to the others first. is_busy: whether the worker has a task; one that
        is to run alone waits until it has not.
        """
        for task in list(self.failed):
            if task not in self.undone:
                self.failed.remove(task)
                continue
            failed_on = self._histories[task].workers
            if worker.number in failed_on and ready - failed_on:
                continue
            if is_busy and self.is_suspect(task):
                continue
            self.failed.remove(task)
            return task
        while self._fresh:
            task = self._fresh.popleft()
            if task in self.undone:  # else a worker given up for lost has done it after all
                return task
        return None

    def begin(self, call: Call) -> None:
        """Take note of a call that was handed to a worker."""
        self._calls[call.task].append(call)

    def is_suspect(self, task: int) -> bool:
        """Whether a task is to run alone, to see whether it is the one that ends its process."""
        return task in self._histories and self._histories[task].deaths >= ATTEMPTS - 1

    def typical(self) -> float:
        """Seconds that a task takes, the median; infinity while none has ended."""
        now = time.monotonic()
        if self._seconds and now - self._typical_at > 0.25:
            self._typical_at = now
            self._typical = statistics.median(self._seconds)
        return self._typical

    def stragglers(self) -> Sequence[Call]:
        """Calls that take much longer than others, the longest first, each without a copy."""
        now = time.monotonic()
        if not self._seconds or now - self._stragglers_at < 1.0:
            return []
        self._stragglers_at = now
        tuning = self._tuning
        late = now - max(tuning.straggler_seconds, tuning.straggler_ratio * self.typical())
        alone = [calls[0] for calls in self._calls.values() if len(calls) == 1]
        return sorted((c for c in alone if c.started < late), key=lambda call: call.started)

    def watch(self) -> None:
        """Tell who watches the stage which task is the oldest under way, about once a second."""
        now = time.monotonic()
        if now - self._watched_at < WATCH_SECONDS:
            return
        self._watched_at = now
        under_way = [calls[0] for task, calls in self._calls.items() if task in self.undone]
        if under_way:
            oldest = min(under_way, key=lambda call: call.started)
            self.stage.watch(self.stage.describe(oldest.task), now - oldest.started)
        else:
            self.stage.watch("", 0.0)

    def note(self, event: Event) -> bool:
        """Take note of how a call ended: True where it is the first result of its task.

        Raises what ends the run.
        """
        call, task = event.call, event.call.task
        given_up = call not in self._calls.get(task, ())
        if not given_up:
            self._calls[task].remove(call)
            if not self._calls[task]:
                del self._calls[task]
        if task not in self.undone:
            return False
        if event.outcome is Outcome.RESULT:
            self.undone.remove(task)
            self._seconds.append(time.monotonic() - call.started)
            return True
        self._end_if_final(event)
        if not given_up:
            self._count(event)
            if task not in self._calls:
                self._faults.retries += 1
                if event.outcome is Outcome.LOST:
                    self._fresh.appendleft(task)
                else:
                    self.failed.append(task)
        return False

    def _end_if_final(self, event: Event) -> None:
        """Raise what no second attempt would mend."""
        error = event.error
        if event.outcome is not Outcome.ERROR or error is None or getattr(error, "passing", False):
            return
        if isinstance(error, (DedupeError, IntegrityError)) or not isinstance(error, Exception):
            raise error
        full = disk_full(error)
        if full:
            where = event.call.worker.where
            seen = f", as seen from node {where}" if where else ""
            raise WorkDirError(
                f"{self.stage.describe(event.call.task)}: {full}{seen} ({error}): free some space, "
                "or choose another place with --work-dir; the same command then goes on where this "
                "one stopped"
            ) from error

    def _count(self, event: Event) -> None:
        """Hold a failure against its task; raise when it has had its attempts."""
        history = self._histories[event.call.task]
        described = self.stage.describe(event.call.task)
        where = event.call.worker.where and f" on node {event.call.worker.where}"
        if event.outcome is Outcome.LOST:
            history.losses += 1
            if history.losses > LOSSES:
                raise EngineError(
                    f"{described} lost its node {history.losses} times, the last time{where}: does "
                    f"the task end the node? {MEMORY_HELP}"
                )
            return
        history.failures += 1
        history.deaths += event.outcome is Outcome.DIED or out_of_memory(event.error)
        history.workers.add(event.call.worker.number)
        if history.failures < ATTEMPTS:
            return
        error = event.error
        fault = disk_fault(error)
        if fault and not isinstance(error, DedupeError):
            raise WorkDirError(
                f"{described} failed {history.failures} times{where}: {fault}: see to the disk, or "
                "choose another place with --work-dir; the same command goes on from there"
            ) from error
        if error is not None and (isinstance(error, DedupeError) or not where):
            raise error
        raise EngineError(
            f"{described} failed {history.failures} times, the last time{where}: "
            f"{why(error, died=event.outcome is Outcome.DIED)}"
        ) from error


def out_of_memory(error: BaseException | None) -> bool:
    """Whether a process or a task failed for want of memory, as far as that is known."""
    return isinstance(error, MemoryError) or any(
        sign in f"{type(error).__name__}: {error}"
        for sign in ("running low on memory", "OutOfMemory")
    )


def why(error: BaseException | None, *, died: bool) -> str:
    """The cause of a failure in one line, with the remedy where it is known.

    died: whether it was the process that ended.
    """
    text = " ".join(str(error).split())
    if out_of_memory(error):
        return f"out of memory ({text[:300] or type(error).__name__}): {MEMORY_HELP}"
    if died:
        detail = text.partition("Worker exit detail:")[2].partition("There are some")[0].strip()
        return (
            f"its worker process died ({detail or text[-300:]}): where the system ended it for "
            f"want of memory, {MEMORY_HELP}"
        )
    return f"{type(error).__name__}: {text}"
