"""A small real corpus that ships with the package; README.md beside it names source and licence."""

from __future__ import annotations

from importlib.resources import files


def corpus_path() -> str:
    """Path of the demo corpus: gzipped JSON lines with the keys `id`, `text` and `section`."""
    return str(files(__name__) / "packages.jsonl.gz")
