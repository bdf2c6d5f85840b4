"""Keep-lists of a finished run: each file is held against its checksum before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dedupe.arrays import is_text
from dedupe.errors import DamageError
from dedupe.schema import CONTAMINATED, REASONS, UNREADABLE
from dedupe.storage.files import Files, Made


def read_keep_list(
    files: Files,
    listed: Mapping[str, Any],
    columns: Sequence[str] | None = None,
    where: Callable[[pa.Table], pa.Array] | None = None,
) -> pa.Table:
    """Read a keep-list file.

    files: the output directory. listed: what summary.json says of the shard. columns: names of
    those to read, None for all. where: is given some rows with these columns, and says of each
    whether it is wanted; None for all. Raises DamageError where the file is not as it was
    published.
    """
    import pyarrow.parquet as pq  # here, as a summary can be shown without it

    with _undamaged(files, listed), pq.ParquetFile(**files.parquet(listed["keep"])) as file:
        _check_columns(file.schema_arrow)
        for name in DICTIONARIES:
            at = file.schema_arrow.get_field_index(name)
            if at >= 0 and not pa.types.is_dictionary(file.schema_arrow.field(at).type):
                raise pa.ArrowInvalid(f"its column {name} is no dictionary")
        if file.metadata.num_rows != listed["rows"]:
            raise pa.ArrowInvalid(f"{file.metadata.num_rows} rows, {listed['rows']} in the shard")
        if where is None:
            found = file.read(columns)
        else:
            groups = (file.read_row_group(number, columns) for number in range(file.num_row_groups))
            parts = [group.filter(where(group)) for group in groups]
            found = pa.concat_tables(parts or [file.read(columns)]).unify_dictionaries()
        _check_values(found)
        return found


@contextmanager
def keep_list_batches(
    files: Files, listed: Mapping[str, Any], rows: int, columns: Sequence[str] | None = None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Yield the schema of a keep-list file, and its rows a batch at a time.

    files: the output directory. listed: what summary.json says of the shard. rows: in a batch.
    columns: names of those to read, None for all. Raises DamageError as `read_keep_list` does.
    """
    import pyarrow.parquet as pq

    with _undamaged(files, listed), pq.ParquetFile(**files.parquet(listed["keep"])) as file:
        _check_columns(file.schema_arrow)
        batches = file.iter_batches(rows, columns=columns, use_threads=False)
        yield file.schema_arrow, _decoded(files.path(listed["keep"]), batches)


COLUMNS = {
    "row": pa.types.is_int64,
    "keep": pa.types.is_boolean,
    "reason": is_text,
    "cluster": pa.types.is_uint64,
    "witness_shard": is_text,
    "witness_row": pa.types.is_int64,
    "jaccard": pa.types.is_float64,
    "lost": pa.types.is_int32,
    "copies": pa.types.is_int64,
    "copies_exact": pa.types.is_int64,
}
"""What every keep-list has."""

DICTIONARIES = ("reason", "witness_shard", "witness_crawl")
"""Those of few texts; the last only of runs that are held against an index."""


def _check_columns(schema: pa.Schema) -> None:
    """Raise ArrowInvalid unless these are columns of a keep-list."""
    for name, fits in COLUMNS.items():
        at = schema.get_field_index(name)
        kind = schema.field(at).type if at >= 0 else None
        if kind is None or not fits(kind):
            raise pa.ArrowInvalid(f"its column {name} is {kind or 'missing'}")
    at = schema.get_field_index("witness_crawl")
    if at >= 0 and not is_text(schema.field(at).type):
        raise pa.ArrowInvalid(f"its column witness_crawl is {schema.field(at).type}")


def _decoded(path: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches of a keep-list, which may be read when its context manager sees no error."""
    try:
        for batch in batches:
            _check_complete(batch)
            yield batch
    except pa.ArrowException as error:
        raise _no_keep_list(path, error) from error


def _no_keep_list(path: str, error: Exception) -> DamageError:
    what = " ".join(str(error).split())
    return DamageError(path, f"no keep-list: {what}", remedy="run again")


def _check_complete(rows: pa.Table | pa.RecordBatch) -> None:
    """Raise ArrowInvalid unless each row has a number, and a decision."""
    for name in {"row", "keep", "reason"}.intersection(rows.schema.names):
        if rows.column(name).null_count:
            raise pa.ArrowInvalid(f"a row without {name}")


def _check_values(table: pa.Table) -> None:
    """Raise ArrowInvalid unless each row has a decision, and each dropped one a witness."""
    import pyarrow.compute as pc

    there = set(table.column_names)
    _check_complete(table)
    if "reason" in there:
        known = pc.is_in(table["reason"].cast(pa.string()), pa.array(REASONS))
        if not pc.all(known).as_py() and len(table):
            raise pa.ArrowInvalid("a row with a reason that is not known")
    told = [name for name in ("witness_shard", "witness_row", "jaccard") if name in there]
    if "keep" in there and told:
        dropped = pc.invert(table["keep"])
        if "reason" in there:
            alone = pa.array([UNREADABLE, CONTAMINATED])  # no row of the corpus is their witness
            unread = pc.is_in(table["reason"].cast(pa.string()), alone)
            dropped = pc.and_(dropped, pc.invert(unread))
        else:  # such a row has none of them
            dropped = pc.and_(dropped, pc.invert(pc.is_null(table[told[0]])))
        dropped = table.select(told).filter(dropped)
        if any(column.null_count for column in dropped.columns):
            raise pa.ArrowInvalid("a dropped row without a witness")
    if {"witness_crawl", "witness_shard"} <= there:
        crawl, path = table["witness_crawl"].is_valid(), table["witness_shard"].is_valid()
        if pc.any(pc.and_not(crawl, path)).as_py():
            raise pa.ArrowInvalid("a row with the crawl of a witness and no witness")
    if {"witness_crawl", "cluster"} <= there:
        crawl, cluster = table["witness_crawl"].is_valid(), table["cluster"].is_valid()
        if pc.any(pc.and_(crawl, cluster)).as_py():
            raise pa.ArrowInvalid("a row in a cluster whose witness is in an earlier crawl")


@contextmanager
def _undamaged(files: Files, listed: Mapping[str, Any]) -> Iterator[None]:
    path = files.path(listed["keep"])
    try:
        files.checked(Made(files, listed["keep"], listed["keep_size"], listed["keep_checksum"]))
        yield
    except DamageError as error:
        raise DamageError(path, error.what, remedy="run again") from None
    except (pa.ArrowException, KeyError) as error:
        raise _no_keep_list(path, error) from error
