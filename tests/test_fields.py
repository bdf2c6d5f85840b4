"""Fields, groups and numbers in whole runs: guarantees 1 and 2, by brute force on plain sets."""

from __future__ import annotations

import itertools
import json
import random

import naive
import numpy as np
import pyarrow as pa
import pytest

from dedupe import apply, audit, deduplicate
from dedupe.config import Settings
from dedupe.errors import CorpusError, SettingsError
from dedupe.planning.banding import Banding
from dedupe.shingling import Shingler
from dedupe.stages.sign import Signer

WORDS = [f"w{number}" for number in range(60)]


def changed(draw: random.Random, text: str, share: float) -> str:
    return " ".join(draw.choice(WORDS) if draw.random() < share else word for word in text.split())


def some_rows(seed: int, count: int = 120) -> list[dict]:
    """Prompts over a few passages, answers of a few kinds: near, equal, swapped and empty ones."""
    draw = random.Random(seed)
    passages = [" ".join(draw.choices(WORDS, k=draw.choice([4, 30, 80]))) for _ in range(4)]
    rows = []
    for _ in range(count):
        prompt = changed(draw, draw.choice(passages), draw.choice([0, 0, 0.01, 0.05, 0.3]))
        answer = changed(draw, draw.choice(passages), draw.choice([0, 0, 0.02, 0.5]))
        kind = draw.randrange(12)
        if kind == 0:
            answer = ""
        elif kind == 1:
            prompt = None
        elif kind == 2:
            prompt, answer = answer, prompt
        elif kind == 3:
            answer = prompt
        elif kind == 4:
            prompt, answer = "", None
        elif kind == 5:
            answer = draw.choice(["yes", "no", "7", "???"])
        row = {"instruction": prompt, "input": None, "output": answer}
        rows.append(row | {"lang": draw.choice(["de", "en", None]), "page": draw.choice([1, 2])})
    return rows


def sets_of(row: dict, fields: list[list[str]]) -> list[frozenset]:
    """The shingle set of each field, a list of columns."""
    texts = ["\n".join(row[name] or "" for name in columns) for columns in fields]
    return [frozenset(naive.word_shingles(text, 5)) for text in texts]


def field_similarities(one: list[frozenset], other: list[frozenset]) -> list[float]:
    return [naive.jaccard(*pair) for pair in zip(one, other, strict=True)]


ALPACA = [["instruction", "input"], ["output"]]
WHOLE = [["instruction", "input", "output"]]
CASES = [
    ({}, ALPACA, []),
    ({"threshold": 0.5}, ALPACA, []),
    ({"match": "whole"}, WHOLE, []),
    ({"text": ["instruction", "output"]}, [["instruction", "output"]], []),
    ({"text": ["instruction", "output"], "match": "fields"}, [["instruction"], ["output"]], []),
    ({"within": "lang"}, ALPACA, ["lang"]),
    ({"within": ["lang", "page"], "threshold": 0.6}, ALPACA, ["lang", "page"]),
    ({"within": "page", "text": "output"}, [["output"]], ["page"]),
]


@pytest.mark.parametrize(("given", "fields", "groups"), CASES)
@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_every_deletion_is_proven_field_by_field(given, fields, groups, recall):
    for seed in range(3):
        rows = some_rows(seed)
        table = pa.Table.from_pylist(rows)
        result = deduplicate(table, recall=recall, **given)
        found = result.keep_list().to_pylist()
        threshold = given.get("threshold", 0.8)
        sets = [sets_of(row, fields) for row in rows]
        same = lambda i, j: all(rows[i][name] == rows[j][name] for name in groups)  # noqa: B023, E731
        for number, row in enumerate(found):
            if not any(sets[number]):
                assert row["reason"] == "empty"
                continue
            if row["keep"]:
                continue
            witness = row["witness_row"]
            assert found[witness]["keep"]
            assert same(number, witness)
            values = field_similarities(sets[number], sets[witness])
            assert row["jaccard"] == min(values) >= threshold
            if len(fields) > 1:
                assert values == [row[name] for name in row if name.startswith("jaccard_")]
        kept = [i for i, row in enumerate(found) if row["keep"] and any(sets[i])]
        if recall == "exact":
            for one, other in itertools.combinations(kept, 2):
                values = field_similarities(sets[one], sets[other])
                assert not (same(one, other) and min(values) >= threshold)


@pytest.mark.parametrize("seed", range(200))
def test_the_least_field_never_exceeds_the_whole(seed):
    """Why bands planned for whole documents find all duplicates: the mediant inequality."""
    draw = random.Random(seed)
    fields = draw.randrange(1, 5)
    universe = range(draw.choice([3, 10, 40]))
    pair = [
        [frozenset(draw.sample(universe, draw.randrange(len(universe)))) for _ in range(fields)]
        for _ in range(2)
    ]
    whole = [{(f, one) for f, part in enumerate(side) for one in part} for side in pair]
    assert min(field_similarities(*pair)) <= naive.jaccard(*whole)


def similar_rows(result) -> list[bool]:
    return result.mask().tolist()


def test_what_rows_of_other_fields_or_groups_share():
    text = " ".join(WORDS[:40])
    rows = [
        {"prompt": text, "completion": "yes"},
        {"prompt": "yes", "completion": text},  # swapped
        {"prompt": text, "completion": "no"},
        {"prompt": text, "completion": None},
        {"prompt": text, "completion": "yes"},
    ]
    table = pa.Table.from_pylist(rows)
    assert similar_rows(deduplicate(table)) == [True, True, True, True, False]
    assert similar_rows(deduplicate(table, match="whole", threshold=0.7)) != [True] * 4 + [False]
    assert similar_rows(deduplicate(table, compare="prompt")) == [True, True, False, False, False]
    assert similar_rows(deduplicate(table, near=False)) == [True, True, True, True, False]


def test_chats_are_compared_by_prompt_and_answer():
    def chat(question, answer, role="assistant"):
        turns = [("system", "be brief"), ("user", question), (role, answer)]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    long = " ".join(WORDS)
    rows = [
        chat(f"{long} first question here", "one answer"),
        chat(f"{long} first question here", "another answer"),
        chat(f"{long} first question here", "one answer"),
        chat(f"{long} first question here", "one answer", role="user"),
    ]
    table = pa.Table.from_pylist(rows)
    result = deduplicate(table)
    assert similar_rows(result) == [True, True, False, True]
    assert list(result.summary["documents"][0]["fields"]) == ["system", "prompt", "answer"]
    assert similar_rows(deduplicate(table, match="whole")) == [True, False, False, False]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", "b", "a", None, None], [1, 1, 0, 1, 0]),
        ([1, 2, 1, None, None], [1, 1, 0, 1, 0]),
        ([1.5, float("nan"), float("nan"), None, 1.5], [1, 1, 0, 1, 0]),
        ([True, False, True, None, None], [1, 1, 0, 1, 0]),
        ([b"\xff", b"\xfe", b"\xff", b"", None], [1, 1, 0, 1, 1]),
        (["", None, "", None, "null"], [1, 1, 0, 0, 1]),
    ],
)
def test_values_of_groups(values, expected):
    table = pa.table({"text": ["one two three four five six"] * 5, "group": pa.array(values)})
    assert similar_rows(deduplicate(table, within="group")) == list(map(bool, expected))
    spelled = table.set_column(1, "group", table["group"].combine_chunks().dictionary_encode())
    assert similar_rows(deduplicate(spelled, within="group")) == list(map(bool, expected))


def test_groups_have_one_type_and_a_column(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.jsonl").write_text('{"text": "one two", "group": 1}\n')
    (corpus / "b.jsonl").write_text('{"text": "one two", "group": "1"}\n')
    with pytest.raises(CorpusError, match=r'"group" is .* the groups of a run must have one type'):
        deduplicate(corpus, tmp_path / "out", within="group")
    with pytest.raises(CorpusError, match='no column "nothing"'):
        deduplicate(corpus / "a.jsonl", tmp_path / "out", within="nothing")


def test_groups_whose_short_hashes_collide_are_apart():
    """Signatures see 32 bits of a salt: rows that agree in these are candidates, no duplicates."""
    salts: dict[int, str] = {}
    shingler = Shingler(Settings(within="group"))
    names = [f"g{number}" for number in range(200_000)]
    lower = shingler.row_salts([pa.array(names, pa.large_string())], len(names)) & np.uint64(
        0xFFFFFFFF
    )
    pair = next(
        (name, salts[low])
        for name, low in zip(names, lower.tolist(), strict=True)
        if salts.setdefault(low, name) != name
    )
    text = "one two three four five six seven"
    settings = Settings(within="group")
    batch = pa.RecordBatch.from_arrays(
        [pa.array([text, text], pa.large_string()), pa.array(pair)], ["text", "group"]
    )
    signed = Signer(settings, Banding(4, 4)).sign(batch)
    assert (signed.keys[0] == signed.keys[1]).all()
    assert (signed.digests[0] != signed.digests[1]).any()
    table = pa.table({"text": [text, text], "group": pair})
    assert similar_rows(deduplicate(table, within="group")) == [True, True]


def test_rows_with_other_numbers_are_apart():
    rows = [
        "the sum of 12000 euro is paid on 4 March 2021 to the seller of the goods",
        "the sum of 13000 euro is paid on 4 March 2021 to the seller of the goods",
        "the sum of 12000 euro is paid on 4 March 2021 to the seller of the wares",
        "the sum of １２０００ euro is paid on 4 March 2021 to the seller of the goods",
        "the sum of 4 euro is paid on 12000 March 2021 to the seller of the goods",
        "no number",
        "no number",
    ]
    table = pa.table({"text": rows})
    expected = [True, True, False, False, True, True, False]
    given = {"threshold": 0.4, "shingle": "word:2"}
    assert similar_rows(deduplicate(table, distinct="numbers", **given)) == expected
    assert not similar_rows(deduplicate(table, **given))[1]
    with pytest.raises(SettingsError, match="ignored and told apart"):
        Settings(ignore="numbers", distinct="numbers")


@pytest.mark.parametrize("cluster", ["cover", "transitive"])
@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_what_a_drop_loses(cluster, recall):
    """The longest run of words that no shingle shared with the witness covers, field by field."""
    for seed in range(3):
        rows = some_rows(seed, 150)
        result = deduplicate(
            pa.Table.from_pylist(rows), threshold=0.5, cluster=cluster, recall=recall
        )
        for number, row in enumerate(result.keep_list().to_pylist()):
            if row["keep"]:
                assert row["lost"] is None
                continue
            losses = []
            for columns in ALPACA:
                text, other = (
                    "\n".join(rows[place][name] or "" for name in columns)
                    for place in (number, row["witness_row"])
                )
                losses.append(lost(text, other))
            assert row["lost"] == max(losses)


def lost(text: str, other: str, size: int = 5) -> int:
    words = naive.tokens(text)
    theirs = naive.word_shingles(other, size)
    covered = [False] * len(words)
    width = min(size, len(words))
    for start in range(len(words) - width + 1):
        if tuple(words[start : start + width]) in theirs:
            covered[start : start + width] = [True] * width
    runs = [len(list(run)) for is_covered, run in itertools.groupby(covered) if not is_covered]
    return max(runs, default=0)


def test_characters_lose_no_words():
    table = pa.table({"text": ["one two three four"] * 2})
    assert deduplicate(table, shingle="char:5").keep_list()["lost"].to_pylist() == [None, None]


def test_a_run_over_fields_is_audited_applied_and_shown(tmp_path):
    rows = some_rows(7, 400)
    path, out = tmp_path / "rows.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = deduplicate(path, out, within="lang")
    assert sum(result.summary["lost"].values()) == 400 - result.kept
    found = audit(out, full=True)
    assert found.faults == []
    assert found.recall.share > 0.99
    apply(out, tmp_path / "clean", dropped=tmp_path / "gone")
    gone = [
        json.loads(line) for line in (tmp_path / "gone" / "rows.jsonl").read_text().splitlines()
    ]
    assert {"dedupe_jaccard_prompt", "dedupe_jaccard_answer", "dedupe_lost"} <= gone[0].keys()
