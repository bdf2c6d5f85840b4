"""Generate a large corpus from real sentences, with known copies and near-copies.

    python -m benchmarks.corpus.make OUT --rows N [--seed 1] [--source DIR] [--real]

README.md says how, and what its columns are. The corpus is a function of the number of rows, the
seed and the source text alone. With --real its rows are evenly spaced ones of the source instead.
"""

import argparse
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus.documents import KINDS, NULL, PUNCTUATION, Plan, Rows, digest, fill, permute
from benchmarks.corpus.sentences import read_pool
from benchmarks.corpus.small import sample

Ints = npt.NDArray[np.int64]
COLUMNS = {
    "id": pa.string(),
    "text": pa.large_string(),
    "source": pa.string(),
    "origin": pa.int64(),
    "kind": pa.dictionary(pa.int8(), pa.string()),
    "target": pa.float32(),
}
SCHEMA = pa.schema(COLUMNS)
COPY_SHARE = 0.3
PARETO = 1.25  # exponent of the cluster sizes
BLOCK, FILE_ROWS = 20_000, 250_000  # rows of a row group, of a file
FOREIGN_SHARE = 0.08  # documents in other languages than English
MIXED_SHARE = 0.02  # English documents with a few sentences that are not ASCII


def length_table() -> npt.NDArray[np.int32]:
    """2**18 equally likely lengths in units: log-normal, with a Pareto tail and short rows."""
    size = 1 << 18
    special = [NULL] * (size // 500) + [0] * (size // 500) + [PUNCTUATION] * (size // 1000)
    short = [1 + k % 4 for k in range(size * 15 // 1000)]
    tail = size // 100
    pareto = [round(600 * ((k + 0.5) / tail) ** (-2 / 3)) for k in range(tail)]
    body = size - len(special) - len(short) - tail
    normal = NormalDist(4.62, 1.0)
    quantiles = [np.exp(normal.inv_cdf((k + 0.5) / body)) for k in range(body)]
    return np.array(special + short + pareto + [max(5, round(q)) for q in quantiles], np.int32)


def cluster_ends(copies: int) -> Ints:
    """Add up the copies of clusters whose sizes are quantiles of a Pareto law."""

    def sizes(clusters: int) -> Ints:
        quantile = (np.arange(clusters) + 0.5) / clusters
        return np.floor(quantile ** (-1 / PARETO)).astype(np.int64)

    most = bisect_right(range(copies + 1), copies, key=lambda n: int(sizes(n).sum())) - 1
    chosen = sizes(most)
    left = copies - int(chosen.sum())
    return np.cumsum(np.concatenate([[0], chosen, [left] if left else []])).astype(np.int64)


def write_corpus(
    folder: Path, rows: int, schema: pa.Schema, batch: Callable[[Ints], pa.RecordBatch]
) -> None:
    """Write so many rows to files of a new folder; `batch` makes rows of their numbers alone."""
    folder.mkdir(parents=True)

    def write(first: int) -> None:
        end = min(first + FILE_ROWS, rows)
        path = folder / f"part-{first // FILE_ROWS:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for low in range(first, end, BLOCK):
                writer.write_batch(batch(np.arange(low, min(low + BLOCK, end))))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range(0, rows, FILE_ROWS)))


def make(out: Path, rows: int, seed: int, source: Path) -> None:
    """Write a whole corpus."""
    pool, sources = read_pool(source)
    sizes, copies = np.diff(pool.groups), int(rows * COPY_SHARE)
    shares = FOREIGN_SHARE if len(sizes) > 2 else 0.0, MIXED_SHARE if sizes[1] else 0.0
    plan = Plan(rows, rows - copies, seed, length_table(), cluster_ends(copies), *shares)

    def batch(numbers: Ints) -> pa.RecordBatch:
        count = len(numbers)
        logical = permute(numbers, rows, seed, inverse=True)
        types = (np.bool_, np.int64, np.int8, np.float32, np.int32)
        room = [np.empty(2000 * count + (1 << 20), np.uint8), np.zeros(count + 1, np.int64)]
        made = Rows(*room, *(np.empty(count, kind) for kind in types))
        done = 0
        while (done := fill(logical, plan, pool, done, made)) < count:
            more = np.empty(2 * len(made.text), np.uint8)
            made = made._replace(text=np.concatenate([made.text[: made.offsets[done]], more]))
        bitmap = np.packbits(made.valid, bitorder="little")
        texts = [made.offsets, made.text[: made.offsets[-1]].copy(), bitmap]
        columns = [
            pa.array([f"{one:016x}" for one in digest(numbers, seed).tolist()]),
            pa.LargeStringArray.from_buffers(count, *map(pa.py_buffer, texts)),
            pa.array(sources).take(pa.array(made.tag)),
            pa.array(permute(made.origin, rows, seed)),
            pa.DictionaryArray.from_arrays(pa.array(made.kind), pa.array(KINDS)),
            pa.array(made.target, from_pandas=True),
        ]
        return pa.record_batch(columns, schema=SCHEMA)

    write_corpus(out, rows, SCHEMA, batch)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write, new")
    parser.add_argument("--rows", type=int, required=True, help="1 .. 2**31 - 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=Path, default=Path("../shared/data/english-docs"))
    parser.add_argument("--real", action="store_true", help="rows of the source as they are")
    known = parser.parse_args()
    if known.real:
        sample(known.source, known.out, known.rows)
    else:
        make(known.out, known.rows, known.seed, known.source)


if __name__ == "__main__":
    main()
