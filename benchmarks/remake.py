"""Every table and every plot, from nothing.

    python -m benchmarks.remake FOLDER --data ../shared/data

Makes the corpora in FOLDER, takes every step of `remake.toml` one after the other, and so writes
the result files, then tables and plots from them; says how long each step took. What a step makes
in FOLDER is not made again. --only takes some of the steps, --list names them.

With --quick all of it happens with few rows, in a copy of the benchmarks and pages in FOLDER/quick:
nothing in this repository changes, and no figure means anything. --skip names steps to leave out.

Peers run in virtual environments of their own, and so does this project wherever whole commands are
measured: pyarrow and numba import pandas and scipy if they find them, which takes half a second.

FOLDER needs 70 GB of disk, and the machine nothing else to do.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 30_000_000)
QUICK_SIZES = (500, 1_000, 2_000, 4_000, 6_000)
FILE_ROWS = 250_000
COPIED = ("dedupe", "benchmarks", "docs", "tests", "README.md", "LICENSE", "pyproject.toml")


@dataclass(frozen=True)
class Step:
    """A command to run in the repository, and what it makes, where that is not made again."""

    name: str
    command: list[str]
    makes: Path | None = None


def steps(folder: Path, data: Path, quick: bool = False) -> list[Step]:
    """Everything, in order."""
    sizes = QUICK_SIZES if quick else SIZES
    corpora = [folder / f"corpus{short(rows)}" for rows in sizes]
    parts = [corpora[2] / f"part-{n:05d}.parquet" for n in range(-(-sizes[2] // FILE_ROWS))]
    english, venvs = data / "english-docs", folder / "venvs"
    places = {"data": data, "english": english, "real": folder / "corpus-real", "venvs": venvs}
    places |= {f"corpus{number}": made for number, made in enumerate(corpora)}
    places |= {"part": parts[0], "results": "benchmarks/results"}
    places |= {"parts": shlex.join(map(str, parts)), "corpora": shlex.join(map(str, corpora))}
    making = "corpus.make {0} --rows {1} --source {english}"
    listed = [
        {"name": made.name, "makes": str(made), "full": making.format(made, rows, english=english)}
        for rows, made in zip(sizes, corpora, strict=True)
    ]
    listed += tomllib.loads((ROOT / "benchmarks/remake.toml").read_text("utf-8"))["steps"]
    found = []
    for step in listed:
        line = step.get("quick", step["full"]) if quick else step["full"]
        what, *arguments = shlex.split(line.format(**places))
        python = venvs / "dedupe" / "bin" / "python" if step.get("alone") else sys.executable
        command = [str(python), "-m", f"benchmarks.{what}"]
        command = ["bash", f"benchmarks/{what}"] if what.endswith(".sh") else command
        makes = Path(step["makes"].format(**places)) if "makes" in step else None
        found.append(Step(step["name"], [*command, *arguments], makes))
    return found


def short(rows: int) -> str:
    """Like 500, 10k or 1m."""
    for unit, size in (("m", 10**6), ("k", 10**3)):
        if rows % size == 0:
            return f"{rows // size}{unit}"
    return str(rows)


def copy_repository(target: Path) -> None:
    """What benchmarks read and write, where nothing can be spoilt."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target / name)


def run(step: Step, repository: Path) -> float | None:
    """Run a step; its seconds, or None where what it makes is there."""
    if step.makes is not None and step.makes.exists():
        return None
    began = time.perf_counter()
    print(f"== {step.name}: {shlex.join(step.command[1:])}", flush=True)
    if subprocess.run(step.command, cwd=repository).returncode:
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
    folder = known.folder.resolve() / ("quick" if known.quick else "")
    repository = folder / "repository" if known.quick else ROOT
    every = {step.name: step for step in steps(folder, known.data.resolve(), known.quick)}
    if unknown := {*known.only, *known.skip} - every.keys():
        parser.error(f"no step {' '.join(sorted(unknown))}: see --list")
    wanted = {*known.only} or every.keys()
    chosen = [step for name, step in every.items() if name in wanted and name not in known.skip]
    if known.list:
        for step in chosen:
            print(step.name, shlex.join(step.command[1:]))
        return
    folder.mkdir(parents=True, exist_ok=True)
    if known.quick:
        copy_repository(repository)
    took = {step.name: run(step, repository) for step in chosen}
    for name, seconds in took.items():
        print(f"{name:<20}" + ("  there already" if seconds is None else f"{seconds:8.0f} s"))
    print(f"{'in all':<20}{sum(seconds or 0 for seconds in took.values()):8.0f} s")


if __name__ == "__main__":
    main()
