"""The tables of a segment: what an index knows of each row.

Rows of an index are numbered through all its crawls, in the order in which they were added; those
of a crawl in the order of its files. A *class* is a set of rows that are connected by band keys:
rows of different classes were never candidates. Classes grow together when a later row has keys of
several, so the class of a row is the last one to which `merges` leads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, held_bytes
from dedupe.schema import REPRESENTATIVE, UNIQUE, field_columns, with_bits

STATE = pa.schema([("class", pa.int64()), ("reason", pa.uint8())])
"""One row for each row of a segment: its class when it was added, -1 - row where no other row was
in it; and the code of its reason in `schema.REASONS`."""

ROWS = pa.schema(
    [
        ("shingles", pa.uint32()),
        ("digest_low", pa.uint64()),
        ("digest_high", pa.uint64()),
        ("text", pa.uint64()),
        ("witness", pa.int64()),
        ("jaccard", pa.float64()),
        ("lost", pa.int32()),
    ]
)
"""The same rows: shingles, digest and text as sign has them; the witness's number in the index, -1
for a row without one; how similar it is, and what the row loses. With `id` where there are ids, and
with `bits` where near-duplicates are found."""

KEYS = pa.schema([("high", pa.uint32()), ("low", pa.uint16()), ("row", pa.uint32())])
"""Band keys in order, as sign has them, each with one of the rows that have it, which counts from
the first of the segment: all that share a key are of one class."""

MOST_ROWS = 1 << 32
"""Rows of a segment: keys count them in 32 bits."""

MERGES = pa.schema([("class", pa.int64()), ("into", pa.int64())])
"""Classes that are another one since the segment was added."""

CHANGES = pa.schema(
    [
        ("row", pa.int64()),
        ("reason", pa.uint8()),
        ("witness", pa.int64()),
        ("jaccard", pa.float64()),
        ("lost", pa.int32()),
    ]
)
"""Rows of earlier segments that are decided otherwise since this one was added, by their number in
the index; their text is here, too, where they are kept since."""

REMOVED = 255
"""The reason of a row that was taken out, in place of a code of `schema.REASONS`."""

FILES = pa.schema(
    [
        ("crawl", pa.int32()),
        ("path", pa.string()),
        ("rows", pa.int64()),
        ("size", pa.int64()),
        ("version", pa.string()),
    ]
)
"""The files of a segment's crawls in order; crawl: its number."""

KEPT = (UNIQUE, REPRESENTATIVE)
"""Reasons of rows whose text an index has: those that later rows may be duplicates of."""


ROWS_IN_BLOCK = 1 << 16
"""Rows in a block of the tables that have one for each row."""

TEXT_IN_BLOCK = 128_000
"""Bytes of text in a block, about: what is read and decompressed for one row of it."""

KEYS_IN_BLOCK = 1 << 14
"""Band keys in a block."""


def in_blocks(texts: Iterable[pa.RecordBatch]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Texts in blocks of about one size, each with the number of its first row.

    texts: rows in order, see `text_schema`.
    """
    for batch in texts:
        step = max(1, batch.num_rows * TEXT_IN_BLOCK // max(held_bytes(batch), 1))
        for at in range(0, batch.num_rows, step):
            part = batch.slice(at, step)
            yield part.column("row")[0].as_py(), part


def key_blocks(keys: Array, rows: Array) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Band keys in blocks of one size, each with its first key: see `KEYS`.

    keys: uint64, ascending, each once. rows: int64, a row for each, from the first of the segment.
    """
    for start in range(0, len(keys), KEYS_IN_BLOCK):
        part = keys[start : start + KEYS_IN_BLOCK]
        columns = [
            (part >> np.uint64(32)).astype(np.uint32),
            (part >> np.uint64(16) & np.uint64(0xFFFF)).astype(np.uint16),
            rows[start : start + KEYS_IN_BLOCK].astype(np.uint32),
        ]
        yield int(part[0]), pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema=KEYS)


def rows_schema(id_type: pa.DataType | None, *, sketched: bool) -> pa.Schema:
    """`ROWS`, with ids of some type, None for none; sketched: with `schema.BITS`."""
    with_ids = ROWS if id_type is None else ROWS.append(pa.field("id", id_type))
    return with_bits(with_ids, sketched=sketched)


def text_schema(columns: int, groups: int, id_type: pa.DataType | None) -> pa.Schema:
    """The text of kept rows, each with its number in the index.

    columns: of a document. groups: columns of `--within`, whose values are texts here. id_type:
    that of ids, None for none.
    """
    return pa.schema(
        [
            ("row", pa.int64()),
            *((name, pa.large_string()) for name in field_columns(columns)),
            *((f"within_{number}", pa.large_string()) for number in range(groups)),
            *([] if id_type is None else [("id", id_type)]),
        ]
    )
