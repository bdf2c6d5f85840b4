"""pairs: the edges of one partition of components: rows with their witnesses, and similar pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe import schema
from dedupe.arrays import Array, numbers, slices
from dedupe.commands.edges.similar import Component, SimilarPairs, similar_pairs
from dedupe.stages.components import ComponentFinder
from dedupe.tasks.artifacts import DECISIONS, Artifact, Left, TaskResult
from dedupe.tasks.group import GroupResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.verify import VerifyResult, members_of, sets_of

STAGE = "pairs"
NO_REASON = 255
"""In place of the code of a reason: neither row was dropped because of the other."""
MOST_TOLD = 1000
"""Components with too many pairs that are named."""

PAIRS = Artifact(
    STAGE,
    "edges",
    pa.schema(
        [
            ("left", pa.int64()),
            ("right", pa.int64()),
            ("reason", pa.uint8()),
            ("component", pa.int64()),
            ("jaccard", pa.float64()),
        ]
    ),
    "one for each keep task, with the edges whose left row it has",
    {
        "left": "position of a row of the corpus",
        "right": "position of its witness, or of a row that it is like",
        "reason": "code of the reason of the left row; 255 where the right one is no witness",
        "component": "the first position of a row without witness among those that edges connect",
        "jaccard": "their similarity, the least of all fields",
    },
    {
        "jaccard_0, jaccard_1, …": ("double", "similarity in each field, where there are several"),
        "left_id, right_id": ("as in the corpus", "their ids; with `--id` only"),
    },
)


@dataclass(frozen=True)
class Asked:
    """Which pairs are looked for.

    least: Jaccard similarity that each field has. most: pairs of one component.
    """

    least: float
    most: int


@dataclass(frozen=True, kw_only=True)
class PairsResult(TaskResult):
    """What a task found.

    drops: rows with their witnesses. pairs: other pairs. cut: components that have more than these.
    examples: the first of them, as the column `component` names them.
    """

    drops: int
    pairs: int
    cut: int
    examples: list[int]


def pairs_schema(job: Job, positions: Positions) -> pa.Schema:
    """The columns of `PAIRS` in a run.

    job: of the run. positions: where its rows are.
    """
    fields = range(job.fields) if job.fields > 1 else ()
    columns = [*PAIRS.columns, *((schema.field_name(one), pa.float64()) for one in fields)]
    kind = positions.id_type
    ids = [] if kind is None else [("left_id", kind), ("right_id", kind)]
    return pa.schema([*columns, *ids])


def pairs_task(
    job: Job,
    positions: Positions,
    grouped: Mapping[int, GroupResult],
    fetched: Left,
    verified: Mapping[int, VerifyResult],
    asked: Asked,
    partition: int,
) -> PairsResult:
    """Find the edges of a partition of components; leaves `PAIRS`.

    job: of the run. positions: where its rows are. grouped, verified: results of these stages.
    fetched: the files of each fetch task. asked: which pairs. partition: of components.
    """
    members = members_of(job, positions, grouped[partition], partition)
    position, component, group = (
        numbers(members.column(name)) for name in ("position", "component", "group")
    )
    decided = _decisions(job, positions, verified[partition], partition)
    witness = position.copy()
    place = np.argsort(position)
    at = place[np.searchsorted(position[place], numbers(decided["position"]))]
    witness[at] = numbers(decided["witness"])
    costs = job.planner.costs
    room = costs.join_room(job.sizes.sets, asked.least)
    with sets_of(job, positions, grouped[partition], fetched, partition) as sets:
        found = similar_pairs(
            Component(position, component, group, witness, positions.own_rows),
            sets,
            asked.least,
            asked.most,
            lambda shingles, rows: costs.join_bytes(shingles, rows, asked.least) <= room,
        )
    drops = decided.filter(pa.array(numbers(decided["witness"]) != numbers(decided["position"])))
    edges = _edges(drops, found, job.fields, positions.own_rows)
    left, right = (place[np.searchsorted(position[place], edges[side])] for side in (0, 1))
    names = _names(position, witness, left, right)
    columns = [pa.array(column) for column in (*edges[:3], names[left], *edges[3:])]
    if positions.id_type is not None:
        columns += [members.column("id").take(pa.array(side)) for side in (left, right)]
    batch = pa.RecordBatch.from_arrays(columns, schema=pairs_schema(job, positions))
    batch = batch.take(pa.array(np.lexsort((edges[1], edges[0]))))
    bounds = np.searchsorted(numbers(batch.column("left")), positions.keep_starts)
    firsts = np.searchsorted(found.component, found.cut)
    cut = place[np.searchsorted(position[place], found.later[firsts])]
    return PairsResult(
        rows=members.num_rows,
        files=PAIRS.write(job.work, partition, slices(batch, bounds), batch.schema),
        drops=len(drops),
        pairs=len(found.later),
        cut=len(found.cut),
        examples=sorted(names[cut].tolist())[:MOST_TOLD],
    )


def _decisions(job: Job, positions: Positions, verified: VerifyResult, partition: int) -> pa.Table:
    """The decisions on the rows of a partition."""
    columns = schema.with_id(schema.decisions(job.fields), "witness_id", positions.id_type)
    columns = schema.counted(columns, counts_values=job.settings.count_by is not None)
    batches = DECISIONS.read(job.work, {partition: verified.files}, None, columns)
    return pa.Table.from_batches(batches, schema=columns).combine_chunks()


def _edges(drops: pa.Table, found: SimilarPairs, fields: int, own_rows: int) -> list[Array]:
    """Left, right, reason and similarities of dropped rows, and then of pairs."""
    is_own = found.later < own_rows  # a row of the corpus is left, as dropped ones are
    left = np.where(is_own, found.later, found.earlier)
    right = np.where(is_own, found.earlier, found.later)
    of_fields = list(found.jaccard.T) if fields > 1 else []
    pairs = [left, right, np.full(len(left), NO_REASON, np.uint8)]
    pairs += [found.jaccard.min(axis=1), *of_fields]
    names = ["position", "witness", "reason", "jaccard"]
    names += [schema.field_name(one) for one in range(fields)] if fields > 1 else []
    return [
        np.concatenate([numbers(drops[name]), column])
        for name, column in zip(names, pairs, strict=True)
    ]


def _names(position: Array, witness: Array, left: Array, right: Array) -> Array:
    """The name of the component of each member: see `PAIRS`; -1 of one without edges.

    position, witness: int64, of each member. left, right: int64, members that an edge connects.
    """
    edges = pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=schema.EDGES)
    finder = ComponentFinder(len(position))
    finder.mark(edges)
    finder.connect([edges])
    (labels,) = finder.labels(np.array([0, len(position)]))
    members = numbers(labels.column("row")).astype(np.int64)
    label = numbers(labels.column("component"))
    first = np.full(int(label.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    alone = witness[members] == position[members]
    np.minimum.at(first, label[alone], position[members[alone]])
    names = np.full(len(position), -1)
    names[members] = first[label]
    return names
