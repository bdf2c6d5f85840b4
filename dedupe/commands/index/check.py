"""Whether an index is whole: every block against its checksum, and what must hold between rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers
from dedupe.errors import DamageError, IntegrityError
from dedupe.index.blocks import BlockTable, blocks_of, read_blocks
from dedupe.index.manifest import Segment
from dedupe.index.store import Store
from dedupe.index.tables import (
    CHANGES,
    FILES,
    KEYS,
    MERGES,
    REMOVED,
    STATE,
)
from dedupe.progress import Progress
from dedupe.schema import EXACT, NEAR


@dataclass
class Checked:
    """What was found.

    rows, kept, removed: of the index. tables, bytes: that were read. orphans: rows whose witness
    was removed, and whose text was not at hand. problems: what is wrong.
    """

    rows: int = 0
    kept: int = 0
    removed: int = 0
    tables: int = 0
    bytes: int = 0
    orphans: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_index(store: Store, progress: Progress) -> Checked:
    """Read all of an index.

    store: the index. progress: is told how far it is. Nothing is raised for damage: it is listed.
    """
    found = Checked()
    manifest = store.manifest
    tables = [(segment, kind, table) for segment, kind, table in _tables(store)]
    progress.stage("verify", len(tables) + 1, 0)
    schemas = {
        "state": STATE,
        "rows": store.row_columns,
        "text": store.text_columns,
        "keys": KEYS,
        "merges": MERGES,
        "files": FILES,
        "changes": CHANGES,
    }
    for segment, kind, table in tables:
        try:
            _check_table(store, segment, kind, table, schemas[kind])
        except (DamageError, IntegrityError, pa.ArrowException, OSError) as error:
            found.problems.append(" ".join(str(error).split()))
        found.tables += 1
        found.bytes += table.size + table.blocks.size
        progress.advance(0)
    if found.ok:
        _check_rows(store, found)
        if (found.rows, found.kept) != (manifest.rows, manifest.kept):
            found.problems.append(
                f"{found.kept:,} of {found.rows:,} rows are kept, and its manifest says "
                f"{manifest.kept:,} of {manifest.rows:,}"
            )
    progress.advance(found.rows)
    return found


def _tables(store: Store) -> Iterator[tuple[Segment, str, BlockTable]]:
    for segment in store.manifest.segments:
        for kind, of_kind in segment.tables.items():
            for table in of_kind:
                yield segment, kind, table


def _check_table(
    store: Store, segment: Segment, kind: str, table: BlockTable, schema: pa.Schema
) -> None:
    """Raise DamageError or IntegrityError where a table is not as it was written."""
    where = store.files.path(table.name)
    blocks = blocks_of(store.files, table)
    rows = 0
    before = -1
    for number, batch in enumerate(
        read_blocks(store.files, table, schema, range(len(blocks.heads)))
    ):
        batch.validate(full=kind != "text")
        rows += batch.num_rows
        if kind in ("text", "changes") and batch.num_rows:
            before = _ascending(numbers(batch.column("row")), before, where)
        if kind == "text" and int(blocks.heads[number]) != batch.column("row")[0].as_py():
            raise IntegrityError(f"{where}: a block does not begin with the row that it should")
        if kind == "keys" and batch.num_rows:
            high, low, of_rows = map(numbers, batch.columns)
            keys = high.astype(np.int64) << 16 | low.astype(np.int64)
            before = _ascending(keys, before, where)
            if int(of_rows.max()) >= segment.rows:
                raise IntegrityError(f"{where}: a key of a row that is not there")
    if rows != table.rows:
        raise IntegrityError(f"{where}: {rows} rows, and {table.rows} were written")


def _ascending(values: Array, before: int, where: str) -> int:
    """The last of some values, which must go up from `before`."""
    if values[0] <= before or (np.diff(values) <= 0).any():
        raise IntegrityError(f"{where}: it is out of order")
    return int(values[-1])


def _check_rows(store: Store, found: Checked) -> None:
    """Hold decisions against one another: who dropped a row must be kept, and have a text."""
    rows = store.manifest.rows
    kept = np.zeros(rows, np.bool_)
    for first, end in store.spans():
        kept[first:end] = store.state(first, end).kept
    texts = np.zeros(rows, np.bool_)
    for batch in store.blocks("text", store.text_columns):
        texts[numbers(batch.column("row"))] = True
    lacking = np.flatnonzero(kept & ~texts)
    if len(lacking):
        found.problems.append(f"{len(lacking):,} kept rows have no text, the first is {lacking[0]}")
    for first, end in store.spans():
        reasons = store.state(first, end).reasons
        witness = numbers(store.rows(first, end).column("witness"))
        dropped = np.isin(reasons, (EXACT, NEAR))
        orphans = dropped & (witness < 0)
        found.orphans += int(orphans.sum())
        mine = witness[dropped & ~orphans]
        if len(mine) and (mine.max() >= rows or not kept[mine].all()):
            found.problems.append(f"rows {first:,} to {end:,}: a row whose witness is not kept")
        found.removed += int((reasons == REMOVED).sum())
    found.rows, found.kept = rows, int(kept.sum())
