"""datatrove: its four MinHash stages by the local executor.

As its example (https://github.com/huggingface/datatrove/blob/main/examples/minhash_deduplication.py)
with Parquet in and out and without the count of tokens, which is no part of deduplication. A task
takes whole files, so the corpus should have as many files as tasks, or more.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
)
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import ParquetWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.typeshelper import Languages
from runner import NGRAM, arguments, write_kept


def link_corpus(files: list[str], folder: Path) -> dict[str, int]:
    """One folder with the files; the number of the first row of each."""
    folder.mkdir()
    starts, first = {}, 0
    for number, path in enumerate(files):
        name = f"{number:06d}.parquet"
        os.symlink(Path(path).resolve(), folder / name)
        starts[name] = first
        first += pq.read_metadata(path).num_rows
    return starts


def main() -> None:
    """Run the stages and read which rows the last one wrote."""
    settings, output, files = arguments()
    workers = settings["workers"]
    config = MinhashConfig(
        n_grams=NGRAM,
        num_buckets=settings["bands"],
        hashes_per_bucket=settings["rows"],
        hash_config=HashConfig(precision=64),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        starts = link_corpus(files, folder / "corpus")
        reader = ParquetReader(str(folder / "corpus"), text_key="text", id_key="")
        stages = (
            (workers, [reader, MinhashDedupSignature(name + "/sig", config, Languages.english)]),
            (settings["bands"], [MinhashDedupBuckets(name + "/sig", name + "/dup", config=config)]),
            (1, [MinhashDedupCluster(name + "/dup", name + "/remove", config=config)]),
            (
                workers,
                [reader, MinhashDedupFilter(name + "/remove"), ParquetWriter(name + "/kept")],
            ),
        )
        for number, (tasks, pipeline) in enumerate(stages):
            LocalPipelineExecutor(
                pipeline, tasks=tasks, workers=workers, logging_dir=f"{name}/logs{number}"
            ).run()
        kept = []
        for path in sorted((folder / "kept").glob("*.parquet")):
            for key in pq.read_table(path, columns=["id"])["id"].to_pylist():
                file, _, row = key.rpartition("/")
                kept.append(starts[Path(file).name] + int(row))
    write_kept(output, sorted(kept))


if __name__ == "__main__":
    main()
