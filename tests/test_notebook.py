"""What a notebook shows of results: a table, in which text from data stays text."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import dedupe
from dedupe.notebook import html_table


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    texts = [f"some words of row {number // 2} that come twice" for number in range(40)]
    path = tmp_path_factory.mktemp("<b>") / "rows.parquet"
    pq.write_table(pa.table({"text": texts}), path)
    return path


def lines(html):
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in html.split("<tr>")[2:]]


def test_a_run_and_its_audit(path):
    result = dedupe.deduplicate(path, path.parent / "out")
    shown = result._repr_html_()
    assert "20 of 40 rows stay, 50.0% were dropped" in shown
    assert lines(shown) == [["representative", "20"], ["exact", "20"]]
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    audit = dedupe.audit(path.parent / "out")
    assert "as promised" in audit._repr_html_()
    assert lines(audit._repr_html_())[-1][:4] == ["all", "20", "0", "1.000000"]


def test_a_split_and_its_audit(path):
    rows = pa.table({"text": [f"row {number} of it" for number in range(40)]})
    pq.write_table(rows, path.parent / "single.parquet")
    splits = dedupe.split(path.parent / "single.parquet", path.parent / "splits", test="20%")
    assert lines(splits._repr_html_()) == [
        ["train", "32", ""],
        ["test", "8", "8"],
        ["validation", "0", "0"],
        ["excluded", "0", ""],
    ]
    audit = dedupe.audit_splits(path.parent / "splits")
    assert "nothing leaks" in audit._repr_html_()
    assert lines(audit._repr_html_())[0] == ["test", "8", "0"]


def test_text_stays_text():
    shown = html_table("<i>\u202e", ("a", "b"), [("<script>", 1234), ("x\x1b", None)])
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert "1,234" in shown
    assert "\u202e" not in shown
    assert "\x1b" not in shown
