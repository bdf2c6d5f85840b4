"""Files that cannot be read and are left out, where that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from dedupe.config import Settings
from dedupe.errors import CorpusError, RowError

Item = TypeVar("Item")


class BadFileError(Exception):
    """A file that is to be left out: its path, and why it cannot be read."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


def leaving_out(items: Iterable[Item], settings: Settings) -> Iterator[Item]:
    """What is read of a file; BadFileError where it cannot be read and is to be left out.

    items: what is read. settings: of the run. A row that cannot be read, or a store that does not
    answer, makes no bad file.
    """
    try:
        yield from items
    except CorpusError as error:
        if not settings.skips_files or isinstance(error, RowError) or error.passing:
            raise
        raise BadFileError(error.path, error.message) from None
