"""Recall and precision on real corpora of many kinds, against the exact join.

    python benchmarks/real_corpora.py ../shared/data

For each corpus of the folder: render its documents to one text column where it has none (chat,
instruction and preference rows), run `dedupe run` on it with the default settings, and measure the
keep-list with recall.py. Writes results/recall-NAME.json for each.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

RESULTS = Path(__file__).parent / "results"


def messages(row: dict[str, Any]) -> str:
    """A conversation: every message's content."""
    return "\n".join(message["content"] or "" for message in row["messages"])


def instruction(row: dict[str, Any]) -> str:
    """An instruction row: what is asked and what is answered."""
    return "\n".join(row[name] or "" for name in ("instruction", "input", "output"))


def preference(row: dict[str, Any]) -> str:
    """A preference pair: the prompt and both answers."""
    return "\n".join(row[name] or "" for name in ("prompt", "chosen", "rejected"))


CORPORA: dict[str, tuple[str, Callable[[dict[str, Any]], str] | None]] = {
    "english-docs": ("english-docs", None),
    "multilingual": ("multilingual.parquet", None),
    "alpaca": ("alpaca.jsonl.gz", instruction),
    "chat": ("chat.jsonl", messages),
    "preference": ("preference.jsonl", preference),
}
"""Path in the folder, and how a row becomes a document where there is no text column."""


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file."""
    open_ = gzip.open if path.suffix == ".gz" else open
    with open_(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def main() -> None:
    """Run and measure every corpus."""
    data = Path(sys.argv[1])
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for corpus, (file, render) in CORPORA.items():
            path = data / file
            if render is not None:
                texts = [render(row) for row in rows_of(path)]
                path = folder / f"{corpus}.parquet"
                pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), path)
            out = folder / f"{corpus}-out"
            run = [sys.executable, "-m", "dedupe", "run", str(path), "--output", str(out)]
            subprocess.run([*run, "--quiet"], check=True)
            measure = [sys.executable, str(Path(__file__).with_name("recall.py")), str(out)]
            target = RESULTS / f"recall-{corpus}.json"
            print(f"== {corpus}", flush=True)
            subprocess.run([*measure, "--json", str(target)], check=True)


if __name__ == "__main__":
    main()
