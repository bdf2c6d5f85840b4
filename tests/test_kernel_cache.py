"""Kernels that are not compiled yet are compiled by two processes, once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dedupe import kernels

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
    monkeypatch.setattr(kernels, "_cache_folder", lambda: str(tmp_path / "made" / "cache"))
    monkeypatch.setattr(kernels.config, "CACHE_DIR", "")
    yield said
    sys.modules.pop("compiled_here", None)


def compile_both() -> None:
    kernels.compile_in_two("compiled_here", "compiled_beside")


def test_one_module_is_imported_here_and_one_beside(modules: tuple[Path, Path]) -> None:
    compile_both()
    here, beside = (json.loads(path.read_bytes()) for path in modules)  # it was waited for
    assert here[0] == os.getpid() != beside[0]
    assert set(map(os.path.abspath, sys.path)) <= set(beside[1])


def test_kernels_that_are_there_are_left_to_their_first_import(modules: tuple[Path, Path]) -> None:
    os.makedirs(kernels._cache_folder())
    compile_both()
    assert not any(path.exists() for path in modules)


def test_a_cache_of_the_users_own_is_left_to_numba(
    modules: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels.config, "CACHE_DIR", str(tmp_path))
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

    monkeypatch.setattr(kernels, "_cache_folder", homeless)
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
