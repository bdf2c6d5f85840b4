"""What leaks from test sets: of a random split of a deduplicated corpus, and of `dedupe split`.

A row of the test set leaks if a row that is for training reaches the threshold of the split. The
random split has as many rows to test on. CPU seconds are of whole corpora, beside those of a run
with the same settings and `--cluster transitive` that reads no other columns. Each corpus grows,
too: nine tenths of its rows, drawn at random, are split, and then all of them with that as the
previous split.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from dedupe import Splits, audit_splits, deduplicate, split
from dedupe.corpus import Projection, plan_slices, read_slice
from dedupe.result import shards_of
from dedupe.shingling import RowSets, Shingler
from dedupe.stages.join import JoinBlock
from dedupe.tasks.job import compared_of

CORPORA = {
    "English documents": "english-docs",
    "multilingual documents": "multilingual.parquet",
    "instructions": "alpaca.jsonl.gz",
    "chats": "chat.jsonl",
    "preference pairs": "preference.jsonl",
}
TEST = 0.1
NEW = 0.1
"""Rows that come later, where the corpus grows."""


def sets_of(splits: Splits) -> Iterator[RowSets]:
    """The shingle sets of all rows, some at a time, in order."""
    shingler = Shingler(splits.settings, splits.documents.whole)
    projections: list[Projection] = compared_of(splits.documents, splits.settings)
    for shard, projection in zip(shards_of(splits), projections, strict=True):
        for part in plan_slices(shard, projection.text_columns, 1 << 24, 1 << 20):
            for batch in read_slice(shard, part, projection, batch_bytes=1 << 24):
                yield shingler.sets(batch)


def leaks_at_random(splits: Splits, seed: int) -> int:
    """How many rows leak from a random test set of as many rows as that of a split has."""
    there = np.flatnonzero(~splits.mask("excluded"))
    chosen = np.random.default_rng(seed).choice(there, splits.summary["splits"]["test"], False)
    code = np.zeros(splits.rows, np.int8)  # 0 for neither, 1 for train, 2 for test
    code[there], code[chosen] = 1, 2
    sets = RowSets.joined(len(splits.documents.whole.names), list(sets_of(splits)))
    offsets, hashes = some_of(sets, code == 2)
    block = JoinBlock(offsets, hashes, splits.settings.threshold, fields=sets.fields)
    leaks = np.zeros(len(block.leaders), np.bool_)
    for pairs in block.pairs(*some_of(sets, code == 1)):
        leaks[pairs.entries] = True
    entries = block.entry[block.entry >= 0]
    return int(leaks[entries].sum())


def some_of(
    sets: RowSets, chosen: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Offsets and hashes of some rows."""
    sizes = np.diff(sets.offsets)
    stay = np.repeat(chosen, sets.fields)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[stay])])
    return offsets, sets.hashes[np.repeat(stay, sizes)]


def cpu_seconds(call: Callable[[], Any], runs: int) -> float:
    """CPU seconds of the cheapest of several calls, after one that is not counted."""
    taken = []
    for _ in range(runs + 1):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return min(taken[1:])


def read(place: Path) -> pa.Table:
    """All rows of a corpus."""
    if place.is_dir():
        return pa.concat_tables(map(read, sorted(place.glob("*.parquet"))))
    if place.suffix == ".parquet":
        return pq.read_table(place)
    with pa.input_stream(place, compression="detect") as file:
        return pyarrow.json.read_json(file)


def growth(place: Path, folder: Path, runs: int) -> dict[str, Any]:
    """What becomes of a corpus of which a tenth is new, and what that takes."""
    rows = read(place)
    is_old = np.random.default_rng(1).random(len(rows)) < 1 - NEW
    (folder / "corpus").mkdir()
    for name, chosen in (("old", is_old), ("new", ~is_old)):
        pq.write_table(rows.filter(pa.array(chosen)), folder / "corpus" / f"{name}.parquet")
    before = split(folder / "corpus" / "old.parquet", folder / "previous", test=TEST)
    grown = split(folder / "corpus", folder / "grown", previous=before)
    stood = dict(grown.masks("test"))[str(folder / "corpus" / "old.parquet")]
    if not np.array_equal(stood, before.mask("test")):
        raise SystemExit(f"a row of {place} has moved")
    return {
        "rows": int((~is_old).sum()),
        "excluded": grown.summary["splits"]["excluded"],
        "leaks": sum(audit_splits(folder / "grown").leaks.values()),
        "cpu_seconds": cpu_seconds(partial(split, folder / "corpus", previous=before), runs),
        "anew_cpu_seconds": cpu_seconds(partial(split, folder / "corpus"), runs),
    }


def splits(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The corpora in a folder, each deduplicated first."""
    data = Path(known.corpus[0])
    lines = []
    for name, place in CORPORA.items():
        path = folder / place.partition(".")[0]
        deduplicate(data / place, path / "out")
        made = split(path / "out", path / "splits", test=TEST)
        found = audit_splits(path / "splits")
        rows = {**made.summary["splits"]}
        settings = {key: getattr(made.settings, key) for key in ("threshold", "recall", "compare")}
        alike = {**settings, "cluster": "transitive", "differences": False}
        line = {
            "corpus": name,
            "settings": settings,
            "kept": made.rows - rows["excluded"],
            "test": rows["test"],
            "leaks": found.leaks["test"],
            "random": [leaks_at_random(made, seed) for seed in (1, 2, 3)],
            "split_cpu_seconds": cpu_seconds(partial(split, data / place, **settings), known.runs),
            "growth": growth(data / place, path, known.runs),
            "run_cpu_seconds": cpu_seconds(partial(deduplicate, data / place, **alike), known.runs),
        }
        print(line, flush=True)
        lines.append(line)
    return {"lines": lines}
