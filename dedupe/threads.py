"""Threads of a run: they see what holds for the run that they work for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any


class Threads(ThreadPoolExecutor):
    """A pool whose tasks find the context variables of whoever submits them."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Start a task, as the pool does: it is called with args and named, in our context."""
        return super().submit(copy_context().run, task, *args, **named)


class Helpers(Threads):
    """Threads that help with one task. cpu_seconds: what they have taken so far."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "dedupe-helper")
        self.cpu_seconds = 0.0

    def spread(self, function: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        """What a function says of each part, in their order; all are begun at once."""

        def timed(part: Any) -> tuple[Any, float]:
            began = time.thread_time()
            result = function(part)
            return result, time.thread_time() - began

        for result, seconds in self.map(timed, parts):
            self.cpu_seconds += seconds
            yield result
