"""`apply`: checks the corpus against its run, cuts the work into tasks, publishes their files."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from dedupe.api import Result, places_of, shards_of
from dedupe.commands.apply.tasks import Job, Output, apply_task, rows_taken
from dedupe.config import Resources
from dedupe.corpus import Shard, file_name, format_of, open_source
from dedupe.corpus.names import suffix_of
from dedupe.engines import Engine
from dedupe.errors import CorpusError, SettingsError, WorkDirError
from dedupe.pipeline import Progress, Stages
from dedupe.planning import sizes as planning
from dedupe.progress import Silent
from dedupe.remote import Place, StorageOptions, is_remote, is_uri
from dedupe.remote.given import all_given, using
from dedupe.session import (
    base_of,
    check_apart,
    check_output,
    in_work_dir,
    is_within,
    output_place,
    resolved,
    use_engine,
    work_root,
)
from dedupe.storage.publish import listed, put_folder
from dedupe.storage.work_dir import WorkDir, read_json, seen, write_json
from dedupe.tasks.all_tasks import prepare_worker
from dedupe.version import __version__

VERSION = 2
"""Raised whenever the same run and options would give other files, or results of tasks."""

MANIFEST = "_dedupe.json"
"""Written last: what the files are, and of which run."""

LEAST_TASK = 64 << 20
"""Bytes of small shards that one task copies."""
TASK_BYTES = 250_000_000
"""Memory of a task: rows of a row group, kept and dropped, and a column of it encoded."""
CUT_TASKS = 64
"""Tasks that files of `rows_per_file` are shared out to."""


def apply(
    out: str | Path,
    output: str | Path,
    *,
    dropped: str | Path | None = None,
    add_columns: bool = False,
    rows_per_file: int | None = None,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    worker_cpus: int = 1,
    memory: str | int = "4GB",
    work_dir: str | Path | None = None,
    fresh: bool = False,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the corpus of a finished run without the rows that its keep-list drops.

    out: the run's output. output: directory for the files, which have the formats, compression,
    schema and metadata of the shards they come from, one for each shard. dropped: directory for the
    rows that are left out, with columns `dedupe_…` that name the witness. add_columns: write all
    rows to `output`, with these columns and `dedupe_keep`. rows_per_file: files of that many rows
    instead. The rest is as in `deduplicate`; a killed call goes on when repeated.

    Returns what stands in OUTPUT/_dedupe.json: rows kept and dropped, and the files; and the
    seconds it took. Raises CorpusError where the corpus is not the one of the run any more,
    SettingsError, WorkDirError.
    """
    workers, worker_cpus = _that_fit(engine, workers, worker_cpus, memory)
    with_engine = partial(use_engine, engine, address, workers, worker_cpus, memory)
    options = {"rows_per_file": rows_per_file, "add_columns": add_columns}
    with using(storage_options, places_of(out, output, dropped, work_dir)):
        return _apply(Result(out), output, dropped, options, with_engine, work_dir, fresh, progress)


def _apply(
    result: Result,
    output: str | Path,
    dropped: str | Path | None,
    options: dict[str, Any],
    with_engine: Callable[..., AbstractContextManager[tuple[Engine, Resources]]],
    work_dir: str | Path | None,
    fresh: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    began = time.monotonic()
    rows_per_file = options["rows_per_file"]
    if rows_per_file is not None and not (type(rows_per_file) is int and rows_per_file > 0):
        raise SettingsError(f"rows_per_file is {rows_per_file!r}: use a whole number from 1")
    if options["add_columns"] and dropped is not None:
        raise SettingsError("add_columns writes all rows to one place: leave out dropped")
    target = output_place(output)
    rest = None if dropped is None else output_place(dropped)
    _check_places(result, target, rest)
    work = WorkDir(work_root(target, work_dir))
    resumed = not fresh and seen(work.run_file)
    _check_new(target, resumed=resumed)
    if rest is not None and not (resumed and seen(rest / MANIFEST)):
        _check_new(rest, resumed=resumed)  # else a killed call has published it: see `_publish`
    shown = progress or Silent()
    with in_work_dir(work, stays=work_dir is not None), closing(shown):
        shards = shards_of(result)
        made = [place for place in (target, rest, work.root) if place is not None]
        check_apart(result.summary["corpus"].get("given", []), shards, made)
        with work.reporting_full(), work.probe() as probe:
            prepare = partial(prepare_worker, probe, base_of(shards), all_given())
            with with_engine(shards, prepare, shown) as (runner, _):
                work = _open_work(work, result, options, [target, rest], fresh=fresh)
                job = _job(result, shards, work, target, rest, options)
                run = Stages(runner, shown).of(job)
                results = run("apply", partial(apply_task, job), range(len(job.tasks)))
        files = [file for task in sorted(results) for file in results[task]["files"]]
        manifest = {
            "dedupe": __version__,
            "run": {
                "output": resolved(str(result.path)),
                **{key: result.summary.get(key) for key in ("settings", "document", "reasons")},
            },
            "kept": sum(file["kept"] for file in files),
            "dropped": sum(file["dropped"] for file in files),
            "bytes": sum(results[task]["bytes"] for task in results),
            "files": files,
        }
        if job.dropped is not None and rest is not None:
            _publish(job.dropped, rest, manifest, "dropped_bytes")
        _publish(job.kept, target, manifest, "kept_bytes")
        if is_remote(work.root):
            for staged in (one for one in (job.kept, job.dropped) if one and not is_remote(one)):
                shutil.rmtree(staged, ignore_errors=True)
    return {**manifest, "seconds": time.monotonic() - began}


def _that_fit(
    engine: str, workers: int | None, worker_cpus: int, memory: str | int
) -> tuple[int | None, int]:
    """Workers, and threads of each, lowered to as many tasks at a time as memory has room for."""
    resources = Resources.of(workers if engine == "local" else worker_cpus, memory)
    room = max(1, (resources.memory - planning.BASE_BYTES) // TASK_BYTES)
    if engine == "local":
        return min(resources.threads, room), worker_cpus
    return workers, min(resources.threads, room)


def _check_places(result: Result, target: Place, rest: Place | None) -> None:
    """Refuse outputs that lie in each other, or in that of the run."""
    clean, out = resolved(str(target)), resolved(str(result.path))
    gone = None if rest is None else resolved(str(rest))
    if gone is not None and (is_within(gone, clean) or is_within(clean, gone)):
        raise SettingsError(f"{rest} and {target} lie in each other: choose places apart")
    for place, path in ((target, clean), (rest, gone)):
        if path is not None and is_within(path, out):
            raise SettingsError(f"{place} lies in the run's output: choose a place outside it")


def _check_new(target: Place, *, resumed: bool) -> None:
    """Refuse to write over anything, but what a killed call has put in a store, when resumed."""
    if not is_remote(target):
        check_output(target)
        return
    if listed(target) and (seen(target / MANIFEST) or not resumed):
        raise WorkDirError(f"{target} is not empty: choose another place or remove it")


def _open_work(
    work: WorkDir,
    result: Result,
    options: dict[str, Any],
    places: Sequence[Place | None],
    *,
    fresh: bool,
) -> WorkDir:
    """Begin in the work directory, or find what to go on with."""
    corpus = result.summary["corpus"]["shards"]
    fingerprint = {
        "apply": VERSION,
        "options": options,
        "places": {str(i): str(place) for i, place in enumerate(places)},
        "keep_list": result.summary["reasons"],
        "settings": result.summary["settings"],
        "corpus": {one["path"]: [one["size"], one["version"]] for one in corpus},
    }
    work, begun = work.begin(fingerprint, fresh=fresh, other="other work")
    if begun is None:
        write_json(work.run_file, {"fingerprint": fingerprint, "run": work.run})
    return work


def _job(
    result: Result,
    shards: list[Shard],
    work: WorkDir,
    target: Place,
    rest: Place | None,
    options: dict[str, Any],
) -> Job:
    rows_per_file, add = options["rows_per_file"], options["add_columns"]
    rows = [one["rows"] for one in result.summary["corpus"]["shards"]]
    if rows_per_file is None:
        outputs = [
            Output(name, [(number, 0, rows[number])])
            for number, name in enumerate(relative_names([shard.path for shard in shards]))
        ]
        sizes = [shard.size + 1 for shard in shards]
        per_task = max(LEAST_TASK, sum(sizes) // planning.MOST_TASKS)
    else:
        _check_alike(shards)
        outputs = cut(
            result.files, rows, rows_per_file, suffix_of(file_name(shards[0].path)), every=add
        )
        sizes = [sum(last - first for _, first, last in one.sources) for one in outputs]
        per_task = max(1, sum(sizes) // CUT_TASKS)
    if rows_per_file is None or format_of(shards[0]).divisible:
        groups = planning.pack(range(len(outputs)), sizes, per_task)
    else:  # read from their beginning: by one task, and the one that ends there
        begun = groupby(range(len(outputs)), key=lambda number: outputs[number].sources[0][0])
        groups = [list(numbers) for _, numbers in begun]
    made = work.root / work.run
    return Job(
        shards=shards,
        keep_files=result.files,
        rows=rows,
        tasks=[[outputs[number] for number in group] for group in groups],
        kept=target if is_remote(target) else _staged(made, target, "kept"),
        dropped=rest if rest is None or is_remote(rest) else _staged(made, rest, "dropped"),
        add=add,
        work=work,
    )


def _staged(made: Place, target: Path, part: str) -> Place:
    """Where files are made that go to a disk; beside the target where the work is in a store."""
    if not is_remote(made):
        return made / part
    return target.with_name(f".{target.name}.{made.name}.{part}")


def relative_names(paths: Sequence[str]) -> list[str]:
    """Paths below the deepest folder that has all of them; CorpusError for two that are equal."""
    split = []
    for path in paths:
        whole = re.split(r"[?#]", path)[0] if path.startswith("http") else path
        whole = whole if is_uri(whole) else os.path.abspath(whole)
        split.append([part for part in whole.split("/") if part])
    parents = [parts[:-1] for parts in split]
    common = 0
    while all(parts[: common + 1] == parents[0][: common + 1] for parts in parents):
        if common == len(parents[0]):
            break
        common += 1
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
    keep_files: Sequence[Place], rows: Sequence[int], size: int, suffix: str, *, every: bool
) -> list[Output]:
    """Files of `size` rows each, in the order of the corpus; the last one has what is left."""
    outputs: list[Output] = []
    sources: list[tuple[int, int, int]] = []
    have = 0
    for shard, (file, count) in enumerate(zip(keep_files, rows, strict=True)):
        start = 0
        for _, chosen in rows_taken(file, every=every):
            at = 0
            while len(chosen) - at >= size - have:
                at += size - have
                last = int(chosen[at - 1]) + 1
                outputs.append(
                    Output(_part(len(outputs), suffix), [*sources, (shard, start, last)])
                )
                sources, start, have = [], last, 0
            have += len(chosen) - at
        if start < count:
            sources.append((shard, start, count))
    if have or not outputs:
        outputs.append(Output(_part(len(outputs), suffix), sources or [(0, 0, 0)]))
    elif sources:  # rows that are dropped, after the last that is kept
        outputs[-1].sources.extend(sources)
    return outputs


def _part(number: int, suffix: str) -> str:
    return f"part-{number:05d}{suffix}"


def _publish(made: Place, target: Place, manifest: dict[str, Any], size: str) -> None:
    """Write the manifest, and let the folder appear; `size` names the bytes of each file there."""
    sizes = {file["name"]: file[size] for file in manifest["files"]}
    if is_remote(target):
        lost = sizes.keys() - listed(target)
        if lost:
            raise WorkDirError(
                f"{target / min(lost)} is missing: remove {target} and start again with --fresh"
            )
        write_json(target / MANIFEST, manifest)
    elif not (seen(target / MANIFEST) and read_json(target / MANIFEST) == manifest):
        # else a call that was killed after this has done it
        files = {name: (made / name, size) for name, size in sizes.items()}
        put_folder(files, MANIFEST, manifest, target)
