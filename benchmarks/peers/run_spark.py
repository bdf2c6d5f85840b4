"""Spark ML: MinHashLSH and its approxSimilarityJoin, which computes the distance of candidates.

https://spark.apache.org/docs/latest/ml-features.html#minhash-for-jaccard-distance. A row is dropped
when it has a similar one before it, kept or not. Texts without a 5-gram are kept: MinHash of Spark
refuses an empty set.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.feature import HashingTF, MinHashLSH, NGram, RegexTokenizer
from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from runner import NGRAM, arguments, corpus, write_kept


def main() -> None:
    """Keep what has no similar row before it."""
    settings, output, files = arguments()
    with tempfile.TemporaryDirectory() as name:
        count = 0
        for first, texts in corpus(files):
            rows = pa.array(range(first, first + len(texts)), pa.int64())
            table = pa.table({"row": rows, "text": pa.array(texts, pa.string())})
            pq.write_table(table, Path(name) / f"{first:010d}.parquet")
            count = first + len(texts)
        spark = (
            SparkSession.builder.master(f"local[{settings['workers']}]")
            .config("spark.driver.memory", settings["memory"])
            .config("spark.ui.enabled", "false")
            .config("spark.local.dir", name)
            .getOrCreate()
        )
        words = RegexTokenizer(
            inputCol="text", outputCol="words", pattern=r"(?U)\w+", gaps=False, toLowercase=True
        )
        grams = NGram(n=NGRAM, inputCol="words", outputCol="grams")
        sets = HashingTF(
            inputCol="grams", outputCol="set", binary=True, numFeatures=settings["features"]
        )
        frame = spark.read.parquet(name)
        for step in (words, grams, sets):
            frame = step.transform(frame)
        frame = frame.where(f.size("grams") > 0).select("row", "set").cache()
        model = MinHashLSH(
            inputCol="set", outputCol="hashes", numHashTables=settings["tables"], seed=42
        ).fit(frame)
        joined = model.approxSimilarityJoin(frame, frame, 1 - settings["threshold"] + 1e-9)
        later = joined.where("datasetA.row < datasetB.row").select("datasetB.row").distinct()
        dropped = np.array([found[0] for found in later.collect()], np.int64)
        spark.stop()
    kept = np.ones(count, np.bool_)
    kept[dropped] = False
    write_kept(output, np.flatnonzero(kept))


if __name__ == "__main__":
    main()
