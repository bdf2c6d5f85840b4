"""The shapes of rows that people have: what is compared of them, whatever file they lie in."""

from __future__ import annotations

import json
from typing import Any

import datasets
import polars
import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from dedupe import CorpusError, Result, Settings, deduplicate
from dedupe.cli import cli
from dedupe.documents.columns import render
from dedupe.documents.objects import render_object
from dedupe.documents.shapes import MEDIA_COLUMNS, SHAPES, shape_of
from dedupe.documents.template import ColumnPath, Template

ONE = "explain why the sky looks blue on a clear summer day to a small child"
OTHER = "the capital city of norway is oslo which lies at the end of a fjord"


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def chat(text: str) -> list[dict[str, str]]:
    return [*user(ONE), {"role": "assistant", "content": text}]


def sharegpt(text: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": ONE}, {"from": "gpt", "value": text}]


MADE: dict[str, Any] = {
    "messages": chat,
    "conversation": chat,
    "conversations": sharegpt,
    "chosen_messages": chat,
    "rejected_messages": chat,
    "input.messages": user,
    "preferred_output": user,
    "non_preferred_output": user,
    "label": lambda text: text == ONE,
    "kto_tag": lambda text: text == ONE,
    "labels": lambda text: [True, text == ONE],
    "completions": lambda text: [ONE, text],
    "choices": lambda text: ["red", text],
    "answers": lambda text: {"text": [text], "answer_start": [3]},
    "translation": lambda text: {"en": ONE, "de": text},
    "data": lambda text: [ONE, text],
    "tools": lambda text: [{"name": "look", "parameters": {"at": text}}],
    "history": lambda text: [[ONE, text]],
}
"""Values of columns that are no text, of a text that they depend on."""


def value(name: str, text: str) -> Any:
    return MADE.get(name, lambda text: text)(text)


def row_of(columns: tuple[str, ...], changed: str | None = None) -> dict[str, Any]:
    """A row of these columns, of which one has another text."""
    row: dict[str, Any] = {"id": "x"}
    for name in columns:
        text = OTHER if name == changed else ONE
        if name == "input" and "preferred_output" in columns:
            row[name] = {"messages": value("input.messages", text)}
        else:
            row[name] = value(name, text)
    return row


def decide(rows: list[dict[str, Any]], tmp_path: Any, **settings: Any) -> list[bool]:
    """Which rows are kept; the same from JSON lines, Parquet, a table, and `datasets`."""
    folder = tmp_path / f"corpus-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    lines, parquet = folder / "a.jsonl", folder / "a.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, parquet)
    corpora = (lines, parquet, table, datasets.Dataset.from_list(rows))
    first, *others = (deduplicate(one, **settings).mask().tolist() for one in corpora)
    assert others == [first] * len(others)
    return first


@pytest.mark.parametrize("form", SHAPES)
def test_all_that_a_shape_says_is_compared(form, tmp_path):
    shape = SHAPES[form]
    rows = [row_of(shape.needed), row_of(shape.needed)]
    rows += [row_of(shape.needed, changed) for changed in shape.needed]
    assert Settings().document(list(rows[0])).format == form
    assert decide(rows, tmp_path) == [True, False] + [True] * len(shape.needed)


OPTIONAL = [
    (form, name)
    for form, shape in SHAPES.items()
    for name in shape.known
    if name not in shape.needed
]


@pytest.mark.parametrize(("form", "name"), OPTIONAL)
def test_what_a_shape_may_say_is_compared(form, name, tmp_path):
    columns = (*SHAPES[form].needed, name)
    rows = [row_of(columns), row_of(columns), row_of(columns, name)]
    assert decide(rows, tmp_path, format=form) == [True, False, True]


@pytest.mark.parametrize("form", ["text", "messages", "alpaca", "kto"])
@pytest.mark.parametrize("name", MEDIA_COLUMNS)
def test_media_must_be_equal(form, name, tmp_path):
    given = [row_of(SHAPES[form].needed) for _ in range(3)]
    for row, at in zip(given, ("a.jpg", "a.jpg", "b.jpg"), strict=True):
        row[name] = [at] if name.endswith("s") else at
    for match in ("fields", "whole"):
        assert decide(given, tmp_path, match=match) == [True, False, True]
    paths = Template.parse(SHAPES[form].one_text).paths
    texts = next(path for path in paths if not path.optional)
    asked = ColumnPath(texts.column) if form != "alpaca" else ColumnPath("instruction")
    if form != "kto":
        assert decide(given, tmp_path, text=str(asked)) == [True, False, False]


LONG = " ".join(f"word{number}" for number in range(100))


@pytest.mark.parametrize("ending", ["", "_messages"])
def test_answers_of_preference_pairs_are_apart_from_what_was_asked(ending, tmp_path):
    """Of pairs that hold the whole conversation, short answers are not lost in a long prompt."""

    def row(chosen, rejected, prompt=LONG):
        asked = {"role": "user", "content": prompt}
        return {
            "prompt": prompt,
            f"chosen{ending}": [asked, {"role": "assistant", "content": chosen}],
            f"rejected{ending}": [asked, {"role": "assistant", "content": rejected}],
        }

    rows = [row(ONE, OTHER), row(ONE, OTHER), row(OTHER, OTHER), row(ONE, ONE)]
    rows += [row(ONE, OTHER, prompt=f"more {LONG}"), row(ONE, OTHER, prompt=OTHER)]
    assert decide(rows, tmp_path) == [True, False, True, True, False, True]


def test_replies_are_texts_answers_or_what_nobody_says():
    told = {
        "text": (ONE, None, ONE),
        "chat": (chat(OTHER), f"user\n{ONE}", f"assistant\n{OTHER}"),
        "nobody": ([{"content": ONE}], None, ONE),
    }
    for name, (value, asked, reply) in told.items():
        arrays = {"chosen": pa.array([value])}
        for aspect, expected in (("asked", asked), ("reply", reply)):
            template = Template.parse(f"{{chosen:{aspect}}}")
            assert render_object({"chosen": value}, template) == expected, name
            assert render(arrays, template, 1).to_pylist() == [expected], name


def test_bytes_of_files_count_before_their_paths():
    files = [
        (b"\xff\x00", "a.jpg"),
        (b"\xff\x00", "b.jpg"),
        (b"\xff\x01", "a.jpg"),
        (None, "c.jpg"),
    ]
    images = [{"bytes": held, "path": path} for held, path in files]
    table = pa.table({"text": [ONE] * 4, "image": images})
    assert deduplicate(table).mask().tolist() == [True, False, True, True]


def test_media_in_messages_must_be_equal(tmp_path):
    def asked(url):
        parts = [{"type": "text", "text": ONE}, {"type": "image_url", "image_url": {"url": url}}]
        return {"messages": [{"role": "user", "content": parts}]}

    rows = [asked("https://x/a.png"), asked("https://x/a.png"), asked("https://x/b.png")]
    assert decide(rows, tmp_path) == [True, False, True]
    assert decide(rows, tmp_path, match="whole") == [True, False, True]


def test_labels_count_with_every_way_of_comparing(tmp_path):
    rows = [row_of(SHAPES["kto"].needed, changed) for changed in (None, None, "label")]
    for settings in ({"match": "whole"}, {"recall": "exact"}, {"near": False}):
        assert decide(rows, tmp_path, **settings) == [True, False, True]
    assert decide(rows, tmp_path, compare="prompt") == [True, False, False]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    deduplicate(tmp_path / "a.jsonl", out)
    done = CliRunner().invoke(cli, ["audit", str(out), "--json", "--quiet"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["messages", "text", "source"], "messages"),
        (["prompt", "prompt_id", "messages"], "messages"),
        (["conversations", "id", "tools"], "sharegpt"),
        (["conversations", "chosen", "rejected"], "sharegpt-preference"),
        (["prompt", "chosen", "rejected", "messages"], "preference"),
        (["instruction", "input", "output", "text"], "alpaca"),
        (["prompt", "completion", "label"], "kto"),
        (["input", "output"], "input-output"),
        (["problem", "solution", "answer", "source"], "problem-solution"),
        (["text", "url", "prompt"], "text"),
        (["content", "path", "repo"], "content"),
        (["title", "body"], None),
    ],
)
def test_the_most_complete_shape_is_taken(names, form):
    assert shape_of(names) == form
    assert shape_of(names[::-1]) == form


@pytest.mark.parametrize("form", [None, "auto", "text"])
def test_what_must_be_equal_may_be_in_some_files_alone(tmp_path, form):
    rows = {
        "a": [{"text": ONE}],
        "b": [{"text": ONE, "image": image} for image in ("a.jpg", None, "b.jpg", "a.jpg")],
        "c": [{"text": ONE, "audio": "a.jpg"}, {"text": ONE, "audio": None}],
    }
    for name, some in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    found = deduplicate(tmp_path, format=form)
    assert found.mask().tolist() == [True, True, False, True, False, True, False]
    assert deduplicate(tmp_path, text="text").kept == 1


def test_a_run_says_what_is_not_compared(tmp_path):
    row = row_of(("prompt", "completion", "label")) | {"source": "x", "\x1b[31m": 1}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    done = CliRunner().invoke(cli, ["run", str(tmp_path / "a.jsonl"), "-o", str(tmp_path / "out")])
    assert "does not compare id, source" in done.stderr
    assert "\x1b[31m" not in done.stderr
    assert Result(tmp_path / "out").summary["documents"][0]["others"] == [
        "id",
        "source",
        "\x1b[31m",
    ]


def test_formats_are_listed():
    done = CliRunner().invoke(cli, ["formats"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert all(name in done.stdout for name in SHAPES)
    assert set(json.loads(CliRunner().invoke(cli, ["formats", "--json"]).stdout)) == set(SHAPES)


TEXTS = [ONE, ONE, OTHER]


SAYS_NOTHING = [None, [], [None], [{"role": None, "content": ""}]]


@pytest.mark.parametrize("nothing", SAYS_NOTHING, ids=str)
def test_a_column_that_has_nothing_does_not_make_the_format(nothing, tmp_path):
    """As `concatenate_datasets` leaves rows of another source."""
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    rows = [{"messages": nothing, "text": text} for text in TEXTS]
    table = pa.table({"messages": pa.array([nothing] * 3, kind), "text": TEXTS})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    with ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, 1)
    with ipc.new_stream(tmp_path / "b.arrow", table.schema) as writer:
        writer.write_table(table, 1)
    found = datasets.Dataset(table)
    corpora = [
        *(tmp_path / name for name in ("a.jsonl", "a.parquet", "a.arrow", "b.arrow")),
        *(
            table,
            table.to_reader(1),
            dataset.dataset(table),
            dataset.dataset(tmp_path / "a.parquet"),
        ),
        *(
            found,
            found.select([0, 1, 2]),
            polars.from_arrow(table),
            polars.from_arrow(table).lazy(),
        ),
        table.to_pandas(),
    ]
    for corpus in corpora:
        result = deduplicate(corpus)
        assert result.summary["documents"][0]["format"] == "text"
        assert result.mask().tolist() == [True, False, True]


def test_a_column_of_csv_that_has_nothing_does_not_make_the_format(tmp_path):
    (tmp_path / "a.csv").write_text("question,answer,text\n" + "".join(f",,{t}\n" for t in TEXTS))
    result = deduplicate(tmp_path / "a.csv")
    assert result.summary["documents"][0]["format"] == "text"
    assert result.mask().tolist() == [True, False, True]


def test_the_first_thousand_rows_are_looked_at(tmp_path):
    for row, form in ((999, "messages"), (1000, "text")):
        given: list[Any] = [None] * 1200
        given[row] = chat(OTHER)
        rows = [{"messages": one, "text": f"{ONE} {i}"} for i, one in enumerate(given)]
        table = pa.Table.from_pylist(rows)
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
        pq.write_table(table, tmp_path / "a.parquet")
        for corpus in (tmp_path / "a.jsonl", tmp_path / "a.parquet", table, table.to_reader(100)):
            result = deduplicate(corpus, near=False)
            assert result.summary["documents"][0]["format"] == form
            if form == "messages":
                (said,) = result.summary["warnings"]
                assert "1,199 of 1,200 rows are empty" in said
                assert "not compared: text" in said


@pytest.mark.parametrize(
    ("names", "silent", "form"),
    [
        (["messages", "text"], ["messages"], "text"),
        (["messages", "text"], ["text"], "messages"),
        (["messages", "text"], ["messages", "text"], "messages"),
        (["messages", "tools", "text"], ["messages"], "text"),
        (["prompt", "chosen", "rejected"], ["rejected"], "preference"),
        (["prompt", "completion"], ["completion"], "prompt-completion"),
        (["messages", "label"], ["label"], "messages-kto"),
        (["instruction", "input", "output", "response"], ["input", "output"],
            "instruction-response"),
        (["text", "id"], ["text"], "text"),
    ],
)  # fmt: skip
def test_silent_columns_count_only_where_nothing_else_decides(names, silent, form):
    assert shape_of(names, silent) == form


def test_columns_that_cannot_be_looked_at_count_as_there(tmp_path):
    table = pa.table(
        {"text": TEXTS, "data": pa.array([[(b"a", b"b")]] * 3, pa.map_(pa.binary(), pa.binary()))}
    )
    assert shape_of(table.column_names) == "turns"
    with pytest.raises(CorpusError, match='column "data" is map'):
        deduplicate(table)
    assert deduplicate(table, format="text").mask().tolist() == [True, False, True]


def test_what_was_asked_is_all_before_the_last_answer(tmp_path):
    """Earlier answers are part of what was asked; rows without a prompt are compared as a whole."""
    first = [{"role": "user", "content": ONE}, {"role": "assistant", "content": OTHER}]
    more = [{"role": "user", "content": f"more {OTHER}"}, {"role": "assistant", "content": LONG}]
    told = {
        "text": (ONE, ONE),
        "chat": ([*first, *more], f"user\n{ONE}\nassistant\n{OTHER}\nuser\nmore {OTHER}"),
        "open": ([*first, more[0]], f"user\n{ONE}"),
        "no answer": ([first[0], more[0]], f"user\n{ONE}\nuser\nmore {OTHER}"),
        "answer alone": ([first[1]], None),
        "silent answer": ([first[0], {"role": "assistant", "content": None}], f"user\n{ONE}"),
        "nobody": ([{"content": ONE}, {"content": OTHER}], f"{ONE}\n{OTHER}"),
        "texts": ([ONE, OTHER], f"{ONE}\n{OTHER}"),
        "null": (None, None),
    }
    template = Template.parse("{chat:before}")
    for name, (value, expected) in told.items():
        assert render_object({"chat": value}, template) == expected, name
        assert render({"chat": pa.array([value])}, template, 1).to_pylist() == [expected], name
    chats = [
        value for value, _ in told.values() if isinstance(value, list) and value != [ONE, OTHER]
    ]
    together = render({"chat": pa.array([*chats, None, *chats])}, template, 2 * len(chats) + 1)
    alone = [render_object({"chat": value}, template) for value in chats]
    assert together.to_pylist() == [*alone, None, *alone]

    rows = [{"messages": [*first, more[0], answer]} for answer in (first[1], more[1])]
    rows.append({"messages": [first[0], more[1], more[0], more[1]]})
    assert decide(rows, tmp_path, compare="asked") == [True, False, True]
    assert decide([{"text": ONE}, {"text": ONE}], tmp_path, compare="asked") == [True, False]
