"""The verification kernel against plain Python sets, and on corpora that break naive methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import corpora
import naive_cluster
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from dedupe.kernels import give_to_numba
from dedupe.kernels.deviations import ALWAYS, BY_COST, NEVER
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.sets import ComponentSets, Stats, distinct_shingles
from dedupe.kernels.verify import verify_components

give_to_numba(globals())
Answer = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], Stats]
Row = naive_cluster.Row
Rows = list[Row]
INVERSE = pow(int(GOLDEN_RATIO), -1, 2**64)
THRESHOLDS = [5e-324, 0.1, 1 / 3, 0.5, 2 / 3, 0.7, 0.75, 0.8, 0.9, 0.95, math.nextafter(1, 0), 1.0]


def arrays(components: Iterable[Sequence[Row]]) -> tuple[Any, ...]:
    bounds, group, sizes, hashes = [0], [], [0], []
    fields, groups = 1, 0
    for rows in components:
        known: dict[int, int] = {}
        for sets, g in rows:
            if g not in known:
                known[g] = groups
                groups += 1
                fields = len(sets)
                sizes += map(len, sets)
                for shingles in sets:
                    hashes.extend(sorted(shingles, key=lambda x: x * 2654435761 % 1000003))
            group.append(known[g])
        bounds.append(len(group))
    return (
        np.array(bounds, np.int64),
        np.array(group, np.int64),
        fields,
        np.cumsum(sizes).astype(np.int64),
        np.array(hashes, np.uint64),
    )


def verified(
    components: Sequence[Sequence[Row]],
    threshold: float,
    transitive: bool,
    **limits: int,
) -> Answer:
    return verify_components(*arrays(components), threshold, transitive, **limits)


def distinct(sets: Iterable[Iterable[int]]) -> Rows:
    return [((frozenset(s),), i) for i, s in enumerate(sets)]


def flat(sets: Sequence[npt.NDArray[np.uint64]], fields: int = 1) -> tuple[Any, ...]:
    """One component of large sets, a group after the other, each with its fields."""
    sizes = np.array([0] + [len(s) for s in sets])
    count = len(sets) // fields
    return (
        np.array([0, count], np.int64),
        np.arange(count, dtype=np.int64),
        fields,
        np.cumsum(sizes).astype(np.int64),
        np.concatenate(sets),
    )


ELEMENTS = {
    "tiny": st.integers(0, 7),
    "small": st.integers(0, 24),
    "edges": st.sampled_from([0, 1, 2, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]),
    "tied order keys": st.integers(0, 20).map(lambda x: x * INVERSE % 2**64),
    "tied in part": st.integers(0, 20).map(lambda x: ((x % 4) + (x // 4 << 8)) * INVERSE % 2**64),
    "mixed": st.one_of(st.integers(0, 9), st.integers(0, 2**64 - 1)),
}


def salted(shingles: frozenset[int], field: int) -> frozenset[int]:
    """The same elements for each field, but no two fields share one; field 0 has them as drawn."""
    return frozenset((x + (field << 40)) % 2**64 if field else x for x in shingles)


@st.composite
def components(draw: st.DrawFn, fields: int = 1) -> list[Rows]:
    kinds = sorted(ELEMENTS) if fields == 1 else ["small", "tiny", "tied order keys"]
    elements = ELEMENTS[draw(st.sampled_from(kinds))]
    most = draw(st.sampled_from([2, 5, 12, 20]))
    plain = st.frozensets(elements, min_size=int(fields == 1), max_size=most)
    result = []
    for _ in range(draw(st.integers(0, 3))):
        drawn: list[tuple[list[frozenset[int]], int]] = []
        pool = draw(st.lists(plain, min_size=1, max_size=4))
        for _ in range(draw(st.integers(1, 24))):
            kind = draw(st.integers(0, 7 if fields > 1 else 5)) if drawn else 5
            sets = list(draw(st.sampled_from(drawn))[0]) if drawn else []
            if kind == 0:
                drawn.append(draw(st.sampled_from(drawn)))
                continue
            if kind < 4:
                f = draw(st.integers(0, fields - 1))
                changed = sets[f] ^ draw(st.frozensets(elements, max_size=2))
                sets[f] = changed or sets[f]
            elif kind == 6:  # fields that swap what they have
                sets = sets[1:] + sets[:1]
            elif kind == 7:  # some field of one row, the others of another
                f = draw(st.integers(0, fields - 1))
                sets[f] = draw(st.sampled_from(drawn))[0][f]
            elif fields > 1 and draw(st.booleans()):
                sets = [draw(st.sampled_from(pool)) for _ in range(fields)]
            else:
                sets = [draw(plain) for _ in range(fields)]
            if not any(sets):
                sets[draw(st.integers(0, fields - 1))] = frozenset([draw(elements)])
            drawn.append((sets, len(drawn)))
        result.append(
            [(tuple(salted(one, f) for f, one in enumerate(sets)), g) for sets, g in drawn]
        )
    return result


thresholds = st.one_of(
    st.sampled_from(THRESHOLDS),
    st.builds(
        lambda a, b, to: min(math.nextafter(min(a, b) / max(a, b), to), 1.0),
        st.integers(1, 24),
        st.integers(1, 24),
        st.sampled_from([0.0, 0.5, 2.0]),
    ),
    st.builds(lambda a, b: min(a, b) / max(a, b), st.integers(1, 24), st.integers(1, 24)),
    st.floats(0, 1, exclude_min=True),
)


@pytest.mark.parametrize("fields", [1, 2, 3])
@pytest.mark.parametrize("transitive", [False, True])
@settings(deadline=None, max_examples=200)
@given(
    st.data(),
    thresholds,
    st.sampled_from([1, 3, 48]),
    st.sampled_from([2, 16, 1 << 20]),
    st.sampled_from([-1, 64]),
    st.sampled_from([BY_COST, ALWAYS]),
    st.sampled_from([1, 2, 5, 4096]),
)
def test_agrees_with_plain_sets(
    transitive: bool,
    fields: int,
    data: st.DataObject,
    threshold: float,
    direct: int,
    slots: int,
    crowd: int,
    scan: int,
    batch: int,
) -> None:
    parts = data.draw(components(fields))
    limits = {"direct_groups": direct, "counter_slots": slots, "crowd": crowd}
    witness, similarity, _ = verified(
        parts, threshold, transitive, **limits, scan=scan, batch=batch
    )
    check(parts, threshold, transitive, witness, similarity)


def check(
    parts: Sequence[Rows],
    threshold: float,
    transitive: bool,
    witness: npt.NDArray[np.int64],
    similarity: npt.NDArray[np.float64],
) -> None:
    """Hold an answer against the oracle."""
    oracle = naive_cluster.transitive if transitive else naive_cluster.cover
    start = 0
    for rows in parts:
        expected, values = oracle(rows, threshold)
        found = witness[start : start + len(rows)] - start
        assert found.tolist() == expected
        np.testing.assert_array_equal(similarity[start : start + len(rows)], values)
        if not transitive:
            naive_cluster.check_cover(rows, threshold, found.tolist(), values)
        start += len(rows)


def test_no_components() -> None:
    witness, similarity, stats = verified([], 0.5, False)
    assert len(witness) == len(similarity) == stats.largest == 0


def random_rows(seed: int, count: int) -> Rows:
    """Edited copies, templates and unrelated rows of many sizes, in one component."""
    random = np.random.default_rng(seed)
    frequent = random.integers(0, 2**64, 40, np.uint64).tolist()
    rows: Rows = []
    for i in range(count):
        kind = random.integers(0, 4)
        if rows and kind == 0:
            rows.append(rows[random.integers(0, len(rows))])
            continue
        if rows and kind < 3:
            base = list(rows[random.integers(0, len(rows))][0][0])
            size = len(base) - min(int(random.integers(0, 1 + len(base) // 4)), len(base) - 1)
            chosen = random.permutation(len(base))[:size]
            shingles = {base[j] for j in chosen}
        else:
            size = int(random.integers(1, 40)) * (8 if random.random() < 0.1 else 1)
            shingles = set(frequent[: int(random.integers(0, 41))])
            shingles |= set(random.integers(0, 2**64, size, np.uint64).tolist())
        shingles |= set(random.integers(0, 2**64, int(random.integers(0, 5)), np.uint64).tolist())
        rows.append(((frozenset(shingles),), i))
    return rows


@pytest.mark.parametrize("transitive", [False, True])
@pytest.mark.parametrize("threshold", [0.1, 1 / 3, 0.5, 0.7, 0.8, 0.9, 1.0])
def test_index_and_direct_path_agree_with_plain_sets(threshold: float, transitive: bool) -> None:
    rows = random_rows(int(threshold * 1000), 300)
    oracle = naive_cluster.transitive if transitive else naive_cluster.cover
    expected, values = oracle(rows, threshold)
    for limits in (
        {"direct_groups": 1},
        {"direct_groups": 1, "counter_slots": 64},
        {"direct_groups": 1, "crowd": -1},
        {"direct_groups": 1, "counter_slots": 64, "crowd": -1},
        {"direct_groups": 1, "scan": ALWAYS},
        {"direct_groups": 1, "counter_slots": 64, "scan": ALWAYS, "batch": 7},
        {"direct_groups": 300},
    ):
        witness, similarity, _ = verified([rows], threshold, transitive, **limits)
        assert witness.tolist() == expected
        np.testing.assert_array_equal(similarity, values)


@pytest.mark.parametrize("direct", [1, 48])
def test_threshold_is_compared_as_a_float(direct: int) -> None:
    """5/6, 1/3 and so on: dropped at the quotient itself, kept at the next float above it."""
    for inter in range(1, 40):
        for union in range(inter + 1, 41):
            rows = distinct([range(inter), range(union)])
            quotient = inter / union
            for threshold in (math.nextafter(quotient, 0), quotient, math.nextafter(quotient, 1)):
                witness, _, _ = verified([rows], threshold, False, direct_groups=direct)
                assert (witness[1] == 0) == (quotient >= threshold)


@pytest.mark.parametrize("direct", [1, 48])
def test_chain(direct: int) -> None:
    """A ~ B ~ C, but A is not similar to C: cover keeps A and C, transitive keeps A alone."""
    rows = distinct([range(10), range(1, 11), range(2, 12)])
    witness, similarity, _ = verified([rows], 0.8, False, direct_groups=direct)
    assert witness.tolist() == [0, 0, 2]
    np.testing.assert_array_equal(similarity[:, 0], [math.nan, 9 / 11, math.nan])
    witness, similarity, _ = verified([rows], 0.8, True, direct_groups=direct)
    assert witness.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(similarity[:, 0], [math.nan, 9 / 11, 8 / 12])


@pytest.mark.parametrize("direct", [1, 2000])
def test_long_chain(direct: int) -> None:
    rows = distinct(range(i, i + 20) for i in range(200))
    for transitive, oracle in ((False, naive_cluster.cover), (True, naive_cluster.transitive)):
        expected, values = oracle(rows, 0.8)
        witness, similarity, _ = verified([rows], 0.8, transitive, direct_groups=direct)
        assert witness.tolist() == expected
        np.testing.assert_array_equal(similarity, values)


def test_best_witness_and_first_of_equals() -> None:
    base = set(range(100))
    far = base - {0, 1, 2, 3} | {200, 201, 202, 203, 220, 221, 222, 223, 224, 225}
    near = base - {10} | {300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 310, 311}
    twin = base - {10} | {400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411}
    rows = distinct([far, near, twin, base])
    for direct in (1, 48):
        witness, similarity, _ = verified([rows], 0.85, False, direct_groups=direct)
        assert witness.tolist() == [0, 1, 2, 1]
        assert similarity[3] == 99 / 112


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.75, 0.79])
def test_template_family_does_not_meet(similarity: float) -> None:
    """Every pair shares the template and has one similarity, below the threshold."""
    random = np.random.default_rng(5)
    template = random.integers(0, 2**64, 100, np.uint64)
    own = math.ceil(100 * (1 / similarity - 1) / 2)
    sets = [
        random.permutation(np.concatenate([template, random.integers(0, 2**64, own, np.uint64)]))
        for _ in range(3000)
    ]
    for transitive in (False, True):
        witness, values, stats = verify_components(*flat(sets), 0.8, transitive)
        assert (witness == np.arange(3000)).all()
        assert np.isnan(values).all()
        assert stats.compared == 0
        assert stats.met < 3000
    copies = [np.append(sets[i], np.uint64(i)) for i in range(0, 3000, 10)]
    witness, values, stats = verify_components(*flat(sets + copies), 0.8, False)
    assert witness[3000:].tolist() == list(range(0, 3000, 10))
    assert (values[3000:] == (100 + own) / (101 + own)).all()
    assert stats.compared < 4000


def test_template_with_shared_values_is_told_apart_by_bitmaps() -> None:
    """Rows meet by values drawn from one vocabulary, but few of their sets are looked at."""
    random = np.random.default_rng(6)
    template = random.integers(0, 2**64, 60, np.uint64)
    values = random.integers(0, 2**64, (30, 100), np.uint64)
    sets = [
        np.concatenate([template, values[np.arange(30), random.integers(0, 100, 30)]])
        for _ in range(2000)
    ]
    for transitive in (False, True):
        witness, _, stats = verify_components(*flat(sets), 0.8, transitive)
        assert (witness == np.arange(2000)).all()
        assert stats.met > 10_000
        assert stats.compared < stats.met / 20


def lists(random: np.random.Generator, count: int, values: int) -> list[npt.NDArray[np.uint64]]:
    """One template with 13 places, each filled from a list; a value is in five shingles."""
    template = random.integers(0, 2**64, 136, np.uint64)
    shingles = random.integers(0, 2**64, (13, values, 5), np.uint64)
    chosen = random.integers(0, values, (count, 13))
    return [np.concatenate([template, shingles[np.arange(13), row].ravel()]) for row in chosen]


def test_templates_filled_from_lists_hardly_meet() -> None:
    """A value is in every hundredth row, but hardly two rows share two values."""
    sets = lists(np.random.default_rng(8), 6000, 100)
    witness, _, crowded = verify_components(*flat(sets), 0.8, False, scan=NEVER)
    usual, _, stats = verify_components(*flat(sets), 0.8, False, crowd=1 << 40)
    assert (witness == usual).all()
    assert stats.met > 1_000_000
    assert crowded.met < stats.met / 5


@pytest.mark.parametrize("crowd", [-1, 1 << 40])
def test_tables_sized_by_distinct_shingles_change_nothing(crowd: int) -> None:
    """The sets have 600,000 shingles, and few distinct ones: enough for these to be counted."""
    sets = lists(np.random.default_rng(10), 3000, 6)
    expected, similarities, _ = verify_components(*flat(sets), 0.7, False, direct_groups=3000)
    witness, similarity, _ = verify_components(*flat(sets), 0.7, False, crowd=crowd)
    assert 200 < (witness == np.arange(3000)).sum() < 500
    np.testing.assert_array_equal(witness, expected)
    np.testing.assert_array_equal(similarity, similarities)


@njit
def count_distinct(sets: Any, count: int, total: int) -> Any:
    return distinct_shingles(sets, count, total)


def test_distinct_shingles_are_counted_within_some_per_cent() -> None:
    random = np.random.default_rng(11)
    for size in (20_000, 100_000, 400_000):
        pool = random.integers(0, 2**64, size, np.uint64)
        hashes = pool[random.integers(0, size, 1 << 20)]
        sets = ComponentSets(np.arange(1), np.array([0, hashes.size]), hashes, 1)
        there = np.unique(hashes).size
        assert count_distinct(sets, 1, hashes.size) == pytest.approx(there, rel=0.1)
    few = ComponentSets(np.arange(1), np.array([0, 1000]), hashes[:1000], 1)
    assert count_distinct(few, 1, 1000) == 1000


@pytest.mark.parametrize("values", [2, 3, 5, 12])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_templates_filled_from_few_values_agree_with_plain_sets(
    threshold: float, values: int
) -> None:
    random = np.random.default_rng(values)
    sets = lists(random, 150, values)
    sets += [random.permutation(one)[: int(random.integers(120, 202))] for one in sets[::5]]
    rows = distinct(one.tolist() for one in sets)
    expected, similarities = naive_cluster.cover(rows, threshold)
    witness, similarity, _ = verified([rows], threshold, False, direct_groups=1, crowd=-1)
    assert witness.tolist() == expected
    np.testing.assert_array_equal(similarity, similarities)


def field_rows(seed: int, count: int) -> Rows:
    """Rows of a prompt and an answer: each alone is like many others, both together like few."""
    random = np.random.default_rng(seed)
    prompts = [lists(random, 8, 3), [random.integers(0, 2**64, 60, np.uint64) for _ in range(8)]]
    answers = [lists(random, 8, 2), [random.integers(0, 2**64, 7, np.uint64) for _ in range(8)]]
    rows: Rows = []
    for i in range(count):
        sets = []
        for pool in (prompts, answers):
            base = pool[random.integers(0, 2)][random.integers(0, 8)]
            kept = base[random.random(base.size) > random.choice([0, 0.03, 0.15])]
            new = random.integers(0, 2**64, random.integers(0, 3), np.uint64)
            sets.append(frozenset([] if random.random() < 0.1 else [*kept.tolist(), *new.tolist()]))
        if any(sets):
            rows.append((tuple(sets), i))
    return rows


@pytest.mark.parametrize("transitive", [False, True])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
def test_fields_by_index_and_elements_agree_with_plain_sets(
    threshold: float, transitive: bool
) -> None:
    rows = field_rows(int(threshold * 1000), 160)
    oracle = naive_cluster.transitive if transitive else naive_cluster.cover
    swapped = [(tuple(reversed(sets)), group) for sets, group in rows]
    constant = [((*sets, frozenset(range(50))), group) for sets, group in rows]
    for part in (rows, swapped, constant):
        expected, values = oracle(part, threshold)
        for limits in (
            {"direct_groups": 1},
            {"direct_groups": 1, "counter_slots": 64},
            {"direct_groups": 1, "crowd": -1},
            {"direct_groups": 1, "scan": ALWAYS, "batch": 9},
            {"direct_groups": 160},
        ):
            witness, similarity, _ = verified([part], threshold, transitive, **limits)
            assert witness.tolist() == expected
            np.testing.assert_array_equal(similarity, values)


@pytest.mark.parametrize("kind", ["answers", "questions", "both", "some empty"])
@pytest.mark.parametrize("crowd", [64, -1, 1 << 40])
def test_rows_over_one_passage_do_not_meet(kind: str, crowd: int) -> None:
    """They are all alike in the field that has the passage, and told apart by the other one."""
    offsets, hashes = corpora.rows_over_a_passage(20_000, kind)
    rows = np.arange(20_000)
    for transitive in (False, True):
        witness, _, stats = verify_components(
            rows[[0, -1]] + [0, 1], rows, 2, offsets, hashes, 0.8, transitive, crowd=crowd
        )
        kept = {"questions": 40, "some empty": 10_001}.get(kind, 20_000)
        assert (witness == rows).sum() == kept
        assert stats.compared < 4 * len(rows)
        assert stats.met < 60 * len(rows)


@given(st.data(), st.integers(1, 4))
def test_the_least_field_is_never_more_than_the_whole(data: st.DataObject, fields: int) -> None:
    """By the mediant inequality: what bands find of whole documents has all pairs by fields."""
    sets = st.lists(st.frozensets(st.integers(0, 20)), min_size=fields, max_size=fields)
    one, other = (
        [frozenset((x, f) for x in shingles) for f, shingles in enumerate(data.draw(sets))]
        for _ in range(2)
    )
    a, b = frozenset().union(*one), frozenset().union(*other)
    least = min(naive_cluster.by_field(one, other))
    assert least <= naive_cluster.jaccard(a, b)


def test_wide_rows_are_compared_with_all() -> None:
    """Rows whose shingles are all of different rows have too many pairs; others have few."""
    random = np.random.default_rng(9)
    pool = random.integers(0, 2**64, 400, np.uint64)
    wide = [random.choice(pool, 300, replace=False) for _ in range(40)]
    near = [np.append(one[:-4], random.integers(0, 2**64, 4, np.uint64)) for one in wide]
    rows = distinct(one.tolist() for one in [*lists(random, 100, 3), *wide, *near])
    for threshold in (0.5, 0.8, 0.95):
        expected, similarities = naive_cluster.cover(rows, threshold)
        witness, similarity, _ = verified([rows], threshold, False, crowd=-1)
        assert witness.tolist() == expected
        np.testing.assert_array_equal(similarity, similarities)


def test_one_row_many_times() -> None:
    group = np.zeros(100_000, np.int64)
    for sizes in ([0, 0], [0, 3]):
        hashes = np.array([1, 2, 3][: sizes[1]], np.uint64)
        for transitive in (False, True):
            witness, similarity, stats = verify_components(
                np.array([0, group.size]), group, 1, np.array(sizes), hashes, 0.8, transitive
            )
            assert (witness == 0).all()
            assert np.isnan(similarity[0])
            assert (similarity[1:] == 1.0).all()
            assert stats == Stats(0, 0, 0, 1, 0)


def test_copies_of_a_dropped_row_follow_it() -> None:
    rows = [
        ((frozenset(range(10)),), 0),
        ((frozenset(range(9)),), 1),
        ((frozenset(range(9)),), 1),
        ((frozenset(range(50, 60)),), 2),
        ((frozenset(range(10)),), 0),
        ((frozenset(range(50, 60)),), 2),
    ]
    for transitive in (False, True):
        for direct in (1, 48):
            witness, similarity, _ = verified([rows], 0.8, transitive, direct_groups=direct)
            assert witness.tolist() == [0, 0, 0, 3, 0, 3]
            expected = [math.nan, 0.9, 0.9, math.nan, 1.0, 1.0]
            np.testing.assert_array_equal(similarity[:, 0], expected)


@pytest.mark.parametrize("transitive", [False, True])
def test_near_identical_rows(transitive: bool) -> None:
    random = np.random.default_rng(7)
    base = random.integers(0, 2**64, 100, np.uint64)
    sets = [
        np.concatenate(
            [base[random.permutation(100)[:97]], random.integers(0, 2**64, 2, np.uint64)]
        )
        for _ in range(2000)
    ]
    witness, similarity, stats = verify_components(*flat(sets), 0.85, transitive)
    assert (witness == 0).all()
    first = set(sets[0].tolist())
    for i in range(1, 2000, 97):
        other = set(sets[i].tolist())
        assert similarity[i] == len(first & other) / len(first | other)
    assert stats.compared < 3 * 2000
    assert stats.met < 3 * 2000


def test_unrelated_rows_in_one_component() -> None:
    random = np.random.default_rng(8)
    sets = [random.integers(0, 2**64, 50, np.uint64) for _ in range(5000)]
    witness, _, stats = verify_components(*flat(sets), 0.8, False)
    assert (witness == np.arange(5000)).all()
    assert stats.met == 0
    assert stats.largest == 5000


def test_very_long_and_very_short_sets_together() -> None:
    random = np.random.default_rng(9)
    long = random.integers(0, 2**64, 300_000, np.uint64)
    sets = [long[:1], long, long[1:], np.array([0], np.uint64), long[:1000], long[:900]]
    sets += [random.integers(0, 2**64, 30, np.uint64) for _ in range(60)]
    expected = [0, 1, 1, 3, 4, 4, *range(6, 66)]
    for transitive in (False, True):
        for direct in (48, 100):
            witness, similarity, _ = verify_components(
                *flat(sets), 0.8, transitive, direct_groups=direct
            )
            assert witness.tolist() == expected
            assert similarity[2] == 299_999 / 300_000
            assert similarity[5] == 0.9


def test_extreme_hashes() -> None:
    sets = [{0}, {2**64 - 1}, {0, 2**64 - 1}, {1}, {0, 1}, {2**63}, {0, 2**63}]
    for threshold in (0.5, 1.0):
        for direct in (1, 48):
            rows = distinct(sets)
            witness, similarity, _ = verified([rows], threshold, False, direct_groups=direct)
            expected, values = naive_cluster.cover(rows, threshold)
            assert witness.tolist() == expected
            np.testing.assert_array_equal(similarity, values)


def test_read_only_and_memory_mapped(tmp_path: Path) -> None:
    rows = random_rows(11, 120)
    expected, values = naive_cluster.cover(rows, 0.7)
    bounds, group, fields, offsets, hashes = arrays([rows])
    hashes.tofile(tmp_path / "hashes")
    mapped = np.memmap(tmp_path / "hashes", np.uint64, "r")
    for array in (bounds, group, offsets):
        array.setflags(write=False)
    witness, similarity, _ = verify_components(bounds, group, fields, offsets, mapped, 0.7, False)
    assert type(witness) is np.ndarray
    assert witness.tolist() == expected
    np.testing.assert_array_equal(similarity, values)


def test_what_breaks_the_contract_is_refused() -> None:
    bounds, group, fields, offsets, hashes = arrays([distinct([{1, 2}, {2, 3}]), distinct([{4}])])
    for threshold in (0.0, -1.0, 1.1, math.nan):
        with pytest.raises(ValueError, match="threshold"):
            verify_components(bounds, group, fields, offsets, hashes, threshold, False)
    with pytest.raises(TypeError, match="set_hashes must be uint64"):
        verify_components(bounds, group, fields, offsets, hashes.astype(np.int64), 0.8, False)
    with pytest.raises(ValueError, match="contiguous"):
        verify_components(bounds, np.repeat(group, 2)[::2], fields, offsets, hashes, 0.8, False)
    with pytest.raises(ValueError, match="component_offsets"):
        verify_components(bounds[:-1], group, fields, offsets, hashes, 0.8, False)
    with pytest.raises(ValueError, match="set_offsets"):
        verify_components(bounds, group, fields, offsets + 1, hashes, 0.8, False)
    with pytest.raises(ValueError, match="must not decrease"):
        verify_components(bounds, group, fields, np.array([0, 4, 2, 5]), hashes, 0.8, False)
    with pytest.raises(ValueError, match="group must be"):
        verify_components(bounds, group + 1, fields, offsets, hashes, 0.8, False)
    with pytest.raises(ValueError, match="two components"):
        verify_components(bounds, np.array([0, 1, 0]), fields, offsets, hashes, 0.8, False)
    with pytest.raises(ValueError, match="set is empty"):
        verify_components(bounds, group, fields, np.array([0, 2, 2, 3]), hashes, 0.8, False)
