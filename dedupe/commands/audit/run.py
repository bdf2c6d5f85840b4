"""`audit`: reads the keep-lists, joins a sample of the rows or all with the corpus, sums up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dedupe.api import Result, places_of, shards_of
from dedupe.arrays import Array
from dedupe.commands.audit.blocks import Budget, Held, Holder, Rows, cut, read_block
from dedupe.commands.audit.census import Census, Counted, Question
from dedupe.commands.audit.intervals import share_of_pairs, share_of_rows
from dedupe.commands.audit.keep_lists import LOST, Claims, Faults, KeepLists
from dedupe.commands.audit.report import Audit
from dedupe.config import Resources, Settings
from dedupe.corpus import Projection
from dedupe.documents.template import DocumentTemplate
from dedupe.engines import Stage
from dedupe.engines.local import LocalEngine
from dedupe.errors import SettingsError, WorkDirError
from dedupe.pipeline import Progress
from dedupe.planning.banding import Banding
from dedupe.planning.sizes import SHINGLE_BYTES, SHINGLE_HASH_BYTES
from dedupe.progress import Silent
from dedupe.remote import StorageOptions
from dedupe.remote.given import using

SAMPLE = 20_000
"""Rows of a sample."""
STATE_BYTES = 2
"""Memory for each row of the corpus: whether it is kept, and missed."""
CLAIM_BYTES = 24
"""And where all rows are looked at, for what the keep-list says of it."""


def audit(
    out: str | Path,
    *,
    sample: int = SAMPLE,
    full: bool = False,
    seed: int = 1,
    workers: int | None = None,
    memory: str | int = "4GB",
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Measure on a finished run what it promises: recall, proven deletions, no row lost.

    out: the run's output. sample: rows whose true partners are looked for in the whole corpus, by
    an exact join; of a corpus that is no larger, and with full, all rows. seed: of the sample. The
    rest is as in `deduplicate`.

    Raises CorpusError where the corpus is not the one of the run any more, SettingsError,
    WorkDirError.
    """
    if type(sample) is not int or sample < 1:
        raise SettingsError(f"sample is {sample!r}: use a whole number from 1")
    if type(seed) is not int:
        raise SettingsError(f"seed is {seed!r}: use a whole number")
    resources = Resources.of(workers, memory)
    shown = progress or Silent()
    with using(storage_options, places_of(out)), closing(shown):
        auditor = _Auditor(Result(out), resources, shown)
        return auditor.audit(sample, seed, every=full or sample >= auditor.rows)


@dataclass
class _Found:
    """What was found so far.

    survivors: for each row whether it is kept though a true partner is. looked_at, dropped: rows of
    the sample, and of these dropped ones; proven: those of these with a kept row that is as similar
    as it has to be.
    """

    survivors: Array
    faults: Faults = field(default_factory=Faults)
    counted: list[Counted] = field(default_factory=list)
    looked_at: int = 0
    dropped: int = 0
    proven: int = 0


class _Auditor:
    """One audit of one run. Every method is a step of `audit`, in order."""

    def __init__(self, result: Result, resources: Resources, progress: Progress) -> None:
        self._began = time.monotonic()
        self._result = result
        self._listed = result.summary["corpus"]["shards"]
        self._shards = shards_of(result)
        self._starts = np.cumsum([0, *(shard["rows"] for shard in self._listed)])
        self.rows = int(self._starts[-1])
        self._settings, self._banding = _of_run(result)
        self._resources = resources
        self._engine = LocalEngine(resources.threads)
        self._progress = progress

    def audit(self, sample: int, seed: int, *, every: bool) -> Audit:
        """Look at a sample, or at every row."""
        found = _Found(np.zeros(self.rows, np.bool_))
        size = 0 if every else sample
        drawn = np.array(random.Random(seed).sample(range(self.rows), size), np.int64)  # noqa: S311
        keep, claims = self._read_keep_lists(None if every else np.sort(drawn), found.faults)
        threshold = self._settings.threshold if self._settings.near else 1.0
        question = Question(self._settings, self._banding, threshold, keep, every)
        taken = self.rows * (STATE_BYTES + (CLAIM_BYTES if every else 0))
        budget = Budget.of(self._resources, self._settings, threshold, self._banding.bands, taken)
        corpus = self._survey(budget)
        look_at = partial(self._look_at, corpus, budget, question, claims, found)
        done = 0 if every else look_at(np.sort(drawn), np.argsort(drawn))
        while done < self.rows and every:
            positions = np.arange(done, min(self.rows, done + self._typical(budget)))
            done = look_at(positions, np.arange(len(positions)))
        for shard in self._shards:
            shard.check_unchanged()
        return self._sum_up(question, found, sample, seed)

    def _run(
        self, name: str, task: Callable[[int], dict[str, Any]], tasks: Sequence[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Run tasks: each with its result, as it finishes."""
        self._progress.stage(name, len(tasks), 0)
        for number, result in self._engine.run(Stage(name, task, tasks, f"{name} {{}}".format)):
            self._progress.advance(result["rows"])
            yield number, result

    def _read_keep_lists(self, wanted: Array | None, faults: Faults) -> tuple[Array, Claims]:
        """Which rows are kept, and what is said of dropped ones at these positions, or of all."""
        paths = [shard["path"] for shard in self._listed]
        lists = KeepLists(self._result.files, paths, self._starts)
        least = self._settings.threshold if self._settings.cluster == "cover" else 0.0
        claims = []

        def read(shard: int) -> dict[str, Any]:
            return {"rows": self._listed[shard]["rows"], "faults": lists.read_keep(shard)}

        def read_claims(shard: int) -> dict[str, Any]:
            made, odd = lists.read_claims(shard, wanted, least)
            return {"rows": self._listed[shard]["rows"], "claims": made, "faults": odd}

        for _, result in self._run("rows", read, range(len(paths))):
            faults.update(result["faults"])
        for _, result in self._run("claims", read_claims, range(len(paths))):
            faults.update(result["faults"])
            claims.append(result["claims"])
        return lists.keep, Claims.of(claims)

    def _survey(self, budget: Budget) -> Rows:
        """Cut the corpus into slices."""
        wanted = Projection(DocumentTemplate.from_json(self._result.summary["document"]).template)

        def look(shard: int) -> dict[str, Any]:
            return {"rows": 0, "parts": cut(self._shards[shard], wanted)}

        found = dict(self._run("survey", look, range(len(self._shards))))
        slices, starts = [], []
        for shard, (first, end) in enumerate(pairwise(self._starts.tolist())):
            for part, row in found[shard]["parts"]:
                slices.append(part)
                starts.append(min(first + row, end))
        return Rows(self._shards, slices, np.array([*starts, self.rows]), wanted, budget.batch)

    def _typical(self, budget: Budget) -> int:
        """Rows of the corpus that a block has room for, if they are as long as the mean."""
        text = self._result.summary["corpus"]["text_bytes"] / self.rows
        hashes = text * SHINGLE_BYTES[self._settings.shingle_unit] / SHINGLE_HASH_BYTES
        return max(int(budget.block / (budget.row + budget.hash * hashes)), 1)

    def _look_at(
        self,
        corpus: Rows,
        budget: Budget,
        question: Question,
        claims: Claims,
        found: _Found,
        positions: Array,
        ranks: Array,
    ) -> int:
        """Join rows at these positions, as many as fit, with the corpus; where the next begin."""
        held = self._read_block(corpus, Holder(positions, ranks, budget), positions)
        if not len(held.positions):  # the corpus has fewer rows than the run says
            return self.rows
        census = Census(question, corpus, held, claims, found.survivors)
        self._let_pass(corpus, census, int(held.positions[0]) if question.every else 0, found)
        self._check(census, held, question, found)
        return int(held.positions[-1]) + 1

    def _read_block(self, corpus: Rows, holder: Holder, positions: Array) -> Held:
        """Rows at these positions, as many as fit."""
        counts = np.diff(np.searchsorted(positions, corpus.starts))
        read = partial(read_block, corpus, self._settings, self._banding, holder, positions)
        for _ in self._run("sample", read, np.flatnonzero(counts).tolist()):
            pass
        return holder.held()

    def _let_pass(self, corpus: Rows, census: Census, first: int, found: _Found) -> None:
        """Hold the block against all rows from `first` on."""
        tasks = np.flatnonzero(corpus.starts[1:] > first).tolist()
        for number, result in self._run("audit", census.pass_by, tasks):
            if result["rows"] != result["expected"]:
                start = corpus.starts[number : number + 1]
                found.faults.add("another number of rows", start)

    def _check(self, census: Census, held: Held, question: Question, found: _Found) -> None:
        """Take over what a pass has shown."""
        claims, similar = census.claims, census.similar
        low = ~(similar >= question.threshold)
        if question.settings.cluster == "transitive":
            low[:] = False
        found.faults.add(
            "similarity is not the exact one", claims.dropped[similar != claims.jaccard]
        )
        found.faults.add("exact similarity is too low", claims.dropped[low])
        found.faults.update(census.faults)
        counted = census.counted()
        found.counted.append(counted.total() if question.every else counted)
        found.looked_at += len(held.positions)
        found.dropped += int((~question.keep[held.positions]).sum())
        found.proven += int((question.keep[claims.witness] & ~low).sum())

    def _sum_up(self, question: Question, found: _Found, sample: int, seed: int) -> Audit:
        """What all of that comes to."""
        every = question.every
        drawn = 1.0 if every else found.looked_at / self.rows
        edges = question.edges
        counted = Counted.of(found.counted, len(edges), halve=every)
        names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges.tolist())]
        columns = zip(counted.missed.T, counted.pairs.T, strict=True)
        shares = [share_of_pairs(*column, counted.rows, drawn).rest for column in columns]
        whole = counted.missed.sum(1), counted.pairs.sum(1)
        broken: dict[str, dict[str, int]] = {"witness": {}, "no survivors": {}, "nothing lost": {}}
        if counted.broken:
            broken["no survivors"]["pairs of kept rows"] = counted.broken
        for kind, count in sorted(found.faults.counts.items()):
            if kind not in ("missed", "pairs of kept rows"):
                broken["nothing lost" if kind in LOST else "witness"][kind] = count
        return Audit(
            rows=self.rows,
            sample=found.looked_at,
            asked=self.rows if every else sample,
            every=every,
            seed=seed,
            threshold=question.threshold,
            target=self._target(),
            recall=share_of_pairs(*whole, counted.rows, drawn).rest,
            by_similarity=dict(zip([*names, "1.00"], shares, strict=True)),
            missed_rows=share_of_rows(int(found.survivors.sum()), found.looked_at, drawn),
            wrongly_dropped=share_of_rows(found.dropped - found.proven, found.dropped, drawn),
            broken=broken,
            examples={
                kind: [self._places(rows) for rows in positions]
                for kind, positions in found.faults.examples.items()
            },
            seconds=time.monotonic() - self._began,
        )

    def _target(self) -> float | None:
        """The recall that was asked for; None where only exact copies were."""
        if not self._settings.near:
            return None
        if self._settings.bands is not None:
            return self._banding.chance(self._settings.threshold)
        return 1.0 if self._settings.joined else float(self._settings.recall)

    def _places(self, positions: Sequence[int]) -> list[list[Any]]:
        """Rows at these positions: the path of the shard, and the number in it, of each."""
        shards = np.searchsorted(self._starts, positions, side="right") - 1
        return [
            [self._listed[shard]["path"], position - int(self._starts[shard])]
            for shard, position in zip(shards.tolist(), positions, strict=True)
        ]


def _of_run(result: Result) -> tuple[Settings, Banding]:
    """Settings and banding of a run; without what decides only which of several rows is kept."""
    try:
        settings = Settings(**{**result.summary["settings"], "id": None, "keep": "first"})
    except TypeError as error:
        raise WorkDirError(
            f"{result.path} was made by version {result.summary['dedupe']} with settings that this "
            "one does not have: run again"
        ) from error
    lsh = result.summary["lsh"]
    return settings, Banding(lsh["bands"], lsh["rows"]) if lsh else Banding(1, 1)
