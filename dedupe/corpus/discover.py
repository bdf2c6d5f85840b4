"""Finding the files of which a corpus consists."""

from __future__ import annotations

import glob
import os
from collections.abc import Container, Iterator, Mapping, Sequence

from dedupe.corpus.failures import reading
from dedupe.corpus.formats import MAGIC_BYTES, Format, told_apart
from dedupe.corpus.names import SUFFIXES, formats_of, is_hidden, is_readable
from dedupe.corpus.opening import shard_file
from dedupe.corpus.remote_files import AT_A_TIME, expand_all
from dedupe.corpus.shard import Shard, file_name
from dedupe.errors import CorpusError
from dedupe.remote import check, is_uri
from dedupe.remote.objects import Found
from dedupe.threads import Threads


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
    _check_once(paths, listed)
    found = [listed[path] if path in listed else _local(path) for path in sorted(paths)]
    formats = _formats({one.uri: one.size or 0 for one in found})
    return [
        Shard(ordinal, one.uri, formats[one.uri].name, one.size or 0, one.version)
        for ordinal, one in enumerate(found)
    ]


def _check_once(paths: Sequence[str], listed: Container[str]) -> None:
    """Raise CorpusError for a file that is named twice, or reached over a link; not for URIs."""
    seen: dict[str, str] = {}
    for path in paths:
        known = seen.setdefault(real := path if path in listed else os.path.realpath(path), path)
        if known is not path:
            also = "" if known == path else f", also as {known}"
            raise CorpusError(f"given twice{also}: name every file once", path=path)
        seen[real] = path


def _local(path: str) -> Found:
    """A local file, as a listing of a store has it."""
    _named(path)
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="backslashreplace").decode()
        raise CorpusError("its name is not valid UTF-8: rename it", path=shown) from None
    with reading(path):
        return Found(path, *shard_file(path, 0).state())


def _named(path: str) -> list[Format]:
    """The formats that a file can have by its name; CorpusError where there are none."""
    formats = formats_of(file_name(path))
    if not formats:
        raise CorpusError(f"its suffix does not tell its format: {SUFFIXES}", path=path)
    return formats


def _formats(sizes: Mapping[str, int]) -> dict[str, Format]:
    """The format of each file, by its name and, where that is not enough, by its first bytes."""
    named = {path: _named(path) for path in sizes}
    doubtful = [path for path, formats in named.items() if len(formats) > 1]
    beginnings: dict[str, bytes] = {}
    if doubtful:

        def beginning(path: str) -> bytes:
            with reading(path):
                return shard_file(path, sizes[path]).beginning(MAGIC_BYTES)

        with Threads(AT_A_TIME) as pool:
            beginnings = dict(zip(doubtful, pool.map(beginning, doubtful), strict=True))
    return {
        path: told_apart(path, formats, beginnings[path]) if path in beginnings else formats[0]
        for path, formats in named.items()
    }


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
