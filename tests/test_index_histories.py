"""Random histories of an index: after each step, all of it is held against brute force."""

from __future__ import annotations

import random

import crawling
import naive
import numpy as np
import pyarrow.parquet as pq
import pytest

import dedupe.indexing
from dedupe import Index
from dedupe.config import Tuning
from dedupe.schema import EXACT, NEAR

SMALL = Tuning(
    task_text=3_000, task_rows=20, bucket_records=500, keep_rows=10, keep_shards=1, edge_batch=7,
    survey_shards=1, set_bytes=20_000, verify_tasks=3,
)  # fmt: skip
"""Many tasks of each stage."""


class History:
    """An index, and what every row of it is in plain Python: its shingles and its text."""

    def __init__(self, index, threshold):
        self.index, self.threshold = index, threshold
        self.shingles, self.texts, self.ids = [], [], []

    def note(self, crawl):
        for path in crawl:
            for row in pq.read_table(path).to_pylist():
                self.shingles.append(naive.word_shingles(row["text"], 5))
                self.texts.append(row["text"])
                self.ids.append(row["id"])

    def checked(self):
        """(reason, witness) of each row, when all that must hold of them does."""
        found = self.index.verify()
        assert found.ok, found.problems
        assert found.orphans == 0
        store = crawling.opened(self.index.path)
        rows = store.manifest.rows
        state, known = store.state(0, rows), store.rows(0, rows)
        witnesses, similar = known["witness"].to_pylist(), known["jaccard"].to_pylist()
        kept = np.flatnonzero(state.kept).tolist()
        for place, row in enumerate(kept):
            for other in kept[:place]:
                assert self.jaccard(row, other) < self.threshold
        for row, reason in enumerate(state.reasons.tolist()):
            if reason in (EXACT, NEAR):
                assert witnesses[row] in kept
                assert similar[row] == pytest.approx(self.jaccard(row, witnesses[row]), abs=1e-12)
        texts = {
            row: text
            for batch in store.texts(np.array(kept, np.int64))
            for row, text in zip(
                batch["row"].to_pylist(), batch["document"].to_pylist(), strict=True
            )
        }
        assert texts == {row: self.texts[row] for row in kept}
        return list(zip(state.reasons.tolist(), witnesses, strict=True))

    def jaccard(self, row, other):
        return naive.jaccard(self.shingles[row], self.shingles[other])


@pytest.mark.parametrize("seed", range(6))
def test_what_is_added_removed_and_compacted_is_always_right(tmp_path, seed, monkeypatch):
    random_ = random.Random(seed)
    tuning = {"tuning": SMALL} if seed % 2 else {}
    if seed % 3 == 0:
        monkeypatch.setattr(dedupe.indexing, "RANGE", 17)
    threshold = random_.choice([0.5, 0.7, 0.8])
    rows = crawling.some_rows(random_, random_.choice([40, 90]))
    crawls = crawling.some_crawls(tmp_path / "corpus", random_, rows)
    settings = {"id": "id", "text": "text", "threshold": threshold, "recall": "exact"}
    history = History(Index.create(tmp_path / "index", **settings), threshold)
    before = []
    for number, crawl in enumerate(crawls):
        history.index.add(crawl, name=f"c{number}", **tuning)
        history.note(crawl)
        after = history.checked()
        assert after[: len(before)] == before
        for _ in range(random_.choice([0, 1, 2]) if history.ids else 0):
            ids = random_.sample(history.ids, min(len(history.ids), random_.choice([1, 2, 5])))
            told = history.index.remove(ids=ids, **tuning)
            before, after = after, history.checked()
            changed = sum(one != other for one, other in zip(before, after, strict=True))
            assert len(told) >= changed
        if random_.random() < 0.4:
            history.index.compact(purge_unused=random_.random() < 0.5)
            assert history.checked() == after
        before = after
