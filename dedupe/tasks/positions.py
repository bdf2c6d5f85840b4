"""Where the rows of a run are: known once sign has counted them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, as_type
from dedupe.corpus import SliceReader
from dedupe.errors import IntegrityError
from dedupe.planning.sizes import Merge, pack
from dedupe.stages.sign import Sources, merged_sources, rows_schema
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import ADMITTED, ROWS, Artifact
from dedupe.tasks.job import Job, compared_of
from dedupe.tasks.sign import SignResult


@dataclass(frozen=True)
class Positions:
    """Positions at which tasks, slices and shards start, each with the end; int64.

    task_starts: of each sign task. slice_starts: of each slice of each sign task. shard_starts: of
    each shard. own_rows: rows of the corpus; those of references have the positions behind them.
    own_tasks: the sign tasks of the corpus. slices_of: for each shard its slices in order, as
    (task, number in the task). keep_shards: the first shard of each keep task, with the end.
    blocks: the first sign task of each block of the exact join, with the end; empty without it.
    shingles: in all rows. signed: the files of each sign task. id_types: the type of ids in each
    sign task's file, None without ids; id_type: the same in keep-lists. sources: see `SignResult`,
    of the whole corpus. admitted: the sign tasks of an index.
    """

    task_starts: Array
    slice_starts: list[Array]
    shard_starts: Array
    own_rows: int
    own_tasks: list[int]
    slices_of: list[list[tuple[int, int]]]
    keep_shards: list[int]
    blocks: list[int]
    shingles: int
    signed: dict[int, Mapping[str, WrittenFile]]
    id_types: list[pa.DataType | None]
    id_type: pa.DataType | None
    sources: Sources | None
    admitted: range

    @classmethod
    def of(cls, job: Job, signed: Mapping[int, SignResult]) -> Positions:
        """From the row counts that sign left."""
        task_starts = np.zeros(len(job.tasks) + 1, np.int64)
        shard_rows = np.zeros(len(job.shards), np.int64)
        slice_starts = []
        slices_of: list[list[tuple[int, int]]] = [[] for _ in job.shards]
        for task, slices in enumerate(job.tasks):
            counts = signed[task].slices
            starts = task_starts[task] + np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            slice_starts.append(starts)
            task_starts[task + 1] = starts[-1]
            for number, (part, count) in enumerate(zip(slices, counts, strict=True)):
                shard_rows[part.shard] += count
                slices_of[part.shard].append((task, number))
        shard_starts = np.concatenate([[0], np.cumsum(shard_rows)]).astype(np.int64)
        if shard_starts[-1] != task_starts[-1]:
            raise IntegrityError(f"{task_starts[-1]} rows signed, {shard_starts[-1]} in shards")
        in_order = [signed[task] for task in range(len(job.tasks))]
        own_tasks = [task for task in range(len(job.tasks)) if not job.is_of_references(task)]
        of_corpus = [signed[task] for task in own_tasks]
        id_types = [result.type_of_ids for result in in_order]
        valued = [result.type_of_ids for result in of_corpus if "id" in result.types]
        no_values = None if job.settings.id is None else pa.null()
        return cls(
            task_starts=task_starts,
            slice_starts=slice_starts,
            shard_starts=shard_starts,
            own_rows=int(shard_starts[job.own_shards]),
            own_tasks=own_tasks,
            slices_of=slices_of,
            keep_shards=_keep_shards(job, shard_starts),
            blocks=_blocks(job, signed) if job.settings.joined else [],
            shingles=sum(result.shingles for result in in_order),
            signed={task: signed[task].files for task in range(len(job.tasks))},
            id_types=id_types,
            id_type=valued[0] if valued else no_values,
            sources=merged_sources(result.sources_by_digest for result in of_corpus),
            admitted=range(len(own_tasks), len(job.tasks) if job.earlier is not None else 0),
        )

    @property
    def rows(self) -> int:
        """Rows in the corpus and in references."""
        return int(self.task_starts[-1])

    @property
    def joins(self) -> int:
        """Number of join tasks."""
        return max(len(self.blocks) - 1, 0)

    @property
    def keep_tasks(self) -> int:
        """Number of keep tasks."""
        return len(self.keep_shards) - 1

    @property
    def keep_starts(self) -> Array:
        """Positions at which keep tasks start, with the end."""
        starts: Array = self.shard_starts[self.keep_shards]
        return starts

    @cached_property
    def filled(self) -> list[int]:
        """Every sign task that has rows."""
        tasks: list[int] = np.flatnonzero(np.diff(self.task_starts)).tolist()
        return tasks

    @cached_property
    def keyed(self) -> list[int]:
        """Those of them whose rows have keys: rows of an index have none."""
        return [task for task in self.filled if task not in self.admitted]

    def rows_in(self, task: int) -> int:
        """Rows of a sign task."""
        return int(self.task_starts[task + 1] - self.task_starts[task])

    def reader(self, job: Job, task: int | None, batch_bytes: int) -> SliceReader:
        """Reads the documents of rows at given positions, and the columns of `--within`.

        job: of the run. task: the sign task that has the rows, None for all of them. batch_bytes:
        of text in a batch, about.
        """
        tasks = range(len(job.tasks)) if task is None else (task,)
        slices = [part for number in tasks for part in job.tasks[number]]
        starts = [self.slice_starts[number][:-1] for number in tasks]
        end = self.rows if task is None else int(self.task_starts[task + 1])
        bounds = np.concatenate([*starts, np.array([end])])
        projections = compared_of(job.documents, job.settings)
        return SliceReader(job.shards, slices, bounds, projections, batch_bytes)

    def merges(self, job: Job) -> list[Merge]:
        """The components tree."""
        keys = job.sizes.key_partitions
        connects = keys if job.earlier is not None and job.settings.keyed else 0
        return job.planner.merge_tree(keys, self.joins, connects)

    def batches(
        self,
        job: Job,
        artifact: Artifact,
        files: Mapping[int, Mapping[str, WrittenFile]],
        number: int,
        columns: pa.Schema | None = None,
        *,
        tasks: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """What each sign task with rows has for one task of another stage.

        job: of the run. artifact: what is read. files: of each sign task. number: of the record
        batch. columns: see `Artifact.read`. tasks: of which sign tasks; None for all that have
        rows. Yields the first position of each with its record batch.
        """
        wanted = self.filled if tasks is None else tasks
        chosen = {task: files[task] for task in wanted}
        batches = artifact.read(job.work, chosen, number, columns)
        yield from zip(self.task_starts[list(wanted)].tolist(), batches, strict=True)

    def signed_rows(self, job: Job, task: int) -> pa.RecordBatch:
        """What sign knows of the rows of a task: see `schema.ROWS`.

        Ids have one type in a run: those of references that are of another type are null.
        """
        columns = rows_schema(
            job.settings, len(job.carried), self.id_types[task], sketched=job.sketched
        )
        known = ADMITTED if task in self.admitted else ROWS
        (rows,) = known.read(job.work, {task: self.signed[task]}, 0, columns)
        if rows.num_rows != self.rows_in(task):
            raise IntegrityError(f"sign task {task} has other rows than it counted")
        if self.id_type is not None:
            at = rows.schema.get_field_index("id")
            ids = rows.column(at)
            is_other = job.is_of_references(task) and ids.type != self.id_type
            ids = pa.nulls(len(ids), self.id_type) if is_other else as_type(ids, self.id_type)
            rows = rows.set_column(at, pa.field("id", self.id_type), ids)
        return rows

    def columns_of_rows(self, job: Job) -> pa.Schema:
        """The schema of `signed_rows`."""
        return rows_schema(job.settings, len(job.carried), self.id_type, sketched=job.sketched)


def _keep_shards(job: Job, shard_starts: Array) -> list[int]:
    tuning = job.planner.tuning
    shards = job.own_shards
    per_task = max(tuning.keep_rows, int(shard_starts[shards]) // tuning.most_tasks)
    least = max(tuning.keep_rows // tuning.keep_shards, 1)
    sizes = np.maximum(np.diff(shard_starts[: shards + 1]), least).tolist()
    groups = pack(range(shards), sizes, per_task)
    return [group[0] for group in groups] + [shards]


def _blocks(job: Job, signed: Mapping[int, SignResult]) -> list[int]:
    threshold = job.settings.threshold
    weights = [
        job.planner.costs.join_bytes(signed[task].shingles, signed[task].rows, threshold)
        for task in range(len(job.tasks))
    ]
    return job.planner.join_blocks(job.sizes, weights)
