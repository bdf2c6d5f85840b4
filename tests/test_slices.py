"""Chosen rows of several slices, whatever the formats of their shards."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from corpora import wanted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_corpus import write

from dedupe.corpus import Slice, SliceReader, find_shards, first_rows, plan_slices
from dedupe.errors import CorpusError, IntegrityError

ROWS = 60
KINDS = ["parquet", "jsonl", "jsonl.gz", "csv", "arrow", "stream.arrow"]
BASE = 1000
"""Rows are numbered from here on, as positions in a corpus are within a task."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(shards, slices, starts) of a file of each format, all but the first with more rows."""
    folder = tmp_path_factory.mktemp("slices")
    for number, kind in enumerate(KINDS):
        numbers = range(number * ROWS, (number + 1) * ROWS)
        table = pa.table({"text": [f"text {BASE + i}" for i in numbers], "n": numbers})
        write(folder / f"{number}.{kind}", table)
    shards = find_shards([str(folder)])
    slices, starts = [], []
    for shard in shards:
        parts = plan_slices(shard, ["text"], 200, 1 << 20)
        slices += parts
        starts += [BASE + ROWS * shard.ordinal + row for row in first_rows(shard, parts)]
    assert len(slices) > 2 * len(shards)
    return shards, slices, np.array([*starts, BASE + ROWS * len(shards)])


def reader_of(corpus, batch_bytes=1 << 20):
    return SliceReader(*corpus, [wanted("text", "n")] * len(corpus[0]), batch_bytes)


def rows_of(found):
    """The numbers that were given, once each batch was seen to have these rows of one slice."""
    numbers = []
    for given_, batch in found:
        assert batch.column(0).to_pylist() == [f"text {number}" for number in given_]
        assert batch.column(1).to_pylist() == [number - BASE for number in given_]
        assert batch.num_rows == len(given_) > 0
        numbers += given_.tolist()
    return numbers


END = BASE + ROWS * len(KINDS)
PLACES = st.integers(BASE, END - 1)


@given(st.sets(PLACES), st.sampled_from([1, 40, 1 << 20]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows(corpus, rows, batch_bytes):
    rows = np.array(sorted(rows), np.int64)
    assert rows_of(reader_of(corpus, batch_bytes).read(rows)) == rows.tolist()


@given(PLACES, PLACES, st.sampled_from([1, 40, 1 << 20]))
def test_any_range(corpus, first, last, batch_bytes):
    rows = range(first, last)
    assert rows_of(reader_of(corpus, batch_bytes).read(rows)) == list(rows)


def test_all_rows_and_those_of_one_slice(corpus):
    _, slices, starts = corpus
    reader = reader_of(corpus)
    assert rows_of(reader.read()) == list(range(BASE, END))
    for number in range(len(slices)):
        assert rows_of(reader.read_slice(number)) == list(range(*starts[number : number + 2]))
    for none in (np.zeros(0, np.int64), range(5, 5), range(5, 2)):
        assert list(reader.read(none)) == []


def test_slices_without_wanted_rows_are_not_opened(corpus):
    shards, slices, starts = corpus
    rows = np.array([BASE + 1, END - 1])
    there = {slices[i].shard for i in np.searchsorted(starts, rows, "right") - 1}
    opened = [shard if shard.ordinal in there else None for shard in shards]
    assert rows_of(reader_of((opened, slices, starts)).read(rows)) == rows.tolist()


def test_slices_may_be_empty(corpus):
    shards, slices, starts = corpus
    doubled = [part for part in slices for _ in range(2)]
    bounds = np.sort([*starts, *starts[:-1]])
    assert rows_of(reader_of((shards, doubled[1:], bounds[1:])).read()) == list(range(BASE, END))


def test_rows_outside_of_the_slices_are_refused(corpus):
    for rows in (range(BASE - 1, BASE + 2), np.array([END]), range(END - 1, END + 1)):
        with pytest.raises(IndexError, match="rows"):
            list(reader_of(corpus).read(rows))


def test_a_slice_of_other_rows_is_noticed(corpus):
    shards, slices, starts = corpus
    for number in (0, len(slices) - 1):
        for more in (-1, 1):
            bounds = starts[number : number + 2] + np.array([0, more])
            reader = reader_of((shards, slices[number : number + 1], bounds), batch_bytes=1)
            with pytest.raises(IntegrityError, match=r"slice \d+, has not the \d+ rows"):
                rows_of(reader.read())
            assert rows_of(reader.read(bounds[:1])) == [starts[number]]


def test_a_file_that_changed_is_noticed(tmp_path):
    path = write(tmp_path / "a.jsonl", pa.table({"text": ["a", "b"]}))
    shards = find_shards([str(path)])
    reader = SliceReader(
        shards, [Slice(0, 0, 0, shards[0].size)], np.array([0, 2]), [wanted("text")], 9
    )
    path.write_text('{"text": "a"}\n')
    with pytest.raises(CorpusError, match="changed during the run"):
        list(reader.read())
