"""Random corpora that come crawl by crawl, and what one run over all of them says of each row."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe import Result, Settings, Tuning, deduplicate
from dedupe.index.store import Store
from dedupe.indexing import begin_index
from dedupe.schema import REASONS
from dedupe.storage import files_at

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("instruction", pa.string()),
        ("output", pa.string()),
        ("lang", pa.string()),
        ("crawl", pa.int32()),
    ]
)

DECISIONS = ("row", "keep", "witness_shard", "witness_row", "jaccard", "lost")
"""What an index and one run over all say alike of each row, besides ids."""

VOCABULARY = [f"w{i}" for i in range(400)]

SMALL = Tuning(
    task_text=3_000, task_rows=20, bucket_records=500, keep_rows=10, edge_batch=7, survey_shards=1
)
"""Cuts small crawls into many tasks."""


def some_rows(random_: random.Random, count: int) -> list[dict]:
    """Originals, edits of them of every strength, copies in capitals, and rows without words."""
    originals = [
        [random_.choice(VOCABULARY) for _ in range(60)] for _ in range(random_.choice([1, 3, 10]))
    ]
    rows = []
    for number in range(count):
        words = list(random_.choice(originals))
        for _ in range(random_.choice([0, 0, 1, 2, 3, 5, 8])):
            words[random_.randrange(len(words))] = random_.choice(VOCABULARY)
        if random_.random() < 0.2:
            words = [random_.choice(VOCABULARY) for _ in range(60)]
        if random_.random() < 0.1:
            words = []
        parts = [" ".join(part) for part in (words, words[:20], words[20:])]
        if random_.random() < 0.2:
            parts = [part.upper() for part in parts]
        names = ("text", "instruction", "output")
        row = dict(zip(names, parts, strict=True))
        rows.append({"id": f"r{number}", **row, "lang": random_.choice("ab"), "crawl": 0})
    return rows


def cut(random_: random.Random, rows: Sequence, parts: int) -> list:
    """Cut rows somewhere; parts may be empty."""
    cuts = sorted(random_.randrange(len(rows) + 1) for _ in range(parts - 1))
    return [rows[first:end] for first, end in pairwise([0, *cuts, len(rows)])]


def written(folder: Path, crawls: Sequence[Sequence[Sequence[dict]]]) -> list[list[str]]:
    """Write the files of crawls, each of which is lists of rows; their paths, crawl by crawl."""
    folder.mkdir()
    paths: list[list[str]] = []
    for number, files in enumerate(crawls):
        paths.append([])
        for place, rows in enumerate(files):
            path = folder / f"crawl-{number}-part-{place}.parquet"
            numbered = [{**row, "crawl": number} for row in rows]
            pq.write_table(pa.Table.from_pylist(numbered, schema=SCHEMA), path)
            paths[-1].append(str(path))
    return paths


def some_crawls(folder: Path, random_: random.Random, rows: list[dict]) -> list[list[str]]:
    """Rows in order, cut into crawls of one to three files each, of which some are empty."""
    crawls = cut(random_, rows, random_.randrange(2, 6))
    return written(folder, [cut(random_, one, random_.randrange(1, 4)) for one in crawls])


def opened(index: Path | str) -> Store:
    """The index as it is now."""
    return Store.open(files_at(index))


def added(
    index: Path, folder: Path, crawls: Sequence[Sequence[str]], settings: Settings, **how
) -> list[Result]:
    """Make an index, and add crawls to it, one by one."""
    begin_index(str(index), settings)
    return [
        deduplicate(one, folder / f"out-{n}", index=index, add=True, name=f"c{n}", **how)
        for n, one in enumerate(crawls)
    ]


def lists_of(result: Result) -> dict[str, list[dict]]:
    """The rows of the keep-list of each file."""
    lists = zip(result.shards, result.files, strict=True)
    return {shard["path"]: pq.read_table(path).to_pylist() for shard, path in lists}


def known(store: Store) -> list[dict]:
    """What an index says of each row, besides its class."""
    rows = store.manifest.rows
    reasons = store.state(0, rows).reasons.tolist()
    found = [
        {"reason": reason, **row}
        for reason, row in zip(reasons, store.rows(0, rows).to_pylist(), strict=True)
    ]
    for row in found:  # no number is not equal to itself
        row["jaccard"] = None if row["jaccard"] != row["jaccard"] else row["jaccard"]
    return found


def classes(store: Store) -> list[int]:
    """The class of each row as it is now."""
    return store.state(0, store.manifest.rows).classes.tolist()


def places(store: Store) -> list[tuple[str, str, int]]:
    """(crawl, path, row) of each row of an index."""
    found = store.places()
    counts = np.diff(found.starts).tolist()
    named = zip(found.crawls.to_pylist(), found.paths.to_pylist(), counts, strict=True)
    return [(crawl, path, row) for crawl, path, count in named for row in range(count)]


def said(store: Store) -> dict[tuple[str, int], tuple]:
    """(crawl, reason, jaccard, witness's crawl, path and row, lost) by path and row."""
    where = places(store)
    found = {}
    for (crawl, path, row), one in zip(where, known(store), strict=True):
        witness = one["witness"]
        of_witness = (None, None, None, None) if witness < 0 else (*where[witness], one["lost"])
        found[path, row] = (crawl, REASONS[one["reason"]], one["jaccard"], *of_witness)
    return found
