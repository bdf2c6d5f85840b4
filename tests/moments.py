"""Something happens at a chosen moment of a run: a kill, an error, a change of a file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path


class Killed(BaseException):
    """What stands for the end of the process, where a test goes on in it."""


def raise_killed() -> None:
    raise Killed


class At:
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

    def close(self) -> None:
        pass


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
