"""sign: documents to digests and band keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import (
    Array,
    as_large_string,
    as_type,
    in_partitions,
    is_text,
    slices,
    text_buffers,
    valid_bytes,
)
from dedupe.config import PREFER, Policy, Settings
from dedupe.documents.template import PLAIN, DocumentTemplate
from dedupe.errors import SettingsError
from dedupe.kernels.grouping import partition_records
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.minhash import permutations
from dedupe.kernels.rows import digest_rows, sign_rows
from dedupe.kernels.xxh3 import SECRET
from dedupe.planning.banding import Banding
from dedupe.schema import (
    BAND_RECORDS,
    ID_RECORDS,
    NO_SHINGLES,
    ROWS,
    WORDS,
    order_name,
    with_bits,
    with_others,
    with_values,
)
from dedupe.shingling import NULL_SALT, Shingler, digests_of, plain_values

LAST = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Order of a row without a score: behind all others."""
MOST_SOURCES = 1000
"""Sources that are counted; with more in a task they are taken for no sources."""
VECTOR = 16
"""Signature values are computed in multiples of this: a vector register's worth."""


Sources: TypeAlias = "dict[int, tuple[int, str]]"


@dataclass(frozen=True)
class Signed:
    """What one batch of documents became; arrays have one entry for each row.

    keys: uint64[rows, bands], band keys. digests: uint64[rows, 2], low and high half, equal for
    rows that are verified as one. texts: uint64[rows], equal for exact copies among these.
    shingles: int64[rows]. text_bytes: in all documents. replaced: rows whose malformed text was
    replaced. orders: uint64[rows] for each keep policy, see `order_keys`. ids: where an id column
    was named; id_digests: uint64[rows, 2] of them. preferred: for each policy that prefers values
    how many rows have each, and any other. kinds: types of the columns with values, by their role.
    scripts: uint8[rows], numbers in `kernels.scripts.SCRIPTS`. bits: uint64[rows, words], see
    `schema.BITS`; no words where none are wanted. others: uint32[rows, columns],
    digests of the columns in `Settings.carried`, 0 for nothing.
    values: uint64[rows, 2 * columns], digests of the columns in `Settings.told_apart`. unfit:
    numbers of those others that cannot be told. sources: the rows of each source and what it is
    called, by its digest; None where there are too many or none. unreadable: why rows could not be
    read, null for the others; None where none may be left out. excluded: bool[rows], rows that are
    not to be compared; None for none.
    """

    keys: Array
    digests: Array
    texts: Array
    shingles: Array
    text_bytes: int
    replaced: int
    orders: list[Array]
    ids: pa.Array | None
    id_digests: Array | None
    preferred: dict[str, list[int]]
    kinds: dict[str, str]
    scripts: Array
    bits: Array
    others: Array
    values: Array
    unfit: tuple[int, ...]
    sources: Sources | None
    unreadable: pa.Array | None = None
    excluded: Array | None = None

    def __len__(self) -> int:
        return len(self.shingles)

    @property
    def shingles_or_none(self) -> Array:
        """uint32[rows]: shingles of each row, `NO_SHINGLES` where it is not compared."""
        counts: Array = self.shingles.astype(np.uint32)
        if self.unreadable is not None:
            counts[valid_bytes(self.unreadable).astype(bool)] = NO_SHINGLES
        if self.excluded is not None:
            counts[self.excluded] = NO_SHINGLES
        return counts

    def without(self, rows: Array) -> Signed:
        """The same with some rows that are not to be compared: none has shingles, or candidates.

        rows: int64, numbers of rows.
        """
        excluded = np.zeros(len(self), np.bool_)
        excluded[rows] = True
        shingles = np.where(excluded, 0, self.shingles)
        return replace(self, shingles=shingles, excluded=excluded)

    def without_keys(self) -> Signed:
        """The same, once its band records are made."""
        return replace(self, keys=np.zeros((0, 0), np.uint64), id_digests=None)


class MalformedTextError(Exception):
    """A document is not valid UTF-8: which row of the batch, and the byte in it."""

    def __init__(self, row: int, byte: int) -> None:
        self.row = row
        self.byte = byte
        super().__init__(f"row {row}, byte {byte}")


class Signer:
    """Signs batches of one configuration; holds its permutations.

    settings, banding, document: of the run. roles: the columns besides documents that batches have,
    by their role; None for `Settings.roles`. marked: whether the last column of a batch is
    `schema.UNREADABLE`. untouched: whether the rows are of references, which are in the order in
    which they stand, whatever the policy, and of no source. sketched: whether `schema.BITS` are
    wanted.
    """

    def __init__(
        self,
        settings: Settings,
        banding: Banding,
        document: DocumentTemplate = PLAIN,
        *,
        roles: Collection[str] | None = None,
        marked: bool = False,
        untouched: bool = False,
        sketched: bool = False,
    ) -> None:
        self.marked, self.untouched, self.sketched = marked, untouched, sketched
        self.settings = settings
        self.roles = tuple(settings.roles if roles is None else roles)
        self.banding = banding
        self.shingler = Shingler(settings, document)
        self.others = settings.carried(document)
        self.source = None if untouched else settings.source(document)
        values = min(-(-banding.values // VECTOR) * VECTOR, settings.num_perm)
        self.multipliers, self.addends = permutations(settings.num_perm, settings.minhash_seed)
        self.multipliers = self.multipliers[:values].copy()
        self.addends = self.addends[:values].copy()

    def sign(self, batch: pa.RecordBatch) -> Signed:
        """Sign a batch: columns of documents, of `Settings.roles` and of `Settings.carried`.

        Raises MalformedTextError for the first malformed row unless bad text is to be replaced.
        """
        settings, shingler = self.settings, self.shingler
        marks = None
        if self.marked:
            *columns_read, marks = batch.columns
            batch = pa.RecordBatch.from_arrays(columns_read, names=batch.schema.names[:-1])
        beside = batch.columns[shingler.columns : batch.num_columns - len(self.others)]
        columns = dict(zip(self.roles, beside, strict=True))
        carried = batch.columns[batch.num_columns - len(self.others) :]
        equal = batch.columns[shingler.fields : shingler.columns]
        groups = {role: plain_values(columns[role]) for role in settings.groups}
        valued = {
            role: plain_values(columns[role]) for role in settings.told_apart if role in columns
        }
        texts = shingler.texts(batch)
        rows = batch.num_rows
        keys = np.zeros((rows, self.banding.bands if settings.banded else 0), np.uint64)
        text_digests = np.zeros((rows, 2), np.uint64)
        digests = np.zeros((rows if settings.near else 0, 2), np.uint64)
        shingles = np.zeros(rows, np.int64)
        scripts = np.zeros(rows, np.uint8)
        bits = np.zeros((rows, WORDS if self.sketched else 0), np.uint64)
        bad = np.full(rows, -1, np.int64)
        done = sign_rows(
            texts.data,
            texts.offsets,
            texts.valid,
            shingler.tables,
            SECRET,
            shingler.rules,
            shingler.field_salts,
            shingler.row_salts([*equal, *groups.values()], rows),
            self.multipliers,
            self.addends,
            self.banding.rows,
            keys,
            digests,
            text_digests,
            shingles,
            scripts,
            bits,
            bad,
        )
        if done < rows:
            raise MalformedTextError(done, int(bad[done]))
        if not settings.near:
            digests = text_digests
        if not settings.banded:
            keys = np.ascontiguousarray(digests[:, :1])
        ids = plain_values(columns["id"]) if "id" in columns else None
        if ids is None and settings.id is not None:
            ids = pa.nulls(rows)
        lengths = texts.lengths.reshape(shingler.fields, rows).sum(axis=0)
        given = {policy: columns.get(str(policy)) for policy in settings.policies}
        kinds = {str(policy): _score_kind(column, policy) for policy, column in given.items()}
        if ids is not None and ids.null_count < len(ids) and not self.untouched:
            kinds["id"] = str(ids.type)
        for role, group in {**groups, **valued}.items():
            kinds[role] = _group_kind(group)
        others = digests_of_others(carried, rows)
        if self.untouched:
            orders = {policy: np.zeros(rows, np.uint64) for policy in given}
        else:
            orders = {p: order_keys(p, lengths, column) for p, column in given.items()}
        return Signed(
            keys=keys,
            digests=digests,
            texts=text_digests[:, 0].copy(),
            shingles=shingles,
            text_bytes=int(texts.lengths.sum()),
            replaced=int((bad < -1).sum()),
            orders=list(orders.values()),
            preferred={
                str(policy): _counts(policy, order)
                for policy, order in orders.items()
                if policy.kind == PREFER and not self.untouched
            },
            ids=ids,
            id_digests=None if ids is None else digests_of(ids),
            kinds={role: kind for role, kind in kinds.items() if kind is not None},
            scripts=scripts,
            bits=bits,
            others=others,
            values=digests_of_values([valued.get(role) for role in settings.told_apart], rows),
            unfit=tuple(n for n, column in enumerate(carried) if pa.types.is_null(column.type)),
            sources=self._sources(others, carried),
            unreadable=marks,
        )

    def _sources(self, others: Array, carried: list[pa.Array]) -> Sources | None:
        """How many rows of a batch each source has, and its name, by its digest."""
        if self.source is None:
            return None
        number = self.others.index(self.source)
        return sources_of(others[:, number], carried[number])


def sources_of(digests: Array, names: pa.Array) -> Sources | None:
    """The rows of each source, and its name, by its digest; None where there are many, or none.

    digests: uint32, of each row. names: the column of sources.
    """
    found, first, counts = np.unique(digests, return_index=True, return_counts=True)
    if pa.types.is_null(names.type) or len(found) > MOST_SOURCES:
        return None
    called = map(_name, names.take(pa.array(first)))
    return dict(zip(found.tolist(), zip(counts.tolist(), called, strict=True), strict=True))


def _name(source: pa.Scalar) -> str:
    """What a source is called, whatever its type and bytes."""
    if source.type != pa.large_string():
        return str(source.as_py()) if source.is_valid else ""
    buffer = source.as_buffer()
    return buffer.to_pybytes().decode("utf-8", "replace") if buffer else ""


def merged_sources(parts: Iterable[Sources | None]) -> Sources | None:
    """Sources of several parts of a corpus; None where one has none to tell, or all have many."""
    merged: Sources = {}
    for part in parts:
        if part is None:
            return None
        for digest, (rows, name) in part.items():
            merged[digest] = (merged.get(digest, (0, name))[0] + rows, name)
        if len(merged) > MOST_SOURCES:
            return None
    return merged


def digests_of_others(columns: list[pa.Array], rows: int) -> Array:
    """32 bits for each value of some columns: uint32[rows, columns], 0 for nothing."""
    digests = np.zeros((rows, len(columns)), np.uint32)
    for number, column in enumerate(columns):
        if pa.types.is_null(column.type):
            continue
        if column.type == pa.large_string():
            texts = text_buffers(column)
            wide = np.zeros((rows, 2), np.uint64)
            digest_rows(texts.data, texts.offsets, SECRET, wide)
            digests[:, number] = wide[:, 0].astype(np.uint32) * (texts.lengths > 0)
        else:
            digests[:, number] = _mixed(column).astype(np.uint32) * valid_bytes(column)
    return digests


def digests_of_values(columns: list[pa.Array | None], rows: int) -> Array:
    """128 bits for each value of some columns: uint64[rows, 2 * columns], 0 for null.

    columns: plain ones; None where there is none, as of references. Values are told apart by these
    digests, as exact copies are.
    """
    digests = np.zeros((rows, 2 * len(columns)), np.uint64)
    for number, column in enumerate(columns):
        if column is not None:
            there = valid_bytes(column).astype(bool)[:, None]
            digests[:, 2 * number : 2 * number + 2] = digests_of(column) * there
    return digests


def _mixed(values: pa.Array) -> Array:
    """A number that is as good as random for each value of fixed width: uint64."""
    kind = values.type
    if pa.types.is_boolean(kind):
        values, kind = values.cast(pa.uint8()), pa.uint8()
    is_float, is_unsigned = pa.types.is_floating(kind), pa.types.is_unsigned_integer(kind)
    width = kind.bit_width // 8
    sort = "f" if is_float else "u" if is_unsigned else "i"
    start = width * values.offset
    plain = np.frombuffer(values.buffers()[1], f"{sort}{width}", len(values), start)
    wide = plain.astype(np.float64) + 0.0 if is_float else plain.astype(np.int64)  # -0.0 is 0.0
    bits = wide.view(np.uint64)
    mixed = (bits ^ NULL_SALT) * GOLDEN_RATIO  # 0 is for nothing
    found: Array = (mixed ^ mixed >> np.uint64(32)) * GOLDEN_RATIO >> np.uint64(32)
    return found


def _score_kind(score: pa.Array | None, policy: Policy) -> str | None:
    """What scores can be ordered with; None for none at all, which go with anything."""
    if policy.kind == PREFER or score is None or score.null_count == len(score):
        return None
    kind: Any = score.type
    if kind == pa.uint64():
        return "uint64"
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "fraction"
    if pa.types.is_temporal(kind) and not pa.types.is_time(kind):
        return str(kind)
    raise SettingsError(
        f'keep policy: column "{policy.column}" is {kind}: a score must be a number, date or time'
    )


def _group_kind(column: pa.Array) -> str | None:
    """What values are compared as; None for none at all, which go with anything."""
    if column.null_count == len(column):
        return None
    return "integer" if pa.types.is_integer(column.type) else str(column.type)


def order_keys(policy: Policy, lengths: Array | None, score: pa.Array | None) -> Array:
    """The place of each row in the order of a keep policy: uint64, lower is preferred.

    policy: what is preferred. lengths: int64, bytes of the documents. score: the column that the
    policy names, None for policies of length.

    Rows without a score (null, NaN, a value that is not listed) come last. Integers keep their full
    precision, but for the two largest 64-bit values, which count as equal.
    """
    if score is None:
        sizes = np.asarray(lengths).astype(np.uint64)
        return ~sizes if policy.kind == "longest" else sizes
    if policy.kind == PREFER:
        return _ranks(score, policy.values)
    if score.null_count == len(score):
        return np.full(len(score), LAST)
    values, known = _sortable(score)
    if policy.kind == "max":
        values = (LAST - np.uint64(1)) - np.minimum(values, LAST - np.uint64(1))
    return np.where(known, np.minimum(values, LAST - np.uint64(1)), LAST)


def _ranks(column: pa.Array, values: tuple[str, ...]) -> Array:
    """The place of each value in a list, `LAST` for those that are not in it."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    texts = as_large_string(column) if is_text(column.type) else column.cast(pa.large_string())
    places = pc.index_in(texts, pa.array(values, pa.large_string()))
    ranks: Array = np.where(
        valid_bytes(places).astype(bool), places.fill_null(0).to_numpy().astype(np.uint64), LAST
    )
    return ranks


def _counts(policy: Policy, ranks: Array) -> list[int]:
    """How many rows have each of the values of a policy, in their order, and then any other."""
    count = len(policy.values)
    places = np.minimum(ranks, count).astype(np.int64)
    found: list[int] = np.bincount(places, minlength=count + 1).tolist()
    return found


def _sortable(score: pa.Array) -> tuple[Array, Array]:
    """(uint64 in the order of the scores, bool: has one)."""
    kind: Any = score.type
    known = valid_bytes(score).astype(bool)
    if kind == pa.uint64():
        return score.fill_null(0).to_numpy(), known
    if pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        floats = score.cast(pa.float64()).fill_null(0.0).to_numpy() + 0.0
        bits = floats.view(np.int64)
        bits = bits ^ ((bits >> np.int64(63)) & np.int64(0x7FFFFFFFFFFFFFFF))
        known = known & ~np.isnan(floats)
    else:
        narrow = pa.int32() if pa.types.is_date32(kind) else kind
        bits = score.cast(narrow).cast(pa.int64()).fill_null(0).to_numpy()
    return bits.view(np.uint64) ^ np.uint64(1 << 63), known


def rows_schema(
    settings: Settings, others: int, id_type: pa.DataType | None, *, sketched: bool = False
) -> pa.Schema:
    """Columns that sign leaves for each row, with those the settings add.

    settings: of the run. others: columns that are not compared and go with each row. id_type: the
    type of ids, None where no row has one. sketched: whether there are `schema.BITS`.
    """
    schema = ROWS
    for number in range(len(settings.policies)):
        schema = schema.append(pa.field(order_name(number), pa.uint64()))
    schema = with_values(with_others(schema, others), len(settings.told_apart))
    if settings.id is not None:
        schema = schema.append(pa.field("id", id_type or pa.null()))
    return with_bits(schema, sketched=sketched)


def rows_batch(settings: Settings, parts: list[Signed]) -> pa.RecordBatch:
    """All rows of a task as one batch."""
    digests = np.concatenate([part.digests for part in parts])
    columns: list[Any] = [
        np.concatenate([part.shingles_or_none for part in parts]),
        np.ascontiguousarray(digests[:, 0]),
        np.ascontiguousarray(digests[:, 1]),
        np.concatenate([part.texts for part in parts]),
        np.concatenate([part.scripts for part in parts]),
    ]
    columns += [np.concatenate(orders) for orders in zip(*(p.orders for p in parts), strict=True)]
    others = parts[0].others.shape[1]
    if others:
        digests = pa.array(np.concatenate([part.others for part in parts]).ravel())
        columns.append(pa.FixedSizeListArray.from_arrays(digests, others))
    if settings.told_apart:
        values = np.concatenate([part.values for part in parts])
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]))
    id_type = None
    if settings.id is not None:
        columns_of_ids = [part.ids for part in parts if part.ids is not None]
        valued = [column.type for column in columns_of_ids if column.null_count < len(column)]
        id_type = valued[0] if valued else columns_of_ids[0].type
        ids = pa.concat_arrays([as_type(column, id_type) for column in columns_of_ids])
        columns.append(ids)
    sketched = parts[0].bits.shape[1] > 0
    if sketched:
        bits = np.concatenate([part.bits for part in parts])
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(bits.ravel()), WORDS))
    schema = rows_schema(settings, others, id_type, sketched=sketched)
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in zip(columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def band_batches(parts: list[Signed], first: int, partitions: int) -> Iterator[pa.RecordBatch]:
    """The band records of some rows: a batch of `schema.BAND_RECORDS` for each partition.

    parts: what was signed, in the order of rows. first: number of the first row in the task.
    partitions: number of partitions of the key space.
    """
    keys = np.concatenate([part.keys for part in parts])
    shingles = np.concatenate([part.shingles for part in parts])
    high, low, rows, bounds = partition_records(keys, shingles, partitions)
    columns = [pa.array(high), pa.array(low), pa.array(rows + np.uint32(first))]
    table = pa.RecordBatch.from_arrays(columns, schema=BAND_RECORDS)
    yield from slices(table, bounds)


def id_batches(parts: list[Signed], first: int, partitions: int) -> Iterator[pa.RecordBatch]:
    """The ids of the rows that have one: a batch of `schema.ID_RECORDS` for each partition.

    parts: what was signed, in the order of rows. first: number of the first row in the task.
    partitions: number of partitions of the key space.
    """
    digests = np.concatenate([part.id_digests for part in parts if part.id_digests is not None])
    there = np.concatenate([valid_bytes(part.ids) for part in parts if part.ids is not None])
    rows = np.flatnonzero(there)
    low, high = digests[rows].T
    partition = ((low >> np.uint64(32)) * np.uint64(partitions)) >> np.uint64(32)
    columns = [pa.array(low), pa.array(high), pa.array((rows + first).astype(np.uint32))]
    table = pa.RecordBatch.from_arrays(columns, schema=ID_RECORDS)
    yield from in_partitions(table, partition, partitions)
