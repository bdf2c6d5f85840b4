"""Folders for a run over rows in memory: in memory themselves, where there is room for them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dedupe.machine import CONTROL_GROUPS, ControlGroups

PREFIX = "dedupe-rows-"

ROW_ROOM = 2_000
"""Bytes that a run leaves of a row besides its shingles, at most: some five times what is usual."""


def room_for(rows: int, text_bytes: int) -> int:
    """Bytes that a run over so many rows can leave, at most: a shingle for every two of text."""
    return ROW_ROOM * rows + 4 * text_bytes


@dataclass(frozen=True)
class MemoryDisk:
    """Linux's file system in memory, and where the kernel tells how much memory there is.

    folder: where files are in memory. groups: what bounds the memory of this process.
    """

    folder: Path = Path("/dev/shm")  # noqa: S108 - it is where everybody's temporary files are
    groups: ControlGroups = CONTROL_GROUPS

    def free(self) -> int:
        """Bytes that files in memory may take; 0 where that is not known."""
        try:
            free = shutil.disk_usage(self.folder).free
            lines = (self.groups.proc / "meminfo").read_text(encoding="utf-8").splitlines()
        except OSError:
            return 0
        known = dict(line.split(":", 1) for line in lines)
        free = min(free, int(known["MemAvailable"].split()[0]) * 1024)
        return min([free, *(limit - used for limit, used in self.groups.memory_used())])


MEMORY_DISK = MemoryDisk()


def temporary_folder(room: int, disk: MemoryDisk = MEMORY_DISK) -> tuple[Path, Callable[[], None]]:
    """A new folder, and what removes it: in memory if `room` bytes fit twice, with 0 on a disk.

    A lock on it ends with this process: what killed processes have left in memory is removed here.
    """
    in_memory = room and 2 * room < disk.free() and os.access(disk.folder, os.W_OK)
    if in_memory:
        _remove_leftovers(disk.folder)
    hidden = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=disk.folder if in_memory else None))
    held = os.open(hidden, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    folder = hidden.rename(hidden.with_name(hidden.name[1:]))
    return folder, partial(_remove, folder, held, os.getpid())


def _remove(folder: Path, held: int, process: int) -> None:
    if os.getpid() == process:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_leftovers(memory: Path) -> None:
    for folder in memory.glob(f"{PREFIX}*"):
        remove_unlocked(folder)


def remove_unlocked(folder: Path) -> None:
    """Remove a folder that no process holds a lock on; one that cannot be removed stays."""
    with suppress(OSError):  # another user's, in use, or gone by now
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(held)
