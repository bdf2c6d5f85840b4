"""fastminhash: signatures of word 5-grams in C; bands are the caller's, here one dict for each.

https://github.com/starcatmeow/fastminhash. It takes tokens as numbers, and shorter texts than the
5-gram it cannot sign: these are kept unless their words are equal to those of a kept row.
"""

from __future__ import annotations

import random
import zlib
from functools import partial

from minhash import minhash_all
from runner import NGRAM, arguments, in_processes, optimal_bands, words, write_kept

MOST = 2**31 - 1
MERSENNE = 2**31 - 1


def sign(coefficients: list[tuple[int, int]], texts: list[str]) -> list[tuple[int, ...] | str]:
    """The signature of each text; its words where they are fewer than a shingle has."""
    made: list[tuple[int, ...] | str] = []
    for text in texts:
        tokens = words(text)
        if len(tokens) < NGRAM:
            made.append(" ".join(tokens))
        else:
            numbers = [zlib.crc32(token.encode()) & MOST for token in tokens]
            made.append(tuple(minhash_all(NGRAM, MOST, MERSENNE, coefficients, numbers)))
    return made


def main() -> None:
    """Keep a row that shares no bucket with a kept one."""
    settings, output, files = arguments()
    bands, rows = settings.get("bands"), settings.get("rows")
    if not bands:
        bands, rows = optimal_bands(settings["threshold"], settings["num_perm"])
    generator = random.Random(42)
    coefficients = [
        (generator.randrange(1, MERSENNE), generator.randrange(MERSENNE))
        for _ in range(bands * rows)
    ]
    tables: list[set[tuple[int, ...]]] = [set() for _ in range(bands)]
    short: set[str] = set()
    kept = []
    for first, signatures in in_processes(partial(sign, coefficients), files, settings["workers"]):
        for row, signature in enumerate(signatures, first):
            if isinstance(signature, str):
                if signature and signature in short:
                    continue
                short.add(signature)
            else:
                keys = [signature[i * rows : (i + 1) * rows] for i in range(bands)]
                if any(key in table for key, table in zip(keys, tables, strict=True)):
                    continue
                for key, table in zip(keys, tables, strict=True):
                    table.add(key)
            kept.append(row)
    write_kept(output, kept)


if __name__ == "__main__":
    main()
