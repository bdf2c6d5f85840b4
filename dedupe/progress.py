"""Showing how far a run is: bars on a terminal, plain lines elsewhere, nothing when silent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Protocol

from dedupe.hiding import without_secrets
from dedupe.screen import console, lasting, say

if TYPE_CHECKING:
    from rich.progress import TaskID


Plan = Sequence[tuple[str, float]]
"""The stages of a command in their order, each with its part of the time, in any unit."""


class Progress(Protocol):
    """Shows how far a command is. A class of yours can inherit from `Silent`."""

    def plan(self, stages: Plan) -> None:
        """Say which stages follow; if a damaged file is made again, they are said once more."""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """A stage begins.

        name: of the stage. tasks: how many it has. done: how many of them an earlier run finished.
        """

    def advance(self, rows: int) -> None:
        """One more task is done; it had that many rows."""

    def running(self, task: str, seconds: float) -> None:
        """Say about once a second that work continues.

        task: name of the oldest task that is running; empty if none is, for lack of workers.
        seconds: since that task began.
        """

    def note(self, text: str) -> None:
        """Say something: who works, what takes long, what went wrong and was mended."""

    def close(self) -> None:
        """The last stage is over, or the command has failed."""


WHAT = {
    "compile": "compiling kernels, once",
    "survey": "looking at the shards",
    "seek": "looking for columns",
    "sign": "reading text, computing signatures",
    "bucket": "grouping band keys",
    "join": "comparing all rows",
    "components": "joining components",
    "route": "sorting by component",
    "group": "grouping exact copies",
    "fetch": "reading candidates again",
    "verify": "proving duplicates",
    "keep": "writing the keep-list",
    "lookup": "looking for band keys in the index",
    "resolve": "looking for rows of the index",
    "touch": "counting what they belong to",
    "choose": "choosing kept rows of the index",
    "admit": "bringing them into the run",
    "connect": "connecting rows with the index",
    "classify": "naming what grew together",
    "segment": "writing what the index keeps",
    "compact": "writing one segment of all",
    "counts": "counting copies in all crawls",
    "pairs": "looking for similar pairs",
    "sweep": "proving at each threshold",
    "apply": "writing the rows that stay",
    "rows": "reading which rows are kept",
    "claims": "reading why rows are dropped",
    "dropped": "reading which rows the run dropped",
    "columns": "reading what links and stratifies",
    "groups": "linking rows of equal values",
    "earlier": "reading the earlier split",
    "keys": "sorting rows by content",
    "pin": "finding rows of the earlier split",
    "clusters": "joining what is linked",
    "relate": "reading rows between splits",
    "rounds": "settling rows between splits",
    "gather": "sorting rows by cluster",
    "name": "naming clusters",
    "fill": "filling test and validation",
    "spread": "sorting clusters by row",
    "write": "writing the splits",
    "sizes": "measuring clusters",
    "hold": "reading test and validation",
    "near": "looking for the nearest rows",
    "items": "reading test items",
    "common": "leaving out common phrases",
    "match": "comparing rows with test items",
    "report": "writing what was found",
    "look": "looking for problems",
    "signatures": "computing signatures",
    "twins": "comparing prompts and answers",
    "sample": "reading rows to audit",
    "scan": "going through the corpus",
    "count": "counting what was found",
}
"""What each stage does, in the words of someone who waits for it."""


WIDE = 110
"""Columns of a terminal from which there is room for those words."""


class Silent:
    """Shows nothing."""

    def plan(self, stages: Plan) -> None:
        """See `Progress.plan`."""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """See `Progress.stage`."""

    def advance(self, rows: int) -> None:
        """See `Progress.advance`."""

    def running(self, task: str, seconds: float) -> None:
        """See `Progress.running`."""

    def note(self, text: str) -> None:
        """See `Progress.note`."""

    def close(self) -> None:
        """See `Progress.close`."""


class Course:
    """How far a planned command is as a whole.

    stages: the plan. now: seconds, by any clock. least: the part that was said to be done.
    """

    def __init__(self, stages: Plan, now: float, least: float = 0.0) -> None:
        self._names = [name for name, _ in stages]
        whole = sum(share for _, share in stages)
        self._shares = [share / whole for _, share in stages]
        self._began = now
        self._least = least
        self._at = 0
        self._found = 0.0
        self._before = 0.0

    def stage(self, name: str, done: float) -> None:
        """A stage begins, of which that part was done before; one of no plan changes nothing."""
        if name in self._names[self._at :]:
            self._at = self._names.index(name, self._at) + 1
            self._before = sum(self._shares[: self._at - 1])
            self._found += done * self._shares[self._at - 1]

    @property
    def number(self) -> str:
        """Which stage of how many it is."""
        return f"{self._at} of {len(self._names)}"

    def done(self, of_stage: float) -> float:
        """The part of the whole that is done, which never falls; of_stage: that of the stage."""
        self._least = max(self._least, self._reached(of_stage))
        return self._least

    def left(self, of_stage: float, now: float) -> float | None:
        """Seconds that the rest takes at the pace so far; None while nothing tells.

        of_stage: the part of the stage that is done. now: by the same clock as before.
        """
        reached = self._reached(of_stage)
        worked = reached - self._found
        if worked <= 1e-9:
            return None
        return (1 - reached) * (now - self._began) / worked

    def _reached(self, of_stage: float) -> float:
        return self._before + of_stage * self._shares[self._at - 1] if self._at else 0.0


class Lines:
    """One line per stage when it is over, and one every 20 seconds while it runs.

    From the first stage on, each begins with the time of day.

    stream: where to; None for standard error. clock: seconds, of which only differences count.
    time_of_day: as it is shown.
    """

    EVERY = 20.0

    def __init__(
        self,
        stream: IO[str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        time_of_day: Callable[[], str] = lambda: time.strftime("%H:%M:%S"),
    ) -> None:
        self._stream = lasting(stream or sys.stderr)
        self._clock = clock
        self._time_of_day = time_of_day
        self._name = self._shown_name = ""
        self._course: Course | None = None
        self._is_timed = False

    def plan(self, stages: Plan) -> None:
        """See `Progress.plan`."""
        self._finish()
        least = self._course.done(0.0) if self._course else 0.0
        self._course = Course(stages, self._clock(), least)

    def stage(self, name: str, tasks: int, done: int) -> None:
        """See `Progress.stage`."""
        self._finish()
        self._is_timed = True
        self._name, self._tasks, self._done, self._rows = name, tasks, done, 0
        self._began = self._shown = self._clock()
        self._oldest, self._age = "", 0.0
        self._shown_name = name
        if self._course:
            self._course.stage(name, self._part)
            self._shown_name = f"{name} (stage {self._course.number})"
        if done:
            self._say(f"{self._shown_name}: {done} of {tasks} tasks were done before")

    def advance(self, rows: int) -> None:
        """See `Progress.advance`."""
        self._done += 1
        self._rows += rows
        self._show_now_and_then()

    def running(self, task: str, seconds: float) -> None:
        """See `Progress.running`."""
        self._oldest, self._age = task, seconds
        self._show_now_and_then()

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._say(text)

    def close(self) -> None:
        """See `Progress.close`."""
        self._finish()

    @property
    def _part(self) -> float:
        """The part of the stage that is done."""
        return self._done / self._tasks if self._tasks else 1.0

    def _show_now_and_then(self) -> None:
        now = self._clock()
        if now - self._shown < self.EVERY:
            return
        self._shown = now
        said = [f"{self._shown_name}: {self._done} of {self._tasks} tasks"]
        if self._rows:
            said.append(f"{self._rows / (now - self._began):,.0f} rows/s")
        if self._course:
            done = min(int(100 * self._course.done(self._part)), 99)
            said.append(f"about {done} % of the run")
            left = self._course.left(self._part, now)
            said += [] if left is None else [f"about {_duration(left)} left"]
        if self._oldest:
            said.append(f"the oldest task is {self._oldest}, begun {_duration(self._age)} ago")
        self._say(", ".join(said))

    def _finish(self) -> None:
        if self._name:
            seconds = self._clock() - self._began
            if self._course:
                self._course.done(self._part)
            self._say(f"{self._shown_name}: {self._done} of {self._tasks} tasks in {seconds:.1f} s")
        self._name = ""

    def _say(self, text: str) -> None:
        clock = f"{self._time_of_day()} " if self._is_timed else ""
        say(clock + text, stream=self._stream)


def _duration(seconds: float) -> str:
    """A time in the unit that fits: 95 s, 12 min, 3 h 20 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Bars:
    """A bar for each stage, and one for the whole command, on a terminal.

    The bar of the whole says which stage of how many it is, and how long the rest takes, about.
    """

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        shown = console(error=True)
        words = [TextColumn("{task.description:<36}")] if shown.width >= WIDE else []
        self._progress = Progress(
            TextColumn("[bold]{task.fields[stage]:<10}"),
            *words,
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[said]}"),
            console=shown,
        )
        self._whole: TaskID | None = None
        self._task: TaskID | None = None
        self._course: Course | None = None
        self._tasks = self._done = self._rows = 0
        self._began = 0.0
        self._start()

    def plan(self, stages: Plan) -> None:
        """See `Progress.plan`."""
        least = self._course.done(0.0) if self._course else 0.0
        self._course = Course(stages, time.monotonic(), least)
        self._start()
        if self._whole is None:
            self._whole = self._progress.add_task("the whole", total=100, stage="whole", said="")

    def stage(self, name: str, tasks: int, done: int) -> None:
        """See `Progress.stage`."""
        self._start()
        self._tasks, self._done, self._rows = tasks, done, 0
        self._began = time.monotonic()
        if self._course is not None:
            self._course.stage(name, self._part)
        self._task = self._progress.add_task(
            WHAT.get(name, name), total=tasks, completed=done, stage=name, said=""
        )
        self._show_whole()

    def advance(self, rows: int) -> None:
        """See `Progress.advance`."""
        self._done += 1
        self._rows += rows
        seconds = max(time.monotonic() - self._began, 1e-3)
        said = f"{self._rows / seconds:,.0f} rows/s" if self._rows else ""
        assert self._task is not None
        self._progress.update(self._task, advance=1, said=said)
        self._show_whole()

    def running(self, task: str, seconds: float) -> None:
        """See `Progress.running`; the bars have a clock of their own."""

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._progress.console.print(without_secrets(text), style="dim")

    def close(self) -> None:
        """See `Progress.close`."""
        self._show_whole()
        self._progress.stop()
        for task in self._progress.task_ids:  # what comes next has bars of its own
            self._progress.update(task, visible=False)
        self._course = self._whole = None
        _shown.discard(self)

    def _start(self) -> None:
        """Show the bars, again where another command goes on with them."""
        _shown.add(self)
        self._progress.start()

    @property
    def _part(self) -> float:
        """The part of the stage that is done."""
        return self._done / self._tasks if self._tasks else 1.0

    def _show_whole(self) -> None:
        if self._course is None or self._whole is None:
            return
        done = self._course.done(self._part)
        left = self._course.left(self._part, time.monotonic())
        said = f"stage {self._course.number}"
        if left is not None and done < 1:
            said += f", about {_duration(left)} left"
        self._progress.update(self._whole, completed=int(100 * done), said=said)


_shown: set[Bars] = set()
"""Bars that are on a terminal now."""


def stop_bars() -> None:
    """Take all bars off the terminal, where a command ends at once; its cursor is shown again."""
    for bars in tuple(_shown):
        bars.close()


def usual_progress() -> Progress:
    """What shows how far a command is, where nobody said: bars and lines where a person watches.

    Bars on a terminal, lines in a notebook, nothing elsewhere. `Silent` shows nothing anywhere.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return Bars()
    return Lines() if _is_notebook() else Silent()


def _is_notebook() -> bool:
    """Whether this is a cell of a notebook."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None else None
    return getattr(found, "kernel", None) is not None
