"""What a run asks of an object store, by kind of request.

Corpus, work directory and output are on an S3 server on this machine (moto, as in the tests).
"""

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.common import ROOT
from dedupe.api import deduplicate
from dedupe.commands.apply.run import apply
from dedupe.progress import Silent
from dedupe.remote.objects import upload

sys.path.append(str(ROOT / "tests"))

import stores


class Stages(Silent):
    """Counts the requests of each stage, as it ends, by the kind that S3 bills."""

    def __init__(self, asked: list[tuple[str, str]]) -> None:
        asked.clear()
        self._asked = asked
        self._name = "find, plan"
        self.found: dict[str, dict[str, int]] = {}

    def stage(self, name: str, tasks: int = 0, done: int = 0) -> None:
        """The one before is over, with what is committed of it: note what was asked since."""
        kinds = ("LIST" if "list-type=" in path else verb for verb, path in self._asked)
        self.found[self._name] = dict(Counter(kinds))
        self._asked.clear()
        self._name = name


def count(asked: list[tuple[str, str]], shards: int, folder: Path) -> dict[str, Any]:
    """Requests of a run and of apply: shards of a hundred rows, of which a tenth are copies."""
    root = f"s3://bucket/{shards}"
    for number in range(shards):
        rows = [f"shard {number} row {i % 90} has words {i % 90} of its own" for i in range(100)]
        pq.write_table(pa.table({"text": rows}), folder / "shard.parquet")
        upload(folder / "shard.parquet", f"{root}/in/{number:05d}.parquet")
    progress = Stages(asked)
    result = deduplicate(f"{root}/in", f"{root}/out", work_dir=f"{root}/work", progress=progress)
    progress.stage("apply")
    apply(f"{root}/out", f"{root}/clean")
    progress.stage("")
    tasks = sum(stage["tasks"] for stage in result.summary["stages"].values())
    return {"shards": shards, "tasks": tasks, "stages": progress.found}


def store_requests(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every request of a run and of `apply` after it, with so many shards (--sizes).

    What is counted for the last stage is also publishing.
    """
    store = stores.Store()
    os.environ |= {**stores.ENVIRONMENT, "AWS_ENDPOINT_URL": store.url}
    fsspec.filesystem("s3", use_listings_cache=False).mkdir("bucket")
    results = []
    for shards in known.sizes or [10, 100, 1000]:
        results.append(count(store.asked, shards, folder))
        print(results[-1], flush=True)
    store.close()
    return {"results": results}
