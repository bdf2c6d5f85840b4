"""Folders for a run over rows in memory: in memory themselves, where there is room for them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

MEMORY_DISK = Path("/dev/shm")  # noqa: S108 - Linux's file system in memory
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")

PREFIX = "dedupe-rows-"

ROW_ROOM = 2_000
"""Bytes that a run leaves of a row besides its shingles, at most: some five times what is usual."""


def room_for(rows: int, text_bytes: int) -> int:
    """Bytes that a run over so many rows can leave, at most: a shingle for every two of text."""
    return ROW_ROOM * rows + 4 * text_bytes


def temporary_folder(room: int) -> tuple[Path, Callable[[], None]]:
    """A new folder, and what removes it: in memory if `room` bytes fit twice, with 0 on a disk.

    A lock on it ends with this process: what killed processes have left in memory is removed here.
    """
    in_memory = room and 2 * room < free_memory() and os.access(MEMORY_DISK, os.W_OK)
    if in_memory:
        _remove_leftovers()
    hidden = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=MEMORY_DISK if in_memory else None))
    held = os.open(hidden, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    folder = hidden.rename(hidden.with_name(hidden.name[1:]))
    return folder, partial(_remove, folder, held, os.getpid())


def _remove(folder: Path, held: int, process: int) -> None:
    if os.getpid() == process:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _remove_leftovers() -> None:
    for folder in MEMORY_DISK.glob(f"{PREFIX}*"):
        with suppress(OSError):  # another user's, in use, or gone by now
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


def free_memory() -> int:
    """Bytes that files in memory may take; 0 where that is not known."""
    try:
        free = shutil.disk_usage(MEMORY_DISK).free
        lines = (PROC / "meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    known = dict(line.split(":", 1) for line in lines)
    free = min(free, int(known["MemAvailable"].split()[0]) * 1024)
    for limit, used in _limits():
        with suppress(OSError, ValueError):  # "max", or no such control group in sight
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def _limits() -> Iterator[tuple[Path, Path]]:
    """Files with limit and use of memory: of this process's control group and all above it."""
    with suppress(OSError):
        for line in (PROC / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            below = Path(path.lstrip("/"))
            for group in (below, *below.parents):
                if not controllers:
                    folder = CGROUPS / group
                    yield folder / "memory.max", folder / "memory.current"
                elif "memory" in controllers.split(","):
                    folder = CGROUPS / "memory" / group
                    yield folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes"
