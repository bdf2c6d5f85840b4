"""The work directory: where stages leave their outputs, so that a run can resume.

    WORK/run.json                   fingerprint and plan of the run
    WORK/<stage>/00007.<kind>.arrow data of task 7: an Arrow IPC file, its record batches are its
                                    partitions and can be read one by one
    WORK/<stage>/00007.json         its result; task 7 is done exactly if this file exists

Every file is written beside its place and renamed into it, so that a reader never sees half of
one. A task writes its data first; the driver then commits its result.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.errors import WorkDirError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; it becomes `path` if the block ends well, else it is removed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkDirError(f"{path} is damaged ({error}): start again with --fresh") from error


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write an Arrow IPC file, whole or not at all; its size in bytes."""
    with replacing(path) as beside:
        with pa.OSFile(str(beside), "wb") as sink, ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return beside.stat().st_size


@contextmanager
def open_batches(path: Path, *, mapped: bool = False) -> Iterator[ipc.RecordBatchFileReader]:
    """Open an Arrow IPC file of this directory; `mapped` for zero-copy reads of a part of it."""
    try:
        source = pa.memory_map(str(path)) if mapped else pa.OSFile(str(path), "rb")
        with source:
            yield ipc.open_file(source)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise WorkDirError(f"{path} is damaged ({error}): start again with --fresh") from error


class WorkDir:
    """Names and commits of one work directory. Cheap to copy to a worker."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def data(self, stage: str, task: int, kind: str) -> Path:
        """Where task `task` of a stage leaves its data of that kind."""
        return self.root / stage / f"{task:05d}.{kind}.arrow"

    def commit(self, stage: str, task: int, result: dict[str, Any]) -> None:
        """Declare a task done."""
        write_json(self.root / stage / f"{task:05d}.json", result)

    def results(self, stage: str) -> dict[int, dict[str, Any]]:
        """The results of a stage's finished tasks."""
        found = (self.root / stage).glob("[0-9]*.json")
        return {int(path.stem): read_json(path) for path in sorted(found)}

    @property
    def is_foreign(self) -> bool:
        """Whether there is something in it that no run has made."""
        if self.run_file.exists() or not self.root.exists():
            return False
        return any(not entry.match(UNFINISHED) for entry in self.root.iterdir())

    @property
    def is_worthless(self) -> bool:
        """Whether no task was finished in it."""
        return not any(self.root.glob("*/[0-9]*.json"))

    @property
    def run_file(self) -> Path:
        """Fingerprint and plan."""
        return self.root / "run.json"

    def clear(self) -> None:
        """Remove everything in it that a run makes, and nothing else.

        Results go first: killed half way, this leaves no result without its data.
        """
        for stage in STAGE_NAMES:
            for result in (self.root / stage).glob("[0-9]*.json"):
                result.unlink()
        for entry in self.root.iterdir():
            if entry.name in STAGE_NAMES and entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.match(UNFINISHED):
                entry.unlink()
        self.run_file.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process left of files it was writing."""
        for pattern in (UNFINISHED, f"*/{UNFINISHED}"):
            for entry in self.root.glob(pattern):
                entry.unlink()

    def remove(self) -> None:
        """Clear it, and remove the directory where nothing else is in it."""
        self.clear()
        if not any(self.root.iterdir()):
            self.root.rmdir()


LAYOUT = 1
"""Raised whenever files of a work directory come to mean something else."""

UNFINISHED = ".*.tmp"
"""What a process that was killed leaves of a file it was writing."""

STAGE_NAMES = ("sign", "bucket", "link", "shingle", "verify", "keep")
"""The stages in order: the only folders that a run makes in its work directory."""


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
