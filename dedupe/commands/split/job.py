"""What every task of a split knows, and what tasks leave for one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.commands.split.wanted import Wanted
from dedupe.corpus import Projection, SliceReader
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.rows import digest_rows
from dedupe.kernels.xxh3 import SECRET
from dedupe.schema import ID_RECORDS, SPLIT_REASONS
from dedupe.schema import LABELS as LABEL_COLUMNS
from dedupe.tasks.artifacts import LABELS, POSITION, ROW, Artifact, Left
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.unlinked import UNLINKED

CLUSTER_BYTES = 100
"""Memory for each row or cluster of a partition: read, ordered, written."""

INCLUDED, EMPTY, DUPLICATE, UNREADABLE, BETWEEN = range(5)
"""What a row is: one with text, one without, one that a run has dropped, one that is not read, one
that is linked with rows of two splits."""

SINGLE, LINKED, LARGE, NO_TEXT, DROPPED, NOT_READ, PINNED, IN_TWO = range(len(SPLIT_REASONS))

FREE = 255
"""In place of a split: that of the row is still to be found."""

NO_NAME = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Both halves of the name of what has no text; it is behind all others."""

_NAME = {"high": "upper half of a digest", "low": "its lower half"}
_HALVES = [("high", pa.uint64()), ("low", pa.uint64())]
_CODES = "0 for train, 1 for test, 2 for validation"
_CODES_OF_ALL = f"{_CODES}, 3 for excluded rows"
_STOOD = f"split in which the row stood before: {_CODES_OF_ALL}, {FREE} for none"

GROUPS = Artifact(
    "columns",
    "groups",
    ID_RECORDS,
    "one for each partition of the values; with `--group` only",
    {**_NAME, "high": "upper half of the digest of a value that is there", "row": ROW},
)
STRATA = Artifact(
    "columns",
    "strata",
    pa.schema([("stratum", pa.uint64())]),
    "one, with a row for each row of the sign task, in order; with `--stratify` only",
    {"stratum": "digest of the values of the columns"},
)
VALUES = Artifact(
    "columns",
    "values",
    pa.schema([("values", pa.large_list(pa.uint64()))]),
    "one, with a row for each row of the sign task, in order; with `--group` only",
    {"values": "halves of the digests of the values of its columns, zeros if there is none"},
)
EARLIER = Artifact(
    "earlier",
    "rows",
    pa.schema([*_HALVES, ("split", pa.uint8())]),
    "one for each partition of the order; of rows of the earlier split, with `--previous` only",
    {"high": "upper half of the digest of a row", "low": "its lower half", "split": _CODES_OF_ALL},
)
KEYS = Artifact(
    "keys",
    "rows",
    pa.schema([*_HALVES, ("row", pa.uint32())]),
    "one for each partition of the order; with `--previous` only",
    {"high": "upper half of the digest of a row", "low": "its lower half", "row": ROW},
)
PINS = Artifact(
    "pin",
    "rows",
    pa.schema([("position", pa.int64()), ("split", pa.uint8())]),
    "one for each sign task; with `--previous` only",
    {"position": "position of a row that is in the earlier split", "split": _CODES_OF_ALL},
)
GROUP_EDGES = Artifact(
    "groups",
    "edges",
    pa.schema([("left", pa.int64()), ("right", pa.int64())]),
    "one for each million edges",
    {"left": "position of a row", "right": "that of the next one with an equal value"},
)
CLUSTER_LABELS = Artifact(
    "clusters",
    "labels",
    pa.schema([*LABEL_COLUMNS, ("stood", pa.uint8())]),
    "one for each sign task",
    {
        **LABELS.meaning,
        "stood": "splits in which rows of the component stood before: 1 for train, 2 for test, 4 "
        "for validation and 8 for excluded ones, added up",
    },
)
RELATED = Artifact(
    "relate",
    "rows",
    pa.schema(
        [
            ("component", pa.int64()),
            ("row", pa.uint32()),
            ("stood", pa.uint8()),
            ("values", pa.large_list(pa.uint64())),
            ("hashes", pa.large_list(pa.uint64())),
            ("sizes", pa.large_list(pa.uint32())),
        ]
    ),
    "one for each partition of components whose rows stood in several splits; with `--previous` "
    "only",
    {
        **LABELS.meaning,
        "stood": _STOOD,
        "values": VALUES.meaning["values"],
        "hashes": "its distinct shingles, its fields end to end",
        "sizes": "for each field, how many of them it has",
    },
)
JOINED = Artifact(
    "rounds",
    "rows",
    pa.schema([("position", pa.int64()), ("split", pa.uint8()), ("component", pa.int64())]),
    "one for each sign task; with `--previous` only",
    {
        "position": POSITION,
        "split": f"{_CODES_OF_ALL}, {FREE} where no row of a split is like it",
        "component": "number of its cluster, behind those of all components",
    },
)
IN_BETWEEN = Artifact(
    "rounds",
    "between",
    pa.schema(
        [
            ("position", pa.int64()),
            ("splits", pa.list_(pa.uint8(), 2)),
            ("witnesses", pa.list_(pa.int64(), 2)),
            ("jaccard", pa.list_(pa.float64(), 2)),
        ]
    ),
    "one for each write task; with `--previous` only",
    {
        "position": "position of a row that is excluded",
        "splits": "the two splits to which it would belong",
        "witnesses": "the position of a row of each that it is linked with",
        "jaccard": "the similarity of these rows; null if they have an equal value",
    },
)
STATES = Artifact(
    "gather",
    "states",
    pa.schema([("state", pa.uint8()), ("stratum", pa.uint32()), ("stood", pa.uint8())]),
    "one, with a row for each row of the sign task, in order",
    {
        "state": "0 for a row with text, 1 without, 2 for one that the run dropped, 3 for one that "
        "could not be read, 4 for one that is linked with rows of two splits",
        "stratum": "number of its stratum",
        "stood": _STOOD,
    },
)
MEMBERS = Artifact(
    "gather",
    "members",
    pa.schema(
        [
            ("component", pa.int64()),
            ("row", pa.uint32()),
            *_HALVES,
            ("stratum", pa.uint32()),
            ("state", pa.uint8()),
            ("split", pa.uint8()),
        ]
    ),
    "one for each partition of clusters",
    {
        **LABELS.meaning,
        "high": "upper half of the digest of its shingles; all ones if it names no cluster",
        "low": "its lower half",
        "stratum": STATES.meaning["stratum"],
        "state": STATES.meaning["state"],
        "split": f"split of its cluster: {_CODES}; {FREE} where it is filled",
    },
)
SINGLES = Artifact(
    "gather",
    "singles",
    pa.schema([*_HALVES, ("row", pa.uint32()), ("stratum", pa.uint32())]),
    "one for each partition of the order",
    {
        "high": "upper half of the place in the order of a row that is alone",
        "low": "its lower half",
        "row": ROW,
        "stratum": STATES.meaning["stratum"],
    },
)
NAMED = Artifact(
    "name",
    "clusters",
    pa.schema(
        [
            *_HALVES,
            ("component", pa.int64()),
            ("size", pa.int64()),
            ("stratum", pa.uint32()),
        ]
    ),
    "one for each partition of the order",
    {
        "high": "upper half of the place of a cluster in the order",
        "low": "its lower half",
        "component": CLUSTER_LABELS.meaning["component"],
        "size": "its rows, without those that are excluded",
        "stratum": "number of the stratum of the row that names it",
    },
)
FILLED_ROWS = Artifact(
    "fill",
    "rows",
    pa.schema([("position", pa.int64()), ("split", pa.uint8())]),
    "one for each write task",
    {"position": "position of a row that is alone", "split": "1 for test, 2 for validation"},
)
FILLED_CLUSTERS = Artifact(
    "fill",
    "clusters",
    pa.schema([("component", pa.int64()), ("split", pa.uint8())]),
    "one for each partition of clusters",
    {"component": CLUSTER_LABELS.meaning["component"], "split": FILLED_ROWS.meaning["split"]},
)
SPREAD = Artifact(
    "spread",
    "rows",
    pa.schema([("position", pa.int64()), ("split", pa.uint8()), ("reason", pa.uint8()), *_HALVES]),
    "one for each write task",
    {
        "position": POSITION,
        "split": "0 for train, 1 for test, 2 for validation",
        "reason": "code of the reason: 0 single, 1 linked, 2 large, 3 empty",
        "high": "upper half of the name of its cluster; all ones for none",
        "low": "its lower half",
    },
)
SPLIT_ARTIFACTS = (
    UNLINKED,
    GROUPS,
    VALUES,
    STRATA,
    EARLIER,
    KEYS,
    PINS,
    GROUP_EDGES,
    CLUSTER_LABELS,
    RELATED,
    JOINED,
    IN_BETWEEN,
    STATES,
    MEMBERS,
    SINGLES,
    NAMED,
    FILLED_ROWS,
    FILLED_CLUSTERS,
    SPREAD,
)
"""What the tasks of a split leave, in the order of its stages."""


@dataclass(frozen=True)
class SplitJob:
    """All that a task needs to know, besides its number and what earlier stages left.

    job: the run in whose work directory the split is made. positions: where its rows are. wanted:
    what was asked for. partitions: those of values and of the order. unlinked: the file of each
    sign task that says which of its rows are excluded; None where none is.
    """

    job: Job
    positions: Positions
    wanted: Wanted
    partitions: int
    unlinked: Left | None

    def reader(self, task: int) -> SliceReader:
        """Reads the columns of `Wanted.columns` of a sign task."""
        reader = self.positions.reader(self.job, task, self.job.sizes.batch)
        roles = tuple((f"split {name}", name) for name in dict.fromkeys(self.wanted.columns))
        alike = [Projection((), roles)] * len(self.job.shards)
        return SliceReader(reader.shards, reader.slices, reader.starts, alike, reader.batch_bytes)


@dataclass(frozen=True)
class Strata:
    """The strata of a corpus: number i * lengths + j has the values of digest i and length j.

    digests: uint64, ascending, of the values of columns; one alone without columns. names: what
    each is called. bounds: int64, the least length of each range of lengths but the first.
    """

    digests: Array
    names: Sequence[str]
    bounds: Array

    @property
    def lengths(self) -> int:
        """How many ranges of lengths there are."""
        return len(self.bounds) + 1

    def numbers(self, digests: Array | None, shingles: Array) -> Array:
        """The number of the stratum of each row: uint32.

        digests: uint64, those of the values of columns, None without any. shingles: int64, the
        length of each row.
        """
        place = np.zeros(len(shingles), np.int64)
        if digests is not None:
            place = np.searchsorted(self.digests, digests)
        of_length = np.searchsorted(self.bounds, shingles, side="right")
        numbers: Array = (place * self.lengths + of_length).astype(np.uint32)
        return numbers

    def name(self, number: int) -> str:
        """What a stratum is called."""
        value, length = divmod(number, self.lengths)
        if not len(self.bounds):
            return self.names[value]
        ends = [0, *self.bounds.tolist()]
        rest = f"{ends[length]} or more"
        if length + 1 < len(ends):
            rest = f"{ends[length]} to {ends[length + 1] - 1}"
        return ", ".join(filter(None, [self.names[value], f"{rest} shingles"]))


def order_of(high: Array, low: Array, seed: int) -> tuple[Array, Array]:
    """The place of clusters in the order in which they are taken: upper and lower half, uint64.

    high, low: uint64 halves of their names. seed: of the order. It is the 128-bit xxh3 digest of
    seed and name.
    """
    words = np.empty((len(high), 3), "<u8")
    words[:, 0], words[:, 1], words[:, 2] = seed, high, low
    return digests_of_words(words)


def digests_of_words(words: Array) -> tuple[Array, Array]:
    """The 128-bit xxh3 digest of each row of numbers: upper and lower half, uint64.

    words: uint64[rows, words].
    """
    count, width = words.shape
    data = np.ascontiguousarray(words, "<u8").view(np.uint8).reshape(-1)
    digests = np.zeros((count, 2), np.uint64)
    digest_rows(data, np.arange(count + 1, dtype=np.int64) * 8 * width, SECRET, digests)
    return digests[:, 1].copy(), digests[:, 0].copy()


def by_high(high: Array, partitions: int) -> Array:
    """The partition of each digest by its upper half, in the order of digests: int64."""
    found: Array = (high >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)
    return found.astype(np.int64)


def by_component(components: Array, partitions: int) -> Array:
    """The partition of each cluster, over which neighbouring ones are spread: int64."""
    mixed = components.astype(np.uint64) * GOLDEN_RATIO >> np.uint64(32)
    return (mixed * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)
