"""The oracle for contamination: every row against every item, in plain loops, from plain texts."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from naive import kind, normalise, tokens

LEAST_SHINGLES = 10
MOST_TOKENS = 50
LEAST = 0.4


class Pair(NamedTuple):
    part: str
    evidence: str
    shared: int
    shingles: int
    first: int
    end: int


def size_of(text: str, plain: int) -> int:
    """Tokens in a shingle: twice as many where most tokens are characters without spaces."""
    alone = sum(kind(char) == "spaceless" for char in normalise(text))
    return 2 * plain if 2 * alone > len(tokens(text)) else plain


def shingles(words: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def is_long(text: str, plain: int) -> bool:
    return len(tokens(text)) >= LEAST_SHINGLES + size_of(text, plain) - 1


def common_shingles(
    rows: list[tuple[str, str]], items: list[str], plain: int, bound: int
) -> set[tuple[str, ...]]:
    """Shingles of long texts of items that stand in more rows than `bound`, of several sources.

    rows: text and source of each.
    """
    wanted: set[tuple[str, ...]] = set()
    for text in items:
        if is_long(text, plain):
            wanted.update(shingles(tokens(text), size_of(text, plain)))
    counts: Counter[tuple[str, ...]] = Counter()
    sources: dict[tuple[str, ...], set[str]] = {}
    for text, source in rows:
        words = tokens(text)
        for size in (plain, 2 * plain):
            for one in set(shingles(words, size)) & wanted:
                counts[one] += 1
                sources.setdefault(one, set()).add(source)
    return {one for one in counts if counts[one] > bound and len(sources[one]) > 1}


def by_containment(
    row: str, text: str, plain: int, common: set[tuple[str, ...]]
) -> tuple[int, int, int, int] | None:
    """(shared, shingles, first token, end) of the best window; None where too little stands there.

    The window that ends first of those with the most shingles, as short as it can be.
    """
    size = size_of(text, plain)
    own = set(shingles(tokens(text), size)) - common
    if not is_long(text, plain) or len(own) < LEAST_SHINGLES:
        return None
    window = 2 * len(tokens(text))
    hits = [(i, one) for i, one in enumerate(shingles(tokens(row), size)) if one in own]
    best = (0, 0, 0)
    for end, (last, _) in enumerate(hits):
        for begin in range(end + 1):
            first = hits[begin][0]
            if last + size - first <= window:
                shared = len({one for _, one in hits[begin : end + 1]})
                better = shared > best[0]
                shorter = shared == best[0] and last + size == best[2] and first > best[1]
                if better or shorter:
                    best = (shared, first, last + size)
    shared, first, end = best
    return (shared, len(own), first, end) if shared / len(own) >= LEAST else None


def by_answer(row: str, question: str, answer: str, plain: int) -> tuple[int, int] | None:
    """(first token, end) of a short question with its answer beside it, as close as they come."""
    words, asked, replied = tokens(row), tokens(question), tokens(answer)
    most = MOST_TOKENS * (2 if size_of(question, plain) > plain else 1)
    if is_long(question, plain) or not asked or not replied:
        return None
    found = []
    for i in range(len(words) - len(asked) + 1):
        for j in range(len(words) - len(replied) + 1):
            if words[i : i + len(asked)] != asked or words[j : j + len(replied)] != replied:
                continue
            apart = i + len(asked) <= j or j + len(replied) <= i
            first, end = min(i, j), max(i + len(asked), j + len(replied))
            if apart and end - first <= most:
                found.append((end - first, first))
    if not found:
        return None
    length, first = min(found)
    return first, first + length


def pairs(row: str, item: dict[str, str], plain: int, common: set[tuple[str, ...]]) -> list[Pair]:
    """What a row has of an item."""
    found = []
    for part in ("question", "passage"):
        best = by_containment(row, item.get(part) or "", plain, common)
        if best is not None:
            found.append(Pair(part, "containment", *best))
    short = by_answer(row, item.get("question") or "", item.get("answer") or "", plain)
    if short is not None:
        size = len(tokens(item["question"]))
        found.append(Pair("question", "question and answer", size, size, *short))
    return found


def longest_run(some: list[str], others: list[str]) -> int:
    """Tokens in the longest run that both have."""
    return max(
        (
            length
            for length in range(min(len(some), len(others)), 0, -1)
            for i in range(len(some) - length + 1)
            if any(
                some[i : i + length] == others[j : j + length]
                for j in range(len(others) - length + 1)
            )
        ),
        default=0,
    )
