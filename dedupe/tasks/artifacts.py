"""What the tasks of a run leave for later stages: one constant for each kind of file.

The tables of `docs/reference/work-directory.md` are made of these constants by
`docs/write_reference.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import pyarrow as pa

from dedupe import schema
from dedupe.storage.tables import Part, WrittenFile, read_parts, write_table
from dedupe.storage.work_dir import WorkDir


@dataclass(frozen=True)
class Artifact:
    """One kind of file that the tasks of a stage leave: STAGE/00007.NAME.arrow for task 7.

    stage, name: which. columns: its columns, but for those that settings add. batches: which
    record batches it has. meaning: what each column says. more: columns that settings add, with
    their types and meaning.
    """

    stage: str
    name: str
    columns: pa.Schema
    batches: str
    meaning: Mapping[str, str]
    more: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def file(self, task: int) -> str:
        """Name of a task's file in the folder of the stage."""
        return f"{task:05d}.{self.name}.arrow"

    def write(
        self,
        work: WorkDir,
        task: int,
        batches: Iterable[pa.RecordBatch],
        columns: pa.Schema | None = None,
    ) -> dict[str, WrittenFile]:
        """Write what a task leaves.

        work: the work directory. task: number of the task. batches: the record batches. columns:
        the schema, where settings add columns to it. Returns the file by its name, for the result.
        """
        name = self.file(task)
        folder = work.stages.folder(self.stage)
        return {name: write_table(folder, name, columns or self.columns, batches)}

    def read(
        self,
        work: WorkDir,
        results: Mapping[int, Mapping[str, WrittenFile]],
        batch: int | None,
        columns: pa.Schema | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Read what tasks left.

        work: the work directory. results: for each task the files it left, in the order in which
        they are read. batch: number of the record batch of each file; None for all of them.
        columns: the schema, where settings add columns to it. Raises DamageError where a file is
        not as it was written.
        """
        parts = []
        for task, files in results.items():
            name = self.file(task)
            found = files[name]
            wanted = range(found.batches) if batch is None else (batch,)
            parts += [Part(name, found, number) for number in wanted]
        yield from read_parts(work.stages.folder(self.stage), columns or self.columns, parts)


ROW = "row number in the sign task"
POSITION = "position of a row in a component"
OTHERS = {
    "others": (
        "fixed_size_list<uint32>",
        "digests of 32 bits of columns that are not compared, 0 for nothing",
    )
}
VALUES = {
    "values": (
        "fixed_size_list<uint64>",
        "digests of 128 bits of the columns of `--per` and `--count-by`, 0 for null",
    )
}
IDS = {"id": ("as in the corpus", "the id; with `--id` only")}
ECHO = {
    schema.ECHO: (
        "int64",
        "position of the witness of an equal row of the index, -1 for none; with an index only",
    )
}

BITS = {
    schema.BITS: (
        "fixed_size_list<uint64>",
        "a bit for each shingle, set by the upper 8 bits of its hash; with an index only",
    )
}

ROWS = Artifact(
    "sign",
    "rows",
    schema.ROWS,
    "one, with a row for each row of the task, in order",
    {
        "shingles": "shingles of the row, repeated ones counted; 0 for an empty row",
        "digest_low": "lower half of the 128-bit digest of its shingles in their order; with "
        "`--no-near`, of what exact copies have in common",
        "digest_high": "its upper half",
        "text": "lower half of the 128-bit digest of what exact copies have in common",
        "script": "a number for its script",
    },
    {
        "order_0, order_1, …": ("uint64", "order of each keep policy, lower is preferred"),
        **OTHERS,
        **VALUES,
        **IDS,
        **BITS,
    },
)
BANDS = Artifact(
    "sign",
    "bands",
    schema.BAND_RECORDS,
    "one for each partition of the band keys",
    {
        "high": "bits 32 to 63 of a band key",
        "low": "its bits 16 to 31",
        "row": ROW,
    },
)
ID_DIGESTS = Artifact(
    "sign",
    "ids",
    schema.ID_RECORDS,
    "one for each partition of the band keys; with `--id` only",
    {
        "low": "lower half of the 128-bit digest of a row's id, where it has one",
        "high": "its upper half",
        "row": ROW,
    },
)
INDEX_ROW = "number of a row in the index"
CLASS = "number of its class: the rows of an index that are connected by band keys"
LOOKED_UP = Artifact(
    "lookup",
    "rows",
    schema.LOOKED_UP,
    "one for each resolve task; with an index only",
    {"position": "position of a row of the corpus", "row": f"{INDEX_ROW}, which has a key of it"},
)
RESOLVED = Artifact(
    "resolve",
    "classes",
    schema.RESOLVED,
    "one for each partition of the band keys; with an index only",
    {"position": "position of a row of the corpus", "class": CLASS},
)
TOUCHED = Artifact(
    "resolve",
    "touched",
    schema.CLASSES,
    "one; with an index only",
    {"class": f"{CLASS}, each once, ascending"},
)
ALL_TOUCHED = Artifact(
    "touch",
    "touched",
    schema.CLASSES,
    "one; with an index only",
    TOUCHED.meaning,
)
CHOSEN = Artifact(
    "choose",
    "rows",
    schema.ROWS,
    "one; with an index only",
    ROWS.meaning,
    {**BITS, **IDS},
)
ADMITTED = Artifact(
    "admit",
    "rows",
    schema.ROWS,
    "one, with a row for each chosen row, in order; with an index only",
    {**ROWS.meaning, "script": "0"},
    ROWS.more,
)
ORIGINS = Artifact(
    "choose",
    "origins",
    schema.ORIGINS,
    "one; with an index only",
    {"row": INDEX_ROW, "class": CLASS},
)
CHOSEN_CLASSES = Artifact(
    "choose",
    "classes",
    schema.CHOSEN,
    "one for each partition of the band keys; with an index only",
    {"row": "number of a row among those that the task has chosen", "class": CLASS},
)
ECHOES = Artifact(
    "choose",
    "echoes",
    schema.ECHOES,
    "one; with an index only",
    {
        "digest_low": "lower half of the digest of a near-duplicate in the index",
        "digest_high": "its upper half",
        "witness": "number of its witness in the index",
    },
)
_EDGE = {"left": "position of a row", "right": "position of another one in its component"}
BUCKET_EDGES = Artifact("bucket", "edges", schema.EDGES, "one for each million edges", _EDGE)
JOIN_EDGES = Artifact("join", "edges", schema.EDGES, "one for each million edges, about", _EDGE)
CONNECTED = Artifact(
    "connect",
    "edges",
    schema.EDGES,
    "one for each million edges; with an index only",
    _EDGE,
)
MERGED_EDGES = Artifact(
    "components",
    "edges",
    schema.EDGES,
    "one for each million edges; the last merge leaves none",
    _EDGE,
)
LABELS = Artifact(
    "components",
    "labels",
    schema.LABELS,
    "one for each sign task; the last merge leaves it",
    {
        "row": f"{ROW}, of a row in a component",
        "component": "number of its component, in the order of their first rows",
    },
)
ROUTED = Artifact(
    "route",
    "rows",
    schema.labeled(schema.ROWS),
    "one for each partition of components",
    {**LABELS.meaning, **ROWS.meaning},
    {**ROWS.more, **ECHO},
)
MEMBERS = Artifact(
    "group",
    "members",
    schema.MEMBERS,
    "one",
    {
        "position": POSITION,
        "component": "number of its component in the partition",
        "group": "lowest position of the rows with its digest",
        "text": "see `rows`",
    },
    {**OTHERS, **VALUES, **IDS, **ECHO},
)
TO_FETCH = Artifact(
    "group",
    "fetch",
    schema.ROWS_TO_FETCH,
    "one for each sign task",
    {"row": f"{ROW}, of a row whose shingle set verify needs"},
)
SETS = Artifact(
    "fetch",
    "sets",
    schema.SETS,
    "one for each partition of components",
    {
        "row": ROW,
        "hashes": "its distinct shingles in the order of the text, its fields end to end",
        "sizes": "for each field, how many of them it has",
        "words": "for each field, its tokens",
        "repeats": "the other shingles of the text: pairs of (number of the shingle in its field, "
        "number of the hash in the field's set), its fields end to end",
        "repeat_sizes": "for each field, how many numbers of `repeats` it has",
    },
)
DECISIONS = Artifact(
    "verify",
    "decisions",
    schema.DECISIONS,
    "one for each keep task",
    {
        "position": POSITION,
        "witness": "position of its witness; its own if it is kept",
        "reason": "code of the reason: 0 unique, 1 representative, 2 exact, 3 near, 6 reference, "
        "8 extra",
        "jaccard": "similarity with the witness, the least of all fields; NaN if it is kept",
        "lost": "words in the longest run that its witness does not have; 0 if it is kept",
        "copies": "rows that it stands for, itself included; 0 if it is dropped",
        "copies_exact": "those of them that are exact copies of it",
    },
    {
        "jaccard_0, jaccard_1, …": ("double", "similarity in each field, where there are several"),
        "witness_id": ("as in the corpus", "the id of the witness; with `--id` only"),
        "copies_values": ("int64", "how many values they have; with `--count-by` only"),
    },
)
LATE = Artifact(
    "verify",
    "late",
    schema.LATE,
    "one; with an index only",
    {
        "position": "position of a row of the index that is similar to an earlier one",
        "witness": "position of that row",
        "jaccard": "their similarity, the least of all fields",
    },
)
NAMED = Artifact(
    "classify",
    "classes",
    schema.NAMED,
    "one; where rows are added to an index",
    {"component": "number of a component with rows of the index", "class": "the class it is now"},
)
CONTAMINATED = Artifact(
    "match",
    "contaminated",
    schema.CONTAMINATED_ROWS,
    "one; with test sets only",
    {
        "row": f"{ROW}, of one in which an item of a test set stands",
        "witness_shard": "number of the file of the test sets that has the item",
        "witness_row": "its row in that file",
        "witness_id": "its id, if it has one",
        "containment": "share of its shingles that stand in one window; 1 for a short question",
        "span_start": "first character of the item in the document",
        "span_end": "the character after its last",
        "evidence": "0 for containment, 1 for a short question and its answer",
    },
)

ARTIFACTS = (
    ROWS,
    BANDS,
    ID_DIGESTS,
    LOOKED_UP,
    RESOLVED,
    TOUCHED,
    ALL_TOUCHED,
    CHOSEN,
    ADMITTED,
    ORIGINS,
    CHOSEN_CLASSES,
    ECHOES,
    BUCKET_EDGES,
    JOIN_EDGES,
    CONNECTED,
    MERGED_EDGES,
    LABELS,
    ROUTED,
    MEMBERS,
    TO_FETCH,
    SETS,
    DECISIONS,
    LATE,
    CONTAMINATED,
    NAMED,
)
"""Every kind, in the order of the stages."""


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What the driver is told of a finished task, as plain values that JSON can hold.

    rows: rows that the task went through, which progress shows. files: the files that it left, by
    their names in the folder of the stage. cpu_seconds: CPU seconds that it took; a task says those
    of threads that helped it, and the stage runner adds those of its own.
    """

    rows: int
    files: Mapping[str, WrittenFile]
    cpu_seconds: float = 0.0

    FILES: ClassVar[str] = "files"

    @property
    def bytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())

    def as_json(self) -> dict[str, Any]:
        """Plain values; see `from_json`."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {**values, self.FILES: {n: file.as_json() for n, file in self.files.items()}}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        """Read what `as_json` gave."""
        files = {n: WrittenFile.from_json(file) for n, file in found[cls.FILES].items()}
        return cls(**{**found, cls.FILES: files})


Left = Mapping[int, Mapping[str, WrittenFile]]
"""The files of each task of a stage."""


def files_of(results: Mapping[int, TaskResult]) -> Left:
    """The files that each task left, in the order of tasks."""
    return {task: result.files for task, result in sorted(results.items())}
