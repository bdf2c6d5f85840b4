"""verify: for how many rows each row stays, and which rows stay beside the one they duplicate."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.checks import check_all
from dedupe.config import Settings
from dedupe.schema import EXACT, EXTRA, counted


def count_copies(
    settings: Settings,
    decisions: pa.RecordBatch,
    members: pa.RecordBatch,
    places: Array,
    witnesses: Array,
    own_rows: int,
) -> pa.RecordBatch:
    """Decisions with the rows that each kept row stays for, see `schema.counted`.

    Clusters are decided. Of their dropped rows those become extra that settings let stay beside the
    kept row: the first of a cluster, or the first of each value. A dropped row counts for the kept
    row of its cluster, but where there is one of each value for that of its value.

    settings: of the run. decisions: see `schema.decisions`. members: all rows of the components,
    see `schema.MEMBERS`. places, witnesses: int64, for each decision the places of its row and of
    its witness among the members, which are in keep order within a component. own_rows: rows of the
    corpus; a row whose witness lies behind them counts for none.

    Raises IntegrityError where not every row counts once.
    """
    reason = numbers(decisions.column("reason")).copy()
    own = numbers(decisions.column("witness")) < own_rows
    duplicate = (witnesses != places) & own
    exact = reason == EXACT
    values = _values(settings, members)
    stays_for = witnesses
    if settings.keep_at_most > 1:
        stays_for = _first_of_clusters(settings.keep_at_most - 1, places, witnesses, duplicate)
    elif settings.per is not None:
        stays_for = _first_of_values(values[settings.per], places, witnesses, own)
        group, text = (numbers(members.column(name)) for name in ("group", "text"))
        exact = (group[places] == group[stays_for]) & (text[places] == text[stays_for])
    stays = stays_for == places
    reason[stays & duplicate] = EXTRA
    gone = duplicate & ~stays
    rows = members.num_rows
    counts = [
        1 + np.bincount(stays_for[which], minlength=rows)[places] for which in (gone, gone & exact)
    ]
    check_all(
        np.bool_(counts[0][stays].sum() == np.count_nonzero(own)),
        "verify counted a row twice, or not at all",
    )
    if settings.count_by is not None:
        of_values = values[settings.count_by]
        counts.append(_distinct(of_values, places, stays_for, own, rows)[places])
    schema = counted(decisions.schema, counts_values=settings.count_by is not None)
    columns = decisions.columns
    columns[decisions.schema.get_field_index("reason")] = pa.array(reason)
    columns += [pa.array(np.where(stays, count, 0)) for count in counts]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _values(settings: Settings, members: pa.RecordBatch) -> dict[str, Array]:
    """The digests of the values of each column that is told apart: uint64[members, 2]."""
    names = list(settings.told_apart.values())
    if not names:
        return {}
    digests = numbers(members.column("values").flatten()).reshape(members.num_rows, len(names), 2)
    return {name: digests[:, number] for number, name in enumerate(names)}


def _first_of_clusters(count: int, places: Array, witnesses: Array, duplicate: Array) -> Array:
    """The place of the row that each row stays for: itself, or the kept row of its cluster.

    count: duplicates of a cluster that stay, the first of them. duplicate: bool, of each row.
    """
    rows = np.flatnonzero(duplicate)
    rows = rows[np.lexsort((places[rows], witnesses[rows]))]
    starts = np.flatnonzero(np.diff(witnesses[rows], prepend=-1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    first = rows[rank < count]
    stays_for = witnesses.copy()
    stays_for[first] = places[first]
    return stays_for


def _first_of_values(values: Array, places: Array, witnesses: Array, in_cluster: Array) -> Array:
    """The place of the row that each row stays for: the first of its cluster with its value.

    values: uint64[members, 2], digests. in_cluster: bool, of each row; the others stay for their
    witness.
    """
    rows = np.flatnonzero(in_cluster)
    low, high = values[places[rows]].T
    order = np.lexsort((places[rows], high, low, witnesses[rows]))
    rows, low, high = rows[order], low[order], high[order]
    new = _changes(witnesses[rows], low, high)
    stays_for = witnesses.copy()
    stays_for[rows] = places[rows[new]][np.cumsum(new) - 1]
    return stays_for


def _distinct(
    values: Array, places: Array, stays_for: Array, in_cluster: Array, members: int
) -> Array:
    """How many values the rows have that a member stays for: int64[members].

    values: uint64[members, 2], digests. in_cluster: bool, of each row; the others do not count.
    """
    rows = np.flatnonzero(in_cluster)
    low, high = values[places[rows]].T
    order = np.lexsort((high, low, stays_for[rows]))
    of = stays_for[rows[order]]
    return np.bincount(of[_changes(of, low[order], high[order])], minlength=members)


def _changes(*columns: Array) -> Array:
    """Whether a row has another value than the one before it in any column: bool; the first has."""
    changed = np.ones(len(columns[0]), np.bool_)
    changed[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return changed
