"""datatrove: its four MinHash stages by the local executor.

As its example (https://github.com/huggingface/datatrove/blob/main/examples/minhash_deduplication.py)
with Parquet in and out and without the count of tokens, which is no part of deduplication. A task
takes whole files: where there are fewer of them than tasks, each row group is made one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
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


def gather(files: list[str], tasks: int, folder: Path) -> dict[str, npt.NDArray[np.bool_]]:
    """One folder with the corpus, in files enough for all tasks: which rows of each have a text.

    The reader leaves the others out, and numbers those that it reads.
    """
    folder.mkdir()
    parts: dict[str, list[Any]] = {}
    for number, piece in enumerate(pieces(files)):
        group = pq.ParquetFile(piece.path).read_row_group(piece.group, columns=["text"])
        if len(files) < tasks:
            name = f"{number:06d}.parquet"
            pq.write_table(group, folder / name)
        else:
            name = f"{files.index(piece.path):06d}.parquet"
            if name not in parts:
                os.symlink(Path(piece.path).resolve(), folder / name)
        lengths = pc.fill_null(pc.binary_length(group["text"]), 0)
        parts.setdefault(name, []).append(lengths.to_numpy() > 0)
    return {name: np.concatenate(some) for name, some in parts.items()}


def rows_kept(found: dict[str, npt.NDArray[np.bool_]], folder: Path) -> list[int]:
    """The rows of the corpus that stages left there, and those without a text."""
    written: dict[str, list[int]] = {name: [] for name in found}
    for path in folder.glob("*.parquet"):
        for key in pq.read_table(path, columns=["id"])["id"].to_pylist():
            name, _, row = key.rpartition("/")
            written[Path(name).name].append(int(row))
    kept: list[int] = []
    first = 0
    for name, has_text in found.items():
        keep = ~has_text
        keep[np.flatnonzero(has_text)[written[name]]] = True
        kept += (first + np.flatnonzero(keep)).tolist()
        first += len(has_text)
    return kept


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
        found = gather(files, workers, folder / "corpus")
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
        kept = rows_kept(found, folder / "kept")
    write_kept(output, kept)


if __name__ == "__main__":
    main()
