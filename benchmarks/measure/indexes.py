"""An index of earlier crawls: what it costs to add to it, to ask it, and to keep it."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.parquet as pq

from benchmarks.common import read_json
from benchmarks.measure.commands import DEDUPE, medians, run_line, take, warm_up

Result = dict[str, Any]

BATCH = 10_000
"""Rows of a small crawl."""

BATCHES = 20
"""Small crawls that one process adds."""

STREAM = """
import json, sys, time
import pyarrow.parquet as pq
import dedupe

path, folder, size, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rows = pq.read_table(path, columns=["text"]).slice(0, size * count)
dedupe.Index.create(f"{folder}/warm", text="text").add(rows.slice(0, 1000))
took = {}
one = dedupe.Index.create(f"{folder}/one", text="text")
start = time.process_time()
one.add(rows)
took["one"] = time.process_time() - start
many = dedupe.Index.create(f"{folder}/many", text="text")
start = time.process_time()
for number in range(count):
    many.add(rows.slice(number * size, size))
took["many"] = time.process_time() - start
print(json.dumps(took))
"""

QUERY = """
import json, sys, time
import pyarrow.parquet as pq
import dedupe

rows = pq.read_table(sys.argv[2], columns=["text"]).slice(0, 1000)
start = time.perf_counter()
index = dedupe.Index.open(sys.argv[1])
opened = time.perf_counter() - start
index.query(rows.slice(0, 10))
start = time.perf_counter()
found = index.query(rows)
print(json.dumps({"open": opened, "query": time.perf_counter() - start, "partners": len(found)}))
"""


def index(known: argparse.Namespace, folder: Path) -> Result:
    """The last files of a corpus, about one row in eleven, added to an index of all others.

    In turns with a run over these files alone. Besides, 20 crawls of 10,000 rows that one process
    adds, beside one of as many; and 1,000 rows that are looked for in the large index.
    """
    warm_up(folder)
    files = sorted(known.corpus)
    rows = [pq.read_metadata(path).num_rows for path in files]
    cut = len(files)
    while sum(rows[cut:]) * 11 < sum(rows):
        cut -= 1
    before, new = files[:cut], files[cut:]
    idx, copy, out = folder / "idx", folder / "copy", folder / "out"
    options = ["--text", "text"]
    created = take([*DEDUPE, "index", "create", str(idx), *before, "--quiet", *options])
    told = read_printed([*DEDUPE, "index", "show", str(idx), "--json"])
    found: dict[str, list[Result]] = {"alone": [], "added": []}
    for _ in range(known.runs):
        found["alone"].append(take(run_line(new, out, *options)))
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(idx, copy, copy_function=os.link)
        line = run_line(new, out, *options, "--index", str(copy), "--add")
        found["added"].append(take(line))
    summary = read_json(out / "summary.json")
    pairs = zip(found["added"], found["alone"], strict=True)
    stream = read_printed(
        [sys.executable, "-c", STREAM, new[0], str(folder), str(BATCH), str(BATCHES)]
    )
    return {
        "rows": sum(rows[:cut]),
        "new_rows": sum(rows[cut:]),
        "created": created,
        **{name: {**medians(taken), "all": taken} for name, taken in found.items()},
        "ratio": median(one["cpu_seconds"] / other["cpu_seconds"] for one, other in pairs),
        "stages": {name: one["cpu_seconds"] for name, one in summary["stages"].items()},
        "compared": summary["index"]["compared"],
        "dropped": summary["index"]["dropped"],
        "late": summary["index"]["late"],
        "texts_per_kept_row": told["bytes_of_texts"] / told["kept"],
        "others_per_row": told["bytes_of_others"] / told["rows"],
        "batch": BATCH,
        "batches": BATCHES,
        "stream": stream,
        "query": read_printed([sys.executable, "-c", QUERY, str(idx), new[0]]),
    }


def read_printed(command: list[str]) -> Result:
    """What a command prints as JSON."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: Result = json.loads(done.stdout)
    return found
