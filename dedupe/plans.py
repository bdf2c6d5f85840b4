"""`plan`: what a run over a corpus will take, before it is made."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from dedupe.api import configurations, deduplicate, discovered, paths_of
from dedupe.arrays import text_lengths
from dedupe.calibration import LEAST_SECONDS, errors_of, kind_of, last_run, note_run
from dedupe.config import Execution, Keywords, Settings
from dedupe.corpus import (
    Projection,
    Shard,
    column_names,
    estimate,
    format_of,
    plan_slices,
    read_as,
    read_slice,
)
from dedupe.corpus.names import said_left_out
from dedupe.errors import CorpusError, SettingsError
from dedupe.planning.report import report
from dedupe.planning.sizes import Planner
from dedupe.progress import Progress
from dedupe.remote import is_uri
from dedupe.remote.given import using
from dedupe.tasks.costs import COSTS, STAGE_COSTS, limits_of
from dedupe.tasks.job import projection_of
from dedupe.tasks.survey import document_of, document_of_shard

USUAL_ROWS, USUAL_BYTES, USUAL_SHARE = 1_000_000, 1_200, 0.4
"""Rows, bytes of text in a row, and share of rows in buckets, of a corpus that nobody knows."""
FILES = 16
"""Files that are looked into; of others only the size is known."""
PARTS = 4
PART_BYTES = 2_000_000
"""Slices of each that are read, and text of them."""
WHOLE_BYTES = 64_000_000
"""Text of a file that is read in one piece."""
CALIBRATION_BYTES = 200_000_000
"""Bytes of files that are run over to measure."""
REQUESTS_OF_FILE = 4
"""Requests for a file of a store, besides one for each slice."""


@dataclass(frozen=True)
class Surveyed:
    """What a corpus is like.

    files: in all. looked_at: of them those that were looked into. formats: files of each. columns:
    of the first file. document: what would be compared. file_bytes: of all files. rows, text_bytes:
    of all files, about. empty: share of the rows that were read which have no text. read: rows that
    were read. notes: what was left out. is_remote: whether any file lies in a store.
    """

    files: int
    looked_at: int
    formats: dict[str, int]
    columns: list[str]
    document: str
    file_bytes: int
    rows: int
    text_bytes: int
    empty: float
    read: int
    notes: list[str]
    is_remote: bool

    @property
    def mean_bytes(self) -> int:
        """Bytes of text in a row."""
        return max(round(self.text_bytes / max(self.rows, 1)), 1)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        ratio = self.text_bytes / self.file_bytes if self.file_bytes else None
        return {**vars(self), "mean_bytes": self.mean_bytes, "text_to_file_bytes": ratio}


def plan(
    corpus: str | Path | Sequence[str | Path] | None = None,
    *,
    settings: Settings | None = None,
    execution: Execution | None = None,
    corpus_rows: int | None = None,
    mean_bytes: int | None = None,
    in_components: float | None = None,
    calibrate: bool = False,
    price: float | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[Keywords],
) -> dict[str, Any]:
    """Say what a run will take: tasks, memory, disk, and where a run was measured the time.

    corpus: paths, of which some files are looked into; None for one of `corpus_rows` rows (a
    million) of `mean_bytes` bytes of text (1,200). settings, execution: of the run. in_components:
    share of rows that will share a bucket with another; None for that of the run that was measured
    last, or 0.4. calibrate: run over some of the files first, up to 200 MB of them, and tell time
    by that. price: dollars for an hour of one machine. progress: is told what is done. keywords:
    fields of `Settings` and `Execution` by name.

    Time is told by the last finished run of the same kind on this machine: of the same engine, with
    or without bands, and the same unit of shingles. Returns the numbers of the plan. Raises
    SettingsError, and CorpusError for files that cannot be read.
    """
    chosen, where = configurations(settings, execution, keywords)
    kind = kind_of(where.engine, chosen)
    surveyed = None
    if corpus is not None:
        if corpus_rows is not None or mean_bytes is not None:
            raise SettingsError("give a corpus, or its rows and mean bytes")
        paths = paths_of(corpus)
        with using(where.storage_options, paths):
            shards, notes = _shards(paths, chosen, where)
            surveyed = survey(shards, chosen, notes)
            if calibrate:
                _calibrate(shards, chosen, where, progress)
    elif calibrate:
        raise SettingsError("calibrate runs over some of a corpus: give one")
    before = last_run(kind)
    share = in_components
    if share is None:
        share = USUAL_SHARE if before is None else before.share
    resources = where.resources
    found = report(
        chosen,
        max(surveyed.rows, 1) if surveyed else _or(corpus_rows, USUAL_ROWS),
        surveyed.mean_bytes if surveyed else _or(mean_bytes, USUAL_BYTES),
        share,
        resources,
        Planner(COSTS),
        STAGE_COSTS,
        None if before is None else before.measured,
    )
    machines = (where.workers or 1) if where.engine == "ray" else 1
    seconds = found["seconds"]
    hours = sum(seconds.values()) / 3600 if seconds else None
    requests = None
    if surveyed is not None and surveyed.is_remote:
        slices = max(found["stages"]["sign"]["tasks"], surveyed.files)
        requests = REQUESTS_OF_FILE * surveyed.files + slices
    errors = errors_of(kind)
    return {
        **found,
        "corpus": surveyed and surveyed.as_json(),
        "measured_by": before
        and {
            "rows": before.measured.size.rows,
            "seconds": before.seconds,
            "days_ago": (time.time() - before.when) / 86400,
            "errors": errors,
        },
        "requests": requests,
        "dollars": None if hours is None or price is None else hours * machines * price,
    }


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given


def _shards(
    paths: list[str], settings: Settings, execution: Execution
) -> tuple[list[Shard], list[str]]:
    """The files of a corpus, and what is said of those that are none."""
    found = discovered(paths, settings)
    limits = limits_of(execution)
    notes = [f"leaves out {said}" for said in said_left_out(found.left_out, found.repeated)]
    return [read_as(shard, limits=limits, **settings.reading) for shard in found.shards], notes


def survey(shards: Sequence[Shard], settings: Settings, notes: Sequence[str] = ()) -> Surveyed:
    """Look into some files of a corpus: their sizes, and a few rows of each.

    shards: the files. settings: how they are read. notes: what was left out. Raises CorpusError for
    a file that cannot be read.
    """
    first = document_of(shards, settings)
    by_size = sorted((shard for shard in shards if shard.size), key=lambda shard: shard.size)
    step = max(len(by_size) / FILES, 1)
    chosen = [by_size[int(number * step)] for number in range(min(len(by_size), FILES))]
    rows = text = file_bytes = read = empty = 0
    left_out: list[str] = []
    columns: list[str] = []
    for shard in chosen:
        try:
            document = document_of_shard(shard, first, settings)
            its = projection_of(document, settings)
            projection = replace(its, roles=(), others=(), unreadable=settings.skips_rows)
            some = _some_rows(shard, projection)
            count = some.rows_of(shard, projection)
            columns = columns or column_names(shard)
        except CorpusError as error:
            if not settings.skips_files:
                raise
            left_out.append(f"leaves out {error}")
            continue
        rows += count
        file_bytes += shard.size
        text += round(count * some.text / max(some.rows, 1))
        read += some.rows
        empty += some.empty
    size = sum(shard.size for shard in shards)
    scale = size / file_bytes if file_bytes else 0.0
    return Surveyed(
        files=len(shards),
        looked_at=len(chosen),
        formats=dict(Counter(shard.format for shard in shards)),
        columns=columns,
        document=str(first),
        file_bytes=size,
        rows=round(rows * scale),
        text_bytes=round(text * scale),
        empty=empty / read if read else 0.0,
        read=read,
        notes=[*notes, *left_out],
        is_remote=any(shard.is_remote for shard in shards),
    )


@dataclass
class _Some:
    """Rows of a file that were read.

    rows, empty: how many, and how many without text. text: bytes of it. file_bytes: of the file in
    which they are, 0 where that is not known. is_all: whether these are all rows of the file.
    """

    rows: int = 0
    text: int = 0
    empty: int = 0
    file_bytes: int = 0
    is_all: bool = True

    def rows_of(self, shard: Shard, projection: Projection) -> int:
        """How many rows the file has, about; exactly where its format says so."""
        if self.is_all:
            return self.rows
        if self.file_bytes:
            return round(self.rows * shard.size / self.file_bytes)
        return estimate(shard, projection.text_columns)[0]


def _some_rows(shard: Shard, projection: Projection) -> _Some:
    """Read some rows from all over a file."""
    found = _Some()
    parts = plan_slices(shard, projection.text_columns, PART_BYTES, 1 << 62)
    step = max(len(parts) / PARTS, 1)
    chosen = [parts[int(number * step)] for number in range(min(len(parts), PARTS))]
    found.is_all = len(chosen) == len(parts)
    for part in chosen:
        left = WHOLE_BYTES if found.is_all else 2 * PART_BYTES
        for batch in read_slice(shard, part, projection, batch_bytes=PART_BYTES):
            fields = batch.columns[: len(projection.fields)]
            lengths = np.sum([text_lengths(field) for field in fields], axis=0)
            found.rows += batch.num_rows
            found.text += int(lengths.sum())
            found.empty += int((lengths == 0).sum())
            left -= int(lengths.sum())
            if left <= 0:
                found.is_all = False
                break
        else:
            is_of_lines = not format_of(shard).typed and len(parts) > 1
            found.file_bytes += part.last - part.first if is_of_lines else 0
    return found


def _calibrate(
    shards: Sequence[Shard], settings: Settings, execution: Execution, progress: Progress | None
) -> None:
    """Run over some of the files, and keep what that took."""
    chosen: list[str] = []
    size = 0
    for shard in sorted((one for one in shards if one.size), key=lambda one: (one.size, one.path)):
        if chosen and size + shard.size > CALIBRATION_BYTES:
            break
        chosen.append(shard.path)
        size += shard.size
    if not chosen:
        raise CorpusError("has no file to measure by", path=shards[0].path if shards else "")
    named = None if execution.work_dir is None else str(execution.work_dir)
    parent = None if named is None or is_uri(named) else os.path.dirname(named) or "."
    with tempfile.TemporaryDirectory(prefix="dedupe-plan-", dir=parent) as folder:
        here = replace(execution, work_dir=f"{folder}/work")
        result = deduplicate(
            chosen, f"{folder}/out", settings=settings, execution=here, progress=progress
        )
    if result.summary["wall_seconds"] < LEAST_SECONDS:  # a longer one is kept by itself
        note_run(execution.engine, result.summary, always=True)
