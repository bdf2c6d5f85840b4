"""`edges`: dropped rows and their witnesses as a list of edges, and other pairs that are seen.

Which row was dropped because of which is in the keep-lists. That two other rows are similar is in
none: a run forgets what it compares. So its stages come once more, with the same settings on the
same corpus, and with them its components, in each of which pairs are then looked for. Where its
work directory is still there, that is all there is to do.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from dedupe.commands.edges.result import Edges
from dedupe.commands.split.result import is_splits
from dedupe.config import ALGORITHM, Execution, ExecutionKeywords, Resources, Settings, configured
from dedupe.corpus import Shard, by_role, find_shards, is_in_memory, read_as
from dedupe.errors import CorpusError, IntegrityError, SettingsError
from dedupe.evals import Evals
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import Result, places_of, shards_of
from dedupe.storage.fingerprint import digest

if TYPE_CHECKING:
    import pyarrow as pa

    from dedupe.pipeline import Decided
    from dedupe.session import Session
    from dedupe.stage_runner import StageRunner
    from dedupe.tasks.job import EvalSets, Job

PART = 10.0
"""The part of the time that pairs take, as in `pipeline.SHARES`: that of verify, about."""
CAP = 1000
"""Pairs of a component that are listed, besides rows and their witnesses."""
MOST_CAP = 1 << 40
"""More are as good as all."""


def edges(
    out: str | Path | Result,
    output: str | Path | None = None,
    *,
    least: float | None = None,
    cap: int = CAP,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> Edges:
    """Write which row of a finished run is like which, as a list that graph libraries load.

    out: the run, or the output of one. output: the Parquet file; without it a temporary one that
    lives as long as what is returned. least: Jaccard similarity from which other pairs than those
    of rows and their witnesses are listed, too, in (0, 1]; None for none of them. cap: how many of
    these are listed of one component at most, the first ones in the order of the later of both
    rows. execution: where it is done, see `Execution`; with `least` the stages of the run come
    once more, in the work directory of the run where it is named and still there, else in one
    beside the output. progress: is told how far it is. keywords: fields of `Execution` by name. A
    call with `least` that was killed goes on when repeated.

    Every dropped row with a witness in the corpus, in references or in an index has an edge to it,
    and so has a row that stays beside the kept row. A pair is listed if both rows are of one
    component of the run, that is connected through rows that share a band key, and each field
    reaches `least`. Rows with the same shingles in the same order are one in this: the first of
    them has the pairs, and each other one a pair with it. The columns are told in
    docs/how-to/edges.md.

    Raises SettingsError; with `least` also CorpusError where the corpus is not the one of the run
    any more; WorkDirError.
    """
    where = configured(Execution, execution, keywords)
    if type(cap) is not int or cap < 1:
        raise SettingsError(f"cap is {cap!r}: use a whole number from 1")
    cap = min(cap, MOST_CAP)
    is_number = isinstance(least, int | float) and type(least) is not bool
    if least is not None and not (is_number and 0 < float(least) <= 1):
        raise SettingsError(f"least is {least}: use a Jaccard similarity above 0 and up to 1")
    path = str(out.path if isinstance(out, Result) else out)
    if is_splits(path, where.storage_options):
        raise SettingsError(f"{path} is a split: edges are of a finished run")
    if output is None:
        from dedupe.storage.temporary import temporary_folder

        folder, remove = temporary_folder(0)
        try:
            made = edges(path, folder / "edges.parquet", least=least, cap=cap, execution=where,
                         progress=progress)  # fmt: skip
        except BaseException:
            remove()
            raise
        weakref.finalize(made, remove)
        return made
    with using(where.storage_options, places_of(path, output, where.work_dir)):
        from dedupe.commands.edges.file import (
            check_outside,
            check_target,
            dropped_edges,
            edges_schema,
        )

        result = Result(path)
        check_target(str(output))
        check_outside(str(output), result)
        names = result.documents.whole.names
        schema = edges_schema(_id_type(result), names, has_crawls=bool(result.held_against))
        write = partial(_write, result, str(output), schema, least, cap)
        if least is None:
            write(dropped_edges(result, schema), 0, 0, [])
        else:
            _check_compared(result)
            _with_pairs(result, output, float(least), cap, where, progress, schema, write)
        return Edges(str(output))


def _check_compared(result: Result) -> None:
    """Refuse a run in which no rows were held against one another but for exact copies.

    And one of another algorithm, one whose test sets were in memory, and one with an index.
    """
    if result.held_against:
        raise SettingsError(
            f"{result.path} is of a run that was held against an index: other pairs than those of "
            "rows and their witnesses are not looked for then; leave out --from"
        )
    if result.summary.get("algorithm") != ALGORITHM:
        raise SettingsError(
            f"{result.path} is of algorithm {result.summary.get('algorithm')}, and this dedupe has "
            f"{ALGORITHM}: run again"
        )
    evals = result.summary.get("contamination")
    if evals is not None and any(is_in_memory(one["path"]) for one in evals["files"]):
        raise SettingsError("the test sets of the run were in memory: write them to files, and run")
    if not result.summary["settings"]["near"]:
        raise SettingsError(
            f"{result.path} is of a run that looked for no near-duplicates: there are no other "
            "pairs than those of rows and their witnesses"
        )


def _id_type(result: Result) -> pa.DataType | None:
    """The type of the ids in a run's keep-lists, None without any."""
    if result.summary["settings"]["id"] is None or not result.shards:
        return None
    return result.keep_list_of(0, ["id"]).schema.field("id").type


def _write(
    result: Result,
    output: str,
    schema: pa.Schema,
    least: float | None,
    cap: int,
    batches: Iterable[pa.RecordBatch],
    pairs: int,
    cut: int,
    examples: list[int],
) -> None:
    """Write the edges of a run, of which so many are no dropped rows with their witnesses."""
    from dedupe.commands.edges.file import DROPPED, write_edges

    drops = sum(result.summary["reasons"][reason] for reason in DROPPED)
    said = {
        "edges": drops + pairs,
        "drops": drops,
        "pairs": pairs,
        "least": least,
        "cap": None if least is None else cap,
        "cut": cut,
        "cut_components": examples,
        "run": digest(result.fingerprint),
        "threshold": result.summary["settings"]["threshold"],
    }
    write_edges(output, schema, batches, said)


def _with_pairs(
    result: Result,
    output: str | Path,
    least: float,
    cap: int,
    execution: Execution,
    progress: Progress | None,
    schema: pa.Schema,
    write: Callable[..., None],
) -> None:
    from dedupe.session import check_apart, output_at, session
    from dedupe.tasks.costs import limits_of

    settings = Settings(**result.summary["settings"])
    limits = limits_of(execution)
    shards = [read_as(one, limits=limits) for one in _shards(result)]
    target = output_at(output)
    given = result.summary["corpus"].get("given", [])
    with session(execution, target, progress) as held:
        check_apart(given, shards, [target.root, held.work.files.root])
        evals = _evals(result, settings, execution)
        with held.running(shards, _load_all if evals is None else _load_with_evals) as running:
            _run(result, shards, settings, evals, held, *running, least, cap, schema, write)


def _shards(result: Result) -> list[Shard]:
    """The shards of a run, those of references with the number of theirs."""
    found = shards_of(result, references=True)
    numbers = [
        number for number, one in enumerate(result.summary["references"]) for _ in one["shards"]
    ]
    own = len(result.shards)
    pairs = zip(found[own:], numbers, strict=True)
    return [*found[:own], *(read_as(shard, reference=number) for shard, number in pairs)]


def _evals(result: Result, settings: Settings, execution: Execution) -> EvalSets | None:
    """The test sets of a run, None without any. Raises CorpusError where they have changed."""
    from dedupe.contamination.given import eval_sets
    from dedupe.tasks.costs import limits_of
    from dedupe.tasks.job import evals_fingerprint

    found = result.summary.get("contamination")
    if found is None:
        return None
    paths = [one["path"] for one in found["files"]]
    limits = limits_of(execution)
    shards = [read_as(one, limits=limits) for one in find_shards(paths, settings.delimiter)]
    sets = eval_sets(Evals(paths, **found["settings"]), shards)
    if evals_fingerprint(sets, only=False) != result.fingerprint["evals"]:
        raise CorpusError(
            "has changed since the run, or another test set: run again", path=paths[0]
        )
    return sets


def _load_all(notify: Callable[[str], None]) -> None:
    """Load the kernels of a run, and those that find pairs; see `session.Load`."""
    from dedupe.kernels import notices
    from dedupe.session import load_kernels

    load_kernels(notify)
    with notices(notify):
        for name in ("join", "references"):
            importlib.import_module(f"dedupe.kernels.{name}")


def _load_with_evals(notify: Callable[[str], None]) -> None:
    """The same, and those that hold texts against test sets."""
    from dedupe.session import load_kernels_of_evals

    load_kernels_of_evals(notify)
    _load_all(notify)


def _run(
    result: Result,
    shards: list[Shard],
    settings: Settings,
    evals: EvalSets | None,
    held: Session,
    stages: StageRunner,
    resources: Resources,
    least: float,
    cap: int,
    schema: pa.Schema,
    write: Callable[..., None],
) -> None:
    from dedupe.commands.edges.pairs import STAGE
    from dedupe.pipeline import SHARES, decide, decontaminate_corpus, open_job, sign_corpus
    from dedupe.tasks.survey import Firsts, document_of

    own, references = by_role(shards)
    documents = [document_of(own, settings)]
    if references:
        documents.append(document_of(references, settings.of_references))
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
    )

    shares = {**{name: part for name, part in SHARES.items() if name != "keep"}, STAGE: PART}

    def attempt() -> None:
        nonlocal job  # files may be left out, also where a file is made again later
        if evals is None:
            job, signed = sign_corpus(job, stages, shares)
        else:
            found, signed = decontaminate_corpus(job, evals, stages, only=False)
            job = found.job
        decided = decide(job, signed, stages)
        _check_rows(result, job, decided)
        _write_pairs(result, job, decided, stages, least, cap, schema, write)

    stages.repairing(job.work, attempt)
    for shard in shards:
        if shard.path not in job.left_out:
            shard.check_unchanged()


def _write_pairs(
    result: Result,
    job: Job,
    decided: Decided,
    stages: StageRunner,
    least: float,
    cap: int,
    schema: pa.Schema,
    write: Callable[..., None],
) -> None:
    from dedupe.commands.edges.file import DROPPED
    from dedupe.commands.edges.ordering import all_edges
    from dedupe.commands.edges.pairs import MOST_TOLD, STAGE, Asked, PairsResult, pairs_task

    job.work.begin_stage(STAGE, {"least": least, "cap": cap})
    task = partial(
        pairs_task,
        job,
        decided.positions,
        decided.grouped,
        decided.fetched,
        decided.verified,
        Asked(least, cap),
    )
    found = stages.run(job, STAGE, PairsResult, task, decided.partitions)
    _check_same(result, found, DROPPED)
    examples = sorted(name for one in found.values() for name in one.examples)[:MOST_TOLD]
    write(
        all_edges(job, decided.positions, result.read_shards, found, schema),
        sum(one.pairs for one in found.values()),
        sum(one.cut for one in found.values()),
        examples,
    )


def _check_rows(result: Result, job: Job, decided: Decided) -> None:
    """Every shard must have the rows that the run counted, and what the run left out is left out.

    Raises CorpusError: a file may be read now that could not be read then, as with more memory.
    """
    counts = np.diff(decided.positions.shard_starts).tolist()
    for shard, listed, count in zip(job.shards, result.read_shards, counts, strict=True):
        if count != listed["rows"]:
            raise CorpusError(
                f"has {count} rows, and the run counted {listed['rows']}: run again",
                path=shard.path,
            )


def _check_same(result: Result, found: Mapping[int, Any], dropped: tuple[str, ...]) -> None:
    """The stages must have found the same as the run did."""
    before = sum(result.summary["reasons"][reason] for reason in dropped)
    now = sum(one.drops for one in found.values())
    if before != now:
        raise IntegrityError(f"{before} rows with a witness in {result.path}, and {now} now")
