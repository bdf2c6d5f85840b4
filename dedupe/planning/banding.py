"""Planning of bands and rows: plain arithmetic on the collision curve.

Two rows of Jaccard similarity s share a band of r signature values with probability s**r, and
at least one of b bands with probability 1 - (1 - s**r)**b (Leskovec, Rajaraman, Ullman, "Mining
of Massive Datasets", section 3.4.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dedupe.config import Settings
from dedupe.errors import SettingsError


@dataclass(frozen=True)
class Banding:
    """`bands` bands of `rows` signature values each."""

    bands: int
    rows: int

    def chance(self, similarity: float) -> float:
        """Probability that two rows of that Jaccard similarity become a candidate pair."""
        return (
            -math.expm1(self.bands * math.log1p(-(similarity**self.rows)))
            if (similarity < 1)
            else 1.0
        )

    @property
    def values(self) -> int:
        """Signature values in use."""
        return self.bands * self.rows


def plan_banding(settings: Settings) -> Banding:
    """The banding to use: what was asked for, or the plan for the recall target.

    The plan takes the most rows per band (the steepest curve, so the fewest false candidates)
    for which few enough bands reach the target at the threshold within num_perm, and then the
    fewest such bands. Raises SettingsError where no banding reaches it.
    """
    if settings.bands is not None and settings.rows is not None:
        return Banding(settings.bands, settings.rows)
    best = 0.0
    for rows in range(settings.num_perm, 0, -1):
        most = settings.num_perm // rows
        best = max(best, Banding(most, rows).chance(settings.threshold))
        for bands in range(1, most + 1):
            if Banding(bands, rows).chance(settings.threshold) >= float(settings.recall):
                return Banding(bands, rows)
    raise SettingsError(
        f"{settings.num_perm} permutations reach a recall of at most {best:.4f} at threshold "
        f"{settings.threshold}, not {settings.recall}: raise num_perm or lower recall"
    )
