"""How runs are cut: every file of edges is merged once, tasks grow instead of their number."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import SettingsError, Tuning
from dedupe.config import Resources
from dedupe.planning.estimate import estimate, workload
from dedupe.planning.sizes import Planner, levels, pack
from dedupe.tasks.costs import COSTS, STAGE_COSTS

PLANNER = Planner(COSTS)
TUNING = Tuning()


@pytest.mark.parametrize("leaves", [1, 2, 8, 9, 64, 65, 1000])
@pytest.mark.parametrize("joins", [0, 1, 9])
@pytest.mark.parametrize("fan_in", [2, TUNING.fan_in])
def test_every_file_of_edges_is_merged_exactly_once(leaves, joins, fan_in):
    merges = Planner(COSTS, Tuning(fan_in=fan_in)).merge_tree(leaves, joins)
    assert [merge.task for merge in merges] == list(range(len(merges)))
    read = [(merge.stage, source) for merge in merges for source in merge.sources]
    left = [("bucket", leaf) for leaf in range(leaves)]
    left += [("join", block) for block in range(joins)]
    left += [("components", merge.task) for merge in merges[:-1]]
    assert sorted(read) == sorted(left)
    assert [merge.last for merge in merges] == [False] * (len(merges) - 1) + [True]
    assert max(len(merge.sources) for merge in merges) <= fan_in


def test_a_merge_reads_only_what_an_earlier_level_left():
    merges = PLANNER.merge_tree(1000)
    done: set[int] = set()
    for level in levels(merges):
        for task in level:
            if merges[task].stage == "components":
                assert done.issuperset(merges[task].sources)
            assert len(merges[task].sources) <= TUNING.fan_in
        done.update(level)
    assert [len(level) for level in levels(merges)] == [125, 16, 2, 1]


def small(memory="4GB", threads=2, concurrency=None, corpus_bytes=10**9):
    return PLANNER.task_sizes(Resources.of(threads, memory, concurrency), corpus_bytes)


def work_of(memory, rows):
    resources = Resources.of(4, memory)
    return resources, workload(PLANNER, resources, rows, 1200, 16, 0.4, "word")


def test_tasks_of_a_large_corpus_grow_as_memory_allows():
    (_, modest), (_, ample) = work_of("16GB", 10**10), work_of("256GB", 10**10)
    assert ample.sizes.key_partitions < modest.sizes.key_partitions
    assert ample.component_partitions < modest.component_partitions / 2
    assert TUNING.most_tasks <= ample.sign_tasks <= 1.1 * TUNING.most_tasks
    assert ample.sign_tasks < modest.sign_tasks < 2 * TUNING.most_tasks
    assert ample.sizes.key_partitions == TUNING.most_tasks


def test_a_small_corpus_is_cut_as_fine_as_ever():
    sizes = small()
    assert sizes.task_text == TUNING.task_text
    assert PLANNER.key_partitions(sizes, 16 * 10**6) == 4
    assert PLANNER.key_partitions(sizes, 10) == 1
    assert PLANNER.component_partitions(sizes, 0, 0.0) == 0
    assert PLANNER.component_partitions(sizes, 10, 5.0) == 1


GOLDEN = {
    (2, "4GB", 10**9): (16_000_000, 64_000_000, 262_144, 616_666_666, 256_000_000, 1_233_333_333),
    (8, "16GB", 10**12): (
        16_000_000, 2_000_000_000, 6_541_666, 654_166_666, 490_625_000, 1_308_333_333,
    ),
    (1, "500MB", 10**6): (8_333_333, 64_000_000, 262_144, 66_666_666, 50_000_000, 133_333_333),
}  # fmt: skip
"""By threads, memory and bytes of a corpus: batch, text and rows of a task, spill, sets, block."""


@pytest.mark.parametrize("given", GOLDEN, ids=str)
def test_sizes_are_those_that_were_measured(given):
    threads, memory, corpus_bytes = given
    sizes = small(memory, threads, corpus_bytes=corpus_bytes)
    assert (
        sizes.batch, sizes.task_text, sizes.task_rows, sizes.spill, sizes.sets, sizes.block,
    ) == GOLDEN[given]  # fmt: skip
    assert sizes.partition == sizes.sets
    assert sizes.concurrency == threads


def test_a_million_rows_take_what_was_measured():
    resources, work = work_of("4GB", 10**6)
    found = estimate(PLANNER, resources, work, STAGE_COSTS)
    assert {name: stage.tasks for name, stage in found.stages.items()} == {
        "sign": 19, "bucket": 8, "components": 1, "route": 19, "group": 32, "fetch": 19,
        "verify": 32, "keep": 19,
    }  # fmt: skip
    assert (found.work_disk, found.peak_memory, found.memory) == (959_000_000, 2_150_000_000, 4e9)
    assert found.partition_reads == 2603
    assert found.stages["verify"].memory == 462_500_000
    assert found.stages["components"].alone


def test_tuning_cuts_a_small_corpus_into_many_tasks():
    planner = Planner(COSTS, Tuning(task_text=1000, batch_bytes=700, set_bytes=9000))
    sizes = planner.task_sizes(Resources.of(2), 10**5)
    assert (sizes.task_text, sizes.batch, sizes.sets) == (1000, 700, 9000)


def test_too_little_memory_says_how_much_is_needed():
    with pytest.raises(SettingsError, match=r"16 workers need 492MB of memory and have 400MB"):
        PLANNER.task_sizes(Resources(16, 400_000_000, 16), 10**9)


@given(members=st.integers(1, 10**10), shingles=st.floats(0, 1e5), memory=st.integers(600, 100_000))
def test_partitions_of_components_fit_their_share_on_average(members, shingles, memory):
    sizes = small(f"{memory}MB", threads=1)
    partitions = PLANNER.component_partitions(sizes, members, shingles)
    weight = members * (COSTS.member + COSTS.shingle_hash * shingles)
    assert partitions >= 1
    assert weight / partitions <= sizes.sets * 1.000001


def test_link_refuses_what_does_not_fit_and_says_both_numbers():
    sizes = small("1GB", threads=1)
    PLANNER.check_link(sizes, 10**8, 4 * 10**7, last=True)
    with pytest.raises(SettingsError, match=r"need 1\.6GB of memory in one task, which has 0\.7GB"):
        PLANNER.check_link(sizes, 10**9, 17 * 10**7, last=True)
    with pytest.raises(SettingsError, match="raise --memory"):
        PLANNER.check_link(sizes, 10**8, 5 * 10**7, last=False)


def test_blocks_of_the_join_are_as_few_as_fit_but_one_for_each_worker():
    sizes = small()
    assert PLANNER.join_blocks(sizes, [10] * 8) == [0, 4, 8]
    large = sizes.block // 3
    assert PLANNER.join_blocks(sizes, [large] * 9) == [0, 3, 6, 9]
    assert PLANNER.join_blocks(sizes, [5 * large] * 3) == [0, 1, 2, 3]
    assert PLANNER.join_blocks(sizes, []) == [0]


@given(st.lists(st.integers(0, 100), max_size=50), st.integers(1, 200))
def test_pack_keeps_order_and_loses_nothing(sizes, target):
    packed = pack(range(len(sizes)), sizes, target)
    assert list(itertools.chain(*packed)) == list(range(len(sizes)))
    for part in packed:
        assert sum(sizes[i] for i in part) <= target or len(part) == 1
