"""A run in the work directory of one with other settings: the same bytes as a fresh one."""

from __future__ import annotations

import json
import random

import corpora
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from moments import At, Killed
from test_edges import written

import dedupe
from dedupe import Settings, Tuning, WorkDirError, deduplicate
from dedupe.pipeline import STAGES
from dedupe.planning.banding import plan_banding
from dedupe.replan import same_stages

PLANNED = plan_banding(Settings())

CUT = Tuning(
    task_text=2_000, task_rows=20, bucket_records=500, keep_rows=10, edge_batch=7, survey_shards=1
)
"""Cuts a small corpus into many tasks, and its components into many partitions."""

CHOICES = {
    "threshold": [0.6, 0.7, 0.8, 1.0],
    "recall": [0.9, 0.99, "exact"],
    "bands": [None, 20],
    "cluster": ["cover", "transitive"],
    "keep": ["first", "longest", ["max:score", "longest"]],
    "keep_at_most": [1, 2],
    "count_by": [None, "source"],
    "by": [None, "source"],
    "differences": [True, False],
    "id": [None, "name"],
    "text": [None, "text", "{text} {source}"],
    "shingle": ["word:5", "word:3", "char:9"],
    "num_perm": [128, 96],
    "minhash_seed": [1, 2],
    "exact": ["text", "words"],
    "ignore": [None, "numbers"],
    "within": [None, "source"],
    "near": [True, False],
    "on_bad_row": ["error", "skip"],
}
"""Values of settings."""


def made(drawn):
    """Settings of which the first few are the usual ones."""
    how = {name: values[0] for name, values in CHOICES.items()} | drawn
    if how["bands"] is not None:
        how |= {"rows": 4, "recall": 0.99}
    return how


FEW = st.dictionaries(st.sampled_from(sorted(CHOICES)), st.integers(0, 3), max_size=3)
LATE = st.dictionaries(
    st.sampled_from(["threshold", "recall", "bands", "cluster", "keep_at_most"]),
    st.integers(0, 3),
    max_size=4,
)


def values(drawn):
    return made({name: CHOICES[name][at % len(CHOICES[name])] for name, at in drawn.items()})


def corpus_in(folder, seed):
    random_ = random.Random(seed)
    rows = [
        {"text": text, "name": f"r{i}", "source": random_.choice("ab"), "score": i % 7}
        for i, text in enumerate(corpora.mixed(110, seed))
    ]
    return written(folder, rows)


VOLATILE = (
    "stages", "wall_seconds", "resources", "driver", "faults", "exchange_bytes", "checksum",
)  # fmt: skip
"""What a summary says of how a run went, and not of what it found."""


def bytes_of(result):
    """All that a run found."""
    keep = {path.name: path.read_bytes() for path in sorted((result.path / "keep").iterdir())}
    summary = json.loads((result.path / "summary.json").read_text(encoding="utf-8"))
    return keep, {name: value for name, value in summary.items() if name not in VOLATILE}


@given(one=st.one_of(FEW, LATE), other=st.one_of(FEW, LATE), seed=st.integers(0, 99))
@given_settings(max_examples=40)
def test_a_run_in_a_used_work_directory_is_that_of_a_fresh_one(one, other, seed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("used")
    corpus = corpus_in(folder, seed)
    how = {"work_dir": folder / "work", "workers": 2}
    deduplicate(corpus, folder / "one", tuning=CUT, **how, **values(one))
    used = deduplicate(corpus, folder / "two", tuning=CUT, **how, **values(other))
    fresh = deduplicate(corpus, folder / "fresh", **values(other))
    assert bytes_of(used) == bytes_of(fresh)
    back = deduplicate(corpus, folder / "back", **how, **values(one))
    assert bytes_of(back) == bytes_of(dedupe.Result(folder / "one"))


@pytest.mark.parametrize(
    ("one", "other", "first"),
    [
        ({"cluster": "transitive"}, {}, "verify"),
        ({"keep_at_most": 3}, {}, "verify"),
        ({"bands": 14, "rows": 8}, {"bands": 14, "rows": 8, "threshold": 0.7}, "verify"),
        ({"recall": "exact"}, {"recall": "exact", "threshold": 0.7}, "join"),
        ({"recall": "exact"}, {"recall": "exact", "cluster": "transitive"}, "verify"),
        ({}, {"threshold": 0.7}, "sign"),
        ({}, {"recall": "exact"}, "sign"),
        ({}, {"near": False}, "sign"),
        ({}, {"keep": "longest"}, "sign"),
        ({}, {"num_perm": 64}, "sign"),
        ({}, {"bands": PLANNED.bands, "rows": PLANNED.rows}, None),
    ],
)
def test_stages_are_taken_up_to_the_first_that_settings_change(tmp_path, one, other, first):
    same = same_stages(Settings(**one), Settings(**other), STAGES)
    assert same == list(STAGES[: STAGES.index(first)] if first else STAGES)
    corpus = corpus_in(tmp_path, 3)
    how = {"work_dir": tmp_path / "work", "tuning": CUT}
    deduplicate(corpus, tmp_path / "one", **how, **one)
    result = deduplicate(corpus, tmp_path / "two", **how, **other)
    for name, told in result.summary["stages"].items():
        assert told["resumed"] == (told["tasks"] if name in same else 0), name


def test_what_an_unfinished_run_has_done_is_not_lost(tmp_path):
    corpus = corpus_in(tmp_path, 5)
    how = {"work_dir": tmp_path / "work", "tuning": CUT}

    for stage in ("sign", "verify"):
        with pytest.raises(Killed):
            deduplicate(corpus, tmp_path / "one", progress=At(stage, done=1), **how)
    with pytest.raises(WorkDirError, match=r"settings cluster: cover before, transitive now"):
        deduplicate(corpus, tmp_path / "two", cluster="transitive", **how)
    with pytest.raises(WorkDirError, match=r"settings threshold: 0\.8 before, 0\.7 now"):
        deduplicate(corpus, tmp_path / "two", threshold=0.7, **how)
    one = deduplicate(corpus, tmp_path / "one", **how)
    assert one.summary["stages"]["sign"]["resumed"] == one.summary["stages"]["sign"]["tasks"]
    two = deduplicate(corpus, tmp_path / "two", cluster="transitive", **how)
    assert two.summary["stages"]["fetch"]["resumed"] == two.summary["stages"]["fetch"]["tasks"]
    assert bytes_of(two) == bytes_of(deduplicate(corpus, tmp_path / "fresh", cluster="transitive"))


def test_a_run_that_stopped_before_the_stage_that_differs_is_taken_over(tmp_path):
    corpus = corpus_in(tmp_path, 6)
    how = {"work_dir": tmp_path / "work", "tuning": CUT}

    with pytest.raises(Killed):
        deduplicate(corpus, tmp_path / "one", progress=At("route", done=1), **how)
    two = deduplicate(corpus, tmp_path / "two", cluster="transitive", **how)
    assert two.summary["stages"]["sign"]["resumed"] == two.summary["stages"]["sign"]["tasks"]
    assert bytes_of(two) == bytes_of(deduplicate(corpus, tmp_path / "fresh", cluster="transitive"))


def test_another_corpus_is_refused_as_before(tmp_path):
    corpus = corpus_in(tmp_path, 7)
    how = {"work_dir": tmp_path / "work"}
    deduplicate(corpus, tmp_path / "one", **how)
    (corpus / "9.jsonl").write_text('{"text": "more"}\n', encoding="utf-8")
    with pytest.raises(WorkDirError, match="was not in the corpus"):
        deduplicate(corpus, tmp_path / "two", cluster="transitive", **how)


def test_a_note_says_what_is_taken(tmp_path):
    corpus = corpus_in(tmp_path, 8)
    said = []

    class Told(dedupe.progress.Silent):
        def note(self, text):
            said.append(text)

    how = {"work_dir": tmp_path / "work", "progress": Told()}
    deduplicate(corpus, tmp_path / "one", **how)
    deduplicate(corpus, tmp_path / "two", cluster="transitive", **how)
    assert any("takes sign, bucket" in text for text in said)
    said.clear()
    deduplicate(corpus, tmp_path / "three", threshold=0.6, **how)
    assert any("nothing of the run of other settings" in text for text in said)
