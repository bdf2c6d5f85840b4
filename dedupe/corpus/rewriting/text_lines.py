"""Plain text of a row per line: the bytes of lines. Columns have no place beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from dedupe.corpus.reading import text_lines as reader
from dedupe.corpus.rewriting.lines import Lines, LineSource, blocks_of_lines
from dedupe.corpus.shard import BlockSizes, Shard


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Nothing has to be known of it."""
    return Source(shard, sizes)


class Source(LineSource):
    """See `rewriting.Source`."""

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        super().__init__(shard, sizes)
        self.names = reader.columns(shard)

    @property
    def properties(self) -> dict[str, Any]:
        """Files of lines differ in nothing."""
        return {}

    def blocks(self, start: int) -> Iterator[Lines]:
        """Find where rows begin and end."""
        return blocks_of_lines(self.shard, self.sizes)

    def check(self, rows: Lines, first: int, added: Sequence[str]) -> None:
        """Nothing is added to a row. See `Source.check`."""

    def spelled(self, beside: pa.RecordBatch) -> pa.Array:
        """Nothing, for each row."""
        return pa.repeat(pa.scalar(b"", pa.large_binary()), beside.num_rows)

    def header_with(self, beside: pa.Schema | None) -> bytes | None:
        """There is none."""
        return None
