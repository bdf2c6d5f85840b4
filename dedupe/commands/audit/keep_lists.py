"""rows, claims: what keep-lists say, held against themselves: every row once, witnesses kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers, valid_bytes
from dedupe.commands.audit.job import (
    CLAIMS,
    KEPT,
    TAKEN_OUT,
    AuditJob,
    Looked,
    Violations,
)
from dedupe.schema import BESIDE, EXACT, EXTRA, NEAR, NOT_READ, REASONS, REFERENCE, TAINTED
from dedupe.storage.keep_lists import keep_list_batches
from dedupe.tasks.artifacts import Left
from dedupe.tasks.last_made import LastMade

BATCH_ROWS = 1 << 16
"""Rows of a keep-list read at a time."""
LOST = ("missing", "twice", "out of order", "no row of the corpus", "another number of rows")
"""Violations of guarantee 5; the others that are found here violate guarantee 1."""
TOLD = ("row", "reason", "witness_shard", "witness_row", "jaccard")
"""Columns that the second reading looks at."""
TOLD_OF_EARLIER = (*TOLD, "witness_crawl", "cluster")
"""The same of a run that was held against an index."""

_kept = LastMade()
_claimed = LastMade()


class Kept(NamedTuple):
    """Which rows stay: bool[rows], also of references, which do.

    keep: whether a row is kept. stands: whether it is, and not beside a kept row that it
    duplicates. gone: int64, positions of rows that were taken out of the index, or changed in it,
    ascending.
    """

    keep: Array
    stands: Array
    gone: Array


@dataclass(frozen=True)
class Claims:
    """What the keep-list says of rows with a witness that there is: dropped and extra ones.

    dropped, witness: int64 positions. jaccard: float64.
    """

    dropped: Array
    witness: Array
    jaccard: Array

    def take(self, chosen: Array) -> Claims:
        """Some of them."""
        return Claims(self.dropped[chosen], self.witness[chosen], self.jaccard[chosen])

    @classmethod
    def of(cls, parts: Sequence[Claims]) -> Claims:
        """All of them."""
        none = cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
        columns = zip(*((p.dropped, p.witness, p.jaccard) for p in [none, *parts]), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def rows_task(job: AuditJob, task: int) -> Looked:
    """Note which rows are kept, and rows that are missing, twice, out of order; leaves `KEPT`.

    job: the audit. task: number of a group of shards.
    """
    violations = Violations()
    bits = [_read_kept(job, shard, violations) for shard in job.group(task)]
    files = KEPT.write(job.work, task, bits)
    return Looked(rows=job.rows_in(task), files=files, violations=violations.as_json())


def _read_kept(job: AuditJob, shard: int, violations: Violations) -> pa.RecordBatch:
    start, end = job.shard_starts[shard : shard + 2].tolist()
    rows = end - start
    seen, keep = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    extra = np.zeros(rows, np.bool_)
    at = 0
    for batch in _batches(job, shard, ("row", "keep", "reason")):
        numbered = numbers(batch.column(0))
        known = (numbered >= 0) & (numbered < rows)
        np.add.at(seen, numbered[known], 1)
        keep[numbered[known]] = numbers(batch.column(1))[known]
        extra[numbered[known]] = (_codes(batch.column(2), pa.array([BESIDE])) == 0)[known]
        order = (numbered != at + np.arange(len(numbered))) & known
        violations.add("out of order", start + numbered[order])
        violations.add("no row of the corpus", np.full(int((~known).sum()), start))
        at += len(numbered)
    violations.add("missing", start + np.flatnonzero(seen == 0))
    violations.add("twice", start + np.flatnonzero(seen > 1))
    violations.add("reason does not fit", start + np.flatnonzero(extra & ~keep))
    bits = [pa.array(np.packbits(one)) for one in (keep, keep & ~extra)]
    return pa.RecordBatch.from_arrays(bits, schema=KEPT.columns)


def kept_rows(job: AuditJob, kept: Left) -> Kept:
    """Which rows the run keeps.

    job: the audit. kept: the files of each task of rows.
    """

    def read() -> Kept:
        keep = np.ones(int(job.shard_starts[-1]), np.bool_)
        stands = keep.copy() if job.has_extras else keep
        for shard, bits in enumerate(KEPT.read(job.work, kept, None)):
            start, end = job.shard_starts[shard : shard + 2].tolist()
            for rows, column in zip((keep, stands), bits.columns, strict=True):
                rows[start:end] = np.unpackbits(numbers(column), count=end - start)
        gone = [np.zeros(0, np.int64)]
        for part in job.slices:
            if job.earlier is not None and part.shard == len(job.shards):
                state = job.earlier.state(part.first, part.last)
                start = int(job.shard_starts[part.shard])
                for rows in (keep, stands):
                    rows[start + part.first : start + part.last] = state.kept
                gone.append(np.flatnonzero(state.gone) + part.first + start)
        return Kept(keep, stands, np.concatenate(gone))

    return _kept.get((str(job.work), job.work.run), read)


def claims_task(job: AuditJob, kept: Left, task: int) -> Looked:
    """Read why rows are dropped; leaves `CLAIMS`, those of the sample or all.

    job: the audit. kept: the files of each task of rows. task: number of a group of shards.
    Violations are looked for in all rows.
    """
    violations = Violations()
    rows = kept_rows(job, kept)
    wanted = None if job.every else np.sort(job.drawn)
    parts = []
    for shard in job.group(task):
        start, end = job.shard_starts[shard : shard + 2].tolist()
        told = TOLD if job.earlier is None else TOLD_OF_EARLIER
        for batch in _batches(job, shard, told):
            row = numbers(batch.column(0))
            batch = batch.filter(pa.array((row >= 0) & (row < end - start)))
            claims = _claims(job, start, batch, rows, violations)
            if wanted is not None:
                place = np.searchsorted(wanted, claims.dropped)
                same = wanted[np.minimum(place, len(wanted) - 1)] == claims.dropped
                claims = claims.take(same)
            parts.append(claims)
    found = Claims.of(parts)
    columns = [pa.array(column) for column in (found.dropped, found.witness, found.jaccard)]
    made = pa.RecordBatch.from_arrays(columns, schema=CLAIMS.columns)
    files = CLAIMS.write(job.work, task, [made])
    return Looked(rows=job.rows_in(task), files=files, violations=violations.as_json())


def read_claims(job: AuditJob, claimed: Left) -> Claims:
    """All claims.

    job: the audit. claimed: the files of each task of claims.
    """

    def read() -> Claims:
        batches = CLAIMS.read(job.work, claimed, 0)
        return Claims.of([Claims(*map(numbers, batch.columns)) for batch in batches])

    return _claimed.get((str(job.work), job.work.run), read)


def _claims(
    job: AuditJob, start: int, batch: pa.RecordBatch, rows: Kept, violations: Violations
) -> Claims:
    position = start + numbers(batch.column(0))
    keep = rows.stands[position]
    starts = job.shard_starts
    reason = _codes(batch.column(1), pa.array(REASONS))
    untouched = reason == REFERENCE
    duplicate = (reason == EXACT) | (reason == NEAR) | untouched
    duplicate |= (reason == EXTRA) & job.has_extras
    shard = _codes(batch.column(2), pa.array([one["path"] for one in job.listed], pa.string()))
    row = numbers(batch.column(3).fill_null(-1))
    named = (shard >= 0) & (row >= 0) & (row < np.diff(starts)[shard])
    witness = np.where(named, starts[shard] + row, 0)
    outside = shard >= job.groups[-1]
    if job.earlier is not None:
        crawl = batch.column(5)
        is_earlier = valid_bytes(crawl) == 1
        number = job.earlier.numbers(crawl, batch.column(2), row)
        named = np.where(is_earlier, number >= 0, named)
        witness = np.where(is_earlier & named, starts[-2] + number, witness)
        outside = is_earlier
    jaccard = numbers(batch.column(4).cast(pa.float64()).fill_null(np.nan))
    least = job.settings.threshold if job.settings.cluster == "cover" else 0.0

    alone = ((reason == NOT_READ) & job.settings.skips_rows) | ((reason == TAINTED) & job.has_evals)
    unread = ~keep & alone  # no row of the corpus is their witness
    odd = np.where(keep, duplicate | (valid_bytes(batch.column(3)) == 1), ~duplicate & ~unread)
    odd = odd.astype(bool) | (named & (untouched != (outside & ~np.bool_(job.own))))
    if job.earlier is not None:  # such a row is in no cluster of the corpus
        odd |= outside & (valid_bytes(batch.column(6)) == 1)
    gone = named & np.isin(witness, rows.gone)
    violations.add("reason does not fit", position[odd])
    violations.add("no witness", position[~keep & ~named & ~unread])
    violations.add("witness not kept", position[~keep & named & ~gone & ~rows.stands[witness]])
    violations.add(TAKEN_OUT, position[~keep & gone])
    low = ~((jaccard >= least) & (jaccard <= 1)) | ((reason == EXACT) & (jaccard != 1))
    violations.add("stated similarity is too low", position[~keep & low & ~unread])
    chosen = ~keep & named & ~gone
    return Claims(position[chosen], witness[chosen], jaccard[chosen])


def _batches(job: AuditJob, shard: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    listed = job.listed[shard]
    with keep_list_batches(job.out, listed, BATCH_ROWS, list(columns)) as (_, batches):
        for batch in batches:
            yield batch.select(list(columns))


def _codes(column: pa.Array, values: pa.Array) -> Array:
    """Number of each text among `values`, -1 for null and others."""
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    known = pc.index_in(column.dictionary.cast(pa.string()), values).fill_null(-1)
    codes: Array = np.append(numbers(known.cast(pa.int64())), -1)
    found: Array = codes[numbers(column.indices.cast(pa.int64()).fill_null(len(known)))]
    return found
