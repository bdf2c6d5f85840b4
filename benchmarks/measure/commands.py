"""Whole commands of `dedupe`, measured from outside, each in a process of its own.

Kernels are compiled before anything is measured; CPU seconds are those of the whole process,
imports included; medians are written, and what every run took.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.dataset as ds

from benchmarks.common import ROOT, read_json
from benchmarks.corpus import adversaries as adverse
from benchmarks.corpus import small
from benchmarks.measure.process import children_cpu, measured
from dedupe.commands.edges.result import Edges
from dedupe.config import ALGORITHM

Result = dict[str, Any]
DEDUPE = [sys.executable, "-m", "dedupe"]
RAY_WORKERS = 2
TEN = "0.5:0.95:0.05"
# Options of the runs over rows of so many words.
LENGTHS = {10: ("--shingle", "word:2", "--threshold", "0.6"), 100: (), 3000: ()}
COPY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pyarrow.parquet as pq

def copy(path):
    source = pq.ParquetFile(path)
    codec = source.metadata.row_group(0).column(0).compression
    target = Path(sys.argv[1]) / Path(path).name
    with pq.ParquetWriter(target, source.schema_arrow, compression=codec) as writer:
        for batch in source.iter_batches(20_000, use_threads=False):
            writer.write_batch(batch)

Path(sys.argv[1]).mkdir()
with ThreadPoolExecutor(2) as pool:
    list(pool.map(copy, sys.argv[2:]))
"""


def warm_up(folder: Path, python: str = sys.executable) -> None:
    """Compile the kernels, so that no measured run of that interpreter does.

    The rows are one large component of near-duplicates, which has a kernel of its own.
    """
    tiny = folder / "tiny.jsonl"
    words = " ".join(f"w{number}" for number in range(60))
    rows = (json.dumps({"text": f"{words} {number}"}) + "\n" for number in range(200))
    tiny.write_text("".join(rows), encoding="utf-8")
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


def take(command: list[str], watched: Path | None = None, **options: Any) -> Result:
    """What a command took; SystemExit if it fails. options: to subprocess.Popen."""
    used = asdict(measured(command, watched=watched, **options))
    if code := used.pop("returncode"):
        raise SystemExit(f"{' '.join(command)} failed with {code}")
    print(f"{' '.join(command[1:5])}: {used}", flush=True)
    return used


def medians(runs: list[Result]) -> Result:
    """The median of each figure of some runs."""
    return {what: median(run[what] for run in runs) for what in runs[0]}


def in_turns(commands: dict[str, tuple[list[str], Path]], runs: int) -> dict[str, Result]:
    """Medians of several commands in turns, each with what it writes, removed before it.

    One turn more is not counted: it compiles, and fills the cache of the disk.
    """
    found: dict[str, list[Result]] = {name: [] for name in commands}
    for _ in range(runs + 1):
        for name, (command, output) in commands.items():
            shutil.rmtree(output, ignore_errors=True)
            found[name].append(take(command))
    return {name: {**medians(taken), "all": taken} for name, (_, *taken) in found.items()}


def measure_run(corpus: str, folder: Path, runs: int, *options: str) -> Result:
    """The median of some runs of `dedupe run` into `folder`/out, as their summaries say it too."""

    def measure() -> Result:
        used = take(run_line([corpus], folder / "out", *options), watched=folder / "out.work")
        summary, size = summary_of(folder / "out")
        rows, left = max(size["rows"], 1), summary["exchange_bytes"]
        return {
            **size,
            **used,
            "peak_disk_bytes": max(used["peak_disk_bytes"], sum(left.values())),  # between looks
            "exchange_bytes_per_row": {stage: value / rows for stage, value in left.items()},
            **{name: summary[name] for name in ("stages", "reasons", "lsh", "settings")},
            "algorithm": ALGORITHM,
            "memory_bytes": summary["resources"]["memory"],
        }

    return median_run([measure() for _ in range(runs)])


def median_run(runs: list[Result]) -> Result:
    """The run of median wall time (the faster of two), with what all of them took."""
    line = sorted(runs, key=lambda run: run["wall_seconds"])[(len(runs) - 1) // 2]
    names = ("wall_seconds", "cpu_seconds", "peak_rss_bytes", "peak_own_bytes")
    return {**line, **{f"all_{name}": [run[name] for run in runs] for name in names}}


def scale(known: argparse.Namespace, folder: Path) -> Result:
    """The whole job at each size: time, memory, disk, and what each stage took and left.

    Sizes that the result file has, and that are not measured now, stay in it as they are.
    """
    warm_up(folder)
    before = read_json(known.json)["lines"] if known.json.exists() else []
    measured_now = [measure_run(corpus, folder, known.runs) for corpus in known.corpus]
    before = [{"algorithm": 1, **line} for line in before]  # the first did not say so
    lines = {line["rows"]: line for line in (*before, *measured_now)}
    return {"lines": [lines[rows] for rows in sorted(lines)]}


def start(known: argparse.Namespace, folder: Path) -> Result:
    """Runs of this package and of another checkout of it in turns, at each size.

    corpus: the checkout, then corpora. The largest corpus runs as often as asked, the others twice
    as often; the first run of each is not counted.
    """
    before, *corpora = known.corpus
    trees = {"before": os.path.abspath(before), "now": str(ROOT)}
    lines = []
    for corpus in corpora:
        command = run_line([os.path.abspath(corpus)], folder / "out")
        pairs = known.runs if corpus == corpora[-1] else 2 * known.runs
        taken: dict[str, list[Result]] = {name: [] for name in trees}
        for _ in range(pairs + 1):
            for name, tree in trees.items():
                shutil.rmtree(folder / "out", ignore_errors=True)
                environment = {**os.environ, "PYTHONPATH": tree}  # and where Python looks first
                taken[name].append(take(command, env=environment, cwd=tree))
        _, size = summary_of(folder / "out")
        found = {name: {**medians(runs[1:]), "all": runs[1:]} for name, runs in taken.items()}
        ratios = [
            now["cpu_seconds"] / then["cpu_seconds"]
            for then, now in zip(taken["before"][1:], taken["now"][1:], strict=True)
        ]
        lines.append({**size, **found, "ratio": median(ratios)})
    return {"lines": lines}


def adversaries(known: argparse.Namespace, folder: Path) -> Result:
    """Corpora that break naive methods, beside ordinary text; a tenth of the rows with fields."""

    def measure(what: str, corpus: Path) -> Result:
        return {"what": what, **measure_run(str(corpus), folder, known.runs, "--memory", "2GB")}

    warm_up(folder)
    (text,) = known.corpus
    rows, beginnings = ds.dataset(text, format="parquet").count_rows(), folder / "beginnings"
    adverse.make_short(text, beginnings)
    adverse.make_fields(text, folder / "fields", rows // 10)
    what = f"the first {adverse.SHORT} characters of it"
    ordinary = {"ordinary": measure("ordinary text", text), "beginnings": measure(what, beginnings)}
    ordinary["fields"] = measure("ordinary text as prompts and answers", folder / "fields")
    lines = {}
    for name, adversary in adverse.ADVERSARIES.items():
        beside = "beginnings" if adversary.short else "ordinary"
        beside = "fields" if adversary.completion else beside
        adverse.make(adversary, ordinary[beside]["rows"], folder / name)
        line = measure(adversary.what, folder / name)
        shutil.rmtree(folder / name)
        ratio = line["wall_seconds"] / ordinary[beside]["wall_seconds"]
        lines[name] = {"beside": beside, "ratio": ratio, **line}
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
    for form, used in whole.items():
        used["mb_per_second_and_core"] = sizes[form] / used["cpu_seconds"] / 1e6
    rendered = {form: render(path, form, known.runs) for form, path in files.items()}
    return {"render": rendered, "whole": whole}


def others(known: argparse.Namespace, folder: Path) -> Result:
    """What it costs to say how three short columns differ that are not compared.

    Whole runs in turns, whose CPU seconds vary more than that; so reading and digesting the columns
    is measured alone, too, on a file of the corpus, in 15 turns for each run.
    """
    from benchmarks.studies.kernels import read_with

    columns = ("id", "source", "target")
    corpus, out = folder / "corpus", folder / "out"
    small.with_columns(known.corpus, corpus, ["text", *columns])
    lines = {
        "counted": (run_line([str(corpus)], out), out),
        "not counted": (run_line([str(corpus)], out, "--no-differences"), out),
    }
    whole = in_turns(lines, known.runs)
    take(run_line([str(corpus)], out))
    summary, size = summary_of(out)
    first = corpus / Path(known.corpus[0]).name
    without, with_them, rows = read_with(first, columns, 15 * known.runs)
    more = (with_them - without) * size["rows"] / rows
    return {
        **size,
        "columns": summary["not_compared"],
        "whole": whole,
        "more_cpu_seconds": more,
        "share": more / whole["not counted"]["cpu_seconds"],
    }


def apply(known: argparse.Namespace, folder: Path) -> Result:
    """`dedupe apply` beside plain pyarrow that copies every row with the same codec."""
    out, clean = folder / "out", folder / "clean"
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "apply", str(out), "--output", str(clean), "--quiet", "--workers", "2"]
    copying = [sys.executable, "-c", COPY, str(clean), *known.corpus]
    found = in_turns({"apply": (command, clean), "pyarrow": (copying, clean)}, known.runs)
    return {**summary_of(out)[1], **found}


def sweep(known: argparse.Namespace, folder: Path) -> Result:
    """A sweep over ten thresholds beside a run at the lowest of them, and one at the usual one."""
    out = folder / "out"
    sweeping = [*DEDUPE, "sweep", *known.corpus, "--quiet", "--work-dir", str(out)]
    lines = {
        "`sweep --thresholds 0.5:0.95:0.05`": ([*sweeping, "--thresholds", TEN], out),
        "`run --threshold 0.5`": (run_line(known.corpus, out, "--threshold", "0.5"), out),
        "`run --threshold 0.8`": (run_line(known.corpus, out, "--threshold", "0.8"), out),
    }
    whole = in_turns(lines, known.runs)
    ten, lowest, usual = whole.values()
    return {
        **summary_of(out)[1],
        "whole": whole,
        "to_lowest": _of_pairs(ten, lowest),
        "to_usual": _of_pairs(ten, usual),
    }


def _of_pairs(one: Result, other: Result) -> float:
    """How many times as many CPU seconds one command took as another: the median of all turns."""
    pairs = zip(one["all"], other["all"], strict=True)
    return median(a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs)


def edges(known: argparse.Namespace, folder: Path) -> Result:
    """Lists of edges of a finished run, in 1 GB of memory: drops alone, and with other pairs.

    Pairs are looked for in the work directory of the run, and without it.
    """
    out, work, file = folder / "out", folder / "work", folder / "edges.parquet"
    take(run_line(known.corpus, out, "--work-dir", str(work)))
    line = [*DEDUPE, "edges", str(out), "--output", str(file), "--quiet", "--memory", "1GB"]
    lines = {
        "`edges OUT`": line,
        "`edges OUT --from 0.7 --work-dir W`": [*line, "--from", "0.7", "--work-dir", str(work)],
        "`edges OUT --from 0.7`": [*line, "--from", "0.7"],
    }
    found: dict[str, list[Result]] = {name: [] for name in lines}
    for _ in range(known.runs + 1):
        for name, command in lines.items():
            for made in work.glob("*/pairs"):
                shutil.rmtree(made)
            found[name].append(take(command))
    whole = {name: {**medians(taken), "all": taken} for name, (_, *taken) in found.items()}
    said = Edges(file).said
    return {**summary_of(out)[1], "whole": whole, **{n: said[n] for n in ("drops", "pairs", "cut")}}


def against(known: argparse.Namespace, folder: Path) -> Result:
    """A run held against a reference of a hundredth of its rows, beside the same without it.

    The reference is held out of the corpus, the last rows of each row group. And the worst that a
    reference can be: rows of which any two are near-duplicates, as many as --sizes says (100,000),
    held against as many others of the same family, and against ordinary text.
    """
    warm_up(folder)
    corpus, out = folder / "corpus", folder / "out"
    rows, text = small.hold_out(known.corpus, corpus, folder / "reference.parquet", 100)
    options = ["--against", str(folder / "reference.parquet")]
    lines = {
        "against": (run_line([str(corpus)], out, *options), out),
        "alone": (run_line([str(corpus)], out), out),
    }
    found = in_turns(lines, known.runs)
    take(run_line([str(corpus)], out, *options))
    summary, size = summary_of(out)
    pairs = zip(found["against"]["all"], found["alone"]["all"], strict=True)
    ratio = median(one["cpu_seconds"] / other["cpu_seconds"] for one, other in pairs)

    count = known.sizes[0] if known.sizes else 100_000
    family = adverse.ADVERSARIES["near"]
    adverse.make(family, 2 * count, folder / "family")
    _, alike = small.hold_out(
        [str(path) for path in sorted((folder / "family").iterdir())],
        folder / "half",
        folder / "alike.parquet",
        2,
    )
    adversary = {}
    for name, held in (("itself", folder / "half"), ("ordinary text", corpus)):
        for beside in ("against", "alone"):
            given = ["--against", str(folder / "alike.parquet")] if beside == "against" else []
            line = run_line([str(held)], out, "--memory", "2GB", *given)
            adversary[f"{name}, {beside}"] = take(line)
    return {
        **size,
        "reference_rows": rows,
        "reference_text": text,
        "dropped": summary["reasons"]["reference"],
        "cpu_ratio": ratio,
        **found,
        "alike": {"rows": count, "text": alike, **adversary},
    }


def audit(known: argparse.Namespace, folder: Path) -> Result:
    """`dedupe audit` with its usual sample of 20,000 rows."""
    out = folder / "out"
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "audit", str(out), "--quiet"]
    used = in_turns({"audit": (command, folder / "nothing")}, known.runs)["audit"]
    said = audited(out)
    shown = ("ok", "sample", "recall", "missed_rows", "wrongly_dropped", "broken")
    return {**summary_of(out)[1], **used, **{what: said[what] for what in shown}}


def report(known: argparse.Namespace, folder: Path) -> Result:
    """`dedupe report` on a finished run, with its usual 200 pairs."""
    out, page = folder / "out", folder / "report.html"
    take(run_line(known.corpus, out))
    command = [*DEDUPE, "report", str(out), "--output", str(page), "--quiet"]
    used = in_turns({"report": (command, folder / "nothing")}, known.runs)["report"]
    return {**summary_of(out)[1], **used, "page_bytes": page.stat().st_size}


def problems(known: argparse.Namespace, folder: Path) -> Result:
    """`dedupe.find_problems` on a finished run: all rows are read once more."""
    out = folder / "out"
    take(run_line(known.corpus, out))
    script = "import sys, dedupe; dedupe.find_problems(sys.argv[1], workers=1)"
    command = [sys.executable, "-c", script, str(out)]
    used = in_turns({"problems": (command, folder / "nothing")}, known.runs)["problems"]
    found = {"file_bytes": (out / "problems.parquet").stat().st_size}
    return {**summary_of(out)[1], **used, **found}


def audited(out: Path) -> Result:
    """What `dedupe audit` says of a run."""
    command = [*DEDUPE, "audit", str(out), "--quiet", "--json"]
    return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout))


def recall_exact(known: argparse.Namespace, folder: Path) -> Result:
    """`--recall exact` beside bands, on short rows, on long ones and on each corpus.

    The short and long rows are --sizes bytes of made text each (100 MB). The audit of the run with
    bands says how many rows it has missed.
    """
    corpora: dict[str, tuple[str, tuple[str, ...]]] = {}
    for length, options in LENGTHS.items():
        path = folder / f"rows-{length}.parquet"
        small.rows_of_words(path, length, known.sizes[0] if known.sizes else 100_000_000)
        corpora[f"{length:,} words"] = (str(path), options)
    corpora |= {Path(corpus).name: (corpus, ()) for corpus in known.corpus}
    bands, exact = folder / "bands", folder / "exact"
    found = {}
    for name, (corpus, options) in corpora.items():
        lines = {
            "bands": (run_line([corpus], bands, *options), bands),
            "exact": (run_line([corpus], exact, *options, "--recall", "exact"), exact),
        }
        taken = in_turns(lines, known.runs)
        missed = {"missed_rows": audited(bands)["missed_rows"]}
        found[name] = {"options": options, **summary_of(exact)[1], **missed, **taken}
    return {"corpora": found}


@contextmanager
def ray_node(memory: int, folder: Path) -> Iterator[float]:
    """A Ray of one node, for processes that look for RAY_ADDRESS; the seconds it took to start."""
    from ray.cluster_utils import Cluster

    warm_up(folder)
    began = time.perf_counter()
    node = {"num_cpus": RAY_WORKERS, "memory": RAY_WORKERS * memory, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    took = time.perf_counter() - began
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield took
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


def run_alone(corpus: str, folder: Path, *options: str) -> Result:
    """The summary of a run, with the seconds of its process but not of the workers of a Ray."""
    command = run_line([corpus], folder / "out", "--workers", str(RAY_WORKERS), *options)
    cpu, began = children_cpu(), time.perf_counter()
    subprocess.run(command, check=True)
    wall, cpu = time.perf_counter() - began, children_cpu() - cpu
    summary, size = summary_of(folder / "out")
    stages = {name: stage["wall_seconds"] for name, stage in summary["stages"].items()}
    return {**summary, **size, "process_wall": wall, "process_cpu": cpu, "stage_walls": stages}


def ray_speed(known: argparse.Namespace, folder: Path) -> Result:
    """The Ray engine and the local one in turn, so that a busy machine is busy for both."""
    engines = {"local": ("--memory", "4GB"), "ray": ("--engine", "ray", "--memory", "2GB")}
    found: dict[str, list[Result]] = {engine: [] for engine in engines}
    with ray_node(2_000_000_000, folder) as start:
        for _ in range(known.runs):
            for engine, options in engines.items():
                found[engine].append(run_alone(known.corpus[0], folder, *options))
    result = {name: found["ray"][0][name] for name in ("rows", "text_bytes")}
    result |= {"workers": RAY_WORKERS, "ray_start_seconds": start}
    for name, what in (("ratio", "wall_seconds"), ("process_ratio", "process_wall")):
        pairs = zip(found["ray"], found["local"], strict=True)
        result[name] = median(ray[what] / local[what] for ray, local in pairs)
    for engine, runs in found.items():
        result[engine] = {
            "process_seconds": median(run["process_wall"] for run in runs),
            "run_seconds": median(run["wall_seconds"] for run in runs),
            "stages": medians([run["stage_walls"] for run in runs]),
            "all_run_seconds": [run["wall_seconds"] for run in runs],
        }
    return result


def ray_shards(known: argparse.Namespace, folder: Path) -> Result:
    """What the driver of a Ray does as small shards grow in number (--sizes)."""
    lines = []
    with ray_node(1_000_000_000, folder):
        for count in known.sizes or (100, 1000, 10_000, 100_000):
            small.small_shards(folder / "shards", count)
            run = run_alone(str(folder / "shards"), folder, "--engine", "ray", "--memory", "1GB")
            shutil.rmtree(folder / "shards")
            stages = run["stages"].values()
            line = {
                "shards": count,
                "rows": run["rows"],
                "process_seconds": run["process_wall"],
                "driver_cpu_seconds": run["process_cpu"],
                "driver_peak_memory": run["driver"]["peak_memory"],
                "worker_cpu_seconds": sum(stage["cpu_seconds"] for stage in stages),
                "tasks": sum(stage["tasks"] for stage in stages),
                "exchange_bytes_per_row": sum(run["exchange_bytes"].values()) / run["rows"],
            }
            print(line, flush=True)
            lines.append(line)
    return {"lines": lines}
