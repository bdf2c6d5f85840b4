"""Compiling kernels with numba: imported only where code is not there yet, or cannot be kept."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any

import numba
from numba.core import event as numba_event
from numba.core import types as numba_types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import nrtdynmod
from numba.extending import intrinsic as numba_intrinsic

from dedupe.kernels import objects
from dedupe.kernels.linking import CannotLinkError, link
from dedupe.kernels.types import Array, Group, Scalar, Signature, void

config: Any = numba.config
njit: Any = numba.njit
RELEASE = "release"
HEAD = "{i64, i8*, i8*, i8*, i64}"
"""How numba describes memory: references, what ends it and for what, its address, its size."""
HEAD_BYTES = 48
_caching = threading.RLock()
"""Held while numba is told where to cache: kernels are imported from several threads."""


def inner(function: Any) -> Any:
    """A function that only kernels call, for numba: without a wrapper it compiles faster."""
    return njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def intrinsic(function: Any) -> Any:
    """An intrinsic, for numba: its signature is of our types."""

    @wraps(function)
    def typed(*given: Any) -> Any:
        signature, codegen = function(*given)
        return numbas(signature), codegen

    return numba_intrinsic(typed)


def numbas(of: Any) -> Any:
    """Numba's type or signature for one of ours; its own are returned as they are."""
    if isinstance(of, Signature):
        return numbas(of.result)(*map(numbas, of.arguments))
    if isinstance(of, Array):
        return numba_types.Array(numbas(of.dtype), of.dimensions, "C", readonly=of.readonly)
    if isinstance(of, Group):
        items = [numbas(one) for one in of.items]
        return numba_types.NamedTuple(items, of.named) if of.named else numba_types.Tuple(items)
    if isinstance(of, Scalar):
        return getattr(numba_types, "none" if of == void else of.name)
    return of


def with_cache(function: Any, signature: Any) -> Any:
    """A function that numba keeps and loads by itself, in the folder of the kernels."""
    with _caching, _told():
        before = config.CACHE_DIR
        try:
            folder = before or _folder()
            config.CACHE_DIR = folder or ""
            return njit(numbas(signature), nogil=True, cache=folder is not None)(function)
        finally:
            config.CACHE_DIR = before


def _folder() -> str | None:
    """The folder of kernels; "" if it cannot be made, and numba looks for one of its own.

    None if others can write it: numba would unpickle what they write.
    """
    try:
        folder = objects.cache_folder()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        if not objects.is_own(folder):
            return None
    except (OSError, RuntimeError):
        return ""
    return folder


def code_of(function: Any, signature: Signature) -> bytes | None:
    """Header and image of a kernel, compiled; None if there can be none."""
    with _caching, _told():
        made = njit(numbas(signature), nogil=True)(function)
    (compiled,) = made.overloads.values()
    try:
        code = compiled.library.serialize_using_object_code()[2][0]
        return link(code, _runtime(), compiled.fndesc.llvm_func_name, RELEASE)
    except (CannotLinkError, LookupError, ValueError, RuntimeError):
        return None


@cache
def _runtime() -> bytes:
    """An object file of what kernels call for memory, and of `release`.

    Raises CannotLinkError if numba describes memory in another way than this.
    """
    ir: Any = importlib.import_module("llvmlite.ir")
    if str(nrtdynmod._meminfo_struct_type).replace("ptr", "i8*") != HEAD:
        raise CannotLinkError("numba describes memory in another way")
    word, half, address = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
    codegen = numba.core.registry.cpu_target.target_context.codegen()
    library = codegen.create_library("runtime")
    module = library.create_ir_module("runtime")

    def function(name: str, result: Any, *given: Any) -> Any:
        return ir.Function(module, ir.FunctionType(result, given), name)

    malloc, free = function("malloc", address, word), function("free", ir.VoidType(), address)
    allocate = function("NRT_MemInfo_alloc_aligned", address, word, half)
    builder = ir.IRBuilder(allocate.append_basic_block())
    size, alignment = allocate.args[0], builder.zext(allocate.args[1], word)
    whole = builder.add(size, builder.add(alignment, word(HEAD_BYTES)))
    with builder.if_then(builder.icmp_unsigned("<", whole, size)):
        builder.ret(address(None))
    block = builder.call(malloc, [whole])
    with builder.if_then(builder.icmp_unsigned("==", block, address(None))):
        builder.ret(block)
    after = builder.add(builder.ptrtoint(block, word), word(HEAD_BYTES))
    behind = builder.urem(after, alignment)
    skipped = builder.select(
        builder.icmp_unsigned("==", behind, word(0)), behind, builder.sub(alignment, behind)
    )
    words = builder.bitcast(block, word.as_pointer())
    head = (word(1), word(0), word(0), builder.add(after, skipped), size, word(0))
    for place, value in enumerate(head):
        builder.store(value, builder.gep(words, [word(place)]))
    builder.ret(block)

    ended = function("NRT_MemInfo_call_dtor", ir.VoidType(), address)
    builder = ir.IRBuilder(ended.append_basic_block())
    builder.call(free, ended.args)
    builder.ret_void()

    release = function(RELEASE, ir.VoidType(), address)
    builder = ir.IRBuilder(release.append_basic_block())
    count = builder.bitcast(release.args[0], word.as_pointer())
    left = builder.atomic_rmw("sub", count, word(1), "seq_cst")
    with builder.if_then(builder.icmp_unsigned("==", left, word(1))):
        builder.call(free, release.args)
    builder.ret_void()

    with global_compiler_lock:
        library.add_ir_module(module)
        library.enable_object_caching()
        library.finalize()
    code: bytes = library.serialize_using_object_code()[2][0]
    return code


class _Listener(numba_event.Listener):
    """Tells of the compilation of one kernel, in which numba compiles others.

    numba sends these events while it holds its compiler lock, and none for a kernel from its cache.
    """

    def __init__(self, began: Callable[[], None], ended: Callable[[], None]) -> None:
        self._depth = 0
        self._began, self._ended = began, ended

    def on_start(self, event: Any) -> None:
        self._depth += 1
        if self._depth == 1:
            self._began()

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._ended()


@contextmanager
def _told() -> Iterator[None]:
    from dedupe.kernels import watched

    began, ended = watched()
    with numba_event.install_listener("numba:compile", _Listener(began, ended)):
        yield
