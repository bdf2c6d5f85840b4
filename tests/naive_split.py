"""The oracle for splits: every pair of rows compared, clusters filled in one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import naive
import xxhash

PARTS = ("train", "test", "validation")


def components(count: int, linked: Callable[[int, int], bool]) -> list[int]:
    """For each row the first row that it is linked with, also by others between them."""
    first = list(range(count))
    for i in range(count):
        for j in range(i):
            if linked(i, j) and first[i] != first[j]:
                low, high = sorted((first[i], first[j]))
                first = [low if one == high else one for one in first]
    return first


def similar(sets: Sequence[frozenset[Any]], threshold: float) -> Callable[[int, int], bool]:
    """Whether two rows are similar."""
    return lambda i, j: bool(sets[i] and sets[j]) and naive.jaccard(sets[i], sets[j]) >= threshold


def place(name: str, seed: int) -> tuple[int, int]:
    """Where a cluster stands in the order: the digest of seed and name, its upper half first."""
    words = [seed, int(name[:16], 16), int(name[16:], 16)]
    digest = xxhash.xxh3_128_intdigest(b"".join(word.to_bytes(8, "little") for word in words))
    return digest >> 64, digest & (2**64 - 1)


def quota(wanted: int, rows: Mapping[Any, int]) -> dict[Any, int]:
    """What a split takes of each stratum: whole parts, then the largest remainders."""
    total = sum(rows.values())
    wanted = min(wanted, total)
    parts = {one: Fraction(wanted * count, total) for one, count in rows.items()}
    found = {one: int(part) for one, part in parts.items()}
    order = sorted(parts, key=lambda one: (found[one] - parts[one], list(rows).index(one)))
    for one in order[: wanted - sum(found.values())]:
        found[one] += 1
    return found


def fill(
    clusters: Mapping[str, tuple[int, Any]],
    rows: int,
    shares: Sequence[Fraction],
    seed: int,
    fixed: Mapping[tuple[str, Any], int] | None = None,
) -> dict[str, str]:
    """The split of each cluster. clusters: rows and stratum by name. rows: that go to a split.

    Strata stand in the order in which quotas prefer them. fixed: rows that have their split from
    an earlier one, by split and stratum.
    """
    had: Counter[tuple[str, Any]] = Counter(fixed or {})
    wanted = [int(share * rows + Fraction(1, 2)) for share in shares]
    limit = max(next(filter(None, wanted), 0) // 10, 1)
    counts: Counter[Any] = Counter()
    for size, stratum in sorted(clusters.values(), key=lambda one: one[1]):
        counts[stratum] += size
    for (_, stratum), size in had.items():
        counts[stratum] += size
    small = [one for one in counts if counts[one] < 20]
    if len(small) > 1:
        merged = {one: count for one, count in counts.items() if one not in small}
        merged["small"] = sum(counts[one] for one in small)
    else:
        small, merged = [], dict(counts)
    taken: Counter[tuple[str, Any]] = Counter()
    for (split, stratum), size in had.items():
        taken[split, "small" if stratum in small else stratum] += size
    left = {one: rows - sum(taken[part, one] for part in PARTS) for one, rows in merged.items()}
    found = dict.fromkeys(clusters, "train")
    order = sorted(clusters, key=lambda name: place(name, seed))
    for split, count in zip(("test", "validation"), wanted, strict=True):
        room = {
            one: min(max(part - taken[split, one], 0), left[one])
            for one, part in quota(count, merged).items()
        }
        left = {one: left[one] - room[one] for one in room}
        for name in order:
            size, stratum = clusters[name]
            stratum = "small" if stratum in small else stratum
            if found[name] == "train" and size <= min(limit, room[stratum]):
                found[name] = split
                room[stratum] -= size
    return found


def rounds(
    count: int, stood: Mapping[int, str], linked: Callable[[int, int], bool]
) -> tuple[dict[int, str], set[int]]:
    """(the split of each row that has one, rows that are excluded) once no row joins a split.

    count: of rows. stood: the split of rows of an earlier one, "excluded" of those that were.
    linked: whether two rows are.
    """
    split = {i: one for i, one in stood.items() if one != "excluded"}
    between = stood.keys() - split.keys()
    while True:
        joining: dict[int, str] = {}
        torn = set()
        for i in range(count):
            if i not in split and i not in between:
                near = {split[j] for j in split if linked(i, j)}
                if len(near) > 1:
                    torn.add(i)
                elif near:
                    joining[i] = near.pop()
        apart = {i for i in joining for j in joining if joining[i] != joining[j] and linked(i, j)}
        between |= torn | apart
        joining = {i: one for i, one in joining.items() if i not in apart}
        split |= joining
        if not joining:
            return split, between - stood.keys()
