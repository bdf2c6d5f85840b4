"""The files that say where rows go: their columns, and reading them against their checksums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, as_large_string, text_buffers
from dedupe.errors import DamageError
from dedupe.storage.files import Files, Made

BATCH_ROWS = 1 << 16
"""Rows that are read at a time."""


WORDS = pa.dictionary(pa.int8(), pa.string())

WITNESSES = pa.list_(
    pa.struct(
        [
            ("split", pa.string()),
            ("shard", pa.string()),
            ("row", pa.int64()),
            ("jaccard", pa.float64()),
        ]
    )
)
"""Of a row that is linked with rows of two splits a row of each."""


def split_schema(id_type: pa.DataType | None, *, grown: bool) -> pa.Schema:
    """Columns of such a file.

    id_type: that of the id column, None without one. grown: whether there is an earlier split.
    """
    ids = [] if id_type is None else [("id", id_type)]
    witnesses = [("witnesses", WITNESSES)] if grown else []
    return pa.schema(
        [
            ("row", pa.int64()),
            *ids,
            ("split", WORDS),
            ("cluster", pa.string()),
            ("reason", WORDS),
            ("digest", pa.string()),
            *witnesses,
        ]
    )


HEX = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8)
"""Two digits for each byte."""


def in_digits(high: Array, low: Array, there: Array) -> pa.Array:
    """128 bits as 32 hexadecimal digits.

    high, low: uint64, their halves. there: bool, whether it has any; null where not.
    """
    words = np.stack([high, low], axis=1).astype(">u8")
    digits = HEX.reshape(256, 2)[words.view(np.uint8).reshape(-1)].reshape(-1)
    offsets = np.arange(len(high) + 1, dtype=np.int32) * 32
    valid = np.packbits(there, bitorder="little")
    buffers = [pa.py_buffer(valid), pa.py_buffer(offsets), pa.py_buffer(digits.copy())]
    return pa.Array.from_buffers(pa.string(), len(high), buffers)


def from_digits(array: pa.Array) -> tuple[Array, Array]:
    """Both halves of what `in_digits` has written: uint64. ArrowInvalid for anything else.

    array: strings, none of them null.
    """
    texts = text_buffers(as_large_string(array))
    digits = texts.data[texts.offsets[0] : texts.offsets[-1]]
    values = VALUE_OF[digits]
    if (texts.lengths != 32).any() or (values > 15).any():
        raise pa.ArrowInvalid("a digest that is not 32 hexadecimal digits")
    values = values.reshape(-1, 16, 2)
    words = (values[:, :, 0] << 4 | values[:, :, 1]).reshape(-1).view(">u8").reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)


VALUE_OF = np.full(256, 255, np.uint8)
VALUE_OF[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
"""The value of each digit; 255 for what is none."""


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
