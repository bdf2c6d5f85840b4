"""Keep-lists and columns of the corpus, read once: what was dropped, of which values, by whom."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers
from dedupe.corpus import Projection, plan_slices, read_slice
from dedupe.documents.columns import plain_texts
from dedupe.result import EARLIER, Result, shard_as_read
from dedupe.storage.keep_lists import keep_list_batches

MOST_VALUES = 10_000
"""Values of a column that are counted; one with more is no category."""
BATCH_ROWS = 1 << 17
"""Rows of a keep-list that are read at a time."""
STEP = 0.01
"""Width of a range of similarities."""
LARGEST = 20
"""Clusters that are told."""

Other = TypeVar("Other")


@dataclass
class Column:
    """The values of a column: name; ids, the number of each value; None where there are too many.

    before, after: for each value by its number the rows that have it, and those of them that stay.
    """

    name: str
    ids: dict[str | None, int] = field(default_factory=dict)
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    is_category: bool = True

    def codes(self, values: pa.Array) -> Array | None:
        """The number of each value: int32; None if there are too many. values: of some rows."""
        if not self.is_category:
            return None
        coded = pc.dictionary_encode(plain_texts(values), null_encoding="encode")
        known = []
        for value in coded.dictionary.cast(pa.large_binary()).to_pylist():
            text = None if value is None else value.decode("utf-8", "replace")
            known.append(self.ids.setdefault(text, len(self.ids)))
        if len(self.ids) > MOST_VALUES:
            self.is_category = False
            return None
        found: Array = np.array(known, np.int32)[numbers(coded.indices)]
        return found

    def count(self, codes: Array, keep: Array) -> None:
        """Count rows. codes: see `codes`. keep: bool, of each row."""
        for counts, some in ((self.before, codes), (self.after, codes[keep])):
            counts.extend([0] * (len(self.ids) - len(counts)))
            for number, rows in enumerate(np.bincount(some, minlength=len(self.ids)).tolist()):
                counts[number] += rows

    @property
    def values(self) -> list[dict[str, Any]]:
        """Each value with its rows before and after, the most frequent first."""
        found = [
            {"value": value, "before": self.before[number], "after": self.after[number]}
            for value, number in self.ids.items()
        ]
        return sorted(found, key=lambda one: (-one["before"], str(one["value"])))


GRADES = 10
"""Ranges of numbers."""
DIGITS = 3
"""Digits of a number that count for its range."""


class Grades(Column):
    """The values of a column of numbers, in ranges of about as many rows; others as they are."""

    def codes(self, values: pa.Array) -> Array | None:
        """See `Column.codes`."""
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            return super().codes(values)
        coded = pc.dictionary_encode(values, null_encoding="encode")
        texts = [
            None if one is None or one != one else f"{one:.{DIGITS}g}"
            for one in coded.dictionary.to_pylist()
        ]
        named = pa.array(texts, pa.string()).take(coded.indices)
        return super().codes(named)

    @property
    def values(self) -> list[dict[str, Any]]:
        """Each range with its rows before and after, the lowest first."""
        found = super().values
        try:
            numbered = sorted(
                (one for one in found if one["value"] is not None),
                key=lambda one: _number(one["value"]),
            )
        except ValueError:  # words
            return found
        rest = [one for one in found if one["value"] is None]
        if len(numbered) <= GRADES:
            return [*numbered, *rest]
        total = sum(one["before"] for one in numbered)
        ranges: list[dict[str, Any]] = []
        done = 0
        for one in numbered:
            grade = min(done * GRADES // max(total, 1), GRADES - 1)
            if not ranges or ranges[-1]["grade"] != grade:
                ranges.append({"grade": grade, "low": one["value"], "before": 0, "after": 0})
            ranges[-1]["high"] = one["value"]
            ranges[-1]["before"] += one["before"]
            ranges[-1]["after"] += one["after"]
            done += one["before"]
        return [
            {
                "value": one["low"]
                if one["low"] == one["high"]
                else f"{one['low']} to {one['high']}",
                "before": one["before"],
                "after": one["after"],
            }
            for one in ranges
        ] + rest


def _number(text: str) -> float:
    """A number by its text; ValueError for what is none."""
    found = float(text)
    if math.isnan(found):
        raise ValueError(text)
    return found


@dataclass
class Counts:
    """What keep-lists and columns say.

    similarities: for each range of `STEP` from 0 the rows that were dropped at such a similarity;
    the last range is 1.0. columns: those whose values were counted. source: the name of the column
    that says where rows are from, None for their file. matrix: rows that were dropped, by the
    source of the row and that of the row because of which. crawls: the same of rows that were
    dropped because of earlier ones, by the source and the crawl. gone: sources of which no row
    stays.
    clusters: for each size the clusters of so many rows. largest: of the largest clusters the
    shard, the row and the size. starts: positions of shards. leaders, sizes: int64, the positions
    of rows that others were dropped because of, or kept beside, and the rows of their clusters.
    source_of: int32, the number of the source of each row; None where that is its file.
    """

    similarities: list[int]
    columns: list[Column]
    source: str | None
    matrix: dict[tuple[str | None, str | None], int]
    crawls: dict[tuple[str | None, str], int]
    gone: set[str | None]
    clusters: dict[int, int]
    largest: list[tuple[int, int, int]]
    starts: Array
    leaders: Array
    sizes: Array
    source_of: Array | None

    def kind_of(self, own: tuple[int, int], witness: tuple[int, int]) -> tuple[int, int]:
        """The source of a dropped row, and about how large its cluster is; 0 for one without.

        own, witness: the shard and the row of it, and of its witness. Sizes between two powers of 2
        are about the same.
        """
        shard, row = own
        source = shard
        if self.source_of is not None:
            source = int(self.source_of[self.starts[shard] + row])
        shard, row = witness
        if shard == EARLIER:
            return source, 0
        position = self.starts[shard] + row
        place = np.searchsorted(self.leaders, position)
        if place == len(self.leaders) or self.leaders[place] != position:
            return source, 0
        return source, int(self.sizes[place] - 1).bit_length()


def count(
    result: Result,
    columns: Sequence[str],
    source: str | None,
    difficulty: str | None,
    note: Callable[[str], None],
) -> Counts:
    """Read keep-lists, and columns of the corpus beside them.

    result: the finished run. columns: whose values are counted. source: that of them which says
    where rows are from, None for their file. difficulty: that whose numbers are counted in ranges,
    None for none. note: is told which files are read. Memory is 4 bytes for each row of the corpus,
    and 24 for each that was dropped. Raises CorpusError for a shard
    that is not as the run has read it.
    """
    similarities = np.zeros(round(1 / STEP) + 1, np.int64)
    counted = [Grades(name) if name == difficulty else Column(name) for name in columns]
    starts = np.cumsum([0, *(shard["rows"] for shard in result.read_shards)])
    places = {shard["path"]: number for number, shard in enumerate(result.read_shards)}
    sources: list[Array] = []
    dropped, witnesses, leaders = ([np.zeros(0, np.int64)] for _ in range(3))
    stay: list[int] = []
    crawls: dict[str, int] = {}
    for number, listed in enumerate(result.shards):
        note(f"reads {listed['path']}")
        keep, similar, of, row, position = _decisions(result, listed, places, crawls, starts)
        stay.append(int(keep.sum()))
        np.add.at(similarities, np.minimum(similar / STEP + 1e-9, 1 / STEP).astype(np.int64), 1)
        for column, found in _values(result, listed, counted):
            column.count(found, keep)
            if column.name == source:
                sources.append(found)
        dropped.append(row + starts[number])
        witnesses.append(position)
        leaders.append(of)
    categories = [column for column in counted if column.is_category]
    by_column = next((column for column in categories if column.name == source), None)
    ends = np.stack([np.concatenate(dropped), np.concatenate(witnesses)])
    outside, of_crawl = ends[:, ends[1] >= starts[-1]]
    ends = ends[:, ends[1] < starts[len(result.shards)]]  # references are of no source
    if by_column is None:
        names: list[str | None] = [shard["path"] for shard in result.shards]
        gone = {name for name, kept in zip(names, stay, strict=True) if not kept}
        one, other = np.searchsorted(starts, ends, side="right") - 1
        outside = np.searchsorted(starts, outside, side="right") - 1
    else:
        names = list(by_column.ids)
        gone = {one["value"] for one in by_column.values if not one["after"]}
        one, other = np.concatenate(sources)[ends]
        outside = np.concatenate(sources)[outside]
    kept, others = np.unique(np.concatenate(leaders), return_counts=True)
    return Counts(
        similarities.tolist(),
        categories,
        None if by_column is None else source,
        _matrix(one, other, names, names),
        _matrix(outside, of_crawl - starts[-1], names, list(crawls)),
        gone,
        clusters=dict(sorted(Counter((others + 1).tolist()).items())),
        largest=_largest(kept, others + 1, starts),
        starts=starts,
        leaders=kept,
        sizes=others + 1,
        source_of=None if by_column is None else np.concatenate(sources),
    )


def _largest(leaders: Array, sizes: Array, starts: Array) -> list[tuple[int, int, int]]:
    """See `Counts`."""
    largest = []
    for place in np.lexsort((leaders, -sizes))[:LARGEST].tolist():
        shard = int(np.searchsorted(starts, leaders[place], side="right")) - 1
        largest.append((shard, int(leaders[place] - starts[shard]), int(sizes[place])))
    return largest


def _decisions(
    result: Result,
    listed: Mapping[str, Any],
    places: Mapping[str, int],
    crawls: dict[str, int],
    starts: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """What a keep-list says of a shard.

    Whether each row stays; of each dropped row that has a similarity, it; of each row dropped
    because of a kept one, or kept beside it, the position of that; and of all dropped rows with a
    witness in the corpus or in references the number of the row and the position of the witness;
    of a witness in an earlier crawl that is the number of the crawl behind all rows. New crawls are
    numbered.
    """
    has_crawls = "index" in result.summary
    columns = ["keep", "reason", "witness_shard", "witness_row", "jaccard"]
    columns += ["witness_crawl"] if has_crawls else []
    parts: list[list[Array]] = [[np.zeros(0, kind)] for kind in (bool, float, int, int, int)]
    at = 0
    with keep_list_batches(result.storage, listed, BATCH_ROWS, columns) as (_, batches):
        for batch in batches:
            has = batch.column("jaccard").is_valid()
            alike = batch.filter(has)
            gone = ~numbers(alike.column("keep"))
            shard = _shards(alike.column("witness_shard"), places)
            position = starts[shard] + numbers(alike.column("witness_row"))
            is_of_cluster = ~numbers(pc.equal(alike.column("reason"), "reference"))
            if has_crawls:
                crawl = alike.column("witness_crawl")
                for name in crawl.dictionary.to_pylist():
                    crawls.setdefault(name, len(crawls))
                has_crawl = numbers(crawl.is_valid())
                position = np.where(has_crawl, starts[-1] + _shards(crawl, crawls), position)
                is_of_cluster &= ~has_crawl
            parts[0].append(numbers(batch.column("keep")).copy())
            parts[1].append(numbers(alike.column("jaccard"))[gone])
            parts[2].append(position[is_of_cluster])
            parts[3].append(np.flatnonzero(numbers(has))[gone] + at)
            parts[4].append(position[gone])
            at += batch.num_rows
    keep, similar, of, row, position = map(np.concatenate, parts)
    return keep, similar, of, row, position


def _shards(paths: pa.Array, places: Mapping[str, int]) -> Array:
    """The numbers of shards by their paths. paths: a dictionary."""
    words = paths.dictionary.to_pylist()
    table = np.array([places.get(word, 0) for word in words] or [0], np.int64)
    found: Array = table[numbers(paths.indices.fill_null(0))]
    return found


def _values(
    result: Result, listed: Mapping[str, Any], columns: Sequence[Column]
) -> Iterator[tuple[Column, Array]]:
    """The number of the value of each row of a shard, for each column with few values."""
    wanted = [column for column in columns if column.is_category]
    if not wanted or not listed["rows"]:  # a file that was left out cannot be read
        return
    parts: dict[str, list[Array]] = {column.name: [] for column in wanted}
    shard = shard_as_read(result, listed)
    reads = Projection((), others=tuple(column.name for column in wanted))
    for part in plan_slices(shard, tuple(parts), 1 << 62, 1 << 62):
        for batch in read_slice(shard, part, reads, batch_bytes=1 << 24):
            for column, values in zip(wanted, batch.columns, strict=True):
                codes = column.codes(values)
                if codes is not None:
                    parts[column.name].append(codes)
    for column in wanted:
        if column.is_category:
            yield column, np.concatenate([np.zeros(0, np.int32), *parts[column.name]])


def _matrix(
    dropped: Array, because: Array, names: Sequence[str | None], others: Sequence[Other]
) -> dict[tuple[str | None, Other], int]:
    """How many rows of each source were dropped because of each.

    dropped, because: int32, numbers among `names` and `others`, the sources of dropped rows and of
    those because of which.
    """
    count = max(len(others), 1)
    pairs, rows = np.unique(dropped.astype(np.int64) * count + because, return_counts=True)
    return {
        (names[pair // count], others[pair % count]): found
        for pair, found in zip(pairs.tolist(), rows.tolist(), strict=True)
    }
