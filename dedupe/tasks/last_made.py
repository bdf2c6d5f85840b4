"""What tasks of one process need alike: made once, and kept until another is made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

Value = TypeVar("Value")


class LastMade:
    """The value that was made last, for tasks of one process that need the same one.

    It is made once, however many threads ask for it at the same time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: Any = None
        self._value: Any = None

    def get(self, key: Any, make: Callable[[], Value]) -> Value:
        """The value for a key; make: makes it where the last one was for another."""
        with self._lock:
            if self._key != key:
                self._key = self._value = None
                self._value = make()
                self._key = key
            value: Value = self._value
            return value

    def forget(self) -> None:
        """Let the value go: it takes much memory."""
        with self._lock:
            self._key = self._value = None
