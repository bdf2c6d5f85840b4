"""datatrove: its four MinHash stages by the local executor.

As its example (https://github.com/huggingface/datatrove/blob/main/examples/minhash_deduplication.py)
with Parquet in and out and without the count of tokens, which is no part of deduplication. A task
takes whole files: where there are fewer of them than tasks, each row group is made one.
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
from runner import NGRAM, arguments, pieces, write_kept


def gather(files: list[str], tasks: int, folder: Path) -> dict[str, int]:
    """One folder with the corpus, in files enough for all tasks; the first row of each file."""
    folder.mkdir()
    found = pieces(files)
    if len(files) < tasks:
        starts = {f"{number:06d}.parquet": piece.first for number, piece in enumerate(found)}
        for name, piece in zip(starts, found, strict=True):
            group = pq.ParquetFile(piece.path).read_row_group(piece.group, columns=["text"])
            pq.write_table(group, folder / name)
        return starts
    starts = {}
    for number, path in enumerate(files):
        name = f"{number:06d}.parquet"
        os.symlink(Path(path).resolve(), folder / name)
        starts[name] = min(piece.first for piece in found if piece.path == path)
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
        starts = gather(files, workers, folder / "corpus")
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
