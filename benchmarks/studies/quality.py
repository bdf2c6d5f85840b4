"""Recall, precision and dedup rate on text of many kinds, setting against setting.

Every pair of rows with Jaccard 0.7 or more in each field is found by an exact join that shares no
code with the package's LSH or verification, once for each shingle. docs/benchmarks.md says what
recall, survivors and precision are; *near* pairs are those less than 0.05 above the threshold,
*unproven* the rows that would be dropped besides if every component were one cluster.
"""

import argparse
import gzip
import json
import tomllib
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.corpus.small import spaced
from benchmarks.studies.exact_join import Ints, exact_pairs
from dedupe.api import deduplicate
from dedupe.config import Settings
from dedupe.documents.columns import render
from dedupe.documents.shapes import choose
from dedupe.documents.template import COMPARES, DocumentTemplate
from dedupe.schema import field_columns
from dedupe.shingling import Shingler

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
KINDS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
THRESHOLDS = (0.7, 0.8, 0.9)
NEAR = 0.05
RECALLS = (0.9, 0.95, 0.99, 0.998)
# Bands and rows that other tools have by default; neither asks what they find at the threshold.
BANDINGS = ((14, 8), (25, 10))
SHINGLES = ("word:5", "word:3", "char:7", "char:13", "char:27")
# Shingle sets of some rows, all pairs (left, right) that are similar, and how similar.
Truth = namedtuple("Truth", "offsets hashes left right jaccard")


def kinds_of(data: Path) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each kind of text in the folder of corpora."""

    def selected(name: str, wanted: pc.Expression) -> pa.Table:
        return ds.dataset(data / name, format="parquet").to_table(["text"], filter=wanted)

    for kind, prefix in KINDS["english"].items():
        yield kind, selected("english-docs", pc.starts_with(ds.field("source"), prefix))
    unspaced = pc.is_in(ds.field("lang"), pa.array(KINDS["unspaced"]))
    yield "scripts with spaces", selected("multilingual.parquet", ~unspaced)
    yield "scripts without spaces", selected("multilingual.parquet", unspaced)
    for kind, name in KINDS["structured"].items():
        path = data / name
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            yield kind, pa.Table.from_pylist([json.loads(line) for line in lines])


def settings_of_runs(shingle: str) -> Iterator[dict[str, Any]]:
    """What is given to each run with these shingles."""
    usual = shingle == SHINGLES[0]
    for threshold in THRESHOLDS:
        given = {"shingle": shingle, "threshold": threshold}
        yield from ({**given, "recall": recall} for recall in (RECALLS if usual else (0.99,)))
        for bands, rows in BANDINGS if usual else ():
            yield {**given, "bands": bands, "rows": rows, "num_perm": max(bands * rows, 128)}


def documents_of(rows: pa.Table) -> tuple[DocumentTemplate, pa.RecordBatch]:
    """What is compared of rows by default, and their documents."""
    rows = rows.combine_chunks()
    document = choose(None, None, COMPARES[0], None, rows.column_names)
    columns = {name: pa.chunked_array(rows[name]).combine_chunks() for name in rows.column_names}
    texts = [render(columns, template, len(rows)) for template in document.templates]
    return document, pa.RecordBatch.from_arrays(texts, field_columns(len(texts)))


def truth(rows: pa.Table, threshold: float, shingle: str = SHINGLES[0]) -> Truth:
    """The pairs of rows of which each field is similar at a threshold or above.

    The similarity of a pair is that of its least similar field. Of all fields together it is never
    less: pairs are looked for among whole rows.
    """
    document, batch = documents_of(rows)
    sets = Shingler(Settings(shingle=shingle), document).sets(batch)
    offsets = sets.offsets[:: sets.fields]
    left, right, inter, union = exact_pairs(offsets, sets.hashes, threshold)
    jaccard = inter / union
    if sets.fields > 1:
        by_field = [
            similarity_of(
                sets.offsets, sets.hashes, left * sets.fields + k, right * sets.fields + k
            )
            for k in range(sets.fields)
        ]
        jaccard = np.minimum.reduce(by_field)
        true = jaccard >= threshold
        left, right, jaccard = left[true], right[true], jaccard[true]
    return Truth(offsets, sets.hashes, left, right, jaccard)


def similarity_of(offsets: Ints, hashes: Hashes, left: Ints, right: Ints) -> Floats:
    """The Jaccard similarity of pairs of sets; 1 where both are empty."""
    found = np.ones(len(left))
    for pair, (one, other) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        a, b = (hashes[offsets[row] : offsets[row + 1]] for row in (one, other))
        if len(a) or len(b):
            inter = len(np.intersect1d(a, b, assume_unique=True))
            found[pair] = inter / (len(a) + len(b) - inter)
    return found


def found_of(known: Truth, keep: Bools, threshold: float) -> dict[str, int]:
    """What a run that kept some rows found of the truth at its threshold."""
    true = known.jaccard >= threshold
    near = true & (known.jaccard < threshold + NEAR)
    missed = true & keep[known.left] & keep[known.right]
    survivors = np.unique(np.concatenate([known.left[missed], known.right[missed]]))
    shares = {"pairs": true, "missed": missed, "near_pairs": near, "near_missed": missed & near}
    return {name: int(of.sum()) for name, of in shares.items()} | {"survivors": len(survivors)}


def precision_of(known: Truth, rows: pa.Table, threshold: float) -> float | None:
    """The share of dropped rows of a keep-list whose deletion is proven."""
    true = known.jaccard >= threshold
    pairs = zip(known.left[true].tolist(), known.right[true].tolist(), strict=True)
    exact = dict(zip(pairs, known.jaccard[true].tolist(), strict=True))
    keep, witnesses, stated = (rows[n].to_pylist() for n in ("keep", "witness_row", "jaccard"))
    proven = [
        keep[witness] and exact.get((min(row, witness), max(row, witness))) == stated[row]
        for row, witness in enumerate(witnesses)
        if not keep[row]
    ]
    return float(np.mean(proven)) if proven else None


def measure(corpus: pa.Table, known: Truth, given: dict[str, Any]) -> tuple[dict[str, Any], Bools]:
    """One run against the truth; also its dropped rows."""
    result = deduplicate(corpus, **given)
    summary, rows = result.summary, result.keep_list()
    components, lsh, reasons = summary["components"], summary["lsh"], summary["reasons"]
    keep, dropped = rows["keep"].to_numpy(), reasons["exact"] + reasons["near"]
    clusters = np.unique(rows["witness_row"].drop_null().to_numpy(), return_counts=True)[1]
    line = {
        **given,
        **{name: lsh[name] for name in ("bands", "rows")},
        "planned": "recall" in given,
        **found_of(known, keep, given["threshold"]),
        "dropped": dropped,
        "empty": reasons["empty"],
        "precision": precision_of(known, rows, given["threshold"]),
        "clusters": len(clusters),
        "largest_cluster": int(clusters.max(initial=0)) + 1,
        "largest_component": components["largest"],
        "unproven": components["rows"] - components["count"] - dropped,
    }
    return line, ~keep


def quality(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every run on each kind of text of a folder of corpora, at most --sizes evenly spaced rows."""
    kinds = {}
    for name, corpus in kinds_of(Path(known.corpus[0])):
        corpus = spaced(corpus, known.sizes[0] if known.sizes else 60_000)
        lines: list[dict[str, Any]] = []
        for shingle in SHINGLES:
            true = truth(corpus, min(THRESHOLDS), shingle)
            lines += [measure(corpus, true, given)[0] for given in settings_of_runs(shingle)]
        document, batch = documents_of(corpus)
        texts = batch.columns[: len(document.names)]
        size = sum(pc.sum(pc.utf8_length(one)).as_py() or 0 for one in texts) / len(corpus)
        kinds[name] = {
            "rows": len(corpus),
            "characters_per_row": size,
            "fields": list(document.names),
            "runs": lines,
        }
        print(f"{name}: {len(corpus):,} rows", flush=True)
    return {"kinds": kinds}
