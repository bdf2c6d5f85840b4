"""data-juicer: `dj-process` with a recipe, by its default executor or by Ray.

https://modelscope.github.io/data-juicer/en/main/docs/Operators.html, operators
`document_minhash_deduplicator` and `ray_bts_minhash_deduplicator`. The corpus is written once more,
with a column of row numbers, since data-juicer has none of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from runner import NGRAM, arguments, corpus, write_kept


def number_rows(files: list[str], folder: Path) -> None:
    """Write the corpus with row numbers: a file for each row group."""
    folder.mkdir()
    for first, texts in corpus(files):
        rows = pa.array(range(first, first + len(texts)), pa.int64())
        table = pa.table({"text": pa.array(texts, pa.string()), "row": rows})
        pq.write_table(table, folder / f"{first:010d}.parquet")


def main() -> None:
    """Write the recipe, run it, and read the row numbers of what was kept."""
    settings, output, files = arguments()
    ray = settings["executor"] == "ray"
    operator = {
        "tokenization": "space",
        "window_size": NGRAM,
        "lowercase": True,
        "jaccard_threshold": settings["threshold"],
        "num_permutations": settings["num_perm"],
    }
    if "bands" in settings:
        operator |= {"num_bands": settings["bands"], "num_rows_per_band": settings["rows"]}
    name = "ray_bts_minhash_deduplicator" if ray else "document_minhash_deduplicator"
    with tempfile.TemporaryDirectory() as work:
        number_rows(files, Path(work) / "corpus")
        kept_path = f"{work}/out/kept" if ray else f"{work}/out/kept.jsonl"
        recipe = {
            "project_name": "peers",
            "dataset_path": f"{work}/corpus",
            "export_path": kept_path,
            "executor_type": settings["executor"],
            "np": settings["workers"],
            "work_dir": f"{work}/work",
            "ds_cache_dir": f"{work}/cache",
            "open_tracer": False,
            "process": [{name: operator}],
        }
        if ray:
            recipe |= {"ray_address": "local"}
        config = Path(work) / "recipe.yaml"
        config.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
        environment = os.environ | {"DATA_JUICER_CACHE_HOME": f"{work}/home"}
        program = Path(sys.executable).with_name("dj-process")
        subprocess.run([program, "--config", config], check=True, env=environment)
        found = ds.dataset(kept_path, format="json").to_table(columns=["row"])["row"]
    write_kept(output, sorted(found.to_pylist()))


if __name__ == "__main__":
    main()
