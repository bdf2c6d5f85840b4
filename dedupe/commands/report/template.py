"""What the rows of a cluster have in common: the text of one, with slots where others differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

SHARED = 0.9
"""Rows that share what is of the template."""
WORDS = 3
"""Words of a shingle here."""
SLOT = "▢"
"""Stands for what differs."""


def template_of(text: str, others: Sequence[str]) -> str | None:
    """A text in which what fewer than nine tenths of the others share is a slot; None if all is.

    text: of one row of a cluster. others: texts of other rows of it. A word stays if it is of a
    shingle of three words that they share.
    """
    if not others:
        return None
    counts: Counter[tuple[str, ...]] = Counter()
    for other in others:
        counts.update(set(_shingles(_words(other))))
    words = re.findall(r"\S+", text)
    stays = [False] * len(words)
    for at, shingle in enumerate(_shingles(_words(text))):
        if counts[shingle] >= SHARED * len(others):
            stays[at : at + WORDS] = [True] * len(shingle)
    shown: list[str] = []
    for word, stay in zip(words, stays, strict=True):
        if stay or shown[-1:] != [SLOT]:
            shown.append(word if stay else SLOT)
    return " ".join(shown) if any(stays) else None


def _words(text: str) -> list[str]:
    return [re.sub(r"\W+", "", word).casefold() or word for word in re.findall(r"\S+", text)]


def _shingles(words: Sequence[str]) -> list[tuple[str, ...]]:
    if len(words) < WORDS:
        return [tuple(words)] if words else []
    return [tuple(words[at : at + WORDS]) for at in range(len(words) - WORDS + 1)]
