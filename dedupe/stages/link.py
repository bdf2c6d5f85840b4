"""link: edges to components, and how their rows are handed to verification.

Memory is in proportion to the rows that have an edge (`planning.MEMBER_PEAK_BYTES`), and two bits
for every row of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.kernels.grouping import (
    count_before,
    first_equal,
    mark,
    marked,
    point_to_roots,
    union_edges,
)
from dedupe.schema import MEMBERS, WANTED

MEMBER_BYTES = 130
"""Memory of verify for each row, besides its shingle set."""
HASH_BYTES = 8
"""A shingle hash."""
VERIFY_TASKS = 32
"""Partitions of components that are made even where fewer would fit memory: work to share out."""
SMALL_PARTITION_BYTES = 4_000_000
"""But none smaller than this."""


class Linker:
    """A union-find over the rows that edges name, out of `rows` in the corpus.

    Edges are given twice: all of them to `name`, then all of them to `join`.
    """

    def __init__(self, rows: int) -> None:
        self._bits = np.zeros(rows // 64 + 1, np.uint64)

    def name(self, edges: pa.RecordBatch) -> None:
        """Note the rows of edges (see `schema.EDGES`)."""
        for column in edges.columns:
            mark(self._bits, numbers(column))

    def join(self, edges: Iterable[pa.RecordBatch]) -> tuple[Array, Array]:
        """Take all edges; (positions in increasing order, index of its component's first row)."""
        before = count_before(self._bits)
        parent = np.arange(before[-1])
        for batch in edges:
            union_edges(self._bits, before, parent, *(numbers(column) for column in batch.columns))
        point_to_roots(parent)
        return marked(self._bits, len(parent)), parent


@dataclass(frozen=True)
class Members:
    """Rows in components, by position, with what sign knows of them; one array entry per row.

    roots: index of the first row of the component.
    """

    positions: Array
    roots: Array
    digest_low: Array
    digest_high: Array
    shingles: Array
    order: Array


@dataclass(frozen=True)
class Handover:
    """What verification needs: see `schema.MEMBERS` and `schema.WANTED`."""

    members: list[pa.RecordBatch]
    wanted: pa.RecordBatch
    components: int
    largest: int
    set_hashes: list[int]


def hand_over(members: Members, partition_bytes: int) -> Handover:
    """Cut the components into partitions of at most about `partition_bytes` of verify's memory.

    Rows with equal digests form a group and are verified once, so only the first row of a group
    has its shingle set made, and only where its component has another group. A component is
    never cut: one larger than partition_bytes is a partition of its own.
    """
    positions, roots = members.positions, members.roots
    rows = len(positions)
    first = first_equal(members.digest_low, members.digest_high)
    leads = first == np.arange(rows)
    groups = np.bincount(roots[leads], minlength=rows)
    wanted = leads & (groups[roots] > 1)
    hashes = np.where(wanted, members.shingles, 0).astype(np.int64)
    weights = np.bincount(roots, weights=MEMBER_BYTES + HASH_BYTES * hashes, minlength=rows)
    heads = np.flatnonzero(roots == np.arange(rows))
    share = max(weights.sum() / VERIFY_TASKS, SMALL_PARTITION_BYTES)
    before = np.cumsum(weights[heads]) - weights[heads]
    cut = (before // min(partition_bytes, share)).astype(np.int64)
    number = np.cumsum(np.diff(cut, prepend=-1) > 0) - 1
    partitions = int(number[-1]) + 1 if rows else 0
    partition = np.zeros(rows, np.int64)
    partition[heads] = number
    partition = partition[roots]

    if (members.order == members.order[:1]).all():
        by_component = np.argsort(roots, kind="stable")
    else:
        by_component = np.lexsort((positions, members.order, roots))
    table = pa.RecordBatch.from_arrays(
        [
            pa.array(column[by_component])
            for column in (positions, positions[roots], positions[first], members.order)
        ],
        schema=MEMBERS,
    )
    bounds = np.searchsorted(partition[by_component], np.arange(partitions + 1))
    sizes = np.bincount(roots, minlength=rows)
    return Handover(
        members=[table.slice(bounds[i], bounds[i + 1] - bounds[i]) for i in range(partitions)],
        wanted=pa.RecordBatch.from_arrays(
            [pa.array(positions[wanted]), pa.array(partition[wanted], pa.int32())], schema=WANTED
        ),
        components=len(heads),
        largest=int(sizes.max()) if rows else 0,
        set_hashes=np.bincount(partition, weights=hashes, minlength=partitions)
        .astype(np.int64)
        .tolist(),
    )
