"""sign: documents to digests and band keys. One task for some slices of shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, valid_bytes
from dedupe.corpus import KeptShard, first_row, read_slice
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import RowError
from dedupe.stages.sign import (
    MalformedTextError,
    Signed,
    Signer,
    Sources,
    band_batches,
    id_batches,
    merged_sources,
    rows_batch,
)
from dedupe.storage.spill import SpillBuffer
from dedupe.storage.tables import WrittenFile, schema_as_text, schema_from_text
from dedupe.tasks.artifacts import BANDS, CONTAMINATED, ID_DIGESTS, ROWS, TaskResult
from dedupe.tasks.bad_files import BadFileError, leaving_out
from dedupe.tasks.job import ColumnTypes, Job

MOST_EXAMPLES = 10
"""Rows that could not be read, of which a task tells where and why."""


@dataclass(frozen=True, kw_only=True)
class SignResult(TaskResult):
    """What a sign task counted.

    slices: rows of each slice. types: for each column with values, by its role, its types, each
    with a shard that has it. shingles: shingles of all rows, repeated ones counted. text_bytes:
    bytes of all documents. replaced: rows with malformed text. missing_ids: rows without an id.
    unreadable: rows that could not be read and were left out. unread_examples: the first of these,
    each as the number of the slice in the task, that of the row in the slice, and the reason.
    bad_files: files that could not be read, by path, with the reason; the task is then as if it had
    not been run.
    preferred: for each policy that prefers values how many rows have each, and any other. unfit:
    numbers of the columns in `Settings.carried` that cannot be told. sources: the rows of each
    source and what it is called, by its digest; None where there are too many or none. ids: the
    type of the ids, as an Arrow schema message in base64; None without ids.
    """

    slices: list[int]
    types: ColumnTypes
    shingles: int
    text_bytes: int
    replaced: int
    missing_ids: int
    unreadable: int
    unread_examples: list[list[Any]]
    preferred: dict[str, list[int]]
    unfit: list[int]
    sources: list[list[Any]] | None
    ids: str | None
    bad_files: dict[str, str] = field(default_factory=dict)

    @property
    def sources_by_digest(self) -> Sources | None:
        """The same as `sources`, as a mapping."""
        if self.sources is None:
            return None
        return {digest: (rows, name) for digest, rows, name in self.sources}

    @property
    def type_of_ids(self) -> pa.DataType | None:
        """The type of ids in the file of the task."""
        if self.ids is None:
            return None
        return schema_from_text(self.ids).field(0).type


def sign_task(job: Job, task: int) -> SignResult:
    """Sign the rows of some slices; leaves `ROWS`, `BANDS`, and `ID_DIGESTS` where there are ids.

    job: of the run. task: number of the task. A task without rows leaves nothing, nor does one with
    a file that cannot be read, where such files are to be left out.
    """
    try:
        return _signed_task(job, task)
    except BadFileError as error:
        return SignResult(
            rows=0,
            files={},
            slices=[0] * len(job.tasks[task]),
            types={},
            shingles=0,
            text_bytes=0,
            replaced=0,
            missing_ids=0,
            unreadable=0,
            unread_examples=[],
            preferred={},
            unfit=[],
            sources=None,
            ids=None,
            bad_files={error.path: error.reason},
        )


def _signed_task(job: Job, task: int) -> SignResult:
    partitions = job.sizes.key_partitions
    limit = job.sizes.spill // job.planner.costs.signed_key
    counts = [0] * len(job.tasks[task])
    types: ColumnTypes = {}
    preferred: dict[str, list[int]] = {}
    unfit: set[int] = set()
    sources: Sources | None = {}
    told: list[list[Any]] = []
    totals: Counter[str] = Counter(
        shingles=0, text_bytes=0, replaced=0, missing_ids=0, unreadable=0
    )
    done: list[Signed] = []
    fresh: list[Signed] = []
    files: dict[str, WrittenFile] = {}
    id_type = None
    spool = job.work.files.spool
    with SpillBuffer(spool) as bands, SpillBuffer(spool) as ids:

        def hand_on() -> None:
            first = sum(map(len, done))
            bands.add(list(band_batches(fresh, first, partitions)))
            if job.settings.id is not None:
                ids.add(list(id_batches(fresh, first, partitions)))

        for number, signed in _signed_batches(job, task, types):
            if sum(part.keys.size for part in fresh) > limit:
                hand_on()
                done += [part.without_keys() for part in fresh]
                fresh = []
            fresh.append(signed)
            counts[number] += len(signed)
            totals["shingles"] += int(signed.shingles.sum())
            totals["text_bytes"] += signed.text_bytes
            totals["replaced"] += signed.replaced
            unfit.update(signed.unfit)
            sources = merged_sources([sources, signed.sources])
            for policy, values in signed.preferred.items():
                so_far = preferred.get(policy, [0] * len(values))
                preferred[policy] = [a + b for a, b in zip(so_far, values, strict=True)]
            totals["missing_ids"] += 0 if signed.ids is None else signed.ids.null_count
            if signed.unreadable is not None and signed.unreadable.null_count < len(signed):
                there = np.flatnonzero(valid_bytes(signed.unreadable)).tolist()
                totals["unreadable"] += len(there)
                first = counts[number] - len(signed)
                told += [
                    [number, first + row, signed.unreadable[row].as_py()]
                    for row in there[: MOST_EXAMPLES - len(told)]
                ]
        if fresh:
            hand_on()
            rows = rows_batch(job.settings, [*done, *fresh])
            files |= ROWS.write(job.work, task, [rows], rows.schema)
            files |= BANDS.write(job.work, task, bands.merged())
            if job.settings.id is not None:
                id_type = schema_as_text(pa.schema([rows.schema.field("id")]))
                files |= ID_DIGESTS.write(job.work, task, ids.merged())
    return SignResult(
        rows=sum(counts),
        files=files,
        slices=counts,
        types=types,
        preferred=preferred,
        unread_examples=told,
        unfit=sorted(unfit),
        sources=None if sources is None else [[key, *found] for key, found in sources.items()],
        ids=id_type,
        shingles=totals["shingles"],
        text_bytes=totals["text_bytes"],
        replaced=totals["replaced"],
        missing_ids=totals["missing_ids"],
        unreadable=totals["unreadable"],
    )


def _signed_batches(job: Job, task: int, types: ColumnTypes) -> Iterator[tuple[int, Signed]]:
    """(number of the slice in the task, a batch of its rows, signed); notes types of columns."""
    untouched, marked = job.is_of_references(task), job.settings.skips_rows
    signer = None
    excluded, done = contaminated_rows(job, task), 0
    for number, part in enumerate(job.tasks[task]):
        shard, projection = job.shards[part.shard], job.projection(part.shard)
        roles = tuple(role for role, _ in projection.roles)
        if signer is None or signer.roles != roles:
            signer = Signer(
                job.settings,
                job.banding,
                job.document,
                roles=roles,
                marked=marked,
                untouched=untouched,
                sketched=job.sketched,
            )
        rows = 0
        batches = read_slice(shard, part, projection, batch_bytes=job.sizes.batch)
        for batch in leaving_out(batches, job.settings):
            try:
                signed = signer.sign(batch)
            except MalformedTextError as error:
                document = job.documents.of_file(part.shard)
                raise RowError(
                    f"{_name_of(document)} is not valid UTF-8 at byte {error.byte}: "
                    "mend it, or run with --on-bad-text replace",
                    path=shard.path,
                    row=first_row(shard, part) + rows + error.row,
                ) from None
            kinds = {} if isinstance(shard, KeptShard) else signed.kinds  # of them, all is text
            for role, kind in kinds.items():
                types.setdefault(role, {}).setdefault(kind, part.shard)
            job.check_types(types)
            rows += batch.num_rows
            if len(excluded):
                low, high = np.searchsorted(excluded, [done, done + len(signed)])
                signed = signed.without(excluded[low:high] - done)
            done += len(signed)
            if len(signed):
                yield number, signed


def contaminated_rows(job: Job, task: int) -> Array:
    """Rows of a sign task in which an item of a test set stands: int64, numbers in the task.

    job: of the run. task: number of the sign task.
    """
    if task not in job.contaminated:
        return np.zeros(0, np.int64)
    (found,) = CONTAMINATED.read(job.work, {task: job.contaminated[task]}, 0)
    return numbers(found.column("row")).astype(np.int64)


def _name_of(document: DocumentTemplate) -> str:
    """What messages call a document."""
    only = document.templates[0] if len(document.templates) == 1 else None
    return only.name if only else f'the document "{document}"'


def check_all_types(job: Job, signed: dict[int, SignResult]) -> None:
    """See `Job.check_types`; of all sign tasks together."""
    types: ColumnTypes = {}
    for _, result in sorted(signed.items()):
        for role, found in result.types.items():
            types[role] = {**found, **types.get(role, {})}
    job.check_types(types)
