"""JSON texts in columns of Arrow data: the keep-lists are those of JSON lines."""

from __future__ import annotations

import json
import uuid

import datasets
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import CorpusError, apply, deduplicate
from dedupe.arrays import as_stored
from dedupe.documents.columns import render
from dedupe.documents.json_columns import holds_json
from dedupe.documents.objects import parsed, render_object
from dedupe.documents.template import Template, UnfitError

ASKED = "the river bends north past the mill and then turns east"
OTHER = "nine small boats wait for wind beside a grey stone pier"


def as_json(values, make=lambda storage: storage):
    """An array of arrow.json; make: what to make of the texts."""
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), make(pa.array(texts, pa.string())))


def lists_of_json(values):
    """An array of list<arrow.json>."""
    flat = as_json([one for value in values for one in value or []])
    ends = [0]
    for value in values:
        ends.append(ends[-1] + len(value or []))
    missing = pa.array([value is None for value in values], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat, mask=missing)


def called(name, asked=ASKED):
    """A chat whose messages do not all have the same keys."""
    return [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": None, "tool_calls": [{"id": name, "function":
            {"name": name, "arguments": {"at": 1.5, "deep": [True, None, {"é": "\u2028"}]}}}]},
        {"role": "tool", "name": name, "content": [{"type": "text", "text": "seven"},
            {"type": "image", "image": f"{name}.png"}]},
    ]  # fmt: skip


CHATS = [
    {"messages": called("find"), "tools": [{"name": "find"}], "label": True},
    {"messages": called("find"), "tools": [{"name": "find"}], "label": True},
    {"messages": called("seek"), "tools": [{"name": "find"}], "label": True},
    {"messages": called("find"), "tools": [{"name": "seek", "more": 1}], "label": True},
    {"messages": called("find"), "tools": [{"name": "find"}], "label": False},
    {"messages": called("find", OTHER), "tools": None, "label": None},
    {"messages": [], "tools": [], "label": None},
    {"messages": None, "tools": None, "label": None},
]
KEPT = [True, False, True, True, True, True, True, True]


def write(folder, table):
    """A table in every kind of file that holds its types."""
    pq.write_table(table, folder / "a.parquet", row_group_size=3)
    with ipc.new_file(folder / "a.arrow", table.schema) as writer:
        writer.write_table(table, 3)
    with ipc.new_stream(folder / "stream.arrow", table.schema) as writer:
        writer.write_table(table, 3)
    return [folder / name for name in ("a.parquet", "a.arrow", "stream.arrow")]


def tables():
    """The same chats with JSON at every depth."""
    columns = {name: [row[name] for row in CHATS] for name in CHATS[0]}
    whole = {name: as_json(values) for name, values in columns.items()}
    yield pa.table(whole)
    yield pa.table(whole | {"messages": lists_of_json(columns["messages"])})
    flat = [message for row in CHATS for message in row["messages"] or []]
    ends = [0]
    for row in CHATS:
        ends.append(ends[-1] + len(row["messages"] or []))
    members = {
        "role": pa.array([one["role"] for one in flat]),
        "content": as_json([one["content"] for one in flat]),
        "tool_calls": as_json([one.get("tool_calls") for one in flat]),
    }
    structs = pa.StructArray.from_arrays(list(members.values()), list(members))
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)
    yield pa.table(whole | {"messages": lists, "label": pa.array(columns["label"])})


@pytest.mark.parametrize(
    "table", list(tables()), ids=lambda table: str(table["messages"].type)[:20]
)
def test_chats_of_json_are_those_of_json_lines(tmp_path, table):
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    for settings in ({}, {"match": "whole"}, {"compare": "prompt"}, {"text": "messages"}):
        expected = deduplicate(lines, **settings).mask().tolist()
        for corpus in (*write(tmp_path, table), table, table.to_batches()[0]):
            assert deduplicate(corpus, **settings).mask().tolist() == expected
    assert deduplicate(lines).mask().tolist() == KEPT


@pytest.mark.skipif(not hasattr(datasets, "Json"), reason="it has no type for JSON before 5")
def test_what_datasets_makes_of_chats(tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in CHATS[:6]))
    found = datasets.load_dataset(
        "json", data_files=str(lines), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert holds_json(found.data.table.schema.field("messages").type)
    found.to_parquet(tmp_path / "a.parquet")
    found.save_to_disk(tmp_path / "disk")
    for corpus in (lines, found, tmp_path / "a.parquet", tmp_path / "disk"):
        assert deduplicate(corpus).mask().tolist() == KEPT[:6]
    backwards = deduplicate(found.select(range(5, -1, -1))).mask().tolist()
    assert backwards == [True, True, True, True, True, False]


def test_rows_that_are_left_have_their_values_and_types(tmp_path):
    table = next(tables()).append_column("id", pa.array([bytes([i] * 16) for i in range(8)]))
    table = table.set_column(3, "id", pa.ExtensionArray.from_storage(
        pa.uuid(), table["id"].combine_chunks().cast(pa.binary(16))))  # fmt: skip
    for file in write(tmp_path, table):
        out = tmp_path / f"out-{file.name}"
        deduplicate(file, out, id="id")
        apply(out, tmp_path / f"clean-{file.name}")
        (clean,) = (tmp_path / f"clean-{file.name}").glob(f"*{file.suffix}")
        if file.suffix == ".parquet":
            found = pq.read_table(clean)
        else:
            opened = ipc.open_stream if file.stem == "stream" else ipc.open_file
            found = opened(clean).read_all()
        assert found.schema.equals(table.schema, check_metadata=False)
        assert found.to_pylist() == [
            row for row, kept in zip(table.to_pylist(), KEPT, strict=True) if kept
        ]


def test_json_of_duckdb_and_as_the_text_itself(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    rows = [{"text": ASKED, "meta": {"a": 1}}, {"text": ASKED, "meta": [2]}, {"text": OTHER}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "a.parquet"
    duckdb.sql(
        f"copy (select text::JSON as text, meta::JSON as meta, uuid() as id from "
        f"read_json('{tmp_path / 'a.jsonl'}', columns={{text: 'JSON', meta: 'JSON'}})) to '{file}'"
    )
    if not holds_json(pq.read_schema(file).field("text").type):
        pytest.skip("this pyarrow reads the JSON of Parquet as text")
    for settings in ({}, {"id": "id"}, {"id": "text"}, {"text": "{text} {meta:data}"}):
        expected = deduplicate(tmp_path / "a.jsonl", **settings | {"id": None})
        assert deduplicate(file, **settings).mask().tolist() == expected.mask().tolist()
    found = deduplicate(file, id="text").keep_list()
    assert found["id"].to_pylist() == [ASKED, ASKED, OTHER]


def test_json_that_gives_no_text_is_named_with_its_row(tmp_path):
    good = [{"role": "user", "content": ASKED}]
    for bad, said in (
        ("[", "holds broken JSON: Expecting value"),
        ("[" * 100_000, "holds JSON that cannot be read"),
        ('[{"role": 5, "content": "a"}]', "has a role that is a number, expected a string"),
        ("5", "is a number, expected a string"),
    ):
        texts = pa.array([json.dumps(good)] * 40 + [bad, bad])
        table = pa.table({"messages": pa.ExtensionArray.from_storage(pa.json_(), texts)})
        for corpus in (*write(tmp_path, table), table):
            with pytest.raises(CorpusError, match="messages") as caught:
                deduplicate(corpus)
            assert said in str(caught.value)
            assert caught.value.row == 40


def test_scores_of_json_are_refused():
    table = pa.table({"text": [ASKED], "score": as_json([1])})
    with pytest.raises(CorpusError, match="a score must be a number"):
        deduplicate(table, keep="max:score")
    groups = pa.table({"text": [ASKED] * 3, "part": as_json(["a", "b", "a"])})
    assert deduplicate(groups, within="part").mask().tolist() == [True, True, False]


class Own(pa.ExtensionType):
    """Somebody's own type."""

    def __init__(self, storage):
        super().__init__(storage, "somebody.own")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls(storage)


@pytest.mark.parametrize("registered", [True, False])
def test_other_extension_types(tmp_path, registered):
    def own(values):
        return pa.ExtensionArray.from_storage(Own(pa.array(values).type), pa.array(values))

    numbers = pa.array(list(range(6)), pa.int8())
    tensors = pa.FixedSizeListArray.from_arrays(numbers, 2)
    table = pa.table({
        "text": own([ASKED, ASKED, OTHER]),
        "messages": own([[ASKED], [ASKED], [OTHER]]),
        "own": own([{"a": 1}, {"a": 2}, None]),
        "id": pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([uuid.uuid4().bytes for _ in range(3)], pa.binary(16))
        ),
        "tensor": pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), (2,)), tensors
        ),
        "flag": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([0, 1, 0], pa.int8())),
    })  # fmt: skip
    if registered:
        pa.register_extension_type(Own(pa.string()))
    try:
        for corpus in (*write(tmp_path, table), table):
            for settings in ({}, {"text": "text"}, {"text": "messages[]"}, {"id": "id"}):
                mask = deduplicate(corpus, **settings).mask().tolist()
                assert mask == [True, False, True]
            with pytest.raises(CorpusError, match='column "tensor" is int8, expected text'):
                deduplicate(corpus, text="tensor")
    finally:
        if registered:
            pa.unregister_extension_type("somebody.own")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "text", "image", "tool_calls", "é"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=6), st.integers(0, 2), st.booleans())
def test_values_of_json_are_rendered_as_rows_of_json_lines(values, offset, nested):
    array = lists_of_json([[value] for value in values]) if nested else as_json(values)
    array = as_stored(array.slice(offset))
    texts = [json.dumps([value] if nested else value) for value in values[offset:]]
    for text in ("{m}", "{m:data}", "{m:media}", "{m:answer}\\n{m:prompt}", "{m[].content}"):
        template = Template.parse(text)
        try:
            rows = [parsed(text.encode()) for text in texts]
            expected = [render_object({"m": row}, template) for row in rows]
        except UnfitError:
            continue
        found = render({"m": array}, template, len(array)).cast(pa.large_binary()).to_pylist()
        assert [one and one.decode("latin-1") for one in found] == expected
