"""Rows in memory as a shard: a slice is a run of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, byte_size, is_text, text_lengths
from dedupe.corpus.reading.batches import ROW_COST, check_schema, wanted
from dedupe.corpus.shard import (
    ALL_COLUMNS,
    BlockSizes,
    Decoded,
    Lacking,
    Projection,
    RowNumbers,
    Shard,
    Slice,
    TableShard,
    within,
)


def _held(shard: Shard) -> TableShard:
    if not isinstance(shard, TableShard):
        raise TypeError(f"{shard.path} holds no table")
    return shard


def columns(shard: Shard) -> list[str]:
    """Read them off the table: those of what it was made of, where some were left out."""
    schema = _held(shard).table.schema
    all_columns = (schema.metadata or {}).get(ALL_COLUMNS)
    names: list[str] = json.loads(all_columns) if all_columns else schema.names
    return names


def check(shard: Shard, projection: Projection) -> Lacking:
    """Check names and types against the table's schema."""
    return check_schema(shard, _held(shard).table.schema, projection)


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Slices are rows, by the size of the columns in each. See `Reader.plan`."""
    ends = np.cumsum(_sizes(_held(shard), columns) + ROW_COST)
    slices: list[Slice] = []
    first = done = 0
    while first < len(ends):
        last = int(np.searchsorted(ends, done + target_bytes, side="right"))
        last = max(min(last, first + max_rows), first + 1)
        slices.append(Slice(shard.ordinal, len(slices), first, last))
        first, done = last, int(ends[last - 1])
    return slices


def first_rows(shard: Shard, slices: Sequence[Slice]) -> list[int]:
    """Read them off the slices."""
    return [part.first for part in slices]


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and bytes of the columns, or of all."""
    held = _held(shard)
    sizes = _sizes(held, columns or held.table.column_names)
    return len(sizes), int(sizes.sum())


def _sizes(shard: TableShard, columns: Sequence[str]) -> Array:
    """About the bytes of each row in these columns."""
    sizes = np.zeros(shard.table.num_rows, np.int64)
    for name in set(columns) & set(shard.table.column_names):
        sizes += _sizes_of(shard.table.column(name))
    return sizes if shard.order is None else sizes[shard.order]


def _sizes_of(column: pa.ChunkedArray) -> Array:
    """About the bytes of each value; the mean of its chunk for one that is not text."""
    sizes = [
        text_lengths(chunk)
        if is_text(chunk.type)
        else np.full(len(chunk), byte_size(chunk) // max(len(chunk), 1))
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, np.int64), *sizes])


def read(
    shard: Shard,
    part: Slice,
    projection: Projection,
    batch_bytes: int,
    rows: RowNumbers | None,
    sizes: BlockSizes,
) -> Iterator[Decoded]:
    """Deliver the table's chunks where they lie, or rows in another order that are copied.

    See `Reader.read`.
    """
    held = _held(shard)
    names, unfit = wanted(held.table.schema, projection)
    table = held.table.select(names)
    unfit |= set(projection.others) & (set(columns(shard)) - set(held.table.column_names))
    if held.order is not None:
        order = held.order[part.first : part.last]
        yield Decoded(_gathered(table, order if rows is None else order[rows]), unfit=unfit)
        return
    start = 0
    for batch in table.slice(part.first, part.last - part.first).to_batches():
        take = within(rows, start, batch.num_rows)
        if take is None or len(take):
            yield Decoded(batch, take, unfit=unfit)
        start += batch.num_rows


def _gathered(table: pa.Table, rows: RowNumbers) -> pa.RecordBatch:
    """Rows of a table in any order; each chunk is looked at once, and only what is taken copied."""
    by_place = np.argsort(rows, kind="stable")
    places = rows[by_place]
    pieces = []
    start = begin = 0
    for batch in table.to_batches():
        end = int(np.searchsorted(places, start + batch.num_rows))
        if end > begin:
            pieces.append(batch.take(pa.array(places[begin:end] - start)))
        start, begin = start + batch.num_rows, end
    back = np.empty_like(by_place)
    back[by_place] = np.arange(len(rows))
    joined = pa.Table.from_batches(pieces).combine_chunks().take(pa.array(back))
    (gathered,) = joined.to_batches()
    return gathered
