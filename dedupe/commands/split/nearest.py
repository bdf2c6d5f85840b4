"""The most similar row that was seen of each of some things."""

from __future__ import annotations

import numpy as np

from dedupe.arrays import Array


def improve(best: Array, where: Array, things: Array, similarity: Array, positions: Array) -> None:
    """Note for each thing its most similar row, of equally similar ones the first.

    best, where: float64 and int64 of each thing, the similarity and the position of that row;
    written. things, similarity, positions: of rows that are seen.
    """
    order = np.lexsort((positions, -similarity, things))
    things, similarity, positions = things[order], similarity[order], positions[order]
    first = np.flatnonzero(np.diff(things, prepend=-1))
    things, similarity, positions = things[first], similarity[first], positions[first]
    old, at = best[things], where[things]
    better = (similarity > old) | ((similarity == old) & (positions < at))
    best[things[better]] = similarity[better]
    where[things[better]] = positions[better]
