"""The best reference of each row, against plain Python sets; many references of one template."""

from __future__ import annotations

import naive_cluster
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_verify_kernel import THRESHOLDS, Rows, arrays, components, distinct, field_rows

from dedupe.kernels.references import nearest_references


def check(parts: list[Rows], references: list[int], threshold: float) -> int:
    """Hold both ways of comparing against plain sets, each of parts with its first rows references.

    Returns how many rows have a reference.
    """
    bounds, group, fields, offsets, hashes = arrays(parts)
    marks = [
        [i < count for i in range(len(rows))] for rows, count in zip(parts, references, strict=True)
    ]
    is_reference = np.array([mark for part in marks for mark in part], np.bool_)
    place, values = [], []
    for start, rows, part in zip(bounds, parts, marks, strict=False):
        found, similarity = naive_cluster.nearest(rows, part, threshold)
        place += [-1 if one < 0 else int(start) + one for one in found]
        values += similarity
    for few in (0, 2, 10**6):
        nearest, jaccard = nearest_references(
            bounds, group, is_reference, fields, offsets, hashes, threshold, few=few
        )
        assert nearest.tolist() == place
        np.testing.assert_array_equal(jaccard, np.array(values).reshape(-1, fields))
    return sum(one >= 0 for one in place)


@pytest.mark.parametrize("fields", [1, 2, 3])
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_agrees_with_plain_sets(fields: int, data: st.DataObject) -> None:
    parts = [rows for rows in data.draw(components(fields)) if rows]
    if parts:
        counts = [data.draw(st.integers(0, len(rows))) for rows in parts]
        check(parts, counts, data.draw(st.sampled_from(THRESHOLDS)))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_fields_agree_with_plain_sets(threshold: float) -> None:
    rows = field_rows(int(threshold * 1000), 200)
    assert check([rows], [120], threshold) > 0


def edits(count: int, seed: int, size: int = 60, most: int = 6) -> Rows:
    """Sets of one base, of which each lacks some shingles and has some of few others."""
    random = np.random.default_rng(seed)
    sets = []
    for _ in range(count):
        gone = set(random.integers(0, size, random.integers(0, most)).tolist())
        new = set(random.integers(size, size + 30, random.integers(0, most)).tolist())
        sets.append((set(range(size)) - gone) | new)
    return distinct(sets)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.9])
def test_edits_of_one_base(threshold: float) -> None:
    assert check([edits(160, 1)], [100], threshold) > 0
    assert check([edits(160, 2, size=4)], [100], threshold) > 0
    random = np.random.default_rng(3)
    unlike = distinct(set(random.integers(0, 300, 12).tolist()) for _ in range(120))
    mixed = [sets[0] for sets, _ in (*edits(60, 4), *unlike)]
    random.shuffle(mixed)
    assert check([distinct(mixed)], [110], threshold) > 0
    check([unlike], [60], 0.05)


def test_the_first_of_equally_good_references_and_copies_of_references() -> None:
    rows = distinct([{1, 2, 3, 4, 8}, {1, 2, 3, 4, 9}, {1, 2, 3, 4, 7}, {1, 2, 3, 4}])
    assert check([rows], [3], 0.8) == 1
    copies: Rows = [((frozenset({1, 2}),), 0)] * 4 + [((frozenset({1, 2, 3}),), 1)] * 3
    for count in range(8):
        check([copies], [count], 0.5)
