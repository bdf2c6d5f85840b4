"""What a sweep found: as an object, as JSON, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dedupe.notebook import html_table


@dataclass(frozen=True)
class Step:
    """What a corpus comes to at one threshold.

    threshold: Jaccard similarity. kept, dropped: rows of the corpus; rows that cannot be read are
    dropped. clusters: kept rows of which others are duplicates. largest: rows of the largest of
    these clusters, the kept one included, 0 without any. recall: chance that a pair exactly at the
    threshold was a candidate, by the bands of the lowest threshold; 1 for an exact join.
    """

    threshold: float
    kept: int
    dropped: int
    clusters: int
    largest: int
    recall: float


@dataclass(frozen=True)
class Change:
    """What is different between a threshold and the next.

    lower, higher: the two. stays: rows that the higher one keeps and the lower one drops. goes:
    rows of which that is the other way round, as their witness is kept only there. pairs: some of
    both, each with `shard`, `row`, `witness_shard`, `witness_row`, `jaccard`, `stays`, whether the
    higher threshold keeps the row, and the texts of both, `text` and `witness_text`; of several
    fields there are `jaccard_NAME`, `text_NAME` and so on.
    """

    lower: float
    higher: float
    stays: int
    goes: int
    pairs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Sweep:
    """A corpus at several thresholds: what `dedupe.sweep` returns.

    rows: of the corpus. steps: for each threshold, ascending. changes: from each to the next.
    bands, band_rows: those that were planned for the lowest threshold, None for an exact join.
    fields: the names of a document's fields.
    """

    rows: int
    steps: Sequence[Step]
    changes: Sequence[Change]
    bands: int | None
    band_rows: int | None
    fields: Sequence[str]

    @property
    def about_recall(self) -> str:
        """Which candidates were looked at."""
        lowest = self.steps[0]
        if self.bands is None:
            return (
                "all pairs were found by an exact join: counts are those of a run of each threshold"
            )
        return (
            f"all counts are at the recall of the lowest threshold: {lowest.recall:.4f} at "
            f"{lowest.threshold:g} ({self.bands} bands x {self.band_rows} rows), more at higher "
            "ones; a run at one of these plans its own bands, and may find a little less"
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "about_recall": self.about_recall}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        rows = [
            (f"{one.threshold:g}", one.kept, one.dropped, one.clusters, one.largest)
            for one in self.steps
        ]
        caption = f"{self.rows:,} rows; {self.about_recall}"
        return html_table(
            caption, ("threshold", "rows kept", "dropped", "clusters", "largest"), rows
        )

    def draw(self, path: str | Path) -> None:
        """Draw the counts by threshold.

        path: of a PNG or SVG file. Raises SettingsError without matplotlib, for another suffix, and
        where the file cannot be written.
        """
        from dedupe.commands.sweep.plot import draw_sweep

        draw_sweep(self, str(path))


def print_sweep(found: Sweep) -> None:
    """Print it as a table with a curve, and the pairs that change sides."""
    from rich.bar import Bar
    from rich.table import Table

    from dedupe.commands.show import difference
    from dedupe.screen import console

    shown = console()
    colour = shown.color_system is not None and not shown.no_color
    table = Table(title=f"{found.rows:,} rows at {len(found.steps)} thresholds")
    for name in ("threshold", "kept", "dropped", "clusters", "largest"):
        table.add_column(name, justify="right")
    table.add_column("", min_width=20)
    most = max(one.dropped for one in found.steps)
    for one in found.steps:
        counts = (one.kept, one.dropped, one.clusters, one.largest)
        cells = [f"{count:,}" for count in counts]
        table.add_row(f"{one.threshold:g}", *cells, Bar(max(most, 1), 0, one.dropped, width=20))
    shown.print(table)
    shown.print(found.about_recall)
    for change in found.changes:
        if not change.pairs:
            continue
        shown.rule(style="dim")
        goes = f", and {change.goes:,} go" if change.goes else ""
        shown.print(
            f"{change.lower:g} to {change.higher:g}: {change.stays:,} rows more stay{goes}",
            style="bold",
        )
        for pair in change.pairs:
            where = change.lower if pair["stays"] else change.higher
            shown.print(
                f"row {pair['row']} of {pair['shard']}, dropped at {where:g}, Jaccard "
                f"{pair['jaccard']:.4f}, because of row {pair['witness_row']} of "
                f"{pair['witness_shard']}",
                soft_wrap=True,
            )
            for name in found.fields:
                label = "text" if len(found.fields) == 1 else f"text_{name}"
                one_, other = ((pair[at] or "").strip() for at in (label, f"witness_{label}"))
                if one_ or other:
                    if len(found.fields) > 1:
                        shown.print(name, style="bold")
                    shown.print(difference(one_, other, full=False, colour=colour))
