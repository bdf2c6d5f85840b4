"""CSV whose fields have something else than commas between them: `--delimiter`."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pytest
from click.testing import CliRunner

from dedupe import (
    CorpusError,
    Result,
    Settings,
    SettingsError,
    Tuning,
    WorkDirError,
    apply,
    audit,
    deduplicate,
)
from dedupe.cli import cli

ONE = 'explain, why the "sky" looks; blue | on a\tclear summer\nday to a small child'
OTHER = "the capital city of norway is oslo which lies at the end of a fjord"
ROWS = [("1", ONE), ("2", OTHER), ("3", ONE), ("4", "")]
KEPT = [True, True, False, True]


def written(delimiter: str, rows: list[tuple[str, str]] = ROWS) -> bytes:
    made = io.StringIO()
    writer = csv.writer(made, delimiter=delimiter)
    writer.writerow(("n", "text"))
    writer.writerows(rows)
    return made.getvalue().encode()


def invoked(*arguments: object) -> str:
    done = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("delimiter", [";", "|", "\t", " ", ":", "^", "\x01", "\x7f", "\\", "#"])
def test_a_corpus_is_read_and_written_with_its_delimiter(tmp_path, delimiter):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.csv").write_bytes(written(delimiter))
    (corpus / "b.csv.gz").write_bytes(gzip.compress(written(delimiter)))
    result = deduplicate(corpus, tmp_path / "out", delimiter=delimiter, id="n")
    assert result.mask().tolist() == [*KEPT, False, False, False, True]
    assert result.summary["settings"]["delimiter"] == delimiter
    apply(tmp_path / "out", tmp_path / "clean", add_columns=True)
    text = io.StringIO((tmp_path / "clean" / "a.csv").read_bytes().decode(), "")
    kept = list(csv.reader(text, delimiter=delimiter))
    assert [tuple(row[:2]) for row in kept] == [("n", "text"), *ROWS]
    assert len({len(row) for row in kept}) == 1
    assert "dedupe_reason" in kept[0]


def test_all_commands_know_the_delimiter_of_the_run(tmp_path):
    (tmp_path / "a.csv").write_bytes(written(";"))
    out = tmp_path / "out"
    invoked("run", tmp_path / "a.csv", "-o", out, "--delimiter", ";", "--quiet")
    shown = json.loads(invoked("show", out, "--row", "0:2", "--json"))
    assert (shown["text"], shown["witness_text"]) == (ONE, ONE)
    (pair,) = json.loads(invoked("show", out, "--pairs", "1", "--json").partition("a.csv\n")[2])
    assert (pair["text"], pair["witness_text"]) == (ONE, ONE)
    assert Result(out).pairs(1)["text"].to_pylist() == [ONE]
    assert audit(out).ok
    invoked("apply", out, "--output", tmp_path / "clean", "--quiet")
    rows = [row for row, stays in zip(ROWS, KEPT, strict=True) if stays]
    assert (tmp_path / "clean" / "a.csv").read_bytes() == written(";", rows)
    invoked("plan", "--delimiter", ";")


def test_a_tab_is_written_as_people_write_it(tmp_path):
    (tmp_path / "a.csv").write_bytes(written("\t"))
    invoked("run", tmp_path / "a.csv", "-o", tmp_path / "out", "--delimiter", "\\t", "--quiet")
    assert Result(tmp_path / "out").mask().tolist() == KEPT


def test_suffixes_that_say_their_delimiter_keep_it(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, delimiter in (("a.csv", ";"), ("b.tsv", "\t"), ("c.psv", "|"), ("d.tsv.gz", "\t")):
        data = written(delimiter, [ROWS[0]])
        (corpus / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert deduplicate(corpus, delimiter=";").mask().tolist() == [True, False, False, False]


def test_another_delimiter_is_another_run(tmp_path):
    (tmp_path / "a.csv").write_bytes(written(";"))
    out, tuning = tmp_path / "out", Tuning()
    first = deduplicate(tmp_path / "a.csv", out, delimiter=";", tuning=tuning)
    again = deduplicate(tmp_path / "a.csv", out, delimiter=";", tuning=tuning)
    assert again.summary == first.summary
    with pytest.raises(WorkDirError, match="settings delimiter: ; before, None now"):
        deduplicate(tmp_path / "a.csv", out, text="n;text")


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r", "\0", "é", 1, "t", "0", "-", "."])
def test_what_is_no_delimiter_is_an_error(delimiter):
    with pytest.raises(SettingsError, match="use one ASCII character"):
        Settings(delimiter=delimiter)


@pytest.mark.parametrize(("found", "shown"), [(";", ";"), ("\t", r"\\t"), ("|", r"\|")])
@pytest.mark.parametrize("text", [None, "text"])
def test_a_header_of_one_column_names_the_remedy(tmp_path, found, shown, text):
    (tmp_path / "a.csv").write_bytes(written(found))
    with pytest.raises(CorpusError, match=f"say so: --delimiter '{shown}'"):
        deduplicate(tmp_path / "a.csv", text=text)
    (tmp_path / "a.csv").write_bytes(written(","))
    with pytest.raises(CorpusError, match="say so: --delimiter ','"):
        deduplicate(tmp_path / "a.csv", text=text, delimiter=found)


def test_a_later_file_with_another_delimiter_names_the_remedy(tmp_path):
    (tmp_path / "a.csv").write_bytes(written(","))
    (tmp_path / "b.csv").write_bytes(written(";"))
    with pytest.raises(CorpusError, match=r"b\.csv: its columns are .*--delimiter ';'"):
        deduplicate(tmp_path)
    with pytest.raises(CorpusError, match=r"b\.csv: no column \"text\": .*--delimiter ';'"):
        deduplicate(tmp_path, format="text")


def test_headers_that_are_as_they_should_be_name_none(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"title\nred\n")
    (tmp_path / "b.csv").write_bytes(b"a;b,c\nred,blue\n")
    for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
        with pytest.raises(CorpusError) as caught:
            deduplicate(path, text="text")
        assert "--delimiter" not in str(caught.value)
    (tmp_path / "c.csv").write_bytes(b"title;text\n" + b"one of two copies of a row\n" * 2)
    found = deduplicate(tmp_path / "c.csv", text="title;text")
    assert found.mask().tolist() == [True, False]
