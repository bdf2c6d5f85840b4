"""datasketch: MinHashLSH, a row is kept when the index holds no candidate for it.

The documented use (https://ekzhu.com/datasketch/lsh.html). Signatures in several processes, the
index in one. `hash` is `sha1`, the default, or `xxhash`, which the documentation advises for speed.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from datasketch import MinHash, MinHashLSH
from runner import arguments, in_processes, shingles, write_kept


def hash_function(name: str):
    """None for datasketch's own, SHA-1."""
    if name == "sha1":
        return None
    from xxhash import xxh32_intdigest

    return xxh32_intdigest


def sign(num_perm: int, name: str, texts: list[str]) -> list[np.ndarray | None]:
    """Hash values of each text; None for one without words, whose MinHash says nothing."""
    sets = [shingles(text) for text in texts]
    made = MinHash.generator(
        ([one.encode() for one in found] for found in sets if found),
        num_perm=num_perm,
        hashfunc=hash_function(name),
    )
    return [next(made).hashvalues if found else None for found in sets]


def main() -> None:
    """Keep the first of each."""
    settings, output, files = arguments()
    num_perm, name = settings["num_perm"], settings["hash"]
    bands = settings.get("bands")
    params = (bands, settings["rows"]) if bands else None
    lsh = MinHashLSH(settings["threshold"], num_perm, params=params)
    kept = []
    work = partial(sign, num_perm, name)
    like = MinHash(num_perm=num_perm)
    for first, signatures in in_processes(work, files, settings["workers"]):
        for row, values in enumerate(signatures, first):
            if values is not None:
                minhash = MinHash(
                    num_perm=num_perm,
                    hashvalues=values,
                    permutations=like.permutations,
                    scheme=like.scheme,
                )
                if lsh.query(minhash):
                    continue
                lsh.insert(row, minhash)
            kept.append(row)
    write_kept(output, kept)


if __name__ == "__main__":
    main()
