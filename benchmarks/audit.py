"""`dedupe audit` on a finished run, measured in a process of its own.

    python benchmarks/audit.py CORPUS... --json results/audit.json

Makes a keep-list, then audits it --runs times with the default sample, and once more before that to
compile the kernels and fill the cache of the disk. Writes the medians, and what was found.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import parser, run_measured, write_result

FOUND = ("ok", "sample", "recall", "missed_rows", "wrongly_dropped", "broken")


def main() -> None:
    """Parse arguments, measure, write."""
    arguments = parser(__doc__)
    arguments.add_argument("--sample", default="20000", help="rows")
    known = arguments.parse_args()
    command = [sys.executable, "-m", "dedupe"]
    with tempfile.TemporaryDirectory(dir=Path(known.json).absolute().parent) as name:
        out, said = str(Path(name) / "out"), Path(name) / "audit.json"
        run_measured([*command, "run", *known.corpus, "--output", out, "--quiet"])
        line = [*command, "audit", out, "--quiet", "--sample", known.sample, "--json", str(said)]
        runs = [run_measured(line) for _ in range(known.runs + 1)][1:]
        found = json.loads(said.read_text(encoding="utf-8"))
        summary = json.loads((Path(out) / "summary.json").read_text(encoding="utf-8"))
    result: dict[str, Any] = {
        "rows": summary["corpus"]["rows"],
        "text_bytes": summary["corpus"]["text_bytes"],
        **{what: statistics.median(run[what] for run in runs) for what in runs[0]},
        "all": runs,
        **{what: found[what] for what in FOUND},
    }
    write_result(known.json, result)
    print(
        f"{result['rows']:,} rows, {result['sample']:,} of them joined with all: "
        f"{result['wall_seconds']:.1f} s wall, {result['cpu_seconds']:.1f} s CPU, peak "
        f"{result['peak_rss_bytes'] / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
