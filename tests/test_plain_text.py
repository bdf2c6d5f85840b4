"""Plain text: a row per line or per file, as plain Python reads it."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, DedupeError, Result, SettingsError, apply, audit, deduplicate
from dedupe.config import Tuning
from dedupe.corpus import BlockSizes, Projection, discover, find_shards, plan_slices, read_slice
from dedupe.documents.template import ColumnPath, Template
from dedupe.progress import Silent

BOM = b"\xef\xbb\xbf"
ODD = [
    b"one line of many words, the first of all",
    b"",
    b"  spaces before and behind \t ",
    b" \t ",
    b'a line with \0 in it and { and } and "quotes"',
    BOM + b"a mark is no part of the line",
    BOM,
    BOM + b"  ",
    b"caf\xc3\xa9 \xe4\xbd\xa0\xe5\xa5\xbd",
    b"\r",
    b"a \r within a line",
    b"not UTF-8 \xff\xfe",
    "\N{NO-BREAK SPACE}".encode(),
    b"one line of many words, the first of all",
]
PACKED = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
TEXT = Projection((Template((ColumnPath("text"),)),))


def rows_of(data: bytes) -> list[bytes]:
    """The rows of a file in plain Python."""
    lines = data.split(b"\n")
    ended = [line.removesuffix(b"\r") for line in lines[:-1]] + lines[-1:]
    ended[-1] = ended[-1].removesuffix(b"\r")
    texts = [line.removeprefix(BOM) for line in ended]
    return [text for text in texts if text.strip(b" \t\r\n")]


def read(path, unit="line", *, target=1 << 30, sizes=None):
    (shard,) = find_shards([str(path)], unit=unit)
    sizes = sizes or BlockSizes()
    texts = []
    for part in plan_slices(shard, ["text"], target, 1 << 30):
        for batch in read_slice(shard, part, TEXT, batch_bytes=100, sizes=sizes):
            texts += batch.column(0).cast(pa.large_binary()).to_pylist()
    return texts


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("suffix", PACKED)
def test_lines_are_what_python_reads(tmp_path, ending, last, suffix):
    data = ending.join(ODD) + ending * last
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKED[suffix](data))
    expected = rows_of(data)
    assert len(expected) == 9
    for size in (1, 7, 64, 1 << 20):
        assert read(path, sizes=BlockSizes(lines=size)) == expected
        assert read(path, target=size) == expected
    assert read(path, "file") == [data]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"a", BOM, BOM + b"a\n", b"\r\n \r\n", b"\na\n\n"])
def test_small_files(tmp_path, data):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    assert read(path) == rows_of(data)
    assert read(path, "file") == [data.removeprefix(BOM)]
    assert deduplicate(path).rows == len(rows_of(data))


TEXTS = [f"row {n} is a text of many words that are like no other {n * n}" for n in range(300)]
TEXTS[200], TEXTS[299] = TEXTS[3], TEXTS[2].upper()


@pytest.mark.parametrize("suffix", PACKED)
def test_lines_that_stay_are_written_back(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    data = "\n\n".join(TEXTS).encode()
    path.write_bytes(PACKED[suffix](data))
    tuning = Tuning(task_text=2000)
    result = deduplicate(path, tmp_path / "out", tuning=tuning, workers=2)
    assert audit(tmp_path / "out").ok
    dropped = [row for row, kept in enumerate(result.mask().tolist()) if not kept]
    assert dropped == [200, 299]
    told = apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")
    assert (told["kept"], told["dropped"]) == (298, 2)
    stay = [text.encode() for row, text in enumerate(TEXTS) if row not in dropped]
    assert read(tmp_path / "clean" / path.name) == stay
    assert read(tmp_path / "gone" / path.name) == [TEXTS[row].encode() for row in dropped]
    apply(tmp_path / "out", tmp_path / "parts", rows_per_file=100)
    parts = [read(tmp_path / "parts" / f"part-0000{n}.txt{suffix}") for n in range(3)]
    assert [text for part in parts for text in part] == stay
    with pytest.raises(DedupeError, match="no room for columns"):
        apply(tmp_path / "out", tmp_path / "more", add_columns=True)


@pytest.mark.parametrize("suffix", PACKED)
def test_files_that_stay_are_copied_as_they_are(tmp_path, suffix):
    folder = tmp_path / "in"
    folder.mkdir()
    contents = [BOM + text.encode() + b"\r\n\r\nand more\n" for text in TEXTS]
    contents += [b"", b"\n"]
    for number, content in enumerate(contents):
        (folder / f"{number:03}.txt{suffix}").write_bytes(PACKED[suffix](content))
    result = deduplicate(folder, tmp_path / "out", unit="file", workers=2)
    assert (result.rows, result.kept) == (302, 300)
    assert result.summary["settings"]["unit"] == "file"
    told = apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")
    assert (told["kept"], told["dropped"]) == (300, 2)
    there = {
        part: {path.name for path in (tmp_path / part).iterdir() if path.name[0] != "_"}
        for part in ("clean", "gone")
    }
    gone = {f"{number}.txt{suffix}" for number in (200, 299)}
    assert there == {"clean": {path.name for path in folder.iterdir()} - gone, "gone": gone}
    for part, names in there.items():
        for name in names:
            assert read(tmp_path / part / name, "file") == read(folder / name, "file")
    again = apply(tmp_path / "out", tmp_path / "clean", dropped=tmp_path / "gone")
    assert again["files"] == told["files"]
    with pytest.raises(DedupeError, match="is a row itself"):
        apply(tmp_path / "out", tmp_path / "parts", rows_per_file=100)


def test_the_unit_decides_the_keep_list(tmp_path):
    (tmp_path / "a.txt").write_text("the same\nthe same\n")
    assert deduplicate(tmp_path / "a.txt", tmp_path / "out").rows == 2
    assert deduplicate(tmp_path / "a.txt", unit="file").rows == 1
    with pytest.raises(DedupeError, match="unit"):
        deduplicate(tmp_path / "a.txt", tmp_path / "out", unit="file")
    assert Result(tmp_path / "out").rows == 2
    with pytest.raises(SettingsError, match="unit is 'page'"):
        deduplicate(tmp_path / "a.txt", unit="page")


def test_a_note_beside_other_files_is_left_out(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "README.txt").write_text("about these files")
    (tmp_path / "below" / "LICENSE.TXT").write_text("a license")
    (tmp_path / "below" / "words.txt.gz").write_bytes(gzip.compress(b"words"))
    for folder in (tmp_path, f"{tmp_path}/**", f"{tmp_path}/*"):
        found = discover([str(folder)])
        assert len(found.shards) == 3
        assert found.left_out == {}
    pq.write_table(pa.table({"text": ["a text"]}), tmp_path / "a.parquet")
    for folder in (tmp_path, f"{tmp_path}/**", f"{tmp_path}/*"):
        found = discover([str(folder)])
        assert [shard.path for shard in found.shards] == [str(tmp_path / "a.parquet")]
        assert found.left_out == {".gz": 1, ".txt": 2}
    named = discover([str(tmp_path / "a.parquet"), str(tmp_path / "README.txt")])
    assert [shard.format for shard in named.shards] == ["text-lines", "parquet"]
    assert deduplicate([tmp_path / "a.parquet", tmp_path / "README.txt"]).rows == 2
    assert deduplicate(tmp_path).rows == 1


@pytest.mark.parametrize("unit", ["line", "file"])
@pytest.mark.parametrize("suffix", PACKED)
def test_limits_and_malformed_text(tmp_path, unit, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(PACKED[suffix](b"short\n" + b"many words " * 1000))
    with pytest.raises(CorpusError, match="--max-row") as caught:
        deduplicate(path, unit=unit, max_row=5000)
    assert (caught.value.path, caught.value.row) == (str(path), int(unit == "line"))
    path.write_bytes(PACKED[suffix](b"good\nbad \xff\n"))
    with pytest.raises(CorpusError) as caught:
        deduplicate(path, unit=unit)
    assert (caught.value.path, caught.value.row) == (str(path), int(unit == "line"))
    skipped = deduplicate(path, unit=unit, on_bad_row="skip")
    assert skipped.keep_list()["reason"].to_pylist()[-1] == "unreadable"
    replaced = deduplicate(path, unit=unit, on_bad_text="replace")
    assert replaced.kept == replaced.rows
    with pytest.raises(CorpusError, match='no column "body": it has text'):
        deduplicate(path, unit=unit, text="body")


@pytest.mark.parametrize("unit", ["line", "file"])
def test_text_of_another_encoding_is_named(tmp_path, unit):
    (tmp_path / "a.txt").write_text("some text\n", encoding="utf-16")
    with pytest.raises(CorpusError, match="is UTF-16 text: convert it"):
        deduplicate(tmp_path / "a.txt", unit=unit, on_bad_text="replace")


def test_files_without_bytes_are_rows_only_where_files_are(tmp_path):
    (tmp_path / "a.txt").write_text("")
    for unit, notes in (("line", ["1 file has 0 bytes, and no rows"]), ("file", [])):
        told = []

        class Notes(Silent):
            def note(self, text, told=told):
                told.append(text)

        result = deduplicate(tmp_path / "a.txt", unit=unit, progress=Notes())
        assert result.rows == (unit == "file")
        assert [text for text in told if "0 bytes" in text] == [
            f"{note}: {tmp_path / 'a.txt'}" for note in notes
        ]


@pytest.mark.parametrize("unit", ["line", "file"])
def test_a_killed_run_goes_on(tmp_path, unit):
    from moments import At, Killed

    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("\n".join(TEXTS[100 * number :][:100]))
    how = {"unit": unit, "tuning": Tuning(task_text=2000), "workers": 2}
    whole = deduplicate(folder, tmp_path / "whole", **how)
    with pytest.raises(Killed):
        deduplicate(folder, tmp_path / "out", progress=At("verify"), **how)
    result = deduplicate(folder, tmp_path / "out", **how)
    assert result.summary["stages"]["sign"]["resumed"] > 0
    assert result.keep_list().equals(whole.keep_list())
