"""verify: components to decisions, each drop with its witness. One task for a partition of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa

from dedupe import schema
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

LARGEST = 20
"""Clusters of a task that are told."""


@dataclass(frozen=True, kw_only=True)
class VerifyResult(TaskResult):
    """What a verify task counted.

    compared: pairs whose sets were looked at. largest: of the largest clusters, the position of the
    kept row and how many rows were dropped because of it. sizes: how many clusters there are for
    each of `schema.CLUSTER_BINS`.
    """

    compared: int
    largest: list[list[int]]
    sizes: list[int]


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
    mine, fields = grouped[partition], job.fields
    (members,) = MEMBERS.read(job.work, {partition: mine.files}, 0, columns)
    with job.work.files.spool() as one, job.work.files.spool() as other:
        of_tasks = positions.batches(job, SETS, fetched, partition, schema.sets(fields))
        most = mine.set_hashes
        is_spooled = most * job.planner.costs.shingle_hash > 2 * job.sizes.sets
        spools = (one, other) if is_spooled else (None, None)
        sets = _read_sets(of_tasks, fields, most, *spools)
        verified = verify(job.settings, members, sets, job.sizes.sets, positions.rows)
    decisions = verified.decisions
    batches = cut_decisions(decisions, positions.keep_starts)
    files = DECISIONS.write(job.work, partition, batches, decisions.schema)
    kept, dropped = _clusters(decisions)
    return VerifyResult(
        rows=members.num_rows,
        files=files,
        compared=verified.compared,
        largest=_largest(kept, dropped),
        sizes=_sizes(dropped),
    )


def _clusters(decisions: pa.RecordBatch) -> tuple[Array, Array]:
    """The position of each kept row of a cluster, and how many rows were dropped because of it."""
    positions, witness = (numbers(decisions.column(name)) for name in ("position", "witness"))
    kept, dropped = np.unique(witness[witness != positions], return_counts=True)
    return kept, dropped


def _largest(kept: Array, dropped: Array) -> list[list[int]]:
    order = np.lexsort((kept, -dropped))[:LARGEST]
    return list(map(list, zip(kept[order].tolist(), dropped[order].tolist(), strict=True)))


def _sizes(dropped: Array) -> list[int]:
    bins = np.searchsorted(schema.CLUSTER_BINS, dropped + 1, side="right") - 1
    sizes: list[int] = np.bincount(bins, minlength=len(schema.CLUSTER_BINS)).tolist()
    return sizes


def _read_sets(
    batches: Iterable[tuple[int, pa.RecordBatch]],
    fields: int,
    most: int,
    hash_spool: IO[bytes] | None,
    repeat_spool: IO[bytes] | None,
) -> ShingleSets:
    """The shingle sets of a partition from all tasks, of at most `most` shingles, repeats included.

    batches: of each task, with the position of its first row. Those of a component too large for
    memory are spooled to two files and mapped.
    """
    hashes = _Gathered(np.uint64, most, hash_spool)
    repeats = _Gathered(np.uint32, 2 * most, repeat_spool)
    rows = [np.zeros(0, np.int64)]
    sizes, words, repeat_sizes = ([np.zeros(0, np.uint32)] for _ in range(3))
    for first, batch in batches:
        rows.append(numbers(batch.column("row")).astype(np.int64) + first)
        words.append(_of_fields(batch, "words", fields))
        sizes.append(_of_fields(batch, "sizes", fields))
        repeat_sizes.append(_of_fields(batch, "repeat_sizes", fields))
        hashes.add(_flat(batch.column("hashes"), sizes[-1], fields))
        repeats.add(_flat(batch.column("repeats"), repeat_sizes[-1], fields))
        if hashes.size + repeats.size // 2 > most:
            raise IntegrityError(f"verify was handed more than {most} shingles")
    return ShingleSets(
        fields,
        np.concatenate(rows),
        _offsets(sizes),
        hashes.values(),
        np.concatenate(words),
        _offsets(repeat_sizes),
        repeats.values(),
    )


def _of_fields(batch: pa.RecordBatch, name: str, fields: int) -> Array:
    """A column with a number for each field of a row, flat: a copy, as a view holds the batch."""
    values = numbers(batch.column(name).flatten()).copy()
    if len(values) != batch.num_rows * fields:
        raise IntegrityError(f"verify was handed shingle sets without {name} of each field")
    return values


def _flat(lists: pa.Array, sizes: Array, fields: int) -> Array:
    """The values of lists of which each has so many for each field."""
    of_rows = sizes.reshape(-1, fields).sum(axis=1, dtype=np.int64)
    if lists.null_count or not np.array_equal(np.diff(numbers(lists.offsets)), of_rows):
        raise IntegrityError("verify was handed shingle sets of other sizes than it was told")
    return numbers(lists.flatten())


def _offsets(sizes: list[Array]) -> Array:
    """Where lists of these sizes start that lie end to end, with the end: int64."""
    offsets: Array = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]), dtype=np.int64)
    return offsets


class _Gathered:
    """Numbers that arrive some at a time: in memory, or in a file."""

    def __init__(self, kind: type[np.generic], most: int, spool: IO[bytes] | None) -> None:
        self._kind, self._spool = kind, spool
        self._held: Array = np.empty(0 if spool else most, kind)
        self.size = 0

    def add(self, values: Array) -> None:
        """Take more numbers. Raises IntegrityError if there are more than were expected."""
        if self._spool:
            values.tofile(self._spool)
        elif self.size + len(values) > len(self._held):
            raise IntegrityError(f"verify was handed more than {len(self._held)} numbers of sets")
        else:
            self._held[self.size : self.size + len(values)] = values
        self.size += len(values)

    def values(self) -> Array:
        """All of them; those in a file are mapped."""
        if self._spool and self.size:
            self._spool.flush()
            return np.memmap(self._spool, self._kind, "r")
        return self._held[: self.size]
