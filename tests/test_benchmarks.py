"""The benchmarks' own parts: what their corpora claim, and that pages follow from result files."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import naive
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import adversaries
import measuring
import plots
import quality
import remake
import steps
import tables

from dedupe.arrays import text_buffers
from dedupe.config import Settings
from dedupe.kernels.xxh3 import SECRET
from dedupe.planning.banding import plan_banding
from dedupe.stages.sign import Signer

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
PAGES = tables.PAGES


def documents(name, numbers):
    rows = np.array(numbers, np.int64)
    return adversaries.texts(adversaries.ADVERSARIES[name], rows, adversaries.spelling())


def jaccards(name, numbers):
    sets = [naive.word_shingles(text, 5) for text in documents(name, numbers).to_pylist()]
    return [naive.jaccard(a, b) for a, b in itertools.combinations(sets, 2)]


SOME = [0, 1, 2, 3, 77, 4_711, 250_000, 999_998, 999_999]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("template", 0.5, 0.75), ("lists", 0.5, 0.75), ("near", 0.8, 1.0), ("unique", 0.0, 0.0)],
)
def test_all_rows_of_a_family_are_as_similar_as_it_says(name, low, high):
    found = jaccards(name, [*SOME, *range(5000, 5030)])
    assert low <= min(found) <= max(found) <= high
    assert max(found) < 1


def test_lists_differ_in_at_least_six_slots():
    words = adversaries.template_of_lists(np.arange(400))
    different = (words[:, None] != words[None]).sum(axis=2)
    assert set(different[~np.eye(400, dtype=bool)]) <= set(range(6, 14))


def test_rows_of_the_chain_are_similar_to_the_next_row_alone():
    found = [jaccards("chain", [row, row + step])[0] for row in (0, 999_000) for step in (1, 2, 3)]
    assert found == pytest.approx([181 / 221, 161 / 241, 141 / 261] * 2)


def test_half_of_the_rows_are_copies():
    texts = documents("copies", range(1000)).to_pylist()
    assert texts.count(texts[0]) == 500
    assert len(set(texts)) == 501


def test_the_shortest_rows_are_empty_or_one_word():
    texts = documents("short", range(1000)).to_pylist()
    assert {len(text.split()) for text in texts[1::2]} == {1}
    assert set(texts[::2]) == {""}


def test_near_rows_are_distinct():
    texts = documents("near", range(3000)).to_pylist()
    assert len(set(texts)) == 3000


def test_the_steps_that_are_measured_give_the_keys_of_the_engine():
    rows = ["Ａ b-c D e ß f", "", "one", *(" ".join("abcdefgh"[i:]) for i in range(8))]
    texts = pa.array(rows, pa.large_string())
    signer = Signer(settings := Settings(), banding := plan_banding(settings))
    buffers = text_buffers(texts)
    keys = np.zeros((len(texts), banding.bands), np.uint64)
    tokens = steps.upto(
        steps.BANDS, buffers.data, buffers.offsets, signer.tables, SECRET, signer.multipliers,
        signer.addends, banding.rows, keys,
    )  # fmt: skip
    signed = signer.sign(pa.RecordBatch.from_arrays([texts], ["text"]))
    assert tokens == 7 + 0 + 1 + sum(range(1, 9))
    assert np.array_equal(keys, signed.keys)


def test_a_corpus_has_its_rows_in_order_whatever_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(adversaries, "FILE_ROWS", 40)
    monkeypatch.setattr(adversaries, "GROUP_ROWS", 15)
    adversaries.make(adversaries.ADVERSARIES["chain"], 100, tmp_path / "made")
    read = pq.read_table(tmp_path / "made")["text"].to_pylist()
    assert read == documents("chain", range(100)).to_pylist()
    assert len(list((tmp_path / "made").iterdir())) == 3


def test_a_command_is_measured(tmp_path):
    code = f"open({str(tmp_path / 'file')!r}, 'wb').write(bytes(5_000_000)); sum(range(3_000_000))"
    waits = f"{code}; import time; time.sleep(0.3)"
    found = measuring.run_measured([sys.executable, "-c", waits], watched=tmp_path)
    assert found["peak_disk_bytes"] == 5_000_000
    assert 0 < found["cpu_seconds"] < found["wall_seconds"]
    assert found["peak_rss_bytes"] > found["peak_own_bytes"] > 1_000_000
    with pytest.raises(SystemExit, match="failed with 3"):
        measuring.run_measured([sys.executable, "-c", "raise SystemExit(3)"])


def test_the_median_run_is_the_middle_one():
    others = {"cpu_seconds": 1, "peak_rss_bytes": 2, "peak_own_bytes": 1}
    runs = [{"wall_seconds": wall, **others} for wall in (5.0, 1.0, 3.0)]
    found = measuring.median_run(runs)
    assert found["wall_seconds"] == 3.0
    assert found["all_wall_seconds"] == [5.0, 1.0, 3.0]
    assert measuring.median_run(runs[:2])["wall_seconds"] == 1.0


def test_quality_agrees_with_plain_sets():
    words = [f"w{i}" for i in range(60)]
    texts = [" ".join([*words[:20], *(f"{k}x{i}" for i in range(k % 4))]) for k in range(40)] + [
        "",
        " ".join(words[30:]),
    ]
    array = adversaries.pa.array(texts, adversaries.pa.large_string())
    known = quality.truth(array, "word:5")
    line, dropped = quality.measure(
        array, known, {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}
    )
    sets = [naive.word_shingles(text, 5) for text in texts]
    true = [
        (a, b)
        for a, b in itertools.combinations(range(len(texts)), 2)
        if sets[a] and sets[b] and naive.jaccard(sets[a], sets[b]) >= 0.8
    ]
    assert line["pairs"] == len(true) > 100
    assert line["missed"] == sum(not dropped[a] and not dropped[b] for a, b in true)
    assert line["precision"] == 1.0
    assert line["dropped"] == dropped.sum()
    assert line["empty"] == 1
    keep = np.ones(len(texts), bool)
    nothing = quality.found_of(known, keep, 0.8)
    assert nothing["missed"] == nothing["pairs"] == len(true)
    assert nothing["survivors"] == len({row for pair in true for row in pair})
    near = [1 for a, b in true if naive.jaccard(sets[a], sets[b]) < 0.85]
    assert nothing["near_pairs"] == len(near)


def test_pages_are_made_from_the_result_files(tmp_path, monkeypatch):
    pages = [tmp_path / page.name for page in PAGES]
    for page, copy in zip(PAGES, pages, strict=True):
        text = page.read_text(encoding="utf-8")
        emptied = re.sub(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", r"\1\3", text, flags=re.DOTALL)
        assert emptied.count("<!-- /") == text.count("<!-- /") > 0
        copy.write_text(emptied, encoding="utf-8")
    monkeypatch.setattr(tables, "PAGES", pages)
    tables.main()
    for page, copy in zip(PAGES, pages, strict=True):
        assert copy.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), page


def test_every_plot_is_drawn_the_same_each_time(tmp_path, monkeypatch):
    plots.draw(tmp_path / "one")
    for name in plots.PLOTS:
        assert (tmp_path / "one" / f"{name}.png").stat().st_size > 10_000
    monkeypatch.setattr(plots, "PLOTS", {"scale": plots.scale, "adversaries": plots.adversaries})
    plots.draw(tmp_path / "two")
    for name in plots.PLOTS:
        drawn = [(tmp_path / folder / f"{name}.svg").read_bytes() for folder in ("one", "two")]
        assert drawn[0] == drawn[1]


def test_pages_show_every_plot():
    shown = {
        name
        for page in (ROOT / "docs").rglob("*.md")
        for name in re.findall(r"images/([\w-]+)\.svg", page.read_text(encoding="utf-8"))
    }
    assert shown >= set(plots.PLOTS)


def test_corpora_have_short_names():
    assert [remake.short(rows) for rows in (500, 1000, 250_000, 10**6, 10**7)] == [
        *("500", "1k", "250k", "1m", "10m")
    ]


def test_remake_runs_every_script():
    scripts = {step.script for step in remake.steps(Path("folder"), Path("data"))}
    found = {
        str(path.relative_to(BENCHMARKS))
        for path in (*BENCHMARKS.glob("*.py"), *(BENCHMARKS / "peers").glob("*.py"))
        if "__main__" in path.read_text(encoding="utf-8") and path.stem != "remake"
    }
    helpers = {path for path in found if Path(path).stem in {"recall", "runner"} or "run_" in path}
    assert found - helpers <= scripts
    assert all((BENCHMARKS / script).exists() for script in scripts)


def test_remake_makes_every_result_file_and_quick_means_less():
    full = {step.name: step for step in remake.steps(Path("f"), Path("d"))}
    quick = {step.name: step for step in remake.steps(Path("f"), Path("d"), quick=True)}
    assert list(full)[len(remake.SIZES) :] == list(quick)[len(remake.QUICK_SIZES) :]
    written = {step.result for step in full.values()} - {None}
    assert {path.name for path in (BENCHMARKS / "results").glob("*.json")} <= written
    for name in ("quality", "scale", "link-scale", "ray-shards"):
        assert full[name].command(BENCHMARKS) != quick[name].command(BENCHMARKS)


def test_remake_says_what_is_there_already_and_what_failed(tmp_path):
    made = tmp_path / "corpus"
    (tmp_path / "good.py").write_text(f"import os; os.mkdir({str(made)!r})", encoding="utf-8")
    (tmp_path / "bad.py").write_text(
        f"import os; os.mkdir({str(tmp_path / 'half')!r}); raise SystemExit(1)", encoding="utf-8"
    )
    step = remake.Step("good", "good.py", makes=made)
    assert remake.run(step, tmp_path) is not None
    assert remake.run(step, tmp_path) is None
    with pytest.raises(SystemExit, match="bad failed"):
        remake.run(remake.Step("bad", "bad.py", makes=tmp_path / "half"), tmp_path)
    assert not (tmp_path / "half").exists()


def test_remake_names_its_steps():
    command = [sys.executable, str(BENCHMARKS / "remake.py"), "folder", "--data", "data"]
    said = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True).stdout
    listed = [line.split()[0] for line in said.splitlines()]
    assert listed == [step.name for step in remake.steps(Path("folder"), Path("data"))]
    wrong = subprocess.run([*command, "--only", "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no step nothing" in wrong.stderr


def test_examples_of_pairs_are_those_of_the_demo_corpus():
    page = (ROOT / "docs/how-to/choose-settings.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| (0\.\d+) \| `([\w-]+)`, (\d+) words \| `([\w-]+)` \|", page, re.MULTILINE
    )
    assert len(rows) == 3
    from dedupe.demo import corpus_path

    with gzip.open(corpus_path(), "rt", encoding="utf-8") as lines:
        texts = {row["id"]: row["text"] for row in map(json.loads, lines)}
    for jaccard, one, words, other in rows:
        sets = [naive.word_shingles(texts[name], 5) for name in (one, other)]
        assert f"{naive.jaccard(*sets):.3f}" == jaccard
        assert len(texts[one].split()) == int(words)
