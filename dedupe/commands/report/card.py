"""A finished run as a paragraph for a dataset card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def card_of(report: Mapping[str, Any]) -> str:
    """What was done, in Markdown. report: see `assemble.report_of`."""
    rows, kept, reasons = report["rows"], report["kept"], report["reasons"]
    settings = report["settings"]
    if report["test_sets"] is not None and report["test_sets"]["only"]:
        return _of_test_sets(report)
    found = (
        "by an exact join, which misses no pair"
        if report["lsh"] is None
        else f"by MinHash and LSH ({report['lsh']['bands']} bands of {report['lsh']['rows']} "
        f"rows), which proposes a pair at the threshold with a chance of {report['recall']:.2%}"
    )
    alike = (
        f"Two rows are duplicates if the Jaccard similarity of their {settings['shingle']} "
        f"shingles is at least {settings['threshold']:g}; candidates were found {found}, and each "
        "was verified exactly."
        if settings["near"]
        else "Only exact copies were looked for."
    )
    parts = [
        "## Deduplication",
        f"This corpus had {rows:,} rows, of which {kept:,} were kept and {rows - kept:,} "
        f"({share(rows - kept, rows)}) dropped with dedupe {report['dedupe']}: "
        f"{', '.join(f'{count:,} {reason}' for reason, count in reasons.items() if count)}. "
        f"Compared was {report['compared']}. {alike} Every dropped row names the kept row "
        f"that stands for it. {_of_index(report['index'])}{report['shingles']['kept']:,} of "
        f"{sum(report['shingles'].values()):,} shingles were kept. The digest of its files' paths, "
        f"sizes and versions is {report['inputs']}.",
    ]
    return "\n\n".join(parts) + "\n"


def _of_index(found: Mapping[str, Any] | None) -> str:
    """That there were earlier crawls. found: what summary.json says of them; None without any."""
    if found is None:
        return ""
    return (
        f"{found['dropped']:,} of them were dropped because of rows of earlier crawls, of which "
        f"there were {found['rows']:,}. "
    )


def _of_test_sets(report: Mapping[str, Any]) -> str:
    """The same of a corpus that was held against test sets alone."""
    rows, kept, tests = report["rows"], report["kept"], report["test_sets"]
    names = ", ".join(one["benchmark"] for one in tests["benchmarks"])
    return (
        "## Decontamination\n\n"
        f"This corpus had {rows:,} rows, of which {rows - kept:,} ({share(rows - kept, rows)}) "
        f"were dropped with dedupe {report['dedupe']}, since {tests['containment']:.0%} or more of "
        "a question of a test set stand in them, within a window of twice its length. Test sets: "
        f"{names}. Paraphrases and translations are not found.\n"
    )


def share(part: int, whole: int) -> str:
    """A share in percent."""
    return f"{part / whole:.1%}" if whole else "0 %"
