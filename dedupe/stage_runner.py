"""Runs the stages of any command on any engine: commits results, resumes from them, times each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Protocol, TypeVar

from dedupe.engines import Engine, Stage
from dedupe.errors import DamageError
from dedupe.progress import Plan, Progress
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import TaskResult

MOST_REPAIRS = 1000
"""Damaged files of one run whose tasks are done again; beyond it, the disk is at fault."""

Result = TypeVar("Result", bound=TaskResult)
Answer = TypeVar("Answer")


class Described(Protocol):
    """What tasks belong to: knows where they leave things, and what messages call them."""

    @property
    def work(self) -> WorkDir:
        """Where results are committed."""

    def describe(self, stage: str, task: int) -> str:
        """Name a task."""


class StageRunner:
    """Runs stages on an engine, one after the other.

    engine: started. progress: is told how far each stage is. times: of each stage that was run,
    tasks, tasks that were done before, wall and CPU seconds. bytes: of the files that each left.
    """

    def __init__(self, engine: Engine, progress: Progress) -> None:
        self._engine = engine
        self._progress = progress
        self._repaired: set[str] = set()
        self.times: dict[str, dict[str, float]] = {}
        self.bytes: dict[str, int] = {}

    @property
    def faults(self) -> dict[str, int]:
        """What went wrong and was mended, by kind: see `engines.FaultCounts`."""
        return {**asdict(self._engine.faults), "damaged_files": len(self._repaired)}

    def note(self, text: str) -> None:
        """Tell whoever watches."""
        self._progress.note(text)

    def plan(self, stages: Plan) -> None:
        """Tell whoever watches which stages follow."""
        self._progress.plan(stages)

    def survey(
        self, function: Callable[[int], Result], tasks: int, name: str = "survey"
    ) -> list[Result]:
        """Run tasks of which nothing is left behind; their results in order.

        function: of the number of a task. tasks: how many. name: of the stage.
        """
        self._progress.stage(name, tasks, 0)
        results = {}
        describe = f"{name} task {{}}".format
        stage = Stage(name, function, range(tasks), describe, self._progress.running)
        for task, result in self._engine.run(stage):
            results[task] = result
            self._progress.advance(result.rows)
        return [results[task] for task in range(tasks)]

    def run(
        self,
        job: Described,
        name: str,
        kind: type[Result],
        function: Callable[[int], Result],
        tasks: Sequence[int],
    ) -> dict[int, Result]:
        """Run the tasks of a stage that have no result yet; the results of all, by task.

        job: what the tasks belong to. name: of the stage. kind: of its results. function: of the
        number of a task. tasks: numbers, in the order in which to start them.
        """
        return self._run(job, name, kind, lambda _: function, [tasks])

    def run_tree(
        self,
        job: Described,
        name: str,
        kind: type[Result],
        function: Callable[[Mapping[int, Result], int], Result],
        levels: Sequence[Sequence[int]],
    ) -> dict[int, Result]:
        """Run tasks of which some read what others of the same stage left: see `run`.

        job, name, kind: as in `run`. function: of the results of all levels before, and the number
        of a task. levels: numbers of the tasks of each level.
        """
        return self._run(job, name, kind, lambda found: partial(function, dict(found)), levels)

    def _run(
        self,
        job: Described,
        name: str,
        kind: type[Result],
        function_of: Callable[[Mapping[int, Result]], Callable[[int], Result]],
        levels: Sequence[Sequence[int]],
    ) -> dict[int, Result]:
        wall = time.perf_counter()
        tasks = [task for level in levels for task in level]
        found = job.work.results(name)
        results = {task: kind.from_json(found[task]) for task in tasks if task in found}
        todo = [[task for task in level if task not in results] for level in levels]
        resumed = len(tasks) - sum(map(len, todo))
        self._progress.stage(name, len(tasks), resumed)
        for level in filter(None, todo):
            function = partial(_timed, function_of(results))
            describe = partial(job.describe, name)
            stage = Stage(name, function, level, describe, self._progress.running)
            for task, result in self._engine.run(stage):
                job.work.commit(name, task, result.as_json())
                results[task] = result
                self._progress.advance(result.rows)
        self._note_times(name, list(results.values()), resumed, time.perf_counter() - wall)
        return results

    def _note_times(
        self, name: str, results: Sequence[TaskResult], resumed: int, wall: float
    ) -> None:
        before = self.times.get(name, {"wall_seconds": 0.0})
        self.times[name] = {
            "tasks": len(results),
            "resumed": resumed,
            "wall_seconds": before["wall_seconds"] + wall,
            "cpu_seconds": sum(result.cpu_seconds for result in results),
        }
        self.bytes[name] = sum(result.bytes for result in results)

    def repairing(self, work: WorkDir, attempt: Callable[[], Answer]) -> Answer:
        """What `attempt` gives; where it finds a damaged file, the task that made it is done again.

        work: where results are committed. attempt: runs the stages, from the first on. A file that
        is damaged twice is an error.
        """
        while True:
            try:
                return attempt()
            except DamageError as error:
                known = error.path in self._repaired or len(self._repaired) >= MOST_REPAIRS
                if known or not work.forget_maker(error.path):
                    raise
                self._repaired.add(error.path)
                self.note(f"{error.path} is damaged ({error.what}): it is made again")


def _timed(function: Callable[[int], Result], task: int) -> Result:
    """The result of a task, with the CPU seconds it took."""
    began = time.thread_time()
    result = function(task)
    return replace(result, cpu_seconds=result.cpu_seconds + time.thread_time() - began)
