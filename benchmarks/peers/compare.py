"""The peers and this project on one corpus: time, memory, kept rows and, for few rows, the truth.

    python -m benchmarks.peers.compare corpus20k --venvs venvs --settings documented matched --truth
        --json benchmarks/results/peers-20k.json

Every tool runs in a process of its own, from the same Parquet files to the rows kept; all of them
once, then all of them again, --runs times, so that a busy hour is busy for each. Medians go to the
JSON, with every run beside them, and as ratios to `dedupe` in the same session. The file is written
after each round, so that an interrupted session leaves the rounds before.

A tool that passes --timeout is ended and not tried again; that, or the end of its messages if it
fails, is its line in the JSON. Each may use --workers cores.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.common import cpu_model
from benchmarks.measure.commands import warm_up
from benchmarks.measure.process import Usage, measured
from benchmarks.studies.quality import NEAR, Truth, truth

HERE = Path(__file__).resolve().parent
LISTED = tomllib.loads((HERE / "peers.toml").read_text(encoding="utf-8"))
PEERS: dict[str, dict[str, Any]] = {peer["name"]: peer for peer in LISTED["peers"]}
THRESHOLD = 0.8
MATCHED = (16, 6)
"""Bands and rows of `dedupe run` for its default recall: 0.992 at the threshold."""
MEDIANS = ("wall_seconds", "cpu_seconds", "peak_pss_bytes")


@dataclass
class Tool:
    """One line of the comparison, and what its runs took so far; a peer has a runner in run.py."""

    name: str
    kind: str
    settings: Any
    environment: str = "dedupe"
    runner: str | None = None
    page: str | None = None
    runs: list[Usage] = field(default_factory=list)
    kept: list[npt.NDArray[np.int64]] = field(default_factory=list)
    failure: str | None = None

    def command(self, known: argparse.Namespace, files: list[str], folder: Path) -> list[str]:
        """What is run, which leaves the rows kept in the folder."""
        python = interpreter(self.environment, known.venvs)
        if self.runner is None:
            command = [python, "-m", "dedupe", "run", *files, "--output", str(folder / "out")]
            return [*command, "--quiet", "--workers", str(known.workers), *self.settings]
        settings = {"workers": known.workers, "threshold": THRESHOLD, **self.settings}
        command = [python, str(HERE / "run.py"), self.runner, json.dumps(settings)]
        return [*command, str(folder / "kept.parquet"), *files]

    def line(self, own: "Tool", known: Truth | None) -> dict[str, Any]:
        """Its line in the JSON."""
        shown = ("name", "kind", "settings", "page", "failure")
        line: dict[str, Any] = {name: getattr(self, name) for name in shown}
        line |= {"versions": pinned(self.environment), "runs": len(self.runs)}
        if not self.runs:
            return line
        for what in MEDIANS:
            values = [getattr(used, what) for used in self.runs]
            line |= {what: statistics.median(values), f"all_{what}": values}
            base = [getattr(used, what) for used in own.runs]
            line[f"ratio_{what}"] = line[what] / statistics.median(base)
        kept = self.kept[-1]
        line |= {"kept": len(kept), "kept_sha256": hashlib.sha256(kept.tobytes()).hexdigest()}
        line["same_each_run"] = all(np.array_equal(kept, other) for other in self.kept)
        return line | ({"truth": judge(known, kept)} if known else {})


def pinned(environment: str) -> dict[str, str]:
    """Versions of the packages that were asked for in an environment."""
    lines = (HERE / "locks" / f"{environment}.in").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(" ")[0].split("==") for line in lines if "==" in line)
    return {name.partition("[")[0]: version for name, version in pairs}


def interpreter(environment: str, venvs: Path) -> str:
    """The Python of an environment; SystemExit where it is not installed."""
    path = venvs.absolute() / environment / "bin" / "python"
    if not path.exists():
        remedy = f"run: benchmarks/peers/install.sh {venvs} {environment}"
        raise SystemExit(f"{environment} is not installed in {venvs}: {remedy}")
    return str(path)


def settings_of(peer: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """What a runner is given for `documented`, `matched` or BANDSxROWS; None if it cannot."""
    if kind == "documented" or not peer.get("bands", True):
        return peer["documented"] if kind == "documented" else None
    bands, rows = MATCHED if kind == "matched" else map(int, kind.split("x"))
    return {**peer["documented"], "bands": bands, "rows": rows, "num_perm": bands * rows}


def run(tool: Tool, files: list[str], known: argparse.Namespace, folder: Path) -> None:
    """Run a tool once, into a folder that is empty before and after."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    log = folder / "log"
    with log.open("wb") as messages:
        used = measured(
            tool.command(known, files, folder),
            proportional=True,
            timeout=known.timeout,
            cwd=folder / "tmp",
            env=environment(folder / "tmp", known.workers),
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(stay_on, known.workers),
        )
    if used.returncode is None:
        tool.failure = f"ended after {known.timeout:,.0f} s"
    elif used.returncode:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
        tool.failure = "\n".join([f"exit code {used.returncode}", *last])
    else:
        tool.runs.append(used)
        tool.kept.append(read_kept(folder))
    shutil.rmtree(folder)


def environment(folder: Path, workers: int) -> dict[str, str]:
    """Of a tool's process: caches begin empty, nothing is looked up elsewhere, few threads."""
    apart = ("RAY_ADDRESS", "PYTHONPATH")
    found = {name: value for name, value in os.environ.items() if name not in apart}
    threads = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
    found |= dict.fromkeys(threads, str(workers)) | {"HF_HUB_OFFLINE": "1"}
    places = {"TMPDIR": folder, "RAY_TMPDIR": folder, "HF_HOME": folder / "huggingface"}
    return found | {name: str(place) for name, place in places.items()}


def stay_on(cores: int) -> None:
    """Hold this process, and what it starts, on so many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def read_kept(folder: Path) -> npt.NDArray[np.int64]:
    """The rows that a tool kept, in ascending order."""
    written = folder / "kept.parquet"
    if written.exists():
        return np.sort(pq.read_table(written)["row"].to_numpy())
    keep_lists = sorted((folder / "out" / "keep").glob("*.parquet"))
    keep = [pq.read_table(path, columns=["keep"])["keep"].to_numpy() for path in keep_lists]
    return np.flatnonzero(np.concatenate(keep))


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

    def share(which: npt.NDArray[np.bool_]) -> float | None:
        return float(which.mean()) if len(which) else None

    return {
        "pairs": len(both),
        "both_kept": int(both.sum()),
        "recall": share(~both),
        "hard_pairs": int(hard.sum()),
        "hard_recall": share(~both[hard]),
        "dropped": int(dropped.sum()),
        "dropped_empty": int((~keep & empty).sum()),
        "wrongly_dropped": int((dropped & ~reason).sum()),
        "wrongly_dropped_share": share((~reason)[dropped]),
    }


def find_files(corpus: Path) -> list[str]:
    """The Parquet files of a corpus, as `dedupe run` orders them."""
    files = sorted(corpus.rglob("*.parquet"), key=str)
    if not files:
        raise SystemExit(f"{corpus}: no Parquet file is there")
    return [str(path.absolute()) for path in files]


def texts_of(files: list[str]) -> pa.ChunkedArray:
    """The texts of a corpus."""
    return pa.concat_tables(pq.read_table(path, columns=["text"]) for path in files)["text"]


def ask_for(names: list[str], kinds: list[str]) -> dict[str, list[str]]:
    """The settings of each peer. A name is one of a peer, an environment or `fast`.

    `name:settings` asks for those settings, a name for `kinds`. ValueError says what is wrong.
    """
    asked: dict[str, list[str]] = {}
    for given in names:
        name, _, own_kind = given.partition(":")
        found = [n for n, peer in PEERS.items() if name in (n, peer["environment"])]
        found = LISTED["fast"] if name == "fast" else found
        if not found:
            raise ValueError(f"no peer is called {name}: fast, {', '.join(PEERS)}")
        for kind in [own_kind] if own_kind else kinds:
            bands, _, rows = kind.partition("x")
            if kind not in ("documented", "matched") and not (bands.isdigit() and rows.isdigit()):
                raise ValueError(f"{kind}: give documented, matched, or bands x rows as 16x8")
            for peer in found:
                asked.setdefault(peer, []).append(kind)
    return {peer: list(dict.fromkeys(kinds)) for peer, kinds in asked.items()}


def tools_of(own: list[str], asked: dict[str, list[str]]) -> list[Tool]:
    """Ours, then the peers with the settings that each can take."""
    tools = [Tool(name, "documented", LISTED["own"][name]) for name in own]
    for name in (name for name in PEERS if name in asked):
        peer = PEERS[name]
        place = peer["environment"], peer["runner"], peer["page"]
        given = ((kind, settings_of(peer, kind)) for kind in asked[name])
        tools += [Tool(name, kind, found, *place) for kind, found in given if found is not None]
    return tools


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("corpus", type=Path, help="folder of Parquet files with a column text")
    add("--venvs", type=Path, required=True, help="what install.sh made")
    add("--json", type=Path, required=True, help="result file")
    add(
        "--peers", nargs="+", default=list(PEERS), metavar="PEER", help="names, name:settings, fast"
    )
    add("--own", nargs="+", default=["dedupe"], choices=LISTED["own"], help="of this project")
    add("--settings", nargs="+", default=["documented"], help="documented, matched, 16x8")
    add("--runs", type=int, default=3)
    add("--workers", type=int, default=2)
    add("--timeout", type=float, default=3600, metavar="SECONDS", help="for each run")
    add("--work", type=Path, help="for what tools leave; a short path, Ray has sockets there")
    add("--truth", action="store_true", help="join the corpus exactly")
    add("--note", default="", help="how the corpus was made, and the machine")
    known = parser.parse_args()
    try:
        known.tools = tools_of(known.own, ask_for(known.peers, known.settings))
    except ValueError as error:
        parser.error(str(error))
    return known


def main() -> None:
    """Run all, again and again, and write the medians."""
    known = parse()
    files, own = find_files(known.corpus), known.tools[0]
    texts = texts_of(files)
    size = pc.sum(pc.binary_length(texts)).as_py()
    result = {"name": known.corpus.name, "note": known.note, "rows": len(texts), "text_bytes": size}
    result |= {"threshold": THRESHOLD, "workers": known.workers, "cpu_model": cpu_model()}
    true = truth(pa.concat_arrays(texts.chunks), THRESHOLD) if known.truth else None
    del texts
    with tempfile.TemporaryDirectory(dir=known.work) as name:
        warm_up(Path(name), interpreter("dedupe", known.venvs))
        for number in range(known.runs):
            for tool in (tool for tool in known.tools if not tool.failure):
                run(tool, files, known, Path(name) / "run")
                said = tool.failure or f"{tool.runs[-1]}, {len(tool.kept[-1]):,} kept"
                print(f"{number + 1} {tool.name}, {tool.kind}: {said}", flush=True)
            lines = [tool.line(own, true) for tool in known.tools]
            written = json.dumps({**result, "tools": lines}, indent=1) + "\n"
            known.json.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
