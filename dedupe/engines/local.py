"""The local engine: threads of this process. The kernels and pyarrow release the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class LocalEngine:
    """Runs tasks on `workers` threads, at most `workers` of them at a time."""

    name = "local"

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, function: Callable[[Task], Result], tasks: Iterable[Task]
    ) -> Iterator[tuple[Task, Result]]:
        """Yield each task with its result as they finish.

        The first error ends the run: no task is started after it, and it is raised once the
        running ones are through.
        """
        waiting = iter(tasks)
        running: dict[Future[Result], Task] = {}
        with ThreadPoolExecutor(self.workers, thread_name_prefix="dedupe") as pool:
            while True:
                for task in waiting:
                    running[pool.submit(function, task)] = task
                    if len(running) >= self.workers:
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    yield task, future.result()
