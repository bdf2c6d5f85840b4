"""The last task that joins components, on one core, up to hundreds of millions of rows in them.

It is fed what merges leave: forests whose edges connect each row to an earlier one anywhere in the
corpus, 40 % of whose rows are in components.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.engine import EDGES, Linker

STEP = 2
"""Every second row may be in a component."""
FORESTS = 4
"""Files of edges that the last task reads, each with a forest of half of these rows."""
BATCH = 1 << 20


def forests(rows: int) -> Iterator[pa.RecordBatch]:
    """Edges in batches, the same at each call: `right` in order, `left` anywhere before it."""
    generator = np.random.default_rng(7)
    for forest in range(FORESTS):
        for start in range(STEP, rows, BATCH * STEP * 2):
            right = np.arange(start, min(start + BATCH * STEP * 2, rows), 2 * STEP)
            right += STEP * (forest % 2)
            right = right[right < rows]
            left = (generator.random(len(right)) * right).astype(np.int64)
            left -= left % STEP
            yield pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=EDGES)


def measure(rows: int) -> dict[str, Any]:
    """Link so many rows."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    linker = Linker(rows)
    edges, named = 0, 0.0
    for batch in forests(rows):
        began = time.perf_counter()
        linker.name(batch)
        named += time.perf_counter() - began
        edges += batch.num_rows
    members = linker.count()
    made = time.perf_counter()
    for _ in forests(rows):
        pass
    making = time.perf_counter() - made
    began = time.perf_counter()
    linker.join(forests(rows))
    joined = time.perf_counter() - began - making
    starts = np.linspace(0, rows, max(rows // 5_000_000, 1) + 1).astype(np.int64)
    began = time.perf_counter()
    labelled = sum(batch.num_rows for batch in linker.labels(starts))
    labels = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if labelled != members:
        raise SystemExit(f"{members} rows in components, {labelled} labels")
    return {
        "rows": rows,
        "members": members,
        "edges": edges,
        "ns_per_edge": (named + joined) / edges * 1e9,
        "ns_per_label": labels / members * 1e9,
        "bytes_per_member": (after - before) * 1024 / members,
        "planned_bytes_per_member": 8 + rows / 4 / members,
    }


def link_scale(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Nanoseconds and memory for each size, each in a process of its own."""
    lines = []
    for rows in known.rows or [10**7, 10**8, 10**9]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            lines.append(pool.apply(measure, (rows,)))
        print(lines[-1], flush=True)
    return {"lines": lines}
