"""Measure a finished run against the truth: recall of its pairs, proof of its deletions.

    python benchmarks/recall.py OUT [CORPUS...] [--json FILE]

OUT is the output of `dedupe run`; CORPUS what it was given (files, directories, globs; by default
the shards named in OUT/summary.json). Shingle sets come from the package, everything else is
independent of it: all pairs with Jaccard >= threshold from an exact join, and

- recall: the share of true pairs of which the run did not keep both rows, in all and by
  similarity. Clusters of thousands of rows hold most pairs, so `survivors` counts rows instead:
  kept rows with a true partner that is kept as well;
- precision: the share of dropped rows whose witness is kept and is as similar as stated.

Memory is about 40 bytes per shingle of the corpus: some 6 GB per GB of English text.
"""

from __future__ import annotations

import argparse
import glob
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq
from exact_join import exact_pairs, similarities
from rich.console import Console
from rich.table import Table

from dedupe.documents.template import DocumentTemplate

JSON_BLOCK = 1 << 26  # bytes; a line must fit
SET_ROWS = 50_000  # rows whose shingle sets are made at a time
EDGES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0)


def shingles(
    texts: pa.Array, settings: dict[str, Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Shingle sets of texts by the package: the one place where it is used."""
    from dedupe.config import Settings
    from dedupe.stages.fetch import shingle_sets

    offsets, hashes = shingle_sets(texts, Settings(**settings))
    return offsets, hashes


def shard_files(given: list[str]) -> list[Path]:
    """List the files of a corpus in the order of their paths."""
    found: list[Path] = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            found += [p for p in path.rglob("*") if p.is_file() and p.name[0] not in "._"]
        else:
            found += [path] if path.exists() else [Path(p) for p in glob.glob(name)]
    if not found:
        raise SystemExit(f"no file matches {' '.join(given)}")
    return sorted(found, key=str)


def read_texts(path: Path, column: str) -> Iterator[pa.Array]:
    """Yield the text column of a shard, some rows at a time."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(SET_ROWS, columns=[column]):
            yield batch[column].cast(pa.large_string())
    elif ".jsonl" in path.suffixes or ".json" in path.suffixes:
        options = pj.ParseOptions(
            explicit_schema=pa.schema([(column, pa.large_string())]),
            unexpected_field_behavior="ignore",
        )
        with pa.input_stream(path) as stream:
            table = pj.read_json(stream, pj.ReadOptions(block_size=JSON_BLOCK), options)
        for batch in table.to_batches(SET_ROWS):
            yield batch[column]
    else:
        raise SystemExit(f"{path}: only Parquet and JSON lines can be measured")


@dataclass(frozen=True)
class Sets:
    """Shingle sets of a corpus, and how many rows each shard has."""

    offsets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    shard_rows: list[int]


def read_sets(paths: list[Path], settings: dict[str, Any]) -> Sets:
    """Shingle sets of all rows, in the order of the corpus."""
    sizes, hashes, shard_rows = [np.zeros(1, np.int64)], [], []
    for path in paths:
        rows = 0
        for texts in read_texts(path, settings["text"]):
            offsets, values = shingles(texts, settings)
            sizes.append(np.diff(offsets))
            hashes.append(values)
            rows += len(texts)
        shard_rows.append(rows)
    return Sets(np.cumsum(np.concatenate(sizes)), np.concatenate(hashes), shard_rows)


@dataclass(frozen=True)
class KeepList:
    """The keep-list of a corpus; `witness` is a position in the corpus, -1 where there is none."""

    keep: npt.NDArray[np.bool_]
    reason: npt.NDArray[np.object_]
    witness: npt.NDArray[np.int64]
    jaccard: npt.NDArray[np.floating[Any]]


def read_keep_list(out: Path, shards: list[str], shard_rows: list[int]) -> KeepList:
    """Read the keep-list files in the order of the shards; every row must be there, once."""
    files = sorted((out / "keep").glob("*.parquet"))
    if len(files) != len(shards):
        raise SystemExit(f"{out}: {len(files)} keep-list files for {len(shards)} shards")
    start = np.concatenate([[0], np.cumsum(shard_rows)])
    ordinal = {name: k for k, name in enumerate(shards)}
    columns: list[list[npt.NDArray[Any]]] = [[], [], [], []]
    for file, rows in zip(files, shard_rows, strict=True):
        table = pq.read_table(file)
        if not np.array_equal(table["row"].to_numpy(), np.arange(rows)):
            raise SystemExit(f"{file}: not the rows 0 to {rows - 1} in order")
        names = table["witness_shard"].cast(pa.string()).combine_chunks().dictionary_encode()
        unknown = set(names.dictionary.to_pylist()) - ordinal.keys()
        if unknown:
            raise SystemExit(f"{file}: witness in {min(unknown)}, which is no shard of the corpus")
        begin = np.array([start[ordinal[name]] for name in names.dictionary.to_pylist()] + [0])
        shard = names.indices.fill_null(-1).to_numpy()
        row = table["witness_row"].fill_null(0).to_numpy()
        columns[0].append(table["keep"].to_numpy())
        columns[1].append(table["reason"].cast(pa.string()).to_numpy())
        columns[2].append(np.where(shard >= 0, begin[shard] + row, -1))
        columns[3].append(table["jaccard"].to_numpy())
    return KeepList(*(np.concatenate(parts) for parts in columns))


def measure_recall(sets: Sets, keep: npt.NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """Count true pairs, and those of them that were kept whole."""
    left, right, inter, union = exact_pairs(sets.offsets, sets.hashes, threshold)
    jaccard = inter / union
    missed = keep[left] & keep[right]
    edges = [threshold, *(edge for edge in EDGES if edge > threshold)]
    bands = {}
    for low, high in pairwise(edges):
        inside = (jaccard >= low) & ((jaccard < high) | (high == 1.0))
        bands[f"{low:.2f}-{high:.2f}"] = _share(missed[inside])
    survivors = np.unique(np.concatenate([left[missed], right[missed]]))
    return {
        **_share(missed),
        "bands": bands,
        "equal": _share(missed[jaccard == 1.0]),
        "rows_in_pairs": len(np.unique(np.concatenate([left, right]))),
        "survivors": len(survivors),
    }


def _share(missed: npt.NDArray[np.bool_]) -> dict[str, Any]:
    pairs, lost = len(missed), int(missed.sum())
    return {"pairs": pairs, "missed": lost, "recall": 1 - lost / pairs if pairs else None}


def measure_precision(sets: Sets, found: KeepList, threshold: float) -> dict[str, Any]:
    """Count dropped rows, and those whose deletion is not proven."""
    dropped = np.flatnonzero(~found.keep & (found.reason != "empty"))
    witness = found.witness[dropped]
    proven = (witness >= 0) & found.keep[witness]
    without = int((witness < 0).sum())
    rejected = int((~proven).sum()) - without
    inter, union = similarities(sets.offsets, sets.hashes, dropped, np.maximum(witness, 0))
    exact = inter / np.maximum(union, 1)
    stated = found.jaccard[dropped]
    same = stated == exact.astype(stated.dtype)
    similar = exact >= threshold
    return {
        "dropped": len(dropped),
        "without_witness": without,
        "witness_not_kept": rejected,
        "jaccard_differs": int((~same & (witness >= 0)).sum()),
        "below_threshold": int((~similar & (witness >= 0)).sum()),
        "precision": float((proven & same & similar).mean()) if len(dropped) else None,
    }


def report(result: dict[str, Any], console: Console) -> None:
    """Print the measurements as tables."""
    recall, precision = result["recall"], result["precision"]
    table = Table(title=f"Pairs with Jaccard >= {result['threshold']:g}")
    for name in ("similarity", "pairs", "missed", "recall"):
        table.add_column(name, justify="left" if name == "similarity" else "right")
    rows = [*recall["bands"].items(), ("all", recall), ("of them equal sets", recall["equal"])]
    for name, row in rows:
        share = "-" if row["recall"] is None else f"{row['recall']:.5f}"
        table.add_row(name, f"{row['pairs']:,}", f"{row['missed']:,}", share)
    console.print(table)
    table = Table(title="Rows")
    table.add_column("")
    table.add_column("rows", justify="right")
    counts = {
        "corpus": result["rows"],
        "kept": result["kept"],
        **{f"reason {name}": n for name, n in result["reasons"].items()},
        "in a true pair": recall["rows_in_pairs"],
        "survivors (kept, with a kept true partner)": recall["survivors"],
        "dropped, empty rows aside": precision["dropped"],
        "- without witness": precision["without_witness"],
        "- witness not kept": precision["witness_not_kept"],
        "- stated Jaccard is not the exact one": precision["jaccard_differs"],
        "- Jaccard below the threshold": precision["below_threshold"],
    }
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    console.print(table)
    if precision["precision"] is not None:
        console.print(f"precision {precision['precision']:.6f}")


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="output of a finished run")
    parser.add_argument("corpus", nargs="*", metavar="CORPUS", help="what the run was given")
    parser.add_argument("--text", help="text column (default: as in the run, or text)")
    parser.add_argument("--threshold", type=float, help="(default: as in the run, or 0.8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements there")
    args = parser.parse_args(argv)
    summary_file = args.out / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else {}
    shards = [shard["path"] for shard in summary.get("corpus", {}).get("shards", [])]
    if not (args.corpus or shards):
        parser.error(f"{summary_file} names no shards: name the corpus")
    settings = {"text": "text", "threshold": 0.8, **summary.get("settings", {})}
    given = {"text": args.text, "threshold": args.threshold}
    document = summary.get("document")
    if document is not None:  # what the run compared, be it named or found by the columns
        settings["text"] = DocumentTemplate.from_json(document).template.column
    settings.update({name: value for name, value in given.items() if value is not None})
    if settings["text"] is None:
        parser.error("the run compared no single column: name a text column with --text")
    paths = shard_files(args.corpus) if args.corpus else [Path(shard) for shard in shards]
    if shards and len(shards) != len(paths):
        parser.error(f"the corpus has {len(paths)} files, and the run had {len(shards)} shards")

    seconds = {}
    began = time.perf_counter()
    sets = read_sets(paths, settings)
    found = read_keep_list(args.out, shards or [str(path) for path in paths], sets.shard_rows)
    seconds["read"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    recall = measure_recall(sets, found.keep, settings["threshold"])
    seconds["recall"] = round(time.perf_counter() - began, 2)
    began = time.perf_counter()
    precision = measure_precision(sets, found, settings["threshold"])
    seconds["precision"] = round(time.perf_counter() - began, 2)
    result = {
        "rows": len(found.keep),
        "kept": int(found.keep.sum()),
        "reasons": dict(Counter(found.reason.tolist())),
        "threshold": settings["threshold"],
        "recall": recall,
        "precision": precision,
        "seconds": seconds,
    }
    report(result, Console())
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
