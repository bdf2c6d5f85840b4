"""Publishing: the keep-lists of a finished run to OUT, which appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dedupe.errors import WorkDirError
from dedupe.pipeline import Outcome
from dedupe.storage import disk_full, flush_to_disk, write_json


def publish(outcome: Outcome, output: Path) -> None:
    """Put the keep-lists and the summary of a finished run at `output`.

    Files that lie on the same disk are linked, not copied. Raises WorkDirError where a keep-list
    file is missing in the work directory, or the output cannot be written.
    """
    beside = Path(tempfile.mkdtemp(prefix=f".{output.name[:40]}.", dir=output.parent))
    try:
        (beside / "keep").mkdir()
        for shard in outcome.summary["corpus"]["shards"]:
            made = outcome.work.keep(Path(shard["keep"]).name)
            if not made.is_file():
                raise WorkDirError(f"{made} is missing: start again with --fresh")
            _link(made, beside / shard["keep"])
            flush_to_disk(beside / shard["keep"])
        write_json(beside / "summary.json", outcome.summary)
        flush_to_disk(beside / "summary.json")
        beside.chmod(0o777 & ~_umask())
        os.replace(beside, output)
        flush_to_disk(output.parent)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        reason = "the disk is full" if disk_full(error) else error.strerror or str(error)
        raise WorkDirError(
            f"{output} cannot be written: {reason}; the same command goes on from here"
        ) from error
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _link(made: Path, place: Path) -> None:
    """A second name for a file that is never written to again; a copy where that cannot be."""
    try:
        os.link(made, place)
    except OSError:
        shutil.copyfile(made, place)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
