"""The work directory: where stages leave their outputs, so that a run can resume.

    WORK/run.json                         fingerprint, plan and name of the run
    WORK/<run>/<stage>/00007.<kind>.arrow data of task 7: an Arrow IPC file; its record batches are
                                          what the tasks of a later stage read, one each
    WORK/<run>/<stage>/00007.json         its result; task 7 is done exactly if this file exists

Every file appears whole or not at all. A task writes its data first; the driver then commits its
result. A task that runs twice writes the same bytes twice, so it does not matter which copy stays,
and a run has a folder of its own: what a lost worker still writes does not reach another run.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.errors import WorkDirError


@contextmanager
def writing(path: Path) -> Iterator[pa.NativeFile]:
    """Yield a sink; what was written to it becomes `path` if the block ends well."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pa.OSFile(str(beside), "wb") as sink:
            yield sink
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> int:
    """Write `value` as JSON, whole or not at all; its size in bytes."""
    with writing(path) as sink:
        return int(sink.write(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"))


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from error


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write an Arrow IPC file, whole or not at all; its size in bytes."""
    with writing(path) as sink:
        with ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return int(sink.tell())


@contextmanager
def open_batches(path: Path) -> Iterator[ipc.RecordBatchFileReader]:
    """Open an Arrow IPC file of this directory; a local one is mapped, not read."""
    try:
        with pa.memory_map(str(path)) as source:
            yield ipc.open_file(source)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def read_pieces(paths: Iterable[Path], number: int) -> Iterator[pa.RecordBatch]:
    """Record batch `number` of each of these files, in order; copied, not mapped."""
    for path in paths:
        try:
            with pa.OSFile(str(path), "rb") as source:
                yield ipc.open_file(source).get_batch(number)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> WorkDirError:
    return WorkDirError(f"{path} is damaged ({error}): start again with --fresh")


class WorkDir:
    """Names and commits of one work directory. Cheap to copy to a worker."""

    def __init__(self, root: Path, run: str = "") -> None:
        self.root = root
        self.run = run

    def of_run(self, run: str | None = None) -> WorkDir:
        """The same directory, for the run of that name, or a new one."""
        return WorkDir(self.root, run or f"dedupe-{secrets.token_hex(4)}")

    def data(self, stage: str, task: int, kind: str) -> Path:
        """Where task `task` of a stage leaves its data of that kind."""
        return self.root / self.run / stage / f"{task:05d}.{kind}.arrow"

    def keep(self, file: str) -> Path:
        """Where a keep-list file is made."""
        return self.root / self.run / "keep" / file

    def commit(self, stage: str, task: int, result: dict[str, Any]) -> None:
        """Declare a task done."""
        write_json(self.root / self.run / stage / f"{task:05d}.json", result)

    def results(self, stage: str) -> dict[int, dict[str, Any]]:
        """The results of a stage's finished tasks."""
        found = (self.root / self.run / stage).glob("[0-9]*.json")
        return {int(path.stem): read_json(path) for path in sorted(found)}

    @contextmanager
    def spool(self) -> Iterator[Any]:
        """Yield a file on a local disk that is gone after the block."""
        with tempfile.TemporaryFile(dir=self.root) as file:
            yield file

    @contextmanager
    def probe(self) -> Iterator[Path]:
        """Yield a file in it by which others can tell that they see this directory."""
        for left in self.root.glob(PROBE):
            left.unlink(missing_ok=True)
        path = self.root / PROBE.replace("*", secrets.token_hex(4))
        write_json(path, {})
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @property
    def run_file(self) -> Path:
        """Fingerprint and plan."""
        return self.root / "run.json"

    @property
    def is_foreign(self) -> bool:
        """Whether there is something in it that no run has made."""
        if self.run_file.exists() or not self.root.exists():
            return False
        made = (UNFINISHED, PROBE, RUNS)
        return any(not any(map(entry.match, made)) for entry in self.root.iterdir())

    @property
    def is_worthless(self) -> bool:
        """Whether no task was finished in it."""
        return not any(self.root.glob(f"{RUNS}/*/[0-9]*.json"))

    def clear(self) -> None:
        """Remove everything in it that a run makes, and nothing else.

        The plan goes first: killed half way, this leaves no plan without its data.
        """
        self.run_file.unlink(missing_ok=True)
        WorkDir(self.root).sweep()

    def sweep(self) -> None:
        """Remove what killed processes left: unfinished files, and folders of other runs."""
        for pattern in (UNFINISHED, f"{RUNS}/*/{UNFINISHED}"):
            for entry in self.root.glob(pattern):
                entry.unlink(missing_ok=True)
        for entry in self.root.glob(RUNS):
            if entry.name != self.run:
                shutil.rmtree(entry)

    def remove(self) -> None:
        """Clear it, and remove the directory where nothing else is in it."""
        self.clear()
        if not any(self.root.iterdir()):
            self.root.rmdir()


LAYOUT = 2
"""Raised whenever files of a work directory come to mean something else."""

UNFINISHED = ".*.tmp"
"""What a process that was killed leaves of a file it was writing."""

RUNS = "dedupe-????????"
"""Folders of runs in a work directory."""

PROBE = ".probe-*"
"""By which workers see that they see a work directory."""

STAGE_NAMES = ("sign", "bucket", "link", "label", "group", "shingle", "verify", "keep")
"""The stages in order."""


def disk_full(error: OSError) -> bool:
    """Whether an error says that a disk is full."""
    return error.errno == errno.ENOSPC or "No space left" in str(error)


def flush_to_disk(path: Path) -> None:
    """Wait until a file or folder would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fingerprint_differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each thing in which two fingerprints differ."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if name == "corpus":
            lines += _corpus_differences(before or {}, after or {})
        elif isinstance(before, dict) and isinstance(after, dict):
            for key in sorted(before.keys() | after.keys()):
                if before.get(key) != after.get(key):
                    lines.append(f"{name} {key}: {before.get(key)} before, {after.get(key)} now")
        elif before != after:
            lines.append(f"{name}: {before} before, {after} now")
    return lines


def _corpus_differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    lines = [f"{path} is not in the corpus any more" for path in sorted(before.keys() - after)]
    lines += [f"{path} was not in the corpus" for path in sorted(after.keys() - before)]
    both = sorted(before.keys() & after.keys())
    return lines + [f"{path} has changed" for path in both if before[path] != after[path]]
