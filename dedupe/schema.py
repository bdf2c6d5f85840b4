"""The columns that stages hand to one another, and those of the keep-list.

A *position* is a row's place in the corpus, 0 to rows - 1, in the order of row ids: stages count
in positions, which are dense, and only the keep-list speaks of row ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

DOCUMENT = "document"
"""The column of documents, which stands first in whatever is read of a corpus; of several fields
each has a column, see `field_columns`."""


UNREADABLE = "unreadable"
"""The reason of a row that could not be read; and the column that says why it could not be."""

NO_SHINGLES = 0xFFFFFFFF
"""Stands in place of the number of shingles of such a row; see `ROWS`."""


def field_columns(fields: int) -> list[str]:
    """The columns of a document of so many fields."""
    return [f"{DOCUMENT}_{number}" if number else DOCUMENT for number in range(fields)]


ROW_BITS = 40
"""A row id is shard ordinal << ROW_BITS | row number in the shard."""

BAND_RECORDS = pa.schema([("high", pa.uint32()), ("low", pa.uint16()), ("row", pa.uint32())])
"""sign, one record batch per partition of the key space: the upper 48 bits of a band key, as its
upper 32 and the 16 below them. Here and below, `row` counts from 0 in the sign task."""

ID_RECORDS = pa.schema([("low", pa.uint64()), ("high", pa.uint64()), ("row", pa.uint32())])
"""sign where an id column was named, one record batch per partition of the key space: the digest of
each id that is there."""

ROWS = pa.schema(
    [
        ("shingles", pa.uint32()),
        ("digest_low", pa.uint64()),
        ("digest_high", pa.uint64()),
        ("text", pa.uint64()),
        ("script", pa.uint8()),
    ]
)
"""sign, one row per row of the task in order; with `order_0` and so on (uint64, lower is preferred)
of each keep policy, with `others` (see `with_others`) and `values` (see `with_values`), and with
`id` where an id column was named.
A row with 0 shingles is empty and has no digest,
one with `NO_SHINGLES` could not be read. `digest` is that of the shingles in their order,
with `--no-near` that of the text; `text` is half of the latter: what exact copies have in
common. `script` is the number of a row's script, see `kernels.scripts`."""


def with_others(schema: pa.Schema, others: int) -> pa.Schema:
    """A schema with a digest of 32 bits for each of so many columns that are not compared."""
    return schema.append(pa.field("others", pa.list_(pa.uint32(), others))) if others else schema


BITS = "bits"
"""The column of `ROWS`, with an index, in which a bit is set for each shingle of a row."""

WORDS = 4
"""Words of 64 bits in it."""


def with_bits(schema: pa.Schema, *, sketched: bool) -> pa.Schema:
    """A schema with the column `BITS` at its end, where rows are `sketched`."""
    return schema.append(pa.field(BITS, pa.list_(pa.uint64(), WORDS))) if sketched else schema


def with_values(schema: pa.Schema, columns: int) -> pa.Schema:
    """A schema with a digest of 128 bits for each of so many columns that are told apart."""
    values = pa.list_(pa.uint64(), 2 * columns)
    return schema.append(pa.field("values", values)) if columns else schema


def order_name(policy: int) -> str:
    """The column of ROWS with the order of a keep policy."""
    return f"order_{policy}"


def order_columns(names: Sequence[str]) -> list[str]:
    """Those columns among these, the first policy first."""
    return [name for number in range(len(names)) if (name := order_name(number)) in names]


LOOKED_UP = pa.schema([("position", pa.int64()), ("row", pa.int64())])
"""lookup, one record batch per resolve task: rows of the corpus, and of the index, that share a
band key."""

RESOLVED = pa.schema([("position", pa.int64()), ("class", pa.int64())])
"""resolve, one record batch per partition of the key space: rows of the corpus, each with a class
of the index that it belongs to."""

CLASSES = pa.schema([("class", pa.int64())])
"""resolve and touch: classes of an index, each once, ascending."""

ORIGINS = pa.schema([("row", pa.int64()), ("class", pa.int64())])
"""choose: the kept rows of the index that a run is held against, in their order."""

CHOSEN = pa.schema([("row", pa.uint32()), ("class", pa.int64())])
"""choose, one record batch per partition of the key space: the same; row: their place there."""

ECHOES = pa.schema(
    [("digest_low", pa.uint64()), ("digest_high", pa.uint64()), ("witness", pa.int64())]
)
"""choose: digests of rows of the index that were dropped, each once, and their witnesses."""

NAMED = pa.schema([("component", pa.int64()), ("class", pa.int64())])
"""classify: components that have rows of the index, ascending, and the class of all their rows."""

EDGES = pa.schema([("left", pa.int64()), ("right", pa.int64())])
"""bucket, join, and components but for its last merge: two positions in one component."""

LABELS = pa.schema([("row", pa.uint32()), ("component", pa.int64())])
"""The last merge of components, one record batch per sign task: its rows in components. `component`
numbers components by their first row: equal exactly for the rows of one."""


def labeled(rows: pa.Schema) -> pa.Schema:
    """route, one record batch per partition of components: `LABELS` and what sign knows of them."""
    return pa.schema([*LABELS, *rows])


MEMBERS = pa.schema(
    [
        ("position", pa.int64()),
        ("component", pa.int64()),
        ("group", pa.int64()),
        ("text", pa.uint64()),
    ]
)
"""group, by component and then in keep order; with `others` and `values`, and with `id` where there
are ids.
`group` is the lowest position of the rows with that digest."""

ECHO = "echo"
"""The column of `ROUTED` and `MEMBERS`, with an index, that has the position of a kept row of it:
the witness of an earlier row with the same shingles, -1 for none."""

CARRIED = ("others", "values", "id", ECHO)
"""Columns that go with a row to verify, where settings or an index add them."""


def with_echo(schema: pa.Schema, *, echoes: bool) -> pa.Schema:
    """A schema with the column `ECHO` at its end, where there are `echoes`."""
    return schema.append(pa.field(ECHO, pa.int64())) if echoes else schema


ROWS_TO_FETCH = pa.schema([("row", pa.uint32())])
"""group, one record batch per sign task: the rows whose shingle sets verify needs."""


def sets(fields: int) -> pa.Schema:
    """fetch, one record batch per partition of components: the shingle sets of rows.

    fields: of a document. `hashes` are the distinct shingle hashes of a row, each field's in the
    order of first appearance, the fields end to end; `sizes` how many each field has; `words` the
    tokens of each field. `repeats` says which shingles of the text are not new, the fields end to
    end: pairs of (number of the shingle in the field, number of its hash in the field's set);
    `repeat_sizes` how many numbers each field has there.
    """
    of_fields = pa.list_(pa.uint32(), fields)
    return pa.schema(
        [
            ("row", pa.uint32()),
            ("hashes", pa.large_list(pa.uint64())),
            ("sizes", of_fields),
            ("words", of_fields),
            ("repeats", pa.large_list(pa.uint32())),
            ("repeat_sizes", of_fields),
        ]
    )


SETS = sets(1)


def field_name(number: int) -> str:
    """The column of `decisions` with the similarity in a field."""
    return f"jaccard_{number}"


COPIES = ("copies", "copies_exact", "copies_values")
"""What is counted of the rows for which a row stays, itself included: how many they are, how many
of them are exact copies of it, and with a column to count by how many values of it they have."""


def copies_columns(*, counts_values: bool) -> list[tuple[str, pa.DataType]]:
    """The columns of `COPIES`; counts_values: whether there is a column to count by."""
    return [(name, pa.int64()) for name in COPIES[: 3 if counts_values else 2]]


def decisions(fields: int) -> pa.Schema:
    """What became of each row in a component, by position, as far as pairs decide it.

    fields: of a document; with several, `jaccard` is the least of theirs, and each has a column of
    its own. A kept row is its own witness. With `witness_id` where there are ids.
    """
    columns = [
        ("position", pa.int64()),
        ("witness", pa.int64()),
        ("reason", pa.uint8()),
        ("jaccard", pa.float64()),
        ("lost", pa.int32()),
    ]
    if fields > 1:
        columns += [(field_name(number), pa.float64()) for number in range(fields)]
    return pa.schema(columns)


def counted(decisions: pa.Schema, *, counts_values: bool) -> pa.Schema:
    """verify, one record batch per keep task: decisions with `COPIES`, 0 for a row that is dropped.

    decisions: see `decisions`. counts_values: whether there is a column to count by.
    """
    return pa.schema([*decisions, *copies_columns(counts_values=counts_values)])


LATE = pa.schema([("position", pa.int64()), ("witness", pa.int64()), ("jaccard", pa.float64())])
"""verify, with an index: rows of the index that are similar, which no add had seen before; the
later one first. Both stay."""

DECISIONS = counted(decisions(1), counts_values=False)


def with_id(schema: pa.Schema, name: str, id_type: pa.DataType | None) -> pa.Schema:
    """A schema with a column of ids at its end.

    schema: the other columns. name: of the column of ids. id_type: their type; None for no ids, and
    the schema as it is.
    """
    return schema if id_type is None else schema.append(pa.field(name, id_type))


EVIDENCE = ("containment", "question and answer")
"""How an item of a test set was found in a row, in the order of its code."""

CONTAMINATED_ROWS = pa.schema(
    [
        ("row", pa.uint32()),
        ("witness_shard", pa.uint32()),
        ("witness_row", pa.int64()),
        ("witness_id", pa.large_string()),
        ("containment", pa.float64()),
        ("span_start", pa.int64()),
        ("span_end", pa.int64()),
        ("evidence", pa.uint8()),
    ]
)
"""match, one row for each contaminated row of the task, in order, with the best of its items."""

CONTAMINATION_COLUMNS = (
    ("containment", pa.float64()),
    ("span_start", pa.int64()),
    ("span_end", pa.int64()),
    ("evidence", pa.dictionary(pa.int8(), pa.string())),
)
"""What a keep-list has besides where test sets were given."""

LOST_BINS = (0, 1, 2, 3, 6, 11, 21, 51, 101)
"""Where the ranges begin in which `lost` is counted; the last one has no end."""

LENGTH_BINS = (0, *(1 << power for power in range(21)))
"""Where the ranges begin in which rows are counted by their shingles; the last one has no end."""

CLUSTER_BINS = (2, 3, 4, 6, 11, 101, 1001, 10001)
"""Where the ranges begin in which rows of clusters are counted; the last one has no end."""

CONTAMINATED = "contaminated"
"""The reason of a row in which an item of a test set stands."""

BESIDE = "extra"
"""The reason of a row that stays beside the kept row that it duplicates."""

REASONS = (
    "unique",
    "representative",
    "exact",
    "near",
    "empty",
    UNREADABLE,
    "reference",
    CONTAMINATED,
    BESIDE,
)
"""Every reason, in the order of its code."""
UNIQUE, REPRESENTATIVE, EXACT, NEAR, EMPTY, NOT_READ, REFERENCE, TAINTED, EXTRA = range(
    len(REASONS)
)
COUNTED_ALONE = (NOT_READ, REFERENCE, TAINTED)
"""Those of dropped rows that no kept row stays for; `copies` are all the others, each once."""
KEPT = ("unique", "representative", "empty", BESIDE)
"""The reasons of rows that stay."""

SPLITS = ("train", "test", "validation", "excluded")
"""Where `split` puts a row, in the order of its code; the last is no split."""

SPLIT_REASONS = (
    "single",
    "linked",
    "large",
    "empty",
    "duplicate",
    UNREADABLE,
    "pinned",
    "between",
)
"""Why it puts it there, in the order of its code."""


def keep_list_reasons(
    *, skips_rows: bool, has_references: bool, has_evals: bool, has_extras: bool
) -> list[int]:
    """The codes of the reasons that a keep-list may have, which its dictionary names in this order.

    skips_rows: whether rows that cannot be read are left out. has_references, has_evals: whether
    there are references, and test sets. has_extras: whether rows may stay beside the kept row that
    they duplicate.
    """
    given = {
        NOT_READ: skips_rows,
        REFERENCE: has_references,
        TAINTED: has_evals,
        EXTRA: has_extras,
    }
    return [code for code in range(len(REASONS)) if given.get(code, True)]


def keep_list_schema(
    id_type: pa.DataType | None,
    fields: Sequence[str],
    *,
    has_evals: bool = False,
    counts_values: bool = False,
    has_earlier: bool = False,
) -> pa.Schema:
    """Columns of a keep-list file.

    id_type: that of the id column, None without one. fields: the names of a document's fields.
    has_evals: whether there are test sets. counts_values: whether there is a column to count by.
    has_earlier: whether rows of an index may be witnesses.
    """
    columns = [("row", pa.int64())]
    if id_type is not None:
        columns.append(("id", id_type))
    columns += [
        ("keep", pa.bool_()),
        ("reason", pa.dictionary(pa.int8(), pa.string())),
        ("cluster", pa.uint64()),
        ("witness_shard", pa.dictionary(pa.int32(), pa.string())),
        ("witness_row", pa.int64()),
    ]
    if id_type is not None:
        columns.append(("witness_id", id_type))
    if has_earlier:
        columns.append(("witness_crawl", pa.dictionary(pa.int32(), pa.string())))
    columns += [("jaccard", pa.float64()), ("lost", pa.int32())]
    columns += copies_columns(counts_values=counts_values)
    if len(fields) > 1:
        columns += [(f"jaccard_{name}", pa.float64()) for name in fields]
    if has_evals:
        columns += CONTAMINATION_COLUMNS
    return pa.schema(columns)
