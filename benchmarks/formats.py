"""Structured rows: what rendering and parsing them costs.

    python benchmarks/formats.py CORPUS... --json results/formats.json

CORPUS is Parquet with a `text` column. Its texts become conversations of up to eight turns in
Parquet (`messages`) and rows of instruction, input and output in JSON lines (`alpaca`), cut at
sentences.
Measured: CPU seconds of reading and rendering documents alone, in this process; and of whole runs,
each in a process of its own, imports included. MB are of documents when rendering, of the file for
whole runs of JSON lines, of text for those of Parquet.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from measuring import cpu_model, parser, run_measured, versions

from dedupe.corpus import Projection, find_shards, plan_slices, read_slice
from dedupe.documents.template import SHAPES, Template

TURNS = 8


def conversation(text: str) -> list[dict[str, str]]:
    """A text as turns of two people, cut after sentences."""
    parts = text.split(". ")
    step = -(-len(parts) // TURNS)
    turns = [". ".join(parts[at : at + step]) for at in range(0, len(parts), step)]
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]


def instruction(text: str) -> dict[str, str]:
    """A text as three fields."""
    first, _, rest = text.partition(". ")
    second, _, rest = rest.partition(". ")
    return {"instruction": first, "input": second, "output": rest, "source": "made"}


def make(corpus: list[str], folder: Path) -> None:
    """Write the same texts in both formats."""
    schema = pa.schema(
        [("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))]
    )
    with (
        open(folder / "alpaca.jsonl", "w", encoding="utf-8") as lines,
        pq.ParquetWriter(folder / "messages.parquet", schema, compression="zstd") as chat,
    ):
        for path in corpus:
            for batch in pq.ParquetFile(path).iter_batches(20_000, columns=["text"]):
                texts = [text or "" for text in batch.column(0).to_pylist()]
                rows = [{"messages": conversation(text)} for text in texts]
                chat.write_table(pa.Table.from_pylist(rows, schema=schema))
                for text in texts:
                    lines.write(json.dumps(instruction(text), ensure_ascii=False) + "\n")


def render(path: Path, template: str, runs: int) -> dict[str, float]:
    """Read and render every document of a file, on one thread."""
    (shard,) = find_shards([str(path)])
    wanted = Projection(Template.parse(template))
    seconds, size = [], 0
    for _ in range(runs + 1):
        size, start = 0, time.process_time()
        for part in plan_slices(shard, wanted.template.columns, 64 << 20, 1 << 40):
            for batch in read_slice(shard, part, wanted, batch_bytes=4 << 20):
                size += batch.column(0).nbytes - 8 * batch.num_rows
        seconds.append(time.process_time() - start)
    cpu = statistics.median(seconds[1:])
    return {"bytes": size, "cpu_seconds": cpu, "mb_per_second_and_core": size / cpu / 1e6}


def whole(path: Path, form: str, runs: int, folder: Path) -> dict[str, float]:
    """Whole runs over a file."""
    found = []
    for number in range(runs + 1):
        out = folder / f"{form}-{number}"
        command = [sys.executable, "-m", "dedupe", "run", str(path), "--output", str(out)]
        found.append(run_measured([*command, "--format", form, "--quiet"]))
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    is_json = path.suffix == ".jsonl"
    size = path.stat().st_size if is_json else summary["corpus"]["text_bytes"]
    cpu = statistics.median(run["cpu_seconds"] for run in found[1:])
    return {
        "bytes": size,
        "rows": summary["corpus"]["rows"],
        "wall_seconds": statistics.median(run["wall_seconds"] for run in found[1:]),
        "cpu_seconds": cpu,
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in found[1:]),
        "mb_per_second_and_core": size / cpu / 1e6,
    }


def main() -> None:
    """Parse arguments, measure, write."""
    known = parser(__doc__, "Parquet files").parse_args()
    result: dict[str, Any] = {"render": {}, "whole": {}}
    with tempfile.TemporaryDirectory(dir=Path(known.json).absolute().parent) as name:
        folder = Path(name)
        make(known.corpus, folder)
        for form, file in (("messages", "messages.parquet"), ("alpaca", "alpaca.jsonl")):
            result["render"][form] = render(folder / file, SHAPES[form].whole, known.runs)
            result["whole"][form] = whole(folder / file, form, known.runs, folder)
            for what in ("render", "whole"):
                print(f"{form}: {what} {result[what][form]['mb_per_second_and_core']:.0f} MB/s")
    result |= {"cpu_model": cpu_model(), "versions": versions()}
    Path(known.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
