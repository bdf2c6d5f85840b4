"""Rows are taken out of an index, decided again, and brought together; nothing is told wrong."""

from __future__ import annotations

import json
import re

import pyarrow.parquet as pq
import pytest

import dedupe.indexes
from dedupe import Index, SettingsError, WorkDirError, deduplicate
from dedupe.commands.index.compact import purge, unused
from dedupe.indexing import check_there

BASE = [f"w{number}" for number in range(60)]


def near(*places):
    """A text that is like the base but for some words."""
    return " ".join("other" if at in places else word for at, word in enumerate(BASE))


def write(path, *rows, column="text"):
    lines = (json.dumps({"id": name, column: text}) + "\n" for name, text in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def decided(result):
    return [(row["id"], row["reason"], row["witness_id"]) for row in result.keep_list().to_pylist()]


def changed(table):
    return [(row["id"], row["before"], row["now"]) for row in table.to_pylist()]


@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_a_row_that_is_kept_again_is_what_later_rows_are_held_against(tmp_path, recall):
    index = Index.create(tmp_path / "index", id="id", recall=recall)
    index.add(write(tmp_path / "a.jsonl", ("A", near())), name="a")
    index.add(write(tmp_path / "b.jsonl", ("B", near(7))), name="b")
    assert changed(index.remove(ids=["A"])) == [("A", "unique", "removed"), ("B", "near", "unique")]
    new = write(tmp_path / "c.jsonl", ("C", near(7, 30)), ("copy", near(7)))
    expected = [("C", "near", "B"), ("copy", "exact", "B")]
    assert decided(index.run(new)) == expected
    index.compact(purge_unused=True)
    assert decided(index.run(new)) == expected
    assert index.verify().ok
    assert changed(index.remove(shards=["b"])) == [("B", "unique", "removed")]
    assert [reason for _, reason, _ in decided(index.run(new))] == ["representative", "near"]


def test_rows_are_decided_again_as_their_crawl_was_read(tmp_path):
    index = Index.create(tmp_path / "index", id="id", text="text")
    index.add(write(tmp_path / "a.jsonl", ("A", near())), name="a")
    path = tmp_path / "b.jsonl"
    row = {"id": "B", "body": near(7), "text": "something else that nobody compares"}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    index.add(str(path), name="b", text="body")
    assert changed(index.remove(ids=["A"]))[1:] == [("B", "near", "unique")]
    again = write(tmp_path / "c.jsonl", ("C", near(7)))
    assert decided(index.run(again)) == [("C", "exact", "B")]


@pytest.mark.parametrize("how", ["gone", "changed", "unreadable"])
def test_rows_whose_file_is_not_as_it_was_are_orphans(tmp_path, how):
    index = Index.create(tmp_path / "index", id="id")
    index.add(write(tmp_path / "a.jsonl", ("A", near())), name="a")
    path = tmp_path / "b.jsonl"
    index.add(write(path, ("B", near(7))), name="b")
    if how == "gone":
        path.unlink()
    elif how == "changed":
        write(path, ("B", near(9)))
    else:
        path.chmod(0)
        if path.stat().st_mode & 0o777 or _can_read(path):
            pytest.skip("this user reads everything")
    assert changed(index.remove(ids=["A"])) == [("A", "unique", "removed"), ("B", "near", "orphan")]
    assert index.verify().orphans == 1
    assert index.verify().ok


def _can_read(path):
    try:
        path.read_bytes()
    except PermissionError:
        return False
    return True


def test_orphans_of_several_crawls_are_decided_in_their_order(tmp_path):
    index = Index.create(tmp_path / "index", id="id")
    index.add(write(tmp_path / "a.jsonl", ("A", near())), name="a")
    index.add(write(tmp_path / "b.jsonl", ("B", near(7))), name="b")
    index.add(write(tmp_path / "c.jsonl", ("C", near(8)), ("D", near(7))), name="c")
    table = index.remove(ids=["A"], revisions=tmp_path / "revisions.parquet")
    assert changed(table) == [
        ("A", "unique", "removed"),
        ("B", "near", "unique"),
        ("C", "near", "near"),
        ("D", "near", "exact"),
    ]
    witnesses = [row["witness_crawl"] for row in table.to_pylist()]
    assert witnesses == [None, None, "b", "b"]
    assert changed(pq.read_table(tmp_path / "revisions.parquet")) == changed(table)
    assert index.verify().ok


def test_nothing_is_removed_where_the_changes_cannot_be_written(tmp_path):
    index = Index.create(tmp_path / "index", id="id")
    index.add(write(tmp_path / "a.jsonl", ("A", near())), name="a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WorkDirError):
        index.remove(ids=["A"], revisions=tmp_path / "folder")
    assert index.kept == 1
    with pytest.raises(SettingsError, match="lies in the index"):
        index.remove(ids=["A"], revisions=tmp_path / "index" / "r.parquet")
    with pytest.raises(SettingsError, match="lies in the index"):
        index.counts(tmp_path / "index" / "manifests" / "00000001.json")
    assert index.kept == 1


def test_what_cannot_be_removed_is_said(tmp_path):
    index = Index.create(tmp_path / "index", id="id")
    index.add(write(tmp_path / "a.jsonl", ("1", near()), ("2", "two")), name="a")
    with pytest.raises(SettingsError, match="no row with the id 7"):
        index.remove(ids=["1", "7"])
    with pytest.raises(SettingsError, match="are lists"):
        index.remove(ids="12")
    with pytest.raises(SettingsError, match="are lists"):
        index.remove(shards="a")
    with pytest.raises(SettingsError, match="no file and no crawl b"):
        index.remove(shards=["b"])
    assert index.kept == 2
    assert len(index.remove(ids=["1"])) == 1
    assert len(index.remove(ids=["1"])) == 0  # it was removed before


def test_ids_and_groups_have_one_type(tmp_path):
    index = Index.create(tmp_path / "index", id="id", within="lang")
    row = {"id": 1, "lang": "en", "text": near()}
    index.add([row])
    with pytest.raises(SettingsError, match=r'column "id" is .*string here and int64 in the index'):
        index.add([{**row, "id": "007"}])
    with pytest.raises(SettingsError, match='column "lang" is integer here'):
        index.add([{**row, "lang": 1}])
    assert index.rows == 1


def test_a_snapshot_is_not_added_to(tmp_path):
    index = Index.create(tmp_path / "index")
    before = index.snapshot()
    index.add([{"text": near()}])
    with pytest.raises(SettingsError, match="a snapshot stays as it is"):
        deduplicate([{"text": near(3)}], index=before, add=True)
    assert before.rows == 0
    assert before.run([{"text": near()}]).kept == 1
    assert index.run([{"text": near()}]).kept == 0


def test_an_index_is_like_no_run_that_was_held_against_something(tmp_path):
    corpus = write(tmp_path / "a.jsonl", ("A", near()))
    deduplicate([corpus], tmp_path / "plain", id="id")
    assert Index.create(tmp_path / "index", like=tmp_path / "plain").kept == 1
    reference = write(tmp_path / "r.jsonl", ("R", near(3)))
    deduplicate([corpus], tmp_path / "held", id="id", against=reference)
    with pytest.raises(SettingsError, match="held against references"):
        Index.create(tmp_path / "other", like=tmp_path / "held")
    index = Index.open(tmp_path / "index")
    index.add([{"id": "M", "text": "rows in memory"}])
    with pytest.raises(SettingsError, match="in memory"):
        index.rebuild(tmp_path / "anew")
    assert not (tmp_path / "anew").exists()


def test_a_purge_spares_what_is_being_added_and_what_is_lost_is_noticed(tmp_path):
    index = Index.create(tmp_path / "index", id="id")
    for name in "ab":
        index.add(write(tmp_path / f"{name}.jsonl", (name, f"text {name} " * 20)), name=name)
    store = index._store()
    folder = tmp_path / "index" / "segments"
    recent = max(one.name for one in folder.iterdir())
    number = int(recent.partition("-")[0])
    (folder / f"{number}-00000000").mkdir()
    (folder / "1000000000-00000000").mkdir()
    assert unused(store.files, store.manifest)[0] == ["segments/1000000000-00000000"]
    assert purge(store.files, store.manifest) == 1
    assert (folder / f"{number}-00000000").exists()
    assert index.verify().ok
    segment = store.manifest.segments[0]
    check_there(store.files, segment)
    store.files.remove(segment.tables["text"][0].name)
    with pytest.raises(WorkDirError, match="was removed while it was not yet in the index"):
        check_there(store.files, segment)


def test_a_crawl_of_another_format_is_read_by_its_own(tmp_path):
    index = Index.create(tmp_path / "index", text="text")
    index.add([{"text": near()}])
    result = index.run([{"prompt": "", "body": near(3)}], text="body")
    assert result.kept == 0
    with pytest.raises(SettingsError, match=re.escape("rows of other fields are never duplicates")):
        index.run([{"instruction": "say it", "output": near()}], format="alpaca")


def test_an_index_of_many_segments_is_compacted_when_it_is_added_to(tmp_path, monkeypatch):
    monkeypatch.setattr(dedupe.indexes, "ADDED_AT_ONCE", 3)
    index = Index.create(tmp_path / "index")
    counts = []
    for number in range(8):
        index.add([{"text": near(number * 7)}])
        counts.append(len(index.manifest.segments))
    assert counts == [1, 2, 3, 2, 3, 2, 3, 2]
    assert [crawl.rows for crawl in index.crawls] == [1] * 8
    assert index.verify().ok
    monkeypatch.setattr(dedupe.indexes, "MOST_COMPACTED", 7)
    for _ in range(3):
        index.add([{"text": "other"}])
    assert len(index.manifest.segments) == 5
