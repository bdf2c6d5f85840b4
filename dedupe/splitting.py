"""`split`: train, validation and test of a corpus, such that nothing leaks from one to another."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from dedupe.api import (
    Corpus,
    configurations,
    discovered,
    for_now,
    paths_of,
    said_of_documents,
    shards_given,
)
from dedupe.commands.split.result import LEAVINGS, Splits
from dedupe.commands.split.wanted import Wanted, each_column
from dedupe.config import EXACT_RECALL, Execution, Settings, SettingsKeywords
from dedupe.corpus import Discovered, check_columns, column_names, heard, read_as
from dedupe.corpus.frames import InMemory, rows_of
from dedupe.corpus.names import said_left_out
from dedupe.documents.template import ColumnPath
from dedupe.errors import CorpusError, SettingsError, WorkDirError, listed
from dedupe.hiding import told_apart
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import SUMMARY, Result, places_of, shards_of

if TYPE_CHECKING:
    from dedupe.config import Keywords
    from dedupe.corpus import Shard
    from dedupe.documents.mixed import Documents
    from dedupe.session import Session
    from dedupe.storage.files import Files

DEFAULTS: Mapping[str, Any] = {"threshold": 0.5, "recall": EXACT_RECALL, "compare": "asked"}
"""What a split compares, where nobody says otherwise: what was asked, at a threshold at which half
of a question stands in another one, and no pair is missed."""

FIXED: Mapping[str, Any] = {
    "cluster": "transitive",
    "keep": "first",
    "keep_at_most": 1,
    "per": None,
    "count_by": None,
    "by": None,
    "differences": False,
    "near": True,
}
"""Settings that cannot be chosen: they say which row is kept, or what is told of those dropped."""

OF_CORPUS = (
    "text", "format", "match", "delimiter", "unit", "id", "shingle", "exact", "ignore", "within",
    "distinct", "on_bad_text", "on_bad_row", "on_bad_file",
)  # fmt: skip
"""Settings of a finished run that a split of it has, too."""

OF_ROWS = (
    "text", "format", "match", "compare", "threshold", "shingle", "exact", "ignore", "within",
    "distinct", "on_bad_text",
)  # fmt: skip
"""Settings that decide which rows are linked: those of an earlier split must be the same."""

OF_PREVIOUS = (*OF_ROWS, "delimiter", "unit", "id", "recall", "bands", "on_bad_row", "on_bad_file")
"""Settings of an earlier split that the next one has, unless they are given."""

USUAL: Mapping[str, Any] = {
    "test": "10%",
    "validation": "0%",
    "group": (),
    "stratify": (),
    "lengths": 0,
    "seed": 1,
}
"""What is asked for, where neither the call nor an earlier split says so."""


@dataclass(frozen=True)
class _Source:
    """What is split.

    given: paths or rows in memory. run: the finished run, where it is one. previous: the split in
    which rows stay where they stood, where there is one.
    """

    given: list[str] | InMemory
    run: Result | None = None
    previous: Splits | None = None


def split(
    corpus: Corpus,
    output: str | Path | None = None,
    *,
    test: str | float | None = None,
    validation: str | float | None = None,
    group: str | Sequence[str] = (),
    stratify: str | Sequence[str] = (),
    lengths: int | None = None,
    seed: int | None = None,
    with_duplicates: bool = False,
    previous: str | Path | Splits | None = None,
    settings: Settings | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[Keywords],
) -> Splits:
    """Divide a corpus into train, validation and test, such that no similar rows are in two.

    corpus: as in `deduplicate`; or the output of a finished run, whose dropped rows are excluded.
    output: directory for the splits; without it a temporary one that lives as long as what is
    returned. test, validation: share of the rows, as "10%" or 0.1; 10% and none by default. group:
    columns; rows of an equal value are in one split, and null links nothing. stratify: columns of
    whose values each split has its share. lengths: ranges of length of which each split has its
    share, as well; 0 for none. seed: other ones give other splits, 1 by default. with_duplicates:
    of a finished run, whether rows that it dropped go to splits, too. previous: an earlier split of
    less of the corpus: its rows stay where they stood, and what is not given is as it was asked for
    there. settings: what is compared, see `Settings`; by default what was
    asked, at threshold 0.5, by an exact join. execution: where it is done, see `Execution`.
    progress: is told how far it is. keywords: fields of `Settings` and `Execution` by name.

    A call over files that was killed goes on when repeated; a finished one gives its Splits again.
    Raises SettingsError, CorpusError, WorkDirError or EngineError, all of them DedupeError.
    """
    asked = {
        "test": test,
        "validation": validation,
        "group": each_column("group", group) or None,
        "stratify": each_column("stratify", stratify) or None,
        "lengths": lengths,
        "seed": seed,
    }
    given, where = configurations(settings, execution, keywords)
    chosen = {name for name in keywords if name in SettingsKeywords.__annotations__}
    if settings is not None:
        chosen |= {name for name, value in settings.as_dict().items() if value != _usual(name)}
    for name, value in FIXED.items():
        if name in chosen and getattr(given, name) != value:
            raise SettingsError(f"a split has no {name}: leave it out")
    rows = rows_of(corpus, given)
    named = paths_of(corpus) if rows is None else []
    urls = told_apart(named)
    shown = {url: name for name, url in urls.items()}
    paths = [shown[path] for path in named]
    secret = {name: url for name, url in urls.items() if name != url}
    places = [*named, str(output), str(where.work_dir)]
    if isinstance(previous, str | Path):
        places.append(str(previous))
    with using(where.storage_options, places, secret):
        if isinstance(previous, str | Path):
            previous = Splits(previous)
        source = _Source(paths if rows is None else rows, _run_at(paths), previous)
        if with_duplicates and source.run is None:
            raise SettingsError("with_duplicates is for the output of a finished run")
        wanted = _wanted(asked, previous, with_duplicates=with_duplicates)
        its = _settings(given, chosen, source.run, previous)
        if output is not None:
            return _split(source, its, wanted, where, progress, output)
        return for_now(
            source.given, where, lambda out: _split(source, its, wanted, where, progress, out)
        )


def _usual(name: str) -> Any:
    return Settings().as_dict()[name]


def _run_at(paths: Sequence[str]) -> Result | None:
    """The finished run that is split, where the only path is its output."""
    if len(paths) == 1:
        with suppress(WorkDirError, OSError):
            return Result(paths[0])
    return None


def _wanted(asked: Mapping[str, Any], previous: Splits | None, *, with_duplicates: bool) -> Wanted:
    """What is asked for: as was given, then as the earlier split has it, then as is usual.

    asked: what was given, None where nothing was. previous: the earlier split. with_duplicates: see
    `split`. Raises SettingsError where rows were linked by the values of other columns before.
    """
    before = dict(previous.summary["asked"]) if previous is not None else {}
    given = {name: value for name, value in asked.items() if value is not None}
    columns = tuple(before.get("group", ()))
    if previous is not None and set(given.get("group", columns)) != set(columns):
        raise SettingsError(
            f"group is {listed(given['group'])}, and was {listed(columns) or 'not given'} in the "
            "earlier split: leave it out, or split anew"
        )
    chosen = {**USUAL, **{name: before[name] for name in USUAL if name in before}, **given}
    chosen |= {"group": columns or tuple(chosen["group"]), "stratify": tuple(chosen["stratify"])}
    return Wanted(**chosen, with_duplicates=with_duplicates)


def _settings(
    given: Settings, chosen: set[str], run: Result | None, previous: Splits | None
) -> Settings:
    """What is compared: as was chosen, then as earlier outputs have it, then as is usual.

    given: with what was chosen. chosen: the names of these settings. run: what is split, if it is
    one. previous: the earlier split, if there is one. Raises SettingsError where rows would be
    linked otherwise than in the earlier split.
    """
    values = {name: getattr(given, name) for name in chosen}
    if previous is not None:
        before = {name: previous.summary["settings"][name] for name in OF_PREVIOUS}
        if chosen & {"recall", "bands"}:
            del before["recall"], before["bands"]
        for name in OF_ROWS:
            value = given.as_dict()[name]
            if name in chosen and value != before[name]:
                raise SettingsError(
                    f"{name} is {value}, and was {before[name] or 'not given'} in the earlier "
                    "split: leave it out, or split anew"
                )
        return Settings(**{**before, **values, **FIXED})
    if run is not None:
        before = {name: run.summary["settings"][name] for name in OF_CORPUS}
        if chosen & {"text", "format"}:
            before |= {"text": None, "format": None}
        values = {**before, **values}
    usual = dict(DEFAULTS)
    if values.get("text") is not None:
        usual.pop("compare")
    if values.get("bands") is not None:
        usual.pop("recall")
    return Settings(**{**usual, **values, **FIXED})


def _split(
    source: _Source,
    settings: Settings,
    wanted: Wanted,
    execution: Execution,
    progress: Progress | None,
    output: str | Path,
) -> Splits:
    started = time.time()
    found = Discovered([], {}, {})
    if source.run is not None:
        with using(execution.storage_options, places_of(str(source.run.path))):
            found = Discovered(shards_of(source.run), {}, {})
    elif isinstance(source.given, list):
        found = discovered(source.given, settings)
    from dedupe.session import check_apart, output_at, session, was_finished
    from dedupe.tasks.costs import limits_of

    target = output_at(output)
    asked = _asked(wanted, source)
    finished = _finished(target, found.shards, settings, asked)
    if finished is not None:
        was_finished(execution, [target], finished.fingerprint, progress)
        return finished
    is_paths = source.run is not None or isinstance(source.given, list)
    in_memory: list[str] | InMemory = [] if is_paths else source.given
    with (
        session(execution, target, progress) as held,
        shards_given(in_memory, found.shards, held) as there,
    ):
        how = {"limits": limits_of(execution), **settings.reading}
        shards = [read_as(shard, **how) for shard in there]
        given = source.given if isinstance(source.given, list) else []
        for said in said_left_out(found.left_out, found.repeated):
            held.progress.note(f"leaves out {said}")
        check_apart(given, shards, (target.root, held.work.files.root))
        _check_there(shards, wanted, settings)
        named = {"given": given, "left_out": found.left_out, "repeated": found.repeated}
        _run(held, shards, settings, wanted, source, named, target, asked, started)
    return Splits(target.root)


def _asked(wanted: Wanted, source: _Source) -> dict[str, Any]:
    """What decides a split besides the corpus and the settings: see `Splits.fingerprint`."""
    from dedupe.storage.fingerprint import digest

    kept = stood = None
    if source.run is not None and not wanted.with_duplicates:
        kept = digest({one["path"]: one["keep_checksum"] for one in source.run.shards})
    if source.previous is not None:
        stood = digest({one["path"]: one["split_checksum"] for one in source.previous.shards})
    return {"asked": wanted.as_dict(), "run": kept, "previous": stood}


def _check_there(shards: Sequence[Shard], wanted: Wanted, settings: Settings) -> None:
    """Refuse a column that no shard has, but for those that cannot be read and are left out."""
    there: set[str] = set()
    read = []
    for shard in shards if wanted.columns else ():
        try:
            there.update(column_names(shard))
            read.append(shard)
        except CorpusError:
            if not settings.skips_files:
                raise
    for name in wanted.columns:
        if name not in there and not any(heard(shard, [ColumnPath(name)]) for shard in read):
            known = listed(sorted(there)) or "no columns"
            raise SettingsError(f'no column "{name}" in the corpus: there are {known}')


def _fingerprint(
    shards: Sequence[Shard], settings: Settings, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """What must be the same for a split to be that of the same command."""
    from dedupe.storage.fingerprint import corpus_versions, fingerprint_of_run
    from dedupe.tasks.survey import document_of

    document = str(document_of(shards, settings))
    versions = corpus_versions(shards)
    return {**fingerprint_of_run(settings.as_dict(), document, versions), **asked}


def _check_compared(documents: Documents, previous: Splits) -> None:
    """Refuse an earlier split that compared something else, with SettingsError.

    documents: what is compared of the corpus. previous: the earlier split.
    """
    from dedupe.config import ALGORITHM

    now = {one.compared for one in documents.own}
    for one in previous.documents.own:
        if one.compared not in now:
            raise SettingsError(
                f"the earlier split compared {one}, and this one compares {documents.own[0]}: give "
                "all files, those of before as well, or split anew"
            )
    before = previous.summary["algorithm"]
    if before != ALGORITHM:
        raise SettingsError(
            f"the earlier split was made by version {previous.summary['dedupe']}, which knows rows "
            "by other digests: split anew"
        )


def _finished(
    target: Files, shards: Sequence[Shard], settings: Settings, asked: Mapping[str, Any]
) -> Splits | None:
    """The split in an output, which must be that of the same command; None where nothing is there.

    target: the output. shards: the corpus, none where it is in memory. settings, asked: of the
    command. Raises WorkDirError where anything else is there.
    """
    from dedupe.storage.files import NOT_EMPTY
    from dedupe.storage.fingerprint import told

    result = None
    if shards:
        with suppress(WorkDirError):
            result = Splits(target.root)
    if result is None:
        target.check_new(LEAVINGS)
        return None
    different = told(result.fingerprint, _fingerprint(shards, settings, asked))
    if different:
        raise WorkDirError(f"{target.root} {NOT_EMPTY}; it is of another command:\n  {different}")
    return result


def _run(
    held: Session,
    shards: list[Shard],
    settings: Settings,
    wanted: Wanted,
    source: _Source,
    named: Mapping[str, Any],
    target: Files,
    asked: Mapping[str, Any],
    started: float,
) -> None:
    from dedupe.session import load_kernels
    from dedupe.tasks.survey import document_of

    document = document_of(shards, settings)
    with held.running(shards, load_kernels) as (stages, resources):
        from dedupe.commands.split.divide import divide, made_of, shares_of, summary_of
        from dedupe.commands.split.dropping import Earlier
        from dedupe.commands.split.result import KIND
        from dedupe.errors import IntegrityError
        from dedupe.pipeline import open_job, sign_corpus
        from dedupe.storage.checksums import seal
        from dedupe.tasks.job import projection_of
        from dedupe.tasks.survey import Firsts

        if shards and not settings.skips_files:
            check_columns(shards[0], projection_of(document, settings))
        job = open_job(
            shards,
            settings,
            Firsts(document),
            resources,
            held.execution.tuning,
            held.work,
            stages,
            fresh=held.execution.fresh,
            asked=asked,
        )
        for said in said_of_documents(job.documents, shards, settings):
            held.progress.note(said)
        run = previous = None
        if source.run is not None and not wanted.with_duplicates:
            run = Earlier(source.run.storage, source.run.shards)
        if source.previous is not None:
            _check_compared(job.documents, source.previous)
            previous = Earlier(source.previous.storage, source.previous.shards)

        def attempt() -> None:
            nonlocal job
            job, signed = sign_corpus(job, stages, shares_of(wanted, run, previous))
            done = divide(job, signed, wanted, run, previous, stages)
            summary = summary_of(done, stages, named, started)
            job.work.check_own()
            if target.check_new(LEAVINGS):
                target.remove_folder("splits")
            made = {f"splits/{one.name}": one for one in made_of(done)}
            target.publish(made, SUMMARY, seal(KIND, {**summary, **asked}))

        try:
            stages.repairing(job.work, attempt)
        except IntegrityError:
            for shard in shards:
                if shard.path not in job.left_out:
                    shard.check_unchanged()
            raise
