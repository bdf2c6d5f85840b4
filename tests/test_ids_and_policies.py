"""Ids of every scalar type, those that occur twice, and keep policies one after the other."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal

import corpora
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import CorpusError, SettingsError, deduplicate
from dedupe.config import Policy
from dedupe.stages.bucket import repeated_ids
from dedupe.stages.sign import LAST, order_keys

DAY = datetime.date(2020, 1, 1)
NOON = datetime.datetime(2020, 1, 1, 12)
IDS = {
    "int8": pa.array([1, 2, None, 1], pa.int8()),
    "uint64": pa.array([2**64 - 1, 2, None, 2**64 - 1], pa.uint64()),
    "float": pa.array([0.5, 2.0, None, 0.5]),
    "half": pa.array(np.array([1, 2, 3, 1], np.float16), mask=np.array([0, 0, 1, 0], np.bool_)),
    "bool": pa.array([True, False, None, True]),
    "decimal": pa.array([Decimal("1.50"), Decimal(2), None, Decimal("1.50")]),
    "date": pa.array([DAY, DAY.replace(day=2), None, DAY]),
    "timestamp": pa.array([NOON, NOON.replace(day=2), None, NOON], pa.timestamp("ns", "UTC")),
    "time": pa.array([NOON.time(), datetime.time(1), None, NOON.time()]),
    "duration": pa.array([datetime.timedelta(days=n) if n else None for n in (1, 2, 0, 1)]),
    "string": pa.array(["é", "", None, "é"]),
    "large_string": pa.array(["a", "", None, "a"], pa.large_string()),
    "string_view": pa.array(["a", "", None, "a"], pa.string_view()),
    "dictionary": pa.array(["a", "", None, "a"]).dictionary_encode(),
    "binary": pa.array([b"\xff", b"", None, b"\xff"]),
    "binary_view": pa.array([b"\xff", b"", None, b"\xff"], pa.binary_view()),
    "uuid bytes": pa.array([b"0" * 16, b"1" * 16, None, b"0" * 16], pa.binary(16)),
}
TEXTS = ["one two three", "four five six", "four five six", "ONE two, three"]


@pytest.mark.parametrize("kind", IDS)
def test_ids_of_every_scalar_type_come_through_and_repeats_are_found(kind, tmp_path):
    ids = IDS[kind]
    pq.write_table(pa.table({"text": TEXTS, "key": ids}), tmp_path / "a.parquet")
    for corpus in (pa.table({"text": TEXTS, "key": ids}), tmp_path / "a.parquet"):
        result = deduplicate(corpus, id="key")
        found = result.keep_list()
        assert found["id"].to_pylist() == ids.to_pylist()
        assert found["witness_id"].to_pylist() == [None, None, ids[1].as_py(), ids[0].as_py()]
        report = result.summary["ids"]
        assert (report["missing"], report["repeated"]) == (1, 1)
        ((first, second),) = [[row for _, row in one["rows"]] for one in report["examples"]]
        assert (first, second) == (0, 3)


def test_an_id_must_be_a_plain_value(tmp_path):
    with pytest.raises(CorpusError, match="an id must be a plain value"):
        deduplicate(pa.table({"text": ["a"], "id": [[1]]}), id="id")
    (tmp_path / "a.jsonl").write_text('{"text": "a", "id": {"n": 1}}\n')
    with pytest.raises(CorpusError, match="expected a plain value"):
        deduplicate(tmp_path / "a.jsonl", id="id")


def test_repeated_ids_are_found_across_shards_and_named(tmp_path):
    for name, start in (("a", 0), ("b", 90), ("c", 95)):
        rows = [{"text": f"row {name} {i} of its own", "id": f"k{start + i}"} for i in range(100)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = [deduplicate(tmp_path, id="id", workers=n, memory="600MB") for n in (1, 3)]
    report = results[0].summary["ids"]
    assert report == results[1].summary["ids"]
    assert (report["missing"], report["repeated"]) == (0, 105)
    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    assert report["examples"][0] == {"id": "k90", "rows": [[a, 90], [b, 0]]}
    from dedupe.commands.show import _about_ids

    assert _about_ids(report)[:2] == [
        "105 rows have the id of an earlier row, for instance",
        f"  k90: {a} row 90, {b} row 0",
    ]


def test_without_an_id_there_is_nothing_to_say():
    assert deduplicate(pa.table({"text": TEXTS})).summary["ids"] is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2))))
def test_repeats_are_counted_as_a_dictionary_would(keys):
    seen: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(keys):
        seen.setdefault(key, []).append(row)
    low, high = (np.array([key[i] for key in keys], np.uint64) for i in range(2))
    found = repeated_ids(low, high, np.arange(len(keys)), len(keys))
    assert found.count == len(keys) - len(seen)
    pairs = sorted((rows[0], rows[1]) for rows in seen.values() if len(rows) > 1)
    assert found.examples == pairs[:3]


def test_policies_decide_one_after_the_other():
    texts = ["one two three four five six"] * 6
    source = ["web", "synthetic", "human", "human", "human", None]
    score = [9, 9, 1, 5, 5, 9]
    table = pa.table({"text": texts, "source": source, "score": score})

    def kept(*keep):
        return np.flatnonzero(deduplicate(table, keep=list(keep)).mask()).tolist()

    assert kept("prefer:source=human,synthetic") == [2]
    assert kept("prefer:source=human,synthetic", "max:score") == [3]
    assert kept("prefer:source=gold,synthetic,human") == [1]
    assert kept("max:score", "prefer:source=synthetic") == [1]
    assert kept("min:score", "first") == [2]
    assert kept("prefer:source=nowhere") == kept("first") == [0]
    assert kept("prefer:score=5,1") == [3]


@pytest.mark.parametrize("keep", [["prefer:source=a,b", "longest"], ["shortest", "max:score"]])
def test_ordered_policies_match_the_brute_force_reference(keep):
    texts = corpora.mixed(300, seed=5)
    random = np.random.default_rng(5)
    source = random.choice(["a", "b", "c", None], len(texts)).tolist()
    score = random.integers(0, 4, len(texts)).tolist()
    sizes = [len((text or "").encode()) for text in texts]
    keys = {
        "prefer:source=a,b": lambda row: {"a": 0, "b": 1}.get(source[row], 2),
        "longest": lambda row: -sizes[row],
        "shortest": lambda row: sizes[row],
        "max:score": lambda row: -score[row],
    }
    table = pa.table({"text": pa.array(texts), "source": source, "score": score})
    found = deduplicate(table, keep=keep).keep_list()
    expected = corpora.expected(texts, order=lambda row: tuple(keys[one](row) for one in keep))
    assert found["keep"].to_pylist() == [row[0] for row in expected]
    assert found["witness_row"].to_pylist() == [row[2] for row in expected]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["b", None, "x", "a"]),
        pa.array(["b", None, "x", "a"], pa.string_view()),
        pa.array(["b", None, "x", "a"]).dictionary_encode(),
        pa.array([b"b", None, b"\xff", b"a"]),
    ],
    ids=lambda array: str(array.type),
)
def test_preferred_values_of_every_type(column):
    ranks = order_keys(Policy.parse("prefer:s=a,b"), None, column)
    assert ranks.tolist() == [1, LAST, LAST, 0]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("best", "use first"),
        ("prefer:source", "prefer:COLUMN"),
        ("prefer:source=", "prefer:COLUMN"),
        ("prefer:=a", "prefer:COLUMN"),
        ("prefer:source=a,b,a", "twice"),
        (["first", "longest"], "comes last"),
        ([1], "use a text"),
    ],
)
def test_what_is_no_policy_is_refused(keep, said):
    with pytest.raises(SettingsError) as caught:
        deduplicate(pa.table({"text": ["a"]}), keep=keep)
    assert said in str(caught.value)


def test_a_preferred_column_must_be_there_and_plain():
    for table, said in (
        (pa.table({"text": ["a"]}), 'no column "source"'),
        (pa.table({"text": ["a"], "source": [["x"]]}), "must be a plain value"),
    ):
        with pytest.raises(CorpusError, match=said):
            deduplicate(table, keep="prefer:source=a")
