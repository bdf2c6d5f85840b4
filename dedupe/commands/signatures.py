"""The MinHash signatures of the rows of a finished run, as datasketch has them, in one file."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dedupe.arrays import Array
from dedupe.commands.every_row import cut_into_slices
from dedupe.config import Execution, ExecutionKeywords, Settings, configured
from dedupe.corpus import Projection, Shard, Slice, read_slice
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import SettingsError
from dedupe.progress import Progress
from dedupe.remote.given import using
from dedupe.result import Result, places_of, shards_of
from dedupe.session import check_apart, check_not_in_output, load_kernels, output_at, session
from dedupe.stage_runner import StageRunner
from dedupe.storage import file_at
from dedupe.storage.fingerprint import corpus_versions
from dedupe.storage.tables import WrittenFile, row_groups
from dedupe.storage.work_dir import WorkDir
from dedupe.tasks.artifacts import Artifact, TaskResult, files_of
from dedupe.tasks.costs import COSTS
from dedupe.tasks.job import compared_of

VERSION = 1
"""Raised whenever files of the work directory come to mean something else."""
SCHEME = "affine32"
"""What datasketch calls these permutations."""
BATCH_BYTES = 4_000_000
"""Text that is decoded at a time by one task, unless memory is short."""

SIGNED = Artifact(
    "signatures",
    "signatures",
    pa.schema([("signature", pa.uint32())]),
    "one for each batch of text that was read",
    {"signature": "values of the signatures of rows, end to end"},
)


@dataclass(frozen=True)
class SignaturesJob:
    """All that a task needs to know, besides its number.

    settings: of the run. document: what is compared. shards: of the corpus. projections: what is
    read of each. slices: how they are cut. batch: bytes of text that are decoded at a time. work:
    where tasks leave their files.
    """

    settings: Settings
    document: DocumentTemplate
    shards: list[Shard]
    projections: Sequence[Projection]
    slices: list[Slice]
    batch: int
    work: WorkDir

    def describe(self, stage: str, task: int) -> str:
        """Name a task for messages."""
        return f"{stage} task {task} ({self.shards[self.slices[task].shard].path})"


def write_signatures(
    out: str | Path | Result,
    output: str | Path,
    *,
    execution: Execution | None = None,
    progress: Progress | None = None,
    **keywords: Unpack[ExecutionKeywords],
) -> int:
    """Write the MinHash signature of every row of a finished run to a Parquet file.

    out: the run, or its output. output: the file. execution: where rows are read and what that may
    use, see `Execution`; the work directory is OUTPUT.work, unless one is named. progress: is told
    how far it is. keywords: fields of `Execution` by name. A killed call goes on when repeated.

    The file has `shard`, `row` and `hashvalues`, as many as `num_perm` of the run: those of
    datasketch's `MinHash` of that seed with the scheme affine32, over the lower 32 bits of the
    hashes of shingles. Returns how many rows it has. Raises CorpusError where the corpus is not the
    one of the run any more, SettingsError, WorkDirError.
    """
    where = configured(Execution, execution, keywords)
    path = out.path if isinstance(out, Result) else out
    with using(where.storage_options, places_of(str(path), output, where.work_dir)):
        result = out if isinstance(out, Result) else Result(out)
        if not str(output).rpartition("/")[2]:
            raise SettingsError(f"{output} is no file: name one like signatures.parquet")
        target = output_at(output)
        with session(where, target, progress) as held:
            shards = shards_of(result)
            made = [target.root, held.work.files.root]
            given = result.summary["corpus"].get("given", [])
            check_apart([*given, *result.held_against], shards, made)
            check_not_in_output(str(target.root), result.path)
            with held.running(shards, load_signatures) as (stages, resources):
                share = (resources.memory - COSTS.base) // resources.threads
                job = _open(result, shards, held.work, where, share, stages)
                stages.plan([("signatures", 1.0)])
                rows = stages.repairing(job.work, partial(_write, job, result, str(output), stages))
                for shard in shards:
                    shard.check_unchanged()
    return rows


def load_signatures(notify: Callable[[str], None]) -> None:
    """Load the kernels that make signatures: see `session.Load`."""
    load_kernels(notify)
    from dedupe.kernels import notices

    with notices(notify):
        importlib.import_module("dedupe.kernels.signatures")


def _open(
    result: Result,
    shards: list[Shard],
    work: WorkDir,
    execution: Execution,
    share: int,
    stages: StageRunner,
) -> SignaturesJob:
    """Begin in a work directory, or go on. share: memory of a task."""
    settings = Settings(**result.summary["settings"])
    documents = result.documents
    projections = compared_of(documents, settings)
    fingerprint = {
        "signatures": VERSION,
        "settings": result.summary["settings"],
        "corpus": corpus_versions(shards),
    }
    work, begun = work.begin(fingerprint, fresh=execution.fresh, other="other work")
    if begun is None:
        tuning = execution.tuning
        per_byte = COSTS.text_copies + 4 * COSTS.shingle_bytes(settings.shingle_unit)
        batch = int(min(BATCH_BYTES, tuning.batch_bytes, share / 2 / per_byte))
        cut = cut_into_slices(stages, shards, result.shards, projections, tuning)
        begun = {"batch": batch, **cut}
        work.save_plan(fingerprint, begun)
    return SignaturesJob(
        settings=settings,
        document=documents.whole,
        shards=shards,
        projections=projections,
        slices=[Slice(*part) for part in begun["slices"]],
        batch=begun["batch"],
        work=work,
    )


def signatures_task(job: SignaturesJob, task: int) -> TaskResult:
    """Leave `SIGNED` of a slice.

    job: the command. task: number of the slice.
    """
    from dedupe.kernels.minhash import permutations
    from dedupe.kernels.signatures import signatures_of_rows
    from dedupe.shingling import Shingler

    settings, part = job.settings, job.slices[task]
    shingler = Shingler(settings, job.document)
    constants = permutations(settings.num_perm, settings.minhash_seed)
    rows = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        shard, projection = job.shards[part.shard], job.projections[part.shard]
        for batch in read_slice(shard, part, projection, batch_bytes=job.batch):
            sets = shingler.sets(batch)
            found = signatures_of_rows(sets.hashes, sets.offsets[:: sets.fields].copy(), *constants)
            rows += len(found)
            values = pa.array(found.reshape(-1))
            yield pa.RecordBatch.from_arrays([values], schema=SIGNED.columns)

    files: dict[str, WrittenFile] = SIGNED.write(job.work, task, batches())
    return TaskResult(rows=rows, files=files)


def _write(job: SignaturesJob, result: Result, output: str, stages: StageRunner) -> int:
    """Run the stage, and write what its tasks leave as one file."""
    tasks = range(len(job.slices))
    done = stages.run(job, "signatures", TaskResult, partial(signatures_task, job), tasks)
    size, seed = job.settings.num_perm, job.settings.minhash_seed
    about = {b"num_perm": str(size).encode(), b"seed": str(seed).encode(), b"scheme": b"affine32"}
    schema = pa.schema(
        [
            ("shard", pa.dictionary(pa.int32(), pa.string())),
            ("row", pa.int64()),
            ("hashvalues", pa.list_(pa.uint32(), size)),
        ],
        about,
    )
    target, name = file_at(output)
    with target.writing(name) as sink:
        file = pa.PythonFile(sink, "w")
        with pq.ParquetWriter(
            file, schema, write_page_checksum=True, use_dictionary=["shard"]
        ) as to:
            for group in row_groups(schema, _rows(job, result, files_of(done), schema)):
                if len(group):
                    to.write_table(group)
    return sum(one.rows for one in done.values())


def _rows(
    job: SignaturesJob,
    result: Result,
    left: Mapping[int, Mapping[str, WrittenFile]],
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """The lines of the file. left: the files of each task."""
    paths = pa.array([shard["path"] for shard in result.shards], pa.string())
    size = job.settings.num_perm
    done, before = 0, -1
    for task, part in enumerate(job.slices):
        if part.shard != before:
            done, before = 0, part.shard
        for batch in SIGNED.read(job.work, {task: left[task]}, None):
            count = batch.num_rows // size
            codes: Array = np.full(count, part.shard, np.int32)
            columns = [
                pa.DictionaryArray.from_arrays(pa.array(codes), paths),
                pa.array(np.arange(done, done + count)),
                pa.FixedSizeListArray.from_arrays(batch.column(0), size),
            ]
            done += count
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
