"""dedup-rs: EmbedFunc, its clusters and its filter of duplicates, with its own tokens.

It has no documentation but its signatures (https://pypi.org/project/dedup-rs/), which are those of
text-dedup's MinHash; the numbers are that one's, too.
"""

from __future__ import annotations

import numpy as np
from dedup_rs import EmbedFunc
from runner import NGRAM, arguments, corpus, optimal_bands, write_kept


def main() -> None:
    """Keep what the filter keeps."""
    settings, output, files = arguments()
    bands, depth = settings.get("bands"), settings.get("rows")
    if not bands:
        bands, depth = optimal_bands(settings["threshold"], settings["num_perm"])
    embed = EmbedFunc.from_b_r(
        b=bands,
        r=depth,
        n_grams=NGRAM,
        num_perm=settings["num_perm"],
        main_col="text",
        idx_col="row",
        dtype="u64",
        min_len=0,
    )
    count = 0
    for first, texts in corpus(files):
        embed.batch_embed_shard(texts, np.arange(first, first + len(texts), dtype=np.uint32))
        count = first + len(texts)
    numbers = np.arange(count, dtype=np.uint32)
    write_kept(output, sorted(embed.filter_duplicates(embed.cluster(), numbers)))


if __name__ == "__main__":
    main()
