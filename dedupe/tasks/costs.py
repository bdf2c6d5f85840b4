"""What tasks cost, by measurement: constants, and what each stage will take of memory and disk.

They stand beside the tasks but load none of them, so that `dedupe plan` needs no kernels.
`tests/test_memory.py` holds the peaks of real runs against them.
"""

from __future__ import annotations

from dataclasses import replace

from dedupe.config import MOST_ROW, Execution, parse_bytes
from dedupe.corpus import Limits
from dedupe.planning.estimate import StageCost, StageEstimate, Workload
from dedupe.planning.sizes import Planner, TaskCosts

RECORD_DISK = 10
"""A band record on disk: key and row."""
ROW_DISK = 29
"""sign's other columns on disk for each row: digests, number of shingles, script."""
EDGE_DISK = 115
"""Edges on disk for each row in a component: 16 bytes, and about seven buckets that it shares."""
ROUTED_DISK = 42
"""What route leaves for each row in a component: its label, digests and number of shingles."""
MEMBER_DISK = 88
"""Labels, members and decisions on disk for each row in a component."""

COSTS = TaskCosts(
    base=300_000_000,
    text_copies=6,
    signed_row=100,  # what sign knows of a row, twice; more with ids
    signed_key=40,  # made, gathered, ordered by partition
    most_rows=1 << 30,  # band records count rows in 32 bits
    bucket_record=48,  # read, copied by share, edges
    link_row=16,
    last_link_row=8,
    member=150,
    shingle_hash=8,
    set_copies=4,  # made, gathered, ordered, written
    join_hash=14,  # the hash, room to bring them together, counters
    join_posting=40,  # two slots of the index, a posting, bits of the bitmap
    join_row=100,  # its place, copies, the union-find
    most_join_shingles=(1 << 32) - (1 << 24),  # the index numbers postings in 32 bits
    word_shingle_bytes=1.4,  # 8 for a token of about 5.7 bytes
    char_shingle_bytes=8.0,
)

CARRIED = 8
"""What a column of `Settings.carried` adds to `signed_row` and to `member`: its digest, twice."""


TOLD_APART = 32
"""The same of a column of `Settings.told_apart`."""


def costs_of(carried: int, told_apart: int = 0) -> TaskCosts:
    """The costs of a run in which so many columns are carried, and told apart in clusters."""
    more = CARRIED * carried + TOLD_APART * told_apart
    return replace(COSTS, signed_row=COSTS.signed_row + more, member=COSTS.member + more)


LONG_ROW = 24
"""Memory of a long row for each byte of it, while it is read, signed and compared: 12 to 20 were
measured of text, up to 35 of short words that an exact join compares."""
USUAL_ROW = 16_000_000
"""Bytes of a row that any worker may read if memory has room for one of them: it is not likely that
all workers meet one at a time."""


def limits_of(execution: Execution) -> Limits:
    """What a run of these resources reads of a file at most."""
    resources = execution.resources
    room = (resources.memory - COSTS.base) // 2
    row = max(2 * room // resources.threads // LONG_ROW, min(room // LONG_ROW, USUAL_ROW))
    if execution.max_row is not None:
        row = parse_bytes(execution.max_row)
    return Limits(row=min(row, MOST_ROW), part=room, expansion=execution.max_expansion)


def sign(planner: Planner, work: Workload) -> StageEstimate:
    """Batches of text, and what is known of the rows of a task before it goes to disk."""
    costs, sizes = planner.costs, work.sizes
    rows = min(sizes.task_text // work.mean_bytes, sizes.task_rows)
    keys = min(sizes.spill, rows * work.bands * costs.signed_key)
    return StageEstimate(
        "sign",
        tasks=work.sign_tasks,
        memory=2 * costs.text_copies * sizes.batch + keys + rows * costs.signed_row,
        disk=work.rows * (work.bands * RECORD_DISK + ROW_DISK),
    )


def bucket(planner: Planner, work: Workload) -> StageEstimate:
    """The band records of a partition."""
    partitions = work.sizes.key_partitions
    records = -(-work.rows * work.bands // partitions)
    return StageEstimate(
        "bucket",
        tasks=partitions,
        memory=records * planner.costs.bucket_record,
        disk=work.members * EDGE_DISK,
        reads=work.sign_tasks * partitions,
    )


def components(planner: Planner, work: Workload) -> StageEstimate:
    """The last merge, which has a number for every row in a component."""
    return StageEstimate(
        "components",
        tasks=len(planner.merge_tree(work.sizes.key_partitions)),
        memory=planner.costs.link_memory(work.rows, work.members, last=True),
        alone=True,
    )


def route(planner: Planner, work: Workload) -> StageEstimate:
    """What sign knows of the rows of a task."""
    rows = min(work.sizes.task_text // work.mean_bytes, work.sizes.task_rows)
    return StageEstimate(
        "route",
        tasks=work.sign_tasks,
        memory=rows * planner.costs.signed_row,
        disk=work.members * ROUTED_DISK,
        reads=work.sign_tasks,
    )


def group(planner: Planner, work: Workload) -> StageEstimate:
    """The rows of a partition of components; with what components and verify leave of them."""
    partitions = work.component_partitions
    return StageEstimate(
        "group",
        tasks=partitions,
        memory=-(-work.members // max(partitions, 1)) * planner.costs.member,
        disk=work.members * MEMBER_DISK,
        reads=work.sign_tasks * partitions,
    )


def fetch(planner: Planner, work: Workload) -> StageEstimate:
    """Batches of text again, and the shingle sets of rows in components."""
    costs, sizes = planner.costs, work.sizes
    hashes = int(work.members * work.mean_bytes * costs.shingle_bytes(work.unit))
    of_task = -(-hashes // max(work.sign_tasks, 1))
    return StageEstimate(
        "fetch",
        tasks=work.sign_tasks,
        memory=2 * costs.text_copies * sizes.batch + min(sizes.spill, costs.set_copies * of_task),
        disk=hashes,
        reads=work.sign_tasks * work.component_partitions,
    )


def verify(planner: Planner, work: Workload) -> StageEstimate:
    """The shingle sets of a partition, and tables to look them up in."""
    hashes = int(work.members * work.mean_bytes * planner.costs.shingle_bytes(work.unit))
    return StageEstimate(
        "verify",
        tasks=work.component_partitions,
        memory=2 * min(work.sizes.sets, hashes),
        reads=work.sign_tasks * work.component_partitions,
    )


def keep(planner: Planner, work: Workload) -> StageEstimate:
    """The decisions on the rows of some shards, of every partition."""
    tasks = min(work.sign_tasks, planner.tuning.most_tasks)
    return StageEstimate(
        "keep",
        tasks=tasks,
        memory=-(-work.members // max(tasks, 1)) * planner.costs.member,
        reads=work.component_partitions * tasks,
    )


STAGE_COSTS: tuple[StageCost, ...] = (sign, bucket, components, route, group, fetch, verify, keep)
"""What each stage will take, in their order."""
