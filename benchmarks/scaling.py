"""What a billion rows and more take on a cluster: a model of measured constants, on paper.

    python benchmarks/scaling.py      # rewrites the tables of docs/explanation/scaling.md

Reads CPU seconds and bytes per row from the largest run of results/scale.json, the last task of
link from results/link-scale.json, and the driver's share from results/ray-shards.json; tasks,
pieces and memory come from `dedupe.planning`. What was not measured is in the constants below, with
its source.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedupe.config import Resources
from dedupe.planning import sizes as planning

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "explanation" / "scaling.md"

NODE_CPUS = 16
NODE_MEMORY = 64e9
NODE_DOLLARS_PER_HOUR = 0.768
"""m6i.4xlarge on demand, us-east-1, Linux; AWS price list as of 2025. Spot is a third to a half."""
NODE_NETWORK = 1.5e9
"""Bytes a second: its 12.5 Gbit/s."""
WORKERS = ((4, 14e9), (8, 31e9))
"""CPUs and memory of a worker: the first that holds the last task of link."""

GETS_PER_SECOND = 5500
PUTS_PER_SECOND = 3500
"""S3 for one prefix, before it has split it (S3 user guide, "Optimizing performance")."""
GET_DOLLARS = 0.0004 / 1000
PUT_DOLLARS = 0.005 / 1000
"""S3 Standard, us-east-1; AWS price list as of 2025."""
GET_SECONDS = 0.03
"""First byte of a small range (S3 user guide: "100–200 ms" at worst, some 30 ms as a rule)."""
GETS_AT_A_TIME = 32
"""Of a task: `storage.MOST_PIECES`."""
GETS_PER_PIECE = 2
"""Footer and record batch; one for a file up to 64 KiB. tests/test_remote.py counts them."""

MEAN_BYTES = 1233
IN_COMPONENTS = 0.344
COMPRESSED = 0.45
"""Share of the text that Parquet with zstd takes of it; of the benchmark's corpus."""


@dataclass(frozen=True)
class Stage:
    """Seconds that a stage would take, were it bound by this alone."""

    name: str
    cpu: float
    network: float
    requests: float
    latency: float
    alone: float
    gets: float

    @property
    def seconds(self) -> float:
        """The stage overlaps all but what one process does alone."""
        return max(self.cpu, self.network, self.requests, self.latency) + self.alone

    @property
    def bound(self) -> str:
        """What it is bound by."""
        kinds = {
            "CPU": self.cpu,
            "network": self.network,
            "request rate": self.requests,
            "request latency": self.latency,
            "one task alone": self.alone,
        }
        return max(kinds, key=lambda kind: kinds[kind])


@dataclass(frozen=True)
class Study:
    """A run on a cluster."""

    rows: int
    nodes: int
    plan: planning.Estimate
    stages: list[Stage]
    driver: float
    puts: float

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(stage.seconds for stage in self.stages) + self.driver

    @property
    def gets(self) -> float:
        """Of the whole run."""
        return sum(stage.gets for stage in self.stages)

    @property
    def dollars(self) -> tuple[float, float]:
        """Of nodes (one more for the head), and of requests."""
        hours = self.seconds / 3600
        nodes = (self.nodes + 1) * NODE_DOLLARS_PER_HOUR * hours
        return nodes, self.gets * GET_DOLLARS + self.puts * PUT_DOLLARS


def read(name: str) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


def study(rows: int, nodes: int) -> Study:
    """Put the constants together."""
    measured, link, driver = (
        read("scale.json")["lines"][-1],
        read("link-scale.json")["lines"],
        read("ray-shards.json")["lines"],
    )
    slots = nodes * NODE_CPUS
    bands = measured["lsh"]["bands"]
    for cpus, memory in WORKERS:
        resources = Resources(cpus, int(memory), slots)
        plan = planning.estimate(resources, bands, rows, MEAN_BYTES, IN_COMPONENTS, "word")
        if plan.link_memory <= memory:
            break
    cpu = {
        name: stage["cpu_seconds"] / measured["rows"] for name, stage in measured["stages"].items()
    }
    left = measured["exchange_bytes_per_row"]
    text = MEAN_BYTES * COMPRESSED
    signs, keys, parts = plan.sign_tasks, plan.key_partitions, plan.component_partitions
    keeps = min(max(rows // (1 << 18), 1), planning.MOST_TASKS)
    merges = planning.merge_tree(keys)
    moved = {  # bytes per row, pieces
        "sign": (text + left["sign"], 0),
        "bucket": (left["sign"] + left["bucket"], signs * keys),
        "link": (2 * left["bucket"] + left["link"], 0),
        "label": (left["link"] + 20 + left["label"], signs),
        "group": (left["label"] + left["group"], signs * parts),
        "shingle": (text + left["group"] + left["shingle"], signs * parts),
        "verify": (left["shingle"] + left["verify"], signs * parts),
        "keep": (left["verify"] + 20 + left["keep"], keeps * parts),
    }
    tasks_of = {"sign": signs, "bucket": keys, "link": keys, "label": signs, "group": parts}
    tasks_of |= {"shingle": signs, "verify": parts, "keep": keeps}
    largest = max(link, key=lambda line: line["rows"])
    members = rows * IN_COMPONENTS
    stages = []
    for name, (size, pieces) in moved.items():
        gets = pieces * GETS_PER_PIECE + size * rows / 8e6
        alone = 0.0
        if name == "link":
            # a forest of every eighth of the buckets: most rows are in most of them
            alone = members * 5 * largest["ns_per_edge"] / 1e9
        stages.append(
            Stage(
                name,
                cpu=cpu[name] * rows / min(slots, max(tasks_of[name], 1)),
                network=size * rows / (nodes * NODE_NETWORK),
                requests=gets / GETS_PER_SECOND,
                latency=gets * GET_SECONDS / GETS_AT_A_TIME / min(slots, max(tasks_of[name], 1)),
                alone=alone,
                gets=gets,
            )
        )
    tasks = 3 * signs + keys + len(merges) + 2 * parts + keeps
    few, many = driver[0], driver[-1]
    per_shard = (many["driver_cpu_seconds"] - few["driver_cpu_seconds"]) / (
        many["shards"] - few["shards"]
    )
    shards = rows * text / 1e9  # files of a gigabyte
    puts = 2 * tasks + sum(left.values()) * rows / 50e6
    return Study(rows, nodes, plan, stages, tasks * 0.001 + shards * per_shard, puts)


def duration(seconds: float) -> str:
    """Like 2 h 05 min, 12 min or 40 s."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 120 else f"{minutes} min"


def overview() -> str:
    """A line for each corpus and cluster."""
    lines = [
        "| rows | text | nodes | wall time | first bottleneck | GETs | nodes $ | requests $ "
        "| $ per TB | worker memory | last link task |",
        "| ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rows in (10**9, 10**10):
        for nodes in (16, 64, 256):
            found = study(rows, nodes)
            waits: Counter[str] = Counter()
            for stage in found.stages:
                waits[stage.bound] += round(stage.seconds)
            ((first, seconds),) = waits.most_common(1)
            machine, requests = found.dollars
            text = rows * MEAN_BYTES / 1e12
            lines.append(
                f"| {rows:,} | {text:.1f} TB | {nodes} | {duration(found.seconds)} "
                f"| {first}, {duration(seconds)} | {found.gets / 1e6:,.0f} M | {machine:,.2f} "
                f"| {requests:,.2f} | {(machine + requests) / text:,.2f} "
                f"| {found.plan.peak_memory / 1e9:.0f} GB | {found.plan.link_memory / 1e9:.0f} GB |"
            )
    return "\n".join(lines)


def stages() -> str:
    """Each stage of a billion and ten billion rows on 64 nodes."""
    studies = [study(rows, 64) for rows in (10**9, 10**10)]
    lines = [
        "| stage | 1 B: wall time | bound by | GETs | 10 B: wall time | bound by | GETs |",
        "| --- | ---: | --- | ---: | ---: | --- | ---: |",
    ]
    for pair in zip(*(found.stages for found in studies), strict=True):
        cells = " | ".join(
            f"{duration(stage.seconds)} | {stage.bound} | {stage.gets / 1e6:,.1f} M"
            for stage in pair
        )
        lines.append(f"| {pair[0].name} | {cells} |")
    driver = " | ".join(f"{duration(found.driver)} | one process | " for found in studies)
    return "\n".join([*lines, f"| driver | {driver} |"])


def constants() -> str:
    """What was measured."""
    measured = read("scale.json")["lines"][-1]
    largest = max(read("link-scale.json")["lines"], key=lambda line: line["rows"])
    lines = ["| stage | CPU µs per row | bytes per row left |", "| --- | ---: | ---: |"]
    for name, stage in measured["stages"].items():
        each = stage["cpu_seconds"] / measured["rows"] * 1e6
        lines.append(f"| {name} | {each:.2f} | {measured['exchange_bytes_per_row'][name]:.0f} |")
    lines.append(
        f"\nLast link task, {largest['members']:,} rows in components: "
        f"{largest['ns_per_edge']:.0f} ns per edge and {largest['bytes_per_member']:.1f} bytes per "
        "row, on one core."
    )
    return "\n".join(lines)


def main() -> None:
    """Rewrite the page's marked parts."""
    page = PAGE.read_text(encoding="utf-8")
    for make in (overview, stages, constants):
        before, after = f"<!-- {make.__name__} -->\n", f"<!-- /{make.__name__} -->"
        rest = page.partition(after)[2]
        page = f"{page.partition(before)[0]}{before}{make()}\n{after}{rest}"
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
