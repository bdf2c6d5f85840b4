"""Which files a corpus consists of."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch

from dedupe.corpus.shard import COMPRESSIBLE, COMPRESSIONS, PLAIN_SUFFIXES, Shard, reading
from dedupe.errors import CorpusError

SIDE_FILES = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
CACHE_FILES = "cache-*.arrow"
"""What Hugging Face datasets writes beside the data; read only where named outright."""

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_SUFFIXES = "known are .parquet .pq .jsonl .ndjson .json .csv (these but Parquet also with .gz or \
.zst) .arrow .feather .ipc"


def find_shards(patterns: Sequence[str]) -> list[Shard]:
    """Find the shards that files, directories (at any depth) and globs name, sorted by path.

    Directories and globs leave out what is hidden (a name that starts with . or _) and files of
    other suffixes. Raises CorpusError for a pattern that names nothing readable, a file given
    twice, a suffix that is not known and a remote path.
    """
    if not patterns:
        raise CorpusError("no corpus: name files, directories or globs", path="(nothing)")
    paths = [path for pattern in patterns for path in _expand(os.fspath(pattern))]
    seen: dict[str, str] = {}
    for path in paths:
        known = seen.setdefault(real := os.path.realpath(path), path)
        if known is not path:
            also = "" if known == path else f", also as {known}"
            raise CorpusError(f"given twice{also}: name every file once", path=path)
        seen[real] = path
    return [_shard(ordinal, path) for ordinal, path in enumerate(sorted(paths))]


def _expand(pattern: str) -> list[str]:
    if _REMOTE.match(pattern) or "::" in pattern:
        raise CorpusError(
            "remote corpora are not supported: give a path on a local disk", path=pattern
        )
    if os.path.isdir(pattern):
        found = sorted(_walk(pattern, ()))
        if not found:
            raise CorpusError(f"no file in this directory can be read: {_SUFFIXES}", path=pattern)
        return found
    if os.path.lexists(pattern):
        return [os.path.normpath(pattern)]
    if not glob.has_magic(pattern):
        raise CorpusError("no such file or directory", path=pattern)
    matches = sorted(glob.glob(pattern, recursive=True))
    named = set(pattern.split(os.sep))
    found = []
    for path in matches:
        if any(_hidden(part) for part in set(path.split(os.sep)) - named):
            continue
        if not os.path.isdir(path):
            if _readable(os.path.basename(path)):
                found.append(os.path.normpath(path))
        elif "**" not in pattern:
            found += sorted(_walk(path, ()))
    if not found:
        other = f"none of its {len(matches)} matches can be read: {_SUFFIXES}"
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
            if not _hidden(entry.name):
                yield from _walk(entry.path, (*above, real))
        elif _readable(entry.name):
            yield os.path.normpath(entry.path)


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _readable(name: str) -> bool:
    if _hidden(name) or name in SIDE_FILES or fnmatch(name, CACHE_FILES):
        return False
    return _format(name) is not None


def _format(name: str) -> str | None:
    """Format by suffix, None where it is not known."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() not in COMPRESSIONS:
        return PLAIN_SUFFIXES.get(suffix.lower())
    inner = PLAIN_SUFFIXES.get(os.path.splitext(stem)[1].lower())
    return inner if inner in COMPRESSIBLE else None


def _shard(ordinal: int, path: str) -> Shard:
    kind = _format(path)
    if kind is None:
        raise CorpusError(f"its suffix does not tell its format: {_SUFFIXES}", path=path)
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode(errors="backslashreplace").decode()
        raise CorpusError("its name is not valid UTF-8: rename it", path=shown) from None
    found = Shard(ordinal, path, kind, 0, 0)
    with reading(found):
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise CorpusError("is not a regular file", path=path)
        with open(path, "rb") as file:
            magic = file.read(6)
    if kind == "arrow" and magic != b"ARROW1":
        if magic.startswith(b"FEA1"):
            raise CorpusError("is Feather version 1: write it as version 2", path=path)
        kind = "arrow-stream"
    return Shard(ordinal, path, kind, status.st_size, status.st_mtime_ns)
