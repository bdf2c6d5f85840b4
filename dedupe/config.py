"""What can be set: frozen objects, checked once, passed first, the same for both interfaces.

`Settings` holds what decides the keep-list. `Execution` holds what only decides where, how fast and
in how much memory it is made: two runs that differ only there give the same keep-list.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from dedupe.documents.shapes import SHAPES, choose, deciding, not_in
from dedupe.documents.template import COMPARES, MATCHES, DocumentTemplate, Template
from dedupe.errors import SettingsError
from dedupe.machine import CONTROL_GROUPS, ControlGroups, cores

ALGORITHM = 2
"""Raised whenever the same settings and corpus would give another keep-list."""

ENGINES = ("local", "ray")
CLUSTERS = ("cover", "transitive")
UNITS = (LINE := "line", FILE := "file")
EXACTS = ("text", "words", "bytes")
IGNORES = ("symbols", "numbers", "accents")
DISTINCTS = ("numbers",)
SKIP = "skip"
BAD_ROWS = BAD_FILES = ("error", SKIP)
BAD_TEXTS = ("error", "replace")
EXACT_RECALL = "exact"
KEEPS = ("first", "longest", "shortest")
KEEP_COLUMNS = ("max", "min")
PREFER = "prefer"
AUTO = "auto"
"""The format of each file is found by its columns; the same as no format."""
SOURCE = "source"
"""The column of sources, unless another is named."""
MOST_COUNTED = 32
"""Columns that are not compared and whose differences are counted."""


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}: use {' or '.join(allowed)}")


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is {value!r}: use a whole number from {low} to {high}")


_DELIMITER = re.compile(r'(?![A-Za-z0-9"\r\n+.-])[\x01-\x7f]')
"""No quote or line break, nor what is in numbers and booleans, which `apply` writes unquoted."""


def _delimiter(value: object) -> str | None:
    r"""One character, also given as \t in two; None for a comma."""
    given = "\t" if value == "\\t" else value
    if given is None:
        return None
    if not isinstance(given, str) or not _DELIMITER.fullmatch(given):
        raise SettingsError(
            f"delimiter is {value!r}: use one ASCII character, in quotes, like ';' or '\\t'; "
            "letters, digits, quotes, line breaks and + - . are none"
        )
    return given


def _one_or_several(name: str, value: object) -> Any:
    """A text, or several as a tuple; one of a list is that one, and none are None."""
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise SettingsError(f"{name} is {value!r}: use a text, or a list of texts")
    return tuple(value) if len(value) > 1 else next(iter(value), None)


def _each(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """One text or several, each once."""
    given = () if value is None else (value,) if isinstance(value, str) else value
    return tuple(dict.fromkeys(given))


@dataclass(frozen=True)
class Policy:
    """One rule of which row to prefer: by length, by the order of a column, or by its value.

    kind: "longest", "shortest", "max", "min" or "prefer". values: of "prefer", best first.
    """

    kind: str
    column: str | None = None
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        values = f"={','.join(self.values)}" if self.values else ""
        return self.kind + (f":{self.column}" if self.column else "") + values

    @classmethod
    def parse(cls, text: str) -> Policy:
        """Read `longest`, `max:COLUMN` or `prefer:COLUMN=A,B`; SettingsError where it is none."""
        kind, _, rest = text.partition(":")
        column, _, values = rest.partition("=")
        if text in KEEPS:
            return cls(text)
        if kind in KEEP_COLUMNS and rest:
            return cls(kind, rest)
        if kind == PREFER and column and values:
            listed = tuple(values.split(","))
            if len(set(listed)) == len(listed):
                return cls(kind, column, listed)
            raise SettingsError(f"keep is {text!r}: it names a value twice")
        raise SettingsError(
            f"keep is {text!r}: use first, longest, shortest, max:COLUMN, min:COLUMN or "
            "prefer:COLUMN=BEST,NEXT"
        )


@dataclass(frozen=True)
class Settings:
    """What a keep-list depends on, besides the corpus.

    text: what is compared: a column, a path like "messages[].content", a template like "{title}:
    {body}", or a list of paths. format: the template of a common shape of rows instead, of
    `documents.shapes.SHAPES`; with neither, or with "auto", that of each file is found by its
    columns. compare: "all" of a row of that format, its "prompt", or what was "asked": of a chat
    all turns before the last answer, of other rows the prompt, and all of rows that have none.
    match: "fields" where each field of a row must be a duplicate, "whole" where all are compared as
    one text; None for the fields of a format, and for texts as one. delimiter: what stands between
    the fields of CSV whose suffix does not say it, one ASCII character; None for a comma. unit:
    what a row of plain text is, a "line" or a whole "file". id: name of a column carried through to
    the keep-list. threshold: Jaccard similarity from which a row is a duplicate, in (0, 1].
    shingle: "word:N" or "char:N". recall: wanted chance that a pair exactly at the threshold
    becomes a candidate, or "exact": no bands, a join finds every pair. bands, rows: number of bands
    and of signature values in each; both or neither, in place of the plan made from recall.
    num_perm: most values of the MinHash signature. minhash_seed: of its permutations. cluster:
    "cover" or "transitive". exact: what makes two rows exact copies: "text" up to case, width and
    white space, the same "words", or the same "bytes". ignore: what does not count, of `IGNORES`:
    one of them or a list. within: a column or several, whose values must be equal: rows of other
    languages or sources are never duplicates. distinct: "numbers" where rows whose numbers differ
    are never duplicates. near: False finds exact duplicates only. keep: the keep policy, "first",
    "longest", "shortest", "max:COLUMN", "min:COLUMN" or "prefer:COLUMN=BEST,NEXT", or a list of
    them of which each decides where those before do not. keep_at_most: rows of a cluster that stay,
    the first so many in that order. per: a column, of each of whose values the first row of a
    cluster stays; null is one of them. count_by: a column, of which it is said for each kept row
    how many values it and the rows dropped for it have. on_bad_text: what happens to malformed
    UTF-8, "error" or "replace". on_bad_row, on_bad_file: what happens to a row or a file that
    cannot be read, "error" or "skip", which names what it leaves out. by: the column that says
    which source a row is of; None for the column `source` where there is one. differences: whether
    it is counted in how many dropped rows each column that is not compared differs from that of the
    kept row; without it no other column is read than those that are named. The last two, count_by
    and id change what is said of a run, not which rows are kept. against_text, against_format: what
    is compared of the rows of references, like text and format; None for the same as in the corpus.

    Raises SettingsError, which says what to change.
    """

    text: str | Sequence[str] | None = None
    format: str | None = None
    compare: str = "all"
    match: str | None = None
    delimiter: str | None = None
    unit: str = LINE
    id: str | None = None
    threshold: float = 0.8
    shingle: str = "word:5"
    recall: float | str = 0.99
    bands: int | None = None
    rows: int | None = None
    num_perm: int = 128
    minhash_seed: int = 1
    cluster: str = "cover"
    exact: str = "text"
    ignore: str | Sequence[str] | None = None
    within: str | Sequence[str] | None = None
    distinct: str | Sequence[str] | None = None
    near: bool = True
    keep: str | Sequence[str] = "first"
    keep_at_most: int = 1
    per: str | None = None
    count_by: str | None = None
    on_bad_text: str = "error"
    on_bad_row: str = "error"
    on_bad_file: str = "error"
    by: str | None = None
    differences: bool = True
    against_text: str | Sequence[str] | None = None
    against_format: str | None = None

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "threshold", float(self.threshold))
            if self.recall != EXACT_RECALL:
                object.__setattr__(self, "recall", float(self.recall))
        except (TypeError, ValueError):
            raise SettingsError(
                f"threshold is {self.threshold!r} and recall is {self.recall!r}: use numbers, or "
                "recall exact"
            ) from None
        if not 0 < self.threshold <= 1:
            raise SettingsError(
                f"threshold is {self.threshold}: use a Jaccard similarity above 0 and up to 1"
            )
        if self.recall != EXACT_RECALL and not 0 < float(self.recall) < 1:
            raise SettingsError(
                f"recall is {self.recall}: use a share between 0 and 1, both open, or exact"
            )
        if not re.fullmatch(r"(word|char):[1-9]\d{0,2}", str(self.shingle)):
            raise SettingsError(
                f"shingle is {self.shingle!r}: use word:N or char:N with N from 1 to 999, "
                "for instance word:5 or char:13"
            )
        object.__setattr__(self, "delimiter", _delimiter(self.delimiter))
        _one_of("unit", self.unit, UNITS)
        _whole("num_perm", self.num_perm, 1, 4096)
        _whole("minhash_seed", self.minhash_seed, 0, 2**32 - 1)
        _one_of("cluster", self.cluster, CLUSTERS)
        if self.exact == "normalized":
            raise SettingsError(
                "exact is 'normalized': that is words now; text and bytes are others"
            )
        _one_of("exact", self.exact, EXACTS)
        for name in ("ignore", "within", "distinct"):
            object.__setattr__(self, name, _one_or_several(name, getattr(self, name)))
        for one in self.ignored:
            _one_of("ignore", one, IGNORES)
        for one in self.distincts:
            _one_of("distinct", one, DISTINCTS)
        if "numbers" in self.ignored and "numbers" in self.distincts:
            raise SettingsError("numbers are ignored and told apart: leave out one of the two")
        _one_of("on_bad_text", self.on_bad_text, BAD_TEXTS)
        _one_of("on_bad_row", self.on_bad_row, BAD_ROWS)
        _one_of("on_bad_file", self.on_bad_file, BAD_FILES)
        for name in ("near", "differences"):
            if not isinstance(getattr(self, name), bool):
                raise SettingsError(f"{name} is {getattr(self, name)!r}: use True or False")
        object.__setattr__(self, "keep", _one_or_several("keep", self.keep) or "first")
        kinds = [Policy.parse(one).kind for one in self._keeps]
        if "first" in kinds[:-1]:
            raise SettingsError("keep: first decides whatever is left, so it comes last")
        _whole("keep_at_most", self.keep_at_most, 1, 1 << 31)
        for name in ("per", "count_by"):
            if not isinstance(getattr(self, name), str | None):
                raise SettingsError(f"{name} is {getattr(self, name)!r}: use the name of a column")
        if self.per is not None and self.keep_at_most > 1:
            raise SettingsError("keep_at_most and per each say which rows stay: give one of them")
        self._check_text()
        if (self.bands is None) != (self.rows is None):
            raise SettingsError("bands and rows go together: give both or neither")
        if self.bands is not None and self.recall == EXACT_RECALL:
            raise SettingsError("recall exact has no bands: leave out bands and rows")
        if self.bands is not None and self.rows is not None:
            _whole("bands", self.bands, 1, 4096)
            _whole("rows", self.rows, 1, 4096)
            if self.bands * self.rows > self.num_perm:
                raise SettingsError(
                    f"{self.bands} bands x {self.rows} rows need {self.bands * self.rows} "
                    f"permutations and num_perm is {self.num_perm}: raise num_perm or lower one"
                )

    def _check_text(self) -> None:
        for name in ("text", "against_text"):
            object.__setattr__(self, name, _one_or_several(name, getattr(self, name)))
        _one_of("compare", self.compare, COMPARES)
        if self.match is not None:
            _one_of("match", self.match, MATCHES)
        for name in ("format", "against_format"):
            if getattr(self, name) is not None:
                _one_of(name, getattr(self, name), (AUTO, *SHAPES))
        if self.against_text is not None or self.against_format is not None:
            try:
                _ = self.of_references
            except SettingsError as error:
                raise SettingsError(f"references: {error}") from None
        if self.text is None:
            if self.format == AUTO:
                object.__setattr__(self, "format", None)
            return
        if self.format is not None:
            raise SettingsError(
                "text and format are two ways to say what is compared: give one. A column of "
                "messages of any name is a text, like --text conversation"
            )
        if self.compare != "all":
            raise SettingsError("compare goes with a format: with --text, name what to compare")
        if isinstance(self.text, str):
            Template.parse(self.text)
        else:
            Template.of_columns(self.text)

    @cached_property
    def of_references(self) -> Settings:
        """How the rows of references are read: what is compared of them may be something else.

        They need no columns but those of `within`, and an id only where they have one: their order
        is that of the files.
        """
        own: dict[str, Any] = {"against_text": None, "against_format": None}
        if self.against_text is not None or self.against_format is not None:
            own |= {"text": self.against_text, "format": self.against_format}
        if self.against_text is not None:
            own["compare"] = COMPARES[0]
        own |= {"keep": "first", "keep_at_most": 1, "per": None, "count_by": None}
        return replace(self, by=None, differences=False, **own)

    @property
    def skips_rows(self) -> bool:
        """Whether rows that cannot be read are left out."""
        return self.on_bad_row == SKIP

    @property
    def skips_files(self) -> bool:
        """Whether files that cannot be read are left out."""
        return self.on_bad_file == SKIP

    @property
    def reading(self) -> dict[str, bool]:
        """How shards are read: see `corpus.shard.Shard`."""
        text = self.skips_rows and self.on_bad_text == "error"
        return {"skips_rows": self.skips_rows, "skips_text": text}

    @property
    def banded(self) -> bool:
        """Whether bands propose pairs, rather than equal digests alone or an exact join."""
        return self.near and self.recall != EXACT_RECALL

    @property
    def joined(self) -> bool:
        """Whether an exact join finds near-duplicates."""
        return self.near and self.recall == EXACT_RECALL

    @property
    def keyed(self) -> bool:
        """Whether rows have keys that propose pairs: of bands, or the digests of exact copies."""
        return not self.joined

    @property
    def least_jaccard(self) -> float:
        """The least Jaccard similarity that a row dropped as a near-duplicate has with its witness.

        Clusters of --cluster transitive are chains: their ends may have nothing in common.
        """
        return self.threshold if self.cluster == "cover" else 0.0

    @property
    def chars(self) -> bool:
        """Whether shingles are of code points rather than of tokens."""
        return self.shingle.startswith("char:")

    @property
    def shingle_unit(self) -> str:
        """What shingles are made of: "word" or "char"."""
        return self.shingle.partition(":")[0]

    @property
    def shingle_size(self) -> int:
        """Tokens, or code points, in a shingle."""
        return int(self.shingle.partition(":")[2])

    @property
    def ignored(self) -> tuple[str, ...]:
        """What does not count, each once."""
        return _each(self.ignore)

    @property
    def distincts(self) -> tuple[str, ...]:
        """What must be equal besides the sets, each once."""
        return _each(self.distinct)

    @property
    def groups(self) -> dict[str, str]:
        """The columns whose values must be equal, by the role that each has in `roles`."""
        return {f"within {column}": column for column in _each(self.within)}

    @property
    def keeps_extras(self) -> bool:
        """Whether rows may stay beside the kept row that they duplicate."""
        return self.keep_at_most > 1 or self.per is not None

    @property
    def told_apart(self) -> dict[str, str]:
        """The columns whose values are told apart within clusters, by their role in `roles`."""
        return {f"value {column}": column for column in (self.per, self.count_by) if column}

    @property
    def _keeps(self) -> tuple[str, ...]:
        return (self.keep,) if isinstance(self.keep, str) else tuple(self.keep)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The keep policies in order; none where the first row is kept."""
        return tuple(Policy.parse(one) for one in self._keeps if one != "first")

    @property
    def roles(self) -> dict[str, str]:
        """Columns besides the text by what they are for: "id", a keep policy, `groups` and more."""
        roles = {} if self.id is None else {"id": self.id}
        for name in self._keeps:
            column = Policy.parse(name).column
            if column is not None:
                roles[name] = column
        roles |= self.groups | self.told_apart
        return roles if self.by is None else {**roles, "by": self.by}

    def not_compared(self, document: DocumentTemplate) -> list[str]:
        """The columns of a corpus that are read neither for its documents nor for a role."""
        roles = self.roles.values()
        return [name for name in document.others if name not in roles]

    def source(self, document: DocumentTemplate) -> str | None:
        """The column that says which source a row is of; None where there is none."""
        found = self.differences and SOURCE in (*document.columns, *document.others)
        return self.by or (SOURCE if found else None)

    def carried(self, document: DocumentTemplate) -> tuple[str, ...]:
        """The columns of which a digest goes with each row: see `differences` and `by`."""
        counted = self.not_compared(document)[:MOST_COUNTED] if self.differences else []
        source = self.source(document)
        return tuple(dict.fromkeys([*counted, *([source] if source else [])]))

    def deciding(self, names: Sequence[str]) -> list[str]:
        """Those of a corpus's columns whose first rows decide what is compared."""
        return deciding(names) if self.text is None and self.format is None else []

    def missed_by(self, document: DocumentTemplate, names: Sequence[str]) -> set[str]:
        """The columns of a file that its own format compares, and the document of another does not.

        document: of the other file. names: all columns of this one.
        """
        return not_in(document, names, self.format, self.compare, self.match)

    def document(self, names: Sequence[str], silent: Collection[str] = ()) -> DocumentTemplate:
        """What is compared in a corpus of these columns: see `documents.shapes.choose`."""
        return choose(self.text, self.format, self.compare, self.match, names, silent)

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        values = asdict(self).items()
        return {name: list(one) if isinstance(one, tuple) else one for name, one in values}


MEMORY_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
MEMORY_UNITS |= {f"{unit}I": 1024**i for i, unit in enumerate("KMGT", start=1)}
SMALLEST_MEMORY = 500_000_000
"""Bytes: the interpreter with its libraries takes half of this."""


def parse_bytes(text: str | int) -> int:
    """Bytes of a size like 4GB (10**9), 512MiB (2**20) or a plain number."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", str(text).upper())
    if match is None or match[2] not in MEMORY_UNITS:
        raise SettingsError(f"{text!r} is not a size: write it like 4GB or 512MiB")
    return int(float(match[1]) * MEMORY_UNITS[match[2]])


USUAL_MEMORY = 4 * 10**9
MOST_ROW = 1 << 30
"""Bytes of a row, at most: parsers count in 32 bits."""
DEFAULT_EXPANSION = 1000
"""Text for each byte of a file; gzip cannot do more."""


def default_memory(groups: ControlGroups = CONTROL_GROUPS) -> int:
    """Bytes for a process where nobody says how many: 4 GB, unless a container has less.

    groups: bound the process. Others live in a container too, and so does what is cached of files:
    three quarters of its limit are taken, or the least that a run needs.
    """
    limit = groups.memory()
    return (
        USUAL_MEMORY if limit is None else min(USUAL_MEMORY, max(limit * 3 // 4, SMALLEST_MEMORY))
    )


@dataclass(frozen=True)
class Resources:
    """What a run may use.

    threads: tasks at a time in one process. memory: bytes that a process may use. concurrency:
    tasks at a time in all processes together; the local engine has one process.
    """

    threads: int
    memory: int
    concurrency: int

    @classmethod
    def of(
        cls,
        threads: int | None = None,
        memory: str | int | None = None,
        concurrency: int | None = None,
    ) -> Resources:
        """Check the values and fill in what was left out.

        threads: tasks at a time in a process; None for one for each core that this process may use.
        memory: for a process, as bytes or a text like "4GB"; None for what `default_memory` says.
        concurrency: tasks at a time in all processes; None for those of one process. Raises
        SettingsError.
        """
        if threads is None:
            threads = cores()
        _whole("workers", threads, 1, 1024)
        size = default_memory() if memory is None else parse_bytes(memory)
        if size < SMALLEST_MEMORY:
            raise SettingsError(
                f"memory is {memory}: at least {SMALLEST_MEMORY // 10**6}MB are needed"
            )
        return cls(threads, size, concurrency or threads)


@dataclass(frozen=True)
class Tuning:
    """Sizes and waiting times that users need not know; no keep-list depends on them.

    Each default says why it has its value. Tests set others to cut small corpora into many tasks.
    """

    task_text: int = 64_000_000
    """Bytes of text in a sign task: long enough to hide its overhead, short enough to redo."""
    task_rows: int = 1 << 18
    """Rows in a sign task, for corpora of very short rows."""
    shard_bytes: int = 250_000
    """Bytes of text that take as long as opening a shard: 2 ms (Parquet, local disk)."""
    batch_bytes: int = 16_000_000
    """Bytes of text that a task decodes at a time, unless memory is short."""
    survey_shards: int = 32
    """Shards that one task looks at before the run is cut."""
    bucket_records: int = 1 << 22
    """Band records in a bucket task, unless memory is short."""
    small_bucket_records: int = 1 << 18
    """Fewest band records that are worth a bucket task when workers are idle otherwise."""
    edge_batch: int = 1 << 20
    """Edges in a record batch: what a merge holds of a file at a time."""
    fan_in: int = 8
    """Files of edges that one merge of the components tree reads."""
    join_batch: int = 4_000_000
    """Bytes of text that stream past a block of the exact join at a time."""
    join_memory: int | None = None
    """Bytes of a block of the exact join; None for two thirds of a task's memory."""
    set_bytes: int | None = None
    """Bytes of shingle sets in a verify task; None for 256 MB, if memory and corpus allow."""
    verify_tasks: int = 32
    """Partitions of components that are made even if fewer would fit memory."""
    small_partition_bytes: int = 4_000_000
    """No partition of components is made smaller than this to have more tasks."""
    keep_rows: int = 1 << 18
    """Rows in a keep task that writes several small shards."""
    keep_shards: int = 256
    """Shards in such a task, at most."""
    most_tasks: int = 500
    """Most tasks of a stage; with more data, tasks grow instead, as memory allows. Later stages
    read a partition from each of these tasks, so the reads grow with the square of this number, and
    in an object store they cost more than idle workers do (docs/explanation/scaling.md)."""
    audit_text: int = 32_000_000
    """Bytes of text that one task of an audit reads."""
    audit_rows: int = 1 << 18
    """Rows that one task of an audit reads."""
    straggler_seconds: float = 10.0
    """Seconds after which a task may be run a second time by an idle worker of a cluster."""
    straggler_ratio: float = 3.0
    """How many times the median of its stage a task must take for that."""
    ping_seconds: float = 3.0
    """A Ray worker that has been silent for so long is asked whether it is there."""
    silence_seconds: float = 10.0
    """A Ray worker that has not answered for so long gets no more tasks."""
    give_up_seconds: float = 60.0
    """A Ray worker that has been silent for so long is ended and replaced."""
    nodes_seconds: float = 3.0
    """How often the nodes of a Ray cluster are listed."""
    no_worker_seconds: float = 600.0
    """How long a run waits without any worker: an autoscaler takes minutes."""


StorageOptions = Mapping[str, Any]
"""Keyword arguments of a filesystem of fsspec, or such for each protocol."""


@dataclass(frozen=True)
class Execution:
    """Where a command runs and what it may use; no keep-list depends on it.

    engine: "local", threads of this process, or "ray". address: with Ray, of the cluster ("auto",
    "host:port"); None for RAY_ADDRESS, or else a Ray of this run's own. workers: threads, None for
    one for each core; with Ray worker processes, None for as many as fit the cluster. worker_cpus:
    with Ray, threads of each worker. memory: for the whole run, with Ray for each worker, as bytes
    or a text like "4GB"; None for 4 GB, or three quarters of a container's limit if that is less.
    work_dir: where stages leave their outputs, and where they stay; None for a directory beside the
    output that is removed in the end. fresh: discard what an unfinished run left there. max_row:
    of a longer row a run makes an error, as bytes or a text like "200MB"; None for what memory has
    room for. max_expansion: of a file with more than 1 GB of text, and more than so many times its
    size, too.
    storage_options: of fsspec's filesystem for the protocol of the paths, or for each one, as in
    {"s3": {"anon": True}}. runtime_env: with Ray, the runtime environment of the workers, as Ray
    documents it. tuning: sizes and waiting times, see `Tuning`.

    Raises SettingsError, which says what to change.
    """

    engine: str = "local"
    address: str | None = None
    workers: int | None = None
    worker_cpus: int = 1
    memory: str | int | None = None
    work_dir: str | Path | None = None
    fresh: bool = False
    max_row: str | int | None = None
    max_expansion: int = DEFAULT_EXPANSION
    storage_options: StorageOptions | None = field(default=None, repr=False)
    runtime_env: Mapping[str, Any] | None = field(default=None, repr=False)
    tuning: Tuning = field(default=Tuning(), repr=False)

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, ENGINES)
        if self.engine == "local":
            if self.address is not None or self.worker_cpus != 1 or self.runtime_env is not None:
                raise SettingsError(
                    "address, worker_cpus and runtime_env are for the Ray engine: add --engine ray"
                )
        elif self.workers is not None:
            _whole("workers", self.workers, 1, 1 << 20)
        _ = self.resources
        if self.max_row is not None:
            _whole("max_row", parse_bytes(self.max_row), 1, MOST_ROW)
        _whole("max_expansion", self.max_expansion, 1, 1 << 40)

    @property
    def resources(self) -> Resources:
        """What the command may use, as far as it is known before the engine has started."""
        if self.engine == "local":
            return Resources.of(self.workers, self.memory)
        concurrency = (self.workers or 1) * self.worker_cpus
        memory = USUAL_MEMORY if self.memory is None else self.memory
        return Resources.of(self.worker_cpus, memory, concurrency)

    def at_most(self, tasks: int) -> Execution:
        """The same with no more than `tasks` tasks at a time in each process."""
        threads = min(self.resources.threads, max(tasks, 1))
        if self.engine == "local":
            return replace(self, workers=threads)
        return replace(self, worker_cpus=threads)


class SettingsKeywords(TypedDict, total=False):
    """The fields of `Settings` as keywords."""

    text: str | Sequence[str] | None
    format: str | None
    compare: str
    match: str | None
    delimiter: str | None
    unit: str
    id: str | None
    threshold: float
    shingle: str
    recall: float | str
    bands: int | None
    rows: int | None
    num_perm: int
    minhash_seed: int
    cluster: str
    exact: str
    ignore: str | Sequence[str] | None
    within: str | Sequence[str] | None
    distinct: str | Sequence[str] | None
    near: bool
    keep: str | Sequence[str]
    keep_at_most: int
    per: str | None
    count_by: str | None
    on_bad_text: str
    on_bad_row: str
    on_bad_file: str
    by: str | None
    differences: bool
    against_text: str | Sequence[str] | None
    against_format: str | None


class ExecutionKeywords(TypedDict, total=False):
    """The fields of `Execution` as keywords."""

    engine: str
    address: str | None
    workers: int | None
    worker_cpus: int
    memory: str | int | None
    work_dir: str | Path | None
    fresh: bool
    max_row: str | int | None
    max_expansion: int
    storage_options: StorageOptions | None
    runtime_env: Mapping[str, Any] | None
    tuning: Tuning


class Keywords(SettingsKeywords, ExecutionKeywords, total=False):
    """The fields of both as keywords of `deduplicate`."""


_Config = TypeVar("_Config", Settings, Execution)


def configured(kind: type[_Config], given: _Config | None, keywords: Mapping[str, Any]) -> _Config:
    """The configuration that a caller gave, with single fields replaced by keywords.

    kind: `Settings` or `Execution`. given: the object that was passed, None for the defaults.
    keywords: fields by name. Raises SettingsError where there is no such field, or a value is
    wrong.
    """
    names = [one.name for one in fields(kind)]
    unknown = sorted(keywords.keys() - set(names))
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}: there are {', '.join(names)}")
    if given is not None and not isinstance(given, kind):
        raise SettingsError(f"a {type(given).__name__} was given in place of {kind.__name__}")
    return kind(**keywords) if given is None else replace(given, **keywords)
