"""Pairs of rows of one component that are similar: a join within each, up to a number of pairs.

Rows with equal shingles in the same order are a *group*, which is compared once, as its first row:
each other row of the group has one pair, with that first row. The first rows of two groups are a
pair if each of their fields reaches the similarity. No pair is estimated, and none is missed but
those beyond the number that a component may have: these are the last in the order of the later of
both rows, and then of the earlier one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dedupe.arrays import Array
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.references import similarities
from dedupe.stages.join import JoinBlock
from dedupe.stages.verify import ShingleSets

DIRECT_GROUPS = 48
"""In components of so few groups each is compared with each; those of more are joined."""
COMPARED = 1 << 18
"""Pairs that are compared at a time, and those of one more row."""
LEAST_PAIRS = 1 << 12
"""Pairs that a join looks for at a time, at least."""
STREAMED = 1 << 22
"""Shingles that stream past a block at a time, and those of one more row: 32 MB."""


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs of rows, by component, then by the later row, then by the earlier one.

    later, earlier: int64, their positions. component: int64, the number of their component.
    jaccard: float64[pairs, fields]. cut: int64, the components that have more pairs than these.
    """

    later: Array
    earlier: Array
    component: Array
    jaccard: Array
    cut: Array


class Component:
    """Where the rows of a partition are, and which of them need no pair of their own.

    position, component, group: int64, see `schema.MEMBERS`. witness: int64, the position of the
    witness of each row, its own where it has none. own_rows: rows of the corpus; those of
    references have the positions behind them, and two of them are never a pair.
    """

    def __init__(
        self, position: Array, component: Array, group: Array, witness: Array, own_rows: int
    ) -> None:
        order = np.argsort(position)
        self.position = position[order]
        self.component = component[order]
        self.group = group[order]
        self.witness = witness[order]
        self.own_rows = own_rows

    def of(self, positions: Array) -> Array:
        """The component of each of some positions."""
        found: Array = self.component[np.searchsorted(self.position, positions)]
        return found

    def needed(self, later: Array, earlier: Array) -> Array:
        """Whether pairs are of the corpus, and are not that of a row and its witness: bool."""
        mine = self.witness[np.searchsorted(self.position, later)]
        its = self.witness[np.searchsorted(self.position, earlier)]
        needed: Array = (earlier < self.own_rows) & (mine != earlier) & (its != later)
        return needed

    def copies(self) -> tuple[Array, Array]:
        """The pairs within groups: (later, earlier)."""
        others = np.flatnonzero(self.group != self.position)
        later, earlier = self.position[others], self.group[others]
        needed = self.needed(later, earlier)
        return later[needed], earlier[needed]


def similar_pairs(
    rows: Component, sets: ShingleSets, least: float, most: int, room: Callable[[int, int], bool]
) -> SimilarPairs:
    """The pairs of the components of a partition that have at least some similarity.

    rows: of the partition. sets: those of the first row of each group, where its component has
    several. least: Jaccard similarity that each field must have. most: pairs of a component.
    room: whether a block of so many shingles and rows fits memory.
    """
    later, earlier = rows.copies()
    copies: Found = (later, earlier, rows.of(later), np.ones((len(later), sets.fields)))
    found = [copies, *_found(rows, sets, least, most, room)]
    (first, second, component, jaccard), beyond = _first_of_components(
        [np.concatenate(column) for column in zip(*found, strict=True)], most
    )
    return SimilarPairs(first, second, component, jaccard, beyond)


def _first_of_components(columns: Sequence[Array], most: int) -> tuple[list[Array], Array]:
    """Up to so many pairs of each component, and the components that have more.

    columns: the pairs, see `Found`; they come back in their order.
    """
    order = np.lexsort((columns[1], columns[0], columns[2]))
    component = columns[2][order]
    starts = np.flatnonzero(np.diff(component, prepend=-1))
    counts = np.diff(np.append(starts, len(component)))
    stay = order[np.arange(len(component)) - np.repeat(starts, counts) < most]
    return [column[stay] for column in columns], component[starts[counts > most]]


Found = tuple[Array, ...]
"""Later, earlier, component and jaccard of some pairs, as in `SimilarPairs`."""


def _found(
    rows: Component, sets: ShingleSets, least: float, most: int, room: Callable[[int, int], bool]
) -> Iterator[Found]:
    """Pairs of groups; of a component that has more than `most` some are left out."""
    of_sets = rows.of(sets.positions)
    order = np.lexsort((sets.positions, of_sets))
    component = of_sets[order]
    starts = np.flatnonzero(np.diff(component, prepend=-1))
    counts = np.diff(np.append(starts, len(component)))
    is_small = np.repeat(counts <= DIRECT_GROUPS, counts)
    yield from _each_with_each(rows, sets, least, most, order[is_small])
    if not is_small.all():
        yield from _joined(rows, sets, least, most, room, order[~is_small])


def _each_with_each(
    rows: Component, sets: ShingleSets, least: float, most: int, order: Array
) -> Iterator[Found]:
    """The pairs of small components, each row of which is compared with each before it.

    order: int64, the sets of these rows by component, then by position.
    """
    component = rows.of(sets.positions[order])
    starts = np.flatnonzero(np.diff(component, prepend=-1))
    counts = np.diff(np.append(starts, len(component)))
    start = np.repeat(starts, counts)
    before = np.arange(len(component)) - start
    sizes = np.diff(sets.offsets).reshape(-1, sets.fields)[order]
    hashes = np.asarray(sets.hashes)
    ends = np.cumsum(before)
    at = 0
    while at < len(component):
        stop = int(np.searchsorted(ends, ends[at] + COMPARED, side="right"))
        of = np.repeat(np.arange(at, stop), before[at:stop])
        firsts = np.cumsum(before[at:stop]) - before[at:stop]
        others = np.arange(len(of)) - np.repeat(firsts - start[at:stop], before[at:stop])
        fits = _may_reach(sizes[of], sizes[others], least)
        of, others = of[fits], others[fits]
        later, earlier = sets.positions[order[of]], sets.positions[order[others]]
        needed = rows.needed(later, earlier)
        of, others, later, earlier = (one[needed] for one in (of, others, later, earlier))
        jaccard = similarities(order[of], order[others], sets.fields, sets.offsets, hashes)
        is_pair = (jaccard >= least).all(axis=1)
        found = [later[is_pair], earlier[is_pair], component[of[is_pair]], jaccard[is_pair]]
        yield tuple(_first_of_components(found, most + 1)[0])
        at = stop


def _may_reach(sizes: Array, others: Array, least: float) -> Array:
    """Whether sets of these sizes can have some similarity in each field: bool.

    sizes, others: int64[pairs, fields]. Equal sizes always can, also if both are 0.
    """
    low, high = np.minimum(sizes, others), np.maximum(sizes, others)
    may: Array = np.all(low >= least * high * (1 - 1e-12), axis=1)
    return may


def _joined(
    rows: Component,
    sets: ShingleSets,
    least: float,
    most: int,
    room: Callable[[int, int], bool],
    order: Array,
) -> Iterator[Found]:
    """The pairs of large components; of one that has more than `most` some are left out.

    order: int64, the sets of their rows by component, then by position.
    """
    component = rows.of(sets.positions[order])
    sizes = np.diff(sets.offsets[:: sets.fields])[order]
    gathered = _Sorted(sets, order, component)
    for first, end, last in _blocks(component, sizes, room):
        own = np.flatnonzero(gathered.positions[first:end] < rows.own_rows) + first
        offsets, hashes = gathered.sets(own)
        stamps = np.arange(len(own), dtype=np.uint64)  # equal sets may be of two groups
        block = JoinBlock(offsets, hashes, least, stamps, sets.fields)
        entries = own[block.leaders]
        yield from _past(block, entries, gathered, rows, most, first, last)


class _Sorted:
    """Shingle sets in the order of components, those of different ones with nothing in common.

    sets: of the partition. order: int64, their numbers by component, then by position. component:
    int64, of each.
    """

    def __init__(self, sets: ShingleSets, order: Array, component: Array) -> None:
        self._sets, self._order = sets, order
        self.positions: Array = sets.positions[order]
        self.component = component
        salts = (component + 1).astype(np.uint64) * GOLDEN_RATIO
        self._salts = salts ^ salts >> np.uint64(32)
        self.ends = np.cumsum(np.diff(sets.offsets[:: sets.fields])[order])

    def sets(self, places: Array) -> tuple[Array, Array]:
        """The sets at some places: offsets and hashes, which nobody else has."""
        fields = self._sets.fields
        of = (self._order[places][:, None] * fields + np.arange(fields)).reshape(-1)
        sizes = np.diff(self._sets.offsets)[of]
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        at = np.arange(bounds[-1]) + np.repeat(self._sets.offsets[:-1][of] - bounds[:-1], sizes)
        salts = np.repeat(np.repeat(self._salts[places], fields), sizes)
        return bounds, np.asarray(self._sets.hashes)[at] ^ salts


def _blocks(
    component: Array, sizes: Array, room: Callable[[int, int], bool]
) -> Iterator[tuple[int, int, int]]:
    """Rows of each block: (first, end, the end of the rows that stream past it).

    component: int64, of each row, ascending. sizes: int64, shingles of each. A block has whole
    components, or a part of one that does not fit.
    """
    ends = np.append(np.flatnonzero(np.diff(component)) + 1, len(component))
    shingles = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])

    def fits(first: int, end: int) -> bool:
        return room(int(shingles[end] - shingles[first]), end - first)

    first = 0
    while first < len(component):
        at = int(np.searchsorted(ends, first, side="right"))
        last = int(ends[at])
        if not fits(first, last):  # one component, a part after the other
            end = _most(first, last, fits)
            yield first, end, last
            first = end
            continue
        many = _most(at, len(ends), lambda _, count: fits(first, int(ends[count - 1])))  # noqa: B023
        end = int(ends[many - 1])
        yield first, end, end
        first = end


def _most(first: int, last: int, fits: Callable[[int, int], bool]) -> int:
    """The greatest end up to `last` with which what begins at `first` fits; at least one more."""
    low, high = first + 1, last
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(first, middle) else (low, middle - 1)
    return low


def _past(
    block: JoinBlock,
    entries: Array,
    gathered: _Sorted,
    rows: Component,
    most: int,
    first: int,
    last: int,
) -> Iterator[Found]:
    """The pairs of a block's rows with those from its first on, in order; see `_joined`.

    entries: int64, the place of each entry of the block. first, last: places of the rows that
    stream past it.
    """
    at, current, count = first, -1, 0
    while at < last:
        stop = int(np.searchsorted(gathered.ends, gathered.ends[at] + STREAMED, side="right"))
        stop = min(max(stop, at + 1), last)
        offsets, hashes = gathered.sets(np.arange(at, stop))
        row = 0
        while row < stop - at:
            pairs, row = block.some_pairs(offsets, hashes, row, max(most, LEAST_PAIRS))
            places, others = at + pairs.rows, entries[pairs.entries]
            later, earlier = gathered.positions[places], gathered.positions[others]
            is_pair = (earlier < later) & (gathered.component[places] == gathered.component[others])
            is_pair[is_pair] = rows.needed(later[is_pair], earlier[is_pair])
            component = gathered.component[places[is_pair]]
            found = [later[is_pair], earlier[is_pair], component, pairs.jaccard[is_pair]]
            yield tuple(_first_of_components(found, most + 1)[0])
            now = int(gathered.component[at + row - 1])
            count = count if now == current else 0
            count, current = count + int(np.count_nonzero(component == now)), now
            if count > most:  # nothing more of it is wanted
                row = int(np.searchsorted(gathered.component, now, side="right")) - at
        at += row
