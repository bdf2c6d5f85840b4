"""The scan by budgets against plain Python sets and the index, on components of all shapes.

Rows are words, as texts are: an edit of one word touches five shingles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import naive_cluster
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from dedupe.kernels import give_to_numba
from dedupe.kernels.deviations import ALWAYS, BY_COST, NEVER, budget, came_once, note
from dedupe.kernels.jaccard import least_overlap
from dedupe.kernels.sets import Stats
from dedupe.kernels.verify import verify_components

give_to_numba(globals())
Words = npt.NDArray[np.int64]
Sets = list[npt.NDArray[np.uint64]]
Random = np.random.Generator
MIXER = np.uint64(0x9E3779B97F4A7C15)
THRESHOLDS = [0.3, 0.5, 2 / 3, 0.7, 0.8, 0.9, 0.95]


def shingles(rows: Iterable[Words], salt: int = 0) -> Sets:
    """The distinct shingles of five words of each row."""
    sets = []
    for words in rows:
        hashes = np.full(len(words) - 4, salt, np.uint64)
        for j in range(5):
            hashes = (hashes ^ words[j : len(words) - 4 + j].astype(np.uint64)) * MIXER
            hashes ^= hashes >> np.uint64(29)
        sets.append(np.unique(hashes))
    return sets


def edited(random: Random, base: Words, edits: int) -> Words:
    words = base.copy()
    words[random.integers(0, len(words), edits)] = random.integers(0, 10**9, edits)
    return words


def star(random: Random, rows: int, length: int = 40, edits: int = 2) -> list[Words]:
    base = random.integers(0, 10**9, length)
    return [edited(random, base, edits) for _ in range(rows)]


def long_star(random: Random, rows: int) -> list[Words]:
    return star(random, rows, 120, 3)


def edits_of_all_kinds(random: Random, rows: int) -> list[Words]:
    base = random.integers(0, 10**9, 80)
    return [edited(random, base, int(random.integers(1, 9))) for _ in range(rows)]


def several_bases(random: Random, rows: int) -> list[Words]:
    """Texts that share a half, each with its own rows."""
    bases = np.tile(random.integers(0, 10**9, 50), (5, 1))
    bases[:, 25:] = random.integers(0, 10**9, (5, 25))
    return [edited(random, bases[random.integers(0, 5)], 2) for _ in range(rows)]


def family(random: Random, rows: int) -> list[Words]:
    """Any two are similar, or nearly: each has a few words of its own at one place."""
    base, found = random.integers(0, 10**9, 70), []
    for _ in range(rows):
        words, at = base.copy(), int(random.integers(4, 60))
        words[at : at + 3] = random.integers(0, 10**9, 3)
        found.append(words)
    return found


def chain(random: Random, rows: int) -> list[Words]:
    text = random.integers(0, 10**9, 4 * rows + 40)
    return [text[4 * i : 4 * i + 40] for i in range(rows)]


def lists(random: Random, rows: int) -> list[Words]:
    """A template in which every seventh word is one of a list."""
    base, found = random.integers(0, 10**9, 60), []
    for _ in range(rows):
        words = base.copy()
        words[3::7] = np.arange(3, 60, 7) * 1000 + random.integers(0, 12, 9)
        found.append(words)
    return found


def walk(random: Random, rows: int) -> list[Words]:
    """Each row is the one before it with another word."""
    words, found = random.integers(0, 10**9, 40), []
    for _ in range(rows):
        words = edited(random, words, 1)
        found.append(words)
    return found


def own_ends(random: Random, rows: int) -> list[Words]:
    """One beginning, and ends of many lengths."""
    base = random.integers(0, 10**9, 40)
    lengths = random.integers(1, 30, rows)
    return [np.concatenate([base, random.integers(0, 10**9, n)]) for n in lengths]


def copies_of_pairs(random: Random, rows: int) -> list[Words]:
    """Every deviation is that of two rows or three, so that few shingles are own ones."""
    half = star(random, rows // 2)
    return half + [edited(random, words, 1) for words in half]


TEXTS = [
    star, long_star, edits_of_all_kinds, several_bases, family, chain, lists, walk, own_ends,
    copies_of_pairs,
]  # fmt: skip


def with_a_core(random: Random, rows: int) -> Sets:
    """Random sets of which most have most of a core, and some shingles are of one row alone."""
    size = int(random.integers(15, 60))
    names = random.integers(0, 2**64, size, np.uint64)
    found = []
    for _ in range(rows):
        chance = np.where(np.arange(size) < size // 2, random.choice([0.95, 0.8, 0.6]), 0.2)
        some = names[random.random(size) < chance]
        own = random.integers(0, 2**64, random.integers(0, 4), np.uint64)
        found.append(np.concatenate([some, own]) if len(some) + len(own) else names[:1])
    return found


def make(kind: Callable[[Random, int], Any], seed: int, rows: int) -> Sets:
    random = np.random.default_rng(seed)
    made: Sets = kind(random, rows) if kind is with_a_core else shingles(kind(random, rows))
    return made


def component(sets: Sets, fields: int = 1) -> tuple[Any, ...]:
    """One component, a group for each row; sets: of each row one for each field."""
    rows = len(sets) // fields
    return (
        np.array([0, rows], np.int64),
        np.arange(rows, dtype=np.int64),
        fields,
        np.cumsum([0, *map(len, sets)]).astype(np.int64),
        np.concatenate(sets),
    )


def check(sets: Sets, threshold: float, fields: int = 1, **limits: Any) -> Stats:
    """The scan decides as plain sets do, and as the index does."""
    plain = [frozenset(one.tolist()) for one in sets]
    rows = [(tuple(plain[i : i + fields]), i) for i in range(0, len(plain), fields)]
    expected, values = naive_cluster.cover(rows, threshold)
    given_ = component(sets, fields)
    for scan in (ALWAYS, NEVER, BY_COST):
        witness, similarity, stats = verify_components(
            *given_, threshold, False, direct_groups=1, scan=scan, **limits
        )
        assert witness.tolist() == expected
        np.testing.assert_array_equal(similarity, values)
        if scan == ALWAYS:
            scanned = stats
    assert scanned.met == 0
    return scanned


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("kind", [*TEXTS, with_a_core], ids=lambda kind: kind.__name__)
def test_every_shape_is_decided_as_plain_sets_are(kind: Any, threshold: float) -> None:
    seed = round(threshold * 1000)
    stats = check(make(kind, seed, 150), threshold, batch=16)
    if threshold <= 0.5:  # of a high one, budgets of so few rows may leave no pair
        assert stats.scanned > 0


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from([*TEXTS, with_a_core]),
    st.integers(0, 2**32),
    st.integers(2, 60),
    st.one_of(st.sampled_from([*THRESHOLDS, 1.0, 1 / 3]), st.floats(0.05, 1.0)),
    st.sampled_from([1, 3, 8, 64]),
    st.sampled_from([2, 64, 1 << 20]),
)
def test_random_components(
    kind: Any, seed: int, rows: int, threshold: float, batch: int, slots: int
) -> None:
    check(make(kind, seed, rows), threshold, batch=batch, counter_slots=slots)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*TEXTS, with_a_core]), min_size=2, max_size=3),
    st.integers(0, 2**32),
    st.integers(2, 50),
    st.sampled_from(THRESHOLDS),
    st.sampled_from([1, 7, 64]),
)
def test_fields(kinds: list[Any], seed: int, rows: int, threshold: float, batch: int) -> None:
    """Each field is of its own shape, and some are empty."""
    random = np.random.default_rng(seed)
    columns = [make(kind, seed + f, rows - rows % 2) for f, kind in enumerate(kinds)]
    sets = []
    for row in zip(*columns, strict=True):
        empty = random.random(len(row)) < 0.1
        empty[random.integers(0, len(row))] = False
        sets += [one[:0] if gone else one for one, gone in zip(row, empty, strict=True)]
    check(sets, threshold, len(kinds), batch=batch)


@pytest.mark.parametrize("kind", [star, family, several_bases, own_ends])
def test_threads_and_batches_change_nothing(kind: Any) -> None:
    given_ = component(make(kind, 5, 3000))
    expected = verify_components(*given_, 0.7, False, scan=NEVER)[:2]
    with ThreadPoolExecutor(4) as pool:
        for spread in (map, pool.map):
            for batch in (100, 999, 4096):
                witness, similarity, stats = verify_components(
                    *given_, 0.7, False, scan=ALWAYS, batch=batch, spread=spread
                )
                assert stats.scanned > 0
                np.testing.assert_array_equal(witness, expected[0])
                np.testing.assert_array_equal(similarity, expected[1])


def test_counts_are_the_same_for_any_number_of_threads() -> None:
    given_ = component(make(long_star, 6, 12_000))
    alone = verify_components(*given_, 0.7, False, scan=ALWAYS)[2]
    with ThreadPoolExecutor(3) as pool:
        together = verify_components(*given_, 0.7, False, scan=ALWAYS, spread=pool.map)[2]
    assert alone == together
    assert alone.scanned > 500_000


def test_the_best_witness_may_be_in_an_earlier_batch_or_in_ones_own() -> None:
    """A row has a near witness in each; the nearest one is found, of equal ones the first."""
    random = np.random.default_rng(7)
    base = random.integers(0, 2**64, 100, np.uint64)

    def without(*places: int) -> Any:
        return np.delete(base, places)

    far, near, twin, last = without(1, 2, 3, 4), without(5, 6), without(7, 8), without(5)
    kept_apart = [random.integers(0, 2**64, 50, np.uint64) for _ in range(6)]
    for order in ([far, *kept_apart, last], [near, *kept_apart, twin, last], [last, near, twin]):
        for batch in (1, 2, 3, 8, 64):
            check(order, 0.97, batch=batch)
            check(order, 0.9, batch=batch)


def test_rows_of_several_groups_are_decided_together() -> None:
    """Rows of one group are equal, and not next to one another."""
    sets = make(star, 8, 120)
    bounds, group, fields, offsets, hashes = component(sets)
    order = np.random.default_rng(8).permutation(np.concatenate([group, group[::2], group[:9]]))
    rows = [((frozenset(sets[g].tolist()),), int(g)) for g in order]
    for threshold in (0.5, 0.8):
        expected, values = naive_cluster.cover(rows, threshold)
        witness, similarity, _ = verify_components(
            bounds * 0 + [0, len(order)], order, fields, offsets, hashes, threshold, False,
            scan=ALWAYS, batch=20, direct_groups=1,
        )  # fmt: skip
        assert witness.tolist() == expected
        np.testing.assert_array_equal(similarity, values)


def test_a_component_that_is_scanned_leaves_others_alone() -> None:
    """Of several components, those of each kind are decided by their own gear."""
    parts = [make(kind, 9, 60) for kind in (star, chain, star, family)]
    sizes = [0, *(len(part) for part in parts)]
    offsets = np.cumsum([0, *(len(one) for part in parts for one in part)])
    hashes = np.concatenate([np.concatenate(part) for part in parts])
    rows = np.arange(sum(sizes))
    for scan in (ALWAYS, BY_COST):
        witness, similarity, stats = verify_components(
            np.cumsum(sizes), rows, 1, offsets, hashes, 0.7, False, scan=scan
        )
        start = 0
        for part in parts:
            plain = [((frozenset(one.tolist()),), i) for i, one in enumerate(part)]
            expected, values = naive_cluster.cover(plain, 0.7)
            end = start + len(part)
            assert (witness[start:end] - start).tolist() == expected
            np.testing.assert_array_equal(similarity[start:end], values)
            start = end
        assert stats.largest == 60


def test_a_star_is_scanned_and_a_chain_is_not() -> None:
    """The gear is chosen by what it costs: a star of these rows would have millions meet."""
    stats = {}
    for kind in (long_star, chain):
        found = verify_components(*component(make(kind, 10, 12_000)), 0.8, False)
        usual = verify_components(*component(make(kind, 10, 12_000)), 0.8, False, scan=NEVER)
        np.testing.assert_array_equal(found[0], usual[0])
        np.testing.assert_array_equal(found[1], usual[1])
        stats[kind] = found[2]
        assert usual[2].scanned == 0
    assert stats[chain].scanned == 0
    assert stats[long_star].scanned > 0


# What budgets promise.


@njit
def _budget(size: int, own: int, threshold: float) -> Any:
    return budget(size, own, threshold)


@njit
def _least_overlap(a: int, b: int, threshold: float) -> Any:
    return least_overlap(a, b, threshold)


@given(
    st.integers(1, 10**9),
    st.integers(1, 10**9),
    st.one_of(
        st.floats(1e-9, 1.0),
        st.builds(lambda a, b: min(a, b) / max(a, b), st.integers(1, 40), st.integers(1, 40)),
    ),
)
def test_two_budgets_allow_what_the_threshold_does(a: int, b: int, threshold: float) -> None:
    """Sets that share as little as they may differ in no more than both budgets say."""
    shared = _least_overlap(a, b, threshold)
    if shared <= min(a, b):
        assert a + b - 2 * shared <= _budget(a, 0, threshold) + _budget(b, 0, threshold)
        assert _budget(a, a // 2, threshold) == pytest.approx(
            _budget(a, 0, threshold) - a // 2, abs=1e-6 * a
        )


@njit
def _came_once(hashes: Any, bits: int) -> Any:
    table = np.zeros(1 << bits, np.uint16)
    for value in hashes:
        note(table, bits, value)
    return [came_once(table, bits, value) for value in hashes]


@given(st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1)), min_size=1, max_size=120))
def test_no_shingle_that_came_twice_is_taken_for_one_that_came_once(values: list[int]) -> None:
    found = _came_once(np.array(values, np.uint64), (2 * len(values)).bit_length())
    for value, once in zip(values, found, strict=True):
        if values.count(value) > 1:
            assert not once


def test_nearly_all_that_came_once_are_known_to() -> None:
    hashes = np.random.default_rng(11).integers(0, 2**64, 100_000, np.uint64)
    assert sum(_came_once(hashes, 18)) > 99_900
