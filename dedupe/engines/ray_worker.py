"""What runs in a worker process: an actor that keeps nothing but the function of a stage."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle

import dedupe
from dedupe.config import ALGORITHM
from dedupe.remote.patience import stalled
from dedupe.version import __version__

LIBRARIES = ("numpy", "pyarrow", "numba")
"""Whose major version must be the driver's: results are written with them."""

LOAD_SECONDS = 120.0
"""How long a task waits for the function of its stage, which is sent just before it."""

log = logging.getLogger("dedupe.worker")


def identity() -> dict[str, str]:
    """What must be the same in every process of a run, lest results depend on who made them."""
    source = hashlib.blake2b(digest_size=8)
    root = Path(dedupe.__file__).parent
    for path in sorted(root.rglob("*.py")):
        source.update(path.relative_to(root).as_posix().encode())
        source.update(path.read_bytes())
    return {
        "dedupe": __version__,
        "algorithm": str(ALGORITHM),
        "source": source.hexdigest(),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "byte order": sys.byteorder,
        **{name: version(name).partition(".")[0] for name in LIBRARIES},
    }


def package_path() -> str:
    """Where this process has the package from."""
    return str(Path(dedupe.__file__).parent)


class Worker:
    """A worker process. Tasks run on threads; `load` and `ping` have a thread of their own.

    number: of those that the run has asked for, by which Ray's dashboard tells it from others.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        os.environ["NUMBA_NUM_THREADS"] = "1"  # before numba is imported: the driver counts slots
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.INFO)
        self._loaded = threading.Condition()
        self._stage = -1
        self._function: Callable[[int], Any] | BaseException = RuntimeError("no stage")

    def __repr__(self) -> str:
        """What Ray shows it as."""
        return f"dedupe worker {self._number}"

    def handshake(self, expected: dict[str, str], prepare: bytes) -> dict[str, Any]:
        """Say who and where this worker is; where it is as expected, get ready for tasks."""
        found = identity()
        if found == expected:
            cloudpickle.loads(prepare)(log.info)
        node = ray.get_runtime_context().get_node_id()
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        return {"identity": found, "path": package_path(), "node": node, "address": address}

    @ray.method(concurrency_group="control")
    def ping(self) -> str:
        """Answer, however busy the other threads are: with the store that is asked in vain."""
        return stalled()

    @ray.method(concurrency_group="control")
    def load(self, stage: int, function: bytes) -> None:
        """Take the function of a stage in place of the one before."""
        loaded: Callable[[int], Any] | BaseException
        try:
            loaded = cloudpickle.loads(function)
        except Exception as error:
            loaded = error
        with self._loaded:
            if stage >= self._stage:  # calls can overtake one another
                self._stage, self._function = stage, loaded
            self._loaded.notify_all()

    def run(self, stage: int, task: int, label: str) -> Any:
        """Run a task of the stage that has been loaded, or is about to be.

        stage: number of the stage. task: of the task. label: what the log calls it.
        """
        with self._loaded:
            arrived = self._loaded.wait_for(lambda: self._stage >= stage, LOAD_SECONDS)
            number, function = self._stage, self._function
        if not arrived or number != stage:
            raise RuntimeError(f"the worker holds the function of stage {number}, not of {stage}")
        if isinstance(function, BaseException):
            raise function
        log.info("%s", label)
        return function(task)
