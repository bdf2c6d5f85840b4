"""bucket: band keys to edges between rows that share one. One task for a partition of the keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dedupe.arrays import Array, band_keys, numbers, taken
from dedupe.stages.bucket import EXAMPLES, RepeatedIds, bucket, repeated_ids
from dedupe.tasks.artifacts import BANDS, BUCKET_EDGES, ID_DIGESTS, Left, TaskResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.sign import SignResult
from dedupe.tasks.unlinked import linked_of


@dataclass(frozen=True, kw_only=True)
class BucketResult(TaskResult):
    """What a bucket task counted.

    edges: edges that it left. largest_bucket: rows in the largest bucket. repeated_ids: rows whose
    id an earlier row has. repeated_examples: positions of the first of them, each after that of the
    earlier row.
    """

    edges: int
    largest_bucket: int
    repeated_ids: int
    repeated_examples: list[Any]


def bucket_task(
    job: Job, positions: Positions, partition: int, unlinked: Left | None = None
) -> BucketResult:
    """Group the band records of a partition; leaves `BUCKET_EDGES`.

    job: of the run. positions: where its rows are. partition: of the band keys. unlinked: see
    `linked_of`.
    """
    keys, rows = [], []
    keyed = positions.keyed
    records_of = positions.batches(job, BANDS, positions.signed, partition, tasks=keyed)
    for task, (first, records) in zip(keyed, records_of, strict=True):
        if unlinked is not None:
            linked = linked_of(job.work, unlinked, task, positions.rows_in(task))
            records = taken(records, linked[numbers(records.column("row"))])
        keys.append(band_keys(*records.columns[:2]))
        rows.append(numbers(records.column("row")).astype(np.int64) + first)
    buckets = bucket(keys, rows, job.sizes.key_partitions, positions.rows)
    most = job.planner.tuning.edge_batch
    edges = (buckets.edges.slice(at, most) for at in range(0, buckets.edges.num_rows, most))
    files = BUCKET_EDGES.write(job.work, partition, edges)
    repeated = _repeated_ids(job, positions, partition)
    return BucketResult(
        rows=0,
        files=files,
        edges=buckets.edges.num_rows,
        largest_bucket=buckets.largest,
        repeated_ids=repeated.count,
        repeated_examples=repeated.examples,
    )


def _repeated_ids(job: Job, positions: Positions, partition: int) -> RepeatedIds:
    if job.settings.id is None:
        return RepeatedIds(0, [])
    columns: list[list[Array]] = [[], [], []]
    found = positions.batches(job, ID_DIGESTS, positions.signed, partition, tasks=positions.keyed)
    for first, records in found:
        low, high, rows = map(numbers, records.columns)
        for column, values in zip(columns, (low, high, rows.astype(np.int64) + first), strict=True):
            column.append(values)
    none = np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
    low, high, rows = (np.concatenate([*c, zero]) for c, zero in zip(columns, none, strict=True))
    own = rows < positions.own_rows
    return repeated_ids(low[own], high[own], rows[own], positions.own_rows)


def id_report(
    job: Job,
    positions: Positions,
    signed: Mapping[int, SignResult],
    buckets: Mapping[int, BucketResult],
) -> dict[str, Any] | None:
    """What summary.json says of ids: rows without one, rows whose id an earlier row has, examples.

    job: of the run. positions: where its rows are. signed, buckets: results of these stages.
    Returns None where the run has no id column.
    """
    if job.settings.id is None:
        return None
    pairs = [tuple(pair) for result in buckets.values() for pair in result.repeated_examples]
    examples = []
    for pair in sorted(pairs)[:EXAMPLES]:
        task = int(np.searchsorted(positions.task_starts, pair[0], side="right")) - 1
        ids = positions.signed_rows(job, task).column("id")
        rows = [
            [job.shards[shard].path, position - int(positions.shard_starts[shard])]
            for position in pair
            for shard in [int(np.searchsorted(positions.shard_starts, position, side="right")) - 1]
        ]
        examples.append({"id": str(ids[pair[0] - int(positions.task_starts[task])]), "rows": rows})
    return {
        "missing": sum(signed[task].missing_ids for task in positions.own_tasks),
        "repeated": sum(result.repeated_ids for result in buckets.values()),
        "examples": examples,
    }
