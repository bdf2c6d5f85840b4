"""Threads of a run: they see what holds for the run that they work for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any


class Threads(ThreadPoolExecutor):
    """A pool whose tasks find the context variables of whoever submits them."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        """Start a task, as the pool does: it is called with args and named, in our context."""
        return super().submit(copy_context().run, task, *args, **named)
