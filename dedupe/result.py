"""A finished run, read: its summary and its keep-lists. Loads neither kernels nor engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dedupe.arrays import held_bytes, taken
from dedupe.config import Settings, StorageOptions
from dedupe.corpus import Shard, find_shards, is_in_memory, read_as, read_columns
from dedupe.documents.mixed import Documents
from dedupe.errors import CorpusError, DamageError, SettingsError, WorkDirError, listed
from dedupe.index.witnesses import EarlierRows
from dedupe.notebook import html_table
from dedupe.pairs import DIFFERS, SPREAD, Values, differing, draw, in_turn, values_of
from dedupe.remote import Place, is_uri
from dedupe.remote.given import OptionsByExtra, all_given, names, using, using_these
from dedupe.schema import KEPT
from dedupe.storage import files_at
from dedupe.storage.checksums import OtherKindError, unseal
from dedupe.storage.files import Files
from dedupe.storage.fingerprint import fingerprint_of_run
from dedupe.storage.keep_lists import read_keep_list
from dedupe.summary_schema import check_summary

if TYPE_CHECKING:
    import pyarrow.dataset as ds

SUMMARY = "summary.json"
"""Published last: a directory without it is no output."""

EVALS_FILES = ("contamination.parquet", "evals.parquet")
"""Beside them where test sets were given: all pairs, and what became of each item."""

LEAVINGS = ("keep/[0-9][0-9][0-9][0-9][0-9]*-*.parquet", *EVALS_FILES)
"""Files that a killed run may have left in a store: without a summary they are no output."""

MAKERS = {"summary": "run", "splits": "split"}
"""The command that makes an output, by what its summary says that it is."""

BATCH_BYTES = 16 << 20
"""Bytes of rows that `Result.batches` delivers at a time."""

EARLIER = -1
"""In place of the number of a shard, for a row by its number in the index."""


def read_summary(
    storage: Files, kind: str, command: str, check: Callable[[Any], None]
) -> dict[str, Any]:
    """The summary of an output, without its checksum.

    storage: the output. kind: what it says that it is. command: that makes such an output. check:
    raises ValueError for what no such output says of itself. Raises WorkDirError where there is
    none, DamageError where it is damaged.
    """
    where = storage.path(SUMMARY)
    try:
        data = storage.read(SUMMARY)
    except (FileNotFoundError, NotADirectoryError):
        raise WorkDirError(
            f"{storage.root} is not the output of a finished {command}: no {SUMMARY}"
        ) from None
    try:
        summary: dict[str, Any] = unseal(kind, data, where)
        check(summary)
    except OtherKindError as error:
        its = MAKERS.get(error.kind, "another command")
        raise WorkDirError(f"{storage.root} is the output of {its}, and not of {command}") from None
    except DamageError as error:
        raise DamageError(where, error.what, remedy=f"{command} again") from None
    except ValueError as error:
        raise DamageError(where, str(error), remedy=f"{command} again") from None
    return summary


class OfCorpus(Protocol):
    """The output of a command over a corpus."""

    options: OptionsByExtra
    summary: dict[str, Any]

    @property
    def path(self) -> Place:
        """The output directory."""

    @property
    def shards(self) -> list[dict[str, Any]]:
        """What the summary says of each shard, in the order of the corpus."""


class Result:
    """A finished run: OUT/summary.json and the keep-list files of OUT/keep.

    path: the output directory of a run. storage_options: as in `deduplicate`. Every file is held
    against its checksum when it is read. Raises WorkDirError where the directory is no output, or
    is damaged.
    """

    def __init__(
        self, path: str | Path | Place, *, storage_options: StorageOptions | None = None
    ) -> None:
        with using(storage_options, [str(path)]):
            self.options = all_given()
            self.storage: Files = files_at(path)
            self.summary = read_summary(self.storage, "summary", "run", check_summary)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What decided the keep-list: see `storage.fingerprint`."""
        found = fingerprint_of_run(
            self.summary["settings"],
            str(self.documents.own[0]),
            {one["path"]: [one["size"], one["version"]] for one in self.shards},
            references={one["path"]: [one["size"], one["version"]] for one in self.untouched},
            algorithm=self.summary.get("algorithm"),
        )
        evals = self.summary.get("contamination")
        if evals is not None:
            files = {one["path"]: [one["size"], one["version"]] for one in evals["files"]}
            found["evals"] = {**evals["settings"], "files": files, "only": evals["only"]}
        index = self.summary.get("index")
        if index is not None:
            names = ["path", "earlier", "added", "name", *([] if index["added"] else ["manifest"])]
            found["index"] = {name: index[name] for name in names}
        return found

    @cached_property
    def documents(self) -> Documents:
        """What was compared of each of the shards in `read_shards`."""
        of_shards = (shard["document"] for shard in self.read_shards)
        return Documents.from_json(self.summary["documents"], of_shards)

    def __repr__(self) -> str:
        return f"Result({str(self.path)!r}, rows={self.rows}, kept={self.kept})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        share = f", {1 - self.kept / self.rows:.1%} were dropped" if self.rows else ""
        caption = f"{self.path}: {self.kept:,} of {self.rows:,} rows stay{share}"
        reasons = [one for one in self.summary["reasons"].items() if one[1]]
        return html_table(caption, ("reason", "rows"), reasons)

    @property
    def path(self) -> Place:
        """The output directory."""
        return self.storage.root

    @property
    def rows(self) -> int:
        """Number of rows of the corpus."""
        return int(self.summary["corpus"]["rows"])

    @property
    def kept(self) -> int:
        """Number of rows to keep."""
        return int(sum(self.summary["reasons"][reason] for reason in KEPT))

    @property
    def shards(self) -> list[dict[str, Any]]:
        """What the summary says of each shard, in the order of the corpus."""
        listed: list[dict[str, Any]] = self.summary["corpus"]["shards"]
        return listed

    @property
    def untouched(self) -> list[dict[str, Any]]:
        """What the summary says of each shard of references, in order."""
        return untouched(self.summary)

    @property
    def read_shards(self) -> list[dict[str, Any]]:
        """What it says of all shards that were read: of the corpus, and then of references."""
        return [*self.shards, *self.untouched]

    @property
    def held_against(self) -> list[str]:
        """The path of the index that the run was held against; none without one."""
        told = self.summary.get("index")
        return [] if told is None else [told["path"]]

    @cached_property
    def earlier(self) -> EarlierRows | None:
        """The rows of the index that the run was held against; None without one.

        Raises WorkDirError where the index is gone, DamageError where it is damaged.
        """
        _check_named(self.held_against, self, "an index")
        if not self.held_against:
            return None
        with using_these({**self.options, **all_given()}):
            return EarlierRows.open(self.summary["index"])

    def place_of(self, path: str, row: int, crawl: str | None = None) -> tuple[int, int]:
        """The number of a shard among `read_shards`, and a row of it, which a keep-list names.

        path: of the shard. row: its number there. crawl: that of the index in which it is, whose
        place is `EARLIER` and its number in the index; None for one of the corpus or a reference.
        Raises DamageError where there is no such row.
        """
        if crawl is not None and self.earlier is not None:
            there = self.earlier.numbers(pa.array([crawl]), pa.array([path]), np.array([row]))
            if there[0] >= 0:
                return EARLIER, int(there[0])
        for number, shard in enumerate(self.read_shards):
            if crawl is None and shard["path"] == path and 0 <= row < shard["rows"]:
                return number, row
        whose = "" if crawl is None else f" of the crawl {crawl}"
        where = str(self.storage.root)
        raise DamageError(where, f"row {row} of {path}{whose} is a witness", remedy="run again")

    def values_at(
        self,
        places: Sequence[tuple[int, int]],
        others: Sequence[str] = (),
        note: Callable[[str], None] = lambda text: None,
    ) -> dict[tuple[int, int], Values]:
        """The texts of some rows, those of each field of `documents.whole`, and other columns.

        places: see `place_of`. others: names of the other columns, which an index has not. note: is
        told which files are read. A row that was taken out of the index has nulls for texts. Raises
        CorpusError for a shard that is not as the run has read it, SettingsError for rows in
        memory.
        """
        shards = self.read_shards
        aligned = map(self.documents.aligned_for, range(len(shards)))
        fields = [tuple(one.fields.values()) for one in aligned]  # not what must be equal
        own = [place for place in places if place[0] != EARLIER]
        found = values_of(own, shards, fields, others, partial(shard_as_read, self), note)
        rows = {row for number, row in places if number == EARLIER}
        if rows and self.earlier is not None:
            note(f"reads {len(rows):,} rows of {self.earlier.store.files.root}")
            count = len(self.documents.whole.names)
            texts = self.earlier.texts(rows)
            nothing: list[str | None] = [None] * count
            for row in rows:
                found[EARLIER, row] = Values(texts.get(row, nothing)[:count], [])
        return found

    @property
    def files(self) -> list[Place]:
        """The keep-list files, one per shard, in shard order."""
        return [self.path / shard["keep"] for shard in self.shards]

    def dataset(self) -> ds.Dataset:
        """The keep-list as a pyarrow dataset, for corpora too large for memory.

        Its files are read by pyarrow, which knows nothing of their checksums.
        """
        import pyarrow.dataset as ds  # here, since it imports pandas

        opened = [self.storage.parquet(shard["keep"]) for shard in self.shards]
        paths = [str(one["source"]) for one in opened]
        filesystem = opened[0].get("filesystem") if opened else None
        return ds.dataset(paths, filesystem=filesystem, format="parquet")

    def keep_list_of(self, shard: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The keep-list of one shard.

        shard: its number, from 0. columns: names of those to read, None for all. Raises DamageError
        where the file is not as it was published.
        """
        return read_keep_list(self.storage, self.shards[shard], columns)

    def keep_list(self) -> pa.Table:
        """The whole keep-list, one row per input row, in input order, with a `shard` column.

        Columns: see docs/reference/keep-list.md.
        """
        tables = []
        for number, shard in enumerate(self.shards):
            table = self.keep_list_of(number)
            name = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(table), np.int32)), pa.array([shard["path"]])
            )
            tables.append(table.add_column(0, "shard", name))
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()

    def masks(self) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """For each shard its path, and True for every row to keep: for corpora of any size."""
        for number, shard in enumerate(self.shards):
            yield shard["path"], self.keep_list_of(number, ["keep"])["keep"].to_numpy()

    def mask(self) -> npt.NDArray[np.bool_]:
        """True for every row to keep: bool[rows], in input order."""
        return np.concatenate([np.zeros(0, np.bool_), *(mask for _, mask in self.masks())])

    def kept_rows(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows to keep, ascending, counted through the whole corpus."""
        return np.flatnonzero(self.mask())

    def copies(self) -> npt.NDArray[np.int64]:
        """For how many rows each kept row stays, itself included: int64[kept], as `kept_rows`."""

        def kept(rows: pa.Table) -> pa.Array:
            return rows["keep"]

        columns = ["keep", "copies"]
        found = [
            read_keep_list(self.storage, shard, columns, kept)["copies"].to_numpy()
            for shard in self.shards
        ]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def ids(self, *, keep: bool = True) -> pa.ChunkedArray:
        """The ids of all rows to keep, or with keep=False of those to drop, in input order.

        Raises SettingsError where the run had no id column, and where a row has no id of its own:
        a filter by ids would then take other rows with it.
        """
        column, found = self.summary["settings"]["id"], self.summary["ids"]
        if column is None:
            raise SettingsError("the run had no id column: run again with --id COLUMN")
        if found["missing"] or found["repeated"]:
            raise SettingsError(
                f'column "{column}" does not tell the rows apart ({found["missing"]} have no id, '
                f"{found['repeated']} one that an earlier row has): filter by masks() instead"
            )
        import pyarrow.compute as pc

        def wanted(rows: pa.Table) -> pa.Array:
            return pc.equal(rows["keep"], keep)

        columns = ["id", "keep"]
        tables = [read_keep_list(self.storage, shard, columns, wanted) for shard in self.shards]
        return pa.concat_tables(tables)["id"]

    def batches(
        self,
        columns: Sequence[str] | None = None,
        *,
        shards: Iterable[int] | None = None,
        batch_bytes: int = BATCH_BYTES,
    ) -> Iterator[pa.RecordBatch]:
        """The rows to keep of Parquet and Arrow files, in order, some at a time.

        columns: names of those to read, by default all. shards: numbers of the shards to read, from
        0, by default all. batch_bytes: of rows in a batch, about; small batches of a file are
        brought together until they have so many. Raises CorpusError for a shard that is not as the
        run has read it, SettingsError for JSON lines, CSV and rows in memory.
        """
        for number in range(len(self.shards)) if shards is None else shards:
            shard = shard_as_read(self, self.shards[int(number)])
            mask = self.keep_list_of(int(number), ["keep"])["keep"].to_numpy()
            yield from _kept(shard, mask, columns, batch_bytes)

    def pairs(
        self,
        count: int = 20,
        *,
        reason: str | None = None,
        jaccard: tuple[float, float] = (0.0, 1.0),
        by: str | None = None,
        seed: int = 1,
        note: Callable[[str], None] = lambda text: None,
    ) -> pa.Table:
        """Some dropped rows with their witnesses and the texts of both, the least similar first.

        count: how many, spread over the range of similarities. reason: "near", "exact" or
        "reference", None for all of them; "extra" for rows that stay beside their witness. jaccard:
        the least and the greatest similarity. by: a column, of whose values rows are taken in turn,
        as far as a sample `SPREAD` times as large has them; None for any. seed: other ones draw
        other rows. note: is told which files are read.

        Columns are those of the keep-list, with `shard`, the path of the shard, `text` and
        `witness_text`, or `text_NAME` and so on for each field, and `differs`: the columns that
        are not compared and differ, with the value of the row and of its witness; those that
        `not_compared` in the summary has a number for. With `by` there are `by` and `witness_by`,
        its values. The text of a witness in an earlier crawl is that of the index, which has no
        other columns: `differs` and `witness_by` are null then, and so is the text of a row that
        was taken out of the index. Raises CorpusError for a shard that is not as the run has read
        it, SettingsError for rows in memory, or where the corpus has no column `by`, and
        WorkDirError where the index is gone.
        """
        document = self.documents.whole
        if by is not None and by not in (*document.columns, *document.others):
            names = listed((*document.columns, *document.others))
            raise SettingsError(f'no column "{by}" in the corpus: there are {names}')
        some = count if by is None else SPREAD * count
        table = draw(self.storage, self.shards, some, reason=reason, jaccard=jaccard, seed=seed)
        if not len(table):
            return table
        if by is not None:
            places = list(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))
            nothing = [()] * len(self.shards)
            opened = partial(shard_as_read, self)
            values = values_of(places, self.shards, nothing, (by,), opened, note)
            table = in_turn(table, [values[place].others[0] for place in places], count)
        counted = [n for n, found in self.summary["not_compared"].items() if found is not None]
        others = [name for name in counted if name != by]
        own = list(zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True))
        told = ["witness_shard", "witness_row"]
        told += ["witness_crawl"] if "witness_crawl" in table.column_names else []
        columns = (table[name].to_pylist() for name in told)
        witnesses = [self.place_of(*place) for place in zip(*columns, strict=True)]
        read = (*others, *([] if by is None else [by]))
        values = self.values_at([*own, *witnesses], read, note)
        paths = pa.array([self.shards[number]["path"] for number, _ in own])
        table = table.set_column(0, "shard", paths)
        for prefix, places in (("", own), ("witness_", witnesses)):
            for field, name in enumerate(document.names):
                column = pa.array([values[place].texts[field] for place in places], pa.string())
                label = "text" if len(document.names) == 1 else f"text_{name}"
                table = table.append_column(f"{prefix}{label}", column)
            if by is not None:
                values_by = [(values[place].others or [None])[-1] for place in places]
                column = pa.array(values_by, pa.string())
                table = table.append_column(f"{prefix}by", column)
        pairs = zip(own, witnesses, strict=True)
        differs = [
            None if other[0] == EARLIER else differing(others, values[one], values[other])
            for one, other in pairs
        ]
        return table.append_column("differs", pa.array(differs, DIFFERS))

    def edges(self, output: str | Path | None = None, **options: Any) -> Any:
        """Write which row is like which as a list of edges: see `dedupe.edges`.

        output: the Parquet file, by default a temporary one. options: `least`, `cap`, `execution`,
        `progress`, and fields of `Execution` by name. Returns an `Edges`.
        """
        from dedupe import edges

        return edges(self, output, **options)

    def report(self, output: str | Path | None = None, **options: Any) -> dict[str, Any]:
        """Write what the run did as a page to read: see `dedupe.report`.

        output: the page, by default report.html in the working directory. options: those of
        `dedupe.report`. Returns what report.json, beside the page, has.
        """
        from dedupe import report

        return report(self, output, **options)

    def find_problems(self, **options: Any) -> dict[str, dict[str, int]]:
        """Look at every row for problems, and write them to OUT: see `dedupe.find_problems`.

        options: those of `dedupe.find_problems`. Returns for each problem the rows that have it.
        """
        from dedupe import find_problems

        return find_problems(self, **options)


def untouched(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a summary says of each shard of references, in order."""
    return [shard for one in summary["references"] for shard in one["shards"]]


def shard_as_read(result: Result, listed: Mapping[str, Any]) -> Shard:
    """A shard of a finished run, which must be the one that the run has read.

    result: the run. listed: what its summary says of the shard.
    Raises CorpusError where it has changed or is gone, SettingsError for rows in memory.
    """
    path = listed["path"]
    if is_in_memory(path):
        raise SettingsError("the run was over rows in memory: filter them by mask()")
    (shard,) = _found([path], result)
    return _as_read(shard, listed)


def shards_of(result: OfCorpus, *, references: bool = False) -> list[Shard]:
    """The shards of a finished run, which must be as the run has read them.

    result: the run. references: those of references, too, behind those of the corpus. Raises
    CorpusError where one is not, SettingsError for rows in memory.
    """
    listed = [*result.shards, *(untouched(result.summary) if references else ())]
    if any(is_in_memory(one["path"]) for one in listed):
        raise SettingsError(
            f"{result.path} is of rows in memory, which are in no file: use mask() of its Result"
        )
    shards = _found([one["path"] for one in listed], result)
    found = {shard.path: shard for shard in shards}
    in_order = [_as_read(found.get(one["path"]), one) for one in listed]
    return [read_as(shard, ordinal=number) for number, shard in enumerate(in_order)]


def _found(paths: list[str], result: OfCorpus) -> list[Shard]:
    """The shards of a run at these paths."""
    _check_named(paths, result, "its corpus")
    settings = Settings(**result.summary["settings"])
    found = find_shards(paths, settings.delimiter, settings.unit)
    return [read_as(shard, **settings.reading) for shard in found]


def _check_named(paths: Sequence[str], result: OfCorpus, what: str) -> None:
    """Refuse what a summary names on a web server, unless the user names it, too.

    Any address may stand there, and its server learns who asks. Stores with accounts are those that
    the user has set up.
    """
    options = {**result.options, **all_given()}
    for path in paths:
        protocol = path.partition("://")[0]
        if protocol in ("http", "https") and not names(path, options):
            raise SettingsError(
                f"{result.path} says that {what} is at {path}: if that is so, allow it with "
                f"""--storage-options '{{"{protocol}": {{}}}}'"""
            )


def is_output(path: str | Path, storage_options: StorageOptions | None = None) -> bool:
    """Whether a path is that of an output, finished or not, rather than of a corpus.

    path: of a directory or a file. storage_options: of a command, which may be for other places.
    """
    its = storage_options if is_uri(str(path)) else None
    with using(its, [str(path)]), suppress(OSError, WorkDirError):
        files = files_at(path)
        return files.exists(SUMMARY) or bool(files.names("keep"))
    return False


def places_of(out: str | Path, *others: str | Path | None) -> list[str]:
    """The places that work on a finished run comes to, of which storage options may be.

    out: the run's output. others: further places. Those of the shards are among them where no
    other has a protocol.
    """
    places = [str(place) for place in (out, *others) if place is not None]
    if not any(map(is_uri, places)):
        result = Result(out)
        places += [shard["path"] for shard in result.read_shards]
        places += result.held_against
    return places


def _as_read(shard: Shard | None, listed: Mapping[str, Any]) -> Shard:
    if shard is None or (shard.size, shard.version) != (listed["size"], listed["version"]):
        raise CorpusError("has changed since the run: run again", path=listed["path"])
    return shard


def _kept(
    shard: Shard, mask: npt.NDArray[np.bool_], columns: Sequence[str] | None, batch_bytes: int
) -> Iterator[pa.RecordBatch]:
    """The rows of a shard where `mask` is True, small batches brought together."""
    held: list[pa.RecordBatch] = []
    start = size = 0
    for batch in read_columns(shard, columns):
        held.append(taken(batch, mask[start : start + batch.num_rows]))
        start += batch.num_rows
        size += held_bytes(held[-1])
        if size >= batch_bytes:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held, size = [], 0
    if start != len(mask):
        raise CorpusError(f"has {start} rows, its keep-list {len(mask)}", path=shard.path)
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()
