"""Lists of edges: dropped rows with their witnesses, and pairs, against plain loops."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import corpora
import naive
import naive_cluster
import naive_edges
import naive_hash
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe as command
from corpora import table_of
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

import dedupe
from dedupe import CorpusError, Edges, Result, Settings, SettingsError, Tuning, deduplicate
from dedupe.commands.edges import similar

CUT = Tuning(
    task_text=3_000, task_rows=20, bucket_records=500, keep_rows=10, edge_batch=7, survey_shards=1
)
"""Cuts a small corpus into many tasks, and its components into many partitions."""


def written(folder, rows, files=3, name="in"):
    """Rows as JSON lines, in some files."""
    (folder / name).mkdir(parents=True)
    for number in range(files):
        part = rows[number * len(rows) // files : (number + 1) * len(rows) // files]
        lines = "".join(json.dumps(row) + "\n" for row in part)
        (folder / name / f"{number}.jsonl").write_text(lines, encoding="utf-8")
    return folder / name


def witnesses(result):
    """The position of the witness of each row of a run, of references too; None without."""
    shards = result.read_shards
    starts = {}
    at = 0
    for shard in shards:
        starts.setdefault(shard["path"], at)
        at += shard["rows"]
    found = []
    for row in result.keep_list().to_pylist():
        there = row["witness_shard"] is not None and row["reason"] != "contaminated"
        found.append(starts[row["witness_shard"]] + row["witness_row"] if there else None)
    return found + [None] * (at - len(found))


def listed(edges):
    """(left, right, similarities, reason) of each edge, and the component of each row."""
    rows = edges.table().to_pylist()
    names = [name for name in edges.table().column_names if name.startswith("jaccard_")]
    component = {}
    for row in rows:
        for side in ("left", "right"):
            assert component.setdefault(row[side], row["component"]) == row["component"]
    found = [
        (row["left"], row["right"], [row[n] for n in names or ["jaccard"]], row["reason"])
        for row in rows
    ]
    for row in rows:
        assert row["jaccard"] == min(row[name] for name in names or ["jaccard"])
    assert found == sorted(found, key=lambda one: one[:2]), "in the order of rows"
    return found, component


def checked(result, edges, expected, cut):
    """Hold a list of edges against its run and the pairs that are expected."""
    rows, witness = result.keep_list().to_pylist(), witnesses(result)
    found, component = listed(edges)
    drops = [one for one in found if one[3] is not None]
    assert [one[:2] for one in drops] == [
        (row, its) for row, its in enumerate(witness) if its is not None
    ]
    for left, _, similarities, reason in drops:
        assert reason == rows[left]["reason"]
        assert min(similarities) == rows[left]["jaccard"]
    others = [one[:3] for one in found if one[3] is None]
    own = len(rows)
    pairs = [(b, a, s) if a >= own else (a, b, s) for a, b, s in expected]
    assert others == sorted(pairs)
    assert component == naive_edges.names([one[:2] for one in found], witness)
    assert edges.said["edges"] == len(edges) == len(found)
    assert (edges.said["drops"], edges.said["pairs"]) == (len(drops), len(others))
    assert edges.said["cut"] == len(cut)
    assert len(edges.said["cut_components"]) == len(cut)


MIXED = [
    {"threshold": 0.7},
    {"threshold": 0.6, "bands": 30, "rows": 3},
    {"threshold": 0.6, "bands": 64, "rows": 1},
    {"threshold": 0.8, "cluster": "transitive"},
    {"threshold": 0.7, "keep": "longest", "keep_at_most": 2},
    {"threshold": 0.8, "shingle": "char:7", "recall": 0.999},
]


@pytest.mark.parametrize("given_", MIXED)
@pytest.mark.parametrize(
    ("least", "cap", "direct"),
    [(0.3, 1000, 0), (0.3, 1000, 48), (0.55, 3, 48), (0.5, 2, 0), (1.0, 5, 2)],
)
def test_pairs_are_those_of_plain_loops(tmp_path, monkeypatch, given_, least, cap, direct):
    monkeypatch.setattr(similar, "DIRECT_GROUPS", direct)
    texts = corpora.mixed(170, seed=5)
    rows = [{"text": text, "name": f"r{i}"} for i, text in enumerate(texts)]
    corpus = written(tmp_path, rows)
    how = {"text": "text", "id": "name", **given_}
    result = deduplicate(corpus, tmp_path / "out", tuning=CUT, workers=2, **how)
    settings = Settings(**how)
    component, _, groups, sets = corpora.candidates(texts, settings)
    groups = [group if one else None for group, one in zip(groups, sets, strict=True)]
    expected, cut = naive_edges.pairs(
        component,
        groups,
        lambda a, b: [naive_cluster.jaccard(frozenset(sets[a]), frozenset(sets[b]))],
        witnesses(result),
        least=least,
        cap=cap,
        own=len(rows),
    )
    edges = result.edges(tmp_path / "e.parquet", least=least, cap=cap, tuning=CUT, workers=2)
    checked(result, edges, expected, cut)
    assert expected or least > 0.6
    for row in edges.table().to_pylist():
        assert (row["left_id"], row["right_id"]) == (f"r{row['left']}", f"r{row['right']}")
        for side in ("left", "right"):
            lines = Path(row[f"{side}_shard"]).read_text(encoding="utf-8").splitlines()
            assert json.loads(lines[row[f"{side}_row"]])["name"] == row[f"{side}_id"]


@pytest.mark.parametrize("match", ["fields", "whole"])
@pytest.mark.parametrize("cap", [1, 1000])
@pytest.mark.parametrize("direct", [0, 48])
def test_the_least_similar_field_counts_and_references_are_no_pairs(
    tmp_path, monkeypatch, match, cap, direct
):
    monkeypatch.setattr(similar, "DIRECT_GROUPS", direct)
    random_ = random.Random(3)
    questions = corpora.mixed(110, seed=1)
    answers = [*corpora.mixed(20, seed=2), "the same answer to all of them", None, ""]
    rows = [{"question": one, "answer": random_.choice(answers)} for one in questions]
    for row in rows[80:]:
        row |= random_.choice(rows[:12])
        words = corpora.edited(random_, (row["question"] or "a b c d e f").split(), 1)
        row["question"] = " ".join(words)
    corpus = written(tmp_path, rows[:80])
    untouched = written(tmp_path, rows[80:], 2, "untouched")
    how = {"text": ["question", "answer"], "match": match, "threshold": 0.6, "recall": "exact"}
    result = deduplicate(corpus, tmp_path / "out", against=untouched, tuning=CUT, workers=2, **how)
    sets, groups = [], []
    for row in rows:
        fields = [row["question"], row["answer"]]
        if match == "whole":
            fields = ["\n".join(one for one in fields if one)]
        sets.append([frozenset(corpora.shingle_set(one, Settings())) for one in fields])
        group = tuple(tuple(naive_hash.shingles(one, "word:5", set())) for one in fields)
        groups.append(group if any(group) else None)

    def similarity(a, b):
        return naive_cluster.by_field(sets[a], sets[b])

    def are_linked(a, b):
        there = groups[a] is not None and groups[b] is not None
        return there and (groups[a] == groups[b] or min(similarity(a, b)) >= 0.6)

    component = naive_edges.joined(len(rows), are_linked)
    expected, cut = naive_edges.pairs(
        component, groups, similarity, witnesses(result), least=0.2, cap=cap, own=80
    )
    edges = dedupe.edges(result, tmp_path / "e.parquet", least=0.2, cap=cap, tuning=CUT, workers=2)
    assert any(later >= 80 for later, _, _ in expected)
    assert cap == 1000 or cut
    checked(result, edges, expected, cut)


@given(seed=st.integers(0, 1000), least=st.sampled_from([0.2, 0.5, 0.8]), cap=st.integers(1, 30))
@given_settings(max_examples=10)
def test_blocks_and_batches_of_any_size_give_the_same(seed, least, cap, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    random_ = random.Random(seed)
    texts = corpora.mixed(90, seed) + corpora.templates(40, 12, 2) + corpora.chain(12)
    random_.shuffle(texts)
    corpus = written(folder, [{"text": text} for text in texts])
    how = {"threshold": 0.6, "bands": 40, "rows": 2}
    result = deduplicate(corpus, folder / "out", **how)
    whole = result.edges(least=least, cap=cap).table()
    sizes = {
        "STREAMED": random_.randrange(1, 500),
        "COMPARED": random_.randrange(1, 100),
        "DIRECT_GROUPS": random_.choice([0, 2, 5]),
        "LEAST_PAIRS": random_.randrange(1, 60),
    }
    before = {name: getattr(similar, name) for name in sizes}
    vars(similar).update(sizes)
    try:
        cut = Tuning(
            task_text=3_000, task_rows=20, bucket_records=500, keep_rows=10,
            set_bytes=random_.randrange(2_000, 40_000),
        )  # fmt: skip
        again = result.edges(least=least, cap=cap, tuning=cut, workers=random_.randrange(1, 4))
    finally:
        vars(similar).update(before)
    assert again.table() == whole
    shutil.rmtree(folder)


def test_a_component_of_one_template_is_cut_and_does_not_take_its_square(tmp_path):
    texts = corpora.templates(600, 60, 1)
    corpus = written(tmp_path, [{"text": text} for text in texts])
    result = deduplicate(corpus, tmp_path / "out", threshold=0.97, bands=20, rows=1)
    edges = result.edges(least=0.8, cap=50)
    assert (edges.said["pairs"], edges.said["cut"], edges.said["cut_components"]) == (50, 1, [0])
    assert "1 components have more than 50 such pairs" in " ".join(edges.lines)
    assert [row["left"] for row in edges.table().to_pylist()][-1] == 10
    assert "50" in edges._repr_html_()


def test_without_a_similarity_nothing_but_keep_lists_is_read(tmp_path):
    texts = corpora.mixed(200, seed=8)
    corpus = written(tmp_path, [{"text": text, "k": i} for i, text in enumerate(texts)])
    how = {"text": "text", "id": "k", "keep_at_most": 2, "threshold": 0.7}
    result = deduplicate(corpus, tmp_path / "out", tuning=CUT, **how)
    shutil.rmtree(corpus)
    edges = result.edges(tmp_path / "e.parquet")
    checked(result, edges, [], set())
    assert {"exact", "near", "extra"} == set(edges.table("reason")["reason"].to_pylist())
    assert edges.said["least"] is edges.said["cap"] is None
    assert not list(tmp_path.glob("*.work"))
    assert repr(Edges(tmp_path / "e.parquet")) == repr(edges)
    with pytest.raises(CorpusError):
        result.edges(least=0.5)


def test_contaminated_rows_are_no_edges(tmp_path):
    question = "what does the fox jump over when it is quick and brown"
    texts = ["some other words of a row that is here", question, f"{question} so they say", "x"]
    texts += ["some other words of a row that is here"]
    corpus = written(tmp_path, [{"text": text} for text in texts], 1)
    items = written(tmp_path, [{"question": question, "answer": "the lazy dog"}], 1, "evals")
    result = deduplicate(corpus, tmp_path / "out", evals=items)
    assert result.summary["reasons"]["contaminated"] == 2
    for least in (None, 0.5):
        edges = result.edges(tmp_path / f"{least}.parquet", least=least)
        checked(result, edges, [], set())
        assert len(edges) == 1
    (items / "0.jsonl").write_text('{"question": "something else", "answer": "x"}\n')
    with pytest.raises(CorpusError, match="test set"):
        result.edges(least=0.5)


def test_the_work_directory_of_the_run_is_taken_and_stays(tmp_path):
    texts = corpora.mixed(150, seed=4)
    corpus = written(tmp_path, [{"text": text} for text in texts])
    result = deduplicate(corpus, tmp_path / "out", work_dir=tmp_path / "work", tuning=CUT)
    said = []
    fresh = result.edges(least=0.5).table()

    class Told(dedupe.progress.Silent):
        def stage(self, name, tasks, done):
            said.append((name, tasks - done))

    how = {"work_dir": tmp_path / "work", "tuning": CUT, "progress": Told()}
    assert result.edges(least=0.5, **how).table() == fresh
    assert [name for name, todo in said if todo] == ["pairs"]
    said.clear()
    assert result.edges(least=0.5, **how).table() == fresh
    assert not [name for name, todo in said if todo]
    said.clear()
    assert result.edges(least=0.5, cap=1, **how).said["cap"] == 1
    assert [name for name, todo in said if todo] == ["pairs"]
    again = deduplicate(corpus, tmp_path / "again", work_dir=tmp_path / "work", tuning=CUT)
    assert again.keep_list() == result.keep_list()


def test_edges_load_where_pages_say(tmp_path, monkeypatch):
    duckdb, networkx = pytest.importorskip("duckdb"), pytest.importorskip("networkx")
    pandas = pytest.importorskip("pandas")
    texts = corpora.mixed(200, seed=6)
    deduplicate(table_of(texts), tmp_path / "x")
    corpus = written(tmp_path, [{"text": text} for text in texts])
    result = deduplicate(corpus, tmp_path / "out", threshold=0.7)
    edges = result.edges(tmp_path / "edges.parquet", least=0.4)
    monkeypatch.chdir(tmp_path)
    graph = networkx.from_pandas_edgelist(
        pandas.read_parquet("edges.parquet"), "left", "right", edge_attr=True
    )
    assert graph.number_of_edges() == len(edges)
    component = listed(edges)[1]
    for whole in networkx.connected_components(graph):
        assert len({component[row] for row in whole}) == 1
    names = {min(whole) for whole in networkx.connected_components(graph)}
    assert len(names) == len(set(component.values()))
    sizes = duckdb.sql("select component, count(*) from 'edges.parquet' group by 1").fetchall()
    assert sum(count for _, count in sizes) == len(edges)
    assert {name for name, _ in sizes} == set(component.values())
    igraph = pytest.importorskip("igraph")
    same = igraph.Graph.DataFrame(
        pandas.read_parquet("edges.parquet"), directed=False, use_vids=False
    )
    assert same.ecount() == len(edges)


def test_the_command_says_what_is_listed(tmp_path):
    texts = corpora.mixed(120, seed=2)
    corpus = written(tmp_path, [{"text": text} for text in texts])
    out, file = tmp_path / "out", tmp_path / "edges.parquet"
    deduplicate(corpus, out)
    done = command("edges", out, "--output", file)
    assert done.returncode == 0
    drops = sum(row is not None for row in witnesses(Result(out)))
    assert f"{drops} rows with their witnesses" in done.stdout
    done = command("edges", out, "--output", file, "--from", "0.4", "--cap", "1", "--json", "-q")
    assert json.loads(done.stdout) == {**Edges(file).as_json(), "path": str(file)}
    assert json.loads(done.stdout)["cut"] > 0
    assert pq.read_metadata(file).num_rows == len(Edges(file))
    done = command("edges", out, "--output", file, "--from", "0.4", "--cap", "1")
    assert "more than 1 such pairs" in done.stdout
    assert "looking for" not in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "0"], "use a Jaccard similarity above 0 and up to 1"),
        (["--from", "1.5"], "use a Jaccard similarity above 0 and up to 1"),
        (["--cap", "0"], "0 is not in the range"),
    ],
)
def test_mistakes_are_told(tmp_path, options, said):
    deduplicate(table_of(["a b c"]), tmp_path / "out")
    done = command("edges", tmp_path / "out", "--output", tmp_path / "e.parquet", *options)
    assert done.returncode == 2
    assert said in done.stderr


def test_other_files_and_other_runs_are_refused(tmp_path):
    result = deduplicate(table_of(["a b c", "a b c"]), tmp_path / "out")
    with pytest.raises(SettingsError, match="rows in memory"):
        result.edges(least=0.5)
    assert len(result.edges(tmp_path / "e.parquet")) == 1
    pq.write_table(pa.table({"left": [1]}), tmp_path / "mine.parquet")
    (tmp_path / "text.parquet").write_text("mine")
    for name in ("mine.parquet", "text.parquet"):
        with pytest.raises(SettingsError, match="is no list of edges"):
            result.edges(tmp_path / name)
        with pytest.raises(SettingsError, match="is no list of edges"):
            Edges(tmp_path / name)
    with pytest.raises(SettingsError, match="does not exist"):
        Edges(tmp_path / "nosuch.parquet")
    corpus = written(tmp_path, [{"text": "a b c"}] * 2, 1)
    exact = deduplicate(corpus, tmp_path / "exact", near=False)
    assert len(exact.edges()) == 1
    with pytest.raises(SettingsError, match="no near-duplicates"):
        exact.edges(least=0.5)
    with pytest.raises(SettingsError, match="cap is True"):
        exact.edges(cap=True)
    with pytest.raises(SettingsError, match="part of the corpus"):
        deduplicate(corpus, tmp_path / "near").edges(corpus / "e.parquet", least=0.5)
    assert naive.form("A  b") == "a b"
