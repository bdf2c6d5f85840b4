"""Which rows of an index are taken out, and which lose their witness by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers
from dedupe.errors import SettingsError, listed
from dedupe.index.store import Store
from dedupe.index.tables import REMOVED
from dedupe.schema import EXACT, NEAR


def rows_of_files(store: Store, names: Sequence[str]) -> Array:
    """The rows of some files, or of all files of some crawls: int64, ascending.

    store: the index. names: paths of files as the index has them, or names of crawls. Raises
    SettingsError for one that it has not.
    """
    places = store.places()
    paths = places.paths.to_pylist()
    crawls = places.crawls.to_pylist()
    unknown = [name for name in names if name not in paths and name not in crawls]
    if unknown:
        raise SettingsError(
            f"the index has no file and no crawl {listed(unknown)}: dedupe index show names them"
        )
    wanted = set(names)
    chosen = [
        np.arange(places.starts[number], places.starts[number + 1])
        for number, (path, crawl) in enumerate(zip(paths, crawls, strict=True))
        if path in wanted or crawl in wanted
    ]
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def rows_of_ids(store: Store, ids: Sequence[str]) -> Array:
    """The rows that have one of some ids: int64, ascending.

    store: the index. ids: as text. Raises SettingsError where the index has no ids, ids that are no
    text, or not all of these.
    """
    kind = store.id_type
    if kind is None:
        raise SettingsError("the index has no ids: it was made without --id; name files")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise SettingsError("ids of the index are bytes, which cannot be named: name files")
    wanted = pa.array(ids, pa.string())
    there = np.zeros(len(wanted), np.bool_)
    found = []
    for first, end in store.spans():
        here = store.rows(first, end).column("id").cast(pa.string())
        mine = np.flatnonzero(pc.is_in(here, wanted).to_numpy(zero_copy_only=False))
        found.append(mine + first)
        of_them = here.take(pa.array(mine)).unique()
        there |= pc.is_in(wanted, of_them).to_numpy(zero_copy_only=False)
    unknown = [ids[at] for at in np.flatnonzero(~there).tolist()]
    if unknown:
        raise SettingsError(
            f"the index has no row with the id {listed(unknown)}: nothing is removed; leave out "
            "what is not there"
        )
    return np.concatenate([np.zeros(0, np.int64), *found])


def still_there(store: Store, rows: Array) -> Array:
    """Those of some rows that were not removed before; rows: int64, ascending."""
    stay = []
    for first, end in store.spans():
        low, high = np.searchsorted(rows, [first, end])
        if low < high:
            mine = rows[low:high]
            stay.append(mine[store.state(first, end).reasons[mine - first] != REMOVED])
    return np.concatenate([np.zeros(0, np.int64), *stay])


def orphans_of(store: Store, rows: Array) -> Array:
    """The rows that were dropped because of some others, and are none of these: int64, ascending.

    store: the index. rows: int64, ascending.
    """
    found = []
    for first, end in store.spans():
        reasons = store.state(first, end).reasons
        witness = numbers(store.rows(first, end).column("witness"))
        lost = np.isin(reasons, (EXACT, NEAR)) & np.isin(witness, rows)
        found.append(np.flatnonzero(lost) + first)
    orphans = np.concatenate([np.zeros(0, np.int64), *found])
    return orphans[~np.isin(orphans, rows)]
