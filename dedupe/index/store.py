"""An index that is open: chosen rows of its tables, as they are after all that was changed since.

A `Store` is pinned to one manifest: whatever writers add, its answers stay the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, band_keys, numbers, one_chunk
from dedupe.errors import IntegrityError
from dedupe.index.blocks import BlockTable, blocks_of, read_blocks
from dedupe.index.manifest import Manifest, Segment, read_manifest
from dedupe.index.tables import (
    CHANGES,
    FILES,
    KEPT,
    KEYS,
    MERGES,
    STATE,
    rows_schema,
)
from dedupe.storage.files import Files
from dedupe.storage.tables import schema_from_text

SPAN = 1 << 18
"""Rows that are looked at together, unless somebody says otherwise."""


class Merges(NamedTuple):
    """Classes that became part of others: int64 arrays, `old` ascending, `root` the last ones."""

    old: Array
    root: Array

    def of(self, classes: Array) -> Array:
        """What classes are now: int64; classes: int64, what they were when they were written."""
        if not len(self.old):
            return classes
        at = np.minimum(np.searchsorted(self.old, classes), len(self.old) - 1)
        now: Array = np.where(self.old[at] == classes, self.root[at], classes)
        return now


class State(NamedTuple):
    """What became of neighbouring rows: `classes` int64, as they are now, and `reasons` uint8."""

    classes: Array
    reasons: Array

    @property
    def kept(self) -> Array:
        """Whether each row has a text that later rows are held against: bool."""
        kept: Array = np.isin(self.reasons, KEPT)
        return kept


class Places(NamedTuple):
    """Where the files of an index begin.

    starts: int64, the number of the first row of each file, and of all rows in the end. paths:
    string. crawls: the name of each one's crawl, dictionary.
    """

    starts: Array
    paths: pa.Array
    crawls: pa.DictionaryArray


@dataclass(frozen=True)
class Store:
    """An index at one time. files: its folder. manifest: what it has."""

    files: Files
    manifest: Manifest

    @classmethod
    def open(cls, files: Files, number: int | None = None) -> Store:
        """Open an index; number: of the manifest, None for the one that counts."""
        return cls(files, read_manifest(files, number))

    def __hash__(self) -> int:
        return hash((self.files, self.manifest.number))

    @property
    def text_columns(self) -> pa.Schema:
        """The schema of the text of kept rows; without fields before the first crawl."""
        if self.manifest.types is None:
            return pa.schema([])
        return schema_from_text(self.manifest.types)

    @property
    def id_type(self) -> pa.DataType | None:
        """The type of ids; None without any."""
        columns = self.text_columns
        return columns.field("id").type if "id" in columns.names else None

    @property
    def row_columns(self) -> pa.Schema:
        """The schema of what is known of rows."""
        return rows_schema(self.id_type, sketched=bool(self.manifest.settings["near"]))

    def blocks(self, kind: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """All blocks of the tables of a kind, in order; schema: of these tables."""
        for _, table in self.manifest.tables(kind):
            chosen = range(len(blocks_of(self.files, table).heads))
            yield from read_blocks(self.files, table, schema, chosen)

    @lru_cache(maxsize=4)  # noqa: B019  (of the few indexes that a process has open)
    def merges(self) -> Merges:
        """Classes that became part of others."""
        none = np.zeros(0, np.int64)
        found = [tuple(map(numbers, batch.columns)) for batch in self.blocks("merges", MERGES)]
        old, into = (
            (np.concatenate([none, *parts]) for parts in zip(*found, strict=True))
            if found
            else (none, none)
        )
        order = np.argsort(old, kind="stable")
        old, root = old[order], into[order]
        if (old[1:] == old[:-1]).any():
            raise IntegrityError("an index has a class that became part of two others")
        while len(old):
            at = np.minimum(np.searchsorted(old, root), len(old) - 1)
            again = old[at] == root
            if not again.any():
                break
            root = np.where(again, root[at], root)
        return Merges(old, root)

    @lru_cache(maxsize=4)  # noqa: B019
    def changes(self) -> pa.Table:
        """The last change of each row that was changed, by row: see `tables.CHANGES`."""
        found = pa.Table.from_batches(self.blocks("changes", CHANGES), schema=CHANGES)
        rows = numbers(found.column("row"))
        return found.take(pa.array(last_of_each(rows))).combine_chunks()

    @lru_cache(maxsize=4)  # noqa: B019
    def places(self) -> Places:
        """The files of all crawls."""
        found = pa.Table.from_batches(self.blocks("files", FILES), schema=FILES).combine_chunks()
        rows = numbers(found.column("rows"))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)]).astype(np.int64)
        names = pa.array([crawl.name for crawl in self.manifest.crawls], pa.string())
        codes = one_chunk(found.column("crawl"))
        crawls = pa.DictionaryArray.from_arrays(codes, names)
        return Places(starts, one_chunk(found.column("path")), crawls)

    def spans(self, rows: int = SPAN) -> Iterator[tuple[int, int]]:
        """All rows, so many at a time: the first ones, and the ends."""
        for first in range(0, self.manifest.rows, rows):
            yield first, min(first + rows, self.manifest.rows)

    def state(self, first: int, end: int) -> State:
        """What became of the rows from `first` up to `end`."""
        classes, reasons = self._state_written(first, end)
        changes = self.changes()
        changed = numbers(changes.column("row"))
        low, high = np.searchsorted(changed, [first, end])
        if low < high:
            reasons = reasons.copy()
            reasons[changed[low:high] - first] = numbers(changes.column("reason"))[low:high]
        return State(self.merges().of(classes), reasons)

    def classes_written(self, first: int, end: int) -> Array:
        """The classes of rows when they were added, from `first` up to `end`: int64."""
        return self._state_written(first, end)[0]

    def _state_written(self, first: int, end: int) -> tuple[Array, Array]:
        parts = list(self._rows_of("state", STATE, first, end))
        classes, reasons = (
            np.concatenate([np.zeros(0, kind), *(numbers(part.column(name)) for part in parts)])
            for name, kind in (("class", np.int64), ("reason", np.uint8))
        )
        if len(classes) != end - first:
            raise IntegrityError(f"an index has {len(classes)} of the rows {first} to {end}")
        return classes, reasons

    def rows(self, first: int, end: int) -> pa.Table:
        """What is known of the rows from `first` up to `end`: see `tables.rows_schema`."""
        schema = self.row_columns
        found = pa.Table.from_batches(self._rows_of("rows", schema, first, end), schema=schema)
        changes = self.changes()
        changed = numbers(changes.column("row"))
        low, high = np.searchsorted(changed, [first, end])
        if low < high:
            at = changed[low:high] - first
            for name in ("witness", "jaccard", "lost"):
                values = numbers(found.column(name)).copy()
                values[at] = numbers(changes.column(name))[low:high]
                place = found.schema.get_field_index(name)
                found = found.set_column(place, found.schema.field(name), pa.array(values))
        return found.combine_chunks()

    def _rows_of(
        self, kind: str, schema: pa.Schema, first: int, end: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows from `first` up to `end` of tables that have one for each row."""
        for segment in self.manifest.segments:
            if segment.first >= end or segment.first + segment.rows <= first:
                continue
            for table in segment.tables[kind]:
                blocks = blocks_of(self.files, table)
                chosen = blocks.having(max(first, 0), end - 1) if table.rows else range(0)
                found = read_blocks(self.files, table, schema, chosen)
                for number, batch in zip(chosen, found, strict=True):
                    start = int(blocks.heads[number])
                    low, high = max(first - start, 0), min(end - start, batch.num_rows)
                    if low < high:
                        yield batch.slice(low, high - low)

    def texts(self, rows: Array) -> Iterator[pa.RecordBatch]:
        """The texts of kept rows, by row, some at a time; see `tables.text_schema`.

        rows: int64, ascending numbers. Raises IntegrityError for a row of which there is no text.
        """
        schema = self.text_columns
        done = 0
        for batch in self._texts_of(rows):
            found = numbers(batch.column("row"))
            if (found != rows[done : done + len(found)]).any():
                raise IntegrityError("an index has not the text of a row that it keeps")
            done += len(found)
            yield batch.cast(schema) if batch.schema != schema else batch
        if done < len(rows):
            raise IntegrityError("an index has not the text of a row that it keeps")

    def _texts_of(self, rows: Array) -> Iterator[pa.RecordBatch]:
        changed = numbers(self.changes().column("row"))
        again = np.isin(rows, changed)
        if not again.any():
            yield from self._own_texts(rows)
            return
        # the few that were decided again lie in other segments: one by one between the others
        own = rows[~again]
        late = {int(row): batch for row, batch in self._late_texts(rows[again])}
        cuts = np.flatnonzero(again)
        done = 0
        for cut in cuts.tolist():
            part = own[done : cut - int(np.searchsorted(cuts, cut))]
            yield from self._own_texts(part)
            done += len(part)
            if int(rows[cut]) in late:
                yield late[int(rows[cut])]
            else:  # a change left its text where it was
                yield from self._own_texts(rows[cut : cut + 1])
        yield from self._own_texts(own[done:])

    def _late_texts(self, rows: Array) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Texts that lie in segments behind those of their rows."""
        for segment in self.manifest.segments:
            if segment.tables["changes"]:
                before = rows[rows < segment.first]
                for table in segment.tables["text"]:
                    for batch in self._chosen(table, before):
                        for at, row in enumerate(numbers(batch.column("row")).tolist()):
                            yield row, batch.slice(at, 1)

    def _own_texts(self, rows: Array) -> Iterator[pa.RecordBatch]:
        """Texts that lie in the segments of their rows."""
        for segment in self.manifest.segments:
            low, high = np.searchsorted(rows, [segment.first, segment.first + segment.rows])
            if low < high:
                for table in segment.tables["text"]:
                    yield from self._chosen(table, rows[low:high])

    def _chosen(self, table: BlockTable, rows: Array) -> Iterator[pa.RecordBatch]:
        """Those of some rows that a table of texts has; reads the blocks that can have them."""
        heads = blocks_of(self.files, table).heads.astype(np.int64)
        bounds = np.append(np.searchsorted(rows, heads), len(rows))
        chosen = np.flatnonzero(np.diff(bounds)).tolist()
        found = read_blocks(self.files, table, self.text_columns, chosen)
        for number, batch in zip(chosen, found, strict=True):
            there = numbers(batch.column("row"))
            mine = rows[bounds[number] : bounds[number + 1]]
            at = np.minimum(np.searchsorted(there, mine), len(there) - 1)
            at = at[there[at] == mine]
            if len(at) == batch.num_rows:
                yield batch
            elif len(at):
                yield batch.take(pa.array(at))

    def matches(self, keys: Array) -> Iterator[tuple[Array, Array]]:
        """Rows that have band keys: pairs of int64 arrays, places in `keys` and a row for each.

        keys: uint64, ascending and distinct, the upper 48 bits of band keys. Of each segment one
        row is found for a key, as all that have it are of one class.
        """
        if not len(keys):
            return
        for segment, table in self._keys_between(int(keys[0]), int(keys[-1])):
            blocks = blocks_of(self.files, table)
            if not len(blocks.heads):
                continue
            bounds = np.append(np.searchsorted(keys, blocks.heads), len(keys))
            chosen = np.flatnonzero(np.diff(bounds)).tolist()
            found = read_blocks(self.files, table, KEYS, chosen)
            for number, batch in zip(chosen, found, strict=True):
                there, rows = band_keys(*batch.columns[:2]), numbers(batch.column("row"))
                mine = keys[bounds[number] : bounds[number + 1]]
                at = np.minimum(np.searchsorted(there, mine), len(there) - 1)
                same = np.flatnonzero(there[at] == mine)
                if len(same):
                    yield bounds[number] + same, segment.first + rows[at[same]].astype(np.int64)

    def _keys_between(self, low: int, high: int) -> Iterator[tuple[Segment, BlockTable]]:
        """The tables of band keys that can have some from `low` up to `high`.

        Those of a segment have equal shares of the key space, in order: see `partition_records`.
        """
        for segment in self.manifest.segments:
            tables = segment.tables["keys"]
            first, last = (key * len(tables) >> 64 for key in (low, high))
            yield from ((segment, table) for table in tables[first : last + 1])


def last_of_each(values: Array) -> Array:
    """The places of values, ascending by these, of equal ones the last: int64."""
    order = np.argsort(values, kind="stable")
    values = values[order]
    last: Array = order[np.append(values[1:] != values[:-1], True)[: len(values)]]
    return last
