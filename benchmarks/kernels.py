"""Each kernel in nanoseconds per unit, beside its simplest numpy or library form.

    python benchmarks/kernels.py --json results/kernels.json [--text ../shared/data/english-docs]

Every figure is the best of --repeats on one thread; kernel and peer run in turn in one process.
The text is real where --text points to Parquet files with a `text` column, else the demo corpus.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from datasketch import MinHash
from measuring import best, cpu_model, versions
from numba import njit
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dedupe.arrays import text_buffers
from dedupe.config import Settings
from dedupe.demo import corpus_path
from dedupe.kernels.grouping import bucket_edges
from dedupe.kernels.minhash import permutations, signature
from dedupe.kernels.verify import verify_components
from dedupe.kernels.xxh3 import SECRET, xxh3_128
from dedupe.schema import EDGES
from dedupe.stages.components import ComponentFinder
from dedupe.stages.fetch import shingle_sets

PERMUTATIONS = 96


def load_texts(source: str | None) -> pa.Array:
    """About 30 MB of documents."""
    if source:
        first = sorted(Path(source).glob("*.parquet"))[0]
        column = pq.read_table(first, columns=["text"])["text"].cast(pa.large_string())
        return pa.concat_arrays(column.chunks)
    with gzip.open(corpus_path(), "rt", encoding="utf-8") as lines:
        return pa.array([json.loads(line)["text"] for line in lines] * 20, pa.large_string())


def shingling(texts: pa.Array, repeats: int) -> dict[str, Any]:
    """Text to shingle sets, per byte."""
    size = int(text_buffers(texts).lengths.sum())
    some = texts.slice(0, 2000)
    some_size = int(text_buffers(some).lengths.sum())
    documents = some.to_pylist()

    def plain() -> None:
        for text in documents:
            words = re.findall(r"\w+", text.lower())
            {
                xxhash.xxh3_64_intdigest(" ".join(words[i : i + 5]).encode())
                for i in range(len(words) - 4)
            }

    return {
        "unit": "byte of text",
        "ns": best(lambda: shingle_sets(texts, Settings()), repeats) / size * 1e9,
        "peer": "re.findall, lower and xxhash in Python",
        "peer_ns": best(plain, 1) / some_size * 1e9,
    }


def digest(repeats: int) -> dict[str, Any]:
    """xxh3, 128 bits, of 1 kB documents, per byte."""
    data = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8)
    parts = [data[i : i + 1000].tobytes() for i in range(0, len(data), 1000)]

    @njit(nogil=True)
    def all_of(data, secret):  # type: ignore[no-untyped-def]
        for i in range(0, data.size, 1000):
            xxh3_128(data, i, 1000, secret)

    return {
        "unit": "byte, in documents of 1 kB",
        "ns": best(lambda: all_of(data, SECRET), repeats) / len(data) * 1e9,
        "peer": "xxhash.xxh3_128_digest",
        "peer_ns": best(lambda: [xxhash.xxh3_128_digest(part) for part in parts], repeats)
        / len(data)
        * 1e9,
    }


def minhash(repeats: int) -> dict[str, Any]:
    """Shingle hashes to a signature, per shingle, documents of 200."""
    hashes = np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)
    a, b = permutations(PERMUTATIONS, 1)
    out = np.empty(PERMUTATIONS, np.uint32)

    @njit(nogil=True)
    def all_of(hashes, a, b, out):  # type: ignore[no-untyped-def]
        for i in range(0, hashes.size, 200):
            signature(hashes[i : i + 200], 200, a, b, out)

    parts = [(hashes[i : i + 200] & np.uint64(0xFFFFFFFF)).tolist() for i in range(0, 20_000, 200)]

    def peer() -> None:
        for part in parts:
            MinHash(PERMUTATIONS, seed=1, hashfunc=int).update_batch(part)

    return {
        "unit": f"shingle, {PERMUTATIONS} permutations",
        "ns": best(lambda: all_of(hashes, a, b, out), repeats) / len(hashes) * 1e9,
        "peer": "datasketch MinHash.update_batch (numpy)",
        "peer_ns": best(peer, repeats) / 20_000 * 1e9,
    }


def banding(repeats: int) -> dict[str, Any]:
    """Band records to edges, per record; a fifth of the keys occur more than once."""
    random = np.random.default_rng(0)
    count = 1 << 20
    keys = random.integers(0, 2**64, count, np.uint64)
    keys[random.integers(0, count, count // 5)] = keys[random.integers(0, count, count // 5)]
    positions = np.sort(random.integers(0, 10_000_000, count))

    def peer() -> None:
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        positions[order[1:][same]], positions[order[:-1][same]]

    return {
        "unit": "band record, 1 M records",
        "ns": best(lambda: bucket_edges(keys, positions, 1), repeats) / count * 1e9,
        "peer": "numpy argsort of the keys",
        "peer_ns": best(peer, repeats) / count * 1e9,
    }


def union_find(repeats: int) -> dict[str, Any]:
    """Edges to components, per edge."""
    random = np.random.default_rng(0)
    nodes, count = 400_000, 1_000_000
    positions = np.sort(random.choice(10_000_000, nodes, replace=False))
    near = random.integers(0, nodes, count)
    far = np.clip(near + random.integers(-3, 4, count), 0, nodes - 1)
    left, right = positions[near], positions[far]
    edges = pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=EDGES)

    def ours() -> None:
        finder = ComponentFinder(10_000_000)
        finder.mark(edges)
        finder.connect([edges])

    def peer() -> None:
        _, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        a, b = places[:count], places[count:]
        connected_components(coo_matrix((np.ones(count, np.int8), (a, b)), (nodes, nodes)))

    return {
        "unit": "edge, 1 M edges between 400 k rows",
        "ns": best(ours, repeats) / count * 1e9,
        "peer": "numpy unique and scipy connected_components",
        "peer_ns": best(peer, repeats) / count * 1e9,
    }


def jaccard(repeats: int) -> dict[str, Any]:
    """Components of two rows of 200 shingles that share 180, per shingle of both."""
    random = np.random.default_rng(0)
    pairs, size = 20_000, 200
    sets = random.integers(0, 2**64, (pairs, 2, size), np.uint64)
    sets[:, 1, 20:] = sets[:, 0, 20:]
    hashes = sets.reshape(-1)
    offsets = np.arange(2 * pairs + 1) * size
    components = np.arange(pairs + 1) * 2
    groups = np.arange(2 * pairs)

    def peer() -> None:
        for one, other in sets[:1000]:
            shared = len(np.intersect1d(one, other, assume_unique=True))
            shared / (2 * size - shared)

    return {
        "unit": "shingle of either row",
        "ns": best(
            lambda: verify_components(components, groups, offsets, hashes, 0.8, False), repeats
        )
        / hashes.size
        * 1e9,
        "peer": "numpy intersect1d",
        "peer_ns": best(peer, repeats) / (1000 * 2 * size) * 1e9,
    }


def main() -> None:
    """Parse arguments, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", required=True, help="result file")
    parser.add_argument("--text", help="folder of Parquet files with a `text` column")
    parser.add_argument("--repeats", type=int, default=5)
    known = parser.parse_args()
    kernels = {
        "shingling": shingling(load_texts(known.text), known.repeats),
        "digest": digest(known.repeats),
        "MinHash": minhash(known.repeats),
        "banding": banding(known.repeats),
        "union-find": union_find(known.repeats),
        "Jaccard": jaccard(known.repeats),
    }
    for name, figures in kernels.items():
        figures["ratio"] = figures["peer_ns"] / figures["ns"]
        print(
            f"{name:<12} {figures['ns']:8.2f} ns per {figures['unit']}; {figures['peer']}: "
            f"{figures['peer_ns']:.1f} ns, {figures['ratio']:.1f} times"
        )
    result = {"kernels": kernels, "cpu_model": cpu_model(), "versions": versions()}
    Path(known.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
