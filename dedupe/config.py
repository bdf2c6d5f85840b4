"""Settings of a run: one frozen object, checked once, passed first, the same for both interfaces.

`Settings` holds what decides the keep-list. `Resources` holds what only decides how fast and
in how much memory it is made; two runs that differ only there give the same keep-list.
"""

from __future__ import annotations

import os
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from dedupe.errors import SettingsError

ALGORITHM = 1
"""Raised whenever the same settings and corpus would give another keep-list."""

ENGINES = ("local", "ray")
CLUSTERS = ("cover", "transitive")
EXACTS = ("normalized", "bytes")
BAD_TEXTS = ("error", "replace")
KEEPS = ("first", "longest", "shortest")
KEEP_COLUMNS = ("max", "min")


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}: use {' or '.join(allowed)}")


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}: use a whole number from {low} to {high}")


@dataclass(frozen=True)
class Settings:
    """What a keep-list depends on, besides the corpus.

    text: name of the text column. id: name of a column carried through to the keep-list.
    threshold: Jaccard similarity from which a row is a duplicate, in (0, 1].
    shingle: "word:N" or "char:N". recall: wanted chance that a pair exactly at the threshold
    becomes a candidate; bands and rows override the plan made from it. num_perm, seed: of the
    MinHash signature. cluster: "cover" or "transitive". exact: what makes two rows equal,
    "normalized" tokens or "bytes". near: False finds exact duplicates only. keep: the keep
    policy, "first", "longest", "shortest", "max:COLUMN" or "min:COLUMN". on_bad_text: what
    happens to malformed UTF-8, "error" or "replace".

    Raises SettingsError, which says what to change.
    """

    text: str = "text"
    id: str | None = None
    threshold: float = 0.8
    shingle: str = "word:5"
    recall: float = 0.99
    bands: int | None = None
    rows: int | None = None
    num_perm: int = 128
    seed: int = 1
    cluster: str = "cover"
    exact: str = "normalized"
    near: bool = True
    keep: str = "first"
    on_bad_text: str = "error"

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "threshold", float(self.threshold))
            object.__setattr__(self, "recall", float(self.recall))
        except (TypeError, ValueError):
            raise SettingsError(
                f"threshold is {self.threshold!r} and recall is {self.recall!r}: use numbers"
            ) from None
        if not 0 < self.threshold <= 1:
            raise SettingsError(
                f"threshold is {self.threshold}: use a Jaccard similarity above 0 and up to 1"
            )
        if not 0 < self.recall < 1:
            raise SettingsError(f"recall is {self.recall}: use a share between 0 and 1, both open")
        if not re.fullmatch(r"(word|char):[1-9]\d{0,2}", str(self.shingle)):
            raise SettingsError(
                f"shingle is {self.shingle!r}: use word:N or char:N with N from 1 to 999, "
                "for instance word:5 or char:13"
            )
        _whole("num_perm", self.num_perm, 1, 4096)
        _whole("seed", self.seed, 0, 2**32 - 1)
        _one_of("cluster", self.cluster, CLUSTERS)
        _one_of("exact", self.exact, EXACTS)
        _one_of("on_bad_text", self.on_bad_text, BAD_TEXTS)
        if not isinstance(self.near, bool):
            raise SettingsError(f"near is {self.near!r}: use True or False")
        policy, _, column = str(self.keep).partition(":")
        if not (self.keep in KEEPS or (policy in KEEP_COLUMNS and column)):
            raise SettingsError(
                f"keep is {self.keep!r}: use first, longest, shortest, max:COLUMN or min:COLUMN"
            )
        if (self.bands is None) != (self.rows is None):
            raise SettingsError("bands and rows go together: give both or neither")
        if self.bands is not None and self.rows is not None:
            _whole("bands", self.bands, 1, 4096)
            _whole("rows", self.rows, 1, 4096)
            if self.bands * self.rows > self.num_perm:
                raise SettingsError(
                    f"{self.bands} bands x {self.rows} rows need {self.bands * self.rows} "
                    f"permutations and num_perm is {self.num_perm}: raise num_perm or lower one"
                )

    @property
    def chars(self) -> bool:
        """Whether shingles are of code points rather than of tokens."""
        return self.shingle.startswith("char:")

    @property
    def shingle_unit(self) -> str:
        """What shingles are made of: "word" or "char"."""
        return self.shingle.partition(":")[0]

    @property
    def shingle_size(self) -> int:
        """Tokens, or code points, in a shingle."""
        return int(self.shingle.partition(":")[2])

    @property
    def score_column(self) -> str | None:
        """The column that the keep policy reads, if any."""
        policy, _, column = self.keep.partition(":")
        return column if policy in KEEP_COLUMNS else None

    @property
    def roles(self) -> dict[str, str]:
        """The columns to read by what they are for: "text", then "id" and "score" if any."""
        roles = {"text": self.text, "id": self.id, "score": self.score_column}
        return {role: name for role, name in roles.items() if name is not None}

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The settings' names in order."""
        return tuple(field.name for field in fields(cls))


MEMORY_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MEMORY_UNITS |= {f"{unit}I": 1024**i for i, unit in enumerate("KMGT", start=1)}
SMALLEST_MEMORY = 500_000_000
"""Bytes: the interpreter with its libraries takes half of this."""


def parse_bytes(text: str | int) -> int:
    """Bytes of a size like 4GB (10**9), 512MiB (2**20) or a plain number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", str(text).upper())
    if match is None or match[2] not in MEMORY_UNITS:
        raise SettingsError(f"{text!r} is not a size: write it like 4GB or 512MiB")
    return int(float(match[1]) * MEMORY_UNITS[match[2]])


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    threads: tasks at a time in a process, which may use `memory` bytes. slots: tasks at a time in
    all processes together; the local engine has one process.
    """

    threads: int
    memory: int
    slots: int

    @classmethod
    def of(
        cls, threads: int | None = None, memory: str | int = "4GB", slots: int | None = None
    ) -> Resources:
        """Check and fill in: as many threads as this process may use cores, unless said."""
        if threads is None:
            threads = (
                len(os.sched_getaffinity(0))
                if hasattr(os, "sched_getaffinity")
                else (os.cpu_count() or 1)
            )
        _whole("workers", threads, 1, 1024)
        size = parse_bytes(memory)
        if size < SMALLEST_MEMORY:
            raise SettingsError(
                f"memory is {memory}: at least {SMALLEST_MEMORY // 10**6}MB are needed"
            )
        return cls(threads, size, slots or threads)
