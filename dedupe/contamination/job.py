"""What the tasks of contamination leave for one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from dedupe.storage.tables import schema_from_text
from dedupe.tasks.artifacts import ROW, Artifact, TaskResult

TOKENS = pa.large_list(pa.uint64())

ITEMS = Artifact(
    "items",
    "items",
    pa.schema(
        [
            ("file", pa.uint32()),
            ("row", pa.int64()),
            ("id", pa.large_string()),
            ("benchmark", pa.large_string()),
            ("size", pa.uint32()),
            ("passage_size", pa.uint32()),
            ("question", TOKENS),
            ("answer", TOKENS),
            ("passage", TOKENS),
        ]
    ),
    "one for each batch of text that was read, with a row for each item",
    {
        "file": "number of the file of the test sets that has it",
        "row": "row number in that file",
        "id": "its id, if it has one",
        "benchmark": "the test set that it is of",
        "size": "tokens in a shingle of its question",
        "passage_size": "and of its passage",
        "question": "hashes of the tokens of its question",
        "answer": "those of its answer, where the question is short",
        "passage": "those of its passage",
    },
)
SCANNED = Artifact(
    "scan",
    "rows",
    pa.schema([("shingles", pa.uint32()), ("script", pa.uint8()), ("source", pa.uint32())]),
    "one, with a row for each row of the task, in order",
    {
        "shingles": "tokens of the row, 0 for an empty one; all bits set if it is not read",
        "script": "a number for its script",
        "source": "a number for its source",
    },
    {"id": ("as in the corpus", "the id; with `--id` only")},
)
HITS = Artifact(
    "scan",
    "hits",
    pa.schema(
        [
            ("row", pa.uint32()),
            ("places", pa.large_list(pa.uint32())),
            ("numbers", pa.large_list(pa.uint32())),
        ]
    ),
    "one for each batch of text that was read",
    {
        "row": f"{ROW}, of one with some shingles of items",
        "places": "where these begin, counted in tokens",
        "numbers": "which shingles they are, by their place among all of items",
    },
)
SEEN = Artifact(
    "scan",
    "seen",
    pa.schema(
        [
            ("number", pa.uint32()),
            ("rows", pa.uint32()),
            ("source", pa.uint32()),
            ("several", pa.bool_()),
        ]
    ),
    "one",
    {
        "number": "number of a shingle of items",
        "rows": "rows of the task in which it stands",
        "source": "the source of one of them",
        "several": "whether another one has another source",
    },
)
SHORT = Artifact(
    "scan",
    "short",
    pa.schema(
        [("row", pa.uint32()), ("item", pa.int64()), ("first", pa.int64()), ("end", pa.int64())]
    ),
    "one",
    {
        "row": f"{ROW}, of one in which a short question stands with its answer",
        "item": "number of the item",
        "first": "the first token of both",
        "end": "the token after the last",
    },
)
COMMON = Artifact(
    "common",
    "shingles",
    pa.schema([("rows", pa.uint32()), ("common", pa.uint8())]),
    "one, with a row for each shingle of items, in the order of their numbers",
    {
        "rows": "rows of the corpus in which it stands",
        "common": "1 if these are too many, so that it is left out",
    },
)
GROUP_ROWS = 1 << 17
"""Pairs in a record batch of `PAIRS`, and rows in a row group of what is published."""
PAIRS = Artifact(
    "match",
    "pairs",
    pa.schema(
        [
            ("row", pa.uint32()),
            ("source", pa.uint32()),
            ("item", pa.int64()),
            ("part", pa.uint8()),
            ("evidence", pa.uint8()),
            ("shared", pa.int64()),
            ("shingles", pa.int64()),
            ("span_start", pa.int64()),
            ("span_end", pa.int64()),
            ("longest", pa.int64()),
        ]
    ),
    f"one for each {GROUP_ROWS:,} pairs",
    {
        "row": f"{ROW}, of one that has enough of an item",
        "source": "a number for its source",
        "item": "number of the item",
        "part": "0 for its question, 1 for its passage",
        "evidence": "0 for containment, 1 for a short question and its answer",
        "shared": "distinct shingles that stand in one window; of short questions tokens",
        "shingles": "all that there are of it, without common ones; of short questions tokens",
        "span_start": "first character of these in the document",
        "span_end": "the character after the last",
        "longest": "words in the longest run that they have in common",
    },
)
ARTIFACTS = (ITEMS, SCANNED, HITS, SEEN, SHORT, COMMON, PAIRS)
"""Every kind but `tasks.artifacts.CONTAMINATED`, in the order of the stages."""

QUESTION_PART, PASSAGE_PART = 0, 1
BY_CONTAINMENT, BY_ANSWER = 0, 1


@dataclass(frozen=True, kw_only=True)
class ItemsResult(TaskResult):
    """What was read of test sets.

    tokens: of all items. shingles: of questions and passages, repeated ones counted. read: of each
    file its path, its rows, and the templates of the parts of an item.
    """

    tokens: int
    shingles: int
    read: list[Any]


@dataclass(frozen=True, kw_only=True)
class ScanResult(TaskResult):
    """What a scan task counted.

    slices: rows of each slice. tokens: of all rows. text_bytes: bytes of all documents. replaced:
    rows with malformed text. missing_ids: rows without an id. unreadable: rows that could not be
    read and were left out. unread_examples: the first of these, as of sign. sources: the rows of
    each source and what it is called, by its number; None where there are too many. ids: the type
    of the ids, as an Arrow schema message in base64; None without ids. types: of ids, as of sign.
    bad_files: files that could not be read, by path, with the reason; the task is then as if it had
    not been run.
    """

    slices: list[int]
    tokens: int
    text_bytes: int
    replaced: int
    missing_ids: int
    unreadable: int
    unread_examples: list[list[Any]]
    sources: list[list[Any]] | None
    ids: str | None
    types: dict[str, dict[str, int]] = field(default_factory=dict)
    bad_files: dict[str, str] = field(default_factory=dict)

    @property
    def type_of_ids(self) -> pa.DataType | None:
        """The type of ids in the file of the task; None without ids."""
        if self.ids is None:
            return None
        return schema_from_text(self.ids).field(0).type


@dataclass(frozen=True, kw_only=True)
class CommonResult(TaskResult):
    """Which shingles are too common.

    bound: rows from which on, in several sources, a shingle is common. common: how many are.
    shingles: of all items, each once.
    """

    bound: int
    common: int
    shingles: int


@dataclass(frozen=True, kw_only=True)
class MatchResult(TaskResult):
    """What a match task found.

    contaminated: rows. table: contaminated rows by test set and source: [test set, number of the
    source, rows] each. pairs: of rows and items that were recorded.
    """

    contaminated: int
    table: list[list[Any]]
    pairs: int


@dataclass(frozen=True, kw_only=True)
class ReportResult(TaskResult):
    """What became of items.

    benchmarks: [test set, items, contaminated, uncheckable] each. why: uncheckable items by the
    reason.
    """

    benchmarks: list[list[Any]]
    why: dict[str, int]
