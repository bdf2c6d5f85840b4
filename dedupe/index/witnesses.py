"""Rows of an index that keep-lists name: which they are, and their texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.errors import WorkDirError
from dedupe.index.manifest import Manifest, numbers_in, read_manifest
from dedupe.index.store import Store
from dedupe.index.tables import KEPT, REMOVED
from dedupe.schema import DOCUMENT
from dedupe.storage import files_at
from dedupe.storage.files import Files

NEIGHBOURS = 1 << 16
"""Rows of an index of which it is looked up at a time whether they are kept."""


class Texts(NamedTuple):
    """Neighbouring rows that came before a run: bool each.

    kept: whether the run was held against the row's text, which is there. gone: whether nobody can
    say what the row was, as it was taken out of the index or changed since.
    """

    kept: Array
    gone: Array


@dataclass(frozen=True)
class EarlierRows:
    """The rows of earlier crawls that a finished run was held against.

    store: the index as it was then; or as it is now, where what it was is gone, as after rows were
    compacted: rows have the same numbers in all that follows. rows: how many came before the run.
    is_as_it_was: which of both it is.
    """

    store: Store
    rows: int
    is_as_it_was: bool

    @classmethod
    def open(cls, told: Mapping[str, Any]) -> EarlierRows:
        """Open the index that a summary names.

        told: what the summary says of it. Raises WorkDirError where it is gone or is another one,
        DamageError where it is damaged.
        """
        files = files_at(told["path"])
        there = numbers_in(files)
        if not there:
            raise WorkDirError(
                f"{files.root} is gone, the index that the run was held against: the texts of its "
                "rows are there; put it back where it was"
            )
        found = None
        if told["manifest"] in there:
            found = read_manifest(files, told["manifest"])
        if found is None or not _has_all(files, found):
            found = read_manifest(files)
        before = np.cumsum([0, *(crawl.rows for crawl in found.crawls)])
        if found.number < told["manifest"] or told["rows"] not in before:
            raise WorkDirError(
                f"{files.root} is another index than the one that the run was held against, which "
                f"had {told['rows']:,} rows as manifest {told['manifest']}"
            )
        return cls(Store(files, found), told["rows"], found.number == told["manifest"])

    def numbers(self, crawls: pa.Array, paths: pa.Array, rows: Array) -> Array:
        """The number in the index of each of some rows: int64, -1 for one that is not in it.

        crawls, paths: string or dictionaries, the crawl and the file of each. rows: int64, its row
        there.
        """
        names, of_crawl, of_path, order = self._files
        import pyarrow.compute as pc

        crawl = numbers(pc.index_in(_plain(crawls), names[0]).fill_null(-1)).astype(np.int64)
        path = numbers(pc.index_in(_plain(paths), names[1]).fill_null(-1)).astype(np.int64)
        keys = (of_crawl * max(len(names[1]), 1) + of_path)[order]
        wanted = crawl * max(len(names[1]), 1) + path
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        if not len(keys):
            return np.full(len(rows), -1)
        starts = self.store.places().starts
        file = order[at]
        is_there = (crawl >= 0) & (path >= 0) & (keys[at] == wanted) & (rows >= 0)
        is_there &= rows < starts[file + 1] - starts[file]
        found: Array = np.where(is_there, starts[file] + rows, -1)
        return np.where(found < self.rows, found, -1)

    def state(self, first: int, end: int) -> Texts:
        """What is there of the rows from `first` up to `end`."""
        state = self.store.state(first, end)
        gone = state.reasons == REMOVED
        if not self.is_as_it_was:
            changed = numbers(self.store.changes().column("row"))
            gone[changed[(changed >= first) & (changed < end)] - first] = True
        return Texts(state.kept & ~gone, gone)

    @cached_property
    def _files(self) -> tuple[tuple[pa.Array, pa.Array], Array, Array, Array]:
        """(names of crawls and paths, of each file the numbers of its own, files by these)."""
        places = self.store.places()
        crawls = places.crawls.dictionary
        of_crawl = numbers(places.crawls.indices).astype(np.int64)
        paths = places.paths.dictionary_encode()
        of_path = numbers(paths.indices).astype(np.int64)
        order = np.lexsort((of_path, of_crawl))
        return (crawls, paths.dictionary), of_crawl, of_path, order

    def place(self, number: int) -> tuple[str, str, int]:
        """The crawl, the file and the row there of a row of the index."""
        places = self.store.places()
        file = int(np.searchsorted(places.starts, number, side="right")) - 1
        crawl, path = places.crawls[file].as_py(), places.paths[file].as_py()
        return crawl, path, number - int(places.starts[file])

    def texts(self, rows: Iterable[int]) -> dict[int, list[str | None]]:
        """The texts of some rows by their numbers, those of each column of a document.

        rows: their numbers. One that was taken out of the index is not among them.
        """
        wanted = np.unique(np.array(list(rows), np.int64))
        columns = self.store.text_columns.names
        fields = [name for name in columns if name.partition("_")[0] == DOCUMENT]
        return {
            row: texts
            for batch in self.store.texts(wanted[self._is_kept(wanted)])
            for row, *texts in zip(
                numbers(batch.column("row")).tolist(),
                *(batch.column(name).to_pylist() for name in fields),
                strict=True,
            )
        }

    def _is_kept(self, rows: Array) -> Array:
        """Whether the index has the text of each of some rows: bool; rows: int64, ascending."""
        kept = np.zeros(len(rows), np.bool_)
        starts = np.flatnonzero(np.diff(rows // NEIGHBOURS, prepend=-1))
        for start, end in zip(starts, np.append(starts[1:], len(rows)), strict=True):
            first = int(rows[start])
            reasons = self.store.state(first, int(rows[end - 1]) + 1).reasons
            kept[start:end] = np.isin(reasons[rows[start:end] - first], KEPT)
        return kept


def _has_all(files: Files, manifest: Manifest) -> bool:
    """Whether the segments of a manifest are still there, and not compacted to others."""
    first = [next(of[0].name for of in one.tables.values() if of) for one in manifest.segments]
    return all(map(files.exists, first))


def _plain(texts: pa.Array) -> pa.Array:
    """Texts without a dictionary."""
    return texts.cast(pa.string())
