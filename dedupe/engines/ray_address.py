"""Whether there is a Ray at an address: asked before Ray is, which would try for 14 minutes."""

from __future__ import annotations

import os
import socket
import time

from dedupe.errors import SettingsError

CONNECT_SECONDS = 8.0
"""How long a head may take to answer: it may be starting."""

PAUSE_SECONDS = 0.5
"""Between two questions."""

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
