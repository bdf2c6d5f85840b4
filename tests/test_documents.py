"""Documents from structured rows: what each template and format gives, on every kind of file."""

from __future__ import annotations

import json

import corpora
import naive_documents
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_corpus import error_of, shard_of

from dedupe import CorpusError, SettingsError, deduplicate
from dedupe.config import Settings
from dedupe.corpus import check_columns, plan_slices, read_slice, table_shard
from dedupe.corpus.reading.lines import LineBlock
from dedupe.documents.columns import render
from dedupe.documents.objects import json_types, render_object
from dedupe.documents.template import ASPECTS, ELEMENTS, ColumnPath, Template, UnfitError

WORDS = st.text(alphabet='ab Ω\n"\\é', max_size=6) | st.none()


def shards_of(rows, tmp_path, schema=None):
    """The same rows in every kind of file that holds them."""
    table = pa.Table.from_pylist(rows, schema=schema)
    yield table_shard(table)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    with ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines)
    for name in ("a.parquet", "a.arrow", "a.jsonl"):
        yield shard_of(tmp_path / name)


def documents(shard, template, batch_bytes=1 << 20):
    wanted = corpora.wanted(template)
    check_columns(shard, wanted)
    found = []
    for part in plan_slices(shard, wanted.text_columns, 1 << 40, 1 << 40):
        for batch in read_slice(shard, part, wanted, batch_bytes=batch_bytes):
            found += batch.column(0).to_pylist()
    return [text or None for text in found]


def check(rows, template, expected, tmp_path, schema=None):
    for shard in shards_of(rows, tmp_path, schema):
        for batch_bytes in (1, 1 << 20):
            assert documents(shard, template, batch_bytes) == expected, shard.path


CHAT = [
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": ""}]},
    {"messages": []},
    {"messages": None},
    {"messages": [{"role": None, "content": "no one"}, None, {"role": "user", "content": "a\nb"}]},
]


def test_messages_are_roles_and_contents_and_silent_ones_are_left_out(tmp_path):
    expected = ["user\nhi\nassistant\nhello", None, None, None, "no one\nuser\na\nb"]
    check(CHAT, "{messages}", expected, tmp_path)


def test_a_path_through_a_list_takes_the_contents_alone(tmp_path):
    expected = ["hi\nhello", None, None, None, "no one\na\nb"]
    check(CHAT, "{messages[].content}", expected, tmp_path)


def test_sharegpt_has_other_names(tmp_path):
    rows = [{"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}]
    check(rows, "{conversations}", ["human\nhi\ngpt\nyo"], tmp_path)


def test_templates_join_columns_and_rows_without_any_are_null(tmp_path):
    rows = [
        {"instruction": "add", "input": "1 2", "output": "3"},
        {"instruction": "sing", "input": None, "output": "la"},
        {"instruction": None, "input": None, "output": None},
        {"instruction": "", "input": "", "output": ""},
    ]
    check(
        rows,
        "Q: {instruction}\\n{input} A: {output}",
        ["Q: add\n1 2 A: 3", "Q: sing\n A: la", None, None],
        tmp_path,
    )
    text = pa.schema([(name, pa.string()) for name in ("instruction", "output")])
    rows = [{name: row[name] for name in text.names} for row in rows]
    check(
        rows,
        "{instruction}\\n{input?}\\n{output}",
        ["add\n\n3", "sing\n\nla", None, None],
        tmp_path,
        text,
    )


def test_nested_lists_and_objects(tmp_path):
    rows = [
        {"page": {"title": "T", "parts": [{"lines": ["a", "b"]}, {"lines": []}, {"lines": ["c"]}]}},
        {"page": {"title": None, "parts": [{"lines": None}, None, {"lines": [None, "d"]}]}},
        {"page": None},
    ]
    check(rows, "{page.title}: {page.parts[].lines[]}", ["T: a\nb\nc", ": d", None], tmp_path)


def test_preference_pairs_as_texts_and_as_messages(tmp_path):
    texts = [{"prompt": "p", "chosen": "good", "rejected": "bad"}]
    check(texts, "{prompt?}\\n{chosen}\\n{rejected}", ["p\ngood\nbad"], tmp_path)
    say = lambda role, text: [{"role": role, "content": text}]  # noqa: E731
    lists = [{"prompt": say("user", "p"), "chosen": say("assistant", "good"), "rejected": None}]
    lists += [{"prompt": "", "chosen": None, "rejected": say("assistant", "bad")}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lists))
    found = documents(shard_of(tmp_path / "a.jsonl"), "{prompt?}\\n{chosen}\\n{rejected}")
    assert found == ["user\np\nassistant\ngood\n", "\n\nassistant\nbad"]


TOOLS = [
    {"messages": [
        {"role": "user", "content": [{"type": "text", "text": "what is it"}, {"type": "image_url",
            "text": None, "image_url": {"url": "https://x/y.png", "detail": None}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "function":
            {"name": "look", "arguments": {"at": "it", "times": 2, "deep": True, "by": 1.5}}}]},
    ]}
]  # fmt: skip
TOOLS_TEXT = (
    "user\nwhat is it\nimage_url\nurl\nhttps://x/y.png\nassistant\nfunction\narguments\nat\nit\nby"
    "\n1.5\ndeep\ntrue\ntimes\n2\nname\nlook"
)


def test_parts_of_content_and_tool_calls(tmp_path):
    check(TOOLS, "{messages}", [TOOLS_TEXT], tmp_path)
    calls = json.dumps(TOOLS[0]["messages"][1]["tool_calls"])
    row = {"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}
    check([row], "{messages}", [f"assistant\n{calls}"], tmp_path)


def test_content_of_mixed_types_in_json_lines(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "plain"}]},
        {"messages": [{"role": "user", "content": ["one", {"text": "two"}, None]}]},
        {"messages": [{"from": "human", "value": "other names"}]},
        {"messages": "a text"},
        {"messages": {"role": "system", "content": "alone"}},
        {},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert documents(shard_of(tmp_path / "a.jsonl"), "{messages}") == [
        "user\nplain", "user\none\ntwo", "human\nother names", "a text", "system\nalone", None,
    ]  # fmt: skip


def test_a_row_of_a_hundred_thousand_messages(tmp_path):
    rows = [{"messages": [{"role": "user", "content": f"line {i}"} for i in range(100_000)]}] * 2
    expected = "\n".join(f"user\nline {i}" for i in range(100_000))
    for shard in shards_of(rows, tmp_path):
        assert documents(shard, "{messages}") == [expected] * 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1], "is a number, expected a string"),
        ([{"speaker": "a", "text": "b"}], "an object that is no message: it has speaker, text"),
        ([{"role": 1, "content": "b"}], "has a role that is a number, expected a string"),
        ([{"role": "a", "content": 5}], "has content that is a number, expected a string or parts"),
    ],
)
@pytest.mark.parametrize("before", [0, 1500])
def test_a_row_that_gives_no_text_is_named(tmp_path, value, said, before):
    good = json.dumps({"messages": [{"role": "user", "content": "fine"}]}) + "\n"
    (tmp_path / "a.jsonl").write_text(good * before + json.dumps({"messages": value}) + "\n")
    with pytest.raises(CorpusError) as caught:
        documents(shard_of(tmp_path / "a.jsonl"), "{messages}")
    assert said in str(caught.value)
    assert caught.value.row == before


def test_deep_nesting_is_an_error_that_names_the_row(tmp_path):
    deep = '{"messages": [{"content": ' + "[" * 100_000 + "]" * 100_000 + "}]}\n"
    (tmp_path / "a.jsonl").write_text('{"messages": [{"content": "a"}]}\n' * 1500 + deep)
    with pytest.raises(CorpusError, match="row 1500"):
        documents(shard_of(tmp_path / "a.jsonl"), "{messages}")


@pytest.mark.parametrize(
    ("kind", "template", "said"),
    [
        (pa.int64(), "{a}", 'column "a" is int64, expected text'),
        (pa.list_(pa.int8()), "{a[]}", '"a[]" is int8, expected text'),
        (pa.string(), "{a[]}", '"a[]" is string before [], expected a list'),
        (pa.string(), "{a.b}", '"a.b" is string before .b, expected an object'),
        (pa.list_(pa.struct([("b", pa.string())])), "{a.b}", "write [].b"),
        (pa.struct([("c", pa.string())]), "{a.b}", "has no b: it has c"),
        (pa.struct([("c", pa.string())]), "{a}", "is an object that is no message: it has c"),
        (pa.struct([("role", pa.int8()), ("content", pa.string())]), "{a}", "roles of int8"),
        (pa.struct([("content", pa.int8())]), "{a}", "content of int8"),
        (pa.struct([("content", pa.struct([("bytes", pa.binary())]))]), "{a}", "holds binary"),
    ],
)
def test_types_that_give_no_text_are_refused_before_a_row_is_read(tmp_path, kind, template, said):
    table = pa.table({"a": pa.nulls(3, kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    for shard in (table_shard(table), shard_of(tmp_path / "a.parquet")):
        assert said in str(error_of(check_columns, shard, corpora.wanted(template)))


LISTS = [pa.list_, pa.large_list, pa.list_view, pa.large_list_view, lambda kind: pa.list_(kind, 2)]
TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]


@pytest.mark.parametrize("make", LISTS)
@pytest.mark.parametrize("text", TEXTS, ids=str)
def test_every_type_of_list_and_text(make, text):
    plain = [[{"role": "u", "content": "a"}, {"role": "v", "content": None}], None,
             [{"role": None, "content": "b"}, {"role": "w", "content": "c"}]]  # fmt: skip
    small = pa.array(plain, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))
    flat = small.flatten()
    parts = [flat.field(i).cast(text) for i in range(2)]
    structs = pa.StructArray.from_arrays(parts, ["role", "content"])
    lists = {
        0: lambda: pa.ListArray.from_arrays(pa.array([0, None, 2, 4], pa.int32()), structs),
        1: lambda: pa.LargeListArray.from_arrays(pa.array([0, None, 2, 4], pa.int64()), structs),
        2: lambda: pa.ListViewArray.from_arrays([0, 2, 2], [2, 0, 2], structs),
        3: lambda: pa.LargeListViewArray.from_arrays([0, 2, 2], [2, 0, 2], structs),
        4: lambda: pa.FixedSizeListArray.from_arrays(structs, 2),
    }[LISTS.index(make)]()
    expected = ["u\na", None, "b\nw\nc"] if len(lists) == 3 else ["u\na", "b\nw\nc"]
    template = Template.parse("{a}")
    for array in (lists, pa.concat_arrays([lists, lists]).slice(len(lists))):
        assert render({"a": array}, template, len(array)).to_pylist() == expected
    assert render({"a": lists.slice(1)}, template, len(lists) - 1).to_pylist() == expected[1:]


def test_malformed_text_in_messages_is_met_alike_in_arrow_and_json(tmp_path):
    content = pa.array([b"a \xff b", b"good"]).view(pa.string())
    said = pa.StructArray.from_arrays([content], ["content"])
    table = pa.table({"m": pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), said)})
    with ipc.new_file(str(tmp_path / "a.arrow"), table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "a.jsonl").write_bytes(
        b'{"m": [{"content": "a \xff b"}]}\n{"m": [{"content": "good"}]}\n'
    )
    for name in ("a.arrow", "a.jsonl"):
        with pytest.raises(CorpusError, match="is not valid UTF-8 at byte 2") as caught:
            deduplicate(tmp_path / name, text="m")
        assert caught.value.row == 0
        result = deduplicate(tmp_path / name, text="m", on_bad_text="replace")
        assert result.summary["corpus"]["bad_text_replaced"] == 1


MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": WORDS, "content": WORDS}, optional={"reasoning_content": WORDS, "other": WORDS}
    )
    | st.none(),
    max_size=4,
)
ROWS = st.lists(
    st.fixed_dictionaries({}, optional={"m": MESSAGES | st.none(), "t": WORDS}), max_size=5
)
TEMPLATE = "{m}é{{{t}{m[].content}"


@given(ROWS)
def test_arrow_json_and_the_reference_agree(rows):
    message = [(name, pa.string()) for name in ("role", "content", "reasoning_content", "other")]
    schema = pa.schema([("m", pa.list_(pa.struct(message))), ("t", pa.string())])
    table = pa.Table.from_pylist(rows, schema=schema)
    columns = {name: table[name].combine_chunks() for name in schema.names}
    for text, parts in (
        ("{m}é{{{t}", [("m",), "é{", ("t",)]),
        ("{m[].content}\\n{t}", [("m", "[]", "content"), "\n", ("t",)]),
        ("{m}", [("m",)]),
    ):
        expected = [naive_documents.template(row, parts) for row in rows]
        template = Template.parse(text)
        assert render(columns, template, len(rows)).to_pylist() == expected
        latin = [
            json.loads(json.dumps(row, ensure_ascii=False).encode().decode("latin-1"))
            for row in rows
        ]
        slow = [render_object(row, template) for row in latin]
        assert [text and text.encode("latin-1").decode() for text in slow] == expected


def test_a_column_whole_and_in_parts_is_refused_in_json():
    with pytest.raises(UnfitError, match="name"):
        json_types([], [Template.parse("{a} {a.b}")])


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["messages", "text", "source"], "messages"),
        (["conversations", "id"], "sharegpt"),
        (["prompt", "chosen", "rejected"], "preference"),
        (["chosen", "rejected"], "preference"),
        (["instruction", "output", "text"], "alpaca"),
        (["prompt", "completion"], "prompt-completion"),
        (["text", "prompt"], "text"),
    ],
)
def test_the_format_is_found_by_the_columns(names, form):
    document = Settings().document(names)
    assert (document.format, document.guessed) == (form, True)


def test_prompts_alone_are_compared():
    pairs = {"prompt": ["one two three four five six"] * 2, "chosen": ["a", "b"]}
    table = pa.table({**pairs, "rejected": ["c d e f g h i", "k l m n o p"]})
    assert deduplicate(table, compare="prompt").mask().tolist() == [True, False]
    assert deduplicate(table).mask().tolist() == [True, True]
    assert deduplicate(table, text="prompt").mask().tolist() == [True, False]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"text": "{a"}, "single {"),
        ({"text": "{}"}, "not a path"),
        ({"text": "a..b"}, "not a path"),
        ({"text": "a[0]"}, "not a path"),
        ({"text": "{{a}}"}, "names no column"),
        ({"text": 5}, "use a text"),
        ({"text": "a", "format": "text"}, "give one"),
        ({"text": "a", "compare": "prompt"}, "goes with a format"),
        ({"format": "other"}, "messages or sharegpt"),
    ],
)
def test_what_is_no_text_is_refused(given, said):
    with pytest.raises(SettingsError) as caught:
        Settings(**given)
    assert said in str(caught.value)


def test_a_format_without_prompts_says_so():
    with pytest.raises(CorpusError, match="have no prompt"):
        deduplicate(pa.table({"text": ["a"]}), compare="prompt")


def test_a_column_with_the_name_of_a_path_is_that_column():
    table = pa.table({"a.b": ["one two three", "one two three"], "a": [{"b": "x"}, {"b": "y"}]})
    assert deduplicate(table, text="a.b").mask().tolist() == [True, False]
    assert deduplicate(table, text="{a.b} {a.b}").mask().tolist() == [True, False]


@pytest.mark.parametrize("text", ["{a}\\n{b[].c?} {{x}} \\\\n\\t", "a.b[]", "{a}{b}"])
def test_templates_come_back_from_text_and_json(text):
    template = Template.parse(text)
    assert Template.parse(str(template)) == template
    assert Template.from_json(json.loads(json.dumps(template.as_json()))) == template


def test_blocks_parse_the_same_whole_or_row_by_row(real_data):
    """Chat rows of a real corpus: the fast parser and the one for odd rows agree."""
    from dedupe.corpus.reading import jsonl
    from dedupe.corpus.reading.records import record_batch

    with open(real_data / "chat.jsonl", "rb") as file:
        block = LineBlock(b"".join(file.readlines(3 << 20)))
    wanted = corpora.wanted("{messages}")
    rows = [json.loads(line) for line in block.lines()]
    schema = pa.schema(list(json_types(rows, wanted.fields).items()))
    batch, _, documents, *_ = jsonl.Parser(schema, wanted, {}).parse(block)
    assert documents is None
    fast = render({"messages": batch.column(0)}, wanted.fields[0], len(batch))
    nothing = pa.schema([])
    (slow,) = record_batch(block.lines(), nothing, wanted.fields, {}, lambda line: None).documents
    expected = [naive_documents.template(row, [("messages",)]) for row in rows]
    assert fast.to_pylist() == slow.to_pylist() == expected


NAMES = st.text(alphabet='ab.[]{}:?"\\\n é', max_size=6) | st.sampled_from(
    ["", "my.text", "a:data", ":reply", "[]", "{n}", '"', '""', '"a"', 'a"."b', "a?", "data"]
)
STEPS = st.lists(st.just(ELEMENTS) | NAMES.filter(lambda name: name != ELEMENTS), max_size=4)
PATHS = st.builds(
    ColumnPath, NAMES, STEPS.map(tuple), st.booleans(), st.sampled_from(["", *ASPECTS])
)


@given(PATHS)
def test_a_path_reads_as_it_is_written(path):
    assert ColumnPath.parse(str(path)) == path
    assert Template.parse(f"{{{path}}}") == Template((path,))


@given(st.lists(st.tuples(st.text(min_size=1, max_size=4), PATHS), min_size=1, max_size=4))
def test_a_template_reads_as_it_is_written(parts):
    template = Template(tuple(part for pair in parts for part in pair))
    assert Template.parse(str(template)) == template


@given(st.text(alphabet='a.b[]:?"data', min_size=1))
def test_what_reads_as_a_path_is_written_as_one_that_reads_the_same(text):
    try:
        path = ColumnPath.parse(text)
    except SettingsError:
        return
    assert ColumnPath.parse(str(path)) == path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('meta."my.text"', ColumnPath("meta", ("my.text",))),
        ('"my.col".x', ColumnPath("my.col", ("x",))),
        ('"a"', ColumnPath("a")),
        ('"a[0]"[]."b:data":data?', ColumnPath("a[0]", ("[]", "b:data"), True, "data")),
        ('a."say ""hi""."', ColumnPath("a", ('say "hi".',))),
        ('5" pipe', ColumnPath('5" pipe')),
        ("dc:title", ColumnPath("dc:title")),
        ('""', ColumnPath("")),
    ],
)
def test_quoted_names(text, path):
    assert ColumnPath.parse(text) == path
    assert Template.parse(f"{{{text}}}") == Template((path,))


def test_fields_with_dots_are_compared_and_named(tmp_path):
    rows = [
        {"meta": {"my.text": "a", "x": "1"}, "my.col": {"{n}": ["b", "c"]}},
        {"meta": {"my.text": None, "x": "2"}, "my.col": {"{n}": []}},
    ]
    check(rows, '{meta."my.text"}-{"my.col"."{n}"[]}', ["a-b\nc", None], tmp_path)
    for shard in shards_of(rows, tmp_path):
        for text, said in (
            ('{meta."my.txt"}', 'meta."my.txt" has no "my.txt": it has my.text, x'),
            ('{meta.x."y.z"}', 'before ."y.z", expected an object'),
        ):
            assert said in str(error_of(check_columns, shard, corpora.wanted(text)))


def test_a_column_whose_name_reads_as_a_path_is_that_column():
    table = pa.table({"a.b": ["one", "two"], "a": [{"b": "x"}, {"b": "x"}], "meta.a:b": ["c", "c"]})
    for text, mask in (
        ("a.b", [True, True]),
        ('"a.b"', [True, True]),
        ("{a.b}!", [True, True]),
        ("{meta.a:b}", [True, False]),
        ('{"meta.a:b"}', [True, False]),
    ):
        assert deduplicate(table, text=text).mask().tolist() == mask, text


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_roles_of_a_slice_are_those_of_the_whole(kind):
    """As batches are cut: the texts of a slice do not begin where its buffer does."""
    roles = ["System", "user", "assistant", "GPT", "tool", "function_call", None, "model"]
    message = pa.struct([("role", kind), ("content", kind)])
    chats = [
        [{"role": role, "content": f"{n} {role}"} for role in roles[n % 8 :] + roles[: n % 3]]
        for n in range(12)
    ]
    whole = pa.array(chats, pa.list_(message))
    for aspect in ("system", "prompt", "answer", "before", "reply"):
        template = Template.parse(f"{{messages:{aspect}}}")
        wanted = render({"messages": whole}, template, len(whole)).to_pylist()
        for start in range(len(whole)):
            part = whole.slice(start, 3)
            found = render({"messages": part}, template, len(part)).to_pylist()
            assert found == wanted[start : start + 3]
