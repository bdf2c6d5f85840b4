"""Keep-lists of a finished run: each file is held against its checksum before it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from dedupe.errors import DamageError
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
        if where is None:
            return file.read(columns)
        groups = (file.read_row_group(number, columns) for number in range(file.num_row_groups))
        parts = [group.filter(where(group)) for group in groups]
        return pa.concat_tables(parts or [file.read(columns)]).unify_dictionaries()


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
        yield file.schema_arrow, file.iter_batches(rows, columns=columns, use_threads=False)


@contextmanager
def _undamaged(files: Files, listed: Mapping[str, Any]) -> Iterator[None]:
    path = files.path(listed["keep"])
    try:
        files.checked(Made(files, listed["keep"], listed["keep_size"], listed["keep_checksum"]))
        yield
    except DamageError as error:
        raise DamageError(path, error.what, remedy="run again") from None
    except (pa.ArrowException, KeyError) as error:
        what = " ".join(str(error).split())
        raise DamageError(path, f"no keep-list: {what}", remedy="run again") from error
