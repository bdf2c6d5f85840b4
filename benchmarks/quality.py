"""Recall, precision and dedup rate on text of many kinds, setting against setting.

    python benchmarks/quality.py ../shared/data --json results/quality.json

Each kind of text in the folder's corpora is measured by itself (`KINDS`; at most --rows rows of
each, evenly spaced). Every pair of rows with Jaccard 0.7 or more is found by an exact join that
shares no code with the package's LSH or verification, once for each shingle. Against it stand runs

- with word:5, at each threshold, for each recall asked for, and for some bands and rows given;
- with each other shingle, at each threshold, with the default recall.

*Recall* is the share of true pairs of which not both rows were kept, *near* the same for pairs less
than 0.05 above the threshold; *survivors* are kept rows with a true partner that is kept;
*precision* is the share of dropped rows whose witness is kept, at the threshold and as similar as
stated; *unproven* the rows that would be dropped besides if every component were one cluster.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from exact_join import exact_pairs
from measuring import write_result
from recall import KeepList, Sets, measure_precision

import dedupe
from dedupe.config import Settings
from dedupe.stages.fetch import shingle_sets

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


def instruction(row: dict[str, Any]) -> str:
    """An instruction row: what is asked and what is answered."""
    return "\n".join(row[name] or "" for name in ("instruction", "input", "output"))


def preference(row: dict[str, Any]) -> str:
    """A preference pair: the prompt and both answers."""
    return "\n".join(row[name] or "" for name in ("prompt", "chosen", "rejected"))


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSON-lines file."""
    open_ = gzip.open if path.suffix == ".gz" else open
    with open_(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def rendered(name: str, render: Callable[[dict[str, Any]], str]) -> Callable[[Path], pa.Array]:
    """Documents of structured rows."""
    return lambda data: pa.array([render(row) for row in rows_of(data / name)], pa.large_string())


def selected(name: str, wanted: Callable[[], pc.Expression]) -> Callable[[Path], pa.Array]:
    """Documents of the rows of Parquet files that an expression selects."""

    def read(data: Path) -> pa.Array:
        table = ds.dataset(data / name, format="parquet").to_table(["text"], filter=wanted())
        return table["text"].cast(pa.large_string()).combine_chunks()

    return read


def of_source(prefix: str) -> Callable[[Path], pa.Array]:
    """English documents from sources of such names."""
    return selected("english-docs", lambda: pc.starts_with(ds.field("source"), prefix))


KINDS: dict[str, Callable[[Path], pa.Array]] = {
    "package descriptions": of_source("debian-desc"),
    "manual pages": of_source("manpage"),
    "command summaries": of_source("tldr"),
    "manuals": of_source("doc:"),
    "change logs": of_source("deb-changelog"),
    "commit messages": of_source("commit:"),
    "code": of_source("code:"),
    "scripts with spaces": selected("multilingual.parquet", lambda: ~unspaced()),
    "scripts without spaces": selected("multilingual.parquet", lambda: unspaced()),
    "instructions": rendered("alpaca.jsonl.gz", instruction),
    "chats": rendered("chat.jsonl", messages),
    "preference pairs": rendered("preference.jsonl", preference),
}
"""Kinds of text, and how their documents are read from the folder of corpora."""


def unspaced() -> pc.Expression:
    """Rows in a language written without spaces."""
    return pc.is_in(ds.field("lang"), pa.array(UNSPACED))


def settings_of_runs() -> Iterator[dict[str, Any]]:
    """What is given to each run."""
    for threshold in THRESHOLDS:
        for recall in RECALLS:
            yield {"shingle": SHINGLES[0], "threshold": threshold, "recall": recall}
        for bands, rows in BANDINGS:
            given = {"bands": bands, "rows": rows, "num_perm": max(bands * rows, 128)}
            yield {"shingle": SHINGLES[0], "threshold": threshold, **given}
        for shingle in SHINGLES[1:]:
            yield {"shingle": shingle, "threshold": threshold, "recall": 0.99}


@dataclass(frozen=True)
class Truth:
    """All pairs of rows (left, right) that are similar, and how similar."""

    sets: Sets
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    jaccard: npt.NDArray[np.float64]


def truth(texts: pa.Array, shingle: str) -> Truth:
    """The pairs at the lowest of the thresholds."""
    offsets, hashes = shingle_sets(texts, Settings(shingle=shingle))
    left, right, inter, union = exact_pairs(offsets, hashes, min(THRESHOLDS))
    return Truth(Sets(offsets, hashes, [len(texts)]), left, right, inter / union)


def keep_list(result: dedupe.Result) -> KeepList:
    """The keep-list of a corpus of one shard."""
    table = result.keep_list()
    return KeepList(
        table["keep"].to_numpy(),
        table["reason"].cast(pa.string()).to_numpy(),
        table["witness_row"].fill_null(-1).to_numpy(),
        table["jaccard"].to_numpy(),
    )


def found_of(known: Truth, keep: npt.NDArray[np.bool_], threshold: float) -> dict[str, Any]:
    """What a run found of the truth at its threshold."""
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


def measure(texts: pa.Array, known: Truth, given: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """One run against the truth; also its dropped rows."""
    began = time.perf_counter()
    result = dedupe.deduplicate(pa.table({"text": texts}), **given)
    seconds = time.perf_counter() - began
    summary, found = result.summary, keep_list(result)
    components, lsh, reasons = summary["components"], summary["lsh"], summary["reasons"]
    dropped = reasons["exact"] + reasons["near"]
    clusters = np.unique(found.witness[~found.keep & (found.witness >= 0)], return_counts=True)[1]
    proof = measure_precision(known.sets, found, given["threshold"])
    line = {
        **given,
        "bands": lsh["bands"],
        "rows": lsh["rows"],
        "planned": "recall" in given,
        **found_of(known, found.keep, given["threshold"]),
        "dropped": dropped,
        "exact": reasons["exact"],
        "empty": reasons["empty"],
        "precision": proof["precision"],
        "clusters": len(clusters),
        "largest_cluster": int(clusters.max(initial=0)) + 1,
        "largest_component": components["largest"],
        "unproven": components["rows"] - components["count"] - dropped,
        "seconds": round(seconds, 3),
    }
    return line, ~found.keep


def measure_kind(texts: pa.Array) -> list[dict[str, Any]]:
    """Every run on one kind of text."""
    known: dict[str, Truth] = {}
    dropped: dict[float, npt.NDArray[np.bool_]] = {}
    lines = []
    for given in settings_of_runs():
        shingle, threshold = given["shingle"], given["threshold"]
        if shingle not in known:
            known = {SHINGLES[0]: known[SHINGLES[0]]} if known else {}
            known[shingle] = truth(texts, shingle)
        line, lost = measure(texts, known[shingle], given)
        if given.get("recall") == 0.99:
            usual = dropped.setdefault(threshold, lost)
            line["only_usual"] = int((usual & ~lost).sum())
            line["only_this"] = int((lost & ~usual).sum())
        lines.append(line)
    return lines


def spaced(texts: pa.Array, most: int) -> pa.Array:
    """At most so many rows, evenly spaced."""
    if len(texts) <= most:
        return texts
    return texts.take(pa.array(np.arange(most) * len(texts) // most))


def main() -> None:
    """Parse arguments, measure every kind, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of real corpora")
    parser.add_argument("--json", required=True, help="result file")
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    known = parser.parse_args()
    kinds = {}
    for name in known.only:
        began = time.perf_counter()
        texts = spaced(KINDS[name](known.data), known.rows)
        kinds[name] = {
            "rows": len(texts),
            "characters_per_row": float(pc.mean(pc.utf8_length(texts)).as_py()),
            "runs": measure_kind(texts),
        }
        print(f"{name}: {len(texts):,} rows, {time.perf_counter() - began:.0f} s", flush=True)
    write_result(known.json, {"kinds": kinds})


if __name__ == "__main__":
    main()
