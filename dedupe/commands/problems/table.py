"""problems.parquet, beside the keep-lists of a run: a line for each problem of each row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dedupe.arrays import Array, numbers
from dedupe.errors import DamageError, SettingsError, listed
from dedupe.result import Result
from dedupe.storage.files import Files
from dedupe.storage.tables import GROUP_ROWS, row_groups

NAME = "problems.parquet"
VERSION = 2
"""Raised whenever the file comes to mean something else."""

SCHEMA = pa.schema(
    [
        ("shard", pa.dictionary(pa.int32(), pa.string())),
        ("row", pa.int64()),
        ("keep", pa.bool_()),
        ("problem", pa.dictionary(pa.int8(), pa.string())),
    ]
)
"""shard, row: as in the keep-list. keep: whether the run keeps the row. problem: its name."""

_ABOUT = b"dedupe.problems"


def identity_of(result: Result) -> list[int]:
    """What tells a run from another one with other keep-lists: their checksums."""
    return [int(shard["keep_checksum"]) for shard in result.shards]


def write_problems(
    result: Result,
    names: Sequence[str],
    parts: Iterable[tuple[int, Array, Array, Array]],
    counted: Mapping[str, Mapping[str, Sequence[int]]],
) -> None:
    """Write the file.

    result: the run. names: of problems, the lowest bit first. parts: of each slice of the corpus in
    order the number of its shard, the rows that have problems, int64; those, uint32; and whether
    each row is kept. counted: of all rows, see `look.Counts`.
    """
    counts = np.zeros((len(names), 2), np.int64)
    with result.storage.writing(NAME) as sink:
        file = pa.PythonFile(sink, "w")
        with pq.ParquetWriter(
            file, SCHEMA, compression="zstd", write_page_checksum=True, version="2.6"
        ) as writer:
            for shard, of_shard in groupby(parts, key=lambda part: part[0]):
                lines = _lines(result.shards[shard]["path"], names, of_shard, counts)
                for group in row_groups(SCHEMA, lines):
                    if len(group):
                        writer.write_table(group, row_group_size=GROUP_ROWS)
            found = {
                name: {"rows": rows, "kept": kept}
                for name, (rows, kept) in zip(names, counts.tolist(), strict=True)
            }
            about = {
                "version": VERSION,
                "of": identity_of(result),
                "problems": found,
                "counted": {
                    name: dict(sorted(values.items())) for name, values in sorted(counted.items())
                },
            }
            writer.add_key_value_metadata({_ABOUT: json.dumps(about).encode()})


def _lines(
    path: str,
    names: Sequence[str],
    parts: Iterable[tuple[int, Array, Array, Array]],
    counts: Array,
) -> Iterator[pa.RecordBatch]:
    """The lines of a shard.

    path: of the shard. names, parts: see `write_problems`. counts: int64[problems, 2], to which
    rows are added that have each problem, and those that are kept.
    """
    shard, problems = pa.array([path]), pa.array(names, pa.string())
    for _, rows, bits, keep in parts:
        has = (bits[:, None] >> np.arange(len(names), dtype=np.uint32)) % 2 == 1
        counts[:, 0] += has.sum(axis=0)
        counts[:, 1] += has[keep].sum(axis=0)
        row, problem = np.nonzero(has)
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(row), np.int32)), shard),
            pa.array(rows[row]),
            pa.array(keep[row]),
            pa.DictionaryArray.from_arrays(pa.array(problem.astype(np.int8)), problems),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


class Problems:
    """The problems of the rows of a run, read.

    result: the run. counts: of each problem the rows that have it, and those that are kept.
    counted: of all rows, see `look.Counts`. Raises SettingsError where they were not looked
    for, or are those of another run; DamageError where the file is damaged.
    """

    def __init__(self, result: Result) -> None:
        self._files: Files = result.storage
        if not self._files.exists(NAME):
            raise SettingsError(
                f"{result.path} has no {NAME}: dedupe report {result.path} --problems makes it"
            )
        with self._opened() as file:
            about = json.loads((file.metadata.metadata or {}).get(_ABOUT, b"{}"))
            paths = [_path_of(file.metadata.row_group(i)) for i in range(file.num_row_groups)]
        if about.get("version") != VERSION or about.get("of") != identity_of(result):
            raise SettingsError(
                f"{self._files.path(NAME)} is of another run or version: dedupe report "
                f"{result.path} --problems makes it again"
            )
        self.counts: dict[str, dict[str, int]] = about["problems"]
        self.counted: dict[str, dict[str, list[int]]] = about["counted"]
        self._groups: dict[str, list[int]] = {}
        for group, path in enumerate(paths):
            self._groups.setdefault(path, []).append(group)

    @classmethod
    def of(cls, result: Result) -> Problems | None:
        """Those of this very run; None where they were not looked for, or the file is damaged.

        result: the run.
        """
        try:
            found = cls(result)
            for _ in found.tables():
                pass
        except (SettingsError, DamageError):
            return None
        return found

    @classmethod
    def are_there(cls, result: Result) -> bool:
        """Whether the problems of this very run were looked for, and the file is whole."""
        return cls.of(result) is not None

    def check_names(self, names: Sequence[str]) -> None:
        """Raise SettingsError for a problem that is not known."""
        for name in names:
            if name not in self.counts:
                raise SettingsError(f"no problem {name!r}: there are {listed(list(self.counts))}")

    def rows_with(self, path: str, names: Sequence[str]) -> Array:
        """The rows of a shard that have one of some problems: int64, ascending.

        path: of the shard. names: of the problems.
        """
        found = [np.zeros(0, np.int64)]
        for table in self.tables(self._groups.get(path, [])):
            wanted = pc.is_in(table["problem"].cast(pa.string()), pa.array(names, pa.string()))
            found.append(numbers(table.filter(wanted)["row"]))
        return np.unique(np.concatenate(found))

    def tables(self, groups: Sequence[int] | None = None) -> Iterator[pa.Table]:
        """Some lines at a time. groups: numbers of row groups; None for all."""
        with self._opened() as file:
            for number in range(file.num_row_groups) if groups is None else groups:
                yield file.read_row_group(number)

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        try:
            opened = self._files.parquet(NAME)
            with pq.ParquetFile(**opened, page_checksum_verification=True) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            what = " ".join(str(error).split())
            path = self._files.path(NAME)
            raise DamageError(path, what, remedy="look for problems again") from error


def _path_of(group: pq.RowGroupMetaData) -> str:
    """The shard that the lines of a row group are of."""
    path: str = group.column(0).statistics.min
    return path
