"""How long a store that does not answer is asked again, and what is said meanwhile.

A store that has not answered at all in this run is given up after seconds: its name may be wrong.
One that has answered before may be down for a while, and is asked again for minutes. What fails for
good (no access, no such object) is never asked again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dedupe.remote import given

FIRST_SECONDS = 10.0
FIRST_TRIES = 4
"""How long, and how often, a store is asked that has not answered before."""

FIRST_PAUSE = 0.3
LONGEST_PAUSE = 15.0
"""Seconds between two requests: the first pause, each of the next being twice as long, the last."""

QUIET_SECONDS = 5.0
"""How long nothing is said: most of what passes does so at once."""

TELL_SECONDS = 30.0
"""How often the same is said again."""

Tell = Callable[[str], None]

_lock = threading.Lock()
_listeners: list[Tell] = []
_told_at = -TELL_SECONDS
_waiting: dict[int, tuple[float, str]] = {}
"""By thread: since when it asks in vain, and what it was answered."""


class Waiting:
    """One question to a store that may have to be asked again. uri: what it is about."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store = "/".join(uri.split("/", 3)[:3])
        self._began = time.monotonic()
        self._tries = 0
        self._pause = FIRST_PAUSE

    def answered(self) -> None:
        """The store has answered."""
        given.known_stores().add(self._store)
        _waiting.pop(threading.get_ident(), None)

    @property
    def waited(self) -> float:
        """Seconds since the first question."""
        return time.monotonic() - self._began

    @property
    def is_known(self) -> bool:
        """Whether the store has answered in this run."""
        return self._store in given.known_stores()

    def is_over(self) -> bool:
        """Take note that it was asked in vain: whether that was the last time."""
        self._tries += 1
        most = given.patience_seconds() if self.is_known else FIRST_SECONDS
        over = self.waited >= most or not (self.is_known or self._tries < FIRST_TRIES)
        if over:
            _waiting.pop(threading.get_ident(), None)
        return over

    def pause(self, words: str) -> None:
        """Wait before the next question; `words`: what the store said."""
        _waiting[threading.get_ident()] = (self._began, f"{self._uri}: {words}")
        _tell()
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def stalled() -> str:
    """What is asked again here for longer than a moment, the oldest; empty where nothing is."""
    since, words = min(list(_waiting.values()), default=(0.0, ""))
    waited = time.monotonic() - since
    if not words or waited < QUIET_SECONDS:
        return ""
    return f"{words}; asked again since {waited:.0f} s"


def _tell() -> None:
    global _told_at
    text = stalled()
    with _lock:
        now = time.monotonic()
        if not text or now - _told_at < TELL_SECONDS:
            return
        _told_at = now
        listeners = list(_listeners)
    for tell in listeners:
        tell(text)


@contextmanager
def stalls_told(tell: Tell) -> Iterator[None]:
    """Have `tell` called, from any thread, with what is asked again while the block runs."""
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)
