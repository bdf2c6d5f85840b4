"""The Ray engine: tasks on a pool of actors that may die, fall silent or lag at any time.

Data goes through the work directory, control through Ray. Tasks can be run twice: of several
results of a task the first counts. What a task raises decides what comes next:

    DedupeError, IntegrityError   the run ends with it, unless it is one that may pass
    a full disk                   the run ends with WorkDirError
    anything else                 the task is tried again, on another worker, 3 times in all
    its process died              the same; the third time it runs alone in its process
    its node died, fell silent    the task is handed on, and this is not held against it
"""

from __future__ import annotations

import errno
import os
import statistics
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dedupe.engines import ATTEMPTS, FaultCounts, Stage
from dedupe.errors import DedupeError, EngineError, IntegrityError, SettingsError, WorkDirError

try:
    import ray
    from ray import cloudpickle
    from ray.util.metrics import Counter as Metric
    from ray.util.metrics import Gauge
except ImportError as error:
    raise SettingsError("the Ray engine needs Ray: pip install 'dedupe-engine[ray]'") from error

from dedupe.engines.ray_pool import Call, Event, Outcome, Pool, PoolWorker, State, out_of_memory
from dedupe.engines.ray_session import Session

LOSSES = 10
"""How often a task may lose its node: a bound for the case that it is the task that ends nodes."""

QUICK_SECONDS = 0.2
"""Tasks shorter than this queue at their worker, which then need not wait for the driver."""

STRAGGLER_SECONDS = 10.0
"""A task is run a second time when it has taken longer than this,"""

STRAGGLER_RATIO = 3.0
"""and than this many times the median of its stage, and a worker has nothing else to do."""

MEDIAN_OF = 301
"""Finished tasks, the last ones, that tell how long one takes."""

METRICS_SECONDS = 2.0
"""How often the counters of Ray's metrics are brought up to date."""

MEMORY_HELP = (
    "give workers more memory (--memory) or fewer threads (--worker-cpus), or have fewer of them "
    "on a node"
)


class RayEngine:
    """Runs tasks on a pool of Ray actors, on a cluster or on a Ray of its own.

    address: as in `ray_session`. workers: how many to have; None for as many as fit, also on nodes
    that join later. worker_cpus: tasks at a time in each. worker_memory: bytes that each is given
    by Ray's reckoning. runtime_env: passed on to Ray, for development.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        worker_cpus: int = 1,
        worker_memory: int = 4_000_000_000,
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        self._workers = workers
        self._cpus = worker_cpus
        self._memory = worker_memory
        count = workers or max(1, (os.cpu_count() or 1) // worker_cpus)
        self._session = Session(address, count * worker_cpus, count * worker_memory, runtime_env)
        self._pool: Pool | None = None
        self._stage = -1
        self._metrics: _Metrics | None = None

    @property
    def faults(self) -> FaultCounts:
        """What went wrong and was mended so far."""
        return self._pool.faults if self._pool else FaultCounts()

    @property
    def concurrency(self) -> int:
        """Tasks that can run at a time, as things are now."""
        return self._cpus * self._pool.count(State.READY) if self._pool else 0

    def start(self, prepare: Callable[[], None], notify: Callable[[str], None]) -> None:
        """Join or start Ray and get workers; see `Engine`."""
        try:
            notify(self._session.doing)
            self._session.open()
            self._metrics = _Metrics()
            self._pool = Pool(self._workers, self._cpus, self._memory, prepare, notify)
            self._pool.start()
        except BaseException:
            self.close()
            raise

    def run(self, stage: Stage) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each task with its result, in any order; raise the first error."""
        if self._pool is None or self._metrics is None:
            raise RuntimeError("the engine has not been started")
        pool, metrics = self._pool, self._metrics
        self._stage += 1
        work = _Work(stage, pool.faults)
        function = ray.put(cloudpickle.dumps(stage.function))  # type: ignore[no-untyped-call]
        while work.undone:
            self._hand_out(pool, work, function)
            finished: list[Event] = []
            failure: Exception | None = None
            for event in pool.poll():
                try:
                    if event.call.stage == self._stage and work.note(event):
                        finished.append(event)
                except (DedupeError, IntegrityError) as error:
                    failure = failure or error
            if failure is None:
                self._hand_out(pool, work, function)  # workers need not wait for the commits
            for event in finished:
                metrics.add(event.result)
                yield event.call.task, event.result
            metrics.show(stage.name, pool, now=failure is not None or not work.undone)
            if failure is not None:
                raise failure

    def _hand_out(self, pool: Pool, work: _Work, function: Any) -> None:
        """Give tasks to workers with room, one each in turn; then look for stragglers."""
        depth = self._cpus * (2 if work.typical() < QUICK_SECONDS else 1)
        given = True
        while given and work.waiting:
            given = False
            ready = pool.ready() if work.failed else set()
            for member in pool.with_room(depth):
                task = work.next_for(member, ready)
                if task is not None:
                    self._submit(pool, work, member, task, function)
                    given = True
        if work.waiting:
            return
        for call in work.stragglers():
            helper = next((m for m in pool.with_room(self._cpus) if m is not call.member), None)
            if helper is None:
                return
            pool.faults.speculated += 1
            self._submit(pool, work, helper, call.task, function)

    def _submit(
        self, pool: Pool, work: _Work, member: PoolWorker, task: int, function: Any
    ) -> None:
        member.alone = work.is_suspect(task)
        call = pool.submit(member, self._stage, function, task, work.stage.describe(task))
        work.calls[task].append(call)

    def close(self) -> None:
        """End the workers, and leave Ray as it was found."""
        if self._pool:
            self._pool.close()
        self._session.close()


@dataclass
class _History:
    """What a task has gone through."""

    failures: int = 0
    deaths: int = 0
    losses: int = 0
    workers: set[int] = field(default_factory=set)
    """Where it failed."""


class _Work:
    """What is left to do of a stage."""

    def __init__(self, stage: Stage, faults: FaultCounts) -> None:
        self.stage = stage
        self.undone = set(stage.tasks)
        self.fresh = deque(stage.tasks)
        self.failed: list[int] = []
        """Tasks to try again, each with care where."""
        self.calls: dict[int, list[Call]] = defaultdict(list)
        """Of tasks under way that nobody has given up, about in the order of their start."""
        self._faults = faults
        self._histories: dict[int, _History] = defaultdict(_History)
        self._seconds: deque[float] = deque(maxlen=MEDIAN_OF)
        self._typical = float("inf")
        self._typical_at = self._stragglers_at = 0.0

    @property
    def waiting(self) -> bool:
        """Whether tasks wait for a worker."""
        return bool(self.fresh or self.failed)

    def next_for(self, member: PoolWorker, ready: set[int]) -> int | None:
        """The task to give to a worker: one that failed there only where it did on all `ready`."""
        for task in list(self.failed):
            if task not in self.undone:
                self.failed.remove(task)
                continue
            failed_on = self._histories[task].workers
            if member.number in failed_on and ready - failed_on:
                continue
            if member.calls and self.is_suspect(task):
                continue
            self.failed.remove(task)
            return task
        while self.fresh:
            task = self.fresh.popleft()
            if task in self.undone:  # else a worker given up for lost has done it after all
                return task
        return None

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

    def stragglers(self) -> list[Call]:
        """Calls that take much longer than others, the longest first, each without a copy."""
        now = time.monotonic()
        if not self._seconds or now - self._stragglers_at < 1.0:
            return []
        self._stragglers_at = now
        late = now - max(STRAGGLER_SECONDS, STRAGGLER_RATIO * self.typical())
        alone = [calls[0] for calls in self.calls.values() if len(calls) == 1]
        return sorted((c for c in alone if c.started < late), key=lambda call: call.started)

    def note(self, event: Event) -> bool:
        """Take note of how a call ended: True where it is the first result of its task.

        Raises what ends the run.
        """
        call, task = event.call, event.call.task
        given_up = call not in self.calls.get(task, ())
        if not given_up:
            self.calls[task].remove(call)
            if not self.calls[task]:
                del self.calls[task]
        if task not in self.undone:
            return False
        if event.outcome is Outcome.RESULT:
            self.undone.remove(task)
            self._seconds.append(time.monotonic() - call.started)
            return True
        self._end_if_final(event)
        if not given_up:
            self._count(event)
            if task not in self.calls:
                self._faults.retries += 1
                if event.outcome is Outcome.LOST:
                    self.fresh.appendleft(task)
                else:
                    self.failed.append(task)
        return False

    def _end_if_final(self, event: Event) -> None:
        """Raise what no second attempt would mend."""
        error = event.error
        if event.outcome is not Outcome.ERROR or error is None:
            return
        if getattr(error, "passing", False):
            return
        if isinstance(error, (DedupeError, IntegrityError)):
            raise error
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if full or "No space left" in str(error):
            raise WorkDirError(
                f"{self.stage.describe(event.call.task)}: no space left on the disk, as seen from "
                f"node {event.call.member.address} ({error}): free some space, or choose another "
                "place with --work-dir; the same command then goes on where this one stopped"
            )

    def _count(self, event: Event) -> None:
        """Hold a failure against its task; raise EngineError when it has had its attempts."""
        history = self._histories[event.call.task]
        where = f"on node {event.call.member.address}"
        if event.outcome is Outcome.LOST:
            history.losses += 1
            if history.losses > LOSSES:
                raise EngineError(
                    f"{self.stage.describe(event.call.task)} lost its node {history.losses} times, "
                    f"the last time {where}: does the task end the node? {MEMORY_HELP}"
                )
            return
        history.failures += 1
        history.deaths += event.outcome is Outcome.DIED
        history.workers.add(event.call.member.number)
        if history.failures >= ATTEMPTS:
            if isinstance(event.error, DedupeError):
                raise event.error
            raise EngineError(
                f"{self.stage.describe(event.call.task)} failed {history.failures} times, "
                f"the last time {where}: {_why(event)}"
            ) from event.error


def _why(event: Event) -> str:
    """The cause of a failure in one line, with the remedy where it is known."""
    error = event.error
    text = " ".join(str(error).split())
    if out_of_memory(error):
        return f"out of memory ({text[:300] or type(error).__name__}): {MEMORY_HELP}"
    if event.outcome is Outcome.DIED:
        detail = text.partition("Worker exit detail:")[2].partition("There are some")[0].strip()
        return (
            f"its worker process died ({detail or text[-300:]}): where the system ended it for "
            f"want of memory, {MEMORY_HELP}"
        )
    return f"{type(error).__name__}: {text}"


class _Metrics:
    """Counters for Ray's metrics, brought up to date now and then: each call takes a while."""

    def __init__(self) -> None:
        self._counters = {
            name: Metric(f"dedupe_{name}_total", f"{name} so far", tag_keys=("stage",))
            for name in ("rows", "bytes", "tasks", "retries")
        }
        self._workers = Gauge("dedupe_workers", "workers that are ready")
        self._news: Counter[str] = Counter()
        self._retries = 0
        self._shown_at = 0.0

    def add(self, result: dict[str, Any]) -> None:
        """Count a task."""
        self._news.update(tasks=1, rows=result.get("rows", 0), bytes=result.get("bytes", 0))

    def show(self, stage: str, pool: Pool, *, now: bool) -> None:
        """Hand the counts to Ray, `now` or when it is time."""
        at = time.monotonic()
        if not now and at - self._shown_at < METRICS_SECONDS:
            return
        self._shown_at = at
        self._news["retries"] = pool.faults.retries - self._retries
        self._retries = pool.faults.retries
        for name, number in self._news.items():
            if number > 0:
                self._counters[name].inc(number, tags={"stage": stage})
        self._news.clear()
        self._workers.set(pool.count(State.READY))
