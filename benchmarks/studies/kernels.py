"""Kernels and steps of the engine on one thread; every figure is the best of --runs."""

import argparse
import gzip
import json
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from benchmarks import engine
from benchmarks.common import best

PERMUTATIONS = 96
STEPS = (
    "normalise: case, width, separators",
    "find where tokens begin and end",
    "hash tokens, join them by a space",
    "roll token hashes into shingles",
    "digest",
    "signature",
    "band keys",
)
FOLD, FIND, HASH, ROLL, DIGEST, SIGNATURE, BANDS = range(1, len(STEPS) + 1)
Figures = dict[str, Any]


def read_texts(path: Path, rows: int | None = None) -> pa.Array:
    """The texts of a file, or its first rows, decoded on one thread."""
    file = min(path.glob("*.parquet")) if path.is_dir() else path
    batches, found = [], 0
    for batch in pq.ParquetFile(file).iter_batches(1 << 14, columns=["text"], use_threads=False):
        batches.append(batch.column(0))
        found += len(batch)
        if rows is not None and found >= rows:
            break
    return pa.concat_arrays(batches).cast(pa.large_string())


def beside(unit: str, peer: str, runs: int, *sides: tuple[Callable[[], Any], int]) -> Figures:
    """Nanoseconds of a kernel and of its simplest form for each unit, of which each has so many."""
    ours, theirs = (best(function, runs) / count * 1e9 for function, count in sides)
    return {"unit": unit, "ns": ours, "peer": peer, "peer_ns": theirs, "ratio": theirs / ours}


def shingling(texts: pa.Array, runs: int) -> Figures:
    """Text to shingle sets."""
    from xxhash import xxh3_64_intdigest

    some = texts.slice(0, 2000)
    size, some_size = (int(engine.text_buffers(part).lengths.sum()) for part in (texts, some))
    documents = some.to_pylist()

    def plain() -> None:
        for text in documents:
            words = re.findall(r"\w+", text.lower())
            grams = (" ".join(words[i : i + 5]) for i in range(len(words) - 4))
            {xxh3_64_intdigest(gram.encode()) for gram in grams}

    ours = partial(engine.shingle_sets, texts, engine.Settings())
    peer = "re.findall, lower and xxhash in Python"
    return beside("byte of text", peer, runs, (ours, size), (plain, some_size))


def digest(runs: int) -> Figures:
    """xxh3, 128 bits, of documents of 1 kB."""
    from xxhash import xxh3_128_digest

    data = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8)
    parts = [data[i : i + 1000].tobytes() for i in range(0, len(data), 1000)]

    @njit(nogil=True)
    def all_of(data, secret):
        for i in range(0, data.size, 1000):
            engine.xxh3_128(data, i, 1000, secret)

    return beside(
        "byte, in documents of 1 kB", "xxhash.xxh3_128_digest", runs,
        (partial(all_of, data, engine.SECRET), len(data)),
        (lambda: [xxh3_128_digest(part) for part in parts], len(data)),
    )  # fmt: skip


def minhash(runs: int) -> Figures:
    """Shingle hashes to a engine.signature, documents of 200."""
    from datasketch import MinHash

    hashes = np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)
    a, b = engine.permutations(PERMUTATIONS, 1)
    out = np.empty(PERMUTATIONS, np.uint32)

    @njit(nogil=True)
    def all_of(hashes, a, b, out):
        for i in range(0, hashes.size, 200):
            engine.signature(hashes[i : i + 200], 200, a, b, out)

    parts = [(hashes[i : i + 200] & np.uint64(0xFFFFFFFF)).tolist() for i in range(0, 20_000, 200)]

    def peer() -> None:
        for part in parts:
            MinHash(PERMUTATIONS, seed=1, hashfunc=int).update_batch(part)

    return beside(
        f"shingle, {PERMUTATIONS} permutations", "datasketch MinHash.update_batch (numpy)", runs,
        (partial(all_of, hashes, a, b, out), len(hashes)), (peer, 20_000),
    )  # fmt: skip


def banding(runs: int) -> Figures:
    """Band records to edges; a fifth of the keys occur more than once."""
    random = np.random.default_rng(0)
    count = 1 << 20
    keys = random.integers(0, 2**64, count, np.uint64)
    keys[random.integers(0, count, count // 5)] = keys[random.integers(0, count, count // 5)]
    positions = np.sort(random.integers(0, 10_000_000, count))

    def peer() -> None:
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        positions[order[1:][same]], positions[order[:-1][same]]

    ours = partial(engine.bucket_edges, keys, positions, 1)
    what = "numpy argsort of the keys"
    return beside("band record, 1 M records", what, runs, (ours, count), (peer, count))


def union_find(runs: int) -> Figures:
    """Edges to components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    random = np.random.default_rng(0)
    nodes, count = 400_000, 1_000_000
    positions = np.sort(random.choice(10_000_000, nodes, replace=False))
    near = random.integers(0, nodes, count)
    far = np.clip(near + random.integers(-3, 4, count), 0, nodes - 1)
    left, right = positions[near], positions[far]
    edges = pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=engine.EDGES)

    def ours() -> None:
        linker = engine.Linker(10_000_000)
        linker.name(edges)
        linker.join([edges])

    def peer() -> None:
        _, places = np.unique(np.concatenate([left, right]), return_inverse=True)
        a, b = places[:count], places[count:]
        connected_components(coo_matrix((np.ones(count, np.int8), (a, b)), (nodes, nodes)))

    unit, what = "edge, 1 M edges between 400 k rows", "numpy unique and scipy connected_components"
    return beside(unit, what, runs, (ours, count), (peer, count))


def jaccard(runs: int) -> Figures:
    """Components of two rows of 200 shingles that share 180."""
    pairs, size = 20_000, 200
    sets = np.random.default_rng(0).integers(0, 2**64, (pairs, 2, size), np.uint64)
    sets[:, 1, 20:] = sets[:, 0, 20:]
    hashes = sets.reshape(-1)
    rows = np.arange(2 * pairs + 1)
    components, groups, offsets = rows[: pairs + 1] * 2, rows[:-1], rows * size

    def peer() -> None:
        for one, other in sets[:1000]:
            shared = len(np.intersect1d(one, other, assume_unique=True))
            shared / (2 * size - shared)

    verify = engine.verify_components
    ours = partial(verify, components, groups, offsets, hashes, 0.8, False)
    sides = (ours, hashes.size), (peer, 1000 * 2 * size)
    return beside("shingle of either row", "numpy intersect1d", runs, *sides)


def kernels(known: argparse.Namespace, folder: Path) -> Figures:
    """Each kernel in nanoseconds per unit, beside its simplest numpy or library form, in turn.

    The text is that of the demo corpus, where no corpus is named.
    """
    if known.corpus:
        texts = read_texts(Path(known.corpus[0]))
    else:
        with gzip.open(engine.corpus_path(), "rt", encoding="utf-8") as lines:
            demo = [json.loads(line)["text"] for line in lines]
        texts = pa.array(demo * 20, pa.large_string())
    found = {"shingling": shingling(texts, known.runs), "digest": digest(known.runs)}
    found |= {"MinHash": minhash(known.runs), "banding": banding(known.runs)}
    found |= {"union-find": union_find(known.runs), "Jaccard": jaccard(known.runs)}
    return {"kernels": found}


@njit(nogil=True)
def upto(last, data, offsets, tables, secret, multipliers, addends, rows_per_band, keys):
    """The kernel of sign without its exceptions, as far as the step `last`; tokens seen."""
    mapped = np.empty(1 << 22, np.uint8)
    joined = np.empty(1 << 22, np.uint8)
    points = np.empty(1 << 12, np.int32)
    hashes = np.empty(1 << 22, np.uint64)
    values = np.empty(multipliers.size, np.uint32)
    tokens = 0
    for row in range(offsets.size - 1):
        start, stop = offsets[row], offsets[row + 1]
        if stop - start + 2 * engine.SLACK > mapped.size // 4:
            continue
        length = stop - start
        if not engine._fold_ascii(data, start, stop, mapped):
            length, _, mapped, points = engine.fold(
                data, start, stop, tables, True, True, mapped, points
            )
        for i in range(0, 64, 8):
            engine.store64(mapped, length + i, engine.SPACES)
        if last == FIND:
            tokens += engine._find_tokens(mapped, length, hashes) >> 1
        if last < HASH:
            continue
        size, count = engine._scan_tokens(mapped, length, joined, hashes)
        tokens += count
        if last >= ROLL:
            count = engine._roll(hashes, count, 5)
        if count == 0:
            continue
        if last >= DIGEST:
            keys[row, 0] = engine.xxh3_128(joined, 0, size, secret)[0]
        if last >= SIGNATURE:
            engine.signature(hashes, count, multipliers, addends, values)
            keys[row, 0] = values[0]
        if last >= BANDS:
            engine.band_keys(values, rows_per_band, keys[row])
    return tokens


def upto_arguments(texts: pa.Array) -> tuple[Any, ...]:
    """What `upto` is given for some texts, besides the last step; band keys come last."""
    settings = engine.Settings()
    banding = engine.plan_banding(settings)
    signer, buffers = engine.Signer(settings, banding), engine.text_buffers(texts)
    of_signer = signer.tables, engine.SECRET, signer.multipliers, signer.addends
    keys = np.zeros((len(texts), banding.bands), np.uint64)
    return buffers.data, buffers.offsets, *of_signer, banding.rows, keys


def steps(known: argparse.Namespace, folder: Path) -> Figures:
    """What a byte of text costs on its way through sign and fetch, in nanoseconds.

    A kernel that stops after a step is run on the same rows as one that stops before it: the step
    is the difference. `copy` is the memory's own speed, and `sign` and `set` are the kernels of the
    engine as they are.
    """
    path, rows = Path(known.corpus[0]), known.rows[0] if known.rows else 100_000
    settings = engine.Settings()
    signer = engine.Signer(settings, engine.plan_banding(settings))
    texts = read_texts(path, rows)
    data, *more = upto_arguments(texts)
    size = int(engine.text_buffers(texts).lengths.sum())

    def ns(function: Callable[..., Any], *given: Any) -> float:
        return best(partial(function, *given), known.runs) / size * 1e9

    whole = [ns(upto, last, data, *more) for last in range(1, len(STEPS) + 1)]
    batch = pa.RecordBatch.from_arrays([texts], ["text"])
    signed = signer.sign(batch)
    sets = ns(engine.shingle_sets, texts, settings)
    return {
        "rows": len(texts),
        "text_bytes": size,
        "bytes_per_token": size / upto(HASH, data, *more),
        "copy": ns(np.copyto, np.empty_like(data), data),
        "decode": ns(read_texts, path, rows),
        "steps": dict(zip(STEPS, np.diff([0, *whole]).tolist(), strict=True)),
        "sign": ns(signer.sign, batch),
        "set": sets,
        "distinct": sets - whole[ROLL - 1],
        "partition": ns(engine.partition_records, signed.keys, signed.shingles, 64),
    }


def render(path: Path, form: str, runs: int) -> dict[str, float]:
    """Read and render every document of a file of a known format: CPU seconds on one thread."""
    (shard,) = engine.find_shards([str(path)])
    wanted = engine.Projection(engine.Template.parse(engine.SHAPES[form].whole))
    seconds, size = [], 0
    for _ in range(runs + 1):
        size, start = 0, time.process_time()
        for part in engine.plan_slices(shard, wanted.template.columns, 64 << 20, 1 << 40):
            for batch in engine.read_slice(shard, part, wanted, batch_bytes=4 << 20):
                size += batch.column(0).nbytes - 8 * batch.num_rows
        seconds.append(time.process_time() - start)
    cpu = statistics.median(seconds[1:])
    return {"bytes": size, "cpu_seconds": cpu, "mb_per_second_and_core": size / cpu / 1e6}
