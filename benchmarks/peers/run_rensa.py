"""rensa, by three of its paths.

- `lsh`: RMinHashLSH over sketches of all shingles; a row is dropped when a candidate among the
  kept has an estimated similarity at the threshold (https://pypi.org/project/rensa/0.3.0/).
- `streaming`: RMinHashDeduplicator (https://pypi.org/project/rensa/), which does both.
- `rho`: the path of its headline, as its benchmark calls it
  (https://github.com/beowolx/rensa/blob/main/benchmarks/full_benchmark.py): a sketch of sampled
  shingles, and every row that shares a bucket with another is flagged and counted as removed, the
  first one too.
"""

from __future__ import annotations

from array import array
from functools import partial
from itertools import accumulate, chain
from typing import Any

from rensa import RMinHash, RMinHashDeduplicator, RMinHashLSH
from runner import arguments, in_processes, shingles, write_kept

SEED = 42


def sign(num_perm: int, texts: list[str]) -> list[RMinHash | None]:
    """A sketch of each text; None for one without words."""
    sets = [shingles(text) for text in texts]
    made = iter(RMinHash.from_token_sets([one for one in sets if one], num_perm, SEED))
    return [next(made) if found else None for found in sets]


def lsh(settings: dict[str, Any], files: list[str]) -> list[int]:
    """Keep a row when no candidate among the kept looks similar."""
    num_perm, threshold = settings["num_perm"], settings["threshold"]
    index = RMinHashLSH(threshold=threshold, num_perm=num_perm, num_bands=settings["bands"])
    kept: dict[int, RMinHash | None] = {}
    for first, sketches in in_processes(partial(sign, num_perm), files, settings["workers"]):
        for row, sketch in enumerate(sketches, first):
            if sketch is not None:
                if any(sketch.jaccard(kept[other]) >= threshold for other in index.query(sketch)):
                    continue
                index.insert(row, sketch)
            kept[row] = sketch
    return list(kept)


def streaming(settings: dict[str, Any], files: list[str]) -> list[int]:
    """Keep what the deduplicator keeps."""
    num_perm = settings["num_perm"]
    deduplicator = RMinHashDeduplicator(
        threshold=settings["threshold"],
        num_perm=num_perm,
        use_lsh=True,
        num_bands=settings.get("bands"),
        seed=SEED,
    )
    kept = []
    for first, sketches in in_processes(partial(sign, num_perm), files, settings["workers"]):
        worded = [(str(row), one) for row, one in enumerate(sketches, first) if one is not None]
        flags = iter(deduplicator.add_pairs(worded))
        kept += [row for row, one in enumerate(sketches, first) if one is None or next(flags)]
    return kept


def hashes(texts: list[str]) -> tuple[array[int], list[int]]:
    """Token hashes of the texts, one after the other, and how many each has."""
    found = RMinHash.hash_token_sets([shingles(text) for text in texts])
    return array("Q", chain.from_iterable(found)), [len(one) for one in found]


def rho(settings: dict[str, Any], files: list[str]) -> list[int]:
    """Keep what the one-shot index does not flag.

    Tokens are hashed in several processes: all of a corpus at a time take too much memory as text.
    """
    flat, sizes = array("Q"), []
    for _, (some, counts) in in_processes(hashes, files, settings["workers"]):
        flat += some
        sizes += counts
    num_perm = settings["num_perm"]
    matrix = RMinHash.digest_matrix_from_flat_token_hashes_rho(
        flat,
        array("Q", accumulate(sizes, initial=0)),
        num_perm=num_perm,
        seed=SEED,
        probes=settings["probes"],
    )
    index = RMinHashLSH(
        threshold=settings["threshold"], num_perm=num_perm, num_bands=settings["bands"]
    )
    flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    return [row for row, flag in enumerate(flags) if not (flag and sizes[row])]


def main() -> None:
    """Run one of the paths."""
    settings, output, files = arguments()
    paths = {"lsh": lsh, "streaming": streaming, "rho": rho}
    write_kept(output, paths[settings["path"]](settings, files))


if __name__ == "__main__":
    main()
