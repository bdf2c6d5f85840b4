"""All that a report says, as plain values: what `report.json` has, and the page shows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dedupe.commands.audit.intervals import wilson
from dedupe.commands.report.counts import STEP, Counts
from dedupe.commands.report.look import Looked, Row
from dedupe.commands.report.problems import Place, ProblemsFound, readable_rows
from dedupe.commands.report.template import template_of
from dedupe.pairs import around, changes
from dedupe.result import EARLIER, Result
from dedupe.stages.problems import PROBLEMS, TURNS
from dedupe.storage.fingerprint import digest

FEW = 20
"""Rows under which a value that had as many is told."""
MOVED = 0.02
"""A value whose share moved by so much is told."""
COMPARED_TEXT = 20_000
"""Characters of a text that are compared word by word."""
SHOWN_TEXT = 1_200
"""Characters of a text that are shown."""
SAME_TEXT = 200
"""Those of a field in which a pair does not differ."""


def report_of(
    result: Result, counts: Counts, looked: Looked, problems: ProblemsFound
) -> dict[str, Any]:
    """Bring together what was counted and read.

    result: the finished run. counts, looked, problems: what was found in it.
    """
    summary = result.summary
    lsh = summary["lsh"]
    return {
        "dedupe": summary["dedupe"],
        "algorithm": summary["algorithm"],
        "out": str(result.path),
        "is_run": True,
        "rows": result.rows,
        "kept": result.kept,
        "reasons": {name: count for name, count in summary["reasons"].items() if count},
        "text_bytes": summary["corpus"]["text_bytes"],
        "inputs": digest({one["path"]: [one["size"], one["version"]] for one in result.shards}),
        "files": [{"path": one["path"], "rows": one["rows"]} for one in result.shards],
        "references": [
            {name: one[name] for name in ("given", "rows", "dropped")}
            | {"paths": [shard["path"] for shard in one["shards"]]}
            for one in summary["references"]
        ],
        "index": summary.get("index"),
        "compared": str(result.documents.whole),
        "not_compared": summary["not_compared"],
        "settings": summary["settings"],
        "lsh": lsh,
        "test_sets": _test_sets(summary.get("contamination")),
        "recall": None if lsh is None else _recall(lsh, summary["settings"]["threshold"]),
        "versions": summary["versions"],
        "wall_seconds": summary["wall_seconds"],
        "warnings": summary["warnings"],
        "lost": summary["lost"],
        "shingles": summary["shingles"],
        "lengths": summary["lengths"],
        "scripts": _scripts(summary.get("scripts", {})),
        "longest": summary["longest"],
        "similarities": [
            {"from": round(place * STEP, 2), "dropped": found}
            for place, found in enumerate(counts.similarities)
        ],
        "by": [_column(column.name, column.values) for column in counts.columns],
        "source": counts.source,
        "because_of": _because_of(counts),
        "cluster_sizes": {str(size): found for size, found in counts.clusters.items()},
        "largest": _largest(result, counts, looked),
        "pairs": [_pair(result, line, looked) for line in looked.pairs],
        "written": _written(problems),
        "problems": _problems(result, problems),
        "verdicts": None,
    }


def _test_sets(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What is said of test sets; None without any. found: what summary.json says."""
    if found is None:
        return None
    names = ("benchmark", "items", "contaminated", "uncheckable")
    return {
        "only": found["only"],
        "containment": found["settings"]["containment"],
        "benchmarks": [
            {**{name: one[name] for name in names}, "rows": sum(one["rows_by_source"].values())}
            for one in found["benchmarks"]
        ],
    }


def _recall(lsh: Mapping[str, Any], threshold: float) -> float:
    """The chance that bands propose a pair that is just at the threshold."""
    return float(1 - (1 - threshold ** lsh["rows"]) ** lsh["bands"])


def _because_of(counts: Counts) -> list[dict[str, Any]]:
    """Dropped rows by their source, and by that or the crawl of the rows because of which."""
    found: list[dict[str, Any]] = [
        {"source": source, "because_of": other, "dropped": dropped}
        for (source, other), dropped in counts.matrix.items()
    ]
    found += [
        {"source": source, "because_of": None, "crawl": crawl, "dropped": dropped}
        for (source, crawl), dropped in counts.crawls.items()
    ]
    for one in found:
        one["is_gone"] = one["source"] in counts.gone

    def place(one: Mapping[str, Any]) -> tuple[Any, ...]:
        ends = str((one["source"], one["because_of"]))
        return not one["is_gone"], -one["dropped"], ends, one.get("crawl", "")

    return sorted(found, key=place)


def _column(name: str, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The values of a column, and what happened to each."""
    before = sum(one["before"] for one in values)
    after = sum(one["after"] for one in values)
    found = []
    for one in values:
        was = one["before"] / before if before else 0.0
        now = one["after"] / after if after else 0.0
        found.append(
            {
                **one,
                "moved": round(now - was, 6),
                "is_few": one["after"] < FEW <= one["before"],
                "is_moved": abs(now - was) > MOVED,
            }
        )
    return {"column": name, "values": found}


def _place(result: Result, place: Place) -> dict[str, Any]:
    number, row = place
    if number == EARLIER and result.earlier is not None:
        crawl, path, row = result.earlier.place(row)
        return {"path": path, "row": row, "crawl": crawl}
    return {"path": result.read_shards[number]["path"], "row": row}


def _command(result: Result, place: Place) -> str:
    """The command that shows a row."""
    return f"dedupe show {shlex.quote(str(result.path))} --row {place[0]}:{place[1]}"


def _largest(result: Result, counts: Counts, looked: Looked) -> list[dict[str, Any]]:
    found = []
    for (shard, row, size), members in zip(counts.largest, looked.members, strict=True):
        text = _joined(looked.texts[shard, row])
        others = [_joined(looked.texts[place]) for place in members[1:]]
        cut = [other[:COMPARED_TEXT] for other in others]
        found.append(
            {
                **_place(result, (shard, row)),
                "rows": size,
                "share": size / result.rows,
                "text": text[:SHOWN_TEXT],
                "template": (template_of(text[:COMPARED_TEXT], cut) or "")[:SHOWN_TEXT] or None,
                "show": _command(result, (shard, row)),
            }
        )
    return found


def _joined(row: Row) -> str:
    return "\n".join(text for text in row.values() if text)


def _pair(result: Result, line: Mapping[str, Any], looked: Looked) -> dict[str, Any]:
    own, witness = looked.texts[line["own"]], looked.texts[line["witness"]]
    fields = []
    for name in own:
        one, other = (texts[name] or "" for texts in (witness, own))
        found = list(changes(one[:COMPARED_TEXT], other[:COMPARED_TEXT]))
        is_same = all(change.mark == " " for change in found)
        marked = found if is_same else around(found)
        room = SAME_TEXT if is_same else SHOWN_TEXT
        fields.append({"field": name, "changes": _cut([list(one) for one in marked], room)})
    return {
        "jaccard": line["jaccard"],
        "reason": line["reason"],
        "lost": line["lost"],
        "row": _place(result, line["own"]),
        "witness": _place(result, line["witness"]),
        "fields": [one for one in fields if one["changes"]],
        "show": _command(result, line["own"]),
    }


def _cut(marked: list[list[str]], room: int) -> list[list[str]]:
    """Changes up to so many characters."""
    found = []
    for mark, text in marked:
        if room <= 0:
            found.append([" ", "…"])
            break
        found.append([mark, text if len(text) <= room else f"{text[:room]}…"])
        room -= len(text)
    return found


def _problems(result: Result, found: ProblemsFound) -> dict[str, Any]:
    """What is wrong in the rows that were looked at, estimated for all unless these are all."""
    of = found.looked_at
    readable = readable_rows(result)
    problems = []
    for name, meaning in PROBLEMS.items():
        if name not in found.counts:
            continue
        rows = found.counts[name]
        share = rows / of if of else 0.0
        low, high = (share, share) if of == readable or not of else wilson(share, of)
        problems.append(
            {
                "problem": name,
                "meaning": meaning,
                "rows": rows,
                "share": share,
                "low": low,
                "high": high,
                "examples": [
                    {**_place(result, place), "text": text[: SHOWN_TEXT // 4]}
                    for place, text in found.examples.get(name, [])
                ],
            }
        )
    return {"looked_at": of, "of": readable, "found": problems}


def _scripts(counts: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Rows by script, before and after. counts: what summary.json says."""
    values = [
        {"value": name, "before": one["kept"] + one["dropped"], "after": one["kept"]}
        for name, one in counts.items()
    ]
    return _column("script", sorted(values, key=lambda one: (-one["before"], one["value"])))


def _written(found: ProblemsFound) -> list[dict[str, Any]]:
    """Chats by their turns, and by who speaks in them, before and after."""
    columns = []
    for name, counts in sorted(found.counted.items()):
        values: list[dict[str, Any]] = [
            {"value": value, "before": before, "after": after}
            for value, (before, after) in counts.items()
        ]
        if name == "turns":
            values.sort(key=lambda one: TURNS.index(one["value"]))
        else:
            values.sort(key=lambda one: (-one["before"], one["value"]))
        columns.append(_column(name, values))
    return columns
