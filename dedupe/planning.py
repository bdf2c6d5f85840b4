"""How a run is cut into tasks, and what that takes: integers only, no files.

Every constant below says what it is a measure of; `dedupe plan` prints what comes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from dedupe.config import Resources
from dedupe.errors import SettingsError

Part = TypeVar("Part")

TASK_TEXT = 64_000_000
"""Bytes of text in a sign task: long enough to hide its overhead, short enough to redo."""
TASK_ROWS = 1 << 18
"""Rows in a sign task, for corpora of very short rows."""
SIGNED_BYTES = 40
"""Memory of sign for each band key of a task: made, gathered, ordered by partition."""
RECORD_BYTES = 12
"""A band record on disk: key and row."""
BUCKET_RECORDS = 1 << 22
"""Band records in a bucket task, unless memory is short: it reads a piece of every sign task."""
SMALL_BUCKET_RECORDS = 1 << 18
"""Band records from which a bucket task is worth having, where workers are idle otherwise."""
BUCKET_BYTES = 48
"""Memory of a bucket task for each of its band records: read, copied by share, edges."""
ROW_BYTES = 20
"""sign's other columns on disk for each row: digest and number of shingles."""
EDGE_BYTES = 140
"""Edges on disk for each row in a component: 16 bytes, and about nine buckets that it shares."""
MEMBER_PEAK_BYTES = 180
"""Memory of link for each row in a component, at its peak."""
BASE_BYTES = 300_000_000
"""Interpreter, libraries, kernels, decoding."""
TEXT_COPIES = 6
"""Memory of a worker reading a batch, in sizes of the batch's text: file, decoded, scratch."""
SHINGLE_BYTES = {"word": 1.4, "char": 8.0}
"""Bytes of shingle hashes for each byte of text: 8 for a token of about 5.7, or for a character."""
SET_COPIES = 4
"""Memory of a shingle task, in sizes of its hashes: made, gathered, ordered, written."""


@dataclass(frozen=True)
class Cut:
    """Sizes of a run's tasks.

    batch_bytes: text decoded at a time by one worker. task_text, task_rows: text bytes and rows of
    a sign task, whichever is reached first. partitions: of the band keys' space. set_bytes: memory
    of one verify task.
    """

    batch_bytes: int
    task_text: int
    task_rows: int
    partitions: int
    set_bytes: int


def cut(resources: Resources, bands: int, rows: int, unit: str) -> Cut:
    """Cut a corpus of about `rows` rows. Raises SettingsError where memory does not suffice.

    unit: what shingles are made of, "word" or "char".
    """
    share = (resources.memory - BASE_BYTES) // resources.workers
    batch = min(16_000_000, share // (4 * TEXT_COPIES))
    if batch < 500_000:
        need = BASE_BYTES + resources.workers * 4 * TEXT_COPIES * 500_000
        raise SettingsError(
            f"{resources.workers} workers need {need / 1e6:.0f}MB of memory and have "
            f"{resources.memory / 1e6:.0f}MB: raise --memory or lower --workers"
        )
    records = max(rows, 1) * bands
    fits = max(share // 2 // BUCKET_BYTES, 1)
    busy = min(2 * resources.workers, -(-records // SMALL_BUCKET_RECORDS))
    return Cut(
        batch_bytes=batch,
        task_text=min(TASK_TEXT, int(share / 2 / SET_COPIES / SHINGLE_BYTES[unit])),
        task_rows=min(TASK_ROWS, max(share // 3 // (bands * SIGNED_BYTES), 1000)),
        partitions=max(busy, -(-records // min(BUCKET_RECORDS, fits))),
        set_bytes=max(min(share // 4, 256_000_000), 4_000_000),
    )


def weight(sizes: Cut, text_bytes: int, rows: int) -> int:
    """Share of a sign task that these rows are, in bytes of its text."""
    return max(text_bytes, rows * sizes.task_text // sizes.task_rows)


def check_link(resources: Resources, rows: int) -> None:
    """Refuse to link more rows in components than memory holds."""
    need = BASE_BYTES + rows * MEMBER_PEAK_BYTES
    if need > resources.memory:
        raise SettingsError(
            f"linking needs up to {need / 1e9:.1f}GB of memory and has "
            f"{resources.memory / 1e9:.1f}GB: raise --memory and run again, it goes on from here"
        )


def pack(parts: Sequence[Part], sizes: Sequence[int], target: int) -> list[list[Part]]:
    """Cut `parts` into runs of neighbours of about `target` in size, in order."""
    packed: list[list[Part]] = []
    room = 0
    for part, size in zip(parts, sizes, strict=True):
        if not packed or size > room:
            packed.append([])
            room = target
        packed[-1].append(part)
        room -= size
    return packed


@dataclass(frozen=True)
class Estimate:
    """What a run of `rows` rows takes; bytes."""

    exchange: int
    row_files: int
    sets: int
    link_memory: int
    peak_memory: int
    work_disk: int
    sign_tasks: int
    partitions: int


def estimate(
    resources: Resources,
    bands: int,
    rows: int,
    mean_bytes: int,
    share_in_components: float,
    unit: str,
) -> Estimate:
    """Estimate a run; `share_in_components` of the rows share a bucket with another row."""
    sizes = cut(resources, bands, rows, unit)
    exchange = rows * bands * RECORD_BYTES
    members = int(rows * share_in_components)
    sets = int(members * mean_bytes * SHINGLE_BYTES[unit])
    link = BASE_BYTES + members * MEMBER_PEAK_BYTES
    records = -(-rows * bands // sizes.partitions)
    at_a_time = max(
        2 * TEXT_COPIES * sizes.batch_bytes
        + min(sizes.task_text // mean_bytes, sizes.task_rows) * bands * SIGNED_BYTES,
        records * BUCKET_BYTES,
        2 * min(sizes.set_bytes, sets),
    )
    return Estimate(
        exchange=exchange,
        row_files=rows * ROW_BYTES,
        sets=sets,
        link_memory=link,
        peak_memory=max(BASE_BYTES + resources.workers * at_a_time, link),
        work_disk=exchange + rows * ROW_BYTES + sets + members * (EDGE_BYTES + 60),
        sign_tasks=max(-(-rows * mean_bytes // sizes.task_text), -(-rows // sizes.task_rows)),
        partitions=sizes.partitions,
    )
