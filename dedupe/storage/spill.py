"""What a task hands to the tasks of a later stage: a record batch for each, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import IO

import pyarrow as pa
import pyarrow.ipc as ipc


class Runs:
    """Rows by partition, given in runs: the latest is in memory, those before it on disk.

    spool: makes a temporary file. Use as a context, which ends with the files.
    """

    def __init__(self, spool: Callable[[], AbstractContextManager[IO[bytes]]]) -> None:
        self._spool = spool
        self._files = ExitStack()
        self._spilled: list[ipc.RecordBatchFileReader] = []
        self._latest: Sequence[pa.RecordBatch] = ()

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *_error: object) -> None:
        self._files.close()

    def add(self, run: Sequence[pa.RecordBatch]) -> None:
        """Take another run: a record batch for each partition."""
        if self._latest:
            file = self._files.enter_context(self._spool())
            with ipc.new_file(pa.PythonFile(file, "w"), self._latest[0].schema) as writer:
                for batch in self._latest:
                    writer.write_batch(batch)
            self._spilled.append(ipc.open_file(pa.PythonFile(file, "r")))
        self._latest = run

    def merged(self) -> Iterator[pa.RecordBatch]:
        """For each partition its rows of all runs, in the order in which they were given."""
        for partition, batch in enumerate(self._latest):
            before = [run.get_batch(partition) for run in self._spilled]
            yield pa.concat_batches([*before, batch]) if before else batch
