"""Components of rows made from few texts: every group against the kept ones that budgets allow.

Where nearly all groups would meet in an index of shingles, no index is of use. What `deviations`
says of two groups is so little that all pairs can be asked: kept groups lie in *cells* of about
equal budgets and weights, with their bitmaps end to end. A group goes through the cells that its
own budget and weight allow, and a pair takes less than a nanosecond. The few that the bitmaps do
not tell apart are compared by their sets. So the time still grows with the square of the groups,
but some hundred times more slowly.

Groups are decided in *batches*, so that all cores work and the answer is that of one:

1. Each group of a batch is held against the kept groups of earlier batches, which do not change.
2. Those that are not dropped are held, in order, against the kept ones of their own batch, and
   become such or are dropped.
3. Those that the first step has dropped are held against the kept ones of their own batch that come
   before them: the best witness may be there.

Every group is so held against exactly the kept ones before it, and the best of two parts is the
best of the whole. The first step has nearly all of the work; it and the third are spread over
threads.

Few corpora have such a component, so this module is imported, and its kernels compiled, for the
first one: see `verify.verify_components`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dedupe.kernels import Spread, inner, kernel, types
from dedupe.kernels.array_types import BYTES, INT32, INT64, UINT64, UINT64_2D, read_only
from dedupe.kernels.buffers import grown
from dedupe.kernels.deviations import (
    MOST_DOUBTFUL,
    budget,
    came_once,
    deviate,
    most_held,
    note,
)
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE
from dedupe.kernels.intrinsics import population
from dedupe.kernels.jaccard import least_overlap
from dedupe.kernels.lookup import table_bits
from dedupe.kernels.sets import (
    choose,
    forget_tables,
    least_difference,
    least_of,
    settle,
    shares_enough,
    smallest_first,
)

PART = 1 << 12
"""Groups that a thread codes at a time."""
MOST_BATCHES = 1 << 8
CHUNKS = 1 << 4
"""Parts of a batch that threads work on."""
MOST_CELLS = 1 << 10
RECENT_CELLS = 1 << 6
STEPS = 1 << 8
"""Budgets are rounded up to one part of so many of a shingle."""
BLOCK = 1 << 8
"""Bitmaps that are looked at before one is compared."""
TILE = 1 << 7
"""Groups that are held against one block after the other."""
NONE = np.int64(-1)
EARLIER, IN_ORDER, DROPPED = 0, 1, 2
"""The three steps of a batch."""
FLOAT64 = read_only(types.float64)


@kernel(
    types.Tuple((types.int64, types.uint64[::1], types.int32[::1]))(
        types.int64, types.int64, INT64, types.int64, INT64, UINT64, BYTES, types.int64,
        types.int64, types.boolean, types.int64[:, ::1], types.uint64[:, ::1], types.int32[::1],
        types.int32[::1],
    ),
)  # fmt: skip
def code(
    first, last, groups, fields, offsets, hashes, counters, bits, field, doubts,
    sizes, bitmaps, own, weights,
):  # fmt: skip
    """Write what a component's groups deviate by, of those from number `first` to `last`.

    groups, fields, offsets, hashes: see `sets.ComponentSets`. counters, bits: see
    `deviations.deviate`. field: int64, the one whose weights are wanted. doubts: bool, whether
    doubtful shingles of that field are. Written for each set: sizes: int64[sets, 2], in the first
    column; bitmaps: uint64[sets, 4]; own: int32, how many own shingles it has. And for each group:
    weights: int32.

    Returns (room for the tables of any one of these groups, see `sets.Compared`; doubtful shingles,
    uint64; the set that has each of them, int32).
    """
    most = most_held(groups.size)
    room = np.int64(0)
    found, whose = np.empty(1 << 10, np.uint64), np.empty(1 << 10, np.int32)
    filled = np.int64(0)
    for k in range(first, last):
        needed = np.int64(0)
        for f in range(fields):
            at = k * fields + f
            begin, end = offsets[groups[k] * fields + f], offsets[groups[k] * fields + f + 1]
            if filled + end - begin >= found.size:
                found = grown(found, 2 * found.size + end - begin)
                whose = grown(whose, found.size)
            alone, weight, after = deviate(
                hashes, begin, end, counters, bits, most, np.uint8(1), bitmaps[at], found, filled
            )
            if doubts and f == field:
                for i in range(filled, after):
                    whose[i] = at
                filled = after
            sizes[at, 0] = end - begin
            own[at] = alone
            needed += (1 << table_bits(end - begin)) + 2
            if f == field:
                weights[k] = weight
        room = max(room, needed)
    return room, found[:filled].copy(), whose[:filled].copy()


@kernel(types.void(UINT64, types.int64, types.uint16[::1]))
def note_all(found, bits, table):
    """Note the doubtful shingles of some groups.

    found: uint64. bits, table: see `deviations.note`.
    """
    for i in range(found.size):
        note(table, bits, found[i])


@kernel(
    types.void(
        UINT64, INT32, read_only(types.uint16), types.int64, types.int64, types.int64,
        types.uint64[:, ::1], types.int32[::1], types.int32[::1],
    ),
)  # fmt: skip
def take_own(found, whose, table, bits, fields, field, bitmaps, own, weights):
    """Count doubtful shingles that turn out to be own as such.

    found, whose: see `code`. table, bits: see `deviations.note`. fields: int64. field, bitmaps,
    own, weights: see `code`; the last three are written.
    """
    for i in range(found.size):
        if came_once(table, bits, found[i]):
            at = whose[i]
            own[at] += 1
            bit = (found[i] * GOLDEN_RATIO) >> np.uint64(56)
            bitmaps[at, bit >> np.uint64(6)] ^= ONE << (bit & np.uint64(63))
            if at % fields == field:
                weights[at // fields] -= 1


@kernel(
    types.void(read_only(types.int64, 2), INT32, types.int64, types.float64, types.float64[::1])
)
def budget_all(sizes, own, field, threshold, budgets):
    """Write the budget of each group in one field.

    sizes, own, field: see `code`. threshold: float64. budgets: float64, written.
    """
    fields = own.size // budgets.size
    for k in range(budgets.size):
        at = k * fields + field
        budgets[k] = budget(sizes[at, 0], np.int64(own[at]), threshold)


class Shelf(NamedTuple):
    """Kept groups in cells of about equal budgets and weights, the highest budgets first.

    of: int32, the cell of each group. starts: int64, where the groups of each cell begin. filled:
    int64, where those end that are there. highest: float64, the highest budget of each cell; left:
    the highest from this cell on. lightest, heaviest: int32, weights. planes: uint64[4, groups], of
    the bitmap of each group its four words; who: int32, their numbers.
    """

    of: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]
    highest: npt.NDArray[np.float64]
    left: npt.NDArray[np.float64]
    lightest: npt.NDArray[np.int32]
    heaviest: npt.NDArray[np.int32]
    planes: npt.NDArray[np.uint64]
    who: npt.NDArray[np.int32]


def _shelf(
    budgets: npt.NDArray[np.float64], weights: npt.NDArray[np.int32], cells: int, room: int
) -> Shelf:
    """An empty shelf of at most so many cells for groups of these budgets and weights.

    room: groups that are on it at a time.
    """
    falling, rising = np.floor(-budgets).astype(np.int64), weights.astype(np.int64)
    for width in range(63):
        keys = (falling >> width << 32) + (rising >> (width + 1))
        names, of, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        if len(names) <= cells:
            break
    order = np.argsort(of, kind="stable")
    bounds = np.cumsum(sizes) - sizes
    highest = np.maximum.reduceat(budgets[order], bounds)
    return Shelf(
        of.astype(np.int32),
        bounds.copy(),
        bounds.copy(),
        highest,
        np.maximum.accumulate(highest[::-1])[::-1].copy(),
        np.minimum.reduceat(weights[order], bounds),
        np.maximum.reduceat(weights[order], bounds),
        np.empty((5, room), np.uint64),
        np.empty(room, np.int32),
    )


def _clear(shelf: Shelf, groups: slice) -> None:
    """Make room for some groups on a shelf from which all others are taken."""
    sizes = np.bincount(shelf.of[groups], minlength=len(shelf.starts))
    shelf.starts[:] = shelf.filled[:] = np.cumsum(sizes) - sizes


@inner
def _steps(reach):
    """A budget in whole steps, rounded up: int64."""
    return np.int64(np.floor(reach * STEPS)) + 1


@inner
def _ask(one, two, three, four, reach, planes, begin, end, excess):
    """Write by how much the groups of a shelf from `begin` to `end` differ too much.

    Returns whether that is below 0 for any: then the two may be similar. one, two, three, four: the
    bitmap of the group that they are held against. reach: its budget, in steps. excess: int64,
    written.
    """
    first, second = planes[0, begin:end], planes[1, begin:end]
    third, fourth = planes[2, begin:end], planes[3, begin:end]
    budgets = planes[4, begin:end]
    every = np.int64(0)
    for j in range(first.size):  # slices, as indices that may be negative are not vectorised
        apart = (
            population(one ^ first[j])
            + population(two ^ second[j])
            + population(three ^ third[j])
            + population(four ^ fourth[j])
        )
        excess[j] = apart * STEPS - np.int64(budgets[j]) - reach
        every |= excess[j]
    return every < 0


@inner
def _fits(k, other, best, fields, sizes, bitmaps, own, needed):
    """Whether two groups may reach `best` in every field; then `needed` is what they must share."""
    for f in range(fields):
        here, there = k * fields + f, other * fields + f
        size, other_size = sizes[here, 0], sizes[there, 0]
        if size == 0 or other_size == 0:
            if size != other_size:
                return False
            continue
        needed[f] = least_overlap(size, other_size, best)
        if needed[f] > min(size, other_size):
            return False
        apart = np.int64(own[here]) + own[there] + least_difference(bitmaps, here, there)
        if size + other_size - apart < 2 * needed[f]:
            return False
    return True


@inner
def _compare(
    k, best, latest, begin, end, who, excess, groups, offsets, hashes, fields, sizes, bitmaps, own,
    order, bits, bases, needed, values, table, owner, jaccard, stats,
):  # fmt: skip
    """Compare group k with those on a shelf that do not differ too much: (best, latest).

    best: float64, the similarity with its witness so far, or the threshold. latest: the group whose
    tables are filled. begin, end, excess: see `_ask`. Only those are compared that come before k.
    """
    for j in range(begin, end):
        other = np.int64(who[j])
        if (
            excess[j - begin] < 0
            and other < k
            and _fits(k, other, best, fields, sizes, bitmaps, own, needed)
        ):
            if latest != k:
                smallest_first(offsets, groups[k] * fields, fields, order)
                forget_tables(fields, bits, bases)
                latest = k
            if shares_enough(
                k, other, groups, offsets, hashes, fields, sizes, order, bits, bases, needed,
                values, table, stats,
            ):  # fmt: skip
                best = choose(k, other, best, values, owner, jaccard)
    return best, latest


@inner
def _put(k, bitmap, steps, cell, filled, planes, who):
    """Put a group on a shelf."""
    at = filled[cell]
    for plane in range(4):
        planes[plane, at] = bitmap[plane]
    planes[4, at] = np.uint64(steps)
    who[at] = k
    filled[cell] = at + 1


@kernel(
    types.void(
        types.int64, types.int64, types.int64, INT64, types.int64, INT64, UINT64, types.float64,
        types.int64, types.int64, read_only(types.int64, 2), UINT64_2D, INT32, INT32, FLOAT64,
        INT32, INT64, types.int64[::1], FLOAT64, FLOAT64, INT32, INT32, types.uint64[:, ::1],
        types.int32[::1], types.boolean[::1], types.int64[::1], types.float64[:, ::1],
        types.int64[::1],
    ),
)  # fmt: skip
def hold(
    step, first, last, groups, fields, offsets, hashes, threshold, field, room,
    sizes, bitmaps, own, weights, budgets, of, starts, filled, highest, left, lightest, heaviest,
    planes, who, dropped, owner, jaccard, stats,
):  # fmt: skip
    """Hold the groups from number `first` to `last` against a shelf: one step of a batch.

    step: EARLIER, IN_ORDER or DROPPED. groups, fields, offsets, hashes: see `sets.ComponentSets`.
    threshold: float64. field: int64, whose bitmaps are asked. room: int64, for the tables of any
    group. sizes, bitmaps, own, weights: see `code`. budgets: float64, of groups. of, starts,
    filled, highest, left, lightest, heaviest, planes, who: see `Shelf`. dropped: bool, whether a
    group was dropped by the first step. owner, jaccard: see `sets.Answer`. stats: int64, see
    `sets.Stats`. Written: `dropped` by the first step; the shelf by the second, which puts the
    groups there that are kept; owner, jaccard and stats by all.
    """
    order, bits = np.empty(fields, np.int64), np.empty(fields, np.int64)
    bases, needed = np.empty(fields + 1, np.int64), np.empty(fields, np.int64)
    values, table = np.empty(fields, np.float64), np.empty(room, np.uint64)
    excess = np.empty(BLOCK, np.int64)
    tile = 1 if step == IN_ORDER else TILE
    asked, able = np.empty(tile, np.int64), np.empty(tile, np.int64)
    best = np.empty(tile, np.float64)
    latest = NONE
    scanned = np.int64(0)
    for start in range(first, last, tile):
        count = np.int64(0)
        highest_here = -np.inf
        for k in range(start, min(start + tile, last)):
            if (step == IN_ORDER and dropped[k]) or (step == DROPPED and not dropped[k]):
                continue
            asked[count] = k
            count += 1
            best[k - start] = threshold if owner[k] == k else least_of(jaccard[k])
            highest_here = max(highest_here, budgets[k])
        for c in range(highest.size):
            if highest_here + left[c] < 0:
                break
            if filled[c] == starts[c]:
                continue
            some = np.int64(0)
            for i in range(count):
                k = asked[i]
                weight = np.float64(weights[k])
                apart = max(0.0, max(lightest[c] - weight, weight - heaviest[c]))
                able[some] = k
                some += np.int64(budgets[k] + highest[c] >= apart)
            begin = starts[c]
            while begin < filled[c] and some > 0:  # a block stays in the cache for all of them
                end = min(begin + BLOCK, filled[c])
                for i in range(some):
                    k = able[i]
                    at = k * fields + field
                    one, two = bitmaps[at, 0], bitmaps[at, 1]
                    three, four = bitmaps[at, 2], bitmaps[at, 3]
                    reach = _steps(budgets[k])
                    scanned += end - begin
                    if _ask(one, two, three, four, reach, planes, begin, end, excess):
                        best[k - start], latest = _compare(
                            k, best[k - start], latest, begin, end, who, excess, groups, offsets,
                            hashes, fields, sizes, bitmaps, own, order, bits, bases, needed, values,
                            table, owner, jaccard, stats,
                        )  # fmt: skip
                begin = end
        for i in range(count):
            k = asked[i]
            if step == EARLIER:
                dropped[k] = owner[k] != k
            if step == IN_ORDER and owner[k] == k:
                bitmap = bitmaps[k * fields + field]
                _put(k, bitmap, _steps(budgets[k]), of[k], filled, planes, who)
    stats[4] += scanned


@kernel(
    types.void(
        types.int64, types.int64, INT64, types.int64, types.int64, UINT64_2D, FLOAT64, INT32,
        types.int64[::1], types.uint64[:, ::1], types.int32[::1],
    ),
)  # fmt: skip
def put_kept(first, last, owner, fields, field, bitmaps, budgets, of, filled, planes, who):
    """Put the kept ones of the groups from number `first` to `last` on a shelf.

    owner: see `sets.Answer`. fields: int64. field, bitmaps, budgets: see `hold`. of, filled,
    planes, who: see `Shelf`; the last three are written.
    """
    for k in range(first, last):
        if owner[k] == k:
            steps = _steps(budgets[k])
            _put(k, bitmaps[k * fields + field], steps, of[k], filled, planes, who)


@kernel(
    types.void(
        types.int64, types.int64, INT64, INT64, INT64, INT64, INT64,
        read_only(types.float64, 2), types.int64, types.int64[::1], types.float64[:, ::1],
    ),
)  # fmt: skip
def settle_rows(
    start, stop, group, first, place, groups, owner, similarity, fields, witness, jaccard
):
    """What `sets.settle` does.

    start, stop, group, first, place, groups, owner, similarity, fields, witness, jaccard: as there.
    """
    settle(start, stop, group, first, place, groups, owner, similarity, fields, witness, jaccard)


class Component(NamedTuple):
    """A component that is scanned: see `verify.verify_components` for what is said there.

    groups: int64, its groups in keep order. fields, offsets, hashes, threshold: as there. field:
    int64, in which groups are asked by bitmaps. counters, bits: of its shingles, see
    `counters.count_hashes`. doubtful: float64, which share of them is, see `deviations.deviate`.
    """

    groups: npt.NDArray[np.int64]
    fields: int
    offsets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    threshold: float
    field: int
    doubtful: float
    counters: npt.NDArray[np.uint8]
    bits: int


class _Coded(NamedTuple):
    """What the groups of a component deviate by: see `code`, `hold` and `budget_all`."""

    room: int
    sizes: npt.NDArray[np.int64]
    bitmaps: npt.NDArray[np.uint64]
    own: npt.NDArray[np.int32]
    weights: npt.NDArray[np.int32]
    budgets: npt.NDArray[np.float64]


def _code_all(scanned: Component, spread: Spread) -> _Coded:
    """Code all groups of a component."""
    groups, fields, field = scanned.groups, scanned.fields, scanned.field
    sizes = np.empty((len(groups) * fields, 2), np.int64)
    bitmaps = np.empty((len(groups) * fields, 4), np.uint64)
    own, weights = np.empty(len(groups) * fields, np.int32), np.empty(len(groups), np.int32)
    doubts = scanned.doubtful <= MOST_DOUBTFUL

    def code_from(first: int) -> Any:
        last = min(first + PART, len(groups))
        return code(
            first, last, groups, fields, scanned.offsets, scanned.hashes, scanned.counters,
            scanned.bits, field, doubts, sizes, bitmaps, own, weights,
        )  # fmt: skip

    parts = list(spread(code_from, range(0, len(groups), PART)))
    bits = (2 * sum(len(found) for _room, found, _whose in parts) + 1).bit_length()
    table = np.zeros(1 << bits, np.uint16)
    for _room, found, _whose in parts:
        note_all(found, bits, table)

    def take_from(part: Any) -> None:
        _room, found, whose = part
        take_own(found, whose, table, bits, fields, field, bitmaps, own, weights)

    list(spread(take_from, parts))
    budgets = np.empty(len(groups), np.float64)
    budget_all(sizes, own, field, scanned.threshold, budgets)
    return _Coded(max(part[0] for part in parts), sizes, bitmaps, own, weights, budgets)


def cover_by_scan(
    scanned: Component,
    spread: Spread,
    batch: int,
    owner: npt.NDArray[np.int64],
    jaccard: npt.NDArray[np.float64],
    stats: npt.NDArray[np.int64],
) -> None:
    """Decide the groups of a component.

    scanned: the component. spread: calls a function for parts of the groups. batch: groups of a
    batch, at least. Neither changes what is decided. owner, jaccard: see `sets.Answer`, written.
    stats: int64, see `sets.Stats`, written.
    """
    groups, fields, field = scanned.groups, scanned.fields, scanned.field
    room, sizes, bitmaps, own, weights, budgets = _code_all(scanned, spread)
    size = max(batch, -(-len(groups) // MOST_BATCHES))
    earlier = _shelf(budgets, weights, MOST_CELLS, len(groups))
    recent = _shelf(budgets, weights, RECENT_CELLS, size)
    dropped = np.zeros(len(groups), np.bool_)
    owner[:] = np.arange(len(groups))

    def take(step: int, shelf: Shelf, part: range) -> Any:
        seen = np.zeros(len(stats), np.int64)
        hold(
            step, part.start, part.stop, groups, fields, scanned.offsets, scanned.hashes,
            scanned.threshold, field, room, sizes, bitmaps, own, weights, budgets, *shelf, dropped,
            owner, jaccard, seen,
        )  # fmt: skip
        return seen

    for first in range(0, len(groups), size):
        together = range(first, min(first + size, len(groups)))
        at_once = -(-len(together) // CHUNKS)
        parts = [together[i : i + at_once] for i in range(0, len(together), at_once)]
        _clear(recent, slice(first, together.stop))
        stats += sum(spread(partial(take, EARLIER, earlier), parts))
        stats += take(IN_ORDER, recent, together)
        stats += sum(spread(partial(take, DROPPED, recent), parts))
        put_kept(
            first, together.stop, owner, fields, field, bitmaps, budgets, earlier.of,
            earlier.filled, earlier.planes, earlier.who,
        )  # fmt: skip


def scan_rows(
    start: int,
    stop: int,
    group: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    scanned: Component,
    spread: Spread,
    batch: int,
    witness: npt.NDArray[np.int64],
    jaccard: npt.NDArray[np.float64],
    stats: npt.NDArray[np.int64],
) -> None:
    """Decide the rows from `start` to `stop`, which are the component `scanned`.

    group, first, place, witness, jaccard, stats: as in `many.decide_many`. spread, batch: see
    `cover_by_scan`.
    """
    groups = scanned.groups
    owner = np.empty(len(groups), np.int64)
    similarity = np.empty((len(groups), scanned.fields), np.float64)
    cover_by_scan(scanned, spread, batch, owner, similarity, stats)
    settle_rows(
        start, stop, group, first, place, groups, owner, similarity, scanned.fields, witness,
        jaccard,
    )  # fmt: skip
