"""The few machine operations that numba does not spell: each is one LLVM instruction or two.

Offsets are in bytes and are not checked: callers leave slack behind their buffers. Kernels call
these without `typing_context`, which is numba's own.
"""

from __future__ import annotations

from typing import Any

from dedupe.kernels import intrinsic, llvm, types


def _i64() -> Any:
    return llvm.ir.IntType(64)


def _lanes() -> Any:
    return llvm.ir.VectorType(llvm.ir.IntType(8), 64)


def _address(context: Any, builder: Any, array_type: Any, array: Any, offset: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    as_bytes = builder.bitcast(data, llvm.cgutils.voidptr_t)
    return builder.bitcast(builder.gep(as_bytes, [offset]), _i64().as_pointer())


def _bits(builder: Any, flags: Any) -> Any:
    """Flags of 64 bytes as a uint64.

    Nothing is assembled from the empty instruction, but LLVM cannot look through it: it would take
    what is done with these bits to the flags, one byte after the other.
    """
    kept = llvm.ir.InlineAsm(llvm.ir.FunctionType(_i64(), [_i64()]), "", "=r,0")
    return builder.call(kept, [builder.bitcast(flags, _i64())])


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
def prefetch(typing_context: Any, array: Any, place: Any) -> Any:
    """Ask for `array[place]` to be brought from memory, without waiting for it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), llvm.cgutils.voidptr_t)
        number = llvm.ir.IntType(32)
        given = [llvm.cgutils.voidptr_t, number, number, number]
        kind = llvm.ir.FunctionType(llvm.ir.VoidType(), given)
        function = llvm.cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        to_read, keep, data_cache = number(0), number(3), number(1)
        builder.call(function, [address, to_read, keep, data_cache])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


def bytes_in(*ranges: tuple[int, int]) -> Any:
    """An intrinsic (array, offset) that says which of the 64 bytes at byte `offset` are in ranges.

    ranges: the least and the greatest value of each. Bit i of the result is that of byte i.
    """

    @intrinsic
    def bytes_in_ranges(typing_context: Any, array: Any, offset: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address = _address(context, builder, signature.args[0], *args)
            block = builder.load(builder.bitcast(address, _lanes().as_pointer()))
            block.align = 1
            found = None
            for low, high in ranges:
                above = builder.sub(block, llvm.ir.Constant(_lanes(), [low] * 64))
                width = llvm.ir.Constant(_lanes(), [high - low] * 64)
                one = builder.icmp_unsigned("<=", above, width)
                found = one if found is None else builder.or_(found, one)
            return _bits(builder, found)

        return types.uint64(array, types.int64), codegen

    return bytes_in_ranges


@intrinsic
def lower64(typing_context: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """Copy 64 bytes, ASCII in lower case; which of them are beyond ASCII: bit i is that of byte i.

    source, target: arrays. at, to: byte offsets in them.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args

        def everywhere(value: int) -> Any:
            return llvm.ir.Constant(_lanes(), [value] * 64)

        start = _address(context, builder, kinds[0], args[0], args[1])
        end = _address(context, builder, kinds[2], args[2], args[3])
        block = builder.load(builder.bitcast(start, _lanes().as_pointer()))
        block.align = 1
        upper = builder.icmp_unsigned("<=", builder.sub(block, everywhere(0x41)), everywhere(25))
        case = builder.select(upper, everywhere(0x20), everywhere(0))
        store = builder.store(builder.or_(block, case), builder.bitcast(end, _lanes().as_pointer()))
        store.align = 1
        return _bits(builder, builder.icmp_signed("<", block, everywhere(0)))

    return types.uint64(source, types.int64, target, types.int64), codegen


@intrinsic
def copy64(typing_context: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """Copy the 64 bytes at byte `at` of `source` to byte `to` of `target`; all are read first."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = _lanes().as_pointer()
        kinds = signature.args
        start = _address(context, builder, kinds[0], args[0], args[1])
        end = _address(context, builder, kinds[2], args[2], args[3])
        block = builder.load(builder.bitcast(start, lanes))
        block.align = 1
        store = builder.store(block, builder.bitcast(end, lanes))
        store.align = 1
        return context.get_dummy_value()

    return types.void(source, types.int64, target, types.int64), codegen


@intrinsic
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """Number of zero bits below the lowest set bit of a uint64; 64 for zero."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], llvm.ir.Constant(llvm.ir.IntType(1), 0))

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
        wide = llvm.ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, llvm.ir.Constant(wide, 64)), _i64())

    return types.uint64(types.uint64, types.uint64), codegen
