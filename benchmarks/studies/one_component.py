"""One large component, verified in process: through the index alone, and as a run does it.

Rows are words, as numbers; shingles of five of them are hashed. Everything is made in blocks.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from dedupe.kernels.deviations import BY_COST, NEVER
from dedupe.kernels.verify import verify_components

Words = npt.NDArray[np.int64]
Figures = dict[str, Any]
SHINGLE, BLOCK, WORDS = 5, 20_000, 10**9
MIXER = np.uint64(0x9E3779B97F4A7C15)
# Rows up to which the index alone is measured: with a million it takes minutes.
MOST_BY_INDEX = 160_000


def edited(bases: Words, edits: tuple[int, int], rows: int, random: np.random.Generator) -> Words:
    """Rows that are one of some texts, each with so many words of its own, anywhere."""
    words = bases[random.integers(0, len(bases), rows)]
    count = random.integers(edits[0], edits[1] + 1, rows)
    for edit in range(edits[1]):
        row = np.flatnonzero(count > edit)
        places = random.integers(0, words.shape[1], len(row))
        words[row, places] = random.integers(0, WORDS, len(row))
    return words


def star(length: int, least: int, most: int, random: np.random.Generator) -> Callable[[int], Words]:
    """One text, of which each row has changed some words."""
    bases = random.integers(0, WORDS, (1, length))
    return partial(edited, bases, (least, most), random=random)


def several_bases(length: int, random: np.random.Generator) -> Callable[[int], Words]:
    """Twenty texts that share a half, and each row one of them with three words changed."""
    bases = np.tile(random.integers(0, WORDS, length), (20, 1))
    bases[:, length // 2 :] = random.integers(0, WORDS, (20, length - length // 2))
    return partial(edited, bases, (3, 3), random=random)


def component(make: Callable[..., Words], rows: int) -> tuple[Any, ...]:
    """One component of so many rows, as `verify_components` takes it."""
    sizes, hashes = [np.zeros(1, np.int64)], []
    for start in range(0, rows, BLOCK):
        words = make(rows=min(BLOCK, rows - start)).astype(np.uint64)
        places = words.shape[1] - SHINGLE + 1
        mixed = np.zeros((len(words), places), np.uint64)
        for offset in range(SHINGLE):
            mixed = (mixed ^ words[:, offset : offset + places]) * MIXER
            mixed ^= mixed >> np.uint64(29)
        mixed.sort(axis=1)
        is_new = np.ones(mixed.shape, np.bool_)
        is_new[:, 1:] = mixed[:, 1:] != mixed[:, :-1]
        sizes.append(is_new.sum(axis=1))
        hashes.append(mixed[is_new])
    numbers = np.arange(rows, dtype=np.int64)
    offsets = np.cumsum(np.concatenate(sizes))
    return np.array([0, rows]), numbers, 1, offsets, np.concatenate(hashes), 0.8, False


SHAPES: dict[str, tuple[str, Callable[[np.random.Generator], Callable[..., Words]], list[int]]] = {
    "star": ("120 words, 3 changed", partial(star, 120, 3, 3), [40_000, 160_000, 1_000_000]),
    "long": ("400 words, 10 changed", partial(star, 400, 10, 10), [40_000]),
    "mixed": ("300 words, 3 to 14 changed", partial(star, 300, 3, 14), [40_000]),
    "bases": ("20 texts, 120 words, 3 changed", partial(several_bases, 120), [40_000, 160_000]),
}


def measured(given: tuple[Any, ...], runs: int, ways: Iterable[str]) -> Figures:
    """CPU seconds of each way, medians of runs in turns, and least wall time; all find the same."""
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    found, figures = None, {}
    with ThreadPoolExecutor(2) as pool:
        for _ in range(runs):
            for way in taken:
                spread = pool.map if way == "threads" else map
                scan = NEVER if way == "index" else BY_COST
                cpu, wall = time.process_time(), time.perf_counter()
                witness, jaccard, stats = verify_components(*given, scan=scan, spread=spread)
                taken[way].append((time.process_time() - cpu, time.perf_counter() - wall))
                if found and not (
                    np.array_equal(found[0], witness)
                    and np.array_equal(found[1], jaccard, equal_nan=True)
                ):
                    raise SystemExit(f"{way} finds something else")
                found = witness, jaccard
                figures[f"{way}_stats"] = stats._asdict()
                print(way, taken[way][-1], stats, flush=True)
    for way, times in taken.items():
        cpu_all, wall_all = zip(*times, strict=True)
        figures[f"{way}_cpu_seconds"] = median(cpu_all)
        figures[f"{way}_wall_seconds"] = min(wall_all)
    return figures


def one_component(known: argparse.Namespace, folder: object) -> Figures:
    """Verification of one component: by the index alone, as in a run, and that on two threads."""
    lines = []
    for what, make, sizes in SHAPES.values():
        for rows in known.sizes or sizes:
            given = component(make(np.random.default_rng(1)), rows)
            ways = ["run", "threads"] if rows > MOST_BY_INDEX else ["index", "run", "threads"]
            measured(given, 1, ["threads"])  # compiles what it needs
            line = measured(given, known.runs, ways)
            lines.append({"what": what, "rows": rows, **line})
    return {"lines": lines}
