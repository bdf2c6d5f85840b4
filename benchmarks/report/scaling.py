"""What a billion rows and more take on a cluster: a model of measured constants, on paper.

The tables of docs/explanation/scaling.md, which `benchmarks.report.tables` writes. CPU seconds and
bytes per row are those of the largest run of results/scale.json, the last task that joins
components is that of results/link-scale.json, and the driver's share that of
results/ray-shards.json. Tasks, pieces and memory come from the package's own planning, and what was
not measured from `scaling.toml`.
"""

import tomllib
from collections import Counter, namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.common import read_result
from dedupe.config import Resources
from dedupe.planning.estimate import estimate, workload
from dedupe.planning.sizes import Planner
from dedupe.tasks.costs import COSTS, STAGE_COSTS

GIVEN = SimpleNamespace(**tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8")))
Lines = list[dict[str, Any]]
Stage = namedtuple("Stage", "name seconds bound gets")
# A run on a cluster; `machines` (one node more for the head) and `requests` are dollars.
Study = namedtuple("Study", "plan stages driver seconds gets machines requests")


def largest(name: str) -> dict[str, Any]:
    """The measurement of most rows in a result file."""
    return max(read_result(name)["lines"], key=lambda line: line["rows"])


def study(rows: int, nodes: int) -> Study:
    """Put the constants together."""
    measured, last_task = largest("scale"), largest("link-scale")
    planner, cpus = Planner(COSTS), nodes * GIVEN.node_cpus
    shape = GIVEN.mean_bytes, measured["lsh"]["bands"], GIVEN.in_components, "word"
    for threads, memory in GIVEN.workers:
        resources = Resources(threads, int(memory), cpus)
        plan = estimate(planner, resources, workload(planner, resources, rows, *shape), STAGE_COSTS)
        if COSTS.base + plan.stages["components"].memory <= memory:
            break
    left, text = measured["exchange_bytes_per_row"], GIVEN.mean_bytes * GIVEN.compressed
    reads = {  # bytes per row that a stage reads
        "sign": text,
        "bucket": left["sign"],
        "components": 2 * left["bucket"],
        "route": left["components"] + 20,
        "group": left["route"],
        "fetch": text + left["group"],
        "verify": left["fetch"],
        "keep": left["verify"] + 20,
    }
    stages = []
    for name, planned in plan.stages.items():
        size = reads[name] + left[name]
        gets = planned.reads + size * rows / 8e6
        at_a_time = min(cpus, max(planned.tasks, 1))
        bounds = {
            "CPU": measured["stages"][name]["cpu_seconds"] / measured["rows"] * rows / at_a_time,
            "network": size * rows / (nodes * GIVEN.node_network),
            "request rate": gets / GIVEN.gets_per_second,
            "request latency": gets * GIVEN.get_seconds / GIVEN.gets_at_a_time / at_a_time,
        }
        seconds, alone = max(bounds.values()), 0.0  # a stage overlaps all but what one task does
        if name == "components":
            edges = rows * GIVEN.in_components * GIVEN.edges_of_member
            alone = edges * last_task["ns_per_edge"] / 1e9
        bounds["one task alone"] = alone
        bound = max(bounds, key=bounds.__getitem__)
        stages.append(Stage(name, seconds + alone, bound, gets))
    tasks = sum(stage.tasks for stage in plan.stages.values())
    few, *_, many = read_result("ray-shards")["lines"]
    per_shard = many["driver_cpu_seconds"] - few["driver_cpu_seconds"]
    per_shard /= many["shards"] - few["shards"]
    driver = tasks * GIVEN.task_seconds + rows * text / 1e9 * per_shard  # files of a gigabyte
    seconds = sum(stage.seconds for stage in stages) + driver
    gets = sum(stage.gets for stage in stages)
    puts = 2 * tasks + sum(left.values()) * rows / 50e6
    machines = (nodes + 1) * GIVEN.node_dollars_per_hour * seconds / 3600
    dollars = machines, gets * GIVEN.get_dollars + puts * GIVEN.put_dollars
    process = Stage("driver", driver, "one process", None)
    return Study(plan, stages, process, seconds, gets, *dollars)


def duration(seconds: float) -> str:
    """Like 2 h 05 min, 12 min or 40 s."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 120 else f"{minutes} min"


def clusters() -> Lines:
    """A line for each corpus and cluster."""
    lines = []
    for rows, nodes in ((rows, nodes) for rows in (10**9, 10**10) for nodes in (16, 64, 256)):
        found = study(rows, nodes)
        waits: Counter[str] = Counter()
        for stage in found.stages:
            waits[stage.bound] += round(stage.seconds)
        first, waited = waits.most_common(1)[0]
        merge = COSTS.base + found.plan.stages["components"].memory
        of = {"rows": rows, "nodes": nodes, "text": rows * GIVEN.mean_bytes / 1e12, "merge": merge}
        lines.append({**of, "first": first, "waited": waited, **found._asdict()})
    return lines


def cluster_stages() -> Lines:
    """Each stage of a billion and ten billion rows on 64 nodes, and the driver."""
    studies = (study(rows, 64) for rows in (10**9, 10**10))
    pairs = zip(*([*found.stages, found.driver] for found in studies), strict=True)
    return [{"name": one.name, "one": one, "ten": ten} for one, ten in pairs]
