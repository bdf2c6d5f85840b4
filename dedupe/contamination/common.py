"""common: which shingles of items stand in so many rows that they tell nothing. One task.

"which of the following" stands in many rows and items, and where it does nothing has leaked. A
shingle is common if it stands in more than one of `ROWS_PER_COMMON` rows of the corpus, and in
more than `LEAST_COMMON` rows, and these have several sources: a test set that was copied many times
from one place makes no shingle common.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dedupe.arrays import numbers
from dedupe.contamination.job import COMMON, SEEN, CommonResult
from dedupe.contamination.scan import block_of
from dedupe.tasks.artifacts import Left
from dedupe.tasks.job import Job

ROWS_PER_COMMON = 100
"""A shingle of an item stands in at most one of so many rows, or it may be common."""
LEAST_COMMON = 500
"""Rows up to which no shingle is common, however small the corpus is."""


def common_bound(rows: int) -> int:
    """Rows of a corpus of so many in which a shingle may stand, and is not common."""
    return max(rows // ROWS_PER_COMMON, LEAST_COMMON)


def common_task(job: Job, items: Left, scanned: Left, rows: int, task: int) -> CommonResult:
    """Count in how many rows and sources shingles stand; leaves `COMMON`.

    job: of the run. items, scanned: the files of these stages. rows: of the corpus. task: 0.
    """
    count = block_of(job, items).count
    found = np.zeros(count, np.uint32)
    source = np.zeros(count, np.uint32)
    several = np.zeros(count, np.bool_)
    for batch in SEEN.read(job.work, scanned, 0):
        number, of, from_, many = map(numbers, batch.columns)
        again = found[number] > 0
        several[number] |= many | (again & (source[number] != from_))
        source[number] = from_
        found[number] += of
    bound = common_bound(rows)
    common = (found > bound) & several
    columns = [pa.array(found), pa.array(common.astype(np.uint8))]
    files = COMMON.write(
        job.work, task, [pa.RecordBatch.from_arrays(columns, schema=COMMON.columns)]
    )
    return CommonResult(rows=0, files=files, bound=bound, common=int(common.sum()), shingles=count)
