"""JSON-lines shards: a slice of a plain file is a byte range, a compressed one is read whole.

Blocks of lines go to pyarrow.json. What it refuses, or cannot be trusted with, goes row by row
through `records`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from dedupe.corpus.failures import absent, missing
from dedupe.corpus.reading import json_arrays
from dedupe.corpus.reading.lines import (
    HEAD_ROWS,
    LineBlock,
    blocks,
    estimate_lines,
    first_rows,
    head,
    plan_lines,
)
from dedupe.corpus.reading.records import (
    BadRowError,
    from_latin,
    infer_types,
    parse,
    record_batch,
)
from dedupe.corpus.shard import (
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    within,
)
from dedupe.documents.objects import (
    as_latin,
    check_path,
    is_doubtful,
    json_types,
    plain_type,
    render_object,
)
from dedupe.documents.template import UnfitError
from dedupe.errors import CorpusError, RowError


def columns(shard: Shard) -> list[str]:
    """Name the keys of the first rows."""
    return [
        from_latin(key) for key in dict.fromkeys(key for row in _head_rows(shard) for key in row)
    ]


def check(shard: Shard, projection: Projection) -> Lacking:
    """Look at the first rows: a key that none of them has is missing, unless it is believed."""
    rows = _head_rows(shard)
    names = columns(shard)
    lacking = _lacking(shard, projection)
    if names and lacking and not projection.named:
        reason = next(iter(lacking.values()))
        raise CorpusError(
            f"{reason}; if rows after the first {HEAD_ROWS:,} have it, name it with --text",
            path=shard.path,
        )
    for name in projection.plain:
        if names and name not in names:
            raise missing(shard.path, name, names)
    for number, row in enumerate(rows if not shard.skips_rows else ()):
        with fitting(shard, number):
            for template in projection.fields:
                render_object(row, template)
    with fitting(shard):
        types = json_types(rows, projection.fields)
    for role, name in projection.roles:
        if name in types and pa.types.is_nested(types[name]):
            raise CorpusError(
                f'column "{name}" is {types[name]}: {role} needs a plain value', path=shard.path
            )
    _types(shard, projection)
    return lacking


def _lacking(shard: Shard, projection: Projection) -> Lacking:
    """The paths that no first row has anything at, but for optional ones."""
    rows = _head_rows(shard)
    names = columns(shard)
    found: Lacking = {}
    for path in projection.paths:
        if path.optional:
            continue
        if path.column not in names:
            found[path] = absent(path.column, names) if names else ""
            continue
        try:
            check_path(rows, path)
        except UnfitError as error:
            found[path] = str(error)
    return found


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Slices are byte ranges of equal length. See `Reader.plan`."""
    return plan_lines(shard, target_bytes, max_rows)


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """By the mean length of the first rows; bytes of all keys."""
    return estimate_lines(shard)


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Parse block by block; of a block with few wanted rows only those lines. See `Reader.read`."""
    others = _other_types(shard, projection)
    skip = shard.skips_rows
    parser = Parser(_types(shard, projection), projection, others, skip=skip)
    start = 0
    for block in blocks(shard, part, sizes):
        taken = within(rows, start, len(block))
        if taken is None:
            chosen = block
        elif len(taken):
            chosen = block.only(taken)
        else:
            chosen = None
        if chosen is not None and len(chosen):
            try:
                yield parser.parse(chosen)
            except BadRowError as error:
                reason, number = error.args
                number = start + int(number if taken is None else taken[number])
                (first,) = first_rows(shard, [part])
                raise RowError(reason, path=shard.path, row=first + number) from None
        start += len(block)


class Parser:
    """Parses the rows of blocks: all at a time, or one by one where that is not to be trusted.

    schema: types of all columns that must be read. projection: what is read. others: types of those
    besides that can be told so far: one of which a row has another type is given up. skip: whether
    a row that cannot be read is left out.
    """

    def __init__(
        self,
        schema: pa.Schema,
        projection: Projection,
        others: Mapping[str, pa.DataType | None],
        *,
        skip: bool = False,
    ) -> None:
        self._skip = skip
        self._schema = schema
        self._projection = projection
        self._others = {name: kind for name, kind in others.items() if kind is not None}
        self._unfit = {name for name, kind in others.items() if kind is None}

    def parse(self, block: LineBlock) -> Decoded:
        """Parse a block.

        Raises BadRowError with the reason and the row's number in the block, unless such rows are
        skipped.
        """
        batch = self._parse_fast(block) if block.regular else None
        if batch is not None:
            return Decoded(batch, unfit=frozenset(self._unfit))
        names = dict.fromkeys(self._projection.columns)
        plain = pa.schema([self._schema.field(name) for name in names])
        found = record_batch(
            block.lines(),
            plain,
            self._projection.fields,
            self._others,
            lambda line: _parse_one(line, self._schema),
            skip=self._skip,
        )
        self._give_up(found.left_out)
        unfit = frozenset(self._unfit)
        return Decoded(found.batch, None, found.documents, unfit, found.unreadable)

    def _parse_fast(self, block: LineBlock) -> pa.RecordBatch | None:
        batch = _parse_fast(block, self._with(self._others))
        if batch is not None or not self._others:
            return batch
        if _parse_fast(block, self._schema) is None:
            return None
        alone = {name: _parse_fast(block, self._with([name])) for name in self._others}
        self._give_up([name for name, found in alone.items() if found is None])
        return _parse_fast(block, self._with(self._others))

    def _with(self, others: Iterable[str]) -> pa.Schema:
        """The types of what must be read, and of some others."""
        more = [(name, self._others[name]) for name in others if name not in self._schema.names]
        return pa.schema([*self._schema, *(pa.field(*one) for one in more)])

    def _give_up(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._unfit.add(name)
            del self._others[name]


def _parse_fast(block: LineBlock, schema: pa.Schema) -> pa.RecordBatch | None:
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
    if len(parts) != 1 or any(map(is_doubtful, parts[0].columns)):
        return None
    return parts[0]


def _parse_one(line: bytes, schema: pa.Schema) -> dict[str, Any] | None:
    """One line by Arrow's parser, in the form of `records.parse`."""
    block = LineBlock(line)
    batch = _parse_fast(block, schema) if block.regular and len(block) == 1 else None
    if batch is None:
        return None
    columns = zip(schema.names, batch.columns, strict=True)
    return {as_latin(name): _in_latin(array[0]) for name, array in columns}


def _in_latin(value: pa.Scalar) -> Any:
    """A value with its texts, at any depth, as `records.parse` has them."""
    if not value.is_valid:
        return None
    if pa.types.is_list(value.type):
        return [_in_latin(one) for one in value]
    if pa.types.is_struct(value.type):
        return {as_latin(field.name): _in_latin(value[field.name]) for field in value.type}
    if pa.types.is_string(value.type) or pa.types.is_large_string(value.type):
        return value.as_buffer().to_pybytes().decode("latin-1")
    return value.as_py()


@contextmanager
def fitting(shard: Shard, row: int | None = None) -> Iterator[None]:
    """Turn what a template is unfit for into CorpusError."""
    try:
        yield
    except UnfitError as error:
        kind = CorpusError if row is None else RowError
        raise kind(str(error), path=shard.path, row=row) from None


@lru_cache(maxsize=64)
def _types(shard: Shard, projection: Projection) -> pa.Schema:
    """Types of all columns, from the first rows: the same for every slice."""
    rows = _head_rows(shard)
    with fitting(shard):
        types = json_types(rows, projection.fields)
    try:
        plain = infer_types(rows, projection.plain)
    except BadRowError as error:
        raise CorpusError(str(error), path=shard.path) from None
    return pa.schema([*types.items(), *zip(projection.plain, plain, strict=True)])


@lru_cache(maxsize=64)
def _other_types(shard: Shard, projection: Projection) -> dict[str, pa.DataType | None]:
    """Types of the other columns, from the first rows; None where their values are not plain."""
    rows = _head_rows(shard)
    keys = {name: as_latin(name) for name in projection.others}
    return {name: plain_type([row.get(key) for row in rows]) for name, key in keys.items()}


@lru_cache(maxsize=4)
def _head_rows(shard: Shard) -> tuple[dict[str, Any], ...]:
    """Parse the first rows."""
    block, _ = head(shard)
    anything = pa.schema([("", pa.large_string())])
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(islice(block.lines(), HEAD_ROWS)):
        if number == 0 and line[:1] == b"[" and json_arrays.beginning(shard) is None:
            raise CorpusError(
                "is a JSON array, not JSON lines: let its name end with .json",
                path=shard.path,
            )
        try:
            rows.append(parse(line))
        except BadRowError as error:
            if not shard.skips_rows and _parse_one(line, anything) is None:
                raise RowError(str(error), path=shard.path, row=number) from None
            rows.append({})
    return tuple(rows)
