"""Write the tables of docs/benchmarks.md and README.md from the result files.

python benchmarks/tables.py        # rewrites the parts between the markers
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")


def read(pattern: str) -> list[dict[str, Any]]:
    """The result files of that name, smallest corpus first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob(pattern)]
    return sorted(found, key=lambda result: result.get("rows", 0))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def throughput() -> str:
    """The whole job, a line for each corpus."""
    head = [
        "corpus",
        "rows",
        "text MB",
        "wall s",
        "CPU s",
        "MB/s per core",
        "µs per row",
        "peak MB",
    ]
    rows = [
        [
            result["name"],
            f"{result['rows']:,}",
            f"{result['text_bytes'] / 1e6:,.0f}",
            f"{result['wall_seconds']:.1f}",
            f"{result['cpu_seconds']:.1f}",
            f"{result['mb_per_second_and_core']:.0f}",
            f"{result['microseconds_per_row_wall']:.1f}",
            f"{result['peak_rss_bytes'] / 1e6:,.0f}",
        ]
        for result in read("throughput-*.json")
    ]
    return table(head, rows)


def stages() -> str:
    """Where the time goes: seconds of wall and CPU for each stage and corpus."""
    results = read("throughput-*.json")
    head = ["stage", *(f"{result['name']}: wall / CPU s" for result in results)]
    names = list(results[-1]["stages"]) if results else []
    rows = [
        [
            name,
            *(
                f"{result['stages'][name]['wall_seconds']:.2f} / "
                f"{result['stages'][name]['cpu_seconds']:.2f}"
                for result in results
            ),
        ]
        for name in names
    ]
    rest = ["start, planning, publishing"]
    for result in results:
        wall = sum(stage["wall_seconds"] for stage in result["stages"].values())
        cpu = sum(stage["cpu_seconds"] for stage in result["stages"].values())
        rest.append(f"{result['wall_seconds'] - wall:.2f} / {result['cpu_seconds'] - cpu:.2f}")
    return table(head, [*rows, rest])


def exchange() -> str:
    """Bytes that stages leave in the work directory, per row."""
    results = read("throughput-*.json")
    head = ["stage", *(result["name"] for result in results)]
    names = list(results[-1]["exchange_bytes_per_row"]) if results else []
    rows = [
        [name, *(f"{result['exchange_bytes_per_row'][name]:.0f}" for result in results)]
        for name in names
    ]
    return table(head, rows)


def kernels() -> str:
    """Each kernel beside its simplest form."""
    head = ["kernel", "ns", "per", "simplest form", "its ns", "ratio"]
    rows = [
        [
            name,
            f"{figures['ns']:.2f}",
            figures["unit"],
            figures["peer"],
            f"{figures['peer_ns']:.1f}",
            f"{figures['ratio']:.1f}",
        ]
        for result in read("kernels.json")
        for name, figures in result["kernels"].items()
    ]
    return table(head, rows)


def recall() -> str:
    """Recall and precision on each corpus, against the exact join."""
    head = ["corpus", "rows", "true pairs", "recall", "recall at .80-.85", "survivors", "precision"]
    rows = []
    for path in sorted(RESULTS.glob("recall-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        found = result["recall"]
        rows.append(
            [
                path.stem.removeprefix("recall-"),
                f"{result['rows']:,}",
                f"{found['pairs']:,}",
                f"{found['recall']:.5f}",
                f"{found['bands']['0.80-0.85']['recall']:.5f}",
                f"{found['survivors']}",
                f"{result['precision']['precision']:.5f}",
            ]
        )
    return table(head, rows)


def ray() -> str:
    """Both engines, in turn on one machine."""
    head = ["engine", "process s", "run s", *next(iter(read("ray-speed.json")))["ray"]["stages"]]
    rows = [
        [
            engine,
            f"{result[engine]['process_seconds']:.1f}",
            f"{result[engine]['run_seconds']:.1f}",
            *(f"{seconds:.2f}" for seconds in result[engine]["stages"].values()),
        ]
        for result in read("ray-speed.json")
        for engine in ("local", "ray")
    ]
    (result,) = read("ray-speed.json")
    return (
        f"{table(head, rows)}\n\nRay takes **{result['ratio']:.2f}** times as long for the run, "
        f"{result['process_ratio']:.2f} times with connecting, starting workers and ending them "
        f"(median of {len(result['ray']['all_run_seconds'])} pairs). Starting Ray itself took "
        f"{result['ray_start_seconds']:.1f} s."
    )


def shards() -> str:
    """What the driver does as shards grow in number."""
    head = [
        "shards",
        "rows",
        "tasks",
        "process s",
        "driver CPU s",
        "driver CPU, ms per shard",
        "driver MB",
        "workers' CPU s",
        "bytes per row exchanged",
    ]
    (result,) = read("ray-shards.json")
    rows = [
        [
            f"{line['shards']:,}",
            f"{line['rows']:,}",
            f"{line['tasks']:,}",
            f"{line['process_seconds']:.1f}",
            f"{line['driver_cpu_seconds']:.1f}",
            f"{line['driver_cpu_seconds'] / line['shards'] * 1e3:.2f}",
            f"{line['driver_peak_memory'] / 1e6:,.0f}",
            f"{line['worker_cpu_seconds']:.1f}",
            f"{line['exchange_bytes_per_row']:.0f}",
        ]
        for line in result["lines"]
    ]
    return table(head, rows)


def cells(measured: dict[str, float], *names: str) -> list[str]:
    """Some of what was measured, each as its tables show it."""
    forms = {
        "wall_seconds": "{:.1f}",
        "cpu_seconds": "{:.1f}",
        "mb_per_second_and_core": "{:.0f}",
        "peak_rss_bytes": "{:,.0f}",
    }
    units = {"peak_rss_bytes": 1e6}
    return [forms[name].format(measured[name] / units.get(name, 1)) for name in names]


def formats() -> str:
    """Structured rows: reading and rendering alone, and whole runs."""
    (result,) = read("formats.json")
    files = {"messages": "`messages` in Parquet", "alpaca": "`alpaca` in JSON lines"}
    head = [
        "rows",
        "read and render, MB/s per core",
        "whole run, MB/s per core",
        "wall s",
        "peak MB",
    ]
    rows = [
        [
            file,
            *cells(result["render"][form], "mb_per_second_and_core"),
            *cells(
                result["whole"][form], "mb_per_second_and_core", "wall_seconds", "peak_rss_bytes"
            ),
        ]
        for form, file in files.items()
    ]
    return table(head, rows)


def apply() -> str:
    """`dedupe apply` and pyarrow alone."""
    (result,) = read("apply.json")
    head = ["", "wall s", "CPU s", "MB of text/s per core", "peak MB"]
    names = {"apply": "`dedupe apply`", "pyarrow": "pyarrow copies every row"}
    shown = ("wall_seconds", "cpu_seconds", "mb_per_second_and_core", "peak_rss_bytes")
    return table(head, [[name, *cells(result[what], *shown)] for what, name in names.items()])


def requests() -> str:
    """Requests to a store by stage: reading, looking, writing."""
    (result,) = read("store-requests.json")
    runs = result["results"]
    head = ["stage", *(f"{run['shards']:,} shards: GET / LIST, HEAD / PUT …" for run in runs)]

    def three(counts: dict[str, int]) -> list[int]:
        get, look = counts.get("GET", 0), counts.get("LIST", 0) + counts.get("HEAD", 0)
        return [get, look, sum(counts.values()) - get - look]

    def line(name: str, of_runs: list[list[float]], form: str) -> list[str]:
        return [name, *(" / ".join(format(one, form) for one in counts) for counts in of_runs)]

    rows, per_shard = [], []
    for name in runs[-1]["stages"]:
        rows.append(line(name, [three(run["stages"][name]) for run in runs], ","))
    for run in runs:
        of_run = [three(counts) for name, counts in run["stages"].items() if name != "apply"]
        per_shard.append([sum(column) / run["shards"] for column in zip(*of_run, strict=True)])
    rows.append(line("a run, per shard", per_shard, ".1f"))
    return table(head, rows)


def headline() -> str:
    """The whole job in a few figures."""
    head = ["documents", "text", "wall time, 2 cores", "MB of text per second and core", "memory"]
    rows = [
        [
            f"{result['rows']:,}",
            f"{result['text_bytes'] / 1e9:.2f} GB",
            f"{result['wall_seconds']:.1f} s",
            f"{result['mb_per_second_and_core']:.0f}",
            f"{result['peak_rss_bytes'] / 1e9:.2f} GB",
        ]
        for result in read("throughput-*.json")
        if result["rows"] >= 1_000_000
    ]
    return table(head, rows)


PARTS = (
    *(headline, throughput, stages, exchange, formats, apply, ray, shards, requests, kernels),
    recall,
)


def main() -> None:
    """Rewrite every marked part of the pages."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        for make in PARTS:
            before, after = f"<!-- {make.__name__} -->\n", f"<!-- /{make.__name__} -->"
            if before in page:
                rest = page.partition(after)[2]
                page = f"{page.partition(before)[0]}{before}{make()}\n{after}{rest}"
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
