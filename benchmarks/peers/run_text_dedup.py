"""text-dedup: `text_dedup.minhash` with a configuration file, as its README shows.

https://github.com/ChenghaoMou/text-dedup. Its own tokens; rows of fewer than `min_length` of them
are dropped before anything is compared, which is its default.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from datasets import load_from_disk
from runner import NGRAM, arguments, without_nulls, write_kept


def main() -> None:
    """Write the configuration, run, and read the index column of what was kept."""
    settings, output, files = arguments()
    with tempfile.TemporaryDirectory() as name:
        os.environ["HF_DATASETS_CACHE"] = f"{name}/cache"
        from text_dedup.config.base import load_config_from_toml
        from text_dedup.minhash import main as deduplicate

        algorithm = {
            "algorithm_name": "minhash",
            "text_column": "text",
            "seed": 42,
            "num_proc": settings["workers"],
            "batch_size": 10000,
            "num_perm": settings["num_perm"],
            "threshold": settings["threshold"],
            "hash_bits": 64,
            "ngram_size": NGRAM,
            "check_false_positive": settings["check_false_positive"],
        }
        if "bands" in settings:
            algorithm |= {"bands": settings["bands"], "rows": settings["rows"]}
        whole = without_nulls(files, Path(name))
        reading = {"path": "parquet", "data_files": whole, "split": "train", "columns": ["text"]}
        written = {
            "input": {"input_type": "local_files", "file_type": "parquet"},
            "input.read_arguments": reading,
            "algorithm": algorithm,
            "output": {"output_dir": f"{name}/out", "keep_index_column": True},
            "debug": {"enable_profiling": False},
        }
        lines = []
        for part, values in written.items():
            lines.append(f"[{part}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        config = Path(name) / "config.toml"
        config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        deduplicate(load_config_from_toml(config))
        kept = load_from_disk(f"{name}/out")["__INDEX__"]
        write_kept(output, sorted(kept))


if __name__ == "__main__":
    main()
