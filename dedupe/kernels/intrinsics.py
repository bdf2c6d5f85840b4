"""The few machine operations that numba does not spell: each is one LLVM instruction or two.

Offsets are in bytes and are not checked: callers leave slack behind their buffers. Kernels call
these without `typing_context`, which is numba's own.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    as_bytes = builder.bitcast(data, cgutils.voidptr_t)
    return builder.bitcast(builder.gep(as_bytes, [offset]), _I64.as_pointer())


@intrinsic
def load64(typing_context: Any, array: Any, offset: Any) -> Any:
    """Little-endian uint64 at byte `offset` of `array`, which need not be aligned."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        word = builder.load(address)
        word.align = 1
        return word

    return types.uint64(array, types.int64), codegen


@intrinsic
def store64(typing_context: Any, array: Any, offset: Any, value: Any) -> Any:
    """Write `value`, a uint64, as eight little-endian bytes from byte `offset` of `array` on."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = _address(context, builder, signature.args[0], args[0], args[1])
        store = builder.store(args[2], address)
        store.align = 1
        return context.get_dummy_value()

    return types.void(array, types.int64, types.uint64), codegen


@intrinsic
def equal_bytes(typing_context: Any, array: Any, offset: Any, value: Any) -> Any:
    """Which of the 64 bytes at byte `offset` of `array` are `value`: bit i is that of byte i."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = ir.VectorType(ir.IntType(8), 64)
        address = _address(context, builder, signature.args[0], args[0], args[1])
        block = builder.load(builder.bitcast(address, lanes.as_pointer()))
        block.align = 1
        one = builder.insert_element(
            ir.Constant(lanes, ir.Undefined), args[2], ir.Constant(ir.IntType(32), 0)
        )
        places = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
        wanted = builder.shuffle_vector(one, one, places)
        return builder.bitcast(builder.icmp_unsigned("==", block, wanted), _I64)

    return types.uint64(array, types.int64, types.uint8), codegen


@intrinsic
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """Number of zero bits below the lowest set bit of a uint64; 64 for zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), codegen


@intrinsic
def population(typing_context: Any, value: Any) -> Any:
    """Number of bits set in a uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


@intrinsic
def multiply_high(typing_context: Any, left: Any, right: Any) -> Any:
    """The upper 64 bits of the 128-bit product of `left` and `right`, both uint64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), _I64)

    return types.uint64(types.uint64, types.uint64), codegen
