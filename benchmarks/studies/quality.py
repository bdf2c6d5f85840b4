"""Recall, precision and dedup rate on text of many kinds, setting against setting.

Every pair of rows with Jaccard 0.7 or more is found by an exact join that shares no code with the
package's LSH or verification, once for each shingle.

*Recall* is the share of true pairs of which not both rows were kept, *near* the same for pairs less
than 0.05 above the threshold; *survivors* are kept rows with a true partner that is kept;
*precision* is the share of dropped rows whose witness is kept, at the threshold and as similar as
stated; *unproven* the rows that would be dropped besides if every component were one cluster.
"""

import argparse
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from benchmarks.corpus.small import spaced
from benchmarks.engine import Settings, deduplicate, shingle_sets
from benchmarks.studies.exact_join import exact_pairs

Bools = npt.NDArray[np.bool_]

THRESHOLDS = (0.7, 0.8, 0.9)
NEAR = 0.05
RECALLS = (0.9, 0.95, 0.99, 0.998)
BANDINGS = ((14, 8), (25, 10))
"""Bands and rows that other tools have by default; neither asks what they find at the threshold."""
SHINGLES = ("word:5", "word:3", "char:7", "char:13", "char:27")
UNSPACED = ("zh_CN", "zh_TW", "ja", "th", "lo", "my", "km")
"""Languages of the multilingual corpus whose scripts are written without spaces."""


def messages(row: dict[str, Any]) -> str:
    """A conversation: every message's content."""
    return "\n".join(message["content"] or "" for message in row["messages"])


def joined(*names: str) -> Callable[[dict[str, Any]], str]:
    """Some fields of a row, a line for each."""
    return lambda row: "\n".join(row[name] or "" for name in names)


def rendered(name: str, render: Callable[[dict[str, Any]], str]) -> Callable[[Path], pa.Array]:
    """Documents of the structured rows of a JSON-lines file."""
    open_ = gzip.open if name.endswith(".gz") else open

    def read(data: Path) -> pa.Array:
        with open_(data / name, "rt", encoding="utf-8") as lines:
            return pa.array([render(json.loads(line)) for line in lines], pa.large_string())

    return read


def selected(name: str, wanted: pc.Expression) -> Callable[[Path], pa.Array]:
    """Documents of the rows of Parquet files that an expression selects."""

    def read(data: Path) -> pa.Array:
        table = ds.dataset(data / name, format="parquet").to_table(["text"], filter=wanted)
        return table["text"].cast(pa.large_string()).combine_chunks()

    return read


def of_source(prefix: str) -> Callable[[Path], pa.Array]:
    """English documents from sources of such names."""
    return selected("english-docs", pc.starts_with(ds.field("source"), prefix))


_unspaced = pc.is_in(ds.field("lang"), pa.array(UNSPACED))
KINDS: dict[str, Callable[[Path], pa.Array]] = {
    "package descriptions": of_source("debian-desc"),
    "manual pages": of_source("manpage"),
    "command summaries": of_source("tldr"),
    "manuals": of_source("doc:"),
    "change logs": of_source("deb-changelog"),
    "commit messages": of_source("commit:"),
    "code": of_source("code:"),
    "scripts with spaces": selected("multilingual.parquet", ~_unspaced),
    "scripts without spaces": selected("multilingual.parquet", _unspaced),
    "instructions": rendered("alpaca.jsonl.gz", joined("instruction", "input", "output")),
    "chats": rendered("chat.jsonl", messages),
    "preference pairs": rendered("preference.jsonl", joined("prompt", "chosen", "rejected")),
}
"""Kinds of text, and how their documents are read from the folder of corpora."""


def settings_of_runs() -> Iterator[dict[str, Any]]:
    """What is given to each run."""
    for threshold in THRESHOLDS:
        usual = {"shingle": SHINGLES[0], "threshold": threshold}
        for recall in RECALLS:
            yield {**usual, "recall": recall}
        for bands, rows in BANDINGS:
            yield {**usual, "bands": bands, "rows": rows, "num_perm": max(bands * rows, 128)}
        for shingle in SHINGLES[1:]:
            yield {"shingle": shingle, "threshold": threshold, "recall": 0.99}


@dataclass(frozen=True)
class Truth:
    """The shingle sets of some rows, all pairs (left, right) that are similar, and how similar."""

    offsets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    jaccard: npt.NDArray[np.float64]


def truth(texts: pa.Array, threshold: float, shingle: str = SHINGLES[0]) -> Truth:
    """The pairs of texts at a threshold or above."""
    offsets, hashes = shingle_sets(texts, Settings(shingle=shingle))
    left, right, inter, union = exact_pairs(offsets, hashes, threshold)
    return Truth(offsets, hashes, left, right, inter / union)


def found_of(known: Truth, keep: Bools, threshold: float) -> dict[str, int]:
    """What a run that kept some rows found of the truth at its threshold."""
    true = known.jaccard >= threshold
    near = true & (known.jaccard < threshold + NEAR)
    missed = true & keep[known.left] & keep[known.right]
    survivors = np.unique(np.concatenate([known.left[missed], known.right[missed]]))
    return {
        "pairs": int(true.sum()),
        "missed": int(missed.sum()),
        "near_pairs": int(near.sum()),
        "near_missed": int((missed & near).sum()),
        "survivors": len(survivors),
    }


def precision_of(known: Truth, rows: pa.Table, threshold: float) -> float | None:
    """The share of dropped rows of a keep-list whose deletion is proven."""
    keep = rows["keep"].to_numpy()
    true = known.jaccard >= threshold
    pairs = zip(known.left[true].tolist(), known.right[true].tolist(), strict=True)
    exact = dict(zip(pairs, known.jaccard[true].astype(np.float32), strict=True))
    dropped = rows.append_column("row_", pa.array(np.arange(len(rows)))).filter(~keep).to_pylist()
    proven = 0
    for row in dropped:
        pair = sorted((row["row_"], row["witness_row"]))
        proven += keep[row["witness_row"]] and exact.get(tuple(pair)) == row["jaccard"]
    return float(proven / len(dropped)) if dropped else None


def measure(texts: pa.Array, known: Truth, given: dict[str, Any]) -> tuple[dict[str, Any], Bools]:
    """One run against the truth; also its dropped rows."""
    result = deduplicate(pa.table({"text": texts}), **given)
    summary, rows = result.summary, result.keep_list()
    components, lsh, reasons = summary["components"], summary["lsh"], summary["reasons"]
    keep = rows["keep"].to_numpy()
    dropped = reasons["exact"] + reasons["near"]
    clusters = np.unique(rows["witness_row"].drop_null().to_numpy(), return_counts=True)[1]
    line = {
        **given,
        "bands": lsh["bands"],
        "rows": lsh["rows"],
        "planned": "recall" in given,
        **found_of(known, keep, given["threshold"]),
        "dropped": dropped,
        "exact": reasons["exact"],
        "empty": reasons["empty"],
        "precision": precision_of(known, rows, given["threshold"]),
        "clusters": len(clusters),
        "largest_cluster": int(clusters.max(initial=0)) + 1,
        "largest_component": components["largest"],
        "unproven": components["rows"] - components["count"] - dropped,
    }
    return line, ~keep


def measure_kind(texts: pa.Array) -> list[dict[str, Any]]:
    """Every run on one kind of text; those of other shingles are compared with the usual one."""
    known: dict[str, Truth] = {}
    usual: dict[float, Bools] = {}
    lines = []
    for given in settings_of_runs():
        shingle = given["shingle"]
        if shingle not in known:  # one besides the usual one is in memory
            known = {name: known[name] for name in SHINGLES[:1] if known}
            known[shingle] = truth(texts, min(THRESHOLDS), shingle)
        line, lost = measure(texts, known[shingle], given)
        if given.get("recall") == 0.99:
            other = usual.setdefault(given["threshold"], lost)
            line["only_usual"] = int((other & ~lost).sum())
            line["only_this"] = int((lost & ~other).sum())
        lines.append(line)
    return lines


def quality(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every run on each kind of text of a folder of corpora, at most --rows evenly spaced rows."""
    kinds = {}
    for name, read in KINDS.items():
        texts = spaced(read(Path(known.corpus[0])), known.rows[0] if known.rows else 60_000)
        kinds[name] = {
            "rows": len(texts),
            "characters_per_row": float(pc.mean(pc.utf8_length(texts)).as_py()),
            "runs": measure_kind(texts),
        }
        print(f"{name}: {len(texts):,} rows", flush=True)
    return {"kinds": kinds}
