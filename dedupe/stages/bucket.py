"""bucket: the records of one partition of the key space: rows that share a band key, or an id."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.checks import check_range, check_same_length
from dedupe.kernels.grouping import bucket_edges
from dedupe.schema import EDGES

EXAMPLES = 3
"""Repeated ids that are shown."""


@dataclass(frozen=True)
class Buckets:
    """edges: see `schema.EDGES`; largest: rows in one bucket."""

    edges: pa.RecordBatch
    largest: int


def bucket(keys: list[Array], positions: list[Array], partitions: int, corpus_rows: int) -> Buckets:
    """Edges that connect the rows sharing a band key.

    keys: band keys of the partition, one uint64 array for each sign task, in the order of tasks.
    positions: int64 arrays of the same lengths: the row of each key, in increasing order.
    partitions: number of partitions of the key space. corpus_rows: rows in the corpus.

    Raises IntegrityError for a position outside of the corpus.
    """
    all_keys = np.concatenate([*keys, np.zeros(0, np.uint64)])
    all_positions = np.concatenate([*positions, np.zeros(0, np.int64)])
    check_same_length("bucket was handed band keys without rows", all_keys, all_positions)
    check_range(all_positions, corpus_rows, "bucket was handed a row outside of the corpus")
    left, right, largest = bucket_edges(all_keys, all_positions, partitions)
    edges = pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=EDGES)
    return Buckets(edges, largest)


@dataclass(frozen=True)
class RepeatedIds:
    """count: rows whose id an earlier row has. examples: the first, each with that earlier row."""

    count: int
    examples: list[tuple[int, int]]


def repeated_ids(low: Array, high: Array, positions: Array, corpus_rows: int) -> RepeatedIds:
    """Find ids that occur more than once, by their digests.

    low, high: uint64 halves of the digest of each id, in the order of rows. positions: int64, the
    rows that have them. corpus_rows: rows in the corpus.

    Raises IntegrityError for a position outside of the corpus.
    """
    check_range(positions, corpus_rows, "bucket was handed an id of a row outside of the corpus")
    order = np.lexsort((high, low))
    low, high, positions = low[order], high[order], positions[order]
    same = (low[1:] == low[:-1]) & (high[1:] == high[:-1])
    first = np.flatnonzero(same & ~np.concatenate([np.zeros(1, np.bool_), same])[:-1])
    pairs = zip(positions[first].tolist(), positions[first + 1].tolist(), strict=True)
    return RepeatedIds(int(same.sum()), heapq.nsmallest(EXAMPLES, pairs))
