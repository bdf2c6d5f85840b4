"""keep: decisions to the keep-list of one shard, a slice of its rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.checks import check_all, check_decisions, check_increasing, check_range
from dedupe.config import Settings
from dedupe.schema import (
    EMPTY,
    NO_SHINGLES,
    NOT_READ,
    REASONS,
    REFERENCE,
    ROW_BITS,
    UNIQUE,
    keep_list_schema,
)


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
    """The decisions on those rows that are in components, by position: see `schema.decisions`.

    position, witness: int64. reason: uint8. jaccard: float64. lost: int32. of_fields: float64
    arrays, the similarity in each of several fields. witness_ids: only with ids.
    """

    position: Array
    witness: Array
    reason: Array
    jaccard: Array
    lost: Array
    of_fields: list[Array]
    witness_ids: pa.Array | None

    @classmethod
    def of(cls, decisions: pa.Table) -> Decided:
        """From a table of `schema.decisions`."""
        columns = {name: decisions.column(name).combine_chunks() for name in decisions.column_names}
        ids = columns.pop("witness_id", None)
        position, witness, reason, jaccard, lost, *of_fields = map(numbers, columns.values())
        return cls(position, witness, reason, jaccard, lost, of_fields, ids)

    def check(self, rows: ShardRows, own_rows: int, rows_in_all: int, settings: Settings) -> None:
        """Raise IntegrityError unless these are decisions on those rows, and make sense.

        rows: the rows decided on. own_rows: rows in the corpus. rows_in_all: rows in the corpus and
        in references. settings: of the run.
        """
        place = self.position - rows.first
        check_range(place, len(rows.shingles), "keep was handed a decision on another row")
        check_increasing(place, "keep was handed decisions out of order", strictly=True)
        check_all(rows.shingles[place] > 0, "keep was handed a decision on an empty row")
        check_range(self.witness, rows_in_all, "keep was handed a witness outside of the corpus")
        check_all(
            (self.witness >= own_rows) == (self.reason == REFERENCE),
            "keep was handed a decision whose reason does not fit its witness",
        )
        kept = self.witness == self.position
        check_decisions(
            "keep was handed",
            kept,
            self.reason,
            self.jaccard,
            self.of_fields,
            settings.least_jaccard,
        )


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
    settings: Settings,
    fields: Sequence[str],
    own_shards: int,
) -> pa.RecordBatch:
    """The keep-list of some rows of one shard, see `schema.keep_list_schema`.

    rows: the rows. decided: the decisions on those of them that are in components. shard_starts:
    int64, the position of the first row of each shard, and the number of rows in the end.
    witnesses: the shards in which the witnesses are. settings: of the run. fields: the names of a
    document's fields. own_shards: how many of the shards are of the corpus; those behind them are
    of references.

    Raises IntegrityError for decisions that do not fit the rows or do not make sense.
    """
    count = len(rows.shingles)
    decided.check(rows, int(shard_starts[own_shards]), int(shard_starts[-1]), settings)
    shard = int(np.searchsorted(shard_starts, rows.first, side="right")) - 1
    at = decided.position - rows.first
    reason = np.where(rows.shingles == 0, EMPTY, UNIQUE).astype(np.int8)
    unreadable = rows.shingles == NO_SHINGLES
    reason[unreadable] = NOT_READ
    check_all(~unreadable[at], "keep was handed a decision on a row that could not be read")
    reason[at] = decided.reason

    witness_shard = np.searchsorted(shard_starts, decided.witness, side="right") - 1
    witness_row = decided.witness - shard_starts[witness_shard]
    row_id = (witness_shard.astype(np.uint64) << np.uint64(ROW_BITS)) | witness_row.astype(
        np.uint64
    )
    kept = decided.witness == decided.position
    names, codes = _reasons(settings, own_shards < len(shard_starts) - 1)
    in_cluster = (decided.reason != UNIQUE) & (decided.reason != REFERENCE)

    columns: list[pa.Array] = [pa.array(np.arange(count) + (rows.first - shard_starts[shard]))]
    if rows.ids is not None:
        columns.append(rows.ids)
    columns += [
        pa.array(~_scatter(count, at, ~kept, np.bool_) & ~unreadable),
        pa.DictionaryArray.from_arrays(pa.array(codes[reason]), pa.array(names)),
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
    has_words = ~kept & (not settings.chars)
    columns += [
        _column(count, at, decided.jaccard, ~kept, np.float64),
        _column(count, at, decided.lost, has_words, np.int32),
        *(_column(count, at, values, ~kept, np.float64) for values in decided.of_fields),
    ]
    schema = keep_list_schema(None if rows.ids is None else rows.ids.type, fields)
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _reasons(settings: Settings, has_references: bool) -> tuple[list[str], Array]:
    """The reasons that a keep-list may have, and for each of `REASONS` its number among them."""
    absent = set()
    if not settings.skips_rows:
        absent.add(NOT_READ)
    if not has_references:
        absent.add(REFERENCE)
    codes = [code for code in range(len(REASONS)) if code not in absent]
    places = np.full(len(REASONS), -1, np.int8)
    places[codes] = np.arange(len(codes))
    return [REASONS[code] for code in codes], places


def _scatter(count: int, at: Array, values: Array, kind: type[np.generic]) -> Array:
    out = np.zeros(count, kind)
    out[at] = values
    return out


def _column(count: int, at: Array, values: Array, there: Array, kind: type[np.generic]) -> pa.Array:
    """An Arrow column with values[i] at row at[i] where there[i], and nulls elsewhere."""
    missing = np.ones(count, np.bool_)
    missing[at] = ~there
    return pa.array(_scatter(count, at, values, kind), mask=missing)
