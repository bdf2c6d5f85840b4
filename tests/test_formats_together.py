"""Chats, preference pairs, instructions and texts in one corpus: whole runs, by brute force."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from moments import At, Killed

from dedupe import Result, Tuning, apply, audit, deduplicate
from dedupe.cli import cli
from dedupe.commands.show import explain_row
from dedupe.config import Settings
from dedupe.documents.mixed import Documents
from dedupe.documents.shapes import choose
from dedupe.shingling import Shingler

Row = dict[str, Any]
WORDS = [f"w{number}" for number in range(60)]
PASSAGES = 3
SMALL = Tuning(task_text=2_000, task_rows=30, survey_shards=2, bucket_records=500, fan_in=3)


class Said:
    """What a row says, before it is put in a format."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        passages = random.Random(0)
        self.passages = [" ".join(passages.choices(WORDS, k=60)) for _ in range(PASSAGES)]

    def text(self) -> str | None:
        """A passage, mostly with few changes."""
        if self.draw.random() < 0.06:
            return self.draw.choice([None, "", "yes", "???"])
        share = self.draw.choice([0, 0, 0, 0.01, 0.2])
        words = self.draw.choice(self.passages).split()
        return " ".join(self.draw.choice(WORDS) if self.draw.random() < share else w for w in words)


def turns(said: Said, names: tuple[str, str], roles: tuple[str, str, str]) -> tuple[list[Row], Row]:
    """A conversation, and the text of each field."""
    fields: Row = {}
    messages = []
    for field, role, chance in zip(
        ("system", "prompt", "answer"), roles, (0.3, 1, 0.95), strict=True
    ):
        if said.draw.random() < chance:
            text = said.text()
            messages.append(dict(zip(names, (role, text), strict=True)))
            fields[field] = f"{role} {text}" if text else None
    return messages, fields


def messages(said: Said) -> tuple[Row, Row, Row]:
    made, fields = turns(said, ("role", "content"), ("system", "user", "assistant"))
    image = said.draw.choice([None, None, "a.jpg"])
    return {"messages": made, "image": image}, fields, {"image": image}


def sharegpt(said: Said) -> tuple[Row, Row, Row]:
    made, fields = turns(said, ("from", "value"), ("system", "human", "gpt"))
    return {"conversations": made}, fields, {}


def columns(*names: str) -> Callable[[Said], tuple[Row, Row, Row]]:
    """Rows in which each field is a column: the names of the fields, and then of the columns."""
    fields, given = names[: len(names) // 2], names[len(names) // 2 :]

    def made(said: Said) -> tuple[Row, Row, Row]:
        texts = [said.text() for _ in fields]
        return dict(zip(given, texts, strict=True)), dict(zip(fields, texts, strict=True)), {}

    return made


def alpaca(said: Said) -> tuple[Row, Row, Row]:
    row = {"instruction": said.text(), "input": None, "output": said.text(), "source": "x"}
    if said.draw.random() < 0.2:
        row["input"] = said.text()
    prompt = "\n".join(row[name] or "" for name in ("instruction", "input"))
    return row, {"prompt": prompt, "answer": row["output"]}, {}


def kto(said: Said) -> tuple[Row, Row, Row]:
    label = said.draw.choice(["good", "bad", None])
    row = {"prompt": said.text(), "completion": said.text(), "label": label}
    return row, {"prompt": row["prompt"], "answer": row["completion"]}, {"label": label}


FORMATS = {
    "messages": messages,
    "sharegpt": sharegpt,
    "preference": columns("prompt", "chosen", "rejected", "prompt", "chosen", "rejected"),
    "alpaca": alpaca,
    "prompt-completion": columns("prompt", "answer", "prompt", "completion"),
    "kto": kto,
    "text": columns("text", "text"),
    "content": columns("text", "content"),
    "prompt": columns("prompt", "prompt"),
}


class Corpus:
    """Files of several formats, and what brute force needs of their rows, in the same order."""

    def __init__(self, folder: Path, suffixes: list[str], seed: int = 0, turn: int = 0) -> None:
        self.folder = folder
        self.paths: list[str] = []
        self.forms: list[str] = []
        self.places: list[tuple[str, int]] = []
        self.sets: list[dict[str, frozenset[Any]]] = []
        self.equal: list[Row] = []
        folder.mkdir(parents=True)
        said = Said(random.Random(seed))
        files = [(form, [FORMATS[form](said) for _ in range(25)]) for form in (*FORMATS, "kto")]
        files = [*files[turn:], *files[:turn]]
        for number, (form, rows) in enumerate(files):
            path = folder / f"{number:02d}-{form}.{suffixes[number % len(suffixes)]}"
            write(path, [row for row, _, _ in rows])
            self.paths.append(str(path))
            self.forms.append(form)
            for place, (_, fields, equal) in enumerate(rows):
                self.places.append((str(path), place))
                self.sets.append(
                    {
                        name: frozenset(naive.word_shingles(text, 5))
                        for name, text in fields.items()
                        if text
                    }
                )
                self.equal.append({name: one for name, one in equal.items() if one})

    def similarities(self, one: int, other: int) -> dict[str, float]:
        """The similarity of two rows in each field that either has."""
        names = self.sets[one].keys() | self.sets[other].keys()
        left, right = self.sets[one], self.sets[other]
        none: frozenset[Any] = frozenset()
        return {name: naive.jaccard(left.get(name, none), right.get(name, none)) for name in names}

    def same(self, one: int, other: int) -> bool:
        similar = self.similarities(one, other).values()
        return self.equal[one] == self.equal[other] and min(similar) >= 0.8


def write(path: Path, rows: list[Row]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def bytes_of(result: Result) -> list[bytes]:
    return [file.read_bytes() for file in result.files]


@pytest.mark.parametrize("suffixes", [["jsonl"], ["parquet"], ["parquet", "jsonl"]])
@pytest.mark.parametrize("recall", [0.99, "exact"])
def test_every_deletion_is_proven_whatever_the_formats(tmp_path, suffixes, recall):
    crossed = set()
    for seed in range(2):
        corpus = Corpus(tmp_path / str(seed), suffixes, seed, turn=5 * seed)
        result = deduplicate(corpus.folder, recall=recall)
        documents = result.summary["documents"]
        assert [documents[shard["document"]]["format"] for shard in result.shards] == corpus.forms
        rows = result.keep_list().to_pylist()
        assert [(row["shard"], row["row"]) for row in rows] == corpus.places
        for number, row in enumerate(rows):
            assert (row["reason"] == "empty") == (not corpus.sets[number])
            if row["keep"]:
                continue
            witness = corpus.places.index((row["witness_shard"], row["witness_row"]))
            assert rows[witness]["keep"]
            assert corpus.same(number, witness)
            similar = corpus.similarities(number, witness)
            assert row["jaccard"] == min(similar.values())
            for name in ("system", "prompt", "answer", "chosen", "rejected", "text"):
                assert row[f"jaccard_{name}"] == similar.get(name, 1.0)
            forms = [
                corpus.forms[corpus.paths.index(one[0])]
                for one in (corpus.places[number], corpus.places[witness])
            ]
            if forms[0] != forms[1]:
                crossed.add(tuple(forms))
        left = [i for i, row in enumerate(rows) if row["keep"] and corpus.sets[i]]
        if recall == "exact":
            assert not any(corpus.same(*pair) for pair in itertools.combinations(left, 2))
    assert {("prompt-completion", "alpaca"), ("alpaca", "messages")} <= crossed | {
        pair[::-1] for pair in crossed
    }


def test_the_same_keep_list_however_it_is_made(tmp_path):
    corpus = Corpus(tmp_path / "corpus", ["jsonl", "parquet"])
    one = deduplicate(corpus.folder, tmp_path / "one", workers=1)
    assert one.kept < one.rows - 30
    many = deduplicate(
        corpus.folder,
        tmp_path / "many",
        workers=3,
        tuning=Tuning(**{**vars(SMALL), "batch_bytes": 500}),
    )
    assert bytes_of(many) == bytes_of(one)
    assert many.summary["stages"]["sign"]["tasks"] > 10
    for stage in ("survey", "sign", "bucket", "fetch", "verify", "keep"):
        out = tmp_path / stage
        with pytest.raises(Killed):
            deduplicate(corpus.folder, out, workers=1, tuning=SMALL, progress=At(stage))
        again = deduplicate(corpus.folder, out, tuning=Tuning(fan_in=SMALL.fan_in))
        assert bytes_of(again) == bytes_of(one)
        assert again.summary["documents"] == one.summary["documents"]
        assert (again.summary["stages"]["sign"]["resumed"] > 0) == (stage not in ("survey", "sign"))
    finished = deduplicate(corpus.folder, tmp_path / "one", format="auto")
    assert finished.summary == one.summary


def test_the_order_of_the_files_changes_nothing_but_which_copy_stays(tmp_path):
    first, last = (Corpus(tmp_path / str(turn), ["jsonl"], turn=turn) for turn in (0, 7))
    found = [deduplicate(corpus.folder, recall="exact", keep="longest") for corpus in (first, last)]
    for corpus, result in zip((first, last), found, strict=True):
        left = [i for i, keep in enumerate(result.mask().tolist()) if keep and corpus.sets[i]]
        assert not any(corpus.same(*pair) for pair in itertools.combinations(left, 2))


def test_a_finished_run_is_audited_shown_and_applied(tmp_path):
    corpus = Corpus(tmp_path / "corpus", ["jsonl", "parquet"])
    out = tmp_path / "out"
    notes = At("none")
    result = deduplicate(corpus.folder, out, progress=notes)
    for line in [
        "compares each file by its own format:",
        f"1 file {corpus.paths[0]}: system {{messages:system}}; prompt {{messages:prompt}}; "
        "answer {messages:answer}; equal media, image (format messages, by its columns)",
        f"2 files, such as {corpus.paths[5]}: prompt {{prompt}}; answer {{completion}}; "
        "equal label, media (format kto, by its columns)",
    ]:
        assert line in notes.notes
    assert any(line.endswith("by its columns); not compared: source") for line in notes.notes)
    found = audit(out, full=True)
    assert not any(found.broken.values())

    rows = result.keep_list().to_pylist()
    dropped = [row for row in rows if not row["keep"]]
    for row in [*dropped[:40], *dropped[-10:]]:
        shown = explain_row(result, f"{Path(row['shard']).name}:{row['row']}")
        texts = (shown["text"], shown["witness_text"])
        assert all(text and "cannot be read" not in text for text in texts)
        form = Path(row["shard"]).stem[3:]
        assert ("chosen:" in shown["text"]) == (form == "preference")
        has = {("jaccard_" + name) in shown for name in ("chosen", "rejected")}
        witness = Path(row["witness_shard"]).stem[3:]
        assert has == {"preference" in (form, witness)}
        assert shown["text"].startswith("w") == (form in ("text", "content", "prompt"))
    number = next(i for i, row in enumerate(rows) if not row["keep"])
    path, row = corpus.places[number]
    for more in (["--row", f"{Path(path).name}:{row}"], ["--pairs", "30"], ["--stages"], []):
        done = CliRunner().invoke(cli, ["show", str(out), *more])
        assert done.exit_code == 0, done.output
    assert "compared, each file by its own format:" in done.output
    pairs = result.pairs(500).to_pylist()
    assert len(pairs) == len(dropped)
    for pair in pairs:
        for prefix in ("", "witness_"):
            place = (pair[f"{prefix}shard"], pair[f"{prefix}row"])
            sets = corpus.sets[corpus.places.index(place)]
            for name in ("system", "prompt", "answer", "chosen", "rejected", "text"):
                text = pair[f"{prefix}text_{name}"]
                assert naive.word_shingles(text or "", 5) == sets.get(name, frozenset())

    apply(out, tmp_path / "clean")
    masks = dict(result.masks())
    for path in map(Path, corpus.paths):
        given = read(path)
        wanted = [row for row, keep in zip(given, masks[str(path)], strict=True) if keep]
        assert read(tmp_path / "clean" / path.name) == wanted


@pytest.mark.parametrize(
    ("names", "salts"),
    [
        (["messages"], [0xB3A89746331001B6, 0xA81A87A7ECCBE5AE, 0xA1B5DAF9BDD4241F]),
        (["instruction", "output"], [0x45C552EEF240D4D5, 0x82B5D14FDE49F13B]),
        (["prompt"], [0]),
        (
            ["prompt", "chosen", "rejected"],
            [0x6B66E05C7ED5B781, 0x23A3AA6A36D11435, 0x59D17A052A4A7357],
        ),
    ],
)
def test_a_corpus_of_one_format_is_signed_as_ever(names, salts):
    """The numbers are those of the version before files could be of several formats."""
    document = Settings().document(names)
    alone = Documents.of(document, [document] * 3)
    assert alone.whole is document
    assert alone.aligned_for(2) is document
    assert Shingler(Settings(), alone.whole).field_salts.tolist() == salts


def test_what_formats_have_in_common_is_brought_together():
    names = {
        "text": ["text"],
        "chats": ["messages", "images", "id"],
        "labels": ["prompt", "completion", "label", "id", "text"],
    }
    text, chats, labels = (choose(None, None, "all", None, some) for some in names.values())
    documents = Documents.of(text, [chats, text, labels, chats])
    assert documents.of_files == (1, 0, 2, 1)
    assert documents.whole.names == ("text", "system", "prompt", "answer")
    assert documents.whole.others == ("id",)
    assert [str(one.equal) for one in documents.aligned] == [
        "",
        "{messages:media}\x1f{images:data?}\x1f\x1f",
        "\x1f\x1f{label:data}\x1f{prompt:media}",
    ]
    for one in documents.aligned:
        assert one.names == documents.whole.names
        assert len(one.templates) == len(documents.whole.templates)
    assert Documents.from_json(documents.as_json(), documents.of_files) == documents
    alone = Documents.of(chats, [chats])
    assert alone.whole is chats
    assert alone.aligned == (chats,)
