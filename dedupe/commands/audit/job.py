"""What every task of an audit knows, and what tasks leave for one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, batches_of, numbers
from dedupe.config import Resources, Settings, Tuning
from dedupe.corpus import Projection, Shard, Slice, read_slice
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import IntegrityError
from dedupe.index.witnesses import EarlierRows
from dedupe.planning.banding import Banding
from dedupe.planning.sizes import TaskCosts
from dedupe.schema import field_columns
from dedupe.storage.files import Files
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import Artifact, TaskResult

EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Where ranges of similarity begin; equal sets are a range of their own."""
STATE_BYTES = 2
"""Memory for each row of the corpus: whether it is kept, and missed."""
EXTRA_BYTES = 1
"""And where rows stay beside kept rows, whether it is none of them."""
CLAIM_BYTES = 24
"""And where all rows are looked at, for what the keep-list says of it."""
BATCH_BYTES = 4_000_000
"""Text that is decoded at a time by one task, unless memory is short."""
BATCH_COPIES = 4
"""Memory of the shingle hashes of a batch, in sizes of them: made, looked up, pairs found."""
COUNT_BYTES = 200
"""Memory for each row of a block, besides that of the join: what is counted of it."""

KEPT = Artifact(
    "rows",
    "kept",
    pa.schema([("bits", pa.uint8()), ("stands", pa.uint8())]),
    "one for each shard of the task",
    {
        "bits": "eight rows of the shard each, the first in the highest bit: whether they are kept",
        "stands": "the same of rows that are kept, and not beside a kept row that they duplicate",
    },
)
CLAIMS = Artifact(
    "claims",
    "claims",
    pa.schema([("dropped", pa.int64()), ("witness", pa.int64()), ("jaccard", pa.float64())]),
    "one",
    {
        "dropped": "position of a dropped row that is looked at",
        "witness": "position of its witness",
        "jaccard": "their similarity as the keep-list has it",
    },
)
SAMPLE = Artifact(
    "sample",
    "rows",
    pa.schema(
        [
            ("position", pa.int64()),
            ("rank", pa.int64()),
            ("keys", pa.large_list(pa.uint64())),
            ("hashes", pa.large_list(pa.uint64())),
            ("sizes", pa.large_list(pa.uint32())),
        ]
    ),
    "one for each batch of text that was read",
    {
        "position": "position of a row of the block",
        "rank": "its place in the order in which rows of the block were drawn",
        "keys": "its band keys",
        "hashes": "its distinct shingles, its fields end to end",
        "sizes": "for each field, how many of them it has",
    },
)
COUNTS = Artifact(
    "scan",
    "counts",
    pa.schema(
        [
            ("entry", pa.int64()),
            ("range", pa.int64()),
            ("pairs", pa.int64()),
            ("kept", pa.int64()),
            ("apart", pa.int64()),
        ]
    ),
    "one",
    {
        "entry": "number of a set of the block",
        "range": "number of a range of similarity",
        "pairs": "rows that passed and reach the threshold with it in that range",
        "kept": "those of them that are kept, as is a row with that set",
        "apart": "those of these that share no band key with it",
    },
)
SURVIVORS = Artifact(
    "scan",
    "survivors",
    pa.schema([("position", pa.int64())]),
    "one",
    {"position": "position of a row that is kept though a true partner is kept"},
)
BESIDE = Artifact(
    "scan",
    "beside",
    SURVIVORS.columns,
    "one",
    {"position": "position of a row of the block that is kept, and that a reference is like"},
)
BLOCK_SURVIVORS = Artifact("count", "survivors", SURVIVORS.columns, "one", SURVIVORS.meaning)
AUDIT_ARTIFACTS = (KEPT, CLAIMS, SAMPLE, COUNTS, SURVIVORS, BESIDE, BLOCK_SURVIVORS)
"""What the tasks of an audit leave, in the order of its stages."""

KEPT_BESIDE = "pairs of a kept row and a reference"
"""What guarantee 6 says that there are none of."""
KEPT_BESIDE_EARLIER = "pairs of a kept row and an earlier one"
"""The same of rows of an index that are earlier rows of the corpus: guarantee 2."""
TAKEN_OUT = "the witness was taken out of the index, or changed in it"
"""No violation: nobody can say any more what such a row is like."""


@dataclass
class Violations:
    """How often something is not as promised, by kind, and the first few rows of each."""

    MOST_EXAMPLES = 5

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)

    def add(self, kind: str, *rows: Array, count: int | None = None) -> None:
        """Count violations.

        kind: what is not as promised. rows: int64 positions of the rows, or of both rows of each
        pair. count: how many there are, where `rows` has only examples of them.
        """
        found = len(rows[0]) if count is None else count
        if found:
            self.counts[kind] += found
            known = self.examples.setdefault(kind, [])
            others = zip(*(part.tolist() for part in rows), strict=True)
            known[:] = sorted({*known, *others})[: self.MOST_EXAMPLES]

    def update(self, others: Violations) -> None:
        """Add those of another part of the rows."""
        for kind, count in others.counts.items():
            rows = np.array(others.examples[kind], np.int64)
            self.add(kind, *rows.T, count=count)

    def as_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        examples = {kind: [list(rows) for rows in found] for kind, found in self.examples.items()}
        return {"counts": dict(self.counts), "examples": examples}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Violations:
        """Read what `as_json` gave."""
        examples = {kind: [tuple(rows) for rows in of] for kind, of in found["examples"].items()}
        return cls(Counter(found["counts"]), examples)


@dataclass(frozen=True, kw_only=True)
class Looked(TaskResult):
    """What a task of an audit saw; violations: what is not as promised, and how often."""

    violations: dict[str, Any]


@dataclass(frozen=True)
class Budget:
    """Memory of a block; bytes.

    block: of all of it. row: of each row, besides its hashes. hash: of each shingle hash. batch:
    text that is decoded at a time by one task.
    """

    block: int
    row: float
    hash: float
    batch: int

    @classmethod
    def of(
        cls,
        resources: Resources,
        costs: TaskCosts,
        tuning: Tuning,
        settings: Settings,
        threshold: float,
        bands: int,
        taken: int,
    ) -> Budget:
        """What is left for a block beside the batches that stream past it.

        resources: what the audit may use. costs: of tasks. tuning: may set the memory of a block.
        settings: of the run. threshold: of true pairs. bands: of the run. taken: bytes that are
        taken by other things.
        """
        share = (resources.memory - costs.base) // resources.threads
        hashes = costs.shingle_bytes(settings.shingle_unit)
        per_byte = costs.text_copies + BATCH_COPIES * hashes
        batch = min(BATCH_BYTES, tuning.batch_bytes, int(share / 2 / per_byte))
        streaming = costs.base + int(resources.threads * batch * per_byte)
        memory = tuning.join_memory or resources.memory - streaming - taken
        return cls(
            block=costs.join_room(memory, threshold),
            row=COUNT_BYTES + 16 * bands + costs.join_bytes(0, 1, threshold),
            hash=costs.join_bytes(1000, 0, threshold) / 1000,
            batch=batch,
        )


@dataclass(frozen=True)
class AuditJob:
    """All that a task needs to know, besides its number.

    settings, banding: of the run. threshold: of true pairs. every: whether blocks are made of all
    rows, one after the other, rather than one of a sample. drawn: int64 positions of the sample in
    the order in which they were drawn; empty with `every`. document: what is compared.
    projections: what is read of each shard. shards: of the corpus, and then of references. out: the
    run's output. listed: what its summary says of each shard. shard_starts: position of the first
    row of each shard, with the end. groups: the first shard of each group of shards whose
    keep-lists one task reads, with the end, which is the number of shards of the corpus. slices,
    slice_starts: how the shards are cut, and the position of the first row of each slice, with the
    end. mean_text: bytes of text in a row. budget: memory of a block. work: where tasks leave their
    files. has_evals: whether the run had test sets. has_extras: whether rows may stay beside the
    kept row that they duplicate. earlier: the index that the run was held against, None without
    one; its rows are those of one more shard, behind all others, of which a slice is a range of
    rows. own: whether these are earlier rows of the corpus, not references.
    """

    settings: Settings
    banding: Banding
    threshold: float
    every: bool
    drawn: Array
    document: DocumentTemplate
    projections: Sequence[Projection]
    shards: list[Shard]
    out: Files
    listed: Sequence[Mapping[str, Any]]
    shard_starts: Array
    groups: list[int]
    slices: list[Slice]
    slice_starts: Array
    mean_text: float
    budget: Budget
    work: WorkDir
    has_evals: bool
    has_extras: bool
    earlier: EarlierRows | None
    own: bool

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        if stage in ("rows", "claims"):
            return f"{stage} of {self.listed[self.groups[task]]['path']} and next"
        if stage == "count":
            return f"count of block {task}"
        block, number = divmod(task, max(len(self.slices), 1))
        shard = self.slices[number].shard
        path = self.shards[shard].path if shard < len(self.shards) else "the index"
        return f"{stage} {block} of {path}"

    def group(self, task: int) -> range:
        """The shards of a group."""
        return range(self.groups[task], self.groups[task + 1])

    def rows_in(self, task: int) -> int:
        """Rows of a group."""
        first, end = self.groups[task : task + 2]
        return int(self.shard_starts[end] - self.shard_starts[first])

    @property
    def rows(self) -> int:
        """Rows of the corpus, as the run counted them."""
        return int(self.shard_starts[self.groups[-1]])

    def is_of_references(self, task: int) -> bool:
        """Whether the slice that a task looks at is of a reference, or of an index."""
        return self.slices[task % len(self.slices)].shard >= self.groups[-1]

    @property
    def edges(self) -> Array:
        """Where ranges of similarity begin, the last of which is that of equal sets."""
        edges = {self.threshold, 1.0, *(edge for edge in EDGES if edge > self.threshold)}
        return np.array(sorted(edges))

    def task(self, block: int, number: int) -> int:
        """Number of the task that looks at a slice for a block."""
        return block * len(self.slices) + number

    @property
    def fields(self) -> int:
        """How many fields a document has."""
        return len(self.document.names)

    def read(
        self, number: int, rows: Array | None = None
    ) -> Iterator[tuple[Array, pa.RecordBatch]]:
        """(positions, rows) of a slice, some at a time, in order; of an index, rows that it keeps.

        number: of the slice. rows: positions of the rows to read, ascending; None for all. There
        are more or fewer rows than `slice_starts` says where the run has counted others.
        """
        part, start = self.slices[number], int(self.slice_starts[number])
        if part.shard == len(self.shards):
            yield from self._read_earlier(part)
            return
        local = None if rows is None else rows - start
        at = 0
        for batch in read_slice(
            self.shards[part.shard],
            part,
            self.projections[part.shard],
            batch_bytes=self.budget.batch,
            rows=local,
        ):
            end = at + batch.num_rows
            found = np.arange(start + at, start + end) if rows is None else rows[at:end]
            yield found, batch
            at = end

    def _read_earlier(self, part: Slice) -> Iterator[tuple[Array, pa.RecordBatch]]:
        """The kept rows of a range of rows of the index; see `read`."""
        if self.earlier is None:
            raise IntegrityError("an audit without an index has no slice of it")
        rows = np.flatnonzero(self.earlier.state(part.first, part.last).kept) + part.first
        names = [*field_columns(len(self.document.templates)), *self.settings.groups.values()]
        start = int(self.shard_starts[len(self.shards)])
        for batch in batches_of(self.earlier.store.texts(rows), self.budget.batch):
            texts = pa.RecordBatch.from_arrays(batch.columns[1 : 1 + len(names)], names=names)
            yield numbers(batch.column("row")) + start, texts
