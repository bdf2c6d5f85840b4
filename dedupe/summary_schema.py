"""What summary.json is: types and ranges of all that is read of it, held against it in one place.

Anybody can write a file with a checksum that fits. A summary that was made by hand, or came from
elsewhere, is an error that says what is wrong with it, and never leads out of its directory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from dedupe.config import Settings
from dedupe.documents.mixed import Documents
from dedupe.errors import SettingsError
from dedupe.schema import REASONS, SPLIT_REASONS, SPLITS

Check = Callable[[Any], None]
"""Raises ValueError, with what was expected, for a value that is not as it must be."""

MOST = 1 << 62
"""Beyond any count of rows or bytes."""
MOST_ROWS = 1 << 40
"""Rows of a shard: see row ids in docs/reference/keep-list.md."""


class UnfitError(ValueError):
    """A value that is not as it must be; where: the keys that lead to it, the last one first."""

    def __init__(self, expected: str) -> None:
        self.where: list[str] = []
        super().__init__(expected)

    def __str__(self) -> str:
        place = ".".join(reversed(self.where)) or "the summary"
        return f"{place} is not {self.args[0]}"


def _expect(holds: bool, expected: str) -> None:
    if not holds:
        raise UnfitError(expected)


def _count(value: Any, most: int = MOST) -> None:
    _expect(type(value) is int and 0 <= value <= most, "a count")


def _number(value: Any) -> None:
    fits = type(value) in (int, float) and math.isfinite(value) and value >= 0
    _expect(fits, "a number from 0")


def _text(value: Any, pattern: str = ".*") -> None:
    fits = (
        isinstance(value, str)
        and re.fullmatch(pattern, value, re.DOTALL) is not None
        and not re.search("[\ud800-\udfff]", value)
    )
    _expect(fits, "a text" if pattern == ".*" else f"a text like {pattern}")


def _flag(value: Any) -> None:
    _expect(type(value) is bool, "true or false")


def _at(name: object, check: Check, value: Any) -> None:
    """Check a value, and say where it is if it is unfit."""
    try:
        check(value)
    except UnfitError as error:
        error.where.append(str(name))
        raise


def _object(checks: Mapping[str, Check]) -> Check:
    """An object with these keys, among others."""

    def check(value: Any) -> None:
        _expect(isinstance(value, dict), "an object")
        for name, one in checks.items():
            _expect(name in value, f"an object with {name}")
            _at(name, one, value[name])

    return check


def _each(one: Check) -> Check:
    """An object all of whose values are alike."""

    def check(value: Any) -> None:
        _expect(isinstance(value, dict), "an object")
        for name, each in value.items():
            _text(name)
            _at(name, one, each)

    return check


def _list(one: Check, length: int | None = None) -> Check:
    """A list of things that are alike; length: how many, None for any number."""

    def check(value: Any) -> None:
        _expect(isinstance(value, list) and length in (None, len(value)), "such a list")
        for number, each in enumerate(value):
            _at(number, one, each)

    return check


def _tuple(*ones: Check) -> Check:
    """A list with one thing of each kind."""

    def check(value: Any) -> None:
        _expect(isinstance(value, list) and len(value) == len(ones), f"a list of {len(ones)}")
        for number, (one, each) in enumerate(zip(ones, value, strict=True)):
            _at(number, one, each)

    return check


def _maybe(one: Check) -> Check:
    """Null, or something."""

    def check(value: Any) -> None:
        if value is not None:
            one(value)

    return check


def _either(one: Check, other: Check) -> Check:
    """A text of the one kind, or anything of the other."""

    def check(value: Any) -> None:
        (one if isinstance(value, str) else other)(value)

    return check


_TEMPLATE = _list(_either(_text, _tuple(_text, _list(_text), _flag, _text)))
_DOCUMENT = _object(
    {
        "fields": _each(_TEMPLATE),
        "equal": _maybe(_TEMPLATE),
        "format": _maybe(_text),
        "guessed": _flag,
        "absent": _list(_text),
        "others": _list(_text),
    }
)
_COUNTS = _each(_count)
_FILE: dict[str, Check] = {
    "path": partial(_text, pattern=".+"),
    "rows": partial(_count, most=MOST_ROWS),
    "size": _count,
    "version": _text,
}
_COMPARED = _FILE | {"document": _count}
_SHARD = _object(
    _COMPARED
    | {
        "keep": partial(_text, pattern=r"keep/[^/\0]+\.parquet"),
        "keep_size": _count,
        "keep_checksum": partial(_count, most=(1 << 64) - 1),
    }
)
_REFERENCE = _object(
    {
        "given": partial(_text, pattern=".+"),
        "rows": _count,
        "dropped": _count,
        "shards": _list(_object(_COMPARED)),
    }
)
_STAGES = _each(
    _object(
        {
            "tasks": _count,
            "resumed": _count,
            "wall_seconds": _number,
            "cpu_seconds": _number,
        }
    )
)
_BY_SPLIT = _object(dict.fromkeys(SPLITS, _count))
_SPLIT_SHARD = _object(
    _COMPARED
    | {
        "splits": _BY_SPLIT,
        "split": partial(_text, pattern=r"splits/[^/\0]+\.parquet"),
        "split_size": _count,
        "split_checksum": partial(_count, most=(1 << 64) - 1),
    }
)
_OF_SPLIT = _object(
    {
        "dedupe": _text,
        "settings": _object({}),
        "asked": _object(
            {
                "test": _number,
                "validation": _number,
                "group": _list(_text),
                "stratify": _list(_text),
                "lengths": _count,
                "seed": partial(_count, most=(1 << 63) - 1),
                "with_duplicates": _flag,
            }
        ),
        "documents": _list(_DOCUMENT),
        "lsh": _maybe(_object({"bands": _count, "rows": _count})),
        "corpus": _object(
            {
                "rows": _count,
                "text_bytes": _count,
                "left_out_files": _each(_text),
                "shards": _list(_SPLIT_SHARD),
                "given": _list(_text),
                "left_out": _COUNTS,
                "repeated": _each(_text),
            }
        ),
        "splits": _BY_SPLIT,
        "wanted": _object(dict.fromkeys(SPLITS[1:3], _count)),
        "reasons": _object(dict.fromkeys(SPLIT_REASONS, _count)),
        "strata": _list(_object({"name": _text, "merged": _flag, **dict.fromkeys(SPLITS, _count)})),
        "clusters": _COUNTS,
        "largest": _list(_object({"rows": _count, "path": _text, "row": _count})),
        "warnings": _list(_text),
        "stages": _STAGES,
        "wall_seconds": _number,
        "algorithm": _count,
        "run": _maybe(_text),
        "previous": _maybe(_text),
    }
)
_CONTAMINATION = _object(
    {
        "settings": _object({"containment": _number, "shingle": _text}),
        "only": _flag,
        "files": _list(_object(_FILE | {"parts": _each(_TEMPLATE)})),
        "items": _count,
        "rows": _count,
        "pairs": _count,
        "common": _object(dict.fromkeys(("rows", "shingles", "of"), _count)),
        "uncheckable": _COUNTS,
        "benchmarks": _list(
            _object(
                {
                    "benchmark": _text,
                    "items": _count,
                    "contaminated": _count,
                    "uncheckable": _count,
                    "rows_by_source": _COUNTS,
                }
            )
        ),
        "made": _each(_tuple(_count, partial(_count, most=(1 << 64) - 1))),
    }
)
_INDEX = _object(
    {
        "path": partial(_text, pattern=".+"),
        "manifest": _count,
        "rows": partial(_count, most=MOST_ROWS),
        "kept": _count,
        "earlier": _flag,
        "added": _flag,
        "name": _maybe(partial(_text, pattern=".+")),
        "compared": _count,
        "dropped": _count,
        "late": _count,
    }
)
_SUMMARY = _object(
    {
        "dedupe": _text,
        "settings": _object({}),
        "documents": _list(_DOCUMENT),
        "lsh": _maybe(_object({"bands": _count, "rows": _count})),
        "corpus": _object(
            {
                "rows": _count,
                "text_bytes": _count,
                "bad_text_replaced": _count,
                "shards": _list(_SHARD),
                "given": _list(_text),
                "unreadable": _object(
                    {
                        "rows": _count,
                        "examples": _list(_object({"path": _text, "row": _count, "why": _text})),
                        "files": _each(_text),
                    }
                ),
                "left_out": _COUNTS,
                "repeated": _each(_text),
            }
        ),
        "references": _list(_REFERENCE),
        "ids": _maybe(
            _object(
                {
                    "missing": _count,
                    "repeated": _count,
                    "examples": _list(
                        _object({"id": _text, "rows": _list(_tuple(_text, _count), 2)})
                    ),
                }
            )
        ),
        "reasons": _object(dict.fromkeys(REASONS, _count)),
        "lost": _COUNTS,
        "shingles": _object({"kept": _count, "dropped": _count}),
        "lengths": _each(_object({"kept": _count, "dropped": _count})),
        "longest": _list(_object({"shingles": _count, "path": _text, "row": _count})),
        "clusters": _COUNTS,
        "not_compared": _each(_maybe(_count)),
        "warnings": _list(_text),
        "components": _object(
            dict.fromkeys(("count", "rows", "largest", "largest_bucket", "pairs_compared"), _count)
        ),
        "stages": _STAGES,
        "wall_seconds": _number,
        "resources": _object({"concurrency": _count}),
    }
)


def check_summary(summary: Any) -> None:
    """Raise ValueError, which says what is wrong, unless this is what a run says of itself.

    summary: the content of summary.json without its checksum.
    """
    _SUMMARY(summary)
    settings = _check_compared(summary)
    shards = summary["corpus"]["shards"]
    counted = partial(_adding_up, total=summary["corpus"]["rows"], known=REASONS)
    _at("reasons", counted, summary["reasons"])
    _at("corpus.shards", partial(_unlike, key="keep"), shards)
    _at("ids", partial(_for_column, column=settings.id), summary["ids"])
    if "index" in summary:
        _at("index", _INDEX, summary["index"])
        _at("index", partial(_of_index, reasons=summary["reasons"]), summary["index"])
    _at("references", _adding_up_to_dropped, summary)


def check_splits(summary: Any) -> None:
    """Raise ValueError, which says what is wrong, unless this is what a split says of itself.

    summary: the content of summary.json without its checksum.
    """
    _OF_SPLIT(summary)
    _check_compared(summary)
    rows, shards = summary["corpus"]["rows"], summary["corpus"]["shards"]
    _at("reasons", partial(_adding_up, total=rows, known=SPLIT_REASONS), summary["reasons"])
    _at("splits", partial(_adding_up, total=rows, known=SPLITS), summary["splits"])
    for number, shard in enumerate(shards):
        counted = partial(_adding_up, total=shard["rows"], known=SPLITS)
        _at(f"corpus.shards.{number}.splits", counted, shard["splits"])
    _at("corpus.shards", partial(_unlike, key="split"), shards)


def _check_compared(summary: Any) -> Settings:
    """Check what is said of what was compared; the settings."""
    if summary["settings"].keys() != {one.name for one in fields(Settings)}:
        raise ValueError(
            f"it was made by version {summary['dedupe']} with settings that this one does not have"
        )
    try:
        settings = Settings(**summary["settings"])
    except (SettingsError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"settings: {error}") from None
    _expect(settings.as_dict() == summary["settings"], "one with settings as a run writes them")
    shards = summary["corpus"]["shards"]
    untouched = [shard for one in summary.get("references", ()) for shard in one["shards"]]
    if "contamination" in summary:
        _at("contamination", _CONTAMINATION, summary["contamination"])
    _at("documents", _some, summary["documents"])
    for number, one in enumerate(summary["documents"]):
        _at(f"documents.{number}.fields", _some, one["fields"].values())
    of_documents = partial(_of_documents, documents=len(summary["documents"]))
    _at("corpus.shards", of_documents, shards)
    _at("references", of_documents, untouched)
    try:
        documents = Documents.from_json(
            summary["documents"], (shard["document"] for shard in (*shards, *untouched))
        )
        [str(one) for one in (*documents.own, *documents.aligned)]
    except (SettingsError, LookupError, ValueError, TypeError) as error:
        raise ValueError(f"documents: {error}") from None
    _at("corpus.shards", partial(_unlike, key="path"), [*shards, *untouched])
    _at("lsh", partial(_banding, settings=settings), summary["lsh"])
    return settings


def _some(value: Collection[Any]) -> None:
    _expect(bool(value) and all(value), "one or more, each with something in it")


def _of_documents(value: Any, documents: int) -> None:
    known = all(one["document"] < documents for one in value)
    _expect(known, f"of files of which each has one of {documents} documents")


def _adding_up(value: Any, total: int, known: Collection[str]) -> None:
    _expect(set(value) == set(known), f"of {', '.join(known)}")
    _expect(sum(value.values()) == total, f"of {total} rows in all, as the corpus is")


def _adding_up_to_dropped(summary: Any) -> None:
    references, reasons = summary["references"], summary["reasons"]
    dropped = sum(one["dropped"] for one in references)
    index = summary.get("index")
    if index is not None:
        _expect(not references, "empty, as rows are held against an index")
        dropped = 0 if index["earlier"] else index["dropped"]
    adds_up = dropped == reasons.get("reference")
    _expect(adds_up, f"of references that dropped {reasons.get('reference')} rows in all")


def _of_index(index: Any, reasons: Mapping[str, int]) -> None:
    own = reasons["exact"] + reasons["near"] if index["earlier"] else reasons["reference"]
    _expect(index["kept"] <= index["rows"], "of an index that keeps no more rows than it has")
    _expect(index["compared"] <= index["kept"], "of an index of which kept rows are compared")
    _expect(index["dropped"] <= own, f"of {own} rows that were dropped because of others")
    _expect(index["earlier"] or not index["added"], "of a run that adds what it holds against it")
    _expect(index["added"] or index["name"] is None, "of a run that adds what has a name")


def _unlike(value: Any, key: str) -> None:
    _expect(len({one[key] for one in value}) == len(value), f"without a {key} that comes twice")


def _banding(value: Any, settings: Settings) -> None:
    _expect((value is not None) == settings.banded, "there where bands proposed pairs, and only so")
    if value is not None:
        within = 1 <= value["bands"] * value["rows"] <= settings.num_perm
        _expect(within, f"of 1 to {settings.num_perm} permutations (bands times rows)")


def _for_column(value: Any, column: str | None) -> None:
    _expect((value is None) == (column is None), "there where ids were asked for, and only so")
