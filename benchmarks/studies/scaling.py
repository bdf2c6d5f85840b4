"""What a billion rows and more take on a cluster: a model of measured constants, on paper.

The tables of docs/explanation/scaling.md, which `benchmarks.report.tables` writes. CPU seconds and
bytes per row are those of the largest run of results/scale.json, the last task that joins
components is that of results/link-scale.json, and the driver's share that of
results/ray-shards.json. Tasks, pieces and memory come from the package's own planning. What was not
measured is in the constants below, with its source.
"""

from collections import Counter, namedtuple
from typing import Any

from benchmarks.common import read_result
from dedupe.config import Resources
from dedupe.planning.estimate import estimate, workload
from dedupe.planning.sizes import Planner
from dedupe.tasks.costs import COSTS, STAGE_COSTS

NODE_CPUS = 16
NODE_DOLLARS_PER_HOUR = 0.768
"""m6i.4xlarge (64 GB) on demand, us-east-1, Linux; AWS price list as of 2025. Spot is a third to a
half."""
NODE_NETWORK = 1.5e9  # bytes a second: its 12.5 Gbit/s
WORKERS = ((4, 14e9), (8, 31e9))
"""CPUs and memory of a worker: the first that holds the last task that joins components."""
GETS_PER_SECOND = 5500
"""S3 for one prefix, before it has split it (S3 user guide, "Optimizing performance")."""
GET_DOLLARS, PUT_DOLLARS = 0.0004 / 1000, 0.005 / 1000
"""S3 Standard, us-east-1; AWS price list as of 2025."""
GET_SECONDS = 0.03
"""First byte of a small range (S3 user guide: "100–200 ms" at worst, some 30 ms as a rule)."""
GETS_AT_A_TIME = 32  # of a task: `storage.object_files.MOST_AHEAD`
MEAN_BYTES, IN_COMPONENTS, COMPRESSED = 1233, 0.344, 0.45
"""Text of a row, share of rows, and of the text what Parquet with zstd takes of it; as measured."""
EDGES_OF_MEMBER = 5  # a forest of every eighth of the buckets: most rows are in most of them
TASK_SECONDS = 0.001  # of the driver, for each task

Lines = list[dict[str, Any]]
Stage = namedtuple("Stage", "name seconds bound gets")
Study = namedtuple("Study", "plan stages driver seconds gets machines requests")
"""A run on a cluster; `machines` (one node more for the head) and `requests` are dollars."""


def measurements() -> tuple[dict[str, Any], dict[str, Any]]:
    """The largest run, and the largest last task that joins components."""
    links = read_result("link-scale")["lines"]
    return read_result("scale")["lines"][-1], max(links, key=lambda line: line["rows"])


def study(rows: int, nodes: int) -> Study:
    """Put the constants together."""
    measured, largest = measurements()
    planner = Planner(COSTS)
    for cpus, memory in WORKERS:
        resources, bands = Resources(cpus, int(memory), nodes * NODE_CPUS), measured["lsh"]["bands"]
        work = workload(planner, resources, rows, MEAN_BYTES, bands, IN_COMPONENTS, "word")
        plan = estimate(planner, resources, work, STAGE_COSTS)
        if COSTS.base + plan.stages["components"].memory <= memory:
            break
    left, text = measured["exchange_bytes_per_row"], MEAN_BYTES * COMPRESSED
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
        tasks, size = planned.tasks, reads[name] + left[name]
        gets = planned.reads + size * rows / 8e6
        at_a_time = min(nodes * NODE_CPUS, max(tasks, 1))
        edges = rows * IN_COMPONENTS * EDGES_OF_MEMBER if name == "components" else 0
        bounds = {
            "CPU": measured["stages"][name]["cpu_seconds"] / measured["rows"] * rows / at_a_time,
            "network": size * rows / (nodes * NODE_NETWORK),
            "request rate": gets / GETS_PER_SECOND,
            "request latency": gets * GET_SECONDS / GETS_AT_A_TIME / at_a_time,
        }
        seconds = max(bounds.values())  # a stage overlaps all but what one task does alone
        bounds["one task alone"] = edges * largest["ns_per_edge"] / 1e9
        bound = max(bounds, key=bounds.__getitem__)
        stages.append(Stage(name, seconds + bounds["one task alone"], bound, gets))
    tasks = sum(stage.tasks for stage in plan.stages.values())
    few, *_, many = read_result("ray-shards")["lines"]
    per_shard = many["driver_cpu_seconds"] - few["driver_cpu_seconds"]
    per_shard /= many["shards"] - few["shards"]
    driver = tasks * TASK_SECONDS + rows * text / 1e9 * per_shard  # files of a gigabyte
    seconds = sum(stage.seconds for stage in stages) + driver
    gets = sum(stage.gets for stage in stages)
    puts = 2 * tasks + sum(left.values()) * rows / 50e6
    machines = (nodes + 1) * NODE_DOLLARS_PER_HOUR * seconds / 3600
    process = Stage("driver", driver, "one process", None)
    dollars = machines, gets * GET_DOLLARS + puts * PUT_DOLLARS
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
        of = {"rows": rows, "nodes": nodes, "text": rows * MEAN_BYTES / 1e12, "merge": merge}
        lines.append({**of, "first": first, "waited": waited, **found._asdict()})
    return lines


def cluster_stages() -> Lines:
    """Each stage of a billion and ten billion rows on 64 nodes, and the driver."""
    studies = (study(rows, 64) for rows in (10**9, 10**10))
    pairs = zip(*([*found.stages, found.driver] for found in studies), strict=True)
    return [{"name": one.name, "one": one, "ten": ten} for one, ten in pairs]


def largest_run() -> Lines:
    """What each stage took and left in the largest run that was measured."""
    run, _ = measurements()
    left, of = run["exchange_bytes_per_row"], {"rows": run["rows"]}
    return [{"name": n, **of, "left": left[n], **found} for n, found in run["stages"].items()]


def last_task() -> str:
    """What the last task that joins components took."""
    said = "Last merge of components, {members:,} rows in components: {ns_per_edge:.0f} ns per "
    said += "edge and {bytes_per_member:.1f} bytes per row, on one core."
    return said.format(**measurements()[1])
