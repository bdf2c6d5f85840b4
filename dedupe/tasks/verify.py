"""verify: components to decisions, each drop with its witness. One task for a partition of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
import pyarrow as pa

from dedupe import schema
from dedupe.arrays import Array, numbers
from dedupe.errors import IntegrityError
from dedupe.schema import MEMBERS as MEMBER_COLUMNS
from dedupe.schema import with_echo, with_id
from dedupe.stages.copies import count_copies
from dedupe.stages.effects import Drops
from dedupe.stages.verify import ShingleSets, cut_decisions, verify
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import DECISIONS, LATE, MEMBERS, SETS, TaskResult
from dedupe.tasks.group import GroupResult
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.threads import Helpers


@dataclass(frozen=True, kw_only=True)
class VerifyResult(TaskResult):
    """What a verify task counted.

    references: rows of references among those that the task went through; they are not decided.
    compared: pairs whose sets were looked at. largest: of the largest clusters, the position of the
    kept row and how many rows were dropped because of it. sizes: how many clusters there are for
    each of `schema.CLUSTER_BINS`, rows that stay beside the kept row included. differing: in how
    many dropped rows each of the columns in `Settings.carried` differs from that of the witness.
    eaten: clusters that took much of a source: its number in `Positions.sources`, or that of the
    shard, the position of the kept row, and how many rows of the source were dropped because of it.
    late: pairs of rows of an index that are similar, and were not known to be.
    """

    references: int
    compared: int
    largest: list[list[int]]
    sizes: list[int]
    differing: list[int]
    eaten: list[list[int]]
    late: int = 0


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
    carried = len(job.carried)
    members = members_of(job, positions, grouped[partition], partition)
    with (
        sets_of(job, positions, grouped[partition], fetched, partition) as sets,
        Helpers(job.sizes.threads) as helpers,
    ):
        verified = verify(
            job.settings,
            members,
            sets,
            job.sizes.sets,
            positions.rows,
            positions.own_rows,
            helpers.spread,
            earlier=job.echoes,
        )
    decisions = count_copies(
        job.settings,
        verified.decisions,
        members,
        verified.places,
        verified.witnesses,
        positions.own_rows,
    )
    batches = cut_decisions(decisions, positions.keep_starts)
    files = DECISIONS.write(job.work, partition, batches, decisions.schema)
    if job.earlier is not None:
        files |= LATE.write(job.work, partition, [verified.late])
    drops = Drops(decisions, positions.own_rows)
    others = _others(members, carried)[verified.places]
    return VerifyResult(
        rows=members.num_rows,
        files=files,
        cpu_seconds=helpers.cpu_seconds,
        references=members.num_rows - decisions.num_rows,
        compared=verified.compared,
        largest=drops.largest(),
        sizes=drops.sizes(),
        differing=drops.differing(others),
        eaten=_eaten(job, positions, drops, others),
        late=verified.late.num_rows,
    )


def members_of(
    job: Job, positions: Positions, grouped: GroupResult, partition: int
) -> pa.RecordBatch:
    """The rows of a partition of components: see `schema.MEMBERS`.

    job: of the run. positions: where its rows are. grouped: what group left of the partition.
    partition: its number.
    """
    columns = schema.with_others(MEMBER_COLUMNS, len(job.carried))
    columns = schema.with_values(columns, len(job.settings.told_apart))
    columns = with_id(columns, "id", positions.id_type)
    columns = with_echo(columns, echoes=job.echoes)
    (members,) = MEMBERS.read(job.work, {partition: grouped.files}, 0, columns)
    return members


@contextmanager
def sets_of(
    job: Job,
    positions: Positions,
    grouped: GroupResult,
    fetched: Mapping[int, Mapping[str, WrittenFile]],
    partition: int,
) -> Iterator[ShingleSets]:
    """The shingle sets of a partition of components, for as long as the context lasts.

    job: of the run. positions: where its rows are. grouped: what group left of the partition.
    fetched: the files of each fetch task. partition: its number.
    """
    with job.work.files.spool() as one, job.work.files.spool() as other:
        of_tasks = positions.batches(job, SETS, fetched, partition, schema.sets(job.fields))
        most = grouped.set_hashes
        is_spooled = most * job.planner.costs.shingle_hash > 2 * job.sizes.sets
        spools = (one, other) if is_spooled else (None, None)
        yield _read_sets(of_tasks, job.fields, most, *spools)


def _others(members: pa.RecordBatch, carried: int) -> Array:
    """The digests of other columns of each row: uint32[rows, columns]."""
    if not carried:
        return np.zeros((members.num_rows, 0), np.uint32)
    return numbers(members.column("others").flatten()).reshape(members.num_rows, carried)


def _eaten(job: Job, positions: Positions, drops: Drops, others: Array) -> list[list[int]]:
    """See `VerifyResult`."""
    column = job.settings.source(job.document)
    if column is not None and positions.sources is not None:
        sources = positions.sources
        digests = np.array(list(sources), np.uint32)
        order = np.argsort(digests)
        of_rows = others[:, job.carried.index(column)]
        source = order[np.searchsorted(digests, of_rows, sorter=order)]
        return drops.eaten(source, np.array([rows for rows, _ in sources.values()]))
    starts = positions.shard_starts[: job.own_shards + 1]
    if len(starts) == 2:
        return []
    source = np.searchsorted(starts, drops.positions, side="right") - 1
    return drops.eaten(source, np.diff(starts))


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
