"""A corpus of real rows for the comparison: evenly spaced rows of another, in order.

    python benchmarks/peers/sample.py ../shared/data/english-docs corpus20k --rows 20000

Parquet files with the columns `text` and `source`, several of them and several row groups in each,
so that every peer can share the work. The same rows each time.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 2500


def sample(source: Path, target: Path, rows: int, files: int) -> pa.Table:
    """Write `rows` of the corpus in `source` to `target`; returns them."""
    whole = pa.concat_tables(
        pq.read_table(path, columns=["text", "source"]) for path in sorted(source.glob("*.parquet"))
    )
    if rows > len(whole):
        raise SystemExit(f"{source} has {len(whole):,} rows: ask for no more with --rows")
    chosen = whole.take(np.arange(rows) * len(whole) // rows)
    target.mkdir(parents=True)
    ends = np.arange(files + 1) * rows // files
    for number, (begin, end) in enumerate(pairwise(ends.tolist())):
        part = chosen.slice(begin, end - begin)
        path = target / f"part-{number:05d}.parquet"
        pq.write_table(part, path, compression="zstd", row_group_size=ROW_GROUP)
    return chosen


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder of Parquet files")
    parser.add_argument("target", type=Path, help="folder to write, new")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--files", type=int, default=4)
    known = parser.parse_args()
    chosen = sample(known.source, known.target, known.rows, known.files)
    print(f"{len(chosen):,} rows, {chosen['text'].nbytes / 1e6:.1f} MB of text")


if __name__ == "__main__":
    main()
