"""Arrow arrays as the flat numpy buffers that kernels take."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]


class Texts(NamedTuple):
    """One batch of documents: document i is data[offsets[i]:offsets[i + 1]], empty if not valid."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    valid: npt.NDArray[np.uint8]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each document."""
        lengths: npt.NDArray[np.int64] = np.diff(self.offsets)
        return lengths * self.valid.astype(np.int64)


def text_buffers(texts: pa.Array) -> Texts:
    """The buffers of a large_string or large_binary array, its offset honoured."""
    rows = len(texts)
    _, offsets, data = texts.buffers()
    if rows == 0 or offsets is None:
        return Texts(np.zeros(0, np.uint8), np.zeros(rows + 1, np.int64), np.zeros(rows, np.uint8))
    bounds = np.frombuffer(offsets, np.int64, rows + 1, 8 * texts.offset)
    flat = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return Texts(flat, bounds, valid_bytes(texts))


def valid_bytes(array: pa.Array) -> npt.NDArray[np.uint8]:
    """1 for each value that is there, 0 for each null."""
    if array.null_count == 0:
        return np.ones(len(array), np.uint8)
    valid: npt.NDArray[np.uint8] = array.is_valid().cast(pa.uint8()).to_numpy()
    return valid


def as_type(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """An array as another type; one without values as any."""
    return pa.nulls(len(array), kind) if array.null_count == len(array) else array.cast(kind)


def numbers(array: pa.Array | pa.ChunkedArray) -> Array:
    """A numeric array without nulls as numpy, without a copy where it is one chunk."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    values: Array = array.to_numpy(zero_copy_only=False)
    return values
