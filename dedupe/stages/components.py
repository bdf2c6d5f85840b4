"""components: edges to components, by a union-find over the rows that have an edge.

Memory is in proportion to those rows, and two bits for every row of the corpus: see
`planning.sizes.link_memory`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.checks import check_increasing, check_range
from dedupe.errors import IntegrityError
from dedupe.kernels.grouping import (
    mark,
    marked,
    point_to_roots,
    rank_bits,
    union_edges,
)
from dedupe.schema import EDGES, LABELS


class ComponentFinder:
    """A union-find over the rows that have an edge, out of `corpus_rows` in the corpus.

    Edges are given twice, since only the rows that have one are numbered: all of them to `mark`,
    then all of them to `connect`. After that `forest` or `labels` tell what they connect.
    """

    def __init__(self, corpus_rows: int) -> None:
        self._corpus_rows = corpus_rows
        self._bits = np.zeros(-(-corpus_rows // 64), np.uint64)
        self._ranks: Array
        self._parent: Array

    def mark(self, edges: pa.RecordBatch) -> None:
        """Note which rows have edges (see `schema.EDGES`).

        Raises IntegrityError for an edge of a row outside of the corpus.
        """
        for column in edges.columns:
            if not mark(self._bits, numbers(column), self._corpus_rows):
                raise IntegrityError("components was handed an edge of a row outside of the corpus")

    def count(self) -> int:
        """How many rows have edges; only to be asked before `connect`."""
        return int(np.bitwise_count(self._bits).sum(dtype=np.int64))

    def connect(self, edges: Iterable[pa.RecordBatch]) -> None:
        """Take all edges, the same that were marked.

        Raises IntegrityError for an edge of a row that was not marked.
        """
        self._ranks = rank_bits(self._bits)
        self._parent = np.arange(int(self._ranks[-1, 1]))
        del self._bits
        for batch in edges:
            left, right = (numbers(column) for column in batch.columns)
            if not union_edges(self._ranks, self._parent, left, right):
                raise IntegrityError("components read other edges the second time than the first")
        point_to_roots(self._parent)

    def forest(self, most: int) -> Iterator[pa.RecordBatch]:
        """As few edges as connect the same rows, up to `most` in a batch."""
        positions = marked(self._ranks, 0, self._corpus_rows)
        for start in range(0, len(positions), most):
            roots = self._parent[start : start + most]
            others = np.flatnonzero(roots != np.arange(start, start + len(roots)))
            columns = (positions[roots[others]], positions[start : start + most][others])
            yield pa.RecordBatch.from_arrays([pa.array(part) for part in columns], schema=EDGES)

    def labels(self, task_starts: Array) -> Iterator[pa.RecordBatch]:
        """The component of each row, a batch for each sign task: see `schema.LABELS`.

        task_starts: int64, the position of the first row of each sign task, and the number of rows
        in the end.
        """
        complaint = "components was handed a sign task outside of the corpus"
        check_range(task_starts, self._corpus_rows + 1, complaint)
        check_increasing(task_starts, complaint, strictly=False)
        done = 0
        for first, end in zip(task_starts[:-1].tolist(), task_starts[1:].tolist(), strict=True):
            positions = marked(self._ranks, first, end)
            components = self._parent[done : done + len(positions)]
            done += len(positions)
            yield pa.RecordBatch.from_arrays(
                [pa.array((positions - first).astype(np.uint32)), pa.array(components)],
                schema=LABELS,
            )
