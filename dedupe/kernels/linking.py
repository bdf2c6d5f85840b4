"""Object files of kernels to images, which `objects` loads.

numba's code is for any address: whatever it refers to, be it a function or a constant, it refers to
by eight bytes that hold an address. So linking is to lay sections out and to note these places. The
object file has code besides the kernel's that calls Python; only what the kernel can reach goes
into the image, and it may call nothing but itself and a few functions of libc. Whatever else there
is raises `CannotLinkError`, and the kernel stays with numba.
"""

from __future__ import annotations

import builtins
import pickle
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from dedupe.kernels.objects import LIBC, packed


def _record(**fields: str) -> np.dtype[Any]:
    return np.dtype(list(fields.items()))


SECTION = _record(
    name="<u4", kind="<u4", flags="<u8", address="<u8", offset="<u8",
    size="<u8", link="<u4", info="<u4", align="<u8", entry="<u8",
)  # fmt: skip
SYMBOL = _record(name="<u4", info="u1", other="u1", section="<u2", value="<u8", size="<u8")
RELOCATION = _record(offset="<u8", info="<u8", addend="<i8")
ELF_OF_X86_64 = (b"\x7fELF\x02\x01", 62)
SYMBOLS, RELOCATIONS, ZEROS = 2, 4, 8  # kinds of sections
WRITTEN, LOADED = 1, 2  # flags of sections
ADDRESS = 1  # R_X86_64_64: the address of a symbol, and an addend
UNDEFINED, COMMON = 0, 0xFFF2  # numbers of sections
ALIGNMENT = 64
TRAP = 0xCC
DESCRIPTION = ".const.picklebuf."
"""What begins the names of numba's descriptions of exceptions."""


class CannotLinkError(Exception):
    """A kernel has what no image can have."""


class Symbol(NamedTuple):
    """A name of an object file: the number of its section, and which bytes of it."""

    name: str
    section: int
    value: int
    size: int

    def has(self, section: int, at: int) -> bool:
        """Whether a byte of a section is one of these."""
        return self.section == section and self.value <= at < self.value + self.size


class Reference(NamedTuple):
    """A place that holds an address: where in its section; of which symbol, and how far on."""

    offset: int
    symbol: Symbol
    addend: int


@dataclass
class ObjectFile:
    """What an object file has.

    data: of each section that is loaded, by number. references: in each of them, in order. symbols:
    by name, those that are defined.
    """

    data: dict[int, bytes]
    references: dict[int, list[Reference]]
    symbols: dict[str, Symbol]
    written: set[int]

    def around(self, section: int, at: int) -> Symbol | None:
        """The symbol that a place belongs to."""
        return next((one for one in self.symbols.values() if one.has(section, at)), None)

    def within(self, of: Symbol) -> list[Reference]:
        """What the bytes of a symbol refer to."""
        found = self.references.get(of.section, [])
        return [one for one in found if of.has(of.section, one.offset)]


def parse(file: bytes) -> ObjectFile:
    """Read an ELF object file."""
    kind, machine = ELF_OF_X86_64
    if not file.startswith(kind) or struct.unpack_from("<H", file, 18)[0] != machine:
        raise CannotLinkError("no object file of this processor")
    (start,) = struct.unpack_from("<Q", file, 40)
    count, _ = struct.unpack_from("<HH", file, 60)
    sections = np.frombuffer(file, SECTION, count, start)

    def bytes_of(number: int) -> bytes:
        section = sections[number]
        return file[int(section["offset"]) : int(section["offset"] + section["size"])]

    def named(strings: bytes, at: int) -> str:
        return strings[at : strings.index(b"\0", at)].decode()

    (names,) = struct.unpack_from("<H", file, 62)
    titles = [named(bytes_of(names), int(one["name"])) for one in sections]
    data, written = {}, set()
    for number, section in enumerate(sections):
        if section["flags"] & LOADED and titles[number] != ".eh_frame":
            size = int(section["size"])
            data[number] = bytes(size) if section["kind"] == ZEROS else bytes_of(number)
            if section["flags"] & WRITTEN:
                written.add(number)
    (table,) = (number for number, one in enumerate(sections) if one["kind"] == SYMBOLS)
    strings = bytes_of(int(sections[table]["link"]))
    every = [
        Symbol(named(strings, int(one["name"])), *(int(one[of]) for of in Symbol._fields[1:]))
        for one in np.frombuffer(bytes_of(table), SYMBOL)
    ]
    references: dict[int, list[Reference]] = {}
    for number, section in enumerate(sections):
        target = int(section["info"])
        if section["kind"] == RELOCATIONS and target in data:
            for one in np.frombuffer(bytes_of(number), RELOCATION):
                if int(one["info"]) & 0xFFFFFFFF != ADDRESS:
                    raise CannotLinkError(f"a relocation of kind {int(one['info']) & 0xFFFFFFFF}")
                symbol = every[int(one["info"]) >> 32]
                found = Reference(int(one["offset"]), symbol, int(one["addend"]))
                references.setdefault(target, []).append(found)
    symbols = {one.name: one for one in every if one.section in data and one.size}
    return ObjectFile(data, references, symbols, written)


def link(kernel: bytes, runtime: bytes, entry: str, release: str) -> bytes:
    """Header and image of a kernel.

    kernel, runtime: object files; the second defines what the first calls for memory. entry,
    release: names of the kernel in the first, and of what gives memory back in the second. Raises
    CannotLinkError.
    """
    files = [parse(kernel), parse(runtime)]
    reached = _reached(files, [(0, entry), (1, release)])
    starts, size = _laid_out(files)
    image = np.full(size, TRAP, np.uint8)
    places: list[int] = []
    externals: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        dead = [one for one in file.symbols.values() if (number, one.name) not in reached]
        for section, data in file.data.items():
            start = starts[number, section]
            image[start : start + len(data)] = np.frombuffer(data, np.uint8)
            for one in dead:
                if one.section == section:
                    image[start + one.value : start + one.value + one.size] = TRAP
            for offset, symbol, addend in file.references.get(section, []):
                if any(one.has(section, offset) for one in dead):
                    continue
                value = addend
                if symbol.section != UNDEFINED:
                    value += starts[number, symbol.section] + symbol.value
                    places.append(start + offset)
                elif (found := _defined(files, symbol.name)) is not None:
                    value += starts[found, files[found].symbols[symbol.name].section]
                    value += files[found].symbols[symbol.name].value
                    places.append(start + offset)
                else:
                    externals.setdefault(symbol.name, []).append(start + offset)
                image[start + offset : start + offset + 8] = np.frombuffer(
                    struct.pack("<q", value), np.uint8
                )

    def place(number: int, name: str) -> int:
        symbol = files[number].symbols[name]
        return starts[number, symbol.section] + symbol.value

    described = [name for _, name in sorted(reached) if name.startswith(DESCRIPTION)]
    header = {
        "entry": place(0, entry),
        "release": place(1, release),
        "places": places,
        "externals": externals,
        "errors": {place(0, one): _error(files[0], one) for one in described},
    }
    return packed(header, image.tobytes())


def _defined(files: list[ObjectFile], name: str) -> int | None:
    """Which of the files has a symbol."""
    return next((number for number, file in enumerate(files) if name in file.symbols), None)


def _reached(files: list[ObjectFile], roots: list[tuple[int, str]]) -> set[tuple[int, str]]:
    """Files and names of all that can be reached from these."""
    reached, front = set(roots), list(roots)
    while front:
        number, name = front.pop()
        file = files[number]
        if name not in file.symbols:
            raise CannotLinkError(f"{name} is not there")
        for _, symbol, addend in file.within(file.symbols[name]):
            if symbol.section == UNDEFINED:
                found = _defined(files, symbol.name)
                if found is None and symbol.name not in LIBC:
                    raise CannotLinkError(f"{name} calls {symbol.name}")
                target = None if found is None else (found, symbol.name)
            elif symbol.section not in file.data or symbol.section in file.written:
                raise CannotLinkError(f"{name} refers to {symbol.name}, which changes")
            else:
                around = file.around(symbol.section, symbol.value + addend)
                target = around and (number, around.name)
            if target is not None and target not in reached:
                reached.add(target)
                front.append(target)
    return reached


def _laid_out(files: list[ObjectFile]) -> tuple[dict[tuple[int, int], int], int]:
    """Where in the image the sections of the files begin, and how large it is."""
    starts, at = {}, 0
    for number, file in enumerate(files):
        for section, data in file.data.items():
            starts[number, section] = at
            at += -(-len(data) // ALIGNMENT) * ALIGNMENT
    return starts, at


def _error(file: ObjectFile, name: str) -> tuple[str, list[str]]:
    """The exception, one of Python's own, that a description of numba describes."""
    symbol = file.symbols[name]
    (pickled,) = (one for one in file.within(symbol) if one.offset == symbol.value)
    (size,) = struct.unpack_from("<i", file.data[symbol.section], symbol.value + 8)
    start = pickled.symbol.value + pickled.addend
    told: Any = pickle.loads(file.data[pickled.symbol.section][start : start + size])  # noqa: S301
    kind, said = told[0], list(told[1] or ())
    is_known = isinstance(kind, type) and getattr(builtins, kind.__name__, None) is kind
    if not is_known or not all(isinstance(one, str) for one in said):
        raise CannotLinkError(f"it raises {kind} of {said}")
    return kind.__name__, said
