"""Showing how far a run is: bars on a terminal, plain lines elsewhere, nothing when silent."""

from __future__ import annotations

import sys
import time
from typing import IO, TYPE_CHECKING, Protocol

from dedupe.hiding import without_secrets
from dedupe.screen import console, lasting, say

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress(Protocol):
    """Shows how far a command is."""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """A stage begins.

        name: of the stage. tasks: how many it has. done: how many of them an earlier run finished.
        """

    def advance(self, rows: int) -> None:
        """One more task is done; it had that many rows."""

    def note(self, text: str) -> None:
        """Who works on it, what takes long, and what went wrong and was mended."""

    def close(self) -> None:
        """The last stage is over, or the command has failed."""


WHAT = {
    "compile": "compiling kernels, once",
    "survey": "looking at the shards",
    "sign": "reading text, computing signatures",
    "bucket": "grouping band keys",
    "join": "comparing all rows",
    "components": "joining components",
    "route": "sorting by component",
    "group": "grouping exact copies",
    "fetch": "reading candidates again",
    "verify": "proving duplicates",
    "keep": "writing the keep-list",
    "apply": "writing the rows that stay",
    "rows": "reading which rows are kept",
    "claims": "reading why rows are dropped",
    "sample": "reading rows to audit",
    "audit": "joining them with the corpus",
}
"""What each stage does, in the words of someone who waits for it."""


WIDE = 110
"""Columns of a terminal from which there is room for those words."""


class Silent:
    """Shows nothing."""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """See `Progress.stage`."""

    def advance(self, rows: int) -> None:
        """See `Progress.advance`."""

    def note(self, text: str) -> None:
        """See `Progress.note`."""

    def close(self) -> None:
        """See `Progress.close`."""


class Lines:
    """One line per stage when it is over, and one every ten seconds while it runs."""

    EVERY = 10.0

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = lasting(stream or sys.stderr)
        self._name = ""

    def stage(self, name: str, tasks: int, done: int) -> None:
        """See `Progress.stage`."""
        self._finish()
        self._name, self._tasks, self._done, self._rows = name, tasks, done, 0
        self._began = self._shown = time.monotonic()
        if done:
            self._say(f"{name}: {done} of {tasks} tasks were done before")

    def advance(self, rows: int) -> None:
        """See `Progress.advance`."""
        self._done += 1
        self._rows += rows
        if time.monotonic() - self._shown > self.EVERY:
            self._shown = time.monotonic()
            self._say(f"{self._name}: {self._done} of {self._tasks} tasks")

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._say(text)

    def close(self) -> None:
        """See `Progress.close`."""
        self._finish()

    def _finish(self) -> None:
        if self._name:
            seconds = time.monotonic() - self._began
            self._say(f"{self._name}: {self._done} of {self._tasks} tasks in {seconds:.1f} s")
        self._name = ""

    def _say(self, text: str) -> None:
        say(text, stream=self._stream)


class Bars:
    """A rich progress bar per stage."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        shown = console(error=True)
        words = [TextColumn("{task.description:<36}")] if shown.width >= WIDE else []
        self._progress = Progress(
            TextColumn("[bold]{task.fields[stage]:<10}"),
            *words,
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
            console=shown,
        )
        self._task: TaskID | None = None
        self._rows = 0
        self._began = 0.0
        self._progress.start()

    def stage(self, name: str, tasks: int, done: int) -> None:
        """See `Progress.stage`."""
        self._rows = 0
        self._began = time.monotonic()
        self._task = self._progress.add_task(
            WHAT[name], total=tasks, completed=done, stage=name, rate=""
        )

    def advance(self, rows: int) -> None:
        """See `Progress.advance`."""
        self._rows += rows
        seconds = max(time.monotonic() - self._began, 1e-3)
        rate = f"{self._rows / seconds:,.0f} rows/s" if self._rows else ""
        assert self._task is not None
        self._progress.update(self._task, advance=1, rate=rate)

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._progress.console.print(without_secrets(text), style="dim")

    def close(self) -> None:
        """See `Progress.close`."""
        self._progress.stop()
