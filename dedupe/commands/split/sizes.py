"""sizes: how large the largest cluster is at other thresholds, for who has chosen too low a one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dedupe.commands.split.job import SplitJob
from dedupe.errors import SettingsError
from dedupe.stages.effects import Drops
from dedupe.stages.verify import verify
from dedupe.tasks.artifacts import Left, TaskResult
from dedupe.tasks.group import GroupResult
from dedupe.tasks.verify import members_of, sets_of

OTHERS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Thresholds at which sizes are told, besides that of the split: those above it."""

LEAST_MOST = 100
"""Rows of a cluster that can hold most rows of a corpus; of fewer the splits are what they are."""


@dataclass(frozen=True, kw_only=True)
class SizesResult(TaskResult):
    """What a task of sizes found; largest: rows of the largest cluster at each threshold."""

    largest: list[int]


def thresholds_above(threshold: float) -> list[float]:
    """The thresholds at which sizes are told. threshold: of the split."""
    return [threshold, *(other for other in OTHERS if other > threshold)]


def sizes_task(
    split: SplitJob, grouped: Mapping[int, GroupResult], fetched: Left, partition: int
) -> SizesResult:
    """Look for the largest cluster of similar rows in a partition of components; leaves nothing.

    split: the job. grouped: results of group. fetched: the files of each fetch task. partition: of
    components.
    """
    job, positions = split.job, split.positions
    members = members_of(job, positions, grouped[partition], partition)
    largest = []
    with sets_of(job, positions, grouped[partition], fetched, partition) as sets:
        for threshold in thresholds_above(job.settings.threshold):
            settings = replace(job.settings, threshold=threshold)
            rows = positions.rows
            verified = verify(settings, members, sets, job.sizes.sets, rows, rows)
            found = Drops(verified.decisions, rows).largest()
            largest.append(found[0][1] + 1 if found else 1)
    return SizesResult(rows=members.num_rows, files={}, largest=largest)


def too_large(split: SplitJob, size: int, rows: int, found: Mapping[int, SizesResult]) -> Exception:
    """Make the error for a cluster that holds most rows.

    split: the job. size: rows of the cluster. rows: that go to a split. found: results of sizes.
    """
    thresholds = thresholds_above(split.job.settings.threshold)
    columns = list(zip(*(result.largest for result in found.values()), strict=True))
    sizes = [max(column) for column in columns] or [1] * len(thresholds)
    lines = "".join(
        f"\n  {threshold:g}: {count:,}" for threshold, count in zip(thresholds, sizes, strict=True)
    )
    by_value = f", with those of an equal {' or '.join(split.wanted.group)}"
    remedy = "raise --threshold" if 2 * sizes[0] > size else "leave out a --group"
    return SettingsError(
        f"one cluster has {size:,} of {rows:,} rows{by_value if split.wanted.group else ''}: it "
        f"cannot be divided. The largest cluster of similar rows has by threshold:{lines}\n{remedy}"
    )
