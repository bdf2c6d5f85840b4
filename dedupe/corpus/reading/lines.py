"""The lines of a shard, in blocks that end with a line: plain by byte range, compressed whole.

A line is what ends with a newline or the file; a row is a line that is not blank. A byte order
mark at the start of a line is no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np

from dedupe.corpus.failures import LongRowError, reading, too_long
from dedupe.corpus.reading import json_arrays
from dedupe.corpus.shard import BLOCK_SIZES, BOM, BlockSizes, RowNumbers, Shard, Slice

HEAD_BYTES = 1 << 20
HEAD_ROWS = 1000
"""What is looked at to learn keys, types and mean sizes."""
GUESSED_RATIO = 4
"""Size of text to its size compressed, roughly; for estimates only."""

BLANKS = b" \t\r\n"

MOST_MEASURED = 1 << 32
"""Bytes of a line that is too long of which is told how long it is."""

_NULL_AFTER = re.compile(rb"\}[ \t\r]*null")


class LineBlock:
    """Some whole lines: their bytes, and where each row starts and ends.

    regular: each row begins with { and ends with }, so that a parser which takes objects one
    after the other sees as many as there are rows exactly if each row is one object. It also
    says that no null follows an object, which crashes pyarrow.json 26.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data = data.removeprefix(BOM)
        array = np.frombuffer(data, np.uint8)
        newlines = np.flatnonzero(array == ord("\n"))
        if len(data) and data[-1:] != b"\n":
            newlines = np.append(newlines, len(data))
        starts = np.concatenate([[0], newlines[:-1] + 1]).astype(np.int64)[: len(newlines)]
        ends = newlines.astype(np.int64)
        last = np.maximum(ends - 1, 0)
        last = np.maximum(last - (array[last] == ord("\r")), 0)
        odd = (last <= starts) | (array[starts] != ord("{")) | (array[last] != ord("}"))
        self.regular = _NULL_AFTER.search(data) is None
        if odd.any():
            row = np.ones(len(starts), np.bool_)
            for i in np.flatnonzero(odd):
                line = strip(data[starts[i] : ends[i]])
                row[i] = bool(line)
                self.regular &= not line or (line[:1] == b"{" and line[-1:] == b"}")
            self.regular &= BOM not in data
            starts, ends = starts[row], ends[row]
        self.starts, self.ends = starts, ends

    def __len__(self) -> int:
        return len(self.starts)

    def lines(self) -> Generator[bytes, None, None]:
        """Every row."""
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield strip(self.data[start:end])

    def only(self, rows: RowNumbers) -> LineBlock:
        """Make a block of some of the rows."""
        bounds = zip(self.starts[rows].tolist(), self.ends[rows].tolist(), strict=True)
        return LineBlock(b"\n".join([self.data[start:end] for start, end in bounds]))


def strip(line: bytes) -> bytes:
    """Take the byte order mark and the blanks around it off a line; empty for no row."""
    return line.removeprefix(BOM).strip(BLANKS)


def blocks(
    shard: Shard, part: Slice, sizes: BlockSizes = BLOCK_SIZES
) -> Generator[LineBlock, None, None]:
    """Read the lines of a slice, in blocks that end with a line.

    shard, part: the file, and the slice of it. sizes: about the bytes in a block. Raises
    CorpusError for a row that is too long, and for what cannot be read.
    """
    rows = 0
    longest = shard.limits.row
    pieces = _pieces(shard, part, sizes.lines)
    with closing(pieces):
        try:
            for data in pieces:
                block = LineBlock(data)
                lengths = block.ends - block.starts
                if lengths.max(initial=0) > longest:
                    row = int(np.argmax(lengths > longest))
                    rows += row
                    raise LongRowError(int(lengths[row]))
                yield block
                rows += len(block)
        except LongRowError as error:
            before = count_rows(shard, part.first) if part.first else 0
            raise too_long(shard, before + rows, error.size, more=error.more) from None


def _pieces(shard: Shard, part: Slice, size: int) -> Generator[bytes, None, None]:
    """The bytes of a slice, in pieces that end with a line. Raises LongRowError."""
    before = json_arrays.beginning(shard)
    if before is not None:
        yield from json_arrays.lines_of(shard, before, size)
        return
    whole = part.last < 0
    pieces = _whole(shard, size) if whole else _range(shard, part.first, part.last, size)
    with closing(pieces):
        yield from _aligned(pieces, shard.limits.row)


def head(shard: Shard) -> tuple[LineBlock, bool]:
    """Read the first rows; also whether they are all there are."""
    part = Slice(shard.ordinal, 0, 0, -1 if shard.compression else shard.size)
    taken: list[bytes] = []
    size = 0
    with closing(blocks(shard, part, replace(BLOCK_SIZES, lines=HEAD_BYTES))) as found:
        for block in found:
            taken.append(block.data)
            size += len(block.data)
            if size >= HEAD_BYTES // 2:
                return LineBlock(b"".join(taken)), next(found, None) is None
    return LineBlock(b"".join(taken)), True


def count_rows(shard: Shard, end: int, first: int = 0, sizes: BlockSizes = BLOCK_SIZES) -> int:
    """How many rows start in some bytes of a shard that is not compressed.

    shard: the file. first, end: the bytes [first, end). sizes: bytes that are read at a time.
    """
    return sum(len(block) for block in blocks(shard, Slice(shard.ordinal, 0, first, end), sizes))


def estimate_lines(shard: Shard) -> tuple[int, int]:
    """Rows and bytes of a shard of lines, about."""
    block, is_all = head(shard)
    return estimated(shard, len(block), len(block.data), is_all=is_all)


def estimated(shard: Shard, rows: int, size: int, *, is_all: bool) -> tuple[int, int]:
    """The same by what is at the beginning of a shard.

    shard: the file. rows, size: rows and bytes there. is_all: whether there is no more.
    """
    if is_all:
        return rows, size
    whole = shard.size * (GUESSED_RATIO if shard.compression else 1)
    return max(whole * rows // max(size, 1), 1), whole


def _measured(size: int, data: bytes, more: Iterator[bytes]) -> tuple[int, bool]:
    """Bytes of a line of which some are known, and whether it has more than these.

    size: bytes before `data`. more: what comes after it, of which not all is looked at.
    """
    while (end := data.find(b"\n")) < 0 and size < MOST_MEASURED:
        size += len(data)
        data = next(more, b"\n")
    return size + max(end, 0), end < 0


def _whole(shard: Shard, size: int) -> Generator[bytes, None, None]:
    with shard.open_bytes() as stream, reading(shard.path, "cannot be decompressed"):
        while data := stream.read(size):
            yield data


def _range(shard: Shard, first: int, last: int, size: int) -> Generator[bytes, None, None]:
    """Bytes of the lines that start in [first, last)."""
    with reading(shard.path), shard.file.for_bytes() as file:
        if first:
            file.seek(first - 1)
            while (piece := file.readline(size)) and piece[-1:] != b"\n":
                pass
        place = file.tell()
        data = b"\n"
        while place < last and data:
            data = file.read(min(size, last - place))
            place += len(data)
            yield data
        while data and data[-1:] != b"\n":
            data = file.readline(size)
            yield data


def _aligned(pieces: Iterator[bytes], longest: int) -> Generator[bytes, None, None]:
    """Cut the same bytes after lines; none is held that has more than `longest` bytes."""
    held: list[bytes] = []
    size = 0
    for data in pieces:
        cut = data.rfind(b"\n") + 1
        if size and size + (data.find(b"\n") if cut else len(data)) > longest:
            raise LongRowError(*_measured(size, data, pieces))
        if cut:
            yield b"".join([*held, data[:cut]]) if held else data[:cut]
            held, size = [], 0
        if cut < len(data):
            held.append(data[cut:])
            size += len(data) - cut
    if held:
        yield b"".join(held)
