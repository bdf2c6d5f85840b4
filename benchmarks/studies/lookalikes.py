"""Whether meaning counts: texts that differ in symbols, and texts that differ in formatting.

`lookalikes.jsonl` has pairs of both sorts. All its texts are one corpus, in which each stands once.
Texts that differ in symbols must all be kept; of a pair that differs in formatting one must be
dropped. Peers run as their documentation says, in the environments of `benchmarks/peers`.

Variants are made of real Markdown: rendered as plain text, joined to one line, and so on. A variant
is found if one of the two is the witness of the other, or both have the same witness.
"""

import argparse
import html
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from email import message_from_string
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from markdown_it import MarkdownIt

from benchmarks.corpus.small import spaced
from dedupe.api import deduplicate

OWN: dict[str, dict[str, Any]] = {"dedupe": {}, "dedupe --ignore symbols": {"ignore": "symbols"}}
PEERS = ("datatrove", "text-dedup", "datasketch")
TIMEOUT = 600  # seconds that a peer may take
# A commit message is Markdown if it has a block of code, or headings and a list.
FENCE = re.compile(r"(^```[ \t]*(\w*)[^\n]*\n)(.*?)(?=^```)", re.MULTILINE | re.DOTALL)
HEADING, BULLET = (re.compile(begin, re.MULTILINE) for begin in (r"^#{1,6} \S", r"^[-*] \S"))
PYTHON = ("python", "py", "python3", "pycon")
PARSER = MarkdownIt("commonmark").enable("table")


def read_pairs(path: Path) -> dict[tuple[str, str, int], list[str]]:
    """The two texts of each pair, by what is true of it, its kind and its number."""
    pairs: dict[tuple[str, str, int], list[str]] = {}
    with path.open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            pairs.setdefault((row["truth"], row["kind"], row["pair"]), []).append(row["text"])
    return pairs


def right_of(pairs: dict[tuple[str, str, int], list[str]], kept: set[str]) -> list[dict[str, Any]]:
    """Count right decisions, in all and of each kind: different texts kept, same pairs found."""
    count: Counter[tuple[str, str]] = Counter()
    right: Counter[tuple[str, str]] = Counter()
    seen: set[str] = set()
    for (truth, kind, _), texts in pairs.items():
        if truth == "same":
            some, well = 1, int(not kept.issuperset(texts))
        else:
            new = set(texts) - seen
            seen |= new
            some, well = len(new), len(new & kept)
        for name in ("all", kind):
            count[truth, name] += some
            right[truth, name] += well
    return [{"truth": t, "kind": k, "of": of, "right": right[t, k]} for (t, k), of in count.items()]


def peers_on(texts: list[str], venvs: Path, folder: Path) -> Iterator[tuple[Any, npt.NDArray[Any]]]:
    """What each peer with the settings that its documentation names keeps of some texts."""
    from benchmarks.peers import compare

    corpus = folder / "texts.parquet"
    pq.write_table(pa.table({"text": texts}), corpus)
    for tool in compare.tools_of({"own": [], "documented": PEERS, "matched": []}):
        tool.run(venvs, [str(corpus.absolute())], folder / "run", TIMEOUT)
        if tool.kept is None:
            raise SystemExit(f"{tool.name}: {tool.failure}")
        yield tool, tool.kept


def plain(text: str) -> str:
    """Markdown as the text that a reader sees; pictures and tags of HTML are gone."""

    def of_line(token: Any) -> str:
        return "\n" if token.type.endswith("break") else "" if token.children else token.content

    blocks = []
    for block in PARSER.parse(text):
        if block.type == "inline":
            seen = (of_line(one) for one in block.children or () if one.type != "html_inline")
            blocks.append("".join(seen))
        elif block.type in ("fence", "code_block"):
            blocks.append(block.content)
    return "\n\n".join(blocks)


def formatted(text: str) -> str:
    """Markdown with its blocks of Python formatted by ruff, 60 columns wide."""

    def tidy(block: re.Match[str]) -> str:
        if block[2].lower() not in PYTHON:
            return block[0]
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--line-length=60", "-"]
        done = subprocess.run(command, input=block[3], text=True, capture_output=True)
        return block[1] + (block[3] if done.returncode else done.stdout)

    return FENCE.sub(tidy, text)


VARIANTS = {
    "rendered as plain text": plain,
    "rendered, joined to one line": lambda text: " ".join(plain(text).split()),
    "joined to one line": lambda text: " ".join(text.split()),
    "HTML-escaped": html.escape,
    "Python in it formatted": formatted,
}


def readmes(venvs: Path) -> Iterator[str]:
    """The Markdown that the packages of some environments describe themselves with, once each."""
    found = {}
    for path in sorted(venvs.glob("*/lib/python*/site-packages/*.dist-info/METADATA")):
        described = message_from_string(path.read_text(encoding="utf-8"))
        if "markdown" in described.get("Description-Content-Type", ""):
            found[described["Name"].lower()] = described.get_payload()
    yield from dict.fromkeys(found.values())


def markdown_of(english: Path) -> Iterator[tuple[str, list[str]]]:
    """Real Markdown: pages of tldr, and those commit messages that are Markdown."""
    for name, prefix in (("command summaries", "tldr"), ("pull requests", "commit")):
        chosen = pc.starts_with(ds.field("source"), prefix)
        texts = ds.dataset(english).to_table(["text"], filter=chosen)["text"].to_pylist()
        if prefix == "commit":
            marked = (HEADING.search, BULLET.search)
            texts = [t for t in texts if FENCE.search(t) or all(has(t) for has in marked)]
        yield name, texts


def found_of(texts: list[str], others: list[str], **given: Any) -> int:
    """How many of the `others` are found as duplicates of the text of the same place."""
    rows = deduplicate(pa.table({"text": texts + others}), **given).keep_list()
    numbers = pa.array(np.arange(len(rows)))
    witness = pc.fill_null(rows["witness_row"].cast(pa.int64()), numbers).to_numpy()
    return int((witness[: len(texts)] == witness[len(texts) :]).sum())


def lookalikes(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The pairs of a folder of corpora, and variants of at most --sizes texts of its Markdown.

    Peers are measured if a second folder is given: their environments, whose packages have READMEs.
    """
    data, *venvs = map(Path, known.corpus)
    pairs = read_pairs(data / "lookalikes.jsonl")
    texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
    tools = {}
    for name, given in OWN.items():
        kept = deduplicate(pa.table({"text": texts}), **given).kept_rows()
        tools[name] = {"settings": given, "kinds": right_of(pairs, {texts[row] for row in kept})}
    for tool, kept in peers_on(texts, venvs[0], folder) if venvs else ():
        kinds = right_of(pairs, {texts[row] for row in kept})
        tools[tool.name] = {"settings": tool.settings, "kinds": kinds}
    variants = []
    described = (("READMEs of packages", list(readmes(of))) for of in venvs)
    for source, originals in chain(described, markdown_of(data / "english-docs")):
        originals = spaced(pa.array(originals), known.sizes[0] if known.sizes else 10_000)
        for name, vary in VARIANTS.items():
            made = {text: vary(text) for text in originals.to_pylist()}
            changed = {text: other for text, other in made.items() if other != text}
            line = {"source": source, "variant": name, "texts": len(changed)}
            both = list(changed), list(changed.values())
            line["found"] = {tool: found_of(*both, **given) for tool, given in OWN.items()}
            print(line, flush=True)
            variants.append(line)
    return {"tools": tools, "variants": variants}
