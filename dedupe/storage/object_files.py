"""Files in a folder of an object store, which has no locks, no renaming and no real folders."""

from __future__ import annotations

import fnmatch
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

import pyarrow as pa

from dedupe.errors import DamageError, WorkDirError, disk_full
from dedupe.remote import Remote, StoreError, given, objects
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
from dedupe.threads import Threads

MOST_AHEAD = 32
AHEAD_BYTES = 32 << 20
"""Ranges that are fetched before they are asked for: how many, and bytes in all."""


@dataclass(frozen=True)
class ObjectFiles:
    """A folder in an object store.

    options: storage options with which it is reached, also when those who gave them are through.
    """

    root: Remote
    options: given.OptionsByExtra = field(
        default_factory=given.all_given, repr=False, compare=False
    )
    locks: ClassVar[bool] = False

    def folder(self, name: str) -> ObjectFiles:
        """See `Files.folder`."""
        return ObjectFiles(self.root / name, self.options)

    def path(self, name: str) -> str:
        """See `Files.path`."""
        return f"{self.root}/{name}"

    @contextmanager
    def writing(self, name: str) -> Iterator[HashingSink]:
        """See `Files.writing`."""
        with _spare_folder() as folder:
            with open(folder / "made", "wb") as file:
                yield HashingSink(file)
            with self._stored():
                objects.upload(folder / "made", self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """See `Files.write`."""
        with self._stored():
            objects.write(self.path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """See `Files.create`: one PUT that the store refuses where something is."""
        with self._stored():
            return objects.create(self.path(name), data)

    def settle(self, names: Sequence[str]) -> None:
        """See `Files.settle`: a store has them when it has answered."""

    def read(self, name: str) -> bytes:
        """See `Files.read`."""
        with self._stored():
            return objects.read(self.path(name))

    def read_all(self, names: Sequence[str]) -> list[bytes]:
        """See `Files.read_all`."""
        with self._stored():
            return objects.read_all([self.path(name) for name in names])

    def read_ranges(self, ranges: Sequence[Range]) -> Iterator[pa.Buffer]:
        """See `Files.read_ranges`: one GET for each."""
        ahead: deque[tuple[int, Future[pa.Buffer]]] = deque()
        todo = deque(ranges)
        held = 0
        pool = Threads(MOST_AHEAD, "ranges")
        try:
            while todo or ahead:
                while todo and len(ahead) < MOST_AHEAD and (not ahead or held < AHEAD_BYTES):
                    one = todo.popleft()
                    ahead.append((one.end - one.start, pool.submit(self._range, one)))
                    held += one.end - one.start
                size, future = ahead.popleft()
                yield future.result()
                held -= size
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _range(self, wanted: Range) -> pa.Buffer:
        uri = self.path(wanted.name)
        try:
            with self._stored():
                return pa.py_buffer(objects.read_range(uri, wanted.start, wanted.end))
        except FileNotFoundError:
            raise missing(uri) from None
        except WorkDirError as error:
            cause = error.__cause__
            if isinstance(cause, StoreError) and cause.is_short:
                raise DamageError(uri, "it ends too early") from None
            raise

    def parquet(self, name: str) -> dict[str, Any]:
        """See `Files.parquet`."""
        return {"source": (self.root / name).path, "filesystem": self.root.fs}

    def checked(self, made: Made) -> None:
        """See `Files.checked`: the file is fetched to a local disk, and read there."""
        with _spare_folder() as folder:
            self.put_from(made, folder / "made")
            with open(folder / "made", "rb", buffering=0) as file:
                check_content(self.path(made.name), checksum_of_file(file), made)

    def exists(self, name: str) -> bool:
        """See `Files.exists`."""
        with self._stored():
            return objects.exists(self.path(name))

    def size(self, name: str) -> int:
        """See `Files.size`."""
        with self._stored():
            return objects.info(self.path(name)).size or 0

    def names(self, folder: str = "") -> list[str]:
        """See `Files.names`."""
        with self._stored():
            found = objects.entries(str(self.root / folder) if folder else str(self.root))
        return [uri.rpartition("/")[2] for uri in found]

    def below(self) -> set[str]:
        """See `Files.below`."""
        root = str(self.root)
        with self._stored():
            return {one.uri[len(root) + 1 :] for one in objects.find(root)}

    def remove(self, name: str) -> None:
        """See `Files.remove`."""
        with self._stored():
            objects.remove(self.path(name))

    def remove_folder(self, name: str) -> None:
        """See `Files.remove_folder`."""
        with self._stored():
            objects.remove_folder(self.path(name))

    def make(self) -> None:
        """See `Files.make`: a store has no folders of its own."""

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """See `Files.claimed`."""
        yield

    @contextmanager
    def lock(self) -> Iterator[None]:
        """See `Files.lock`: nobody is kept out."""
        yield

    def remove_unfinished(self, folders: str) -> None:
        """See `Files.remove_unfinished`: a store has none."""

    def remove_if_empty(self) -> None:
        """See `Files.remove_if_empty`: a store has no folders of its own."""

    def remove_leftovers(self) -> None:
        """See `Files.remove_leftovers`: nothing lies beside a folder in a store."""

    def remove_staged(self, other_than: str = "") -> None:
        """See `Files.remove_staged`: nothing lies beside a folder in a store."""

    @contextmanager
    def spool(self) -> Iterator[IO[bytes]]:
        """See `Files.spool`."""
        with tempfile.TemporaryFile() as file:
            yield file

    def put_from(self, made: Made, path: Path) -> None:
        """See `Files.put_from`."""
        try:
            with given.using_these(self.options):
                objects.download(self.path(made.name), path)
        except FileNotFoundError:
            raise missing(self.path(made.name)) from None

    def check_new(self, leavings: Sequence[str] = ()) -> bool:
        """See `Files.check_new`."""
        found = self.below()
        if not all(any(fnmatch.fnmatchcase(name, one) for one in leavings) for name in found):
            raise WorkDirError(f"{self.root} {NOT_EMPTY}")
        return bool(found)

    def staging(self, work: Files, part: str, run: str) -> Files:
        """See `Files.staging`: here, as without the last file it is no output."""
        return self

    def publish(self, made: Mapping[str, Made], last: str, document: bytes) -> None:
        """See `Files.publish`: the last file is put when all others are there.

        What lies in this store already is compared by its size, and copied by the store where it
        lies in another folder: a store checks the content of what it holds by itself.
        """
        is_hub = str(self.root).startswith("hf://")  # where each file is a commit
        try:
            with given.using_these(self.options):
                self._check_sizes([one for one in made.values() if self._is_near(one)])
                with Threads(1 if is_hub else COPIES) as pool:
                    for _ in pool.map(self._take, made.keys(), made.values()):
                        pass
            self.write(last, document)
        except OSError as error:
            raise unwritten(self.root, error) from error

    def _is_near(self, made: Made) -> bool:
        """Whether a file is in this store."""
        there = made.files
        return isinstance(there, ObjectFiles) and (
            there == self or objects.same_store(str(there.root), str(self.root))
        )

    def _check_sizes(self, made: Sequence[Made]) -> None:
        """Hold files against a listing of each folder that they are in."""
        for folder in {str(one.files.root) for one in made}:
            sizes = {one.uri: one.size for one in objects.find(folder)}
            for one in made:
                path = one.files.path(one.name)
                if str(one.files.root) != folder:
                    continue
                if path not in sizes:
                    raise missing(path)
                if sizes[path] != one.size:
                    raise DamageError(path, f"{sizes[path]} bytes, {one.size} were written")

    @contextmanager
    def _stored(self) -> Iterator[None]:
        """Reach the store, and turn what is said of it into WorkDirError."""
        try:
            with given.using_these(self.options):
                yield
        except StoreError as error:
            failure = WorkDirError(str(error))
            failure.passing = error.passing
            raise failure from error

    def _take(self, name: str, made: Made) -> None:
        """Copy a file here: within the store, or through a local disk, where it is checked."""
        path = made.files.path(made.name)
        if self._is_near(made):
            if path != self.path(name):
                objects.copy(path, self.path(name))
            return
        with _spare_folder() as folder:
            made.files.put_from(made, folder / "made")
            with open(folder / "made", "rb", buffering=0) as file:
                check_content(path, checksum_of_file(file), made)
            objects.upload(folder / "made", self.path(name))


@contextmanager
def _spare_folder() -> Iterator[Path]:
    """A folder on a local disk for what goes to a store or comes from it."""
    try:
        with tempfile.TemporaryDirectory(prefix="dedupe-") as folder:
            yield Path(folder)
    except OSError as error:
        full = disk_full(error)
        if full:
            raise WorkDirError(
                f"{tempfile.gettempdir()}, where files are made before they go to the store: "
                f"{full}: set TMPDIR to a larger one"
            ) from error
        raise
