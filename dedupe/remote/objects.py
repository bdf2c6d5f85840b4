"""What is asked of a store. Each function is given URIs, and says how many requests it makes.

Nothing is remembered between two calls: what is read is what is there now.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dedupe.errors import SettingsError
from dedupe.remote.patience import Waiting
from dedupe.remote.places import (
    STORES,
    StoreError,
    down,
    extra,
    is_passing,
    is_taken,
    reaching,
    said_of,
    store,
)

PART = 16 << 20
"""Bytes asked for in a request; a larger range is several of them at a time."""

IN_FLIGHT = 16
"""Requests at a time for one caller."""

_Answer = TypeVar("_Answer")


class Found(NamedTuple):
    """An object in a listing. version: changes whenever its content does."""

    uri: str
    size: int | None
    version: str


def read(uri: str) -> bytes:
    """A whole object: one GET."""
    try:
        return _asked(uri, lambda fs, path: bytes(fs.cat_file(path, start=0)))
    except StoreError as error:
        if error.is_short:  # it is empty, and has no first byte
            return b""
        raise


def read_all(uris: Sequence[str]) -> list[bytes]:
    """Whole objects of one store: one GET each, many at a time."""
    if not uris:
        return []
    paths = [store(uri)[1] for uri in uris]
    try:
        return _asked(uris[0], lambda fs, _: fs.cat_ranges(paths, 0, None, on_error="raise"))
    except StoreError as error:
        if error.is_short:  # one of them is empty
            return [read(uri) for uri in uris]
        raise


def read_range(uri: str, start: int, end: int) -> bytes:
    """Bytes [start, end) of the object that `uri` names: one GET for each `PART` of them."""
    if start >= end:
        return b""
    starts = list(range(start, end, PART))
    if len(starts) > 1:
        (data,) = read_ranges(uri, [(start, end)])
        return data
    more = _exactly(uri)
    data = _asked(uri, lambda fs, path: bytes(fs.cat_file(path, start=start, end=end, **more)))
    return _complete(uri, data, end - start)


def read_ranges(uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Several ranges [start, end) of one object, in the order in which they are given.

    uri: the object. ranges: bytes. There is a GET for each `PART` of them, many at a time.
    """
    parts = [
        (first, min(first + PART, end), number)
        for number, (start, end) in enumerate(ranges)
        for first in range(start, end, PART)
    ]
    if not parts:
        return [b"" for _ in ranges]
    starts, ends = [part[0] for part in parts], [part[1] for part in parts]
    more = _exactly(uri) or {"batch_size": IN_FLIGHT}
    found = _asked(
        uri,
        lambda fs, path: fs.cat_ranges([path] * len(parts), starts, ends, on_error="raise", **more),
    )
    joined: list[list[bytes]] = [[] for _ in ranges]
    for (start, end, number), data in zip(parts, found, strict=True):
        joined[number].append(_complete(uri, data, end - start))
    return [b"".join(pieces) for pieces in joined]


def read_tail(uri: str, size: int) -> bytes:
    """The last `size` bytes of an object, or all: one GET; a HEAD before it on Azure."""
    if extra(uri) == "azure":  # knows no ranges from the end
        length = info(uri).size or 0
        return read_range(uri, max(length - size, 0), length)
    return _asked(uri, lambda fs, path: bytes(fs.cat_file(path, start=-size)))


def write(uri: str, data: bytes) -> None:
    """Make an object: one PUT."""
    _asked(uri, lambda fs, path: fs.pipe_file(path, data))


def create(uri: str, data: bytes) -> bool:
    """Make an object where there is none: one PUT; whether the object there is this one.

    A PUT that is asked again because its answer was lost finds what it has made itself. Raises
    SettingsError where the backend is too old for it, and would replace what is there.
    """
    condition: dict[str, Any] = {"mode": "create"}
    if extra(uri) == "azure":
        condition = {"overwrite": False}
    elif not _knows_modes(store(uri)[0]):
        raise SettingsError(
            f"{uri}: this version of fsspec's package for it cannot refuse to replace a file, as "
            "an index needs: update it"
        )

    def put(fs: Any, path: str) -> bool:
        try:
            fs.pipe_file(path, data, **condition)
        except Exception as error:
            if not is_taken(error):
                raise
            return False
        return True

    return _asked(uri, put) or read(uri) == data


def _knows_modes(fs: Any) -> bool:
    """Whether a file can be made only where there is none: fsspec can from 2025 on."""
    method = getattr(type(fs), "_pipe_file", None) or type(fs).pipe_file
    return "mode" in inspect.signature(method).parameters


def upload(file: Path, uri: str) -> None:
    """Make an object of a local file: one PUT, or an upload in parts that is ended or aborted."""
    _asked(uri, lambda fs, path: fs.put_file(str(file), path))


def download(uri: str, file: Path) -> None:
    """Copy an object to a local file, which may stay half written on an error."""
    _asked(uri, lambda fs, path: fs.get_file(path, str(file)))


def copy(uri: str, target: str) -> None:
    """Copy an object within its store."""
    to = store(target)[1]
    _asked(uri, lambda fs, path: fs.cp_file(path, to))


def same_store(uri: str, other: str) -> bool:
    """Whether `copy` can copy between two URIs: whether they are of one store that can."""
    waits = extra(uri) in ("s3", "gcs", "memory")  # copies on Azure may end later
    return waits and store(uri)[0] is store(other)[0]


def info(uri: str) -> Found:
    """Size and version of an object: one HEAD."""
    more = _anew(uri)
    return _found(uri, _asked(uri, lambda fs, path: fs.info(path, **more)))


def lookup(uri: str) -> Found | None:
    """An object, or None: one HEAD where there is one of that name, else a listing too."""
    more = _anew(uri)
    try:
        one = _asked(uri, lambda fs, path: fs.info(path, **more))
    except FileNotFoundError:
        return None
    return _found(uri, one) if one["type"] == "file" else None


def exists(uri: str) -> bool:
    """Whether there is such an object; requests as of `lookup`."""
    return lookup(uri) is not None


def find(folder: str, prefix: str = "") -> list[Found]:
    """All objects below a folder, at any depth: one listing, in pages of about 1000 names.

    A URI that is an object itself gives that one, with one HEAD more. prefix: only those whose
    path in the folder begins so.
    """
    _, root = store(folder)
    more = {"prefix": prefix} if prefix and extra(folder) in STORES else {}
    found = _asked(folder, lambda fs, path: fs.find(path, detail=True, **more))
    if isinstance(found, list):  # adlfs, of an object
        return [info(folder)]
    start = len(root.rstrip("/"))
    listed = [
        _found(folder.rstrip("/") + name[start:], one)
        for name, one in found.items()
        if not name.endswith("/")
    ]
    return sorted(listed)


def entries(folder: str) -> list[str]:
    """URIs of the objects and folders right in a folder: one listing."""
    _, root = store(folder)
    try:
        names = _asked(folder, lambda fs, path: fs.ls(path, detail=False))
    except FileNotFoundError:
        return []
    start = len(root.rstrip("/"))
    return sorted(folder + name.rstrip("/")[start:] for name in names if len(name) > start + 1)


def remove(uri: str) -> None:
    """Delete an object, if it is there."""
    with suppress(FileNotFoundError):
        _asked(uri, lambda fs, path: fs.rm_file(path))


def remove_folder(folder: str) -> None:
    """Delete everything below a folder: a listing, and a request for each 1000 objects."""
    with suppress(FileNotFoundError):
        _asked(folder, lambda fs, path: fs.rm(path, recursive=True))


def _anew(uri: str) -> dict[str, Any]:
    """Options that keep a backend from telling what it remembers.

    Only the Hub's remembers; without them it leaves out versions, too.
    """
    return {"refresh": True, "expand_info": True} if extra(uri) == "hf" else {}


def _exactly(uri: str) -> dict[str, Any]:
    """Options that keep a backend from reading more than it is asked for, as the Hub's would."""
    return {"cache_type": "none"} if extra(uri) == "hf" else {}


def _asked(uri: str, question: Callable[[Any, str], _Answer]) -> _Answer:
    """Ask the store that has `uri`, and ask again where it is busy or the connection breaks."""
    fs, path = store(uri)
    waiting = Waiting(uri)
    with reaching(uri):
        while True:
            try:
                answer = question(fs, path)
            except Exception as error:
                if not is_passing(error):
                    waiting.answered()
                    raise
                if waiting.is_over():
                    if not waiting.is_known:
                        raise
                    raise down(uri, error, waiting.waited) from error
                words = said_of(uri, error)
            else:
                waiting.answered()
                return answer
            waiting.pause(words)


def _complete(uri: str, data: bytes, size: int) -> bytes:
    if len(data) == size:
        return data
    raise StoreError(
        uri,
        f"{len(data)} bytes came where {size} were asked for: it has changed, or its server does "
        "not serve ranges",
        is_short=True,
    )


def _found(uri: str, one: dict[str, Any]) -> Found:
    keys = ("ETag", "etag", "generation", "blob_id", "LastModified", "mtime", "updated", "created")
    version = next((one[key] for key in keys if one.get(key)), "")
    if isinstance(version, datetime):
        version = version.timestamp()
    return Found(uri, one.get("size"), str(version).removeprefix("W/").strip('"'))
