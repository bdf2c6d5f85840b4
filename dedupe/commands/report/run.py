"""`report`: a page and a file of numbers about a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dedupe.commands.split.result import is_splits
from dedupe.config import SOURCE, StorageOptions
from dedupe.errors import SettingsError, listed
from dedupe.remote.given import using
from dedupe.result import Result, places_of
from dedupe.storage import files_at
from dedupe.storage.files import Files

PAGE = "report.html"
"""Where a report goes unless told otherwise."""

CATEGORIES = (
    "source", "dataset", "subset", "section", "domain", "language", "lang", "category", "topic",
    "task", "type", "kind", "label", "difficulty", "level", "role", "split",
)  # fmt: skip
"""Columns whose values are counted without being asked for, where the corpus has them."""


def report(
    out: str | Path | Result,
    output: str | Path | None = None,
    *,
    by: str | Sequence[str] = (),
    pairs: int = 200,
    seed: int = 1,
    card: str | Path | None = None,
    verdicts: str | Path | None = None,
    storage_options: StorageOptions | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write what a finished run did as a page to read, and its numbers beside it.

    out: the run, or the output of one. output: the page, by default report.html in the working
    directory; beside it stand report.json, and report.pairs.csv with the pairs that are shown. by:
    columns whose values are counted before and after, besides those that `CATEGORIES` names. pairs:
    dropped rows that are shown beside the rows because of which. seed: other ones draw other rows.
    card: a file for the paragraph for a dataset card, in Markdown. verdicts: the pairs.csv of an
    earlier report, in which people have said of pairs whether they are duplicates. storage_options:
    as in `deduplicate`. note: is told what is read. Returns what report.json has.

    Raises SettingsError where the corpus has no such column, or was in memory; CorpusError for a
    file that is not as the run has read it, WorkDirError for what is no output of a run.
    """
    path = out.path if isinstance(out, Result) else out
    if is_splits(str(path), storage_options):
        raise SettingsError(f"{path} is a split: a report is of a finished run")
    with using(storage_options, places_of(str(path))):
        result = out if isinstance(out, Result) else Result(out)
        found = _found(result, [by] if isinstance(by, str) else list(by), pairs, seed, note)
    from dedupe.commands.report.card import card_of
    from dedupe.commands.report.page import page_of
    from dedupe.commands.report.verdicts import csv_of, verdicts_of

    page = str(output or PAGE)
    stem = page.removesuffix(".html")
    with using(storage_options, [page, str(card), str(verdicts)]):
        if verdicts is not None:
            found["verdicts"] = verdicts_of(_read(verdicts), str(verdicts), found["similarities"])
        _write(page, page_of(found))
        _write(f"{stem}.json", f"{json.dumps(found, indent=1)}\n".encode())
        _write(f"{stem}.pairs.csv", csv_of(found["pairs"]))
        if card is not None:
            _write(str(card), card_of(found).encode())
    return found


def _place(path: str) -> tuple[Files, str]:
    """The folder of a file, and the name of the file in it."""
    folder, _, name = path.rpartition("/")
    return files_at(folder or "/" * path.startswith("/") or "."), name


def _write(path: str, data: bytes) -> None:
    folder, name = _place(path)
    folder.write(name, data)


def _read(path: str | Path) -> bytes:
    folder, name = _place(str(path))
    try:
        return folder.read(name)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from error


def source_of(result: Result, by: Sequence[str]) -> str | None:
    """The column that says where rows are from, None where it is their file.

    result: the run. by: columns that were asked for, which may be it where nothing else is. Raises
    SettingsError where the corpus has no such column.
    """
    document = result.documents.whole
    there = [*document.columns, *document.others]
    for name in by:
        if name not in there:
            raise SettingsError(f'no column "{name}" in the corpus: there are {listed(there)}')
    its: str | None = result.summary["settings"]["by"]
    return its or (SOURCE if SOURCE in there else None) or next(iter(by), None)


def _found(
    result: Result, by: list[str], pairs: int, seed: int, note: Callable[[str], None]
) -> dict[str, Any]:
    from dedupe.commands.report.assemble import report_of
    from dedupe.commands.report.counts import count
    from dedupe.commands.report.look import look

    source = source_of(result, by)
    usual = [name for name in CATEGORIES if name in result.documents.whole.others]
    columns = list(dict.fromkeys([*by, *([source] if source else []), *usual]))
    if source is None and len(result.shards) == 1:
        source = next(iter(columns), None)
    counts = count(result, columns, source, note)
    return report_of(result, counts, look(result, counts.largest, pairs, seed, note))
