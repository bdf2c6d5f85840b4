"""The last task of link on one core, up to hundreds of millions of rows in components.

    python benchmarks/link_scale.py --json results/link-scale.json

Feeds `stages.link.Linker` what merges leave: forests whose edges connect each row to an earlier one
anywhere in the corpus, 40 % of whose rows are in components. Writes nanoseconds for each edge and
for each row, and the peak memory for each row, which grows past the caches with the corpus.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measuring import cpu_model, versions

from dedupe.schema import EDGES
from dedupe.stages.components import ComponentFinder

SHARE = 0.4
"""Of rows in components."""
FORESTS = 4
"""Files of edges that the last task reads, each with a forest of half of these rows."""
BATCH = 1 << 20


def forests(rows: int) -> Iterator[pa.RecordBatch]:
    """Edges in batches, the same at each call: `right` in order, `left` anywhere before it."""
    generator = np.random.default_rng(7)
    step = max(int(1 / SHARE), 1)
    for forest in range(FORESTS):
        for start in range(step, rows, BATCH * step * 2):
            right = np.arange(start, min(start + BATCH * step * 2, rows), 2 * step)
            right += step * (forest % 2)
            right = right[right < rows]
            left = (generator.random(len(right)) * right).astype(np.int64)
            left -= left % step
            yield pa.RecordBatch.from_arrays([pa.array(left), pa.array(right)], schema=EDGES)


def measure(rows: int) -> dict[str, Any]:
    """Link so many rows."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    finder = ComponentFinder(rows)
    edges = 0
    named = 0.0
    for batch in forests(rows):
        began = time.perf_counter()
        finder.mark(batch)
        named += time.perf_counter() - began
        edges += batch.num_rows
    members = finder.count()
    made = time.perf_counter()
    for _ in forests(rows):
        pass
    making = time.perf_counter() - made
    began = time.perf_counter()
    finder.connect(forests(rows))
    joined = time.perf_counter() - began - making
    starts = np.linspace(0, rows, max(rows // 5_000_000, 1) + 1).astype(np.int64)
    began = time.perf_counter()
    labelled = sum(batch.num_rows for batch in finder.labels(starts))
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


def main() -> None:
    """Parse arguments, measure each size in a process of its own, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", required=True, help="result file")
    parser.add_argument("--rows", type=int, nargs="+", default=[10**7, 10**8, 10**9])
    known = parser.parse_args()
    lines = []
    for rows in known.rows:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            lines.append(pool.apply(measure, (rows,)))
        print(lines[-1], flush=True)
    result = {"cpu_model": cpu_model(), "versions": versions(), "lines": lines}
    Path(known.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
