"""dedupe: text deduplication in which every deletion is proven.

Read the code in this order:

    config    what can be set
    corpus    shards, slices and the reading of documents
    sign      documents to signatures and band keys
    bucket    band keys to edges
    join      without bands: all rows to edges between those that are similar
    link      edges to components
    label     rows in components to the partition of their component
    group     exact copies among them
    shingle   the rows in components, once more, to shingle sets
    verify    components to decisions, each drop with its witness
    keep      decisions to the keep-list
    tasks     one task of each stage: what it reads and what it leaves
    pipeline  the stages in order, and resume
    api       `deduplicate` and `Result`
    rewrite   `apply`: the corpus again, without the rows that are dropped
    auditing  `audit`: what a finished run promises, measured by an exact join
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dedupe.version import __version__

if TYPE_CHECKING:
    from dedupe.api import Result as Result
    from dedupe.api import deduplicate as deduplicate
    from dedupe.commands.apply.run import apply as apply
    from dedupe.commands.audit.report import Audit as Audit
    from dedupe.commands.audit.run import audit as audit
    from dedupe.config import Settings as Settings
    from dedupe.errors import CorpusError as CorpusError
    from dedupe.errors import DedupeError as DedupeError
    from dedupe.errors import EngineError as EngineError
    from dedupe.errors import SettingsError as SettingsError
    from dedupe.errors import WorkDirError as WorkDirError

_HOMES = {
    "apply": "dedupe.commands.apply.run",
    "audit": "dedupe.commands.audit.run",
    "Audit": "dedupe.commands.audit.report",
    "deduplicate": "dedupe.api",
    "Result": "dedupe.api",
    "Settings": "dedupe.config",
    "CorpusError": "dedupe.errors",
    "DedupeError": "dedupe.errors",
    "EngineError": "dedupe.errors",
    "SettingsError": "dedupe.errors",
    "WorkDirError": "dedupe.errors",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `dedupe --help` loads neither numba nor pyarrow."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dedupe' has no attribute {name!r}")
    import importlib

    if name == "deduplicate":
        from dedupe.kernels import load

        load(lambda notice: None)
    return getattr(importlib.import_module(_HOMES[name]), name)
