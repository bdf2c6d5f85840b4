"""What the name of a file says: its format, and whether it is read where it was not named."""

from __future__ import annotations

import os
from fnmatch import fnmatch

from dedupe.corpus.shard import COMPRESSIBLE, COMPRESSIONS, PLAIN_SUFFIXES

SIDE_FILES = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
CACHE_FILES = "cache-*.arrow"
"""What Hugging Face datasets writes beside the data; read only where named outright."""

SUFFIXES = "known are .parquet .pq .jsonl .ndjson .json .csv (these but Parquet also with .gz or \
.zst) .arrow .feather .ipc"


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out of what was not named."""
    return name.startswith((".", "_"))


def is_readable(name: str) -> bool:
    """Whether a file found in a folder is a shard."""
    if is_hidden(name) or name in SIDE_FILES or fnmatch(name, CACHE_FILES):
        return False
    return format_of(name) is not None


def format_of(name: str) -> str | None:
    """Format by suffix, None where it is not known."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() not in COMPRESSIONS:
        return PLAIN_SUFFIXES.get(suffix.lower())
    inner = PLAIN_SUFFIXES.get(os.path.splitext(stem)[1].lower())
    return inner if inner in COMPRESSIBLE else None
