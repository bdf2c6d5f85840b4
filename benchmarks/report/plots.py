"""Draw the plots of the pages from the result files, each as PNG and SVG in docs/images.

    python -m benchmarks.report.plots

The same result files give the same SVG byte for byte.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.common import ROOT, comparisons, read_result
from benchmarks.report.tables import DEFAULT, TAKEN, by_speed, kinds, near, older, runs_of

IMAGES = ROOT / "docs" / "images"
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
MARKS = ("o", "s", "^", "D", "v")
LIMIT: Any = {"color": "tab:red", "linestyle": "--", "linewidth": 1}


def scale() -> Figure:
    """Time, memory and disk against rows, where they were measured with this algorithm."""
    lines = [line for line in read_result("scale")["lines"] if not older(line)]
    rows = [line["rows"] for line in lines]
    figure, (time, memory, disk) = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
    series = {what: [line[f"{what.lower()}_seconds"] for line in lines] for what in ("CPU", "wall")}
    stages = [line["stages"].values() for line in lines]
    series["wall, stages alone"] = [sum(one["wall_seconds"] for one in each) for each in stages]
    for (label, seconds), colour, mark in zip(series.items(), COLOURS, MARKS, strict=False):
        micro = [second / count * 1e6 for second, count in zip(seconds, rows, strict=True)]
        time.plot(rows, micro, color=colour, marker=mark, label=label)
    time.set(title="time", ylabel="µs per row", yscale="log")
    ticks = (5, 10, 20, 50, 100, 200, 500)
    time.set_yticks(ticks, [str(tick) for tick in ticks])
    time.minorticks_off()
    time.legend()

    given = lines[-1]["memory_bytes"] / 1e6
    memory.plot(rows, [line["peak_rss_bytes"] / 1e6 for line in lines], marker="o")
    memory.axhline(given, **LIMIT)
    place = {"xytext": (0, -11), "textcoords": "offset points", "color": "tab:red"}
    memory.annotate("--memory", (rows[0], given), **place)
    memory.set(title="peak memory", ylabel="MB", ylim=(0, None))

    left = [line["exchange_bytes_per_row"] for line in lines]
    large = [stage for stage in left[-1] if any(each[stage] >= 20 for each in left)]
    parts = [[each[stage] for each in left] for stage in large]
    parts.append([sum(v for stage, v in each.items() if stage not in large) for each in left])
    disk.stackplot(rows, parts, labels=[*large, "other stages"], alpha=0.8, colors=COLOURS)
    disk.set(title="left in the work directory", ylabel="bytes per row")
    disk.set_ylim(0, 1.35 * max(map(sum, zip(*parts, strict=True))))
    handles, labels = disk.get_legend_handles_labels()
    disk.legend(handles[::-1], labels[::-1], loc="upper left", ncols=2)
    for axes in (time, memory, disk):
        axes.set(xlabel="rows", xscale="log")
    return figure


def kinds_of_text(axes: Axes, names: list[str]) -> None:
    """A line for each kind of text, the first at the top."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def points(axes: Axes, series: dict[str, list[float]], apart: float = 0, **look: Any) -> None:
    """A point of each series on each line, some `apart`."""
    for number, (label, values) in enumerate(series.items()):
        shift = apart * (number - (len(series) - 1) / 2)
        look |= {"color": COLOURS[number], "marker": MARKS[number], "s": 28, "alpha": 0.85}
        places = [place + shift for place in range(len(values))]
        axes.scatter(values, places, label=label, zorder=3, **look)


def ticks_of(axes: Axes, ticks: tuple[float, ...]) -> None:
    """Ticks at these places alone."""
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def recall() -> Figure:
    """What each setting misses of the pairs just above the threshold."""
    first = next(iter(kinds().values()))
    asked = runs_of(first, shingle=DEFAULT["shingle"], threshold=DEFAULT["threshold"])
    counts = {name: [near(kind, run) for run in asked] for name, kind in kinds().items()}
    pairs = {name: found[0][0] for name, found in counts.items() if found[0][0]}
    series = {
        f"--recall {run['recall']}": [100 * (of - counts[n][k][1]) / of for n, of in pairs.items()]
        for k, run in enumerate(asked)
    }
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    points(axes, series, apart=0.18, clip_on=False)
    kinds_of_text(axes, [f"{name} ({of:,})" for name, of in pairs.items()])
    axes.set_xlim(0, None)
    axes.set(
        xlabel="pairs missed, % of those up to 0.05 above the threshold (their number in brackets)",
        title="word:5, thresholds 0.7, 0.8 and 0.9 together",
    )
    figure.legend(loc="outside right upper")
    return figure


def rates(varied: str, title: str) -> Figure:
    """The dedup rate of each kind of text as one setting varies; none where nothing is dropped."""
    fixed = {name: value for name, value in DEFAULT.items() if name != varied}
    shares = {
        name: [100 * run["dropped"] / kind["rows"] for run in runs_of(kind, **fixed)]
        for name, kind in kinds().items()
    }
    names = [name for name in shares if any(shares[name])]
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for place, name in enumerate(names):
        some = [share for share in shares[name] if share]
        axes.plot([min(some), max(some)], [place, place], color="lightgrey", zorder=1)
    settings = [f"{run[varied]}" for run in runs_of(kinds()[names[0]], **fixed)]
    series = zip(*([share or math.nan for share in shares[name]] for name in names), strict=True)
    points(axes, dict(zip(settings, series, strict=True)))
    kinds_of_text(axes, names)
    axes.set(xlabel="rows dropped, %", xscale="log", title=title)
    limits = axes.get_xlim()
    ticks_of(axes, (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50))
    axes.set_xlim(*limits)
    figure.legend(title=varied, loc="outside right upper")
    return figure


def components() -> Figure:
    """Rows dropped with proof, beside those that components would drop."""
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    found = {name: (runs_of(kind, **DEFAULT)[0], kind) for name, kind in kinds().items()}
    dropped, rest = (
        [100 * run[what] / kind["rows"] for run, kind in found.values()]
        for what in ("dropped", "unproven")
    )
    proven = "dropped: a kept row has Jaccard 0.8 or more"
    besides = "dropped besides, were every component of buckets a cluster"
    places = range(len(found))
    axes.barh(places, dropped, color="tab:blue", label=proven)
    axes.barh(places, rest, left=dropped, color="tab:red", alpha=0.35, label=besides)
    kinds_of_text(axes, list(found))
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="% of rows", xlim=(0, None))
    figure.legend(loc="outside upper center")
    return figure


def adversaries() -> Figure:
    """Time per row and memory of corpora that break naive methods."""
    result = read_result("adversaries")
    lines = list(result["lines"].values())
    memory, places = lines[0]["memory_bytes"] / 1e9, range(len(lines))
    figure, (time, peak) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharey=True)
    time.barh(places, [line["ratio"] for line in lines])
    time.axvline(1, color="black", linewidth=1)
    time.axvline(3, **LIMIT)
    time.set(xlabel="time per row, times that of ordinary text", xlim=(0, None))
    mapped, alone = (
        [line[f"peak_{what}_bytes"] / 1e9 for line in lines] for what in ("rss", "own")
    )
    peak.barh(places, mapped, color="tab:blue", alpha=0.35, label="with pages of mapped files")
    peak.barh(places, alone, color="tab:blue", label="of the process alone")
    figure.legend(loc="outside lower right", ncols=2)
    peak.axvline(memory, **LIMIT)
    peak.set(xlabel=f"peak memory, GB (--memory {memory:g}GB)", xlim=(0, None))
    kinds_of_text(time, [line["what"] for line in lines])
    for axes in (time, peak):
        axes.grid(visible=False, axis="y")
    fields = result["ordinary"]["fields"]["rows"]
    figure.suptitle(f"{result['rows']:,} rows; with prompts and answers {fields:,}", fontsize=10)
    return figure


def numbered(found: list[dict[str, Any]]) -> dict[str, tuple[int, Any]]:
    """A number and a colour for each tool, ours 0 and black, the same in both plots."""
    names = {line["name"]: None for result in found for line in result["tools"]}
    tints = plt.get_cmap("tab20").colors
    in_order = enumerate(sorted(names, key=lambda name: name != "dedupe"))
    return {name: (k, tints[(k - 1) % len(tints)] if k else "black") for k, name in in_order}


def peers_speed() -> Figure:
    """Wall time beside ours in the same session, a line for each tool as documented."""
    found = comparisons()
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    lines = [(one["rows"], line) for one in found for line in by_speed(one, "documented")]
    lines = [(rows, line) for rows, line in lines if line["runs"]]
    for name, (number, colour) in numbered(found).items():
        times = [(rows, line["times"][TAKEN[0]]) for rows, line in lines if line["name"] == name]
        look = {"linewidth": 1.2, "zorder": 2} if number else {"linewidth": 2.5, "zorder": 3}
        look |= {"marker": "o", "markersize": 4, "color": colour, "label": name}
        axes.plot(*zip(*times, strict=True), **look)
    axes.set(xlabel="rows (20,000 are real ones, more are made)", xscale="log")
    axes.set(ylabel="wall time, times that of dedupe", yscale="log")
    handles, labels = axes.get_legend_handles_labels()
    slowest_last = sorted(zip(handles, labels, strict=True), key=lambda one: -one[0].get_ydata()[0])
    figure.legend(*zip(*slowest_last, strict=True), loc="outside right upper")
    return figure


def peers_truth() -> Figure:
    """True pairs left standing against the share of dropped rows that have no kept partner.

    Of the fewest rows that were judged, which are real ones.
    """
    found = comparisons()
    numbers = numbered(found)
    judged = next(one for one in found if any(line.get("truth") for line in one["tools"]))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    shown = set()
    kinds = ("documented", "matched")
    lines = [line for line in judged["tools"] if line.get("truth") and line["kind"] in kinds]
    for line in sorted(lines, key=lambda line: kinds.index(line["kind"])):
        recall, wrong = line["truth"]["recall"], line["truth"]["wrongly_dropped_share"]
        if recall is None or wrong is None:
            continue
        number, tint = numbers[line["name"]]
        place, look = (100 * (1 - recall), 100 * wrong), {"zorder": 100 - number}
        fill = tint if line["kind"] == "documented" else "white"
        axes.scatter(*place, s=110, fc=fill, ec=tint, linewidth=1.5, clip_on=False, **look)
        look |= {"ha": "center", "va": "center", "fontsize": 6.5, "annotation_clip": False}
        axes.annotate(str(number), place, color="black" if number else "white", **look)
        shown.add(line["name"])
    axes.set_xscale("symlog", linthresh=0.1, linscale=0.5)  # linear near 0, so that it has a zero
    ticks_of(axes, (0, 0.1, 1, 10, 100))
    axes.set(
        xlabel="true pairs with both rows kept, % (left and low is good)",
        ylabel="dropped rows with no kept row at Jaccard 0.8 or more, %",
        title=f"{judged['rows']:,} rows; filled: as documented, hollow: 16 bands of 6 rows",
        xlim=(0, 100),
        ylim=(0, 100),
    )
    named = ((f"{number} {n}", colour) for n, (number, colour) in numbers.items() if n in shown)
    dot = partial(plt.Line2D, [], [], linestyle="", marker="o")
    handles = [dot(color=colour, label=label) for label, colour in named]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


# Files in docs/images, and what draws them.
PLOTS: dict[str, Callable[[], Figure]] = {
    "scale": scale,
    "quality-recall": recall,
    "quality-shingles": partial(rates, "shingle", "dedup rate by shingle, threshold 0.8"),
    "quality-thresholds": partial(rates, "threshold", "dedup rate by threshold, word:5"),
    "quality-components": components,
    "adversaries": adversaries,
    "peers-speed": peers_speed,
    "peers-truth": peers_truth,
}


def draw(folder: Path = IMAGES) -> None:
    """Draw every plot, without the date and the version of who drew it."""
    folder.mkdir(parents=True, exist_ok=True)
    with plt.style.context(Path(__file__).with_suffix(".mplstyle")):
        for name, make in PLOTS.items():
            figure = make()
            figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
            plt.close(figure)


if __name__ == "__main__":
    draw()
