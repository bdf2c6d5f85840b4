"""Thrift's compact protocol, in which footers and page headers of Parquet are written.

A struct is a dict from the number of a field to its value, with the type of the field beside it, so
that it is written as it was read, fields that nobody here knows of included.

Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
"""The types; a field's boolean is in its type, an element's in a byte."""

MOST_NESTED = 64
"""Structs and lists in each other, at most; Parquet's have fewer than ten."""

Struct: TypeAlias = "dict[int, tuple[int, Any]]"
"""For each field, by its number: its type, and its value."""


@dataclass(frozen=True)
class Items:
    """A list or a set: the type of its elements, and them."""

    type: int
    values: list[Any]


@dataclass(frozen=True)
class Pairs:
    """A map: the types of its keys and values, and them."""

    types: tuple[int, int]
    items: list[tuple[Any, Any]]


class Reader:
    """Reads values one after the other. ValueError where there are none.

    data: the bytes. at: where the next value begins.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data = data
        self.at = at
        self._nested = 0

    def fields(self) -> Iterator[tuple[int, int, Any]]:
        """The fields of a struct: number, type and value of each, as they stand there."""
        number = 0
        while header := self._take(1)[0]:
            kind, delta = header & 15, header >> 4
            number = number + delta if delta else self._signed()
            value = kind == TRUE if kind in (TRUE, FALSE) else self._value(kind)
            yield number, kind, value

    def struct(self) -> Struct:
        """All fields of a struct."""
        return {number: (kind, value) for number, kind, value in self.fields()}

    def _value(self, kind: int) -> Any:
        if kind in (TRUE, FALSE):
            return self._take(1)[0] == TRUE
        if kind in (I16, I32, I64):
            return self._signed()
        if kind == BINARY:
            return self._take(self._unsigned())
        if kind in (BYTE, DOUBLE, UUID):
            return self._take({BYTE: 1, DOUBLE: 8, UUID: 16}[kind])
        self._nested += 1
        if self._nested > MOST_NESTED:
            raise ValueError("structs are nested too deeply")
        try:
            if kind == STRUCT:
                return self.struct()
            if kind in (LIST, SET):
                return self._items()
            if kind == MAP:
                return self._pairs()
        finally:
            self._nested -= 1
        raise ValueError(f"{kind} is no type")

    def _items(self) -> Items:
        header = self._take(1)[0]
        kind, count = header & 15, header >> 4
        count = self._unsigned() if count == 15 else count
        return Items(kind, [self._value(kind) for _ in range(count)])

    def _pairs(self) -> Pairs:
        count = self._unsigned()
        types = self._take(1)[0] if count else 0
        kinds = types >> 4, types & 15
        pairs = [(self._value(kinds[0]), self._value(kinds[1])) for _ in range(count)]
        return Pairs(kinds, pairs)

    def _unsigned(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number has more than ten bytes")

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)

    def _take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise ValueError("the bytes end within a value")
        self.at += count
        return taken


def written(struct: Struct) -> bytes:
    """The bytes of a struct; fields stand in the order of the dict, which is that of numbers."""
    parts: list[bytes] = []
    for before, number in itertools.pairwise([0, *struct]):
        kind, value = struct[number]
        delta = number - before
        parts.append(bytes([delta << 4 | kind]) if 0 < delta < 16 else bytes([kind]))
        if not 0 < delta < 16:
            parts.append(_signed(number))
        if kind not in (TRUE, FALSE):
            parts.append(_value(kind, value))
    return b"".join(parts) + b"\0"


def _value(kind: int, value: Any) -> bytes:
    if kind in (TRUE, FALSE):
        return bytes([TRUE if value else FALSE])
    if kind in (I16, I32, I64):
        return _signed(value)
    if kind == BINARY:
        return _unsigned(len(value)) + bytes(value)
    if kind in (BYTE, DOUBLE, UUID):
        return bytes(value)
    if kind == STRUCT:
        return written(value)
    if kind == MAP:
        types = bytes([value.types[0] << 4 | value.types[1]]) if value.items else b""
        first, second = value.types
        both = (_value(first, key) + _value(second, one) for key, one in value.items)
        return _unsigned(len(value.items)) + types + b"".join(both)
    count = len(value.values)
    short = count < 15
    header = bytes([(count if short else 15) << 4 | value.type])
    length = b"" if short else _unsigned(count)
    return header + length + b"".join(_value(value.type, one) for one in value.values)


def _unsigned(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _signed(value: int) -> bytes:
    return _unsigned(value << 1 if value >= 0 else (-value << 1) - 1)
