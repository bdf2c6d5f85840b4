"""Storage options: what a user gives to the filesystems of stores, beside their environment.

Each run has its own, in a context variable: runs in several threads of a process do not see one
another's. `dedupe.threads` hands them on to the threads of a run. They may hold secrets, so they
are written nowhere and shown to nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any, TypeAlias

from dedupe.config import StorageOptions
from dedupe.errors import SettingsError
from dedupe.hiding import lacks_secrets, told_apart, without_secrets_of

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

URLS = "urls"
"""The storage option that lists URLs with secrets; here each of them by what is shown of it."""

PATIENCE = "patience"
"""The storage option that says for how many seconds a store that is down is asked again."""

PATIENCE_SECONDS = 600.0
"""Where it is not given: outages of stores are over in minutes."""

KNOWN = "known"
"""Beside the options of a run: the stores that have answered in it."""

SHORTEST_SECRET = 8
"""Characters from which a value is masked in messages."""

OptionsByExtra: TypeAlias = "dict[str, dict[str, Any]]"
"""Storage options by the extra of this package that they are for."""

_of_run: ContextVar[OptionsByExtra | None] = ContextVar("storage options of a run", default=None)
_of_process: OptionsByExtra = {}


def all_given() -> OptionsByExtra:
    """The options in use here, for another thread or process that is to use the same."""
    own = _of_run.get()
    return _of_process if own is None else own


def for_kind(kind: str) -> dict[str, Any]:
    """The options for an extra of this package; `kind` is its name, such as s3."""
    return dict(all_given().get(kind, {}))


def patience_seconds() -> float:
    """For how long a store that has answered before is asked again."""
    return float(all_given().get(PATIENCE, {}).get("seconds", PATIENCE_SECONDS))


def known_stores() -> set[str]:
    """Stores that have answered in this run; outside of a run, none is remembered."""
    found: set[str] = all_given().get(KNOWN, {}).get("stores", set())
    return found


def names(uri: str, kinds: OptionsByExtra) -> bool:
    """Whether options name the store of a URI: its protocol, or the URI itself.

    uri: with a protocol. kinds: options by extra, see `all_given`.
    """
    extra = PROTOCOLS.get(uri.partition("://")[0])
    return extra in kinds or uri in kinds.get(URLS, {})


def whole(uri: str) -> str:
    """The URL with its secrets, where it was given; SettingsError where it was not."""
    url = all_given().get(URLS, {}).get(uri)
    if url is None and lacks_secrets(uri):
        raise SettingsError(
            f"{uri}: its secrets are written nowhere: give the whole URL again with "
            f"""--storage-options '{{"{URLS}": ["https://…"]}}'"""
        )
    return url or uri


@contextmanager
def using(
    options: StorageOptions | None, uris: Sequence[str], urls: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Use options while the block runs; None for those of the block around it, if there is one.

    options: what was given. uris: all places of the run that have a protocol. urls: those with
    secrets by what is shown of them. Raises SettingsError for options that are of no protocol or of
    several.
    """
    kinds = all_given() if options is None else by_kind(options, uris)
    if urls:
        kinds = {**kinds, URLS: {**kinds.get(URLS, {}), **urls}}
    with using_these({**kinds, KNOWN: {"stores": known_stores()}}):
        yield


@contextmanager
def using_these(kinds: OptionsByExtra) -> Iterator[None]:
    """Use options while the block runs; `kinds` is what `all_given` gave elsewhere."""
    token = _of_run.set(kinds)
    try:
        yield
    finally:
        _of_run.reset(token)


def use_everywhere(kinds: OptionsByExtra) -> None:
    """Use options in all threads of a process that works for one run alone."""
    global _of_process
    if _of_run.get() is None:  # else the run is of this process, which may have others
        _of_process = kinds


def by_kind(options: StorageOptions, uris: Sequence[str]) -> OptionsByExtra:
    """Sort options by the extra that they are for.

    options: a mapping for each protocol, or one for the only protocol among `uris`. uris: all
    places of the run that have a protocol. Raises SettingsError where that is not clear.
    """
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise SettingsError('storage options are not a mapping: write them like {"anon": true}')
    if PATIENCE in options:
        return _with_patience(options, uris)
    if URLS in options:
        return _with_urls(options, uris)
    named = {name: one for name, one in options.items() if name in PROTOCOLS}
    odd = [n for n, one in options.items() if n not in named or not isinstance(one, Mapping)]
    if not odd:
        kinds: OptionsByExtra = {}
        for name, one in named.items():
            kinds.setdefault(PROTOCOLS[name], {}).update(one)
        return kinds
    if named:
        raise SettingsError(
            f"storage options name {' and '.join(named)}, and {odd[0]} is no object of such a "
            'protocol: write them like {"s3": {"anon": true}}'
        )
    protocols = sorted({uri.partition("://")[0] for uri in uris if "://" in uri})
    of_paths = {PROTOCOLS[name] for name in protocols if name in PROTOCOLS}
    if len(of_paths) != 1:
        found = " and ".join(protocols) or "no protocol"
        raise SettingsError(
            f"storage options are for one protocol, and the paths have {found}: write them for "
            'each, like {"s3": {"anon": true}}'
        )
    return {of_paths.pop(): dict(options)}


def _with_patience(options: StorageOptions, uris: Sequence[str]) -> OptionsByExtra:
    seconds = options[PATIENCE]
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < inf:
        raise SettingsError(f"{PATIENCE} of the storage options is no number of seconds: 600")
    others = {name: one for name, one in options.items() if name != PATIENCE}
    rest = by_kind(others, uris) if others else {}
    return {**rest, PATIENCE: {"seconds": float(seconds)}}


def _with_urls(options: StorageOptions, uris: Sequence[str]) -> OptionsByExtra:
    urls = options[URLS]
    if not isinstance(urls, list | tuple) or not all(isinstance(url, str) for url in urls):
        raise SettingsError(f'{URLS} of the storage options is no list of URLs: ["https://…"]')
    others = {name: one for name, one in options.items() if name != URLS}
    return {**(by_kind(others, uris) if others else {}), URLS: dict(told_apart(urls))}


def parsed(text: str) -> StorageOptions:
    """Read options from the command line; SettingsError where `text` is neither JSON nor @FILE."""
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
    for shown, url in all_given().get(URLS, {}).items():
        text = without_secrets_of(url, text.replace(url, shown))
    for options in all_given().values():
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
