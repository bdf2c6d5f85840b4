"""What the machine lets this process use, and the container or job that the process is in.

Linux bounds these by control groups: limits of the process's own group and of all groups above it
hold. Version 1 has a tree for each controller, version 2 one for all.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ControlGroups:
    """The control groups of this process.

    cgroups, proc: the file systems of control groups and of processes.
    """

    cgroups: Path = Path("/sys/fs/cgroup")
    proc: Path = Path("/proc")

    def cores(self) -> int | None:
        """How many cores' time the process gets, rounded up; None where that is not bounded."""
        quotas = []
        for folder in self._folders("cpu"):
            with suppress(OSError, ValueError):  # "max", or no such control group in sight
                quota, period = map(int, (folder / "cpu.max").read_text().split())
                quotas.append(-(-quota // period))
            with suppress(OSError, ValueError):
                quota = int((folder / "cpu.cfs_quota_us").read_text())
                period = int((folder / "cpu.cfs_period_us").read_text())
                if quota > 0:
                    quotas.append(-(-quota // period))
        return max(1, min(quotas)) if quotas else None

    def memory(self) -> int | None:
        """Bytes that the process and all others of its group may have; None where unbounded."""
        limits = [limit for limit, _ in self.memory_used()]
        return min(limits, default=None)

    def memory_used(self) -> Iterator[tuple[int, int]]:
        """Limit and use of memory, in bytes, of each group that has a limit."""
        for folder in self._folders("memory"):
            for limit, used in (
                ("memory.max", "memory.current"),
                ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            ):
                with suppress(OSError, ValueError):
                    yield int((folder / limit).read_text()), int((folder / used).read_text())

    def _folders(self, controller: str) -> Iterator[Path]:
        """The folders of this process's group and of all above it."""
        with suppress(OSError):
            for line in (self.proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines():
                _, controllers, path = line.split(":", 2)
                if controllers and controller not in controllers.split(","):
                    continue
                below = Path(path.lstrip("/"))
                root = self.cgroups / controller if controllers else self.cgroups
                for group in (below, *below.parents):
                    yield root / group


CONTROL_GROUPS = ControlGroups()


def address_space() -> int | None:
    """Bytes of addresses that this process may map (`ulimit -v`); None where that is unbounded."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def least_address_space() -> int:
    """Bytes of addresses that the libraries of a run map, of which they use little.

    With 1.7 GB on two cores OpenBLAS, which numba loads, was seen to spin for ever; it maps more
    for each core.
    """
    return 2_400_000_000 + 32_000_000 * (os.cpu_count() or 1)


def cores(groups: ControlGroups = CONTROL_GROUPS) -> int:
    """How many threads can run at a time: the cores of the process, or what its group gets."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(own, groups.cores() or own)
