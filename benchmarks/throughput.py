"""The whole job, measured in a process of its own.

    python benchmarks/throughput.py CORPUS... --json results/throughput-1m.json

Runs `dedupe run` once to warm the kernel cache (on a few rows) and then once for each of --runs,
each in a new process, and writes one JSON file with the run of median wall time: rows, text
bytes, wall and CPU seconds in all and per stage, peak resident memory, MB/s per core, versions,
the CPU's model. "MB/s per core" is text bytes / CPU seconds, "wall MB/s" text bytes / wall
seconds; CPU seconds are those of the whole process, imports included.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import run_measured


def cpu_model() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def warm_up(folder: Path) -> None:
    """Compile the kernels, so that no measured run does."""
    tiny = folder / "tiny.jsonl"
    tiny.write_text('{"text": "a few words to warm up with"}\n' * 3, encoding="utf-8")
    command = [sys.executable, "-m", "dedupe", "run", str(tiny), "--quiet"]
    subprocess.run([*command, "--output", str(folder / "tiny-out")], check=True)


def measure(corpus: list[str], options: list[str], folder: Path) -> dict[str, Any]:
    """One run in a process of its own."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "dedupe", "run", *corpus, "--output", str(output), "--quiet"]
    used = run_measured([*command, *options])
    wall, cpu = used["wall_seconds"], used["cpu_seconds"]
    summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    size = summary["corpus"]["text_bytes"]
    rows = summary["corpus"]["rows"]
    exchange = summary["exchange_bytes"]
    return {
        "rows": rows,
        "text_bytes": size,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "peak_rss_bytes": used["peak_rss_bytes"],
        "mb_per_second_and_core": size / cpu / 1e6,
        "mb_per_second_wall": size / wall / 1e6,
        "microseconds_per_row_wall": wall / max(rows, 1) * 1e6,
        "exchange_bytes_per_row": {
            stage: value / max(rows, 1) for stage, value in exchange.items()
        },
        "stages": summary["stages"],
        "reasons": summary["reasons"],
        "components": summary["components"],
        "lsh": summary["lsh"] and {key: summary["lsh"][key] for key in ("bands", "rows")},
        "settings": summary["settings"],
        "workers": summary["resources"]["slots"],
        "memory_bytes": summary["resources"]["memory"],
    }


def versions() -> dict[str, str]:
    """What the figures were made with."""
    from importlib.metadata import version

    packages = ("dedupe-engine", "numba", "numpy", "pyarrow")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def parser(description: str | None, corpus: str = "") -> argparse.ArgumentParser:
    """Arguments of a benchmark over a corpus: what it reads, the result file, how often."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("corpus", nargs="+", help=corpus or None)
    made.add_argument("--json", required=True, help="result file")
    made.add_argument("--runs", type=int, default=3)
    return made


def main() -> None:
    """Parse arguments, measure, write."""
    arguments = parser(__doc__)
    arguments.add_argument(
        "--name", help="name of the corpus in tables (default: of the result file)"
    )
    arguments.add_argument("--note", default="", help="how the corpus was made")
    known, options = arguments.parse_known_args()
    target = Path(known.json)
    with tempfile.TemporaryDirectory(dir=Path(known.json).absolute().parent) as name:
        folder = Path(name)
        warm_up(folder)
        runs = [measure(known.corpus, options, folder) for _ in range(known.runs)]
    walls = [run["wall_seconds"] for run in runs]
    median = min(runs, key=lambda run: abs(run["wall_seconds"] - statistics.median(walls)))
    result = {
        "name": known.name or target.stem,
        "note": known.note,
        "options": options,
        **median,
        "all_wall_seconds": walls,
        "all_cpu_seconds": [run["cpu_seconds"] for run in runs],
        "all_peak_rss_bytes": [run["peak_rss_bytes"] for run in runs],
        "cpu_model": cpu_model(),
        "versions": versions(),
    }
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(
        f"{result['rows']:,} rows, {result['text_bytes'] / 1e6:,.0f} MB of text: "
        f"{result['wall_seconds']:.1f} s wall, {result['cpu_seconds']:.1f} s CPU, "
        f"{result['mb_per_second_and_core']:.0f} MB/s per core, "
        f"peak {result['peak_rss_bytes'] / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
