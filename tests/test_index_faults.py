"""Kills, damages and other writers: an index is the old one or the new one, and never decides
otherwise than it should."""

from __future__ import annotations

import json
import random
import shutil
import signal

import crawling
import damage
import pytest
from moments import At, Killed

import dedupe.indexing
import dedupe.summary
from dedupe import DedupeError, Index, Settings, SettingsError, deduplicate
from dedupe.commands.index.check import check_index
from dedupe.progress import Silent
from dedupe.storage.disk_files import DiskFiles

SETTINGS = Settings(text="text", id="id", threshold=0.6, within="lang")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A corpus of four crawls, and an index of the first two; `added` is one with the third."""
    folder = tmp_path_factory.mktemp("faults")
    rows = crawling.some_rows(random.Random(4), 80)
    for number, row in enumerate(rows[40:50]):  # of the third, and near to rows of the fourth
        words = [f"{word}-{number}" for word in crawling.VOCABULARY[:40]]
        for one, end in ((row, "one"), (rows[60 + number], "other")):
            one.update(text=" ".join([*words, end]), lang="a")
    parts = [[rows[:15], rows[15:20]], [rows[20:40]], [rows[40:50], rows[50:60]], [rows[60:]]]
    paths = crawling.written(folder / "corpus", parts)
    crawling.added(folder / "index", folder, paths[:2], SETTINGS)
    shutil.copytree(folder / "index", folder / "added")
    add(folder, folder / "added", 2, folder / "out")
    return folder


def files_of(here, crawl):
    return sorted(map(str, (here / "corpus").glob(f"crawl-{crawl}-*")))


def add(here, index, crawl, out, **how):
    return deduplicate(
        files_of(here, crawl), out, index=index, add=True, name=f"c{crawl}", workers=1, **how
    )


def keep_lists(out):
    return {path.name: path.read_bytes() for path in sorted((out / "keep").iterdir())}


def is_whole(index):
    """The index, of which nothing is wrong."""
    store = crawling.opened(index)
    checked = check_index(store, Silent())
    assert checked.problems == []
    return store


def same(store, other):
    """Whether two indexes say the same of each row, and bring the same rows together."""
    first = [{}, {}]
    classes = [
        [firsts.setdefault(one, row) for row, one in enumerate(crawling.classes(index))]
        for firsts, index in zip(first, (store, other), strict=True)
    ]
    assert classes[0] == classes[1]
    assert crawling.known(store) == crawling.known(other)
    assert crawling.places(store) == crawling.places(other)


# --- kills ------------------------------------------------------------------------------------

OPERATIONS = (
    "writing", "create", "settle", "remove", "remove_folder", "publish", "put_from", "make",
    "remove_unfinished", "remove_staged",
)  # fmt: skip
"""What changes a disk."""


class Kills:
    """Ends what this process does at an operation of files: none is done from then on.

    last: number of the operation that is not done; None to count alone. done: their names.
    """

    def __init__(self, patch, last=None):
        self.done, self._last = [], last
        for name in OPERATIONS:
            patch.setattr(DiskFiles, name, self._counted(name, getattr(DiskFiles, name)))

    def _counted(self, name, operation):
        def counted(files, *given, **named):
            self.done.append(name)
            if self._last is not None and len(self.done) >= self._last:
                raise Killed
            return operation(files, *given, **named)

        return counted


def counted(here, folder):
    """The operations of adding the third crawl."""
    shutil.copytree(here / "index", folder / "index")
    with pytest.MonkeyPatch.context() as patch:
        kills = Kills(patch)
        add(here, folder / "index", 2, folder / "out")
    return kills.done


def test_killed_before_any_operation_of_files_an_add_ends_when_it_is_given_again(here, tmp_path):
    expected, whole = keep_lists(here / "out"), crawling.opened(here / "added")
    (tmp_path / "counted").mkdir()
    operations = counted(here, tmp_path / "counted")
    assert {"writing", "create", "settle", "publish"} <= set(operations)
    committed = operations.index("create") + 1
    for last in range(1, len(operations) + 1):
        folder = tmp_path / str(last)
        folder.mkdir()
        index, out = damage.copied(here / "index", folder / "index"), folder / "out"
        with pytest.MonkeyPatch.context() as patch:
            Kills(patch, last)
            with pytest.raises(Killed):
                add(here, index, 2, out)
        store = is_whole(index)
        assert len(store.manifest.crawls) == (2 if last <= committed else 3)
        add(here, index, 2, out)
        assert keep_lists(out) == expected
        same(is_whole(index), whole)
        assert add(here, index, 2, out).rows == 20  # it is finished
        assert len(crawling.opened(index).manifest.crawls) == 3
        shutil.rmtree(folder)


def compacted(index, folder):
    Index(index).compact(purge_unused=True)


def removed(index, folder):
    Index(index).remove(ids=first_ids(index), revisions=folder / "revisions.parquet", workers=1)


def first_ids(index):
    """Ids of kept rows because of which others were dropped, of the first crawl."""
    rows = crawling.known(crawling.opened(index))
    because = sorted({row["witness"] for row in rows if row["witness"] >= 0})
    return sorted({str(rows[row]["id"]) for row in because[:4]})


@pytest.mark.parametrize("change", [compacted, removed])
def test_killed_before_any_operation_a_change_leaves_the_old_index_or_the_new(
    here, tmp_path, change
):
    (tmp_path / "whole").mkdir()
    index = damage.copied(here / "added", tmp_path / "whole" / "index")
    old = crawling.known(crawling.opened(index))
    with pytest.MonkeyPatch.context() as patch:
        kills = Kills(patch)
        change(index, tmp_path / "whole")
    after = is_whole(index)
    new = crawling.known(after)
    assert (old == new) == (change is compacted)
    count = len(kills.done)
    committed = kills.done.index("create") + 1
    some = random.Random(3).sample(range(1, count + 1), min(count, 12))
    for last in sorted({*some, *range(committed - 2, min(committed + 4, count + 1))}):
        folder = tmp_path / str(last)
        folder.mkdir()
        index = damage.copied(here / "added", folder / "index")
        with pytest.MonkeyPatch.context() as patch:
            Kills(patch, last)
            with pytest.raises(Killed):
                change(index, folder)
        assert crawling.known(is_whole(index)) in (old, new)
        if change is compacted or crawling.known(is_whole(index)) == old:
            change(index, folder)
        same(is_whole(index), after)
        shutil.rmtree(folder)


KILLED = """
import json, sys
from pathlib import Path
import moments, test_index_faults

here, folder, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
operations = moments.FileOperations(folder / "made", last or None)
test_index_faults.add(here, folder / "made" / "index", 2, folder / "made" / "out")
(folder / "counted").write_text(json.dumps(operations.done))
"""


def killed(here, folder, forks, last):
    """Add the third crawl in a process that is killed before an operation; how it ended."""
    damage.copied(here / "index", folder / "made" / "index")
    return forks.run(KILLED, here, folder, last)


def test_a_process_that_is_killed_leaves_the_old_index_or_the_new_one(here, tmp_path, forks):
    expected, whole = keep_lists(here / "out"), crawling.opened(here / "added")
    done = killed(here, tmp_path / "counting", forks, 0)
    assert done.returncode == 0, done.stderr
    operations = json.loads((tmp_path / "counting" / "counted").read_text())
    of_index = [n for n, one in enumerate(operations, 1) if "/made/index/" in one]
    draw = random.Random(7)
    manifests = [n for n in of_index if "/manifests" in operations[n - 1]]
    for last in {*draw.sample(of_index, 6), *manifests[-4:], *draw.sample(range(1, 40), 2)}:
        folder = tmp_path / str(last)
        done = killed(here, folder, forks, last)
        assert done.returncode == -signal.SIGKILL, done.stderr
        index, out = folder / "made" / "index", folder / "made" / "out"
        is_whole(index)
        add(here, index, 2, out)
        assert keep_lists(out) == expected
        same(is_whole(index), whole)
        shutil.rmtree(folder)


class Once:
    """Calls something before or behind the first call of a function."""

    def __init__(self, patch, where, name, *, before=None, behind=None):
        self._function, self._before, self._behind = getattr(where, name), before, behind
        patch.setattr(where, name, self)

    def __call__(self, *given, **named):
        before, behind, self._before, self._behind = self._before, self._behind, None, None
        if before is not None:
            before()
        answer = self._function(*given, **named)
        if behind is not None:
            behind()
        return answer


def kill():
    raise Killed


@pytest.mark.parametrize("others", [0, 1])
def test_a_run_that_is_in_the_index_is_not_added_again(here, tmp_path, monkeypatch, others):
    """It was killed between its commit and its output; others may have been added meanwhile."""
    index, out = damage.copied(here / "index", tmp_path / "index"), tmp_path / "out"
    Once(monkeypatch, dedupe.summary, "publish", before=kill)
    with pytest.raises(Killed):
        add(here, index, 2, out)
    assert len(is_whole(index).manifest.crawls) == 3
    assert not out.exists()
    if others:
        add(here, index, 3, tmp_path / "other")
    before = crawling.opened(index).manifest
    add(here, index, 2, out)
    assert crawling.opened(index).manifest == before
    assert keep_lists(out) == keep_lists(here / "out")


def pin_of(out):
    """The file that says what a run is held against."""
    (pin,) = out.with_name(f"{out.name}.work").glob(f"dedupe-*/{dedupe.indexing.PIN}")
    return pin


@pytest.mark.parametrize("name", ["c2", None])
def test_a_run_that_has_lost_what_it_was_held_against_is_not_added_again(
    here, tmp_path, monkeypatch, name
):
    index, out = damage.copied(here / "index", tmp_path / "index"), tmp_path / "out"
    how = {"index": index, "add": True, "name": name}
    Once(monkeypatch, dedupe.summary, "publish", before=kill)
    with pytest.raises(Killed):
        deduplicate(files_of(here, 2), out, **how)
    pin_of(out).unlink()
    with pytest.raises(SettingsError, match="has this run already"):
        deduplicate(files_of(here, 2), out, **how)
    assert len(is_whole(index).manifest.crawls) == 3


@pytest.mark.parametrize("pin", ["whole", "damaged", "missing"])
def test_a_killed_run_goes_on_behind_sign_where_another_was_added(here, tmp_path, pin):
    index, out = damage.copied(here / "index", tmp_path / "index"), tmp_path / "out"
    with pytest.raises(Killed):
        add(here, index, 3, out, progress=At("keep"))
    add(here, index, 2, tmp_path / "other")
    if pin == "missing":
        pin_of(out).unlink()
    elif pin == "damaged":
        pin_of(out).write_bytes(b"{}")
    progress = At("no stage")
    add(here, index, 3, out, progress=progress)
    assert any("has changed" in note for note in progress.notes) == (pin == "whole")
    in_order = damage.copied(here / "added", tmp_path / "in order")
    add(here, in_order, 3, tmp_path / "expected")
    assert keep_lists(out) == keep_lists(tmp_path / "expected")
    same(is_whole(index), is_whole(in_order))


# --- other writers ----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["pinned", "add", "commit"])
def test_the_second_of_two_writers_decides_again(here, tmp_path, monkeypatch, when):
    index = damage.copied(here / "index", tmp_path / "index")

    def other():
        add(here, index, 2, tmp_path / "first")

    moment = {"behind": other} if when == "pinned" else {"before": other}
    Once(monkeypatch, dedupe.indexing, when, **moment)
    add(here, index, 3, tmp_path / "second")
    crawls = crawling.opened(index).manifest.crawls
    assert [(one.name, one.first, one.rows) for one in crawls[2:]] == [
        ("c2", 40, 20),
        ("c3", 60, 20),
    ]
    assert keep_lists(tmp_path / "first") == keep_lists(here / "out")
    in_order = damage.copied(here / "added", tmp_path / "in order")
    add(here, in_order, 3, tmp_path / "expected")
    assert keep_lists(tmp_path / "second") == keep_lists(tmp_path / "expected")
    same(is_whole(index), is_whole(in_order))


def test_of_two_writers_of_one_name_the_second_is_refused(here, tmp_path, monkeypatch):
    index = damage.copied(here / "index", tmp_path / "index")

    def other():
        deduplicate(files_of(here, 2), tmp_path / "1", index=index, add=True, name="c3", workers=1)

    Once(monkeypatch, dedupe.indexing, "commit", before=other)
    with pytest.raises(SettingsError, match="has a crawl c3 already"):
        add(here, index, 3, tmp_path / "2")
    assert [one.name for one in is_whole(index).manifest.crawls] == ["c0", "c1", "c3"]


def test_a_reader_stays_with_the_manifest_it_began_with(here, tmp_path):
    index = damage.copied(here / "index", tmp_path / "index")
    expected = deduplicate(files_of(here, 3), tmp_path / "alone", index=index)
    with pytest.raises(Killed):
        deduplicate(files_of(here, 3), tmp_path / "out", index=index, progress=At("verify"))
    add(here, index, 2, tmp_path / "other")
    result = deduplicate(files_of(here, 3), tmp_path / "out", index=index)
    assert result.summary["index"]["manifest"] == 2
    assert keep_lists(tmp_path / "out") == keep_lists(tmp_path / "alone")
    assert result.kept == expected.kept


# --- damages ----------------------------------------------------------------------------------


def kept_against(here, index, out):
    deduplicate(files_of(here, 3), out, index=index, workers=1)
    return keep_lists(out)


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_index_is_an_error_that_names_the_file_or_decides_the_same(here, tmp_path, part):
    expected = kept_against(here, here / "added", tmp_path / "expected")
    errors = others = 0
    for number in range(30 * part, 30 * part + 30):
        random_ = random.Random(number)
        index = damage.copied(here / "added", tmp_path / f"index-{number}")
        files = damage.files_below(index)
        before = {path: path.read_bytes() for path in files}
        kind, path = random_.choice(damage.KINDS), random_.choice(files)
        newest = max(path for path in files if path.parent.name == "manifests")
        if kind is damage.delete and path == newest:
            continue  # an index without its newest manifest is the one that it was before
        if not kind(path, files, random_):
            continue
        touched = [one for one in files if not one.exists() or one.read_bytes() != before[one]]
        said = None
        try:
            decided = kept_against(here, index, tmp_path / f"out-{number}")
        except DedupeError as error:
            said = str(error)
        if said is None:
            assert decided == expected, (number, kind, path)
            others += 1
        else:
            assert any(str(one) in said for one in touched), (number, kind, path, said)
            errors += 1
    assert errors > 5
    assert others > 0


def test_tables_of_a_killed_add_that_a_power_cut_has_damaged_are_never_named(here, tmp_path):
    whole = crawling.opened(here / "added")
    left = tmp_path / "left"
    index, out = damage.copied(here / "index", left / "index"), left / "out"
    with pytest.MonkeyPatch.context() as patch:
        Once(patch, dedupe.indexing, "commit", before=kill)
        with pytest.raises(Killed):
            add(here, index, 2, out)
    kept = tmp_path / "kept"
    left.rename(kept)
    old = {path.relative_to(here) for path in damage.files_below(here / "index")}
    new = [path for path in damage.files_below(kept / "index") if path.relative_to(kept) not in old]
    assert len(new) >= 12
    for path in new:
        shutil.copytree(kept, left)
        cut = left / path.relative_to(kept)
        cut.write_bytes(cut.read_bytes()[:-100])
        add(here, index, 2, out)
        same(is_whole(index), whole)
        shutil.rmtree(left)
