"""JSON lines: the bytes of rows, with keys that are added before their last brace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from dedupe.corpus.reading import json_arrays
from dedupe.corpus.reading import jsonl as reader
from dedupe.corpus.reading.lines import strip
from dedupe.corpus.reading.records import BadRowError, parse
from dedupe.corpus.rewriting.beside import TAKEN, as_json
from dedupe.corpus.rewriting.lines import Lines, LineSource, blocks_of_lines
from dedupe.corpus.shard import BlockSizes, Shard
from dedupe.errors import CorpusError


def open_source(shard: Shard, sizes: BlockSizes) -> Source:
    """Read its first rows."""
    return Source(shard, sizes)


class Source(LineSource):
    """See `rewriting.Source`: `names` are those of the first rows."""

    in_braces = True

    def __init__(self, shard: Shard, sizes: BlockSizes) -> None:
        super().__init__(shard, sizes)
        self.names = reader.columns(shard)
        before = json_arrays.beginning(shard)
        if before is not None:
            self.array = (before, json_arrays.behind(shard, before, sizes.lines))

    @property
    def properties(self) -> dict[str, Any]:
        """Rows of JSON have what columns they like; they are lines, or elements of an array."""
        return {"columns": None, "brackets": self.array}

    def blocks(self, start: int) -> Iterator[Lines]:
        """Find where rows begin and end."""
        return blocks_of_lines(self.shard, self.sizes)

    def check(self, rows: Lines, first: int, added: Sequence[str]) -> None:
        """Parse only rows that have the text of such a key somewhere. See `Source.check`."""
        if not rows.num_rows:
            return
        begin = int(rows.starts[0])
        data = rows.data[begin : int(rows.ends[-1])].tobytes()
        for key in added:
            quoted = f'"{key}"'.encode()
            at = data.find(quoted)
            while at >= 0:
                row = int(np.searchsorted(rows.starts, begin + at, "right")) - 1
                start, end = int(rows.starts[row]) - begin, int(rows.ends[row]) - begin
                with suppress(BadRowError):  # the run has read it, but not with this parser
                    if key in parse(strip(data[start:end])):
                        raise CorpusError(TAKEN.format(key), path=self.shard.path, row=first + row)
                at = data.find(quoted, end)

    def spelled(self, beside: pa.RecordBatch) -> pa.Array:
        """As keys and values."""
        return as_json(beside)

    def header_with(self, beside: pa.Schema | None) -> bytes | None:
        """There is none."""
        return None
