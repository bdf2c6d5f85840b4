"""sweep: the components of one partition, decided at each threshold; their sets are read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dedupe.arrays import Array, numbers
from dedupe.config import Settings
from dedupe.kernels import Spread
from dedupe.pairs import mixed_rows
from dedupe.schema import EXTRA, REFERENCE
from dedupe.stages.copies import count_copies
from dedupe.stages.verify import Members, ShingleSets, decide
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.group import GroupResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.verify import members_of, sets_of
from dedupe.threads import Helpers

STAGE = "sweep"
SEED = 1
"""Of the numbers by which pairs are drawn."""


@dataclass(frozen=True, kw_only=True)
class SweepResult(TaskResult):
    """What a task found.

    dropped: rows of the corpus that are dropped at each threshold. clusters: kept rows for which
    others are duplicates, at each. largest: rows of the largest cluster, at each. stays: rows that
    the next threshold keeps and this one drops; goes: the other way round; for each threshold but
    the last. moved: for each of these some of both, as [number by which it was drawn, position of
    the row, position of its witness, their similarity in each field, whether the higher threshold
    keeps it].
    """

    dropped: list[int]
    clusters: list[int]
    largest: list[int]
    stays: list[int]
    goes: list[int]
    moved: list[list[list[Any]]]


class _Decided(NamedTuple):
    """The rows of the corpus at one threshold, by position: all arrays are of the same rows.

    position, witness: int64. jaccard: float64[rows, fields]. dropped: bool. clusters: how many
    there are. largest: rows of the largest.
    """

    position: Array
    witness: Array
    jaccard: Array
    dropped: Array
    clusters: int
    largest: int


def sweep_task(
    job: Job,
    positions: Positions,
    grouped: Mapping[int, GroupResult],
    fetched: Left,
    thresholds: Sequence[float],
    pairs: int,
    partition: int,
) -> SweepResult:
    """Decide the rows of a partition of components at each threshold; leaves no files.

    job: of the run at the lowest threshold. positions: where its rows are. grouped: results of
    group. fetched: the files of each fetch task. thresholds: ascending. pairs: of a threshold and
    the next, how many that change sides are told. partition: of components.
    """
    members = members_of(job, positions, grouped[partition], partition)
    found: list[_Decided] = []
    told: list[list[list[Any]]] = []
    stays: list[int] = []
    goes: list[int] = []
    with (
        sets_of(job, positions, grouped[partition], fetched, partition) as sets,
        Helpers(job.sizes.threads) as helpers,
    ):
        rows = Members.of(job.settings, members, sets, positions.rows, positions.own_rows)
        for threshold in thresholds:
            settings = replace(job.settings, threshold=threshold)
            found.append(
                _decided(settings, rows, sets, job.sizes.sets, helpers.spread, positions.own_rows)
            )
            if len(found) > 1:
                lower, higher = found[-2:]
                stays.append(int(np.count_nonzero(lower.dropped & ~higher.dropped)))
                goes.append(int(np.count_nonzero(~lower.dropped & higher.dropped)))
                told.append(_moved(lower, higher, pairs))
                found[-2] = _without_rows(lower)
    return SweepResult(
        rows=members.num_rows,
        files={},
        cpu_seconds=helpers.cpu_seconds,
        dropped=[int(np.count_nonzero(one.dropped)) for one in found],
        clusters=[one.clusters for one in found],
        largest=[one.largest for one in found],
        stays=stays,
        goes=goes,
        moved=told,
    )


def _without_rows(found: _Decided) -> _Decided:
    """What is counted of a threshold that is past, so that memory holds two of them."""
    none = np.zeros(0, np.int64)
    return found._replace(position=none, witness=none, jaccard=none)


def _decided(
    settings: Settings,
    rows: Members,
    sets: ShingleSets,
    counter_bytes: int,
    spread: Spread,
    own_rows: int,
) -> _Decided:
    verified = decide(settings, rows, sets, counter_bytes, spread, says_lost=False)
    decisions = verified.decisions
    if settings.keeps_extras:
        places = verified.places, verified.witnesses
        decisions = count_copies(settings, decisions, rows.members, *places, own_rows)
    position, witness, reason = (
        numbers(decisions.column(name)) for name in ("position", "witness", "reason")
    )
    names = [name for name in decisions.schema.names if name.startswith("jaccard_")] or ["jaccard"]
    has_witness = witness != position
    sizes = np.unique(witness[has_witness & (reason != REFERENCE)], return_counts=True)[1]
    return _Decided(
        position,
        witness,
        np.stack([numbers(decisions.column(name)) for name in names], axis=1),
        has_witness & (reason != EXTRA),
        len(sizes),
        int(sizes.max(initial=0)) + bool(len(sizes)),
    )


def _moved(lower: _Decided, higher: _Decided, count: int) -> list[list[Any]]:
    """Some rows that only one of two thresholds drops, each with its witness there."""
    rows = np.flatnonzero(lower.dropped != higher.dropped)
    mixed = mixed_rows(lower.position[rows], 0, SEED)
    order = np.argsort(mixed)[:count]
    found = []
    for row, drawn in zip(rows[order].tolist(), mixed[order].tolist(), strict=True):
        where = lower if lower.dropped[row] else higher
        found.append(
            [
                drawn,
                int(where.position[row]),
                int(where.witness[row]),
                where.jaccard[row].tolist(),
                bool(lower.dropped[row]),
            ]
        )
    return found
