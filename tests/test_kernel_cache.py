"""Kernels are compiled once on a machine, by two processes, and only that is told to the user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest

from dedupe import kernels
from dedupe.kernels import compiling, objects, types

SAYS = """
import json, os, pathlib, sys, time
time.sleep({seconds})
pathlib.Path({path!r}).write_text(json.dumps([os.getpid(), sys.path]))
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Path]]:
    """Modules `compiled_here` and `compiled_beside`, and the files that importing them writes."""
    said = (tmp_path / "here.json", tmp_path / "beside.json")
    for path, seconds in zip(said, (0, 0.5), strict=True):
        source = tmp_path / f"compiled_{path.stem}.py"
        source.write_text(SAYS.format(path=str(path), seconds=seconds), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(objects, "cache_folder", lambda: str(tmp_path / "made" / "cache"))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(kernels, "FIRST_HALF", ("compiled_here",))
    monkeypatch.setattr(kernels, "SECOND_HALF", ("compiled_beside",))
    yield said
    for name in ("compiled_here", "compiled_beside"):
        sys.modules.pop(name, None)


def compile_both() -> None:
    kernels._compile_in_two(("compiled_here",), ("compiled_beside",))


def test_one_module_is_imported_here_and_one_beside(modules: tuple[Path, Path]) -> None:
    compile_both()
    here, beside = (json.loads(path.read_bytes()) for path in modules)  # it was waited for
    assert here[0] == os.getpid() != beside[0]
    assert set(map(os.path.abspath, sys.path)) <= set(beside[1])


def test_kernels_that_are_there_are_left_to_their_first_import(modules: tuple[Path, Path]) -> None:
    os.makedirs(objects.cache_folder())
    compile_both()
    assert not any(path.exists() for path in modules)


def test_a_cache_of_the_users_own_is_left_to_numba(
    modules: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compile_both()
    assert not any(path.exists() for path in modules)


def test_where_nothing_can_be_cached_each_compiles_for_itself(
    modules: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "made").write_text("a file where the folder should be")
    compile_both()
    assert not any(path.exists() for path in modules)

    def homeless() -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(objects, "cache_folder", homeless)
    compile_both()


@pytest.mark.parametrize("executable", [None, "/nowhere/python"])
def test_a_second_process_that_fails_costs_only_time(
    modules: tuple[Path, Path], executable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules[1].mkdir()  # cannot be opened as a file
    if executable:
        monkeypatch.setattr(sys, "executable", executable)
    compile_both()
    assert modules[0].exists() == (executable is None)


def test_a_cold_machine_is_told_of_before_and_after(modules: tuple[Path, Path]) -> None:
    said: list[tuple[str, bool]] = []
    kernels.load(lambda line: said.append((line, modules[0].exists())))
    assert [line for line, _ in said] == [kernels.COMPILING, "compiled kernels in 1 s"]
    assert [loaded for _, loaded in said] == [False, True]
    assert all(f"compiled_{path.stem}" in sys.modules for path in modules)


def test_slow_imports_are_no_reason_for_a_notice(modules: tuple[Path, Path]) -> None:
    os.makedirs(objects.cache_folder())
    said: list[str] = []
    kernels.load(said.append)
    assert all(path.exists() for path in modules)
    assert said == []


LOADS = """
import sys, time
from dedupe import kernels

kernels.FIRST_HALF, kernels.SECOND_HALF = (), ("slow_module",)
assert "dedupe.kernels.records" not in sys.modules
{call}
"""
SLOW = "import time; time.sleep(0.5); import dedupe.kernels.records"
LOAD = "kernels.load(print)"
NOTICES = "with kernels.notices(print): import slow_module"
ON_COMPILE = """
with kernels.on_compile(lambda: print('started')) as compilation:
    import slow_module
print(compilation.began is not None, compilation.seconds > 0)
"""


@pytest.mark.parametrize(
    ("variable", "call", "cold", "warm"),
    [
        ("XDG_CACHE_HOME", LOAD, [kernels.COMPILING, "compiled kernels in N s"], []),
        ("NUMBA_CACHE_DIR", LOAD, [kernels.COMPILING, "compiled kernels in N s"], []),
        ("XDG_CACHE_HOME", NOTICES, [kernels.COMPILING, "compiled kernels in N s"], []),
        ("XDG_CACHE_HOME", ON_COMPILE, ["started", "True True"], ["False False"]),
    ],
    ids=["load", "load-own-cache", "notices", "on_compile"],
)
def test_exactly_what_is_compiled_is_told(
    variable: str, call: str, cold: list[str], warm: list[str], tmp_path: Path
) -> None:
    (tmp_path / "slow_module.py").write_text(SLOW, encoding="utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment[variable] = str(tmp_path / "cache")
    for expected in (cold, warm):
        done = subprocess.run(
            [sys.executable, "-c", LOADS.format(call=call)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [line.split() for line in done.stdout.splitlines()]
        lines = [["N" if word.isdigit() else word for word in line] for line in lines]
        assert [" ".join(line) for line in lines] == expected


SIGNATURE = types.int64(types.int64)


@kernels.inner
def one_more(x: Any) -> Any:
    return x + 1


def two_more(x: Any) -> Any:
    return one_more(x) + 1


@pytest.fixture
def compile_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that compiles a kernel, and another kernel in it."""
    monkeypatch.setattr(compiling.config, "CACHE_DIR", str(tmp_path))

    def compile_now() -> None:
        assert kernels.kernel(SIGNATURE)(two_more)(1) == 3

    return compile_now


def test_the_innermost_context_is_told_once(compile_one: Any) -> None:
    said: list[str] = []
    with (
        kernels.on_compile(lambda: said.append("outer")) as outer,
        kernels.on_compile(lambda: said.append("inner")) as inner,
    ):
        compile_one()
        compile_one()
    assert said == ["inner"]
    assert outer.began is None
    assert inner.began is not None
    assert inner.seconds > 0
    compile_one()
    assert said == ["inner"]


def test_other_threads_are_told_of(compile_one: Any) -> None:
    said: list[str] = []
    with kernels.notices(said.append):
        thread = threading.Thread(target=compile_one)
        thread.start()
        thread.join()
    assert said == [kernels.COMPILING, "compiled kernels in 0 s"]


def test_functions_of_others_are_not_told_of() -> None:
    said: list[str] = []
    with kernels.notices(said.append):

        @numba.njit(numba.types.int64(numba.types.int64))
        def users(x: Any) -> Any:
            return x + 1

        assert users(1) == 2
    assert said == []


def test_a_context_that_fails_says_nothing_more(compile_one: Any) -> None:
    said: list[str] = []

    def fail() -> None:
        with kernels.notices(said.append):
            compile_one()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert said == [kernels.COMPILING]
    assert kernels._watching == []


LARGE = """
import sys, threading
import numpy as np
from dedupe import kernels
from dedupe.kernels.verify import verify_components


def decide(rows):
    given = np.array([0, rows]), np.arange(rows), 1, np.arange(rows + 1)
    witness, _, _ = verify_components(*given, np.arange(rows, dtype=np.uint64), 0.8, False)
    assert (witness == np.arange(rows)).all()


decide(48)
assert "dedupe.kernels.many" not in sys.modules
with kernels.notices(print):
    threads = [threading.Thread(target=decide, args=(49,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
assert "dedupe.kernels.many" in sys.modules
assert "dedupe.kernels.scan" not in sys.modules
"""


@pytest.mark.slow
def test_large_components_have_a_kernel_of_their_own_that_is_compiled_for_the_first(
    tmp_path: Path,
) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", LARGE]
    said = []
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert not done.stderr
        said.append([line.split(" in ")[0] for line in done.stdout.splitlines()])
    assert said == [[kernels.COMPILING, "compiled kernels"], []]
