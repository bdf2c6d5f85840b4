"""Writes the tables of the pages that say what stands in the code, and what commands print.

    python docs/write_reference.py

Each table lies between two markers, `<!-- name -->` and `<!-- /name -->`, and is what the function
of that name gives. What `dedupe plan` prints lies between `<!-- printed -->` and
`<!-- /printed -->`, below its command; `<!-- printed: some … other -->` shows the lines from the
first with the words `some` to the last before `other`. `tests/test_reference_pages.py` holds the
pages against it.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import pyarrow as pa

import dedupe
from dedupe import config
from dedupe.commands.apply.tasks import ApplyResult
from dedupe.commands.audit.block import SampleResult
from dedupe.commands.audit.counts import CountResult
from dedupe.commands.audit.job import AUDIT_ARTIFACTS, Looked
from dedupe.commands.audit.scan import ScanResult
from dedupe.commands.edges.pairs import PAIRS, PairsResult
from dedupe.commands.formats import columns_of, compared
from dedupe.commands.split.job import SPLIT_ARTIFACTS
from dedupe.commands.split.leaks import LEAK_ARTIFACTS, HoldResult, NearResult
from dedupe.commands.split.linking import ClustersResult, ColumnsResult
from dedupe.commands.split.ordering import FillResult, GatherResult, NameResult
from dedupe.commands.split.sizes import SizesResult
from dedupe.commands.split.writing import WriteResult
from dedupe.commands.sweep.task import SweepResult
from dedupe.config import Settings, Tuning
from dedupe.contamination.job import ARTIFACTS as EVALS_ARTIFACTS
from dedupe.contamination.job import (
    CommonResult,
    ItemsResult,
    MatchResult,
    ReportResult,
)
from dedupe.contamination.job import ScanResult as EvalsScanResult
from dedupe.documents.shapes import SHAPES
from dedupe.planning.banding import plan_banding
from dedupe.storage.tables import WrittenFile
from dedupe.tasks.artifacts import ARTIFACTS, Artifact, TaskResult
from dedupe.tasks.bucket import BucketResult
from dedupe.tasks.components import ComponentsResult
from dedupe.tasks.earlier import LookupResult
from dedupe.tasks.group import GroupResult
from dedupe.tasks.keep import KeepResult
from dedupe.tasks.segment import ClassifyResult, SegmentResult
from dedupe.tasks.sign import SignResult
from dedupe.tasks.verify import VerifyResult

DOCS = Path(__file__).parent
WITH_TABLES = "reference/work-directory reference/python reference/documents"
WITH_TABLES += " how-to/threshold-and-shingle how-to/memory-and-disk"
PAGES = (
    *(DOCS / f"{name}.md" for name in WITH_TABLES.split()),
    DOCS.parent / "cluster" / "README.md",
)

RESULTS = {
    "all": TaskResult,
    "sign": SignResult,
    "lookup": LookupResult,
    "admit": SignResult,
    "bucket": BucketResult,
    "components": ComponentsResult,
    "group": GroupResult,
    "verify": VerifyResult,
    "keep": KeepResult,
    "classify": ClassifyResult,
    "segment": SegmentResult,
}
"""The results of the stages of a run that say more than every result does."""

COMMAND_RESULTS = {
    "apply: apply": ApplyResult,
    "audit: rows, claims": Looked,
    "audit: sample": SampleResult,
    "audit: scan": ScanResult,
    "audit: count": CountResult,
    "edges: pairs": PairsResult,
    "sweep: sweep": SweepResult,
    "split: columns": ColumnsResult,
    "split: clusters": ClustersResult,
    "split: gather": GatherResult,
    "split: name": NameResult,
    "split: fill": FillResult,
    "split: write": WriteResult,
    "split: sizes": SizesResult,
    "audit of a split: hold": HoldResult,
    "audit of a split: near": NearResult,
    "test sets: items": ItemsResult,
    "test sets: scan": EvalsScanResult,
    "test sets: common": CommonResult,
    "test sets: match": MatchResult,
    "test sets: report": ReportResult,
}
"""The same of the stages of other commands."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown.

    head: the names of its columns. rows: the cells of each row.
    """
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def artifacts() -> str:
    """The kinds of files that the stages of a run leave."""
    return _files_of(ARTIFACTS)


def columns() -> str:
    """The columns of these files."""
    return _columns_of(ARTIFACTS)


def audit_artifacts() -> str:
    """The kinds of files that the stages of an audit leave."""
    return _files_of(AUDIT_ARTIFACTS)


def audit_columns() -> str:
    """The columns of these files."""
    return _columns_of(AUDIT_ARTIFACTS)


def edges_artifacts() -> str:
    """The kinds of files that the stage of edges leaves."""
    return _files_of((PAIRS,))


def edges_columns() -> str:
    """The columns of these files."""
    return _columns_of((PAIRS,))


def split_artifacts() -> str:
    """The kinds of files that the stages of a split, and of its audit, leave."""
    return _files_of((*SPLIT_ARTIFACTS, *LEAK_ARTIFACTS))


def split_columns() -> str:
    """The columns of these files."""
    return _columns_of((*SPLIT_ARTIFACTS, *LEAK_ARTIFACTS))


def evals_artifacts() -> str:
    """The kinds of files that the stages leave that look for items of test sets."""
    return _files_of(EVALS_ARTIFACTS)


def evals_columns() -> str:
    """The columns of these files."""
    return _columns_of(EVALS_ARTIFACTS)


def results() -> str:
    """What stands in the results of tasks of a run."""
    return _results_of(RESULTS)


def command_results() -> str:
    """What stands in the results of tasks of other commands."""
    return _results_of(COMMAND_RESULTS)


def written_file() -> str:
    """What a result says of each file."""
    meanings = meanings_of(WrittenFile)
    rows = [(f"`{one.name}`", meanings[one.name]) for one in fields(WrittenFile)]
    return table(("value", "meaning"), rows)


def tuning() -> str:
    """The knobs of `Tuning`, their defaults and what is said below each."""
    rows = [
        (f"`{name}`", f"`{getattr(Tuning(), name)}`", meaning) for name, meaning in _below(Tuning)
    ]
    return table(("field", "default", "meaning"), rows)


def formats() -> str:
    """The formats that are known, with the templates of their fields."""
    rows = [
        (f"`{name}`", shape.about, _code(columns_of(shape)), _code(compared(shape)))
        for name, shape in SHAPES.items()
    ]
    return table(("format", "rows", "columns", "compared"), rows)


BANDINGS = (
    Settings(threshold=0.8, recall=0.99),
    Settings(threshold=0.8, recall=0.998),
    Settings(threshold=0.8, recall=0.999, num_perm=256),
    Settings(threshold=0.7, recall=0.99),
    Settings(threshold=0.5, recall=0.99),
)
"""Settings whose bands and rows the page on thresholds shows."""


def bandings() -> str:
    """Bands and rows that are planned for some thresholds and recalls."""
    plans = ((given, plan_banding(given)) for given in BANDINGS)
    rows = [
        (f"{one.threshold}", f"{one.recall}", f"{one.num_perm}", f"{found.bands} x {found.rows}")
        for one, found in plans
    ]
    return table(("`--threshold`", "`--recall`", "`--num-perm`", "bands x rows"), rows)


def edits() -> str:
    """What one changed word costs the stories of the first tutorial, by shingle."""
    page = (DOCS / "tutorial" / "first-run.md").read_text(encoding="utf-8")
    (stories,) = re.findall(r"^(HARE = .*?)^rows = ", page, re.MULTILINE | re.DOTALL)
    texts: dict[str, str] = {}
    exec(stories, texts)  # noqa: S102 (a page of ours)
    pairs = {
        name: (texts[name], texts[name].replace(old, new))
        for name, old, new in (("HARE", "old", "tall"), ("CROW", "pebbles", "stones"))
    }
    heads = (f"{len(one.split())} words (`{name.lower()}`)" for name, (one, _) in pairs.items())
    rows = [
        (f"`{shingle}`", *(f"{_similarity(*pair, shingle):.3f}" for pair in pairs.values()))
        for shingle in ("word:5", "word:3", "word:2", "char:13", "char:7")
    ]
    return table(("`--shingle`", *heads), rows)


def _similarity(one: str, other: str, shingle: str) -> float:
    """Jaccard similarity of two texts that are not quite unlike."""
    rows = [{"text": one}, {"text": other}]
    found = dedupe.deduplicate(rows, shingle=shingle, threshold=0.1, recall="exact")
    return float(found.keep_list()["jaccard"][1].as_py())


def _code(parts: Iterable[str]) -> str:
    return ", ".join(f"`{part}`" for part in parts)


PARTS = (artifacts, columns, audit_artifacts, audit_columns, split_artifacts, split_columns)
PARTS = (*PARTS, edges_artifacts, edges_columns, evals_artifacts, evals_columns)
PARTS = (*PARTS, results, command_results, written_file, tuning, formats)
PARTS = (*PARTS, bandings, edits)


def _files_of(kinds: Sequence[Artifact]) -> str:
    rows = [
        (f"`{kind.stage}`", f"`{kind.file(7).replace('00007', 'TASK')}`", kind.batches)
        for kind in kinds
    ]
    return table(("stage", "file", "record batches"), rows)


def _columns_of(kinds: Sequence[Artifact]) -> str:
    return table(("stage", "file", "column", "type", "meaning"), _column_rows(kinds))


def _column_rows(kinds: Sequence[Artifact]) -> Iterator[Sequence[str]]:
    for kind in kinds:
        where = (f"`{kind.stage}`", f"`{kind.name}`")
        plain = {one.name: (_type(one.type), kind.meaning[one.name]) for one in kind.columns}
        for name, (type_name, meaning) in {**plain, **kind.more}.items():
            shown = ", ".join(part if part == "…" else f"`{part}`" for part in name.split(", "))
            yield (*where, shown, type_name, meaning)
            where = ("", "")


def _type(of: pa.DataType) -> str:
    if pa.types.is_large_list(of):
        return f"large_list of {of.value_type}"
    return {"double": "float64"}.get(str(of), str(of))


def _results_of(kinds: dict[str, type[TaskResult]]) -> str:
    rows = []
    for stage, kind in kinds.items():
        meanings, where = meanings_of(kind), stage
        for one in fields(kind):
            if one.name in kind.__annotations__:
                rows.append((where, f"`{one.name}`", f"`{one.type}`", meanings[one.name]))
                where = ""
    return table(("stage", "key", "type", "meaning"), rows)


def meanings_of(kind: type) -> dict[str, str]:
    """What a docstring of the form "name: meaning. name, name: meaning." says of each field."""
    names = "|".join(one.name for one in fields(kind))
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    text = "\n".join(" ".join(one.split()) for one in paragraphs)
    parts = re.split(rf"(?:(?<=^)|(?<=\n)|(?<=[.;] ))((?:{names})(?:, (?:{names}))*): ", text)
    found = {}
    for heads, meaning in zip(parts[1::2], parts[2::2], strict=True):
        found |= dict.fromkeys(heads.split(", "), meaning.partition("\n")[0].strip().rstrip(".;"))
    return found


def _below(kind: type) -> Iterator[tuple[str, str]]:
    """The fields of a class of `dedupe.config`, each with the docstring below it."""
    tree = ast.parse(inspect.getsource(config))
    (found,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__
    )
    for field, said in zip(found.body, found.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(said, ast.Expr):
            meaning = " ".join(ast.literal_eval(said.value).split())
            yield ast.unparse(field.target), meaning.rstrip(".")


PRINTED = re.compile(
    r"(```sh\n(dedupe plan [^`]*)```\n(?:(?!```)[\s\S])*?<!-- printed(?:: (.*))? -->\n)[\s\S]*?"
    r"(<!-- /printed -->)"
)
"""A command in a page, and what it prints below."""


def printed(shown: re.Match[str]) -> str:
    """A command of a page, and below it what it prints, on a machine that has finished no run."""
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(  # noqa: S603 (a command of ours)
            [sys.executable, "-m", "dedupe", *shlex.split(shown[2].replace("\\\n", " "))[1:]],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "XDG_CACHE_HOME": place, "COLUMNS": "80"},
        )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    some, _, other = (part.strip() for part in (shown[3] or "").partition("…"))
    first = next(i for i, line in enumerate(lines) if some in line)
    last = next((i for i, line in enumerate(lines) if other and other in line), None)
    text = "\n".join(lines[first:last]).strip("\n")
    return f"{shown[1]}```text\n{text}\n```\n{shown[4]}"


def written(page: str) -> str:
    """The text of a page with its tables, and what its commands print, made anew."""
    page = PRINTED.sub(printed, page)
    for make in PARTS:
        before, after = f"<!-- {make.__name__} -->\n", f"<!-- /{make.__name__} -->"
        if before in page:
            rest = page.partition(after)[2]
            page = f"{page.partition(before)[0]}{before}{make()}\n{after}{rest}"
    return page


def main() -> None:
    """Rewrite every marked table of the pages."""
    for path in PAGES:
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
