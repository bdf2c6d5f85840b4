"""daft: normalize, minhash, bands and connected components; the first row of a component is kept.

After its example (https://docs.daft.ai/en/stable/examples/minhash-dedupe/), with two departures in
its favour: components come from scipy in one pass and not from rounds of star contraction, and
bands are hashed where the example groups lists.
"""

from __future__ import annotations

import daft
import numpy as np
from daft import col
from daft.functions import minhash, normalize
from runner import NGRAM, arguments, optimal_bands, write_kept
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def main() -> None:
    """Keep the first row of each component."""
    settings, output, files = arguments()
    bands, rows = settings.get("bands"), settings.get("rows")
    if not bands:
        bands, rows = optimal_bands(settings["threshold"], settings["num_perm"])
    text = normalize(
        col("text").fill_null(""),
        remove_punct=True,
        lowercase=True,
        nfd_unicode=True,
        white_space=True,
    )
    signatures = (
        daft.read_parquet(files)
        .select(
            minhash(
                text,
                num_hashes=bands * rows,
                ngram_size=NGRAM,
                seed=42,
                hash_function="xxhash",
            ).alias("hashes")
        )
        .to_arrow()["hashes"]
        .combine_chunks()
    )
    matrix = signatures.flatten().to_numpy().reshape(len(signatures), bands, rows)
    numbers = np.arange(len(matrix))
    left, right = [], []
    for band in range(bands):
        keys = daft.from_pydict(
            {"row": numbers, **{f"h{i}": matrix[:, band, i] for i in range(rows)}}
        )
        groups = (
            keys.groupby(*(f"h{i}" for i in range(rows)))
            .agg(col("row").min().alias("first"), col("row").list_agg().alias("row"))
            .where(col("row").list_count() > 1)
            .explode("row")
            .select("first", "row")
            .to_arrow()
        )
        left.append(groups["first"].to_numpy())
        right.append(groups["row"].to_numpy())
    edges = (np.concatenate(left), np.concatenate(right))
    graph = coo_array((np.ones(len(edges[0]), np.int8), edges), shape=(len(matrix),) * 2)
    _, component = connected_components(graph, directed=False)
    write_kept(output, np.sort(np.unique(component, return_index=True)[1]))


if __name__ == "__main__":
    main()
