"""Which files a URI names: an object, all below a folder, or what a glob matches.

There is one listing for each folder or glob; shards get their sizes and versions from it.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from dedupe.corpus.failures import reading
from dedupe.corpus.names import SUFFIXES, chosen, is_hidden, is_readable
from dedupe.errors import CorpusError
from dedupe.remote import objects
from dedupe.remote.objects import Found
from dedupe.threads import Threads

AT_A_TIME = 16
"""Patterns that are looked up, or files that are opened, at the same time."""


Expanded = tuple[list[Found], Counter[str]]
"""What a pattern names, and the files that it leaves out by their suffix."""


def expand_all(patterns: Sequence[str]) -> dict[str, Expanded]:
    """What each of these URIs names, by the rules that hold for local paths.

    Raises CorpusError for one that names nothing that can be read.
    """
    if not patterns:
        return {}
    with Threads(AT_A_TIME) as pool:
        return dict(zip(patterns, pool.map(_expand, patterns), strict=True))


def _expand(pattern: str) -> Expanded:
    with reading(pattern, "cannot be listed"):
        if pattern.startswith(("http://", "https://")):
            return [_on_web(pattern)], Counter()
        uri = pattern.rstrip("/")
        return _matching(uri) if glob.has_magic(uri) else _below(uri)


def _on_web(uri: str) -> Found:
    if "*" in uri:
        raise CorpusError("a web server is not listed: name every file", path=uri)
    found = objects.info(uri)
    if found.size is None:
        raise CorpusError("its server does not tell its size", path=uri)
    return found


def _below(uri: str) -> Expanded:
    """An object, or what is readable in a folder; one request where the name tells which it is."""
    if is_readable(uri.rpartition("/")[2]):
        named = objects.lookup(uri)
        if named is not None:
            return [named], Counter()
    listed = objects.find(uri)
    if not listed:
        raise CorpusError("no such file or directory", path=uri)
    if [one.uri for one in listed] == [uri]:
        return listed, Counter()
    shown = [one for one in listed if _is_shown(one.uri[len(uri) + 1 :].split("/"))]
    found, left_out = _chosen(shown)
    if not found:
        raise CorpusError(f"no file in this directory can be read: {SUFFIXES}", path=uri)
    return found, left_out


def _matching(uri: str) -> Expanded:
    """What a glob matches, and what is readable in folders that it matches."""
    steps = uri.split("/")
    first = next(i for i, step in enumerate(steps) if glob.has_magic(step))
    if first < 4:  # protocol, nothing, bucket
        raise CorpusError("a glob starts below the bucket: name the bucket", path=uri)
    folder, wanted = "/".join(steps[:first]), steps[first:]
    prefix = re.split(r"[*?\[]", wanted[0])[0]
    listed = [one for one in objects.find(folder, prefix) if one.uri.startswith(f"{folder}/")]
    exact = [one for one in listed if one.uri == uri]
    if exact:
        return exact, Counter()
    shown, matches = [], 0
    for one in listed:
        path = one.uri[len(folder) + 1 :].split("/")
        depths = [len(path)] if "**" in wanted else range(1, len(path) + 1)
        depth = next((depth for depth in depths if _matches(path[:depth], wanted)), None)
        if depth is not None:
            matches += 1
            named = [part for part in path[:depth] if is_hidden(part) and part not in wanted]
            if not named and _is_shown([*path[depth:-1], path[-1]]):
                shown.append(one)
    found, left_out = _chosen(shown)
    if not found:
        other = f"none of its {matches} matches can be read: {SUFFIXES}"
        raise CorpusError(other if matches else "matches nothing", path=uri)
    return found, left_out


def _matches(path: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a path is what a glob says, step by step; ** is any number of steps."""
    if not wanted:
        return not path
    if wanted[0] == "**":
        return any(_matches(path[start:], wanted[1:]) for start in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], wanted[0]) and _matches(path[1:], wanted[1:])


def _is_shown(path: Sequence[str]) -> bool:
    return not any(map(is_hidden, path))


def _chosen(shown: Sequence[Found]) -> Expanded:
    """Those of some files that are read, and what is left out; see `names.chosen`."""
    paths, left_out = chosen(one.uri for one in shown)
    read = set(paths)
    return [one for one in shown if one.uri in read], left_out
