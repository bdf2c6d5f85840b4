"""How runs are cut: every file of edges is merged once, tasks grow instead of their number."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import SettingsError, planning
from dedupe.config import Resources


@pytest.mark.parametrize("leaves", [1, 2, 8, 9, 64, 65, 1000])
@pytest.mark.parametrize("joins", [0, 1, 9])
def test_every_file_of_edges_is_merged_exactly_once(leaves, joins):
    merges = planning.merge_tree(leaves, joins)
    assert [merge.task for merge in merges] == list(range(len(merges)))
    read = [(merge.stage, source) for merge in merges for source in merge.sources]
    left = [("bucket", leaf) for leaf in range(leaves)]
    left += [("join", block) for block in range(joins)]
    left += [("link", merge.task) for merge in merges[:-1]]
    assert sorted(read) == sorted(left)
    assert [merge.last for merge in merges] == [False] * (len(merges) - 1) + [True]


def test_a_merge_reads_only_what_an_earlier_level_left():
    merges = planning.merge_tree(1000)
    done: set[int] = set()
    for level in planning.levels(merges):
        for task in level:
            if merges[task].stage == "link":
                assert done.issuperset(merges[task].sources)
            assert len(merges[task].sources) <= planning.FAN_IN
        done.update(level)
    assert [len(level) for level in planning.levels(merges)] == [125, 16, 2, 1]


def small(memory="4GB", threads=2, slots=None, corpus_bytes=10**9):
    return planning.task_sizes(Resources.of(threads, memory, slots), 16, corpus_bytes, "word")


def test_tasks_of_a_large_corpus_grow_as_memory_allows():
    rows = 10**10
    modest = planning.estimate(Resources.of(4, "16GB"), 16, rows, 1200, 0.4, "word")
    ample = planning.estimate(Resources.of(4, "256GB"), 16, rows, 1200, 0.4, "word")
    assert ample.key_partitions < modest.key_partitions
    assert ample.component_partitions < modest.component_partitions / 2
    assert planning.MOST_TASKS <= ample.sign_tasks <= 1.1 * planning.MOST_TASKS
    assert ample.sign_tasks < modest.sign_tasks < 2 * planning.MOST_TASKS
    assert ample.key_partitions == planning.MOST_TASKS


def test_a_small_corpus_is_cut_as_fine_as_ever():
    sizes = small()
    assert sizes.task_text == planning.TASK_TEXT
    assert planning.key_partitions(sizes, 16 * 10**6) == 4
    assert planning.key_partitions(sizes, 10) == 1
    assert planning.component_partitions(sizes, 0, 0.0) == 0
    assert planning.component_partitions(sizes, 10, 5.0) == 1


@given(members=st.integers(1, 10**10), shingles=st.floats(0, 1e5), memory=st.integers(600, 100_000))
def test_partitions_of_components_fit_their_share_on_average(members, shingles, memory):
    sizes = small(f"{memory}MB", threads=1)
    partitions = planning.component_partitions(sizes, members, shingles)
    weight = members * (planning.MEMBER_BYTES + planning.SHINGLE_HASH_BYTES * shingles)
    assert partitions >= 1
    assert weight / partitions <= sizes.set_bytes * 1.000001


def test_link_refuses_what_does_not_fit_and_says_both_numbers():
    sizes = small("1GB", threads=1)
    planning.check_link(sizes, 10**8, 4 * 10**7, last=True)
    with pytest.raises(SettingsError, match=r"needs 1\.6GB of memory in one task and has 0\.7GB"):
        planning.check_link(sizes, 10**9, 17 * 10**7, last=True)
    with pytest.raises(SettingsError, match="raise --memory"):
        planning.check_link(sizes, 10**8, 5 * 10**7, last=False)


@given(st.lists(st.integers(0, 100), max_size=50), st.integers(1, 200))
def test_pack_keeps_order_and_loses_nothing(sizes, target):
    packed = planning.pack(range(len(sizes)), sizes, target)
    assert list(itertools.chain(*packed)) == list(range(len(sizes)))
    for part in packed:
        assert sum(sizes[i] for i in part) <= target or len(part) == 1
