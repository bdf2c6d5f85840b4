"""Files of JSON that are one array of rows, or an object with one."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupe import CorpusError, apply, deduplicate
from dedupe.corpus import Limits, find_shards, read_as
from dedupe.corpus.failures import LongRowError
from dedupe.corpus.reading import json_arrays

TEXTS = st.sampled_from(["", 'a"b', "\\", "[", "]{", "},", "\n", "é\u2028", ", ", "word"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=5)


def lines(path, size: int) -> tuple[list, bytes]:
    (shard,) = find_shards([str(path)])
    json_arrays.beginning.cache_clear()
    before = json_arrays.beginning(shard)
    pieces = json_arrays.lines_of(shard, before, size)
    made = b""
    while True:
        try:
            made += next(pieces)
        except StopIteration as ended:
            return [json.loads(line) for line in made.split(b"\n") if line], ended.value


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, indent=st.sampled_from([None, 1, "\t"]), size=st.sampled_from([1, 2, 7, 1 << 16]))
def test_rows_are_found_however_an_array_is_spelled(tmp_path_factory, rows, indent, size):
    path = tmp_path_factory.mktemp("json") / "a.json"
    body = json.dumps(rows, indent=indent, ensure_ascii=False)
    for text in (body, f"\ufeff \n{body}\n", body.replace("\n", "\r\n")):
        path.write_text(text, newline="")
        assert lines(path, size)[0] == rows
    path.write_text(f'{{\n"version": "1]",\n"data": {body},\n"license": null}}')
    assert lines(path, size) == (rows, b'],\n"license": null}')


GIVEN = [{"instruction": f"do {i % 3} of these words", "output": "done", "n": i} for i in range(9)]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz", "w.json"])
def test_arrays_come_back_as_arrays(tmp_path, name):
    wrapped = {"about": "it", "rows": GIVEN, "more": [1]} if name == "w.json" else GIVEN
    data = json.dumps(wrapped, indent=2).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    lines = "".join(json.dumps(row) + "\n" for row in GIVEN)
    (tmp_path / "lines.jsonl").write_text(lines)
    expected = deduplicate(tmp_path / "lines.jsonl", tmp_path / "out-lines").mask().tolist()
    assert sum(expected) == 3
    result = deduplicate(tmp_path / name, tmp_path / "out")
    assert result.mask().tolist() == expected

    def read(folder):
        made = (tmp_path / folder / name).read_bytes()
        found = json.loads(gzip.decompress(made) if name.endswith("gz") else made)
        if name == "w.json":
            assert (found["about"], found["more"]) == ("it", [1])
            return found["rows"]
        return found

    apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")
    assert read("clean") == [row for row, keep in zip(GIVEN, expected, strict=True) if keep]
    assert [row["n"] for row in read("gone")] == [3, 4, 5, 6, 7, 8]
    apply(tmp_path / "out", tmp_path / "all", add_columns=True)
    assert [row["dedupe_keep"] for row in read("all")] == expected
    if name == "a.json":
        apply(tmp_path / "out", tmp_path / "cut", rows_per_file=2)
        parts = sorted((tmp_path / "cut").glob("*.json"))
        found = [json.loads(part.read_text()) for part in parts if part.name != "_dedupe.json"]
        assert [len(part) for part in found] == [2, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"text": "a"}', "never closed"),
        ('[{"text": "a"', "never closed"),
        ("[", "never closed"),
        ('[{"text": "a"}] {"text": "b"}', "has more behind its array"),
        ('[{"text": "a"}, 7]', "the row is a number"),
        ('[["a"]]', "the row is a list"),
        ('[{"text": "a"}, {"text": }]', "broken JSON"),
    ],
)
def test_what_is_no_array_of_rows_is_an_error(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CorpusError, match=said):
        deduplicate(tmp_path / "a.json", tmp_path / "out", text="text")


def test_files_of_lines_stay_files_of_lines(tmp_path):
    rows = ['{"text": "x", "rows": [{"text": "y"}]}', '{"text": "z", "rows": []}']
    (tmp_path / "a.json").write_text("\n".join(rows))
    assert deduplicate(tmp_path / "a.json", tmp_path / "out").rows == 2
    (tmp_path / "b.jsonl").write_text('[{"text": "x"}]')
    with pytest.raises(CorpusError, match=r"let its name end with \.json"):
        deduplicate(tmp_path / "b.jsonl", tmp_path / "out-b")
    (tmp_path / "empty.json").write_text("[]")
    assert deduplicate(tmp_path / "empty.json", tmp_path / "out-empty").rows == 0


def test_a_row_that_is_too_long_is_an_error(tmp_path):
    (tmp_path / "a.json").write_text('[{"text": "' + "x" * 5000 + '"}]')
    (shard,) = find_shards([str(tmp_path / "a.json")])
    with pytest.raises(LongRowError):
        list(json_arrays.lines_of(read_as(shard, limits=Limits(row=1000)), b"[", 100))
