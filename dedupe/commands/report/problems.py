"""Problems of the rows of a run, for its report: of all where they were looked for, or of some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array
from dedupe.commands.problems.job import Reading, readings_of
from dedupe.commands.problems.look import Counts, count_rows, keep_of, seen_of
from dedupe.commands.problems.table import Problems
from dedupe.corpus import plan_slices
from dedupe.pairs import values_of
from dedupe.result import Result, shard_as_read
from dedupe.stages.problems import NAMES, OF_SEVERAL_ROWS, bit_of

SAMPLE = 20_000
"""Rows that are looked through for problems."""
STRETCHES = 20
"""Of neighbouring rows, in which the sample is drawn: few parts of a file are read."""
EXAMPLES = 5
"""Rows that are shown of each problem."""
BATCH_BYTES = 1 << 24
"""Text that is decoded at a time."""

Place = tuple[int, int]
"""The number of a shard, and a row of it."""


@dataclass
class ProblemsFound:
    """What was found.

    looked_at: rows that were looked at. counts: of each problem the rows that have it. counted: see
    `problems.look.Counts`. examples: of each problem the places of some rows, and their texts.
    """

    looked_at: int
    counts: dict[str, int]
    counted: Counts
    examples: dict[str, list[tuple[Place, str]]] = field(default_factory=dict)


def problems_found(result: Result, seed: int, note: Callable[[str], None]) -> ProblemsFound:
    """Those of all rows where OUT has problems.parquet, else those of a sample.

    result: the finished run. seed: another one draws other rows. note: is told which files are
    read. Raises CorpusError for a shard that is not as the run has read it.
    """
    readings, problems = readings_of(result), Problems.of(result)
    if problems is not None:
        return _of_all(result, problems, readings, note)
    return _of_sample(result, readings, seed, note)


def readable_rows(result: Result) -> int:
    """Rows of a run that could be read. result: the finished run."""
    unreadable: int = result.summary["corpus"]["unreadable"]["rows"]
    return result.rows - unreadable


def _of_all(
    result: Result, problems: Problems, readings: Sequence[Reading], note: Callable[[str], None]
) -> ProblemsFound:
    chosen = _examples(result, problems)
    places = [place for some in chosen.values() for place in some]
    fields = [one.projection.fields[: len(one.names)] for one in readings]
    texts = values_of(
        places, result.shards, fields, (), lambda listed: shard_as_read(result, listed), note
    )
    return ProblemsFound(
        readable_rows(result),
        {name: count["rows"] for name, count in problems.counts.items()},
        {
            name: {key: [*of] for key, of in values.items()}
            for name, values in problems.counted.items()
        },
        {
            name: [(place, _joined(texts[place].texts)) for place in some]
            for name, some in chosen.items()
        },
    )


def _examples(result: Result, problems: Problems) -> dict[str, list[Place]]:
    """Some rows with each problem, from all over the corpus."""
    shard_of = {shard["path"]: number for number, shard in enumerate(result.shards)}
    found: dict[str, list[Place]] = {}
    for table in problems.tables():
        names = table["problem"].cast(pa.string())
        for name in pc.unique(names).to_pylist():
            some = table.filter(pc.equal(names, name)).slice(0, EXAMPLES)
            for path, row in zip(some["shard"].to_pylist(), some["row"].to_pylist(), strict=True):
                found.setdefault(name, []).append((shard_of[path], row))
    chosen = {}
    for name, places in found.items():
        spread = np.linspace(0, len(places) - 1, min(EXAMPLES, len(places))).astype(int)
        chosen[name] = [places[number] for number in spread.tolist()]
    return chosen


def _joined(texts: Sequence[str | None]) -> str:
    return "\n".join(text for text in texts if text)


def _of_sample(
    result: Result, readings: Sequence[Reading], seed: int, note: Callable[[str], None]
) -> ProblemsFound:
    found = ProblemsFound(0, {name: 0 for name in NAMES if name not in OF_SEVERAL_ROWS}, {})
    by_shard: dict[int, list[int]] = {}
    for shard, row in sample_of([shard["rows"] for shard in result.shards], seed):
        by_shard.setdefault(shard, []).append(row)
    for number, some in by_shard.items():
        note(f"reads {len(some):,} rows of {result.shards[number]['path']}")
        _look_at(result, number, readings[number], np.array(some), found)
    return found


def _look_at(
    result: Result, number: int, reading: Reading, rows: Array, found: ProblemsFound
) -> None:
    """Look at rows of a shard. rows: int64, ascending."""
    listed = result.shards[number]
    first = int(rows[0])
    keep = keep_of(result.storage, listed, first, int(rows[-1]) + 1)[rows - first]
    shard = shard_as_read(result, listed)
    done = 0
    (part,) = plan_slices(shard, reading.projection.text_columns, 1 << 62, 1 << 62)
    for fields, seen, readable in seen_of(shard, part, reading, BATCH_BYTES, rows):
        count = len(readable)
        count_rows(found.counted, seen, keep[done : done + count], readable)
        for name in found.counts:
            has = np.flatnonzero(((seen.problems & np.uint32(bit_of(name))) > 0) & readable)
            found.counts[name] += len(has)
            examples = found.examples.setdefault(name, [])
            for row in has[: EXAMPLES - len(examples)].tolist():
                place = (number, int(rows[done + row]))
                examples.append((place, _text_of(fields, row)))
        done += count
        found.looked_at += int(readable.sum())


def _text_of(fields: Mapping[str, pa.Array], row: int) -> str:
    texts = (one.slice(row, 1).cast(pa.large_binary())[0].as_py() for one in fields.values())
    return "\n".join(text.decode("utf-8", "replace") for text in texts if text)


def sample_of(rows: Sequence[int], seed: int) -> list[Place]:
    """Places of rows in some stretches, or of all rows where these are few. rows: of each shard."""
    starts = np.cumsum([0, *rows])
    total = int(starts[-1])
    if total <= SAMPLE:
        chosen: Array = np.arange(total)
    else:
        size = SAMPLE // STRETCHES
        stretches = np.random.default_rng(seed).choice(total // size, STRETCHES, replace=False)
        chosen = (np.sort(stretches)[:, None] * size + np.arange(size)).reshape(-1)
    shard = np.searchsorted(starts, chosen, side="right") - 1
    return list(zip(shard.tolist(), (chosen - starts[shard]).tolist(), strict=True))
