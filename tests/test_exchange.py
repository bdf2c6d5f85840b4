"""Rows given some at a time come out as if they had been given at once."""

from __future__ import annotations

import tempfile

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dedupe.storage.spill import SpillBuffer


@given(st.lists(st.lists(st.lists(st.text(), max_size=4), min_size=3, max_size=3), max_size=5))
def test_what_was_spilled_is_merged_in_order(added):
    def batch(values):
        return pa.RecordBatch.from_arrays([pa.array(values, pa.string())], names=["text"])

    files = []

    def spool():
        files.append(tempfile.TemporaryFile())  # noqa: SIM115  (SpillBuffer closes it)
        return files[-1]

    with SpillBuffer(spool) as buffer:
        for partitions in added:
            buffer.add([batch(values) for values in partitions])
        merged = [found["text"].to_pylist() for found in buffer.merged()]
    expected = [[text for one in added for text in one[partition]] for partition in range(3)]
    assert merged == (expected if added else [])
    assert len(files) == max(len(added) - 1, 0)
    assert all(file.closed for file in files)
