"""`report`: a page and a file of numbers about a finished run."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from dedupe.commands.problems.run import find_problems
from dedupe.commands.problems.table import Problems
from dedupe.commands.split.result import is_splits
from dedupe.config import SOURCE, Execution, ExecutionKeywords, Settings, configured
from dedupe.errors import SettingsError, listed
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import Result, is_output, places_of
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
    out: str | Path | Result | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    by: str | Sequence[str] = (),
    difficulty: str | None = None,
    pairs: int = 200,
    seed: int = 1,
    card: str | Path | None = None,
    verdicts: str | Path | None = None,
    problems: bool = False,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> dict[str, Any]:
    """Write what a finished run did as a page to read, and its numbers beside it.

    out: the run, or the output of one; or the paths of a corpus, of which only exact copies are
    looked for. output: the page, by default report.html in the working directory; beside it stand
    report.json, and report.pairs.csv with the pairs that are shown. by: columns whose values are
    counted before and after, besides those that `CATEGORIES` names. difficulty: one more, of which
    numbers are counted in ten ranges. pairs: dropped rows that are shown beside the rows because of
    which. seed: other ones draw other rows. card: a file for the paragraph for a dataset card, in
    Markdown. verdicts: the pairs.csv of an earlier report, in which people have said of pairs
    whether they are duplicates. problems: look at all rows for problems, where that was not done
    before, see `find_problems`. execution: where all rows are read and what that may use, see
    `Execution`. progress: is told how far it is. keywords: fields of `Execution` by name. Returns
    what report.json has.

    Raises SettingsError where the corpus has no such column, or was in memory; CorpusError for a
    file that is not as the run has read it, WorkDirError for what is no output of a run.
    """
    where = configured(Execution, execution, keywords)
    asked = _Asked(
        [by] if isinstance(by, str) else list(by),
        difficulty,
        pairs,
        seed,
        problems,
        where,
        progress,
    )
    if isinstance(out, Result):
        found = _of_run(out, asked)
    else:
        given = [out] if isinstance(out, str | Path) else list(out)
        is_run = len(given) == 1 and is_output(given[0], where.storage_options)
        if is_run and is_splits(str(given[0]), where.storage_options):
            raise SettingsError(f"{given[0]} is a split: a report is of a finished run")
        found = _of_run_at(given[0], asked) if is_run else _of_corpus(given, asked)
    from dedupe.commands.report.card import card_of
    from dedupe.commands.report.page import page_of
    from dedupe.commands.report.verdicts import csv_of, verdicts_of

    page = str(output or PAGE)
    stem = page.removesuffix(".html")
    with using(where.storage_options, [page, str(card), str(verdicts)]):
        if verdicts is not None:
            found["verdicts"] = verdicts_of(_read(verdicts), str(verdicts), found["similarities"])
        _write(page, page_of(found))
        _write(f"{stem}.json", f"{json.dumps(found, indent=1)}\n".encode())
        _write(f"{stem}.pairs.csv", csv_of(found["pairs"]))
        if card is not None:
            _write(str(card), card_of(found).encode())
    return found


@dataclass(frozen=True)
class _Asked:
    """What was asked for: see `report`."""

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


def _of_run_at(path: str | Path, asked: _Asked) -> dict[str, Any]:
    with using(asked.execution.storage_options, places_of(path)):
        return _of_run(Result(path), asked)


def _of_run(result: Result, asked: _Asked) -> dict[str, Any]:
    with using(asked.execution.storage_options, places_of(str(result.path))):
        if asked.problems and not Problems.are_there(result):
            find_problems(result, execution=asked.execution, progress=asked.progress)
        return _found(result, asked)


def _of_corpus(given: Sequence[str | Path], asked: _Asked) -> dict[str, Any]:
    """What a corpus is like: that of a run for exact copies, of which nothing stays but this."""
    from dedupe.api import deduplicate

    with tempfile.TemporaryDirectory(prefix="dedupe-report-") as folder:
        result = deduplicate(
            list(map(str, given)),
            f"{folder}/out",
            settings=Settings(near=False),
            execution=asked.execution,
            progress=asked.progress,
        )
        asked = replace(asked, execution=replace(asked.execution, work_dir=None))
        found = _of_run(result, asked)
    return without_run(found, ", ".join(map(str, given)))


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


def _found(result: Result, asked: _Asked) -> dict[str, Any]:
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
    looked = look(result, counts.largest, asked.pairs, asked.seed, asked.note)
    problems = problems_found(result, asked.seed, asked.note)
    return report_of(result, counts, looked, problems)


def without_run(found: dict[str, Any], corpus: str) -> dict[str, Any]:
    """A report of a corpus: no command shows rows of its run, which is gone.

    found: see `assemble.report_of`. corpus: what it is called.
    """
    for one in (*found["pairs"], *found["largest"]):
        one["show"] = None
    return {**found, "out": corpus, "is_run": False}
