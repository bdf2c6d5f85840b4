"""pairs.csv: what people say of the pairs of a report, and how often they agree with the run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from dedupe.commands.audit.intervals import wilson
from dedupe.commands.report.counts import STEP
from dedupe.errors import SettingsError

COLUMNS = ("pair", "jaccard", "reason", "path", "row", "witness_path", "witness_row", "verdict")
"""What pairs.csv has; `verdict` is empty, and to be filled in.

Behind it is `witness_crawl`, where some witnesses are in earlier crawls of an index.
"""
YES = {"yes", "y", "1", "true", "duplicate"}
NO = {"no", "n", "0", "false", "different"}
WIDTH = 0.05
"""Width of a range of similarities here."""
LARGEST = 64 << 20
"""Bytes of such a file at most."""


def csv_of(pairs: Sequence[Mapping[str, Any]]) -> bytes:
    """The pairs as CSV, without their texts. pairs: see `assemble.report_of`."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    has_crawls = any("crawl" in pair["witness"] for pair in pairs)
    writer.writerow([*COLUMNS, *(["witness_crawl"] if has_crawls else [])])
    for number, pair in enumerate(pairs, 1):
        own, witness = pair["row"], pair["witness"]
        places = [own["path"], own["row"], witness["path"], witness["row"]]
        crawl = [witness.get("crawl", "")] if has_crawls else []
        writer.writerow([number, f"{pair['jaccard']:.6f}", pair["reason"], *places, "", *crawl])
    return file.getvalue().encode()


def verdicts_of(
    data: bytes, path: str, similarities: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """How often people call a dropped row a duplicate, by similarity.

    data: of a file that `csv_of` has made and people have filled in. path: of the file, for
    messages. similarities: see `assemble.report_of`. The precision of all dropped rows is that of
    each range by the rows that it has; None where a range has rows and no verdict.

    Raises SettingsError, which names the line, for what is no such file.
    """
    ranges: dict[int, list[int]] = {}
    for line, row in _rows(data, path):
        verdict = (row["verdict"] or "").strip().casefold()
        if not verdict:
            continue
        if verdict not in YES | NO:
            raise SettingsError(f"{path}: line {line}: verdict is {verdict!r}: write yes or no")
        try:
            similar = float(row["jaccard"])
        except (TypeError, ValueError):
            similar = -1.0
        if not 0 <= similar <= 1:
            raise SettingsError(f"{path}: line {line}: jaccard is {row['jaccard']!r}")
        counts = ranges.setdefault(_range(similar), [0, 0])
        counts[0] += verdict in YES
        counts[1] += 1
    dropped: dict[int, int] = {}
    for one in similarities:
        place = _range(one["from"] + STEP / 2 if one["from"] < 1 else 1.0)
        dropped[place] = dropped.get(place, 0) + one["dropped"]
    found, right = [], 0.0
    for place in sorted(ranges.keys() | {place for place, rows in dropped.items() if rows}):
        yes, of = ranges.get(place, [0, 0])
        low, high = wilson(yes / of, of) if of else (None, None)
        rows = dropped.get(place, 0)
        right += rows * yes / of if of else 0.0
        found.append(
            {
                "from": round(place * WIDTH, 2),
                "dropped": rows,
                "duplicates": yes,
                "of": of,
                "precision": yes / of if of else None,
                "low": low,
                "high": high,
            }
        )
    total = sum(dropped.values())
    is_whole = total > 0 and all(place in ranges for place, rows in dropped.items() if rows)
    return {"ranges": found, "precision": right / total if is_whole else None}


def _rows(data: bytes, path: str) -> list[tuple[int, dict[str, Any]]]:
    """The number of the line and the values of each row."""
    if len(data) > LARGEST:
        raise SettingsError(f"{path} has {len(data):,} bytes: that is no pairs.csv")
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path} cannot be read as CSV: {error}") from error
    missing = {"jaccard", "verdict"} - set(reader.fieldnames or ())
    if missing:
        raise SettingsError(f"{path} has no column {' and '.join(sorted(missing))}")
    return rows


def _range(similar: float) -> int:
    return int(similar / WIDTH + 1e-9)
