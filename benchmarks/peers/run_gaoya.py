"""gaoya: MinHashStringIndex with its own analyzer; a row with an earlier similar row is dropped.

The use of its example, which inserts all documents and queries them in bulk, on all cores
(https://github.com/serega/gaoya/blob/master/py-gaoya/examples/deduplication_scholarly_articles_gaoya.ipynb).
"""

from __future__ import annotations

from gaoya.minhash import MinHashStringIndex
from runner import NGRAM, arguments, corpus, write_kept


def main() -> None:
    """Keep a row that has no similar one before it among the kept."""
    settings, output, files = arguments()
    index = MinHashStringIndex(
        hash_size=32,
        jaccard_threshold=settings["threshold"],
        num_bands=settings.get("bands"),
        band_size=settings.get("rows"),
        num_hashes=settings["num_perm"],
        analyzer="word",
        lowercase=True,
        ngram_range=(NGRAM, NGRAM),
        id_container="vec",
    )
    for first, texts in corpus(files):
        index.par_bulk_insert_docs(list(range(first, first + len(texts))), texts)
    kept: set[int] = set()
    for first, texts in corpus(files):
        for row, similar in enumerate(index.par_bulk_query(texts), first):
            if not any(other < row and other in kept for other in similar):
                kept.add(row)
    write_kept(output, sorted(kept))


if __name__ == "__main__":
    main()
