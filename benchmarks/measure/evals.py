"""A corpus held against test sets: few items, very many, and some that stand in it."""

import argparse
import gzip
import itertools
from pathlib import Path
from typing import Any

from benchmarks.corpus import small
from benchmarks.measure.commands import DEDUPE, in_turns, summary_of

FEW, MANY = 20_000, 1_000_000
LEAKED = 500  # of many items one in so many stands in the corpus


def decontaminate(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`dedupe decontaminate` with few items, with many, and with items cut out of the corpus.

    The corpus is Parquet files; behind them comes the folder of corpora of which items are made.
    --sizes are the numbers of few and of many items.
    """
    *corpus, data = known.corpus
    few, many = known.sizes or (FEW, MANY)
    files = {name: folder / f"{name}.parquet" for name in ("many", "leaked", "slices")}
    small.windows_of_words(Path(data), files["many"], many)
    small.slices_of_rows(corpus, files["leaked"], max(many // LEAKED, 1))
    small.slices_of_rows(corpus, files["slices"], few)
    files["few"] = folder / "few.jsonl"
    with gzip.open(Path(data) / "alpaca.jsonl.gz", "rb") as lines:
        files["few"].write_bytes(b"".join(itertools.islice(lines, few)))
    given = {
        "instructions": [files["few"]],
        "windows of 25 words of other text": [files["many"]],
        "the same, and some that stand in the corpus": [files["many"], files["leaked"]],
        "25 words of a row of the corpus each": [files["slices"]],
    }
    outs = {what: folder / f"out-{number}" for number, what in enumerate(given)}
    lines_of = {}
    for what, sets in given.items():
        named = [option for path in sets for option in ("--evals", str(path))]
        command = [*DEDUPE, "decontaminate", *corpus, *named, "--output", str(outs[what])]
        lines_of[what] = ([*command, "--memory", "4GB", "--quiet"], outs[what])
    found = in_turns(lines_of, known.runs)
    lines = []
    for what, used in found.items():
        summary, size = summary_of(outs[what])
        said = summary["contamination"]
        stages = {name: one["cpu_seconds"] for name, one in summary["stages"].items()}
        lines.append(
            {
                "what": what,
                **{name: said[name] for name in ("items", "pairs", "rows")},
                "shingles": said["common"]["of"],
                "mb_per_cpu_second": size["text_bytes"] / used["cpu_seconds"] / 1e6,
                "stages": {name: stages[name] for name in ("items", "scan", "match")},
                **used,
            }
        )
    return {"corpus": size, "memory_bytes": summary["resources"]["memory"], "lines": lines}
