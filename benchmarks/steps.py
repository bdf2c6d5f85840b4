"""What a byte of text costs on its way through sign and shingle, step by step, on one thread.

    python benchmarks/steps.py CORPUS/part-00000.parquet --json benchmarks/results/steps.json

A kernel that stops after a step is run on the same rows as one that stops before it: the step is
the difference. Every figure is the best of --runs. `copy` is the memory's own speed, and `sign`
and `set` are the kernels of the engine as they are.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import best, parser, write_result
from numba import njit

from dedupe.arrays import text_buffers
from dedupe.config import Settings
from dedupe.kernels.grouping import partition_records
from dedupe.kernels.intrinsics import store64
from dedupe.kernels.minhash import band_keys, signature
from dedupe.kernels.text import _find_tokens, _fold_ascii, _roll, _scan_tokens
from dedupe.kernels.unicode import SLACK, SPACES, fold
from dedupe.kernels.xxh3 import SECRET, xxh3_128
from dedupe.planning.banding import plan_banding
from dedupe.stages.fetch import shingle_sets
from dedupe.stages.sign import Signer

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


@njit(nogil=True)
def upto(last, data, offsets, tables, secret, multipliers, addends, rows_per_band, keys):  # type: ignore[no-untyped-def]
    """`kernels.rows.sign_rows` without its exceptions, as far as the step `last`; tokens seen."""
    mapped = np.empty(1 << 22, np.uint8)
    joined = np.empty(1 << 22, np.uint8)
    points = np.empty(1 << 12, np.int32)
    hashes = np.empty(1 << 22, np.uint64)
    values = np.empty(multipliers.size, np.uint32)
    tokens = 0
    for row in range(offsets.size - 1):
        start, stop = offsets[row], offsets[row + 1]
        if stop - start + 2 * SLACK > mapped.size // 4:
            continue
        length = stop - start
        if not _fold_ascii(data, start, stop, mapped):
            length, _, mapped, points = fold(data, start, stop, tables, True, True, mapped, points)
        for i in range(0, 64, 8):
            store64(mapped, length + i, SPACES)
        if last == FIND:
            tokens += _find_tokens(mapped, length, hashes) >> 1
        if last < HASH:
            continue
        size, count = _scan_tokens(mapped, length, joined, hashes)
        tokens += count
        if last >= ROLL:
            count = _roll(hashes, count, 5)
        if count == 0:
            continue
        if last >= DIGEST:
            keys[row, 0] = xxh3_128(joined, 0, size, secret)[0]
        if last >= SIGNATURE:
            signature(hashes, count, multipliers, addends, values)
            keys[row, 0] = values[0]
        if last >= BANDS:
            band_keys(values, rows_per_band, keys[row])
    return tokens


def decode(path: str, rows: int) -> pa.Array:
    """The texts of the first rows, as they come from the file."""
    batches, found = [], 0
    for batch in pq.ParquetFile(path).iter_batches(1 << 14, columns=["text"], use_threads=False):
        batches.append(batch.column(0))
        found += len(batch)
        if found >= rows:
            break
    return pa.concat_arrays(batches).cast(pa.large_string())


def measure(path: str, rows: int, runs: int) -> dict[str, Any]:
    """Nanoseconds per byte of text for each step."""
    settings = Settings()
    banding = plan_banding(settings)
    signer = Signer(settings, banding)
    texts = decode(path, rows)
    buffers = text_buffers(texts)
    size = int(buffers.lengths.sum())
    keys = np.zeros((len(texts), banding.bands), np.uint64)
    target = np.empty_like(buffers.data)
    given = (buffers.data, buffers.offsets, signer.tables, SECRET, signer.multipliers)
    more = (signer.addends, banding.rows, keys)

    def ns(function: Any) -> float:
        return best(function, runs) / size * 1e9

    whole = [ns(partial(upto, last, *given, *more)) for last in range(1, len(STEPS) + 1)]
    steps = dict(zip(STEPS, np.diff([0, *whole]).tolist(), strict=True))
    batch = pa.RecordBatch.from_arrays([texts], ["text"])
    sets = ns(partial(shingle_sets, texts, settings))
    signed = signer.sign(batch)
    return {
        "rows": len(texts),
        "text_bytes": size,
        "bytes_per_token": size / upto(HASH, *given, *more),
        "copy": ns(partial(np.copyto, target, buffers.data)),
        "decode": ns(partial(decode, path, rows)),
        "steps": steps,
        "sign": ns(partial(signer.sign, batch)),
        "set": sets,
        "distinct": sets - whole[ROLL - 1],
        "partition": ns(partial(partition_records, signed.keys, signed.shingles, 64)),
    }


def main() -> None:
    """Parse arguments, measure, write."""
    arguments = parser(__doc__, "Parquet file with a `text` column")
    arguments.add_argument("--rows", type=int, default=100_000)
    arguments.set_defaults(runs=5)
    known = arguments.parse_args()
    (corpus,) = known.corpus
    result = measure(corpus, known.rows, known.runs)
    write_result(known.json, result)
    steps = result.pop("steps")
    for name, figure in {**result, **steps}.items():
        print(f"{name:<36} {figure:14,.3f}")


if __name__ == "__main__":
    main()
