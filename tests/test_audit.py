"""`dedupe audit` against brute force, and on runs whose keep-lists were falsified."""

from __future__ import annotations

import json
import random
from itertools import combinations

import corpora
import naive
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import dedupe

from dedupe import CorpusError, Settings, SettingsError, Tuning, WorkDirError, audit, deduplicate
from dedupe.commands.audit import run
from dedupe.commands.audit.intervals import share_of_pairs, share_of_rows, wilson
from dedupe.progress import Silent
from dedupe.result import Result
from dedupe.storage.checksums import checksum, seal


def write_corpus(folder, texts, shards=3):
    """Parquet files and JSON lines of these texts, in order."""
    folder.mkdir()
    bounds = [len(texts) * i // shards for i in range(shards + 1)]
    for number in range(shards):
        part = texts[bounds[number] : bounds[number + 1]]
        if number == 1:
            lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
            (folder / f"part-{number}.jsonl").write_text(lines)
        else:
            table = pa.table({"text": pa.array(part, pa.string())})
            pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=40)
    return folder


def finished(folder, texts, **settings):
    """(texts, result) of a run over files."""
    corpus = write_corpus(folder / "corpus", texts)
    return deduplicate(corpus, folder / "out", **settings)


def truth(texts, result):
    """All pairs of rows at the threshold, with their similarity, and whether both are kept."""
    settings = Settings(**result.summary["settings"])
    sets = [corpora.shingle_set(text, settings) for text in texts]
    keep = result.mask()
    found = {}
    for a, b in combinations(range(len(texts)), 2):
        if sets[a] and sets[b]:
            similar = naive.jaccard(sets[a], sets[b])
            if similar >= settings.threshold:
                found[a, b] = (similar, bool(keep[a] and keep[b]))
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {"bands": 2, "rows": 12},
        {"threshold": 0.5, "bands": 3, "rows": 8},
        {"threshold": 0.6, "shingle": "char:7", "bands": 2, "rows": 12},
        {"threshold": 0.55, "cluster": "transitive", "bands": 2, "rows": 8},
        {"threshold": 1.0},
        {"exact": "bytes"},
    ],
    ids=str,
)
def test_counts_are_those_of_brute_force(tmp_path, settings):
    texts = corpora.mixed(500, seed=4)
    result = finished(tmp_path, texts, **settings)
    pairs = truth(texts, result)
    found = audit(result.path)
    missed = [pair for pair, (_, both) in pairs.items() if both]
    assert found.every
    assert (found.rows, found.sample) == (500, 500)
    assert (found.recall.of, found.recall.of - found.recall.count) == (len(pairs), len(missed))
    assert found.recall.share == found.recall.low == found.recall.high
    assert found.missed_rows.count == len({row for pair in missed for row in pair})
    assert found.wrongly_dropped.of == 500 - result.kept
    assert found.wrongly_dropped.count == 0
    assert not any(found.broken.values())
    equal = sum(similar == 1 for similar, _ in pairs.values())
    assert found.by_similarity["1.00"].of == equal
    assert sum(share.of for share in found.by_similarity.values()) == len(pairs)
    if "bands" in settings:
        assert len(missed) > 0
        examples = [
            [place[0][-14:], place[1]] for pair in found.examples["missed"] for place in pair
        ]
        starts = {"part-0.parquet": 0, "t/part-1.jsonl"[-14:]: 166, "part-2.parquet": 333}
        known = {f"{name[-12:]}": start for name, start in starts.items()}
        rows = [known[name[-12:]] + row for name, row in examples]
        assert list(zip(rows[::2], rows[1::2], strict=True)) == sorted(missed)[:5]


def test_a_run_that_looks_for_exact_copies_only(tmp_path):
    texts = corpora.mixed(400, seed=6) + ["again and again and again and again"] * 2
    texts += ["again and again and again and again and again", "a " * 30, "a " * 40]
    result = finished(tmp_path, texts, near=False)
    found = audit(result.path)
    assert found.ok
    assert found.target is None
    assert found.threshold == 1.0
    assert found.recall.share == 1.0
    assert found.recall.of > 20


@pytest.mark.parametrize("seed", [1, 2])
def test_a_sample_is_joined_with_every_row(tmp_path, seed):
    texts = corpora.mixed(600, seed=9)
    result = finished(tmp_path, texts, threshold=0.5, bands=3, rows=8)
    pairs = truth(texts, result)
    found = audit(result.path, sample=150, seed=seed)
    drawn = set(random.Random(seed).sample(range(600), 150))
    ends = [both for pair, (_, both) in pairs.items() for row in pair if row in drawn]
    assert (found.recall.of, found.recall.of - found.recall.count) == (len(ends), sum(ends))
    assert found.recall.low < found.recall.share < found.recall.high
    missed = {row for pair, (_, both) in pairs.items() if both for row in pair}
    assert (found.missed_rows.count, found.missed_rows.of) == (len(missed & drawn), 150)
    assert found.missed_rows.low < len(missed) / 600 < found.missed_rows.high
    dropped = set(np.flatnonzero(~result.mask()).tolist())
    assert found.wrongly_dropped.of == len(dropped & drawn)
    assert not any(found.broken.values())


SMALL = Tuning(join_memory=60_000, batch_bytes=3000, audit_text=20_000, keep_rows=100)
"""Room for some dozen rows in a block, and slices of a few."""


def test_blocks_of_all_rows_count_every_pair_once(tmp_path):
    texts = corpora.mixed(500, seed=4)
    result = finished(tmp_path, texts, threshold=0.5, bands=3, rows=8)
    whole = audit(result.path, full=True).as_json()
    work = tmp_path / "work"
    in_blocks = audit(result.path, full=True, workers=3, tuning=SMALL, work_dir=work).as_json()
    assert len(list(work.glob("*/count/*.json"))) > 5
    assert not list(work.glob("*/sample/*.arrow"))  # those of all rows are removed on the way
    assert {**in_blocks, "seconds": 0} == {**whole, "seconds": 0}


def test_a_sample_that_memory_does_not_hold_is_halved(tmp_path):
    result = finished(tmp_path, corpora.mixed(600, seed=9))
    found = [audit(result.path, sample=400, workers=n, tuning=SMALL).as_json() for n in (1, 3)]
    assert {**found[0], "seconds": 0} == {**found[1], "seconds": 0}
    assert found[0]["sample"] in (25, 50, 100)
    assert found[0]["asked"] == 400


def test_memory_that_does_not_hold_one_row(tmp_path):
    result = finished(tmp_path, corpora.mixed(30, seed=9))
    with pytest.raises(SettingsError, match="one row"):
        audit(result.path, tuning=Tuning(join_memory=10))


class Killed(Silent):
    """Progress that ends the audit when a stage begins."""

    def __init__(self, stage):
        self._stage = stage

    def stage(self, name, tasks, done):
        if name == self._stage:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["claims", "sample", "scan", "count"])
def test_an_audit_that_was_killed_goes_on(tmp_path, stage):
    result = finished(tmp_path, corpora.mixed(300, seed=4), threshold=0.5, bands=3, rows=8)
    expected = audit(result.path, sample=100).as_json()
    work = tmp_path / "out.audit.work"
    with pytest.raises(KeyboardInterrupt):
        audit(result.path, sample=100, tuning=SMALL, progress=Killed(stage))
    assert any(work.glob("*/rows/*.json"))
    done = {path: path.stat().st_mtime_ns for path in work.glob("*/*/*.json")}
    with pytest.raises(WorkDirError, match="asked seed: 1 before, 2 now"):
        audit(result.path, sample=100, seed=2)
    with pytest.raises(KeyboardInterrupt):
        audit(result.path, sample=100, tuning=SMALL, progress=Killed("count"))
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    found = audit(result.path, sample=100, tuning=Tuning(join_memory=10_000_000)).as_json()
    assert not work.exists()
    same = ("recall", "missed_rows", "wrongly_dropped", "broken", "sample")
    if found["sample"] == 100:
        assert [found[name] for name in same] == [expected[name] for name in same]


def test_files_that_an_audit_left_damaged_are_made_again(tmp_path):
    result = finished(tmp_path, corpora.mixed(300, seed=4), threshold=0.5, bands=3, rows=8)
    work = tmp_path / "work"
    whole = {**audit(result.path, work_dir=work).as_json(), "seconds": 0}
    files = sorted(work.glob("*/*/*.arrow"))
    assert {path.parent.name for path in files} >= {"rows", "claims", "scan", "count"}
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert {**audit(result.path, work_dir=work).as_json(), "seconds": 0} == whole


def reseal(result, summary):
    """Publish another summary."""
    (result.path / "summary.json").write_bytes(seal("summary", summary))
    return Result(result.path)


def falsify(result, shard, change):
    """Write a keep-list file again, changed."""
    file = result.files[shard]
    pq.write_table(change(pq.read_table(file)), file)
    listed = result.shards[shard]
    data = file.read_bytes()
    listed |= {"keep_size": len(data), "keep_checksum": checksum(data)}
    reseal(result, result.summary)


def with_values(table, column, rows, values):
    """A column with other values at some rows."""
    listed = table[column].to_pylist()
    for row, value in zip(rows, values, strict=True):
        listed[row] = value
    field = table.schema.field(column)
    made = pa.array(listed, field.type.value_type if field.type != pa.bool_() and
                    pa.types.is_dictionary(field.type) else field.type)  # fmt: skip
    return table.set_column(table.schema.get_field_index(column), field.name, made)


def first_dropped(table, reason="near"):
    reasons = table["reason"].cast(pa.string())
    return pc.index(reasons, reason).as_py()


def witness_is_dropped(result):
    def change(table):
        row = first_dropped(table)
        shards = [one["path"] for one in result.summary["corpus"]["shards"]]
        shard = shards.index(table["witness_shard"][row].as_py())
        number = table["witness_row"][row].as_py()
        falsify(result, shard, lambda other: with_values(other, "keep", [number], [False]))
        return pq.read_table(result.files[2])

    falsify(result, 2, change)


def jaccard_is_wrong(result):
    falsify(
        result,
        0,
        lambda table: with_values(table, "jaccard", [first_dropped(table)], [0.987]),
    )


def duplicate_is_kept(result):
    def change(table):
        row = first_dropped(table, "exact")
        table = with_values(table, "keep", [row], [True])
        table = with_values(table, "reason", [row], ["representative"])
        table = with_values(table, "witness_shard", [row], [None])
        return with_values(table, "witness_row", [row], [None])

    falsify(result, 0, change)


def row_is_missing(result):
    falsify(result, 1, lambda table: pa.concat_tables([table.slice(0, 7), table.slice(8)]))


def row_is_there_twice(result):
    falsify(result, 1, lambda table: pa.concat_tables([table.slice(0, 8), table.slice(7)]))


def rows_are_exchanged(result):
    falsify(result, 1, lambda table: table.take(pa.array([1, 0, *range(2, len(table))])))


def witness_is_another_row(result):
    def change(table):
        row = first_dropped(table)
        kept = table.filter((pc.field("reason") == "unique") & (pc.field("row") != row))
        table = with_values(
            table, "witness_shard", [row], [result.summary["corpus"]["shards"][0]["path"]]
        )
        return with_values(table, "witness_row", [row], [kept["row"][0].as_py()])

    falsify(result, 0, change)


def witness_is_none(result):
    falsify(
        result,
        0,
        lambda table: with_values(table, "witness_row", [first_dropped(table)], [None]),
    )


def unique_row_is_dropped(result):
    falsify(
        result,
        0,
        lambda table: with_values(table, "keep", [first_dropped(table, "unique")], [False]),
    )


def exact_copy_is_stated_as_near(result):
    falsify(
        result,
        0,
        lambda table: with_values(table, "jaccard", [first_dropped(table, "exact")], [0.9]),
    )


FALSIFIED = {
    witness_is_dropped: ("witness", "witness not kept"),
    jaccard_is_wrong: ("witness", "similarity is not the exact one"),
    witness_is_another_row: ("witness", "exact similarity is too low"),
    witness_is_none: ("witness", "no witness"),
    unique_row_is_dropped: ("witness", "reason does not fit"),
    exact_copy_is_stated_as_near: ("witness", "stated similarity is too low"),
    duplicate_is_kept: ("no survivors", "pairs of kept rows"),
    row_is_missing: ("nothing lost", "missing"),
    row_is_there_twice: ("nothing lost", "twice"),
    rows_are_exchanged: ("nothing lost", "out of order"),
}


@pytest.mark.parametrize("falsified", FALSIFIED, ids=lambda change: change.__name__)
def test_a_falsified_keep_list_is_seen(tmp_path, falsified):
    result = finished(tmp_path, corpora.mixed(300, seed=2), threshold=0.6)
    assert audit(result.path).ok
    falsified(result)
    guarantee, kind = FALSIFIED[falsified]
    found = audit(result.path)
    assert not found.ok
    assert found.broken[guarantee][kind] >= 1
    assert found.examples[kind]
    if falsified in (witness_is_dropped, witness_is_another_row, witness_is_none):
        assert found.wrongly_dropped.count >= 1


@pytest.mark.parametrize(
    "falsified",
    [witness_is_dropped, jaccard_is_wrong, duplicate_is_kept, row_is_missing],
    ids=lambda change: change.__name__,
)
def test_a_falsified_keep_list_is_exit_code_1(tmp_path, falsified):
    result = finished(tmp_path, corpora.mixed(300, seed=2), threshold=0.6)
    falsified(result)
    done = dedupe("audit", result.path, "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    guarantee, kind = FALSIFIED[falsified]
    assert not said["ok"]
    assert said["broken"][guarantee][kind] >= 1
    shown = dedupe("audit", result.path)
    assert shown.returncode == 1
    assert "broken" in shown.stdout
    assert kind in shown.stdout
    assert " row " in shown.stdout.partition(kind)[2]  # an example


def test_a_run_that_is_as_promised_is_exit_code_0(tmp_path):
    result = finished(tmp_path, corpora.mixed(300, seed=2))
    done = dedupe("audit", result.path, "--sample", 200)
    assert done.returncode == 0, done.stderr
    assert "a sample of 200 rows out of 300" in " ".join(done.stdout.split())
    assert done.stdout.count("holds") == 4
    said = json.loads(dedupe("audit", result.path, "--json", "--quiet", "--sample", 200).stdout)
    assert said["ok"]
    assert said["recall"]["share"] == 1.0
    quiet = dedupe("audit", result.path, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_recall_below_what_was_asked_for_is_exit_code_1(tmp_path):
    result = finished(tmp_path, corpora.mixed(900, seed=5), threshold=0.5, bands=1, rows=20)
    summary = result.summary
    summary["settings"] |= {"bands": None, "rows": None, "recall": 0.999}  # what it did not reach
    reseal(result, summary)
    found = audit(result.path, sample=500)
    assert found.recall.high < 0.999
    assert not found.ok
    assert not any(found.broken.values())
    done = dedupe("audit", result.path, "--sample", 500)
    assert done.returncode == 1
    assert "not reached" in done.stdout


def test_recall_of_bands_set_by_hand_is_that_of_their_curve(tmp_path):
    result = finished(tmp_path, corpora.mixed(100, seed=5), bands=1, rows=20)
    assert audit(result.path).target == pytest.approx(0.8**20)


def test_a_corpus_that_has_changed_is_refused(tmp_path):
    result = finished(tmp_path, corpora.mixed(60, seed=1))
    path = tmp_path / "corpus" / "part-1.jsonl"
    path.write_text(path.read_text() + json.dumps({"text": "one more row"}) + "\n")
    with pytest.raises(CorpusError, match="has changed since the run"):
        audit(result.path)


def test_what_cannot_be_audited(tmp_path):
    in_memory = deduplicate(pa.table({"text": ["a b c"]}), tmp_path / "memory")
    with pytest.raises(SettingsError, match="rows in memory"):
        audit(in_memory.path)
    with pytest.raises(WorkDirError, match="not the output"):
        audit(tmp_path)
    result = finished(tmp_path, corpora.mixed(60, seed=1))
    for wrong in ({"sample": 0}, {"sample": 2.5}, {"seed": "x"}, {"memory": "1MB"}):
        with pytest.raises(SettingsError):
            audit(result.path, **wrong)
    result.files[1].write_bytes(b"no parquet")
    with pytest.raises(WorkDirError, match=r"\.parquet is damaged .*: run again"):
        audit(result.path)


def test_a_summary_of_more_or_fewer_rows_than_the_corpus_has(tmp_path):
    result = finished(tmp_path, corpora.mixed(300, seed=2))
    for more in (3, -3):
        summary = json.loads(json.dumps(result.summary))
        summary["corpus"]["shards"][2]["rows"] += more
        reseal(result, summary)
        lost = audit(result.path).broken["nothing lost"]
        assert lost["another number of rows"] == 1
        assert lost["missing" if more > 0 else "no row of the corpus"] == 3


def test_documents_of_the_run_are_compared(tmp_path):
    chats = [
        {
            "prompt": f"question number {i // 3} of the many that there are",
            "completion": f"answer {i}",
        }
        for i in range(60)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chats))
    result = deduplicate(path, tmp_path / "out", compare="prompt", format="prompt-completion")
    found = audit(result.path)
    assert found.ok
    assert found.recall.of == 60


@pytest.mark.parametrize("texts", [[None, "", "?!"], ["one row alone"]])
def test_corpora_without_pairs(tmp_path, texts):
    result = finished(tmp_path, texts)
    found = audit(result.path)
    assert found.ok
    assert found.recall.share is None
    assert audit(result.path, sample=1).ok
    assert dedupe("audit", result.path).returncode == 0


def test_no_rows(tmp_path):
    table = pa.table({"text": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "none.parquet")
    result = deduplicate(tmp_path / "none.parquet", tmp_path / "out")
    found = audit(result.path)
    assert found.ok
    assert (found.rows, found.sample) == (0, 0)


def test_wilson_intervals_of_textbooks():
    low, high = wilson(0.0, 10)
    assert (low, high) == (0, pytest.approx(0.2775, abs=1e-4))
    low, high = wilson(81 / 263, 263)  # Newcombe 1998, table I
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(1.0, 10)[1] == 1.0
    assert share_of_rows(3, 10, 1.0).low == share_of_rows(3, 10, 1.0).high == 0.3
    assert share_of_rows(0, 0, 0.5).share is None


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Rows with very different numbers of pairs, of which some rows miss many."""
    chance = np.random.default_rng(0)
    rows = 20_000
    pairs = np.where(chance.random(rows) < 0.7, 0, chance.geometric(0.08, rows))
    missed = chance.binomial(pairs, chance.choice([0.01, 0.3], rows, p=[0.9, 0.1]))
    truth = missed.sum() / pairs.sum()
    held = 0
    for _ in range(400):
        drawn = chance.choice(rows, 1000, replace=False)
        found = share_of_pairs(missed[drawn], pairs[drawn], np.ones(1000, np.int64), 0.05)
        held += found.low <= truth <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_where_nothing_was_missed_rows_that_come_together_count_as_one():
    lone = share_of_pairs(np.zeros(50), np.ones(50), np.ones(50, np.int64), 0.0)
    heavy = share_of_pairs(np.zeros(1), np.full(1, 50), np.ones(1, np.int64), 0.0)
    assert lone.share == heavy.share == 0
    assert lone.high < 0.08 < 0.7 < heavy.high
    assert run.SAMPLE == 20_000
