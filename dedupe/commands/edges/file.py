"""The file of edges, written and read: in the order of left rows, and then of right ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.arrays import Array, numbers
from dedupe.errors import DamageError, SettingsError
from dedupe.index.witnesses import EarlierRows
from dedupe.result import Result
from dedupe.schema import BESIDE
from dedupe.session import check_not_in_output, is_within, resolved
from dedupe.storage import file_at
from dedupe.storage.files import unwritten
from dedupe.storage.keep_lists import keep_list_batches
from dedupe.storage.tables import GROUP_ROWS, row_groups

METADATA = b"dedupe.edges"
"""The key of what a file says of itself, as JSON."""

BATCH_ROWS = 1 << 16
"""Rows of a keep-list that are read at a time."""

DROPPED = ("exact", "near", "reference", BESIDE)
"""Reasons of rows that have an edge to their witness."""


def edges_schema(
    id_type: pa.DataType | None, fields: Sequence[str], *, has_crawls: bool
) -> pa.Schema:
    """The columns of the file.

    id_type: that of the id column, None without one. fields: the names of a document's fields.
    has_crawls: whether right rows may be of earlier crawls.
    """
    columns: list[tuple[str, pa.DataType]] = [
        ("left", pa.int64()),
        ("right", pa.int64()),
        ("jaccard", pa.float64()),
    ]
    if len(fields) > 1:
        columns += [(f"jaccard_{name}", pa.float64()) for name in fields]
    columns += [("reason", pa.dictionary(pa.int8(), pa.string())), ("component", pa.int64())]
    for side in ("left", "right"):
        columns += [
            (f"{side}_shard", pa.dictionary(pa.int32(), pa.string())),
            (f"{side}_row", pa.int64()),
        ]
        columns += [] if id_type is None else [(f"{side}_id", id_type)]
    columns += [("right_crawl", pa.dictionary(pa.int32(), pa.string()))] if has_crawls else []
    return pa.schema(columns)


class Shards:
    """The shards of a run, in whose order rows have positions.

    listed: what its summary says of each, of the corpus and then of references. earlier: the index
    that it was held against, whose files come behind them; None for none.
    """

    def __init__(
        self, listed: Sequence[Mapping[str, Any]], earlier: EarlierRows | None = None
    ) -> None:
        self.paths = [one["path"] for one in listed]
        self.starts = np.cumsum([0, *(one["rows"] for one in listed)])
        self.own = int(self.starts[-1])
        self._names = pa.array(self.paths, pa.string())
        if earlier is not None:
            places = earlier.store.places()
            self.starts = np.concatenate([self.starts[:-1], self.own + places.starts])
            self._names = pa.concat_arrays([self._names, places.paths])

    def places(self, positions: Array) -> list[pa.Array]:
        """The path of the shard of each of some rows, and their numbers there."""
        shard = np.searchsorted(self.starts, positions, side="right") - 1
        path = pa.DictionaryArray.from_arrays(pa.array(shard.astype(np.int32)), self._names)
        return [path, pa.array(positions - self.starts[shard])]


def dropped_edges(result: Result, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The edges of rows and their witnesses, by the keep-lists of a finished run.

    result: the run. schema: see `edges_schema`. Raises DamageError for a keep-list that is not as
    it was published, WorkDirError where the index is gone that has witnesses.
    """
    import pyarrow.compute as pc

    earlier = result.earlier
    shards = Shards(result.read_shards, earlier)
    number_of = {path: at for at, path in reversed(list(enumerate(shards.paths)))}
    similar = [name for name in schema.names if name.startswith("jaccard")]
    has_ids = "left_id" in schema.names
    ids = ["id", "witness_id"] if has_ids else []
    columns = ["row", "reason", "witness_shard", "witness_row", *similar, *ids]
    columns += [] if earlier is None else ["witness_crawl"]
    reasons = pa.array(DROPPED)
    for shard, listed in enumerate(result.shards):
        with keep_list_batches(result.storage, listed, BATCH_ROWS, columns) as (_, batches):
            for batch in batches:
                drops = batch.filter(pc.is_in(batch["reason"].cast(pa.string()), reasons))
                if not drops.num_rows:
                    continue
                left = numbers(drops["row"]) + shards.starts[shard]
                witness = drops["witness_shard"]
                # files of test sets, which have no edges, are in the dictionary, too
                numbered = [number_of.get(path, -1) for path in witness.dictionary.to_pylist()]
                of = np.array(numbered, np.int64)[numbers(witness.indices)]
                row = numbers(drops["witness_row"])
                right = row + shards.starts[of]
                if earlier is not None:
                    crawl = drops["witness_crawl"]
                    number = earlier.numbers(crawl, witness, row)
                    is_earlier = numbers(crawl.is_valid())
                    if (number[is_earlier] < 0).any():
                        raise DamageError(
                            str(earlier.store.files.root), "it has not all rows that are witnesses"
                        )
                    right = np.where(is_earlier, shards.own + number, right)
                made = [pa.array(left), pa.array(right), *(drops[name] for name in similar)]
                made += [_reasons(drops["reason"].cast(pa.string())), pa.array(right)]
                for positions, name in ((left, "id"), (right, "witness_id")):
                    made += shards.places(positions)
                    made += [drops[name]] if has_ids else []
                made += [] if earlier is None else [crawl]
                yield pa.RecordBatch.from_arrays(made, schema=schema)


def _reasons(texts: pa.Array) -> pa.Array:
    """Reasons by the numbers that all batches have for them."""
    import pyarrow.compute as pc

    codes = pc.index_in(texts, pa.array(DROPPED)).cast(pa.int8())
    return pa.DictionaryArray.from_arrays(codes, pa.array(DROPPED))


def check_target(path: str) -> None:
    """Refuse to write over a file that is no list of edges.

    path: of the file. Raises SettingsError.
    """
    folder, name = place_of(path)
    if not folder.exists(name):
        return
    try:
        said_of(path)
    except SettingsError as error:
        raise SettingsError(f"{error}, and is there: choose another --output") from error


def check_outside(path: str, result: Result) -> None:
    """Refuse to write into the corpus, where the next run would read it, or into the run's output.

    path: of the file. result: the run. Raises SettingsError.
    """
    here = resolved(path)
    given = result.summary["corpus"].get("given", [])
    check_not_in_output(path, result.path)
    for place in (*given, *(one["path"] for one in result.read_shards), *result.held_against):
        if is_within(here, resolved(place)):
            raise SettingsError(
                f"{path} would be a part of the corpus ({place}): choose a place outside it"
            )


def said_of(path: str) -> dict[str, Any]:
    """What a list of edges says of itself.

    path: of the file. Raises SettingsError where it is none.
    """
    with _opened(path) as file:
        said: dict[str, Any] = json.loads((file.schema_arrow.metadata or {}).get(METADATA, "null"))
        if said is None:
            raise SettingsError(f"{path} is no list of edges")
        return said


def read_edges(path: str, columns: Sequence[str]) -> pa.Table:
    """A list of edges.

    path: of the file. columns: names of those to read, none for all.
    """
    with _opened(path) as file:
        return file.read(list(columns) or None)


@contextmanager
def _opened(path: str) -> Iterator[pq.ParquetFile]:
    folder, name = place_of(path)
    try:
        with pq.ParquetFile(**folder.parquet(name)) as file:
            yield file
    except FileNotFoundError:
        raise SettingsError(f"{path} does not exist") from None
    except pa.ArrowException as error:
        raise SettingsError(f"{path} is no list of edges: {error}") from error


def place_of(path: str) -> tuple[Any, str]:
    """The folder of a file, and the name of the file in it."""
    folder, name = file_at(path)
    if not name:
        raise SettingsError(f"{path} is a folder: name a file, such as edges.parquet")
    return folder, name


def write_edges(
    path: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch], said: Mapping[str, Any]
) -> None:
    """Write the file, whole or not at all.

    path: of the file. schema: see `edges_schema`. batches: the edges, in order. said: what the file
    says of itself. Raises WorkDirError where it cannot be written.
    """
    folder, name = place_of(path)
    schema = schema.with_metadata({METADATA: json.dumps(said).encode()})
    try:
        with (
            folder.writing(name) as sink,
            pq.ParquetWriter(pa.PythonFile(sink, "w"), schema, compression="zstd") as writer,
        ):
            for group in row_groups(schema, (one.cast(schema) for one in batches)):
                writer.write_table(group, row_group_size=GROUP_ROWS)
    except OSError as error:
        raise unwritten(folder.root, error) from error
