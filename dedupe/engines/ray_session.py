"""The connection to Ray: joined, or started for this run and ended with it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import (
    ensure_token_if_auth_enabled,
)
from ray.exceptions import AuthenticationError, RayError
from ray.job_config import JobConfig

import dedupe
from dedupe.engines.ray_address import START_IT, check_answer, chosen_address
from dedupe.errors import EngineError, SettingsError

OBJECT_STORE_BYTES = 256 << 20
"""Of a local Ray: only functions of stages go through its object store."""

LONGEST_BASE = 24
"""Characters of a temporary directory whose sockets keep within the 107 of a Unix socket's path."""

SHUTDOWN_SECONDS = 30.0
"""How long to wait for Ray to let go."""

HOW_TO_GIVE_IT = (
    "give the cluster's token with RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
)


class Session:
    """Where the workers are: a cluster that was joined, or a Ray of this run's own.

    address: None for RAY_ADDRESS or else a Ray of our own, "local" for the latter, "auto" for the
    cluster on this machine, or host:port. cpus, memory: what a Ray of our own offers.
    """

    def __init__(
        self, address: str | None, cpus: int, memory: int, runtime_env: Mapping[str, Any] | None
    ) -> None:
        self.address = chosen_address(address)
        self._cpus = cpus
        self._memory = memory
        self._runtime_env = runtime_env
        self._joined = False
        self._undo = contextlib.ExitStack()

    @property
    def is_local(self) -> bool:
        """Whether Ray is this run's own."""
        return self.address == "local"

    @property
    def doing(self) -> str:
        """What `open` does, for those who wait for it."""
        return "starting Ray" if self.is_local else f"joining Ray at {self.address}"

    def open(self) -> None:
        """Join or start Ray. One that this process is already connected to is used as it is."""
        if ray.is_initialized():
            self.address = ray.get_runtime_context().gcs_address
            return
        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "runtime_env": self._runtime_env and dict(self._runtime_env),
            "job_config": _Job(),
        }
        with _sigterm_kept():
            try:
                self._undo.enter_context(_quiet())
                self._start(common) if self.is_local else self._join(common)
            except BaseException:
                self.close()
                raise

    def _start(self, common: dict[str, Any]) -> None:
        """Start Ray on this machine, behind a token that is written nowhere."""
        self._undo.enter_context(_own_token())
        base = tempfile.gettempdir()
        folder = tempfile.mkdtemp(
            prefix="dedupe-",
            dir=base if len(base) <= LONGEST_BASE else "/tmp",  # noqa: S108  (mkdtemp is safe there)
        )
        self._undo.callback(shutil.rmtree, folder, ignore_errors=True)
        self._joined = True
        try:
            ray.init(
                address="local",
                num_cpus=self._cpus,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _memory=self._memory,
                _temp_dir=folder,
                **common,
            )
        except Exception as error:
            raise EngineError(f"Ray cannot be started on this machine: {_line(error)}") from error

    def _join(self, common: dict[str, Any]) -> None:
        self._joined = True
        try:
            self._check_head()
            ray.init(address=self.address, **common)
        except AuthenticationError as error:
            raise SettingsError(
                f"Ray at {self.address} asks for a token, and {_said_of_token()}: {HOW_TO_GIVE_IT}"
            ) from error
        except (RayError, RuntimeError, ValueError, OSError) as error:
            raise SettingsError(
                f"no Ray cluster can be joined at {self.address} ({_line(error)}): if there is one "
                f"that asks for a token, {HOW_TO_GIVE_IT}; {START_IT}"
            ) from error

    def _check_head(self) -> None:
        """See that there is a cluster which takes our token, so that Ray need not try for long."""
        services: Any = ray._private.services
        address = services.canonicalize_bootstrap_address(self.address)
        if address is not None:
            check_answer(address)
            ensure_token_if_auth_enabled(create_token_if_missing=False)
            raylet: Any = ray._raylet
            raylet.GcsClient(address=address)

    def close(self, seconds: float = SHUTDOWN_SECONDS) -> None:
        """Leave Ray, and end it if this run started it; give up waiting after `seconds`."""
        if self._joined:
            self._joined = False
            leave = threading.Thread(
                target=ray.shutdown, kwargs={"wait_for_processes": True}, daemon=True
            )
            leave.start()
            leave.join(seconds)
        self._undo.close()


class _Job(JobConfig):
    """What workers are told of the run: they import this package from where the driver has it.

    Ray would have them look first into the driver's working directory, and into that of its script,
    where files of the user may be named like modules.
    """

    def _serialize(self) -> str:
        job: Any = self  # Ray gives these methods no types
        if not job._runtime_env_has_working_dir():  # else they find it there
            self._py_driver_sys_path = folders_of_package()
        return super()._serialize()


def folders_of_package() -> list[str]:
    """Where workers are to look for this package first; nothing where it is installed.

    An installed one is found by itself, and what is installed beside it must not hide modules of
    Python. A folder that a node does not have is passed over there.
    """
    folder = Path(dedupe.__file__).parent.parent
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return [] if folder in installed else [str(folder)]


def _said_of_token() -> str:
    """What the environment says of a token."""
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return "RAY_AUTH_MODE is not token"
    given = [name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name)]
    return f"that in {given[0]} is not its token" if given else "none is given"


def _line(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray.init replaces the handler of SIGTERM: put it back."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from printing what is told in our own messages, and from changing breakpoint()."""
    before = ray._private.worker._worker_logs_enabled
    ray._private.worker._worker_logs_enabled = False  # deaths of workers, on standard output
    try:
        with _environment({"RAY_IGNORE_UNHANDLED_ERRORS": "1", "PYTHONBREAKPOINT": ""}):
            yield
    finally:
        ray._private.worker._worker_logs_enabled = before


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    """A token of this run's own, in the environment of this process and of those it starts."""
    ours = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        with _environment({**ours, "RAY_USAGE_STATS_ENABLED": "0"}):
            _read_token_again()
            yield
    finally:
        _read_token_again()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _read_token_again() -> None:
    """Ray reads mode and token once in a process: have it look again."""
    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
