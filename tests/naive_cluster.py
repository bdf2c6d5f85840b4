"""Verification in plain Python sets and loops: what `dedupe.kernels.verify` must agree with.

A component is a list of (shingle sets, group) in keep-policy order; a row has a set for each field,
and hashes of different fields are different. Equal groups have equal shingles in the same order.
Rows are named by their place in the list.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Fields = tuple[frozenset[int], ...]
Row = tuple[Fields, int]


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return len(a & b) / len(a | b) if a or b else 1.0


def by_field(a: Fields, b: Fields) -> list[float]:
    return [jaccard(x, y) for x, y in zip(a, b, strict=True)]


def cover(rows: Sequence[Row], threshold: float) -> tuple[list[int], list[list[float]]]:
    """Drop a row if a kept one reaches the threshold with it: (witness, jaccard) of each row."""
    witness: list[int] = []
    similarity: list[list[float]] = []
    first: dict[int, int] = {}
    for i, (sets, group) in enumerate(rows):
        if group in first:
            same = first[group]
            witness.append(witness[same])
            ones = [1.0] * len(sets)
            similarity.append(ones if witness[same] == same else similarity[same])
            continue
        first[group] = i
        best, values = i, [math.nan] * len(sets)
        for j in range(i):
            if witness[j] != j:
                continue
            found = by_field(sets, rows[j][0])
            if min(found) >= threshold and (best == i or min(found) > min(values)):
                best, values = j, found
        witness.append(best)
        similarity.append(values)
    return witness, similarity


def transitive(rows: Sequence[Row], threshold: float) -> tuple[list[int], list[list[float]]]:
    """Keep the first row of every connected component of pairs that reach the threshold."""
    label = list(range(len(rows)))
    for i in range(len(rows)):
        for j in range(i):
            if label[i] == label[j]:
                continue
            same = rows[i][1] == rows[j][1]
            if same or min(by_field(rows[i][0], rows[j][0])) >= threshold:
                low, high = sorted((label[i], label[j]))
                label = [low if x == high else x for x in label]
    similarity = []
    for i, kept in enumerate(label):
        if kept == i:
            similarity.append([math.nan] * len(rows[i][0]))
        elif rows[i][1] == rows[kept][1]:
            similarity.append([1.0] * len(rows[i][0]))
        else:
            similarity.append(by_field(rows[i][0], rows[kept][0]))
    return label, similarity


def check_cover(
    rows: Sequence[Row],
    threshold: float,
    witness: Sequence[int],
    similarity: Sequence[Sequence[float]],
) -> None:
    """The two guarantees, from their words alone: a proven witness, and no survivors."""
    kept = [i for i in range(len(rows)) if witness[i] == i]
    for i in range(len(rows)):
        if witness[i] == i:
            assert all(map(math.isnan, similarity[i]))
            continue
        assert witness[witness[i]] == witness[i], "the witness is kept"
        for f, value in enumerate(similarity[i]):
            assert value == jaccard(rows[i][0][f], rows[witness[i]][0][f]) >= threshold
    for n, i in enumerate(kept):
        for j in kept[:n]:
            assert rows[i][1] != rows[j][1]
            assert min(by_field(rows[i][0], rows[j][0])) < threshold


def lost(words: Sequence[str], witness: Sequence[str], n: int) -> int:
    """The longest run of words that no shingle of n words covers that the witness has, too."""
    shingles = [tuple(words[i : i + n]) for i in range(max(len(words) - n + 1, 1))]
    theirs = {tuple(witness[i : i + n]) for i in range(max(len(witness) - n + 1, 1))}
    covered = [False] * len(words)
    for i, shingle in enumerate(shingles):
        if shingle in theirs:
            covered[i : i + n] = [True] * len(covered[i : i + n])
    longest = run = 0
    for one in covered:
        run = 0 if one else run + 1
        longest = max(longest, run)
    return longest


def nearest(
    rows: Sequence[Row], references: Sequence[bool], threshold: float
) -> tuple[list[int], list[list[float]]]:
    """The best reference of each row that is none: (its place or -1, jaccard) of each row."""
    found: list[int] = []
    similarity: list[list[float]] = []
    for (sets, _), untouched in zip(rows, references, strict=True):
        best, values = -1, [math.nan] * len(sets)
        for j, (others, _) in enumerate(rows):
            if references[j] and not untouched:
                alike = by_field(sets, others)
                if min(alike) >= threshold and (best < 0 or min(alike) > min(values)):
                    best, values = j, alike
        found.append(best)
        similarity.append(values)
    return found, similarity
