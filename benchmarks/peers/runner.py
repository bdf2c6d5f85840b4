"""What the runners share: the corpus read, shingles where a peer leaves them to the caller, ids.

Runs in the environment of a peer, so it needs pyarrow alone, and nothing of this project.

    python run_PEER.py SETTINGS OUTPUT FILE...

SETTINGS is JSON: `workers`, `threshold`, and what `peers.py` says of the peer. OUTPUT is a Parquet
file to write: one column `row` of int64, the rows kept, numbered through FILEs in their order.
"""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

NGRAM = 5
BATCH = 5000
"""Rows of which a process holds texts and shingles at a time, at most."""
WORD = re.compile(r"\w+")

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """One row group, and the number of its first row in the corpus."""

    path: str
    group: int
    first: int


def arguments() -> tuple[dict[str, Any], str, list[str]]:
    """Settings, where to write, and the files of the corpus."""
    settings, output, *files = sys.argv[1:]
    return json.loads(settings), output, files


def pieces(files: list[str]) -> list[Piece]:
    """The row groups of the corpus, in order."""
    found, first = [], 0
    for path in files:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            found.append(Piece(path, group, first))
            first += metadata.row_group(group).num_rows
    return found


def texts(piece: Piece) -> Iterator[tuple[int, list[str]]]:
    """Yield the texts of a row group, some thousand at a time; a null is an empty text."""
    first = piece.first
    source = pq.ParquetFile(piece.path)
    for batch in source.iter_batches(BATCH, row_groups=[piece.group], columns=["text"]):
        yield first, [text or "" for text in batch["text"].to_pylist()]
        first += batch.num_rows


def corpus(files: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield all texts, some thousand at a time, with the number of the first."""
    for piece in pieces(files):
        yield from texts(piece)


def without_nulls(files: list[str], folder: Path) -> list[str]:
    """The corpus for a peer that stops at nulls: as it is, or with empty texts in their place."""
    groups = (pq.ParquetFile(path).iter_batches(columns=["text"]) for path in files)
    if not any(batch["text"].null_count for batches in groups for batch in batches):
        return files
    written = []
    for first, some in corpus(files):
        written.append(str(folder / f"{first:010d}.parquet"))
        pq.write_table(pa.table({"text": pa.array(some, pa.string())}), written[-1])
    return written


def words(text: str) -> list[str]:
    """Lower-cased words."""
    return WORD.findall(text.lower())


def shingles(text: str) -> list[str]:
    """Distinct word 5-grams in order; of fewer words one shingle of them all, and of none none."""
    tokens = words(text)
    if not tokens:
        return []
    count = max(1, len(tokens) - NGRAM + 1)
    return list(dict.fromkeys(" ".join(tokens[i : i + NGRAM]) for i in range(count)))


def in_processes(
    work: Callable[[list[str]], T], files: list[str], workers: int
) -> Iterator[tuple[int, T]]:
    """Yield what `work` makes of some thousand texts, in order, with the number of the first.

    Two row groups for each worker are under way, so that a slow reader has no backlog in memory.
    """
    under_way: deque[Future[list[tuple[int, T]]]] = deque()
    with ProcessPoolExecutor(workers) as pool:
        for piece in pieces(files):
            if len(under_way) == 2 * workers:
                yield from under_way.popleft().result()
            under_way.append(pool.submit(_work, work, piece))
        while under_way:
            yield from under_way.popleft().result()


def _work(work: Callable[[list[str]], T], piece: Piece) -> list[tuple[int, T]]:
    return [(first, work(some)) for first, some in texts(piece)]


def optimal_bands(threshold: float, num_perm: int) -> tuple[int, int]:
    """Bands and rows of least error above and below the threshold, equally weighted.

    What datasketch does (Zhu et al. 2016), for peers that document the same and leave it to the
    caller. The integrals are sums over a thousand similarities.
    """
    low = [i / 1000 * threshold for i in range(1000)]
    high = [threshold + i / 1000 * (1 - threshold) for i in range(1000)]
    best = (float("inf"), 0, 0)
    for bands in range(1, num_perm + 1):
        for rows in range(1, num_perm // bands + 1):
            wrong = sum(1 - (1 - s**rows) ** bands for s in low) * threshold
            missed = sum((1 - s**rows) ** bands for s in high) * (1 - threshold)
            best = min(best, (wrong + missed, bands, rows))
    return best[1], best[2]


def write_kept(output: str, rows: Any) -> None:
    """Write the rows that were kept."""
    pq.write_table(pa.table({"row": pa.array(rows, pa.int64())}), output)
