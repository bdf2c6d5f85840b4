"""`--recall exact` beside bands, on short rows and long ones.

    python benchmarks/recall_exact.py [CORPUS...] --json results/recall-exact.json

Corpora of 100 MB of made text each: rows of 10 words, of 100 and of 3,000, in which every third row
is an earlier one with some words replaced; and each CORPUS. Each is run with bands and with
--recall exact in turn, --runs times, in processes of their own; rows of 10 words with the settings
that suit them. The audit of the run with bands says how many rows it has missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import run_measured, write_result

WORDS = 50_000
BYTES = 100_000_000
MADE = {
    10: ("--shingle", "word:2", "--threshold", "0.6"),
    100: (),
    3000: (),
}
"""Options of the runs by the words of a row."""


def make(path: Path, length: int, size: int) -> None:
    """Rows of `length` words, `size` bytes in all; words are as unequal as those of a language."""
    random = np.random.default_rng(length)
    words = np.array([f"w{np.base_repr(number, 36).lower()}x" for number in range(WORDS)])
    chance = 1 / (np.arange(WORDS) + 10)
    rows = max(size // (length * 6), 10)
    chosen = random.choice(WORDS, (rows, length), p=chance / chance.sum())
    for row in range(2, rows, 3):
        earlier = chosen[random.integers(max(row - 10_000, 0), row)]
        replaced = random.random(length) < random.choice([0.0, 0.01, 0.03, 0.1])
        chosen[row] = np.where(replaced, chosen[row], earlier)
    texts = pa.array((" ".join(words[row]) for row in chosen), pa.large_string())
    pq.write_table(pa.table({"text": texts}), path, row_group_size=max(2_000_000 // length, 100))


def compare(corpus: list[str], options: tuple[str, ...], folder: Path, runs: int) -> dict[str, Any]:
    """Both ways in turn, and what the audit says of the bands."""
    command = [sys.executable, "-m", "dedupe"]
    ways = {"bands": (), "exact": ("--recall", "exact")}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    summaries: dict[str, Any] = {}
    outs = {}
    for number in range(runs + 1):
        for way, more in ways.items():
            outs[way] = folder / f"{way}-{number}"
            line = [*command, "run", *corpus, "--output", str(outs[way]), "--quiet"]
            found[way].append(run_measured([*line, *options, *more]))
            text = (outs[way] / "summary.json").read_text(encoding="utf-8")
            summaries[way] = json.loads(text)
    said = folder / "audit.json"
    run_measured([*command, "audit", str(outs["bands"]), "--quiet", "--json", str(said)])
    audit = json.loads(said.read_text(encoding="utf-8"))
    result: dict[str, Any] = {
        "options": list(options),
        "rows": summaries["bands"]["corpus"]["rows"],
        "text_bytes": summaries["bands"]["corpus"]["text_bytes"],
        "missed_rows": audit["missed_rows"],
    }
    for way, measured in found.items():
        rest = measured[1:]  # the first compiles, and fills the cache of the disk
        result[way] = {
            **{what: statistics.median(run[what] for run in rest) for what in rest[0]},
            "dropped": sum(summaries[way]["reasons"][reason] for reason in ("exact", "near")),
            "stages": summaries[way]["stages"],
            "all": rest,
        }
    return result


def main() -> None:
    """Parse arguments, measure, write."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("corpus", nargs="*")
    arguments.add_argument("--json", required=True, help="result file")
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--bytes", type=int, default=BYTES, help="of each made corpus")
    known = arguments.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=Path(known.json).absolute().parent) as name:
        for length, options in MADE.items():
            path = Path(name) / f"rows-{length}.parquet"
            make(path, length, known.bytes)
            folder = Path(name) / str(length)
            folder.mkdir()
            results[f"{length:,} words"] = compare([str(path)], options, folder, known.runs)
        for corpus in known.corpus:
            folder = Path(name) / Path(corpus).name
            folder.mkdir()
            results[Path(corpus).name] = compare([corpus], (), folder, known.runs)
    write_result(known.json, {"corpora": results})
    for kind, result in results.items():
        print(
            f"{kind}: {result['rows']:,} rows, bands {result['bands']['cpu_seconds']:.1f} s CPU, "
            f"exact {result['exact']['cpu_seconds']:.1f} s; {result['missed_rows']['count']} of "
            f"{result['missed_rows']['of']:,} rows missed by bands"
        )


if __name__ == "__main__":
    main()
