"""Engines map a stage's tasks to workers; the stages know nothing of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from dedupe.engines.local import LocalEngine

ENGINES = ("local",)


class Engine(Protocol):
    """What the pipeline needs of an engine."""

    name: str
    workers: int

    def run(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each task with its result, in any order; raise the first error."""
        ...


__all__ = ["ENGINES", "Engine", "LocalEngine"]
