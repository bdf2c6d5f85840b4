"""Errors travel between processes as what they were."""

from __future__ import annotations

import pickle

import pytest

from dedupe import errors

MADE = [
    errors.DedupeError("one"),
    errors.SettingsError("two"),
    errors.CorpusError("three", path="a.jsonl"),
    errors.CorpusError("four", path="a.jsonl", row=4),
    errors.RowError("four", path="a.jsonl", row=4),
    errors.WorkDirError("five"),
    errors.DamageError("a.arrow", "it ends too early"),
    errors.DamageError("a.arrow", "it is missing", remedy="run again"),
    errors.EngineError("six"),
    errors.IntegrityError("seven"),
]


def test_every_class_is_tried():
    classes = {value for value in vars(errors).values() if isinstance(value, type)}
    ours = {value for value in classes if issubclass(value, Exception)}
    assert {type(error) for error in MADE} == ours


@pytest.mark.parametrize("error", MADE, ids=str)
def test_pickled_error_is_the_same(error):
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert (str(twin), vars(twin)) == (str(error), vars(error))
