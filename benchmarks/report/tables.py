"""Write the tables of the pages from the result files, between their markers.

    python -m benchmarks.report.tables

`tables.toml` has the columns of most; a function below makes the lines of those whose result files
do not have them as they are shown, or the whole table where columns are sizes or settings.
"""

import math
import tomllib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, comparisons, read_result
from benchmarks.report import scaling

WITH_TABLES = "benchmarks peers how-to/choose-settings explanation/join explanation/scaling"
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in WITH_TABLES.split())]
SPECS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
DEFAULT = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}
Line = dict[str, Any]


def markdown(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table: the first column to the left, and those whose head begins with <."""
    first, *others = heads
    left = [not first.startswith(">"), *(head.startswith("<") for head in others)]
    aligned = ["---" if is_left else "---:" for is_left in left]
    lines = [[head.lstrip("<>") for head in (first, *others)], aligned, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def share(part: float, whole: float, form: str = ".5f") -> str:
    """A share of what there is, or a dash where there is nothing."""
    return format(part / whole, form) if whole else "–"


SAYS = {  # what cells may call
    "share": share,
    "percent": lambda one: "–" if one is None else f"{100 * one:.1f}",
    "millions": lambda count: "" if count is None else f"{count / 1e6:,.1f} M",
    "duration": scaling.duration,
    "largest": scaling.largest,
}


def cell(form: str, line: Line) -> str:
    """An f-string of what a line has; nothing where it has not."""
    try:
        return str(eval(f"f{form!r}", SAYS | line))
    except NameError:
        return ""


def specified(name: str) -> str:
    """A table of tables.toml, with what is said of it; of comparisons with peers one for each."""
    spec, parts = SPECS[name], []
    file = spec.get("result")
    for result in comparisons() if file == "peers" else [read_result(file) if file else {}]:
        found = eval(spec["lines"], globals() | result, {"result": result})
        named = found.items() if isinstance(found, dict) else enumerate(found)
        lines = [{"name": name, **line, "result": result} for name, line in named]
        rows = [[cell(form, line) for _, form in spec["columns"]] for line in lines]
        if rows:
            above, below = (
                cell(spec.get(side, ""), result | lines[0]) for side in ("above", "below")
            )
            made = markdown((head for head, _ in spec["columns"]), rows)
            parts += [part for part in (above, made, below) if part]
    return "\n\n".join(parts)


def runs_of(kind: Line, **given: Any) -> list[Line]:
    """The runs on a kind of text with these settings; `planned` ones unless that is given."""
    wanted = {"planned": True, **given}
    return [r for r in kind["runs"] if all(r.get(name) == wanted[name] for name in wanted)]


def kinds() -> dict[str, Line]:
    """What was measured on each kind of text."""
    return read_result("quality")["kinds"]


def default_run() -> list[Line]:
    """The run on each kind of text with the default settings."""
    runs = ((name, kind, *runs_of(kind, **DEFAULT)) for name, kind in kinds().items())
    return [{**run, "name": name, "of": kind} for name, kind, run in runs]


def by_speed(result: Line, kind: str = "") -> list[Line]:
    """The tools of a comparison, the fastest first; instead of seconds why there are none."""
    lines = [line for line in result["tools"] if kind in ("", line["kind"])]
    made = []
    for line in sorted(lines, key=lambda one: one.get("wall_seconds", math.inf)):
        failure = (line["failure"] or "").partition("\n")[0]
        wall = f"{line['wall_seconds']:.1f}" if line["runs"] else failure
        later = f", then {failure}" if failure and line["runs"] else ""
        made.append({**line, "wall": wall, "later": later})
    return made


def by_truth(result: Line) -> list[Line]:
    """The tools of a comparison that were judged, fewest wrongly dropped rows first."""
    lines = [{**line, **line["truth"]} for line in result["tools"] if line.get("truth")]
    return sorted(lines, key=lambda line: line["wrongly_dropped"])


def million() -> list[Line]:
    """The largest comparison, beside what the same settings did to the fewest rows judged."""
    found = comparisons()
    judged = {line["name"]: line for result in found[::-1] for line in by_truth(result)
              if line["kind"] == "documented"}  # fmt: skip
    lines = by_speed(found[-1], "documented")
    return [{**line, "truth": judged.get(line["name"], {})} for line in lines]


def by_size(cells: Callable[[str, Line], str], what: str, more: str, head: str) -> str:
    """A table of stages, and something more, with a column for each size of the whole job."""
    lines = read_result("scale")["lines"]
    rows = [[name, *(cells(name, line) for line in lines)] for name in (*lines[-1][what], more)]
    return markdown(["stage", *(head.format(line["rows"]) for line in lines)], rows)


def stages() -> str:
    """Where the time goes: seconds of wall and CPU for each stage and size."""

    def seconds(name: str, line: Line) -> str:
        both = []
        for what in ("wall_seconds", "cpu_seconds"):
            of = {stage: found[what] for stage, found in line["stages"].items()}
            both.append(of.get(name, line[what] - sum(of.values())))
        return f"{both[0]:.2f} / {both[1]:.2f}"

    return by_size(seconds, "stages", "start, planning, publishing", "{:,} rows: wall / CPU s")


def exchange() -> str:
    """Bytes that stages leave in the work directory, per row."""
    what = "exchange_bytes_per_row"
    return by_size(
        lambda name, line: f"{line[what].get(name, sum(line[what].values())):.0f}",
        *(what, "in all", "{:,} rows"),
    )


def recalls() -> str:
    """Of pairs just above the threshold, the share found by each setting."""
    usual = {"shingle": "word:5", "threshold": DEFAULT["threshold"]}
    first = next(iter(kinds().values()))
    settings = {f"recall {r['recall']}": {"recall": r["recall"]} for r in runs_of(first, **usual)}
    for run in runs_of(first, **usual, planned=False):
        bands = {"bands": run["bands"], "rows": run["rows"], "planned": False}
        settings[f"{run['bands']} x {run['rows']}"] = bands
    rows = []
    for name, kind in kinds().items():
        found = [runs_of(kind, shingle="word:5", **given) for given in settings.values()]
        pairs = sum(run["near_pairs"] for run in found[0])
        hits = [pairs - sum(run["near_missed"] for run in runs) for runs in found]
        rows.append([name, f"{pairs:,}", *(share(hit, pairs, ".4f") for hit in hits)])
    return markdown(["text", "pairs", *settings], rows)


def rates(varied: str, head: str) -> str:
    """The dedup rate of each kind of text, by one setting."""
    fixed = {name: value for name, value in DEFAULT.items() if name != varied}
    rows = []
    for name, kind in kinds().items():
        runs = runs_of(kind, **fixed)
        rows.append([name, *(f"{100 * run['dropped'] / kind['rows']:.1f} %" for run in runs)])
    return markdown(["text", *(head.format(run[varied]) for run in runs)], rows)


def requests() -> str:
    """Requests to a store by stage: reading, looking, writing."""
    runs = read_result("store-requests")["results"]

    def three(counts: dict[str, int]) -> list[float]:
        get, look = counts.get("GET", 0), counts.get("LIST", 0) + counts.get("HEAD", 0)
        return [get, look, sum(counts.values()) - get - look]

    rows, per_shard = [], ["a run, per shard"]
    for name in runs[-1]["stages"]:
        found = [three(run["stages"][name]) for run in runs]
        rows.append([name, *(" / ".join(f"{one:,}" for one in counts) for counts in found)])
    for run in runs:
        of_run = [three(counts) for name, counts in run["stages"].items() if name != "apply"]
        sums = [sum(column) / run["shards"] for column in zip(*of_run, strict=True)]
        per_shard.append(" / ".join(f"{one:.1f}" for one in sums))
    heads = (f"{run['shards']:,} shards: GET / LIST, HEAD / PUT …" for run in runs)
    return markdown(["stage", *heads], [*rows, per_shard])


# What writes the part of a page between the markers of that name.
PARTS: dict[str, Callable[[], str]] = {
    **{name: partial(specified, name) for name in SPECS},
    **{make.__name__: make for make in (stages, exchange, recalls, requests)},
    "shingles": partial(rates, "shingle", "`{}`"),
    "thresholds": partial(rates, "threshold", "{}"),
}


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
