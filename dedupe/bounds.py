"""Checks of numbers that come from files, before anything is indexed by them.

Kernels and numpy's fancy indexing read and write wherever they are pointed at; a damaged file must
end in an error instead. Each check passes over an array once or twice, which takes less than a
nanosecond for each number.
"""

from __future__ import annotations

import numpy as np

from dedupe.arrays import Array
from dedupe.errors import IntegrityError


def check_range(values: Array, stop: int, complaint: str) -> None:
    """Raise IntegrityError with this complaint unless all integers are in [0, stop).

    values: integers of any width, signed or not. stop: the number of things that they index.
    complaint: names the stage and what is out of range.
    """
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < stop:
        raise IntegrityError(complaint)


def check_increasing(values: Array, complaint: str, *, strictly: bool) -> None:
    """Raise IntegrityError with this complaint where a number is less than the one before it.

    values: integers or floats, one-dimensional. complaint: names the stage and what is out of
    order. strictly: equal neighbours are an error, too.
    """
    later, earlier = values[1:], values[:-1]
    if not (later > earlier if strictly else later >= earlier).all():
        raise IntegrityError(complaint)


def check_offsets(offsets: Array, values: int, complaint: str) -> None:
    """Raise IntegrityError with this complaint unless offsets delimit lists within `values` values.

    offsets: integers, one more than there are lists; the first list begins at 0. values: length of
    the array that they index. complaint: names the stage and the lists.
    """
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] > values:
        raise IntegrityError(complaint)
    check_increasing(offsets, complaint, strictly=False)


def check_same_length(complaint: str, *arrays: Array) -> None:
    """Raise IntegrityError with this complaint unless all arrays have the same length."""
    if len({len(array) for array in arrays}) > 1:
        raise IntegrityError(complaint)


def check_all(holds: Array | np.bool_, complaint: str) -> None:
    """Raise IntegrityError with this complaint unless a condition holds everywhere."""
    if not np.all(holds):
        raise IntegrityError(complaint)
