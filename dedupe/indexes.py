"""`Index`: what is kept of earlier corpora, so that new ones can be held against them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa

from dedupe.api import Corpus, configurations, deduplicate
from dedupe.arrays import Array, numbers
from dedupe.commands.index.check import Checked, check_index
from dedupe.commands.index.compact import compact, purge, unused
from dedupe.commands.index.removal import orphans_of, rows_of_files, rows_of_ids, still_there
from dedupe.commands.index.tables import partners, revisions, write_counts, write_parquet
from dedupe.config import Execution, ExecutionKeywords, Keywords, Settings, StorageOptions
from dedupe.corpus import is_in_memory
from dedupe.errors import SettingsError, listed
from dedupe.index.blocks import write_blocks
from dedupe.index.manifest import TABLES, Crawl, Manifest, Segment, commit, new_segment
from dedupe.index.store import SPAN, Store, last_of_each
from dedupe.index.tables import CHANGES, REMOVED, in_blocks
from dedupe.indexing import begin_index, check_there, index_place
from dedupe.orphans import Decided, decided_again
from dedupe.progress import Progress, Silent, usual_progress
from dedupe.remote.given import using
from dedupe.result import Result
from dedupe.session import is_within, resolved
from dedupe.storage import files_at
from dedupe.storage.files import Files

ADDED_AT_ONCE = 32
"""Segments that an index grows to before `Index.add` compacts it."""

MOST_COMPACTED = 10_000_000
"""Rows of an index that `Index.add` compacts by itself: that takes seconds."""


class Index:
    """What is kept of earlier corpora, crawl by crawl.

    path: of the index, on a disk or in a store. number: of a manifest, to which it is pinned; None
    for the one that counts whenever it is asked. storage_options: as in `deduplicate`.

    Raises SettingsError where there is no index.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        number: int | None = None,
        storage_options: StorageOptions | None = None,
    ) -> None:
        self.path = str(path)
        self.number = number
        self._options = storage_options
        with self._reached():
            self._store()

    @classmethod
    def open(cls, path: str | Path, *, storage_options: StorageOptions | None = None) -> Index:
        """Open an index; path, storage_options: see `Index`."""
        return cls(path, storage_options=storage_options)

    @classmethod
    def create(
        cls,
        path: str | Path,
        corpus: Corpus | None = None,
        *,
        like: str | Path | Result | None = None,
        output: str | Path | None = None,
        name: str | None = None,
        settings: Settings | None = None,
        execution: Execution | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[Keywords],
    ) -> Index:
        """Make an index, with a corpus in it or none.

        path: where, a folder that is not there or empty. corpus: the first crawl, see
        `deduplicate`; None for an index without rows. like: a finished run whose corpus and
        settings it takes. output: where the
        keep-list of the first crawl goes; None for nowhere. name: of that crawl. settings,
        execution, keywords: as in `deduplicate`. progress: is told how far it is.

        Raises SettingsError where another index is there, and for settings that none can have.
        """
        chosen, where = configurations(settings, execution, keywords)
        if like is not None:
            if corpus is not None:
                raise SettingsError("like names a run, which has its corpus: leave out one of both")
            run = like if isinstance(like, Result) else Result(like)
            _check_plain(run)
            chosen, corpus = Settings(**run.summary["settings"]), _corpus_of(run)
        with using(where.storage_options, [str(path)]):
            begin_index(str(path), chosen)
        index = cls(path, storage_options=where.storage_options)
        if corpus is not None:
            index.add(corpus, output, name=name, execution=where, progress=progress)
        return index

    def __repr__(self) -> str:
        found = self.manifest
        return f"Index({self.path!r}, rows={found.rows}, kept={found.kept})"

    @contextmanager
    def _reached(self) -> Iterator[None]:
        with using(self._options, [self.path]):
            yield

    @property
    def _files(self) -> Files:
        return files_at(index_place(self.path))

    def _store(self) -> Store:
        return Store.open(self._files, self.number)

    @property
    def manifest(self) -> Manifest:
        """What it has: see `index.manifest.Manifest`."""
        with self._reached():
            return self._store().manifest

    @property
    def settings(self) -> Settings:
        """Those of all its crawls."""
        return Settings(**self.manifest.settings)

    @property
    def rows(self) -> int:
        """Rows of all crawls."""
        return self.manifest.rows

    @property
    def kept(self) -> int:
        """Those of them that stay."""
        return self.manifest.kept

    @property
    def crawls(self) -> tuple[Crawl, ...]:
        """Its crawls, in the order in which they were added."""
        return self.manifest.crawls

    def snapshot(self) -> Index:
        """The same index as it is now, whatever is added: its answers stay the same."""
        return Index(self.path, number=self.manifest.number, storage_options=self._options)

    def run(self, corpus: Corpus, output: str | Path | None = None, **keywords: Any) -> Result:
        """Hold a corpus against it, and change nothing.

        corpus, output, keywords: see `deduplicate`. Rows that duplicate one of the index are
        dropped, and so are those that duplicate another row of the corpus.
        """
        return deduplicate(corpus, output, index=self, **keywords)

    def add(
        self,
        corpus: Corpus,
        output: str | Path | None = None,
        *,
        name: str | None = None,
        **keywords: Any,
    ) -> Result:
        """Hold a corpus against it, and add it.

        corpus, output, keywords: see `deduplicate`. name: of the crawl; None for one by its number.
        Where a small index has very many segments, it is compacted first.
        """
        self._check_newest()
        with self._reached():
            store = self._store()
            found = store.manifest
            if len(found.segments) >= ADDED_AT_ONCE and found.rows <= MOST_COMPACTED:
                with suppress(SettingsError):  # another writer was first, or there is no room
                    compact(store, Silent())
        return deduplicate(corpus, output, index=self, add=True, name=name, **keywords)

    def query(self, corpus: Corpus, **keywords: Any) -> pa.Table:
        """The rows of a corpus that a kept row of the index is a partner of, and nothing changes.

        corpus, keywords: see `deduplicate`. The table has the number of the row in its file, its id
        where there are ids, the crawl, path, row and id of the most similar kept row, and the exact
        similarity of the two, in each field where there are several.
        """
        found = deduplicate(corpus, against=self, **keywords)
        rows = partners(found.keep_list())
        names = {
            "witness_crawl": "crawl",
            "witness_shard": "path",
            "witness_row": "path_row",
            "witness_id": "partner_id",
        }
        there = rows.column_names
        shown = [*(one for one in ("shard", "row", "id") if one in there)]
        shown += [one for one in names if one in there]
        shown += [one for one in there if one.startswith("jaccard")] + ["lost"]
        return rows.select(shown).rename_columns([names.get(one, one) for one in shown])

    def verify(self, progress: Progress | None = None) -> Checked:
        """Read all of it, and say what is wrong; progress: is told how far it is."""
        with self._reached(), closing(progress or usual_progress()) as shown:
            return check_index(self._store(), shown)

    def compact(self, *, purge_unused: bool = False, progress: Progress | None = None) -> int:
        """Bring all segments to one, without texts of rows that were removed.

        purge_unused: remove all files that the newest manifest does not name; runs that are held
        against an older one lose them. progress: is told how far it is. Gives the number of
        segments that are there and not named, or were removed.
        """
        self._check_newest()
        with self._reached(), closing(progress or usual_progress()) as shown:
            store = compact(self._store(), shown)
            if purge_unused:
                return purge(store.files, store.manifest)
            return len(unused(store.files, store.manifest)[0])

    def counts(self, output: str | Path, progress: Progress | None = None) -> int:
        """Write how many rows each kept row stays for today, over all crawls.

        output: the Parquet file. progress: is told how far it is. Gives the number of kept rows.
        """
        self._check_outside(output)
        with self._reached(), closing(progress or usual_progress()) as shown:
            return write_counts(self._store(), str(output), shown)

    def remove(
        self,
        *,
        shards: Sequence[str] = (),
        ids: Sequence[Any] = (),
        revisions: str | Path | None = None,
        execution: Execution | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[ExecutionKeywords],
    ) -> pa.Table:
        """Take rows out, and decide those again that were dropped because of them.

        shards: paths of files, or names of crawls, all of whose rows go. ids: of single rows.
        revisions: a Parquet file to write what is returned to, before anything is removed.
        execution, keywords: where rows are decided again. progress: is told how far it is.

        Rows that lost their witness are read from their own files, where these are as they were,
        and held against all rows that stay. Gives one line for each row whose decision is another
        one now; those that could not be read are orphans: they stay dropped, without a witness.
        The texts of removed rows are gone after `compact` and its purge.
        """
        self._check_newest()
        _, where = configurations(None, execution, keywords)
        if isinstance(shards, str) or isinstance(ids, str):
            raise SettingsError("shards and ids are lists: write remove(ids=[…])")
        self._check_outside(revisions)
        with self._reached():
            store = self._store()
            rows = rows_of_files(store, shards)
            if len(ids):
                rows = np.union1d(rows, rows_of_ids(store, [str(one) for one in ids]))
            rows = still_there(store, rows)
            return _removed(store, rows, where, progress, revisions)

    def rebuild(
        self,
        output: str | Path,
        *,
        execution: Execution | None = None,
        progress: Progress | None = None,
        **keywords: Unpack[ExecutionKeywords],
    ) -> tuple[Index, pa.Table]:
        """Make the index anew from the files of its crawls, added in the same order.

        output: where the new index goes. execution, keywords: where it is made. progress: is told.
        Rows that were removed are removed from it, in the end. Gives the new index and a line for
        each row that is decided otherwise in it, none where nothing was removed between crawls.
        """
        _, where = configurations(None, execution, keywords)
        with self._reached():
            store = self._store()
            places = store.places()
        _check_files(store)
        made = Index.create(output, settings=self.settings, execution=where)
        paths, crawls = places.paths.to_pylist(), places.crawls.to_pylist()
        for crawl in store.manifest.crawls:
            mine = [path for path, of in zip(paths, crawls, strict=True) if of == crawl.name]
            how: dict[str, Any] = dict(crawl.reading)
            made.add(mine, name=crawl.name, execution=where, progress=progress, **how)
        with self._reached():
            gone = _rows_with(store, REMOVED)
            if len(gone):
                _removed(made._store(), gone, where, progress)
            new = made._store()
            return made, revisions(store, new, _different(store, new))

    def _check_outside(self, output: str | Path | None) -> None:
        """Raise SettingsError for a file in the folder of the index."""
        here = resolved(str(index_place(self.path)))
        if output is not None and is_within(resolved(str(output)), here):
            raise SettingsError(f"{output} lies in the index: choose a place outside it")

    def _check_newest(self) -> None:
        if self.number is not None:
            raise SettingsError("a snapshot stays as it is: open the index itself to change it")


def _check_plain(run: Result) -> None:
    """Raise SettingsError for a run whose decisions are not of its corpus alone."""
    beside = {
        "references": bool(run.untouched),
        "test sets": "contamination" in run.summary,
        "an index": "index" in run.summary,
    }
    having = [name for name, is_there in beside.items() if is_there]
    if having:
        raise SettingsError(
            f"{run.path} was held against {listed(having)}, which an index like it would not be: "
            "give the corpus itself"
        )


def _corpus_of(run: Result) -> list[str]:
    paths = [shard["path"] for shard in run.shards]
    if any(path.startswith("<") for path in paths):
        raise SettingsError(f"{run.path} is of rows in memory: give them, they are not kept")
    return paths


def _check_files(store: Store) -> None:
    """Raise SettingsError for an index that cannot be made anew from its files."""
    for crawl in store.manifest.crawls:
        if crawl.evals:
            raise SettingsError(
                f"{crawl.name} was held against test sets, which the index does not have: it "
                "cannot be made anew"
            )
    for path in store.places().paths.to_pylist():
        if is_in_memory(path):
            raise SettingsError(f"rows of {path} were in memory: they cannot be added anew")


def _rows_with(store: Store, reason: int) -> Array:
    """The rows that have a reason: int64, ascending."""
    found = [
        np.flatnonzero(store.state(first, end).reasons == reason) + first
        for first, end in store.spans()
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _different(store: Store, other: Store) -> Array:
    """The rows of two indexes of the same crawls that are decided otherwise: int64, ascending."""
    if store.manifest.rows != other.manifest.rows:
        raise SettingsError("files of the index have other rows than they had when they were added")
    found = [np.zeros(0, np.int64)]
    for first, end in store.spans():
        reasons = store.state(first, end).reasons != other.state(first, end).reasons
        witness = [numbers(one.rows(first, end).column("witness")) for one in (store, other)]
        found.append(np.flatnonzero(reasons | (witness[0] != witness[1])) + first)
    return np.concatenate(found)


def _removed(
    store: Store,
    rows: Array,
    execution: Execution,
    progress: Progress | None,
    output: str | Path | None = None,
) -> pa.Table:
    """Take rows out of an index; see `Index.remove`. rows: int64, ascending."""
    orphans = orphans_of(store, rows)
    folder = new_segment()
    changes = [_without_witness(rows, np.full(len(rows), REMOVED))]
    changes.append(_without_witness(orphans, _reasons(store, orphans)))
    after = store
    for number, crawl in enumerate(store.manifest.crawls if len(rows) else ()):
        low, high = np.searchsorted(orphans, [crawl.first, crawl.first + crawl.rows])
        if low < high:
            before = _with_changes(store, f"{folder}/first{number}", changes)
            mine = orphans[low:high]
            changes.append(decided_again(before, mine, crawl, execution, progress))
    if len(rows):
        after = _with_changes(store, folder, changes)
    table = revisions(store, after, np.union1d(rows, orphans))
    if output is not None:
        write_parquet(str(output), table.schema, iter(table.to_batches()))
    if not len(rows):
        return table
    files = store.files
    segment = after.manifest.segments[-1]
    check_there(files, segment)
    segment.settle(files)
    if not commit(files, _recounted(after)):
        files.remove_folder(folder)
        raise SettingsError(f"{files.root} was changed meanwhile: give the same command again")
    for number in range(len(store.manifest.crawls)):
        files.remove_folder(f"{folder}/first{number}")
    return table


def _without_witness(rows: Array, reasons: Array) -> Decided:
    """Rows that have no witness any more. rows: int64, ascending. reasons: of each."""
    count = len(rows)
    nothing = np.full(count, -1)
    return Decided(rows, reasons, nothing, np.full(count, np.nan), np.zeros(count, np.int64), [])


def _reasons(store: Store, rows: Array) -> Array:
    found = [np.zeros(0, np.uint8)]
    for first, end in store.spans():
        low, high = np.searchsorted(rows, [first, end])
        if low < high:
            found.append(store.state(first, end).reasons[rows[low:high] - first])
    return np.concatenate(found)


def _with_changes(store: Store, folder: str, changes: Sequence[Decided]) -> Store:
    """An index with changes of rows, of which the last ones count; no manifest names them yet."""
    rows = np.concatenate([one.rows for one in changes])
    texts = [text for one in changes for text in one.texts]
    chosen = last_of_each(rows)
    columns = [
        np.concatenate([getattr(one, name) for one in changes])[chosen].astype(kind)
        for name, kind in (
            ("rows", np.int64),
            ("reasons", np.uint8),
            ("witnesses", np.int64),
            ("jaccard", np.float64),
            ("lost", np.int32),
        )
    ]
    batch = pa.RecordBatch.from_arrays(list(map(pa.array, columns)), schema=CHANGES)
    blocks = [(int(columns[0][0]) if len(rows) else 0, batch)]
    files = store.files
    table = write_blocks(files, f"{folder}/changes.arrow", CHANGES, blocks, compressed=True)
    text = write_blocks(
        files, f"{folder}/text.arrow", store.text_columns, in_blocks(texts), compressed=True
    )
    tables = {**dict.fromkeys(TABLES, ()), "changes": (table,), "text": (text,)}
    manifest = store.manifest
    segment = Segment(folder, manifest.rows, 0, tables)
    following = replace(
        manifest, number=manifest.number + 1, segments=(*manifest.segments, segment)
    )
    return Store(files, following)


def _recounted(after: Store) -> Manifest:
    """The manifest with the rows of each crawl that are kept and removed, counted again."""
    crawls = []
    for crawl in after.manifest.crawls:
        kept = removed = 0
        end = crawl.first + crawl.rows
        for first in range(crawl.first, end, SPAN):
            state = after.state(first, min(first + SPAN, end))
            kept += int(state.kept.sum())
            removed += int((state.reasons == REMOVED).sum())
        crawls.append(replace(crawl, kept=kept, removed=removed))
    return replace(after.manifest, crawls=tuple(crawls))
