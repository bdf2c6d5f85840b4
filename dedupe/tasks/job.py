"""What every task of a run knows: what was asked for, and how the run is cut."""

from __future__ import annotations

from dataclasses import dataclass

from dedupe.config import Settings
from dedupe.corpus import Projection, Shard, Slice
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import CorpusError
from dedupe.planning.banding import Banding
from dedupe.planning.sizes import Planner, TaskSizes
from dedupe.storage.work_dir import WorkDir

ColumnTypes = dict[str, dict[str, int]]
"""For each role of a column its types, each with a shard that has it; see `Settings.roles`."""


@dataclass(frozen=True)
class Job:
    """All that a task needs to know, besides its number and what earlier stages left.

    settings: of the run. document: what is compared. banding: bands and rows. shards: of the
    corpus. tasks: the slices of each sign task. planner, sizes: how the run is cut. work: where
    tasks leave their files.
    """

    settings: Settings
    document: DocumentTemplate
    banding: Banding
    shards: list[Shard]
    tasks: list[list[Slice]]
    planner: Planner
    sizes: TaskSizes
    work: WorkDir

    @property
    def projection(self) -> Projection:
        """What is read of each row."""
        return projection_of(self.document, self.settings)

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
        if stage not in ("sign", "fetch"):
            return f"{stage} task {task}"
        paths = list(dict.fromkeys(self.shards[part.shard].path for part in self.tasks[task]))
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        return f"{stage} task {task} ({paths[0]}{more})"

    def check_types(self, types: ColumnTypes) -> None:
        """Refuse ids, groups or scores of several types: they cannot be told apart, or ordered."""
        groups = self.settings.groups
        for role, found in types.items():
            if len(found) > 1:
                (kind, shard), (other, where) = list(found.items())[:2]
                name = {"id": "ids"}.get(role, "groups" if role in groups else "scores")
                raise CorpusError(
                    f'column "{self.settings.roles[role]}" is {other} here and {kind} in '
                    f"{self.shards[shard].path}: the {name} of a run must have one type",
                    path=self.shards[where].path,
                )


def projection_of(document: DocumentTemplate, settings: Settings) -> Projection:
    """What a run of these settings reads of each row."""
    roles = tuple(settings.roles.items())
    return Projection(
        document.templates,
        roles,
        document.refused,
        settings.carried(document),
        settings.text is not None,
    )
