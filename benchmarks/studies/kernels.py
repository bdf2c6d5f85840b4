"""Kernels and steps of the engine on one thread; every figure is the best of --runs."""

import argparse
import multiprocessing
import re
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from benchmarks.common import best, seconds
from dedupe.arrays import text_buffers
from dedupe.config import Settings
from dedupe.corpus import Projection, find_shards, plan_slices, read_slice
from dedupe.documents.shapes import SHAPES
from dedupe.documents.template import Template
from dedupe.kernels import give_to_numba
from dedupe.kernels.grouping import bucket_edges, partition_records
from dedupe.kernels.minhash import EMPTY_SIGNATURE, add_to_signature, band_keys, permutations
from dedupe.kernels.text import (
    _find,
    _roll,
    _scan_tokens,
    collapse,
    new_scratch,
    read_text,
)
from dedupe.kernels.unicode import kinds
from dedupe.kernels.verify import verify_components
from dedupe.kernels.xxh3 import SECRET, xxh3_128
from dedupe.planning.banding import plan_banding
from dedupe.schema import EDGES
from dedupe.shingling import Shingler
from dedupe.stages.components import ComponentFinder
from dedupe.stages.sign import Signer, digests_of_others

give_to_numba(globals())
PERMUTATIONS = 96
STEPS = [
    *("normalise: case and width", "find tokens, and symbols that may count"),
    *("append symbols, hash tokens", "roll token hashes into shingles"),
    *("digest", "signature", "band keys"),
]
FOLD, FIND, HASH, ROLL, DIGEST, SIGNATURE, BANDS = range(1, len(STEPS) + 1)
# Files of edges that the last task that joins components reads, and the edges read at a time.
FORESTS, BATCH = 4, 1 << 20
Figures = dict[str, Any]
Side = tuple[Callable[[], Any], int]  # something to time, and how many units it takes
Case = tuple[Side, Side]  # a kernel, and its simplest form; tables.toml names that and the unit


def read_texts(path: Path, rows: float = float("inf")) -> pa.Array:
    """The texts of a file (of a folder the first), or its first rows, decoded on one thread."""
    file = min(path.glob("*.parquet")) if path.is_dir() else path
    batches, found = [], 0
    for batch in pq.ParquetFile(file).iter_batches(1 << 14, columns=["text"], use_threads=False):
        batches.append(batch.column(0))
        found += len(batch)
        if found >= rows:
            break
    return pa.concat_arrays(batches).cast(pa.large_string())


def sets_of(texts: pa.Array) -> Any:
    """The shingle sets of texts, as fetch makes them."""
    batch = pa.RecordBatch.from_arrays([texts], ["text"])
    return Shingler(Settings()).sets(batch)


def shingling(texts: pa.Array) -> Case:
    """Text to shingle sets."""
    from xxhash import xxh3_64_intdigest

    some = texts.slice(0, 2000)
    size, some_size = (int(text_buffers(part).lengths.sum()) for part in (texts, some))
    documents = some.to_pylist()

    def peer() -> None:
        for text in documents:
            words = re.findall(r"\w+", text.lower())
            grams = (" ".join(words[i : i + 5]) for i in range(len(words) - 4))
            {xxh3_64_intdigest(gram.encode()) for gram in grams}

    return (partial(sets_of, texts), size), (peer, some_size)


@njit(nogil=True)
def _digest_all(data, secret):
    for i in range(0, data.size, 1000):
        xxh3_128(data, i, 1000, secret)


def digest() -> Case:
    """xxh3, 128 bits, of documents of 1 kB."""
    from xxhash import xxh3_128_digest

    data = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8)
    parts = [data[i : i + 1000].tobytes() for i in range(0, len(data), 1000)]
    peer = lambda: [*map(xxh3_128_digest, parts)], len(data)
    return (partial(_digest_all, data, SECRET), len(data)), peer


@njit(nogil=True)
def _sign_all(hashes, a, b, out):
    for i in range(0, hashes.size, 200):
        out[:] = EMPTY_SIGNATURE
        add_to_signature(hashes[i : i + 200], 200, a, b, out)


def minhash() -> Case:
    """Shingle hashes to a signature, documents of 200."""
    from datasketch import MinHash

    hashes = np.random.default_rng(0).integers(0, 2**64, 200_000, np.uint64)
    given = *permutations(PERMUTATIONS, 1), np.empty(PERMUTATIONS, np.uint32)
    parts = (hashes[:20_000] & np.uint64(0xFFFFFFFF)).reshape(-1, 200).tolist()

    def peer() -> None:
        for part in parts:
            MinHash(PERMUTATIONS, seed=1, hashfunc=int).update_batch(part)

    return (partial(_sign_all, hashes, *given), len(hashes)), (peer, 20_000)


def banding() -> Case:
    """Band records to edges; a fifth of the keys occur more than once."""
    random, count = np.random.default_rng(0), 1 << 20
    keys = random.integers(0, 2**64, count, np.uint64)
    keys[random.integers(0, count, count // 5)] = keys[random.integers(0, count, count // 5)]
    positions = np.sort(random.integers(0, 10_000_000, count))

    def peer() -> None:
        order = np.argsort(keys, kind="stable")
        same = keys[order][1:] == keys[order][:-1]
        positions[order[1:][same]], positions[order[:-1][same]]

    return (partial(bucket_edges, keys, positions, 1), count), (peer, count)


def union_find() -> Case:
    """Edges to components."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    random, nodes, count = np.random.default_rng(0), 400_000, 1_000_000
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
        ends = places[:count], places[count:]
        connected_components(coo_matrix((np.ones(count, np.int8), ends), (nodes, nodes)))

    return (ours, count), (peer, count)


def jaccard() -> Case:
    """Components of two rows of 200 shingles that share 180."""
    pairs, size = 20_000, 200
    sets = np.random.default_rng(0).integers(0, 2**64, (pairs, 2, size), np.uint64)
    sets[:, 1, 20:] = sets[:, 0, 20:]
    hashes, rows = sets.reshape(-1), np.arange(2 * pairs + 1)
    given = rows[: pairs + 1] * 2, rows[:-1], 1, rows * size, hashes, 0.8, False

    def peer() -> None:
        for one, other in sets[:1000]:
            shared = len(np.intersect1d(one, other, assume_unique=True))
            shared / (2 * size - shared)

    return (partial(verify_components, *given), hashes.size), (peer, 1000 * 2 * size)


def kernels(known: argparse.Namespace, folder: Path) -> Figures:
    """Each kernel in nanoseconds per unit, beside its simplest numpy or library form, in turn."""
    cases: dict[str, Callable[[], Case]] = {"digest": digest, "MinHash": minhash}
    cases |= {"banding": banding, "union-find": union_find, "Jaccard": jaccard}
    shingle_texts = partial(shingling, read_texts(Path(known.corpus[0])))
    found = {}
    for name, make in {"shingling": shingle_texts, **cases}.items():
        ns, peer_ns = (best(side, known.runs) / count * 1e9 for side, count in make())
        found[name] = {"ns": ns, "peer_ns": peer_ns, "ratio": peer_ns / ns}
        print(name, found[name], flush=True)
    return {"kernels": found}


@njit(nogil=True)
def upto(last, data, offsets, tables, secret, multipliers, addends, rows_per_band, keys):
    """The kernel of sign without its exceptions, as far as the step `last`; tokens seen."""
    where, scratch = kinds(tables), new_scratch()
    values = np.empty(multipliers.size, np.uint32)
    tokens = 0
    for row in range(offsets.size - 1):
        length, is_ascii, _, scratch = read_text(
            data, offsets[row], offsets[row + 1], tables, True, scratch
        )
        normal, form, _, joined, _, hashes, places = scratch
        if last < FIND:
            continue
        edges, found = _find(normal, length, is_ascii, True, True, where, hashes, places)
        count = edges >> 1
        if last >= HASH:
            count = _scan_tokens(normal, length, edges, found, where, joined, hashes, places)
        tokens += count
        if last >= ROLL:
            count = _roll(hashes, count, 5)
        if count == 0:
            continue
        if last >= DIGEST:
            size = collapse(normal, length, is_ascii, where, form)
            keys[row, 0] = xxh3_128(form, 0, size, secret)[0]
        if last >= SIGNATURE:
            values[:] = EMPTY_SIGNATURE
            add_to_signature(hashes, count, multipliers, addends, values)
            keys[row, 0] = values[0]
        if last >= BANDS:
            band_keys(values, rows_per_band, keys[row])
    return tokens


def signer_and_arguments(texts: pa.Array) -> tuple[Any, tuple[Any, ...]]:
    """The engine's signer, and what `upto` is given besides the last step; band keys come last."""
    settings = Settings()
    banding = plan_banding(settings)
    signer, buffers = Signer(settings, banding), text_buffers(texts)
    of_signer = signer.shingler.tables, SECRET, signer.multipliers, signer.addends
    keys = np.zeros((len(texts), banding.bands), np.uint64)
    return signer, (buffers.data, buffers.offsets, *of_signer, banding.rows, keys)


def steps(known: argparse.Namespace, folder: Path) -> Figures:
    """What a byte of text costs on its way through sign and fetch, in nanoseconds.

    A kernel that stops after a step is run on the same rows as one that stops before it: the step
    is the difference. `copy` is the memory's own speed; `sign` is the engine's kernel.
    """
    path, rows = Path(known.corpus[0]), known.sizes[0] if known.sizes else 100_000
    texts = read_texts(path, rows)
    signer, (data, *more) = signer_and_arguments(texts)
    size = int(text_buffers(texts).lengths.sum())

    def ns(function: Callable[..., Any], *given: Any) -> float:
        return best(partial(function, *given), known.runs) / size * 1e9

    whole = [ns(upto, last, data, *more) for last in range(1, len(STEPS) + 1)]
    batch = pa.RecordBatch.from_arrays([texts], ["text"])
    signed = signer.sign(batch)
    return {
        "rows": len(texts),
        "bytes_per_token": size / upto(HASH, data, *more),
        "copy": ns(np.copyto, np.empty_like(data), data),
        "decode": ns(read_texts, path, rows),
        "steps": dict(zip(STEPS, np.diff([0, *whole]).tolist(), strict=True)),
        "sign": ns(signer.sign, batch),
        "distinct": ns(sets_of, texts) - whole[ROLL - 1],
        "partition": ns(partition_records, signed.keys, signed.shingles, 64),
    }


def render(path: Path, form: str, runs: int) -> dict[str, float]:
    """Read and render every document of a file of a known format: CPU seconds on one thread."""
    (shard,) = find_shards([str(path)])
    wanted = Projection((Template.parse(SHAPES[form].one_text),))
    taken, size = [], 0
    for _ in range(runs + 1):
        size, start = 0, time.process_time()
        for part in plan_slices(shard, wanted.text_columns, 64 << 20, 1 << 40):
            for batch in read_slice(shard, part, wanted, batch_bytes=4 << 20):
                size += batch.column(0).nbytes - 8 * batch.num_rows
        taken.append(time.process_time() - start)
    cpu = median(taken[1:])
    return {"bytes": size, "cpu_seconds": cpu, "mb_per_second_and_core": size / cpu / 1e6}


def read_with(path: Path, others: tuple[str, ...], turns: int) -> tuple[float, float, int]:
    """Read a file without and with other columns, which are digested: CPU seconds, and rows.

    The two in turns, on one thread; the median of each.
    """
    (shard,) = find_shards([str(path)])
    taken: dict[int, list[float]] = {0: [], 1: []}
    rows = 0
    for turn in range(2 * turns + 2):
        wanted = Projection((Template.parse("text"),), others=others if turn % 2 else ())
        rows, start = 0, time.process_time()
        for part in plan_slices(shard, wanted.text_columns, 64 << 20, 1 << 40):
            for batch in read_slice(shard, part, wanted, batch_bytes=16 << 20):
                digests_of_others(batch.columns[1:], batch.num_rows)
                rows += batch.num_rows
        taken[turn % 2].append(time.process_time() - start)
    return median(taken[0][1:]), median(taken[1][1:]), rows


def forests(rows: int) -> Iterator[pa.RecordBatch]:
    """What merges leave, the same at each call: edges from each row to one anywhere before it.

    On the right of a forest is a half of the even rows: half of all rows are in components.
    """
    generator = np.random.default_rng(7)
    for forest in range(FORESTS):
        for start in range(2, rows, BATCH * 4):
            right = np.arange(start, min(start + BATCH * 4, rows), 4) + 2 * (forest % 2)
            right = right[right < rows]
            left = (generator.random(len(right)) * right).astype(np.int64) // 2 * 2
            edges = [pa.array(left), pa.array(right)]
            yield pa.RecordBatch.from_arrays(edges, schema=EDGES)


def join_components(rows: int) -> Figures:
    """The last task that joins components: its time for each edge, its memory for each row."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finder = ComponentFinder(rows)
    edges, named = 0, 0.0
    for batch in forests(rows):
        named += seconds(partial(finder.mark, batch))
        edges += batch.num_rows
    members = finder.count()
    making = seconds(lambda: [None for _ in forests(rows)])
    joined = seconds(lambda: finder.connect(forests(rows))) - making
    starts = np.linspace(0, rows, max(rows // 5_000_000, 1) + 1).astype(np.int64)
    labelled = sum(batch.num_rows for batch in finder.labels(starts))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if labelled != members:
        raise SystemExit(f"{members} rows in components, {labelled} labels")
    return {
        "rows": rows,
        "members": members,
        "edges": edges,
        "ns_per_edge": (named + joined) / edges * 1e9,
        "bytes_per_member": (after - before) * 1024 / members,
    }


def link_scale(known: argparse.Namespace, folder: Path) -> Figures:
    """The last task that joins components, up to a billion rows, each size in its own process."""
    lines = []
    for rows in known.sizes or [10**7, 10**8, 10**9]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            lines.append(pool.apply(join_components, (rows,)))
        print(lines[-1], flush=True)
    return {"lines": lines}
