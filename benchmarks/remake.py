"""Every table and every plot, from nothing.

    python benchmarks/remake.py FOLDER --data ../shared/data

Makes the corpora in FOLDER, runs every benchmark one after the other, and writes the result files,
then tables and plots from them; says how long each step took. What a step makes in FOLDER is not
made again. --only runs some of the steps, --list names them.

With --quick all of it happens with few rows, in a copy of the benchmarks and pages in FOLDER/quick:
nothing in this repository changes, and no figure means anything. --skip names steps to leave out.

Peers run in virtual environments of their own, and so does this project wherever whole commands are
measured: pyarrow and numba import pandas and scipy if they find them, which takes half a second.

FOLDER needs 70 GB of disk, and the machine nothing else to do.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 30_000_000)
QUICK_SIZES = (500, 1_000, 2_000, 4_000, 6_000)
FILE_ROWS = 250_000
COPIED = ("dedupe", "benchmarks", "docs", "tests", "README.md", "LICENSE", "pyproject.toml")
ONCE = ("--runs", 1)
FEW = ("datasketch", "rensa")
"""Peers that show that the comparison works."""
SLOW = ("fast", "datatrove:documented", "text-dedup:documented")
"""Peers with more than 20,000 rows: some take hours for a million, and are ended before."""
MATCHED = ("daft:matched", "rensa-streaming:matched", "fastminhash:matched")
"""Peers that run a million rows with the bands of this project as well."""
REAL = "Evenly spaced rows of 109,977 real English documents."
MADE = "The corpus of docs/benchmarks.md."
"""What tables say of a comparison's corpus."""


@dataclass(frozen=True)
class Step:
    """A script and its arguments; `result` is its JSON, `makes` what it makes in the folder.

    `python` runs it, where that is not the interpreter of this process.
    """

    name: str
    script: str
    arguments: tuple[Any, ...] = ()
    result: str | None = None
    makes: Path | None = None
    python: Path | str = sys.executable

    def command(self, benchmarks: Path) -> list[str]:
        """What is run, with the scripts and results of that folder."""
        line = [str(self.python), str(benchmarks / self.script), *map(str, self.arguments)]
        if self.result is not None:
            line += ["--json", str(benchmarks / "results" / self.result)]
        return line


def steps(folder: Path, data: Path, quick: bool = False) -> list[Step]:
    """Everything, in order."""
    sizes = QUICK_SIZES if quick else SIZES
    english = data / "english-docs"
    corpora = [folder / f"corpus{short(rows)}" for rows in sizes]
    million, sample, venvs = corpora[2], folder / "corpus-real", folder / "venvs"
    parts = [million / f"part-{n:05d}.parquet" for n in range(-(-sizes[2] // FILE_ROWS))]

    def either(full: Sequence[Any], little: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(little if quick else full)

    once = either((), ONCE)
    compare = ("--venvs", venvs, *either((), ("--peers", *FEW, *ONCE)))
    both = ("--settings", "documented", "matched")
    alone = venvs / "dedupe" / "bin" / "python"
    return [
        *(
            Step(made.name, "make_corpus.py", (made, "--rows", n, "--source", english), makes=made)
            for n, made in zip(sizes, corpora, strict=True)
        ),
        Step("environments", "peers/install.py",
             (*either((), ("dedupe", *FEW)), "--into", venvs)),
        Step("kernels", "kernels.py", either(("--text", english), ("--repeats", 1)),
             "kernels.json"),
        Step("steps", "steps.py",
             (parts[0], *either((), ("--rows", 200, *ONCE))), "steps.json"),
        Step("scale", "scale.py", (*corpora, *once), "scale.json", python=alone),
        Step("adversaries", "adversaries.py", (million, *once), "adversaries.json",
             python=alone),
        Step("quality", "quality.py", (data, *either((), ("--rows", 100))), "quality.json"),
        Step("formats", "formats.py", (parts[0], *once), "formats.json", python=alone),
        Step("apply", "apply.py", (*parts, *once), "apply.json", python=alone),
        Step("store-requests", "store_requests.py", either((), ("--shards", 2, 4)),
             "store-requests.json"),
        Step("link-scale", "link_scale.py", either((), ("--rows", 10**5, 10**6)),
             "link-scale.json"),
        Step("ray-speed", "ray_engine.py", ("speed", million, "--runs", *either((5,), (1,))),
             "ray-speed.json", python=alone),
        Step("ray-shards", "ray_engine.py",
             ("shards", "--counts", *either((100, 1000, 10_000, 100_000), (2, 4))),
             "ray-shards.json", python=alone),
        Step("audit", "audit.py", (million, *once), "audit.json", python=alone),
        Step("recall-exact", "recall_exact.py",
             (corpora[1], *either((), ("--bytes", 200_000, *ONCE))), "recall-exact.json",
             python=alone),
        Step("peers-sample", "peers/sample.py", (english, sample, *either((), ("--rows", 200))),
             makes=sample),
        Step("peers-20k", "peers/compare.py",
             (sample, *compare, *both, "--truth", "--own", "dedupe", "dedupe-ray",
              "--note", REAL), "peers-20k.json"),
        Step("peers-100k", "peers/compare.py",
             (corpora[1], *compare, *both, "--truth", "--note", f"{MADE} One run.",
              *either(("--peers", *SLOW, *ONCE), ())),
             "peers-100k.json"),
        Step("peers-1m", "peers/compare.py",
             (million, *compare, "--note", MADE,
              *either(("--peers", *SLOW, *MATCHED, "--timeout", 400), ())),
             "peers-1m.json"),
        Step("scaling", "scaling.py"),
        Step("tables", "tables.py"),
        Step("plots", "plots.py"),
        Step("peers-plots", "plot_peers.py"),
    ]  # fmt: skip


def short(rows: int) -> str:
    """Like 500, 10k or 1m."""
    for unit, size in (("m", 10**6), ("k", 10**3)):
        if rows % size == 0:
            return f"{rows // size}{unit}"
    return str(rows)


def copy_repository(target: Path) -> None:
    """What the scripts read and write, where nothing can be spoilt."""
    shutil.rmtree(target, ignore_errors=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)


def run(step: Step, benchmarks: Path) -> float | None:
    """Run a step; its seconds, or None where what it makes is there."""
    if step.makes is not None and step.makes.exists():
        return None
    began = time.perf_counter()
    line = step.command(benchmarks)
    print(f"== {step.name}: {' '.join(line[1:])}", flush=True)
    if subprocess.run(line).returncode:
        if step.makes is not None:
            shutil.rmtree(step.makes, ignore_errors=True)
        raise SystemExit(f"{step.name} failed: mend it, and go on with --only {step.name} …")
    return time.perf_counter() - began


def main() -> None:
    """Parse arguments, run the steps, say how long each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="for the corpora and environments")
    parser.add_argument("--data", type=Path, required=True, help="folder of real corpora")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP")
    parser.add_argument("--skip", nargs="+", default=[], metavar="STEP")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true", help="print the steps' commands, run none")
    known = parser.parse_args()
    folder, data, benchmarks = known.folder.resolve(), known.data.resolve(), ROOT / "benchmarks"
    if known.quick:
        folder = folder / "quick"
        benchmarks = folder / "repository" / "benchmarks"
    every = steps(folder, data, known.quick)
    unknown = {*known.only, *known.skip} - {step.name for step in every}
    if unknown:
        parser.error(f"no step {' '.join(sorted(unknown))}: see --list")
    chosen = [
        s for s in every if s.name not in known.skip and (s.name in known.only or not known.only)
    ]
    if known.list:
        for step in chosen:
            print(step.name, *step.command(benchmarks)[1:])
        return
    folder.mkdir(parents=True, exist_ok=True)
    if known.quick:
        copy_repository(folder / "repository")
    took = {step.name: run(step, benchmarks) for step in chosen}
    for name, seconds in took.items():
        print(f"{name:<20}" + ("  there already" if seconds is None else f"{seconds:8.0f} s"))
    print(f"{'in all':<20}{sum(seconds or 0 for seconds in took.values()):8.0f} s")


if __name__ == "__main__":
    main()
