"""`report`: a page about a finished run, or about a corpus of which nothing is known yet."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from dedupe.api import deduplicate
from dedupe.commands.report.run import (
    PAGE,
    Asked,
    check_report_files,
    files_of_report,
    report_run,
    without_run,
    write_report,
)
from dedupe.commands.split.result import is_splits
from dedupe.config import Execution, ExecutionKeywords, Settings, configured
from dedupe.errors import SettingsError
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import Result, is_output, places_of
from dedupe.sweeping import sweep


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
    thresholds: str | Sequence[float] | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> dict[str, Any]:
    """Write what a finished run did as a page to read, and its numbers beside it.

    out: the run, or the output of one; or the paths of a corpus, of which only exact copies are
    looked for. output: the page, by default report.html in the working directory; beside it stand
    report.json, and report.pairs.csv with the pairs that are shown. by: columns whose values are
    counted before and after, besides source, language, category and the like. difficulty: one more,
    of which numbers are counted in ten ranges. pairs: dropped rows that are shown beside the rows
    because of which. seed: other ones draw other rows. card: a file for the paragraph for a dataset
    card, in Markdown. verdicts: the pairs.csv of an earlier report, in which people have said of
    pairs whether they are duplicates. problems: look at all rows for problems, where that was not
    done before, see `find_problems`. thresholds: count the rows that would stay at each of these,
    by a `sweep` over the corpus with the settings of the run. execution: where all rows are read
    and what that may use, see `Execution`. progress: is told how far it is. keywords: fields of
    `Execution` by name. Returns what report.json has.

    Raises SettingsError where the corpus has no such column, or was in memory; CorpusError for a
    file that is not as the run has read it, WorkDirError for what is no output of a run.
    """
    where = configured(Execution, execution, keywords)
    columns = [by] if isinstance(by, str) else list(by)
    asked = Asked(columns, difficulty, pairs, seed, problems, where, progress)
    if type(pairs) is not int or pairs < 0:
        raise SettingsError(f"pairs is {pairs!r}: use a whole number from 0")
    page = str(output or PAGE)
    made = files_of_report(page, card)
    given = [out] if isinstance(out, str | Path | Result) else list(out)
    first = given[0] if len(given) == 1 else None
    if isinstance(first, Result) or (first and is_output(first, where.storage_options)):
        found = _of_output(first, made, asked)
    else:
        check_report_files(made, [str(one) for one in given])
        found = _of_corpus([str(one) for one in given], asked)
    if thresholds is not None and found["index"] is not None:
        raise SettingsError(
            f"{found['out']} is of a run that was held against an index, and a sweep knows none: "
            "leave out --thresholds"
        )
    found["sweep"] = None if thresholds is None else _sweep(found, thresholds, where, progress)
    with using(where.storage_options, [page, str(card), str(verdicts)]):
        write_report(found, page, card, verdicts)
    return found


def _sweep(
    found: Mapping[str, Any],
    thresholds: str | Sequence[float],
    execution: Execution,
    progress: Progress | None,
) -> dict[str, Any]:
    """What a sweep counts: over the files of a report, with the settings of its run."""
    usual = {"threshold": Settings().threshold, "near": True}
    swept = sweep(
        [one["path"] for one in found["files"]],
        thresholds,
        against=[path for one in found["references"] for path in one["paths"]] or None,
        pairs=0,
        settings=Settings(**{**found["settings"], **usual}),
        execution=replace(execution, work_dir=None),
        progress=progress,
    )
    return swept.as_json()


def _of_output(out: str | Path | Result, made: list[str], asked: Asked) -> dict[str, Any]:
    """What is said of a finished run. made: the files of the report."""
    path = str(out.path if isinstance(out, Result) else out)
    options = asked.execution.storage_options
    if is_splits(path, options):
        raise SettingsError(f"{path} is a split: a report is of a finished run")
    with using(options, places_of(path)):
        result = out if isinstance(out, Result) else Result(out)
        named = result.summary["corpus"].get("given", [])
        read = [*named, *(one["path"] for one in result.read_shards), *result.held_against]
        check_report_files(made, [path, *read])
        return report_run(result, asked)


def _of_corpus(paths: list[str], asked: Asked) -> dict[str, Any]:
    """What is said of a corpus: that of a run for exact copies, of which nothing stays but this."""
    execution = asked.execution
    with tempfile.TemporaryDirectory(prefix="dedupe-report-") as folder:
        result = deduplicate(
            paths,
            f"{folder}/out",
            settings=Settings(near=False),
            execution=execution,
            progress=asked.progress,
        )
        asked = replace(asked, execution=replace(execution, work_dir=None))
        with using(execution.storage_options, paths):
            return without_run(report_run(result, asked), ", ".join(paths))
