"""verify: the components of one partition to decisions, each drop with its witness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, slices
from dedupe.config import Settings
from dedupe.errors import IntegrityError
from dedupe.kernels.verify import verify_components
from dedupe.schema import DECISIONS, EXACT, NEAR, REPRESENTATIVE, UNIQUE, with_id


@dataclass(frozen=True)
class ShingleSets:
    """Shingle sets by increasing position: that of positions[i] is hashes[offsets[i]:...]."""

    positions: Array
    offsets: Array
    hashes: Array


@dataclass(frozen=True)
class Verified:
    """decisions: see `schema.DECISIONS`; compared: pairs whose sets were looked at."""

    decisions: pa.RecordBatch
    compared: int


def verify(
    settings: Settings, members: pa.RecordBatch, sets: ShingleSets, counter_bytes: int
) -> Verified:
    """Decide every row of the components in `members` (see `schema.MEMBERS`).

    counter_bytes bounds the table in which a large component's shingles are counted; it changes
    the time, never the decisions.

    Raises IntegrityError if a set that must be compared is missing.
    """
    positions, components, group = (
        numbers(members.column(name)) for name in ("position", "component", "group")
    )
    rows = len(positions)
    leaders = np.sort(positions[positions == group])
    group_index = np.searchsorted(leaders, group)
    sizes = np.zeros(len(leaders) + 1, np.int64)
    place = np.searchsorted(leaders, sets.positions)
    if len(place) and (
        int(place.max()) >= len(leaders) or (leaders[place] != sets.positions).any()
    ):
        raise IntegrityError("verify was handed shingle sets of rows it does not know")
    sizes[place + 1] = np.diff(sets.offsets)
    starts = np.flatnonzero(np.diff(components, prepend=-1))
    _check_complete(starts, rows, group_index, sizes)

    witness, jaccard, stats = verify_components(
        np.append(starts, rows).astype(np.int64),
        group_index,
        np.cumsum(sizes),
        sets.hashes,
        settings.threshold,
        settings.cluster == "transitive",
        counter_slots=1 << (counter_bytes.bit_length() - 1),
    )
    itself = np.arange(rows)
    kept = witness == itself
    reason = np.where(group == group[witness], EXACT, NEAR).astype(np.uint8)
    has_cluster = np.bincount(witness, minlength=rows) > 1
    reason[kept] = np.where(has_cluster[kept], REPRESENTATIVE, UNIQUE)
    by_position = np.argsort(positions)
    columns = [
        pa.array(column[by_position]) for column in (positions, positions[witness], reason, jaccard)
    ]
    id_type = None
    if "id" in members.schema.names:
        ids = members.column("id")
        id_type = ids.type
        columns.append(ids.take(pa.array(witness[by_position])))
    schema = with_id(DECISIONS, "witness_id", id_type)
    return Verified(pa.RecordBatch.from_arrays(columns, schema=schema), stats.compared)


def cut_decisions(decisions: pa.RecordBatch, starts: Array) -> list[pa.RecordBatch]:
    """Decisions by keep task: those on the positions from each of `starts` to the next."""
    bounds = np.searchsorted(numbers(decisions.column("position")), starts)
    return list(slices(decisions, bounds))


def _check_complete(starts: Array, rows: int, group_index: Array, sizes: Array) -> None:
    """Every group of a component with several groups must have its set."""
    if rows == 0:
        return
    lowest = np.minimum.reduceat(group_index, starts)
    highest = np.maximum.reduceat(group_index, starts)
    several = np.repeat(lowest != highest, np.diff(np.append(starts, rows)))
    missing = several & (sizes[group_index + 1] == 0)
    if missing.any():
        raise IntegrityError(f"shingle sets of {int(missing.sum())} rows are missing in verify")
