"""Tables of an index's rows for people: counts, and decisions that changed, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedupe.arrays import Array, numbers, one_chunk
from dedupe.index.store import Places, Store
from dedupe.index.tables import REMOVED
from dedupe.progress import Progress
from dedupe.schema import EXACT, NEAR, REASONS
from dedupe.storage import file_at
from dedupe.storage.files import unwritten
from dedupe.storage.tables import row_groups, write_file

PLACE = [
    ("crawl", pa.dictionary(pa.int32(), pa.string())),
    ("path", pa.dictionary(pa.int32(), pa.string())),
    ("row", pa.int64()),
]
"""What names a row: its crawl, its file, and its number in it."""


def placed(places: Places, rows: Array) -> list[pa.Array]:
    """The columns of `PLACE` for some rows, null for -1.

    places: the files of the index. rows: int64, numbers in the index.
    """
    there = rows >= 0
    file = np.searchsorted(places.starts, np.maximum(rows, 0), side="right") - 1
    missing = ~there
    at = pa.array(file.astype(np.int32), mask=missing)
    row = pa.array(np.maximum(rows, 0) - places.starts[file], mask=missing)
    paths, codes = np.unique(file[there], return_inverse=True)
    of_files = np.zeros(len(rows), np.int32)
    of_files[there] = codes
    named = pa.DictionaryArray.from_arrays(
        pa.array(of_files, mask=missing), places.paths.take(pa.array(paths))
    )
    crawl = places.crawls.take(at)
    return [crawl, named, row]


def counts_schema(id_type: pa.DataType | None) -> pa.Schema:
    """The columns of `write_counts`; id_type: that of ids, None without any."""
    ids = [] if id_type is None else [("id", id_type)]
    return pa.schema([*PLACE, *ids, ("copies", pa.int64()), ("copies_exact", pa.int64())])


def write_counts(store: Store, output: str, progress: Progress) -> int:
    """Write for each kept row of an index how many rows it stays for today; how many it are.

    store: the index. output: the Parquet file. progress: is told how far it is.
    """
    rows = store.manifest.rows
    spans = list(store.spans())
    progress.stage("counts", 2 * len(spans), 0)
    copies, exact = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
    for first, end in spans:
        reasons = store.state(first, end).reasons
        witness = numbers(store.rows(first, end).column("witness"))
        there = witness >= 0
        np.add.at(copies, witness[there & np.isin(reasons, (EXACT, NEAR))], 1)
        np.add.at(exact, witness[there & (reasons == EXACT)], 1)
        progress.advance(end - first)
    schema = counts_schema(store.id_type)
    places = store.places()
    written = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal written
        for first, end in spans:
            kept = np.flatnonzero(store.state(first, end).kept)
            columns = placed(places, kept + first)
            if store.id_type is not None:
                columns.append(_ids(store, first, end, kept))
            for counted in (copies, exact):
                columns.append(pa.array(counted[kept + first].astype(np.int64) + 1))
            written += len(kept)
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
            progress.advance(end - first)

    write_parquet(output, schema, batches())
    return written


def _ids(store: Store, first: int, end: int, rows: Array) -> pa.Array:
    return one_chunk(store.rows(first, end).column("id")).take(pa.array(rows))


def revisions_schema(id_type: pa.DataType | None) -> pa.Schema:
    """The columns of `revisions`; id_type: that of ids, None without any."""
    ids = [] if id_type is None else [("id", id_type)]
    witness = [(f"witness_{name}", kind) for name, kind in PLACE]
    return pa.schema(
        [
            *PLACE,
            *ids,
            ("before", pa.string()),
            ("now", pa.string()),
            *witness,
            ("jaccard", pa.float64()),
        ]
    )


ORPHAN = "orphan"
"""What is said of a dropped row whose witness was removed, and whose text was not at hand."""


def revisions(before: Store, now: Store, rows: Array) -> pa.Table:
    """What became of rows whose decision has changed.

    before, now: the index before and after. rows: int64, ascending numbers of these rows. A row is
    `removed`, has a reason of `schema.REASONS`, or is an `orphan`, which stays dropped.
    """
    schema = revisions_schema(now.id_type)
    parts = []
    for first, end in now.spans():
        low, high = np.searchsorted(rows, [first, end])
        if low == high:
            continue
        mine = rows[low:high] - first
        columns = placed(now.places(), rows[low:high])
        if now.id_type is not None:
            columns.append(_ids(now, first, end, mine))
        table = now.rows(first, end)
        witness = numbers(table.column("witness"))[mine]
        reasons = now.state(first, end).reasons[mine]
        columns.append(_said(before.state(first, end).reasons[mine], np.zeros(len(mine)) < 0))
        columns.append(_said(reasons, np.isin(reasons, (EXACT, NEAR)) & (witness < 0)))
        columns += placed(now.places(), witness)
        jaccard = numbers(table.column("jaccard"))[mine]
        columns.append(pa.array(jaccard, mask=witness < 0))
        parts.append(pa.RecordBatch.from_arrays(columns, schema=schema))
    return pa.Table.from_batches(parts, schema=schema).unify_dictionaries()


def _said(reasons: Array, orphans: Array) -> pa.Array:
    names = pa.array([*REASONS, "removed", ORPHAN])
    codes = np.where(reasons == REMOVED, len(REASONS), reasons).astype(np.int32)
    codes[orphans] = len(REASONS) + 1
    return names.take(pa.array(codes))


def write_parquet(output: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Write a Parquet file, whole or not at all.

    output: its path. schema: of its rows. batches: they. Raises WorkDirError where it cannot be
    written.
    """
    files, name = file_at(output)

    def write(sink: pa.NativeFile) -> None:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for group in row_groups(schema, batches):
                writer.write_table(group)

    try:
        write_file(files, name, write)
    except OSError as error:
        raise unwritten(files.root, error) from error


def partners(result_rows: pa.Table) -> pa.Table:
    """Rows that are dropped because of rows of an index; result_rows: a keep-list."""
    return result_rows.filter(pc.equal(result_rows["reason"].cast(pa.string()), "reference"))
