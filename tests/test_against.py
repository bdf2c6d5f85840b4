"""References: rows that stay untouched, and no kept row beside them. By brute force, and as people
use them."""

from __future__ import annotations

import json
import random
import shutil

import corpora
import naive
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe, in_one_line
from test_audit import falsify, first_dropped, with_values
from test_fields import ALPACA, field_similarities, sets_of, some_rows

from dedupe import (
    CorpusError,
    Result,
    SettingsError,
    Tuning,
    WorkDirError,
    apply,
    audit,
    deduplicate,
)

CUT = Tuning(
    task_text=3_000, task_rows=20, bucket_records=500, keep_rows=10, edge_batch=7, survey_shards=1
)


def decided(rows, references, threshold, cluster="cover", order=None, words=None):
    """What becomes of each row, by its shingle sets: (reason, number of the witness, jaccard).

    rows, references: lists of sets, one for each field. order: the rows, the preferred first.
    words: of each row; one with the words of a row before it follows that.
    """

    def best(sets, others):
        found = None
        for number, other in others:
            value = min(field_similarities(sets, other))
            if value >= threshold and (found is None or value > found[1]):
                found = number, value
        return found

    order = [i for i in (range(len(rows)) if order is None else order) if any(rows[i])]
    numbered = [(i, sets) for i, sets in enumerate(references) if any(sets)]
    direct = {i: best(rows[i], numbered) for i in order}
    found = [("empty", None, None) if not any(sets) else None for sets in rows]
    if cluster == "cover":
        kept, first = [], {}
        for i in order:
            same = first.setdefault(words[i] if words else i, i)
            witness = direct[i] or best(rows[i], kept)
            if same != i and witness is not None:
                witness = (same, 1.0) if found[same] is None else found[same][1:]
            if witness is None:
                kept.append((i, rows[i]))
            else:
                found[i] = ("reference" if direct[i] else "duplicate", *witness)
        return found
    for chain in chains(rows, order, threshold):
        reference = next((direct[i][0] for i in chain if direct[i]), None)
        for i in chain:
            if reference is not None:
                value = min(field_similarities(rows[i], references[reference]))
                found[i] = ("reference", *(direct[i] or (reference, value)))
            elif i != chain[0]:
                value = min(field_similarities(rows[i], rows[chain[0]]))
                found[i] = ("duplicate", chain[0], value)
    return found


def chains(rows, order, threshold):
    """Connected rows, each in the order of all."""
    left = list(order)
    while left:
        chain, reached = [left[0]], 0
        while reached < len(chain):
            one = rows[chain[reached]]
            chain += [
                i
                for i in left
                if i not in chain and min(field_similarities(one, rows[i])) >= threshold
            ]
            reached += 1
        left = [i for i in left if i not in chain]
        yield [i for i in order if i in chain]


def stated(result, starts):
    """The same as a run says it; starts: the number of the first row of each reference file."""
    said = []
    for row in result.keep_list().to_pylist():
        reason, witness = row["reason"], row["witness_row"]
        if reason == "reference":
            assert row["cluster"] is None
            witness += starts[row["witness_shard"]]
        if row["keep"]:
            said.append(("empty", None, None) if reason == "empty" else None)
        else:
            reason = {"exact": "duplicate", "near": "duplicate"}.get(reason, reason)
            said.append((reason, witness, row["jaccard"]))
    return said


def texts_of(count, seed):
    texts = corpora.mixed(count, seed)
    random.Random(seed).shuffle(texts)
    return texts[: count // 4], texts[count // 4 :]


SINGLE = [["text"]]
ALPACA_FIELDS = ("instruction", "output")  # there is no input in these rows


@pytest.mark.parametrize("cluster", ["cover", "transitive"])
@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_agrees_with_brute_force(cluster, threshold):
    dropped = 0
    for seed in range(12):
        references, texts = ([{"text": one} for one in part] for part in texts_of(160, seed))
        table = pa.Table.from_pylist(texts, pa.schema([("text", pa.string())]))
        result = deduplicate(
            table,
            against=pa.Table.from_pylist(references, table.schema),
            recall="exact",
            threshold=threshold,
            cluster=cluster,
        )
        sets = [[sets_of(row, SINGLE) for row in part] for part in (texts, references)]
        words = [naive.tokens(row["text"] or "") or naive.form(row["text"] or "") for row in texts]
        words = [str(one) for one in words]
        assert stated(result, {"<reference>": 0}) == decided(*sets, threshold, cluster, None, words)
        assert result.summary["references"][0]["rows"] == len(references)
        dropped += result.summary["reasons"]["reference"]
    assert dropped > 50


@pytest.mark.parametrize("cluster", ["cover", "transitive"])
def test_fields_policies_and_groups_agree_with_brute_force(cluster):
    for seed in range(6):
        rows = some_rows(seed, 150)
        references, rows = rows[:40], rows[40:]
        result = deduplicate(
            rows, against=references, recall="exact", cluster=cluster, keep="longest"
        )
        sets = [[sets_of(row, ALPACA) for row in part] for part in (rows, references)]
        lengths = [
            len((row["instruction"] or "").encode()) + len((row["output"] or "").encode())
            for row in rows
        ]
        order = sorted(range(len(rows)), key=lambda i: (-lengths[i], i))
        words = [
            str([naive.tokens(row[n] or "") or naive.form(row[n] or "") for n in ALPACA_FIELDS])
            for row in rows
        ]
        expected = decided(*sets, 0.8, cluster, order, words)
        assert stated(result, {"<reference>": 0}) == expected


def test_rows_of_other_groups_are_not_held_against_references():
    text = " ".join(corpora.WORDS[:30])
    rows = [
        {"text": text, "lang": "de"},
        {"text": text, "lang": "en"},
        {"text": text, "lang": None},
    ]
    result = deduplicate(rows, against=[{"text": text, "lang": "en"}], within="lang")
    assert result.mask().tolist() == [True, False, True]
    with pytest.raises(CorpusError, match="lang"):
        deduplicate(rows, against=[{"text": text}], within="lang")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A corpus of three files and references of two, and what a run makes of them."""
    folder = tmp_path_factory.mktemp("against")
    references, texts = texts_of(400, 3)
    for name, rows in (("corpus", texts), ("against", references)):
        (folder / name).mkdir()
        for number in range(3 if name == "corpus" else 2):
            part = rows[number :: 3 if name == "corpus" else 2]
            lines = (json.dumps({"text": t, "id": f"{name}-{i}"}) for i, t in enumerate(part))
            (folder / name / f"{number}.jsonl").write_text("".join(f"{one}\n" for one in lines))
    run(folder, folder / "out")
    return folder


def run(folder, output, **given):
    return deduplicate(
        folder / "corpus", output, against=[folder / "against"], id="id", keep="longest", **given
    )


def rows_of(folder):
    paths = sorted(folder.iterdir())
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def bytes_of(output):
    return {path.name: path.read_bytes() for path in sorted((output / "keep").iterdir())}


@pytest.mark.parametrize(
    "given",
    [{"workers": 1}, {"workers": 3, "tuning": CUT}, {"memory": "500MB", "tuning": CUT}],
)
@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_the_same_bytes_however_it_is_cut(here, tmp_path, given, recall):
    expected = here / "out"
    if recall == "exact":
        expected = tmp_path / "whole"
        run(here, expected, recall=recall)
    run(here, tmp_path / "out", recall=recall, **given)
    assert bytes_of(tmp_path / "out") == bytes_of(expected)
    assert sorted(bytes_of(expected)) == [f"0000{n}-{n}.parquet" for n in range(3)]


@pytest.mark.parametrize("stage", ["sign", "bucket", "group", "verify", "keep"])
def test_a_run_that_stops_goes_on(here, tmp_path, stage, monkeypatch):
    from dedupe.stage_runner import StageRunner

    whole = StageRunner.run

    def until(self, job, name, *others):
        found = whole(self, job, name, *others)
        if name == stage:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(StageRunner, "run", until)
    with pytest.raises(KeyboardInterrupt):
        run(here, tmp_path / "out", tuning=CUT)
    monkeypatch.undo()
    result = run(here, tmp_path / "out", tuning=CUT)
    assert bytes_of(tmp_path / "out") == bytes_of(here / "out")
    assert result.summary["references"][0]["dropped"] > 0


def test_references_come_from_anything_that_a_corpus_comes_from(here, tmp_path):
    expected = Result(here / "out").mask().tolist()
    files = [here / "against" / f"{number}.jsonl" for number in range(2)]
    rows = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.select(["text"]), tmp_path / "test.parquet")
    for against in (
        files,
        str(tmp_path / "test.parquet"),
        table,
        rows,
        pd.DataFrame(rows),
        pl.DataFrame(rows).rename({"id": "other"}),
        iter(rows),
    ):
        result = deduplicate(here / "corpus", against=against, id="id", keep="longest")
        assert result.mask().tolist() == expected
    result = deduplicate(here / "corpus", against=files, id="id", keep="longest")
    assert [one["given"] for one in result.summary["references"]] == list(map(str, files))
    assert (
        sum(one["dropped"] for one in result.summary["references"])
        == (result.summary["reasons"]["reference"])
    )
    witnesses = {row["witness_id"] for row in result.keep_list().to_pylist() if not row["keep"]}
    assert any(one.startswith("against-") for one in witnesses)
    numbered = [{**row, "id": number} for number, row in enumerate(rows)]
    result = deduplicate(here / "corpus", against=numbered, id="id", keep="longest")
    assert result.mask().tolist() == expected
    found = [row for row in result.keep_list().to_pylist() if row["reason"] == "reference"]
    assert {row["witness_id"] for row in found} == {None}  # ids of another type


def test_other_columns_and_formats(tmp_path):
    text, other = " ".join(corpora.WORDS[:40]), " ".join(corpora.WORDS[40:80])
    chat = [{"role": "user", "content": other}, {"role": "assistant", "content": text}]
    alpaca = [
        {"instruction": other, "input": "", "output": text},
        {"instruction": text, "input": "", "output": text},
    ]
    result = deduplicate(alpaca, against=[{"messages": chat}])
    assert result.mask().tolist() == [False, True]
    questions = [{"question": text, "answer": "b"}]
    rows = [{"body": text, "answer": "a"}, {"body": "other", "answer": "b"}]
    result = deduplicate(rows, text="body", against=questions, against_text="question")
    assert result.mask().tolist() == [False, True]
    result = deduplicate(
        rows,
        text=["body", "answer"],
        match="fields",
        against=questions,
        against_text=["question", "answer"],
    )
    assert result.mask().tolist() == [True, True]
    with pytest.raises(CorpusError, match="--against-text or --against-format"):
        deduplicate(alpaca, against=[{"text": text}])
    assert deduplicate(alpaca, match="whole", against=[{"text": text}]).rows == 2
    with pytest.raises(SettingsError, match=r"references: .*two ways"):
        deduplicate(rows, text="body", against_text="a", against_format="text")
    media = [{"messages": chat, "images": ["a.png"]}]
    with pytest.raises(CorpusError, match=r"the reference has no images"):
        deduplicate(media, against=[{"messages": chat}])


def test_what_cannot_be_a_reference(here, tmp_path):
    file = here / "corpus" / "0.jsonl"
    with pytest.raises(CorpusError, match="stays untouched cannot be deduplicated") as error:
        deduplicate(here / "corpus", tmp_path / "out", against=[file])
    assert error.value.path == str(file)
    (tmp_path / "link.jsonl").symlink_to(file)
    with pytest.raises(CorpusError, match="stays untouched"):
        deduplicate(here / "corpus", tmp_path / "out", against=[tmp_path / "link.jsonl"])
    test = here / "against"
    with pytest.raises(CorpusError, match="in the reference"):
        deduplicate(here / "corpus", tmp_path / "out", against=[test, test / "0.jsonl"])
    with pytest.raises(CorpusError, match="no such file"):
        deduplicate(here / "corpus", tmp_path / "out", against=[tmp_path / "none.jsonl"])
    done = dedupe("run", file, "-o", tmp_path / "out", "--against", file)
    assert done.returncode == 2
    assert "stays untouched" in in_one_line(done.stderr)
    assert not (tmp_path / "out").exists()


def test_a_run_is_that_of_its_references(here, tmp_path):
    shutil.copytree(here / "corpus", tmp_path / "corpus")
    shutil.copytree(here / "against", tmp_path / "against")
    run(tmp_path, tmp_path / "out")
    assert run(tmp_path, tmp_path / "out").rows == Result(tmp_path / "out").rows  # finished
    with pytest.raises(WorkDirError, match="references"):
        deduplicate(tmp_path / "corpus", tmp_path / "out", id="id", keep="longest")
    with (tmp_path / "against" / "0.jsonl").open("a") as file:
        file.write(json.dumps({"text": "another row", "id": "x"}) + "\n")
    with pytest.raises(WorkDirError, match=r"0\.jsonl has changed"):
        run(tmp_path, tmp_path / "out")


def test_no_rows_on_one_side(tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    rows = [{"text": "one two three"}]
    assert deduplicate(rows, against=tmp_path / "none.jsonl").mask().tolist() == [True]
    (tmp_path / "some.jsonl").write_text(json.dumps(rows[0]) + "\n")
    result = deduplicate(tmp_path / "none.jsonl", against=rows)
    assert (result.rows, result.kept) == (0, 0)
    result = deduplicate(tmp_path / "some.jsonl", against=rows, near=False)
    assert result.mask().tolist() == [False]


def test_rows_that_cannot_be_read(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a b c d"}\n{"text": "x y z w"}\n')
    (tmp_path / "test.jsonl").write_text('{"text": "a b c d"}\n{"text\n')
    with pytest.raises(CorpusError) as error:
        deduplicate(tmp_path / "a.jsonl", against=tmp_path / "test.jsonl")
    assert error.value.path == str(tmp_path / "test.jsonl")
    result = deduplicate(tmp_path / "a.jsonl", against=tmp_path / "test.jsonl", on_bad_row="skip")
    assert result.mask().tolist() == [False, True]
    assert result.summary["corpus"]["unreadable"]["rows"] == 0
    assert result.summary["corpus"]["unreadable"]["examples"][0]["path"].endswith("test.jsonl")


def test_apply_and_show(here, tmp_path):
    apply(here / "out", tmp_path / "clean", dropped=tmp_path / "dropped")
    assert sorted(path.name for path in (tmp_path / "clean").glob("*.jsonl")) == [
        f"{number}.jsonl" for number in range(3)
    ]
    kept = sum(len((tmp_path / "clean" / f"{n}.jsonl").read_text().splitlines()) for n in range(3))
    assert kept == Result(here / "out").kept
    dropped = [
        json.loads(line)
        for path in sorted((tmp_path / "dropped").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert any(str(here / "against") in json.dumps(row) for row in dropped)
    shown = in_one_line(dedupe("show", here / "out").stdout)
    assert "rows untouched" in shown
    assert "dropped: a duplicate of a reference" in shown
    pairs = Result(here / "out").pairs(10, reason="reference")
    assert set(pairs["reason"].to_pylist()) == {"reference"}
    for row in pairs.to_pylist():
        one, other = (
            set(naive.word_shingles(text, 5)) for text in (row["text"], row["witness_text"])
        )
        assert naive.jaccard(one, other) == row["jaccard"]
    assert (
        "reference row"
        in dedupe("show", here / "out", "--pairs", "5", "--reason", "reference").stdout
    )
    number = Result(here / "out").keep_list_of(0).to_pylist()
    row = next(row["row"] for row in number if row["reason"] == "reference")
    assert "the reference" in in_one_line(dedupe("show", here / "out", "--row", f"0:{row}").stdout)


def test_many_references_of_one_template():
    random_ = random.Random(7)
    base = [f"word{number}" for number in range(60)]
    texts = [" ".join(corpora.edited(random_, base, 1)) for _ in range(400)]
    references, rows = texts[:300], texts[300:]
    result = deduplicate([{"text": t} for t in rows], against=[{"text": t} for t in references])
    sets = [[sets_of({"text": text}, SINGLE) for text in part] for part in (rows, references)]
    assert stated(result, {"<reference>": 0}) == decided(*sets, 0.8)


@pytest.mark.parametrize("given", [{}, {"tuning": CUT}, {"sample": 60}])
@pytest.mark.parametrize("recall", [0.99, "exact", 0.2])
def test_audit_measures_what_is_kept_beside_references(here, tmp_path, given, recall):
    result = run(here, tmp_path / "out", recall=recall)
    found = audit(tmp_path / "out", **given)
    assert found.broken["untouched"] == {}
    assert found.wrongly_dropped.count == 0
    rows = rows_of(here / "corpus")
    kept = [row["text"] for row, keep in zip(rows, result.mask(), strict=True) if keep]
    references = [sets_of(row, SINGLE) for row in rows_of(here / "against")]
    beside = sum(
        any(min(field_similarities(sets, one)) >= 0.8 for one in references if any(one))
        for text in kept
        if any(sets := sets_of({"text": text}, SINGLE))
    )
    if found.every:
        assert found.beside_reference.count == beside
        assert (found.beside_reference.count == 0) == (recall != 0.2)


def test_audit_tells_of_a_row_that_should_have_gone(here, tmp_path):
    result = run(here, tmp_path / "out")

    def kept(table):
        row = first_dropped(table, "reference")
        for column, value in (
            ("keep", True),
            ("reason", "unique"),
            ("witness_shard", None),
            ("witness_row", None),
            ("jaccard", None),
        ):
            table = with_values(table, column, [row], [value])
        return table

    falsify(result, 0, kept)
    found = audit(tmp_path / "out")
    assert list(found.broken["untouched"]) == ["pairs of a kept row and a reference"]
    assert found.beside_reference.count == 1
    (_, (path, _)), *_ = found.examples["pairs of a kept row and a reference"]
    assert path.startswith(str(here / "against"))
    done = dedupe("audit", tmp_path / "out")
    assert done.returncode == 1
    assert "guarantee 6 untouched means untouched: broken" in done.stdout


@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_a_contaminated_row_is_contaminated_whatever_else_it_duplicates(recall):
    texts = [" ".join(corpora.WORDS[start : start + 40]) for start in (0, 100, 200)]
    question = " ".join(corpora.WORDS[5:25])
    rows = [
        {"text": texts[0]},
        {"text": texts[1]},
        {"text": texts[0] + " again"},
        {"text": texts[2]},
    ]
    result = deduplicate(
        rows,
        against=[{"text": texts[0]}, {"text": texts[1]}],
        evals=[{"question": question, "answer": "a"}],
        recall=recall,
    )
    found = result.keep_list().to_pylist()
    assert [row["reason"] for row in found] == [
        "contaminated",
        "reference",
        "contaminated",
        "unique",
    ]
    assert [row["witness_shard"] for row in found] == ["<evals>", "<reference>", "<evals>", None]
    assert result.summary["references"][0]["dropped"] == 1
    assert result.kept == 1
