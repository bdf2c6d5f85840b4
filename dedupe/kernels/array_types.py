"""Types of the arrays that kernels read, for their explicit signatures.

They are read-only: a kernel of such a signature takes memory-mapped and Arrow buffers as they are,
and writable arrays too. Arrays that a kernel writes are spelled `types.int64[::1]` where it is.
"""

from __future__ import annotations

from dedupe.kernels import types


def read_only(dtype: types.Scalar, dimensions: int = 1) -> types.Array:
    """The type of contiguous arrays of a dtype that a kernel does not write."""
    return types.Array(dtype, dimensions, readonly=True)


BYTES = read_only(types.uint8)
BOOLEANS = read_only(types.boolean)
INT32 = read_only(types.int32)
INT64 = read_only(types.int64)
UINT16 = read_only(types.uint16)
UINT32 = read_only(types.uint32)
UINT64 = read_only(types.uint64)
UINT64_2D = read_only(types.uint64, 2)
