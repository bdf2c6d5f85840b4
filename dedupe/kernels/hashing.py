"""Constants of multiplicative hashing, which spreads numbers over the slots of tables."""

from __future__ import annotations

import numpy as np

GOLDEN_RATIO = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio, and odd: the upper bits of its multiples are spread evenly
(Knuth 1973, The Art of Computer Programming, volume 3, section 6.4)."""
SECOND_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
"""Another odd multiplier, for a second step or a second number in one hash."""
ZERO = np.uint64(0)
ONE = np.uint64(1)
