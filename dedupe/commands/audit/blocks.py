"""Rows of the corpus, read again: those of a block stay in memory, and all others pass by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.config import Resources, Settings
from dedupe.corpus import Projection, Shard, Slice, first_rows, plan_slices, read_slice
from dedupe.errors import SettingsError
from dedupe.planning import sizes as planning
from dedupe.planning.banding import Banding
from dedupe.stages.fetch import shingle_sets
from dedupe.stages.join import joined
from dedupe.stages.sign import Signer

SLICE_TEXT = 32_000_000
SLICE_ROWS = 1 << 18
"""Text and rows that are read by one task."""
BATCH_BYTES = 4_000_000
"""Text that is decoded at a time by one task, unless memory is short."""
BATCH_COPIES = 4
"""Memory of the shingle hashes of a batch, in sizes of them: made, looked up, pairs found."""
COUNT_BYTES = 200
"""Memory for each row of a block, besides that of the join: what is counted of it."""


@dataclass(frozen=True)
class Rows:
    """Slices of a corpus in order, and the position of the first row of each, with the end."""

    shards: Sequence[Shard]
    slices: Sequence[Slice]
    starts: Array
    wanted: Projection
    batch_bytes: int

    def read(self, number: int, places: Array | None = None) -> Iterator[tuple[Array, pa.Array]]:
        """(positions, documents) of a slice, some at a time: those at `places`, or all."""
        part, start = self.slices[number], int(self.starts[number])
        local = None if places is None else places - start
        at = 0
        for batch in read_slice(
            self.shards[part.shard], part, self.wanted, batch_bytes=self.batch_bytes, rows=local
        ):
            end = at + batch.num_rows
            found = np.arange(start + at, start + end) if places is None else places[at:end]
            yield found, batch.column(0)
            at = end


def cut(shard: Shard, wanted: Projection) -> list[tuple[Slice, int]]:
    """The slices of a shard, each with the number of its first row."""
    parts = plan_slices(shard, wanted.template.columns, SLICE_TEXT, SLICE_ROWS)
    return list(zip(parts, first_rows(shard, parts), strict=True))


@dataclass(frozen=True)
class Budget:
    """Memory of a block, and of what each of its rows takes on average."""

    block: int
    row: float
    hash: float
    batch: int

    @classmethod
    def of(
        cls, resources: Resources, settings: Settings, threshold: float, bands: int, taken: int
    ) -> Budget:
        """What is left for a block beside `taken` bytes and the batches that pass by it."""
        share = (resources.memory - planning.BASE_BYTES) // resources.threads
        per_byte = (
            planning.TEXT_COPIES + BATCH_COPIES * planning.SHINGLE_BYTES[settings.shingle_unit]
        )
        batch = min(BATCH_BYTES, int(share / 2 / per_byte))
        passing = planning.BASE_BYTES + int(resources.threads * batch * per_byte)
        return cls(
            block=planning.join_room(resources.memory - passing - taken, threshold),
            row=COUNT_BYTES + 16 * bands + planning.join_bytes(0, 1, threshold),
            hash=planning.join_bytes(1000, 0, threshold) / 1000,
            batch=batch,
        )


@dataclass(frozen=True)
class Held:
    """Rows of a block: their positions, ascending, their shingle sets, and band keys of each."""

    positions: Array
    offsets: Array
    hashes: Array
    keys: Array


class Holder:
    """Takes rows for a block as they are read; of too many, those of the lowest ranks.

    Whatever the order in which rows arrive, those of ranks below `below` are held in the end: all,
    or the largest half of a half of … them that fits.
    """

    def __init__(self, positions: Array, ranks: Array, budget: Budget) -> None:
        self._positions = positions
        self._ranks = ranks
        self._budget = budget
        self._parts: list[tuple[Array, Array, Array, Array]] = []
        self._lock = threading.Lock()
        self.below = len(positions)

    def wants(self, first: int, end: int) -> bool:
        """Whether any row from one place in `positions` to another can still be held."""
        return bool((self._ranks[first:end] < self.below).any())

    def add(self, first: int, offsets: Array, hashes: Array, keys: Array) -> None:
        """Take the rows at positions[first], positions[first + 1] and so on."""
        places = np.arange(first, first + len(offsets) - 1)
        with self._lock:
            self._parts.append(self._lower(places, np.diff(offsets), hashes, keys))
            while self._size() > self._budget.block:
                if self.below == 1:
                    raise SettingsError("memory does not hold the shingles of one row: raise it")
                self.below = max(self.below // 2, 1)
                self._parts = [self._lower(*part) for part in self._parts]

    def _size(self) -> float:
        rows = sum(len(places) for places, *_ in self._parts)
        hashes = sum(len(hashes) for _, _, hashes, _ in self._parts)
        return rows * self._budget.row + hashes * self._budget.hash

    def _lower(
        self, places: Array, sizes: Array, hashes: Array, keys: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Those of the rows whose ranks are low enough."""
        stay = self._ranks[places] < self.below
        if stay.all():
            return places, sizes, hashes, keys
        return places[stay], sizes[stay], hashes[np.repeat(stay, sizes)], keys[stay]

    def held(self) -> Held:
        """All rows in order; to be asked once."""
        parts = sorted((p for p in self._parts if len(p[0])), key=lambda part: int(part[0][0]))
        if not parts:
            none = np.zeros(0, np.int64)
            return Held(
                none, np.zeros(1, np.int64), none.view(np.uint64), np.zeros((0, 1), np.uint64)
            )
        self._parts = []
        places, keys = (np.concatenate([part[i] for part in parts]) for i in (0, 3))
        sizes = [np.zeros(1, np.int64), *(part[1] for part in parts)]
        offsets = np.cumsum(np.concatenate(sizes))
        hashes = [part[2] for part in parts]
        parts.clear()
        return Held(self._positions[places], offsets, joined(hashes, int(offsets[-1])), keys)


def read_block(
    rows: Rows,
    settings: Settings,
    banding: Banding,
    holder: Holder,
    positions: Array,
    number: int,
) -> dict[str, Any]:
    """Bring the wanted rows of a slice to the holder; a task."""
    first, end = np.searchsorted(positions, rows.starts[number : number + 2]).tolist()
    signer = Signer(settings, banding)
    at = first
    for places, documents in rows.read(number, positions[first:end]):
        if not holder.wants(at, end):
            break
        offsets, hashes = shingle_sets(documents, settings)
        keys = signer.sign(pa.RecordBatch.from_arrays([documents], ["document"])).keys
        holder.add(at, offsets, hashes, keys)
        at += len(places)
    return {"rows": at - first}
