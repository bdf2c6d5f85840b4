"""Every numba kernel of the project, and nothing else: numpy arrays in, numpy arrays out.

    intrinsics  unaligned loads and stores, trailing zeros, 64 x 64 -> 128 bit multiplication
    unicode     NFKC, lower case and separators for any Unicode document (tables are shipped)
    text        document -> token hashes -> shingle hashes and the 128-bit digest
    minhash     shingle hashes -> signature -> band keys
    grouping    band records -> edges -> components
    buffers     scratch that grows, for all that follow
    sets        bounds, tables and counts of shingle sets, for the next two
    crowded     components whose groups share too many shingles, for the next
    verify      components and shingle sets -> witnesses and exact Jaccard
    join        shingle sets -> every pair at the threshold, without signatures

All kernels release the GIL and run on one thread: the engine owns parallelism.
They are compiled when their module is first imported, and cached by numba in the user's cache
directory, in a folder named by the source of all kernels: numba by itself would not notice a change
in a kernel that another file calls. NUMBA_CACHE_DIR, where it is set, takes that place.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba

config: Any = numba.config
njit: Any = numba.njit


def kernel(signature: Any) -> Callable[[Any], Any]:
    """Decorate a function that Python calls: compiled for a signature, without the GIL, cached."""

    def compiled(function: Any) -> Any:
        with _cached():
            return njit(signature, nogil=True, cache=True)(function)

    return compiled


inner: Any = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorates a function that only kernels call: without a wrapper for Python it compiles faster."""


def compile_in_two(here: str, beside: str) -> None:
    """Compile the kernels of two modules, one of them in a second process: numba needs the GIL.

    Only where nothing is compiled yet, and can be cached; else both are left to their first import.
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
            [sys.executable, "-P", "-c", f"import {beside}"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    ):
        importlib.import_module(here)


@contextmanager
def _cached() -> Iterator[None]:
    """Kernels are cached in their own folder; other users of numba are left alone."""
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
