"""Generate a large corpus from real sentences, with known copies and near-copies.

    python -m benchmarks.corpus.make OUT --rows N [--seed 1] [--source DIR]

README.md has its columns. The corpus is a function of the number of rows, the seed and the source
text: of neither the machine nor the number of workers.

An original of nine units or more comes from at least three sentences. Logical numbers of rows are
scattered over the corpus by a Feistel permutation. Cluster sizes are quantiles of a Pareto
distribution. An edit replaces, inserts and deletes units, drops spans or adds sentences until the
Jaccard similarity of the word 5-gram sets reaches a target drawn from 0.5-1.0.
"""

import argparse
from bisect import bisect_right
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus.documents import KINDS, NULL, PUNCTUATION, Plan, Rows, digest, fill, permute
from benchmarks.corpus.sentences import read_pool

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
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


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


class Corpus:
    """Rows of a corpus, by row number; pure, and safe to call from several threads."""

    def __init__(self, source: Path, rows: int, seed: int) -> None:
        self.pool, self.sources = read_pool(source)
        sizes, copies = np.diff(self.pool.groups), int(rows * COPY_SHARE)
        shares = FOREIGN_SHARE if len(sizes) > 2 else 0.0, MIXED_SHARE if sizes[1] else 0.0
        self.plan = Plan(rows, rows - copies, seed, length_table(), cluster_ends(copies), *shares)

    def batch(self, numbers: Ints) -> pa.RecordBatch:
        """Make the rows of these numbers."""
        plan, count = self.plan, len(numbers)
        logical = permute(numbers, plan.rows, plan.seed, True)
        types = (np.bool_, np.int64, np.int8, np.float32, np.int32)
        room = [np.empty(2000 * count + (1 << 20), np.uint8), np.zeros(count + 1, np.int64)]
        rows = Rows(*room, *(np.empty(count, kind) for kind in types))
        done = 0
        while (done := fill(logical, plan, self.pool, done, rows)) < count:
            more = np.empty(2 * len(rows.text), np.uint8)
            rows = rows._replace(text=np.concatenate([rows.text[: rows.offsets[done]], more]))
        bitmap = np.packbits(rows.valid, bitorder="little")
        texts = [rows.offsets, rows.text[: rows.offsets[-1]].copy(), bitmap]
        columns = [
            pa.array([f"{one:016x}" for one in digest(numbers, plan.seed).tolist()]),
            pa.LargeStringArray.from_buffers(count, *map(pa.py_buffer, texts)),
            pa.array(self.sources).take(pa.array(rows.tag)),
            pa.array(permute(rows.origin, plan.rows, plan.seed, False)),
            pa.DictionaryArray.from_arrays(pa.array(rows.kind), pa.array(KINDS)),
            pa.array(rows.target, from_pandas=True),
        ]
        return pa.record_batch(columns, schema=SCHEMA)

    def write(self, path: Path, begin: int) -> Counter[str]:
        """Write the file whose first row is `begin`; counts its rows by kind, and their bytes."""
        counts: Counter[str] = Counter()
        end = min(begin + FILE_ROWS, self.plan.rows)
        with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
            for low in range(begin, end, BLOCK):
                batch = self.batch(np.arange(low, min(low + BLOCK, end), dtype=np.int64))
                writer.write_batch(batch, row_group_size=BLOCK)
                counts.update(batch["kind"].to_pylist())
                counts["bytes of text"] += int(np.frombuffer(batch["text"].buffers()[1], "i8")[-1])
        return counts


def make(out: Path, rows: int, seed: int, source: Path, workers: int) -> Counter[str]:
    """Write a whole corpus."""
    corpus, begins = Corpus(source, rows, seed), range(0, rows, FILE_ROWS)
    paths = [out / f"part-{number:05d}.parquet" for number in range(len(begins))]
    with ThreadPoolExecutor(workers) as threads:
        return sum(threads.map(corpus.write, paths, begins), Counter())


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write, new or empty")
    parser.add_argument("--rows", type=int, required=True, help="1 .. 2**31 - 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=Path, default=DATA / "english-docs")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    counts = make(args.out, args.rows, args.seed, args.source, args.workers)
    print(", ".join(f"{what} {count:,}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
