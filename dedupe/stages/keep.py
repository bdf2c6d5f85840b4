"""keep: decisions to the keep-list of one shard, a slice of its rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, is_text, numbers
from dedupe.checks import check_all, check_decisions, check_increasing, check_range
from dedupe.config import Settings
from dedupe.schema import (
    COPIES,
    EMPTY,
    EVIDENCE,
    EXACT,
    EXTRA,
    NEAR,
    NO_SHINGLES,
    NOT_READ,
    REASONS,
    REFERENCE,
    ROW_BITS,
    TAINTED,
    UNIQUE,
    keep_list_reasons,
    keep_list_schema,
)

FOUND = ("containment", "span_start", "span_end")
"""What a keep-list says of a contaminated row, besides the evidence."""


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
    """The decisions on those rows that are in components, by position: see `schema.counted`.

    position, witness: int64. reason: uint8. jaccard: float64. lost: int32. of_fields: float64
    arrays, the similarity in each of several fields. copies: int64 arrays, see `schema.COPIES`.
    witness_ids: only with ids.
    """

    position: Array
    witness: Array
    reason: Array
    jaccard: Array
    lost: Array
    of_fields: list[Array]
    copies: list[Array]
    witness_ids: pa.Array | None

    @classmethod
    def of(cls, decisions: pa.Table) -> Decided:
        """From a table of `schema.counted`."""
        columns = {name: decisions.column(name).combine_chunks() for name in decisions.column_names}
        ids = columns.pop("witness_id", None)
        copies = [numbers(columns.pop(name)) for name in COPIES if name in columns]
        position, witness, reason, jaccard, lost, *of_fields = map(numbers, columns.values())
        return cls(position, witness, reason, jaccard, lost, of_fields, copies, ids)

    @property
    def dropped(self) -> Array:
        """Whether each of these rows is dropped: bool."""
        dropped: Array = (self.witness != self.position) & (self.reason != EXTRA)
        return dropped

    def check(
        self,
        rows: ShardRows,
        own_rows: int,
        rows_in_all: int,
        settings: Settings,
        *,
        earlier: bool = False,
    ) -> None:
        """Raise IntegrityError unless these are decisions on those rows, and make sense.

        rows: the rows decided on. own_rows: rows in the corpus. rows_in_all: rows in the corpus and
        in references. settings: of the run. earlier: whether these are earlier rows of an index.
        """
        place = self.position - rows.first
        check_range(place, len(rows.shingles), "keep was handed a decision on another row")
        check_increasing(place, "keep was handed decisions out of order", strictly=True)
        check_all(rows.shingles[place] > 0, "keep was handed a decision on an empty row")
        check_range(self.witness, rows_in_all, "keep was handed a witness outside of the corpus")
        outside = self.reason == REFERENCE
        if earlier:
            outside = (self.witness >= own_rows) & np.isin(self.reason, (EXACT, NEAR))
        check_all(
            (self.witness >= own_rows) == outside,
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
        check_all(
            (self.reason != EXTRA) | settings.keeps_extras,
            "keep was handed a row that stays beside its witness, which was not asked for",
        )
        for count in self.copies:
            fits = (count > 0) == ~self.dropped
            fits &= (count >= 0) & (count <= self.copies[0])
            check_all(fits, "keep was handed a count of copies that does not fit its decision")


@dataclass(frozen=True)
class Contaminated:
    """Those rows in which an item of a test set stands: see `schema.CONTAMINATED_ROWS`.

    at: int64, numbers of these rows among those that are decided on. found: what is known of each.
    paths: of the files of test sets.
    """

    at: Array
    found: pa.RecordBatch
    paths: Sequence[str]

    def column(self, count: int, name: str) -> pa.Array:
        """What is known of each of so many rows, null for the others; name: of the column."""
        return self.found.column(name).take(self._places(count))

    def _places(self, count: int) -> pa.Array:
        places = np.zeros(count, np.int64)
        places[self.at] = np.arange(len(self.at))
        missing = np.ones(count, np.bool_)
        missing[self.at] = False
        return pa.array(places, mask=missing)

    def beside(self, count: int, witness: pa.Array, name: str) -> pa.Array:
        """A column of witnesses with the items among them.

        count: of rows. witness: the column, null where an item is the witness. name: of the items'.
        """
        own = self.column(count, name)
        if pa.types.is_dictionary(witness.type):
            names = witness.dictionary.to_pylist()
            codes = pc.add(own.cast(pa.int32()), len(names))
            known = pa.array([*names, *self.paths], pa.string())
            return pa.DictionaryArray.from_arrays(pc.coalesce(witness.indices, codes), known)
        if own.type != witness.type:
            own = own.cast(witness.type) if is_text(witness.type) else pa.nulls(count, witness.type)
        return pc.coalesce(witness, own)


@dataclass(frozen=True)
class Witnesses:
    """The shards in which the witnesses of a shard's rows lie, their paths, and their crawls.

    crawls: of each of these shards the crawl of an index, null for one of the corpus; None without
    an index. earlier: whether rows of the index are earlier rows of the corpus, not references.
    """

    shards: Array
    paths: pa.Array
    crawls: pa.Array | None = None
    earlier: bool = False

    @classmethod
    def of(
        cls,
        positions: Array,
        shard_starts: Array,
        paths: pa.Array,
        crawls: pa.Array | None = None,
        *,
        earlier: bool = False,
    ) -> Witnesses:
        """The shards of some witnesses.

        positions: int64, the witnesses. shard_starts: int64, the position of the first row of each
        shard, and the number of rows in the end. paths, crawls: of all shards. earlier: see
        `Witnesses`.

        Raises IntegrityError for a witness outside of the corpus.
        """
        check_range(
            positions, int(shard_starts[-1]), "keep was handed a witness outside of the corpus"
        )
        shards = np.unique(np.searchsorted(shard_starts, positions, side="right") - 1)
        places = pa.array(shards)
        of_shards = None if crawls is None else crawls.take(places)
        return cls(shards, paths.take(places), of_shards, earlier)


def keep_list(
    rows: ShardRows,
    decided: Decided,
    shard_starts: Array,
    witnesses: Witnesses,
    settings: Settings,
    fields: Sequence[str],
    own_shards: int,
    contaminated: Contaminated | None = None,
) -> pa.RecordBatch:
    """The keep-list of some rows of one shard, see `schema.keep_list_schema`.

    rows: the rows. decided: the decisions on those of them that are in components. shard_starts:
    int64, the position of the first row of each shard, and the number of rows in the end.
    witnesses: the shards in which the witnesses are. settings: of the run. fields: the names of a
    document's fields. own_shards: how many of the shards are of the corpus; those behind them are
    of references. contaminated: rows in which items of test sets stand; None without test sets.

    Raises IntegrityError for decisions that do not fit the rows or do not make sense.
    """
    count = len(rows.shingles)
    own_rows = int(shard_starts[own_shards])
    decided.check(rows, own_rows, int(shard_starts[-1]), settings, earlier=witnesses.earlier)
    shard = int(np.searchsorted(shard_starts, rows.first, side="right")) - 1
    at = decided.position - rows.first
    reason = reasons_of(rows, decided, None if contaminated is None else contaminated.at)
    unreadable = rows.shingles == NO_SHINGLES

    witness_shard = np.searchsorted(shard_starts, decided.witness, side="right") - 1
    witness_row = decided.witness - shard_starts[witness_shard]
    row_id = (witness_shard.astype(np.uint64) << np.uint64(ROW_BITS)) | witness_row.astype(
        np.uint64
    )
    alone = decided.witness == decided.position
    dropped = decided.dropped
    known = keep_list_reasons(
        skips_rows=settings.skips_rows,
        has_references=not witnesses.earlier
        and (own_shards < len(shard_starts) - 1 or witnesses.crawls is not None),
        has_evals=contaminated is not None,
        has_extras=settings.keeps_extras,
    )
    codes = np.zeros(len(REASONS), np.int8)
    codes[known] = np.arange(len(known))
    names = pa.array([REASONS[code] for code in known])
    in_cluster = (decided.reason != UNIQUE) & (decided.witness < own_rows)

    columns: list[pa.Array] = [pa.array(np.arange(count) + (rows.first - shard_starts[shard]))]
    if rows.ids is not None:
        columns.append(rows.ids)
    columns += [
        pa.array(~_scatter(count, at, dropped, np.bool_) & ~unreadable),
        pa.DictionaryArray.from_arrays(pa.array(codes[reason]), names),
        _column(count, at, row_id, in_cluster, np.uint64),
        pa.DictionaryArray.from_arrays(
            _column(count, at, np.searchsorted(witnesses.shards, witness_shard), ~alone, np.int32),
            witnesses.paths,
        ),
        _column(count, at, witness_row, ~alone, np.int64),
    ]
    if rows.ids is not None and decided.witness_ids is not None:
        place = _column(count, at, np.arange(len(at)), ~alone, np.int64)
        columns.append(decided.witness_ids.take(place))
    if witnesses.crawls is not None:
        crawl = _column(
            count, at, np.searchsorted(witnesses.shards, witness_shard), ~alone, np.int32
        )
        columns.append(witnesses.crawls.take(crawl).dictionary_encode())
    if contaminated is not None:
        shift = len(columns) - (3 if rows.ids is not None else 2)
        for place, name in enumerate(("witness_shard", "witness_row", "witness_id"), shift):
            if place < len(columns):
                columns[place] = contaminated.beside(count, columns[place], name)
    has_words = dropped & (not settings.chars)
    columns += [
        _column(count, at, decided.jaccard, ~alone, np.float64),
        _column(count, at, decided.lost, has_words, np.int32),
        *(_counts(unreadable, at, copies) for copies in decided.copies),
        *(_column(count, at, values, ~alone, np.float64) for values in decided.of_fields),
    ]
    if contaminated is not None:
        columns += [contaminated.column(count, name) for name in FOUND]
        evidence = contaminated.column(count, "evidence").cast(pa.int8())
        columns.append(pa.DictionaryArray.from_arrays(evidence, pa.array(EVIDENCE)))
    id_type = None if rows.ids is None else rows.ids.type
    schema = keep_list_schema(
        id_type,
        fields,
        has_evals=contaminated is not None,
        counts_values=settings.count_by is not None,
        has_earlier=witnesses.crawls is not None,
    )
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def reasons_of(rows: ShardRows, decided: Decided, contaminated: Array | None) -> Array:
    """The code of each row's reason, see `schema.REASONS`: int8.

    rows, decided: see `keep_list`. contaminated: int64, numbers of the rows in which items of test
    sets stand; None without test sets. Raises IntegrityError as `keep_list` does.
    """
    at = decided.position - rows.first
    reason = np.where(rows.shingles == 0, EMPTY, UNIQUE).astype(np.int8)
    unreadable = rows.shingles == NO_SHINGLES
    reason[unreadable] = NOT_READ
    check_all(~unreadable[at], "keep was handed a decision on a row that is not compared")
    reason[at] = decided.reason
    if contaminated is not None:
        check_all(unreadable[contaminated], "keep was handed a contaminated row with shingles")
        reason[contaminated] = TAINTED
    return reason


def _scatter(count: int, at: Array, values: Array, kind: type[np.generic]) -> Array:
    out = np.zeros(count, kind)
    out[at] = values
    return out


def _counts(unreadable: Array, at: Array, copies: Array) -> pa.Array:
    """A column of `schema.COPIES`: 1 for a row that is alone, null for one that is dropped."""
    found = np.where(unreadable, 0, 1)
    found[at] = copies
    return pa.array(found, mask=found == 0)


def _column(count: int, at: Array, values: Array, there: Array, kind: type[np.generic]) -> pa.Array:
    """An Arrow column with values[i] at row at[i] where there[i], and nulls elsewhere."""
    missing = np.ones(count, np.bool_)
    missing[at] = ~there
    return pa.array(_scatter(count, at, values, kind), mask=missing)
