"""Manifests: what an index has at one time, in one sealed file that never changes.

The manifest of the highest number counts. The next one is put where none of its number is, so of
two writers the second sees that the index is another one now, and nothing is ever half there.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dedupe.config import ALGORITHM
from dedupe.errors import DamageError, SettingsError
from dedupe.index.blocks import REMEDY, BlockTable, remedied
from dedupe.storage.checksums import seal, unseal
from dedupe.storage.files import Files
from dedupe.version import __version__

VERSION = 0
"""Of the format; raised whenever files of an index come to mean something else."""

FOLDER = "manifests"
NAME = re.compile(r"(\d{8})\.json")
SEGMENT = re.compile(r"segments/\d+-[0-9a-f]{8}")
TABLE = re.compile(rf"{SEGMENT.pattern}/(first\d+/)?[a-z]+(-\d{{5}})?\.arrow")
"""What segments and tables are called: no other file is ever read, or removed."""

KIND = "index manifest"

TABLES = ("state", "rows", "text", "keys", "merges", "files", "changes")
"""The tables of a segment, in the order in which they are told."""


@dataclass(frozen=True)
class Crawl:
    """Rows that were added together.

    name: which nothing else in the index has. first: number of its first row. rows, kept: how many
    it has, and how many of them stay. run: name of the run that added it. reading: the settings of
    it that may differ from those of the index. evals: whether it was held against test sets.
    removed: rows of it that were taken out.
    """

    name: str
    first: int
    rows: int
    kept: int
    run: str
    reading: Mapping[str, Any] = field(default_factory=dict)
    evals: bool = False
    removed: int = 0


@dataclass(frozen=True)
class Segment:
    """The files of one crawl, or of neighbours that were compacted.

    name: of its folder. first: number of its first row. rows: how many it has. tables: by what they
    are of, each in the order of its rows or keys.
    """

    name: str
    first: int
    rows: int
    tables: Mapping[str, tuple[BlockTable, ...]]

    def as_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        tables = {name: [one.as_json() for one in of] for name, of in self.tables.items()}
        return {"name": self.name, "first": self.first, "rows": self.rows, "tables": tables}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Segment:
        """Read what `as_json` gave."""
        tables = {
            name: tuple(map(BlockTable.from_json, of)) for name, of in found["tables"].items()
        }
        return cls(found["name"], found["first"], found["rows"], tables)

    @property
    def all_tables(self) -> list[BlockTable]:
        """Its tables, of whatever kind."""
        return [table for of in self.tables.values() for table in of]

    def settle(self, files: Files) -> None:
        """Have its files survive a power cut. files: the folder of the index."""
        names = [(one.name, one.name_of_blocks) for one in self.all_tables]
        files.settle([name for pair in names for name in pair])

    def bytes(self, *kinds: str) -> int:
        """Bytes of its tables of some kinds, with what is known of their blocks."""
        return sum(one.size + one.blocks.size for kind in kinds for one in self.tables[kind])


@dataclass(frozen=True)
class Manifest:
    """What an index has.

    number: of the manifest. settings: plain values of `config.Settings`. document: the names of the
    fields that are compared, and what must be equal besides; None before the first crawl. columns:
    how many columns of text that are. groups: types of the columns of `--within`. id_type: that of
    ids; None without any. types: schema messages in base64 that say both. classes: numbers of
    classes that are taken. crawls: in the order in which they were added. segments: in the order of
    their rows. base: digest of the manifest before, empty for the first.
    """

    number: int
    settings: Mapping[str, Any]
    document: Any = None
    types: str | None = None
    kinds: Mapping[str, str] = field(default_factory=dict)
    classes: int = 0
    crawls: tuple[Crawl, ...] = ()
    segments: tuple[Segment, ...] = ()
    algorithm: int = ALGORITHM
    version: int = VERSION
    dedupe: str = __version__

    @property
    def rows(self) -> int:
        """Rows of all crawls."""
        return sum(crawl.rows for crawl in self.crawls)

    @property
    def kept(self) -> int:
        """Rows that stay."""
        return sum(crawl.kept for crawl in self.crawls)

    def tables(self, kind: str) -> list[tuple[Segment, BlockTable]]:
        """All tables of a kind in the order of their segments, each with its segment."""
        return [(segment, one) for segment in self.segments for one in segment.tables[kind]]

    def crawl_of(self, run: str) -> Crawl | None:
        """The crawl that a run has added, if it has."""
        return next((crawl for crawl in self.crawls if crawl.run == run), None)

    def with_crawl(self, crawl: Crawl, segment: Segment, **changed: Any) -> Manifest:
        """The next manifest, which has one crawl more.

        crawl: which. segment: its files. changed: other fields of the manifest.
        """
        return replace(
            self,
            number=self.number + 1,
            crawls=(*self.crawls, crawl),
            segments=(*self.segments, segment),
            **changed,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        return {
            **{name: getattr(self, name) for name in PLAIN},
            "crawls": [asdict(crawl) for crawl in self.crawls],
            "segments": [segment.as_json() for segment in self.segments],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Manifest:
        """Read what `as_json` gave."""
        return cls(
            **{name: found[name] for name in PLAIN},
            crawls=tuple(Crawl(**crawl) for crawl in found["crawls"]),
            segments=tuple(map(Segment.from_json, found["segments"])),
        )


PLAIN = (
    "number",
    "settings",
    "document",
    "types",
    "kinds",
    "classes",
    "algorithm",
    "version",
    "dedupe",
)
"""Fields of a manifest that are plain values."""


def new_segment() -> str:
    """A folder for a segment, whose name says when it was begun."""
    return f"segments/{int(time.time())}-{secrets.token_hex(4)}"


def file_of(number: int) -> str:
    """The file of a manifest in the folder of an index."""
    return f"{FOLDER}/{number:08d}.json"


def numbers_in(files: Files) -> list[int]:
    """Numbers of the manifests that are there, ascending; none where there is no index."""
    found = (NAME.fullmatch(name) for name in files.names(FOLDER))
    return sorted(int(one[1]) for one in found if one)


def read_manifest(files: Files, number: int | None = None) -> Manifest:
    """A manifest of an index.

    files: the folder of the index. number: which; None for the one that counts. Raises
    SettingsError where there is no index, or one that another version has made, and DamageError
    where the manifest is not as it was written.
    """
    there = numbers_in(files)
    if not there:
        raise SettingsError(
            f"{files.root} is no index: make one with dedupe index create {files.root} CORPUS"
        )
    name = file_of(there[-1] if number is None else number)
    try:
        data = files.read(name)
    except FileNotFoundError:
        raise DamageError(files.path(name), "it is missing", remedy=REMEDY) from None
    with remedied():
        found = unseal(KIND, data, files.path(name))
    for what, ours in (("version", VERSION), ("algorithm", ALGORITHM)):
        if found.get(what) != ours:
            raise SettingsError(
                f"{files.root} is an index of {what} {found.get(what)}, and this dedupe makes "
                f"{ours}: rebuild it with dedupe index rebuild"
            )
    try:
        manifest = Manifest.from_json(found)
        _check_names(manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamageError(files.path(name), f"it is no manifest: {error}", remedy=REMEDY) from None
    if manifest.number != int(name[len(FOLDER) + 1 :][:8]):
        raise DamageError(files.path(name), f"it is manifest {manifest.number}", remedy=REMEDY)
    return manifest


def index_of(path: str) -> str | None:
    """The index of which a file is a manifest, by its path; None for any other file."""
    found = re.fullmatch(rf"(.+)/{FOLDER}/{NAME.pattern}", path)
    return None if found is None else found[1]


def _check_names(manifest: Manifest) -> None:
    """Raise ValueError for a name that leads out of the index, or for tables that there are not."""
    for segment in manifest.segments:
        if set(segment.tables) != set(TABLES) or not SEGMENT.fullmatch(segment.name):
            raise ValueError(f"segment {segment.name!r}")
        for table in segment.all_tables:
            if not TABLE.fullmatch(table.name):
                raise ValueError(f"table {table.name!r}")


def commit(files: Files, manifest: Manifest) -> bool:
    """Let a manifest count; False where another writer was first, whose index is to be read again.

    files: the folder of the index. manifest: the next one.
    """
    return files.create(file_of(manifest.number), seal(KIND, manifest.as_json()))
