"""Kept machine code of kernels gives what numba's gives, and is loaded only where it is sound."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dedupe import kernels
from dedupe.kernels import compiling, linking, objects, types

pytestmark = pytest.mark.skipif(
    (sys.platform, os.uname().machine) != objects.PLATFORM, reason="numba keeps its own code here"
)
WORDS = types.Array(types.uint64, 1, readonly=True)
GRID = types.uint64[:, ::1]


@kernels.inner
def _halved(value: Any, by: Any) -> Any:
    return value // by


def parts(words: Any, out: Any, by: Any, upwards: Any, scale: Any) -> Any:
    """What kernels do: allocate, write, return several things, fail."""
    doubled = np.empty(words.size, np.uint64)
    marks = np.zeros((words.size, 2), np.uint64)
    for i in range(words.size):
        place = i if upwards else words.size - 1 - i
        doubled[place] = words[i] * np.uint64(2)
        marks[i, 1] = words[i]
        out[i] = place
    return doubled[1:], marks, _halved(words.size, by), words.size * scale, upwards


PARTS = types.Tuple([types.uint64[::1], GRID, types.int64, types.float64, types.boolean])(
    WORDS, types.int64[::1], types.int64, types.boolean, types.float64
)


def allocate(size: Any) -> Any:
    return np.empty(size, np.int64)


def of_nothing(out: Any) -> Any:
    out[0] = 7


def same(rows: Any) -> Any:
    return rows


def loaded(function: Any, signature: types.Signature) -> objects.Loaded:
    kernels.give_to_numba(globals())
    code = compiling.code_of(function, signature)
    assert code is not None
    return objects.Loaded(function.__name__, signature, code)


@pytest.fixture(scope="module")
def both() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A kernel loaded from its image, and the same of numba."""
    ours = loaded(parts, PARTS)
    return ours, compiling.njit(compiling.numbas(PARTS))(parts)


@pytest.mark.parametrize("upwards", [False, True])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_loaded_kernel_gives_what_numba_gives(both: Any, size: int, upwards: bool) -> None:
    words = np.random.default_rng(size).integers(0, 2**64, size, np.uint64)
    words.flags.writeable = False
    answers = []
    for function in both:
        out = np.zeros(size, np.int64)
        answers.append((*function(words, out, 3, upwards, 0.5), out))
    assert answers[0][4] is upwards
    for one, other in zip(*answers, strict=True):
        assert type(one) is type(other)
        assert np.array_equal(one, other)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.flags.writeable) == (other.dtype, True)


def test_a_loaded_kernel_raises_what_numba_raises(both: Any) -> None:
    make = loaded(allocate, types.int64[::1](types.int64))
    numbas = compiling.njit(compiling.numbas(types.int64[::1](types.int64)))(allocate)
    given = np.ones(3, np.uint64), np.zeros(3, np.int64)
    for pair, arguments in (
        (both, (*given, 0, True, 1.0)),
        ((make, numbas), (-1,)),
        ((make, numbas), (2**62,)),
        ((make, numbas), (2**45,)),
    ):
        raised = []
        for function in pair:
            with pytest.raises((ZeroDivisionError, ValueError, MemoryError)) as caught:
                function(*arguments)
            raised.append((caught.type, caught.value.args))
        assert raised[0] == raised[1]
    assert make(3).size == 3


def test_results_hold_their_memory_and_give_it_back() -> None:
    make = loaded(allocate, types.int64[::1](types.int64))
    held = make(1000)
    held[:] = np.arange(1000)
    part = held[500:]
    del held
    for _ in range(200):
        make(4_000_000)[:] = 1  # 32 MB each: 6.4 GB if it were kept
    assert part[0] == 500
    whole = loaded(same, WORDS(WORDS))(np.arange(5, dtype=np.uint64))
    assert whole.tolist() == [0, 1, 2, 3, 4]
    assert loaded(of_nothing, types.void(types.int64[::1]))(part) is None
    assert part[0] == 7


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (0, np.ones(3, np.int64)),
        (0, np.ones((3, 1), np.uint64)),
        (0, np.ones(6, np.uint64)[::2]),
        (0, np.frombuffer(b"x" * 25, np.uint8)[1:].view(np.uint64)),
        (0, [1, 2, 3]),
        (1, np.frombuffer(bytes(24), np.int64)),
        (2, 1.5),
        (2, "x"),
    ],
)
def test_arguments_of_other_types_are_refused(both: Any, place: int, wrong: Any) -> None:
    given: list[Any] = [np.ones(3, np.uint64), np.zeros(3, np.int64), 1, True, 1.0]
    both[0](*given)
    given[place] = wrong
    with pytest.raises(TypeError, match=f"parts: argument {place}"):
        both[0](*given)
    with pytest.raises(TypeError, match="takes 5 arguments"):
        both[0](*given[:4])


def test_threads_run_a_loaded_kernel_at_the_same_time(both: Any) -> None:
    words = np.arange(50_000, dtype=np.uint64)
    wrong: list[int] = []

    def run(number: int) -> None:
        for _ in range(20):
            out: npt.NDArray[np.int64] = np.zeros(words.size, np.int64)
            doubled, *_ = both[0](words + np.uint64(number), out, 3, True, 0.5)
            if doubled[0] != 2 * (number + 1) or out[-1] != words.size - 1:
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def sorts(words: Any) -> Any:
    some = [np.int64(0)]  # a list: numba's own runtime, which no image has
    for i in range(words.size):
        some.append(np.int64(i))
    return some[-1]


def test_what_calls_more_than_an_image_may_is_left_to_numba() -> None:
    assert compiling.code_of(sorts, types.int64(WORDS)) is None
    with pytest.raises(linking.CannotLinkError):
        linking.parse(b"\x7fELF\x02\x01" + bytes(64))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of kernels."""
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert objects.usable()
    return Path(objects.cache_folder())


def test_what_was_written_is_read(folder: Path) -> None:
    assert objects.read("a.b") is None
    objects.write("a.b", b"code")
    assert objects.read("a.b") == b"code"
    assert [path.name for path in folder.iterdir()] == ["a.b"]
    assert folder.stat().st_mode & 0o777 == 0o700
    os.rename(folder / "a.b", folder / "a.c")  # the code of another kernel
    assert objects.read("a.c") is None


@pytest.mark.parametrize("at", [0, 31, 32, 40, -1])
def test_damage_is_seen(folder: Path, at: int) -> None:
    objects.write("a.b", bytes(range(200)))
    whole = bytearray((folder / "a.b").read_bytes())
    whole[at] ^= 4
    for damaged in (whole, whole[:at], b""):
        (folder / "a.b").write_bytes(damaged)
        assert objects.read("a.b") is None


def test_only_what_the_user_alone_can_write_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects.write("a.b", b"code")
    for path, mode in ((folder / "a.b", 0o660), (folder / "a.b", 0o602), (folder, 0o770)):
        before = path.stat().st_mode
        path.chmod(mode)
        assert objects.read("a.b") is None
        assert objects.usable() == (path != folder)
        path.chmod(before)
    assert objects.read("a.b") == b"code"
    os.rename(folder / "a.b", folder / "real")
    os.symlink(folder / "real", folder / "a.b")
    assert objects.read("a.b") is None
    (folder / "a.b").unlink()
    os.rename(folder / "real", folder / "a.b")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert objects.read("a.b") is None
    assert not objects.usable()


def test_a_link_to_a_folder_is_no_folder(folder: Path) -> None:
    objects.write("a.b", b"code")
    os.rename(folder, folder.with_name("real"))
    os.symlink(folder.with_name("real"), folder)
    assert objects.read("a.b") is None
    assert not objects.usable()


@pytest.mark.parametrize("variable", ["NUMBA_OPT", "NUMBA_CPU_NAME", "NUMBA_BOUNDSCHECK"])
def test_other_settings_have_another_folder(
    folder: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    objects._identity.cache_clear()
    assert objects.cache_folder() != str(folder)
    monkeypatch.delenv(variable)
    objects._identity.cache_clear()
    assert objects.cache_folder() == str(folder)


def test_another_processor_or_version_has_another_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    found = []
    for name, flags in (("A", "fpu avx2"), ("B", "fpu avx2"), ("A", "fpu")):
        told.write_text(
            f"model name\t: {name}\ncpu MHz\t: 1\nflags\t: {flags}\n\nmodel name\t: C\n"
        )
        found.append(objects.processor(str(told)))
    assert len(set(found)) == 3
    assert "MHz" not in found[0]
    assert "C" not in found[0].split("flags")[0].replace("model", "")
    monkeypatch.setattr(objects, "processor", lambda: found[0])
    objects._identity.cache_clear()
    assert objects.cache_folder() != str(folder)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "version", "4.0")
    objects._identity.cache_clear()
    assert objects.cache_folder() != str(folder)
    monkeypatch.undo()
    objects._identity.cache_clear()


def test_without_numbas_compiler_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert not objects.usable()


LOADS = """
import json, sys
import numpy as np
from dedupe import kernels

notes = []
with kernels.notices(notes.append):
    from dedupe.kernels.records import csv_ends
data, ends = np.frombuffer(b'a,b\\n"c\\n",d\\n', np.uint8), np.zeros(8, np.int64)
print(json.dumps([csv_ends(data, ord(","), 0, ends)[0], ends.tolist(), len(notes),
                  "numba" in sys.modules, "llvmlite" in sys.modules]))
"""


def test_kernels_are_loaded_without_numba_and_mended(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)

    def begin() -> Any:
        command = [sys.executable, "-c", LOADS]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)

    def answers(*begun: Any) -> list[Any]:
        return [json.loads(one.communicate()[0]) for one in begun]

    cold = answers(begin(), begin())  # both compile, and both write
    assert cold[0] == cold[1]
    assert cold[0][2:] == [2, True, True]
    assert answers(begin()) == [[*cold[0][:2], 0, False, False]]
    (kept,) = tmp_path.glob("dedupe-engine/kernels-*")
    names = {path.name for path in kept.iterdir()}
    assert {"records.csv_ends", "records.array_lines"} < names
    assert not [name for name in names if name.startswith(".")]
    file = kept / "records.csv_ends"
    file.write_bytes(file.read_bytes()[:-1])
    assert answers(begin()) == [[*cold[0][:2], 2, True, True]]
    assert answers(begin()) == [[*cold[0][:2], 0, False, False]]
    kept.chmod(0o770)
    assert answers(begin()) == [[*cold[0][:2], 2, True, True]]
    assert answers(begin()) == [[*cold[0][:2], 2, True, True]]  # numba has no cache there, either


LEFT_TO_NUMBA = {
    "contain.by_rarity",
    "contain.distinct_lists",
    "contain.match_rows",
    "join._index_prefixes",
    "join.rarest_fields",
}
"""Kernels that call what images may not: of test sets, and of the exact join."""

IMPORTS_ALL = """
import importlib, json, os, pkgutil
from dedupe import kernels
from dedupe.kernels import objects

for one in pkgutil.iter_modules(kernels.__path__):
    if one.name not in ("compiling", "linking", "make_tables"):
        importlib.import_module(f"dedupe.kernels.{one.name}")
names = [name for name in os.listdir(objects.cache_folder()) if not name.startswith(".")]
print(json.dumps([name for name in names if objects.read(name) == kernels.NO_CODE]))
"""


def test_kernels_that_most_runs_need_are_not_left_to_numba() -> None:
    """Loading one of these imports numba, which takes longer than many a run."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_ALL], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout)) <= LEFT_TO_NUMBA
