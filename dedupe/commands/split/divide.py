"""The stages of a split, in order: a run up to verify, then what is linked, named, filled, written.

See the package for what each of the others does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from dedupe.commands.split.dropping import Earlier, dropped_task
from dedupe.commands.split.growing import (
    PinResult,
    check_known,
    earlier_task,
    keys_task,
    pin_task,
    relate_task,
    room_for,
    rounds_task,
)
from dedupe.commands.split.job import SplitJob, Strata
from dedupe.commands.split.linking import (
    ClustersResult,
    ColumnsResult,
    bounds_of,
    clusters_task,
    columns_task,
    groups_task,
    strata_of,
)
from dedupe.commands.split.ordering import (
    FillResult,
    GatherResult,
    Grown,
    NameResult,
    Room,
    fill_task,
    gather_task,
    largest_of,
    name_task,
    totals,
)
from dedupe.commands.split.sizes import LEAST_MOST, SizesResult, sizes_task, too_large
from dedupe.commands.split.wanted import (
    EXCLUDED,
    HELD_OUT,
    LARGE,
    Wanted,
    merged,
    quotas,
    rows_wanted,
)
from dedupe.commands.split.writing import Found, WriteResult, spread_task, write_task
from dedupe.config import ALGORITHM
from dedupe.pipeline import SHARES, Decided, decide
from dedupe.schema import CLUSTER_BINS, SPLIT_REASONS, SPLITS
from dedupe.stage_runner import StageRunner
from dedupe.storage.files import Made
from dedupe.summary import ranges
from dedupe.tasks.artifacts import Left, TaskResult, files_of
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions
from dedupe.tasks.sign import SignResult
from dedupe.version import __version__

SPLIT_SHARES = {
    "sign": SHARES["sign"],
    "dropped": 0.5,
    **{stage: share for stage, share in SHARES.items() if stage not in ("sign", "keep")},
    "columns": 5.0,
    "groups": 0.5,
    "earlier": 0.5,
    "keys": 0.5,
    "pin": 0.5,
    "clusters": 0.5,
    "relate": 2.0,
    "rounds": 2.0,
    "gather": 1.0,
    "name": 0.5,
    "fill": 0.5,
    "spread": 0.5,
    "write": 3.0,
}
"""The stages in order, with parts of the time, as in `pipeline.SHARES`."""

SHORT = 0.01
"""A split that has so much fewer of the corpus's rows than it ought to is warned of."""


@dataclass(frozen=True)
class Divided:
    """A split that is made, in the work directory.

    split: the job. signed: results of sign. strata: of the corpus. small: numbers of strata that
    were too small and are one. wanted: rows that each of `HELD_OUT` ought to have. named, written:
    results of these stages. missing: rows of the earlier split that are in the corpus no more.
    """

    split: SplitJob
    signed: Mapping[int, SignResult]
    strata: Strata
    small: Sequence[int]
    wanted: Sequence[int]
    named: Mapping[int, NameResult]
    written: Mapping[int, WriteResult]
    missing: int


GROWING = ("earlier", "keys", "pin", "relate", "rounds")
"""Stages that only a split with an earlier one has."""


def shares_of(wanted: Wanted, run: Earlier | None, previous: Earlier | None) -> dict[str, float]:
    """The stages of such a split, with parts of the time. wanted, run, previous: see `divide`."""
    without = set() if wanted.group else {"groups"}
    if run is None:
        without.add("dropped")
    if previous is None:
        without.update(GROWING)
    if not (wanted.columns or wanted.lengths):
        without.add("columns")
    return {stage: share for stage, share in SPLIT_SHARES.items() if stage not in without}


def divide(
    job: Job,
    signed: dict[int, SignResult],
    wanted: Wanted,
    run: Earlier | None,
    previous: Earlier | None,
    stages: StageRunner,
) -> Divided:
    """Divide the rows of a corpus, going on where the work was left.

    job, signed: see `pipeline.sign_corpus`. wanted: what was asked for. run: the finished run whose
    dropped rows are excluded, None for none. previous: the split in which rows stay where they
    stood, None for none. stages: runs the tasks. Raises SettingsError for a cluster that has most
    rows, too many strata, a previous split of another corpus, and where memory does not suffice.
    """
    begin = partial(stages.run, job)
    positions = Positions.of(job, signed)
    filled = positions.filled
    unlinked = None
    if run is not None:
        drop = partial(dropped_task, job, positions, run)
        unlinked = files_of(begin("dropped", TaskResult, drop, filled))
    found = decide(job, signed, stages, unlinked)
    partitions = job.planner.key_partitions(job.sizes, 3 * positions.rows)
    split = SplitJob(job, positions, wanted, partitions, unlinked)

    columns: dict[int, ColumnsResult] = {}
    if wanted.columns or wanted.lengths:
        columns = begin("columns", ColumnsResult, partial(columns_task, split), filled)
    read = files_of(columns)
    grouped: dict[int, TaskResult] = {}
    if wanted.group:
        group = partial(groups_task, split, read)
        grouped = begin("groups", TaskResult, group, range(partitions))
    names = strata_of(columns, wanted.stratify) if wanted.stratify else {0: ""}
    digests = np.array(list(names), np.uint64)
    strata = Strata(digests, list(names.values()), bounds_of(columns, wanted.lengths))

    pinned = _pinned(split, read, previous, stages) if previous is not None else {}
    link = partial(
        clusters_task, split, files_of(found.verified), files_of(grouped), files_of(pinned)
    )
    linked = begin("clusters", ClustersResult, link, [0])
    labels = files_of(linked)
    parts = linked[0].partitions
    grown = Grown(files_of(pinned), {})
    if previous is not None:
        grown = Grown(grown.pinned, _joined(split, read, grown.pinned, linked, stages))
    gather = partial(gather_task, split, strata, read, labels, grown, parts)
    gathered = begin("gather", GatherResult, gather, filled)
    left = files_of(gathered)
    named = begin("name", NameResult, partial(name_task, split, left), range(parts))
    rows = sum(result.included for result in gathered.values())
    _check_sizes(split, rows, named, found, stages)

    room, wanted_rows, small = _room(wanted, rows, gathered, named)
    fill = partial(fill_task, split, room, left, files_of(named))
    taken = begin("fill", FillResult, fill, [0])
    spread = partial(spread_task, split, left, files_of(taken), room.limit)
    of_rows = begin("spread", TaskResult, spread, range(parts))
    rounds = grown.joined if previous is not None else None
    known = Found(read, left, files_of(taken), files_of(of_rows), rounds)
    write = partial(write_task, split, known, len(names) * strata.lengths)
    written = begin("write", WriteResult, write, range(positions.keep_tasks))
    missing = sum(result.missing for result in pinned.values())
    return Divided(split, signed, strata, small, wanted_rows, named, written, missing)


def _pinned(
    split: SplitJob, read: Left, previous: Earlier, stages: StageRunner
) -> dict[int, PinResult]:
    """Find the rows that stood in a split before: the results of pin.

    split: the job. read: the files of each task of columns. previous: the earlier split. stages:
    runs the tasks.
    """
    begin = partial(stages.run, split.job)
    shards = range(len(previous.listed))
    before = begin("earlier", TaskResult, partial(earlier_task, split, previous), shards)
    keys = partial(keys_task, split, read)
    keyed = begin("keys", TaskResult, keys, split.positions.filled)
    pin = partial(pin_task, split, files_of(before), files_of(keyed))
    pinned = begin("pin", PinResult, pin, range(split.partitions))
    check_known(pinned)
    return pinned


def _joined(
    split: SplitJob,
    read: Left,
    pinned: Left,
    linked: Mapping[int, ClustersResult],
    stages: StageRunner,
) -> Left:
    """Settle what is linked with rows of several splits: the files of each task of rounds.

    split: the job. read, pinned: the files of each task of columns and of pin. linked: the results
    of clusters. stages: runs the tasks.
    """
    job, positions = split.job, split.positions
    mixed = linked[0].mixed
    shingles = mixed * positions.shingles // max(positions.rows, 1)
    parts = min(mixed, -(-room_for(split, shingles, mixed) // job.sizes.task_memory))
    begin = partial(stages.run, job)
    relate = partial(relate_task, split, read, pinned, files_of(linked), parts)
    related = begin("relate", TaskResult, relate, positions.filled if parts else [])
    rounds = partial(rounds_task, split, files_of(related), linked[0].rows)
    return files_of(begin("rounds", TaskResult, rounds, range(parts)))


def _check_sizes(
    split: SplitJob,
    rows: int,
    named: Mapping[int, NameResult],
    found: Decided,
    stages: StageRunner,
) -> None:
    """Refuse to divide a corpus of which one cluster has most rows; says how large it is and why.

    split: the job. rows: that go to a split. named: results of name. found: what verify and the
    stages before it found. stages: runs the tasks that measure.
    """
    size = max((one.largest_free for one in named.values()), default=0)
    if size < LEAST_MOST or 2 * size <= rows:
        return
    measure = partial(sizes_task, split, found.grouped, found.fetched)
    sizes = stages.run(split.job, "sizes", SizesResult, measure, range(len(found.grouped)))
    raise too_large(split, size, rows, sizes)


def _room(
    wanted: Wanted,
    rows: int,
    gathered: Mapping[int, GatherResult],
    named: Mapping[int, NameResult],
) -> tuple[Room, list[int], list[int]]:
    """(what is taken of each stratum, rows that each split ought to have, small strata).

    wanted: what was asked for. rows: that go to a split. gathered, named: results of these stages.
    """
    counts = [one.singles for one in gathered.values()] + [one.clusters for one in named.values()]
    of_strata = totals(counts)
    places, small = merged(of_strata)
    in_places = [0] * (max(places.values(), default=0) + 1)
    for number, count in of_strata.items():
        in_places[places[number]] += count
    fixed = np.zeros((len(in_places), len(HELD_OUT)), np.int64)
    pinned = [one.fixed for one in gathered.values()] + [one.fixed for one in named.values()]
    for number, split, count in chain.from_iterable(pinned):
        fixed[places[number], HELD_OUT.index(split)] += count
    wanted_rows = [rows_wanted(share, rows) for share in wanted.shares]
    left = np.array(in_places) - fixed.sum(axis=1)
    room = np.zeros((len(in_places), len(HELD_OUT)), np.int64)
    for part, count in enumerate(wanted_rows):
        quota = np.array(quotas(count, in_places)) - fixed[:, part]
        room[:, part] = np.minimum(np.maximum(quota, 0), left)
        left -= room[:, part]
    table = np.zeros(max(places, default=0) + 1, np.uint32)
    table[list(places)] = list(places.values())
    return Room(table, room, largest_taken(wanted_rows)), wanted_rows, small


def largest_taken(wanted: Sequence[int]) -> int:
    """Rows of the largest cluster that is not for training. wanted: rows of each of `HELD_OUT`."""
    return max(next(filter(None, wanted), 0) // LARGE, 1)


def summary_of(
    done: Divided, stages: StageRunner, named: Mapping[str, Any], started: float
) -> dict[str, Any]:
    """All that is said of a split, as plain values.

    done: the split. stages: what ran its tasks. named: what is said of the corpus as it was named.
    started: when the command began, in seconds since the epoch.
    """
    job, positions = done.split.job, done.split.positions
    written = [result for _, result in sorted(done.written.items())]
    of_shards = [one for result in written for one in result.splits]
    files = made_of(done)
    counts = np.array(of_shards, np.int64).reshape(-1, len(SPLITS)).sum(axis=0).tolist()
    rows = dict(zip(SPLITS, counts, strict=True))
    reasons = [sum(found) for found in zip(*(one.reasons for one in written), strict=True)]
    sizes = [sum(found) for found in zip(*(one.sizes for one in done.named.values()), strict=True)]
    return {
        "dedupe": __version__,
        "algorithm": ALGORITHM,
        "settings": job.settings.as_dict(),
        "documents": job.documents.as_json(),
        "lsh": asdict(job.banding) if job.settings.banded else None,
        "corpus": {
            "rows": positions.rows,
            "text_bytes": sum(result.text_bytes for result in done.signed.values()),
            "left_out_files": dict(sorted(job.left_out.items())),
            "shards": [
                {
                    "path": shard.path,
                    "rows": count,
                    "size": shard.size,
                    "version": shard.version,
                    "document": document,
                    "splits": dict(zip(SPLITS, own, strict=True)),
                    "split": f"splits/{made.name}",
                    "split_size": made.size,
                    "split_checksum": made.checksum,
                }
                for shard, count, document, own, made in zip(
                    job.shards,
                    np.diff(positions.shard_starts).tolist(),
                    job.documents.of_files,
                    of_shards,
                    files,
                    strict=True,
                )
            ],
            **named,
        },
        "splits": rows,
        "wanted": dict(zip((SPLITS[one] for one in HELD_OUT), done.wanted, strict=True)),
        "reasons": dict(zip(SPLIT_REASONS, reasons or [0] * len(SPLIT_REASONS), strict=True)),
        "strata": _strata(done, written),
        "clusters": dict(zip(ranges(CLUSTER_BINS), sizes or [0] * len(CLUSTER_BINS), strict=True)),
        "largest": _largest(done),
        "warnings": _warnings(done, rows),
        "stages": stages.times,
        "exchange_bytes": stages.bytes,
        "wall_seconds": time.time() - started,
        "faults": stages.faults,
    }


def made_of(done: Divided) -> list[Made]:
    """The files of all shards, in their order."""
    folder = done.split.job.work.stages.folder("write")
    return [
        file.made(folder, name)
        for _, result in sorted(done.written.items())
        for name, file in result.files.items()
    ]


def _strata(done: Divided, written: Sequence[WriteResult]) -> list[dict[str, Any]]:
    """The rows of each split, by stratum; none where there is only one."""
    if not done.split.wanted.stratified:
        return []
    counts: dict[int, list[int]] = {}
    for result in written:
        for number, found in result.strata:
            before = counts.get(number, [0] * len(SPLITS))
            counts[number] = [a + b for a, b in zip(before, found, strict=True)]
    small = set(done.small)
    return [
        {
            "name": done.strata.name(number),
            "merged": number in small,
            **dict(zip(SPLITS, counts[number], strict=True)),
        }
        for number in sorted(counts)
    ]


def _largest(done: Divided) -> list[dict[str, Any]]:
    """The largest clusters: how many rows each has, and one of them."""
    positions = done.split.positions
    told: list[dict[str, Any]] = []
    for size, position in largest_of(done.named):
        shard = int(np.searchsorted(positions.shard_starts, position, side="right")) - 1
        row = position - int(positions.shard_starts[shard])
        told.append({"rows": size, "path": done.split.job.shards[shard].path, "row": row})
    return [one for one in told if one["rows"] > 1]


def _warnings(done: Divided, rows: Mapping[str, int]) -> list[str]:
    """What people should know of the sizes."""
    total = sum(rows.values()) - rows[SPLITS[EXCLUDED]]
    warnings = []
    if done.missing:
        warnings.append(
            f"{done.missing:,} rows of the earlier split are not in the corpus: what is like them "
            "may go to another split"
        )
    for one, wanted in zip(HELD_OUT, done.wanted, strict=True):
        name = SPLITS[one]
        if (wanted and wanted - rows[name] > max(total * SHORT, 1)) or (wanted and not rows[name]):
            warnings.append(
                f"{name} has {rows[name]:,} rows and ought to have {wanted:,}: clusters of more "
                f"than {largest_taken(done.wanted):,} rows are for training, and no smaller ones "
                "fit"
            )
    for share, wanted in zip(done.split.wanted.shares, done.wanted, strict=True):
        if share and not wanted:
            warnings.append(f"{float(share):.0%} of {total:,} rows is no row")
    return warnings
