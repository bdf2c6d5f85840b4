"""look: the rows of a slice, their problems, and who speaks in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, as_large_string, numbers
from dedupe.commands.problems.job import (
    ANSWERS,
    KEYS,
    LOOKED,
    PROMPTS,
    LookResult,
    ProblemsJob,
    Reading,
)
from dedupe.corpus import Shard, Slice, read_slice
from dedupe.documents.template import SEPARATOR
from dedupe.shingling import digests_of
from dedupe.stages.problems import (
    ANSWER,
    PROMPT,
    SYSTEM,
    TURNS,
    RowsSeen,
    look_at,
    matches,
)
from dedupe.storage.files import Files
from dedupe.storage.keep_lists import keep_list_batches

KEEP_ROWS = 1 << 17
"""Rows of a keep-list that are read at a time."""
COUNTED = ("turns", "speakers")
"""What chats are counted by."""

Counts = dict[str, dict[str, list[int]]]
"""Of each of `COUNTED` for each value the rows that have it, and those of them that are kept."""


def look_task(job: ProblemsJob, task: int) -> LookResult:
    """Look at the rows of a slice; leaves `LOOKED`, `PROMPTS` and `ANSWERS`.

    job: the search. task: number of the slice.
    """
    shard, first, end = job.rows_of(task)
    reading, keep = job.readings[shard], keep_of(job.out, job.listed[shard], first, end)
    start = int(job.slice_starts[task])
    counted: Counts = {}
    parts: list[list[Array]] = [[np.zeros(0, np.int64)], [np.zeros(0, np.uint32)]]
    pairs: list[tuple[Array, Array, Array]] = []
    done = 0
    part = job.slices[task]
    for fields, seen, readable in seen_of(job.shards[shard], part, reading, job.batch, None):
        rows = len(readable)
        count_rows(counted, seen, keep[done : done + rows], readable)
        has = np.flatnonzero((seen.problems > 0) & readable)
        parts[0].append(has + start + done)
        parts[1].append(seen.problems[has])
        if PROMPT in fields and ANSWER in fields:
            pairs.append(_pairs(fields, start + done))
        done += rows
    columns = [pa.array(np.concatenate(part)) for part in parts]
    looked = pa.RecordBatch.from_arrays(columns, schema=LOOKED.columns)
    files = LOOKED.write(job.work, task, [looked])
    nothing = (np.zeros((0, 2), np.uint64),) * 2 + (np.zeros(0, np.int64),)
    asked, answered, at = (np.concatenate(part) for part in zip(*(pairs or [nothing]), strict=True))
    for artifact, key, other in ((PROMPTS, asked, answered), (ANSWERS, answered, asked)):
        files |= artifact.write(job.work, task, _partitioned(job, key, other, at))
    return LookResult(rows=done, files=files, counted=counted, pairs=len(at))


def seen_of(
    shard: Shard, part: Slice, reading: Reading, batch: int, rows: Array | None
) -> Iterator[tuple[dict[str, pa.Array], RowsSeen, Array]]:
    """Rows of a slice, some at a time: texts of their fields, what was seen, which could be read.

    shard, part: where they are. reading: how they are read. batch: bytes of text at a time. rows:
    see `read_slice`.
    """
    for found in read_slice(shard, part, reading.projection, batch_bytes=batch, rows=rows):
        texts = [as_large_string(column) for column in found.columns[: len(reading.names)]]
        fields = dict(zip(reading.names, texts, strict=True))
        who = as_large_string(found.column(len(texts))) if reading.has_who else None
        readable = np.ones(found.num_rows, np.bool_)
        if reading.projection.unreadable:
            readable = ~numbers(found.column(found.num_columns - 1).is_valid())
        yield fields, look_at(fields, who), readable


def count_rows(counted: Counts, seen: RowsSeen, keep: Array, readable: Array) -> None:
    """Count chats by their turns, and by who speaks in them.

    counted: is added to. seen: of the rows. keep, readable: bool, of each of them.
    """
    if seen.speakers is None:
        return
    coded = pc.dictionary_encode(seen.speakers.fill_null(""))
    speakers = [value or "nobody" for value in coded.dictionary.to_pylist()]
    of_turns = zip(COUNTED, (TURNS, speakers), (seen.turns, numbers(coded.indices)), strict=True)
    for name, values, codes in of_turns:
        before, after = (
            np.bincount(codes[some], minlength=len(values)).tolist()
            for some in (readable, keep & readable)
        )
        _add(counted, name, zip(values, before, after, strict=True))


def _add(counted: Counts, name: str, rows: Iterable[tuple[str, int, int]]) -> None:
    of = counted.setdefault(name, {})
    for value, before, after in rows:
        if before:
            found = of.setdefault(value, [0, 0])
            found[0] += before
            found[1] += after


def add_counts(counted: Counts, more: Mapping[str, Mapping[str, list[int]]]) -> None:
    """Add what was counted of other rows."""
    for name, values in more.items():
        _add(counted, name, ((value, before, after) for value, (before, after) in values.items()))


def keep_of(out: Files, listed: Mapping[str, Any], first: int, end: int) -> Array:
    """Whether rows of a shard are kept: bool.

    out: the run's output. listed: what its summary says of the shard. first, end: of the rows.
    """
    parts = [np.zeros(0, np.bool_)]
    at = 0
    with keep_list_batches(out, listed, KEEP_ROWS, ["keep"]) as (_, batches):
        for batch in batches:
            if at >= end:
                break
            some = batch.slice(max(first - at, 0), max(end - max(first, at), 0))
            parts.append(numbers(some.column("keep")).copy())
            at += batch.num_rows
    return np.concatenate(parts)


def _pairs(fields: Mapping[str, pa.Array], start: int) -> tuple[Array, Array, Array]:
    """The digests of prompt and answer of each row that has both, and its position.

    fields: texts of rows. start: position of the first row.
    """
    prompt, answer = fields[PROMPT], fields[ANSWER]
    there = [matches(one, r"[^\t\n\f\r ]") for one in (prompt, answer)]
    rows = np.flatnonzero(np.logical_and(*there))
    if SYSTEM in fields:  # the same question to another assistant is another one
        system, prompt = (one.fill_null("") for one in (fields[SYSTEM], prompt))
        separator = pa.scalar(SEPARATOR, pa.large_string())
        prompt = pc.binary_join_element_wise(system, prompt, separator)
    found = [digests_of(one.take(pa.array(rows))) for one in (prompt, answer)]
    return found[0], found[1], rows + start


def _partitioned(job: ProblemsJob, key: Array, other: Array, at: Array) -> list[pa.RecordBatch]:
    """Records by the partition of their key. key, other: uint64[rows, 2]. at: int64, positions."""
    partition = job.partition_of(key)
    found = []
    for number in range(job.partitions):
        mine = np.flatnonzero(partition == number)
        columns = [_as_binary(key[mine]), _as_binary(other[mine]), pa.array(at[mine])]
        found.append(pa.RecordBatch.from_arrays(columns, schema=KEYS))
    return found


def _as_binary(digests: Array) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(digests))
    return pa.Array.from_buffers(pa.binary(16), len(digests), [None, data])
