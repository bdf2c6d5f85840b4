"""Edges that tasks have left for one partition each, all together in the order of their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.arrays import numbers
from dedupe.commands.edges.file import BATCH_ROWS, DROPPED, Shards
from dedupe.commands.edges.pairs import NO_REASON, PAIRS, PairsResult, pairs_schema
from dedupe.errors import SettingsError
from dedupe.schema import REASONS, field_name
from dedupe.tasks.artifacts import files_of
from dedupe.tasks.job import Job
from dedupe.tasks.positions import Positions

SORTED_COPIES = 3
"""Memory of edges that are brought in order, in sizes of them: read, joined, taken."""


def all_edges(
    job: Job,
    positions: Positions,
    listed: Sequence[Mapping[str, Any]],
    found: Mapping[int, PairsResult],
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """The edges that tasks have left, in order, those of the rows of one keep task at a time.

    job: of the run. positions: where its rows are. listed: what the summary says of each shard.
    found: results of all tasks. schema: see `edges_schema`. Raises SettingsError where memory does
    not hold those of a task.
    """
    shards = Shards(listed)
    columns = pairs_schema(job, positions)
    codes = np.full(NO_REASON + 1, -1, np.int8)
    for number, reason in enumerate(DROPPED):
        codes[REASONS.index(reason)] = number
    files = files_of(found)
    similar = [field_name(one) for one in range(job.fields)] if job.fields > 1 else []
    for task in range(positions.keep_tasks):
        size = sum(
            file.bounds[task + 1] - file.bounds[task]
            for of in files.values()
            for file in of.values()
        )
        if SORTED_COPIES * size > job.sizes.memory:
            raise SettingsError(
                f"edges of neighbouring rows take {SORTED_COPIES * size / 1e9:.1f}GB of memory, "
                f"and there is {job.sizes.memory / 1e9:.1f}GB: raise --memory or lower --cap"
            )
        batches = PAIRS.read(job.work, files, task, columns)
        table = pa.Table.from_batches(batches, schema=columns)
        first, second = numbers(table["left"]), numbers(table["right"])
        table = table.take(pa.array(np.lexsort((second, first)))).combine_chunks()
        for batch in table.to_batches(BATCH_ROWS):
            code = codes[numbers(batch["reason"])]
            indices = pa.array(code, mask=code < 0)
            named = pa.DictionaryArray.from_arrays(indices, pa.array(DROPPED))
            made = [batch[name] for name in ("left", "right", "jaccard", *similar)]
            made += [named, batch["component"]]
            for side in ("left", "right"):
                made += shards.places(numbers(batch[side]))
                made += [batch[f"{side}_id"]] if f"{side}_id" in batch.schema.names else []
            yield pa.RecordBatch.from_arrays(made, schema=schema)
