"""Counts to SVG: bars that a page can colour, and that a screen reader is told about."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH, HEIGHT, BELOW = 640, 160, 34


def bars(
    title: str,
    labels: Sequence[str],
    counts: Sequence[int],
    *,
    logarithmic: bool = False,
    mark: int | None = None,
) -> Markup:
    """Bars beside one another.

    title: what is drawn, for those who do not see it. labels, counts: of each bar. logarithmic:
    whether ten times as many are one step higher. mark: the number of a bar in front of which a
    line stands; None for none.
    """
    step = WIDTH / max(len(counts), 1)
    most = max([*counts, 1])
    every = max(1, math.ceil(len(labels) / 12))
    parts = []
    for number, (label, count) in enumerate(zip(labels, counts, strict=True)):
        share = count / most
        if logarithmic and count:
            share = (1 + math.log10(count)) / (1 + math.log10(most))
        height = max(share * HEIGHT, 1.5 if count else 0)
        x, y = number * step, HEIGHT - height
        parts.append(
            f'<rect x="{x + step * 0.06:.1f}" y="{y:.1f}" width="{step * 0.88:.1f}" '
            f'height="{height:.1f}"><title>{escape(label)}: {count:,}</title></rect>'
        )
        if number % every == 0:
            parts.append(f'<text x="{x + step / 2:.1f}" y="{HEIGHT + 16}">{escape(label)}</text>')
    if mark is not None:
        x = mark * step
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}"/>')
    told = ", ".join(f"{label}: {count:,}" for label, count in zip(labels, counts, strict=True))
    return Markup(  # noqa: S704 - every text in it is escaped
        f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT + BELOW}" role="img" '
        f'aria-label="{escape(title)}: {escape(told[:1000])}">'
        f'<line x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>{"".join(parts)}</svg>'
    )
