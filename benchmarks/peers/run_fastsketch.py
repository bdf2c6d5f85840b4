"""FastSketchLSH: sketches of all shingles, banded; a row with an earlier candidate is dropped.

After its quick start (https://github.com/pzcddm/FastSketchLSH), which ends at flags that mark every
member of a group; the candidates are asked for instead, so that the first one stays.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from FastSketchLSH import LSH, FastSimilaritySketch
from runner import arguments, in_processes, shingles, write_kept


def sign(size: int, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sketches of the texts with words, and which these are."""
    sets = [shingles(text) for text in texts]
    worded = np.array([bool(found) for found in sets])
    sketcher = FastSimilaritySketch(size=size, seed=42)
    return sketcher.batch([found for found in sets if found], num_threads=1), worded


def main() -> None:
    """Keep a row without candidates before it."""
    settings, output, files = arguments()
    size = settings["num_perm"]
    made = [part for _, part in in_processes(partial(sign, size), files, settings["workers"])]
    matrix = np.concatenate([sketches for sketches, _ in made])
    worded = np.concatenate([which for _, which in made])
    lsh = LSH(num_perm=size, num_bands=settings["bands"], num_threads=settings["workers"])
    lsh.insert(matrix)
    candidates, starts = lsh.query(matrix, format="csr")
    earliest = np.minimum.reduceat(candidates, starts[:-1].astype(np.int64))
    kept = ~worded
    kept[worded] = earliest == np.arange(len(matrix))
    write_kept(output, np.flatnonzero(kept))


if __name__ == "__main__":
    main()
