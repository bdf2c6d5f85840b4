"""`report`: a page and a file of numbers about a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dedupe.config import SOURCE, StorageOptions
from dedupe.errors import SettingsError, listed
from dedupe.remote.given import using
from dedupe.result import Result, places_of
from dedupe.storage import files_at

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
    storage_options: StorageOptions | None = None,
    note: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Write what a finished run did as a page to read, and its numbers beside it.

    out: the run, or the output of one. output: the page, by default report.html in the working
    directory; report.json stands beside it, with the same stem. by: columns whose values are
    counted before and after, besides those that `CATEGORIES` names. pairs: dropped rows that are
    shown beside the rows because of which. seed: other ones draw other rows. card: a file for the
    paragraph for a dataset card, in Markdown. storage_options: as in `deduplicate`. note: is told
    what is read. Returns what report.json has.

    Raises SettingsError where the corpus has no such column, or was in memory; CorpusError for a
    file that is not as the run has read it, WorkDirError for what is no output of a run.
    """
    path = out.path if isinstance(out, Result) else out
    with using(storage_options, places_of(str(path))):
        result = out if isinstance(out, Result) else Result(out)
        found = _found(result, [by] if isinstance(by, str) else list(by), pairs, seed, note)
    from dedupe.commands.report.card import card_of
    from dedupe.commands.report.page import page_of

    page = str(output or PAGE)
    text = json.dumps(found, indent=1)
    with using(storage_options, [page, str(card)]):
        _write(page, page_of(found))
        _write(f"{page.removesuffix('.html')}.json", f"{text}\n".encode())
        if card is not None:
            _write(str(card), card_of(found).encode())
    return found


def _write(path: str, data: bytes) -> None:
    folder, _, name = path.rpartition("/")
    files_at(folder or "/" * path.startswith("/") or ".").write(name, data)


def _found(
    result: Result, by: list[str], pairs: int, seed: int, note: Callable[[str], None]
) -> dict[str, Any]:
    from dedupe.commands.report.assemble import report_of
    from dedupe.commands.report.counts import count
    from dedupe.commands.report.look import look

    document, settings = result.documents.whole, result.summary["settings"]
    there = [*document.columns, *document.others]
    for name in by:
        if name not in there:
            raise SettingsError(f'no column "{name}" in the corpus: there are {listed(there)}')
    source = settings["by"] or (SOURCE if SOURCE in there else None)
    usual = [name for name in CATEGORIES if name in document.others]
    columns = list(dict.fromkeys([*by, *([source] if source else []), *usual]))
    if source is None and len(result.shards) == 1:
        source = next(iter(columns), None)
    counts = count(result, columns, source, note)
    return report_of(result, counts, look(result, counts.largest, pairs, seed, note))
