"""The peers and this project on one corpus: time, memory, kept rows and, for few rows, the truth.

    python -m benchmarks.peers.compare peers-20k corpus20k --venvs venvs

The comparison is one of peers.toml. Every tool runs in a process of its own, on two cores, from the
same Parquet files to the rows kept; all of them once, then all of them again, so that a busy hour
is busy for each. Medians go to the result file after each round, with every run beside them. A tool
that fails or takes too long has that for a line, and is not tried again. With --only the lines of
other tools stay as they are.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, STDOUT
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.common import RESULTS, read_json, write_result
from benchmarks.measure.commands import warm_up
from benchmarks.measure.process import Usage, measured
from benchmarks.studies.quality import NEAR, Truth, truth
from dedupe.config import ALGORITHM

HERE = Path(__file__).resolve().parent
LISTED = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
PEERS: dict[str, dict[str, Any]] = {peer["name"]: peer for peer in LISTED["peers"]}
THRESHOLD, WORKERS = 0.8, 2
TAKEN = ("wall_seconds", "cpu_seconds", "peak_pss_bytes")
MATCHED = {"bands": 16, "rows": 6, "num_perm": 16 * 6}  # as `dedupe run` for its recall of 0.99


@dataclass
class Tool:
    """One line of the comparison, and what its runs took so far; a peer has a runner in run.py."""

    name: str
    kind: str
    settings: Any
    environment: str = "dedupe"
    runner: str | None = None
    runs: list[Usage] = field(default_factory=list)
    kept: npt.NDArray[np.int64] | None = None
    failure: str | None = None

    def command(self, venvs: Path, files: list[str], folder: Path) -> list[str]:
        """What is run, which leaves the rows kept in the folder."""
        python = interpreter(self.environment, venvs)
        if self.runner is None:
            command = [python, "-m", "dedupe", "run", *files, "--output", str(folder / "out")]
            return [*command, "--quiet", "--workers", str(WORKERS), *self.settings]
        settings = {"workers": WORKERS, "threshold": THRESHOLD, **self.settings}
        command = [python, str(HERE / "run.py"), self.runner, json.dumps(settings)]
        return [*command, str(folder / "kept.parquet"), *files]

    def run(self, venvs: Path, files: list[str], folder: Path, timeout: float) -> None:
        """Run it once, in a folder that is empty before and after."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)
        log = folder / "log"
        with log.open("wb") as messages:
            place = {"cwd": folder / "tmp", "env": environment(folder / "tmp")}
            place |= {"stdin": DEVNULL, "stdout": messages, "stderr": STDOUT}
            command = self.command(venvs, files, folder)
            used = measured(command, proportional=True, timeout=timeout, **place)
        if used.returncode is None:
            self.failure = f"ended after {timeout:,.0f} s"
        elif used.returncode:
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
            self.failure = "\n".join([f"exit code {used.returncode}", *last])
        else:
            self.runs.append(used)
            self.kept = read_kept(folder)
        shutil.rmtree(folder)

    def line(self, known: Truth | None) -> dict[str, Any]:
        """Its line in the result file."""
        shown = ("name", "kind", "settings", "failure")
        line: dict[str, Any] = {name: getattr(self, name) for name in shown}
        line["algorithm"] = ALGORITHM
        line["runs"] = len(self.runs)
        if self.kept is None:
            return line
        for what in TAKEN:
            values = [getattr(used, what) for used in self.runs]
            line |= {what: statistics.median(values), f"all_{what}": values}
        line["kept"] = len(self.kept)
        return line | ({"truth": judge(known, self.kept)} if known else {})


def interpreter(environment: str, venvs: Path) -> str:
    """The Python of an environment; SystemExit where it is not installed."""
    path = venvs.absolute() / environment / "bin" / "python"
    if not path.exists():
        remedy = f"run: benchmarks/peers/install.sh {venvs} {environment}"
        raise SystemExit(f"{environment} is not installed in {venvs}: {remedy}")
    return str(path)


def environment(folder: Path) -> dict[str, str]:
    """Of a tool's process: caches begin empty, nothing is looked up elsewhere, few threads."""
    apart = ("RAY_ADDRESS", "PYTHONPATH")
    found = {name: value for name, value in os.environ.items() if name not in apart}
    threads = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
    found |= dict.fromkeys(threads, str(WORKERS)) | {"HF_HUB_OFFLINE": "1"}
    places = {"TMPDIR": folder, "RAY_TMPDIR": folder, "HF_HOME": folder / "huggingface"}
    return found | {name: str(place) for name, place in places.items()}


def read_kept(folder: Path) -> npt.NDArray[np.int64]:
    """The rows that a tool kept, in ascending order."""
    written = folder / "kept.parquet"
    if written.exists():
        return np.sort(pq.read_table(written)["row"].to_numpy())
    return np.flatnonzero(pq.read_table(folder / "out" / "keep")["keep"].to_numpy())


def judge(known: Truth, kept: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Count what was missed and what was dropped without reason.

    A pair is resolved when not both of its rows were kept. A row is wrongly dropped when no kept
    row is a true partner of it; rows without a shingle, which have no partner, are counted apart.
    """
    empty = np.diff(known.offsets) == 0
    keep, reason = np.zeros((2, len(empty)), np.bool_)
    keep[kept] = True
    both = keep[known.left] & keep[known.right]
    hard = known.jaccard < THRESHOLD + NEAR
    reason[known.left[keep[known.right]]] = True
    reason[known.right[keep[known.left]]] = True
    dropped = ~keep & ~empty

    counted = {"both_kept": both, "hard_pairs": hard, "dropped": dropped}
    counted |= {"dropped_empty": ~keep & empty, "wrongly_dropped": dropped & ~reason}
    shares = {"recall": ~both, "hard_recall": ~both[hard]}
    shares |= {"wrongly_dropped_share": (~reason)[dropped]}
    found: dict[str, Any] = {name: int(which.sum()) for name, which in counted.items()}
    found |= {name: float(of.mean()) if len(of) else None for name, of in shares.items()}
    return {"pairs": len(both), **found}


def find_files(corpus: Path) -> list[str]:
    """The Parquet files of a corpus, as `dedupe run` orders them."""
    return [str(path.absolute()) for path in sorted(corpus.rglob("*.parquet"), key=str)]


def tools_of(comparison: dict[str, Any]) -> list[Tool]:
    """Ours, then the peers of a comparison with the settings that each can take."""
    tools = [Tool(name, "documented", LISTED["own"][name]) for name in comparison["own"]]
    for name, peer in PEERS.items():
        place = peer["environment"], peer["runner"]
        if name in comparison.get("documented", PEERS):
            tools.append(Tool(name, "documented", peer["documented"], *place))
        if name in comparison.get("matched", PEERS) and peer.get("bands", True):
            tools.append(Tool(name, "matched", {**peer["documented"], **MATCHED}, *place))
    return tools


def in_order(lines: list[dict[str, Any]], comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of some tools in the order in which a comparison lists them."""
    listed = [(tool.name, tool.kind) for tool in tools_of(comparison)]
    return sorted(lines, key=lambda line: listed.index((line["name"], line["kind"])))


def earlier_lines(path: Path, rows: int, tools: list[Tool]) -> list[dict[str, Any]]:
    """The lines of other tools in a result file, without what was true by another algorithm.

    `beside` is what ours took in the same hour, for ratios.
    """
    before = read_json(path) if path.exists() else {"rows": None}
    if before["rows"] != rows:
        return []
    now, made = {(tool.name, tool.kind) for tool in tools}, before.get("algorithm", 1)
    lines = [
        {
            "algorithm": made,
            "beside": {what: before["tools"][0].get(what) for what in TAKEN},
            **line,
        }
        for line in before["tools"]
    ]
    for line in lines:
        if line["algorithm"] != ALGORITHM:
            line.pop("truth", None)
    return [line for line in lines if (line["name"], line["kind"]) not in now]


def main() -> None:
    """Run all, again and again, and write the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("name", choices=LISTED["comparisons"])
    add("corpus", type=Path, help="folder of Parquet files with a column text")
    add("--venvs", type=Path, required=True, help="what install.sh made")
    add("--json", type=Path, help="result file")
    add("--only", nargs="+", metavar="ENVIRONMENT", help="peers of these environments, once")
    known = parser.parse_args()
    comparison = LISTED["comparisons"][known.name]
    tools, files = tools_of(comparison), find_files(known.corpus)
    if known.only:
        tools = [tool for tool in tools if not tool.runner or tool.environment in known.only]
    texts = pq.read_table(files, columns=["text"])
    size = pc.sum(pc.binary_length(texts["text"])).as_py()
    result = {"note": comparison["note"], "rows": len(texts), "text_bytes": size}
    result |= {"threshold": THRESHOLD, "workers": WORKERS}
    if hasattr(os, "sched_setaffinity"):  # what is started stays on these cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:WORKERS])
    true = truth(texts, THRESHOLD) if comparison["truth"] else None
    target = known.json or RESULTS / f"{known.name}.json"
    earlier = earlier_lines(target, len(texts), tools) if known.only else []
    del texts
    with tempfile.TemporaryDirectory() as name:
        warm_up(Path(name), interpreter("dedupe", known.venvs))
        for number in range(1 if known.only else comparison["runs"]):
            for tool in (tool for tool in tools if not tool.failure):
                tool.run(known.venvs, files, Path(name) / "run", comparison["timeout"])
                said = tool.failure or f"{tool.runs[-1]}, {len(tool.kept):,} kept"
                print(f"{number + 1} {tool.name}, {tool.kind}: {said}", flush=True)
            lines = in_order([tool.line(true) for tool in tools] + earlier, comparison)
            write_result(target, {**result, "tools": lines})


if __name__ == "__main__":
    main()
