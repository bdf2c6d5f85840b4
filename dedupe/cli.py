"""The command line: `dedupe run`, `split`, `apply`, `audit`, `plan`, `demo` and `show`.

Options stand in one table for each group and mean the same in every command that has them. Only
click and the settings are imported here; a command imports what it needs when it runs.
"""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from dedupe.config import (
    AUTO,
    BAD_FILES,
    BAD_ROWS,
    BAD_TEXTS,
    CLUSTERS,
    DEFAULT_EXPANSION,
    DISTINCTS,
    ENGINES,
    EXACTS,
    IGNORES,
    UNITS,
    Execution,
    Settings,
)
from dedupe.documents.shapes import SHAPES
from dedupe.documents.template import COMPARES, MATCHES
from dedupe.errors import DedupeError, SettingsError
from dedupe.evals import Evals
from dedupe.screen import json_text, lasting_streams, say
from dedupe.version import __version__

if TYPE_CHECKING:
    from dedupe.progress import Progress

DEFAULTS = Settings()
EXIT_BROKEN = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

Command = TypeVar("Command", bound=Callable[..., Any])

DECIDES = "What decides the keep-list"
EXECUTES = "Where it runs; decides no keep-list"
SHOWS = "What is shown"
OWN = "Options"
GROUPS = (OWN, DECIDES, EXECUTES, SHOWS)


class GroupedOption(click.Option):
    """An option that `--help` lists under a heading of its group."""

    def __init__(self, *names: Any, group: str = OWN, **how: Any) -> None:
        super().__init__(*names, **how)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose `--help` lists options by group."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups[getattr(parameter, "group", SHOWS)].append(record)
        for group, records in groups.items():
            if records:
                with formatter.section(group):
                    formatter.write_dl(records)


def _option(*names: str, **how: Any) -> Callable[[Command], Command]:
    how.setdefault("show_default", True)
    return click.option(*names, cls=GroupedOption, **how)


def _decides(*names: str, **how: Any) -> Callable[[Command], Command]:
    return _option(*names, group=DECIDES, **how)


def _executes(*names: str, **how: Any) -> Callable[[Command], Command]:
    return _option(*names, group=EXECUTES, **how)


def _shows(*names: str, **how: Any) -> Callable[[Command], Command]:
    return _option(*names, group=SHOWS, **how)


AGAINST_OPTIONS = (
    _decides(
        "--against",
        metavar="REF",
        multiple=True,
        help="Rows that stay untouched, such as a test set: a file, directory or glob. Rows of "
        "CORPUS that duplicate one of them are dropped; may be given again. E.g. --against "
        "test.jsonl",
    ),
    _decides(
        "--against-text",
        metavar="TEXT",
        multiple=True,
        help="The text of references, if it is in other columns than that of the corpus; like "
        "--text. E.g. --against-text question",
    ),
    _decides(
        "--against-format",
        type=click.Choice((AUTO, *SHAPES)),
        help="The format of references, if the corpus has another; like --format. E.g. "
        "--against-format messages",
    ),
)
"""References, and how they are read."""

INDEX_OPTIONS = (
    _decides(
        "--index",
        metavar="IDX",
        help="Rows that came before, see dedupe index: rows that duplicate one of them are "
        "dropped, as if all stood in one corpus. The settings are its own. E.g. --index idx",
    ),
    _decides(
        "--add",
        is_flag=True,
        help="Add the rows of this run to the index. E.g. --index idx --add --name 2026-11",
    ),
    _decides(
        "--name",
        metavar="NAME",
        help="What the added rows are called in the index. E.g. --name 2026-11  [default: crawl-N]",
    ),
)
"""Rows that came before."""

SETTINGS_OPTIONS = (
    _decides(
        "--text",
        metavar="TEXT",
        multiple=True,
        help="What is compared: a column, a path, several of them, or a template. E.g. --text "
        "content, --text 'messages[].content', --text title --text body, or --text "
        "'{title}\\n{body}'  [default: by the columns, see --format]",
    ),
    _decides(
        "--format",
        type=click.Choice((AUTO, *SHAPES)),
        help="What is compared, for a common shape of rows; auto: each file by its own columns. "
        "E.g. --format messages  [default: auto]",
    ),
    _decides(
        "--compare",
        type=click.Choice(COMPARES),
        default=DEFAULTS.compare,
        help="All of a row; its prompt alone; or what was asked: all turns of a chat before the "
        "last answer, else the prompt, else all of the row. E.g. --compare prompt",
    ),
    _decides(
        "--match",
        type=click.Choice(MATCHES),
        help="fields: each field of a row (prompt, answer, each --text) must be a duplicate. "
        "whole: all are compared as one text. E.g. --match whole  [default: fields for formats "
        "that have some, whole for --text]",
    ),
    _decides(
        "--delimiter",
        metavar="CHAR",
        help="What stands between the fields of .csv files; .tsv and .psv have their own. E.g. "
        "--delimiter ';' or --delimiter '\\t'  [default: ,]",
    ),
    _decides(
        "--unit",
        type=click.Choice(UNITS),
        default=DEFAULTS.unit,
        help="What a row of .txt files is: each line that is not blank, or each file. E.g. --unit "
        "file",
    ),
    _decides(
        "--id",
        metavar="COLUMN",
        help="Carry this column through to the keep-list. E.g. --id doc_id",
    ),
    _decides(
        "--threshold",
        type=float,
        default=DEFAULTS.threshold,
        help="Jaccard similarity from which a row is a duplicate. E.g. --threshold 0.7",
    ),
    _decides(
        "--shingle",
        metavar="word:N|char:N",
        default=DEFAULTS.shingle,
        help="What is compared: sets of N words or N characters in a row. E.g. --shingle char:13",
    ),
    _decides(
        "--recall",
        metavar="SHARE|exact",
        default=DEFAULTS.recall,
        type=str,
        help="Chance that a pair exactly at the threshold is looked at; exact: every pair is "
        "found, by a join without bands. E.g. --recall 0.999 or --recall exact",
    ),
    _decides("--bands", type=int, help="Set bands and rows by hand. E.g. --bands 14 --rows 8"),
    _decides(
        "--rows",
        type=int,
        help="Signature values in a band (not rows of the corpus); goes with --bands. E.g. "
        "--bands 14 --rows 8",
    ),
    _decides(
        "--num-perm",
        type=int,
        default=DEFAULTS.num_perm,
        help="Longest signature that the plan may use. E.g. --num-perm 256",
    ),
    _decides(
        "--minhash-seed",
        type=int,
        default=DEFAULTS.minhash_seed,
        help="Seed of the MinHash permutations. E.g. --minhash-seed 7",
    ),
    _decides(
        "--cluster",
        type=click.Choice(CLUSTERS),
        default=DEFAULTS.cluster,
        help="cover: each dropped row has a kept row at the threshold. transitive: one kept row "
        "for each chain of duplicates. E.g. --cluster transitive",
    ),
    _decides(
        "--exact",
        metavar="|".join(EXACTS),
        default=DEFAULTS.exact,
        help="What an exact copy is: the same text up to case, width and white space, the same "
        "words whatever the punctuation, or the same bytes. E.g. --exact bytes",
    ),
    _decides(
        "--ignore",
        type=click.Choice(IGNORES),
        multiple=True,
        help="What does not count: symbols such as + or emoji, the values of numbers, or accents; "
        "may be given again. E.g. --ignore numbers --ignore accents",
    ),
    _decides(
        "--within",
        metavar="COLUMN",
        multiple=True,
        help="Rows of different values in this column are never duplicates; may be given again. "
        "E.g. --within language",
    ),
    _decides(
        "--distinct",
        type=click.Choice(DISTINCTS),
        multiple=True,
        help="Rows whose numbers differ are never duplicates, for word problems, contracts and "
        "records. E.g. --distinct numbers",
    ),
    _decides(
        "--near/--no-near",
        default=DEFAULTS.near,
        help="Near-duplicates too, or exact ones only. E.g. --no-near",
    ),
    _decides(
        "--keep",
        metavar="POLICY",
        multiple=True,
        help="Which duplicate stays: first, longest, shortest, max:COLUMN, min:COLUMN or "
        "prefer:COLUMN=BEST,NEXT; given again, it breaks remaining ties. E.g. --keep "
        "prefer:source=human,synthetic --keep longest  [default: first]",
    ),
    _decides(
        "--keep-at-most",
        type=int,
        metavar="N",
        default=DEFAULTS.keep_at_most,
        help="Rows of a cluster that stay: the first N in the order of --keep; all but the first "
        "have the reason extra. E.g. --keep-at-most 3",
    ),
    _decides(
        "--per",
        metavar="COLUMN",
        help="The first row of a cluster stays for each value of this column, so that none is "
        "wiped out; null is one value. E.g. --per source",
    ),
    _decides(
        "--count-by",
        metavar="COLUMN",
        help="For each kept row, count the different values of this column in it and in the rows "
        "dropped for it. E.g. --count-by source",
    ),
    _decides(
        "--on-bad-text",
        type=click.Choice(BAD_TEXTS),
        default=DEFAULTS.on_bad_text,
        help="Malformed UTF-8: stop and name the row, or read it as U+FFFD. "
        "E.g. --on-bad-text replace",
    ),
    _decides(
        "--on-bad-row",
        type=click.Choice(BAD_ROWS),
        default=DEFAULTS.on_bad_row,
        help="A row that cannot be read, such as broken JSON: stop and name it, or drop it with "
        "the reason unreadable. E.g. --on-bad-row skip",
    ),
    _decides(
        "--on-bad-file",
        type=click.Choice(BAD_FILES),
        default=DEFAULTS.on_bad_file,
        help="A file that cannot be read: stop and name it, or leave it out and name it in "
        "summary.json. E.g. --on-bad-file skip",
    ),
    _decides(
        "--by",
        metavar="COLUMN",
        help="The column of sources; a run warns of a cluster that takes much of one. E.g. --by "
        "dataset  [default: the column source, where there is one; else the file]",
    ),
    _decides(
        "--differences/--no-differences",
        default=DEFAULTS.differences,
        help="Count in how many dropped rows each column that is not compared differs from that of "
        "the kept row, for which these columns are read, too. E.g. --no-differences",
    ),
)
"""The fields of `Settings`, one option each, but for those of references."""

EVALS_OPTIONS = (
    _decides(
        "--evals",
        metavar="FILES",
        multiple=True,
        help="Test sets: rows that contain one of their questions are dropped; files, folders and "
        "globs like CORPUS, may be given again. E.g. --evals gsm8k-test.jsonl",
    ),
    _decides(
        "--question",
        metavar="TEXT",
        help="Of test sets: the question, a column, path or template. E.g. --question problem  "
        "[default: by the columns]",
    ),
    _decides(
        "--answer",
        metavar="TEXT",
        help="Of test sets: the answer, without which short questions are not looked for. "
        "E.g. --answer solution  [default: by the columns]",
    ),
    _decides(
        "--passage",
        metavar="TEXT",
        help="Of test sets: the passage of a question, which is reported and drops no row. "
        "E.g. --passage context  [default: by the columns]",
    ),
    _decides(
        "--containment",
        type=float,
        help="Of test sets: share of a question's shingles that must stand in one window of a row, "
        "from 0.4 to 1. E.g. --containment 0.8  [default: 0.6]",
    ),
    _decides(
        "--evals-shingle",
        metavar="word:N",
        help="Of test sets: what is counted of a question, N words in a row. E.g. --evals-shingle "
        "word:4  [default: word:3]",
    ),
    _decides(
        "--evals-by",
        metavar="COLUMN",
        help="Of test sets: the column that says which one an item is of. E.g. --evals-by subject  "
        "[default: the column benchmark, where there is one; else the file]",
    ),
)
"""The fields of `Evals`, one option each."""

READING = ("text", "format", "delimiter", "unit", "id", "ignore", "by")
"""Settings that count where a corpus is held against nothing but test sets; and `on_bad_text` and
its kind."""

RESOURCE_OPTIONS = (
    _executes(
        "--engine",
        type=click.Choice(ENGINES),
        default="local",
        help="What runs the stages: threads of this machine, or workers on a Ray cluster. "
        "E.g. --engine ray",
    ),
    _executes(
        "--workers",
        type=int,
        metavar="N",
        help="Threads; with Ray, worker processes. E.g. --workers 8  [default: one per core; with "
        "Ray as many as fit on the cluster, growing with it]",
    ),
    _executes(
        "--worker-cpus",
        type=int,
        metavar="N",
        default=1,
        help="With Ray: threads of each worker. E.g. --engine ray --worker-cpus 4",
    ),
    _executes(
        "--memory",
        metavar="SIZE",
        help="For the whole command; with Ray, for each worker. 4GB by default, or three "
        "quarters of a container's limit if that is less. E.g. --memory 3GB or 512MiB",
    ),
)
"""What a command may use: fields of `Execution`."""


def _storage_options(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> dict[str, Any] | None:
    if value is None:
        return None
    from dedupe.remote.given import parsed

    return dict(parsed(value))


STORAGE_OPTION = _executes(
    "--storage-options",
    metavar="JSON",
    callback=_storage_options,
    help="For paths on a store: options of fsspec's filesystem, or such for each protocol; "
    '@FILE reads them. E.g. --storage-options \'{"s3": {"anon": true}}\'',
)

ADDRESS_OPTION = _executes(
    "--address",
    metavar="ADDRESS",
    help="With Ray: of the cluster, HOST:PORT or auto for the one that runs here; without it "
    "(and without RAY_ADDRESS) a Ray of its own is started. E.g. --engine ray --address auto",
)

EXECUTION_OPTIONS = (
    *RESOURCE_OPTIONS,
    ADDRESS_OPTION,
    _executes(
        "--work-dir",
        metavar="DIR",
        help="Where stages leave their outputs; stays afterwards. E.g. --work-dir work  "
        "[default: beside the output, removed]",
    ),
    _executes(
        "--resume/--fresh",
        default=True,
        help="Go on where the same command stopped, or discard what it left. E.g. --fresh",
    ),
    STORAGE_OPTION,
)
"""All fields of `Execution` that a command line can give."""

LIMIT_OPTIONS = (
    _executes(
        "--max-row",
        metavar="SIZE",
        help="A longer row is an error that names it: its line in JSON lines, its text in other "
        "formats. E.g. --max-row 200MB  [default: what --memory has room for, at most 1GiB]",
    ),
    _executes(
        "--max-expansion",
        type=int,
        metavar="N",
        default=DEFAULT_EXPANSION,
        help="A file with more than 1 GB of text, and more than N times its size, is an error. "
        "E.g. --max-expansion 20000",
    ),
)
"""What is read of a file at most: fields of `Execution`."""

KEEP_LIST_OPTION = _option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    help="Directory for the keep-list; must be new. E.g. --output out",
)
PROBLEMS_OPTION = _option(
    "--problems",
    is_flag=True,
    help="Read every row once more, and write OUT/problems.parquet: what is wrong with which row. "
    "E.g. --problems",
)
QUIET_OPTION = _shows("-q", "--quiet", is_flag=True, help="Show nothing but errors. E.g. --quiet")
JSON_OPTION = _shows(
    "--json",
    "as_json",
    is_flag=True,
    help="Print what was found as JSON on standard output. E.g. --quiet --json",
)


def _with(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _split(options: dict[str, Any]) -> tuple[Execution, dict[str, Any]]:
    """The execution that options describe, and all other options."""
    if "resume" in options:
        options["fresh"] = not options.pop("resume")
    names = {one.name for one in fields(Execution)}
    chosen = {name: value for name, value in options.items() if name in names}
    return Execution(**chosen), {n: v for n, v in options.items() if n not in names}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Those of some options that stand on the command line."""
    context = click.get_current_context()
    source = click.core.ParameterSource.COMMANDLINE
    return {n: v for n, v in options.items() if context.get_parameter_source(n) is source}


def _evals(options: dict[str, Any]) -> Evals | None:
    """The test sets that options describe, which are taken out; None without any."""
    names = ("question", "answer", "passage", "containment", "evals_shingle", "evals_by")
    found = {name.removeprefix("evals_"): options.pop(name) for name in names}
    given = {name: value for name, value in found.items() if value is not None}
    files = options.pop("evals")
    if files:
        return Evals(list(files), **given)
    if given:
        raise SettingsError(f"{', '.join(given)} is of test sets: give some with --evals FILES")
    return None


def _print_json(value: Any) -> None:
    say(json_text(value), stream=sys.stdout)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="First steps: dedupe demo",
)
@click.version_option(__version__, prog_name="dedupe")
def cli() -> None:
    """Text deduplication in which every deletion is proven.

    Each dropped row names a kept row, and the exact Jaccard similarity of the two.
    """


cli.command_class = GroupedCommand


@cli.command(
    epilog="""\b
Examples:
  dedupe run corpus/ --output out
  dedupe run 'part-*.parquet' more.jsonl.gz --output out --text content --id doc_id
  dedupe run corpus/ --output out --threshold 0.7 --keep longest --memory 8GB
  dedupe run chat.jsonl --output out --format messages --keep prefer:source=human,synthetic
  dedupe run articles/ --output out --text title --text 'sections[].text' --keep max:score
  dedupe run pairs.jsonl --output out --format preference --compare prompt
  dedupe run corpus/ --output out --no-near --exact bytes
  dedupe run corpus/ --output out --per source --count-by source
  dedupe run titles.csv --output out --threshold 0.6 --recall exact
  dedupe run train/ --output out --against test.jsonl --against validation/
  dedupe run train.jsonl --output out --text body --against test.csv --against-text question
  dedupe run corpus/ --output out --evals gsm8k-test.jsonl --evals 'mmlu/*.parquet'
  dedupe run 2026-11/ --output out --index idx --add --name 2026-11
  dedupe run export.csv --output out --delimiter ';' --text title
  dedupe run /shared/corpus --output /shared/out --engine ray --address auto --worker-cpus 4
"""
)
@click.argument("corpus", nargs=-1, required=True)
@KEEP_LIST_OPTION
@_with(
    *AGAINST_OPTIONS,
    *INDEX_OPTIONS,
    *SETTINGS_OPTIONS,
    *EVALS_OPTIONS,
    PROBLEMS_OPTION,
    _option(
        "--signatures",
        metavar="FILE",
        help="Read every row once more, and write its MinHash signature there, as the datasketch "
        "package loads them. E.g. --signatures signatures.parquet",
    ),
    *EXECUTION_OPTIONS,
    *LIMIT_OPTIONS,
    QUIET_OPTION,
    JSON_OPTION,
)
def run(
    corpus: tuple[str, ...],
    output: str,
    against: tuple[str, ...],
    index: str | None,
    add: bool,
    name: str | None,
    problems: bool,
    signatures: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the duplicates of CORPUS and write a keep-list.

    CORPUS is any mix of files, directories and globs: Parquet, Arrow IPC, and JSON lines, JSON
    arrays and CSV, also compressed. OUT/keep gets one Parquet file per input file with a row for
    each input row: keep or drop, why, and for each dropped row the kept row it duplicates with
    their exact Jaccard similarity. OUT/summary.json has the counts.

    Rows of REF (--against) are compared with those of CORPUS. They are never dropped, and are not
    in OUT/keep. REF may be an index, too.

    After an interruption, the same command continues the run.
    """
    evals = _evals(options)
    execution, chosen = _split(options)
    from dedupe.api import deduplicate

    with _interruptible(execution, output):
        result = deduplicate(
            list(corpus),
            output,
            against=list(against) if against else None,
            execution=execution,
            progress=_progress(quiet=quiet),
            evals=evals,
            index=index,
            add=add,
            name=name,
            **_given(chosen),
        )
    if problems:
        _find_problems(result, execution, quiet=quiet)
    if signatures is not None:
        _write_signatures(result, signatures, execution, quiet=quiet)
    _tell(result, quiet=quiet, as_json=as_json)


def _find_problems(result: Any, execution: Execution, *, quiet: bool) -> None:
    """Look for problems of the rows of a run, where that was not done before."""
    from dedupe.commands.problems.run import find_problems
    from dedupe.commands.problems.table import Problems

    its_own = replace(execution, work_dir=None)  # that of the run is still there
    with _interruptible(its_own, f"{result.path}.problems"):
        if not Problems.are_there(result):
            progress = _progress(quiet=quiet)
            find_problems(result, execution=its_own, progress=progress)


def _write_signatures(result: Any, output: str, execution: Execution, *, quiet: bool) -> None:
    """Write the signatures of the rows of a run."""
    from dedupe.commands.signatures import write_signatures

    its_own = replace(execution, work_dir=None)
    with _interruptible(its_own, output):
        progress = _progress(quiet=quiet)
        write_signatures(result, output, execution=its_own, progress=progress)


def _tell(result: Any, *, quiet: bool, as_json: bool) -> None:
    """Print what a run found."""
    if as_json:
        _print_json(result.summary)
    elif not quiet:
        from dedupe.commands.show import print_summary

        print_summary(result)


def _reads(option: Callable[[Command], Command]) -> bool:
    """Whether an option of a run says how a corpus is read."""
    command: Any = lambda: None  # noqa: E731 (click keeps options in what it decorates)
    (made,) = vars(option(command))["__click_params__"]
    return made.name in READING or made.name.startswith("on_bad")


@cli.command(
    epilog="""\b
Examples:
  dedupe decontaminate corpus/ --evals gsm8k-test.jsonl --output out
  dedupe decontaminate corpus/ --evals tests/ --question problem --answer solution --output out
  dedupe decontaminate chat.jsonl --evals mmlu.parquet --containment 0.8 --output out
"""
)
@click.argument("corpus", nargs=-1, required=True)
@KEEP_LIST_OPTION
@_with(
    *EVALS_OPTIONS,
    *filter(_reads, SETTINGS_OPTIONS),
    *EXECUTION_OPTIONS,
    *LIMIT_OPTIONS,
    QUIET_OPTION,
    JSON_OPTION,
)
def decontaminate(
    corpus: tuple[str, ...], output: str, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Find the rows of CORPUS that contain a question of a test set, and write a keep-list.

    OUT is as that of run: OUT/keep says of each row whether it stays, and for each contaminated one
    the item, how much of it stands there, and where. OUT/contamination.parquet has every pair of a
    row and an item from a containment of 0.4 on, OUT/evals.parquet what became of each item.

    A command that was interrupted goes on when it is given again.
    """
    evals = _evals(options)
    if evals is None:
        raise SettingsError("there are no test sets: give some with --evals FILES")
    execution, chosen = _split(options)
    from dedupe.api import decontaminate as find

    with _interruptible(execution, output):
        result = find(
            list(corpus),
            output,
            evals=evals,
            settings=Settings(**chosen),
            execution=execution,
            progress=_progress(quiet=quiet),
        )
    _tell(result, quiet=quiet, as_json=as_json)


NOT_OF_SPLITS = (
    "cluster", "near", "keep", "keep_at_most", "per", "count_by", "by", "differences",
)  # fmt: skip
"""Settings of a run that a split does not have."""

OF_SPLITS = {"threshold": "0.5", "recall": "exact", "compare": "asked"}
"""Those that are others in a split, unless they are given."""


def _of_splits(command: click.Command) -> click.Command:
    """Take settings from a command that a split does not have, and what it takes of the others."""
    command.params = [one for one in command.params if one.name not in NOT_OF_SPLITS]
    for one in command.params:
        if isinstance(one, GroupedOption) and one.group == DECIDES:
            usual = str(one.default) if isinstance(one.default, str | int | float) else ""
            usual = OF_SPLITS.get(one.name or "", usual)
            one.help = f"{one.help}  [default: {usual}]" if usual else one.help
            one.default, one.show_default = None, False
    return command


@_of_splits
@cli.command(
    epilog="""\b
Examples:
  dedupe split corpus/ --output splits --test 10%
  dedupe split chat.jsonl --output splits --test 10% --validation 5% --group user
  dedupe split corpus/ --output splits --stratify source --lengths 4
  dedupe split out --output splits --test 10%
  dedupe split corpus/ --output splits --threshold 0.6 --recall 0.99
  dedupe split corpus/ --output splits2 --previous splits
"""
)
@click.argument("corpus", nargs=-1, required=True)
@_option(
    "-o",
    "--output",
    metavar="SPLITS",
    required=True,
    help="Directory for the split of each row; must be new. E.g. --output splits",
)
@_option("--test", metavar="SHARE", help="Rows to test on. E.g. --test 5%  [default: 10%]")
@_option(
    "--validation",
    metavar="SHARE",
    help="Rows to validate on. E.g. --validation 5%  [default: 0%]",
)
@_option(
    "--group",
    metavar="COLUMN",
    multiple=True,
    help="Rows with an equal value go to one split, except null and empty; may be given "
    "again. E.g. --group user",
)
@_option(
    "--stratify",
    metavar="COLUMN",
    multiple=True,
    help="Each split has its share of each value; may be given again. E.g. --stratify source",
)
@_option(
    "--lengths",
    type=int,
    metavar="N",
    help="Each split has its share of N ranges of length, of equally many rows. E.g. --lengths 4",
)
@_option("--seed", type=int, help="Another number gives other splits. E.g. --seed 7  [default: 1]")
@_option(
    "--previous",
    metavar="SPLITS",
    help="An earlier split of less of CORPUS: its rows stay where they stood, and what is not "
    "given is as it was asked for there. E.g. --previous splits",
)
@_option(
    "--with-duplicates",
    is_flag=True,
    help="Of a finished run: rows that it dropped go to splits, too. E.g. --with-duplicates",
)
@_with(*SETTINGS_OPTIONS, *EXECUTION_OPTIONS, *LIMIT_OPTIONS, QUIET_OPTION, JSON_OPTION)
def split(corpus: tuple[str, ...], output: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Divide CORPUS into train, validation and test, such that nothing leaks.

    CORPUS is as in `run`, or the output of a finished run, whose dropped rows are excluded. Rows
    that are similar from the threshold on, or have an equal value of --group, are linked; all that
    are linked, also by others between them, go to one split. SPLITS/splits gets one Parquet file
    per input file with a row for each input row: its split, its cluster and the reason.

    Unless told otherwise, what was asked is compared (--compare asked) at threshold 0.5 by an exact
    join (--recall exact): no row of test or validation is then similar to one of train.

    With --previous CORPUS has grown: no row moves, new rows join the split that they are linked
    with, and those that are linked with two are excluded.

    A command that was interrupted goes on when it is given again.
    """
    from dedupe.splitting import split as divide

    execution, chosen = _split(options)
    given = {name: value for name, value in chosen.items() if value is not None and value != ()}
    with _interruptible(execution, output):
        progress = _progress(quiet=quiet)
        found = divide(list(corpus), output, execution=execution, progress=progress, **given)
    if as_json:
        _print_json(found.summary)
    elif not quiet:
        from dedupe.commands.split.show import print_splits

        print_splits(found)


def _of_sweeps(command: click.Command) -> click.Command:
    """Take the threshold from a command that has several."""
    command.params = [one for one in command.params if one.name != "threshold"]
    return command


@_of_sweeps
@cli.command(
    epilog="""\b
Examples:
  dedupe sweep corpus/ --thresholds 0.6:0.95:0.05
  dedupe sweep corpus/ --thresholds 0.5,0.7,0.8,0.9 --png sweep.svg
  dedupe sweep corpus/ --thresholds 0.6:0.9:0.1 --recall exact --pairs 0 --quiet --json
  dedupe sweep chat.jsonl --thresholds 0.6:0.9:0.05 --format messages --work-dir work
"""
)
@click.argument("corpus", nargs=-1, required=True)
@_option(
    "--thresholds",
    metavar="FIRST:LAST:STEP",
    required=True,
    help="Jaccard similarities: a range with its step, or a list. E.g. --thresholds 0.6:0.95:0.05 "
    "or --thresholds 0.6,0.8",
)
@_option(
    "--pairs",
    type=click.IntRange(0),
    metavar="N",
    default=5,
    help="Rows that change sides from a threshold to the next, of which so many are shown. E.g. "
    "--pairs 20",
)
@_option(
    "--png",
    metavar="FILE",
    help="Draw the counts by threshold there, as PNG or SVG by its suffix (needs matplotlib). "
    "E.g. --png sweep.svg",
)
@_with(
    *AGAINST_OPTIONS,
    *SETTINGS_OPTIONS,
    *EXECUTION_OPTIONS,
    *LIMIT_OPTIONS,
    QUIET_OPTION,
    JSON_OPTION,
)
def sweep(
    corpus: tuple[str, ...],
    thresholds: str,
    pairs: int,
    png: str | None,
    against: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Show how many rows of CORPUS stay at each of several thresholds, without a run for each.

    CORPUS is as in run. Candidates are planned for the lowest threshold and read once; then the
    rows are decided once for each. Shown are rows kept and dropped, clusters and the largest of
    them, and some of the rows that change sides from each threshold to the next. All counts are at
    the recall of the lowest threshold. No keep-list is written.

    The work directory is a temporary one; with --work-dir it stays, and a command that was
    interrupted goes on there when it is given again.
    """
    from dedupe.commands.sweep.result import print_sweep
    from dedupe.sweeping import sweep as measure

    if png is not None:
        from dedupe.commands.sweep.plot import check_picture

        check_picture(png)
    execution, chosen = _split(options)
    with _interruptible(execution, None):
        found = measure(
            list(corpus),
            thresholds,
            against=list(against) if against else None,
            pairs=pairs,
            settings=Settings(**chosen),
            execution=execution,
            progress=_progress(quiet=quiet),
        )
    if png is not None:
        found.draw(png)
    if as_json:
        _print_json(found.as_json())
    elif not quiet:
        print_sweep(found)


@cli.command(
    epilog="""\b
Examples:
  dedupe formats
  dedupe formats --json
"""
)
@JSON_OPTION
def formats(as_json: bool) -> None:
    """List the formats that are recognised by their columns, and what is compared in each.

    A corpus of one of them needs no --text: run says which one it took. --format names one.
    """
    if as_json:
        _print_json({name: asdict(shape) for name, shape in SHAPES.items()})
        return
    from dedupe.commands.formats import print_formats

    print_formats()


@cli.command(
    epilog="""\b
Examples:
  dedupe evals
  dedupe evals --json
"""
)
@JSON_OPTION
def evals(as_json: bool) -> None:
    """List public test sets with their addresses, which run and decontaminate take for --evals.

    None of their text comes with the package: they are read from the hub.
    """
    from dedupe.evals import PUBLIC_SETS

    if as_json:
        _print_json([asdict(one) for one in PUBLIC_SETS])
        return
    from dedupe.commands.formats import print_public_sets

    print_public_sets()


@cli.command(
    epilog="""\b
Examples:
  dedupe apply out --output clean
  dedupe apply out --output clean --dropped dropped
  dedupe apply out --output clean --rows-per-file 100000
  dedupe apply out --output all --add-columns
  dedupe apply out --output clean --copies-column copies
  dedupe apply out --output upsampled --repeat 1:1,2:2,5:3,100:5
  dedupe apply out --output clean --without-problems empty,mojibake,refusal
  dedupe apply splits --output data
"""
)
@click.argument("out")
@_option(
    "-o",
    "--output",
    metavar="CLEAN",
    required=True,
    help="Directory for the rows that stay; must be new. E.g. --output clean",
)
@_option(
    "--dropped",
    metavar="DIR",
    help="Directory for the other rows, with their witness beside them. E.g. --dropped dropped",
)
@_option(
    "--add-columns",
    is_flag=True,
    help="Write all rows, with what the keep-list says of them. E.g. --add-columns",
)
@_option(
    "--copies-column",
    metavar="NAME",
    help="Give rows a column of that name: for how many rows each stays, itself included. E.g. "
    "--copies-column copies",
)
@_option(
    "--repeat",
    metavar="COPIES:TIMES,…",
    help="Write a row several times, by the number of its copies: as often as the last step says "
    "that it reaches. E.g. --repeat 1:1,2:2,5:3,100:5",
)
@_option(
    "--without-problems",
    metavar="NAME,…",
    multiple=True,
    help="Leave out rows with one of these problems, as run or report --problems has found them; "
    "kept rows because of which others were dropped stay, and are named. May be given again. E.g. "
    "--without-problems empty,mojibake",
)
@_option("--force", is_flag=True, help="Leave out these kept rows, too. E.g. --force")
@_option(
    "--rows-per-file",
    type=int,
    metavar="N",
    help="Files of N rows. E.g. --rows-per-file 100000  [default: one file for each shard]",
)
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def apply(out: str, output: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Write the corpus without the rows that the keep-list in OUT drops.

    CLEAN gets a file for each shard, with all its columns, in its format, compression and schema.
    The corpus must be where the run read it, and unchanged. Where OUT is a split, CLEAN gets such a
    file for each split and shard, as train-00000-of-00003.parquet, which load_dataset finds.

    A command that was interrupted goes on when it is given again.
    """
    from dedupe.commands.apply.run import apply as write

    execution, chosen = _split(options)
    with _interruptible(execution, output):
        progress = _progress(quiet=quiet)
        manifest = write(out, output, execution=execution, progress=progress, **chosen)
    if as_json:
        _print_json(manifest)
    elif not quiet and "split" in manifest:
        from dedupe.commands.split.show import print_applied

        print_applied(manifest, output)
    elif not quiet:
        from dedupe.commands.show import print_manifest

        print_manifest(manifest, output, chosen["dropped"])


@cli.command(
    epilog="""\b
Examples:
  dedupe audit out
  dedupe audit out --sample 100000 --seed 7
  dedupe audit out --full --memory 16GB --quiet --json > audit.json
  dedupe audit /shared/out --engine ray --address auto
  dedupe audit splits
"""
)
@click.argument("out")
@_option(
    "--sample",
    type=int,
    metavar="ROWS",
    default=20_000,
    help="Rows whose true partners are looked for in the whole corpus. E.g. --sample 100000",
)
@_option("--full", is_flag=True, help="All rows instead of a sample. E.g. --full")
@_option("--seed", type=int, default=1, help="Seed of the sample. E.g. --seed 7")
@_option(
    "--least",
    type=float,
    metavar="SIMILARITY",
    help="Of a split: look for rows of train from there on. E.g. --least 0.4  [default: 0.2 below "
    "the threshold of the split]",
)
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def audit(out: str, least: float | None, quiet: bool, as_json: bool, **options: Any) -> None:
    """Measure on the finished run in OUT, or on the split, what it promises.

    An exact join, without signatures and bands, finds all true duplicates of a sample of the rows
    in the whole corpus. Recall, missed rows and deletions without proof are held against the
    keep-list; that every row is in it, and every witness kept, is looked at for all rows.

    Of a split every row of test and validation is held against all rows of train: how similar the
    nearest one is, and what leaks.

    The corpus must be where the run read it, and unchanged. Ends with exit code 1 where a guarantee
    is broken, or the recall that was asked for is not reached; of a split where anything leaks. A
    command that was interrupted goes on when it is given again.
    """
    from dedupe.commands.audit.report import print_audit
    from dedupe.commands.audit.run import audit as measure
    from dedupe.commands.split.result import is_splits

    execution, chosen = _split(options)
    if is_splits(out, execution.storage_options):
        if chosen != {"sample": 20_000, "full": False, "seed": 1}:
            raise SettingsError("all rows of a split are looked at: leave out what is for a sample")
        _audit_splits(out, least, execution, quiet=quiet, as_json=as_json)
        return
    if least is not None:
        raise SettingsError("--least is for a split")
    with _interruptible(execution, f"{out.rstrip('/')}.audit"):
        progress = _progress(quiet=quiet)
        found = measure(out, execution=execution, progress=progress, **chosen)
    if as_json:
        _print_json(found.as_json())
    elif not quiet:
        print_audit(found)
    if not found.ok:
        sys.exit(EXIT_BROKEN)


def _audit_splits(
    out: str, least: float | None, execution: Execution, *, quiet: bool, as_json: bool
) -> None:
    from dedupe.commands.split.audit import audit_splits, print_split_audit

    with _interruptible(execution, f"{out.rstrip('/')}.audit"):
        progress = _progress(quiet=quiet)
        found = audit_splits(out, least=least, execution=execution, progress=progress)
    if as_json:
        _print_json(found.as_json())
    elif not quiet:
        print_split_audit(found)
    if not found.ok:
        sys.exit(EXIT_BROKEN)


@cli.command(
    epilog="""\b
Examples:
  dedupe edges out --output edges.parquet
  dedupe edges out --output edges.parquet --from 0.7
  dedupe edges out --output edges.parquet --from 0.6 --cap 100 --work-dir work
"""
)
@click.argument("out")
@_option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="The list, as Parquet. E.g. --output edges.parquet",
)
@_option(
    "--from",
    "least",
    type=float,
    metavar="SIMILARITY",
    help="Pairs of one component from that Jaccard similarity on, too. E.g. --from 0.7",
)
@_option(
    "--cap",
    type=click.IntRange(1),
    metavar="N",
    default=1000,
    help="Such pairs of one component, at most; it is said of how many there are more. E.g. --cap "
    "100",
)
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def edges(out: str, output: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Write which row of the finished run in OUT is like which, as a list of edges.

    FILE has an edge for each dropped row and its witness, with their exact Jaccard similarity,
    where both rows are, and the component that the edges connect. networkx, igraph and DuckDB load
    it.

    With --from it has other similar pairs of rows of one component, too, for which the corpus is
    read again: it must be where the run read it, and unchanged. With the --work-dir of the run,
    where that is still there, only the pairs are looked for. A command that was interrupted goes on
    when it is given again.
    """
    from dedupe.commands.edges.result import print_edges
    from dedupe.commands.edges.run import edges as write

    execution, chosen = _split(options)
    with _interruptible(execution, output):
        progress = _progress(quiet=quiet)
        found = write(out, output, execution=execution, progress=progress, **chosen)
    if as_json:
        _print_json(found.as_json())
    elif not quiet:
        print_edges(found)


@cli.command(
    epilog="""\b
Examples:
  dedupe report out
  dedupe report out --output pages/out.html --by language --by category
  dedupe report out --pairs 50 --seed 2 --card CARD.md
  dedupe report out --problems --memory 4GB
  dedupe report corpus/ --by source
  dedupe report out --verdicts report.pairs.csv
"""
)
@click.argument("out", nargs=-1, required=True)
@_option(
    "-o",
    "--output",
    metavar="FILE",
    default="report.html",
    show_default=True,
    help="The page; the numbers stand in a .json beside it. E.g. --output out.html",
)
@_option(
    "--by",
    metavar="COLUMN",
    multiple=True,
    help="Count the values of that column before and after, besides source, language, category and "
    "the like; may be given again. E.g. --by license",
)
@_option(
    "--pairs",
    type=click.IntRange(0),
    metavar="N",
    default=200,
    show_default=True,
    help="Dropped rows that are shown beside the rows because of which. E.g. --pairs 50",
)
@_option(
    "--seed",
    type=int,
    metavar="N",
    default=1,
    show_default=True,
    help="Another number draws other rows. E.g. --seed 2",
)
@_option(
    "--difficulty",
    metavar="COLUMN",
    help="Count rows before and after by the values of that column, numbers in ten ranges of as "
    "many rows. E.g. --difficulty difficulty",
)
@_option(
    "--thresholds",
    metavar="FIRST:LAST:STEP",
    help="Count the rows that would stay at each of these thresholds, too, which reads the corpus "
    "once more. E.g. --thresholds 0.6:0.95:0.05",
)
@_option("--card", metavar="FILE", help="A paragraph for a dataset card. E.g. --card CARD.md")
@_option(
    "--verdicts",
    metavar="FILE",
    help="The .pairs.csv of an earlier report with verdicts in it, yes or no: gives the precision "
    "by similarity. E.g. --verdicts report.pairs.csv",
)
@PROBLEMS_OPTION
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def report(out: tuple[str, ...], output: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Write what the finished run in OUT did, as one page to read.

    The page needs no network and is of 2 MB at most: what was dropped and why, the values of
    columns before and after, rows of which source were dropped because of which, the largest
    clusters, pairs with what differs marked, and problems of the texts, estimated from a sample.

    Instead of OUT a corpus may be given, which is then looked at: exact copies are found, and what
    the page says of columns, lengths and problems.
    """
    from dedupe.reporting import report as write
    from dedupe.result import is_output

    execution, chosen = _split(options)
    is_run = len(out) == 1 and is_output(out[0], execution.storage_options)
    with _interruptible(execution, f"{out[0].rstrip('/')}.problems" if is_run else None):
        progress = _progress(quiet=quiet)
        found = write(
            out[0] if len(out) == 1 else out,
            output,
            execution=execution,
            progress=progress,
            **chosen,
        )
    if as_json:
        _print_json(found)
    elif not quiet:
        say(f"The report is in {output}", stream=sys.stdout)


@cli.command(
    epilog="""\b
Examples:
  dedupe plan corpus/ --memory 16GB
  dedupe plan corpus/ --calibrate --price 0.34
  dedupe plan
  dedupe plan --threshold 0.7 --recall 0.999 --num-perm 256
  dedupe plan --corpus-rows 1000000000 --mean-bytes 2000 --png curve.png
  dedupe plan --bands 14 --rows 8
  dedupe plan --corpus-rows 1000000000 --engine ray --workers 64 --worker-cpus 8 --memory 32GB
"""
)
@click.argument("corpus", nargs=-1)
@_option(
    "--corpus-rows",
    type=int,
    help="Rows, where no corpus is given. E.g. --corpus-rows 1000000000  [default: 1000000]",
)
@_option(
    "--mean-bytes",
    type=int,
    help="Mean bytes of text in a row, where no corpus is given. E.g. --mean-bytes 2000  "
    "[default: 1200]",
)
@_option(
    "--in-components",
    type=float,
    help="Share of rows that will share a bucket with another; 0.3 to 0.5 is usual. "
    "E.g. --in-components 0.5  [default: that of the last run that was measured, or 0.4]",
)
@_option(
    "--calibrate",
    is_flag=True,
    help="Run over up to 200 MB of the files first, and tell time by that. E.g. --calibrate",
)
@_option(
    "--price",
    type=click.FloatRange(0),
    metavar="DOLLARS",
    help="Of an hour of one machine, to say what the run will cost. E.g. --price 0.34",
)
@_option(
    "--png",
    metavar="FILE",
    help="Draw the collision curve there too (needs matplotlib). E.g. --png curve.png",
)
@_with(
    *AGAINST_OPTIONS,
    *SETTINGS_OPTIONS,
    *RESOURCE_OPTIONS,
    ADDRESS_OPTION,
    STORAGE_OPTION,
    JSON_OPTION,
)
def plan(
    corpus: tuple[str, ...],
    against: tuple[str, ...],  # rows of references are rows, and they are not read here
    corpus_rows: int | None,
    mean_bytes: int | None,
    in_components: float | None,
    calibrate: bool,
    price: float | None,
    png: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Show bands x rows, the collision curve, and what a run will take.

    Takes all settings of a run. Of CORPUS some files are looked into, which takes seconds: how many
    rows and bytes of text there are, in which formats. Without CORPUS nothing is read.

    How long it will take is told by the last finished run of the same kind on this machine, or by
    --calibrate; without either no time is said.
    """
    from dedupe.planning.report import draw_png, print_plan
    from dedupe.plans import plan as plan_run

    execution, chosen = _split(options)
    found = plan_run(
        corpus or None,
        settings=Settings(**chosen),
        execution=execution,
        corpus_rows=corpus_rows,
        mean_bytes=mean_bytes,
        in_components=in_components,
        calibrate=calibrate,
        price=price,
        progress=_progress(quiet=not calibrate),
    )
    if as_json:
        _print_json(found)
    else:
        print_plan(found)
    if png:
        draw_png(found, png)


@cli.command(
    epilog="""\b
Examples:
  dedupe demo
  dedupe demo --output demo-out
"""
)
@_option(
    "-o",
    "--output",
    metavar="DIR",
    help="Keep the keep-list there; must be new. E.g. --output demo-out",
)
def demo(output: str | None) -> None:
    """Deduplicate a small real corpus that comes with the package.

    Prints what was found and three of the proven duplicates.
    """
    from dedupe.demo import corpus_path

    result = _deduplicate((corpus_path(),), output, Settings(id="id"), Execution(), quiet=False)
    from dedupe.commands.show import print_demo

    print_demo(result, where=output is not None)
    if output:
        shown = f"\nThe keep-list is in {output}; see it with: dedupe show {output}"
        say(shown, stream=sys.stdout)


@cli.group(name="index", cls=click.Group)
def index_group() -> None:
    """What is kept of earlier corpora, so that each new one costs what it costs alone.

    dedupe index create makes one, and dedupe run CORPUS --index IDX --add adds to it. What was
    decided stays decided, and a dropped row names the row of the crawl before that it duplicates.
    """


index_group.command_class = GroupedCommand


def _index(path: str, options: dict[str, Any]) -> Any:
    """An index that options say how to reach."""
    from dedupe.indexes import Index

    return Index(path, storage_options=options.get("storage_options"))


@index_group.command(
    name="create",
    epilog="""
Examples:
  dedupe index create idx 2026-09/ --name 2026-09
  dedupe index create idx 2026-09/ --name 2026-09 --output out-09 --id url --threshold 0.7
  dedupe index create idx --like out --name 2026-09
  dedupe index create s3://bucket/idx corpus/ --engine ray --address auto
""",
)
@click.argument("idx")
@click.argument("corpus", nargs=-1)
@_option(
    "--like",
    metavar="OUT",
    help="Take corpus and settings of a finished run, whose keep-list it repeats. E.g. --like out",
)
@_option("--name", metavar="NAME", help="What the first crawl is called. E.g. --name 2026-09")
@_option(
    "-o",
    "--output",
    metavar="OUT",
    help="Directory for the keep-list of the first crawl; must be new. E.g. --output out",
)
@_with(*SETTINGS_OPTIONS, *EXECUTION_OPTIONS, *LIMIT_OPTIONS, QUIET_OPTION, JSON_OPTION)
def index_create(
    idx: str,
    corpus: tuple[str, ...],
    like: str | None,
    name: str | None,
    output: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Make the index IDX, with CORPUS as its first crawl, or without rows.

    Settings hold for all crawls that are added later.
    """
    from dedupe.commands.index.described import described, print_index
    from dedupe.indexes import Index

    execution, chosen = _split(options)
    with _interruptible(execution, output):
        made = Index.create(
            idx,
            list(corpus) or None,
            like=like,
            output=output,
            name=name,
            execution=execution,
            progress=_progress(quiet=quiet),
            **_given(chosen),
        )
    found = described(idx, made.manifest)
    if as_json:
        _print_json(found)
    elif not quiet:
        print_index(found)


@index_group.command(
    name="query",
    epilog="""
Examples:
  dedupe index query idx question.jsonl
  dedupe index query idx new/ --output partners.parquet
""",
)
@click.argument("idx")
@click.argument("files", nargs=-1, required=True)
@_option(
    "-o", "--output", metavar="FILE", help="Write all partners there. E.g. -o partners.parquet"
)
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def index_query(
    idx: str, files: tuple[str, ...], output: str | None, quiet: bool, as_json: bool, **options: Any
) -> None:
    """Print which rows of FILES have a partner in IDX, and how similar it is. Nothing changes."""
    from dedupe.commands.index.described import print_rows
    from dedupe.commands.index.tables import write_parquet

    execution, _ = _split(options)
    with _interruptible(execution, None):
        found = _index(idx, options).query(
            list(files), execution=execution, progress=_progress(quiet=quiet)
        )
    if output is not None:
        write_parquet(output, found.schema, iter(found.to_batches()))
    if as_json:
        _print_json(found.to_pylist())
    elif not quiet:
        say(f"{len(found):,} rows have a partner in {idx}")
        print_rows(found)


@index_group.command(
    name="remove",
    epilog="""
Examples:
  dedupe index remove idx --shard 2026-09/part-3.parquet
  dedupe index remove idx --shard 2026-09 --revisions revisions.parquet
  dedupe index remove idx --ids take-down.txt
""",
)
@click.argument("idx")
@_option(
    "--shard",
    "shards",
    metavar="PATH",
    multiple=True,
    help="A file as the index names it, or a crawl: all its rows go. E.g. --shard 2026-09",
)
@_option(
    "--ids",
    metavar="FILE",
    help="A text file with the id of a row in each line. E.g. --ids take-down.txt",
)
@_option(
    "--revisions",
    metavar="FILE",
    help="Write every row whose decision changes to this Parquet file. E.g. --revisions r.parquet",
)
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def index_remove(
    idx: str,
    shards: tuple[str, ...],
    ids: str | None,
    revisions: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Take rows out of IDX, and decide those again that were dropped because of them.

    Rows that lose their witness are read from their own files, where these are as they were. Of
    others it is said that they are orphans: they stay dropped. Texts of removed rows are gone after
    dedupe index compact IDX --purge.
    """
    from dedupe.commands.index.described import print_rows

    if not shards and ids is None:
        raise SettingsError("name what is to be removed: --shard PATH or --ids FILE")
    execution, _ = _split(options)
    with _interruptible(execution, None):
        found = _index(idx, options).remove(
            shards=shards,
            ids=[] if ids is None else _lines_of(ids),
            revisions=revisions,
            execution=execution,
            progress=_progress(quiet=quiet),
        )
    if as_json:
        _print_json(found.to_pylist())
    elif not quiet:
        counts: dict[str, int] = {}
        for one in found["now"].to_pylist():
            counts[one] = counts.get(one, 0) + 1
        told = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        say(f"{len(found):,} rows are decided otherwise now{': ' * bool(told)}{told}")
        print_rows(found)


def _lines_of(path: str) -> list[str]:
    """The lines of a text file that are not empty, without blanks at both ends."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            return [line for line in map(str.strip, file) if line]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


@index_group.command(
    name="show",
    epilog="""
Examples:
  dedupe index show idx
  dedupe index show idx --json
""",
)
@click.argument("idx")
@_with(STORAGE_OPTION, JSON_OPTION)
def index_show(idx: str, as_json: bool, **options: Any) -> None:
    """Print what IDX has: its crawls, rows, sizes and settings."""
    from dedupe.commands.index.described import described, print_index

    found = described(idx, _index(idx, options).manifest)
    if as_json:
        _print_json(found)
    else:
        print_index(found)


@index_group.command(
    name="verify",
    epilog="""
Examples:
  dedupe index verify idx
""",
)
@click.argument("idx")
@_with(STORAGE_OPTION, QUIET_OPTION, JSON_OPTION)
def index_verify(idx: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Read all of IDX: every block against its checksum, and decisions against one another.

    Exits with status 1 where anything is wrong.
    """
    from dedupe.commands.index.described import print_checked

    found = _index(idx, options).verify(_progress(quiet=quiet))
    if as_json:
        _print_json(asdict(found))
    elif not quiet or not found.ok:
        print_checked(idx, found)
    if not found.ok:
        raise SystemExit(EXIT_BROKEN)


@index_group.command(
    name="compact",
    epilog="""
Examples:
  dedupe index compact idx
  dedupe index compact idx --purge
""",
)
@click.argument("idx")
@_option(
    "--purge",
    is_flag=True,
    help="Remove all files that only older manifests name. Runs that are held against these lose "
    "them. E.g. --purge",
)
@_with(STORAGE_OPTION, QUIET_OPTION)
def index_compact(idx: str, purge: bool, quiet: bool, **options: Any) -> None:
    """Bring all segments of IDX to one. Decisions do not depend on it."""
    count = _index(idx, options).compact(purge_unused=purge, progress=_progress(quiet=quiet))
    if not quiet and purge:
        say(f"{count:,} segments that nothing names were removed")
    elif not quiet and count:
        say(
            f"{count:,} segments are named by older manifests alone: when no run is held against "
            f"them, dedupe index compact {idx} --purge removes them"
        )


@index_group.command(
    name="rebuild",
    epilog="""
Examples:
  dedupe index rebuild idx --output idx2
""",
)
@click.argument("idx")
@_option(
    "-o", "--output", metavar="NEW", required=True, help="Where the new index goes. E.g. -o idx2"
)
@_with(*EXECUTION_OPTIONS, QUIET_OPTION, JSON_OPTION)
def index_rebuild(idx: str, output: str, quiet: bool, as_json: bool, **options: Any) -> None:
    """Make IDX anew from the files of its crawls, in the order in which they were added.

    Prints the rows that are decided otherwise: none, unless rows were removed between crawls.
    """
    from dedupe.commands.index.described import print_rows

    execution, _ = _split(options)
    with _interruptible(execution, None):
        _, found = _index(idx, options).rebuild(
            output, execution=execution, progress=_progress(quiet=quiet)
        )
    if as_json:
        _print_json(found.to_pylist())
    elif not quiet:
        say(f"{output}: {len(found):,} rows are decided otherwise than in {idx}")
        print_rows(found)


@index_group.command(
    name="counts",
    epilog="""
Examples:
  dedupe index counts idx --output copies.parquet
""",
)
@click.argument("idx")
@_option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="The Parquet file: crawl, path, row, id, copies. E.g. --output copies.parquet",
)
@_with(STORAGE_OPTION, QUIET_OPTION)
def index_counts(idx: str, output: str, quiet: bool, **options: Any) -> None:
    """Write how many rows each kept row of IDX stays for today, over all crawls."""
    count = _index(idx, options).counts(output, _progress(quiet=quiet))
    if not quiet:
        say(f"{output} has the copies of {count:,} kept rows")


def _range(
    _context: click.Context, _option: click.Parameter, value: str | None
) -> tuple[float, float]:
    low, dots, high = (value or "0..1").partition("..")
    try:
        return float(low or 0), float((high or 1) if dots else low)
    except ValueError:
        raise SettingsError(f"--jaccard is {value!r}: write a range like 0.8..0.85") from None


@cli.command(
    epilog="""\b
Examples:
  dedupe show out
  dedupe show out --row 0:1234
  dedupe show out --row part-2.parquet:1234
  dedupe show out --pairs 20
  dedupe show out --png out.png
  dedupe show out --pairs 5 --reason near --jaccard 0.8..0.85 --full
  dedupe show out --pairs 20 --by source
"""
)
@click.argument("out")
@_option(
    "--row",
    metavar="SHARD:ROW",
    help="Why that row was kept or dropped. SHARD is its number or the end of its path.",
)
@_option(
    "--pairs",
    type=click.IntRange(1),
    metavar="N",
    help="N dropped rows beside their witnesses, over the range of similarities, the least similar "
    "first; what differs is marked. E.g. --pairs 20",
)
@_option(
    "--reason",
    type=click.Choice(("near", "exact", "reference", "contaminated", "extra")),
    help="Of the pairs: those dropped for that reason; contaminated: rows with the items of test "
    "sets that stand in them; extra: rows that stay beside their witness. E.g. --reason near  "
    "[default: near, exact and reference; contaminated after decontaminate]",
)
@_option(
    "--jaccard",
    metavar="LOW..HIGH",
    callback=_range,
    help="Of the pairs: those of similarities in that range. E.g. --jaccard 0.8..0.85",
)
@_option(
    "--by",
    metavar="COLUMN",
    help="Of the pairs: those of each value of that column in turn. E.g. --by source",
)
@_option(
    "--seed",
    type=int,
    default=1,
    metavar="N",
    help="Of the pairs: another number draws others. E.g. --seed 2  [default: 1]",
)
@_option(
    "--full",
    is_flag=True,
    help="Of the pairs: whole texts, not some words around what differs. E.g. --full",
)
@_option("--stages", is_flag=True, help="What each stage of the run took, too. E.g. --stages")
@_option(
    "--png",
    metavar="FILE",
    help="Draw similarities, clusters and sources there (needs matplotlib); --by names the column "
    "of sources. E.g. --png out.png",
)
@_with(STORAGE_OPTION, JSON_OPTION)
def show(
    out: str,
    row: str | None,
    pairs: int | None,
    reason: str | None,
    jaccard: tuple[float, float],
    by: str | None,
    seed: int,
    full: bool,
    stages: bool,
    png: str | None,
    storage_options: dict[str, Any] | None,
    as_json: bool,
) -> None:
    """Show a finished run: its summary, one row and what became of it, or dropped rows."""
    from dedupe.commands.show import explain_row, print_pairs, print_row, print_summary
    from dedupe.commands.split.result import Splits, is_splits
    from dedupe.remote import is_uri
    from dedupe.remote.given import using
    from dedupe.result import Result, places_of

    if is_splits(out, storage_options):
        splits = Splits(out, storage_options=storage_options if is_uri(out) else None)
        _show_splits(splits, asked=row is not None or pairs is not None, as_json=as_json)
        return
    if row is not None and pairs is not None:
        raise SettingsError("--row and --pairs are two questions: ask one")
    with using(storage_options, places_of(out)):
        result = Result(out)
        if png is not None:
            _draw(result, by, png)
        found = explain_row(result, row) if row is not None else None
        alone = result.summary.get("contamination", {}).get("only", False)
        if pairs is not None and (reason == "contaminated" or (reason is None and alone)):
            _show_contaminated(result, pairs, seed, as_json=as_json)
            return
        if pairs is not None:
            with closing(_progress()) as shown:
                table = result.pairs(
                    pairs, reason=reason, jaccard=jaccard, by=by, seed=seed, note=shown.note
                )
            if as_json:
                _print_json(table.to_pylist())
            else:
                print_pairs(table, result.documents.whole, by, full=full)
            return
    if as_json:
        _print_json(result.summary if found is None else found)
    elif found is not None:
        print_row(found)
    else:
        print_summary(result, stages=stages)


def _draw(result: Any, by: str | None, path: str) -> None:
    """Draw a finished run. by: the column of sources, None for that of its settings or the file."""
    from dedupe.commands.report.plot import draw_run
    from dedupe.commands.report.run import source_of

    with closing(_progress()) as shown:
        draw_run(result, source_of(result, [by] if by else []), path, shown.note)


def _show_splits(found: Any, *, asked: bool, as_json: bool) -> None:
    """Show a finished split; asked: whether something was asked of it that only runs have."""
    from dedupe.commands.split.show import print_splits

    if asked:
        raise SettingsError(f"{found.path} is a split: --row and --pairs are for finished runs")
    if as_json:
        _print_json(found.summary)
    else:
        print_splits(found)


def _show_contaminated(result: Any, count: int, seed: int, *, as_json: bool) -> None:
    from dedupe.commands.show_evals import contaminated_pairs, print_contaminated_pairs
    from dedupe.screen import console

    if "contamination" not in result.summary:
        raise SettingsError("the run had no test sets: run again with --evals FILES")
    found = contaminated_pairs(result, count, seed)
    if as_json:
        _print_json(found)
    else:
        print_contaminated_pairs(console(), found)


def _deduplicate(
    corpus: tuple[str, ...],
    output: str | None,
    settings: Settings,
    execution: Execution,
    *,
    against: tuple[str, ...] = (),
    evals: Evals | None = None,
    quiet: bool,
) -> Any:
    from dedupe.api import deduplicate

    return deduplicate(
        list(corpus),
        output,
        against=list(against) if against else None,
        settings=settings,
        execution=execution,
        progress=_progress(quiet=quiet),
        evals=evals,
    )


def _progress(*, quiet: bool = False) -> Progress:
    from dedupe.progress import Bars, Lines, Silent

    return Silent() if quiet else Bars() if sys.stderr.isatty() else Lines()


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals of Ctrl-C, of schedulers, of a terminal that goes away, and of Ctrl-\\."""


@contextmanager
def _interruptible(execution: Execution, output: str | None) -> Iterator[None]:
    """End on a signal that asks for it: what was committed is whole, and the next run finds it.

    output: beside which the work directory is, where none was named; None where it is a temporary
    one, which is lost.

    With Ray the cluster is let go first; the second Ctrl-C leaves the process at once.
    """
    work_dir = execution.work_dir or (output and f"{output.rstrip('/')}.work")
    told = f"finished work is in {work_dir}: the same command goes on from there"
    if work_dir is None:
        told = "nothing is left: with --work-dir DIR the same command goes on where it stopped"

    def stop(number: int, _frame: object) -> NoReturn:
        from dedupe.progress import stop_bars

        stop_bars()
        say(f"\ninterrupted; {told}")
        if execution.engine == "local":
            os._exit(128 + number)
        for other in before:
            signal.signal(other, signal.SIG_DFL)
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in ENDING}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # by nohup: the run outlives its terminal
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Where numpy's libraries of linear algebra look for how many threads to start."""
GARBAGE = 200_000
"""New containers after which Python looks for cycles among them. Imports make about as many, none
of which is garbage, and by default Python would look through them every 700 or 2,000."""


def _as_a_process_of_its_own() -> None:
    """Set what belongs to a whole process, before it imports anything: it is ours alone here.

    No command multiplies matrices, and threads that wait for one burn CPU when numpy is imported.
    """
    for name in BLAS_THREADS:
        os.environ.setdefault(name, "1")
    gc.set_threshold(GARBAGE, 20, 100)


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2.

    The exit code is that of the command, whatever becomes of the terminal, file or pipe that is
    told of it; only where standard output cannot hold what it was given, that is an error.
    """
    _as_a_process_of_its_own()
    with lasting_streams() as out:
        code = _ended()
        out.flush()
        if out.lost is not None:
            say(f"dedupe: standard output: {out.lost}")
            code = code or EXIT_USER_ERROR
    if code:
        sys.exit(code)


def _ended() -> int:
    """Run the command line; the exit code."""
    try:
        try:
            cli.main(standalone_mode=False)
        finally:
            if "dedupe.progress" in sys.modules:  # else there are no bars
                sys.modules["dedupe.progress"].stop_bars()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        say(told.getvalue().rstrip("\n"))
    except (DedupeError, OSError) as error:
        say(f"dedupe: {error}")
    except MemoryError:
        say("dedupe: out of memory: lower --memory or --workers, and run again")
    else:
        return 0
    return EXIT_USER_ERROR
