"""Errors travel between processes as what they were."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dedupe
from dedupe import DamageError, WorkDirError, errors
from dedupe.storage.checksums import OtherKindError

MADE = [
    errors.DedupeError("one"),
    errors.SettingsError("two"),
    errors.CorpusError("three", path="a.jsonl"),
    errors.CorpusError("four", path="a.jsonl", row=4),
    errors.RowError("four", path="a.jsonl", row=4),
    errors.WorkDirError("five"),
    errors.DamageError("a.arrow", "it ends too early"),
    errors.DamageError("a.arrow", "it is missing", remedy="run again"),
    OtherKindError("summary.json", "splits"),
    errors.EngineError("six"),
    errors.IntegrityError("seven"),
]


def test_every_class_is_tried():
    classes = {value for value in vars(errors).values() if isinstance(value, type)}
    ours = {value for value in classes if issubclass(value, Exception)}
    assert {type(error) for error in MADE} == {*ours, OtherKindError}


@pytest.mark.parametrize("error", MADE, ids=str)
def test_pickled_error_is_the_same(error):
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert (str(twin), vars(twin)) == (str(error), vars(error))


def test_an_output_of_another_command_is_said_to_be_one(tmp_path):
    texts = pa.table({"text": [f"row {n} of it all" for n in range(60)]})
    pq.write_table(texts, tmp_path / "a.parquet")
    out, splits = tmp_path / "out", tmp_path / "splits"
    dedupe.deduplicate(tmp_path / "a.parquet", out)
    dedupe.split(tmp_path / "a.parquet", splits)
    with pytest.raises(WorkDirError, match="out is the output of run, and not of split"):
        dedupe.split(tmp_path / "a.parquet", tmp_path / "more", previous=out)
    with pytest.raises(WorkDirError, match="out is the output of run, and not of split"):
        dedupe.audit_splits(out)
    with pytest.raises(WorkDirError, match="splits is the output of split, and not of run"):
        dedupe.Result(splits)
    (out / "summary.json").write_bytes((out / "summary.json").read_bytes()[:-9])
    with pytest.raises(DamageError, match="its checksum is another one"):
        dedupe.Result(out)
