"""Items of test sets in rows of a corpus: every pair against the oracle, and what becomes of it."""

from __future__ import annotations

import json
import random

import naive
import naive_contamination
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import dedupe
from dedupe.cli import cli
from dedupe.contamination import common as common_stage
from dedupe.contamination import match as match_stage
from dedupe.errors import CorpusError, SettingsError, WorkDirError
from dedupe.evals import Evals

WORDS = [
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"),
    *("café", "\ufb01ne", "\uff21\uff22\uff23", "naïve", "x1", "3.5", "co-op", "über", "straße"),
    *("soft\u00adhyphen", "ab\u0301c", "\\*star", "\u0391\u03bb\u03c6\u03b1", "nb\u00a0sp"),
    *(
        "处。闻，啼",
        "、、",
        "ก\u0e48า\u0e49",
        "\uff3c\uff0a",
        "\u1112\u1161\u11ab",
        "İ",
        "“quoted”",
    ),
]
HAN = list("春眠不觉晓处处闻啼鸟夜来风雨声花落知多少")


def sentence(draw, words, low, high):
    return " ".join(draw.choices(words, k=draw.randint(low, high)))


def made_corpus(seed):
    """(rows, items): items in rows as they are, with words changed, in pieces, and not at all."""
    draw = random.Random(seed)
    vocabulary = [f"{word}{number}" for word in WORDS for number in ("", "a", "b", "1")]
    few = vocabulary[:12]
    items = []
    for number in range(30):
        words = few if number % 5 == 0 else vocabulary
        item = {"question": sentence(draw, words, 1, 30), "answer": sentence(draw, words, 0, 6)}
        if number % 7 == 0:
            item["question"] = "".join(draw.choices(HAN, k=draw.randint(3, 40)))
            item["answer"] = "".join(draw.choices(HAN, k=3))
        if number % 4 == 0:
            item["passage"] = sentence(draw, vocabulary, 5, 40)
        items.append({"question": "", "answer": "", "passage": "", **item})
    rows = []
    for number in range(60):
        parts = [sentence(draw, draw.choice([few, vocabulary]), 0, 20)]
        for item in draw.choices(items, k=draw.randint(0, 2)):
            words = item["question"].split() if number % 3 else list(item["question"])
            for place in range(len(words)):
                if draw.random() < draw.choice([0, 0.05, 0.2]):
                    words[place] = draw.choice(vocabulary)
            blank = draw.choice([" ", "\n", "  "]) if number % 3 else ""
            parts += [blank.join(words), item["passage"] if number % 2 else ""]
            parts.append(item["answer"] if draw.random() < 0.7 else "")
            parts.append(sentence(draw, vocabulary, 0, 10))
        if number % 10 == 0:
            draw.shuffle(parts)
        rows.append({"text": " ".join(filter(None, parts)), "source": f"s{number % 3}"})
    rows += [{"text": "", "source": "s0"}, {"text": "???", "source": "s0"}]
    return rows, items


def run(tmp_path, rows, items, name="out", **keywords):
    for path, lines in (("corpus.jsonl", rows), ("tests.jsonl", items)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if not (tmp_path / path).exists() or (tmp_path / path).read_text() != text:
            (tmp_path / path).write_text(text)
    given = {"question": "question", "answer": "answer", "passage": "passage"}
    given |= {k: keywords.pop(k) for k in ("containment", "shingle") if k in keywords}
    sets = Evals(tmp_path / "tests.jsonl", **given)
    return dedupe.decontaminate(
        tmp_path / "corpus.jsonl", tmp_path / name, evals=sets, text="text", **keywords
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("plain", [3, 2])
def test_every_pair_is_that_of_the_oracle(tmp_path, monkeypatch, seed, plain):
    monkeypatch.setattr(common_stage, "LEAST_COMMON", 6)
    rows, items = made_corpus(seed)
    tuning = dedupe.Tuning(task_text=2000, shard_bytes=1, batch_bytes=1000)
    result = run(tmp_path, rows, items, shingle=f"word:{plain}", tuning=tuning)
    found = pq.read_table(tmp_path / "out" / "contamination.parquet").to_pylist()
    texts = [item[part] for item in items for part in ("question", "passage")]
    of_rows = [(row["text"], row["source"]) for row in rows]
    common = naive_contamination.common_shingles(of_rows, texts, plain, 6)
    expected, spans = {}, {}
    for number, row in enumerate(rows):
        for place, item in enumerate(items):
            for pair in naive_contamination.pairs(row["text"], item, plain, common):
                key = (number, place, pair.part, pair.evidence)
                expected[key] = (pair.shared, pair.shingles)
                spans[key] = naive.tokens(row["text"])[pair.first : pair.end]
    keys = [(one["row"], one["eval_row"], one["part"], one["evidence"]) for one in found]
    assert len(set(keys)) == len(keys)
    got = {key: (one["shared"], one["shingles"]) for key, one in zip(keys, found, strict=True)}
    assert got == expected
    assert len(expected) > 10
    for key, one in zip(keys, found, strict=True):
        row, item, part, _ = key
        shown = rows[row]["text"][one["span_start"] : one["span_end"]]
        assert naive.tokens(shown) == spans[key]
        assert shown == shown.strip()
        words = naive.tokens(items[item][part])
        assert one["longest"] == naive_contamination.longest_run(spans[key], words)

    convicted = {}
    for row, item, part, evidence in expected:
        shared, of = expected[row, item, part, evidence]
        if part == "question" and (evidence != "containment" or shared / of >= 0.6):
            convicted.setdefault(row, []).append((-shared / of, -shared, item))
    kept = result.keep_list().to_pylist()
    for number, row in enumerate(kept):
        if number in convicted:
            share, _, item = min(convicted[number])
            assert (row["reason"], row["keep"]) == ("contaminated", False)
            assert (row["witness_row"], row["containment"]) == (item, -share)
            assert row["witness_shard"] == str(tmp_path / "tests.jsonl")
        else:
            assert row["reason"] == ("unique" if rows[number]["text"] else "empty")
            assert row["keep"]
            assert row["containment"] is None
    assert result.summary["reasons"]["contaminated"] == len(convicted)
    assert result.kept == len(rows) - len(convicted)
    assert result.summary["contamination"]["common"]["shingles"] == len(common)


def test_how_the_run_is_cut_changes_nothing(tmp_path, monkeypatch):
    rows, items = made_corpus(11)
    one = run(tmp_path, rows, items, "one")
    cut = dedupe.Tuning(task_text=500, shard_bytes=1, batch_bytes=300)
    many = run(tmp_path, rows, items, "many", workers=3, tuning=cut)
    assert many.summary["stages"]["scan"]["tasks"] > one.summary["stages"]["scan"]["tasks"]
    monkeypatch.setattr(match_stage, "MOST_PAIRS", 3)
    monkeypatch.setattr(match_stage, "GROUP_ROWS", 5)
    pieces = run(tmp_path, rows, items, "pieces")
    assert one.summary["contamination"]["pairs"] > 20
    for result in (many, pieces):
        for what in ("rows", "pairs", "benchmarks"):
            assert result.summary["contamination"][what] == one.summary["contamination"][what]
    for name in ("contamination.parquet", "evals.parquet", "keep/00000-corpus.parquet"):
        tables = [pq.read_table(tmp_path / out / name) for out in ("one", "many", "pieces")]
        assert tables[0].equals(tables[1])
        assert tables[0].equals(tables[2])


def test_evals_says_what_became_of_each_item(tmp_path):
    long_text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    items = [
        {"question": long_text, "answer": "x"},
        {"question": "a question that nobody has asked in any row of all this corpus so far"},
        {"question": "what is two and two", "answer": "four"},
        {"question": "what is two and three"},
        {"question": ""},
        {"question": "why", "answer": " ".join(["because"] * 60)},
        {"question": "no " * 20},
    ]
    items = [{"question": "", "answer": "", "passage": "", **item} for item in items]
    rows = [
        {"text": f"before {long_text} after"},
        {"text": "What is two and two? The answer: four."},
        {"text": "what is two and two, and then " + "much " * 50 + "four"},
        {"text": "what is two and three"},
    ]
    result = run(tmp_path, rows, items)
    table = pq.read_table(tmp_path / "out" / "evals.parquet").to_pylist()
    assert [one["status"] for one in table] == [
        "contaminated", "clean", "contaminated", *["uncheckable"] * 4
    ]  # fmt: skip
    assert [one["why"] for one in table] == [
        None,
        None,
        None,
        "a short question without an answer",
        "no question",
        "a short question and its answer have more than 50 words",
        "fewer than 10 different shingles",
    ]
    assert [one["rows"] for one in table] == [1, 0, 1, 0, 0, 0, 0]
    assert table[0]["containment"] == 1.0
    assert table[0]["longest"] == 13
    found = result.keep_list().to_pylist()
    assert [one["keep"] for one in found] == [False, False, True, True]
    assert found[1]["evidence"] == "question and answer"
    text = rows[1]["text"]
    assert text[found[1]["span_start"] : found[1]["span_end"]] == text[:-1]


def test_an_answer_inside_its_question_is_none(tmp_path):
    items = [{"question": "is water wet or dry", "answer": "wet", "passage": ""}]
    rows = [{"text": "is water wet or dry"}, {"text": "is water wet or dry? It is wet"}]
    assert run(tmp_path, rows, items).mask().tolist() == [True, False]


def test_a_passage_alone_convicts_nobody(tmp_path):
    passage = " ".join(f"word{i}" for i in range(40))
    items = [{"question": "who wrote it", "answer": "they did", "passage": passage}]
    result = run(tmp_path, [{"text": passage}], items)
    assert result.mask().tolist() == [True]
    (pair,) = pq.read_table(tmp_path / "out" / "contamination.parquet").to_pylist()
    assert (pair["part"], pair["containment"]) == ("passage", 1.0)
    (item,) = pq.read_table(tmp_path / "out" / "evals.parquet").to_pylist()
    assert (item["status"], item["passage_rows"]) == ("clean", 1)


def test_a_question_spread_over_a_long_document_is_no_hit(tmp_path):
    words = [f"w{i}" for i in range(24)]
    spread = " ".join(" ".join(words[i : i + 3]) + " filler" * 60 for i in range(0, 24, 3))
    items = [{"question": " ".join(words), "answer": "", "passage": ""}]
    result = run(tmp_path, [{"text": spread}, {"text": " ".join(words)}], items)
    assert result.mask().tolist() == [True, False]


def near_copies(count=6):
    """Rows of which all are near one another, and the first has an item of a test set."""
    base = [f"base{i}" for i in range(60)]
    question = " ".join(f"ask{i}" for i in range(14))
    rows = [" ".join([*base[:50], "x", *base[50:]])] * count
    return [f"{rows[0]} {question}", *rows], question


@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_a_contaminated_row_is_nobodys_witness(tmp_path, recall):
    texts, question = near_copies()
    rows = [{"text": text, "id": str(i)} for i, text in enumerate(texts)]
    items = [{"question": question, "answer": "yes", "id": "q-1"}]
    keywords = {"threshold": 0.5, "recall": recall, "keep": "longest", "id": "id"}
    alone = dedupe.deduplicate(rows, **keywords).keep_list().to_pylist()
    assert [row["reason"] for row in alone] == ["representative", *["near"] * 6]
    result = dedupe.deduplicate(rows, tmp_path / "out", evals=items, **keywords)
    found = result.keep_list().to_pylist()
    assert [row["reason"] for row in found] == ["contaminated", "representative", *["exact"] * 5]
    assert (found[0]["witness_shard"], found[0]["witness_row"]) == ("<evals>", 0)
    assert found[0]["witness_id"] == "q-1"
    assert (found[0]["jaccard"], found[0]["cluster"]) == (None, None)
    assert {row["witness_row"] for row in found[2:]} == {1}
    assert result.kept == 1
    others = dedupe.deduplicate(rows[1:], **keywords).keep_list()
    for name in ("keep", "reason", "jaccard"):
        assert result.keep_list()[name].to_pylist()[1:] == others[name].to_pylist()


def test_a_run_without_test_sets_names_no_such_reason(tmp_path):
    rows = [{"text": "some words"}]
    schema = dedupe.deduplicate(rows).keep_list().schema
    assert "containment" not in schema.names
    table = dedupe.deduplicate(rows).keep_list()
    names = table["reason"].chunk(0).dictionary.to_pylist()
    assert names == ["unique", "representative", "exact", "near", "empty"]


def test_fields_of_a_chat_are_looked_at_as_one_text(tmp_path):
    chat = [
        {"role": "user", "content": "What is the tallest hill of Atlantis?"},
        {"role": "assistant", "content": "Mount Nowhere"},
    ]
    items = [{"question": "What is the tallest hill of Atlantis?", "answer": "Mount Nowhere"}]
    result = dedupe.deduplicate([{"messages": chat}], evals=items)
    assert result.keep_list()["reason"].to_pylist() == ["contaminated"]


def test_a_killed_run_goes_on_and_another_command_is_refused(tmp_path, monkeypatch):
    rows, items = made_corpus(3)
    from dedupe.contamination import report as stages

    def killed(*_):
        raise SettingsError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(stages, "report_task", killed)
        with pytest.raises(SettingsError, match="killed"):
            run(tmp_path, rows, items)
    result = run(tmp_path, rows, items)
    times = result.summary["stages"]
    assert [times[name]["resumed"] for name in ("items", "scan", "match", "report")] == [1, 1, 1, 0]
    again = run(tmp_path, rows, items)
    assert again.summary == result.summary
    with pytest.raises(WorkDirError, match="containment"):
        run(tmp_path, rows, items, containment=0.8)


def test_mistakes_are_told(tmp_path):
    rows = [{"text": "some words"}]
    with pytest.raises(SettingsError, match="containment"):
        Evals("x", containment=0.3)
    with pytest.raises(SettingsError, match="word:N"):
        Evals("x", shingle="char:3")
    with pytest.raises(CorpusError, match="--question"):
        dedupe.decontaminate(rows, evals=[{"title": "x"}])
    path = tmp_path / "same.jsonl"
    path.write_text('{"text": "some words"}\n')
    with pytest.raises(SettingsError, match="in the corpus, too"):
        dedupe.decontaminate(path, evals=path)


def test_items_that_do_not_fit_memory_are_told(tmp_path, monkeypatch):
    from dedupe.contamination import items as of_items

    monkeypatch.setattr(of_items, "ITEM_BYTES", 10**10)
    with pytest.raises(SettingsError, match="raise --memory"):
        dedupe.decontaminate([{"text": "a b"}], evals=[{"question": "a b", "answer": "c"}])


def test_the_table_of_test_sets_is_by_source(tmp_path):
    question = " ".join(f"ask{i}" for i in range(14))
    rows = [{"text": question, "from": "web"}, {"text": question, "from": "book"}, {"text": "x"}]
    items = [{"question": question, "benchmark": "b"}, {"question": "why", "benchmark": "a"}]
    for command in (dedupe.decontaminate, dedupe.deduplicate):
        found = command(rows, evals=items, by="from").summary["contamination"]
        assert found["rows"] == 2
        assert found["benchmarks"] == [
            {
                "benchmark": "a",
                "items": 1,
                "contaminated": 0,
                "uncheckable": 1,
                "rows_by_source": {},
            },
            {
                "benchmark": "b",
                "items": 1,
                "contaminated": 1,
                "uncheckable": 0,
                "rows_by_source": {"book": 1, "web": 1},
            },
        ]


def test_ids_of_several_kinds(tmp_path):
    question = " ".join(f"ask{i}" for i in range(14))
    rows = [{"text": question, "id": 5}, {"text": "other words", "id": 6}]
    result = dedupe.decontaminate(rows, evals=[{"question": question, "id": "q"}], id="id")
    found = result.keep_list().to_pylist()
    assert [row["id"] for row in found] == [5, 6]
    assert found[0]["witness_id"] is None
    assert result.ids().to_pylist() == [6]
    assert np.array_equal(result.mask(), [False, True])


def test_rows_that_cannot_be_read_are_left_out(tmp_path):
    question = " ".join(f"ask{i}" for i in range(14))
    path = tmp_path / "corpus.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{{"text": \n{{"text": "{question}"}}\n')
    for command in (dedupe.decontaminate, dedupe.deduplicate):
        result = command(path, evals=[{"question": question}], on_bad_row="skip")
        reasons = result.keep_list()["reason"].to_pylist()
        assert reasons == ["unique", "unreadable", "contaminated"]
        assert result.kept == 1


def test_an_answer_may_be_the_number_or_the_letter_of_a_choice():
    question = "who found the island"
    rows = [{"text": f"{question}? Captain Nobody"}, {"text": f"{question}? 1 b"}]
    choices = ["a sailor", "Captain Nobody", "three"]
    for item in (
        {"question": question, "choices": choices, "answer": 1},
        {"question": question, "choices": choices, "answer": "B"},
        {"question": question, "choices": choices, "answer": "Captain Nobody"},
        {
            "question": question,
            "choices": {"text": choices, "label": ["1", "2", "3"]},
            "answerKey": "2",
        },
    ):
        assert dedupe.decontaminate(rows, evals=[item]).mask().tolist() == [False, True]


@pytest.mark.parametrize(
    "item",
    [
        {"question": "q", "answer": "a"},
        {"problem": "q", "answer": "a", "solution": "b"},
        {"prompt": "q", "completion": "a"},
        {"instruction": "q", "input": "", "output": "a"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"text": "q", "answer": "a"},
    ],
    ids=lambda item: "-".join(item),
)
def test_columns_are_guessed(item):
    replies = dedupe.decontaminate([{"text": "q or a"}], evals=[item])
    assert replies.mask().tolist() == [False]


# --- the command line --------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    question = "Which of the seven bridges of the old town was built before the great fire?"
    rows = [
        {"text": f"Some words before. {question} And some behind.", "id": "a"},
        {"text": "nothing of this has leaked", "id": "b"},
        {"text": "nothing of this has leaked", "id": "c"},
    ]
    items = [{"question": question, "answer": "The third", "id": "q1", "benchmark": "bridges"}]
    for name, lines in (("corpus", rows), ("tests", items)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def told(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_decontaminate_show_and_apply(files):
    corpus, tests, out = files / "corpus.jsonl", files / "tests.jsonl", files / "out"
    shown = told("decontaminate", corpus, "--evals", tests, "-o", out, "--id", "id")
    assert "dropped: a question of a test set stands in it" in shown
    assert "bridges" in shown
    assert "dedupe audit" not in shown
    row = told("show", out, "--row", "0:0")
    assert "[-Which of the seven bridges" in " ".join(row.split())
    assert "The third" in row
    pairs = told("show", out, "--pairs", "5")
    assert "[-Which of the seven bridges" in " ".join(pairs.split())
    (found,) = json.loads(told("show", out, "--pairs", "5", "--json"))
    assert found["item"]["answer"] == "The third"
    assert found["text"][found["span_start"] : found["span_end"]].startswith("Which of")
    told("apply", out, "-o", files / "clean", "-q")
    left = [
        json.loads(line) for line in (files / "clean" / "corpus.jsonl").read_text().splitlines()
    ]
    assert [row["id"] for row in left] == ["b", "c"]
    done = CliRunner().invoke(cli, ["audit", str(out)])
    assert "no duplicates to look for" in str(done.exception)


def test_run_with_evals_show_and_audit(files):
    corpus, tests, out = files / "corpus.jsonl", files / "tests.jsonl", files / "out"
    told("run", corpus, "--evals", tests, "-o", out, "-q", "--question", "question")
    reasons = dedupe.Result(out).keep_list()["reason"].to_pylist()
    assert reasons == ["contaminated", "representative", "exact"]
    told("audit", out, "-q", "--full")
    found = dedupe.audit(out)
    assert found.ok
    assert found.wrongly_dropped.share == 0
    shown = told("show", out, "--pairs", "5", "--reason", "contaminated")
    assert "[-Which of the seven bridges" in " ".join(shown.split())
    assert "because of" in told("show", out, "--pairs", "5")


def test_options_of_test_sets_go_with_test_sets(files):
    given = ["run", str(files / "corpus.jsonl"), "-o", str(files / "out")]
    done = CliRunner().invoke(cli, [*given, "--containment", "0.8"])
    assert "--evals" in str(done.exception)
    done = CliRunner().invoke(cli, ["decontaminate", *given[1:]])
    assert "--evals" in str(done.exception)


def test_public_test_sets_are_listed():
    assert "hf://datasets/openai/gsm8k" in "".join(told("evals").split())
    found = json.loads(told("evals", "--json"))
    for one in found:
        parts = Evals("x").parts_of(one["columns"])
        assert {"question", "answer"} <= parts.keys()


@pytest.mark.parametrize("command", [dedupe.decontaminate, dedupe.deduplicate])
def test_files_that_cannot_be_read_are_left_out(files, command):
    corpus = files / "in"
    corpus.mkdir()
    (corpus / "a.jsonl").write_text((files / "corpus.jsonl").read_text())
    (corpus / "b.parquet").write_bytes(b"PAR1 and nothing else")
    (corpus / "c.jsonl").write_text((files / "corpus.jsonl").read_text())
    tuning = dedupe.Tuning(task_text=100, shard_bytes=1)
    result = command(
        corpus, files / "out", evals=files / "tests.jsonl", on_bad_file="skip", tuning=tuning
    )
    assert list(result.summary["corpus"]["unreadable"]["files"]) == [str(corpus / "b.parquet")]
    assert result.summary["reasons"]["contaminated"] == 2
    reasons = result.keep_list()["reason"].to_pylist()
    assert [place for place, one in enumerate(reasons) if one == "contaminated"] == [0, 3]
