"""`dedupe apply` beside plain pyarrow that reads and writes the same files.

    python benchmarks/apply.py CORPUS... --json results/apply.json

CORPUS is Parquet with a `text` column. Makes a keep-list, then measures in turns, each in a process
of its own: `dedupe apply`, and pyarrow alone that copies every row a batch at a time with the same
codecs. MB are of text read; CPU seconds are those of the whole process, imports included.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import cpu_model, parser, run_measured, versions

COPY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pyarrow.parquet as pq

def copy(path):
    source = pq.ParquetFile(path)
    group = source.metadata.row_group(0)
    codecs = {group.column(i).path_in_schema: group.column(i).compression
              for i in range(group.num_columns)}
    target = Path(sys.argv[1]) / Path(path).name
    with pq.ParquetWriter(target, source.schema_arrow, compression=codecs) as writer:
        for batch in source.iter_batches(20_000, use_threads=False):
            writer.write_batch(batch)

Path(sys.argv[1]).mkdir()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(copy, sys.argv[2:]))
"""


def main() -> None:
    """Parse arguments, measure in turns, write the medians."""
    known = parser(__doc__, "Parquet files").parse_args()
    command = [sys.executable, "-m", "dedupe"]
    with tempfile.TemporaryDirectory(dir=Path(known.json).absolute().parent) as name:
        folder = Path(name)
        out = str(folder / "out")
        run_measured([*command, "run", *known.corpus, "--output", out, "--quiet"])
        summary = json.loads((folder / "out" / "summary.json").read_text(encoding="utf-8"))
        size = summary["corpus"]["text_bytes"]
        found: dict[str, list[dict[str, float]]] = {"apply": [], "pyarrow": []}
        for _ in range(known.runs + 1):
            clean = folder / "clean"
            apply = [*command, "apply", out, "--output", str(clean), "--quiet", "--workers", "2"]
            for what, line in (
                ("apply", apply),
                ("pyarrow", [sys.executable, "-c", COPY, str(clean), *known.corpus]),
            ):
                found[what].append(run_measured(line))
                shutil.rmtree(clean)
    result: dict[str, Any] = {"rows": summary["corpus"]["rows"], "text_bytes": size}
    for what, runs in found.items():
        runs = runs[1:]  # the first compiles, and fills the cache of the disk
        cpu = statistics.median(run["cpu_seconds"] for run in runs)
        result[what] = {
            "wall_seconds": statistics.median(run["wall_seconds"] for run in runs),
            "cpu_seconds": cpu,
            "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
            "mb_per_second_and_core": size / cpu / 1e6,
            "all": runs,
        }
    pairs = zip(found["apply"][1:], found["pyarrow"][1:], strict=True)
    result["cpu_ratio"] = statistics.median(a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs)
    result |= {"cpu_model": cpu_model(), "versions": versions()}
    Path(known.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        f"apply {result['apply']['mb_per_second_and_core']:.0f} MB per CPU s, peak "
        f"{result['apply']['peak_rss_bytes'] / 1e6:.0f} MB; {result['cpu_ratio']:.2f} times the "
        "CPU seconds of pyarrow alone"
    )


if __name__ == "__main__":
    main()
