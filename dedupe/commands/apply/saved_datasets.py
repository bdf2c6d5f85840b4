"""Folders that `save_to_disk` of Hugging Face datasets made: a copy of one can be loaded, too.

Beside the Arrow files of a dataset stand `state.json` (its files, and a fingerprint by which caches
know it) and `dataset_info.json` (columns, sizes of splits); above the folders of several splits
stands `dataset_dict.json`. Copies get these files with their own fingerprint and sizes.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from dedupe.corpus import Shard
from dedupe.storage import files_at
from dedupe.storage.fingerprint import digest

STATE, INFO, SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def folders_of_splits(shards: Sequence[Shard]) -> set[str]:
    """Folders that hold those of several splits, as `save_to_disk` makes them.

    shards: of the corpus, whose folders and those above them are looked at.
    """
    folders = {posixpath.dirname(posixpath.dirname(shard.path)) for shard in _saved(shards)}
    return {folder for folder in folders if _read(folder, SPLITS) is not None}


def side_files(
    shards: Sequence[Shard],
    names: Sequence[str],
    files: Mapping[str, tuple[int, int]],
    made_by: Mapping[str, Any],
    *,
    as_before: bool,
) -> dict[str, bytes]:
    """What must stand beside copies of saved datasets so that `load_from_disk` reads them.

    shards: of the corpus. names: the copy of each in the output. files: rows and bytes of each copy
    by its name. made_by: what tells this output from others, for the fingerprints. as_before:
    whether the copies have the columns of the shards. Returns the bytes of each file by its name
    in the output; nothing for folders that are not of `save_to_disk`.
    """
    copies: dict[str, tuple[str, dict[str, str]]] = {}  # by folder: that of the copy, and its files
    by_path = dict(zip((shard.path for shard in shards), names, strict=True))
    for shard in _saved(shards):
        folder, base = posixpath.split(shard.path)
        _, copied = copies.setdefault(folder, (posixpath.dirname(by_path[shard.path]), {}))
        copied[base] = by_path[shard.path]

    found: dict[str, bytes] = {}
    infos: dict[str, dict[str, Any]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    loadable: dict[str, list[str]] = {}
    for folder, (place, copied) in copies.items():
        state, info = _read(folder, STATE), _read(folder, INFO)
        if state is None or info is None:
            continue
        kept = [one for one in _listed(state) if one.get("filename") in copied]
        if not kept:
            continue
        before = state.get("_fingerprint")
        state["_data_files"] = kept
        known = digest({"before": before, "place": place, **made_by})
        state["_fingerprint"] = known.rpartition(":")[2][:16]
        found[posixpath.join(place, STATE)] = _written(state)
        infos[posixpath.join(place, INFO)] = info if as_before else {**info, "features": None}
        counts = [files[copied[one["filename"]]] for one in kept]
        above, name = posixpath.split(folder)
        split = state["_split"] if isinstance(state.get("_split"), str) else name
        sizes[split] = (sum(rows for rows, _ in counts), sum(size for _, size in counts))
        if place:
            loadable.setdefault(above, []).append(name)
    for path, info in infos.items():
        found[path] = _written(_with_sizes(info, sizes))
    for above, splits in loadable.items():
        listing = _read(above, SPLITS)
        if listing is not None and isinstance(listing.get("splits"), list):
            place = posixpath.dirname(copies[posixpath.join(above, splits[0])][0])
            there = [one for one in listing["splits"] if one in splits]
            found[posixpath.join(place, SPLITS)] = _written({**listing, "splits": there})
    return found


def _saved(shards: Sequence[Shard]) -> list[Shard]:
    """The shards that may belong to a saved dataset."""
    return [
        shard
        for shard in shards
        if shard.path.endswith(".arrow") and not shard.path.startswith(("http://", "https://"))
    ]


def _read(folder: str, name: str) -> dict[str, Any] | None:
    """A file of JSON with one object; None where there is none."""
    try:
        found = json.loads(files_at(folder or ".").read(name))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _listed(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = state.get("_data_files")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _with_sizes(info: dict[str, Any], sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What is said of a dataset, with the rows and bytes of the copy's splits."""
    splits = info.get("splits")
    if not isinstance(splits, dict):
        return info
    told = {
        name: {**one, "num_examples": sizes[name][0], "num_bytes": sizes[name][1]}
        for name, one in splits.items()
        if name in sizes and isinstance(one, dict)
    }
    total = sum(one["num_bytes"] for one in told.values())
    return {**info, "splits": told or None, "dataset_size": total if told else None}


def _written(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode()
