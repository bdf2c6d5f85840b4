"""data-prep-kit: its fuzzy dedup transform, the Python runtime.

https://github.com/data-prep-kit/data-prep-kit/tree/dev/transforms/universal/fdedup. Its column of
document ids is written first, as it asks for one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from dpk_fdedup.transform_python import Fdedup
from runner import NGRAM, arguments, corpus, write_kept


def main() -> None:
    """Number the rows, run its four services, and read what the last one left."""
    settings, output, files = arguments()
    with tempfile.TemporaryDirectory() as name:
        documents = Path(name) / "documents"
        documents.mkdir()
        for first, texts in corpus(files):
            rows = pa.array(range(first, first + len(texts)), pa.int64())
            table = pa.table({"contents": pa.array(texts, pa.string()), "int_id_column": rows})
            pq.write_table(table, documents / f"{first:010d}.parquet")
        status = Fdedup(
            input_folder=str(documents),
            output_folder=f"{name}/out",
            operation_mode="filter_duplicates",
            contents_column="contents",
            document_id_column="int_id_column",
            num_permutations=settings["num_perm"],
            num_bands=settings["bands"],
            num_minhashes_per_band=settings["rows"],
            word_shingle_size=NGRAM,
            jaccard_similarity_threshold=settings["threshold"],
        ).transform()
        if status:
            raise SystemExit(f"fuzzy dedup ended with {status}")
        kept: list[int] = []
        for path in (Path(name) / "out" / "cleaned").glob("*.parquet"):
            kept += pq.read_table(path, columns=["int_id_column"])["int_id_column"].to_pylist()
    write_kept(output, sorted(kept))


if __name__ == "__main__":
    main()
