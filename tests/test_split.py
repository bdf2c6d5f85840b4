"""`dedupe split`: nothing leaks, sizes are as asked for, and nothing but content decides."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections import Counter
from fractions import Fraction

import corpora
import fsspec
import naive
import naive_split
import numpy as np
import polars
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from commands import dedupe as command
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import At, Killed

import dedupe
from dedupe import Settings, SettingsError, Splits, Tuning, deduplicate
from dedupe.commands.split.linking import bounds_of, fine
from dedupe.commands.split.wanted import Wanted, merged, quotas, rows_wanted, share_of
from dedupe.storage.checksums import seal

WORDS = [f"w{number}" for number in range(40)]
FINE = Tuning(
    task_text=2000,
    task_rows=30,
    shard_bytes=1,
    bucket_records=200,
    small_bucket_records=50,
    fan_in=2,
    keep_rows=40,
    keep_shards=4,
    set_bytes=5000,
    small_partition_bytes=500,
)
"""Cuts small corpora into many tasks."""


def texts_of(rows: int, seed: int, empty: float = 0.05) -> list[str | None]:
    """Texts of families, of which neighbours are similar, and some that are empty."""
    random_ = random.Random(seed)
    texts: list[str | None] = []
    while len(texts) < rows:
        words = [*random_.choices(WORDS, k=random_.randint(4, 30)), f"own{len(texts)}"]
        for _ in range(random_.choice([1, 1, 1, 1, 2, 3, 8])):
            texts.append(" ".join(words) if random_.random() > empty else None)
            words[random_.randrange(len(words))] = random_.choice(WORDS)
    random_.shuffle(texts)
    return texts[:rows]


def table(rows: int, seed: int = 0) -> pa.Table:
    random_ = random.Random(seed + 1)
    order = range(rows)
    return pa.table(
        {
            "id": pa.array([f"row {number}" for number in order]),
            "text": pa.array(texts_of(rows, seed), pa.string()),
            "user": pa.array(
                [random_.choice([None, None, "", "", str(random_.randrange(rows))]) for _ in order]
            ),
            "kind": pa.array([random_.choice("aaaaabbbc") for _ in order]),
        }
    )


def sets_of(texts, **chosen):
    given_ = Settings(**chosen)
    return [frozenset(corpora.shingle_set(text, given_)) for text in texts]


def by_id(splits) -> dict[str, dict[str, object]]:
    return {row["id"]: row for row in splits.table().to_pylist()}


def check(rows: pa.Table, splits: Splits, threshold: float, group: bool, **chosen) -> None:
    """Every law that a split keeps, against every pair of rows."""
    found = splits.table()
    assert found["row"].to_pylist() == list(range(len(rows)))
    part, cluster, reason = (found[name].to_pylist() for name in ("split", "cluster", "reason"))
    sets = sets_of(rows["text"].to_pylist(), **chosen)
    users = rows["user"].to_pylist()
    alike = naive_split.similar(sets, threshold)

    def linked(i, j):
        return alike(i, j) or (group and bool(users[i]) and users[i] == users[j])

    for i in range(len(rows)):
        for j in range(i):
            if linked(i, j):
                assert part[i] == part[j], (i, j)
    first = naive_split.components(len(rows), linked)
    sizes = Counter(first)
    has_text = {first[i] for i in range(len(rows)) if sets[i]}
    names: dict[int, str] = {}
    for i, root in enumerate(first):
        if root in has_text and (sets[i] or sizes[root] > 1):
            assert names.setdefault(root, cluster[i]) == cluster[i]
        else:
            assert (cluster[i], part[i], reason[i]) == (None, "train", "empty")
    assert len(set(names.values())) == len(names)
    wanted = splits.summary["asked"]
    limit = max(next(filter(None, splits.summary["wanted"].values()), 0) // 10, 1)
    for i, root in enumerate(first):
        if root in names:
            size = sizes[root]
            why = "single" if size == 1 else "linked" if size <= limit else "large"
            assert reason[i] == why, i
    if not wanted["stratify"]:
        clusters = {name: (sizes[root], 0) for root, name in names.items()}
        shares = [Fraction(str(wanted[name])) for name in ("test", "validation")]
        expected = naive_split.fill(clusters, len(rows), shares, wanted["seed"])
        assert {name: part[root] for root, name in names.items()} == expected
    counted = Counter(part)
    assert splits.summary["splits"] == {
        name: counted[name] for name in ("train", "test", "validation", "excluded")
    }
    assert sum(splits.summary["reasons"].values()) == len(rows)


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("tuning", [Tuning(), FINE], ids=["whole", "cut"])
def test_splits_are_those_of_every_pair(threshold, group, tuning):
    rows = table(220, seed=int(threshold * 10))
    chosen = {"shingle": "word:2", "threshold": threshold}
    splits = dedupe.split(
        rows,
        test="10%",
        validation=0.07,
        group="user" if group else (),
        tuning=tuning,
        **chosen,
    )
    check(rows, splits, group=group, **chosen)


@settings(max_examples=15)
@given(
    st.integers(0, 60),
    st.integers(0, 1000),
    st.sampled_from(["5%", "10%", "50%", 0.9]),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.booleans(),
)
def test_small_corpora(count, seed, test, threshold, group):
    rows = table(count, seed=seed)
    chosen = {"shingle": "word:1", "threshold": threshold}
    splits = dedupe.split(
        rows, test=test, validation="5%", group=["user"] if group else [], seed=seed, **chosen
    )
    check(rows, splits, group=group, **chosen)


def test_order_of_rows_and_shards_workers_and_recall_decide_nothing(tmp_path):
    rows = table(300, seed=4)
    chosen = {"shingle": "word:2", "id": "id", "group": "user", "stratify": "kind", "lengths": 3}
    whole = by_id(dedupe.split(rows, validation="10%", **chosen))
    order = list(range(300))
    random.Random(3).shuffle(order)
    mixed = rows.take(pa.array(order))
    for number, (start, end) in enumerate([(0, 40), (40, 41), (41, 300)]):
        pq.write_table(mixed.slice(start, end - start), tmp_path / f"{number}.parquet")
    for more in (
        {"workers": 1},
        {"workers": 4, "tuning": FINE},
        {"recall": 0.9999999, "num_perm": 1024, "tuning": FINE},
    ):
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        found = dedupe.split(
            list(tmp_path.glob("*.parquet")), out, validation="10%", **chosen, **more
        )
        again = by_id(found)
        assert again.keys() == whole.keys()
        for name, row in again.items():
            for key in ("split", "cluster", "reason"):
                assert row[key] == whole[name][key], name


def test_other_seeds_give_other_splits():
    rows = table(300)
    one, other, again = (
        dedupe.split(rows, seed=seed, shingle="word:2").mask("test") for seed in (1, 2, 1)
    )
    assert (one == again).all()
    assert (one != other).any()
    assert abs(one.sum() - other.sum()) <= 2


def test_strata_have_their_share():
    random_ = random.Random(7)
    kinds = random_.choices(["web", "code", "rare", None], [600, 300, 8, 12], k=12_000)
    kinds[:3] = ["one", "two", "three"]
    rows = pa.table(
        {"text": [f"text number {n} of its kind {n}" for n in range(12_000)], "kind": kinds}
    )
    found = dedupe.split(rows, test="10%", validation="5%", stratify="kind", lengths=2)
    counts = Counter(zip(kinds, found.values(), strict=True))
    totals = Counter(kinds)
    for kind in ("web", "code", "rare", None):
        for name, share in (("test", 0.1), ("validation", 0.05)):
            assert abs(counts[kind, name] - share * totals[kind]) <= 2, kind
    assert found.summary["splits"] == {
        "train": 10_200, "test": 1200, "validation": 600, "excluded": 0,
    }  # fmt: skip
    told = {one["name"]: one for one in found.summary["strata"]}
    assert {one["merged"] for name, one in told.items() if name.startswith("kind web")} == {False}
    assert all(
        one["merged"]
        for name, one in told.items()
        if name.startswith(("kind one", "kind two", "kind three"))
    )
    assert sum(one["test"] for one in told.values()) == 1200


def test_ranges_of_length_have_equally_many_rows():
    class Result:
        def __init__(self, lengths):
            values, counts = np.unique(fine(np.array(lengths)), return_counts=True)
            self.lengths = [list(p) for p in zip(values.tolist(), counts.tolist(), strict=True)]

    assert bounds_of({0: Result(range(100))}, 4).tolist() == [25, 50, 75]
    assert bounds_of({0: Result([5] * 10)}, 4).tolist() == []
    assert bounds_of({0: Result([1, 1, 1, 9])}, 2).tolist() == [9]
    assert bounds_of({}, 3).tolist() == []
    lengths = np.arange(0, 1 << 20, 97)
    assert (np.diff(fine(lengths)) >= 0).all()
    assert (lengths - fine(lengths) <= lengths / 128).all()
    assert (fine(np.arange(256)) == np.arange(256)).all()


@given(st.integers(0, 500), st.lists(st.integers(0, 200), max_size=8))
def test_quotas(wanted, rows):
    found = quotas(wanted, rows)
    assert sum(found) == min(wanted, sum(rows))
    named = dict(enumerate(rows))
    assert found == list(naive_split.quota(wanted, named).values()) if rows and sum(rows) else True
    for have, count in zip(rows, found, strict=True):
        assert 0 <= count <= have
        assert abs(count - min(wanted, sum(rows)) * have / max(sum(rows), 1)) < 1


def test_small_strata_are_one():
    assert merged({3: 100, 5: 19, 7: 20, 9: 1}) == ({3: 0, 7: 1, 5: 2, 9: 2}, [5, 9])
    assert merged({3: 100, 5: 19}) == ({3: 0, 5: 1}, [])
    assert merged({}) == ({}, [])


def test_shares():
    for text in ("10%", "0.1", 0.1, ".1", " 10 % "):
        assert share_of("test", text) == Fraction(1, 10)
    for text in ("100%", "1", 2, "ten", "-5%", True, "10%%"):
        with pytest.raises(SettingsError, match="test is"):
            Wanted(test=text)
    assert [rows_wanted(Fraction(1, 10), rows) for rows in (4, 5, 14, 15, 100)] == [0, 1, 1, 2, 10]
    with pytest.raises(SettingsError, match="leave rows to train on"):
        Wanted(test="60%", validation="40%")
    with pytest.raises(SettingsError, match="leave rows to train on"):
        Wanted(test="0%")
    with pytest.raises(SettingsError, match="seed is"):
        Wanted(seed=-1)
    for columns in (5, [""], [1]):
        with pytest.raises(SettingsError, match="group is"):
            dedupe.split([{"text": "a"}], group=columns)


def test_what_was_asked_is_compared():
    """The same question in test and train is a leak, whatever the answer."""
    words = " ".join(WORDS[:9])
    rows = [
        {"instruction": f"{words} question {n // 2}", "input": "", "output": f"answer {n}"}
        for n in range(40)
    ]
    found = dedupe.split(rows, test="25%", threshold=1.0)
    values = found.values()
    assert (values[::2] == values[1::2]).all()
    assert found.summary["reasons"]["large"] == 40  # two rows are more than a tenth of ten
    assert "asked" in str(found.summary["settings"]["compare"])
    apart = dedupe.split(rows, test="25%", threshold=1.0, compare="all")
    assert apart.summary["splits"]["test"] == 10
    assert dedupe.split(pa.table({"text": ["a b c", "d e f"]})).settings.compare == "asked"
    named = dedupe.split(pa.table({"body": ["a b c", "d e f"]}), text="body")
    assert named.settings.compare == "all"


def test_dropped_rows_of_a_run_are_excluded(tmp_path):
    rows = table(250, seed=9)
    pq.write_table(rows, tmp_path / "rows.parquet")
    run = deduplicate(
        tmp_path / "rows.parquet", tmp_path / "out", shingle="word:2", id="id", threshold=0.7
    )
    found = dedupe.split(tmp_path / "out", tmp_path / "splits", threshold=0.5, tuning=FINE)
    assert found.settings.shingle == "word:2"
    assert (found.mask("excluded") == ~run.mask()).all()
    assert found.summary["reasons"]["duplicate"] == 250 - run.kept
    assert found.table()["id"].to_pylist() == rows["id"].to_pylist()
    every = dedupe.split(tmp_path / "out", tmp_path / "all", with_duplicates=True)
    check(rows, every, 0.5, False, shingle="word:2")
    with pytest.raises(SettingsError, match="for the output of a finished run"):
        dedupe.split(rows, with_duplicates=True)


@pytest.mark.parametrize("recall", ["exact", 0.99])
@pytest.mark.parametrize("tuning", [Tuning(), FINE], ids=["whole", "cut"])
def test_splits_of_a_run_are_those_of_what_apply_writes(recall, tuning, tmp_path):
    rows = table(300, seed=11)
    (tmp_path / "in").mkdir()
    for number in range(3):
        pq.write_table(rows.slice(number * 100, 100), tmp_path / "in" / f"{number}.parquet")
    run = deduplicate(tmp_path / "in", tmp_path / "out", shingle="word:2", id="id", threshold=0.7)
    dedupe.apply(tmp_path / "out", tmp_path / "clean")
    chosen = {"group": "user", "stratify": "kind", "lengths": 2, "validation": "10%"}
    chosen |= {"recall": recall, "tuning": tuning}
    of_run = dedupe.split(tmp_path / "out", tmp_path / "one", **chosen)
    clean = dedupe.split(tmp_path / "clean", tmp_path / "two", shingle="word:2", id="id", **chosen)
    assert clean.rows == run.kept < 290
    found, expected = by_id(of_run), by_id(clean)
    for name, row in found.items():
        if row["split"] == "excluded":
            assert name not in expected
            assert (row["cluster"], row["reason"]) == (None, "duplicate")
        else:
            for key in ("split", "cluster", "reason"):
                assert row[key] == expected[name][key], name


def test_a_cluster_of_most_rows_is_an_error_that_shows_sizes():
    texts = [f"a b c d e f g h {' '.join(WORDS[n % 7 : n % 7 + 3])} {n}" for n in range(150)]
    rows = pa.table({"text": texts + [f"quite another {n} {n} {n} {n}" for n in range(60)]})
    with pytest.raises(SettingsError) as error:
        dedupe.split(rows, threshold=0.3)
    told = str(error.value)
    assert "one cluster has 150 of 210 rows" in told
    assert "  0.3: 150\n  0.5: " in told
    assert "  0.9: 1\n" in told
    rows = rows.append_column("user", pa.array(["u"] * 210))
    with pytest.raises(SettingsError, match=r"210 of 210 rows, with those of an equal user"):
        dedupe.split(rows, threshold=0.9, group="user")


def test_clusters_that_do_not_fit_are_told():
    rows = pa.table(
        {
            "text": [f"{n} {n} {n} {n} {n}" for n in range(400)],
            "user": [str(n // 50) for n in range(400)],
        }
    )
    found = dedupe.split(rows, group="user")
    assert found.summary["splits"]["test"] == 0
    assert "test has 0 rows and ought to have 40" in found.summary["warnings"][0]
    assert found.summary["largest"][0]["rows"] == 50


def test_columns_that_are_not_there(tmp_path):
    rows = table(20)
    with pytest.raises(SettingsError, match='no column "nosuch" in the corpus: there are id, kind'):
        dedupe.split(rows, group="nosuch")
    late = tmp_path / "late.jsonl"
    lines = [{"text": f"text {n} text {n}"} for n in range(3000)]
    lines[-1]["user"] = lines[-2]["user"] = "somebody"
    late.write_text("".join(json.dumps(line) + "\n" for line in lines))
    values = dedupe.split(late, group="user").values()
    assert values[-1] == values[-2]
    many = pa.table({"text": ["a"] * 10_500, "n": [str(n) for n in range(10_500)]})
    with pytest.raises(SettingsError, match="more than 10,000 values"):
        dedupe.split(many, stratify="n")
    with pytest.raises(SettingsError, match="a split has no cluster"):
        dedupe.split(rows, cluster="cover")


@pytest.mark.parametrize(
    "stage", ["columns", "groups", "clusters", "gather", "name", "fill", "spread", "write"]
)
def test_a_split_that_was_killed_goes_on(stage, tmp_path):
    rows = table(200, seed=2)
    for number in range(3):
        pq.write_table(rows.slice(number * 70, 70), tmp_path / f"{number}.parquet")
    paths = sorted(tmp_path.glob("*.parquet"))
    chosen = {"shingle": "word:2", "group": "user", "stratify": "kind", "tuning": FINE}
    whole = dedupe.split(paths, tmp_path / "whole", **chosen)
    for done in (None, 1):
        out = tmp_path / f"out {done}"
        with pytest.raises(Killed):
            dedupe.split(paths, out, **chosen, progress=At(stage, done=done))
        assert not out.exists()
        assert (tmp_path / f"out {done}.work").exists()
        again = dedupe.split(paths, out, **chosen)
        assert again.summary["stages"]["sign"]["resumed"] > 0
        assert not (tmp_path / f"out {done}.work").exists()
        for one, other in zip(whole.shards, again.shards, strict=True):
            assert one["split_checksum"] == other["split_checksum"]
    told = At("nothing")
    assert dedupe.split(paths, out, **chosen, progress=told).summary == again.summary
    assert "finished already" in told.notes[0]


def test_damage_is_noticed(tmp_path):
    pq.write_table(table(50), tmp_path / "rows.parquet")
    found = dedupe.split(tmp_path / "rows.parquet", tmp_path / "out")
    path = tmp_path / "out" / found.shards[0]["split"]
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(dedupe.DamageError, match="split again"):
        found.mask("test")
    with pytest.raises(dedupe.WorkDirError, match="no summary"):
        Splits(tmp_path)
    run = deduplicate(tmp_path / "rows.parquet", tmp_path / "run")
    with pytest.raises(dedupe.WorkDirError, match="is the output of run, and not of split"):
        Splits(run.path)


def test_the_command(tmp_path):
    rows = tmp_path / "rows.jsonl"
    texts = [
        {"text": f"some words of the row {n} {n} {n}", "source": "ab"[n % 2]} for n in range(100)
    ]
    rows.write_text("".join(json.dumps(one) + "\n" for one in texts))
    out = tmp_path / "splits"
    done = command("split", rows, "--output", out, "--test", "20%", "--stratify", "source")
    assert done.returncode == 0, done.stderr
    assert "every such pair was found" in done.stdout
    assert Splits(out).summary["splits"]["test"] == 20
    shown = command("show", out)
    assert shown.stdout == done.stdout
    assert json.loads(command("show", out, "--json").stdout) == Splits(out).summary
    assert command("show", out, "--row", "0:1").returncode == 2
    banded = command(
        "split", rows, "--output", tmp_path / "b", "--recall", "0.9", "--quiet", "--json"
    )
    assert json.loads(banded.stdout)["settings"]["recall"] == 0.9
    assert command("split", rows, "--output", tmp_path / "c", "--test", "x").returncode == 2


def written(rows, path, form):
    """Write rows to a file of a format, as datasets knows it."""
    if form == "parquet":
        pq.write_table(rows, path)
    elif form == "arrow":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
    elif form == "csv":
        pa.csv.write_csv(rows, path)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows.to_pylist()).encode()
        path.write_bytes(gzip.compress(lines) if form == "jsonl.gz" else lines)


@pytest.mark.parametrize("form", ["parquet", "jsonl", "jsonl.gz", "csv", "arrow"])
def test_datasets_loads_what_apply_writes(form, tmp_path):
    import datasets

    rows = table(300, seed=6).select(["id", "text", "kind"])
    rows = rows.set_column(1, "text", rows["text"].fill_null("none"))
    for number, (start, end) in enumerate([(0, 150), (150, 151), (151, 300)]):
        path = tmp_path / f"rows {number}.{form}"
        written(rows.slice(start, end - start), path, form)
    paths = sorted(tmp_path.glob("rows*"))
    chosen = {"shingle": "word:2", "validation": "10%", "id": "id"}
    splits = dedupe.split(paths, tmp_path / "splits", **chosen)
    manifest = dedupe.apply(tmp_path / "splits", tmp_path / "data", tuning=FINE)
    assert manifest["rows"] == {n: splits.summary["splits"][n] for n in splits.names}
    found = datasets.load_dataset(str(tmp_path / "data"), cache_dir=str(tmp_path / "cache"))
    assert sorted(found) == ["test", "train", "validation"]
    for name in splits.names:
        chosen_rows = rows.filter(pa.array(splits.mask(name)))
        assert list(found[name]["id"]) == chosen_rows["id"].to_pylist()
        assert list(found[name]["text"]) == chosen_rows["text"].to_pylist()
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert f"test-00001-of-00002.{form}" in names or f"test-00002-of-00003.{form}" in names
    again = dedupe.apply(tmp_path / "splits", tmp_path / "data")
    assert {**again, "seconds": 0} == {**manifest, "seconds": 0}


def test_excluded_rows_are_not_applied_and_changes_are_errors(tmp_path):
    rows = table(200, seed=3)
    path = tmp_path / "rows.parquet"
    pq.write_table(rows, path)
    run = deduplicate(path, tmp_path / "out", shingle="word:2", threshold=0.6)
    splits = dedupe.split(tmp_path / "out", tmp_path / "splits")
    applied = dedupe.apply(tmp_path / "splits", tmp_path / "data")
    assert sum(applied["rows"].values()) == run.kept
    test = pq.read_table(tmp_path / "data" / "test-00000-of-00001.parquet")
    assert test.equals(rows.filter(pa.array(splits.mask("test"))))
    for more in ({"dropped": tmp_path / "more"}, {"add_columns": True}, {"rows_per_file": 3}):
        with pytest.raises(SettingsError, match="is a split"):
            dedupe.apply(tmp_path / "splits", tmp_path / "other", **more)
    with pytest.raises(SettingsError, match="lies in"):
        dedupe.apply(tmp_path / "splits", tmp_path / "splits" / "data")
    pq.write_table(rows.slice(1), path)
    with pytest.raises(dedupe.CorpusError, match="has changed"):
        dedupe.apply(tmp_path / "splits", tmp_path / "other")


def test_apply_of_a_split_goes_on(tmp_path):
    for number in range(4):
        pq.write_table(table(60, seed=number), tmp_path / f"{number}.parquet")
    paths = sorted(tmp_path.glob("*.parquet"))
    dedupe.split(paths, tmp_path / "splits", shingle="word:2")
    dedupe.apply(tmp_path / "splits", tmp_path / "whole")
    with pytest.raises(Killed):
        dedupe.apply(tmp_path / "splits", tmp_path / "data", progress=At("apply", done=1))
    assert not (tmp_path / "data").exists()
    dedupe.apply(tmp_path / "splits", tmp_path / "data")
    for path in (tmp_path / "whole").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "data" / path.name).read_bytes()
    assert command("apply", tmp_path / "splits", "--output", tmp_path / "c").returncode == 0


def nearest_of(sets, parts, least):
    """For each row of test and validation the similarity of its nearest row of train."""
    train = [i for i, part in enumerate(parts) if part == "train" and sets[i]]
    found = {}
    for i, part in enumerate(parts):
        if part in ("test", "validation"):
            every = (naive.jaccard(sets[i], sets[j]) for j in train if sets[i])
            best = max(every, default=0.0)
            found[i] = best if best >= least else 0.0
    return found


@pytest.mark.parametrize("tuning", [Tuning(), Tuning(join_memory=200_000, audit_rows=40)])
@pytest.mark.parametrize("leaky", [False, True])
def test_audit_finds_what_every_pair_does(leaky, tuning, tmp_path):
    for number in range(3):
        pq.write_table(table(120, seed=1).slice(number * 40, 40), tmp_path / f"{number}.parquet")
    bands = {"bands": 1, "rows": 20} if leaky else {}
    chosen = {"shingle": "word:2", "validation": "10%", "test": "20%", **bands}
    splits = dedupe.split(sorted(tmp_path.glob("*.parquet")), tmp_path / "splits", **chosen)
    found = dedupe.audit_splits(tmp_path / "splits", tuning=tuning, least=0.25)
    sets = sets_of(table(120, seed=1)["text"].to_pylist(), shingle="word:2")
    parts = splits.values()
    nearest = nearest_of(sets, parts, 0.25)
    leaks = Counter(parts[i] for i, best in nearest.items() if best >= 0.5)
    assert dict(found.leaks) == {name: leaks[name] for name in ("test", "validation")}
    assert found.ok == (not leaks)
    assert bool(leaks) == leaky
    for name in ("test", "validation"):
        edges = [0.25 + 0.05 * step for step in range(15)] + [1.0]
        counts = Counter()
        for i, best in nearest.items():
            if parts[i] == name:
                counts[sum(best >= round(edge, 4) for edge in edges)] += 1
        assert list(found.near[name].values()) == [counts[n] for n in range(17)]
    top = found.nearest[0]
    assert top["jaccard"] == max(nearest.values())
    rows = [int(path[-9]) * 40 + row for path, row in (top["row"], top["train"])]
    assert naive.jaccard(*(sets[row] for row in rows)) == top["jaccard"]
    assert (parts[rows[0]], parts[rows[1]]) == (top["split"], "train")
    done = command("audit", tmp_path / "splits", "--quiet", "--json")
    assert done.returncode == (1 if leaky else 0)
    assert json.loads(done.stdout)["leaks"] == dict(found.leaks)


def test_audit_of_a_split_that_was_killed_goes_on(tmp_path):
    pq.write_table(table(200, seed=1), tmp_path / "rows.parquet")
    dedupe.split(tmp_path / "rows.parquet", tmp_path / "splits", shingle="word:2")
    whole = dedupe.audit_splits(tmp_path / "splits")
    for stage in ("hold", "scan", "near"):
        with pytest.raises(Killed):
            dedupe.audit_splits(tmp_path / "splits", progress=At(stage, done=1))
        again = dedupe.audit_splits(tmp_path / "splits")
        assert {**again.as_json(), "seconds": 0} == {**whole.as_json(), "seconds": 0}
        assert not (tmp_path / "splits.audit.work").exists()


def test_audit_of_a_split_refuses_what_is_for_runs(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(table(60, seed=1), path)
    dedupe.split(path, tmp_path / "splits")
    with pytest.raises(SettingsError, match="is a split: use dedupe"):
        dedupe.audit(tmp_path / "splits")
    for least in (0, 0.6, True, "x"):
        with pytest.raises(SettingsError, match="least is"):
            dedupe.audit_splits(tmp_path / "splits", least=least)
    assert command("audit", tmp_path / "splits", "--full").returncode == 2
    deduplicate(path, tmp_path / "out")
    assert command("audit", tmp_path / "out", "--least", "0.5").returncode == 2
    done = command("audit", tmp_path / "splits")
    assert done.returncode == 0
    assert "no row of 6 in test leaks" in done.stdout
    pq.write_table(table(61, seed=1), path)
    with pytest.raises(dedupe.CorpusError, match="has changed"):
        dedupe.audit_splits(tmp_path / "splits")


def test_a_summary_made_by_hand_is_an_error_that_says_where(tmp_path):
    pq.write_table(table(50), tmp_path / "rows.parquet")
    dedupe.split(tmp_path / "rows.parquet", tmp_path / "out", stratify="kind")
    path = tmp_path / "out" / "summary.json"
    for keys, value, said in [
        (["corpus", "shards", 0, "split"], "splits/../../rows.parquet", "split is not a text like"),
        (["splits", "train"], 7, "splits is not of 50 rows"),
        (["reasons", "single"], -1, "reasons.single is not a count"),
        (["corpus", "shards", 0, "splits", "test"], 50, "corpus.shards.0.splits is not of 50"),
        (["settings", "threshold"], 0, "settings: threshold is 0"),
        (["asked"], None, "asked is not an object"),
    ]:
        summary = json.loads(path.read_bytes())
        place = summary
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        del summary["checksum"], summary["file"]
        other = tmp_path / "other"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(tmp_path / "out", other)
        (other / "summary.json").write_bytes(seal("splits", summary))
        with pytest.raises(dedupe.DamageError, match=said):
            Splits(other)


def test_rows_and_files_that_cannot_be_read_are_left_out(tmp_path):
    good = [json.dumps({"text": f"text {n} of row {n}", "kind": "ab"[n % 2]}) for n in range(60)]
    (tmp_path / "a.jsonl").write_text("\n".join([*good[:30], "{broken", *good[30:]]) + "\n")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 this is none")
    paths = sorted(tmp_path.glob("*.*"))
    skips = {"on_bad_row": "skip", "on_bad_file": "skip"}
    found = dedupe.split(paths, tmp_path / "splits", stratify="kind", test="20%", **skips)
    assert found.summary["splits"] == {"train": 48, "test": 12, "validation": 0, "excluded": 1}
    assert found.summary["reasons"]["unreadable"] == 1
    assert list(found.mask("excluded").nonzero()[0]) == [30]
    assert list(found.summary["corpus"]["left_out_files"]) == [str(tmp_path / "b.parquet")]
    assert dedupe.audit_splits(tmp_path / "splits").ok
    applied = dedupe.apply(tmp_path / "splits", tmp_path / "data")
    assert applied["rows"] == {"train": 48, "test": 12, "validation": 0}


def test_frames_lists_and_plain_text(tmp_path):
    rows = table(100, seed=8).select(["text", "kind"])
    wanted = dedupe.split(rows, stratify="kind", shingle="word:2").values()
    for frame in (rows.to_pandas(), rows.to_pylist(), polars.from_arrow(rows), rows.to_reader()):
        found = dedupe.split(frame, stratify="kind", shingle="word:2")
        assert (found.values() == wanted).all()
        assert found.mask("test").sum() == found.summary["splits"]["test"]
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"some line {n} of text {n}\n" for n in range(50)))
    found = dedupe.split(lines, tmp_path / "lines")
    dedupe.apply(tmp_path / "lines", tmp_path / "data")
    test = (tmp_path / "data" / "test-00000-of-00001.txt").read_text().splitlines()
    assert len(test) == found.summary["splits"]["test"] == 5
    (tmp_path / "files").mkdir()
    for number in range(20):
        (tmp_path / "files" / f"{number:02}.txt").write_text(f"text of file {number} {number}")
    dedupe.split(tmp_path / "files", tmp_path / "of files", unit="file")
    applied = dedupe.apply(tmp_path / "of files", tmp_path / "all")
    assert applied["rows"] == {"train": 18, "test": 2, "validation": 0}
    assert (tmp_path / "all" / "test-00001-of-00002.txt").exists()


def test_columns_of_other_types_link_and_stratify(tmp_path):
    rows = pa.table(
        {
            "text": [f"text {n} of row {n}" for n in range(200)],
            "user": pa.array([None if n % 3 else n // 6 for n in range(200)], pa.int64()),
            "other": pa.array([f"u{n // 4}" for n in range(200)]).dictionary_encode(),
            "flag": pa.array([n % 2 == 0 for n in range(200)]),
        }
    )
    found = dedupe.split(rows, test="50%", group=["user", "other"], stratify="flag")
    values = found.values()
    for n in range(0, 198, 6):
        assert len({values[n], values[n + 3]}) == 1
    for n in range(0, 200, 4):
        assert len(set(values[n : n + 4])) == 1
    assert {one["name"] for one in found.summary["strata"]} == {"flag False", "flag True"}
    alike = pa.table({"text": rows["text"], "one": rows["other"], "two": rows["other"]})
    apart = alike.set_column(2, "two", pa.array([f"u{(n + 2) // 4}" for n in range(200)]))
    sizes = [
        dedupe.split(one, test="50%", group=["one", "two"]).summary["clusters"]["4 to 5"]
        for one in (alike, apart.slice(0, 4))
    ]
    assert sizes[0] == 50


def test_languages_are_apart_with_within():
    rows = pa.table({"text": ["the very same words here"] * 40, "lang": ["a", "b"] * 20})
    found = dedupe.split(rows, test="50%", within="lang", threshold=0.9)
    values = found.values()
    assert found.summary["largest"][0]["rows"] == 20
    assert len(set(values[::2])) == len(set(values[1::2])) == 1


def test_an_empty_corpus_has_no_splits(tmp_path):
    found = dedupe.split(pa.table({"text": pa.array([], pa.string())}))
    assert sum(found.summary["splits"].values()) == 0
    (tmp_path / "a.jsonl").write_text("")
    found = dedupe.split(tmp_path / "a.jsonl", tmp_path / "out")
    assert found.rows == 0
    assert dedupe.apply(tmp_path / "out", tmp_path / "data")["files"] == []
    assert dedupe.audit_splits(tmp_path / "out").ok


STAGES = ("columns", "groups", "clusters", "gather", "name", "fill", "spread")
"""Those whose files later stages of a split read."""


@pytest.mark.parametrize("stage", STAGES)
def test_damaged_work_is_made_again(stage, tmp_path):
    pq.write_table(table(150, seed=5), tmp_path / "rows.parquet")
    chosen = {"shingle": "word:2", "group": "user", "stratify": "kind", "tuning": FINE}
    whole = dedupe.split(tmp_path / "rows.parquet", tmp_path / "whole", **chosen)

    done = []

    def damage():
        found = sorted((tmp_path / "work").glob(f"dedupe-*/{stage}/*.arrow"))
        for path in found if not done else ():
            done.append(path)
            data = bytearray(path.read_bytes())
            data[-9] ^= 1
            path.write_bytes(bytes(data))

    progress = At("write", damage)
    out, work = tmp_path / "out", tmp_path / "work"
    again = dedupe.split(
        tmp_path / "rows.parquet", out, work_dir=work, progress=progress, workers=1, **chosen
    )
    assert again.shards[0]["split_checksum"] == whole.shards[0]["split_checksum"]


def test_splits_in_a_store(store, tmp_path):
    pq.write_table(table(120, seed=5), tmp_path / "rows.parquet")
    here = dedupe.split(tmp_path / "rows.parquet", tmp_path / "splits", shingle="word:2")
    with fsspec.open("s3://bucket/in/rows.parquet", "wb") as file:
        file.write((tmp_path / "rows.parquet").read_bytes())
    there = dedupe.split("s3://bucket/in", "s3://bucket/splits", shingle="word:2")
    assert (there.values() == here.values()).all()
    assert dedupe.audit_splits("s3://bucket/splits", work_dir=tmp_path / "audit").ok
    applied = dedupe.apply("s3://bucket/splits", "s3://bucket/data")
    assert applied["rows"]["test"] == here.summary["splits"]["test"]
    assert fsspec.filesystem("s3").exists("s3://bucket/data/test-00000-of-00001.parquet")
    again = dedupe.split("s3://bucket/in", "s3://bucket/splits", shingle="word:2")
    assert again.summary == there.summary
