"""dolma: `dolma dedupe` by 5-grams in a Bloom filter, a whole document as one paragraph.

https://github.com/allenai/dolma/blob/main/docs/deduplication.md. It reads JSON lines in a folder
`documents` and writes which spans were seen before beside it; both conversions are counted.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from runner import NGRAM, arguments, corpus, write_kept


def main() -> None:
    """Convert, run, and read which documents have a span."""
    settings, output, files = arguments()
    with tempfile.TemporaryDirectory() as name:
        documents = Path(name) / "documents"
        documents.mkdir()
        count = 0
        for first, texts in corpus(files):
            target = documents / f"{first:010d}.jsonl.gz"
            with gzip.open(target, "wt", encoding="utf-8", compresslevel=1) as lines:
                for row, text in enumerate(texts, first):
                    lines.write(json.dumps({"id": str(row), "text": text, "source": "p"}) + "\n")
            count = first + len(texts)
        recipe = {
            "documents": [f"{documents}/*.jsonl.gz"],
            "dedupe": {
                "name": "seen",
                "paragraphs": {
                    "attribute_name": "seen",
                    "paragraph_separator": "\u0000",
                    "by_ngram": {
                        "ngram_length": NGRAM,
                        "stride": 0,
                        "overlap_threshold": settings["threshold"],
                        "skip_short_paragraphs": True,
                    },
                },
                "skip_empty": True,
            },
            "bloom_filter": {
                "file": f"{name}/bloom",
                "read_only": False,
                "estimated_doc_count": count * settings["ngrams_per_row"],
                "desired_false_positive_rate": settings["false_positive_rate"],
            },
            "processes": settings["workers"],
        }
        config = Path(name) / "recipe.json"
        config.write_text(json.dumps(recipe), encoding="utf-8")
        program = Path(sys.executable).with_name("dolma")
        subprocess.run([program, "-c", config, "dedupe"], check=True)
        dropped = set()
        for path in (Path(name) / "attributes" / "seen").glob("*.jsonl.gz"):
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    found = json.loads(line)
                    if found["attributes"].get("seen"):
                        dropped.add(int(found["id"]))
    write_kept(output, [row for row in range(count) if row not in dropped])


if __name__ == "__main__":
    main()
