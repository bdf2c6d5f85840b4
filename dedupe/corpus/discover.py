"""Finding the files of which a corpus consists."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from dedupe.config import LINE
from dedupe.corpus.failures import reading
from dedupe.corpus.formats import MAGIC_BYTES, Format, told_apart
from dedupe.corpus.names import SUFFIXES, chosen, formats_of, is_hidden
from dedupe.corpus.opening import shard_file
from dedupe.corpus.remote_files import AT_A_TIME, expand_all
from dedupe.corpus.shard import Shard, file_name, read_as
from dedupe.errors import CorpusError
from dedupe.remote import check, is_uri
from dedupe.remote.objects import Found
from dedupe.threads import Threads


class Discovered(NamedTuple):
    """The shards that were found, and what was left out.

    left_out: how many files beside them have other suffixes, by suffix. repeated: paths that lead
    over links to a file that is read by another path, each with that path.
    """

    shards: list[Shard]
    left_out: dict[str, int]
    repeated: dict[str, str]


def find_shards(
    patterns: Sequence[str], delimiter: str | None = None, unit: str = LINE
) -> list[Shard]:
    """The shards that `discover` finds. patterns, delimiter, unit: see there."""
    return discover(patterns, delimiter, unit).shards


def discover(patterns: Sequence[str], delimiter: str | None = None, unit: str = LINE) -> Discovered:
    """Find the shards that files, directories (at any depth) and globs name, sorted by path.

    patterns: what names them. delimiter: of CSV, see `Settings.delimiter`. unit: what a row of
    plain text is, see `Settings.unit`.
    Directories and globs leave out what is hidden (a name that starts with . or _), files of other
    suffixes, and plain text beside files of other formats; of several links in them to one file, as
    the revisions in a cache of the Hugging Face hub are, they read the first. Paths may be URIs.
    Raises CorpusError for a pattern that names nothing readable, a file given twice and a suffix
    that is not known; SettingsError for a protocol that is not.
    """
    if not patterns:
        raise CorpusError("no corpus: name files, directories or globs", path="(nothing)")
    given = [os.fspath(pattern) for pattern in patterns]
    uris = [pattern for pattern in given if is_uri(pattern)]
    for uri in uris:
        check(uri)
    remote = expand_all(uris)
    listed = {one.uri: one for found, _ in remote.values() for one in found}
    paths: list[str] = []
    left_out: Counter[str] = Counter()
    for pattern in given:
        if pattern in remote:
            there, others = remote[pattern]
            paths += [one.uri for one in there]
        else:
            here, others = _expand(pattern)
            paths += here
        left_out += others
    repeated = _repeated(paths, listed, {os.path.normpath(pattern) for pattern in given})
    once = sorted(path for path in paths if path not in repeated)
    found = [listed[path] if path in listed else _local(path) for path in once]
    formats = _formats({one.uri: one.size or 0 for one in found}, unit)
    shards = [
        Shard(ordinal, one.uri, formats[one.uri].name, one.size or 0, one.version, delimiter)
        for ordinal, one in enumerate(found)
    ]
    return Discovered(shards, dict(sorted(left_out.items())), repeated)


def discover_references(
    given: Sequence[str], corpus: Sequence[Shard], delimiter: str | None = None, unit: str = LINE
) -> Discovered:
    """Find the shards of references, each with the number of its reference.

    given: what names the references, one each. corpus: the shards that they are held against, whose
    ordinals theirs follow. delimiter, unit: see `discover`. Raises CorpusError for a file that is
    in the corpus, or in two references.
    """
    seen = {_real(shard): f"in the corpus as {shard.path}" for shard in corpus}
    shards: list[Shard] = []
    left_out: Counter[str] = Counter()
    repeated: dict[str, str] = {}
    for number, pattern in enumerate(given):
        found = discover([pattern], delimiter, unit)
        for shard in found.shards:
            known = seen.setdefault(_real(shard), f"in the reference {pattern}")
            if known != f"in the reference {pattern}":
                raise CorpusError(
                    f"in the reference {pattern}, and {known}: what stays untouched cannot be "
                    "deduplicated as well",
                    path=shard.path,
                )
            shards.append(read_as(shard, ordinal=len(corpus) + len(shards), reference=number))
        left_out += Counter(found.left_out)
        repeated |= found.repeated
    return Discovered(shards, dict(sorted(left_out.items())), repeated)


def _real(shard: Shard) -> str:
    """Where a shard really lies."""
    return shard.path if shard.is_remote else os.path.realpath(shard.path)


def identities(shards: Sequence[Shard]) -> dict[str, list[int]]:
    """Inode of each file on a local disk, and nanoseconds of when it was last written or replaced.

    They differ for a file that was changed and then given its old size and time again, and for a
    copy, which is why only work that is resumed is held against them.
    """
    found = {}
    for shard in shards:
        if not shard.is_remote:
            with suppress(OSError):  # rows in memory, or a file that has gone: reading it will tell
                status = os.stat(shard.path)
                found[shard.path] = [status.st_ino, status.st_ctime_ns]
    return found


def _repeated(
    paths: Sequence[str], listed: Container[str], given: Container[str]
) -> dict[str, str]:
    """Paths to files that others of them lead to as well, each with the first of these.

    paths: what was found. listed: those that are URIs, which have no links. given: what the user
    named. Raises CorpusError for a path that was found twice, and where the user named one of two
    that lead to the same file.
    """
    seen: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for path in sorted(paths):
        real = path if path in listed else os.path.realpath(path)
        known = seen.get(real)
        if known is None:
            seen[real] = path
        elif known == path or path in repeated:
            raise CorpusError("given twice: name every file once", path=path)
        elif path in given or known in given:
            raise CorpusError(f"given twice, also as {known}: name every file once", path=path)
        else:
            repeated[path] = known
    return repeated


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


def _named(path: str, unit: str = "") -> list[Format]:
    """The formats that a file can have by its name; CorpusError where there are none.

    path: of the file. unit: see `discover`; of plain text the one format that has it.
    """
    formats = [one for one in formats_of(file_name(path)) if not unit or one.unit in ("", unit)]
    if not formats:
        raise CorpusError(f"its suffix does not tell its format: {SUFFIXES}", path=path)
    return formats


def _formats(sizes: Mapping[str, int], unit: str) -> dict[str, Format]:
    """The format of each file, by its name and, where that is not enough, by its first bytes.

    sizes: bytes of each, by its path. unit: see `discover`.
    """
    named = {path: _named(path, unit) for path in sizes}
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


def _expand(pattern: str) -> tuple[list[str], Counter[str]]:
    """The files that a pattern names, and those that it leaves out by their suffix."""
    if os.path.isdir(pattern):
        files = list(_walk(pattern, ()))
        found, left_out = chosen(sorted(files))
        if not found:
            raise CorpusError(f"no file in this directory can be read: {SUFFIXES}", path=pattern)
        return found, left_out
    if os.path.lexists(pattern):
        return [os.path.normpath(pattern)], Counter()
    if not glob.has_magic(pattern):
        raise CorpusError("no such file or directory", path=pattern)
    matches = sorted(glob.glob(pattern, recursive=True))
    named = set(pattern.split(os.sep))
    files = []
    for path in matches:
        if any(is_hidden(part) for part in set(path.split(os.sep)) - named):
            continue
        if not os.path.isdir(path):
            files.append(os.path.normpath(path))
        elif "**" not in pattern:
            files += sorted(_walk(path, ()))
    found, left_out = chosen(files)
    if not found:
        other = f"none of its {len(matches)} matches can be read: {SUFFIXES}"
        raise CorpusError(other if matches else "matches nothing", path=pattern)
    return found, left_out


def _walk(directory: str, above: tuple[str, ...]) -> Iterator[str]:
    """Files below a directory that are not hidden; follows links, but not in circles."""
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
        elif not is_hidden(entry.name):
            yield os.path.normpath(entry.path)
