"""Which files a corpus consists of."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterator, Sequence

from dedupe.corpus.names import SUFFIXES, format_of, is_hidden, is_readable
from dedupe.corpus.remote_files import begins_of, expand_all
from dedupe.corpus.shard import Shard, file_name, reading
from dedupe.errors import CorpusError
from dedupe.remote import check, is_uri
from dedupe.remote.objects import Found

_MAGIC_BYTES = 6
"""By which Arrow files and streams are told apart."""


def find_shards(patterns: Sequence[str]) -> list[Shard]:
    """Find the shards that files, directories (at any depth) and globs name, sorted by path.

    Directories and globs leave out what is hidden (a name that starts with . or _) and files of
    other suffixes. Paths may be URIs. Raises CorpusError for a pattern that names nothing readable,
    a file given twice and a suffix that is not known; SettingsError for a protocol that is not.
    """
    if not patterns:
        raise CorpusError("no corpus: name files, directories or globs", path="(nothing)")
    given = [os.fspath(pattern) for pattern in patterns]
    uris = [pattern for pattern in given if is_uri(pattern)]
    for uri in uris:
        check(uri)
    remote = expand_all(uris)
    listed = {one.uri: one for found in remote.values() for one in found}
    paths = []
    for pattern in given:
        paths += [one.uri for one in remote[pattern]] if pattern in remote else _expand(pattern)
    seen: dict[str, str] = {}
    for path in paths:
        known = seen.setdefault(real := path if path in listed else os.path.realpath(path), path)
        if known is not path:
            also = "" if known == path else f", also as {known}"
            raise CorpusError(f"given twice{also}: name every file once", path=path)
        seen[real] = path
    arrow = [uri for uri in listed if format_of(file_name(uri)) == "arrow"]
    begins = begins_of(arrow, _MAGIC_BYTES)
    return [
        _remote_shard(ordinal, listed[path], begins.get(path, b""))
        if path in listed
        else _shard(ordinal, path)
        for ordinal, path in enumerate(sorted(paths))
    ]


def _expand(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        found = sorted(_walk(pattern, ()))
        if not found:
            raise CorpusError(f"no file in this directory can be read: {SUFFIXES}", path=pattern)
        return found
    if os.path.lexists(pattern):
        return [os.path.normpath(pattern)]
    if not glob.has_magic(pattern):
        raise CorpusError("no such file or directory", path=pattern)
    matches = sorted(glob.glob(pattern, recursive=True))
    named = set(pattern.split(os.sep))
    found = []
    for path in matches:
        if any(is_hidden(part) for part in set(path.split(os.sep)) - named):
            continue
        if not os.path.isdir(path):
            if is_readable(os.path.basename(path)):
                found.append(os.path.normpath(path))
        elif "**" not in pattern:
            found += sorted(_walk(path, ()))
    if not found:
        other = f"none of its {len(matches)} matches can be read: {SUFFIXES}"
        raise CorpusError(other if matches else "matches nothing", path=pattern)
    return found


def _walk(directory: str, above: tuple[str, ...]) -> Iterator[str]:
    """Readable files below a directory; follows links, but not in circles."""
    real = os.path.realpath(directory)
    if real in above:
        return
    try:
        entries = list(os.scandir(directory))
    except OSError as error:
        raise CorpusError(f"cannot be listed: {error.strerror}", path=directory) from None
    for entry in entries:
        if entry.is_dir():
            if not is_hidden(entry.name):
                yield from _walk(entry.path, (*above, real))
        elif is_readable(entry.name):
            yield os.path.normpath(entry.path)


def _format(path: str) -> str:
    kind = format_of(file_name(path))
    if kind is None:
        raise CorpusError(f"its suffix does not tell its format: {SUFFIXES}", path=path)
    return kind


def _shard(ordinal: int, path: str) -> Shard:
    kind = _format(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="backslashreplace").decode()
        raise CorpusError("its name is not valid UTF-8: rename it", path=shown) from None
    found = Shard(ordinal, path, kind, 0, "")
    with reading(found):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise CorpusError("is not a regular file", path=path)
        if kind == "arrow":
            with open(path, "rb") as file:
                kind = _arrow_kind(path, kind, file.read(_MAGIC_BYTES))
    return Shard(ordinal, path, kind, status.st_size, str(status.st_mtime_ns))


def _remote_shard(ordinal: int, found: Found, begin: bytes) -> Shard:
    kind = _arrow_kind(found.uri, _format(found.uri), begin)
    return Shard(ordinal, found.uri, kind, found.size or 0, found.version)


def _arrow_kind(path: str, kind: str, begin: bytes) -> str:
    """The format, once an Arrow file and a stream are told apart."""
    if kind != "arrow" or begin == b"ARROW1":
        return kind
    if begin.startswith(b"FEA1"):
        raise CorpusError("is Feather version 1: write it as version 2", path=path)
    return "arrow-stream"
