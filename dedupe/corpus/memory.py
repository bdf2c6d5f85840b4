"""A table in memory as a shard: a slice is a run of rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, is_text, text_lengths
from dedupe.corpus.shard import Decoded, Rows, Shard, Slice, Wanted, within
from dedupe.corpus.texts import ROW_COST, check_schema

TABLE_PATH = "<table>"


class TableShard(Shard):
    """A shard that holds its rows; `table` is no field, so it is not compared and not in asdict."""

    table: pa.Table

    def check_unchanged(self) -> None:
        """Tables do not change."""


def table_shard(table: pa.Table, ordinal: int = 0) -> TableShard:
    """Make a shard of a table; no two are taken for the same, so no run resumes one."""
    shard = TableShard(ordinal, TABLE_PATH, "table", table.nbytes, str(time.time_ns()))
    object.__setattr__(shard, "table", table)
    return shard


def _table(shard: Shard) -> pa.Table:
    if not isinstance(shard, TableShard):
        raise TypeError(f"{shard.path} holds no table")
    return shard.table


def columns(shard: Shard) -> list[str]:
    """Read them off the table."""
    names: list[str] = _table(shard).column_names
    return names


def check(shard: Shard, wanted: Wanted) -> None:
    """Check names and types against the table's schema."""
    check_schema(shard, _table(shard).schema, wanted)


def plan(shard: Shard, columns: Sequence[str], target_bytes: int, max_rows: int) -> list[Slice]:
    """Cut by the size of the columns."""
    table = _table(shard)
    sizes = np.full(table.num_rows, ROW_COST, np.int64)
    for name in set(columns) & set(table.column_names):
        sizes += _sizes(table.column(name))
    ends = np.cumsum(sizes)
    slices: list[Slice] = []
    first = done = 0
    while first < len(ends):
        last = int(np.searchsorted(ends, done + target_bytes, side="right"))
        last = max(min(last, first + max_rows), first + 1)
        slices.append(Slice(shard.ordinal, len(slices), first, last))
        first, done = last, int(ends[last - 1])
    return slices


def first_row(shard: Shard, part: Slice) -> int:
    """Read it off the slice."""
    return part.first


def estimate(shard: Shard, columns: Sequence[str]) -> tuple[int, int]:
    """Rows, exactly, and bytes of the columns, or of all."""
    table = _table(shard)
    if not columns:
        return table.num_rows, table.get_total_buffer_size()
    return table.num_rows, sum(
        int(_sizes(table.column(name)).sum()) for name in set(columns) & set(table.column_names)
    )


def _sizes(column: pa.ChunkedArray) -> Array:
    """About the bytes of each value; the mean of its chunk for one that is not text."""
    sizes = [
        text_lengths(chunk)
        if is_text(chunk.type)
        else np.full(len(chunk), chunk.get_total_buffer_size() // max(len(chunk), 1))
        for chunk in column.chunks
    ]
    return np.concatenate([np.zeros(0, np.int64), *sizes])


def read(
    shard: Shard, part: Slice, wanted: Wanted, batch_bytes: int, rows: Rows | None
) -> Iterator[Decoded]:
    """Deliver the table's chunks where they lie."""
    names = wanted.present(columns(shard))
    selected = _table(shard).select(names).slice(part.first, part.last - part.first)
    start = 0
    for batch in selected.to_batches():
        take = within(rows, start, batch.num_rows)
        if take is None or len(take):
            yield Decoded(batch, take)
        start += batch.num_rows
