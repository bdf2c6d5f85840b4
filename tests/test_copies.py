"""How many rows a kept row stays for, and rows that stay beside it: against plain loops."""

from __future__ import annotations

import json
import random
import re
import shutil

import corpora
import naive
import naive_copies
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import dedupe, in_one_line
from corpora import table_of
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from test_audit import falsify, with_values

from dedupe import CorpusError, Result, Settings, SettingsError, Tuning, audit, deduplicate

CUT = Tuning(
    task_text=3_000, task_rows=20, bucket_records=500, keep_rows=10, edge_batch=7, survey_shards=1
)
"""Cuts a small corpus into many tasks, and its components into many partitions."""

SOURCES = [None, "", "web", "books", "web "]


def form(text):
    return naive.form(text or "")


def some_rows(rows, seed):
    """Questions and answers with many copies, each with a source, a number and a score."""
    random_ = random.Random(seed)
    questions = corpora.mixed(rows, seed)
    answers = corpora.mixed(rows, seed + 1)[: rows // 4] + ["the same answer to all of them"] * 3
    return [
        {
            "question": question,
            "answer": random_.choice(answers),
            "source": random_.choice(SOURCES),
            "number": random_.choice([None, 0, 1, 2**60, 2**60 + 1]),
            "score": random_.choice([None, 1, 2, 3]),
            "language": random_.choice(["de", "en"]),
        }
        for question in questions
    ]


SCHEMA = pa.schema(
    [
        ("question", pa.string()),
        ("answer", pa.string()),
        ("source", pa.string()),
        ("number", pa.int64()),
        ("score", pa.int64()),
        ("language", pa.string()),
    ]
)

KEEPS = {
    "first": lambda rows, i: 0,
    "longest": lambda rows, i: -len((rows[i]["question"] or "").encode()),
    "max:score": lambda rows, i: (rows[i]["score"] is None, -(rows[i]["score"] or 0)),
}

COUNTED = [
    {},
    {"count_by": "source"},
    {"keep_at_most": 2},
    {"keep_at_most": 3, "count_by": "number"},
    {"per": "source"},
    {"per": "number", "count_by": "source"},
    {"per": "source", "count_by": "source"},
]


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(0, 120),
    cluster=st.sampled_from(["cover", "transitive"]),
    threshold=st.sampled_from([0.4, 0.8]),
    fields=st.booleans(),
    keep=st.sampled_from(sorted(KEEPS)),
    within=st.sampled_from([None, "language"]),
    references=st.booleans(),
    asked=st.sampled_from(COUNTED),
    tuning=st.sampled_from([CUT, Tuning()]),
)
@given_settings(max_examples=40, deadline=None)
def test_agrees_with_plain_loops(
    seed, rows, cluster, threshold, fields, keep, within, references, asked, tuning
):
    found = some_rows(rows, seed)
    texts = ["question", "answer"] if fields and keep != "longest" else ["question"]
    how = {
        "text": texts,
        "match": "fields",
        "cluster": cluster,
        "threshold": threshold,
        "keep": keep,
        "within": within,
        "tuning": tuning,
    }
    if references:
        how["against"] = pa.Table.from_pylist(found[: rows // 5], SCHEMA)
        found = found[rows // 5 :]
    table = pa.Table.from_pylist(found, SCHEMA)
    plain = deduplicate(table, **how).keep_list().to_pylist()
    result = deduplicate(table, **how, **asked)
    said = result.keep_list().to_pylist()
    values = {
        name: [row[asked[name]] for row in found] for name in ("per", "count_by") if name in asked
    }
    assert said == naive_copies.counted(
        plain,
        lambda i: KEEPS[keep](found, i),
        lambda i, j: all(form(found[i][name]) == form(found[j][name]) for name in texts),
        **{**asked, **values},
    )
    naive_copies.check_law(said)
    assert result.kept == sum(row["keep"] for row in said)
    assert result.summary["reasons"]["extra"] == sum(row["reason"] == "extra" for row in said)
    sizes = result.summary["clusters"]
    representatives = sum(row["reason"] == "representative" for row in said)
    assert sum(sizes.values()) == representatives


def expected_law(result):
    """What the law says of a run's summary: copies of kept rows that are not empty."""
    reasons = result.summary["reasons"]
    alone = sum(reasons[name] for name in naive_copies.ALONE)
    return sum(reasons.values()) - reasons["empty"] - alone


OFTEN = ["one text that was copied often in the crawl"] * 7
TWICE = ["a third text of which there are two"] * 2


def test_copies_are_counted():
    result = deduplicate(table_of([*OFTEN, "another text that stands alone in here", *TWICE]))
    kept = result.keep_list().filter(pc.field("keep"))
    assert kept["copies"].to_pylist() == kept["copies_exact"].to_pylist() == [7, 1, 2]
    assert deduplicate(table_of([*OFTEN, *TWICE, "alone"]), keep_at_most=2).kept == 5


def test_near_copies_are_no_exact_ones():
    text = "one text that was copied often in the crawl of all pages that there were then"
    texts = [text, text.upper(), f"{text} more", None, " "]
    (first, *_, null, blank) = deduplicate(table_of(texts)).keep_list().to_pylist()
    assert (first["copies"], first["copies_exact"]) == (3, 2)
    assert null["reason"] == "empty"
    assert (null["copies"], blank["copies_exact"]) == (1, 1)


def test_every_row_counts_once_with_all_that_can_become_of_one(tmp_path):
    texts = corpora.mixed(300, seed=8)
    (tmp_path / "corpus").mkdir()
    rows = [json.dumps({"text": text, "source": i % 3}) for i, text in enumerate(texts)]
    rows[7:7] = ["{broken", "[]"]
    (tmp_path / "corpus" / "0.jsonl").write_text("\n".join(rows[:200]) + "\n")
    (tmp_path / "corpus" / "1.jsonl").write_text("\n".join(rows[200:]) + "\n")
    held = [text for text in texts if text and len(text.split()) > 20]
    items = [{"question": " ".join(text.split()[:14])} for text in held[:5]]
    for asked in ({}, {"per": "source", "count_by": "source"}, {"keep_at_most": 2}):
        result = deduplicate(
            tmp_path / "corpus",
            against=table_of(held[10:20]),
            evals=items,
            on_bad_row="skip",
            tuning=CUT,
            text="text",
            **asked,
        )
        said = result.keep_list().to_pylist()
        naive_copies.check_law(said)
        reasons = result.summary["reasons"]
        assert min(count for name, count in reasons.items() if name != "extra") > 0
        assert (reasons["extra"] > 0) == bool(asked)
        kept = [row for row in said if row["keep"] and row["reason"] != "empty"]
        assert sum(row["copies"] for row in kept) == expected_law(result)


def test_values_are_told_apart_as_they_are():
    """By their whole value, whatever their type; nothing is one value and an empty text another."""
    text = "the same text in all of these rows of one cluster"
    for values, distinct in [
        ([None, "", " ", None, "a", "A", "a"], 5),
        ([None, 0, 1, 2**53, 2**53 + 1, None, 0], 5),
        ([True, False, None, True, True, False, None], 3),
        ([0.5, -0.5, None, 0.5, float("inf"), 1e300, 0.5], 5),
        ([b"a", b"", None, b"b", b"a", b"\xff", b"\xfe"], 6),
        (pa.array(["x", None, "y", "x", "y", "z", None]).dictionary_encode(), 4),
    ]:
        table = pa.table(
            {"text": [text] * 7, "value": pa.array(values) if isinstance(values, list) else values}
        )
        result = deduplicate(table, per="value", count_by="value", text="text")
        assert result.kept == distinct, values
        counts = result.keep_list()["copies_values"].to_pylist()
        assert [one for one in counts if one is not None] == [1] * distinct
        said = deduplicate(table, count_by="value", text="text").keep_list().to_pylist()[0]
        assert (said["copies"], said["copies_values"]) == (7, distinct)


def test_the_columns_are_those_that_all_files_have(tmp_path):
    one, two = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    one.write_text('{"text": "some words of a text", "source": "a"}\n')
    two.write_text('{"text": "some words of a text", "source": 1}\n')
    with pytest.raises(CorpusError, match="must have one type"):
        deduplicate([one, two], per="source", text="text")
    with pytest.raises(CorpusError, match='no column "sauce"'):
        deduplicate(one, count_by="sauce", text="text")
    two.write_text('{"text": "some words of a text", "source": null}\n')
    assert deduplicate([one, two], per="source", text="text").kept == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep_at_most": 0}, "keep_at_most is 0: use a whole number from 1"),
        ({"keep_at_most": True}, "keep_at_most is True"),
        ({"keep_at_most": 2, "per": "source"}, "give one of them"),
        ({"per": 1}, "per is 1: use the name of a column"),
        ({"count_by": ["a"]}, "count_by is \\['a'\\]: use the name of a column"),
    ],
)
def test_what_cannot_be_asked_for(wrong, message):
    with pytest.raises(SettingsError, match=message):
        Settings(**wrong)


@pytest.mark.parametrize(
    "asked", [{"keep_at_most": 2}, {"per": "source", "count_by": "source"}], ids=str
)
def test_the_bytes_do_not_show_how_a_run_was_cut(tmp_path, asked):
    rows = some_rows(400, seed=3)
    (tmp_path / "corpus").mkdir()
    for number in range(4):
        part = pa.Table.from_pylist(rows[number::4], SCHEMA)
        pq.write_table(part, tmp_path / "corpus" / f"{number}.parquet", row_group_size=30)
    how = {"text": "question", "id": "number", "keep": "max:score", **asked}
    found = [
        [
            file.read_bytes()
            for file in deduplicate(
                tmp_path / "corpus", tmp_path / f"{workers}", workers=workers, tuning=tuning, **how
            ).files
        ]
        for workers, tuning in ((1, Tuning()), (2, CUT), (7, CUT))
    ]
    assert found[0] == found[1] == found[2]


@pytest.fixture(scope="module")
def run_with_extras(tmp_path_factory):
    """(texts, result) of a run over files with many rows beside their kept row, and references."""
    folder = tmp_path_factory.mktemp("extras")
    texts = corpora.mixed(400, seed=4)
    (folder / "corpus").mkdir()
    for number in range(2):
        rows = "".join(json.dumps({"text": text}) + "\n" for text in texts[number::2])
        (folder / "corpus" / f"{number}.jsonl").write_text(rows)
    (folder / "held.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in corpora.mixed(400, seed=4)[::20])
    )
    how = {"keep_at_most": 2, "threshold": 0.5, "bands": 3, "rows": 8}
    return deduplicate(folder / "corpus", folder / "out", against=folder / "held.jsonl", **how)


@pytest.mark.parametrize("sample", [400, 150])
def test_an_audit_takes_extra_rows_for_found(run_with_extras, sample):
    """It counts the pairs that a run without extra rows misses, and no others."""
    reasons = run_with_extras.summary["reasons"]
    assert reasons["extra"] > 20 < reasons["reference"]
    found = audit(run_with_extras.path, sample=sample)
    assert not any(found.broken.values())
    single = run_with_extras.path.with_name("single")
    if not single.exists():
        given = run_with_extras.summary["corpus"]["given"]
        against = run_with_extras.path.with_name("held.jsonl")
        how = {"threshold": 0.5, "bands": 3, "rows": 8}
        deduplicate(given, single, against=against, **how)
    other = audit(single, sample=sample)
    assert (found.recall, found.missed_rows) == (other.recall, other.missed_rows)
    if found.every:
        assert found.wrongly_dropped.of == run_with_extras.rows - run_with_extras.kept
        assert other.wrongly_dropped.of == found.wrongly_dropped.of + reasons["extra"]
    assert found.wrongly_dropped.count == 0


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        ("keep", False, "reason does not fit"),
        ("reason", "unique", "reason does not fit"),
        ("jaccard", 0.999, "similarity is not the exact one"),
        ("jaccard", 0.3, "stated similarity is too low"),
        ("witness_row", None, "no witness"),
        ("witness_row", "its own", "witness not kept"),
    ],
)
def test_an_audit_holds_extra_rows_against_their_kept_row(
    run_with_extras, tmp_path, column, value, kind
):
    shutil.copytree(run_with_extras.path, tmp_path / "out")
    result = Result(tmp_path / "out")
    own = result.shards[0]["path"]

    def change(table):
        rows = [
            row["row"]
            for row in table.to_pylist()
            if row["reason"] == "extra" and row["witness_shard"] == own and 0.5 < row["jaccard"] < 1
        ]
        return with_values(table, column, rows[:1], [rows[0] if value == "its own" else value])

    falsify(result, 0, change)
    assert audit(result.path).broken["witness"].get(kind, 0) >= 1


def test_the_screen_says_what_stays(run_with_extras):
    out = run_with_extras.path
    said = run_with_extras.keep_list_of(0).to_pylist()
    shown = dedupe("show", out).stdout
    assert "of each cluster the first 2 rows stay" in shown
    assert re.search(rf"extra +{run_with_extras.summary['reasons']['extra']} ", shown)
    assert "kept: beside a kept row that it is a duplicate of" in shown

    row = next(row for row in said if row["reason"] == "extra")
    shown = dedupe("show", out, "--row", f"0:{row['row']}").stdout
    assert f"with the kept row {row['witness_row']} of" in in_one_line(shown)

    kept = max(said, key=lambda row: row["copies"] or 0)
    shown = dedupe("show", out, "--row", f"0:{kept['row']}").stdout
    copies, exact = kept["copies"], kept["copies_exact"]
    assert f"it stays for {copies:,} rows, {exact:,} of them exact copies" in shown
    assert f"{copies:,} rows are duplicates of it:" in shown  # one of them stays beside it
    assert ": extra, Jaccard" in shown

    pairs = json.loads(dedupe("show", out, "--pairs", 500, "--json").stdout)
    assert {pair["reason"] for pair in pairs} == {"near", "exact", "reference"}
    extra = json.loads(dedupe("show", out, "--pairs", 500, "--reason", "extra", "--json").stdout)
    assert len(extra) == run_with_extras.summary["reasons"]["extra"]


def test_the_screen_says_how_many_values(tmp_path):
    rows = [{"text": "some words of a text", "source": source} for source in "aab"]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = (tmp_path / "rows.jsonl", "--output", tmp_path / "out")
    shown = dedupe("run", *files, "--per", "source", "--count-by", "source").stdout
    assert "of each cluster the first row of each source stays" in shown
    assert Result(tmp_path / "out").mask().tolist() == [True, False, True]
    deduplicate(tmp_path / "rows.jsonl", tmp_path / "counted", count_by="source")
    shown = dedupe("show", tmp_path / "counted", "--row", "0:0").stdout
    assert "it stays for 3 rows, 3 of them exact copies, of 2 values of source" in shown


def test_a_report_counts_what_was_dropped_and_whole_clusters(run_with_extras, tmp_path):
    pytest.importorskip("jinja2")
    found = run_with_extras.report(tmp_path / "report.html")
    reasons = run_with_extras.summary["reasons"]
    dropped = reasons["near"] + reasons["exact"] + reasons["reference"]
    assert sum(one["dropped"] for one in found["similarities"]) == dropped
    told = run_with_extras.summary["clusters"]
    assert [found["cluster_sizes"][size] for size in "23"] == [told["2"], told["3"]]
    assert {pair["reason"] for pair in found["pairs"]} <= {"near", "exact", "reference"}
