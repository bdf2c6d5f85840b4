"""group: rows in components that are verified as one, and what verify needs of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, one_chunk, slices
from dedupe.checks import check_all, check_increasing
from dedupe.kernels.grouping import first_equal, rule_out
from dedupe.schema import BITS, CARRIED, MEMBERS, ROWS_TO_FETCH, WORDS, order_columns

MOST_PAIRS = 1 << 26
"""Pairs of a component that are looked at to rule rows of an index out: a fifth of a second."""


@dataclass(frozen=True)
class Grouped:
    """members: see `schema.MEMBERS`. to_fetch: see `schema.ROWS_TO_FETCH`.

    components: how many there are in the partition. largest: rows of the largest one; largest_row:
    the position of its first row in the corpus, -1 without any. set_hashes: shingles of the rows to
    fetch, at least as many as are in their sets. ruled_out: rows of an index that no row of the
    corpus can be similar to; they are no members.
    """

    members: pa.RecordBatch
    to_fetch: list[pa.RecordBatch]
    components: int
    largest: int
    largest_row: int
    set_hashes: int
    ruled_out: int


def group(
    batches: Sequence[tuple[int, pa.RecordBatch]],
    task_starts: Array,
    own_rows: int,
    threshold: float | None = None,
) -> Grouped:
    """Group the rows of a partition of components by their digests.

    batches: for each sign task with rows, in order, the position of its first row and its rows in
    the partition (see `schema.labeled`). task_starts: int64, the position of the first row of every
    sign task, and the number of rows in the end. own_rows: rows of the corpus; behind them are
    those of references, which come first in the order of a component. threshold: Jaccard similarity
    by which rows of an index are ruled out, whose bits batches have; None where there is no index.

    Rows with equal digests form a group and are verified once, so only the first row of a group
    has its shingle set made, and only where its component has another group, and is not of
    references alone.

    Raises IntegrityError for a row outside of its task, or rows out of order.
    """
    rows = pa.Table.from_batches([batch for _, batch in batches]).combine_chunks()
    positions = _positions(batches, numbers(rows.column("row")), task_starts)
    all_rows = len(positions)
    if threshold is not None:
        stays = np.flatnonzero(_staying(rows, positions < own_rows, threshold))
        rows, positions = rows.take(pa.array(stays)).combine_chunks(), positions[stays]
    names, component, sizes = np.unique(
        numbers(rows.column("component")), return_inverse=True, return_counts=True
    )
    first = first_equal(numbers(rows.column("digest_low")), numbers(rows.column("digest_high")))
    leads = first == np.arange(len(positions))
    groups = np.bincount(component[leads], minlength=len(names))
    own = np.bincount(component[positions < own_rows], minlength=len(names))
    fetched = np.flatnonzero(leads & ((groups > 1) & (own > 0))[component])

    orders = [numbers(rows.column(name)) for name in order_columns(rows.column_names)]
    in_order = np.lexsort((*reversed(orders), positions < own_rows, component))
    text = numbers(rows.column("text"))
    columns = [
        pa.array(column[in_order]) for column in (positions, component, positions[first], text)
    ]
    carried = [rows.schema.field(name) for name in CARRIED if name in rows.column_names]
    for one in carried:
        columns.append(rows.column(one.name).combine_chunks().take(pa.array(in_order)))
    bounds = np.searchsorted(positions[fetched], task_starts)
    local = pa.RecordBatch.from_arrays(
        [rows.column("row").combine_chunks().take(pa.array(fetched))], schema=ROWS_TO_FETCH
    )
    return Grouped(
        members=pa.RecordBatch.from_arrays(columns, schema=pa.schema([*MEMBERS, *carried])),
        to_fetch=list(slices(local, bounds)),
        components=len(names),
        largest=int(sizes.max(initial=0)),
        largest_row=int(positions[component == sizes.argmax()].min()) if len(names) else -1,
        set_hashes=int(numbers(rows.column("shingles"))[fetched].sum()),
        ruled_out=all_rows - len(positions),
    )


def _staying(rows: pa.Table, is_own: Array, threshold: float) -> Array:
    """Whether each row may be similar to one of the corpus in its component: bool."""
    names, component = np.unique(numbers(rows.column("component")), return_inverse=True)
    order = np.argsort(component, kind="stable")  # rows of the corpus have the first positions
    starts = np.searchsorted(component[order], np.arange(len(names) + 1))
    own = np.bincount(component[is_own], minlength=len(names))
    words = numbers(one_chunk(rows.column(BITS)).flatten())
    stays = np.ones(len(component), np.uint8)
    rule_out(
        order,
        starts,
        own,
        words.reshape(-1, WORDS),
        numbers(rows.column("shingles")).astype(np.int64),
        (1 - threshold) / (1 + threshold),
        MOST_PAIRS,
        stays,
    )
    return stays.astype(bool)


def _positions(
    batches: Sequence[tuple[int, pa.RecordBatch]], rows: Array, task_starts: Array
) -> Array:
    """The positions of rows that are numbered by task, each of which must be in its task."""
    counts = [batch.num_rows for _, batch in batches]
    firsts = np.array([first for first, _ in batches], np.int64)
    # some tasks have no rows and start where the next one does
    ends = np.append(task_starts, task_starts[-1])[
        np.searchsorted(task_starts, firsts, side="right")
    ]
    positions = rows.astype(np.int64) + np.repeat(firsts, counts)
    check_all(
        positions < np.repeat(ends, counts), "group was handed a row outside of its sign task"
    )
    check_increasing(positions, "group was handed rows out of order", strictly=True)
    return positions
