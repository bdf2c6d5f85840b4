"""The exact join against every pair of plain Python sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.studies.exact_join import exact_pairs

pytestmark = pytest.mark.bench
Pair = tuple[int, int, int, int]


def brute_force(sets: list[set[int]], threshold: float) -> list[Pair]:
    pairs = []
    for i, a in enumerate(sets):
        for j in range(i + 1, len(sets)):
            b = sets[j]
            if a and b and len(a & b) / len(a | b) >= threshold:
                pairs.append((i, j, len(a & b), len(a | b)))
    return pairs


def joined(lists: list[list[int]], threshold: float) -> list[Pair]:
    offsets = np.cumsum([0] + [len(values) for values in lists]).astype(np.int64)
    hashes = np.array([x for values in lists for x in values], np.uint64)
    columns = exact_pairs(offsets, hashes, threshold)
    return [tuple(row) for row in np.stack(columns, axis=1).tolist()]


elements = st.one_of(
    st.integers(0, 12), st.integers(2**63 - 2, 2**63 + 2), st.integers(2**64 - 3, 2**64 - 1)
)
thresholds = st.one_of(
    st.sampled_from([0.1, 1 / 3, 0.5, 2 / 3, 0.75, 0.8, 0.9, 1.0]),
    st.floats(0.01, 1.0, allow_subnormal=False),
)


@settings(deadline=None)
@given(st.lists(st.lists(elements, max_size=14), max_size=14), thresholds)
def test_random_sets(lists: list[list[int]], threshold: float) -> None:
    assert joined(lists, threshold) == brute_force([set(x) for x in lists], threshold)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_edited_sets(threshold: float) -> None:
    random = np.random.default_rng(7)
    lists: list[list[int]] = []
    for _ in range(60):
        base = random.integers(0, 1 << 62, random.integers(1, 120)).tolist()
        for _ in range(random.integers(1, 9)):
            rate = random.choice([0.004, 0.02, 0.08])
            edited = [x for x in base if random.random() > rate]
            lists.append(edited + random.integers(0, 400, random.integers(0, 4)).tolist())
    random.shuffle(lists)
    expected = brute_force([set(x) for x in lists], threshold)
    assert joined(lists, threshold) == expected
    assert threshold == 1.0 or len(expected) > 50


def test_many_equal_sets() -> None:
    pairs = joined([[1, 2, 3]] * 700 + [[]] * 5, 0.8)
    assert len(pairs) == 700 * 699 // 2
    assert {pair[2:] for pair in pairs} == {(3, 3)}


def test_offsets_may_start_late() -> None:
    hashes = np.array([9, 9, 1, 2, 1, 2], np.uint64)
    left, right, _, _ = exact_pairs(np.array([2, 4, 6]), hashes, 1.0)
    assert (left.tolist(), right.tolist()) == ([0], [1])


def test_no_sets() -> None:
    assert joined([], 0.8) == []


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        joined([[1]], threshold)
