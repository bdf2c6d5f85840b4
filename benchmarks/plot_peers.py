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
LINEAR = 0.1
"""Per cent of pairs up to which the scale is linear, so that it has a zero."""
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
    axes.set(
        xlabel="rows (20,000 are real ones, more are made)",
        ylabel="wall seconds",
        xscale="log",
        yscale="log",
    )
    handles, labels = axes.get_legend_handles_labels()
    slowest_last = sorted(zip(handles, labels, strict=True), key=lambda one: -one[0].get_ydata()[0])
    figure.legend(*zip(*slowest_last, strict=True), loc="outside right upper")
    return figure


def truth(folder: Path = RESULTS) -> Figure:
    """True pairs left standing against the share of dropped rows that have no kept partner.

    Of the fewest rows that were judged, which are real ones.
    """
    found = results(folder)
    numbers = numbered(found)
    judged = next(one for one in found if any(line.get("truth") for line in one["tools"]))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    shown = []
    for kind in KINDS:
        for name, line in measured(judged, kind).items():
            recall, wrong = line["truth"]["recall"], line["truth"]["wrongly_dropped_share"]
            if recall is None or wrong is None:
                continue
            number = numbers[name]
            tint = colour(number)
            place = (100 * (1 - recall), 100 * wrong)
            axes.scatter(
                *place,
                s=110,
                facecolor=tint if kind == "documented" else "white",
                edgecolor=tint,
                linewidth=1.5,
                clip_on=False,
                zorder=100 - number,
            )
            axes.annotate(str(number), place, ha="center", va="center", fontsize=6.5,
                          color="black" if number else "white", zorder=100 - number,
                          annotation_clip=False)  # fmt: skip
            shown.append(name)
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
    ticks = (0, 0.1, 1, 10, 100)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(
        xlabel="true pairs with both rows kept, % (left and low is good)",
        ylabel="dropped rows with no kept row at Jaccard 0.8 or more, %",
        title=f"{judged['rows']:,} rows; filled: as documented, hollow: {KINDS['matched']}",
        xlim=(0, 100),
        ylim=(0, 100),
    )
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
