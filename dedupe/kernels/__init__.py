"""Every numba kernel of the project, and nothing else: numpy arrays in, numpy arrays out.

    array_types the types of the arrays that kernels read
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

A kernel is loaded from numba's cache when its module is imported, or compiled then if the cache
does not have it; importing this package alone does neither. `load` imports what every run needs
and says so if it must be compiled. `join`, `many`, `scan`, `contain`, `records`, `signatures` and
`problems` are imported by those who need them, from any thread; `notices` tells of a compilation
there.

The cache is in the user's cache directory, in a folder named by the source of all kernels: numba
by itself would not notice a change in a kernel that another file calls. NUMBA_CACHE_DIR, where it
is set, takes that place.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import event as numba_event

config: Any = numba.config
njit: Any = numba.njit

Notify = Callable[[str], None]
"""Takes one line of text for the user, without a line break."""
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Calls a function with each of some parts of work, like `map`, but on several threads perhaps."""

COMPILING = "compiling kernels, once on this machine"
FIRST_HALF = ("dedupe.kernels.rows",)
SECOND_HALF = ("dedupe.kernels.verify", "dedupe.kernels.lost", "dedupe.kernels.grouping")
"""The kernels that every run needs, in halves that take about as long to compile."""


def kernel(signature: Any) -> Callable[[Any], Any]:
    """Decorate a function that Python calls: compiled for a signature, without the GIL, cached."""

    def compiled(function: Any) -> Any:
        with _cached(), numba_event.install_listener("numba:compile", _CompileListener()):
            return njit(signature, nogil=True, cache=True)(function)

    return compiled


inner: Any = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorates a function that only kernels call: without a wrapper for Python it compiles faster."""


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
_caching = threading.RLock()
"""Held while numba is told where to cache: kernels are imported from several threads."""


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
    if config.CACHE_DIR:
        return
    try:
        os.makedirs(_cache_folder(), mode=0o700)
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


class _CompileListener(numba_event.Listener):
    """Tells the innermost `on_compile` of one kernel, in which numba compiles others.

    numba sends these events while it holds its compiler lock, and none for a kernel from the cache.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._began = 0.0
        self._watch: Compilation | None = None

    def on_start(self, event: Any) -> None:
        self._depth += 1
        if self._depth == 1:
            self._began = time.perf_counter()
            self._watch = _watching[-1] if _watching else None
            if self._watch is not None:
                self._watch.begin()

    def on_end(self, event: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and self._watch is not None:
            self._watch.seconds += time.perf_counter() - self._began


@contextmanager
def _cached() -> Iterator[None]:
    """Kernels are cached in their own folder; other users of numba are left alone."""
    with _caching:
        before = config.CACHE_DIR
        try:
            if not before:
                folder = _cache_folder()
                os.makedirs(folder, mode=0o700, exist_ok=True)
                config.CACHE_DIR = folder
        except (OSError, RuntimeError):
            pass  # no home to write to: numba looks for a place of its own
        try:
            yield
        finally:
            config.CACHE_DIR = before


@cache
def _cache_folder() -> str:
    """Where these kernels are cached: changes with any of their sources and with numba."""
    source = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source.update(path.read_bytes())
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(base, "dedupe-engine", f"kernels-{source.hexdigest()}"))
