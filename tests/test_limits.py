"""What is read of a file at most: long rows, large pages, text out of proportion to its file."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from dedupe import CorpusError, Execution, SettingsError, apply, deduplicate
from dedupe.config import MOST_ROW
from dedupe.tasks.costs import COSTS, LONG_ROW, USUAL_ROW, limits_of

LONG = "a long row of words " * 500  # 10,000 bytes


def written(path, texts):
    """A file of some texts, of the format that its name says."""
    rows = [{"text": text} for text in texts]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    kind = path.name.partition(".")[2]
    if kind == "jsonl":
        path.write_bytes(lines)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(lines))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "csv":
        pc.write_csv(pa.table({"text": texts}), path)
    elif kind == "parquet":
        pq.write_table(pa.table({"text": texts}), path)
    elif kind == "arrow":
        feather.write_feather(pa.table({"text": texts}), str(path), "zstd")
    return path


KINDS = ("jsonl", "jsonl.gz", "json", "csv", "parquet", "arrow")


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_is_too_long_is_named(tmp_path, kind):
    path = written(tmp_path / f"a.{kind}", ["short", "another", LONG, "last"])
    with pytest.raises(CorpusError) as caught:
        deduplicate(path, tmp_path / "out", max_row=5000)
    assert (caught.value.path, caught.value.row) == (str(path), 2)
    assert "--max-row" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_longer_limit_reads_it_and_goes_on_with_the_same_run(tmp_path, kind):
    path = written(tmp_path / f"a.{kind}", ["short", LONG, LONG, "last"])
    with pytest.raises(CorpusError):
        deduplicate(path, tmp_path / "out", max_row=5000)
    assert deduplicate(path, tmp_path / "out", max_row="1MB").mask().tolist() == [
        True, True, False, True,
    ]  # fmt: skip


def test_rows_of_later_slices_have_their_number_in_the_file(tmp_path):
    texts = [f"row number {n} of many " * 40 for n in range(4000)]
    texts[3333] = LONG
    path = written(tmp_path / "a.jsonl", texts)
    from dedupe.config import Tuning

    with pytest.raises(CorpusError) as caught:
        deduplicate(path, tmp_path / "out", max_row=5000, tuning=Tuning(task_text=100_000))
    assert caught.value.row == 3333


def test_rows_in_memory_are_held_against_it_too(tmp_path):
    with pytest.raises(CorpusError, match=r"row 1: the row has 10 kB, and 5 kB are allowed"):
        deduplicate(pa.table({"text": ["a", LONG]}), max_row=5000)
    with pytest.raises(CorpusError, match="--max-row"):
        deduplicate([{"text": "a"}, {"text": LONG}], max_row=5000)


def test_a_line_at_the_limit_is_read(tmp_path):
    line = json.dumps({"text": "x" * 3000})
    path = tmp_path / "a.jsonl"
    path.write_text(f"{line}\n" * 3)
    assert deduplicate(path, max_row=len(line)).kept == 1
    with pytest.raises(CorpusError, match="row 0"):
        deduplicate(path, max_row=len(line) - 1)


def test_the_limit_follows_memory_and_workers():
    few = limits_of(Execution(workers=1, memory="8GB"))
    many = limits_of(Execution(workers=64, memory="8GB"))
    assert few.row == (8 * 10**9 - COSTS.base) // LONG_ROW
    assert many.row == USUAL_ROW
    assert limits_of(Execution(workers=4, memory="500MB")).row == 100_000_000 // LONG_ROW
    assert limits_of(Execution(max_row="300MB")).row == 300_000_000
    assert limits_of(Execution(memory="900GB")).row == MOST_ROW
    for wrong in ({"max_row": "2GB"}, {"max_row": 0}, {"max_row": "x"}, {"max_expansion": 0}):
        with pytest.raises(SettingsError):
            Execution(**wrong)


def test_text_out_of_proportion_to_its_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("dedupe.corpus.shard.MUCH_TEXT", 100_000)
    monkeypatch.setattr("dedupe.corpus.reading.parquet.MUCH_TEXT", 100_000)
    for kind in ("jsonl.gz", "parquet", "arrow"):
        path = written(tmp_path / f"a.{kind}", [LONG] * 100)
        size = path.stat().st_size
        with pytest.raises(CorpusError, match="--max-expansion") as caught:
            deduplicate(path, tmp_path / "out", max_expansion=10)
        assert caught.value.path == str(path)
        assert f"its size of {size:,} bytes" in str(caught.value)
        assert deduplicate(path, max_expansion=1_000_000).kept == 1


def test_a_dictionary_that_hides_much_text_is_told_before_it_is_read(tmp_path):
    path = tmp_path / "a.parquet"
    text = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0), 300_000), ["x" * 1_000_000])
    pq.write_table(pa.table({"text": text}), path, compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(CorpusError, match="has 300 GB of text or more"):
        deduplicate(path, tmp_path / "out")


def test_a_page_that_memory_has_no_room_for_is_an_error(tmp_path):
    path = tmp_path / "a.parquet"
    texts = ["word " * 200_000] * 150
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False, data_page_size=1 << 30)
    with pytest.raises(CorpusError, match='column "text", has a page of 150 MB'):
        deduplicate(path, tmp_path / "out", memory="500MB", workers=1)


def with_window(path, log):
    """Write lines with a window of 2**log bytes, which stands in the header of the frame."""
    zstandard = pytest.importorskip("zstandard")
    how = zstandard.ZstdCompressionParameters.from_level(1, window_log=log)
    made = zstandard.ZstdCompressor(compression_params=how).compressobj()
    lines = "".join(json.dumps({"text": f"words of row {n // 2}"}) + "\n" for n in range(999))
    path.write_bytes(made.compress(lines.encode()) + made.flush())
    return path


@pytest.mark.parametrize("log", [20, 27, 28, 30])
def test_wide_windows_of_zstd_are_read_where_memory_allows(tmp_path, log):
    path = with_window(tmp_path / "a.jsonl.zst", log)
    assert deduplicate(path, tmp_path / "out", memory="4GB").kept == 500
    assert apply(tmp_path / "out", tmp_path / "clean")["kept"] == 500


def test_wider_windows_than_memory_name_the_remedy(tmp_path, monkeypatch):
    path = with_window(tmp_path / "a.jsonl.zst", 31)
    with pytest.raises(CorpusError, match="memory has room for 350 MB: raise --memory, or"):
        deduplicate(path, tmp_path / "out", memory="1GB")
    assert deduplicate(path, tmp_path / "out", memory="6GB").kept == 500
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CorpusError, match=r"pip install 'dedupe-engine\[zstd\]', or"):
        deduplicate(path, tmp_path / "again")


RUN = """
import re, sys
from dedupe import CorpusError, deduplicate
try:
    deduplicate(sys.argv[1], sys.argv[2], memory="500MB", workers=2)
except CorpusError as error:
    print(error)
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="a peak needs Linux")
@pytest.mark.parametrize("kind", ["jsonl.gz", "json.gz", "csv.gz"])
def test_a_row_of_900_mb_costs_little_before_it_is_refused(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    opening, closing = {
        "jsonl.gz": (b'{"text": "first"}\n{"text": "', b'"}\n'),
        "json.gz": (b'[{"text": "first"},\n{"text": "', b'"}]\n'),
        "csv.gz": (b"text\nfirst\n", b"\n"),
    }[kind]
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(opening)
        for _ in range(900):
            file.write(b"many words " * 90_909)
        file.write(closing)
    done = subprocess.run(
        [sys.executable, "-c", RUN, path, tmp_path / "out"], capture_output=True, text=True
    )
    error, peak = done.stdout.splitlines()
    size = "900 MB" if kind == "jsonl.gz" else "more than 4.1"
    assert f"row 1: the row has {size}" in error
    assert "and 4.17 MB are allowed" in error
    assert int(peak) < 400_000
