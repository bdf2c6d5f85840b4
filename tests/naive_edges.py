"""Pairs of rows that are similar, in plain loops: what `dedupe.commands.edges` must agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def joined(rows: int, are_linked: Callable[[int, int], bool]) -> list[int]:
    """The first row of the component of each row."""
    component = list(range(rows))
    for later in range(rows):
        for earlier in range(later):
            if component[later] != component[earlier] and are_linked(later, earlier):
                low, high = sorted((component[later], component[earlier]))
                component = [low if one == high else one for one in component]
    return component


def pairs(
    component: Sequence[int],
    group: Sequence[Any],
    similarity: Callable[[int, int], Sequence[float]],
    witness: Sequence[int | None],
    *,
    least: float,
    cap: int,
    own: int,
) -> tuple[list[tuple[int, int, list[float]]], set[int]]:
    """(later row, earlier row, similarities) of the pairs to list, and the components cut short.

    component, group: of each row; None as the group of an empty row. witness: of each row, None for
    kept ones. own: rows of the corpus, before those of references.
    """
    listed: list[tuple[int, int, list[float]]] = []
    count: dict[int, int] = {}
    cut = set()
    first = {one: row for row, one in reversed(list(enumerate(group)))}
    for later in range(len(group)):
        for earlier in range(later):
            if group[later] is None or group[earlier] is None or earlier >= own:
                continue
            if component[later] != component[earlier]:
                continue
            if witness[later] == earlier or witness[earlier] == later:
                continue
            is_first = first[group[later]] == later and first[group[earlier]] == earlier
            if group[later] == group[earlier]:
                if first[group[later]] != earlier:
                    continue
                found = [1.0] * len(similarity(later, earlier))
            elif not is_first or min(similarity(later, earlier)) < least:
                continue
            else:
                found = list(similarity(later, earlier))
            count[component[later]] = count.get(component[later], 0) + 1
            if count[component[later]] > cap:
                cut.add(component[later])
            else:
                listed.append((later, earlier, found))
    return listed, cut


def names(edges: Sequence[tuple[int, int]], witness: Sequence[int | None]) -> dict[int, int]:
    """Of each row with an edge the first row without witness that edges connect it with."""
    linked: dict[int, set[int]] = {}
    for left, right in edges:
        whole = linked.get(left, {left}) | linked.get(right, {right})
        for row in whole:
            linked[row] = whole
    return {row: min(one for one in whole if witness[one] is None) for row, whole in linked.items()}
