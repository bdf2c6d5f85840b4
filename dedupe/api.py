"""`deduplicate`, the Python entry point, and the `Result` it returns."""

from __future__ import annotations

import re
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc as ipc

from dedupe.arrays import taken
from dedupe.config import Resources, Settings
from dedupe.corpus import (
    TABLE_PATH,
    Shard,
    TableShard,
    estimate,
    find_shards,
    read_columns,
    table_shard,
)
from dedupe.corpus.frames import rows_of
from dedupe.engines import Engine
from dedupe.errors import CorpusError, SettingsError, WorkDirError
from dedupe.pipeline import Progress, run
from dedupe.progress import Silent
from dedupe.remote import Place, StorageOptions, is_remote, is_uri, place
from dedupe.remote.given import all_given, using
from dedupe.session import (
    base_of,
    check_apart,
    check_output,
    in_work_dir,
    output_place,
    use_engine,
    work_root,
)
from dedupe.storage.publish import publish, read_keep_list
from dedupe.storage.temporary import room_for, temporary_folder
from dedupe.storage.work_dir import WorkDir, read_json, seen
from dedupe.tasks.all_tasks import prepare_worker

if TYPE_CHECKING:
    import pyarrow.dataset as ds

Corpus: TypeAlias = Any
"""Paths and globs, or rows in memory: see `frames.rows_of`."""

BATCH_BYTES = 16 << 20
"""Of rows that are delivered at a time."""


class Result:
    """A finished run: OUT/summary.json and the keep-list files of OUT/keep.

    `Result(path)` opens the output directory of an earlier run; raises WorkDirError if it is
    none. storage_options: as in `deduplicate`.
    """

    def __init__(self, path: str | Place, *, storage_options: StorageOptions | None = None) -> None:
        with using(storage_options, [str(path)]):
            self.path = place(path)
            if not seen(self.path / "summary.json"):
                raise WorkDirError(
                    f"{self.path} is not the output of a finished run: no summary.json"
                )
            self.summary: dict[str, Any] = read_json(self.path / "summary.json")

    def __repr__(self) -> str:
        corpus = self.summary["corpus"]
        return f"Result({str(self.path)!r}, rows={corpus['rows']}, kept={self.kept})"

    @property
    def kept(self) -> int:
        """Number of rows to keep."""
        reasons = self.summary["reasons"]
        return int(self.summary["corpus"]["rows"] - reasons["exact"] - reasons["near"])

    @property
    def files(self) -> list[Place]:
        """The keep-list files, one per shard, in shard order."""
        return [self.path / shard["keep"] for shard in self.summary["corpus"]["shards"]]

    def dataset(self) -> ds.Dataset:
        """The keep-list as a pyarrow dataset, for corpora too large for memory."""
        import pyarrow.dataset as ds  # here, since it imports pandas

        if is_remote(self.path):
            paths = [file.path for file in self.files if is_remote(file)]
            return ds.dataset(paths, filesystem=self.path.fs, format="parquet")
        return ds.dataset([str(file) for file in self.files], format="parquet")

    def keep_list(self) -> pa.Table:
        """The whole keep-list, one row per input row, in input order, with a `shard` column.

        Columns: see docs/reference/keep-list.md.
        """
        tables = []
        for shard, file in zip(self.summary["corpus"]["shards"], self.files, strict=True):
            table = read_keep_list(file)
            name = pa.DictionaryArray.from_arrays(
                pa.array(np.zeros(len(table), np.int32)), pa.array([shard["path"]])
            )
            tables.append(table.add_column(0, "shard", name))
        return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()

    def masks(self) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """For each shard its path, and True for every row to keep: for corpora of any size."""
        for shard, file in zip(self.summary["corpus"]["shards"], self.files, strict=True):
            yield shard["path"], read_keep_list(file, ["keep"])["keep"].to_numpy()

    def mask(self) -> npt.NDArray[np.bool_]:
        """True for every row to keep: bool[rows], in input order."""
        return np.concatenate([np.zeros(0, np.bool_), *(mask for _, mask in self.masks())])

    def kept_rows(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows to keep, ascending, counted through the whole corpus."""
        return np.flatnonzero(self.mask())

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
        wanted = pc.field("keep") == keep
        tables = [read_keep_list(file, ["id"], wanted) for file in self.files]
        return pa.concat_tables(tables)["id"]

    def batches(
        self, columns: Sequence[str] | None = None, *, shards: Iterable[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows to keep of Parquet and Arrow files, in order, some 16 MB at a time.

        columns: those to read, by default all. shards: numbers of the shards to read, from 0, by
        default all. Raises CorpusError for a shard that is not as the run has read it,
        SettingsError for JSON lines, CSV and rows in memory.
        """
        listed = self.summary["corpus"]["shards"]
        for number in range(len(listed)) if shards is None else shards:
            shard = shard_as_read(listed[int(number)])
            mask = read_keep_list(self.files[int(number)], ["keep"])["keep"].to_numpy()
            yield from _kept(shard, mask, columns)


def shard_as_read(listed: Mapping[str, Any]) -> Shard:
    """A shard of a summary's list, which must be the one that the run has read.

    Raises CorpusError where it has changed or is gone, SettingsError for rows in memory.
    """
    path = listed["path"]
    if path == TABLE_PATH:
        raise SettingsError("the run was over rows in memory: filter them by mask()")
    (shard,) = find_shards([path])
    return _as_read(shard, listed)


def _as_read(shard: Shard | None, listed: Mapping[str, Any]) -> Shard:
    if shard is None or (shard.size, shard.version) != (listed["size"], listed["version"]):
        raise CorpusError("has changed since the run: run again", path=listed["path"])
    return shard


def _kept(
    shard: Shard, mask: npt.NDArray[np.bool_], columns: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """The rows of a shard where `mask` is True, small batches brought together."""
    held: list[pa.RecordBatch] = []
    start = size = 0
    for batch in read_columns(shard, columns):
        held.append(taken(batch, mask[start : start + batch.num_rows]))
        start += batch.num_rows
        size += held[-1].nbytes
        if size >= BATCH_BYTES:
            yield from pa.Table.from_batches(held).combine_chunks().to_batches()
            held, size = [], 0
    if start != len(mask):
        raise CorpusError(f"has {start} rows, its keep-list {len(mask)}", path=shard.path)
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def places_of(out: str | Path, *others: str | Path | None) -> list[str]:
    """The places that work on a finished run comes to, of which storage options may be.

    Those of its shards are among them where no other has a protocol.
    """
    places = [str(place) for place in (out, *others) if place is not None]
    if not any(map(is_uri, places)):
        places += [shard["path"] for shard in Result(out).summary["corpus"]["shards"]]
    return places


def shards_of(result: Result) -> list[Shard]:
    """The shards of a finished run, which must be as the run has read them."""
    read = result.summary["corpus"]["shards"]
    if any(one["path"] == TABLE_PATH for one in read):
        raise SettingsError(
            f"{result.path} is of rows in memory, which are in no file: use mask() of its Result"
        )
    if not all(re.fullmatch(r"keep/[^/]+\.parquet", one["keep"]) for one in read):
        raise WorkDirError(f"{result.path / 'summary.json'} names files outside of it")
    if not all("version" in one for one in read):
        raise WorkDirError(
            f"{result.path} does not say which version of the corpus it is of, as an older dedupe "
            "made it: run again"
        )
    found = {shard.path: shard for shard in find_shards([one["path"] for one in read])}
    return [_as_read(found.get(one["path"]), one) for one in read]


def deduplicate(
    corpus: Corpus,
    output: str | Path | None = None,
    *,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    worker_cpus: int = 1,
    memory: str | int = "4GB",
    work_dir: str | Path | None = None,
    fresh: bool = False,
    storage_options: StorageOptions | None = None,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Find the duplicates of a corpus and return its keep-list; every deletion is proven.

    corpus: files, directories or globs of Parquet, JSON lines, CSV or Arrow IPC; or rows in memory:
    a pandas or Polars frame, a `datasets.Dataset`, a pyarrow Table, RecordBatchReader or Dataset.
    output: directory for the keep-list; without it a temporary one that lives as long as the
    Result, for rows in memory in memory where there is room. engine: "local", or "ray" with
    `address` of a cluster ("auto", "host:port"; without one a Ray of its own is started). workers:
    threads, by default one per core; with Ray processes, by default as many as fit the cluster, and
    worker_cpus the threads of each. memory: for the whole run, like "4GB"; with Ray for each
    worker. work_dir: where stages leave their outputs; by default beside the output, and removed
    when the run is over. fresh: discard what an unfinished run left there. storage_options: of
    fsspec's filesystem for the protocol of the paths, or for each one, as in {"s3": {"anon":
    True}}. progress: see `dedupe.progress`. settings: the fields of `dedupe.Settings`, such as
    text="text", threshold=0.8, shingle="word:5", keep=["prefer:source=human", "longest"].

    A run over files that was killed goes on where it was when called again with the same
    arguments. Rows in memory are not recognised again: such a run starts anew, with fresh=True
    where a killed one has left work.

    Raises SettingsError, CorpusError or WorkDirError, all of them DedupeError.
    """
    unknown = sorted(settings.keys() - set(Settings.names()))
    if unknown:
        raise SettingsError(
            f"unknown setting {', '.join(unknown)}: there are {', '.join(Settings.names())}"
        )
    chosen = Settings(**settings)
    rows = rows_of(corpus, chosen)
    given = _paths(corpus) if rows is None else rows
    with_engine = partial(use_engine, engine, address, workers, worker_cpus, memory)
    run_to = partial(_deduplicate, given, chosen, with_engine, work_dir, fresh, progress)
    named = given if isinstance(given, list) else []
    with using(storage_options, [*named, str(output), str(work_dir)]):
        return _for_now(given, work_dir, run_to) if output is None else run_to(output)


def _for_now(
    corpus: list[str] | TableShard | pa.RecordBatchReader,
    work_dir: str | Path | None,
    run_to: Callable[[Path], Result],
) -> Result:
    """A Result in a temporary folder that goes with it."""
    room = 0
    if isinstance(corpus, TableShard) and work_dir is None:
        room = room_for(*estimate(corpus))
    folder, remove = temporary_folder(room)
    try:
        result = run_to(folder / "out")
    except BaseException:
        remove()
        raise
    weakref.finalize(result, remove)
    return result


def _deduplicate(
    corpus: list[str] | TableShard | pa.RecordBatchReader,
    settings: Settings,
    with_engine: Callable[..., AbstractContextManager[tuple[Engine, Resources]]],
    work_dir: str | Path | None,
    fresh: bool,
    progress: Progress | None,
    output: str | Path,
) -> Result:
    target = output_place(output)
    check_output(target)
    work = WorkDir(work_root(target, work_dir))
    shown = progress or Silent()
    with in_work_dir(work, stays=work_dir is not None), closing(shown):
        with _shards_of(corpus, work) as shards, work.probe() as probe:
            given = corpus if isinstance(corpus, list) else []
            check_apart(given, shards, (target, work.root))
            prepare = partial(prepare_worker, probe, base_of(shards), all_given())
            with with_engine(shards, prepare, shown) as (runner, resources):
                outcome = run(shards, settings, resources, runner, work, shown, fresh=fresh)
        outcome.summary["corpus"]["given"] = given
        publish(outcome, target)
    return Result(target)


@contextmanager
def _shards_of(
    corpus: list[str] | TableShard | pa.RecordBatchReader, work: WorkDir
) -> Iterator[list[Shard]]:
    """The shards of whatever was given; a reader is spooled to disk, since it is read twice."""
    if isinstance(corpus, TableShard):
        yield [corpus]
    elif isinstance(corpus, pa.RecordBatchReader):
        beside = None if is_remote(work.root) else str(work.root.parent)
        with tempfile.TemporaryDirectory(prefix="dedupe-", dir=beside) as folder:
            path = Path(folder) / "reader.arrow"
            _spool(corpus, path)
            with pa.memory_map(str(path)) as source:
                yield [table_shard(ipc.open_stream(source).read_all())]
    else:
        yield find_shards(corpus)


def _spool(reader: pa.RecordBatchReader, path: Path) -> None:
    """Write a stream, in which dictionaries may change from one batch to the next."""
    with pa.OSFile(str(path), "wb") as sink:
        writer = ipc.new_stream(sink, reader.schema)
        for batch in reader:
            with _writing(path):
                writer.write_batch(batch)
        with _writing(path):
            writer.close()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkDirError(
            f"{path.parent.parent} has no room for the rows: {error}: name an output or a work "
            "directory on a larger disk"
        ) from error


def _paths(corpus: str | Path | Sequence[str | Path]) -> list[str]:
    paths = [corpus] if isinstance(corpus, str | Path) else corpus
    if not isinstance(paths, list | tuple) or not all(isinstance(p, str | Path) for p in paths):
        raise SettingsError(
            f"a corpus of type {type(corpus).__name__} is not known: give paths, or rows of "
            "pyarrow, pandas, Polars or datasets"
        )
    return [str(path) for path in paths]
