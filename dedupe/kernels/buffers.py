"""Scratch buffers that grow."""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner


@inner
def grown(array, size):
    """A copy of a vector with room for `size` values; the new ones are undefined.

    Slice assignment would take numba seconds to compile.
    """
    longer = np.empty(size, array.dtype)
    for i in range(array.size):
        longer[i] = array[i]
    return longer


@inner
def grown_rows(array, rows):
    """A copy of a matrix with room for so many rows; the new ones are undefined."""
    longer = np.empty((rows, array.shape[1]), array.dtype)
    for i in range(array.shape[0]):
        for column in range(array.shape[1]):
            longer[i, column] = array[i, column]
    return longer
