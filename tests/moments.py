"""Something happens at a chosen moment of a run: a kill, an error, a change of a file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from dedupe.progress import Silent


class Killed(BaseException):
    """What stands for the end of the process, where a test goes on in it."""


def raise_killed() -> None:
    raise Killed


class At(Silent):
    """Progress that calls `what` when a stage begins, or when so many of its tasks are committed.

    stage: its name. done: tasks of it that are committed by then, besides those that an earlier run
    had committed; None: it has only begun.
    """

    def __init__(self, stage: str, what: Callable[[], None] = raise_killed, done=None) -> None:
        self._when, self._what, self._done = stage, what, done
        self._name, self._count = "", 0
        self.stages: dict[str, int] = {}
        self.notes: list[str] = []

    def stage(self, name: str, tasks: int, done: int) -> None:
        self._name, self._count = name, 0
        self.stages[name] = tasks
        if name == self._when and self._done is None:
            self._what()

    def advance(self, rows: int) -> None:
        self._count += 1
        if self._name == self._when and self._count == self._done:
            self._what()

    def note(self, text: str) -> None:
        self.notes.append(text)


def kill() -> None:
    """End this process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_uncommitted(work: Path, stage: str) -> Callable[[], None]:
    """End this process; of a stage's tasks the last has written its files, and is not committed."""

    def what() -> None:
        results = list(work.glob(f"dedupe-*/{stage}/[0-9]*.json"))
        max(results, key=lambda path: path.stat().st_mtime_ns).unlink()
        kill()

    return what


FILE_OPERATIONS = {
    *(
        "open",
        "os.chmod",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
    ),
    *("os.scandir", "shutil.rmtree"),
}
"""Audit events of Python that are operations of files."""


class FileOperations:
    """Counts operations of files below a folder, and ends this process before one of them.

    folder: whose files count. last: number of the operation that is not done; None to count alone.
    It can be made once in a process, as an audit hook stays.
    """

    def __init__(self, folder: Path, last: int | None = None) -> None:
        self._below, self._last = os.fspath(folder), last
        self.done: list[str] = []
        sys.addaudithook(self._see)

    def _see(self, event: str, given: tuple) -> None:
        if event not in FILE_OPERATIONS or not given or not isinstance(given[0], str | Path):
            return
        path = os.fspath(given[0])
        if path.startswith(self._below):
            self.done.append(f"{event} {path}")
            if len(self.done) == self._last:
                kill()
