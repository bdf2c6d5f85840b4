"""Checksums of files: what was written is what is read, or it is an error that names the file.

Every checksum is xxh3 (64 bits) by the `xxhash` package. JSON files carry their own, under the key
"checksum"; those of all other files stand in the result of the task that made them.
"""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import xxhash

from dedupe.errors import DamageError

KEY = "checksum"
"""The last key of a sealed JSON file."""

WHAT = "file"
"""The first key: what a sealed file is."""

CHUNK = 1 << 20
"""Bytes of a file that are hashed at a time."""


def checksum(data: Any) -> int:
    """The checksum of bytes, or of anything that lends them as a buffer."""
    return xxhash.xxh3_64_intdigest(data)


class HashingSink:
    """A binary file to write to, which counts and hashes what goes through it.

    bounds: bytes written up to each `cut`. checksums: of what lies between two bounds.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._state = xxhash.xxh3_64()
        self._at = 0
        self._planned = -1
        self.bounds: list[int] = []
        self.checksums: list[int] = []

    def write(self, data: Any) -> int:
        """Write bytes; how many they are."""
        self._state.update(data)
        written = self._file.write(data)
        self._at += written
        if self._at == self._planned:
            self.cut()
        return written

    def cut_at(self, bound: int) -> None:
        """End a part when that many bytes have been written, which is where one write ends."""
        self._planned = bound

    def tell(self) -> int:
        """Bytes written so far."""
        return self._at

    def cut(self) -> None:
        """End a part that has a checksum of its own."""
        self.bounds.append(self._at)
        self.checksums.append(self._state.intdigest())
        self._state.reset()

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self._file.flush()

    def close(self) -> None:
        """Leave the file to whoever opened it."""


def checksum_of_file(file: BinaryIO) -> tuple[int, int]:
    """Size and checksum of all that is left to read of a file."""
    state, size = xxhash.xxh3_64(), 0
    while data := file.read(CHUNK):
        state.update(data)
        size += len(data)
    return size, state.intdigest()


def seal(what: str, value: dict[str, Any]) -> bytes:
    """A JSON object as the bytes of a file that carries its own checksum.

    what: says what the file is, so that it is not taken for another one. value: the object.
    """
    named = {WHAT: what, **value}
    text = json.dumps({**named, KEY: digest_of_json(named)}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def unseal(what: str, data: bytes, path: str) -> dict[str, Any]:
    """The JSON object of a sealed file.

    what: as `seal` was given. data: the bytes of the file. path: what messages call it. Raises
    OtherKindError where the file is whole and another one, DamageError where its checksum is
    missing or does not fit.
    """
    try:
        value = json.loads(data)
        found = value.pop(KEY, None)
        intact = found == digest_of_json(value)
        kind = value.pop(WHAT)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        found, intact, kind = "", False, None
    if not intact:
        old = "it has no checksum, as those of an older dedupe have none"
        raise DamageError(path, old if found is None else "its checksum is another one")
    if kind != what:
        raise OtherKindError(path, str(kind))
    result: dict[str, Any] = value
    return result


class OtherKindError(DamageError):
    """A file that is whole, and another one than was wanted."""

    SAID = "it is a file of another kind: "

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(path, self.SAID + kind.removeprefix(self.SAID))

    @property
    def kind(self) -> str:
        """What it says that it is."""
        return self.what.removeprefix(self.SAID)


def digest_of_json(value: dict[str, Any]) -> str:
    """The checksum of a JSON object, in the order of its keys, as text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"xxh3:{checksum(text.encode('utf-8', 'surrogatepass')):016x}"
