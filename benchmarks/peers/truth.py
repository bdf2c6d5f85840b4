"""What a deduplication kept, held against every true pair of the corpus.

A true pair are two rows whose exact Jaccard similarity is at or above the threshold; all of them
come from an exact join (`exact_join.py`) of the shingle sets by this project, word 5-grams. For a
few ten thousand rows.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1]))
from exact_join import exact_pairs
from recall import read_sets

BAND = 0.85
"""Pairs from the threshold up to here are the hard ones."""


@dataclass(frozen=True)
class Truth:
    """True pairs `left[i] < right[i]` of a corpus, and which of its rows have no shingle."""

    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    jaccard: npt.NDArray[np.float64]
    empty: npt.NDArray[np.bool_]


def find_truth(files: list[Path], threshold: float) -> Truth:
    """All true pairs of a corpus of Parquet files with a column `text`."""
    sets = read_sets(files, {"text": "text", "threshold": threshold})
    left, right, inter, union = exact_pairs(sets.offsets, sets.hashes, threshold)
    return Truth(left, right, inter / union, np.diff(sets.offsets) == 0)


def judge(truth: Truth, kept: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Count what was missed and what was dropped without reason.

    A pair is resolved when not both of its rows were kept. A row is wrongly dropped when no kept
    row is a true partner of it; rows without a shingle, which have no partner, are counted apart.
    """
    keep = np.zeros(len(truth.empty), np.bool_)
    keep[kept] = True
    both = keep[truth.left] & keep[truth.right]
    hard = truth.jaccard < BAND
    reason = np.zeros(len(keep), np.bool_)
    reason[truth.left[keep[truth.right]]] = True
    reason[truth.right[keep[truth.left]]] = True
    dropped = ~keep & ~truth.empty
    wrongly = int((dropped & ~reason).sum())
    return {
        "pairs": len(both),
        "both_kept": int(both.sum()),
        "recall": _share(~both),
        "hard_pairs": int(hard.sum()),
        "hard_recall": _share(~both[hard]),
        "dropped": int(dropped.sum()),
        "dropped_empty": int((~keep & truth.empty).sum()),
        "wrongly_dropped": wrongly,
        "wrongly_dropped_share": _share((~reason)[dropped]),
    }


def _share(which: npt.NDArray[np.bool_]) -> float | None:
    return float(which.mean()) if len(which) else None
