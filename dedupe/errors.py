"""What can go wrong, in few classes. Every message names the thing and the remedy.

The command line turns any `DedupeError` into one line on standard error and exit code 2;
anything else that escapes is a defect of this project and shows its traceback.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

MOST_NAMES = 40


class DedupeError(Exception):
    """Base of every error that a user can cause and mend.

    passing: whether it may be gone by itself when the same is tried again, as a busy store is.
    """

    passing = False

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows: what is wrong, in one line, as no code is at fault."""
        return [f"{type(self).__name__}: {printable(str(self))}"]


class SettingsError(DedupeError):
    """A setting, or a combination of settings, that cannot be run."""


class CorpusError(DedupeError):
    """A shard that cannot be read: names the file, and the row and column where it can."""

    def __init__(self, message: str, *, path: str, row: int | None = None) -> None:
        self.message = message
        self.path = path
        self.row = row
        where = path if row is None else f"{path}, row {row}"
        super().__init__(f"{where}: {message}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel from workers to the driver, and arrive as what they were."""
        made = partial(type(self), path=self.path, row=self.row)
        return made, (self.message,), vars(self)


class RowError(CorpusError):
    """A row that cannot be read, in a file that can."""


class WorkDirError(DedupeError):
    """A work or output directory that cannot be used or resumed."""


class DamageError(WorkDirError):
    """A file that is not as it was written.

    path: of the file. what: how that shows. remedy: what to do about it.
    """

    def __init__(self, path: str, what: str, *, remedy: str = "start again with --fresh") -> None:
        self.path = path
        self.what = what
        super().__init__(f"{path} is damaged ({what}): {remedy}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors travel from workers to the driver, and arrive as what they were."""
        return _as_it_was, (type(self), self.path, self.what, str(self))


class EngineError(DedupeError):
    """Workers that cannot be had or used, or a task that they failed at again and again."""


def disk_full(error: BaseException | None) -> str:
    """What an error says of a disk that is full, or of a quota that is used up; else nothing."""
    if not isinstance(error, OSError):
        return ""
    if error.errno == errno.EDQUOT:
        return "the disk quota is used up"
    is_full = error.errno == errno.ENOSPC or "No space left" in str(error)
    return "the disk is full" if is_full else ""


def disk_fault(error: BaseException | None) -> str:
    """What an error says of a disk that cannot be read or written, with the file; else nothing."""
    if not isinstance(error, OSError) or error.errno is None or isinstance(error, ConnectionError):
        return ""
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or errno.errorcode.get(error.errno, error.errno)}{where}"


def _as_it_was(kind: type[DamageError], path: str, what: str, message: str) -> DamageError:
    error = kind(path, what)
    error.args = (message,)
    return error


class IntegrityError(Exception):
    """Rows were lost or invented between two stages: a defect of this project, never the user's."""


STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Characters that steer a terminal or the direction of its text, and halves of characters."""


def printable(text: str) -> str:
    """Text from data for a terminal: characters that could steer it are replaced."""
    return STEERING.sub("\ufffd", text)


def listed(names: Sequence[str]) -> str:
    """Names of columns for a message, one after the other, but not too many of them."""
    return printable(", ".join(names[:MOST_NAMES])) + ", …" * (len(names) > MOST_NAMES)


def readable_size(size: float) -> str:
    """A number of bytes in three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
