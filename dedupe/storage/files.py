"""A folder of files, on a disk or in an object store: the one door to what a run writes.

`DiskFiles` and `ObjectFiles` are the two kinds, and `dedupe.storage.files_at` chooses, once. Files
appear whole or not at all. On a disk they are written under a hidden name (`.NAME.….tmp`) and
renamed; for a store they are made on a local disk and then put in one request, or in an upload of
parts that is completed at the end. A file that is there has not been flushed to the disk: after a
power cut its checksum shows whether all of it is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa

from dedupe.errors import DamageError, WorkDirError, disk_full
from dedupe.remote import Place, StoreError
from dedupe.storage.checksums import HashingSink

COPIES = 16
"""Files that are put in place at a time."""

NOT_EMPTY = "exists and is not an empty directory: choose another --output or remove it"


class Range(NamedTuple):
    """Bytes [start, end) of a file."""

    name: str
    start: int
    end: int


class Made(NamedTuple):
    """A file that a task made: where it is, its bytes, and its checksum."""

    files: Files
    name: str
    size: int
    checksum: int


class Files(Protocol):
    """A folder of files. Names are relative to it, with / between the parts of a path.

    locks: whether `lock` keeps other drivers out; there are no locks in a store.
    """

    locks: ClassVar[bool]

    def __hash__(self) -> int:
        """Equal for the same folder."""
        ...

    @property
    def root(self) -> Place:
        """The folder."""
        ...

    def folder(self, name: str) -> Files:
        """A folder in this one."""
        ...

    def path(self, name: str) -> str:
        """What messages call a file."""
        ...

    def writing(self, name: str) -> AbstractContextManager[HashingSink]:
        """Yield a sink; what is written to it becomes the file if the block ends well."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write a file."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a file where none of its name is; whether it was, and nobody else made one."""
        ...

    def settle(self, names: Sequence[str]) -> None:
        """Have files that were written survive a power cut."""
        ...

    def read(self, name: str) -> bytes:
        """Read a file; FileNotFoundError where there is none."""
        ...

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """Read several files; a store is asked for many at a time."""
        ...

    def read_ranges(self, ranges: Sequence[Range]) -> Iterator[pa.Buffer]:
        """Read parts of files, in order; a store is asked for some ahead.

        Raises DamageError where a file is missing or ends before its range does.
        """
        ...

    def parquet(self, name: str) -> dict[str, Any]:
        """What pyarrow.parquet opens a file with: its arguments `source` and `filesystem`."""
        ...

    def checked(self, made: Made) -> None:
        """Raise DamageError where one of these files is not as it was made."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def size(self, name: str) -> int:
        """Bytes of a file."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """Names of the files and folders right in a folder; none where it is not there."""
        ...

    def below(self) -> set[str]:
        """Names of all files at any depth."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        ...

    def make(self) -> None:
        """Make the folder and those above it, where folders have to be made."""
        ...

    def claimed(self) -> AbstractContextManager[None]:
        """Keep others from making the same output for the block, where that can be; see `locks`.

        Raises WorkDirError where another command is at it.
        """
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Keep other drivers out for the block, where that can be; see `locks`."""
        ...

    def remove_unfinished(self, folders: str) -> None:
        """Remove unfinished files right in this folder and in folders that match a pattern."""
        ...

    def remove_if_empty(self) -> None:
        """Remove the folder where nothing is in it."""
        ...

    def remove_leftovers(self) -> None:
        """Remove what killed commands left beside this folder, to be renamed to it.

        What a command that is running has there stays.
        """
        ...

    def remove_staged(self, other_than: str = "") -> None:
        """Remove what runs left beside this folder by `staging`; other_than: the run to spare."""
        ...

    def spool(self) -> AbstractContextManager[IO[bytes]]:
        """Yield a file on a local disk that is gone after the block."""
        ...

    def put_from(self, made: Made, path: Path) -> None:
        """Give a local path the content of one of these files: a link where that can be."""
        ...

    def check_new(self, leavings: Sequence[str] = ()) -> bool:
        """Refuse to write into this folder where something is in it.

        leavings: patterns of names that a killed run may have left in a store. Returns whether
        such are there. Raises WorkDirError.
        """
        ...

    def staging(self, work: Files, part: str, run: str) -> Files:
        """Where tasks make files that are to be published here.

        work: a folder of the run in its work directory. part: a name for these files. run: the name
        of the run.
        """
        ...

    def publish(self, made: Mapping[str, Made], last: str, document: bytes) -> None:
        """Let files appear here, whole: a reader never sees some of them without `last`.

        made: each file by its name here. last: name of the file that says that all are there, with
        `document` in it. Raises DamageError where a file is not as it was made, WorkDirError where
        nothing can be written.
        """
        ...


def unwritten(output: Place, error: OSError) -> WorkDirError:
    """The error for an output that cannot be written."""
    if isinstance(error, StoreError):
        reason = str(error)
    else:
        reason = disk_full(error) or error.strerror or str(error)
    return WorkDirError(f"{output} cannot be written: {reason}; the same command goes on from here")


def missing(path: str) -> DamageError:
    """The error for a file that should be there."""
    return DamageError(path, "it is missing")


def check_content(path: str, found: tuple[int, int], made: Made) -> None:
    """Hold a file against what was made.

    path: what messages call it. found: its size and checksum now. made: what a task made of it.
    Raises DamageError where they differ.
    """
    if found[0] != made.size:
        raise DamageError(path, f"{found[0]} bytes, {made.size} were written")
    if found[1] != made.checksum:
        raise DamageError(path, "its checksum is another one")
