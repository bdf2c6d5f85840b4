"""components: edges to components, by a union-find over the rows that have an edge.

Memory is in proportion to those rows, and two bits for every row of the corpus: see
`TaskCosts.link_memory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.kernels.grouping import (
    mark,
    marked,
    point_to_roots,
    rank_bits,
    union_edges,
)
from dedupe.schema import EDGES, LABELS


class Linker:
    """A union-find over the rows that edges name, out of `rows` in the corpus.

    Edges are given twice: all of them to `name`, then all of them to `join`; `forest` or `labels`
    tell what they connect.
    """

    def __init__(self, rows: int) -> None:
        self._bits = np.zeros(rows // 64 + 1, np.uint64)
        self._ranks: Array
        self._parent: Array

    def name(self, edges: pa.RecordBatch) -> None:
        """Note the rows of edges (see `schema.EDGES`)."""
        for column in edges.columns:
            mark(self._bits, numbers(column))

    def count(self) -> int:
        """Rows that were named; to be asked before `join`."""
        return int(np.bitwise_count(self._bits).sum(dtype=np.int64))

    def join(self, edges: Iterable[pa.RecordBatch]) -> None:
        """Take all edges."""
        self._ranks = rank_bits(self._bits)
        self._parent = np.arange(int(self._ranks[-1, 1]))
        del self._bits
        for batch in edges:
            columns = (numbers(column) for column in batch.columns)
            union_edges(self._ranks, self._parent, *columns)
        point_to_roots(self._parent)

    def forest(self, most: int) -> Iterator[pa.RecordBatch]:
        """As few edges as connect the same rows, up to `most` in a batch."""
        positions = marked(self._ranks, 0, 64 * (len(self._ranks) - 1))
        for start in range(0, len(positions), most):
            roots = self._parent[start : start + most]
            others = np.flatnonzero(roots != np.arange(start, start + len(roots)))
            columns = (positions[roots[others]], positions[start : start + most][others])
            yield pa.RecordBatch.from_arrays([pa.array(part) for part in columns], schema=EDGES)

    def labels(self, task_starts: Array) -> Iterator[pa.RecordBatch]:
        """The component of each row, by sign task: see `schema.LABELS`.

        task_starts: position of the first row of each sign task, with the end.
        """
        done = 0
        for first, end in zip(task_starts[:-1].tolist(), task_starts[1:].tolist(), strict=True):
            positions = marked(self._ranks, first, end)
            components = self._parent[done : done + len(positions)]
            done += len(positions)
            yield pa.RecordBatch.from_arrays(
                [pa.array((positions - first).astype(np.uint32)), pa.array(components)],
                schema=LABELS,
            )
