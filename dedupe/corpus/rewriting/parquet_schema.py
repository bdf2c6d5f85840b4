"""The schema of a Parquet file as it is stored, so that a copy has the same one.

pyarrow reads and writes Arrow types, of which there are fewer than of Parquet's: INTERVAL, VARIANT,
the names of groups in lists, and what it knows of version 1 only would be lost. The values are
stored alike all the same. A copy is therefore given the source's own schema, element by element, in
place of the one that pyarrow wrote. A column whose values pyarrow would store otherwise (decimals
of another width) is read without its logical type, as the bytes or integers that it consists of.

Source: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from dedupe.corpus.thrift import BINARY, I32, LIST, STRUCT, Items, Reader, Struct, written

MAGIC = b"PAR1"
TAIL = 8
"""Bytes after the footer: its length, and the magic number."""

# Fields of FileMetaData, SchemaElement, RowGroup, ColumnChunk and ColumnMetaData.
_VERSION, _SCHEMA, _GROUPS, _METADATA = 1, 2, 4, 5
_TYPE, _LENGTH, _REPETITION, _NAME, _CHILDREN = 1, 2, 3, 4, 5
_CONVERTED, _SCALE, _PRECISION, _LOGICAL = 6, 7, 8, 10
_CHUNKS, _CHUNK_METADATA, _PATH = 1, 3, 3
_KEY, _VALUE = 1, 2

_REQUIRED = 0
_BOOLEAN, _INT32, _INT64, _INT96, _FLOAT, _DOUBLE, _BYTE_ARRAY, _FIXED = range(8)
_DECIMAL, _UNSIGNED, _INTERVAL = 5, range(11, 15), 21  # converted types
_LOGICAL_DECIMAL, _LOGICAL_INTEGER, _LOGICAL_FLOAT16 = 5, 10, 15
_LOGICAL_UNORDERED = (11, 16, 17, 18)  # null, variant, geometry, geography


ARROW_TYPES = b"ARROW:schema"
"""The key of a footer's metadata that has the Arrow types of its columns."""


class Leaf(NamedTuple):
    """What is stored of a column.

    stored: its physical type, with the bytes of a value of a fixed number of them. levels: what of
    its path is optional or repeated, which is what the levels of its values count. path: the names
    from the root on. order: how values compare, or None where they do not.
    """

    stored: tuple[int, int | None]
    levels: tuple[int, ...]
    path: tuple[bytes, ...]
    order: str | None


@dataclass(frozen=True)
class StoredSchema:
    """The elements of a schema, depth first, the root before all.

    version: of the format, as the footer says. elements: each as it stands in the footer.
    """

    version: int
    elements: list[Struct]

    @classmethod
    def of(cls, footer: bytes) -> StoredSchema:
        """That of a footer; ValueError where there is none."""
        begin, _ = _begin(footer)
        version = _get(begin, _VERSION)
        return cls(1 if version is None else version, begin[_SCHEMA][1].values)

    @cached_property
    def leaves(self) -> list[Leaf]:
        """What is stored, in order."""
        leaves: list[Leaf] = []
        open_groups: list[list[Any]] = []  # children that are left, levels, path
        for element in self.elements:
            levels, path = open_groups[-1][1:] if open_groups else ((), ())
            if open_groups:
                open_groups[-1][0] -= 1
                repetition = _get(element, _REPETITION)
                levels += (repetition,) if repetition != _REQUIRED else ()
                path += (_get(element, _NAME),)
            children = _get(element, _CHILDREN)
            if children or not open_groups:
                open_groups.append([children, levels, path])
            else:
                kind = _get(element, _TYPE)
                length = _get(element, _LENGTH) if kind == _FIXED else None
                leaves.append(Leaf((kind, length), levels, path, _order(element)))
            while open_groups and not open_groups[-1][0]:
                open_groups.pop()
        return leaves

    def unlike(self, other: StoredSchema) -> list[int]:
        """The leaves whose values another schema, which may have more, stores otherwise."""
        pairs = zip(self.leaves, other.leaves, strict=False)
        return [i for i, (one, two) in enumerate(pairs) if one.stored != two.stored]

    def misplaced(self, other: StoredSchema) -> str | None:
        """The first leaf that another schema has not got at its place; None where it has all."""
        for i, one in enumerate(self.leaves):
            if i >= len(other.leaves) or one.levels != other.leaves[i].levels:
                return b".".join(one.path).decode(errors="replace")
        return None

    def plain(self, leaves: Sequence[int]) -> StoredSchema:
        """The schema with some leaves that are only what is stored, without a logical type."""
        at = [i for i, element in enumerate(self.elements) if i and not _get(element, _CHILDREN)]
        elements = list(self.elements)
        for leaf in leaves:
            meaning = (_CONVERTED, _SCALE, _PRECISION, _LOGICAL)
            element = elements[at[leaf]]
            elements[at[leaf]] = {n: v for n, v in element.items() if n not in meaning}
        return StoredSchema(self.version, elements)

    def with_columns(self, other: StoredSchema, count: int) -> StoredSchema:
        """The schema with the last columns of another one, which have no columns of their own."""
        if not count:
            return self
        root = dict(self.elements[0])
        root[_CHILDREN] = (I32, _get(root, _CHILDREN) + count)
        added = other.elements[-count:]
        return StoredSchema(self.version, [root, *self.elements[1:], *added])

    def put_into(self, footer: bytes) -> bytes:
        """A footer with this schema and version instead of its own.

        footer: of a file whose leaves are stored as those of this schema are.
        """
        begin, end = _begin(footer)
        own = StoredSchema(self.version, begin[_SCHEMA][1].values)
        begin[_VERSION] = (I32, self.version)
        begin[_SCHEMA] = (LIST, Items(STRUCT, self.elements))
        if [leaf.path for leaf in own.leaves] == [leaf.path for leaf in self.leaves]:
            return written(begin)[:-1] + footer[end:]
        whole = Reader(footer).struct() | begin
        for group in whole[_GROUPS][1].values:
            for chunk, leaf in zip(_get(group, _CHUNKS).values, self.leaves, strict=True):
                _get(chunk, _CHUNK_METADATA)[_PATH] = (LIST, Items(BINARY, list(leaf.path)))
        return written(whole)

    def metadata(self, footer: bytes) -> pq.FileMetaData:
        """What pyarrow is to believe of a file: its footer with this schema, and no Arrow types."""
        whole = Reader(footer).struct()
        whole[_SCHEMA] = (LIST, Items(STRUCT, self.elements))
        if _METADATA in whole:
            kind, pairs = whole[_METADATA]
            others = [one for one in pairs.values if _get(one, _KEY) != ARROW_TYPES]
            whole[_METADATA] = (kind, Items(pairs.type, others))
        return pq.read_metadata(io.BytesIO(MAGIC + ended(written(whole))))


def arrow_types(footer: bytes) -> dict[bytes, bytes]:
    """What a footer says of the Arrow types of its columns, as a key with its value; or nothing."""
    pairs = _get(Reader(footer).struct(), _METADATA)
    return {
        _get(one, _KEY): _get(one, _VALUE)
        for one in (pairs.values if pairs else ())
        if _get(one, _KEY) == ARROW_TYPES and _get(one, _VALUE)
    }


def _begin(footer: bytes) -> tuple[Struct, int]:
    """The fields of a footer up to the schema, before all that grows, and where they end."""
    reader, found = Reader(footer), {}
    for number, kind, value in reader.fields():
        found[number] = (kind, value)
        if number == _SCHEMA:
            break
    return found, reader.at


def footer_of(file: BinaryIO, size: int) -> bytes:
    """Read the footer of a file of so many bytes; ValueError where there is none."""
    file.seek(max(size - TAIL, 0))
    tail = file.read(TAIL)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > size - TAIL:
        raise ValueError("there is no footer at the end")
    file.seek(size - TAIL - length)
    return bytes(file.read(length))  # a file of a store gives views


def footer_in(end: bytes) -> bytes:
    """The footer in the last bytes of a file."""
    length = int.from_bytes(end[-TAIL:-4], "little")
    return end[-TAIL - length : -TAIL]


def ended(footer: bytes) -> bytes:
    """A footer and what comes after it."""
    return footer + len(footer).to_bytes(4, "little") + MAGIC


def page_header(data: bytes) -> dict[int, Any]:
    """The first four fields of a page header: type, sizes, and checksum where there is one."""
    found: dict[int, Any] = {}
    with suppress(ValueError):  # what comes later may be cut
        for number, _, value in Reader(data).fields():
            if number <= 4:
                found[number] = value
    return found


def _get(struct: Struct, number: int) -> Any:
    """A field's value; None where it is not there."""
    return struct.get(number, (None, None))[1]


def _order(element: Struct) -> str | None:
    """How the values of a leaf compare, by which least and greatest ones are told."""
    kind, converted = _get(element, _TYPE), _get(element, _CONVERTED)
    logical = _get(element, _LOGICAL) or {}
    if kind == _INT96 or converted == _INTERVAL or any(n in logical for n in _LOGICAL_UNORDERED):
        return None
    if _LOGICAL_FLOAT16 in logical:
        return "float16"
    if kind in (_BYTE_ARRAY, _FIXED):
        is_number = converted == _DECIMAL or _LOGICAL_DECIMAL in logical
        return "decimal" if is_number else "bytes"
    is_signed = True
    if _LOGICAL_INTEGER in logical:
        is_signed = _get(_get(logical, _LOGICAL_INTEGER), 2) is not False
    return "number" if is_signed and converted not in _UNSIGNED else "unsigned"
