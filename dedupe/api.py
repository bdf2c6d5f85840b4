"""`deduplicate`, the Python entry point, and the `Result` it returns."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.ipc as ipc

from dedupe.config import Resources, Settings
from dedupe.corpus import Shard, find_shards, table_shard
from dedupe.engines import Engine
from dedupe.errors import SettingsError, WorkDirError
from dedupe.frames import rows_of
from dedupe.pipeline import Progress, run
from dedupe.progress import Silent
from dedupe.publish import publish, read_keep_list
from dedupe.remote import Place, StorageOptions, is_remote, is_uri, place
from dedupe.remote.given import all_given, using
from dedupe.runs import (
    base_of,
    check_apart,
    check_output,
    in_work_dir,
    output_place,
    room_for,
    temporary_folder,
    use_engine,
    work_root,
)
from dedupe.storage import WorkDir, read_json, seen
from dedupe.tasks import prepare_worker

Corpus: TypeAlias = Any
"""Paths and globs, or rows in memory: see `frames.rows_of`."""


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

        Raises SettingsError where the run had no id column.
        """
        if self.summary["settings"]["id"] is None:
            raise SettingsError("the run had no id column: run again with --id COLUMN")
        wanted = pc.field("keep") == keep
        tables = [read_keep_list(file, ["id"], wanted) for file in self.files]
        return pa.concat_tables(tables)["id"]


def places_of(out: str | Path, *others: str | Path | None) -> list[str]:
    """The places that work on a finished run comes to, of which storage options may be.

    Those of its shards are among them where no other has a protocol.
    """
    places = [str(place) for place in (out, *others) if place is not None]
    if not any(map(is_uri, places)):
        places += [shard["path"] for shard in Result(out).summary["corpus"]["shards"]]
    return places


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
    if output is None:
        in_memory = isinstance(rows, pa.Table) and work_dir is None
        folder = temporary_folder(room_for(rows) if in_memory else 0)
        try:
            result = deduplicate(
                corpus if rows is None else rows,
                Path(folder) / "out",
                engine=engine,
                address=address,
                workers=workers,
                worker_cpus=worker_cpus,
                memory=memory,
                work_dir=work_dir,
                fresh=fresh,
                storage_options=storage_options,
                progress=progress,
                **settings,
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)
        return result
    paths = _paths(corpus) if rows is None else []
    with_engine = partial(use_engine, engine, address, workers, worker_cpus, memory)
    with using(storage_options, [*paths, str(output), str(work_dir)]):
        return _deduplicate(
            paths if rows is None else rows, output, chosen, with_engine, work_dir, fresh, progress
        )


def _deduplicate(
    corpus: list[str] | pa.Table | pa.RecordBatchReader,
    output: str | Path,
    settings: Settings,
    with_engine: Callable[..., AbstractContextManager[tuple[Engine, Resources]]],
    work_dir: str | Path | None,
    fresh: bool,
    progress: Progress | None,
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
    corpus: list[str] | pa.Table | pa.RecordBatchReader, work: WorkDir
) -> Iterator[list[Shard]]:
    """The shards of whatever was given; a reader is spooled to disk, since it is read twice."""
    if isinstance(corpus, pa.Table):
        yield [table_shard(corpus)]
    elif isinstance(corpus, pa.RecordBatchReader):
        beside = None if is_remote(work.root) else str(work.root.parent)
        with tempfile.TemporaryDirectory(prefix="dedupe-", dir=beside) as folder:
            path = Path(folder) / "reader.arrow"
            with pa.OSFile(str(path), "wb") as sink, ipc.new_file(sink, corpus.schema) as writer:
                for batch in corpus:
                    writer.write_batch(batch)
            with pa.memory_map(str(path)) as source:
                yield [table_shard(ipc.open_file(source).read_all())]
    else:
        yield find_shards(corpus)


def _paths(corpus: str | Path | Sequence[str | Path]) -> list[str]:
    paths = [corpus] if isinstance(corpus, str | Path) else corpus
    if not isinstance(paths, list | tuple) or not all(isinstance(p, str | Path) for p in paths):
        raise SettingsError(
            f"a corpus of type {type(corpus).__name__} is not known: give paths, or rows of "
            "pyarrow, pandas, Polars or datasets"
        )
    return [str(path) for path in paths]
