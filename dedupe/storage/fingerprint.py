"""What must be the same for a run to be resumed: algorithm, version, settings and corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dedupe.config import ALGORITHM
from dedupe.storage.checksums import digest_of_json

MOST_TOLD = 8
"""Differences that a message tells."""


class HasVersion(Protocol):
    """A shard, as far as a fingerprint knows it."""

    @property
    def path(self) -> str:
        """Its path as given."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def version(self) -> str:
        """What changes with its content."""


def corpus_versions(shards: Sequence[HasVersion]) -> dict[str, list[Any]]:
    """Size and version of each shard, by path."""
    return {shard.path: [shard.size, shard.version] for shard in shards}


def fingerprint_of_run(
    settings: dict[str, Any],
    document: str,
    corpus: dict[str, list[Any]],
    *,
    references: dict[str, list[Any]] | None = None,
    algorithm: int | None = ALGORITHM,
) -> dict[str, Any]:
    """What decides the keep-list of a run.

    settings: their plain values by name. document: what is compared, as it is shown. corpus,
    references: see `corpus_versions`. algorithm: number of the algorithm; None where it is not
    known.
    """
    return {
        "algorithm": algorithm,
        "settings": settings,
        "document": document,
        "corpus": corpus,
        "references": references or {},
    }


def digest(fingerprint: dict[str, Any]) -> str:
    """A fingerprint as one short text."""
    return digest_of_json(fingerprint)


FILES = ("corpus", "references", "files")
"""What a fingerprint has for each file."""


def changed_files(old: dict[str, Any], new: dict[str, Any]) -> list[str] | None:
    """Paths of files that differ, where two fingerprints differ in nothing else; else None."""
    paths: set[str] = set()
    for name in old.keys() | new.keys():
        before, after = old.get(name), new.get(name)
        if name not in FILES and before != after:
            return None
        if name in FILES:
            before, after = before or {}, after or {}
            if before.keys() != after.keys():
                return None
            paths.update(path for path in after if before[path] != after[path])
    return sorted(paths)


def told(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In what two fingerprints differ, for a message: indented lines, but not too many; or ""."""
    found = differences(old, new)
    return "\n  ".join(found[:MOST_TOLD] + ["…"] * (len(found) > MOST_TOLD))


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each thing in which two fingerprints differ."""
    lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if name in FILES:
            where = "among the references" if name == "references" else "in the corpus"
            lines += _differences_of_files(before or {}, after or {}, where)
        elif isinstance(before, dict) and isinstance(after, dict):
            for key in sorted(before.keys() | after.keys()):
                if before.get(key) != after.get(key):
                    lines.append(f"{name} {key}: {before.get(key)} before, {after.get(key)} now")
        elif before != after:
            lines.append(f"{name}: {before} before, {after} now")
    return list(dict.fromkeys(lines))  # both versions of a file and the file itself may differ


def _differences_of_files(before: dict[str, Any], after: dict[str, Any], where: str) -> list[str]:
    lines = [f"{path} is not {where} any more" for path in sorted(before.keys() - after)]
    lines += [f"{path} was not {where}" for path in sorted(after.keys() - before)]
    both = sorted(before.keys() & after.keys())
    return lines + [f"{path} has changed" for path in both if before[path] != after[path]]
