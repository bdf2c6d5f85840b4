"""Rows that are linked with rows of several splits: each to one of them, or excluded, by rounds.

A row that stood in a split stays there. In each round the rows that are linked with rows of one
split join it; a row that is linked with rows of two is excluded, and so are rows that are linked
with one another and would join different splits. An excluded row links nothing. The rounds end when
no row joins; the rows that are left then are like no row of any split.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array
from dedupe.commands.split.job import FREE
from dedupe.commands.split.nearest import improve
from dedupe.commands.split.wanted import EXCLUDED
from dedupe.kernels.join import first_same
from dedupe.schema import EDGES
from dedupe.stages.components import ComponentFinder
from dedupe.stages.join import JoinBlock

NOWHERE = np.iinfo(np.int64).max
"""In place of a position."""


@dataclass(frozen=True)
class Related:
    """Rows of some components. Those of different ones have nothing in common.

    fields: of a row. position: int64, of each row, ascending. component: int64. stood: uint8, the
    split in which it stood before, or `FREE`. offsets, hashes: its shingle sets, see `RowSets`.
    values: uint64[rows, values, 2], digests of what links it with rows of equal ones; zeros where
    there is none.
    """

    fields: int
    position: Array
    component: Array
    stood: Array
    offsets: Array
    hashes: Array
    values: Array

    def sets(self, rows: Array) -> tuple[Array, Array]:
        """The shingle sets of some rows: offsets and hashes. rows: int64, their numbers."""
        of = (rows[:, None] * self.fields + np.arange(self.fields)).reshape(-1)
        sizes = np.diff(self.offsets)[of]
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        at = np.arange(bounds[-1]) + np.repeat(self.offsets[:-1][of] - bounds[:-1], sizes)
        return bounds, self.hashes[at]


@dataclass(frozen=True)
class Settled:
    """What becomes of `Related` rows.

    split: uint8, of each row; `EXCLUDED` of one that is between two, `FREE` of one that is like no
    row of a split. first: int64, the number of the first row of its cluster: rows that are linked
    and in one split, or of no split; its own number where it is excluded. between: int64, the
    numbers of the excluded rows. splits, witnesses, jaccard: for each of these the two splits
    (uint8[between, 2]), the position of a row of each that it is linked with (int64[between, 2]),
    and the similarity of these rows (float64[between, 2]), NaN where they have an equal value.
    """

    split: Array
    first: Array
    between: Array
    splits: Array
    witnesses: Array
    jaccard: Array


class _Seen:
    """The best row of each split that is linked with each of some things.

    count: of things. splits: of each.
    """

    def __init__(self, count: int, splits: int) -> None:
        self.splits = splits
        self.similarity = np.full(count * splits, -1.0)
        self.position = np.full(count * splits, NOWHERE)

    def note(self, things: Array, split: Array, similarity: Array, position: Array) -> None:
        """Note rows; of several the most similar stays, of equally similar ones the first.

        things: int64, with what each row is linked. split, similarity, position: of each row.
        """
        at = things * self.splits + split
        improve(self.similarity, self.position, at, similarity, position)

    def of(self, things: Array) -> tuple[Array, Array]:
        """(similarity, position) for each of some things and each split: arrays[things, splits]."""
        at = things[:, None] * self.splits + np.arange(self.splits)
        return self.similarity[at], self.position[at]


class _Members:
    """Which rows have a number, for numbers below `count`: of which one row may have several.

    rows, numbers: int64, pairs of them.
    """

    def __init__(self, rows: Array, numbers: Array, count: int) -> None:
        self._rows = rows[np.argsort(numbers, kind="stable")]
        sizes = np.bincount(numbers, minlength=count)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])

    def of(self, numbers: Array) -> tuple[Array, Array]:
        """(the rows of some numbers, which of these numbers each has)."""
        sizes = self._starts[numbers + 1] - self._starts[numbers]
        ends = np.cumsum(sizes)
        at = np.arange(ends[-1] if len(ends) else 0)
        at = at + np.repeat(self._starts[numbers] - (ends - sizes), sizes)
        return self._rows[at], np.repeat(np.arange(len(numbers)), sizes)


class _Rounds:
    """The rounds: see the module. related: the rows. threshold: of similarity."""

    def __init__(self, related: Related, threshold: float) -> None:
        self.related = related
        self.split = related.stood.copy()
        self.undecided = np.flatnonzero(related.stood == FREE)
        self.block = JoinBlock(*related.sets(self.undecided), threshold, fields=related.fields)
        count = len(related.position)
        self.entry = np.full(count, -1)
        self.entry[self.undecided] = self.block.entry
        rows = np.flatnonzero(self.entry >= 0)
        entries = len(self.block.leaders)
        self.of_entry = _Members(rows, self.entry[rows], entries)
        self.value_rows, self.value, values = _numbered(related.values)
        self.of_value = _Members(self.value_rows, self.value, values)
        self.values_of = _Members(self.value, self.value_rows, count)
        self.by_text = _Seen(entries, EXCLUDED)
        self.by_value = _Seen(values, EXCLUDED)
        self.queried = np.zeros(entries, np.bool_)
        self.between: list[tuple[Array, Array, Array, Array]] = []

    def run(self) -> None:
        """Let rows join until none does."""
        fresh = np.flatnonzero(self.split != FREE)
        while len(fresh):
            fresh = self._round(fresh)

    def _round(self, fresh: Array) -> Array:
        """A round: the rows that join. fresh: int64, those that joined in the last one."""
        rows = self._linked_with(fresh)
        similarity, position = self._seen_by(rows)
        there = position != NOWHERE
        several = there.sum(axis=1) > 1
        two = np.argsort(~there[several], axis=1, kind="stable")[:, :2]
        self._exclude(
            rows[several],
            two,
            np.take_along_axis(position[several], two, axis=1),
            np.take_along_axis(similarity[several], two, axis=1),
        )
        rows, own = rows[~several], there[~several].argmax(axis=1)
        similarity, position = similarity[~several], position[~several]
        against, against_similarity = self._conflicts(rows, own)
        torn = (against != NOWHERE).any(axis=1)
        other = (against[torn] != NOWHERE).argmax(axis=1)
        lines = np.arange(len(other))
        self._exclude(
            rows[torn],
            np.stack([own[torn], other], axis=1),
            np.stack([position[torn][lines, own[torn]], against[torn][lines, other]], axis=1),
            np.stack(
                [similarity[torn][lines, own[torn]], against_similarity[torn][lines, other]], axis=1
            ),
        )
        joining: Array = rows[~torn]
        self.split[joining] = own[~torn]
        return joining

    def _exclude(self, rows: Array, splits: Array, witnesses: Array, similarity: Array) -> None:
        self.split[rows] = EXCLUDED
        by_text = np.where(similarity < 0, np.nan, similarity)
        order = np.argsort(splits, axis=1)
        self.between.append(
            (
                rows,
                np.take_along_axis(splits, order, axis=1).astype(np.uint8),
                np.take_along_axis(witnesses, order, axis=1),
                np.take_along_axis(by_text, order, axis=1),
            )
        )

    def _linked_with(self, fresh: Array) -> Array:
        """Undecided rows that are linked with rows of splits; notes with which: int64, ascending.

        fresh: int64, the rows that have joined.
        """
        found = [np.zeros(0, np.int64)]
        position, split = self.related.position, self.split
        asking = self._askers(fresh)
        for of, entries, similarity in self._alike(asking):
            rows = asking[of]
            self.by_text.note(entries, split[rows].astype(np.int64), similarity, position[rows])
            found.append(self.of_entry.of(np.unique(entries))[0])
        values, of = self.values_of.of(fresh)
        rows = fresh[of]
        is_new = self.by_value.of(values)[1][np.arange(len(values)), split[rows]] == NOWHERE
        values, rows = values[is_new], rows[is_new]
        none = np.zeros(len(rows))
        self.by_value.note(values, split[rows].astype(np.int64), none, position[rows])
        found.append(self.of_value.of(np.unique(values))[0])
        linked = np.unique(np.concatenate(found))
        undecided: Array = linked[self.split[linked] == FREE]
        return undecided

    def _askers(self, fresh: Array) -> Array:
        """Of rows that have joined one for each set that was not asked with: int64."""
        entry = self.entry[fresh]
        bounds, hashes = self.related.sets(fresh[entry < 0])
        stamps = self.split[fresh[entry < 0]].astype(np.uint64)
        first = first_same(np.ascontiguousarray(bounds[:: self.related.fields]), hashes, stamps)
        stood = fresh[entry < 0][np.unique(first)]
        joined, entries = fresh[entry >= 0], entry[entry >= 0]
        entries, first = np.unique(entries, return_index=True)
        is_new = ~self.queried[entries]
        self.queried[entries[is_new]] = True
        asking: Array = np.concatenate([stood, joined[first[is_new]]])
        return asking

    def _alike(self, rows: Array) -> Iterator[tuple[Array, Array, Array]]:
        """Pairs of some rows and entries of the block: (place of the row, entry, similarity)."""
        for pairs in self.block.pairs(*self.related.sets(rows)):
            yield pairs.rows, pairs.entries, pairs.jaccard.min(axis=1)

    def _seen_by(self, rows: Array) -> tuple[Array, Array]:
        """(similarity, position) of the best row of each split that rows are linked with.

        A similar row is preferred to one of an equal value, whose similarity is -1; the position is
        NOWHERE where there is none. rows: int64.
        """
        similarity = np.full((len(rows), EXCLUDED), -1.0)
        position = np.full((len(rows), EXCLUDED), NOWHERE)
        values, of = self.values_of.of(rows)
        np.minimum.at(position, of, self.by_value.of(values)[1])
        has_text = self.entry[rows] >= 0
        of_text, where = self.by_text.of(self.entry[rows[has_text]])
        similarity[has_text] = of_text
        position[has_text] = np.where(where != NOWHERE, where, position[has_text])
        return similarity, position

    def _conflicts(self, rows: Array, own: Array) -> tuple[Array, Array]:
        """(position, similarity) of the rows that rows are linked with and that would join another.

        rows, own: int64, rows and the split that each would join. Of each split the best row is
        told; NOWHERE where there is none. The similarity is -1 where they have an equal value.
        """
        against = np.full((len(rows), EXCLUDED), NOWHERE)
        similarity = np.full((len(rows), EXCLUDED), -1.0)
        if len(rows) == 0 or (own == own[0]).all():
            return against, similarity
        position = self.related.position
        values, of = self.values_of.of(rows)
        numbers, place = np.unique(values, return_inverse=True)
        firsts = np.full((len(numbers), EXCLUDED), NOWHERE)
        np.minimum.at(firsts, (place, own[of]), position[rows[of]])
        np.minimum.at(against, of, firsts[place])

        has_text = np.flatnonzero(self.entry[rows] >= 0)
        entries, place = np.unique(self.entry[rows[has_text]], return_inverse=True)
        leads = np.full((len(entries), EXCLUDED), NOWHERE)
        np.minimum.at(leads, (place, own[has_text]), position[rows[has_text]])
        seen = _Seen(len(entries) * EXCLUDED, EXCLUDED)  # by entry and the split that it would join
        for split, other, one, two, near in self._torn(entries, leads):
            to, back = np.full(len(one), other), np.full(len(one), split)
            seen.note(one * EXCLUDED + split, to, near, leads[two, other])
            seen.note(two * EXCLUDED + other, back, near, leads[one, split])
        near, where = seen.of(place * EXCLUDED + own[has_text])
        against[has_text] = np.where(where != NOWHERE, where, against[has_text])
        similarity[has_text] = near
        against[np.arange(len(rows)), own] = NOWHERE
        return against, similarity

    def _torn(self, entries: Array, leads: Array) -> Iterator[tuple[int, int, Array, Array, Array]]:
        """Similar entries whose rows would join different splits.

        entries: int64, ascending. leads: int64[entries, splits], the position of the first row of
        each that would join each split. Yields two splits, the places of entries whose rows would
        join the one and the other, and their similarity.
        """
        counts = (leads != NOWHERE).sum(axis=0)
        for split in np.argsort(counts)[:-1].tolist():  # those of the largest are found from others
            asking = np.flatnonzero(leads[:, split] != NOWHERE)
            rows = np.searchsorted(self.related.position, leads[asking, split])
            for of, found, similarity in self._alike(rows):
                place = np.minimum(np.searchsorted(entries, found), len(entries) - 1)
                for other in range(EXCLUDED):
                    is_torn = (entries[place] == found) & (leads[place, other] != NOWHERE)
                    if other != split and is_torn.any():
                        pairs = asking[of[is_torn]], place[is_torn]
                        yield split, other, *pairs, similarity[is_torn]


def settle(related: Related, threshold: float) -> Settled:
    """Find out what becomes of rows that are linked with rows of several splits.

    related: all rows of the components of these rows. threshold: rows that are at least so similar
    are linked.
    """
    rounds = _Rounds(related, threshold)
    rounds.run()
    split = rounds.split
    none = (np.zeros(0, np.int64), np.zeros((0, 2), np.uint8), np.zeros((0, 2), np.int64))
    parts = zip((*none, np.zeros((0, 2))), *rounds.between, strict=True)
    between, splits, witnesses, jaccard = map(np.concatenate, parts)
    return Settled(split, _firsts(related, split, threshold), between, splits, witnesses, jaccard)


def _firsts(related: Related, split: Array, threshold: float) -> Array:
    """See `Settled.first`."""
    first = np.arange(len(split))
    inside = np.flatnonzero(split < EXCLUDED)
    _, same = np.unique(related.component[inside] * EXCLUDED + split[inside], return_inverse=True)
    leads = np.full(len(inside), NOWHERE)
    np.minimum.at(leads, same, inside)
    first[inside] = leads[same]
    rows = np.flatnonzero(split == FREE)
    if len(rows):
        block = JoinBlock(*related.sets(rows), threshold, fields=related.fields)
        first[rows] = rows[_connected(len(rows), block.within(), related.values[rows])]
    return first


def _connected(count: int, similar: tuple[Array, Array], values: Array) -> Array:
    """For each row the first one that it is linked with, also by others: int64.

    count: of rows. similar: pairs of similar ones. values: see `Related`.
    """
    rows, value, _ = _numbered(values)
    order = np.argsort(value, kind="stable")
    rows, value = rows[order], value[order]
    same = np.flatnonzero(value[1:] == value[:-1])
    ends = ((similar[0], similar[1]), (rows[same], rows[same + 1]))
    columns = [pa.array(np.concatenate(one).astype(np.int64)) for one in zip(*ends, strict=True)]
    edges = pa.RecordBatch.from_arrays(columns, schema=EDGES)
    finder = ComponentFinder(count)
    finder.mark(edges)
    finder.connect([edges])
    (labels,) = finder.labels(np.array([0, count]))
    first = np.arange(count)
    linked, root = (column.to_numpy().astype(np.int64) for column in labels.columns)
    first[linked] = linked[root]
    return first


def _numbered(values: Array) -> tuple[Array, Array, int]:
    """(rows, the number of a value of each, how many values there are). values: see `Related`."""
    rows, which = np.nonzero(values.any(axis=2))
    halves = values[rows, which]
    order = np.lexsort((halves[:, 0], halves[:, 1]))
    ordered = halves[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(is_new) - 1
    return rows, numbers, int(is_new.sum())
