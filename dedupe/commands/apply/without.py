"""Rows that apply leaves out besides those that the run drops: rows with problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers
from dedupe.commands.problems.table import Problems
from dedupe.result import Result
from dedupe.storage.files import Files
from dedupe.storage.keep_lists import read_keep_list

PROBLEM = "problem"
"""The reason beside a row that is left out because of one."""
EXAMPLES = 5
"""Rows that are named."""


@dataclass(frozen=True)
class Without:
    """Which problems rows must not have.

    problems: those of the run. names: of those that count. force: whether kept rows are left out
    even where others were dropped because of them.
    """

    problems: Problems
    names: tuple[str, ...]
    force: bool

    @classmethod
    def of(cls, result: Result, names: Sequence[str], *, force: bool) -> Without | None:
        """What was asked for; None for nothing.

        result: the run. names: of problems. force: see `Without`. Raises SettingsError for unknown
        problems.
        """
        if not names:
            return None
        problems = Problems(result)
        problems.check_names(names)
        return cls(problems, tuple(dict.fromkeys(names)), force)

    def rows_of(self, listed: Mapping[str, Any]) -> Array:
        """The rows of a shard that have one of the problems: int64, ascending.

        listed: what the summary says of the shard.
        """
        return self.problems.rows_with(listed["path"], self.names)

    def decided(self, rows: pa.RecordBatch, first: int, with_problems: Array) -> pa.RecordBatch:
        """Rows of a keep-list without those that have problems.

        rows: of a shard. first: number of the first of them. with_problems: see `rows_of`.
        """
        low, high = np.searchsorted(with_problems, [first, first + rows.num_rows])
        has = np.zeros(rows.num_rows, np.bool_)
        has[with_problems[low:high] - first] = True
        keep = numbers(rows.column("keep"))
        gone = has & keep
        if not self.force:
            gone &= numbers(rows.column("copies").fill_null(1)) <= 1
        columns = {name: rows.column(name) for name in rows.schema.names}
        columns["keep"] = pa.array(keep & ~gone)
        reason = columns["reason"]
        columns["reason"] = pc.if_else(pa.array(gone), pa.scalar(PROBLEM, reason.type), reason)
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=rows.schema)

    def told(self, out: Files, listed: Sequence[Mapping[str, Any]]) -> str | None:
        """What is said of kept rows with problems because of which others were dropped.

        out: the run's output. listed: what its summary says of each shard. None where there are
        none.
        """
        count = dropped = 0
        examples: list[str] = []
        for shard in listed:
            wanted = self.rows_of(shard)
            if not len(wanted):
                continue
            table = read_keep_list(out, shard, ["row", "keep", "copies"])
            table = table.take(pa.array(wanted))
            table = table.filter(pc.and_(table["keep"], pc.greater(table["copies"], 1)))
            count += len(table)
            dropped += int(pc.sum(table["copies"]).as_py() or 0) - len(table)
            for row, copies in zip(
                table["row"].to_pylist(), table["copies"].to_pylist(), strict=False
            ):
                if len(examples) < EXAMPLES:
                    examples.append(f"{shard['path']} row {row} (for {copies - 1:,})")
        if not count:
            return None
        does = "are left out all the same" if self.force else "stay; --force leaves them out, too"
        return (
            f"{count:,} kept rows with these problems, because of which {dropped:,} others were "
            f"dropped, {does}: {', '.join(examples)}{', …' if count > len(examples) else ''}"
        )
