"""Scratch buffers that grow."""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner


@inner
def grown(array, size):
    """Copy with room for `size` values; slice assignment would take numba seconds to compile."""
    longer = np.empty(size, array.dtype)
    for i in range(array.size):
        longer[i] = array[i]
    return longer
