"""group: which rows in the components of one partition are exact copies, and what verify needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, slices
from dedupe.kernels.grouping import first_equal
from dedupe.schema import MEMBERS, ROWS_TO_FETCH, order_columns, with_id


@dataclass(frozen=True)
class Grouped:
    """members, wanted: see `schema.MEMBERS` and `schema.ROWS_TO_FETCH`.

    set_hashes: shingles of the wanted rows, at least as many as are in their sets.
    """

    members: pa.RecordBatch
    wanted: list[pa.RecordBatch]
    components: int
    largest: int
    set_hashes: int


def group(pieces: Sequence[tuple[int, pa.RecordBatch]], task_starts: Array) -> Grouped:
    """Group the rows of a partition.

    pieces: (first position, rows in components; see `schema.labeled`) of each sign task with rows,
    in order. task_starts: position of the first row of every sign task, with the end.
    Rows with equal digests form a group and are verified once, so only the first row of a group
    has its shingle set made, and only where its component has another group.
    """
    rows = pa.Table.from_batches([piece for _, piece in pieces]).combine_chunks()
    starts = np.repeat([first for first, _ in pieces], [piece.num_rows for _, piece in pieces])
    positions = numbers(rows.column("row")).astype(np.int64) + starts
    names, component, sizes = np.unique(
        numbers(rows.column("component")), return_inverse=True, return_counts=True
    )
    first = first_equal(numbers(rows.column("digest_low")), numbers(rows.column("digest_high")))
    leads = first == np.arange(len(positions))
    groups = np.bincount(component[leads], minlength=len(names))
    wanted = np.flatnonzero(leads & (groups[component] > 1))

    orders = [numbers(rows.column(name)) for name in order_columns(rows.column_names)]
    in_order = np.lexsort((*reversed(orders), component))
    id_type = rows.schema.field("id").type if "id" in rows.column_names else None
    columns = [pa.array(column[in_order]) for column in (positions, component, positions[first])]
    if id_type is not None:
        columns.append(rows.column("id").combine_chunks().take(pa.array(in_order)))
    bounds = np.searchsorted(positions[wanted], task_starts)
    local = pa.RecordBatch.from_arrays(
        [rows.column("row").combine_chunks().take(pa.array(wanted))], schema=ROWS_TO_FETCH
    )
    return Grouped(
        members=pa.RecordBatch.from_arrays(columns, schema=with_id(MEMBERS, "id", id_type)),
        wanted=list(slices(local, bounds)),
        components=len(names),
        largest=int(sizes.max(initial=0)),
        set_hashes=int(numbers(rows.column("shingles"))[wanted].sum()),
    )
