"""A table in memory as a shard: a slice is a run of rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from dedupe.corpus.shard import Decoded, Rows, Shard, Slice, within
from dedupe.corpus.texts import ROW_COST, check_schema, text_lengths

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


def check(shard: Shard, columns: Mapping[str, str]) -> None:
    """Check names and types against the table's schema."""
    check_schema(shard, _table(shard).schema, columns)


def plan(shard: Shard, column: str, target_bytes: int, max_rows: int) -> list[Slice]:
    """Cut by the size of the text."""
    chunks = _table(shard).column(column).chunks
    lengths = [text_lengths(chunk) + ROW_COST for chunk in chunks]
    ends = np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))
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


def estimate(shard: Shard, column: str | None) -> tuple[int, int]:
    """Rows, exactly, and bytes of the column, or of all."""
    table = _table(shard)
    if column is None:
        return table.num_rows, table.get_total_buffer_size()
    return table.num_rows, sum(int(text_lengths(c).sum()) for c in table.column(column).chunks)


def read(
    shard: Shard, part: Slice, names: Sequence[str], batch_bytes: int, rows: Rows | None
) -> Iterator[Decoded]:
    """Deliver the table's chunks where they lie."""
    selected = _table(shard).select(list(names)).slice(part.first, part.last - part.first)
    start = 0
    for batch in selected.to_batches():
        take = within(rows, start, batch.num_rows)
        if take is None or len(take):
            yield Decoded(batch, take)
        start += batch.num_rows
