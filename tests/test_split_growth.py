"""`dedupe split --previous`: the corpus grows, no row moves, and nothing leaks."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction

import fsspec
import naive
import naive_split
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe as command
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import At, Killed
from test_split import FINE, by_id, sets_of, table

import dedupe
from dedupe import SettingsError, Splits, Tuning
from dedupe.commands.split.job import FREE
from dedupe.commands.split.rounds import Related, settle
from dedupe.commands.split.tables import from_digits, in_digits


def cuts(rows: pa.Table, seed: int, parts: int) -> list[pa.Table]:
    """The first rows, more, and all of them, each in an order of its own."""
    random_ = random.Random(seed)
    bounds = sorted(random_.sample(range(1, len(rows)), parts - 1))
    grown = []
    for end in (*bounds, len(rows)):
        order = random_.sample(range(end), end)
        grown.append(rows.take(order))
    return grown


def check_grown(rows: pa.Table, before: Splits, after: Splits, *, group: bool, **chosen) -> None:
    """Every law of growth, against every pair of rows."""
    old, new = by_id(before), after.table().to_pylist()
    ids, users = rows["id"].to_pylist(), rows["user"].to_pylist()
    assert [row["id"] for row in new] == ids
    sets = sets_of(rows["text"].to_pylist(), **chosen)
    alike = naive_split.similar(sets, chosen["threshold"])

    def linked(i, j):
        return alike(i, j) or (group and bool(users[i]) and users[i] == users[j])

    known = {row["digest"]: row["split"] for row in old.values() if row["digest"]}
    for i, one in enumerate(ids):
        assert one not in old or old[one]["split"] == new[i]["split"], one
    stood = {i: known[row["digest"]] for i, row in enumerate(new) if row["digest"] in known}
    joined, between = naive_split.rounds(len(rows), stood, linked)
    for i in between | {i for i, split in stood.items() if split == "excluded"}:
        row = new[i]
        assert (row["split"], row["cluster"], row["reason"]) == ("excluded", None, "between")
        assert (row["witnesses"] is None) == (i in stood)
        assert i in stood or len({one["split"] for one in row["witnesses"]}) == 2
        for witness in row["witnesses"] or ():
            j = witness["row"]
            assert i != j
            assert linked(i, j)
            assert j in between or joined[j] == witness["split"]
            if witness["jaccard"] is not None:
                assert witness["jaccard"] == pytest.approx(float(naive.jaccard(sets[i], sets[j])))
    between |= {i for i, split in stood.items() if split == "excluded"}
    first = naive_split.components(len(rows), lambda i, j: not between & {i, j} and linked(i, j))
    inside = [i for i in range(len(rows)) if i not in between]
    sizes = Counter(first[i] for i in inside)
    has_text = {first[i] for i in inside if sets[i]}
    fixed: Counter[tuple[str, int]] = Counter()
    clusters = {}
    for i in inside:
        assert new[i]["witnesses"] is None
        if i in joined:
            assert new[i]["split"] == joined[i]
            assert new[i]["reason"] == ("pinned" if i in stood else "linked")
        if first[i] not in has_text or not (sets[i] or sizes[first[i]] > 1):
            assert new[i]["cluster"] is None
        elif i in joined:
            fixed[joined[i], 0] += 1
        else:
            name = clusters.setdefault(first[i], new[i]["cluster"])
            assert name == new[i]["cluster"]
            assert group or name <= new[i]["digest"]
    assert len(set(clusters.values())) == len(clusters)
    asked = after.summary["asked"]
    shares = [Fraction(str(asked[name])) for name in ("test", "validation")]
    sized = {name: (sizes[root], 0) for root, name in clusters.items()}
    expected = naive_split.fill(sized, len(inside), shares, asked["seed"], fixed)
    for root, name in clusters.items():
        assert new[root]["split"] == expected[name]


def grow(rows: pa.Table, seed: int, parts: int, tuning: Tuning, *, group: bool, **chosen) -> int:
    """Split, let the corpus grow, split again: how many rows were excluded in the end."""
    how = {"id": "id", "validation": "10%", "group": "user" if group else (), **chosen}
    how["tuning"] = tuning
    before = None
    for part in cuts(rows, seed, parts):
        after = dedupe.split(part, previous=before, seed=seed, **how)
        if before is not None:
            check_grown(part, before, after, group=group, **chosen)
        before = after
    return before.summary["reasons"]["between"]


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("tuning", [Tuning(), FINE], ids=["whole", "cut"])
def test_no_row_moves_and_nothing_leaks(threshold, group, tuning):
    rows = table(200, seed=int(threshold * 10))
    chosen = {"shingle": "word:2", "threshold": threshold}
    between = grow(rows, 3, 3, tuning, group=group, **chosen)
    assert between > 0 or threshold != 0.5


@settings(max_examples=20)
@given(
    st.integers(5, 60),
    st.integers(0, 1000),
    st.integers(2, 5),
    st.sampled_from([0.1, 0.3, 0.5, 1.0]),
    st.booleans(),
)
def test_growth_in_any_cuts(count, seed, parts, threshold, group):
    rows = table(count, seed=seed)
    grow(rows, seed, parts, Tuning(), group=group, shingle="word:1", threshold=threshold)


@settings(max_examples=200)
@given(st.randoms(use_true_random=False), st.sampled_from([0.3, 0.5, 0.8]), st.integers(1, 2))
def test_rounds_are_those_of_every_pair(random_, threshold, fields):
    count = random_.randint(1, 25)
    columns = random_.randint(0, 2)
    words = range(1, random_.choice([6, 12]))
    sets = [
        [frozenset(random_.sample(words, random_.randint(0, 5))) for _ in range(fields)]
        for _ in range(count)
    ]
    values = [[random_.choice([0, 0, 0, 1, 2, 3]) for _ in range(columns)] for _ in range(count)]

    def linked(i, j):
        alike = any(sets[i]) and any(sets[j])
        for one, other in zip(sets[i], sets[j], strict=True):
            alike = alike and (one == other or naive.jaccard(one, other) >= threshold)
        return alike or any(a and a == b for a, b in zip(values[i], values[j], strict=True))

    stood: dict[int, str] = {}
    for i in range(count):
        near = {stood[j] for j in stood if linked(i, j)}
        if random_.random() < 0.4 and len(near) < 2:
            stood[i] = near.pop() if near else random_.choice(naive_split.PARTS)
    hashes = [
        [word * 7919 + field * 1_000_003 for word in random_.sample(sorted(one), len(one))]
        for row in sets
        for field, one in enumerate(row)
    ]
    digests = [
        [[one * 17 + number, 5 * one] if one else [0, 0] for number, one in enumerate(row)]
        for row in values
    ]
    codes = [naive_split.PARTS.index(stood[i]) if i in stood else FREE for i in range(count)]
    related = Related(
        fields,
        np.arange(count) * 3 + 7,
        np.zeros(count, np.int64),
        np.array(codes, np.uint8),
        np.cumsum([0, *map(len, hashes)]),
        np.array([one for row in hashes for one in row], np.uint64),
        np.array(digests, np.uint64).reshape(count, columns, 2),
    )
    found = settle(related, threshold)
    joined, between = naive_split.rounds(count, stood, linked)
    for i in range(count):
        split = int(found.split[i])
        assert (split == 3) == (i in between)
        assert split == FREE if i not in joined | dict.fromkeys(between) else True
        assert i not in joined or naive_split.PARTS[split] == joined[i]
    assert sorted(found.between.tolist()) == sorted(between)
    for i, *pairs in zip(found.between, found.splits, found.witnesses, strict=True):
        assert pairs[0][0] < pairs[0][1]
        for split, position in zip(*pairs, strict=True):
            j = (int(position) - 7) // 3
            assert linked(i, j)
            assert j in between or joined[j] == naive_split.PARTS[split]
    free = [i for i in range(count) if i not in joined and i not in between]
    first = naive_split.components(count, lambda i, j: i in free and j in free and linked(i, j))
    assert [int(found.first[i]) for i in free] == [first[i] for i in free]


def test_digests_are_read_as_they_were_written():
    random_ = np.random.default_rng(1)
    high, low = random_.integers(0, 2**64, (2, 100), np.uint64)
    written = in_digits(high, low, np.arange(100) % 3 > 0)
    assert written.null_count == 34
    there = written.is_valid().to_numpy(zero_copy_only=False)
    one, other = from_digits(written.drop_null())
    assert (one == high[there]).all()
    assert (other == low[there]).all()
    for bad in ("0" * 31, "g" * 32, "A" * 32, ""):
        with pytest.raises(pa.ArrowInvalid, match="32 hexadecimal digits"):
            from_digits(pa.array(["0" * 32, bad]))


def bridge() -> tuple[pa.Table, pa.Table]:
    """Rows without relatives, and the same with a row that is like one of train and one of test."""
    rows = [[f"w{number}_{place}" for place in range(8)] for number in range(40)]
    first = pa.table(
        {"text": [" ".join(words) for words in rows], "user": list(map(str, range(40)))}
    )
    values = dedupe.split(first, shingle="word:1", test="20%").values()
    train, test = (int(np.flatnonzero(values == one)[0]) for one in ("train", "test"))
    between = " ".join([*rows[train], *rows[test]])
    more = {"text": [between, " ".join(rows[train][:6])], "user": ["40", "41"]}
    return first, pa.concat_tables([first, pa.table(more)])


def test_a_row_between_two_splits_is_excluded_and_names_both(tmp_path):
    first, grown = bridge()
    pq.write_table(first, tmp_path / "a.parquet")
    pq.write_table(grown.slice(40), tmp_path / "b.parquet")
    how = {"shingle": "word:1", "test": "20%"}
    before = dedupe.split(tmp_path / "a.parquet", tmp_path / "one", **how)
    assert "witnesses" not in before.table().schema.names
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    after = dedupe.split(paths, tmp_path / "two", previous=tmp_path / "one")
    assert after.settings.shingle == "word:1"
    assert after.summary["asked"]["test"] == 0.2
    assert after.summary["reasons"]["pinned"] == 40
    assert (after.values()[:40] == before.values()).all()
    row, joined = after.table_of(1).to_pylist()
    assert (row["split"], row["reason"]) == ("excluded", "between")
    assert [one["split"] for one in row["witnesses"]] == ["train", "test"]
    assert {one["shard"] for one in row["witnesses"]} == {str(tmp_path / "a.parquet")}
    assert [one["jaccard"] for one in row["witnesses"]] == [0.5, 0.5]
    assert (joined["split"], joined["reason"]) == ("train", "linked")
    assert dedupe.audit_splits(tmp_path / "two").ok
    applied = dedupe.apply(tmp_path / "two", tmp_path / "data")
    assert sum(applied["rows"].values()) == 41
    shown = command("show", str(tmp_path / "two"))
    assert "excluded: linked with rows of two splits" in shown.stdout
    again = dedupe.split(paths, tmp_path / "two", previous=before)
    assert again.summary == after.summary
    third = dedupe.split(paths, previous=after)
    assert third.table()["witnesses"].null_count == 42
    assert (third.values() == after.values()).all()


def test_growth_from_the_command_line(tmp_path):
    first, grown = bridge()
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    pq.write_table(first, corpus / "a.parquet")
    shared = ("--shingle", "word:1", "--test", "20%", "-q")
    command("split", str(corpus), "-o", str(tmp_path / "one"), *shared)
    pq.write_table(grown.slice(40), corpus / "b.parquet")
    out = ("-o", str(tmp_path / "two"), "--previous", str(tmp_path / "one"))
    found = command("split", str(corpus), *out)
    assert "stays where it stood in the earlier split" in found.stdout
    assert Splits(tmp_path / "two").summary["reasons"]["between"] == 1


def test_what_links_rows_must_be_as_before(tmp_path):
    first, grown = bridge()
    before = dedupe.split(first, shingle="word:1", test="20%")
    with pytest.raises(
        SettingsError, match=r"threshold is 0\.6, and was 0\.5 in the earlier split"
    ):
        dedupe.split(grown, previous=before, threshold=0.6)
    with pytest.raises(SettingsError, match="shingle is word:2, and was word:1 in"):
        dedupe.split(grown, previous=before, shingle="word:2")
    with pytest.raises(SettingsError, match="group is user, and was not given in the"):
        dedupe.split(grown, previous=before, group="user")
    with pytest.raises(SettingsError, match="within is user, and was not given in the"):
        dedupe.split(grown, previous=before, within="user")
    with pytest.raises(SettingsError, match="text is user, and was not given in the earlier"):
        dedupe.split(grown, previous=before, text="user")
    with pytest.raises(SettingsError, match="compare is all, and was asked in the earlier split"):
        dedupe.split(grown, previous=before, compare="all")
    with pytest.raises(SettingsError, match="the earlier split compared"):
        dedupe.split(pa.table({"prompt": ["a"], "completion": ["b"]}), previous=before)
    with pytest.raises(SettingsError, match="none of the 40 rows of the earlier split is in the"):
        dedupe.split(pa.table({"text": ["something else"] * 5}), previous=before)
    with pytest.raises(dedupe.WorkDirError, match="no summary"):
        dedupe.split(grown, previous=tmp_path)
    run = dedupe.deduplicate(grown)
    with pytest.raises(dedupe.WorkDirError, match="is the output of run, and not of split"):
        dedupe.split(grown, previous=run.path)
    for same in ({"threshold": 0.5, "shingle": "word:1"}, {"test": "30%"}, {"recall": 0.99}):
        assert dedupe.split(grown, previous=before, **same).summary["reasons"]["pinned"] == 40


def test_rows_that_are_gone_are_told():
    first, grown = bridge()
    before = dedupe.split(first, shingle="word:1", test="20%")
    after = dedupe.split(grown.slice(5), previous=before)
    (warning,) = (one for one in after.summary["warnings"] if "not in the corpus" in one)
    assert warning.startswith("5 rows of the earlier split are not in the corpus")


def test_a_share_of_the_new_rows_goes_to_each_split():
    rows = pa.table({"text": [f"text {n} of {n * 7} and {n * 11}" for n in range(3000)]})
    before = dedupe.split(rows.slice(0, 1000), test="10%", validation="5%")
    after = dedupe.split(rows, previous=before)
    assert after.summary["splits"] == {"train": 2550, "test": 300, "validation": 150, "excluded": 0}
    more = dedupe.split(rows, previous=before, test="20%")
    assert more.summary["splits"]["test"] == 600
    assert set(np.flatnonzero(before.mask("test"))) < set(np.flatnonzero(more.mask("test")))


def test_kept_rows_of_a_run_grow(tmp_path):
    rows = table(300, seed=4)
    how = {"shingle": "word:2", "threshold": 0.5, "test": "20%", "id": "id"}
    before = None
    for number, end in enumerate((150, 300)):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(rows.slice(0, end), path)
        dedupe.deduplicate(path, tmp_path / f"run{number}", shingle="word:2", id="id")
        run = tmp_path / f"run{number}"
        after = dedupe.split(run, tmp_path / f"splits{number}", previous=before, **how)
        assert dedupe.audit_splits(after.path).ok
        if before is not None:
            old, new = by_id(before), by_id(after)
            kept = [one for one in old if old[one]["reason"] != "duplicate"]
            stay = [one for one in kept if new[one]["reason"] != "duplicate"]
            assert len(stay) > 100
            assert all(old[one]["split"] == new[one]["split"] for one in stay)
        before = after


@pytest.mark.parametrize("stage", ["earlier", "keys", "pin", "clusters", "relate", "rounds"])
def test_growth_that_was_killed_or_damaged_goes_on(stage, tmp_path):
    rows = table(200, seed=5)
    for number in range(3):
        pq.write_table(rows.slice(number * 70, 70), tmp_path / f"{number}.parquet")
    paths = sorted(tmp_path.glob("*.parquet"))
    chosen = {"shingle": "word:2", "group": "user", "tuning": FINE}
    before = dedupe.split(paths[:2], tmp_path / "before", **chosen)
    chosen = {"previous": before, "tuning": FINE}
    whole = dedupe.split(paths, tmp_path / "whole", **chosen)
    assert whole.summary["reasons"]["between"] > 0
    checksums = [one["split_checksum"] for one in whole.shards]
    out = tmp_path / "out"
    with pytest.raises(Killed):
        dedupe.split(
            paths, out, **chosen, progress=At(stage, done=1 if stage != "clusters" else None)
        )
    again = dedupe.split(paths, out, **chosen)
    assert again.summary["stages"]["sign"]["resumed"] > 0
    assert [one["split_checksum"] for one in again.shards] == checksums

    def damage():
        for path in sorted((tmp_path / "work").glob(f"dedupe-*/{stage}/*.arrow")):
            if stage not in damaged:
                data = bytearray(path.read_bytes())
                data[-9] ^= 1
                path.write_bytes(bytes(data))
                damaged.append(stage)

    damaged: list[str] = []
    how = {"work_dir": tmp_path / "work", "progress": At("write", damage), "workers": 1}
    mended = dedupe.split(paths, tmp_path / "mended", **how, **chosen)
    assert damaged
    assert [one["split_checksum"] for one in mended.shards] == checksums


def test_growth_in_a_store(store, tmp_path):
    first, grown = bridge()
    for name, rows in (("a", first), ("b", grown.slice(40))):
        with fsspec.open(f"s3://bucket/in/{name}.parquet", "wb") as file:
            pq.write_table(rows, file)
    how = {"shingle": "word:1", "test": "20%"}
    dedupe.split("s3://bucket/in/a.parquet", "s3://bucket/one", **how)
    after = dedupe.split("s3://bucket/in", tmp_path / "two", previous="s3://bucket/one")
    assert after.summary["reasons"] | {"pinned": 40, "between": 1} == after.summary["reasons"]
