"""keep: decisions to the keep-list of one shard, a slice of its rows at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.checks import check_all, check_decisions, check_increasing, check_range
from dedupe.schema import DECISIONS, EMPTY, REASONS, ROW_BITS, UNIQUE, keep_list_schema


@dataclass(frozen=True)
class ShardRows:
    """Neighbouring rows of one shard.

    first: position of the first one. shingles: int, how many each row has, 0 for an empty one. ids:
    of each row, where an id column was named.
    """

    first: int
    shingles: Array
    ids: pa.Array | None


@dataclass(frozen=True)
class Decided:
    """The decisions on those rows that are in components, by position: see `schema.DECISIONS`.

    position, witness: int64. reason: uint8. jaccard: float64. witness_ids: only with ids.
    """

    position: Array
    witness: Array
    reason: Array
    jaccard: Array
    witness_ids: pa.Array | None

    @classmethod
    def of(cls, decisions: pa.Table) -> Decided:
        """From a table of `schema.DECISIONS`."""
        columns = [column.combine_chunks() for column in decisions.columns]
        ids = columns[len(DECISIONS)] if len(columns) > len(DECISIONS) else None
        position, witness, reason, jaccard = map(numbers, columns[: len(DECISIONS)])
        return cls(position, witness, reason, jaccard, ids)

    def check(self, rows: ShardRows, corpus_rows: int, least_jaccard: float) -> None:
        """Raise IntegrityError unless these are decisions on those rows, and make sense.

        rows: the rows decided on. corpus_rows: rows in the corpus. least_jaccard: the least
        similarity of a row that is dropped as a near-duplicate.
        """
        place = self.position - rows.first
        check_range(place, len(rows.shingles), "keep was handed a decision on another row")
        check_increasing(place, "keep was handed decisions out of order", strictly=True)
        check_all(rows.shingles[place] > 0, "keep was handed a decision on an empty row")
        check_range(self.witness, corpus_rows, "keep was handed a witness outside of the corpus")
        kept = self.witness == self.position
        check_decisions("keep was handed", kept, self.reason, self.jaccard, least_jaccard)


@dataclass(frozen=True)
class Witnesses:
    """The shards in which the witnesses of a shard's rows lie, and their paths."""

    shards: Array
    paths: pa.Array

    @classmethod
    def of(cls, positions: Array, shard_starts: Array, paths: pa.Array) -> Witnesses:
        """The shards of some witnesses.

        positions: int64, the witnesses. shard_starts: int64, the position of the first row of each
        shard, and the number of rows in the end. paths: of all shards.

        Raises IntegrityError for a witness outside of the corpus.
        """
        check_range(
            positions, int(shard_starts[-1]), "keep was handed a witness outside of the corpus"
        )
        shards = np.unique(np.searchsorted(shard_starts, positions, side="right") - 1)
        return cls(shards, paths.take(pa.array(shards)))


def keep_list(
    rows: ShardRows,
    decided: Decided,
    shard_starts: Array,
    witnesses: Witnesses,
    least_jaccard: float,
) -> pa.RecordBatch:
    """The keep-list of some rows of one shard, see `schema.keep_list_schema`.

    rows: the rows. decided: the decisions on those of them that are in components. shard_starts:
    int64, the position of the first row of each shard, and the number of rows in the end.
    witnesses: the shards in which the witnesses are. least_jaccard: the least similarity of a row
    that is dropped as a near-duplicate, see `stages.verify.least_jaccard`.

    Raises IntegrityError for decisions that do not fit the rows or do not make sense.
    """
    count = len(rows.shingles)
    decided.check(rows, int(shard_starts[-1]), least_jaccard)
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
