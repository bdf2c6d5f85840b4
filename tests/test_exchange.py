"""Rows given in runs come out as if they had been given at once."""

from __future__ import annotations

import tempfile

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dedupe.storage.spill import Runs


@given(st.lists(st.lists(st.lists(st.text(), max_size=4), min_size=3, max_size=3), max_size=5))
def test_runs_are_merged_in_order(runs):
    def batch(values):
        return pa.RecordBatch.from_arrays([pa.array(values, pa.string())], names=["text"])

    files = []

    def spool():
        files.append(tempfile.TemporaryFile())  # noqa: SIM115  (Runs closes it)
        return files[-1]

    with Runs(spool) as exchange:
        for run in runs:
            exchange.add([batch(values) for values in run])
        merged = [found["text"].to_pylist() for found in exchange.merged()]
    expected = [[text for run in runs for text in run[partition]] for partition in range(3)]
    assert merged == (expected if runs else [])
    assert len(files) == max(len(runs) - 1, 0)
    assert all(file.closed for file in files)
