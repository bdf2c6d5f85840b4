"""Draw the plots of docs/peers.md from the result files, each as PNG and SVG in docs/images.

    python benchmarks/plot_peers.py

The same result files give the same SVG byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from plots import IMAGES, RESULTS, STYLE, mpl, plt, save

OURS = "dedupe"
COLOURS = plt.get_cmap("tab20").colors
KINDS = {"documented": "as documented", "matched": "16 bands of 6 rows"}


def results(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The comparisons, fewest rows first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("peers-*.json")]
    return sorted(found, key=lambda result: result["rows"])


def measured(result: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The lines of a comparison that came to an end, with these settings."""
    lines = [line for line in result["tools"] if line["runs"] and line["kind"] == kind]
    return {line["name"]: line for line in lines}


def numbered(found: list[dict[str, Any]]) -> dict[str, int]:
    """A number for each tool, ours 0, the same in both plots."""
    names = {line["name"]: None for result in found for line in result["tools"]}
    return {name: number for number, name in enumerate(sorted(names, key=lambda n: n != OURS))}


def colour(number: int) -> Any:
    """Black for ours."""
    return COLOURS[(number - 1) % len(COLOURS)] if number else "black"


def speed(folder: Path = RESULTS) -> Figure:
    """Wall seconds against rows, a line for each tool as documented."""
    found = results(folder)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, number in numbered(found).items():
        points = [
            (result["rows"], lines[name]["wall_seconds"])
            for result in found
            if name in (lines := measured(result, "documented"))
        ]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour(number),
                      linewidth=2.5 if name == OURS else 1.2,
                      zorder=3 if name == OURS else 2, label=name)  # fmt: skip
    axes.set(xlabel="rows", ylabel="wall seconds", xscale="log", yscale="log")
    handles, labels = axes.get_legend_handles_labels()
    slowest_last = sorted(zip(handles, labels, strict=True), key=lambda one: -one[0].get_ydata()[0])
    figure.legend(*zip(*slowest_last, strict=True), loc="outside right upper")
    return figure


def truth(folder: Path = RESULTS) -> Figure:
    """Recall of true pairs against the share of dropped rows that have no kept partner."""
    found = results(folder)
    numbers = numbered(found)
    judged = [result for result in found if any(line.get("truth") for line in result["tools"])]
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for kind, filled in zip(KINDS, (True, False), strict=True):
        for name, line in measured(judged[-1], kind).items():
            pairs, share = line["truth"]["recall"], line["truth"]["wrongly_dropped_share"]
            if pairs is None or share is None:
                continue
            tint, number = colour(numbers[name]), numbers[name]
            axes.scatter(100 * pairs, 100 * share, s=170, facecolor=tint if filled else "white",
                         edgecolor=tint, linewidth=1.5, alpha=0.9, clip_on=False,
                         zorder=4 if name == OURS else 3)  # fmt: skip
            axes.annotate(str(number), (100 * pairs, 100 * share), ha="center", va="center",
                          color="white" if name == OURS else "black", fontsize=7, zorder=5,
                          annotation_clip=False)  # fmt: skip
    axes.set(
        xlabel="true pairs of which not both rows were kept, %",
        ylabel="dropped rows with no kept row at Jaccard 0.8 or more, %",
        title=f"{judged[-1]['rows']:,} rows; filled: as documented, hollow: {KINDS['matched']}",
        ylim=(0, 100),
    )
    axes.set_xlim(right=100)
    shown = {name for kind in KINDS for name in measured(judged[-1], kind)}
    handles = [
        plt.Line2D([], [], linestyle="", marker="o", color=colour(number), label=f"{number} {name}")
        for name, number in numbers.items()
        if name in shown
    ]
    figure.legend(handles=handles, loc="outside right upper")
    return figure


PLOTS: dict[str, Callable[[Path], Figure]] = {"peers-speed": speed, "peers-truth": truth}
"""Files in docs/images, and what draws them."""


def draw(folder: Path = IMAGES, source: Path = RESULTS) -> None:
    """Draw both."""
    with mpl.rc_context(STYLE):
        for name, make in PLOTS.items():
            save(make(source), name, folder)


if __name__ == "__main__":
    draw()
