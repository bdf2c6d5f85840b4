"""Thresholds as they are given: a range with a step, or a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dedupe.errors import SettingsError

MOST = 100
"""Thresholds of one sweep."""
DIGITS = 10
"""Decimals of a threshold in a range, as steps of binary fractions do not add up."""


def thresholds_of(given: str | Sequence[float]) -> list[float]:
    """The thresholds of a sweep, ascending.

    given: "0.6:0.95:0.05", the first, the last and the step; "0.6,0.7", or a list of numbers.
    Raises SettingsError where they are none.
    """
    try:
        found = _range(given) if isinstance(given, str) and ":" in given else _list(given)
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(
            f"thresholds are {given!r}: use FIRST:LAST:STEP like 0.6:0.95:0.05, or a list like "
            "0.6,0.7,0.8"
        ) from None
    wrong = [one for one in found if not 0 < one <= 1]
    if wrong:
        raise SettingsError(
            f"a threshold is {wrong[0]:g}: use Jaccard similarities above 0 and up to 1"
        )
    if len(found) < 2:
        raise SettingsError("there is one threshold: a sweep has two at least; else use run")
    return found


def _range(given: str) -> list[float]:
    first, last, step = map(float, given.split(":"))
    if not (step > 0 and last >= first):
        raise ValueError
    count = int((last - first) / step + 1e-6) + 1
    _check(count)
    return sorted({round(first + number * step, DIGITS) for number in range(count)})


def _list(given: Any) -> list[float]:
    parts = given.split(",") if isinstance(given, str) else list(given)
    found = sorted({float(one) for one in parts})
    _check(len(found))
    return found


def _check(count: int) -> None:
    if count > MOST:
        raise SettingsError(f"there are {count:,} thresholds: use {MOST} at most")
