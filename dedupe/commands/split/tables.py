"""The files that say where rows go: their columns, and reading them against their checksums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dedupe.errors import DamageError
from dedupe.storage.files import Files, Made

BATCH_ROWS = 1 << 16
"""Rows that are read at a time."""


def split_schema(id_type: pa.DataType | None) -> pa.Schema:
    """Columns of such a file. id_type: that of the id column, None without one."""
    ids = [] if id_type is None else [("id", id_type)]
    words = pa.dictionary(pa.int8(), pa.string())
    return pa.schema(
        [("row", pa.int64()), *ids, ("split", words), ("cluster", pa.string()), ("reason", words)]
    )


@contextmanager
def split_batches(
    files: Files, listed: Mapping[str, Any], columns: Sequence[str] | None = None
) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Yield the columns of a shard's file, and its rows a batch at a time.

    files: the output directory. listed: what its summary says of the shard. columns: names of those
    to read, None for all. Raises DamageError where the file is not as it was published.
    """
    import pyarrow.parquet as pq  # here, as a summary can be shown without it

    where = files.path(listed["split"])
    try:
        files.checked(Made(files, listed["split"], listed["split_size"], listed["split_checksum"]))
        with pq.ParquetFile(**files.parquet(listed["split"])) as file:
            if file.metadata.num_rows != listed["rows"]:
                raise pa.ArrowInvalid(f"{file.metadata.num_rows} rows, not {listed['rows']}")
            batches = file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)
            yield file.schema_arrow, batches
    except DamageError as error:
        raise DamageError(where, error.what, remedy="split again") from None
    except (pa.ArrowException, KeyError) as error:
        what = " ".join(str(error).split())
        raise DamageError(where, f"no splits: {what}", remedy="split again") from error
