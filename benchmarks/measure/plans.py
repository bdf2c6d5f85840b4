"""Times that `dedupe plan` tells, beside those that runs take."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
import json, sys, time
from pathlib import Path
import dedupe
from dedupe import calibration

runs, out, *corpus = sys.argv[1:]
calibration.runs_path, calibration.LEAST_SECONDS = lambda: Path(runs), 0.0
told = dedupe.plan(corpus)
began = time.monotonic()
result = dedupe.deduplicate(corpus, out, work_dir=out + "-work")
seconds = result.summary["wall_seconds"]
print(json.dumps({
    "told": told["seconds"] and sum(told["seconds"].values()),
    "rows_told": told["corpus"]["rows"],
    "stages_told": told["seconds"],
    "stages": {name: one["wall_seconds"] for name, one in result.summary["stages"].items()},
    "rows": result.rows,
    "text_bytes": result.summary["corpus"]["text_bytes"],
    "seconds": seconds,
}))
"""


def plan(known: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A part of a corpus is run over, then all of it, then all again: each by the one before.

    The part is the first of the files that are given.
    """
    runs, lines = folder / "runs.json", []
    for number, corpus in enumerate([known.corpus[:1], *[known.corpus] * known.runs]):
        out = folder / f"out-{number}"
        command = [sys.executable, "-c", SCRIPT, str(runs), str(out), *corpus]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        lines.append({"files": len(corpus), **json.loads(done.stdout)})
    return {"lines": lines}
