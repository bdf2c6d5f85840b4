"""Draw the plots of the pages from the result files, each as PNG and SVG in docs/images.

    python benchmarks/plots.py

The same result files give the same SVG byte for byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
IMAGES = ROOT / "docs" / "images"

STYLE: Any = {
    "svg.hashsalt": "dedupe",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")
MARKS = ("o", "s", "^", "D", "v")
DEFAULT = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}


def read(name: str) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return found


def scale() -> Figure:
    """Time, memory and disk against rows."""
    lines = read("scale.json")["lines"]
    rows = [line["rows"] for line in lines]
    figure, (time, memory, disk) = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")

    def micro(seconds: Callable[[dict[str, Any]], float]) -> list[float]:
        return [seconds(line) / line["rows"] * 1e6 for line in lines]

    series = {
        "CPU": lambda line: line["cpu_seconds"],
        "wall": lambda line: line["wall_seconds"],
        "wall, stages alone": lambda line: sum(
            stage["wall_seconds"] for stage in line["stages"].values()
        ),
    }
    for (label, seconds), colour, mark in zip(series.items(), COLOURS, MARKS, strict=False):
        time.plot(rows, micro(seconds), color=colour, marker=mark, label=label)
    time.set(title="time", ylabel="µs per row", yscale="log")
    time.set_yticks([5, 10, 20, 50, 100], ["5", "10", "20", "50", "100"])
    time.minorticks_off()
    time.legend()

    memory.plot(rows, [line["peak_rss_bytes"] / 1e6 for line in lines], marker="o")
    memory.axhline(lines[-1]["memory_bytes"] / 1e6, color="tab:red", linestyle="--", linewidth=1)
    memory.annotate("--memory", (rows[0], lines[-1]["memory_bytes"] / 1e6), (0, -11),
                    textcoords="offset points", color="tab:red")  # fmt: skip
    memory.set(title="peak memory", ylabel="MB", ylim=(0, None))

    stages = list(lines[-1]["exchange_bytes_per_row"])
    large = [s for s in stages if any(line["exchange_bytes_per_row"][s] >= 20 for line in lines)]
    parts = [[line["exchange_bytes_per_row"][s] for line in lines] for s in large]
    parts.append(
        [sum(v for s, v in line["exchange_bytes_per_row"].items() if s not in large)
         for line in lines]
    )  # fmt: skip
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


def recall() -> Figure:
    """What each setting misses of the pairs just above the threshold."""
    kinds = read("quality.json")["kinds"]
    asked = [run["recall"] for run in runs_of(next(iter(kinds.values())), ("shingle", "threshold"))]

    def total(name: str, asked: float, figure: str) -> int:
        runs = runs_of(kinds[name], ("shingle",))
        return sum(run[figure] for run in runs if run["recall"] == asked)

    names = [name for name in kinds if total(name, asked[0], "near_pairs")]
    pairs = [total(name, asked[0], "near_pairs") for name in names]
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for number, each in enumerate(asked):
        missed = [total(name, each, "near_missed") for name in names]
        shares = [100 * lost / of for lost, of in zip(missed, pairs, strict=True)]
        places = [place + 0.18 * (number - (len(asked) - 1) / 2) for place in range(len(names))]
        axes.scatter(shares, places, label=f"--recall {each}", clip_on=False, **mark(number))
    kinds_of_text(axes, [f"{name} ({of:,})" for name, of in zip(names, pairs, strict=True)])
    axes.set_xlim(0, None)
    axes.set(
        xlabel="pairs missed, % of those up to 0.05 above the threshold (their number in brackets)",
        title="word:5, thresholds 0.7, 0.8 and 0.9 together",
    )
    figure.legend(loc="outside right upper")
    return figure


def mark(number: int) -> dict[str, Any]:
    """How the points of a series look."""
    return {"color": COLOURS[number], "marker": MARKS[number], "s": 28, "alpha": 0.85, "zorder": 3}


def runs_of(kind: dict[str, Any], fixed: tuple[str, ...]) -> list[dict[str, Any]]:
    """The planned runs that have the default's value of some settings."""
    return [
        run
        for run in kind["runs"]
        if run["planned"] and all(run[name] == DEFAULT[name] for name in fixed)
    ]


def rates(fixed: tuple[str, str], varied: str, title: str) -> Figure:
    """The dedup rate of each kind of text as one setting varies; none where nothing is dropped."""
    kinds = read("quality.json")["kinds"]
    shares = {
        name: [100 * run["dropped"] / kind["rows"] for run in runs_of(kind, fixed)]
        for name, kind in kinds.items()
    }
    names = [name for name in kinds if any(shares[name])]
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    for place, name in enumerate(names):
        some = [share for share in shares[name] if share]
        axes.plot([min(some), max(some)], [place, place], color="lightgrey", zorder=1)
    for number, run in enumerate(runs_of(kinds[names[0]], fixed)):
        series = [shares[name][number] or math.nan for name in names]
        axes.scatter(series, range(len(names)), label=f"{run[varied]}", **mark(number))
    kinds_of_text(axes, names)
    axes.set(xlabel="rows dropped, %", xscale="log", title=title)
    ticks = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
    low, high = axes.get_xlim()
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low, high)
    figure.legend(title=varied, loc="outside right upper")
    return figure


def shingles() -> Figure:
    """The dedup rate by shingle."""
    return rates(("threshold", "recall"), "shingle", "dedup rate by shingle, threshold 0.8")


def thresholds() -> Figure:
    """The dedup rate by threshold."""
    return rates(("shingle", "recall"), "threshold", "dedup rate by threshold, word:5")


def components() -> Figure:
    """Rows dropped with proof, beside those that components would drop."""
    kinds = read("quality.json")["kinds"]
    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    found = {name: runs_of(kind, tuple(DEFAULT))[0] for name, kind in kinds.items()}
    share = [100 * run["dropped"] / kinds[name]["rows"] for name, run in found.items()]
    rest = [100 * run["unproven"] / kinds[name]["rows"] for name, run in found.items()]
    places = range(len(found))
    axes.barh(places, share, color="tab:blue", label="dropped: a kept row has Jaccard 0.8 or more")
    axes.barh(places, rest, left=share, color="tab:red", alpha=0.35,
              label="dropped besides, were every component of buckets a cluster")  # fmt: skip
    kinds_of_text(axes, list(found))
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="% of rows", xlim=(0, None))
    figure.legend(loc="outside upper center")
    return figure


def adversaries() -> Figure:
    """Time per row and memory of corpora that break naive methods."""
    result = read("adversaries.json")
    lines = result["lines"].values()
    memory = next(iter(lines))["memory_bytes"] / 1e9
    figure, (time, peak) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained", sharey=True)
    places = range(len(lines))
    time.barh(places, [line["ratio"] for line in lines])
    time.axvline(1, color="black", linewidth=1)
    time.axvline(3, color="tab:red", linestyle="--", linewidth=1)
    time.set(xlabel="time per row, times that of ordinary text", xlim=(0, None))
    peak.barh(places, [line["peak_rss_bytes"] / 1e9 for line in lines], color="tab:blue",
              alpha=0.35, label="with pages of mapped files")  # fmt: skip
    peak.barh(places, [line["peak_own_bytes"] / 1e9 for line in lines], color="tab:blue",
              label="of the process alone")  # fmt: skip
    figure.legend(loc="outside lower right", ncols=2)
    peak.axvline(memory, color="tab:red", linestyle="--", linewidth=1)
    peak.set(xlabel=f"peak memory, GB (--memory {memory:g}GB)", xlim=(0, None))
    kinds_of_text(time, [line["what"] for line in lines])
    for axes in (time, peak):
        axes.grid(visible=False, axis="y")
    figure.suptitle(f"{result['rows']:,} rows", fontsize=10)
    return figure


PLOTS: dict[str, Callable[[], Figure]] = {
    "scale": scale,
    "quality-recall": recall,
    "quality-shingles": shingles,
    "quality-thresholds": thresholds,
    "quality-components": components,
    "adversaries": adversaries,
}
"""Files in docs/images, and what draws them."""


def save(figure: Figure, name: str, folder: Path = IMAGES) -> None:
    """Write a figure as PNG and SVG, without the date and the version of who drew it."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=150, metadata={"Software": None})
    figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


def draw(folder: Path = IMAGES) -> None:
    """Draw every plot."""
    with mpl.rc_context(STYLE):
        for name, make in PLOTS.items():
            save(make(), name, folder)


if __name__ == "__main__":
    draw()
