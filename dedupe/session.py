"""What every command does around its tasks: places, lock, engine, worker set-up, publishing.

with session(execution, output, progress) as held:      # the work directory is ours
    ...                                                  # look at the corpus, refuse mistakes
    with held.running(shards, kernels) as (runner, resources):  # workers are ready
        ...                                              # run stages, publish
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dedupe.config import Execution, Resources
from dedupe.corpus import LinesShard, Shard, TableShard
from dedupe.engines import Engine
from dedupe.errors import SettingsError, WorkDirError, readable_size
from dedupe.machine import address_space, least_address_space
from dedupe.progress import Progress, usual_progress
from dedupe.remote import Place, given, is_remote, is_uri, place_to_write
from dedupe.remote.patience import stalls_told
from dedupe.stage_runner import StageRunner
from dedupe.storage import files_at
from dedupe.storage.files import Files
from dedupe.storage.work_dir import WorkDir

Load = Callable[[Callable[[str], None]], None]
"""Loads kernels, and tells if they are compiled, which no earlier run did."""


@dataclass(frozen=True)
class Session:
    """A command at work. execution: where it runs. work: the work directory, which it holds.

    progress: is told how far it is.
    """

    execution: Execution
    work: WorkDir
    progress: Progress

    @contextmanager
    def running(
        self, shards: Sequence[Shard], load: Load
    ) -> Iterator[tuple[StageRunner, Resources]]:
        """Start the engine, and end it with the block; what runs stages, and what they may use.

        shards: the corpus. load: loads the kernels that tasks need, before the first of them; it
        can be sent to a worker, and is given a function that tells what takes long.
        """
        in_memory = any(isinstance(shard, TableShard | LinesShard) for shard in shards)
        if self.execution.engine != "local" and in_memory:
            raise SettingsError("rows in memory cannot go to a cluster: write them to a file first")
        with self.work.reporting_faults(), self.work.probe() as probe:
            base = _base_of(shards)
            prepare = partial(prepare_worker, self.work.files, probe, base, given.all_given(), load)
            load(self._tell_of_kernels)
            engine = _engine(self.execution)
            with _compilations_told(self.progress):
                try:
                    engine.start(prepare, self.progress.note)
                    resources = self.execution.resources
                    most = max(engine.concurrency, resources.concurrency)
                    yield StageRunner(engine, self.progress), replace(resources, concurrency=most)
                finally:
                    engine.close()

    def _tell_of_kernels(self, text: str) -> None:
        """Show a clock while kernels are compiled: told that they are, then how long it took."""
        from dedupe.kernels import COMPILING

        if text == COMPILING:
            self.progress.note(text)
            self.progress.stage("compile", 1, 0)
        else:
            self.progress.advance(0)


@contextmanager
def _compilations_told(progress: Progress) -> Iterator[None]:
    """Tell of kernels that few commands need, if they are compiled during the block."""
    if "dedupe.kernels" not in sys.modules:
        yield
        return
    from dedupe.kernels import notices

    with notices(progress.note):
        yield


@contextmanager
def session(execution: Execution, output: Files, progress: Progress | None) -> Iterator[Session]:
    """Hold the work directory of a command for the block.

    execution: where the command runs. output: what it makes; beside it is the work directory, where
    none was named, and is removed when the block ends well. progress: is told how far it is, and
    closed in the end; None for `usual_progress`.
    """
    space, least = address_space(), least_address_space()
    if space is not None and space < least:
        raise SettingsError(
            f"this process may map {readable_size(space)} of addresses (ulimit -v), and libraries "
            f"need {readable_size(least)}, though they use little of it: raise that limit, and "
            "bound memory with --memory"
        )
    work = WorkDir(files_at(work_place(execution, output)))
    shown = progress or usual_progress()
    with (
        stalls_told(shown.note),
        work.held(stays=execution.work_dir is not None),
        output.claimed(),
        closing(shown),
    ):
        for place in (work.files, output):
            place.remove_leftovers()
        yield Session(execution, work, shown)


def was_finished(
    execution: Execution,
    outputs: Sequence[Files],
    fingerprint: dict[str, Any],
    progress: Progress | None,
) -> None:
    """Say that a command was finished before, and remove what it left when it was killed after.

    execution: where the command ran. outputs: what it made, that which names its work directory
    first. fingerprint: what must be the same for a run to go on. progress: is told.
    """
    with closing(progress or usual_progress()) as shown:
        shown.note(f"{outputs[0].root} was finished already, by the same command")
    work = WorkDir(files_at(work_place(execution, outputs[0])))
    for place in (work.files, *outputs):
        place.remove_leftovers()
        place.remove_staged()
    if execution.work_dir is None:
        work.remove_remains(fingerprint)


def work_place(execution: Execution, output: Files) -> Place:
    """The work directory: the one that was named, or one beside the output."""
    if execution.work_dir is not None:
        return place_to_write(execution.work_dir, work=True)
    beside = output.root.with_name(f"{output.root.name}.work")
    return place_to_write(str(beside), work=True)


def output_at(output: str | Path) -> Files:
    """Where an output goes; where a link leads, as what is renamed to it would take its place."""
    target = place_to_write(output)
    return files_at(target if is_remote(target) or not target.is_symlink() else target.resolve())


def check_apart(named: Sequence[str], shards: Sequence[Shard], made: Sequence[Place]) -> None:
    """Refuse to write into the corpus: the next run would read what this one leaves.

    named: the paths that name the corpus, where paths do. shards: its files. made: folders that the
    command writes to. Raises SettingsError.
    """
    folders = [resolved(path) for path in named if is_uri(path) or os.path.isdir(path)]
    files = [resolved(shard.path) for shard in shards]
    for here in (resolved(str(path)) for path in made):
        inside = [folder for folder in folders if is_within(here, folder)]
        inside += [file for file in files if is_within(file, here)]
        if inside:
            raise SettingsError(
                f"{here} would be a part of the corpus ({inside[0]}): choose a place outside it"
            )


def check_not_in_output(path: str, output: Place) -> None:
    """Refuse to write into the output of a run, whose files are held against their checksums.

    path: of what is to be written. output: of the run. Raises SettingsError.
    """
    if is_within(resolved(path), resolved(str(output))):
        raise SettingsError(f"{path} lies in the run's output: choose a place outside it")


def resolved(path: str) -> str:
    """The path from the root, links followed; a URI as it is."""
    return path.rstrip("/") if is_uri(path) else str(Path(path).resolve())


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it."""
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def prepare_worker(
    work: Files,
    probe: str,
    base: str | None,
    options: given.OptionsByExtra,
    load: Load,
    notify: Callable[[str], None],
) -> None:
    """Get a worker process ready, and check that it sees what the driver sees.

    work: the work directory. probe: name of a file in it. base: where relative paths of shards
    start from; None where there are none. options: storage options of the driver. load: loads the
    kernels that its tasks need. notify: is told what takes long. Raises SettingsError,
    WorkDirError.
    """
    given.use_everywhere(options)
    if base is not None:
        try:
            os.chdir(base)
        except OSError as error:
            raise SettingsError(
                f"{platform.node()} has no directory {base}, where relative paths of the corpus "
                "start: give paths that are the same on every node"
            ) from error
    if not work.exists(probe):
        raise WorkDirError(
            f"{platform.node()} does not see the work directory {work.root}: choose a "
            "--work-dir that all nodes share"
        )
    load(notify)


def load_kernels(notify: Callable[[str], None]) -> None:
    """Load the kernels that sign and compare texts: see `Load`."""
    from dedupe.kernels import load

    load(notify)


def load_kernels_of_evals(notify: Callable[[str], None]) -> None:
    """Load the same, and those that hold texts against test sets."""
    load_kernels(notify)
    from dedupe.kernels import notices

    with notices(notify):
        importlib.import_module("dedupe.kernels.contain")


def _engine(execution: Execution) -> Engine:
    resources = execution.resources
    if execution.engine == "local":
        from dedupe.engines.local import LocalEngine

        return LocalEngine(resources.threads)
    from dedupe.engines.ray_engine import RayEngine

    return RayEngine(
        execution.address,
        execution.workers,
        execution.worker_cpus,
        resources.memory,
        execution.runtime_env,
        execution.tuning,
    )


def _base_of(shards: Sequence[Shard]) -> str | None:
    """The directory that relative paths of shards start from; None where all are absolute."""
    absolute = all(shard.is_remote or os.path.isabs(shard.path) for shard in shards)
    return None if absolute else os.getcwd()
