"""`apply`: checks the corpus against its run, cuts the work into tasks, publishes their files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from dedupe.commands.apply.repeats import Steps, steps_of
from dedupe.commands.apply.saved_datasets import folders_of_splits, side_files
from dedupe.commands.apply.tasks import (
    ApplyJob,
    ApplyResult,
    Output,
    apply_task,
    rows_taken,
)
from dedupe.commands.apply.without import Without
from dedupe.commands.split.result import is_splits
from dedupe.config import FILE, Execution, ExecutionKeywords, configured
from dedupe.corpus import Shard, file_name, format_of, open_source
from dedupe.corpus.formats import FORMATS
from dedupe.corpus.names import said_left_out, suffix_of
from dedupe.errors import CorpusError, DamageError, SettingsError
from dedupe.hiding import hidden
from dedupe.planning.sizes import pack
from dedupe.progress import Progress
from dedupe.remote import is_uri
from dedupe.remote.given import using
from dedupe.result import Result, places_of, shards_of
from dedupe.session import (
    check_apart,
    check_not_in_output,
    is_within,
    output_at,
    resolved,
    session,
    was_finished,
    work_place,
)
from dedupe.storage import files_at
from dedupe.storage.checksums import seal, unseal
from dedupe.storage.files import Files, Made
from dedupe.storage.fingerprint import corpus_versions, digest
from dedupe.storage.tables import WrittenFile
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.costs import COSTS
from dedupe.version import __version__

VERSION = 5
"""Raised whenever the same run and options would give other files, or results of tasks."""

MANIFEST = "_dedupe.json"
"""Written last: what the files are, and of which run."""

LEAST_TASK = 64 << 20
"""Bytes of small shards that one task copies."""
TASK_BYTES = 250_000_000
"""Memory of a task: rows of a row group, kept and dropped, and a column of it encoded."""
CUT_TASKS = 64
"""Tasks that files of `rows_per_file` are shared out to."""


class Options(TypedDict):
    """What decides the files that apply writes, besides the run."""

    rows_per_file: int | None
    add_columns: bool
    copies_column: str | None
    repeat: Steps
    without_problems: list[str]
    force: bool


def _given(given: str | Sequence[str]) -> list[str]:
    """Names that are given one by one, or with commas between them."""
    each = [given] if isinstance(given, str) else given
    return [name.strip() for one in each for name in one.split(",") if name.strip()]


def apply(
    out: str | Path,
    output: str | Path,
    *,
    dropped: str | Path | None = None,
    add_columns: bool = False,
    copies_column: str | None = None,
    repeat: str | Mapping[int, int] | None = None,
    without_problems: str | Sequence[str] = (),
    force: bool = False,
    rows_per_file: int | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> dict[str, Any]:
    """Write the corpus of a finished run without the rows that its keep-list drops.

    out: the run's output; of a split see `apply_splits`. output: directory for the files, which
    have the formats, compression, schema and metadata of the shards they come from, one for each
    shard. dropped: directory for the rows that are left out, with columns `dedupe_…` that name the
    witness. add_columns: write all rows to `output`, with these columns and `dedupe_keep`.
    copies_column: give rows a column of that name, in which stands for how many rows they stay.
    repeat: write a row several times, one after the other, by that number: "1:1,2:2,5:3" or
    {1: 1, 2: 2, 5: 3} are twice from 2 on and three times from 5 on.
    without_problems: leave rows out that have one of these problems, see `Result.find_problems`;
    names, or a text with commas between them. Kept rows because of which others were dropped stay,
    unless force is given. rows_per_file: files of that many rows instead. execution: where the
    command runs and what it may use, see `Execution`. progress: is told how far it is. keywords:
    fields of `Execution` by name. A killed call goes on when repeated.

    Returns what stands in OUTPUT/_dedupe.json: rows kept and dropped, and the files; and the
    seconds it took. Raises CorpusError where the corpus is not the one of the run any more,
    SettingsError, WorkDirError.
    """
    began = time.monotonic()
    where = configured(Execution, execution, keywords)
    if is_splits(out, where.storage_options):
        from dedupe.commands.split.apply import apply_splits

        others = (dropped, copies_column, repeat, rows_per_file)
        if add_columns or without_problems or any(one is not None for one in others):
            raise SettingsError(f"{out} is a split: leave out all that is for finished runs")
        return apply_splits(out, output, execution=where, progress=progress)
    where = where.at_most((where.resources.memory - COSTS.base) // TASK_BYTES)
    options = Options(
        rows_per_file=rows_per_file,
        add_columns=add_columns,
        copies_column=copies_column,
        repeat=steps_of(repeat),
        without_problems=_given(without_problems),
        force=force,
    )
    if force and not options["without_problems"]:
        raise SettingsError("force is for rows with problems: name them with without_problems")
    if copies_column is not None and not (isinstance(copies_column, str) and copies_column):
        raise SettingsError(f"copies_column is {copies_column!r}: use the name of a column")
    if add_columns and (copies_column is not None or repeat is not None):
        raise SettingsError(
            "add_columns writes all rows once, with the column dedupe_copies: leave it out, or "
            "copies_column and repeat"
        )
    if rows_per_file is not None and not (type(rows_per_file) is int and rows_per_file > 0):
        raise SettingsError(f"rows_per_file is {rows_per_file!r}: use a whole number from 1")
    if add_columns and dropped is not None:
        raise SettingsError("add_columns writes all rows to one place: leave out dropped")
    with using(where.storage_options, places_of(out, output, dropped, where.work_dir)):
        result, target = Result(out), output_at(output)
        rest = None if dropped is None else output_at(dropped)
        _check_places(result, target, rest)
        manifest = _apply(result, target, rest, options, where, progress)
    return {**manifest, "seconds": time.monotonic() - began}


def _apply(
    result: Result,
    target: Files,
    rest: Files | None,
    options: Options,
    execution: Execution,
    progress: Progress | None,
) -> dict[str, Any]:
    shards = shards_of(result)
    _check_plain_text(shards, options)
    without = Without.of(result, options["without_problems"], force=options["force"])
    places = [target] if rest is None else [target, rest]
    fingerprint = _fingerprint(result, shards, options, [target, rest])
    done = [published(one, fingerprint) for one in places]
    if all(done) and done[0] is not None:
        was_finished(execution, places, fingerprint, progress)
        return done[0]
    resumed = WorkDir(files_at(work_place(execution, target))).has_begun_with(fingerprint)
    for one, manifest in zip(places, done, strict=True):
        if manifest is None or one is target:  # else a killed call has published it
            check_new(one, resumed=resumed)
    with session(execution, target, progress) as held:
        if rest is not None:
            rest.remove_leftovers()
        made = [one.root for one in (*places, held.work.files)]
        given = result.summary["corpus"].get("given", [])
        check_apart([*given, *result.held_against], shards, made)
        load = partial(load_writers, sorted({shard.format for shard in shards}))
        corpus = result.summary["corpus"]
        for said in said_left_out(corpus.get("left_out", {}), corpus.get("repeated", {})):
            held.progress.note(f"the run left out {said}")
        for path, why in corpus["unreadable"]["files"].items():
            held.progress.note(f"the run left out {path}: {why}")
        if without is not None and (told := without.told(result.storage, result.shards)):
            held.progress.note(told)
        if without is not None and result.summary.get("index", {"added": False})["added"]:
            held.progress.note(
                "the run was added to an index: rows that are left out here stay in it, and rows "
                "of later crawls may be dropped because of them"
            )
        with held.running(shards, load) as (stages, _):
            work, begun = held.work.begin(fingerprint, fresh=execution.fresh, other="other work")
            if begun is None:
                work.save_plan(fingerprint, {})
            for one in places:
                one.remove_staged(other_than=work.run)
            job = _job(result, shards, work, target, rest, options, without, execution)
            tasks = range(len(job.tasks))

            def attempt() -> dict[str, Any]:
                stages.plan([("apply", 1.0)])
                results = stages.run(job, "apply", ApplyResult, partial(apply_task, job), tasks)
                done = [results[task] for task in sorted(results)]
                manifest = _manifest(result, done, fingerprint)
                parts = [("kept", job.kept, target)]
                if job.dropped is not None and rest is not None:
                    parts.insert(0, ("dropped", job.dropped, rest))
                for part, made, place in parts:
                    files = _files(part, made, done)
                    if options["rows_per_file"] is None:
                        files |= _side_files(part, made, shards, job, manifest)
                    publish_files(files, place, fingerprint, manifest, is_staged=place != made)
                return manifest

            manifest = stages.repairing(job.work, attempt)
            for one in places:
                one.remove_staged()
    return manifest


def load_writers(formats: Sequence[str], notify: Callable[[str], None]) -> None:
    """Load what writes files of these formats; lines are copied by kernels of their own.

    formats: names of formats. notify: is told of what takes long.
    """
    if all(FORMATS[name].typed for name in formats):
        return
    from dedupe.kernels import notices

    with notices(notify):
        for name in formats:
            _ = FORMATS[name].rewriter


def _manifest(
    result: Result, done: Sequence[ApplyResult], fingerprint: dict[str, Any]
) -> dict[str, Any]:
    """What is said of the files."""
    files = [file for one in done for file in one.outputs]
    return {
        "dedupe": __version__,
        "fingerprint": digest(fingerprint),
        "run": {
            "output": hidden(resolved(str(result.path))),
            **{key: result.summary.get(key) for key in ("settings", "document", "reasons")},
        },
        "kept": sum(file["kept"] for file in files),
        "dropped": sum(file["dropped"] for file in files),
        "repeated": sum(file["repeated"] for file in files),
        "bytes": sum(one.bytes for one in done),
        "files": files,
    }


def _check_places(result: Result, target: Files, rest: Files | None) -> None:
    """Refuse outputs that lie in each other, or in that of the run."""
    clean = resolved(str(target.root))
    gone = None if rest is None else resolved(str(rest.root))
    if rest and gone and (is_within(gone, clean) or is_within(clean, gone)):
        raise SettingsError(f"{rest.root} and {target.root} lie in each other: choose places apart")
    for files in (target, rest):
        if files is not None:
            check_not_in_output(str(files.root), result.path)


def published(target: Files, fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """The manifest in an output, where it is of the command with this fingerprint.

    target: the output. fingerprint: of the command.
    """
    with suppress(OSError, DamageError):
        found = unseal("manifest", target.read(MANIFEST), target.path(MANIFEST))
        return found if found.get("fingerprint") == digest(fingerprint) else None
    return None


def check_new(target: Files, *, resumed: bool) -> None:
    """Refuse to write over anything, but what a killed call has put in a store, when resumed.

    target: the output. resumed: whether a call goes on.
    """
    target.check_new(("*",) if resumed and not target.exists(MANIFEST) else ())


def _fingerprint(
    result: Result, shards: Sequence[Shard], options: Options, places: Sequence[Files | None]
) -> dict[str, Any]:
    """What must be the same for a command to go on, or to have been finished."""
    return {
        "apply": VERSION,
        "options": {**options, "repeat": [list(step) for step in options["repeat"]]},
        "places": {str(i): str(one and one.root) for i, one in enumerate(places)},
        "keep_list": {one["keep"]: one["keep_checksum"] for one in result.shards},
        "settings": result.summary["settings"],
        "corpus": corpus_versions(shards),
    }


def _job(
    result: Result,
    shards: list[Shard],
    work: WorkDir,
    target: Files,
    rest: Files | None,
    options: Options,
    without: Without | None,
    execution: Execution,
) -> ApplyJob:
    rows_per_file, add = options["rows_per_file"], options["add_columns"]
    most_tasks = execution.tuning.most_tasks
    left_out = result.summary["corpus"]["unreadable"]["files"]
    if rows_per_file is None:
        outputs = [
            Output(name, [(number, 0, result.shards[number]["rows"])])
            for number, name in enumerate(_names(shards))
            if shards[number].path not in left_out
        ]
        sizes = [shards[one.sources[0][0]].size + 1 for one in outputs]
        per_task = max(LEAST_TASK, sum(sizes) // most_tasks)
    else:
        _check_alike([shard for shard in shards if shard.path not in left_out])
        suffix = suffix_of(file_name(shards[0].path))
        outputs = cut(
            result.storage,
            result.shards,
            rows_per_file,
            suffix,
            every=add,
            repeat=options["repeat"],
            without=without,
        )
        sizes = [sum(last - first for _, first, last in one.sources) for one in outputs]
        per_task = max(1, sum(sizes) // CUT_TASKS)
    if rows_per_file is None or format_of(shards[0]).divisible:
        groups = pack(range(len(outputs)), sizes, per_task)
    else:  # read from their beginning: by one task, and the one that ends there
        begun = groupby(range(len(outputs)), key=lambda number: outputs[number].sources[0][0])
        groups = [list(numbers) for _, numbers in begun]
    made = work.stages.folder("apply")
    return ApplyJob(
        shards=shards,
        out=result.storage,
        listed=result.shards,
        tasks=[[outputs[number] for number in group] for group in groups],
        kept=target.staging(made, "kept", work.run),
        dropped=rest and rest.staging(made, "dropped", work.run),
        add=add,
        copies_column=options["copies_column"],
        repeat=options["repeat"],
        without=without,
        work=work,
    )


def _files(part: str, made: Files, done: Sequence[ApplyResult]) -> dict[str, Made]:
    """The files of a part, kept or dropped, by their names in the output."""
    return {
        name.removeprefix(f"{part}/"): file.made(made, name.removeprefix(f"{part}/"))
        for one in done
        for name, file in one.files.items()
        if name.startswith(f"{part}/")
    }


def _side_files(
    part: str, made: Files, shards: Sequence[Shard], job: ApplyJob, manifest: Mapping[str, Any]
) -> dict[str, Made]:
    """Write what stands beside datasets of Hugging Face, see `saved_datasets`; it is small."""
    parts = ("kept", "dropped") if job.add else (part,)
    files = {
        one["name"]: (sum(one[name] for name in parts), one[f"{part}_bytes"])
        for one in manifest["files"]
    }
    names = {
        shard: output.name for task in job.tasks for output in task for shard, *_ in output.sources
    }
    made_by = {"apply": manifest["fingerprint"], "part": part}
    beside = side_files(
        [shards[number] for number in sorted(names)],
        [names[number] for number in sorted(names)],
        files,
        made_by,
        as_before=part == "kept" and not job.add and job.copies_column is None,
    )
    found = {}
    for name, data in beside.items():
        with made.writing(name) as sink:
            sink.write(data)
        found[name] = WrittenFile.of(sink).made(made, name)
    return found


def publish_files(
    files: Mapping[str, Made],
    target: Files,
    fingerprint: dict[str, Any],
    manifest: dict[str, Any],
    *,
    is_staged: bool,
) -> None:
    """Let the files of a part appear, with what is said of them.

    files: by their names in the output. target: the output. fingerprint: of the command. manifest:
    what is said. is_staged: whether they lie beside the output.
    """
    if is_staged and published(target, fingerprint) is not None:
        return  # a call that was killed after this has done it
    target.publish(files, MANIFEST, seal("manifest", manifest))


def _names(shards: Sequence[Shard]) -> list[str]:
    """The name of the file for each shard; a dataset that was saved with its split stays so."""
    paths = [shard.path for shard in shards]
    folders = {os.path.dirname(path) for path in paths}
    is_split = len(folders) == 1 and bool(folders_of_splits(shards))
    return relative_names(paths, levels=2 if is_split else 1)


def relative_names(paths: Sequence[str], levels: int = 1) -> list[str]:
    """Paths below the deepest folder that has all of them; CorpusError for two that are equal.

    paths: of files. levels: parts of a path that are left at least.
    """
    split = []
    for path in paths:
        whole = path
        if path.startswith(("http://", "https://")):
            whole = re.sub("//[^/]*@", "//", re.split(r"[?#]", path)[0])
        whole = whole if is_uri(whole) else os.path.abspath(whole)
        split.append([part for part in whole.split("/") if part])
    parents = [parts[:-1] for parts in split]
    common = 0
    while all(parts[: common + 1] == parents[0][: common + 1] for parts in parents):
        if common == len(parents[0]):
            break
        common += 1
    common = min(common, *(len(parts) - levels for parts in split))
    names = ["/".join(parts[common:]) for parts in split]
    folders = {"/".join(parts[common:end]) for parts in split for end in range(len(parts))}
    taken = folders | {MANIFEST}
    for path, name in zip(paths, names, strict=True):
        if ".." in name.split("/"):
            raise CorpusError("has .. in its path: give the path without it", path=path)
        if name in taken:
            other = "what apply says of the files" if name == MANIFEST else "another shard"
            raise CorpusError(f"would be written to {name}, as {other} is: rename it", path=path)
        taken.add(name)
    return names


def _check_plain_text(shards: Sequence[Shard], options: Options) -> None:
    """Refuse to add columns to plain text, and to write files that are rows to others."""
    for shard in shards:
        unit = format_of(shard).unit
        if unit and (options["add_columns"] or options["copies_column"] is not None):
            flag = "--add-columns" if options["add_columns"] else "--copies-column"
            reason = f"plain text has no room for columns: leave out {flag}"
            raise CorpusError(reason, path=shard.path)
        if unit == FILE and (options["rows_per_file"] is not None or options["repeat"]):
            flag = "--repeat" if options["repeat"] else "--rows-per-file"
            raise CorpusError(f"is a row itself: leave out {flag}", path=shard.path)


def _check_alike(shards: Sequence[Shard]) -> None:
    """Refuse to write several shards to one file where they differ."""
    first = shards[0]
    like, suffix = open_source(first).properties, suffix_of(file_name(first.path))
    for shard in shards[1:]:
        if (shard.format, suffix_of(file_name(shard.path))) != (first.format, suffix):
            what = ["is of another format"]
        else:
            other = open_source(shard).properties
            both = (name for name in like if None not in (like[name], other[name]))
            what = [f"has other {name}" for name in both if like[name] != other[name]]
            like |= {name: value for name, value in other.items() if like[name] is None}
        if what:
            raise CorpusError(
                f"{what[0]} than {first.path}: they cannot share a file; leave out --rows-per-file",
                path=shard.path,
            )


def cut(
    out: Files,
    listed: Sequence[Mapping[str, Any]],
    size: int,
    suffix: str,
    *,
    every: bool,
    repeat: Steps = (),
    without: Without | None = None,
) -> list[Output]:
    """Files of the same number of rows, in the order of the corpus; the last one has what is left.

    out: the run's output. listed: what its summary says of each shard. size: rows of a file.
    suffix: of its name. every: whether rows that are dropped count too. repeat: how often rows are
    written; a file may end between two of one row, with which the next one begins. without: rows
    that are not, besides.
    """
    outputs: list[Output] = []
    sources: list[tuple[int, int, int]] = []
    have = skip = 0
    for shard, one in enumerate(listed):
        start, count = 0, one["rows"]
        for rows, times in rows_taken(out, one, every=every, repeat=repeat, without=without):
            ends = np.cumsum(times)
            done, total = 0, int(times.sum())
            while total - done >= size - have:
                done += size - have
                at = int(np.searchsorted(ends, done))
                row = int(rows[at])
                name = _part(len(outputs), suffix)
                outputs.append(Output(name, [*sources, (shard, start, row + 1)], skip, size))
                left = int(ends[at]) - done
                start, skip = (row, int(times[at]) - left) if left else (row + 1, 0)
                sources, have = [], 0
            have += total - done
        if start < count:
            sources.append((shard, start, count))
    if have or not outputs:
        outputs.append(Output(_part(len(outputs), suffix), sources or [(0, 0, 0)], skip))
    elif sources:  # rows that are dropped, after the last that is kept
        outputs[-1].sources.extend(sources)
    return outputs


def _part(number: int, suffix: str) -> str:
    return f"part-{number:05d}{suffix}"
