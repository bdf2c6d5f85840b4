"""JSON arrays: a file that is one array of rows, or an object with one, as lines of one row each.

That is the usual form of Alpaca, ShareGPT and LLaMA-Factory data. Where rows begin and end is found
by a kernel; line breaks in a row, and the blanks behind them, are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from functools import lru_cache

import numpy as np

from dedupe.corpus.failures import LongRowError, reading
from dedupe.corpus.shard import BOM, Shard, file_name
from dedupe.errors import CorpusError

LOOKED_AT = 1 << 16
"""Bytes in which an array must begin."""
_JSON = re.compile(r"\.json(\.\w+)?$")
_PLAIN = rb'"(?:[^"\\]|\\.)*"|[-+.\deE]+|true|false|null'
_ROWS = rb"data|rows|examples|instances|items|records"
_OBJECT = re.compile(
    rb'\{\s*(?:"(?:[^"\\]|\\.)*"\s*:\s*(?:' + _PLAIN + rb')\s*,\s*)*"(?:' + _ROWS + rb')"\s*:\s*\['
)
"""An object up to an array of rows, which is under one of these keys."""


@lru_cache(maxsize=64)
def beginning(shard: Shard) -> bytes | None:
    """What stands before the rows, where a file is an array; None for JSON lines.

    Only a file that ends with .json is looked at. An object is taken for one with an array only
    where its first line is no whole object.
    """
    if shard.format != "jsonl" or not _JSON.search(file_name(shard.path).lower()):
        return None
    with shard.open_bytes() as stream, reading(shard.path, "cannot be decompressed"):
        head = stream.read(LOOKED_AT)
    blank = len(head) - len(head.removeprefix(BOM).lstrip())
    if head[blank : blank + 1] == b"[":
        return head[: blank + 1]
    found = _OBJECT.match(head, blank)
    if found is None or head[blank:].partition(b"\n")[0].rstrip().endswith(b"}"):
        return None
    return head[: found.end()]


def lines_of(shard: Shard, before: bytes, size: int) -> Generator[bytes, None, bytes]:
    """The rows of an array as lines, in pieces that end with a line.

    shard: the file. before: what stands before them, see `beginning`. size: about the bytes in a
    piece. Returns what stands behind the rows. Raises CorpusError for what is no array of rows, and
    LongRowError for a row that is too long.
    """
    from dedupe.kernels.records import INSIDE, array_lines  # not to look at a file that has none

    state = np.zeros(INSIDE, np.int64)
    held: list[bytes] = []
    held_size = 0
    with shard.open_bytes() as stream, reading(shard.path, "cannot be decompressed"):
        skipped = len(before)
        while skipped:
            skipped -= len(stream.read(skipped))
        while data := stream.read(size):
            out = np.empty(len(data) * 3 // 2 + 2, np.uint8)
            written, cut, used = array_lines(np.frombuffer(data, np.uint8), state, out)
            made = out[:written].tobytes()
            if cut:
                yield b"".join([*held, made[:cut]])
                held, held_size = [], 0
            held.append(made[cut:])
            held_size += written - cut
            if used < len(data):
                if any(map(bytes.strip, held)):
                    raise CorpusError("its array ends within a row", path=shard.path)
                return _rest(shard, before, data[used:] + stream.read(LOOKED_AT))
            if held_size > shard.limits.row:
                raise LongRowError(held_size, more=True)
    raise CorpusError("its array is never closed: it is truncated", path=shard.path)


def behind(shard: Shard, before: bytes, size: int) -> bytes:
    """What stands behind the rows of an array; of an object with one, all rows are read for it.

    shard, before, size: see `lines_of`.
    """
    if b"{" not in before:
        return b"]\n"
    pieces = lines_of(shard, before, size)
    while True:
        try:
            next(pieces)
        except StopIteration as ended:
            found: bytes = ended.value
            return found


def _rest(shard: Shard, before: bytes, behind: bytes) -> bytes:
    """What stands behind the rows, which must be what the file needs to be JSON, and no more."""
    if len(behind) > LOOKED_AT:
        raise CorpusError("has more behind its array than the end of an object", path=shard.path)
    try:
        json.loads((before + behind).decode("utf-8-sig"))
    except ValueError:
        raise CorpusError("has more behind its array of rows", path=shard.path) from None
    return behind
