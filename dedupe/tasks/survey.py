"""survey: shards are looked at before the run is cut: their columns, sizes and slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, TypeAlias

from dedupe.config import Settings
from dedupe.corpus import (
    Shard,
    Slice,
    check_columns,
    column_names,
    estimate,
    heard,
    plan_slices,
    silent_columns,
)
from dedupe.documents.shapes import SHAPES, not_in
from dedupe.documents.template import ColumnPath, DocumentTemplate
from dedupe.errors import CorpusError, SettingsError, listed
from dedupe.planning.sizes import Planner, TaskSizes
from dedupe.tasks.artifacts import TaskResult
from dedupe.tasks.job import projection_of

Lacks: TypeAlias = "dict[str, list[str]]"
"""Paths that shards are not known to have, each with what is said of it if no row has it, and the
file of which that is said. Nothing is said of files without keys."""


@dataclass(frozen=True, kw_only=True)
class SurveyResult(TaskResult):
    """What was seen of some shards.

    slices: in order, as the fields of `Slice`. weights: what each takes of a sign task, bytes of
    text. estimated_rows: of the shards, about. lacking: see `Lacks`.
    """

    slices: list[Any]
    weights: list[int]
    estimated_rows: int
    lacking: Lacks

    @property
    def parts(self) -> list[Slice]:
        """The slices."""
        return [Slice(*part) for part in self.slices]


def survey(
    groups: list[list[Shard]],
    document: DocumentTemplate,
    settings: Settings,
    planner: Planner,
    sizes: TaskSizes,
    task: int,
) -> SurveyResult:
    """Look at some shards.

    groups: the shards of each task. document: what is compared. settings: of the run. planner,
    sizes: how the run will be cut. task: which group. Raises CorpusError for a shard that cannot be
    read, lacks a column, or is of a format of which the document does not compare everything.
    """
    projection = projection_of(document, settings)
    slices: list[Slice] = []
    weights: list[int] = []
    lacks: list[Lacks] = []
    estimated = 0
    columns = projection.text_columns
    for shard in groups[task]:
        other = other_format(shard, document, settings) if document.guessed else None
        if other is not None:
            raise _mixed(groups, shard, document, other)
        found = check_columns(shard, projection)
        lacks.append({str(path): [said, shard.path] for path, said in found.items()})
        rows, text_bytes = estimate(shard, columns)
        parts = plan_slices(shard, columns, sizes.task_text, sizes.task_rows)
        whole = planner.weight(sizes, text_bytes, rows)
        slices += parts
        weights += [whole // max(len(parts), 1)] * len(parts)
        estimated += rows
    return SurveyResult(
        rows=0,
        files={},
        slices=[astuple(part) for part in slices],
        weights=weights,
        estimated_rows=estimated,
        lacking=in_all(lacks),
    )


def other_format(shard: Shard, document: DocumentTemplate, settings: Settings) -> str | None:
    """The format of a shard that cannot be compared by the document of the first one.

    shard: the file. document: of the first shard that has columns, guessed. settings: of the run.
    None where the document compares all that the shard's own would; a shard whose columns are those
    of no format, or which has none, is left to `check_columns`.
    """
    names = column_names(shard)
    lacks = not set(names).issuperset(document.needed)
    more = not_in(document, names, settings.compare, settings.match)
    if not lacks and not more:
        return None
    silent = silent_columns(shard, settings.deciding(names))
    try:
        own = settings.document(names, silent)
    except SettingsError:
        return None
    lost = more.intersection(own.columns).difference(silent)
    return own.format if own.format != document.format and (lacks or lost) else None


def _mixed(
    groups: list[list[Shard]], shard: Shard, document: DocumentTemplate, other: str
) -> CorpusError:
    """Make the error for a shard of another format than the first that has columns."""
    first = next(one for group in groups for one in group if column_names(one))
    told = [
        f"the format {form} ({listed([name for name in SHAPES[form].known if name in there])})"
        for form, there in (
            (other, column_names(shard)),
            (document.format or "", column_names(first)),
        )
    ]
    return CorpusError(
        f"its columns are those of {told[0]}, and those of {first.path} are of {told[1]}, by which "
        "all files would be compared: run each format by itself, or say what is compared in all "
        "of them with --text or --format",
        path=shard.path,
    )


def in_all(lacks: Sequence[Lacks]) -> Lacks:
    """What all of several have: of each the first of which something is said."""
    first, *others = lacks or [{}]
    return {
        path: next((one[path] for one in lacks if one[path][0]), said)
        for path, said in first.items()
        if all(path in other for other in others)
    }


@dataclass(frozen=True, kw_only=True)
class SeekResult(TaskResult):
    """Which paths lead to something. found: the paths."""

    found: list[str]


def seek(groups: list[list[Shard]], paths: Sequence[ColumnPath], task: int) -> SeekResult:
    """Look in all rows of some shards for what their first rows have not.

    groups: the shards of each task. paths: what is looked for; a task ends when it has found all.
    task: which group. Raises CorpusError for what cannot be read.
    """
    left = set(paths)
    for shard in groups[task]:
        left -= heard(shard, list(left))
    return SeekResult(rows=0, files={}, found=[str(path) for path in set(paths) - left])
