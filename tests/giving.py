"""The commands that `test_killed` kills, on one small corpus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dedupe import (
    Evals,
    apply,
    decontaminate,
    deduplicate,
    edges,
    find_problems,
    split,
    write_signatures,
)

OUTPUTS = {
    "run": ["out"],
    "held": ["held"],
    "decontaminate": ["decontaminated"],
    "split": ["splits"],
    "grown": ["grown"],
    "apply": ["clean", "dropped"],
    "counted": ["counted"],
    "upsampled": ["upsampled"],
    "searched": ["searched", "lists"],
}
"""The commands, and what each makes. held: a run against references and test sets. counted: one in
which rows stay beside the kept row; upsampled: of that one, with rows that are written often.
searched: one whose rows are looked at for problems, with signatures and edges beside it."""


def prepare(here: Path, texts: list[str | None]) -> None:
    """Write a corpus, references and test sets, and let every command make its outputs."""
    for name in ("corpus", "half", "references"):
        (here / name).mkdir()
    for number in range(3):
        rows = "".join(
            json.dumps({"text": text, "kind": at % 4}) + "\n"
            for at, text in enumerate(texts[number::3])
        )
        (here / "corpus" / f"{number}.jsonl").write_text(rows)
    (here / "half" / "0.jsonl").write_bytes((here / "corpus" / "0.jsonl").read_bytes())
    (here / "references" / "0.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in texts[::9])
    )
    long = [text for text in texts if text and len(text.split()) > 15]
    items = [{"question": " ".join(text.split()[:14])} for text in long[:20]]
    (here / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    split(here / "half", here / "half splits")
    for command in OUTPUTS:
        give(command, here, here)


def give(command: str, here: Path, made: Path, **how: Any) -> None:
    """Give a command. here: what `prepare` made. made: where its outputs go. how: its execution."""
    evals = Evals([str(here / "items.jsonl")])
    corpus = here / "corpus"
    if command == "run":
        deduplicate(corpus, made / "out", **how)
    elif command == "held":
        deduplicate(corpus, made / "held", against=here / "references", evals=evals, **how)
    elif command == "decontaminate":
        decontaminate(corpus, made / "decontaminated", evals=evals, **how)
    elif command == "split":
        split(corpus, made / "splits", **how)
    elif command == "grown":
        split(corpus, made / "grown", previous=here / "half splits", **how)
    elif command == "counted":
        deduplicate(corpus, made / "counted", per="kind", count_by="kind", **how)
    elif command == "searched":
        out = deduplicate(corpus, made / "searched", **how)
        find_problems(out, **how)
        (made / "lists").mkdir(exist_ok=True)
        write_signatures(out, made / "lists" / "signatures.parquet", **how)
        edges(out, made / "lists" / "edges.parquet", least=0.6, **how)
    elif command == "upsampled":
        how.pop("tuning", None)
        often = {"repeat": "1:2,2:3", "copies_column": "copies", "rows_per_file": 37}
        apply(here / "counted", made / "upsampled", **often, **how)
    else:
        how.pop("tuning", None)
        apply(here / "out", made / "clean", dropped=made / "dropped", **how)
