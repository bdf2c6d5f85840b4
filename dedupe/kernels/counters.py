"""How many rows or groups hold each hash, about, in one byte for each of some counters.

The counts decide in which order filters look at hashes, never what is found.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner
from dedupe.kernels.hashing import GOLDEN_RATIO, ONE, SECOND_MULTIPLIER, ZERO
from dedupe.kernels.intrinsics import prefetch

EXACT_COUNTS = np.uint8(32)
"""Counters are exact up to here and grow with the logarithm beyond."""
FULL = np.uint8(255)
AT_A_TIME = 1 << 8
"""Counters that are brought from memory at a time: as many cache lines as the first cache holds
easily. Where counters are many, this halves the time, or better."""


@inner
def count_hashes(counters, bits, hashes, begin, end, state):
    """Count the holders of each of hashes[begin:end], one more; returns the next `state`.

    counters: uint8[2**bits], written: exact up to EXACT_COUNTS, then eight steps for each doubling.
    bits: int64. hashes: uint64. begin, end: int64. state: uint64, of the random numbers that decide
    whether a large count grows. Hashes that share a counter are counted together. Source: Morris
    1978, Counting large numbers of events in small registers.
    """
    shift = np.uint64(64 - bits)
    while begin < end:
        stop = min(begin + AT_A_TIME, end)
        ask_for(counters, shift, hashes, begin, stop)
        for i in range(begin, stop):
            slot = (hashes[i] * GOLDEN_RATIO) >> shift
            count = counters[slot]
            if count < EXACT_COUNTS:
                counters[slot] = count + np.uint8(1)
            elif count < FULL:
                state = state * SECOND_MULTIPLIER + ONE
                doublings = np.uint64((count - EXACT_COUNTS) >> np.uint8(3)) + ONE
                if state >> (np.uint64(64) - doublings) == ZERO:
                    counters[slot] = count + np.uint8(1)
        begin = stop
    return state


@inner
def ask_for(counters, shift, hashes, begin, end):
    """Have the counters of some hashes brought from memory, side by side.

    counters: uint8. shift: uint64, brings a multiple of a hash to the number of its counter.
    hashes: uint64. begin, end: int64, at most `AT_A_TIME` apart.
    """
    for i in range(begin, end):
        prefetch(counters, np.int64((hashes[i] * GOLDEN_RATIO) >> shift))


@inner
def holders(counter):
    """About how many holders a hash has with this counter of `count_hashes`, int64."""
    if counter < EXACT_COUNTS:
        return np.int64(counter)
    steps = np.int64(counter) - np.int64(EXACT_COUNTS)
    return (steps % 8 + 8) * np.int64(EXACT_COUNTS) // 8 << steps // 8


@inner
def counter_of(held):
    """About what a counter of `count_hashes` says after so many holders, uint8.

    held: int64.
    """
    exact = np.int64(EXACT_COUNTS)
    if held < exact:
        return np.uint8(held)
    doublings = np.int64(0)
    while held >> doublings >= 2 * exact:
        doublings += 1
    eighths = (8 * held >> doublings) // exact - 8
    return np.uint8(min(exact + 8 * doublings + eighths, np.int64(FULL)))
