"""Commands that read the output of a run over an index: earlier witnesses, and their texts."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter

import naive
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import dedupe as command
from commands import in_one_line
from moments import At, Killed

import dedupe
from dedupe import DamageError, Index, Result, Settings, SettingsError, Tuning, WorkDirError
from dedupe.indexing import begin_index
from dedupe.result import SUMMARY
from dedupe.storage.checksums import checksum, seal, unseal

WORDS = [f"word{number}" for number in range(300)]
CUT = Tuning(task_text=4_000, task_rows=15, audit_text=3_000, audit_rows=12, join_memory=40_000)
HOW = {"workers": 2}


def text_of(random_):
    return " ".join(random_.choice(WORDS) for _ in range(50))


def edited(text, word):
    return " ".join([*text.split()[:-1], word])


def write(path, texts):
    path.parent.mkdir(exist_ok=True)
    lines = (
        {"id": f"{path.parent.name}-{path.stem}-{row}", "text": text, "lang": path.stem}
        for row, text in enumerate(texts)
    )
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


class Crawls:
    """Two crawls, added to an index, and the output of each; and the second held against it.

    texts: of each crawl and file the texts of its rows. Of `feb`, row 10 of a is like a row of jan,
    11 is equal to one, 12 like one of jan's other file, 13 like one of feb, 14 like a row of jan
    that was dropped there because of another, and 15 equal to 10.
    """

    def __init__(self, folder, **settings):
        random_ = random.Random(5)
        self.folder, self.index = folder, folder / "idx"
        old, new = ([text_of(random_) for _ in range(40)] for _ in range(2))
        jan_a = [*old[:20], edited(old[0], "other"), old[1]]
        feb_a = [*new[:10], edited(old[2], "changed"), old[5], edited(old[25], "changed")]
        feb_a += [edited(new[0], "changed"), edited(old[0], "third"), edited(old[2], "changed")]
        self.texts = {
            ("jan", "a"): jan_a,
            ("jan", "b"): [*old[20:], old[3]],
            ("feb", "a"): feb_a,
            ("feb", "b"): [*new[20:], "  ", old[30]],
        }
        for (crawl, name), texts in self.texts.items():
            write(folder / crawl / f"{name}.jsonl", texts)
        begin_index(str(self.index), Settings(text="text", id="id", **settings))
        how = {**HOW, "index": self.index, "add": True}
        self.jan = dedupe.deduplicate(folder / "jan", folder / "jan-out", name="jan", **how)
        self.feb = dedupe.deduplicate(folder / "feb", folder / "feb-out", name="feb", **how)
        self.held = dedupe.deduplicate(
            folder / "feb", folder / "held-out", against=str(self.index), **HOW
        )

    def text(self, crawl, path, row):
        """The text of a row that a keep-list of feb names."""
        name = path.rpartition("/")[2].removesuffix(".jsonl")
        return self.texts[crawl or "feb", name][row]

    def copied(self, folder):
        """The index and the output of feb elsewhere, the summary of which names that index."""
        index, out = folder / "idx", folder / "feb-out"
        shutil.copytree(self.index, index)
        shutil.copytree(self.feb.path, out)
        changed_summary(out, lambda summary: summary["index"].update(path=str(index)))
        return index, out


def changed_summary(out, change):
    """Change the summary of an output, and seal it again."""
    path = out / SUMMARY
    summary = unseal("summary", path.read_bytes(), str(path))
    change(summary)
    path.write_bytes(seal("summary", summary))


def changed_keep_list(out, number, change):
    """Change the rows of a keep-list as plain values, and what the summary says of its file."""
    path = Result(out).files[number]
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    data = path.read_bytes()
    told = {"keep_size": len(data), "keep_checksum": checksum(data)}
    changed_summary(out, lambda summary: summary["corpus"]["shards"][number].update(told))


@pytest.fixture(scope="module")
def crawls(tmp_path_factory):
    return Crawls(tmp_path_factory.mktemp("crawls"))


def dropped(result):
    table = result.keep_list()
    return table.filter(pc.invert(table["keep"])).to_pylist()


# --- rows and their witnesses -----------------------------------------------------------------


def test_keep_lists_name_earlier_witnesses(crawls):
    named = {
        (row["row"], row["reason"], row["witness_crawl"], row["witness_id"])
        for row in dropped(crawls.feb)
    }
    assert named == {
        (10, "near", "jan", "jan-a-2"),
        (11, "exact", "jan", "jan-a-5"),
        (12, "near", "jan", "jan-b-5"),
        (13, "near", None, "feb-a-0"),
        (14, "near", "jan", "jan-a-0"),
        (15, "near", "jan", "jan-a-2"),
        (21, "exact", "jan", "jan-b-10"),
    }
    assert {row["reason"] for row in dropped(crawls.held)} == {"reference"}


@pytest.mark.parametrize("which", ["feb", "held"])
def test_pairs_have_the_text_of_the_index(crawls, which):
    result = getattr(crawls, which)
    pairs = result.pairs(1_000).to_pylist()
    assert len(pairs) == result.rows - result.kept
    for pair in pairs:
        own = crawls.text(None, pair["shard"], pair["row"])
        its = crawls.text(pair["witness_crawl"], pair["witness_shard"], pair["witness_row"])
        assert (pair["text"], pair["witness_text"]) == (own, its)
        sets = (naive.word_shingles(text, 5) for text in (own, its))
        assert pair["jaccard"] == naive.jaccard(*sets)
        assert (pair["differs"] is None) == (pair["witness_crawl"] is not None)


def test_pairs_by_a_column_that_an_index_has_not(crawls):
    pairs = crawls.feb.pairs(1_000, by="lang").to_pylist()
    for pair in pairs:
        assert pair["by"] in {"a", "b"}
        assert (pair["witness_by"] is None) == (pair["witness_crawl"] is not None)


def test_show(crawls):
    out = crawls.feb.path
    shown = in_one_line(command("show", out).stdout)
    assert "43 earlier rows, 40 of them kept" in shown
    assert "6 duplicates dropped added to the index as feb" in shown
    shown = in_one_line(command("show", crawls.held.path).stdout)
    assert "rows that stay untouched" in shown
    assert "dropped: a duplicate of a reference" in shown
    shown = in_one_line(command("show", out, "--pairs", 20, "--full").stdout)
    assert f"because of row 2 of {crawls.folder}/jan/a.jsonl in the crawl jan ('jan-a-2')" in shown
    shown = in_one_line(command("show", out, "--row", "0:12").stdout)
    assert f"with the kept row 5 of {crawls.folder}/jan/b.jsonl in the crawl jan" in shown
    found = json.loads(command("show", out, "--row", "0:12", "--json").stdout)
    assert found["witness_crawl"] == "jan"
    assert found["witness_text"] == crawls.texts["jan", "b"][5]
    assert json.loads(command("show", out, "--json").stdout)["index"]["dropped"] == 6


def test_fields_of_several(tmp_path):
    """A chat has a prompt and an answer: texts of an index are told apart by their names."""

    def row(answer):
        turns = [("user", "what is it that you say"), ("assistant", answer)]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    answer = text_of(random.Random(1))
    for name, one in (("jan", answer), ("feb", edited(answer, "changed"))):
        (tmp_path / f"{name}.jsonl").write_text(f"{json.dumps(row(one))}\n", encoding="utf-8")
    begin_index(str(tmp_path / "idx"), Settings())
    how = {**HOW, "index": tmp_path / "idx", "add": True}
    dedupe.deduplicate(tmp_path / "jan.jsonl", tmp_path / "one", **how)
    found = dedupe.deduplicate(tmp_path / "feb.jsonl", tmp_path / "two", **how)
    (pair,) = found.pairs().to_pylist()
    assert edited(pair["witness_text_answer"], "changed").split() == pair["text_answer"].split()
    assert answer in pair["witness_text_answer"]
    assert pair["text_prompt"] == pair["witness_text_prompt"] != ""
    shown = json.loads(command("show", found.path, "--row", "0:0", "--json").stdout)
    assert shown["witness_text"].endswith(f"answer:\n{pair['witness_text_answer']}")
    assert dedupe.audit(found.path, **HOW).ok


# --- commands on the output -------------------------------------------------------------------


def test_report(crawls, tmp_path):
    page = tmp_path / "report.html"
    found = crawls.feb.report(page)
    assert found["index"] == crawls.feb.summary["index"]
    told = Counter()
    for one in found["because_of"]:
        told[one["source"].rpartition("/")[2], one.get("crawl")] += one["dropped"]
    assert told == {("a.jsonl", "jan"): 5, ("a.jsonl", None): 1, ("b.jsonl", "jan"): 1}
    assert len(found["pairs"]) == 7
    for pair in found["pairs"]:
        assert ("crawl" in pair["witness"]) == (pair["row"]["row"] != 13)
    assert [one["rows"] for one in found["largest"]] == [2]
    assert "the crawl <bdi>jan</bdi>" in page.read_text(encoding="utf-8")
    lines = (tmp_path / "report.pairs.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("verdict,witness_crawl")
    assert Counter(line.rpartition(",")[2] for line in lines[1:]) == {"jan": 6, "": 1}
    again = dedupe.report(crawls.feb, page, verdicts=tmp_path / "report.pairs.csv")
    assert again["verdicts"]["precision"] is None
    assert dedupe.report(crawls.held, page)["because_of"]
    with pytest.raises(SettingsError, match="a sweep knows none"):
        dedupe.report(crawls.feb, page, thresholds=[0.7, 0.9])
    with pytest.raises(SettingsError, match="over or into"):
        dedupe.report(crawls.feb, crawls.index / "report.html")


def test_a_source_that_earlier_rows_took_away(crawls, tmp_path):
    write(tmp_path / "mar" / "a.jsonl", [crawls.texts["jan", "a"][5]] * 3)
    out = tmp_path / "out"
    found = dedupe.deduplicate(tmp_path / "mar", out, index=crawls.index, **HOW)
    told = found.report(tmp_path / "report.html")["because_of"]
    (one,) = told
    assert (one["crawl"], one["dropped"], one["is_gone"]) == ("jan", 3, True)


def test_edges(crawls, tmp_path):
    found = crawls.feb.edges(tmp_path / "edges.parquet").table().to_pylist()
    starts = {("jan", "a"): 0, ("jan", "b"): 22}
    expected = []
    for row in dropped(crawls.feb):
        left = row["row"] + 16 * row["shard"].endswith("b.jsonl")
        right = row["witness_row"]
        if row["witness_crawl"] is not None:
            name = row["witness_shard"][-7]
            right += crawls.feb.rows + starts[row["witness_crawl"], name]
        expected.append((left, right, row["witness_crawl"], row["witness_shard"]))
    names = ("left", "right", "right_crawl", "right_shard")
    assert [tuple(one[name] for name in names) for one in found] == expected
    assert len(dedupe.edges(crawls.held.path, tmp_path / "held.parquet")) == len(
        dropped(crawls.held)
    )
    with pytest.raises(SettingsError, match="held against an index: other pairs"):
        crawls.feb.edges(tmp_path / "more.parquet", least=0.5)
    with pytest.raises(SettingsError, match="choose a place outside"):
        crawls.feb.edges(crawls.index / "edges.parquet")


def test_apply(crawls, tmp_path):
    clean, rest = tmp_path / "clean", tmp_path / "rest"
    dedupe.apply(crawls.feb.path, clean, dropped=rest, copies_column="copies", **HOW)

    def rows_in(folder):
        files = sorted(folder.glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    ids = [row["id"] for row in rows_in(clean)]
    assert ids == crawls.feb.ids().to_pylist()
    assert len(ids) == crawls.feb.kept == crawls.feb.mask().sum()
    assert sum(row["copies"] for row in rows_in(clean)) == crawls.feb.rows - 6
    told = {row["id"]: row["dedupe_witness_crawl"] for row in rows_in(rest)}
    assert told == {row["id"]: row["witness_crawl"] for row in dropped(crawls.feb)}
    dedupe.apply(crawls.feb.path, tmp_path / "all", add_columns=True, **HOW)
    marked = rows_in(tmp_path / "all")
    assert [row["dedupe_witness_crawl"] for row in marked] == (
        crawls.feb.keep_list()["witness_crawl"].to_pylist()
    )
    dedupe.apply(crawls.feb.path, tmp_path / "twice", repeat="1:2", **HOW)
    assert len(rows_in(tmp_path / "twice")) == 2 * crawls.feb.kept
    with pytest.raises(SettingsError, match="choose a place outside"):
        dedupe.apply(crawls.feb.path, crawls.index / "clean", **HOW)


def test_apply_says_that_rows_stay_in_the_index(crawls, tmp_path):
    _, out = crawls.copied(tmp_path)
    dedupe.find_problems(out, **HOW)
    done = command("apply", out, "-o", tmp_path / "clean", "--without-problems", "empty")
    assert done.returncode == 0
    assert "the run was added to an index: rows that are left out here stay" in done.stderr


def test_batches(tmp_path):
    texts = [text_of(random.Random(seed)) for seed in range(4)]
    pq.write_table(pa.table({"text": texts[:3]}), tmp_path / "jan.parquet")
    pq.write_table(pa.table({"text": [texts[3], texts[0]]}), tmp_path / "feb.parquet")
    begin_index(str(tmp_path / "idx"), Settings(text="text"))
    how = {**HOW, "index": tmp_path / "idx", "add": True}
    dedupe.deduplicate(tmp_path / "jan.parquet", tmp_path / "one", **how)
    found = dedupe.deduplicate(tmp_path / "feb.parquet", tmp_path / "two", **how)
    assert pa.Table.from_batches(found.batches())["text"].to_pylist() == [texts[3]]
    assert found.copies().tolist() == [1]


# --- audit ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"sample": 5}, {"full": True}], ids=["all", "some", "blocks"])
@pytest.mark.parametrize("which", ["jan", "feb", "held"])
def test_audit_holds_rows_against_the_index(crawls, tmp_path, which, how):
    result = getattr(crawls, which)
    found = dedupe.audit(result.path, work_dir=tmp_path / "work", tuning=CUT, **HOW, **how)
    assert found.ok, found.faults
    assert found.wrongly_dropped.count == 0
    assert found.taken_out == 0
    share, other = found.beside_earlier, found.beside_reference
    share, other = (other, share) if which == "held" else (share, other)
    assert other is None
    assert share.count == 0
    if "sample" not in how:
        assert found.wrongly_dropped.of == len(dropped(result))
        assert share.of == result.kept


@pytest.mark.parametrize("cluster", ["bands", "join"])
def test_audit_sees_kept_rows_beside_earlier_ones(tmp_path, cluster):
    crawls = Crawls(tmp_path, **({} if cluster == "bands" else {"recall": "exact"}))
    _, out = crawls.copied(tmp_path / "copy")

    def keep(rows):
        rows[11] |= dict.fromkeys(
            ("witness_shard", "witness_row", "witness_id", "witness_crawl", "jaccard", "lost")
        )
        rows[11] |= {"keep": True, "reason": "unique", "copies": 1, "copies_exact": 1}

    changed_keep_list(out, 0, keep)

    def counted(summary):
        summary["reasons"]["unique"] += 1
        summary["reasons"]["exact"] -= 1
        summary["index"]["dropped"] -= 1

    changed_summary(out, counted)
    found = dedupe.audit(out, **HOW)
    assert found.broken["no survivors"] == {"pairs of a kept row and an earlier one": 1}
    (place,) = found.examples["pairs of a kept row and an earlier one"]
    assert place[1] == [f"{tmp_path}/jan/a.jsonl", 5, "jan"]
    assert found.beside_earlier.count == 1
    done = command("audit", out)
    assert done.returncode == 1
    assert f"row 5 of {tmp_path}/jan/a.jsonl in the crawl jan" in in_one_line(done.stdout)


WRONG = {
    "another jaccard": ({"jaccard": 0.9}, "witness", "similarity is not the exact one"),
    "another row": ({"witness_row": 6}, "witness", "exact similarity is too low"),
    "no such row": ({"witness_row": 99}, "witness", "no witness"),
    "no such crawl": ({"witness_crawl": "may"}, "witness", "no witness"),
    "of the corpus": ({"witness_crawl": None}, "witness", "no witness"),
    "a dropped row": ({"witness_row": 20}, "witness", "witness not kept"),
    "a reference": ({"reason": "reference"}, "witness", "reason does not fit"),
    "in a cluster": ({"cluster": 3}, "witness", "reason does not fit"),
}


@pytest.mark.parametrize(("change", "guarantee", "kind"), WRONG.values(), ids=WRONG)
def test_audit_sees_what_is_not_so(crawls, tmp_path, change, guarantee, kind):
    _, out = crawls.copied(tmp_path)
    changed_keep_list(out, 0, lambda rows: rows[10].update(change))
    found = dedupe.audit(out, **HOW)
    assert kind in found.broken[guarantee]
    assert not found.ok


def test_audit_without_the_index(crawls, tmp_path):
    index, out = crawls.copied(tmp_path)
    shutil.rmtree(index)
    with pytest.raises(WorkDirError, match="is gone, the index that the run was held against"):
        dedupe.audit(out, **HOW)
    with pytest.raises(WorkDirError, match="is gone"):
        Result(out).pairs()
    assert command("show", out, "--row", "0:12").returncode == 2
    assert command("show", out).returncode == 0  # which needs no texts
    begin_index(str(index), Settings(text="text", id="id"))
    with pytest.raises(WorkDirError, match="is another index than the one"):
        dedupe.audit(out, **HOW)


def test_damage_of_the_index_is_seen(crawls, tmp_path):
    index, out = crawls.copied(tmp_path)
    found = list(index.glob("segments/*/text-*.arrow"))
    for path in found:
        data = bytearray(path.read_bytes())
        data[-len(data) // 3] ^= 1
        path.write_bytes(data)
    for read in (lambda: dedupe.audit(out, **HOW), lambda: Result(out).pairs()):
        with pytest.raises(DamageError) as caught:
            read()
        assert caught.value.path in map(str, found)


def test_an_index_that_was_compacted_is_as_good(crawls, tmp_path):
    index, out = crawls.copied(tmp_path)
    assert Index.open(index).compact(purge_unused=True)
    result = Result(out)
    assert not result.earlier.is_as_it_was
    assert result.pairs(1_000).equals(crawls.feb.pairs(1_000))
    whole = {**dedupe.audit(crawls.feb.path, **HOW).as_json(), "seconds": 0}
    assert {**dedupe.audit(out, **HOW).as_json(), "seconds": 0} == whole


def test_a_witness_that_was_taken_out(crawls, tmp_path):
    index, out = crawls.copied(tmp_path)
    opened = Index.open(index)
    opened.remove(ids=["jan-a-2"])
    assert dedupe.audit(out, **HOW).taken_out == 0  # the run was held against what was before
    Index.open(index).compact(purge_unused=True)
    found = dedupe.audit(out, **HOW)
    assert found.ok, found.faults
    assert found.taken_out == 2
    assert found.wrongly_dropped.of == len(dropped(crawls.feb)) - 2
    done = command("audit", out)
    assert "2 dropped rows cannot be verified" in in_one_line(done.stdout)
    pairs = {row["row"]: row["witness_text"] for row in Result(out).pairs(1_000).to_pylist()}
    assert pairs[10] is None
    assert pairs[12] == crawls.texts["jan", "b"][5]
    shown = command("show", out, "--row", "0:10").stdout
    assert "(taken out of the index)" in shown


# --- what is refused --------------------------------------------------------------------------


def test_an_index_is_no_corpus(crawls, tmp_path):
    index, corpus, out = str(crawls.index), str(crawls.folder / "feb"), tmp_path / "out"
    for ask in (
        lambda: dedupe.deduplicate(index, out),
        lambda: dedupe.deduplicate([corpus, index], out),
        lambda: dedupe.deduplicate(corpus, out, evals=index),
        lambda: dedupe.decontaminate(corpus, evals=index, output=out),
        lambda: dedupe.split(index, out),
        lambda: dedupe.sweep(corpus, [0.7, 0.9], against=index),
        lambda: dedupe.report(index, tmp_path / "report.html"),
    ):
        with pytest.raises(SettingsError, match="is an index, and no corpus"):
            ask()
    assert "is an index, and no corpus" in command("plan", index).stderr
    with pytest.raises(SettingsError, match="hold the corpus against it alone"):
        dedupe.deduplicate(corpus, out, against=[index, str(crawls.folder / "jan")])
    assert not out.exists()


def test_files_like_those_of_an_index_are_a_corpus(tmp_path):
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "00000001.json").write_text('{"text": "some words"}\n', encoding="utf-8")
    assert dedupe.deduplicate(folder, tmp_path / "out").rows == 1


def test_nothing_is_written_into_an_index(crawls):
    with pytest.raises(SettingsError, match="choose a place outside"):
        dedupe.deduplicate(crawls.folder / "feb", crawls.index / "out", index=crawls.index)


def test_the_work_of_a_run_over_an_index_is_its_own(crawls, tmp_path):
    """No command without the index goes on with it, as rows of the index are in its stages."""
    work = tmp_path / "work"
    corpus = crawls.folder / "feb"
    expected = dedupe.deduplicate(corpus, tmp_path / "a", text="text", id="id", **HOW)
    how = {**HOW, "work_dir": work}
    dedupe.deduplicate(corpus, tmp_path / "b", index=crawls.index, **how)
    with pytest.raises(WorkDirError):
        dedupe.sweep(corpus, [0.7, 0.9], text="text", **how)
    with pytest.raises(WorkDirError):
        dedupe.deduplicate(corpus, tmp_path / "c", text="text", id="id", threshold=0.7, **how)
    found = dedupe.deduplicate(
        corpus, tmp_path / "c", text="text", id="id", execution=None, fresh=True, **how
    )
    assert found.keep_list().equals(expected.keep_list())


@pytest.mark.parametrize("stage", ["resolve", "choose", "bucket"])
def test_files_that_change_after_rows_were_held_against_the_index(tmp_path, stage):
    crawls = Crawls(tmp_path)
    corpus, how = tmp_path / "feb", {**HOW, "index": crawls.index, "tuning": CUT}
    with pytest.raises(Killed):
        dedupe.deduplicate(corpus, tmp_path / "out", progress=At(stage), **how)
    write(corpus / "a.jsonl", crawls.texts["feb", "a"][3:])
    with pytest.raises(WorkDirError, match="changed after rows of it were held"):
        dedupe.deduplicate(corpus, tmp_path / "out", **how)


# --- what is checked --------------------------------------------------------------------------

UNFIT = {
    "path": [None, "", 3],
    "manifest": [-1, 1.5, None],
    "rows": [-1, 1 << 41, 39],
    "kept": [44, "40"],
    "earlier": [1, None, False],
    "added": ["yes"],
    "name": ["", 4],
    "compared": [41],
    "dropped": [8, -1],
    "late": [None],
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in UNFIT.items() for value in values]
)
def test_summaries_are_checked(crawls, tmp_path, key, value):
    _, out = crawls.copied(tmp_path)
    changed_summary(out, lambda summary: summary["index"].update({key: value}))
    with pytest.raises(DamageError, match=r"index|references"):
        Result(out)


@pytest.mark.parametrize("key", UNFIT)
def test_summaries_have_all_keys(crawls, tmp_path, key):
    _, out = crawls.copied(tmp_path)
    changed_summary(out, lambda summary: summary["index"].pop(key))
    with pytest.raises(DamageError, match=f"an object with {key}"):
        Result(out)


@pytest.mark.parametrize(
    ("row", "change", "said"),
    [
        (0, {"witness_crawl": "jan"}, "no witness"),
        (10, {"cluster": 0}, "in a cluster whose witness is in an earlier crawl"),
    ],
)
def test_keep_lists_are_checked(crawls, tmp_path, row, change, said):
    _, out = crawls.copied(tmp_path)
    changed_keep_list(out, 0, lambda rows: rows[row].update(change))
    with pytest.raises(DamageError, match=said):
        Result(out).keep_list()


def test_a_crawl_that_is_no_text(crawls, tmp_path):
    _, out = crawls.copied(tmp_path)
    path = Result(out).files[0]
    table = pq.read_table(path)
    at = table.schema.get_field_index("witness_crawl")
    numbers = pa.nulls(len(table), pa.int32())
    pq.write_table(table.set_column(at, "witness_crawl", numbers), path)
    data = path.read_bytes()
    told = {"keep_size": len(data), "keep_checksum": checksum(data)}
    changed_summary(out, lambda summary: summary["corpus"]["shards"][0].update(told))
    with pytest.raises(DamageError, match="witness_crawl is int32"):
        Result(out).mask()


def test_a_witness_in_a_crawl_of_no_index(crawls, tmp_path):
    _, out = crawls.copied(tmp_path)
    changed_summary(out, lambda summary: summary.pop("index"))
    with pytest.raises(DamageError, match="of the crawl jan is a witness"):
        Result(out).pairs()


def test_an_index_on_a_web_server_is_asked_for_by_nobody(crawls, tmp_path):
    _, out = crawls.copied(tmp_path)
    told = {"path": "https://example.invalid/idx"}
    changed_summary(out, lambda summary: summary["index"].update(told))
    with pytest.raises(SettingsError, match="says that an index is at https"):
        Result(out).pairs()


def test_plan_learns_nothing_of_a_run_over_an_index(monkeypatch, tmp_path, crawls):
    from dedupe import calibration

    monkeypatch.setattr(calibration, "LEAST_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calibration.note_run("local", crawls.feb.summary, always=True)
    assert not calibration.runs_path().exists()


@pytest.mark.parametrize("how", [{"within": "year"}, {"near": False}, {"shingle": "char:9"}])
def test_audit_of_other_settings(tmp_path, how):
    """Values of other columns are texts in an index, and numbers in the corpus."""
    texts = [text_of(random.Random(seed)) for seed in range(6)]
    years = [2024, 2025, None]
    for name, offset in (("jan", 0), ("feb", 1)):
        rows = [
            {"text": f"{text} {word}", "year": years[(row + offset * (row % 2)) % 3]}
            for row, text in enumerate(texts)
            for word in ("end", "end", "other")[: 3 - offset]
        ]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    begin_index(str(tmp_path / "idx"), Settings(text="text", **how))
    run = {**HOW, "index": tmp_path / "idx", "add": True}
    dedupe.deduplicate(tmp_path / "jan.parquet", tmp_path / "one", **run)
    found = dedupe.deduplicate(tmp_path / "feb.parquet", tmp_path / "two", **run)
    crawls = Counter(row["witness_crawl"] for row in dropped(found))
    assert crawls["crawl-1"] >= 6
    assert (crawls[None] > 0) == ("within" in how)
    for full in (False, True):
        audited = dedupe.audit(found.path, full=full, tuning=CUT, fresh=True, **HOW)
        assert audited.ok, audited.faults
        assert audited.beside_earlier.of == found.kept
        assert audited.beside_earlier.count == 0
