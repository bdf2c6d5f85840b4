"""How far groups of a component may be apart: a budget for each, and what they deviate by.

Rows made from one text share most of their shingles, so an index of shingles has nearly all of them
meet. What tells them apart is what few others have. Call a shingle of a group *own* if no other
group has it. Two sets of sizes a and b that reach the threshold t differ in at most h (a + b)
shingles, with h = (1 - t) / (1 + t). Their own shingles, u and v of them, are among these, so the
others differ in at most

    (h a - u) + (h b - v)

shingles: each group has a *budget*, and budgets add up. Whatever is a lower bound of that
difference can rule a pair out by the two budgets alone. There are two:

- Bitmaps of 256 bits, of all but the own shingles: the bits in which they differ.
- Weights: let each shingle that most groups hold count -1, and each other one that is not own +1.
  The sums of two groups differ by no more than the groups do. In other words, a weight is how many
  shingles a group has that most lack, and lacks that most have, but for a number common to all.

Both hold whichever shingles are thought to be held by most, and for each field by itself.
docs/explanation/algorithm.md has the proof.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner
from dedupe.kernels.counters import AT_A_TIME, ask_for, counter_of
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER, ZERO
from dedupe.kernels.jaccard import SLACK
from dedupe.kernels.sets import least_difference

FINGERPRINT = np.uint64(0x3FFF)
SAME = np.uint16(0xFFFE)
SAMPLE = 1 << 10
"""Groups, at least so many if there are, of which is seen how many pairs budgets allow."""
BY_COST, ALWAYS, NEVER = 0, 1, 2
"""When a component is scanned: if that is estimated to be faster, or so that it is seen that this
makes no difference."""
DOUBTFUL = 4
"""A shingle whose counter is 2 to this may be an own one that shares its counter with others."""
MOST_DOUBTFUL = 1 / 8
"""Share of the shingles up to which it is worth finding out which of the doubtful are own."""


@inner
def most_held(count):
    """The counter of a shingle that half of so many groups hold, uint8: see `counter_of`."""
    return counter_of(count >> 1)


@inner
def budget(size, own, threshold):
    """How far a set may be from another one, as its share of that: float64, own shingles apart.

    size, own: int64, its shingles, and those that no other group has. threshold: float64. The slack
    covers rounding, that of the quotient which decides included; see `jaccard`.
    """
    return ((1.0 - threshold) / (1.0 + threshold) + SLACK) * size - own


@inner
def deviate(hashes, begin, end, counters, bits, most, least, bitmap, doubtful, filled):
    """Write the bitmap of a set without own shingles: (own, weight, filled).

    own, weight: int64, how many are own, and the weight of the set. hashes: uint64; the set is
    hashes[begin:end]. counters, bits: uint8[2**bits] of the component's shingles, see
    `counters.count_hashes`. most: see `most_held`. least: a shingle with a counter of this or less
    is taken for an own one; only 1 proves that it is. bitmap: uint64[4], written as
    `sets.draw_bitmap` does. doubtful: uint64, to which doubtful shingles are written from place
    `filled` on, with room for all and one more; they are taken for shingles that are not own.
    """
    shift = np.uint64(64 - bits)
    own = np.int64(0)
    weight = np.int64(0)
    bitmap[:] = ZERO
    while begin < end:
        stop = min(begin + AT_A_TIME, end)
        ask_for(counters, shift, hashes, begin, stop)
        for i in range(begin, stop):
            mixed = hashes[i] * GOLDEN_RATIO
            counter = counters[mixed >> shift]
            is_own = np.int64(counter <= least)
            own += is_own
            weight += (1 - is_own) * (1 - 2 * np.int64(counter >= most))
            bit = mixed >> np.uint64(56)
            bitmap[bit >> np.uint64(6)] ^= np.uint64(1 - is_own) << (bit & np.uint64(63))
            doubtful[filled] = hashes[i]
            filled += np.int64((counter > least) & (counter <= DOUBTFUL) & (counter < most))
        begin = stop
    return own, weight, filled


@inner
def pairs_allowed(sets, count, largest, distinct, counters, bits, threshold):
    """About which share of pairs of groups the budgets allow: (field, near, alike, doubtful).

    sets: a `ComponentSets`. count: int64, its groups. largest: int64, shingles of the largest one.
    distinct: int64, different shingles, about. counters, bits: see `deviate`. threshold: float64.
    field: int64, the one in which the fewest pairs are left to be compared. near, alike: float64,
    the share of pairs that budgets and weights allow, and that bitmaps allow, too. doubtful:
    float64, share of the shingles of that field. They are those of a sample, in which doubtful
    shingles are taken for own ones if as many are doubtful as must be by chance.
    """
    groups, offsets, hashes, fields = sets
    step = max(count // SAMPLE, 1)
    sampled = (count + step - 1) // step
    most = most_held(count)
    by_chance = min(np.exp(distinct / (1 << bits)) - 1.0, 1e3)  # doubtful ones for each own one
    bitmaps = np.empty((sampled, 4), np.uint64)
    scratch = np.empty(largest + 1, np.uint64)
    budgets, weights = np.empty(sampled, np.float64), np.empty(sampled, np.float64)
    pairs = max(sampled * (sampled - 1) / 2, 1.0)
    best = (np.int64(-1), 0.0, 0.0, 0.0)
    for f in range(fields):
        least = np.uint8(1)
        share = 0.0
        for _ in range(2):
            all_own, shingles, doubtful = np.int64(0), np.int64(0), np.int64(0)
            for n in range(sampled):
                number = groups[n * step] * fields + f
                begin, end = offsets[number], offsets[number + 1]
                own, weight, doubts = deviate(
                    hashes, begin, end, counters, bits, most, least, bitmaps[n], scratch,
                    np.int64(0),
                )  # fmt: skip
                budgets[n] = budget(end - begin, own, threshold)
                weights[n] = weight
                all_own += own
                shingles += end - begin
                doubtful += doubts
            if least == DOUBTFUL:
                break
            share = doubtful / max(shingles, 1)
            if share > MOST_DOUBTFUL or 2.0 * by_chance * all_own < doubtful:
                break
            least = np.uint8(DOUBTFUL)
        near = np.int64(0)
        alike = np.int64(0)
        for n in range(sampled):
            for other in range(n):
                both = budgets[n] + budgets[other]
                if both >= abs(weights[n] - weights[other]):
                    near += 1
                    alike += np.int64(least_difference(bitmaps, n, other) <= both)
        if best[0] < 0 or (alike / pairs, near / pairs) < (best[2], best[1]):
            best = (np.int64(f), near / pairs, alike / pairs, share)
    return best


# Which of the doubtful shingles are own: those that are handed over once. A table of 16 bits for
# each: 15 of a fingerprint, not 0, and whether there was a second one. Shingles that share place
# and fingerprint count as one that came twice, so none is taken for an own one that is not.


@inner
def _fingerprint(value, bits):
    """(the place where a shingle belongs, its fingerprint)."""
    mixed = (value ^ value >> np.uint64(29)) * SECOND_MULTIPLIER
    return mixed >> np.uint64(64 - bits), np.uint16((mixed & FINGERPRINT) + ONE) << np.uint16(1)


@inner
def _find(table, bits, value):
    """(where a shingle is in the table, or the free place for it; its fingerprint)."""
    place, fingerprint = _fingerprint(value, bits)
    mask = np.uint64(table.size - 1)
    while table[place] != 0 and (table[place] & SAME) != fingerprint:
        place = (place + ONE) & mask
    return place, fingerprint


@inner
def note(table, bits, value):
    """Note that a group has a shingle.

    table: uint16[2**bits], 0 at first, written. bits: int64. value: uint64, the shingle.
    """
    place, fingerprint = _find(table, bits, value)
    table[place] = fingerprint | np.uint16(table[place] != 0)


@inner
def came_once(table, bits, value):
    """Whether a shingle was noted once. table, bits, value: see `note`."""
    place, _fingerprint = _find(table, bits, value)
    return table[place] & np.uint16(1) == 0
