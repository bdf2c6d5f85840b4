"""Machine code of kernels: kept in a file for each, loaded and called without numba.

    FOLDER/MODULE.KERNEL    32 bytes blake2b of the name and of what follows; 4 bytes, the length of
                            the header; the header, JSON; the image

FOLDER is named by all that decides the code: the sources of all kernels, the versions of Python,
numba and llvmlite, numba's settings and the processor. A file is loaded only if it and FOLDER
belong to the user, nobody else can write them, and the checksum fits; anything else is as if there
were no file. Files appear whole, so several processes may write at a time.

The image is position-independent up to the header's `places`, to which its address is added.
`externals` has the places of addresses of functions of libc, `entry` is the kernel, `release` gives
back a result's memory, and `errors` names the exceptions of the kernel by where their descriptions
are. `linking` makes images; one without a header says that this kernel cannot have any.
"""

from __future__ import annotations

import builtins
import ctypes
import hashlib
import importlib.util
import json
import mmap
import operator
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dedupe.kernels.types import Array, Group, Scalar, Signature, void

LIBC = ("memcpy", "memmove", "memset", "malloc", "free", "exp", "log")
"""Functions that images may call, of libc and libm, which Python itself has loaded."""
DIGEST = 32
OWN_SETTINGS = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
"""numba's settings that do not decide how it compiles."""
SETTINGS_FILE = ".numba_config.yaml"
"""numba's settings, where the working directory has them."""
PLATFORM = ("linux", "x86_64")
"""Elsewhere, numba keeps and loads its own code."""
OK = (0, -2)
"""What a kernel of numba returns if it did not fail; -2 if it returns None."""


def cache_folder() -> str:
    """Where these kernels are cached. Raises RuntimeError where the user has no home."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return str(Path(given, f"kernels-{_identity()}"))
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(base, "dedupe-engine", f"kernels-{_identity()}"))


@cache
def _identity() -> str:
    """A name for all that decides the code of kernels."""
    decides = hashlib.blake2b(digest_size=12)
    parts = [sys.version.encode(), sys.implementation.cache_tag.encode()]
    parts += [path.read_bytes() for path in _sources()]
    for library in ("numba", "llvmlite"):
        found = importlib.util.find_spec(library)
        if found is not None and found.origin is not None:
            version = Path(found.origin).with_name("_version.py")
            parts.append(version.read_bytes() if version.exists() else found.origin.encode())
    settings = sorted(name for name in os.environ if name.startswith("NUMBA_"))
    parts += [
        os.fsencode(f"{one}={os.environ[one]}") for one in settings if one not in OWN_SETTINGS
    ]
    with suppress(OSError):
        parts.append(Path(SETTINGS_FILE).read_bytes())
    parts.append(os.fsencode(processor()))
    for part in parts:
        decides.update(len(part).to_bytes(8, "little") + part)
    return decides.hexdigest()


def _sources() -> list[Path]:
    """The sources of all kernels; none where only compiled Python is installed."""
    return sorted(Path(__file__).parent.glob("*.py"))


def processor(told: str = "/proc/cpuinfo") -> str:
    """The processor that numba compiles for: its settings, or what the system says of this one.

    told: the file in which Linux describes processors.
    """
    name, features = (os.environ.get(f"NUMBA_CPU_{what}") for what in ("NAME", "FEATURES"))
    if name is not None and features is not None:
        return f"{name}\n{features}"
    kept = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    try:
        with open(told, encoding="utf-8", errors="replace") as lines:
            first = [line for line in iter(lines.readline, "\n") if line]
    except OSError:
        first = []
    said = [line for line in first if line.partition(":")[0].strip() in kept]
    return f"{os.uname().machine}\n{name}\n{features}\n{''.join(said)}"


def usable() -> bool:
    """Whether images can be kept and loaded in this process."""
    if (sys.platform, os.uname().machine) != PLATFORM or not _sources():
        return False
    if os.environ.get("NUMBA_DISABLE_JIT", "0") != "0" or "\n" not in processor().strip("\n"):
        return False  # nothing is compiled, or it is not known for which processor
    try:
        folder = cache_folder()
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return is_own(folder) and os.access(folder, os.W_OK | os.X_OK)
    except (OSError, RuntimeError):
        return False


def is_own(folder: str) -> bool:
    """Whether a folder is no link, and only this user can write it. Raises OSError without it."""
    return _is_own(os.lstat(folder), stat.S_ISDIR)


def _is_own(status: os.stat_result, kind: Callable[[int], bool]) -> bool:
    """Whether something is of that kind, and only this user can write it."""
    return (
        kind(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def read(name: str) -> bytes | None:
    """Header and image of a kernel; None if there is no file that may be loaded."""
    try:
        folder = cache_folder()
        if not is_own(folder):
            return None
        with open(os.open(Path(folder, name), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            if not _is_own(os.fstat(file.fileno()), stat.S_ISREG):
                return None
            whole = file.read()
    except (OSError, RuntimeError):
        return None
    digest, made = whole[:DIGEST], whole[DIGEST:]
    return made if digest == _digest(name, made) else None


def write(name: str, made: bytes) -> None:
    """Keep header and image of a kernel, if that is possible, and all that decides it as it was."""
    with suppress(OSError, RuntimeError):
        if _identity.__wrapped__() != _identity():
            return  # sources or settings have changed since: this code may be of either
        folder = cache_folder()
        handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
        try:
            with open(handle, "wb") as file:
                file.write(_digest(name, made) + made)
            os.replace(path, Path(folder, name))
        except BaseException:
            os.unlink(path)
            raise


def _digest(name: str, made: bytes) -> bytes:
    key = f"{_identity()} {name}".encode()
    return hashlib.blake2b(made, key=hashlib.sha256(key).digest(), digest_size=DIGEST).digest()


def packed(header: dict[str, Any], image: bytes) -> bytes:
    """Header and image in one."""
    said = json.dumps(header).encode()
    return len(said).to_bytes(4, "little") + said + image


class Loaded:
    """A kernel of machine code: takes and returns what the function takes and returns.

    It runs without the GIL. Arguments that do not fit its signature raise TypeError; what its code
    raises is raised.
    """

    def __init__(self, name: str, signature: Signature, made: bytes) -> None:
        """Map an image into memory, where it stays: threads and results may outlive all else.

        name: of the kernel, for messages. signature: its types. made: header and image. Raises
        OSError where the system does not let memory be executed.
        """
        self.__name__ = name
        size = int.from_bytes(made[:4], "little")
        header = json.loads(made[4 : 4 + size])
        image = np.frombuffer(made, np.uint8, offset=4 + size).copy()
        memory = mmap.mmap(-1, max(image.size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(memory))
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._base = base
        _add(image, header["places"], base)
        for external, places in header["externals"].items():
            _add(image, places, _address_in_libc(external))
        memory[: image.size] = image.tobytes()
        _make_executable(base, len(memory))
        self._errors = {int(place): told for place, told in header["errors"].items()}
        self._signature = signature
        self._result = _storage(signature.result)
        kinds = [ctypes.c_void_p, ctypes.c_void_p]
        for one in signature.arguments:
            kinds += _flat(one)
        self._code = ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(base + header["entry"])
        self._release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(base + header["release"])

    def __call__(self, *given: Any) -> Any:
        """Run the kernel."""
        if len(given) != len(self._signature.arguments):
            wanted = len(self._signature.arguments)
            raise TypeError(f"{self.__name__} takes {wanted} arguments, not {len(given)}")
        result, failure = self._result(), ctypes.c_void_p()
        flat: list[Any] = [ctypes.addressof(result), ctypes.addressof(failure)]
        for number, (wanted, value) in enumerate(
            zip(self._signature.arguments, given, strict=True)
        ):
            if not _put(wanted, value, flat):
                told = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value)
                raise TypeError(f"{self.__name__}: argument {number} is no {wanted}: {told}")
        status = self._code(*flat)
        if status not in OK:
            kind, said = self._errors.get((failure.value or 0) - self._base, ("SystemError", []))
            raise getattr(builtins, kind)(*said)
        return self._taken(self._signature.result, result, given)

    def _taken(self, wanted: Any, stored: Any, given: Sequence[Any]) -> Any:
        """A result as Python has it."""
        if isinstance(wanted, Array):
            return np.asarray(_Owner(wanted, stored, self._release, given))
        if isinstance(wanted, Group):
            values = (getattr(stored, f"of{i}") for i in range(len(wanted.items)))
            pairs = zip(wanted.items, values, strict=True)
            return tuple(self._taken(one, value, given) for one, value in pairs)
        if wanted == void:
            return None
        value = getattr(stored, "value", stored)
        return bool(value) if wanted.name == "boolean" else value


class _Owner:
    """Gives the memory of a result back when nothing refers to it any more.

    numba counts references to it; a result that is part of an argument has no memory of its own.
    """

    def __init__(self, kind: Array, stored: Any, release: Any, given: Sequence[Any]) -> None:
        self._counted, self._release = stored.counted, release
        self._given = None if stored.counted else given
        self.__array_interface__ = {
            "data": (stored.data or 0, kind.readonly),
            "shape": tuple(stored.shape),
            "typestr": _dtype(kind.dtype).str,
            "version": 3,
        }

    def __del__(self) -> None:
        if self._counted:
            self._release(self._counted)


def _add(image: np.ndarray[Any, Any], places: Sequence[int], value: int) -> None:
    """Add an address to the numbers of eight bytes at these places of an image."""
    lanes = np.asarray(places, np.int64)[:, None] + np.arange(8)
    words = np.ascontiguousarray(image[lanes]).view("<u8") + np.uint64(value)
    image[lanes] = words.view(np.uint8).reshape(lanes.shape)


@cache
def _address_in_libc(name: str) -> int:
    if name not in LIBC:
        raise OSError(f"images do not call {name}")
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError as error:
        raise OSError(f"this process has no {name}") from error
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _make_executable(address: int, size: int) -> None:
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(address, size, mmap.PROT_READ | mmap.PROT_EXEC):
        raise OSError(ctypes.get_errno(), "memory cannot be made executable")


# How numba passes values. An array is passed as: what counts references to it, its Python object,
# items, bytes of an item, address, then its shape and its strides; a tuple as what is in it.

_NUMBERS: dict[str, Any] = {
    "boolean": ctypes.c_uint8,
    "uint8": ctypes.c_uint8,
    "uint16": ctypes.c_uint16,
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float64": ctypes.c_double,
    "void": ctypes.c_void_p,
}


@cache
def _dtype(kind: Scalar) -> np.dtype[Any]:
    return np.dtype("bool" if kind.name == "boolean" else kind.name)


def _flat(kind: Any) -> list[Any]:
    """The arguments of a function of C for one of a kernel."""
    if isinstance(kind, Array):
        head = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        return head + [ctypes.c_int64] * (2 * kind.dimensions)
    if isinstance(kind, Group):
        return [flat for one in kind.items for flat in _flat(one)]
    return [_NUMBERS[kind.name]]


@cache
def _storage(kind: Any) -> Any:
    """The type of C that holds a result."""
    if isinstance(kind, Array):
        numbers = ctypes.c_int64 * kind.dimensions
        names = ("counted", "parent", "items", "item", "data", "shape", "strides")
        parts = zip(names, (*_flat(kind)[:5], numbers, numbers), strict=True)
    elif isinstance(kind, Group):
        items = tuple(kind.items)
        parts = zip((f"of{i}" for i in range(len(items))), map(_storage, items), strict=True)
    else:
        return _NUMBERS[kind.name]
    return type("Stored", (ctypes.Structure,), {"_fields_": list(parts)})


def _put(kind: Any, value: Any, flat: list[Any]) -> bool:
    """Append the arguments of C for one of a kernel; False if it does not fit."""
    if isinstance(kind, Array):
        if (
            not isinstance(value, np.ndarray)
            or value.dtype != _dtype(kind.dtype)
            or value.ndim != kind.dimensions
            or not value.flags.c_contiguous
            or not value.flags.aligned
            or not (kind.readonly or value.flags.writeable)
        ):
            return False
        address = value.__array_interface__["data"][0]
        flat += (None, None, value.size, value.itemsize, address, *value.shape, *value.strides)
        return True
    if isinstance(kind, Group):
        if not isinstance(value, tuple) or len(value) != len(kind.items):
            return False
        return all(map(lambda one, of: _put(one, of, flat), kind.items, value))
    if isinstance(value, np.ndarray):
        return False
    if kind.name in ("float64", "boolean"):
        if not isinstance(value, float | int | np.number | np.bool_):
            return False
        flat.append(float(value) if kind.name == "float64" else bool(value))
        return True
    try:
        number = operator.index(value)
    except TypeError:
        return False
    bounds = np.iinfo(kind.name)
    if not bounds.min <= number <= bounds.max:
        raise OverflowError(f"{number} is no {kind.name}")
    flat.append(number)
    return True
