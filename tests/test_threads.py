"""Threads that help with a task: the order of what they find, and the time they take."""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar

import pytest

from dedupe.threads import Helpers

WORD = ContextVar("WORD", default="nothing")


def busy(part: int) -> tuple[int, str, str]:
    """Take some CPU time."""
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    return part, WORD.get(), threading.current_thread().name


def test_helpers_answer_in_order_and_say_what_they_took() -> None:
    WORD.set("ours")
    with Helpers(3) as helpers:
        found = list(helpers.spread(busy, range(8)))
        assert [(part, word) for part, word, _ in found] == [(part, "ours") for part in range(8)]
        assert all(name.startswith("dedupe-helper") for _, _, name in found)
        assert helpers.cpu_seconds >= 8 * 0.01
        assert list(helpers.spread(busy, ())) == []


def test_an_error_of_a_helper_is_that_of_the_task() -> None:
    def fail(part: int) -> None:
        raise ZeroDivisionError(part)

    with Helpers(2) as helpers, pytest.raises(ZeroDivisionError):
        list(helpers.spread(fail, range(4)))
