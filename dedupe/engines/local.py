"""The local engine: threads of this process. The kernels and pyarrow release the GIL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from dedupe.config import Tuning
from dedupe.engines import FaultCounts, Prepare, Stage
from dedupe.engines.attempts import WATCH_SECONDS, Attempts, Call, Event, Outcome
from dedupe.threads import Threads


class _ThisProcess:
    """The only worker."""

    number = 0
    where = ""


class LocalEngine:
    """Runs tasks on threads of this process; workers: how many, which is tasks at a time.

    Failures are handled as `attempts` says. Stragglers are not run a second time: the copy would
    share processor and disk with them.
    """

    def __init__(self, workers: int) -> None:
        self.concurrency = workers
        self.faults = FaultCounts()

    def start(self, prepare: Prepare, notify: Callable[[str], None]) -> None:
        """Run `prepare`, once: see `Engine.start`."""
        prepare(notify)

    def run(self, stage: Stage) -> Iterator[tuple[int, Any]]:
        """Yield each task with its result as they finish; see `Engine.run`.

        After the first error that ends the run no task is started, and it is raised once the
        running ones are through and their results were given.
        """
        here = _ThisProcess()
        work = Attempts(stage, self.faults, Tuning())
        fatal: BaseException | None = None
        running: dict[Future[Any], Call] = {}
        with Threads(self.concurrency, thread_name_prefix="dedupe") as pool:
            while True:
                while fatal is None and len(running) < self.concurrency:
                    alone = any(work.is_suspect(call.task) for call in running.values())
                    task = None if alone else work.next_for(here, {0}, is_busy=bool(running))
                    if task is None:
                        break
                    call = Call(here, 0, task, time.monotonic())
                    running[pool.submit(stage.function, task)] = call
                    work.begin(call)
                if not running:
                    break
                done, _ = wait(running, WATCH_SECONDS, FIRST_COMPLETED)
                work.watch()
                for future in done:
                    call, error = running.pop(future), future.exception()
                    outcome = Outcome.RESULT if error is None else Outcome.ERROR
                    result = future.result() if error is None else None
                    try:
                        is_new = work.note(Event(call, outcome, result, error))
                    except BaseException as final:
                        fatal = fatal or final
                        continue
                    if is_new:
                        yield call.task, result
        if fatal is not None:
            raise fatal

    def close(self) -> None:
        """Nothing is left: the threads end with their stage."""
