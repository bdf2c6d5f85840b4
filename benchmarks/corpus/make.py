"""Generate a large corpus from real sentences, with known copies and near-copies.

    python -m benchmarks.corpus.make OUT --rows N [--seed 1] [--source DIR]

OUT holds `part-00000.parquet`, ... (zstd, row groups of 20,000 rows) with the columns

| column   | type              | meaning                                                    |
|----------|-------------------|------------------------------------------------------------|
| `id`     | string            | 16 hexadecimal digits, unique                              |
| `text`   | large_string      | the document; null in 0.14 % of the rows                   |
| `source` | string            | source of a sentence of the document                       |
| `origin` | int64             | row number of the original, its own for originals          |
| `kind`   | dictionary string | `original`, `exact`, `format` (case, space, punctuation), `edit` |
| `target` | float32           | Jaccard aimed at with the original; null for originals     |

Row numbers count through the files in the order of their names. The corpus is a function of the
number of rows, the seed and the source text: of neither the machine nor the number of workers.

An original of nine units or more comes from at least three sentences. Logical numbers of rows are
scattered over the corpus by a Feistel permutation. Cluster sizes are quantiles of a Pareto
distribution. An edit replaces, inserts and deletes units, drops spans or adds sentences until the
Jaccard similarity of the word 5-gram sets reaches a target drawn from 0.5-1.0.

`origin` is truth by construction, not all of the truth: edits of one original are often
near-duplicates of each other, and rows of a few words coincide by chance.
"""

import argparse
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.corpus.documents import KINDS, NULL, PUNCTUATION, Plan, Rows, fill, hex_ids, permute
from benchmarks.corpus.sentences import read_pool

Ints = npt.NDArray[np.int64]
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("origin", pa.int64()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("target", pa.float32()),
    ]
)
COPY_SHARE = 0.3
PARETO = 1.25  # exponent of the cluster sizes
BLOCK = 20_000  # rows of a row group
FILE_ROWS = 250_000
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
    lengths = [max(5, round(q)) for q in quantiles]
    return np.array(special + short + pareto + lengths, np.int32)


def cluster_ends(copies: int) -> Ints:
    """Add up the copies of clusters whose sizes are quantiles of a Pareto law."""

    def sizes(clusters: int) -> Ints:
        quantile = (np.arange(clusters) + 0.5) / clusters
        return np.floor(quantile ** (-1 / PARETO)).astype(np.int64)

    low, high = 0, copies
    while low < high:
        middle = (low + high + 1) // 2
        if sizes(middle).sum() <= copies:
            low = middle
        else:
            high = middle - 1
    chosen = sizes(low)
    if left := copies - int(chosen.sum()):
        chosen = np.append(chosen, left)
    return np.concatenate([[0], np.cumsum(chosen)]).astype(np.int64)


class Corpus:
    """Rows of a corpus, by row number; pure, and safe to call from several threads."""

    def __init__(self, source: Path, rows: int, seed: int) -> None:
        self.pool, self.sources = read_pool(source)
        sizes = np.diff(self.pool.groups)
        self.plan = Plan(
            rows=rows,
            originals=rows - int(rows * COPY_SHARE),
            seed=seed,
            lengths=length_table(),
            cluster_ends=cluster_ends(int(rows * COPY_SHARE)),
            foreign=FOREIGN_SHARE if len(sizes) > 2 else 0.0,
            mixed=MIXED_SHARE if sizes[1] else 0.0,
        )

    def batch(self, numbers: Ints) -> pa.RecordBatch:
        """Make the rows of these numbers."""
        plan, count = self.plan, len(numbers)
        logical = permute(numbers, plan.rows, plan.seed, True)
        types = (np.bool_, np.int64, np.int8, np.float32, np.int32)
        rows = Rows(
            np.empty(2000 * count + (1 << 20), np.uint8),
            np.zeros(count + 1, np.int64),
            *(np.empty(count, kind) for kind in types),
        )
        done = 0
        while (done := fill(logical, plan, self.pool, done, rows)) < count:
            more = np.empty(2 * len(rows.text), np.uint8)
            rows = rows._replace(text=np.concatenate([rows.text[: rows.offsets[done]], more]))
        ids = [np.arange(count + 1, dtype=np.int32) * 16, hex_ids(numbers, plan.seed)]
        bitmap = np.packbits(rows.valid, bitorder="little")
        texts = [rows.offsets, rows.text[: rows.offsets[-1]].copy(), bitmap]
        columns = [
            pa.StringArray.from_buffers(count, *map(pa.py_buffer, ids)),
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
                kinds = np.bincount(batch["kind"].indices.to_numpy(), minlength=len(KINDS))
                counts.update(dict(zip(KINDS, kinds.tolist(), strict=True)))
                counts["bytes of text"] += int(np.frombuffer(batch["text"].buffers()[1], "i8")[-1])
        return counts


def make(out: Path, rows: int, seed: int, source: Path, workers: int) -> Counter[str]:
    """Write a whole corpus."""
    corpus = Corpus(source, rows, seed)
    begins = range(0, rows, FILE_ROWS)
    paths = [out / f"part-{number:05d}.parquet" for number in range(len(begins))]
    with ThreadPoolExecutor(workers) as threads:
        return sum(threads.map(corpus.write, paths, begins), Counter())


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write, new or empty")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=Path, default=DATA / "english-docs")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if not 1 <= args.rows < 2**31:
        parser.error("--rows must be in 1 .. 2**31 - 1")
    args.out.mkdir(parents=True, exist_ok=True)
    if any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    counts = make(args.out, args.rows, args.seed, args.source, args.workers)
    print(", ".join(f"{what} {count:,}" for what, count in counts.items()))


if __name__ == "__main__":
    main()
