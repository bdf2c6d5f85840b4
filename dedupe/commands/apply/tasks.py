"""What one task of apply does: read some shards beside their keep-lists, write what stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, held_bytes, picked, taken
from dedupe.commands.apply.repeats import Steps, cut_short, rounds, times_of
from dedupe.commands.apply.without import Without
from dedupe.config import FILE
from dedupe.corpus import Shard, format_of, open_source
from dedupe.corpus.rewriting import Rows, Source, Writer
from dedupe.corpus.rewriting.beside import TAKEN, names, prefixed
from dedupe.errors import CorpusError
from dedupe.storage.files import Files
from dedupe.storage.keep_lists import keep_list_batches
from dedupe.storage.tables import WrittenFile
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import TaskResult

KEEP_ROWS = 1 << 16
"""Rows of a keep-list that are read at a time."""


class Output(NamedTuple):
    """A file to write: rows [first, last) of shards, as (shard, first, last) in order.

    skip: how often the first of them that is written stands in files before this one; it is then
    the last row that the file before this one has. most: rows that the file has room for, None for
    any number.
    """

    name: str
    sources: list[tuple[int, int, int]]
    skip: int = 0
    most: int | None = None


@dataclass(frozen=True)
class ApplyJob:
    """All that a task needs to know, besides its number.

    shards: of the corpus. out: the run's output. listed: what its summary says of each shard.
    tasks: the files that each task writes. kept, dropped: folders for the two parts of the corpus.
    add: all rows go to `kept`, with what the keep-list says of them. copies_column: the column of
    kept rows with the number of their copies, None for none. repeat: how often they are written.
    without: rows that are left out besides; None for none. work: where results are committed.
    """

    shards: list[Shard]
    out: Files
    listed: Sequence[Mapping[str, Any]]
    tasks: list[list[Output]]
    kept: Files
    dropped: Files | None
    add: bool
    copies_column: str | None
    repeat: Steps
    without: Without | None
    work: WorkDir

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        return f"{stage} task {task} ({self.tasks[task][0].name})"

    def beside_kept(self, keep_list: pa.Schema) -> tuple[list[str], pa.Schema]:
        """The columns of a keep-list that go beside kept rows, and as what they do."""
        if self.copies_column is not None:
            return ["copies"], pa.schema([(self.copies_column, pa.int64())])
        wanted = names(keep_list, keep=True) if self.add else []
        return wanted, prefixed(keep_list, wanted)


@dataclass(frozen=True, kw_only=True)
class ApplyResult(TaskResult):
    """The files that a task wrote.

    outputs: the name of each, rows and bytes of both parts, and how many of the kept rows repeat
    the one before them.

    `files` has those of the kept part as kept/NAME, those of the dropped part as dropped/NAME.
    """

    outputs: list[dict[str, Any]]


def apply_task(job: ApplyJob, task: int) -> ApplyResult:
    """Write the files of a task.

    job: of the command. task: number of the task.
    """
    outputs: list[dict[str, Any]] = []
    files: dict[str, WrittenFile] = {}
    with _Cursor(job) as cursor:
        for output in job.tasks[task]:
            rows, written = _write(job, output, cursor)
            if format_of(job.shards[output.sources[0][0]]).unit == FILE:  # each is one row
                written = {part: file for part, file in written.items() if rows[part]}
            files |= {f"{part}/{output.name}": file for part, file in written.items()}
            sizes = {
                f"{part}_bytes": written[part].size if part in written else 0
                for part in ("kept", "dropped")
            }
            outputs.append({"name": output.name, **rows, **sizes})
    return ApplyResult(
        rows=sum(one["kept"] - one["repeated"] + one["dropped"] for one in outputs),
        files=files,
        outputs=outputs,
    )


def _write(
    job: ApplyJob, output: Output, cursor: _Cursor
) -> tuple[dict[str, int], dict[str, WrittenFile]]:
    """Write one file, or its two parts; rows of each, and the files."""
    counts = {"kept": 0, "dropped": 0, "repeated": 0}
    skip, most = output.skip, output.most
    sinks = {}
    with ExitStack() as open_files:
        source = cursor.open(*output.sources[0][:2])
        schema = cursor.decisions.schema
        kept_names, beside_kept = job.beside_kept(schema)
        dropped_names = names(schema, keep=False)
        beside_dropped = prefixed(schema, dropped_names)
        sinks["kept"] = open_files.enter_context(job.kept.writing(output.name))
        if job.dropped is not None:
            sinks["dropped"] = open_files.enter_context(job.dropped.writing(output.name))
        beside = {
            "kept": beside_kept if kept_names else None,
            "dropped": beside_dropped,
        }
        writers = {
            part: open_files.enter_context(
                ended(source.writer(pa.PythonFile(sink, "w"), beside[part]))
            )
            for part, sink in sinks.items()
        }
        for shard, first, last in output.sources:
            for piece, decided in cursor.rows(shard, first, last):
                keep = decided.column("keep").to_numpy(zero_copy_only=False)
                counts["dropped"] += int(len(keep) - keep.sum())
                told = _select(decided, kept_names, beside_kept) if kept_names else None
                if job.repeat:
                    times = cut_short(repeats(job.repeat, decided), skip, most)
                    counts["repeated"] += int(times.sum() - np.count_nonzero(times)) + (skip > 0)
                    skip, most = 0, None if most is None else most - int(times.sum())
                    counts["kept"] += _write_often(writers["kept"], piece, times, told)
                else:
                    counts["kept"] += int(keep.sum())
                    take = np.ones(len(keep), np.bool_) if job.add else keep
                    beside_taken = None if told is None else taken(told, take)
                    writers["kept"].write(piece, take, beside_taken)
                if "dropped" in writers:
                    gone = taken(_select(decided, dropped_names, beside_dropped), ~keep)
                    writers["dropped"].write(piece, ~keep, gone)
    return counts, {part: WrittenFile.of(sink) for part, sink in sinks.items()}


@contextmanager
def ended(writer: Writer) -> Iterator[Writer]:
    """End a file with the block; after an error that one counts, as nobody will read the file."""
    try:
        yield writer
    except BaseException:
        with suppress(pa.ArrowException, OSError):
            writer.close()
        raise
    writer.close()


def _select(batch: pa.RecordBatch, wanted: list[str], called: pa.Schema) -> pa.RecordBatch:
    """Some columns of a keep-list with the names and types that they get beside rows."""
    return pa.RecordBatch.from_arrays([batch.column(name) for name in wanted], schema=called)


def repeats(steps: Steps, decided: pa.RecordBatch) -> Array:
    """How often each row of a keep-list is written: int64[rows]."""
    keep = decided.column("keep").to_numpy(zero_copy_only=False)
    return times_of(steps, keep, decided.column("copies").fill_null(0).to_numpy())


def _write_often(writer: Writer, piece: Rows, times: Array, beside: pa.RecordBatch | None) -> int:
    """Write each row of a piece so often, one after the other; how many rows that are."""
    for numbers in rounds(times, held_bytes(piece)):
        rows = picked(piece, numbers)
        told = None if beside is None else picked(beside, numbers)
        writer.write(rows, np.ones(len(numbers), np.bool_), told)
    return int(times.sum())


class _Decisions:
    """The keep-list of a shard, as many rows at a time as are asked for; ends with `closing`."""

    def __init__(
        self,
        out: Files,
        listed: Mapping[str, Any],
        without: Without | None,
        closing: ExitStack,
    ) -> None:
        schema, self._batches = closing.enter_context(keep_list_batches(out, listed, KEEP_ROWS))
        wanted = names(schema, keep=True)
        self.schema = pa.schema([_plain(schema.field(name)) for name in wanted])
        self._held = pa.RecordBatch.from_pylist([], schema=self.schema)
        self._at = 0
        self._without = without
        self._with_problems = None if without is None else without.rows_of(listed)

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
                columns = [batch.column(one.name).cast(one.type) for one in self.schema]
                self._held = pa.RecordBatch.from_arrays(columns, schema=self.schema)
                if self._without is not None and self._with_problems is not None:
                    self._held = self._without.decided(self._held, self._at, self._with_problems)
                self._at += batch.num_rows
            parts.append(self._held.slice(0, count))
            self._held = self._held.slice(parts[-1].num_rows)
            count -= parts[-1].num_rows
        return pa.concat_batches(parts) if parts else self._held.slice(0, 0)


def _plain(field: pa.Field) -> pa.Field:
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, kind)


class _Cursor:
    """Reads shards from front to back, each once, in the order in which they are asked for."""

    def __init__(self, job: ApplyJob) -> None:
        self._job = job
        self._shard = -1
        self._last: tuple[Rows, pa.RecordBatch] | None = None
        self._closing = ExitStack()

    def __enter__(self) -> _Cursor:
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.close()

    def open(self, shard: int, first: int) -> Source:
        """Begin a shard at a row, unless it has been begun."""
        if shard != self._shard:
            self._source = open_source(self._job.shards[shard])
            self._shard, self._at = shard, self._source.start(first)
            self._rest: Rows | None = None
            self._blocks: Iterator[Rows] = self._source.blocks(self._at)
            self._closing.close()
            listed = self._job.listed[shard]
            self.decisions = _Decisions(self._job.out, listed, self._job.without, self._closing)
            self.decisions.skip(self._at)
            self._added = self._names_added()
        return self._source

    def _names_added(self) -> list[str]:
        """The columns that rows get, which must not have them already."""
        schema = self.decisions.schema
        _, beside = self._job.beside_kept(schema)
        added = list(beside.names)
        if self._job.dropped is not None:
            added += prefixed(schema, names(schema, keep=False)).names
        there = [name for name in added if name in self._source.names]
        if there:
            raise CorpusError(TAKEN.format(there[0]), path=self._job.shards[self._shard].path)
        return added

    def rows(self, shard: int, first: int, last: int) -> Iterator[tuple[Rows, pa.RecordBatch]]:
        """Rows [first, last) in pieces, with what was decided of each.

        They go on behind those that were asked for before, or begin with the last of them again.
        """
        self.open(shard, first)
        if first < self._at and self._last is not None:
            yield self._last
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
                if self._job.repeat:
                    end = part.num_rows - 1
                    self._last = (part.slice(end, 1), decided.slice(end, 1))
        if last == self._job.listed[shard]["rows"]:
            left = self._rest is not None or next(self._blocks, None) is not None
            if left or self.decisions.take(1).num_rows:
                raise self._other_rows()
            self._job.shards[shard].check_unchanged()

    def _next(self) -> Rows:
        piece, self._rest = self._rest, None
        if piece is None:
            piece = next(self._blocks, None)
        while piece is not None and piece.num_rows == 0:
            piece = next(self._blocks, None)
        if piece is None:
            raise self._other_rows()
        return piece

    def _other_rows(self) -> CorpusError:
        shard = self._job.shards[self._shard]
        count = self._job.listed[self._shard]["rows"]
        return CorpusError(
            f"has not the {count} rows that its keep-list has: run again", path=shard.path
        )


def rows_taken(
    out: Files,
    listed: Mapping[str, Any],
    *,
    every: bool,
    repeat: Steps = (),
    without: Without | None = None,
) -> Iterator[tuple[Array, Array]]:
    """Numbers of the rows of a shard that go to CLEAN, some at a time, and how often each does.

    out: the run's output. listed: what its summary says of the shard. every: whether all rows go
    there. repeat: how often they do. without: rows that do not, besides.
    """
    with ExitStack() as closing:
        decisions = _Decisions(out, listed, without, closing)
        first = 0
        while (batch := decisions.take(KEEP_ROWS)).num_rows:
            times = np.maximum(repeats(repeat, batch), int(every))
            rows = np.flatnonzero(times)
            yield rows + first, times[rows]
            first += batch.num_rows
