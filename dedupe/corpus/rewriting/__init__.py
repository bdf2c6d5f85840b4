"""Copying rows to files like theirs: a module for each format, which `corpus.formats` names.

    parquet, jsonl, csv_files, arrow_files, arrow_streams, text_lines, text_files
               formats: see `formats.Rewriter`
    ipc        what Arrow files and streams have in common
    lines      what JSON lines, CSV and plain text have in common
    beside     columns that are written beside those of the rows

A source reads its rows in blocks, of which some rows are taken. What a block is only the source
and its writers know: everybody else asks it for its number of rows, and for some of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

Taken: TypeAlias = "npt.NDArray[np.bool_]"
"""For each row of a block, whether it is taken."""

_Rows = TypeVar("_Rows", bound="Rows")


class Rows(Protocol):
    """Some rows of a source, one after the other: a record batch, or bytes of lines."""

    @property
    def num_rows(self) -> int:
        """How many they are."""

    @property
    def nbytes(self) -> int:
        """About their bytes."""

    def slice(self: _Rows, offset: int, length: int) -> _Rows:
        """`length` of them, from the one with the number `offset` on; no copy."""

    def take(self: _Rows, indices: pa.Array) -> _Rows:
        """Those with these numbers, also several times. See `arrays.picked`."""


class Source(Protocol):
    """Reads all columns of a shard, and knows what a file like it is made with."""

    @property
    def names(self) -> list[str]:
        """The columns, as far as they are known before all rows are read."""

    @property
    def properties(self) -> dict[str, Any]:
        """What must be equal in files whose rows are to share one, by a word for each.

        None stands for what the file does not tell.
        """

    def start(self, first: int) -> int:
        """The number of the row with which `blocks` can begin so that row `first` is not missed."""

    def blocks(self, start: int) -> Iterator[Any]:
        """The rows from row `start` on, which `start` has given, as `Rows`."""

    def check(self, rows: Any, first: int, added: Sequence[str]) -> None:
        """Raise CorpusError where a row has a column that is to be added to it.

        rows: some that `blocks` has given. first: the number of the first of them in the shard.
        added: names of columns; none of them is among `names`.
        """

    def writer(self, sink: pa.NativeFile, beside: pa.Schema | None) -> Writer:
        """Begin a file like this one. beside: columns that its rows get besides their own."""


class Writer(Protocol):
    """Writes a file like that of a source, of rows of this source and of others like it."""

    def write(self, rows: Any, take: Taken, beside: pa.RecordBatch | None) -> None:
        """Add some rows.

        rows: `Rows` that a source has given. take: bool for each of them. beside: a row for each
        that is taken, with the columns that `Source.writer` was given; None where it was given
        none.
        """

    def close(self) -> None:
        """Write what is left, and the end of the file."""
