"""The work directory: where stages leave their outputs, so that a run can resume.

    WORK/run.json                         fingerprint, plan and name of the run
    WORK/<run>/<stage>/00007.<name>.arrow data of task 7: see `dedupe.storage.tables`
    WORK/<run>/<stage>/00007.json         its result; task 7 is done exactly if this file exists

A task writes its data first; the driver then commits its result, in which the checksums of the data
stand. A task that runs twice writes the same bytes twice, so it does not matter which copy stays,
and a run has a folder of its own: what a lost worker still writes does not reach another run.

WORK may be in an object store, which has no locks: a second run with the same WORK goes on with the
same plan, which does no harm, or was told to start anew, which the first run notices when it
publishes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from dedupe.errors import DamageError, DedupeError, WorkDirError, disk_fault, disk_full
from dedupe.storage.checksums import seal, unseal
from dedupe.storage.disk_files import HEX, UNFINISHED
from dedupe.storage.files import Files
from dedupe.storage.fingerprint import told

WORK_VERSION = 16
"""Raised whenever files of a work directory come to mean something else."""

RUN_FILE = "run.json"
"""Fingerprint and plan."""

PROBES = f".probe.*-{8 * HEX}.tmp"
"""What a driver leaves while it runs, with the second in which it began: see `WorkDir.probe`."""

PROBE_SECONDS = 7 * 86_400
"""Beyond this age a probe is taken for that of a killed run."""

RUNS = f"dedupe-{8 * HEX}"
"""Folders of runs in a work directory, which other folders may share: `run.json` must name one."""

RESULT = "[0-9]*.json"
"""Results of tasks."""


FINISHED = "finished.json"
"""In the folder of a run: its output is there."""

ASKED = "asked.json"
"""In the folder of a stage that commands on a run add: what was asked of them."""


@dataclass(frozen=True)
class WorkDir:
    """Names and commits of one work directory. Cheap to send to a worker.

    files: the directory. run: name of the run's folder in it; empty before the run has begun.
    """

    files: Files
    run: str = ""

    def __str__(self) -> str:
        return str(self.files.root)

    @property
    def stages(self) -> Files:
        """The folder of the run, with a folder for each stage."""
        return self.files.folder(self.run)

    def begin(
        self,
        fingerprint: dict[str, Any],
        *,
        fresh: bool,
        other: str = "the work of another run",
        accepts: Callable[[WorkDir, dict[str, Any]], bool] = lambda work, before: False,
    ) -> tuple[WorkDir, dict[str, Any] | None]:
        """The directory for a run, swept; and the plan in `run.json` where the run began before.

        fingerprint: what must be the same, see `storage.fingerprint`. fresh: begin anew. other:
        what messages call work of another fingerprint. accepts: is given that work and its
        fingerprint, and says whether the caller takes care of what differs. Raises WorkDirError
        where it does not, where run.json is damaged, and where the directory has something that no
        run has made.
        """
        if self.is_foreign:
            raise WorkDirError(
                f"{self} is not empty and no work directory: choose another --work-dir"
            )
        if fresh:
            self.clear()
        found = self._run_file()
        if found is not None:
            if not fnmatchcase(found["run"], RUNS):
                raise DamageError(self.files.path(RUN_FILE), "it names no run")
            before = found.get("fingerprint", {})
            different = told(before, fingerprint)
            if different and not accepts(WorkDir(self.files, found["run"]), before):
                raise WorkDirError(
                    f"{self} holds {other}:\n  {different}\n"
                    "start anew with --fresh, or give this run a --work-dir of its own"
                )
        name = found["run"] if found else f"dedupe-{secrets.token_hex(4)}"
        work = WorkDir(self.files, name)
        work.sweep()
        return work, found

    def save_plan(self, fingerprint: dict[str, Any], plan: dict[str, Any]) -> None:
        """Write `run.json`: from now on the run can be resumed.

        fingerprint: as `begin` was given. plan: how the run was cut into tasks, as plain values.
        """
        value = {"fingerprint": fingerprint, "run": self.run, **plan}
        self.files.write(RUN_FILE, seal("run", value))

    def _run_file(self) -> dict[str, Any] | None:
        try:
            data = self.files.read(RUN_FILE)
        except FileNotFoundError:
            return None
        return unseal("run", data, self.files.path(RUN_FILE))

    def fingerprint(self) -> dict[str, Any]:
        """That of the run that has begun in it. Raises DamageError where none has."""
        found = self._run_file()
        if found is None:
            raise DamageError(self.files.path(RUN_FILE), "it is gone")
        kept: dict[str, Any] = found["fingerprint"]
        return kept

    def has_begun_with(self, fingerprint: dict[str, Any]) -> bool:
        """Whether a run of this fingerprint has begun in it."""
        with suppress(DamageError):
            found = self._run_file()
            return found is not None and not told(found.get("fingerprint", {}), fingerprint)
        return False

    def finish(self) -> None:
        """Note that the output of the run is there: what is left of it may be given up."""
        self.files.write(f"{self.run}/{FINISHED}", seal("finished", {}))

    @property
    def is_finished(self) -> bool:
        """Whether the output of the run is there."""
        return self.files.exists(f"{self.run}/{FINISHED}")

    def keep_stages(self, stages: Sequence[str]) -> None:
        """Remove what other stages of the run than these have left, and that it is finished.

        That goes last: a command that is killed before may be given again.
        """
        for name in self.files.names(self.run):
            if name not in (*stages, FINISHED):
                self.files.remove_folder(f"{self.run}/{name}")
        self.files.remove(f"{self.run}/{FINISHED}")

    def begin_stage(self, stage: str, asked: dict[str, Any]) -> None:
        """Begin a stage of a command over a run's work, or go on with it.

        stage: which. asked: what its tasks depend on besides the run, as plain values of JSON. What
        it left when it was asked something else is removed.
        """
        name = f"{self.run}/{stage}/{ASKED}"
        with suppress(FileNotFoundError, DamageError):
            if unseal(f"{stage} asked", self.files.read(name), name) == asked:
                return
        self.files.remove_folder(f"{self.run}/{stage}")
        self.files.write(name, seal(f"{stage} asked", asked))

    def commit(self, stage: str, task: int, result: dict[str, Any]) -> None:
        """Declare a task done.

        stage, task: which. result: what the driver needs to know of it, as plain values.
        """
        self.files.write(self._result(stage, task), seal(f"{stage} {task}", result))

    def results(self, stage: str) -> dict[int, dict[str, Any]]:
        """The results of a stage's finished tasks; a task whose result is damaged is not finished.

        A listing, and a read of each.
        """
        folder = f"{self.run}/{stage}"
        names = sorted(name for name in self.files.names(folder) if fnmatchcase(name, RESULT))
        found = {}
        texts = self.files.read_all([f"{folder}/{name}" for name in names])
        for name, data in zip(names, texts, strict=True):
            with suppress(DamageError, ValueError):
                task = int(name.partition(".")[0])
                found[task] = unseal(f"{stage} {task}", data, name)
        return found

    def forget(self, stage: str, task: int) -> None:
        """Take a task for one that has not been done."""
        self.files.remove(self._result(stage, task))

    def forget_maker(self, path: str) -> bool:
        """Take the task that made a file for one that has not been done.

        path: of a file in the folder of a stage. Returns whether there is such a task.
        """
        folder = self.stages
        prefix = folder.path("")
        stage, _, name = path.removeprefix(prefix).partition("/")
        if not path.startswith(prefix) or not name:
            return False
        makers = [task for task, result in self.results(stage).items() if name in result["files"]]
        for task in makers:
            self.forget(stage, task)
        return bool(makers)

    def _result(self, stage: str, task: int) -> str:
        return f"{self.run}/{stage}/{task:05d}.json"

    @contextmanager
    def reporting_faults(self) -> Iterator[None]:
        """Turn a full disk, and one that fails, into WorkDirError."""
        try:
            yield
        except OSError as error:
            full = disk_full(error)
            if full:
                raise WorkDirError(
                    f"{self}: {full}: free some space, or choose another place "
                    "with --work-dir; the same command then goes on where this one stopped"
                ) from error
            if str(error.filename).startswith(str(self.files.root)):
                raise WorkDirError(
                    f"{self}: {disk_fault(error)}: see to the disk, or choose another place with "
                    "--work-dir; the same command goes on from there"
                ) from error
            raise

    @contextmanager
    def held(self, *, stays: bool) -> Iterator[None]:
        """Hold the directory for the block, and remove it after, unless it `stays`.

        After an error it remains for the next attempt, if any task was finished in it.
        """
        self.files.make()
        with self.files.lock():
            try:
                yield
            except DedupeError:
                with suppress(WorkDirError, OSError):  # the first error counts
                    if not stays and not self.is_foreign and self.is_worthless:
                        self.remove()
                raise
            if not stays:
                with suppress(WorkDirError, OSError):  # the output is there: only litter stays
                    self.remove()

    @contextmanager
    def probe(self) -> Iterator[str]:
        """Yield the name of a file by which others can tell that they see this directory.

        It stays through `sweep`.
        """
        self._remove_probes()
        name = f".probe.{int(time.time())}-{secrets.token_hex(4)}.tmp"
        self.files.write(name, b"{}\n")
        try:
            yield name
        finally:
            self.files.remove(name)

    def _remove_probes(self) -> None:
        """Remove those of killed runs: where there are no locks, when they are old."""
        now = int(time.time())
        for name in self.files.names():
            if fnmatchcase(name, PROBES) and (self.files.locks or not _is_recent(name, now)):
                self.files.remove(name)

    @property
    def is_foreign(self) -> bool:
        """Whether there is something in it that no run has made."""
        names = self.files.names()
        made = (UNFINISHED, PROBES, RUNS)
        return RUN_FILE not in names and any(
            not any(fnmatchcase(name, pattern) for pattern in made) for name in names
        )

    @property
    def is_worthless(self) -> bool:
        """Whether no task was finished in it, and no other driver is at work there."""
        names = [name.rpartition("/")[2] for name in self.files.below()]
        patterns = (RESULT,) if self.files.locks else (RESULT, PROBES)
        return not any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    def check_own(self) -> None:
        """Raise WorkDirError where another run has begun in it, which a lock would prevent."""
        found = self._run_file()
        if found is None or found["run"] != self.run:
            raise WorkDirError(
                f"{self} was taken over by another run: give each a --work-dir of its own"
            )

    def clear(self) -> None:
        """Remove everything in it that a run makes, and nothing else.

        The plan goes first: killed half way, this leaves no plan without its data.
        """
        self.files.remove(RUN_FILE)
        WorkDir(self.files).sweep()

    def sweep(self) -> None:
        """Remove what killed processes left: unfinished files, and folders of other runs."""
        self.files.remove_unfinished(f"{RUNS}/*")
        for name in self.files.names():
            if fnmatchcase(name, RUNS) and name != self.run:
                self.files.remove_folder(name)

    def remove_remains(self, fingerprint: dict[str, Any]) -> None:
        """Remove what a killed run has left of it, when the run's output is there.

        fingerprint: of the run. Work of another one stays, and so does what a command is using.
        """
        with suppress(WorkDirError, OSError), self.files.lock():
            found = self._run_file() or {"fingerprint": fingerprint}
            kept = found["fingerprint"]
            same = all(kept.get(name) == value for name, value in fingerprint.items())
            if same and not self.is_foreign:
                self._remove_probes()
                self.remove()

    def remove(self) -> None:
        """Clear it, and remove the directory where nothing else is in it."""
        self.clear()
        self.files.remove_if_empty()


def _is_recent(probe: str, now: int) -> bool:
    """Whether the driver that left a probe may still be running."""
    began = probe.split(".")[2].partition("-")[0]
    return began.isdigit() and now - int(began) < PROBE_SECONDS
