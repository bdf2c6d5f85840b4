"""An object as a file that fetches what is read of it."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dedupe.remote import given, objects

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

TAIL = 64 << 10
"""Bytes fetched to see the footer of an Arrow file: that of 2000 record batches fits."""

LEAST_AHEAD = 1 << 20
MOST_AHEAD = 16 << 20
"""Bytes fetched at a time of what is read from front to back: few at first, then more."""

_END = b"ARROW1"


class RangeFile(io.RawIOBase):
    """An object of a known size that is read by ranges; the last one fetched is held.

    uri: the object. size: its bytes. ahead: whether it is read from front to back, so that more is
    fetched than is asked for. spans: ends of pieces by their starts; a piece is fetched whole when
    its first byte is read. end: the last bytes of the object, as far as they are known already.
    """

    def __init__(
        self,
        uri: str,
        size: int,
        *,
        ahead: bool = False,
        spans: dict[int, int] | None = None,
        end: bytes = b"",
    ) -> None:
        super().__init__()
        self._uri = uri
        self._size = size
        self._ahead = LEAST_AHEAD if ahead else 0
        self._spans = spans or {}
        self._at = 0
        self._end = (size - len(end), memoryview(end))
        self._held = (0, memoryview(b""))
        self._given = given.all_given()  # Arrow reads from threads of its own

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes: it can be read from any place on."""
        return True

    def tell(self) -> int:
        """The place of the next byte to be read."""
        return self._at

    def size(self) -> int:
        """Bytes of the object."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to another place; fetches nothing."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int | None = -1) -> Any:
        """Read up to `size` bytes, or all that is left; gives a view of what was fetched."""
        stop = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        start, data = self._piece(self._at, stop)
        found = data[self._at - start : stop - start]
        self._at = stop
        return found

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer; gives how many bytes it got."""
        room = memoryview(buffer).cast("B")
        found = self.read(len(room))
        room[: len(found)] = found
        return len(found)

    def _piece(self, start: int, stop: int) -> tuple[int, memoryview]:
        """Bytes among which there are those of [start, stop), after the place of the first."""
        for first, there in (self._end, self._held):
            if first <= start and stop <= first + len(there):
                return first, there
        first, held = self._held
        kept = b""
        if self._ahead and first <= start < first + len(held):
            kept = bytes(held[start - first :])
        least = stop
        if self._ahead:
            least = max(stop, start + len(kept) + self._ahead)
            self._ahead = min(2 * self._ahead, MOST_AHEAD)
        least = max(least, self._spans.get(start, 0))
        least = min(least, self._size)
        with given.using_these(self._given):
            data = kept + objects.read_range(self._uri, start + len(kept), least)
        self._held = (start, memoryview(data))
        return self._held


def arrow_file(uri: str) -> RangeFile:
    """Open an Arrow IPC file whose record batches are fetched whole, with one GET each.

    There is one GET now, for its footer, and another if that is long. Raises ArrowInvalid where it
    has none.
    """
    end, is_whole = _end_of(uri)
    if is_whole:
        return RangeFile(uri, len(end), end=end)
    spans = {start: start + head + body for start, head, body in record_batches(end)}
    return RangeFile(uri, max(spans.values(), default=0) + len(end), spans=spans, end=end)


def arrow_blocks(uri: str) -> list[tuple[int, int, int]]:
    """(start, bytes of header, bytes of body) of each record batch of an Arrow IPC file.

    Raises ArrowInvalid where it has no footer, or a damaged one.
    """
    end, is_whole = _end_of(uri)
    return record_batches(end[-10 - footer_length(end) :] if is_whole else end)


def _end_of(uri: str) -> tuple[bytes, bool]:
    """The footer of an Arrow IPC file; or all of it if it is small, and whether it is."""
    tail = objects.read_tail(uri, TAIL)
    size = footer_length(tail) + 10
    if len(tail) < TAIL:
        return tail, True
    if size > len(tail):
        tail = objects.read_tail(uri, size)
    return tail[-size:], False


def footer_length(tail: bytes) -> int:
    """How many bytes the footer of an Arrow IPC file has, by its last bytes.

    Raises ArrowInvalid where it has none.
    """
    if len(tail) < 10 or not tail.endswith(_END):
        raise pa.ArrowInvalid("not an Arrow file: no mark at its end")
    length = int(struct.unpack_from("<i", tail, len(tail) - 10)[0])
    if length <= 0:
        raise pa.ArrowInvalid("not an Arrow file: its footer is damaged")
    return length


def record_batches(footer: bytes) -> list[tuple[int, int, int]]:
    """(start, bytes of header, bytes of body) of each record batch that a footer lists.

    footer: it, and whatever comes after it. Raises ArrowInvalid where it is damaged.

    The footer is a flatbuffer (Arrow columnar format, File.fbs): field 3 of Footer is a vector of
    Block, which is an int64, an int32 and an int64.
    """
    try:
        blocks = flat_field(footer, int(struct.unpack_from("<I", footer, 0)[0]), 3)
        if not blocks:
            return []
        blocks += struct.unpack_from("<I", footer, blocks)[0]
        count = int(struct.unpack_from("<I", footer, blocks)[0])
        found = [struct.unpack_from("<qi4xq", footer, blocks + 4 + 24 * i) for i in range(count)]
    except struct.error:
        raise pa.ArrowInvalid("the footer is damaged") from None
    if any(min(block) < 0 for block in found):
        raise pa.ArrowInvalid("the footer is damaged")
    return found


def flat_field(data: ReadableBuffer, table: int, slot: int) -> int:
    """Where a field of a flatbuffer's table begins, 0 if it is not there.

    data: the flatbuffer. table: where the table begins. slot: the number of the field. Raises
    struct.error where the flatbuffer is damaged.
    """
    entries = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * slot >= struct.unpack_from("<H", data, entries)[0]:
        return 0
    at = int(struct.unpack_from("<H", data, entries + 4 + 2 * slot)[0])
    return table + at if at else 0
