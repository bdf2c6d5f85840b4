"""Runs over an index: which manifest a run is held against, and adding to it.

A run notes the manifest it is held against in its work directory, so that it goes on with the same
one. When it adds, and another writer was first, everything behind sign is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

from dedupe.config import Settings, configured
from dedupe.corpus import Shard
from dedupe.errors import (
    DamageError,
    DedupeError,
    IntegrityError,
    SettingsError,
    WorkDirError,
)
from dedupe.index.blocks import BlockTable, check_blocks
from dedupe.index.blocks import check_there as check_table
from dedupe.index.manifest import (
    Crawl,
    Manifest,
    Segment,
    commit,
    file_of,
    index_of,
    new_segment,
    numbers_in,
    read_manifest,
)
from dedupe.index.store import Store
from dedupe.index.tables import MOST_ROWS
from dedupe.pipeline import ADDING_STAGES, EVALS_STAGES, FinishedRun
from dedupe.remote import Place, place
from dedupe.schema import REFERENCE
from dedupe.stage_runner import StageRunner
from dedupe.storage import files_at
from dedupe.storage.checksums import seal, unseal
from dedupe.storage.files import Files
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.job import Earlier, Job
from dedupe.tasks.segment import write_files
from dedupe.tasks.sign import SignResult

PIN = "index.json"
"""In the folder of a run: the manifest it is held against, and the folder that it adds."""

LONGEST = 200
"""Characters of the name of a crawl."""

RANGE = 1 << 20
"""Rows of an index that a task looks at, unless there are very many."""

FREE = (
    "text", "format", "delimiter", "unit", "keep", "on_bad_text", "on_bad_row", "on_bad_file",
    "by", "count_by", "differences",
)  # fmt: skip
"""Settings in which crawls of an index may differ: how rows are read, what is said of them, and the
order of rows that were added together."""

REFUSED = {
    "keep_at_most": "rows that stay beside a kept row",
    "per": "rows that stay beside a kept row",
    "against_text": "references of their own",
    "against_format": "references of their own",
}
"""Settings that runs over an index cannot have, and what they would ask for."""


class Opened(Protocol):
    """An index that is open: see `dedupe.Index`."""

    path: str
    number: int | None


@dataclass(frozen=True)
class Use:
    """How a run uses an index.

    path: of the index. own: whether its rows are earlier rows of the corpus; else they are
    references. add: whether the run is added to it. name: of what is added; None for its number.
    number: of the manifest; None for the one that counts.
    """

    path: str
    own: bool = True
    add: bool = False
    name: str | None = None
    number: int | None = None

    def __post_init__(self) -> None:
        if self.add and self.number is not None:
            raise SettingsError("a snapshot stays as it is: open the index itself to add to it")
        name = self.name
        if name is not None and not (name.strip() and name.isprintable() and len(name) <= LONGEST):
            raise SettingsError(
                f"name is {name!r}: use up to {LONGEST} characters that can be printed in one line"
            )

    @property
    def files(self) -> Files:
        """The folder of the index."""
        return files_at(index_place(self.path))


def index_place(path: str | Path) -> Place:
    """Where an index is; a folder on a disk from the root, so that all workers find it."""
    found = place(path)
    return found.absolute() if isinstance(found, Path) else found


def is_index(path: str) -> bool:
    """Whether there is an index at a path."""
    return bool(numbers_in(files_at(index_place(path))))


def check_no_index(shards: Sequence[Shard]) -> None:
    """Refuse files of an index where rows are asked for: its texts are in blocks of its own.

    shards: that were found. Raises SettingsError, which says where an index is given.
    """
    roots = dict.fromkeys(index_of(shard.path) for shard in shards)
    for root in filter(None, roots):
        try:
            read_manifest(files_at(root))
        except DedupeError:  # a corpus with a file of such a name
            continue
        raise SettingsError(
            f"{root} is an index, and no corpus: a run is held against it with "
            f"dedupe run CORPUS --index {root} or --against {root}"
        )


def settings_of(manifest: Manifest, given: Mapping[str, Any]) -> Settings:
    """The settings of a run over an index.

    manifest: of the index, whose settings count. given: those that the user gave, by name; of these
    only some may differ. Raises SettingsError, which names what differs.
    """
    ours = Settings(**manifest.settings)
    others = {"text": "format", "format": "text"}  # two ways to say what is compared
    freed = {other: None for name, other in others.items() if name in given and other not in given}
    asked = configured(Settings, ours, {**given, **freed})
    different = [
        f"{name} is {getattr(asked, name)!r} here and {getattr(ours, name)!r} in the index"
        for name in given
        if name not in FREE and getattr(asked, name) != getattr(ours, name)
    ]
    if different:
        raise SettingsError(
            f"an index is of one kind: {'; '.join(different)}: leave out what differs, or make "
            "another index"
        )
    return asked


def check_settings(settings: Settings) -> None:
    """Raise SettingsError for settings that no index can have."""
    if settings.cluster != "cover":
        raise SettingsError(
            "an index has no --cluster transitive: a later row would connect rows of which both "
            "were kept before; use cover"
        )
    plain = Settings()
    for name, what in REFUSED.items():
        if getattr(settings, name) != getattr(plain, name):
            raise SettingsError(f"{name}: an index has no {what}; leave it out")


def plain_settings(settings: Settings) -> dict[str, Any]:
    """What an index keeps of settings."""
    return {one.name: settings.as_dict()[one.name] for one in fields(Settings)}


def begin_index(path: str, settings: Settings) -> Store:
    """Make an index without rows; one without rows that is there, with these settings, is it.

    path: of the index. settings: of all its crawls. Raises SettingsError where another one is.
    """
    check_settings(settings)
    files = files_at(index_place(path))
    if not numbers_in(files):
        if files.names():
            raise SettingsError(f"{files.root} is not empty and no index: choose another place")
        commit(files, Manifest(0, plain_settings(settings)))
    store = Store.open(files)
    found = store.manifest
    if found.number or dict(found.settings) != plain_settings(settings):
        raise SettingsError(
            f"{files.root} is an index already, of {len(found.crawls)} crawls: add to it with "
            f"dedupe run CORPUS --index {files.root} --add"
        )
    return store


def pinned(
    use: Use, work: WorkDir, stages: StageRunner, ranges: Callable[[int], int]
) -> tuple[Earlier, bool]:
    """The index as a run is held against it; and whether the run is in it already.

    use: of the index. work: of the run. stages: is told. ranges: gives rows that a task looks at,
    of an index of so many rows. A run that adds begins anew behind sign where another was added
    meanwhile.
    """
    files = use.files
    latest = read_manifest(files, use.number)
    found = _pin(work)
    added = latest.crawl_of(work.run)
    if found is not None:
        number, segment = found["manifest"], found["segment"]
        is_there = files.exists(file_of(number))
        moved = use.add and added is None and number != latest.number
        if is_there and not moved:
            store = Store.open(files, number)
            rows = ranges(store.manifest.rows)
            if added is None:
                _forget_damaged(files, work)
            return Earlier(store, use.own, segment, rows), added is not None
    if added is not None:
        raise SettingsError(
            f"{files.root} has this run already, as {added.name}, and what it was held against is "
            f"gone: to run it again, first dedupe index remove {files.root} --shard {added.name}"
        )
    if found is not None:
        stages.note(f"{files.root} has changed: what was held against it is done again")
    work.keep_stages(["sign", *EVALS_STAGES])
    _check_name(use, latest)
    segment = new_segment() if use.add else None
    pin = {"manifest": latest.number, "segment": segment}
    work.files.write(f"{work.run}/{PIN}", seal("pin", pin))
    return Earlier(Store(files, latest), use.own, segment, ranges(latest.rows)), False


def _forget_damaged(files: Files, work: WorkDir) -> None:
    """Have tables made again that a killed run has left and a power cut has damaged.

    No stage reads them, so nothing else would notice.
    """
    for stage in ("lookup", *ADDING_STAGES):
        for task, result in work.results(stage).items():
            found = [result.get("table"), result.get("merges"), *result.get("tables", {}).values()]
            try:
                for one in found:
                    if one is not None:
                        check_blocks(files, BlockTable.from_json(one))
            except DamageError:
                work.forget(stage, task)


def _pin(work: WorkDir) -> dict[str, Any] | None:
    name = f"{work.run}/{PIN}"
    with suppress(FileNotFoundError, DamageError):
        return unseal("pin", work.files.read(name), work.files.path(name))
    return None


def _check_name(use: Use, manifest: Manifest) -> None:
    """Raise SettingsError where a crawl of this name is in the index."""
    if use.add and use.name in {crawl.name for crawl in manifest.crawls}:
        raise SettingsError(
            f"{use.path} has a crawl {use.name} already: give other rows another --name; to add "
            f"the same rows anew, first dedupe index remove {use.path} --shard {use.name}"
        )


def check_document(job: Job) -> None:
    """Raise SettingsError where a run compares something else than its index."""
    if job.earlier is None:
        return
    known = job.earlier.store.manifest.document
    if known is not None and known != document_of(job):
        raise SettingsError(
            f"compares {job.document}, with the fields {', '.join(job.document.names)}, and the "
            f"index the fields {', '.join(known['fields'])}: rows of other fields are never "
            "duplicates; say with --text or --format what is compared"
        )


def document_of(job: Job) -> dict[str, Any]:
    """What must be the same in all crawls: the names of fields, and how many columns there are."""
    return {"fields": list(job.document.names), "columns": len(job.document.templates)}


def add(use: Use, run: FinishedRun) -> bool:
    """Put what a run has written into its index; False where another writer was first.

    use: of the index. run: what its stages found.
    """
    job, added = run.job, run.added
    earlier = job.earlier
    if earlier is None or earlier.segment is None or added is None:
        raise IntegrityError("a run adds to no index")
    files, manifest = earlier.store.files, earlier.store.manifest
    rows = run.positions.own_rows
    if rows >= MOST_ROWS:
        raise SettingsError(f"{rows:,} rows are too many for one crawl: add them in several")
    number = len(manifest.crawls)
    listed = write_files(job, run.positions, number)
    tables = {**added.tables, "files": (listed,)}
    segment = Segment(earlier.segment, manifest.rows, rows, tables)
    check_there(files, segment)
    segment.settle(files)
    name = use.name or unused_name(manifest)
    values = job.settings.as_dict()
    reading = {key: values[key] for key in FREE}
    has_evals = job.evals is not None
    crawl = Crawl(name, manifest.rows, rows, added.kept, job.work.run, reading, has_evals)
    following = manifest.with_crawl(
        crawl,
        segment,
        types=added.types,
        document=document_of(job),
        kinds={**manifest.kinds, **kinds_of(job, run.signed)},
        classes=manifest.classes + added.classes,
    )
    return commit(files, following)


def check_there(files: Files, segment: Segment) -> None:
    """Raise WorkDirError where a table of a segment is gone, as after a purge.

    files: the folder of the index.
    """
    for table in segment.all_tables:
        try:
            check_table(files, table)
        except DamageError as error:
            raise WorkDirError(
                f"{error.path} was removed while it was not yet in the index: give the same "
                "command again"
            ) from None


def kinds_of(job: Job, signed: Mapping[int, SignResult]) -> dict[str, str]:
    """Of what type ids and columns of `--within` are in a run, by their role.

    job: the run. signed: results of sign.
    """
    roles = {"id", *job.settings.groups}
    return {
        role: kind
        for result in signed.values()
        for role, kinds in result.types.items()
        if role in roles
        for kind in kinds
    }


def check_kinds(job: Job, signed: Mapping[int, SignResult]) -> None:
    """Raise SettingsError where ids or values of `--within` are of another type than in the index.

    job: the run, with its index. signed: results of sign.
    """
    if job.earlier is None:
        return
    known = job.earlier.store.manifest.kinds
    for role, kind in kinds_of(job, signed).items():
        if known.get(role, kind) != kind:
            raise SettingsError(
                f'column "{job.settings.roles[role]}" is {kind} here and {known[role]} in the '
                "index: they must have one type"
            )


def unused_name(manifest: Manifest) -> str:
    """The name of a crawl that nobody named."""
    names = {crawl.name for crawl in manifest.crawls}
    number = len(names) + 1
    while f"crawl-{number}" in names:
        number += 1
    return f"crawl-{number}"


def told_of(use: Use, run: FinishedRun) -> dict[str, Any]:
    """What summary.json says of the index. use: of it. run: what its stages found."""
    earlier = run.job.earlier
    if earlier is None:
        return {}
    manifest = earlier.store.manifest
    kept = run.kept.values()
    dropped = [one.earlier if use.own else one.reasons[REFERENCE] for one in kept]
    return {
        "index": {
            "path": str(earlier.store.files.root),
            "manifest": manifest.number,
            "rows": manifest.rows,
            "kept": manifest.kept,
            "earlier": use.own,
            "added": use.add,
            "name": use.name,
            "compared": int(run.positions.rows - run.positions.own_rows),
            "dropped": sum(dropped),
            "late": sum(result.late for result in run.verified.values()),
        }
    }


def asked_of(use: Use | None, manifest: Manifest | None = None) -> dict[str, Any]:
    """What a fingerprint has of an index. manifest: that a finished run was held against."""
    if use is None:
        return {}
    known: dict[str, Any] = {
        "path": str(use.files.root),
        "earlier": use.own,
        "added": use.add,
        "name": use.name,
    }
    if manifest is not None and not use.add:
        known["manifest"] = manifest.number
    return {"index": known}


def ranges_of(most_tasks: int, rows: int) -> int:
    """Rows of an index that a task looks at.

    most_tasks: of a stage. rows: of the index.
    """
    return max(RANGE, -(-rows // most_tasks))


def with_earlier(job: Job, earlier: Earlier, signed: Mapping[int, SignResult]) -> Job:
    """A run that is held against an index.

    job: the run. earlier: the index. signed: results of sign. Raises SettingsError where they
    compare something else, or have ids or groups of other types.
    """
    held = replace(job, earlier=earlier)
    check_document(held)
    check_kinds(held, signed)
    return held
