"""Whether test items are found that were planted in documents, and what is found where none was.

`contamination/tests.jsonl` has questions of public test sets, `contamination/corpus.jsonl` has
documents in some of which one of them was planted, as it is or changed. The rules that others use,
any n-gram of a question in a document, are written here in plain Python. Peers run in environments
of their own, where these are given.
"""

import argparse
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.api import decontaminate
from dedupe.evals import Evals

Rows = list[dict[str, Any]]
TIMEOUT = 600
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


def rules_of_peers(
    documents: Rows, items: Rows, venvs: Path, folder: Path, runs: int
) -> Iterator[tuple[str, float, list[bool]]]:
    """Name, CPU seconds of the fastest run, and what it says, of each peer in environments."""
    from benchmarks.peers import compare

    files = [folder / "corpus.parquet", folder / "items.parquet"]
    pq.write_table(pa.table({"text": [row["text"] for row in documents]}), files[0])
    columns = {name: [item[name] for item in items] for name in ("question", "answer")}
    pq.write_table(pa.table(columns), files[1])
    for peer in compare.LISTED["test_sets"]:
        tool = compare.Tool(
            peer["name"], "documented", peer["documented"], peer["environment"], peer["runner"]
        )
        for _ in range(runs):
            tool.run(venvs, [str(file.absolute()) for file in files], folder / "run", TIMEOUT)
        if tool.kept is None:
            raise SystemExit(f"{tool.name}: {tool.failure}")
        kept = set(tool.kept.tolist())
        taken = min(used.cpu_seconds for used in tool.runs)
        yield tool.name, taken, [row not in kept for row in range(len(documents))]


def contamination(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """What each rule finds in `contamination` of a folder of corpora, the fastest of --runs.

    Peers are measured if a second folder is given: their environments. CPU seconds of these are of
    whole processes.
    """
    data, *venvs = map(Path, known.corpus)
    documents, items = (
        [json.loads(line) for line in (data / "contamination" / name).open(encoding="utf-8")]
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
    for of in venvs:
        for name, seconds, found in rules_of_peers(documents, items, of, folder, known.runs):
            rules[name] = {"cpu_seconds": seconds, "modes": shares(documents, items, found)}
    for name, said in rules.items():
        print(name, said, flush=True)
    return {"items": len(items), "documents": len(documents), "rules": rules}
