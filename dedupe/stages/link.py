"""link: edges to components, and how their rows are handed to verification.

Memory is in proportion to the rows that have an edge: about 150 bytes each at the peak.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.kernels.grouping import component_labels, first_equal, union_edges
from dedupe.schema import MEMBERS, WANTED

MEMBER_BYTES = 64
"""Memory of verify for each row, besides its shingle set."""
HASH_BYTES = 8


class Linker:
    """A union-find that grows with the rows named by edges."""

    def __init__(self) -> None:
        self._table = np.full(16, -1, np.int64)
        self._nodes = np.empty(8, np.int64)
        self._parent = np.empty(8, np.int64)
        self._count = 0

    def add(self, left: Array, right: Array) -> None:
        """Take edges: int64 positions."""
        self._table, self._nodes, self._parent, self._count = union_edges(
            self._table, self._nodes, self._parent, self._count, left, right
        )

    def components(self) -> tuple[Array, Array]:
        """(positions in increasing order, the lowest position of the component of each)."""
        labels = component_labels(self._nodes, self._parent, self._count)
        positions = self._nodes[: self._count]
        order = np.argsort(positions)
        return positions[order], labels[order]


@dataclass(frozen=True)
class Members:
    """Rows in components, by position, with what sign knows of them; one array entry per row."""

    positions: Array
    components: Array
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
    """Cut the components into partitions of about `partition_bytes` of memory in verification.

    Rows with equal digests form a group and are verified once, so only the first row of a group
    has its shingle set made, and only where its component has another group. A component is
    never cut: one larger than partition_bytes is a partition of its own.
    """
    positions, components = members.positions, members.components
    rows = len(positions)
    first = first_equal(members.digest_low, members.digest_high)
    group = positions[first]
    leads = first == np.arange(rows)
    home = np.searchsorted(positions, components)
    groups = np.bincount(home[leads], minlength=rows)
    wanted = leads & (groups[home] > 1)
    hashes = np.where(wanted, members.shingles, 0).astype(np.int64)
    weights = np.bincount(home, weights=MEMBER_BYTES + HASH_BYTES * hashes, minlength=rows)
    before = np.cumsum(weights) - weights
    partition = (before // partition_bytes).astype(np.int64)
    _, partition = np.unique(partition[home], return_inverse=True)
    partitions = int(partition.max()) + 1 if rows else 0

    if (members.order == members.order[:1]).all():
        by_component = np.argsort(components, kind="stable")
    else:
        by_component = np.lexsort((positions, members.order, components))
    table = pa.RecordBatch.from_arrays(
        [
            pa.array(column[by_component])
            for column in (positions, components, group, members.order)
        ],
        schema=MEMBERS,
    )
    bounds = np.searchsorted(partition[by_component], np.arange(partitions + 1))
    sizes = np.bincount(home, minlength=rows)
    return Handover(
        members=[table.slice(bounds[i], bounds[i + 1] - bounds[i]) for i in range(partitions)],
        wanted=pa.RecordBatch.from_arrays(
            [pa.array(positions[wanted]), pa.array(partition[wanted], pa.int32())], schema=WANTED
        ),
        components=int((sizes > 0).sum()),
        largest=int(sizes.max()) if rows else 0,
        set_hashes=np.bincount(partition, weights=hashes, minlength=partitions)
        .astype(np.int64)
        .tolist(),
    )
