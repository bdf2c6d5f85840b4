"""`deduplicate`, the Python entry point: kernels are loaded when mistakes are ruled out."""

from __future__ import annotations

import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, Unpack

from dedupe.config import (
    FILE,
    Execution,
    ExecutionKeywords,
    Keywords,
    Settings,
    SettingsKeywords,
    configured,
)
from dedupe.corpus import (
    Discovered,
    TableShard,
    as_references,
    by_role,
    check_columns,
    check_few_rows,
    discover,
    discover_references,
    estimate,
    format_of,
    is_in_memory,
    lines_shard,
    read_as,
    said_empty,
    table_shard,
)
from dedupe.corpus.frames import (
    EVALS_PATH,
    InMemory,
    is_paths,
    references_of,
    rows_of,
    whole_table,
)
from dedupe.corpus.names import said_left_out, splits_of
from dedupe.corpus.rows import TEXTS_AS_ROWS, RowLines
from dedupe.corpus.shard import REFERENCE_PATH
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import CorpusError, SettingsError, WorkDirError, listed
from dedupe.evals import Evals
from dedupe.hiding import told_apart
from dedupe.progress import Progress
from dedupe.remote.given import using

if TYPE_CHECKING:
    import pyarrow as pa

    from dedupe.corpus import Shard
    from dedupe.documents.mixed import Documents
    from dedupe.indexing import Opened, Use
    from dedupe.result import Result
    from dedupe.session import Session
    from dedupe.storage.files import Files
    from dedupe.tasks.job import EvalSets

Output = TypeVar("Output")

Corpus: TypeAlias = Any
"""Paths and globs, or rows in memory: see `corpus.frames.rows_of`."""


ROWS_AT_A_TIME = 256
"""Rows of Python that are written at a time: fewer calls, and no more memory than they take."""


def deduplicate(
    corpus: Corpus,
    output: str | Path | None = None,
    *,
    against: Corpus | None = None,
    settings: Settings | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    evals: Any = None,
    index: str | Path | Opened | None = None,
    add: bool = False,
    name: str | None = None,
    **keywords: Unpack[Keywords],
) -> Result:
    """Find the duplicates of a corpus and return its keep-list; every deletion is proven.

    corpus: files, directories or globs of Parquet, JSON lines, CSV or Arrow IPC; or rows in memory:
    a pandas or Polars frame, a `datasets.Dataset` or IterableDataset, a pyarrow Table,
    RecordBatchReader or Dataset, a list or generator of dicts or of Tables, a dict of lists.
    output: directory for the keep-list; without it a temporary one that lives as long as the
    Result, for rows in memory in memory where there is room. against: rows that stay untouched,
    such as a test set: paths, each of which names one reference, or rows in memory; rows of the
    corpus that duplicate one of them are dropped; or an index, all of whose kept rows are such
    rows. settings: what decides the keep-list, see `Settings`; with an index its own, and those
    that are given must be equal. execution: where the run takes place and what it may use, see
    `Execution`. progress: is told how far the run is, see `dedupe.progress`; None for bars or
    lines where a person watches. evals: test sets, of which rows that have an item are dropped
    first: paths, rows in memory, or an `Evals`; None for none. index: the path of an index, whose
    rows are earlier rows of the corpus; None for none. add: add the corpus to the index, under
    name, that of the crawl; None for its number. keywords: fields of `Settings` and `Execution` by
    name, such as threshold=0.7, keep=["prefer:source=human", "longest"] or engine="ray"; they
    replace those of the two objects.

    A run over files that was killed goes on where it was when called again with the same
    arguments; one that is finished gives its Result again. Rows in memory are not recognised again:
    such a run starts anew, with fresh=True where a killed one has left work.

    Raises SettingsError, CorpusError, WorkDirError or EngineError, all of them DedupeError.
    """
    chosen, where = configurations(settings, execution, keywords)
    sets = evals if evals is None or isinstance(evals, Evals) else Evals(evals)
    use = _use_of(index, against, where, add=add, name=name)
    if use is not None:
        against = None
        given = _given_settings(settings, keywords)
        with using(where.storage_options, [use.path]):
            chosen = _settings_of_index(use, given)
    return _started(corpus, against, output, chosen, where, progress, sets, use=use)


def _use_of(
    index: str | Path | Opened | None,
    against: Corpus | None,
    where: Execution,
    *,
    add: bool,
    name: str | None,
) -> Use | None:
    """How a run uses an index: for rows that came before, or for references; None without one."""
    if index is None and (add or name is not None):
        raise SettingsError("what is added, or has a name, is added to an index: give it, too")
    if name is not None and not add:
        raise SettingsError("a name is for what is added to the index: give --add, too")
    if index is None and against is None:  # most runs load nothing of it before mistakes are told
        return None
    from dedupe.indexing import Use, is_index

    if index is not None:
        if against is not None:
            raise SettingsError(
                "rows are held against an index or against references, not both at once: run twice"
            )
        if isinstance(index, str | Path):
            return Use(str(index), add=add, name=name)
        return Use(index.path, add=add, name=name, number=index.number)
    # an `Index`, which is imported only where it is used
    if against is not None and hasattr(against, "snapshot"):
        return Use(against.path, own=False, number=against.number)
    alone = [against] if isinstance(against, str | Path) else against
    if not isinstance(alone, list | tuple) or not is_paths(alone):
        return None
    paths = list(map(str, alone))
    with using(where.storage_options, paths):
        found = [path for path in paths if is_index(path)]
    if found and len(paths) > 1:
        raise SettingsError(f"{found[0]} is an index: hold the corpus against it alone")
    return Use(found[0], own=False) if found else None


def _given_settings(settings: Settings | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a caller has chosen, by name."""
    plain, found = Settings(), {}
    if settings is not None:
        values = vars(settings).items()
        found = {key: value for key, value in values if getattr(plain, key, value) != value}
    names = SettingsKeywords.__annotations__
    return {**found, **{key: value for key, value in keywords.items() if key in names}}


def _settings_of_index(use: Use, given: Mapping[str, Any]) -> Settings:
    from dedupe.index.manifest import read_manifest
    from dedupe.indexing import settings_of

    return settings_of(read_manifest(use.files, use.number), given)


def decontaminate(
    corpus: Corpus,
    output: str | Path | None = None,
    *,
    evals: Any,
    settings: Settings | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[Keywords],
) -> Result:
    """Find the rows of a corpus in which items of test sets stand, and nothing else.

    corpus, output, execution, progress: as in `deduplicate`. evals: test sets: paths, rows in
    memory, or an `Evals`, which says from when a row counts. settings: what is read of the corpus;
    of them these count: text, format, delimiter, unit, id, ignore, by, on_bad_text, on_bad_row and
    on_bad_file. keywords: fields of `Settings` and `Execution` by name.

    The Result has a keep-list with the reasons contaminated, unique and empty, and the columns
    containment, span_start, span_end and evidence. Raises what `deduplicate` does.
    """
    chosen, where = configurations(settings, execution, keywords)
    alone = replace(
        chosen,
        near=False,
        differences=False,
        keep="first",
        keep_at_most=1,
        per=None,
        count_by=None,
        compare="all",
        match=None if chosen.text is not None else "whole",
        within=None,
        distinct=None,
    )
    sets = evals if isinstance(evals, Evals) else Evals(evals)
    return _started(corpus, None, output, alone, where, progress, sets, only=True)


def _started(
    corpus: Corpus,
    against: Corpus | None,
    output: str | Path | None,
    chosen: Settings,
    where: Execution,
    progress: Progress | None,
    evals: Evals | None,
    *,
    only: bool = False,
    use: Use | None = None,
) -> Result:
    rows = rows_of(corpus, chosen)
    untouched = None if against is None else references_of(against, chosen)
    named = paths_of(corpus) if rows is None else []
    references = paths_of(against) if against is not None and untouched is None else []
    urls = told_apart([*named, *references])
    shown = {url: name for name, url in urls.items()}
    given = _Given(
        [shown[path] for path in named] if rows is None else rows,
        [shown[path] for path in references] if untouched is None else untouched,
    )
    places = [*named, *references, *_paths_of_evals(evals), str(output), str(where.work_dir)]
    places += [] if use is None else [use.path]
    secret = {name: url for name, url in urls.items() if name != url}
    with using(where.storage_options, places, secret):
        run = partial(_deduplicate, given, chosen, where, progress, evals=evals, only=only, use=use)
        return run(output) if output is not None else for_now(given.corpus, where, run)


class _Given(NamedTuple):
    """What a run is over: paths, or rows in memory; of references each path names one."""

    corpus: list[str] | InMemory
    against: list[str] | InMemory

    @property
    def paths(self) -> list[str]:
        """All paths."""
        return [path for one in self if isinstance(one, list) for path in one]


def _paths_of_evals(evals: Evals | None) -> list[str]:
    """The paths of test sets, where they are given by paths."""
    if evals is None or not is_paths(evals.files):
        return []
    return paths_of(evals.files)


def configurations(
    settings: Settings | None, execution: Execution | None, keywords: Mapping[str, Any]
) -> tuple[Settings, Execution]:
    """The two configurations of a run, with each keyword where it belongs.

    settings, execution: what was given, None for the defaults. keywords: fields of both by name.
    Raises SettingsError for a name that neither has, and for a wrong value.
    """
    names = ExecutionKeywords.__annotations__
    of_execution = {name: value for name, value in keywords.items() if name in names}
    of_settings = {name: value for name, value in keywords.items() if name not in names}
    unknown = sorted(of_settings.keys() - SettingsKeywords.__annotations__.keys())
    if unknown:
        known = ", ".join([*SettingsKeywords.__annotations__, *names])
        raise SettingsError(f"unknown setting {', '.join(unknown)}: there are {known}")
    return (
        configured(Settings, settings, of_settings),
        configured(Execution, execution, of_execution),
    )


def _deduplicate(
    given: _Given,
    settings: Settings,
    execution: Execution,
    progress: Progress | None,
    output: str | Path,
    *,
    evals: Evals | None = None,
    only: bool = False,
    use: Use | None = None,
) -> Result:
    started = time.time()
    found = references = Discovered([], {}, {})
    if isinstance(given.corpus, list):
        found = discovered(given.corpus, settings)
    if isinstance(given.against, list):
        references = discovered_references(given.against, found.shards, settings)
    sets = None if evals is None else _eval_sets(evals, settings, execution)
    from dedupe.result import Result  # now, as a path that is wrong is told before
    from dedupe.session import check_apart, output_at, session, was_finished
    from dedupe.tasks.costs import limits_of
    from dedupe.tasks.job import projection_of
    from dedupe.tasks.survey import document_of

    target = output_at(output)
    in_files = all(isinstance(one, list) for one in given)
    there = [*found.shards, *references.shards] if in_files else []
    finished = _finished(target, there, settings, sets, only=only, use=use)
    if finished is not None:
        was_finished(execution, [target], finished.fingerprint, progress)
        return finished
    with (
        session(execution, target, progress) as held,
        shards_given(given.corpus, found.shards, held) as own,
        shards_given(given.against, references.shards, held) as untouched,
    ):
        if not isinstance(given.against, list):
            untouched = as_references(untouched, len(own))
        how = {"limits": limits_of(execution), **settings.reading}
        shards = [read_as(shard, **how) for shard in (*own, *untouched)]
        for said in (*_said_of(found), *_said_of(references)):
            held.progress.note(said)
        read = [*given.paths, *([] if use is None else [use.path])]
        check_apart(read, shards, (target.root, held.work.files.root))
        if sets is not None:
            _check_not_in(sets, shards)
        documents = [document_of(by_role(shards)[0], settings)]
        if untouched:
            documents.append(document_of(by_role(shards)[1], settings.of_references))
        if own and not settings.skips_files:  # most mistakes show in the first file
            lacking = check_columns(shards[0], projection_of(documents[0], settings))
            if len(own) == 1:
                check_few_rows(shards[0], lacking)
        named = {
            "given": given.corpus if isinstance(given.corpus, list) else [],
            "left_out": found.left_out,
            "repeated": found.repeated,
        }
        _run(
            held,
            shards,
            settings,
            documents,
            named,
            given.against,
            target,
            started,
            sets,
            only=only,
            use=use,
        )
    return Result(target.root)


def discovered(paths: list[str], settings: Settings) -> Discovered:
    """What is found; of a path that is none and may be a text it is said how to give texts.

    paths: of the corpus. settings: how it is read.
    """
    try:
        found = discover(paths, settings.delimiter, settings.unit)
    except CorpusError as error:
        if error.path in paths and any(map(str.isspace, error.path)):
            said = f"{error.message}; if it is a text, {TEXTS_AS_ROWS}"
            raise CorpusError(said, path=error.path) from None
        raise
    _check_no_index(found)
    return found


def discovered_references(
    paths: list[str], shards: Sequence[Shard], settings: Settings
) -> Discovered:
    """What is found of references.

    paths: of them. shards: of the corpus. settings: how they are read.
    """
    found = discover_references(paths, shards, settings.delimiter, settings.unit)
    _check_no_index(found)
    return found


def _check_no_index(found: Discovered) -> None:
    """Refuse an index as a corpus, or as one of several references."""
    from dedupe.index.manifest import index_of

    if any(index_of(shard.path) is not None for shard in found.shards):
        from dedupe.indexing import check_no_index  # with all that a run needs

        check_no_index(found.shards)


def _said_of(found: Discovered) -> Iterator[str]:
    """What people are told of the files of a corpus before they are read."""
    for said in said_left_out(found.left_out, found.repeated):
        yield f"leaves out {said}"
    empty = [one for one in found.shards if one.size == 0 and format_of(one).unit != FILE]
    if empty:
        yield said_empty(empty)
    splits = splits_of(shard.path for shard in by_role(found.shards)[0])
    if len(splits) > 1:
        yield (
            f"compares the splits {listed(splits)} with one another: rows of one are dropped "
            "because of rows of another"
        )


def said_of_documents(
    documents: Documents, shards: Sequence[Shard], settings: Settings
) -> Iterator[str]:
    """What people are told of what is compared, where they have not said it themselves.

    documents: what is compared. shards: of the run. settings: of the run.
    """
    others = [settings.not_compared(one) for one in documents.own]
    if len(documents.own) > 1:
        paths = [shard.path if shard.size else None for shard in shards]
        yield "compares each file by its own format:"
        yield from documents.told(paths, others)
    elif documents.whole.guessed:
        yield f"compares {documents.whole}"
        if others[0]:
            yield f"does not compare {listed(others[0])}"


def _finished(
    target: Files,
    shards: Sequence[Shard],
    settings: Settings,
    evals: EvalSets | None,
    *,
    only: bool,
    use: Use | None,
) -> Result | None:
    """The run in an output, which must be that of the same command; None where nothing is there.

    target: the output. shards: of the run, none where some are in memory. settings: of the command.
    evals: its test sets. only: whether rows are held against nothing else. use: its index.
    Raises WorkDirError where anything else is there.
    """
    from dedupe.result import LEAVINGS, Result
    from dedupe.storage.files import NOT_EMPTY
    from dedupe.storage.fingerprint import corpus_versions, fingerprint_of_run, told
    from dedupe.tasks.survey import document_of

    result = None
    if shards:
        with suppress(WorkDirError):
            result = Result(target.root)
    if result is None:
        target.check_new(LEAVINGS)
        return None
    own, references = by_role(shards)
    document = str(document_of(own, settings))
    versions = corpus_versions(references)
    asked = fingerprint_of_run(
        settings.as_dict(), document, corpus_versions(own), references=versions
    )
    if evals is not None:
        from dedupe.tasks.job import evals_fingerprint

        asked["evals"] = evals_fingerprint(evals, only=only)
    if use is not None:
        from dedupe.index.manifest import read_manifest
        from dedupe.indexing import asked_of

        asked |= asked_of(use, read_manifest(use.files, use.number))
    different = told(result.fingerprint, asked)
    if different:
        raise WorkDirError(f"{target.root} {NOT_EMPTY}; it is of another command:\n  {different}")
    return result


def _run(
    held: Session,
    shards: list[Shard],
    settings: Settings,
    documents: Sequence[DocumentTemplate],
    named: Mapping[str, Any],
    against: list[str] | InMemory,
    target: Files,
    started: float,
    evals: EvalSets | None,
    *,
    only: bool,
    use: Use | None,
) -> None:
    from dedupe.session import load_kernels, load_kernels_of_evals

    load = load_kernels if evals is None else load_kernels_of_evals
    adds = use is not None and use.add
    with held.running(shards, load) as (stages, resources):
        from dedupe.calibration import note_run
        from dedupe.errors import IntegrityError
        from dedupe.indexing import add as add_to
        from dedupe.indexing import asked_of, pinned, ranges_of, told_of, with_earlier
        from dedupe.pipeline import decontaminate_corpus, open_job, run_stages, sign_corpus
        from dedupe.summary import publish, summary_of
        from dedupe.tasks.survey import Firsts

        job = open_job(
            shards,
            settings,
            Firsts(*documents),
            resources,
            held.execution.tuning,
            held.work,
            stages,
            evals,
            fresh=held.execution.fresh,
            only=only,
            takes_over=True,
            asked=asked_of(use),
            sketched=use is not None and settings.near,
        )
        for said in said_of_documents(job.documents, shards, settings):
            held.progress.note(said)

        def attempt() -> None:
            while not tried():
                pass

        def tried() -> bool:
            """Run the stages and publish; False where another writer has added to the index."""
            nonlocal job
            found = None
            if evals is None:
                job, signed = sign_corpus(job, stages, indexed=use is not None, added=adds)
            else:
                found, signed = decontaminate_corpus(
                    job, evals, stages, only=only, indexed=use is not None, added=adds
                )
                job = found.job
            held_against, is_in = job, False
            if use is not None:
                ranges = partial(ranges_of, job.planner.tuning.most_tasks)
                earlier, is_in = pinned(use, job.work, stages, ranges)
                held_against = with_earlier(job, earlier, signed)
            run = replace(run_stages(held_against, signed, stages), contamination=found)
            if use is not None and use.add and not is_in and not add_to(use, run):
                return False
            references = against if isinstance(against, list) else [REFERENCE_PATH]
            summary = summary_of(run, stages, resources, started, named, references, only=only)
            if use is not None:
                summary |= told_of(use, run)
            publish(run, summary, target)
            if held.execution.work_dir is not None:
                job.work.finish()
            note_run(held.execution.engine, summary)
            return True

        try:
            stages.repairing(job.work, attempt)
        except IntegrityError:
            for shard in shards:
                if shard.path not in job.left_out:
                    shard.check_unchanged()
            raise


def _eval_sets(evals: Evals, settings: Settings, execution: Execution) -> EvalSets:
    """The test sets, whose columns are looked at; see `tasks.job.EvalSets`.

    evals: what was asked for. settings, execution: of the run. Raises CorpusError for a file that
    cannot be read, or has no question.
    """
    from dedupe.contamination.given import eval_sets
    from dedupe.tasks.costs import limits_of

    if is_paths(evals.files):
        found = discovered(paths_of(evals.files), settings).shards
    else:
        table = whole_table(evals.files)
        found = [read_as(table_shard(table), path=EVALS_PATH)]
    shards = [read_as(shard, limits=limits_of(execution)) for shard in found]
    return eval_sets(evals, shards)


def _check_not_in(evals: EvalSets, shards: Sequence[Shard]) -> None:
    """Refuse a corpus that has a file of the test sets: all of its rows would be contaminated."""
    from dedupe.session import resolved

    paths = {resolved(shard.path) for shard in shards if not is_in_memory(shard.path)}
    for shard in evals.shards:
        if resolved(shard.path) in paths:
            raise SettingsError(
                f"{shard.path} is a test set and in the corpus, too: leave it out of one of them"
            )


def for_now(
    corpus: list[str] | InMemory,
    execution: Execution,
    run_to: Callable[[Path], Output],
) -> Output:
    """What is made in a temporary folder, which goes with it.

    corpus: what it is made of; of rows in memory the folder is in memory, too, where there is room.
    execution: where it is made. run_to: makes it in a folder.
    """
    from dedupe.storage.temporary import room_for, temporary_folder

    room = 0
    tables = (corpus,) if isinstance(corpus, TableShard) else corpus
    if isinstance(tables, tuple) and execution.work_dir is None:
        room = sum(room_for(*estimate(table)) for table in tables)
    folder, remove = temporary_folder(room)
    try:
        result = run_to(folder / "out")
    except BaseException:
        remove()
        raise
    weakref.finalize(result, remove)
    return result


@contextmanager
def shards_given(
    corpus: list[str] | InMemory,
    found: list[Shard],
    held: Session,
) -> Iterator[list[Shard]]:
    """The shards of whatever was given; what comes once is spooled to disk, as it is read twice.

    corpus: paths, or rows in memory. found: the shards that paths name. held: the command.
    """
    if isinstance(corpus, list):
        yield found
    elif isinstance(corpus, TableShard):
        yield [corpus]
    elif isinstance(corpus, tuple):
        yield list(corpus)
    else:
        import pyarrow as pa
        import pyarrow.ipc as ipc

        from dedupe.storage.disk_files import hidden_folder

        root = held.work.files.root
        at = root if isinstance(root, Path) else Path(tempfile.gettempdir()) / root.name
        with hidden_folder(at) as folder:
            if isinstance(corpus, RowLines):
                path = folder / "rows.jsonl"
                _spool_lines(corpus, path)
                yield [lines_shard(str(path))]
                return
            path = folder / "reader.arrow"
            _spool(corpus, path)
            with pa.memory_map(str(path)) as source:
                yield [table_shard(ipc.open_stream(source).read_all())]


def _spool_lines(rows: RowLines, path: Path) -> None:
    """Write rows as they come; an error of whoever makes them is not one of the disk."""
    with open(path, "wb", buffering=0) as sink:
        while lines := list(islice(rows.lines, ROWS_AT_A_TIME)):
            with _writing(path):
                sink.write(b"".join(lines))


def _spool(reader: pa.RecordBatchReader, path: Path) -> None:
    """Write a stream, in which dictionaries may change from one batch to the next."""
    import pyarrow as pa
    import pyarrow.ipc as ipc

    with pa.OSFile(str(path), "wb") as sink:
        writer = ipc.new_stream(sink, reader.schema)
        for batch in reader:
            with _writing(path):
                writer.write_batch(batch)
        with _writing(path):
            writer.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkDirError(
            f"{path.parent.parent} has no room for the rows: {error}: name an output or a work "
            "directory on a larger disk"
        ) from error


def paths_of(corpus: str | Path | Sequence[str | Path]) -> list[str]:
    """The paths of a corpus. Raises SettingsError where it is none."""
    paths = [corpus] if isinstance(corpus, str | Path) else corpus
    if not isinstance(paths, list | tuple) or not all(isinstance(p, str | Path) for p in paths):
        raise SettingsError(
            f"a corpus of type {type(corpus).__name__} is not known: give paths, or rows of "
            "pyarrow, pandas, Polars or datasets, or a list of dicts"
        )
    return [str(path) for path in paths]
