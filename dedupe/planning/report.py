"""What `dedupe plan` says: the banding, its collision curve, and what a run will take."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.bar import Bar
from rich.columns import Columns
from rich.console import Console
from rich.table import Table

from dedupe.config import Resources, Settings
from dedupe.errors import SettingsError
from dedupe.planning.banding import plan_banding
from dedupe.planning.sizes import (
    SHINGLE_BYTES,
    SHINGLE_HASH_BYTES,
    estimate,
    join_bytes,
    task_sizes,
)

POINTS = 100


def report(
    settings: Settings,
    rows: int,
    mean_bytes: int,
    in_components: float,
    resources: Resources,
) -> dict[str, Any]:
    """All numbers of a plan; bytes unless the name says otherwise."""
    if rows < 1 or mean_bytes < 1 or not 0 <= in_components <= 1:
        raise SettingsError("rows and mean-bytes must be at least 1, and in-components from 0 to 1")
    banding = plan_banding(settings) if settings.banded else None
    bands = 1 if banding is None else banding.bands
    found = estimate(resources, bands, rows, mean_bytes, in_components, settings.shingle_unit)
    blocks = 0 if banding else _blocks(settings, rows, mean_bytes, resources)

    def chance(similarity: float) -> float:
        return banding.chance(similarity) if banding else float(similarity >= settings.threshold)

    return {
        "threshold": settings.threshold,
        "recall_wanted": settings.recall,
        "bands": banding and banding.bands,
        "rows_per_band": banding and banding.rows,
        "join_tasks": blocks,
        "recall_at_threshold": chance(settings.threshold),
        "recall_above_threshold": _mean_chance(chance, settings.threshold),
        "curve": [(i / POINTS, chance(i / POINTS)) for i in range(POINTS + 1)],
        "rows": rows,
        "concurrency": resources.concurrency,
        **asdict(found),
    }


def _blocks(settings: Settings, rows: int, mean_bytes: int, resources: Resources) -> int:
    """Blocks of an exact join, each of which is held against all rows before it."""
    unit = settings.shingle_unit
    sizes = task_sizes(resources, 1, rows * mean_bytes, unit)
    shingles = rows * mean_bytes * SHINGLE_BYTES[unit] / SHINGLE_HASH_BYTES
    size = join_bytes(int(shingles), rows, settings.threshold)
    return max(math.ceil(size / sizes.block_bytes), min(resources.concurrency, rows))


def _mean_chance(chance: Callable[[float], float], threshold: float) -> float:
    """Expected recall if similarities are spread evenly from the threshold to 1."""
    steps = 1000
    span = 1 - threshold
    points = [threshold + span * (i + 0.5) / steps for i in range(steps)]
    return sum(map(chance, points)) / steps


def print_plan(found: dict[str, Any]) -> None:
    """Print a report: numbers, the curve, sizes."""
    console = Console()
    if found["bands"] is None:
        console.print(
            "[bold]exact join, no bands[/bold]: every pair from Jaccard "
            f"{found['threshold']}; {found['join_tasks']} blocks of rows, each held against all "
            "rows before it"
        )
    else:
        console.print(
            f"[bold]{found['bands']} bands x {found['rows_per_band']} rows[/bold] "
            f"({found['bands'] * found['rows_per_band']} permutations): recall "
            f"{found['recall_at_threshold']:.4f} at Jaccard {found['threshold']}, "
            f"{found['recall_above_threshold']:.4f} on average above it"
        )
    curve = Table(title="chance that a pair becomes a candidate", box=None, padding=(0, 1))
    curve.add_column("Jaccard", justify="right")
    curve.add_column("chance", justify="right")
    curve.add_column("")
    for similarity, chance in found["curve"]:
        if similarity >= 0.3 and round(similarity * POINTS) % 5 == 0:
            at = " <- threshold" if abs(similarity - found["threshold"]) < 1e-9 else ""
            curve.add_row(
                f"{similarity:.2f}",
                f"{chance:.4f}",
                Columns([Bar(1, 0, chance, width=40), at]),
            )
    console.print(curve)
    sizes = Table(
        title=f"{found['rows']:,} rows, {found['concurrency']} tasks at a time (estimates)"
    )
    sizes.add_column("what")
    sizes.add_column("size", justify="right")
    for name, label in (
        ("exchange", "band records"),
        ("row_files", "digests and row counts"),
        ("sets", "shingle sets for verification"),
        ("work_disk", "work directory in all"),
        ("link_memory", "memory of link, in one process"),
        ("peak_memory", "peak memory of a process"),
    ):
        sizes.add_row(label, _human(found[name]))
    for name, label in (
        ("sign_tasks", "sign tasks"),
        ("key_partitions", "bucket tasks"),
        ("join_tasks", "join tasks"),
        ("component_partitions", "verify tasks"),
        ("pieces", "parts of files that tasks read"),
    ):
        if found[name]:
            sizes.add_row(label, f"{found[name]:,}")
    console.print(sizes)
    if found["peak_memory"] > found["memory"]:
        console.print(
            f"[red]That does not fit into the {_human(found['memory'])} of --memory.[/red]"
        )


def _human(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def draw_png(found: dict[str, Any], path: str) -> None:
    """Draw the collision curve to a PNG file. Raises SettingsError without matplotlib."""
    try:
        import matplotlib
    except ImportError as error:
        raise SettingsError("--png needs matplotlib: pip install 'dedupe-engine[plot]'") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    similarities, chances = zip(*found["curve"], strict=True)
    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=150)
    axes.plot(similarities, chances, color="tab:blue")
    axes.axvline(found["threshold"], color="tab:red", linestyle="--", linewidth=1)
    axes.annotate(
        f"recall {found['recall_at_threshold']:.4f}\nat {found['threshold']}",
        (found["threshold"], found["recall_at_threshold"]),
        xytext=(0.04, 0.86),
        textcoords="axes fraction",
        arrowprops={"arrowstyle": "-", "color": "grey"},
    )
    axes.set(
        xlabel="Jaccard similarity of a pair",
        ylabel="chance of becoming a candidate",
        title=f"{found['bands']} bands x {found['rows_per_band']} rows"
        if found["bands"]
        else "exact join, no bands",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.grid(alpha=0.3)
    figure.tight_layout()
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        pyplot.close(figure)
