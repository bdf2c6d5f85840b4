"""What the name of a file says: its format, and whether it is read where it was not named."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch

from dedupe.corpus.formats import FORMATS, Format, described_suffixes
from dedupe.corpus.shard import CODECS

SIDE_FILES = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
)
CACHE_FILES = "cache-*.arrow"
"""What Hugging Face datasets writes beside the data; read only where named outright."""

SPLITS = re.compile(r"(?:^|[-_.])(train|test|validation|valid|val|dev|eval)(?:[-_.]|$)")
"""In the name of a file or folder: that it is a split of a data set."""

SUFFIXES = described_suffixes()
"""The suffixes there are, as messages say it."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is left out of what was not named."""
    return name.startswith((".", "_"))


def is_readable(name: str) -> bool:
    """Whether a file found in a folder is a shard."""
    if is_hidden(name) or name in SIDE_FILES or fnmatch(name, CACHE_FILES):
        return False
    return bool(formats_of(name))


def is_plain_text(name: str) -> bool:
    """Whether a file has plain text by its name."""
    return any(one.unit for one in formats_of(name))


def is_left_out(name: str) -> bool:
    """Whether a file found in a folder is no shard, though a reader may think that it is one."""
    known = name in SIDE_FILES or fnmatch(name, CACHE_FILES)
    return not (is_hidden(name) or known or formats_of(name))


def chosen(paths: Iterable[str]) -> tuple[list[str], Counter[str]]:
    """Which files of a folder are read, and how many are left out, by their suffix.

    paths: of files that are not hidden. Plain text beside files of other formats is what somebody
    says about them, such as a README.txt, and is left out.
    """
    names = {path: path.rpartition("/")[2] for path in paths}
    found = [path for path, name in names.items() if is_readable(name)]
    tables = [path for path in found if not is_plain_text(names[path])]
    read = tables or found
    others = set(found) - set(read)
    left_out = Counter(
        os.path.splitext(name)[1].lower() or "no suffix"
        for path, name in names.items()
        if path in others or is_left_out(name)
    )
    return read, left_out


def splits_of(paths: Iterable[str]) -> list[str]:
    """The splits that files are of, by their names and those of the folders that they are in."""
    return sorted({found[1] for path in paths if (found := SPLITS.search(_split_name(path)))})


def _split_name(path: str) -> str:
    """The part of a path that names a split: that of the file, or else of its folder."""
    folder, name = os.path.split(path)
    return name if SPLITS.search(name) else os.path.basename(folder)


def said_left_out(left_out: Mapping[str, int], repeated: Mapping[str, str]) -> Iterator[str]:
    """Which files were left out, for people, of each kind that there is.

    left_out, repeated: see `discover.Discovered`.
    """
    if left_out:
        yield _said_suffixes(left_out)
    if repeated:
        yield _said_repeated(repeated)


def _said_suffixes(left_out: Mapping[str, int]) -> str:
    count = sum(left_out.values())
    listed = ", ".join(f"{suffix} {number:,}" for suffix, number in left_out.items())
    return f"{count:,} file{'' if count == 1 else 's'}: {listed}"


def _said_repeated(repeated: Mapping[str, str]) -> str:
    path, read = next(iter(repeated.items()))
    more = f", and {len(repeated) - 1:,} more" if len(repeated) > 1 else ""
    links = "1 link" if len(repeated) == 1 else f"{len(repeated):,} links"
    return f"{links} to files that are read already: {path} is {read}{more}"


def formats_of(name: str) -> list[Format]:
    """The formats that a file of this name can have; none where its suffix is not known."""
    suffix, compression = _suffixes(name)
    return [
        one
        for one in FORMATS.values()
        if suffix.lower() in one.suffixes
        and (not compression or compression.lower() in one.compressions)
    ]


def suffix_of(name: str) -> str:
    """What a file of the same format and compression ends with, such as `.jsonl.gz`."""
    return "".join(_suffixes(name))


def _suffixes(name: str) -> tuple[str, str]:
    """The suffix of the format, and that of the compression."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in CODECS:
        return os.path.splitext(stem)[1], suffix
    return suffix, ""
