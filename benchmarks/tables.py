"""Write the tables of the pages from the result files.

python benchmarks/tables.py        # rewrites the parts between the markers
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = tuple(
    ROOT / page
    for page in (
        "docs/benchmarks.md",
        "docs/peers.md",
        "docs/how-to/choose-settings.md",
        "docs/explanation/join.md",
        "README.md",
    )
)


def read(pattern: str) -> list[dict[str, Any]]:
    """The result files of that name, smallest corpus first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob(pattern)]
    return sorted(found, key=lambda result: result.get("rows", 0))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sizes() -> tuple[list[dict[str, Any]], list[str]]:
    """The whole job at each size, and what heads its column."""
    (result,) = read("scale.json")
    lines = result["lines"]
    return lines, [f"{line['rows']:,} rows" for line in lines]


def throughput() -> str:
    """The whole job, a line for each size."""
    head = ["rows", "text MB", "wall s", "CPU s", "MB/s", "MB per CPU s"]
    head += ["µs per row", "peak memory, MB", "peak disk, MB"]
    lines, _ = sizes()
    rows = [
        [
            f"{line['rows']:,}",
            f"{line['text_bytes'] / 1e6:,.0f}",
            f"{line['wall_seconds']:.1f}",
            f"{line['cpu_seconds']:.1f}",
            f"{line['mb_per_second_wall']:.0f}",
            f"{line['mb_per_second_and_core']:.0f}",
            f"{line['microseconds_per_row_wall']:.1f}",
            f"{line['peak_rss_bytes'] / 1e6:,.0f}",
            f"{line['peak_disk_bytes'] / 1e6:,.0f}",
        ]
        for line in lines
    ]
    return table(head, rows)


def stages() -> str:
    """Where the time goes: seconds of wall and CPU for each stage and size."""
    lines, names = sizes()
    head = ["stage", *(f"{name}: wall / CPU s" for name in names)]
    rows = [
        [
            stage,
            *(
                f"{line['stages'][stage]['wall_seconds']:.2f} / "
                f"{line['stages'][stage]['cpu_seconds']:.2f}"
                for line in lines
            ),
        ]
        for stage in lines[-1]["stages"]
    ]
    rest = ["start, planning, publishing"]
    for line in lines:
        wall = sum(stage["wall_seconds"] for stage in line["stages"].values())
        cpu = sum(stage["cpu_seconds"] for stage in line["stages"].values())
        rest.append(f"{line['wall_seconds'] - wall:.2f} / {line['cpu_seconds'] - cpu:.2f}")
    return table(head, [*rows, rest])


def exchange() -> str:
    """Bytes that stages leave in the work directory, per row."""
    lines, names = sizes()
    left = [line["exchange_bytes_per_row"] for line in lines]
    rows = [[stage, *(f"{each[stage]:.0f}" for each in left)] for stage in left[-1]]
    total = ["in all", *(f"{sum(each.values()):.0f}" for each in left)]
    return table(["stage", *names], [*rows, total])


def adversaries() -> str:
    """Corpora that break naive methods, beside ordinary text."""
    (result,) = read("adversaries.json")
    head = ["corpus", "µs per row", "times ordinary text", "CPU s", "memory, MB"]
    head += ["with mapped files, MB", "kept"]
    lines = [*result["ordinary"].values(), *result["lines"].values()]
    rows = [
        [
            line["what"],
            f"{line['microseconds_per_row_wall']:.1f}",
            f"{line['ratio']:.2f}" if "ratio" in line else "",
            *cells(line, "cpu_seconds", "peak_own_bytes", "peak_rss_bytes"),
            f"{line['rows'] - line['reasons']['exact'] - line['reasons']['near']:,}",
        ]
        for line in lines
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


def steps() -> str:
    """What a byte of text costs in each step of sign and shingle."""
    head = ["step", "ns per byte", "MB/s"]
    rows = []
    for result in read("steps.json"):
        costs = {
            "copy the text in memory, to compare": result["copy"],
            "decode it from Parquet (zstd)": result["decode"],
            **result["steps"],
            "**sign: the seven steps before, and their arrays**": result["sign"],
            "sort band keys into partitions": result["partition"],
            "drop shingles that occur twice (rows in components)": result["distinct"],
        }
        rows += [[name, f"{cost:.2f}", f"{1e3 / cost:,.0f}"] for name, cost in costs.items()]
    return table(head, rows)


def kinds() -> dict[str, dict[str, Any]]:
    """What was measured on each kind of text."""
    (result,) = read("quality.json")
    found: dict[str, dict[str, Any]] = result["kinds"]
    return found


def runs_of(kind: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """The runs on a kind of text with these settings; `planned` ones unless that is given."""
    wanted = {"planned": True, **wanted}
    return [r for r in kind["runs"] if all(r.get(name) == wanted[name] for name in wanted)]


def share(part: int, whole: int, form: str = ".5f") -> str:
    """A share of what there is, or a dash where there is nothing."""
    return format(part / whole, form) if whole else "–"


DEFAULT = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}


def recall() -> str:
    """Recall and precision of the default settings on each kind of text."""
    head = ["text", "rows", "characters per row", "true pairs", "recall", "at 0.80-0.85"]
    head += ["survivors", "precision"]
    rows = []
    for name, kind in kinds().items():
        (run,) = runs_of(kind, **DEFAULT)
        rows.append(
            [
                name,
                f"{kind['rows']:,}",
                f"{kind['characters_per_row']:,.0f}",
                f"{run['pairs']:,}",
                share(run["pairs"] - run["missed"], run["pairs"]),
                share(run["near_pairs"] - run["near_missed"], run["near_pairs"]),
                f"{run['survivors']}",
                "–" if run["precision"] is None else f"{run['precision']:.5f}",
            ]
        )
    return table(head, rows)


def recalls() -> str:
    """Of pairs just above the threshold, the share found by each setting."""
    first = next(iter(kinds().values()))
    usual = DEFAULT["threshold"]
    given = runs_of(first, shingle="word:5", threshold=usual, planned=False)
    asked = [run["recall"] for run in runs_of(first, shingle="word:5", threshold=usual)]
    wanted: list[tuple[str, dict[str, Any]]] = [(f"recall {r}", {"recall": r}) for r in asked]
    wanted += [
        (f"{r['bands']} x {r['rows']}", {"bands": r["bands"], "rows": r["rows"], "planned": False})
        for r in given
    ]
    head = ["text", "pairs", *(name for name, _ in wanted)]
    rows = []
    for name, kind in kinds().items():
        found = [runs_of(kind, shingle="word:5", **settings) for _, settings in wanted]
        pairs = sum(run["near_pairs"] for run in found[0])
        hits = [pairs - sum(run["near_missed"] for run in runs) for runs in found]
        rows.append([name, f"{pairs:,}", *(share(hit, pairs, ".4f") for hit in hits)])
    return table(head, rows)


def percent(run: dict[str, Any], kind: dict[str, Any]) -> str:
    """The dedup rate of a run."""
    return f"{100 * run['dropped'] / kind['rows']:.1f} %"


def shingles() -> str:
    """The dedup rate by shingle."""
    wanted = {"threshold": DEFAULT["threshold"], "recall": DEFAULT["recall"]}
    found = {name: (kind, runs_of(kind, **wanted)) for name, kind in kinds().items()}
    head = ["text", *(f"`{run['shingle']}`" for run in next(iter(found.values()))[1])]
    rows = [[name, *(percent(run, kind) for run in runs)] for name, (kind, runs) in found.items()]
    return table(head, rows)


def thresholds() -> str:
    """The dedup rate by threshold."""
    wanted = {"shingle": DEFAULT["shingle"], "recall": DEFAULT["recall"]}
    found = {name: (kind, runs_of(kind, **wanted)) for name, kind in kinds().items()}
    head = ["text", *(f"{run['threshold']}" for run in next(iter(found.values()))[1])]
    rows = [[name, *(percent(run, kind) for run in runs)] for name, (kind, runs) in found.items()]
    return table(head, rows)


def components() -> str:
    """What is dropped with proof, and what components alone would drop."""
    head = ["text", "rows", "dropped", "clusters", "largest cluster", "largest component"]
    head += ["dropped, were components clusters"]
    rows = []
    for name, kind in kinds().items():
        (run,) = runs_of(kind, **DEFAULT)
        figures = ("dropped", "clusters", "largest_cluster", "largest_component")
        rows.append(
            [
                name,
                f"{kind['rows']:,}",
                *(f"{run[figure]:,}" for figure in figures),
                f"{run['dropped'] + run['unproven']:,}",
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
        "peak_own_bytes": "{:,.0f}",
    }
    units = {"peak_rss_bytes": 1e6, "peak_own_bytes": 1e6}
    return [forms[name].format(measured[name] / units.get(name, 1)) for name in names]


def formats() -> str:
    """Structured rows: reading and rendering alone, and whole runs."""
    (result,) = read("formats.json")
    files = {"messages": "`messages` in Parquet", "alpaca": "`alpaca` in JSON lines"}
    head = [
        "rows",
        "read and render, MB per CPU s",
        "whole run, MB per CPU s",
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
    head = ["", "wall s", "CPU s", "MB of text per CPU s", "peak MB"]
    names = {"apply": "`dedupe apply`", "pyarrow": "pyarrow copies every row"}
    shown = ("wall_seconds", "cpu_seconds", "mb_per_second_and_core", "peak_rss_bytes")
    return table(head, [[name, *cells(result[what], *shown)] for what, name in names.items()])


def audits() -> str:
    """`dedupe audit` of a sample."""
    (result,) = read("audit.json")
    head = ["rows", "text MB", "sample", "wall s", "CPU s", "peak MB", "missed rows, at most"]
    shown = cells(result, "wall_seconds", "cpu_seconds", "peak_rss_bytes")
    text = f"{result['text_bytes'] / 1e6:,.0f}"
    missed = f"{result['missed_rows']['share']:.3%}, {result['missed_rows']['high']:.3%}"
    return table(head, [[f"{result['rows']:,}", text, f"{result['sample']:,}", *shown, missed]])


def joins() -> str:
    """`--recall exact` beside bands, by the length of rows."""
    (result,) = read("recall-exact.json")
    head = ["corpus", "rows", "text MB", "bands: CPU s", "exact: CPU s", "ratio"]
    head += ["bands: peak MB", "exact: peak MB", "rows missed by bands"]
    rows = []
    for name, line in result["corpora"].items():
        bands, exact = line["bands"], line["exact"]
        rows.append(
            [
                f"rows of {name}" if name.endswith(" words") else name,
                f"{line['rows']:,}",
                f"{line['text_bytes'] / 1e6:,.0f}",
                *cells(bands, "cpu_seconds"),
                *cells(exact, "cpu_seconds"),
                f"{exact['cpu_seconds'] / bands['cpu_seconds']:.1f}",
                *cells(bands, "peak_rss_bytes"),
                *cells(exact, "peak_rss_bytes"),
                f"{line['missed_rows']['count']:,} of {line['missed_rows']['of']:,}",
            ]
        )
    return table(head, rows)


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
    head = ["documents", "text", "wall time, 2 cores", "MB of text per CPU second", "memory"]
    rows = [
        [
            f"{line['rows']:,}",
            f"{line['text_bytes'] / 1e9:.2f} GB",
            f"{line['wall_seconds']:.1f} s",
            f"{line['mb_per_second_and_core']:.0f}",
            f"{line['peak_rss_bytes'] / 1e9:.2f} GB",
        ]
        for line in sizes()[0]
        if line["rows"] >= 1_000_000
    ]
    return table(head, rows)


def percents(judged: dict[str, Any], *names: str) -> list[str]:
    """Shares as percentages; a dash where there was nothing to share, or nobody looked."""
    shares = [judged.get(name) for name in names]
    return ["–" if share is None else f"{100 * share:.1f}" for share in shares]


def peer_speed() -> str:
    """Time and memory of this project and its peers, and their ratios to this project."""
    head = ["tool", "settings", "wall s", "×", "CPU s", "×", "peak MB", "×", "rows kept", "runs"]
    made = []
    for result in read("peers-*.json"):
        size = f"{result['rows']:,} rows, {result['text_bytes'] / 1e6:,.0f} MB of text"
        ended = [line for line in result["tools"] if line["runs"]]
        ended.sort(key=lambda line: line["wall_seconds"])
        rows = []
        for line in ended:
            row = [line["name"], line["kind"]]
            for what, unit in (("wall_seconds", 1), ("cpu_seconds", 1), ("peak_pss_bytes", 1e6)):
                form = ",.0f" if unit > 1 else ".1f"
                row += [format(line[what] / unit, form), f"{line[f'ratio_{what}']:.1f}"]
            later = f", then {line['failure'].splitlines()[0]}" if line["failure"] else ""
            rows.append([*row, f"{line['kept']:,}", f"{line['runs']}{later}"])
        for line in result["tools"]:
            if not line["runs"]:
                failure = line["failure"].splitlines()[0]
                rows.append([line["name"], line["kind"], failure, *[""] * 6, "0"])
        made.append(f"**{size}.** {result['note']}\n\n{table(head, rows)}")
    return "\n\n".join(made)


def peer_million() -> str:
    """The largest comparison, as documented, beside what the same settings did to real rows.

    Those are the fewest rows whose pairs are known.
    """
    found = read("peers-*.json")
    judged = {
        (line["name"], line["kind"]): line["truth"]
        for result in reversed(found)
        for line in result["tools"]
        if line.get("truth")
    }
    head = ["tool, as documented", "wall s", "×", "CPU s", "GB"]
    head += ["true pairs resolved, %", "wrong drops, %"]
    rows = []
    lines = [line for line in found[-1]["tools"] if line["kind"] == "documented"]
    for line in sorted(lines, key=lambda one: one.get("wall_seconds", math.inf)):
        row = [line["name"], line["failure"], "", "", ""]
        if line["runs"]:
            row[1:] = [
                f"{line['wall_seconds']:.1f}",
                f"{line['ratio_wall_seconds']:.1f}",
                f"{line['cpu_seconds']:.1f}",
                f"{line['peak_pss_bytes'] / 1e9:.1f}",
            ]
        truth = judged.get((line["name"], line["kind"]), {})
        rows.append(row + percents(truth, "recall", "wrongly_dropped_share"))
    return table(head, rows)


def peer_truth() -> str:
    """Each tool against every true pair, fewest wrongly dropped rows first."""
    head = ["tool", "settings", "true pairs resolved, %", "of those at 0.80-0.85, %"]
    head += ["pairs with both rows kept", "dropped", "wrongly dropped", "of those dropped, %"]
    made = []
    for result in read("peers-*.json"):
        judged = [line for line in result["tools"] if line.get("truth")]
        judged.sort(key=lambda line: line["truth"]["wrongly_dropped"])
        rows = []
        for line in judged:
            truth = line["truth"]
            rows.append(
                [line["name"], line["kind"], *percents(truth, "recall", "hard_recall")]
                + [f"{truth[name]:,}" for name in ("both_kept", "dropped", "wrongly_dropped")]
                + percents(truth, "wrongly_dropped_share")
            )
        if rows:
            truth = judged[0]["truth"]
            made.append(
                f"{result['rows']:,} rows, {truth['pairs']:,} true pairs, "
                f"{truth['hard_pairs']:,} of them at 0.80 to 0.85\n\n{table(head, rows)}"
            )
    return "\n\n".join(made)


PARTS = (
    *(audits, joins, steps),
    *(headline, throughput, stages, exchange, formats, apply, ray, shards, requests, kernels),
    *(adversaries, recall, recalls, shingles, thresholds, components),
    *(peer_speed, peer_truth, peer_million),
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
