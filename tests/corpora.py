"""Small corpora with known trouble, and the whole run in plain Python to compare with."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import naive
import naive_cluster
import naive_hash
import numpy as np
import pyarrow as pa
import strategies
from datasketch import MinHash

from dedupe.config import Settings
from dedupe.corpus import Projection
from dedupe.documents.template import ColumnPath, Template
from dedupe.pipeline import ADDING_STAGES, EARLIER_STAGES
from dedupe.pipeline import STAGES as ALL_STAGES
from dedupe.planning.banding import plan_banding

WORDS = [f"word{i}" for i in range(400)]

STAGES = tuple(name for name in ALL_STAGES if name not in (*EARLIER_STAGES, *ADDING_STAGES))
"""The stages of a run without an index, in order."""


def sentence(random_: random.Random, words: int) -> list[str]:
    return [random_.choice(WORDS) for _ in range(words)]


def edited(random_: random.Random, words: list[str], edits: int) -> list[str]:
    words = list(words)
    for _ in range(edits):
        words[random_.randrange(len(words))] = random_.choice(WORDS)
    return words


def mixed(rows: int, seed: int = 0) -> list[str | None]:
    """Originals, exact and formatting copies, edits of every strength, short, empty and null."""
    random_ = random.Random(seed)
    originals: list[list[str]] = []
    texts: list[str | None] = []
    for _ in range(rows):
        kind = random_.random()
        if not originals or kind < 0.45:
            originals.append(sentence(random_, random_.randint(6, 60)))
            words = originals[-1]
        elif kind < 0.85:
            source = random_.choice(originals[-30:])
            words = edited(random_, source, random_.choice([0, 0, 1, 1, 2, 3, 5, 9]))
        elif kind < 0.95:
            words = sentence(random_, random_.randint(0, 4))
        else:
            texts.append(random_.choice([None, "", " ?! ", "。", "\N{ZERO WIDTH JOINER}"]))
            continue
        joiner = random_.choice([" ", "  ", ", ", "\n"])
        text = joiner.join(words)
        texts.append(text.upper() if random_.random() < 0.1 else text)
    return texts


BLOCKS = [(start, start + 0x7F) for start in range(0x80, 0x3000, 0x80)]
BLOCKS += [(0x3000, 0x33FF), (0x4E00, 0x4FFF), (0xA000, 0xA8FF), (0xAC00, 0xADFF), (0xF900, 0xFFEF)]
BLOCKS += [(0x10000, 0x107FF), (0x11000, 0x119FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF)]
BLOCKS += [(0x20000, 0x200FF), (0xE0000, 0xE01EF), (0x10FF00, 0x10FFFF)]
SPECIAL = "\u200b\u200c\u200d\u200e\u200f\u00ad\ufeff\u0301\u0308\u0e31\u3099 \u3000_7a"


def every_script(rows: int, seed: int = 0) -> list[str | None]:
    """Rows of one or two scripts, with marks, emoji, invisible and unassigned code points."""
    random_ = random.Random(seed)
    texts: list[str | None] = []

    def point() -> str:
        while True:
            char = chr(random_.randint(*random_.choice(blocks)))
            if strategies.known(char):
                return char

    for _ in range(rows):
        kind = random_.random()
        if texts and kind < 0.15:
            texts.append(random_.choice(texts[-200:]))
        elif texts and kind < 0.4:
            chars = list(random_.choice(texts[-200:]) or "")
            for _ in range(random_.randint(1, 3) if chars else 0):
                chars[random_.randrange(len(chars))] = random_.choice(SPECIAL)
            texts.append("".join(chars))
        elif kind < 0.43:
            texts.append(random_.choice([None, "", "\u200d", " \u3000 ", "\U0001f600"]))
        else:
            blocks = random_.choices(BLOCKS, k=2)
            size = random_.randint(1, 60)
            texts.append(
                "".join(
                    random_.choice(SPECIAL) if random_.random() < 0.25 else point()
                    for _ in range(size)
                )
            )
    return texts


def chain(length: int) -> list[str]:
    """Each text is a near-duplicate of the next, and the ends have nothing in common."""
    words = [f"link{i}" for i in range(4 * length + 60)]
    return [" ".join(words[4 * i : 4 * i + 60]) for i in range(length)]


def templates(rows: int, common: int, own: int) -> list[str]:
    """A form letter: `common` shared words, then `own` words that no other row has."""
    form = [f"form{i}" for i in range(common)]
    return [" ".join([*form, *(f"row{row}own{i}" for i in range(own))]) for row in range(rows)]


def wanted(text: str, *others: str, role: str = "id") -> Projection:
    """A column or template, and columns of that role."""
    template = Template.parse(text) if set(text) & set("{[") else Template((ColumnPath(text),))
    return Projection((template,), tuple((role, name) for name in others))


def expected(texts: list[str | None], order: Callable[[int], Any] = lambda _: 0, **given: Any):
    """The keep-list by brute force: (keep, reason, witness row, jaccard) of each row."""
    settings = Settings(**given)
    component, digests, groups, sets = candidates(texts, settings)
    members: dict[int, list[int]] = {}
    for row in range(len(texts)):
        if sets[row]:
            members.setdefault(component[row], []).append(row)
    result: list[Any] = [(True, "empty" if not one else "unique", None, None) for one in sets]
    for rows in members.values():
        rows = sorted(rows, key=lambda row: (order(row), row))
        walk = naive_cluster.transitive if settings.cluster == "transitive" else naive_cluster.cover
        members_sets = [((frozenset(sets[row]),), groups[row]) for row in rows]
        places, similarities = walk(members_sets, settings.threshold)
        witnesses = [rows[place] for place in places]
        for row, witness, similarity in zip(rows, witnesses, similarities, strict=True):
            if witness == row:
                reason = "representative" if witnesses.count(row) > 1 else "unique"
                result[row] = (True, reason, None, None)
            else:
                reason = "exact" if digests[row] == digests[witness] else "near"
                result[row] = (False, reason, witness, min(similarity))
    return result


def candidates(texts: list[str | None], settings: Settings) -> tuple[list[int], Any, Any, Any]:
    """The candidate component of each row, by its first row; its digest, group and shingle set.

    Without bands all rows are one component.
    """
    banding = plan_banding(settings) if settings.banded else None
    component = list(range(len(texts)))
    buckets: dict[tuple[int, int], int] = {}
    digests, groups, sets = [], [], []

    def find(row: int) -> int:
        while component[row] != row:
            row = component[row]
        return row

    for row, text in enumerate(texts):
        ignore = set(settings.ignored)
        hashes = naive_hash.shingles(text, settings.shingle, ignore)
        sets.append(shingle_set(text, settings))
        digests.append(
            naive_hash.digest_text(text, settings.exact, settings.shingle, ignore)
            if text is not None and hashes
            else None
        )
        groups.append(tuple(hashes) if settings.near else digests[-1])
        if not hashes:
            continue
        if settings.banded:
            sketch = MinHash(
                settings.num_perm, settings.minhash_seed, hashfunc=lambda v: v & 0xFFFFFFFF
            )
            sketch.update_batch(hashes)
            values = [int(value) for value in sketch.hashvalues]
            keys = list(enumerate(naive_hash.band_keys(values, banding.bands, banding.rows)))
        elif settings.near:
            keys = ["all rows are one component"]
        else:
            keys = [digests[-1]]
        for key in keys:
            first = find(buckets.setdefault(key, row))
            component[max(first, find(row))] = min(first, find(row))
    return [find(row) for row in range(len(texts))], digests, groups, sets


def shingle_set(text: str | None, settings: Settings) -> set[Any]:
    if text is None:
        return set()
    make = naive.char_shingles if settings.chars else naive.word_shingles
    return make(text, settings.shingle_size, set(settings.ignored))


def table_of(texts: list[str | None], **columns: Any) -> pa.Table:
    return pa.table({"text": pa.array(texts, pa.string()), **columns})


def found(result: Any) -> list[tuple[Any, ...]]:
    """What a run says of each row, in the form of the plain one."""
    rows = result.keep_list().to_pylist()
    return [(r["keep"], r["reason"], r["witness_row"], r["jaccard"]) for r in rows]


def rows_over_a_passage(rows: int, kind: str) -> tuple[Any, Any]:
    """Shingle sets of two fields of rows that all share 296 shingles: (offsets, hashes).

    kind: what tells the rows apart. "answers": only their answers; "questions": these are about one
    passage, and the answers are few; "both"; "some empty": every other row has no answer.
    """
    draw = partial(np.random.default_rng(4).integers, 0, 2**63, dtype=np.uint64)
    passage, half = draw(296), draw((40, 30))
    sets = []
    for i in range(rows):
        question = draw(0 if kind == "answers" else 12)
        answer = half[i % 40] if kind == "questions" else draw(30)
        if kind == "some empty" and i % 2:
            answer = answer[:0]
        sets += [np.concatenate([passage, question]), answer]
    return np.cumsum([0, *map(len, sets)]), np.concatenate(sets)
