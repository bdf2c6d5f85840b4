"""The local engine: threads of this process. The kernels and pyarrow release the GIL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from dedupe.engines import ATTEMPTS, FaultCounts, Stage
from dedupe.threads import Threads


class LocalEngine:
    """Runs tasks on `workers` threads, at most `workers` of them at a time."""

    def __init__(self, workers: int) -> None:
        self.concurrency = workers
        self.faults = FaultCounts()

    def start(self, prepare: Callable[[], None], notify: Callable[[str], None]) -> None:
        """Run `prepare`, once: there is one process, and nothing to tell about it."""
        prepare()

    def run(self, stage: Stage) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield each task with its result as they finish.

        The first error ends the run: no task is started after it, and it is raised once the
        running ones are through and their results were given. Only what may pass, such as a busy
        store, is tried again.
        """
        fatal: BaseException | None = None
        failures: Counter[int] = Counter()
        waiting = iter(stage.tasks)
        running: dict[Future[dict[str, Any]], int] = {}
        with Threads(self.concurrency, thread_name_prefix="dedupe") as pool:
            while True:
                for task in waiting if fatal is None else ():
                    running[pool.submit(stage.function, task)] = task
                    if len(running) >= self.concurrency:
                        break
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    error = future.exception()
                    if error is None:
                        yield task, future.result()
                        continue
                    failures[task] += 1
                    passing = getattr(error, "passing", False) and failures[task] < ATTEMPTS
                    if passing and fatal is None:
                        self.faults.retries += 1
                        running[pool.submit(stage.function, task)] = task
                    else:
                        fatal = fatal or error
        if fatal is not None:
            raise fatal

    def close(self) -> None:
        """Nothing is left: the threads end with their stage."""
