"""Write the tables of the pages from the result files, between their markers.

    python -m benchmarks.report.tables

A table is a head, and rows of cells; most cells are figures of a result by name, with a unit and a
format (`FORMS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from benchmarks.common import ROOT, comparisons, read_result
from benchmarks.studies import scaling

WITH_TABLES = "benchmarks peers how-to/choose-settings explanation/join explanation/scaling"
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in WITH_TABLES.split())]
DEFAULT = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}
FORMS = {
    "MB": "text_bytes peak_rss_bytes peak_own_bytes peak_pss_bytes peak_disk_bytes "
    "driver_peak_memory",
    ".0f": "mb_per_second_wall mb_per_second_and_core exchange_bytes_per_row",
    ".1f": "wall_seconds cpu_seconds process_seconds run_seconds driver_cpu_seconds "
    "worker_cpu_seconds microseconds_per_row_wall peer_ns ratio",
    ".2f": "ns",
}
"""Formats of figures by name; others are counts or text."""
FORM_OF = {name: form for form, names in FORMS.items() for name in names.split()}

Cells = list[str]


def cells(found: dict[str, Any], names: str) -> Cells:
    """Figures of a result, each as all tables show it; `one.other` is a figure of a part."""
    made = []
    for path in names.split():
        value: Any = found
        for name in path.split("."):
            value = value[name]
        form = FORM_OF.get(name, ",")
        if form == "MB":
            value, form = value / 1e6, ",.0f"
        made.append(value if isinstance(value, str) else format(value, form))
    return made


def table(head: str, rows: Iterable[Cells], *more: str) -> str:
    """A Markdown table, the first column to the left; columns of `head` are apart by a bar."""
    columns = [*head.split("|"), *more]
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sizes() -> tuple[list[dict[str, Any]], list[str]]:
    """The whole job at each size, and what heads its column."""
    lines = read_result("scale")["lines"]
    return lines, [f"{line['rows']:,} rows" for line in lines]


def throughput() -> str:
    """The whole job, a line for each size."""
    shown = (
        "rows text_bytes wall_seconds cpu_seconds mb_per_second_wall mb_per_second_and_core "
        "microseconds_per_row_wall peak_rss_bytes peak_disk_bytes"
    )
    head = "rows|text MB|wall s|CPU s|MB/s|MB per CPU s|µs per row|peak memory, MB|peak disk, MB"
    return table(head, [cells(line, shown) for line in sizes()[0]])


def stages() -> str:
    """Where the time goes: seconds of wall and CPU for each stage and size."""
    lines, names = sizes()

    def seconds(found: Iterable[tuple[float, float]]) -> Cells:
        return [f"{wall:.2f} / {cpu:.2f}" for wall, cpu in found]

    def both(found: dict[str, float]) -> tuple[float, float]:
        return found["wall_seconds"], found["cpu_seconds"]

    rows = [
        [stage, *seconds(both(line["stages"][stage]) for line in lines)]
        for stage in lines[-1]["stages"]
    ]
    rest = []
    for line in lines:
        wall, cpu = map(sum, zip(*map(both, line["stages"].values()), strict=True))
        rest.append((line["wall_seconds"] - wall, line["cpu_seconds"] - cpu))
    rows.append(["start, planning, publishing", *seconds(rest)])
    return table("stage", rows, *(f"{name}: wall / CPU s" for name in names))


def exchange() -> str:
    """Bytes that stages leave in the work directory, per row."""
    lines, names = sizes()
    left = [line["exchange_bytes_per_row"] for line in lines]
    rows = [[stage, *(f"{each[stage]:.0f}" for each in left)] for stage in left[-1]]
    return table(
        "stage", [*rows, ["in all", *(f"{sum(each.values()):.0f}" for each in left)]], *names
    )


def headline() -> str:
    """The whole job in a few figures."""
    head = "documents|text|wall time, 2 cores|MB of text per CPU second|memory"
    rows = []
    for line in sizes()[0]:
        if line["rows"] >= 1_000_000:
            rows_, wall, rate = cells(line, "rows wall_seconds mb_per_second_and_core")
            text, memory = (line[name] / 1e9 for name in ("text_bytes", "peak_rss_bytes"))
            rows.append([rows_, f"{text:.2f} GB", f"{wall} s", rate, f"{memory:.2f} GB"])
    return table(head, rows)


def adversaries() -> str:
    """Corpora that break naive methods, beside ordinary text."""
    result = read_result("adversaries")
    head = "corpus|µs per row|times ordinary text|CPU s|memory, MB|with mapped files, MB|kept"
    rows = []
    for line in [*result["ordinary"].values(), *result["lines"].values()]:
        kept = line["rows"] - line["reasons"]["exact"] - line["reasons"]["near"]
        ratio = f"{line['ratio']:.2f}" if "ratio" in line else ""
        taken = cells(line, "cpu_seconds peak_own_bytes peak_rss_bytes")
        rows.append([*cells(line, "what microseconds_per_row_wall"), ratio, *taken, f"{kept:,}"])
    return table(head, rows)


def kernels() -> str:
    """Each kernel beside its simplest form."""
    found = read_result("kernels")["kernels"]
    rows = [[name, *cells(one, "ns unit peer peer_ns ratio")] for name, one in found.items()]
    return table("kernel|ns|per|simplest form|its ns|ratio", rows)


def steps() -> str:
    """What a byte of text costs in each step of sign and shingle."""
    result = read_result("steps")
    costs = {
        "copy the text in memory, to compare": result["copy"],
        "decode it from Parquet (zstd)": result["decode"],
        **result["steps"],
        "**sign: the seven steps before, and their arrays**": result["sign"],
        "sort band keys into partitions": result["partition"],
        "drop shingles that occur twice (rows in components)": result["distinct"],
    }
    rows = [[name, f"{cost:.2f}", f"{1e3 / cost:,.0f}"] for name, cost in costs.items()]
    return table("step|ns per byte|MB/s", rows)


def runs_of(kind: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
    """The runs on a kind of text with these settings; `planned` ones unless that is given."""
    wanted = {"planned": True, **given}
    return [r for r in kind["runs"] if all(r.get(name) == wanted[name] for name in wanted)]


def share(part: int, whole: int, form: str = ".5f") -> str:
    """A share of what there is, or a dash where there is nothing."""
    return format(part / whole, form) if whole else "–"


def recall() -> str:
    """Recall and precision of the default settings on each kind of text."""
    head = "text|rows|characters per row|true pairs|recall|at 0.80-0.85|survivors|precision"
    rows = []
    for name, kind in read_result("quality")["kinds"].items():
        (run,) = runs_of(kind, **DEFAULT)
        found = [
            share(run["pairs"] - run["missed"], run["pairs"]),
            share(run["near_pairs"] - run["near_missed"], run["near_pairs"]),
            f"{run['survivors']}",
            "–" if run["precision"] is None else f"{run['precision']:.5f}",
        ]
        size = [f"{kind['rows']:,}", f"{kind['characters_per_row']:,.0f}", f"{run['pairs']:,}"]
        rows.append([name, *size, *found])
    return table(head, rows)


def recalls() -> str:
    """Of pairs just above the threshold, the share found by each setting."""
    kinds = read_result("quality")["kinds"]
    usual = {"shingle": "word:5", "threshold": DEFAULT["threshold"]}
    first = next(iter(kinds.values()))
    settings = {f"recall {r['recall']}": {"recall": r["recall"]} for r in runs_of(first, **usual)}
    for run in runs_of(first, **usual, planned=False):
        bands = {"bands": run["bands"], "rows": run["rows"], "planned": False}
        settings[f"{run['bands']} x {run['rows']}"] = bands
    rows = []
    for name, kind in kinds.items():
        found = [runs_of(kind, shingle="word:5", **given) for given in settings.values()]
        pairs = sum(run["near_pairs"] for run in found[0])
        hits = [pairs - sum(run["near_missed"] for run in runs) for runs in found]
        rows.append([name, f"{pairs:,}", *(share(hit, pairs, ".4f") for hit in hits)])
    return table("text|pairs", rows, *settings)


def rates(varied: str, head: str) -> str:
    """The dedup rate of each kind of text, by one setting."""
    fixed = {name: value for name, value in DEFAULT.items() if name != varied}
    kinds = read_result("quality")["kinds"]
    rows = []
    for name, kind in kinds.items():
        dropped = [100 * run["dropped"] / kind["rows"] for run in runs_of(kind, **fixed)]
        rows.append([name, *(f"{percent:.1f} %" for percent in dropped)])
    varieties = runs_of(next(iter(kinds.values())), **fixed)
    return table("text", rows, *(head.format(run[varied]) for run in varieties))


def shingles() -> str:
    """The dedup rate by shingle."""
    return rates("shingle", "`{}`")


def thresholds() -> str:
    """The dedup rate by threshold."""
    return rates("threshold", "{}")


def components() -> str:
    """What is dropped with proof, and what components alone would drop."""
    head = "text|rows|dropped|clusters|largest cluster|largest component"
    rows = []
    for name, kind in read_result("quality")["kinds"].items():
        (run,) = runs_of(kind, **DEFAULT)
        figures = cells(run, "dropped clusters largest_cluster largest_component")
        without = f"{run['dropped'] + run['unproven']:,}"
        rows.append([name, f"{kind['rows']:,}", *figures, without])
    return table(head, rows, "dropped, were components clusters")


def ray() -> str:
    """Both engines, in turn on one machine."""
    result = read_result("ray-speed")
    rows = [
        [
            engine,
            *cells(result[engine], "process_seconds run_seconds"),
            *(f"{seconds:.2f}" for seconds in result[engine]["stages"].values()),
        ]
        for engine in ("local", "ray")
    ]
    return (
        f"{table('engine|process s|run s', rows, *result['ray']['stages'])}\n\n"
        f"Ray takes **{result['ratio']:.2f}** times as long for the run, "
        f"{result['process_ratio']:.2f} times with connecting, starting workers and ending them "
        f"(median of {len(result['ray']['all_run_seconds'])} pairs). Starting Ray itself took "
        f"{result['ray_start_seconds']:.1f} s."
    )


def shards() -> str:
    """What the driver does as shards grow in number."""
    head = "shards|rows|tasks|process s|driver CPU s|driver CPU, ms per shard|driver MB"
    rows = [
        [
            *cells(line, "shards rows tasks process_seconds driver_cpu_seconds"),
            f"{line['driver_cpu_seconds'] / line['shards'] * 1e3:.2f}",
            *cells(line, "driver_peak_memory worker_cpu_seconds exchange_bytes_per_row"),
        ]
        for line in read_result("ray-shards")["lines"]
    ]
    return table(head, rows, "workers' CPU s", "bytes per row exchanged")


def formats() -> str:
    """Structured rows: reading and rendering alone, and whole runs."""
    result = read_result("formats")
    files = {"messages": "`messages` in Parquet", "alpaca": "`alpaca` in JSON lines"}
    head = "rows|read and render, MB per CPU s|whole run, MB per CPU s|wall s|peak MB"
    rate, whole = "mb_per_second_and_core", "mb_per_second_and_core wall_seconds peak_rss_bytes"
    rows = [
        [file, *cells(result["render"][form], rate), *cells(result["whole"][form], whole)]
        for form, file in files.items()
    ]
    return table(head, rows)


def apply() -> str:
    """`dedupe apply` and pyarrow alone."""
    result = read_result("apply")
    names = {"apply": "`dedupe apply`", "pyarrow": "pyarrow copies every row"}
    shown = "wall_seconds cpu_seconds mb_per_second_and_core peak_rss_bytes"
    rows = [[name, *cells(result[what], shown)] for what, name in names.items()]
    return table("|wall s|CPU s|MB of text per CPU s|peak MB", rows)


def audits() -> str:
    """`dedupe audit` of a sample."""
    result = read_result("audit")
    missed = "{share:.3%}, {high:.3%}".format(**result["missed_rows"])
    shown = "rows text_bytes sample wall_seconds cpu_seconds peak_rss_bytes"
    head = "rows|text MB|sample|wall s|CPU s|peak MB|missed rows, at most"
    return table(head, [[*cells(result, shown), missed]])


def joins() -> str:
    """`--recall exact` beside bands, by the length of rows."""
    head = "corpus|rows|text MB|bands: CPU s|exact: CPU s|ratio|bands: peak MB|exact: peak MB"
    rows = []
    for name, line in read_result("recall-exact")["corpora"].items():
        rows.append(
            [
                f"rows of {name}" if name.endswith(" words") else name,
                *cells(line, "rows text_bytes bands.cpu_seconds exact.cpu_seconds"),
                f"{line['exact']['cpu_seconds'] / line['bands']['cpu_seconds']:.1f}",
                *cells(line, "bands.peak_rss_bytes exact.peak_rss_bytes"),
                "{count:,} of {of:,}".format(**line["missed_rows"]),
            ]
        )
    return table(head, rows, "rows missed by bands")


def requests() -> str:
    """Requests to a store by stage: reading, looking, writing."""
    runs = read_result("store-requests")["results"]

    def three(counts: dict[str, int]) -> list[float]:
        get, look = counts.get("GET", 0), counts.get("LIST", 0) + counts.get("HEAD", 0)
        return [get, look, sum(counts.values()) - get - look]

    def line(name: str, of_runs: list[list[float]], form: str) -> Cells:
        return [name, *(" / ".join(format(one, form) for one in counts) for counts in of_runs)]

    rows = [
        line(name, [three(run["stages"][name]) for run in runs], ",") for name in runs[-1]["stages"]
    ]
    per_shard = []
    for run in runs:
        of_run = [three(counts) for name, counts in run["stages"].items() if name != "apply"]
        per_shard.append([sum(column) / run["shards"] for column in zip(*of_run, strict=True)])
    rows.append(line("a run, per shard", per_shard, ".1f"))
    heads = (f"{run['shards']:,} shards: GET / LIST, HEAD / PUT …" for run in runs)
    return table("stage", rows, *heads)


def percents(judged: dict[str, Any], *names: str) -> Cells:
    """Shares as percentages; a dash where there was nothing to share, or nobody looked."""
    shares = [judged.get(name) for name in names]
    return ["–" if one is None else f"{100 * one:.1f}" for one in shares]


def peer_speed() -> str:
    """Time and memory of this project and its peers, and their ratios to this project."""
    made = []
    measures = ("wall_seconds", "cpu_seconds", "peak_pss_bytes")
    for result in comparisons():
        rows = []
        for line in sorted(result["tools"], key=lambda one: one.get("wall_seconds", math.inf)):
            row = [line["name"], line["kind"]]
            failure = (line["failure"] or "").partition("\n")[0]
            if not line["runs"]:
                rows.append([*row, failure, *[""] * 6, "0"])
                continue
            taken = ((cells(line, name)[0], f"{line[f'ratio_{name}']:.1f}") for name in measures)
            later = f", then {failure}" if failure else ""
            kept = f"{line['kept']:,}"
            rows.append([*row, *chain.from_iterable(taken), kept, f"{line['runs']}{later}"])
        size = f"{result['rows']:,} rows, {result['text_bytes'] / 1e6:,.0f} MB of text"
        head = "tool|settings|wall s|×|CPU s|×|peak MB|×|rows kept|runs"
        made.append(f"**{size}.** {result['note']}\n\n{table(head, rows)}")
    return "\n\n".join(made)


def peer_million() -> str:
    """The largest comparison, as documented, beside what the same settings did to real rows.

    Those are the fewest rows whose pairs are known.
    """
    found = comparisons()
    judged = {
        (line["name"], line["kind"]): line["truth"]
        for result in reversed(found)
        for line in result["tools"]
        if line.get("truth")
    }
    rows = []
    lines = [line for line in found[-1]["tools"] if line["kind"] == "documented"]
    for line in sorted(lines, key=lambda one: one.get("wall_seconds", math.inf)):
        row = [line["failure"], "", "", ""]
        if line["runs"]:
            wall, cpu = cells(line, "wall_seconds cpu_seconds")
            ratio, memory = line["ratio_wall_seconds"], line["peak_pss_bytes"] / 1e9
            row = [wall, f"{ratio:.1f}", cpu, f"{memory:.1f}"]
        truth = judged.get((line["name"], line["kind"]), {})
        rows.append([line["name"], *row, *percents(truth, "recall", "wrongly_dropped_share")])
    head = "tool, as documented|wall s|×|CPU s|GB|true pairs resolved, %|wrong drops, %"
    return table(head, rows)


def peer_truth() -> str:
    """Each tool against every true pair, fewest wrongly dropped rows first."""
    head = "tool|settings|true pairs resolved, %|of those at 0.80-0.85, %|pairs with both rows kept"
    made = []
    for result in comparisons():
        judged = [line for line in result["tools"] if line.get("truth")]
        rows = []
        for line in sorted(judged, key=lambda one: one["truth"]["wrongly_dropped"]):
            truth = line["truth"]
            found = percents(truth, "recall", "hard_recall")
            found += cells(truth, "both_kept dropped wrongly_dropped")
            share_ = percents(truth, "wrongly_dropped_share")
            rows.append([line["name"], line["kind"], *found, *share_])
        if rows:
            shown = table(head, rows, "dropped", "wrongly dropped", "of those dropped, %")
            pairs, hard = cells(judged[0]["truth"], "pairs hard_pairs")
            size = f"{result['rows']:,} rows, {pairs} true pairs, {hard} of them at 0.80 to 0.85"
            made.append(f"{size}\n\n{shown}")
    return "\n\n".join(made)


PARTS: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        *(audits, joins, steps),
        *(headline, throughput, stages, exchange, formats, apply, ray, shards, requests, kernels),
        *(adversaries, recall, recalls, shingles, thresholds, components),
        *(peer_speed, peer_truth, peer_million),
        *(scaling.overview, scaling.cluster_stages, scaling.constants),
    )
}
"""What writes the part of a page between the markers of that name."""


def main() -> None:
    """Rewrite every marked part of the pages."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        for name, make in PARTS.items():
            before, marker, rest = page.partition(f"<!-- {name} -->\n")
            if marker:
                after = f"<!-- /{name} -->"
                page = f"{before}{marker}{make()}\n{after}{rest.partition(after)[2]}"
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
