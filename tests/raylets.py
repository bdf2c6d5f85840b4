"""Several raylets on one machine: a cluster of nodes at 127.0.0.2, .3 …, each ended on its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import tempfile
import time
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

MEMORY = 100_000_000
"""What a worker of the tests asks for."""


HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}
"""A node that is gone is noticed after 2 s instead of 15 s."""

PATIENCE = {"gcs_rpc_server_reconnect_timeout_s": 86_400}
"""Ray ends a process with status 1, in which a call to a head that is gone waits for 60 s.

Threads of Ray go on calling in the test process when a cluster is shut down, and the tests behind
it would end there without a word.
"""


NO_WORKERS = (b"ray::IDLE", b"ray::DashboardAgent", b"ray::RuntimeEnvAgent")
"""Titles of processes that are a node's own."""


class Raylets:
    """A head without CPUs, and nodes that come and go; config: of Ray's own system, by name."""

    def __init__(self, **config):
        self.folder = tempfile.mkdtemp(prefix="rl-", dir="/tmp")
        self._before = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = self.folder  # where the address of the cluster is noted, too
        os.mkdir(os.path.join(self.folder, "ray"))
        self._hosts = itertools.count(2)
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **self._arguments(0),
                "include_dashboard": False,
                "_system_config": {**HEALTH_CHECKS, **PATIENCE, **config},
            },
        )

    def _arguments(self, cpus):
        return {
            "num_cpus": cpus,
            "memory": 10 * MEMORY,
            "node_ip_address": f"127.0.0.{next(self._hosts)}",
            "temp_dir": os.path.join(self.folder, "ray"),
            "object_store_memory": 80 << 20,
        }

    @property
    def address(self):
        return self._cluster.address

    def add(self, cpus):
        return self._cluster.add_node(**self._arguments(cpus))

    def end(self, node):
        """A node is gone, without a word."""
        self._cluster.remove_node(node, allow_graceful=False)

    def take(self, node):
        """A node leaves in good order."""
        self._cluster.remove_node(node)

    def workers(self):
        """Processes of workers, the oldest first, each with the address of its node."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, IndexError):  # it may end meanwhile
                title = (process / "cmdline").read_bytes()
                if not title.startswith(b"ray::") or title.startswith(NO_WORKERS):
                    continue  # a worker has the name of its task as its title
                state, parent, *more = (process / "stat").read_text().rpartition(")")[2].split()
                node = Path("/proc", parent, "cmdline").read_text()
                if self.folder in node and state != "Z":
                    address = re.search(r"--node_ip_address=([\d.]+)", node)[1]
                    found.append((int(more[17]), int(process.name), address))
        return [(pid, address) for _, pid, address in sorted(found)]

    def close(self):
        self._cluster.shutdown()
        if self._before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = self._before
        shutil.rmtree(self.folder, ignore_errors=True)


def alive(pid):
    """Whether a process runs. One that has ended and waits for its parent to notice does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def left_of(pids, seconds=10):
    """Those of the processes that still run after so long: orphans end when they notice."""
    until = time.monotonic() + seconds
    while (running := [pid for pid in pids if alive(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    return running


__all__ = ["MEMORY", "Raylets", "alive", "cloudpickle", "left_of", "ray"]
