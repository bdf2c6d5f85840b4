"""`report`: what is said of a finished run, and the files that say it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedupe.commands.problems.run import find_problems
from dedupe.commands.problems.table import Problems
from dedupe.config import SOURCE, Execution
from dedupe.errors import SettingsError, listed
from dedupe.progress import Progress
from dedupe.remote import is_uri
from dedupe.result import Result
from dedupe.session import is_within, resolved
from dedupe.storage import file_at

PAGE = "report.html"
"""Where a report goes unless told otherwise."""

CATEGORIES = (
    "source", "dataset", "subset", "section", "domain", "language", "lang", "category", "topic",
    "task", "type", "kind", "label", "difficulty", "level", "role", "split",
)  # fmt: skip
"""Columns whose values are counted without being asked for, where the corpus has them."""


@dataclass(frozen=True)
class Asked:
    """What was asked for: see `reporting.report`."""

    by: list[str]
    difficulty: str | None
    pairs: int
    seed: int
    problems: bool
    execution: Execution
    progress: Progress | None

    def note(self, text: str) -> None:
        """Tell whoever watches."""
        if self.progress is not None:
            self.progress.note(text)


def report_run(result: Result, asked: Asked) -> dict[str, Any]:
    """What a report says of a finished run.

    result: the run. asked: for what.
    """
    if asked.problems and not Problems.are_there(result):
        find_problems(result, execution=asked.execution, progress=asked.progress)
    return _found(result, asked)


def without_run(found: dict[str, Any], corpus: str) -> dict[str, Any]:
    """A report of a corpus: no command shows rows of its run, which is gone.

    found: see `report_run`. corpus: what it is called.
    """
    for one in (*found["pairs"], *found["largest"]):
        one["show"] = None
    return {**found, "out": corpus, "is_run": False}


def files_of_report(page: str, card: str | Path | None) -> list[str]:
    """The files that a report is made of. page, card: see `write_report`."""
    stem = page.removesuffix(".html")
    return [page, f"{stem}.json", f"{stem}.pairs.csv", *([] if card is None else [str(card)])]


def check_report_files(made: Sequence[str], read: Sequence[str]) -> None:
    """Refuse to write over a file of the corpus, into the corpus or into the run's output.

    made: files that will be written. read: files and folders of the corpus, and the output. Raises
    SettingsError.
    """
    inside = [(resolved(one), one) for one in read]
    for file in made:
        here = resolved(file)
        for place, named in inside:
            if is_within(here, place):
                raise SettingsError(
                    f"{file} would be written over or into {named}: choose a place outside it"
                )
        if not is_uri(file) and os.path.isdir(file):
            raise SettingsError(f"{file} is a folder: name a file like report.html")


def write_report(
    found: dict[str, Any], page: str, card: str | Path | None, verdicts: str | Path | None
) -> None:
    """Write a page, and its numbers and pairs beside it.

    found: see `report_run`; gets what verdicts say. page: where it goes. card: a file for the
    paragraph for a dataset card, verdicts: one with what people say of pairs; None for none.
    """
    from dedupe.commands.report.card import card_of
    from dedupe.commands.report.page import page_of
    from dedupe.commands.report.verdicts import csv_of, verdicts_of

    if verdicts is not None:
        found["verdicts"] = verdicts_of(_read(verdicts), str(verdicts), found["similarities"])
    contents = [page_of(found), f"{json.dumps(found, indent=1)}\n".encode(), csv_of(found["pairs"])]
    if card is not None:
        contents.append(card_of(found).encode())
    for file, content in zip(files_of_report(page, card), contents, strict=True):
        _write(file, content)


def _write(path: str, data: bytes) -> None:
    folder, name = file_at(path)
    folder.write(name, data)


def _read(path: str | Path) -> bytes:
    folder, name = file_at(str(path))
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


def _found(result: Result, asked: Asked) -> dict[str, Any]:
    from dedupe.kernels import notices

    with notices(asked.note):
        from dedupe.commands.report.problems import problems_found
    from dedupe.commands.report.assemble import report_of
    from dedupe.commands.report.counts import count
    from dedupe.commands.report.look import look

    more = [] if asked.difficulty is None else [asked.difficulty]
    source = source_of(result, [*asked.by, *more])
    usual = [name for name in CATEGORIES if name in result.documents.whole.others]
    columns = list(dict.fromkeys([*asked.by, *([source] if source else []), *more, *usual]))
    if source is None and len(result.shards) == 1:
        source = next(iter(columns), None)
    counts = count(result, columns, source, asked.difficulty, asked.note)
    looked = look(result, counts, asked.pairs, asked.seed, asked.note)
    problems = problems_found(result, asked.seed, asked.note)
    return report_of(result, counts, looked, problems)
