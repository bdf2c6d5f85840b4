"""scan, count: the corpus streams past a block; true pairs and claims of the keep-list are counted.

Where blocks are made of all rows, those before a block need not stream past it, and those behind it
count twice: all blocks together count every pair twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.commands.audit.block import Held, load_block
from dedupe.commands.audit.counts import Counted, CountResult
from dedupe.commands.audit.job import (
    BESIDE,
    BLOCK_SURVIVORS,
    COUNTS,
    KEPT_BESIDE,
    KEPT_BESIDE_EARLIER,
    SURVIVORS,
    AuditJob,
    Looked,
    Violations,
)
from dedupe.commands.audit.keep_lists import Kept, kept_rows, read_claims
from dedupe.shingling import Shingler
from dedupe.stages.join import Pairs
from dedupe.stages.sign import Signer
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import Left


@dataclass(frozen=True, kw_only=True)
class ScanResult(Looked):
    """What a scan saw; proven: claims of the block for which a kept row is similar enough."""

    proven: int


@dataclass(frozen=True)
class BlockOf:
    """What tasks of a block are told of it.

    number: of the block. size: rows it had before it was halved, `level` times. sampled: the files
    of its rows. kept, claimed: the files of the tasks of rows and claims.
    """

    number: int
    size: int
    level: int
    sampled: Left
    kept: Left
    claimed: Left

    def held(self, job: AuditJob) -> Held:
        """The block in memory."""
        return load_block(job, self.number, self.size, self.level, self.sampled)


def scan_task(job: AuditJob, block: BlockOf, task: int) -> ScanResult:
    """Let the rows of a slice stream past a block; leaves `COUNTS` and `SURVIVORS`.

    job: the audit. block: which. task: see `AuditJob.task`.
    """
    held = block.held(job)
    number = task - job.task(block.number, 0)
    start, end = job.slice_starts[number : number + 2].tolist()
    first = max(start, int(held.positions[0])) if job.every else start
    kept = kept_rows(job, block.kept)
    census = (
        _BesideReferences(job, held, kept.keep)
        if job.is_of_references(task)
        else _Census(job, held, kept.stands)
    )
    inner, outer, jaccard, witness = _claims_between(job, block, held, first, end)
    similar = np.full(len(inner), np.nan)
    shingler = Shingler(job.settings, job.document)
    count = 0
    expected = end - first
    if job.is_of_references(task) and job.earlier is not None:
        expected = int(np.count_nonzero(kept.keep[start:end]))
    rows = None if first == start else np.arange(first, end)
    for positions, batch in job.read(number, rows):
        count += batch.num_rows
        read = batch.slice(0, int(np.searchsorted(positions, end)))
        sets = shingler.sets(read)
        for pairs in held.joined.pairs(sets.offsets, sets.hashes):
            census.add(pairs, positions, read)
        low, high = np.searchsorted(outer, [positions[0], positions[-1] + 1])
        place = np.searchsorted(positions, outer[low:high])
        there = np.flatnonzero(positions[place] == outer[low:high])
        similar[low + there] = held.joined.similarity(
            sets.offsets, sets.hashes, place[there], inner[low + there]
        ).min(axis=1)
    low = np.zeros(len(similar), np.bool_)
    if job.settings.cluster != "transitive":
        low = ~(similar >= job.threshold)
    dropped = np.where(outer == witness, held.positions[inner], outer)
    violations = census.violations
    if count != expected:
        violations.add("another number of rows", job.slice_starts[number : number + 1])
    violations.add("similarity is not the exact one", dropped[similar != jaccard])
    violations.add("exact similarity is too low", dropped[low])
    proven = int((kept.stands[witness] & ~low & ~kept.keep[dropped]).sum())
    return ScanResult(
        rows=count,
        files=census.write(job, task),
        violations=violations.as_json(),
        proven=proven,
    )


def _claims_between(
    job: AuditJob, block: BlockOf, held: Held, first: int, end: int
) -> tuple[Array, Array, Array, Array]:
    """Claims of rows of the block whose other row is between two positions, in its order.

    (row of the block, position of the other row, stated similarity, position of the witness).
    """
    claims = read_claims(job, block.claimed)
    inner, outer = claims.dropped, claims.witness
    if job.every:
        inner, outer = np.minimum(inner, outer), np.maximum(inner, outer)
    place = np.minimum(np.searchsorted(held.positions, inner), len(held.positions) - 1)
    chosen = np.flatnonzero((held.positions[place] == inner) & (outer >= first) & (outer < end))
    chosen = chosen[np.argsort(outer[chosen], kind="stable")]
    return place[chosen], outer[chosen], claims.jaccard[chosen], claims.witness[chosen]


class _Census:
    """Counts for one block and the rows of one slice."""

    def __init__(self, job: AuditJob, held: Held, keep: Array) -> None:
        self._job, self._held, self.keep = job, held, keep
        self._signer = Signer(job.settings, job.banding, job.document)
        self._edges = job.edges
        self.violations = Violations()
        self._members, self._kept_members = _members(held, keep)
        kept, entry = _kept_rows_of(held, keep)
        number = len(held.joined.leaders)
        self._some_kept = np.full((2, number), -1)  # the first and the last, to name another one
        self._some_kept[0, entry[kept][::-1]] = held.positions[kept][::-1]
        self._some_kept[1, entry[kept]] = held.positions[kept]
        # by entry and range: rows at the threshold, of these kept ones, of these without its keys
        self._counts = np.zeros((3, number, len(self._edges)), np.int64)
        self._survivors = [np.zeros(0, np.int64)]

    def add(self, pairs: Pairs, positions: Array, rows: pa.RecordBatch) -> None:
        """Count pairs.

        pairs: of streamed rows and entries of the block. positions: int64, of the streamed rows.
        rows: all of them.
        """
        job, held = self._job, self._held
        position = positions[pairs.rows]
        least = pairs.jaccard.min(axis=1)
        ranges = np.searchsorted(self._edges, least, side="right") - 1
        behind = job.every & (position > held.positions[-1])
        weight = np.where(behind, 2, 1)
        place = np.minimum(np.searchsorted(held.positions, position), len(held.positions) - 1)
        own = (held.positions[place] == position) & (held.joined.entry[place] == pairs.entries)
        both = self.keep[position] & (self._kept_members[pairs.entries] > 0)
        apart = both & ~own
        apart[apart] = ~self._share_keys(pairs.rows[apart], pairs.entries[apart], rows)
        alone = own & (self._kept_members[pairs.entries] == 1)  # with nobody but itself
        missed = both & ~alone & (~apart if not job.settings.near else True)
        at = (pairs.entries, ranges)
        for counts, of in zip(self._counts, (1, both, apart), strict=True):
            np.add.at(counts, at, weight * of)
        self._survivors.append(position[missed & behind])
        self._give_examples("missed", position, pairs.entries, missed & apart)
        self._give_examples("pairs of kept rows", position, pairs.entries, missed & ~apart)

    def _share_keys(self, rows: Array, entries: Array, batch: pa.RecordBatch) -> Array:
        """Whether each of these rows shares a band key with that entry."""
        distinct, back = np.unique(rows, return_inverse=True)
        keys = self._signer.sign(batch.take(pa.array(distinct))).keys[back]
        leaders = self._held.joined.leaders[entries]
        shared: Array = (keys == self._held.keys[leaders]).any(axis=1)
        return shared

    def _give_examples(self, kind: str, position: Array, entries: Array, which: Array) -> None:
        position, (first, last) = position[which], self._some_kept[:, entries[which]]
        other = np.where(first == position, last, first)
        self.violations.add(kind, np.minimum(position, other), np.maximum(position, other))

    def write(self, job: AuditJob, task: int) -> dict[str, WrittenFile]:
        """Leave what was counted."""
        pairs, kept, apart = self._counts
        entry, ranges = np.nonzero(pairs)
        columns = [entry, ranges, *(counts[entry, ranges] for counts in (pairs, kept, apart))]
        counts = pa.RecordBatch.from_arrays([pa.array(c) for c in columns], schema=COUNTS.columns)
        files = COUNTS.write(job.work, task, [counts])
        return files | SURVIVORS.write(job.work, task, [_positions(self._survivors)])


class _BesideReferences(_Census):
    """The same where rows of the slice are of a reference or an index: none is like a kept row."""

    def __init__(self, job: AuditJob, held: Held, keep: Array) -> None:
        super().__init__(job, held, keep)
        self._beside = np.zeros(len(held.joined.leaders), np.bool_)

    def add(self, pairs: Pairs, positions: Array, rows: pa.RecordBatch) -> None:
        """See `_Census.add`."""
        settings = self._job.settings
        kept = np.flatnonzero(self._kept_members[pairs.entries] > 0)
        row, entry = pairs.rows[kept], pairs.entries[kept]
        shared = np.ones(len(kept), np.bool_)
        if not settings.joined:
            shared = self._share_keys(row, entry, rows)
        if not settings.near:  # equal sets of other texts are no pairs of such a run
            row, entry, shared = row[shared], entry[shared], shared[shared]
        self._beside[entry] = True
        earlier = self._job.earlier
        if earlier is not None and not earlier.is_as_it_was:  # rows may be kept only since
            return
        examples = self._some_kept[0, entry[shared]], positions[row[shared]]
        self.violations.add(KEPT_BESIDE_EARLIER if self._job.own else KEPT_BESIDE, *examples)

    def write(self, job: AuditJob, task: int) -> dict[str, WrittenFile]:
        """Leave what was counted."""
        kept, entry = _kept_rows_of(self._held, self.keep)
        beside = self._held.positions[kept[self._beside[entry[kept]]]]
        return super().write(job, task) | BESIDE.write(job.work, task, [_positions([beside])])


def count_task(job: AuditJob, block: BlockOf, scanned: Left, task: int) -> CountResult:
    """Sum up what streamed past a block; leaves `BLOCK_SURVIVORS`.

    job: the audit. block: which. scanned: the files of each scan of it. task: its number.
    """
    held = block.held(job)
    rows = kept_rows(job, block.kept)
    keep = rows.stands
    number = len(held.joined.leaders)
    counts = np.zeros((3, number, len(job.edges)), np.int64)
    for batch in COUNTS.read(job.work, scanned, 0):
        entry, ranges, *values = map(numbers, batch.columns)
        for into, of in zip(counts, values, strict=True):
            np.add.at(into, (entry, ranges), of)
    pairs, missed, apart = counts
    members, kept_members = _members(held, keep)
    broken = (missed - apart).sum(1) - 1
    if not job.settings.near:  # equal sets of other texts are no pairs of such a run
        pairs, missed = pairs - apart, missed - apart
    itself = np.zeros(len(job.edges), np.int64)
    itself[-1] = 1
    kept, entry = _kept_rows_of(held, keep)
    survivors = held.positions[kept[missed.sum(1)[entry[kept]] > 1]]
    counted = Counted(
        rows=np.concatenate([kept_members, members - kept_members]),
        pairs=np.concatenate([pairs - itself, pairs - itself]),
        missed=np.concatenate([missed - itself, np.zeros_like(missed)]),
        broken=int((kept_members * broken).sum()),
    )
    counted = counted.total() if job.every else counted.merged()
    return CountResult(
        rows=len(held.positions),
        files=BLOCK_SURVIVORS.write(job.work, task, [_positions([survivors])]),
        looked_at=len(held.positions),
        dropped=_dropped(job, block, held, rows),
        last=int(held.positions[-1]) + 1,
        counts=[
            counted.rows.tolist(),
            counted.pairs.tolist(),
            counted.missed.tolist(),
            counted.broken,
        ],
    )


def _dropped(job: AuditJob, block: BlockOf, held: Held, kept: Kept) -> int:
    """Rows of a block that were dropped because of other rows that are there.

    And not because of test sets, or of a row that was taken out of the index since.
    """
    if not job.has_evals and not len(kept.gone):
        return int((~kept.keep[held.positions]).sum())
    claimed = read_claims(job, block.claimed).dropped
    place = np.minimum(np.searchsorted(held.positions, claimed), len(held.positions) - 1)
    return int(((held.positions[place] == claimed) & ~kept.keep[claimed]).sum())


def _members(held: Held, keep: Array) -> tuple[Array, Array]:
    """Rows of the block with each set, and of these kept ones."""
    entry, number = held.joined.entry, len(held.joined.leaders)
    kept, _ = _kept_rows_of(held, keep)
    return np.bincount(entry[entry >= 0], minlength=number), np.bincount(
        entry[kept], minlength=number
    )


def _kept_rows_of(held: Held, keep: Array) -> tuple[Array, Array]:
    """Rows of the block that are kept and not empty; and the entry of every row."""
    entry = held.joined.entry
    return np.flatnonzero(keep[held.positions] & (entry >= 0)), entry


def _positions(parts: Sequence[Array]) -> pa.RecordBatch:
    distinct = np.unique(np.concatenate([np.zeros(0, np.int64), *parts]))
    return pa.RecordBatch.from_arrays([pa.array(distinct)], schema=SURVIVORS.columns)
