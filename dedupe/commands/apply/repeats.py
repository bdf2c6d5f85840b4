"""Upsampling: how often apply writes a kept row, by the number of its copies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from dedupe.arrays import Array
from dedupe.errors import SettingsError

MOST_TIMES = 1000
"""Times that a row is written, at most."""

ROWS_AT_A_TIME = 1 << 16
BYTES_AT_A_TIME = 32 << 20
"""Of repeated rows, about: what is made of them before it is written."""

Steps = tuple[tuple[int, int], ...]
"""(copies, times): a row of so many copies or more is written so often, up to the next step."""


def steps_of(given: str | Mapping[int, int] | None) -> Steps:
    """Steps in the order of copies; none where a row is written once.

    given: as "1:1,2:2,5:3" or {1: 1, 2: 2, 5: 3}. Raises SettingsError for anything else, and where
    there is no step for rows that stand alone.
    """
    if given is None:
        return ()
    pairs: list[tuple[int, int]]
    if isinstance(given, str) and re.fullmatch(r"\d{1,18}:\d{1,18}(,\d{1,18}:\d{1,18})*", given):
        pairs = [
            (int(one), int(two)) for one, _, two in (p.partition(":") for p in given.split(","))
        ]
    elif isinstance(given, Mapping) and all(type(n) is int for pair in given.items() for n in pair):
        pairs = list(given.items())
    else:
        pairs = []
    copies = [one for one, _ in pairs]
    in_order = copies[:1] == [1] and all(a < b for a, b in pairwise(copies))
    if not in_order or not all(1 <= times <= MOST_TIMES for _, times in pairs):
        raise SettingsError(
            f"repeat is {given!r}: use COPIES:TIMES,… with more copies in each step, the first of "
            f"which is 1, and from 1 to {MOST_TIMES} times, like 1:1,2:2,5:3,100:5"
        )
    return tuple(pairs)


def times_of(steps: Steps, keep: Array, copies: Array) -> Array:
    """How often each row is written: int64[rows], 0 for one that is dropped.

    steps: see `steps_of`. keep: bool, of each row. copies: int64, of each row that is kept.
    """
    if not steps:
        return keep.astype(np.int64)
    least, times = np.array(steps).T
    return np.where(keep, times[np.searchsorted(least, copies, side="right") - 1], 0)


def cut_short(times: Array, skip: int, most: int | None) -> Array:
    """The same for a file that goes on where another one ends, and has room for so many rows.

    times: int64, of each row. skip: how often the first row that is written stands in files before
    it. most: rows that have room, None for any number.
    """
    times = times.copy()
    if skip:
        times[np.flatnonzero(times)[:1]] -= skip
    if most is not None:
        before = np.cumsum(times) - times
        times = np.minimum(times, np.maximum(most - before, 0))
    return times


def rounds(times: Array, size: int) -> Iterator[Array]:
    """Numbers of rows, each as often as it is written, one after the other; some at a time.

    times: int64, of each row. size: bytes of all of them.
    """
    of_each = max(BYTES_AT_A_TIME // max(size, 1), 1)
    ends = np.cumsum(times)
    at = 0
    while at < len(times):
        before = int(ends[at - 1]) if at else 0
        stop = max(int(np.searchsorted(ends, before + ROWS_AT_A_TIME, side="right")), at + 1)
        here = times[at:stop]
        rows = np.repeat(np.arange(at, stop), here)
        nth = np.arange(len(rows)) - np.repeat(np.cumsum(here) - here, here)
        yield from np.split(rows, np.flatnonzero((nth > 0) & (nth % of_each == 0)))
        at = stop
