"""Rows and files that cannot be read: left out where that is asked for, and always named."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, Result, WorkDirError, apply, audit, deduplicate
from dedupe.config import Tuning
from dedupe.progress import Silent

TEXTS = [f"row {n} is a text of many words that are like no other {n * n}" for n in range(40)]
TEXTS[7], TEXTS[31] = TEXTS[3], TEXTS[2]
BAD_LINES = {
    5: b'{"text": "broken',
    6: b"[1, 2]",
    19: b'{"text": "bad \xff utf"}',
    20: b'{"text": "a"} {"text": "b"}',
    39: b"no JSON at all",
}


def lines_with_bad_rows():
    good = [json.dumps({"text": text}).encode() for text in TEXTS]
    for row, line in BAD_LINES.items():
        good[row] = line
    return good


def write_lines(path, lines):
    data = b"\n".join(lines) + b"\n"
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def reasons_of(result):
    return result.keep_list()["reason"].to_pylist()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_bad_rows_keep_their_number_and_go(tmp_path, name):
    path = write_lines(tmp_path / name, lines_with_bad_rows())
    result = deduplicate(path, tmp_path / "out", on_bad_row="skip")
    keep = result.keep_list()
    assert keep["row"].to_pylist() == list(range(40))
    bad = [row for row, reason in enumerate(reasons_of(result)) if reason == "unreadable"]
    assert bad == sorted(BAD_LINES)
    dropped = [row for row, kept in enumerate(keep["keep"].to_pylist()) if not kept]
    assert dropped == sorted([*BAD_LINES, 7, 31])
    for name in ("cluster", "witness_shard", "witness_row", "jaccard", "lost"):
        assert keep[name].take(bad).null_count == len(bad)
    found = result.summary["corpus"]["unreadable"]
    assert (found["rows"], found["files"]) == (5, {})
    assert [(one["path"], one["row"]) for one in found["examples"]] == [
        (str(path), row) for row in sorted(BAD_LINES)
    ]
    assert "broken JSON" in found["examples"][0]["why"]
    assert "byte 4" in found["examples"][2]["why"]
    assert result.summary["reasons"]["unreadable"] == 5
    measured = audit(tmp_path / "out")
    assert measured.ok, measured
    apply(tmp_path / "out", tmp_path / "clean")
    clean = (tmp_path / "clean" / path.name).read_bytes()
    clean = gzip.decompress(clean) if path.suffix == ".gz" else clean
    assert len(clean.splitlines()) == 33


def test_without_being_asked_a_bad_row_is_an_error(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", lines_with_bad_rows())
    with pytest.raises(CorpusError) as caught:
        deduplicate(path, tmp_path / "out")
    assert caught.value.row == 5


@pytest.mark.parametrize("recall", [0.99, "exact"])
@pytest.mark.parametrize("cut", [{}, {"task_text": 500}, {"batch_bytes": 100}])
def test_the_keep_list_is_the_same_however_it_is_cut(tmp_path, cut, recall):
    path = write_lines(tmp_path / "a.jsonl", lines_with_bad_rows())
    how = {"on_bad_row": "skip", "recall": recall}
    result = deduplicate(path, tmp_path / "out", tuning=Tuning(**cut), workers=2, **how)
    assert result.summary["corpus"]["unreadable"]["examples"][-1]["row"] == 39
    whole = deduplicate(path, on_bad_row="skip")
    assert result.keep_list().equals(whole.keep_list())


def test_malformed_text_is_replaced_where_that_is_asked_for(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", lines_with_bad_rows())
    result = deduplicate(path, tmp_path / "out", on_bad_row="skip", on_bad_text="replace")
    assert reasons_of(result)[19] == "unique"
    assert result.summary["corpus"]["bad_text_replaced"] == 1


def test_text_that_is_malformed_in_parquet(tmp_path):
    data = [text.encode() for text in TEXTS]
    data[11] = b"caf\xe9 au lait"
    wide = pa.array(data, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(wide), wide.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    result = deduplicate(tmp_path / "a.parquet", tmp_path / "out", on_bad_row="skip")
    assert [n for n, one in enumerate(reasons_of(result)) if one == "unreadable"] == [11]
    assert audit(tmp_path / "out").ok


def test_json_in_parquet_that_gives_no_text(tmp_path):
    messages = [json.dumps([{"role": "user", "content": text}]) for text in TEXTS]
    messages[13] = '[{"role": "user", "content": '
    kind = pa.json_(pa.string())
    column = pa.ExtensionArray.from_storage(kind, pa.array(messages))
    pq.write_table(pa.table({"messages": column}), tmp_path / "a.parquet")
    result = deduplicate(tmp_path / "a.parquet", tmp_path / "out", on_bad_row="skip")
    assert [n for n, one in enumerate(reasons_of(result)) if one == "unreadable"] == [13]
    assert result.kept == 37
    assert audit(tmp_path / "out").ok


@pytest.mark.parametrize("block", [1 << 20, 200])
def test_rows_of_csv_with_other_columns(tmp_path, monkeypatch, block):
    lines = ["text,n", *(f'"{text}",{n}' for n, text in enumerate(TEXTS)), "last,1,2,3"]
    lines[1 + 4] = "one"
    lines[1 + 5] = "one,two,three"
    lines[1 + 17] = "a,b,c,d"
    (tmp_path / "a.csv").write_text("\n".join(lines))
    monkeypatch.setattr("dedupe.corpus.shard.BLOCK_SIZES.__class__.csv", block, raising=False)
    with pytest.raises(CorpusError, match="row 4"):
        deduplicate(tmp_path / "a.csv", tmp_path / "out")
    result = deduplicate(tmp_path / "a.csv", tmp_path / "out", on_bad_row="skip", fresh=True)
    reasons = reasons_of(result)
    assert [n for n, one in enumerate(reasons) if one == "unreadable"] == [4, 5, 17, 40]
    assert (result.rows, result.kept) == (41, 35)
    apply(tmp_path / "out", tmp_path / "clean")
    kept = pc.read_csv(tmp_path / "clean" / "a.csv")["text"].to_pylist()
    assert kept == [text for n, text in enumerate(TEXTS) if n not in (4, 5, 7, 17, 31)]


def test_rows_of_an_array_of_json(tmp_path):
    rows = [json.dumps({"text": text}) for text in TEXTS]
    rows[9] = '{"text": nothing}'
    (tmp_path / "a.json").write_text("[" + ",\n".join(rows) + "]")
    result = deduplicate(tmp_path / "a.json", tmp_path / "out", on_bad_row="skip")
    assert [n for n, one in enumerate(reasons_of(result)) if one == "unreadable"] == [9]
    apply(tmp_path / "out", tmp_path / "clean")
    assert len(json.loads((tmp_path / "clean" / "a.json").read_text())) == 37


# --- files -----------------------------------------------------------------------------------


def corpus_with_bad_files(folder):
    """Good files, and some that cannot be read: these by name."""
    folder.mkdir()
    pq.write_table(pa.table({"text": TEXTS}), folder / "b.parquet")
    whole = (folder / "b.parquet").read_bytes()
    (folder / "a-cut.parquet").write_bytes(whole[: len(whole) // 2])
    (folder / "c-pointer.parquet").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    )
    lines = [json.dumps({"text": f"{text} {n}"}).encode() for n, text in enumerate(TEXTS * 200)]
    write_lines(folder / "d-good.jsonl.gz", lines)
    whole = (folder / "d-good.jsonl.gz").read_bytes()
    (folder / "e-cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    pq.write_table(pa.table({"other": TEXTS}), folder / "f-columns.parquet")
    write_lines(folder / "g.jsonl", [b'{"text": "of the last file"}'])
    return ["a-cut.parquet", "c-pointer.parquet", "e-cut.jsonl.gz", "f-columns.parquet"]


@pytest.mark.parametrize("cut", [{}, {"task_text": 2_000, "survey_shards": 1}])
def test_bad_files_are_left_out_and_named(tmp_path, cut):
    bad = corpus_with_bad_files(tmp_path / "in")
    notes = []

    class Notes(Silent):
        def note(self, text):
            notes.append(text)

    how = {"on_bad_file": "skip", "tuning": Tuning(**cut), "progress": Notes()}
    result = deduplicate(tmp_path / "in", tmp_path / "out", **how)
    left_out = result.summary["corpus"]["unreadable"]["files"]
    assert list(left_out) == [str(tmp_path / "in" / name) for name in bad]
    for path in left_out:
        assert any(note.startswith(f"{path} is left out: ") for note in notes), path
    rows = {shard["path"].rpartition("/")[2]: shard["rows"] for shard in result.shards}
    good = {"b.parquet": 40, "d-good.jsonl.gz": 8000, "g.jsonl": 1}
    assert rows == {**dict.fromkeys(bad, 0), **good}
    (tmp_path / "good").mkdir()
    for name in good:
        (tmp_path / "good" / name).write_bytes((tmp_path / "in" / name).read_bytes())
    alone = deduplicate(tmp_path / "good", tmp_path / "out-good")
    assert result.mask().tolist() == alone.mask().tolist()
    assert audit(tmp_path / "out").ok
    apply(tmp_path / "out", tmp_path / "clean")
    there = {path.name for path in (tmp_path / "clean").iterdir() if path.name[0] != "_"}
    assert there == set(good)
    again = deduplicate(tmp_path / "in", tmp_path / "out", on_bad_file="skip")
    assert again.path == result.path


def test_a_corpus_of_bad_files_alone_is_an_error(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 99999)[:50])
    with pytest.raises(CorpusError, match="no row is left"):
        deduplicate(tmp_path, tmp_path.parent / "out-bad", on_bad_file="skip")


def test_a_bad_row_makes_no_bad_file(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", lines_with_bad_rows())
    with pytest.raises(CorpusError, match="row 5"):
        deduplicate(path, tmp_path / "out", on_bad_file="skip")


def test_both_at_once(tmp_path):
    corpus_with_bad_files(tmp_path / "in")
    write_lines(tmp_path / "in" / "h.jsonl", lines_with_bad_rows())
    result = deduplicate(tmp_path / "in", tmp_path / "out", on_bad_file="skip", on_bad_row="skip")
    found = result.summary["corpus"]["unreadable"]
    assert (found["rows"], len(found["files"])) == (5, 4)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream.arrow"])
def test_names_of_columns_that_are_not_utf8(tmp_path, kind):
    table = pa.table({"text": TEXTS, "caf_": range(40)})
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        make = pa.ipc.new_stream if kind == "stream.arrow" else pa.ipc.new_file
        with make(str(path), table.schema) as sink:
            sink.write_table(table)
    path.write_bytes(path.read_bytes().replace(b"caf_", b"caf\xe9"))
    with pytest.raises(CorpusError, match="can't decode byte 0xe9") as caught:
        deduplicate(path, tmp_path / "out")
    assert caught.value.path == str(path)


# --- files that were mended --------------------------------------------------------------------


def shards_with_one_bad(folder):
    folder.mkdir()
    for n in range(6):
        lines = [
            json.dumps({"text": f"{text} {n} {i} " + "and the same words again " * 30}).encode()
            for i, text in enumerate(TEXTS * 150)
        ]
        write_lines(folder / f"{n}.jsonl.gz", lines)
    bad = folder / "4.jsonl.gz"
    whole = bad.read_bytes()
    bad.write_bytes(whole[: len(whole) // 2])
    return bad, whole


ONE_EACH = Tuning(task_text=100, shard_bytes=100)


def test_a_mended_file_costs_only_its_own_tasks(tmp_path):
    bad, whole = shards_with_one_bad(tmp_path / "in")
    how = {"tuning": ONE_EACH, "workers": 1}
    with pytest.raises(CorpusError):
        deduplicate(tmp_path / "in", tmp_path / "out", **how)
    bad.write_bytes(whole)
    result = deduplicate(tmp_path / "in", tmp_path / "out", **how)
    assert (
        result.summary["stages"]["sign"] | {"tasks": 6, "resumed": 4}
        == (result.summary["stages"]["sign"])
    )
    (tmp_path / "again").mkdir()
    fresh = deduplicate(tmp_path / "in", tmp_path / "again" / "out")
    for one, other in zip(result.files, fresh.files, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_file_that_was_replaced_by_a_longer_one(tmp_path):
    bad, _ = shards_with_one_bad(tmp_path / "in")
    how = {"tuning": ONE_EACH, "workers": 1}
    with pytest.raises(CorpusError):
        deduplicate(tmp_path / "in", tmp_path / "out", **how)
    write_lines(bad, [json.dumps({"text": f"more {n} of it {n * n}"}).encode() for n in range(999)])
    result = deduplicate(tmp_path / "in", tmp_path / "out", **how)
    assert result.rows == 5 * 6000 + 999
    assert result.keep_list().equals(deduplicate(tmp_path / "in", tmp_path / "o2").keep_list())


def test_a_file_that_changes_after_sign_tells_what_is_lost(tmp_path):
    class Stop(Silent):
        def stage(self, name, tasks, done):
            if name == "components":
                raise WorkDirError("stopped")

    bad, whole = shards_with_one_bad(tmp_path / "in")
    bad.write_bytes(whole)
    with pytest.raises(WorkDirError, match="stopped"):
        deduplicate(tmp_path / "in", tmp_path / "out", progress=Stop(), tuning=ONE_EACH)
    bad.write_bytes(whole + gzip.compress(b'{"text": "one more"}\n'))
    with pytest.raises(WorkDirError, match=r"4.jsonl.gz changed after .*6 of sign, .* of bucket"):
        deduplicate(tmp_path / "in", tmp_path / "out", tuning=ONE_EACH)
    assert deduplicate(tmp_path / "in", tmp_path / "out", fresh=True).rows == 36_001


def test_a_mended_file_of_another_format_needs_a_new_run(tmp_path):
    bad, _ = shards_with_one_bad(tmp_path / "in")
    how = {"tuning": ONE_EACH, "workers": 1}
    with pytest.raises(CorpusError):
        deduplicate(tmp_path / "in", tmp_path / "out", **how)
    write_lines(bad, [b'{"instruction": "a", "input": "b", "output": "c"}'])
    with pytest.raises(WorkDirError, match="of another format"):
        deduplicate(tmp_path / "in", tmp_path / "out", **how)


def test_a_result_of_before_is_read(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [b'{"text": "a b c"}'])
    deduplicate(path, tmp_path / "out")
    assert Result(tmp_path / "out").summary["corpus"]["unreadable"] == {
        "rows": 0, "examples": [], "files": {},
    }  # fmt: skip
