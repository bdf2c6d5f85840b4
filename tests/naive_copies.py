"""Which rows stay and for how many, in plain loops: what `dedupe.stages.copies` must agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

ALONE = ("reference", "contaminated", "unreadable")


def counted(
    rows: Sequence[dict[str, Any]],
    order: Callable[[int], Any],
    same_text: Callable[[int, int], bool],
    *,
    keep_at_most: int = 1,
    per: Sequence[Any] | None = None,
    count_by: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """The keep-list that a run has with these settings.

    rows: that of a run which keeps one row of each cluster, of one shard. order: the preferred row
    of several is that for which it is least, and then the first. same_text: whether two rows are
    exact copies. per, count_by: the values of each row.
    """
    found = [dict(row) for row in rows]
    stays_for: dict[int, int] = {}
    for kept, row in enumerate(rows):
        if not row["keep"]:
            continue
        others = [
            i
            for i, other in enumerate(rows)
            if other["witness_row"] == kept and other["reason"] in ("exact", "near")
        ]
        cluster = [kept, *sorted(others, key=lambda i: (order(i), i))]
        stays = cluster[:keep_at_most]
        if per is not None:
            stays = [
                i for n, i in enumerate(cluster) if per[i] not in [per[j] for j in cluster[:n]]
            ]
        for i in cluster:
            stays_for[i] = kept if i != kept and i not in stays else i
            if per is not None:
                stays_for[i] = next(j for j in stays if per[j] == per[i])
        for i in stays[1:]:
            found[i] |= {"keep": True, "reason": "extra", "lost": None}
    for i, row in enumerate(found):
        mine = [j for j, for_ in stays_for.items() if for_ == i]
        row["copies"] = len(mine) or None
        row["copies_exact"] = sum(j == i or same_text(i, j) for j in mine) or None
        if count_by is not None:
            row["copies_values"] = len({repr(count_by[j]) for j in mine}) or None
    return found


def check_law(rows: Sequence[dict[str, Any]]) -> None:
    """Each row that is not empty counts once: for a kept row, or as dropped because of none."""
    kept = sum(row["copies"] for row in rows if row["keep"] and row["reason"] != "empty")
    alone = sum(row["reason"] in ALONE for row in rows)
    assert kept + alone == sum(row["reason"] != "empty" for row in rows)
    assert all((row["copies"] is None) == (not row["keep"]) for row in rows)
    assert all(row["copies"] == 1 for row in rows if row["reason"] == "empty")
