"""Whole commands of `dedupe`, measured from outside, each in a process of its own.

Kernels are compiled before anything is measured; CPU seconds are those of the whole process,
imports included; medians are written, and what every run took.
"""

import argparse
import os
import resource
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
from benchmarks.measure.process import measured

DEDUPE = [sys.executable, "-m", "dedupe"]
PEAKS = ("peak_rss_bytes", "peak_own_bytes")
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
    """The command `dedupe run`."""
    return [*DEDUPE, "run", *corpus, "--output", str(output), "--quiet", *options]


def take(command: list[str], watched: Path | None = None) -> dict[str, Any]:
    """What a command took; SystemExit if it fails."""
    used = asdict(measured(command, watched=watched))
    if code := used.pop("returncode"):
        raise SystemExit(f"{' '.join(command)} failed with {code}")
    return used


def in_turns(commands: dict[str, tuple[list[str], Path]], runs: int) -> dict[str, dict[str, Any]]:
    """Medians of several commands in turns, each with what it writes, removed before it.

    One turn more is not counted: it compiles, and fills the cache of the disk.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, (command, output) in commands.items():
            shutil.rmtree(output, ignore_errors=True)
            found[name].append(take(command))
    return {
        name: {
            **{what: statistics.median(run[what] for run in taken[1:]) for what in taken[0]},
            "all": taken[1:],
        }
        for name, taken in found.items()
    }


def rate(size: int, used: dict[str, Any]) -> dict[str, Any]:
    """What was taken, with the MB of so many bytes for each CPU second."""
    return {**used, "mb_per_second_and_core": size / used["cpu_seconds"] / 1e6}


def size_of(summary: dict[str, Any]) -> dict[str, Any]:
    """Rows and bytes of text of a run's corpus."""
    return {name: summary["corpus"][name] for name in ("rows", "text_bytes")}


def measure_run(corpus: str, options: list[str], folder: Path) -> dict[str, Any]:
    """One `dedupe run` into `folder`/out: what it took, and what its summary says."""
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    used = take(run_line([corpus], output, *options), watched=folder / "out.work")
    summary = read_json(output / "summary.json")
    rows, left = max(summary["corpus"]["rows"], 1), summary["exchange_bytes"]
    lsh = summary["lsh"]
    return {
        **size_of(summary),
        **rate(summary["corpus"]["text_bytes"], used),
        "peak_disk_bytes": max(used["peak_disk_bytes"], sum(left.values())),  # between two looks
        "mb_per_second_wall": summary["corpus"]["text_bytes"] / used["wall_seconds"] / 1e6,
        "microseconds_per_row_wall": used["wall_seconds"] / rows * 1e6,
        "exchange_bytes_per_row": {stage: value / rows for stage, value in left.items()},
        **{name: summary[name] for name in ("stages", "reasons", "components", "settings")},
        "lsh": lsh and {key: lsh[key] for key in ("bands", "rows")},
        "workers": summary["resources"]["concurrency"],
        "memory_bytes": summary["resources"]["memory"],
    }


def median_run(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run of median wall time (the faster of two), with what all of them took."""
    in_order = sorted(runs, key=lambda run: run["wall_seconds"])
    names = ("wall_seconds", "cpu_seconds", *PEAKS)
    line = in_order[(len(runs) - 1) // 2]
    say(f"{line['rows']:,} rows, {line['microseconds_per_row_wall']:.1f} µs per row", line)
    return {**line, **{f"all_{name}": [run[name] for run in runs] for name in names}}


def say(what: str, used: dict[str, Any]) -> None:
    """Print what something took."""
    print(
        f"{what}: {used['wall_seconds']:.1f} s wall, {used['cpu_seconds']:.1f} s CPU, "
        f"peak {used['peak_rss_bytes'] / 1e6:,.0f} MB",
        flush=True,
    )


def scale(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole job at each size: time, memory, disk, and what each stage took and left."""
    warm_up(folder)
    lines = [
        median_run([measure_run(corpus, known.options, folder) for _ in range(known.runs)])
        for corpus in known.corpus
    ]
    return {"options": known.options, "lines": sorted(lines, key=lambda line: line["rows"])}


def adversaries(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Corpora that break naive methods, beside ordinary text of as many bytes a row."""

    def measure(corpus: Path) -> dict[str, Any]:
        options = ["--memory", MEMORY, *known.options]
        return median_run([measure_run(str(corpus), options, folder) for _ in range(known.runs)])

    warm_up(folder)
    (text,) = known.corpus
    rows = ds.dataset(text, format="parquet").count_rows()
    beginnings = folder / "beginnings"
    adverse.make_short(text, beginnings)
    what = f"the first {adverse.SHORT} characters of it"
    ordinary = {
        "ordinary": {"what": "ordinary text", **measure(Path(text))},
        "beginnings": {"what": what, **measure(beginnings)},
    }
    lines = {}
    for name, adversary in adverse.ADVERSARIES.items():
        adverse.make(adversary, rows, folder / name)
        line = measure(folder / name)
        shutil.rmtree(folder / name)
        beside = "beginnings" if adversary.short else "ordinary"
        per_row = "microseconds_per_row_wall"
        ratio = line[per_row] / ordinary[beside][per_row]
        lines[name] = {"what": adversary.what, "beside": beside, "ratio": ratio, **line}
    return {"rows": rows, "ordinary": ordinary, "lines": lines}


def formats(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Structured rows: reading and rendering on one thread, and whole runs.

    Texts become conversations in Parquet (`messages`) and rows of three fields in JSON lines
    (`alpaca`). MB are of documents when rendering, of the file for whole runs of JSON lines.
    """
    from benchmarks.studies.kernels import render

    files = {"messages": folder / "messages.parquet", "alpaca": folder / "alpaca.jsonl"}
    small.structured(known.corpus, *files.values())
    outs = {form: folder / f"out-{form}" for form in files}
    lines = {
        form: (run_line([str(path)], outs[form], "--format", form), outs[form])
        for form, path in files.items()
    }
    result: dict[str, Any] = {
        "render": {form: render(path, form, known.runs) for form, path in files.items()},
        "whole": {},
    }
    for form, used in in_turns(lines, known.runs).items():
        corpus = size_of(read_json(outs[form] / "summary.json"))
        size = files[form].stat().st_size if form == "alpaca" else corpus["text_bytes"]
        result["whole"][form] = {"bytes": size, "rows": corpus["rows"], **rate(size, used)}
        say(form, used)
    return result


def apply(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`dedupe apply` beside plain pyarrow that copies every row with the same codecs."""
    out, clean = folder / "out", folder / "clean"
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "apply", str(out), "--output", str(clean), "--quiet", "--workers", "2"]
    copying = [sys.executable, "-c", COPY, str(clean), *known.corpus]
    found = in_turns({"apply": (command, clean), "pyarrow": (copying, clean)}, known.runs)
    size = size_of(read_json(out / "summary.json"))
    pairs = zip(found["apply"]["all"], found["pyarrow"]["all"], strict=True)
    ratio = statistics.median(one["cpu_seconds"] / other["cpu_seconds"] for one, other in pairs)
    say(f"{ratio:.2f} times the CPU seconds of pyarrow", found["apply"])
    rates = {what: rate(size["text_bytes"], used) for what, used in found.items()}
    return {**size, **rates, "cpu_ratio": ratio}


def audit(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`dedupe audit` with a sample of --sample rows."""
    out, said = folder / "out", folder / "audit.json"
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "audit", str(out), "--quiet", "--sample", known.sample, "--json", str(said)]
    used = in_turns({"audit": (command, folder / "nothing")}, known.runs)["audit"]
    say("audit", used)
    found = read_json(said)
    shown = ("ok", "sample", "recall", "missed_rows", "wrongly_dropped", "broken")
    size = size_of(read_json(out / "summary.json"))
    return {**size, **used, **{what: found[what] for what in shown}}


def recall_exact(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """`--recall exact` beside bands, on short rows, on long ones and on each corpus.

    The short and long rows are 100 MB of made text each. The audit of the run with bands says how
    many rows it has missed.
    """
    corpora = {}
    for length, options in LENGTHS.items():
        path = folder / f"rows-{length}.parquet"
        small.rows_of_words(path, length, known.bytes)
        corpora[f"{length:,} words"] = (str(path), options)
    corpora |= {Path(corpus).name: (corpus, ()) for corpus in known.corpus}
    found = {}
    for name, (corpus, options) in corpora.items():
        outs = {way: folder / way for way in ("bands", "exact")}
        more = {"bands": (), "exact": ("--recall", "exact")}
        lines = {way: run_line([corpus], out, *options, *more[way]) for way, out in outs.items()}
        taken = in_turns({way: (lines[way], outs[way]) for way in outs}, known.runs)
        said = folder / "audit.json"
        take([*DEDUPE, "audit", str(outs["bands"]), "--quiet", "--json", str(said)])
        missed = read_json(said)["missed_rows"]
        for way, out in outs.items():
            summary = read_json(out / "summary.json")
            taken[way]["dropped"] = sum(summary["reasons"][why] for why in ("exact", "near"))
            taken[way]["stages"] = summary["stages"]
            say(f"{name}, {way}", taken[way])
        found[name] = {"options": options, **size_of(summary), "missed_rows": missed, **taken}
    return {"corpora": found}


@contextmanager
def ray_node(cpus: int, memory: int) -> Iterator[float]:
    """A Ray of one node, for processes that look for RAY_ADDRESS; the seconds it took to start."""
    from ray.cluster_utils import Cluster

    began = time.perf_counter()
    node = {"num_cpus": cpus, "memory": cpus * memory, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    took = time.perf_counter() - began
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield took
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


def run_alone(corpus: str, folder: Path, *options: str) -> dict[str, Any]:
    """The summary of a run, with the seconds of its process but not of the workers of a Ray."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(run_line([corpus], folder / "out", *options), check=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    summary = read_json(folder / "out" / "summary.json")
    return {**summary, "process_wall": wall, "process_cpu": cpu}


def ray_speed(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The Ray engine and the local one in turn, so that a busy machine is busy for both."""
    (corpus,) = known.corpus
    engines = {"local": ("--memory", "4GB"), "ray": ("--engine", "ray", "--memory", "2GB")}
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    workers = ("--workers", str(known.workers))
    warm_up(folder)
    with ray_node(known.workers, 2_000_000_000) as start:
        for _ in range(known.runs):
            for engine, options in engines.items():
                found[engine].append(run_alone(corpus, folder, *workers, *options))

    def median(engine: str, *path: str) -> float:
        values = found[engine]
        for name in path:
            values = [value[name] for value in values]
        return statistics.median(values)

    def ratio(name: str) -> float:
        pairs = zip(found["ray"], found["local"], strict=True)
        return statistics.median(ray[name] / local[name] for ray, local in pairs)

    result = {**size_of(found["ray"][0]), "workers": known.workers, "ray_start_seconds": start}
    for engine, runs in found.items():
        result[engine] = {
            "process_seconds": median(engine, "process_wall"),
            "run_seconds": median(engine, "wall_seconds"),
            "stages": {
                stage: median(engine, "stages", stage, "wall_seconds")
                for stage in runs[0]["stages"]
            },
            "all_run_seconds": [run["wall_seconds"] for run in runs],
        }
    print(f"Ray takes {ratio('wall_seconds'):.2f} times the wall time of the local engine")
    return {**result, "ratio": ratio("wall_seconds"), "process_ratio": ratio("process_wall")}


def ray_shards(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What the driver of a Ray does as small shards grow in number (--shards)."""
    lines = []
    options = ("--engine", "ray", "--workers", str(known.workers), "--memory", "1GB")
    warm_up(folder)
    with ray_node(known.workers, 1_000_000_000):
        for count in known.shards or (100, 1000, 10_000):
            small.small_shards(folder / "shards", count)
            run = run_alone(str(folder / "shards"), folder, *options)
            stages, rows = run["stages"].values(), run["corpus"]["rows"]
            line = {
                "shards": count,
                "rows": rows,
                "process_seconds": run["process_wall"],
                "run_seconds": run["wall_seconds"],
                "driver_cpu_seconds": run["process_cpu"],
                "driver_peak_memory": run["driver"]["peak_memory"],
                "worker_cpu_seconds": sum(stage["cpu_seconds"] for stage in stages),
                "tasks": sum(stage["tasks"] for stage in stages),
                "exchange_bytes_per_row": sum(run["exchange_bytes"].values()) / rows,
            }
            print(line, flush=True)
            lines.append(line)
            shutil.rmtree(folder / "shards")
    return {"lines": lines}
