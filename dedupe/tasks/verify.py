"""verify: components to decisions, each drop with its witness. One task for a partition of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from dedupe.arrays import Array, numbers
from dedupe.errors import IntegrityError
from dedupe.schema import MEMBERS as MEMBER_COLUMNS
from dedupe.schema import with_id
from dedupe.stages.verify import ShingleSets, cut_decisions, verify
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import DECISIONS, MEMBERS, SETS, TaskResult
from dedupe.tasks.group import GroupResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions


@dataclass(frozen=True, kw_only=True)
class VerifyResult(TaskResult):
    """What a verify task counted; compared: pairs whose sets were looked at."""

    compared: int


def verify_task(
    job: Job,
    positions: Positions,
    grouped: Mapping[int, GroupResult],
    fetched: Mapping[int, Mapping[str, WrittenFile]],
    partition: int,
) -> VerifyResult:
    """Decide the rows of a partition of components; leaves `DECISIONS`.

    job: of the run. positions: where its rows are. grouped: results of group. fetched: the files of
    each fetch task. partition: of components.
    """
    columns = with_id(MEMBER_COLUMNS, "id", positions.id_type)
    mine = grouped[partition]
    (members,) = MEMBERS.read(job.work, {partition: mine.files}, 0, columns)
    with job.work.files.spool() as spool:
        sets = _read_sets(job, positions, fetched, partition, mine.set_hashes, spool)
        verified = verify(job.settings, members, sets, job.sizes.sets, positions.rows)
    decisions = verified.decisions
    batches = cut_decisions(decisions, positions.keep_starts)
    files = DECISIONS.write(job.work, partition, batches, decisions.schema)
    return VerifyResult(rows=members.num_rows, files=files, compared=verified.compared)


def _read_sets(
    job: Job,
    positions: Positions,
    fetched: Mapping[int, Mapping[str, WrittenFile]],
    partition: int,
    most: int,
    spool: IO[bytes],
) -> ShingleSets:
    """The shingle sets of a partition from all tasks, of at most `most` hashes.

    Those of a component too large for memory are spooled to a file and mapped.
    """
    spooled = most * job.planner.costs.shingle_hash > 2 * job.sizes.sets
    hashes = np.empty(0 if spooled else most, np.uint64)
    rows, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    at = 0
    for first, batch in positions.batches(job, SETS, fetched, partition):
        lists = batch.column("hashes")
        values = numbers(lists.flatten())
        if at + len(values) > most:
            raise IntegrityError(f"more than {most} shingle hashes in partition {partition}")
        if spooled:
            values.tofile(spool)
        else:
            hashes[at : at + len(values)] = values
        at += len(values)
        rows.append(numbers(batch.column("row")).astype(np.int64) + first)
        sizes.append(np.diff(numbers(lists.offsets)))
    if spooled and at:
        spool.flush()
        hashes = np.memmap(spool, np.uint64, "r")
    offsets: Array = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
    return ShingleSets(np.concatenate(rows), offsets, hashes[:at])
