"""Verification in plain Python sets and loops: what `dedupe.kernels.verify` must agree with.

A component is a list of (shingle set, group) in keep-policy order; equal groups are equal digests
and have equal sets. Rows are named by their place in the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = tuple[frozenset[int], int]


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b)


def cover(rows: Sequence[Row], threshold: float) -> tuple[list[int], list[float]]:
    """Drop a row if a kept one reaches the threshold with it: (witness, jaccard) of each row."""
    witness: list[int] = []
    similarity: list[float] = []
    first: dict[int, int] = {}
    for i, (shingles, group) in enumerate(rows):
        if group in first:
            same = first[group]
            witness.append(witness[same])
            similarity.append(1.0 if witness[same] == same else similarity[same])
            continue
        first[group] = i
        best, value = i, math.nan
        for j in range(i):
            if witness[j] != j:
                continue
            found = jaccard(shingles, rows[j][0])
            if found >= threshold and (best == i or found > value):
                best, value = j, found
        witness.append(best)
        similarity.append(value)
    return witness, similarity


def transitive(rows: Sequence[Row], threshold: float) -> tuple[list[int], list[float]]:
    """Keep the first row of every connected component of pairs that reach the threshold."""
    label = list(range(len(rows)))
    for i in range(len(rows)):
        for j in range(i):
            if label[i] == label[j]:
                continue
            same = rows[i][1] == rows[j][1]
            if same or jaccard(rows[i][0], rows[j][0]) >= threshold:
                low, high = sorted((label[i], label[j]))
                label = [low if x == high else x for x in label]
    similarity = []
    for i, kept in enumerate(label):
        if kept == i:
            similarity.append(math.nan)
        elif rows[i][1] == rows[kept][1]:
            similarity.append(1.0)
        else:
            similarity.append(jaccard(rows[i][0], rows[kept][0]))
    return label, similarity


def check_cover(
    rows: Sequence[Row], threshold: float, witness: Sequence[int], similarity: Sequence[float]
) -> None:
    """The two guarantees, from their words alone: a proven witness, and no survivors."""
    kept = [i for i in range(len(rows)) if witness[i] == i]
    for i in range(len(rows)):
        if witness[i] == i:
            assert math.isnan(similarity[i])
            continue
        assert witness[witness[i]] == witness[i], "the witness is kept"
        true = jaccard(rows[i][0], rows[witness[i]][0])
        assert similarity[i] == true >= threshold
    for n, i in enumerate(kept):
        for j in kept[:n]:
            assert rows[i][1] != rows[j][1]
            assert jaccard(rows[i][0], rows[j][0]) < threshold
