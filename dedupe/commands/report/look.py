"""Rows that are read again: pairs, and rows of the largest clusters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import numbers
from dedupe.commands.report.counts import Counts
from dedupe.commands.report.problems import Place
from dedupe.pairs import draw, mixed_rows
from dedupe.result import Result
from dedupe.storage.keep_lists import read_keep_list

MEMBERS = 30
"""Rows of a large cluster that are read."""
MORE = 10
"""Times as many pairs are drawn as are shown."""
LEAST_SIMILAR = 4
"""One in so many of the pairs that are shown is one of the least similar of those drawn."""
RANGES = 10
"""Ranges of similarity that have their turn."""

Row = Mapping[str, str | None]
"""The texts of a row by the name of its field; a row of one field has it as `text`."""


@dataclass(frozen=True)
class Looked:
    """What was read.

    pairs: the keep-list's line of each dropped row, as plain values. members: of each of the
    largest clusters the places of its kept row and of some others. texts: of each place the texts
    of its fields.
    """

    pairs: list[dict[str, Any]]
    members: list[list[Place]]
    texts: Mapping[Place, Row]


def look(
    result: Result,
    counts: Counts,
    pairs: int,
    seed: int,
    note: Callable[[str], None],
) -> Looked:
    """Choose rows, and read them all at once.

    result: the finished run. counts: what its keep-lists say. pairs: how many. seed: other ones
    draw other rows. note: is told which files are read. Raises CorpusError for a shard that is not
    as the run has read it, WorkDirError where the index is gone that it was held against.
    """
    lines = _pairs(result, counts, pairs, seed) if pairs else []
    members = _members(result, [(shard, row) for shard, row, _ in counts.largest])
    places = [place for line in lines for place in (line["own"], line["witness"])]
    places += [place for cluster in members for place in cluster]
    names = result.documents.whole.names
    found = result.values_at(places, note=note)
    texts = {place: dict(zip(names, values.texts, strict=True)) for place, values in found.items()}
    return Looked(lines, members, texts)


def _pairs(result: Result, counts: Counts, count: int, seed: int) -> list[dict[str, Any]]:
    """The lines of keep-lists of some dropped rows, the least similar first.

    The others are of each similarity, source and size of clusters in turn. result: the finished
    run. counts: what its keep-lists say. count: rows at most. seed: other ones draw other rows.
    """
    some, every = MORE * count, (0.0, 1.0)
    drawn = draw(result.storage, result.shards, some, reason=None, jaccard=every, seed=seed)
    if not len(drawn):
        return []
    lines: list[dict[str, Any]] = drawn.to_pylist()
    for line in lines:
        line["own"] = (line["shard"], line["row"])
        named = (line["witness_shard"], line["witness_row"], line.get("witness_crawl"))
        line["witness"] = result.place_of(*named)
    kinds = [
        (int(line["jaccard"] * RANGES), *counts.kind_of(line["own"], line["witness"]))
        for line in lines
    ]
    least = min(-(-count // LEAST_SIMILAR), len(lines))
    mixed = mixed_rows(np.arange(len(lines)), 0, seed)
    turns = np.zeros(len(lines), np.int64)
    seen: Counter[tuple[int, ...]] = Counter()
    for place in (*range(least), *(np.argsort(mixed[least:]) + least).tolist()):
        turns[place] = seen[kinds[place]]
        seen[kinds[place]] += 1
    rest = np.lexsort((mixed[least:], turns[least:]))[: count - least] + least
    chosen = np.concatenate([np.arange(least), np.sort(rest)])
    return [lines[place] for place in chosen.tolist()]


def _members(result: Result, leaders: Sequence[Place]) -> list[list[Place]]:
    """Of clusters the place of the kept row, and of some others."""
    found: list[list[Place]] = [[leader] for leader in leaders]
    wanted = pa.array([shard << 40 | row for shard, row in leaders], pa.uint64())
    if not leaders:
        return found
    for number, listed in enumerate(result.shards):
        table = read_keep_list(
            result.storage,
            listed,
            ["row", "keep", "cluster"],
            lambda rows: pc.and_(pc.is_in(rows["cluster"], wanted), pc.invert(rows["keep"])),
        )
        which = numbers(pc.index_in(table["cluster"], wanted).combine_chunks())
        rows = table["row"].to_numpy()
        for cluster in np.unique(which).tolist():
            some = rows[which == cluster][: MEMBERS - len(found[cluster])]
            found[cluster] += [(number, row) for row in some.tolist()]
    return found
