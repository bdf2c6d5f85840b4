"""Types of kernels, spelled as numba spells them; numba is not imported for them.

A signature is a type called with the types of arguments: `types.int64(types.uint64[::1])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


class Type:
    """What an argument or a result of a kernel is."""

    def __call__(self, *arguments: Any) -> Signature:
        """The signature of what takes these arguments, and returns this type."""
        return Signature(self, arguments)


@dataclass(frozen=True)
class Scalar(Type):
    """A number. name: that of numba and of numpy."""

    name: str

    def __getitem__(self, slices: Any) -> Array:
        """The type of contiguous arrays that a kernel writes: `[::1]`, or `[:, ::1]`."""
        return Array(self, len(slices) if isinstance(slices, tuple) else 1, readonly=False)


@dataclass(frozen=True)
class Array(Type):
    """A contiguous array. readonly: a kernel only reads it, and takes one that is read-only."""

    dtype: Scalar
    dimensions: int
    readonly: bool


@dataclass(frozen=True)
class Group(Type):
    """A tuple. named: its class, where it has one."""

    items: tuple[Any, ...]
    named: type | None = None


@dataclass(frozen=True)
class Signature:
    """What a kernel takes and returns."""

    result: Any
    arguments: tuple[Any, ...]


boolean = Scalar("boolean")
uint8 = Scalar("uint8")
uint16 = Scalar("uint16")
int32 = Scalar("int32")
uint32 = Scalar("uint32")
int64 = Scalar("int64")
uint64 = Scalar("uint64")
float64 = Scalar("float64")
void = Scalar("void")


def Tuple(items: Sequence[Any]) -> Group:  # noqa: N802 (numba's name)
    """The type of tuples of these."""
    return Group(tuple(items))


def UniTuple(item: Any, count: int) -> Group:  # noqa: N802 (numba's name)
    """The type of tuples of so many of one type."""
    return Group((item,) * count)


def NamedTuple(items: Sequence[Any], named: type) -> Group:  # noqa: N802 (numba's name)
    """The type of instances of a class of named tuples."""
    return Group(tuple(items), named)
