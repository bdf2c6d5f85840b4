"""Whether there is a Ray at an address: asked before Ray is, which would wait for it for long."""

from __future__ import annotations

import os
import socket
import time

from dedupe.errors import EngineError, SettingsError

CONNECT_SECONDS = 8.0
"""How long a head may take to answer: it may be starting."""

PAUSE_SECONDS = 0.5
"""Between two questions."""

PROBE_SECONDS = 2.0
"""How long a head may take to answer while it is at work, and how soon it is asked again."""

HEAD_SECONDS = 45.0
"""How long a run goes on without a head: after 60 (Ray 2.60) Ray ends the process that waits."""

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""How a connection of gRPC begins: the preface of HTTP/2 and an empty SETTINGS frame (RFC 9113)."""

_SETTINGS = 4
_FRAME_HEAD = 9
"""Type of the frame that a server of HTTP/2 answers with, and bytes before what a frame holds."""

START_IT = (
    "if there is none, start it with `ray start --head`, or leave the address out for a Ray of "
    "this run's own"
)


def chosen_address(given: str | None) -> str:
    """The address of the cluster to join, or "local".

    given: what the user named; None for RAY_ADDRESS. Raises SettingsError for
    what is no such address.
    """
    variable = os.environ.get("RAY_ADDRESS", "")
    from_variable = given is None or (given == "auto" and variable)
    address = variable if from_variable else given or ""
    said = f"{address} (from RAY_ADDRESS)" if from_variable else address
    if address.startswith(("http://", "https://")):
        raise SettingsError(
            f"{said} is where jobs are submitted to, and no address of a cluster: submit the "
            f"command with `ray job submit --address {address} -- dedupe …`, or give --address "
            "auto on a node of the cluster, or --address with its head's host:port (6379 by "
            "default)"
        )
    if "://" in address:
        raise SettingsError(
            f"{said}: the driver must run inside the cluster, not as a Ray Client: submit the "
            "command with `ray job submit`, or give host:port from a node of it"
        )
    if from_variable and not address:
        return "local"
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local") and not (host and port.isdecimal() and int(port) < 1 << 16):
        raise SettingsError(f"{said} is no address of a Ray cluster: give host:port, or auto")
    return given or address


def check_answer(address: str) -> None:
    """Return when a server of gRPC has answered, as the head of a cluster is.

    address: host:port. Raises SettingsError after `CONNECT_SECONDS` without an answer, or at once
    where something else answers.
    """
    host, _, port = address.rpartition(":")
    until = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            answer = _answer(host.strip("[]"), int(port), until - time.monotonic())
            break
        except OSError as error:
            if time.monotonic() + PAUSE_SECONDS >= until:
                raise SettingsError(
                    f"no Ray cluster answers at {address} ({error.strerror or error}): {START_IT}"
                ) from error
        time.sleep(PAUSE_SECONDS)
    if len(answer) < _FRAME_HEAD or answer[3] != _SETTINGS:
        raise SettingsError(
            f"what answers at {address} is no Ray cluster: give the port of its head, 6379 unless "
            "`ray start --port` named another, and not that of its dashboard (8265)"
        )


class Head:
    """The head of a cluster during a run; `address` is its host:port.

    It is asked before Ray is: a call of Ray's does not return while the head is gone.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._silent_since: float | None = None
        self._asked = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether it did not answer when it was asked last."""
        return self._silent_since is not None

    def answers(self) -> bool:
        """Ask it. Raises EngineError where it has not answered for `HEAD_SECONDS`."""
        now = time.monotonic()
        if self.is_silent and now - self._asked < PROBE_SECONDS:
            return False
        self._asked = now
        error = silence_of(self._address)
        if error is None:
            self._silent_since = None
            return True
        self._silent_since = self._silent_since or now
        silence = time.monotonic() - self._silent_since
        if silence > HEAD_SECONDS:
            raise EngineError(
                f"the head of the Ray cluster at {self._address} has not answered for "
                f"{silence:.0f} seconds ({error.strerror or error}): when there is a cluster "
                "again, the same command goes on from here"
            ) from error
        return False


def silence_of(address: str) -> OSError | None:
    """Why nothing answers at an address of Ray, host:port; None where something does."""
    host, _, port = address.rpartition(":")
    try:
        _answer(host.strip("[]"), int(port), PROBE_SECONDS)
    except OSError as error:
        return error
    return None


def _answer(host: str, port: int, seconds: float) -> bytes:
    """The first bytes that a server sends, fewer where it hangs up. Raises OSError."""
    with socket.create_connection((host, port), timeout=seconds) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
            return bytes((0, 0, 0, _SETTINGS)) + bytes(5)  # gRPC within TLS: Ray asks it
        connection.sendall(_HELLO)
        answer = b""
        while len(answer) < _FRAME_HEAD:
            more = connection.recv(_FRAME_HEAD - len(answer))
            if not more:
                break
            answer += more
        return answer
