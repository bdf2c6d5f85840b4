"""What benchmarks share: result files, and the fastest of several calls."""

import json
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dedupe.config import ALGORITHM

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Write a result file, with the machine, the algorithm and the versions it was made with."""
    packages = ("dedupe-engine", "numba", "numpy", "pyarrow")
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    made_with = {"algorithm": ALGORITHM, "cpu_model": cpu_model(), "versions": versions}
    whole = {**result, **made_with}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file has."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_result(name: str) -> dict[str, Any]:
    """The result file of that name."""
    result: dict[str, Any] = read_json(RESULTS / f"{name}.json")
    return result


def comparisons() -> list[dict[str, Any]]:
    """The comparisons with peers, fewest rows first."""
    return sorted(map(read_json, RESULTS.glob("peers-*.json")), key=lambda result: result["rows"])


def cpu_model() -> str:
    """The processor's name, where the system tells."""
    told = Path("/proc/cpuinfo")
    found = told.exists() and re.search(r"model name\s*: (.*)", told.read_text(encoding="utf-8"))
    return found[1] if found else platform.processor()


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def best(function: Callable[[], Any], runs: int) -> float:
    """Seconds of the fastest of several calls, after one that is not counted."""
    return min([seconds(function) for _ in range(runs + 1)][1:])
