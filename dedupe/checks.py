"""Checks of what stages are handed: bounds of numbers from files, and sense of decisions.

Kernels and numpy's fancy indexing read and write wherever they are pointed at; a damaged file must
end in an error instead. Each check takes about a nanosecond for each number, or less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dedupe.arrays import Array
from dedupe.errors import IntegrityError
from dedupe.schema import EXACT, EXTRA, NEAR, REFERENCE, REPRESENTATIVE


def check_range(values: Array, stop: int, complaint: str) -> None:
    """Raise IntegrityError with this complaint unless all integers are in [0, stop).

    values: integers of any width, signed or not. stop: the number of things that they index.
    complaint: names the stage and what is out of range.
    """
    unsigned = values.view(f"u{values.itemsize}")  # a negative number is larger than any stop, then
    if len(values) and int(unsigned.max()) >= stop:
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


def check_decisions(
    subject: str,
    kept: Array,
    reason: Array,
    jaccard: Array,
    of_fields: Sequence[Array],
    least_jaccard: float,
) -> None:
    """Raise IntegrityError unless reasons and similarities say what became of each row.

    subject: how the complaint begins, such as "verify made". kept: bool, whether each row is its
    own witness. reason: uint8, see `schema.REASONS`. jaccard: float64, NaN for a kept row.
    of_fields: the same of each field, of which `jaccard` is the least; none where there is one.
    least_jaccard: that of a row which is dropped as a near-duplicate; it is 1 for an exact copy.
    """
    known = (reason <= NEAR) | (reason == REFERENCE) | (reason == EXTRA)
    check_all(known, f"{subject} a decision for no known reason")
    fits_kept = kept == (reason <= REPRESENTATIVE)
    check_all(fits_kept, f"{subject} a decision whose reason does not fit its witness")
    least_of = np.full(EXTRA + 1, np.nan)
    least_of[[EXACT, NEAR, REFERENCE, EXTRA]] = 1.0, least_jaccard, least_jaccard, least_jaccard
    least = least_of[reason]
    for similarity in (jaccard, *of_fields):
        similar = (similarity >= least) & (similarity <= 1.0)
        check_all(
            np.where(kept, np.isnan(similarity), similar),
            f"{subject} a decision whose similarity does not fit its reason",
        )
    if of_fields:
        check_all(
            kept | (np.minimum.reduce(of_fields) == jaccard),
            f"{subject} a decision whose similarity is not the least of its fields",
        )
