"""keep: decisions to the keep-list of one shard, a slice of its rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.schema import DECISIONS, EMPTY, REASONS, ROW_BITS, UNIQUE, keep_list_schema


@dataclass(frozen=True)
class Rows:
    """Rows first to first + len(shingles) of the corpus; `ids` where an id column was named."""

    first: int
    shingles: Array
    ids: pa.Array | None


@dataclass(frozen=True)
class Decided:
    """The decisions on those rows, by position; `witness_ids` only with ids."""

    position: Array
    witness: Array
    reason: Array
    jaccard: Array
    witness_ids: pa.Array | None

    @classmethod
    def of(cls, decisions: pa.Table) -> Decided:
        """From a table of `schema.DECISIONS`, of one chunk."""
        columns = [column.combine_chunks() for column in decisions.columns]
        ids = columns[len(DECISIONS)] if len(columns) > len(DECISIONS) else None
        position, witness, reason, jaccard = map(numbers, columns[: len(DECISIONS)])
        return cls(position, witness, reason, jaccard, ids)


@dataclass(frozen=True)
class Witnesses:
    """The shards in which the witnesses of a shard's rows lie, and their paths."""

    shards: Array
    paths: pa.Array

    @classmethod
    def of(cls, positions: Array, shard_starts: Array, paths: pa.Array) -> Witnesses:
        """Of witnesses at these positions; `paths` are those of all shards."""
        shards = np.unique(np.searchsorted(shard_starts, positions, side="right") - 1)
        return cls(shards, paths.take(pa.array(shards)))


def keep_list(
    rows: Rows, decided: Decided, shard_starts: Array, witnesses: Witnesses
) -> pa.RecordBatch:
    """The keep-list of these rows, which lie in one shard.

    shard_starts: position of the first row of each shard, and the number of rows in the end.
    """
    count = len(rows.shingles)
    shard = int(np.searchsorted(shard_starts, rows.first, side="right")) - 1
    at = decided.position - rows.first
    reason = np.where(rows.shingles == 0, EMPTY, UNIQUE).astype(np.int8)
    reason[at] = decided.reason

    witness_shard = np.searchsorted(shard_starts, decided.witness, side="right") - 1
    witness_row = decided.witness - shard_starts[witness_shard]
    row_id = (witness_shard.astype(np.uint64) << np.uint64(ROW_BITS)) | witness_row.astype(
        np.uint64
    )
    kept = decided.witness == decided.position
    in_cluster = decided.reason != UNIQUE

    columns: list[pa.Array] = [pa.array(np.arange(count) + (rows.first - shard_starts[shard]))]
    if rows.ids is not None:
        columns.append(rows.ids)
    columns += [
        pa.array(~_scatter(count, at, ~kept, np.bool_)),
        pa.DictionaryArray.from_arrays(pa.array(reason), pa.array(REASONS)),
        _column(count, at, row_id, in_cluster, np.uint64),
        pa.DictionaryArray.from_arrays(
            _column(count, at, np.searchsorted(witnesses.shards, witness_shard), ~kept, np.int32),
            witnesses.paths,
        ),
        _column(count, at, witness_row, ~kept, np.int64),
    ]
    if rows.ids is not None and decided.witness_ids is not None:
        place = _column(count, at, np.arange(len(at)), ~kept, np.int64)
        columns.append(decided.witness_ids.take(place))
    columns.append(_column(count, at, decided.jaccard, ~kept, np.float64))
    schema = keep_list_schema(None if rows.ids is None else rows.ids.type)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _scatter(count: int, at: Array, values: Array, kind: type[np.generic]) -> Array:
    out = np.zeros(count, kind)
    out[at] = values
    return out


def _column(count: int, at: Array, values: Array, there: Array, kind: type[np.generic]) -> pa.Array:
    """An Arrow column with values[i] at row at[i] where there[i], and nulls elsewhere."""
    missing = np.ones(count, np.bool_)
    missing[at] = ~there
    return pa.array(_scatter(count, at, values, kind), mask=missing)
