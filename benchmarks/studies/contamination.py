"""Whether test items are found that were planted in documents, and what is found where none was.

`contamination/tests.jsonl` has questions of public test sets, `contamination/corpus.jsonl` has
documents in some of which one of them was planted, as it is or changed. The rules that others use,
any n-gram of a question in a document, are written here in plain Python.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dedupe.api import decontaminate
from dedupe.evals import Evals

Rows = list[dict[str, Any]]
SHORT = 12  # words of a question from which it is looked for without its answer
WORDS = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return WORDS.findall(text.lower())


def any_ngram(size: int) -> Callable[[Rows, Rows], list[bool]]:
    """The rule that a document is contaminated that has any n-gram of any question."""

    def rule(documents: Rows, items: Rows) -> list[bool]:
        known = {one for item in items for one in ngrams(item["question"], size)}
        return [not known.isdisjoint(ngrams(row["text"], size)) for row in documents]

    return rule


def ngrams(text: str, size: int) -> set[tuple[str, ...]]:
    """The distinct n-grams of a text's words."""
    said = words(text)
    return {tuple(said[i : i + size]) for i in range(len(said) - size + 1)}


def own_rule(documents: Rows, items: Rows) -> list[bool]:
    """What dedupe says."""
    result = decontaminate(documents, evals=Evals(items), text="text")
    return [not kept for kept in result.mask().tolist()]


RULES = {"dedupe": own_rule, "any 13-gram": any_ngram(13), "any 8-gram": any_ngram(8)}


def shares(documents: Rows, items: Rows, found: list[bool]) -> list[dict[str, Any]]:
    """Rows and those that were found, by how an item was planted and whether it is short."""
    lengths = {item["id"]: len(words(item["question"])) for item in items}
    rows: Counter[tuple[str, bool]] = Counter()
    hits: Counter[tuple[str, bool]] = Counter()
    for row, hit in zip(documents, found, strict=True):
        kind = row["mode"], row["item"] is not None and lengths[row["item"]] < SHORT
        rows[kind] += 1
        hits[kind] += hit
    return [
        {"mode": kind[0], "short": kind[1], "rows": rows[kind], "found": hits[kind]}
        for kind in sorted(rows, key=lambda kind: (kind[1], kind[0]))
    ]


def contamination(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What each rule finds in `contamination` of a folder of corpora, the fastest of --runs."""
    data = Path(known.corpus[0]) / "contamination"
    documents, items = (
        [json.loads(line) for line in (data / name).open(encoding="utf-8")]
        for name in ("corpus.jsonl", "tests.jsonl")
    )
    rules = {}
    for name, rule in RULES.items():
        taken = []
        for _ in range(known.runs):
            began = time.process_time()
            found = rule(documents, items)
            taken.append(time.process_time() - began)
        rules[name] = {"cpu_seconds": min(taken), "modes": shares(documents, items, found)}
        print(name, rules[name], flush=True)
    return {"items": len(items), "documents": len(documents), "rules": rules}
