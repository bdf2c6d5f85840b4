"""verify: the components of one partition to decisions, each drop with its witness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, slices
from dedupe.checks import (
    check_all,
    check_decisions,
    check_increasing,
    check_offsets,
    check_range,
    check_same_length,
)
from dedupe.config import Settings
from dedupe.errors import IntegrityError
from dedupe.kernels.verify import verify_components
from dedupe.schema import DECISIONS, EXACT, NEAR, REPRESENTATIVE, UNIQUE, with_id


@dataclass(frozen=True)
class ShingleSets:
    """Shingle sets of some rows of the corpus.

    positions: int64, the rows, increasing. offsets: int64, one more. hashes: uint64; the set of the
    row positions[i] is hashes[offsets[i]:offsets[i + 1]].
    """

    positions: Array
    offsets: Array
    hashes: Array


@dataclass(frozen=True)
class Verified:
    """decisions: see `schema.DECISIONS`; compared: pairs whose sets were looked at."""

    decisions: pa.RecordBatch
    compared: int


def verify(
    settings: Settings,
    members: pa.RecordBatch,
    sets: ShingleSets,
    counter_bytes: int,
    corpus_rows: int,
) -> Verified:
    """Decide every row of the components of a partition.

    settings: threshold and way of clustering. members: the rows, see `schema.MEMBERS`. sets: those
    of the first row of each group, if its component has other groups. counter_bytes: most memory
    for the table in which a large component's shingles are counted; it changes the time, never the
    decisions. corpus_rows: rows in the corpus.

    Raises IntegrityError if a set that must be compared is missing, if what was handed over
    contradicts itself, or if a decision does not make sense.
    """
    positions, component, group = (
        numbers(members.column(name)) for name in ("position", "component", "group")
    )
    rows = len(positions)
    group_index, sizes = _match(positions, component, group, sets, corpus_rows)
    starts = np.flatnonzero(np.diff(component, prepend=-1))
    _check_complete(starts, rows, group_index, sizes)
    try:
        witness, jaccard, stats = verify_components(
            np.append(starts, rows).astype(np.int64),
            group_index,
            np.cumsum(sizes),
            sets.hashes,
            settings.threshold,
            settings.cluster == "transitive",
            counter_slots=1 << (counter_bytes.bit_length() - 1),
        )
    except ValueError as error:
        raise IntegrityError(f"verify was handed groups or sets that do not fit: {error}") from None
    check_range(witness, rows, "verify named a witness that there is not")
    kept = witness == np.arange(rows)
    reason = np.where(group == group[witness], EXACT, NEAR).astype(np.uint8)
    has_cluster = np.bincount(witness, minlength=rows) > 1
    reason[kept] = np.where(has_cluster[kept], REPRESENTATIVE, UNIQUE)
    _check_witnesses(component, witness)
    check_decisions("verify made", kept, reason, jaccard, least_jaccard(settings))
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


def least_jaccard(settings: Settings) -> float:
    """The least Jaccard similarity that a row dropped as a near-duplicate has with its witness.

    Clusters of --cluster transitive are chains: their ends may have nothing in common.
    """
    return settings.threshold if settings.cluster == "cover" else 0.0


def cut_decisions(decisions: pa.RecordBatch, starts: Array) -> list[pa.RecordBatch]:
    """Decisions by keep task: those on the positions from each of `starts` to the next.

    Raises IntegrityError for a decision outside of all tasks.
    """
    bounds = np.searchsorted(numbers(decisions.column("position")), starts)
    if bounds[0] != 0 or bounds[-1] != decisions.num_rows:
        raise IntegrityError("verify decided rows outside of the corpus")
    return list(slices(decisions, bounds))


def _match(
    positions: Array, component: Array, group: Array, sets: ShingleSets, corpus_rows: int
) -> tuple[Array, Array]:
    """(the group of each row, as a number; sizes of the sets of groups, behind a 0)."""
    check_range(positions, corpus_rows, "verify was handed a row outside of the corpus")
    check_range(component, corpus_rows, "verify was handed a component that there is not")
    check_increasing(component, "verify was handed components out of order", strictly=False)
    leaders = np.sort(positions[positions == group])
    group_index = np.searchsorted(leaders, group)
    place = np.searchsorted(leaders, sets.positions)
    _check_found(leaders, group_index, group, "verify was handed a group without its first row")
    _check_found(
        leaders, place, sets.positions, "verify was handed shingle sets of rows it does not know"
    )
    check_increasing(leaders, "verify was handed a row twice", strictly=True)
    check_increasing(sets.positions, "verify was handed shingle sets out of order", strictly=True)
    complaint = "verify was handed shingle sets with wrong bounds"
    check_same_length(complaint, sets.offsets[1:], sets.positions)
    check_offsets(sets.offsets, len(sets.hashes), complaint)
    sizes = np.zeros(len(leaders) + 1, np.int64)
    sizes[place + 1] = np.diff(sets.offsets)
    return group_index, sizes


def _check_found(values: Array, place: Array, sought: Array, complaint: str) -> None:
    """What `np.searchsorted` found must be there."""
    check_range(place, len(values), complaint)
    check_all(values[place] == sought, complaint)


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


def _check_witnesses(component: Array, witness: Array) -> None:
    """Each witness must be kept, and in the same component."""
    check_all(witness[witness] == witness, "verify named a witness that is not kept")
    check_all(component[witness] == component, "verify named a witness of another component")
