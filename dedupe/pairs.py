"""Dropped rows beside their witnesses: which of them are looked at, and what differs in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, is_text
from dedupe.corpus import Projection, Shard, plan_slices, read_slice
from dedupe.documents.template import Template
from dedupe.storage.files import Files
from dedupe.storage.keep_lists import read_keep_list

BINS = 50
"""Ranges of similarity that pairs are drawn from in turn."""
MOST_WORDS = 20_000
"""Words of a text that are compared; what is behind them counts as one."""
AROUND = 8
"""Words around a difference that are shown."""

SPREAD = 50
"""How many times as many rows are looked at where those of each value are taken in turn."""
DIFFERS = pa.list_(
    pa.struct([(name, pa.string()) for name in ("column", "value", "witness_value")])
)
"""What is said of columns that differ in a pair."""

OpenShard = Callable[[Mapping[str, Any]], Shard]
"""A shard of a summary's list, which must be as the run has read it."""


def draw(
    files: Files,
    shards: Sequence[Mapping[str, Any]],
    count: int,
    *,
    reason: str | None,
    jaccard: tuple[float, float],
    seed: int,
) -> pa.Table:
    """Some dropped rows, the least similar first, spread over the range of similarities.

    files: the output of a run. shards: what its summary says of each. count: rows at most. reason:
    "near" and so on; None for all that are dropped. jaccard: the least and the greatest similarity.
    seed: other ones draw other rows. Columns are those of the keep-list, and `shard`, the number of
    the shard.
    """
    import pyarrow.compute as pc

    low, high = jaccard

    def wanted(rows: pa.Table) -> pa.Array:  # of most kept rows there is no similarity
        similar = rows["jaccard"]
        within = pc.and_(pc.greater_equal(similar, low), pc.less_equal(similar, high))
        if reason is None:
            return pc.and_not(within, rows["keep"])
        return pc.and_(within, pc.equal(rows["reason"], reason))

    chosen: list[pa.Table] = []
    for number, listed in enumerate(shards):
        columns = ["row", "reason", "jaccard", "keep"]
        table = read_keep_list(files, listed, columns, wanted)
        if not len(table):
            continue
        rows, similar = table["row"].to_numpy(), table["jaccard"].to_numpy()
        mixed = mixed_rows(rows, number, seed)
        first = _first_of_bins(similar, mixed, count)
        columns = [pa.array(np.full(len(first), number)), pa.array(rows[first])]
        columns += [pa.array(similar[first]), pa.array(mixed[first])]
        chosen.append(pa.table(columns, ["shard", "row", "jaccard", "mixed"]))
    if not chosen:
        return pa.table({"shard": pa.array([], pa.int64()), "row": pa.array([], pa.int64())})
    some = pa.concat_tables(chosen)
    similar, mixed = some["jaccard"].to_numpy(), some["mixed"].to_numpy()
    taken = _in_turn(similar, mixed, count)
    taken = taken[np.lexsort((mixed[taken], similar[taken]))]
    some = some.take(pa.array(taken))
    return _whole(files, shards, some["shard"].to_numpy(), some["row"].to_numpy())


def mixed_rows(rows: Array, shard: int, seed: int) -> Array:
    """A number for each row that is as good as random: uint64.

    rows: numbers of rows. shard: the number of their shard. seed: other ones give other numbers.
    """
    state = rows.astype(np.uint64) + np.uint64((shard << 40) + (seed << 20))
    for factor in (0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93):
        state = (state ^ state >> np.uint64(32)) * np.uint64(factor)
    mixed: Array = state ^ state >> np.uint64(32)
    return mixed


def _bins(similar: Array) -> Array:
    return np.minimum((similar * BINS).astype(np.int64), BINS)


def _ranks(similar: Array, mixed: Array) -> tuple[Array, Array]:
    """(rows by similarity's range and then as mixed, the place of each of them in its range)."""
    order = np.lexsort((mixed, _bins(similar)))
    bins = _bins(similar)[order]
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    sizes = np.diff(np.append(starts, len(bins)))
    return order, np.arange(len(bins)) - np.repeat(starts, sizes)


def _first_of_bins(similar: Array, mixed: Array, count: int) -> Array:
    order, ranks = _ranks(similar, mixed)
    return order[ranks < count]


def _in_turn(similar: Array, mixed: Array, count: int) -> Array:
    """Rows of each range in turn, those of the least similar range first."""
    order, ranks = _ranks(similar, mixed)
    return order[np.argsort(ranks, kind="stable")[:count]]


def _whole(
    files: Files, shards: Sequence[Mapping[str, Any]], numbers: Array, rows: Array
) -> pa.Table:
    """The rows of keep-lists, with all columns, in this order."""
    import pyarrow.compute as pc

    tables, places = [], []
    for number in np.unique(numbers).tolist():
        at = np.flatnonzero(numbers == number)
        sought = pa.array(rows[at])

        def wanted(rows: pa.Table, sought: pa.Array = sought) -> pa.Array:
            return pc.is_in(rows["row"], sought)

        found = read_keep_list(files, shards[number], None, wanted)
        order = np.argsort(rows[at], kind="stable")
        tables.append(found.add_column(0, "shard", pa.array(np.full(len(found), number))))
        places.append(at[order])
    back = np.argsort(np.concatenate(places), kind="stable")
    joined = pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()
    return joined.take(pa.array(back))


def in_turn(table: pa.Table, values: Sequence[str | None], count: int) -> pa.Table:
    """Some rows of a table, of each value in turn, in the order of the table.

    values: of each row. count: rows at most.
    """
    seen: dict[str | None, int] = {}
    turns = []
    for value in values:
        turns.append(seen.get(value, 0))
        seen[value] = turns[-1] + 1
    chosen = np.sort(np.argsort(np.array(turns), kind="stable")[:count])
    return table.take(pa.array(chosen))


class Values(NamedTuple):
    """What is shown of a row: the texts of its fields, and its other columns as text."""

    texts: list[str | None]
    others: list[str | None]


def values_of(
    places: Sequence[tuple[int, int]],
    shards: Sequence[Mapping[str, Any]],
    fields: Sequence[tuple[Template, ...]],
    others: Sequence[str],
    open_shard: OpenShard,
    note: Callable[[str], None] = lambda text: None,
) -> dict[tuple[int, int], Values]:
    """What is shown of some rows, each read once.

    places: (number of the shard, row) each. shards: what the summary says of each. fields: of each
    shard the templates of what was compared. others: columns that were not. open_shard: see
    `OpenShard`. note: told of each file that is read. Raises CorpusError for a shard that is not as
    the run has read it.
    """
    found: dict[tuple[int, int], Values] = {}
    by_shard: dict[int, set[int]] = {}
    for number, row in places:
        by_shard.setdefault(number, set()).add(row)
    for number, needed in sorted(by_shard.items()):
        note(f"reads {len(needed):,} rows of {shards[number]['path']}")
        shard, rows = open_shard(shards[number]), np.array(sorted(needed))
        wanted = Projection(fields[number], others=tuple(others))
        texts = len(fields[number])
        done = 0
        for part in plan_slices(shard, wanted.text_columns, 1 << 62, 1 << 62):
            for batch in read_slice(shard, part, wanted, batch_bytes=1 << 24, rows=rows):
                columns = [_plain(column) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    shown = Values(list(values[:texts]), list(values[texts:]))
                    found[number, int(rows[done])] = shown
                    done += 1
    return found


def _plain(column: pa.Array) -> list[str | None]:
    """The values of a column as text."""
    from dedupe.documents.columns import plain_texts  # with pyarrow.compute

    texts = (column if is_text(column.type) else plain_texts(column)).cast(pa.large_binary())
    return [None if one is None else one.decode("utf-8", "replace") for one in texts.to_pylist()]


def differing(others: Sequence[str], one: Values, other: Values) -> list[dict[str, str | None]]:
    """The columns that differ between a row and its witness, see `DIFFERS`.

    others: names of the columns that are held against each other. one, other: the row and its
    witness.
    """
    values = zip(others, one.others, other.others, strict=False)
    return [
        {"column": name, "value": value, "witness_value": its}
        for name, value, its in values
        if (value or None) != (its or None)
    ]


class Change(NamedTuple):
    """A stretch of two texts: `mark` is " " where they agree, "-" what only the first has, "+"."""

    mark: str
    text: str


def changes(one: str, other: str) -> Iterator[Change]:
    """What two texts have in common and what not, word by word.

    one, other: the texts, of which white space and case do not count. Long ones are compared in
    their first `MOST_WORDS` words from the first that differs.
    """
    left, right = _words(one), _words(other)
    first = 0
    for a, b in zip(left, right, strict=False):
        if _compared(a) != _compared(b):
            break
        first += 1
    last = 0
    for a, b in zip(reversed(left[first:]), reversed(right[first:]), strict=False):
        if _compared(a) != _compared(b):
            break
        last += 1
    end = len(left) - last
    if first:
        yield Change(" ", "".join(left[:first]))
    yield from _changes(left[first:end], right[first : len(right) - last])
    if last:
        yield Change(" ", "".join(left[end:]))


def _changes(left: list[str], right: list[str]) -> Iterator[Change]:
    left, right = (
        words if len(words) <= MOST_WORDS else [*words[:MOST_WORDS], "".join(words[MOST_WORDS:])]
        for words in (left, right)
    )
    one, other = ([_compared(word) for word in words] for words in (left, right))
    matcher = difflib.SequenceMatcher(None, one, other, autojunk=len(right) > 2_000)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            yield Change(" ", "".join(left[a:b]))
            continue
        if b > a:
            yield Change("-", "".join(left[a:b]))
        if d > c:
            yield Change("+", "".join(right[c:d]))


def _compared(word: str) -> str:
    """What counts of a word: the comparison knows no case, either."""
    return word.rstrip().casefold()


def _words(text: str) -> list[str]:
    """Words with the white space behind them."""
    return re.findall(r"\S+\s*", text)


def around(found: Sequence[Change]) -> Iterator[Change]:
    """The same with less of what agrees: some words before and behind each difference."""
    for place, change in enumerate(found):
        words = _words(change.text)
        head = AROUND if place > 0 else 0
        tail = AROUND if place < len(found) - 1 else 0
        if change.mark != " " or len(words) <= head + tail:
            yield change
        else:
            start, end = "".join(words[:head]), "".join(words[len(words) - tail :])
            yield Change(" ", f"{start}… {end}")
