"""What a task hands on, in bounded memory: rows by partition, of which most may lie on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import IO

import pyarrow as pa
import pyarrow.ipc as ipc


class SpillBuffer:
    """Rows by partition, given some at a time: the latest are in memory, those before on disk.

    spool: makes a temporary file. Use as a context, which ends with the files.
    """

    def __init__(self, spool: Callable[[], AbstractContextManager[IO[bytes]]]) -> None:
        self._spool = spool
        self._files = ExitStack()
        self._spilled: list[ipc.RecordBatchFileReader] = []
        self._latest: Sequence[pa.RecordBatch] = ()

    def __enter__(self) -> SpillBuffer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._files.close()

    def add(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Take more rows: a record batch for each partition."""
        if self._latest:
            file = self._files.enter_context(self._spool())
            with ipc.new_file(pa.PythonFile(file, "w"), self._latest[0].schema) as writer:
                for batch in self._latest:
                    writer.write_batch(batch)
            self._spilled.append(ipc.open_file(pa.PythonFile(file, "r")))
        self._latest = batches

    def merged(self) -> Iterator[pa.RecordBatch]:
        """For each partition all of its rows, in the order in which they were given."""
        for partition, batch in enumerate(self._latest):
            before = [spilled.get_batch(partition) for spilled in self._spilled]
            yield pa.concat_batches([*before, batch]) if before else batch
