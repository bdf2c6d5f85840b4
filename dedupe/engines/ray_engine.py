"""The Ray engine: tasks on a pool of actors that may die, fall silent or lag at any time.

Data goes through the work directory, control through Ray. What becomes of tasks that fail is the
policy of `attempts`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dedupe.config import Tuning
from dedupe.engines import FaultCounts, Prepare, Stage
from dedupe.engines.attempts import Attempts, Event
from dedupe.errors import DedupeError, IntegrityError, SettingsError
from dedupe.machine import cores

try:
    import ray
    from ray import cloudpickle
    from ray.util.metrics import Counter as Metric
    from ray.util.metrics import Gauge
except ImportError as error:
    raise SettingsError("the Ray engine needs Ray: pip install 'dedupe-engine[ray]'") from error

from dedupe.engines.ray_pool import Pool, PoolWorker, State
from dedupe.engines.ray_session import SHUTDOWN_SECONDS, Session

QUICK_SECONDS = 0.2
"""Tasks shorter than this queue at their worker, which then need not wait for the driver."""

HURRY_SECONDS = 1.0
"""How long to wait for Ray to let go where there is no head, of which Ray soon ends the process."""

METRICS_SECONDS = 2.0
"""How often the counters of Ray's metrics are brought up to date."""


class RayEngine:
    """Runs tasks on a pool of Ray actors, on a cluster or on a Ray of its own.

    address: as in `ray_session`. workers: how many to have; None for as many as fit, also on nodes
    that join later. worker_cpus: tasks at a time in each. worker_memory: bytes that each is given
    by Ray's reckoning. runtime_env: passed on to Ray. tuning: waiting times, None for the defaults.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        worker_cpus: int = 1,
        worker_memory: int = 4_000_000_000,
        runtime_env: Mapping[str, Any] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self._workers = workers
        self._cpus = worker_cpus
        self._memory = worker_memory
        count = workers or max(1, cores() // worker_cpus)
        self._tuning = tuning or Tuning()
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

    def start(self, prepare: Prepare, notify: Callable[[str], None]) -> None:
        """Join or start Ray and get workers; see `Engine.start`."""
        try:
            notify(self._session.doing)
            self._session.open()
            self._metrics = _Metrics()
            self._pool = Pool(
                self._workers, self._cpus, self._memory, prepare, notify, self._tuning
            )
            self._pool.start()
        except BaseException:
            self.close()
            raise

    def run(self, stage: Stage) -> Iterator[tuple[int, Any]]:
        """Yield each task with its result, in any order; raise the first error."""
        if self._pool is None or self._metrics is None:
            raise RuntimeError("the engine has not been started")
        pool, metrics = self._pool, self._metrics
        self._stage += 1
        work = Attempts(stage, pool.faults, self._tuning)
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
            work.watch()
            metrics.show(stage.name, pool, now=failure is not None or not work.undone)
            if failure is not None:
                raise failure
        pool.count_lost_nodes()

    def _hand_out(self, pool: Pool, work: Attempts, function: Any) -> None:
        """Give tasks to workers with room, one each in turn; then look for stragglers."""
        depth = self._cpus * (2 if work.typical() < QUICK_SECONDS else 1)
        given = True
        while given and work.waiting:
            given = False
            ready = pool.ready() if work.failed else set()
            for member in pool.with_room(depth):
                task = work.next_for(member, ready, is_busy=bool(member.calls))
                if task is not None:
                    self._submit(pool, work, member, task, function)
                    given = True
        if work.waiting:
            return
        for call in work.stragglers():
            helper = next((m for m in pool.with_room(self._cpus) if m is not call.worker), None)
            if helper is None:
                return
            pool.faults.speculated += 1
            self._submit(pool, work, helper, call.task, function)

    def _submit(
        self, pool: Pool, work: Attempts, member: PoolWorker, task: int, function: Any
    ) -> None:
        member.alone = work.is_suspect(task)
        name, label = f"{work.stage.name} {task}", work.stage.describe(task)
        call = pool.submit(member, self._stage, function, task, name, label)
        work.begin(call)

    def close(self) -> None:
        """End the workers, and leave Ray as it was found."""
        if self._pool:
            self._pool.close()
        headless = self._pool is not None and self._pool.head.is_silent
        self._session.close(HURRY_SECONDS if headless else SHUTDOWN_SECONDS)


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

    def add(self, result: Any) -> None:
        """Count a task."""
        self._news.update(tasks=1, rows=result.rows, bytes=result.bytes)

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
