"""dedupe: text deduplication in which every deletion is proven.

Read the code in this order, from what is asked to what is done:

    config        what can be set
    documents     what is compared of a row
    corpus        shards, slices and the reading of documents
    pipeline      the stages in order; the next three are what it calls
    tasks         for each stage: which files a task reads, which it leaves, what it costs
    stages        for each stage: the work itself, Arrow in, Arrow out, no files
    kernels       the loops that numba compiles

The stages are four shuffles and a tree. Each has a module of its name in `tasks` and in `stages`:

    sign ⇒ bucket       by band key: documents to band keys, these to edges between rows
    join                without bands: edges between all similar rows
    components          a tree of merges: edges to connected components
    route ⇒ group       by component: rows to groups of exact copies
    fetch ⇒ verify      by component: candidates, read again, to decisions with their witnesses
    verify ⇒ keep       by shard: decisions to keep-lists

With an index of earlier crawls there are more, in `tasks.earlier` and `tasks.segment`:

    lookup ⇒ resolve    by row of the index: band keys to rows of it, these to their classes
    touch ⇒ choose      all classes that are touched, and their kept rows
    admit               these come in with what the index knows of them
    connect             by class: rows of the corpus with these
    classify ⇒ segment  what is added: the classes of rows, what became of them, kept texts

Around them:

    planning      bands and rows, and the sizes of tasks
    storage       files with checksums, and the work directory
    index         what is kept of earlier crawls; `indexing`: runs that are held against it
    engines       who runs tasks: threads, or a pool of Ray actors
    contamination rows in which items of test sets (`evals`) stand, found before sign
    stage_runner  runs the tasks of a stage, commits their results, resumes
    session       what every command does around its tasks
    summary       what is said of a run, and publishing it
    result        `Result`: a finished run, read
    notebook      what a notebook shows of it
    api           `deduplicate` and `decontaminate`
    splitting     `split`: train, validation and test
    sweeping      `sweep`: a corpus at several thresholds
    index         what is kept of earlier corpora: `indexing` runs over it, `indexes` has `Index`
    orphans       rows of an index that lost their witness, decided again
    reporting     `report`: a page about a run, or about a corpus
    plans         `plan`: what a run will take; `calibration`: what the last ones took
    ray           the same for datasets of Ray Data
    commands      `apply`, `audit`, `edges`, `problems`, `show`: of finished runs; stages of `split`
    cli           the command line
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dedupe.version import __version__

if TYPE_CHECKING:
    from dedupe import ray as ray
    from dedupe.api import decontaminate as decontaminate
    from dedupe.api import deduplicate as deduplicate
    from dedupe.commands.apply.run import apply as apply
    from dedupe.commands.audit.report import Audit as Audit
    from dedupe.commands.audit.run import audit as audit
    from dedupe.commands.edges.result import Edges as Edges
    from dedupe.commands.edges.run import edges as edges
    from dedupe.commands.problems.run import find_problems as find_problems
    from dedupe.commands.signatures import write_signatures as write_signatures
    from dedupe.commands.split.audit import SplitAudit as SplitAudit
    from dedupe.commands.split.audit import audit_splits as audit_splits
    from dedupe.commands.split.result import Splits as Splits
    from dedupe.commands.sweep.result import Sweep as Sweep
    from dedupe.config import Execution as Execution
    from dedupe.config import Settings as Settings
    from dedupe.config import Tuning as Tuning
    from dedupe.errors import CorpusError as CorpusError
    from dedupe.errors import DamageError as DamageError
    from dedupe.errors import DedupeError as DedupeError
    from dedupe.errors import EngineError as EngineError
    from dedupe.errors import SettingsError as SettingsError
    from dedupe.errors import WorkDirError as WorkDirError
    from dedupe.evals import Evals as Evals
    from dedupe.indexes import Index as Index
    from dedupe.plans import plan as plan
    from dedupe.reporting import report as report
    from dedupe.result import Result as Result
    from dedupe.splitting import split as split
    from dedupe.sweeping import sweep as sweep

_HOMES = {
    "apply": "dedupe.commands.apply.run",
    "audit": "dedupe.commands.audit.run",
    "Audit": "dedupe.commands.audit.report",
    "decontaminate": "dedupe.api",
    "deduplicate": "dedupe.api",
    "edges": "dedupe.commands.edges.run",
    "Edges": "dedupe.commands.edges.result",
    "Evals": "dedupe.evals",
    "Execution": "dedupe.config",
    "find_problems": "dedupe.commands.problems.run",
    "Index": "dedupe.indexes",
    "plan": "dedupe.plans",
    "report": "dedupe.reporting",
    "Result": "dedupe.result",
    "Settings": "dedupe.config",
    "audit_splits": "dedupe.commands.split.audit",
    "SplitAudit": "dedupe.commands.split.audit",
    "split": "dedupe.splitting",
    "Splits": "dedupe.commands.split.result",
    "sweep": "dedupe.sweeping",
    "Sweep": "dedupe.commands.sweep.result",
    "Tuning": "dedupe.config",
    "write_signatures": "dedupe.commands.signatures",
    "CorpusError": "dedupe.errors",
    "DamageError": "dedupe.errors",
    "DedupeError": "dedupe.errors",
    "EngineError": "dedupe.errors",
    "SettingsError": "dedupe.errors",
    "WorkDirError": "dedupe.errors",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `dedupe --help` loads neither numba nor pyarrow."""
    if name == "ray":
        return importlib.import_module("dedupe.ray")
    if name not in _HOMES:
        raise AttributeError(f"module 'dedupe' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
