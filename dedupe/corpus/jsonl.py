"""JSON-lines shards: a slice of a plain file is a byte range, a compressed one is read whole.

Blocks of lines go to pyarrow.json. What it refuses, or cannot be trusted with, goes row by row
through `records`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from dedupe.corpus.lines import (
    HEAD_ROWS,
    Block,
    blocks,
    count_rows,
    estimate_lines,
    head,
)
from dedupe.corpus.records import (
    BadRowError,
    as_latin,
    from_latin,
    infer_types,
    kind,
    parse,
    record_batch,
)
from dedupe.corpus.shard import Decoded, Rows, Shard, Slice, missing, whole, within
from dedupe.corpus.texts import as_binary
from dedupe.errors import CorpusError


def check(shard: Shard, columns: Mapping[str, str]) -> None:
    """Look at the first rows: a key that none of them has is missing."""
    rows = _head_rows(shard)
    seen = {key: None for row in rows for key in row}
    for role, name in columns.items():
        if rows and as_latin(name) not in seen:
            raise missing(shard, name, [from_latin(key) for key in seen])
        if role == "text":
            for number, row in enumerate(rows):
                value = row.get(as_latin(name))
                if not isinstance(value, str | None):
                    raise CorpusError(
                        f'column "{name}" is {kind(value)}, expected a string',
                        path=shard.path,
                        row=number,
                    )
    _types(shard, tuple(name for role, name in columns.items() if role != "text"))


def plan(shard: Shard, column: str, target_bytes: int, max_rows: int) -> list[Slice]:
    """Equal byte ranges of a plain file, by bytes and by the mean length of the first rows."""
    if shard.size == 0 and shard.compression is None:
        return []
    if shard.compression is not None:
        return whole(shard)
    rows, size = estimate_lines(shard)
    count = max(-(-size // max(target_bytes, 1)), -(-rows // max(max_rows, 1)), 1)
    count = min(count, shard.size)
    ends = [shard.size * i // count for i in range(count + 1)]
    return [Slice(shard.ordinal, i, ends[i], ends[i + 1]) for i in range(count)]


def first_row(shard: Shard, part: Slice) -> int:
    """Count the rows before: reads the file up to the slice."""
    return count_rows(shard, part.first) if part.first else 0


def estimate(shard: Shard, column: str | None) -> tuple[int, int]:
    """By the mean length of the first rows; bytes of all keys."""
    return estimate_lines(shard)


def read(
    shard: Shard, part: Slice, names: Sequence[str], batch_bytes: int, rows: Rows | None
) -> Iterator[Decoded]:
    """Parse block by block; of a block with few wanted rows only those lines."""
    types = _types(shard, tuple(names[1:]))
    schema = pa.schema([(names[0], pa.large_string()), *zip(names[1:], types, strict=True)])
    start = 0
    for block in blocks(shard, part):
        wanted = within(rows, start, len(block))
        if wanted is None:
            chosen = block
        elif len(wanted):
            chosen = block.only(wanted)
        else:
            chosen = None
        if chosen is not None and len(chosen):
            try:
                batch = parse_block(chosen, schema)
            except BadRowError as error:
                reason, number = error.args
                number = start + int(number if wanted is None else wanted[number])
                raise CorpusError(
                    reason, path=shard.path, row=first_row(shard, part) + number
                ) from None
            yield Decoded(batch)
        start += len(block)


def parse_block(block: Block, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of a block; raises BadRowError with the reason and the row's number in it."""
    batch = _parse_fast(block, schema) if block.regular else None
    if batch is None:
        text = schema.names[0]
        batch = record_batch(block.lines(), schema, text, lambda line: _parse_one(line, schema))
    return batch


def _parse_fast(block: Block, schema: pa.Schema) -> pa.RecordBatch | None:
    """Arrow's parser; None where it refuses or does not see one object per row."""
    try:
        table = pj.read_json(
            pa.BufferReader(block.data),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block.data) + 64),
            parse_options=pj.ParseOptions(
                explicit_schema=schema, unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return None
    if table.num_rows != len(block):
        return None
    parts: list[pa.RecordBatch] = table.combine_chunks().to_batches()
    return parts[0] if len(parts) == 1 else None


def _parse_one(line: bytes, schema: pa.Schema) -> dict[str, Any] | None:
    """One line by Arrow's parser, in the form of `records.parse`."""
    block = Block(line)
    batch = _parse_fast(block, schema) if block.regular and len(block) == 1 else None
    if batch is None:
        return None
    row: dict[str, Any] = {}
    for name, array in zip(schema.names, batch.columns, strict=True):
        value = as_binary(array)[0].as_py()
        row[as_latin(name)] = value.decode("latin-1") if isinstance(value, bytes) else value
    return row


@lru_cache(maxsize=64)
def _types(shard: Shard, names: tuple[str, ...]) -> list[pa.DataType]:
    """Types of columns besides the text, from the first rows: the same for every slice."""
    if not names:
        return []
    try:
        return infer_types(_head_rows(shard), names)
    except BadRowError as error:
        raise CorpusError(str(error), path=shard.path) from None


@lru_cache(maxsize=4)
def _head_rows(shard: Shard) -> tuple[dict[str, Any], ...]:
    """Parse the first rows."""
    block, _ = head(shard)
    anything = pa.schema([("", pa.large_string())])
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(islice(block.lines(), HEAD_ROWS)):
        if number == 0 and line[:1] == b"[":
            raise CorpusError(
                "is a JSON array, not JSON lines: write one object per line, for instance with "
                "jq -c '.[]'",
                path=shard.path,
            )
        try:
            rows.append(parse(line))
        except BadRowError as error:
            if _parse_one(line, anything) is None:
                raise CorpusError(str(error), path=shard.path, row=number) from None
            rows.append({})
    return tuple(rows)
