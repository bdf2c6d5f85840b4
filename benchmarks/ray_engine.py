"""The Ray engine beside the local one, and what the driver does as shards grow in number.

    python benchmarks/ray_engine.py speed CORPUS --json results/ray-speed.json
    python benchmarks/ray_engine.py shards --json results/ray-shards.json

`speed` starts a Ray of one node with --workers CPUs, then runs `dedupe run` in processes of their
own, the local engine and the Ray engine in turn, --runs times each, and writes the medians: wall
seconds of the process, of the stages, and of starting and ending Ray's workers.

`shards` makes corpora of 100, 1,000 … small shards and runs each on that Ray: wall seconds, and
of the driver CPU seconds and memory; tasks, and bytes that go through the work directory, by row.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import cpu_model, versions, warm_up

ROWS_PER_SHARD = 20
WORDS = 40


@contextmanager
def ray_node(cpus: int, memory: int) -> Iterator[float]:
    """A Ray of one node, for processes that look for RAY_ADDRESS; the seconds it took to start."""
    from ray.cluster_utils import Cluster

    began = time.perf_counter()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": cpus, "memory": memory, "include_dashboard": False},
    )
    took = time.perf_counter() - began
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield took
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


def run(corpus: str, folder: Path, options: list[str]) -> dict[str, Any]:
    """One run in a process of its own: its summary, with the seconds of the process."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, "-m", "dedupe", "run", corpus, "--output", str(output), "--quiet"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([*command, *options], check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary: dict[str, Any] = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**summary, "process_wall": wall, "process_cpu": cpu}


def speed(corpus: str, workers: int, runs: int, folder: Path) -> dict[str, Any]:
    """Local and Ray in turn, so that a busy machine is busy for both."""
    common = ["--workers", str(workers)]
    found: dict[str, list[dict[str, Any]]] = {"local": [], "ray": []}
    with ray_node(workers, workers * 2_000_000_000) as start:
        for _ in range(runs):
            found["local"].append(run(corpus, folder, [*common, "--memory", "4GB"]))
            found["ray"].append(
                run(corpus, folder, [*common, "--engine", "ray", "--memory", "2GB"])
            )
    result: dict[str, Any] = {
        "rows": found["local"][0]["corpus"]["rows"],
        "text_bytes": found["local"][0]["corpus"]["text_bytes"],
        "workers": workers,
        "ray_start_seconds": start,
    }
    for engine, summaries in found.items():
        result[engine] = {
            "process_seconds": statistics.median(s["process_wall"] for s in summaries),
            "run_seconds": statistics.median(s["wall_seconds"] for s in summaries),
            "stages": {
                name: statistics.median(s["stages"][name]["wall_seconds"] for s in summaries)
                for name in summaries[0]["stages"]
            },
            "all_run_seconds": [s["wall_seconds"] for s in summaries],
        }
    pairs = zip(found["ray"], found["local"], strict=True)
    result["ratio"] = statistics.median(r["wall_seconds"] / o["wall_seconds"] for r, o in pairs)
    pairs = zip(found["ray"], found["local"], strict=True)
    result["process_ratio"] = statistics.median(
        r["process_wall"] / o["process_wall"] for r, o in pairs
    )
    return result


def make_shards(folder: Path, count: int) -> None:
    """Small Parquet files in which a third of the rows are copies of rows anywhere."""
    generator = np.random.default_rng(1)
    words = np.array([f"w{i}" for i in range(5000)])
    copies = [" ".join(words[generator.integers(0, 5000, WORDS)]) for _ in range(1000)]
    for number in range(count):
        texts = [
            copies[generator.integers(0, len(copies))]
            if generator.random() < 1 / 3
            else " ".join(words[generator.integers(0, 5000, WORDS)])
            for _ in range(ROWS_PER_SHARD)
        ]
        pq.write_table(pa.table({"text": texts}), folder / f"part-{number:06d}.parquet")


def shards(counts: list[int], workers: int, folder: Path) -> list[dict[str, Any]]:
    """A line for each number of shards."""
    lines = []
    with ray_node(workers, workers * 1_000_000_000):
        for count in counts:
            corpus = folder / f"shards-{count}"
            corpus.mkdir()
            make_shards(corpus, count)
            options = ["--engine", "ray", "--workers", str(workers), "--memory", "1GB"]
            summary = run(str(corpus), folder, options)
            rows = summary["corpus"]["rows"]
            lines.append(
                {
                    "shards": count,
                    "rows": rows,
                    "process_seconds": summary["process_wall"],
                    "run_seconds": summary["wall_seconds"],
                    "driver_cpu_seconds": summary["process_cpu"],
                    "driver_peak_memory": summary["driver"]["peak_memory"],
                    "worker_cpu_seconds": sum(
                        stage["cpu_seconds"] for stage in summary["stages"].values()
                    ),
                    "tasks": sum(stage["tasks"] for stage in summary["stages"].values()),
                    "exchange_bytes_per_row": sum(summary["exchange_bytes"].values()) / rows,
                }
            )
            print(lines[-1], flush=True)
            shutil.rmtree(corpus)
    return lines


def main() -> None:
    """Parse arguments, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "shards"])
    parser.add_argument("corpus", nargs="?")
    parser.add_argument("--json", required=True, help="result file")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000])
    known = parser.parse_args()
    target = Path(known.json)
    result: dict[str, Any] = {"cpu_model": cpu_model(), "versions": versions()}
    with tempfile.TemporaryDirectory(dir=target.absolute().parent) as name:
        folder = Path(name)
        warm_up(folder)
        if known.what == "speed":
            result |= speed(known.corpus, known.workers, known.runs, folder)
            print(f"{result['ratio']:.2f} times the local engine's wall time")
        else:
            result["lines"] = shards(known.counts, known.workers, folder)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
