"""Arrow arrays as the flat numpy buffers that kernels take, and text of any type as one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]

_BINARY = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
_FLAT = (pa.binary(), pa.large_binary(), pa.binary_view(), *_BINARY)
VIEWS = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}


class Texts(NamedTuple):
    """Some texts: text i is data[offsets[i]:offsets[i + 1]].

    data: uint8[bytes]. offsets: int64[texts + 1]. valid: uint8[texts], 0 for a null, whose bytes
    are not to be looked at.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    valid: npt.NDArray[np.uint8]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each document."""
        lengths: npt.NDArray[np.int64] = np.diff(self.offsets)
        return lengths * self.valid.astype(np.int64)


def text_buffers(texts: pa.Array) -> Texts:
    """The buffers of a large_string or large_binary array, of a slice those that are its own."""
    rows = len(texts)
    _, offsets, data = texts.buffers()
    if rows == 0 or offsets is None:
        return Texts(np.zeros(0, np.uint8), np.zeros(rows + 1, np.int64), np.zeros(rows, np.uint8))
    bounds = np.frombuffer(offsets, np.int64, rows + 1, 8 * texts.offset)
    flat = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    return Texts(flat, bounds, valid_bytes(texts))


def valid_bytes(array: pa.Array) -> npt.NDArray[np.uint8]:
    """uint8[rows]: 1 for each value that is there, 0 for each null."""
    if array.null_count == 0:
        return np.ones(len(array), np.uint8)
    bitmap = array.buffers()[0] if array.buffers() else None
    if bitmap is None:
        unpacked: npt.NDArray[np.uint8] = array.is_valid().cast(pa.uint8()).to_numpy()
        return unpacked
    first, skipped = divmod(array.offset, 8)
    held = np.frombuffer(bitmap, np.uint8, -(-(skipped + len(array)) // 8), first)
    valid = np.unpackbits(held, bitorder="little", count=skipped + len(array))
    return valid[skipped:].copy() if skipped else valid


def as_type(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast an array to another type; one of nothing but nulls can be cast to any."""
    return pa.nulls(len(array), kind) if array.null_count == len(array) else array.cast(kind)


def numbers(array: pa.Array | pa.ChunkedArray) -> Array:
    """A numeric array without nulls as numpy, without a copy where it is one chunk."""
    values: Array = one_chunk(array).to_numpy(zero_copy_only=False)
    return values


def one_chunk(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The values of a column as one array, without a copy where they are."""
    if isinstance(array, pa.ChunkedArray):
        return array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    return array


def band_keys(high: pa.Array, low: pa.Array) -> Array:
    """Band keys of records: uint64, whose lowest 16 bits are 0; see `schema.BAND_RECORDS`."""
    keys: Array = numbers(high).astype(np.uint64) << np.uint64(32)
    keys |= numbers(low).astype(np.uint64) << np.uint64(16)
    return keys


def batches_of(parts: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about one size.

    parts: the rows, in small batches. size: bytes.
    """
    held: list[pa.RecordBatch] = []
    room = size
    for part in parts:
        held.append(part)
        room -= held_bytes(part)
        if room <= 0:
            yield pa.concat_batches(held)
            held, room = [], size
    if held:
        yield pa.concat_batches(held)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type is text: strings, bytes, dictionaries of them, or null."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in _FLAT or pa.types.is_null(kind)


def is_json(kind: pa.DataType) -> bool:
    """Whether values of this type are JSON texts: that of `datasets`, and of Parquet's JSON."""
    return isinstance(kind, pa.JsonType)


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists of any kind."""
    return pa.types.is_fixed_size_list(kind) or any(test(kind) for test, _ in _LISTS)


def as_stored(array: pa.Array) -> pa.Array:
    """The same array as what its extension types are stored as, at any depth but JSON; no copy."""
    kind = stored_type(array.type)
    return array if kind == array.type else pa.array(_Seen(array, kind))


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type with what extension types are stored as in their place, at any depth but JSON."""
    return _changed(kind, binary=False)


def as_binary(array: pa.Array) -> pa.Array:
    """View a text array as bytes, which nothing validates as UTF-8; no copy."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(
            array.indices, as_binary(array.dictionary), safe=False
        )
    if kind not in _BINARY:
        return array
    return pa.Array.from_buffers(
        _BINARY[kind], len(array), array.buffers(), array.null_count, array.offset
    )


def from_bytes(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """View a binary or large_binary array as string or large_string, whatever its bytes are."""
    return pa.Array.from_buffers(kind, len(array), array.buffers(), array.null_count, array.offset)


def as_large_string(array: pa.Array) -> pa.Array:
    """An array of any type that `is_text` allows as large_string, with its bytes as they are."""
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.large_string())
    if kind == pa.large_string():
        return array
    if pa.types.is_dictionary(kind):
        return as_large_string(array.dictionary).take(array.indices)
    if kind in (pa.string(), pa.binary()) and array.null_count == 0 and len(array):
        _, narrow, data = array.buffers()  # in numpy, as a cast costs more for small batches
        offsets = np.frombuffer(narrow, np.int32, len(array) + 1, 4 * array.offset)
        wide = [None, pa.py_buffer(offsets.astype(np.int64)), data or pa.py_buffer(b"")]
        return pa.Array.from_buffers(pa.large_string(), len(array), wide, 0)
    return from_bytes(as_binary(array).cast(pa.large_binary()), pa.large_string())


def byte_size(array: pa.Array) -> int:
    """About the bytes of an array's values, also where it is a slice of a larger one."""
    return int(text_lengths(array).sum()) if is_text(array.type) else held_bytes(array)


def held_bytes(data: pa.Array | pa.RecordBatch | pa.Table) -> int:
    """About the bytes of what is in memory of some data, of a slice only its own."""
    try:
        return int(data.nbytes)
    except pa.ArrowTypeError:  # before pyarrow 24 views do not tell which bytes are a slice's
        return int(data.get_total_buffer_size())


def text_lengths(array: pa.Array) -> npt.NDArray[np.int64]:
    """About the bytes of each value of a text array: int64[rows]."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if len(array.dictionary) == 0:
            return np.zeros(len(array), np.int64)
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        lengths: npt.NDArray[np.int64] = text_lengths(array.dictionary)[indices]
        return lengths
    if len(array) == 0 or pa.types.is_null(kind):
        return np.zeros(len(array), np.int64)
    buffer = array.buffers()[1]
    if kind in VIEWS:
        views = np.frombuffer(buffer, np.int32, 4 * len(array), 16 * array.offset)
        return views[::4].astype(np.int64)
    wide = kind in (pa.large_string(), pa.large_binary())
    width = np.int64 if wide else np.int32
    offsets = np.frombuffer(buffer, width, len(array) + 1, array.offset * (8 if wide else 4))
    return np.diff(offsets).astype(np.int64)


def taken(batch: pa.RecordBatch, take: Array) -> pa.RecordBatch:
    """The rows of a batch that are taken; the batch itself where all are.

    batch: rows with columns of any type. take: bool[rows].
    """
    if take.all():
        return batch
    try:
        return batch.filter(pa.array(take))
    except pa.ArrowNotImplementedError:  # views and some nested types have no filter kernel
        edges = np.flatnonzero(np.diff(np.concatenate([[False], take, [False]]).astype(np.int8)))
        runs = [batch.slice(a, b - a) for a, b in edges.reshape(-1, 2).tolist()]
        return pa.concat_batches(runs) if runs else batch.slice(0, 0)


def picked(batch: pa.RecordBatch, rows: Array) -> pa.RecordBatch:
    """The rows of a batch with these numbers, in this order, also several times.

    batch: rows with columns of any type. rows: int64.
    """
    try:
        return batch.take(pa.array(rows))
    except pa.ArrowNotImplementedError:  # as in `taken`
        runs = [batch.slice(row, 1) for row in rows.tolist()]
        return pa.concat_batches(runs) if runs else batch.slice(0, 0)


def in_partitions(
    rows: pa.RecordBatch, partition: Array, partitions: int
) -> Iterator[pa.RecordBatch]:
    """Rows by the number of their partition: one record batch for each, with rows in order.

    rows: the rows of all partitions. partition: int64[rows], the number of each row's partition.
    partitions: how many there are; one without rows has an empty batch.
    """
    if (partition[1:] < partition[:-1]).any():  # else they are in order, as in one large component
        order = np.argsort(partition, kind="stable")
        rows, partition = rows.take(pa.array(order)), partition[order]
    yield from slices(rows, np.searchsorted(partition, np.arange(partitions + 1)))


def slices(rows: pa.RecordBatch, bounds: Array) -> Iterator[pa.RecordBatch]:
    """The rows from each bound up to the next. bounds: int64, ascending."""
    for start, end in itertools.pairwise(bounds.tolist()):
        yield rows.slice(start, end - start)


def validate(array: pa.Array) -> None:
    """Raise ArrowInvalid where offsets or indices point outside of an array, at any depth.

    Texts are seen as bytes: whether they are valid UTF-8 is not asked here.
    """
    array.validate()
    pa.array(_Seen(array, _changed(array.type, binary=True))).validate(full=True)


class _Seen:
    """An array as another type of the same layout, at any depth; no copy."""

    def __init__(self, array: pa.Array, kind: pa.DataType) -> None:
        self._array = array
        self._kind = kind

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Hand the buffers on with the other type; see Arrow's PyCapsule interface."""
        return self._kind.__arrow_c_schema__(), self._array.__arrow_c_array__()[1]


def _changed(kind: pa.DataType, *, binary: bool) -> pa.DataType:
    """A type of the same layout without extension types in it, at any depth but in unions.

    binary: whether strings become bytes, and JSON what it is stored as.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        keep = is_json(kind) and not binary
        return kind if keep else _changed(kind.storage_type, binary=binary)
    if binary and kind in _BINARY:
        return _BINARY[kind]
    if types.is_dictionary(kind):
        return pa.dictionary(
            kind.index_type, _changed(kind.value_type, binary=binary), kind.ordered
        )
    if types.is_run_end_encoded(kind):
        return pa.run_end_encoded(kind.run_end_type, _changed(kind.value_type, binary=binary))
    if types.is_struct(kind):
        return pa.struct([field.with_type(_changed(field.type, binary=binary)) for field in kind])
    if types.is_map(kind):
        return pa.map_(
            _changed(kind.key_type, binary=binary), _changed(kind.item_type, binary=binary)
        )
    if types.is_fixed_size_list(kind):
        return pa.list_(_changed(kind.value_type, binary=binary), kind.list_size)
    for test, make in _LISTS:
        if test(kind):
            return make(_changed(kind.value_type, binary=binary))
    return kind


_LISTS = (
    (pa.types.is_list, pa.list_),
    (pa.types.is_large_list, pa.large_list),
    (pa.types.is_list_view, pa.list_view),
    (pa.types.is_large_list_view, pa.large_list_view),
)
