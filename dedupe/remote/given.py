"""Storage options: what a user gives to the filesystems of stores, beside their environment.

They are those of one run at a time, for the whole process, since readers ask for filesystems from
many threads. They may hold secrets, so they are written nowhere and shown to nobody.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from dedupe.errors import SettingsError

StorageOptions: TypeAlias = "Mapping[str, Any]"
"""Keyword arguments of a filesystem of fsspec, or such for each protocol."""

PROTOCOLS = {
    "s3": "s3",
    "gs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "hf": "hf",
    "http": "http",
    "https": "http",
    "memory": "memory",
}
"""What may stand before ://, with the extra of this package that reads it."""

SHORTEST_SECRET = 8
"""Characters from which a value is masked in messages."""

_lock = threading.Lock()
_given: dict[str, dict[str, Any]] = {}
_runs = 0


def for_kind(kind: str) -> dict[str, Any]:
    """The options for an extra of this package, such as s3."""
    return dict(_given.get(kind, {}))


def all_given() -> dict[str, dict[str, Any]]:
    """The options by extra: for another process that is to use the same."""
    return {kind: dict(options) for kind, options in _given.items()}


@contextmanager
def using(options: StorageOptions | None, uris: Sequence[str]) -> Iterator[None]:
    """Use options while the block runs, and after it until others are given.

    uris: all places of the run that have a protocol. Raises SettingsError for options that are of
    no protocol or of several, and while another run uses other ones.
    """
    global _given, _runs
    wanted = by_kind(options, uris)
    with _lock:
        if _runs and options is not None and wanted != _given:
            raise SettingsError(
                "another run of this process uses other storage options: run one after the other"
            )
        if options is not None or not _runs:
            _given = wanted
        _runs += 1
    try:
        yield
    finally:
        with _lock:
            _runs -= 1


def use_everywhere(options: dict[str, dict[str, Any]]) -> None:
    """Use options in a process that works for one run alone."""
    global _given
    _given = options


def by_kind(options: StorageOptions | None, uris: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options by the extra that they are for; flat ones are for the only protocol there is."""
    if not options:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise SettingsError('storage options are not a mapping: write them like {"anon": true}')
    if all(name in PROTOCOLS and isinstance(one, Mapping) for name, one in options.items()):
        return {PROTOCOLS[name]: dict(one) for name, one in options.items()}
    protocols = sorted({uri.partition("://")[0] for uri in uris if "://" in uri})
    kinds = {PROTOCOLS[name] for name in protocols if name in PROTOCOLS}
    if len(kinds) != 1:
        found = " and ".join(protocols) or "no protocol"
        raise SettingsError(
            f"storage options are for one protocol, and the paths have {found}: write them for "
            'each, like {"s3": {"anon": true}}'
        )
    return {kinds.pop(): dict(options)}


def parsed(text: str) -> StorageOptions:
    """Options from the command line: JSON, or @FILE with it."""
    try:
        if text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:
                found = json.load(file)
        else:
            found = json.loads(text)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no JSON"
        raise SettingsError(
            f"--storage-options cannot be read ({why}): write a JSON object such as "
            "'{\"anon\": true}', or @FILE"
        ) from None
    if not isinstance(found, dict):
        raise SettingsError('--storage-options is no JSON object: write it like {"anon": true}')
    return found


def masked(text: str) -> str:
    """A message without any value of the options that is long enough for a secret."""
    for options in _given.values():
        for value in _texts(options):
            if len(value) >= SHORTEST_SECRET:
                text = text.replace(value, "***")
    return text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
