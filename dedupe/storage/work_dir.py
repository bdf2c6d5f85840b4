"""The work directory: where stages leave their outputs, so that a run can resume.

    WORK/run.json                         fingerprint, plan and name of the run
    WORK/<run>/<stage>/00007.<kind>.arrow data of task 7: an Arrow IPC file; its record batches are
                                          what the tasks of a later stage read, one each
    WORK/<run>/<stage>/00007.json         its result; task 7 is done exactly if this file exists

Every file appears whole or not at all. A task writes its data first; the driver then commits its
result. A task that runs twice writes the same bytes twice, so it does not matter which copy stays,
and a run has a folder of its own: what a lost worker still writes does not reach another run.

WORK may be on an object store. There a file is made on a local disk and then put in one request,
or in an upload of parts that is completed at the end. An object store has no locks: a second run
with the same WORK goes on with the same plan, which does no harm, or was told to start anew, which
the first run notices when it publishes.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc

from dedupe.errors import WorkDirError
from dedupe.remote import Place, StoreError, is_remote, objects
from dedupe.remote.ranged import arrow_file
from dedupe.threads import Threads

MOST_PIECES = 32
FIRST_PIECES = 4
PIECE_BYTES = 32 << 20
"""Pieces fetched ahead from an object store: how many at most, and at first, and their bytes."""


@contextmanager
def writing(path: Place) -> Iterator[pa.NativeFile]:
    """Yield a sink; what was written to it becomes `path` if the block ends well."""
    if is_remote(path):
        with _spare_folder() as folder:
            with pa.OSFile(str(folder / "made"), "wb") as sink:
                yield sink
            with _stored():
                objects.upload(folder / "made", str(path))
        return
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pa.OSFile(str(beside), "wb") as sink:
            yield sink
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def _spare_folder() -> Iterator[Path]:
    """A folder on a local disk for what goes to a store."""
    try:
        with tempfile.TemporaryDirectory(prefix="dedupe-") as folder:
            yield Path(folder)
    except OSError as error:
        if disk_full(error):
            raise WorkDirError(
                f"the disk of {tempfile.gettempdir()} is full, where files are made before they "
                "go to the store: set TMPDIR to a larger one"
            ) from error
        raise


def write_json(path: Place, value: object) -> int:
    """Write `value` as JSON, whole or not at all; its size in bytes."""
    data = json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n"
    if is_remote(path):
        with _stored():
            objects.write(str(path), data)
        return len(data)
    with writing(path) as sink:
        return int(sink.write(data))


def read_json(path: Place) -> Any:
    """Read a file that `write_json` wrote."""
    if is_remote(path):
        with _stored():
            data = objects.read(str(path))
    else:
        data = path.read_bytes()
    return _parsed(path, data)


def _parsed(path: Place, data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise _damaged(path, error) from error


def write_batches(path: Place, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write an Arrow IPC file, whole or not at all; its size in bytes."""
    with writing(path) as sink:
        with ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        return int(sink.tell())


@contextmanager
def open_batches(path: Place) -> Iterator[ipc.RecordBatchFileReader]:
    """Open an Arrow IPC file of this directory; a local one is mapped, not read.

    On an object store: one GET for the end of the file, which is all of it up to 64 KiB, and one
    for each record batch that is read.
    """
    try:
        if is_remote(path):
            with _stored(), pa.PythonFile(arrow_file(str(path)), "r") as source:
                yield ipc.open_file(source)
        else:
            with pa.memory_map(str(path)) as source:
                yield ipc.open_file(source)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def read_pieces(paths: Iterable[Place], number: int) -> Iterator[pa.RecordBatch]:
    """Record batch `number` of each of these files, in order; copied, not mapped.

    On an object store two GETs for each file, or one up to 64 KiB; several files are asked for at
    a time.
    """
    files = list(paths)
    if files and is_remote(files[0]):
        yield from _remote_pieces(files, number)
    for path in files:
        if not is_remote(path):
            yield _piece(path, number)


def _remote_pieces(paths: Sequence[Place], number: int) -> Iterator[pa.RecordBatch]:
    """As many at a time as `PIECE_BYTES` hold of the largest so far."""
    width, largest = FIRST_PIECES, 1
    ahead: deque[Future[pa.RecordBatch]] = deque()
    todo = deque(paths)
    pool = Threads(MOST_PIECES, "pieces")
    try:
        while todo or ahead:
            while todo and len(ahead) < width:
                ahead.append(pool.submit(_remote_piece, todo.popleft(), number))
            piece = ahead.popleft().result()
            largest = max(largest, piece.nbytes)
            width = max(1, min(MOST_PIECES, PIECE_BYTES // largest))
            yield piece
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _piece(path: Path, number: int) -> pa.RecordBatch:
    try:
        with pa.OSFile(str(path), "rb") as source:
            return ipc.open_file(source).get_batch(number)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise _damaged(path, error) from error


def _remote_piece(path: Place, number: int) -> pa.RecordBatch:
    with open_batches(path) as reader:
        return reader.get_batch(number)


@contextmanager
def _stored() -> Iterator[None]:
    """Turn what is said of a store into WorkDirError."""
    try:
        yield
    except StoreError as error:
        failure = WorkDirError(str(error))
        failure.passing = error.passing
        raise failure from error


def _damaged(path: Place, error: Exception) -> WorkDirError:
    return WorkDirError(f"{path} is damaged ({error}): start again with --fresh")


class WorkDir:
    """Names and commits of one work directory. Cheap to copy to a worker."""

    def __init__(self, root: Place, run: str = "") -> None:
        self.root = root
        self.run = run

    def of_run(self, run: str | None = None) -> WorkDir:
        """The same directory, for the run of that name, or a new one."""
        return WorkDir(self.root, run or f"dedupe-{secrets.token_hex(4)}")

    def data(self, stage: str, task: int, kind: str) -> Place:
        """Where task `task` of a stage leaves its data of that kind."""
        return self.root / self.run / stage / f"{task:05d}.{kind}.arrow"

    def keep(self, file: str) -> Place:
        """Where a keep-list file is made."""
        return self.root / self.run / "keep" / file

    def begin(
        self, fingerprint: dict[str, Any], *, fresh: bool, other: str = "the work of another run"
    ) -> tuple[WorkDir, dict[str, Any] | None]:
        """The directory for a run, swept; and what `run.json` says where it has begun before.

        fresh: begin anew. other: what messages call work of another fingerprint. Raises
        WorkDirError where there is such, or something that no run has made.
        """
        if self.is_foreign:
            raise WorkDirError(
                f"{self.root} is not empty and no work directory: choose another --work-dir"
            )
        if fresh:
            self.clear()
        found = read_json(self.run_file) if seen(self.run_file) else None
        if found is not None:
            differences = fingerprint_differences(found.get("fingerprint", {}), fingerprint)
            if differences:
                shown = "\n  ".join(differences[:8] + ["…"] * (len(differences) > 8))
                raise WorkDirError(
                    f"{self.root} holds {other}:\n  {shown}\n"
                    "start anew with --fresh, or give this run a --work-dir of its own"
                )
            if not fnmatchcase(found["run"], RUNS):
                raise WorkDirError(f"{self.run_file} names no run: start again with --fresh")
        work = self.of_run(found and found["run"])
        work.sweep()
        return work, found

    @contextmanager
    def reporting_full(self) -> Iterator[None]:
        """Turn a full disk into WorkDirError."""
        try:
            yield
        except OSError as error:
            if disk_full(error):
                raise WorkDirError(
                    f"the disk of {self.root} is full: free some space, or choose another place "
                    "with --work-dir; the same command then goes on where this one stopped"
                ) from error
            raise

    def commit(self, stage: str, task: int, result: dict[str, Any]) -> None:
        """Declare a task done."""
        write_json(self.root / self.run / stage / f"{task:05d}.json", result)

    def results(self, stage: str) -> dict[int, dict[str, Any]]:
        """The results of a stage's finished tasks; a listing and their GETs on an object store."""
        folder = self.root / self.run / stage
        if not is_remote(folder):
            found = folder.glob(RESULT)
            return {int(path.stem): read_json(path) for path in sorted(found)}
        with _stored():
            listed = [folder / name for name in _names(folder) if fnmatchcase(name, RESULT)]
            texts = objects.read_all([str(path) for path in listed])
        return {
            int(path.stem): _parsed(path, text) for path, text in zip(listed, texts, strict=True)
        }

    @contextmanager
    def spool(self) -> Iterator[Any]:
        """Yield a file on a local disk that is gone after the block."""
        folder = None if is_remote(self.root) else str(self.root)
        with tempfile.TemporaryFile(dir=folder) as file:
            yield file

    @contextmanager
    def probe(self) -> Iterator[Place]:
        """Yield a file in it by which others can tell that they see this directory.

        It stays through `sweep`, and those of killed runs go here: on a store, where another driver
        may be at work, when they are old.
        """
        now = int(time.time())
        for name in _names(self.root):
            if fnmatchcase(name, PROBES) and not (is_remote(self.root) and _is_recent(name, now)):
                _unlink(self.root / name)
        path = self.root / f".probe.{now}-{secrets.token_hex(4)}.tmp"
        write_json(path, {})
        try:
            yield path
        finally:
            _unlink(path)

    @property
    def run_file(self) -> Place:
        """Fingerprint and plan."""
        return self.root / "run.json"

    @property
    def is_foreign(self) -> bool:
        """Whether there is something in it that no run has made."""
        if not is_remote(self.root) and not self.root.exists():
            return False
        names = _names(self.root)
        made = (UNFINISHED, PROBES, RUNS)
        return self.run_file.name not in names and any(
            not any(fnmatchcase(name, pattern) for pattern in made) for name in names
        )

    @property
    def is_worthless(self) -> bool:
        """Whether no task was finished in it, and no other driver is at work there."""
        if not is_remote(self.root):
            return not any(self.root.glob(f"{RUNS}/*/{RESULT}"))
        with _stored():
            found = objects.find(str(self.root))
        names = [one.uri.rpartition("/")[2] for one in found]
        return not any(fnmatchcase(name, RESULT) or fnmatchcase(name, PROBES) for name in names)

    def check_own(self) -> None:
        """Raise WorkDirError where another run has begun in it; a locked directory is not read."""
        if not is_remote(self.root):
            return
        try:
            run = read_json(self.run_file)["run"]
        except FileNotFoundError:
            run = None
        if run != self.run:
            raise WorkDirError(
                f"{self.root} was taken over by another run: give each a --work-dir of its own"
            )

    def clear(self) -> None:
        """Remove everything in it that a run makes, and nothing else.

        The plan goes first: killed half way, this leaves no plan without its data.
        """
        _unlink(self.run_file)
        WorkDir(self.root).sweep()

    def sweep(self) -> None:
        """Remove what killed processes left: unfinished files, and folders of other runs."""
        if is_remote(self.root):
            with _stored():
                for name in _names(self.root):
                    if fnmatchcase(name, RUNS) and name != self.run:
                        objects.remove_folder(str(self.root / name))
            return
        for pattern in (UNFINISHED, f"{RUNS}/*/{UNFINISHED}"):
            for entry in self.root.glob(pattern):
                if not entry.is_dir():
                    entry.unlink(missing_ok=True)
        for entry in self.root.glob(RUNS):
            if entry.name != self.run:
                shutil.rmtree(entry, ignore_errors=True)  # a lost worker may still write there

    def remove(self) -> None:
        """Clear it, and remove the directory where nothing else is in it."""
        self.clear()
        if not is_remote(self.root) and not any(self.root.iterdir()):
            self.root.rmdir()


def seen(path: Place) -> bool:
    """Whether there is such a file."""
    if not is_remote(path):
        return path.exists()
    with _stored():
        return objects.exists(str(path))


def size(path: Place) -> int:
    """Bytes of a file."""
    if not is_remote(path):
        return path.stat().st_size
    with _stored():
        return objects.info(str(path)).size or 0


def _is_recent(probe: str, now: int) -> bool:
    """Whether the driver that left a probe may still be running."""
    began = probe.split(".")[2].partition("-")[0]
    return began.isdigit() and now - int(began) < PROBE_SECONDS


def _unlink(path: Place) -> None:
    if is_remote(path):
        with _stored():
            objects.remove(str(path))
    else:
        path.unlink(missing_ok=True)


def _names(folder: Place) -> list[str]:
    """Names of what is right in a folder."""
    if not is_remote(folder):
        return [entry.name for entry in folder.iterdir()]
    with _stored():
        return [uri.rpartition("/")[2] for uri in objects.entries(str(folder))]


LAYOUT = 5
"""Raised whenever files of a work directory come to mean something else."""

HEX = "[0-9a-f]"

UNFINISHED = f".*.{16 * HEX}.tmp"
"""What a process that was killed leaves of a file it was writing."""

PROBES = f".probe.*-{8 * HEX}.tmp"
"""What a driver leaves while it runs, with the second in which it began: see `WorkDir.probe`."""

PROBE_SECONDS = 7 * 86_400
"""Beyond this age a probe is taken for that of a killed run."""

RUNS = f"dedupe-{8 * HEX}"
"""Folders of runs in a work directory, which other folders may share: `run.json` must name one."""

RESULT = "[0-9]*.json"
"""Results of tasks."""

STAGE_NAMES = ("sign", "bucket", "join", "link", "label", "group", "shingle", "verify", "keep")
"""The stages in order; join is for runs without bands."""


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
