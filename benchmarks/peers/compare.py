"""The peers and this project on one corpus: time, memory, kept rows and, for few rows, the truth.

    python benchmarks/peers/compare.py corpus20k --venvs venvs --settings documented matched --truth
        --json benchmarks/results/peers-20k.json

Every tool runs in a process of its own, from the same Parquet files to the rows kept; all of them
once, then all of them again, --runs times, so that a busy hour is busy for each. Medians go to the
JSON, with every run beside them, and as ratios to `dedupe` in the same session. The file is written
after each round, so that an interrupted session leaves the rounds before.

A tool that passes --timeout is ended and not tried again; that, or the end of its messages if it
fails, is its line in the JSON. Each may use --workers cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from peers import ENVIRONMENTS, FAST, OWN, OWN_ENVIRONMENT, PEERS, THRESHOLD, Peer

sys.path.insert(0, str(Path(__file__).parents[1]))
from measure import Usage, measured
from measuring import cpu_model, warm_up

HERE = Path(__file__).parent
MEDIANS = ("wall_seconds", "cpu_seconds", "peak_pss_bytes")
ASK_VERSIONS = """
import importlib.metadata as m, json, sys
found = {"python": "%d.%d.%d" % sys.version_info[:3]}
print(json.dumps(found | {n: m.version(n) for n in sys.argv[1:]}))
"""


@dataclass
class Tool:
    """One line of the comparison, and what its runs took so far."""

    name: str
    kind: str
    settings: dict[str, Any] | list[str]
    peer: Peer | None
    versions: dict[str, str]
    runs: list[Usage] = field(default_factory=list)
    kept: list[npt.NDArray[np.int64]] = field(default_factory=list)
    failure: str | None = None


def own_tools(names: list[str], venvs: Path) -> list[Tool]:
    """Ours, from an environment that has no more than the others."""
    found = ask_versions(OWN_ENVIRONMENT.name, venvs)
    return [Tool(name, "documented", OWN[name], None, found) for name in names]


def peer_tools(asked: dict[str, list[str]], venvs: Path) -> list[Tool]:
    """The peers that are asked for, each with the settings that it can take."""
    tools = []
    for peer in PEERS:
        for kind in asked.get(peer.name, []):
            settings = peer.settings(kind)
            if settings is not None:
                found = ask_versions(peer.environment, venvs)
                tools.append(Tool(peer.name, kind, settings, peer, found))
    return tools


def python_of(environment: str, venvs: Path) -> str:
    """The interpreter of an environment."""
    return str(venvs.absolute() / environment / "bin" / "python")


def ask_versions(name: str, venvs: Path) -> dict[str, str]:
    """What is installed in an environment; it must be what peers.py asks for."""
    (pinned,) = (one.pinned() for one in ENVIRONMENTS if one.name == name)
    remedy = f"run: python {HERE / 'install.py'} {name} --into {venvs}"
    try:
        said = subprocess.run(
            [python_of(name, venvs), "-c", ASK_VERSIONS, *pinned], capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{name} is not installed in {venvs}: {remedy}") from error
    found: dict[str, str] = json.loads(said.stdout)
    if found | pinned != found:
        raise SystemExit(f"{name}: {found} is installed, not {pinned}: {remedy}")
    return found


def run(tool: Tool, files: list[Path], known: argparse.Namespace, folder: Path) -> None:
    """Run a tool once, into a folder that is empty before and after."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    paths = [str(path) for path in files]
    if tool.peer is None:
        common = ["--output", str(folder / "out"), "--quiet", "--workers", str(known.workers)]
        python = python_of(OWN_ENVIRONMENT.name, known.venvs)
        command = [python, "-m", "dedupe", "run", *paths, *common, *tool.settings]
    else:
        settings = {"workers": known.workers, "threshold": THRESHOLD, **dict(tool.settings)}
        python = python_of(tool.peer.environment, known.venvs)
        runner = str(HERE / tool.peer.runner)
        command = [python, runner, json.dumps(settings), str(folder / "kept.parquet"), *paths]
    log = folder / "log"
    with log.open("wb") as messages:
        used = measured(
            command,
            timeout=known.timeout,
            cwd=folder / "tmp",
            env=environment(folder, known.workers),
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
    found = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS",)}
    threads = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
    return {
        **found,
        **{name: str(workers) for name in threads},
        "TMPDIR": str(folder / "tmp"),
        "RAY_TMPDIR": str(folder / "tmp"),
        "HF_HOME": str(folder / "tmp" / "huggingface"),
        "HF_HUB_OFFLINE": "1",
    }


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


def summary(tool: Tool, own: Tool, judged: dict[str, Any] | None) -> dict[str, Any]:
    """A tool's line in the JSON."""
    line: dict[str, Any] = {
        "name": tool.name,
        "kind": tool.kind,
        "settings": tool.settings,
        "page": tool.peer and tool.peer.page,
        "versions": tool.versions,
        "failure": tool.failure,
        "runs": len(tool.runs),
    }
    if not tool.runs:
        return line
    for what in MEDIANS:
        values = [getattr(used, what) for used in tool.runs]
        line |= {what: statistics.median(values), f"all_{what}": values}
        if own.runs:
            base = statistics.median(getattr(used, what) for used in own.runs)
            line[f"ratio_{what}"] = line[what] / base
    line["kept"] = len(tool.kept[-1])
    line["kept_sha256"] = hashlib.sha256(tool.kept[-1].tobytes()).hexdigest()
    line["same_each_run"] = all(np.array_equal(tool.kept[-1], other) for other in tool.kept)
    return line | ({"truth": judged} if judged else {})


def find_files(corpus: Path) -> list[Path]:
    """The Parquet files of a corpus, as `dedupe run` orders them."""
    files = [corpus] if corpus.is_file() else sorted(corpus.rglob("*.parquet"), key=str)
    if not files:
        raise SystemExit(f"{corpus}: no Parquet file is there")
    return [path.absolute() for path in files]


def corpus_facts(files: list[Path]) -> dict[str, int]:
    """Rows and bytes of text."""
    rows = size = 0
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(columns=["text"]):
            rows += batch.num_rows
            size += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
    return {"rows": rows, "text_bytes": size, "files": len(files)}


def ask_for(names: list[str], kinds: list[str]) -> dict[str, list[str]]:
    """The settings of each peer. A name is one of a peer, an environment or `fast`.

    `name:settings` asks for those settings, a name for `kinds`. ValueError says what is wrong.
    """
    asked: dict[str, list[str]] = {}
    for given in names:
        name, _, own_kind = given.partition(":")
        found = [
            peer.name
            for peer in PEERS
            if name in (peer.name, peer.environment) or (name == "fast" and peer.name in FAST)
        ]
        if not found:
            raise ValueError(f"no peer is called {name}: fast, {', '.join(p.name for p in PEERS)}")
        for kind in [own_kind] if own_kind else kinds:
            bands, _, rows = kind.partition("x")
            if kind not in ("documented", "matched") and not (bands.isdigit() and rows.isdigit()):
                raise ValueError(f"{kind}: give documented, matched, or bands x rows as 16x8")
            for peer in found:
                asked.setdefault(peer, []).append(kind)
    return {peer: list(dict.fromkeys(kinds)) for peer, kinds in asked.items()}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path, help="folder of Parquet files with a column text")
    parser.add_argument("--venvs", type=Path, required=True, help="what install.py made")
    parser.add_argument("--json", type=Path, required=True, help="result file")
    parser.add_argument(
        "--peers",
        nargs="+",
        default=[peer.name for peer in PEERS],
        metavar="PEER",
        help="names of peers or of environments, fast for those that take minutes for a million; "
        "with settings of their own as daft:matched (default: all)",
    )
    parser.add_argument("--own", nargs="+", default=["dedupe"], choices=list(OWN))
    parser.add_argument(
        "--settings", nargs="+", default=["documented"], help="documented, matched or like 16x8"
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=3600, help="seconds of one run")
    parser.add_argument(
        "--work", type=Path, help="for what tools leave; a short path, Ray has sockets there"
    )
    parser.add_argument("--truth", action="store_true", help="join the corpus exactly")
    parser.add_argument("--note", default="", help="how the corpus was made, and the machine")
    known = parser.parse_args()
    try:
        known.asked = ask_for(known.peers, known.settings)
    except ValueError as error:
        parser.error(str(error))
    if "dedupe" not in known.own:
        parser.error("--own must name dedupe, to which the others are compared")
    return known


def main() -> None:
    """Run all, again and again, and write the medians."""
    known = parse()
    files = find_files(known.corpus)
    tools = own_tools(known.own, known.venvs) + peer_tools(known.asked, known.venvs)
    own = next(tool for tool in tools if tool.name == "dedupe")
    result: dict[str, Any] = {
        "name": known.corpus.name,
        "note": known.note,
        **corpus_facts(files),
        "threshold": THRESHOLD,
        "workers": known.workers,
        "cpu_model": cpu_model(),
    }
    truth = None
    if known.truth:
        from truth import find_truth, judge

        truth = find_truth(files, THRESHOLD)
    with tempfile.TemporaryDirectory(dir=known.work) as name:
        warm_up(Path(name), python_of(OWN_ENVIRONMENT.name, known.venvs))
        for number in range(known.runs):
            for tool in tools:
                if tool.failure:
                    continue
                began = time.strftime("%H:%M:%S")
                run(tool, files, known, Path(name) / "run")
                said = tool.failure or (
                    f"{tool.runs[-1].wall_seconds:.1f} s, {tool.runs[-1].cpu_seconds:.1f} CPU s, "
                    f"{tool.runs[-1].peak_pss_bytes / 1e6:,.0f} MB, {len(tool.kept[-1]):,} kept"
                )
                print(f"{began} {number + 1} {tool.name}, {tool.kind}: {said}", flush=True)
            lines = []
            for tool in tools:
                judged = judge(truth, tool.kept[-1]) if truth and tool.kept else None
                lines.append(summary(tool, own, judged))
            written = json.dumps({**result, "tools": lines}, indent=1) + "\n"
            known.json.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
