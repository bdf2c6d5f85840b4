"""Whole commands of `dedupe`, measured from outside, each in a process of its own.

Kernels are compiled before anything is measured; CPU seconds are those of the whole process,
imports included; medians are written, and what every run took.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from benchmarks.common import read_json
from benchmarks.corpus import adversaries as adverse
from benchmarks.corpus import small
from benchmarks.measure.process import children_cpu, measured

Result = dict[str, Any]
DEDUPE = [sys.executable, "-m", "dedupe"]
PER_ROW = "microseconds_per_row_wall"
MEMORY = "2GB"
"""Of the runs over corpora that break naive methods."""
LENGTHS = {10: ("--shingle", "word:2", "--threshold", "0.6"), 100: (), 3000: ()}
"""Options of the runs over rows of so many words."""
COPY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pyarrow.parquet as pq

def copy(path):
    source = pq.ParquetFile(path)
    group = source.metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    codecs = {column.path_in_schema: column.compression for column in columns}
    target = Path(sys.argv[1]) / Path(path).name
    with pq.ParquetWriter(target, source.schema_arrow, compression=codecs) as writer:
        for batch in source.iter_batches(20_000, use_threads=False):
            writer.write_batch(batch)

Path(sys.argv[1]).mkdir()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(copy, sys.argv[2:]))
"""


def warm_up(folder: Path, python: str = sys.executable) -> None:
    """Compile the kernels, so that no measured run of that interpreter does."""
    tiny = folder / "tiny.jsonl"
    tiny.write_text('{"text": "a few words to warm up with"}\n' * 3, encoding="utf-8")
    command = [python, "-m", "dedupe", "run", str(tiny), "--quiet"]
    subprocess.run([*command, "--output", str(folder / "tiny-out")], check=True)


def run_line(corpus: list[str], output: Path, *options: str) -> list[str]:
    """The command `dedupe run`; what was there before is removed."""
    shutil.rmtree(output, ignore_errors=True)
    return [*DEDUPE, "run", *corpus, "--output", str(output), "--quiet", *options]


def summary_of(output: Path) -> tuple[Result, Result]:
    """The summary of a run, and of it the rows and bytes of text."""
    summary = read_json(output / "summary.json")
    return summary, {name: summary["corpus"][name] for name in ("rows", "text_bytes")}


def take(command: list[str], watched: Path | None = None) -> Result:
    """What a command took; SystemExit if it fails."""
    used = asdict(measured(command, watched=watched))
    if code := used.pop("returncode"):
        raise SystemExit(f"{' '.join(command)} failed with {code}")
    print(f"{' '.join(command[1:5])}: {used}", flush=True)
    return used


def in_turns(commands: dict[str, tuple[list[str], Path]], runs: int) -> dict[str, Result]:
    """Medians of several commands in turns, each with what it writes, removed before it.

    One turn more is not counted: it compiles, and fills the cache of the disk.
    """
    found: dict[str, list[Result]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, (command, output) in commands.items():
            shutil.rmtree(output, ignore_errors=True)
            found[name].append(take(command))
    medians = {}
    for name, (_, *taken) in found.items():
        middle = {what: statistics.median(run[what] for run in taken) for what in taken[0]}
        medians[name] = {**middle, "all": taken}
    return medians


def rate(size: int, used: Result) -> Result:
    """What was taken, with the MB of so many bytes for each CPU second."""
    return {**used, "mb_per_second_and_core": size / used["cpu_seconds"] / 1e6}


def measure_run(corpus: str, options: list[str], folder: Path) -> Result:
    """One `dedupe run` into `folder`/out: what it took, and what its summary says."""
    used = take(run_line([corpus], folder / "out", *options), watched=folder / "out.work")
    summary, size = summary_of(folder / "out")
    rows, left, lsh = max(size["rows"], 1), summary["exchange_bytes"], summary["lsh"]
    return {
        **size,
        **rate(size["text_bytes"], used),
        "peak_disk_bytes": max(used["peak_disk_bytes"], sum(left.values())),  # between two looks
        "mb_per_second_wall": size["text_bytes"] / used["wall_seconds"] / 1e6,
        PER_ROW: used["wall_seconds"] / rows * 1e6,
        "exchange_bytes_per_row": {stage: value / rows for stage, value in left.items()},
        **{name: summary[name] for name in ("stages", "reasons", "components", "settings")},
        "lsh": lsh and {key: lsh[key] for key in ("bands", "rows")},
        "workers": summary["resources"]["concurrency"],
        "memory_bytes": summary["resources"]["memory"],
    }


def median_run(runs: list[Result]) -> Result:
    """The run of median wall time (the faster of two), with what all of them took."""
    line = sorted(runs, key=lambda run: run["wall_seconds"])[(len(runs) - 1) // 2]
    names = ("wall_seconds", "cpu_seconds", "peak_rss_bytes", "peak_own_bytes")
    return {**line, **{f"all_{name}": [run[name] for run in runs] for name in names}}


def scale(known: argparse.Namespace, folder: Path) -> Result:
    """The whole job at each size: time, memory, disk, and what each stage took and left."""
    warm_up(folder)
    lines = [
        median_run([measure_run(corpus, known.options, folder) for _ in range(known.runs)])
        for corpus in known.corpus
    ]
    return {"options": known.options, "lines": sorted(lines, key=lambda line: line["rows"])}


def adversaries(known: argparse.Namespace, folder: Path) -> Result:
    """Corpora that break naive methods, beside ordinary text of as many bytes a row."""
    options = ["--memory", MEMORY, *known.options]

    def measure(what: str, corpus: Path) -> Result:
        runs = [measure_run(str(corpus), options, folder) for _ in range(known.runs)]
        return {"what": what, **median_run(runs)}

    warm_up(folder)
    (text,) = known.corpus
    rows, beginnings = ds.dataset(text, format="parquet").count_rows(), folder / "beginnings"
    adverse.make_short(text, beginnings)
    what = f"the first {adverse.SHORT} characters of it"
    ordinary = {"ordinary": measure("ordinary text", text), "beginnings": measure(what, beginnings)}
    lines = {}
    for name, adversary in adverse.ADVERSARIES.items():
        adverse.make(adversary, rows, folder / name)
        line = measure(adversary.what, folder / name)
        shutil.rmtree(folder / name)
        beside = "beginnings" if adversary.short else "ordinary"
        lines[name] = {"beside": beside, "ratio": line[PER_ROW] / ordinary[beside][PER_ROW], **line}
    return {"rows": rows, "ordinary": ordinary, "lines": lines}


def formats(known: argparse.Namespace, folder: Path) -> Result:
    """Structured rows: reading and rendering on one thread, and whole runs.

    Texts become conversations in Parquet (`messages`) and rows of three fields in JSON lines
    (`alpaca`). MB are of documents when rendering, of the file for whole runs of JSON lines.
    """
    from benchmarks.studies.kernels import render

    files = {"messages": folder / "messages.parquet", "alpaca": folder / "alpaca.jsonl"}
    small.structured(known.corpus[0], *files.values())
    outs = {form: folder / f"out-{form}" for form in files}
    lines = {f: (run_line([str(files[f])], outs[f], "--format", f), outs[f]) for f in files}
    whole = in_turns(lines, known.runs)
    sizes = {form: summary_of(out)[1]["text_bytes"] for form, out in outs.items()}
    sizes["alpaca"] = files["alpaca"].stat().st_size
    return {
        "render": {form: render(path, form, known.runs) for form, path in files.items()},
        "whole": {form: rate(sizes[form], used) for form, used in whole.items()},
    }


def apply(known: argparse.Namespace, folder: Path) -> Result:
    """`dedupe apply` beside plain pyarrow that copies every row with the same codecs."""
    out, clean = folder / "out", folder / "clean"
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "apply", str(out), "--output", str(clean), "--quiet", "--workers", "2"]
    copying = [sys.executable, "-c", COPY, str(clean), *known.corpus]
    found = in_turns({"apply": (command, clean), "pyarrow": (copying, clean)}, known.runs)
    _, size = summary_of(out)
    return {**size, **{what: rate(size["text_bytes"], used) for what, used in found.items()}}


def audit(known: argparse.Namespace, folder: Path) -> Result:
    """`dedupe audit` with a sample of --sample rows."""
    out, sample = folder / "out", ("--sample", known.sample)
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "audit", str(out), "--quiet", *sample]
    used = in_turns({"audit": (command, folder / "nothing")}, known.runs)["audit"]
    shown = ("ok", "sample", "recall", "missed_rows", "wrongly_dropped", "broken")
    said = audited(out, *sample)
    return {**summary_of(out)[1], **used, **{what: said[what] for what in shown}}


def audited(out: Path, *options: str) -> Result:
    """What `dedupe audit` says of a run."""
    command = [*DEDUPE, "audit", str(out), "--quiet", "--json", *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return dict(json.loads(done.stdout))


def recall_exact(known: argparse.Namespace, folder: Path) -> Result:
    """`--recall exact` beside bands, on short rows, on long ones and on each corpus.

    The short and long rows are 100 MB of made text each. The audit of the run with bands says how
    many rows it has missed.
    """
    corpora = {Path(corpus).name: (corpus, ()) for corpus in known.corpus}
    made = {}
    for length, options in LENGTHS.items():
        path = folder / f"rows-{length}.parquet"
        small.rows_of_words(path, length, known.bytes)
        made[f"{length:,} words"] = (str(path), options)
    outs = {way: folder / way for way in ("bands", "exact")}
    found = {}
    for name, (corpus, options) in {**made, **corpora}.items():
        ways = {"bands": options, "exact": (*options, "--recall", "exact")}
        lines = {way: (run_line([corpus], outs[way], *ways[way]), outs[way]) for way in ways}
        taken = in_turns(lines, known.runs)
        missed = audited(outs["bands"])["missed_rows"]
        size = summary_of(outs["exact"])[1]
        found[name] = {"options": options, **size, "missed_rows": missed, **taken}
    return {"corpora": found}


@contextmanager
def ray_node(known: argparse.Namespace, memory: int, folder: Path) -> Iterator[float]:
    """A Ray of one node, for processes that look for RAY_ADDRESS; the seconds it took to start."""
    from ray.cluster_utils import Cluster

    warm_up(folder)
    began = time.perf_counter()
    node = {"num_cpus": known.workers, "memory": known.workers * memory, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    took = time.perf_counter() - began
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield took
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


def run_alone(corpus: str, folder: Path, workers: int, *options: str) -> Result:
    """The summary of a run, with the seconds of its process but not of the workers of a Ray."""
    command = run_line([corpus], folder / "out", "--workers", str(workers), *options)
    cpu, began = children_cpu(), time.perf_counter()
    subprocess.run(command, check=True)
    wall = time.perf_counter() - began
    summary, size = summary_of(folder / "out")
    return {**summary, **size, "process_wall": wall, "process_cpu": children_cpu() - cpu}


def ray_speed(known: argparse.Namespace, folder: Path) -> Result:
    """The Ray engine and the local one in turn, so that a busy machine is busy for both."""
    engines = {"local": ("--memory", "4GB"), "ray": ("--engine", "ray", "--memory", "2GB")}
    found: dict[str, list[Result]] = {engine: [] for engine in engines}
    with ray_node(known, 2_000_000_000, folder) as start:
        for _ in range(known.runs):
            for engine, options in engines.items():
                run = run_alone(known.corpus[0], folder, known.workers, *options)
                run["seconds"] = {n: one["wall_seconds"] for n, one in run["stages"].items()}
                found[engine].append(run)

    def ratio(name: str) -> float:
        pairs = zip(found["ray"], found["local"], strict=True)
        return statistics.median(ray[name] / local[name] for ray, local in pairs)

    result = {name: found["ray"][0][name] for name in ("rows", "text_bytes")}
    result |= {"workers": known.workers, "ray_start_seconds": start}
    result |= {"ratio": ratio("wall_seconds"), "process_ratio": ratio("process_wall")}
    for engine, runs in found.items():
        walls = {name: [run[name] for run in runs] for name in ("process_wall", "wall_seconds")}
        stages = {n: statistics.median(r["seconds"][n] for r in runs) for n in runs[0]["seconds"]}
        of = {"stages": stages, "all_run_seconds": walls["wall_seconds"]}
        process, run = map(statistics.median, walls.values())
        result[engine] = {"process_seconds": process, "run_seconds": run, **of}
    return result


def ray_shards(known: argparse.Namespace, folder: Path) -> Result:
    """What the driver of a Ray does as small shards grow in number (--shards)."""
    lines, options = [], ("--engine", "ray", "--memory", "1GB")
    with ray_node(known, 1_000_000_000, folder):
        for count in known.shards or (100, 1000, 10_000):
            small.small_shards(folder / "shards", count)
            run = run_alone(str(folder / "shards"), folder, known.workers, *options)
            shutil.rmtree(folder / "shards")
            stages = run["stages"].values()
            line = {
                "shards": count,
                "rows": run["rows"],
                "process_seconds": run["process_wall"],
                "run_seconds": run["wall_seconds"],
                "driver_cpu_seconds": run["process_cpu"],
                "driver_peak_memory": run["driver"]["peak_memory"],
                "worker_cpu_seconds": sum(stage["cpu_seconds"] for stage in stages),
                "tasks": sum(stage["tasks"] for stage in stages),
                "exchange_bytes_per_row": sum(run["exchange_bytes"].values()) / run["rows"],
            }
            print(line, flush=True)
            lines.append(line)
    return {"lines": lines}
