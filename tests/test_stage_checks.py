"""What stages are handed is checked before anything is indexed by it, and decisions for sense."""

from __future__ import annotations

import dataclasses
import tempfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dedupe.checks import (
    check_all,
    check_increasing,
    check_offsets,
    check_range,
    check_same_length,
)
from dedupe.config import Settings
from dedupe.errors import IntegrityError
from dedupe.kernels.sets import Stats
from dedupe.schema import (
    DECISIONS,
    EDGES,
    EMPTY,
    EXACT,
    EXTRA,
    LABELS,
    MEMBERS,
    NEAR,
    REFERENCE,
    REPRESENTATIVE,
    ROWS,
    UNIQUE,
    counted,
    decisions,
    labeled,
)
from dedupe.stages import verify as verify_stage
from dedupe.stages.bucket import bucket, repeated_ids
from dedupe.stages.components import ComponentFinder
from dedupe.stages.fetch import RowSets, rows_to_fetch, set_batches
from dedupe.stages.group import group
from dedupe.stages.join import JoinBlock
from dedupe.stages.keep import Decided, ShardRows, Witnesses, keep_list
from dedupe.stages.route import route
from dedupe.stages.verify import ShingleSets, cut_decisions, verify
from dedupe.tasks.verify import _read_sets

WIDE = [np.uint8, np.uint32, np.int64, np.uint64]


def batch(columns_of: pa.Schema, *columns: Any) -> pa.RecordBatch:
    arrays = [
        pa.array(column, kind) for column, kind in zip(columns, columns_of.types, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=columns_of)


@pytest.mark.parametrize("dtype", WIDE)
def test_ranges(dtype: Any) -> None:
    check_range(np.zeros(0, dtype), 0, "no")
    check_range(np.array([0, 4, 2], dtype), 5, "no")
    with pytest.raises(IntegrityError, match="too far"):
        check_range(np.array([0, 5, 2], dtype), 5, "too far")
    if np.issubdtype(dtype, np.signedinteger):
        with pytest.raises(IntegrityError, match="too far"):
            check_range(np.array([0, -1, 2], dtype), 5, "too far")


def test_a_large_unsigned_number_is_not_taken_for_a_small_one() -> None:
    with pytest.raises(IntegrityError):
        check_range(np.array([2**64 - 1], np.uint64), 1 << 62, "too far")


@pytest.mark.parametrize("dtype", WIDE)
def test_order(dtype: Any) -> None:
    check_increasing(np.zeros(0, dtype), "no", strictly=True)
    check_increasing(np.array([1, 2, 9], dtype), "no", strictly=True)
    check_increasing(np.array([1, 2, 2], dtype), "no", strictly=False)
    for values, strictly in (([1, 2, 2], True), ([1, 3, 2], True), ([1, 3, 2], False)):
        with pytest.raises(IntegrityError, match="disorder"):
            check_increasing(np.array(values, dtype), "disorder", strictly=strictly)


def test_offsets() -> None:
    check_offsets(np.array([0]), 0, "no")
    check_offsets(np.array([0, 2, 2, 5]), 6, "no")
    for offsets in ([], [1, 2], [0, 2, 1, 5], [0, 7]):
        with pytest.raises(IntegrityError, match="offsets"):
            check_offsets(np.array(offsets, np.int64), 6, "offsets")


def test_lengths_and_conditions() -> None:
    check_same_length("no", np.zeros(2), np.zeros(2))
    check_all(np.ones(0, np.bool_), "no")
    with pytest.raises(IntegrityError, match="lengths"):
        check_same_length("lengths", np.zeros(2), np.zeros(3))
    with pytest.raises(IntegrityError, match="holds"):
        check_all(np.array([True, False]), "holds")


# bucket


@pytest.mark.parametrize("position", [-1, 10, 1 << 40])
def test_bucket_refuses_rows_outside_of_the_corpus(position: int) -> None:
    keys = [np.array([7 << 16, 7 << 16], np.uint64)]
    assert bucket(keys, [np.array([3, 9])], 1, 10).edges.num_rows == 1
    with pytest.raises(IntegrityError, match="bucket was handed a row outside of the corpus"):
        bucket(keys, [np.array([3, position])], 1, 10)
    low = high = np.array([1, 1], np.uint64)
    assert repeated_ids(low, high, np.array([3, 9]), 10).count == 1
    with pytest.raises(IntegrityError, match="bucket was handed an id"):
        repeated_ids(low, high, np.array([3, position]), 10)


def test_bucket_refuses_keys_without_rows() -> None:
    with pytest.raises(IntegrityError, match="bucket was handed band keys without rows"):
        bucket([np.zeros(2, np.uint64)], [np.zeros(1, np.int64)], 1, 10)


# components


@pytest.mark.parametrize("edge", [(-1, 3), (3, -1), (3, 100), (100, 3), (1 << 50, 3)])
def test_components_refuses_edges_outside_of_the_corpus(edge: tuple[int, int]) -> None:
    wrong = batch(EDGES, [edge[0]], [edge[1]])
    with pytest.raises(IntegrityError, match="edge of a row outside of the corpus"):
        ComponentFinder(100).mark(wrong)
    finder = ComponentFinder(100)
    finder.mark(batch(EDGES, [3], [5]))
    with pytest.raises(IntegrityError, match="other edges the second time"):
        finder.connect([wrong])


@pytest.mark.parametrize("edge", [(3, 99), (99, 5), (4, 5), (0, 3)])
def test_components_refuses_edges_that_were_not_marked(edge: tuple[int, int]) -> None:
    finder = ComponentFinder(100)
    finder.mark(batch(EDGES, [3], [5]))
    with pytest.raises(IntegrityError, match="other edges the second time"):
        finder.connect([batch(EDGES, [3, edge[0]], [5, edge[1]])])


@pytest.mark.parametrize("starts", [[0, 101], [-64, 100], [0, 70, 60, 100], [0, 1 << 40]])
def test_components_refuses_tasks_outside_of_the_corpus(starts: list[int]) -> None:
    finder = ComponentFinder(100)
    finder.mark(batch(EDGES, [3], [5]))
    finder.connect([batch(EDGES, [3], [5])])
    with pytest.raises(IntegrityError, match="sign task outside of the corpus"):
        list(finder.labels(np.array(starts)))


# route, group, fetch


def test_route_refuses_labels_outside_of_the_task() -> None:
    signed = batch(ROWS, [1, 1], [1, 2], [3, 4], [5, 6], [0, 1])
    assert len(list(route(batch(LABELS, [0, 1], [7, 7]), signed, 3))) == 3
    with pytest.raises(IntegrityError, match="route was handed a label"):
        list(route(batch(LABELS, [0, 2], [7, 7]), signed, 3))


def in_components(rows: list[int]) -> pa.RecordBatch:
    ones = [1] * len(rows)
    return batch(labeled(ROWS), rows, ones, ones, rows, rows, rows, ones)


def test_group_refuses_rows_outside_of_their_task() -> None:
    starts = np.array([0, 3, 3, 8])
    good = group([(0, in_components([0, 2])), (3, in_components([1, 4]))], starts, 8)
    assert good.members.column("position").to_pylist() == [0, 2, 4, 7]
    with pytest.raises(IntegrityError, match="group was handed a row outside of its sign task"):
        group([(0, in_components([0, 3])), (3, in_components([1, 4]))], starts, 8)
    with pytest.raises(IntegrityError, match="group was handed a row outside of its sign task"):
        group([(0, in_components([0, 2])), (3, in_components([1, 5]))], starts, 8)


@pytest.mark.parametrize("rows", [[2, 1], [1, 1]])
def test_group_refuses_rows_out_of_order(rows: list[int]) -> None:
    with pytest.raises(IntegrityError, match="group was handed rows out of order"):
        group([(0, in_components(rows))], np.array([0, 3]), 3)


def test_fetch_refuses_rows_outside_of_the_task_and_rows_twice() -> None:
    wanted = [np.array([4, 0], np.uint32), np.array([2], np.uint32)]
    rows, partition = rows_to_fetch(wanted, 5)
    assert rows.tolist() == [0, 2, 4]
    assert partition.tolist() == [0, 1, 0]
    with pytest.raises(IntegrityError, match="fetch was asked for a row outside"):
        rows_to_fetch(wanted, 4)
    with pytest.raises(IntegrityError, match="fetch was asked for a row twice"):
        rows_to_fetch([*wanted, np.array([2], np.uint32)], 5)


# join


def test_join_refuses_questions_about_what_there_is_not() -> None:
    offsets, hashes = np.array([0, 2, 4]), np.array([1, 2, 1, 3], np.uint64)
    block = JoinBlock(offsets, hashes.copy(), 0.5)
    zero = np.zeros(1, np.int64)
    assert block.similarity(offsets, hashes, zero, zero).tolist() == [[1.0]]
    for wrong in (-1, 2, 1 << 50):
        with pytest.raises(IntegrityError, match="join was asked about a set"):
            block.similarity(offsets, hashes, np.array([wrong]), zero)
        with pytest.raises(IntegrityError, match="join was asked about a row"):
            block.similarity(offsets, hashes, zero, np.array([wrong]))


# verify: rows 2, 5 and 6 of ten are one component, 5 and 6 are copies of one another; so are 7, 8.


MEMBER_COLUMNS = {
    "position": [2, 5, 6, 7, 8],
    "component": [0, 0, 0, 1, 1],
    "group": [2, 5, 5, 7, 7],
    "text": [2, 5, 5, 7, 7],
}
GOOD_SETS = ShingleSets(
    fields=1,
    positions=np.array([2, 5]),
    offsets=np.array([0, 4, 8]),
    hashes=np.array([1, 2, 3, 4, 1, 2, 3, 4], np.uint64),
    words=np.array([8, 9], np.uint32),
    repeat_offsets=np.array([0, 0, 2]),
    repeats=np.array([2, 1], np.uint32),
)


def verified(
    sets: ShingleSets = GOOD_SETS, threshold: float = 0.8, **columns: list[int]
) -> pa.RecordBatch:
    members = batch(MEMBERS, *(MEMBER_COLUMNS | columns).values())
    return verify(Settings(threshold=threshold), members, sets, 1 << 20, 10, 10).decisions


def test_verify_decides() -> None:
    assert verified().column("witness").to_pylist() == [2, 2, 2, 7, 7]
    assert verified().column("reason").to_pylist() == [REPRESENTATIVE, NEAR, NEAR, 1, EXACT]


def test_rows_with_equal_shingles_and_another_text_are_near() -> None:
    decided = verified(text=[2, 5, 5, 7, 8])
    assert decided.column("witness").to_pylist() == [2, 2, 2, 7, 7]
    assert decided.column("reason").to_pylist() == [REPRESENTATIVE, NEAR, NEAR, 1, NEAR]
    assert decided.column("jaccard").to_pylist()[-1] == 1.0
    assert decided.column("lost").to_pylist()[-1] == 0


@pytest.mark.parametrize(
    ("complaint", "columns"),
    [
        ("a row outside of the corpus", {"position": [2, 5, 6, 7, 10], "group": [2, 5, 5, 7, 7]}),
        ("a row outside of the corpus", {"position": [2, 5, 6, 7, -1]}),
        ("a component that there is not", {"component": [-1, -1, -1, 1, 1]}),
        ("a component that there is not", {"component": [0, 0, 0, 1, 10]}),
        ("components out of order", {"component": [1, 1, 1, 0, 0]}),
        ("a group without its first row", {"group": [2, 5, 4, 7, 7]}),
        ("a group without its first row", {"group": [2, 5, 5, 7, 1 << 60]}),
        ("a row twice", {"position": [2, 5, 6, 7, 7]}),
        ("shingle sets of rows it does not know", {"group": [2, 2, 2, 7, 7]}),
        ("groups or sets that do not fit", {"group": [2, 5, 5, 5, 5]}),
        ("shingle sets of 1 rows are missing", {"group": [2, 5, 6, 7, 7]}),
    ],
)
def test_verify_refuses_members(complaint: str, columns: dict[str, list[int]]) -> None:
    with pytest.raises(IntegrityError, match=complaint):
        verified(**columns)


@pytest.mark.parametrize(
    ("complaint", "changes"),
    [
        ("of rows it does not know", {"positions": [2, 9]}),
        ("of rows it does not know", {"positions": [3, 5]}),
        ("out of order", {"positions": [5, 2]}),
        ("out of order", {"positions": [2, 2]}),
        ("wrong bounds", {"offsets": [0, 4]}),
        ("wrong bounds", {"offsets": [0, 9, 8]}),
        ("wrong bounds", {"offsets": [0, 4, 9]}),
        ("wrong bounds", {"offsets": [1, 4, 8]}),
        ("2 rows are missing", {"offsets": [0, 4, 4]}),
        ("wrong bounds", {"fields": 2}),
        ("wrong bounds", {"fields": 0}),
        ("wrong bounds", {"words": [8]}),
        ("wrong bounds", {"repeat_offsets": [0, 0]}),
        ("wrong bounds", {"repeat_offsets": [0, 0, 4]}),
        ("repeats or words that do not fit", {"repeat_offsets": [0, 1, 2]}),
        ("repeats or words that do not fit", {"repeats": [5, 1]}),
        ("repeats or words that do not fit", {"repeats": [2, 2]}),
        ("repeats or words that do not fit", {"repeats": [0, 0]}),
        ("repeats or words that do not fit", {"repeats": [2**32 - 1, 2**32 - 1]}),
        (
            "repeats or words that do not fit",
            {"repeat_offsets": [0, 0, 4], "repeats": [2, 1, 2, 1]},
        ),
        ("repeats or words that do not fit", {"words": [8, 8]}),
        ("repeats or words that do not fit", {"words": [0, 9]}),
        ("repeats or words that do not fit", {"words": [2**32 - 1, 9]}),
    ],
)
def test_verify_refuses_sets(complaint: str, changes: dict[str, Any]) -> None:
    arrays = {
        name: values
        if name == "fields"
        else np.array(values, np.uint32 if name in ("words", "repeats") else np.int64)
        for name, values in changes.items()
    }
    with pytest.raises(IntegrityError, match=complaint):
        verified(dataclasses.replace(GOOD_SETS, **arrays))


# Rows 2 and 5 have other answers, 5 and 6 the same; row 5 repeats a shingle of its prompt.


BY_FIELD = RowSets(
    fields=2,
    offsets=np.array([0, 4, 5, 9, 11, 15, 17]),
    hashes=np.array([1, 2, 3, 4, 80, 1, 2, 3, 4, 81, 82, 1, 2, 3, 5, 81, 82], np.uint64),
    words=np.array([8, 5, 9, 6, 8, 6], np.uint32),
    repeat_offsets=np.array([0, 0, 0, 2, 2, 2, 2]),
    repeats=np.array([2, 1], np.uint32),
)


def read_by_field(change: Any = lambda batch: batch, most: int = 18) -> ShingleSets:
    """What verify reads of what fetch left of these rows, in two tasks and one partition."""
    batches = [*set_batches(np.array([2, 5, 6]), np.zeros(3, np.int64), BY_FIELD, 1)]
    parts = [(0, change(batches[0].slice(0, 1))), (0, change(batches[0].slice(1)))]
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        spooled = _read_sets(parts, 2, most, one, other)
        held = _read_sets(parts, 2, most, None, None)
        for name in ("positions", "offsets", "hashes", "words", "repeat_offsets", "repeats"):
            assert getattr(spooled, name).tolist() == getattr(held, name).tolist()
    return held


def test_fields_go_through_fetch_and_verify() -> None:
    sets = read_by_field()
    assert sets.positions.tolist() == [2, 5, 6]
    for name in ("offsets", "hashes", "words", "repeat_offsets", "repeats"):
        assert getattr(sets, name).tolist() == getattr(BY_FIELD, name).tolist()
    found = verified(sets, group=[2, 5, 6, 7, 7], threshold=0.5)
    assert found.schema == decisions(2)
    assert found.column("witness").to_pylist() == [2, 5, 5, 7, 7]
    assert found.column("jaccard").to_pylist()[2:] == [0.6, pytest.approx(np.nan, nan_ok=True), 1.0]
    assert found.column("jaccard_0").to_pylist()[2] == 0.6
    assert found.column("jaccard_1").to_pylist()[2] == 1.0
    assert found.column("lost").to_pylist() == [0, 0, 1, 0, 0]


def replaced(name: str, values: list[Any]) -> Any:
    """Changes a column of the batch with two rows."""

    def change(batch: pa.RecordBatch) -> pa.RecordBatch:
        if batch.num_rows < 2:
            return batch
        place = batch.schema.get_field_index(name)
        column = pa.array(values, batch.schema.types[place])
        return batch.set_column(place, batch.schema.field(place), column)

    return change


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sizes", [[4, 3], [4, 2]]),
        ("sizes", [[4, 2], [4, 1]]),
        ("sizes", [[4, 2], None]),
        ("words", [[4, 2], None]),
        ("repeat_sizes", [[2, 0], [0, 2]]),
        ("repeat_sizes", [[0, 0], [2, 0]]),
        ("hashes", [[1, 2, 3, 4, 81, 82], None]),
        ("repeats", [[2, 1, 3, 1], []]),
    ],
)
def test_sets_of_other_sizes_than_told_are_refused(name: str, values: list[Any]) -> None:
    with pytest.raises(IntegrityError, match="verify was handed shingle sets"):
        read_by_field(replaced(name, values))


def test_more_shingles_than_were_counted_are_refused() -> None:
    with pytest.raises(IntegrityError, match="more than 17"):
        read_by_field(most=17)


@pytest.mark.parametrize(
    ("complaint", "witness", "jaccard"),
    [
        ("a witness that there is not", [0, 0, 0, 3, 9], [np.nan, 1, 1, np.nan, 1]),
        ("a witness that there is not", [0, 0, 0, 3, -1], [np.nan, 1, 1, np.nan, 1]),
        ("a witness that is not kept", [0, 0, 1, 3, 3], [np.nan, 1, 1, np.nan, 1]),
        ("a witness of another component", [0, 0, 3, 3, 3], [np.nan, 1, 1, np.nan, 1]),
        ("does not fit its reason", [0, 0, 0, 3, 3], [0.9, 1, 1, np.nan, 1]),
        ("does not fit its reason", [0, 0, 0, 3, 3], [np.nan, 1, 1, np.nan, 0.9]),
        ("does not fit its reason", [0, 0, 0, 3, 3], [np.nan, 0.79, 1, np.nan, 1]),
        ("does not fit its reason", [0, 0, 0, 3, 3], [np.nan, 1.01, 1, np.nan, 1]),
        ("does not fit its reason", [0, 0, 0, 3, 3], [np.nan, np.nan, 1, np.nan, 1]),
    ],
)
def test_verify_refuses_decisions_without_sense(
    complaint: str, witness: list[int], jaccard: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = (np.array(witness), np.array(jaccard)[:, None], Stats(0, 0, 0, 0, 0))
    monkeypatch.setattr(verify_stage, "verify_components", lambda *args, **more: answer)
    with pytest.raises(IntegrityError, match=complaint):
        verified()


def test_ends_of_a_transitive_cluster_may_have_nothing_in_common() -> None:
    assert Settings(cluster="transitive").least_jaccard == 0.0
    assert Settings(threshold=0.7).least_jaccard == 0.7


def test_decisions_outside_of_all_keep_tasks_are_refused() -> None:
    columns = [2, 5], [2, 2], [REPRESENTATIVE, NEAR], [np.nan, 0.9], [0, 3], [2, 0], [1, 0]
    made = batch(DECISIONS, *columns)
    parts = cut_decisions(made, np.array([0, 3, 6]))
    assert [part.num_rows for part in parts] == [1, 1]
    for starts in ([0, 3, 5], [3, 4, 6]):
        with pytest.raises(IntegrityError, match="verify decided rows outside"):
            cut_decisions(made, np.array(starts))


# keep: rows 4 to 8 are of the second shard of two, which starts at 3 and ends at 10.


STARTS = np.array([0, 3, 10])
GOOD = {
    "position": [4, 5, 6, 8],
    "witness": [4, 1, 4, 8],
    "reason": [REPRESENTATIVE, NEAR, EXACT, UNIQUE],
    "jaccard": [np.nan, 0.9, 1.0, np.nan],
    "lost": [0, 3, 0, 0],
}


COUNTS = {"copies": [3, 0, 0, 1], "copies_exact": [2, 0, 0, 1], "copies_values": [2, 0, 0, 1]}
OF_FIELDS = {"jaccard_0": [np.nan, 0.9, 1.0, np.nan], "jaccard_1": [np.nan, 0.95, 1.0, np.nan]}
DEFAULTS = Settings()


def kept(settings: Settings = DEFAULTS, **changes: list[Any]) -> list[dict[str, Any]]:
    fields = ("prompt", "answer") if "jaccard_0" in changes else ("text",)
    columns = counted(decisions(len(fields)), counts_values=settings.count_by is not None)
    given = GOOD | changes | COUNTS | changes
    made = batch(columns, *(given[name] for name in columns.names))
    decided = Decided.of(pa.Table.from_batches([made]))
    rows = ShardRows(4, np.array([5, 5, 5, 0, 5], np.uint32), None)
    witnesses = Witnesses(np.arange(2), pa.array(["a", "b"]))
    return keep_list(
        rows, decided, STARTS, witnesses, settings, fields, len(STARTS) - 1
    ).to_pylist()


def test_keep_lists() -> None:
    rows = kept()
    assert [row["keep"] for row in rows] == [True, False, False, True, True]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["witness_row"] for row in rows] == [None, 1, 1, None, None]
    assert [row["lost"] for row in rows] == [None, 3, 0, None, None]
    assert [row["lost"] for row in kept(Settings(shingle="char:5"))] == [None] * 5
    assert [row["copies"] for row in rows] == [3, None, None, 1, 1]
    assert [row["copies_exact"] for row in rows] == [2, None, None, 1, 1]
    rows = kept(Settings(count_by="source"))
    assert [row["copies_values"] for row in rows] == [2, None, None, 1, 1]
    extra = {"reason": [REPRESENTATIVE, NEAR, EXTRA, UNIQUE], "copies": [2, 0, 1, 1]}
    rows = kept(Settings(keep_at_most=2), **extra, copies_exact=[1, 0, 1, 1])
    assert [row["keep"] for row in rows] == [True, False, True, True, True]
    assert [row["copies"] for row in rows] == [2, None, 1, 1, 1]
    assert [row["lost"] for row in rows] == [None, 3, None, None, None]
    assert [row["jaccard"] for row in rows] == [None, 0.9, 1.0, None, None]
    rows = kept(**OF_FIELDS)
    assert [row["jaccard_prompt"] for row in rows] == [None, 0.9, 1.0, None, None]
    assert [row["jaccard_answer"] for row in rows] == [None, 0.95, 1.0, None, None]


@pytest.mark.parametrize(
    ("complaint", "changes"),
    [
        ("a decision on another row", {"position": [3, 5, 6, 8]}),
        ("a decision on another row", {"position": [4, 5, 6, 9]}),
        ("decisions out of order", {"position": [5, 4, 6, 8]}),
        ("decisions out of order", {"position": [4, 6, 6, 8]}),
        ("a decision on an empty row", {"position": [4, 5, 6, 7]}),
        ("a witness outside of the corpus", {"witness": [4, 10, 4, 8]}),
        ("a witness outside of the corpus", {"witness": [4, -1, 4, 8]}),
        ("no known reason", {"reason": [REPRESENTATIVE, NEAR, EXACT, EMPTY]}),
        ("no known reason", {"reason": [REPRESENTATIVE, NEAR, EXACT, 255]}),
        ("does not fit its witness", {"reason": [NEAR, NEAR, EXACT, UNIQUE]}),
        ("does not fit its witness", {"reason": [REPRESENTATIVE, UNIQUE, EXACT, UNIQUE]}),
        ("does not fit its witness", {"witness": [1, 1, 4, 8]}),
        ("does not fit its witness", {"witness": [4, 5, 4, 8]}),
        ("does not fit its reason", {"jaccard": [0.9, 0.9, 1.0, np.nan]}),
        ("does not fit its reason", {"jaccard": [np.nan, 0.9, 0.9, np.nan]}),
        ("does not fit its reason", {"jaccard": [np.nan, 0.7, 1.0, np.nan]}),
        ("does not fit its reason", {"jaccard": [np.nan, np.nan, 1.0, np.nan]}),
        ("does not fit its reason", {"jaccard": [np.nan, 1.5, 1.0, np.nan]}),
        ("does not fit its reason", OF_FIELDS | {"jaccard_1": [np.nan, 0.7, 1.0, np.nan]}),
        ("does not fit its reason", OF_FIELDS | {"jaccard_1": [0.9, 0.9, 1.0, np.nan]}),
        ("not the least of its fields", OF_FIELDS | {"jaccard_0": [np.nan, 0.92, 1.0, np.nan]}),
        ("not the least of its fields", OF_FIELDS | {"jaccard_1": [np.nan, 0.85, 1.0, np.nan]}),
        ("which was not asked for", {"reason": [REPRESENTATIVE, NEAR, EXTRA, UNIQUE]}),
        ("a count of copies", {"copies": [0, 0, 0, 1]}),
        ("a count of copies", {"copies": [3, 1, 0, 1]}),
        ("a count of copies", {"copies": [-3, 0, 0, 1]}),
        ("a count of copies", {"copies_exact": [4, 0, 0, 1]}),
        ("a count of copies", {"copies_exact": [2, 0, 0, 0]}),
    ],
)
def test_keep_refuses_decisions_without_sense(
    complaint: str, changes: dict[str, list[Any]]
) -> None:
    with pytest.raises(IntegrityError, match=complaint):
        kept(**changes)


def kept_beside_earlier(*, own: bool = True, **changes: list[Any]) -> list[dict[str, Any]]:
    """Rows 4 to 8 where those from 10 to 19 are of an index, two files of a crawl."""
    columns = decisions(1)
    given = GOOD | {"witness": [4, 17, 4, 8]} | COUNTS | changes
    columns = counted(columns, counts_values=False)
    made = batch(columns, *(given[name] for name in columns.names))
    decided = Decided.of(pa.Table.from_batches([made]))
    rows = ShardRows(4, np.array([5, 5, 5, 0, 5], np.uint32), None)
    starts = np.array([0, 3, 10, 15, 20])
    crawls = pa.array([None, None, "jan", "jan"], pa.string())
    paths = pa.array(["a", "b", "a", "c"])
    dropped = np.array([one for one in given["witness"] if one not in (4, 8)])
    witnesses = Witnesses.of(np.append(dropped, 4), starts, paths, crawls, earlier=own)
    return keep_list(rows, decided, starts, witnesses, DEFAULTS, ("text",), 2).to_pylist()


def test_keep_names_witnesses_in_an_index() -> None:
    rows = kept_beside_earlier()
    names = ("keep", "witness_crawl", "witness_shard", "witness_row", "cluster")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (True, None, None, None, (1 << 40) + 1),
        (False, "jan", "c", 2, None),
        (False, None, "b", 1, (1 << 40) + 1),
        (True, None, None, None, None),
        (True, None, None, None, None),
    ]
    reasons = [REPRESENTATIVE, REFERENCE, EXACT, UNIQUE]
    assert kept_beside_earlier(own=False, reason=reasons)[1]["reason"] == "reference"


@pytest.mark.parametrize(
    ("own", "changes"),
    [
        (True, {"reason": [REPRESENTATIVE, REFERENCE, EXACT, UNIQUE]}),
        (True, {"reason": [REPRESENTATIVE, UNIQUE, EXACT, UNIQUE]}),
        (False, {}),
    ],
)
def test_keep_refuses_reasons_that_do_not_fit_an_index(
    own: bool, changes: dict[str, list[Any]]
) -> None:
    with pytest.raises(IntegrityError, match="does not fit its witness"):
        kept_beside_earlier(own=own, **changes)


def test_keep_takes_what_a_transitive_cluster_may_give() -> None:
    settings = Settings(cluster="transitive")
    assert kept(settings, jaccard=[np.nan, 0.0, 1.0, np.nan])[1]["jaccard"] == 0.0


@pytest.mark.parametrize("position", [-1, 10, 1 << 50])
def test_witnesses_are_in_the_corpus(position: int) -> None:
    paths = pa.array(["a", "b"])
    assert Witnesses.of(np.array([4, 9]), STARTS, paths).paths.to_pylist() == ["b"]
    with pytest.raises(IntegrityError, match="a witness outside of the corpus"):
        Witnesses.of(np.array([4, position]), STARTS, paths)
