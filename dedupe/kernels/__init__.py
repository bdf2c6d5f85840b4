"""Every numba kernel of the project, and nothing else: numpy arrays in, numpy arrays out.

    types       the types of kernels' arguments and results
    array_types those of the arrays that kernels read
    compiling   numba, which compiles kernels
    linking     what it compiles, made into images of machine code
    objects     where images are kept, loading and calling them
    llvm        what intrinsics are made of
    intrinsics  unaligned loads and stores, trailing zeros, 64 x 64 -> 128 bit multiplication
    unicode     NFKC and lower case for any Unicode document (tables are shipped)
    symbols     which operators of a text count
    text        document -> token hashes -> shingle hashes and the 128-bit digest
    minhash     shingle hashes -> signature -> band keys
    grouping    band records -> edges -> components
    buffers     scratch that grows, for all that follow
    hashing     the multipliers that spread hashes over tables
    union_find  which nodes are connected
    jaccard     bounds of the Jaccard similarity, given two sizes
    lookup      a set as a table, and what another set shares with it
    counters    how many rows or groups hold each hash, about
    sets        the shingle sets of a component, and what becomes of its groups, for all of verify
    crowded     components whose groups share too many shingles, for many
    deviations  budgets of groups: how far they may be apart, and bounds of how far they are
    many        components of many groups, for verify
    scan        components of rows made from one text, for verify
    verify      components and shingle sets -> witnesses and exact Jaccard
    lost        dropped rows and their witnesses -> the longest run of words that is lost
    join        shingle sets -> every pair at the threshold, without signatures
    contain     items of test sets -> which of their shingles stand in one window of a row
    records     where rows of text files end, and copying some of them
    signatures  shingle sets -> whole signatures, for those who want them
    scripts     in which script rows are written
    problems    what is wrong with texts as data for training

All kernels release the GIL and run on one thread: the engine owns parallelism.

A kernel is loaded when its module is imported, or compiled then if its code is not there;
importing this package alone does neither. `load` imports what every run needs and says so if it
must be compiled. `join`, `many`, `scan`, `contain`, `records`, `signatures` and `problems` are
imported by those who need them, from any thread; `notices` tells of a compilation there.

`objects` says where code is kept. numba is imported only if something must be compiled, or if code
cannot be kept like that: then numba keeps it in its own way, in the same folder. NUMBA_CACHE_DIR,
where it is set, takes the place of the user's cache directory.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from typing import Any

from dedupe.kernels import objects
from dedupe.kernels.types import Signature

Notify = Callable[[str], None]
"""Takes one line of text for the user, without a line break."""
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Calls a function with each of some parts of work, like `map`, but on several threads perhaps."""

COMPILING = "compiling kernels, once on this machine"
FIRST_HALF = ("dedupe.kernels.rows",)
SECOND_HALF = ("dedupe.kernels.verify", "dedupe.kernels.lost", "dedupe.kernels.grouping")
"""The kernels that every run needs, in halves that take about as long to compile."""
COMPILER = "dedupe.kernels.compiling"


def kernel(signature: Signature) -> Callable[[Any], Any]:
    """Decorate a function that Python calls: machine code for a signature, without the GIL.

    Other kernels cannot call it: what they share is `inner`, or `shared`.
    """

    def made(function: Any) -> Any:
        if not function.__module__.startswith(f"{__name__}.") or not _are_kept():
            return _compiler(function).with_cache(function, signature)
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}"
        code = objects.read(name)
        if code is None:
            code = _compiler(function).code_of(function, signature) or NO_CODE
            objects.write(name, code)
        if code != NO_CODE:
            with suppress(OSError):  # memory that may not be executed
                return objects.Loaded(function.__name__, signature, code)
        return _compiler(function).with_cache(function, signature)

    return made


NO_CODE = b"none"
"""What is kept for a kernel whose code cannot be: numba keeps it."""
_are_kept = cache(objects.usable)


class Later:
    """What numba makes of a function that kernels call, once it is needed."""

    def __init__(self, maker: str, function: Any, *more: Any) -> None:
        self._maker, self._given = maker, (function, *more)
        self.is_shared = bool(more)

    @cached_property
    def made(self) -> Any:
        """What numba takes for the function."""
        return getattr(importlib.import_module(COMPILER), self._maker)(*self._given)


def inner(function: Any) -> Any:
    """Decorate a function that only kernels call."""
    return Later("inner", function)


def shared(signature: Signature) -> Callable[[Any], Any]:
    """Decorate a large function that only kernels call: it is compiled once, for one signature."""
    return lambda function: Later("with_cache", function, signature)


def intrinsic(function: Any) -> Any:
    """Decorate a function that makes an operation of LLVM; its types are those of `types`."""
    return Later("intrinsic", function)


def give_to_numba(names: dict[str, Any]) -> None:
    """Let functions of a module be compiled by numba that call what kernels call.

    names: of the module. Functions of one signature come last: they are compiled at once.
    """
    modules = [one for name, one in list(sys.modules.items()) if name.startswith(f"{__name__}.")]
    places = [*map(vars, modules), names]
    found = [
        (place, name, value)
        for place in places
        for name, value in list(place.items())
        if isinstance(value, Later)
    ]
    for place, name, value in sorted(found, key=lambda one: one[2].is_shared):
        place[name] = value.made


def _compiler(function: Any) -> Any:
    """The module that compiles, after numba has been given all that a kernel calls."""
    give_to_numba(function.__globals__)
    return importlib.import_module(COMPILER)


class Compilation:
    """What `on_compile` has seen so far.

    began: the `time.perf_counter` of the first compilation, None if there was none.
    seconds: the time that compilations in this process took together.
    """

    def __init__(self, started: Callable[[], None]) -> None:
        self.began: float | None = None
        self.seconds = 0.0
        self._started = started

    def begin(self) -> None:
        """Note that a compilation begins."""
        if self.began is None:
            self.began = time.perf_counter()
            self._started()


_watching: list[Compilation] = []


@contextmanager
def on_compile(started: Callable[[], None]) -> Iterator[Compilation]:
    """Call `started` when the first kernel is compiled, from any thread, while the context lasts.

    It is not called where kernels come from the cache, however long loading them takes. Of nested
    contexts only the innermost one is told.
    """
    watch = Compilation(started)
    _watching.append(watch)
    try:
        yield watch
    finally:
        _watching.remove(watch)


@contextmanager
def notices(notify: Notify) -> Iterator[None]:
    """Tell a user of compilations while the context lasts: when the first begins, and at the end.

    Silent if every kernel comes from the cache.
    """
    with on_compile(lambda: notify(COMPILING)) as compilation:
        yield
    if compilation.began is not None:
        notify(_compiled(compilation.seconds))


def load(notify: Notify) -> None:
    """Import the kernels that every run needs; say so and how long it took if that compiles them.

    On a machine that has none of them yet, a second process compiles half of them meanwhile.
    """
    with on_compile(lambda: notify(COMPILING)) as compilation:
        _compile_in_two(FIRST_HALF, SECOND_HALF)
        _import((*FIRST_HALF, *SECOND_HALF))
    if compilation.began is not None:
        notify(_compiled(time.perf_counter() - compilation.began))


def _compiled(seconds: float) -> str:
    return f"compiled kernels in {seconds:.0f} s"


def _import(modules: Sequence[str]) -> None:
    for name in modules:
        importlib.import_module(name)


def _compile_in_two(here: Sequence[str], beside: Sequence[str]) -> None:
    """Import the modules `here` while a second process imports those `beside`: numba needs the GIL.

    Only if nothing is compiled yet and can be cached; else all are left to their first import.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    try:
        os.makedirs(objects.cache_folder(), mode=0o700)
    except (OSError, RuntimeError):
        return  # it is there, or there is no home to write to
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    with (
        suppress(OSError),
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", f"import {', '.join(beside)}"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ):
        for watch in _watching[-1:]:
            watch.begin()
        _import(here)


def watched() -> tuple[Callable[[], None], Callable[[], None]]:
    """What to call when a compilation begins and ends: the innermost `on_compile` is told."""
    watch: Compilation | None = None
    start = 0.0

    def began() -> None:
        nonlocal watch, start
        start = time.perf_counter()
        watch = _watching[-1] if _watching else None
        if watch is not None:
            watch.begin()

    def ended() -> None:
        if watch is not None:
            watch.seconds += time.perf_counter() - start

    return began, ended
