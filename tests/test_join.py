"""The exact join against every pair of plain Python sets, and against the oracle of benchmarks."""

from __future__ import annotations

from itertools import combinations

import corpora
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.studies.exact_join import exact_pairs
from dedupe.stages import join
from dedupe.stages.join import JoinBlock

elements = st.one_of(
    st.integers(0, 12), st.integers(2**63 - 2, 2**63 + 2), st.integers(2**64 - 3, 2**64 - 1)
)
sets = st.lists(elements, max_size=14, unique=True)
thresholds = st.one_of(
    st.sampled_from([5e-324, 1e-19, 0.1, 1 / 3, 0.5, 2 / 3, 0.75, 0.8, 0.9, 1.0]),
    st.floats(0.01, 1.0, allow_subnormal=False),
)


def columns(lists):
    """(offsets, hashes) of sets."""
    offsets = np.cumsum([0] + [len(values) for values in lists]).astype(np.int64)
    return offsets, np.array([x for values in lists for x in values], np.uint64)


def block_of(lists, threshold, stamps=None):
    given = None if stamps is None else np.array(stamps, np.uint64)
    return JoinBlock(*columns(lists), threshold, given)


def jaccard(a, b):
    return len({*a} & {*b}) / len({*a} | {*b}) if a or b else 1.0


def brute_force(streamed, held, threshold):
    return {
        (i, j): jaccard(a, b)
        for i, a in enumerate(streamed)
        for j, b in enumerate(held)
        if a and b and jaccard(a, b) >= threshold
    }


def found_by(block, streamed):
    """The pairs of streamed sets and rows of the block, each once."""
    pairs = [
        ((row, member), similarity)
        for part in block.pairs(*columns(streamed))
        for row, entry, similarity in zip(
            part.rows.tolist(), part.entries.tolist(), part.jaccard[:, 0].tolist(), strict=True
        )
        for member in np.flatnonzero(block.entry == entry).tolist()
    ]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@given(st.lists(sets, max_size=14), st.lists(sets, max_size=14), thresholds)
def test_pairs_are_those_of_brute_force(held, streamed, threshold):
    found = found_by(block_of(held, threshold), streamed)
    assert found == brute_force(streamed, held, threshold)


def edited_sets(seed=7, bases=60):
    random = np.random.default_rng(seed)
    lists = []
    for _ in range(bases):
        base = random.integers(0, 1 << 62, random.integers(1, 120)).tolist()
        for _ in range(random.integers(1, 9)):
            rate = random.choice([0, 0.004, 0.02, 0.08])
            edited = {x for x in base if random.random() > rate}
            edited |= set(random.integers(0, 400, random.integers(0, 4)).tolist())
            lists.append(random.permutation(sorted(edited)).tolist() if edited else [])
    return [lists[i] for i in random.permutation(len(lists))]


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8, 0.95, 1.0])
def test_a_self_join_is_that_of_the_oracle(threshold):
    lists = edited_sets()
    left, right, inter, union = exact_pairs(*columns(lists), threshold)
    expected = dict(
        zip(zip(left.tolist(), right.tolist(), strict=True), inter / union, strict=True)
    )
    found = found_by(block_of(lists, threshold), lists)
    assert {pair: s for pair, s in found.items() if pair[0] < pair[1]} == expected
    assert {(b, a) for a, b in found} == found.keys()
    assert len(expected) > (2 if threshold == 1 else 100)


def test_few_pairs_at_a_time_are_all_pairs(monkeypatch):
    lists = edited_sets(3)
    whole = found_by(block_of(lists, 0.6), lists)
    monkeypatch.setattr(join, "MOST_PAIRS", 1)
    assert found_by(block_of(lists, 0.6), lists) == whole


def test_sets_at_the_threshold_exactly():
    for size in range(1, 60):
        for shared in range(1, size + 1):
            other = [*range(shared), *range(1000, 1000 + size - shared)]
            threshold = shared / (2 * size - shared)
            assert found_by(block_of([list(range(size))], threshold), [other])
            above = np.nextafter(threshold, 2)
            if above <= 1:
                assert not found_by(block_of([list(range(size))], above), [other])


def test_sizes_that_rule_a_pair_out_are_near_those_that_do_not():
    for size in (1, 4, 5, 99, 1000):
        for threshold in (0.2, 0.5, 0.8, 1.0):
            held = [list(range(n)) for n in range(size, min(int(size / threshold) + 3, size + 400))]
            found = found_by(block_of(held, threshold), [list(range(size))])
            assert found == brute_force([list(range(size))], held, threshold)


def test_copies_are_one_entry_unless_their_stamps_differ():
    lists = [[1, 2, 3], [3, 2, 1], [1, 2, 3], [], [1, 2, 3], []]
    block = block_of(lists, 0.8)
    assert len(block.leaders) == 2
    assert block.entry[3] == block.entry[5] == -1
    rows, others = (part.tolist() for part in block.within())
    assert list(zip(rows, others, strict=True)) == [(2, 0), (4, 0), (1, 0)]
    stamped = block_of(lists, 0.8, [7, 0, 7, 0, 8, 0])
    assert len(stamped.leaders) == 3
    assert stamped.entry[0] == stamped.entry[2] != stamped.entry[4]


def test_one_set_many_times_is_one_pair_for_each():
    held = block_of([[5, 6, 7]] * 50_000, 0.8)
    assert len(held.leaders) == 1
    pairs = list(held.pairs(*columns([[5, 6, 7]] * 1000)))
    assert sum(len(part.rows) for part in pairs) == 1000


def test_no_sets():
    assert found_by(block_of([], 0.8), [[1]]) == {}
    assert found_by(block_of([[]], 0.8), [[], [1]]) == {}
    assert found_by(block_of([[1]], 0.8), []) == {}


@given(st.lists(sets, min_size=1, max_size=10), st.lists(sets, min_size=1, max_size=10))
def test_similarity_of_given_rows(held, streamed):
    block = block_of(held, 0.5)
    left, right = (part.ravel() for part in np.indices((len(streamed), len(held))))
    found = block.similarity(*columns(streamed), left, right)
    pairs = zip(left, right, strict=True)
    assert found.tolist() == [[jaccard(streamed[a], held[b])] for a, b in pairs]


def components(count, edges):
    parent = list(range(count))

    def find(node):
        while parent[node] != node:
            node = parent[node]
        return node

    for a, b in edges:
        parent[find(a)] = find(b)
    roots = [find(node) for node in range(count)]
    return [roots.index(root) for root in roots]


def connected(lists, threshold, first, step=None):
    """Components by the edges of a block from row `first` on; rows before it are streamed."""
    block = block_of(lists[first:], threshold)
    edges = [(first + a, first + b) for a, b in zip(*block.within(), strict=True)]
    for start in range(0, first, step or len(lists)):
        part = lists[start : min(start + (step or len(lists)), first)]
        rows, others = block.edges(*columns(part))
        pairs = zip(rows.tolist(), others.tolist(), strict=True)
        edges += [(start + a, first + b) for a, b in pairs]
    for a, b in edges:
        assert jaccard(lists[a], lists[b]) >= threshold
    return components(len(lists), edges), edges, block.compared


def true_components(lists, threshold, first):
    """Of all pairs with a row of the block."""
    pairs = combinations(range(len(lists)), 2)
    return components(
        len(lists),
        [
            (a, b)
            for a, b in pairs
            if b >= first and lists[a] and lists[b] and jaccard(lists[a], lists[b]) >= threshold
        ],
    )


@given(st.lists(sets, min_size=1, max_size=14), thresholds, st.data())
def test_edges_connect_what_all_pairs_connect(lists, threshold, data):
    first = data.draw(st.integers(0, len(lists) - 1))
    step = data.draw(st.integers(1, len(lists)))
    found, _, _ = connected(lists, threshold, first, step)
    assert found == true_components(lists, threshold, first)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("first", [0, 100])
def test_edges_of_edited_sets(threshold, first):
    lists = edited_sets(11)
    found, edges, _ = connected(lists, threshold, first, 50)
    assert found == true_components(lists, threshold, first)
    assert len(edges) < 2 * len(lists)


def test_rows_of_one_component_are_not_compared_one_by_one():
    common = list(range(100))
    lists = [[*common, 1000 + i, 5000 + i] for i in range(2000)]
    found, edges, compared = connected(lists, 0.8, 0)
    assert set(found) == {0}
    assert len(edges) == 1999
    assert compared < 2 * len(lists)


# Rows of several fields: lists of sets, the fields of a row one after the other.

FIELDS = st.sampled_from([2, 3])


@st.composite
def rows_of(draw, fields, most=12):
    """Rows of so many fields; a hash is of one field, and fields may swap what they have."""
    pool = draw(st.lists(st.lists(st.integers(0, 12), max_size=8, unique=True), min_size=1))
    drawn = []
    for _ in range(draw(st.integers(0, most))):
        kind = draw(st.integers(0, 3)) if drawn else 3
        row = list(draw(st.sampled_from(drawn))) if drawn else []
        if kind == 0:
            row = row[1:] + row[:1]
        elif kind == 1:
            row[draw(st.integers(0, fields - 1))] = draw(st.sampled_from(pool))
        elif kind == 2:
            f = draw(st.integers(0, fields - 1))
            row[f] = sorted({*row[f]} ^ {draw(st.integers(0, 12))})
        else:
            row = [draw(st.sampled_from(pool)) for _ in range(fields)]
        drawn.append(row)
    return [[[x + 100 * f for x in one] for f, one in enumerate(row)] for row in drawn]


def flat(rows):
    return columns([one for row in rows for one in row])


def by_field(a, b):
    return [jaccard(x, y) for x, y in zip(a, b, strict=True)]


def pairs_of(block, streamed):
    pairs = {
        (row, member): similarity
        for part in block.pairs(*flat(streamed))
        for row, entry, similarity in zip(
            part.rows.tolist(), part.entries.tolist(), part.jaccard.tolist(), strict=True
        )
        for member in np.flatnonzero(block.entry == entry).tolist()
    }
    assert sum(len(part.rows) for part in block.pairs(*flat(streamed))) <= len(pairs)
    return pairs


@settings(deadline=None, max_examples=300)
@given(FIELDS, thresholds, st.data())
def test_pairs_of_rows_with_fields_are_those_of_brute_force(fields, threshold, data):
    held, streamed = data.draw(rows_of(fields)), data.draw(rows_of(fields))
    block = JoinBlock(*flat(held), threshold, fields=fields)
    assert pairs_of(block, streamed) == {
        (i, j): by_field(a, b)
        for i, a in enumerate(streamed)
        for j, b in enumerate(held)
        if any(a) and any(b) and min(by_field(a, b)) >= threshold
    }
    left, right = (part.ravel() for part in np.indices((len(streamed), len(held))))
    found = block.similarity(*flat(streamed), left, right)
    every = [by_field(streamed[a], held[b]) for a, b in zip(left, right, strict=True)]
    assert found.tolist() == every


@settings(deadline=None, max_examples=300)
@given(FIELDS, thresholds, st.data())
def test_edges_of_rows_with_fields_connect_what_all_pairs_connect(fields, threshold, data):
    rows = data.draw(rows_of(fields, 16))
    first = data.draw(st.integers(0, len(rows)))
    block = JoinBlock(*flat(rows[first:]), threshold, fields=fields)
    edges = [(first + a, first + b) for a, b in zip(*block.within(), strict=True)]
    others, ours = block.edges(*flat(rows[:first]))
    edges += [(a, first + b) for a, b in zip(others.tolist(), ours.tolist(), strict=True)]
    similar = [
        (a, b)
        for a, b in combinations(range(len(rows)), 2)
        if b >= first
        and any(rows[a])
        and any(rows[b])
        and min(by_field(rows[a], rows[b])) >= threshold
    ]
    for a, b in edges:
        assert min(by_field(rows[a], rows[b])) >= threshold
    assert components(len(rows), edges) == components(len(rows), similar)


@pytest.mark.parametrize("adversary", ["answers", "questions", "both", "some empty"])
def test_rows_over_one_passage_are_not_compared_with_one_another(adversary):
    offsets, hashes = corpora.rows_over_a_passage(20_000, adversary)
    block = JoinBlock(offsets, hashes, 0.8, fields=2)
    block.within()
    assert block.compared < 4 * 20_000
