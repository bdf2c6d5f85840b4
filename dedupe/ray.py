"""`deduplicate` for datasets of Ray Data, on the Ray that this process is connected to.

Nothing else imports `ray.data`: where it is imported, pyarrow unpickles what Parquet files hold of
its own types. Here it has been imported by whoever made the dataset.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

from dedupe import api
from dedupe.commands.apply.run import apply
from dedupe.config import Execution, Keywords, Settings
from dedupe.errors import CorpusError, EngineError, SettingsError
from dedupe.progress import Progress, usual_progress
from dedupe.remote import Place, is_remote, place_to_write
from dedupe.remote.given import using
from dedupe.remote.places import store
from dedupe.storage import files_at

try:
    import ray
except ImportError as error:
    raise SettingsError("dedupe.ray needs Ray: pip install 'dedupe-engine[ray]'") from error

if TYPE_CHECKING:
    import ray.data

    from dedupe.result import Result

ROWS, OUT, CLEAN = "rows", "out", "clean"
"""In the folder of a call: the dataset while it lasts, the run's output, the rows that stay."""


@dataclass(frozen=True)
class Deduplicated:
    """What became of a dataset. dataset: the rows that stay. result: the finished run."""

    dataset: ray.data.Dataset
    result: Result


def deduplicate(
    dataset: ray.data.Dataset,
    storage_path: str,
    *,
    settings: Settings | None = None,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[Keywords],
) -> Deduplicated:
    """Find the duplicates of a dataset of Ray Data, and return it without them.

    dataset: the rows, which are executed once and written to Parquet. storage_path: a folder that
    all nodes see, or one in a store such as s3://bucket/folder; the call makes one of its own in
    it, whose `out` and `clean` stay. settings, execution, keywords: as for `dedupe.deduplicate`,
    but that the engine is Ray, and neither address nor work_dir can be chosen. progress: is told
    how far run and apply are; None for what `deduplicate` shows.

    The Ray that this process is connected to is used, and left as it is. Of rows that tie, the one
    that Ray Data hands out first stays; that is the first of the dataset where its
    `execution_options.preserve_order` is set. A call that fails leaves nothing, and is not resumed.

    Raises SettingsError where no Ray is connected, EngineError where rows were lost on the way to
    storage_path, and what `dedupe.deduplicate` raises.
    """
    import ray.data

    if not isinstance(dataset, ray.data.Dataset):
        raise SettingsError(f"a {type(dataset).__name__} is no Dataset of ray.data: read it as one")
    if not ray.is_initialized():
        raise SettingsError("this process is connected to no Ray: call ray.init(address=…) first")
    chosen, where = _configured(settings, execution, keywords)
    _check_columns(dataset, chosen)
    given = progress or usual_progress()
    with using(where.storage_options, [str(storage_path)]), closing(given):
        within, shown = place_to_write(storage_path, work=True), _Shown(given)
        with _folder_of_call(within) as folder:
            rows, out, clean = folder / ROWS, str(folder / OUT), folder / CLEAN
            written = _written(dataset, rows)
            if not written:
                return Deduplicated(dataset, _of_no_rows(dataset, out, chosen, shown))
            _check_written(rows, written, written if files_at(rows).names() else 0)
            result = api.deduplicate(
                str(rows), out, settings=chosen, execution=where, progress=shown
            )
            _check_written(rows, written, result.rows)
            apply(out, str(clean), execution=where, progress=shown)
            files_at(folder).remove_folder(ROWS)
            path, filesystem = _of_ray(clean)
            kept = ray.data.read_parquet(path, filesystem=filesystem, partitioning=None)
            return Deduplicated(kept, result)


def _configured(
    settings: Settings | None, execution: Execution | None, keywords: Keywords
) -> tuple[Settings, Execution]:
    """What decides the keep-list, and that the run takes place here."""
    base = replace(execution or Execution(), engine="ray")
    chosen, where = api.configurations(settings, base, keywords)
    if where.engine != "ray" or where.address is not None:
        raise SettingsError("dedupe.ray uses the Ray of this process: leave out engine and address")
    if where.work_dir is not None or where.fresh:
        raise SettingsError("work directories lie in storage_path: leave out work_dir and fresh")
    return chosen, replace(where, address=ray.get_runtime_context().gcs_address)


def _check_columns(dataset: ray.data.Dataset, settings: Settings) -> None:
    """Raise CorpusError for columns that are missing, where those of a dataset are known yet."""
    from dedupe.corpus.frames import read_columns
    from dedupe.corpus.shard import TABLE_PATH

    def not_read(names: object) -> Any:
        raise CorpusError("its rows are not known yet", path=TABLE_PATH)

    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None:
        read_columns(schema.names, settings, not_read)


@contextmanager
def _folder_of_call(within: Place) -> Iterator[Place]:
    """A new folder, which is removed with all that is in it where the block does not end well."""
    name = f"dedupe-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:8]}"
    try:
        yield within / name
    except BaseException:
        files_at(within).remove_folder(name)
        raise


def _written(dataset: ray.data.Dataset, rows: Place) -> int:
    """Write a dataset to a folder; how many rows it had."""
    from ray.data._internal.datasource.parquet_datasink import ParquetDatasink

    class RowsDatasink(ParquetDatasink):
        """That of `Dataset.write_parquet`, which keeps the number to itself."""

        rows = 0

        def on_write_complete(self, write_result: Any) -> None:
            self.rows = int(write_result.num_rows)
            super().on_write_complete(write_result)

    path, filesystem = _of_ray(rows)
    names_kept = {"use_compliant_nested_type": False}  # of the fields in lists
    sink = RowsDatasink(path, filesystem=filesystem, arrow_parquet_args=names_kept)
    dataset.write_datasink(sink)
    return sink.rows


def _check_written(rows: Place, written: int, found: int) -> None:
    """Raise EngineError where not all rows that were written to a folder are in it."""
    if found != written:
        raise EngineError(
            f"{written:,} rows were written to {rows}, and {found:,} are there: give a "
            "storage_path that is the same folder on every node"
        )


def _of_ray(place: Place) -> tuple[str, Any]:
    """A folder as Ray Data is told of it: its path, and its filesystem where it is in a store."""
    if is_remote(place):
        filesystem, path = store(str(place))
        return path, filesystem
    return str(place), None


def _of_no_rows(
    dataset: ray.data.Dataset, out: str, settings: Settings, progress: Progress
) -> Result:
    """The run over a dataset without rows, of which there is no file."""
    import pyarrow as pa

    schema = dataset.schema()
    table = pa.table({name: pa.nulls(0) for name in (schema.names if schema else ())})
    return api.deduplicate(table, out, settings=settings, progress=progress)


class _Shown:
    """Tells somebody of two commands as of one: it is left open behind the first."""

    def __init__(self, progress: Progress) -> None:
        self.plan, self.stage = progress.plan, progress.stage
        self.advance, self.running, self.note = progress.advance, progress.running, progress.note

    def close(self) -> None:
        """See `Progress.close`."""
