"""Many segments to one: the same rows and decisions, without texts of rows that were removed.

What a run decides does not depend on it: a segment only says where rows are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, band_keys, numbers
from dedupe.errors import SettingsError
from dedupe.index.blocks import (
    BlockTable,
    blocks_of,
    join_tables,
    read_blocks,
    write_blocks,
)
from dedupe.index.manifest import (
    FOLDER,
    Manifest,
    Segment,
    commit,
    file_of,
    new_segment,
    numbers_in,
    read_manifest,
)
from dedupe.index.store import Store
from dedupe.index.tables import (
    FILES,
    KEYS,
    KEYS_IN_BLOCK,
    MERGES,
    MOST_ROWS,
    ROWS_IN_BLOCK,
    STATE,
    in_blocks,
    key_blocks,
)
from dedupe.progress import Progress
from dedupe.storage.files import Files

UNNAMED_SECONDS = 86_400
"""How long a folder stays that no manifest has named."""

SMALL_TEXTS = 256 << 20
"""Bytes of texts that are brought to one table; a table that has more stays where it is."""

KEYS_AT_ONCE = 1 << 20
"""Band keys that are merged at a time, about."""


def compact(store: Store, progress: Progress) -> Store:
    """Write one segment of all, and let a manifest name it.

    store: the index, as it counts now. progress: is told how far it is. Gives the index as it is
    then. Raises SettingsError where it has too many rows for one segment, or was added to
    meanwhile.
    """
    manifest = store.manifest
    if len(manifest.segments) < 2:
        return store
    if manifest.rows >= MOST_ROWS:
        raise SettingsError(f"{manifest.rows:,} rows are too many for one segment")
    folder = new_segment()
    progress.stage("compact", 6, 0)
    tables: dict[str, tuple[BlockTable, ...]] = {"changes": ()}
    files = store.files

    def write(
        kind: str,
        schema: pa.Schema,
        blocks: Iterator[tuple[int, pa.RecordBatch]],
        *,
        compressed: bool = True,
    ) -> None:
        name = f"{folder}/{kind}-00000.arrow"
        tables[kind] = (write_blocks(files, name, schema, blocks, compressed=compressed),)
        progress.advance(0)

    write("state", STATE, _states(store))
    write("rows", store.row_columns, _rows(store))
    if len(store.changes()):
        write("text", store.text_columns, in_blocks(_texts(store)))
    else:
        tables["text"] = tuple(_joined_texts(store, folder))
        progress.advance(0)
    blocks = (block for keys, rows in _merged_keys(store) for block in key_blocks(keys, rows))
    write("keys", KEYS, blocks, compressed=False)
    merges = ((0, batch) for batch in store.blocks("merges", MERGES))
    write("merges", MERGES, merges)
    listed = ((0, batch) for batch in store.blocks("files", FILES))
    write("files", FILES, listed)
    segment = Segment(folder, 0, manifest.rows, tables)
    segment.settle(files)
    following = replace(manifest, number=manifest.number + 1, segments=(segment,))
    if not commit(files, following):
        files.remove_folder(folder)
        raise SettingsError(f"{files.root} was added to meanwhile: compact it again")
    return Store(files, following)


def _states(store: Store) -> Iterator[tuple[int, pa.RecordBatch]]:
    """What became of rows, with all changes; classes as they were written, as merges stay."""
    for first, end in store.spans(ROWS_IN_BLOCK):
        columns = [pa.array(store.classes_written(first, end))]
        columns.append(pa.array(store.state(first, end).reasons))
        yield first, pa.RecordBatch.from_arrays(columns, schema=STATE)


def _rows(store: Store) -> Iterator[tuple[int, pa.RecordBatch]]:
    for first, end in store.spans(ROWS_IN_BLOCK):
        for batch in store.rows(first, end).to_batches():
            yield first, batch


def _texts(store: Store) -> Iterator[pa.RecordBatch]:
    """The texts of rows that are kept now."""
    for first, end in store.spans(ROWS_IN_BLOCK):
        kept = np.flatnonzero(store.state(first, end).kept) + first
        yield from store.texts(kept)


def _joined_texts(store: Store, folder: str) -> Iterator[BlockTable]:
    """The tables of texts, where nothing has changed: small neighbours are brought together."""
    small: list[BlockTable] = []
    number = 0

    def joined() -> Iterator[BlockTable]:
        nonlocal number
        if len(small) > 1:
            name = f"{folder}/text-{number:05d}.arrow"
            number += 1
            yield join_tables(store.files, name, store.text_columns, small)
        else:
            yield from small
        small.clear()

    for _, table in store.manifest.tables("text"):
        if sum(one.size for one in small) + table.size > SMALL_TEXTS:
            yield from joined()
        small.append(table)
    yield from joined()


def _merged_keys(store: Store) -> Iterator[tuple[Array, Array]]:
    """All band keys in order, each once, and a row that has each: some at a time."""
    tables = [
        (segment, table, blocks_of(store.files, table))
        for segment, table in store.manifest.tables("keys")
    ]
    heads = [blocks.heads for _, _, blocks in tables if len(blocks.heads)]
    if not heads:
        return
    all_heads = np.sort(np.concatenate(heads))
    step = max(KEYS_AT_ONCE // KEYS_IN_BLOCK, 1)
    cuts = np.unique(all_heads[::step])
    ends = [*cuts[1:].tolist(), 1 << 64]
    for low, high in zip(cuts.tolist(), ends, strict=True):
        keys, rows = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for segment, table, blocks in tables:
            chosen = blocks.having(low, min(high, (1 << 64) - 1)) if len(blocks.heads) else range(0)
            for batch in read_blocks(store.files, table, KEYS, chosen):
                found, of_rows = band_keys(*batch.columns[:2]), numbers(batch.column("row"))
                mine = found >= np.uint64(low)
                if high < 1 << 64:
                    mine &= found < np.uint64(high)
                keys.append(found[mine])
                rows.append(of_rows[mine].astype(np.int64) + segment.first)
        together, of_keys = np.concatenate(keys), np.concatenate(rows)
        distinct, at = np.unique(together, return_index=True)
        yield distinct, of_keys[at]


def unused(files: Files, manifest: Manifest) -> tuple[list[str], list[str]]:
    """(folders of segments, manifests) that are there and not named by the manifest that counts.

    files: the folder of the index. manifest: that which counts. Folders that no manifest names are
    left out for a day: a command may be writing them.
    """
    older = [one for one in numbers_in(files) if one < manifest.number]
    named = _folders(manifest)
    before = set().union(*(_folders(read_manifest(files, one)) for one in older))
    found = []
    for name in files.names("segments"):
        folder = f"segments/{name}"
        began = name.partition("-")[0]
        is_recent = began.isdigit() and time.time() - int(began) < UNNAMED_SECONDS
        if folder not in named and (folder in before or not is_recent):
            found.append(folder)
    return found, [file_of(one) for one in older]


def _folders(manifest: Manifest) -> set[str]:
    """The folders that have tables of a manifest."""
    return {
        "/".join(table.name.split("/")[:2])
        for segment in manifest.segments
        for table in segment.all_tables
    }


def purge(files: Files, manifest: Manifest) -> int:
    """Remove what the manifest that counts does not name; how many segments that were.

    files: the folder of the index. manifest: that which counts. A run that is held against an older
    manifest loses its files.
    """
    folders, manifests = unused(files, manifest)
    for name in manifests:
        files.remove(name)
    for name in folders:
        files.remove_folder(name)
    files.remove_unfinished(FOLDER)
    return len(folders)
