"""The benchmarks' own parts: what their corpora claim, and that pages follow from result files."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.corpus import adversaries, make, small
from benchmarks.corpus import documents as documents_
from benchmarks.measure import __main__ as measure
from benchmarks.measure import commands, process
from benchmarks.report import plots, tables
from benchmarks.studies import kernels, lookalikes, quality
from dedupe.demo import corpus_path

pytestmark = pytest.mark.bench
ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = {path.stem for path in (BENCHMARKS / "results").glob("*.json")}
SOME = [0, 1, 2, 3, 77, 4_711, 250_000, 999_998, 999_999]
WITH_PEERS = (BENCHMARKS / "peers").is_dir()


def documents(name, numbers):
    return adversaries.texts(adversaries.ADVERSARIES[name], np.array(numbers, np.int64))


def jaccards(name, numbers):
    sets = [naive.word_shingles(text, 5) for text in documents(name, numbers).to_pylist()]
    return [naive.jaccard(a, b) for a, b in itertools.combinations(sets, 2)]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        *[("template", 0.5, 0.75), ("lists", 0.5, 0.75), ("near", 0.8, 1.0), ("unique", 0.0, 0.0)],
        *[("star", 0.55, 0.79), ("bases", 0.2, 0.79)],
    ],
)
def test_all_rows_of_a_family_are_as_similar_as_it_says(name, low, high):
    found = jaccards(name, [*SOME, *range(5000, 5012)])
    assert low <= min(found) <= max(found) <= high
    assert max(found) < 1


def test_lists_differ_in_at_least_six_slots():
    words = adversaries.template_of_lists(np.arange(400))
    different = (words[:, None] != words[None]).sum(axis=2)
    assert set(different[~np.eye(400, dtype=bool)]) <= set(range(6, 14))


def test_rows_of_the_chain_are_similar_to_the_next_row_alone():
    found = [jaccards("chain", [row, row + step])[0] for row in (0, 999_000) for step in (1, 2, 3)]
    assert found == pytest.approx([181 / 221, 161 / 241, 141 / 261] * 2)


def test_copies_and_the_shortest_rows_and_the_near_ones():
    texts = documents("copies", range(1000)).to_pylist()
    assert texts.count(texts[0]) == 500
    assert len(set(texts)) == 501
    texts = documents("short", range(1000)).to_pylist()
    assert {len(text.split()) for text in texts[1::2]} == {1}
    assert set(texts[::2]) == {""}
    assert len(set(documents("near", range(3000)).to_pylist())) == 3000


@pytest.mark.parametrize(
    ("name", "whole", "fields"),
    [("answers", 304 / 336, (1.0, 0.0)), ("questions", 332 / 412, (296 / 376, 1.0))],
)
def test_rows_over_one_passage_are_alike_as_a_whole_and_differ_in_a_field(
    name, whole, fields, tmp_path
):
    adversary = adversaries.ADVERSARIES[name]
    adversaries.make(adversary, 12, tmp_path / name)
    rows = pq.read_table(tmp_path / name)
    sets = [[naive.word_shingles(t, 5) for t in rows[f].to_pylist()] for f in rows.column_names]
    for one, other in itertools.combinations(zip(*sets, strict=True), 2):
        assert tuple(map(naive.jaccard, one, other)) == fields
        shared = sum(len(a & b) for a, b in zip(one, other, strict=True))
        assert shared / sum(len(a | b) for a, b in zip(one, other, strict=True)) == whole


def test_a_corpus_has_its_rows_in_order_whatever_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(make, "FILE_ROWS", 40)
    monkeypatch.setattr(make, "BLOCK", 15)
    adversaries.make(adversaries.ADVERSARIES["chain"], 100, tmp_path / "made")
    read = pq.read_table(tmp_path / "made")["text"].to_pylist()
    assert read == documents("chain", range(100)).to_pylist()
    assert len(list((tmp_path / "made").iterdir())) == 3


def test_a_made_corpus_is_a_function_of_rows_seed_and_source(tmp_path):
    (tmp_path / "english").mkdir()
    words = [f"{stem}{end}" for stem in ("Tree", "wall", "naïve", "x") for end in ("", "s", "ing")]
    text = [
        " ".join(
            words[(i * i + j * (i + 3)) % 12] + ".,! \n"[(i + j) % 5] for j in range(9 + i % 90)
        )
        for i in range(200)
    ]
    table = pa.table({"text": text, "source": [f"s{i % 3}" for i in range(200)]})
    pq.write_table(table, tmp_path / "english" / "a.parquet")
    code = (
        "import sys; from pathlib import Path; from benchmarks.corpus import make\n"
        "make.FILE_ROWS = int(sys.argv[2])\n"
        "make.make(Path(sys.argv[1]), 120, 5, Path('english'))"
    )
    # Without compiling, which takes half a minute; what wraps around in uint64 is meant to.
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    found = []
    for file_rows in ("1000", "50"):
        command = [sys.executable, "-W", "ignore", "-c", code, f"made{file_rows}", file_rows]
        subprocess.run(command, check=True, cwd=tmp_path, env=environment)
        found.append(pq.read_table(tmp_path / f"made{file_rows}").to_pylist())
    assert found[0] == found[1]
    kinds = [row["kind"] for row in found[0]]
    assert [kinds.count(kind) for kind in documents_.KINDS] == [84, 18, 7, 11]
    assert hashlib.sha256(repr(found[0]).encode()).hexdigest()[:16] == "2e4eed0d9b3e6d8a"


def test_the_steps_that_are_measured_give_the_keys_of_the_engine():
    rows = ["Ａ b-c D e ß f", "", "one", *(" ".join("abcdefgh"[i:]) for i in range(8))]
    texts = pa.array(rows, pa.large_string())
    signer, given = kernels.signer_and_arguments(texts)
    tokens = kernels.upto(kernels.BANDS, *given)
    signed = signer.sign(pa.RecordBatch.from_arrays([texts], ["text"]))
    assert tokens == 7 + 0 + 1 + sum(range(1, 9))
    assert np.array_equal(given[-1], signed.keys)


MEASURE = """
import json, sys
from benchmarks.measure.process import measured
print(json.dumps(vars(measured([sys.executable, "-c", sys.argv[1]], watched=sys.argv[2]))))
"""
"""In a process of its own: what tests before this one have left is no child of it."""


def test_a_command_is_measured(tmp_path):
    code = f"held = bytearray(30_000_000); open({str(tmp_path / 'file')!r}, 'wb').write(held)"
    waits = f"{code}; import time; sum(range(3_000_000)); time.sleep(2.5)"
    command = [sys.executable, "-c", MEASURE, waits, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    assert found["peak_disk_bytes"] == 30_000_000
    assert 0 < found["cpu_seconds"] < found["wall_seconds"]
    assert found["peak_rss_bytes"] > found["peak_own_bytes"] > 30_000_000
    with pytest.raises(SystemExit, match="failed with 3"):
        commands.take([sys.executable, "-c", "raise SystemExit(3)"])


BURN = "import time\nwhile time.process_time() < {}: pass\ntime.sleep({})"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of other processes")
def test_a_whole_tree_is_measured_and_ended():
    orphan = f"subprocess.Popen([sys.executable, '-c', {BURN.format(0.3, 0)!r}])"
    used = process.measured([sys.executable, "-c", f"import subprocess, sys; {orphan}"])
    assert (used.returncode, used.cpu_seconds > 0.3) == (0, True)
    # The system forgets what the children of this one used: it is read while they run.
    ignore = "import signal, subprocess, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    child = f"subprocess.Popen([sys.executable, '-c', {BURN.format(0.4, 1)!r}]).wait()"
    assert process.measured([sys.executable, "-c", f"{ignore}; {child}"]).cpu_seconds > 0.3
    hold = "b = b'x' * (60 << 20); import time; time.sleep(1.2)"
    two = f"[subprocess.Popen([sys.executable, '-c', {hold!r}]) for _ in range(2)]"
    script = f"import subprocess, sys; [one.wait() for one in {two}]"
    used = process.measured([sys.executable, "-c", script], proportional=True)
    assert used.peak_pss_bytes > 110 << 20 > used.peak_rss_bytes
    script = "import subprocess; subprocess.run(['sleep', '60'])"
    used = process.measured([sys.executable, "-c", script], timeout=0.3)
    assert used.returncode is None
    assert used.wall_seconds < 30


def test_the_median_run_is_the_middle_one():
    others = dict.fromkeys(("cpu_seconds", "peak_rss_bytes", "peak_own_bytes"), 1)
    runs = [{"wall_seconds": wall, **others} for wall in (5.0, 1.0, 3.0)]
    found = commands.median_run(runs)
    assert found["wall_seconds"] == 3.0
    assert found["all_wall_seconds"] == [5.0, 1.0, 3.0]
    assert commands.median_run(runs[:2])["wall_seconds"] == 1.0


def test_quality_agrees_with_plain_sets():
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join([*words[:20], *(f"{k}x{i}" for i in range(k % 4))]) for k in range(40)]
    texts += ["", " ".join(words[30:])]
    rows = pa.table({"text": texts})
    known = quality.truth(rows, 0.7)
    given = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}
    line, dropped = quality.measure(rows, known, given)
    sets = [naive.word_shingles(text, 5) for text in texts]
    true = {
        (a, b): naive.jaccard(sets[a], sets[b])
        for a, b in itertools.combinations(range(len(texts)), 2)
        if sets[a] and sets[b] and naive.jaccard(sets[a], sets[b]) >= 0.8
    }
    assert line["pairs"] == len(true) > 100
    assert line["missed"] == sum(not dropped[a] and not dropped[b] for a, b in true)
    assert (line["precision"], line["dropped"], line["empty"]) == (1.0, dropped.sum(), 1)
    nothing = quality.found_of(known, np.ones(len(texts), bool), 0.8)
    assert nothing["missed"] == nothing["pairs"] == len(true)
    assert nothing["survivors"] == len({row for pair in true for row in pair})
    assert nothing["near_pairs"] == sum(jaccard < 0.85 for jaccard in true.values())


def test_the_truth_of_rows_with_fields_is_that_of_their_least_similar_field():
    long, other = " ".join("abcdefghijkl"), " ".join("mnopqrstuvwx")
    rows = [(long, other), (long + " m", other), (long, "other"), (long, ""), (long, None)]
    table = pa.table({"prompt": [row[0] for row in rows], "completion": [row[1] for row in rows]})
    known = quality.truth(table, 0.5)
    found = zip(known.left.tolist(), known.right.tolist(), known.jaccard.tolist(), strict=True)
    assert list(found) == [(0, 1, 8 / 9), (3, 4, 1.0)]
    assert np.diff(known.offsets).tolist() == [16, 17, 9, 8, 8]
    given = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}
    line, dropped = quality.measure(table, known, given)
    assert (line["pairs"], line["missed"], line["precision"]) == (2, 0, 1.0)
    assert dropped.tolist() == [False, True, False, False, True]


def test_a_drop_without_proof_is_not_precise():
    texts = ["a b c d e f", "a b c d e f", "a b c d e f g", "q r s t u v"]
    known = quality.truth(pa.table({"text": texts}), 0.5)

    def precision(keep, witness, jaccard, threshold=0.5):
        columns = {"keep": keep, "witness_row": witness, "jaccard": jaccard}
        return quality.precision_of(known, pa.table(columns), threshold)

    keep = [True, False, False, True]
    assert precision(keep, [None, 0, 0, None], [None, 1, 2 / 3, None]) == 1.0
    assert precision(keep, [None, 0, 0, None], [None, 1, 2 / 3, None], 0.7) == 0.5
    assert precision(keep, [None, 0, 0, None], [None, 1, 0.9, None]) == 0.5
    assert precision(keep, [None, 0, 1, None], [None, 1, 2 / 3, None]) == 0.5
    assert precision(keep, [None, 0, 3, None], [None, 1, 0, None]) == 0.5


def test_lookalikes_are_counted_by_what_is_true_of_them():
    pairs = {
        ("different", "sign", 0): ["a", "b"],
        ("different", "sign", 1): ["a", "c"],
        ("same", "bold", 2): ["d", "e"],
        ("same", "bold", 3): ["f", "g"],
    }
    found = lookalikes.right_of(pairs, {"a", "c", "d", "f", "g"})
    lines = [(line["truth"], line["kind"], line["of"], line["right"]) for line in found]
    sign, bold = ("different", "sign", 3, 2), ("same", "bold", 2, 1)
    assert lines == [("different", "all", 3, 2), sign, ("same", "all", 2, 1), bold]


def test_variants_have_the_words_of_their_markdown():
    text = "# A *b*\n\n- `c_d` <b>e</b> & [f](http://g.h)\n\n```python\nx = {1:2}\n```\n"
    assert lookalikes.plain(text) == "A b\n\nc_d e & f\n\nx = {1:2}\n"
    assert "x = {1: 2}" in lookalikes.formatted(text)
    texts = [" ".join(f"{n}x{k}" for n in range(20)) for k in range(3)]
    assert lookalikes.found_of(texts, [texts[0].upper(), "other words", texts[0]]) == 1


def test_pages_are_made_from_the_result_files(tmp_path, monkeypatch):
    pages = tables.PAGES
    copies = [tmp_path / f"{number} {page.name}" for number, page in enumerate(pages)]
    shown = set()
    for page, copy in zip(pages, copies, strict=True):
        text = page.read_text(encoding="utf-8")
        emptied = re.sub(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", r"\1\3", text, flags=re.DOTALL)
        assert emptied.count("<!-- /") == text.count("<!-- /") > 0
        shown |= set(re.findall(r"<!-- /(\w+) -->", text))
        copy.write_text(emptied, encoding="utf-8")
    assert shown == set(tables.SPECS)
    monkeypatch.setattr(tables, "PAGES", copies)
    tables.main()
    for page, copy in zip(pages, copies, strict=True):
        assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), page


@pytest.mark.parametrize("one", tables.SENTENCES["sentence"], ids=lambda one: one["page"])
def test_numbers_in_sentences_are_those_of_the_result_files(one):
    text = (ROOT / one["page"]).read_text(encoding="utf-8")
    assert tables.quoted(text, one["text"]) == text, "run python -m benchmarks.report.tables"


UNIT = (
    "%|×|times|(CPU )?s|(CPU )?seconds?|[mµn]s|minutes?|hours?|[kMGT]i?B(/s)?|bytes?"
    "|rows (a|per) second"
)
FIGURE = re.compile(
    rf"\d[\d.,]*[  -]?({UNIT})(?!\w)"
    r"|\b(twice|half|halves|thirds?|quarters?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?"
    r"|twentieths?|fiftieths?|hundredths?|thousandths?)\b"
)
"""A number with a unit of measurement, or a share in words."""

SETTINGS = {
    "docs/benchmarks.md": [
        "30 % of their rows are copies",  # how a corpus is made
        "The last hundredth of each row group",
        "`--memory 2GB`",
        "A shingle is a number of 8 bytes",  # what a type holds
        "0.40, 0.50 and 1.2 CPU s, and four fifths of the CPU seconds before",  # what was aimed at
    ],
    "docs/peers.md": [
        "400 seconds are",  # the limit of a run
        "a run ends after 400 seconds",
        "with 5 % or 10 % of their words changed",  # how items are planted
    ],
}
"""All that stands typed in the prose of a page: settings, sizes of corpora, limits."""


@pytest.mark.parametrize("page", SETTINGS)
def test_no_measured_figure_is_typed(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for one in tables.SENTENCES["sentence"]:
        if one["page"] == page:
            text = re.sub(
                tables.pattern_of(one["text"]), lambda found: "…".join(found.groups()), text
            )
    text = re.sub(r"<!-- (\w+) -->.*?<!-- /\1 -->", "", text, flags=re.DOTALL)
    text = " ".join(line.strip() for line in text.splitlines() if not line.startswith("    "))
    for allowed in SETTINGS[page]:
        assert allowed in text, f"no longer there: {allowed}"
        text = text.replace(allowed, "")
    typed = [text[max(found.start() - 60, 0) : found.end() + 20] for found in FIGURE.finditer(text)]
    assert not typed, "put them into benchmarks/report/sentences.toml"


@pytest.mark.parametrize(
    "typed", ["took 6.1 ns", "1,232 MB of", "81 % of", "1.9 times", "3-4 CPU s", "2.5 s.", "8 GB)",
              "900 rows a second", "two fifths", "half of", "18.2 CPU seconds", "twice as", "30×"]
)  # fmt: skip
def test_what_is_measured_is_known_by_its_unit(typed):
    assert FIGURE.search(typed)
    assert not FIGURE.search("16 bands of 6 rows, Python 3.11 and 20,000 rows since 2025")


def test_numbers_in_sentences_are_put_in_anew():
    text = "It takes 1,000.5 times\nas long. In 2020, of 3 pairs."
    assert tables.quoted(text, "takes {1 + 1:.1f} times as long") == text.replace("1,000.5", "2.0")
    assert tables.quoted(text, "of {4_000:,} pairs") == text.replace("3 pairs", "4,000 pairs")
    with pytest.raises(ValueError, match="not there"):
        tables.quoted(text, "of {4} rows")


def test_items_of_slices_stand_in_the_corpus(tmp_path):
    texts = [" ".join(f"{row}x{word}" for word in range(100)) for row in range(40)]
    files = [str(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    for file, part in zip(files, (texts[:25], texts[25:]), strict=True):
        pq.write_table(pa.table({"text": pa.array([None, "few words", *part])}), file)
    small.slices_of_rows(files, tmp_path / "items.parquet", 9, 25)
    items = pq.read_table(tmp_path / "items.parquet")["question"].to_pylist()
    assert len(set(items)) == 9
    assert all(len(one.split()) == 25 and any(one in text for text in texts) for one in items)


def test_what_was_measured_with_another_algorithm_says_so(tmp_path, monkeypatch):
    lines = [{"rows": 10, "algorithm": tables.ALGORITHM}, {"rows": 20}]
    assert [tables.older(line) for line in lines] == ["", " with algorithm 1"]
    spec = {"result": "made", "lines": "lines", "columns": [["rows", "{rows}{older(line)}"]]}
    monkeypatch.setattr(tables, "SPECS", {"made": spec})
    for made, below in (({"algorithm": tables.ALGORITHM}, ""), ({}, "Measured with algorithm 1.")):
        monkeypatch.setattr(tables, "read_result", lambda name, made=made: {"lines": lines, **made})
        table = "| rows |\n| --- |\n| 10 |\n| 20 with algorithm 1 |"
        assert tables.table("made") == "\n\n".join(filter(None, [table, below]))


def test_sizes_that_are_not_measured_again_stay(tmp_path, monkeypatch):
    path = tmp_path / "scale.json"
    path.write_text(json.dumps({"lines": [{"rows": 5, "wall_seconds": 1}, {"rows": 70}]}))
    monkeypatch.setattr(commands, "warm_up", lambda folder: None)
    monkeypatch.setattr(commands, "measure_run", lambda corpus, *_: {"rows": int(corpus)})
    known = argparse.Namespace(json=path, corpus=["30", "5"], runs=1)
    lines = commands.scale(known, tmp_path)["lines"]
    assert lines == [{"rows": 5}, {"rows": 30}, {"algorithm": 1, "rows": 70}]


def test_plots_are_drawn_the_same_each_time(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    some = {name: plots.PLOTS[name] for name in ("quality-recall", "peers-truth")}
    monkeypatch.setattr(plots, "PLOTS", some)
    for folder in ("one", "two"):
        plots.draw(tmp_path / folder)
    for name in some:
        assert (tmp_path / "one" / f"{name}.png").stat().st_size > 10_000
        drawn = [(tmp_path / folder / f"{name}.svg").read_bytes() for folder in ("one", "two")]
        assert drawn[0] == drawn[1]


def test_pages_show_every_plot():
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+)\.svg", page)}
    assert shown == set(plots.PLOTS)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_knows_every_result_file_and_quick_means_less():
    def commands(*given):
        line = ["make", "--dry-run", "--file", "benchmarks/Makefile", "FOLDER=f", "DATA=d", *given]
        done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        run = (line.partition(" -m benchmarks.")[2].split() for line in done.stdout.splitlines())
        return [line for line in run if line]

    full, quick = commands(), commands("QUICK=1")
    assert [line[:2] for line in full] == [line[:2] for line in quick]
    makes = ("measure", "peers.compare")
    assert {line[1] for line in full if line[0] in makes} == RESULTS
    assert {line[1] for line in full if line[0] == "measure"} == {*measure.HOMES}
    pairs = zip(full, quick, strict=True)
    assert all(a != b for a, b in pairs if a[0] in makes and a[1] != "scale")
    for module in {line[0] for line in full} - {"measure"}:
        found = (BENCHMARKS / f"{module.replace('.', '/')}.py").exists()
        assert found or (not WITH_PEERS and "peers" in module)


def test_examples_of_pairs_are_those_of_the_demo_corpus():
    page = (ROOT / "docs/how-to/choose-settings.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (0\.\d+) \| `([\w-]+)`, (\d+) words \| `([\w-]+)` \|", page, re.MULTILINE
    )
    assert len(rows) == 3
    with gzip.open(corpus_path(), "rt", encoding="utf-8") as lines:
        texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    for jaccard, one, words, other in rows:
        sets = [naive.word_shingles(texts[name], 5) for name in (one, other)]
        assert f"{naive.jaccard(*sets):.3f}" == jaccard
        assert len(texts[one].split()) == int(words)
