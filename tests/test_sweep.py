"""Sweeps: the counts of a run at each threshold, from candidates that are read once."""

from __future__ import annotations

import json
import random

import corpora
import pytest
from commands import dedupe as command
from corpora import table_of
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from test_edges import written

import dedupe
from dedupe import SettingsError, Sweep, Tuning, deduplicate, sweep
from dedupe.commands.sweep.thresholds import thresholds_of
from dedupe.config import Settings
from dedupe.planning.banding import plan_banding

CUT = Tuning(
    task_text=8_000, task_rows=50, bucket_records=2_000, keep_rows=40, verify_tasks=5,
    small_partition_bytes=1_000,
)  # fmt: skip
"""Cuts a small corpus into many tasks, and its components into many partitions."""

THRESHOLDS = [0.5, 0.7, 1.0]


def rows_of(seed, rows=120):
    random_ = random.Random(seed)
    questions = corpora.mixed(rows, seed)
    answers = corpora.mixed(rows, seed + 1)[: rows // 5] + ["the same answer to all of them"] * 9
    return [
        {"question": one, "answer": random_.choice(answers), "source": random_.choice("abc")}
        for one in questions
    ]


def counts(result):
    """(kept, dropped, clusters, rows of the largest) of a run, by its keep-list."""
    rows = result.keep_list().to_pylist()
    sizes = {}
    for row in rows:
        if row["witness_row"] is not None and row["reason"] in ("exact", "near", "extra"):
            where = row["witness_shard"], row["witness_row"]
            sizes[where] = sizes.get(where, 1) + 1
    kept = sum(row["keep"] for row in rows)
    assert len(sizes) == sum(result.summary["clusters"].values())
    return kept, len(rows) - kept, len(sizes), max(sizes.values(), default=0)


HOW = [
    {"cluster": "transitive"},
    {"keep": "longest", "keep_at_most": 2},
    {"per": "source"},
    {"match": "whole"},
    {"shingle": "char:9"},
]


@pytest.mark.parametrize(("recall", "references"), [("exact", 40), (0.95, 0), (0.95, 40)])
@pytest.mark.parametrize("how", HOW)
def test_counts_are_those_of_runs(tmp_path, how, recall, references):
    rows = rows_of(7)
    corpus = written(tmp_path, rows[references:])
    untouched = written(tmp_path, rows[:references], 1, "untouched") if references else None
    how = {"text": ["question", "answer"], "against": untouched, "tuning": CUT, **how}
    found = sweep(corpus, THRESHOLDS, recall=recall, workers=2, **how)
    assert [one.threshold for one in found.steps] == THRESHOLDS
    given_ = {"recall": recall}
    if recall != "exact":  # candidates are those of the lowest threshold
        banding = plan_banding(Settings(threshold=THRESHOLDS[0], recall=recall))
        given_ = {"bands": banding.bands, "rows": banding.rows}
        assert (found.bands, found.band_rows) == (banding.bands, banding.rows)
        lowest = deduplicate(
            corpus, tmp_path / "lowest", threshold=THRESHOLDS[0], recall=recall, **how
        )
        assert counts(lowest) == counts_of(found.steps[0])
    results = [
        deduplicate(corpus, tmp_path / f"{one}", threshold=one, **given_, **how)
        for one in THRESHOLDS
    ]
    assert [counts_of(one) for one in found.steps] == [counts(one) for one in results]
    check_changes(found, results)


def counts_of(step):
    return step.kept, step.dropped, step.clusters, step.largest


def check_changes(found, results):
    """Hold the rows that change sides against two runs."""
    for change, lower, higher in zip(found.changes, results, results[1:], strict=False):
        below, above = (one.keep_list().to_pylist() for one in (lower, higher))
        stays = [not one["keep"] and two["keep"] for one, two in zip(below, above, strict=True)]
        goes = [one["keep"] and not two["keep"] for one, two in zip(below, above, strict=True)]
        assert (change.stays, change.goes) == (sum(stays), sum(goes))
        assert len(change.pairs) == min(5, change.stays + change.goes)
        starts = {}
        for at, row in enumerate(below):
            starts.setdefault(row["shard"], at)
        seen = set()
        for pair in change.pairs:
            at = starts[pair["shard"]] + pair["row"]
            seen.add(at)
            assert stays[at] if pair["stays"] else goes[at]
            row = (below if pair["stays"] else above)[at]
            for name in ("witness_shard", "witness_row", "jaccard"):
                assert pair[name] == row[name]
            for name in found.fields if len(found.fields) > 1 else ():
                assert pair[f"jaccard_{name}"] == row[f"jaccard_{name}"]
            for prefix in ("", "witness_"):
                line = lines(pair[f"{prefix}shard"])[pair[f"{prefix}row"]]
                for name in found.fields if len(found.fields) > 1 else ():
                    assert pair[f"{prefix}text_{name}"] == json.loads(line)[name]
        assert len(seen) == len(change.pairs)


def lines(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


@given(seed=st.integers(0, 1000), workers=st.integers(1, 4), sets=st.integers(2_000, 40_000))
@given_settings(max_examples=10)
def test_a_sweep_is_the_same_however_it_is_cut(seed, workers, sets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    corpus = written(folder, [{"text": text} for text in corpora.mixed(120, seed)])
    whole = sweep(corpus, "0.4:0.9:0.1")
    cut = Tuning(task_text=2_000, task_rows=15, bucket_records=300, set_bytes=sets, verify_tasks=5)
    assert sweep(corpus, "0.4:0.9:0.1", workers=workers, tuning=cut) == whole
    assert len(whole.steps) == 6
    assert sum(change.stays for change in whole.changes) > 0


@pytest.mark.ray
def test_a_sweep_is_the_same_on_ray(tmp_path):
    corpus = written(tmp_path, [{"text": text} for text in corpora.mixed(120, 3)])
    here = sweep(corpus, [0.5, 0.7, 0.9])
    how = {"engine": "ray", "workers": 2, "work_dir": tmp_path / "work", "tuning": CUT}
    assert sweep(corpus, [0.5, 0.7, 0.9], **how) == here


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("0.6:0.95:0.05", [0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]),
        ("0.1:0.3:0.1", [0.1, 0.2, 0.3]),
        ("0.5:1:0.3", [0.5, 0.8]),
        ("0.9,0.7", [0.7, 0.9]),
        ([0.9, 0.7, 0.9], [0.7, 0.9]),
        ((1, 0.7), [0.7, 1.0]),
    ],
)
def test_thresholds_are_ranges_or_lists(given_, expected):
    assert thresholds_of(given_) == expected


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ("0.6:0.9", "FIRST:LAST:STEP"),
        ("0.9:0.6:0.1", "FIRST:LAST:STEP"),
        ("0.6:0.9:0", "FIRST:LAST:STEP"),
        ("0.6:0.9:-0.1", "FIRST:LAST:STEP"),
        ("a,b", "FIRST:LAST:STEP"),
        (0.7, "FIRST:LAST:STEP"),
        ("nan,0.5", "above 0 and up to 1"),
        ("0:0.9:0.1", "above 0 and up to 1"),
        ("0.5,1.5", "above 0 and up to 1"),
        ("0.7", "one threshold"),
        ("0.7:0.7:0.1", "one threshold"),
        ("0.1:0.9:0.0001", "100 at most"),
    ],
)
def test_others_are_refused(given_, said):
    with pytest.raises(SettingsError, match=said):
        sweep(table_of(["a b c"]), given_)


def test_settings_that_make_no_sense_are_refused():
    table = table_of(["a b c"])
    with pytest.raises(SettingsError, match="several thresholds"):
        sweep(table, [0.5, 0.6], threshold=0.8)
    with pytest.raises(SettingsError, match="exact copies are the same"):
        sweep(table, [0.5, 0.6], near=False)
    with pytest.raises(SettingsError, match="pairs is -1"):
        sweep(table, [0.5, 0.6], pairs=-1)
    with pytest.raises(SettingsError, match="unknown setting nosuch"):
        sweep(table, [0.5, 0.6], nosuch=1)


def test_rows_in_memory_and_corpora_without_duplicates(tmp_path):
    texts = corpora.mixed(100, 4)
    found = sweep(table_of(texts), [0.5, 0.9])
    corpus = written(tmp_path, [{"text": text} for text in texts], 1)
    same = sweep(corpus, [0.5, 0.9])
    assert (found.steps, found.rows) == (same.steps, same.rows)
    alone = sweep(table_of(["one two three four five six", None]), [0.5, 0.9])
    assert [counts_of(one) for one in alone.steps] == [(2, 0, 0, 0)] * 2
    assert alone.changes[0].pairs == []


def test_rows_that_cannot_be_read_are_dropped_at_each(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a b c d e f"}\n{"text": broken\n', "utf-8")
    found = sweep(tmp_path / "a.jsonl", [0.5, 0.9], on_bad_row="skip")
    assert [counts_of(one) for one in found.steps] == [(1, 1, 0, 0)] * 2


def test_a_sweep_goes_on_in_its_work_directory(tmp_path):
    corpus = written(tmp_path, [{"text": text} for text in corpora.mixed(120, 5)])
    said = []

    class Told(dedupe.progress.Silent):
        def stage(self, name, tasks, done):
            said.append((name, tasks - done))

    how = {"work_dir": tmp_path / "work", "tuning": CUT, "progress": Told()}
    found = sweep(corpus, [0.5, 0.7], **how)
    said.clear()
    assert sweep(corpus, [0.5, 0.7], **how) == found
    assert not [name for name, todo in said if todo]
    more = sweep(corpus, [0.5, 0.7, 0.8], **how)
    assert [name for name, todo in said if todo] == ["sweep"]
    assert more.steps[:2] == found.steps
    run = deduplicate(corpus, tmp_path / "out", threshold=0.5, work_dir=tmp_path / "work")
    assert counts(run) == counts_of(found.steps[0])


def test_the_command_prints_counts_curve_and_pairs(tmp_path):
    texts = ["\x1b[31mred words that are of one row", "\x1b[31mred words that are of one row here"]
    texts += corpora.mixed(60, 2)
    corpus = written(tmp_path, [{"text": text} for text in texts])
    done = command("sweep", corpus, "--thresholds", "0.3:0.9:0.3", "--pairs", "100")
    assert done.returncode == 0
    found = sweep(corpus, "0.3:0.9:0.3", pairs=100)
    for one in found.steps:
        assert f"{one.kept:,}" in done.stdout
    assert "█" in done.stdout
    assert "rows more stay" in done.stdout
    assert "all counts are at the recall of the lowest threshold" in done.stdout
    assert "\x1b" not in done.stdout
    assert "red words" in done.stdout
    done = command("sweep", corpus, "--thresholds", "0.3:0.9:0.3", "--json", "-q", "--pairs", "100")
    assert json.loads(done.stdout) == json.loads(json.dumps(found.as_json()))
    assert "\x1b" not in done.stdout
    assert isinstance(found, Sweep)
    assert "<td" in found._repr_html_()
    assert "recall" in found._repr_html_()


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_curves_are_drawn(tmp_path, kind):
    pytest.importorskip("matplotlib")
    corpus = written(tmp_path, [{"text": text} for text in corpora.mixed(60, 2)])
    path = tmp_path / f"curve.{kind}"
    done = command("sweep", corpus, "--thresholds", "0.5,0.9", "--png", path, "-q")
    assert (done.returncode, done.stdout) == (0, "")
    begins = {"png": b"\x89PNG", "svg": b"<?xml"}
    assert path.read_bytes().startswith(begins[kind])
    with pytest.raises(SettingsError, match=r"ends in \.png or \.svg"):
        sweep(corpus, [0.5, 0.9]).draw(tmp_path / "curve.jpg")
    with pytest.raises(SettingsError, match="cannot be written"):
        sweep(corpus, [0.5, 0.9]).draw(tmp_path / "nosuch" / "curve.png")
