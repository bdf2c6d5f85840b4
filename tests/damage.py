"""Damages of files, as a disk, a power cut or a hand does them."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

PAGE = 4096


def flip_a_bit(path: Path, others, random_: random.Random) -> bool:
    return _changed(path, random_, lambda byte: byte ^ (1 << random_.randrange(8)))


def change_a_byte(path: Path, others, random_: random.Random) -> bool:
    return _changed(path, random_, lambda byte: (byte + random_.randrange(1, 256)) % 256)


def _changed(path, random_, change) -> bool:
    data = bytearray(path.read_bytes())
    if not data:
        return False
    at = random_.randrange(len(data))
    data[at] = change(data[at])
    _write(path, data)
    return True


def zero_a_page(path: Path, others, random_: random.Random) -> bool:
    data = path.read_bytes()
    start = random_.randrange(len(data) // PAGE + 1) * PAGE
    end = min(start + PAGE, len(data))
    zeroed = data[:start] + bytes(end - start) + data[end:]
    _write(path, zeroed)
    return zeroed != data


def truncate(path: Path, others, random_: random.Random) -> bool:
    size = path.stat().st_size
    return _shortened(path, random_.randrange(size) if size else 0)


def truncate_to_pages(path: Path, others, random_: random.Random) -> bool:
    return _shortened(path, random_.randrange(path.stat().st_size // PAGE + 1) * PAGE)


def empty(path: Path, others, random_: random.Random) -> bool:
    return _shortened(path, 0)


def _shortened(path, size) -> bool:
    before = path.stat().st_size
    _write(path, path.read_bytes()[:size])
    return size < before


def swap(path: Path, others, random_: random.Random) -> bool:
    others = [other for other in others if other != path]
    if not others:
        return False
    other = random_.choice(others)
    one, two = path.read_bytes(), other.read_bytes()
    _write(path, two)
    _write(other, one)
    return one != two


def delete(path: Path, others, random_: random.Random) -> bool:
    path.unlink()
    return True


def append(path: Path, others, random_: random.Random) -> bool:
    _write(path, path.read_bytes() + random_.randbytes(random_.choice([1, 7, PAGE])))
    return True


KINDS = (
    flip_a_bit,
    change_a_byte,
    zero_a_page,
    truncate,
    truncate_to_pages,
    empty,
    swap,
    delete,
    append,
)
"""Each damages a file and says whether anything has changed; `swap` takes another of the files."""


def _write(path: Path, data: bytes) -> None:
    """Write a file anew: what was copied here may be a link to what was copied."""
    path.unlink()
    path.write_bytes(data)


def files_below(folder: Path) -> list[Path]:
    """All files, in an order that does not depend on names that are drawn."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(found, key=lambda path: (path.parent.name, path.name))


def copied(folder: Path, target: Path) -> Path:
    """A copy of a folder, whose files are links until they are damaged."""
    shutil.copytree(folder, target, copy_function=os.link)
    return target
