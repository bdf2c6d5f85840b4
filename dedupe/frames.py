"""Rows in memory, of whatever library, as Arrow: the columns that a run needs and no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from dedupe.config import Settings
from dedupe.errors import SettingsError


def rows_of(corpus: Any, settings: Settings) -> pa.Table | pa.RecordBatchReader | None:
    """Rows in memory as a Table, or as a reader where they come one after the other.

    corpus: a pyarrow Table, RecordBatch, RecordBatchReader or Dataset, a pandas or Polars frame, a
    `datasets.Dataset`, or what has `__arrow_c_stream__`; None for anything else, such as paths.
    Raises SettingsError for what has the rows of several splits, or has them only once.
    """
    if isinstance(corpus, pa.Table | pa.RecordBatchReader):
        return corpus
    if isinstance(corpus, pa.RecordBatch):
        return pa.Table.from_batches([corpus])
    if isinstance(corpus, ds.Dataset):
        names = needed(corpus.schema.names, settings)
        return corpus.scanner(columns=names, use_threads=False).to_reader()
    library, kind = type(corpus).__module__.partition(".")[0], type(corpus).__name__
    if library == "pandas" and kind == "DataFrame":
        names = needed(list(map(str, corpus.columns)), settings)
        return pa.Table.from_pandas(corpus[names], preserve_index=False)
    if library == "polars" and kind == "LazyFrame":
        names = needed(corpus.collect_schema().names(), settings)
        return corpus.select(names).collect().to_arrow()
    if library == "polars" and kind == "DataFrame":
        return corpus.select(needed(corpus.columns, settings)).to_arrow()
    if library == "datasets":
        return _of_datasets(corpus, kind, settings)
    if hasattr(corpus, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(corpus)
    return None


def needed(names: Sequence[str], settings: Settings) -> list[str]:
    """Those of some columns that a run reads, in their order."""
    read = {*settings.document(names).template.columns, *settings.roles.values()}
    return [name for name in names if name in read]


def _of_datasets(corpus: Any, kind: str, settings: Settings) -> pa.Table | None:
    if kind in ("DatasetDict", "IterableDatasetDict"):
        splits = ", ".join(map(str, corpus))
        raise SettingsError(f"a {kind} has splits: give one of {splits}, or concatenate them")
    if kind == "IterableDataset":
        raise SettingsError(
            "an IterableDataset has its rows only once: give the paths of its files, or make a "
            "Dataset of it"
        )
    if kind != "Dataset":
        return None
    chosen = corpus.select_columns(needed(corpus.column_names, settings))
    table: pa.Table = chosen.with_format("arrow")[:]
    return table
