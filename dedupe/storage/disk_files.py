"""Files in a folder on a disk: hidden while they are written, renamed when they are whole."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import pyarrow as pa

from dedupe.errors import DamageError, WorkDirError
from dedupe.storage.checksums import HashingSink, checksum_of_file
from dedupe.storage.files import (
    COPIES,
    NOT_EMPTY,
    Files,
    Made,
    Range,
    check_content,
    missing,
    unwritten,
)
from dedupe.storage.temporary import remove_unlocked
from dedupe.threads import Threads

HEX = "[0-9a-f]"

UNFINISHED = f".*.{16 * HEX}.tmp"
"""What a process that was killed leaves of a file that it was writing."""


@dataclass(frozen=True)
class DiskFiles:
    """A folder on a local disk, or on one that all nodes see."""

    root: Path
    locks: ClassVar[bool] = True

    def folder(self, name: str) -> DiskFiles:
        """See `Files.folder`."""
        return DiskFiles(self.root / name)

    def path(self, name: str) -> str:
        """See `Files.path`."""
        return f"{self.root}/{name}"

    @contextmanager
    def writing(self, name: str) -> Iterator[HashingSink]:
        """See `Files.writing`."""
        path = self.root / name
        hidden = path.with_name(f"{_hidden(path)}{secrets.token_hex(8)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(hidden, "wb") as file:
                yield HashingSink(file)
            os.replace(hidden, path)
        finally:
            hidden.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """See `Files.write`."""
        with self.writing(name) as sink:
            sink.write(data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Files.create`: a link is made only where nothing is."""
        path = self.root / name
        hidden = path.with_name(f"{_hidden(path)}{secrets.token_hex(8)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            hidden.write_bytes(data)
            _flush_to_disk(hidden)
            os.link(hidden, path)
        except FileExistsError:
            return path.read_bytes() == data
        finally:
            hidden.unlink(missing_ok=True)
        _flush_to_disk(path.parent)
        return True

    def settle(self, names: Sequence[str]) -> None:
        """See `Files.settle`."""
        for name in names:
            _flush_to_disk(self.root / name)
        for folder in {(self.root / name).parent for name in names}:
            _flush_to_disk(folder)

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        return (self.root / name).read_bytes()

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """See `Files.read_all`."""
        return [self.read(name) for name in names]

    def read_ranges(self, ranges: Sequence[Range]) -> Iterator[pa.Buffer]:
        """See `Files.read_ranges`."""
        for name, start, end in ranges:
            try:
                with pa.OSFile(self.path(name), "rb") as file:
                    file.seek(start)
                    data = file.read_buffer(end - start)
            except FileNotFoundError:
                raise missing(self.path(name)) from None
            if data.size != end - start:
                raise DamageError(self.path(name), "it ends too early")
            yield data

    def parquet(self, name: str) -> dict[str, Any]:
        """See `Files.parquet`."""
        return {"source": self.path(name)}

    def checked(self, made: Made) -> None:
        """See `Files.checked`."""
        self._check(self.root / made.name, made)

    def _check(self, path: Path, made: Made) -> None:
        try:
            with open(path, "rb", buffering=0) as file:
                found = checksum_of_file(file)
        except FileNotFoundError:
            raise missing(self.path(made.name)) from None
        check_content(self.path(made.name), found, made)

    def exists(self, name: str) -> bool:
        """See `Files.exists`."""
        return (self.root / name).exists()

    def size(self, name: str) -> int:
        """See `Files.size`."""
        return (self.root / name).stat().st_size

    def names(self, folder: str = "") -> list[str]:
        """See `Files.names`."""
        try:
            return sorted(os.listdir(self.root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def below(self) -> set[str]:
        """See `Files.below`."""
        files = (path for path in self.root.rglob("*") if not path.is_dir())
        return {path.relative_to(self.root).as_posix() for path in files}

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        (self.root / name).unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        """See `Files.remove_folder`."""
        shutil.rmtree(self.root / name, ignore_errors=True)  # a lost worker may still write there

    def make(self) -> None:
        """See `Files.make`."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise WorkDirError(
                f"{self.root} cannot be a directory: a file is in its place"
            ) from error
        except OSError as error:
            raise WorkDirError(f"{self.root} cannot be made: {error.strerror}") from error

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """See `Files.claimed`: by a lock on a hidden folder beside this one."""
        claim = self._claim()
        if claim is None:
            raise WorkDirError(
                f"another command is making {self.root}: wait for it to end, or choose another "
                "--output"
            )
        try:
            yield
        finally:
            self._end(claim)

    @property
    def _claimed(self) -> Path:
        """The hidden folder whose lock says that a command is making this output."""
        return self.root.with_name(f".{self.root.name[:200]}.claim")

    def _claim(self) -> int | None:
        """A handle with the lock, -1 where there can be none; None where another has it."""
        path = self._claimed
        while True:
            try:
                path.mkdir(0o700, parents=True, exist_ok=True)
                folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:  # another has just ended
                continue
            except OSError:  # nothing can be written here
                return -1
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(folder)):
                    return folder
            except BlockingIOError:
                os.close(folder)
                return None
            except OSError:  # there are disks without locks
                return folder
            os.close(folder)

    def _end(self, claim: int) -> None:
        """Give a lock back."""
        if claim >= 0:
            with suppress(OSError):
                self._claimed.rmdir()
            os.close(claim)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Files.lock`; the lock ends with the process."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise WorkDirError(f"another run is using {self.root}: wait for it to end") from error
        finally:
            os.close(folder)

    def remove_unfinished(self, folders: str) -> None:
        """See `Files.remove_unfinished`."""
        for pattern in (UNFINISHED, f"{folders}/{UNFINISHED}"):
            for entry in self.root.glob(pattern):
                if not entry.is_dir():
                    entry.unlink(missing_ok=True)

    def remove_if_empty(self) -> None:
        """See `Files.remove_if_empty`."""
        if self.root.exists() and not any(self.root.iterdir()):
            self.root.rmdir()

    def remove_leftovers(self) -> None:
        """See `Files.remove_leftovers`: a lock says that a command is running."""
        start = re.escape(_hidden(self.root))
        for hidden in self._beside(rf"{start}{HEX}{{16}}\.new"):
            remove_unlocked(hidden)
        if self._claimed.is_dir():
            remove_unlocked(self._claimed)

    def remove_staged(self, other_than: str = "") -> None:
        """See `Files.remove_staged`."""
        runs = rf"(?!{re.escape(other_than)}\.)dedupe-{HEX}{{8}}"
        for folder in self._beside(rf"\.{re.escape(self.root.name)}\.{runs}\.[a-z]+"):
            shutil.rmtree(folder, ignore_errors=True)

    def _beside(self, pattern: str) -> list[Path]:
        """Folders beside this one whose whole name matches a regular expression."""
        names = DiskFiles(self.root.parent).names()
        found = [self.root.with_name(name) for name in names if re.fullmatch(pattern, name)]
        return [path for path in found if path.is_dir() and not path.is_symlink()]

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """See `Files.spool`."""
        with tempfile.TemporaryFile(dir=self.root) as file:
            yield file

    def put_from(self, made: Made, path: Path) -> None:
        """See `Files.put_from`."""
        source = self.root / made.name
        if not source.is_file():
            raise missing(str(source))
        try:
            os.link(source, path)
        except OSError:
            shutil.copyfile(source, path)

    def check_new(self, leavings: Sequence[str] = ()) -> bool:
        """See `Files.check_new`."""
        if self.root.exists() and (not self.root.is_dir() or any(self.root.iterdir())):
            raise WorkDirError(f"{self.root} {NOT_EMPTY}")
        DiskFiles(self.root.parent).make()
        return False

    def staging(self, work: Files, part: str, run: str) -> Files:
        """See `Files.staging`: in the work directory, or beside this if that is in a store."""
        if isinstance(work, DiskFiles):
            return work.folder(part)
        return DiskFiles(self.root.with_name(f".{self.root.name}.{run}.{part}"))

    def publish(self, made: Mapping[str, Made], last: str, document: bytes) -> None:
        """See `Files.publish`: a hidden folder is filled, flushed to the disk and renamed.

        Files on the same disk are linked, so that those of a work directory stay what they were.
        """
        try:
            with hidden_folder(self.root) as hidden:
                self._fill(hidden, made, last, document)
                os.replace(hidden, self.root)
                _flush_to_disk(self.root.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise WorkDirError(
                    f"{self.root} appeared while this command was at work: another has made it; "
                    "choose another --output"
                ) from error
            raise unwritten(self.root, error) from error

    def _fill(self, hidden: Path, made: Mapping[str, Made], last: str, document: bytes) -> None:
        """Put files and the last one into a folder, and flush all of it to the disk."""
        beside = DiskFiles(hidden)
        for folder in {(hidden / name).parent for name in made}:
            folder.mkdir(parents=True, exist_ok=True)
        with Threads(COPIES) as pool:
            for _ in pool.map(beside._take, made.keys(), made.values()):
                pass
        beside.write(last, document)
        _flush_to_disk(hidden / last)
        for folder in (hidden, *(path for path in hidden.rglob("*") if path.is_dir())):
            _flush_to_disk(folder)
        hidden.chmod(0o777 & ~_umask())

    def _take(self, name: str, made: Made) -> None:
        """Take a file over, where a power cut does not reach it any more, and check it there."""
        made.files.put_from(made, self.root / name)
        _flush_to_disk(self.root / name)
        try:
            self._check(self.root / name, made)
        except DamageError as error:
            raise DamageError(made.files.path(made.name), error.what) from None


@contextmanager
def hidden_folder(beside: Path) -> Iterator[Path]:
    """Yield a new folder beside a path; it is gone after the block, unless it was renamed.

    While the block runs there is a lock on it. `Files.remove_leftovers` of that path removes those
    of killed commands.
    """
    hidden = beside.with_name(f"{_hidden(beside)}{secrets.token_hex(8)}.new")
    hidden.mkdir(0o700)
    held = os.open(hidden, os.O_RDONLY)
    try:
        with suppress(OSError):  # there are disks without locks
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        os.close(held)


def _hidden(path: Path) -> str:
    """How the name of what is hidden beside a path begins."""
    return f".{path.name[:40]}."


def _flush_to_disk(path: Path) -> None:
    """Wait until a file or folder would survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
