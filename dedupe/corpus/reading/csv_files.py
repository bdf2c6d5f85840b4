"""CSV shards with a header line: always read whole, as a newline may be inside of quotes."""

from __future__ import annotations

import csv
import io
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc

from dedupe.arrays import as_large_string, from_bytes, is_text, text_buffers
from dedupe.corpus.failures import absent, joined, one_line, reading, too_long
from dedupe.corpus.reading.lines import HEAD_BYTES, HEAD_ROWS, estimated
from dedupe.corpus.reading.records import INT_TYPES
from dedupe.corpus.shard import (
    BLOCK_SIZES,
    BOM,
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    whole,
    within,
)
from dedupe.errors import CorpusError, RowError

GROWTH = 8
"""How many times larger the blocks become when one is too small for a row."""

_WHOLE = re.compile(r"-?(0|[1-9]\d{0,30})")
_NUMBER = re.compile(
    r"[+-]?((0|[1-9]\d{0,14})(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?(nan|inf)", re.IGNORECASE
)
_ROW = re.compile(r"(?:CSV parse error: |In CSV column #\d+: )?Row #(\d+): (.*)", re.DOTALL)
_UNFINISHED = re.compile(rb"(?:\r|[\xc0-\xff][\x80-\xbf]{0,2})\Z")
_LONGEST_CHARACTER = 4
"""At the end of a block, and bytes in which that is: what belongs to the byte that comes next."""
_OPEN = "a quote that begins in this row is never closed"


class _MalformedError(Exception):
    """The file has bytes that are not valid UTF-8."""


class _Ended:
    """A stream of CSV and, behind it, a row with a field too many that occurs nowhere else.

    It is met as a row, unless a quote is open at the end: then a field has swallowed it. No block
    ends between a carriage return and its newline, which pyarrow would lose within quotes.

    pyarrow shows a row with too few fields or too many only where it is valid UTF-8. Reading raises
    _MalformedError for what is not, unless each byte is to be taken for a character (`latin`):
    then blocks have these characters, as UTF-8.
    """

    closed = False

    def __init__(
        self, stream: BinaryIO, columns: int, delimiter: str, *, skip: bool, latin: bool
    ) -> None:
        self.unreadable: dict[int, str] = {}
        self._latin = latin
        self._has_begun = False
        self._skip = skip
        self.mark = secrets.token_hex(16)
        self.met = False
        self.swallowed = False
        self._held = b""
        self._row = delimiter * columns + self.mark
        self._parts = (stream, io.BytesIO(f"\n{self._row}\n".encode()))

    def read(self, size: int) -> bytes:
        """The next bytes, none at the end."""
        size = size // 2 if self._latin else size
        data, self._held = self._held, b""
        while True:
            room = max(size - len(data), 1)
            more = next(filter(None, (part.read(room) for part in self._parts)), b"")
            data += more
            if not more:
                break
            unfinished = _UNFINISHED.search(data, max(len(data) - _LONGEST_CHARACTER, 0))
            if cut := len(data) if unfinished is None else unfinished.start():
                data, self._held = data[:cut], data[cut:]
                break
        if not self._latin:
            _check_utf8(data)
            return data
        if not self._has_begun:
            self._has_begun, data = True, data.removeprefix(BOM)
        return data.decode("latin-1").encode()

    def judge(self, row: pc.InvalidRow) -> Literal["skip", "error"]:
        """What to do about a row with too few fields or too many."""
        self.met = row.text == self._row
        self.swallowed = self.mark in row.text and not self.met
        if self._skip and not self.met and not self.swallowed:
            said = f"broken CSV: {row.actual_columns} columns, expected {row.expected_columns}"
            self.unreadable[row.number - 2] = said  # rows count from 1, and the header is one
        return "skip" if self.met or (self._skip and not self.swallowed) else "error"


def _check_utf8(data: bytes) -> None:
    ends = np.array([0, len(data)], np.int64)
    buffers = [None, *map(pa.py_buffer, (ends, data))]
    try:
        pa.Array.from_buffers(pa.large_string(), 1, buffers).validate(full=True)
    except pa.ArrowInvalid:
        raise _MalformedError from None


def _from_latin(column: pa.Array) -> pa.Array:
    """Texts as the bytes that they have in the file, of which each is a character of `column`."""
    kind = column.type
    if not is_text(kind):
        return column
    texts = text_buffers(as_large_string(column))
    first, last = int(texts.offsets[0]), int(texts.offsets[-1])
    data = texts.data[first:last]
    characters = np.concatenate([[0], np.cumsum((data & 0xC0) != 0x80)])
    offsets = characters[texts.offsets - first].astype(np.int64)
    stored = pa.py_buffer(data.tobytes().decode().encode("latin-1"))
    buffers = [None, pa.py_buffer(offsets), stored]
    wide = pa.Array.from_buffers(pa.large_binary(), len(column), buffers)
    return from_bytes(wide if kind != pa.string() else wide.cast(pa.binary()), kind)


def _beginning(shard: Shard) -> bytes:
    with shard.open_bytes() as stream, reading(shard.path, "cannot be decompressed"):
        return bytes(stream.read(HEAD_BYTES))


def _header(shard: Shard) -> list[str]:
    return _header_as(shard, "utf-8")


@lru_cache(maxsize=64)
def _header_as(shard: Shard, encoding: str) -> list[str]:
    """The names in the header line. encoding: what its bytes are taken for."""
    data = _beginning(shard).removeprefix(BOM)
    end = secrets.token_hex(16)
    text = io.StringIO(f"{data.decode(encoding, 'replace')}\n{end}", newline="")
    try:
        names = next((row for row in csv.reader(text, delimiter=shard.delimiter) if row), None)
    except csv.Error as error:
        raise CorpusError(f"its header cannot be read: {error}", path=shard.path) from None
    if not data:
        return []
    if names == [end]:
        raise CorpusError("is empty: a CSV file begins with its column names", path=shard.path)
    if names is None or end in names[-1]:
        raise CorpusError("its header cannot be read: a quote is never closed", path=shard.path)
    return names


def columns(shard: Shard) -> list[str]:
    """Read the header line; an empty file has none."""
    return _header(shard)


def check(shard: Shard, projection: Projection) -> Lacking:
    """Check names against the header line."""
    names = _header(shard)
    if not names:
        return {path: "" for path in projection.paths if not path.optional}
    for path in projection.paths:
        if path.steps:
            raise CorpusError(
                f'"{path}": columns of CSV have nothing in them: name the column', path=shard.path
            )
    for name in projection.present(names):
        if name not in names:
            said = absent(name, names) + joined(names, shard.delimiter)
            raise CorpusError(said, path=shard.path)
        if names.count(name) > 1:
            raise CorpusError(f'column "{name}" occurs {names.count(name)} times', path=shard.path)
    return {}


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Make one slice of it. See `Reader.plan`."""
    return whole(shard) if _header(shard) else []


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """There is nothing before the only slice."""
    return [0 for _ in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """By the mean length of the first lines; bytes of all columns."""
    data = _beginning(shard)
    return estimated(shard, data.count(b"\n"), len(data), is_all=len(data) < HEAD_BYTES)


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Parse a block at a time; empty fields are empty texts, and nulls in columns of numbers.

    See `Reader.read`.
    """
    check(shard, projection)
    names = _header(shard)
    others = [name for name in projection.others if name in names]
    unfit = frozenset(name for name in others if names.count(name) > 1)
    read = [*projection.present(names), *(name for name in others if name not in unfit)]
    types = dict.fromkeys(read, pa.large_string())
    types |= zip(projection.plain, _types(shard, projection.plain), strict=True)
    start = 0
    for batch, unreadable in _batches(shard, types, sizes):
        take = within(rows, start, batch.num_rows)
        if take is None or len(take):
            yield Decoded(batch, take, unfit=unfit, unreadable=unreadable)
        start += batch.num_rows


def _batches(
    shard: Shard, types: Mapping[str, pa.DataType], sizes: BlockSizes = BLOCK_SIZES
) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
    """All rows, with those of each batch that cannot be read: see `Decoded.unreadable`.

    A row that does not fit a block is met by opening the file with larger ones.
    """
    size = sizes.csv
    latin = False
    done = 0
    while True:
        try:
            skip = done
            for batch, unreadable in _opened(shard, types, size, latin=latin):
                if skip < batch.num_rows:
                    done += batch.num_rows - skip
                    left = {row - skip: said for row, said in unreadable.items() if row >= skip}
                    yield batch.slice(skip), left
                skip = max(skip - batch.num_rows, 0)
            return
        except _MalformedError:
            latin = True
        except pa.ArrowInvalid as error:
            message = one_line(error)
            if "Empty CSV file" in message:  # a header without a newline
                return
            longest = max(shard.limits.row, sizes.csv)
            if "straddl" in message and size < longest:
                size = min(size * GROWTH, longest)
                continue
            if "straddl" in message:
                raise too_long(shard, done, longest, more=True) from None
            found = _ROW.search(message)
            row, reason = (int(found[1]) - 2, found[2]) if found else (None, message)
            kind = RowError if reason.startswith("Expected") else CorpusError
            raise kind(f"broken CSV: {reason}", path=shard.path, row=row) from None
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"cannot be read: {one_line(error)}", path=shard.path) from None


def _opened(
    shard: Shard, types: Mapping[str, pa.DataType], size: int, *, latin: bool
) -> Iterator[tuple[pa.RecordBatch, dict[int, str]]]:
    rows = 0
    names = _header(shard)
    spelled = _header_as(shard, "latin-1") if latin else names
    kinds = {spelled[names.index(name)]: kind for name, kind in types.items()}
    with shard.open_bytes() as stream:
        ended = _Ended(stream, len(names), shard.delimiter, skip=shard.skips_rows, latin=latin)
        try:
            for batch in pc.open_csv(
                ended,
                read_options=pc.ReadOptions(use_threads=False, block_size=size),
                parse_options=pc.ParseOptions(
                    delimiter=shard.delimiter,
                    newlines_in_values=True,
                    invalid_row_handler=ended.judge,
                ),
                convert_options=pc.ConvertOptions(
                    include_columns=list(kinds),
                    column_types=kinds,
                    null_values=[""],
                    strings_can_be_null=False,
                    check_utf8=False,
                ),
            ):
                if latin:
                    columns = list(map(_from_latin, batch.columns))
                    batch = pa.RecordBatch.from_arrays(columns, list(types))
                whole, unreadable = _with_rows(batch, rows, ended.unreadable)
                rows += whole.num_rows
                yield whole, unreadable
        except pa.ArrowInvalid as error:
            found = _ROW.search(str(error))
            if found and (ended.swallowed or ended.mark in found[2]):
                raise pa.ArrowInvalid(f"Row #{found[1]}: {_OPEN}") from None
            raise
    if not ended.met:
        raise pa.ArrowInvalid(f"Row #{rows + 1}: {_OPEN}")
    nothing = pa.RecordBatch.from_pylist([], pa.schema(types))
    behind, unreadable = _with_rows(nothing, rows, ended.unreadable, is_last=True)
    if unreadable:
        yield behind, unreadable


def _with_rows(
    batch: pa.RecordBatch, first: int, unreadable: Mapping[int, str], *, is_last: bool = False
) -> tuple[pa.RecordBatch, dict[int, str]]:
    """A batch with the rows that the parser left out, as nulls, and these by their number in it.

    batch: rows that were read. first: number in the file of the first row. unreadable: all rows
    that were left out so far, by their number in the file. is_last: whether those behind the last
    row of the batch belong to it, too.
    """
    left_out = sorted(row - first for row in unreadable if row >= first)
    before = np.array(left_out, np.int64) - np.arange(len(left_out))  # rows of the batch, of each
    count = len(left_out) if is_last else int(np.searchsorted(before, batch.num_rows))
    if not count:
        return batch, {}
    places = np.insert(np.arange(batch.num_rows), before[:count], -1)
    rows = pa.array(places, mask=places < 0)
    return batch.take(rows), {row: unreadable[first + row] for row in left_out[:count]}


@lru_cache(maxsize=64)
def _types(shard: Shard, names: tuple[str, ...]) -> list[pa.DataType]:
    """int64, uint64, float64 or string by the first rows, so that 007 stays what it is."""
    if not names:
        return []
    for batch, _ in _batches(shard, dict.fromkeys(names, pa.large_binary())):
        first = batch.slice(0, HEAD_ROWS)
        return [_type([v.decode("latin-1") for v in c.to_pylist() if v]) for c in first.columns]
    return [pa.string() for _ in names]


def _type(values: list[str]) -> pa.DataType:
    if values and all(_WHOLE.fullmatch(value) for value in values):
        numbers = [int(value) for value in values]
        for candidate, (least, end) in INT_TYPES.items():
            if least <= min(numbers) and max(numbers) < end:
                return candidate
        return pa.string()
    if values and all(_NUMBER.fullmatch(value) for value in values):
        return pa.float64()
    return pa.string()
