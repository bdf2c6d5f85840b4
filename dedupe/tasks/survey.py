"""survey: shards are looked at before the run is cut: their columns, sizes and slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from dedupe.config import Settings
from dedupe.corpus import (
    Lacking,
    Shard,
    Slice,
    check_columns,
    check_some_bytes,
    column_names,
    estimate,
    heard,
    plan_slices,
    said_joined,
    silent_columns,
)
from dedupe.documents.mixed import Documents
from dedupe.documents.template import ColumnPath, DocumentTemplate
from dedupe.errors import CorpusError, SettingsError
from dedupe.planning.sizes import Planner, TaskSizes
from dedupe.tasks.artifacts import TaskResult
from dedupe.tasks.bad_files import BadFileError, leaving_out
from dedupe.tasks.job import projection_of, settings_of

Lacks: TypeAlias = "dict[str, list[str]]"
"""Paths that shards are not known to have, each with what is said of it if no row has it, and the
file of which that is said. Nothing is said of files without keys."""


class Firsts(NamedTuple):
    """The documents of the first shards that have columns: of the corpus, and of references."""

    corpus: DocumentTemplate
    references: DocumentTemplate | None = None

    def of(self, shard: Shard) -> DocumentTemplate:
        """That of a shard's role."""
        if shard.reference is None or self.references is None:
            return self.corpus
        return self.references


@dataclass(frozen=True, kw_only=True)
class SurveyResult(TaskResult):
    """What was seen of some shards.

    documents: of each shard, in order. slices: in order, as the fields of `Slice`. weights: what
    each takes of a sign task, bytes of text. estimated_rows: of the shards, about. lacking: of each
    shard, see `Lacks`. bad_files: those that cannot be read and are left out, by path, with the
    reason.
    """

    documents: list[DocumentTemplate]
    slices: list[Any]
    weights: list[int]
    estimated_rows: int
    lacking: list[Lacks]
    bad_files: dict[str, str]

    @property
    def parts(self) -> list[Slice]:
        """The slices."""
        return [Slice(*part) for part in self.slices]


def survey(
    groups: list[list[Shard]],
    firsts: Firsts,
    settings: Settings,
    planner: Planner,
    sizes: TaskSizes,
    task: int,
) -> SurveyResult:
    """Look at some shards.

    groups: the shards of each task, all of one role. firsts: the documents of the first shards.
    settings: of the run. planner, sizes: how the run will be cut. task: which group. Raises
    CorpusError for a shard that cannot be read, lacks a column, or is of no known format.
    """
    first = firsts.of(groups[task][0])
    documents: list[DocumentTemplate] = []
    slices: list[Slice] = []
    weights: list[int] = []
    lacks: list[Lacks] = []
    estimated = 0
    bad_files: dict[str, str] = {}
    for shard in groups[task]:
        try:
            (seen,) = leaving_out(map(partial(_look, first, settings, sizes), [shard]), settings)
        except BadFileError as error:
            bad_files[shard.path] = error.reason
            documents.append(first)
            lacks.append({})
            continue
        documents.append(seen.document)
        lacks.append({str(path): [said, shard.path] for path, said in seen.lacking.items()})
        whole = planner.weight(sizes, seen.text_bytes, seen.rows)
        slices += seen.parts
        weights += [whole // max(len(seen.parts), 1)] * len(seen.parts)
        estimated += seen.rows
    return SurveyResult(
        rows=0,
        files={},
        documents=documents,
        slices=[astuple(part) for part in slices],
        weights=weights,
        estimated_rows=estimated,
        lacking=lacks,
        bad_files=bad_files,
    )


class _Seen(NamedTuple):
    """What was seen of a shard: see `SurveyResult`."""

    document: DocumentTemplate
    lacking: Lacking
    rows: int
    text_bytes: int
    parts: list[Slice]


def _look(first: DocumentTemplate, settings: Settings, sizes: TaskSizes, shard: Shard) -> _Seen:
    own = settings_of(shard, settings)
    document = document_of_shard(shard, first, own)
    projection = projection_of(document, own)
    columns = projection.text_columns
    lacking = check_columns(shard, projection)
    parts = plan_slices(shard, columns, sizes.task_text, sizes.task_rows)
    return _Seen(document, lacking, *estimate(shard, columns), parts)


def documents_of(
    firsts: Firsts, shards: Sequence[Shard], found: Sequence[DocumentTemplate], settings: Settings
) -> Documents:
    """What is compared of each shard, references in the fields of the corpus.

    firsts: see `survey`. shards: of the run. found: the document of each. settings: of the run.
    Raises CorpusError for a reference whose rows can be duplicates of none.
    """
    pairs = list(zip(shards, found, strict=True))
    corpus = Documents.of(firsts.corpus, [one for shard, one in pairs if shard.reference is None])
    return Documents.of(
        firsts.corpus,
        [
            one if shard.reference is None else reference_document(shard, one, corpus, settings)
            for shard, one in pairs
        ],
    )


def reference_document(
    shard: Shard, document: DocumentTemplate, corpus: Documents, settings: Settings
) -> DocumentTemplate:
    """What is compared of a reference, in the fields of the corpus.

    shard: of the reference. document: what the survey found. corpus: what is compared of that.
    settings: of the run. Raises CorpusError, see `Documents.for_reference`.
    """
    try:
        return corpus.for_reference(document, by_order=settings.against_text is not None)
    except SettingsError as error:
        raise CorpusError(f"the reference {error}", path=shard.path) from None


def document_of(shards: Sequence[Shard], settings: Settings) -> DocumentTemplate:
    """What is compared, by the columns of the first shard that has any, and by its first rows.

    shards: the corpus, or references. settings: how they are read. Raises CorpusError where the
    columns are those of no known format, and for files of 0 bytes; plain JSON lines have no rows.
    """
    for shard in shards:
        try:
            (names,) = leaving_out(map(column_names, [shard]), settings)
        except BadFileError:  # the survey will say so
            continue
        if names:
            try:
                return settings.document(names, silent_columns(shard, settings.deciding(names)))
            except SettingsError as error:
                raise CorpusError(f"{error}{said_joined(shard)}", path=shard.path) from None
    if not settings.skips_files:
        check_some_bytes(shards)
    return settings.document(["text"])


def document_of_shard(
    shard: Shard, first: DocumentTemplate, settings: Settings
) -> DocumentTemplate:
    """What is compared of a shard: the document of its own format.

    shard: the file. first: the document of the first shard that has columns, which is that of any
    other of which it compares all that the format of that one would. settings: of the run; the text
    that they name is that of all shards. Raises CorpusError where the columns are those of no known
    format.
    """
    names = [] if settings.text is not None else column_names(shard)
    lacks = not set(names).issuperset(first.needed)
    more = settings.missed_by(first, names)
    if not names or not (lacks or more):
        return first
    silent = silent_columns(shard, settings.deciding(names))
    try:
        own = settings.document(names, silent)
    except SettingsError as error:
        if not lacks:
            return first
        raise CorpusError(f"{error}{said_joined(shard)}", path=shard.path) from None
    lost = more.intersection(own.columns).difference(silent)
    return own if lacks or lost else first


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
