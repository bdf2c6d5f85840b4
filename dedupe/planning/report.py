"""What `dedupe plan` says: the banding, its collision curve, and what a run will take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.bar import Bar
from rich.columns import Columns
from rich.table import Table

from dedupe.config import Resources, Settings
from dedupe.errors import SettingsError, readable_size
from dedupe.planning.banding import plan_banding
from dedupe.planning.estimate import StageCost, estimate, workload
from dedupe.planning.sizes import Planner
from dedupe.planning.timing import Measured, at_once_of, bottleneck_of, size_of
from dedupe.screen import console

POINTS = 100


def report(
    settings: Settings,
    rows: int,
    mean_bytes: int,
    in_components: float,
    resources: Resources,
    planner: Planner,
    stages: Sequence[StageCost],
    measured: Measured | None = None,
) -> dict[str, Any]:
    """All numbers of a plan; bytes unless the name says otherwise.

    settings: of the run. rows: of the corpus. mean_bytes: of text in a row. in_components: part of
    the rows that share a bucket with another. resources: what the run may use. planner: cuts it
    into tasks. stages: what each stage costs. measured: a run by which time is told, None where
    there is none. Raises SettingsError.
    """
    if rows < 1 or mean_bytes < 1 or not 0 <= in_components <= 1:
        raise SettingsError(
            "corpus-rows and mean-bytes must be at least 1, and in-components from 0 to 1"
        )
    banding = plan_banding(settings) if settings.banded else None
    bands = 1 if banding is None else banding.bands
    unit = settings.shingle_unit
    work = workload(planner, resources, rows, mean_bytes, bands, in_components, unit)
    found = estimate(planner, resources, work, stages)
    joins = _join_tasks(settings, rows, mean_bytes, resources, planner) if settings.joined else 0

    seconds = None
    if measured is not None:
        at_once = at_once_of(found, resources.concurrency, joins)
        seconds = measured.seconds_of(size_of(work, joins), at_once)

    def chance(similarity: float) -> float:
        return banding.chance(similarity) if banding else float(similarity >= settings.threshold)

    return {
        "threshold": settings.threshold,
        "recall_wanted": settings.recall,
        "bands": banding and banding.bands,
        "rows_per_band": banding and banding.rows,
        "join_tasks": joins,
        "recall_at_threshold": chance(settings.threshold),
        "recall_above_threshold": _mean_chance(chance, settings.threshold),
        "curve": [(i / POINTS, chance(i / POINTS)) for i in range(POINTS + 1)],
        "corpus_rows": rows,
        "mean_bytes": mean_bytes,
        "in_components": in_components,
        "seconds": None
        if measured is None or seconds is None
        else {**seconds, "rest": measured.rest},
        "bottleneck": bottleneck_of(found, seconds),
        "concurrency": resources.concurrency,
        **asdict(found),
    }


def _join_tasks(
    settings: Settings, rows: int, mean_bytes: int, resources: Resources, planner: Planner
) -> int:
    """Blocks of an exact join, each of which is held against all rows before it."""
    costs = planner.costs
    sizes = planner.task_sizes(resources, rows * mean_bytes)
    shingles = rows * mean_bytes * costs.shingle_bytes(settings.shingle_unit) / costs.shingle_hash
    size = costs.join_bytes(int(shingles), rows, settings.threshold)
    return max(math.ceil(size / sizes.block), min(resources.concurrency, rows))


def _mean_chance(chance: Callable[[float], float], threshold: float) -> float:
    """Expected recall if similarities are spread evenly from the threshold to 1."""
    steps = 1000
    span = 1 - threshold
    points = [threshold + span * (i + 0.5) / steps for i in range(steps)]
    return sum(map(chance, points)) / steps


def print_plan(found: dict[str, Any]) -> None:
    """Print a report: numbers, the curve, sizes."""
    shown = console()
    for line in _about_corpus(found.get("corpus")):
        shown.print(line, highlight=False)
    if found["bands"] is None and not found["join_tasks"]:
        shown.print("exact duplicates only: by equal digests, without bands")
    elif found["bands"] is None:
        shown.print(
            "exact join, no bands: every pair from Jaccard "
            f"{found['threshold']}; {found['join_tasks']} blocks of rows, each held against all "
            "rows before it"
        )
    else:
        shown.print(
            f"{found['bands']} bands x {found['rows_per_band']} rows "
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
    shown.print(curve)
    rows = found["corpus_rows"]
    sizes = Table(title=f"{rows:,} rows, {found['concurrency']} tasks at a time (estimates)")
    seconds = found["seconds"]
    headings = ("stage", "tasks", "memory of a task", "disk", *(["seconds"] if seconds else []))
    for heading in headings:
        sizes.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in found["stages"].items():
        disk = readable_size(stage["disk"]) if stage["disk"] else ""
        took = [f"{seconds.get(name, 0):,.1f}"] if seconds else []
        sizes.add_row(name, f"{stage['tasks']:,}", readable_size(stage["memory"]), disk, *took)
        if name == "bucket" and found["join_tasks"]:
            took = [f"{seconds.get('join', 0):,.1f}"] if seconds else []
            sizes.add_row("join", f"{found['join_tasks']:,}", "", "", *took)
    shown.print(sizes)
    shown.print(
        f"work directory {readable_size(found['work_disk'])}, peak memory of a process "
        f"{readable_size(found['peak_memory'])}, {found['partition_reads']:,} reads of partitions",
    )
    if found["peak_memory"] > found["memory"]:
        shown.print(
            f"That does not fit into the {readable_size(found['memory'])} of --memory.", style="red"
        )
    for line in _about_time(found):
        shown.print(line, highlight=False)


def _about_corpus(corpus: Mapping[str, Any] | None) -> Iterator[str]:
    """What is said of a corpus that was looked into."""
    if corpus is None:
        return
    formats = ", ".join(f"{count:,} {name}" for name, count in corpus["formats"].items())
    some = "" if corpus["looked_at"] == corpus["files"] else f", {corpus['looked_at']} looked into"
    yield f"{corpus['files']:,} files ({formats}{some}), {readable_size(corpus['file_bytes'])}"
    ratio = corpus["text_to_file_bytes"]
    yield (
        f"about {corpus['rows']:,} rows with {readable_size(corpus['text_bytes'])} of text"
        + (f", {ratio:.1f} times the files" if ratio else "")
        + f"; {corpus['mean_bytes']:,} bytes in a row, {corpus['empty']:.1%} of the rows are empty"
    )
    yield f"compares {corpus['document']}"
    yield from corpus["notes"]


def _about_time(found: Mapping[str, Any]) -> Iterator[str]:
    """How long the run will take, and how that is known."""
    if found.get("requests"):
        yield f"about {found['requests']:,} requests to the store for the corpus"
    seconds, known = found["seconds"], found.get("measured_by")
    if not seconds or not known:
        yield (
            "No run of this kind over 10 MB of text or more was measured on this machine, so no "
            "time is told: dedupe plan CORPUS --calibrate measures one."
        )
        return
    total = sum(seconds.values())
    yield f"time: about {_duration(total)}; most of it is {found['bottleneck']}"
    yield (
        f"  told by a run over {known['rows']:,} rows that took {_duration(known['seconds'])}, "
        f"{_ago(known['days_ago'])}"
    )
    if known["errors"]:
        low, high = min(known["errors"]), max(known["errors"])
        yield (
            f"  {len(known['errors'])} runs took between {low:+.0%} and {high:+.0%} more or less "
            "than was told of them"
        )
    else:
        yield "  no run was told in advance yet, so how far off that is is not known"
    if found.get("dollars") is not None:
        yield f"  {found['dollars']:,.2f} dollars at that price"


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.1f} seconds"


def _ago(days: float) -> str:
    return "today" if days < 1 else f"{days:,.0f} days ago"


def _title(found: dict[str, Any]) -> str:
    if found["bands"]:
        return f"{found['bands']} bands x {found['rows_per_band']} rows"
    return "exact join, no bands" if found["join_tasks"] else "exact duplicates only"


def draw_png(found: dict[str, Any], path: str) -> None:
    """Draw the collision curve of a report to a PNG file; SettingsError without matplotlib."""
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
        title=_title(found),
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
