"""Keys that come late in JSON lines: what `--text` names is believed, unless no row has it."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, Tuning, deduplicate

ASKED = "the river bends north past the mill and then turns east"
BEFORE = [{"id": number, "meta": {"x": "x"}} for number in range(1200)]


def write(path, rows):
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("text", {"text": ASKED}),
        ("messages", {"messages": [{"role": "user", "content": ASKED}]}),
        ("meta.text", {"meta": {"text": ASKED}}),
        ("{meta.x?}{text}", {"text": ASKED}),
        ("parts[].text", {"parts": [{"text": ASKED}]}),
    ],
)
def test_what_is_named_may_come_late(tmp_path, name, text, late):
    file = write(tmp_path / name, [*BEFORE, late, late])
    result = deduplicate(file, text=text, workers=2, tuning=Tuning(task_text=3000))
    if "?" not in text:
        assert result.summary["reasons"]["empty"] == 1200
    assert result.mask().tolist()[-2:] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("txt", 'no column "txt": it has id, meta, text'),
        ("meta.y", '"meta.y" has no y: it has x'),
        ("{text}{body}", 'no column "body": it has id, meta, text'),
    ],
)
def test_what_no_row_has_is_an_error_that_names_what_there_is(tmp_path, text, said):
    """The names are those of the first file that has any."""
    write(tmp_path / "a.jsonl", [])
    write(tmp_path / "b.jsonl", [{}, {}])
    write(tmp_path / "c.jsonl", [{"text": ASKED, "body": None, **row} for row in BEFORE][1:])
    rows = [{**row, "text": ASKED} for row in BEFORE]
    file = write(tmp_path / "c.jsonl", rows)
    with pytest.raises(CorpusError) as caught:
        deduplicate(tmp_path, text=text, tuning=Tuning(survey_shards=1))
    assert str(caught.value).endswith(said)
    assert caught.value.path == str(file)


def test_a_file_of_objects_without_keys_has_empty_rows(tmp_path):
    write(tmp_path / "a.jsonl", [{}, {}])
    write(tmp_path / "b.jsonl", [{"text": ASKED, "id": "x"}] * 2)
    write(tmp_path / "c.jsonl", [{}])
    for settings in ({}, {"text": "text"}, {"format": "text"}, {"id": "id", "keep": "longest"}):
        result = deduplicate(tmp_path, **settings)
        assert result.mask().tolist() == [True, True, True, False, True]
        assert result.summary["reasons"]["empty"] == 3
    for text in (None, "text"):
        with pytest.raises(CorpusError, match='no row has column "text"'):
            deduplicate(tmp_path / "a.jsonl", text=text)


def test_a_format_whose_columns_another_file_lacks_says_how_to_name_it(tmp_path):
    write(tmp_path / "a.jsonl", [{"text": ASKED}])
    write(tmp_path / "b.jsonl", [*BEFORE, {"text": ASKED}])
    result = deduplicate(tmp_path, text="text")
    assert result.mask().tolist() == [True] * 1201 + [False]
    for corpus in (tmp_path, tmp_path / "b.jsonl"):
        with pytest.raises(CorpusError, match=r"b\.jsonl: .*also one that only later rows have"):
            deduplicate(corpus)
    with pytest.raises(CorpusError, match="rows after the first 1,000 have it, name it with"):
        deduplicate(tmp_path, format="text")


def test_paths_into_json_that_lead_to_nothing(tmp_path):
    texts = [json.dumps({"a": None})] * 1200 + [json.dumps({"a": None, "b": ASKED})] * 2
    table = pa.table({"data": pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts))})
    pq.write_table(table, tmp_path / "a.parquet")
    for corpus in (table, tmp_path / "a.parquet"):
        assert deduplicate(corpus, text="data.b").mask().tolist()[-2:] == [True, False]
        with pytest.raises(CorpusError, match=r'"data\.c" leads to nothing in any row'):
            deduplicate(corpus, text="data.c")
    empty = table.slice(0, 0)
    assert deduplicate(empty, text="data.c").mask().tolist() == []
