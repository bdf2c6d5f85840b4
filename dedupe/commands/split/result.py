"""A finished split, read: its summary, and where each row goes; without kernels or engines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.commands.split.tables import split_batches
from dedupe.commands.split.wanted import EXCLUDED
from dedupe.config import Settings, StorageOptions
from dedupe.documents.mixed import Documents
from dedupe.errors import DamageError, SettingsError, WorkDirError
from dedupe.notebook import html_table
from dedupe.remote import Place, is_uri
from dedupe.remote.given import all_given, using
from dedupe.result import SUMMARY, read_summary
from dedupe.schema import SPLITS
from dedupe.storage import files_at
from dedupe.storage.checksums import WHAT
from dedupe.storage.files import Files
from dedupe.storage.fingerprint import fingerprint_of_run
from dedupe.summary_schema import check_splits

KIND = "splits"
"""What its summary says that it is."""

LEAVINGS = ("splits/[0-9][0-9][0-9][0-9][0-9]*-*.parquet",)
"""Files that a killed split may have left in a store: without a summary they are no output."""


def is_splits(path: str | Path, storage_options: StorageOptions | None = None) -> bool:
    """Whether a directory is the output of a split, as its summary says; False where it is none.

    path: of the directory. storage_options: of a command, which may be for other places than this.
    """
    its = storage_options if is_uri(str(path)) else None
    failures = (OSError, ValueError, RecursionError, WorkDirError, DamageError)
    with using(its, [str(path)]), suppress(*failures):
        found = json.loads(files_at(path).read(SUMMARY))
        return isinstance(found, dict) and found.get(WHAT) == KIND
    return False


class Splits:
    """A finished split: SPLITS/summary.json and the files of SPLITS/splits.

    path: the output directory of `split`. storage_options: as in `deduplicate`. Every file is held
    against its checksum when it is read. Raises WorkDirError where the directory is no such output,
    or is damaged.
    """

    def __init__(
        self, path: str | Path | Place, *, storage_options: StorageOptions | None = None
    ) -> None:
        with using(storage_options, [str(path)]):
            self.options = all_given()
            self.storage: Files = files_at(path)
            self.summary = read_summary(self.storage, KIND, "split", check_splits)

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={count}" for name, count in self.summary["splits"].items())
        return f"Splits({str(self.path)!r}, {counts})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        wanted = self.summary["wanted"]
        rows = [
            (name, count, wanted.get(name, "")) for name, count in self.summary["splits"].items()
        ]
        caption = f"{self.path}: {self.rows:,} rows"
        return html_table(caption, ("split", "rows", "asked for"), rows)

    @property
    def path(self) -> Place:
        """The output directory."""
        return self.storage.root

    @property
    def rows(self) -> int:
        """Number of rows of the corpus."""
        return int(self.summary["corpus"]["rows"])

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decided the splits: see `storage.fingerprint`, what was asked, and of what."""
        versions = {one["path"]: [one["size"], one["version"]] for one in self.shards}
        document = str(self.documents.own[0])
        settings, algorithm = self.summary["settings"], self.summary["algorithm"]
        asked = {name: self.summary[name] for name in ("asked", "run", "previous")}
        return {**fingerprint_of_run(settings, document, versions, algorithm=algorithm), **asked}

    @property
    def settings(self) -> Settings:
        """What was compared, and how."""
        return Settings(**self.summary["settings"])

    @cached_property
    def documents(self) -> Documents:
        """What was compared of each shard."""
        of_shards = (shard["document"] for shard in self.shards)
        return Documents.from_json(self.summary["documents"], of_shards)

    @property
    def shards(self) -> list[dict[str, Any]]:
        """What the summary says of each shard, in the order of the corpus."""
        listed: list[dict[str, Any]] = self.summary["corpus"]["shards"]
        return listed

    @property
    def names(self) -> list[str]:
        """The splits that have rows, without `excluded`, which is none."""
        return [name for name in SPLITS[:EXCLUDED] if self.summary["splits"][name]]

    def table_of(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """What became of the rows of one shard.

        shard: its number, from 0. columns: names of those to read, None for all. Raises DamageError
        where the file is not as it was published.
        """
        with split_batches(self.storage, self.shards[shard], columns) as (schema, batches):
            wanted = schema if columns is None else pa.schema([schema.field(c) for c in columns])
            return pa.Table.from_batches(batches, schema=wanted).unify_dictionaries()

    def table(self) -> pa.Table:
        """What became of every row, in input order, with a `shard` column; all in memory."""
        tables = []
        for number, shard in enumerate(self.shards):
            table = self.table_of(number)
            name = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(table), np.int32)), pa.array([shard["path"]])
            )
            tables.append(table.add_column(0, "shard", name))
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()

    def values(self) -> npt.NDArray[np.object_]:
        """The split of every row as a word: object[rows], in input order."""
        codes = np.concatenate([np.zeros(0, np.uint8), *(one for _, one in self._codes())])
        words: npt.NDArray[np.object_] = np.array(SPLITS, object)[codes]
        return words

    def masks(self, split: str) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """For each shard its path, and True for every row of a split: for corpora of any size.

        split: "train", "test", "validation" or "excluded".
        """
        code = _code(split)
        for path, codes in self._codes():
            yield path, codes == code

    def mask(self, split: str) -> npt.NDArray[np.bool_]:
        """True for every row of a split: bool[rows], in input order. split: see `masks`."""
        return np.concatenate([np.zeros(0, np.bool_), *(mask for _, mask in self.masks(split))])

    def _codes(self) -> Iterator[tuple[str, npt.NDArray[np.uint8]]]:
        for number, shard in enumerate(self.shards):
            yield shard["path"], self.codes_of(number)

    def codes_of(self, shard: int) -> npt.NDArray[np.uint8]:
        """The number in `wanted.SPLITS` of each row of a shard: uint8. shard: its number."""
        with split_batches(self.storage, self.shards[shard], ["split"]) as (_, batches):
            return np.concatenate([np.zeros(0, np.uint8), *map(codes, batches)])


def codes(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """The number in `wanted.SPLITS` of each row of a batch; ArrowInvalid for another word."""
    words = batch.column("split").cast(pa.string())
    found = pc.index_in(words, pa.array(SPLITS))
    if found.null_count:
        raise pa.ArrowInvalid("a row of no known split")
    return np.asarray(found.to_numpy()).astype(np.uint8)


def _code(split: str) -> int:
    if split not in SPLITS:
        raise SettingsError(f"split is {split!r}: use {', '.join(SPLITS)}")
    return SPLITS.index(split)
