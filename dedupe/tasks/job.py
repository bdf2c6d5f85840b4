"""What every task of a run knows: what was asked for, and how the run is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from dedupe.config import Settings
from dedupe.corpus import Projection, Shard, Slice, column_names
from dedupe.documents.mixed import Documents
from dedupe.documents.template import DocumentTemplate, Template
from dedupe.errors import CorpusError
from dedupe.evals import Evals
from dedupe.index.store import Store
from dedupe.planning.banding import Banding
from dedupe.planning.sizes import Planner, TaskSizes
from dedupe.storage.fingerprint import corpus_versions
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import Left

ColumnTypes = dict[str, dict[str, int]]
"""For each role of a column its types, each with a shard that has it; see `Settings.roles`."""


@dataclass(frozen=True)
class EvalSets:
    """The test sets that a corpus is held against.

    asked: what was asked for. shards: their files. parts: of each of them the templates of an
    item's parts, by their names. ids: of each the column of ids, None where it has none;
    benchmarks: and that which says which test set an item is of.
    """

    asked: Evals
    shards: list[Shard]
    parts: list[Mapping[str, Template]]
    ids: list[str | None]
    benchmarks: list[str | None]


@dataclass(frozen=True)
class Earlier:
    """The index whose rows came before those of a run.

    store: the index, as it is when the run is held against it. own: whether its rows are earlier
    rows of the corpus, not references. segment: the folder of the index in which the run leaves
    what is added; None where nothing is. ranges: rows of the index that a task looks at.
    """

    store: Store
    own: bool
    segment: str | None
    ranges: int

    @property
    def tasks(self) -> range:
        """Tasks that each look at so many rows of the index."""
        return range(-(-self.store.manifest.rows // self.ranges))

    def span(self, task: int) -> tuple[int, int]:
        """The rows that a task looks at: the first, and the end."""
        first = task * self.ranges
        return first, min(first + self.ranges, self.store.manifest.rows)


@dataclass(frozen=True)
class Job:
    """All that a task needs to know, besides its number and what earlier stages left.

    settings: of the run. documents: what is compared of each shard. banding: bands and rows.
    shards: of the corpus, and then of references. tasks: the slices of each sign task. planner,
    sizes: how the run is cut. work: where tasks leave their files. left_out: paths of files that
    cannot be read, each with the reason; they have no slices. evals: the test sets, None without
    any. contaminated: the files of each task that has looked for their items, by the number of the
    sign task. earlier: the index whose rows came before; None without one. sketched: whether sign
    leaves `schema.BITS` of each row.
    """

    settings: Settings
    documents: Documents
    banding: Banding
    shards: list[Shard]
    tasks: list[list[Slice]]
    planner: Planner
    sizes: TaskSizes
    work: WorkDir
    left_out: dict[str, str] = field(default_factory=dict)
    evals: EvalSets | None = None
    contaminated: Left = field(default_factory=dict)
    earlier: Earlier | None = None
    sketched: bool = False

    @property
    def echoes(self) -> bool:
        """Whether rows of an index are earlier rows of the corpus, which equal rows echo."""
        return self.earlier is not None and self.earlier.own

    @cached_property
    def own_shards(self) -> int:
        """How many of the shards are of the corpus."""
        return sum(shard.reference is None for shard in self.shards)

    def is_of_references(self, task: int) -> bool:
        """Whether the slices of a sign task are of references: no task has both."""
        return any(self.shards[part.shard].reference is not None for part in self.tasks[task])

    @property
    def document(self) -> DocumentTemplate:
        """What is compared of all shards together."""
        return self.documents.whole

    def projection(self, shard: int) -> Projection:
        """What is read of each row of a shard."""
        settings = settings_of(self.shards[shard], self.settings)
        read = projection_of(self.documents.aligned_for(shard), settings)
        return replace(read, others=self.carried, unreadable=self.settings.skips_rows)

    @property
    def fields(self) -> int:
        """How many fields a document has."""
        return len(self.document.names)

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns of which a digest goes with each row: see `Settings.carried`."""
        return self.settings.carried(self.document)

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages, with its shards where it reads any."""
        if stage not in ("scan", "match", "sign", "fetch"):
            return f"{stage} task {task}"
        if self.is_of_references(task) and self.earlier is not None:
            return f"{stage} task {task} (rows of {self.earlier.store.files.root})"
        paths = list(dict.fromkeys(self.shards[part.shard].path for part in self.tasks[task]))
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return f"{stage} task {task} ({paths[0]}{more})"

    def check_types(self, types: ColumnTypes) -> None:
        """Refuse ids, groups or scores of several types: they cannot be told apart, or ordered."""
        groups = [*self.settings.groups, *self.settings.told_apart]
        for role, found in types.items():
            if len(found) > 1:
                (kind, shard), (other, where) = list(found.items())[:2]
                name = {"id": "ids"}.get(role, "groups" if role in groups else "scores")
                raise CorpusError(
                    f'column "{self.settings.roles[role]}" is {other} here and {kind} in '
                    f"{self.shards[shard].path}: the {name} of a run must have one type",
                    path=self.shards[where].path,
                )


def settings_of(shard: Shard, settings: Settings) -> Settings:
    """How the rows of a shard are read: of references the ids only where there are some.

    shard: the file. settings: of the run.
    """
    if shard.reference is None:
        return settings
    own = settings.of_references
    return replace(own, id=None) if own.id and own.id not in column_names(shard) else own


def projection_of(document: DocumentTemplate, settings: Settings) -> Projection:
    """What a run of these settings reads of each row."""
    roles = tuple(settings.roles.items())
    return Projection(
        document.templates,
        roles,
        settings.carried(document),
        settings.text is not None,
    )


def compared_of(documents: Documents, settings: Settings) -> list[Projection]:
    """What is read of each shard where its rows are compared: documents, and what is `within`."""
    groups = tuple(settings.groups.items())
    read = [Projection(document.templates, groups) for document in documents.aligned]
    return [read[number] for number in documents.of_files]


def evals_fingerprint(evals: EvalSets, *, only: bool) -> dict[str, Any]:
    """What of test sets decides the keep-list of a run.

    evals: the test sets. only: whether rows are held against nothing else.
    """
    return {**evals.asked.as_dict(), "files": corpus_versions(evals.shards), "only": only}
