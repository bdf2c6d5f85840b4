"""The lines of a shard, in blocks that end with a line: plain by byte range, compressed whole.

A line is what ends with a newline or the file; a row is a line that is not blank. A byte order
mark at the start of a line is no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dedupe.corpus.failures import LongRowError, reading, too_long
from dedupe.corpus.reading import json_arrays
from dedupe.corpus.shard import BLOCK_SIZES, BOM, BlockSizes, RowNumbers, Shard, Slice, whole

HEAD_BYTES = 1 << 20
HEAD_ROWS = 1000
"""What is looked at to learn keys, types and mean sizes."""
GUESSED_RATIO = 4
"""Size of text to its size compressed, roughly; for estimates only."""

BLANKS = b" \t\r\n"
_IS_THERE = ~np.isin(np.arange(256), list(BLANKS))

Bytes: TypeAlias = "npt.NDArray[np.uint8]"

MOST_MEASURED = 1 << 32
"""Bytes of a line that is too long of which is told how long it is."""

_NULL_AFTER = re.compile(rb"\}[ \t\r]*null")


class LineBlock:
    """Some whole lines: their bytes, and where each row starts and ends."""

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
        if odd.any():
            row = _has_more_than_blanks(array, starts)
            starts, ends, odd = starts[row], ends[row], odd[row]
        self.starts, self.ends = starts, ends
        self._odd = odd

    @cached_property
    def regular(self) -> bool:
        """Whether each row begins with { and ends with }.

        Then a parser which takes objects one after the other sees as many as there are rows exactly
        if each row is one object. It also says that no null follows an object, which crashes
        pyarrow.json 26.
        """
        if _NULL_AFTER.search(self.data):
            return False
        if self._odd.any() and BOM in self.data:  # a line that begins with one is odd
            return False
        lines = (self.data[self.starts[i] : self.ends[i]] for i in np.flatnonzero(self._odd))
        return all(line[:1] == b"{" and line[-1:] == b"}" for line in map(strip, lines))

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


def _has_more_than_blanks(data: Bytes, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """For each line whether it is a row. data: the bytes. starts: where the lines start."""
    there = _IS_THERE[data]
    there[(marks_of(data, starts)[:, None] + np.arange(len(BOM))).ravel()] = False
    rows: npt.NDArray[np.bool_] = np.logical_or.reduceat(there, starts)
    return rows


def marks_of(data: Bytes, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where byte order marks are at the start of lines. data, starts: as above."""
    marks = starts[starts + len(BOM) <= len(data)]
    for place, byte in enumerate(BOM):
        marks = marks[data[marks + place] == byte]
    return marks


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


def plan_lines(shard: Shard, target_bytes: int, max_rows: int) -> list[Slice]:
    """Slices are byte ranges of equal length; rows are reckoned by the mean length of the first.

    shard: the file. target_bytes, max_rows: see `Reader.plan`.
    """
    if shard.size == 0:
        return []
    if shard.compression is not None or json_arrays.beginning(shard) is not None:
        return whole(shard)
    rows, size = estimate_lines(shard)
    count = max(-(-size // max(target_bytes, 1)), -(-rows // max(max_rows, 1)), 1)
    count = min(count, shard.size)
    ends = [shard.size * i // count for i in range(count + 1)]
    return [Slice(shard.ordinal, i, ends[i], ends[i + 1]) for i in range(count)]


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """Count the rows before: reads the file once, up to the last of the slices."""
    found: list[int] = []
    rows = done = 0
    for part in slices:
        if part.first > done:
            rows += count_rows(shard, part.first, done)
            done = part.first
        found.append(rows)
    return found


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
