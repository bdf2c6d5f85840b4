"""What was asked of a split: shares, columns, seed; and how many rows of each stratum that is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

from dedupe.errors import SettingsError
from dedupe.schema import SPLITS

TRAIN, TEST, VALIDATION, EXCLUDED = range(len(SPLITS))

HELD_OUT = (TEST, VALIDATION)
"""The splits that are filled, in their order; what is left is for training."""

LEAST_STRATUM = 20
"""Rows of a stratum; smaller ones are one together."""

MOST_STRATA = 10_000
"""Strata that are counted."""

MOST_LENGTHS = 100
"""Strata by length that can be asked for."""

LARGE = 10
"""A cluster of more than the test's rows divided by this is for training."""


def share_of(name: str, given: str | float) -> Fraction:
    """A share that was given as 10%, 0.1 or "0.1". Raises SettingsError for anything else.

    name: what it is the share of, for the message. given: what the user wrote.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", str(given))
    share = Fraction(match[1]) / (100 if match[2] else 1) if match else Fraction(2)
    if isinstance(given, bool) or not 0 <= share < 1:
        raise SettingsError(f"{name} is {given!r}: use a share of the rows like 10% or 0.1")
    return share


@dataclass(frozen=True)
class Wanted:
    """What decides a split, besides the corpus and what is compared of it.

    test, validation: the share of rows that each gets, as 10% or 0.1. group: columns of which
    equal values link rows. stratify: columns of whose values each split has its share. lengths:
    ranges of length, of equally many rows, of which each split has its share; 0 for none. seed:
    other ones give other splits. with_duplicates: of a finished run, whether rows that it dropped
    go to splits, too.

    Raises SettingsError, which says what to change.
    """

    test: str | float = "10%"
    validation: str | float = "0%"
    group: tuple[str, ...] = ()
    stratify: tuple[str, ...] = ()
    lengths: int = 0
    seed: int = 1
    with_duplicates: bool = False

    def __post_init__(self) -> None:
        shares = [share_of(name, getattr(self, name)) for name in ("test", "validation")]
        if not 0 < sum(shares) < 1:
            raise SettingsError(
                f"test is {self.test} and validation {self.validation}: together they must leave "
                "rows to train on, and have some themselves"
            )
        for name in ("group", "stratify"):
            object.__setattr__(self, name, each_column(name, getattr(self, name)))
        for name, most in (("lengths", MOST_LENGTHS), ("seed", 2**63 - 1)):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= most:
                raise SettingsError(f"{name} is {value!r}: use a whole number from 0 to {most}")

    @property
    def shares(self) -> list[Fraction]:
        """The share of each of `HELD_OUT`."""
        return [share_of("test", self.test), share_of("validation", self.validation)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read: those that link rows, then those that stratify them."""
        return (*self.group, *self.stratify)

    @property
    def stratified(self) -> bool:
        """Whether there is more than one stratum."""
        return bool(self.stratify or self.lengths)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON; equal ones for equal shares."""
        shares = dict(zip(("test", "validation"), map(float, self.shares), strict=True))
        columns = {"group": list(self.group), "stratify": list(self.stratify)}
        return {**asdict(self), **shares, **columns}


def each_column(name: str, given: Any) -> tuple[str, ...]:
    """One column or several, each once. Raises SettingsError for anything else.

    name: what they are for, for the message. given: the name of a column, or a list of names.
    """
    listed = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(listed, list | tuple) or not all(isinstance(o, str) and o for o in listed):
        raise SettingsError(f"{name} is {given!r}: use the name of a column, or a list of names")
    return tuple(dict.fromkeys(listed))


def rows_wanted(share: Fraction, rows: int) -> int:
    """How many rows a share is, rounded half up. share: of the rows. rows: of the corpus."""
    return int(share * rows + Fraction(1, 2))


def quotas(wanted: int, rows: Sequence[int]) -> list[int]:
    """Rows of each stratum that a split ought to have: in proportion, by largest remainder.

    wanted: rows of the split. rows: of each stratum, of which none gives more than it has. Of equal
    remainders the earlier stratum is first.
    """
    total = sum(rows)
    wanted = min(wanted, total)
    found = [wanted * count // total if total else 0 for count in rows]
    order = sorted(range(len(rows)), key=lambda one: (-(wanted * rows[one] % max(total, 1)), one))
    for one in order[: wanted - sum(found)]:
        found[one] += 1
    return found


def merged(rows: Mapping[int, int]) -> tuple[dict[int, int], list[int]]:
    """Strata without the small ones, of which one is made.

    rows: of each stratum, by its number. Returns the place of each among those that are left, and
    the numbers of those that were small; they share the last place.
    """
    small = [number for number in sorted(rows) if rows[number] < LEAST_STRATUM]
    large = [number for number in sorted(rows) if rows[number] >= LEAST_STRATUM]
    if len(small) < 2:
        return {number: place for place, number in enumerate(sorted(rows))}, []
    places = {number: place for place, number in enumerate(large)}
    return {**places, **dict.fromkeys(small, len(large))}, small
