"""Publishing: the keep-lists of a finished run to OUT, which appears whole or not at all.

On an object store the files of OUT/keep come first and OUT/summary.json last: without it OUT is no
output. What a killed run has left there the next one removes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedupe.errors import WorkDirError
from dedupe.pipeline import Outcome
from dedupe.remote import Place, Remote, StoreError, is_remote, objects
from dedupe.storage.work_dir import disk_full, flush_to_disk, write_json
from dedupe.threads import Threads

COPIES = 16
"""Files put in place at a time."""

_KEEP_FILE = re.compile(r"keep/\d{5,}-[^/]*\.parquet")


def publish(outcome: Outcome, output: Place) -> None:
    """Put the keep-lists and the summary of a finished run at `output`.

    Files that lie on the same disk are linked, not copied, and those in the same store copied by
    it. Raises WorkDirError where a keep-list file is missing in the work directory, the output
    cannot be written, or another run has taken the work directory over.
    """
    outcome.work.check_own()
    if is_remote(output):
        _publish_to_store(outcome, output)
    else:
        _publish_to_disk(outcome, output)


def _publish_to_disk(outcome: Outcome, output: Path) -> None:
    shards = outcome.summary["corpus"]["shards"]
    made = {
        shard["keep"]: (outcome.work.keep(Path(shard["keep"]).name), size)
        for shard, size in zip(shards, outcome.keep_sizes, strict=True)
    }
    put_folder(made, "summary.json", outcome.summary, output)


def put_folder(
    made: Mapping[str, tuple[Place, int]], last: str, says: object, output: Path
) -> None:
    """Let a folder appear, whole: files that were made by their names in it, and `last` as JSON.

    made: where each file is, and the bytes it had when it was committed: since then a power cut may
    have emptied it. Files on the same disk are linked, so that those of a work directory stay what
    was committed. Raises WorkDirError where one is missing, or of another size.
    """
    beside = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}.", dir=output.parent))
    try:
        for folder in {(beside / name).parent for name in made}:
            folder.mkdir(parents=True, exist_ok=True)
        with Threads(COPIES) as pool:
            for _ in pool.map(_put, made.values(), [beside / name for name in made]):
                pass
        write_json(beside / last, says)
        flush_to_disk(beside / last)
        for folder in (beside, *(path for path in beside.rglob("*") if path.is_dir())):
            flush_to_disk(folder)
        beside.chmod(0o777 & ~_umask())
        os.replace(beside, output)
        flush_to_disk(output.parent)
    except OSError as error:
        raise _unwritten(output, error) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _put(committed: tuple[Place, int], place: Path) -> None:
    """Give a file that was made a second name, where it will be found after a power cut too."""
    made, size = committed
    _link(made, place)
    flush_to_disk(place)
    found = place.stat().st_size
    if found != size:
        raise WorkDirError(
            f"{made} is damaged ({found} bytes, {size} were written): start again with --fresh"
        )


def _publish_to_store(outcome: Outcome, output: Remote) -> None:
    files = [shard["keep"] for shard in outcome.summary["corpus"]["shards"]]
    pairs = [(outcome.work.keep(Path(file).name), str(output / file)) for file in files]
    try:
        if check_no_output(output):
            objects.remove_folder(str(output / "keep"))
        is_hub = str(output).startswith("hf://")  # where each file is a commit
        with Threads(1 if is_hub else COPIES) as pool:
            for _ in pool.map(_upload, *zip(*pairs, strict=True)):
                pass
        write_json(output / "summary.json", outcome.summary)
    except OSError as error:
        raise _unwritten(output, error) from error


def _unwritten(output: Place, error: OSError) -> WorkDirError:
    if isinstance(error, StoreError):
        reason = str(error)
    else:
        reason = "the disk is full" if disk_full(error) else error.strerror or str(error)
    return WorkDirError(f"{output} cannot be written: {reason}; the same command goes on from here")


def _upload(made: Place, uri: str) -> None:
    """Copy a keep-list file to a store: within it, or through a local disk."""
    try:
        if not is_remote(made):
            objects.upload(made, uri)
        elif objects.same_store(str(made), uri):
            objects.copy(str(made), uri)
        else:
            with tempfile.TemporaryDirectory(prefix="dedupe-") as folder:
                objects.download(str(made), Path(folder) / "made")
                objects.upload(Path(folder) / "made", uri)
    except FileNotFoundError as error:
        raise _missing(made) from error


def _link(made: Place, place: Path) -> None:
    """A second name for a file that is never written to again; a copy where that cannot be."""
    if is_remote(made):
        try:
            objects.download(str(made), place)
        except FileNotFoundError as error:
            raise _missing(made) from error
        return
    if not made.is_file():
        raise _missing(made)
    try:
        os.link(made, place)
    except OSError:
        shutil.copyfile(made, place)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _missing(made: Place) -> WorkDirError:
    return WorkDirError(f"{made} is missing: start again with --fresh")


def check_no_output(output: Remote) -> bool:
    """Refuse to write over anything in a store, but keep-lists that no summary stands beside.

    Returns whether there are such.
    """
    found = listed(output)
    if not all(map(_KEEP_FILE.fullmatch, found)):
        raise WorkDirError(
            f"{output} exists and is not an empty directory: choose another --output or remove it"
        )
    return bool(found)


def listed(folder: Remote) -> set[str]:
    """Names of what is in a folder of a store, at any depth."""
    root = str(folder)
    try:
        return {one.uri[len(root) + 1 :] for one in objects.find(root)}
    except StoreError as error:
        raise WorkDirError(str(error)) from error


def read_keep_list(
    file: Place, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """Columns of a published keep-list file, or all; of its rows those that pass `filters`."""
    where, store = _at(file)
    return pq.read_table(
        where, columns=columns, filters=filters, filesystem=store, partitioning=None
    )


def open_keep_list(file: Place) -> pq.ParquetFile:
    """The same file, to be read a batch at a time."""
    where, store = _at(file)
    return pq.ParquetFile(where, filesystem=store)


def _at(file: Place) -> tuple[str | Path, Any]:
    """What pyarrow opens, and on which filesystem."""
    return (file.path, file.fs) if is_remote(file) else (file, None)
