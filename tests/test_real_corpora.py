"""Each real corpus in its own format: run, apply, and a filter of another tool, checked by hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import naive
import naive_documents
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import dedupe
from dedupe.cli import cli

CHECKED = 300
"""Dropped rows of a corpus whose witness is looked at with plain Python sets."""


def with_polars(path, out):
    pl = pytest.importorskip("polars")
    frame = pl.read_parquet(path)
    return frame.filter(dedupe.Result(out).mask()).to_dicts()


def with_batches(path, out):
    return [row for batch in dedupe.Result(out).batches() for row in batch.to_pylist()]


def with_pandas(path, out):
    pd = pytest.importorskip("pandas")
    frame = pd.read_json(path, lines=True, dtype=False)
    return frame[dedupe.Result(out).mask()].to_dict("records")


def with_datasets(path, out):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list(rows_of(path))
    return rows.select(dedupe.Result(out).kept_rows()).to_list()


def with_duckdb(path, out):
    duckdb = pytest.importorskip("duckdb")
    (keep,) = (str(file) for file in dedupe.Result(out).files)
    kept = duckdb.sql(
        f"""SELECT source.* EXCLUDE (row)
        FROM (SELECT *, row_number() OVER () - 1 AS row FROM read_json('{path}',
            format = 'newline_delimited', maximum_object_size = 100000000)) AS source
        JOIN '{keep}' AS decision USING (row) WHERE decision.keep ORDER BY row"""
    )
    return [dict(zip(kept.columns, row, strict=True)) for row in kept.fetchall()]


class Case(NamedTuple):
    """path: in the folder of real corpora. fields: the plain reference's templates, by name."""

    path: str
    options: tuple[str, ...]
    fields: dict[str, list[Any]]
    downstream: Callable[[Path, Path], list[dict[str, Any]]]


TEXT = {"text": [("text",)]}
TURNS = {"system": ["system"], "answer": ["assistant"]}


def with_turns(row):
    """A row of messages with those of each field as a column."""
    said = {"system": [], "prompt": [], "answer": []}
    for message in row.get("messages", []):
        name = next((name for name, roles in TURNS.items() if message["role"] in roles), "prompt")
        said[name].append(message)
    return said | row


CASES = {
    "english-docs": Case("english-docs", ("--id", "id"), TEXT, with_batches),
    "multilingual": Case("multilingual.parquet", (), TEXT, with_polars),
    "alpaca": Case(
        "alpaca.jsonl.gz",
        (),
        {"prompt": [("instruction",), "\n", ("input",)], "answer": [("output",)]},
        with_pandas,
    ),
    "chat": Case(
        "chat.jsonl",
        (),
        {name: [(name,)] for name in ("system", "prompt", "answer")},
        with_datasets,
    ),
    "preference": Case(
        "preference.jsonl",
        (),
        {name: [(name,)] for name in ("prompt", "chosen", "rejected")},
        with_duckdb,
    ),
}


def rows_of(path):
    """All rows of a file or folder, in order."""
    if path.is_dir():
        return [row for file in sorted(path.iterdir()) for row in rows_of(file)]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def command(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", CASES)
def test_a_real_corpus_is_run_applied_and_filtered(name, real_data, tmp_path):
    case = CASES[name]
    path, out = real_data / case.path, tmp_path / "out"
    rows = rows_of(path)
    command("run", path, *case.options, "--output", out, "--quiet")
    keep = dedupe.Result(out).keep_list()
    assert len(keep) == len(rows)
    mask = keep["keep"].to_numpy()
    kept = [row for row, keeps in zip(rows, mask, strict=True) if keeps]
    assert 100 < len(kept) <= len(rows) - 4

    check_witnesses(keep, rows, case)

    command(
        "apply", out, "--output", tmp_path / "clean", "--dropped", tmp_path / "dropped", "--quiet"
    )
    assert rows_of_parts(tmp_path / "clean") == kept
    dropped = rows_of_parts(tmp_path / "dropped")
    assert len(dropped) == len(rows) - len(kept)
    assert [{key: row[key] for key in rows[0]} for row in dropped] == [
        row for row, keeps in zip(rows, mask, strict=True) if not keeps
    ]
    assert case.downstream(path, out) == kept


def rows_of_parts(folder):
    """The rows of a folder that apply wrote, without the files beside them."""
    parts = sorted(part for part in folder.iterdir() if not part.name.startswith(("_", ".")))
    return [row for part in parts for row in rows_of(part)]


def check_witnesses(keep, rows, case):
    """Every witness is kept; the Jaccard of a sample is that of plain sets, and at least 0.8."""
    shards, starts = keep["shard"].to_pylist(), {}
    for number, shard in enumerate(shards):
        starts.setdefault(shard, number)
    mask = keep["keep"].to_numpy()
    dropped = np.flatnonzero(~mask)
    lost = keep.take(dropped).to_pylist()
    witness = np.array([starts[row["witness_shard"]] + row["witness_row"] for row in lost])
    assert mask[witness].all()
    sample = np.random.default_rng(5).choice(len(lost), min(CHECKED, len(lost)), replace=False)
    for number in sample.tolist():
        pair = [with_turns(rows[row]) for row in (dropped[number], witness[number])]
        found = {}
        for name, parts in case.fields.items():
            texts = [naive_documents.template(row, parts) for row in pair]
            found[name] = naive.jaccard(*(naive.word_shingles(text or "", 5) for text in texts))
        assert lost[number]["jaccard"] == min(found.values()) >= 0.8
        if len(found) > 1:
            assert found == {name: lost[number][f"jaccard_{name}"] for name in found}
        if "id" in case.options:
            assert lost[number]["witness_id"] == rows[witness[number]]["id"]
