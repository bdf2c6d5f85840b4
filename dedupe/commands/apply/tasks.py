"""What one task of apply does: read some shards beside their keep-lists, write what stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, taken
from dedupe.corpus import Shard, open_source
from dedupe.corpus.rewriting import Rows, Source, Writer
from dedupe.corpus.rewriting.beside import PREFIX, TAKEN, names
from dedupe.errors import CorpusError
from dedupe.remote import Place
from dedupe.storage.publish import open_keep_list
from dedupe.storage.work_dir import WorkDir, size, writing

KEEP_ROWS = 1 << 16
"""Rows of a keep-list read at a time."""


class Output(NamedTuple):
    """A file to write: rows [first, last) of shards, as (shard, first, last) in order."""

    name: str
    sources: list[tuple[int, int, int]]


@dataclass(frozen=True)
class Job:
    """All that a task needs to know, besides its number.

    keep_files and rows: of each shard. kept, dropped: folders for the two parts of the corpus. add:
    all rows go to `kept`, with what the keep-list says of them.
    """

    shards: list[Shard]
    keep_files: list[Place]
    rows: list[int]
    tasks: list[list[Output]]
    kept: Place
    dropped: Place | None
    add: bool
    work: WorkDir

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        return f"{stage} task {task} ({self.tasks[task][0].name})"


def apply_task(job: Job, task: int) -> dict[str, Any]:
    """Write the files of a task; says how many rows went where, and the bytes."""
    files = []
    cursor = _Cursor(job)
    for output in job.tasks[task]:
        files.append(_write(job, output, cursor))
    return {
        "rows": sum(file["kept"] + file["dropped"] for file in files),
        "files": files,
        "bytes": sum(file["kept_bytes"] + file["dropped_bytes"] for file in files),
    }


def _write(job: Job, output: Output, cursor: _Cursor) -> dict[str, Any]:
    counts = {"kept": 0, "dropped": 0}
    with ExitStack() as open_files:
        source = cursor.open(*output.sources[0][:2])
        schema = cursor.decisions.schema
        kept_names, dropped_names = names(schema, keep=True), names(schema, keep=False)
        kept_beside = _schema(schema, kept_names) if job.add else None
        sink = open_files.enter_context(writing(job.kept / output.name))
        writers = [open_files.enter_context(_ended(source.writer(sink, kept_beside)))]
        if job.dropped is not None:
            sink = open_files.enter_context(writing(job.dropped / output.name))
            writer = source.writer(sink, _schema(schema, dropped_names))
            writers.append(open_files.enter_context(_ended(writer)))
        for shard, first, last in output.sources:
            for piece, decided in cursor.rows(shard, first, last):
                keep = decided.column("keep").to_numpy(zero_copy_only=False)
                counts["kept"] += int(keep.sum())
                counts["dropped"] += int(len(keep) - keep.sum())
                if job.add:
                    every = np.ones(len(keep), np.bool_)
                    writers[0].write(piece, every, decided.select(kept_names))
                else:
                    writers[0].write(piece, keep, None)
                if job.dropped is not None:
                    gone = taken(decided.select(dropped_names), ~keep)
                    writers[1].write(piece, ~keep, gone)
    counts["kept_bytes"], counts["dropped_bytes"] = (
        0 if folder is None else size(folder / output.name) for folder in (job.kept, job.dropped)
    )
    return {"name": output.name, **counts}


@contextmanager
def _ended(writer: Writer) -> Iterator[Writer]:
    """End a file with the block; after an error that one counts, as nobody will read the file."""
    try:
        yield writer
    except BaseException:
        with suppress(pa.ArrowException, OSError):
            writer.close()
        raise
    writer.close()


def _schema(keep_list: pa.Schema, wanted: list[str]) -> pa.Schema:
    return pa.schema([keep_list.field(name) for name in wanted])


class _Decisions:
    """The keep-list of a shard, as many rows at a time as are asked for."""

    def __init__(self, file: Place) -> None:
        where = open_keep_list(file)
        listed = where.schema_arrow
        wanted = names(listed, keep=True)
        self.schema = pa.schema([_plain(listed.field(name)) for name in wanted])
        self._batches = where.iter_batches(KEEP_ROWS, columns=wanted, use_threads=False)
        self._held = pa.RecordBatch.from_pylist([], schema=self.schema)

    def skip(self, count: int) -> None:
        """Go on after the next rows."""
        while count and (skipped := self.take(min(count, KEEP_ROWS)).num_rows):
            count -= skipped

    def take(self, count: int) -> pa.RecordBatch:
        """The next rows; fewer where it ends."""
        parts = []
        while count:
            if self._held.num_rows == 0:
                batch = next(self._batches, None)
                if batch is None:
                    break
                columns = [batch.column(field.name).cast(field.type) for field in self.schema]
                self._held = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            parts.append(self._held.slice(0, count))
            self._held = self._held.slice(parts[-1].num_rows)
            count -= parts[-1].num_rows
        return pa.concat_batches(parts) if parts else self._held.slice(0, 0)


def _plain(field: pa.Field) -> pa.Field:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, kind)


class _Cursor:
    """Reads shards from front to back, each once, in the order in which they are asked for."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._shard = -1

    def open(self, shard: int, first: int) -> Source:
        """Begin a shard at a row, unless it has been begun."""
        if shard != self._shard:
            self._source = open_source(self._job.shards[shard])
            self._shard, self._at = shard, self._source.start(first)
            self._rest: Rows | None = None
            self._pieces: Iterator[Rows] = self._source.blocks(self._at)
            self.decisions = _Decisions(self._job.keep_files[shard])
            self.decisions.skip(self._at)
            self._added = self._names_added()
        return self._source

    def _names_added(self) -> list[str]:
        """The columns that rows get, which must not have them already."""
        if not self._job.add and self._job.dropped is None:
            return []
        added = [PREFIX + name for name in names(self.decisions.schema, keep=self._job.add)]
        there = [name for name in added if name in self._source.names]
        if there:
            raise CorpusError(TAKEN.format(there[0]), path=self._job.shards[self._shard].path)
        return added

    def rows(self, shard: int, first: int, last: int) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Rows [first, last) in pieces, with what was decided of each."""
        self.open(shard, first)
        while self._at < last:
            piece = self._next()
            stop = first if self._at < first else last
            part = piece.slice(0, stop - self._at)
            if part.num_rows < piece.num_rows:
                self._rest = piece.slice(part.num_rows, piece.num_rows - part.num_rows)
            decided = self.decisions.take(part.num_rows)
            if decided.num_rows < part.num_rows:
                raise self._other_rows()
            self._source.check(part, self._at, self._added)
            self._at += part.num_rows
            if stop == last:
                yield part, decided
        if last == self._job.rows[shard]:
            left = self._rest is not None or next(self._pieces, None) is not None
            if left or self.decisions.take(1).num_rows:
                raise self._other_rows()
            self._job.shards[shard].check_unchanged()

    def _next(self) -> Rows:
        piece, self._rest = self._rest, None
        if piece is None:
            piece = next(self._pieces, None)
        while piece is not None and piece.num_rows == 0:
            piece = next(self._pieces, None)
        if piece is None:
            raise self._other_rows()
        return piece

    def _other_rows(self) -> CorpusError:
        shard = self._job.shards[self._shard]
        count = self._job.rows[self._shard]
        return CorpusError(
            f"has not the {count} rows that its keep-list has: run again", path=shard.path
        )


def rows_taken(file: Place, *, every: bool) -> Iterator[tuple[int, Array]]:
    """(first row, numbers of the rows that go to CLEAN among the next ones), of a keep-list."""
    decisions = _Decisions(file)
    first = 0
    while (batch := decisions.take(KEEP_ROWS)).num_rows:
        keep = batch.column("keep").to_numpy(zero_copy_only=False)
        yield first, np.flatnonzero(keep | every) + first
        first += batch.num_rows
