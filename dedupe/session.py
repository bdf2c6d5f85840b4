"""What every command does around the tasks that it runs: places, the lock, and the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from dedupe.config import ENGINES, Resources
from dedupe.corpus import Shard
from dedupe.engines import Engine
from dedupe.engines.local import LocalEngine
from dedupe.errors import DedupeError, SettingsError, WorkDirError
from dedupe.pipeline import Progress
from dedupe.remote import Place, is_remote, is_uri, place_to_write
from dedupe.storage.publish import check_no_output
from dedupe.storage.work_dir import WorkDir


@contextmanager
def use_engine(
    name: str,
    address: str | None,
    workers: int | None,
    worker_cpus: int,
    memory: str | int,
    shards: Sequence[Shard],
    prepare: Callable[[], None],
    progress: Progress,
) -> Iterator[tuple[Engine, Resources]]:
    """Start an engine, and end it with the block; what a run on it may use."""
    if name not in ENGINES:
        raise SettingsError(f"engine is {name!r}: use {' or '.join(ENGINES)}")
    engine: Engine
    if name == "local":
        if address is not None or worker_cpus != 1:
            raise SettingsError("address and worker_cpus are for the Ray engine: add --engine ray")
        resources = Resources.of(workers, memory)
        engine = LocalEngine(resources.threads)
    else:
        if any(shard.format == "table" for shard in shards):
            raise SettingsError("rows in memory cannot go to a cluster: write them to a file first")
        if workers is not None and workers < 1:
            raise SettingsError(f"workers is {workers}: use a whole number from 1")
        resources = Resources.of(worker_cpus, memory)
        from dedupe.engines.ray_engine import RayEngine

        engine = RayEngine(address, workers, worker_cpus, resources.memory)
    try:
        engine.start(prepare, progress.note)
        concurrency = max(engine.concurrency, (workers or 1) * worker_cpus)
        yield engine, replace(resources, concurrency=concurrency)
    finally:
        engine.close()


def base_of(shards: Sequence[Shard]) -> str | None:
    """The directory that relative paths of shards start from; None where all are absolute."""
    absolute = all(shard.is_remote or os.path.isabs(shard.path) for shard in shards)
    return None if absolute else os.getcwd()


def check_output(output: Place) -> None:
    """Refuse to write over anything, but what a killed run has left of its output in a store."""
    if is_remote(output):
        check_no_output(output)
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise WorkDirError(
            f"{output} exists and is not an empty directory: choose another --output or remove it"
        )
    make_folder(output.parent)


def check_apart(given: Sequence[str], shards: Sequence[Shard], made: Sequence[Place]) -> None:
    """Refuse to write into the corpus: the next run would read what this one leaves.

    given: the paths that name the corpus, where paths do.
    """
    folders = [resolved(path) for path in given if is_uri(path) or os.path.isdir(path)]
    files = [resolved(shard.path) for shard in shards]
    for here in (resolved(str(path)) for path in made):
        inside = [folder for folder in folders if is_within(here, folder)]
        inside += [file for file in files if is_within(file, here)]
        if inside:
            raise SettingsError(
                f"{here} would be a part of the corpus ({inside[0]}): choose a place outside it"
            )


def resolved(path: str) -> str:
    """The path from the root, links followed; a URI as it is."""
    return path.rstrip("/") if is_uri(path) else str(Path(path).resolve())


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def make_folder(path: Place) -> None:
    """Make a directory and those above it, unless they are there; stores have none."""
    if is_remote(path):
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise WorkDirError(f"{path} cannot be a directory: a file is in its place") from error
    except OSError as error:
        raise WorkDirError(f"{path} cannot be made: {error.strerror}") from error


def work_root(output: Place, work_dir: str | Path | None) -> Place:
    """The work directory: the one that was named, or one beside the output."""
    if work_dir is not None:
        return place_to_write(work_dir, work=True)
    beside = output.with_name(f"{output.name}.work")
    return place_to_write(str(beside), work=True)


def output_place(output: str | Path) -> Place:
    """Where an output goes; where a link leads, as what is renamed to it would take its place."""
    target = place_to_write(output)
    return target if is_remote(target) or not target.is_symlink() else target.resolve()


@contextmanager
def in_work_dir(work: WorkDir, *, stays: bool) -> Iterator[None]:
    """Hold a work directory for the block, and remove it after: unless it `stays`, for its name.

    After an error it remains for the next attempt, if any task was finished in it.
    """
    with lock(work):
        try:
            yield
        except DedupeError:
            with suppress(WorkDirError, OSError):  # the first error counts
                if not stays and not work.is_foreign and work.is_worthless:
                    work.remove()
            raise
        if not stays:
            with suppress(WorkDirError, OSError):  # the output is there: what stays is only litter
                work.remove()


@contextmanager
def lock(work: WorkDir) -> Iterator[None]:
    """Keep two runs out of one work directory; the lock ends with the process.

    There are no locks in a store: see `WorkDir.check_own`.
    """
    if is_remote(work.root):
        yield
        return
    import fcntl

    make_folder(work.root)
    folder = os.open(work.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise WorkDirError(f"another run is using {work.root}: wait for it to end") from error
    finally:
        os.close(folder)
