"""What a run asks of an object store, by kind of request.

    python benchmarks/store_requests.py --json results/store-requests.json

Corpus, work directory and output are on an S3 server on this machine (moto, as in the tests), with
shards of 100 rows. Counted: every request of `deduplicate`, and of `apply` after it. What
is counted for the last stage, keep, is also publishing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import stores

from dedupe import apply, deduplicate
from dedupe.progress import Silent
from dedupe.remote import objects

KINDS = ("LIST", "GET", "HEAD", "PUT", "POST", "DELETE")


def kind_of(method: str, path: str) -> str:
    """The kind of a request as S3 bills it."""
    if method == "GET" and "list-type" in path:
        return "LIST"
    return method


def make(store: stores.Store, shards: int, folder: Path) -> None:
    """Shards of a hundred rows, of which a tenth are copies."""
    for number in range(shards):
        rows = [f"shard {number} row {i % 90} has words {i % 90} of its own" for i in range(100)]
        pq.write_table(pa.table({"text": rows}), folder / "shard.parquet")
        objects.upload(folder / "shard.parquet", f"s3://bucket/{shards}/in/{number:05d}.parquet")


class Stages(Silent):
    """Counts the requests of each stage, as it ends."""

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._at = len(store.asked)
        self._name = "find, plan"
        self.found: dict[str, dict[str, int]] = {}

    def stage(self, name: str, tasks: int, done: int) -> None:
        """The one before is over, with what is committed of it."""
        self.over(name)

    def over(self, next_name: str) -> None:
        """Note what was asked since the last stage."""
        asked = self._store.asked[self._at :]
        self._at += len(asked)
        kinds = Counter(kind_of(method, path) for method, path in asked)
        self.found[self._name] = {kind: kinds[kind] for kind in KINDS if kinds[kind]}
        self._name = next_name

    def close(self) -> None:
        """What is left is publishing."""


def count(store: stores.Store, shards: int) -> dict[str, Any]:
    """Requests of a run by stage, and of apply."""
    root = f"s3://bucket/{shards}"
    progress = Stages(store)
    result = deduplicate(f"{root}/in", f"{root}/out", work_dir=f"{root}/work", progress=progress)
    progress.over("apply")
    apply(f"{root}/out", f"{root}/clean")
    progress.over("")
    tasks = sum(stage["tasks"] for stage in result.summary["stages"].values())
    return {"shards": shards, "tasks": tasks, "stages": progress.found}


def main() -> None:
    """Parse arguments, count, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", required=True, help="result file")
    parser.add_argument("--shards", type=int, nargs="+", default=[10, 100, 1000])
    known = parser.parse_args()
    import tempfile

    import fsspec

    store = stores.Store()
    os.environ |= {**stores.ENVIRONMENT, "AWS_ENDPOINT_URL": store.url}
    fsspec.filesystem("s3", use_listings_cache=False).mkdir("bucket")
    results = []
    with tempfile.TemporaryDirectory() as name:
        for shards in known.shards:
            make(store, shards, Path(name))
            results.append(count(store, shards))
            print(json.dumps(results[-1]))
    store.close()
    Path(known.json).write_text(json.dumps({"results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
