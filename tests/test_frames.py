"""Rows in memory of every library, without other columns and without a disk."""

from __future__ import annotations

import datetime
import decimal
import os
import re
import tracemalloc

import corpora
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from dedupe import CorpusError, SettingsError, WorkDirError, api, deduplicate
from dedupe.config import Settings
from dedupe.corpus import estimate, plan_slices, read_slice, table_shard
from dedupe.corpus.frames import rows_of
from dedupe.storage.temporary import room_for

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
datasets = pytest.importorskip("datasets")

TEXTS = ["one two three four", "five six seven", None, "One, two: three four!", "é 日本語"]
ROWS = {"q": TEXTS, "score": [1, 2, 3, 4, 5], "other": [[1], None, [2], [], [3]]}
TABLE = pa.table(ROWS)


class Stream:
    def __arrow_c_stream__(self, requested_schema=None):
        return TABLE.__arrow_c_stream__(requested_schema)


FRAMES = {
    "Table": lambda: TABLE,
    "RecordBatch": lambda: TABLE.to_batches()[0],
    "RecordBatchReader": TABLE.to_reader,
    "arrow dataset": lambda: ds.dataset(TABLE),
    "pandas": lambda: pd.DataFrame(ROWS, index=list("edcba")),
    "pandas objects": lambda: pd.DataFrame(ROWS).assign(odd=[object()] * 5),
    "pandas arrow": lambda: TABLE.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": lambda: pl.DataFrame(ROWS),
    "polars lazy": lambda: pl.LazyFrame(ROWS),
    "datasets": lambda: datasets.Dataset.from_dict(ROWS),
    "arrow stream": Stream,
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_gives_the_keep_list_of_its_table(kind):
    settings = {"text": "q", "keep": "max:score", "id": "score"}
    expected = deduplicate(TABLE, **settings)
    result = deduplicate(FRAMES[kind](), **settings)
    assert result.mask().tolist() == expected.mask().tolist() == [False, True, True, True, True]
    assert result.kept_rows().tolist() == [1, 2, 3, 4]
    assert result.keep_list()["id"].to_pylist() == [1, 2, 3, 4, 5]
    assert result.ids().to_pylist() == [2, 3, 4, 5]
    assert result.ids(keep=False).to_pylist() == [1]
    ((path, mask),) = result.masks()
    assert (path, mask.tolist()) == ("<table>", result.mask().tolist())


def test_only_columns_that_are_read_are_converted():
    frame = pd.DataFrame({"text": TEXTS, "source": "x", "odd": [object()] * 5})
    assert rows_of(frame, Settings(differences=False)).table.column_names == ["text"]
    assert rows_of(frame, Settings()).table.column_names == ["text", "source"]
    named = Settings(keep="prefer:source=x")
    assert rows_of(frame, named).table.column_names == ["text", "source"]
    pairs = pd.DataFrame({"output": TEXTS, "instruction": TEXTS, "odd": [object()] * 5})
    assert rows_of(pairs, Settings()).table.column_names == ["output", "instruction"]


def test_the_format_is_found_by_columns_that_are_not_compared():
    frame = pd.DataFrame({"instruction": ["a b", "A b", "c"], "output": ["x", "y", "z"]})
    result = deduplicate(frame, compare="prompt")
    assert result.mask().tolist() == [True, False, True]
    assert result.summary["documents"][0]["format"] == "alpaca"


def test_sizes_are_those_of_the_rows_that_are_read():
    chats = [[{"role": "user", "content": "word " * 20}]] * 1000
    table = pa.table({"text": ["x" * 100] * 1000, "messages": chats})
    few = table_shard(table.slice(500, 10))
    assert estimate(few, ["text"]) == (10, 1000)
    rows, size = estimate(few, ["messages"])
    assert rows == 10
    assert 1000 < size < 4000
    (part,) = plan_slices(few, ["messages"], 1 << 20, 1 << 20)
    batches = read_slice(few, part, corpora.wanted("{messages}"), batch_bytes=4000)
    assert [batch.num_rows for batch in batches] == [10]
    picked = table_shard(table, order=np.array([7, 3, 7]))
    assert estimate(picked, ["text"]) == (3, 300)
    assert [s.last for s in plan_slices(picked, ["text"], 1 << 20, 2)] == [2, 3]


def test_a_dataset_is_read_in_the_order_of_its_indices():
    chosen = datasets.Dataset.from_dict(ROWS).select([3, 1, 0, 0])
    result = deduplicate(chosen, text="q")
    assert result.mask().tolist() == [True, True, False, False]
    assert chosen.select(result.kept_rows())["score"][:] == [4, 2]


def test_a_shuffled_dataset_of_many_chunks_is_read_in_its_order():
    texts = corpora.mixed(300, seed=4)
    parts = [
        {"text": texts[i : i + 30], "score": list(range(i, i + 30))} for i in range(0, 300, 30)
    ]
    shuffled = datasets.concatenate_datasets([datasets.Dataset.from_dict(p) for p in parts])
    shuffled = shuffled.shuffle(seed=7)
    table = pa.table({"text": shuffled["text"][:], "score": shuffled["score"][:]})
    expected = deduplicate(table, keep="max:score").keep_list()
    result = deduplicate(shuffled, keep="max:score", workers=2)
    assert result.keep_list().equals(expected)
    assert 50 < result.kept < 290


TWICE = pd.DataFrame([["a", "b"]], columns=["text", "text"])
UNFIT = {
    "no such column": (lambda: pl.LazyFrame(ROWS), 'no column "text": it has q, score, other'),
    "no prompts": (lambda: pl.DataFrame({"text": ["a"]}), "have no prompt"),
    "no known format": (lambda: pd.DataFrame({"q": ["a"]}), "no known format"),
    "no column of text": (lambda: pd.DataFrame({"text": [1, 2]}), 'column "text" is int64'),
    "values of two types": (
        lambda: pd.DataFrame({"text": ["a", 1]}),
        "row 1: .*values of one type",
    ),
    "python objects": (lambda: pd.DataFrame({"text": ["a", "b", object()]}), "row 2: .*one type"),
    "polars objects": (
        lambda: pl.DataFrame({"text": pl.Series([object()], dtype=pl.Object)}),
        "has Python objects",
    ),
    "a name twice": (lambda: TWICE, "occurs 2 times"),
    "half a character": (
        lambda: pd.DataFrame({"text": ["a", "b\ud800"]}, dtype=object),
        "row 1: .*not valid UTF-8",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_cannot_be_read_is_named(kind):
    frame, said = UNFIT[kind]
    settings = {"no prompts": {"compare": "prompt"}, "no known format": {}}
    with pytest.raises(CorpusError, match=said) as raised:
        deduplicate(frame(), **settings.get(kind, {"text": "text"}))
    assert raised.value.path == "<table>"


@pytest.mark.parametrize("make", [pd.Series, pl.Series, lambda texts: pa.chunked_array([texts])])
def test_a_single_column_is_no_frame(make):
    with pytest.raises(SettingsError, match="give the whole frame"):
        deduplicate(make(TEXTS))


def test_other_columns_may_hold_anything():
    frame = pd.DataFrame([["a b", 1, 2], ["A, b", 3, 4]], columns=["text", "b", "b"])
    assert deduplicate(frame).mask().tolist() == [True, False]
    assert deduplicate(pd.DataFrame({0: TEXTS, 1: 5}), text="0").kept == 4
    polars = pl.DataFrame({"text": TEXTS, "o": pl.Series([object()] * 5, dtype=pl.Object)})
    assert deduplicate(polars).kept == 4


def test_a_reader_may_change_its_dictionary():
    batches = [
        pa.record_batch({"text": pa.array(texts).dictionary_encode()})
        for texts in (["a b", "c"], ["x", "A, b"])
    ]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert deduplicate(reader).mask().tolist() == [True, True, True, False]


def test_texts_of_which_none_is_there():
    empty = pa.DictionaryArray.from_arrays(
        pa.array([None, None], pa.int8()), pa.array([], "string")
    )
    for column in (pa.nulls(2), pa.nulls(2, pa.string_view()), empty):
        reasons = deduplicate(pa.table({"text": column})).keep_list()["reason"]
        assert reasons.to_pylist() == ["empty", "empty"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full disk here")
def test_a_disk_without_room_for_a_reader_is_named():
    with pytest.raises(WorkDirError, match="no room for the rows"):
        api._spool(TABLE.to_reader(), api.Path("/dev/full"))


def test_datasets_in_splits_or_streams_say_what_to_do():
    one = datasets.Dataset.from_dict(ROWS)
    with pytest.raises(SettingsError, match="give one of train, test"):
        deduplicate(datasets.DatasetDict({"train": one, "test": one}), text="q")
    with pytest.raises(SettingsError, match="give one of train"):
        deduplicate(datasets.IterableDatasetDict({"train": one.to_iterable_dataset()}), text="q")


def test_what_is_no_corpus_is_refused():
    for corpus in (5, b"text", object()):
        with pytest.raises(SettingsError, match="not known"):
            deduplicate(corpus)


TEXT_TABLE = pa.table({"text": ["a"]})
AS_ROWS = re.escape('[{"text": text} for text in texts]')
LINES = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
PYTHON = {
    "list of dicts": lambda: LINES,
    "tuple of dicts": lambda: tuple(LINES),
    "generator of dicts": lambda: (row for row in LINES),
    "dict of lists": lambda: ROWS,
    "dict of arrays": lambda: {"q": pa.array(TEXTS), "score": np.arange(1, 6)},
    "list of tables": lambda: [TABLE.slice(0, 2), TABLE.slice(2)],
    "generator of batches": lambda: (TABLE.slice(i, 1).to_batches()[0] for i in range(5)),
    "IterableDataset": lambda: datasets.Dataset.from_dict(ROWS).to_iterable_dataset(),
}


@pytest.mark.parametrize("kind", PYTHON)
@pytest.mark.parametrize("output", [True, False])
def test_rows_of_python_give_the_keep_list_of_their_table(tmp_path, kind, output):
    settings = {"text": "q", "keep": "max:score", "id": "score"}
    result = deduplicate(PYTHON[kind](), tmp_path / "out" if output else None, **settings)
    assert result.mask().tolist() == [False, True, True, True, True]
    assert result.keep_list()["id"].to_pylist() == [1, 2, 3, 4, 5]
    assert [path for path, _ in result.masks()] == ["<table>"]
    with pytest.raises(SettingsError, match="rows in memory"):
        result.pairs()
    assert [one.name for one in tmp_path.iterdir()] == ["out"] * output


def test_rows_of_python_are_what_json_lines_are(tmp_path):
    said = "how many legs has a spider that sits in the middle of its web"
    chat = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "8"}]}
    call = {"role": "assistant", "content": "8", "tool_calls": [{"function": {"name": "count"}}]}
    rows = [
        chat,
        {"messages": [chat["messages"][0], call], "score": float("nan"), "late": [1]},
        {**chat, "day": datetime.date(2020, 1, 2), "price": decimal.Decimal("1.50")},
        {"messages": None, "odd": {"a": np.float32("inf")}, "lone": "\ud800"},
        {**chat, "raw": b"bytes of text", "array": np.zeros((2, 2))},
    ]
    result = deduplicate(rows)
    assert result.summary["documents"][0]["format"] == "messages"
    assert result.mask().tolist() == [True, True, False, True, False]
    texts = deduplicate({"text": ["a b", "A, b", None, b"c"]})
    assert texts.mask().tolist() == [True, False, True, True]
    assert deduplicate(row for row in ()).rows == 0
    assert deduplicate({}).rows == 0


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ([{"text": "a"}, {"text": "b"}, 5], "<table>, row 2: is of type int, expected a dict"),
        ([{"text": "a"}, "b"], f"row 1: is of type str, expected a dict; give .*{AS_ROWS}"),
        ([None, "b"], "row 0: is of type NoneType"),
        ([1, 2], "row 0: is of type int"),
        (
            [{"text": "a"}, {"text": object()}],
            "row 1: cannot be taken: it has a value of type object: leave",
        ),
        ([{"text": b"\xff"}], "row 0: cannot be taken: it has bytes that are not valid UTF-8"),
        ([{("a", 1): "b"}], "row 0: cannot be taken"),
        (iter([TEXT_TABLE, pa.table({"q": [1]})]), "<table>: table 1 has not the columns of the"),
        ([TEXT_TABLE, pa.table({"q": [1]})], '<table 2>: no column "text": it has q'),
        ([TEXT_TABLE, 5], "table 1 has not the columns of the first: it is of type int"),
        (["the first text", "another text"], f"no such file or directory; if .*{AS_ROWS}"),
        (["does it? yes"], f"matches nothing; if it is a text, .*{AS_ROWS}"),
    ],
)
def test_what_is_no_row_is_named(corpus, said):
    with pytest.raises(CorpusError, match=said):
        deduplicate(corpus, text="text")


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ((text for text in ("a", "b")), AS_ROWS),
        ({"text": "a"}, 'a dict with a str in "text" is no corpus'),
        ({"text": ["a"], "id": [1, 2]}, 'one length: there are "text" 1, "id" 2'),
    ],
)
def test_what_has_no_rows_says_what_to_give(corpus, said):
    with pytest.raises(SettingsError, match=said):
        deduplicate(corpus, text="text")


def test_an_error_of_a_generator_is_its_own(tmp_path):
    def rows():
        yield {"text": "a"}
        raise OSError("the line is dead")

    with pytest.raises(OSError, match="the line is dead"):
        deduplicate(rows(), tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_rows_of_a_generator_are_not_held():
    def rows():
        for i in range(300_000):
            yield {"text": f"{i % 1000} " * 50}

    tracemalloc.start()
    lines = rows_of(rows(), Settings()).lines
    assert sum(map(len, lines)) > 30_000_000
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_without_an_id_column_there_are_no_ids():
    with pytest.raises(SettingsError, match="no id column"):
        deduplicate(pa.table({"text": TEXTS})).ids()


def test_what_a_run_leaves_is_less_than_the_room_it_asks_for(tmp_path):
    random = np.random.default_rng(3)
    for size in (3, 200):
        words = random.integers(0, 50, (2000, size)).astype(str)
        words[1::2] = words[::2]
        texts = [" ".join(row) + f" {i // 2}" for i, row in enumerate(words)]
        table = pa.table({"text": texts})
        result = deduplicate(table, work_dir=tmp_path / str(size))
        left = sum(result.summary["exchange_bytes"].values())
        assert 0 < left < room_for(len(texts), sum(map(len, texts)))
