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
from benchmarks.peers.peers import ENVIRONMENTS, FAST, HERE, OWN, PEERS, THRESHOLD, Peer
from benchmarks.studies.quality import NEAR, Truth, truth

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


def ask_versions(name: str, venvs: Path) -> dict[str, str]:
    """What is installed in an environment; it must be what peers.toml asks for."""
    pinned = ENVIRONMENTS[name].pinned()
    remedy = f"run: python -m benchmarks.peers.install {name} --into {venvs}"
    command = [ENVIRONMENTS[name].interpreter(venvs), "-c", ASK_VERSIONS, *pinned]
    try:
        said = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"{name} is not installed in {venvs}: {remedy}") from error
    found: dict[str, str] = json.loads(said.stdout)
    if found | pinned != found:
        raise SystemExit(f"{name}: {found} is installed, not {pinned}: {remedy}")
    return found


def run(tool: Tool, files: list[str], known: argparse.Namespace, folder: Path) -> None:
    """Run a tool once, into a folder that is empty before and after."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "tmp").mkdir(parents=True)
    python = ENVIRONMENTS[tool.peer.environment if tool.peer else "dedupe"].interpreter(known.venvs)
    if tool.peer is None:
        common = ["--output", str(folder / "out"), "--quiet", "--workers", str(known.workers)]
        command = [python, "-m", "dedupe", "run", *files, *common, *tool.settings]
    else:
        settings = {"workers": known.workers, "threshold": THRESHOLD, **dict(tool.settings)}
        runner = [str(HERE / "run.py"), tool.peer.runner, json.dumps(settings)]
        command = [python, *runner, str(folder / "kept.parquet"), *files]
    log = folder / "log"
    with log.open("wb") as messages:
        used = measured(
            command,
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


def summary(tool: Tool, own: Tool, known: Truth | None) -> dict[str, Any]:
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
    return line | ({"truth": judge(known, tool.kept[-1])} if known else {})


def find_files(corpus: Path) -> list[str]:
    """The Parquet files of a corpus, as `dedupe run` orders them."""
    files = [corpus] if corpus.is_file() else sorted(corpus.rglob("*.parquet"), key=str)
    if not files:
        raise SystemExit(f"{corpus}: no Parquet file is there")
    return [str(path.absolute()) for path in files]


def texts_of(files: list[str]) -> pa.Array:
    """The texts of a corpus."""
    columns = [pq.read_table(path, columns=["text"])["text"] for path in files]
    texts = pa.chunked_array([chunk for column in columns for chunk in column.chunks])
    return texts.cast(pa.large_string()).combine_chunks()


def corpus_facts(files: list[str]) -> dict[str, int]:
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
        found = FAST if name == "fast" else []
        found = found or [p.name for p in PEERS.values() if name in (p.name, p.environment)]
        if not found:
            raise ValueError(f"no peer is called {name}: fast, {', '.join(PEERS)}")
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
    add = parser.add_argument
    add("corpus", type=Path, help="folder of Parquet files with a column text")
    add("--venvs", type=Path, required=True, help="what install.py made")
    add("--json", type=Path, required=True, help="result file")
    add(
        "--peers", nargs="+", default=list(PEERS), metavar="PEER", help="names, name:settings, fast"
    )
    add("--own", nargs="+", default=["dedupe"], choices=OWN, help="of this project")
    add("--settings", nargs="+", default=["documented"], help="documented, matched, 16x8")
    add("--runs", type=int, default=3)
    add("--workers", type=int, default=2)
    add("--timeout", type=float, default=3600, metavar="SECONDS", help="for each run")
    add("--work", type=Path, help="for what tools leave; a short path, Ray has sockets there")
    add("--truth", action="store_true", help="join the corpus exactly")
    add("--note", default="", help="how the corpus was made, and the machine")
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
    found = ask_versions("dedupe", known.venvs)
    tools = [Tool(name, "documented", OWN[name], None, found) for name in known.own]
    own = next(tool for tool in tools if tool.name == "dedupe")
    for name in PEERS:
        for kind in known.asked.get(name, []):
            settings = PEERS[name].settings(kind)
            if settings is not None:
                found = ask_versions(PEERS[name].environment, known.venvs)
                tools.append(Tool(name, kind, settings, PEERS[name], found))
    result = {"name": known.corpus.name, "note": known.note, **corpus_facts(files)}
    result |= {"threshold": THRESHOLD, "workers": known.workers, "cpu_model": cpu_model()}
    true = truth(texts_of(files), THRESHOLD) if known.truth else None
    with tempfile.TemporaryDirectory(dir=known.work) as name:
        warm_up(Path(name), ENVIRONMENTS["dedupe"].interpreter(known.venvs))
        for number in range(known.runs):
            for tool in tools:
                if tool.failure:
                    continue
                run(tool, files, known, Path(name) / "run")
                said = tool.failure or f"{tool.runs[-1]}, {len(tool.kept[-1]):,} kept"
                print(f"{number + 1} {tool.name}, {tool.kind}: {said}", flush=True)
            lines = [summary(tool, own, true) for tool in tools]
            written = json.dumps({**result, "tools": lines}, indent=1) + "\n"
            known.json.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
